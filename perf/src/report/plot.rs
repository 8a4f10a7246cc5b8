//! One plot as SVG.

use std::ops::Range;

use anyhow::anyhow;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::*;

use super::figures::pretty;

/// Width and height, pixels.
const SIZE: (u32, u32) = (820, 440);
/// Colours that are told apart also by those who see red and green alike (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];

/// Most ticks of the x axis.
const TICKS: usize = 12;

/// Points of one colour.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// What the legend says.
    pub name: String,
    /// By rising x, if they are joined.
    pub points: Vec<(f64, f64)>,
}

/// What is drawn.
#[derive(Debug, Clone, Default)]
pub struct Plot {
    /// Above it.
    pub title: String,
    /// Below the axis.
    pub x: String,
    /// Beside the axis; it begins at zero.
    pub y: String,
    /// The x axis is logarithmic; its values are above zero.
    pub log_x: bool,
    /// Points are joined.
    pub joined: bool,
    /// In the order of the legend; those without a point are left out.
    pub series: Vec<Series>,
}

impl Plot {
    /// Whether there is anything to draw.
    pub fn is_empty(&self) -> bool {
        self.series.iter().all(|series| series.points.is_empty())
    }
}

/// The plot as an `<svg>` element.
///
/// # Errors
/// When it cannot be drawn, which is a mistake of this program.
pub fn draw(plot: &Plot) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        draw_on(&area, plot).map_err(|error| anyhow!("{}: {error}", plot.title))?;
        area.present()
            .map_err(|error| anyhow!("{}: {error}", plot.title))?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type DrawingError = DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>;

fn draw_on(area: &Area<'_>, plot: &Plot) -> Result<(), DrawingError> {
    area.fill(&WHITE)?;
    let at = |x: f64| if plot.log_x { x.log10() } else { x };
    let points = || plot.series.iter().flat_map(|series| &series.points);
    let xs = || points().map(|(x, _)| at(*x));
    let (low, high) = (xs().fold(f64::MAX, f64::min), xs().fold(f64::MIN, f64::max));
    let margin = if high > low { (high - low) * 0.04 } else { 0.5 };
    let top = points().map(|(_, y)| *y).fold(0.0, f64::max);
    let bottom = points().map(|(_, y)| *y).fold(0.0, f64::min);
    // The legend stands above the points.
    let share = 0.05 + 0.075 * plot.series.len().min(14) as f64;
    let room = if top > bottom {
        (top - bottom) * share
    } else {
        1.0
    };
    let bottom = if bottom < 0.0 { bottom - room } else { 0.0 };
    let mut chart = ChartBuilder::on(area)
        .caption(&plot.title, ("sans-serif", 19))
        .margin(10)
        .x_label_area_size(44)
        .y_label_area_size(92)
        .build_cartesian_2d(
            Axis {
                range: (low - margin)..(high + margin),
                ticks: ticks(plot.log_x, low, high),
            },
            bottom..(top + room),
        )?;
    // What a logarithm lost in its last digits comes back by rounding.
    let x_text = |x: &f64| {
        let x = if plot.log_x { 10_f64.powf(*x) } else { *x };
        pretty((x * 1e6).round() / 1e6)
    };
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(225, 225, 225))
        .x_desc(&plot.x)
        .y_desc(&plot.y)
        .x_labels(TICKS)
        .x_label_formatter(&x_text)
        .y_label_formatter(&|y| pretty(*y))
        .label_style(("sans-serif", 14))
        .draw()?;
    let series = plot
        .series
        .iter()
        .filter(|series| !series.points.is_empty());
    for (number, series) in series.enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        // Those that come after all colours are rings.
        let style = match number < COLOURS.len() {
            true => colour.filled(),
            false => colour.stroke_width(2),
        };
        let places = || series.points.iter().map(|(x, y)| (at(*x), *y));
        if plot.joined {
            chart.draw_series(LineSeries::new(places(), colour.stroke_width(2)))?;
        }
        chart
            .draw_series(places().map(|place| Circle::new(place, 4, style)))?
            .label(&series.name)
            .legend(move |(x, y)| Circle::new((x + 8, y), 5, style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .label_font(("sans-serif", 14))
        .draw()
}

/// An axis with labels where they are wanted, unlike those of the library.
struct Axis {
    range: Range<f64>,
    ticks: Vec<f64>,
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        limit.0 + (f64::from(limit.1 - limit.0) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// Where the x axis has labels between `low` and `high`: round numbers, of which an axis of logarithms `log` takes the logarithms.
fn ticks(log: bool, low: f64, high: f64) -> Vec<f64> {
    let slack = 1e-9 * (high - low).abs().max(1.0);
    let inside = |x: &f64| (low - slack..=high + slack).contains(x);
    if log {
        let decades = low.floor() as i32..=high.ceil() as i32;
        // Over few decades also what is between them.
        let steps: &[f64] = if high - low > 3.0 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let all = decades.flat_map(|d| steps.iter().map(move |s| f64::from(d) + s.log10()));
        return all.filter(inside).collect();
    }
    // Rounds and percents: whole numbers.
    let rough = ((high - low) / (TICKS as f64 - 2.0)).max(1.0);
    let decade = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * decade)
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(decade);
    if high <= low {
        return vec![low];
    }
    let first = (low / step).ceil() as i64;
    let last = (high / step + slack).floor() as i64;
    (first..=last).map(|number| number as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::ticks;

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(ticks(false, 1.0, 5.0), [1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(
            ticks(false, 0.0, 90.0),
            [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0]
        );
        assert_eq!(ticks(false, 3.0, 3.0), [3.0]);
        assert_eq!(
            ticks(true, 0.0, 7.0),
            [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
        );
        let frames: Vec<f64> = ticks(true, 128_f64.log10(), 9_000_f64.log10())
            .into_iter()
            .map(|x| 10_f64.powf(x).round())
            .collect();
        assert_eq!(frames, [200.0, 500.0, 1_000.0, 2_000.0, 5_000.0]);
    }
}
