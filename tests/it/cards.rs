//! Cards: how they stand, whose they become, and where their points go.

use http::StatusCode;
use serde_json::{Value, json};
use tillside::till::Till;

use crate::support::flow::{
    account_of, audit, basket, enrol, look_up, name, on, points_of, returned, slug, until, void,
};
use crate::support::service::{TestService, body, card, post, swipe};

#[tokio::test(flavor = "multi_thread")]
async fn a_card_is_looked_up_as_it_stands_now() {
    let service = TestService::start().await;
    let till = service.till();
    let unseen = look_up(&till, &card(1)).await;
    assert_eq!((unseen.status, slug(&unseen)), (StatusCode::NOT_FOUND, "not-found".into()));
    assert_eq!(slug(&look_up(&till, "2990000000018").await), "card-invalid");

    post(&till, &swipe(1, Some(&card(1)), 700)).await;
    let provisional = body(&look_up(&till, &card(1)).await);
    assert_eq!(provisional["account"], json!(null));
    assert_eq!(provisional["enrolled"], false);
    assert_eq!(provisional["points"]["balance"], 7);

    enrol(&till, &json!({ "card": card(1) })).await;
    let enrolled = look_up(&service.replica.till("0406", "01"), &card(1)).await;
    assert_eq!(enrolled.status, StatusCode::OK);
    let enrolled = body(&enrolled);
    assert!(enrolled["account"].as_str().is_some_and(|id| id.starts_with("acc_")));
    assert_eq!(enrolled["enrolled"], true);
    assert_eq!(enrolled["points"]["balance"], 7);

    // What has run out since the last purchase is gone, though nothing was written yet.
    post(&till, &on(swipe(2, Some(&card(2)), 700), "2020-01-15")).await;
    assert_eq!(points_of(&service.sql().await, &card(2)).await, 7);
    let expired = body(&look_up(&till, &card(2)).await);
    assert_eq!(expired["points"]["balance"], 0);
    assert_eq!(expired["points"]["next_expiry"], json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolling_keeps_what_has_gathered_and_is_idempotent() {
    let service = TestService::start().await;
    let till = service.till();
    let sale = post(&till, &swipe(1, Some(&card(1)), 700)).await;
    assert_eq!(body(&sale)["account"], json!(null));
    let member = json!({ "given_name": "Ada", "family_name": "Tester", "birthday": "1990-05-01",
        "email": "ada@example.org", "phone": "5550100", "consents": ["email-offers"] });
    let first = enrol(&till, &json!({ "card": card(1), "member": member })).await;
    assert_eq!(first.status, StatusCode::CREATED, "{:?}", first.body);
    assert_eq!(body(&first)["points"]["balance"], 7);
    let replica = service.replica().await;
    for till in [&till, &replica.till("0406", "01")] {
        let again =
            enrol(till, &json!({ "card": card(1), "member": { "given_name": "Eve" } })).await;
        assert_eq!((again.status, &again.body), (StatusCode::OK, &first.body));
    }
    // The next receipt knows, on a replica that had the account in memory as well.
    for (sequence, till) in [(2, &till), (3, &replica.till("0367", "03"))] {
        let next = body(&post(till, &swipe(sequence, Some(&card(1)), 100)).await);
        assert_eq!(next["account"], body(&first)["account"]);
        assert_eq!(next["messages"], json!([]));
    }
    // And the receipt that was given stays as it was.
    assert_eq!(post(&till, &swipe(1, Some(&card(1)), 700)).await.body, sale.body);

    // Nobody has seen this one before; it may even be enrolled without saying by whom.
    let unseen = enrol(&till, &json!({ "card": card(2) })).await;
    assert_eq!(unseen.status, StatusCode::CREATED);
    assert_eq!(body(&unseen)["points"]["balance"], 0);

    let sql = "SELECT given_name, family_name, birthday::text, email, phone, consents FROM member
               ORDER BY given_name";
    let rows = service.sql().await.query(sql, &[]).await.expect("asked");
    assert_eq!(rows.len(), 2);
    let text = |column: usize| rows[0].get::<_, Option<String>>(column).unwrap_or_default();
    let texts: Vec<String> = (0..5).map(text).collect();
    assert_eq!(texts, ["Ada", "Tester", "1990-05-01", "ada@example.org", "5550100"]);
    assert_eq!(rows[0].get::<_, Vec<String>>("consents"), ["email-offers"]);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn personal_data_stands_in_one_table_only() {
    let service = TestService::start().await;
    let till = service.till();
    post(&till, &swipe(1, Some(&card(1)), 700)).await;
    let canary = "Zyxwvutsrq";
    let member = json!({ "given_name": canary, "family_name": canary, "phone": canary,
        "email": format!("{canary}@example.org") });
    let enrolled = enrol(&till, &json!({ "card": card(1), "member": member })).await;
    assert_eq!(enrolled.status, StatusCode::CREATED);
    post(&till, &swipe(2, Some(&card(1)), 700)).await;
    let client = service.sql().await;
    let tables =
        "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                  WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p')";
    let mut holding = Vec::new();
    for row in client.query(tables, &[]).await.expect(tables) {
        let table: String = row.get(0);
        let sql = format!("SELECT count(*) FROM {table} AS t WHERE t::text LIKE '%{canary}%'");
        let found: i64 = client.query_one(&sql, &[]).await.expect("asked").get(0);
        if found > 0 {
            holding.push(table);
        }
    }
    assert_eq!(holding, ["member"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_without_history_is_linked_to_the_account_of_another() {
    let service = TestService::start().await;
    let (till, sql) = (service.till(), service.sql().await);
    enrol(&till, &json!({ "card": card(1) })).await;
    post(&till, &swipe(1, Some(&card(1)), 700)).await;
    let linking = json!({ "card": card(2), "link_to": card(1) });
    let linked = enrol(&till, &linking).await;
    assert_eq!(linked.status, StatusCode::CREATED, "{:?}", linked.body);
    assert_eq!(body(&linked)["points"]["balance"], 7);
    assert_eq!(enrol(&till, &linking).await.status, StatusCode::OK);
    assert_eq!(account_of(&sql, &card(1)).await, account_of(&sql, &card(2)).await);
    let family = post(&till, &swipe(2, Some(&card(2)), 300)).await;
    assert_eq!(body(&family)["points"]["balance"], 10);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn points_that_have_run_out_for_the_heir_are_written_off_when_they_move() {
    let service = TestService::start().await;
    let (till, sql) = (service.till(), service.sql().await);
    enrol(&till, &json!({ "card": card(1) })).await;
    // Two years on, the month of the other card's points is over.
    post(&till, &on(swipe(1, Some(&card(1)), 500), "2099-02-15")).await;
    post(&till, &on(swipe(2, Some(&card(2)), 700), "2096-12-15")).await;
    let linked = enrol(&till, &json!({ "card": card(2), "link_to": card(1) })).await;
    assert_eq!(linked.status, StatusCode::CREATED, "{:?}", linked.body);
    assert_eq!(body(&linked)["points"]["balance"], 5);
    let heir = account_of(&sql, &card(1)).await;
    let entries = "SELECT kind, points FROM entry WHERE account_id = $1 ORDER BY version, entry_no";
    let rows = sql.query(entries, &[&heir]).await.expect(entries);
    let booked: Vec<(i16, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(booked, [(1, 5), (7, 7), (5, -7)]);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn points_move_with_their_card_lot_by_lot() {
    let service = TestService::start().await;
    let (till, sql) = (service.till(), service.sql().await);
    enrol(&till, &json!({ "card": card(1) })).await;
    post(&till, &on(swipe(1, Some(&card(1)), 500), "2026-01-15")).await;
    post(&till, &on(swipe(2, Some(&card(2)), 700), "2026-02-15")).await;
    post(&till, &on(swipe(3, Some(&card(2)), 200), "2026-03-15")).await;
    let left = account_of(&sql, &card(2)).await;
    let linked = enrol(&till, &json!({ "card": card(2), "link_to": card(1) })).await;
    assert_eq!(linked.status, StatusCode::CREATED, "{:?}", linked.body);
    assert_eq!(body(&linked)["points"]["balance"], 14);
    let next = &body(&linked)["points"]["next_expiry"];
    assert_eq!(*next, json!({ "points": 5, "on": "2028-01-31" }));
    let transfers = "SELECT account_id = $1, points, lot_expires::text FROM entry WHERE kind = 7
                     ORDER BY 1 DESC, 3";
    let rows = sql.query(transfers, &[&left]).await.expect(transfers);
    let moved: Vec<(bool, i64, String)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let (feb, mar) = ("2028-02-29".to_owned(), "2028-03-31".to_owned());
    let expected =
        [(true, -7, feb.clone()), (true, -2, mar.clone()), (false, 7, feb), (false, 2, mar)];
    assert_eq!(moved, expected);
    let merged = "SELECT count(*) FROM account WHERE state = 3 AND total_points = 0";
    assert_eq!(service.count(merged).await, 1);
    // Its history stays, and is replayed under the old names.
    let again = post(&till, &on(swipe(2, Some(&card(2)), 700), "2026-02-15")).await;
    assert_eq!((again.status, &body(&again)["points"]["balance"]), (StatusCode::OK, &json!(7)));
    // What is owed moves as well.
    post(&till, &basket(4, Some(&card(3)), vec![returned(1, "1095275", 300)])).await;
    let linked = enrol(&till, &json!({ "card": card(3), "link_to": card(1) })).await;
    assert_eq!(body(&linked)["points"]["balance"], 11);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_linked_is_refused_and_nothing_changes() {
    let service = TestService::start().await;
    let till = service.till();
    enrol(&till, &json!({ "card": card(1) })).await;
    enrol(&till, &json!({ "card": card(2) })).await;
    let before = "SELECT sum(version)::bigint FROM account";
    let version = service.count(before).await;
    let taken = enrol(&till, &json!({ "card": card(1), "link_to": card(2) })).await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    assert_eq!(slug(&taken), "card-of-another-account");
    let nowhere = enrol(&till, &json!({ "card": card(3), "link_to": card(9) })).await;
    assert_eq!((nowhere.status, slug(&nowhere)), (StatusCode::NOT_FOUND, "not-found".into()));
    assert_eq!(service.count(before).await, version);
    assert_eq!(service.count("SELECT count(*) FROM card").await, 2);
    // A card that is linked to itself is simply enrolled.
    let itself = json!({ "card": card(1), "link_to": card(1) });
    assert_eq!(enrol(&till, &itself).await.status, StatusCode::OK);
}

/// Enrols cards that two replicas are swiping all the while.
async fn enrolment_races_swipes(accounts_max: u64, link_to: Option<&str>) {
    const CARDS: u64 = 12;
    const SWIPES: i64 = 10;
    let service = TestService::start_with(|config| config.cache.accounts_max = accounts_max).await;
    let replica = service.replica().await;
    if let Some(target) = link_to {
        enrol(&service.till(), &json!({ "card": target })).await;
    }
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..CARDS {
        for (side, till) in [service.till(), replica.till("0367", "01")].into_iter().enumerate() {
            tasks.spawn(swipe_often(till, n, side, SWIPES));
        }
        let till = replica.till("0406", "01");
        let mut enrolment = json!({ "card": card(n), "member": { "given_name": "Ada" } });
        if let Some(target) = link_to {
            enrolment["link_to"] = target.into();
        }
        tasks.spawn(async move {
            let answer = enrol(&till, &enrolment).await;
            assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("nobody was refused");
    }
    let swipes = i64::try_from(CARDS).expect("small") * 2 * SWIPES;
    assert_eq!(service.count("SELECT count(*) FROM swipe WHERE kind = 0").await, swipes);
    assert_eq!(service.count("SELECT sum(points)::bigint FROM entry").await, swipes);
    let lost = "SELECT count(*) FROM account
                WHERE state = 3 AND (total_points <> 0 OR EXISTS (
                    SELECT 1 FROM card WHERE card.account_id = account.account_id))";
    assert_eq!(service.count(lost).await, 0, "nothing is left behind on a merged account");
    let enrolled = "SELECT sum(total_points)::bigint FROM account WHERE state = 1";
    assert_eq!(service.count(enrolled).await, swipes);
    audit(&service).await;
}

async fn swipe_often(till: Till, n: u64, side: usize, swipes: i64) {
    let base = i64::try_from(n).expect("small") * 1_000;
    for sequence in 0..swipes {
        let mut sale = swipe(base + sequence, Some(&card(n)), 100);
        if side == 1 {
            sale["workstation_id"] = "01".into();
        }
        let answer = post(&till, &sale).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolling_while_two_replicas_swipe_loses_nothing() {
    enrolment_races_swipes(100_000, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn linking_while_two_replicas_swipe_loses_nothing() {
    enrolment_races_swipes(100_000, Some(&card(99))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn linking_while_two_replicas_swipe_loses_nothing_without_a_cache_either() {
    enrolment_races_swipes(0, Some(&card(99))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_a_replica_remembers_wrongly_costs_an_attempt_and_no_points() {
    for accounts_max in [100_000, 0] {
        let service =
            TestService::start_with(|config| config.cache.accounts_max = accounts_max).await;
        let replica = service.replica().await;
        let (till, other) = (service.till(), replica.till("0367", "01"));
        enrol(&till, &json!({ "card": card(9) })).await;
        let mut sale = swipe(1, Some(&card(1)), 100);
        sale["workstation_id"] = "01".into();
        post(&other, &sale).await;
        enrol(&till, &json!({ "card": card(1), "link_to": card(9) })).await;
        // The other replica still believes in the account that was left.
        sale["sequence_number"] = 2.into();
        let receipt = body(&post(&other, &sale).await);
        assert_eq!(receipt["points"]["balance"], 2, "{receipt}");
        assert_ne!(receipt["account"], Value::Null);
        assert_eq!(points_of(&service.sql().await, &card(9)).await, 2);
        audit(&service).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolment_whose_till_hangs_up_leaves_nothing_locked() {
    let service = TestService::start().await;
    let till = service.till();
    post(&till, &swipe(1, Some(&card(1)), 100)).await;
    let mut rogue = service.sql().await;
    let held = rogue.transaction().await.expect("begun");
    held.execute("SELECT 1 FROM account FOR UPDATE", &[]).await.expect("locked");
    let hung_up = {
        let till = till.clone();
        tokio::spawn(async move { enrol(&till, &json!({ "card": card(1) })).await })
    };
    let watcher = service.sql().await;
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    crate::support::flow::until("the enrolment waits for the account", async || {
        watcher.query_one(waiting, &[]).await.expect(waiting).get::<_, i64>(0) > 0
    })
    .await;
    hung_up.abort();
    held.rollback().await.expect("let go");
    // Well before an open transaction would be ended by the server.
    let next = post(&till, &swipe(2, Some(&card(1)), 100)).await;
    assert_eq!(next.status, StatusCode::CREATED, "{:?}", next.body);
    let idle = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    crate::support::flow::until("no transaction stays open", async || {
        watcher.query_one(idle, &[]).await.expect(idle).get::<_, i64>(0) == 0
    })
    .await;
    assert_eq!(void(&till, &name(1)).await.status, StatusCode::CREATED);
    audit(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_that_waits_for_a_merge_undoes_its_sale_where_the_points_are_now() {
    let service = TestService::start_with(|config| {
        config.commit.lock_timeout_ms = 20_000;
        config.commit.statement_timeout_ms = 20_000;
    })
    .await;
    let (till, sql) = (service.till(), service.sql().await);
    enrol(&till, &json!({ "card": card(1) })).await;
    post(&till, &swipe(1, Some(&card(2)), 700)).await;
    let merged = account_of(&sql, &card(2)).await;
    let lock = format!("BEGIN; SELECT 1 FROM account WHERE account_id = {merged} FOR UPDATE");
    sql.batch_execute(&lock).await.expect("nobody else holds it");
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let linking = till.clone();
    let linking = tokio::spawn(async move {
        enrol(&linking, &json!({ "card": card(2), "link_to": card(1) })).await
    });
    until("the link waits", async || service.count(waiting).await == 1).await;
    let undoing = till.clone();
    let undoing = tokio::spawn(async move { void(&undoing, &name(1)).await });
    until("the void waits behind it", async || service.count(waiting).await == 2).await;
    sql.batch_execute("COMMIT").await.expect("let go");
    assert_eq!(linking.await.expect("answered").status, StatusCode::CREATED);
    let undone = undoing.await.expect("answered");
    assert_eq!(undone.status, StatusCode::CREATED, "{:?}", undone.body);
    assert_eq!(body(&undone)["points"]["balance"], 0);
    assert_eq!(points_of(&sql, &card(1)).await, 0);
    let left = "SELECT count(*) FROM account WHERE state = 3 AND total_points <> 0";
    assert_eq!(service.count(left).await, 0, "nothing is booked on an account that is no more");
    audit(&service).await;
}
