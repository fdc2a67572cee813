//! Whom a question over accounts means: read page by page along their key, in one snapshot, while
//! tills go on. Exports show these accounts, and coupons are issued to them. Purchases are read
//! only where they are asked for. Must never change anything, nor hold more than a page in memory.

mod sql;

use std::sync::Arc;

use jiff::civil::Date;

pub use self::sql::{AccountRow, Detail, Snapshot, Window};
use crate::catalogue;
use crate::domain::account::State;
use crate::domain::segment::{Facts, Segment};
use crate::domain::standing;
use crate::receipt::Tier;

/// The day for which accounts are looked at, and the rules that are in force then.
pub struct AsOf {
    /// The day.
    pub today: Date,
    /// Reference data.
    pub catalogue: Arc<catalogue::Snapshot>,
}

impl AccountRow {
    /// The tier that the account holds.
    pub fn tier(&self, as_of: &AsOf) -> Option<String> {
        let epoch = as_of.catalogue.epoch_on(as_of.today)?;
        Tier::of_account(&epoch.programme, &self.account, as_of.today)?.name
    }

    /// Whether it is one of those that are meant. Purchases must have been read where they are
    /// asked for ([`Detail::of`]).
    pub fn is_in(&self, segment: &Segment, as_of: &AsOf) -> bool {
        let tier = segment.tier.is_some().then(|| self.tier(as_of)).flatten();
        let [_, Window { visits, spend_minor }, _] = self.windows;
        segment.admits(&Facts {
            is_enrolled: self.account.state == State::Enrolled,
            consents: &self.consents,
            last_visit: self.last_visit,
            points: standing::of(&self.account, as_of.today).balance,
            tier: tier.as_deref(),
            visits_90d: visits,
            spend_90d_minor: spend_minor,
        })
    }
}
