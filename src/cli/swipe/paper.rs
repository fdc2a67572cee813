//! The receipt as a till prints it: 42 columns, what most receipt printers have.

use std::fmt::Write as _;

use serde::Deserialize;

use super::Swiped;

const COLUMNS: usize = 42;

/// The part of the service's answer that is printed.
#[derive(Deserialize)]
pub(super) struct Answer {
    pub(super) swipe: String,
    pub(super) account: Option<String>,
    points: Points,
    tier: Option<Tier>,
    #[serde(default)]
    redemptions: Vec<Redemption>,
    #[serde(default)]
    pub(super) coupons: Vec<Coupon>,
    messages: Vec<String>,
}

/// The part of the answer about the card that is printed.
#[derive(Default, Deserialize)]
pub(super) struct Held {
    pub(super) coupons: Vec<Coupon>,
}

#[derive(Deserialize)]
struct Redemption {
    coupon: Option<String>,
    offer: Option<String>,
    outcome: String,
}

#[derive(Deserialize)]
pub(super) struct Coupon {
    pub(super) coupon: String,
    headline: String,
    #[serde(default)]
    pub(super) valid_from: String,
    valid_until: String,
    reason: Reason,
}

#[derive(Deserialize)]
struct Reason {
    text: String,
}

#[derive(Deserialize)]
struct Tier {
    name: Option<String>,
    to_next_minor: Option<i64>,
}

#[derive(Deserialize)]
struct Points {
    earned: i64,
    pending: i64,
    spent: i64,
    #[serde(default)]
    short: i64,
    reversed: i64,
    balance: Option<i64>,
    spendable: Option<i64>,
    next_expiry: Option<NextExpiry>,
}

#[derive(Deserialize)]
struct NextExpiry {
    points: i64,
    on: String,
}

/// The whole receipt, and what the customer holds besides, without a line feed at its end.
pub(super) fn receipt(swiped: &Swiped, answer: &Answer, held: &[Coupon], replayed: bool) -> String {
    let mut paper = Paper::default();
    let header = format!("STORE {}  TILL {}", swiped.store_id, swiped.workstation_id);
    paper.pair(&header, &swiped.printed_at);
    paper.text(&answer.swipe);
    if let Some(card) = &swiped.card {
        paper.pair("Card", card);
    }
    paper.rule();
    for line in &swiped.lines {
        let sign = if line.is_return { -1 } else { 1 };
        let amount = money(sign * line.amount_minor);
        let name = if line.is_return { format!("RETURN {}", line.name) } else { line.name.clone() };
        if line.quantity.thousandths() == 1_000 {
            paper.pair(&name, &amount);
        } else {
            paper.text(&name);
            paper.pair(&format!("  {} x {}", line.quantity, money(line.price_minor)), &amount);
        }
        for (words, off) in &line.off {
            paper.pair(&format!("  {words}"), &money(-off));
        }
    }
    paper.rule();
    paper.pair(&format!("TOTAL {}", swiped.currency), &money(swiped.total_minor));
    let saved_minor: i64 = swiped.given.iter().map(|given| given.discount_minor).sum();
    if saved_minor != 0 {
        paper.pair("You saved with your card", &money(saved_minor));
    }
    if swiped.points_spent != 0 {
        let paid = format!("  paid with {} points", swiped.points_spent);
        paper.pair(&paid, &money(swiped.points_value_minor));
    }
    paper.rule();
    let points = &answer.points;
    paper.pair("Points earned", &points.earned.to_string());
    if points.spent != 0 {
        paper.pair("Points spent", &(-points.spent).to_string());
    }
    if points.short != 0 {
        paper.pair("of these not there, and owed", &points.short.to_string());
    }
    if points.reversed != 0 {
        paper.pair("Points taken back", &(-points.reversed).to_string());
    }
    if let Some(balance) = points.balance {
        paper.pair("Points balance", &balance.to_string());
    }
    if points.pending != 0 {
        paper.pair("of these not to be spent yet", &points.pending.to_string());
    }
    if let Some(spendable) = points.spendable.filter(|spendable| Some(*spendable) != points.balance)
    {
        paper.pair("Points to spend", &spendable.to_string());
    }
    if let Some(next) = &points.next_expiry {
        paper.pair(&format!("{} points expire after", next.points), &next.on);
    }
    if let Some(name) = answer.tier.as_ref().and_then(|tier| tier.name.as_ref()) {
        paper.pair("Your tier", name);
    }
    if let Some(to_next_minor) = answer.tier.as_ref().and_then(|tier| tier.to_next_minor) {
        paper.pair("To the next tier", &money(to_next_minor));
    }
    if let Some(account) = &answer.account {
        paper.pair("Account", account);
    }
    told(&mut paper, answer);
    for Coupon { coupon, headline, valid_until, reason, .. } in &answer.coupons {
        paper.rule();
        paper.text(headline);
        paper.text(&reason.text);
        paper.pair("Until", valid_until);
        paper.pair("Coupon", coupon);
    }
    if !held.is_empty() {
        paper.rule();
        paper.text("Waiting for you");
    }
    for Coupon { coupon, headline, valid_until, .. } in held {
        paper.text(headline);
        paper.pair(&format!("  until {valid_until}"), coupon);
    }
    if replayed {
        paper.rule();
        paper.text("This transaction was recorded before; nothing has changed.");
    }
    paper.0.truncate(paper.0.trim_end().len());
    paper.0
}

