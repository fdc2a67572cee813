//! The model: accounts, cards and names of one chain, and what each call of a till does to them.
//!
//! Written from the rules of points alone, as `account.rs` is, and with the same interdiction.
//! It knows one retailer's programme, `rules.rs`, and its offers, `coupons.rs`.

use jiff::civil::Date;

use super::account::{Account, Entry, Key, Kind, Standing};
use super::coupons::{Coupons, Offer, Outcome, State};
pub(crate) use super::purchase::{Line, Name, Purchase, Way};
pub(crate) use super::rules::Programme;
use super::tiers::{Tier, month};

/// The points of a receipt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) earned: i64,
    pub(crate) reversed: i64,
    /// Points that paid; below zero what a void gives back of them.
    pub(crate) spent: i64,
    /// The part of them that was not there.
    pub(crate) short: i64,
    /// Of the customer's account; nothing when it was for nobody.
    pub(crate) standing: Option<Standing>,
    /// Of the same after a sale; nothing where there are no tiers.
    pub(crate) tier: Option<Tier>,
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
    /// How a coupon stands that somebody has issued or wanted to take back.
    Coupon(State),
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
    pub(crate) name: Name,
    /// Nothing when only its void has come so far.
    pub(crate) purchase: Option<Purchase>,
    /// The account that it was booked on.
    pub(crate) account: Option<usize>,
    pub(crate) voided: bool,
    /// Lines of which something was brought back.
    pub(crate) returned: Vec<usize>,
    /// Points of each line.
    points: Vec<i64>,
    /// What it moved, write-offs apart.
    entries: Vec<Entry>,
    /// What it counts for which days, and towards tiers for which months.
    counted: Vec<(Date, i64)>,
    qualified: Vec<(i32, i64)>,
    /// Whether it earned less than it is worth.
    pub(crate) capped: bool,
    /// Whether a cap of a single rule was reached, and whether one stood back for another.
    pub(crate) cut_by_rule: bool,
    pub(crate) stood_back: bool,
    /// What became of what the till gave something for.
    pub(crate) outcomes: Vec<Outcome>,
    /// Whether the customer held a tier that the month does not earn any more.
    pub(crate) kept_tier: bool,
    /// Whether the tier had fallen since the last receipt.
    pub(crate) lost_tier: bool,
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
    pub(crate) adjustments: Vec<Adjustment>,
    pub(crate) coupons: Coupons,
}

/// What people have corrected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Adjustment {
    pub(crate) id: i64,
    pub(crate) account: usize,
    pub(crate) points: i64,
}

impl Named {
    fn new(name: Name) -> Self {
        Self {
            name,
            purchase: None,
            account: None,
            voided: false,
            returned: Vec::new(),
            points: Vec::new(),
            entries: Vec::new(),
            counted: Vec::new(),
            qualified: Vec::new(),
            capped: false,
            cut_by_rule: false,
            stood_back: false,
            outcomes: Vec::new(),
            kept_tier: false,
            lost_tier: false,
        }
    }
}

impl Chain {
    pub(crate) fn new(programme: Programme, today: Date) -> Self {
        let (accounts, cards, names) = (Vec::new(), Vec::new(), Vec::new());
        let (adjustments, coupons) = (Vec::new(), Coupons::default());
        Self { programme, today, accounts, cards, names, adjustments, coupons }
    }

    pub(crate) fn with_offers(programme: Programme, today: Date, offers: Vec<Offer>) -> Self {
        let mut chain = Self::new(programme, today);
        chain.coupons.offers = offers;
        chain
    }

