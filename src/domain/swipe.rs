//! What follows from a swipe: the one place where a transaction becomes points.
//!
//! Each function takes an account and facts, and returns the account as it will be, the ledger
//! entries that lead there, and what the receipt says. Nothing is refused here: a sale that
//! happened is recorded, and what could not be granted is an outcome.

use jiff::civil::Date;

use super::account::{Account, State};
use super::basket::{LineKind, Swipe};
use super::boost::{self, Boost, Boosted};
use super::ledger::{DEBT, Entry, EntryKind, LotKey};
use super::product::Product;
use super::programme::Programme;
use super::programme::caps::EarnedBefore;
use super::programme::earning::{Occasion, Place, Sold};
use super::quantity::Quantity;
use super::record::Record;
use super::tally::{Counted, CountedOn, month_of};

/// What a recorded transaction is. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum Kind {
    /// A sale, with returns in it or not.
    Sale = 0,
    /// Practice.
    Training = 1,
    /// A sale that came after its void, and never counted.
    SaleAfterVoid = 2,
    /// The void of a recorded sale.
    Void = 3,
    /// A void that came before its sale.
    Tombstone = 4,
}

impl Kind {
    /// The kind that a stored number stands for.
    pub fn from_code(code: i16) -> Option<Self> {
        [Self::Sale, Self::Training, Self::SaleAfterVoid, Self::Void, Self::Tombstone]
            .into_iter()
            .find(|kind| *kind as i16 == code)
    }
}

/// What must be known to decide a sale.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The rules in force at the business date.
    pub programme: &'a Programme,
    /// The article of each line.
    pub products: &'a [Product],
    /// For each line: where it returns a line of a sale that is known, that line.
    pub returned: &'a [Option<SoldLine>],
    /// The store, which rules may name and whose clock they may look at.
    pub place: Place<'a>,
}

/// A recorded line of sale, as a return needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoldLine {
    /// What it earned; 0 when the sale was voided since or earned for nobody.
    pub points: i64,
    /// How much was sold.
    pub quantity: Quantity,
    /// The lot that it earned into.
    pub lot: LotKey,
    /// What it counted towards tiers, in minor units; 0 when it earned for nobody, or was voided.
    pub qualifying_minor: i64,
    /// Where its points were counted against caps.
    pub counted_on: CountedOn,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The account as it will be.
    pub account: Account,
    /// What leads there, in order.
    pub entries: Vec<Entry>,
    /// Points earned or taken back on each line, ≥ 0.
    pub line_points: Vec<i64>,
    /// What each line that brings something back takes off what counted towards tiers, in minor
    /// units; of no lines at all where none does.
    pub line_qualifying: Vec<i64>,
    /// Where the points are taken off again that each line takes back, of what caps count; of no
    /// lines at all where none does.
    pub line_counted_on: Vec<CountedOn>,
    /// What the account had before.
    pub before: Before,
    /// Points that this transaction earned.
    pub earned: i64,
    /// Points that this transaction took back.
    pub reversed: i64,
    /// Points that paid in this transaction; negative where a void gave them back.
    pub spent: i64,
    /// The part of those that was not there, and is owed.
    pub short: i64,
    /// Whether the till gave something else for them than the programme says.
    pub value_differs: bool,
    /// What coupons added to what was earned.
    pub boosted: Vec<Boosted>,
}

impl Decision {
    /// One that has changed nothing but the account's version and clock.
    pub(super) fn without_points(account: Account, entries: Vec<Entry>) -> Self {
        Self {
            account,
            entries,
            line_points: Vec::new(),
            line_qualifying: Vec::new(),
            line_counted_on: Vec::new(),
            before: Before::default(),
            earned: 0,
            reversed: 0,
            spent: 0,
            short: 0,
            value_differs: false,
            boosted: Vec::new(),
        }
    }
}

/// What an account has when a transaction comes that decides about what it earns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// The tier that is held, as [`Programme::tier_no`] numbers them.
    pub tier_no: u8,
    /// What it has earned, of what caps count.
    pub earned: EarnedBefore,
}

/// A sale, with returns in it or not, on a customer's account.
pub fn decide(account: &Account, swipe: &Swipe, facts: &Facts<'_>) -> Decision {
    decide_boosted(account, swipe, facts, &[])
}

