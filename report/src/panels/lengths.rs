//! The length of the text: what does a shorter one cost?

use atb_plots::{Axis, Chart, Layer, Point, Shape, Tone};

use crate::document::{Panel, Plot};
use crate::figures::Figures;
use crate::texts::{ms, percent};

pub(crate) fn lengths(figures: &Figures) -> Option<Panel> {
    let shortest = figures.lengths.first()?;
    let winner = &figures.winner;
    let samples = figures.lengths.iter().flat_map(|it| {
        let tokens = it.tokens;
        it.samples_ms.iter().map(move |sample| {
            Point::new(tokens as f64, *sample, format!("{tokens} tokens\none run: {}", ms(*sample)))
        })
    });
    let mut latencies: Vec<(usize, f64)> =
        figures.lengths.iter().map(|it| (it.tokens, it.latency_ms)).collect();
    latencies.push((figures.sequence, winner.measured_ms));
    let points = latencies
        .iter()
        .map(|&(tokens, latency)| {
            Point::new(tokens as f64, latency, format!("{tokens} tokens\n{}", ms(latency)))
        })
        .collect();
    let line = latencies.iter().map(|&(tokens, latency)| (tokens as f64, latency)).collect();
    Some(Panel {
        question: "What does a shorter text cost?".to_owned(),
        answer: format!(
            "With {} tokens the winner takes {}, {} of what {} take. Each was measured with an input \
             of its length; the engine does not compute padding, so that in a longer file a text \
             takes about as long.",
            shortest.tokens,
            ms(shortest.latency_ms),
            percent(shortest.latency_ms / winner.measured_ms),
            figures.sequence
        ),
        plots: vec![Plot {
            name: "lengths",
            height: 320,
            chart: Chart {
                title: "Latency by length of text, and each run behind it".to_owned(),
                x: Axis::from_zero("tokens"),
                y: Axis::from_zero("latency, ms"),
                layers: vec![
                    Layer::points("one run", Tone::Quiet, Shape::Dot, samples.collect()),
                    Layer::line("", Tone::First, line),
                    Layer::points("latency", Tone::First, Shape::Circle, points),
                ],
            },
        }],
    })
}
