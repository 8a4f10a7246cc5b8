//! One plot as SVG.

use anyhow::anyhow;
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
    let room = if top > bottom {
        (top - bottom) * 0.12
    } else {
        1.0
    };
    let bottom = if bottom < 0.0 { bottom - room } else { 0.0 };
    let mut chart = ChartBuilder::on(area)
        .caption(&plot.title, ("sans-serif", 19))
        .margin(10)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d((low - margin)..(high + margin), bottom..(top + room))?;
    let x_text = |x: &f64| {
        let x = if plot.log_x { 10_f64.powf(*x) } else { *x };
        // Between two decades a label would have too many digits.
        pretty(if x >= 100.0 {
            (x / 10.0).round() * 10.0
        } else {
            x
        })
    };
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(225, 225, 225))
        .x_desc(&plot.x)
        .y_desc(&plot.y)
        .x_labels(8)
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
        let places = || series.points.iter().map(|(x, y)| (at(*x), *y));
        if plot.joined {
            chart.draw_series(LineSeries::new(places(), colour.stroke_width(2)))?;
        }
        chart
            .draw_series(places().map(|place| Circle::new(place, 4, colour.filled())))?
            .label(&series.name)
            .legend(move |(x, y)| Circle::new((x + 8, y), 5, colour.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .label_font(("sans-serif", 14))
        .draw()
}
