//! Every setting of the service: its unit, its default and what it means.
//!
//! Read from a TOML file, then from the environment (`TILLSIDE_<SECTION>_<NAME>`), then
//! validated together, so that a mistake is found at start and named with its remedy.
//! Secrets never appear in `Debug`. Nothing else in the service reads the environment.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::domain::card::CardFormat;
use crate::domain::consent::ProfilingPolicy;
use crate::domain::selection::showcase::{CERTAIN_PPM, HoldOut};

/// All settings, by section.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The retailer.
    pub chain: Chain,
    /// What a card looks like.
    pub cards: Cards,
    /// The listeners and their limits.
    pub http: Http,
    /// How signed requests are judged.
    pub signature: Signature,
    /// What a swipe may look like in time.
    pub swipe: Swipe,
    /// The connection to PostgreSQL.
    pub database: Database,
    /// How swipes are grouped into commits.
    pub commit: Commit,
    /// When points are written off.
    pub ledger: Ledger,
    /// `[coupons]`
    pub coupons: Coupons,
    /// What people of the back office may do.
    pub office: Office,
    /// The accounts held in memory.
    pub cache: Cache,
    /// Keys that protect other keys.
    pub secrets: Secrets,
    /// What is logged and how.
    pub log: Log,
}

/// `[chain]`: one installation serves one chain. Fixed by the first migration.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Chain {
    /// ISO 4217 code of the one currency.
    pub currency: String,
    /// IANA name of the time zone in which "today" is decided.
    pub time_zone: String,
    /// The address under which terminals and people reach the service.
    pub public_url: String,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            currency: "USD".into(),
            time_zone: "America/New_York".into(),
            public_url: "http://127.0.0.1:8080".into(),
        }
    }
}

/// `[cards]`: which tokens are this chain's cards.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cards {
    /// Fewest characters, 8 to 24.
    pub length_min: usize,
    /// Most characters, 8 to 24.
    pub length_max: usize,
    /// Whether letters A to Z may stand in a card.
    pub letters: bool,
    /// Whether the last digit must be the EAN / GS1 check digit.
    pub check_digit: bool,
    /// A card begins with one of these; empty: with anything.
    pub prefixes: Vec<String>,
}

impl Default for Cards {
    fn default() -> Self {
        Self {
            length_min: 13,
            length_max: 13,
            letters: false,
            check_digit: true,
            prefixes: vec!["299".into()],
        }
    }
}

impl Cards {
    /// The same as the domain knows it.
    pub fn format(&self) -> CardFormat {
        CardFormat {
            length_min: self.length_min,
            length_max: self.length_max,
            letters: self.letters,
            check_digit: self.check_digit,
            prefixes: self.prefixes.clone(),
        }
    }
}

/// `[http]`: listeners and limits.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where terminals and people are served.
    pub listen: SocketAddr,
    /// Where `/metrics`, `/livez` and `/readyz` are served; keep it off the shop network.
    pub admin_listen: SocketAddr,
    /// Open connections; further ones are closed at once.
    pub connections_max: usize,
    /// From the first byte of a request until its headers are complete.
    pub header_timeout_ms: u64,
    /// From the headers until the body is complete.
    pub body_timeout_ms: u64,
    /// How long a connection may stay open without a request.
    pub idle_timeout_ms: u64,
    /// How long open requests may take to finish when the service stops.
    pub drain_timeout_ms: u64,
    /// Bytes of all headers of a request.
    pub header_max_bytes: usize,
    /// Number of headers of a request.
    pub headers_max: usize,
    /// Bytes of a request target.
    pub target_max_bytes: usize,
    /// Bytes of a body, except where a route has a limit of its own.
    pub body_max_bytes: usize,
    /// Bytes of the body of a batch.
    pub batch_body_max_bytes: usize,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 9090)),
            connections_max: 10_000,
            header_timeout_ms: 5_000,
            body_timeout_ms: 10_000,
            idle_timeout_ms: 75_000,
            drain_timeout_ms: 25_000,
            header_max_bytes: 16 * 1024,
            headers_max: 64,
            target_max_bytes: 2 * 1024,
            body_max_bytes: 64 * 1024,
            batch_body_max_bytes: 2 * 1024 * 1024,
        }
    }
}

