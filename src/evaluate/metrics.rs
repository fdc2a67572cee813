//! The figures by which lists are judged, and their means. Knows nothing of baskets, methods
//! or files.

use crate::learning::discount;

/// How one list did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Hits among the first ten, as a share of what there was to hit.
    pub recall: f64,
    /// Normalised discounted cumulative gain of the first ten.
    pub ndcg: f64,
    /// Whether there is a hit among the first five, 0 or 1.
    pub hit: f64,
}

/// How many places of a list count.
pub const PLACES: usize = 10;

/// Judges the first ten of a list; `truth` is sorted and not empty. The ideal list has a hit
/// on each of its places: as many as there is truth, at most `ideal_max`.
pub fn judge(list: &[u32], truth: &[u32], ideal_max: usize) -> Score {
    let hit = |place: &usize| truth.binary_search(&list[*place]).is_ok();
    let hits: Vec<usize> = (0..list.len().min(PLACES)).filter(hit).collect();
    let gain: f64 = hits.iter().map(|place| discount(*place)).sum();
    let ideal: f64 = (0..truth.len().min(ideal_max)).map(discount).sum();
    Score {
        recall: ratio(hits.len(), truth.len()),
        ndcg: gain / ideal,
        hit: if hits.first().is_some_and(|place| *place < 5) { 1.0 } else { 0.0 },
    }
}

/// A share of counts.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

/// The mean of some values; 0 of none.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / ratio(values.len(), 1) }
}

/// Mean of the paired differences and its standard error.
pub fn paired(ours: &[f64], theirs: &[f64]) -> (f64, f64) {
    let differences: Vec<f64> = ours.iter().zip(theirs).map(|(one, other)| one - other).collect();
    let middle = mean(&differences);
    let squares: f64 = differences.iter().map(|value| (value - middle).powi(2)).sum();
    let count = ratio(differences.len(), 1);
    let error = if count > 1.0 { (squares / (count - 1.0) / count).sqrt() } else { 0.0 };
    (middle, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
    }

    #[test]
    fn a_list_is_judged_as_by_hand() {
        // Hits on places 1, 3 and 6 of four items to find: 1 + 1/2 + 1/log2(7).
        let list = [7, 1, 3, 2, 5, 9, 4];
        let score = judge(&list, &[3, 7, 8, 9], PLACES);
        close(score.recall, 0.75);
        // The ideal has four hits: 1 + 0.63093 + 0.5 + 0.43068.
        close(score.ndcg, (1.0 + 0.5 + 0.35621) / 2.56161);
        close(score.hit, 1.0);
    }

    #[test]
    fn only_ten_places_count_and_only_five_for_a_hit() {
        let list: Vec<u32> = (1..=20).collect();
        assert_eq!(judge(&list, &[6], PLACES).hit, 0.0);
        assert_eq!(judge(&list, &[5], PLACES).hit, 1.0);
        close(judge(&list, &[10, 11], PLACES).recall, 0.5);
        assert_eq!(judge(&[], &[1], PLACES), Score::default());
    }

    #[test]
    fn a_full_ideal_has_as_many_places_as_the_basket() {
        let truth: Vec<u32> = (1..=12).collect();
        let list: Vec<u32> = (1..=10).collect();
        close(judge(&list, &truth, PLACES).ndcg, 1.0);
        // 4.54356 of ten places; the eleventh and twelfth add 0.27894 and 0.27024.
        close(judge(&list, &truth, usize::MAX).ndcg, 4.54356 / 5.09274);
    }

    #[test]
    fn differences_are_paired() {
        // Differences 0.1, 0.3, 0.2: mean 0.2, deviation 0.1, error 0.1/√3.
        let (difference, error) = paired(&[0.5, 0.4, 0.2], &[0.4, 0.1, 0.0]);
        close(difference, 0.2);
        close(error, 0.057_735);
    }
}
