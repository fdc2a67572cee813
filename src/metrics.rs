//! What the service counts and times. Names here are a contract with dashboards and alerts.
//!
//! Labels are bounded: routes are templates, problems are slugs. No card, name or account
//! ever becomes a label.

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry, TextEncoder,
};

use crate::domain::selection::showcase::Reason;

/// Seconds: from a quarter of a millisecond to ten seconds.
const LATENCY_BUCKETS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.001_5, 0.002, 0.003, 0.004, 0.006, 0.008, 0.012, 0.016, 0.025,
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Seconds: parts of a swipe, down to ten microseconds.
const PHASE_BUCKETS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016,
    0.05, 0.25, 1.0, 5.0,
];
/// Swipes in one statement.
const BATCH_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// All metrics, with the registry that renders them.
pub struct Metrics {
    registry: Registry,
    /// Seconds from the request's headers to its answer, by route template and status.
    pub requests: HistogramVec,
    /// Seconds of the parts of a swipe.
    pub phases: Phases,
    /// Swipes and voids in one statement.
    pub batch_swipes: Histogram,
    /// Commands that wait for a committer.
    pub queue_depth: IntGauge,
    /// Look-ups of accounts in memory.
    pub accounts: Lookups,
    /// Look-ups of cards in memory.
    pub cards: Lookups,
    /// Accounts held in memory.
    pub accounts_held: IntGauge,
    /// Answers other than success, by slug.
    pub problems: IntCounterVec,
    /// Answers to swipes and voids: recorded, replayed, or refused because the name is taken.
    pub outcomes: IntCounterVec,
    /// Accounts that did not move because they were not as the cache had them.
    pub stale_accounts: IntCounter,
    /// Passes under locks.
    pub locked_passes: IntCounter,
    /// Batches that were halved because the database refused a part of them.
    pub bisections: IntCounter,
    /// Commands put on the siding because somebody else held their account locked.
    pub held_up: IntCounter,
    /// Connections of committers.
    pub connections_made: IntCounter,
    /// Connections of the pool: in use and idle.
    pub pool_connections: prometheus::IntGaugeVec,
    /// Callers that wait for a connection of the pool.
    pub pool_waiting: IntGauge,
    /// 1 when `/readyz` would say so, else 0.
    pub ready: IntGauge,
    /// Open connections of terminals and people.
    pub http_connections: IntGauge,
    /// Connections closed at once because too many were open.
    pub http_connections_refused: IntCounter,
    /// Connections cut because the peer was too slow or silent for too long.
    pub http_connections_timed_out: IntCounter,
    /// Swipes whose till gave something else for points than the programme says.
    pub points_value_differs: IntCounter,
    /// Accounts that nobody visited and whose points have run out.
    pub expired_accounts: IntCounter,
    /// Points that were written off on those.
    pub expired_points: IntCounter,
    /// Accounts that walks have left out, because what is stored of them is damaged.
    pub expiry_damaged: IntCounter,
    /// What became of leases of budgets.
    pub leases: IntCounterVec,
    /// Coupons for which tills gave what did not fit into the budgets of their offers.
    pub redeemed_over_budget: IntCounter,
    /// Coupons for which tills gave something although they were more than their offers allow.
    pub redeemed_over_limit: IntCounter,
    /// Requests kept in the quarantine.
    pub quarantined: IntCounter,
    /// Coupons that receipts brought.
    pub coupons_issued: IntCounter,
    /// The same by why they were chosen, in the order of [`Reason`].
    coupons_given: Vec<IntCounter>,
    /// Coupons that were chosen and not given, since their accounts were held out.
    pub coupons_withheld: IntCounter,
    /// Coupons that tills took and that counted, by [`Redeemed::labels`].
    coupons_redeemed: IntCounterVec,
    /// Offers that a customer was not given since their budgets had no room.
    offers_without_room: IntCounter,
    /// The same since their pace allowed no more.
    offers_paced: IntCounter,
}

/// How a coupon came to the customer who uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A till chose it.
    Till,
    /// People issued it.
    People,
    /// It is a code of a pool, or one for everybody, as a member price is.
    Code,
    /// By an account that was merged into this one.
    Inherited,
}

/// A coupon that a till took and that counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redeemed {
    /// How it had come to its customer.
    pub origin: Origin,
    /// Why it was given; none of a reason that this version does not know.
    pub reason: Option<Reason>,
}

impl Redeemed {
    /// What there can be, but for reasons of versions to come; to be counted from zero. Tills give
    /// coupons to enrolled customers, and those are never merged into others.
    fn all() -> impl Iterator<Item = Self> {
        Reason::ALL.into_iter().flat_map(|reason| {
            let origins = match reason {
                Reason::Given => &[Origin::People, Origin::Code, Origin::Inherited][..],
                _ => &[Origin::Till],
            };
            origins.iter().map(move |origin| Self { origin: *origin, reason: Some(reason) })
        })
    }

