//! Weights from examples, and how well they tell these apart: the choice among a list
//! (conditional logit) and the yes or no of one pair (logistic regression), both by Newton's
//! method on the exact likelihood, whose maximum is the only one. Both are held towards weights
//! that are known beforehand, so that little history changes little. Pure arithmetic; knows
//! nothing of what the numbers mean.

/// Steps after which the search ends in any case; it usually takes six.
const STEPS_MAX: usize = 25;

/// Lists of candidates, of which some were chosen.
#[derive(Clone, Debug)]
pub struct Choices<const N: usize> {
    signs: Vec<[f32; N]>,
    /// How much each candidate was chosen; 0 for most.
    gains: Vec<f32>,
    /// Of how many like it each candidate stands for one, as a logarithm.
    offsets: Vec<f32>,
    ends: Vec<usize>,
}

impl<const N: usize> Default for Choices<N> {
    fn default() -> Self {
        Self { signs: Vec::new(), gains: Vec::new(), offsets: Vec::new(), ends: Vec::new() }
    }
}

impl<const N: usize> Choices<N> {
    /// Adds a candidate to the list that is being made.
    pub fn add(&mut self, signs: [f32; N], gain: f32, offset: f32) {
        self.signs.push(signs);
        self.gains.push(gain);
        self.offsets.push(offset);
    }

    /// Ends the list; one of which nothing was chosen is forgotten.
    pub fn end(&mut self) {
        let begin = self.ends.last().copied().unwrap_or_default();
        if self.gains[begin..].iter().all(|gain| *gain == 0.0) {
            self.signs.truncate(begin);
            self.gains.truncate(begin);
            self.offsets.truncate(begin);
        } else {
            self.ends.push(self.signs.len());
        }
    }

    /// Whether there is nothing to learn from.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The most likely weights, each held towards the `known` one by its `ridge`.
    pub fn fit(&self, ridge: &[f64; N], known: &[f64; N]) -> [f64; N] {
        ascend(ridge, known, |weights| {
            let mut sum = Sum::default();
            let mut begin = 0;
            let mut odds = Vec::new();
            for end in &self.ends {
                let list = begin..*end;
                begin = *end;
                let signs = &self.signs[list.clone()];
                let scores = signs.iter().zip(&self.offsets[list.clone()]);
                odds.clear();
                odds.extend(scores.map(|(signs, offset)| dot(weights, signs) + f64::from(*offset)));
                let most = odds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let whole: f64 = odds.iter().map(|score| (score - most).exp()).sum();
                let gains = &self.gains[list];
                let gained: f64 = gains.iter().map(|gain| f64::from(*gain)).sum();
                let mut middle = [0.0; N];
                for ((signs, score), gain) in signs.iter().zip(&odds).zip(gains) {
                    let share = (score - most).exp() / whole;
                    let gain = f64::from(*gain);
                    if gain > 0.0 {
                        sum.likelihood += gain * (score - most - whole.ln());
                    }
                    for at in 0..N {
                        let sign = f64::from(signs[at]);
                        middle[at] += share * sign;
                        sum.slope[at] += (gain - gained * share) * sign;
                    }
                    if gained * share > 1e-9 {
                        sum.bend(signs, gained * share);
                    }
                }
                for at in 0..N {
                    for other in 0..=at {
                        sum.curve[at][other] -= gained * middle[at] * middle[other];
                    }
                }
            }
            sum
        })
    }
}

/// The most likely weights of a logistic regression, held towards `known` by `ridge`. Each
/// example has signs, what came of it, and how much it counts.
pub fn logistic<'a, const N: usize>(
    examples: impl Iterator<Item = (&'a [f32; N], bool, f64)> + Clone,
    ridge: f64,
    known: &[f64; N],
) -> [f64; N] {
    ascend(&[ridge; N], known, |weights| {
        let mut sum = Sum::default();
        for (signs, came, counts) in examples.clone() {
            let score = dot(weights, signs);
            let share = 1.0 / (1.0 + (-score).exp());
            // ln(share) or ln(1 - share), without losing what is near 0.
            let signed = if came { -score } else { score };
            sum.likelihood -= counts * (signed.max(0.0) + (-signed.abs()).exp().ln_1p());
            let error = counts * (if came { 1.0 } else { 0.0 } - share);
            for (slope, sign) in sum.slope.iter_mut().zip(signs) {
                *slope += error * f64::from(*sign);
            }
            sum.bend(signs, counts * share * (1.0 - share));
        }
        sum
    })
}

