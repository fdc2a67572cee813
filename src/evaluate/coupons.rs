//! The task on coupons: which of a campaign's coupons a household redeems.
//!
//! A campaign is scored with weights from campaigns that ended before it began, on profiles as
//! they were before its first day: on what a till knows then, and nothing else. Redemptions are
//! those of coupons that somebody had chosen for the household, so these figures are of accuracy;
//! what a coupon *causes* is not in them.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use jiff::civil::Date;

use super::clock::Stopwatch;
use super::data::Data;
use super::methods::{Method, draw};
use super::metrics::{mean, ratio};
use super::swipes::{self, SwipeFigures};
use crate::domain::profile::Profile;
use crate::domain::selection::offers::{Live, OFFER_SIGNS, OfferRoom, OfferWeights, score};
use crate::domain::target::{Numbers, Target};
use crate::journey::campaigns::{JourneyCampaign, JourneyCoupon};
use crate::learning::{area_under_curve, logistic, ranked_gain};

/// Coupons for more articles say little about what is wanted, and are left out.
const PRODUCTS_MAX: usize = 200;
/// Places that count.
const PLACES: usize = 5;

/// A coupon for a household, as it stood before the campaign's first day.
struct Pair {
    signs: [f32; OFFER_SIGNS],
    popularity: f32,
    times_bought: f32,
    redeemed: bool,
    bought: bool,
}

/// The coupons of one campaign for one household.
struct List {
    campaign: usize,
    household_id: u32,
    pairs: Vec<Pair>,
    open: bool,
    scored: bool,
    /// What it took to see the signs.
    cpu: Duration,
}

/// How a method did on coupons.
#[derive(Clone, Copy, Debug, Default)]
pub struct CouponFigures {
    /// Over all pairs.
    pub pooled_auc: f64,
    /// Mean over lists with a redeemed coupon.
    pub list_auc: f64,
    /// Mean over lists with a redeemed coupon.
    pub recall_at_5: f64,
    /// Mean over lists with a redeemed coupon.
    pub ndcg_at_5: f64,
    /// Over pairs whose household had never bought an article of the coupon.
    pub never_bought_auc: f64,
    /// As `list_auc`, when what counts is a purchase of an article of the coupon.
    pub bought_list_auc: f64,
    /// As `ndcg_at_5`, when what counts is a purchase.
    pub bought_ndcg_at_5: f64,
    /// Households with a list in which something was redeemed.
    pub households: usize,
    /// Lists in which something was redeemed.
    pub lists: usize,
    /// Of all, for one list, in µs of processor time.
    pub cpu_us: f64,
}

/// What the task holds, to be compared with the description of the protocol.
#[derive(Clone, Copy, Debug, Default)]
pub struct CouponTask {
    /// Weights of the last campaign: those that are built in were made so.
    pub weights: OfferWeights,
    /// Pairs of household and coupon.
    pub pairs: usize,
    /// Of those the redeemed ones.
    pub redeemed: usize,
    /// Pairs whose household never bought an article of the coupon.
    pub never_bought: usize,
    /// Of those the redeemed ones.
    pub never_bought_redeemed: usize,
    /// What choosing among a thousand of them costs a swipe.
    pub swipes: SwipeFigures,
}

/// The methods that have an order of coupons.
pub const COUPON_METHODS: [Method; 4] =
    [Method::Random, Method::Popularity, Method::PTop, Method::Ours];

