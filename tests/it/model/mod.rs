//! An independent model of points and coupons, and the product held against it: `domain` directly,
//! as far as points go, and two replicas on a real PostgreSQL through the real router.
//!
//! `account`, `rules`, `tiers`, `coupons` and `chain` are the model, written from the rules alone;
//! `operations` and `tickets` draw what happens; `pure`, `service` and `issued` let it happen to
//! the product and compare.
//!
//! What is left out, because the product is known to fall short of the rules there:
//! * the same sold line brought back twice,
//! * a return, and then a void of its sale,
//! * a return on another account than the one of its sale.

mod account;
mod chain;
mod coupons;
mod issued;
mod operations;
mod purchase;
mod pure;
mod rules;
mod service;
mod tickets;
mod tiers;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use proptest_state_machine::ReferenceStateMachine as _;

use chain::{Answer, Chain, Programme};
use coupons::{Outcome, State};
use operations::Operation;
use purchase::{Given, Purchase, Taken};
use pure::Domain;
use service::{Caches, Pair};
use tiers::Tiers;

/// Operations of a case: long enough for months to end, short enough to be read.
const CASE: u32 = 100;
const SIZE: usize = CASE as usize;

/// A history as it is drawn; the counter tells how far a run came.
type History = (Chain, Vec<Operation>, Option<Arc<AtomicUsize>>);

/// How much is drawn, and from which seed.
struct Effort {
    operations: u32,
    seed: u64,
}

impl Effort {
    /// What the suite can afford, which draws the same each time: what it finds it finds for
    /// everybody. Or that part of what `make model` asks for.
    #[expect(clippy::disallowed_methods, reason = "no setting of the service: how far a test goes")]
    fn new(in_the_suite: u32, part: u64) -> Self {
        let number = |name: &str| {
            let text = std::env::var(name).ok()?;
            Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
        };
        let asked = number("TILLSIDE_MODEL_OPERATIONS").map(|operations| operations / part);
        Self {
            operations: asked.map_or(in_the_suite, |it| it.try_into().expect("below 2^32")),
            seed: number("TILLSIDE_MODEL_SEED").unwrap_or(1),
        }
    }
}

