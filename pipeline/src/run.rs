//! All steps in order, in one folder.

use std::path::{Path, PathBuf};

use atb_export::{Bundle, Latency, Options, export};
use atb_files::{Lock, read_json, write_json};
use atb_measurements::{MeasurementFile, Protocol, Quantity};
use atb_predictor::{Kind, Predictor};
use atb_ranks::Ranks;
use atb_search::{Evaluated, Fitness, Outcome};
use atb_settings::Checked;
use atb_space::{Architecture, Space};
use atb_superplm::extract;
use atb_targets::Target;

use crate::inputs;
use crate::state::State;
use crate::steps::{self, Finalist, StaticTable};
use crate::{
    Config, Event, Origin, PipelineError, PredictorSummary, ProfileConfig, REPORT_SCHEMA, Reporter,
    RunReport, Weights,
};

/// The files of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Raw measurements to fit on.
    pub measurements: PathBuf,
    /// The predictor.
    pub predictor: PathBuf,
    /// Every evaluated architecture.
    pub evaluations: PathBuf,
    /// The search's outcome.
    pub search: PathBuf,
    /// Raw measurements of the best of the search.
    pub finalists: PathBuf,
    /// The predictor fitted to those as well.
    pub updated_predictor: PathBuf,
    /// The winner as a model folder.
    pub winner: PathBuf,
    /// What an app takes.
    pub bundle: PathBuf,
    /// Raw measurements of the exported winner.
    pub check: PathBuf,
    /// Folder of the winner's raw measurements at several lengths of text.
    pub lengths: PathBuf,
    /// The report.
    pub report: PathBuf,
}

impl Files {
    /// The files of the run in `folder`.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        Self {
            measurements: folder.join("measurements.jsonl"),
            predictor: folder.join("predictor.json"),
            evaluations: folder.join("evaluations.jsonl"),
            search: folder.join("search.json"),
            finalists: folder.join("finalists.jsonl"),
            updated_predictor: folder.join("predictor-updated.json"),
            winner: folder.join("winner"),
            bundle: folder.join("bundle"),
            check: folder.join("check.jsonl"),
            lengths: folder.join("lengths"),
            report: folder.join("report.json"),
        }
    }

    /// The winner's weights.
    pub(crate) fn weights(&self) -> PathBuf {
        self.winner.join("model.safetensors")
    }
}

/// Steps whose unfinished output is continued.
const CONTINUED: [&str; 4] = ["profile", "measure", "bench", "lengths"];

/// One run: its files, its state and who watches it.
struct Run<'a> {
    config: &'a Config,
    /// The configuration's protocol on the target.
    protocol: Protocol,
    files: Files,
    state: State,
    reporter: &'a mut dyn Reporter,
    /// The steps so far, in their order.
    steps: Vec<&'static str>,
}

/// Keeps a step's warnings in the state on their way to the reporter.
struct Noting<'a> {
    reporter: &'a mut dyn Reporter,
    state: &'a mut State,
    step: &'static str,
    /// Why a warning could not be kept.
    failure: Option<PipelineError>,
}

impl Reporter for Noting<'_> {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Warning(text) = event
            && let Err(error) = self.state.warn(self.step, text)
        {
            self.failure.get_or_insert(error);
        }
        self.reporter.event(event);
    }
}

/// What a step's earlier output was begun on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begun {
    /// The same inputs: what is there can be continued.
    OnTheSame,
    /// Others, or nothing is known of it.
    OnOthers,
}

/// Does the whole job of `config` and leaves everything in its output folder.
///
/// # Errors
/// [`PipelineError`]; finished steps are kept and the same call continues after them.
pub fn run(config: &Config, reporter: &mut dyn Reporter) -> Result<RunReport, PipelineError> {
    // What can be wrong with settings, weights and texts is said before any time is spent, and
    // before anything is written.
    config.checked()?;
    let target = Target::find(&config.target)?;
    config.space.0.validate()?;
    reporter.step("superplm", &config.superplm);
    let weights = Weights::load(&config.superplm)?;
    let space = config.space.0.within(weights.plm.architecture())?;
    reporter.result(&format!(
        "{}: {}, {} architectures of the space `{}` in it",
        weights.origin.description,
        weights.plm.architecture(),
        space.count_uniform(),
        space.name
    ));
    let fitness = steps::loss_on_text(&config.fitness, &weights.plm)?;
    fs_err::create_dir_all(&config.output)?;
    let _lock = Lock::of_folder(&config.output)?;
    let mut run = Run {
        config,
        protocol: config.protocol_on(&target),
        files: Files::of(&config.output),
        state: State::open(&config.output)?,
        reporter,
        steps: Vec::new(),
    };
    if run.state.is_unproven() {
        run.reporter.warn(
            "state.json was written by an earlier version of atb, which did not note what its \
             steps were made of: all but the measurements is done again",
        );
    }
    if run.files.winner.exists() && !run.state.made("extract") {
        return Err(PipelineError::Foreign { path: run.files.winner });
    }
    MeasurementFile::read_to_continue(&run.files.measurements, &target.name, &run.protocol)?;
    run.all(&target, &weights, &space, fitness.as_ref())
}

