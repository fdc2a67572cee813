//! The accounts held in memory, with their profiles. A cache and nothing but a cache.
//!
//! It decides speed, never value: every change is conditional on the version that it was
//! decided on, so a stale entry can only cost a second attempt. What is held is replaced only by
//! what has a higher version.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::RandomState;
use jiff::Span;
use jiff::civil::Date;
use moka::sync::Cache;

use crate::config;
use crate::domain::account::Account;
use crate::domain::consent::Profiling;
use crate::domain::coupon::{Code, Coupon, IGNORED_MOST, Open, REMEMBERED_DAYS};
use crate::domain::profile::Profile;

/// Most coupons that are remembered of an account: as many as are loaded with it.
const REMEMBERED_MAX: usize = 100;

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
    /// Coupons that it can redeem, those that run out on the day of its clock included, and those
    /// used or run out that still bear on what it is given; the [`REMEMBERED_MAX`] that last
    /// longest. Every change of a coupon raises the version.
    pub open: Arc<[Open]>,
    /// What its members have said about profiling. They say it when the account is enrolled, which
    /// raises the version.
    pub profiling: Profiling,
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
        self.open.iter().filter(move |it| !it.is_used && it.valid_until >= business_date)
    }

    /// One of the coupons that it was given and no till has taken.
    pub fn coupon(&self, code: Code) -> Option<Coupon> {
        let Open { offer_no, valid_from, valid_until, reason, .. } =
            *self.open.iter().find(|it| it.code == code && !it.is_used)?;
        // Which version issued it is asked only by voids, which read it.
        let validity = (valid_from, valid_until);
        let issued = Coupon::issued(code, self.account.account_id, 0, offer_no, validity);
        Some(Coupon { reason, ..issued })
    }

    /// How many coupons tills chose for it in the week up to a business date, whatever became of
    /// them; what a void took back was not given.
    pub fn chosen_in_week(&self, business_date: Date) -> usize {
        let began = business_date.saturating_sub(Span::new().days(6));
        self.open.iter().filter(|it| it.is_chosen() && it.valid_from >= began).count()
    }

    /// Offers of which so many coupons ran out unused, and none was used, that it is not given
    /// another one on a business date. Sorted, each once.
    pub fn tired_of(&self, business_date: Date) -> Vec<i32> {
        let mut ignored: Vec<i32> = self.ignored_on(business_date).collect();
        if ignored.len() < IGNORED_MOST {
            return Vec::new();
        }
        ignored.sort_unstable();
        let is_used = |offer_no| self.used_on(business_date).any(|used| used == offer_no);
        let often = ignored.chunk_by(|one, other| one == other);
        let often = often.filter(|same| same.len() >= IGNORED_MOST).map(|same| same[0]);
        often.filter(|offer_no| !is_used(*offer_no)).collect()
    }

    /// The offers of coupons that have run out unused, one for each coupon that is remembered on a
    /// business date.
    pub fn ignored_on(&self, business_date: Date) -> impl Iterator<Item = i32> {
        let ignored = move |it: &&Open| !it.is_used && it.valid_until < business_date;
        self.remembered_on(business_date).filter(ignored).map(|it| it.offer_no)
    }

    /// The same of coupons that were used.
    pub fn used_on(&self, business_date: Date) -> impl Iterator<Item = i32> {
        self.remembered_on(business_date).filter(|it| it.is_used).map(|it| it.offer_no)
    }

    fn remembered_on(&self, business_date: Date) -> impl Iterator<Item = &Open> {
        let began = business_date.saturating_sub(Span::new().days(REMEMBERED_DAYS));
        self.open.iter().filter(move |it| it.valid_until >= began)
    }

    /// Notes a coupon that it can redeem.
    pub fn gain(&mut self, coupon: Open) {
        let began = self.account.clock.saturating_sub(Span::new().days(REMEMBERED_DAYS));
        let others = self.open.iter().copied();
        let others = others.filter(|it| it.valid_until >= began && it.code != coupon.code);
        let mut open: Vec<Open> = others.chain([coupon]).collect();
        if open.len() > REMEMBERED_MAX {
            open.sort_by_key(|it| (Reverse(it.valid_until), it.code));
            open.truncate(REMEMBERED_MAX);
        }
        self.open = open.into();
    }

    /// Notes that a till has taken a coupon.
    pub fn lose(&mut self, code: Code) {
        self.mark(code, true);
    }

    /// Notes that a coupon which a till had taken can be redeemed again. False when it is not
    /// remembered.
    pub fn regain(&mut self, code: Code) -> bool {
        self.mark(code, false)
    }

    fn mark(&mut self, code: Code, is_used: bool) -> bool {
        let is_known = self.open.iter().any(|it| it.code == code);
        if is_known {
            let marked = |it: &Open| if it.code == code { Open { is_used, ..*it } } else { *it };
            self.open = self.open.iter().map(marked).collect();
        }
        is_known
    }

    /// Forgets a coupon that was taken back.
    pub fn forget(&mut self, code: Code) {
        if self.open.iter().any(|it| it.code == code) {
            self.open = self.open.iter().copied().filter(|it| it.code != code).collect();
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
    /// An account changes in its place: the cache would take note of every new entry, and each
    /// swipe would make one.
    by_id: Cache<i64, Arc<Mutex<Arc<Hot>>>, RandomState>,
    by_card: Cache<String, i64, RandomState>,
}

impl Accounts {
    /// An empty cache.
    pub fn new(settings: &config::Cache) -> Self {
        let by_id = Cache::builder().max_capacity(settings.accounts_max);
        let by_card = Cache::builder().max_capacity(settings.cards_max);
        Self {
            by_id: by_id.build_with_hasher(RandomState::default()),
            by_card: by_card.build_with_hasher(RandomState::default()),
        }
    }

    /// An account, if it is here.
    pub fn get(&self, account_id: i64) -> Option<Arc<Hot>> {
        self.by_id.get(&account_id).map(|place| Arc::clone(&held_in(&place)))
    }

    /// Takes in what the database has confirmed, unless something newer is here already.
    pub fn put(&self, hot: Arc<Hot>) {
        let first = || Arc::new(Mutex::new(Arc::clone(&hot)));
        let place = self.by_id.get_with(hot.account.account_id, first);
        let mut held = held_in(&place);
        if held.account.version < hot.account.version {
            *held = hot;
        }
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

/// What is in a place. Whoever panics while looking at it has changed nothing.
fn held_in(place: &Mutex<Arc<Hot>>) -> MutexGuard<'_, Arc<Hot>> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::domain::account::State;
    use crate::domain::selection::showcase::Reason;

    const TODAY: Date = date(2026, 7, 1);

    /// A coupon of an offer whose first and last day lie so many days before today.
    fn coupon(random: u64, offer_no: i32, first: i32, last: i32) -> Open {
        let before = |days: i32| TODAY.saturating_sub(Span::new().days(days));
        Open {
            code: Code::new(2, random),
            offer_no,
            valid_from: before(first),
            valid_until: before(last),
            is_used: false,
            reason: Some(Reason::DueAgain),
        }
    }

    fn holding(coupons: &[Open]) -> Hot {
        let mut account = Account::new(0x1_02, State::Enrolled);
        account.clock = TODAY;
        Hot {
            account,
            cards: Vec::new().into(),
            profile: Vec::new().into(),
            open: coupons.to_vec().into(),
            profiling: Profiling::Unsaid,
            tail_since: Date::MAX,
        }
    }

    #[test]
    fn only_a_higher_version_takes_the_place_of_another() {
        let settings = config::Cache { accounts_max: 10, cards_max: 10 };
        let accounts = Accounts::new(&settings);
        let at = |version| {
            let mut hot = holding(&[]);
            hot.account.version = version;
            Arc::new(hot)
        };
        let id = at(0).account.account_id;
        let version = || accounts.get(id).map(|hot| hot.account.version);
        assert_eq!(version(), None);
        for (put, held) in [(5, 5), (4, 5), (5, 5), (7, 7), (6, 7)] {
            accounts.put(at(put));
            assert_eq!(version(), Some(held), "{put} was put");
        }
        let same = at(7);
        accounts.put(Arc::clone(&same));
        assert_eq!(Arc::strong_count(&same), 1, "an equal one is not taken in");
        // Whoever has it in hand keeps what it was.
        let in_hand = accounts.get(id).expect("it is held");
        accounts.put(at(8));
        assert_eq!((in_hand.account.version, version()), (7, Some(8)));
        accounts.forget(id);
        assert_eq!(version(), None);
        accounts.put(at(3));
        assert_eq!((version(), accounts.held()), (Some(3), 1), "nothing newer is here");
    }

    #[test]
    fn an_offer_is_ignored_when_three_of_its_coupons_ran_out_and_none_was_used() {
        let ran_out = |nth: u64| coupon(nth, 7, 20, 10);
        let three = [ran_out(1), ran_out(2), ran_out(3)];
        let with = |fourth: Open| [&three[..], &[fourth]].concat();
        for (held, tired) in [
            (three.to_vec(), vec![7]),
            (three[..2].to_vec(), vec![]),
            (with(coupon(4, 8, 20, 10)), vec![7]),
            (with(Open { is_used: true, ..ran_out(4) }), vec![]),
            (with(Open { is_used: true, ..coupon(4, 8, 20, 10) }), vec![7]),
            // One that can still be redeemed is not ignored, nor what lies too far back.
            ([&three[..2], &[coupon(3, 7, 3, 0)]].concat(), vec![]),
            ([&three[..2], &[coupon(3, 7, 99, 85)]].concat(), vec![]),
            ([&three[..2], &[coupon(3, 7, 99, 84)]].concat(), vec![7]),
        ] {
            assert_eq!(holding(&held).tired_of(TODAY), tired, "{held:?}");
        }
    }

    #[test]
    fn why_it_was_given_takes_no_room_in_what_is_held_of_a_coupon() {
        // A hundred of them are held of an account, and millions of accounts.
        assert_eq!(size_of::<Open>(), size_of::<(Code, i32, [Date; 2], [bool; 2])>());
    }

    #[test]
    fn a_week_counts_what_tills_chose_whatever_became_of_it() {
        let given_by_people = Open { reason: Some(Reason::Given), ..coupon(1, 1, 0, -9) };
        let used = Open { is_used: true, ..coupon(2, 1, 6, -9) };
        let of_tomorrow = Open { reason: None, ..coupon(5, 1, 0, -9) };
        let earlier = [coupon(3, 1, 7, -9), coupon(4, 2, 1, 1)];
        let held = [&earlier[..], &[given_by_people, used, of_tomorrow]].concat();
        assert_eq!(holding(&held).chosen_in_week(TODAY), 3);
    }

    #[test]
    fn what_happens_to_coupons_is_remembered_as_the_database_has_it() {
        let mut hot = holding(&[]);
        for nth in 0..130 {
            hot.gain(coupon(nth, 1, 0, 0));
        }
        hot.gain(coupon(200, 2, 0, -9));
        let last = Code::new(2, 200);
        assert_eq!((hot.open.len(), hot.open_on(TODAY).count()), (100, 100));
        hot.lose(last);
        assert_eq!((hot.open.len(), hot.open_on(TODAY).count()), (100, 99), "it was used");
        assert!(hot.regain(last));
        assert_eq!(hot.open_on(TODAY).count(), 100, "its sale was voided");
        hot.forget(last);
        assert_eq!(hot.open.len(), 99, "it was taken back");
        assert!(!hot.regain(last));
        hot.account.clock = TODAY.saturating_add(Span::new().days(85));
        hot.gain(coupon(300, 3, 0, -99));
        assert_eq!(hot.open.len(), 1, "what ran out long ago is forgotten");
    }
}
