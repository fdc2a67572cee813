//! Offers for a larger pack: to whom they are one, what is said of them, and that nothing else is
//! chosen otherwise for their sake.

use std::sync::Arc;

use jiff::Span;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::offer::Offer;
use super::super::pack::{Pack, Unit};
use super::super::product::{Product, Taxa};
use super::super::profile::{Level, Profile, Visit};
use super::super::selection::offers::BUILT_IN;
use super::super::selection::showcase::{
    Evidence, Moment, Noted, Reason, Showcase, ShowcaseRoom, Slot,
};
use super::super::target::{Numbers, Target};
use super::selection::{a_profile, a_target, catalogue, names_articles, popularity};
use super::showcase::{TODAY, a_lot, empty, moment, offer};

/// Type, size and price of articles 1 to 14.
const SHELF: [(u32, &str, u32); 14] = [
    (1, "500 G", 500),
    (1, "1 KG", 1_000),
    (1, "1 KG", 1_010),
    (1, "250 G", 200),
    (1, "2 KG", 2_000),
    (1, "2.01 KG", 2_000),
    (1, "1 L", 1_000),
    (1, "LARGE", 1_000),
    (1, "1 KG", 0),
    (1, "624 G", 500),
    (1, "625 G", 500),
    (2, "1 KG", 500),
    (1, "500 G", 505),
    (2, "12 OZ", 100),
];

fn shelf() -> Vec<Product> {
    let product = |(no, (type_no, size, price_minor)): (u32, (u32, &str, u32))| Product {
        product_no: no,
        taxa: Taxa { type_no, ..Taxa::default() },
        pack: Pack::read(size),
        price_minor,
        ..Product::default()
    };
    std::iter::once(Product::default()).chain((1..).zip(SHELF).map(product)).collect()
}

fn of_articles(products: &[u32]) -> Target {
    let scope = Numbers { products: products.to_vec(), ..Numbers::default() };
    Target { scope: Some(scope), ..Target::default() }
}

/// Who bought articles so many days ago.
fn who_bought(visits: &[(i64, &[u32])]) -> Profile {
    let (shelf, mut profile) = (shelf(), Profile::default());
    for (days_ago, articles) in visits {
        let sold: Vec<Product> = articles.iter().map(|no| shelf[*no as usize]).collect();
        profile.learn(&Visit {
            business_date: TODAY.saturating_sub(Span::new().days(*days_ago)),
            hour: 12,
            store_no: 1,
            total_minor: 100,
            redemptions: 0,
            sold: &sold,
        });
    }
    profile
}

/// Article 1 every fifteen days, the last time three days ago, and something else today.
fn a_regular() -> Profile {
    who_bought(&[(48, &[1]), (33, &[1]), (18, &[1]), (3, &[1]), (0, &[])])
}

/// What speaks for one offer.
fn spoken(shelf: &[Product], target: &Target, profile: &Profile) -> Option<(Reason, Evidence)> {
    let offers = std::iter::once(offer(1, target, |_| ()));
    let showcase = Showcase::new(offers, shelf, &[], BUILT_IN);
    let (basket, mut room) = (empty(), ShowcaseRoom::default());
    let moment = moment(&basket, 1, a_lot(1));
    let (chosen, judged) = showcase.judge(profile, &moment, &Noted::default(), &mut room);
    let slots: Vec<Slot> = chosen.iter().map(|it| it.why.slot).collect();
    assert_eq!(slots, judged[0].reason.map(Reason::slot).into_iter().collect::<Vec<_>>());
    Some((judged[0].reason?, judged[0].evidence))
}

