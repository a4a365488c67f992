//! What a training came to: the losses of its panel on held-out text, as a Markdown table and
//! as a plot.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use atb_benches::plot::{series, write};
use atb_plots::{Axis, Chart, Layer, Point as Named};
use atb_superplm::MetricsLine;
use clap::Parser;

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
    draw(&points, &arguments.plot)?;
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

fn draw(points: &[Point], path: &Path) -> Result<()> {
    let mut layers = Vec::new();
    for (index, (arch, _)) in points[0].losses.iter().enumerate() {
        let values: Vec<(f64, f64)> = points
            .iter()
            .filter_map(|point| {
                let (_, loss) = point.losses.iter().find(|(found, _)| found == arch)?;
                Some((point.steps as f64, *loss))
            })
            .collect();
        let (tone, shape) = series(index);
        let named = values.iter().map(|(step, loss)| {
            Named::new(*step, *loss, format!("{arch}\nstep {step}: {loss:.3}"))
        });
        let named = named.collect();
        layers.push(Layer::line(arch, tone, values));
        layers.push(Layer::points("", tone, shape, named));
    }
    let chart = Chart {
        title: "Loss on held-out text".to_owned(),
        x: Axis::from_zero("steps"),
        y: Axis::logarithmic("loss"),
        layers,
    };
    write(&chart, path)
}
