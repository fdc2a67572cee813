//! A swipe as the till tells it, parsed and checked: the command that everything else follows.
//!
//! Values of these types satisfy every rule that can be judged from the message alone, except
//! those that [`Swipe::findings`] reports. Nothing here has a place in a database or in JSON.

use std::fmt;

use jiff::Timestamp;

use super::name::SwipeName;
use super::payment_card::{self, Field};
use super::quantity::Quantity;

/// Most lines of a swipe.
pub const LINES_MAX: usize = 500;
/// Most adjustments, and most redemptions, of a swipe.
pub const EXTRAS_MAX: usize = 100;
/// The largest amount of a line or an adjustment, in minor units.
pub const AMOUNT_MINOR_MAX: i64 = 1_000_000_000_000;

/// Most points that pay in one transaction.
pub const POINTS_MAX: i64 = 1_000_000_000_000;

/// One retail transaction, presented with a card or without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swipe {
    /// What identifies it.
    pub name: SwipeName,
    /// When it happened, by the till's clock.
    pub occurred_at: Timestamp,
    /// The card that was presented; well-formed.
    pub card: Option<String>,
    /// How the card was read.
    pub entry_method: Option<EntryMethod>,
    /// Who served.
    pub operator_id: Option<String>,
    /// Practice: recorded, but nobody earns.
    pub training: bool,
    /// Stored at the till and sent later. Not content: a retry may differ in it.
    pub offline: bool,
    /// What was sold and taken back, 1 to [`LINES_MAX`].
    pub lines: Vec<Line>,
    /// What else moved the total; earns nothing.
    pub adjustments: Vec<Adjustment>,
    /// What the customer paid, in minor units; may be negative.
    pub total_minor: i64,
    /// What the till gave for coupons, and for offers that are everybody's with a card.
    pub redemptions: Vec<Redemption>,
    /// Points that the till took as payment.
    pub points_spent: i64,
    /// What it gave for those, in minor units; not a part of the total, like any tender.
    pub points_value_minor: i64,
}

/// How a card came to the till (ARTS `EntryMethod`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryMethod {
    /// Read by a scanner.
    Scanned = 1,
    /// Typed in.
    Keyed = 2,
    /// Read from a magnetic stripe.
    Swiped = 3,
    /// Held near a reader.
    Contactless = 4,
    /// Found by something else, such as a telephone number.
    LookedUp = 5,
}

impl EntryMethod {
    /// All of them with their names on the wire.
    pub const NAMES: [(&str, Self); 5] = [
        ("scanned", Self::Scanned),
        ("keyed", Self::Keyed),
        ("swiped", Self::Swiped),
        ("contactless", Self::Contactless),
        ("looked-up", Self::LookedUp),
    ];
}

/// One article, sold or taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Number of the line, unique in its swipe.
    pub line: u16,
    /// Sold, or taken back.
    pub kind: LineKind,
    /// The article.
    pub sku: String,
    /// How much of it.
    pub quantity: Quantity,
    /// Before discounts, in minor units, ≥ 0.
    pub amount_minor: i64,
    /// Taken off by the till, in minor units, ≥ 0.
    pub discount_minor: i64,
}

impl Line {
    /// What the line adds to the total, in minor units, without its sign.
    pub fn net_minor(&self) -> i64 {
        self.amount_minor - self.discount_minor
    }
}

/// Sold, or taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// The customer bought it.
    Sale,
    /// The customer brought it back.
    Return {
        /// The line that it was sold on, where the till knows it.
        sold_on: Option<SoldOn>,
    },
}

/// A line of an earlier swipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoldOn {
    /// The earlier swipe.
    pub swipe: SwipeName,
    /// Its line.
    pub line: u16,
}

/// Moves the total without being an article.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// What it is.
    pub kind: AdjustmentKind,
    /// Signed, in minor units.
    pub amount_minor: i64,
}

/// What an adjustment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AdjustmentKind {
    /// Tax on top of the lines.
    Tax = 1,
    /// Bottle deposit and the like.
    Deposit = 2,
    /// Rounding to what coins can pay.
    Rounding = 3,
    /// A coupon that pays like money.
    TenderCoupon = 4,
}

