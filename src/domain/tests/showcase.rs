//! What a receipt carries: whose place is whose, what is drawn by lot, who is held out, and that
//! a choice made again is the same, to the last reason.

use std::sync::Arc;

use jiff::civil::{Date, date};
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::name::SwipeName;
use super::super::offer::{Articles, Basket, Definition, Offer};
use super::super::pack::{Pack, Unit};
use super::super::product::{Product, Taxa};
use super::super::profile::{Level, Profile, Visit};
use super::super::selection::offers::BUILT_IN;
use super::super::selection::showcase::{
    Bound, CERTAIN_PPM, EVIDENCE_BYTES, Evidence, HoldOut, Lot, Moment, Noted, Reason, Showcase,
    ShowcaseRoom, Sizes, Slot, Verdict, Why,
};
use super::super::target::{Numbers, Target};
use super::selection::{a_profile, a_target, catalogue, lines_of, popularity};

pub(super) const TODAY: Date = date(2026, 7, 1);

/// An offer for a target; everything is called by its number.
pub(super) fn offer(
    offer_no: i32,
    target: &Target,
    change: impl FnOnce(&mut Definition),
) -> Arc<Offer> {
    let named = |numbers: &Numbers| {
        let names = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect();
        Articles {
            departments: names(&numbers.departments),
            categories: names(&numbers.categories),
            types: names(&numbers.types),
            brands: names(&numbers.brands),
            skus: names(&numbers.products),
        }
    };
    let plain = format!(
        r#"{{ "offer": "o-{offer_no}", "headline": "Half off", "delivery": "personal",
             "reward": {{ "kind": "percent-off", "percent": 50 }}, "valid_days": 14,
             "at_the_till": true, "funding": {{ "party": "chain", "share_percent": 100 }} }}"#
    );
    let mut definition: Definition = serde_json::from_str(&plain).expect("a definition");
    definition.scope = target.scope.as_ref().map(named).unwrap_or_default();
    definition.except = named(&target.except);
    change(&mut definition);
    let number = |_, name: &str| name.parse().ok();
    Arc::new(Offer::compile(offer_no, definition, number).expect("sound"))
}

fn of_article(product_no: u32) -> Target {
    let scope = Numbers { products: vec![product_no], ..Numbers::default() };
    Target { scope: Some(scope), ..Target::default() }
}

pub(super) fn a_lot(sequence_number: i64) -> Lot {
    Lot::of(&SwipeName {
        store_id: "0367".to_owned(),
        workstation_id: "03".to_owned(),
        business_date: TODAY,
        sequence_number,
    })
}

pub(super) fn empty() -> Basket<'static> {
    Basket { business_date: TODAY, store_no: 1, lines: &[], products: &[] }
}

pub(super) fn moment<'a>(basket: &'a Basket<'a>, most: usize, lot: Lot) -> Moment<'a> {
    Moment {
        basket,
        unprofiled: false,
        knows_packs: true,
        held: &[],
        tired: &[],
        paced: &[],
        most,
        explore_ppm: 0,
        lot,
    }
}

/// Articles of a type of their own and no brand; 20 and 21 are of the types of 10 and 11.
fn shelf() -> Vec<Product> {
    let product = |product_no: u32| {
        let type_no = if product_no >= 20 { product_no - 10 } else { product_no };
        let taxa = Taxa { type_no, ..Taxa::default() };
        Product { product_no, taxa, ..Product::default() }
    };
    std::iter::once(Product::default()).chain((1..=30).map(product)).collect()
}

/// Bought 1 and 2 every ten days up to the end, 3 and 4 every five days in the beginning only,
/// and 10 and 11 throughout.
fn a_customer() -> Profile {
    let (shelf, mut profile) = (shelf(), Profile::default());
    for visit in 0..24 {
        let business_date = TODAY.saturating_sub(jiff::Span::new().days(120 - 5 * visit));
        let mut sold = vec![shelf[10], shelf[11]];
        if visit % 2 == 1 {
            sold.extend([shelf[1], shelf[2]]);
        }
        if visit < 6 {
            sold.extend([shelf[3], shelf[4]]);
        }
        profile.learn(&Visit {
            business_date,
            hour: 12,
            store_no: 1,
            total_minor: 100,
            redemptions: 0,
            sold: &sold,
        });
    }
    profile
}

