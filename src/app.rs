//! The service put together: the only place where parts are wired to each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use tokio::sync::{Mutex, Notify, Semaphore};

use crate::accounts::Accounts;
use crate::catalogue::Catalogue;
use crate::commit::{CommitterTasks, Committers, Desk};
use crate::config::Config;
use crate::db::pool::{Pool, connect_pool};
use crate::domain::card::CardFormat;
use crate::domain::payment_card;
use crate::error::Error;
use crate::http::problem::{Problem, Slug};
use crate::http::request::{Body, Incoming, Policy, SignedRequest, read_signed, read_unsigned};
use crate::http::server;
use crate::member_prices::MemberPrices;
use crate::metrics::Metrics;
use crate::quarantine::{self, Refused};
use crate::sealing::Sealer;

/// Exports under way at a time; each holds a snapshot and a connection.
const EXPORTS_MAX: usize = 2;

/// A running service, as handlers see it.
pub struct App {
    /// Every setting.
    pub config: Config,
    /// Connections for reads and administration.
    pub pool: Pool,
    /// Reference data.
    pub catalogue: Catalogue,
    /// The accounts held in memory.
    pub accounts: Accounts,
    /// Where everything that a till wants written goes.
    pub committers: Committers,
    /// Where what people correct goes, one thing at a time.
    pub desk: Mutex<Desk>,
    /// How many more exports may be under way.
    pub exports: Arc<Semaphore>,
    /// Tells the worker of this replica that a handout waits for it.
    pub handouts: Notify,
    /// What is counted and timed.
    pub metrics: Arc<Metrics>,
    /// What has been worked out of member prices.
    pub member_prices: MemberPrices,
    /// What a card looks like.
    pub cards: CardFormat,
    time_zone: TimeZone,
    policy: Policy,
}

impl App {
    /// Puts the service together on a database that has been migrated.
    ///
    /// # Errors
    /// When the reference data cannot be read.
    pub async fn start(
        config: Config,
        sealer: Sealer,
        metrics: Arc<Metrics>,
    ) -> Result<(Arc<Self>, CommitterTasks), Error> {
        let pool = connect_pool(&config.database)?;
        let catalogue = Catalogue::start(pool.clone(), Arc::new(sealer)).await?;
        let accounts = Accounts::new(&config.cache);
        let (committers, tasks) = Committers::start(
            &config.commit,
            &config.coupons,
            &config.database,
            accounts.clone(),
            catalogue.clone(),
            Arc::clone(&metrics),
        );
        let desk = Mutex::new(Desk::new(&config.commit, &config.database));
        let exports = Arc::new(Semaphore::new(EXPORTS_MAX));
        let cards = config.cards.format();
        let time_zone = config.time_zone();
        let policy = Policy::new(&config);
        let app = Self {
            config,
            pool,
            catalogue,
            accounts,
            committers,
            desk,
            exports,
            handouts: Notify::new(),
            metrics,
            member_prices: MemberPrices::default(),
            cards,
            time_zone,
            policy,
        };
        Ok((Arc::new(app), tasks))
    }

    /// Reads a signed request to its end.
    ///
    /// # Errors
    /// As [`read_signed`].
    pub async fn read_signed(&self, request: Incoming) -> Result<SignedRequest, Problem> {
        self.read(request, &self.policy).await
    }

    /// As [`App::read_signed`], with the limit of a batch.
    ///
    /// # Errors
    /// As [`read_signed`].
    pub async fn read_signed_batch(&self, request: Incoming) -> Result<SignedRequest, Problem> {
        let policy = self.policy.body_max_bytes(self.config.http.batch_body_max_bytes);
        self.read(request, &policy).await
    }

    /// Reads the body of a request of a person, who is known by then.
    ///
    /// # Errors
    /// As [`read_unsigned`].
    pub async fn read_unsigned(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
        read_unsigned(headers, body, &self.policy).await
    }

