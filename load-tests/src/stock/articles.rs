//! What the shops of a stock sell: articles with a place in the hierarchy, numbered by rule.

use tillside::import::CatalogueFile;
use tillside::import::catalogue::{Given, ProductRecord};

/// Articles of the catalogue.
const ARTICLES: u32 = 20_000;
/// Those that people buy; the others stand on the shelf.
pub(super) const SOLD: u32 = 1_000;

/// Articles of a type, of a category, of a department: 350 neighbours are of 175 or 176 types.
const OF_A_TYPE: u32 = 2;
const OF_A_CATEGORY: u32 = 25;
const OF_A_DEPARTMENT: u32 = 500;
const BRANDS: u32 = 97;

/// The articles that people buy, as tills name them.
pub fn skus() -> impl Iterator<Item = String> {
    (0..SOLD).map(sku)
}

pub(super) fn sku(article: u32) -> String {
    (1_000_000 + article * 7).to_string()
}

pub(super) fn file() -> CatalogueFile {
    let given = Given {
        department: true,
        category: true,
        kind: true,
        brand: true,
        package_size: false,
        price: false,
        cost: false,
        no_points: true,
        no_discount: true,
        sensitive: true,
    };
    let product = |article: u32| ProductRecord {
        sku: sku(article),
        name: format!("Article {article}"),
        department: Some(format!("Department {}", article / OF_A_DEPARTMENT)),
        category: Some(format!("Category {}", article / OF_A_CATEGORY)),
        kind: Some(format!("Type {}", article / OF_A_TYPE)),
        brand: Some(format!("Brand {}", article % BRANDS)),
        package_size: None,
        price_minor: None,
        cost_minor: None,
        no_points: false,
        no_discount: false,
        sensitive: false,
    };
    CatalogueFile { products: (0..ARTICLES).map(product).collect(), given }
}