    pub(crate) fn named(&self, name: Name) -> Option<&Named> {
        self.names.iter().find(|named| named.name == name)
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

    /// Points that a card begins with.
    pub(crate) fn import(&mut self, card: u8, points: i64, key: Key) {
        let account = self.account_of(card).unwrap_or_else(|| self.open(card));
        self.accounts[account].put(Kind::Adjust, points, key);
    }

    /// A till sends a transaction, for the first time or again.
    pub(crate) fn swipe(&mut self, purchase: &Purchase) -> Answer {
        self.coupons.sent(purchase);
        if let Some(at) = self.names.iter().position(|named| named.name == purchase.name) {
            let named = &mut self.names[at];
            match &named.purchase {
                Some(known) if known == purchase => return Answer::Again { voided: named.voided },
                Some(_) => return Answer::OtherContent,
                None => {}
            }
            named.points = vec![0; purchase.lines.len()];
            named.purchase = Some(purchase.clone());
            (named.outcomes, _) = self.coupons.take(purchase, None, |account| account);
            return Answer::Done { receipt: Receipt::default(), voided: true };
        }
        let mut named = Named::new(purchase.name);
        named.purchase = Some(purchase.clone());
        named.points = vec![0; purchase.lines.len()];
        let mut receipt = Receipt::default();
        if let Some(card) = purchase.customer() {
            let account = self.account_of(card).unwrap_or_else(|| self.open(card));
            named.account = Some(account);
            let heirs: Vec<usize> = (0..self.accounts.len()).map(|at| self.heir_of(at)).collect();
            let (outcomes, giving_points) =
                self.coupons.take(purchase, Some(account), |account| heirs[account]);
            named.outcomes = outcomes;
            receipt = self.buy(account, purchase, &giving_points, &mut named);
            receipt.tier = self.qualify(account, purchase.name.business_date, &mut named);
        } else {
            (named.outcomes, _) = self.coupons.take(purchase, None, |account| account);
        }
        self.names.push(named);
        Answer::Done { receipt, voided: false }
    }

    /// Points pay, what comes back takes its points, what is sold earns. Some offers give points
    /// besides.
    fn buy(
        &mut self,
        account: usize,
        purchase: &Purchase,
        giving_points: &[usize],
        named: &mut Named,
    ) -> Receipt {
        let mut receipt = Receipt { spent: purchase.points_spent, ..Receipt::default() };
        let own = self.programme.lot_of(purchase.name.business_date);
        let mut back_minor = 0;
        let mut taken = Vec::new();
        let sold: Vec<&Line> = purchase.lines.iter().filter(|line| line.way == Way::Sold).collect();
        let doubles = self.doubles(account, purchase.name.business_date);
        let mut worth = self.programme.worth(&sold, doubles);
        let due: i64 = worth.lines.iter().sum();
        let day = purchase.name.business_date;
        let room = match self.programme.per_day {
            0 => due,
            most => (most - self.accounts[account].earned_on(day).max(0)).max(0),
        };
        receipt.earned = due.min(room);
        named.capped = receipt.earned < due;
        if named.capped {
            worth.cut_to(room);
        }
        (named.cut_by_rule, named.stood_back) = (worth.cut_by_rule, worth.stood_back);
        let mut earned = worth.lines.iter();
        for (at, line) in purchase.lines.iter().enumerate() {
            named.points[at] = match (line.way, self.line_of(line)) {
                (Way::Sold, _) => *earned.next().expect("one for each line of sale"),
                (_, Some((points, lot, _))) => {
                    taken.push((points, lot));
                    points
                }
                (_, None) => {
                    let before = self.programme.points_for(back_minor);
                    back_minor += line.qualifying_minor();
                    self.programme.points_for(back_minor) - before
                }
            };
            named.qualified.push(self.qualifies(line, day));
            if let Way::BackFrom { name, .. } = line.way
                && self.line_of(line).is_some()
            {
                named.counted.push((name.business_date, -named.points[at]));
            }
            if let Way::BackFrom { name, line } = line.way
                && let Some(sale) = self.names.iter_mut().find(|named| named.name == name)
            {
                sale.returned.push(line);
            }
        }
        for offer in giving_points {
            for (at, points) in self.coupons.offers[*offer].points(purchase) {
                named.points[at] += points;
                receipt.earned += points;
            }
        }
        if self.programme.per_day == 0 {
            named.counted.clear();
        } else {
            named.counted.push((day, receipt.earned));
        }
        if self.programme.tiers.is_none() {
            named.qualified.clear();
        }
        taken.push((self.programme.points_for(back_minor), own));
        receipt.reversed = taken.iter().map(|(points, _)| points).sum();

        let account = &mut self.accounts[account];
        account.begin(purchase.name.business_date);
        let first = account.entries.len();
        receipt.short = account.redeem(purchase.points_spent);
        for (points, lot) in taken {
            account.take(Kind::ReverseEarn, points, Some(lot));
        }
        account.put(Kind::Earn, receipt.earned, own);
        if self.programme.per_day > 0 {
            account.forget_days(day);
        }
        for (day, points) in &named.counted {
            account.count(*day, *points);
        }
        named.entries = account.entries[first..].to_vec();
        account.write_off();
        receipt.standing = Some(account.standing(account.clock));
        receipt
    }

    /// What was sold counts towards tiers from now on, and what came back no more. Tells how the
    /// account stands then.
    fn qualify(&mut self, account: usize, day: Date, named: &mut Named) -> Option<Tier> {
        let tiers = self.programme.tiers?;
        let account = &mut self.accounts[account];
        let now = month(account.clock);
        if day == account.clock {
            account.months.forget_before(tiers.first_month(now));
        }
        for (month, minor) in &named.qualified {
            account.months.count(*month, *minor);
        }
        let tier = tiers.standing(&account.months, now);
        named.kept_tier = tier.number > tiers.earned(&account.months, now);
        named.lost_tier = tier.number < account.shown_tier;
        account.shown_tier = tier.number;
        Some(tier)
    }

    /// Whether an account earns twice as much on a day, by the tier that it holds before.
    fn doubles(&self, account: usize, day: Date) -> bool {
        let account = &self.accounts[account];
        let Some(tiers) = self.programme.tiers.filter(|tiers| tiers.doubles_from > 0) else {
            return false;
        };
        let held = tiers.held(&account.months, month(account.clock.max(day)));
        held >= tiers.doubles_from
    }

    /// What a line of a day counts towards tiers, and for which month.
    fn qualifies(&self, line: &Line, day: Date) -> (i32, i64) {
        match (line.way, self.line_of(line)) {
            (Way::Sold, _) => (month(day), line.qualifying_minor()),
            (Way::BackFrom { name, .. }, Some((_, _, minor))) => {
                (month(name.business_date), -minor)
            }
            (Way::BackFrom { name, .. }, None) => {
                (month(name.business_date), -line.qualifying_minor())
            }
            (Way::Back, _) => (month(day), -line.qualifying_minor()),
        }
    }

    /// Where it is known on which line something was sold: its points by quantity, its lot, and
    /// what had counted towards tiers.
    fn line_of(&self, line: &Line) -> Option<(i64, Key, i64)> {
        let Way::BackFrom { name, line: number } = line.way else { return None };
        let named = self.named(name)?;
        let sold = named.purchase.as_ref()?.lines.get(number - 1)?;
        let part = |whole: i64| match whole {
            _ if named.voided => 0,
            all if line.quantity >= sold.quantity => all,
            all => {
                let exact = i128::from(all) * i128::from(line.quantity);
                i64::try_from(exact / i128::from(sold.quantity)).expect("a part")
            }
        };
        let lot = self.programme.lot_of(name.business_date);
        Some((part(named.points[number - 1]), lot, part(sold.qualifying_minor())))
    }

    /// A till takes back a whole transaction, which may not have come yet.
    pub(crate) fn void(&mut self, name: Name) -> Answer {
        let Some(named) = self.names.iter_mut().find(|named| named.name == name) else {
            self.names.push(Named { voided: true, ..Named::new(name) });
            return Answer::Done { receipt: Receipt::default(), voided: true };
        };
        if named.voided {
            return Answer::Again { voided: true };
        }
        named.voided = true;
        self.coupons.void(name);
        let (entries, counted) = (named.entries.clone(), named.counted.clone());
        let qualified = named.qualified.clone();
        let mut receipt = Receipt::default();
        if let Some(at) = named.account {
            let own = self.programme.lot_of(name.business_date);
            let mut account = self.accounts[at].clone();
            account.begin(name.business_date);
            for entry in entries.iter().rev() {
                let (points, lot) = (entry.points.abs(), entry.lot.unwrap_or(own));
                match entry.kind {
                    Kind::Earn => {
                        account.take(Kind::ReverseEarn, points, Some(lot));
                        receipt.reversed += points;
                    }
                    Kind::Redeem => {
                        account.put(Kind::ReverseRedeem, points, lot);
                        receipt.spent -= points;
                    }
                    _ => {
                        account.put(Kind::ReverseEarn, points, lot);
                        receipt.earned += points;
                    }
                }
            }
            account.write_off();
            for (day, points) in counted {
                account.count(day, -points);
            }
            for (month, minor) in qualified {
                account.months.count(month, -minor);
            }
            // The history stays where it is; points and debts belong to who has the card now.
            if let Some(heir) = account.merged_into {
                let heir = &mut self.accounts[heir];
                heir.begin(account.clock);
                account.give_to(heir);
                heir.write_off();
            }
            self.accounts[at] = account;
            let now = &self.accounts[self.heir_of(at)];
            receipt.standing = Some(now.standing(now.clock));
        }
        Answer::Done { receipt, voided: true }
    }

    /// People issue a coupon to an account.
    pub(crate) fn issue(&mut self, offer: usize, account: usize, on: Date) -> Answer {
        self.coupons.issue(offer, account, on);
        self.accounts[account].version += 1;
        Answer::Coupon(State::Open)
    }

    /// People take a coupon back that no till has taken.
    pub(crate) fn revoke(&mut self, coupon: usize) -> Answer {
        match self.coupons.state_of(coupon) {
            State::Open => {
                self.coupons.revoke(coupon);
                let holder = self.heir_of(self.coupons.account_of(coupon));
                self.accounts[holder].version += 1;
                Answer::Coupon(State::Revoked)
            }
            stands => Answer::Coupon(stands),
        }
    }

    /// People give or take points, once under one id.
    pub(crate) fn adjust(&mut self, id: i64, account: usize, date: Date, points: i64) -> Answer {
        if let Some(made) = self.adjustments.iter().find(|made| made.id == id) {
            let is_same = made.points == points;
            return if is_same { Answer::Card(Ok(false)) } else { Answer::OtherContent };
        }
        self.adjustments.push(Adjustment { id, account, points });
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
    pub(crate) fn sweep(&mut self, account: usize, date: Date) -> Answer {
        let account = &mut self.accounts[account];
        let now = account.clock.max(date);
        let due = account.lots.first().is_some_and(|lot| lot.key.expires_on < now);
        if due {
            account.begin(date);
        }
        Answer::Card(Ok(due))
    }

    /// Somebody enrols with a card, or puts it on the account of another card.
    pub(crate) fn enrol(&mut self, card: u8, link_to: Option<u8>) -> Answer {
        let target = link_to.map(|target| self.account_of(target));
        if target == Some(None) {
            return Answer::Card(Err(Refused::NoSuchTarget));
        }
        let own = self.account_of(card).unwrap_or_else(|| self.open(card));
        let enrolled = self.accounts[own].enrolled;
        match target.flatten().filter(|target| *target != own) {
            Some(_) if enrolled => return Answer::Card(Err(Refused::OfAnotherAccount)),
            None if enrolled => return Answer::Card(Ok(false)),
            Some(target) => self.merge(own, target),
            None => {
                self.accounts[own].enrolled = true;
                self.accounts[own].version += 1;
            }
        }
        Answer::Card(Ok(true))
    }

    /// Moves the points and the cards of one account to another.
    fn merge(&mut self, from: usize, to: usize) {
        let mut left = self.accounts[from].clone();
        let heir = &mut self.accounts[to];
        left.begin(self.today);
        heir.begin(self.today);
        left.give_to(heir);
        heir.write_off();
        heir.enrolled = true;
        left.merged_into = Some(to);
        self.accounts[from] = left;
        for (_, account) in self.cards.iter_mut().filter(|(_, account)| *account == from) {
            *account = to;
        }
    }

    fn open(&mut self, card: u8) -> usize {
        self.accounts.push(Account::new());
        self.cards.push((card, self.accounts.len() - 1));
        self.accounts.len() - 1
    }
}
