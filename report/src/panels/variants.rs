//! The variants of the exported file: which is worth shipping?

use atb_plots::{Axis, Chart, Layer, Point, Shape, Tone};

use crate::document::{Panel, Plot};
use crate::figures::{Figures, Variant};
use crate::texts::{megabytes, ms};

/// Shapes that tell variants apart where colours do not.
const SHAPES: [Shape; 5] =
    [Shape::Circle, Shape::Diamond, Shape::Square, Shape::Triangle, Shape::Star];

pub(crate) fn variants(figures: &Figures) -> Option<Panel> {
    let all = &figures.variants;
    if all.is_empty() {
        return None;
    }
    let point = |it: &Variant| {
        let score = it.score.map_or_else(String::new, |score| format!("\nscore {score:.4}"));
        let name = format!(
            "{}\n{}, {}\ndifference {:.4}{score}",
            it.name,
            megabytes(it.bytes),
            ms(it.latency_ms),
            it.difference
        );
        Point::new(it.bytes as f64 / 1e6, it.latency_ms, name)
    };
    let looks = Tone::SERIES.into_iter().zip(SHAPES).cycle();
    let layer = |(it, (tone, shape)): (&Variant, _)| {
        Layer::points(it.name.clone(), tone, shape, vec![point(it)])
    };
    let worth: Vec<&str> =
        all.iter().filter(|it| it.worth_having).map(|it| it.name.as_str()).collect();
    Some(Panel {
        question: "Which variant is worth shipping?".to_owned(),
        answer: match worth.as_slice() {
            [one] => format!("Only {one}: it is as good as every other in everything."),
            several => format!(
                "{}: none of them is beaten in size, latency, memory and what it gives at once.",
                several.join(", ")
            ),
        },
        plots: vec![Plot {
            name: "variants",
            height: 320,
            chart: Chart {
                title: "Latency against size of the variants".to_owned(),
                x: Axis::from_zero("bundle, MB"),
                y: Axis::from_zero("latency, ms"),
                layers: all.iter().zip(looks).map(layer).collect(),
            },
        }],
    })
}
