//! The variants of one model beside each other, and which of them to ship.

use std::path::{Path, PathBuf};

use atb_export::{Options, Vocabulary, export};
use atb_measurements::{Flag, Protocol};
use atb_runtime::{Model, ModelError, Task as Ability};
use atb_space::Precision;
use atb_targets::Target;
use atb_tasks::{EvaluateSettings, Model as Evaluated, Split, Task, evaluate};
use atb_text::{PARITY_SENTENCES, Tokenizer};

use super::bench::{Runs, time_files};
use crate::{PipelineError, Reporter};

/// Entries of a vocabulary that is made smaller where nobody says which are needed.
const ENTRIES: usize = 8_000;

/// Relative difference up to which two latencies of one measurement are taken as equal.
const SAME_LATENCY: f64 = 0.03;

/// What a variant must fulfil to be shipped.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditions {
    /// Most bytes of the bundle in one file.
    pub largest_file: Option<u64>,
    /// Least score on the task.
    pub least_score: Option<f64>,
}

/// A task that variants are scored on.
#[derive(Clone, Debug)]
pub struct Scored {
    /// The task.
    pub task: Task,
    /// Its examples.
    pub split: Split,
}

/// What is known of a variant.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Its name: `f32`, `int8`, with `pruned` where words were left out.
    pub name: String,
    /// How it is exported.
    pub options: Options,
    /// Bytes of the bundle in one file.
    pub bytes: u64,
    /// Entries of its vocabulary.
    pub entries: usize,
    /// What its runs on the target showed.
    pub runs: Runs,
    /// How far what an app gets is from what the first variant gives, in the mean over texts: the
    /// largest difference of a probability, the difference of a score, one less the cosine of
    /// embeddings, or the share of other answers or labels.
    pub difference: f64,
    /// What it scores on the task, if there is one.
    pub score: Option<f64>,
    /// Whether no other variant is as good in everything and better in something.
    pub worth_having: bool,
}

/// All variants.
#[derive(Clone, Debug, PartialEq)]
pub struct Variants {
    /// The model as it is first.
    pub all: Vec<Variant>,
    /// Which of them is shipped.
    pub chosen: usize,
    /// The metric of the scores.
    pub metric: Option<String>,
    /// What a reader must know of the device.
    pub flags: Vec<Flag>,
}

impl Variants {
    /// The variant that is shipped.
    #[must_use]
    pub fn shipped(&self) -> Option<&Variant> {
        self.all.get(self.chosen)
    }
}

/// Measures every variant of the model folder `model` on `target` and chooses: of those that
/// fulfil the conditions the fastest, the smallest of equals; the model as it is where there are
/// none. `options` say what all have in common; their vocabulary is that of the pruned ones.
/// Everything is written into the folder `scratch`, which nobody needs afterwards.
///
/// # Errors
/// [`PipelineError`], also if no variant fulfils the conditions.
#[expect(clippy::too_many_arguments, reason = "what is measured, where, and by what it is chosen")]
pub fn variants(
    model: &Path,
    options: &Options,
    target: &Target,
    protocol: &Protocol,
    scored: Option<&Scored>,
    conditions: Conditions,
    scratch: &Path,
    reporter: &mut dyn Reporter,
) -> Result<Variants, PipelineError> {
    if conditions.least_score.is_some() && scored.is_none() {
        return Err(PipelineError::Setting {
            key: "--least-score",
            value: "given".to_owned(),
            expected: "given together with a task",
            hint: Some("name the task with `--task`, and its files with `--data`"),
        });
    }
    let whole = Tokenizer::from_folder(model)?.vocabulary_size();
    let mut exported = Vec::new();
    for (name, options) in kinds(options) {
        let folder = scratch.join(&name);
        let bundle = export(model, &options, &folder)?;
        let packed = folder.with_extension("atb");
        bundle.pack(&packed)?;
        // A vocabulary of which nothing is left out makes no variant.
        if bundle.report().vocabulary.is_none_or(|kept| kept.entries < kept.of) {
            let bytes = fs_err::metadata(&packed)?.len();
            exported.push((name, options, bundle, bytes));
        }
    }
    let files: Vec<(String, PathBuf)> =
        exported.iter().map(|(name, _, bundle, _)| (name.clone(), bundle.model_file())).collect();
    let (runs, flags) =
        time_files(target, &files, protocol, &scratch.join("variants.jsonl"), reporter)?;

    let mut all = Vec::new();
    let mut metric = None;
    let mut first: Option<Vec<Given>> = None;
    for ((name, options, bundle, bytes), runs) in exported.into_iter().zip(runs) {
        let found = given(bundle.folder())?;
        let difference = first.as_ref().map_or(0.0, |first| apart(first, &found));
        first.get_or_insert(found);
        let mut score = None;
        if let Some(Scored { task, split }) = scored {
            let evaluated = Evaluated::open(&bundle.folder().display().to_string())?;
            let settings = EvaluateSettings { resamples: 0, ..EvaluateSettings::default() };
            let evaluation = evaluate(&evaluated, task, split, None, &settings)?;
            let deciding = evaluation.scores.first();
            score = deciding.and_then(|score| score.value);
            metric = deciding.map(|score| score.metric.to_string());
        }
        all.push(Variant {
            entries: bundle.report().vocabulary.map_or(whole, |kept| kept.entries),
            name,
            options,
            bytes,
            runs,
            difference,
            score,
            worth_having: false,
        });
    }
    let worth: Vec<bool> =
        all.iter().map(|one| !all.iter().any(|other| is_better(other, one))).collect();
    for (variant, worth) in all.iter_mut().zip(worth) {
        variant.worth_having = worth;
    }
    let chosen = choose(&all, conditions)?;
    Ok(Variants { all, chosen, metric, flags })
}

