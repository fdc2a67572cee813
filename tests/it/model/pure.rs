//! The model against `domain`, without a database: what follows from each operation, entry by
//! entry.
//!
//! Names and links are the model's: there is nothing in `domain` that knows them.

use tillside::domain::account::{Account, State};
use tillside::domain::basket::{Adjustment, AdjustmentKind, Line, LineKind, SoldOn, Swipe};
use tillside::domain::content;
use tillside::domain::desk::{decide_adjustment, decide_expiry};
use tillside::domain::ledger::{DEBT, Entry, EntryKind, LotKey, Lots};
use tillside::domain::name::SwipeName;
use tillside::domain::product::Product;
use tillside::domain::programme::earning::Place;
use tillside::domain::programme::tiers::{self, Downgrade, TierPolicy};
use tillside::domain::programme::{BaseRate, EarnRule, Multiplier, Programme, Rules};
use tillside::domain::quantity::Quantity;
use tillside::domain::record;
use tillside::domain::standing;
use tillside::domain::swipe::{
    Facts, SaleToVoid, SoldLine, counted_by, decide, decide_void, hand_on,
};
use tillside::domain::tally::Counted;

use super::account::{self as model, Kind, Standing};
use super::chain::{self, Answer, Chain, Name, Purchase, Receipt, Way};
use super::operations::Operation;
use super::tiers::{Tier, Tiers};

/// What `domain` has decided so far; accounts and names in the order of the model's.
pub(crate) struct Domain {
    programme: Programme,
    accounts: Vec<Booked>,
    sales: Vec<Sale>,
}

/// An account with everything that was booked on it.
struct Booked {
    account: Account,
    entries: Vec<Entry>,
    /// The version at which it was last compared with the model's.
    checked: i64,
}

/// What is remembered of a sale.
struct Sale {
    name: Name,
    lines: Vec<i64>,
    entries: Vec<Entry>,
    total_minor: i64,
    tallied: Counted,
    voided: bool,
}

impl Domain {
    /// With the accounts that a chain begins with.
    pub(crate) fn new(chain: &Chain) -> Self {
        let rules = rules(&chain.programme);
        let programme = Programme::compile(&rules, |_, _| None).expect("within the limits");
        let imported = |(id, account): (i64, &model::Account)| {
            let mut booked = Booked::new(id);
            for (key, points) in lots_of(account) {
                let lots = &mut booked.account.lots;
                lots.add(EntryKind::Adjust, points, key, &mut Vec::new());
            }
            let entry = |entry: &model::Entry| Entry {
                kind: kind(entry.kind),
                points: entry.points,
                lot: lot_key(entry.lot),
            };
            booked.entries = account.entries.iter().map(entry).collect();
            booked
        };
        let accounts = (0..).zip(&chain.accounts).map(imported).collect();
        Self { programme, accounts, sales: Vec::new() }
    }

    /// Does what the model has just done with an operation, and compares.
    pub(crate) fn follow(&mut self, operation: &Operation, answer: &Answer, chain: &Chain) {
        while self.accounts.len() < chain.accounts.len() {
            self.accounts.push(Booked::new(i64::try_from(self.accounts.len()).expect("few")));
        }
        match (operation, answer) {
            (Operation::Swipe(purchase), Answer::Done { receipt, .. }) => {
                self.buy(purchase, receipt, chain);
            }
            (Operation::Swipe(purchase), answer) => {
                let named = chain.named(purchase.name).expect("it was sent before");
                let known = named.purchase.as_ref().expect("it was sent before");
                let same =
                    content::matches(content::hash(&swipe(known)).as_ref(), &swipe(purchase));
                assert_eq!(same, matches!(answer, Answer::Again { .. }));
            }
            (Operation::Void(name), Answer::Done { receipt, .. }) => {
                self.void(*name, receipt, chain);
            }
            (Operation::Enrol { card, .. }, Answer::Card(Ok(true))) => self.enrol(*card, chain),
            (Operation::Adjust { card, date, points, .. }, Answer::Card(Ok(true))) => {
                let booked = &mut self.accounts[chain.account_of(*card).expect("it was used")];
                let lot = self.programme.lot_of(*date);
                let (account, entries) = decide_adjustment(&booked.account, *points, *date, lot);
                booked.account = account;
                booked.entries.extend(entries);
            }
            (Operation::Sweep { card, date }, answer) => {
                let booked = &mut self.accounts[chain.account_of(*card).expect("it was used")];
                let expired = decide_expiry(&booked.account, *date);
                assert_eq!(*answer, Answer::Card(Ok(expired.is_some())), "whether points ran out");
                if let Some((account, entries)) = expired {
                    booked.account = account;
                    booked.entries.extend(entries);
                }
            }
            _ => {}
        }
        for (booked, expected) in self.accounts.iter_mut().zip(&chain.accounts) {
            // What has not moved since was checked before.
            if (booked.account.version, expected.version) != (booked.checked, booked.checked) {
                check(booked, expected);
                assert_eq!(expected.version, booked.checked + 1, "each event is one version");
                booked.checked = expected.version;
            }
        }
    }

