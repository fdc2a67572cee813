//! What the machine can do: ours in a closed loop at the best of several numbers of connections,
//! both scripts of `pgbench` at the best of several numbers of clients, in turn.

use std::sync::Arc;

use super::row::Value;
use super::stand::{Drive, Ground, Service, TILLS};
use super::{Bench, Figure};
use crate::error::HarnessError;
use crate::load::{Pick, Shape};
use crate::pgbench::{self, Ledger, Pgbench, Sample, Script, Side, Written, differences};
use crate::stock;
use crate::usage::{cpu_s, family_cpu_s};

const CONNECTIONS: [usize; 4] = [64, 128, 256, 512];
const CLIENTS: [usize; 4] = [8, 16, 32, 64];
/// Most drives before the comparison; what is written differently after them ends it anyhow.
const SETTLING_TRIES: u32 = 12;

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

impl Rounds {
    fn median(&self) -> Value {
        Value::of_rounds(&self.per_s)
    }

    /// The round that was last.
    fn last(&self) -> Option<(f64, &Written)> {
        self.per_s.last().copied().zip(self.written.last())
    }
}

/// Microseconds of processor time for a swipe, by rounds.
#[derive(Default)]
struct Used {
    service: Vec<f64>,
    postgres: Vec<f64>,
    generator: Vec<f64>,
}

/// Both sides, set up to take turns.
struct Contest<'a> {
    service: &'a Service,
    postmaster: u32,
    customers: Arc<[String]>,
    connections: usize,
    pgbench: Pgbench,
    /// The best for either script.
    clients: [usize; 2],
    sides: [Side; 2],
    /// What each side had written when it was looked at last.
    before: [Ledger; 2],
    us: Rounds,
    them: [Rounds; 2],
    used: Used,
}

const OURS: usize = 0;
const THEIRS: usize = 1;
const SCRIPTS: [Script; 2] = [Script::Txn, Script::Stmt];

pub(super) async fn measure(
    bench: &mut Bench<'_>,
    side: &mut Ground,
    service: &Service,
) -> Result<Vec<Figure>, HarnessError> {
    let mut contest = Contest::prepare(bench, side, service).await?;
    for round in 0..bench.scale.rounds {
        // Whoever comes first after a checkpoint pays for its page images: each in its turn.
        for turn in 0..3 {
            match (round + turn) % 3 {
                0 => contest.our_turn(bench, side).await?,
                script => contest.their_turn(bench, side, script - 1).await?,
            }
        }
        (bench.tell)(format!("round {}: {}", round + 1, contest.last_round()));
        contest.compare()?;
    }
    let Contest { us, them: [txn, stmt], used, pgbench, connections, clients, .. } = contest;
    let saturation = us.median();
    bench.charts.saturation = [&us, &txn, &stmt].map(|rounds| rounds.median().value);
    bench.saturated = Some(Saturated { per_s: saturation.value, pgbench: Some(pgbench) });
    let vs = |theirs: &Rounds| Value::ratio_of_medians(&us.per_s, &theirs.per_s);
    let at = |clients: usize| format!("{clients} clients");
    let cpu = |rounds: &[f64]| Value::of_rounds(rounds);
    Ok(vec![
        ("saturation_vs_pgbench_txn", vs(&txn), String::new()),
        ("saturation_vs_pgbench_stmt", vs(&stmt), String::new()),
        ("saturation_per_s", saturation, format!("{connections} connections, closed loop")),
        ("pgbench_txn_per_s", txn.median(), at(clients[0])),
        ("pgbench_stmt_per_s", stmt.median(), at(clients[1])),
        ("service_cpu_us_per_swipe", cpu(&used.service), "at saturation".to_owned()),
        ("postgres_cpu_us_per_swipe", cpu(&used.postgres), "all its processes".to_owned()),
        ("generator_cpu_us_per_swipe", cpu(&used.generator), String::new()),
    ])
}

