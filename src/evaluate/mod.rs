//! How well coupons are chosen, measured on recorded baskets that the choice has not seen.
//!
//! Owns the protocol: what is asked, what may be known, how it is judged and beside what it is
//! put. Asks [`crate::domain::selection`] and no copy of it. The task on coupons scores as tills
//! do, by the same signs of the same facts; the lists of the tasks on baskets (`Assortment`) are
//! what no till asks for: the profile below them is a till's, what goes with what, habits and the
//! order are not. Must never serve a request, and must never claim what the data cannot show:
//! lists are judged by what was bought or redeemed anyway, so nothing here is an effect of a
//! coupon.
//!
//! In reading order: [`data`], [`queries`], [`methods`], [`baskets`], [`coupons`], [`swipes`],
//! [`metrics`], [`tables`]; [`affinity`] and `habits` are arithmetic, and so is
//! [`crate::learning`].

pub mod affinity;
pub mod baskets;
mod clock;
pub mod coupons;
pub mod data;
mod habits;
pub mod methods;
pub mod metrics;
pub mod queries;
pub mod swipes;
pub mod tables;

use std::collections::HashSet;
use std::time::Duration;

use jiff::civil::{Date, date};
use serde::Serialize;

use self::baskets::Setting;
use self::coupons::{CouponFigures, CouponTask};
use self::data::{Data, LEVELS};
use self::methods::{METHODS, Method, PARTS};
use self::metrics::{PLACES, Score, mean, paired, ratio};
use self::queries::Parting;
use crate::domain::profile::Level;
use crate::domain::selection::Part;

/// The households of *The Complete Journey* that anyone may look at, tune on and learn from;
/// the others are kept for judging.
pub const OPEN_HOUSEHOLDS: &str = include_str!("open_households.csv");

/// The cuts of the protocol: first day that is asked, and the day after the last one.
pub const CUTS: [(Date, Option<Date>); 2] =
    [(date(2017, 9, 1), Some(date(2017, 11, 1))), (date(2017, 11, 1), None)];

/// The first day of campaigns whose coupons are scored, as the protocol has it.
pub const COUPONS_FROM: Date = date(2017, 8, 1);

/// Who and what is evaluated.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who is scored.
    pub households: HashSet<u32>,
    /// From whom all may learn.
    pub open: HashSet<u32>,
    /// As [`CUTS`].
    pub cuts: Vec<(Date, Option<Date>)>,
    /// Campaigns that begin earlier are only learned from: see [`COUPONS_FROM`].
    pub coupons_from: Date,
}

/// One line of the result.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    /// `basket`, `last-basket` or `coupon`.
    pub task: &'static str,
    /// `category`, `type` or `product`; nothing for coupons.
    pub level: Option<&'static str>,
    /// First day that is asked; nothing for the other two tasks.
    pub cut: Option<Date>,
    /// `all`, `repeat` or `explore`.
    pub part: &'static str,
    /// `random`, `popularity`, `p-top`, `gp-top` or `ours`.
    pub method: &'static str,
    /// The figures of a task on baskets.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub basket: Option<BasketFigures>,
    /// The figures of the task on coupons.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub coupon: Option<CouponRow>,
    /// Households over which the means are taken.
    pub households: usize,
    /// Lists that were judged.
    pub queries: usize,
    /// Mean processor time of one list, in µs.
    pub cpu_us: f64,
}

/// Means over households of their means.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct BasketFigures {
    /// Share of the basket among the first ten.
    pub recall_at_10: f64,
    /// Of the last-basket task with an ideal over the whole basket.
    pub ndcg_at_10: f64,
    /// Whether one of the first five is in the basket.
    pub hit_rate_at_5: f64,
    /// The recall of the same method among items never bought before.
    pub explore_recall_at_10: f64,
    /// Mean of the households' differences to GP-Top.
    pub delta_recall_vs_gp_top: f64,
    /// Its standard error.
    pub delta_se: f64,
}

/// The figures of the task on coupons.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "named as in coupons::CouponFigures and swipes::SwipeFigures")]
pub struct CouponRow {
    pub pooled_auc: f64,
    pub list_auc: f64,
    pub recall_at_5: f64,
    pub ndcg_at_5: f64,
    pub never_bought_auc: f64,
    pub bought_list_auc: f64,
    pub bought_ndcg_at_5: f64,
    pub choose_p50_us: f64,
    pub choose_p99_us: f64,
    pub choices_checksum: u32,
    pub profile_mean_bytes: f64,
    pub profile_p99_bytes: usize,
}

/// Everything that was measured.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The lines.
    pub rows: Vec<Row>,
    /// What the task on coupons held.
    pub coupons: CouponTask,
}

/// How one method did in one part.
#[derive(Clone, Debug, Default)]
struct Tally {
    /// Place of a household, and its scores' sum and number, in the order of places.
    households: Vec<(usize, Score, usize)>,
    cpu: Duration,
    lists: usize,
}