#[test]
fn an_offer_is_for_a_larger_pack_where_all_of_it_is_larger_and_no_dearer() {
    for (articles, offered) in [
        (&[2][..], Some("1 kg")),
        // A cent more for as much; a price that is not known is not held against it.
        (&[3], None),
        (&[2, 3], None),
        (&[9], Some("1 kg")),
        (&[3, 9], Some("1 kg")),
        // Four times as much, and more than that.
        (&[5], Some("2 kg")),
        (&[6], None),
        (&[2, 5], Some("1 kg")),
        (&[2, 6], Some("1 kg")),
        // Hardly larger, and clearly.
        (&[10], None),
        (&[11], Some("625 g")),
        // Smaller ones, other units and sizes that nobody knows.
        (&[2, 4], None),
        (&[4], None),
        (&[7], None),
        (&[8], None),
        (&[2, 8], None),
        (&[2, 7], None),
        // As large as what is bought, of another brand; of another type.
        (&[13], None),
        (&[12], None),
        (&[2, 12], None),
    ] {
        let told = spoken(&shelf(), &of_articles(articles), &a_regular());
        let sizes = told.and_then(|(_, evidence)| evidence.sizes);
        let is_larger = told.is_some_and(|(reason, _)| reason == Reason::LargerPack);
        assert_eq!(is_larger, offered.is_some(), "{articles:?}: {told:?}");
        let as_text = |pack: Pack| pack.to_string();
        assert_eq!(sizes.map(|it| as_text(it.offered)).as_deref(), offered, "{articles:?}");
        assert!(sizes.is_none_or(|it| as_text(it.usual) == "500 g"));
    }
    // What is for a whole type is for every size that it ever has.
    let types = Numbers { types: vec![1], ..Numbers::default() };
    let of_type = Target { scope: Some(types), ..Target::default() };
    let bought = spoken(&shelf(), &of_type, &a_regular()).expect("it was bought");
    assert_eq!(bought.0, Reason::DueAgain);
}

#[test]
fn only_who_buys_the_smaller_pack_regularly_and_none_as_large_is_offered_the_larger() {
    for (visits, is_larger) in [
        (&[(48_i64, &[1_u32][..]), (33, &[1]), (18, &[1])][..], true),
        (&[(33, &[1]), (18, &[1])], false),
        // Two brands of one size, and a larger one of another unit.
        (&[(48, &[1]), (33, &[13]), (18, &[13])], true),
        (&[(48, &[1, 7]), (33, &[1]), (18, &[1])], true),
        // Once the large one, be it another; or one that is hardly smaller.
        (&[(48, &[1]), (33, &[1, 3]), (18, &[1])], false),
        (&[(48, &[1, 5]), (33, &[1]), (18, &[1])], false),
        // Mostly a small one, of which it is just four times as much.
        (&[(48, &[4]), (33, &[4]), (18, &[4, 1])], false),
        // Two kinds at once are no further visit.
        (&[(33, &[1, 13]), (18, &[1, 13])], false),
        // Given up, or bought too seldom.
        (&[(80, &[1]), (70, &[1]), (60, &[1])], false),
        (&[(200, &[1]), (107, &[1]), (10, &[1])], false),
    ] {
        let mut visits = visits.to_vec();
        visits.push((0, &[]));
        let told = spoken(&shelf(), &of_articles(&[2]), &who_bought(&visits));
        let reason = told.map(|it| it.0);
        assert_eq!(reason == Some(Reason::LargerPack), is_larger, "{visits:?}: {told:?}");
    }
}

#[test]
fn nothing_is_said_of_sizes_where_the_smaller_pack_has_become_sensitive() {
    let mut shelf = shelf();
    shelf[1].sensitive = true;
    let told = spoken(&shelf, &of_articles(&[2]), &a_regular()).expect("of the same type");
    assert_eq!((told.0, told.1.sizes), (Reason::KindYouBuy, None));
}

#[test]
fn a_larger_pack_is_explained_with_its_numbers_and_printed_without_any() {
    let offers = std::iter::once(offer(1, &of_articles(&[2]), |_| ()));
    let showcase = Showcase::new(offers, &shelf(), &[], BUILT_IN);
    let (basket, mut room) = (empty(), ShowcaseRoom::default());
    let chosen = showcase.choose(&a_regular(), &moment(&basket, 2, a_lot(1)), &mut room);
    let [choice] = &chosen[..] else { panic!("{chosen:?}") };
    assert_eq!((choice.why.slot, choice.why.reason), (Slot::UpSell, Reason::LargerPack));
    let sentence = choice.why.sentence();
    let expected = "A larger pack: with 500 g bought 4 times, usually every 15 days, last 3 days \
                    before; the offer has 1 kg. Rank 1 of all offers, score ";
    assert!(sentence.starts_with(expected), "{sentence}");
    assert!(!Reason::LargerPack.text().contains(|c: char| c.is_ascii_digit()));
    // What is pushed is so for no other reason.
    let pushed = std::iter::once(offer(1, &of_articles(&[2]), |it| it.push = Some(1)));
    let showcase = Showcase::new(pushed, &shelf(), &[], BUILT_IN);
    let chosen = showcase.choose(&a_regular(), &moment(&basket, 2, a_lot(1)), &mut room);
    assert_eq!(chosen[0].why.reason, Reason::Recommended);
    assert_eq!(chosen[0].why.evidence.sizes, None);
}