impl AdjustmentKind {
    /// All of them with their names on the wire.
    pub const NAMES: [(&str, Self); 4] = [
        ("tax", Self::Tax),
        ("deposit", Self::Deposit),
        ("rounding", Self::Rounding),
        ("tender-coupon", Self::TenderCoupon),
    ];
}

/// Something for which the till gave a discount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redemption {
    /// What that was.
    pub ground: Ground,
    /// What the till gave for it, in minor units, ≥ 0.
    pub discount_minor: i64,
}

/// What a till gives a discount for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ground {
    /// A coupon that it took: its code, as scanned.
    Coupon(String),
    /// An offer that is everybody's with a card: what people call it.
    Offer(String),
}

impl Ground {
    /// How messages call it, and what it is called.
    fn named(&self) -> (&'static str, &str) {
        match self {
            Self::Coupon(code) => ("coupon", code),
            Self::Offer(name) => ("offer", name),
        }
    }
}

impl Redemption {
    /// The code of the coupon, as scanned; none where it is an offer that needs none.
    pub fn coupon(&self) -> Option<&str> {
        match &self.ground {
            Ground::Coupon(code) => Some(code),
            Ground::Offer(_) => None,
        }
    }

    /// The name of the offer that needs no coupon; none where it is a coupon.
    pub fn offer(&self) -> Option<&str> {
        match &self.ground {
            Ground::Coupon(_) => None,
            Ground::Offer(name) => Some(name),
        }
    }
}

/// How many coupons are among redemptions: what everybody gets says nothing about a customer.
pub fn coupons_among(redemptions: &[Redemption]) -> usize {
    redemptions.iter().filter(|redemption| redemption.coupon().is_some()).count()
}

/// A rule of the message that a swipe breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// JSON pointer (RFC 6901) to the place.
    pub pointer: String,
    /// What the rule is.
    pub detail: &'static str,
}

impl Swipe {
    /// Every rule of the message that the swipe breaks, in the order of the message.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Findings::default();
        let lines = self.lines.len();
        findings.require((1..=LINES_MAX).contains(&lines), "/lines", "1 to 500 lines are required");
        let extras = "at most 100 are accepted";
        findings.require(self.adjustments.len() <= EXTRAS_MAX, "/adjustments", extras);
        findings.require(self.redemptions.len() <= EXTRAS_MAX, "/redemptions", extras);

        let mut numbers: Vec<u16> = self.lines.iter().map(|line| line.line).collect();
        numbers.sort_unstable();
        let twice = numbers.windows(2).any(|pair| pair.first() == pair.last());
        findings.require(!twice, "/lines", "each line needs a number of its own");

