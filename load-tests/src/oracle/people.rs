//! What people asked for, besides transactions: cards enrolled and linked, points corrected.
//!
//! A card that was enrolled, or put on the account of another, stays there for ever; so what was
//! acknowledged can be looked at when everything is over. Must never need to know in which order
//! things were done that were under way at the same time.

use std::collections::{HashMap, HashSet};

use super::sql::{self, Card};
use super::{Fault, Verdict};
use crate::journal::{Acked, Asked, Sent};

/// The state of an enrolled account, as it is stored.
pub(super) const ENROLLED: i16 = 1;
/// The state of one that has been merged into another.
pub(super) const MERGED: i16 = 3;

/// All of it.
#[derive(Debug, Default)]
pub(super) struct People {
    enrolments: HashMap<u64, Enrolment>,
    adjustments: HashMap<String, Adjustment>,
    /// Adjustments by the ids of requests.
    adjusting: HashMap<u64, String>,
    /// Cards that certainly have an account, by what was acknowledged so far.
    known: HashSet<String>,
}

#[derive(Debug)]
struct Enrolment {
    card: String,
    link_to: Option<String>,
    /// The other card certainly had an account when this was sent.
    target_known: bool,
    answers: Vec<u16>,
}

#[derive(Debug)]
struct Adjustment {
    card: String,
    points: i64,
    insists: bool,
    card_known: bool,
    answers: Vec<u16>,
    rows: u32,
}

impl People {
    /// Takes a request; whether it is one of these.
    pub(super) fn sent(&mut self, sent: &Sent) -> bool {
        let name = sent.name.clone();
        match &sent.asked {
            Asked::Enrol { link_to } => {
                let target_known = link_to.as_ref().is_some_and(|card| self.known.contains(card));
                let (link_to, answers) = (link_to.clone(), Vec::new());
                let enrolment = Enrolment { card: name, link_to, target_known, answers };
                self.enrolments.insert(sent.id, enrolment);
            }
            Asked::Adjust { card, points, insists } => {
                let (points, insists) = (*points, *insists);
                let card_known = self.known.contains(card);
                let (card, answers) = (card.clone(), Vec::new());
                self.adjusting.insert(sent.id, name.clone());
                let adjustment = Adjustment { card, points, insists, card_known, answers, rows: 0 };
                self.adjustments.insert(name, adjustment);
            }
            Asked::Sale { .. } | Asked::Void | Asked::Reuse => return false,
        }
        true
    }

    /// Takes an answer; whether it is to one of these.
    pub(super) fn acked(&mut self, acked: &Acked) -> bool {
        let Acked { id, status, .. } = *acked;
        if let Some(enrolment) = self.enrolments.get_mut(&id) {
            enrolment.answers.push(status);
            if status < 300 {
                self.known.insert(enrolment.card.clone());
                self.known.extend(enrolment.link_to.clone());
            }
            return true;
        }
        let adjustment = self.adjusting.get(&id).and_then(|name| self.adjustments.get_mut(name));
        adjustment.map(|adjustment| adjustment.answers.push(status)).is_some()
    }

    /// Takes a row of the database. Returns what it does to the points of an account.
    pub(super) fn adjusted(
        &mut self,
        row: &sql::Adjusted,
        cards: &HashMap<String, Card>,
        verdict: &mut Verdict,
    ) -> i64 {
        let name = &row.adjustment_id;
        let Some(adjustment) = self.adjustments.get_mut(name) else {
            verdict.find(Fault::Unasked, format!("{name}: nobody asked for it"));
            return 0;
        };
        adjustment.rows += 1;
        let Adjustment { card, points, .. } = adjustment;
        if cards.get(card).map(|card| card.account_id) != Some(row.account_id) {
            let text = format!("{name}: was made on an account that card {card} is not on");
            verdict.find(Fault::Miscounted, text);
        }
        if (row.points, row.booked) != (*points, *points) {
            let (said, booked) = (row.points, row.booked);
            let text = format!("{name}: asked for {points}; it says {said}, its entries {booked}");
            verdict.find(Fault::Miscounted, text);
        }
        *points
    }

