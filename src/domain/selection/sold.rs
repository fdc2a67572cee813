//! How many baskets held each article: what popularity is made of, and the form in which it is
//! stored. Counts, so that a share is the same on every machine. Must never hold more than counts.

use super::super::codec::{DecodeError, Reader, Writer};

/// The number under which counts of this shape are stored.
const ENCODING: u8 = 1;

/// Numbers of articles lie below: what is damaged must not ask for all memory.
const ARTICLES_MAX: u32 = 1 << 26;

/// How many baskets there were, and how many of them held each article.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sold {
    baskets: u64,
    /// By the number of the article.
    of_article: Vec<u32>,
}

impl Sold {
    /// Counts a basket. Its articles may repeat and come in any order; `room` is working memory.
    pub fn add(&mut self, articles: impl Iterator<Item = u32>, room: &mut Vec<u32>) {
        room.clear();
        room.extend(articles.filter(|no| (1..ARTICLES_MAX).contains(no)));
        room.sort_unstable();
        room.dedup();
        self.baskets += 1;
        let numbers = room.last().map_or(0, |last| *last as usize + 1);
        if self.of_article.len() < numbers {
            self.of_article.resize(numbers, 0);
        }
        for no in room.iter() {
            let count = &mut self.of_article[*no as usize];
            *count = count.saturating_add(1);
        }
    }

    /// Baskets that were counted.
    pub fn baskets(&self) -> u64 {
        self.baskets
    }

    /// Each article's share of all baskets, 0 to 1, by its number; what is beyond was not sold.
    #[expect(clippy::cast_precision_loss, reason = "a statistic, not an amount")]
    pub fn shares(&self) -> Vec<f32> {
        let baskets = self.baskets.max(1) as f32;
        self.of_article.iter().map(|count| *count as f32 / baskets).collect()
    }

    /// The compact form, in the encoding that its first byte names.
    pub fn encode(&self) -> Vec<u8> {
        let sold = || (0_u32..).zip(&self.of_article).filter(|(_, count)| **count > 0);
        let mut out = Writer::with_room_for(16 + self.of_article.len() * 3, ENCODING);
        out.unsigned(self.baskets);
        out.unsigned(sold().count() as u64);
        let mut before = 0;
        for (no, count) in sold() {
            out.unsigned(u64::from(no - before));
            out.unsigned(u64::from(*count));
            before = no;
        }
        out.finish()
    }

    /// Reads [`Sold::encode`] back.
    ///
    /// # Errors
    /// When the bytes are not a complete encoding that this version knows.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes, ENCODING)?;
        let mut sold = Self { baskets: from.unsigned()?, of_article: Vec::new() };
        let mut no: u32 = 0;
        for _ in 0..from.length(2)? {
            let step: u32 = from.small()?;
            no =
                no.checked_add(step).filter(|no| *no < ARTICLES_MAX).ok_or(DecodeError::Damaged)?;
            sold.of_article.resize((no as usize + 1).max(sold.of_article.len()), 0);
            sold.of_article[no as usize] = from.small()?;
        }
        from.end()?;
        Ok(sold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_back_as_they_were() {
        let (mut sold, mut room) = (Sold::default(), Vec::new());
        for basket in [&[3, 90_000, 3][..], &[3, 0], &[]] {
            sold.add(basket.iter().copied(), &mut room);
        }
        let shares = sold.shares();
        assert_eq!((sold.baskets(), shares.len()), (3, 90_001));
        assert_eq!([shares[0], shares[3], shares[90_000]], [0.0, 2.0 / 3.0, 1.0 / 3.0]);
        let bytes = sold.encode();
        assert_eq!(Sold::decode(&bytes), Ok(sold));
        assert_eq!(bytes.len(), 9, "a few bytes for an article");
        for cut in 0..bytes.len() {
            assert!(Sold::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        assert_eq!(Sold::decode(&Sold::default().encode()), Ok(Sold::default()));
    }

    #[test]
    fn damaged_counts_do_not_ask_for_all_memory() {
        let mut out = Writer::new(ENCODING);
        for number in [1, 1, u64::from(u32::MAX), 1] {
            out.unsigned(number);
        }
        assert_eq!(Sold::decode(&out.finish()), Err(DecodeError::Damaged));
    }
}