/// `[signature]`: RFC 9421 freshness.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Signature {
    /// How far `created` may lie from the server's clock.
    pub tolerance_s: i64,
}

impl Default for Signature {
    fn default() -> Self {
        Self { tolerance_s: 300 }
    }
}

/// `[swipe]`: limits in time.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Swipe {
    /// Oldest business date, in days before today; 0 switches the window off on both sides.
    pub age_max_days: i32,
    /// Newest business date, in days after today.
    pub ahead_max_days: i32,
    /// Used when a terminal names no deadline, 20 to 5000.
    pub deadline_default_ms: u64,
}

impl Default for Swipe {
    fn default() -> Self {
        Self { age_max_days: 400, ahead_max_days: 2, deadline_default_ms: 400 }
    }
}

/// `[database]`: PostgreSQL 15 or newer.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// `postgresql://…`; required by every command but `demo`.
    pub url: Secret,
    /// Connections for reads and administration; committers have their own.
    pub connections_max: usize,
    /// How long a caller waits for a free connection.
    pub wait_timeout_ms: u64,
    /// How long a new connection may take.
    pub connect_timeout_ms: u64,
    /// `statement_timeout` of these connections.
    pub statement_timeout_ms: u64,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            connections_max: 8,
            wait_timeout_ms: 1_000,
            connect_timeout_ms: 2_000,
            statement_timeout_ms: 5_000,
        }
    }
}

/// `[commit]`: the committers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Commit {
    /// How many work side by side, each with a connection of its own.
    pub committers: usize,
    /// Most swipes in one statement.
    pub batch_max: usize,
    /// With so many swipes a batch is worth its statement. While swipes come in company, a
    /// committer that has fewer waits for more.
    pub gather_enough: usize,
    /// How long it waits for them at most, from when the first of them was admitted.
    pub gather_wait_us: u64,
    /// Most swipes that may wait, over all committers; more are refused at once.
    pub queue_max: usize,
    /// Longest that a swipe may be expected to wait before its batch is done; when it would be
    /// longer, it is refused at once, while the till still listens.
    pub wait_max_ms: u64,
    /// How long one statement of a committer may take.
    pub statement_timeout_ms: u64,
    /// How long a committer waits for an account that somebody else has locked. After that the
    /// account is kept apart, and others wait for it no longer.
    pub lock_timeout_ms: u64,
}

impl Default for Commit {
    fn default() -> Self {
        Self {
            committers: 2,
            batch_max: 256,
            gather_enough: 16,
            gather_wait_us: 2_000,
            queue_max: 4_096,
            wait_max_ms: 200,
            statement_timeout_ms: 5_000,
            lock_timeout_ms: 150,
        }
    }
}

/// Most coupons that a swipe can be given.
pub const COUPONS_PER_SWIPE_MAX: usize = 4;
/// Most open coupons that are loaded with an account.
const COUPONS_OPEN_MAX: usize = 100;

/// `[coupons]`: what tills give to customers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Coupons {
    /// Most coupons that one receipt carries, at most 4; 0: the till chooses none.
    pub per_swipe: usize,
    /// A customer who can redeem so many is given no more; at most 100.
    pub open_max: usize,
    /// Most coupons that tills choose for a customer within seven business days, 1 to 50.
    pub per_week: usize,
    /// Of a hundred customers so many are given none that the till chooses, always the same ones,
    /// so that it can be seen what coupons change; at most 50, and 0: nobody. The same on all
    /// replicas.
    pub hold_out_percent: u8,
    /// Names the draw of those customers; another number draws others. The same on all replicas.
    pub hold_out_round: u32,
    /// In so many of a hundred swipes a coupon for something new is drawn by lot instead of by its
    /// score, so that it can be seen what the score misses; at most 50.
    pub explore_percent: u8,
    /// `opt-out`: what customers buy decides what they are given, unless a member of the account
    /// has the consent `no-profiling`. `opt-in`: only where all members have the consent
    /// `profiling`. The others are given what managers push and what people give, and exports
    /// leave out what they buy. The same on all replicas.
    pub profiling: ProfilingPolicy,
}