/// The variants' names and options, the model as it is first.
fn kinds(options: &Options) -> Vec<(String, Options)> {
    let pruned = options.vocabulary.clone().unwrap_or(Vocabulary::First(ENTRIES));
    let mut kinds = Vec::new();
    for vocabulary in [None, Some(pruned)] {
        for precision in Precision::ALL {
            let suffix = if vocabulary.is_some() { "-pruned" } else { "" };
            let options = Options { precision, vocabulary: vocabulary.clone(), ..options.clone() };
            kinds.push((format!("{precision}{suffix}"), options));
        }
    }
    kinds
}

/// What an app gets of each text.
fn given(bundle: &Path) -> Result<Vec<Given>, ModelError> {
    let model = Model::open(bundle)?;
    let texts: Vec<&str> = PARITY_SENTENCES.lines().filter(|line| !line.is_empty()).collect();
    if model.gives(Ability::Classify) {
        return Ok(model.probabilities(&texts)?.into_iter().map(Given::Probabilities).collect());
    }
    if model.gives(Ability::Score) {
        return Ok(model.score(&texts)?.into_iter().map(Given::Score).collect());
    }
    if model.gives(Ability::Embed) {
        return Ok(model.embed(&texts)?.into_iter().map(Given::Vector).collect());
    }
    if model.gives(Ability::Tag) {
        let parts = model
            .tag(&texts)?
            .into_iter()
            .map(|tags| Given::Parts(tags.into_iter().map(|tag| (tag.bytes, tag.index)).collect()));
        return Ok(parts.collect());
    }
    let answer = |text: &&str| -> Result<Given, ModelError> {
        let answers = model.answer("What is it?", text, 1)?;
        Ok(Given::Parts(answers.into_iter().map(|answer| (answer.bytes, 0)).collect()))
    };
    texts.iter().map(answer).collect()
}

/// What an app gets of a text.
#[derive(Clone, Debug, PartialEq)]
enum Given {
    Probabilities(Vec<f32>),
    Score(f32),
    Vector(Vec<f32>),
    /// Parts of the text and their labels.
    Parts(Vec<((usize, usize), usize)>),
}

/// How far apart what two models give is, in the mean over the texts.
fn apart(first: &[Given], second: &[Given]) -> f64 {
    let of_text = |(first, second): (&Given, &Given)| match (first, second) {
        (Given::Probabilities(one), Given::Probabilities(other)) => {
            let each = one.iter().zip(other).map(|(one, other)| f64::from((one - other).abs()));
            each.fold(0.0, f64::max)
        }
        (Given::Score(one), Given::Score(other)) => f64::from((one - other).abs()),
        (Given::Vector(one), Given::Vector(other)) => 1.0 - cosine(one, other),
        (one, other) => f64::from(u8::from(one != other)),
    };
    let all: Vec<f64> = first.iter().zip(second).map(of_text).collect();
    all.iter().sum::<f64>() / all.len().max(1) as f64
}

fn cosine(one: &[f32], other: &[f32]) -> f64 {
    let product = |one: &[f32], other: &[f32]| -> f64 {
        one.iter().zip(other).map(|(one, other)| f64::from(*one) * f64::from(*other)).sum()
    };
    let lengths = (product(one, one) * product(other, other)).sqrt();
    if lengths > 0.0 { product(one, other) / lengths } else { 1.0 }
}

/// Whether one latency is below another by more than a measurement leaves open.
fn is_faster(one: &Variant, other: &Variant) -> bool {
    one.runs.latency_ms < other.runs.latency_ms * (1.0 - SAME_LATENCY)
}

