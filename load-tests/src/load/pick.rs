//! Whose swipe comes next. Constant time and memory for each, however many customers there are.

use fastrand::Rng;

use super::Pick;

/// Chooses among a number of cards.
pub(super) enum Picker {
    Uniform { cards: usize },
    Zipf(Zipf),
    InTurn { cards: usize },
    One,
}

impl Picker {
    /// For at least one card.
    pub(super) fn new(pick: Pick, cards: usize) -> Self {
        match pick {
            Pick::Uniform => Self::Uniform { cards },
            Pick::Zipf { exponent } => Self::Zipf(Zipf::new(cards, exponent)),
            Pick::InTurn => Self::InTurn { cards },
            Pick::One => Self::One,
        }
    }

    /// The index of the card that the swipe of this number is made with.
    pub(super) fn card(&self, rng: &mut Rng, number: u64) -> usize {
        match self {
            Self::Uniform { cards } => rng.usize(..*cards),
            Self::Zipf(zipf) => zipf.draw(rng),
            Self::InTurn { cards } => {
                usize::try_from(number % *cards as u64).expect("less than the number of cards")
            }
            Self::One => 0,
        }
    }
}

/// Zipf's law by rejection-inversion (Hörmann and Derflinger, 1996): the density r^-exponent is
/// inverted where it is smooth, and what that overestimates is rejected. For exponents about 1
/// the first draw is taken nearly always.
pub(super) struct Zipf {
    exponent: f64,
    cards: f64,
    /// The integral up to half a rank before the first and half a rank behind the last.
    first: f64,
    last: f64,
    /// Draws within so much below their rank need no second look.
    sure: f64,
}

impl Zipf {
    fn new(cards: usize, exponent: f64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a few million")]
        let cards = cards as f64;
        let mut zipf = Self { exponent, cards, first: 0.0, last: 0.0, sure: 0.0 };
        zipf.first = zipf.integral(1.5) - 1.0;
        zipf.last = zipf.integral(cards + 0.5);
        zipf.sure = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.density(2.0));
        zipf
    }

    fn draw(&self, rng: &mut Rng) -> usize {
        loop {
            let u = self.last + rng.f64() * (self.first - self.last);
            let x = self.inverse(u);
            let rank = x.round().clamp(1.0, self.cards);
            if rank - x <= self.sure || u >= self.integral(rank + 0.5) - self.density(rank) {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a rank lies between 1 and the number of cards"
                )]
                return rank as usize - 1;
            }
        }
    }

    fn density(&self, x: f64) -> f64 {
        x.powf(-self.exponent)
    }

    /// (x^(1 - exponent) - 1) / (1 - exponent), which is the logarithm for an exponent of 1.
    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        over_x(f64::exp_m1, (1.0 - self.exponent) * log) * log
    }

    fn inverse(&self, integral: f64) -> f64 {
        (over_x(f64::ln_1p, ((1.0 - self.exponent) * integral).max(-1.0)) * integral).exp()
    }
}

/// `function(x) / x`, for functions that are about x near 0.
fn over_x(function: fn(f64) -> f64, x: f64) -> f64 {
    if x.abs() < 1e-8 { 1.0 } else { function(x) / x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_comes_as_often_as_zipf_says() {
        const DRAWS: u32 = 400_000;
        for exponent in [0.5, 0.99, 1.0, 1.2] {
            let zipf = Zipf::new(1_000, exponent);
            let mut rng = Rng::with_seed(7);
            let mut counts = vec![0_u32; 1_000];
            for _ in 0..DRAWS {
                counts[zipf.draw(&mut rng)] += 1;
            }
            let weight = |rank: u32| f64::from(rank).powf(-exponent);
            let all: f64 = (1..=1_000).map(weight).sum();
            for rank in [1, 2, 3, 10, 100] {
                let expected = weight(rank) / all * f64::from(DRAWS);
                let found = f64::from(counts[rank as usize - 1]);
                // Five standard deviations: it fails for a law that is another one.
                let deviation = (found - expected).abs() / expected.sqrt();
                assert!(deviation < 5.0, "{exponent}: rank {rank} {found} of {expected}");
            }
            let behind: u32 = counts[500..].iter().sum();
            let expected = (501..=1_000).map(weight).sum::<f64>() / all * f64::from(DRAWS);
            assert!((f64::from(behind) - expected).abs() / expected.sqrt() < 5.0, "{exponent}");
        }
    }

    #[test]
    fn a_single_card_and_a_million_are_no_exceptions() {
        let mut rng = Rng::with_seed(1);
        let one = Zipf::new(1, 1.0);
        let many = Zipf::new(1_000_000, 1.1);
        for _ in 0..10_000 {
            assert_eq!(one.draw(&mut rng), 0);
            assert!(many.draw(&mut rng) < 1_000_000);
        }
    }

    #[test]
    fn in_turn_means_that_nobody_comes_twice_before_all_have_come() {
        let mut rng = Rng::with_seed(1);
        let picker = Picker::new(Pick::InTurn, 50);
        let mut cards: Vec<usize> = (1_000..1_050).map(|it| picker.card(&mut rng, it)).collect();
        cards.sort_unstable();
        assert_eq!(cards, (0..50).collect::<Vec<_>>());
        let one = Picker::new(Pick::One, 50);
        assert!((0..100).all(|number| one.card(&mut rng, number) == 0));
    }
}