    async fn read(&self, request: Incoming, policy: &Policy) -> Result<SignedRequest, Problem> {
        let started = std::time::Instant::now();
        let now = Timestamp::now();
        let snapshot = self.catalogue.current();
        let (parts, body) = request.into_parts();
        let signed = read_signed(&parts, body, policy, |keyid| snapshot.key(keyid, now), now).await;
        self.metrics.phases.signature.observe(started.elapsed().as_secs_f64());
        signed
    }

    /// The chain's date of today.
    pub fn today(&self) -> Date {
        self.time_zone.to_datetime(Timestamp::now()).date()
    }

    /// The oldest and the newest business date that is taken; none when the window is off.
    pub fn business_date_window(&self) -> Option<(Date, Date)> {
        let settings = &self.config.swipe;
        let today = self.today();
        let oldest = today.saturating_sub(Span::new().days(settings.age_max_days));
        let newest = today.saturating_add(Span::new().days(settings.ahead_max_days));
        (settings.age_max_days > 0).then_some((oldest, newest))
    }

    /// Keeps a signed request that was not understood, so that people can see it; one that may
    /// hold payment-card data is not kept anywhere.
    pub async fn quarantine(
        &self,
        route: &str,
        signed: &SignedRequest,
        body: &[u8],
        problem: &Problem,
    ) {
        let kept = [
            Slug::MalformedJson,
            Slug::CardInvalid,
            Slug::TimestampOutOfRange,
            Slug::ValidationFailed,
            Slug::SwipeNameReused,
        ];
        // What was parsed has been looked at field by field; what could not be, has not. Digits
        // may hide behind JSON's \u0030 to \u0039.
        let text = String::from_utf8_lossy(body).replace("\\u003", "");
        let safe = problem.slug() != Slug::MalformedJson
            || !payment_card::found_in(&text, payment_card::Field::Text);
        if !kept.contains(&problem.slug()) || !safe {
            return;
        }
        let errors: Vec<String> = problem
            .errors()
            .iter()
            .map(|finding| format!("{}: {}", finding.pointer, finding.detail))
            .collect();
        let refused = Refused {
            workstation_no: signed.terminal.workstation_no,
            request_id: signed.request_id.as_str(),
            route,
            problem: problem.slug().name(),
            errors: &errors.join("\n"),
            body,
        };
        match quarantine::keep(&self.pool, &refused, Timestamp::now()).await {
            Ok(()) => self.metrics.quarantined.inc(),
            Err(error) => tracing::warn!(%error, "a refused request could not be kept"),
        }
    }

    /// Counts an answer to a swipe or a void.
    pub fn count_outcome(&self, outcome: &str) {
        self.metrics.outcomes.with_label_values(&[outcome]).inc();
    }

    /// Counts a refusal inside a batch, which has no status of its own.
    pub fn count_problem(&self, slug: Slug) {
        self.metrics.problems.with_label_values(&[slug.name()]).inc();
    }

    /// Brings gauges up to date that nobody changes as things happen.
    pub fn refresh_gauges(&self) {
        let status = self.pool.status();
        let gauge = |state: &str, value: usize| {
            let value = i64::try_from(value).expect("far fewer connections than that");
            self.metrics.pool_connections.with_label_values(&[state]).set(value);
        };
        gauge("idle", status.available);
        gauge("open", status.size);
        self.metrics.pool_waiting.set(i64::try_from(status.waiting).unwrap_or(i64::MAX));
        let connections = &server::CONNECTIONS;
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let open = load(&connections.accepted).saturating_sub(load(&connections.ended));
        self.metrics.http_connections.set(i64::try_from(open).unwrap_or(i64::MAX));
        for (counter, count) in [
            (&self.metrics.http_connections_refused, &connections.refused),
            (&self.metrics.http_connections_timed_out, &connections.timed_out),
        ] {
            counter.inc_by(load(count).saturating_sub(counter.get()));
        }
        let held = i64::try_from(self.accounts.held()).unwrap_or(i64::MAX);
        self.metrics.accounts_held.set(held);
    }
}

/// How long the service waits for its committers when it stops.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
