//! What both sides have written: rows and bytes for each table, counted in the tables themselves.

use std::fmt;
use std::ops::Range;

use jiff::civil::Date;
use tokio_postgres::Client;

use crate::error::HarnessError;

/// How far rows or bytes may lie apart, as a part of ours.
const TOLERANCE: f64 = 0.01;

/// One side: whose accounts, and the day on which nobody else has written to them.
#[derive(Clone, Debug)]
pub struct Side {
    /// Ids of its accounts.
    pub accounts: Range<i64>,
    /// The business date of everything it writes.
    pub today: Date,
}

/// What a side has written today, by table.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ledger {
    /// Rows: of `account` the versions, of `profile` the checkpoints that were due and are there.
    pub rows: [f64; TABLES.len()],
    /// Bytes of a row as it is stored, without its header.
    pub bytes: [f64; TABLES.len()],
}

/// The tables, `swipe` first, which counts the swipes.
const TABLES: [&str; 7] =
    ["swipe", "swipe_key", "entry", "account", "profile", "coupon", "coupon redeemed"];
const ENTRY: usize = 2;
const PROFILE: usize = 4;
const COUPON: usize = 5;
const REDEEMED: usize = 6;
/// How far the coupons may lie apart. How many there are is chance on both sides, and is told to
/// pgbench as a share that was measured before.
const COUPON_TOLERANCE: f64 = 0.1;

/// What was written between two looks, for each swipe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Written {
    /// How many.
    pub swipes: f64,
    /// Rows for each of them, by table.
    pub rows: [f64; TABLES.len()],
    /// Bytes of a row.
    pub bytes: [f64; TABLES.len()],
}

impl Ledger {
    /// Looks at the tables. Checkpoints are counted where they are, by the version that they
    /// are of, so one that was due and is missing is missing here.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn read(client: &Client, side: &Side) -> Result<Self, HarnessError> {
        let mut ledger = Self::default();
        for (at, table) in TABLES.into_iter().enumerate() {
            let size = sizes(client, table.split(' ').next().unwrap_or(table)).await?;
            let mine = "t.account_id >= $1 AND t.account_id < $2";
            let sql = match table {
                "account" => format!(
                    "SELECT coalesce(sum(version), 0)::float8,
                            coalesce(avg({size}) FILTER (WHERE clock = $3::date), 0)::float8
                     FROM account AS t WHERE {mine}"
                ),
                "profile" => format!(
                    "SELECT coalesce(sum(version / 16), 0)::float8,
                            coalesce(avg({size}) FILTER (WHERE $3::date IS NOT NULL), 0)::float8
                     FROM profile AS t WHERE {mine}"
                ),
                "coupon" => format!(
                    "SELECT count(*)::float8,
                            coalesce(avg({size}) FILTER (WHERE state = 1), 0)::float8
                     FROM coupon AS t WHERE {mine} AND valid_from = $3"
                ),
                "coupon redeemed" => format!(
                    "SELECT count(*)::float8, 0::float8 FROM coupon AS t
                     WHERE {mine} AND redeemed_on = $3"
                ),
                _ => format!(
                    "SELECT count(*)::float8, coalesce(avg({size}), 0)::float8
                     FROM {table} AS t WHERE {mine} AND business_date = $3"
                ),
            };
            let Range { start, end } = side.accounts;
            let row = client.query_one(&sql, &[&start, &end, &side.today]).await;
            let row = row.map_err(HarnessError::doing(format!("measuring {table}")))?;
            (ledger.rows[at], ledger.bytes[at]) = (row.get(0), row.get(1));
        }
        Ok(ledger)
    }

    /// What was written since an earlier look. Rows that never change are measured by themselves;
    /// of the others, whose size is that of today, all are.
    pub fn since(&self, earlier: &Self) -> Written {
        let swipes = self.rows[0] - earlier.rows[0];
        let rows = std::array::from_fn(|at| (self.rows[at] - earlier.rows[at]) / swipes);
        let bytes = |at: usize| {
            let all = |look: &Self| look.rows[at] * look.bytes[at];
            match at {
                ..=ENTRY => (all(self) - all(earlier)) / (self.rows[at] - earlier.rows[at]),
                _ => self.bytes[at],
            }
        };
        Written { swipes, rows, bytes: std::array::from_fn(bytes) }
    }
}

/// The sum of the sizes of all columns, as they are stored.
async fn sizes(client: &Client, table: &str) -> Result<String, HarnessError> {
    let sql = "SELECT string_agg(format('coalesce(pg_column_size(t.%I), 0)', attname), ' + ')
               FROM pg_attribute
               WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped";
    let row = client.query_one(sql, &[&table]).await;
    row.map(|row| row.get(0)).map_err(HarnessError::doing("reading the columns"))
}

