//! What a run would do: its steps, what of them is there already, and about what the rest takes.
//! Nothing is written and no device is asked for anything.

use atb_export::Bundle;
use atb_files::read_json;
use atb_measurements::{MeasurementFile, Protocol, Subject};
use atb_predictor::Predictor;
use atb_profiler::{Item, remaining};
use atb_search::Outcome;
use atb_settings::Checked;
use atb_space::{Architecture, Cost, Space};
use atb_targets::Target;

use crate::run::{Files, holds_only, profile_settings};
use crate::state::State;
use crate::steps::{self, bench, finalists, profile};
use crate::{Config, PipelineError, REPORT_SCHEMA, RunReport, Weights, inputs};

/// Floating-point operations a second of one core of a server or desktop with AVX2 in the engine,
/// where no measurement says what the device does. A Raspberry Pi 5 is about a third of it.
const FLOPS: f64 = 30e9;
/// Pairs of runs that a measurement takes on a quiet device, between the fewest and the most.
const PAIRS: usize = 20;
/// Runs before a model counts as warm on a quiet device.
const WARM_UP_RUNS: f64 = 8.0;
/// Time to make a model, in seconds.
const BUILD_SECONDS: f64 = 0.2;
/// What a process takes beside its model, in MiB.
const PROCESS_MIB: f64 = 40.0;
/// Memory of a model over the bytes of its parameters: the engine packs a copy of them.
const PACKED: f64 = 1.4;
const MIB: f64 = 1_048_576.0;

/// What a run would do.
#[derive(Clone, Debug, PartialEq)]
pub struct RunPlan {
    /// Name of the device.
    pub target: String,
    /// Whether the device's speed is known from measurements in the folder, rather than taken for
    /// that of a core of a server.
    pub speed_is_known: bool,
    /// The steps, in order.
    pub steps: Vec<PlannedStep>,
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedStep {
    /// Its name.
    pub name: &'static str,
    /// What of it is there.
    pub state: StepState,
    /// About how long the rest of it takes, in seconds.
    pub seconds: f64,
    /// About how much memory it takes at most, in MiB.
    pub memory_mib: f64,
    /// Whether it needs the device.
    pub on_device: bool,
}

/// What of a step is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// All: its result is kept.
    Kept,
    /// A part, and nothing that it depends on has changed.
    Continues {
        /// How much is there.
        done: usize,
        /// Of how much.
        total: usize,
    },
    /// Nothing that counts.
    New,
}

/// What [`crate::run()`] would do with `config`.
///
/// # Errors
/// [`PipelineError`] for what a run would refuse before its first step, or a file of the folder
/// that cannot be read.
pub fn plan(config: &Config) -> Result<RunPlan, PipelineError> {
    config.checked()?;
    let target = Target::find(&config.target)?;
    config.space.0.validate()?;
    let weights = Weights::load(&config.superplm)?;
    let space = config.space.0.within(weights.plm.architecture())?;
    let protocol = config.protocol_on(&target);
    let files = Files::of(&config.output);
    let state = State::open(&config.output)?;
    if files.winner.exists() && !state.made("extract") {
        return Err(PipelineError::Foreign { path: files.winner });
    }
    let measured = MeasurementFile::read_to_continue(&files.measurements, &target.name, &protocol)?;
    let reference_ms = measured.as_ref().and_then(|file| file.reference_ms().ok());
    let flops =
        Cost::flops(&protocol.reference, protocol.workload.batch, protocol.workload.sequence);
    let planner = Planner {
        config,
        weights: &weights,
        space,
        files,
        state,
        speed: reference_ms.map_or(FLOPS, |ms| 1e3 * flops / ms),
        protocol,
        kept: true,
        steps: Vec::new(),
    };
    let steps = planner.all(measured.as_ref())?;
    Ok(RunPlan { target: target.name, speed_is_known: reference_ms.is_some(), steps })
}

/// What the steps are told by.
struct Planner<'a> {
    config: &'a Config,
    weights: &'a Weights,
    /// What of the configuration's space the SuperPLM has.
    space: Space,
    files: Files,
    state: State,
    protocol: Protocol,
    /// Floating-point operations a second of the device.
    speed: f64,
    /// Whether all steps so far are kept.
    kept: bool,
    steps: Vec<PlannedStep>,
}

