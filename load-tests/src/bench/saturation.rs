//! What the machine can do: ours in a closed loop at the best of several numbers of connections,
//! both scripts of `pgbench` at the best of several numbers of clients, in turn.

use std::sync::Arc;

use super::process::{cpu_us, family_cpu_us};
use super::row::Value;
use super::stand::{Drive, Ground, Service, TILLS};
use super::{Bench, Figure};
use crate::error::HarnessError;
use crate::load::{Pick, Shape};
use crate::pgbench::{Ledger, Pgbench, Sample, Script, Side, Written, differences};
use crate::stock;

const CONNECTIONS: [usize; 4] = [32, 64, 128, 256];
const CLIENTS: [usize; 4] = [8, 16, 32, 64];

/// What is known once saturation has been measured.
pub(super) struct Saturated {
    pub(super) per_s: f64,
    /// The competitor, ready for more.
    pub(super) pgbench: Option<Pgbench>,
}

/// One side's rounds.
#[derive(Default)]
struct Rounds {
    per_s: Vec<f64>,
    written: Vec<Written>,
}

/// Measures what a service can do on a database, without anybody beside it.
pub(super) async fn look(
    bench: &mut Bench<'_>,
    ground: &mut Ground,
) -> Result<Saturated, HarnessError> {
    let service = bench.stand.serve(ground, None).await?;
    let half = ground.cards.len() / 2;
    let customers = ground.customers(0, half.min(50_000));
    ground.get_to_know(&service, &customers).await?;
    let (_, per_s) = calibrate(bench, ground, &service, &customers).await?;
    service.end().await?;
    Ok(Saturated { per_s, pgbench: None })
}

pub(super) async fn measure(
    bench: &mut Bench<'_>,
    side: &mut Ground,
    service: &Service,
) -> Result<Vec<Figure>, HarnessError> {
    let scale = bench.scale;
    let half = side.cards.len() / 2;
    let customers = side.customers(0, half);
    let id = |customer: usize| stock::account_id(customer as u64) & !255;
    let ours = Side { accounts: id(0)..id(half), today: side.today };
    let theirs = Side { accounts: id(half)..id(half * 2), today: side.today };
    let postmaster = bench.stand.postmaster()?;

    let (connections, _) = calibrate(bench, side, service, &customers).await?;
    let sample = Sample::read(&side.client, &ours).await?;
    let first_workstation = workstation_after_tills(side).await?;
    let bin_dir = bench.stand.postgres.bin_dir();
    let folder = &bench.stand.folder;
    let mut pgbench =
        Pgbench::new(bin_dir, &side.url, folder, &sample, theirs.clone(), first_workstation)?;
    let mut clients = [0; 2];
    for (script, best) in [Script::Txn, Script::Stmt].into_iter().zip(&mut clients) {
        let mut best_per_s = 0.0;
        for tried in CLIENTS {
            let per_s = pgbench.run(script, tried, scale.try_s, false).await?.per_s;
            (bench.tell)(format!("pgbench {script:?}, {tried} clients: {per_s:.0}/s"));
            if per_s > best_per_s {
                (*best, best_per_s) = (tried, per_s);
            }
        }
    }
    side.run("CHECKPOINT").await?;
    let mut ours_before = Ledger::read(&side.client, &ours).await?;
    let mut theirs_before = Ledger::read(&side.client, &theirs).await?;
    let (mut us, mut them) = (Rounds::default(), [Rounds::default(), Rounds::default()]);
    let (mut service_us, mut postgres_us, mut generator_us) = (vec![], vec![], vec![]);
    for round in 0..scale.rounds {
        // Whoever comes first after a checkpoint pays for its page images: each in its turn.
        for turn in 0..3 {
            let who = (round + turn) % 3;
            if who == 0 {
                let first_number = side.next_number();
                let (service_began, postgres_began) =
                    (cpu_us(service.process()), family_cpu_us(postmaster));
                let drive = Drive {
                    shape: Shape::Closed { connections },
                    pick: Pick::Uniform,
                    warm_up_s: 1.0,
                    seconds: float(scale.round_s),
                };
                let measured = side.drive(&[service], &customers, drive).await?;
                let service_used = cpu_us(service.process()) - service_began;
                let postgres_used = family_cpu_us(postmaster) - postgres_began;
                let after = Ledger::read(&side.client, &ours).await?;
                let written = after.since(&ours_before);
                ours_before = after;
                check_count("ours", written.swipes, side.next_number() - first_number)?;
                service_us.push(float(service_used) / written.swipes);
                postgres_us.push(float(postgres_used) / written.swipes);
                generator_us.push(measured.generator_cpu_us);
                us.take(measured.per_s(), written);
            } else {
                let script = [Script::Txn, Script::Stmt][who - 1];
                let ran = pgbench.run(script, clients[who - 1], scale.round_s, false).await?;
                let after = Ledger::read(&side.client, &theirs).await?;
                let written = after.since(&theirs_before);
                theirs_before = after;
                check_count("pgbench", written.swipes, ran.transactions)?;
                them[who - 1].take(ran.per_s, written);
            }
        }
        let per_s = |rounds: &Rounds| rounds.per_s.last().copied().unwrap_or_default();
        let [txn, stmt] = &them;
        (bench.tell)(format!(
            "round {}: ours {:.0}/s, txn {:.0}/s, stmt {:.0}/s",
            round + 1,
            per_s(&us),
            per_s(txn),
            per_s(stmt)
        ));
        for (name, rounds) in [("ours", &us), ("txn ", txn), ("stmt", stmt)] {
            if let Some(written) = rounds.written.last() {
                (bench.tell)(format!("  {name} for a swipe, rows × bytes: {written}"));
            }
        }
        for theirs in them.iter().filter_map(|rounds| rounds.written.last()) {
            let ours = us.written.last().expect("ours has had its turn");
            let differing = differences(ours, theirs);
            if !differing.is_empty() {
                let what = "both sides writing the same rows and bytes";
                return Err(HarnessError::doing(what)(differing.join("; ")));
            }
        }
    }
    let [txn, stmt] = &them;
    let saturation = Value::of_rounds(&us.per_s);
    bench.charts.saturation = [&us, txn, stmt].map(|rounds| Value::of_rounds(&rounds.per_s).value);
    bench.saturated = Some(Saturated { per_s: saturation.value, pgbench: Some(pgbench) });
    let vs = |theirs: &Rounds| Value::ratio_of_medians(&us.per_s, &theirs.per_s);
    let at = |clients: usize| format!("{clients} clients");
    Ok(vec![
        ("saturation_vs_pgbench_txn", vs(txn), String::new()),
        ("saturation_vs_pgbench_stmt", vs(stmt), String::new()),
        ("saturation_per_s", saturation, format!("{connections} connections, closed loop")),
        ("pgbench_txn_per_s", Value::of_rounds(&txn.per_s), at(clients[0])),
        ("pgbench_stmt_per_s", Value::of_rounds(&stmt.per_s), at(clients[1])),
        ("service_cpu_us_per_swipe", Value::of_rounds(&service_us), "at saturation".to_owned()),
        ("postgres_cpu_us_per_swipe", Value::of_rounds(&postgres_us), String::new()),
        ("generator_cpu_us_per_swipe", Value::of_rounds(&generator_us), String::new()),
    ])
}

