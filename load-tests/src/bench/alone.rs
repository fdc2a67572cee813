//! One connection in a closed loop, beside one client of `pgbench`: what a swipe costs when
//! nobody else is there. Medians, since a client's own pauses are no latency of the server.

use super::row::Value;
use super::saturation::float;
use super::stand::{Drive, Ground, Service};
use super::{Bench, Figure};
use crate::error::HarnessError;
use crate::load::{Pick, Shape};
use crate::pgbench::Script;

const ROUNDS: usize = 3;

pub(super) async fn measure(
    bench: &mut Bench<'_>,
    side: &mut Ground,
    service: &Service,
) -> Result<Vec<Figure>, HarnessError> {
    let doing = "running one client beside one connection";
    let mut saturated = bench.saturated.take();
    let pgbench = saturated.as_mut().and_then(|saturated| saturated.pgbench.as_mut());
    let missing = "pgbench could not be calibrated, see above";
    let pgbench = pgbench.ok_or_else(|| HarnessError::doing(doing)(missing))?;
    let customers = side.customers(0, side.cards.len() / 2);
    let (mut ours_us, mut theirs_us) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let drive = Drive {
            shape: Shape::Closed { connections: 1 },
            pick: Pick::Uniform,
            warm_up_s: 1.0,
            seconds: float(bench.scale.round_s),
        };
        let measured = side.drive(&[service], &customers, drive).await?;
        ours_us.push(float(measured.receipts.value_at_quantile(0.5)));
        let mut ran = pgbench.run(Script::Stmt, 1, bench.scale.round_s, true).await?;
        ran.latencies_us.sort_unstable();
        let median = ran.latencies_us.get(ran.latencies_us.len() / 2);
        let none = "pgbench has logged no latency";
        theirs_us.push(float(*median.ok_or_else(|| HarnessError::doing(doing)(none))?));
        let last = |medians: &[f64]| medians.last().copied().unwrap_or_default();
        let (ours, theirs) = (last(&ours_us), last(&theirs_us));
        (bench.tell)(format!("round {round}: ours {ours:.0} µs, stmt {theirs:.0} µs"));
    }
    bench.saturated = saturated;
    let ratio = Value::ratio_of_medians(&ours_us, &theirs_us);
    Ok(vec![
        ("latency_one_connection_vs_pgbench_stmt", ratio, "medians".to_owned()),
        ("latency_one_connection_us", Value::of_rounds(&ours_us), "median".to_owned()),
        ("pgbench_stmt_one_client_us", Value::of_rounds(&theirs_us), "median".to_owned()),
    ])
}