/// What did not count of what the till gave, and sentences.
fn told(paper: &mut Paper, answer: &Answer) {
    let is_other = |it: &&Redemption| it.outcome != "redeemed";
    let others: Vec<&Redemption> = answer.redemptions.iter().filter(is_other).collect();
    if !answer.messages.is_empty() || !others.is_empty() {
        paper.rule();
    }
    for Redemption { coupon, offer, outcome } in others {
        let what = coupon.as_ref().or(offer.as_ref()).map_or("", String::as_str);
        paper.pair(what, outcome);
    }
    for message in &answer.messages {
        paper.text(message);
    }
}

#[derive(Default)]
struct Paper(String);

impl Paper {
    /// Two texts at the two edges; over two lines when they do not fit beside each other.
    fn pair(&mut self, left: &str, right: &str) {
        let (left_width, right_width) = (left.chars().count(), right.chars().count());
        if left_width + 1 + right_width > COLUMNS {
            self.text(left);
            self.line(&format!("{right:>COLUMNS$}"));
        } else {
            let space = COLUMNS - left_width;
            self.line(&format!("{left}{right:>space$}"));
        }
    }

    /// A text, broken at spaces; indented ones stay indented.
    fn text(&mut self, text: &str) {
        let indent = &text[..text.len() - text.trim_start().len()];
        let mut line = indent.to_owned();
        for word in text.split_whitespace() {
            let begun = line.len() > indent.len();
            if begun && line.chars().count() + 1 + word.chars().count() > COLUMNS {
                self.line(&line);
                line = indent.to_owned();
            }
            if line.len() > indent.len() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.line(&line);
    }

    fn rule(&mut self) {
        self.line(&"-".repeat(COLUMNS));
    }

    fn line(&mut self, text: &str) {
        writeln!(self.0, "{text}").expect("writing to a String cannot fail");
    }
}

/// Minor units as people write them. The demo's currencies have two places.
fn money(minor: i64) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    let absolute = minor.unsigned_abs();
    format!("{sign}{}.{:02}", absolute / 100, absolute % 100)
}

#[cfg(test)]
mod tests {
    use super::super::{Given, PrintedLine};
    use super::*;

    #[test]
    fn a_receipt_is_aligned_and_no_wider_than_its_paper() {
        let line = |name: &str, quantity: &str, price_minor, amount_minor, is_return| PrintedLine {
            sku: "10001".to_owned(),
            name: name.to_owned(),
            quantity: quantity.parse().expect("a quantity"),
            price_minor,
            amount_minor,
            off: Vec::new(),
            is_return,
        };
        let milk = PrintedLine {
            off: vec![("Milk 3.79 a gallon with your card".to_owned(), 10)],
            ..line("Larkfield Whole milk 1 gal", "1", 389, 389, false)
        };
        let swiped = Swiped {
            store_id: "101".into(),
            workstation_id: "01".into(),
            printed_at: "2026-03-14 11:53".into(),
            card: Some("2990000000019".into()),
            currency: "USD".into(),
            lines: vec![
                milk,
                line("Bananas (lb)", "1.250", 69, 86, false),
                line("A name that is a little longer than a line has room", "1", 100, 100, true),
            ],
            total_minor: 365,
            given: vec![Given { offer: "member-milk".into(), discount_minor: 10 }],
            points_spent: 300,
            points_value_minor: 300,
        };
        let answer = serde_json::from_str(
            r#"{"swipe":"101/01/2026-03-14/1","account":"acc_000000000A1KV",
                "tier":{"name":"Silver","to_next_minor":12050},
                "points":{"earned":4,"pending":0,"spent":300,"short":20,"reversed":1,"balance":120,
                          "spendable":120,"next_expiry":{"points":55,"on":"2026-06-30"}},
                "redemptions":[{"offer":"member-milk","outcome":"over-limit","discount_minor":10}],
                "coupons":[{"coupon":"07K2M9QXA4TRB3","headline":"50 % off yoghurt",
                            "valid_until":"2026-03-27",
                            "reason":{"code":"due-again","text":"A favourite of yours is on offer."}}],
                "messages":["A sentence that does not fit on one line of this paper."]}"#,
        )
        .expect("a receipt");
        let held: Held = serde_json::from_str(
            r#"{"coupons":[{"coupon":"015CF65ZNVE5B2","headline":"Half off a yoghurt",
                            "valid_until":"2026-03-20",
                            "reason":{"code":"given","text":"A coupon for you."}}]}"#,
        )
        .expect("a card");
        let text = receipt(&swiped, &answer, &held.coupons, false);
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        insta::assert_snapshot!(text, @"
        STORE 101  TILL 01        2026-03-14 11:53
        101/01/2026-03-14/1
        Card                         2990000000019
        ------------------------------------------
        Larkfield Whole milk 1 gal            3.89
          Milk 3.79 a gallon with your card  -0.10
        Bananas (lb)
          1.250 x 0.69                        0.86
        RETURN A name that is a little longer than
        a line has room
                                             -1.00
        ------------------------------------------
        TOTAL USD                             3.65
        You saved with your card              0.10
          paid with 300 points                3.00
        ------------------------------------------
        Points earned                            4
        Points spent                          -300
        of these not there, and owed            20
        Points taken back                       -1
        Points balance                         120
        55 points expire after          2026-06-30
        Your tier                           Silver
        To the next tier                    120.50
        Account                  acc_000000000A1KV
        ------------------------------------------
        member-milk                     over-limit
        A sentence that does not fit on one line
        of this paper.
        ------------------------------------------
        50 % off yoghurt
        A favourite of yours is on offer.
        Until                           2026-03-27
        Coupon                      07K2M9QXA4TRB3
        ------------------------------------------
        Waiting for you
        Half off a yoghurt
          until 2026-03-20          015CF65ZNVE5B2
        ");
    }
}
