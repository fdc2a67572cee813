//! Which coupons a swipe brought and why, and for every other offer why not: the choice made
//! again, from the swipes of the account up to that one, the offers of that moment, and the few
//! facts that are stored beside the swipe.
//!
//! | phase | round trips |
//! |---|---|
//! | the swipe under its name | 1 |
//! | the sales of its account, the coupons that it brought | 2 |
//! | offers as they were, where they have changed since | 1 |
//!
//! Must never write, and must never say what was bought: numbers and offers are all that it tells.

pub mod http;
mod sql;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::catalogue::{self, Snapshot, Workstation};
use crate::commit::NameKey;
use crate::db::DbError;
use crate::db::pool::Pool;
use crate::domain::basket::Line;
use crate::domain::coupon::Code;
use crate::domain::name::SwipeName;
use crate::domain::offer::Basket;
use crate::domain::product::Product;
use crate::domain::profile::{Profile, Visit};
use crate::domain::record::{self, Record};
use crate::domain::selection::showcase::{
    CERTAIN_PPM, Choice, Evidence, Judged, Lot, Noted, Reason, ShowcaseRoom, Slot, Verdict, Why,
};
use crate::domain::swipe::Kind;
use crate::error::Error;
use crate::receipt::account_text;
use sql::{Brought, Found, Sale};

/// What was chosen with one swipe.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = CouponDecision)]
pub struct Explanation {
    /// The name of the swipe.
    #[schema(example = "0367/03/2026-03-14/31198")]
    pub swipe: String,
    /// The account.
    #[schema(example = "acc_000000000A1KV")]
    pub account: String,
    /// Whether the sale was voided since, and its open coupons taken back with it.
    pub voided: bool,
    /// Why nothing was chosen at all; null when something could have been.
    pub nothing_chosen: Option<&'static str>,
    /// Whether the account belongs to those who get nothing that the till chooses.
    pub held_out: bool,
    /// Whether nothing that was bought had a part in the choice, since profiling was refused, or
    /// was not wanted by everybody where the chain asks for that.
    pub unprofiled: bool,
    /// Most coupons that it could have got.
    pub most: u8,
    /// What said so: `receipt`, what one carries; `open`, what a customer holds; `week`, what a
    /// customer gets in a week.
    #[schema(example = "receipt")]
    pub bound: &'static str,
    /// Whether the choice, made again, is what was given.
    pub agrees: bool,
    /// Every offer that the till could choose from, those that were chosen first, the others by
    /// their rank.
    pub offers: Vec<OfferDecision>,
}

/// What became of one offer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct OfferDecision {
    /// What people call it.
    #[schema(example = "yoghurt-50")]
    pub offer: String,
    /// `given`. Or why not, the first that holds: `held-out`, chosen but for the hold-out;
    /// `no-room`, chosen or left out since its budget had no room, or none that was in hand;
    /// `not-live` on that day; `other-store`; `held` already, or used with this basket;
    /// `just-bought`; `tired`, ignored too often; `tired-of-type`, as all that was for its type;
    /// `pacing`, as many were issued as its pace allows by that day; `nothing-in-common` with what
    /// was ever bought; `no-place`, none could be given; `same-type` as a chosen one; `outranked`
    /// by others.
    #[schema(example = "given")]
    pub verdict: &'static str,
    /// The chosen offer that is for the same type.
    pub beside: Option<String>,
    /// The code of the coupon that was given.
    pub coupon: Option<String>,
    /// What it was there for: `push`, `win-back`, `repeat`, `explore` or `up-sell`.
    pub slot: Option<&'static str>,
    /// With which probability it was this one, given what stands before it on the receipt.
    pub propensity: Option<f64>,
    /// What spoke for it, as receipts name it.
    #[schema(example = "due-again")]
    pub reason: Option<&'static str>,
    /// The same in one sentence with its numbers.
    pub sentence: Option<String>,
    /// The numbers.
    pub numbers: Numbers,
    /// Stores in which it counts; empty: all of them.
    #[serde(skip)]
    pub stores: Vec<String>,
}

/// The numbers behind a choice.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = CouponNumbers)]
pub struct Numbers {
    /// Baskets that held each of the offer's articles, added up. For a `larger-pack` this and the
    /// two next are about the articles of the usual size instead.
    pub bought: u16,
    /// The usual gap between them in days; null when none is known.
    pub usual_gap_days: Option<u16>,
    /// Days since one was last bought; null when none was.
    pub days_since: Option<u16>,
    /// How much is bought of what makes it kin, in baskets, older ones weighing less.
    pub kin: f64,
    /// Its place among all offers by score, from 1.
    pub rank: u16,
    /// Its score: the logarithm of the odds that it is redeemed.
    pub score: f64,
    /// For a `larger-pack` the size that is bought; null otherwise.
    #[schema(example = "500 g")]
    pub usual_pack: Option<String>,
    /// And the smallest that the offer is for.
    #[schema(example = "1 kg")]
    pub offered_pack: Option<String>,
}

