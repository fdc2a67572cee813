//! Which coupons an account is likeliest to redeem, among all that are live.
//!
//! Owns the one place where a coupon and an account become numbers. Coupons are looked up by
//! what the account buys and not the other way round, so that a decision costs what the two
//! have in common. Must never learn, and must never say what a coupon *causes*: a likely
//! redemption may be a purchase that was coming anyway.

use super::super::product::Product;
use super::super::profile::{Affinity, Level, Profile};
use super::logarithm::{ln, ln_1p};

/// How many signs a coupon has for an account.
pub const OFFER_SIGNS: usize = 30;

/// How much each sign counts towards the logarithm of the odds that a coupon is redeemed.
pub type OfferWeights = [f32; OFFER_SIGNS];

/// Below this share of baskets a coupon's popularity tells nothing.
const RARE: f32 = 2e-5;

/// What is known of the moment besides the profile.
#[derive(Clone, Copy, Debug, Default)]
pub struct Occasion {
    /// Coupons among which one is sent.
    pub sent_along: u32,
    /// Coupons that the account redeemed before.
    pub redeemed: u32,
    /// Campaigns that the account was in before.
    pub campaigns: u32,
}

/// For each number, in which coupons it stands: one list after the other.
#[derive(Clone, Debug, Default)]
struct Postings<T> {
    starts: Vec<u32>,
    entries: Vec<T>,
}

impl<T: Copy> Postings<T> {
    fn new(mut pairs: Vec<(u32, T)>) -> Self {
        pairs.sort_by_key(|(no, _)| *no);
        let numbers = pairs.last().map_or(0, |(no, _)| *no as usize + 1);
        let mut starts = vec![0_u32; numbers + 1];
        for (no, _) in &pairs {
            starts[*no as usize + 1] += 1;
        }
        for at in 0..numbers {
            starts[at + 1] += starts[at];
        }
        Self { starts, entries: pairs.into_iter().map(|(_, entry)| entry).collect() }
    }

    fn of(&self, no: u32) -> &[T] {
        match self.starts.get(no as usize..no as usize + 2) {
            Some(&[from, to]) => &self.entries[from as usize..to as usize],
            _ => &[],
        }
    }
}

/// Coupons that are live, arranged by what they hold for.
#[derive(Clone, Debug, Default)]
pub struct Live {
    coupons: Vec<Known>,
    by_product: Postings<u32>,
    /// With the share of the coupon's articles that are of the type.
    by_type: Postings<(u32, f32)>,
    by_brand: Postings<u32>,
    by_kind: Postings<u32>,
    /// By article: its brand and its kind (brand and type) as numbered here; 0 where no coupon
    /// has them.
    marks: Vec<[u16; 2]>,
    weights: OfferWeights,
    /// Coupons with which an account has nothing in common, likeliest first.
    strangers: Vec<u32>,
}

/// What of a coupon is the same for all accounts.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// Σ of its articles' shares of all baskets.
    popularity: f32,
    log_popularity: f32,
    /// Logarithm of how many articles it holds for, and one.
    log_breadth: f32,
}

/// How an account's purchases stand to one coupon.
#[derive(Clone, Copy, Debug, Default)]
struct Common {
    touched: bool,
    count: f32,
    slow: f32,
    fast: f32,
    articles: f32,
    last_day: u16,
    gap_days: f32,
    by_type: f32,
    most_of_a_type: f32,
    by_brand: f32,
    by_kind: f32,
}

/// Working memory of a decision, used again for the next one.
#[derive(Clone, Debug, Default)]
pub struct OfferRoom {
    common: Vec<Common>,
    touched: Vec<u32>,
    brands: Vec<f32>,
    kinds: Vec<f32>,
    best: Vec<(f32, u32)>,
}

/// What bears on all coupons of an account.
#[derive(Clone, Copy, Debug)]
struct Customer {
    last_day: u16,
    visit_gap: f32,
    /// Logarithm of the coupons that it redeemed.
    uses: f32,
    /// The signs that are the same for all coupons; the others are 0.
    signs: [f32; OFFER_SIGNS],
}

