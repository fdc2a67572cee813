//! Nothing lost, nothing doubled: the service as processes, killed and cut off while tills work,
//! and then judged by what the tills wrote down. And the judge itself: what is planted into the
//! database of a clean run must be named by it.
//!
//! What happens when is drawn from a seed, which is printed first; `make chaos SEED=…` goes on
//! from there. A run that failed leaves its journal and its logs under `target/tmp`.

use std::path::PathBuf;
use std::process;
use std::time::Duration;

use jiff::Timestamp;
use tillside::config::Commit;
use tillside_load::chaos::{self, Plan, Report};
use tillside_load::nemesis::{Blow, Schedule};
use tillside_load::oracle::{self, Fault};
use tillside_load::world::{self, World};
use tokio_postgres::Client;

use crate::support::database::launcher;

/// The figures that are promised for the suite.
const SERVER_KILLS: usize = 25;
const POSTGRES_KILLS: usize = 10;
const WIRE_FAULTS: u64 = 2_000;
const TILLS: usize = 50;

fn plan(name: &str, schedule: Schedule, tills: usize) -> Plan {
    let seed = Timestamp::now().as_microsecond().unsigned_abs();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let folder = folder.join(format!("chaos-{name}-{}", process::id()));
    tell(&format!("seed {seed}, in {}", folder.display()));
    let binary = launcher().to_owned();
    let wires = matches!(schedule, Schedule::Counted { .. });
    let world = world::Plan {
        folder,
        disk_mib: None,
        binary,
        servers: 2,
        tills,
        seed,
        sabotage: None,
        commit: Commit::default(),
    };
    Plan { world, schedule, wires, customers: 200 }
}

#[expect(clippy::print_stdout, reason = "shown by the runner when the test fails")]
fn tell(line: &str) {
    println!("{line}");
}

