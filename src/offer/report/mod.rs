//! What offers have cost in some days, and who pays for it.
//!
//! What counts is the business date of the transaction: so what was given in the months adds up to
//! that of the year (shares of it are rounded once in each report), and what a void takes back is
//! gone from the month of its sale. Reads the coupons
//! whose time may touch the days (from the longest time that a coupon of these offers counts before
//! them up to the last one), and the uses of codes and member prices that were recorded since the
//! first of them: it grows with that, and not with the chain's history. Must never write.

pub mod http;
mod sql;

use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::Date;
use jiff::{Span, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::catalogue::Snapshot;
use crate::config::Config;
use crate::domain::offer::{Funding, Offer};
use crate::error::Error;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The first business date.
    pub from: Date,
    /// The last one.
    pub until: Date,
    /// The only offer; none: all of them.
    pub offer: Option<&'a Offer>,
    /// The chain's date of today.
    pub today: Date,
    /// Whether somebody waits for it.
    pub hurry: bool,
}

/// What offers have cost.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OffersReport)]
pub struct Report {
    /// The first business date.
    #[schema(value_type = String, format = Date)]
    pub from: Date,
    /// The last one.
    #[schema(value_type = String, format = Date)]
    pub until: Date,
    /// The day on which this was true. What tills have stored and not sent yet is missing, and a
    /// sale that is voided later is gone from its day.
    #[schema(value_type = String, format = Date)]
    pub as_of: Date,
    /// Those of which something was issued or redeemed, or the one that was asked for; the oldest
    /// first.
    pub offers: Vec<Cost>,
    /// What each party pays for them, by name.
    pub parties: Vec<PartyCost>,
}

/// What one offer has cost. Money is what tills gave, in minor units; what was given over the
/// offer's worth, its budget or its limits was given all the same, so it is part of every sum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = OfferCost)]
pub struct Cost {
    /// What people call it.
    #[schema(example = "yoghurt-50")]
    pub offer: String,
    /// Who shares in it.
    pub party: String,
    /// Their share.
    pub share_percent: u8,
    /// Coupons whose first day lies within the days, and uses of codes and member prices.
    pub issued: i64,
    /// What tills have taken within them, whenever it was issued.
    pub redeemed: i64,
    /// What they gave for that.
    pub value_minor: i64,
    /// Of that, the party's share, rounded to the nearest minor unit, halves up.
    pub party_minor: i64,
    /// The rest.
    pub chain_minor: i64,
    /// Of what was redeemed: for which a till gave more than it is worth.
    pub over_value: i64,
    /// Which did not fit into the budgets.
    pub over_budget: i64,
    /// What tills gave for those.
    pub over_budget_minor: i64,
    /// Which was more than the offer allows.
    pub over_limit: i64,
    /// What tills gave for those.
    pub over_limit_minor: i64,
}

/// What a party pays: its shares, added up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = PartyCost)]
pub struct PartyCost {
    /// Who.
    pub party: String,
    /// How many coupons of its offers tills have taken.
    pub redeemed: i64,
    /// What they gave for them.
    pub value_minor: i64,
    /// Its share of that.
    pub party_minor: i64,
}

/// Makes the report.
///
/// # Errors
/// When the database fails, or takes too long.
pub async fn report(
    config: &Config,
    snapshot: &Snapshot,
    wanted: &Wanted<'_>,
) -> Result<Report, Error> {
    let Wanted { from, until, offer: only, today, .. } = *wanted;
    let asked = |offer: &&Offer| only.is_none_or(|only| only.offer_no == offer.offer_no);
    let offers: Vec<&Offer> = snapshot.offers().filter(asked).collect();
    let numbers: Vec<i32> = offers.iter().map(|offer| offer.offer_no).collect();
    // A coupon is redeemed on one of its days, of which it has `valid_days` at most.
    let longest = offers.iter().map(|offer| offer.definition.valid_days).max().unwrap_or(0);
    // A use is recorded on its business date or later, but for a till whose clock is ahead.
    let ahead = Span::new().days(config.swipe.ahead_max_days + 1);
    let recorded = from.saturating_sub(ahead).to_zoned(config.time_zone());
    let bounds = sql::Bounds {
        days: (from, until),
        valid_since: from.saturating_sub(Span::new().days(longest)),
        recorded_since: recorded.map_or(Timestamp::MIN, |day| day.timestamp()),
    };
    let mut counted = sql::count(&config.database, &bounds, &numbers, wanted.hurry).await?;
    let cost_of = |offer: &Offer| {
        let cost = counted.remove(&offer.offer_no);
        let mut cost = cost.or_else(|| only.map(|_| Cost::default()))?;
        let Funding { party, share_percent } = &offer.definition.funding;
        cost.offer.clone_from(&offer.definition.offer);
        cost.party.clone_from(party);
        cost.share_percent = *share_percent;
        let share = i128::from(cost.value_minor) * i128::from(*share_percent);
        cost.party_minor = i64::try_from((share + 50).div_euclid(100)).unwrap_or(i64::MAX);
        cost.chain_minor = cost.value_minor - cost.party_minor;
        Some(cost)
    };
    let offers: Vec<Cost> = offers.into_iter().filter_map(cost_of).collect();
    let mut parties: BTreeMap<&str, (i64, i64, i64)> = BTreeMap::new();
    for cost in &offers {
        let (redeemed, value_minor, party_minor) = parties.entry(&cost.party).or_default();
        *redeemed += cost.redeemed;
        *value_minor += cost.value_minor;
        *party_minor += cost.party_minor;
    }
    let party = |(party, (redeemed, value_minor, party_minor)): (&str, (i64, i64, i64))| {
        PartyCost { party: party.to_owned(), redeemed, value_minor, party_minor }
    };
    let parties = parties.into_iter().map(party).collect();
    Ok(Report { from, until, as_of: today, offers, parties })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, until, as_of, offers, parties } = self;
        writeln!(f, "What tills gave from {from} to {until}, as of {as_of}, in minor units")?;
        for cost in offers {
            let Cost { offer, party, share_percent, issued, redeemed, value_minor, .. } = cost;
            writeln!(
                f,
                "{offer}: {issued} issued, {redeemed} redeemed for {value_minor}; {party} pays \
                 {share_percent} % = {}, the chain {}; over value {}, over budget {} for {}, over \
                 limit {} for {}",
                cost.party_minor,
                cost.chain_minor,
                cost.over_value,
                cost.over_budget,
                cost.over_budget_minor,
                cost.over_limit,
                cost.over_limit_minor
            )?;
        }
        for PartyCost { party, redeemed, value_minor, party_minor } in parties {
            writeln!(f, "{party} pays {party_minor} of {value_minor} for {redeemed} redeemed")?;
        }
        match offers.is_empty() {
            true => write!(f, "Nothing was issued or redeemed in these days."),
            false => write!(f, "What was over value, budget or limit is part of the sums."),
        }
    }
}
