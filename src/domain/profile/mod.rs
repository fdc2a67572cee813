//! What a customer buys: counts by category, type and product, learnt basket by basket.
//!
//! A profile is a fold over the account's baskets in the order of their versions. Folding in
//! pieces, through [`Profile::encode`] and back, equals folding in one go, exactly: everything
//! that is kept is an integer. It decides what is offered, never what somebody is owed.
//!
//! Of an item one may ask how many baskets held it, when the first and the last was, and for two
//! counts that decay with every basket (by 0.97 and 0.93). Most items are bought a few times: of
//! those it keeps which baskets held them, a byte for each, and counts when it is asked. What is
//! bought often is kept as counts, which are brought up to date when it is bought again. So a
//! basket costs its own items and no more.
//!
//! A basket's day is that of the account's clock, which never goes back. The days of the latest
//! baskets are kept once for all items.

mod bought;

use jiff::civil::Date;

use self::bought::{Bought, Now, SLOW, day_of, decayed};
use super::codec::{DecodeError, Reader, Writer, days};
use super::product::{Product, Taxa};

/// The number under which profiles of this shape are stored.
pub const ENCODING: u8 = 3;

/// Levels of the hierarchy at which baskets are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Product categories.
    Category = 0,
    /// Product types.
    Type = 1,
    /// Articles.
    Product = 2,
}

/// Most items that are remembered at each [`Level`]; beyond it the one that matters least goes.
const ITEMS_MAX: [usize; 3] = [256, 512, 1_024];
/// Most stores that are remembered.
const STORES_MAX: usize = 8;
/// Of so many of the latest baskets the day is known; older ones have that of the oldest of them.
const DAYS_MAX: usize = 256;

/// One basket, as a profile learns it.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    /// The trading day.
    pub business_date: Date,
    /// Hour of the day in the store's own time, 0 to 23.
    pub hour: u8,
    /// The store.
    pub store_no: u32,
    /// What the customer paid, in minor units.
    pub total_minor: i64,
    /// Coupons that the till took.
    pub redemptions: usize,
    /// Articles sold; returned ones left out.
    pub sold: &'a [Product],
}

/// An item that was bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    id: u32,
    /// Number of the last basket that held it; the first basket is 1.
    basket: u32,
    bought: Bought,
}

/// How an item stands now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affinity {
    /// Baskets that held it.
    pub count: u16,
    /// The same, each earlier basket weighing 0.97 of the next.
    pub slow: f32,
    /// The same, with 0.93.
    pub fast: f32,
    /// Baskets since it was last bought; 0 when the last one held it.
    pub baskets_since: u32,
    /// Days from the first to the last purchase, divided by the gaps between; absent for
    /// an item that was bought once.
    pub usual_gap_days: Option<f32>,
    /// Day of the last purchase, in days since 2000-01-01.
    pub last_day: u16,
}

/// An item that was bought, to be asked for no more than one needs.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    profile: &'a Profile,
    item: &'a Item,
}

impl Held<'_> {
    /// Its number.
    pub fn id(&self) -> u32 {
        self.item.id
    }

    /// [`Affinity::slow`] alone.
    pub fn slow(&self) -> f32 {
        self.item.bought.slow_now(self.profile.baskets - self.item.basket)
    }

    /// How it stands.
    pub fn affinity(&self) -> Affinity {
        self.profile.affinity_of(self.item)
    }
}

/// What is remembered of one account's baskets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    baskets: u32,
    lines: u64,
    spend_minor: i64,
    redemptions: u32,
    first_day: u16,
    /// Days since 2000-01-01 of the latest baskets, oldest first.
    days: Vec<u16>,
    hours: [u32; 24],
    /// Store and number of baskets there, by store.
    stores: Vec<(u32, u32)>,
    /// For each level, sorted by id.
    items: [Vec<Item>; 3],
}

impl Profile {
    /// Baskets that were learnt.
    pub fn baskets(&self) -> u32 {
        self.baskets
    }

    /// Coupons that were redeemed in them.
    pub fn redemptions(&self) -> u32 {
        self.redemptions
    }

    /// Mean number of articles and mean total in minor units; nothing before the first basket.
    pub fn usual_basket(&self) -> Option<(f64, f64)> {
        let baskets = f64::from(self.baskets);
        #[expect(clippy::cast_precision_loss, reason = "a statistic, not an amount")]
        let means = (self.lines as f64 / baskets, self.spend_minor as f64 / baskets);
        (self.baskets > 0).then_some(means)
    }

    /// Mean days between baskets; nothing before the second.
    pub fn usual_gap_days(&self) -> Option<f64> {
        let days = f64::from(self.last_day().saturating_sub(self.first_day));
        (self.baskets > 1).then(|| days / f64::from(self.baskets - 1))
    }

    /// Baskets by hour of the day.
    pub fn hours(&self) -> &[u32; 24] {
        &self.hours
    }

