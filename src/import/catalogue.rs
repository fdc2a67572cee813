//! The file of products: what its columns are, and the products that it names.

use std::collections::HashMap;

use super::cells::Cells;
use super::findings::{Findings, Place};
use super::table::{Column, Table, TableError};
use crate::domain::payment_card::Field;

/// The columns of a file of products.
pub const COLUMNS: &[Column] = &[
    Column { name: "sku", required: true, meaning: "the article number that tills send" },
    Column { name: "name", required: true, meaning: "as a receipt may print it" },
    Column { name: "department", required: false, meaning: "first level of the hierarchy" },
    Column { name: "category", required: false, meaning: "second level" },
    Column { name: "type", required: false, meaning: "third level" },
    Column { name: "brand", required: false, meaning: "whose it is" },
    Column { name: "package_size", required: false, meaning: "how much it holds, such as 16 OZ" },
    Column { name: "price_minor", required: false, meaning: "shelf price in minor units" },
    Column { name: "cost_minor", required: false, meaning: "purchase price in minor units" },
    Column { name: "no_points", required: false, meaning: "true: earns nothing" },
    Column { name: "no_discount", required: false, meaning: "true: no coupon may lower it" },
    Column {
        name: "sensitive",
        required: false,
        meaning: "true: never inferred from, never explained",
    },
];

/// A product as a file describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProductRecord {
    /// The article number that tills send.
    pub sku: String,
    /// As a receipt may print it.
    pub name: String,
    /// First level of the hierarchy.
    pub department: Option<String>,
    /// Second level.
    pub category: Option<String>,
    /// Third level.
    pub kind: Option<String>,
    /// Whose it is.
    pub brand: Option<String>,
    /// How much it holds, as people write it.
    pub package_size: Option<String>,
    /// Shelf price in minor units.
    pub price_minor: Option<i64>,
    /// Purchase price in minor units.
    pub cost_minor: Option<i64>,
    /// Earns nothing.
    pub no_points: bool,
    /// No coupon may lower it.
    pub no_discount: bool,
    /// Never inferred from, never explained.
    pub sensitive: bool,
}

/// Which of the optional columns a file has. What it does not have stays as it is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// `department`.
    pub department: bool,
    /// `category`.
    pub category: bool,
    /// `type`.
    pub kind: bool,
    /// `brand`.
    pub brand: bool,
    /// `package_size`.
    pub package_size: bool,
    /// `price_minor`.
    pub price: bool,
    /// `cost_minor`.
    pub cost: bool,
    /// `no_points`.
    pub no_points: bool,
    /// `no_discount`.
    pub no_discount: bool,
    /// `sensitive`.
    pub sensitive: bool,
}

impl Given {
    /// The optional columns of an open file.
    pub fn of(table: &Table) -> Self {
        Self {
            department: table.has("department"),
            category: table.has("category"),
            kind: table.has("type"),
            brand: table.has("brand"),
            package_size: table.has("package_size"),
            price: table.has("price_minor"),
            cost: table.has("cost_minor"),
            no_points: table.has("no_points"),
            no_discount: table.has("no_discount"),
            sensitive: table.has("sensitive"),
        }
    }
}

/// Reads a file of products.
///
/// # Errors
/// When the file is not such a table; what is wrong with rows stands in the findings.
pub fn read(
    table: Table,
    findings: &mut Findings,
    mut progress: impl FnMut(u64),
) -> Result<Vec<ProductRecord>, TableError> {
    let mut products: Vec<ProductRecord> = Vec::new();
    let mut seen: HashMap<String, Place> = HashMap::new();
    table.for_each(|row| {
        progress(1);
        let mut cells = Cells::new(row, findings);
        let Some(product) = record(&mut cells) else { return };
        match seen.insert(product.sku.clone(), cells.place()) {
            None => products.push(product),
            Some(first) => cells.refuse("sku", &format!("stands in {first} already")),
        }
    })?;
    Ok(products)
}

fn record(cells: &mut Cells<'_>) -> Option<ProductRecord> {
    let sku = cells.required("sku", 64, Field::Sku);
    let name = cells.required("name", 200, Field::Sku);
    let mut text = |column: &str| cells.text(column, 100, Field::Sku);
    let (department, category) = (text("department"), text("category"));
    let (kind, brand, package_size) = (text("type"), text("brand"), text("package_size"));
    Some(ProductRecord {
        price_minor: cells.number("price_minor", 0),
        cost_minor: cells.number("cost_minor", 0),
        no_points: cells.flag("no_points").unwrap_or_default(),
        no_discount: cells.flag("no_discount").unwrap_or_default(),
        sensitive: cells.flag("sensitive").unwrap_or_default(),
        sku: sku?,
        name: name?,
        department,
        category,
        kind,
        brand,
        package_size,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn parse(text: &str) -> (Given, Vec<ProductRecord>, String) {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(text.as_bytes()).expect("written");
        let table = Table::open(file.path(), COLUMNS).expect("a table");
        let given = Given::of(&table);
        let mut findings = Findings::default();
        let products = read(table, &mut findings, |_| ()).expect("readable");
        (given, products, findings.to_string())
    }

    #[test]
    fn products_are_read_with_what_the_file_has() {
        let (given, products, findings) = parse(
            "sku,name,type,price_minor,no_points\n1095275,Yoghurt,YOGURT,99,\n26081,Fee,,0,yes\n",
        );
        assert_eq!(findings, "");
        assert!(given.kind && given.price && given.no_points);
        assert!(!given.department && !given.sensitive);
        let yoghurt = ProductRecord {
            sku: "1095275".into(),
            name: "Yoghurt".into(),
            kind: Some("YOGURT".into()),
            price_minor: Some(99),
            ..ProductRecord::default()
        };
        let fee = ProductRecord {
            sku: "26081".into(),
            name: "Fee".into(),
            price_minor: Some(0),
            no_points: true,
            ..ProductRecord::default()
        };
        assert_eq!(products, [yoghurt, fee]);
    }

    #[test]
    fn every_bad_cell_is_named_with_its_remedy() {
        let (_, _, findings) = parse(
            "sku,name,price_minor,sensitive\n\
             1,A,0.99,maybe\n\
             1,A,-5,\n\
             2,A,,\n\
             2,A,,\n\
             ,A,,\n\
             3,4111 1111 1111 1111,,\n",
        );
        assert_eq!(
            findings,
            "line 2, column price_minor: must be a whole number, 0 or more, such as 398\n\
             line 2, column sensitive: must be true or false (or yes, no, 1, 0)\n\
             line 3, column price_minor: must be a whole number, 0 or more, such as 398\n\
             line 3, column sku: stands in line 2 already\n\
             line 5, column sku: stands in line 4 already\n\
             line 6, column sku: must not be empty\n\
             line 7, column name: holds what looks like a payment-card number; take it out"
        );
    }
}