fn assert_holds(plan: &Plan, report: &Report) {
    assert!(report.holds(), "{report}");
    chaos::tidy_up(&plan.world.folder, report).expect("the folder is ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_however_often_everything_is_killed_and_cut_off() {
    let blows = vec![
        (Blow::ServerKill, SERVER_KILLS),
        (Blow::ServerStop, 2),
        (Blow::ServerTerm, 3),
        (Blow::PostgresStop, POSTGRES_KILLS / 2),
        (Blow::PostmasterKill, POSTGRES_KILLS / 2),
        (Blow::BackendKill, 1),
        (Blow::BackendsTerminated, 3),
        (Blow::RowLock, 1),
        (Blow::TableLock, 1),
        (Blow::IdleInTransaction, 2),
    ];
    let schedule = Schedule::Counted { blows, wire_faults: WIRE_FAULTS };
    let plan = plan("suite", schedule, TILLS);
    let report = chaos::run(&plan, |line| tell(&line)).await.expect("the run could be made");
    tell(&report.to_string());
    assert_holds(&plan, &report);
    let kills = [Blow::PostgresStop, Blow::PostmasterKill].map(|blow| report.blows(blow));
    assert_eq!(kills.iter().sum::<u64>(), POSTGRES_KILLS as u64);
    assert_eq!(report.blows(Blow::ServerKill), SERVER_KILLS as u64);
    assert!(report.wire_faults() >= WIRE_FAULTS);
    assert!(report.storms > 0, "no transaction was sent sixteen times at once");
    assert_eq!(report.verdict.tills_of_busiest_card, TILLS, "not everybody used one card");
    assert!(report.first_success_count > 0, "nothing was recorded after PostgreSQL was back");
}

/// A way to spoil a database, what the judge must call it, and how to mend it again.
struct Plant {
    what: &'static str,
    spoil: &'static str,
    mend: &'static str,
    fault: Fault,
}

/// The victim is the newest sale of a customer's account.
const PLANTS: &[Plant] = &[
    Plant {
        what: "a sale that was acknowledged and is gone, with its name and its points",
        spoil: "CREATE TABLE spoilt_swipe AS SELECT * FROM victim;
                CREATE TABLE spoilt_key AS SELECT k.* FROM swipe_key k JOIN victim v
                    USING (workstation_no, business_date, sequence_number);
                DELETE FROM swipe s USING victim v
                    WHERE (s.account_id, s.version) = (v.account_id, v.version);
                DELETE FROM swipe_key k USING spoilt_key d
                    WHERE (k.bucket, k.workstation_no, k.business_date, k.sequence_number)
                        = (d.bucket, d.workstation_no, d.business_date, d.sequence_number)",
        mend: "INSERT INTO swipe SELECT * FROM spoilt_swipe;
               INSERT INTO swipe_key SELECT * FROM spoilt_key",
        fault: Fault::Lost,
    },
    Plant {
        what: "a sale that is there twice",
        spoil: "INSERT INTO swipe SELECT (jsonb_populate_record(v, '{\"version\": 1000000}')).*
                    FROM victim v",
        mend: "DELETE FROM swipe WHERE version = 1000000",
        fault: Fault::Doubled,
    },
    Plant {
        what: "a receipt that is another one than was answered",
        spoil: "UPDATE swipe s SET receipt = (SELECT o.receipt FROM swipe o
                    WHERE o.kind = 0 AND o.receipt <> v.receipt LIMIT 1)
                    FROM victim v WHERE (s.account_id, s.version) = (v.account_id, v.version)",
        mend: "UPDATE swipe s SET receipt = v.receipt
                   FROM victim v WHERE (s.account_id, s.version) = (v.account_id, v.version)",
        fault: Fault::Changed,
    },
    Plant {
        what: "points that nobody earned, booked properly",
        spoil: "UPDATE account a SET total_points = total_points + 1000000
                    FROM victim v WHERE a.account_id = v.account_id;
                UPDATE entry e SET points = e.points + 1000000
                    FROM victim v WHERE (e.account_id, e.version) = (v.account_id, v.version)
                    AND e.entry_no = (SELECT min(entry_no) FROM entry f
                        WHERE (f.account_id, f.version) = (v.account_id, v.version))",
        mend: "UPDATE account a SET total_points = total_points - 1000000
                   FROM victim v WHERE a.account_id = v.account_id;
               UPDATE entry e SET points = e.points - 1000000
                   FROM victim v WHERE (e.account_id, e.version) = (v.account_id, v.version)
                   AND e.entry_no = (SELECT min(entry_no) FROM entry f
                       WHERE (f.account_id, f.version) = (v.account_id, v.version))",
        fault: Fault::Miscounted,
    },
    Plant {
        what: "a sale under a name that nobody sent",
        spoil: "UPDATE swipe s SET sequence_number = 1000000
                    FROM victim v WHERE (s.account_id, s.version) = (v.account_id, v.version)",
        mend: "UPDATE swipe s SET sequence_number = v.sequence_number
                   FROM victim v WHERE (s.account_id, s.version) = (v.account_id, v.version)",
        fault: Fault::Unasked,
    },
    Plant {
        what: "corrections that were acknowledged and are gone",
        spoil: "CREATE TABLE spoilt_adjustment AS SELECT * FROM adjustment;
                DELETE FROM adjustment",
        mend: "INSERT INTO adjustment SELECT * FROM spoilt_adjustment",
        fault: Fault::Lost,
    },
    Plant {
        what: "a correction that is there twice",
        spoil: "INSERT INTO adjustment (account_id, version, points, made_at, business_date,
                                        bucket, adjustment_id, reason, actor)
                SELECT a.account_id, 0, d.points, d.made_at, d.business_date, a.bucket,
                       d.adjustment_id, d.reason, d.actor
                FROM (SELECT * FROM adjustment ORDER BY made_at LIMIT 1) d
                JOIN LATERAL (SELECT * FROM account a WHERE a.account_id <> d.account_id
                              LIMIT 1) a ON true",
        mend: "DELETE FROM adjustment WHERE version = 0",
        fault: Fault::Doubled,
    },
    Plant {
        what: "cards that were enrolled and are not",
        spoil: "CREATE TABLE spoilt_state AS SELECT account_id FROM account WHERE state = 1;
                UPDATE account SET state = 0 WHERE state = 1",
        mend: "UPDATE account a SET state = 1 FROM spoilt_state d
                   WHERE a.account_id = d.account_id",
        fault: Fault::Lost,
    },
    Plant {
        what: "a card that was put on another account than it was asked for",
        spoil: "CREATE TABLE spoilt_card AS SELECT c.card, c.account_id FROM card c
                    JOIN account a ON a.merged_into = c.account_id
                    ORDER BY c.linked_at DESC LIMIT 1;
                UPDATE card c SET account_id = (SELECT max(o.account_id) FROM account o
                                                WHERE o.state = 1 AND o.account_id <> d.account_id)
                    FROM spoilt_card d WHERE c.card = d.card",
        mend: "UPDATE card c SET account_id = d.account_id FROM spoilt_card d
                   WHERE c.card = d.card",
        fault: Fault::Lost,
    },
    Plant {
        what: "points that ran out and were given by somebody instead",
        spoil: "CREATE TABLE spoilt_expiry AS SELECT account_id, version, entry_no FROM entry
                    WHERE kind = 5;
                UPDATE entry SET kind = 6 WHERE kind = 5",
        mend: "UPDATE entry e SET kind = 5 FROM spoilt_expiry d
                   WHERE (e.account_id, e.version, e.entry_no)
                       = (d.account_id, d.version, d.entry_no)",
        fault: Fault::Miscounted,
    },
    Plant {
        what: "lots that are not what the entries say, which only the service's audit sees",
        spoil: "CREATE TABLE spoilt_account AS SELECT a.account_id, a.lots FROM account a
                    JOIN victim v USING (account_id);
                UPDATE account a SET lots = o.lots FROM spoilt_account d, account o
                    WHERE a.account_id = d.account_id AND o.lots <> a.lots",
        mend: "UPDATE account a SET lots = d.lots FROM spoilt_account d
                   WHERE a.account_id = d.account_id",
        fault: Fault::Unverified,
    },
];

