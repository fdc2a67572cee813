//! One customer's year, folded by the service's own rules into the rows that it leaves.
//!
//! Everything follows from the customer's number. Must never decide anything itself: what a
//! basket earns, what a receipt says and what a profile learns is what the domain says.

use std::cell::RefCell;

use fastrand::Rng;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tillside::domain::account::{Account, State};
use tillside::domain::basket::{EntryMethod, Line, LineKind, Swipe};
use tillside::domain::bucket;
use tillside::domain::content;
use tillside::domain::name::SwipeName;
use tillside::domain::product::{Product, Taxa};
use tillside::domain::profile::{self, Profile, Visit};
use tillside::domain::programme::earning::Place;
use tillside::domain::programme::{Programme, Rules};
use tillside::domain::quantity::Quantity;
use tillside::domain::record;
use tillside::domain::standing;
use tillside::domain::swipe::{Facts, decide};
use tillside::receipt::{self, Compressor, Points, Receipt, Tier, account_text};
use tokio_postgres::Client;

use super::articles::{self, SOLD};
use super::copy::products;
use super::rows::{Name, Rows, Swiped};
use super::{Past, account_id, card};
use crate::error::HarnessError;
use crate::load::{SHELF, SHELF_STRIDE};
use crate::world::Workstation;

/// Versions between two checkpoints of a profile, as in the service.
const CHECKPOINT_VERSIONS: u32 = 16;
/// Has no divisor with [`SHELF`] in common: all of them are bought before one comes again.
const STRIDE: usize = 101;
/// Lines of a basket, ten on average.
const LINES_MAX: u16 = 19;
/// Sequence numbers of a customer's baskets.
const NUMBERS: u64 = 1_000;

/// What all customers share.
pub(super) struct Shop {
    programme: Programme,
    epoch: i32,
    articles: Vec<(String, Product)>,
    tills: Vec<Till>,
    days: Vec<Day>,
}

struct Till {
    store_id: String,
    workstation_id: String,
    workstation_no: i32,
    store_no: u32,
    bucket: u8,
    time_zone: TimeZone,
}

/// A trading day.
struct Day {
    date: Date,
    /// From the first month.
    month: usize,
    noon: Timestamp,
}

thread_local! {
    static COMPRESSOR: RefCell<Compressor> = RefCell::new(Compressor::new());
}

impl Shop {
    /// Reads what the database calls the tills and the articles.
    pub(super) async fn load(
        client: &Client,
        tills: &[Workstation],
        first_day: Date,
        last_day: Date,
    ) -> Result<Self, HarnessError> {
        let doing = "reading the reference data";
        let programme = Programme::compile(&Rules::default(), |_, _| None)
            .map_err(HarnessError::doing(doing))?;
        let row = client.query_one("SELECT max(epoch) FROM epoch", &[]).await;
        let epoch = row.map_err(HarnessError::doing(doing))?.get(0);
        let mut by_sku = products(client).await?;
        let number = |value: i32| value.unsigned_abs();
        let article = |article| {
            let sku = articles::sku(article);
            let [product_no, department_no, category_no, type_no, brand_no] =
                by_sku.remove(&sku)?.map(number);
            let taxa = Taxa { department_no, category_no, type_no, brand_no };
            Some((sku, Product { product_no, taxa, ..Product::default() }))
        };
        let articles: Option<Vec<_>> = (0..SOLD).map(article).collect();
        let articles =
            articles.ok_or_else(|| HarnessError::doing(doing)("an article is missing"))?;
        let sql = "SELECT w.workstation_no, s.store_no, s.time_zone
                   FROM workstation w JOIN store s USING (store_id)
                   WHERE w.store_id = $1 AND w.workstation_id = $2";
        let mut known = Vec::with_capacity(tills.len());
        for Workstation { store_id, workstation_id, .. } in tills {
            let row = client.query_one(sql, &[store_id, workstation_id]).await;
            let row = row.map_err(HarnessError::doing(doing))?;
            known.push(Till {
                store_id: store_id.clone(),
                workstation_id: workstation_id.clone(),
                workstation_no: row.get(0),
                store_no: row.get::<_, i32>(1).unsigned_abs(),
                bucket: bucket::of_workstation(store_id, workstation_id),
                time_zone: TimeZone::get(row.get(2)).map_err(HarnessError::doing(doing))?,
            });
        }
        let months = |date: Date| i32::from(date.year()) * 12 + i32::from(date.month());
        let day = |date: Date| {
            let noon = TimeZone::UTC.to_timestamp(date.at(16, 0, 0, 0)).ok()?;
            let month = usize::try_from(months(date) - months(first_day)).ok()?;
            Some(Day { date, month, noon })
        };
        let dates = first_day.series(jiff::Span::new().days(1));
        let days: Vec<Day> = dates.take_while(|date| *date <= last_day).filter_map(day).collect();
        Ok(Self { programme, epoch, articles, tills: known, days })
    }

