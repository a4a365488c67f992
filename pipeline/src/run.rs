//! All steps in order, in one folder.

use std::fs;
use std::path::{Path, PathBuf};

use atb_export::{Bundle, Latency, export};
use atb_files::{digest_of_file, digest_of_parts as digest};
use atb_measurements::{MeasurementFile, Protocol, Quantity};
use atb_predictor::{Kind, Predictor};
use atb_search::Outcome;
use atb_settings::Checked;
use atb_space::{Architecture, Space};
use atb_superplm::extract;
use atb_targets::Target;

use crate::state::{State, write_json};
use crate::steps::{self, Finalist};
use crate::{
    Config, Origin, PipelineError, PredictorSummary, REPORT_SCHEMA, Reporter, RunReport, Weights,
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
            report: folder.join("report.json"),
        }
    }
}

/// One run: its files, its state and who watches it.
struct Run<'a> {
    config: &'a Config,
    /// The configuration's protocol on the target.
    protocol: Protocol,
    files: Files,
    state: State,
    reporter: &'a mut dyn Reporter,
    warnings: Vec<String>,
}

/// Collects warnings for the report on their way to the reporter.
struct Collecting<'a> {
    reporter: &'a mut dyn Reporter,
    warnings: &'a mut Vec<String>,
}

impl Reporter for Collecting<'_> {
    fn step(&mut self, name: &str, detail: &str) {
        self.reporter.step(name, detail);
    }
    fn kept(&mut self) {
        self.reporter.kept();
    }
    fn begin(&mut self, done: u64, total: u64) {
        self.reporter.begin(done, total);
    }
    fn advance(&mut self, message: &str) {
        self.reporter.advance(message);
    }
    fn reach(&mut self, done: u64, message: &str) {
        self.reporter.reach(done, message);
    }
    fn end(&mut self) {
        self.reporter.end();
    }
    fn result(&mut self, text: &str) {
        self.reporter.result(text);
    }
    fn warn(&mut self, text: &str) {
        self.warnings.push(text.to_owned());
        self.reporter.warn(text);
    }
}

/// Does the whole job of `config` and leaves everything in its output folder.
///
/// # Errors
/// [`PipelineError`]; finished steps are kept and the same call continues after them.
pub fn run(config: &Config, reporter: &mut dyn Reporter) -> Result<RunReport, PipelineError> {
    // What can be wrong with the settings is said before any time is spent.
    config.checked()?;
    let target = Target::find(&config.target)?;
    config.space.0.validate()?;
    fs::create_dir_all(&config.output).map_err(PipelineError::io(&config.output))?;
    let mut run = Run {
        config,
        protocol: config.protocol.clone().on(target.threads, &target.cores),
        files: Files::of(&config.output),
        state: State::open(&config.output)?,
        reporter,
        warnings: Vec::new(),
    };
    run.all(&target)
}

