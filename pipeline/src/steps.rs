//! The steps of the main job, each a function over files.

use std::path::Path;

use atb_export::{Bundle, OnnxRuntime, Parity, TOLERANCE, verify};
use atb_measurements::{MeasurementFile, Protocol, Record, Role, Statistics, Subject, median};
use atb_predictor::design::choose;
use atb_predictor::{FitSettings, Kind, Observations, Predictor};
use atb_profiler::{Item, Observer, Plan, profile};
use atb_search::{Budget, Candidates, Evaluated, Outcome, Settings, Store, search};
use atb_space::{Architecture, Sampler, Space, Workload};
use atb_superplm::{KdFitness, SuperPlm};
use atb_targets::Target;
use atb_text::{Corpus, Encoded, HELD_OUT};
use serde::{Deserialize, Serialize};

use crate::config::Aim;
use crate::{BudgetConfig, FitnessConfig, PipelineError, ProfileConfig, Reporter, Sampling};

/// Passes what the profiler does on to a reporter.
struct Progress<'a>(&'a mut dyn Reporter);

impl Observer for Progress<'_> {
    fn ready(&mut self, _: &atb_measurements::Header, done: usize, total: usize) {
        self.0.begin(done as u64, total as u64);
    }

    fn begin(&mut self, _: &Item) {}

    fn measured(&mut self, record: &Record, statistics: &Statistics) {
        let flags: Vec<String> = record.flags.iter().map(|flag| format!("{flag:?}")).collect();
        self.0.advance(&format!(
            "{} {:.2} ms \u{b1}{:.1} % {}",
            record.subject,
            statistics.median_us / 1e3,
            100.0 * statistics.ratio_half_width,
            flags.join(" ").to_lowercase()
        ));
    }
}

/// Measures architectures of `space` on `target` into `file`, or what is missing there.
///
/// # Errors
/// [`PipelineError`]; what was measured until then is in the file.
pub fn profile_space(
    target: &Target,
    space: &Space,
    settings: &ProfileConfig,
    protocol: &Protocol,
    file: &Path,
    reporter: &mut dyn Reporter,
) -> Result<MeasurementFile, PipelineError> {
    space.validate()?;
    let &ProfileConfig { samples, retests, seed, sampling } = settings;
    let plan = match sampling {
        Sampling::Designed => {
            let chosen = choose(space, protocol.workload, samples, seed, &[]);
            Plan::new(chosen.into_iter(), samples, retests, seed)
        }
        Sampling::Uniform => Plan::new(Sampler::new(space, seed), samples, retests, seed),
    };
    let measured = profile(target, protocol, &plan, file, &mut Progress(reporter))?;
    reporter.end();
    Ok(measured)
}

/// Fits a predictor of the given kind for `space` to measurement files and writes it to
/// `file`.
///
/// # Errors
/// [`PipelineError`] if the measurements do not suffice.
pub fn fit(
    measurements: &[MeasurementFile],
    space: &Space,
    kind: Kind,
    file: &Path,
    reporter: &mut dyn Reporter,
) -> Result<Predictor, PipelineError> {
    for measured in measurements {
        if let Some(torn) = &measured.torn {
            reporter.warn(&format!(
                "{}: line {} is incomplete and was left out; the measurement was interrupted there",
                measured.path.display(),
                torn.line
            ));
        }
    }
    let observations = Observations::from_files(measurements)?;
    let predictor = Predictor::fit(&observations, space, &FitSettings { kind, seed: 0 })?;
    if let Some(first) = predictor.left_out.first() {
        reporter.warn(&format!(
            "{} measured architectures are not in the space and were left out, the first because {}",
            predictor.left_out.len(),
            first.reason
        ));
    }
    predictor.save(file)?;
    Ok(predictor)
}

/// The budget that `config` asks for on the predictor's device.
///
/// # Errors
/// [`PipelineError`] if it makes no sense or asks for a speed-up and BERT-base was not
/// measured.
pub fn budget(config: &BudgetConfig, predictor: &Predictor) -> Result<Budget, PipelineError> {
    let target_ms = match config.aim()? {
        Aim::Milliseconds(latency_ms) => latency_ms,
        Aim::Speedup(speedup) => {
            Budget::speedup_ms(predictor, &Architecture::bert_base(), speedup)?
        }
    };
    Ok(config.at(target_ms))
}

