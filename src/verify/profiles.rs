//! Checkpoints of profiles: each equals the fold of the sales up to its version, and the account
//! says no later day for the sales since than the first of them has.

use jiff::civil::Date;

use super::accounts::History;
use super::findings::Kind;
use super::sql::{ProfileRow, SwipeRow};
use crate::domain::profile::{self, Profile, Visit};
use crate::domain::record::Record;

/// The fold of an account's sales, and the checkpoint that it is held against on the way.
pub(super) struct Learning {
    profile: Profile,
    checkpoint: Option<ProfileRow>,
    /// What was learnt up to the checkpoint, once it is reached.
    reached: Option<Profile>,
    /// The earliest business date of a sale beyond the checkpoint.
    since: Date,
}

impl Learning {
    pub(super) fn new(checkpoint: Option<ProfileRow>) -> Self {
        Self { profile: Profile::default(), checkpoint, reached: None, since: Date::MAX }
    }

    /// Called before a version is learnt: when it lies beyond the checkpoint, that is due.
    pub(super) fn reach(&mut self, version: i64) {
        let is_due = self.checkpoint.as_ref().is_some_and(|row| row.version < version);
        if is_due && self.reached.is_none() {
            self.reached = Some(self.profile.clone());
        }
    }
}

impl History<'_> {
    /// A sale on a customer's account. Voids teach nothing: what was bought was wanted.
    pub(super) fn learn(&mut self, row: &SwipeRow, record: &Record) {
        // Nothing is compared once the checkpoint is behind.
        if self.learning.checkpoint.is_none() || self.learning.reached.is_some() {
            self.learning.since = self.learning.since.min(row.name.business_date);
            return;
        }
        let name = &row.name;
        let snapshot = &self.ledger.reference.snapshot;
        let visit = snapshot.visit(name.workstation_no, name.business_date, row.occurred_at);
        let (sold, redemptions) = (record.sold(), record.coupons());
        let total_minor = row.total_minor;
        self.learning.profile.learn(&Visit { total_minor, redemptions, sold: &sold, ..visit });
    }

    /// Compares the checkpoint with the fold, and where the sales since begin.
    pub(super) fn learning_ends(&mut self) {
        let since = self.learning.since;
        let said = self.row.as_ref().filter(|row| row.tail_version == Some(row.version));
        if let Some(said) = said.and_then(|row| row.tail_since) {
            self.require(
                said <= since,
                Kind::TailLate,
                None,
                format_args!("it says {said}, the first sale is of {since}"),
            );
        }
        let Some(row) = self.learning.checkpoint.take() else { return };
        let version = row.version;
        let account_version = self.row.as_ref().map_or(i64::MAX, |row| row.version);
        self.require(
            version <= account_version,
            Kind::ProfileAhead,
            version,
            format_args!("the account is at version {account_version}"),
        );
        let is_house = self.is_house();
        self.require(!is_house, Kind::HouseHolds, version, "a profile");
        if row.encoding != i16::from(profile::ENCODING) {
            self.ledger.counts.profiles_of_other_versions += 1;
            return;
        }
        let stored = match Profile::decode(&row.data) {
            Ok(stored) => stored,
            Err(error) => return self.require(false, Kind::ProfileDamaged, version, error),
        };
        let folded = self.learning.reached.take();
        let folded = folded.unwrap_or_else(|| std::mem::take(&mut self.learning.profile));
        let differing = stored.differing(&folded);
        self.require(differing.is_empty(), Kind::ProfileDiffers, version, differing.join(", "));
    }
}