/// The best number of connections, and what it does.
async fn calibrate(
    bench: &mut Bench<'_>,
    ground: &mut Ground,
    service: &Service,
    customers: &Arc<[String]>,
) -> Result<(usize, f64), HarnessError> {
    let mut best = (0, 0.0);
    for connections in CONNECTIONS {
        let drive = Drive {
            shape: Shape::Closed { connections },
            pick: Pick::Uniform,
            warm_up_s: 1.0,
            seconds: float(bench.scale.try_s),
        };
        let per_s = ground.drive(&[service], customers, drive).await?.per_s();
        (bench.tell)(format!("ours, {connections} connections: {per_s:.0}/s"));
        if per_s > best.1 {
            best = (connections, per_s);
        }
    }
    Ok(best)
}

impl Rounds {
    fn take(&mut self, per_s: f64, written: Written) {
        self.per_s.push(per_s);
        self.written.push(written);
    }
}

/// The first of the workstations that nobody of ours stands at.
async fn workstation_after_tills(side: &Ground) -> Result<i32, HarnessError> {
    let sql = "SELECT max(workstation_no) - $1 + 1 FROM workstation";
    let competitors = i32::try_from(super::stand::COMPETITORS).expect("a few dozen");
    let row = side.client.query_one(sql, &[&competitors]).await;
    let first = row.map_err(HarnessError::doing("reading the workstations"))?.get::<_, i32>(0);
    debug_assert!(usize::try_from(first).is_ok_and(|first| first > TILLS));
    Ok(first)
}

/// Every transaction that a side says it has made is there.
fn check_count(side: &str, found: f64, said: u64) -> Result<(), HarnessError> {
    if (found - float(said)).abs() < 0.5 {
        return Ok(());
    }
    let what = format!("{side} says {said} and {found:.0} are there");
    Err(HarnessError::doing("counting what was written")(what))
}

#[expect(clippy::cast_precision_loss, reason = "fewer than 2^53")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}