/// As [`decide`], with coupons that give points.
pub fn decide_boosted(
    account: &Account,
    swipe: &Swipe,
    facts: &Facts<'_>,
    boosts: &[Boost],
) -> Decision {
    let (programme, business_date) = (facts.programme, swipe.name.business_date);
    let clock = account.clock.max(business_date);
    let before = Before {
        tier_no: programme.tier_no(&account.tally, clock),
        earned: programme.earned_before(&account.tally, business_date),
    };
    decide_from(account, before, swipe, facts, boosts)
}

/// As [`decide_boosted`], where what the account had before is known otherwise: as it was
/// recorded.
pub fn decide_from(
    account: &Account,
    before: Before,
    swipe: &Swipe,
    facts: &Facts<'_>,
    boosts: &[Boost],
) -> Decision {
    let business_date = swipe.name.business_date;
    let (mut next, mut entries) = begin(account, business_date);
    let lot = facts.programme.lot_of(business_date);
    // Before anything comes back or is earned: a basket does not pay with its own points.
    let short = next.lots.spend(swipe.points_spent, next.clock, &mut entries);
    let due_minor = facts.programme.value_minor_of(swipe.points_spent);

    let mut line_points = vec![0; swipe.lines.len()];
    let by_rules = earn(swipe, facts, before, &mut line_points);
    let net_minor = |at: usize| swipe.lines[at].net_minor();
    let boosted = boost::apply(boosts, net_minor, &mut line_points, |_, _, _| ());
    let earned = by_rules + boosted.iter().map(|boosted| boosted.points).sum::<i64>();
    // Of what is there when everything has been booked, this transaction's points included.
    let mut left = facts.programme.takes_at_most(next.lots.total() + earned);
    let mut reversed_by_rate = Running::default();
    let (mut taken_by_rate, mut taken_known) = (0, 0);
    let lines = swipe.lines.iter().zip(facts.products).zip(facts.returned).zip(&mut line_points);
    for (((line, product), returned), points) in lines {
        if line.kind == LineKind::Sale {
            continue;
        }
        if let Some(sold) = returned {
            *points = share_of(sold.points, sold.quantity, line.quantity).min(left);
            taken_known += *points;
            next.lots.take(EntryKind::ReverseEarn, *points, Some(sold.lot), &mut entries);
        } else {
            let eligible = facts.programme.earns(product);
            let amount_minor = if eligible { line.net_minor().max(0) } else { 0 };
            *points = reversed_by_rate.add(amount_minor, facts.programme).min(left);
            taken_by_rate += *points;
        }
        left -= *points;
    }
    next.lots.take(EntryKind::ReverseEarn, taken_by_rate, Some(lot), &mut entries);
    next.lots.add(EntryKind::Earn, earned, lot, &mut entries);

    let line_qualifying = line_qualifying(swipe, facts);
    let line_counted_on = line_counted_on(facts);
    let taken = (&*line_points, &*line_qualifying, &*line_counted_on);
    count(&mut next, swipe, facts, taken);

    next.sales_minor += swipe.total_minor;
    next.baskets = next.baskets.saturating_add(1);
    finish(&mut next, &mut entries);
    Decision {
        account: next,
        entries,
        line_points,
        line_qualifying,
        line_counted_on,
        before,
        earned,
        reversed: taken_known + taken_by_rate,
        spent: swipe.points_spent,
        short,
        value_differs: swipe.points_value_minor != due_minor,
        boosted,
    }
}

/// What the lines of sale earn; sets their elements of `line_points`.
fn earn(swipe: &Swipe, facts: &Facts<'_>, before: Before, line_points: &mut [i64]) -> i64 {
    let occasion = Occasion {
        business_date: swipe.name.business_date,
        occurred_at: swipe.occurred_at,
        place: facts.place,
        tier_no: before.tier_no,
        earned: before.earned,
    };
    let lines = swipe.lines.iter().zip(facts.products).enumerate();
    let sold = lines.filter(|(_, (line, _))| line.kind == LineKind::Sale);
    let sold = sold.map(|(at, (line, product))| Sold {
        at,
        product: *product,
        net_minor: line.net_minor(),
        quantity: line.quantity,
    });
    facts.programme.earn(&occasion, sold, line_points)
}

/// What the lines that bring something back take off what counted; no lines where none does.
fn line_qualifying(swipe: &Swipe, facts: &Facts<'_>) -> Vec<i64> {
    let mut taken = Vec::new();
    let lines = swipe.lines.iter().zip(facts.products).zip(facts.returned).enumerate();
    for (at, ((line, product), returned)) in lines {
        let taken_minor = match (&line.kind, returned) {
            (LineKind::Sale, _) => 0,
            (_, Some(sold)) => share_of(sold.qualifying_minor, sold.quantity, line.quantity),
            (_, None) => facts.programme.qualifying_minor(product, line.net_minor()),
        };
        if taken_minor != 0 {
            taken.resize(swipe.lines.len(), 0);
            taken[at] = taken_minor;
        }
    }
    taken
}

