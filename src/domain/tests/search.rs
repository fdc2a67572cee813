//! The search for coupons against a plain one that looks at every offer, one after the other.

use std::sync::Arc;

use jiff::ToSpan as _;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::offer::{Basket, Offer};
use super::super::product::{Product, Taxa};
use super::super::profile::{Level, Profile, Visit};
use super::super::selection::offers::{BUILT_IN, Live, OfferRoom, Own, PackRoom};
use super::super::selection::showcase::{Moment, Showcase, ShowcaseRoom, Slot};
use super::super::target::{Numbers, Target};
use super::selection::{a_profile, a_target, catalogue, lines_of, popularity};
use super::showcase::{TODAY, a_lot, empty, moment, offer};

const STORE: u32 = 1;
/// As [`Showcase::choose`] says whose place is whose.
const PLACES: [[Slot; 5]; 4] = [
    [Slot::Push, Slot::WinBack, Slot::Repeat, Slot::UpSell, Slot::Explore],
    [Slot::UpSell, Slot::Explore, Slot::Repeat, Slot::WinBack, Slot::Push],
    [Slot::Repeat, Slot::WinBack, Slot::Explore, Slot::UpSell, Slot::Push],
    [Slot::Repeat, Slot::Explore, Slot::UpSell, Slot::WinBack, Slot::Push],
];

/// Types that an offer is for, exceptions among them.
fn types_of(target: &Target) -> Vec<u32> {
    let mut types = target.scope.as_ref().map_or_else(Vec::new, |scope| scope.types.clone());
    types.extend(catalogue()[1..].iter().filter_map(|product| {
        let taxa = product.taxa;
        let is_named = target.scope.as_ref().is_none_or(|scope| {
            scope.departments.contains(&taxa.department_no)
                || scope.categories.contains(&taxa.category_no)
                || scope.brands.contains(&taxa.brand_no)
                || scope.products.contains(&product.product_no)
        });
        (is_named && taxa.type_no > 0).then_some(taxa.type_no)
    }));
    types
}

fn days_since(profile: &Profile, own: &Own) -> f32 {
    f32::from(profile.last_day().saturating_sub(own.last_day))
}

fn is_given_up(profile: &Profile, own: &Own) -> bool {
    own.count >= 3.0 && own.gap_days > 0.0 && days_since(profile, own) > 2.0 * own.gap_days.max(1.0)
}

/// For which slot each offer is, in their order, with its score.
fn slots(offers: &[Arc<Offer>], profile: &Profile) -> Vec<(Option<Slot>, f32)> {
    let targets: Vec<&Target> = offers.iter().map(|offer| offer.target()).collect();
    let live = Live::new(&targets, &catalogue(), &popularity(), BUILT_IN);
    let (mut room, mut packs) = (OfferRoom::default(), PackRoom::default());
    live.weigh_all(profile, &mut room);
    packs.forget();
    let scores: Vec<(u32, f32)> = live.weighed(&room).collect();
    let slot = |(at, score): (u32, f32)| {
        let common = live.common(at, &room);
        let mut is_larger = || {
            live.larger(at, profile, &room, &mut packs).is_some_and(|larger| {
                let own = &larger.own;
                let is_regular = own.count >= 3.0 && larger.baskets >= 3;
                let has_gap = own.gap_days > 0.0 && own.gap_days <= 91.0;
                is_regular && has_gap && !is_given_up(profile, own)
            })
        };
        let is_kin = common.by_kind > 0.0 || common.by_type > 0.0 || common.by_brand > 0.0;
        let slot = if offers[at as usize].definition.push.is_some() {
            let holds = |product: &Product| offers[at as usize].target().holds(product);
            catalogue()[1..].iter().any(holds).then_some(Slot::Push)
        } else if common.own.count > 0.0 {
            let is_given_up = is_given_up(profile, &common.own);
            Some(if is_given_up { Slot::WinBack } else { Slot::Repeat })
        } else if is_larger() {
            Some(Slot::UpSell)
        } else {
            is_kin.then_some(Slot::Explore)
        };
        (slot, score)
    };
    scores.into_iter().map(slot).collect()
}

fn may(offer: &Offer, profile: &Profile, moment: &Moment<'_>) -> bool {
    let basket = moment.basket;
    let since = offer.definition.since.is_none_or(|since| since <= basket.business_date);
    let until = offer.definition.until.is_none_or(|until| basket.business_date <= until);
    let is_wanted_late = |product: &&Product| {
        let affinity = profile.affinity(Level::Product, product.product_no);
        affinity.and_then(|it| it.usual_gap_days).is_none_or(|gap| gap > 7.0)
    };
    let of_offer = basket.products.iter().filter(|product| offer.target().holds(product));
    let is_named = |list: &[i32]| list.contains(&offer.offer_no);
    let mut types = types_of(offer.target());
    types.sort_unstable();
    types.dedup();
    let is_tired = matches!(&types[..], [only] if moment.tired.contains(&-only.cast_signed()));
    since
        && until
        && offer.counts_in(basket.store_no)
        && !of_offer.filter(is_wanted_late).any(|_| true)
        && !is_named(moment.held)
        && !is_named(moment.tired)
        && !is_tired
        && !is_named(moment.paced)
}