/// Measures everything; `step` is told after each of the [`steps`].
pub fn run(data: &Data, settings: &Settings, mut step: impl FnMut()) -> Report {
    let open = data.chosen(&settings.open);
    let scored = data.chosen(&settings.households);
    let mut report = Report::default();
    for (cut, until) in &settings.cuts {
        let parting = Parting::at(data, *cut, *until);
        for level in LEVELS {
            let asked_max = if level == Level::Product { 1 } else { 5 };
            let (open, scored) = (&open, &scored);
            let parting = &parting;
            let setting = Setting { level, parting, asked_max, ideal_max: PLACES, open, scored };
            report.rows.extend(rows("basket", Some(*cut), data, &setting));
            step();
        }
    }
    let parting = Parting::before_the_last(data);
    let setting = Setting {
        level: Level::Product,
        parting: &parting,
        asked_max: 1,
        ideal_max: usize::MAX,
        open: &open,
        scored: &scored,
    };
    report.rows.extend(rows("last-basket", None, data, &setting));
    step();
    if !data.campaigns.is_empty() {
        let (task, figures) = coupons::evaluate(data, &open, &scored, settings.coupons_from);
        report.coupons = task;
        report.rows.extend(figures.iter().map(|method| coupon_row(method, &task)));
    }
    step();
    report
}

/// How many steps [`run`] has.
pub fn steps(settings: &Settings) -> u64 {
    (settings.cuts.len() * LEVELS.len()) as u64 + 2
}

fn rows(task: &'static str, cut: Option<Date>, data: &Data, setting: &Setting<'_>) -> Vec<Row> {
    let mut tallies: [[Tally; METHODS.len()]; PARTS.len()] = Default::default();
    baskets::decide(data, setting, |decision| {
        let tally = &mut tallies[decision.part as usize][decision.method as usize];
        tally.cpu += decision.cpu;
        tally.lists += 1;
        let Some(score) = decision.score else { return };
        match tally.households.last_mut().filter(|(place, ..)| *place == decision.place) {
            Some((_, sum, count)) => {
                sum.recall += score.recall;
                sum.ndcg += score.ndcg;
                sum.hit += score.hit;
                *count += 1;
            }
            None => tally.households.push((decision.place, score, 1)),
        }
    });
    let mut rows = Vec::new();
    for part in PARTS {
        for method in METHODS {
            let tally = &tallies[part as usize][method as usize];
            let explore = tallies[Part::Explore as usize][method as usize].means(|s| s.recall);
            let recalls = tally.means(|score| score.recall);
            let theirs = tallies[part as usize][Method::GpTop as usize].means(|s| s.recall);
            let (delta_recall_vs_gp_top, delta_se) = paired(&recalls, &theirs);
            rows.push(Row {
                task,
                level: Some(level_name(setting.level)),
                cut,
                part: part_name(part),
                method: method.name(),
                basket: Some(BasketFigures {
                    recall_at_10: mean(&recalls),
                    ndcg_at_10: mean(&tally.means(|score| score.ndcg)),
                    hit_rate_at_5: mean(&tally.means(|score| score.hit)),
                    explore_recall_at_10: mean(&explore),
                    delta_recall_vs_gp_top,
                    delta_se,
                }),
                coupon: None,
                households: recalls.len(),
                queries: tally.households.iter().map(|(_, _, count)| count).sum(),
                cpu_us: tally.cpu.as_secs_f64() * 1e6 / ratio(tally.lists.max(1), 1),
            });
        }
    }
    rows
}

impl Tally {
    /// One figure's mean for each household.
    fn means(&self, figure: impl Fn(&Score) -> f64) -> Vec<f64> {
        self.households.iter().map(|(_, sum, count)| figure(sum) / ratio(*count, 1)).collect()
    }
}

fn coupon_row((method, figures): &(Method, CouponFigures), task: &CouponTask) -> Row {
    Row {
        task: "coupon",
        part: part_name(Part::All),
        method: method.name(),
        coupon: Some(CouponRow {
            pooled_auc: figures.pooled_auc,
            list_auc: figures.list_auc,
            recall_at_5: figures.recall_at_5,
            ndcg_at_5: figures.ndcg_at_5,
            never_bought_auc: figures.never_bought_auc,
            bought_list_auc: figures.bought_list_auc,
            bought_ndcg_at_5: figures.bought_ndcg_at_5,
            choose_p50_us: task.swipes.choose_p50_us,
            choose_p99_us: task.swipes.choose_p99_us,
            choices_checksum: task.swipes.checksum,
            profile_mean_bytes: task.swipes.profile_mean_bytes,
            profile_p99_bytes: task.swipes.profile_p99_bytes,
        }),
        households: figures.households,
        queries: figures.lists,
        cpu_us: figures.cpu_us,
        ..Row::default()
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Category => "category",
        Level::Type => "type",
        Level::Product => "product",
    }
}

fn part_name(part: Part) -> &'static str {
    match part {
        Part::All => "all",
        Part::Repeat => "repeat",
        Part::Explore => "explore",
    }
}

#[cfg(test)]
mod tests;
