//! `products.parquet`: the articles of the assortment.

use std::path::Path;

use super::columns::Columns;
use super::{JourneyError, is_no_target};

/// An article.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JourneyProduct {
    /// Number of the article; the sku.
    pub product_id: u32,
    /// Number of who makes it.
    pub manufacturer_id: u32,
    /// `National`, or `Private` for the retailer's own.
    pub label: Option<String>,
    /// First level of the hierarchy.
    pub department: Option<String>,
    /// Second level.
    pub category: Option<String>,
    /// Third level.
    pub kind: Option<String>,
    /// Such as `16 OZ`.
    pub package_size: Option<String>,
}

impl JourneyProduct {
    /// Label and manufacturer: `National 2`. Neither alone would be a brand: two labels tell
    /// nothing apart, and a number alone does not say that it is the retailer's own. Each of
    /// the 6,471 manufacturers has one label, so the two together are as many brands.
    pub fn brand(&self) -> String {
        match &self.label {
            Some(label) => format!("{label} {}", self.manufacturer_id),
            None => self.manufacturer_id.to_string(),
        }
    }

    /// What a receipt may print, as the data names nothing: type, else category, else
    /// department, else the number; then the size.
    pub fn name(&self) -> String {
        let what = [&self.kind, &self.category, &self.department].into_iter().flatten().next();
        let what = what.cloned().unwrap_or_else(|| self.product_id.to_string());
        match &self.package_size {
            Some(size) => format!("{what}, {size}"),
            None => what,
        }
    }

    /// Whether it earns nothing and is never suggested.
    pub fn is_no_target(&self) -> bool {
        is_no_target(self.department.as_deref(), self.category.as_deref())
    }
}

/// Reads `products.parquet`.
///
/// # Errors
/// When the file is not what it should be.
pub fn read(path: &Path) -> Result<Vec<JourneyProduct>, JourneyError> {
    const TOO_LARGE: &str = "is not a number from 0 to 4294967295";
    let file = Columns::open(path)?;
    let mut products = vec![JourneyProduct::default(); file.rows()];
    let number = |value: i64| u32::try_from(value).map_err(|_| TOO_LARGE);
    file.numbers("product_id", |row, value| {
        products[row].product_id = number(value)?;
        Ok(())
    })?;
    file.numbers("manufacturer_id", |row, value| {
        products[row].manufacturer_id = number(value)?;
        Ok(())
    })?;
    let text =
        |text: Option<&str>| text.map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned);
    file.texts("brand", |row, value| products[row].label = text(value))?;
    file.texts("department", |row, value| products[row].department = text(value))?;
    file.texts("product_category", |row, value| products[row].category = text(value))?;
    file.texts("product_type", |row, value| products[row].kind = text(value))?;
    file.texts("package_size", |row, value| products[row].package_size = text(value))?;
    Ok(products)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_brands_are_made_of_what_there_is() {
        let sauce = JourneyProduct {
            product_id: 26_190,
            manufacturer_id: 69,
            label: Some("Private".into()),
            department: Some("GROCERY".into()),
            category: Some("FRUIT - SHELF STABLE".into()),
            kind: Some("APPLE SAUCE".into()),
            package_size: Some("50 OZ".into()),
        };
        assert_eq!(sauce.name(), "APPLE SAUCE, 50 OZ");
        assert_eq!(sauce.brand(), "Private 69");
        assert!(!sauce.is_no_target());

        let bare = JourneyProduct {
            product_id: 26_081,
            department: Some("MISCELLANEOUS".into()),
            ..JourneyProduct::default()
        };
        assert_eq!((bare.name().as_str(), bare.brand().as_str()), ("MISCELLANEOUS", "0"));
        assert!(bare.is_no_target());
        let nothing = JourneyProduct { product_id: 7, ..JourneyProduct::default() };
        assert_eq!(nothing.name(), "7");
        let coupon = JourneyProduct {
            category: Some("COUPON/MISC ITEMS".into()),
            ..JourneyProduct::default()
        };
        assert!(coupon.is_no_target());
    }
}