impl Live {
    /// Arranges coupons, each given by the numbers of its articles. `catalogue` and `popularity`
    /// (share of all baskets) are indexed by those numbers.
    pub fn new(
        coupons: &[Vec<u32>],
        catalogue: &[Product],
        popularity: &[f32],
        weights: OfferWeights,
    ) -> Self {
        let [mut products, mut brands, mut kinds] = [const { Vec::new() }; 3];
        let mut types = Vec::new();
        let mut live = Self { marks: vec![[0; 2]; catalogue.len()], ..Self::default() };
        let known = |no: &u32| catalogue.get(*no as usize).map(|product| product.taxa);
        let taxa = || coupons.iter().flatten().filter_map(known);
        let brand_nos = distinct(taxa().map(|taxa| taxa.brand_no));
        let kind_nos = distinct(taxa().map(|taxa| (taxa.brand_no, taxa.type_no)));
        for (mark, product) in live.marks.iter_mut().zip(catalogue) {
            let kind = (product.taxa.brand_no, product.taxa.type_no);
            *mark = [number(&brand_nos, &kind.0), number(&kind_nos, &kind)];
        }
        for (at, articles) in (0_u32..).zip(coupons) {
            #[expect(clippy::cast_precision_loss, reason = "a coupon has few articles")]
            let breadth = articles.len() as f32;
            let share = |no: &u32| popularity.get(*no as usize).copied().unwrap_or_default();
            let popularity: f32 = articles.iter().map(share).sum();
            let (log_popularity, log_breadth) = (ln(popularity.max(RARE)), ln_1p(breadth));
            live.coupons.push(Known { popularity, log_popularity, log_breadth });
            products.extend(articles.iter().map(|no| (*no, at)));
            let mut of_types: Vec<u32> =
                articles.iter().filter_map(known).map(|t| t.type_no).collect();
            of_types.sort_unstable();
            for same in of_types.chunk_by(|a, b| a == b).filter(|same| same[0] > 0) {
                #[expect(clippy::cast_precision_loss, reason = "a coupon has few articles")]
                types.push((same[0], (at, same.len() as f32 / breadth)));
            }
            let marks = articles.iter().filter_map(|no| live.marks.get(*no as usize));
            let marks: Vec<[u16; 2]> = marks.copied().collect();
            for (place, found) in [&mut brands, &mut kinds].into_iter().enumerate() {
                let nos = distinct(marks.iter().map(|mark| mark[place]).filter(|no| *no > 0));
                found.extend(nos.into_iter().map(|no| (u32::from(no), at)));
            }
        }
        live.by_product = Postings::new(products);
        live.by_type = Postings::new(types);
        live.by_brand = Postings::new(brands);
        live.by_kind = Postings::new(kinds);
        live.weigh(weights);
        live
    }

    /// Takes over other weights.
    pub fn weigh(&mut self, weights: OfferWeights) {
        self.weights = weights;
        let customer = Customer::of(&Profile::default(), &Occasion::default());
        let score = |at: u32| score(&weights, &self.signs_of(&customer, at, &Common::default()));
        let mut strangers: Vec<(f32, u32)> =
            (0_u32..).take(self.coupons.len()).map(|at| (score(at), at)).collect();
        strangers.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        self.strangers = strangers.into_iter().map(|(_, at)| at).collect();
    }

