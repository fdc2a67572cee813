//! The choice of coupons against the plain way: every coupon's articles one by one, every
//! coupon's score, and then the best.

use jiff::civil::date;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::basket::{Line, LineKind};
use super::super::pack::{Pack, Unit};
use super::super::product::{Product, Taxa};
use super::super::profile::{Level, Profile, Visit};
use super::super::quantity::Quantity;
use super::super::selection::offers::{
    Common, Customer, Known, Live, OFFER_SIGNS, OfferRoom, OfferWeights, Own, score,
};
use super::super::target::{Numbers, Target};

const ARTICLES: u32 = 60;

/// Types of a category, categories of a department; brands across all.
pub(super) fn catalogue() -> Vec<Product> {
    let product = |product_no: u32| Product {
        product_no,
        taxa: Taxa {
            department_no: 1 + product_no % 12 / 6,
            category_no: 1 + product_no % 12 / 3,
            type_no: product_no % 12,
            brand_no: product_no % 5,
        },
        sensitive: product_no % 17 == 3,
        pack: a_pack(product_no),
        price_minor: product_no * 37 % 11 * 20,
        ..Product::default()
    };
    std::iter::once(Product::default()).chain((1..=ARTICLES).map(product)).collect()
}

/// Packs of one type differ in size, and one in seven has none that is known.
fn a_pack(product_no: u32) -> Option<Pack> {
    let amount = u16::try_from(100 * (1 + product_no / 12) + product_no % 3).expect("small");
    let unit = if product_no % 11 == 5 { Unit::Millilitre } else { Unit::Gram };
    (!product_no.is_multiple_of(7)).then_some(Pack { unit, amount })
}

pub(super) fn popularity() -> Vec<f32> {
    (0..=ARTICLES)
        .map(|no| f32::from(u16::try_from(no * no % 31).expect("small")) / 500.0)
        .collect()
}

/// A line for each article, one piece of it sold.
pub(super) fn lines_of(products: &[Product]) -> Vec<Line> {
    let line = |line| Line {
        line,
        kind: LineKind::Sale,
        sku: String::new(),
        quantity: Quantity::from_thousandths(1_000).expect("in range"),
        amount_minor: 1,
        discount_minor: 0,
    };
    (1..).take(products.len()).map(line).collect()
}

fn numbers() -> impl Strategy<Value = Numbers> {
    let some = |end: u32| vec(1..end, 0..3).prop_map(sorted);
    let wide = (some(3), some(5), some(12), some(5), vec(1..=ARTICLES, 0..9).prop_map(sorted));
    let all = wide.prop_map(|(departments, categories, types, brands, products)| Numbers {
        departments,
        categories,
        types,
        brands,
        products,
    });
    // Most offers name one kind of thing.
    (all, 0..8_usize).prop_map(|(all, only)| match only {
        0 => Numbers { departments: all.departments, ..Numbers::default() },
        1 => Numbers { categories: all.categories, ..Numbers::default() },
        2 => Numbers { types: all.types, ..Numbers::default() },
        3 => Numbers { brands: all.brands, ..Numbers::default() },
        4..7 => Numbers { products: all.products, ..Numbers::default() },
        _ => all,
    })
}

