//! A swipe that is alone in its batch: the rows that the batch's form would write, on the same
//! conditions.

use tillside::commit::probe::{COMMIT_LONE, Coupons, Parts, SampleBatch};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use super::{batch_of, one_swipe, plain, prepared, sampled, until_one_waits};
use crate::support::database::TestDatabase;
use crate::support::explain::Explaining;

/// Every row of the tables that a swipe writes, as text.
async fn rows_of(client: &Client) -> Vec<String> {
    let sql = "SELECT 'account', to_jsonb(t)::text FROM account AS t
               UNION ALL SELECT 'name', to_jsonb(t)::text FROM swipe_key AS t
               UNION ALL SELECT 'swipe', to_jsonb(t)::text FROM swipe AS t WHERE version > 20
               UNION ALL SELECT 'entry', to_jsonb(t)::text FROM entry AS t WHERE version > 20
               ORDER BY 1, 2";
    let rows = client.query(sql, &[]).await.expect(sql);
    let text = |place: usize| move |row: &tokio_postgres::Row| row.get::<_, String>(place);
    rows.iter().map(|row| format!("{} {}", text(0)(row), text(1)(row))).collect()
}

/// Writes it as the service does; how many accounts moved.
async fn write_alone(client: &Client, batch: &SampleBatch) -> Result<usize, Error> {
    let parameters = batch.lone().expect("it is alone");
    let statement = client.prepare(COMMIT_LONE).await?;
    Ok(client.query(&statement, &parameters).await?.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_writes_the_very_rows_that_the_form_for_batches_writes() {
    let ((_one, alone), (_other, among)) = (sampled(3).await, sampled(3).await);
    // A sale, and one for training without a note, of an account that counts something.
    for sequence_number in [200, 201] {
        let batch = plain(sequence_number);
        assert_eq!(write_alone(&alone, &batch).await.expect("executed"), 1);
        let statement = prepared(&among, batch.parts()).await;
        let rows = among.query(&statement, &batch.parameters()).await.expect("executed");
        assert_eq!(rows.len(), 1);
        let written = rows_of(&alone).await;
        assert_eq!(written.len(), 6, "{written:#?}");
        assert_eq!(written, rows_of(&among).await);
        let again = "DELETE FROM swipe_key; DELETE FROM entry; DELETE FROM swipe;
                     UPDATE account SET version = 20";
        alone.batch_execute(again).await.expect(again);
        among.batch_execute(again).await.expect(again);
    }
}

#[test]
fn whatever_has_company_or_more_to_write_is_written_as_a_batch() {
    for (accounts, swipes) in [(1, 2), (2, 1)] {
        assert!(batch_of(accounts, swipes, Parts::ALL[0]).lone().is_none());
    }
    let bare = Parts { profiles: false, coupons: Coupons::Absent };
    for (entries, parts) in (0..=2).flat_map(|count| Parts::ALL.map(|parts| (count, parts))) {
        let batch = SampleBatch::new(&[one_swipe(200, entries)], parts);
        let is_plain = entries == 1 && parts == bare;
        assert_eq!(batch.lone().is_some(), is_plain, "{entries} entries, {parts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_writes_nothing_when_its_name_is_taken_or_its_account_has_moved() {
    let (_database, client) = sampled(3).await;
    let moves = async || write_alone(&client, &plain(200)).await.expect("executed");
    client.batch_execute(TAKE).await.expect("taken");
    let before = rows_of(&client).await;
    assert_eq!(moves().await, 0, "the name is taken");
    assert_eq!(rows_of(&client).await, before);
    client.batch_execute("DELETE FROM swipe_key").await.expect("made room");
    for version in [19, 21] {
        let set = format!("UPDATE account SET version = {version} WHERE account_id >> 8 = 2");
        client.batch_execute(&set).await.expect("set");
        let before = rows_of(&client).await;
        assert_eq!(moves().await, 0, "it was decided on version 20, not {version}");
        assert_eq!(rows_of(&client).await, before);
    }
    client.batch_execute("UPDATE account SET version = 20").await.expect("set");
    assert_eq!(moves().await, 1);
    assert_eq!(moves().await, 0, "once");
}

/// Takes the name of the swipe for another account.
const TAKE: &str = "INSERT INTO swipe_key VALUES
    (200, 999, 1, 0, '2026-03-14', 7, 77, decode(repeat('02', 17), 'hex'))";

/// What comes of it when another session does `sql` first and ends while it waits.
async fn meeting(sql: &str, end: &str) -> (Result<usize, Error>, Vec<String>, TestDatabase) {
    let (database, other) = sampled(3).await;
    other.batch_execute(&format!("BEGIN; {sql}")).await.expect("begun");
    let own = Explaining::connect(database.url()).await.client;
    let own = tokio::spawn(async move { write_alone(&own, &plain(200)).await });
    let watcher = database.client().await;
    until_one_waits(&watcher).await;
    other.batch_execute(end).await.expect("ended");
    let moved = own.await.expect("not cancelled");
    (moved, rows_of(&watcher).await, database)
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_another_session_moves_or_whose_name_it_takes_meanwhile_does_not_move() {
    let bump = "UPDATE account SET version = version + 1 WHERE account_id >> 8 = 2";
    let (moved, rows, _database) = meeting(bump, "COMMIT").await;
    assert_eq!(moved.expect("nothing is wrong"), 0);
    assert_eq!(rows.len(), 3, "{rows:#?}");
    let (moved, rows, _database) = meeting(TAKE, "COMMIT").await;
    let error = moved.expect_err("two swipes cannot have one name");
    assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION));
    assert_eq!(rows.len(), 4, "{rows:#?}");
    for sql in [bump, TAKE] {
        let (moved, rows, _database) = meeting(sql, "ROLLBACK").await;
        assert_eq!(moved.expect("nothing is wrong"), 1);
        assert_eq!(rows.len(), 6, "{rows:#?}");
    }
    // What changes no version changes no decision: it moves, and its own rows stand.
    let note = "UPDATE account SET next_expiry = '2031-01-01' WHERE account_id >> 8 = 2";
    let (moved, rows, _database) = meeting(note, "COMMIT").await;
    assert_eq!(moved.expect("nothing is wrong"), 1);
    assert!(!rows.iter().any(|row| row.contains("2031-01-01")), "{rows:#?}");
}
