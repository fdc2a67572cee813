//! Files as tables: CSV and Parquet alike become rows of cells under known column names.
//!
//! Owns the reading of a file and the checking of its header. Knows nothing of stores,
//! products or accounts, and never guesses: a column that it does not know is refused,
//! because a misspelt one would otherwise be left out in silence.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use jiff::civil::{Date, date};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row as ParquetRow};

use super::findings::Place;

/// Rows of one file: they are held in memory and written in one transaction.
pub const ROWS_MAX: u64 = 5_000_000;

/// A column that a file may have.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// As it stands in the header.
    pub name: &'static str,
    /// Whether the file must have it.
    pub required: bool,
    /// What stands in it, for people.
    pub meaning: &'static str,
}

/// Why a file cannot be read as the table that it should be.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file is not there, or may not be read.
    #[error("the file cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// The text is not CSV.
    #[error(
        "the file is not CSV as expected (UTF-8, commas, a header, as many cells in each line): {0}"
    )]
    Csv(#[from] csv::Error),
    /// The bytes are not Parquet.
    #[error("the Parquet file cannot be read: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// The header does not fit.
    #[error("{0}")]
    Header(String),
    /// More rows than one transaction should carry.
    #[error("the file has more than {ROWS_MAX} rows; split it and import the parts")]
    TooLong,
    /// A value of a kind that no column can have.
    #[error(
        "{0}, column {1}: values of this Parquet type cannot be imported; use text, whole numbers, \
         booleans or dates"
    )]
    Kind(Place, String),
}

/// One row: its place, and a cell for each known column, `None` when empty or absent.
#[derive(Debug)]
pub struct Row<'a> {
    /// Where it stands in the file.
    pub place: Place,
    columns: &'static [Column],
    cells: &'a [Option<String>],
}

impl Row<'_> {
    /// The text of a cell, without the white space around it.
    ///
    /// # Panics
    /// When the table was not opened with this column.
    pub fn cell(&self, name: &str) -> Option<&str> {
        let at = self.columns.iter().position(|column| column.name == name);
        self.cells[at.expect("asked for by a name of the table's own list")].as_deref()
    }
}

/// An open file whose header fits.
#[derive(Debug)]
pub struct Table {
    columns: &'static [Column],
    /// For each column of the file, where it stands in `columns`.
    targets: Vec<usize>,
    source: Source,
}

enum Source {
    Csv(csv::Reader<BufReader<File>>),
    Parquet(SerializedFileReader<File>),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Csv(_) => "Csv",
            Self::Parquet(_) => "Parquet",
        })
    }
}

impl Table {
    /// Opens a file and checks its header. Parquet is told by its first four bytes.
    ///
    /// # Errors
    /// When the file cannot be read, or its columns are not the ones that are known.
    pub fn open(path: &Path, columns: &'static [Column]) -> Result<Self, TableError> {
        let mut magic = Vec::new();
        File::open(path)?.take(4).read_to_end(&mut magic)?;
        let file = File::open(path)?;
        let (source, header) = if magic == b"PAR1" {
            let reader = SerializedFileReader::new(file)?;
            let schema = reader.metadata().file_metadata().schema();
            let header = schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
            (Source::Parquet(reader), header)
        } else {
            let mut reader = csv::ReaderBuilder::new()
                .trim(csv::Trim::All)
                .from_reader(BufReader::with_capacity(1 << 16, file));
            // Spreadsheets put a byte order mark in front of the first name.
            let headers = reader.headers()?.iter();
            let header = headers.map(|name| name.trim_start_matches('\u{feff}').trim().to_owned());
            let header: Vec<String> = header.collect();
            (Source::Csv(reader), header)
        };
        Ok(Self { columns, targets: targets(columns, &header)?, source })
    }

    /// Whether the file has a column.
    pub fn has(&self, name: &str) -> bool {
        self.targets.iter().any(|at| self.columns[*at].name == name)
    }