#[test]
fn each_place_of_a_receipt_goes_to_whom_it_is_offered_first() {
    use Slot::{Explore, Push, Repeat, WinBack};
    const ALL: [Slot; 8] = [Push, Push, WinBack, WinBack, Repeat, Repeat, Explore, Explore];
    let profile = a_customer();
    // What there is to choose from, and who sits on a receipt with four places.
    for (there, seated) in [
        (&ALL[..], &[Push, Explore, Repeat, Repeat][..]),
        (&[Push, WinBack, Repeat, Explore], &[Push, Explore, Repeat, WinBack]),
        (&[WinBack, Repeat, Explore], &[WinBack, Explore, Repeat]),
        (&[WinBack, WinBack, Repeat, Repeat], &[WinBack, Repeat, Repeat, WinBack]),
        (&[Repeat, Repeat, Explore, Explore], &[Repeat, Explore, Repeat, Explore]),
        (&[Push, Push, Repeat], &[Push, Repeat, Push]),
        (&[Push, Push], &[Push, Push]),
        (&[WinBack, WinBack], &[WinBack, WinBack]),
        (&[Explore, Explore], &[Explore, Explore]),
        (&[Repeat], &[Repeat]),
        (&[], &[]),
    ] {
        let mut nth = [0_u32; 6];
        let offers: Vec<Arc<Offer>> = (1..)
            .zip(there)
            .map(|(offer_no, slot)| {
                let first = match slot {
                    Repeat => 1,
                    WinBack => 3,
                    Push => 5,
                    _ => 20,
                };
                let again = &mut nth[*slot as usize];
                let article = of_article(first + *again);
                *again += 1;
                let push = (*slot == Push).then_some(3);
                offer(offer_no, &article, |it| it.push = push)
            })
            .collect();
        let showcase = Showcase::new(offers.into_iter(), &shelf(), &[], BUILT_IN);
        let (basket, mut room) = (empty(), ShowcaseRoom::default());
        for most in 0..=4 {
            let moment = moment(&basket, most, a_lot(1));
            let chosen = showcase.choose(&profile, &moment, &mut room);
            let slots: Vec<Slot> = chosen.iter().map(|choice| choice.why.slot).collect();
            assert_eq!(slots, seated[..most.min(seated.len())], "{there:?}, {most}");
            assert!(chosen.iter().all(|choice| choice.why.propensity_ppm == CERTAIN_PPM));
        }
    }
}

#[test]
fn the_most_urgent_push_goes_first_and_yields_to_what_keeps_any_offer_back() {
    let pushed = |offer_no: i32, article: u32, push: u8| {
        offer(offer_no, &of_article(article), |it| it.push = Some(push))
    };
    let offers = || vec![pushed(1, 5, 9), pushed(2, 6, 2), pushed(3, 7, 2), pushed(4, 8, 1)];
    let showcase = Showcase::new(offers().into_iter(), &shelf(), &[], BUILT_IN);
    let (basket, mut room, profile) = (empty(), ShowcaseRoom::default(), a_customer());
    let mut seated = |held: &[i32], tired: &[i32]| {
        let moment = Moment { held, tired, ..moment(&basket, 4, a_lot(1)) };
        let chosen = showcase.choose(&profile, &moment, &mut room);
        assert!(chosen.iter().all(|it| it.why.reason == Reason::Recommended));
        chosen.iter().map(|it| it.offer.offer_no).collect::<Vec<i32>>()
    };
    assert_eq!(seated(&[], &[]), [4, 2, 3, 1]);
    assert_eq!(seated(&[4], &[2]), [3, 1]);
}

