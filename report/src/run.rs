//! The report of a run.

use crate::document::{Card, Document, Verdict};
use crate::figures::Figures;
use crate::panels::panels;
use crate::tables;
use crate::texts::{baseline, in_words, loss, megabytes, ms, percent};

/// The report of the run that `figures` are of.
#[must_use]
pub fn of_run(figures: &Figures) -> Document {
    let winner = &figures.winner;
    let trust = &figures.trust;
    let mut lines = vec![verdict(figures)];
    lines.extend(trust.objections.iter().cloned());
    let mut verdicts = vec![Verdict { good: trust.trustworthy, lines, notes: trust.notes.clone() }];
    if !figures.warnings.is_empty() {
        verdicts.push(Verdict { good: false, lines: figures.warnings.clone(), notes: Vec::new() });
    }
    let words =
        in_words(&winner.architecture).map_or_else(String::new, |words| format!("{words}. "));
    Document {
        about: format!(
            "Tiny BERT for {}, batch {}, sequence length {}",
            figures.target, figures.batch, figures.sequence
        ),
        title: winner.architecture.clone(),
        description: format!("{words}Weights: {}.", winner.weights),
        cards: cards(figures),
        verdicts,
        panels: panels(figures),
        tables: tables::all(figures),
        version: figures.version.clone(),
    }
}

/// The main figures.
fn cards(figures: &Figures) -> Vec<Card> {
    let winner = &figures.winner;
    let card =
        |value: String, what: &str, note: String| Card { value, what: what.to_owned(), note };
    let bytes: u64 = figures.bundle.iter().map(|part| part.bytes).sum();
    let mut cards = vec![
        card(
            ms(winner.measured_ms),
            "measured latency",
            format!(
                "{} the band of {} to {}",
                if winner.in_band { "in" } else { "outside" },
                ms(winner.band_ms.0),
                ms(winner.band_ms.1)
            ),
        ),
        card(
            format!("{:.1} times", winner.speedup),
            &format!("faster than {}", baseline(figures)),
            format!("which takes {} here", ms(winner.baseline_ms)),
        ),
        card(
            loss(winner.loss),
            "loss on held-out text",
            match figures.static_table_loss {
                Some(table) => {
                    format!("a static table of word embeddings, without a layer: {}", loss(table))
                }
                None => format!("the lowest of {}", figures.evaluated.len()),
            },
        ),
        card(
            megabytes(bytes),
            "in the app",
            format!(
                "{:.1} million parameters, {}",
                winner.parameters as f64 / 1e6,
                winner.precision
            ),
        ),
        card(
            percent(figures.mape),
            "error of the predictor",
            format!("on {} architectures it had not seen", figures.predictions.len()),
        ),
        card(
            format!("{:.1e}", figures.parity),
            "largest difference of outputs",
            format!("between {}", figures.parity_engines),
        ),
    ];
    if figures.predictions.is_empty() {
        cards[4].note = "cross-validated".to_owned();
    }
    cards
}

/// The verdict on the measurements, in a sentence.
fn verdict(figures: &Figures) -> String {
    let trust = &figures.trust;
    match (trust.trustworthy, trust.difference) {
        (true, Some(difference)) => format!(
            "The measurements can be trusted: {} architectures measured again differ by {} on \
             average.",
            trust.repeated,
            percent(difference)
        ),
        (true, None) => "Nothing speaks against the measurements.".to_owned(),
        (false, _) => "The measurements cannot be trusted.".to_owned(),
    }
}