fn sorted(mut numbers: Vec<u32>) -> Vec<u32> {
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

pub(super) fn a_target() -> impl Strategy<Value = Target> {
    let except = prop_oneof![6 => Just(Numbers::default()), 1 => numbers()];
    let scope = prop_oneof![9 => numbers().prop_map(Some), 1 => Just(None)];
    (scope, except).prop_map(|(scope, except)| Target { scope, except })
}

pub(super) fn a_profile() -> impl Strategy<Value = Profile> {
    let basket = (0_i32..9, 0..3_usize, vec(1..=ARTICLES, 0..8));
    // So many baskets of one article later nothing is left of the others.
    let since = prop_oneof![15 => Just(0_usize), 1 => Just(410)];
    let baskets = (vec(basket, 0..25), since, 1..=ARTICLES).prop_map(|(mut baskets, since, no)| {
        baskets.extend(std::iter::repeat_n((0, 0, vec![no]), since));
        baskets
    });
    baskets.prop_map(|baskets| {
        let mut profile = Profile::default();
        let mut day = date(2026, 1, 1);
        for (later, redemptions, articles) in baskets {
            day = day.saturating_add(jiff::Span::new().days(later));
            let sold: Vec<Product> = articles.iter().map(|no| catalogue()[*no as usize]).collect();
            let rest = (12, 1, 100);
            profile.learn(&Visit {
                business_date: day,
                hour: rest.0,
                store_no: rest.1,
                total_minor: rest.2,
                redemptions,
                sold: &sold,
            });
        }
        profile
    })
}

/// Whether a target is found by the articles that it names, or by places alone.
pub(super) fn names_articles(target: &Target) -> bool {
    let Some(scope) = &target.scope else { return target.except != Numbers::default() };
    let levels = [&scope.departments, &scope.categories, &scope.types, &scope.brands];
    let named = levels.iter().filter(|numbers| !numbers.is_empty()).count();
    target.except != Numbers::default() || named != 1 || !scope.products.is_empty()
}

/// The signs of one coupon, from what the words of [`Common`] and [`Known`] say.
fn plainly(target: &Target, profile: &Profile) -> [f32; OFFER_SIGNS] {
    let catalogue = catalogue();
    let articles: Vec<&Product> =
        catalogue.iter().filter(|it| it.product_no > 0 && target.holds(it)).collect();
    let breadth = f32::from(u16::try_from(articles.len()).expect("few"));
    let popularity: f32 =
        articles.iter().map(|article| popularity()[article.product_no as usize]).sum();
    let known = Known {
        popularity,
        log_popularity: popularity.max(2e-5).ln(),
        log_breadth: (1.0 + breadth).ln(),
    };
    let mut common = Common::default();
    let mut own = Own::default();
    for (no, affinity) in profile.affinities(Level::Product) {
        let bought = &catalogue[no as usize];
        if target.holds(bought) {
            own.count += f32::from(affinity.count);
            own.slow += affinity.slow;
            own.fast += affinity.fast;
            own.articles += 1.0;
            let gap = affinity.usual_gap_days.unwrap_or_default();
            if (affinity.last_day, gap) > (own.last_day, own.gap_days) {
                (own.last_day, own.gap_days) = (affinity.last_day, gap);
            }
        }
        let Taxa { brand_no, type_no, .. } = bought.taxa;
        let brand = |article: &&&Product| article.taxa.brand_no == brand_no && brand_no > 0;
        if names_articles(target) && articles.iter().any(|article| brand(&article)) {
            common.by_brand += affinity.slow;
            let mut of_brand = articles.iter().filter(brand);
            if of_brand.any(|article| article.taxa.type_no == type_no) {
                common.by_kind += affinity.slow;
            }
        }
    }
    if !names_articles(target) {
        (common.by_brand, common.by_kind) = (own.slow, own.slow);
    }
    for (no, affinity) in profile.affinities(Level::Type) {
        let of_type = articles.iter().filter(|article| article.taxa.type_no == no).count();
        if of_type > 0 {
            let share = f32::from(u16::try_from(of_type).expect("few")) / breadth;
            common.by_type += share * affinity.slow;
            common.most_of_a_type = common.most_of_a_type.max(affinity.slow);
        }
    }
    common.own = own;
    Customer::of(profile).signs(&known, &common)
}

fn near(one: f32, other: f32) -> bool {
    (one - other).abs() <= 2e-5 * one.abs().max(other.abs()).max(1.0)
}

proptest! {
    #[test]
    fn the_fast_scores_are_the_plain_ones(
        targets in vec(a_target(), 0..30),
        profile in a_profile(),
        weights in prop::array::uniform30(-2.0_f32..2.0),
    ) {
        let weights: OfferWeights = weights;
        let all: Vec<&Target> = targets.iter().collect();
        let live = Live::new(&all, &catalogue(), &popularity(), weights);
        let mut room = OfferRoom::default();

        let plain: Vec<[f32; OFFER_SIGNS]> =
            targets.iter().map(|target| plainly(target, &profile)).collect();
        let mut seen = Vec::new();
        let every = (0..).take(targets.len());
        live.signs(&profile, every, &mut room, |signs, _| seen.push(*signs));
        prop_assert_eq!(seen.len(), plain.len());
        for (signs, expected) in seen.iter().zip(&plain) {
            let same = signs.iter().zip(expected).all(|(one, other)| near(*one, *other));
            prop_assert!(same, "{:?}\n{:?}", signs, expected);
        }

        let scores: Vec<f32> = seen.iter().map(|signs| score(&weights, signs)).collect();
        live.weigh_all(&profile, &mut room);
        prop_assert_eq!(live.weighed(&room).count(), scores.len());
        for (coupon, its) in live.weighed(&room) {
            // What adds up in another order may end in another digit.
            prop_assert!((its - scores[coupon as usize]).abs() < 1e-3);
        }
    }

    #[test]
    fn what_was_decided_before_leaves_nothing_behind(
        targets in vec(a_target(), 1..20), one in a_profile(), other in a_profile(),
    ) {
        let all: Vec<&Target> = targets.iter().collect();
        let live = Live::new(&all, &catalogue(), &popularity(), [0.1; OFFER_SIGNS]);
        let mut used = OfferRoom::default();
        live.weigh_all(&one, &mut used);
        live.weigh_all(&other, &mut used);
        let mut fresh = OfferRoom::default();
        live.weigh_all(&other, &mut fresh);
        let all = |room: &OfferRoom| live.weighed(room).collect::<Vec<_>>();
        prop_assert_eq!(all(&used), all(&fresh));
    }
}

/// 176 types and 350 articles in a year of baskets, as many as an eager household has.
#[test]
fn a_profile_takes_little_room() {
    let mut profile = Profile::default();
    let (mut drawn, mut new) = (1_u64, 0_u64);
    let mut day = date(2026, 1, 1);
    for _ in 0..104 {
        day = day.saturating_add(jiff::Span::new().days(3));
        let mut sold = Vec::new();
        for _ in 0..14 {
            drawn = drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // A few articles are bought again and again, most once or twice.
            let nth = if drawn >> 63 == 0 { new % 350 } else { (drawn >> 45) % 25 };
            new += drawn >> 63 ^ 1;
            let product_no = u32::try_from(nth * 197 + 1).expect("small");
            let type_no = u32::try_from(nth % 176 * 13 + 1).expect("small");
            let taxa = Taxa { type_no, category_no: type_no / 60 + 1, ..Taxa::default() };
            sold.push(Product { product_no, taxa, ..Product::default() });
        }
        profile.learn(&Visit {
            business_date: day,
            hour: 17,
            store_no: 1,
            total_minor: 4_200,
            redemptions: 0,
            sold: &sold,
        });
    }
    let types = profile.affinities(Level::Type).count();
    let articles = profile.affinities(Level::Product).count();
    assert!(types >= 170 && articles >= 340, "{types} types, {articles} articles");
    let bytes = profile.encode().len();
    assert!(bytes <= 5_000, "{bytes} bytes for {types} types and {articles} articles");
}