/// Where the lines that bring something back take its points off again; no lines where none does.
fn line_counted_on(facts: &Facts<'_>) -> Vec<CountedOn> {
    let sold = |returned: &Option<SoldLine>| returned.map(|it| it.counted_on).unwrap_or_default();
    let all: Vec<CountedOn> = facts.returned.iter().map(sold).collect();
    let is_any = all.iter().any(|on| *on != CountedOn::default());
    if is_any { all } else { Vec::new() }
}

/// Counts a sale on the account that it makes. `taken`: for each line its points, what it takes
/// off what counts towards tiers, and where it takes its points off what caps count.
fn count(
    next: &mut Account,
    swipe: &Swipe,
    facts: &Facts<'_>,
    (points, qualifying, counted_on): (&[i64], &[i64], &[CountedOn]),
) {
    let business_date = swipe.name.business_date;
    let lines = swipe.lines.iter().zip(facts.products).enumerate().map(|(at, (line, product))| {
        let (kind, net_minor) = (&line.kind, line.net_minor());
        let taken_minor = qualifying.get(at).copied().unwrap_or(0);
        let counted_on = counted_on.get(at).copied().unwrap_or_default();
        CountedLine { kind, product, net_minor, taken_minor, points: points[at], counted_on }
    });
    let counted = counted(business_date, lines, facts.programme);
    let since = facts.programme.qualifying_since(next.clock);
    // Rules of an earlier day may look back less far than those of today.
    if let Some(since) = since.filter(|_| business_date == next.clock) {
        next.tally.keep_qualifying(since);
    }
    let since = facts.programme.days_since(next.clock);
    if let Some(since) = since.filter(|_| business_date == next.clock) {
        next.tally.keep_days(since);
    }
    next.tally.count(&counted);
}

/// A line, as far as it counts.
struct CountedLine<'a> {
    kind: &'a LineKind,
    product: &'a Product,
    net_minor: i64,
    /// What it takes back, where it brings something back.
    taken_minor: i64,
    /// What it earned, or takes back.
    points: i64,
    /// Where it takes those off what caps count, where it brings something back.
    counted_on: CountedOn,
}

/// What a transaction counts: its sales for its own month, what it brings back for the month of
/// the sale that the till names.
fn counted<'a>(
    business_date: Date,
    lines: impl Iterator<Item = CountedLine<'a>>,
    programme: &Programme,
) -> Counted {
    let mut counted = Counted::default();
    let month = month_of(business_date);
    let (mut sold_minor, mut earned) = (0, 0);
    for line in lines {
        if line.kind != &LineKind::Sale {
            counted.points(line.counted_on, -line.points);
        }
        match line.kind {
            LineKind::Sale => {
                sold_minor += programme.qualifying_minor(line.product, line.net_minor);
                earned += line.points;
            }
            LineKind::Return { .. } if line.taken_minor == 0 => {}
            LineKind::Return { sold_on } => {
                let of_sale = sold_on.as_ref().map(|it| month_of(it.swipe.business_date));
                counted.qualifying.push((of_sale.unwrap_or(month), -line.taken_minor));
            }
        }
    }
    if sold_minor != 0 {
        counted.qualifying.push((month, sold_minor));
    }
    counted.points(programme.counted_on(business_date), earned);
    counted
}

/// What a recorded sale of a customer has counted.
pub fn counted_by(record: &Record, business_date: Date, programme: &Programme) -> Counted {
    let lines = record.lines.iter().map(|line| CountedLine {
        kind: &line.kind,
        product: &line.product,
        net_minor: line.amount_minor - line.discount_minor,
        taken_minor: line.qualifying_minor,
        points: line.points,
        counted_on: line.counted_on,
    });
    counted(business_date, lines, programme)
}

/// A transaction that belongs to nobody: without a card, in training, or voided before it came.
/// It is counted for the workstation, unless it never was a sale.
pub fn decide_for_house(account: &Account, swipe: &Swipe, counts: bool) -> Decision {
    let (mut next, mut entries) = begin(account, swipe.name.business_date);
    if counts {
        next.sales_minor += swipe.total_minor;
        next.baskets = next.baskets.saturating_add(1);
    }
    finish(&mut next, &mut entries);
    let line_points = vec![0; swipe.lines.len()];
    Decision { line_points, ..Decision::without_points(next, entries) }
}