    /// The coupons with the highest scores, likeliest first; at most `most`. Of equals the one
    /// that stands first among the coupons.
    pub fn choose<'a>(
        &self,
        profile: &Profile,
        occasion: &Occasion,
        most: usize,
        room: &'a mut OfferRoom,
    ) -> impl Iterator<Item = (u32, f32)> + use<'a> {
        self.look_at(profile, room);
        let customer = Customer::of(profile, occasion);
        let OfferRoom { common, touched, best, .. } = room;
        best.clear();
        let mut offer = |at: u32| {
            let score = score(&self.weights, &self.signs_of(&customer, at, &common[at as usize]));
            let goes_before =
                |(other, rival): &(f32, u32)| score.total_cmp(other).then(rival.cmp(&at)).is_gt();
            if best.len() == most && !best.last().is_some_and(goes_before) {
                return;
            }
            best.truncate(most.saturating_sub(1));
            let place = best.partition_point(|entry| !goes_before(entry));
            best.insert(place, (score, at));
        };
        touched.iter().for_each(|at| offer(*at));
        // The order of the others is known beforehand.
        let strangers = self.strangers.iter().filter(|at| !common[**at as usize].touched);
        strangers.take(most).for_each(|at| offer(*at));
        best.iter().map(|(score, at)| (*at, *score))
    }

    /// Hands over each coupon's signs and how many of the account's baskets held each of its
    /// articles, added up: what weights are learned from.
    pub fn signs(
        &self,
        profile: &Profile,
        occasion: &Occasion,
        room: &mut OfferRoom,
        mut take: impl FnMut(&[f32; OFFER_SIGNS], f32),
    ) {
        self.look_at(profile, room);
        let customer = Customer::of(profile, occasion);
        for (at, common) in (0_u32..).zip(&room.common) {
            take(&self.signs_of(&customer, at, common), common.count);
        }
    }

    /// Σ of a coupon's articles' shares of all baskets.
    pub fn popularity(&self, coupon: u32) -> f32 {
        self.coupons[coupon as usize].popularity
    }

    /// Finds the coupons that have something in common with what the account buys.
    fn look_at(&self, profile: &Profile, room: &mut OfferRoom) {
        let OfferRoom { common, touched, brands, kinds, .. } = room;
        common.clear();
        common.resize(self.coupons.len(), Common::default());
        touched.clear();
        for (sums, postings) in [(&mut *brands, &self.by_brand), (&mut *kinds, &self.by_kind)] {
            sums.clear();
            sums.resize(postings.starts.len(), 0.0);
        }
        let mut touch = |at: u32, change: &dyn Fn(&mut Common)| {
            let common = &mut common[at as usize];
            if !common.touched {
                common.touched = true;
                touched.push(at);
            }
            change(common);
        };
        for (no, affinity) in profile.affinities(Level::Product) {
            let Some([brand, kind]) = self.marks.get(no as usize) else { continue };
            if *brand == 0 {
                continue;
            }
            brands[usize::from(*brand)] += affinity.slow;
            kinds[usize::from(*kind)] += affinity.slow;
            for at in self.by_product.of(no) {
                touch(*at, &|common| common.add(&affinity));
            }
        }
        for (no, affinity) in profile.affinities(Level::Type) {
            for (at, share) in self.by_type.of(no) {
                touch(*at, &|common| {
                    common.by_type += share * affinity.slow;
                    common.most_of_a_type = common.most_of_a_type.max(affinity.slow);
                });
            }
        }
        for (no, sum) in (0_u32..).zip(&*brands).filter(|(_, sum)| **sum > 0.0) {
            for at in self.by_brand.of(no) {
                touch(*at, &|common| common.by_brand += sum);
            }
        }
        for (no, sum) in (0_u32..).zip(&*kinds).skip(1).filter(|(_, sum)| **sum > 0.0) {
            for at in self.by_kind.of(no) {
                touch(*at, &|common| common.by_kind += sum);
            }
        }
    }

    fn signs_of(&self, customer: &Customer, at: u32, common: &Common) -> [f32; OFFER_SIGNS] {
        let Known { log_popularity, log_breadth, .. } = self.coupons[at as usize];
        let by_type = ln_1p(common.by_type);
        let by_kind = ln_1p(common.by_kind);
        let mut signs = customer.signs;
        signs[6] = by_type;
        signs[7] = ln_1p(common.most_of_a_type);
        signs[8] = ln_1p(common.by_brand);
        signs[9] = by_kind;
        signs[13] = log_popularity;
        signs[14] = log_breadth;
        signs[23] = customer.uses * by_kind;
        if common.count > 0.0 {
            let days_since = f32::from(customer.last_day.saturating_sub(common.last_day));
            let slow = ln_1p(common.slow);
            signs[1] = ln_1p(common.count);
            signs[2] = slow;
            signs[3] = ln_1p(common.fast);
            signs[4] = 1.0;
            signs[5] = ln_1p(common.articles);
            if common.gap_days > 0.0 {
                signs[21] = ((days_since + customer.visit_gap) / common.gap_days.max(1.0)).min(3.0);
            }
            signs[22] = customer.uses * slow;
            signs[26] = ln_1p(days_since);
        } else {
            signs[10] = by_type;
            signs[11] = by_kind;
            signs[12] = log_popularity;
            signs[24] = customer.uses;
        }
        signs
    }
}

impl Common {
    fn add(&mut self, affinity: &Affinity) {
        self.count += f32::from(affinity.count);
        self.slow += affinity.slow;
        self.fast += affinity.fast;
        self.articles += 1.0;
        if affinity.last_day >= self.last_day {
            self.last_day = affinity.last_day;
            self.gap_days = affinity.usual_gap_days.unwrap_or_default();
        }
    }
}

impl Customer {
    fn of(profile: &Profile, occasion: &Occasion) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^24")]
        let [baskets, taken, redeemed, campaigns, sent_along] = [
            profile.baskets(),
            profile.redemptions(),
            occasion.redeemed,
            occasion.campaigns,
            occasion.sent_along,
        ]
        .map(|count| count as f32);
        #[expect(clippy::cast_possible_truncation, reason = "statistics of a few digits")]
        let [visit_gap, lines] = [
            profile.usual_gap_days().unwrap_or(30.0),
            profile.usual_basket().map_or(0.0, |(lines, _)| lines),
        ]
        .map(|statistic| statistic as f32);
        let uses = ln_1p(redeemed);
        let mut signs = [0.0; OFFER_SIGNS];
        signs[0] = 1.0;
        signs[15] = uses;
        signs[16] = if redeemed > 0.0 { 1.0 } else { 0.0 };
        signs[17] = ln_1p(campaigns);
        signs[18] = ln_1p(taken);
        signs[19] = taken / baskets.max(1.0);
        signs[20] = ln_1p(baskets);
        signs[25] = ln_1p(sent_along);
        signs[27] = ln_1p(lines);
        signs[28] = ln_1p(visit_gap);
        signs[29] = redeemed / campaigns.max(1.0);
        Self { last_day: profile.last_day(), visit_gap, uses, signs }
    }
}

/// The score of such signs: the logarithm of the odds that the coupon is redeemed.
pub fn score(weights: &OfferWeights, signs: &[f32; OFFER_SIGNS]) -> f32 {
    weights.iter().zip(signs).map(|(weight, sign)| weight * sign).sum()
}

fn distinct<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// The place among sorted values, from 1; 0 when it is not there, or beyond what fits.
fn number<T: Ord>(values: &[T], value: &T) -> u16 {
    values.binary_search(value).ok().and_then(|at| u16::try_from(at + 1).ok()).unwrap_or(0)
}
