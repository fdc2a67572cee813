//! The columns of one commit statement, or the values of the one for a swipe that is alone. Knows
//! the shape of the statements and nothing else.

mod coupons;

use std::collections::HashSet;
use std::ops::Range;

use jiff::Timestamp;
use jiff::civil::Date;
use tokio_postgres::types::ToSql;

use self::coupons::{ChangeColumns, IssueColumns, SpendColumns};
pub(super) use self::coupons::{CouponChange, CouponIssue, CouponUse};
use super::NameKey;
use super::sql::{Coupons, LONE, Parts};
use crate::domain::account::Account;
use crate::domain::bucket;
use crate::domain::content::ContentHash;
use crate::domain::ledger::Entry;
use crate::domain::profile;
pub(super) use crate::domain::swipe::Kind;
use crate::sabotage::{self, Fault};

/// A row of `swipe`, but for its account.
pub(super) struct SwipeRow<'a> {
    pub(super) version: i64,
    pub(super) name: &'a NameKey,
    pub(super) kind: Kind,
    pub(super) epoch: i32,
    pub(super) occurred_at: Timestamp,
    pub(super) total_minor: i64,
    pub(super) earned: i64,
    pub(super) reversed: i64,
    pub(super) spent: i64,
    pub(super) record: &'a [u8],
    pub(super) receipt: &'a [u8],
    /// What is remembered of the choice of coupons; nothing when none was made.
    pub(super) decision: &'a [u8],
}

/// A row of `swipe_key`, but for its account.
pub(super) struct KeyRow {
    pub(super) name: NameKey,
    pub(super) version: i64,
    pub(super) void_version: i64,
    pub(super) content: ContentHash,
}

/// Accounts with all that moves with them, column by column.
#[derive(Default)]
pub(super) struct Batch {
    recorded_at: Timestamp,
    encoding: i16,
    accounts: AccountColumns,
    claims: KeyColumns,
    rekeys: Vec<KeyRow>,
    swipes: SwipeColumns,
    entries: EntryColumns,
    changes: ChangeColumns,
    issues: IssueColumns,
    spends: SpendColumns,
    /// Pools of which codes are redeemed, each once.
    pools: Vec<i32>,
}

#[derive(Default)]
struct AccountColumns {
    count: i32,
    bucket: Vec<i16>,
    account_id: Vec<i64>,
    expected: Vec<i64>,
    version: Vec<i64>,
    total_points: Vec<i64>,
    sales_minor: Vec<i64>,
    baskets: Vec<i32>,
    clock: Vec<Date>,
    next_expiry: Vec<Option<Date>>,
    tail_since: Vec<Option<Date>>,
    lots: Packed,
    /// Nothing where nothing has been counted.
    tallies: Packed,
    /// Nothing where no checkpoint is due.
    profiles: Packed,
}

#[derive(Default)]
struct KeyColumns {
    bucket: Vec<i16>,
    workstation_no: Vec<i32>,
    business_date: Vec<Date>,
    sequence_number: Vec<i64>,
    version: Vec<i64>,
    void_version: Vec<i64>,
    contents: Vec<u8>,
    ends: Ends,
}

#[derive(Default)]
struct SwipeColumns {
    version: Vec<i64>,
    business_date: Vec<Date>,
    workstation_no: Vec<i32>,
    sequence_number: Vec<i64>,
    kind: Vec<i16>,
    epoch: Vec<i32>,
    occurred_at: Vec<Timestamp>,
    total_minor: Vec<i64>,
    earned: Vec<i64>,
    reversed: Vec<i64>,
    spent: Vec<i64>,
    records: Packed,
    receipts: Packed,
    decisions: Packed,
    ends: Ends,
}

#[derive(Default)]
struct EntryColumns {
    version: Vec<i64>,
    entry_no: Vec<i16>,
    kind: Vec<i16>,
    points: Vec<i64>,
    lot_available: Vec<Date>,
    lot_expires: Vec<Date>,
    business_date: Vec<Date>,
    ends: Ends,
}

/// Values of varying length behind one another.
#[derive(Default)]
struct Packed {
    bytes: Vec<u8>,
    ends: Ends,
}

impl Packed {
    fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len());
    }
}

/// Where in flat columns what belongs to each one ends, and the next one's begins: a 0 first.
struct Ends(Vec<i32>);

impl Default for Ends {
    fn default() -> Self {
        Self(vec![0])
    }
}

impl Ends {
    fn push(&mut self, end: usize) {
        self.0.push(i32::try_from(end).expect("a batch is bounded far below 2 GiB"));
    }

    /// Where the ones begin that belong to nobody yet.
    fn last(&self) -> usize {
        self.0.last().map_or(0, |end| usize::try_from(*end).unwrap_or(0))
    }

    /// The ranges, one after the other.
    fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        let at = |end: i32| usize::try_from(end).unwrap_or(0);
        self.0.windows(2).map(move |ends| at(ends[0])..at(ends[1]))
    }
}

