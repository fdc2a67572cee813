//! What the statement writes, and that it writes nothing half when two sessions meet.

use tillside::commit::probe::{Coupons, Parts};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Row};

use super::{batch_of, prepared, sampled, until_one_waits};
use crate::support::database::TestDatabase;
use crate::support::explain::Explaining;

/// Two accounts and more: what session B does to them in one statement, while session A holds
/// the first one or its name.
struct Meeting {
    a: Client,
    b: tokio::task::JoinHandle<Result<Vec<Row>, Error>>,
    database: TestDatabase,
}

impl Meeting {
    /// A begins with `sql` and commits nothing; B comes with a batch of these parts and waits.
    async fn begin(sql: &str, parts: Parts) -> Self {
        let (database, a) = sampled(3).await;
        a.batch_execute(&format!("BEGIN; {sql}")).await.expect("begun");
        let b = Explaining::connect(database.url()).await.client;
        let b = tokio::spawn(async move {
            let batch = batch_of(3, 2, parts);
            let statement = prepared(&b, parts).await;
            b.query(&statement, &batch.parameters()).await
        });
        until_one_waits(&database.client().await).await;
        Self { a, b, database }
    }

    /// Lets A end, and returns the accounts that B moved, or why it failed.
    async fn end(self, how: &str) -> (Result<Vec<i64>, Error>, TestDatabase) {
        self.a.batch_execute(how).await.expect("ended");
        let rows = self.b.await.expect("not cancelled");
        let moved = rows.map(|rows| {
            let mut moved: Vec<i64> = rows.iter().map(|row| row.get::<_, i64>(0) >> 8).collect();
            moved.sort_unstable();
            moved
        });
        (moved, self.database)
    }
}

/// What B wrote, by account: (version, names, swipes, entries, coupons used, coupons issued).
async fn written(database: &TestDatabase) -> Vec<(i64, i64, i64, i64, i64, i64)> {
    let sql = "SELECT a.version,
                      (SELECT count(*) FROM swipe_key k WHERE k.account_id = a.account_id),
                      (SELECT count(*) FROM swipe s
                       WHERE s.account_id = a.account_id AND s.version > 20),
                      (SELECT count(*) FROM entry e
                       WHERE e.account_id = a.account_id AND e.version > 20),
                      (SELECT count(*) FROM coupon c
                       WHERE c.account_id = a.account_id AND c.changed_version > 20),
                      (SELECT count(*) FROM coupon c
                       WHERE c.account_id = a.account_id AND c.issued_version > 20)
               FROM account a ORDER BY a.account_id";
    let rows = database.client().await.query(sql, &[]).await.expect(sql);
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4), row.get(5)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_form_of_the_statement_writes_all_that_its_batch_has() {
    for parts in Parts::ALL {
        let (database, client) = sampled(3).await;
        let batch = batch_of(3, 2, parts);
        assert_eq!(batch.parts(), parts);
        let statement = prepared(&client, parts).await;
        let rows = client.query(&statement, &batch.parameters()).await.expect("executed");
        assert_eq!(rows.len(), 3, "{parts:?}");
        assert_eq!(written(&database).await, [moved(parts); 3], "{parts:?}");
        let sql = "SELECT (SELECT count(*) FROM profile WHERE version = 22),
                          (SELECT sum(spent)::bigint FROM lease)";
        let row = client.query_one(sql, &[]).await.expect(sql);
        let checkpoints: i64 = if parts.profiles { 3 } else { 0 };
        let spent: i64 = if parts.coupons == Coupons::Guarded { 6 * (40 + 40 + 1) } else { 0 };
        assert_eq!((row.get(0), row.get(1)), (checkpoints, spent), "{parts:?}");
    }
}

/// What a batch of these parts writes of an account that moves.
fn moved(parts: Parts) -> (i64, i64, i64, i64, i64, i64) {
    let coupons = if parts.coupons == Coupons::Absent { 0 } else { 2 };
    (22, 2, 2, 4, coupons, coupons)
}

const UNTOUCHED: (i64, i64, i64, i64, i64, i64) = (20, 0, 0, 0, 0, 0);
const BUMP: &str = "UPDATE account SET version = version + 1 WHERE account_id = (2 << 8) + 2";
const TAKE_A_NAME: &str = "INSERT INTO swipe_key VALUES
    (201, 999, 1, 0, '2026-03-01', 7, 77, decode(repeat('02', 17), 'hex'))";

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_another_session_moves_meanwhile_is_left_out_with_all_its_rows() {
    // The new row on the page of the old one, and on another.
    let elsewhere = format!(
        "{BUMP}; UPDATE account SET lots = (
             SELECT string_agg(sha256(n::text::bytea), '') FROM generate_series(1, 60) AS n)
         WHERE account_id = (2 << 8) + 2"
    );
    let pages = [(BUMP, Parts::WHOLE), (&*elsewhere, Parts::WHOLE)];
    let forms = Parts::ALL.map(|parts| (BUMP, parts));
    for (sql, parts) in pages.into_iter().chain(forms) {
        let all = moved(parts);
        let (moved, database) = Meeting::begin(sql, parts).await.end("COMMIT").await;
        assert_eq!(moved.expect("nothing is wrong"), [1, 3], "{parts:?}");
        assert_eq!(written(&database).await, [all, (21, 0, 0, 0, 0, 0), all], "{parts:?}");
        let (moved, database) = Meeting::begin(sql, parts).await.end("ROLLBACK").await;
        assert_eq!(moved.expect("nothing is wrong"), [1, 2, 3], "{parts:?}");
        assert_eq!(written(&database).await, [all; 3], "{parts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_another_session_takes_meanwhile_undoes_the_whole_statement() {
    for parts in Parts::ALL {
        let all = moved(parts);
        let (moved, database) = Meeting::begin(TAKE_A_NAME, parts).await.end("COMMIT").await;
        let error = moved.expect_err("two accounts cannot have one name");
        assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION), "{parts:?}");
        assert_eq!(written(&database).await, [UNTOUCHED; 3], "{parts:?}");
        let (moved, database) = Meeting::begin(TAKE_A_NAME, parts).await.end("ROLLBACK").await;
        assert_eq!(moved.expect("nothing is wrong"), [1, 2, 3], "{parts:?}");
        assert_eq!(written(&database).await, [all; 3], "{parts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_a_name_that_is_taken_does_not_move_and_the_others_do() {
    for parts in Parts::ALL {
        let (all, (_, _, _, _, used, issued)) = (moved(parts), moved(parts));
        let (database, client) = sampled(3).await;
        client.batch_execute(TAKE_A_NAME).await.expect("taken");
        let statement = prepared(&client, parts).await;
        let batch = batch_of(3, 2, parts);
        let moves = async || {
            let rows = client.query(&statement, &batch.parameters()).await.expect("executed");
            rows.len()
        };
        assert_eq!(moves().await, 2, "{parts:?}");
        assert_eq!(written(&database).await, [all, UNTOUCHED, all], "{parts:?}");
        // Repeated, nothing moves: the names are taken.
        assert_eq!(moves().await, 0, "{parts:?}");
        assert_eq!(written(&database).await, [all, UNTOUCHED, all], "{parts:?}");
        // Nor does anything move with names of its own that was decided on an older version.
        client
            .batch_execute("DELETE FROM swipe_key; DELETE FROM swipe; DELETE FROM entry")
            .await
            .expect("made room");
        assert_eq!(moves().await, 1, "{parts:?}: the one that had not moved yet");
        let before = (22, 0, 0, 0, used, issued);
        assert_eq!(written(&database).await, [before, all, before], "{parts:?}");
    }
}
