//! Swipes of accounts with 500 baskets that the service does not have in memory: it must read
//! the account, its profile's checkpoint, and what came since. Each account comes once.

use hdrhistogram::Histogram;

use super::half::latency;
use super::row::Value;
use super::saturation::float;
use super::stand::Drive;
use super::{Bench, Figure};
use crate::error::HarnessError;
use crate::load::{Pick, Shape};
use crate::stock::{Past, Stock};

const BASKETS: u32 = 500;
const PARTS: u64 = 4;
const PER_S: f64 = 200.0;

pub(super) async fn measure(bench: &mut Bench<'_>) -> Result<Vec<Figure>, HarnessError> {
    let accounts = bench.scale.cold_accounts;
    let stock = Stock { accounts, baskets: BASKETS..=BASKETS, past: Past::Whole };
    let mut ground = bench.stand.ground("cold", &stock, &mut *bench.tell).await?;
    let service = bench.stand.serve(&ground, None).await?;
    let cards = std::sync::Arc::clone(&ground.cards);
    // The tenth that comes first warms up connections and statements, and is not counted.
    let drive = |accounts: u64| Drive {
        shape: Shape::Open { per_s: PER_S },
        pick: Pick::InTurn,
        warm_up_s: 0.0,
        seconds: float(accounts) / PER_S,
    };
    ground.drive(&[&service], &cards, drive(accounts / 10)).await?;
    let mut all: Option<Histogram<u64>> = None;
    let mut p99 = Vec::new();
    for _part in 0..PARTS {
        let measured = ground.drive(&[&service], &cards, drive(accounts * 9 / 10 / PARTS)).await?;
        p99.push(latency(&measured.receipts)?.p99_ms);
        match &mut all {
            None => all = Some(measured.receipts),
            Some(all) => {
                let added = all.add(&measured.receipts);
                added.map_err(HarnessError::doing("adding latencies"))?;
            }
        }
    }
    service.end().await?;
    bench.stand.clear(ground).await?;
    let all = all.ok_or_else(|| HarnessError::doing("measuring cold accounts")("no part"))?;
    let whole = latency(&all)?;
    (bench.tell)(format!(
        "cold accounts: p50 {:.1}, p99 {:.1}, max {:.1} ms",
        whole.p50_ms, whole.p99_ms, whole.max_ms
    ));
    let note = format!("{} accounts, {PER_S}/s, p50 {:.1}", whole.count, whole.p50_ms);
    Ok(vec![("cold_account_p99_ms", Value { value: whole.p99_ms, ..Value::of_rounds(&p99) }, note)])
}
