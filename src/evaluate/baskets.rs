//! The two tasks on baskets: what a household will buy next, at a level of the hierarchy.
//!
//! Everything that is learned for a run comes from open households before what is asked:
//! how popular items are, what goes with what, and, from the two months before, how much each
//! sign weighs. Those weights are learned on what was known at the beginning of the two months.

use std::time::Duration;

use jiff::ToSpan as _;
use jiff::civil::Date;

use super::affinity::{self, Thinning};
use super::clock::Stopwatch;
use super::data::Data;
use super::habits;
use super::methods::{Chooser, METHODS, Method, PARTS, draw};
use super::metrics::{Score, judge};
use super::queries::{Counts, Parting, indexes, walk};
use crate::domain::profile::{Level, Profile};
use crate::domain::selection::{
    Assortment, LATELY, NEVER, Part, REFINEMENTS, Room, SIGNS, Standing, Weights,
};
use crate::learning::Choices;

/// Days whose baskets tell how popular an item is of late.
const RECENT_DAYS: i64 = 28;
/// Baskets of a household from which weights are learned, at most.
const LEARNED_MAX: usize = 4;
/// About how many items that a household never bought stand for all of them when learning.
const SAMPLE: usize = 128;

/// One question to all methods.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// What is ranked.
    pub level: Level,
    /// Where the baskets are parted.
    pub parting: &'a Parting,
    /// Baskets of each household that are asked, at most.
    pub asked_max: usize,
    /// Places of the ideal list.
    pub ideal_max: usize,
    /// By place: from whom all may learn.
    pub open: &'a [bool],
    /// By place: who is asked.
    pub scored: &'a [bool],
}

/// One list that a method chose.
#[derive(Debug)]
pub struct Decision<'a> {
    /// Place of the household in the data.
    pub place: usize,
    /// The basket.
    pub index: usize,
    /// Who chose.
    pub method: Method,
    /// Among what.
    pub part: Part,
    /// What was chosen.
    pub list: &'a [u32],
    /// How it did; nothing when there was nothing to hit.
    pub score: Option<Score>,
    /// Processor time of the thread.
    pub cpu: Duration,
}

/// Learns, asks every method every question and hands over what they chose.
pub fn decide(data: &Data, setting: &Setting<'_>, mut take: impl FnMut(&Decision<'_>)) {
    let Setting { level, parting, asked_max, ideal_max, open, scored } = *setting;
    let weights = learn_weights(data, setting);
    let assortment = assortment(data, level, open, &parting.asked, weights);
    let popular = by_popularity(data, level, &assortment);
    let items = data.eligible[level as usize].len();
    let mut chooser = Chooser {
        assortment: &assortment,
        popular: &popular,
        room: Room::default(),
        own: Vec::new(),
    };
    let clock = Stopwatch::default();
    let (mut counts, mut list) = (Counts::default(), Vec::new());
    let chosen = data.households.iter().enumerate().filter(|(place, _)| scored[*place]);
    for (place, household) in chosen {
        let baskets = &household.baskets;
        let asked = indexes(baskets, level, parting.asked[place], parting.end[place], asked_max);
        walk(baskets, level, items, &asked, &mut counts, |index, profile, counts| {
            let question = u64::from(household.household_id) << 32 | index as u64;
            let truth = &baskets[index].items[level as usize];
            let known = |id: &u32| counts.baskets[*id as usize] > 0;
            let (again, new): (Vec<u32>, Vec<u32>) = truth.iter().partition(|id| known(id));
            for (part, truth) in PARTS.into_iter().zip([truth, &again, &new]) {
                for method in METHODS {
                    let ((), cpu) = clock.measure(|| {
                        chooser.choose(method, part, question, profile, counts, &mut list);
                    });
                    let score = (!truth.is_empty()).then(|| judge(&list, truth, ideal_max));
                    let list = list.as_slice();
                    take(&Decision { place, index, method, part, list, score, cpu });
                }
            }
        });
    }
}

/// What all may know: of open households the baskets before `until`, by place.
fn assortment(
    data: &Data,
    level: Level,
    open: &[bool],
    until: &[usize],
    weights: Weights,
) -> Assortment {
    let eligible = &data.eligible[level as usize];
    let known = || {
        let open = data.households.iter().enumerate().filter(|(place, _)| open[*place]);
        open.map(|(place, household)| &household.baskets[..until[place]])
    };
    let latest = known().flatten().map(|basket| basket.date).max().unwrap_or_default();
    let since = latest.saturating_sub(RECENT_DAYS.days());
    let share = |from: Date| {
        let (mut counts, mut baskets) = (vec![0_f32; eligible.len()], 0_f32);
        for basket in known().flatten().filter(|basket| basket.date > from) {
            baskets += 1.0;
            for id in &basket.items[level as usize] {
                counts[*id as usize] += 1.0;
            }
        }
        counts.into_iter().map(move |count| count / baskets.max(1.0))
    };
    let popularity: Vec<f32> = share(Date::MIN).collect();
    let habits = habits::learn(known(), level, &popularity);
    let standings = popularity.into_iter().zip(share(since)).zip(habits).zip(eligible);
    let standings = standings.map(|(((popularity, recent), habit), eligible)| Standing {
        popularity,
        recent,
        habit,
        eligible: *eligible,
    });
    let sets: Vec<Vec<u32>> = known()
        .map(|baskets| {
            let items = baskets.iter().flat_map(|basket| &basket.items[level as usize]);
            let mut set: Vec<u32> = items.copied().collect();
            set.sort_unstable();
            set.dedup();
            set
        })
        .collect();
    let related = affinity::learn(&sets, eligible.len(), thinning(level));
    Assortment::new(level, standings.collect(), related, weights)
}

