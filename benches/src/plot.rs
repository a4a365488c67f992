//! Comparisons as plots.

use std::path::Path;

use anyhow::{Context, Result};
use atb_plots::{Axis, Chart, Layer, Point, Shape, Size, Tone};

use crate::comparison::Comparison;

/// Draws the mean relative error over the number of samples, a line for each model, as an
/// SVG file.
///
/// # Errors
/// If the file cannot be written.
pub fn mape_by_samples(comparison: &Comparison, path: &Path) -> Result<()> {
    let mut models: Vec<&str> = comparison.rows.iter().map(|row| row.model.as_str()).collect();
    models.dedup();
    let mut layers = Vec::new();
    for (index, model) in models.into_iter().enumerate() {
        let rows = || comparison.rows.iter().filter(|row| row.model == model);
        let values = rows().map(|row| (row.count as f64, 100.0 * row.metrics.mape));
        let points = values.clone().map(|(count, error)| {
            Point::new(count, error, format!("{model}\n{count} samples: {error:.2} %"))
        });
        let (tone, shape) = series(index);
        layers.push(Layer::line(model, tone, values.collect()));
        layers.push(Layer::points("", tone, shape, points.collect()));
    }
    let chart = Chart {
        title: format!("Error on unseen architectures, {} measured", comparison.measured),
        x: Axis::logarithmic("architectures measured to fit on"),
        y: Axis::from_zero("mean relative error, %"),
        layers,
    };
    write(&chart, path)
}

/// Draws named points as an SVG file; `axes` says what the two values of each are.
///
/// # Errors
/// If the file cannot be written.
pub fn scatter(
    title: &str,
    axes: [&str; 2],
    points: &[(String, f64, f64)],
    path: &Path,
) -> Result<()> {
    let points = points.iter().map(|(name, x, y)| {
        Point::new(*x, *y, format!("{name}\n{}: {x:.3}\n{}: {y:.3}", axes[0], axes[1]))
    });
    let chart = Chart {
        title: title.to_owned(),
        x: Axis::linear(axes[0]),
        y: Axis::linear(axes[1]),
        layers: vec![Layer::points("", Tone::First, Shape::Circle, points.collect())],
    };
    write(&chart, path)
}

/// Colour and shape of the series of a number.
#[must_use]
pub fn series(index: usize) -> (Tone, Shape) {
    let shapes = [Shape::Circle, Shape::Diamond, Shape::Square, Shape::Triangle];
    (Tone::SERIES[index % Tone::SERIES.len()], shapes[index % shapes.len()])
}

/// Writes `chart` as an SVG file.
///
/// # Errors
/// If it cannot be written.
pub fn write(chart: &Chart, path: &Path) -> Result<()> {
    let drawing = chart.file(Size::WIDE.of_height(440));
    atb_files::write(path, drawing.as_bytes()).with_context(|| path.display().to_string())
}