    fn buy(&mut self, purchase: &Purchase, expected: &Receipt, chain: &Chain) {
        let named = chain.named(purchase.name).expect("the model has it");
        let Some(at) = named.account else { return };
        let swipe = swipe(purchase);
        let products: Vec<Product> = purchase.lines.iter().map(product).collect();
        let returned: Vec<Option<SoldLine>> =
            purchase.lines.iter().map(|line| self.sold_line(line, chain)).collect();
        let facts = Facts {
            programme: &self.programme,
            products: &products,
            returned: &returned,
            place: Place::default(),
        };
        let booked = &mut self.accounts[at];
        let decision = decide(&booked.account, &swipe, &facts);
        let record = record::encode(&swipe, &products, &decision);
        let record = record::decode(&record).expect("just written");
        let date = purchase.name.business_date;
        let tallied = counted_by(&record, date, &self.programme);
        booked.account = decision.account;
        booked.entries.extend(&decision.entries);
        let receipt = Receipt {
            earned: decision.earned,
            reversed: decision.reversed,
            spent: decision.spent,
            short: decision.short,
            standing: Some(stands(&booked.account)),
            tier: self
                .programme
                .tier_standing(&booked.account.tally, booked.account.clock)
                .map(|it| Tier { number: tier_no(it.name), to_next_minor: it.to_next_minor }),
        };
        assert_eq!(receipt, *expected);
        self.sales.push(Sale {
            name: purchase.name,
            lines: decision.line_points,
            entries: decision.entries,
            total_minor: swipe.total_minor,
            tallied,
            voided: false,
        });
    }

    fn sold_line(&self, line: &chain::Line, chain: &Chain) -> Option<SoldLine> {
        let Way::BackFrom { name, line } = line.way else { return None };
        let sale = self.sales.iter().find(|sale| sale.name == name)?;
        let sold = &chain.named(name)?.purchase.as_ref()?.lines[line - 1];
        Some(SoldLine {
            points: if sale.voided { 0 } else { sale.lines[line - 1] },
            quantity: quantity(sold.quantity),
            lot: self.programme.lot_of(name.business_date),
            qualifying_minor: match sale.voided {
                true => 0,
                false => self.programme.qualifying_minor(&product(sold), sold.net_minor()),
            },
            counted_on: self.programme.counted_on(name.business_date),
        })
    }

    fn void(&mut self, name: Name, expected: &Receipt, chain: &Chain) {
        let Some(sale) = self.sales.iter_mut().find(|sale| sale.name == name) else {
            assert_eq!(*expected, Receipt::default(), "it moved no points");
            return;
        };
        sale.voided = true;
        let entries: Vec<Entry> =
            sale.entries.iter().filter(|entry| entry.kind != EntryKind::Expire).copied().collect();
        let sale = SaleToVoid {
            business_date: name.business_date,
            total_minor: sale.total_minor,
            counted: true,
            entries: &entries,
            lot: self.programme.lot_of(name.business_date),
            tallied: &sale.tallied,
        };
        let at = chain.named(name).and_then(|named| named.account).expect("it was booked");
        let mut decision = decide_void(&self.accounts[at].account, &sale);
        let heir = chain.heir_of(at);
        if heir != at {
            let (account, booked) = hand_on(&mut decision, &self.accounts[heir].account);
            self.accounts[heir].account = account;
            self.accounts[heir].entries.extend(booked);
        }
        self.accounts[at].account = decision.account;
        self.accounts[at].entries.extend(decision.entries);
        let receipt = Receipt {
            earned: decision.earned,
            reversed: decision.reversed,
            spent: decision.spent,
            short: decision.short,
            standing: Some(stands(&self.accounts[heir].account)),
            tier: None,
        };
        assert_eq!(receipt, *expected);
    }

