//! A page about a run that a person would rather look at than its figures. One file that needs
//! nothing else: no network, no script. Knows nothing of what was measured.

mod plot;

use std::fmt::Write as _;

/// A plot.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// How to read it; may be empty.
    pub note: String,
    /// What is along, with the unit.
    pub x_label: String,
    /// What is up, with the unit.
    pub y_label: String,
    /// Whether equal heights are equal ratios; for [`Kind::Lines`].
    pub log_y: bool,
    /// Names with their points. What is not a number is left out.
    pub series: Vec<(String, Vec<(f64, f64)>)>,
    /// What is drawn.
    pub kind: Kind,
}

/// What is drawn for a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A line through its points.
    Lines,
    /// A bar, as long as the second number of its first point.
    Bars,
}

/// Figures.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Their names; the first column names the rows.
    pub columns: Vec<String>,
    /// As many cells as there are columns.
    pub rows: Vec<TableRow>,
}

/// A row of figures.
#[derive(Clone, Debug)]
pub struct TableRow {
    /// From the left.
    pub cells: Vec<String>,
    /// Whether what was promised holds; none when nothing was.
    pub holds: Option<bool>,
}

/// The page: what it is about, what it was measured on, the figures, the plots.
pub fn page(title: &str, machine: &[(String, String)], table: &Table, charts: &[Chart]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n<main>\n<h1>{title}</h1>\n",
        title = escaped(title),
        STYLE = include_str!("style.css"),
    );
    page.push_str("<dl>\n");
    for (name, value) in machine {
        let (name, value) = (escaped(name), escaped(value));
        let _ = writeln!(page, "<dt>{name}</dt><dd>{value}</dd>");
    }
    page.push_str("</dl>\n");
    write_table(&mut page, table);
    for chart in charts {
        write_chart(&mut page, chart);
    }
    page.push_str("</main>\n</html>\n");
    page
}

