//! What is told of a run as a table.

use crate::document::Table;
use crate::figures::Figures;
use crate::texts::{self, loss, megabytes, ms, percent, signed_percent};

/// All tables of `figures`.
pub(crate) fn all(figures: &Figures) -> Vec<Table> {
    [finalists(figures), scores(figures), cost(figures), bundle(figures), Some(device(figures))]
        .into_iter()
        .flatten()
        .collect()
}

fn finalists(figures: &Figures) -> Option<Table> {
    let rows: Vec<Vec<String>> = figures
        .finalists
        .iter()
        .map(|it| {
            vec![
                it.architecture.clone(),
                loss(it.loss),
                format!("{:+.4}{}", it.above_lowest, if it.told_apart { "" } else { " (equal)" }),
                ms(it.predicted_ms),
                ms(it.measured_ms),
                signed_percent(it.measured_ms / it.predicted_ms - 1.0),
            ]
        })
        .collect();
    (!rows.is_empty()).then_some(Table {
        question: "Which were the finalists?".to_owned(),
        answer: "The winner comes first. Losses that the held-out text does not tell apart from \
                 the lowest are marked as equal; of equal ones the fastest wins."
            .to_owned(),
        header: header(&[
            "architecture",
            "loss",
            "above the lowest",
            "predicted",
            "measured",
            "off by",
        ]),
        rows,
        is_text: false,
    })
}

fn scores(figures: &Figures) -> Option<Table> {
    let rows: Vec<Vec<String>> = figures
        .scores
        .iter()
        .map(|it| {
            let number = |value: f64| format!("{:.2}", 100.0 * value);
            vec![
                format!("{} {}", it.task, it.split),
                it.model.clone(),
                it.metric.clone(),
                it.value.map_or_else(|| "not defined".to_owned(), number),
                it.interval.map_or_else(
                    || "unknown".to_owned(),
                    |(low, high)| format!("{} to {}", number(low), number(high)),
                ),
            ]
        })
        .collect();
    (!rows.is_empty()).then_some(Table {
        question: "What does it score on tasks?".to_owned(),
        answer: "In per cent, with the interval that a score lies in if the examples are drawn \
                 again. Models whose intervals overlap may still be told apart by the differences \
                 that atb evaluate gives beside a baseline."
            .to_owned(),
        header: header(&["task", "model", "metric", "score", "interval"]),
        rows,
        is_text: false,
    })
}

fn cost(figures: &Figures) -> Option<Table> {
    let rows: Vec<Vec<String>> = figures
        .runs
        .iter()
        .map(|runs| {
            let or_unknown = |value: Option<f64>| value.map_or_else(|| "unknown".to_owned(), ms);
            let (half, most, nearly_all) = runs.percentiles_ms;
            let name = match runs.model.as_str() {
                "winner" => figures.winner.architecture.clone(),
                other if other == figures.winner.baseline => texts::baseline(figures).to_owned(),
                other => other.to_owned(),
            };
            vec![
                name,
                ms(half),
                ms(most),
                ms(nearly_all),
                or_unknown(runs.load_ms),
                or_unknown(runs.first_ms),
                runs.memory_kib.map_or_else(
                    || "unknown".to_owned(),
                    |kib| format!("{:.0} MiB", kib as f64 / 1024.0),
                ),
            ]
        })
        .collect();
    (!rows.is_empty()).then_some(Table {
        question: "What does it cost in the app?".to_owned(),
        answer: "Run times by the wall clock, time to load, the first run after it, and memory at \
                 its peak, on this device."
            .to_owned(),
        header: header(&["model", "p50", "p90", "p99", "load", "first run", "memory"]),
        rows,
        is_text: false,
    })
}

fn bundle(figures: &Figures) -> Option<Table> {
    let total: u64 = figures.bundle.iter().map(|part| part.bytes).sum();
    let rows: Vec<Vec<String>> = figures
        .bundle
        .iter()
        .map(|part| {
            let share = percent(part.bytes as f64 / total.max(1) as f64);
            vec![part.name.clone(), megabytes(part.bytes), share]
        })
        .collect();
    (!rows.is_empty()).then_some(Table {
        question: "What is in the bundle?".to_owned(),
        answer: String::new(),
        header: header(&["file", "size", "share"]),
        rows,
        is_text: false,
    })
}

fn device(figures: &Figures) -> Table {
    Table {
        question: "What was it measured on?".to_owned(),
        answer: String::new(),
        header: header(&["", ""]),
        rows: figures
            .device
            .iter()
            .map(|(name, value)| vec![name.clone(), value.clone()])
            .collect(),
        is_text: true,
    }
}

fn header(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