/// Where two sides did not write the same; empty: they did.
///
/// A checkpoint of a profile is one row for sixteen swipes, so two things are chance. How many
/// fall due in a round with random accounts: for their number three standard deviations are
/// allowed where that is more, and what a swipe writes in all is compared as if they were as many.
/// And how much the customers have bought by then: for their bytes a hundredth of everything that
/// a swipe writes. Of coupons a tenth is allowed, which is less than that.
pub fn differences(ours: &Written, theirs: &Written) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: String, ours: f64, theirs: f64, tolerance: f64| {
        let near = (ours - theirs).abs() <= tolerance;
        // Not a number: nothing was written, which is no comparison.
        if !near {
            found.push(format!("{what}: {ours:.3} and {theirs:.3}"));
        }
    };
    let bytes = ours.bytes_of_a_swipe();
    for (at, table) in TABLES.into_iter().enumerate() {
        let (rows, row_bytes) = (ours.rows[at], ours.bytes[at]);
        let (rows_tolerance, bytes_tolerance) = if at == PROFILE {
            let variance = |side: &Written| 1.0 / (side.swipes * side.rows[at]).max(1.0);
            let chance = 3.0 * (variance(ours) + variance(theirs)).sqrt();
            (TOLERANCE.max(chance) * rows, TOLERANCE * bytes / rows)
        } else if at >= COUPON {
            (COUPON_TOLERANCE * rows, COUPON_TOLERANCE * row_bytes)
        } else {
            (TOLERANCE * rows, TOLERANCE * row_bytes)
        };
        let what = format!("rows of {table} for a swipe");
        compare(what, rows, theirs.rows[at], rows_tolerance);
        compare(format!("bytes of a row of {table}"), row_bytes, theirs.bytes[at], bytes_tolerance);
    }
    let what = "bytes of a swipe".to_owned();
    let mut as_often = *theirs;
    as_often.rows[PROFILE] = ours.rows[PROFILE];
    compare(what, bytes, as_often.bytes_of_a_swipe(), TOLERANCE * bytes);
    found
}

impl Written {
    /// Whether customers are given coupons only for those that they have redeemed.
    pub fn is_settled(&self) -> bool {
        self.rows[COUPON] <= 1.05 * self.rows[REDEEMED]
    }

    /// In a thousand swipes, how many coupons were given and how many were redeemed.
    pub(super) fn coupons_of_a_thousand(&self) -> [u32; 2] {
        [COUPON, REDEEMED].map(|table| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "at most a few to a swipe"
            )]
            let rounded = (self.rows[table] * 1_000.0).round() as u32;
            rounded
        })
    }

    fn bytes_of_a_swipe(&self) -> f64 {
        self.rows.iter().zip(&self.bytes).map(|(rows, bytes)| rows * bytes).sum()
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, table) in TABLES.into_iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{table} {:.3} × {:.1}", self.rows[at], self.bytes[at])?;
        }
        write!(f, "; {:.0} bytes in all", self.bytes_of_a_swipe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Written = Written {
        swipes: 100_000.0,
        rows: [1.0, 1.0, 1.0, 1.0, 0.0625, 0.2, 0.2],
        bytes: [700.0, 70.0, 60.0, 120.0, 2_500.0, 100.0, 0.0],
    };

    #[test]
    fn the_same_work_is_the_same_and_a_hundredth_more_is_not() {
        assert!(differences(&OURS, &OURS).is_empty());
        let mut theirs = OURS;
        theirs.bytes[0] = 706.0;
        assert!(differences(&OURS, &theirs).is_empty());
        theirs.bytes[0] = 708.0;
        assert_eq!(differences(&OURS, &theirs), ["bytes of a row of swipe: 700.000 and 708.000"]);
        let mut theirs = OURS;
        theirs.rows[2] = 0.98;
        assert_eq!(differences(&OURS, &theirs).len(), 1);
        theirs.rows[2] = f64::NAN;
        assert_eq!(differences(&OURS, &theirs).len(), 2, "nothing written is no comparison");
    }

    #[test]
    fn of_coupons_a_tenth_more_or_less_is_the_same_and_none_are_not() {
        let mut theirs = OURS;
        (theirs.rows[5], theirs.rows[6]) = (0.21, 0.19);
        assert!(differences(&OURS, &theirs).is_empty());
        (theirs.rows[5], theirs.rows[6]) = (0.15, 0.0);
        assert_eq!(differences(&OURS, &theirs).len(), 2);
    }

    #[test]
    fn chance_is_allowed_for_checkpoints_within_a_hundredth_of_all_bytes() {
        let mut theirs = OURS;
        // 6,250 on each side: one standard deviation of the difference is 1.8 %.
        theirs.rows[4] = 0.0625 * 1.04;
        assert!(differences(&OURS, &theirs).is_empty());
        theirs.rows[4] = 0.0625 * 1.08;
        let too_many = ["rows of profile for a swipe: 0.062 and 0.068"];
        assert_eq!(differences(&OURS, &theirs), too_many);
        // A swipe is 970 + 2,500 / 16 = 1,126 bytes; 9 of them lie within a hundredth, 12 do not.
        theirs = OURS;
        theirs.bytes[4] = 2_644.0;
        assert!(differences(&OURS, &theirs).is_empty());
        theirs.bytes[4] = 2_692.0;
        assert_eq!(differences(&OURS, &theirs).len(), 2);
    }

    #[test]
    fn what_was_written_is_what_came_on_top() {
        let before = Ledger { rows: [10.0, 10.0, 9.0, 110.0, 4.0, 3.0, 1.0], bytes: [0.0; 7] };
        let after = Ledger { rows: [30.0, 30.0, 19.0, 130.0, 5.0, 8.0, 4.0], bytes: [600.0; 7] };
        let written = after.since(&before);
        assert_eq!(written.rows, [1.0, 1.0, 0.5, 1.0, 0.05, 0.25, 0.15]);
        let bytes = [900.0, 900.0, 1_140.0, 600.0, 600.0, 600.0, 600.0];
        assert_eq!((written.swipes, written.bytes), (20.0, bytes));
        assert_eq!(written.coupons_of_a_thousand(), [250, 150]);
    }
}
