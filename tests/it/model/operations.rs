//! What may happen to the model, drawn at random: the reference of the state machines.
//!
//! Decides what is drawn and what is left out; never what follows from it.

use std::fmt;

use jiff::civil::Date;
use jiff::{Span, ToSpan as _};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::Union;
use proptest_state_machine::ReferenceStateMachine;

use super::account::Key;
use super::chain::{Answer, Chain, Line, Name, Programme, Purchase, Way};
use super::coupons::Delivery;
use super::purchase::Taken;
use super::tickets::{OnOffer, codes_are_certain, ticket};
use super::tiers::Tiers;

/// The server's date, where there is no server.
const TODAY: Date = Date::constant(2026, 3, 14);

/// Coupons that people issue in a case, at most.
const COUPONS_MAX: usize = 40;

/// Cards that a case plays with.
pub(crate) const CARDS: u8 = 5;

/// One call of a till, of people, or of the clock.
#[derive(Clone, PartialEq)]
pub(crate) enum Operation {
    /// A transaction: new, once more, or something else under its name.
    Swipe(Purchase),
    /// The void of a transaction, which may not have come yet.
    Void(Name),
    /// An enrolment, or a link to the account of another card.
    Enrol { card: u8, link_to: Option<u8> },
    /// Points given or taken by people, under an id.
    Adjust { id: i64, card: u8, date: Date, points: i64 },
    /// What has run out is written off, on an account that nobody visits.
    Sweep { card: u8, date: Date },
    /// A coupon of an offer, for the account of a card.
    Issue { offer: usize, card: u8, on: Date },
    /// A coupon is taken back.
    Revoke { coupon: usize },
}

impl Operation {
    /// Lets it happen to the model.
    pub(crate) fn apply(&self, chain: &mut Chain) -> Answer {
        let account = |chain: &Chain, card: u8| chain.account_of(card).expect("a precondition");
        match self {
            Self::Swipe(purchase) => chain.swipe(purchase),
            Self::Void(name) => chain.void(*name),
            Self::Enrol { card, link_to } => chain.enrol(*card, *link_to),
            Self::Adjust { id, card, date, points } => {
                chain.adjust(*id, account(chain, *card), *date, *points)
            }
            Self::Sweep { card, date } => chain.sweep(account(chain, *card), *date),
            Self::Issue { offer, card, on } => chain.issue(*offer, account(chain, *card), *on),
            Self::Revoke { coupon } => chain.revoke(*coupon),
        }
    }
}

impl ReferenceStateMachine for Chain {
    type State = Self;
    type Transition = Operation;

    /// One card may begin with what an import brought: points of other months than those that a
    /// programme makes, some of which cannot be spent yet.
    fn init_state() -> BoxedStrategy<Self> {
        let lots = prop::collection::vec((-500..200_i64, 0..400_i64, 1..60_i64), 0..3);
        let begin = (programme(), lots).prop_map(|(programme, lots)| {
            let mut chain = Chain::new(programme, TODAY);
            for (from, days, points) in lots {
                let available_from = TODAY + from.days();
                let key = Key { expires_on: available_from + days.days(), available_from };
                chain.import(0, points, key);
            }
            chain
        });
        begin.boxed()
    }