/// What must be known to undo a sale.
#[derive(Clone, Copy, Debug)]
pub struct SaleToVoid<'a> {
    /// Its business date.
    pub business_date: Date,
    /// Its total, in minor units.
    pub total_minor: i64,
    /// Whether it was counted as a basket of the account.
    pub counted: bool,
    /// What it did to the points, expiries left out.
    pub entries: &'a [Entry],
    /// The lot into which the sale earned, or would have.
    pub lot: LotKey,
    /// What it counted, of all that its programme counts.
    pub tallied: &'a Counted,
}

/// Undoes a sale on the account that it was recorded on.
pub fn decide_void(account: &Account, sale: &SaleToVoid<'_>) -> Decision {
    let (mut next, mut entries) = begin(account, sale.business_date);
    let (mut taken, mut given, mut restored) = (0, 0, 0);
    // Last first: a debt that the sale left is paid with what it had taken last, and each lot
    // gets back its own points, not the ones of a lot that lasts longer.
    for entry in sale.entries.iter().rev() {
        // A debt that has been paid since cannot take points back: they go to the sale's lot.
        let lot = if entry.lot == DEBT { sale.lot } else { entry.lot };
        let points = entry.points.abs();
        match entry.kind {
            EntryKind::Redeem => {
                next.lots.add(EntryKind::ReverseRedeem, points, lot, &mut entries);
                restored += points;
            }
            _ if entry.points > 0 => {
                next.lots.take(EntryKind::ReverseEarn, points, Some(lot), &mut entries);
                taken += points;
            }
            _ => {
                next.lots.add(EntryKind::ReverseEarn, points, lot, &mut entries);
                given += points;
            }
        }
    }
    if sale.counted {
        next.sales_minor -= sale.total_minor;
        next.baskets = next.baskets.saturating_sub(1);
    }
    next.tally.take_back(sale.tallied);
    finish(&mut next, &mut entries);
    Decision {
        earned: given,
        reversed: taken,
        spent: -restored,
        ..Decision::without_points(next, entries)
    }
}

/// Hands on what a void left on an account that has been merged: its points, or its debt, are
/// those of the account that it was merged into, and so is what it counted. Returns that account
/// with its entries.
pub fn hand_on(decision: &mut Decision, heir: &Account) -> (Account, Vec<Entry>) {
    let (mut next, mut booked) = begin(heir, decision.account.clock);
    decision.account.lots.move_to(&mut next.lots, &mut decision.entries, &mut booked);
    decision.account.tally.move_to(&mut next.tally);
    finish(&mut next, &mut booked);
    (next, booked)
}

/// A void that came before its sale: leaves a mark on the house account and nothing else.
pub fn decide_tombstone(account: &Account, business_date: Date) -> Decision {
    let (next, entries) = begin(account, business_date);
    Decision::without_points(next, entries)
}

/// The next version of an account, its clock moved on and its due expiries written.
pub(super) fn begin(account: &Account, business_date: Date) -> (Account, Vec<Entry>) {
    let mut next = account.clone();
    let mut entries = Vec::new();
    next.version += 1;
    next.clock = next.clock.max(business_date);
    next.lots.expire(next.clock, &mut entries);
    (next, entries)
}

/// Writes off what was put into a lot that had already run out: late points and restored ones.
pub(super) fn finish(next: &mut Account, entries: &mut Vec<Entry>) {
    next.lots.expire(next.clock, entries);
    debug_assert!(
        next.state != State::House || next.lots.total() == 0,
        "house accounts earn nothing"
    );
}

/// Points of a growing sum of money; hands each addition its share, so that the shares add up
/// to the points of the whole.
#[derive(Default)]
struct Running {
    amount_minor: i64,
    points: i64,
}

impl Running {
    fn add(&mut self, amount_minor: i64, programme: &Programme) -> i64 {
        let before = self.points;
        self.amount_minor += amount_minor;
        self.points = programme.points_for(self.amount_minor);
        self.points - before
    }
}

/// The part of what a sold line has had that a returned quantity takes back, rounded down; all
/// of it when everything, or an article sold without a quantity, comes back.
fn share_of(whole: i64, sold: Quantity, returned: Quantity) -> i64 {
    if returned >= sold {
        return whole;
    }
    let exact =
        i128::from(whole) * i128::from(returned.thousandths()) / i128::from(sold.thousandths());
    i64::try_from(exact).expect("a share is not larger than the whole")
}
