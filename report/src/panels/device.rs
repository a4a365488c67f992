//! The device: did it keep its speed, and was it hot?

use atb_plots::{Axis, Chart, Layer, Point, Shape, Tone};

use crate::document::{Panel, Plot};
use crate::figures::{Figures, Moment};
use crate::texts::{ms, signed_percent};

pub(crate) fn drift(figures: &Figures) -> Option<Panel> {
    let middles: Vec<f64> = figures.moments.iter().map(|moment| moment.reference_ms.1).collect();
    let lowest = middles.iter().copied().reduce(f64::min)?;
    let highest = middles.iter().copied().reduce(f64::max)?;
    let moments = || figures.moments.iter();
    let point = |moment: &Moment| {
        let (low, middle, high) = moment.reference_ms;
        let flags = match moment.flags.is_empty() {
            true => String::new(),
            false => format!("\n{}", moment.flags.join(", ")),
        };
        let name = format!(
            "beside {}\n{} ({} to {}){flags}",
            moment.subject,
            ms(middle),
            ms(low),
            ms(high)
        );
        Point::new(moment.minutes, middle, name)
    };
    let flagged = moments().filter(|moment| !moment.flags.is_empty()).count();
    let unflagged = moments().filter(|moment| moment.flags.is_empty()).map(point).collect();
    let with_flags = moments().filter(|moment| !moment.flags.is_empty()).map(point).collect();
    let mut layers = vec![
        Layer::Band {
            tone: Tone::First,
            intervals: moments()
                .map(|moment| (moment.minutes, moment.reference_ms.0, moment.reference_ms.2))
                .collect(),
        },
        Layer::line(
            "reference",
            Tone::First,
            moments().map(|moment| (moment.minutes, moment.reference_ms.1)).collect(),
        ),
        Layer::points(
            "median, with tenth and ninetieth percentile",
            Tone::First,
            Shape::Dot,
            unflagged,
        ),
    ];
    if flagged > 0 {
        layers.push(Layer::points("flagged", Tone::Second, Shape::Triangle, with_flags));
    }
    Some(Panel {
        question: "Did the device keep its speed?".to_owned(),
        answer: format!(
            "The reference model, which runs beside every other, took {} to {} over the run, {}. \
             Ratios are not touched by that: both models of a pair ran at the same speed. {} of {} \
             measurements have a flag.",
            ms(lowest),
            ms(highest),
            signed_percent(highest / lowest - 1.0),
            flagged,
            figures.moments.len()
        ),
        plots: vec![Plot {
            name: "drift",
            height: 300,
            chart: Chart {
                title: "Run time of the reference model over the run".to_owned(),
                x: Axis::from_zero("minutes of measuring"),
                y: Axis::linear("ms"),
                layers,
            },
        }],
    })
}

pub(crate) fn sensors(figures: &Figures) -> Option<Panel> {
    let series = |of: &dyn Fn(&Moment) -> Option<f64>, unit: &str| -> Vec<Point> {
        figures
            .moments
            .iter()
            .filter_map(|moment| {
                let value = of(moment)?;
                let name = format!("after {}\n{value:.0} {unit}", moment.subject);
                Some(Point::new(moment.minutes, value, name))
            })
            .collect()
    };
    let sensors = [
        ("frequency", "Highest frequency of a core", "MHz", series(&|m| m.frequency_mhz, "MHz")),
        ("temperature", "Highest temperature", "°C", series(&|m| m.temperature_c, "°C")),
    ];
    let mut causes: Vec<&str> = Vec::new();
    for cause in figures.moments.iter().flat_map(|moment| &moment.throttled_by) {
        if !causes.contains(&cause.as_str()) {
            causes.push(cause);
        }
    }
    // What does not change is said, not drawn.
    let ends = |points: &[Point]| {
        let values = points.iter().map(|point| point.y);
        Some((values.clone().reduce(f64::min)?, values.reduce(f64::max)?))
    };
    let constant: Vec<String> = sensors
        .iter()
        .filter_map(|(name, _, unit, points)| {
            let (low, high) = ends(points)?;
            (high <= low * 1.01).then(|| format!("Its {name} stayed at {high:.0} {unit}."))
        })
        .collect();
    let plots: Vec<Plot> = sensors
        .into_iter()
        .filter(|(_, _, _, points)| ends(points).is_some_and(|(low, high)| high > low * 1.01))
        .map(|(name, title, unit, points)| Plot {
            name,
            height: 240,
            chart: Chart {
                title: format!("{title} after each measurement"),
                x: Axis::from_zero("minutes of measuring"),
                y: Axis::linear(unit),
                layers: vec![
                    Layer::line("", Tone::Fourth, points.iter().map(|it| (it.x, it.y)).collect()),
                    Layer::points("", Tone::Fourth, Shape::Dot, points),
                ],
            },
        })
        .collect();
    if plots.is_empty() && causes.is_empty() && constant.is_empty() {
        return None;
    }
    let mut answers = constant;
    answers.push(match causes.is_empty() {
        true => "The system did not say that it slowed the processor down.".to_owned(),
        false => format!("The system slowed the processor down: {}.", causes.join(", ")),
    });
    let question = "Was the device hot or throttled?".to_owned();
    Some(Panel { question, answer: answers.join(" "), plots })
}
