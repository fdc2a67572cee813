//! Live coupons, arranged so that they are found from what an account buys.
//!
//! Coupons for the same are one *target*. What names only departments, only categories, only
//! types or only brands is found by these and never taken apart into its articles, however many
//! they are; what names articles, overlaps with itself or has exceptions is found by them.

use std::collections::BTreeMap;

use super::super::super::product::{Product, Taxa};
use super::super::super::target::{Numbers, Target};
use super::super::logarithm::{ln, ln_1p};
use super::packs::Packs;
use super::signs::Known;

/// Below this share of baskets a coupon's popularity tells nothing.
const RARE: f32 = 2e-5;

/// For each number, in what it stands: one list after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Postings<T> {
    starts: Vec<u32>,
    entries: Vec<T>,
}

impl<T: Copy> Postings<T> {
    fn new(mut pairs: Vec<(u32, T)>) -> Self {
        pairs.sort_by_key(|(no, _)| *no);
        let numbers = pairs.last().map_or(0, |(no, _)| *no as usize + 1);
        let mut starts = vec![0_u32; numbers + 1];
        for (no, _) in &pairs {
            starts[*no as usize + 1] += 1;
        }
        for at in 0..numbers {
            starts[at + 1] += starts[at];
        }
        Self { starts, entries: pairs.into_iter().map(|(_, entry)| entry).collect() }
    }

    pub(super) fn of(&self, no: u32) -> &[T] {
        match self.starts.get(no as usize..no as usize + 2) {
            Some(&[from, to]) => &self.entries[from as usize..to as usize],
            _ => &[],
        }
    }

    /// One more than the largest number.
    pub(super) fn numbers(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }
}

/// By what an article is found, as numbered here; 0 where no target asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Traits {
    /// Its department, category, type and brand, where a target names them.
    places: [u16; 4],
    /// Its brand, where articles of it are named.
    brand: u16,
    /// Its brand and type, where articles of both are named.
    kind: u16,
    /// Its type, where its size is known and a target may be for a larger pack of that type.
    pub(super) sized_type: u16,
}

/// What a decision reads of an article, all in one place: [`Traits`], and the targets that name it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    pub(super) brand: u16,
    pub(super) kind: u16,
    pub(super) sized_type: u16,
    /// Where its places stand; 0 where it has none.
    placed: u32,
    /// The first target that names it, from 1.
    named: u32,
    /// Where the others stand; 0 where there is none.
    others: u32,
}

impl Mark {
    /// Whether a target is for it, and not only for others of its brand or kind.
    pub(super) fn is_for_some(&self) -> bool {
        self.placed > 0 || self.named > 0
    }
}

/// What live coupons are for.
#[derive(Clone, Debug, Default)]
pub(super) struct Targets {
    /// The target of each coupon.
    pub(super) of_coupon: Vec<u32>,
    /// How many coupons each target has.
    pub(super) coupons: Vec<u32>,
    /// Which ones.
    pub(super) coupons_of: Postings<u32>,
    pub(super) known: Vec<Known>,
    /// The target that is everything, if there is one.
    pub(super) everything: Option<u32>,
    /// Places, as [`Traits`] have them; first none.
    placed: Vec<[u16; 4]>,
    /// Targets that name an article beside [`Mark::named`].
    others: Postings<u32>,
    pub(super) by_place: Postings<u32>,
    /// With the share of the target's articles that are of the type.
    pub(super) by_type: Postings<(u32, f32)>,
    pub(super) by_brand: Postings<u32>,
    pub(super) by_kind: Postings<u32>,
    pub(super) packs: Packs,
    /// By article: where its mark stands.
    pub(super) mark_of: Vec<u32>,
    /// First that of all for which no target asks; then those of articles that are named, one for
    /// each; then those that articles share which are found alike. So what a decision reads of a
    /// large catalogue is little, and stays near.
    pub(super) marks: Vec<Mark>,
}

/// How a target is found.
enum Way {
    Everything,
    /// By places: their level and their numbers.
    Places(usize, Vec<u32>),
    /// By its articles.
    Articles(Vec<u32>),
}

fn way(target: &Target, catalogue: &[Product]) -> Way {
    let Target { scope, except } = target;
    let by_articles = || {
        let held = catalogue.iter().filter(|product| target.holds(product));
        Way::Articles(held.map(|product| product.product_no).filter(|no| *no > 0).collect())
    };
    if *except != Numbers::default() {
        return by_articles();
    }
    let Some(Numbers { departments, categories, types, brands, products }) = scope else {
        return Way::Everything;
    };
    let levels = [departments, categories, types, brands];
    let mut named = levels.into_iter().enumerate().filter(|(_, numbers)| !numbers.is_empty());
    match (named.next(), named.next(), products.is_empty()) {
        // Places of one level have no article in common.
        (Some((level, numbers)), None, true) => Way::Places(level, numbers.clone()),
        (None, None, false) => {
            let known = |no: &u32| catalogue.get(*no as usize).is_some_and(Product::is_offered);
            Way::Articles(products.iter().copied().filter(|no| *no > 0).filter(known).collect())
        }
        _ => by_articles(),
    }
}

