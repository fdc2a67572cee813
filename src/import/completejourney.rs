//! The catalogue of *The Complete Journey* as a catalogue of ours.

use std::path::Path;

use super::CatalogueFile;
use super::catalogue::{Given, ProductRecord};
use crate::journey::JourneyError;
use crate::journey::products::{self, JourneyProduct};

/// Reads `products.parquet`. It knows no prices: those in force stay.
///
/// # Errors
/// When the file is not what it should be.
pub fn read(path: &Path) -> Result<CatalogueFile, JourneyError> {
    let given = Given {
        department: true,
        category: true,
        kind: true,
        brand: true,
        package_size: true,
        price: false,
        cost: false,
        no_points: true,
        no_discount: true,
        sensitive: false,
    };
    let products = products::read(path)?.into_iter().map(product).collect();
    Ok(CatalogueFile { products, given })
}

fn product(product: JourneyProduct) -> ProductRecord {
    ProductRecord {
        sku: product.product_id.to_string(),
        name: product.name(),
        brand: Some(product.brand()),
        no_points: product.is_no_target(),
        no_discount: product.is_no_target(),
        department: product.department,
        category: product.category,
        kind: product.kind,
        package_size: product.package_size,
        ..ProductRecord::default()
    }
}
