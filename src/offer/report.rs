//! What offers have cost, and who pays for it; and how their budgets stand.

use jiff::civil::Date;
use serde::Serialize;
use utoipa::ToSchema;

use super::sql;
use crate::catalogue::Snapshot;
use crate::db::DbError;
use crate::db::pool::Pool;
use crate::domain::budget::Counts;
use crate::domain::offer::{Funding, Offer};

/// What one offer has cost. Money is what tills gave, in minor units; what was given over the
/// offer's worth or its budget was given all the same, so it is part of every sum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What people call it.
    pub offer: String,
    /// Who shares in it.
    pub party: String,
    /// Their share.
    pub share_percent: u8,
    /// Coupons that were issued.
    pub issued: i64,
    /// Of those, what tills have taken.
    pub redeemed: i64,
    /// What they gave for them.
    pub value_minor: i64,
    /// Of that, the party's share, rounded to the nearest minor unit, halves up.
    pub party_minor: i64,
    /// The rest.
    pub chain_minor: i64,
    /// Coupons for which a till gave more than they are worth.
    pub over_value: i64,
    /// Coupons that did not fit into the budgets.
    pub over_budget: i64,
    /// What tills gave for those.
    pub over_budget_minor: i64,
    /// Coupons that were more than the offer allows.
    pub over_limit: i64,
    /// What tills gave for those.
    pub over_limit_minor: i64,
}

/// How a budget stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = OfferBudgetStanding)]
pub struct Standing {
    /// The store; null for the whole chain.
    pub store: Option<String>,
    /// `coupons`, or `value` in minor units.
    pub counts: &'static str,
    /// How much it is.
    pub amount: i64,
    /// What was spent of it.
    pub spent: i64,
    /// What committers and desks hold of it, for a minute at most.
    pub leased: i64,
    /// How much tills may have issued by the end of today, where coupons are spread over the days
    /// of the offer; else left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_today: Option<i64>,
}

/// What every offer has cost, oldest first. Reads all coupons once.
///
/// # Errors
/// When the database fails.
pub async fn report(pool: &Pool, snapshot: &Snapshot) -> Result<Vec<Report>, DbError> {
    let mut counted = sql::count(pool).await?;
    let of = |offer: &Offer| {
        let mut report = counted.remove(&offer.offer_no).unwrap_or_default();
        let Funding { party, share_percent } = &offer.definition.funding;
        report.offer.clone_from(&offer.definition.offer);
        report.party.clone_from(party);
        report.share_percent = *share_percent;
        let share = i128::from(report.value_minor) * i128::from(*share_percent);
        report.party_minor = i64::try_from((share + 50).div_euclid(100)).unwrap_or(i64::MAX);
        report.chain_minor = report.value_minor - report.party_minor;
        report
    };
    Ok(snapshot.offers().map(of).collect())
}

/// How the budgets of an offer stand: those of the chain, and those that stores have drawn on.
///
/// # Errors
/// When the database fails.
pub async fn budgets(pool: &Pool, offer: &Offer, today: Date) -> Result<Vec<Standing>, DbError> {
    let mut standings = sql::budgets(pool, offer.offer_no).await?;
    for counts in Counts::ALL {
        for (_, amount) in offer.budgets.of(offer.offer_no, None, counts) {
            let drawn_on = |it: &Standing| it.store.is_none() && it.counts == counts.name();
            if !standings.iter().any(drawn_on) {
                let (counts, spent, leased) = (counts.name(), 0, 0);
                let (store, by_today) = (None, None);
                standings.push(Standing { store, counts, amount, spent, leased, by_today });
            }
        }
    }
    let pace = offer.pace_on(today);
    for it in standings.iter_mut().filter(|it| it.counts == Counts::Coupons.name()) {
        it.by_today = pace.map(|pace| pace.part_of(it.amount));
    }
    standings.sort_by(|left, right| (&left.store, left.counts).cmp(&(&right.store, right.counts)));
    Ok(standings)
}