impl Batch {
    pub(super) fn new(recorded_at: Timestamp) -> Self {
        Self { recorded_at, encoding: i16::from(profile::ENCODING), ..Self::default() }
    }

    /// Number of accounts.
    pub(super) fn accounts(&self) -> usize {
        self.accounts.account_id.len()
    }

    /// The rows of names that change with their accounts.
    pub(super) fn rekeys(&self) -> &[KeyRow] {
        &self.rekeys
    }

    /// What these accounts draw on leases: lease and amount.
    pub(super) fn drawn(&self, moved: &HashSet<i64>) -> Vec<(i64, i64)> {
        let Self { accounts, spends, .. } = self;
        let ranges = accounts.account_id.iter().zip(spends.ends.ranges());
        let of_moved = ranges.filter(|(account_id, _)| moved.contains(account_id));
        let at = of_moved.flat_map(|(_, range)| range);
        at.filter_map(|at| Some((*spends.lease_no.get(at)?, *spends.amount.get(at)?))).collect()
    }

    /// What the statement must have for it.
    pub(super) fn parts(&self) -> Parts {
        let Self { accounts, changes, issues, spends, pools, .. } = self;
        let is_proven = pools.is_empty() && changes.was.iter().all(Option::is_none);
        let coupons = if !spends.lease_no.is_empty() || !is_proven {
            Coupons::Guarded
        } else if changes.code.is_empty() && issues.code.is_empty() {
            Coupons::Absent
        } else {
            Coupons::Proven
        };
        Parts { profiles: !accounts.profiles.bytes.is_empty(), coupons }
    }

    /// Number of swipes and voids.
    pub(super) fn swipes(&self) -> usize {
        self.swipes.version.len()
    }

    /// A name that must not be taken yet.
    pub(super) fn claim(&mut self, row: KeyRow) {
        self.claims.push(&row);
    }

    /// A name of this account whose row changes with it.
    pub(super) fn rekey(&mut self, row: KeyRow) {
        self.rekeys.push(row);
    }

    pub(super) fn swipe(&mut self, row: &SwipeRow<'_>) {
        let columns = &mut self.swipes;
        columns.version.push(row.version);
        columns.business_date.push(row.name.business_date);
        columns.workstation_no.push(row.name.workstation_no);
        columns.sequence_number.push(row.name.sequence_number);
        columns.kind.push(row.kind as i16);
        columns.epoch.push(row.epoch);
        columns.occurred_at.push(row.occurred_at);
        columns.total_minor.push(row.total_minor);
        columns.earned.push(row.earned);
        columns.reversed.push(row.reversed);
        columns.spent.push(row.spent);
        columns.records.push(row.record);
        columns.receipts.push(row.receipt);
        columns.decisions.push(row.decision);
    }

    /// What one version did to the points.
    pub(super) fn entries(&mut self, version: i64, business_date: Date, entries: &[Entry]) {
        let columns = &mut self.entries;
        for (entry, entry_no) in entries.iter().zip(0..) {
            if sabotage::is(Fault::LotsNotMatchingEntries) && version % 7 == 0 {
                continue;
            }
            columns.version.push(version);
            columns.entry_no.push(entry_no);
            columns.kind.push(entry.kind as i16);
            columns.points.push(entry.points);
            columns.lot_available.push(entry.lot.available_from);
            columns.lot_expires.push(entry.lot.expires_on);
            columns.business_date.push(business_date);
        }
    }

    /// Ends an account: everything pushed since the last one ended belongs to it.
    /// `tail_since` is `None` where nobody has looked at the account's sales.
    pub(super) fn account(
        &mut self,
        expected: i64,
        after: &Account,
        profile: Option<Vec<u8>>,
        tail_since: Option<Date>,
    ) {
        let columns = &mut self.accounts;
        columns.count += 1;
        columns.bucket.push(i16::from(bucket::of_account(after.account_id)));
        columns.account_id.push(after.account_id);
        columns.expected.push(expected);
        columns.version.push(after.version);
        columns.total_points.push(after.lots.total());
        columns.sales_minor.push(after.sales_minor);
        columns.baskets.push(after.baskets);
        columns.clock.push(after.clock);
        columns.next_expiry.push(after.lots.first_expiry());
        columns.tail_since.push(tail_since);
        columns.lots.push(&after.lots.encode());
        columns.tallies.push(&after.tally.encode().unwrap_or_default());
        columns.profiles.push(&profile.unwrap_or_default());
        self.claims.ends.push(self.claims.version.len());
        self.swipes.ends.push(self.swipes.version.len());
        self.entries.ends.push(self.entries.version.len());
        self.changes.ends.push(self.changes.version.len());
        self.issues.ends.push(self.issues.version.len());
        self.spends.ends.push(self.spends.lease_no.len());
    }

