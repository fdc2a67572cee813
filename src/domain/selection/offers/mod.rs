//! Which coupons an account is likeliest to redeem, among all that are live.
//!
//! Coupons are looked up by what the account buys and not the other way round, so that a
//! decision costs what the two have in common, and one pass over what all coupons are for.
//! Must never learn, and must never say what a coupon *causes*: a likely redemption may be a
//! purchase that was coming anyway.

mod packs;
mod ranking;
mod signs;
mod targets;

use super::super::product::Product;
use super::super::profile::{Level, Profile};
use super::super::target::Target;

pub use self::packs::{Larger, PackRoom};
pub use self::ranking::Likely;
pub use self::signs::{
    BUILT_IN, BUILT_IN_AT_FIRST, Common, Customer, Known, OFFER_SIGNS, OfferWeights, Own,
    SIGNS_VERSION, score, with_popularity,
};
use self::signs::{Columns, Scorer, Scores, Share};
use self::targets::{Mark, Targets};

/// Coupons that are live, arranged by what they hold for.
#[derive(Clone, Debug, Default)]
pub struct Live {
    targets: Targets,
    weights: OfferWeights,
    /// By target.
    shares: Vec<Share>,
}

/// Working memory of a decision, used again for the next one.
#[derive(Clone, Debug, Default)]
pub struct OfferRoom {
    /// Articles of the account that targets ask for: their places in the profile, and where their
    /// marks stand.
    asked_for: Vec<(u32, u32)>,
    /// The same with their marks.
    found: Vec<(u32, Mark)>,
    /// Targets that may be for a larger pack.
    perhaps_larger: Vec<u32>,
    common: Columns,
    /// Targets of whose articles something was bought, each once.
    owned: Vec<u32>,
    brands: Sums<f32>,
    kinds: Sums<f32>,
    places: Sums<Own>,
    scores: Scores,
}

/// Sums by number, and which of them were added to, be it nothing: of what was bought long ago so
/// little is left.
#[derive(Clone, Debug, Default)]
struct Sums<T> {
    sums: Vec<T>,
    /// Whether a number is among the touched.
    is_touched: Vec<bool>,
    /// With room for one more than there are.
    touched: Vec<u32>,
    /// How many of them count.
    count: usize,
}

impl<T: Copy + Default> Sums<T> {
    fn forget(&mut self, numbers: usize) {
        for no in &self.touched[..self.count] {
            self.sums[*no as usize] = T::default();
            self.is_touched[*no as usize] = false;
        }
        self.count = 0;
        self.sums.resize(numbers, T::default());
        self.is_touched.resize(numbers, false);
        self.touched.resize(numbers + 1, 0);
    }

    /// The sum of a number, to be added to. Whether it is new is as often so as not, so that it
    /// costs less to write its number down every time than to ask.
    fn of(&mut self, no: u16) -> &mut T {
        let at = usize::from(no);
        self.touched[self.count] = u32::from(no);
        self.count += usize::from(!self.is_touched[at]);
        self.is_touched[at] = true;
        &mut self.sums[at]
    }

    fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.touched[..self.count].iter().map(|no| (*no, &self.sums[*no as usize]))
    }
}

impl Live {
    /// Arranges coupons, each given by what it is for. `catalogue` and `popularity` (share of
    /// all baskets) are indexed by the number of the article.
    pub fn new(
        coupons: &[&Target],
        catalogue: &[Product],
        popularity: &[f32],
        weights: OfferWeights,
    ) -> Self {
        let targets = Targets::new(coupons, catalogue, popularity);
        let mut live = Self { targets, ..Self::default() };
        live.weigh(weights);
        live
    }

    /// Takes over other weights.
    pub fn weigh(&mut self, weights: OfferWeights) {
        self.weights = weights;
        self.shares =
            self.targets.known.iter().map(|known| Scorer::share(&weights, known)).collect();
    }

    /// Hands over the signs of these coupons, given by their places, and how many of the account's
    /// baskets held each of their articles, added up: what weights are learned from.
    pub fn signs(
        &self,
        profile: &Profile,
        coupons: impl IntoIterator<Item = u32>,
        room: &mut OfferRoom,
        mut take: impl FnMut(&[f32; OFFER_SIGNS], f32),
    ) {
        self.look_at(profile, room);
        let customer = Customer::of(profile);
        for coupon in coupons {
            let at = self.target_of(coupon);
            let common = room.common.of(at);
            take(&customer.signs(&self.targets.known[at], &common), common.own.count);
        }
    }