#[test]
fn a_larger_pack_takes_the_second_place_once_and_what_is_new_the_others() {
    // Of three types, each bought in a small pack, there are a large one and one of no known size.
    let size = |no: u32| if no <= 3 { "500 G" } else { "1 KG" };
    let product = |no: u32| Product {
        product_no: no,
        taxa: Taxa { type_no: (no - 1) % 3 + 1, ..Taxa::default() },
        pack: Pack::read(if no > 6 { "" } else { size(no) }),
        ..Product::default()
    };
    let shelf: Vec<Product> =
        std::iter::once(Product::default()).chain((1..=9).map(product)).collect();
    let mut profile = Profile::default();
    for days_ago in [40, 30, 20, 10] {
        profile.learn(&Visit {
            business_date: TODAY.saturating_sub(Span::new().days(days_ago)),
            hour: 12,
            store_no: 1,
            total_minor: 100,
            redemptions: 0,
            sold: &shelf[1..=3],
        });
    }
    use Slot::{Explore, Repeat, UpSell};
    for (there, seated) in [
        (&[1_u32, 5, 9][..], &[Repeat, UpSell, Explore][..]),
        (&[1, 5, 6], &[Repeat, UpSell, UpSell]),
        (&[8, 6], &[UpSell, Explore]),
        (&[4], &[UpSell]),
    ] {
        let offers: Vec<Arc<Offer>> =
            (1..).zip(there).map(|(no, it)| offer(no, &of_articles(&[*it]), |_| ())).collect();
        let showcase = Showcase::new(offers.into_iter(), &shelf, &[], BUILT_IN);
        let (basket, mut room) = (empty(), ShowcaseRoom::default());
        let chosen = showcase.choose(&profile, &moment(&basket, 4, a_lot(1)), &mut room);
        let slots: Vec<Slot> = chosen.iter().map(|choice| choice.why.slot).collect();
        assert_eq!(slots, seated, "{there:?}");
    }
}