impl From<Evidence> for Numbers {
    fn from(evidence: Evidence) -> Self {
        let Evidence { bought, gap_days, days_since, kin, rank, score, sizes } = evidence;
        Self {
            bought,
            usual_gap_days: (gap_days > 0).then_some(gap_days),
            days_since: (bought > 0).then_some(days_since),
            kin: f64::from(kin) / 10.0,
            rank,
            score: f64::from(score) / 100.0,
            usual_pack: sizes.map(|it| it.usual.to_string()),
            offered_pack: sizes.map(|it| it.offered.to_string()),
        }
    }
}

/// Explains the swipe with a name; none when no sale is recorded under it, or it is of another
/// account than the one that is asked for.
///
/// # Errors
/// When the database fails or holds what cannot be.
pub async fn explain(
    pool: &Pool,
    snapshot: &Arc<Snapshot>,
    name: &SwipeName,
    account_id: Option<i64>,
) -> Result<Option<Explanation>, Error> {
    let workstation = snapshot.workstation(&name.store_id, &name.workstation_id);
    let Some(workstation) = workstation else { return Ok(None) };
    let client = pool.get().await.map_err(DbError::from)?;
    let found = sql::find(&client, &NameKey::new(workstation, name)).await?;
    let found = found.filter(|it| account_id.is_none_or(|wanted| wanted == it.account_id));
    let Some(found) = found else { return Ok(None) };
    let sales = sql::history(&client, found.account_id, found.version).await?;
    let damaged = |what: &dyn fmt::Display| Error::Damaged(format!("swipe {name}: {what}"));
    let mut explanation = Explanation {
        swipe: name.to_string(),
        account: account_text(found.account_id),
        voided: found.voided,
        nothing_chosen: None,
        held_out: false,
        unprofiled: false,
        most: 0,
        bound: "receipt",
        agrees: true,
        offers: Vec::new(),
    };
    let Some(bytes) = &found.decision else {
        explanation.nothing_chosen = Some(why_nothing(&found, workstation, sales.last())?);
        return Ok(Some(explanation));
    };
    let noted = Noted::decode(bytes).map_err(|error| damaged(&error))?;
    explanation.held_out = noted.held_out;
    explanation.most = noted.most;
    explanation.bound = noted.bound.name();
    explanation.unprofiled = noted.unprofiled;
    let brought = sql::brought(&client, found.account_id, found.version).await?;

    let (profile, record) = learnt(snapshot, &sales)?;
    let profile = if noted.unprofiled { Profile::default() } else { profile };
    let record = record.ok_or_else(|| damaged(&"its sale is not there"))?;
    let lines: Vec<Line> = record.lines.iter().map(line_of).collect();
    let products: Vec<Product> = record.lines.iter().map(|line| line.product).collect();
    let basket = Basket {
        business_date: name.business_date,
        store_no: workstation.store_no,
        lines: &lines,
        products: &products,
    };
    let of_then = (noted.reference_version, noted.epoch);
    let is_as_now = snapshot.moment() == of_then && noted.refitted;
    let now = snapshot.showcase_on(name.business_date).filter(|_| is_as_now);
    let past = match now {
        Some(_) => None,
        None => {
            let (of, refitted) = (found.epoch, noted.refitted);
            Some(catalogue::showcase_of(&client, snapshot, of_then, of, refitted).await?)
        }
    };
    let showcase = now.or(past.as_ref()).ok_or(Error::Bug)?;
    let moment = noted.moment(&basket, Lot::of(name));
    let mut room = ShowcaseRoom::default();
    let (chosen, judged) = showcase.judge(&profile, &moment, &noted, &mut room);
    explanation.agrees = agrees(&chosen, &judged, &brought);
    explanation.offers = offers(&chosen, &judged, &brought);
    Ok(Some(explanation))
}

/// Why no choice was made with a swipe.
fn why_nothing(
    found: &Found,
    workstation: &Workstation,
    last: Option<&Sale>,
) -> Result<&'static str, Error> {
    let offline = match last {
        Some(sale) => decoded(sale)?.offline,
        None => false,
    };
    Ok(match Kind::from_code(found.kind) {
        Some(Kind::Training) => "it was training",
        Some(Kind::SaleAfterVoid) => "it was voided before it arrived",
        _ if found.account_id == workstation.house_account => "no card was presented",
        _ if offline => "the till had stored it, and the customer had left",
        _ => "the customer was not enrolled, or there was no offer to choose from",
    })
}

fn decoded(sale: &Sale) -> Result<Record, Error> {
    record::decode(&sale.record).map_err(|error| Error::Damaged(format!("record: {error}")))
}

/// The profile after the last of these sales, and what is remembered of that.
fn learnt(snapshot: &Snapshot, sales: &[Sale]) -> Result<(Profile, Option<Record>), Error> {
    let (mut profile, mut last) = (Profile::default(), None);
    for sale in sales {
        let record = decoded(sale)?;
        let (sold, redemptions) = (record.sold(), record.coupons());
        let visit = snapshot.visit(sale.workstation_no, sale.business_date, sale.occurred_at);
        let total_minor = sale.total_minor;
        profile.learn(&Visit { total_minor, redemptions, sold: &sold, ..visit });
        last = Some(record);
    }
    Ok((profile, last))
}

