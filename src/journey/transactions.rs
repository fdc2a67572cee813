//! `transactions.parquet`: the baskets, and what is odd about them.
//!
//! The oddities are counted, never mended: a till sends such things too, and the service
//! has to record them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::JourneyError;
use super::columns::Columns;
use super::products::JourneyProduct;

/// What tells one file of transactions from another: the beginning of its SHA-256.
pub type Fingerprint = [u8; 16];

/// One article of a basket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordedLine {
    basket_no: u32,
    /// Number of the article.
    pub product_id: u32,
    /// Whole units; thousands for fuel and coupon items.
    pub quantity: u32,
    /// Before the discounts, in minor units.
    pub amount_minor: u32,
    /// What the retailer and the coupons took off, in minor units. May exceed what was paid.
    pub discount_minor: u32,
    /// Whether a coupon was part of that.
    pub with_coupon: bool,
    /// What coupons were of that, in minor units; what the retailer added to them left out.
    pub coupon_minor: u32,
}

impl RecordedLine {
    /// A line that stands in no file.
    pub fn new(product_id: u32, quantity: u32, amount_minor: u32, discount_minor: u32) -> Self {
        Self { product_id, quantity, amount_minor, discount_minor, ..Self::default() }
    }

    /// The same with coupons as a part of what was taken off, in minor units.
    pub fn with_coupons(self, coupon_minor: u32) -> Self {
        Self { with_coupon: coupon_minor > 0, coupon_minor, ..self }
    }

    /// What was paid, in minor units.
    pub fn sales_minor(&self) -> i64 {
        i64::from(self.amount_minor) - i64::from(self.discount_minor)
    }
}

/// One basket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedBasket {
    /// Its number, unique over all stores.
    pub basket_id: i64,
    /// Who bought it.
    pub household_id: u32,
    /// Where.
    pub store: u32,
    /// When.
    pub occurred_at: Timestamp,
    /// Where its lines stand in [`Transactions::lines`].
    lines: Range<usize>,
}

/// A year of baskets, in the order of time; baskets of the same second in that of their number.
#[derive(Clone, Debug, Default)]
pub struct Transactions {
    baskets: Vec<RecordedBasket>,
    lines: Vec<RecordedLine>,
    baskets_contradicting: u64,
}

/// What a till should not send, and sends: how often it stands in the baskets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Oddities {
    /// Baskets.
    pub baskets: u64,
    /// Baskets for which nothing was paid.
    pub baskets_paying_nothing: u64,
    /// Baskets whose lines name several households, stores or times: the first holds.
    pub baskets_contradicting: u64,
    /// Lines.
    pub lines: u64,
    /// Lines with a quantity of zero.
    pub lines_with_quantity_zero: u64,
    /// Lines with a quantity above 999.
    pub lines_with_quantity_in_thousands: u64,
    /// Lines for which nothing was paid.
    pub lines_paying_nothing: u64,
    /// Lines whose discounts exceed what was paid.
    pub lines_with_discount_above_sales: u64,
    /// Lines whose article no catalogue has.
    pub lines_not_in_catalogue: u64,
    /// Articles that no catalogue has.
    pub skus_not_in_catalogue: u64,
    /// Lines without a category, those not in the catalogue among them.
    pub lines_without_category: u64,
    /// Lines that earn nothing by their place in the hierarchy.
    pub lines_without_points: u64,
}

impl fmt::Display for Oddities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, what) in [
            (self.baskets, "baskets"),
            (self.baskets_paying_nothing, "of them with nothing to pay"),
            (self.baskets_contradicting, "of them with several households, stores or times"),
            (self.lines, "lines"),
            (self.lines_with_quantity_zero, "of them with quantity 0"),
            (self.lines_with_quantity_in_thousands, "of them with a quantity above 999"),
            (self.lines_paying_nothing, "of them with nothing to pay"),
            (self.lines_with_discount_above_sales, "of them with discounts above what was paid"),
            (self.lines_not_in_catalogue, "of them with an article that no catalogue has"),
            (self.skus_not_in_catalogue, "such articles"),
            (self.lines_without_category, "of them without a category"),
            (self.lines_without_points, "of them with an article that earns nothing"),
        ] {
            writeln!(f, "{count:>12}  {what}")?;
        }
        Ok(())
    }
}

