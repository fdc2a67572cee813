//! The signs by which a coupon is told from another, for one account.
//!
//! Owns the one place where a coupon and an account become numbers, so that what weights were
//! learned from and what they are used on cannot differ. [`Scorer`] adds the same numbers up
//! in fewer steps; a test holds it against the sum of signs times weights.

use super::super::super::profile::{Affinity, Profile};
use super::super::logarithm::ln_1p;

/// How many signs a coupon has for an account.
pub const OFFER_SIGNS: usize = 30;

/// Raised when a sign comes to mean something else: weights that were learned before are for other
/// signs.
pub const SIGNS_VERSION: i16 = 1;

/// How much each sign counts towards the logarithm of the odds that a coupon is redeemed.
pub type OfferWeights = [f32; OFFER_SIGNS];

/// What counted before [`BUILT_IN`] did, for choices of that time: learned from signs that knew of
/// campaigns, as no till does.
pub const BUILT_IN_AT_FIRST: OfferWeights = [
    -2.275, 1.252, 0.058, -0.238, 0.117, -0.735, 0.430, -0.106, -0.222, 0.258, 0.547, 0.639, 0.387,
    -0.189, 0.090, 0.494, 0.038, -0.375, 0.767, -0.454, -0.781, -0.048, 0.195, -0.237, 0.047,
    -0.296, -0.009, -0.112, -0.323, 0.124,
];

/// What counts before a retailer's own history says more: what `tillside evaluate` learns from the
/// open households of the public data, for the last campaign that it scores, and prints.
pub const BUILT_IN: OfferWeights = [
    -3.530, 1.339, -0.295, -0.155, 0.089, -0.563, 0.485, -0.238, -0.236, 0.436, 0.664, 0.501,
    0.408, -0.239, 0.141, 0.669, -0.022, 0.000, 0.669, 1.700, -0.665, -0.053, 0.178, -0.268, 0.039,
    0.000, -0.029, -0.010, -0.667, -0.062,
];

/// Puts the popularity of a coupon's articles into its signs, where another one stood before.
pub fn with_popularity(signs: &mut [f32; OFFER_SIGNS], known: &Known) {
    signs[13] = known.log_popularity;
    let is_bought = signs[4] > 0.0;
    signs[12] = if is_bought { 0.0 } else { known.log_popularity };
}

/// What of a coupon is the same for all accounts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// Σ of its articles' shares of all baskets.
    pub popularity: f32,
    /// Its logarithm.
    pub log_popularity: f32,
    /// Logarithm of how many articles it holds for, and one.
    pub log_breadth: f32,
}

/// What an account bought of a coupon's articles.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Own {
    /// Baskets that held each article, added up.
    pub count: f32,
    /// The same, slowly decayed.
    pub slow: f32,
    /// The same, decayed faster.
    pub fast: f32,
    /// Articles that were bought at all.
    pub articles: f32,
    /// The longest usual gap among those that were bought last; 0 when none of them has one.
    pub gap_days: f32,
    /// Day on which one was last bought.
    pub last_day: u16,
}

/// How an account's purchases stand to one coupon.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Common {
    /// What it bought of the coupon's articles.
    pub own: Own,
    /// How much it buys of the type of one of its articles, on the mean.
    pub by_type: f32,
    /// The same of the type that it buys most.
    pub most_of_a_type: f32,
    /// What it bought of the brands of the articles that are named.
    pub by_brand: f32,
    /// What it bought of the same brand and type.
    pub by_kind: f32,
}

/// What bears on all coupons of an account.
#[derive(Clone, Copy, Debug)]
pub struct Customer {
    last_day: u16,
    visit_gap: f32,
    /// Logarithm of the coupons that it redeemed, and one.
    uses: f32,
    /// The signs that are the same for all coupons; the others are 0.
    signs: [f32; OFFER_SIGNS],
}

impl Own {
    pub(super) fn add(&mut self, affinity: &Affinity) {
        self.merge(&Self {
            count: f32::from(affinity.count),
            slow: affinity.slow,
            fast: affinity.fast,
            articles: 1.0,
            gap_days: affinity.usual_gap_days.unwrap_or_default(),
            last_day: affinity.last_day,
        });
    }

