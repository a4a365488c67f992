//! Training a SuperPLM, or one architecture of it further: from a configuration to
//! [`atb_superplm::train`].

mod config;

use std::ops::ControlFlow;

use atb_files::Lock;
use atb_ranks::Ranks;
use atb_superplm::{
    Dataset, Layout, Objective, Outcome, PrepareProgress, Progress, SubModels, SuperPlm,
    TrainSettings, Training, check_start, default_panel, prepare, train_across,
};
use atb_text::{Encoded, Tokenizer};

pub use config::{ObjectiveChoice, OneShotConfig, TrainConfig, parse_duration};

use crate::superplm::teacher;
use crate::{PipelineError, Reporter, Weights, steps};

/// Bytes of text that progress is counted in.
const MEGABYTE: u64 = 1 << 20;
/// The folder of the tokenized text.
const TEXT: &str = "text";

/// Trains what `config` says in its output folder, or continues there.
///
/// Leaves `text/` (the tokenized text), `checkpoints/`, `metrics.jsonl` and, when all steps
/// are made, the model folder `model/`. Whatever can be wrong with models and settings is
/// said before the text is tokenized.
///
/// All `ranks` of a job call this with the same configuration and see the same folders; only rank 0
/// writes to them.
///
/// # Errors
/// [`PipelineError`]; the same call continues from the last checkpoint, with any number of ranks.
pub fn train(
    config: &TrainConfig,
    ranks: &Ranks,
    reporter: &mut dyn Reporter,
) -> Result<Outcome, PipelineError> {
    reporter.step("start", &config.start);
    let Prepared { start, objective, settings, held_out } = Prepared::new(config)?;
    reporter.result(&match &settings.sub_models {
        SubModels::Fixed(arch) => format!("{arch} alone is trained"),
        SubModels::OneShot { space, per_step, .. } => format!(
            "a SuperPLM of {}, {per_step} of its {} architectures of the space `{}` a step",
            start.architecture(),
            space.within(start.architecture())?.count_uniform(),
            space.name
        ),
    });
    let mut _lock = None;
    if ranks.is_first() {
        fs_err::create_dir_all(&config.output)?;
        _lock = Some(Lock::of_folder(&config.output)?);
    }
    let data = if ranks.is_first() {
        let data = tokenize(config, start.tokenizer(), reporter)?;
        ranks.barrier();
        data
    } else {
        ranks.barrier();
        Dataset::open(&config.output.join(TEXT))?
    };
    let detail = format!(
        "{} steps of {} tokens, {}{}",
        settings.schedule.steps,
        settings.batch_size * settings.gradient_accumulation_steps * config.sequence_length,
        config.objective.kind.about,
        match ranks.size() {
            1 => String::new(),
            size => format!(", by {size} ranks"),
        }
    );
    reporter.step("train", &detail);
    let training = Training { start, objective, data, held_out, settings };
    let mut begun = false;
    let outcome = train_across(ranks, training, &config.output, |progress| {
        if !begun {
            reporter.begin(progress.steps, progress.steps_total);
            begun = true;
        }
        report(progress, reporter);
        ControlFlow::Continue(())
    });
    reporter.end();
    Ok(outcome?)
}

/// Everything that a training takes but its text.
struct Prepared {
    start: SuperPlm,
    objective: Objective,
    settings: TrainSettings,
    held_out: Encoded,
}

impl Prepared {
    fn new(config: &TrainConfig) -> Result<Self, PipelineError> {
        if config.text.is_empty() {
            return Err(PipelineError::Setting {
                key: "text",
                value: "empty".to_owned(),
                expected: "the text files to train on",
                hint: Some("atb train --text corpus.txt"),
            });
        }
        let teacher = match config.objective.kind.needs_teacher {
            true => Some(teacher(&config.teacher)?),
            false => None,
        };
        let start = start(config, teacher.as_ref())?;
        let whole = start.architecture().clone();
        let sub_models = config.sub_models();
        let panel = match &sub_models {
            _ if !config.panel.is_empty() => config.panel.clone(),
            SubModels::Fixed(arch) => vec![arch.clone()],
            SubModels::OneShot { space, .. } => default_panel(space, &whole)?,
        };
        let settings = config.settings(panel);
        let objective =
            config.objective.kind.objective(teacher, config.objective.options.clone())?;
        let held_out = steps::held_out(&config.held_out, &start)?;
        check_start(&start, &objective, &settings, config.sequence_length, &held_out)?;
        Ok(Self { start, objective, settings, held_out })
    }
}

