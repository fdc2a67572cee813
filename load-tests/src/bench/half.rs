//! An open loop at half of what can be done: latencies from the intended time, what is logged for
//! a swipe, what the disk does by itself in the same minutes, and a ramp from little to nearly
//! everything for the plot.

use hdrhistogram::Histogram;

use super::row::Value;
use super::saturation::float;
use super::stand::{Drive, Ground, Service};
use super::{Bench, Figure, flush};
use crate::error::HarnessError;
use crate::load::{Latency, Pick, Shape};
use crate::usage::cpu_s;

const PARTS: usize = 3;
/// How long the disk is looked at before each part, of its seconds.
const FLUSHING: f64 = 0.25;
/// Of saturation.
const RAMP: [f64; 7] = [0.1, 0.25, 0.5, 0.65, 0.8, 0.9, 0.97];

/// What lies between two places of the log, page images apart.
const LOGGED: &str = "SELECT sum(record_size)::float8, sum(fpi_size)::float8
    FROM pg_get_wal_stats($1::text::pg_lsn, $2::text::pg_lsn, false)";

pub(super) async fn measure(
    bench: &mut Bench<'_>,
    side: &mut Ground,
    service: &Service,
) -> Result<Vec<Figure>, HarnessError> {
    let per_s = bench.half_per_s(side, service).await?;
    let customers = side.customers(0, side.cards.len() / 2);
    let open = |per_s, warm_up_s, seconds| Drive {
        shape: Shape::Open { per_s },
        pick: Pick::Uniform,
        warm_up_s,
        seconds,
    };
    let part_s = float(bench.scale.part_s);
    let mut all: Option<Histogram<u64>> = None;
    let (mut p99, mut p999, mut logged, mut images, mut service_us) =
        (vec![], vec![], vec![], vec![], vec![]);
    let (mut flush_p99, mut flush_p999) = (vec![], vec![]);
    for part in 1..=PARTS {
        let (folder, flush_s) = (bench.stand.folder.clone(), part_s * FLUSHING);
        let flushed = tokio::task::spawn_blocking(move || flush::alone(&folder, flush_s)).await;
        let flushed = latency(&flushed.map_err(HarnessError::doing("flushing"))??)?;
        flush_p99.push(flushed.p99_ms);
        flush_p999.push(flushed.p999_ms);
        let (first_number, lsn) = (side.next_number(), place_in_log(side).await?);
        let began_s = cpu_s(service.process());
        let measured = side.drive(&[service], &customers, open(per_s, 1.0, part_s)).await?;
        let used_s = cpu_s(service.process()) - began_s;
        let swipes = float(side.next_number() - first_number);
        let end = place_in_log(side).await?;
        let row = side.client.query_one(LOGGED, &[&lsn, &end]).await;
        let row = row.map_err(HarnessError::doing("reading the log's statistics"))?;
        logged.push(row.get::<_, f64>(0) / swipes);
        images.push((row.get::<_, f64>(0) + row.get::<_, f64>(1)) / swipes);
        service_us.push(used_s * 1e6 / swipes);
        let latency = latency(&measured.receipts)?;
        (bench.tell)(format!(
            "part {part}, {per_s:.0}/s: p50 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1} ms, of which \
             the generator {:.1} (p99); {:.0} bytes logged for a swipe, {:.0} with page images; a \
             flush alone before it: p50 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1} ms",
            latency.p50_ms,
            latency.p99_ms,
            latency.p999_ms,
            latency.max_ms,
            float(measured.generator_lag.value_at_quantile(0.99)) / 1_000.0,
            logged[part - 1],
            images[part - 1],
            flushed.p50_ms,
            flushed.p99_ms,
            flushed.p999_ms,
            flushed.max_ms
        ));
        p99.push(latency.p99_ms);
        p999.push(latency.p999_ms);
        let begun = bench.charts.over_time.len();
        let seconds = measured.by_second.into_iter().enumerate();
        bench.charts.over_time.extend(seconds.map(|(at, mut second)| {
            second.at_s = float((begun + at) as u64);
            second
        }));
        match &mut all {
            None => all = Some(measured.receipts),
            Some(all) => {
                let added = all.add(&measured.receipts);
                added.map_err(HarnessError::doing("adding latencies"))?;
            }
        }
    }
    for part in RAMP {
        let per_s = per_s * 2.0 * part;
        let drive = open(per_s, 1.0, part_s / 4.0);
        // Near saturation tills may be refused: the plot shows who was served.
        let measured = side.drive_leniently(&[service], &customers, drive).await?;
        if let Some(latency) = Latency::of(&measured.receipts) {
            bench.charts.over_load.push((per_s, latency));
        }
    }
    let all = all.ok_or_else(|| HarnessError::doing("measuring half load")("no part of it"))?;
    let whole = latency(&all)?;
    let spread = |parts: &[f64], value| Value { value, ..Value::of_rounds(parts) };
    Ok(vec![
        ("half_load_p99_ms", spread(&p99, whole.p99_ms), format!("{} swipes", whole.count)),
        ("half_load_p999_ms", spread(&p999, whole.p999_ms), format!("max {:.1}", whole.max_ms)),
        ("half_load_per_s", Value::once(per_s), "offered, open loop".to_owned()),
        ("disk_flush_p99_ms", Value::of_rounds(&flush_p99), "8 KiB, nobody else at work".into()),
        ("disk_flush_p999_ms", Value::of_rounds(&flush_p999), String::new()),
        ("service_cpu_us_at_half_load", Value::of_rounds(&service_us), String::new()),
        ("wal_bytes_per_swipe", Value::of_rounds(&logged), "without page images".to_owned()),
        ("wal_bytes_with_images_per_swipe", Value::of_rounds(&images), String::new()),
    ])
}

/// The latencies in figures.
pub(super) fn latency(receipts: &Histogram<u64>) -> Result<Latency, HarnessError> {
    Latency::of(receipts).ok_or_else(|| HarnessError::doing("measuring latencies")("no receipt"))
}

async fn place_in_log(ground: &Ground) -> Result<String, HarnessError> {
    let row = ground.client.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await;
    row.map(|row| row.get(0)).map_err(HarnessError::doing("reading the place in the log"))
}