/// Whether `one` is as good as `other` in size, latency, memory and what it gives, and better in
/// one of them.
fn is_better(one: &Variant, other: &Variant) -> bool {
    let memory = |variant: &Variant| variant.runs.memory_kib.unwrap_or(0);
    // A score, where there is one, says more than a difference does.
    let (quality, better) = match (one.score, other.score) {
        (Some(one), Some(other)) => (one >= other, one > other),
        _ => (one.difference <= other.difference, one.difference < other.difference),
    };
    let as_good = one.bytes <= other.bytes
        && memory(one) <= memory(other)
        && !is_faster(other, one)
        && quality;
    as_good
        && (one.bytes < other.bytes
            || memory(one) < memory(other)
            || is_faster(one, other)
            || better)
}

/// Which variant is shipped.
fn choose(all: &[Variant], conditions: Conditions) -> Result<usize, PipelineError> {
    let Conditions { largest_file, least_score } = conditions;
    if largest_file.is_none() && least_score.is_none() {
        return Ok(0);
    }
    let fits = |variant: &Variant| {
        largest_file.is_none_or(|most| variant.bytes <= most)
            && least_score.is_none_or(|least| variant.score.is_some_and(|score| score >= least))
    };
    let mut best: Option<usize> = None;
    for (number, variant) in all.iter().enumerate().filter(|(_, variant)| fits(variant)) {
        let replaces = best.and_then(|best| all.get(best)).is_none_or(|best| {
            is_faster(variant, best) || (!is_faster(best, variant) && variant.bytes < best.bytes)
        });
        if replaces {
            best = Some(number);
        }
    }
    best.ok_or_else(|| {
        let row = |variant: &Variant| {
            let score = variant.score.map_or(String::new(), |score| format!(", score {score:.3}"));
            format!("{}: {:.1} MB{score}", variant.name, variant.bytes as f64 / 1e6)
        };
        let found: Vec<String> = all.iter().map(row).collect();
        PipelineError::Setting {
            key: "the conditions",
            value: found.join("; "),
            expected: "fulfilled by a variant",
            hint: Some("allow a larger file or a lower score, or search for a smaller model"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(name: &str, megabytes: u64, ms: f64, score: f64) -> Variant {
        let runs = Runs {
            name: name.to_owned(),
            latency_ms: ms,
            percentiles_ms: [ms; 3],
            load_ms: None,
            first_ms: None,
            memory_kib: Some(megabytes * 2000),
        };
        Variant {
            name: name.to_owned(),
            options: Options::default(),
            bytes: megabytes * 1_000_000,
            entries: 30_522,
            runs,
            difference: 1.0 - score,
            score: Some(score),
            worth_having: false,
        }
    }

    #[test]
    fn the_fastest_that_fulfils_the_conditions_is_shipped() {
        let all = [
            variant("f32", 40, 5.0, 0.90),
            variant("int8", 12, 5.1, 0.89),
            variant("f32-pruned", 20, 4.0, 0.80),
            variant("int8-pruned", 6, 6.0, 0.79),
        ];
        let chosen = |largest: Option<u64>, least: Option<f64>| {
            let largest_file = largest.map(|megabytes| megabytes * 1_000_000);
            choose(&all, Conditions { largest_file, least_score: least })
        };
        assert_eq!(chosen(None, None).ok(), Some(0));
        assert_eq!(chosen(Some(100), None).ok(), Some(2));
        // Latencies that a measurement does not tell apart leave it to the size.
        assert_eq!(chosen(None, Some(0.85)).ok(), Some(1));
        assert_eq!(chosen(Some(10), None).ok(), Some(3));
        let error = chosen(Some(10), Some(0.85)).expect_err("none").to_string();
        assert!(error.contains("int8-pruned: 6.0 MB, score 0.790"), "{error}");
        let worth = |one: &Variant| !all.iter().any(|other| is_better(other, one));
        assert!(all.iter().all(worth));
        assert!(is_better(&variant("a", 5, 4.0, 0.8), &variant("b", 6, 4.1, 0.8)));
        assert!(!is_better(&variant("a", 5, 4.2, 0.8), &variant("b", 6, 4.0, 0.8)));
    }

    #[test]
    fn what_an_app_gets_is_compared_in_its_own_terms() {
        let vectors = |values: [f32; 2]| [Given::Vector(values.to_vec())];
        assert!(apart(&vectors([1.0, 0.0]), &vectors([2.0, 0.0])).abs() < 1e-9);
        assert!((apart(&vectors([1.0, 0.0]), &vectors([0.0, 2.0])) - 1.0).abs() < 1e-9);
        let parts = |end| [Given::Parts(vec![((0, end), 1)]), Given::Score(1.0)];
        assert!((apart(&parts(3), &parts(4)) - 0.5).abs() < 1e-9);
        let rows = |value| [Given::Probabilities(vec![value, 1.0 - value])];
        assert!((apart(&rows(0.25), &rows(0.5)) - 0.25).abs() < 1e-6);
    }
}