/// A line as offers look at it.
fn line_of(line: &record::RecordedLine) -> Line {
    Line {
        line: line.line,
        kind: line.kind.clone(),
        sku: line.unknown_sku.clone().unwrap_or_default(),
        quantity: line.quantity,
        amount_minor: line.amount_minor,
        discount_minor: line.discount_minor,
    }
}

/// Whether what was chosen again and given is what was given, with the same reasons.
fn agrees(chosen: &[Choice], judged: &[Judged], brought: &[Brought]) -> bool {
    let is_given = |choice: &&Choice| {
        let same = judged.iter().find(|it| it.offer.offer_no == choice.offer.offer_no);
        same.is_some_and(|it| it.verdict == Verdict::Given)
    };
    let again: BTreeMap<i32, &Why> =
        chosen.iter().filter(is_given).map(|choice| (choice.offer.offer_no, &choice.why)).collect();
    let then: BTreeMap<i32, &Why> = brought.iter().map(|it| (it.offer_no, &it.why)).collect();
    again == then
}

/// What became of every offer. What was given is told as it is stored.
fn offers(chosen: &[Choice], judged: &[Judged], brought: &[Brought]) -> Vec<OfferDecision> {
    let mut sorted: Vec<(usize, &Judged)> = judged
        .iter()
        .map(|it| {
            let place = chosen.iter().position(|choice| choice.offer.offer_no == it.offer.offer_no);
            (place.unwrap_or(usize::MAX), it)
        })
        .collect();
    sorted.sort_by_key(|(place, it)| (*place, it.evidence.rank, it.offer.offer_no));
    let named = |offer_no: i32| {
        let other = judged.iter().find(|it| it.offer.offer_no == offer_no)?;
        Some(other.offer.definition.offer.clone())
    };
    let decided = |(place, it): (usize, &Judged)| {
        let stored = brought.iter().find(|coupon| coupon.offer_no == it.offer.offer_no);
        let again = chosen.get(place).map(|choice| choice.why);
        let why = stored.map(|coupon| coupon.why).or(again);
        let (slot, propensity) = match why {
            Some(why) => (Some(why.slot), Some(why.propensity_ppm)),
            None => (None, None),
        };
        let evidence = why.map_or(it.evidence, |why| why.evidence);
        let reason = why.map(|why| why.reason).or(it.reason);
        let whole = |reason| Why { reason, slot: Slot::None, propensity_ppm: 0, evidence };
        OfferDecision {
            offer: it.offer.definition.offer.clone(),
            verdict: if stored.is_some() { Verdict::Given.name() } else { it.verdict.name() },
            beside: match it.verdict {
                Verdict::SameType(offer_no) => named(offer_no),
                _ => None,
            },
            coupon: stored.map(|coupon| Code::to_string(&coupon.code)),
            slot: slot.map(Slot::name),
            propensity: propensity.map(|ppm| f64::from(ppm) / f64::from(CERTAIN_PPM)),
            reason: reason.map(Reason::name),
            sentence: reason.map(|reason| whole(reason).sentence()),
            numbers: evidence.into(),
            stores: it.offer.definition.stores.clone(),
        }
    };
    sorted.into_iter().map(decided).collect()
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { swipe, account, most, bound, .. } = self;
        writeln!(f, "{swipe}: {account}")?;
        if self.voided {
            writeln!(f, "It was voided later; this is what the sale had brought.")?;
        }
        if let Some(why) = self.nothing_chosen {
            return write!(f, "Nothing was chosen: {why}.");
        }
        writeln!(f, "At most {most} coupons, by the limit of {}.", words_of(bound))?;
        if self.held_out {
            writeln!(f, "The account is held out: it gets goodwill only.")?;
        }
        if self.unprofiled {
            writeln!(f, "Without consent to profiling, nothing that was bought had a part in it.")?;
        }
        let [offer, verdict, slot] = ["offer", "verdict", "slot"];
        writeln!(f, "{offer:<24} {verdict:<18} {slot:<9} why")?;
        for it in &self.offers {
            let OfferDecision { offer, verdict, slot, sentence, beside, .. } = it;
            let slot = slot.unwrap_or("");
            let why = sentence.as_deref().unwrap_or("Nothing that was bought is kin to it.");
            write!(f, "{offer:<24} {verdict:<18} {slot:<9} {why}")?;
            match beside {
                Some(beside) => writeln!(f, " For the same type as {beside}.")?,
                None => writeln!(f)?,
            }
        }
        let agrees = if self.agrees { "is what" } else { "IS NOT what" };
        write!(f, "Made again, the choice {agrees} was given.")
    }
}

fn words_of(bound: &str) -> &'static str {
    match bound {
        "open" => "what a customer can hold",
        "week" => "what a customer gets in a week",
        _ => "what a receipt carries",
    }
}
