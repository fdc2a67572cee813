//! The model against two replicas on a real PostgreSQL: each operation is sent to one of them,
//! and then the receipt, the card at the other replica, and the rows of the accounts are
//! compared.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Arc;

use http::StatusCode;
use jiff::Timestamp;
use jiff::civil::Date;
use proptest::strategy::{Just, Strategy};
use proptest_state_machine::{ReferenceStateMachine as _, Sequential};
use serde_json::{Value, json};
use tillside::commit::{Adjusted, Adjustment, Desk, Whose};
use tillside::domain::account::CLOCK_START;
use tillside::domain::bucket;
use tillside::domain::ledger::{LotKey, Lots};
use tillside::import::{self, Importer};
use tillside::till::Till;
use tokio::sync::Mutex;
use tokio_postgres::Client;

use super::account::{self as model, Standing};
use super::chain::{Answer, Chain, Name, Programme, Purchase, Receipt, Refused, Way};
use super::issued::{self, Issued};
use super::operations::Operation;
use super::pure::{kind, lot_key, lots_of, rules, tier_no};
use super::tiers::{Tier, month};
use super::{History, SIZE};
use crate::support::flow::sold;
use crate::support::flow::{account_of, audit, enrol, look_up, slug, void};
use crate::support::service::{Replica, TestService, body, card, post, today};

/// How much the replicas remember, and who writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Caches {
    /// Both remember, and each operation goes to one or the other.
    Default,
    /// Nobody remembers anything.
    Off,
    /// One replica writes, and now and then the other decides: nothing that it remembers has
    /// run out, and all of it is wrong.
    Stale,
}

/// Two replicas with one programme.
pub(crate) struct Pair {
    caches: Caches,
    pub(crate) programme: Programme,
    service: TestService,
    replicas: [Replica; 2],
    desk: Mutex<Desk>,
    sql: Client,
}

/// What a case has seen. Each case has cards and numbers of its own.
pub(crate) struct Case {
    first_card: u64,
    first_number: i64,
    /// The answers to what was done, by the path that asks for it again.
    answers: HashMap<String, bytes::Bytes>,
    issued: Issued,
    /// The account ids of the model's accounts.
    account_ids: HashMap<usize, i64>,
    operations: u64,
}

impl Pair {
    pub(crate) async fn start(caches: Caches, programme: Programme) -> Self {
        let service = TestService::start_with(|config| {
            if caches == Caches::Off {
                config.cache.accounts_max = 0;
                config.cache.cards_max = 0;
            }
        })
        .await;
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        let csv = "sku,name,department,category,no_points\n902192,Gift card,GROCERY,GIFTCARD,true\n\
             1095275,Milk,GROCERY,DAIRY,false\n";
        file.write_all(csv.as_bytes()).expect("written");
        let file = import::read_catalogue(file.path(), |_| ()).expect("sound");
        let now = Timestamp::now();
        let mut importer =
            Importer::connect(&service.config.database, now).await.expect("it is up");
        importer.catalogue(&file, today(), "test", |_| ()).await.expect("imported");
        let rules = serde_json::to_string(&rules(&programme)).expect("rules are JSON");
        let sql = service.sql().await;
        let update = "UPDATE programme SET rules = $1::text::jsonb";
        sql.execute(update, &[&rules]).await.expect("the rules are sound");
        let replicas = [service.replica().await, service.replica().await];
        let desk = Mutex::new(Desk::new(&service.config.commit, &service.config.database));
        issued::offer(&service, &replicas, None).await;
        Self { caches, programme, service, replicas, desk, sql }
    }

    /// A chain on which nothing has happened yet.
    pub(crate) fn histories(&self) -> impl Strategy<Value = History> + use<> {
        let (app, programme) = (Arc::clone(&self.replicas[0].app), self.programme);
        Sequential::new(
            SIZE.into(),
            move || {
                let today = app.today();
                Just(Chain::with_offers(programme, today, issued::OFFERS.to_vec()))
            },
            Chain::preconditions,
            Chain::transitions,
            Chain::apply,
        )
    }

    pub(crate) async fn begin(&self, number: u32) -> Case {
        issued::offer(&self.service, &self.replicas, Some(number)).await;
        Case {
            first_card: u64::from(number) * 10,
            first_number: i64::from(number) * 1_000,
            answers: HashMap::new(),
            issued: Issued::new(number),
            account_ids: HashMap::new(),
            operations: 0,
        }
    }

