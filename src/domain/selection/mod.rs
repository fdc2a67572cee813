//! Which items an account will want next: those it buys again, and those it never bought.
//!
//! Owns the ranking of a level's items for one [`Profile`]. Scores decide what is offered,
//! never what somebody is owed. Must never learn: what is true for all accounts (how popular
//! an item is, what goes with what, how much each sign weighs) is handed in as an
//! [`Assortment`], so that a decision can be made again from what was in force.

mod logarithm;
pub mod offers;
pub mod showcase;
mod signs;
pub mod sold;

use self::signs::Household;
pub use self::signs::{Habit, LATELY, NEVER, REFINEMENTS, SIGNS, Weights, closed_form};
use super::profile::{Affinity, Level, Profile};

/// How an item stands with all accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Standing {
    /// Share of all baskets that held it, 0 to 1.
    pub popularity: f32,
    /// The same of the latest four weeks.
    pub recent: f32,
    /// How it is bought again.
    pub habit: Habit,
    /// Whether it may be ranked at all.
    pub eligible: bool,
}

/// What is known of a level's items beyond one account, and how signs are weighed.
#[derive(Clone, Debug)]
pub struct Assortment {
    level: Level,
    /// By id.
    standings: Vec<Standing>,
    /// For each id, to which items it points and how strongly.
    related: Vec<Vec<(u32, f32)>>,
    weights: Weights,
    /// What an item scores that was never bought and to which nothing points, by id.
    unrelated: Vec<f32>,
    /// Eligible ids by that score, best first.
    order: Vec<u32>,
}

/// Which items are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All.
    All,
    /// Those that the account bought before.
    Repeat,
    /// Those that it never bought.
    Explore,
}

/// Working memory of a ranking, used again for the next one.
#[derive(Clone, Debug, Default)]
pub struct Room {
    own: Vec<(u32, Affinity)>,
    /// By id: whether the account bought it.
    bought: Vec<bool>,
    /// By id: how strongly what the account bought points to it.
    pull: Vec<f32>,
    /// By id: whether something points to it.
    pointed_at: Vec<bool>,
    /// Ids to which something points, each once.
    pulled: Vec<u32>,
    best: Vec<(f32, u32)>,
}

impl Assortment {
    /// Puts together what is known. `standings` and `related` are indexed by id.
    pub fn new(
        level: Level,
        standings: Vec<Standing>,
        related: Vec<Vec<(u32, f32)>>,
        weights: Weights,
    ) -> Self {
        let mut known =
            Self { level, standings, related, weights, unrelated: Vec::new(), order: Vec::new() };
        known.weigh(weights);
        known
    }

    /// The same with other weights.
    pub fn weigh(&mut self, weights: Weights) {
        self.weights = weights;
        let blank = Household::default();
        let score = |standing| weights.score(&blank.never_bought(standing, 0.0));
        self.unrelated = self.standings.iter().map(score).collect();
        self.order =
            (0..).zip(&self.standings).filter(|(_, s)| s.eligible).map(|(id, _)| id).collect();
        let unrelated = &self.unrelated;
        let standings = &self.standings;
        self.order.sort_unstable_by(|a, b| {
            let (one, other) = (*a as usize, *b as usize);
            unrelated[other]
                .total_cmp(&unrelated[one])
                .then(standings[other].popularity.total_cmp(&standings[one].popularity))
                .then(a.cmp(b))
        });
    }

    /// How an item stands; an unknown one is not eligible.
    pub fn standing(&self, id: u32) -> Standing {
        self.standings.get(id as usize).copied().unwrap_or_default()
    }

    /// The ids with the highest scores, best first; at most `most`. Of equals the more
    /// popular goes first, then the one with the lower id.
    pub fn rank<'a>(
        &self,
        profile: &Profile,
        part: Part,
        most: usize,
        room: &'a mut Room,
    ) -> impl Iterator<Item = u32> + use<'a> {
        self.look_at(profile, room);
        let Room { own, bought, pull, pointed_at, pulled, best } = room;
        let household = Household::of(profile);
        best.clear();
        if part != Part::Explore {
            for (id, affinity) in own.iter() {
                let standing = &self.standings[*id as usize];
                let signs = household.bought(affinity, standing, pull[*id as usize]);
                self.offer(best, most, self.weights.score(&signs), *id);
            }
        }
        if part != Part::Repeat {
            let shift = household.explore_shift(&self.weights);
            for id in pulled.iter().filter(|id| !bought[**id as usize]) {
                let at = *id as usize;
                let score = self.unrelated[at] + shift + self.weights.of_pull(pull[at]);
                self.offer(best, most, score, *id);
            }
            // To the others nothing points, so that their order is known beforehand.
            for id in &self.order {
                let at = *id as usize;
                let score = self.unrelated[at] + shift;
                if best.len() == most && best.last().is_some_and(|(least, _)| score < *least) {
                    break;
                }
                if !bought[at] && !pointed_at[at] {
                    self.offer(best, most, score, *id);
                }
            }
        }
        best.iter().map(|(_, id)| *id)
    }

    /// Hands over the signs of everything that was bought, and of those never bought for which
    /// `sample` says so: what weights are learned from.
    pub fn signs(
        &self,
        profile: &Profile,
        room: &mut Room,
        mut sample: impl FnMut(u32) -> bool,
        mut take: impl FnMut(u32, bool, &[f32; SIGNS]),
    ) {
        self.look_at(profile, room);
        let household = Household::of(profile);
        for (id, affinity) in &room.own {
            let at = *id as usize;
            take(*id, true, &household.bought(affinity, &self.standings[at], room.pull[at]));
        }
        for id in &self.order {
            let at = *id as usize;
            if !room.bought[at] && sample(*id) {
                take(*id, false, &household.never_bought(&self.standings[at], room.pull[at]));
            }
        }
    }

    /// Notes what the account bought and where that points.
    fn look_at(&self, profile: &Profile, room: &mut Room) {
        let items = self.standings.len();
        room.bought.clear();
        room.bought.resize(items, false);
        room.pull.clear();
        room.pull.resize(items, 0.0);
        room.pointed_at.clear();
        room.pointed_at.resize(items, false);
        room.pulled.clear();
        room.own.clear();
        let eligible = |id: u32| self.standings.get(id as usize).is_some_and(|s| s.eligible);
        room.own.extend(profile.affinities(self.level).filter(|(id, _)| eligible(*id)));
        for (id, _) in &room.own {
            room.bought[*id as usize] = true;
            for (to, strength) in self.related.get(*id as usize).into_iter().flatten() {
                let to_at = *to as usize;
                if !std::mem::replace(&mut room.pointed_at[to_at], true) {
                    room.pulled.push(*to);
                }
                room.pull[to_at] += strength;
            }
        }
    }

    /// Takes an item into the best, in its place, if it belongs there.
    fn offer(&self, best: &mut Vec<(f32, u32)>, most: usize, score: f32, id: u32) {
        let popularity = |id: u32| self.standings[id as usize].popularity;
        let goes_before = |(other, rival): &(f32, u32)| {
            score
                .total_cmp(other)
                .then(popularity(id).total_cmp(&popularity(*rival)))
                .then(rival.cmp(&id))
                .is_gt()
        };
        if best.len() == most {
            if !best.last().is_some_and(goes_before) {
                return;
            }
            best.pop();
        }
        let at = best.partition_point(|entry| !goes_before(entry));
        best.insert(at, (score, id));
    }
}