/// Scores every campaign that begins on `from` or later, and judges the methods.
pub fn evaluate(
    data: &Data,
    open: &[bool],
    scored: &[bool],
    from: Date,
) -> (CouponTask, Vec<(Method, CouponFigures)>) {
    let lists = lists(data, open, scored);
    let campaigns = &data.campaigns;
    let asked: Vec<bool> = campaigns.iter().map(|c| c.start >= from).collect();
    let weights: Vec<OfferWeights> = campaigns
        .iter()
        .zip(&asked)
        .map(
            |(campaign, asked)| {
                if *asked { learn(campaigns, &lists, campaign.start) } else { [0.0; OFFER_SIGNS] }
            },
        )
        .collect();
    let judged: Vec<&List> =
        lists.iter().filter(|list| list.scored && asked[list.campaign]).collect();
    let mut task = CouponTask::default();
    for pair in judged.iter().flat_map(|list| &list.pairs) {
        let never = pair.times_bought == 0.0;
        task.pairs += 1;
        task.redeemed += usize::from(pair.redeemed);
        task.never_bought += usize::from(never);
        task.never_bought_redeemed += usize::from(never && pair.redeemed);
    }
    if let Some(weights) = weights.last() {
        task.weights = *weights;
        let (coupons, popularity) = for_swipes(data, open);
        task.swipes = swipes::measure(data, scored, &coupons, &popularity, *weights);
    }
    let clock = Stopwatch::default();
    let figures = COUPON_METHODS.map(|method| {
        let mut cpu = Duration::ZERO;
        let mut scores: Vec<Vec<f64>> = Vec::with_capacity(judged.len());
        for list in &judged {
            let (list_scores, took) = clock.measure(|| {
                let weights = &weights[list.campaign];
                (0..)
                    .zip(&list.pairs)
                    .map(|(at, pair)| pair.score(method, list, at, weights))
                    .collect()
            });
            scores.push(list_scores);
            cpu += took;
            if method == Method::Ours || method == Method::PTop {
                cpu += list.cpu;
            }
        }
        let mut figures = figures(&judged, &scores);
        figures.cpu_us = cpu.as_secs_f64() * 1e6 / ratio(judged.len().max(1), 1);
        (method, figures)
    });
    (task, figures.into())
}

impl Pair {
    fn score(&self, method: Method, list: &List, at: u32, weights: &OfferWeights) -> f64 {
        match method {
            Method::Popularity => self.popularity.into(),
            Method::PTop | Method::GpTop => self.times_bought.into(),
            Method::Ours => score(weights, &self.signs).into(),
            Method::Random => {
                let question = u64::from(list.household_id) << 32 | list.campaign as u64;
                f64::from(u32::try_from(draw(question, at) >> 32).unwrap_or_default())
            }
        }
    }
}

/// Weights from the campaigns that had ended before a day, with the households that all may
/// learn from.
fn learn(campaigns: &[JourneyCampaign], lists: &[List], before: Date) -> OfferWeights {
    let known = lists.iter().filter(|list| list.open && campaigns[list.campaign].end < before);
    let examples = known.flat_map(|list| &list.pairs).map(|pair| (&pair.signs, pair.redeemed, 1.0));
    #[expect(clippy::cast_possible_truncation, reason = "weights are of a few digits")]
    logistic(examples, 1.0, &[0.0; OFFER_SIGNS]).map(|weight| weight as f32)
}

fn figures(lists: &[&List], scores: &[Vec<f64>]) -> CouponFigures {
    let mut pooled = Vec::new();
    let mut never = Vec::new();
    let mut figures = CouponFigures::default();
    let [mut aucs, mut recalls, mut ndcgs] = [const { Vec::new() }; 3];
    let [mut bought_aucs, mut bought_ndcgs] = [const { Vec::new() }; 2];
    let mut households = HashSet::new();
    for (list, scores) in lists.iter().zip(scores) {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| {
            let popularity = |at: usize| list.pairs[at].popularity;
            let by_score = scores[*b].total_cmp(&scores[*a]);
            by_score.then(popularity(*b).total_cmp(&popularity(*a))).then(a.cmp(b))
        });
        let marked = |truth: fn(&Pair) -> bool| {
            let marks = list.pairs.iter().map(truth);
            scores.iter().copied().zip(marks).collect::<Vec<(f64, bool)>>()
        };
        let redeemed = marked(|pair| pair.redeemed);
        pooled.extend(&redeemed);
        let new = redeemed.iter().zip(&list.pairs).filter(|(_, pair)| pair.times_bought == 0.0);
        never.extend(new.map(|(mark, _)| *mark));
        if let Some((recall, ndcg)) = top(&order, &redeemed) {
            households.insert(list.household_id);
            recalls.push(recall);
            ndcgs.push(ndcg);
            aucs.extend(area_under_curve(&redeemed));
        }
        let bought = marked(|pair| pair.bought);
        if let Some((_, ndcg)) = top(&order, &bought) {
            bought_ndcgs.push(ndcg);
            bought_aucs.extend(area_under_curve(&bought));
        }
    }
    figures.pooled_auc = area_under_curve(&pooled).unwrap_or_default();
    figures.never_bought_auc = area_under_curve(&never).unwrap_or_default();
    figures.list_auc = mean(&aucs);
    figures.recall_at_5 = mean(&recalls);
    figures.ndcg_at_5 = mean(&ndcgs);
    figures.bought_list_auc = mean(&bought_aucs);
    figures.bought_ndcg_at_5 = mean(&bought_ndcgs);
    figures.households = households.len();
    figures.lists = recalls.len();
    figures
}