    /// Lets an operation happen to the product as well, and compares.
    pub(crate) async fn follow(
        &self,
        case: &mut Case,
        operation: &Operation,
        answer: &Answer,
        chain: &Chain,
    ) {
        case.operations += 1;
        let drawn = case.operations.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let side = match self.caches {
            Caches::Stale => usize::from(drawn.is_multiple_of(5)),
            Caches::Default | Caches::Off => usize::from(drawn.is_multiple_of(2)),
        };
        let [till, other] = [side, 1 - side].map(|side| self.replicas[side].till("0367", "03"));
        match operation {
            Operation::Swipe(purchase) => case.swipe(&till, purchase, answer, chain).await,
            Operation::Void(name) => case.void(&till, *name, answer, chain).await,
            Operation::Enrol { card, link_to } => {
                case.enrol(&till, *card, *link_to, answer, chain).await;
            }
            Operation::Adjust { .. } | Operation::Sweep { .. } => {
                self.at_the_desk(case, operation, answer).await;
            }
            Operation::Issue { offer, card, on } => {
                let (mut desk, card) = (self.desk.lock().await, case.card(*card));
                let snapshot = self.replicas[0].app.catalogue.current();
                case.issued.issue(&mut desk, &snapshot, (*offer, card, *on)).await;
            }
            Operation::Revoke { coupon } => {
                let mut desk = self.desk.lock().await;
                let snapshot = self.replicas[0].app.catalogue.current();
                case.issued.revoke(&mut desk, &snapshot, *coupon, answer).await;
            }
        }
        for card in touched(operation, chain) {
            case.look_up(&other, card, chain).await;
            case.rows(&self.sql, card, chain).await;
        }
    }

    /// What people and the calendar do, who have no till.
    async fn at_the_desk(&self, case: &Case, operation: &Operation, expected: &Answer) {
        let mut desk = self.desk.lock().await;
        let (snapshot, now) = (self.replicas[0].app.catalogue.current(), Timestamp::now());
        match *operation {
            Operation::Adjust { id, card, date, points } => {
                let adjustment = Adjustment {
                    id: id.to_string(),
                    whose: Whose::Card(case.card(card)),
                    points,
                    reason: "goodwill".to_owned(),
                    actor: "test".to_owned(),
                    business_date: date,
                    user: None,
                };
                let adjusted = desk.adjust(&snapshot, &adjustment, now).await;
                let adjusted = match adjusted.expect("the database is there") {
                    Adjusted::Now(_) => Answer::Card(Ok(true)),
                    Adjusted::Before(_) => Answer::Card(Ok(false)),
                    Adjusted::IdReused => Answer::OtherContent,
                    other => panic!("{other:?}"),
                };
                assert_eq!(adjusted, *expected);
            }
            Operation::Sweep { card, date } => {
                let account_id = account_of(&self.sql, &case.card(card)).await;
                let expired = desk.expire(&snapshot, &[account_id], date, now).await;
                let expired = expired.expect("the database is there").accounts > 0;
                assert_eq!(Answer::Card(Ok(expired)), *expected, "whether points ran out");
            }
            _ => unreachable!("a till does these"),
        }
    }

    /// What must hold between all tables, whatever the cases were; and that the caches were as
    /// they were meant to be.
    pub(crate) async fn finish(&self) {
        audit(&self.service).await;
        let remembers = self.caches != Caches::Off;
        for replica in &self.replicas {
            let held = replica.app.accounts.held();
            assert_eq!(held > 0, remembers, "{held} accounts are remembered");
            let metrics = replica.app.metrics.render();
            let none = "tillside_cache_lookups_total{cache=\"accounts\",outcome=\"hit\"} 0";
            let found = !metrics.lines().any(|line| line == none);
            assert_eq!(found, remembers, "whether anything was found in memory: {metrics}");
        }
    }
}

impl Case {
    async fn swipe(&mut self, till: &Till, purchase: &Purchase, expected: &Answer, chain: &Chain) {
        let answered = post(till, &self.wire(purchase)).await;
        let key = format!("{:?}", purchase.name);
        let named = chain.named(purchase.name).expect("the model has it");
        if let Answer::Done { .. } = expected {
            issued::compare(&body(&answered), &named.outcomes);
        }
        let account = named.account;
        self.compare(key, &answered, expected, account.map(|at| &chain.accounts[at]));
    }

    async fn void(&mut self, till: &Till, name: Name, expected: &Answer, chain: &Chain) {
        let answered = void(till, &self.name(name)).await;
        let account = chain.named(name).and_then(|named| named.account);
        let now = account.map(|at| &chain.accounts[chain.heir_of(at)]);
        self.compare(format!("{name:?} void"), &answered, expected, now);
    }

