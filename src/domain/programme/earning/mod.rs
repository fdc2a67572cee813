//! What a transaction earns: the rules as tables, and the walk over its lines.
//!
//! Each rule is one bit. What the rules say about the moment narrows the set once for a
//! transaction; what they say about articles is looked up line by line, one sorted table for
//! each level. Nothing here may read a name or a text: those were resolved when the epoch was
//! loaded. The precedence that is applied here is written down in [`super`]; what caps of single
//! rules do to it, [`own_caps`] owns.

pub mod own_caps;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use self::own_caps::{OwnCaps, OwnCut};
use super::Programme;
use super::caps::{Cut, EarnedBefore};
use super::rules::{Dates, EarnRule, Hours, Level};
use super::tiers::Tier;
use crate::domain::product::{Product, Taxa};
use crate::domain::quantity::Quantity;

/// A set of rules, a bit for each.
type RuleSet = u128;

/// Where a transaction happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'a> {
    /// Number of the store; 0 for none that is known.
    pub store_no: u32,
    /// The zone of its clocks; none: UTC.
    pub time_zone: Option<&'a TimeZone>,
}

/// Where and when a transaction happened.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// Its business date.
    pub business_date: Date,
    /// The moment, by the till's clock.
    pub occurred_at: Timestamp,
    /// The store.
    pub place: Place<'a>,
    /// The tier that the customer held before, as [`Programme::tier_no`] numbers them.
    pub tier_no: u8,
    /// What the account had earned before, of what caps count.
    pub earned: EarnedBefore,
}

/// A line of sale, as far as it earns.
#[derive(Clone, Copy, Debug)]
pub struct Sold {
    /// Which line of the transaction, counted from 0.
    pub at: usize,
    /// The article.
    pub product: Product,
    /// What it cost less discounts, in minor units.
    pub net_minor: i64,
    /// How much of it.
    pub quantity: Quantity,
}

/// What a transaction earns, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained<'a> {
    /// How much.
    pub earned: i64,
    /// Where it comes from.
    pub parts: Vec<Part<'a>>,
    /// What caps of single rules took off.
    pub own_cuts: Vec<OwnCut<'a>>,
    /// Whether a cap of the whole left less of it.
    pub cut: Option<Cut>,
}

/// A part of what a line earned, before fractions are dropped and the caps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Which line of the transaction, counted from 0.
    pub at: usize,
    /// The rule that gives it; none: the base rate.
    pub rule: Option<&'a str>,
    /// How much, in thousandths of a point; what is smaller is left out.
    pub thousandths: i64,
}

/// A rule without its articles: when it holds, and what it gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Timed {
    name: String,
    /// Numbers of the stores, sorted; none: in each.
    stores: Option<Vec<u32>>,
    /// A bit for each day, Monday lowest.
    weekdays: u8,
    /// A bit for each tier by its number, none being 0.
    tiers: u16,
    hours: Option<Hours>,
    dates: Dates,
    minimum_minor: i64,
    gives: Gives,
    /// The most points that it gives in a transaction.
    cap: Option<u32>,
}

/// What a rule gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gives {
    /// The base rate times so many thousandths.
    Multiplied(u32),
    /// So many points for a unit.
    PerItem(u32),
    /// So many points for the transaction.
    Fixed(u32),
}

/// Which rules have which articles in scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scopes {
    departments: Table,
    categories: Table,
    types: Table,
    brands: Table,
    products: Table,
    multipliers: RuleSet,
    per_item: RuleSet,
    fixed: RuleSet,
    /// Those with a cap of their own.
    capped: RuleSet,
    /// Those that look at the clock.
    hourly: RuleSet,
}

/// One level: the rules that say nothing of it, and by number those that name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Table {
    open: RuleSet,
    named: Vec<(u32, RuleSet)>,
}

impl Table {
    fn of(&self, number: u32) -> RuleSet {
        match self.named.binary_search_by_key(&number, |(number, _)| *number) {
            Ok(at) => self.open | self.named[at].1,
            Err(_) => self.open,
        }
    }