        for (at, line) in self.lines.iter().enumerate() {
            let mut require = |holds, field, detail| {
                findings.require(holds, format_args!("/lines/{at}/{field}"), detail);
            };
            let amounts = "must lie within 0 and 1000000000000";
            let in_range = |minor: i64| (0..=AMOUNT_MINOR_MAX).contains(&minor);
            require(line.line > 0, "line", "lines are numbered from 1");
            require(is_text(&line.sku, 32), "sku", "1 to 32 printable characters");
            require(in_range(line.amount_minor), "amount_minor", amounts);
            require(in_range(line.discount_minor), "discount_minor", amounts);
        }
        for (at, adjustment) in self.adjustments.iter().enumerate() {
            findings.require(
                adjustment.amount_minor.unsigned_abs() <= AMOUNT_MINOR_MAX.unsigned_abs(),
                format_args!("/adjustments/{at}/amount_minor"),
                "must lie within -1000000000000 and 1000000000000",
            );
        }
        for (at, redemption) in self.redemptions.iter().enumerate() {
            let (field, text) = redemption.ground.named();
            findings.require(
                is_text(text, 64),
                format_args!("/redemptions/{at}/{field}"),
                "1 to 64 printable characters",
            );
            findings.require(
                (0..=AMOUNT_MINOR_MAX).contains(&redemption.discount_minor),
                format_args!("/redemptions/{at}/discount_minor"),
                "must lie within 0 and 1000000000000",
            );
        }
        if let Some(operator) = &self.operator_id {
            findings.require(is_text(operator, 32), "/operator_id", "1 to 32 printable characters");
        }
        findings.require(
            (0..=POINTS_MAX).contains(&self.points_spent),
            "/points_spent",
            "must lie within 0 and 1000000000000",
        );
        findings.require(
            (0..=AMOUNT_MINOR_MAX).contains(&self.points_value_minor),
            "/points_value_minor",
            "must lie within 0 and 1000000000000",
        );
        findings.require(
            self.points_spent != 0 || self.points_value_minor <= 0,
            "/points_value_minor",
            "no points were spent that could be worth something",
        );
        // Only sums of amounts within their limits cannot overflow.
        if findings.0.is_empty() {
            findings.require(
                self.sum_minor() == self.total_minor,
                "/total_minor",
                "lines less their discounts, returns counted negative, and adjustments must add \
                 up to it",
            );
        }
        findings.0
    }

    /// The card, when the transaction is for a customer: training is for nobody.
    pub fn customer_card(&self) -> Option<&str> {
        self.card.as_deref().filter(|_| !self.training)
    }

    /// Whether one of the texts that a till may fill freely holds a payment-card number.
    pub fn holds_payment_card(&self) -> bool {
        let text = |value: &str| payment_card::found_in(value, Field::Text);
        let sold_on = |line: &Line| match &line.kind {
            LineKind::Return { sold_on: Some(SoldOn { swipe, .. }) } => {
                text(&swipe.store_id) || text(&swipe.workstation_id)
            }
            _ => false,
        };
        self.operator_id.as_deref().is_some_and(text)
            || self.lines.iter().any(|line| payment_card::found_in(&line.sku, Field::Sku))
            || self.lines.iter().any(sold_on)
            || self.redemptions.iter().any(|redemption| text(redemption.ground.named().1))
    }

    fn sum_minor(&self) -> i64 {
        let lines = self.lines.iter().map(|line| match line.kind {
            LineKind::Sale => line.net_minor(),
            LineKind::Return { .. } => -line.net_minor(),
        });
        lines.chain(self.adjustments.iter().map(|adjustment| adjustment.amount_minor)).sum()
    }
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    /// The pointer is written only when it is needed: a basket of ten lines has forty.
    fn require(&mut self, holds: bool, pointer: impl fmt::Display, detail: &'static str) {
        if !holds {
            self.0.push(Finding { pointer: pointer.to_string(), detail });
        }
    }
}

