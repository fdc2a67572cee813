//! Faults that are put in on purpose, so that the tests of reliability can show that they would
//! notice. Not part of the product: without the feature `sabotage` every question here is
//! answered with a constant no, and an optimised build refuses the feature.
//!
//! One fault at a time, chosen by `TILLSIDE_SABOTAGE`; `make sabotage` goes through all of them.

#[cfg(all(feature = "sabotage", not(debug_assertions)))]
compile_error!("the feature `sabotage` is for tests: an optimised build must not have it");

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use bytes::Bytes;
use jiff::Timestamp;

use crate::accounts::{Accounts, Hot};
use crate::config;
use crate::domain::account::Account;
use crate::domain::coupon::{Code, Coupon};

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Commits do not wait for the disk.
    SynchronousCommitOff,
    /// A name that is taken is recorded again.
    NameCheckRemoved,
    /// An account is overwritten whatever its version.
    VersionPredicateRemoved,
    /// A retry is answered with a receipt that is made anew.
    ReceiptRebuiltOnReplay,
    /// An account that did not move is taken for a name that is taken.
    CacheTrustedForRefusals,
    /// A till is answered before the database has been.
    AnswerBeforeCommit,
    /// The second attempt decides on what the cache remembers.
    StaleRetryWithoutReload,
    /// A swipe gets the receipt of the one before it in its batch.
    ChildrenOnTheWrongSwipe,
    /// Some entries are not written.
    LotsNotMatchingEntries,
    /// Everybody may wait, for any time.
    UnboundedQueue,
    /// A coupon is what it was when it was first looked at.
    CheckThenActRedemption,
    /// Who draws on a budget counts for itself, and nobody else hears of it.
    BudgetInMemoryOnly,
    /// A lease is spent although it has been closed.
    LeaseSpentAfterReclaim,
    /// An order whose answer was lost draws other coupons when it is tried again.
    CouponDrawnAgainOnReplay,
    /// What everybody with a card gets is on the receipt, and nowhere else.
    AutomaticUseNotCounted,
    /// Whoever goes on with a handout does not ask who has a coupon of it already.
    HandoutGivenAgainAfterCrash,
    /// Each of two replicas gives the part of a day that is for both of them.
    PaceHeldByEachReplica,
    /// A handout goes to whoever had agreed when its accounts were written down.
    RetractedConsentIgnored,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::SynchronousCommitOff,
        Self::NameCheckRemoved,
        Self::VersionPredicateRemoved,
        Self::ReceiptRebuiltOnReplay,
        Self::CacheTrustedForRefusals,
        Self::AnswerBeforeCommit,
        Self::StaleRetryWithoutReload,
        Self::ChildrenOnTheWrongSwipe,
        Self::LotsNotMatchingEntries,
        Self::UnboundedQueue,
        Self::CheckThenActRedemption,
        Self::BudgetInMemoryOnly,
        Self::LeaseSpentAfterReclaim,
        Self::CouponDrawnAgainOnReplay,
        Self::AutomaticUseNotCounted,
        Self::HandoutGivenAgainAfterCrash,
        Self::PaceHeldByEachReplica,
        Self::RetractedConsentIgnored,
    ];

    /// Those that the suite must notice: what tills and the clerk of the harness do has no
    /// coupons.
    pub const IN_SUITE: [Self; 8] = [
        Self::CheckThenActRedemption,
        Self::BudgetInMemoryOnly,
        Self::LeaseSpentAfterReclaim,
        Self::CouponDrawnAgainOnReplay,
        Self::AutomaticUseNotCounted,
        Self::HandoutGivenAgainAfterCrash,
        Self::PaceHeldByEachReplica,
        Self::RetractedConsentIgnored,
    ];

    /// How it is chosen.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SynchronousCommitOff => "synchronous-commit-off",
            Self::NameCheckRemoved => "name-check-removed",
            Self::VersionPredicateRemoved => "version-predicate-removed",
            Self::ReceiptRebuiltOnReplay => "receipt-rebuilt-on-replay",
            Self::CacheTrustedForRefusals => "cache-trusted-for-refusals",
            Self::AnswerBeforeCommit => "answer-before-commit",
            Self::StaleRetryWithoutReload => "stale-retry-without-reload",
            Self::ChildrenOnTheWrongSwipe => "children-on-the-wrong-swipe",
            Self::LotsNotMatchingEntries => "lots-not-matching-entries",
            Self::UnboundedQueue => "unbounded-queue",
            Self::CheckThenActRedemption => "check-then-act-redemption",
            Self::BudgetInMemoryOnly => "budget-in-memory-only",
            Self::LeaseSpentAfterReclaim => "lease-spent-after-reclaim",
            Self::CouponDrawnAgainOnReplay => "coupon-drawn-again-on-replay",
            Self::AutomaticUseNotCounted => "automatic-use-not-counted",
            Self::HandoutGivenAgainAfterCrash => "handout-given-again-after-crash",
            Self::PaceHeldByEachReplica => "pace-held-by-each-replica",
            Self::RetractedConsentIgnored => "retracted-consent-ignored",
        }
    }
}

