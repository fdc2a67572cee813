//! Which baskets are predicted, from what, and what may be learned before: the protocol.
//! Must never hand anything over that happened at or after the moment of a prediction.

use jiff::civil::Date;
use jiff::{Span, ToSpan as _};

use super::data::{Basket, Data};
use crate::domain::profile::{Level, Profile};

/// Earlier baskets that a household must have for one of its baskets to be predicted.
const EARLIER_MIN: usize = 3;

/// Days before the cut from which weights are learned.
const LEARNING_DAYS: i64 = 61;

/// Baskets before a household's last one from which weights are learned.
const LEARNING_BASKETS: usize = 5;

/// For each household, by place, where its baskets are parted: `..learning` is known when
/// weights are learned, `learning..asked` is what they are learned from, `..asked` of open
/// households is what all may know, `asked..end` is asked.
#[derive(Clone, Debug)]
pub struct Parting {
    /// Index of the first basket that weights are learned from.
    pub learning: Vec<usize>,
    /// Index of the first basket that is asked.
    pub asked: Vec<usize>,
    /// Index after the last basket that may be asked.
    pub end: Vec<usize>,
}

impl Parting {
    /// By date: baskets of `cut` and later, before `until`, are asked.
    pub fn at(data: &Data, cut: Date, until: Option<Date>) -> Self {
        let before = |date: Date| {
            let index = move |baskets: &[Basket]| baskets.partition_point(|b| b.date_utc < date);
            data.households.iter().map(|h| index(&h.baskets)).collect::<Vec<usize>>()
        };
        let span: Span = LEARNING_DAYS.days();
        Self {
            learning: before(cut.saturating_sub(span)),
            asked: before(cut),
            end: before(until.unwrap_or(Date::MAX)),
        }
    }

    /// The last basket of each household is asked.
    pub fn before_the_last(data: &Data) -> Self {
        let counts: Vec<usize> = data.households.iter().map(|h| h.baskets.len()).collect();
        let back = |by: usize| counts.iter().map(|count| count.saturating_sub(by)).collect();
        Self { learning: back(1 + LEARNING_BASKETS), asked: back(1), end: counts.clone() }
    }
}

/// Indexes of the baskets within `from..end` that are predicted: the first `most` that hold
/// anything at the level and have enough earlier ones that do.
pub fn indexes(
    baskets: &[Basket],
    level: Level,
    from: usize,
    end: usize,
    most: usize,
) -> Vec<usize> {
    let holds = |index: &usize| !baskets[*index].items[level as usize].is_empty();
    let held = (0..end).filter(holds).enumerate();
    let enough = held.filter(|(earlier, index)| *earlier >= EARLIER_MIN && *index >= from);
    enough.map(|(_, index)| index).take(most).collect()
}

/// How many baskets held each item of a level.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// By id.
    pub baskets: Vec<u32>,
    /// Ids of those that were bought, in the order in which they first were.
    pub bought: Vec<u32>,
}

impl Counts {
    fn forget(&mut self, items: usize) {
        for id in self.bought.drain(..) {
            self.baskets[id as usize] = 0;
        }
        self.baskets.resize(items, 0);
    }

    fn add(&mut self, items: &[u32]) {
        for id in items {
            if self.baskets[*id as usize] == 0 {
                self.bought.push(*id);
            }
            self.baskets[*id as usize] += 1;
        }
    }
}

/// Walks through a household's baskets and stops before each of `asked`, with what is known of
/// it then. `counts` is working memory.
pub fn walk(
    baskets: &[Basket],
    level: Level,
    items: usize,
    asked: &[usize],
    counts: &mut Counts,
    mut stop: impl FnMut(usize, &Profile, &Counts),
) {
    let Some(last) = asked.last() else { return };
    counts.forget(items);
    let mut profile = Profile::default();
    for (index, basket) in baskets[..=*last].iter().enumerate() {
        if asked.binary_search(&index).is_ok() {
            stop(index, &profile, counts);
        }
        basket.teach(&mut profile);
        counts.add(&basket.items[level as usize]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basket(items: &[u32]) -> Basket {
        Basket { items: [items.to_vec(), Vec::new(), Vec::new()], ..Basket::default() }
    }

    #[test]
    fn a_basket_is_predicted_when_three_before_it_held_something() {
        let baskets: Vec<Basket> =
            [&[1][..], &[], &[2], &[3], &[], &[4], &[5], &[6]].map(basket).into();
        let level = Level::Category;
        assert_eq!(indexes(&baskets, level, 0, 8, 9), [5, 6, 7]);
        assert_eq!(indexes(&baskets, level, 6, 8, 9), [6, 7]);
        assert_eq!(indexes(&baskets, level, 0, 7, 1), [5]);
    }
}