    /// Adds what was bought of other articles.
    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.slow += other.slow;
        self.fast += other.fast;
        self.articles += other.articles;
        if other.last_day > self.last_day {
            self.last_day = other.last_day;
            self.gap_days = other.gap_days;
        } else if other.last_day == self.last_day {
            self.gap_days = self.gap_days.max(other.gap_days);
        }
    }
}

impl Customer {
    /// What of an account bears on all its coupons: its profile and nothing else, since a till
    /// looks at nothing else, and what weights are learned from must not know more.
    pub fn of(profile: &Profile) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^24")]
        let [baskets, redeemed] =
            [profile.baskets(), profile.redemptions()].map(|count| count as f32);
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
        // Signs 17 and 25 have no meaning: they are 0, and weights that are stored have them.
        signs[18] = uses;
        signs[19] = redeemed / baskets.max(1.0);
        signs[20] = ln_1p(baskets);
        signs[27] = ln_1p(lines);
        signs[28] = ln_1p(visit_gap);
        signs[29] = redeemed;
        Self { last_day: profile.last_day(), visit_gap, uses, signs }
    }

    /// The signs of one coupon.
    pub fn signs(&self, known: &Known, common: &Common) -> [f32; OFFER_SIGNS] {
        let Known { log_popularity, log_breadth, .. } = *known;
        let by_type = ln_1p(common.by_type);
        let by_kind = ln_1p(common.by_kind);
        let own = &common.own;
        let mut signs = self.signs;
        signs[6] = by_type;
        signs[7] = ln_1p(common.most_of_a_type);
        signs[8] = ln_1p(common.by_brand);
        signs[9] = by_kind;
        signs[13] = log_popularity;
        signs[14] = log_breadth;
        signs[23] = self.uses * by_kind;
        if own.count > 0.0 {
            let slow = ln_1p(own.slow);
            signs[1] = ln_1p(own.count);
            signs[2] = slow;
            signs[3] = ln_1p(own.fast);
            signs[4] = 1.0;
            signs[5] = ln_1p(own.articles);
            signs[21] = self.overdue(own);
            signs[22] = self.uses * slow;
            signs[26] = ln_1p(self.days_since(own));
        } else {
            signs[10] = by_type;
            signs[11] = by_kind;
            signs[12] = log_popularity;
            signs[24] = self.uses;
        }
        signs
    }

    fn days_since(&self, own: &Own) -> f32 {
        f32::from(self.last_day.saturating_sub(own.last_day))
    }

    /// The gap up to the next visit as a multiple of the usual one; 0 where none is known.
    pub fn overdue(&self, own: &Own) -> f32 {
        if own.gap_days > 0.0 {
            ((self.days_since(own) + self.visit_gap) / own.gap_days.max(1.0)).min(3.0)
        } else {
            0.0
        }
    }
}

/// The score of such signs: the logarithm of the odds that the coupon is redeemed.
pub fn score(weights: &OfferWeights, signs: &[f32; OFFER_SIGNS]) -> f32 {
    weights.iter().zip(signs).map(|(weight, sign)| weight * sign).sum()
}

/// What of a coupon's score is the same for all accounts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    /// For accounts that bought of its articles.
    pub(super) bought: f32,
    /// For accounts that never did.
    pub(super) never: f32,
}

/// Adds up the scores of one account's coupons, each sign that they share once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scorer {
    customer: Customer,
    bought: [f32; 4],
    never: [f32; 4],
    /// What everything bought of is given, and what is not.
    bought_all: f32,
    never_all: f32,
    own: [f32; 6],
}

impl Scorer {
    pub(super) fn share(weights: &OfferWeights, known: &Known) -> Share {
        let bought = weights[13] * known.log_popularity + weights[14] * known.log_breadth;
        Share { bought, never: bought + weights[12] * known.log_popularity }
    }