/// The held-out text of `config` as token ids.
///
/// # Errors
/// [`PipelineError::Text`] naming file and line.
pub fn held_out(config: &FitnessConfig, plm: &SuperPlm) -> Result<Encoded, PipelineError> {
    let mut texts = Vec::new();
    let mut take = |paragraph: Result<atb_text::Paragraph, atb_text::TextError>| {
        texts.push(paragraph?.text);
        Ok::<(), PipelineError>(())
    };
    match &config.text {
        Some(path) => Corpus::open(path)?.take(config.paragraphs).try_for_each(&mut take)?,
        None => Corpus::new("built-in text", HELD_OUT.as_bytes())
            .take(config.paragraphs)
            .try_for_each(&mut take)?,
    }
    Ok(plm.tokenizer().encode_batch(texts.iter().map(String::as_str), config.sequence)?)
}

/// Searches `space` under `budget` for the sub-architecture of the SuperPLM with the lowest
/// KD loss against the whole. Evaluations are kept in `store` and never repeated.
///
/// # Errors
/// [`PipelineError`]; in particular if no architecture meets the budget.
pub fn search_space(
    space: &Space,
    predictor: &Predictor,
    budget: &Budget,
    settings: &Settings,
    fitness: &KdFitness<'_>,
    store: &Path,
    reporter: &mut dyn Reporter,
) -> Result<Outcome, PipelineError> {
    let candidates = Candidates::scan(space, predictor, budget)?;
    reporter.result(&format!(
        "{} of {} architectures are predicted at {:.2} to {:.2} ms",
        candidates.len(),
        candidates.scanned(),
        budget.low_ms(),
        budget.high_ms()
    ));
    let mut store = Store::open(store, fitness)?;
    let mut begun = false;
    let outcome = search(&candidates, fitness, &mut store, settings, &mut |progress| {
        if !begun {
            reporter.begin(0, progress.planned as u64);
            begun = true;
        }
        let best = progress.best;
        reporter.advance(&format!("best {} with loss {:.4}", best.arch, best.fitness));
    })?;
    reporter.end();
    Ok(outcome)
}

/// One of the best of a search, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finalist {
    /// The architecture.
    pub arch: Architecture,
    /// Its loss in the search.
    pub loss: f64,
    /// Its latency as predicted before it was measured, in milliseconds.
    pub predicted_ms: f64,
    /// The prediction's interval of 90 %, in milliseconds.
    pub interval_ms: (f64, f64),
    /// Its measured latency, in milliseconds on the predictor's scale.
    pub measured_ms: f64,
    /// Whether the measured latency lies in the budget's band.
    pub in_band: bool,
}

/// Measures the `count` best of a search on `target` into `file`, and says which one to
/// take: the one of the lowest loss whose measured latency lies in the band, else the one
/// nearest to the band. It comes first; the others follow in the order of their loss.
///
/// # Errors
/// [`PipelineError`]; what was measured until then is in the file.
pub fn measure_finalists(
    target: &Target,
    outcome: &Outcome,
    count: usize,
    predictor: &Predictor,
    budget: &Budget,
    file: &Path,
    reporter: &mut dyn Reporter,
) -> Result<Vec<Finalist>, PipelineError> {
    let source = predictor.sources.first().ok_or_else(|| PipelineError::Setting {
        key: "the predictor's sources",
        value: "empty".to_owned(),
        expected: "the measurements it was fitted on",
    })?;
    let best: Vec<&Evaluated> = outcome.ranking.iter().take(count.max(1)).collect();
    let items = best
        .iter()
        .map(|found| Item {
            subject: Subject::Architecture(found.arch.clone()),
            role: Role::Sample,
        })
        .collect();
    let plan = Plan::of(items);
    let measured = profile(target, &source.protocol, &plan, file, &mut Progress(reporter))?;
    reporter.end();
    let mut finalists = Vec::new();
    for found in best {
        let Some(record) =
            measured.records.iter().find(|record| record.arch() == Some(&found.arch))
        else {
            continue;
        };
        let measured_ms = measured.statistics(record)?.ratio * source.reference_ms;
        let prediction = predictor.predict(&found.arch);
        finalists.push(Finalist {
            arch: found.arch.clone(),
            loss: found.fitness,
            predicted_ms: prediction.latency_ms,
            interval_ms: (prediction.low_ms, prediction.high_ms),
            measured_ms,
            in_band: budget.contains(measured_ms),
        });
    }
    let outside = |finalist: &Finalist| {
        (budget.low_ms() - finalist.measured_ms)
            .max(finalist.measured_ms - budget.high_ms())
            .max(0.0)
    };
    let chosen = (0..finalists.len())
        .min_by(|a, b| outside(&finalists[*a]).total_cmp(&outside(&finalists[*b])));
    if let Some(chosen) = chosen {
        finalists[..=chosen].rotate_right(1);
    }
    Ok(finalists)
}

