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

use jiff::civil::Date;

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
/// Most gaps that are kept of an item: as bytes they take no more room than its counts.
const GAPS_MAX: usize = 7;

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

/// How often and when an item was bought. Which of the two it is follows from the baskets alone,
/// so that equal histories are equal profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bought {
    /// Once, or a few times in baskets whose day is known.
    Few(Gaps),
    /// Anything else.
    Often(Counts),
}

/// How many baskets lie from each basket that held an item to the next, oldest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Gaps {
    len: u8,
    baskets: [u8; GAPS_MAX],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    /// Baskets that held the item.
    count: u16,
    /// Day of the first of them.
    first_day: u16,
    /// Decayed counts as of the last of them, in 1024ths.
    slow: u16,
    fast: u16,
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
            let since = self.baskets - item.basket;
            if let Bought::Few(gaps) = item.bought
                && gaps.len > 0
                && since.saturating_add(gaps.sum()) as usize >= DAYS_MAX - 1
            {
                item.bought = Bought::Often(gaps.counts(&self.days, since));
            }
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
                let bought = Bought::Few(Gaps::default());
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

    fn last_day(&self) -> u16 {
        self.days.last().copied().unwrap_or_default()
    }

    fn affinity_of(&self, item: &Item) -> Affinity {
        let baskets_since = self.baskets - item.basket;
        let last_day = day_of(&self.days, baskets_since);
        let in_baskets =
            |stored: u16, table| f32::from(decayed(stored, table, baskets_since)) / f32::from(ONE);
        let Counts { count, first_day, slow, fast } = item.bought.counts(&self.days, baskets_since);
        let gaps = f32::from(count.saturating_sub(1));
        Affinity {
            count,
            slow: in_baskets(slow, &SLOW),
            fast: in_baskets(fast, &FAST),
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
                // The last bit tells whether more follows; a gap of nothing, that counts follow.
                match item.bought {
                    Bought::Few(gaps) => {
                        out.unsigned(u64::from(since) << 1 | u64::from(gaps.len > 0));
                        let mut left = gaps.len;
                        for gap in gaps.iter() {
                            left -= 1;
                            out.unsigned(u64::from(gap) << 1 | u64::from(left > 0));
                        }
                    }
                    Bought::Often(Counts { count, first_day, slow, fast }) => {
                        out.unsigned(u64::from(since) << 1 | 1);
                        out.unsigned(0);
                        out.unsigned(u64::from(count));
                        let last_day = day_of(&self.days, since);
                        out.unsigned(u64::from(last_day.saturating_sub(first_day)));
                        out.unsigned(u64::from(slow));
                        out.unsigned(u64::from(fast));
                    }
                }
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
                let header: u64 = from.unsigned()?;
                let since = u32::try_from(header >> 1).map_err(|_| damaged)?;
                let basket = self.baskets.checked_sub(since).ok_or(damaged)?;
                let mut gaps = Gaps::default();
                let mut more = header & 1 == 1;
                let mut counts = None;
                while more {
                    let gap = from.unsigned()?;
                    more = gap & 1 == 1;
                    match u8::try_from(gap >> 1).map_err(|_| damaged)? {
                        0 if gaps.len == 0 && !more => {
                            let count = from.small()?;
                            let first_day = day_of(&self.days, since).saturating_sub(from.small()?);
                            let (slow, fast) = (from.small()?, from.small()?);
                            counts = Some(Counts { count, first_day, slow, fast });
                        }
                        0 => return Err(damaged),
                        gap => gaps.push(gap).ok_or(damaged)?,
                    }
                }
                let bought = counts.map_or(Bought::Few(gaps), Bought::Often);
                items.push(Item { id, basket, bought });
            }
        }
        from.end()
    }
}

impl Bought {
    /// The same, bought again so many baskets after the last time, in the newest basket.
    fn again(self, days: &[u16], since: u32) -> Self {
        if let (Self::Few(mut gaps), Ok(gap)) = (self, u8::try_from(since))
            && gaps.push(gap).is_some()
        {
            return Self::Few(gaps);
        }
        let Counts { count, first_day, slow, fast } = self.counts(days, since);
        Self::Often(Counts {
            count: count.saturating_add(1),
            first_day,
            slow: decayed(slow, &SLOW, since).saturating_add(ONE),
            fast: decayed(fast, &FAST, since).saturating_add(ONE),
        })
    }

    /// As counts, of an item whose last basket lies `since` baskets back.
    fn counts(&self, days: &[u16], since: u32) -> Counts {
        match self {
            Self::Few(gaps) => gaps.counts(days, since),
            Self::Often(counts) => *counts,
        }
    }
}

impl Gaps {
    /// Nothing when there is no room.
    fn push(&mut self, gap: u8) -> Option<()> {
        *self.baskets.get_mut(usize::from(self.len))? = gap;
        self.len += 1;
        Some(())
    }

    fn iter(&self) -> impl Iterator<Item = u8> + '_ {
        self.baskets.iter().copied().take(self.len.into())
    }

    fn sum(&self) -> u32 {
        self.iter().map(u32::from).sum()
    }

    fn counts(&self, days: &[u16], since: u32) -> Counts {
        let (mut slow, mut fast) = (ONE, ONE);
        for gap in self.iter() {
            slow = decayed(slow, &SLOW, gap.into()).saturating_add(ONE);
            fast = decayed(fast, &FAST, gap.into()).saturating_add(ONE);
        }
        let first_day = day_of(days, since.saturating_add(self.sum()));
        Counts { count: u16::from(self.len) + 1, first_day, slow, fast }
    }
}

/// The day of the basket that lies so many baskets back.
fn day_of(days: &[u16], baskets_since: u32) -> u16 {
    let back = usize::try_from(baskets_since).unwrap_or(usize::MAX).saturating_add(1);
    let known = days.len().checked_sub(back).and_then(|at| days.get(at));
    known.or(days.first()).copied().unwrap_or_default()
}

fn id_of(product: &Product, level: Level) -> u32 {
    let Taxa { category_no, type_no, .. } = product.taxa;
    match level {
        Level::Category => category_no,
        Level::Type => type_no,
        Level::Product => product.product_no,
    }
}

/// One basket, in the unit of the stored counts.
const ONE: u16 = 1_024;

/// Powers of the decay, beyond which nothing of a stored count is left.
const POWERS: usize = 400;
const SLOW: [f32; POWERS] = powers(0.97);
const FAST: [f32; POWERS] = powers(0.93);

const fn powers(base: f32) -> [f32; POWERS] {
    let mut table = [1.0; POWERS];
    let mut at = 1;
    while at < POWERS {
        table[at] = table[at - 1] * base;
        at += 1;
    }
    table
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a product of a u16 and a factor within 0 and 1 is a u16 again"
)]
fn decayed(stored: u16, table: &[f32; POWERS], baskets: u32) -> u16 {
    let factor = table.get(baskets as usize).copied().unwrap_or(0.0);
    (f32::from(stored) * factor).round() as u16
}