impl Targets {
    /// Arranges coupons by what they are for. `catalogue` and `popularity` (share of all
    /// baskets) are indexed by the number of the article.
    pub(super) fn new(coupons: &[&Target], catalogue: &[Product], popularity: &[f32]) -> Self {
        let mut numbers = BTreeMap::new();
        let mut ways = Vec::new();
        let mut targets = Self::default();
        for target in coupons {
            let number = *numbers.entry(*target).or_insert_with(|| {
                ways.push(way(target, catalogue));
                targets.coupons.push(0);
                ways.len() - 1
            });
            targets.coupons[number] += 1;
            targets.of_coupon.push(u32::try_from(number).unwrap_or(u32::MAX));
        }
        targets.coupons_of = Postings::new(targets.of_coupon.iter().copied().zip(0..).collect());
        let mut traits = vec![Traits::default(); catalogue.len()];
        targets.arrange_articles(&ways, catalogue, &mut traits);
        targets.arrange_places(&ways, catalogue, &mut traits);
        targets.packs = Packs::new(ways.len(), &listed(&ways), catalogue, &mut traits);
        targets.keep(&traits, &ways);
        targets.measure(&ways, catalogue, popularity);
        targets
    }

    /// What is found by the brands and kinds of its articles.
    fn arrange_articles(&mut self, ways: &[Way], catalogue: &[Product], traits: &mut [Traits]) {
        let listed = listed(ways);
        let taxa = |no: &u32| catalogue[*no as usize].taxa;
        let all = || listed.iter().flat_map(|(_, articles)| *articles).map(taxa);
        let brand_nos = distinct(all().map(|taxa| taxa.brand_no).filter(|no| *no > 0));
        let kind_nos =
            distinct(all().map(|taxa| (taxa.brand_no, taxa.type_no)).filter(|(no, _)| *no > 0));
        for (its, product) in traits.iter_mut().zip(catalogue) {
            let Taxa { brand_no, type_no, .. } = product.taxa;
            its.brand = number(&brand_nos, &brand_no);
            its.kind = number(&kind_nos, &(brand_no, type_no));
        }
        let [mut brands, mut kinds] = [const { Vec::new() }; 2];
        for (at, articles) in listed {
            let traits = || articles.iter().map(|no| traits[*no as usize]);
            for (found, nos) in [
                (&mut brands, distinct(traits().map(|its| its.brand))),
                (&mut kinds, distinct(traits().map(|its| its.kind))),
            ] {
                found.extend(nos.into_iter().filter(|no| *no > 0).map(|no| (u32::from(no), at)));
            }
        }
        self.by_brand = Postings::new(brands);
        self.by_kind = Postings::new(kinds);
    }

    /// What is found by places of the hierarchy.
    fn arrange_places(&mut self, ways: &[Way], catalogue: &[Product], traits: &mut [Traits]) {
        let mut pairs: Vec<((usize, u32), u32)> = Vec::new();
        for (at, way) in (0_u32..).zip(ways) {
            match way {
                Way::Places(level, numbers) => {
                    pairs.extend(numbers.iter().map(|no| ((*level, *no), at)));
                }
                Way::Everything => self.everything = Some(at),
                Way::Articles(_) => {}
            }
        }
        let places = distinct(pairs.iter().map(|(place, _)| *place));
        let offered = traits.iter_mut().zip(catalogue).filter(|(_, it)| it.is_offered());
        for (its, product) in offered {
            let Taxa { department_no, category_no, type_no, brand_no } = product.taxa;
            let nos = [department_no, category_no, type_no, brand_no];
            its.places = std::array::from_fn(|level| number(&places, &(level, nos[level])));
        }
        let numbered = |(place, at)| (u32::from(number(&places, &place)), at);
        // What has no number fits no mark either.
        self.by_place = Postings::new(pairs.into_iter().map(numbered).collect());
    }

