//! The columns of coupons, and of what they draw on leases.

use jiff::civil::Date;

use super::{Batch, Ends};
use crate::commit::leases::Spending;
use crate::domain::coupon::{Code, State};
use crate::domain::selection::showcase::Why;

#[derive(Default)]
pub(super) struct ChangeColumns {
    pub(super) code: Vec<i64>,
    pub(super) version: Vec<i64>,
    pub(super) state: Vec<i16>,
    pub(super) redeemed_on: Vec<Option<Date>>,
    pub(super) over_value: Vec<bool>,
    pub(super) value_minor: Vec<Option<i64>>,
    pub(super) over_budget: Vec<bool>,
    pub(super) over_limit: Vec<bool>,
    pub(super) was: Vec<Option<i64>>,
    pub(super) ends: Ends,
}

#[derive(Default)]
pub(super) struct IssueColumns {
    pub(super) code: Vec<i64>,
    pub(super) version: Vec<i64>,
    pub(super) offer_no: Vec<i32>,
    pub(super) valid_from: Vec<Date>,
    pub(super) valid_until: Vec<Date>,
    pub(super) actor: Vec<String>,
    pub(super) reason: Vec<i16>,
    pub(super) slot: Vec<i16>,
    pub(super) propensity: Vec<Option<i32>>,
    /// All of one length.
    pub(super) evidence: Vec<u8>,
    pub(super) used_on: Vec<Option<Date>>,
    pub(super) value_minor: Vec<Option<i64>>,
    pub(super) marks: Vec<i16>,
    pub(super) ends: Ends,
}

/// What is drawn on leases with accounts.
#[derive(Default)]
pub(super) struct SpendColumns {
    pub(super) lease_no: Vec<i64>,
    pub(super) amount: Vec<i64>,
    pub(super) ends: Ends,
}

impl SpendColumns {
    fn push(&mut self, spending: Spending) {
        for lease_no in spending.leases.into_iter().flatten() {
            self.lease_no.push(lease_no);
            self.amount.push(spending.amount);
        }
    }
}

/// A coupon that changes with its account.
pub(in crate::commit) struct CouponChange {
    pub(in crate::commit) code: Code,
    pub(in crate::commit) version: i64,
    pub(in crate::commit) state: State,
    /// The business date of the transaction that redeems it.
    pub(in crate::commit) redeemed_on: Option<Date>,
    pub(in crate::commit) over_value: bool,
    /// What the till gave for it, when it is redeemed.
    pub(in crate::commit) value_minor: Option<i64>,
    /// Whether that does not fit into the budgets of its offer.
    pub(in crate::commit) over_budget: bool,
    /// Whether it is more than its offer allows.
    pub(in crate::commit) over_limit: bool,
    /// The version that changed it last, where no account proves it: nobody had it yet.
    pub(in crate::commit) was: Option<i64>,
    /// The pool that must not have been taken back, where one of its codes is redeemed.
    pub(in crate::commit) pool_no: Option<i32>,
    /// What it draws on the budgets of its offer.
    pub(in crate::commit) spending: Spending,
}

/// A coupon that an account is given.
pub(in crate::commit) struct CouponIssue {
    pub(in crate::commit) code: Code,
    pub(in crate::commit) version: i64,
    pub(in crate::commit) offer_no: i32,
    pub(in crate::commit) valid_from: Date,
    pub(in crate::commit) valid_until: Date,
    /// Who gave it.
    pub(in crate::commit) actor: String,
    pub(in crate::commit) why: Why,
    /// What it draws on the budgets of its offer.
    pub(in crate::commit) spending: Spending,
    /// Where it is one use of what is everybody's, what a till gave for it.
    pub(in crate::commit) used: Option<CouponUse>,
}

/// A use of what is everybody's, by the version that issues it.
pub(in crate::commit) struct CouponUse {
    pub(in crate::commit) on: Date,
    pub(in crate::commit) value_minor: i64,
    pub(in crate::commit) over_value: bool,
    pub(in crate::commit) over_budget: bool,
    pub(in crate::commit) over_limit: bool,
    /// What the value draws on the budgets of its offer.
    pub(in crate::commit) spending: Spending,
}

impl CouponUse {
    /// As the statement reads it.
    fn marks(&self) -> i16 {
        i16::from(self.over_value)
            | i16::from(self.over_budget) << 1
            | i16::from(self.over_limit) << 2
    }
}

impl Batch {
    /// Whether another account of this batch changes a coupon.
    pub(in crate::commit) fn is_changed_elsewhere(&self, code: Code) -> bool {
        self.changes.code[..self.changes.ends.last()].contains(&code.number())
    }

    /// A coupon that this account holds and that changes. Changed again, the last change counts,
    /// since the statement changes a row once; what is drawn on leases adds up.
    pub(in crate::commit) fn change_coupon(&mut self, row: &CouponChange) {
        self.spends.push(row.spending);
        self.pools.extend(row.pool_no.filter(|pool_no| !self.pools.contains(pool_no)));
        let columns = &mut self.changes;
        let before = columns.ends.last();
        let again = columns.code[before..].iter().position(|code| *code == row.code.number());
        if let Some(at) = again.map(|at| before + at) {
            columns.version[at] = row.version;
            columns.state[at] = row.state as i16;
            columns.redeemed_on[at] = row.redeemed_on;
            columns.over_value[at] = row.over_value;
            columns.value_minor[at] = row.value_minor;
            columns.over_budget[at] = row.over_budget;
            columns.over_limit[at] = row.over_limit;
            return;
        }
        columns.code.push(row.code.number());
        columns.version.push(row.version);
        columns.state.push(row.state as i16);
        columns.redeemed_on.push(row.redeemed_on);
        columns.over_value.push(row.over_value);
        columns.value_minor.push(row.value_minor);
        columns.over_budget.push(row.over_budget);
        columns.over_limit.push(row.over_limit);
        columns.was.push(row.was);
    }

    /// What is drawn on leases besides, with this account.
    pub(in crate::commit) fn draw(&mut self, spending: Spending) {
        self.spends.push(spending);
    }

    /// A coupon that this account is given.
    pub(in crate::commit) fn issue_coupon(&mut self, row: CouponIssue) {
        let columns = &mut self.issues;
        columns.code.push(row.code.number());
        columns.version.push(row.version);
        columns.offer_no.push(row.offer_no);
        columns.valid_from.push(row.valid_from);
        columns.valid_until.push(row.valid_until);
        columns.actor.push(row.actor);
        let Why { reason, slot, propensity_ppm, evidence } = row.why;
        columns.reason.push(reason as i16);
        columns.slot.push(slot as i16);
        let propensity = i32::try_from(propensity_ppm).ok().filter(|ppm| *ppm > 0);
        columns.propensity.push(propensity);
        columns.evidence.extend_from_slice(&evidence.encode());
        let used = row.used.as_ref();
        columns.used_on.push(used.map(|used| used.on));
        columns.value_minor.push(used.map(|used| used.value_minor));
        columns.marks.push(used.map_or(0, CouponUse::marks));
        self.spends.push(row.spending);
        if let Some(used) = used {
            self.spends.push(used.spending);
        }
    }
}
