//! The predictor: how far can a prediction be trusted, and where does the time go?

use atb_plots::{Axis, Bar, Chart, Layer, Point, Shape, Tone};

use crate::document::{Panel, Plot};
use crate::figures::Figures;
use crate::texts::{ms, percent, signed_percent};

pub(crate) fn predictions(figures: &Figures) -> Option<Panel> {
    if figures.predictions.is_empty() {
        return None;
    }
    let name = |architecture: &str, predicted: f64, measured: f64| {
        format!(
            "{architecture}\n{} predicted, {} measured ({})",
            ms(predicted),
            ms(measured),
            signed_percent(predicted / measured - 1.0)
        )
    };
    let left_out = || figures.predictions.iter();
    let values = left_out().map(|it| {
        let name = name(&it.architecture, it.predicted_ms, it.measured_ms);
        Point::new(it.measured_ms, it.predicted_ms, name)
    });
    let errors = left_out().map(|it| {
        let name = name(&it.architecture, it.predicted_ms, it.measured_ms);
        Point::new(it.measured_ms, 100.0 * it.error(), name)
    });
    let finalists = || figures.finalists.iter();
    let finalist_values = finalists().map(|it| {
        let name = name(&it.architecture, it.predicted_ms, it.measured_ms);
        Point::new(it.measured_ms, it.predicted_ms, name).within(it.interval_ms.0, it.interval_ms.1)
    });
    let finalist_errors = finalists().map(|it| {
        let name = name(&it.architecture, it.predicted_ms, it.measured_ms);
        let error = |predicted: f64| 100.0 * (predicted / it.measured_ms - 1.0);
        Point::new(it.measured_ms, error(it.predicted_ms), name)
            .within(error(it.interval_ms.0), error(it.interval_ms.1))
    });
    let measured = left_out().map(|it| it.measured_ms).chain(finalists().map(|it| it.measured_ms));
    let (low, high) = measured.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let inside = finalists()
        .filter(|it| (it.interval_ms.0..=it.interval_ms.1).contains(&it.measured_ms))
        .count();
    let seen = "profiled, predicted without it";
    let named = "finalists, 90 % interval";
    Some(Panel {
        question: "How far can a prediction be trusted?".to_owned(),
        answer: format!(
            "Architectures that the predictor had not seen were off by {} on average, {:.0} % of \
             them by less than 10 %{}. Of {} finalists, measured after they were predicted, {inside} lie \
             in their interval of 90 %.",
            percent(figures.mape),
            100.0 * figures.within_10,
            figures.noise_floor.map_or(String::new(), |noise| format!(
                "; a measurement itself is off by {}",
                percent(noise)
            )),
            figures.finalists.len(),
        ),
        plots: vec![
            Plot {
                name: "predictions",
                height: 360,
                chart: Chart {
                    title: "Predicted against measured latency".to_owned(),
                    x: Axis::logarithmic("measured, ms"),
                    y: Axis::logarithmic("predicted, ms"),
                    layers: vec![
                        Layer::Line {
                            label: "equal".to_owned(),
                            tone: Tone::Quiet,
                            dashed: true,
                            points: vec![(low, low), (high, high)],
                        },
                        Layer::points(seen, Tone::First, Shape::Circle, values.collect()),
                        Layer::points(
                            named,
                            Tone::Second,
                            Shape::Diamond,
                            finalist_values.collect(),
                        ),
                    ],
                },
            },
            Plot {
                name: "errors",
                height: 300,
                chart: Chart {
                    title: "Error of the predictions by size".to_owned(),
                    x: Axis::logarithmic("measured, ms"),
                    y: Axis::linear("error, %"),
                    layers: vec![
                        Layer::Line {
                            label: String::new(),
                            tone: Tone::Quiet,
                            dashed: true,
                            points: vec![(low, 0.0), (high, 0.0)],
                        },
                        Layer::points(seen, Tone::First, Shape::Circle, errors.collect()),
                        Layer::points(
                            named,
                            Tone::Second,
                            Shape::Diamond,
                            finalist_errors.collect(),
                        ),
                    ],
                },
            },
        ],
    })
}

pub(crate) fn parts(figures: &Figures) -> Option<Panel> {
    let total: f64 = figures.parts.iter().map(|part| part.ms).sum();
    let largest = figures.parts.iter().max_by(|one, other| one.ms.total_cmp(&other.ms))?;
    let mut from = 0.0;
    let layers = figures.parts.iter().zip(Tone::SERIES).map(|(part, tone)| {
        let bar = Bar {
            x: (from, from + part.ms),
            y: (0.0, 1.0),
            name: format!("{}: {} ({})", part.name, ms(part.ms), percent(part.ms / total)),
        };
        from += part.ms;
        let label = format!("{} {}", part.name, ms(part.ms));
        Layer::Bars { label, tone, bars: vec![bar] }
    });
    Some(Panel {
        question: "Where do the milliseconds go?".to_owned(),
        answer: format!(
            "Most of the winner's time, {} of {}, goes into {}. This is what the predictor has \
             learnt from whole models; no part was timed on its own.",
            percent(largest.ms / total),
            ms(total),
            largest.name
        ),
        plots: vec![Plot {
            name: "parts",
            height: 150,
            chart: Chart {
                title: "The winner's predicted latency by part".to_owned(),
                x: Axis::from_zero("ms"),
                y: Axis::hidden(),
                layers: layers.collect(),
            },
        }],
    })
}