    /// Origin, slot and reason. The slot is the reason's, as it is of what is given, so that one
    /// can be divided by the other. A code was given to nobody, so no reason speaks for it.
    fn labels(self) -> [&'static str; 3] {
        let origin = match self.origin {
            Origin::Code => return ["code", "none", "none"],
            Origin::Till => "till",
            Origin::People => "people",
            Origin::Inherited => "inherited",
        };
        match self.reason {
            Some(reason) => [origin, reason.slot().name(), reason.name()],
            None => [origin, "unknown", "unknown"],
        }
    }
}

/// What came of one choice of coupons.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// Why the coupons were chosen that the receipt brings.
    pub given: Vec<Reason>,
    /// How many the hold-out kept back.
    pub withheld: u64,
    /// How many offers were left out for want of room in their budgets.
    pub no_room: u64,
    /// And how many for their pace.
    pub paced: u64,
}

/// Seconds of the parts of a swipe.
pub struct Phases {
    /// Reading the request and proving its signature.
    pub signature: Histogram,
    /// From bytes to a command.
    pub parse: Histogram,
    /// Waiting for a committer.
    pub queue: Histogram,
    /// Routing and loading what must be known, for a batch.
    pub facts: Histogram,
    /// Deciding a batch and building its receipts.
    pub decide: Histogram,
    /// The statement, for a batch.
    pub statement: Histogram,
}

/// How often something was in memory.
pub struct Lookups {
    hits: IntCounter,
    misses: IntCounter,
}

impl Lookups {
    /// Counts a batch of look-ups.
    pub fn add(&self, hits: usize, misses: usize) {
        self.hits.inc_by(hits as u64);
        self.misses.inc_by(misses as u64);
    }
}

