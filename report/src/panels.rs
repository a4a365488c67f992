//! What is asked of a run, the answers, and the plots that show them.

use atb_plots::{Axis, Bar, Chart, Layer, Point, Shape, Tone};

use crate::document::{Panel, Plot};
use crate::figures::{Figures, Finalist, Runs};
use crate::texts::{loss, ms, percent, signed_percent, significant};

/// The questions that the figures of a run answer.
pub(crate) fn panels(figures: &Figures) -> Vec<Panel> {
    [
        front(figures),
        search(figures),
        predictions(figures),
        parts(figures),
        runs(figures),
        drift(figures),
        sensors(figures),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn front(figures: &Figures) -> Option<Panel> {
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

fn search(figures: &Figures) -> Option<Panel> {
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

fn predictions(figures: &Figures) -> Option<Panel> {
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

fn parts(figures: &Figures) -> Option<Panel> {
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

fn runs(figures: &Figures) -> Option<Panel> {
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

fn drift(figures: &Figures) -> Option<Panel> {
    let middles: Vec<f64> = figures.moments.iter().map(|moment| moment.reference_ms.1).collect();
    let lowest = middles.iter().copied().reduce(f64::min)?;
    let highest = middles.iter().copied().reduce(f64::max)?;
    let moments = || figures.moments.iter();
    let point = |moment: &crate::Moment| {
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

fn sensors(figures: &Figures) -> Option<Panel> {
    let series = |of: &dyn Fn(&crate::Moment) -> Option<f64>, unit: &str| -> Vec<Point> {
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