/// Recall and gain of the first five; nothing when there was nothing to hit.
fn top(order: &[usize], marks: &[(f64, bool)]) -> Option<(f64, f64)> {
    let wanted = marks.iter().filter(|(_, wanted)| *wanted).count();
    let in_order = || order.iter().map(|place| marks[*place].1);
    let hits = in_order().take(PLACES).filter(|hit| *hit).count();
    Some((ratio(hits, wanted.max(1)), ranked_gain(in_order(), PLACES)?))
}

/// Every campaign's coupons for each of its households, as things stood before its first day.
fn lists(data: &Data, open: &[bool], scored: &[bool]) -> Vec<List> {
    let offers: Vec<(Vec<i64>, Live)> = data
        .campaigns
        .iter()
        .map(|campaign| {
            let few = ranked(campaign);
            let upcs = few.iter().map(|coupon| coupon.coupon_upc).collect();
            (upcs, live(data, open, &few, campaign.start))
        })
        .collect();
    let redeemed: HashSet<(u32, u32, i64)> =
        data.redemptions.iter().map(|r| (r.household_id, r.campaign_id, r.coupon_upc)).collect();
    let clock = Stopwatch::default();
    let mut room = OfferRoom::default();
    let mut lists = Vec::new();
    let chosen = data.households.iter().enumerate().filter(|(at, _)| open[*at] || scored[*at]);
    for (place, household) in chosen {
        let household_id = household.household_id;
        let baskets = &household.baskets;
        let mut profile = Profile::default();
        let mut learned = 0;
        // Campaigns come by their start, so that the profile only ever grows.
        let campaigns = data.campaigns.iter().enumerate();
        let sent = campaigns.filter(|(_, c)| c.households.binary_search(&household_id).is_ok());
        for (at, campaign) in sent {
            while baskets.get(learned).is_some_and(|basket| basket.date < campaign.start) {
                baskets[learned].teach(&mut profile);
                learned += 1;
            }
            let (upcs, live) = &offers[at];
            let mut seen = Vec::with_capacity(upcs.len());
            let ((), cpu) = clock.measure(|| {
                let all = (0..).take(upcs.len());
                live.signs(&profile, all, &mut room, |signs, count| seen.push((*signs, count)));
            });
            let during = baskets[learned..].iter().take_while(|b| b.date <= campaign.end);
            let bought: HashSet<u32> =
                during.flat_map(|basket| &basket.sold).map(|product| product.product_no).collect();
            let coupons = ranked(campaign);
            let known = (0..).zip(coupons).zip(seen);
            let pairs = known.map(|((nth, coupon), (signs, times_bought))| Pair {
                signs,
                popularity: live.known(nth).popularity,
                times_bought,
                redeemed: redeemed.contains(&(
                    household_id,
                    campaign.campaign_id,
                    coupon.coupon_upc,
                )),
                bought: coupon.products.iter().any(|id| bought.contains(&data.product_no(*id))),
            });
            lists.push(List {
                campaign: at,
                household_id,
                pairs: pairs.collect(),
                open: open[place],
                scored: scored[place],
                cpu,
            });
        }
    }
    lists
}

