//! Scenarios: small files that say who swipes, how often, and what must hold. Owns their format;
//! runs nothing.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tillside::config::Config;
use toml::{Table, Value};

use super::{Basket, Pick, Protocol};
use crate::error::HarnessError;

/// What a file asks for.
#[derive(Clone, Debug)]
pub enum Scenario {
    /// Phases of load, one after the other, in a world of their own.
    Phases(Box<Phases>),
    /// Tills that come again; see [`crate::overload`].
    RetryStorm(RetryStorm),
}

/// Phases of load.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phases {
    /// What it is about, for people.
    pub title: String,
    /// Customers with a card and an account.
    pub accounts: u64,
    /// How many baskets each of them has had in the past year.
    pub history: u32,
    /// Whose swipes they are.
    pub pick: Pick,
    /// How large they are.
    pub basket: Basket,
    /// Stores.
    pub stores: usize,
    /// Tills of each store.
    pub terminals: usize,
    /// Replicas of the service.
    pub replicas: usize,
    /// Most swipes under way at a time, where the clock decides.
    pub connections: usize,
    /// How the tills speak.
    pub protocol: Protocol,
    /// Chooses customers and baskets.
    pub seed: u64,
    /// Settings of the service, by section; the others have their defaults.
    #[serde(default)]
    pub service: Config,
    /// What must hold.
    #[serde(default)]
    pub limits: Limits,
    /// One after the other.
    #[serde(rename = "phase")]
    pub phases: Vec<Phase>,
}

/// What must hold; whatever else is measured is reported only.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Every swipe of every phase is answered 201.
    pub clean: bool,
    /// The service's memory at the end of the last phase, as a multiple of that a minute after
    /// its beginning.
    pub memory_growth_max: Option<f64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { clean: true, memory_growth_max: None }
    }
}

/// A part of a run, measured by itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// For people.
    pub name: String,
    /// What decides when swipes are sent.
    pub pace: Pace,
    /// Sent before it is measured.
    pub warm_up_s: f64,
    /// Measured.
    pub seconds: f64,
}

/// What decides when swipes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// The clock: so many a second.
    PerS(f64),
    /// The clock: this part of what the first phase could do.
    OfFirst(f64),
    /// So many at a time, each as soon as the one before it is answered.
    AtATime(usize),
}

/// A capacity that is throttled, and five times as much offered.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryStorm {
    /// Swipes a second that the service is throttled to.
    pub capacity_per_s: usize,
    /// How long the overload lasts.
    pub seconds: usize,
}

impl Scenario {
    /// Reads a file. `changes` are made before it is understood: `accounts=1000` or
    /// `phase.0.seconds=3`, where `*` in place of a number means every one.
    ///
    /// # Errors
    /// When the file cannot be read, or does not say what a scenario says.
    pub fn read(file: &Path, changes: &[String]) -> Result<Self, HarnessError> {
        let doing = || format!("reading {}", file.display());
        let text = fs::read_to_string(file).map_err(HarnessError::doing(doing()))?;
        Self::parse(&text, changes).map_err(HarnessError::doing(doing()))
    }

    fn parse(text: &str, changes: &[String]) -> Result<Self, String> {
        let mut table: Table = text.parse().map_err(|error| format!("{error}"))?;
        for change in changes {
            let (path, value) = change
                .split_once('=')
                .ok_or_else(|| format!("{change:?} is not a change: write it as accounts=1000"))?;
            let parsed = format!("value = {value}").parse::<Table>();
            let value = match parsed.ok().and_then(|mut table| table.remove("value")) {
                Some(value) => value,
                None => Value::String(value.to_owned()),
            };
            let mut root = Value::Table(table);
            set(&mut root, path, &value)?;
            let Value::Table(changed) = root else { return Err("no table".to_owned()) };
            table = changed;
        }
        let understood = |error: toml::de::Error| error.to_string();
        if let Some(storm) = table.remove("retry_storm") {
            if let Some(other) = table.keys().next() {
                return Err(format!("a retry storm has nothing but its own table, not {other:?}"));
            }
            return storm.try_into().map(Self::RetryStorm).map_err(understood);
        }
        let phases: Phases = table.try_into().map_err(understood)?;
        phases.check()?;
        Ok(Self::Phases(Box::new(phases)))
    }
}