    fn add(&mut self, rule: RuleSet, names: &[String], number: impl Fn(&str) -> Option<u32>) {
        if names.is_empty() {
            self.open |= rule;
        }
        for number in names.iter().filter_map(|name| number(name)) {
            match self.named.binary_search_by_key(&number, |(number, _)| *number) {
                Ok(at) => self.named[at].1 |= rule,
                Err(at) => self.named.insert(at, (number, rule)),
            }
        }
    }
}

impl Scopes {
    fn of(&self, product: &Product) -> RuleSet {
        let Taxa { department_no, category_no, type_no, brand_no } = product.taxa;
        self.departments.of(department_no)
            & self.categories.of(category_no)
            & self.types.of(type_no)
            & self.brands.of(brand_no)
            & self.products.of(product.product_no)
    }
}

/// The tables for rules that are within their limits.
pub(super) fn compile(
    rules: &[EarnRule],
    tiers: &[Tier],
    number: &impl Fn(Level, &str) -> Option<u32>,
) -> (Vec<Timed>, Scopes) {
    let mut sorted: Vec<&EarnRule> = rules.iter().collect();
    // Stable: of equal multipliers the first that is written stays first, before those with caps
    // of their own, whose order must not be that of the text: what they cut would depend on it.
    sorted.sort_by_cached_key(|rule| {
        let own = rule.cap_per_swipe.map(|_| rule.name.clone());
        (std::cmp::Reverse(rule.multiplier), own)
    });
    let mut scopes = Scopes::default();
    let mut timed = Vec::with_capacity(sorted.len());
    for (at, rule) in sorted.into_iter().enumerate() {
        let bit = 1 << at;
        let [departments, categories, types, brands, products] = rule.scope();
        for (table, (level, _, names)) in [
            (&mut scopes.departments, departments),
            (&mut scopes.categories, categories),
            (&mut scopes.types, types),
            (&mut scopes.brands, brands),
            (&mut scopes.products, products),
        ] {
            table.add(bit, names, |name| number(level, name));
        }
        let gives = match (rule.multiplier, rule.points_per_item, rule.fixed_points) {
            (Some(multiplier), _, _) => {
                scopes.multipliers |= bit;
                Gives::Multiplied(multiplier.0)
            }
            (None, Some(points), _) => {
                scopes.per_item |= bit;
                Gives::PerItem(points)
            }
            (None, None, points) => {
                scopes.fixed |= bit;
                Gives::Fixed(points.unwrap_or(0))
            }
        };
        if rule.hours.is_some() {
            scopes.hourly |= bit;
        }
        if rule.cap_per_swipe.is_some() {
            scopes.capped |= bit;
        }
        let stores = (!rule.stores.is_empty()).then(|| {
            let mut stores: Vec<u32> =
                rule.stores.iter().filter_map(|name| number(Level::Store, name)).collect();
            stores.sort_unstable();
            stores
        });
        let all_week = if rule.weekdays.is_empty() { 0x7f } else { 0 };
        timed.push(Timed {
            name: rule.name.clone(),
            stores,
            weekdays: rule.weekdays.iter().fold(all_week, |days, day| days | 1 << *day as u8),
            tiers: match rule.tiers.as_slice() {
                [] => u16::MAX,
                names => Programme::tier_bits(tiers, names),
            },
            hours: rule.hours,
            dates: rule.dates.unwrap_or(Dates { from: None, until: None }),
            minimum_minor: rule.minimum_minor,
            gives,
            cap: rule.cap_per_swipe,
        });
    }
    (timed, scopes)
}

impl Timed {
    fn holds(&self, occasion: &Occasion<'_>, minute: u16, eligible_minor: i64) -> bool {
        let date = occasion.business_date;
        let weekday = date.weekday().to_monday_zero_offset();
        let in_store = |stores: &Vec<u32>| stores.binary_search(&occasion.place.store_no).is_ok();
        let in_hours = |Hours { from, to }: Hours| {
            let (began, over) = (from.0 <= minute, to.0 <= minute);
            if from < to { began && !over } else { began || !over }
        };
        self.stores.as_ref().is_none_or(in_store)
            && self.weekdays >> weekday & 1 == 1
            && self.tiers >> occasion.tier_no & 1 == 1
            && self.hours.is_none_or(in_hours)
            && self.dates.from.is_none_or(|from| from <= date)
            && self.dates.until.is_none_or(|until| date <= until)
            && self.minimum_minor <= eligible_minor
    }
}