impl Coupons {
    const LIMITS: &str = "coupons.per_swipe is at most 4, open_max at most 100, per_week within \
                          1 to 50, hold_out_percent and explore_percent at most 50";

    fn is_sound(&self) -> bool {
        self.per_swipe <= COUPONS_PER_SWIPE_MAX
            && self.open_max <= COUPONS_OPEN_MAX
            && (1..=50).contains(&self.per_week)
            && self.hold_out_percent <= 50
            && self.explore_percent <= 50
    }

    /// Who is held out.
    pub fn hold_out(&self) -> HoldOut {
        HoldOut { percent: self.hold_out_percent, round: self.hold_out_round }
    }

    /// [`Coupons::explore_percent`] in millionths.
    pub fn explore_ppm(&self) -> u32 {
        u32::from(self.explore_percent) * (CERTAIN_PPM / 100)
    }
}

impl Default for Coupons {
    fn default() -> Self {
        Self {
            per_swipe: 2,
            open_max: 12,
            per_week: 8,
            hold_out_percent: 10,
            hold_out_round: 1,
            explore_percent: 5,
            profiling: ProfilingPolicy::OptOut,
        }
    }
}

/// `[ledger]`: what the calendar writes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ledger {
    /// Days after which expired points are written off on accounts that nobody visits, so that
    /// swipes which a till made offline before that still find them. Every visit writes off at
    /// once what had run out by its business date.
    pub expire_after_days: i32,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { expire_after_days: 3 }
    }
}

/// `[office]`: what people of the back office may do.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Office {
    /// Reasons for which points may be adjusted: codes of a to z, 0 to 9 and hyphens.
    pub adjustment_reasons: Vec<String>,
    /// Most points that one user gives and takes in a day of the chain, added up; 0: none at all.
    pub adjustment_points_per_day: i64,
    /// How long an answer to a creation is kept for repetitions with the same `Idempotency-Key`.
    pub idempotency_hours: i64,
}

impl Default for Office {
    fn default() -> Self {
        let reasons = ["goodwill", "missed-points", "wrong-card", "correction"];
        Self {
            adjustment_reasons: reasons.map(str::to_owned).to_vec(),
            adjustment_points_per_day: 10_000,
            idempotency_hours: 24,
        }
    }
}

impl Office {
    fn is_sound(&self) -> bool {
        let in_code = |letter: u8| matches!(letter, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let is_code =
            |reason: &String| (1..=32).contains(&reason.len()) && reason.bytes().all(in_code);
        self.adjustment_reasons.iter().all(is_code)
            && self.adjustment_points_per_day >= 0
            && (1..=720).contains(&self.idempotency_hours)
    }
}

/// `[cache]`: what is held in memory. It decides speed, never value.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Accounts with their profiles; 0 switches the cache off.
    pub accounts_max: u64,
    /// Cards whose account is known.
    pub cards_max: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self { accounts_max: 100_000, cards_max: 500_000 }
    }
}

/// `[secrets]`: never written to a log.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Secrets {
    /// 32 bytes in base64 that seal the terminals' secrets in the database.
    pub key_encryption_key: Secret,
    /// A file that holds it instead (a systemd credential, a mounted secret).
    pub key_encryption_key_file: PathBuf,
}

/// `[log]`: one line per event.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// `json` for machines, `text` for people.
    pub format: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: "text".into() }
    }
}

/// A value that `Debug` does not show.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself; take care where it goes.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether nothing was set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(not set)" } else { "(secret)" })
    }
}

/// Why the settings cannot be used: every finding in one message.
#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be used:\n{}", .0.join("\n"))]
pub struct ConfigError(Vec<String>);

