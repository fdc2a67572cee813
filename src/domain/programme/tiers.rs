//! Tiers: what customers have to spend for them, and how long they keep them.
//!
//! A tier is not a state that is stored but follows from the money that was counted, month by
//! month (see `domain::tally`), and from the day that it is asked for. So it depends neither on
//! the order in which transactions arrive nor on who looked at it in between, and whatever a
//! return or a void takes back is gone from it at once.
//!
//! * What an article costs less discounts qualifies, where the article earns points; a line
//!   below zero counts as nothing, adjustments not at all. What was spent while a programme
//!   without tiers was in force was not counted. A return takes back its share of what the line
//!   of its sale had counted, in the month of the sale; one whose sale is not known what it
//!   costs itself.
//! * A month **earns** the highest tier whose threshold is reached by what was counted in it and
//!   in the months before it, `window_months` altogether.
//! * A tier is **held** for the month that earns it and for `grace_months` after it. Then
//!   either what was earned meanwhile counts (`downgrade = "straight"`), or it falls by one tier
//!   for each further `grace_months` + 1 months (`"step"`), never below what is earned.
//! * For a transaction the tier counts that was held before it, on the account's latest business
//!   date, its own included.

use serde::{Deserialize, Serialize};

use super::Programme;
use super::rules::{MINOR_MAX, Rules};
use crate::domain::product::Product;
use crate::domain::tally::{Month, Tally, month_of};
use jiff::civil::Date;

/// Most tiers of a programme.
const TIERS_MAX: usize = 8;
/// No tier has this number or a higher one.
pub const TIER_NO_END: u8 = 9;
/// Most months back that decide about a tier.
const MONTHS_MAX: i32 = 60;

/// A tier as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// What customers call it; unique in its programme.
    pub name: String,
    /// What has to be spent within the window, in minor units; 0: everybody has it at least.
    pub threshold_minor: i64,
}

/// How tiers are earned and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TierPolicy {
    /// Months of spending that count together, the current one included, 1 to 36.
    pub window_months: u8,
    /// Months that a tier is kept after the last one that earned it, 0 to 24.
    #[serde(default)]
    pub grace_months: u8,
    /// What comes after them.
    #[serde(default)]
    pub downgrade: Downgrade,
}

impl Default for TierPolicy {
    /// A year, and no grace.
    fn default() -> Self {
        Self { window_months: 12, grace_months: 0, downgrade: Downgrade::Straight }
    }
}

/// What comes after the grace of a tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Downgrade {
    /// What was earned meanwhile.
    #[default]
    Straight,
    /// The tier below, with a grace of its own.
    Step,
}

/// The tiers of a programme, ready to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tiers {
    /// The lowest first.
    tiers: Vec<Tier>,
    policy: TierPolicy,
}

/// How an account stands with its tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierStanding<'a> {
    /// The one that is held; none below the lowest.
    pub name: Option<&'a str>,
    /// What is still to be spent this month for the next one, in minor units; none at the top.
    pub to_next_minor: Option<i64>,
}

/// What is wrong with tiers, by the text of the rules.
pub(super) fn require(rules: &Rules, mut require: impl FnMut(bool, &str, &str)) {
    let few = rules.tiers.len() <= TIERS_MAX;
    require(few, "/tiers", "at most 8");
    let lonely = rules.tier_policy.is_some() && rules.tiers.is_empty();
    require(!lonely, "/tier_policy", "there are no tiers that it could be about");
    let mut below: Option<&Tier> = None;
    for (at, tier) in rules.tiers.iter().enumerate() {
        let printable = !tier.name.chars().any(char::is_control);
        let named = (1..=32).contains(&tier.name.chars().count()) && printable;
        let place = format!("/tiers/{at}");
        require(named, &format!("{place}/name"), "1 to 32 printable characters");
        let unique = rules.tiers[..at].iter().all(|other| other.name != tier.name);
        let problem = "two tiers have this name: give each one of its own";
        require(unique, &format!("{place}/name"), problem);
        let threshold = format!("{place}/threshold_minor");
        let in_range = (0..=MINOR_MAX).contains(&tier.threshold_minor);
        require(in_range, &threshold, "must lie within 0 and 1000000000000");
        let above = below.is_none_or(|below| below.threshold_minor < tier.threshold_minor);
        let problem = "not above the tier before it: write the lowest first";
        require(above, &threshold, problem);
        below = Some(tier);
    }
    let policy = rules.tier_policy.unwrap_or_default();
    let in_range = (1..=36).contains(&policy.window_months);
    require(in_range, "/tier_policy/window_months", "must lie within 1 and 36");
    let in_range = policy.grace_months <= 24;
    require(in_range, "/tier_policy/grace_months", "must lie within 0 and 24");
    let near = months_back(policy, rules.tiers.len().min(TIERS_MAX)) <= MONTHS_MAX;
    let problem = "with so many tiers, and a grace for each step, more than 60 months would decide";
    require(near, "/tier_policy", problem);
    for (at, rule) in rules.rules.iter().enumerate() {
        for (nth, name) in rule.tiers.iter().enumerate() {
            let known = rules.tiers.iter().any(|tier| tier.name == *name);
            require(known, &format!("/rules/{at}/tiers/{nth}"), "no tier has this name");
        }
    }
}

