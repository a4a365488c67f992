//! The comparison as a plot.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::comparison::Comparison;

/// Draws the mean relative error over the number of samples, a line for each model, as an
/// SVG file.
///
/// # Errors
/// If the file cannot be written.
pub fn mape_by_samples(comparison: &Comparison, path: &Path) -> Result<()> {
    // The drawing library's errors borrow from its canvas, so they are kept as text.
    draw(comparison, path).map_err(|problem| anyhow!("{}: {problem}", path.display()))
}

fn draw(comparison: &Comparison, path: &Path) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let highest = comparison.rows.iter().map(|row| row.metrics.mape).fold(0.01, f64::max);
    let mut counts: Vec<f64> = comparison.rows.iter().map(|row| row.count as f64).collect();
    counts.sort_by(f64::total_cmp);
    counts.dedup();
    let span =
        counts.first().map_or(1.0, |low| low * 0.8)..counts.last().map_or(2.0, |high| high * 1.25);
    let root = SVGBackend::new(path, (800, 500)).into_drawing_area();
    root.fill(&WHITE).map_err(|error| text(&error))?;
    let title = format!("Error on unseen architectures, {} measured", comparison.measured);
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .caption(title, ("sans-serif", 20))
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(span.log_scale().with_key_points(counts), 0.0..(100.0 * highest * 1.1))
        .map_err(|error| text(&error))?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("architectures measured to fit on")
        .x_label_formatter(&|count| format!("{count:.0}"))
        .y_desc("mean relative error, %")
        .y_label_formatter(&|percent| format!("{percent:.0}"))
        .draw()
        .map_err(|error| text(&error))?;
    let mut models: Vec<&str> = comparison.rows.iter().map(|row| row.model.as_str()).collect();
    models.dedup();
    for (index, model) in models.into_iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        let points = || {
            comparison
                .rows
                .iter()
                .filter(|row| row.model == model)
                .map(|row| (row.count as f64, 100.0 * row.metrics.mape))
        };
        chart
            .draw_series(LineSeries::new(points(), colour.stroke_width(2)))
            .map_err(|error| text(&error))?
            .label(model)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart
            .draw_series(points().map(|point| Circle::new(point, 4, colour.filled())))
            .map_err(|error| text(&error))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .border_style(BLACK)
        .background_style(WHITE.mix(0.8))
        .draw()
        .map_err(|error| text(&error))?;
    root.present().map_err(|error| text(&error))
}