impl Phases {
    fn check(&self) -> Result<(), String> {
        let first = self.phases.first().ok_or("a scenario has at least one [[phase]]")?;
        if matches!(first.pace, Pace::OfFirst(_)) {
            return Err("the first phase cannot be a part of itself: use per_s or at_a_time".into());
        }
        if self.accounts == 0 || self.stores == 0 || self.terminals == 0 || self.replicas == 0 {
            return Err("accounts, stores, terminals and replicas must not be 0".into());
        }
        Ok(())
    }
}

/// Sets what stands at a path of names and numbers.
fn set(at: &mut Value, path: &str, value: &Value) -> Result<(), String> {
    let Some((first, rest)) = path.split_once('.') else {
        return match at {
            Value::Table(table) => {
                table.insert(path.to_owned(), value.clone());
                Ok(())
            }
            _ => Err(format!("{path:?} is not within a table")),
        };
    };
    match at {
        Value::Table(table) => {
            let next = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
            set(next, rest, value)
        }
        Value::Array(items) if first == "*" => {
            items.iter_mut().try_for_each(|item| set(item, rest, value))
        }
        Value::Array(items) => {
            let item = first.parse().ok().and_then(|index: usize| items.get_mut(index));
            set(item.ok_or_else(|| format!("there is no {first:?} in a list"))?, rest, value)
        }
        _ => Err(format!("{first:?} is neither a table nor a list")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
    }

    #[test]
    fn every_scenario_in_the_folder_can_be_read() {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder()).expect("it is there") {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
            let scenario = Scenario::read(&path, &[]).unwrap_or_else(|error| {
                let why = std::error::Error::source(&error).map(ToString::to_string);
                panic!("{error}: {why:?}")
            });
            assert_eq!(matches!(scenario, Scenario::RetryStorm(_)), name == "retry-storm");
            names.push(name);
        }
        names.sort();
        let expected =
            ["cold-cache", "hot-card", "ramp", "retry-storm", "saturation", "soak", "steady"];
        assert_eq!(names, expected);
    }

    #[test]
    fn changes_reach_every_place_of_a_file() {
        let changes = [
            "accounts=7",
            "title=short",
            "phase.*.seconds=2",
            "phase.0.pace={ per_s = 5.0 }",
            "service.cache.accounts_max=3",
        ];
        let scenario = Scenario::read(&folder().join("steady.toml"), &changes.map(str::to_owned));
        let Scenario::Phases(phases) = scenario.expect("it is one") else { panic!("no phases") };
        assert_eq!((phases.accounts, phases.title.as_str()), (7, "short"));
        assert!(phases.phases.iter().all(|phase| phase.seconds == 2.0));
        assert_eq!(phases.phases[0].pace, Pace::PerS(5.0));
        assert_eq!(phases.service.cache.accounts_max, 3);
    }

    #[test]
    fn what_nobody_understands_is_said() {
        let steady = fs::read_to_string(folder().join("steady.toml")).expect("it is there");
        for (change, expected) in [
            ("acounts=7", "acounts"),
            ("phase.0.secnods=7", "secnods"),
            ("phase.9.seconds=7", "no \"9\" in a list"),
            ("phase.0.pace={ of_first = 0.5 }", "part of itself"),
            ("service.cache.acounts_max=3", "acounts_max"),
            ("accounts=0", "must not be 0"),
            ("accounts", "not a change"),
            ("retry_storm.seconds=3", "nothing but its own"),
        ] {
            let error = Scenario::parse(&steady, &[change.to_owned()]).map(|_| ());
            let error = error.expect_err(change);
            assert!(error.contains(expected), "{change}: {error}");
        }
    }
}
