//! Comparisons as plots.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

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
    draw_scatter(title, axes, points, path)
        .map_err(|problem| anyhow!("{}: {problem}", path.display()))
}

fn draw_scatter(
    title: &str,
    axes: [&str; 2],
    points: &[(String, f64, f64)],
    path: &Path,
) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let span = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        let margin = 0.1 * (high - low).max(1e-6);
        (low - margin)..(high + margin)
    };
    let root = SVGBackend::new(path, (800, 500)).into_drawing_area();
    root.fill(&WHITE).map_err(|error| text(&error))?;
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .caption(title, ("sans-serif", 20))
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(
            span(&mut points.iter().map(|point| point.1)),
            span(&mut points.iter().map(|point| point.2)),
        )
        .map_err(|error| text(&error))?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc(axes[0])
        .y_desc(axes[1])
        .draw()
        .map_err(|error| text(&error))?;
    let colour = Palette99::pick(0).to_rgba();
    let middle = points.iter().map(|point| point.1).sum::<f64>() / points.len().max(1) as f64;
    chart
        .draw_series(points.iter().enumerate().map(|(index, (name, x, y))| {
            // Names lie towards the middle, those of neighbours above and below each other.
            let (side, left) = if *x > middle { (HPos::Right, -8) } else { (HPos::Left, 8) };
            let above = if index % 2 == 0 { -7 } else { 7 };
            let style = TextStyle::from(("sans-serif", 12)).pos(Pos::new(side, VPos::Center));
            EmptyElement::at((*x, *y))
                + Circle::new((0, 0), 4, colour.filled())
                + Text::new(name.clone(), (left, above), style)
        }))
        .map_err(|error| text(&error))?;
    root.present().map_err(|error| text(&error))
}
