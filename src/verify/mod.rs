//! The audit: every invariant of the database, proved or named with the rows that break it.
//!
//! One snapshot is read once, account by account and version by version, as a merge of streams
//! that lie in that order; an account's history is replayed and compared with what is stored.
//! So the memory needed is that of one account's lots, profile and open voids, plus the
//! reference data and what merged accounts counted, however large the database is. Nothing is
//! locked and nothing written: swipes go on meanwhile.
//!
//! What a check can prove is said where the check is. What cannot be proved from what is kept:
//! what a return of a known sale takes back at the moment of its decision (only that lines,
//! columns and entries agree), which tier an account held then (only what it would earn with the
//! one that was noted), the clock of an enrolled account beyond the dates of its own
//! rows, and where an enrolled account with several cards lost a version that moved no points.

mod accounts;
mod coupons;
pub mod findings;
mod names;
mod points;
mod profiles;
mod receipts;
mod reference;
mod sql;
mod swipes;
mod tallies;

use std::ops::RangeInclusive;

use serde::Serialize;

use self::accounts::History;
use self::findings::{Broken, Findings, Kind};
use self::reference::Reference;
use self::sql::{Account, Streams};
use self::tallies::Tallies;
use crate::config::Database;
use crate::error::Error;
use crate::receipt::Decompressor;

/// Every bucket: the whole database.
pub const ALL_BUCKETS: RangeInclusive<u8> = 0..=u8::MAX;

/// An audit that has begun: its snapshot is taken.
pub struct Audit {
    streams: Streams,
    ledger: Ledger,
    is_whole: bool,
}

/// What was counted, and what is broken.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What the database holds.
    pub counts: Counts,
    /// Invariants that do not hold. Empty: all of them do.
    pub broken: Vec<Broken>,
}

/// What the database holds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    /// Accounts of customers who enrolled.
    pub accounts_enrolled: u64,
    /// Accounts of cards that nobody enrolled.
    pub accounts_provisional: u64,
    /// Accounts that were merged into others.
    pub accounts_merged: u64,
    /// Accounts of cards that people have blocked.
    pub accounts_blocked: u64,
    /// Accounts of workstations.
    pub accounts_house: u64,
    /// Cards.
    pub cards: u64,
    /// People.
    pub members: u64,
    /// Sales, voided ones included.
    pub sales: u64,
    /// Training, and sales that came after their void.
    pub sales_not_counted: u64,
    /// Voids, those before their sale included.
    pub voids: u64,
    /// Points corrected by people.
    pub adjustments: u64,
    /// Coupons that were issued.
    pub coupons: u64,
    /// Entries of the points ledger.
    pub entries: u64,
    /// Checkpoints of profiles.
    pub profiles: u64,
    /// Checkpoints in an encoding that this version does not know; they are folded anew.
    pub profiles_of_other_versions: u64,
    /// Points that customers have, debts taken off.
    pub points_outstanding: i128,
    /// Of those, what is owed to the chain.
    pub points_owed: i128,
    /// Sales less returns and voids, in minor units.
    pub sales_minor: i128,
}

/// What all accounts share while they are audited.
struct Ledger {
    findings: Findings,
    counts: Counts,
    reference: Reference,
    receipts: Decompressor,
    /// What coupons drew on the budgets of their offers.
    drawn: coupons::Drawn,
    /// Σ of all transfer entries: what leaves one account arrives at another.
    transferred: i128,
    tallies: Tallies,
}

impl Audit {
    /// Takes the snapshot. Only accounts of these buckets are audited, with all that belongs to
    /// them: a slice of a database that is too large to be audited as a whole. What can be said of
    /// the whole alone, that transfers add up to nothing and what was spent of budgets, is left out
    /// then.
    ///
    /// # Errors
    /// When the database cannot be reached, or its reference data cannot be read.
    pub async fn begin(settings: &Database, buckets: RangeInclusive<u8>) -> Result<Self, Error> {
        let mut streams = Box::pin(Streams::open(settings, &buckets)).await?;
        let mut findings = Findings::default();
        let snapshot = std::mem::take(&mut streams.reference);
        let reference = Reference::new(snapshot, &buckets, &mut findings);
        let (counts, receipts) = (Counts::default(), Decompressor::default());
        let (drawn, tallies) = (coupons::Drawn::new(), Tallies::default());
        let transferred = 0;
        let ledger = Ledger { findings, counts, reference, receipts, drawn, transferred, tallies };
        Ok(Self { streams, ledger, is_whole: buckets == ALL_BUCKETS })
    }

    /// How many accounts there are to be audited.
    pub fn accounts(&self) -> u64 {
        self.streams.accounts_count
    }

    /// Audits everything. `progress` is told of each account.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn run(mut self, mut progress: impl FnMut(u64)) -> Result<Report, Error> {
        while let Some(account) = self.streams.next_account() {
            self.account(account).await?;
            progress(1);
        }
        let Self { mut ledger, is_whole, streams } = self;
        ledger.reference.finish(&mut ledger.findings);
        ledger.tallies.finish(&mut ledger.findings, is_whole);
        ledger.findings.require(
            !is_whole || ledger.transferred == 0,
            Kind::TransfersUnbalanced,
            "all accounts",
            format_args!("the transfer entries add up to {} points", ledger.transferred),
        );
        if is_whole {
            coupons::budgets(ledger.drawn, &streams.budgets, &mut ledger.findings);
            coupons::limits(&streams.beyond, &mut ledger.findings);
            coupons::pools(&streams.pools, &mut ledger.findings);
        }
        Ok(Report { counts: ledger.counts, broken: ledger.findings.broken() })
    }

    async fn account(&mut self, account: Account) -> Result<(), Error> {
        let Self { streams, ledger, .. } = self;
        let row = streams.accounts.take(account).await?;
        let profile = streams.profiles.take(account).await?;
        let mut history = History::begin(ledger, account, row, profile);
        while let Some(card) = streams.cards.take(account).await? {
            history.card(&card);
        }
        while streams.members.take(account).await?.is_some() {
            history.member();
        }
        while let Some(version) = streams.next_version(account) {
            let names = streams.names.take_version(account, version).await?;
            let swipes = streams.swipes.take_version(account, version).await?;
            let entries = streams.entries.take_version(account, version).await?;
            let adjustments = streams.adjustments.take_version(account, version).await?;
            let coupons = streams.coupons.take_version(account, version).await?;
            history.coupons(version, &swipes, &coupons);
            history.version(version, names, &swipes, &entries, &adjustments, &coupons);
        }
        // More than one row cannot be, by the key; were it otherwise, this would not end.
        while streams.profiles.take(account).await?.is_some() {}
        while streams.accounts.take(account).await?.is_some() {}
        history.end();
        Ok(())
    }
}