    fn transitions(chain: &Self) -> BoxedStrategy<Operation> {
        let fresh = name(chain);
        let card = prop::option::of(0..CARDS);
        let mut ways = vec![
            (20, purchase(chain).prop_map(Operation::Swipe).boxed()),
            (1, fresh.clone().prop_map(Operation::Void).boxed()),
            (
                2,
                (0..CARDS, card.clone())
                    .prop_map(|(card, link_to)| Operation::Enrol { card, link_to })
                    .boxed(),
            ),
        ];
        let known: Vec<Purchase> =
            chain.names.iter().filter_map(|named| named.purchase.clone()).collect();
        if !known.is_empty() {
            let known = (select(known), 0..7_u8, 1..500_i64, card);
            let known = known.prop_map(|(mut purchase, what, minor, card)| match what {
                0..4 => Operation::Void(purchase.name),
                4..6 => Operation::Swipe(purchase),
                _ => {
                    purchase.tax_minor += minor;
                    purchase.card = card.or(purchase.card);
                    Operation::Swipe(purchase)
                }
            });
            ways.push((7, known.boxed()));
        }
        let used: Vec<u8> = chain.cards.iter().map(|(card, _)| *card).collect();
        let offers = chain.coupons.offers.iter().enumerate();
        let personal = |(at, offer): (usize, &super::coupons::Offer)| {
            matches!(offer.delivery, Delivery::Personal { .. }).then_some(at)
        };
        let personal: Vec<usize> = offers.filter_map(personal).collect();
        let coupons = chain.coupons.count();
        if !used.is_empty() && !personal.is_empty() && coupons < COUPONS_MAX {
            let issue = (select(personal), select(used.clone()), fresh.clone());
            let issue = issue.prop_map(|(offer, card, name)| Operation::Issue {
                offer,
                card,
                on: name.business_date,
            });
            ways.push((7, issue.boxed()));
        }
        if coupons > 0 {
            let revoke = (0..coupons).prop_map(|coupon| Operation::Revoke { coupon });
            ways.push((1, revoke.boxed()));
        }
        if !used.is_empty() {
            let next = i64::try_from(chain.adjustments.len()).expect("a short case");
            let adjust = (select(used.clone()), fresh.clone(), -30..50_i64);
            let adjust = adjust.prop_map(move |(card, name, points)| {
                let date = name.business_date;
                Operation::Adjust { id: next, card, date, points }
            });
            ways.push((2, adjust.boxed()));
            // Now and then a customer does not come until everything has run out.
            let months = chain.programme.months + 1;
            let later = prop_oneof![3 => Just(0_i64), 1 => Just(months)];
            let sweep = (select(used), fresh.clone(), later).prop_map(|(card, name, months)| {
                let date = name.business_date.saturating_add(months.months());
                Operation::Sweep { card, date }
            });
            ways.push((1, sweep.boxed()));
        }
        let made: Vec<(i64, u8, i64)> = chain
            .adjustments
            .iter()
            .filter_map(|made| {
                let account = chain.heir_of(made.account);
                let (card, _) = chain.cards.iter().find(|(_, of)| *of == account)?;
                Some((made.id, *card, made.points))
            })
            .collect();
        if !made.is_empty() {
            let again = (select(made), fresh, prop_oneof![2 => Just(0_i64), 1 => Just(3)]);
            let again = again.prop_map(|((id, card, points), name, more)| {
                let date = name.business_date;
                Operation::Adjust { id, card, date, points: points + more }
            });
            ways.push((1, again.boxed()));
        }
        Union::new_weighted(ways).boxed()
    }

    fn apply(mut chain: Self, operation: &Operation) -> Self {
        operation.apply(&mut chain);
        chain
    }

    fn preconditions(chain: &Self, operation: &Operation) -> bool {
        match operation {
            Operation::Swipe(purchase) => {
                let named = chain.named(purchase.name);
                named.is_some_and(|named| named.purchase.is_some())
                    || returns_are_in_order(chain, purchase) && codes_are_certain(chain, purchase)
            }
            // Known gap: a return, then a void of its sale.
            Operation::Void(name) => {
                chain.named(*name).is_none_or(|named| named.voided || named.returned.is_empty())
            }
            Operation::Enrol { card, link_to } => *link_to != Some(*card),
            // An id is one of its account; whose it is in another one is another matter.
            Operation::Adjust { id, card, points, .. } => {
                let account = chain.account_of(*card);
                let mut made = chain.adjustments.iter().filter(|made| made.id == *id);
                *points != 0
                    && account.is_some()
                    && made.all(|made| Some(chain.heir_of(made.account)) == account)
            }
            Operation::Sweep { card, .. } | Operation::Issue { card, .. } => {
                chain.account_of(*card).is_some()
            }
            Operation::Revoke { coupon } => *coupon < chain.coupons.count(),
        }
    }
}

/// Each line comes back once, to the account that it was bought on. Known gaps: more often, and
/// to another one.
fn returns_are_in_order(chain: &Chain, purchase: &Purchase) -> bool {
    let account = purchase.customer().and_then(|card| chain.account_of(card));
    let mut seen = Vec::new();
    purchase.lines.iter().all(|line| {
        let Way::BackFrom { name, line: number } = line.way else { return true };
        let Some(named) = chain.named(name) else { return true };
        let Some(sale) = &named.purchase else { return false };
        let once = !named.returned.contains(&number) && !seen.contains(&(name, number));
        seen.push((name, number));
        let sold = sale.lines.get(number.wrapping_sub(1)).is_some_and(|it| it.way == Way::Sold);
        let own = named.account.map(|account| chain.heir_of(account));
        once && sold && own.is_some() && own == account
    })
}

