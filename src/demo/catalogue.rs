//! The catalogue of the demo: the shelves with brands, article numbers, prices, costs and what
//! the retailer says about them. The same articles get the same numbers every time.

use std::sync::Arc;

use super::random::Random;
use super::shelves::{GALLON, POUND, Shelf, shelves};
use crate::import::CatalogueFile;
use crate::import::catalogue::{Given, ProductRecord};

/// An article of the demo.
#[derive(Clone, Debug)]
pub struct Article {
    /// Its number: five digits below every number of the journey's catalogue.
    pub sku: String,
    /// As a receipt prints it.
    pub name: String,
    /// Shelf price in minor units, for a piece, a pound or a gallon.
    pub price_minor: i64,
    /// Its type.
    pub(super) shelf: Arc<Shelf>,
    /// How it is measured.
    pub(super) measure: Measure,
    brand: &'static str,
    size: &'static str,
}

/// How an article is measured at the till.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    Pieces,
    Pounds,
    Gallons,
}

/// The first article number.
const FIRST_SKU: usize = 10_001;

/// The retailer's own brand, a little cheaper, and two invented ones for each kind of shelf.
const OWN_BRAND: &str = "Tillside";
const BRANDS: [[&str; 2]; 4] = [
    ["Larkfield", "Quarry Hill"],
    ["Bluebarn", "Fennel & Finch"],
    ["Morrow Mill", "Stillbrook"],
    ["Oakhollow", "Seven Gables"],
];
/// Sold loose or behind a counter: nobody's brand.
const UNBRANDED: [&str; 7] =
    ["Produce", "Meat", "Seafood", "Fuel", "Gift cards", "Deli", "Tobacco"];

/// Every article, in the order of their numbers.
pub fn articles() -> Vec<Article> {
    let mut articles = Vec::new();
    let mut random = Random::new(1);
    for (at, shelf) in shelves().into_iter().map(Arc::new).enumerate() {
        let unbranded = UNBRANDED.contains(&shelf.department);
        let brands = BRANDS[at % BRANDS.len()];
        for (number, variant) in shelf.variants.iter().enumerate() {
            for size in &shelf.sizes {
                let mut add = |brand, percent| {
                    let sku = (FIRST_SKU + articles.len()).to_string();
                    articles.push(article(sku, &shelf, variant, brand, *size, percent));
                };
                let percent = random.between(98, 118).into();
                add(if unbranded { "" } else { brands[number % brands.len()] }, percent);
                if number <= 1 && !unbranded {
                    add(OWN_BRAND, 84);
                }
            }
        }
    }
    articles
}

/// The articles as they are imported.
pub(super) fn file(articles: &[Article]) -> CatalogueFile {
    let given = Given {
        department: true,
        category: true,
        kind: true,
        brand: true,
        package_size: true,
        price: true,
        cost: true,
        no_points: true,
        no_discount: true,
        sensitive: true,
    };
    let mut random = Random::new(2);
    let product = |article: &Article| {
        let shelf = &article.shelf;
        let own = article.brand == OWN_BRAND;
        let cost_percent = i64::from(random.between(62, 78)) - if own { 12 } else { 0 };
        ProductRecord {
            sku: article.sku.clone(),
            name: article.name.clone(),
            department: Some(shelf.department.to_owned()),
            category: Some(shelf.category.to_owned()),
            kind: Some(shelf.kind.to_owned()),
            brand: (!article.brand.is_empty()).then(|| article.brand.to_owned()),
            package_size: Some(article.size.to_owned()),
            price_minor: Some(article.price_minor),
            cost_minor: Some(article.price_minor * cost_percent / 100),
            no_points: ["Fuel", "Gift cards"].contains(&shelf.department),
            no_discount: ["Alcohol", "Tobacco", "Fuel", "Gift cards"].contains(&shelf.department),
            sensitive: ["Pharmacy", "Tobacco", "Alcohol"].contains(&shelf.department),
        }
    };
    CatalogueFile { products: articles.iter().map(product).collect(), given }
}

impl Article {
    /// Whether sales tax is added at the till.
    pub(super) fn is_taxed(&self) -> bool {
        let taxed = ["Household", "Personal care", "Pet", "Alcohol", "Tobacco", "Baby"];
        taxed.contains(&self.shelf.department)
    }

    /// Whether people take it without having come for it.
    pub(super) fn is_impulse(&self) -> bool {
        let planned = ["Fuel", "Pharmacy", "Tobacco", "Gift cards", "Baby", "Pet"];
        !planned.contains(&self.shelf.department)
    }
}

fn article(
    sku: String,
    shelf: &Arc<Shelf>,
    variant: &str,
    brand: &'static str,
    (size, size_percent): (&'static str, i64),
    percent: i64,
) -> Article {
    let measure = match size {
        POUND => Measure::Pounds,
        GALLON => Measure::Gallons,
        _ => Measure::Pieces,
    };
    let name = match (brand, measure) {
        ("", Measure::Pounds) => format!("{variant} (lb)"),
        ("", Measure::Gallons) => format!("{variant} gasoline (gal)"),
        ("", Measure::Pieces) if size == "each" => variant.to_owned(),
        ("", Measure::Pieces) => format!("{variant} {size}"),
        (brand, Measure::Pounds) => format!("{brand} {variant} (lb)"),
        (brand, _) => format!("{brand} {variant} {size}"),
    };
    let exact_minor = shelf.price_minor * size_percent * percent / 10_000;
    // Prices in shops end with a nine; what is printed on a gift card is its price.
    let price_minor = match shelf.department {
        "Gift cards" => shelf.price_minor,
        _ => exact_minor / 10 * 10 + 9,
    };
    Article { sku, name, price_minor, shelf: Arc::clone(shelf), measure, brand, size }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn it_is_a_catalogue_of_a_few_hundred_articles_that_fit_a_receipt() {
        let articles = articles();
        assert!((250..500).contains(&articles.len()), "{}", articles.len());
        let distinct = |of: fn(&Article) -> &str| articles.iter().map(of).collect::<HashSet<_>>();
        assert_eq!(distinct(|a| &a.sku).len(), articles.len());
        assert_eq!(distinct(|a| &a.name).len(), articles.len());
        for product in file(&articles).products {
            let (price, cost) = (product.price_minor.expect("set"), product.cost_minor);
            assert!(cost.expect("set") < price, "{} costs more than its price", product.name);
            assert!(product.name.chars().count() <= 42, "{}", product.name);
            assert_eq!(product.sku.len(), 5, "{}", product.sku);
        }
    }
}