    /// When all rows are known.
    pub(super) fn judge(&self, cards: &HashMap<String, Card>, verdict: &mut Verdict) {
        for (name, adjustment) in &self.adjustments {
            adjustment.judge(name, verdict);
        }
        for enrolment in self.enrolments.values() {
            enrolment.judge(cards, verdict);
        }
        let mut created: HashMap<&str, usize> = HashMap::new();
        for enrolment in self.enrolments.values() {
            let news = enrolment.answers.iter().filter(|status| **status == 201);
            *created.entry(&enrolment.card).or_default() += news.count();
        }
        for (card, times) in created.into_iter().filter(|(_, times)| *times > 1) {
            let text = format!("card {card}: was newly enrolled or linked {times} times");
            verdict.find(Fault::Doubled, text);
        }
        self.judge_accounts(cards, verdict);
    }

    /// Cards stand on an account by themselves, or because somebody asked for it.
    fn judge_accounts(&self, cards: &HashMap<String, Card>, verdict: &mut Verdict) {
        let account = |card: &str| cards.get(card).map(|card| card.account_id);
        let mut linked: HashSet<&str> = HashSet::new();
        let mut asked_for: HashSet<i64> = HashSet::new();
        for Enrolment { card, link_to, .. } in self.enrolments.values() {
            asked_for.extend(account(card));
            if link_to.as_ref().is_some_and(|other| account(other) == account(card)) {
                linked.insert(card);
            }
        }
        let mut by_themselves: HashMap<i64, u32> = HashMap::new();
        for (card, found) in cards {
            if found.state == ENROLLED && !asked_for.contains(&found.account_id) {
                verdict.find(Fault::Unasked, format!("card {card}: nobody enrolled it"));
            }
            if found.state == MERGED {
                let text = format!("card {card}: points at an account that was merged");
                verdict.find(Fault::Miscounted, text);
            }
            if !linked.contains(card.as_str()) {
                *by_themselves.entry(found.account_id).or_default() += 1;
            }
        }
        for (account_id, number) in by_themselves.into_iter().filter(|(_, number)| *number > 1) {
            let text = format!("account {account_id}: {number} of its cards were never linked");
            verdict.find(Fault::Unasked, text);
        }
    }
}

impl Adjustment {
    fn judge(&self, name: &str, verdict: &mut Verdict) {
        let made = self.answers.iter().filter(|status| **status < 300).count();
        let refused: Vec<u16> = self.answers.iter().copied().filter(|it| *it >= 300).collect();
        verdict.adjusted += u64::from(made > 0);
        if made > 0 && self.rows == 0 {
            verdict.find(Fault::Lost, format!("{name}: was acknowledged, and is not there"));
        }
        if self.rows > 1 {
            verdict.find(Fault::Doubled, format!("{name}: is there {} times", self.rows));
        }
        for status in refused {
            if status != 404 || self.card_known {
                verdict.find(Fault::Misjudged, format!("{name}: was refused with {status}"));
            }
            if self.rows > 0 {
                verdict.find(Fault::Unasked, format!("{name}: was refused, and is there"));
            }
        }
        if self.answers.is_empty() && self.insists {
            verdict.unanswered += 1;
            verdict.find(Fault::Stuck, format!("{name}: was never answered"));
        }
    }
}

impl Enrolment {
    fn judge(&self, cards: &HashMap<String, Card>, verdict: &mut Verdict) {
        let Self { card, link_to, target_known, answers } = self;
        let found = cards.get(card);
        let is_enrolled = found.is_some_and(|found| found.state == ENROLLED);
        let is_on = |other: &String| {
            found.map(|it| it.account_id) == cards.get(other).map(|it| it.account_id)
        };
        if answers.iter().any(|status| *status < 300) {
            let counter =
                if link_to.is_some() { &mut verdict.linked } else { &mut verdict.enrolled };
            *counter += 1;
            if !is_enrolled {
                let text = format!("card {card}: was enrolled, and its account is not");
                verdict.find(Fault::Lost, text);
            }
            if let Some(other) = link_to.as_ref().filter(|other| !is_on(other)) {
                let text = format!("card {card}: was put on the account of {other}, and is not");
                verdict.find(Fault::Lost, text);
            }
        }
        for status in answers.iter().filter(|status| **status >= 300) {
            let is_right = match (status, link_to) {
                // It had an account for good, and stays there.
                (409, Some(_)) => is_enrolled,
                (404, Some(_)) => !target_known,
                _ => false,
            };
            match is_right {
                true => verdict.refused += 1,
                false => {
                    let text = format!("card {card}: enrolling it was refused with {status}");
                    verdict.find(Fault::Misjudged, text);
                }
            }
        }
        if answers.is_empty() {
            verdict.unanswered += 1;
            verdict.find(Fault::Stuck, format!("card {card}: its enrolment was never answered"));
        }
    }
}