/// The coupons of a campaign that are ranked.
fn ranked(campaign: &JourneyCampaign) -> Vec<&JourneyCoupon> {
    campaign.coupons.iter().filter(|coupon| coupon.products.len() <= PRODUCTS_MAX).collect()
}

/// The articles of a coupon that the data has, by their numbers, sorted.
fn articles(data: &Data, coupon: &JourneyCoupon) -> Vec<u32> {
    let articles = coupon.products.iter().map(|id| data.product_no(*id));
    let articles: BTreeSet<u32> = articles.filter(|no| *no > 0).collect();
    articles.into_iter().collect()
}

/// The articles of all coupons that are ranked, and how popular articles are with open households.
fn for_swipes(data: &Data, open: &[bool]) -> (Vec<Vec<u32>>, Vec<f32>) {
    let coupons = data.campaigns.iter().flat_map(ranked).map(|coupon| articles(data, coupon));
    let known = coupons.filter(|articles| !articles.is_empty()).collect();
    (known, popularity(data, open, Date::MAX))
}

/// Each article's share of the baskets of open households before a day.
fn popularity(data: &Data, open: &[bool], before: Date) -> Vec<f32> {
    let mut counts = vec![0_f32; data.products.len()];
    let mut baskets = 0_f32;
    let open = data.households.iter().zip(open).filter(|(_, open)| **open);
    let known = open.flat_map(|(household, _)| &household.baskets);
    for basket in known.filter(|basket| basket.date < before) {
        baskets += 1.0;
        for product in &basket.sold {
            counts[product.product_no as usize] += 1.0;
        }
    }
    for count in &mut counts {
        *count /= baskets.max(1.0);
    }
    counts
}