    /// The parameters of the statement for a swipe that is alone, in its order; none when there is
    /// anything but one new swipe with one entry.
    pub(super) fn lone(&self) -> Option<[&(dyn ToSql + Sync); LONE]> {
        let Self { recorded_at, accounts: a, claims: c, swipes: s, entries: e, .. } = self;
        let plain = Parts { profiles: false, coupons: Coupons::Absent };
        let counts = [a.version.len(), c.version.len(), s.version.len(), e.version.len()];
        // A void that comes before its sale claims a name too, for another version.
        if counts != [1; 4] || c.version[0] != a.version[0] || self.parts() != plain {
            return None;
        }
        debug_assert_eq!((c.void_version[0], e.entry_no[0]), (0, 0));
        debug_assert_eq!([s.version[0], e.version[0]], [a.version[0]; 2]);
        debug_assert_eq!([s.business_date[0], e.business_date[0]], [c.business_date[0]; 2]);
        Some([
            &a.bucket[0], // $1
            &a.account_id[0],
            &a.expected[0],
            &a.version[0],
            &a.total_points[0],
            &a.sales_minor[0], // $6
            &a.baskets[0],
            &a.clock[0],
            &a.next_expiry[0],
            &a.tail_since[0],
            &a.lots.bytes, // $11
            &a.tallies.bytes,
            &c.bucket[0], // $13
            &c.workstation_no[0],
            &c.business_date[0],
            &c.sequence_number[0],
            &c.contents,
            &s.kind[0], // $18
            &s.epoch[0],
            &s.occurred_at[0],
            recorded_at,
            &s.total_minor[0], // $22
            &s.earned[0],
            &s.reversed[0],
            &s.spent[0],
            &s.records.bytes, // $26
            &s.receipts.bytes,
            &s.decisions.bytes,
            &e.kind[0], // $29
            &e.points[0],
            &e.lot_available[0],
            &e.lot_expires[0],
        ])
    }

    /// The parameters of the whole statement, in its order; [`Parts::parameters`] says how many
    /// of them each form takes.
    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 81] {
        let Self { recorded_at, encoding, accounts: a, claims: c, swipes: s, entries: e, .. } =
            self;
        let Self { changes, issues, spends, pools, .. } = self;
        [
            &a.count, // $1
            &a.bucket,
            &a.account_id,
            &a.expected,
            &a.version,
            &a.total_points, // $6
            &a.sales_minor,
            &a.baskets,
            &a.clock,
            &a.next_expiry,
            &a.tail_since, // $11
            &a.lots.bytes,
            &a.lots.ends.0,
            &a.tallies.bytes,
            &a.tallies.ends.0,
            &c.ends.0, // $16
            &s.ends.0,
            &e.ends.0,
            &c.bucket, // $19
            &c.workstation_no,
            &c.business_date,
            &c.sequence_number,
            &c.version,
            &c.void_version,
            &c.contents,
            &s.version, // $26
            &s.business_date,
            &s.workstation_no,
            &s.sequence_number,
            &s.kind,
            &s.epoch,
            &s.occurred_at,
            recorded_at, // $33
            &s.total_minor,
            &s.earned,
            &s.reversed,
            &s.spent,
            &s.records.bytes, // $38
            &s.records.ends.0,
            &s.receipts.bytes,
            &s.receipts.ends.0,
            &s.decisions.bytes,
            &s.decisions.ends.0,
            &e.version, // $44
            &e.entry_no,
            &e.kind,
            &e.points,
            &e.lot_available,
            &e.lot_expires,
            &e.business_date,
            encoding, // $51, of profiles
            &a.profiles.bytes,
            &a.profiles.ends.0,
            &changes.ends.0, // $54
            &changes.code,
            &changes.version,
            &changes.state,
            &changes.redeemed_on,
            &changes.over_value,
            &changes.value_minor, // $60
            &changes.over_budget,
            &changes.over_limit,
            &changes.was,
            &issues.ends.0, // $64
            &issues.code,
            &issues.version,
            &issues.offer_no,
            &issues.valid_from,
            &issues.valid_until,
            &issues.actor, // $70
            &issues.reason,
            &issues.used_on,
            &issues.value_minor,
            &issues.marks,
            &issues.slot,
            &issues.propensity,
            &issues.evidence,
            &spends.ends.0, // $78
            &spends.lease_no,
            &spends.amount,
            pools, // $81
        ]
    }
}

impl KeyColumns {
    fn push(&mut self, row: &KeyRow) {
        self.bucket.push(i16::from(row.name.bucket));
        self.workstation_no.push(row.name.workstation_no);
        self.business_date.push(row.name.business_date);
        self.sequence_number.push(row.name.sequence_number);
        self.version.push(row.version);
        self.void_version.push(row.void_version);
        self.contents.extend_from_slice(&row.content);
    }
}
