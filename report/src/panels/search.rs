//! The search: is there a better model, and would searching longer help?

use atb_plots::{Axis, Chart, Layer, Point, Shape, Tone};

use crate::document::{Panel, Plot};
use crate::figures::{Figures, Finalist};
use crate::texts::{loss, ms};

pub(crate) fn front(figures: &Figures) -> Option<Panel> {
    let winner = &figures.winner;
    if figures.evaluated.is_empty() {
        return None;
    }
    let evaluated = figures.evaluated.iter().map(|it| {
        let name = format!(
            "{}\nloss {}\n{} predicted",
            it.architecture,
            loss(it.loss),
            ms(it.predicted_ms)
        );
        Point::new(it.predicted_ms, it.loss, name)
    });
    let mut front: Vec<(f64, f64)> = figures
        .evaluated
        .iter()
        .filter(|it| it.on_front)
        .map(|it| (it.predicted_ms, it.loss))
        .collect();
    front.sort_by(|one, other| one.0.total_cmp(&other.0));
    let of_finalist = |it: &Finalist| {
        let name = format!(
            "{}\nloss {}\n{} measured, {} predicted",
            it.architecture,
            loss(it.loss),
            ms(it.measured_ms),
            ms(it.predicted_ms)
        );
        Point::new(it.measured_ms, it.loss, name)
    };
    let is_winner = |it: &&Finalist| it.architecture == winner.architecture;
    let (first, others): (Vec<_>, Vec<_>) = figures.finalists.iter().partition(is_winner);
    let equal = others.iter().filter(|it| !it.told_apart).count();
    let undecided = match (equal, others.len()) {
        (_, 0) => String::new(),
        (0, others) => format!(" All {others} other finalists have a higher loss, beyond chance."),
        (equal, others) => format!(
            " The text does not tell {equal} of the {others} other finalists apart from the \
             lowest loss; of those the fastest was taken."
        ),
    };
    Some(Panel {
        question: "Is there a better model at this latency?".to_owned(),
        answer: format!(
            "Of {} architectures in the band, {} were evaluated; {} has a loss of {}.{undecided}",
            figures.candidates,
            figures.evaluated.len(),
            winner.architecture,
            loss(winner.loss)
        ),
        plots: vec![Plot {
            name: "front",
            height: 380,
            chart: Chart {
                title: "Loss against latency; the line joins those that no other beats in both"
                    .to_owned(),
                x: Axis::linear("latency, ms"),
                y: Axis::linear("loss, lower is better"),
                layers: vec![
                    Layer::Span { label: "budget".to_owned(), from_to: winner.band_ms },
                    Layer::points(
                        "evaluated, as predicted",
                        Tone::Quiet,
                        Shape::Dot,
                        evaluated.collect(),
                    ),
                    Layer::line("", Tone::First, front),
                    Layer::points(
                        "finalists, as measured",
                        Tone::Third,
                        Shape::Diamond,
                        others.into_iter().map(of_finalist).collect(),
                    ),
                    Layer::points(
                        "winner, as measured",
                        Tone::Second,
                        Shape::Star,
                        first.into_iter().map(of_finalist).collect(),
                    ),
                ],
            },
        }],
    })
}

pub(crate) fn search(figures: &Figures) -> Option<Panel> {
    let losses: Vec<f64> = figures.evaluated.iter().map(|it| it.loss).collect();
    let mut lowest = f64::INFINITY;
    let mut steps = Vec::new();
    let mut last_gain = 0;
    for (index, value) in losses.iter().enumerate() {
        if *value < lowest {
            if index > 0 {
                steps.push((index as f64 + 1.0, lowest));
            }
            (lowest, last_gain) = (*value, index + 1);
        }
        steps.push((index as f64 + 1.0, lowest));
    }
    if losses.len() < 2 {
        return None;
    }
    let points = figures.evaluated.iter().enumerate().map(|(index, it)| {
        let name = format!("{}. {}\nloss {}", index + 1, it.architecture, loss(it.loss));
        Point::new(index as f64 + 1.0, it.loss, name)
    });
    let rest = losses.len() - last_gain;
    Some(Panel {
        question: "Would searching longer help?".to_owned(),
        answer: format!(
            "The lowest loss was found by evaluation {last_gain} of {}; {}.",
            losses.len(),
            match rest {
                0 => "the last one, so a longer search may well find better ones".to_owned(),
                rest => format!("the {rest} after it found none"),
            }
        ),
        plots: vec![Plot {
            name: "search",
            height: 300,
            chart: Chart {
                title: "Loss of each evaluation, and the lowest so far".to_owned(),
                x: Axis::linear("evaluation"),
                y: Axis::linear("loss"),
                layers: vec![
                    Layer::points("evaluated", Tone::Quiet, Shape::Dot, points.collect()),
                    Layer::line("lowest", Tone::First, steps),
                ],
            },
        }],
    })
}
