//! What is known of an article when it is sold: where it stands in the hierarchy, and what
//! the retailer has said about it.

use super::pack::Pack;

/// Places in the merchandise hierarchy by number; 0 where the catalogue has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Taxa {
    /// Department.
    pub department_no: u32,
    /// Category.
    pub category_no: u32,
    /// Type.
    pub type_no: u32,
    /// Brand.
    pub brand_no: u32,
}

/// An article as one epoch has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Product {
    /// Number inside Tillside; 0 for an article that no catalogue has.
    pub product_no: u32,
    /// Where it stands in the hierarchy.
    pub taxa: Taxa,
    /// Earns nothing.
    pub no_points: bool,
    /// Never inferred from, never explained.
    pub sensitive: bool,
    /// Never counts for an offer.
    pub no_discount: bool,
    /// Stands in a department whose articles are not for everybody, by the programme in force.
    pub age_restricted: bool,
    /// How much it holds, where the catalogue says so in words that can be read. Not recorded.
    pub pack: Option<Pack>,
    /// Shelf price in minor units; 0 where the catalogue has none. Not recorded.
    pub price_minor: u32,
}

impl Product {
    /// Whether an offer may ever be for it: not what is sensitive, and not what the retailer
    /// never discounts.
    pub fn is_offered(&self) -> bool {
        !self.sensitive && !self.no_discount
    }
}
