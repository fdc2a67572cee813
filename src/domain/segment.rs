//! A simple question over accounts: which of them somebody means. What is not asked does not
//! matter, and what is asked must all hold. Says what the question is and whom it admits; the
//! facts are handed in.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which accounts are meant; what is left out does not matter, and all of the rest must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Segment {
    /// Enrolled accounts only, or those only that are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolled: Option<bool>,
    /// Accounts with a person who has agreed to this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "email-offers")]
    #[param(example = "email-offers")]
    pub consent: Option<String>,
    /// Accounts with a purchase on this day or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Date)]
    #[param(value_type = Option<String>, format = Date)]
    pub visited_since: Option<Date>,
    /// Accounts without a purchase on this day or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Date)]
    #[param(value_type = Option<String>, format = Date)]
    pub not_visited_since: Option<Date>,
    /// Accounts with so many points or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub points_min: Option<i64>,
    /// Accounts that hold this tier today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "Gold")]
    #[param(example = "Gold")]
    pub tier: Option<String>,
    /// Accounts with so many purchases or more in the last 90 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visits_90d_min: Option<i64>,
    /// Accounts that spent so much or more in the last 90 days, in minor units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spend_90d_minor_min: Option<i64>,
}

/// What is known of an account.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// Whether somebody has enrolled it.
    pub is_enrolled: bool,
    /// What its people have agreed to.
    pub consents: &'a [String],
    /// The day of its last purchase.
    pub last_visit: Option<Date>,
    /// Its points.
    pub points: i64,
    /// The tier that it holds.
    pub tier: Option<&'a str>,
    /// Its purchases of the last 90 days.
    pub visits_90d: i64,
    /// What they came to.
    pub spend_90d_minor: i64,
}

impl Segment {
    /// Whether the question can be asked.
    ///
    /// # Errors
    /// The field that cannot, and what is asked for there.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let is_word = |text: &String| {
            (1..=40).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        };
        if !self.consent.as_ref().is_none_or(is_word) {
            return Err(("consent", "must be a word of a to z and hyphens, 40 at most"));
        }
        if !self.tier.as_ref().is_none_or(|tier| (1..=64).contains(&tier.chars().count())) {
            return Err(("tier", "must be the name of a tier, 1 to 64 characters"));
        }
        Ok(())
    }

    /// Whether purchases must be known to answer it.
    pub fn asks_for_visits(&self) -> bool {
        let Self { visited_since, not_visited_since, visits_90d_min, spend_90d_minor_min, .. } =
            self;
        visited_since.is_some()
            || not_visited_since.is_some()
            || visits_90d_min.is_some()
            || spend_90d_minor_min.is_some()
    }

    /// Whether an account is one of those that are meant.
    pub fn admits(&self, facts: &Facts<'_>) -> bool {
        let visited = |day: Date| facts.last_visit.is_some_and(|last| last >= day);
        self.enrolled.is_none_or(|enrolled| enrolled == facts.is_enrolled)
            && self.consent.as_ref().is_none_or(|wanted| facts.consents.contains(wanted))
            && self.visited_since.is_none_or(visited)
            && !self.not_visited_since.is_some_and(visited)
            && self.points_min.is_none_or(|least| facts.points >= least)
            && self.tier.as_ref().is_none_or(|tier| facts.tier == Some(&**tier))
            && self.visits_90d_min.is_none_or(|least| facts.visits_90d >= least)
            && self.spend_90d_minor_min.is_none_or(|least| facts.spend_90d_minor >= least)
    }
}
