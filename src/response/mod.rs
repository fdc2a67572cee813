//! What coupons bring: how many of them are used, by offer, reason or slot; and what customers who
//! may be given coupons buy beside those who are held out.
//!
//! | phase | round trips |
//! |---|---|
//! | connect, begin | 2 |
//! | coupons of the days that are asked for, counted | 1 |
//! | accounts and their purchases, each time as many buckets as so far | 9, or as time allows |
//!
//! A coupon is judged when its last day is over: of one that still runs nobody knows whether it
//! will be used, and whoever counted only those that were used already would say too much. Those
//! stand beside. What was taken back is in no rate.
//!
//! Must never write, and must never say that a coupon caused what came after it: only the groups,
//! which were drawn by lot, can show that.

pub mod http;
mod sql;

use std::fmt;
use std::time::{Duration, Instant};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::catalogue;
use crate::config;
use crate::domain::estimate::{Difference, Interval, Rate, Sample};
use crate::domain::offer::Delivery;
use crate::domain::selection::showcase::{HoldOut, Reason, Slot};
use crate::error::Error;
use sql::{Bought, Counted, Snapshot};

/// Buckets of accounts.
const BUCKETS: i16 = 256;
/// Below so many accounts in a group its mean may be far from normally distributed, since a few
/// customers spend much more than others.
const GROUP_MIN: i64 = 100;

/// What coupons are counted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ResponsesBy)]
#[repr(i16)]
pub enum By {
    /// The offer.
    #[default]
    Offer = 0,
    /// Why it was given.
    Reason = 1,
    /// What it was there for.
    Slot = 2,
}

impl By {
    /// As it is asked for and answered.
    pub fn name(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Reason => "reason",
            Self::Slot => "slot",
        }
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The first day of the coupons and of the purchases.
    pub from: Date,
    /// The last one.
    pub until: Date,
    /// What coupons are counted by.
    pub by: By,
    /// The chain's date of today.
    pub today: Date,
    /// Who is held out.
    pub hold_out: HoldOut,
    /// For how long accounts are read; what is not read by then is left out. None: all of them.
    pub patience: Option<Duration>,
}

/// What coupons bring.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Responses)]
pub struct Report {
    /// The first day of the range. A coupon belongs to its first day, which is the business date
    /// on which a till gave it, or the one that people named.
    #[schema(value_type = String, format = Date)]
    pub from: Date,
    /// The last day.
    #[schema(value_type = String, format = Date)]
    pub until: Date,
    /// What coupons are counted by.
    pub by: By,
    /// The day on which this was true. What tills have stored and not sent yet is missing.
    #[schema(value_type = String, format = Date)]
    pub as_of: Date,
    /// The most often issued first.
    pub rows: Vec<Row>,
    /// All of them.
    pub all: Row,
    /// Those who may be given coupons beside those who are held out.
    pub hold_out: Comparison,
}

/// What became of the coupons of an offer, a reason or a slot.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ResponsesRow)]
pub struct Row {
    /// The offer, the reason or the slot; `all` in the last row.
    #[schema(example = "due-again")]
    pub key: String,
    /// Coupons issued: those below, added up.
    pub issued: i64,
    /// Taken back, by people or with a sale that was voided. In no rate.
    pub revoked: i64,
    /// Their last day is still to come, or today. In no rate.
    pub running: i64,
    /// Of those that run, what was used already.
    pub running_redeemed: i64,
    /// Their last day is over, and nobody has used them.
    pub expired: i64,
    /// Their last day is over, and they were used.
    pub redeemed: i64,
    /// `redeemed` of `redeemed` and `expired`, with the score interval of Wilson (1927), which
    /// takes coupons to be independent: where customers hold several, it is somewhat too narrow.
    /// Null while none is over.
    pub response: Option<Rate>,
    /// Of what is new to customers; null where nothing of it is over.
    pub explored: Option<Explored>,
}

/// The response to what is new to customers, as if each of the likeliest new things had been given
/// as often as the others. Which it is, is drawn by lot, and the likeliest far oftener; so each
/// coupon weighs 1/p, p being the probability with which it was this one:
/// Σ used/p ÷ Σ 1/p (Hájek 1971).
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = ResponsesExplored)]
pub struct Explored {
    /// Such coupons whose last day is over.
    pub coupons: i64,
    /// Of those, what was used.
    pub redeemed: i64,
    /// How many coupons of one weight would tell as much (Kish 1965).
    pub effective: f64,
    /// The weighed share, with the score interval of the effective number.
    pub response: Rate,
}

