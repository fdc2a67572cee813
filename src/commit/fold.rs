//! Folds the commands of a batch into their accounts: facts → decision → what is to be written.
//!
//! The decisions are those of `domain::swipe`; here they meet the clock, the receipts and the
//! columns of the statement. No I/O: what must be known has been loaded before.

use std::collections::HashMap;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::Date;

use super::batch::{Batch, KeyRow, Kind, SwipeRow};
use super::coupon_facts::{Coupons, Uses};
use super::facts::{SoldLines, SwipeFact};
use super::leases::Purse;
use super::pass::Route;
use super::redeem::{Gifts, Over, shown};
use super::{Command, Job, NameKey, Outcome};
use crate::accounts::Hot;
use crate::catalogue::Snapshot;
use crate::config;
use crate::domain::account::{Account, State};
use crate::domain::basket::{LineKind, SoldOn, Swipe, coupons_among};
use crate::domain::content::{self, ContentHash};
use crate::domain::coupon::{self, Code};
use crate::domain::ledger::Entry;
use crate::domain::name::SwipeName;
use crate::domain::offer::Basket;
use crate::domain::product::Product;
use crate::domain::profile::{Profile, Visit};
use crate::domain::programme::Programme;
use crate::domain::record;
use crate::domain::selection::showcase::{Choice, ShowcaseRoom};
use crate::domain::standing;
use crate::domain::swipe::{self, Decision, Facts, SaleToVoid, SoldLine};
use crate::domain::tally::Counted;
use crate::metrics::{Chosen, Redeemed};
use crate::receipt::{
    self, Compressor, Points, Receipt, RedemptionOutcome, Tier, VoidReceipt, account_text,
};

/// Versions between two checkpoints of a profile.
const CHECKPOINT_VERSIONS: i64 = 16;

/// A job that was decided, waiting for its account to move.
pub(super) struct Decided {
    pub(super) job: usize,
    pub(super) account_id: i64,
    pub(super) answer: Bytes,
    pub(super) voided: bool,
    pub(super) value_differs: bool,
    pub(super) over: Over,
    pub(super) redeemed: Vec<Redeemed>,
    pub(super) chosen: Chosen,
}

impl Decided {
    /// Tells the till. Only when its account has moved.
    pub(super) fn answer(&self, jobs: &mut [Job]) {
        let Self { job, answer, voided, .. } = self;
        let answer = answer.clone();
        jobs[*job].answer(Ok(Outcome::Recorded { answer, replayed: false, voided: *voided }));
    }
}

/// The account that a merged one was merged into, as it will be.
pub(super) struct Heir {
    pub(super) expected: i64,
    pub(super) hot: Hot,
    /// What it inherits, version by version.
    pub(super) booked: Vec<(i64, Date, Vec<Entry>)>,
}

/// Sales by the job that voids them.
pub(super) type SalesToVoid = HashMap<usize, (SwipeFact, Vec<Entry>)>;

/// Working memory that is kept from one batch to the next.
pub(super) struct Workbench {
    compressor: Compressor,
    /// The profile of the account at hand.
    pub(super) profile: Profile,
    pub(super) showcase: ShowcaseRoom,
    /// Leases of budgets.
    pub(super) purse: Purse,
}

impl Workbench {
    pub(super) fn new() -> Self {
        Self {
            compressor: Compressor::new(),
            profile: Profile::default(),
            showcase: ShowcaseRoom::default(),
            purse: Purse::default(),
        }
    }
}

/// Folds jobs into accounts and collects what is to be written.
pub(super) struct Fold<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) limits: &'a config::Coupons,
    pub(super) now: Timestamp,
    pub(super) workbench: &'a mut Workbench,
    /// Lines of recorded sales.
    pub(super) sold: SoldLines,
    /// Lines of sales that were decided on the account at hand; they happen if it moves. None
    /// while only one job is for it.
    pub(super) sold_here: Option<SoldLines>,
    pub(super) sales: SalesToVoid,
    /// Coupons that tills took; as the swipes decided so far leave them.
    pub(super) coupons: Coupons,
    /// What was redeemed of offers whose limits look back; as the swipes decided so far leave it.
    pub(super) uses: Uses,
    pub(super) heirs: HashMap<i64, Heir>,
    pub(super) batch: Batch,
    pub(super) decided: Vec<Decided>,
}