impl Planner<'_> {
    fn all(
        mut self,
        measured: Option<&MeasurementFile>,
    ) -> Result<Vec<PlannedStep>, PipelineError> {
        self.profile(measured)?;
        let outcome = match measured {
            Some(measured) if self.fit(measured)? => self.search()?,
            _ => {
                self.here("fit", false, 1.0, PROCESS_MIB);
                None
            }
        };
        if outcome.is_none() {
            let (seconds, memory) = self.of_search()?;
            self.here("search", false, seconds, memory);
        }
        self.measure(outcome.as_ref())?;
        self.update(measured)?;
        self.winner()?;
        Ok(self.steps)
    }

    /// A step on this machine; `done` says whether it was finished on what it would be made of.
    /// Once a step is made anew, so are those after it.
    fn here(&mut self, name: &'static str, done: bool, seconds: f64, memory_mib: f64) -> bool {
        self.kept &= done;
        let (state, seconds) = match self.kept {
            true => (StepState::Kept, 0.0),
            false => (StepState::New, seconds),
        };
        self.steps.push(PlannedStep { name, state, seconds, memory_mib, on_device: false });
        self.kept
    }

    /// A step on the device, of which `missing` are still to be measured of `items`.
    fn there(&mut self, name: &'static str, items: &[Architecture], missing: &[Architecture]) {
        let (total, done) = (items.len(), items.len() - missing.len());
        let state = match done {
            _ if done == total => StepState::Kept,
            0 => StepState::New,
            _ => StepState::Continues { done, total },
        };
        self.kept &= state == StepState::Kept;
        let seconds = missing.iter().map(|arch| self.seconds(arch)).sum();
        let memory_mib = items.iter().map(|arch| self.memory_mib(arch)).fold(0.0, f64::max);
        self.steps.push(PlannedStep { name, state, seconds, memory_mib, on_device: true });
    }

    fn profile(&mut self, measured: Option<&MeasurementFile>) -> Result<(), PipelineError> {
        let plan = profile::plan(&self.space, &profile_settings(self.config), &self.protocol)?;
        let missing = match measured {
            Some(file) => remaining(&plan, &file.records, &file.failures),
            None => plan.items().to_vec(),
        };
        self.there("profile", &architectures(plan.items()), &architectures(&missing));
        Ok(())
    }

    fn fit(&mut self, measured: &MeasurementFile) -> Result<bool, PipelineError> {
        if !self.kept || !self.files.predictor.exists() {
            return Ok(false);
        }
        let inputs = inputs::fit(&measured.digest, &self.space)?;
        let done = self.state.is_done("fit", &inputs);
        if done {
            self.here("fit", true, 0.0, PROCESS_MIB);
        }
        Ok(done)
    }

    /// The search's outcome, if it is kept.
    fn search(&mut self) -> Result<Option<Outcome>, PipelineError> {
        if !self.files.search.exists() {
            return Ok(None);
        }
        let predictor = Predictor::load(&self.files.predictor)?;
        let band = self.config.budget.on(&predictor)?;
        let fitness = steps::loss_on_text(&self.config.fitness, &self.weights.plm)?;
        let inputs = inputs::search(
            self.config,
            &self.files.predictor,
            &self.space,
            &band,
            &fitness.digest(),
        )?;
        if !self.state.is_done("search", &inputs) {
            return Ok(None);
        }
        let (_, memory) = self.of_search()?;
        self.here("search", true, 0.0, memory);
        Ok(Some(read_json(&self.files.search, atb_search::SCHEMA)?))
    }

    /// Time and memory of a search.
    fn of_search(&self) -> Result<(f64, f64), PipelineError> {
        let text = steps::held_out(&self.config.fitness.held_out(), &self.weights.plm)?;
        let evaluations = self.config.search.population * self.config.search.generations;
        let length = (text.real_tokens() / text.batch.max(1)).max(1);
        // Candidates are smaller than the SuperPLM; about half of its operations are theirs.
        let flops = 0.5 * Cost::flops(self.whole(), text.batch, length);
        Ok((evaluations as f64 * flops / FLOPS, self.of_weights()))
    }

    fn measure(&mut self, outcome: Option<&Outcome>) -> Result<(), PipelineError> {
        let best = match outcome {
            Some(outcome) => &outcome.ranking[..self.config.finalists.min(outcome.ranking.len())],
            None => &[],
        };
        if best.is_empty() || !holds_only(&self.files.finalists, &self.protocol, best) {
            // The largest that they can be.
            let all = vec![self.whole().clone(); 2 * self.config.finalists];
            self.there("measure", &all, &all);
            return Ok(());
        }
        let file = MeasurementFile::read(&self.files.finalists)?;
        let plan = finalists::plan(best);
        let missing = remaining(&plan, &file.records, &file.failures);
        self.there("measure", &architectures(plan.items()), &architectures(&missing));
        Ok(())
    }

    fn update(&mut self, measured: Option<&MeasurementFile>) -> Result<(), PipelineError> {
        let done = match measured {
            Some(measured) if self.kept && self.files.updated_predictor.exists() => {
                let finalists = MeasurementFile::read(&self.files.finalists)?;
                let inputs = inputs::update(&measured.digest, &finalists.digest, &self.space)?;
                self.state.is_done("update", &inputs)
            }
            _ => false,
        };
        self.here("update", done, 5.0, PROCESS_MIB);
        Ok(())
    }

    /// The steps from the weights to the exported file, and its measurement.
    fn winner(&mut self) -> Result<(), PipelineError> {
        let (of_weights, weights) = (self.of_weights(), self.files.weights());
        let known: Option<RunReport> = match self.kept && self.files.report.exists() {
            true => Some(read_json(&self.files.report, REPORT_SCHEMA)?),
            false => None,
        };
        let done = match &known {
            Some(report) if weights.exists() => {
                let inputs = inputs::extract(&report.winner, self.weights.plm.source())?;
                self.state.is_done("extract", &inputs)
            }
            _ => false,
        };
        self.here("extract", done, 1.0, of_weights);
        let bundle = match self.kept {
            true => Bundle::open(&self.files.bundle).ok(),
            false => None,
        };
        let done = match &bundle {
            Some(_) => {
                let Config { export, .. } = self.config;
                let inputs = inputs::export(&weights, self.protocol.workload, export.precision)?;
                self.state.is_done("export", &inputs)
            }
            None => false,
        };
        self.here("export", done, 2.0, of_weights);
        let model = bundle.as_ref().filter(|_| self.kept).map(Bundle::model_file);
        let compared = bundle.as_ref().and_then(|bundle| bundle.report().parity);
        let done = match (&model, compared) {
            (Some(model), Some(parity)) if parity.holds() && parity.tract_ort.is_some() => {
                self.state.is_done("verify", &inputs::verify(model, &weights)?)
            }
            _ => false,
        };
        self.here("verify", done, 3.0, of_weights);

        // The exported file counts as its architecture does, the largest if it is not known.
        let file = known.map_or_else(|| self.whole().clone(), |report| report.winner);
        let turn = [file, self.config.budget.baseline.clone()];
        let all: Vec<Architecture> = (0..bench::TURNS).flat_map(|_| turn.clone()).collect();
        let begun = match model.as_ref().filter(|_| self.kept) {
            Some(model) => {
                let inputs = inputs::bench(self.config, model, &self.protocol)?;
                self.state.was_begun("bench", &inputs) && self.files.check.exists()
            }
            None => false,
        };
        let done = match begun {
            true => MeasurementFile::read(&self.files.check)?.records.len().min(all.len()),
            false => 0,
        };
        self.there("bench", &all, &all[done..]);
        self.lengths(&turn[0])
    }

    /// The winner with shorter texts.
    fn lengths(&mut self, winner: &Architecture) -> Result<(), PipelineError> {
        let lengths = steps::shorter(&self.config.lengths, &self.protocol);
        if lengths.is_empty() {
            return Ok(());
        }
        let inputs = inputs::lengths(self.config, winner, &self.protocol)?;
        let begun = self.kept && self.state.was_begun("lengths", &inputs);
        let there =
            |tokens: &&usize| begun && steps::file_of(&self.files.lengths, **tokens).exists();
        let done = lengths.iter().filter(there).count();
        let all = vec![winner.clone(); lengths.len()];
        self.there("lengths", &all, &all[done..]);
        Ok(())
    }

    /// The SuperPLM's architecture, the largest that a search can find.
    fn whole(&self) -> &Architecture {
        self.weights.plm.architecture()
    }

    /// About how long `arch` is measured, in seconds: pairs with the reference model, each after
    /// runs that bring it back into the caches.
    fn seconds(&self, arch: &Architecture) -> f64 {
        let Protocol { workload, min_pairs, max_pairs, settle_runs, max_seconds, .. } =
            self.protocol;
        let run =
            |arch: &Architecture| Cost::flops(arch, workload.batch, workload.sequence) / self.speed;
        let pair = (1 + settle_runs) as f64 * (run(arch) + run(&self.protocol.reference));
        let at_least = pair * min_pairs as f64;
        let typical = pair * PAIRS.clamp(min_pairs, max_pairs.max(min_pairs)) as f64;
        BUILD_SECONDS + WARM_UP_RUNS * run(arch) + typical.min(max_seconds.max(at_least))
    }

    /// About how much memory the agent takes with `arch`, in MiB.
    fn memory_mib(&self, arch: &Architecture) -> f64 {
        let Protocol { workload, vocabulary, .. } = self.protocol;
        let parameters = Cost::parameters(arch, vocabulary, workload.sequence);
        let activations = Cost::activation_bytes(arch, workload);
        PROCESS_MIB + (PACKED * 4.0 * parameters as f64 + activations as f64) / MIB
    }

    /// About how much memory the SuperPLM takes with copies of parts of it, in MiB.
    fn of_weights(&self) -> f64 {
        let config = self.weights.plm.config();
        let parameters =
            Cost::parameters(self.whole(), config.vocab_size, config.max_position_embeddings);
        PROCESS_MIB + 3.0 * 4.0 * parameters as f64 / MIB
    }
}

/// The architectures of items, none of which is a file.
fn architectures(items: &[Item]) -> Vec<Architecture> {
    let arch = |item: &Item| match &item.subject {
        Subject::Architecture(arch) => Some(arch.clone()),
        _ => None,
    };
    items.iter().filter_map(arch).collect()
}
