//! Which plots measurements make. Owns their words; draws nothing.

use super::html::{Chart, Kind, Table, TableRow};
use super::outcome::{Outcome, PhaseOutcome};
use super::{Latency, Slice};

/// Latency percentiles by receipts a second.
pub fn over_load(points: &[(f64, Latency)]) -> Chart {
    let mut points = points.to_vec();
    points.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let series = |of: fn(&Latency) -> f64| -> Vec<(f64, f64)> {
        points.iter().map(|(per_s, latency)| (*per_s, of(latency))).collect()
    };
    Chart {
        title: "Latency over load".to_owned(),
        note: "From the time at which a till meant to send until it had its receipt. Waiting \
               counts, also of those who could not be sent yet."
            .to_owned(),
        x_label: "receipts a second".to_owned(),
        y_label: "milliseconds".to_owned(),
        log_y: true,
        series: vec![
            ("half of all".to_owned(), series(|it| it.p50_ms)),
            ("99 of 100".to_owned(), series(|it| it.p99_ms)),
            ("999 of 1,000".to_owned(), series(|it| it.p999_ms)),
        ],
        kind: Kind::Lines,
    }
}

/// Latency percentiles and throughput, second by second.
pub fn over_time(name: &str, slices: &[Slice]) -> [Chart; 2] {
    let series = |of: fn(&Slice) -> f64| -> Vec<(f64, f64)> {
        slices.iter().map(|slice| (slice.at_s, of(slice))).collect()
    };
    let lines = |title: String, note: &str, y_label: &str, log_y, series| Chart {
        title,
        note: note.to_owned(),
        x_label: "seconds".to_owned(),
        y_label: y_label.to_owned(),
        log_y,
        series,
        kind: Kind::Lines,
    };
    let latency = vec![
        ("half of all".to_owned(), series(|it| it.p50_ms)),
        ("99 of 100".to_owned(), series(|it| it.p99_ms)),
        ("999 of 1,000".to_owned(), series(|it| it.p999_ms)),
    ];
    let throughput = vec![("receipts a second".to_owned(), series(|it| it.per_s))];
    let note = "Of the swipes that were due in each second.";
    [
        lines(format!("Latency over time: {name}"), note, "milliseconds", true, latency),
        lines(format!("Throughput over time: {name}"), "", "receipts a second", false, throughput),
    ]
}

/// Swipes a second, side by side.
pub fn throughput(title: &str, note: &str, bars: &[(&str, f64)]) -> Chart {
    Chart {
        title: title.to_owned(),
        note: note.to_owned(),
        x_label: String::new(),
        y_label: "swipes a second".to_owned(),
        log_y: false,
        series: bars
            .iter()
            .map(|(name, per_s)| ((*name).to_owned(), vec![(0.0, *per_s)]))
            .collect(),
        kind: Kind::Bars,
    }
}

impl Outcome {
    /// The figures of all phases.
    pub fn table(&self) -> Table {
        let columns = [
            "",
            "offered/s",
            "done/s",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "longest ms",
            "service µs",
            "PostgreSQL µs",
            "sender µs",
            "MiB",
            "all answered 201",
        ];
        let rows = self.phases.iter().map(|phase| {
            let ms = |of: fn(&Latency) -> f64| {
                phase.receipts.as_ref().map_or("–".to_owned(), |it| format!("{:.2}", of(it)))
            };
            let cells = vec![
                phase.name.clone(),
                phase.offered_per_s.map_or("–".to_owned(), |it| format!("{it:.0}")),
                format!("{:.0}", phase.per_s),
                ms(|it| it.p50_ms),
                ms(|it| it.p99_ms),
                ms(|it| it.p999_ms),
                ms(|it| it.max_ms),
                format!("{:.1}", phase.cpu_us.service),
                format!("{:.1}", phase.cpu_us.postgres),
                format!("{:.1}", phase.cpu_us.generator),
                phase.resident_mib.last().map_or("–".to_owned(), |it| format!("{it:.0}")),
                if phase.clean { "yes" } else { "no" }.to_owned(),
            ];
            TableRow { cells, holds: None }
        });
        Table { columns: columns.map(str::to_owned).into(), rows: rows.collect() }
    }

    /// What there is to see: latency over load where there was more than one load, the phases
    /// side by side, and the longest of them over time.
    pub fn charts(&self) -> Vec<Chart> {
        let mut charts = Vec::new();
        let open = self.phases.iter().filter(|phase| phase.offered_per_s.is_some());
        let points: Vec<(f64, Latency)> =
            open.filter_map(|phase| Some((phase.per_s, phase.receipts.clone()?))).collect();
        if points.len() > 2 {
            charts.push(over_load(&points));
        }
        let bars: Vec<(&str, f64)> =
            self.phases.iter().map(|phase| (phase.name.as_str(), phase.per_s)).collect();
        charts.push(throughput("Receipts", "A second, in each phase.", &bars));
        let longest = self
            .phases
            .iter()
            .max_by_key(|phase| (phase.by_second.len(), phase.offered_per_s.is_some()));
        if let Some(longest) = longest {
            charts.extend(over_time(&longest.name, &longest.by_second));
            charts.push(memory(longest));
        }
        charts
    }
}

fn memory(phase: &PhaseOutcome) -> Chart {
    let seconds = phase.resident_mib.iter().zip(0_u32..);
    Chart {
        title: format!("Memory of the service: {}", phase.name),
        note: String::new(),
        x_label: "seconds".to_owned(),
        y_label: "MiB".to_owned(),
        log_y: false,
        series: vec![(
            "all replicas".to_owned(),
            seconds.map(|(mib, second)| (f64::from(second), *mib)).collect(),
        )],
        kind: Kind::Lines,
    }
}