/// A name that nothing stands under yet. Days go on with the case, with some that come late.
fn name(chain: &Chain) -> impl Strategy<Value = Name> + Clone + use<> {
    let number = chain.names.iter().map(|named| named.name.number).max().unwrap_or(0) + 1;
    let days: i64 = 7 * i64::try_from(chain.names.len()).expect("a short case");
    let now = chain.today.saturating_add(Span::new().days(days - 500));
    let near = (-60..30_i64).prop_map(move |days| now.saturating_add(days.days()));
    let at_month_end = (near.clone(), 0..3_i64)
        .prop_map(|(date, days)| date.last_of_month().saturating_add((days - 1).days()));
    prop_oneof![3 => near, 1 => at_month_end]
        .prop_map(move |business_date| Name { business_date, number })
}

fn purchase(chain: &Chain) -> impl Strategy<Value = Purchase> + use<> {
    let tombstones: Vec<Name> = chain
        .names
        .iter()
        .filter(|named| named.purchase.is_none())
        .map(|named| named.name)
        .collect();
    let name = match tombstones.is_empty() {
        true => name(chain).boxed(),
        false => prop_oneof![4 => name(chain), 1 => select(tombstones)].boxed(),
    };
    let card = prop_oneof![15 => (0..CARDS).prop_map(Some), 1 => Just(None)];
    let training = prop::bool::weighted(0.04);
    // What the till gave for points is its own affair, whatever the programme says.
    let paid = prop_oneof![
        3 => Just((0_i64, 0_i64)),
        1 => (1..40_i64).prop_map(|points| (points, points)),
        1 => (1..4_000_i64, 0..100_i64),
    ];
    let tax_minor = prop_oneof![2 => Just(0_i64), 1 => 0..200_i64];
    let lines = prop::collection::vec(line(), 1..4);
    let bought = returnable(chain);
    let on_offer = OnOffer::of(chain);
    let tickets = match chain.coupons.offers.is_empty() {
        true => Just(Vec::new()).boxed(),
        false => prop::collection::vec(ticket(), 0..4).boxed(),
    };
    (name, card, training, paid, tax_minor, lines, tickets).prop_map(
        move |(name, card, training, paid, tax_minor, drawn, tickets)| {
            let (points_spent, points_value_minor) = paid;
            let lines = drawn.into_iter().map(|line| line.of(card, &bought)).collect();
            let taken = tickets.iter().map(|ticket| ticket.of(card, &on_offer)).collect();
            Purchase {
                name,
                card,
                training,
                lines,
                tax_minor,
                points_spent,
                points_value_minor,
                taken,
            }
        },
    )
}

/// A line as it is drawn: which article comes back depends on the card.
#[derive(Clone, Debug)]
struct Drawn {
    line: Line,
    /// Which of the things that this customer has bought comes back.
    back: Option<Index>,
}

impl Drawn {
    fn of(self, card: Option<u8>, bought: &[(u8, Way, i64)]) -> Line {
        let mut line = self.line;
        let own: Vec<_> = bought.iter().filter(|(of, ..)| Some(*of) == card).collect();
        if let Some(back) = self.back.filter(|_| !own.is_empty()) {
            let (_, way, quantity) = own[back.index(own.len())];
            line.way = *way;
            line.quantity = line.quantity.min(*quantity);
        }
        line
    }
}

fn line() -> impl Strategy<Value = Drawn> {
    let quantity = prop_oneof![
        4 => Just(1_000_i64), 4 => Just(3_000), 1 => Just(0), 2 => 1..5_000_i64,
    ];
    let amount = prop_oneof![12 => 0..1_500_i64, 1 => Just(0), 1 => 0..1_000_000_000_i64];
    let discount = prop_oneof![3 => Just(0_i64), 1 => 0..=100_i64];
    let nowhere = Way::BackFrom {
        name: Name { business_date: Date::constant(2026, 1, 1), number: 0 },
        line: 1,
    };
    let way = prop_oneof![14 => Just(Way::Sold), 2 => Just(Way::Back), 1 => Just(nowhere)];
    let back = prop::option::weighted(0.2, any::<Index>());
    (prop::bool::weighted(0.1), quantity, amount, discount, way, back).prop_map(
        |(no_points, quantity, amount_minor, percent, way, back)| {
            let discount_minor = amount_minor * percent / 100;
            let line = Line { no_points, quantity, amount_minor, discount_minor, way };
            Drawn { line, back }
        },
    )
}

