//! The model: accounts, cards and names of one chain, and what each call of a till does to them.
//!
//! Written from the rules of points alone, as `account.rs` is, and with the same interdiction.
//! It knows one retailer's programme: a base rate, and months until points run out.

use jiff::ToSpan as _;
use jiff::civil::Date;

use super::account::{Account, Entry, Key, Kind, Standing};

/// How purchases earn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Programme {
    pub(crate) points: i64,
    pub(crate) per_minor: i64,
    /// Points run out at the end of the month so many months later; 0: never.
    pub(crate) months: i64,
}

/// A transaction as a till sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Purchase {
    /// With the date its name.
    pub(crate) number: i64,
    pub(crate) business_date: Date,
    pub(crate) card: Option<u8>,
    pub(crate) training: bool,
    pub(crate) lines: Vec<Line>,
    /// Tax on top: part of the total, earns nothing.
    pub(crate) tax_minor: i64,
    pub(crate) points_spent: i64,
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
    BackFrom { number: i64, business_date: Date, line: usize },
}

/// The points of a receipt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) earned: i64,
    pub(crate) reversed: i64,
    pub(crate) spent: i64,
    pub(crate) short: i64,
    /// Of the customer's account; nothing when it was for nobody.
    pub(crate) standing: Option<Standing>,
}

/// What the service must answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was done now. A sale that came after its void is marked.
    Done { receipt: Receipt, voided: bool },
    /// It was done before: the bytes that were answered then.
    Again { voided: bool },
    /// The name stands for something else.
    OtherContent,
    /// What happened to cards and ids: done now, done before, or refused.
    Card(Result<bool, Refused>),
}

/// Why a card was not enrolled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    NoSuchTarget,
    OfAnotherAccount,
}

/// What is remembered under a name.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) number: i64,
    pub(crate) business_date: Date,
    /// Nothing when only its void has come so far.
    pub(crate) purchase: Option<Purchase>,
    /// The account that it was booked on.
    pub(crate) account: Option<usize>,
    pub(crate) voided: bool,
    /// Points of each line.
    points: Vec<i64>,
    /// What it moved, write-offs apart.
    entries: Vec<Entry>,
}

/// One installation.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) programme: Programme,
    /// The server's date: enrolments and look-ups go by it.
    pub(crate) today: Date,
    pub(crate) accounts: Vec<Account>,
    /// The account of each card that somebody has used.
    pub(crate) cards: Vec<(u8, usize)>,
    pub(crate) names: Vec<Named>,
    pub(crate) adjustments: Vec<i64>,
}

impl Programme {
    /// Fractions of a point are dropped.
    fn points_for(&self, minor: i64) -> i64 {
        minor.max(0) * self.points / self.per_minor
    }

    fn lot_of(&self, date: Date) -> Key {
        let available_from = date.first_of_month();
        let expires_on = match self.months {
            0 => Date::MAX,
            months => (available_from + months.months()).last_of_month(),
        };
        Key { expires_on, available_from }
    }
}

impl Line {
    pub(crate) fn net_minor(&self) -> i64 {
        self.amount_minor - self.discount_minor
    }
}

impl Chain {
    pub(crate) fn new(programme: Programme, today: Date) -> Self {
        let (accounts, cards, names) = (Vec::new(), Vec::new(), Vec::new());
        Self { programme, today, accounts, cards, names, adjustments: Vec::new() }
    }

    pub(crate) fn named(&self, number: i64) -> Option<&Named> {
        self.names.iter().find(|named| named.number == number)
    }

    pub(crate) fn account_of(&self, card: u8) -> Option<usize> {
        self.cards.iter().find(|(known, _)| *known == card).map(|(_, account)| *account)
    }

    /// The account that has the points of this one now.
    pub(crate) fn heir_of(&self, mut account: usize) -> usize {
        while let Some(heir) = self.accounts[account].merged_into {
            account = heir;
        }
        account
    }

