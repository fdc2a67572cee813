//! Lists page by page: how long a page is, and where the next one begins, in a word that only
//! the service reads.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::problem::{Problem, Slug};

/// Items of a page when nobody says how many.
const DEFAULT: i64 = 50;
/// Most items of a page.
const MAX: i64 = 200;

/// Which page of a list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageIn {
    /// Most items of the page, 1 to 200; without it 50.
    #[param(minimum = 1, maximum = 200, example = 50)]
    limit: Option<i64>,
    /// `next` of the page before.
    after: Option<String>,
}

/// A page as it is asked of the database: it begins below `before`, the newest first.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Most items.
    pub limit: i64,
    /// Numbers from here on stood on earlier pages.
    pub before: i64,
}

/// The same of a list whose order needs two numbers.
#[derive(Clone, Copy, Debug)]
pub struct PairPage {
    /// Most items.
    pub limit: i64,
    /// Pairs from here on stood on earlier pages.
    pub before: (i64, i64),
}

impl PageIn {
    /// What a query of a list says that has further parameters.
    pub fn new(limit: Option<i64>, after: Option<String>) -> Self {
        Self { limit, after }
    }

    /// Reads what was asked for.
    ///
    /// # Errors
    /// `validation-failed`.
    pub fn read(&self) -> Result<Page, Problem> {
        let before = match &self.after {
            None => Some(i64::MAX),
            Some(cursor) => numbers_in(cursor).map(|[before]| before),
        };
        let (limit, before) = self.checked(before)?;
        Ok(Page { limit, before })
    }

    /// Reads what was asked for of a list whose order needs two numbers, the first of them a moment
    /// in µs.
    ///
    /// # Errors
    /// `validation-failed`.
    pub fn read_pair(&self) -> Result<PairPage, Problem> {
        let before = match &self.after {
            None => Some((i64::MAX, i64::MAX)),
            Some(cursor) => numbers_in(cursor)
                .map(|[first, second]| (first, second))
                .filter(|(first, _)| *first >= 0 && Timestamp::from_microsecond(*first).is_ok()),
        };
        let (limit, before) = self.checked(before)?;
        Ok(PairPage { limit, before })
    }

    fn checked<T>(&self, before: Option<T>) -> Result<(i64, T), Problem> {
        let limit = self.limit.unwrap_or(DEFAULT);
        before.filter(|_| (1..=MAX).contains(&limit)).map(|before| (limit, before)).ok_or_else(
            || {
                Problem::new(Slug::ValidationFailed)
                    .detail("limit must be 1 to 200, and after what next said on the page before.")
            },
        )
    }
}

impl PairPage {
    /// As [`Page::cut`].
    pub fn cut<T>(
        &self,
        mut items: Vec<T>,
        pair: impl Fn(&T) -> (i64, i64),
    ) -> (Vec<T>, Option<String>) {
        let limit = usize::try_from(self.limit).expect("1 to 200");
        let goes_on = items.len() > limit;
        items.truncate(limit);
        let last = items.last().filter(|_| goes_on).map(pair);
        let bytes = |(first, second): (i64, i64)| [first.to_be_bytes(), second.to_be_bytes()];
        (items, last.map(|last| URL_SAFE_NO_PAD.encode(bytes(last).as_flattened())))
    }

    /// How many items to ask for.
    pub fn wanted(&self) -> i64 {
        self.limit + 1
    }
}

impl Page {
    /// The longest first page.
    pub fn first() -> Self {
        Self { limit: MAX, before: i64::MAX }
    }

    /// Cuts what was read down to the page. One more item than the page has must have been asked
    /// for: it tells whether there is another page.
    pub fn cut<T>(
        &self,
        mut items: Vec<T>,
        number: impl Fn(&T) -> i64,
    ) -> (Vec<T>, Option<String>) {
        let limit = usize::try_from(self.limit).expect("1 to 200");
        let goes_on = items.len() > limit;
        items.truncate(limit);
        let last = items.last().filter(|_| goes_on).map(number);
        (items, last.map(|last| URL_SAFE_NO_PAD.encode(last.to_be_bytes())))
    }

    /// How many items to ask for.
    pub fn wanted(&self) -> i64 {
        self.limit + 1
    }
}

fn numbers_in<const N: usize>(cursor: &str) -> Option<[i64; N]> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (numbers, rest) = bytes.as_chunks::<8>();
    let numbers: [[u8; 8]; N] = numbers.try_into().ok().filter(|_| rest.is_empty())?;
    Some(numbers.map(i64::from_be_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_to_the_rest_and_the_last_page_has_none() {
        let page = PageIn { limit: Some(2), after: None }.read().expect("a page");
        let (items, next) = page.cut(vec![9, 7, 4], |number| *number);
        assert_eq!(items, [9, 7]);
        let next = PageIn { limit: None, after: next }.read().expect("a page");
        assert_eq!((next.before, next.limit), (7, 50));
        assert!(next.cut(vec![4], |number| *number).1.is_none());
        for (limit, after) in [(Some(0), None), (Some(201), None), (None, Some("x".to_owned()))] {
            assert!(PageIn { limit, after }.read().is_err());
        }
    }
}
