//! What is wrong with the rows of a file: every row is looked at, the first findings are
//! kept in full and the rest is counted, so that a person can mend a file in a few rounds.
//!
//! Never holds the value of a cell: files of accounts are personal data.

use std::fmt;

/// Findings that are kept in full; more are only counted.
pub const FINDINGS_SHOWN: usize = 20;

/// Where in a file something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a text file, the header being line 1.
    Line(u64),
    /// A row of a table without lines, from 1.
    Row(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(f, "line {number}"),
            Self::Row(number) => write!(f, "row {number}"),
        }
    }
}

/// The findings of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    shown: Vec<String>,
    count: usize,
}

impl Findings {
    /// Notes that a cell cannot be used; `problem` says what it must be instead.
    pub fn add(&mut self, place: Place, column: &str, problem: impl fmt::Display) {
        self.count += 1;
        if self.shown.len() < FINDINGS_SHOWN {
            self.shown.push(format!("{place}, column {column}: {problem}"));
        }
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many there are, shown or not.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown.join("\n"))?;
        match self.count - self.shown.len() {
            0 => Ok(()),
            more => write!(f, "\n… and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_bounded() {
        let mut findings = Findings::default();
        for line in 2..=31 {
            findings.add(Place::Line(line), "sku", "must not be empty");
        }
        let text = findings.to_string();
        assert_eq!(findings.count(), 30);
        assert!(text.starts_with("line 2, column sku: must not be empty\n"), "{text}");
        assert!(text.ends_with("line 21, column sku: must not be empty\n… and 10 more"), "{text}");
    }
}