fn is_text(value: &str, characters_max: usize) -> bool {
    (1..=characters_max).contains(&value.chars().count()) && !value.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn line(number: u16, kind: LineKind, amount_minor: i64, discount_minor: i64) -> Line {
        let quantity = Quantity::from_thousandths(1000).expect("in range");
        Line { line: number, kind, sku: "1095275".into(), quantity, amount_minor, discount_minor }
    }

    fn swipe(lines: Vec<Line>, total_minor: i64) -> Swipe {
        Swipe {
            name: SwipeName {
                store_id: "0367".into(),
                workstation_id: "03".into(),
                business_date: date(2026, 3, 14),
                sequence_number: 1,
            },
            occurred_at: "2026-03-14T16:53:26Z".parse().expect("a timestamp"),
            card: None,
            entry_method: None,
            operator_id: None,
            training: false,
            offline: false,
            lines,
            adjustments: vec![],
            total_minor,
            redemptions: vec![],
            points_spent: 0,
            points_value_minor: 0,
        }
    }

    fn pointers(swipe: &Swipe) -> Vec<String> {
        swipe.findings().into_iter().map(|finding| finding.pointer).collect()
    }

    #[test]
    fn the_total_is_lines_less_discounts_less_returns_plus_adjustments() {
        let returned = LineKind::Return { sold_on: None };
        let lines = vec![line(1, LineKind::Sale, 398, 40), line(2, returned, 250, 0)];
        let mut swipe = swipe(lines, 117);
        swipe.adjustments.push(Adjustment { kind: AdjustmentKind::Tax, amount_minor: 9 });
        assert_eq!(pointers(&swipe), [""; 0]);
        swipe.total_minor = 118;
        assert_eq!(pointers(&swipe), ["/total_minor"]);
    }

    #[test]
    fn zero_amounts_and_negative_totals_are_legal() {
        assert_eq!(pointers(&swipe(vec![line(1, LineKind::Sale, 0, 0)], 0)), [""; 0]);
        let returned = LineKind::Return { sold_on: None };
        assert_eq!(pointers(&swipe(vec![line(1, returned, 250, 0)], -250)), [""; 0]);
    }

    #[test]
    fn each_broken_rule_is_pointed_at() {
        let mut bad =
            swipe(vec![line(1, LineKind::Sale, -1, 0), line(1, LineKind::Sale, 1, -1)], 0);
        bad.lines.push(line(0, LineKind::Sale, AMOUNT_MINOR_MAX + 1, 0));
        bad.lines.push(Line { sku: "a\u{0}b".into(), ..line(4, LineKind::Sale, 0, 0) });
        let (coupon, offer) = (Ground::Coupon(String::new()), Ground::Offer("a".repeat(65)));
        bad.redemptions.push(Redemption { ground: coupon, discount_minor: -1 });
        bad.redemptions.push(Redemption { ground: offer, discount_minor: 0 });
        bad.points_spent = -1;
        bad.points_value_minor = -1;
        assert_eq!(
            pointers(&bad),
            [
                "/lines",
                "/lines/0/amount_minor",
                "/lines/1/discount_minor",
                "/lines/2/line",
                "/lines/2/amount_minor",
                "/lines/3/sku",
                "/redemptions/0/coupon",
                "/redemptions/0/discount_minor",
                "/redemptions/1/offer",
                "/points_spent",
                "/points_value_minor",
            ]
        );
        assert_eq!(pointers(&swipe(vec![], 0)), ["/lines"]);
        let many = (1..=501).map(|number| line(number, LineKind::Sale, 0, 0)).collect();
        assert_eq!(pointers(&swipe(many, 0)), ["/lines"]);
    }

    #[test]
    fn points_that_pay_move_no_total_and_a_value_needs_points() {
        let sale = swipe(vec![line(1, LineKind::Sale, 398, 0)], 398);
        for (points_spent, points_value_minor, wrong) in [
            (0, 0, None),
            (100, 100, None),
            (100, 0, None),
            (POINTS_MAX, AMOUNT_MINOR_MAX, None),
            (0, 1, Some("/points_value_minor")),
            (1, -1, Some("/points_value_minor")),
            (1, AMOUNT_MINOR_MAX + 1, Some("/points_value_minor")),
            (-1, 0, Some("/points_spent")),
            (POINTS_MAX + 1, 0, Some("/points_spent")),
        ] {
            let sale = Swipe { points_spent, points_value_minor, ..sale.clone() };
            let wrong: Vec<&str> = wrong.into_iter().collect();
            assert_eq!(pointers(&sale), wrong, "{points_spent} for {points_value_minor}");
        }
    }

    #[test]
    fn a_payment_card_is_found_in_every_free_text() {
        let clean = swipe(vec![line(1, LineKind::Sale, 0, 0)], 0);
        assert!(!clean.holds_payment_card());
        let number = "4111 1111 1111 1111".to_owned();
        assert!(Swipe { operator_id: Some(number.clone()), ..clean.clone() }.holds_payment_card());
        let mut in_sku = clean.clone();
        in_sku.lines[0].sku.clone_from(&number);
        assert!(in_sku.holds_payment_card());
        for ground in [Ground::Coupon(number.clone()), Ground::Offer(number)] {
            let redemptions = vec![Redemption { ground, discount_minor: 0 }];
            assert!(Swipe { redemptions, ..clean.clone() }.holds_payment_card());
        }
        let swipe = "4111111111111111/01/2026-03-10/1".parse().expect("a name");
        let sold_on = Some(SoldOn { swipe, line: 1 });
        let lines = vec![line(1, LineKind::Return { sold_on }, 0, 0)];
        assert!(Swipe { lines, ..clean }.holds_payment_card());
    }
}