/// A likelihood with its first and second derivatives; of the second the lower half, negated.
struct Sum<const N: usize> {
    likelihood: f64,
    slope: [f64; N],
    curve: [[f64; N]; N],
}

impl<const N: usize> Default for Sum<N> {
    fn default() -> Self {
        Self { likelihood: 0.0, slope: [0.0; N], curve: [[0.0; N]; N] }
    }
}

impl<const N: usize> Sum<N> {
    fn bend(&mut self, signs: &[f32; N], by: f64) {
        for (at, row) in self.curve.iter_mut().enumerate() {
            let scaled = by * f64::from(signs[at]);
            for (cell, sign) in row.iter_mut().zip(&signs[..=at]) {
                *cell += scaled * f64::from(*sign);
            }
        }
    }
}

/// Climbs to the top of a concave function; a step that leads down is halved.
fn ascend<const N: usize>(
    ridge: &[f64; N],
    known: &[f64; N],
    look: impl Fn(&[f64; N]) -> Sum<N>,
) -> [f64; N] {
    let held = |weights: &[f64; N]| {
        let mut sum = look(weights);
        for (at, (weight, known)) in weights.iter().zip(known).enumerate() {
            let (off, ridge) = (weight - known, ridge[at]);
            sum.likelihood -= ridge * off * off / 2.0;
            sum.slope[at] -= ridge * off;
            sum.curve[at][at] += ridge;
        }
        sum
    };
    let mut weights = *known;
    let mut here = held(&weights);
    for _ in 0..STEPS_MAX {
        let step = solve(here.curve, here.slope);
        let mut length = 1.0;
        let (next, there) = loop {
            let next: [f64; N] = std::array::from_fn(|at| weights[at] + length * step[at]);
            let there = held(&next);
            if there.likelihood >= here.likelihood || length < 1e-3 {
                break (next, there);
            }
            length /= 2.0;
        };
        let won = there.likelihood - here.likelihood;
        if won <= 0.0 {
            break;
        }
        (weights, here) = (next, there);
        if won < 1e-6 * here.likelihood.abs() {
            break;
        }
    }
    weights
}

/// Solves a symmetric, positive definite system of which the lower half is given (Cholesky).
fn solve<const N: usize>(mut lower: [[f64; N]; N], mut right: [f64; N]) -> [f64; N] {
    for at in 0..N {
        for other in 0..=at {
            let known: f64 = (0..other).map(|k| lower[at][k] * lower[other][k]).sum();
            let rest = lower[at][other] - known;
            // A sign that is the same for all has no curve of its own beyond the ridge.
            lower[at][other] =
                if at == other { rest.max(1e-12).sqrt() } else { rest / lower[other][other] };
        }
        let known: f64 = (0..at).map(|k| lower[at][k] * right[k]).sum();
        right[at] = (right[at] - known) / lower[at][at];
    }
    for at in (0..N).rev() {
        let known: f64 = (at + 1..N).map(|k| lower[k][at] * right[k]).sum();
        right[at] = (right[at] - known) / lower[at][at];
    }
    right
}

fn dot<const N: usize>(weights: &[f64; N], signs: &[f32; N]) -> f64 {
    weights.iter().zip(signs).map(|(weight, sign)| weight * f64::from(*sign)).sum()
}