impl Config {
    /// Reads the file, if one is named, then the environment, and validates the result.
    ///
    /// # Errors
    /// With every finding: an unreadable file, an unknown setting, values that contradict.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::from_sources(file, |name| std::env::var(name).ok())
    }

    /// As [`Config::load`], with the environment given as a function.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_sources(
        file: Option<&Path>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let one = |finding: String| ConfigError(vec![finding]);
        let mut table = match file {
            None => toml::Table::new(),
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| one(format!("{}: {error}", path.display())))?
                .parse()
                .map_err(|error| one(format!("{}: {error}", path.display())))?,
        };
        let defaults =
            toml::Table::try_from(Self::default()).map_err(|error| one(error.to_string()))?;
        for (section, settings) in defaults.iter().filter_map(|(k, v)| Some((k, v.as_table()?))) {
            for (name, default) in settings {
                let variable = format!("TILLSIDE_{section}_{name}").to_ascii_uppercase();
                let Some(text) = environment(&variable) else { continue };
                let value = parse_like(default, &text)
                    .ok_or_else(|| one(format!("{variable}: {text:?} is not {}", kind(default))))?;
                table
                    .entry(section.clone())
                    .or_insert_with(|| toml::Value::Table(toml::Table::new()))
                    .as_table_mut()
                    .ok_or_else(|| one(format!("[{section}] must be a section")))?
                    .insert(name.clone(), value);
            }
        }
        let config: Self = table.try_into().map_err(|error| one(error.to_string()))?;
        let findings = config.findings();
        if findings.is_empty() { Ok(config) } else { Err(ConfigError(findings)) }
    }

    /// The chain's time zone.
    ///
    /// # Panics
    /// Never after validation.
    pub fn time_zone(&self) -> TimeZone {
        TimeZone::get(&self.chain.time_zone).expect("validated when the configuration was read")
    }

    /// What is wrong with the settings, each with its remedy.
    fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        let mut require = |holds: bool, finding: &str| {
            if !holds {
                findings.push(finding.to_owned());
            }
        };
        let currency = &self.chain.currency;
        require(
            currency.len() == 3 && currency.bytes().all(|b| b.is_ascii_uppercase()),
            "chain.currency must be three capital letters (ISO 4217), such as USD",
        );
        require(
            TimeZone::get(&self.chain.time_zone).is_ok(),
            "chain.time_zone must be an IANA name, such as America/New_York",
        );
        let url = &self.chain.public_url;
        require(
            (url.starts_with("http://") || url.starts_with("https://")) && !url.ends_with('/'),
            "chain.public_url must begin with http:// or https:// and not end with a slash",
        );
        let cards = &self.cards;
        require(
            8 <= cards.length_min && cards.length_min <= cards.length_max && cards.length_max <= 24,
            "cards.length_min and length_max must lie within 8 to 24, in this order",
        );
        require(
            !(cards.letters && cards.check_digit),
            "cards.check_digit needs cards of digits only: switch cards.letters off",
        );
        require(
            cards.prefixes.iter().all(|prefix| prefix.len() < cards.length_min),
            "cards.prefixes must be shorter than a card",
        );
        require(
            (20..=5_000).contains(&self.swipe.deadline_default_ms),
            "swipe.deadline_default_ms must lie within 20 to 5000",
        );
        require(
            self.swipe.age_max_days >= 0 && (0..=30).contains(&self.swipe.ahead_max_days),
            "swipe.age_max_days must not be negative, ahead_max_days within 0 to 30",
        );
        require(
            (1..=64).contains(&self.commit.committers),
            "commit.committers must lie within 1 to 64",
        );
        require(
            (1..=1_024).contains(&self.commit.batch_max),
            "commit.batch_max must lie within 1 to 1024",
        );
        require(
            self.commit.queue_max >= self.commit.batch_max,
            "commit.queue_max must be at least commit.batch_max",
        );
        require(
            self.commit.gather_wait_us <= 20_000,
            "commit.gather_wait_us must be at most 20000",
        );
        require(
            self.commit.wait_max_ms > 0 && self.commit.lock_timeout_ms > 0,
            "commit.wait_max_ms and commit.lock_timeout_ms must not be 0",
        );
        require(self.coupons.is_sound(), Coupons::LIMITS);
        require(
            (0..=400).contains(&self.ledger.expire_after_days),
            "ledger.expire_after_days must lie within 0 to 400",
        );
        require(
            self.office.is_sound(),
            "office.adjustment_reasons must each be 1 to 32 of a to z, 0 to 9 and hyphens, \
             adjustment_points_per_day not negative, idempotency_hours within 1 to 720",
        );
        require(
            (1..=3_600).contains(&self.signature.tolerance_s),
            "signature.tolerance_s must lie within 1 to 3600",
        );
        require(
            self.http.header_max_bytes >= 8_192,
            "http.header_max_bytes must be at least 8192 (HTTP clients rely on that much)",
        );
        require(
            self.http.connections_max > 0 && self.database.connections_max > 0,
            "http.connections_max and database.connections_max must not be 0",
        );
        let levels = ["error", "warn", "info", "debug", "trace"];
        let is_level = levels.contains(&self.log.level.as_str());
        require(is_level, "log.level must be error, warn, info, debug or trace");
        let is_format = ["json", "text"].contains(&self.log.format.as_str());
        require(is_format, "log.format must be json or text");
        findings
    }
}