#[test]
fn who_ignored_three_coupons_for_a_type_gets_no_other_for_it_until_one_is_used() {
    // Offers 1 to 3 are for articles of one type, 4 for another of it, 5 for two types, 6 for a
    // third one.
    let of_articles = |products: &[u32]| Target {
        scope: Some(Numbers { products: products.to_vec(), ..Numbers::default() }),
        ..Target::default()
    };
    let targets = [&[10][..], &[20], &[10, 20], &[20], &[10, 11], &[1]];
    let offers = (1..).zip(targets).map(|(no, it)| offer(no, &of_articles(it), |_| ()));
    let showcase = Showcase::new(offers, &shelf(), &[], BUILT_IN);
    let (basket, profile) = (empty(), a_customer());
    for (ignored, used, barred) in [
        (&[1, 2, 3][..], &[][..], &[1, 2, 3, 4][..]),
        (&[1, 1, 1], &[], &[1, 2, 3, 4]),
        (&[1, 2], &[], &[]),
        // What is for several types says nothing about one of them, when it is ignored; when it is
        // used, it says that the type is wanted. What tills do not choose from says nothing.
        (&[1, 2, 5], &[], &[]),
        (&[1, 2, 99], &[], &[]),
        (&[1, 2, 3], &[5], &[]),
        (&[1, 2, 3], &[6], &[1, 2, 3, 4]),
        (&[6, 6, 6], &[], &[6]),
    ] {
        let [its, others] = [ignored, used].map(|them| them.iter().copied());
        let tired = showcase.with_tired_types(Vec::new(), its, others);
        let noted = Noted { most: 4, tired, ..Noted::default() };
        let noted = Noted::decode(&noted.encode()).expect("just written");
        let moment = noted.moment(&basket, a_lot(1));
        let (_, judged) = showcase.judge(&profile, &moment, &noted, &mut ShowcaseRoom::default());
        let tired = judged.iter().filter(|it| it.verdict == Verdict::TiredOfType);
        let mut tired: Vec<i32> = tired.map(|it| it.offer.offer_no).collect();
        tired.sort_unstable();
        assert_eq!(tired, barred, "ignored {ignored:?}, used {used:?}");
    }
}

#[test]
fn what_is_given_up_is_told_from_what_is_due_and_from_what_was_bought_seldom() {
    let offers =
        [1, 3, 10].map(|no| offer(i32::try_from(no).expect("small"), &of_article(no), |_| ()));
    let showcase = Showcase::new(offers.into_iter(), &shelf(), &[], BUILT_IN);
    let (basket, mut room) = (empty(), ShowcaseRoom::default());
    let chosen = showcase.choose(&a_customer(), &moment(&basket, 4, a_lot(1)), &mut room);
    let mut told: Vec<(i32, Reason, u16, u16, u16)> = chosen
        .iter()
        .map(|choice| {
            let Evidence { bought, gap_days, days_since, .. } = choice.why.evidence;
            (choice.offer.offer_no, choice.why.reason, bought, gap_days, days_since)
        })
        .collect();
    told.sort_unstable_by_key(|it| it.0);
    assert_eq!(
        told,
        [
            (1, Reason::Favourite, 12, 10, 0),
            (3, Reason::WinBack, 6, 5, 90),
            (10, Reason::DueAgain, 24, 5, 0),
        ]
    );
    let sentences: Vec<String> = chosen.iter().map(|choice| choice.why.sentence()).collect();
    let given_up = sentences.iter().find(|it| it.starts_with("Bought regularly")).expect("it is");
    assert!(given_up.contains("bought 6 times, usually every 5 days, last 90 days before"));
}