    /// A till sends a transaction, for the first time or again.
    pub(crate) fn swipe(&mut self, purchase: &Purchase) -> Answer {
        let nobody = Receipt::default();
        if let Some(at) = self.names.iter().position(|named| named.number == purchase.number) {
            let named = &mut self.names[at];
            return match &named.purchase {
                Some(known) if known == purchase => Answer::Again { voided: named.voided },
                Some(_) => Answer::OtherContent,
                None => {
                    named.points = vec![0; purchase.lines.len()];
                    named.purchase = Some(purchase.clone());
                    Answer::Done { receipt: nobody, voided: true }
                }
            };
        }
        let mut named = Named {
            number: purchase.number,
            business_date: purchase.business_date,
            purchase: Some(purchase.clone()),
            account: None,
            voided: false,
            points: vec![0; purchase.lines.len()],
            entries: Vec::new(),
        };
        let mut receipt = nobody;
        if let Some(card) = purchase.card.filter(|_| !purchase.training) {
            let account = self.account_of(card).unwrap_or_else(|| self.open(card, false));
            named.account = Some(account);
            receipt = self.buy(account, purchase, &mut named);
        }
        self.names.push(named);
        Answer::Done { receipt, voided: false }
    }

    /// Points pay, what comes back takes its points, what is sold earns.
    fn buy(&mut self, account: usize, purchase: &Purchase, named: &mut Named) -> Receipt {
        let mut receipt = Receipt { spent: purchase.points_spent, ..Receipt::default() };
        let mut sold_minor = 0;
        let mut taken = Vec::new();
        for (line, points) in purchase.lines.iter().zip(&mut named.points) {
            match line.way {
                Way::Sold => {
                    // A line has what the sum is worth more with it than without.
                    let before = self.programme.points_for(sold_minor);
                    sold_minor += if line.no_points { 0 } else { line.net_minor() };
                    *points = self.programme.points_for(sold_minor) - before;
                    receipt.earned += *points;
                }
                Way::Back | Way::BackFrom { .. } => {
                    let (worth, preferred) = self.worth_of(line);
                    *points = worth;
                    receipt.reversed += worth;
                    taken.push((worth, preferred));
                }
            }
        }
        let lot = self.programme.lot_of(purchase.business_date);
        let account = &mut self.accounts[account];
        account.begin(purchase.business_date);
        let first = account.entries.len();
        receipt.short = account.redeem(purchase.points_spent);
        for (points, preferred) in taken {
            account.take(Kind::ReverseEarn, points, preferred);
        }
        account.put(Kind::Earn, receipt.earned, lot);
        named.entries = account.entries[first..].to_vec();
        account.write_off();
        receipt.standing = Some(account.standing(account.clock));
        receipt
    }

    /// What a line that comes back takes: the points of the line that it was sold on, by
    /// quantity, or what it would earn when nobody knows.
    fn worth_of(&self, line: &Line) -> (i64, Option<Key>) {
        let (number, from) = match line.way {
            Way::BackFrom { number, line, .. } => (number, line),
            _ => (0, 0),
        };
        let Some((named, sale)) =
            self.named(number).and_then(|named| Some((named, named.purchase.as_ref()?)))
        else {
            let minor = if line.no_points { 0 } else { line.net_minor() };
            return (self.programme.points_for(minor), None);
        };
        if named.voided {
            return (0, None);
        }
        let points = named.points[from - 1] * line.quantity / sale.lines[from - 1].quantity;
        (points, Some(self.programme.lot_of(named.business_date)))
    }

