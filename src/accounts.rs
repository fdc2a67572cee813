//! The accounts held in memory, with their profiles. A cache and nothing but a cache.
//!
//! It decides speed, never value: every change is conditional on the version that it was
//! decided on, so a stale entry can only cost a second attempt. An entry is replaced only by
//! one of a higher version.

use std::sync::Arc;

use jiff::civil::Date;
use moka::ops::compute::Op;
use moka::sync::Cache;

use crate::config;
use crate::domain::account::Account;
use crate::domain::coupon::{Code, Open};
use crate::domain::profile::Profile;

/// An account as it was at one version.
#[derive(Clone, Debug)]
pub struct Hot {
    /// Points and counters.
    pub account: Account,
    /// Cards that are known to point at it at this version. Every change of a link raises the
    /// version, so a version that moves proves these links too; a card that is not here may
    /// point anywhere.
    pub cards: Arc<[Box<str>]>,
    /// What the customer buys, as [`Profile::encode`] writes it, in a quarter of the memory that
    /// it takes to work with; no bytes at all before anything is known.
    pub profile: Arc<[u8]>,
    /// Coupons that it can redeem, those that run out on the day of its clock included. Every
    /// change of a coupon raises the version.
    pub open: Arc<[Open]>,
    /// The earliest business date of a sale since the stored checkpoint of the profile, or
    /// [`Date::MAX`]: where to look for these sales when the account is loaded again.
    pub tail_since: Date,
}

impl Hot {
    /// Reads the profile into `profile`, whose memory is used again.
    ///
    /// # Panics
    /// When the bytes are not what [`Profile::encode`] wrote: they never leave this process.
    pub fn read_profile(&self, profile: &mut Profile) {
        match self.profile.is_empty() {
            true => *profile = Profile::default(),
            false => profile.read(&self.profile).expect("it was encoded here"),
        }
    }

    /// Coupons that it can redeem on a business date or later.
    pub fn open_on(&self, business_date: Date) -> impl Iterator<Item = &Open> {
        self.open.iter().filter(move |coupon| coupon.valid_until >= business_date)
    }

    /// Notes a coupon that it can redeem.
    pub fn gain(&mut self, coupon: Open) {
        let clock = self.account.clock;
        let still = self.open.iter().copied().filter(|open| open.valid_until >= clock);
        self.open = still.chain([coupon]).collect();
    }

    /// Notes that a coupon can be redeemed no more.
    pub fn lose(&mut self, code: Code) {
        if self.open.iter().any(|open| open.code == code) {
            self.open = self.open.iter().copied().filter(|open| open.code != code).collect();
        }
    }

    /// Whether a card is known to point here.
    pub fn is_of(&self, card: &str) -> bool {
        self.cards.iter().any(|known| **known == *card)
    }
}

/// Accounts by id, and cards by text. Cheap to clone; clones share their contents.
#[derive(Clone, Debug)]
pub struct Accounts {
    by_id: Cache<i64, Arc<Hot>>,
    by_card: Cache<String, i64>,
}

impl Accounts {
    /// An empty cache.
    pub fn new(settings: &config::Cache) -> Self {
        Self { by_id: Cache::new(settings.accounts_max), by_card: Cache::new(settings.cards_max) }
    }

    /// An account, if it is here.
    pub fn get(&self, account_id: i64) -> Option<Arc<Hot>> {
        self.by_id.get(&account_id)
    }

    /// Takes in what the database has confirmed, unless something newer is here already.
    pub fn put(&self, hot: Arc<Hot>) {
        self.by_id.entry(hot.account.account_id).and_compute_with(|held| match held {
            Some(held) if held.value().account.version >= hot.account.version => Op::Nop,
            _ => Op::Put(Arc::clone(&hot)),
        });
    }

    /// Forgets an account that turned out to be stale.
    pub fn forget(&self, account_id: i64) {
        self.by_id.invalidate(&account_id);
    }

    /// The account that a card was last seen to point at: where to look first, and no more.
    pub fn account_of(&self, card: &str) -> Option<i64> {
        self.by_card.get(card)
    }

    /// Remembers what a card points at.
    pub fn link(&self, card: &str, account_id: i64) {
        self.by_card.insert(card.to_owned(), account_id);
    }

    /// Number of accounts held. Settles what is under way first, so it is for those who count.
    pub fn held(&self) -> u64 {
        self.by_id.run_pending_tasks();
        self.by_id.entry_count()
    }
}