/// How many months decide about a tier, the current one included.
fn months_back(policy: TierPolicy, tiers: usize) -> i32 {
    let (window, grace) = (i32::from(policy.window_months), i32::from(policy.grace_months));
    let steps = i32::try_from(tiers).expect("few");
    window
        + match policy.downgrade {
            Downgrade::Straight => grace,
            Downgrade::Step => (steps * (grace + 1) - 1).max(0),
        }
}

impl Tiers {
    pub(super) fn of(rules: &Rules) -> Self {
        Self { tiers: rules.tiers.clone(), policy: rules.tier_policy.unwrap_or_default() }
    }

    fn spent(&self, tally: &Tally, month: Month) -> i64 {
        let first = month - i32::from(self.policy.window_months) + 1;
        tally.qualifying().sum(first, month).max(0)
    }

    /// How many tiers a month earns.
    fn earned(&self, tally: &Tally, month: Month) -> usize {
        let spent = self.spent(tally, month);
        self.tiers.partition_point(|tier| tier.threshold_minor <= spent)
    }

    fn held(&self, tally: &Tally, month: Month) -> usize {
        let grace = i32::from(self.policy.grace_months);
        let months =
            months_back(self.policy, self.tiers.len()) - i32::from(self.policy.window_months);
        let after = |back: i32| {
            let steps = usize::try_from(back / (grace + 1)).expect("not negative");
            self.earned(tally, month - back).saturating_sub(steps)
        };
        (0..=months).map(after).max().unwrap_or(0)
    }
}

impl Programme {
    /// What of a line of sale qualifies for tiers, in minor units; nothing without tiers.
    pub fn qualifying_minor(&self, product: &Product, net_minor: i64) -> i64 {
        if self.tiers.tiers.is_empty() || !self.earns(product) { 0 } else { net_minor.max(0) }
    }

    /// The tier that is held on a day, counted from 1, the lowest; 0 for none.
    pub fn tier_no(&self, tally: &Tally, on: Date) -> u8 {
        if self.tiers.tiers.is_empty() {
            return 0;
        }
        u8::try_from(self.tiers.held(tally, month_of(on))).expect("few tiers")
    }

    /// The name of a tier by its number; none for 0.
    pub fn tier_name(&self, tier_no: u8) -> Option<&str> {
        let at = usize::from(tier_no).checked_sub(1)?;
        Some(self.tiers.tiers.get(at)?.name.as_str())
    }

    /// How an account stands with its tiers on a day; none when the programme has no tiers.
    pub fn tier_standing(&self, tally: &Tally, on: Date) -> Option<TierStanding<'_>> {
        if self.tiers.tiers.is_empty() {
            return None;
        }
        let (month, tier_no) = (month_of(on), self.tier_no(tally, on));
        let next = self.tiers.tiers.get(usize::from(tier_no));
        Some(TierStanding {
            name: self.tier_name(tier_no),
            to_next_minor: next.map(|next| next.threshold_minor - self.tiers.spent(tally, month)),
        })
    }

    /// The first month that decides about a tier on a day; none without tiers.
    pub(in crate::domain) fn qualifying_since(&self, on: Date) -> Option<Month> {
        if self.tiers.tiers.is_empty() {
            return None;
        }
        Some(month_of(on) - months_back(self.tiers.policy, self.tiers.tiers.len()) + 1)
    }

    /// The bits of tiers by name, as [`Programme::tier_no`] numbers them.
    pub(super) fn tier_bits(tiers: &[Tier], names: &[String]) -> u16 {
        let bit = |(at, tier): (usize, &Tier)| u16::from(names.contains(&tier.name)) << (at + 1);
        tiers.iter().enumerate().map(bit).sum()
    }
}
