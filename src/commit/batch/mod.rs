//! The columns of one commit statement. Knows the shape of the statement and nothing else.

mod coupons;

use std::collections::HashSet;

use jiff::Timestamp;
use jiff::civil::Date;
use tokio_postgres::types::ToSql;

use self::coupons::{ChangeColumns, IssueColumns, SpendColumns};
pub(super) use self::coupons::{CouponChange, CouponIssue, CouponUse};
use super::NameKey;
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
    /// Where the ranges of the account being built began.
    began: Ends,
}

#[derive(Default)]
struct AccountColumns {
    bucket: Vec<i16>,
    account_id: Vec<i64>,
    expected: Vec<i64>,
    version: Vec<i64>,
    total_points: Vec<i64>,
    sales_minor: Vec<i64>,
    baskets: Vec<i32>,
    clock: Vec<Date>,
    lots: Vec<Vec<u8>>,
    next_expiry: Vec<Option<Date>>,
    profile: Vec<Option<Vec<u8>>>,
    tail_since: Vec<Option<Date>>,
    tally: Vec<Option<Vec<u8>>>,
    first: [Vec<i32>; 6],
    last: [Vec<i32>; 6],
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
}

/// Values of varying length behind one another, and where each ends.
struct Packed {
    bytes: Vec<u8>,
    offsets: Vec<i32>,
}

impl Default for Packed {
    fn default() -> Self {
        Self { bytes: Vec::new(), offsets: vec![0] }
    }
}

impl Packed {
    fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.offsets.push(length(self.bytes.len()));
    }
}

/// Lengths of the flat columns: claims, swipes, entries, changes and issues of coupons, and what
/// these draw on leases.
type Ends = [i32; 6];

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
        let ranges = accounts.account_id.iter().zip(&accounts.first[5]).zip(&accounts.last[5]);
        let of_moved = ranges.filter(|((account_id, _), _)| moved.contains(account_id));
        let at = of_moved.flat_map(|((_, first), last)| *first..=*last);
        let at = at.filter_map(|at| usize::try_from(at - 1).ok());
        at.filter_map(|at| Some((*spends.lease_no.get(at)?, *spends.amount.get(at)?))).collect()
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
        let ends = self.ends();
        let columns = &mut self.accounts;
        columns.bucket.push(i16::from(bucket::of_account(after.account_id)));
        columns.account_id.push(after.account_id);
        columns.expected.push(expected);
        columns.version.push(after.version);
        columns.total_points.push(after.lots.total());
        columns.sales_minor.push(after.sales_minor);
        columns.baskets.push(after.baskets);
        columns.clock.push(after.clock);
        columns.lots.push(after.lots.encode());
        columns.next_expiry.push(after.lots.first_expiry());
        columns.profile.push(profile);
        columns.tail_since.push(tail_since);
        columns.tally.push(after.tally.encode());
        for (at, (began, end)) in self.began.into_iter().zip(ends).enumerate() {
            columns.first[at].push(began + 1);
            columns.last[at].push(end);
        }
        self.began = ends;
    }

    /// The parameters of the statement, in its order.
    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 77] {
        let Self { recorded_at, encoding, accounts: a, claims: c, swipes: s, entries: e, .. } =
            self;
        let Self { changes, issues, spends, .. } = self;
        [
            &a.bucket, // $1
            &a.account_id,
            &a.expected,
            &a.version,
            &a.total_points,
            &a.sales_minor, // $6
            &a.baskets,
            &a.clock,
            &a.lots,
            &a.next_expiry,
            &a.profile, // $11
            &a.first[0],
            &a.last[0],
            &a.first[1],
            &a.last[1],
            &a.first[2],
            &a.last[2],
            &c.bucket, // $18
            &c.workstation_no,
            &c.business_date,
            &c.sequence_number,
            &c.version,
            &c.void_version,
            &c.contents,
            &s.version, // $25
            &s.business_date,
            &s.workstation_no,
            &s.sequence_number,
            &s.kind,
            &s.epoch,
            &s.occurred_at,
            recorded_at, // $32
            &s.total_minor,
            &s.earned,
            &s.reversed,
            &s.spent, // $36
            &s.records.bytes,
            &s.records.offsets,
            &s.receipts.bytes,
            &s.receipts.offsets,
            &e.version, // $41
            &e.entry_no,
            &e.kind,
            &e.points,
            &e.lot_available,
            &e.lot_expires,
            &e.business_date,
            encoding, // $48
            &a.tail_since,
            &a.first[3], // $50
            &a.last[3],
            &a.first[4],
            &a.last[4],
            &changes.code, // $54
            &changes.version,
            &changes.state,
            &changes.redeemed_on,
            &changes.over_value,
            &issues.code, // $59
            &issues.version,
            &issues.offer_no,
            &issues.valid_from,
            &issues.valid_until,
            &issues.actor, // $64
            &changes.value_minor,
            &changes.over_budget,
            &a.first[5], // $67
            &a.last[5],
            &spends.lease_no,
            &spends.amount, // $70
            &a.tally,       // $71
            &issues.reason,
            &changes.over_limit, // $73
            &changes.was,
            &issues.used_on, // $75
            &issues.value_minor,
            &issues.marks,
        ]
    }

    fn ends(&self) -> Ends {
        let Self { claims, swipes, entries, changes, issues, spends, .. } = self;
        let columns = [
            &claims.version,
            &swipes.version,
            &entries.version,
            &changes.version,
            &issues.version,
            &spends.lease_no,
        ];
        columns.map(|column| length(column.len()))
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

fn length(value: usize) -> i32 {
    i32::try_from(value).expect("a batch is bounded far below 2 GiB")
}