    /// Of enrolments `domain` knows only how lots move; the rest is done as the model did it.
    fn enrol(&mut self, card: u8, chain: &Chain) {
        let at = chain.account_of(card).expect("it was just enrolled");
        self.accounts[at].account.state = State::Enrolled;
        let merged = self.accounts.iter().zip(&chain.accounts).position(|(booked, expected)| {
            expected.merged_into == Some(at) && booked.account.state != State::Merged
        });
        let Some(from) = merged else {
            self.accounts[at].account.version += 1;
            return;
        };
        let mut left = self.accounts[from].account.clone();
        left.state = State::Merged;
        let heir = &mut self.accounts[at];
        let mut gone = Vec::new();
        for (account, entries) in [(&mut left, &mut gone), (&mut heir.account, &mut heir.entries)] {
            account.version += 1;
            account.clock = account.clock.max(chain.today);
            account.lots.expire(account.clock, entries);
        }
        left.lots.move_to(&mut heir.account.lots, &mut gone, &mut heir.entries);
        left.tally.move_to(&mut heir.account.tally);
        heir.account.lots.expire(heir.account.clock, &mut heir.entries);
        self.accounts[from].account = left;
        self.accounts[from].entries.extend(gone);
    }
}

/// The rules of a programme as people write them.
pub(crate) fn rules(programme: &chain::Programme) -> Rules {
    let small = |points: i64| u32::try_from(points).expect("small");
    let most = |points: i64| Some(small(points)).filter(|points| *points > 0);
    let mut rules = programme.tiers.as_ref().map(rules_of_tiers).unwrap_or_default();
    for doubling in &mut rules.rules {
        doubling.cap_per_swipe = most(programme.doubling_most);
    }
    if programme.half_more {
        let multiplier = Some(Multiplier(1_500));
        let name = "half as much again".into();
        rules.rules.push(EarnRule { name, multiplier, ..EarnRule::default() });
    }
    if programme.per_item > 0 {
        rules.rules.push(EarnRule {
            name: "for each piece".into(),
            points_per_item: Some(small(programme.per_item)),
            cap_per_swipe: most(programme.items_most),
            ..EarnRule::default()
        });
    }
    Rules {
        earn: BaseRate { points: small(programme.points), per_minor: small(programme.per_minor) },
        expire_after_months: match programme.months {
            0 => None,
            months => Some(months.try_into().expect("small")),
        },
        cap_per_day: most(programme.per_day),
        ..rules
    }
}

/// Rules that have these tiers, and nothing else to say.
fn rules_of_tiers(of: &Tiers) -> Rules {
    let numbered = || (1_usize..).zip(of.thresholds);
    let doubling = numbered().filter(|(number, _)| *number >= of.doubles_from);
    let doubles = EarnRule {
        name: "twice as much".into(),
        tiers: doubling.map(|(number, _)| tier_name(number)).collect(),
        multiplier: Some(Multiplier(2_000)),
        ..EarnRule::default()
    };
    Rules {
        tiers: numbered()
            .map(|(number, threshold_minor)| tiers::Tier {
                name: tier_name(number),
                threshold_minor,
            })
            .collect(),
        tier_policy: Some(TierPolicy {
            window_months: of.window.try_into().expect("small"),
            grace_months: of.grace.try_into().expect("small"),
            downgrade: if of.steps { Downgrade::Step } else { Downgrade::Straight },
        }),
        rules: if of.doubles_from > 0 { vec![doubles] } else { Vec::new() },
        ..Rules::default()
    }
}

fn tier_name(number: usize) -> String {
    format!("tier {number}")
}

/// The number of a tier by its name; 0 for none.
pub(crate) fn tier_no(name: Option<&str>) -> usize {
    let number = |name: &str| name.strip_prefix("tier ")?.parse().ok();
    name.map_or(0, |name| number(name).expect("the name of a tier"))
}

fn product(line: &chain::Line) -> Product {
    Product { no_points: line.no_points, ..Product::default() }
}

impl Booked {
    fn new(id: i64) -> Self {
        let account = Account::new(id, State::Provisional);
        Self { account, entries: Vec::new(), checked: 0 }
    }
}

