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
