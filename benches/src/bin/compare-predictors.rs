//! Writes how the kinds of latency predictor compare on measurement files: for each space a
//! table (`table.md`) and a plot (`plot.svg`) beside its measurements.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use atb_benches::comparison::{Comparison, Settings};
use atb_benches::models::MlpSettings;
use atb_benches::{plot, write_text};
use atb_measurements::MeasurementFile;
use atb_predictor::Observations;
use atb_space::Space;
use clap::{Parser, ValueEnum};

/// Compares the kinds of latency predictor on the measurement files of spaces.
#[derive(Parser)]
struct Arguments {
    /// Folder with one folder a space, each with `uniform.jsonl` (architectures drawn
    /// uniformly) and `designed.jsonl` (those that `atb profile` chooses).
    #[arg(long, default_value = "benches/predictors")]
    folder: PathBuf,
    /// Which spaces.
    #[arg(long, value_delimiter = ',', default_values = ["kd", "mlm"])]
    spaces: Vec<String>,
    /// Numbers of samples to fit on.
    #[arg(long, value_delimiter = ',', default_values_t = [30, 60, 120, 240])]
    samples: Vec<usize>,
    /// Architectures kept for testing.
    #[arg(long, default_value_t = 150)]
    test: usize,
    /// How often samples and test architectures are drawn again.
    #[arg(long, default_value_t = 20)]
    draws: u64,
    /// The perceptron to compare with; the paper's takes minutes for each number of samples
    /// and is drawn once.
    #[arg(long, value_enum, default_value_t = Perceptron::Paper)]
    perceptron: Perceptron,
}

#[derive(Clone, Copy, ValueEnum)]
enum Perceptron {
    None,
    Small,
    Paper,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let settings = Settings {
        counts: arguments.samples.clone(),
        test: arguments.test,
        draws: arguments.draws,
        perceptron: match arguments.perceptron {
            Perceptron::None => None,
            Perceptron::Small => Some((MlpSettings::SMALL, arguments.draws)),
            Perceptron::Paper => Some((MlpSettings::PAPER, 1)),
        },
    };
    for name in &arguments.spaces {
        let space = Space::by_name(name)
            .with_context(|| format!("there is no space `{name}`; hint: kd or mlm"))?;
        compare(&space, &arguments.folder.join(name), &settings)?;
    }
    Ok(())
}

fn compare(space: &Space, folder: &Path, settings: &Settings) -> Result<()> {
    let read = |name: &str| -> Result<Observations> {
        Ok(Observations::from_file(&MeasurementFile::read(&folder.join(name))?)?)
    };
    let (uniform, designed) = (read("uniform.jsonl")?, read("designed.jsonl")?);
    let comparison = Comparison::run(space, &uniform, Some(&designed), settings)?;
    let source = uniform.sources.first().context("no measurement file")?;
    let noise = comparison.noise.map_or_else(String::new, |noise| {
        format!(" One measurement is off by {:.2} % on average (retests).", 100.0 * noise)
    });
    let Settings { test, draws, .. } = settings;
    let text = format!(
        "# Latency predictors compared: the space `{}`\n\n{} architectures drawn uniformly \
         (`uniform.jsonl`), {test} of them kept for testing in each of {draws} draws, and the {} \
         that `atb profile` chooses (`designed.jsonl`), tested on all of the uniform ones. {}, \
         {}, batch {}, sequence length {}, {} thread.{noise} The perceptron of width 2000 is the \
         paper's and was drawn once.\n\nWritten by `cargo run --release -p atb-benches --bin \
         compare-predictors`.\n\n{}\n![mean relative error over the number of \
         samples](plot.svg)\n",
        space.name,
        comparison.measured,
        designed.items.len(),
        source.device.cpu.as_deref().unwrap_or("an unknown processor"),
        source.agent.runtime,
        source.protocol.workload.batch,
        source.protocol.workload.sequence,
        source.protocol.threads,
        comparison.table()
    );
    write_text(&folder.join("table.md"), &text)?;
    plot::mape_by_samples(&comparison, &folder.join("plot.svg"))?;
    println!("{}\n\n{}", space.name, comparison.table());
    Ok(())
}
