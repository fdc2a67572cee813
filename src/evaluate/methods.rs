//! The ways to choose ten items that are compared. The baselines count exactly; ours is
//! [`crate::domain::selection`], called as it is.

use super::queries::Counts;
use crate::domain::profile::Profile;
use crate::domain::selection::{Assortment, Part, Room};

use super::metrics::PLACES;

/// A way to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Whatever comes.
    Random,
    /// What most baskets hold.
    Popularity,
    /// What most of the household's own baskets held.
    PTop,
    /// The same, filled up by popularity.
    GpTop,
    /// [`crate::domain::selection`]; of baskets a ranking that no till asks for.
    Ours,
}

/// All of them, in the order of the tables.
pub const METHODS: [Method; 5] =
    [Method::Random, Method::Popularity, Method::PTop, Method::GpTop, Method::Ours];

/// The parts, in the order of the tables.
pub const PARTS: [Part; 3] = [Part::All, Part::Repeat, Part::Explore];

impl Method {
    /// For programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Popularity => "popularity",
            Self::PTop => "p-top",
            Self::GpTop => "gp-top",
            Self::Ours => "ours",
        }
    }
}

/// What the methods choose with.
#[derive(Debug)]
pub struct Chooser<'a> {
    /// What all may know.
    pub assortment: &'a Assortment,
    /// Ids by popularity, then name.
    pub popular: &'a [u32],
    /// Working memory.
    pub room: Room,
    /// Working memory.
    pub own: Vec<u32>,
}

impl Chooser<'_> {
    /// Writes up to ten ids into `list`, best first.
    pub fn choose(
        &mut self,
        method: Method,
        part: Part,
        question: u64,
        profile: &Profile,
        counts: &Counts,
        list: &mut Vec<u32>,
    ) {
        list.clear();
        let belongs = |id: &u32| match part {
            Part::All => true,
            Part::Repeat => counts.baskets[*id as usize] > 0,
            Part::Explore => counts.baskets[*id as usize] == 0,
        };
        if matches!(method, Method::PTop | Method::GpTop) && part != Part::Explore {
            self.most_bought(counts, list);
        }
        match method {
            Method::Random => {
                self.own.clear();
                self.own.extend(self.popular.iter().copied().filter(belongs));
                best(&mut self.own, |id| (draw(question, *id), *id));
                list.extend(self.own.iter().take(PLACES));
            }
            Method::Popularity => {
                list.extend(self.popular.iter().copied().filter(belongs).take(PLACES));
            }
            Method::PTop => {}
            Method::GpTop => {
                let rest = PLACES - list.len();
                let unbought = |id: &u32| counts.baskets[*id as usize] == 0;
                if part != Part::Repeat {
                    list.extend(self.popular.iter().copied().filter(unbought).take(rest));
                }
            }
            Method::Ours => {
                list.extend(self.assortment.rank(profile, part, PLACES, &mut self.room));
            }
        }
    }

    fn most_bought(&mut self, counts: &Counts, list: &mut Vec<u32>) {
        self.own.clear();
        self.own.extend(&counts.bought);
        let popularity = |id: u32| self.assortment.standing(id).popularity.to_bits();
        // The bits of numbers from 0 to 1 are in the order of the numbers.
        best(&mut self.own, |id| {
            (u32::MAX - counts.baskets[*id as usize], u32::MAX - popularity(*id), *id)
        });
        list.extend(self.own.iter().take(PLACES));
    }
}

/// Brings the ten with the lowest keys to the front, in order.
fn best<K: Ord>(ids: &mut [u32], key: impl Fn(&u32) -> K) {
    if ids.len() > PLACES {
        ids.select_nth_unstable_by_key(PLACES, &key);
    }
    let places = ids.len().min(PLACES);
    ids[..places].sort_unstable_by_key(key);
}

/// A number that looks drawn and is the same on every machine (splitmix64).
pub fn draw(question: u64, id: u32) -> u64 {
    let mut mixed = question.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(u64::from(id));
    for factor in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb, 0xbf58_476d_1ce4_e5b9] {
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(factor);
    }
    mixed ^ (mixed >> 31)
}
