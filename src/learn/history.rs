//! The chain's history as examples: each coupon that has ended, with what was known of its customer
//! when it was issued, and whether it was redeemed.
//!
//! One walk over all sales in the order of accounts and versions; in memory are the coupons and one
//! profile. A sale counts for a coupon when its version is not beyond the one that issued the
//! coupon, which is how the till looks at it. Must never look at a sale after that.

use std::collections::HashMap;

use jiff::civil::Date;

use super::sql::{Connection, CouponRow, SaleRow};
use super::{LearnError, Sources};
use crate::catalogue::Snapshot;
use crate::domain::product::Product;
use crate::domain::profile::{Profile, Visit};
use crate::domain::record;
use crate::domain::selection::offers::{Known, Live, OFFER_SIGNS, OfferRoom};
use crate::domain::selection::sold::Sold;
use crate::domain::target::Target;
use crate::error::Error;

/// Share of the redeemed coupons that is held out: the latest ones.
const HELD_OUT: f64 = 0.2;

/// One coupon that has ended.
#[derive(Clone, Debug)]
pub(super) struct Example {
    pub(super) account_id: i64,
    /// Place of its offer.
    pub(super) offer: u32,
    pub(super) issued_on: Date,
    pub(super) last_day: Date,
    pub(super) redeemed: bool,
    /// As of its issue; popularity still to be put in.
    pub(super) signs: [f32; OFFER_SIGNS],
}

/// What happened.
#[derive(Debug)]
pub(super) struct History {
    pub(super) sources: Sources,
    pub(super) examples: Vec<Example>,
    /// Coupons issued from this day on are held out; none when nothing was redeemed.
    pub(super) held_out_from: Option<Date>,
    pub(super) sold: Sold,
    /// Before `held_out_from`.
    sold_before: Sold,
}

/// What is known of each offer, by place.
pub(super) struct KnownOffers {
    /// On the day from which coupons are held out.
    pub(super) before: Vec<Known>,
    /// Now.
    pub(super) now: Vec<Known>,
}

/// Reads all of it.
pub(super) async fn read(
    connection: &Connection,
    snapshot: &Snapshot,
    until: Date,
    mut step: impl FnMut(u64),
) -> Result<History, LearnError> {
    let coupons = connection.coupons(until).await?;
    let held_out_from = held_out_from(&coupons);
    let mut walk = Walk::new(snapshot, coupons);
    let mut history = History {
        sources: Sources::default(),
        examples: Vec::new(),
        held_out_from,
        sold: Sold::default(),
        sold_before: Sold::default(),
    };
    let mut room = Vec::new();
    let mut sales = connection.sales(until).await?;
    while let Some(sale) = sales.next().await? {
        let damaged = |error| {
            Error::Damaged(format!("sale {} of account {}: {error}", sale.version, sale.account_id))
        };
        let record = record::decode(&sale.record).map_err(damaged)?;
        let sold = record.sold();
        let articles = || sold.iter().map(|product| product.product_no);
        history.sold.add(articles(), &mut room);
        if held_out_from.is_none_or(|day| sale.business_date < day) {
            history.sold_before.add(articles(), &mut room);
        }
        walk.meet(&sale, &sold, record.coupons());
        step(1);
    }
    history.examples = walk.finish();
    let redeemed = history.examples.iter().filter(|example| example.redeemed).count();
    history.sources = Sources {
        baskets: history.sold.baskets(),
        accounts: walk.accounts,
        coupons: history.examples.len() as u64,
        redeemed: redeemed as u64,
    };
    Ok(history)
}

/// The day from which so many of the redeemed coupons were issued.
fn held_out_from(coupons: &[CouponRow]) -> Option<Date> {
    let redeemed = coupons.iter().filter(|coupon| coupon.redeemed);
    let mut days: Vec<Date> = redeemed.map(|coupon| coupon.valid_from).collect();
    days.sort_unstable();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count"
    )]
    let held_out = (days.len() as f64 * HELD_OUT).ceil() as usize;
    days.get(days.len().checked_sub(held_out.max(1))?).copied()
}

