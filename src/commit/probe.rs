//! What the tests of the statements need and nothing else does: their texts, the sessions that
//! they run in, and a batch of any size. No part of the service may use it.

use std::ops::Range;

use jiff::Timestamp;
use jiff::civil::Date;
use tokio_postgres::types::ToSql;

use super::NameKey;
use super::batch::{Batch, CouponChange, CouponIssue, KeyRow, Kind, SwipeRow};
use super::leases::Spending;
use super::sql;
use crate::domain::account::{Account, State};
use crate::domain::bucket;
use crate::domain::coupon::{self, Code};
use crate::domain::ledger::{EntryKind, LotKey};
use crate::domain::selection::showcase::{CERTAIN_PPM, Evidence, Reason, Slot, Why};
use crate::domain::tally::{self, Counted};

/// See `sql::SESSION`.
pub const SESSION: &[(&str, &str)] = sql::SESSION;
/// The statement that moves accounts, in its forms.
pub use super::sql::{Coupons, Parts};
/// See `sql::COMMIT_LONE`.
pub const COMMIT_LONE: &str = sql::COMMIT_LONE;

/// See `sql::LOAD_ACCOUNTS`.
pub const LOAD_ACCOUNTS: &str = sql::LOAD_ACCOUNTS;
/// See `sql::DUE`.
pub const DUE: &str = sql::DUE;
/// The other statements of the committers, each with a name.
pub const OTHERS: &[(&str, &str)] = &[
    ("rekey", sql::REKEY),
    ("resolve_cards", sql::RESOLVE_CARDS),
    ("find_cards", sql::FIND_CARDS),
    ("lock_accounts", sql::LOCK_ACCOUNTS),
    ("lock_free_accounts", sql::LOCK_FREE_ACCOUNTS),
    ("find_names", sql::FIND_NAMES),
    ("load_swipes", sql::LOAD_SWIPES),
    ("load_entries", sql::LOAD_ENTRIES),
    ("find_coupons", sql::FIND_COUPONS),
    ("find_uses", sql::FIND_USES),
];

/// What a sample batch does to one account.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The account.
    pub account_id: i64,
    /// The version that the batch was decided on.
    pub expected: i64,
    /// Where the swipes were recorded.
    pub workstation_no: i32,
    /// The bucket of the workstation's names.
    pub name_bucket: u8,
    /// The trading day of all swipes.
    pub business_date: Date,
    /// Their numbers: as many swipes as there are.
    pub sequence_numbers: Range<i64>,
    /// Entries of each, at most two.
    pub entries: usize,
}

/// A batch of these accounts: some hundred bytes of record and receipt for each swipe, and of
/// [`Parts`] a coupon used and one issued, and a checkpoint for each account. The used one has the
/// bits of the swipe's number, the issued one those of its negative. Guarded, the used ones draw 40
/// on the leases 1 and 2, the issued ones 1 on the lease 3. Swipes of odd numbers are for training,
/// without a note of a choice, and their accounts count something for tiers.
pub struct SampleBatch(Batch);

impl SampleBatch {
    /// Fills the columns.
    pub fn new(samples: &[Sample], parts: Parts) -> Self {
        let mut batch = Batch::new(Timestamp::UNIX_EPOCH);
        let content = [1; 17];
        let drawing = |leases, amount| match parts.coupons {
            Coupons::Guarded => Spending { leases, amount },
            Coupons::Absent | Coupons::Proven => Spending::default(),
        };
        for sample in samples {
            let mut account = Account::new(sample.account_id, State::Provisional);
            (account.version, account.sales_minor, account.baskets) = (sample.expected, 4_200, 17);
            account.clock = sample.business_date;
            let first_day = sample.business_date.first_of_month();
            let last_day = sample.business_date.last_of_month();
            let lot = LotKey { expires_on: last_day, available_from: first_day };
            for sequence_number in sample.sequence_numbers.clone() {
                account.version += 1;
                let version = account.version;
                let is_odd = sequence_number % 2 == 1;
                if is_odd {
                    let qualifying = vec![(tally::month_of(sample.business_date), 300)];
                    account.tally.count(&Counted { qualifying, ..Counted::default() });
                }
                let name = || NameKey {
                    bucket: sample.name_bucket,
                    workstation_no: sample.workstation_no,
                    business_date: sample.business_date,
                    sequence_number,
                };
                batch.claim(KeyRow { name: name(), version, void_version: 0, content });
                batch.swipe(&SwipeRow {
                    version,
                    name: &name(),
                    kind: if is_odd { Kind::Training } else { Kind::Sale },
                    epoch: 1,
                    occurred_at: Timestamp::from_second(sequence_number).unwrap_or_default(),
                    total_minor: 300,
                    earned: 3,
                    reversed: 1,
                    spent: 2,
                    record: &[7; 200],
                    receipt: &[9; 400],
                    decision: if is_odd { &[] } else { &[8; 30] },
                });
                let mut entries = Vec::new();
                account.lots.add(EntryKind::Earn, 3, lot, &mut entries);
                account.lots.take(EntryKind::ReverseEarn, 1, Some(lot), &mut entries);
                entries.truncate(sample.entries);
                debug_assert_eq!(entries.len(), sample.entries);
                batch.entries(version, sample.business_date, &entries);
                if parts.coupons == Coupons::Absent {
                    continue;
                }
                let bucket = bucket::of_account(sample.account_id);
                batch.change_coupon(&CouponChange {
                    code: Code::new(bucket, sequence_number.unsigned_abs()),
                    version,
                    state: coupon::State::Redeemed,
                    redeemed_on: Some(sample.business_date),
                    over_value: false,
                    value_minor: Some(40),
                    over_budget: false,
                    over_limit: false,
                    was: None,
                    pool_no: None,
                    spending: drawing([Some(1), Some(2)], 40),
                });
                batch.issue_coupon(CouponIssue {
                    code: Code::new(bucket, (-sequence_number).cast_unsigned()),
                    version,
                    offer_no: 1,
                    valid_from: first_day,
                    valid_until: last_day,
                    actor: "till".to_owned(),
                    why: Why {
                        reason: Reason::DueAgain,
                        slot: Slot::Repeat,
                        propensity_ppm: CERTAIN_PPM,
                        evidence: Evidence { bought: 12, rank: 1, ..Evidence::default() },
                    },
                    spending: drawing([Some(3), None], 1),
                    used: None,
                });
            }
            let profile = parts.profiles.then(|| vec![5; 300]);
            batch.account(sample.expected, &account, profile, Some(Date::MAX));
        }
        Self(batch)
    }

    /// The form that the service would choose for it.
    pub fn parts(&self) -> Parts {
        self.0.parts()
    }

    /// Those of [`COMMIT_LONE`], where the service would choose that.
    pub fn lone(&self) -> Option<Vec<&(dyn ToSql + Sync)>> {
        self.0.lone().map(Vec::from)
    }

    /// In the order of the statement, as many as this form takes.
    pub fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        let whole = self.0.parameters();
        whole[..self.parts().parameters(whole.len())].to_vec()
    }
}