impl Run<'_> {
    /// A step: does `make` and marks the step as finished afterwards, unless it was finished
    /// on the same `inputs`, a digest, before and `keep` still finds its result.
    fn step<T>(
        &mut self,
        name: &'static str,
        inputs: String,
        keep: impl FnOnce() -> Result<Option<T>, PipelineError>,
        make: impl FnOnce(Begun, &mut dyn Reporter) -> Result<T, PipelineError>,
    ) -> Result<T, PipelineError> {
        self.steps.push(name);
        if self.state.is_done(name, &inputs)
            && let Some(kept) = keep()?
        {
            self.reporter.kept();
            for warning in self.state.warnings(name) {
                self.reporter.warn(warning);
            }
            return Ok(kept);
        }
        let begun = match self.state.was_begun(name, &inputs) {
            true => Begun::OnTheSame,
            false => Begun::OnOthers,
        };
        let continued = begun == Begun::OnTheSame && CONTINUED.contains(&name);
        self.state.begin(name, &inputs, continued)?;
        let (state, reporter) = (&mut self.state, &mut *self.reporter);
        let mut noting = Noting { reporter, state, step: name, failure: None };
        let made = make(begun, &mut noting)?;
        if let Some(error) = noting.failure {
            return Err(error);
        }
        self.state.finish(name)?;
        Ok(made)
    }

    fn all(
        &mut self,
        target: &Target,
        weights: &Weights,
        space: &Space,
        fitness: &dyn Fitness,
    ) -> Result<RunReport, PipelineError> {
        let measurements = self.profile(target, space)?;
        let predictor = self.fit(&measurements, space)?;
        let outcome = self.search(space, &predictor, fitness)?;
        let (finalists, static_table) =
            self.finalists(target, &measurements, &predictor, &outcome, fitness)?;
        let winner = finalists.first().ok_or_else(|| PipelineError::Content {
            path: self.files.search.clone(),
            problem: "it has no winner".to_owned(),
        })?;
        self.extract(&winner.arch, weights)?;
        let mut bundle = self.export()?;
        let parity = self.verify(&mut bundle)?;
        let timed = self.bench(target, &bundle)?;
        self.lengths(target, &winner.arch)?;
        let found = Found {
            predictor: &predictor,
            outcome: &outcome,
            finalists: &finalists,
            static_table,
            parity,
            timed,
        };
        self.report(target, &found, weights.origin.clone(), &mut bundle)
    }

    fn profile(
        &mut self,
        target: &Target,
        space: &Space,
    ) -> Result<MeasurementFile, PipelineError> {
        let config = self.config;
        let workload = self.protocol.workload;
        self.reporter.step(
            "profile",
            &format!(
                "{} architectures on {}, batch {}, sequence length {}",
                config.profile.samples, target.name, workload.batch, workload.sequence
            ),
        );
        let file = self.files.measurements.clone();
        let settings = profile_settings(config);
        let protocol = self.protocol.clone();
        // The profiler itself finds out what is missing in the file.
        let measured = self.step(
            "profile",
            inputs::profile(config, &protocol)?,
            || Ok(None),
            |_, reporter| {
                steps::profile_space(target, space, &settings, &protocol, &file, reporter)
            },
        )?;
        self.reporter.result(&format!(
            "{} measurements; the reference model {} takes {:.2} ms",
            measured.records.len(),
            measured.header.protocol.reference,
            measured.reference_ms()?
        ));
        Ok(measured)
    }

    fn fit(
        &mut self,
        measured: &MeasurementFile,
        space: &Space,
    ) -> Result<Predictor, PipelineError> {
        self.reporter.step("fit", &format!("a latency predictor for the space `{}`", space.name));
        let file = self.files.predictor.clone();
        let measurements = std::slice::from_ref(measured);
        let predictor = self.step(
            "fit",
            inputs::fit(&measured.digest, space)?,
            || file.exists().then(|| Ok(Predictor::load(&file)?)).transpose(),
            |_, reporter| {
                let (kind, quantity) = (Kind::default(), Quantity::Latency);
                steps::fit(measurements, space, kind, quantity, &file, reporter)
            },
        )?;
        let summary = PredictorSummary::of(&predictor);
        self.reporter.result(&format!(
            "from {} architectures, cross-validated: MAPE {:.1} %, {:.0} % within 10 %, Kendall \
             tau {:.3}{}",
            summary.measured,
            100.0 * summary.mape,
            100.0 * summary.within_10,
            summary.tau,
            summary
                .noise_floor
                .map_or(String::new(), |noise| format!("; noise floor {:.1} %", 100.0 * noise))
        ));
        Ok(predictor)
    }

    fn search(
        &mut self,
        space: &Space,
        predictor: &Predictor,
        fitness: &dyn Fitness,
    ) -> Result<Outcome, PipelineError> {
        let config = self.config;
        let band = config.budget.on(predictor)?;
        self.reporter
            .step("search", &format!("for the lowest loss at about {:.2} ms", band.target_ms));
        let inputs =
            inputs::search(config, &self.files.predictor, space, &band, &fitness.digest())?;
        let (file, store) = (self.files.search.clone(), self.files.evaluations.clone());
        let outcome: Outcome = self.step(
            "search",
            inputs,
            || Ok(file.exists().then(|| read_json(&file, atb_search::SCHEMA)).transpose()?),
            |_, reporter| {
                let outcome = steps::search_space(
                    &Ranks::alone(),
                    space,
                    predictor,
                    &config.budget,
                    &config.search,
                    fitness,
                    &store,
                    reporter,
                )?;
                write_json(&file, &outcome)?;
                Ok(outcome)
            },
        )?;
        if let Some(winner) = outcome.winner() {
            self.reporter.result(&format!(
                "{} of {} candidates evaluated; the best is {} with loss {:.4}, predicted {:.2} ms",
                outcome.ranking.len(),
                outcome.candidates,
                winner.arch,
                winner.fitness,
                winner.latency_ms
            ));
        }
        Ok(outcome)
    }

    /// Measures the best of the search, so that the choice does not rest on predictions
    /// alone, and fits the predictor to them as well.
    fn finalists(
        &mut self,
        target: &Target,
        measurements: &MeasurementFile,
        predictor: &Predictor,
        outcome: &Outcome,
        fitness: &dyn Fitness,
    ) -> Result<(Vec<Finalist>, Option<StaticTable>), PipelineError> {
        let config = self.config;
        let best = config.finalists.min(outcome.ranking.len());
        self.reporter.step("measure", &format!("the {best} best of the search"));
        let protocol = self.protocol.clone();
        let inputs = inputs::measure(config, &self.files.search, best, &protocol)?;
        let file = self.files.finalists.clone();
        let band = config.budget.on(predictor)?;
        let (finalists, static_table) = self.step(
            "measure",
            inputs,
            || Ok(None),
            |begun, reporter| {
                // Measurements of another search's best are of no use; those of this one's
                // are continued.
                if begun == Begun::OnOthers
                    && !holds_only(&file, &protocol, &outcome.ranking[..best])
                {
                    remove_file(&file)?;
                }
                let best = &outcome.ranking[..best];
                let finalists = steps::measure_finalists(
                    target, best, fitness, predictor, &band, &file, reporter,
                )?;
                let Some(winner) = finalists.first() else { return Ok((finalists, None)) };
                let table = StaticTable::beside(&winner.arch, fitness)?;
                if let Some(table) = table.filter(|table| !table.is_beaten()) {
                    reporter.warn(&format!(
                        "{} is not recommended: a static table of word embeddings, which \
                         takes no time, has the loss {:.4}; give it more latency, or train the \
                         SuperPLM longer",
                        winner.arch, table.loss
                    ));
                }
                Ok((finalists, table))
            },
        )?;
        for finalist in &finalists {
            self.reporter.result(&format!(
                "{} loss {:.4}{}, predicted {:.2} ms, measured {:.2} ms ({:+.1} %)",
                finalist.arch,
                finalist.loss,
                match finalist.above_lowest {
                    above if above.value == 0.0 => "",
                    above if above.is_told() => " (above the lowest)",
                    _ => " (not told apart from the lowest)",
                },
                finalist.predicted_ms,
                finalist.measured_ms,
                100.0 * (finalist.measured_ms / finalist.predicted_ms - 1.0)
            ));
        }
        if let Some(table) = static_table {
            self.reporter.result(&format!(
                "a static table of word embeddings has the loss {:.4}{}",
                table.loss,
                if table.is_beaten() { ", above the winner's" } else { "" }
            ));
        }
        let measured = MeasurementFile::read(&file)?;
        let inputs = inputs::update(&measurements.digest, &measured.digest, &predictor.space)?;
        let updated = self.files.updated_predictor.clone();
        let all = [measurements.clone(), measured];
        self.step(
            "update",
            inputs,
            || Ok(updated.exists().then_some(())),
            |_, reporter| {
                let (kind, quantity) = (Kind::default(), Quantity::Latency);
                steps::fit(&all, &predictor.space, kind, quantity, &updated, reporter)?;
                Ok(())
            },
        )?;
        Ok((finalists, static_table))
    }

    fn extract(&mut self, arch: &Architecture, weights: &Weights) -> Result<(), PipelineError> {
        self.reporter.step("extract", &format!("{arch} from the SuperPLM"));
        let folder = self.files.winner.clone();
        self.step(
            "extract",
            inputs::extract(arch, weights.plm.source())?,
            || Ok(folder.exists().then_some(())),
            |_, _| {
                if folder.exists() {
                    fs_err::remove_dir_all(&folder)?;
                }
                Ok(extract(&weights.plm, arch, &folder).map(|_| ())?)
            },
        )
    }

    fn export(&mut self) -> Result<Bundle, PipelineError> {
        let (workload, precision) = (self.protocol.workload, self.config.export.precision);
        let options = Options { workload, precision, ..Options::default() };
        self.reporter.step("export", "the winner to ONNX");
        let weights = self.files.weights();
        let (folder, winner) = (self.files.bundle.clone(), self.files.winner.clone());
        let bundle = self.step(
            "export",
            inputs::export(&weights, workload, precision)?,
            || Ok(Bundle::open(&folder).ok()),
            |_, _| Ok(export(&winner, &options, &folder)?),
        )?;
        self.reporter.result(&format!(
            "{} with {:.1} million parameters, {:.1} MB",
            bundle.model_file().display(),
            bundle.report().parameters as f64 / 1e6,
            bundle.report().model_bytes as f64 / 1e6
        ));
        Ok(bundle)
    }

    fn verify(&mut self, bundle: &mut Bundle) -> Result<atb_export::Parity, PipelineError> {
        self.reporter.step("verify", "candle, tract and ONNX Runtime on the same sentences");
        let inputs = inputs::verify(&bundle.model_file(), &self.files.weights())?;
        let winner = self.files.winner.clone();
        // Engines that could not be compared are tried again.
        let known = bundle.report().parity;
        let known = known.filter(|parity| parity.holds() && parity.tract_ort.is_some());
        let parity = self.step(
            "verify",
            inputs,
            || Ok(known),
            |_, reporter| steps::verify_bundle(bundle, &winner, reporter),
        )?;
        self.reporter.result(&format!(
            "{} {:.1e} over {} sentences",
            parity.what(),
            parity.largest(),
            parity.sentences
        ));
        Ok(parity)
    }

    fn bench(&mut self, target: &Target, bundle: &Bundle) -> Result<steps::Timed, PipelineError> {
        let config = self.config;
        let baseline = &config.budget.baseline;
        self.reporter.step("bench", &format!("the exported file and {baseline}, alternating"));
        let model = bundle.model_file();
        let inputs = inputs::bench(config, &model, &self.protocol)?;
        let (file, protocol) = (self.files.check.clone(), self.protocol.clone());
        self.step(
            "bench",
            inputs,
            || Ok(None),
            |begun, reporter| {
                // Measurements of another model are of no use; those of this one are
                // continued.
                if begun == Begun::OnOthers {
                    remove_file(&file)?;
                }
                let engines = steps::OtherEngines::default();
                steps::bench(target, &model, baseline, engines, &protocol, &file, reporter)
            },
        )
    }

    /// Measures the winner with shorter texts.
    fn lengths(&mut self, target: &Target, winner: &Architecture) -> Result<(), PipelineError> {
        let config = self.config;
        let lengths = steps::shorter(&config.lengths, &self.protocol);
        if lengths.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = lengths.iter().map(usize::to_string).collect();
        self.reporter.step("lengths", &format!("{winner} with {} tokens", names.join(", ")));
        let inputs = inputs::lengths(config, winner, &self.protocol)?;
        let (folder, protocol) = (self.files.lengths.clone(), self.protocol.clone());
        let found = self.step(
            "lengths",
            inputs,
            || Ok(None),
            |begun, reporter| {
                // Measurements of another model are of no use; those of this one are kept.
                if begun == Begun::OnOthers && folder.exists() {
                    fs_err::remove_dir_all(&folder)?;
                }
                steps::measure_lengths(target, winner, &lengths, &protocol, &folder, reporter)
            },
        )?;
        let found: Vec<String> =
            found.iter().map(|it| format!("{:.2} ms", it.latency_ms)).collect();
        self.reporter.result(&found.join(", "));
        Ok(())
    }

    /// What the steps warned of, each once.
    fn warnings(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for warning in self.steps.iter().flat_map(|step| self.state.warnings(step)) {
            if !all.contains(warning) {
                all.push(warning.clone());
            }
        }
        all
    }

    fn report(
        &mut self,
        target: &Target,
        found: &Found<'_>,
        superplm: Origin,
        bundle: &mut Bundle,
    ) -> Result<RunReport, PipelineError> {
        let Found { predictor, outcome, finalists, static_table, parity, timed } = found;
        let winner = &finalists[0];
        let band = self.config.budget.on(predictor)?;
        let reference_ms = predictor.sources.first().map(|source| source.reference_ms);
        let measured_ms = reference_ms.map(|reference_ms| timed.ratio * reference_ms);
        let measured_ms = measured_ms.filter(|ms| ms.is_finite()).ok_or_else(|| {
            let figure = format!("measured latency of {}", winner.arch);
            let reason = "the predictor's reference latency is absent or no number".to_owned();
            PipelineError::NoFigure { figure, reason }
        })?;
        let report = RunReport {
            schema: REPORT_SCHEMA,
            target: target.name.clone(),
            workload: self.protocol.workload,
            winner: winner.arch.clone(),
            loss: winner.loss,
            budget_ms: band.target_ms,
            band_ms: (band.low_ms(), band.high_ms()),
            predicted_ms: winner.predicted_ms,
            interval_ms: winner.interval_ms,
            measured_ms,
            prediction_error: measured_ms / winner.predicted_ms - 1.0,
            in_band: band.contains(measured_ms),
            baseline: self.config.budget.baseline.clone(),
            baseline_ms: measured_ms * timed.speedup,
            speedup: timed.speedup,
            predictor: PredictorSummary::of(predictor),
            parity: *parity,
            superplm,
            candidates: outcome.candidates,
            evaluated: outcome.ranking.len(),
            finalists: finalists.to_vec(),
            static_table: *static_table,
            flags: timed.flags.clone(),
            warnings: self.warnings(),
        };
        bundle.update(|bundle| {
            bundle.set_latency(Latency {
                target: report.target.clone(),
                engine: timed.engine.clone(),
                measured_ms: report.measured_ms,
                predicted_ms: Some(report.predicted_ms),
                speedup: Some(report.speedup),
                baseline: Some(report.baseline.clone()),
            });
        })?;
        write_json(&self.files.report, &report)?;
        Ok(report)
    }
}

/// What the steps before the report found.
struct Found<'a> {
    predictor: &'a Predictor,
    outcome: &'a Outcome,
    finalists: &'a [Finalist],
    static_table: Option<StaticTable>,
    parity: atb_export::Parity,
    timed: steps::Timed,
}

/// What is measured to fit on: the baseline of the budget as well.
pub(crate) fn profile_settings(config: &Config) -> ProfileConfig {
    let mut settings = config.profile.clone();
    if !settings.baselines.contains(&config.budget.baseline) {
        settings.baselines.push(config.budget.baseline.clone());
    }
    settings
}

/// Whether `file` holds measurements by `protocol` of no others than `best`.
pub(crate) fn holds_only(file: &Path, protocol: &Protocol, best: &[Evaluated]) -> bool {
    let of_best = |arch: Option<&Architecture>| best.iter().any(|it| Some(&it.arch) == arch);
    MeasurementFile::read(file).is_ok_and(|measured| {
        measured.header.protocol == *protocol
            && measured.records.iter().all(|record| of_best(record.arch()))
    })
}

/// Removes a file if it is there.
fn remove_file(path: &Path) -> Result<(), PipelineError> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