impl History {
    /// What is known of the offers, as articles have sold.
    pub(super) fn known(&self, snapshot: &Snapshot) -> KnownOffers {
        let targets: Vec<&Target> = snapshot.offers().map(|offer| offer.target()).collect();
        let articles = snapshot.articles();
        let known = |sold: &Sold| {
            let live = Live::new(&targets, &articles, &sold.shares(), [0.0; OFFER_SIGNS]);
            (0..).take(targets.len()).map(|place| *live.known(place)).collect()
        };
        KnownOffers { before: known(&self.sold_before), now: known(&self.sold) }
    }
}

/// A walk along the sales, and what it has seen.
struct Walk<'a> {
    snapshot: &'a Snapshot,
    live: Live,
    /// Places of offers, by number.
    places: HashMap<i32, u32>,
    /// By account, the one that was issued first last.
    coupons: HashMap<i64, Vec<CouponRow>>,
    /// The account that the walk is at, and its coupons that are still to be met.
    account_id: i64,
    due: Vec<CouponRow>,
    profile: Profile,
    room: OfferRoom,
    examples: Vec<Example>,
    accounts: u64,
}

impl<'a> Walk<'a> {
    fn new(snapshot: &'a Snapshot, rows: Vec<CouponRow>) -> Self {
        let targets: Vec<&Target> = snapshot.offers().map(|offer| offer.target()).collect();
        let live = Live::new(&targets, &snapshot.articles(), &[], [0.0; OFFER_SIGNS]);
        let places: HashMap<i32, u32> =
            snapshot.offers().zip(0..).map(|(offer, place)| (offer.offer_no, place)).collect();
        let mut coupons: HashMap<i64, Vec<CouponRow>> = HashMap::new();
        // What cannot be loaded any more is for nothing that is known.
        for row in rows.into_iter().filter(|row| places.contains_key(&row.offer_no)) {
            coupons.entry(row.account_id).or_default().push(row);
        }
        for of_account in coupons.values_mut() {
            of_account.sort_by_key(|row| std::cmp::Reverse(row.issued_version));
        }
        Self {
            snapshot,
            live,
            places,
            accounts: coupons.len() as u64,
            coupons,
            account_id: 0,
            due: Vec::new(),
            profile: Profile::default(),
            room: OfferRoom::default(),
            examples: Vec::new(),
        }
    }

    /// Meets the next sale.
    fn meet(&mut self, sale: &SaleRow, sold: &[Product], redemptions: usize) {
        if sale.account_id != self.account_id {
            self.issue_before(i64::MAX);
            self.account_id = sale.account_id;
            self.profile = Profile::default();
            self.due = self.coupons.remove(&sale.account_id).unwrap_or_default();
        }
        self.issue_before(sale.version);
        if self.due.is_empty() {
            return;
        }
        let SaleRow { workstation_no, business_date, occurred_at, total_minor, .. } = *sale;
        let visit = self.snapshot.visit(workstation_no, business_date, occurred_at);
        self.profile.learn(&Visit { total_minor, redemptions, sold, ..visit });
    }

    /// Makes examples of the coupons that were issued before a version.
    fn issue_before(&mut self, version: i64) {
        let Self { live, places, profile, room, examples, due, .. } = self;
        let later = due.iter().take_while(|row| row.issued_version >= version).count();
        if later == due.len() {
            return;
        }
        let issued = due.split_off(later);
        let mut at = issued.iter();
        let of_offers = issued.iter().map(|row| places[&row.offer_no]);
        live.signs(profile, of_offers, room, |signs, _| {
            let row = at.next().expect("signs are handed over for each coupon");
            examples.push(Example {
                account_id: row.account_id,
                offer: places[&row.offer_no],
                issued_on: row.valid_from,
                last_day: row.valid_until,
                redeemed: row.redeemed,
                signs: *signs,
            });
        });
    }

    /// The examples, those of accounts without any sale included.
    fn finish(&mut self) -> Vec<Example> {
        self.issue_before(i64::MAX);
        self.profile = Profile::default();
        let mut rest: Vec<CouponRow> =
            std::mem::take(&mut self.coupons).into_values().flatten().collect();
        rest.sort_by_key(|row| (row.account_id, row.code));
        self.due = rest;
        self.issue_before(i64::MAX);
        std::mem::take(&mut self.examples)
    }
}
