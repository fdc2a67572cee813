//! The same load on a large database and on a small one, in turn: with everybody who is in the
//! database, and with only as many customers as the small one has.

use super::half::latency;
use super::row::Value;
use super::saturation::{self, float};
use super::stand::{Drive, Ground};
use super::{Bench, Figure};
use crate::error::HarnessError;
use crate::load::{Pick, Shape};
use crate::stock::{Past, Stock};

const ROUNDS: usize = 3;

/// The large database, loaded and audited.
pub(super) async fn large(bench: &mut Bench<'_>) -> Result<Ground, HarnessError> {
    let accounts = bench.scale.large_accounts;
    let stock = Stock { accounts, baskets: 3..=18, past: Past::Whole };
    let large = bench.stand.ground("large", &stock, &mut *bench.tell).await?;
    audit(bench, &large).await?;
    Ok(large)
}

pub(super) async fn measure(
    bench: &mut Bench<'_>,
    large: &mut Ground,
) -> Result<Vec<Figure>, HarnessError> {
    let accounts = bench.scale.small_accounts;
    let stock = Stock { accounts, baskets: 1..=1, past: Past::Whole };
    let mut small = bench.stand.ground("small", &stock, &mut *bench.tell).await?;
    audit(bench, &small).await?;
    let (in_small, in_large) =
        (bench.stand.serve(&small, None).await?, bench.stand.serve(large, None).await?);
    let (few, everybody) =
        (large.customers(0, small.cards.len()), large.customers(0, large.cards.len()));
    let of_small = small.customers(0, small.cards.len());
    // Most of everybody is not in the cache: half of what the other rows call half could be more
    // than the large one can do then, and would measure a queue.
    let (_, can) = saturation::calibrate(bench, large, &in_large, &everybody).await?;
    let per_s = bench.half_per_s(&mut small, &in_small).await?.min(can / 2.0);
    let (mut small_ms, mut few_ms, mut everybody_ms) = (vec![], vec![], vec![]);
    let drive = Drive {
        shape: Shape::Open { per_s },
        pick: Pick::Uniform,
        warm_up_s: float(bench.scale.try_s),
        seconds: float(bench.scale.part_s),
    };
    // Known before anything counts, on both sides.
    small.get_to_know(&in_small, &of_small).await?;
    large.get_to_know(&in_large, &few).await?;
    for round in 1..=ROUNDS {
        let measured = small.drive(&[&in_small], &of_small, drive).await?;
        small_ms.push(latency(&measured.receipts)?.p99_ms);
        let measured = large.drive(&[&in_large], &few, drive).await?;
        few_ms.push(latency(&measured.receipts)?.p99_ms);
        let measured = large.drive(&[&in_large], &everybody, drive).await?;
        everybody_ms.push(latency(&measured.receipts)?.p99_ms);
        let last = |parts: &[f64]| parts.last().copied().unwrap_or_default();
        (bench.tell)(format!(
            "round {round}, {per_s:.0}/s, p99: small {:.1} ms; large {:.1} ms with everybody, \
             {:.1} ms with as many customers as the small one has",
            last(&small_ms),
            last(&everybody_ms),
            last(&few_ms)
        ));
    }
    in_small.end().await?;
    in_large.end().await?;
    let note = format!(
        "{} accounts and {} swipes against {} and {}",
        large.cards.len(),
        large.swipes,
        small.cards.len(),
        small.swipes
    );
    Ok(vec![
        ("growth_p99_ratio", Value::ratio_of_medians(&everybody_ms, &small_ms), note),
        (
            "growth_same_customers_p99_ratio",
            Value::ratio_of_medians(&few_ms, &small_ms),
            format!("only {} customers of the large one shop", small.cards.len()),
        ),
        ("growth_per_s", Value::once(per_s), format!("{can:.0} can be done with everybody")),
        ("growth_small_p99_ms", Value::of_rounds(&small_ms), String::new()),
        ("growth_large_p99_ms", Value::of_rounds(&everybody_ms), String::new()),
    ])
}

async fn audit(bench: &mut Bench<'_>, ground: &Ground) -> Result<(), HarnessError> {
    let (swipes, seconds) = ground.audit().await?;
    (bench.tell)(format!(
        "{}: audited all {swipes} swipes in {seconds:.0} s: every invariant holds",
        ground.name
    ));
    Ok(())
}
