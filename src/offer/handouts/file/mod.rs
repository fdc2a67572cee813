//! The coupons of a handout as a file, for whoever prints or mails them: a line for each that it
//! has issued so far, with whose it is now. One snapshot for the whole file, a page of it in memory
//! at a time, however large the handout is. Must never write a line before the audit trail has its
//! own, nor change anything.

pub mod http;
mod sql;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;
use tokio::sync::mpsc;

use self::sql::{Issued, Snapshot};
use super::Handout;
use crate::config;
use crate::db::pool::Pool;
use crate::domain::coupon::State;
use crate::domain::offer::{Definition, Reward};
use crate::error::Error;
use crate::http::file::{Format, harmless, send};
use crate::office::{Trace, audit};
use crate::receipt::account_text;

/// Coupons in memory at a time.
const PAGE: i64 = 1_000;

/// A coupon in the file.
#[derive(Debug, Serialize)]
struct Line {
    account: String,
    coupon: String,
    headline: String,
    worth: String,
    valid_from: Date,
    valid_until: Date,
    state: &'static str,
}

/// The columns, in the order of [`Line`].
const COLUMNS: [&str; 7] =
    ["account", "coupon", "headline", "worth", "valid_from", "valid_until", "state"];

/// A file that can be written: it stands in the audit trail, and its moment is fixed.
pub struct File {
    snapshot: Snapshot,
    headline: String,
    worth: String,
    today: Date,
    format: Format,
}

impl File {
    /// Begins the file of a handout of this offer, as people `by` ask for it on a day.
    ///
    /// # Errors
    /// What the database says.
    pub async fn begin(
        (pool, database): (&Pool, &config::Database),
        (handout, offer): (&Handout, &Definition),
        format: Format,
        by: Option<i32>,
        today: Date,
    ) -> Result<Self, Error> {
        // Before the first byte: a file without a trace must not exist.
        let object = format!("handout:{}", handout.handout);
        let action = "handout.file";
        let trace = Trace { user_no: by, action, object: &object, fields: &COLUMNS };
        audit(pool, &trace, Timestamp::now()).await?;
        Ok(Self {
            snapshot: Snapshot::open(database, handout.actor()).await?,
            headline: offer.headline.clone(),
            worth: worth(&offer.reward),
            today,
            format,
        })
    }

    /// Writes it page by page; whether it is whole. Ends early when nobody reads (any more), and
    /// when the database fails.
    pub async fn write(mut self, to: &mpsc::Sender<Bytes>) -> bool {
        let mut page = self.format.head(&COLUMNS);
        loop {
            if !send(to, page).await {
                return false;
            }
            let coupons = match self.snapshot.page(PAGE).await {
                Ok(coupons) if coupons.is_empty() => return true,
                Ok(coupons) => coupons,
                Err(error) => {
                    tracing::error!(%error, "a file of coupons was cut");
                    return false;
                }
            };
            let lines = coupons.into_iter().map(|coupon| self.line(&coupon)).collect();
            page = self.format.lines(lines, |line| cells(line).into());
        }
    }

    fn line(&self, coupon: &Issued) -> Line {
        let Issued { code, account_id, valid_from, valid_until, state } = *coupon;
        let has_expired = state == State::Issued && valid_until < self.today;
        Line {
            account: account_text(account_id),
            coupon: code.to_string(),
            headline: self.headline.clone(),
            worth: self.worth.clone(),
            valid_from,
            valid_until,
            state: if has_expired { "expired" } else { state.name() },
        }
    }
}

/// The cells of a line. Codes and dates are the service's own and stay as they are.
fn cells(line: Line) -> [String; COLUMNS.len()] {
    [
        harmless(line.account),
        line.coupon,
        harmless(line.headline),
        harmless(line.worth),
        line.valid_from.to_string(),
        line.valid_until.to_string(),
        line.state.to_owned(),
    ]
}

/// A reward in a few words, amounts as tills print them.
fn worth(reward: &Reward) -> String {
    let money = |minor: i64| format!("{}.{:02}", minor / 100, minor % 100);
    match *reward {
        Reward::PercentOff { percent } => format!("{percent} %"),
        Reward::AmountOff { amount_minor } => money(amount_minor),
        Reward::FixedPrice { price_minor } => format!("for {}", money(price_minor)),
        Reward::CheapestFree { of } => format!("1 of {of} free"),
        Reward::PointsBonus { points } => format!("{points} points"),
        Reward::PointsMultiplier { times_percent } => {
            let times = money(times_percent.into());
            let times = times.strip_suffix(".00").unwrap_or(times.trim_end_matches('0'));
            format!("{times} x points")
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_line_has_a_cell_for_each_column_and_no_headline_is_taken_for_a_formula() {
        let line = Line {
            account: account_text(1),
            coupon: "0M3Z5K9Q7W2XB4".into(),
            headline: "=1+1".into(),
            worth: "50 %".into(),
            valid_from: date(2026, 3, 1),
            valid_until: date(2026, 3, 14),
            state: "issued",
        };
        let json = serde_json::to_string(&line).expect("JSON");
        let at = COLUMNS.map(|name| json.find(&format!("\"{name}\":")).expect(name));
        assert!(at.is_sorted(), "{json}");
        assert_eq!(cells(line)[2..], ["'=1+1", "50 %", "2026-03-01", "2026-03-14", "issued"]);
    }

    #[test]
    fn a_reward_is_said_in_a_few_words() {
        for (reward, words) in [
            (Reward::PercentOff { percent: 50 }, "50 %"),
            (Reward::AmountOff { amount_minor: 1_205 }, "12.05"),
            (Reward::FixedPrice { price_minor: 99 }, "for 0.99"),
            (Reward::CheapestFree { of: 3 }, "1 of 3 free"),
            (Reward::PointsBonus { points: 200 }, "200 points"),
            (Reward::PointsMultiplier { times_percent: 300 }, "3 x points"),
            (Reward::PointsMultiplier { times_percent: 150 }, "1.5 x points"),
            (Reward::PointsMultiplier { times_percent: 1_000 }, "10 x points"),
        ] {
            assert_eq!(worth(&reward), words);
        }
    }
}