fn write_table(page: &mut String, table: &Table) {
    if table.rows.is_empty() {
        return;
    }
    // Of figures are columns: among words, one that begins with a digit is a word as well.
    let class_of = |column: usize| {
        let mut cells = table.rows.iter().filter_map(|row| row.cells.get(column));
        if cells.all(|cell| is_figure(cell)) { " class=\"figure\"" } else { "" }
    };
    let classes: Vec<&str> = (0..table.columns.len()).map(class_of).collect();
    page.push_str("<div class=\"scroll\"><table>\n<thead><tr>");
    for (name, class) in table.columns.iter().zip(&classes) {
        let _ = write!(page, "<th scope=\"col\"{class}>{}</th>", escaped(name));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for TableRow { cells, holds } in &table.rows {
        page.push_str(match holds {
            Some(true) => "<tr class=\"holds\">",
            Some(false) => "<tr class=\"fails\">",
            None => "<tr>",
        });
        for (column, (cell, class)) in cells.iter().zip(&classes).enumerate() {
            let text = escaped(cell);
            let _ = match column {
                0 => write!(page, "<th scope=\"row\">{text}</th>"),
                _ => write!(page, "<td{class}>{text}</td>"),
            };
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
}

fn write_chart(page: &mut String, chart: &Chart) {
    let Chart { title, note, x_label, y_label, .. } = chart;
    let (title, note) = (escaped(title), escaped(note));
    let _ = write!(page, "<figure>\n<figcaption><h2>{title}</h2>");
    if !note.is_empty() {
        let _ = write!(page, "<p>{note}</p>");
    }
    page.push_str("</figcaption>\n");
    match chart.kind {
        Kind::Bars => write_bars(page, chart),
        Kind::Lines => {
            // The only line needs no name of its own where the axis has it.
            let named = chart.series.iter().filter(|(name, _)| name != y_label);
            page.push_str("<ul class=\"legend\">");
            for (index, (name, _)) in named.enumerate() {
                let (color, name) = (plot::color_of(index), escaped(name));
                let _ = write!(page, "<li><i style=\"background:{color}\"></i>{name}</li>");
            }
            let _ = write!(page, "</ul>\n<p class=\"axis\">{}</p>\n", escaped(y_label));
            page.push_str(&plot::lines(chart));
            let _ = writeln!(page, "<p class=\"axis along\">{}</p>", escaped(x_label));
        }
    }
    page.push_str("</figure>\n");
}

/// Bars are text with a width: they can be read, and copied, without eyes for colours. The first
/// one is what it is about, the others are there to compare it with.
fn write_bars(page: &mut String, chart: &Chart) {
    let value_of = |points: &[(f64, f64)]| points.first().map_or(f64::NAN, |(_, y)| *y);
    let longest = chart.series.iter().map(|(_, points)| value_of(points)).fold(0.0, f64::max);
    page.push_str("<div class=\"bars\">\n");
    for (index, (name, points)) in chart.series.iter().enumerate() {
        let (value, class) = (value_of(points), if index == 0 { " class=\"first\"" } else { "" });
        let (text, percent) = match value.is_finite() && longest > 0.0 {
            true => (plot::figure(value), value.max(0.0) / longest * 100.0),
            false => ("not measured".to_owned(), 0.0),
        };
        let _ = writeln!(
            page,
            "<span>{}</span><div><i{class} style=\"width:{percent:.1}%\"></i><b>{text}</b></div>",
            escaped(name)
        );
    }
    let _ = writeln!(page, "</div>\n<p class=\"axis along\">{}</p>", escaped(&chart.y_label));
}

/// Figures stand to the right.
fn is_figure(cell: &str) -> bool {
    let cell = cell.trim_start_matches(['≥', '≤', '<', '>', '-', '–', '−', ' ']);
    cell.starts_with(|first: char| first.is_ascii_digit()) || cell.is_empty()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(kind: Kind, log_y: bool, series: &[(&str, &[(f64, f64)])]) -> Chart {
        let series = series.iter().map(|(name, points)| ((*name).to_owned(), points.to_vec()));
        Chart {
            title: "Latency <over> time".to_owned(),
            note: "Lower & flatter is better".to_owned(),
            x_label: "s".to_owned(),
            y_label: "ms".to_owned(),
            log_y,
            series: series.collect(),
            kind,
        }
    }

    /// How many lines have the colour of a series.
    fn drawn(page: &str, index: usize) -> usize {
        page.matches(&format!("stroke=\"{}\"", plot::color_of(index))).count()
    }

    #[test]
    fn every_series_has_a_name_and_a_line_of_its_own() {
        let points: Vec<(f64, f64)> = (1..50).map(|x| (f64::from(x), f64::from(x * x))).collect();
        let series: [(&str, &[(f64, f64)]); 3] =
            [("p50", &points), ("p99 & more", &points[3..]), ("p99.9", &points[9..])];
        for log_y in [false, true] {
            let page = page("A run", &[], &Table::default(), &[chart(Kind::Lines, log_y, &series)]);
            for (index, name) in ["p50", "p99 &amp; more", "p99.9"].iter().enumerate() {
                assert!(page.contains(&format!("</i>{name}</li>")), "{name}");
                assert!(drawn(&page, index) > 0, "{name} is not drawn");
            }
            assert_eq!(drawn(&page, 3), 0);
        }
    }

    #[test]
    fn bars_are_as_long_as_what_they_mean() {
        let series: [(&str, &[(f64, f64)]); 3] =
            [("ours", &[(0.0, 12_000.0)]), ("theirs", &[(0.0, 3_000.0)]), ("none", &[])];
        let page = page("A run", &[], &Table::default(), &[chart(Kind::Bars, false, &series)]);
        for expected in ["width:100.0%", "width:25.0%", "12,000", "3,000", "not measured"] {
            assert!(page.contains(expected), "{expected}");
        }
    }

    #[test]
    fn what_is_not_a_number_is_left_out_and_nothing_is_no_plot() {
        let some = [(0.0, 1.0), (1.0, f64::NAN), (2.0, f64::INFINITY), (3.0, 2.0)];
        for (points, expected) in [(&some[..], "<svg"), (&[], "Nothing was measured")] {
            for log_y in [false, true] {
                let chart = chart(Kind::Lines, log_y, &[("p50", points)]);
                let page = page("A run", &[], &Table::default(), &[chart]);
                assert!(page.contains(expected));
                assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
            }
        }
    }

    #[test]
    fn the_page_has_every_figure_needs_nothing_else_and_repeats_no_markup() {
        let row = |cells: [&str; 3], holds| TableRow {
            cells: cells.map(str::to_owned).to_vec(),
            holds: Some(holds),
        };
        let table = Table {
            columns: ["what", "must", "how"].map(str::to_owned).to_vec(),
            rows: vec![row(["a <b>", "≥ 2.2", "alone"], true), row(["c", "", "64 clients"], false)],
        };
        let machine = [("processor".to_owned(), "\"fast\" & <cheap>".to_owned())];
        let page = page("Ours & theirs", &machine, &table, &[]);
        for expected in [
            "<h1>Ours &amp; theirs</h1>",
            "<dd>&quot;fast&quot; &amp; &lt;cheap&gt;</dd>",
            "<th scope=\"col\" class=\"figure\">must</th><th scope=\"col\">how</th>",
            "<tr class=\"holds\"><th scope=\"row\">a &lt;b&gt;</th><td class=\"figure\">≥ 2.2</td>",
            "<tr class=\"fails\"><th scope=\"row\">c</th><td class=\"figure\"></td><td>64 clients</td>",
        ] {
            assert!(page.contains(expected), "{expected} in {page}");
        }
        for outside in ["http:", "https:", "<script", "<link", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
