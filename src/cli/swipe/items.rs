//! Articles as they are typed: `SKU`, `SKU=QTY` or `SKU=QTY@PRICE`.

use std::str::FromStr;

use crate::domain::quantity::Quantity;

/// An article, how much of it, and its price where it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) sku: String,
    pub(super) quantity: Quantity,
    pub(super) price_minor: Option<i64>,
}

impl FromStr for Item {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (rest, price) = match text.rsplit_once('@') {
            Some((rest, price)) => (rest, Some(price)),
            None => (text, None),
        };
        let (sku, quantity) = rest.split_once('=').unwrap_or((rest, "1"));
        if sku.is_empty() {
            return Err("an article is written SKU, SKU=QTY or SKU=QTY@PRICE_MINOR");
        }
        let quantity = quantity.parse().map_err(
            |_| "the quantity is a decimal with at most three places, such as 2 or 0.420",
        )?;
        let price = price.map(|price| price.parse().ok().filter(|price| *price >= 0));
        if price == Some(None) {
            return Err("the price is a whole number of minor units, such as 398 for 3.98");
        }
        Ok(Self { sku: sku.to_owned(), quantity, price_minor: price.flatten() })
    }
}

impl Item {
    /// Price times quantity in minor units, a half rounded up; none when it is too large.
    pub(super) fn amount_minor(&self, price_minor: i64) -> Option<i64> {
        let exact = i128::from(price_minor) * i128::from(self.quantity.thousandths());
        i64::try_from((exact + 500) / 1_000).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn articles_are_read_as_they_are_typed() {
        for (text, sku, thousandths, price_minor) in [
            ("10001", "10001", 1_000, None),
            ("10001=2", "10001", 2_000, None),
            ("10001=0.420@199", "10001", 420, Some(199)),
            ("10001@5", "10001", 1_000, Some(5)),
        ] {
            let item: Item = text.parse().expect("an article");
            assert_eq!((item.sku.as_str(), item.quantity.thousandths()), (sku, thousandths));
            assert_eq!(item.price_minor, price_minor, "{text}");
        }
        for text in ["", "=2", "10001=", "10001=two", "10001=1@", "10001=1@1.99", "10001=1@-5"] {
            assert!(text.parse::<Item>().is_err(), "{text}");
        }
    }

    #[test]
    fn half_a_cent_is_rounded_up() {
        let item: Item = "1=0.5@99".parse().expect("an article");
        assert_eq!(item.amount_minor(99), Some(50));
        let item: Item = "1=999999.999".parse().expect("an article");
        assert_eq!(item.amount_minor(i64::MAX), None);
    }
}
