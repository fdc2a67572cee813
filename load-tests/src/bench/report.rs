//! What a run says: a table for people, JSON for programs, a page with plots.

use std::fmt;

use serde_json::{Value as Json, json};

use super::machine::Machine;
use super::row::{Promise, Row};
use crate::load::html::{self, Chart, Kind, Table, TableRow};
use crate::load::{Latency, Slice};

/// What came of a run.
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// The table.
    pub rows: Vec<Row>,
    /// Runs that did not count and were made again, and why.
    pub discarded: Vec<String>,
    /// How long all of it took.
    pub seconds: f64,
    pub(super) charts: Charts,
}

/// What is plotted besides the table.
#[derive(Default)]
pub(super) struct Charts {
    /// Swipes a second: ours, `txn`, `stmt`.
    pub(super) saturation: [f64; 3],
    /// Latencies by swipes offered a second.
    pub(super) over_load: Vec<(f64, Latency)>,
    /// At half load.
    pub(super) over_time: Vec<Slice>,
}

impl Report {
    /// Whether every row was measured and what must hold does.
    pub fn holds(&self) -> bool {
        self.rows.iter().all(Row::holds)
    }

    /// For programs: a key for each row, and what it was measured on.
    pub fn to_json(&self) -> Json {
        let mut report = json!({ "machine": self.machine, "seconds": self.seconds });
        report["discarded"] = self.discarded.clone().into();
        for row in &self.rows {
            let mut entry = json!({ "unit": row.unit, "note": row.note });
            match &row.outcome {
                Ok(value) => {
                    entry["value"] = value.value.into();
                    entry["min"] = value.min.into();
                    entry["max"] = value.max.into();
                }
                Err(reason) => entry["not_measured"] = reason.as_str().into(),
            }
            let (Promise::AtLeast { must, aim } | Promise::AtMost { must, aim }) = row.promise
            else {
                report[row.key] = entry;
                continue;
            };
            entry["must"] = must.into();
            entry["aim"] = aim.into();
            let holds = row.outcome.as_ref().map(|value| row.promise.holds(value.value));
            let (must_holds, aim_holds) = holds.unwrap_or((false, false));
            entry["must_holds"] = must_holds.into();
            entry["aim_holds"] = aim_holds.into();
            report[row.key] = entry;
        }
        report
    }
}

impl Report {
    /// A page with plots.
    pub fn to_html(&self) -> String {
        let Machine {
            cores, cpu, kernel, writeback, postgres, settings, commit, load_before, ..
        } = &self.machine;
        let mut machine = vec![
            ("Commit", commit.clone()),
            ("Cores", format!("{cores} of {cpu}, shared by PostgreSQL, service and generator")),
            ("Linux", kernel.clone()),
            ("Writing back", writeback.clone()),
            ("PostgreSQL", postgres.clone()),
            ("Its settings", settings.join(", ")),
            ("Load at the beginning", format!("{load_before:.1}")),
        ];
        if self.machine.is_quick {
            machine.push(("Quick", "the figures mean nothing".to_owned()));
        }
        let machine: Vec<_> =
            machine.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let columns = ["", "value", "lowest", "highest", "unit", "must", "aim", "how"];
        let table = Table {
            columns: columns.map(str::to_owned).to_vec(),
            rows: self.rows.iter().map(html_row).collect(),
        };
        html::page("Tillside beside pgbench", &machine, &table, &self.charts.plots())
    }
}

fn html_row(row: &Row) -> TableRow {
    let figures = match &row.outcome {
        Ok(value) => [value.value, value.min, value.max].map(shown),
        Err(_) => [const { String::new() }; 3],
    };
    let [value, min, max] = figures;
    let (must, aim) = promised(row.promise);
    let how = row.outcome.as_ref().err().map(|reason| format!("not measured: {reason}"));
    let how = how.unwrap_or_else(|| row.note.clone());
    let cells = vec![row.key.to_owned(), value, min, max, row.unit.to_owned(), must, aim, how];
    let holds = match row.promise {
        Promise::Nothing if row.outcome.is_ok() => None,
        _ => Some(row.holds()),
    };
    TableRow { cells, holds }
}

/// What must hold and what is aimed at, as people read it.
fn promised(promise: Promise) -> (String, String) {
    match promise {
        Promise::AtLeast { must, aim } => (format!("≥ {must}"), format!("≥ {aim}")),
        Promise::AtMost { must, aim } => (format!("≤ {must}"), format!("≤ {aim}")),
        Promise::Nothing => (String::new(), String::new()),
    }
}