impl<'a> Contest<'a> {
    /// Finds the best number of connections and clients, and writes the scripts.
    async fn prepare(
        bench: &mut Bench<'_>,
        side: &mut Ground,
        service: &'a Service,
    ) -> Result<Self, HarnessError> {
        let half = side.cards.len() / 2;
        let customers = side.customers(0, half);
        let id = |customer: usize| stock::account_id(customer as u64) & !255;
        let sides = [id(0)..id(half), id(half)..id(half * 2)];
        let sides = sides.map(|accounts| Side { accounts, today: side.today });
        let postmaster = bench.stand.postmaster()?;
        let (connections, _) = calibrate(bench, side, service, &customers).await?;
        // Driven until they hold as many coupons as they may. A slow machine takes longer for that,
        // and what is noted of a choice is larger before, which no sample could follow.
        let drive = Drive {
            shape: Shape::Closed { connections },
            pick: Pick::Uniform,
            warm_up_s: 0.0,
            seconds: float(bench.scale.try_s),
        };
        let mut looked = Ledger::read(&side.client, &sides[OURS]).await?;
        let mut lately;
        let mut tries = 0;
        loop {
            side.drive(&[service], &customers, drive).await?;
            let now = Ledger::read(&side.client, &sides[OURS]).await?;
            lately = now.since(&looked);
            (looked, tries) = (now, tries + 1);
            if lately.is_settled() || tries == SETTLING_TRIES {
                break;
            }
        }
        let sample = Sample::read(&side.client, &sides[OURS]).await?;
        let mut pgbench = Pgbench::new(
            pgbench::find(&side.client).await?,
            &side.url,
            &bench.stand.folder,
            &sample,
            sides[THEIRS].clone(),
            workstation_after_tills(side).await?,
        )?;
        pgbench.follow(&lately);
        let mut clients = [0; 2];
        for (script, best) in SCRIPTS.into_iter().zip(&mut clients) {
            let mut best_per_s = 0.0;
            for tried in CLIENTS {
                let per_s = pgbench.run(script, tried, bench.scale.try_s, false).await?.per_s;
                (bench.tell)(format!("pgbench {script:?}, {tried} clients: {per_s:.0}/s"));
                if per_s > best_per_s {
                    (*best, best_per_s) = (tried, per_s);
                }
            }
        }
        side.run("CHECKPOINT").await?;
        let before = [
            Ledger::read(&side.client, &sides[OURS]).await?,
            Ledger::read(&side.client, &sides[THEIRS]).await?,
        ];
        let (us, them, used) = Default::default();
        Ok(Self {
            service,
            postmaster,
            customers,
            connections,
            pgbench,
            clients,
            sides,
            before,
            us,
            them,
            used,
        })
    }

    /// A turn that does not count is noted and taken again.
    async fn our_turn(&mut self, bench: &Bench<'_>, side: &mut Ground) -> Result<(), HarnessError> {
        let process = self.service.process();
        let drive = Drive {
            shape: Shape::Closed { connections: self.connections },
            pick: Pick::Uniform,
            warm_up_s: 1.0,
            seconds: float(bench.scale.round_s),
        };
        loop {
            let first_number = side.next_number();
            let (service_began, postgres_began) = (cpu_s(process), family_cpu_s(self.postmaster));
            let outcome = side.drive_once(&[self.service], &self.customers, drive).await;
            let service_used = cpu_s(process) - service_began;
            let postgres_used = family_cpu_s(self.postmaster) - postgres_began;
            let written = self.written(side, OURS).await?;
            let measured = match outcome {
                Ok(measured) => measured,
                Err(error) if side.discard(&error) => continue,
                Err(error) => return Err(error),
            };
            check_count("the generator", written.swipes, side.next_number() - first_number)?;
            self.used.service.push(service_used * 1e6 / written.swipes);
            self.used.postgres.push(postgres_used * 1e6 / written.swipes);
            self.used.generator.push(measured.generator_cpu_us);
            self.us.per_s.push(measured.per_s());
            self.pgbench.follow(&written);
            self.us.written.push(written);
            return Ok(());
        }
    }

    async fn their_turn(
        &mut self,
        bench: &Bench<'_>,
        side: &Ground,
        script: usize,
    ) -> Result<(), HarnessError> {
        let clients = self.clients[script];
        let ran = self.pgbench.run(SCRIPTS[script], clients, bench.scale.round_s, false).await?;
        let written = self.written(side, THEIRS).await?;
        check_count("pgbench", written.swipes, ran.transactions)?;
        self.them[script].per_s.push(ran.per_s);
        self.them[script].written.push(written);
        Ok(())
    }

    /// What a side has written since it was looked at last.
    async fn written(&mut self, side: &Ground, of: usize) -> Result<Written, HarnessError> {
        let after = Ledger::read(&side.client, &self.sides[of]).await?;
        let written = after.since(&self.before[of]);
        self.before[of] = after;
        Ok(written)
    }

    /// The last round in words: what was done, and what was written for a swipe.
    fn last_round(&self) -> String {
        let [txn, stmt] = &self.them;
        let sides = [("ours", &self.us), ("txn", txn), ("stmt", stmt)];
        let lines = sides.into_iter().filter_map(|(name, rounds)| {
            let (per_s, written) = rounds.last()?;
            Some(format!("\n         {name:<4} {per_s:>6.0}/s; rows × bytes of a swipe: {written}"))
        });
        lines.collect()
    }

    /// A round in which the sides did not write the same does not count, nor does the run.
    fn compare(&self) -> Result<(), HarnessError> {
        let Some((_, ours)) = self.us.last() else { return Ok(()) };
        for (_, theirs) in self.them.iter().filter_map(Rounds::last) {
            let differing = differences(ours, theirs);
            if !differing.is_empty() {
                let what = "both sides writing the same rows and bytes";
                return Err(HarnessError::doing(what)(differing.join("; ")));
            }
        }
        Ok(())
    }
}

/// The best number of connections, and what it does.
pub(super) async fn calibrate(
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