/// The probability that one of the positive scores is above one of the negative ones, where
/// equal ones count half; nothing when one of the two is missing.
pub fn area_under_curve(scores: &[(f64, bool)]) -> Option<f64> {
    let mut sorted = scores.to_vec();
    sorted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let positives = sorted.iter().filter(|(_, positive)| *positive).count();
    let negatives = sorted.len() - positives;
    if positives == 0 || negatives == 0 {
        return None;
    }
    let (mut below, mut won) = (0, 0.0);
    for equal in sorted.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let here = equal.iter().filter(|(_, positive)| *positive).count();
        let lost = equal.len() - here;
        won += count(here) * (count(below) + count(lost) / 2.0);
        below += lost;
    }
    Some(won / (count(positives) * count(negatives)))
}

/// By how much the area under the curve of some scores is above that of others for the same
/// examples, and the standard error of that: what both find hard or easy alike does not count
/// towards it (DeLong, DeLong and Clarke-Pearson 1988). Nothing with less than two examples of
/// either kind.
pub fn area_difference(scores: &[f64], others: &[f64], marks: &[bool]) -> Option<(f64, f64)> {
    let [its, theirs] = [scores, others].map(|scores| places(scores, marks));
    let mut difference = 0.0;
    let mut variance = 0.0;
    for kind in [true, false] {
        let of_kind = its.iter().zip(&theirs).zip(marks).filter(|(_, mark)| **mark == kind);
        let apart: Vec<f64> = of_kind.map(|((one, other), _)| one - other).collect();
        if apart.len() < 2 {
            return None;
        }
        let mean = apart.iter().sum::<f64>() / count(apart.len());
        let squares: f64 = apart.iter().map(|it| (it - mean) * (it - mean)).sum();
        variance += squares / count(apart.len() - 1) / count(apart.len());
        // The mean is the same over either kind.
        difference = mean;
    }
    Some((difference, variance.sqrt()))
}

/// For each example the share of those of the other kind that it stands on the right side of;
/// equal ones count half.
fn places(scores: &[f64], marks: &[bool]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|one, other| scores[*one].total_cmp(&scores[*other]));
    let positives = marks.iter().filter(|mark| **mark).count();
    let negatives = marks.len() - positives;
    let mut places = vec![0.0; scores.len()];
    let (mut positives_below, mut negatives_below) = (0, 0);
    for equal in order.chunk_by(|one, other| scores[*one].total_cmp(&scores[*other]).is_eq()) {
        let positives_here = equal.iter().filter(|at| marks[**at]).count();
        let negatives_here = equal.len() - positives_here;
        let positives_above = positives - positives_below - positives_here;
        for at in equal {
            places[*at] = if marks[*at] {
                (count(negatives_below) + count(negatives_here) / 2.0) / count(negatives.max(1))
            } else {
                (count(positives_above) + count(positives_here) / 2.0) / count(positives.max(1))
            };
        }
        positives_below += positives_here;
        negatives_below += negatives_here;
    }
    places
}

/// What a hit on a place (from 0) of a list is worth.
pub fn discount(place: usize) -> f64 {
    1.0 / count(place + 2).log2()
}

