//! `atb predict`: latency, interval and breakdown of architectures.

use std::path::PathBuf;

use atb_predictor::Predictor;
use atb_space::Architecture;
use clap::Args;

use crate::display;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Architectures, `L-dm-df-h-dq`
    #[arg(required = true)]
    archs: Vec<Architecture>,
    /// Predictor file, as `atb fit` writes it
    #[arg(long, default_value = "predictor.json")]
    predictor: PathBuf,
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let predictor = Predictor::load(&arguments.predictor)?;
    display::warn_of_no_device(&predictor);
    let rows =
        arguments
            .archs
            .iter()
            .map(|arch| {
                if let Err(error) = predictor.space.check(arch) {
                    display::note(&format!("warning: {error}; its prediction is an extrapolation"));
                }
                let prediction = predictor.predict(arch);
                let mut row = vec![
                    arch.id(),
                    format!("{:.3}", prediction.value),
                    format!("{:.3}", prediction.low),
                    format!("{:.3}", prediction.high),
                ];
                let parts = predictor.breakdown(arch).map(|parts| {
                    [parts.embedding, parts.attention, parts.feed_forward, parts.normalisation]
                });
                row.extend((0..4).map(|part| {
                    parts.map_or("-".to_owned(), |parts| format!("{:.3}", parts[part]))
                }));
                row
            })
            .collect();
    let header = [
        "architecture",
        predictor.unit(),
        "low 90 %",
        "high 90 %",
        "embedding",
        "attention",
        "feed-forward",
        "LayerNorm",
    ];
    display::data(&display::table(&header, rows))?;
    Ok(())
}
