//! The journal, by the names of transactions: what was asked under each, and what was answered.
//!
//! Some hundred bytes for each name, so that a run of hours fits into memory.

use std::collections::HashMap;

use super::people::People;
use super::{Fault, Verdict};
use crate::journal::{Acked, Asked, Hash, Line, Sent};

/// Everything under one name.
#[derive(Debug, Default)]
pub(super) struct Case {
    pub(super) sale: Request,
    pub(super) void: Request,
    /// Index of the card whose points the sale changes.
    pub(super) card: Option<u32>,
    /// By how much.
    pub(super) points: i64,
    pub(super) total_minor: i64,
    /// Whether the points have run out by the end.
    pub(super) has_run_out: bool,
    /// Rows of the name itself.
    pub(super) names: u32,
    /// The sale came after its void, or was training: nothing of it is counted.
    uncounted: bool,
}

/// What became of a sale or of a void.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) sent: bool,
    /// The bytes of the first answer 2xx; all others must be the same.
    pub(super) answer: Option<Hash>,
    /// Answers 201.
    pub(super) created: u32,
    /// An answer 4xx.
    pub(super) refused: Option<u16>,
    /// Rows in the database.
    pub(super) rows: u32,
}

impl Request {
    pub(super) fn is_done(&self) -> bool {
        self.answer.is_some()
    }
}

impl Case {
    /// Counts a row of the database. Whether it is of a sale that came after its void.
    pub(super) fn count_row(&mut self, kind: i16) -> bool {
        if kind > 2 {
            self.void.rows += 1;
        } else {
            self.sale.rows += 1;
            self.uncounted = kind > 0;
        }
        kind == 2
    }

    /// Whether its points stand on its account.
    pub(super) fn counts(&self) -> bool {
        self.sale.rows > 0 && self.void.rows == 0 && !self.uncounted
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Cases {
    pub(super) people: People,
    cases: HashMap<String, Case>,
    /// What the ids of requests stand for.
    requests: HashMap<u64, (String, Kind)>,
    cards: Vec<String>,
    card_numbers: HashMap<String, u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sale,
    Void,
    Reuse,
}

impl Cases {
    /// Takes the next line of the journal.
    pub(super) fn add(&mut self, line: Line, verdict: &mut Verdict) {
        match line {
            Line::Sent(sent) => self.sent(sent, verdict),
            Line::Acked(acked) => self.acked(&acked, verdict),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Case)> {
        self.cases.iter().map(|(name, case)| (name.as_str(), case))
    }

    pub(super) fn named(&self, name: &str) -> Option<&Case> {
        self.cases.get(name)
    }

    pub(super) fn named_mut(&mut self, name: &str) -> Option<&mut Case> {
        self.cases.get_mut(name)
    }

    pub(super) fn card(&self, number: u32) -> Option<&str> {
        self.cards.get(usize::try_from(number).ok()?).map(String::as_str)
    }

    fn sent(&mut self, sent: Sent, verdict: &mut Verdict) {
        verdict.requests += 1;
        if self.people.sent(&sent) {
            return;
        }
        let case = self.cases.entry(sent.name.clone()).or_default();
        let kind = match sent.asked {
            Asked::Sale { card, points, total_minor, has_run_out } => {
                case.sale.sent = true;
                (case.points, case.total_minor) = (points, total_minor);
                case.has_run_out = has_run_out;
                case.card = card.map(|card| {
                    let next = u32::try_from(self.cards.len()).expect("far fewer cards");
                    *self.card_numbers.entry(card).or_insert_with_key(|card| {
                        self.cards.push(card.clone());
                        next
                    })
                });
                Kind::Sale
            }
            Asked::Void => {
                case.void.sent = true;
                Kind::Void
            }
            Asked::Reuse => Kind::Reuse,
            Asked::Enrol { .. } | Asked::Adjust { .. } => return,
        };
        self.requests.insert(sent.id, (sent.name, kind));
    }

    fn acked(&mut self, acked: &Acked, verdict: &mut Verdict) {
        if self.people.acked(acked) {
            return;
        }
        let Acked { id, status, body } = acked;
        let Some((name, kind)) = self.requests.get(id) else {
            return verdict.find(Fault::Unasked, format!("an answer to request {id}, never sent"));
        };
        let case = self.cases.get_mut(name).expect("every request has its case");
        let done = (200..300).contains(status);
        let request = match kind {
            Kind::Reuse => {
                if *status == 422 {
                    verdict.refused += 1;
                } else {
                    let text = format!("another content under {name}: was answered {status}");
                    verdict.find(Fault::Misjudged, text);
                }
                return;
            }
            Kind::Sale => &mut case.sale,
            Kind::Void => &mut case.void,
        };
        if !done && *status == 404 && *kind == Kind::Sale && request.is_done() {
            let text = format!("the sale {name}: was not found after it had been acknowledged");
            return verdict.find(Fault::Lost, text);
        }
        if !done {
            request.refused = Some(*status);
            return;
        }
        if request.is_done() {
            verdict.replays += 1
        } else {
            verdict.acked += 1
        }
        request.created += u32::from(*status == 201);
        if *request.answer.get_or_insert(*body) != *body {
            let what = if *kind == Kind::Sale { "the sale" } else { "the void of" };
            verdict.find(Fault::Changed, format!("{what} {name}: got two different answers"));
        }
    }
}
