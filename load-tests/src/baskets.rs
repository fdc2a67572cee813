//! What the tills sell, and what follows from it for the customer's points.
//!
//! Points are worked out here by the sentence that customers are told: one point for every whole
//! dollar, less what is brought back, less what is spent. It must never ask the service's own
//! rules: what the service books is judged by this.

use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;
use jiff::civil::Date;
use jiff::{Span, ToSpan as _};
use serde_json::{Value, json};

use crate::world::Workstation;

/// Money for one point.
const POINT_MINOR: i64 = 100;

/// Cards that come while the shop is open have numbers from here on.
const FIRST_NEW_CARD: u64 = 100_000_000;
/// Days before today of purchases whose points have run out: they last for two years, and to the
/// end of a month.
const RUN_OUT_DAYS: i64 = 3 * 366;

/// What all tills share.
#[derive(Debug)]
pub struct Shop {
    /// The customers. The first one is everywhere at once.
    pub cards: Vec<String>,
    /// How many in a hundred swipes are the first customer's.
    pub hot_percent: u8,
    /// The business dates on which things happen, the last of them today.
    pub dates: Vec<Date>,
    next_new_card: AtomicU64,
}

/// Who buys.
#[derive(Clone, Copy, Debug)]
pub enum Buyer<'a> {
    /// Somebody, with a card or without.
    Anybody,
    /// Somebody with this card.
    Holder(&'a str),
    /// Somebody with this card, so long ago that the points have run out by now. The card must
    /// not be used otherwise: what is left of its points would depend on what comes first.
    Forgotten(&'a str),
    /// Somebody who brings back what was bought then.
    Returning(&'a Sale),
}

/// A transaction, as the till keeps it.
#[derive(Clone, Debug)]
pub struct Sale {
    /// Store, workstation, business date and sequence number.
    pub name: String,
    /// What is sent.
    pub message: Value,
    /// Whose points it changes; none without a card and in training.
    pub card: Option<String>,
    /// By how much.
    pub points: i64,
    /// Its total.
    pub total_minor: i64,
    /// Whether its points have run out since.
    pub has_run_out: bool,
    /// Its first line, which may be brought back later.
    pub first_line: SoldLine,
}

/// A line that may be brought back.
#[derive(Clone, Debug)]
pub struct SoldLine {
    sku: String,
    quantity: String,
    amount_minor: i64,
    discount_minor: i64,
    /// What it earned: it is the first line, so nothing is carried over from others.
    points: i64,
}

impl Shop {
    /// A shop with so many customers, on a business date and the day before.
    pub fn new(customers: u64, today: Date) -> Self {
        let yesterday = today.yesterday().unwrap_or(today);
        Self {
            cards: (0..customers).map(card).collect(),
            hot_percent: 20,
            dates: vec![yesterday, today],
            next_new_card: AtomicU64::new(FIRST_NEW_CARD),
        }
    }

    /// A card that nobody has used.
    pub fn new_card(&self) -> String {
        card(self.next_new_card.fetch_add(1, Ordering::Relaxed))
    }

    /// A card of a customer that the shop began with, the busiest one often.
    pub fn old_card(&self, rng: &mut Rng) -> String {
        if rng.u8(0..4) == 0 { self.cards[0].clone() } else { self.family_card(rng) }
    }

    /// A card of somebody whose account a card may be put on. Seldom the busiest one's: families
    /// have a handful of cards, also when a run lasts for hours.
    pub fn family_card(&self, rng: &mut Rng) -> String {
        let at = if rng.u8(0..32) == 0 { 0 } else { rng.usize(0..self.cards.len()) };
        self.cards[at].clone()
    }

    /// The next transaction of a workstation.
    pub fn sale(
        &self,
        rng: &mut Rng,
        workstation: &Workstation,
        sequence_number: u64,
        buyer: Buyer<'_>,
    ) -> Sale {
        let date = *rng.choice(&self.dates).expect("a shop is open on some day");
        let has_run_out = matches!(buyer, Buyer::Forgotten(_));
        let date =
            if has_run_out { date.saturating_sub(Span::new().days(RUN_OUT_DAYS)) } else { date };
        let card = match buyer {
            Buyer::Anybody => self.customer(rng),
            Buyer::Holder(card) | Buyer::Forgotten(card) => Some(card.to_owned()),
            Buyer::Returning(sale) => sale.card.clone(),
        };
        let mut lines = Lines::default();
        let first_line = random_line(rng);
        lines.sell(&first_line);
        for _ in 0..rng.u8(0..10) {
            let line = random_line(rng);
            let comes_back = rng.u8(0..100) < 6 && !has_run_out;
            if comes_back { lines.take_back(&line, None) } else { lines.sell(&line) }
        }
        if let Buyer::Returning(sale) = buyer {
            lines.take_back(&sale.first_line, Some(&sale.name));
        }
        let tax_minor = rng.i64(0..50);
        let total_minor = lines.total_minor + tax_minor;
        let spends = card.is_some() && rng.u8(0..100) < 30 && !has_run_out;
        let spent = if spends { rng.i64(1..200) } else { 0 };
        let training = rng.u8(0..100) < 2 && !has_run_out;

        let Workstation { store_id, workstation_id, .. } = workstation;
        let mut message = json!({
            "store_id": store_id,
            "workstation_id": workstation_id,
            "business_date": date,
            "sequence_number": sequence_number,
            "occurred_at": occurred_at(rng, date),
            "currency": "USD",
            "entry_method": "scanned",
            "training": training,
            "lines": lines.messages,
            "adjustments": [{ "kind": "tax", "amount_minor": tax_minor }],
            "total_minor": total_minor,
        });
        if let Some(card) = &card {
            message["card"] = card.as_str().into();
        }
        if spent > 0 {
            message["points_spent"] = spent.into();
            message["points_value_minor"] = spent.into();
        }
        let card = card.filter(|_| !training);
        let points = if card.is_some() { lines.points() - spent } else { 0 };
        let name = format!("{store_id}/{workstation_id}/{date}/{sequence_number}");
        Sale { name, message, card, points, total_minor, has_run_out, first_line }
    }

    /// The first customer often; the others the more rarely the further down they stand.
    fn customer(&self, rng: &mut Rng) -> Option<String> {
        match rng.u8(0..100) {
            0..6 => None,
            n if n - 6 < self.hot_percent => self.cards.first().cloned(),
            _ => {
                // Uniform in the logarithm of the rank: Zipf's law.
                let others = f64::from(u32::try_from(self.cards.len()).unwrap_or(u32::MAX));
                let rank = others.powf(rng.f64());
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a rank lies between 1 and the number of cards"
                )]
                let at = rank as usize;
                self.cards.get(at.min(self.cards.len() - 1)).cloned()
            }
        }
    }
}