impl Metrics {
    /// All metrics at zero.
    ///
    /// # Panics
    /// Never: the names are distinct and well-formed, which the first start of any test shows.
    #[expect(clippy::too_many_lines, reason = "one list of everything that is counted")]
    pub fn new() -> Self {
        let registry = Registry::new();
        let phases = histograms(
            &registry,
            "tillside_phase_seconds",
            "Seconds of the parts of a swipe.",
            &["phase"],
            PHASE_BUCKETS,
        );
        let lookups = counters(
            &registry,
            "tillside_cache_lookups_total",
            "Look-ups in memory.",
            &["cache", "outcome"],
        );
        let lookup = |cache: &str| Lookups {
            hits: lookups.with_label_values(&[cache, "hit"]),
            misses: lookups.with_label_values(&[cache, "miss"]),
        };
        let given = counters(
            &registry,
            "tillside_coupons_given_total",
            "Coupons that receipts brought, by what they were there for and why they were chosen.",
            &["slot", "reason"],
        );
        let redeemed = counters(
            &registry,
            "tillside_coupons_redeemed_total",
            "Coupons that tills took and that counted, by how they came to their customers, what they \
             were there for and why they were given.",
            &["origin", "slot", "reason"],
        );
        for each in Redeemed::all() {
            redeemed.with_label_values(&each.labels());
        }
        let held_back = counters(
            &registry,
            "tillside_offers_held_back_total",
            "Offers that customers were not given: their budgets had no room, or their pace allowed \
             no more by that day.",
            &["why"],
        );
        let pool_connections = registered(
            &registry,
            prometheus::IntGaugeVec::new(
                Opts::new("tillside_pool_connections", "Connections of the pool."),
                &["state"],
            ),
        );
        let batch = HistogramOpts::new("tillside_batch_swipes", "Swipes in one statement.")
            .buckets(BATCH_BUCKETS.to_vec());
        Self {
            requests: histograms(
                &registry,
                "tillside_request_seconds",
                "Seconds from the headers of a request to its answer.",
                &["route", "status"],
                LATENCY_BUCKETS,
            ),
            phases: Phases {
                signature: phases.with_label_values(&["signature"]),
                parse: phases.with_label_values(&["parse"]),
                queue: phases.with_label_values(&["queue"]),
                facts: phases.with_label_values(&["facts"]),
                decide: phases.with_label_values(&["decide"]),
                statement: phases.with_label_values(&["statement"]),
            },
            batch_swipes: registered(&registry, Histogram::with_opts(batch)),
            queue_depth: gauge(&registry, "tillside_queue_depth", "Commands that wait."),
            accounts: lookup("accounts"),
            cards: lookup("cards"),
            accounts_held: gauge(&registry, "tillside_accounts_held", "Accounts in memory."),
            problems: counters(
                &registry,
                "tillside_problems_total",
                "Answers other than success, by slug.",
                &["slug"],
            ),
            outcomes: counters(
                &registry,
                "tillside_outcomes_total",
                "What became of swipes and voids.",
                &["outcome"],
            ),
            stale_accounts: counter(
                &registry,
                "tillside_stale_accounts_total",
                "Accounts that were not as the cache had them.",
            ),
            locked_passes: counter(
                &registry,
                "tillside_locked_passes_total",
                "Passes under locks.",
            ),
            bisections: counter(
                &registry,
                "tillside_bisections_total",
                "Batches that were halved.",
            ),
            held_up: counter(
                &registry,
                "tillside_held_up_total",
                "Commands put on the siding because their account was locked by somebody else.",
            ),
            connections_made: counter(
                &registry,
                "tillside_committer_connections_total",
                "Connections that committers made.",
            ),
            pool_connections,
            pool_waiting: gauge(
                &registry,
                "tillside_pool_waiting",
                "Callers waiting for the pool.",
            ),
            ready: gauge(&registry, "tillside_ready", "1 when /readyz would say ready."),
            http_connections: gauge(&registry, "tillside_http_connections", "Open connections."),
            http_connections_refused: counter(
                &registry,
                "tillside_http_connections_refused_total",
                "Connections closed at once because too many were open.",
            ),
            http_connections_timed_out: counter(
                &registry,
                "tillside_http_connections_timed_out_total",
                "Connections cut because the peer was too slow.",
            ),
            points_value_differs: counter(
                &registry,
                "tillside_points_value_differs_total",
                "Swipes whose till gave something else for points than the programme says.",
            ),
            leases: from_zero(
                counters(
                    &registry,
                    "tillside_leases_total",
                    "Leases of budgets: taken, refused as nothing is left or as the pace allows no more, \
                     returned, reclaimed after they ran out, lost under a statement.",
                    &["event"],
                ),
                &["taken", "refused", "paced", "returned", "reclaimed", "lost"],
            ),
            redeemed_over_budget: counter(
                &registry,
                "tillside_redeemed_over_budget_total",
                "Coupons for which tills gave what did not fit into the budgets of their offers.",
            ),
            redeemed_over_limit: counter(
                &registry,
                "tillside_redeemed_over_limit_total",
                "Coupons for which tills gave something although they were more than their offers allow.",
            ),
            expired_accounts: counter(
                &registry,
                "tillside_expired_accounts_total",
                "Accounts that nobody visited and whose points have run out.",
            ),
            expired_points: counter(
                &registry,
                "tillside_expired_points_total",
                "Points written off on accounts that nobody visited.",
            ),
            expiry_damaged: counter(
                &registry,
                "tillside_expiry_damaged_total",
                "Accounts left out of expiry because what is stored of them is damaged.",
            ),
            quarantined: counter(
                &registry,
                "tillside_quarantined_total",
                "Requests kept in the quarantine.",
            ),
            coupons_issued: counter(
                &registry,
                "tillside_coupons_issued_total",
                "Coupons that receipts brought.",
            ),
            coupons_given: Reason::ALL
                .iter()
                .map(|reason| given.with_label_values(&[reason.slot().name(), reason.name()]))
                .collect(),
            coupons_redeemed: redeemed,
            offers_without_room: held_back.with_label_values(&["no-room"]),
            offers_paced: held_back.with_label_values(&["pacing"]),
            coupons_withheld: counter(
                &registry,
                "tillside_coupons_withheld_total",
                "Coupons that were chosen for customers who are held out, and not given.",
            ),
            registry,
        }
    }

    /// Counts what a receipt brought, and what was kept back.
    pub fn count_chosen(&self, chosen: &Chosen) {
        let Chosen { given, withheld, no_room, paced } = chosen;
        self.coupons_issued.inc_by(given.len() as u64);
        for reason in given {
            self.coupons_given[*reason as usize].inc();
        }
        self.coupons_withheld.inc_by(*withheld);
        self.offers_without_room.inc_by(*no_room);
        self.offers_paced.inc_by(*paced);
    }

    /// Counts coupons that a till took.
    pub fn count_redeemed(&self, redeemed: &[Redeemed]) {
        for each in redeemed {
            self.coupons_redeemed.with_label_values(&each.labels()).inc();
        }
    }

    /// The text that Prometheus reads.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("writing to a vector cannot fail");
        String::from_utf8(text).expect("the text format is UTF-8")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn registered<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
) -> C {
    let collector = collector.expect("names and buckets are well-formed");
    registry.register(Box::new(collector.clone())).expect("names are distinct");
    collector
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    registered(registry, IntCounter::new(name, help))
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

/// The same with a series for each of these values of its label before anything happens.
fn from_zero(counters: IntCounterVec, values: &[&str]) -> IntCounterVec {
    for value in values {
        counters.with_label_values(&[value]);
    }
    counters
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    registered(registry, IntGauge::new(name, help))
}

fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: &[f64],
) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    registered(registry, HistogramVec::new(options, labels))
}
