//! Parquet files with columns of the types that recorded data has.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type, Int96, Int96Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// Julian day of 1970-01-01.
const EPOCH_DAY: i64 = 2_440_588;
const DAY_S: i64 = 86_400;

/// The values of a column.
pub(crate) enum Values {
    Numbers(Vec<i64>),
    /// In minor units; written as binary fractions of whole ones.
    Amounts(Vec<i32>),
    /// The empty ones are absent.
    Texts(Vec<&'static str>),
    /// RFC 3339.
    Instants(Vec<&'static str>),
}

/// Writes a file with these columns.
pub(crate) fn write(path: &Path, columns: &[(&str, Values)]) {
    let kind = |values: &Values| match values {
        Values::Numbers(_) => ("int64", ""),
        Values::Amounts(_) => ("double", ""),
        Values::Texts(_) => ("binary", "(UTF8)"),
        Values::Instants(_) => ("int96", ""),
    };
    let fields: String = columns
        .iter()
        .map(|(name, values)| {
            let (physical, logical) = kind(values);
            format!("optional {physical} {name} {logical};")
        })
        .collect();
    let schema = parse_message_type(&format!("message m {{ {fields} }}")).expect("a schema");
    let sink = File::create(path).expect("a file");
    let mut writer =
        SerializedFileWriter::new(sink, Arc::new(schema), Arc::default()).expect("a writer");
    let mut group = writer.next_row_group().expect("a row group");
    for (_, values) in columns {
        let mut column = group.next_column().expect("ok").expect("a column");
        match values {
            Values::Numbers(values) => {
                let set = vec![1; values.len()];
                column.typed::<Int64Type>().write_batch(values, Some(&set), None)
            }
            Values::Amounts(values) => {
                let set = vec![1; values.len()];
                let values: Vec<f64> = values.iter().map(|it| f64::from(*it) / 100.0).collect();
                column.typed::<DoubleType>().write_batch(&values, Some(&set), None)
            }
            Values::Texts(values) => {
                let set: Vec<i16> = values.iter().map(|it| i16::from(!it.is_empty())).collect();
                let there = values.iter().filter(|it| !it.is_empty());
                let values: Vec<ByteArray> = there.map(|it| ByteArray::from(*it)).collect();
                column.typed::<ByteArrayType>().write_batch(&values, Some(&set), None)
            }
            Values::Instants(values) => {
                let set = vec![1; values.len()];
                let values: Vec<Int96> = values.iter().map(|it| instant(it)).collect();
                column.typed::<Int96Type>().write_batch(&values, Some(&set), None)
            }
        }
        .expect("written");
        column.close().expect("closed");
    }
    group.close().expect("closed");
    writer.close().expect("closed");
}

/// Nanoseconds of the day in the low words, the Julian day above.
fn instant(text: &str) -> Int96 {
    let second = text.parse::<jiff::Timestamp>().expect("a timestamp").as_second();
    let day = u32::try_from(second.div_euclid(DAY_S) + EPOCH_DAY).expect("a day of our era");
    let nanos = second.rem_euclid(DAY_S).unsigned_abs() * 1_000_000_000;
    let low = u32::try_from(nanos & 0xffff_ffff).expect("masked");
    let mut instant = Int96::new();
    instant.set_data(low, u32::try_from(nanos >> 32).expect("shifted"), day);
    instant
}
