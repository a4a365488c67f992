//! Trainings: did they come to an end?

use atb_plots::{Axis, Chart, Layer, Point, Shape, Tone};

use crate::document::{Panel, Plot};
use crate::figures::{Curve, Figures, Training};
use crate::texts::{loss, percent};

/// Names of the plots' files; more trainings than these are not drawn.
const NAMES: [(&str, &str); 4] = [
    ("training-1", "held-out-1"),
    ("training-2", "held-out-2"),
    ("training-3", "held-out-3"),
    ("training-4", "held-out-4"),
];

pub(crate) fn training(figures: &Figures) -> Option<Panel> {
    let drawn = || figures.trainings.iter().zip(NAMES);
    if figures.trainings.is_empty() {
        return None;
    }
    let answers: Vec<String> = drawn().map(|(training, _)| answer(training)).collect();
    let plots = drawn()
        .flat_map(|(training, (steps, held_out))| {
            [of_steps(training, steps), of_held_out(training, held_out)]
        })
        .flatten()
        .collect();
    Some(Panel {
        question: "Would training longer help?".to_owned(),
        answer: answers.join(" "),
        plots,
    })
}

/// What the last fifth of the steps brought.
fn answer(training: &Training) -> String {
    let Training { name, steps, .. } = training;
    let fifth = steps.len() / 5;
    let mean = |part: &[(u64, f64)]| {
        part.iter().map(|(_, loss)| loss).sum::<f64>() / part.len().max(1) as f64
    };
    if fifth == 0 {
        return format!("{name} is too short to tell.");
    }
    let last = mean(&steps[steps.len() - fifth..]);
    let before = mean(&steps[steps.len() - 2 * fifth..steps.len() - fifth]);
    let change = last / before - 1.0;
    let verdict = match change {
        change if change < -0.02 => "it was still falling, so more steps would help",
        change if change > 0.02 => "it was rising",
        _ => "it had come to rest",
    };
    format!(
        "{name}: over the last fifth of its steps the loss was {} of that over the fifth before; \
         {verdict}.",
        percent(last / before)
    )
}

fn of_steps(training: &Training, name: &'static str) -> Option<Plot> {
    let points = &training.steps;
    (points.len() > 1).then(|| Plot {
        name,
        height: 280,
        chart: Chart {
            title: format!("{}: loss of the steps", training.name),
            x: Axis::from_zero("steps"),
            y: Axis::linear("loss, lower is better"),
            layers: vec![
                Layer::line(
                    "",
                    Tone::First,
                    points.iter().map(|&(step, value)| (step as f64, value)).collect(),
                ),
                Layer::points(
                    "mean of the sub-models",
                    Tone::First,
                    Shape::Dot,
                    points
                        .iter()
                        .map(|&(step, value)| {
                            let name = format!("step {step}\nloss {}", loss(value));
                            Point::new(step as f64, value, name)
                        })
                        .collect(),
                ),
            ],
        },
    })
}

fn of_held_out(training: &Training, name: &'static str) -> Option<Plot> {
    let curves: Vec<&Curve> =
        training.held_out.iter().filter(|curve| curve.points.len() > 1).collect();
    let first = curves.first()?;
    let looks = Tone::SERIES.into_iter().cycle();
    let layers = curves.iter().zip(looks).flat_map(|(curve, tone)| {
        let points = curve
            .points
            .iter()
            .map(|&(step, value)| {
                let name = format!("{}\nafter step {step}\n{}", curve.name, loss(value));
                Point::new(step as f64, value, name)
            })
            .collect();
        let line = curve.points.iter().map(|&(step, value)| (step as f64, value)).collect();
        [
            Layer::line(curve.name.clone(), tone, line),
            Layer::points("", tone, Shape::Circle, points),
        ]
    });
    Some(Plot {
        name,
        height: 320,
        chart: Chart {
            title: format!("{}: what was held out", training.name),
            x: Axis::from_zero("steps"),
            y: Axis::linear(match first.higher_is_better {
                true => "score, higher is better",
                false => "loss, lower is better",
            }),
            layers: layers.collect(),
        },
    })
}
