//! How the budgets of an offer stand.

use jiff::civil::Date;
use serde::Serialize;
use utoipa::ToSchema;

use super::sql;
use crate::db::DbError;
use crate::db::pool::Pool;
use crate::domain::budget::Counts;
use crate::domain::offer::Offer;

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