/// Compares the bundle's outputs with the model folder's in all engines there are, and
/// notes the differences in the bundle's report. Without ONNX Runtime the comparison with
/// it is left out, with a warning.
///
/// # Errors
/// [`PipelineError::Parity`] if they differ by more than the tolerance.
pub fn verify_bundle(
    bundle: &mut Bundle,
    model: &Path,
    reporter: &mut dyn Reporter,
) -> Result<Parity, PipelineError> {
    let library = match atb_fetch::onnx_runtime() {
        Ok(library) => Some(OnnxRuntime::load(&library)?),
        Err(error) => {
            reporter.warn(&format!("{error}. The comparison with ONNX Runtime was not done"));
            None
        }
    };
    let parity = verify(bundle, model, library.as_ref())?;
    bundle.update(|report| report.parity = Some(parity))?;
    if parity.holds() {
        return Ok(parity);
    }
    Err(PipelineError::Parity {
        bundle: bundle.folder().to_owned(),
        difference: parity.largest(),
        tolerance: TOLERANCE,
    })
}

/// A model file timed beside a baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timed {
    /// The model's latency over the reference model's.
    pub ratio: f64,
    /// The model's latency in milliseconds, on this file's own scale.
    pub latency_ms: f64,
    /// The baseline's latency in milliseconds, on this file's own scale.
    pub baseline_ms: f64,
    /// Times that the model is faster than the baseline.
    pub speedup: f64,
}

/// How often a model file and the baseline are measured in turns.
const TURNS: usize = 3;

/// Times the ONNX file `model` on `target`, in turns with BERT-base, into `file`. The
/// workload of `protocol` must be the file's.
///
/// # Errors
/// [`PipelineError`]; what was measured until then is in the file.
pub fn bench(
    target: &Target,
    model: &Path,
    protocol: &Protocol,
    file: &Path,
    reporter: &mut dyn Reporter,
) -> Result<Timed, PipelineError> {
    // The agent may run in another folder.
    let path = model.canonicalize().map_err(PipelineError::io(model))?;
    let model = Item { subject: Subject::Model(path.display().to_string()), role: Role::Check };
    let baseline =
        Item { subject: Subject::Architecture(Architecture::bert_base()), role: Role::Baseline };
    let turns = (0..TURNS).flat_map(|_| [model.clone(), baseline.clone()]).collect();
    let measured = profile(target, protocol, &Plan::of(turns), file, &mut Progress(reporter))?;
    reporter.end();
    let ratio = |item: &Item| -> Result<f64, PipelineError> {
        let mut ratios = Vec::new();
        let of_item = |record: &&Record| record.subject == item.subject && record.role == item.role;
        for record in measured.records.iter().filter(of_item) {
            ratios.push(measured.statistics(record)?.ratio);
        }
        Ok(median(&ratios).unwrap_or(f64::NAN))
    };
    let (model, baseline) = (ratio(&model)?, ratio(&baseline)?);
    let reference_ms = measured.reference_ms()?;
    Ok(Timed {
        ratio: model,
        latency_ms: model * reference_ms,
        baseline_ms: baseline * reference_ms,
        speedup: baseline / model,
    })
}

/// The shape of input that the bundle at `folder` takes, if it is a bundle.
#[must_use]
pub fn bundle_workload(folder: &Path) -> Option<Workload> {
    Bundle::open(folder).ok().map(|bundle| bundle.report().workload)
}