#[test]
fn a_lot_is_as_likely_as_it_says_and_the_same_for_the_same_name() {
    let kin = |count: u32| {
        // Of the types that the customer buys, never bought themselves, each type once.
        let product = |no: u32| Product {
            product_no: no,
            taxa: Taxa { type_no: (no - 1) % 40 + 1, ..Taxa::default() },
            ..Product::default()
        };
        let shelf: Vec<Product> =
            std::iter::once(Product::default()).chain((1..=80).map(product)).collect();
        let offers: Vec<Arc<Offer>> = (1..=count)
            .map(|no| offer(i32::try_from(no).expect("small"), &of_article(40 + no), |_| ()))
            .collect();
        let mut profile = Profile::default();
        let sold: Vec<Product> = shelf[1..=40].to_vec();
        let visit = Visit {
            business_date: TODAY,
            hour: 1,
            store_no: 1,
            total_minor: 1,
            redemptions: 0,
            sold: &sold,
        };
        profile.learn(&visit);
        (Showcase::new(offers.into_iter(), &shelf, &[], BUILT_IN), profile)
    };
    let (basket, mut room) = (empty(), ShowcaseRoom::default());
    for (count, explore_ppm) in [(1, 50_000), (2, 50_000), (9, 50_000), (9, 500_000), (9, 0)] {
        let (showcase, profile) = kin(count);
        let mut drawn: std::collections::BTreeMap<i32, (u32, f64)> = Default::default();
        for sequence in 0..10_000 {
            let moment = Moment { explore_ppm, ..moment(&basket, 1, a_lot(sequence)) };
            let chosen = showcase.choose(&profile, &moment, &mut room);
            let [one] = &chosen[..] else { panic!("{chosen:?}") };
            assert_eq!(one.why.slot, Slot::Explore);
            let said = drawn.entry(one.offer.offer_no).or_insert((one.why.propensity_ppm, 0.0));
            assert_eq!(said.0, one.why.propensity_ppm, "of one offer it is always the same");
            said.1 += 1.0;
            if sequence % 100 == 0 {
                assert_eq!(showcase.choose(&profile, &moment, &mut room), chosen, "drawn again");
            }
        }
        let sum: u32 = drawn.values().map(|(ppm, _)| ppm).sum();
        assert_eq!(sum, CERTAIN_PPM, "{drawn:?}");
        let among = if explore_ppm == 0 { 1 } else { count.min(5) };
        assert_eq!(drawn.len(), among as usize);
        for (ppm, times) in drawn.values() {
            let share = f64::from(*ppm) / f64::from(CERTAIN_PPM);
            // Four standard errors.
            let error = 4.0 * (share * (1.0 - share) / 10_000.0).sqrt();
            assert!((times / 10_000.0 - share).abs() <= error, "{share}: {times}");
        }
    }
}

#[test]
fn the_hold_out_is_the_share_that_was_asked_for_and_another_round_is_another_one() {
    let held = |percent, round| {
        let hold_out = HoldOut { percent, round };
        // As accounts are numbered: the bucket in the low byte.
        (0..50_000_i64).map(move |number| hold_out.holds(number << 8 | number & 255))
    };
    for percent in [0, 1, 10, 50] {
        let count = held(percent, 1).filter(|holds| *holds).count();
        let expected = 500 * usize::from(percent);
        // Four standard deviations.
        assert!(count.abs_diff(expected).pow(2) <= 16 * expected, "{percent} %: {count}");
    }
    let both = held(10, 1).zip(held(10, 2)).filter(|(one, other)| *one && *other).count();
    assert!(both.abs_diff(500) <= 100, "{both} of 500");
    let fewer = held(5, 1).zip(held(10, 1)).filter(|(few, more)| *few && !*more).count();
    assert_eq!(fewer, 0, "who is held out stays so when the share grows");
}

fn numbers() -> impl Strategy<Value = Vec<i32>> {
    vec(1..5_000_i32, 0..20).prop_map(|mut numbers| {
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    })
}

#[test]
fn decisions_of_before_packs_and_before_weights_were_fitted_again_are_read_as_such() {
    // As it was written: held out, reference data 300, epoch 3, at most 2, by the week.
    let stored = [1, 1, 172, 2, 3, 2, 2, 5, 1, 14, 0, 0, 0];
    let noted = Noted::decode(&stored).expect("a decision");
    let expected = Noted {
        held_out: true,
        reference_version: 300,
        epoch: 3,
        most: 2,
        bound: Bound::Week,
        explore_ppm: 5,
        held: vec![7],
        ..Noted::default()
    };
    assert_eq!(noted, expected);
    assert!(!noted.knows_packs);
    let flagged = Noted { knows_packs: true, ..expected.clone() };
    assert_eq!(flagged.encode()[1], 1 | 4);
    assert!(!noted.refitted);
    let flagged = Noted { refitted: true, ..expected };
    assert_eq!(flagged.encode()[1], 1 | 8);
}