/// What was bought with each card and has not come back yet, with its quantity.
fn returnable(chain: &Chain) -> Vec<(u8, Way, i64)> {
    let mut lines = Vec::new();
    for (card, account) in &chain.cards {
        for named in &chain.names {
            let own = named.account.map(|account| chain.heir_of(account));
            let (Some(sale), true) = (&named.purchase, own == Some(*account)) else { continue };
            for (line, sold) in (1..).zip(&sale.lines) {
                if sold.way == Way::Sold && !named.returned.contains(&line) {
                    let way = Way::BackFrom { name: named.name, line };
                    lines.push((*card, way, sold.quantity));
                }
            }
        }
    }
    lines
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.business_date, self.number)
    }
}

/// One operation on one line: what a failing case is read as.
impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Swipe(purchase) => write!(f, "swipe {purchase:?}"),
            Self::Void(name) => write!(f, "void {name:?}"),
            Self::Enrol { card, link_to: None } => write!(f, "enrol card {card}"),
            Self::Enrol { card, link_to: Some(to) } => write!(f, "link card {card} to {to}"),
            Self::Adjust { id, card, date, points } => {
                write!(f, "adjust card {card} by {points} on {date} under {id}")
            }
            Self::Sweep { card, date } => write!(f, "sweep card {card} on {date}"),
            Self::Issue { offer, card, on } => {
                write!(f, "issue offer {offer} to card {card} on {on}")
            }
            Self::Revoke { coupon } => write!(f, "revoke coupon {coupon}"),
        }
    }
}

impl fmt::Debug for Purchase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name)?;
        if let Some(card) = self.card {
            write!(f, " card {card}")?;
        }
        if self.training {
            write!(f, " training")?;
        }
        if self.points_spent > 0 {
            write!(f, " spends {} for {}", self.points_spent, self.points_value_minor)?;
        }
        for line in &self.lines {
            let Line { quantity, amount_minor, discount_minor, .. } = line;
            match line.way {
                Way::Sold => write!(f, ", sold")?,
                Way::Back => write!(f, ", back")?,
                Way::BackFrom { name, line } => write!(f, ", back from {name:?} line {line}")?,
            }
            let points = if line.no_points { " without points" } else { "" };
            write!(f, " {quantity}/1000 for {amount_minor} less {discount_minor}{points}")?;
        }
        if self.tax_minor > 0 {
            write!(f, ", tax {}", self.tax_minor)?;
        }
        for Taken { what, minor } in &self.taken {
            write!(f, ", {minor} for {what:?}")?;
        }
        Ok(())
    }
}

/// Programmes of all kinds: rates that divide and rates that do not, points that last and
/// points that hardly do, with tiers and without, with rules that have caps of their own.
fn programme() -> impl Strategy<Value = Programme> {
    let rate = prop_oneof![Just((1, 100)), Just((3, 200)), Just((7, 130)), Just((10_000, 1))];
    let months = prop_oneof![2 => Just(24), 1 => Just(0), 2 => 1..7_i64];
    let per_day = prop_oneof![1 => Just(0), 2 => 1..2_000_i64];
    let tiers = prop_oneof![1 => Just(None), 3 => tiers().prop_map(Some)];
    let most = || prop_oneof![1 => Just(0), 2 => 1..30_i64];
    let per_item = prop_oneof![1 => Just(0), 1 => 1..9_i64];
    let rules = (most(), any::<bool>(), per_item, most());
    (rate, months, per_day, tiers, rules).prop_map(
        |((points, per_minor), months, per_day, tiers, rules)| {
            let (doubling_most, half_more, per_item, items_most) = rules;
            // No minor unit earns more than 10,000 points, twice as many included.
            let may_double = points * 2 <= per_minor * 10_000;
            let tiers = tiers.map(|tiers: Tiers| Tiers {
                doubles_from: if may_double { tiers.doubles_from } else { 0 },
                ..tiers
            });
            let half_more = half_more && may_double;
            Programme {
                points,
                per_minor,
                months,
                per_day,
                tiers,
                doubling_most,
                half_more,
                per_item,
                items_most,
            }
        },
    )
}

/// Tiers that are reached by a basket or by many, and kept for long or not at all.
fn tiers() -> impl Strategy<Value = Tiers> {
    let lowest = prop_oneof![1 => Just(0), 4 => 1..2_000_i64];
    let thresholds = (lowest, 1..3_000_i64, 1..9_000_i64)
        .prop_map(|(lowest, more, most)| [lowest, lowest + more, lowest + more + most]);
    (thresholds, 1..7_i32, 0..4_i32, any::<bool>(), 0..4_usize).prop_map(
        |(thresholds, window, grace, steps, doubles_from)| Tiers {
            thresholds,
            window,
            grace,
            steps,
            doubles_from,
        },
    )
}
