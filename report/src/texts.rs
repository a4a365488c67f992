//! Figures as text, the same in plots, page and Markdown.

use crate::Figures;

/// Milliseconds with three significant digits or more.
pub(crate) fn ms(value: f64) -> String {
    format!("{} ms", significant(value))
}

/// A number with three significant digits, or all before its point.
pub(crate) fn significant(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// A share as per cent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// A signed share as per cent.
pub(crate) fn signed_percent(share: f64) -> String {
    format!("{:+.1} %", 100.0 * share)
}

/// A loss.
pub(crate) fn loss(value: f64) -> String {
    format!("{value:.4}")
}

/// A size of a file.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

/// An architecture in words, for those who do not know the notation.
pub(crate) fn in_words(architecture: &str) -> Option<String> {
    let architecture: atb_space::Architecture = architecture.parse().ok()?;
    let layers = architecture.layers();
    let first = layers.first()?;
    if layers.iter().any(|layer| layer != first) {
        return None;
    }
    Some(format!(
        "{} layers, hidden size {}, intermediate size {}, {} attention heads, q|k|v size {}",
        layers.len(),
        architecture.hidden(),
        first.intermediate,
        first.heads,
        first.qkv
    ))
}

/// The baseline's name.
pub(crate) fn baseline(figures: &Figures) -> &str {
    match figures.winner.baseline == atb_space::Architecture::bert_base().id() {
        true => "BERT-base",
        false => &figures.winner.baseline,
    }
}

/// The main figures, each with what it is and what to know of it.
pub(crate) fn cards(figures: &Figures) -> Vec<(String, String, String)> {
    let winner = &figures.winner;
    let card = |value: String, what: &str, note: String| (value, what.to_owned(), note);
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
        cards[4].2 = "cross-validated".to_owned();
    }
    cards
}

/// The verdict on the measurements, in a sentence.
pub(crate) fn verdict(figures: &Figures) -> String {
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
