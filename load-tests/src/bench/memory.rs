//! How much memory the service needs with every account of a chain in its cache, each with a year
//! of history. That all of them are there is proved by a last pass that misses none.

use std::time::Duration;

use super::row::Value;
use super::saturation::float;
use super::{Bench, Figure};
use crate::error::HarnessError;
use crate::stock::{Past, Stock};
use crate::usage;

/// Baskets of a year.
const BASKETS: u32 = 63;
const MISSES: &str = "tillside_cache_lookups_total{cache=\"accounts\",outcome=\"miss\"}";
const PASSES_MAX: usize = 5;
const SETTLING: Duration = Duration::from_secs(2);
const MB: f64 = 1_000_000.0;

pub(super) async fn measure(bench: &mut Bench<'_>) -> Result<Vec<Figure>, HarnessError> {
    let accounts = bench.scale.hot_accounts;
    let stock = Stock { accounts, baskets: BASKETS..=BASKETS, past: Past::Outcome };
    let mut ground = bench.stand.ground("hot", &stock, &mut *bench.tell).await?;
    let service = bench.stand.serve(&ground, None).await?;
    let empty = usage::resident_bytes(service.process());
    let cards = std::sync::Arc::clone(&ground.cards);
    // Whoever was refused in the first pass comes in the second.
    let (mut resident, mut missed) = (Vec::new(), f64::INFINITY);
    while missed > 0.0 && resident.len() < PASSES_MAX {
        let missed_before = service.metric(MISSES).await?;
        ground.get_to_know(&service, &cards).await?;
        tokio::time::sleep(SETTLING).await;
        missed = service.metric(MISSES).await? - missed_before;
        resident.push(float(usage::resident_bytes(service.process())) / MB);
        (bench.tell)(format!("a pass over all of them: {missed} were not in the cache"));
    }
    let held = service.metric("tillside_accounts_held").await?;
    (bench.tell)(format!(
        "{held} accounts held; {:.0} MB empty, {resident:.0?} MB after each pass",
        float(empty) / MB
    ));
    service.end().await?;
    bench.stand.clear(ground).await?;
    if missed > 0.0 {
        let what = format!("{missed} of {accounts} accounts were missed in the last pass");
        return Err(HarnessError::doing("holding every account in the cache")(what));
    }
    let last = resident.last().copied().unwrap_or_default();
    let note = format!("{held} accounts held, no miss in a last pass over all of them");
    Ok(vec![("memory_100k_hot_mb", Value { value: last, ..Value::of_rounds(&resident) }, note)])
}