/// The gain of what is marked among the first `places` of a list, as a share of what the best order
/// would gain; nothing when nothing is marked.
pub fn ranked_gain(marks: impl Iterator<Item = bool>, places: usize) -> Option<f64> {
    let (mut gain, mut marked) = (0.0, 0);
    for (place, _) in marks.enumerate().filter(|(_, mark)| *mark) {
        marked += 1;
        gain += if place < places { discount(place) } else { 0.0 };
    }
    let best: f64 = (0..marked.min(places)).map(discount).sum();
    (marked > 0).then(|| gain / best)
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn count(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved() {
        let found = solve([[4.0, 0.0], [2.0, 3.0]], [2.0, 5.0]);
        assert!((found[0] + 0.5).abs() < 1e-12 && (found[1] - 2.0).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn a_share_of_three_in_four_is_its_logarithm_of_odds() {
        let examples = [([1.0], true, 3.0), ([1.0], false, 1.0)];
        let examples = examples.iter().map(|(signs, came, counts)| (signs, *came, *counts));
        let [weight] = logistic(examples, 0.0, &[0.0]);
        assert!((weight - 3.0_f64.ln()).abs() < 1e-4, "{weight}");
    }

    #[test]
    fn little_history_changes_little() {
        let examples = [([1.0], true, 3.0), ([1.0], false, 1.0)];
        let examples = examples.iter().map(|(signs, came, counts)| (signs, *came, *counts));
        let [held] = logistic(examples.clone(), 1e6, &[0.3]);
        assert!((held - 0.3).abs() < 1e-4, "{held}");
        let [weight] = logistic(examples, 1.0, &[0.3]);
        assert!(weight > 0.3 && weight < 3.0_f64.ln(), "{weight}");
    }

    #[test]
    fn a_choice_of_two_in_three_is_its_logarithm_of_odds() {
        let mut choices = Choices::<1>::default();
        for first in [true, true, false] {
            choices.add([1.0], if first { 1.0 } else { 0.0 }, 0.0);
            choices.add([0.0], if first { 0.0 } else { 1.0 }, 0.0);
            choices.end();
        }
        choices.add([1.0], 0.0, 0.0);
        choices.end();
        let [weight] = choices.fit(&[0.0], &[0.0]);
        assert!((weight - 2.0_f64.ln()).abs() < 1e-4, "{weight}");
    }

    #[test]
    fn one_that_stands_for_many_counts_as_many() {
        let mut choices = Choices::<1>::default();
        for first in [true, false] {
            choices.add([1.0], if first { 1.0 } else { 0.0 }, 0.0);
            choices.add([0.0], if first { 0.0 } else { 1.0 }, 4.0_f32.ln());
            choices.end();
        }
        let [weight] = choices.fit(&[0.0], &[0.0]);
        assert!((weight - 4.0_f64.ln()).abs() < 1e-4, "{weight}");
    }

    #[test]
    fn the_gain_of_a_list_is_a_share_of_the_best_one() {
        let gain = |marks: &[bool], places| ranked_gain(marks.iter().copied(), places);
        assert_eq!(gain(&[false, false], 5), None);
        assert_eq!(gain(&[true, true, false], 5), Some(1.0));
        assert_eq!(gain(&[false, false, true], 2), Some(0.0));
        // By hand: 1/log2(3) of 1 + 1/log2(3).
        let found = gain(&[false, true, true], 2).expect("two are marked");
        assert!((found - 0.630_93 / 1.630_93).abs() < 1e-5, "{found}");
    }

    #[test]
    fn two_areas_differ_by_what_one_orders_better_and_by_how_surely() {
        let marks = [true, true, false, false];
        let good = [0.9, 0.5, 0.4, 0.1];
        // By hand: against the good ones 0.2 loses to 0.4 and wins against 0.1, so that its place
        // is a half and that of 0.4 as well; the differences are 0 and 1/2 on either side, their
        // mean 1/4 and the variance of each mean 1/16.
        let worse = [0.9, 0.2, 0.4, 0.1];
        let (difference, error) = area_difference(&good, &worse, &marks).expect("enough");
        assert!((difference - 0.25).abs() < 1e-12, "{difference}");
        assert!((error - 0.125_f64.sqrt()).abs() < 1e-12, "{error}");
        let (back, same) = area_difference(&worse, &good, &marks).expect("enough");
        assert_eq!((back, same), (-difference, error));
        assert_eq!(area_difference(&good, &good, &marks), Some((0.0, 0.0)));
        let tied = [0.5; 4];
        let (difference, _) = area_difference(&good, &tied, &marks).expect("enough");
        assert!((difference - 0.5).abs() < 1e-12, "{difference}");
        assert_eq!(area_difference(&good[..3], &worse[..3], &marks[..3]), None);
    }

    #[test]
    fn equal_scores_count_half() {
        let scores = [(0.9, true), (0.5, true), (0.5, false), (0.1, false)];
        // Pairs: 0.9 wins both; 0.5 ties one and wins one.
        assert_eq!(area_under_curve(&scores), Some(3.5 / 4.0));
        assert_eq!(area_under_curve(&[(0.9, true)]), None);
    }
}