    /// Marks all articles, and finds by that what names articles.
    fn keep(&mut self, traits: &[Traits], ways: &[Way]) {
        let listed = listed(ways);
        let names = listed.iter().flat_map(|(at, articles)| articles.iter().map(|no| (*no, *at)));
        let mut names: Vec<(u32, u32)> = names.collect();
        names.sort_unstable();
        self.placed = distinct(traits.iter().map(|its| its.places).chain([[0; 4]]));
        let mark = |its: &Traits| Mark {
            brand: its.brand,
            kind: its.kind,
            sized_type: its.sized_type,
            // They are there, and those of nothing come first.
            placed: (self.placed.binary_search(&its.places).ok())
                .and_then(|at| u32::try_from(at).ok())
                .unwrap_or(0),
            ..Mark::default()
        };
        let shared = distinct(traits.iter().copied().chain([Traits::default()]));
        let by_article: Vec<&[(u32, u32)]> = names.chunk_by(|one, it| one.0 == it.0).collect();
        // Of the shared ones that of all for which no target asks is the first.
        let place = |its: &Traits| match shared.binary_search(its) {
            Ok(0) | Err(_) => 0,
            Ok(at) => u32::try_from(by_article.len() + at).unwrap_or(0),
        };
        self.mark_of = traits.iter().map(place).collect();
        let mut marks = vec![mark(&shared[0])];
        let mut others = Vec::new();
        for (at, named) in (1..).zip(&by_article) {
            let article = named[0].0 as usize;
            self.mark_of[article] = at;
            let is_one = named.len() == 1;
            marks.push(Mark {
                named: named[0].1 + 1,
                others: if is_one { 0 } else { at },
                ..mark(&traits[article])
            });
            others.extend(named[1..].iter().map(|(_, target)| (at, *target)));
        }
        marks.extend(shared[1..].iter().map(mark));
        self.marks = marks;
        self.others = Postings::new(others);
    }

    /// The targets that name an article.
    pub(super) fn naming(&self, mark: Mark) -> impl Iterator<Item = u32> {
        let others = if mark.others > 0 { self.others.of(mark.others) } else { &[] };
        mark.named.checked_sub(1).into_iter().chain(others.iter().copied())
    }

    /// The places of an article.
    pub(super) fn places(&self, mark: Mark) -> impl Iterator<Item = u16> {
        let places = if mark.placed > 0 { self.placed[mark.placed as usize] } else { [0; 4] };
        places.into_iter().filter(|no| *no > 0)
    }

    /// The targets that an article is found for.
    pub(super) fn of_article(&self, product_no: u32) -> impl Iterator<Item = u32> {
        let at = self.mark_of.get(product_no as usize).copied().unwrap_or_default();
        let mark = self.marks.get(at as usize).copied().unwrap_or_default();
        let by_place = self.places(mark).flat_map(|no| self.by_place.of(u32::from(no)));
        by_place.copied().chain(self.naming(mark)).chain(self.everything)
    }

    /// How broad and how popular each target is, and of which types.
    fn measure(&mut self, ways: &[Way], catalogue: &[Product], popularity: &[f32]) {
        let mut breadths = vec![0_f32; ways.len()];
        let mut shares = vec![0_f32; ways.len()];
        let mut counts: BTreeMap<(u32, u32), f32> = BTreeMap::new();
        let is_offered = |product: &Product| product.is_offered() && !product.age_restricted;
        let sellable = catalogue.iter().filter(|it| it.product_no > 0 && is_offered(it));
        for product in sellable {
            let share = popularity.get(product.product_no as usize).copied().unwrap_or_default();
            for at in self.of_article(product.product_no) {
                breadths[at as usize] += 1.0;
                shares[at as usize] += share;
                if product.taxa.type_no > 0 {
                    *counts.entry((product.taxa.type_no, at)).or_default() += 1.0;
                }
            }
        }
        let of_types = counts.into_iter();
        self.by_type = Postings::new(
            of_types.map(|((no, at), count)| (no, (at, count / breadths[at as usize]))).collect(),
        );
        let known = |(popularity, breadth): (f32, f32)| Known {
            popularity,
            log_popularity: ln(popularity.max(RARE)),
            log_breadth: ln_1p(breadth),
        };
        self.known = shares.into_iter().zip(breadths).map(known).collect();
    }
}

/// The targets that are found by their articles.
fn listed(ways: &[Way]) -> Vec<(u32, &Vec<u32>)> {
    let mut listed = Vec::new();
    for (at, way) in (0..).zip(ways) {
        if let Way::Articles(articles) = way {
            listed.push((at, articles));
        }
    }
    listed
}

pub(super) fn distinct<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// The place among sorted values, from 1; 0 when it is not there, or beyond what fits.
pub(super) fn number<T: Ord>(values: &[T], value: &T) -> u16 {
    values.binary_search(value).ok().and_then(|at| u16::try_from(at + 1).ok()).unwrap_or(0)
}