/// Reads text from the environment as the kind of value that the default is.
fn parse_like(default: &toml::Value, text: &str) -> Option<toml::Value> {
    match default {
        toml::Value::Boolean(_) => text.parse().ok().map(toml::Value::Boolean),
        toml::Value::Integer(_) => text.parse().ok().map(toml::Value::Integer),
        toml::Value::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Some(toml::Value::Array(items.map(|item| item.into()).collect()))
        }
        _ => Some(toml::Value::String(text.to_owned())),
    }
}

fn kind(default: &toml::Value) -> &'static str {
    match default {
        toml::Value::Boolean(_) => "true or false",
        toml::Value::Integer(_) => "a whole number",
        _ => "a text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_text(text: &str) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().expect("the temporary folder is writable");
        std::fs::write(file.path(), text).expect("just created");
        Config::from_sources(Some(file.path()), |_| None)
    }

    #[test]
    fn the_example_in_deploy_has_every_setting_with_its_default() {
        let example: toml::Table = include_str!("../deploy/tillside.toml").parse().expect("TOML");
        let defaults = toml::Table::try_from(Config::default()).expect("settings are plain values");
        assert_eq!(example, defaults);
    }

    #[test]
    fn the_environment_goes_over_the_file() {
        let environment = |name: &str| match name {
            "TILLSIDE_COMMIT_COMMITTERS" => Some("7".to_owned()),
            "TILLSIDE_CARDS_PREFIXES" => Some("299, 298".to_owned()),
            "TILLSIDE_CARDS_CHECK_DIGIT" => Some("false".to_owned()),
            _ => None,
        };
        let config = Config::from_sources(None, environment).expect("all of it is valid");
        assert_eq!(config.commit.committers, 7);
        assert_eq!(config.cards.prefixes, ["299", "298"]);
        assert!(!config.cards.check_digit);
        let environment = |name: &str| (name == "TILLSIDE_COMMIT_COMMITTERS").then(|| "two".into());
        let error = Config::from_sources(None, environment).expect_err("not a number");
        assert!(error.to_string().contains("TILLSIDE_COMMIT_COMMITTERS"), "{error}");
    }

    #[test]
    fn unknown_settings_and_contradictions_are_found_at_once() {
        let error = from_text("[http]\nlisten_on = 80").expect_err("no such setting");
        assert!(error.to_string().contains("listen_on"), "{error}");
        let error =
            from_text("[cards]\nletters = true\n[commit]\nqueue_max = 1\n[log]\nlevel = 'x'")
                .expect_err("three findings");
        for setting in ["cards.check_digit", "commit.queue_max", "log.level"] {
            assert!(error.to_string().contains(setting), "{setting}: {error}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let mut config = Config::default();
        config.database.url = Secret::new("postgresql://u:hunter2@db/t");
        config.secrets.key_encryption_key = Secret::new("hunter2");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