/// Whether this fault was chosen.
#[cfg(not(feature = "sabotage"))]
pub(crate) const fn is(_: Fault) -> bool {
    false
}

/// Whether this fault was chosen.
#[cfg(feature = "sabotage")]
pub(crate) fn is(fault: Fault) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<Fault>> = std::sync::OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| {
        #[expect(clippy::disallowed_methods, reason = "it is no setting of the product")]
        let name = std::env::var("TILLSIDE_SABOTAGE").ok()?;
        let found = Fault::ALL.into_iter().find(|fault| fault.name() == name);
        Some(found.unwrap_or_else(|| panic!("TILLSIDE_SABOTAGE: there is no fault {name}")))
    });
    *chosen == Some(fault)
}

/// The statement of the committers, spoilt if that was chosen.
pub(crate) fn commit_batch(sql: String) -> String {
    let Some(fault) = Fault::ALL.into_iter().find(|fault| is(*fault)) else { return sql };
    changes(fault).iter().fold(sql, |sql, (from, to)| sql.replace(from, to))
}

/// Whether the statement is spoilt: then the form for a swipe that is alone is left out.
pub(crate) fn spoils_the_statement() -> bool {
    Fault::ALL.into_iter().any(|fault| is(fault) && !changes(fault).is_empty())
}

/// The end of an INSERT of the statement, by the ranges that it counts up, without the error that
/// a key would raise.
macro_rules! overlooking_what_is_there {
    ($ends:literal) => {
        (
            concat!($ends, "[n + 1]) AS n\n        FROM moved\n    ) AS g"),
            concat!($ends, "[n + 1]) AS n\n        FROM moved\n    ) AS g ON CONFLICT DO NOTHING"),
        )
    };
}

/// What a fault changes in the statement. What the tables' keys would still refuse is silenced
/// too: each protection shall be missed for itself.
fn changes(fault: Fault) -> &'static [(&'static str, &'static str)] {
    match fault {
        Fault::NameCheckRemoved => &[
            ("LIMIT 1) IS NULL", "LIMIT 1) IS DISTINCT FROM 2"),
            overlooking_what_is_there!("($16::integer[])"),
        ],
        Fault::VersionPredicateRemoved => &[
            (" AND a.version = ($4::bigint[])[i.n]", ""),
            overlooking_what_is_there!("($17::integer[])"),
            overlooking_what_is_there!("($18::integer[])"),
        ],
        Fault::ChildrenOnTheWrongSwipe => &[
            ("FROM ($41::integer[])[g.n] + 1", "FROM ($41::integer[])[greatest(g.n - 1, 1)] + 1"),
            (
                "FOR ($41::integer[])[g.n + 1] - ($41::integer[])[g.n])",
                "FOR ($41::integer[])[greatest(g.n - 1, 1) + 1]
                     - ($41::integer[])[greatest(g.n - 1, 1)])",
            ),
        ],
        Fault::BudgetInMemoryOnly | Fault::LeaseSpentAfterReclaim => &[(
            "1 / (SELECT (count(*) = (SELECT count(*) FROM spent))::integer FROM drawn) = 1",
            "true",
        )],
        _ => &[],
    }
}

