//! Which types an offer is for, so that no receipt carries two coupons for one, and nobody gets
//! further ones for a type of which the coupons are ignored. Too many rather than too few: what an
//! offer makes an exception of is among them.

use std::collections::BTreeMap;

use super::super::super::coupon::IGNORED_MOST;
use super::super::super::product::Product;
use super::super::super::target::{Numbers, Target};

/// The types that lie under departments, categories and brands.
pub(super) struct TypesByPlace([BTreeMap<u32, Vec<u32>>; 3]);

impl TypesByPlace {
    pub(super) fn of(catalogue: &[Product]) -> Self {
        let mut places: [BTreeMap<u32, Vec<u32>>; 3] = Default::default();
        for product in catalogue.iter().filter(|product| product.taxa.type_no > 0) {
            let taxa = product.taxa;
            let levels = [taxa.department_no, taxa.category_no, taxa.brand_no];
            for (types, no) in places.iter_mut().zip(levels).filter(|(_, no)| *no > 0) {
                types.entry(no).or_default().push(taxa.type_no);
            }
        }
        for types in places.iter_mut().flat_map(BTreeMap::values_mut) {
            types.sort_unstable();
            types.dedup();
        }
        Self(places)
    }

    /// Sorted, each once.
    pub(super) fn types_of(&self, target: &Target, catalogue: &[Product]) -> Vec<u32> {
        let Self([by_department, by_category, by_brand]) = self;
        let mut found: Vec<u32> = match &target.scope {
            None => by_department.values().flatten().copied().collect(),
            Some(Numbers { departments, categories, types, brands, products }) => {
                let of_products = products.iter().filter_map(|no| catalogue.get(*no as usize));
                let listed =
                    [(departments, by_department), (categories, by_category), (brands, by_brand)];
                let under = listed.into_iter().flat_map(|(numbers, by_place)| {
                    numbers.iter().filter_map(|no| by_place.get(no)).flatten()
                });
                of_products
                    .map(|product| product.taxa.type_no)
                    .filter(|no| *no > 0)
                    .chain(under.copied())
                    .chain(types.iter().copied())
                    .collect()
            }
        };
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The types of which so many coupons were ignored, and none used, that no further one is given.
/// `ignored` has the type of each coupon that ran out, where it was for one alone: an offer for
/// several says nothing about one of them. `used` has all types of each that was used. Sorted, each
/// once.
pub(super) fn ignored_types<'a>(
    ignored: impl Iterator<Item = u32>,
    used: impl Iterator<Item = &'a [u32]>,
) -> Vec<u32> {
    let mut ignored: Vec<u32> = ignored.collect();
    ignored.sort_unstable();
    let often = ignored.chunk_by(|one, other| one == other);
    let often = often.filter(|same| same.len() >= IGNORED_MOST).map(|same| same[0]);
    let mut often: Vec<u32> = often.collect();
    if !often.is_empty() {
        let used: Vec<u32> = used.flatten().copied().collect();
        often.retain(|no| !used.contains(no));
    }
    often
}

/// Whether sorted lists have nothing in common.
pub(super) fn are_apart(one: &[u32], other: &[u32]) -> bool {
    let (fewer, more) = if one.len() < other.len() { (one, other) } else { (other, one) };
    fewer.iter().all(|no| more.binary_search(no).is_err())
}
