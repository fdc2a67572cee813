//! How much memory the service needs with every account of a chain in its cache, each with a year
//! of history. That all of them are there is proved by a second pass that misses none.

use std::time::Duration;

use super::row::Value;
use super::saturation::float;
use super::{Bench, Figure, process};
use crate::error::HarnessError;
use crate::stock::{Past, Stock};

/// Baskets of a year.
const BASKETS: u32 = 63;
const MISSES: &str = "tillside_cache_lookups_total{cache=\"accounts\",outcome=\"miss\"}";
const SETTLING: Duration = Duration::from_secs(2);
const MB: f64 = 1_000_000.0;

pub(super) async fn measure(bench: &mut Bench<'_>) -> Result<Vec<Figure>, HarnessError> {
    let accounts = bench.scale.hot_accounts;
    let stock = Stock { accounts, baskets: BASKETS..=BASKETS, past: Past::Outcome };
    let mut ground = bench.stand.ground("hot", &stock, &mut *bench.tell).await?;
    let service = bench.stand.serve(&ground, None).await?;
    let empty = process::resident_bytes(service.process());
    let cards = std::sync::Arc::clone(&ground.cards);
    let mut misses = Vec::new();
    let mut resident = Vec::new();
    for _pass in 0..2 {
        ground.get_to_know(&service, &cards).await?;
        tokio::time::sleep(SETTLING).await;
        misses.push(service.metric(MISSES).await?);
        resident.push(float(process::resident_bytes(service.process())) / MB);
    }
    let held = service.metric("tillside_accounts_held").await?;
    let missed = misses[1] - misses[0];
    (bench.tell)(format!(
        "{held} accounts held; {} misses in the first pass, {missed} in the second; {:.0} MB \
         empty, {resident:.0?} MB after each pass",
        misses[0],
        float(empty) / MB
    ));
    service.end().await?;
    bench.stand.clear(ground).await?;
    if missed > 0.0 {
        let what = format!("{missed} of {accounts} accounts were not in the cache");
        return Err(HarnessError::doing("holding every account in the cache")(what));
    }
    let note = format!("{held} accounts held, no miss in a second pass over all of them");
    Ok(vec![(
        "memory_100k_hot_mb",
        Value { value: resident[1], ..Value::of_rounds(&resident) },
        note,
    )])
}