    /// Folds one customer's baskets and leaves their rows.
    pub(super) fn customer(&self, customer: u64, baskets: u32, past: Past, rows: &mut Rows) {
        let mut rng = Rng::with_seed(customer);
        let id = account_id(customer);
        let mut account = Account::new(id, State::Enrolled);
        let mut profile = Profile::default();
        let card = card(customer);
        // Where the generator goes on buying.
        let articles = self.articles.len();
        let number = usize::try_from(customer).expect("customers are counted in memory");
        let shelf = number.wrapping_mul(SHELF_STRIDE) % articles;
        let usual_till = rng.usize(..self.tills.len());
        // The first day is the same part of the time between two visits for all of them.
        let phase = rng.usize(..self.days.len());
        let checkpoint = match past {
            Past::Whole => baskets / CHECKPOINT_VERSIONS * CHECKPOINT_VERSIONS,
            Past::Outcome => baskets,
        };
        let (mut products, mut bought) = (Vec::new(), 0);
        let mut tail_since = Date::MAX;
        rows.card(id, &card, self.days[0].noon);
        for version in 1..=baskets {
            let span = (version as usize - 1) * self.days.len() + phase;
            let day = &self.days[span / baskets as usize];
            let elsewhere = version % 7 == 0;
            let till = &self.tills[(usual_till + usize::from(elsewhere)) % self.tills.len()];
            let sequence_number = customer * NUMBERS + u64::from(version);
            products.clear();
            let lines: Vec<Line> = (1..=rng.u16(1..=LINES_MAX))
                .map(|line| {
                    bought += 1;
                    let article = (shelf + bought * STRIDE % SHELF) % articles;
                    let (sku, product) = &self.articles[article];
                    products.push(*product);
                    line_of(&mut rng, line, sku)
                })
                .collect();
            let occurred_at = day.noon + SignedDuration::from_secs(rng.i64(-10_000..20_000));
            let swipe = Swipe {
                name: SwipeName {
                    store_id: till.store_id.clone(),
                    workstation_id: till.workstation_id.clone(),
                    business_date: day.date,
                    sequence_number: i64::try_from(sequence_number).expect("far below 2^53"),
                },
                occurred_at,
                card: Some(card.clone()),
                entry_method: Some(EntryMethod::Scanned),
                operator_id: None,
                training: false,
                offline: false,
                total_minor: lines.iter().map(Line::net_minor).sum(),
                lines,
                adjustments: Vec::new(),
                redemptions: Vec::new(),
                points_spent: 0,
                points_value_minor: 0,
            };
            if version <= checkpoint {
                let hour = till.time_zone.to_datetime(occurred_at).hour().unsigned_abs();
                profile.learn(&Visit {
                    business_date: day.date,
                    hour,
                    store_no: till.store_no,
                    total_minor: swipe.total_minor,
                    redemptions: 0,
                    sold: &products,
                });
            }
            if version > checkpoint {
                tail_since = tail_since.min(day.date);
            }
            let before = account;
            account = self.swipe(&before, &swipe, &products, (day, till), past, rows);
        }
        rows.account(&account, tail_since);
        if checkpoint > 0 {
            rows.profile(id, checkpoint.into(), profile::ENCODING, &profile.encode());
        }
    }

    /// One basket on an account: the account as it becomes.
    fn swipe(
        &self,
        account: &Account,
        swipe: &Swipe,
        products: &[Product],
        (day, till): (&Day, &Till),
        past: Past,
        rows: &mut Rows,
    ) -> Account {
        let returned = [None; LINES_MAX as usize];
        let returned = &returned[..products.len()];
        let facts =
            Facts { programme: &self.programme, products, returned, place: Place::default() };
        let decision = decide(account, swipe, &facts);
        if past == Past::Outcome {
            return decision.account;
        }
        let id = account.account_id;
        let version = decision.account.version;
        let recorded_at = swipe.occurred_at + SignedDuration::from_millis(4);
        let standing = standing::of(&decision.account, decision.account.clock);
        let answer = receipt::to_bytes(&Receipt {
            swipe: &swipe.name.to_string(),
            account: Some(account_text(id)),
            recorded_at,
            points: Points { earned: decision.earned, ..Points::of_account(&standing) },
            tier: Tier::of_account(&self.programme, &decision.account, day.date),
            redemptions: Vec::new(),
            coupons: Vec::new(),
            messages: Vec::new(),
        });
        let name = Name {
            bucket: till.bucket,
            workstation_no: till.workstation_no,
            business_date: day.date,
            sequence_number: swipe.name.sequence_number,
        };
        rows.key(id, version, name, &content::hash(swipe));
        rows.entries(id, version, day.date, &decision.entries);
        let swiped = Swiped {
            version,
            epoch: self.epoch,
            occurred_at: swipe.occurred_at,
            recorded_at,
            total_minor: swipe.total_minor,
            earned: decision.earned,
            record: &record::encode(swipe, products, &decision),
            receipt: &COMPRESSOR.with_borrow_mut(|compressor| compressor.compress(&answer)),
        };
        rows.swipe(day.month, id, name, &swiped);
        decision.account
    }
}

fn line_of(rng: &mut Rng, line: u16, sku: &str) -> Line {
    let pieces = if rng.u8(..8) == 0 { 2 } else { 1 };
    Line {
        line,
        kind: LineKind::Sale,
        sku: sku.to_owned(),
        quantity: Quantity::from_thousandths(pieces * 1_000).expect("in range"),
        amount_minor: rng.i64(79..1_500) * pieces,
        discount_minor: if rng.u8(..6) == 0 { rng.i64(1..79) } else { 0 },
    }
}