/// What accounts bought in the range, by whether tills may give them coupons.
///
/// A hash of the account and of the round decides who is held out, so the groups differ by chance
/// and by what follows from the coupons that tills chose: also by who has enrolled or merged
/// accounts since, as only accounts that are enrolled now are compared. What people issue and
/// goodwill reach both. Groups are those of the settings as they are now: where `hold_out_percent`
/// or `hold_out_round` changed within the range, they were others for a part of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ResponsesGroups)]
pub struct Comparison {
    /// Of a hundred accounts, held out.
    pub percent: u8,
    /// Which draw it is.
    pub round: u32,
    /// How many hundredths of the accounts were read: as many as time allowed, drawn by the last
    /// bits of their numbers, which say nothing about them.
    pub read_percent: f64,
    /// Those to whom tills may give coupons.
    pub given: Group,
    /// Those who are held out.
    pub held_out: Group,
    /// Visits for an account: how many more `given` made. Null while a group has fewer than two.
    pub visits: Option<Difference>,
    /// The same of what was paid, in minor units, what coupons took off being off.
    pub spend_minor: Option<Difference>,
    /// Whether a group has fewer than 100 accounts: then the intervals are rather too narrow.
    pub is_small: bool,
}

/// A group of enrolled accounts. Those that bought nothing are part of it.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = ResponsesOneGroup)]
pub struct Group {
    /// How many there are.
    pub accounts: i64,
    /// Visits of an account in the range, on the mean.
    pub visits: f64,
    /// What an account paid, in minor units, on the mean.
    pub spend_minor: f64,
}

/// Makes the report.
///
/// # Errors
/// When the database fails, or takes too long.
pub async fn report(
    database: &config::Database,
    catalogue: &catalogue::Snapshot,
    wanted: &Wanted,
) -> Result<Report, Error> {
    let Wanted { from, until, by, today, .. } = *wanted;
    // Of codes nobody knows who has seen them.
    let personal = catalogue.offers().filter(|it| it.definition.delivery == Delivery::Personal);
    let offers: Vec<i32> = personal.map(|offer| offer.offer_no).collect();
    let snapshot = Snapshot::open(database, wanted.patience.is_some()).await?;
    let mut counted = snapshot.count((from, until), by, &offers, today).await?;
    counted.sort_by_key(|(key, counted)| (std::cmp::Reverse(counted.issued), *key));
    let named = |(key, counted): &(i32, Counted)| row(name_of(by, *key, catalogue), counted);
    let rows = counted.iter().map(named).collect();
    let all = counted.iter().fold(Counted::default(), |sum, (_, it)| sum.and(it));
    let hold_out = compare(&snapshot, wanted).await?;
    Ok(Report { from, until, by, as_of: today, rows, all: row("all".to_owned(), &all), hold_out })
}

/// Reads accounts and their purchases, for as long as there is time.
async fn compare(snapshot: &Snapshot, wanted: &Wanted) -> Result<Comparison, Error> {
    let Wanted { from, until, hold_out, patience, .. } = *wanted;
    let started = Instant::now();
    let mut samples = [[Sample::default(); 2]; 2];
    let mut read = 0_i16;
    // As many buckets as so far take as long again, so what is begun ends in time.
    while read < BUCKETS && patience.is_none_or(|patience| started.elapsed() * 2 < patience) {
        let buckets = (read, (read + read.max(1)).min(BUCKETS) - 1);
        let each = |bought: Bought| {
            let [visits, spend] = &mut samples[usize::from(hold_out.holds(bought.account_id))];
            visits.add(float(bought.visits));
            spend.add(float(bought.spend_minor));
        };
        snapshot.visits(buckets, (from, until), each).await?;
        read = buckets.1 + 1;
    }
    let [given, held_out] = samples;
    let group = |[visits, spend]: [Sample; 2]| Group {
        accounts: visits.count(),
        visits: visits.mean(),
        spend_minor: spend.mean(),
    };
    Ok(Comparison {
        percent: hold_out.percent,
        round: hold_out.round,
        read_percent: f64::from(read) * 100.0 / f64::from(BUCKETS),
        given: group(given),
        held_out: group(held_out),
        visits: Difference::of(&given[0], &held_out[0]),
        spend_minor: Difference::of(&given[1], &held_out[1]),
        is_small: given[0].count().min(held_out[0].count()) < GROUP_MIN,
    })
}

impl Counted {
    fn and(self, other: &Self) -> Self {
        Self {
            issued: self.issued + other.issued,
            revoked: self.revoked + other.revoked,
            running: self.running + other.running,
            running_redeemed: self.running_redeemed + other.running_redeemed,
            expired: self.expired + other.expired,
            redeemed: self.redeemed + other.redeemed,
            drawn: self.drawn + other.drawn,
            drawn_redeemed: self.drawn_redeemed + other.drawn_redeemed,
            weighed: self.weighed.and(other.weighed),
        }
    }
}

