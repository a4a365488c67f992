//! The exported file: how long does one answer take?

use atb_plots::{Axis, Bar, Chart, Layer, Tone};

use crate::document::{Panel, Plot};
use crate::figures::{Figures, Runs};
use crate::texts::{ms, significant};

pub(crate) fn runs(figures: &Figures) -> Option<Panel> {
    let winner = figures.runs.iter().find(|runs| runs.model == "winner")?;
    let (half, most, nearly_all) = winner.percentiles_ms;
    let bars = histogram(winner)?;
    let highest = bars.iter().map(|bar| bar.y.1).fold(0.0, f64::max);
    let rule = |at: f64, name: &str, tone: Tone| Layer::Line {
        label: format!("{name} {}", significant(at)),
        tone,
        dashed: true,
        points: vec![(at, 0.0), (at, highest)],
    };
    // Names lie at the upper ends of their lines, each a step lower than the one before it.
    let lines = [
        (half, "p50", Tone::Second),
        (most, "p90", Tone::Fourth),
        (nearly_all, "p99", Tone::Fifth),
    ];
    let mut layers = vec![Layer::Bars {
        label: format!("{} runs", winner.samples_ms.len()),
        tone: Tone::First,
        bars,
    }];
    layers.extend(lines.map(|(at, name, tone)| rule(at, name, tone)));
    Some(Panel {
        question: "How long does one answer take?".to_owned(),
        answer: format!(
            "Half of the winner's runs took up to {} by the wall clock, nine of ten up to {}, and \
             99 of 100 up to {}. These are times of a full input of {} tokens; shorter texts take \
             less.",
            ms(half),
            ms(most),
            ms(nearly_all),
            figures.sequence
        ),
        plots: vec![Plot {
            name: "runs",
            height: 280,
            chart: Chart {
                title: "Run times of the exported file".to_owned(),
                x: Axis::linear("ms"),
                y: Axis::from_zero("runs"),
                layers,
            },
        }],
    })
}

/// How many of the runs took how long; the slowest 1 % are in the last bar.
fn histogram(runs: &Runs) -> Option<Vec<Bar>> {
    let low = runs.samples_ms.iter().copied().reduce(f64::min)?;
    let high = runs.percentiles_ms.2.max(low * 1.001);
    let count = ((runs.samples_ms.len() as f64).sqrt().ceil() as usize).clamp(5, 30);
    let width = (high - low) / count as f64;
    let mut counts = vec![0_u32; count];
    for sample in &runs.samples_ms {
        let index = ((sample - low) / width).floor() as usize;
        counts[index.min(count - 1)] += 1;
    }
    let bars = counts.into_iter().enumerate().filter(|(_, runs)| *runs > 0).map(|(index, runs)| {
        let from = low + index as f64 * width;
        let or_more = if index + 1 == count { " or more" } else { "" };
        Bar {
            x: (from, from + width),
            y: (0.0, f64::from(runs)),
            name: format!("{runs} runs of {} to {}{or_more}", ms(from), ms(from + width)),
        }
    });
    Some(bars.collect())
}