/// Tuned on open households, among what is new to them: the more connections the better, as far
/// as the time for it goes.
fn thinning(level: Level) -> Thinning {
    match level {
        Level::Category => Thinning { damping: 500.0, kept: 400 },
        Level::Type => Thinning { damping: 400.0, kept: 120 },
        Level::Product => Thinning { damping: 300.0, kept: 40 },
    }
}

/// By how much each weight is held, and towards what. The closed form is good and each household
/// teaches little of it; what is new to a household has no such form. Tuned on open households.
fn known_weights(level: Level) -> ([f64; SIGNS], [f64; SIGNS]) {
    let (mut ridge, mut known) = ([1.0; SIGNS], [0.0; SIGNS]);
    if !refined(level) {
        ridge[..NEVER].fill(20.0);
        known[0] = 1.0;
    }
    (ridge, known)
}

/// Whether what was bought before is told apart by more than the closed form and habits. Tried on
/// open households: among products it helps, among types and categories it took away.
fn refined(level: Level) -> bool {
    level == Level::Product
}

/// Ids that somebody bought, by popularity, then name.
fn by_popularity(data: &Data, level: Level, assortment: &Assortment) -> Vec<u32> {
    let popularity = |id: u32| assortment.standing(id).popularity;
    let mut ids: Vec<u32> =
        (0..).zip(&data.eligible[level as usize]).filter(|(_, e)| **e).map(|(id, _)| id).collect();
    ids.retain(|id| popularity(*id) > 0.0);
    ids.sort_by(|a, b| popularity(*b).total_cmp(&popularity(*a)).then(a.cmp(b)));
    ids
}

/// How much each sign weighs in the baskets of open households just before what is asked.
fn learn_weights(data: &Data, setting: &Setting<'_>) -> Weights {
    let Setting { level, parting, open, .. } = *setting;
    let known = assortment(data, level, open, &parting.learning, Weights::CLOSED_FORM);
    let items = data.eligible[level as usize].len();
    let every = (items / SAMPLE).max(1);
    #[expect(clippy::cast_precision_loss, reason = "a few thousand items")]
    let stands_for = (every as f32).ln();
    let (mut counts, mut room) = (Counts::default(), Room::default());
    let mut choices = Choices::<SIGNS>::default();
    let teachers = data.households.iter().enumerate().filter(|(place, _)| open[*place]);
    for (place, household) in teachers {
        let baskets = &household.baskets;
        let (from, end) = (parting.learning[place], parting.asked[place]);
        let asked = indexes(baskets, level, from, end, LEARNED_MAX);
        walk(baskets, level, items, &asked, &mut counts, |index, profile: &Profile, _| {
            let truth = &baskets[index].items[level as usize];
            let question = u64::from(household.household_id) << 32 | index as u64;
            // Each household counts the same, and each of its baskets, as in the measure.
            #[expect(clippy::cast_precision_loss, reason = "a basket is short")]
            let gain = 1.0 / (truth.len() * asked.len()) as f32;
            let bought_now = |id: u32| truth.binary_search(&id).is_ok();
            let sampled = |id: u32| draw(question, id).is_multiple_of(every as u64);
            known.signs(
                profile,
                &mut room,
                |id| bought_now(id) || sampled(id),
                |id, bought_before, signs| {
                    let mut signs = *signs;
                    if !refined(level) {
                        signs[REFINEMENTS].fill(0.0);
                    }
                    if level == Level::Category {
                        // What a category sold of late is its season, and seasons turn: over
                        // both cuts, lists of new categories are better without.
                        signs[LATELY] = 0.0;
                    }
                    match (bought_now(id), bought_before) {
                        (true, _) => choices.add(signs, gain, 0.0),
                        (false, true) => choices.add(signs, 0.0, 0.0),
                        (false, false) => choices.add(signs, 0.0, stands_for),
                    }
                },
            );
            choices.end();
        });
    }
    if choices.is_empty() {
        return Weights::CLOSED_FORM;
    }
    let (ridge, center) = known_weights(level);
    #[expect(clippy::cast_possible_truncation, reason = "weights are of a few digits")]
    Weights(choices.fit(&ridge, &center).map(|weight| weight as f32))
}
