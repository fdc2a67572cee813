//! Cells as values: what a column must hold, and the remedy when it does not.
//!
//! Reads one row at a time and notes what cannot be used; the caller goes on with the next
//! cell, so that one run over a file finds everything. Never echoes a value.

use jiff::civil::Date;

use super::findings::{Findings, Place};
use super::table::Row;
use crate::domain::name::parse_date;
use crate::domain::payment_card::{self, Field};

/// One row, and where its findings go.
#[derive(Debug)]
pub(super) struct Cells<'a> {
    row: &'a Row<'a>,
    findings: &'a mut Findings,
}

impl<'a> Cells<'a> {
    /// Begins to read a row.
    pub(super) fn new(row: &'a Row<'a>, findings: &'a mut Findings) -> Self {
        Self { row, findings }
    }

    /// Where the row stands.
    pub(super) fn place(&self) -> Place {
        self.row.place
    }

    /// Whether the cell holds anything.
    pub(super) fn is_set(&self, column: &str) -> bool {
        self.row.cell(column).is_some()
    }

    /// Notes that a cell cannot be used.
    pub(super) fn refuse(&mut self, column: &str, problem: &str) {
        self.findings.add(self.row.place, column, problem);
    }

    /// A text of at most `characters_max` characters in which no payment-card number stands.
    pub(super) fn text(
        &mut self,
        column: &str,
        characters_max: usize,
        field: Field,
    ) -> Option<String> {
        let text = self.row.cell(column)?;
        if text.chars().count() > characters_max {
            self.refuse(column, &format!("must have at most {characters_max} characters"));
            return None;
        }
        if text.chars().any(char::is_control) {
            self.refuse(column, "must not hold line breaks or other control characters");
            return None;
        }
        if payment_card::found_in(text, field) {
            self.refuse(column, "holds what looks like a payment-card number; take it out");
            return None;
        }
        Some(text.to_owned())
    }

    /// As [`Cells::text`], but the cell must not be empty.
    pub(super) fn required(
        &mut self,
        column: &str,
        characters_max: usize,
        field: Field,
    ) -> Option<String> {
        if !self.is_set(column) {
            self.refuse(column, "must not be empty");
        }
        self.text(column, characters_max, field)
    }

    /// A text that a rule must admit; `remedy` says what it must be.
    pub(super) fn admitted(
        &mut self,
        column: &str,
        admits: impl Fn(&str) -> bool,
        remedy: &str,
    ) -> Option<String> {
        let text = self.row.cell(column)?;
        if !admits(text) {
            self.refuse(column, remedy);
            return None;
        }
        Some(text.to_owned())
    }

    /// A whole number from `min` on.
    pub(super) fn number(&mut self, column: &str, min: i64) -> Option<i64> {
        let text = self.row.cell(column)?;
        match text.parse::<i64>() {
            // Large enough for any figure, small enough that sums of them cannot overflow.
            Ok(number) if (min..=1_000_000_000_000).contains(&number) => Some(number),
            _ => {
                self.refuse(column, &format!("must be a whole number, {min} or more, such as 398"));
                None
            }
        }
    }

    /// A date.
    pub(super) fn date(&mut self, column: &str) -> Option<Date> {
        let date = parse_date(self.row.cell(column)?);
        if date.is_none() {
            self.refuse(column, "must be a date written YYYY-MM-DD");
        }
        date
    }

    /// Yes or no.
    pub(super) fn flag(&mut self, column: &str) -> Option<bool> {
        match self.row.cell(column)?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Some(true),
            "false" | "no" | "0" => Some(false),
            _ => {
                self.refuse(column, "must be true or false (or yes, no, 1, 0)");
                None
            }
        }
    }

    /// The parts of a list that is written with semicolons, each admitted by a rule.
    pub(super) fn list(
        &mut self,
        column: &str,
        admits: impl Fn(&str) -> bool,
        remedy: &str,
    ) -> Vec<String> {
        let text = self.row.cell(column).unwrap_or_default();
        let parts: Vec<String> =
            text.split(';').map(str::trim).filter(|p| !p.is_empty()).map(str::to_owned).collect();
        if parts.iter().any(|part| !admits(part)) {
            self.refuse(column, remedy);
            return Vec::new();
        }
        parts
    }
}