    /// The answer to a swipe or a void.
    fn compare(
        &mut self,
        key: String,
        answered: &tillside::till::Answer,
        expected: &Answer,
        account: Option<&model::Account>,
    ) {
        let is_voided = answered.headers.contains_key("tillside-voided");
        match expected {
            Answer::Done { receipt, voided } => {
                assert_eq!(answered.status, StatusCode::CREATED, "{:?}", answered.body);
                let told = body(answered);
                assert_eq!(receipt_of(&told), *receipt, "{told}");
                assert_eq!(is_voided, *voided, "the mark of a void");
                let enrolled = account.is_some_and(|account| account.enrolled);
                assert_eq!(told["account"].is_string(), enrolled, "{told}");
                self.answers.insert(key, answered.body.clone());
            }
            Answer::Again { voided } => {
                assert_eq!(answered.status, StatusCode::OK, "{:?}", answered.body);
                assert_eq!(self.answers[&key], answered.body, "the bytes of the first answer");
                assert_eq!(is_voided, *voided, "the mark of a void");
            }
            Answer::OtherContent => assert_eq!(slug(answered), "swipe-name-reused"),
            Answer::Card(_) | Answer::Coupon(_) => unreachable!("this is about transactions"),
        }
    }

    async fn enrol(
        &mut self,
        till: &Till,
        number: u8,
        link_to: Option<u8>,
        expected: &Answer,
        chain: &Chain,
    ) {
        let mut enrolment = json!({ "card": self.card(number) });
        if let Some(target) = link_to {
            enrolment["link_to"] = self.card(target).into();
        }
        let answered = enrol(till, &enrolment).await;
        match expected {
            Answer::Card(Err(Refused::NoSuchTarget)) => assert_eq!(slug(&answered), "not-found"),
            Answer::Card(Err(Refused::OfAnotherAccount)) => {
                assert_eq!(slug(&answered), "card-of-another-account");
            }
            Answer::Card(Ok(now)) => {
                let status = if *now { StatusCode::CREATED } else { StatusCode::OK };
                assert_eq!(answered.status, status, "{:?}", answered.body);
                self.stands(number, &body(&answered), chain);
            }
            _ => unreachable!("this is about cards"),
        }
    }

    /// The card as it stands now, at the replica that has not just written.
    async fn look_up(&self, till: &Till, number: u8, chain: &Chain) {
        let answered = look_up(till, &self.card(number)).await;
        match chain.account_of(number) {
            None => assert_eq!(answered.status, StatusCode::NOT_FOUND, "{:?}", answered.body),
            Some(account) => {
                let told = body(&answered);
                self.stands(number, &told, chain);
                self.issued.shown(&told, account, chain);
            }
        }
    }

    fn stands(&self, number: u8, told: &Value, chain: &Chain) {
        let account = chain.account_of(number).expect("the card was used");
        let account = &chain.accounts[account];
        assert_eq!(told["enrolled"], account.enrolled, "{told}");
        let Receipt { standing, tier, .. } = receipt_of(told);
        assert_eq!(standing, Some(account.standing(chain.today)), "{told}");
        let now = month(account.clock.max(chain.today));
        let stands = chain.programme.tiers.map(|tiers| tiers.standing(&account.months, now));
        assert_eq!(tier, stands, "{told}");
    }

    /// The rows of a card's account, and of those that were merged into it.
    async fn rows(&mut self, sql: &Client, number: u8, chain: &Chain) {
        let Some(at) = chain.account_of(number) else { return };
        let id = account_of(sql, &self.card(number)).await;
        assert_eq!(*self.account_ids.entry(at).or_insert(id), id, "the account of the card");
        for (other, expected) in chain.accounts.iter().enumerate() {
            let Some(id) = self.account_ids.get(&other) else { continue };
            if chain.heir_of(other) != at {
                continue;
            }
            let bucket = i16::from(bucket::of_account(*id));
            let statement = "SELECT version, clock, total_points, lots FROM account
                             WHERE bucket = $1 AND account_id = $2";
            let row = sql.query_one(statement, &[&bucket, id]).await.expect("the account is there");
            let (version, clock): (i64, Date) = (row.get(0), row.get(1));
            let begun = expected.clock.max(CLOCK_START);
            assert_eq!((version, clock), (expected.version, begun), "version and clock");
            assert_eq!(row.get::<_, i64>(2), expected.total(), "total");
            let lots = Lots::decode(row.get(3)).expect("lots are readable");
            let lots: Vec<(LotKey, i64)> = lots.iter().map(|lot| (lot.key, lot.points)).collect();
            assert_eq!(lots, lots_of(expected), "lots");
            let statement = "SELECT kind, points, lot_expires, lot_available FROM entry
                             WHERE bucket = $1 AND account_id = $2
                             ORDER BY version, entry_no";
            let rows = sql.query(statement, &[&bucket, id]).await.expect("the entries are there");
            let entries: Vec<(i16, i64, Date, Date)> =
                rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect();
            let wanted: Vec<(i16, i64, Date, Date)> = expected
                .entries
                .iter()
                .map(|entry| {
                    let lot = lot_key(entry.lot);
                    (kind(entry.kind) as i16, entry.points, lot.expires_on, lot.available_from)
                })
                .collect();
            assert_eq!(entries, wanted, "entries");
            self.issued.rows(sql, other, *id, chain).await;
        }
    }