    /// A till takes back a whole transaction, which may not have come yet.
    pub(crate) fn void(&mut self, number: i64, business_date: Date) -> Answer {
        let Some(at) = self.names.iter().position(|named| named.number == number) else {
            self.names.push(Named {
                number,
                business_date,
                purchase: None,
                account: None,
                voided: true,
                points: Vec::new(),
                entries: Vec::new(),
            });
            return Answer::Done { receipt: Receipt::default(), voided: true };
        };
        if self.names[at].voided {
            return Answer::Again { voided: true };
        }
        self.names[at].voided = true;
        let named = self.names[at].clone();
        let mut receipt = Receipt::default();
        if let Some(account) = named.account {
            let own = self.programme.lot_of(business_date);
            let heir = self.heir_of(account);
            let account = &mut self.accounts[heir];
            account.begin(business_date);
            for entry in named.entries.iter().rev() {
                let points = entry.points.abs();
                match entry.kind {
                    Kind::Earn => {
                        account.take(Kind::ReverseEarn, points, entry.lot);
                        receipt.reversed += points;
                    }
                    Kind::Redeem => {
                        account.put(Kind::ReverseRedeem, points, entry.lot.unwrap_or(own));
                    }
                    _ => {
                        account.put(Kind::Earn, points, entry.lot.unwrap_or(own));
                        receipt.earned += points;
                    }
                }
            }
            account.write_off();
            receipt.standing = Some(account.standing(account.clock));
        }
        Answer::Done { receipt, voided: true }
    }

    /// People give or take points, once under one id.
    pub(crate) fn adjust(&mut self, id: i64, account: usize, date: Date, points: i64) -> Answer {
        if self.adjustments.contains(&id) {
            return Answer::Card(Ok(false));
        }
        self.adjustments.push(id);
        let lot = self.programme.lot_of(date);
        let account = &mut self.accounts[account];
        account.begin(date);
        if points > 0 {
            account.put(Kind::Adjust, points, lot);
        } else {
            account.take(Kind::Adjust, -points, None);
        }
        account.write_off();
        Answer::Card(Ok(true))
    }

    /// Writes off what has run out on an account that nobody visits.
    pub(crate) fn sweep(&mut self, account: usize, date: Date) {
        let account = &mut self.accounts[account];
        if account.lots.first().is_some_and(|lot| lot.key.expires_on < account.clock.max(date)) {
            account.begin(date);
        }
    }

    /// Somebody enrols with a card, or puts it on the account of another card.
    pub(crate) fn enrol(&mut self, card: u8, link_to: Option<u8>) -> Answer {
        let today = self.today;
        let target = match link_to.filter(|target| *target != card) {
            Some(target) => match self.account_of(target) {
                Some(account) => Some(account),
                None => return Answer::Card(Err(Refused::NoSuchTarget)),
            },
            None => None,
        };
        let own = self.account_of(card);
        let account = match (own, target) {
            (Some(own), Some(target)) if own != target => {
                if self.accounts[own].enrolled {
                    return Answer::Card(Err(Refused::OfAnotherAccount));
                }
                self.merge(own, target);
                return Answer::Card(Ok(true));
            }
            (None, Some(target)) => {
                self.cards.push((card, target));
                target
            }
            (Some(own), _) if self.accounts[own].enrolled => return Answer::Card(Ok(false)),
            (Some(own), _) => own,
            (None, None) => self.open(card, true),
        };
        self.accounts[account].enrolled = true;
        self.accounts[account].begin(today);
        Answer::Card(Ok(true))
    }

    /// Moves the points and the cards of one account to another.
    fn merge(&mut self, from: usize, to: usize) {
        let mut left = self.accounts[from].clone();
        let heir = &mut self.accounts[to];
        let date = self.today.max(left.clock).max(heir.clock);
        left.begin(date);
        heir.begin(date);
        heir.enrolled = true;
        left.give_to(heir);
        left.merged_into = Some(to);
        self.accounts[from] = left;
        for (_, account) in self.cards.iter_mut().filter(|(_, account)| *account == from) {
            *account = to;
        }
    }

    fn open(&mut self, card: u8, enrolled: bool) -> usize {
        self.accounts.push(Account::new(enrolled));
        self.cards.push((card, self.accounts.len() - 1));
        self.accounts.len() - 1
    }
}