async fn run(client: &Client, what: &str, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_planted_after_a_clean_run_is_named_by_the_oracle() {
    let plan = plan("oracle", Schedule::Peace(Duration::from_secs(6)), 10);
    let mut world = World::make(&plan.world).await.expect("the world could be made");
    let report = chaos::attack(&plan, &mut world, |_| {}).await.expect("the run could be made");
    assert!(report.holds(), "{report}");
    let oracle::Verdict { enrolled, merged, adjusted, expired, .. } = report.verdict;
    assert!([enrolled, merged, adjusted, expired].iter().all(|done| *done > 0), "{report}");
    let client = world.postgres.connect().await.expect("it is up");
    let victim = "CREATE TABLE victim AS SELECT s.* FROM swipe s
                      JOIN (SELECT account_id, version FROM entry WHERE kind = 1) e
                          USING (account_id, version)
                      WHERE s.kind = 0 ORDER BY s.recorded_at DESC LIMIT 1";
    run(&client, "a victim", victim).await;
    for Plant { what, spoil, mend, fault } in PLANTS {
        run(&client, what, spoil).await;
        let verdict = oracle::judge(&world).await.expect("there is a verdict");
        assert!(verdict.count(*fault) > 0, "{what}: not found in {:#?}", verdict.told);
        let named = verdict.told.iter().any(|told| told.starts_with(&fault.to_string()));
        assert!(named, "{what}: not told in {:#?}", verdict.told);
        run(&client, what, mend).await;
        let verdict = oracle::judge(&world).await.expect("there is a verdict");
        assert!(verdict.holds(), "{what}: not mended: {:#?}", verdict.told);
    }
    world.end().await.expect("its log can be kept");
    assert_holds(&plan, &report);
}