    /// Hands over each row. Lines without any value are left out.
    ///
    /// # Errors
    /// When the file turns out not to be what it began as.
    pub fn for_each(self, mut take: impl FnMut(&Row<'_>)) -> Result<(), TableError> {
        let Self { columns, targets, source } = self;
        let mut cells = vec![None; columns.len()];
        let mut left = ROWS_MAX;
        let mut hand_over = |place, cells: &[Option<String>]| {
            if cells.iter().any(Option::is_some) {
                left = left.checked_sub(1).ok_or(TableError::TooLong)?;
                take(&Row { place, columns, cells });
            }
            Ok::<(), TableError>(())
        };
        match source {
            Source::Csv(mut reader) => {
                let mut record = csv::StringRecord::new();
                while reader.read_record(&mut record)? {
                    let line = record.position().map_or(0, csv::Position::line);
                    for (value, target) in record.iter().zip(&targets) {
                        cells[*target] = (!value.is_empty()).then(|| value.to_owned());
                    }
                    hand_over(Place::Line(line), &cells)?;
                }
            }
            Source::Parquet(reader) => {
                for (number, row) in (1..).zip(reader.get_row_iter(None)?) {
                    parquet_cells(row?, Place::Row(number), &targets, &mut cells)?;
                    hand_over(Place::Row(number), &cells)?;
                }
            }
        }
        Ok(())
    }
}

/// For each name of a header, the place of its column; or what is wrong with the header.
fn targets(columns: &'static [Column], header: &[String]) -> Result<Vec<usize>, TableError> {
    let known = || columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ");
    let mut targets = Vec::with_capacity(header.len());
    for name in header {
        let at = columns.iter().position(|column| column.name == name).ok_or_else(|| {
            TableError::Header(format!("unknown column {name:?}; the columns are: {}", known()))
        })?;
        if targets.contains(&at) {
            return Err(TableError::Header(format!("column {name} stands in the header twice")));
        }
        targets.push(at);
    }
    let missing: Vec<&str> = columns
        .iter()
        .enumerate()
        .filter(|(at, column)| column.required && !targets.contains(at))
        .map(|(_, column)| column.name)
        .collect();
    if missing.is_empty() {
        Ok(targets)
    } else {
        let missing = missing.join(", ");
        Err(TableError::Header(format!("missing: {missing}; the columns are: {}", known())))
    }
}

fn parquet_cells(
    row: ParquetRow,
    place: Place,
    targets: &[usize],
    cells: &mut [Option<String>],
) -> Result<(), TableError> {
    for ((name, value), target) in row.into_columns().into_iter().zip(targets) {
        let text = match value {
            Field::Null => None,
            Field::Str(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Field::Bool(value) => Some(value.to_string()),
            Field::Byte(value) => Some(value.to_string()),
            Field::Short(value) => Some(value.to_string()),
            Field::Int(value) => Some(value.to_string()),
            Field::Long(value) => Some(value.to_string()),
            Field::UByte(value) => Some(value.to_string()),
            Field::UShort(value) => Some(value.to_string()),
            Field::UInt(value) => Some(value.to_string()),
            Field::ULong(value) => Some(value.to_string()),
            // A column of whole numbers with gaps often arrives as floats.
            Field::Double(value) => Some(value.to_string()),
            Field::Date(days) => Some(
                date_of_epoch_day(days)
                    .ok_or_else(|| TableError::Kind(place, name.clone()))?
                    .to_string(),
            ),
            _ => return Err(TableError::Kind(place, name)),
        };
        cells[*target] = text;
    }
    Ok(())
}

fn date_of_epoch_day(days: i32) -> Option<Date> {
    date(1970, 1, 1).checked_add(jiff::Span::new().try_days(days).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int32Type, Int64Type};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use tempfile::NamedTempFile;

    use super::*;

    const COLUMNS: &[Column] = &[
        Column { name: "sku", required: true, meaning: "article" },
        Column { name: "name", required: true, meaning: "text" },
        Column { name: "price_minor", required: false, meaning: "money" },
        Column { name: "no_points", required: false, meaning: "flag" },
        Column { name: "from", required: false, meaning: "date" },
    ];

    fn csv_file(text: &str) -> NamedTempFile {
        let mut file = NamedTempFile::new().expect("a temporary file");
        file.write_all(text.as_bytes()).expect("written");
        file
    }

    type Cells = Vec<Option<String>>;

    fn rows(path: &Path) -> Result<Vec<(Place, Cells)>, TableError> {
        let mut rows = Vec::new();
        Table::open(path, COLUMNS)?.for_each(|row| {
            let cells = COLUMNS.iter().map(|c| row.cell(c.name).map(str::to_owned)).collect();
            rows.push((row.place, cells));
        })?;
        Ok(rows)
    }

    fn texts(cells: [&str; 5]) -> Cells {
        cells.iter().map(|c| (!c.is_empty()).then(|| (*c).to_owned())).collect()
    }

    #[test]
    fn csv_columns_stand_in_any_order_and_quotes_are_understood() {
        let file = csv_file("\u{feff}name,sku\n\"Milk, whole \n1 l\",7\n Bread , 8\n,\n,9\n");
        let rows = rows(file.path()).expect("readable");
        assert_eq!(
            rows,
            [
                (Place::Line(2), texts(["7", "Milk, whole \n1 l", "", "", ""])),
                (Place::Line(4), texts(["8", "Bread", "", "", ""])),
                (Place::Line(6), texts(["9", "", "", "", ""])),
            ]
        );
    }

    #[test]
    fn headers_that_do_not_fit_are_refused_with_the_list_of_columns() {
        for (text, message) in [
            (
                "sku,name,prize_minor\n",
                "unknown column \"prize_minor\"; \
                 the columns are: sku, name, price_minor, no_points, from",
            ),
            (
                "price_minor\n",
                "missing: sku, name; the columns are: sku, name, price_minor, no_points, from",
            ),
            ("sku,name,sku\n", "column sku stands in the header twice"),
            ("", "missing: sku, name; the columns are: sku, name, price_minor, no_points, from"),
        ] {
            let file = csv_file(text);
            let error = Table::open(file.path(), COLUMNS).expect_err("refused");
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn a_line_with_too_many_cells_is_named() {
        let file = csv_file("sku,name\n1,a\n2,b,c\n");
        let error = rows(file.path()).expect_err("refused").to_string();
        assert!(error.contains("line: 3"), "{error}");
        assert!(matches!(rows(Path::new("/nonexistent")), Err(TableError::Io(_))));
    }

    #[test]
    fn parquet_is_recognised_and_its_types_become_text() {
        let schema = "message m { optional int64 sku; optional binary name (UTF8);
            optional boolean no_points; optional int32 from (DATE); }";
        let schema = Arc::new(parse_message_type(schema).expect("a schema"));
        let file = NamedTempFile::new().expect("a temporary file");
        let sink = file.reopen().expect("reopened");
        let mut writer = SerializedFileWriter::new(sink, schema, Arc::default()).expect("a writer");
        let mut group = writer.next_row_group().expect("a row group");
        let definitions = Some([1, 1].as_slice());
        let mut column = group.next_column().expect("ok").expect("sku");
        column.typed::<Int64Type>().write_batch(&[7, 8], definitions, None).expect("written");
        column.close().expect("closed");
        let mut column = group.next_column().expect("ok").expect("name");
        let names = [ByteArray::from("Milk")];
        column.typed::<ByteArrayType>().write_batch(&names, Some(&[1, 0]), None).expect("written");
        column.close().expect("closed");
        let mut column = group.next_column().expect("ok").expect("no_points");
        column.typed::<BoolType>().write_batch(&[true, false], definitions, None).expect("written");
        column.close().expect("closed");
        let mut column = group.next_column().expect("ok").expect("from");
        column.typed::<Int32Type>().write_batch(&[17_167, 0], definitions, None).expect("written");
        column.close().expect("closed");
        group.close().expect("closed");
        writer.close().expect("closed");

        assert_eq!(
            rows(file.path()).expect("readable"),
            [
                (Place::Row(1), texts(["7", "Milk", "", "true", "2017-01-01"])),
                (Place::Row(2), texts(["8", "", "", "false", "1970-01-01"])),
            ]
        );
    }
}