    fn card(&self, number: u8) -> String {
        card(self.first_card + u64::from(number))
    }

    fn name(&self, name: Name) -> String {
        format!("0367/03/{}/{}", name.business_date, self.first_number + name.number)
    }

    /// The transaction as a till writes it.
    fn wire(&self, purchase: &Purchase) -> Value {
        let date = purchase.name.business_date;
        let lines: Vec<Value> = purchase
            .lines
            .iter()
            .zip(1..)
            .map(|(line, number)| {
                let sku = if line.no_points { "902192" } else { "1095275" };
                let mut wire = sold(number, sku, line.amount_minor);
                wire["discount_minor"] = line.discount_minor.into();
                let (whole, part) = (line.quantity / 1_000, line.quantity % 1_000);
                wire["quantity"] = format!("{whole}.{part:03}").into();
                if line.way != Way::Sold {
                    wire["kind"] = "return".into();
                }
                if let Way::BackFrom { name, line } = line.way {
                    wire["returns"] = json!({ "swipe": self.name(name), "line": line });
                }
                wire
            })
            .collect();
        let mut wire = json!({
            "store_id": "0367", "workstation_id": "03", "business_date": date,
            "sequence_number": self.first_number + purchase.name.number,
            "occurred_at": format!("{date}T11:53:26-04:00"), "currency": "USD",
            "training": purchase.training, "lines": lines,
            "adjustments": [{ "kind": "tax", "amount_minor": purchase.tax_minor }],
            "total_minor": purchase.total_minor(),
            "points_spent": purchase.points_spent,
            "points_value_minor": purchase.points_value_minor,
            "redemptions": self.issued.wire(&purchase.taken),
        });
        if let Some(number) = purchase.card {
            wire["card"] = self.card(number).into();
        }
        wire
    }
}

/// A card of each account that an operation may have touched.
fn touched(operation: &Operation, chain: &Chain) -> Vec<u8> {
    match operation {
        Operation::Swipe(purchase) => purchase.card.into_iter().collect(),
        Operation::Void(name) => {
            let account = chain.named(*name).and_then(|named| named.account);
            let heir = account.map(|at| chain.heir_of(at));
            let cards = chain.cards.iter().filter(|(_, at)| Some(*at) == heir);
            cards.map(|(card, _)| *card).take(1).collect()
        }
        Operation::Enrol { card, link_to } => link_to.iter().copied().chain([*card]).collect(),
        Operation::Adjust { card, .. }
        | Operation::Sweep { card, .. }
        | Operation::Issue { card, .. } => vec![*card],
        Operation::Revoke { coupon } => {
            let holder = chain.heir_of(chain.coupons.account_of(*coupon));
            let cards = chain.cards.iter().filter(|(_, at)| *at == holder);
            cards.map(|(card, _)| *card).take(1).collect()
        }
    }
}

/// What a receipt says of points and of the tier.
fn receipt_of(told: &Value) -> Receipt {
    let points = &told["points"];
    let number = |field: &str| points[field].as_i64().unwrap_or_else(|| panic!("{points}"));
    let next = &points["next_expiry"];
    let next_expiry = next["points"].as_i64().map(|points| {
        let on = next["on"].as_str().expect("a text");
        (points, on.parse().expect("a date"))
    });
    let standing = points["balance"].as_i64().map(|balance| Standing {
        balance,
        spendable: number("spendable"),
        pending: number("pending"),
        next_expiry,
    });
    Receipt {
        earned: number("earned"),
        reversed: number("reversed"),
        spent: number("spent"),
        short: points["short"].as_i64().unwrap_or(0),
        standing,
        tier: told["tier"].as_object().map(|tier| Tier {
            number: tier_no(tier["name"].as_str()),
            to_next_minor: tier["to_next_minor"].as_i64(),
        }),
    }
}