    /// The store where most baskets were bought; of equals the one with the lower number.
    pub fn usual_store(&self) -> Option<u32> {
        let best = self.stores.iter().max_by_key(|(store, count)| (*count, u32::MAX - store));
        best.map(|(store, _)| *store)
    }

    /// How one item stands; nothing when it was never bought.
    pub fn affinity(&self, level: Level, id: u32) -> Option<Affinity> {
        let items = &self.items[level as usize];
        let at = items.binary_search_by_key(&id, |item| item.id).ok()?;
        items.get(at).map(|item| self.affinity_of(item))
    }

    /// All items of a level, by id, to be looked at one by one.
    pub fn bought(&self, level: Level) -> impl ExactSizeIterator<Item = Held<'_>> {
        self.items[level as usize].iter().map(|item| Held { profile: self, item })
    }

    /// One of [`Profile::bought`], by its place among them.
    pub fn held(&self, level: Level, place: usize) -> Held<'_> {
        Held { profile: self, item: &self.items[level as usize][place] }
    }

    /// All items of a level, by id.
    pub fn affinities(&self, level: Level) -> impl Iterator<Item = (u32, Affinity)> + '_ {
        self.items[level as usize].iter().map(|item| (item.id, self.affinity_of(item)))
    }

    /// The parts in which two profiles differ, in words. Hours are compared by their number
    /// only: a store's time zone may have been corrected since one of them was learnt.
    pub fn differing(&self, other: &Self) -> Vec<&'static str> {
        let hours = |profile: &Self| profile.hours.iter().map(|n| u64::from(*n)).sum::<u64>();
        let parts = [
            ("baskets", self.baskets == other.baskets),
            ("lines", self.lines == other.lines),
            ("spend", self.spend_minor == other.spend_minor),
            ("redemptions", self.redemptions == other.redemptions),
            ("days", (self.first_day, &self.days) == (other.first_day, &other.days)),
            ("hours", hours(self) == hours(other)),
            ("stores", self.stores == other.stores),
            ("categories", self.items[0] == other.items[0]),
            ("types", self.items[1] == other.items[1]),
            ("articles", self.items[2] == other.items[2]),
        ];
        parts.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }

    /// Learns one basket. The order of its articles does not matter.
    pub fn learn(&mut self, visit: &Visit<'_>) {
        let date = u16::try_from(days(visit.business_date).max(0)).unwrap_or(u16::MAX);
        let day = date.max(self.last_day());
        self.lines = self.lines.saturating_add(visit.sold.len() as u64);
        self.spend_minor = self.spend_minor.saturating_add(visit.total_minor);
        self.redemptions =
            self.redemptions.saturating_add(u32::try_from(visit.redemptions).unwrap_or(u32::MAX));
        if self.days.is_empty() {
            self.first_day = day;
        }
        if self.days.len() == DAYS_MAX {
            self.count_what_began_with_the_oldest_day();
            self.days.remove(0);
        }
        self.days.push(day);
        self.baskets = self.baskets.saturating_add(1);
        let hour = &mut self.hours[usize::from(visit.hour.min(23))];
        *hour = hour.saturating_add(1);
        self.learn_store(visit.store_no);

        // What is sensitive is never inferred from, so it is not learnt in the first place.
        let sold = || visit.sold.iter().filter(|product| !product.sensitive);
        let mut ids: Vec<u32> = Vec::with_capacity(visit.sold.len());
        for level in [Level::Category, Level::Type, Level::Product] {
            ids.clear();
            ids.extend(sold().map(|product| id_of(product, level)).filter(|id| *id != 0));
            ids.sort_unstable();
            ids.dedup();
            for id in &ids {
                self.learn_item(level, *id);
            }
        }
    }

    fn learn_store(&mut self, store_no: u32) {
        match self.stores.binary_search_by_key(&store_no, |(store, _)| *store) {
            Ok(at) => self.stores[at].1 = self.stores[at].1.saturating_add(1),
            Err(at) => {
                self.stores.insert(at, (store_no, 1));
                if self.stores.len() > STORES_MAX {
                    let rarest = self
                        .stores
                        .iter()
                        .enumerate()
                        .filter(|(_, (store, _))| *store != store_no)
                        .min_by_key(|(_, (_, count))| *count)
                        .map(|(at, _)| at)
                        .expect("more than one store is remembered");
                    self.stores.remove(rarest);
                }
            }
        }
    }

    /// What is not counted before its first day is forgotten never has one.
    fn count_what_began_with_the_oldest_day(&mut self) {
        for item in self.items.iter_mut().flatten() {
            item.bought.count_before_the_oldest_day_goes(&self.days, self.baskets - item.basket);
        }
    }

    fn learn_item(&mut self, level: Level, id: u32) {
        let baskets = self.baskets;
        let items = &mut self.items[level as usize];
        match items.binary_search_by_key(&id, |item| item.id) {
            Ok(at) => {
                let item = &mut items[at];
                let since = baskets - item.basket;
                item.bought = item.bought.again(&self.days, since);
                item.basket = baskets;
            }
            Err(at) => {
                let bought = Bought::once();
                items.insert(at, Item { id, basket: baskets, bought });
                if items.len() > ITEMS_MAX[level as usize] {
                    // What this basket holds stays; of the rest the one that matters least goes.
                    let least = items
                        .iter()
                        .enumerate()
                        .filter(|(_, item)| item.basket != baskets)
                        .min_by_key(|(_, item)| {
                            let since = baskets - item.basket;
                            let counts = item.bought.counts(&self.days, since);
                            (decayed(counts.slow, &SLOW, since), item.basket)
                        })
                        .map_or(at, |(at, _)| at);
                    items.remove(least);
                }
            }
        }
    }

    /// Day of the latest basket, in days since 2000-01-01; 0 before the first.
    pub fn last_day(&self) -> u16 {
        self.days.last().copied().unwrap_or_default()
    }

    #[inline]
    fn affinity_of(&self, item: &Item) -> Affinity {
        let baskets_since = self.baskets - item.basket;
        let last_day = day_of(&self.days, baskets_since);
        let Now { count, first_day, slow, fast } = item.bought.now(&self.days, baskets_since);
        let gaps = f32::from(count.saturating_sub(1));
        Affinity {
            count,
            slow,
            fast,
            baskets_since,
            usual_gap_days: (count > 1)
                .then(|| f32::from(last_day.saturating_sub(first_day)) / gaps),
            last_day,
        }
    }

    /// The compact form, in the encoding [`ENCODING`]: what is stored, and what is held in
    /// memory between two swipes.
    pub fn encode(&self) -> Vec<u8> {
        let items: usize = self.items.iter().map(Vec::len).sum();
        let mut out = Writer::with_room_for(128 + self.days.len() + items * 8, ENCODING);
        out.unsigned(u64::from(self.baskets));
        out.unsigned(self.lines);
        out.signed(self.spend_minor);
        out.unsigned(u64::from(self.redemptions));
        for hour in self.hours {
            out.unsigned(u64::from(hour));
        }
        out.unsigned(self.stores.len() as u64);
        for (store, count) in &self.stores {
            out.unsigned(u64::from(*store));
            out.unsigned(u64::from(*count));
        }
        out.unsigned(u64::from(self.first_day));
        out.unsigned(self.days.len() as u64);
        let mut before = 0;
        for day in &self.days {
            out.unsigned(u64::from(day - before));
            before = *day;
        }
        for items in &self.items {
            out.unsigned(items.len() as u64);
            let mut before = 0;
            for item in items {
                // Ids rise, and baskets lie near the newest one.
                out.unsigned(u64::from(item.id - before));
                before = item.id;
                let since = self.baskets - item.basket;
                item.bought.write(&mut out, since, &self.days);
            }
        }
        out.finish()
    }

    /// Reads [`Profile::encode`] back.
    ///
    /// # Errors
    /// When the bytes are not a complete encoding that this version knows; the profile can
    /// then be folded from the swipes again.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut profile = Self::default();
        profile.read(bytes)?;
        Ok(profile)
    }

    /// As [`Profile::decode`], in place of what was here: its memory is used again. After an
    /// error it must not be used.
    ///
    /// # Errors
    /// As [`Profile::decode`].
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let damaged = DecodeError::Damaged;
        let mut from = Reader::new(bytes, ENCODING)?;
        self.baskets = from.small()?;
        self.lines = from.unsigned()?;
        self.spend_minor = from.signed()?;
        self.redemptions = from.small()?;
        for hour in &mut self.hours {
            *hour = from.small()?;
        }
        self.stores.clear();
        for _ in 0..from.length(2)? {
            self.stores.push((from.small()?, from.small()?));
        }
        self.first_day = from.small()?;
        self.days.clear();
        for _ in 0..from.length(1)? {
            let day = self.last_day().checked_add(from.small()?).ok_or(damaged)?;
            self.days.push(day);
        }
        for items in &mut self.items {
            items.clear();
            let mut before: u32 = 0;
            for _ in 0..from.length(2)? {
                let id = before.checked_add(from.small()?).ok_or(damaged)?;
                before = id;
                let (since, bought) = Bought::read(&mut from, &self.days)?;
                let basket = self.baskets.checked_sub(since).ok_or(damaged)?;
                items.push(Item { id, basket, bought });
            }
        }
        from.end()
    }
}

fn id_of(product: &Product, level: Level) -> u32 {
    let Taxa { category_no, type_no, .. } = product.taxa;
    match level {
        Level::Category => category_no,
        Level::Type => type_no,
        Level::Product => product.product_no,
    }
}