/// Draws histories, and lets each operation happen to the model and to what follows it. Fails
/// with the shortest history that it finds, one operation on a line.
fn run<F: FnMut(&Operation, &Answer, &Chain)>(
    effort: &Effort,
    histories: &impl Strategy<Value = History>,
    expected: &[&[&'static str]],
    begin: impl Fn(&Chain) -> F,
) {
    let config = Config {
        cases: effort.operations.div_ceil(CASE),
        failure_persistence: None,
        max_local_rejects: u32::MAX,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    // Nobody attacks these numbers; the default generator is half of the time of a run.
    let seed = [effort.seed.to_le_bytes(), *b"tillside"].concat();
    let rng = TestRng::from_seed(RngAlgorithm::XorShift, &seed);
    let seen = RefCell::new(BTreeMap::<&str, u32>::new());
    let outcome =
        TestRunner::new_with_rng(config, rng).run(histories, |(chain, operations, at)| {
            let mut chain = chain;
            let mut follow = begin(&chain);
            for operation in operations {
                if let Some(at) = &at {
                    at.fetch_add(1, Ordering::Relaxed);
                }
                let answer = operation.apply(&mut chain);
                follow(&operation, &answer, &chain);
                let mut seen = seen.borrow_mut();
                let besides = what_happened_besides(&operation, &answer, &chain);
                for what in besides.into_iter().chain([what_happened(&operation, &answer, &chain)])
                {
                    *seen.entry(what).or_default() += 1;
                }
            }
            Ok(())
        });
    if let Err(TestError::Fail(why, (chain, operations, _))) = outcome {
        let lines: Vec<String> = operations.iter().map(|it| format!("  {it:?}\n")).collect();
        panic!("seed {}: {:?}\n{}{why}", effort.seed, chain.programme, lines.concat());
    }
    outcome.expect("histories can be drawn");
    let seen = seen.into_inner();
    let expected = expected.iter().flat_map(|some| some.iter());
    let missing: Vec<&&str> = expected.filter(|what| !seen.contains_key(**what)).collect();
    assert!(missing.is_empty(), "never happened: {missing:?}, but {seen:?}");
}

/// What must have happened at least once, or the histories show little.
const POINTS: &[&str] = &[
    "a sale",
    "a sale that the cap cut",
    "a debt",
    "a payment with points",
    "more points than there are",
    "the same again",
    "other content",
    "a sale after its void",
    "a sale for nobody",
    "a void",
    "a void of nothing",
    "a card",
    "a card refused",
    "an adjustment",
    "an adjustment again",
    "points that ran out",
    "a tier that is kept by its grace",
    "a tier that has fallen",
    "a rule that its cap cut",
    "a rule that stood back",
];

/// The same of coupons, besides every outcome of a redemption.
const COUPONS: &[&str] = &[
    "a coupon issued",
    "a coupon taken back",
    "a coupon that was used and is not taken back",
    "a void of a sale with coupons",
    "points of a coupon",
    "a coupon of an account that was merged",
];

/// What may happen with another thing at the same time.
fn what_happened_besides(
    operation: &Operation,
    answer: &Answer,
    chain: &Chain,
) -> Vec<&'static str> {
    let (Operation::Swipe(Purchase { name, .. }) | Operation::Void(name), Answer::Done { .. }) =
        (operation, answer)
    else {
        return Vec::new();
    };
    let named = chain.named(*name).expect("it was done");
    if matches!(operation, Operation::Void(_)) {
        let is_used = |outcome: &Outcome| outcome.counts();
        let was = named.outcomes.iter().any(is_used);
        return was.then_some("a void of a sale with coupons").into_iter().collect();
    }
    let mut seen: Vec<&str> = named.outcomes.iter().map(|outcome| outcome.name()).collect();
    seen.extend(named.cut_by_rule.then_some("a rule that its cap cut"));
    seen.extend(named.stood_back.then_some("a rule that stood back"));
    let used = || named.purchase.iter().flat_map(|it| &it.taken).zip(&named.outcomes);
    let counts = || used().filter(|(_, outcome)| outcome.counts());
    let gives_points = |taken: &Taken| {
        chain.coupons.offer_of(taken.what).is_some_and(|offer| {
            matches!(chain.coupons.offers[offer].reward, coupons::Reward::Points(_))
        })
    };
    let inherited = |taken: &Taken| match taken.what {
        Given::Coupon(coupon) => Some(chain.coupons.account_of(coupon)) != named.account,
        _ => false,
    };
    let any = |holds: &dyn Fn(&Taken) -> bool| counts().any(|(taken, _)| holds(taken));
    seen.extend(any(&gives_points).then_some("points of a coupon"));
    seen.extend(any(&inherited).then_some("a coupon of an account that was merged"));
    seen
}

fn what_happened(operation: &Operation, answer: &Answer, chain: &Chain) -> &'static str {
    let is_capped = |name| chain.named(name).is_some_and(|named| named.capped);
    let is_kept = |name| chain.named(name).is_some_and(|named| named.kept_tier);
    let is_lost = |name| chain.named(name).is_some_and(|named| named.lost_tier);
    match (operation, answer) {
        (_, Answer::Again { .. }) => "the same again",
        (_, Answer::OtherContent) => "other content",
        (Operation::Swipe(_), Answer::Done { voided: true, .. }) => "a sale after its void",
        (Operation::Swipe(purchase), Answer::Done { receipt, .. }) => match receipt.standing {
            None => "a sale for nobody",
            Some(_) if receipt.short > 0 => "more points than there are",
            Some(_) if receipt.spent > 0 => "a payment with points",
            Some(standing) if standing.balance < 0 => "a debt",
            Some(_) if is_lost(purchase.name) => "a tier that has fallen",
            Some(_) if is_kept(purchase.name) => "a tier that is kept by its grace",
            Some(_) if is_capped(purchase.name) => "a sale that the cap cut",
            Some(_) => "a sale",
        },
        (_, Answer::Done { receipt, .. }) => match receipt.standing {
            None => "a void of nothing",
            Some(_) => "a void",
        },
        (_, Answer::Card(Err(_))) => "a card refused",
        (Operation::Adjust { .. }, Answer::Card(Ok(true))) => "an adjustment",
        (Operation::Adjust { .. }, _) => "an adjustment again",
        (Operation::Sweep { .. }, Answer::Card(Ok(true))) => "points that ran out",
        (Operation::Sweep { .. }, _) => "nothing to sweep",
        (_, Answer::Card(Ok(_))) => "a card",
        (Operation::Issue { .. }, _) => "a coupon issued",
        (_, Answer::Coupon(State::Redeemed(_))) => "a coupon that was used and is not taken back",
        (_, Answer::Coupon(_)) => "a coupon taken back",
    }
}

#[test]
fn domain_decides_as_the_model_does() {
    let histories = Chain::sequential_strategy(SIZE..=SIZE);
    run(&Effort::new(100_000, 1), &histories, &[POINTS], |chain| {
        let mut domain = Domain::new(chain);
        move |operation: &Operation, answer: &Answer, chain: &Chain| {
            domain.follow(operation, answer, chain);
        }
    });
}

fn two_replicas_do_as_the_model_does(caches: Caches, operations: u32, programme: Programme) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let pair = runtime.block_on(Pair::start(caches, programme));
    let cases = AtomicU32::new(0);
    // Each of three, and a hundredth of what `domain` is asked.
    let outcomes = Outcome::ALL.map(Outcome::name);
    let expected = &[POINTS, COUPONS, &outcomes];
    run(&Effort::new(operations, 300), &pair.histories(), expected, |_| {
        let mut case = runtime.block_on(pair.begin(cases.fetch_add(1, Ordering::Relaxed)));
        let (runtime, pair) = (&runtime, &pair);
        move |operation: &Operation, answer: &Answer, chain: &Chain| {
            runtime.block_on(pair.follow(&mut case, operation, answer, chain));
        }
    });
    runtime.block_on(pair.finish());
}

