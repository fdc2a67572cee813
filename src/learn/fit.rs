//! Weights from examples, and how well they tell coupons apart that were held out. Pure arithmetic;
//! must never judge new weights by coupons that they were learned from. Those in force may have
//! been learned from some of these, which is to their advantage and is said where it counts.

use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::history::{Example, History, KnownOffers};
use crate::domain::selection::offers::{
    BUILT_IN, Known, OFFER_SIGNS, OfferWeights, score, with_popularity,
};
use crate::learning::{area_difference, area_under_curve, logistic, ranked_gain};

/// By how much weights are held towards those that are built in.
const RIDGE: f64 = 5.0;
/// Redeemed coupons that weights are judged by must be as many, and as many not redeemed.
const HELD_OUT_MIN: usize = 20;
/// The same of those that weights are learned from for that.
const LEARNED_MIN: usize = 80;
/// Places of a list that count.
const PLACES: usize = 5;

/// Coupons by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ModelCoupons)]
pub struct Coupons {
    /// How many.
    pub issued: usize,
    /// Of those the redeemed ones.
    pub redeemed: usize,
}

/// How well scores tell redeemed coupons from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ModelAccuracy)]
pub struct Accuracy {
    /// Over all pairs of a redeemed coupon and another: how often the redeemed one scores higher.
    pub auc: f64,
    /// Mean over customers with several coupons of which they redeemed one.
    pub ndcg_at_5: f64,
}

/// Weights against weights, on coupons that the new ones were not learned from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ModelJudged)]
pub struct Judged {
    /// The coupons that were issued from this day on are held out.
    #[schema(value_type = String, format = Date)]
    pub held_out_from: Date,
    /// How many they are.
    pub held_out: Coupons,
    /// Those that had ended before, from which the weights that are judged were learned.
    pub learned_from: Coupons,
    /// Of the weights that were in force.
    pub in_force: Accuracy,
    /// Of the learned ones.
    pub learned: Accuracy,
    /// Standard error of the difference between the two areas.
    #[serde(default)]
    pub auc_difference_se: f64,
}

impl Judged {
    /// Whether what was learned tells coupons apart clearly less well than what is in force: by
    /// more than chance would explain in nineteen of twenty cases, two standard errors.
    pub fn is_clearly_worse(&self) -> bool {
        self.learned.auc + 2.0 * self.auc_difference_se < self.in_force.auc
    }
}

/// What was learned.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// From all coupons that had ended.
    pub weights: OfferWeights,
    /// How well weights do that were learned the same way from the earlier ones.
    pub judged: Judged,
}

/// There is not enough to learn weights from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLittle {
    held_out_from: Option<Date>,
    held_out: Coupons,
    learned_from: Coupons,
}

impl fmt::Display for TooLittle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(day) = self.held_out_from else {
            return write!(
                f,
                "too little history to learn weights from: no coupon has ended that was redeemed; \
                 {LEARNED_MIN} are needed to learn from, and {HELD_OUT_MIN} issued after those had \
                 ended. The weights stay what they are"
            );
        };
        let of = |Coupons { issued, redeemed }: Coupons| format!("{redeemed} of {issued}");
        write!(
            f,
            "too little history to learn weights from: of the coupons that had ended before {day} \
             {} were redeemed, of those issued since {}; needed are {LEARNED_MIN} redeemed and \
             {LEARNED_MIN} not, and since then {HELD_OUT_MIN} redeemed and {HELD_OUT_MIN} not. The \
             weights stay what they are",
            of(self.learned_from),
            of(self.held_out),
        )
    }
}

/// Learns from what has ended, and judges it beside the weights that are in force.
pub(super) fn fit(
    history: &History,
    known: &KnownOffers,
    in_force: &OfferWeights,
) -> Result<Fitted, TooLittle> {
    let held_out_from = history.held_out_from;
    let day = held_out_from.unwrap_or(Date::MAX);
    // What had not ended on that day tells of days after it.
    let earlier = || history.examples.iter().filter(|example| example.last_day < day);
    let held_out: Vec<Example> = with_known(
        history.examples.iter().filter(|example| example.issued_on >= day),
        &known.before,
    );
    let learned_from = with_known(earlier(), &known.before);
    let counts = (count(&held_out), count(&learned_from));
    let (Some(held_out_from), true) =
        (held_out_from, suffices(counts.0, HELD_OUT_MIN) && suffices(counts.1, LEARNED_MIN))
    else {
        return Err(TooLittle { held_out_from, held_out: counts.0, learned_from: counts.1 });
    };
    let learned = weights(&learned_from);
    let scores = |weights: &OfferWeights| -> Vec<f64> {
        held_out.iter().map(|example| score(weights, &example.signs).into()).collect()
    };
    let marks: Vec<bool> = held_out.iter().map(|example| example.redeemed).collect();
    let difference = area_difference(&scores(&learned), &scores(in_force), &marks);
    let judged = Judged {
        held_out_from,
        held_out: counts.0,
        learned_from: counts.1,
        in_force: accuracy(&held_out, in_force),
        learned: accuracy(&held_out, &learned),
        auc_difference_se: difference.map_or(0.0, |(_, error)| error),
    };
    Ok(Fitted { weights: weights(&with_known(history.examples.iter(), &known.now)), judged })
}

fn suffices(coupons: Coupons, least: usize) -> bool {
    coupons.redeemed >= least && coupons.issued - coupons.redeemed >= least
}

fn count(examples: &[Example]) -> Coupons {
    let redeemed = examples.iter().filter(|example| example.redeemed).count();
    Coupons { issued: examples.len(), redeemed }
}

fn with_known<'a>(examples: impl Iterator<Item = &'a Example>, known: &[Known]) -> Vec<Example> {
    let with = |example: &Example| {
        let mut example = example.clone();
        with_popularity(&mut example.signs, &known[example.offer as usize]);
        example
    };
    examples.map(with).collect()
}

fn weights(examples: &[Example]) -> OfferWeights {
    let examples = examples.iter().map(|example| (&example.signs, example.redeemed, 1.0));
    let learned: [f64; OFFER_SIGNS] = logistic(examples, RIDGE, &BUILT_IN.map(f64::from));
    #[expect(clippy::cast_possible_truncation, reason = "weights are of a few digits")]
    learned.map(|weight| weight as f32)
}

fn accuracy(examples: &[Example], weights: &OfferWeights) -> Accuracy {
    let mark = |example: &Example| (f64::from(score(weights, &example.signs)), example.redeemed);
    let marks: Vec<(f64, bool)> = examples.iter().map(mark).collect();
    let mut lists: BTreeMap<i64, Vec<(f64, bool)>> = BTreeMap::new();
    for (example, mark) in examples.iter().zip(&marks) {
        lists.entry(example.account_id).or_default().push(*mark);
    }
    let (mut gains, mut judged) = (0.0, 0.0);
    for list in lists.values_mut().filter(|list| list.len() > 1) {
        list.sort_by(|a, b| b.0.total_cmp(&a.0));
        if let Some(gain) = ranked_gain(list.iter().map(|(_, redeemed)| *redeemed), PLACES) {
            gains += gain;
            judged += 1.0;
        }
    }
    Accuracy {
        auc: area_under_curve(&marks).unwrap_or_default(),
        ndcg_at_5: if judged > 0.0 { gains / judged } else { 0.0 },
    }
}