impl Fold<'_> {
    /// One account: its jobs one after another, each on what the one before left.
    pub(super) fn account(&mut self, before: &Hot, chain: &[Route], jobs: &[Job]) -> Hot {
        let mut hot = before.clone();
        let has_profile = hot.account.state != State::House;
        if has_profile {
            before.read_profile(&mut self.workbench.profile);
        }
        self.sold_here = (chain.len() > 1).then(SoldLines::new);
        let decided_before = self.decided.len();
        for route in chain {
            match &jobs[route.job].command {
                Command::Record(swipe) if self.must_wait(swipe) => {}
                Command::Record(swipe) => self.swipe(&mut hot, swipe, route, &jobs[route.job]),
                Command::Void(_) => self.void(&mut hot, route, &jobs[route.job]),
            }
        }
        if self.decided.len() > decided_before {
            if has_profile {
                hot.profile = self.workbench.profile.encode().into();
            }
            let checkpoint = |version: i64| version / CHECKPOINT_VERSIONS;
            let due = checkpoint(before.account.version) < checkpoint(hot.account.version);
            let profile = (due && has_profile).then(|| hot.profile.to_vec());
            if profile.is_some() {
                hot.tail_since = Date::MAX;
            }
            let (expected, since) = (before.account.version, Some(hot.tail_since));
            self.batch.account(expected, &hot.account, profile, since);
        }
        hot
    }

    /// What heirs inherit, after everything that they inherit from.
    pub(super) fn inheritances(&mut self) {
        self.heirs.retain(|_, heir| !heir.booked.is_empty());
        for heir in self.heirs.values() {
            for (version, business_date, booked) in &heir.booked {
                self.batch.entries(*version, *business_date, booked);
            }
            let since = Some(heir.hot.tail_since);
            self.batch.account(heir.expected, &heir.hot.account, None, since);
        }
    }

    fn swipe(&mut self, hot: &mut Hot, swipe: &Swipe, route: &Route, job: &Job) {
        let business_date = swipe.name.business_date;
        let Some(epoch) = self.snapshot.epoch_on(business_date) else { return };
        let products: Vec<Product> =
            swipe.lines.iter().map(|line| self.snapshot.product(&line.sku, epoch)).collect();
        let kind = match (&route.recorded, swipe.training) {
            (Some(_), _) => Kind::SaleAfterVoid,
            (None, true) => Kind::Training,
            (None, false) => Kind::Sale,
        };
        // First of all: some coupons give points.
        let store_no = job.workstation.store_no;
        let lines = &swipe.lines;
        let basket = Basket { business_date, store_no, lines, products: &products };
        let taken = self.redeem(hot, hot.account.version + 1, swipe, &basket);
        let for_customer = hot.account.state != State::House;
        let decision = if for_customer {
            let returned: Vec<Option<SoldLine>> =
                swipe.lines.iter().map(|line| self.sold_line(&line.kind)).collect();
            let (programme, place) = (&epoch.programme, job.workstation.place());
            let facts = Facts { programme, products: &products, returned: &returned, place };
            swipe::decide_boosted(&hot.account, swipe, &facts, &taken.boosts)
        } else {
            swipe::decide_for_house(&hot.account, swipe, kind == Kind::Sale)
        };
        if for_customer {
            self.learn(hot, swipe, &products, job);
            self.sell(swipe, &products, &decision, &epoch.programme, &job.name);
        }

        let version = decision.account.version;
        let gifts = match kind {
            Kind::Sale if !swipe.offline => self.give(hot, version, &basket, swipe, job),
            _ => Gifts::default(),
        };
        let (programme, outcomes) = (&epoch.programme, &*taken.outcomes);
        let Gifts { given, counted: chosen, decision: noted } = gifts;
        let answer = receipt_of(swipe, kind, &decision, outcomes, &given, programme, self.now);
        let content = content::hash(swipe);
        match &route.recorded {
            None => {
                self.batch.claim(KeyRow {
                    name: job.name.clone(),
                    version,
                    void_version: 0,
                    content,
                });
            }
            Some(tombstone) => {
                let void_version = tombstone.void_version;
                self.batch.rekey(KeyRow { name: job.name.clone(), version, void_version, content });
            }
        }
        self.batch.swipe(&SwipeRow {
            version,
            name: &job.name,
            kind,
            epoch: epoch.epoch,
            occurred_at: swipe.occurred_at,
            total_minor: swipe.total_minor,
            earned: decision.earned,
            reversed: decision.reversed,
            spent: decision.spent,
            record: &record::encode(swipe, &products, &decision),
            receipt: &self.workbench.compressor.compress(&answer),
            decision: &noted,
        });
        self.batch.entries(version, business_date, &decision.entries);
        let (job, account_id) = (route.job, hot.account.account_id);
        let (voided, value_differs) = (kind == Kind::SaleAfterVoid, decision.value_differs);
        let (over, redeemed) = (taken.over, taken.redeemed);
        self.decided.push(Decided {
            job,
            account_id,
            answer,
            voided,
            value_differs,
            over,
            redeemed,
            chosen,
        });
        hot.account = decision.account;
    }

    /// The line of a known sale that a line brings back.
    fn sold_line(&self, kind: &LineKind) -> Option<SoldLine> {
        let sold_on = sold_on(kind)?;
        let line = (name_of(self.snapshot, sold_on)?, sold_on.line);
        let sold_here = || self.sold_here.as_ref()?.get(&line);
        self.sold.get(&line).or_else(sold_here).copied()
    }

    /// Takes a basket into the profile.
    fn learn(&mut self, hot: &mut Hot, swipe: &Swipe, products: &[Product], job: &Job) {
        let business_date = swipe.name.business_date;
        let sold: Vec<Product> = swipe
            .lines
            .iter()
            .zip(products)
            .filter(|(line, _)| line.kind == LineKind::Sale)
            .map(|(_, product)| *product)
            .collect();
        let workstation_no = job.name.workstation_no;
        let visit = self.snapshot.visit(workstation_no, business_date, swipe.occurred_at);
        let (total_minor, redemptions) = (swipe.total_minor, coupons_among(&swipe.redemptions));
        let visit = Visit { total_minor, redemptions, sold: &sold, ..visit };
        self.workbench.profile.learn(&visit);
        hot.tail_since = hot.tail_since.min(business_date);
    }

    /// A line that comes back later in this very batch finds what it earned and counted. Only on
    /// the same account, which moves as a whole: elsewhere the sale may turn out to be none.
    fn sell(
        &mut self,
        swipe: &Swipe,
        products: &[Product],
        decision: &Decision,
        programme: &Programme,
        name: &NameKey,
    ) {
        let Some(sold_here) = &mut self.sold_here else { return };
        let lot = programme.lot_of(swipe.name.business_date);
        let counted_on = programme.counted_on(swipe.name.business_date);
        let lines = swipe.lines.iter().zip(products).zip(&decision.line_points);
        for ((line, product), points) in lines {
            if line.kind == LineKind::Sale {
                let (points, quantity) = (*points, line.quantity);
                let qualifying_minor = programme.qualifying_minor(product, line.net_minor());
                let sold = SoldLine { points, quantity, lot, qualifying_minor, counted_on };
                sold_here.insert((name.clone(), line.line), sold);
            }
        }
    }

    fn void(&mut self, hot: &mut Hot, route: &Route, job: &Job) {
        let business_date = job.name.business_date;
        let (kind, epoch, total_minor, decision, content, sale_version);
        match (self.sales.get(&route.job), &route.recorded) {
            (Some((sale, entries)), Some(fact)) => {
                let Some(of_sale) = self.snapshot.epoch(sale.epoch) else { return };
                let counted = sale.kind == Kind::Sale as i16;
                let lot = of_sale.programme.lot_of(business_date);
                total_minor = sale.total_minor;
                let is_house = hot.account.state == State::House;
                let tallied = match sale.record() {
                    Ok(record) if counted && !is_house => {
                        swipe::counted_by(&record, business_date, &of_sale.programme)
                    }
                    _ => Counted::default(),
                };
                let (tallied, entries) = (&tallied, entries.as_slice());
                let sale =
                    SaleToVoid { business_date, total_minor, counted, entries, lot, tallied };
                decision = swipe::decide_void(&hot.account, &sale);
                kind = Kind::Void;
                epoch = of_sale.epoch;
                sale_version = fact.version;
                if !self.undo_coupons(hot, decision.account.version, fact, job) {
                    return;
                }
                content = ContentHash::try_from(fact.content.as_slice()).unwrap_or([0; 17]);
            }
            _ => {
                let Some(current) = self.snapshot.epoch_on(business_date) else { return };
                decision = swipe::decide_tombstone(&hot.account, business_date);
                (kind, epoch, total_minor) = (Kind::Tombstone, current.epoch, 0);
                (sale_version, content) = (0, [0; 17]);
            }
        }
        let Command::Void(name) = &job.command else { return };
        let mut decision = decision;
        let holder = match self.heirs.get_mut(&hot.account.account_id) {
            None => &decision.account,
            Some(heir) => {
                let (account, booked) = swipe::hand_on(&mut decision, &heir.hot.account);
                heir.booked.push((account.version, business_date, booked));
                heir.hot.account = account;
                &heir.hot.account
            }
        };
        let answer = void_receipt_of(name, kind, &decision, holder, self.now);
        let version = decision.account.version;
        let row = KeyRow {
            name: job.name.clone(),
            version: sale_version,
            void_version: version,
            content,
        };
        match kind {
            Kind::Void => self.batch.rekey(row),
            _ => self.batch.claim(row),
        }
        self.batch.swipe(&SwipeRow {
            version,
            name: &job.name,
            kind,
            epoch,
            occurred_at: self.now,
            total_minor: -total_minor,
            earned: decision.earned,
            reversed: decision.reversed,
            spent: decision.spent,
            record: &[],
            receipt: &self.workbench.compressor.compress(&answer),
            decision: &[],
        });
        self.batch.entries(version, business_date, &decision.entries);
        let account_id = hot.account.account_id;
        let job = route.job;
        self.decided.push(Decided {
            job,
            account_id,
            answer,
            voided: true,
            value_differs: false,
            over: Over::default(),
            redeemed: Vec::new(),
            chosen: Chosen::default(),
        });
        hot.account = decision.account;
    }
}

