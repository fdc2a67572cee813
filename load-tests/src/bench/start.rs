//! From the spawn of `tillside serve` until `/readyz` says 200, asked every two milliseconds.

use super::row::Value;
use super::stand::Ground;
use super::{Bench, Figure};
use crate::error::HarnessError;

const STARTS: usize = 5;

pub(super) async fn measure(
    bench: &mut Bench<'_>,
    large: &Ground,
) -> Result<Vec<Figure>, HarnessError> {
    let mut starts_ms = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        let service = bench.stand.serve(large, None).await?;
        starts_ms.push(service.started_in.as_secs_f64() * 1_000.0);
        service.end().await?;
    }
    (bench.tell)(format!("starts: {starts_ms:.0?} ms"));
    let note = format!("{} accounts", large.cards.len());
    Ok(vec![("start_ms", Value::of_rounds(&starts_ms), note)])
}