impl Run<'_> {
    fn collecting(&mut self) -> Collecting<'_> {
        Collecting { reporter: self.reporter, warnings: &mut self.warnings }
    }

    fn all(&mut self, target: &Target) -> Result<RunReport, PipelineError> {
        let config = self.config;
        self.reporter.step("superplm", &config.superplm);
        let weights = Weights::load(&config.superplm)?;
        let space = config.space.0.within(weights.plm.architecture())?;
        self.reporter.result(&format!(
            "{}: {}, {} architectures of the space `{}` in it",
            weights.origin.description,
            weights.plm.architecture(),
            space.count_uniform(),
            space.name
        ));
        // A text that is missing or does not fit is told before anything is measured.
        steps::held_out(&config.fitness, &weights.plm)?;
        let measurements = self.profile(target, &space)?;
        let predictor = self.fit(&measurements, &space)?;
        let outcome = self.search(&space, &predictor, &weights)?;
        let finalists = self.finalists(target, &measurements, &predictor, &outcome)?;
        let winner = finalists.first().ok_or_else(|| PipelineError::Content {
            path: self.files.search.clone(),
            problem: "it has no winner".to_owned(),
        })?;
        self.extract(&winner.arch, &weights)?;
        let mut bundle = self.export()?;
        let parity = self.verify(&mut bundle)?;
        let timed = self.bench(target, &bundle)?;
        let found = Found {
            predictor: &predictor,
            outcome: &outcome,
            finalists: &finalists,
            parity,
            timed,
        };
        self.report(target, &found, weights.origin, &mut bundle)
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
        let mut settings = config.profile.clone();
        if !settings.baselines.contains(&config.budget.against) {
            settings.baselines.push(config.budget.against.clone());
        }
        let protocol = self.protocol.clone();
        let mut reporter = self.collecting();
        let measured =
            steps::profile_space(target, space, &settings, &protocol, &file, &mut reporter)?;
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
        let inputs = digest(&[&measured.digest, &format!("{space:?}")]);
        let file = self.files.predictor.clone();
        let predictor = if self.state.is_done("fit", &inputs) && file.exists() {
            self.reporter.kept();
            Predictor::load(&file)?
        } else {
            let measured = std::slice::from_ref(measured);
            let predictor = steps::fit(
                measured,
                space,
                Kind::default(),
                Quantity::Latency,
                &file,
                &mut self.collecting(),
            )?;
            self.state.finish("fit", &inputs)?;
            predictor
        };
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
        weights: &Weights,
    ) -> Result<Outcome, PipelineError> {
        let config = self.config;
        let budget = steps::budget(&config.budget, predictor)?;
        self.reporter
            .step("search", &format!("for the lowest loss at about {:.2} ms", budget.target_ms));
        let fitness = steps::loss_on_text(&config.fitness, &weights.plm)?;
        let inputs = digest(&[
            &file_digest(&self.files.predictor)?,
            &format!("{space:?} {budget:?} {:?}", config.search),
            &fitness.digest(),
        ]);
        let file = self.files.search.clone();
        let outcome: Outcome = if self.state.is_done("search", &inputs) && file.exists() {
            self.reporter.kept();
            read_json(&file)?
        } else {
            let store = self.files.evaluations.clone();
            let outcome = steps::search_space(
                space,
                predictor,
                &budget,
                &config.search,
                fitness.as_ref(),
                &store,
                &mut self.collecting(),
            )?;
            write_json(&file, &outcome)?;
            self.state.finish("search", &inputs)?;
            outcome
        };
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
    ) -> Result<Vec<Finalist>, PipelineError> {
        let config = self.config;
        let best = config.finalists.max(1).min(outcome.ranking.len());
        self.reporter.step("measure", &format!("the {best} best of the search"));
        let inputs = digest(&[&file_digest(&self.files.search)?, &format!("{best}")]);
        let file = self.files.finalists.clone();
        // Measurements of another search's best are of no use; those of this one's are
        // continued.
        if !self.state.is_done("measure", &inputs) && file.exists() {
            fs::remove_file(&file).map_err(PipelineError::io(&file))?;
        }
        self.state.finish("measure", &inputs)?;
        let budget = steps::budget(&config.budget, predictor)?;
        let finalists = steps::measure_finalists(
            target,
            outcome,
            best,
            predictor,
            &budget,
            &file,
            &mut self.collecting(),
        )?;
        for finalist in &finalists {
            self.reporter.result(&format!(
                "{} loss {:.4}, predicted {:.2} ms, measured {:.2} ms ({:+.1} %)",
                finalist.arch,
                finalist.loss,
                finalist.predicted_ms,
                finalist.measured_ms,
                100.0 * (finalist.measured_ms / finalist.predicted_ms - 1.0)
            ));
        }
        let measured = MeasurementFile::read(&file)?;
        let inputs = digest(&[&measurements.digest, &measured.digest]);
        if !self.state.is_done("update", &inputs) || !self.files.updated_predictor.exists() {
            let updated = self.files.updated_predictor.clone();
            let all = [measurements.clone(), measured];
            steps::fit(
                &all,
                &predictor.space,
                Kind::default(),
                Quantity::Latency,
                &updated,
                &mut self.collecting(),
            )?;
            self.state.finish("update", &inputs)?;
        }
        Ok(finalists)
    }

    fn extract(&mut self, arch: &Architecture, weights: &Weights) -> Result<(), PipelineError> {
        self.reporter.step("extract", &format!("{arch} from the SuperPLM"));
        let inputs = digest(&[&arch.id(), weights.plm.source()]);
        let folder = self.files.winner.clone();
        if self.state.is_done("extract", &inputs) && folder.exists() {
            self.reporter.kept();
            return Ok(());
        }
        if folder.exists() {
            if !self.state.made("extract") {
                return Err(PipelineError::Foreign { path: folder });
            }
            fs::remove_dir_all(&folder).map_err(PipelineError::io(&folder))?;
        }
        extract(&weights.plm, arch, &folder)?;
        self.state.finish("extract", &inputs)
    }

    fn export(&mut self) -> Result<Bundle, PipelineError> {
        let workload = self.protocol.workload;
        self.reporter.step("export", "the winner to ONNX");
        let weights = file_digest(&self.files.winner.join("model.safetensors"))?;
        let inputs = digest(&[&weights, &format!("{workload:?}")]);
        let folder = self.files.bundle.clone();
        if self.state.is_done("export", &inputs)
            && let Ok(bundle) = Bundle::open(&folder)
        {
            self.reporter.kept();
            return Ok(bundle);
        }
        let bundle = export(&self.files.winner, workload, &folder)?;
        self.state.finish("export", &inputs)?;
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
        if let Some(parity) = bundle.report().parity
            && parity.holds()
            && parity.tract_ort.is_some()
        {
            self.reporter.kept();
            return Ok(parity);
        }
        let winner = self.files.winner.clone();
        let parity = steps::verify_bundle(bundle, &winner, &mut self.collecting())?;
        self.reporter.result(&format!(
            "largest difference {:.1e} over {} sentences",
            parity.largest(),
            parity.sentences
        ));
        Ok(parity)
    }

    fn bench(&mut self, target: &Target, bundle: &Bundle) -> Result<steps::Timed, PipelineError> {
        let baseline = &self.config.budget.against;
        self.reporter.step("bench", &format!("the exported file and {baseline} in turns"));
        let inputs = digest(&[
            &file_digest(&bundle.model_file())?,
            &format!("{target:?} {:?} {baseline}", self.protocol),
        ]);
        let file = self.files.check.clone();
        // Measurements of another model are of no use; those of this one are continued.
        if !self.state.is_done("bench", &inputs) && file.exists() {
            fs::remove_file(&file).map_err(PipelineError::io(&file))?;
        }
        self.state.finish("bench", &inputs)?;
        let protocol = self.protocol.clone();
        let baseline = &self.config.budget.against;
        let model = bundle.model_file();
        steps::bench(target, &model, baseline, None, &protocol, &file, &mut self.collecting())
    }

    fn report(
        &mut self,
        target: &Target,
        found: &Found<'_>,
        superplm: Origin,
        bundle: &mut Bundle,
    ) -> Result<RunReport, PipelineError> {
        let Found { predictor, outcome, finalists, parity, timed } = found;
        let winner = &finalists[0];
        let budget = steps::budget(&self.config.budget, predictor)?;
        let reference_ms = predictor.sources.first().map_or(f64::NAN, |s| s.reference_ms);
        let measured_ms = timed.ratio * reference_ms;
        let report = RunReport {
            schema: REPORT_SCHEMA,
            target: target.name.clone(),
            workload: self.protocol.workload,
            winner: winner.arch.clone(),
            loss: winner.loss,
            budget_ms: budget.target_ms,
            band_ms: (budget.low_ms(), budget.high_ms()),
            predicted_ms: winner.predicted_ms,
            interval_ms: winner.interval_ms,
            measured_ms,
            prediction_error: measured_ms / winner.predicted_ms - 1.0,
            in_band: budget.contains(measured_ms),
            baseline: self.config.budget.against.clone(),
            baseline_ms: measured_ms * timed.speedup,
            speedup: timed.speedup,
            predictor: PredictorSummary::of(predictor),
            parity: *parity,
            superplm,
            candidates: outcome.candidates,
            evaluated: outcome.ranking.len(),
            finalists: finalists.to_vec(),
            flags: timed.flags.clone(),
            warnings: std::mem::take(&mut self.warnings),
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
    parity: atb_export::Parity,
    timed: steps::Timed,
}

fn file_digest(path: &Path) -> Result<String, PipelineError> {
    digest_of_file(path).map_err(PipelineError::io(path))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, PipelineError> {
    let text = fs::read_to_string(path).map_err(PipelineError::io(path))?;
    serde_json::from_str(&text).map_err(|error| PipelineError::Content {
        path: path.to_owned(),
        problem: error.to_string(),
    })
}