proptest! {
    #[test]
    fn what_is_noted_reads_back_as_it_was_written_and_damage_is_noticed(
        (reference_version, epoch, most) in (0..i64::MAX, 0..i32::MAX, any::<u8>()),
        (explore_ppm, held_out, unprofiled) in any::<(u32, bool, bool)>(),
        (knows_packs, refitted) in any::<(bool, bool)>(),
        (held, tired, no_room, withheld) in (numbers(), numbers(), numbers(), numbers()),
        paced in prop_oneof![Just(Vec::new()), numbers()],
        bound in prop::sample::select(vec![Bound::Receipt, Bound::Open, Bound::Week]),
    ) {
        let noted = Noted {
            reference_version, epoch, most, bound, explore_ppm, held_out, unprofiled, knows_packs,
            refitted, held, tired, no_room, withheld, paced,
        };
        let bytes = noted.encode();
        prop_assert_eq!(Noted::decode(&bytes).expect("just written"), noted);
        for end in 0..bytes.len() {
            prop_assert!(Noted::decode(&bytes[..end]).is_err(), "cut at {}", end);
        }
    }

    #[test]
    fn what_is_stored_of_a_coupon_reads_back(
        (bought, gap_days, days_since) in any::<(u16, u16, u16)>(),
        (kin, rank, score) in any::<(u16, u16, i16)>(),
        reason in prop::sample::select(Reason::ALL.to_vec()),
        unit in prop::option::of((0..5_u8).prop_map(|code| Unit::from_code(code).expect("one"))),
    ) {
        let plain = Evidence { bought, gap_days, days_since, kin, rank, score, sizes: None };
        let evidence = unit.map_or(plain, |unit| {
            let pack = |amount| Pack { unit, amount };
            let sizes = Some(Sizes { usual: pack(kin), offered: pack(gap_days) });
            // Of what is bought regularly the days are few, and it is no kin of itself.
            let (gap_days, days_since) = (gap_days % 92, days_since % 256);
            Evidence { gap_days, days_since, kin: 0, sizes, ..plain }
        });
        let bytes = evidence.encode();
        prop_assert_eq!(Evidence::decode(&bytes), Some(evidence));
        prop_assert_eq!(Evidence::decode(&bytes[..EVIDENCE_BYTES - 1]), None);
        let stored = Why::of_stored(reason as i16, 3, Some(7), Some(&bytes)).expect("it is");
        prop_assert_eq!((stored.reason, stored.evidence), (reason, evidence));
        prop_assert!(stored.sentence().ends_with('.'));
    }

    #[test]
    fn a_choice_made_again_is_the_same_and_every_offer_has_one_verdict(
        targets in vec((a_target(), prop::option::weighted(0.2, 1..=9_u8)), 0..30),
        profile in a_profile(),
        other in a_profile(),
        (most, explore_ppm, sequence) in (0..=4_usize, 0..500_000_u32, 0..1_000_i64),
        (held, tired, paced) in
            (vec(1..30_i32, 0..6), vec(1..30_i32, 0..4), vec(1..30_i32, 0..12)),
        bought in vec(1..=60_u32, 0..6),
        (held_out, knows_packs) in any::<(bool, bool)>(),
    ) {
        let offers = || (1..).zip(&targets).map(|(offer_no, (target, push))| {
            offer(offer_no, target, |it| it.push = *push)
        });
        let showcase = Showcase::new(offers(), &catalogue(), &popularity(), BUILT_IN);
        let products: Vec<Product> = bought.iter().map(|no| catalogue()[*no as usize]).collect();
        let lines = lines_of(&products);
        let business_date = TODAY;
        let basket = Basket { business_date, store_no: 1, lines: &lines, products: &products };
        let (mut held, mut tired, mut paced) = (held, tired, paced);
        [&mut held, &mut tired, &mut paced].into_iter().for_each(|list| list.sort_unstable());
        let most_stored = u8::try_from(most).expect("small");
        let noted = Noted {
            most: most_stored, explore_ppm, knows_packs, held, tired, ..Noted::default()
        };
        let moment = Moment { paced: &paced, ..noted.moment(&basket, a_lot(sequence)) };
        let (mut used, mut fresh) = (ShowcaseRoom::default(), ShowcaseRoom::default());
        let chosen = showcase.choose(&profile, &moment, &mut fresh);
        let held_back = fresh.paced().to_vec();
        prop_assert!(held_back.iter().all(|it| paced.contains(it)));
        showcase.choose(&other, &moment, &mut used);
        // Another replica has arranged the offers by itself, and has chosen for others before.
        let elsewhere = Showcase::new(offers(), &catalogue(), &popularity(), BUILT_IN);
        prop_assert_eq!(&elsewhere.choose(&profile, &moment, &mut used), &chosen);

        let withheld: Vec<i32> = match held_out {
            true => chosen.iter().map(|choice| choice.offer.offer_no).collect(),
            false => Vec::new(),
        };
        // Of those that are held back only those are noted that had a part in it: every second one
        // since nothing is left of it, the others for their pace.
        let no_room = held_back.iter().copied().filter(|offer_no| offer_no % 2 == 0).collect();
        let noted = Noted { held_out, withheld, no_room, paced: held_back, ..noted.clone() };
        let moment = noted.moment(&basket, a_lot(sequence));
        let (again, judged) = showcase.judge(&profile, &moment, &noted, &mut used);
        prop_assert_eq!(&again, &chosen);
        prop_assert_eq!(judged.len(), targets.len());
        prop_assert!(chosen.len() <= most);
        for it in &judged {
            let offer_no = it.offer.offer_no;
            let choice = chosen.iter().find(|choice| choice.offer.offer_no == offer_no);
            let is_held_back = noted.paced.contains(&offer_no);
            let (is_paced, is_spent) = (offer_no % 2 == 1, offer_no % 2 == 0);
            prop_assert_eq!(it.verdict == Verdict::Paced, is_held_back && is_paced);
            prop_assert_eq!(it.verdict == Verdict::NoRoom, is_held_back && is_spent);
            let expected = if held_out { Verdict::HeldOut } else { Verdict::Given };
            prop_assert_eq!(choice.is_some(), it.verdict == expected, "{:?}", it.verdict);
            if let Some(choice) = choice {
                prop_assert_eq!(choice.why.evidence, it.evidence);
                prop_assert_eq!(Some(choice.why.reason), it.reason);
                prop_assert!(!noted.held.contains(&offer_no) && !noted.tired.contains(&offer_no));
                // What is sensitive is no offer's, so that nothing of it was ever looked at.
                let holds = |product: &Product| it.offer.target().holds(product);
                prop_assert!(catalogue().iter().any(holds), "it is for nothing");
            }
            // Told line by line, where the choice looks offers up by what the basket holds.
            let is_wanted_late = |product: &Product| {
                let affinity = profile.affinity(Level::Product, product.product_no);
                affinity.and_then(|it| it.usual_gap_days).is_none_or(|gap| gap > 7.0)
            };
            let holds = |product: &&Product| it.offer.target().holds(product);
            let just_bought = products.iter().filter(holds).any(is_wanted_late);
            let is_held = noted.held.contains(&offer_no);
            prop_assert_eq!(it.verdict == Verdict::JustBought, just_bought && !is_held);
            // What is neither pushed nor drawn by lot is the best of its kind.
            let beats = |why: &Why| {
                !matches!(why.slot, Slot::Push | Slot::Explore)
                    && it.reason.is_some_and(|reason| reason.slot() == why.slot)
                    && it.evidence.rank < why.evidence.rank
            };
            let is_better = chosen.iter().any(|choice| beats(&choice.why));
            prop_assert!(it.verdict != Verdict::Outranked || !is_better, "{:?}", it);
            if let Verdict::SameType(rival) = it.verdict {
                prop_assert!(chosen.iter().any(|choice| choice.offer.offer_no == rival));
            }
        }
    }
}