/// The settings of the committers, without their bound if that was chosen.
pub(crate) fn settings(settings: &config::Commit) -> config::Commit {
    let mut settings = settings.clone();
    if is(Fault::UnboundedQueue) {
        settings.queue_max = 1 << 24;
    }
    settings
}

/// An account as it was loaded, or as the cache still has it if that was chosen.
pub(crate) fn reloaded(hot: Arc<Hot>, accounts: &Accounts) -> Arc<Hot> {
    match accounts.get(hot.account.account_id) {
        Some(held) if is(Fault::StaleRetryWithoutReload) => {
            let version = hot.account.version;
            let account = Account { version, ..held.account.clone() };
            Arc::new(Hot {
                account,
                cards: Arc::clone(&hot.cards),
                profile: Arc::clone(&held.profile),
                open: Arc::clone(&hot.open),
                profiling: hot.profiling,
                tail_since: held.tail_since,
            })
        }
        _ => hot,
    }
}

/// A coupon as it was read, or as it was seen first if that was chosen.
pub(crate) fn coupon(read: Coupon) -> Coupon {
    static SEEN: LazyLock<Mutex<HashMap<Code, Coupon>>> = LazyLock::new(Mutex::default);
    if !is(Fault::CheckThenActRedemption) {
        return read;
    }
    let mut seen = SEEN.lock().expect("nobody panics with it");
    seen.entry(read.code).or_insert(read).clone()
}

/// The random bits of an order, drawn anew if that was chosen.
pub(crate) fn bits(drawn: &[u64]) -> Cow<'_, [u64]> {
    if !is(Fault::CouponDrawnAgainOnReplay) {
        return Cow::Borrowed(drawn);
    }
    drawn.iter().map(|_| getrandom::u64().expect("the kernel gives random bytes")).collect()
}

/// What a handout has brought before, or nothing if that was chosen.
pub(crate) fn brought_before<T: Default>(found: T) -> T {
    if is(Fault::HandoutGivenAgainAfterCrash) { T::default() } else { found }
}

/// What may be leased of a budget by now, or twice as much if that was chosen.
pub(crate) fn allowed(part: i64) -> i64 {
    if is(Fault::PaceHeldByEachReplica) { part.saturating_mul(2) } else { part }
}

/// The stored answer of a replay, made anew if that was chosen.
pub(crate) fn replayed(answer: Bytes, now: Timestamp) -> Bytes {
    if !is(Fault::ReceiptRebuiltOnReplay) {
        return answer;
    }
    let mut receipt: serde_json::Value =
        serde_json::from_slice(&answer).expect("stored receipts are JSON");
    receipt["recorded_at"] = now.to_string().into();
    receipt.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::probe::Parts;

    #[test]
    fn what_is_to_be_spoilt_is_still_there() {
        let whole = Parts::WHOLE.statement();
        for (from, to) in Fault::ALL.into_iter().flat_map(changes) {
            assert_eq!(whole.matches(from).count(), 1, "{from}");
            assert_ne!(from, to);
        }
    }

    #[test]
    fn make_sabotage_asks_the_suite_for_every_fault_that_is_its_own() {
        let makefile = concat!(env!("CARGO_MANIFEST_DIR"), "/Makefile");
        let makefile = std::fs::read_to_string(makefile).expect("it is part of the sources");
        let (_, list) = makefile.split_once("SUITE_FAULTS = ").expect("it has the list");
        let (list, _) = list.split_once("\nSUITE = ").expect("it ends");
        let named: Vec<&str> = list.split_whitespace().filter(|word| *word != "\\").collect();
        assert_eq!(named, Fault::IN_SUITE.map(Fault::name));
    }

    #[cfg(not(feature = "sabotage"))]
    #[test]
    fn without_the_feature_nothing_is_spoilt() {
        let whole = Parts::WHOLE.statement();
        assert_eq!(commit_batch(whole.clone()), whole);
    }
}