/// What is chosen where nothing is drawn by lot: the numbers of the offers and their slots.
fn plainly(offers: &[Arc<Offer>], profile: &Profile, moment: &Moment<'_>) -> Vec<(i32, Slot)> {
    let slots = slots(offers, profile);
    let of_slot = |slot: Slot| {
        let mut all: Vec<usize> =
            (0..offers.len()).filter(|at| slots[*at].0 == Some(slot)).collect();
        // Stable: of equals the first stays first.
        all.sort_by(|one, other| {
            let by_push = offers[*one].definition.push.cmp(&offers[*other].definition.push);
            by_push.then(slots[*other].1.total_cmp(&slots[*one].1))
        });
        let allowed = all.into_iter().filter(|at| may(&offers[*at], profile, moment));
        allowed.take((4 * moment.most).max(5)).collect::<Vec<usize>>()
    };
    let mut chosen: Vec<(usize, Slot)> = Vec::new();
    for order in PLACES.iter().take(moment.most) {
        let is_free = |at: &usize| {
            let types = types_of(offers[*at].target());
            chosen.iter().all(|(other, _)| {
                let theirs = types_of(offers[*other].target());
                other != at && types.iter().all(|no| !theirs.contains(no))
            })
        };
        let first = |slot: &Slot| Some((of_slot(*slot).into_iter().find(is_free)?, *slot));
        let Some(taken) = order.iter().find_map(first) else { break };
        chosen.push(taken);
    }
    chosen.into_iter().map(|(at, slot)| (offers[at].offer_no, slot)).collect()
}

#[test]
fn of_equals_the_first_offer_goes_first_whatever_it_is_for() {
    let taxa = Taxa { type_no: 1, ..Taxa::default() };
    let article = |product_no| Product { product_no, taxa, ..Product::default() };
    let shelf: Vec<Product> =
        std::iter::once(Product::default()).chain((1..=3).map(article)).collect();
    let mut profile = Profile::default();
    profile.learn(&Visit {
        business_date: TODAY,
        hour: 1,
        store_no: STORE,
        total_minor: 1,
        redemptions: 0,
        sold: &shelf[3..],
    });
    // The first and the last are for the same.
    let offers = [(1, 1), (2, 2), (3, 1)].map(|(offer_no, article)| {
        let scope = Numbers { products: vec![article], ..Numbers::default() };
        offer(offer_no, &Target { scope: Some(scope), ..Target::default() }, |_| ())
    });
    let showcase = Showcase::new(offers.into_iter(), &shelf, &[], BUILT_IN);
    let basket = empty();
    for (held, expected) in [(&[][..], 1), (&[1], 2), (&[1, 2], 3)] {
        let moment = Moment { held, ..moment(&basket, 1, a_lot(1)) };
        let chosen = showcase.choose(&profile, &moment, &mut ShowcaseRoom::default());
        assert_eq!(chosen[0].offer.offer_no, expected, "{held:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn the_search_finds_what_a_look_at_every_offer_finds(
        targets in vec(a_target(), 1..12),
        // Which target, how urgent, whether it counts today and here. Most count elsewhere.
        offers in vec((any::<prop::sample::Index>(), prop::option::weighted(0.1, 1..=3_u8),
                       0..4_i32, 0..4_u8), 0..80),
        fewer in 0..80_usize,
        profile in a_profile(),
        most in 1..=4_usize,
        (held, tired, paced) in
            (vec(1..80_i32, 0..12), vec(-11..80_i32, 0..8), vec(1..80_i32, 0..40)),
        bought in vec(1..=60_u32, 0..4),
    ) {
        let an_offer = |(offer_no, it): (i32, &(prop::sample::Index, Option<u8>, i32, u8))| {
            let (target, push, day, store) = it;
            offer(offer_no, target.get(&targets), |it| {
                it.push = *push;
                it.since = (*day == 1).then(|| TODAY.saturating_add(1.days()));
                it.until = (*day == 2).then(|| TODAY.saturating_sub(1.days()));
                it.stores = if *store == 1 { vec!["2".to_owned()] } else { Vec::new() };
            })
        };
        let offers: Vec<Arc<Offer>> = (1..).zip(&offers).map(an_offer).collect();
        let products: Vec<Product> = bought.iter().map(|no| catalogue()[*no as usize]).collect();
        let lines = lines_of(&products);
        let (business_date, store_no) = (TODAY, STORE);
        let basket = Basket { business_date, store_no, lines: &lines, products: &products };
        let (mut held, mut tired, mut paced) = (held, tired, paced);
        [&mut held, &mut tired, &mut paced].into_iter().for_each(|list| list.sort_unstable());
        let moment = Moment {
            held: &held, tired: &tired, paced: &paced, ..moment(&basket, most, a_lot(1))
        };
        // Working memory that was used for more offers, then for fewer, then for all again.
        let mut room = ShowcaseRoom::default();
        for count in [offers.len(), fewer.min(offers.len()), offers.len()] {
            let offers = &offers[..count];
            let all = || offers.iter().map(Arc::clone);
            let showcase = Showcase::new(all(), &catalogue(), &popularity(), BUILT_IN);
            let chosen = showcase.choose(&profile, &moment, &mut room);
            let chosen: Vec<(i32, Slot)> =
                chosen.iter().map(|choice| (choice.offer.offer_no, choice.why.slot)).collect();
            prop_assert_eq!(chosen, plainly(offers, &profile, &moment));
        }
    }
}