/// What customers of these tests reach now and then, and lose again.
const TIERS: Tiers =
    Tiers { thresholds: [1_000, 3_000, 8_000], window: 3, grace: 0, steps: false, doubles_from: 0 };

#[test]
fn two_replicas_do_as_the_model_does_whoever_is_asked() {
    let tiers = Tiers { grace: 1, steps: true, doubles_from: 2, ..TIERS };
    let programme = Programme {
        points: 1,
        per_minor: 100,
        months: 24,
        per_day: 400,
        tiers: Some(tiers),
        doubling_most: 6,
        half_more: true,
        per_item: 2,
        items_most: 9,
    };
    two_replicas_do_as_the_model_does(Caches::Default, 2_000, programme);
}

#[test]
fn two_replicas_without_caches_do_as_the_model_does() {
    let tiers = Tiers { grace: 2, doubles_from: 1, ..TIERS };
    let programme = Programme {
        points: 3,
        per_minor: 200,
        months: 2,
        per_day: 60,
        tiers: Some(tiers),
        doubling_most: 4,
        half_more: true,
        per_item: 0,
        items_most: 0,
    };
    two_replicas_do_as_the_model_does(Caches::Off, 1_500, programme);
}

#[test]
fn a_replica_that_remembers_what_is_long_past_does_as_the_model_does() {
    let tiers = Tiers { grace: 1, window: 2, doubles_from: 3, ..TIERS };
    let programme = Programme {
        points: 7,
        per_minor: 130,
        months: 6,
        per_day: 900,
        tiers: Some(tiers),
        doubling_most: 25,
        half_more: true,
        per_item: 1,
        items_most: 3,
    };
    two_replicas_do_as_the_model_does(Caches::Stale, 1_500, programme);
}