impl Transactions {
    /// Adds a basket that stands in no file; it must not be older than the last one.
    pub fn push(
        &mut self,
        basket_id: i64,
        household_id: u32,
        store: u32,
        occurred_at: Timestamp,
        lines: &[RecordedLine],
    ) {
        let first = self.lines.len();
        self.lines.extend_from_slice(lines);
        let lines = first..self.lines.len();
        self.baskets.push(RecordedBasket { basket_id, household_id, store, occurred_at, lines });
    }

    /// The baskets, in the order of time.
    pub fn baskets(&self) -> &[RecordedBasket] {
        &self.baskets
    }

    /// The lines of a basket.
    pub fn lines_of(&self, basket: &RecordedBasket) -> &[RecordedLine] {
        &self.lines[basket.lines.clone()]
    }

    /// What was paid for a basket, in minor units.
    pub fn sales_minor(&self, basket: &RecordedBasket) -> i64 {
        self.lines_of(basket).iter().map(RecordedLine::sales_minor).sum()
    }

    /// Keeps the baskets for which `keep` holds.
    pub fn retain(&mut self, keep: impl FnMut(&RecordedBasket) -> bool) {
        self.baskets.retain(keep);
    }

    /// Counts what is odd about the baskets, given the catalogue.
    pub fn oddities(&self, catalogue: &[JourneyProduct]) -> Oddities {
        let known: HashMap<u32, &JourneyProduct> =
            catalogue.iter().map(|product| (product.product_id, product)).collect();
        let mut unknown = std::collections::HashSet::new();
        let mut odd = Oddities {
            baskets: self.baskets.len() as u64,
            baskets_contradicting: self.baskets_contradicting,
            ..Oddities::default()
        };
        for basket in &self.baskets {
            odd.baskets_paying_nothing += u64::from(self.sales_minor(basket) == 0);
            for line in self.lines_of(basket) {
                let product = known.get(&line.product_id);
                if product.is_none() {
                    unknown.insert(line.product_id);
                }
                odd.lines += 1;
                odd.lines_with_quantity_zero += u64::from(line.quantity == 0);
                odd.lines_with_quantity_in_thousands += u64::from(line.quantity > 999);
                odd.lines_paying_nothing += u64::from(line.sales_minor() == 0);
                odd.lines_with_discount_above_sales +=
                    u64::from(i64::from(line.discount_minor) > line.sales_minor());
                odd.lines_not_in_catalogue += u64::from(product.is_none());
                odd.lines_without_category +=
                    u64::from(product.is_none_or(|product| product.category.is_none()));
                odd.lines_without_points += u64::from(product.is_some_and(|p| p.is_no_target()));
            }
        }
        odd.skus_not_in_catalogue = unknown.len() as u64;
        odd
    }
}

/// Reads `transactions.parquet`.
///
/// # Errors
/// When the file is not what it should be, or holds a value that the mapping has no place for.
pub fn read(path: &Path) -> Result<Transactions, JourneyError> {
    let file = Columns::open(path)?;
    let mut lines = vec![RecordedLine::default(); file.rows()];
    let mut numbers: HashMap<i64, u32> = HashMap::new();
    let mut headers: Vec<Header> = Vec::new();
    file.numbers("basket_id", |row, value| {
        let basket_no = match numbers.entry(value) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                headers.push(Header { basket_id: value, ..Header::default() });
                *entry.insert(u32::try_from(headers.len() - 1).map_err(|_| "is one too many")?)
            }
        };
        lines[row].basket_no = basket_no;
        Ok(())
    })?;
    drop(numbers);
    let mut header = |lines: &[RecordedLine], row: usize, set: &dyn Fn(&mut Header) -> bool| {
        let header = &mut headers[lines[row].basket_no as usize];
        header.contradicting |= !set(header);
    };
    file.numbers("household_id", |row, value| {
        let value = small(value)?;
        header(&lines, row, &|header| *header.household_id.get_or_insert(value) == value);
        Ok(())
    })?;
    file.numbers("store_id", |row, value| {
        let value = small(value)?;
        header(&lines, row, &|header| *header.store.get_or_insert(value) == value);
        Ok(())
    })?;
    file.instants("transaction_timestamp", |row, value| {
        let value = Timestamp::from_second(value).map_err(|_| "is no time")?;
        header(&lines, row, &|header| *header.occurred_at.get_or_insert(value) == value);
        Ok(())
    })?;
    file.numbers("product_id", |row, value| {
        lines[row].product_id = small(value)?;
        Ok(())
    })?;
    file.numbers("quantity", |row, value| {
        lines[row].quantity = small(value)?;
        Ok(())
    })?;
    file.amounts("sales_value", |row, minor| lines[row].amount_minor = minor)?;
    for column in ["retail_disc", "coupon_disc", "coupon_match_disc"] {
        // Amounts are far below the range of u32: the largest in the data is 84,000.
        file.amounts(column, |row, minor| {
            lines[row].amount_minor = lines[row].amount_minor.saturating_add(minor);
            lines[row].discount_minor = lines[row].discount_minor.saturating_add(minor);
            if column == "coupon_disc" {
                lines[row] = lines[row].with_coupons(minor);
            }
        })?;
    }
    Ok(assemble(lines, headers))
}