// ---------------------------------------------------------------------- answers

fn receipt_of(
    swipe: &Swipe,
    kind: Kind,
    decision: &Decision,
    outcomes: &[coupon::Outcome],
    gifts: &[(Code, Choice)],
    programme: &Programme,
    now: Timestamp,
) -> Bytes {
    let (points, mut messages) = points_of(&decision.account, decision);
    if swipe.points_spent > 0 && decision.spent == 0 {
        messages.push("The points of this payment were not booked.".into());
    }
    match kind {
        Kind::Training => messages.push("Training: nothing was booked.".into()),
        Kind::SaleAfterVoid => messages
            .push("This transaction was voided before it arrived here; it earns nothing.".into()),
        _ => {}
    }
    let (account, before) = (&decision.account, decision.before.tier_no);
    let tier_no = programme.tier_no(&account.tally, account.clock);
    if let Some(reached) = programme.tier_name(tier_no).filter(|_| tier_no > before) {
        messages.push(format!("You have reached {reached}."));
    }
    receipt::to_bytes(&Receipt {
        swipe: &swipe.name.to_string(),
        account: shown_account(account),
        recorded_at: now,
        points,
        tier: Tier::of_account(programme, account, account.clock),
        redemptions: swipe
            .redemptions
            .iter()
            .zip(outcomes)
            .map(|(redemption, outcome)| RedemptionOutcome::new(redemption, *outcome))
            .collect(),
        coupons: shown(gifts),
        messages,
    })
}

