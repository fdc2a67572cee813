//! One card on 50 tills at once, on one replica and on two: everybody waits for the same row.

use super::row::Value;
use super::saturation::float;
use super::stand::{Drive, Ground, Service};
use super::{Bench, Figure};
use crate::error::HarnessError;
use crate::load::{Pick, Shape};

const TILLS: usize = 50;
const ROUNDS: usize = 3;

pub(super) async fn measure(
    bench: &mut Bench<'_>,
    side: &mut Ground,
    service: &Service,
) -> Result<Vec<Figure>, HarnessError> {
    let second = bench.stand.serve(side, None).await?;
    let mut refusals = 0;
    let one = on_one_card(bench, side, &[service], 1, &mut refusals).await?;
    let two = on_one_card(bench, side, &[service, &second], 2, &mut refusals).await?;
    second.end().await?;
    Ok(vec![
        ("hot_card_one_replica_per_s", Value::of_rounds(&one), String::new()),
        ("hot_card_two_replicas_per_s", Value::of_rounds(&two), String::new()),
        ("hot_card_refusals", Value::once(float(refusals)), String::new()),
    ])
}

/// What so many replicas do on the n-th customer's card; adds what was not a receipt.
async fn on_one_card(
    bench: &mut Bench<'_>,
    side: &mut Ground,
    services: &[&Service],
    customer: usize,
    refusals: &mut u64,
) -> Result<Vec<f64>, HarnessError> {
    let card = side.customers(customer, customer + 1);
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let drive = Drive {
            shape: Shape::Closed { connections: TILLS },
            pick: Pick::One,
            warm_up_s: 1.0,
            seconds: float(bench.scale.round_s) / 2.0,
        };
        let measured = side.drive_leniently(services, &card, drive).await?;
        *refusals += measured.refusals.values().map(|refused| refused.len()).sum::<u64>();
        *refusals += measured.others.values().sum::<u64>() + measured.unanswered;
        rounds.push(measured.per_s());
    }
    let replicas = services.len();
    (bench.tell)(format!("one card, {replicas} replicas: {rounds:.0?}/s, {refusals} refused"));
    Ok(rounds)
}