/// Arranges coupons, with how popular their articles were with open households before a day.
fn live(data: &Data, open: &[bool], coupons: &[&JourneyCoupon], before: Date) -> Live {
    let popularity = popularity(data, open, before);
    let target = |coupon: &&JourneyCoupon| {
        let scope = Numbers { products: articles(data, coupon), ..Numbers::default() };
        Target { scope: Some(scope), ..Target::default() }
    };
    let targets: Vec<Target> = coupons.iter().map(target).collect();
    let targets: Vec<&Target> = targets.iter().collect();
    Live::new(&targets, &data.products, &popularity, [0.0; OFFER_SIGNS])
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::super::tests::{self, HOUSEHOLDS, catalogue, transactions};
    use super::*;
    use crate::journey::campaigns::Redemption;

    /// Three campaigns; from the second's first day on baskets and redemptions are of a world.
    fn data(world: u64) -> Data {
        let starts = [date(2017, 5, 1), date(2017, 9, 2), date(2017, 11, 1)];
        let campaigns = (1..).zip(starts).map(|(id, start)| tests::campaign(id, start)).collect();
        let redemptions = (1..=HOUSEHOLDS).flat_map(|household_id| {
            // Four days lie between baskets: the first of each campaign.
            let days = [date(2017, 5, 1), date(2017, 9, 2), date(2017, 11, 1)];
            (1..).zip(days).map(move |(campaign_id, on)| {
                let drawn = u64::from(household_id) + if campaign_id > 1 { world * 3 } else { 0 };
                let coupon_upc = i64::try_from(drawn % 10 + 1).expect("small");
                Redemption { household_id, coupon_upc, campaign_id, on }
            })
        });
        // In the other world half of them redeem nothing from that day on.
        let is_of_both = |it: &Redemption| it.on < starts[1] || it.household_id.is_multiple_of(2);
        let redemptions = redemptions.filter(|it| world == 0 || is_of_both(it));
        let transactions = transactions(starts[1], world);
        Data::new(&transactions, &catalogue(), campaigns, redemptions.collect())
    }

    /// What is known of each pair of a campaign before its first day, and the weights.
    fn known(data: &Data, campaign: usize) -> (Vec<Known>, OfferWeights) {
        let open = vec![true; data.households.len()];
        let lists = lists(data, &open, &open);
        let of_campaign = lists.iter().filter(|list| list.campaign == campaign);
        let pairs = of_campaign.flat_map(|list| &list.pairs);
        let known = pairs.map(|pair| (pair.signs, pair.popularity, pair.times_bought)).collect();
        (known, learn(&data.campaigns, &lists, data.campaigns[campaign].start))
    }

    type Known = ([f32; OFFER_SIGNS], f32, f32);

    #[test]
    fn what_happens_from_a_campaigns_first_day_on_has_no_part_in_its_scores() {
        let (one, other) = (data(0), data(1));
        let chosen = known(&one, 1);
        assert_eq!(chosen.0.len(), 240);
        assert!(chosen.0.iter().any(|(signs, ..)| signs[15] > 0.0), "no redemption is known");
        assert!(chosen.1.iter().any(|weight| *weight != 0.0), "nothing was learned");
        assert_eq!(chosen, known(&other, 1));
        // The campaign after it is scored on other histories, with other weights.
        let (next, others_next) = (known(&one, 2), known(&other, 2));
        assert_ne!(next.0, others_next.0);
        assert_ne!(next.1, others_next.1);
    }

    /// A list of pairs, each with its popularity, whether its articles were bought before, and
    /// whether it was redeemed.
    fn list(household_id: u32, pairs: &[(f32, bool, bool)]) -> List {
        let pair = |(popularity, bought_before, redeemed): &(f32, bool, bool)| Pair {
            signs: [0.0; OFFER_SIGNS],
            popularity: *popularity,
            times_bought: if *bought_before { 1.0 } else { 0.0 },
            redeemed: *redeemed,
            bought: false,
        };
        List {
            campaign: 0,
            household_id,
            pairs: pairs.iter().map(pair).collect(),
            open: true,
            scored: true,
            cpu: Duration::ZERO,
        }
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
    }

    #[test]
    fn pairs_are_pooled_or_judged_list_by_list_as_by_hand() {
        let first = list(7, &[(0.0, false, false), (0.0, false, true), (0.0, true, false)]);
        let second = list(8, &[(0.0, true, true), (0.0, false, false), (0.0, true, false)]);
        let without = list(9, &[(0.0, true, false)]);
        let scores = [vec![0.9, 0.8, 0.7], vec![0.3, 0.2, 0.1], vec![0.0]];
        let figures = figures(&[&first, &second, &without], &scores);
        // 0.8 beats 0.7, 0.2, 0.1 and 0.0 of five, 0.3 beats three: 7 of 10.
        close(figures.pooled_auc, 0.7);
        // One of two, and both.
        close(figures.list_auc, 0.75);
        // Never bought were 0.9, the redeemed 0.8, and 0.2.
        close(figures.never_bought_auc, 0.5);
        close(figures.recall_at_5, 1.0);
        // On the second place, and on the first.
        close(figures.ndcg_at_5, f64::midpoint(0.630_930, 1.0));
        assert_eq!((figures.households, figures.lists), (2, 2));
        assert_eq!((figures.bought_list_auc, figures.bought_ndcg_at_5), (0.0, 0.0));
    }

    #[test]
    fn of_equal_scores_the_more_popular_goes_first_and_five_places_count() {
        let pairs = [0.1, 0.6, 0.5, 0.4, 0.3, 0.2];
        // By popularity the redeemed ones stand on the second place and on the sixth.
        let redeemed = |popularity| popularity == 0.5 || popularity == 0.1;
        let pairs = pairs.map(|popularity| (popularity, true, redeemed(popularity)));
        let figures = figures(&[&list(7, &pairs)], &[vec![0.0; 6]]);
        close(figures.recall_at_5, 0.5);
        close(figures.ndcg_at_5, 0.630_930 / 1.630_930);
        close(figures.list_auc, 0.5);
        close(figures.never_bought_auc, 0.0);
    }
}