/// `holder` has the points now: the account of the sale, or the one that it was merged into.
fn void_receipt_of(
    name: &SwipeName,
    kind: Kind,
    decision: &Decision,
    holder: &Account,
    now: Timestamp,
) -> Bytes {
    let (points, mut messages) = points_of(holder, decision);
    if kind == Kind::Tombstone {
        messages.push("The sale has not arrived here yet; it will earn nothing.".into());
    }
    receipt::to_bytes(&VoidReceipt {
        swipe: &name.to_string(),
        account: shown_account(holder),
        voided_at: now,
        points,
        messages,
    })
}

/// The points object, and what must be said about it.
fn points_of(account: &Account, decision: &Decision) -> (Points, Vec<String>) {
    let Decision { earned, reversed, spent, short, .. } = *decision;
    if account.state == State::House {
        return (Points { earned, reversed, spent, ..Points::default() }, Vec::new());
    }
    let standing = standing::of(account, account.clock);
    let mut messages = Vec::new();
    if account.state == State::Provisional {
        messages.push(format!(
            "This card is not enrolled yet. {} points are waiting for whoever enrols it.",
            standing.balance
        ));
    }
    if account.state == State::Blocked {
        messages.push(format!(
            "This card is blocked. {} points are waiting; please ask at the service desk.",
            standing.balance
        ));
    }
    if short > 0 {
        messages.push(format!("{short} of the points that paid were not there; they are owed."));
    }
    (Points { earned, reversed, spent, short, ..Points::of_account(&standing) }, messages)
}

fn shown_account(account: &Account) -> Option<String> {
    (account.state == State::Enrolled).then(|| account_text(account.account_id))
}

// ---------------------------------------------------------------- small look-ups

pub(super) fn sold_on(kind: &LineKind) -> Option<&SoldOn> {
    match kind {
        LineKind::Return { sold_on } => sold_on.as_ref(),
        LineKind::Sale => None,
    }
}

pub(super) fn name_of(snapshot: &Snapshot, sold_on: &SoldOn) -> Option<NameKey> {
    let name = &sold_on.swipe;
    let workstation = snapshot.workstation(&name.store_id, &name.workstation_id)?;
    Some(NameKey::new(workstation, name))
}
