//! What tills send to the model: transactions, their names and their lines.
//!
//! Owns what can be read off a transaction by itself; never what follows from it.

use jiff::civil::Date;

/// What a transaction is called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) business_date: Date,
    pub(crate) number: i64,
}

/// A transaction as a till sends it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Purchase {
    pub(crate) name: Name,
    pub(crate) card: Option<u8>,
    pub(crate) training: bool,
    pub(crate) lines: Vec<Line>,
    /// Tax on top: part of the total, earns nothing.
    pub(crate) tax_minor: i64,
    pub(crate) points_spent: i64,
    /// What the till gave for them.
    pub(crate) points_value_minor: i64,
    /// What else it gave something for.
    pub(crate) taken: Vec<Taken>,
}

/// A discount that a till gave for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) what: Given,
    pub(crate) minor: i64,
}

/// What a till gives a discount for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// A coupon, counted in the order in which they were issued.
    Coupon(usize),
    /// An offer that everybody with a card gets.
    Everybodys(usize),
    /// The code of an offer that anybody may use.
    Code(usize),
    /// A code that nobody has issued.
    Nothing,
}

/// An article sold or brought back; its number is its place, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// The article earns nothing, by the catalogue.
    pub(crate) no_points: bool,
    pub(crate) quantity: i64,
    pub(crate) amount_minor: i64,
    pub(crate) discount_minor: i64,
    pub(crate) way: Way,
}

/// Which way an article goes over the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Sold,
    /// Brought back by somebody who does not say from where.
    Back,
    /// Brought back from a line of a transaction.
    BackFrom {
        name: Name,
        line: usize,
    },
}

impl Purchase {
    /// The card, unless it is for nobody.
    pub(crate) fn customer(&self) -> Option<u8> {
        self.card.filter(|_| !self.training)
    }

    /// What the customer pays: points that are spent are a way to pay and change nothing.
    pub(crate) fn total_minor(&self) -> i64 {
        let signed = |line: &Line| match line.way {
            Way::Sold => line.net_minor(),
            Way::Back | Way::BackFrom { .. } => -line.net_minor(),
        };
        self.lines.iter().map(signed).sum::<i64>() + self.tax_minor
    }
}

impl Line {
    pub(crate) fn net_minor(&self) -> i64 {
        self.amount_minor - self.discount_minor
    }

    /// What of it earns, and counts towards tiers.
    pub(crate) fn qualifying_minor(&self) -> i64 {
        if self.no_points { 0 } else { self.net_minor() }
    }
}