impl Charts {
    fn plots(&self) -> Vec<Chart> {
        let mut plots = Vec::new();
        if self.saturation[0] > 0.0 {
            let names =
                ["Tillside", "pgbench, a statement for each table", "pgbench, one statement"];
            let bars = names.into_iter().zip(self.saturation);
            plots.push(Chart {
                title: "Swipes a second at saturation".to_owned(),
                note: "The same rows and bytes on the same PostgreSQL, in turn. Tillside also \
                       checks signatures and names, decides, and builds receipts."
                    .to_owned(),
                x_label: "swipes/s".to_owned(),
                y_label: String::new(),
                log_y: false,
                series: bars.map(|(name, per_s)| (name.to_owned(), vec![(0.0, per_s)])).collect(),
                kind: Kind::Bars,
            });
        }
        let line = |name: &str, of: &dyn Fn(&Latency) -> f64| {
            let points = self.over_load.iter().map(|(per_s, latency)| (*per_s, of(latency)));
            (name.to_owned(), points.collect())
        };
        if !self.over_load.is_empty() {
            plots.push(Chart {
                title: "Latency over load".to_owned(),
                note: "An open loop, from the intended time to the receipt.".to_owned(),
                x_label: "swipes offered a second".to_owned(),
                y_label: "milliseconds".to_owned(),
                log_y: true,
                series: vec![
                    line("median", &|latency| latency.p50_ms),
                    line("p99", &|latency| latency.p99_ms),
                    line("p99.9", &|latency| latency.p999_ms),
                ],
                kind: Kind::Lines,
            });
        }
        let line = |name: &str, of: &dyn Fn(&Slice) -> f64| {
            let points = self.over_time.iter().map(|slice| (slice.at_s, of(slice)));
            (name.to_owned(), points.collect())
        };
        if !self.over_time.is_empty() {
            plots.push(Chart {
                title: "Latency over time at half of saturation".to_owned(),
                note: String::new(),
                x_label: "seconds".to_owned(),
                y_label: "milliseconds".to_owned(),
                log_y: true,
                series: vec![
                    line("median", &|slice| slice.p50_ms),
                    line("p99", &|slice| slice.p99_ms),
                    line("p99.9", &|slice| slice.p999_ms),
                ],
                kind: Kind::Lines,
            });
        }
        plots
    }
}

/// Three digits that count, and no more than the value has.
fn shown(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cores, cpu, kernel, writeback, postgres, commit, load_before, .. } =
            &self.machine;
        writeln!(f, "\n{commit} on {cores} cores of {cpu}, Linux {kernel}, PostgreSQL {postgres}")?;
        writeln!(f, "PostgreSQL, the service and the generator share these cores.")?;
        writeln!(f, "Load of the machine at the beginning: {load_before:.1}")?;
        writeln!(f, "{writeback}")?;
        writeln!(f, "Settings: {}", self.machine.settings.join(", "))?;
        if self.machine.is_quick {
            writeln!(f, "A QUICK RUN: it shows that everything works, its figures mean nothing.")?;
        }
        writeln!(
            f,
            "\n{:<40} {:>10} {:>21} {:>9} {:>9}  holds",
            "", "value", "spread", "must", "aim"
        )?;
        // Rows that are measured together fail together: the reason is given once.
        let mut said = None;
        for Row { key, unit, promise, outcome, note } in &self.rows {
            let (must, aim) = promised(*promise);
            match outcome {
                Ok(value) => {
                    let spread = format!("{} … {}", shown(value.min), shown(value.max));
                    let holds = match (promise, promise.holds(value.value)) {
                        (Promise::Nothing, _) => "",
                        (_, (true, true)) => "aim",
                        (_, (true, false)) => "must",
                        (_, (false, _)) => "NO",
                    };
                    let value = shown(value.value);
                    writeln!(
                        f,
                        "{key:<40} {value:>10} {spread:>21} {must:>9} {aim:>9}  {holds:<4} {unit}  \
                         {note}"
                    )?;
                }
                Err(reason) => {
                    writeln!(f, "{key:<40} {:>10} {:>21} {must:>9} {aim:>9}  NO", "-", "-")?;
                    if said != Some(reason) {
                        writeln!(f, "    not measured: {reason}")?;
                    }
                    said = Some(reason);
                }
            }
        }
        for line in &self.discarded {
            writeln!(f, "{line}")?;
        }
        let verdict = if self.holds() { "every must holds" } else { "NOT every must holds" };
        write!(f, "\n{verdict}; {:.0} minutes", self.seconds / 60.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::Value;
    use super::*;

    fn machine() -> Machine {
        Machine {
            cores: 2,
            cpu: "a CPU".to_owned(),
            kernel: "6.1".to_owned(),
            writeback: "at once".to_owned(),
            postgres: "15.1".to_owned(),
            settings: vec!["fsync = on".to_owned()],
            commit: "abc".to_owned(),
            load_before: 0.0,
            is_quick: false,
        }
    }

    fn row(key: &'static str, promise: Promise, outcome: Result<f64, &str>) -> Row {
        let outcome = outcome.map(Value::once).map_err(str::to_owned);
        Row { key, unit: "×", promise, outcome, note: String::new() }
    }

    #[test]
    fn a_report_holds_only_when_every_row_was_measured_and_holds() {
        let promise = Promise::AtLeast { must: 2.0, aim: 3.0 };
        for (outcome, holds, said) in
            [(Ok(2.5), true, "must"), (Ok(1.5), false, "NO"), (Err("a lost answer"), false, "lost")]
        {
            let rows = vec![row("a", promise, outcome), row("b", Promise::Nothing, Ok(1.0))];
            let report = Report {
                machine: machine(),
                rows,
                discarded: Vec::new(),
                seconds: 60.0,
                charts: Charts::default(),
            };
            assert_eq!(report.holds(), holds);
            let text = report.to_string();
            assert!(text.contains(said), "{text}");
            let json = report.to_json();
            assert_eq!(json["a"]["must_holds"], holds);
            assert_eq!(json["a"]["must"], 2.0);
            assert_eq!(json["b"]["value"], 1.0);
            let page = report.to_html();
            assert!(page.contains(if outcome.is_ok() { "≥ 2" } else { "a lost answer" }), "{page}");
        }
    }
}