    /// What the purchases of the account that was chosen for last have in common with a coupon.
    pub fn common(&self, coupon: u32, room: &OfferRoom) -> Common {
        room.common.of(self.target_of(coupon))
    }

    /// What of a coupon is the same for all accounts.
    pub fn known(&self, coupon: u32) -> &Known {
        &self.targets.known[self.target_of(coupon)]
    }

    /// Coupons for the same have the same number.
    pub fn group_of(&self, coupon: u32) -> u32 {
        self.targets.of_coupon[coupon as usize]
    }

    /// One more than the largest number of a group.
    pub fn groups(&self) -> usize {
        self.targets.known.len()
    }

    /// The groups of coupons that an article is found for, some of them more than once. Whether
    /// they are for it as it was sold is the target's to say.
    pub fn groups_of(&self, product_no: u32) -> impl Iterator<Item = u32> {
        self.targets.of_article(product_no)
    }

    fn target_of(&self, coupon: u32) -> usize {
        self.targets.of_coupon[coupon as usize] as usize
    }

    /// Finds what the account's purchases have in common with each target.
    fn look_at(&self, profile: &Profile, room: &mut OfferRoom) {
        let targets = &self.targets;
        let OfferRoom { asked_for, found, common, owned, brands, kinds, places, .. } = room;
        common.forget(targets.known.len(), owned);
        owned.clear();
        brands.forget(targets.by_brand.numbers().max(1));
        kinds.forget(targets.by_kind.numbers().max(1));
        places.forget(targets.by_place.numbers());
        let mut of_everything = Own::default();
        let is_for_all = targets.everything.is_some();
        // First which of the articles matter, then what of them: each is somewhere else in a large
        // table, and the machine fetches many at a time where nothing waits for one of them.
        let (items, mut count) = (profile.bought(Level::Product), 0);
        asked_for.resize(items.len().max(asked_for.len()), (0, 0));
        for (place, item) in (0_u32..).zip(items) {
            let Some(mark) = targets.mark_of.get(item.id() as usize) else { continue };
            asked_for[count] = (place, *mark);
            count += usize::from(*mark > 0 || is_for_all);
        }
        found.clear();
        found.extend(
            asked_for[..count].iter().map(|(place, at)| (*place, targets.marks[*at as usize])),
        );
        for (place, mark) in &*found {
            let item = profile.held(Level::Product, *place as usize);
            let affinity = (mark.is_for_some() || is_for_all).then(|| item.affinity());
            let slow = affinity.as_ref().map_or_else(|| item.slow(), |affinity| affinity.slow);
            // Under number 0 no target is found.
            *brands.of(mark.brand) += slow;
            *kinds.of(mark.kind) += slow;
            let Some(affinity) = affinity else { continue };
            for no in targets.places(*mark) {
                places.of(no).add(&affinity);
            }
            if is_for_all {
                of_everything.add(&affinity);
            }
            for at in targets.naming(*mark) {
                let own = &mut common.own[at as usize];
                if own.count == 0.0 {
                    owned.push(at);
                }
                own.add(&affinity);
            }
        }
        let everything = targets.everything.iter().map(|at| (at, &of_everything));
        let placed = places
            .iter()
            .flat_map(|(no, sum)| targets.by_place.of(no).iter().map(move |at| (at, sum)));
        for (at, sum) in placed.chain(everything.filter(|(_, sum)| sum.count > 0.0)) {
            let place = *at as usize;
            if common.own[place].count == 0.0 {
                owned.push(*at);
            }
            common.own[place].merge(sum);
            // It names no article, so that it has no brands but those of what was bought.
            common.by_brand[place] += sum.slow;
            common.by_kind[place] += sum.slow;
        }
        let (by_type, most_of_a_type) = (&mut *common.by_type, &mut *common.most_of_a_type);
        for item in profile.bought(Level::Type) {
            let of_type = targets.by_type.of(item.id());
            if of_type.is_empty() {
                continue;
            }
            let slow = item.slow();
            for (at, share) in of_type {
                by_type[*at as usize] += share * slow;
                let most = &mut most_of_a_type[*at as usize];
                *most = if slow > *most { slow } else { *most };
            }
        }
        for (sums, postings, column) in [
            (&*brands, &targets.by_brand, &mut *common.by_brand),
            (&*kinds, &targets.by_kind, &mut *common.by_kind),
        ] {
            for (no, sum) in sums.iter() {
                for at in postings.of(no) {
                    column[*at as usize] += sum;
                }
            }
        }
    }
}
