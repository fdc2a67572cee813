//! Offers of one kind by their scores, of which a few are wanted and most are never looked at: they
//! are put into order a few at a time, as far as somebody asks. Must never leave one out.

/// So many are put into order at first, and twice as many each time that more are wanted.
const FIRST: usize = 16;

/// Offers by score, those of equal score by place.
#[derive(Clone, Debug, Default)]
pub(super) struct Field {
    /// Of each offer its score, so that a better one is less, and below it its place.
    keys: Vec<u64>,
}

impl Field {
    pub(super) fn clear(&mut self) {
        self.keys.clear();
    }

    pub(super) fn add(&mut self, place: u32, score: f32) {
        // As numbers without a sign the bits of floats rise with them, but for the sign.
        let bits = score.to_bits();
        let rising = if score.is_sign_negative() { !bits } else { bits | 1 << 31 };
        self.keys.push(u64::from(!rising) << 32 | u64::from(place));
    }

    /// The places of all, best first.
    pub(super) fn best_first(&mut self) -> impl Iterator<Item = u32> {
        let keys = &mut self.keys;
        let (mut at, mut sorted, mut more) = (0, 0, FIRST);
        std::iter::from_fn(move || {
            if at == sorted {
                let rest = &mut keys[sorted..];
                if rest.len() > more {
                    rest.select_nth_unstable(more);
                }
                more = more.min(rest.len());
                rest[..more].sort_unstable();
                sorted += more;
                more *= 2;
            }
            let key = keys.get(at)?;
            at += 1;
            Some(u32::try_from(key & u64::from(u32::MAX)).expect("the low half"))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_order_of_scores_and_of_places_where_they_are_equal(
            scores in proptest::collection::vec((-40..40_i16).prop_map(|it| f32::from(it) / 8.0), 0..200),
        ) {
            let mut field = Field::default();
            let mut sorted: Vec<(u32, f32)> = (0..).zip(scores).collect();
            sorted.iter().for_each(|(place, score)| field.add(*place, *score));
            sorted.sort_by(|(_, one), (_, other)| other.total_cmp(one));
            let places: Vec<u32> = sorted.into_iter().map(|(place, _)| place).collect();
            prop_assert_eq!(field.best_first().collect::<Vec<_>>(), places);
        }
    }
}
