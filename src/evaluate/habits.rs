//! How items are bought again, learned from baskets: what came of each item that a household had
//! bought before, beside what the closed form said. Must never look at a basket before saying
//! what is expected of it.

use super::data::Basket;
use super::queries::{Counts, indexes, walk};
use crate::domain::profile::Level;
use crate::domain::selection::{Habit, closed_form};

/// So many expected purchases stand against what few baskets say of an item.
const DOUBT: f32 = 50.0;
/// The same of an item after so many baskets without it.
const DOUBT_SINCE: f32 = 20.0;

/// What was expected and what came.
#[derive(Clone, Copy, Debug, Default)]
struct Purchases {
    expected: [f32; Habit::STRETCHES],
    came: [f32; Habit::STRETCHES],
}

/// The habits of a level's items, by id. `households` are their baskets, oldest first;
/// `popularity`, by id, is the share of all baskets.
pub(super) fn learn<'a>(
    households: impl Iterator<Item = &'a [Basket]>,
    level: Level,
    popularity: &[f32],
) -> Vec<Habit> {
    let mut items = vec![Purchases::default(); popularity.len()];
    let (mut counts, mut held) = (Counts::default(), Vec::new());
    for baskets in households {
        let asked = indexes(baskets, level, 0, baskets.len(), usize::MAX);
        walk(baskets, level, popularity.len(), &asked, &mut counts, |index, profile, counts| {
            let now = &baskets[index].items[level as usize];
            let again = now.iter().filter(|id| counts.baskets[**id as usize] > 0).count();
            if again == 0 {
                return;
            }
            held.clear();
            let bought = profile.affinities(level).filter(|(id, _)| counted(counts, *id));
            held.extend(bought.map(|(id, affinity)| {
                let stretch = Habit::stretch(affinity.baskets_since);
                (id, stretch, closed_form(&affinity, popularity[id as usize]))
            }));
            let sum: f32 = held.iter().map(|(_, _, form)| form).sum();
            #[expect(clippy::cast_precision_loss, reason = "a basket is short")]
            let share = again as f32 / sum;
            for (id, stretch, form) in &held {
                let item = &mut items[*id as usize];
                item.expected[*stretch] += form * share;
                if now.binary_search(id).is_ok() {
                    item.came[*stretch] += 1.0;
                }
            }
        });
    }
    habits(&items)
}

/// Whether an item may be ranked and was bought: what may not is in no basket's items.
fn counted(counts: &Counts, id: u32) -> bool {
    counts.baskets.get(id as usize).is_some_and(|count| *count > 0)
}

fn habits(items: &[Purchases]) -> Vec<Habit> {
    let mut all = Purchases::default();
    for item in items {
        for stretch in 0..Habit::STRETCHES {
            all.expected[stretch] += item.expected[stretch];
            all.came[stretch] += item.came[stretch];
        }
    }
    let usual: [f32; Habit::STRETCHES] =
        std::array::from_fn(|at| all.came[at] / all.expected[at].max(f32::MIN_POSITIVE));
    let habit = |Purchases { expected, came }: &Purchases| {
        let sum = |parts: &[f32]| parts.iter().sum::<f32>() + DOUBT;
        let at_all = sum(came) / sum(expected);
        let since = std::array::from_fn(|at| {
            let expected = expected[at] * at_all * usual[at];
            ((came[at] + DOUBT_SINCE) / (expected + DOUBT_SINCE)).ln()
        });
        Habit { at_all: at_all.ln(), since }
    };
    items.iter().map(habit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::product::{Product, Taxa};

    #[test]
    fn nothing_is_learned_from_nothing() {
        assert_eq!(habits(&[Purchases::default()]), [Habit::default()]);
        assert_eq!(learn([].into_iter(), Level::Category, &[0.0; 2]), [Habit::default(); 2]);
    }

    #[test]
    fn what_comes_twice_as_often_as_expected_is_a_habit() {
        let [often, seldom] = [(400.0, 250.0), (100.0, 250.0)].map(|(came, expected)| {
            let at_first = |number| [number, 0.0, 0.0, 0.0, 0.0];
            Purchases { expected: at_first(expected), came: at_first(came) }
        });
        let found = habits(&[often, seldom]);
        assert!((found[0].at_all - 1.5_f32.ln()).abs() < 1e-6, "{found:?}");
        assert!((found[1].at_all - 0.5_f32.ln()).abs() < 1e-6, "{found:?}");
        // That all of it came right after the basket before is what all do.
        assert!(found[0].since[0].abs() < 0.1 && found[0].since[1] == 0.0, "{found:?}");
    }

    #[test]
    fn a_stretch_is_of_so_many_baskets() {
        let stretches = [0, 1, 2, 3, 4, 7, 8, 500].map(Habit::stretch);
        assert_eq!(stretches, [0, 1, 2, 2, 3, 3, 4, 4]);
    }

    #[test]
    fn of_equal_histories_the_one_that_goes_on_is_the_habit() {
        let basket = |items: &[u32]| Basket {
            sold: items
                .iter()
                .map(|no| Product {
                    product_no: *no,
                    taxa: Taxa { category_no: *no, ..Taxa::default() },
                    ..Product::default()
                })
                .collect(),
            items: [items.to_vec(), Vec::new(), Vec::new()],
            ..Basket::default()
        };
        let both = [1, 2];
        let baskets: Vec<Basket> = [&both[..], &both, &both, &both, &[1]].map(basket).into();
        let four = learn([&baskets[..4]].into_iter(), Level::Category, &[0.0; 3]);
        assert_eq!(four, [Habit::default(); 3], "both came, as was expected");
        // Of one purchase half was expected of each.
        let five = learn([&baskets[..]].into_iter(), Level::Category, &[0.0; 3]);
        let expected = [0.0, (52.0_f32 / 51.5).ln(), (51.0_f32 / 51.5).ln()];
        for (habit, expected) in five.iter().zip(expected) {
            assert!((habit.at_all - expected).abs() < 1e-6, "{five:?}");
        }
    }
}