    pub(super) fn new(weights: &OfferWeights, customer: Customer) -> Self {
        let w = weights;
        let uses = customer.uses;
        let by_kind = w[9] + w[23] * uses;
        let all = score(weights, &customer.signs);
        Self {
            customer,
            bought: [w[6], w[7], w[8], by_kind],
            never: [w[6] + w[10], w[7], w[8], by_kind + w[11]],
            bought_all: all + w[4],
            never_all: all + w[24] * uses,
            own: [w[1], w[2] + w[22] * uses, w[3], w[5], w[26], w[21]],
        }
    }

    /// The scores of all coupons: first as if nothing of them had been bought, then of those in
    /// `owned` as it was. Without a branch, so that the compiler takes several at a time.
    pub(super) fn scores(
        &self,
        shares: &[Share],
        common: &Columns,
        owned: &[u32],
        room: &mut Scores,
    ) {
        let Scores { of_target: scores, logs, own } = room;
        for (logs, sums) in logs.iter_mut().zip(common.sums()) {
            logs.clear();
            logs.extend(sums.iter().map(|sum| ln_1p(*sum)));
        }
        let [by_type, most, by_brand, by_kind] = &*logs;
        let sums = by_type.iter().zip(most).zip(by_brand.iter().zip(by_kind));
        scores.clear();
        scores.extend(shares.iter().zip(sums).map(|(share, ((by_type, most), (brand, kind)))| {
            let [w_type, w_most, w_brand, w_kind] = self.never;
            share.never
                + self.never_all
                + (w_type * by_type + w_most * most)
                + (w_brand * brand + w_kind * kind)
        }));
        own.clear();
        own.extend(owned.iter().map(|target| {
            let own = &common.own[*target as usize];
            let since = self.customer.days_since(own);
            [own.count, own.slow, own.fast, own.articles, since, 0.0, 0.0, 0.0]
        }));
        for row in own.iter_mut() {
            *row = row.map(ln_1p);
        }
        let [w_type, w_most, w_brand, w_kind] = self.bought;
        let [count, slow, fast, articles, days_since, overdue] = self.own;
        for (target, row) in owned.iter().zip(&*own) {
            let at = *target as usize;
            scores[at] = shares[at].bought
                + self.bought_all
                + (w_type * by_type[at] + w_most * most[at])
                + (w_brand * by_brand[at] + w_kind * by_kind[at])
                + (count * row[0] + slow * row[1] + fast * row[2] + articles * row[3])
                + (days_since * row[4] + overdue * self.customer.overdue(&common.own[at]));
        }
    }
}

/// Working memory of [`Scorer::scores`], and what it found.
#[derive(Clone, Debug, Default)]
pub(super) struct Scores {
    pub(super) of_target: Vec<f32>,
    /// Logarithms of the sums of [`Columns`].
    logs: [Vec<f32>; 4],
    /// Logarithms of what was bought of each target in hand; eight, since the machine takes four at
    /// a time.
    own: Vec<[f32; 8]>,
}

/// [`Common`] of every target, a column for each of its parts.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    pub(super) own: Vec<Own>,
    pub(super) by_type: Vec<f32>,
    pub(super) most_of_a_type: Vec<f32>,
    pub(super) by_brand: Vec<f32>,
    pub(super) by_kind: Vec<f32>,
}

impl Columns {
    /// `owned` are those of which anything was bought.
    pub(super) fn forget(&mut self, targets: usize, owned: &[u32]) {
        for target in owned {
            self.own[*target as usize] = Own::default();
        }
        self.own.resize(targets, Own::default());
        for column in
            [&mut self.by_type, &mut self.most_of_a_type, &mut self.by_brand, &mut self.by_kind]
        {
            column.clear();
            column.resize(targets, 0.0);
        }
    }

    fn sums(&self) -> [&Vec<f32>; 4] {
        [&self.by_type, &self.most_of_a_type, &self.by_brand, &self.by_kind]
    }

    pub(super) fn of(&self, target: usize) -> Common {
        Common {
            own: self.own[target],
            by_type: self.by_type[target],
            most_of_a_type: self.most_of_a_type[target],
            by_brand: self.by_brand[target],
            by_kind: self.by_kind[target],
        }
    }
}
