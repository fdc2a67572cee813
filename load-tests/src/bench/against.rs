//! The binaries of two commits in turn, at saturation, on the same PostgreSQL and the same tables,
//! each with customers of its own: what later changes are judged by.

use std::path::Path;

use super::row::Value;
use super::saturation::float;
use super::stand::{Drive, Ground};
use super::{Bench, Figure};
use crate::error::HarnessError;
use crate::load::{Pick, Shape};

const CONNECTIONS: usize = 128;
/// More rounds than against `pgbench`: the difference that is looked for is smaller.
const MORE_ROUNDS: usize = 4;

pub(super) async fn measure(
    bench: &mut Bench<'_>,
    side: &mut Ground,
    base: &Path,
) -> Result<Vec<Figure>, HarnessError> {
    let scale = bench.scale;
    let half = side.cards.len() / 2;
    let customers = [side.customers(0, half), side.customers(half, half * 2)];
    let services =
        [bench.stand.serve(side, None).await?, bench.stand.serve(side, Some(base)).await?];
    for (service, customers) in services.iter().zip(&customers) {
        side.get_to_know(service, customers).await?;
    }
    let mut per_s = [Vec::new(), Vec::new()];
    // The first round does not count.
    for round in 0..=scale.rounds + MORE_ROUNDS {
        for turn in 0..2 {
            let who = (round + turn) % 2;
            let drive = Drive {
                shape: Shape::Closed { connections: CONNECTIONS },
                pick: Pick::Uniform,
                warm_up_s: 1.0,
                seconds: float(scale.round_s),
            };
            let measured = side.drive(&[&services[who]], &customers[who], drive).await?;
            if round > 0 {
                per_s[who].push(measured.per_s());
            }
        }
        if let [Some(this), Some(base)] = [per_s[0].last(), per_s[1].last()] {
            (bench.tell)(format!("round {round}: this {this:.0}/s, base {base:.0}/s"));
        }
    }
    for service in services {
        service.end().await?;
    }
    let [this, base] = &per_s;
    let note = format!(
        "this commit {:.0}/s, base {:.0}/s",
        Value::of_rounds(this).value,
        Value::of_rounds(base).value
    );
    Ok(vec![("saturation_vs_base", Value::ratio_of_medians(this, base), note)])
}