/// Everything that must hold of an account after every operation.
fn check(booked: &Booked, expected: &model::Account) {
    let account = &booked.account;
    assert_eq!(account.version, expected.version, "version");
    assert_eq!(account.clock, clock(expected), "clock");
    let lots: Vec<(LotKey, i64)> = account.lots.iter().map(|lot| (lot.key, lot.points)).collect();
    assert_eq!(lots, lots_of(expected), "lots");
    let below_zero = account.lots.iter().filter(|lot| lot.points <= 0 && lot.key != DEBT).count();
    assert_eq!(below_zero, 0, "lots without points");
    assert_eq!(account.lots.total(), expected.total(), "total");
    let entries: i64 = booked.entries.iter().map(|entry| entry.points).sum();
    assert_eq!(entries, account.lots.total(), "the sum of the entries");
    let replayed = Lots::replay(booked.entries.iter().map(|entry| (entry.points, entry.lot)));
    assert_eq!(replayed, account.lots, "what the entries lead to");
    let spendable = account.lots.spendable(account.clock);
    assert!(spendable <= account.lots.total() + account.lots.debt(), "spendable {spendable}");
    let booked: Vec<(EntryKind, i64, LotKey)> =
        booked.entries.iter().map(|entry| (entry.kind, entry.points, entry.lot)).collect();
    let wanted: Vec<(EntryKind, i64, LotKey)> = expected
        .entries
        .iter()
        .map(|entry| (kind(entry.kind), entry.points, lot_key(entry.lot)))
        .collect();
    assert_eq!(booked, wanted, "entries");
}

fn clock(account: &model::Account) -> jiff::civil::Date {
    // An account that has seen nothing: both begin before all dates.
    account.clock.max(tillside::domain::account::CLOCK_START)
}

/// The lots as `domain` keeps them: what is owed is one of them.
pub(crate) fn lots_of(account: &model::Account) -> Vec<(LotKey, i64)> {
    let mut lots: Vec<(LotKey, i64)> =
        account.lots.iter().map(|lot| (lot_key(Some(lot.key)), lot.points)).collect();
    if account.owed > 0 {
        lots.push((DEBT, -account.owed));
    }
    lots.sort_by_key(|(key, _)| *key);
    lots
}

/// The lot of an entry as `domain` names it.
pub(crate) fn lot_key(lot: Option<model::Key>) -> LotKey {
    lot.map_or(DEBT, |key| LotKey {
        expires_on: key.expires_on,
        available_from: key.available_from,
    })
}

/// Why points moved, as the ledger numbers it.
pub(crate) fn kind(kind: Kind) -> EntryKind {
    match kind {
        Kind::Earn => EntryKind::Earn,
        Kind::Redeem => EntryKind::Redeem,
        Kind::ReverseEarn => EntryKind::ReverseEarn,
        Kind::ReverseRedeem => EntryKind::ReverseRedeem,
        Kind::Expire => EntryKind::Expire,
        Kind::Adjust => EntryKind::Adjust,
        Kind::Transfer => EntryKind::Transfer,
    }
}

fn stands(account: &Account) -> Standing {
    let standing = standing::of(account, account.clock);
    Standing {
        balance: standing.balance,
        spendable: standing.spendable,
        pending: standing.pending,
        next_expiry: standing.next_expiry,
    }
}

fn quantity(thousandths: i64) -> Quantity {
    Quantity::from_thousandths(thousandths).expect("in range")
}

fn swipe_name(name: Name) -> SwipeName {
    SwipeName {
        store_id: "0367".into(),
        workstation_id: "03".into(),
        business_date: name.business_date,
        sequence_number: name.number,
    }
}

/// The transaction as `domain` reads it.
fn swipe(purchase: &Purchase) -> Swipe {
    let lines = purchase.lines.iter().zip(1..).map(|(line, number)| Line {
        line: number,
        kind: match line.way {
            Way::Sold => LineKind::Sale,
            Way::Back => LineKind::Return { sold_on: None },
            Way::BackFrom { name, line } => LineKind::Return {
                sold_on: Some(SoldOn {
                    swipe: swipe_name(name),
                    line: line.try_into().expect("few lines"),
                }),
            },
        },
        sku: if line.no_points { "902192" } else { "1095275" }.into(),
        quantity: quantity(line.quantity),
        amount_minor: line.amount_minor,
        discount_minor: line.discount_minor,
    });
    let tax = Adjustment { kind: AdjustmentKind::Tax, amount_minor: purchase.tax_minor };
    Swipe {
        name: swipe_name(purchase.name),
        occurred_at: jiff::Timestamp::UNIX_EPOCH,
        card: purchase.card.map(|card| card.to_string()),
        entry_method: None,
        operator_id: None,
        training: purchase.training,
        offline: false,
        lines: lines.collect(),
        adjustments: vec![tax],
        total_minor: purchase.total_minor(),
        redemptions: Vec::new(),
        points_spent: purchase.points_spent,
        points_value_minor: purchase.points_value_minor,
    }
}
