//! Lines as SVG. Colours are names that the style of the page gives a value, so that a plot is as
//! readable at night.

use std::ops::Range;

use plotters::coord::combinators::BindKeyPoints as _;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use super::Chart;

/// In pixels of the plot, which is then as wide as the page.
const SIZE: (u32, u32) = (880, 320);
const LINE_WIDTH: u32 = 2;
/// Of lines with so many points that they would become an area.
const THIN_WIDTH: u32 = 1;
const POINTS_THIN: usize = 200;
/// Series with fewer points show them.
const POINTS_SHOWN: usize = 40;

/// Colours for the library, and what stands in the page instead.
const INK: (RGBColor, &str) = (RGBColor(1, 0, 0), "var(--muted)");
const GRID: (RGBColor, &str) = (RGBColor(2, 0, 0), "var(--grid)");
const SERIES: [(RGBColor, &str); 6] = [
    (RGBColor(3, 0, 0), "var(--series-1)"),
    (RGBColor(4, 0, 0), "var(--series-2)"),
    (RGBColor(5, 0, 0), "var(--series-3)"),
    (RGBColor(6, 0, 0), "var(--series-4)"),
    (RGBColor(7, 0, 0), "var(--series-5)"),
    (RGBColor(8, 0, 0), "var(--series-6)"),
];

/// The colour of the n-th series.
pub(super) fn color_of(series: usize) -> &'static str {
    SERIES[series % SERIES.len()].1
}

/// A number as people write it: three digits that count, thousands apart.
pub(super) fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 => 0,
        ..0.995 => 3,
        ..9.95 => 2,
        ..99.5 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        let follow = whole.len() - index;
        if index > 0 && follow.is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match fraction.trim_end_matches('0') {
        "" => grouped,
        fraction => format!("{grouped}.{fraction}"),
    }
}

/// The plot of a chart with lines.
pub(super) fn lines(chart: &Chart) -> String {
    let finite = |(x, y): &(f64, f64)| x.is_finite() && y.is_finite() && (!chart.log_y || *y > 0.0);
    let points = || chart.series.iter().flat_map(|(_, points)| points).filter(|it| finite(it));
    let nothing = "<p class=\"nothing\">Nothing was measured.</p>\n".to_owned();
    let Some(along) = range(points().map(|(x, _)| *x)) else { return nothing };
    let Some(up) = range(points().map(|(_, y)| *y)) else { return nothing };
    let mut svg = String::new();
    let drawn = if chart.log_y {
        // As much room above and below as the numbers need to be told apart.
        let up = up.start / 1.3..up.end * 1.3;
        let ticks = ticks(&up);
        draw(&mut svg, chart, along, up.log_scale().with_key_points(ticks), finite)
    } else {
        draw(&mut svg, chart, along, up.start.min(0.0)..up.end * 1.08, finite)
    };
    drawn.expect("a String takes everything");
    for (RGBColor(red, green, blue), name) in [INK, GRID].iter().chain(&SERIES) {
        svg = svg.replace(&format!("\"#{red:02X}{green:02X}{blue:02X}\""), &format!("\"{name}\""));
    }
    svg
}

fn draw<Up>(
    svg: &mut String,
    chart: &Chart,
    along: Range<f64>,
    up: Up,
    is_shown: impl Fn(&(f64, f64)) -> bool,
) -> Result<(), DrawingAreaErrorKind<std::io::Error>>
where
    Up: AsRangedCoord<Value = f64>,
    Up::CoordDescType: ValueFormatter<f64>,
{
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut context = ChartBuilder::on(&area)
        .margin_top(8)
        .margin_right(28)
        .x_label_area_size(24)
        .y_label_area_size(56)
        .build_cartesian_2d(along, up)?;
    let (ink, grid) = (INK.0, GRID.0);
    context
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(grid)
        .axis_style(grid)
        .label_style(("sans-serif", 13).into_font().color(&ink))
        .x_labels(9)
        .y_labels(6)
        .x_label_formatter(&|value| figure(*value))
        .y_label_formatter(&|value| figure(*value))
        .draw()?;
    for (index, (_, points)) in chart.series.iter().enumerate() {
        let color = SERIES[index % SERIES.len()].0;
        let points: Vec<(f64, f64)> = points.iter().filter(|it| is_shown(it)).copied().collect();
        if points.len() < POINTS_SHOWN {
            context.draw_series(points.iter().map(|at| Circle::new(*at, 3, color.filled())))?;
        }
        let width = if points.len() > POINTS_THIN { THIN_WIDTH } else { LINE_WIDTH };
        context.draw_series(LineSeries::new(points, color.stroke_width(width)))?;
    }
    area.present()
}

/// Round numbers within a range of more than 0; the library knows powers of ten only.
fn ticks(range: &Range<f64>) -> Vec<f64> {
    let decades = (range.end / range.start).log10();
    let within = if decades > 4.0 { &[1.0][..] } else { &[1.0, 2.0, 5.0] };
    #[expect(clippy::cast_possible_truncation, reason = "a power of ten that an f64 can have")]
    let powers = range.start.log10().floor() as i32..=range.end.log10().ceil() as i32;
    let all = powers.flat_map(|power| within.iter().map(move |it| it * 10_f64.powi(power)));
    all.filter(|tick| range.contains(tick)).collect()
}

/// From the least to the most; a single number gets some room beside it.
fn range(values: impl Iterator<Item = f64>) -> Option<Range<f64>> {
    let (least, most) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
        (least.min(value), most.max(value))
    });
    let room = if least < most { 0.0 } else { least.abs().max(1.0) * 0.5 };
    least.is_finite().then_some(least - room..most + room)
}
