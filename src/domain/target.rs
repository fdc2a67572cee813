//! What an offer is for: places in the hierarchy, brands and articles, by number. Names are
//! resolved before; must never hold one.

use super::product::{Product, Taxa};

/// Places and articles at any level of the hierarchy; each list sorted, without repetitions.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Numbers {
    /// Departments.
    pub departments: Vec<u32>,
    /// Categories.
    pub categories: Vec<u32>,
    /// Types.
    pub types: Vec<u32>,
    /// Brands.
    pub brands: Vec<u32>,
    /// Articles.
    pub products: Vec<u32>,
}

impl Numbers {
    /// Whether an article is among them.
    pub fn holds(&self, product: &Product) -> bool {
        let Taxa { department_no, category_no, type_no, brand_no } = product.taxa;
        [
            (&self.departments, department_no),
            (&self.categories, category_no),
            (&self.types, type_no),
            (&self.brands, brand_no),
            (&self.products, product.product_no),
        ]
        .into_iter()
        .any(|(numbers, number)| numbers.binary_search(&number).is_ok())
    }

    /// Whether an article is named by its place in the hierarchy or by itself: a brand is in
    /// many departments, so naming it says nothing about one of them.
    fn names(&self, product: &Product) -> bool {
        let Taxa { department_no, category_no, type_no, .. } = product.taxa;
        [
            (&self.departments, department_no),
            (&self.categories, category_no),
            (&self.types, type_no),
            (&self.products, product.product_no),
        ]
        .into_iter()
        .any(|(numbers, number)| numbers.binary_search(&number).is_ok())
    }
}

/// What an offer is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// What is named; nothing: everything.
    pub scope: Option<Numbers>,
    /// Of that, what it is not for.
    pub except: Numbers,
}

impl Target {
    /// Whether it is for an article. What is sensitive, and what the retailer never discounts, is
    /// no offer's. What may not be sold to everybody counts only where it is named: "10 % off
    /// everything" is not meant for spirits.
    pub fn holds(&self, product: &Product) -> bool {
        let named = self.scope.as_ref().is_none_or(|scope| scope.holds(product));
        let open = !product.age_restricted || self.names(product);
        named && open && product.is_offered() && !self.except.holds(product)
    }

    /// Whether it is for an article that may not be sold to everybody.
    pub fn is_restricted(&self, product: &Product) -> bool {
        product.age_restricted && self.names(product) && self.holds(product)
    }

    fn names(&self, product: &Product) -> bool {
        self.scope.as_ref().is_some_and(|scope| scope.names(product))
    }
}
