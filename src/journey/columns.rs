//! Columns of a Parquet file, one at a time and without building rows: a year of lines is
//! read in a second and takes no more memory than what is kept of it.

use std::fs::File;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use parquet::basic::Type as PhysicalType;
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{ByteArrayType, DataType, DoubleType, Int64Type, Int96Type};
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::JourneyError;

/// Values that are decoded at once.
const BATCH: usize = 1 << 16;

/// An open file.
pub(super) struct Columns {
    path: PathBuf,
    reader: SerializedFileReader<File>,
}

impl Columns {
    pub(super) fn open(path: &Path) -> Result<Self, JourneyError> {
        let path = path.to_owned();
        let file =
            File::open(&path).map_err(|source| JourneyError::Io { path: path.clone(), source })?;
        match SerializedFileReader::new(file) {
            Ok(reader) => Ok(Self { path, reader }),
            Err(source) => Err(JourneyError::Parquet { path, source }),
        }
    }

    /// How many rows the file has.
    pub(super) fn rows(&self) -> usize {
        usize::try_from(self.reader.metadata().file_metadata().num_rows()).unwrap_or_default()
    }

    /// A value that the mapping has no place for. `row` counts from 0.
    pub(super) fn refuse(
        &self,
        row: usize,
        column: &'static str,
        problem: &'static str,
    ) -> JourneyError {
        JourneyError::Value { path: self.path.clone(), row: row + 1, column, problem }
    }

    /// Hands over each whole number of a column that has no gaps.
    pub(super) fn numbers(
        &self,
        column: &'static str,
        mut take: impl FnMut(usize, i64) -> Result<(), &'static str>,
    ) -> Result<(), JourneyError> {
        self.each::<Int64Type>(column, |row, value| take(row, *value.ok_or(EMPTY)?))
    }

    /// Hands over each amount of a column in minor units.
    pub(super) fn amounts(
        &self,
        column: &'static str,
        mut take: impl FnMut(usize, u32),
    ) -> Result<(), JourneyError> {
        self.each::<DoubleType>(column, |row, value| {
            let minor = minor_exactly(*value.ok_or(EMPTY)?)
                .ok_or("is not a whole number of cents from 0 to 42 million")?;
            take(row, minor);
            Ok(())
        })
    }

    /// Hands over each instant of a column in seconds since 1970, UTC.
    pub(super) fn instants(
        &self,
        column: &'static str,
        mut take: impl FnMut(usize, i64) -> Result<(), &'static str>,
    ) -> Result<(), JourneyError> {
        self.each::<Int96Type>(column, |row, value| take(row, value.ok_or(EMPTY)?.to_seconds()))
    }

    /// Hands over each day of a column, which the data writes as its first instant, UTC.
    pub(super) fn dates(
        &self,
        column: &'static str,
        mut take: impl FnMut(usize, Date),
    ) -> Result<(), JourneyError> {
        self.instants(column, |row, second| {
            let instant = Timestamp::from_second(second).map_err(|_| "is no day")?;
            take(row, instant.to_zoned(TimeZone::UTC).date());
            Ok(())
        })
    }

    /// Hands over each text of a column, or its absence.
    pub(super) fn texts(
        &self,
        column: &'static str,
        mut take: impl FnMut(usize, Option<&str>),
    ) -> Result<(), JourneyError> {
        self.each::<ByteArrayType>(column, |row, value| {
            let text = value.map(|bytes| bytes.as_utf8()).transpose().map_err(|_| "is no text")?;
            take(row, text);
            Ok(())
        })
    }

    fn each<T: DataType>(
        &self,
        column: &'static str,
        mut take: impl FnMut(usize, Option<&T::T>) -> Result<(), &'static str>,
    ) -> Result<(), JourneyError> {
        let damaged = |source| JourneyError::Parquet { path: self.path.clone(), source };
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let wanted = T::get_physical_type();
        let at = schema
            .columns()
            .iter()
            .position(|c| {
                c.name() == column && c.physical_type() == wanted && c.max_rep_level() == 0
            })
            .ok_or_else(|| JourneyError::Column {
                path: self.path.clone(),
                column,
                kind: kind(wanted),
            })?;
        let present = schema.column(at).max_def_level();
        let mut row = 0;
        for group in 0..self.reader.num_row_groups() {
            let group = self.reader.get_row_group(group).map_err(damaged)?;
            let mut reader =
                get_typed_column_reader::<T>(group.get_column_reader(at).map_err(damaged)?);
            loop {
                let (mut levels, mut values) = (Vec::new(), Vec::new());
                let (records, _, _) = reader
                    .read_records(BATCH, Some(&mut levels), None, &mut values)
                    .map_err(damaged)?;
                if records == 0 {
                    break;
                }
                let mut values = values.iter();
                for at in 0..records {
                    // A column that must be set has no levels at all.
                    let set = levels.get(at).is_none_or(|level| *level == present);
                    let value = if set { values.next() } else { None };
                    take(row, value).map_err(|problem| self.refuse(row, column, problem))?;
                    row += 1;
                }
            }
        }
        Ok(())
    }
}

const EMPTY: &str = "is empty";

fn kind(physical: PhysicalType) -> &'static str {
    match physical {
        PhysicalType::INT64 => "int64",
        PhysicalType::INT96 => "int96",
        PhysicalType::DOUBLE => "double",
        _ => "byte array",
    }
}

/// An amount in minor units, if it is a whole number of them. The one place where the data's
/// binary fractions become money: nothing is rounded away, half a cent is refused.
fn minor_exactly(amount: f64) -> Option<u32> {
    let scaled = amount * 100.0;
    let whole = scaled.round();
    let exact = (scaled - whole).abs() < 1e-6 && (0.0..=f64::from(u32::MAX)).contains(&whole);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number within the range of u32 was made sure of"
    )]
    exact.then_some(whole as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_become_cents_exactly_or_not_at_all() {
        for (amount, minor) in [
            (0.0, Some(0)),
            (-0.0, Some(0)),
            (0.29, Some(29)),
            (1.15, Some(115)),
            (840.0, Some(84_000)),
            (0.1 + 0.2, Some(30)),
            (0.005, None),
            (-0.01, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
            (1e12, None),
        ] {
            assert_eq!(minor_exactly(amount), minor, "{amount}");
        }
    }
}