impl Programme {
    /// What lines of sale earn. `line_points` has an element for each line of the transaction:
    /// those of the sales are set, and add up to what is returned.
    pub fn earn(
        &self,
        occasion: &Occasion<'_>,
        sold: impl Iterator<Item = Sold> + Clone,
        line_points: &mut [i64],
    ) -> i64 {
        if !self.rules.is_empty() || !self.caps.is_empty() {
            return self.earn_by_rules(occasion, sold, line_points, |_, _, _| ()).earned;
        }
        let (mut sum_minor, mut points) = (0, 0);
        for line in sold.filter(|line| self.earns(&line.product)) {
            let before = points;
            sum_minor += line.net_minor.max(0);
            points = self.points_for(sum_minor);
            line_points[line.at] = points - before;
        }
        points
    }

    /// As [`Programme::earn`], and tells each part with the rule that gives it.
    pub fn explain<'a>(
        &'a self,
        occasion: &Occasion<'_>,
        sold: impl Iterator<Item = Sold> + Clone,
        line_points: &mut [i64],
    ) -> Explained<'a> {
        let mut parts = Vec::new();
        let explained = self.earn_by_rules(occasion, sold, line_points, |at, rule, exact| {
            parts.push(Part { at, rule, thousandths: self.thousandths(exact) });
        });
        Explained { parts, ..explained }
    }

    /// What one point is in the sums of [`Programme::earn_by_rules`]: with it as denominator
    /// rates, multipliers and quantities are whole numbers.
    fn unit(&self) -> i128 {
        i128::from(self.rate.per_minor) * 1_000
    }

    fn thousandths(&self, exact: i128) -> i64 {
        i64::try_from(exact * 1_000 / self.unit()).unwrap_or(i64::MAX)
    }

    /// `tell` hears of each part: the line, the rule, and how much in parts of [`Self::unit`].
    /// They are not kept.
    fn earn_by_rules<'a>(
        &'a self,
        occasion: &Occasion<'_>,
        sold: impl Iterator<Item = Sold> + Clone,
        line_points: &mut [i64],
        mut tell: impl FnMut(usize, Option<&'a str>, i128),
    ) -> Explained<'a> {
        let sold = sold.filter(|line| self.earns(&line.product));
        let holding = self.holding(occasion, sold.clone().map(|line| line.net_minor.max(0)).sum());
        let caps = self.own_caps(holding, sold.clone());
        let OwnCaps { standing_back, mut reached, cuts: own_cuts } = caps;
        let holding = holding & !standing_back;
        let mut fixed = self.fixed_points(holding, sold.clone());
        let (rate, per_minor) = (i128::from(self.rate.points), i128::from(self.rate.per_minor));
        let unit = self.unit();
        let (mut exact, mut fixed_points, mut sum) = (0_i128, 0, 0);
        for Sold { at, product, net_minor, quantity } in sold {
            let net_minor = net_minor.max(0);
            let in_scope = holding & self.scopes.of(&product);
            let base = i128::from(net_minor) * rate;
            exact += base * 1_000;
            tell(at, None, base * 1_000);
            let mut cut = |bit, weight| {
                let shared = reached.iter_mut().find(|shared| shared.bit == bit);
                shared.map(|shared| shared.next_share(weight))
            };
            let best = bits(in_scope & self.scopes.multipliers).next();
            let items = bits(in_scope & self.scopes.per_item);
            for bit in best.into_iter().chain(items) {
                let rule = &self.rules[bit];
                let more = match rule.gives {
                    Gives::Multiplied(factor) => {
                        cut(bit, net_minor).unwrap_or_else(|| base * (i128::from(factor) - 1_000))
                    }
                    Gives::PerItem(points) => {
                        let items = quantity.thousandths();
                        let due = || i128::from(points) * i128::from(items) * per_minor;
                        cut(bit, items).unwrap_or_else(due)
                    }
                    Gives::Fixed(_) => 0,
                };
                exact += more;
                tell(at, Some(&rule.name), more);
            }
            for fixed in fixed.iter_mut().filter(|fixed| in_scope >> fixed.bit & 1 == 1) {
                let share = narrow(fixed.next_share(net_minor));
                fixed_points += share;
                tell(at, Some(&self.rules[fixed.bit].name), i128::from(share) * unit);
            }
            let before = sum;
            sum = narrow(exact / unit) + fixed_points;
            line_points[at] = sum - before;
        }
        let lowest = self.caps.lowest(occasion.business_date, occasion.earned);
        let explained = Explained { earned: sum, parts: Vec::new(), own_cuts, cut: None };
        let Some((most, cap)) = lowest.filter(|(most, _)| *most < sum) else { return explained };
        let (mut uncapped, mut given) = (0, 0);
        for points in line_points {
            uncapped += *points;
            let before = given;
            given = narrow(i128::from(most) * i128::from(uncapped) / i128::from(sum));
            *points = given - before;
        }
        Explained { earned: most, cut: Some(Cut { cap, due: sum }), ..explained }
    }

    /// The rules that hold for a transaction, whatever its articles are.
    fn holding(&self, occasion: &Occasion<'_>, eligible_minor: i64) -> RuleSet {
        // Few look at the clock, and finding the local time is the dearest part.
        let minute = if self.scopes.hourly == 0 { 0 } else { minute_of_day(occasion) };
        let mut holding = 0;
        for (at, rule) in self.rules.iter().enumerate() {
            if rule.holds(occasion, minute, eligible_minor) {
                holding |= 1 << at;
            }
        }
        holding
    }

    /// The rules with fixed points that have something in scope that was paid for.
    fn fixed_points(&self, holding: RuleSet, sold: impl Iterator<Item = Sold>) -> Vec<Shared> {
        let holding = holding & self.scopes.fixed;
        if holding == 0 {
            return Vec::new();
        }
        let fixed = bits(holding).filter_map(|bit| match self.rules[bit].gives {
            Gives::Fixed(points) => {
                Some(Shared { bit, amount: points.into(), whole: 0, so_far: 0 })
            }
            _ => None,
        });
        let mut fixed: Vec<Shared> = fixed.collect();
        for line in sold {
            let in_scope = self.scopes.of(&line.product);
            for fixed in fixed.iter_mut().filter(|fixed| in_scope >> fixed.bit & 1 == 1) {
                fixed.whole += i128::from(line.net_minor.max(0));
            }
        }
        fixed.retain(|fixed| fixed.whole > 0);
        fixed
    }
}

/// What a rule gives once for the transaction, on its way over the lines that share it.
struct Shared {
    bit: usize,
    amount: i128,
    /// What all lines in scope weigh that share it: what they cost, or how many units they are.
    whole: i128,
    so_far: i128,
}

impl Shared {
    /// What a further line in scope has of it.
    fn next_share(&mut self, weight: i64) -> i128 {
        let given = |weight: i128| self.amount * weight / self.whole;
        let before = given(self.so_far);
        let after = given(self.so_far + i128::from(weight));
        self.so_far += i128::from(weight);
        after - before
    }
}

fn minute_of_day(occasion: &Occasion<'_>) -> u16 {
    let zone = occasion.place.time_zone.unwrap_or(&UTC);
    let time: Time = zone.to_datetime(occasion.occurred_at).time();
    u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs())
}

static UTC: TimeZone = TimeZone::UTC;

fn bits(mut set: RuleSet) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = set.trailing_zeros();
        // Takes the lowest one away; of the empty set nothing.
        set &= set.checked_sub(1)?;
        Some(bit as usize)
    })
}

fn narrow(points: i128) -> i64 {
    i64::try_from(points).expect("amounts, rates and rules are bounded far below this")
}
