//! Writes how the kinds of latency predictor compare on measurement files: a table
//! (`predictors.md`) and a plot (`predictors.svg`).

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use atb_benches::comparison::{Comparison, Settings};
use atb_benches::plot;
use atb_measurements::MeasurementFile;
use atb_predictor::{MlpSettings, Observations};
use clap::{Parser, ValueEnum};

/// Compares the kinds of latency predictor on measurement files.
#[derive(Parser)]
struct Arguments {
    /// Measurement files of one device, batch and sequence length.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Numbers of samples to fit on.
    #[arg(long, value_delimiter = ',', default_values_t = [30, 60, 120, 240])]
    samples: Vec<usize>,
    /// Architectures kept for testing.
    #[arg(long, default_value_t = 150)]
    test: usize,
    /// How often samples and test architectures are drawn anew.
    #[arg(long, default_value_t = 20)]
    draws: u64,
    /// The perceptron to compare with; the paper's takes minutes for each number of samples.
    #[arg(long, value_enum, default_value_t = Perceptron::Small)]
    perceptron: Perceptron,
    /// Where to write the table and the plot.
    #[arg(long, default_value = ".")]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Perceptron {
    None,
    Small,
    Paper,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let files: Vec<MeasurementFile> =
        arguments.files.iter().map(|path| MeasurementFile::read(path)).collect::<Result<_, _>>()?;
    let observations = Observations::from_files(&files)?;
    let settings = Settings {
        counts: arguments.samples,
        test: arguments.test,
        draws: arguments.draws,
        perceptron: match arguments.perceptron {
            Perceptron::None => None,
            Perceptron::Small => Some((MlpSettings::SMALL, arguments.draws)),
            Perceptron::Paper => Some((MlpSettings::PAPER, 1)),
        },
    };
    let comparison = Comparison::run(&observations, &settings)?;
    let names: Vec<&str> = observations.sources.iter().map(|source| source.file.as_str()).collect();
    let noise = comparison.noise.map_or_else(String::new, |noise| {
        format!("One measurement is off by {:.2} % on average.\n", 100.0 * noise)
    });
    let text = format!(
        "# Latency predictors compared\n\n{} architectures measured ({}), {} of them kept for \
         testing. {noise}\n{}\n![mean relative error over the number of samples](predictors.svg)\n",
        comparison.measured,
        names.join(", "),
        arguments.test,
        comparison.table()
    );
    let path = arguments.out.join("predictors.md");
    let folder = &arguments.out;
    let mut file = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    file.write_all(text.as_bytes()).context("cannot write the table")?;
    file.persist(&path).with_context(|| format!("cannot write {}", path.display()))?;
    plot::mape_by_samples(&comparison, &arguments.out.join("predictors.svg"))?;
    print!("{}", comparison.table());
    eprintln!("wrote {} and predictors.svg beside it", path.display());
    Ok(())
}