fn row(key: String, counted: &Counted) -> Row {
    let Counted { issued, revoked, running, running_redeemed, expired, redeemed, .. } = *counted;
    let Counted { drawn, drawn_redeemed, weighed, .. } = *counted;
    let explored = weighed.rate().map(|response| Explored {
        coupons: drawn,
        redeemed: drawn_redeemed,
        effective: weighed.effective(),
        response,
    });
    let response = Rate::of(redeemed, redeemed + expired);
    Row { key, issued, revoked, running, running_redeemed, expired, redeemed, response, explored }
}

fn name_of(by: By, key: i32, catalogue: &catalogue::Snapshot) -> String {
    let code = i16::try_from(key).unwrap_or(-1);
    let name = match by {
        By::Offer => catalogue.offer(key).map(|offer| offer.definition.offer.as_str()),
        By::Reason => Reason::from_code(code).map(Reason::name),
        By::Slot => Slot::from_code(code).map(Slot::name),
    };
    name.map_or_else(|| key.to_string(), str::to_owned)
}

#[expect(clippy::cast_precision_loss, reason = "counts and sums far below 2^52")]
fn float(number: i64) -> f64 {
    number as f64
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, until, by, as_of, .. } = self;
        writeln!(f, "Coupons of {from} to {until} by {}, as of {as_of}", by.name())?;
        let width = self.rows.iter().map(|row| row.key.len()).max().unwrap_or(0).max(10);
        let [issued, revoked, running, used] = ["issued", "revoked", "running", "used"];
        let [expired, response, interval] = ["expired", "response", "95 of 100 in"];
        let key = by.name();
        writeln!(
            f,
            "{key:width$} {issued:>8} {revoked:>8} {running:>8} {expired:>8} {used:>7} \
             {response:>9}  {interval:<16} something new, weighed"
        )?;
        for row in self.rows.iter().chain([&self.all]) {
            let Row { key, issued, revoked, running, expired, redeemed, .. } = row;
            let (rate, interval) = row.response.as_ref().map(shown).unwrap_or_default();
            let line = format!(
                "{key:width$} {issued:>8} {revoked:>8} {running:>8} {expired:>8} {redeemed:>7} \
                 {rate:>9}  {interval:<16}"
            );
            match &row.explored {
                None => writeln!(f, "{}", line.trim_end())?,
                Some(explored) => {
                    let (rate, interval) = shown(&explored.response);
                    writeln!(f, "{line} {rate} ({interval})")?;
                }
            }
        }
        writeln!(
            f,
            "Used of those whose last day is over; what runs or was taken back is in no rate."
        )?;
        write!(f, "{}", self.hold_out)
    }
}

/// A share and its interval, in hundredths.
fn shown(rate: &Rate) -> (String, String) {
    let Interval { low, high } = rate.interval;
    let percent = |share: f64| format!("{:.1}", share * 100.0);
    (format!("{} %", percent(rate.rate)), format!("{} to {} %", percent(low), percent(high)))
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { percent, round, given, held_out, .. } = self;
        writeln!(f)?;
        if self.read_percent < 100.0 {
            writeln!(f, "Read: {:.0} of a hundred accounts.", self.read_percent)?;
        }
        writeln!(
            f,
            "Held out: {percent} of a hundred accounts, round {round}. For an account in these days, \
             on the mean:"
        )?;
        let [group, accounts, visits, spend] = ["", "accounts", "visits", "spend (minor)"];
        writeln!(f, "{group:16} {accounts:>9} {visits:>9} {spend:>14}")?;
        for (name, Group { accounts, visits, spend_minor }) in
            [("may get coupons", given), ("held out", held_out)]
        {
            writeln!(f, "{name:16} {accounts:>9} {visits:>9.3} {spend_minor:>14.1}")?;
        }
        let (Some(visits), Some(spend)) = (&self.visits, &self.spend_minor) else {
            return write!(f, "A group has fewer than two accounts: nothing can be said.");
        };
        for (what, it) in [("visits", visits), ("spend", spend)] {
            let Difference { difference, standard_error, interval: Interval { low, high } } = it;
            writeln!(
                f,
                "Coupons chosen at tills: {difference:+.3} {what}, standard error \
                 {standard_error:.3}, 95 of 100 in {low:+.3} to {high:+.3}"
            )?;
        }
        if self.is_small {
            writeln!(f, "A group has fewer than {GROUP_MIN} accounts: do not rely on this yet.")?;
        }
        write!(
            f,
            "The groups were drawn by lot. It is what all coupons of tills together change, not \
             what one offer does."
        )
    }
}
