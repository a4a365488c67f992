//! Results of other commands that lie beside a run's files: a training's folder, and what `atb
//! evaluate` and `atb export --variants` printed as JSON.

use std::collections::BTreeMap;
use std::path::Path;

use atb_files::JsonLines;
use atb_superplm::MetricsLine;
use serde::Deserialize;

use crate::ReportError;
use crate::figures::{Curve, TaskScore, Training, Variant};

/// Points of a curve: more are not told apart on a screen.
const POINTS: usize = 200;

/// The training in `folder`, none if it holds no `metrics.jsonl`.
pub(crate) fn training_in(folder: &Path) -> Result<Vec<Training>, ReportError> {
    match folder.join("metrics.jsonl").is_file() {
        true => Ok(vec![training(folder)?]),
        false => Ok(Vec::new()),
    }
}

/// The training in `folder`.
pub(crate) fn training(folder: &Path) -> Result<Training, ReportError> {
    let lines = JsonLines::read(&folder.join("metrics.jsonl"))?;
    let mut steps = Vec::new();
    let mut held_out: BTreeMap<String, Curve> = BTreeMap::new();
    let mut put = |name: String, higher_is_better, step, value| {
        let curve = Curve { name: name.clone(), higher_is_better, points: Vec::new() };
        held_out.entry(name).or_insert(curve).points.push((step, value));
    };
    for line in lines.lines() {
        match line.parse("a line of a training's metrics")? {
            MetricsLine::Step { step, losses, .. } => {
                let sum: f64 = losses.iter().map(|(_, loss)| loss).sum();
                steps.push((step, sum / losses.len().max(1) as f64));
            }
            MetricsLine::Validation { step, losses } => {
                for (arch, loss) in losses {
                    put(arch.id(), false, step, loss);
                }
            }
            MetricsLine::HeldOut { step, metric, score: Some(score) } => {
                put(metric, true, step, score);
            }
            MetricsLine::HeldOut { .. } | MetricsLine::Header { .. } => {}
        }
    }
    Ok(Training {
        name: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        steps: thinned(&steps),
        held_out: held_out.into_values().collect(),
    })
}

/// Means over as many steps each as leave at most [`POINTS`] of them.
fn thinned(steps: &[(u64, f64)]) -> Vec<(u64, f64)> {
    let each = steps.len().div_ceil(POINTS).max(1);
    let mean = |steps: &[(u64, f64)]| {
        let sum: f64 = steps.iter().map(|(_, loss)| loss).sum();
        steps.last().map(|(step, _)| (*step, sum / steps.len() as f64))
    };
    steps.chunks(each).filter_map(mean).collect()
}

/// Of what `atb evaluate --format json` prints, what is shown.
#[derive(Deserialize)]
struct Evaluated {
    results: Vec<OfModel>,
}

#[derive(Deserialize)]
struct OfModel {
    task: String,
    split: String,
    model: String,
    scores: Vec<Score>,
}

#[derive(Deserialize)]
struct Score {
    metric: String,
    value: Option<f64>,
    interval: Option<Interval>,
}

#[derive(Deserialize)]
struct Interval {
    low: f64,
    high: f64,
}

/// The scores in the file `path`, none if there is no file.
pub(crate) fn scores(path: &Path) -> Result<Vec<TaskScore>, ReportError> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let Evaluated { results } = atb_files::read_json(path, 1)?;
    let all = results.into_iter().flat_map(|OfModel { task, split, model, scores }| {
        scores.into_iter().map(move |score| TaskScore {
            task: task.clone(),
            split: split.clone(),
            model: model.clone(),
            metric: score.metric,
            value: score.value,
            interval: score.interval.map(|interval| (interval.low, interval.high)),
        })
    });
    Ok(all.collect())
}

/// Of what `atb export --variants all --format json` prints, what is shown.
#[derive(Deserialize)]
struct Exported {
    variants: Option<Variants>,
}

#[derive(Deserialize)]
struct Variants {
    variants: Vec<Variant>,
}

/// The variants in the file `path`, none if there is no file.
pub(crate) fn variants(path: &Path) -> Result<Vec<Variant>, ReportError> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let Exported { variants } = atb_files::read_json(path, 1)?;
    Ok(variants.map_or_else(Vec::new, |all| all.variants))
}
