//! What a training came to: the losses of its panel on held-out text, as a Markdown table and
//! as a plot.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use atb_superplm::MetricsLine;
use clap::Parser;
use plotters::prelude::*;

/// Make a table and a plot of the held-out losses of one training, or of several that
/// continue each other.
#[derive(Debug, Parser)]
struct Arguments {
    /// `metrics.jsonl` of each training, in their order; `FILE:STEPS` counts only the first
    /// steps of one that another continues from there
    #[arg(required = true, value_name = "FILE[:STEPS]")]
    metrics: Vec<String>,
    /// The plot, an SVG file
    #[arg(long)]
    plot: PathBuf,
}

/// One validation.
#[derive(Debug)]
struct Point {
    /// Of training until then.
    minutes: f64,
    steps: u64,
    tokens: u64,
    losses: Vec<(String, f64)>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let points = points(&arguments.metrics)?;
    draw(&points, &arguments.plot)
        .map_err(|problem| anyhow!("{}: {problem}", arguments.plot.display()))?;
    println!("{}", table(&points));
    Ok(())
}

fn points(files: &[String]) -> Result<Vec<Point>> {
    let (mut points, mut minutes, mut steps, mut tokens) = (Vec::<Point>::new(), 0.0, 0, 0);
    for file in files {
        let (path, limit) = match file.rsplit_once(':') {
            Some((path, limit)) => (path, limit.parse().context("the steps to count")?),
            None => (file.as_str(), u64::MAX),
        };
        let text = std::fs::read_to_string(path).with_context(|| path.to_owned())?;
        for (number, line) in text.lines().enumerate() {
            let line = serde_json::from_str(line)
                .with_context(|| format!("{path}: line {}", number + 1))?;
            match line {
                MetricsLine::Step { step, seconds, tokens: of_step, .. } if step < limit => {
                    minutes += seconds / 60.0;
                    steps += 1;
                    tokens += of_step;
                }
                MetricsLine::Validation { step, losses } if step <= limit => {
                    let losses: Vec<(String, f64)> =
                        losses.into_iter().map(|(arch, loss)| (arch.id(), loss)).collect();
                    // The first of a training that continues is the last of the one before.
                    if points.last().is_none_or(|last| last.steps != steps) {
                        points.push(Point { minutes, steps, tokens, losses });
                    }
                }
                _ => {}
            }
        }
    }
    ensure!(!points.is_empty(), "the files hold no validation");
    Ok(points)
}

fn table(points: &[Point]) -> String {
    let archs: Vec<&str> = points[0].losses.iter().map(|(arch, _)| arch.as_str()).collect();
    let mut lines = vec![
        format!("| minutes | steps | million tokens | {} |", archs.join(" | ")),
        format!("|---:|---:|---:|{}", "---:|".repeat(archs.len())),
    ];
    for point in points {
        let losses: Vec<String> =
            point.losses.iter().map(|(_, loss)| format!("{loss:.3}")).collect();
        lines.push(format!(
            "| {:.0} | {} | {:.2} | {} |",
            point.minutes,
            point.steps,
            point.tokens as f64 / 1e6,
            losses.join(" | ")
        ));
    }
    lines.join("\n")
}

fn draw(points: &[Point], path: &Path) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let losses = points.iter().flat_map(|point| &point.losses).map(|(_, loss)| *loss);
    let low = losses.clone().fold(f64::INFINITY, f64::min) * 0.9;
    let high = losses.fold(0.0, f64::max) * 1.1;
    let end = points.iter().map(|point| point.steps as f64).fold(1.0, f64::max);
    let root = SVGBackend::new(path, (800, 500)).into_drawing_area();
    root.fill(&WHITE).map_err(|error| text(&error))?;
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .caption("KD loss on held-out text", ("sans-serif", 20))
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..end, (low..high).log_scale())
        .map_err(|error| text(&error))?;
    chart.configure_mesh().x_desc("steps").y_desc("loss").draw().map_err(|error| text(&error))?;
    for (index, (arch, _)) in points[0].losses.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        let line = points.iter().filter_map(|point| {
            let (_, loss) = point.losses.iter().find(|(found, _)| found == arch)?;
            Some((point.steps as f64, *loss))
        });
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))
            .map_err(|error| text(&error))?
            .label(arch)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
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