impl Sale {
    /// What is sent, now or later; only the mark of a stored transaction differs.
    pub fn body(&self, offline: bool) -> String {
        let mut message = self.message.clone();
        if offline {
            message["offline"] = true.into();
        }
        message.to_string()
    }

    /// Another transaction under the same name.
    pub fn another_content(&self) -> String {
        let mut message = self.message.clone();
        message["total_minor"] = (self.total_minor + 1).into();
        let tax_minor = message["adjustments"][0]["amount_minor"].as_i64().unwrap_or(0);
        message["adjustments"][0]["amount_minor"] = (tax_minor + 1).into();
        message.to_string()
    }
}

/// A well-formed card.
fn card(number: u64) -> String {
    let digits = format!("299{number:09}");
    let check = char::from(tillside::domain::card::check_digit(&digits));
    format!("{digits}{check}")
}

#[derive(Default)]
struct Lines {
    messages: Vec<Value>,
    total_minor: i64,
    sold_minor: i64,
    /// Brought back without saying from where: by its worth.
    taken_back_minor: i64,
    /// Brought back from a line that is known: what that line earned.
    taken_back_points: i64,
}

impl Lines {
    fn sell(&mut self, line: &SoldLine) {
        let net_minor = self.push(line, "sale");
        self.total_minor += net_minor;
        self.sold_minor += net_minor;
    }