/// Whether an offer is for a larger pack, told article by article.
fn plainly(target: &Target, profile: &Profile) -> Option<(Pack, Pack)> {
    let catalogue = catalogue();
    let articles: Vec<&Product> =
        catalogue.iter().filter(|it| it.product_no > 0 && target.holds(it)).collect();
    let first = *articles.first().filter(|_| names_articles(target))?;
    let type_no = first.taxa.type_no;
    let alike = |it: &&Product| {
        it.taxa.type_no == type_no
            && it.pack.is_some()
            && it.pack.map(|it| it.unit) == first.pack.map(|it| it.unit)
    };
    if type_no == 0 || !articles.iter().all(alike) {
        return None;
    }
    let offered = articles.iter().filter_map(|it| it.pack).min()?;
    if articles.iter().any(|it| it.pack.is_some_and(|pack| pack.unit == Unit::Pack)) {
        return None;
    }
    let is_bought = |it: &&&Product| profile.affinity(Level::Product, it.product_no).is_some();
    let of_type = profile.affinity(Level::Type, type_no)?;
    if articles.iter().any(|it| is_bought(&it)) || of_type.slow < 1.0 {
        return None;
    }
    let bought: Vec<&Product> = catalogue
        .iter()
        .rev()
        .filter(|it| it.product_no > 0 && it.taxa.type_no == type_no)
        .filter(|it| !it.sensitive && !it.age_restricted)
        .filter(|it| it.pack.is_some_and(|pack| pack.unit == offered.unit))
        .filter(|it| profile.affinity(Level::Product, it.product_no).is_some())
        .collect();
    let amount = |it: &Product| it.pack.map_or(0, |pack| u32::from(pack.amount));
    let wanted = u32::from(offered.amount);
    if bought.iter().any(|it| amount(it) * 5 > wanted * 4) {
        return None;
    }
    let affinity = |it: &Product| profile.affinity(Level::Product, it.product_no).expect("bought");
    let same = |pack: Pack| bought.iter().copied().filter(move |it| it.pack == Some(pack));
    let slow = |pack: Pack| same(pack).map(|it| affinity(it).slow).sum::<f32>();
    let mut packs: Vec<Pack> = bought.iter().filter_map(|it| it.pack).collect();
    packs.sort_unstable_by(|a, b| slow(*b).total_cmp(&slow(*a)).then(a.cmp(b)));
    let usual = *packs.first()?;
    let count: u16 = same(usual).map(|it| affinity(it).count).sum();
    let last_day = same(usual).map(|it| affinity(it).last_day).max()?;
    let latest = same(usual).map(affinity).filter(|it| it.last_day == last_day);
    let gap = latest.filter_map(|it| it.usual_gap_days).fold(0.0, f32::max);
    let since = f32::from(profile.last_day() - last_day);
    let is_regular =
        count >= 3 && of_type.count >= 3 && gap > 0.0 && gap <= 91.0 && since <= 2.0 * gap.max(1.0);
    let for_one = |it: &Product| f64::from(it.price_minor) / f64::from(amount(it));
    let prices = |all: Vec<&Product>| all.into_iter().map(for_one).collect::<Vec<f64>>();
    let is_priced = |it: &&Product| it.price_minor > 0;
    let paid = prices(same(usual).filter(is_priced).collect());
    let asked = prices(articles.clone());
    let is_known = articles.iter().all(is_priced) && !paid.is_empty();
    let highest = asked.into_iter().fold(0.0, f64::max);
    let is_dearer = is_known && paid.iter().any(|it| highest > it * (1.0 + 1e-12));
    let fits = wanted <= 4 * u32::from(usual.amount);
    (is_regular && fits && !is_dearer).then_some((usual, offered))
}

proptest! {
    #[test]
    fn an_offer_is_for_a_larger_pack_where_it_is_so_article_by_article(
        targets in vec((a_target(), prop::option::weighted(0.1, 1..=9_u8)), 1..20),
        articles in vec((0..12_u32, vec(0..5_u32, 1..3)), 0..20),
        profile in a_profile(),
        sequence in 0..1_000_i64,
    ) {
        // Many that could be: of one type, the larger articles of it.
        let of_a_type = articles.iter().filter_map(|(type_no, nths)| {
            let mut products: Vec<u32> =
                nths.iter().map(|nth| type_no + 12 * nth).filter(|no| *no > 0).collect();
            products.sort_unstable();
            products.dedup();
            (!products.is_empty()).then(|| (of_articles(&products), None))
        });
        let targets: Vec<(Target, Option<u8>)> = targets.iter().cloned().chain(of_a_type).collect();
        let offers = || (1..).zip(&targets).map(|(offer_no, (target, push))| {
            offer(offer_no, target, |it| it.push = *push)
        });
        let showcase = Showcase::new(offers(), &catalogue(), &popularity(), BUILT_IN);
        let basket = empty();
        let moment = moment(&basket, 4, a_lot(sequence));
        let mut room = ShowcaseRoom::default();
        let (chosen, judged) = showcase.judge(&profile, &moment, &Noted::default(), &mut room);
        for (it, (target, push)) in judged.iter().zip(&targets) {
            let sizes = it.evidence.sizes.map(|it| (it.usual, it.offered));
            let expected = plainly(target, &profile).filter(|_| push.is_none());
            prop_assert_eq!(sizes, expected, "{:?}", target);
            prop_assert_eq!(it.reason == Some(Reason::LargerPack), expected.is_some());
        }
        // Where there is none, nothing is chosen otherwise than before there were packs.
        let before = Moment { knows_packs: false, ..moment };
        let (then, judged_then) = showcase.judge(&profile, &before, &Noted::default(), &mut room);
        prop_assert!(judged_then.iter().all(|it| it.reason != Some(Reason::LargerPack)));
        if judged.iter().all(|it| it.reason != Some(Reason::LargerPack)) {
            prop_assert_eq!(then, chosen);
        }
    }
}