/// Reads a file once to tell it from others.
///
/// # Errors
/// When the file cannot be read.
pub fn fingerprint(path: &Path) -> Result<Fingerprint, JourneyError> {
    let bytes =
        std::fs::read(path).map_err(|source| JourneyError::Io { path: path.to_owned(), source })?;
    let digest = Sha256::digest(&bytes);
    Ok(*digest.first_chunk().expect("SHA-256 has 32 bytes"))
}

#[derive(Default)]
struct Header {
    basket_id: i64,
    household_id: Option<u32>,
    store: Option<u32>,
    occurred_at: Option<Timestamp>,
    contradicting: bool,
}

fn small(value: i64) -> Result<u32, &'static str> {
    u32::try_from(value).map_err(|_| "is not a number from 0 to 4294967295")
}

fn assemble(mut lines: Vec<RecordedLine>, headers: Vec<Header>) -> Transactions {
    // Stable, and linear where the lines of a basket stand together already.
    lines.sort_by_key(|line| line.basket_no);
    let baskets_contradicting = headers.iter().filter(|h| h.contradicting).count() as u64;
    let mut ends = lines.chunk_by(|a, b| a.basket_no == b.basket_no).scan(0, |end, chunk| {
        *end += chunk.len();
        Some(*end - chunk.len()..*end)
    });
    let mut baskets: Vec<RecordedBasket> = headers
        .into_iter()
        .map(|header| RecordedBasket {
            basket_id: header.basket_id,
            household_id: header.household_id.unwrap_or_default(),
            store: header.store.unwrap_or_default(),
            occurred_at: header.occurred_at.unwrap_or_default(),
            lines: ends.next().expect("a header is made of a line"),
        })
        .collect();
    drop(ends);
    baskets.sort_by_key(|basket| (basket.occurred_at, basket.basket_id));
    Transactions { baskets, lines, baskets_contradicting }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(basket_no: u32, product_id: u32) -> RecordedLine {
        RecordedLine { basket_no, ..RecordedLine::new(product_id, 1, 100, 0) }
    }

    fn header(basket_id: i64, second: i64) -> Header {
        Header {
            basket_id,
            household_id: Some(7),
            store: Some(330),
            occurred_at: Some(Timestamp::from_second(second).expect("in range")),
            contradicting: false,
        }
    }

    #[test]
    fn lines_that_stand_apart_come_together_and_baskets_in_the_order_of_time() {
        let lines = vec![line(0, 1), line(1, 2), line(0, 3), line(2, 4)];
        let all = assemble(lines, vec![header(90, 200), header(91, 100), header(89, 200)]);
        let found: Vec<(i64, Vec<u32>)> = all
            .baskets()
            .iter()
            .map(|b| (b.basket_id, all.lines_of(b).iter().map(|l| l.product_id).collect()))
            .collect();
        assert_eq!(found, [(91, vec![2]), (89, vec![4]), (90, vec![1, 3])]);
    }

    #[test]
    fn oddities_are_counted_and_survive() {
        let lines = vec![
            RecordedLine { quantity: 0, discount_minor: 100, ..line(0, 1) },
            RecordedLine { quantity: 89_638, amount_minor: 100, discount_minor: 60, ..line(1, 2) },
            line(1, 3),
        ];
        let mut headers = vec![header(90, 100), header(91, 101)];
        headers[1].contradicting = true;
        let all = assemble(lines, headers);
        let product = |product_id, category: Option<&str>| JourneyProduct {
            product_id,
            category: category.map(str::to_owned),
            ..JourneyProduct::default()
        };
        let catalogue = [product(1, None), product(2, Some("COUPON/MISC ITEMS"))];
        let expected = Oddities {
            baskets: 2,
            baskets_paying_nothing: 1,
            baskets_contradicting: 1,
            lines: 3,
            lines_with_quantity_zero: 1,
            lines_with_quantity_in_thousands: 1,
            lines_paying_nothing: 1,
            lines_with_discount_above_sales: 2,
            lines_not_in_catalogue: 1,
            skus_not_in_catalogue: 1,
            lines_without_category: 2,
            lines_without_points: 1,
        };
        assert_eq!(all.oddities(&catalogue), expected);
        assert_eq!(all.sales_minor(&all.baskets()[1]), 140);
    }

    #[test]
    fn the_file_is_read_with_every_column() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        write(file.path());
        let all = read(file.path()).expect("readable");
        let [basket] = all.baskets() else { unreachable!("one basket") };
        assert_eq!(basket.basket_id, 31_198_570_044);
        assert_eq!((basket.household_id, basket.store), (900, 330));
        assert_eq!(basket.occurred_at.to_string(), "2017-01-01T11:53:26Z");
        let lines = all.lines_of(basket);
        assert_eq!(lines[0].sales_minor(), 50);
        assert_eq!(lines.iter().map(|line| line.coupon_minor).collect::<Vec<_>>(), [55, 0]);
        assert!(lines[0].with_coupon && !lines[1].with_coupon);
        assert_eq!((lines[0].amount_minor, lines[0].discount_minor), (175, 125));
        assert_eq!(lines[1].quantity, 2);
        assert_eq!(all.sales_minor(basket), 50 + 278);
    }

    /// A file of two lines of one basket.
    fn write(path: &Path) {
        use parquet::data_type::{DoubleType, Int64Type, Int96, Int96Type};
        use parquet::file::writer::SerializedFileWriter;
        use parquet::schema::parser::parse_message_type;

        let schema = "message m { optional int64 household_id; optional int64 store_id;
            optional int64 basket_id; optional int64 product_id; optional int64 quantity;
            optional double sales_value; optional double retail_disc; optional double coupon_disc;
            optional double coupon_match_disc; optional int64 week;
            optional int96 transaction_timestamp; }";
        let schema = std::sync::Arc::new(parse_message_type(schema).expect("a schema"));
        let sink = std::fs::File::create(path).expect("a file");
        let mut writer =
            SerializedFileWriter::new(sink, schema, std::sync::Arc::default()).expect("a writer");
        let mut group = writer.next_row_group().expect("a row group");
        let set = Some([1, 1].as_slice());
        let numbers = [[900, 900], [330, 330], [31_198_570_044, 31_198_570_044], [1, 2], [1, 2]];
        for values in numbers {
            let mut column = group.next_column().expect("ok").expect("a column");
            column.typed::<Int64Type>().write_batch(&values, set, None).expect("written");
            column.close().expect("closed");
        }
        for values in [[0.5, 2.78], [0.25, 0.8], [0.55, 0.0], [0.45, 0.0]] {
            let mut column = group.next_column().expect("ok").expect("a column");
            column.typed::<DoubleType>().write_batch(&values, set, None).expect("written");
            column.close().expect("closed");
        }
        let mut column = group.next_column().expect("ok").expect("a column");
        column.typed::<Int64Type>().write_batch(&[1, 1], set, None).expect("written");
        column.close().expect("closed");
        // Julian day 2457755 is 2017-01-01; the low words hold nanoseconds of the day.
        let nanos: u64 = (11 * 3600 + 53 * 60 + 26) * 1_000_000_000;
        let mut instant = Int96::new();
        let low = u32::try_from(nanos & 0xffff_ffff).expect("masked");
        instant.set_data(low, u32::try_from(nanos >> 32).expect("shifted"), 2_457_755);
        let mut column = group.next_column().expect("ok").expect("a column");
        column.typed::<Int96Type>().write_batch(&[instant; 2], set, None).expect("written");
        column.close().expect("closed");
        group.close().expect("closed");
        writer.close().expect("closed");
    }
}