    fn take_back(&mut self, line: &SoldLine, sold_on: Option<&str>) {
        let net_minor = self.push(line, "return");
        self.total_minor -= net_minor;
        match (sold_on, self.messages.last_mut()) {
            (Some(name), Some(message)) => {
                message["returns"] = json!({ "swipe": name, "line": 1 });
                self.taken_back_points += line.points;
            }
            _ => self.taken_back_minor += net_minor,
        }
    }

    fn push(&mut self, line: &SoldLine, kind: &str) -> i64 {
        self.messages.push(json!({
            "line": self.messages.len() + 1,
            "kind": kind,
            "sku": line.sku,
            "quantity": line.quantity,
            "amount_minor": line.amount_minor,
            "discount_minor": line.discount_minor,
        }));
        line.amount_minor - line.discount_minor
    }

    fn points(&self) -> i64 {
        let earned = self.sold_minor / POINT_MINOR;
        earned - self.taken_back_minor / POINT_MINOR - self.taken_back_points
    }
}

fn random_line(rng: &mut Rng) -> SoldLine {
    let amount_minor = rng.i64(0..4_000);
    let discount_minor = if rng.u8(0..5) == 0 { rng.i64(0..=amount_minor) } else { 0 };
    SoldLine {
        sku: rng.u32(1..400).to_string(),
        quantity: format!("{}.{:03}", rng.u8(1..9), rng.u16(0..1_000)),
        amount_minor,
        discount_minor,
        points: (amount_minor - discount_minor) / POINT_MINOR,
    }
}

/// Noon, give or take what the clocks of tills are wrong by.
fn occurred_at(rng: &mut Rng, date: Date) -> String {
    let noon = date.at(16, 0, 0, 0);
    let wrong_by: Span = rng.i64(-5 * 3_600..=5 * 3_600).seconds();
    let at = noon.checked_add(wrong_by).unwrap_or(noon);
    format!("{at}Z")
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn what_a_message_says_adds_up() {
        let shop = Shop::new(50, date(2026, 3, 14));
        let workstation = Workstation {
            store_id: "0001".into(),
            workstation_id: "01".into(),
            keyid: "0001/01.1".into(),
            secret: [0; 32],
        };
        let mut rng = Rng::with_seed(1);
        let mut earlier: Option<Sale> = None;
        for sequence_number in 0..500 {
            let returned = earlier.as_ref().filter(|_| sequence_number % 3 == 0);
            let buyer = returned.map_or(Buyer::Anybody, Buyer::Returning);
            let sale = shop.sale(&mut rng, &workstation, sequence_number, buyer);
            let number = |value: &Value| value.as_i64().expect("a number");
            let (mut total_minor, mut sold_minor, mut returned_minor) = (0, 0, 0);
            let mut known_points = 0;
            for line in sale.message["lines"].as_array().expect("a list") {
                let net_minor = number(&line["amount_minor"]) - number(&line["discount_minor"]);
                match (line["kind"].as_str(), line["returns"].is_null()) {
                    (Some("sale"), _) => sold_minor += net_minor,
                    (_, true) => returned_minor += net_minor,
                    (_, false) => {
                        total_minor -= net_minor;
                        known_points += net_minor / 100;
                    }
                }
            }
            total_minor += sold_minor - returned_minor;
            total_minor += number(&sale.message["adjustments"][0]["amount_minor"]);
            assert_eq!(number(&sale.message["total_minor"]), total_minor);
            let spent = sale.message["points_spent"].as_i64().unwrap_or(0);
            let points = sold_minor / 100 - returned_minor / 100 - known_points - spent;
            assert_eq!(sale.points, if sale.card.is_some() { points } else { 0 });
            earlier = Some(sale);
        }
    }
}
