//! Which types an offer is for, so that no receipt carries two coupons for one. Too many rather
//! than too few: what an offer makes an exception of is among them.

use std::collections::BTreeMap;

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

/// Whether sorted lists have nothing in common.
pub(super) fn are_apart(one: &[u32], other: &[u32]) -> bool {
    let (fewer, more) = if one.len() < other.len() { (one, other) } else { (other, one) };
    fewer.iter().all(|no| more.binary_search(no).is_err())
}