/// The model that `config` starts from, of the size that it asks for.
fn start(config: &TrainConfig, with: Option<&SuperPlm>) -> Result<SuperPlm, PipelineError> {
    let mut start = match config.start.as_str() {
        "teacher" => teacher(&config.teacher)?,
        "random" => {
            let arch = config.size.as_ref().or(config.arch.as_ref());
            let arch = arch.ok_or_else(|| PipelineError::Setting {
                key: "size",
                value: "absent".to_owned(),
                expected: "the architecture of the random model to start from",
                hint: None,
            })?;
            let tokenizer = match with {
                Some(teacher) => teacher.tokenizer().clone(),
                None => Tokenizer::bert_uncased()?,
            };
            SuperPlm::random(arch.clone(), tokenizer, config.seed)?
        }
        // The same names as everywhere; `teacher` above is the one that is distilled from.
        choice => Weights::load(choice)?.plm,
    };
    if let Some(size) = &config.size
        && size != start.architecture()
    {
        start = start.shrink(size)?;
    }
    if let Some(arch) = &config.arch
        && arch != start.architecture()
    {
        start = start.part(arch)?;
    }
    Ok(start)
}

/// Tokenizes the text, as far as that is not done yet.
fn tokenize(
    config: &TrainConfig,
    tokenizer: &Tokenizer,
    reporter: &mut dyn Reporter,
) -> Result<Dataset, PipelineError> {
    reporter.step("text", &format!("{} files to tokens", config.text.len()));
    let mut begun = false;
    let mut reused = 0;
    let folder = config.output.join(TEXT);
    let mut show = |progress: &PrepareProgress| {
        if !begun {
            reporter.begin(0, progress.bytes_total / MEGABYTE);
            begun = true;
        }
        reused = progress.reused;
        let message = format!("MB of text, {:.1} million tokens", progress.tokens as f64 / 1e6);
        reporter.reach(progress.bytes_done / MEGABYTE, &message);
    };
    let TrainConfig { text, layout, sequence_length, .. } = config;
    let prepared = prepare(text, tokenizer, *layout, *sequence_length, &folder, &mut show);
    reporter.end();
    let data = prepared?;
    reporter.result(&format!(
        "{:.1} million tokens in {} sequences of {}{}{}",
        data.tokens() as f64 / 1e6,
        data.sequences(),
        data.sequence_length(),
        match data.layout() {
            Layout::Packed => "",
            Layout::Paragraphs => " at most, one a paragraph",
            Layout::Sentences => " at most, one a sentence",
        },
        if reused > 0 { ", tokenized before as far as possible" } else { "" }
    ));
    Ok(data)
}

/// Shows how far a training is; each validation becomes a line that stays.
fn report(progress: &Progress, reporter: &mut dyn Reporter) {
    let minutes = progress.remaining.as_secs().div_ceil(60);
    let speed = format!("{:.0} tokens/s, {minutes} min left", progress.tokens_per_second);
    reporter.reach(progress.steps, &format!("loss {:.4}, {speed}", progress.loss));
    if let Some(losses) = &progress.validation {
        let losses: Vec<String> =
            losses.iter().map(|(arch, loss)| format!("{arch} {loss:.4}")).collect();
        reporter.result(&format!(
            "step {} of {}, {speed}; held-out loss {}",
            progress.steps,
            progress.steps_total,
            losses.join(", ")
        ));
    }
}
