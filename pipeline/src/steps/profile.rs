//! Measuring architectures of a space.

use std::path::{Path, PathBuf};

use atb_measurements::{Failure, MeasurementFile, Protocol, Record, Role, Statistics, Subject};
use atb_predictor::design::choose;
use atb_predictor::{Observations, RefineError, RefineSettings, Refined, Round, refine};
use atb_profiler::{Item, Job, Observer, Plan, ProfileError, profile, profile_all};
use atb_space::{Architecture, Sampler, Space};
use atb_targets::Target;

use crate::{Event, PipelineError, ProfileConfig, Reporter, Sampling};

/// Passes what the profiler does on to a reporter.
pub(super) struct Progress<'a>(pub(super) &'a mut dyn Reporter);

impl Observer for Progress<'_> {
    fn ready(&mut self, _: &atb_measurements::Header, done: usize, total: usize) {
        self.0.begin(done as u64, total as u64);
    }

    fn begin(&mut self, _: &Item) {}

    fn measured(&mut self, record: &Record, statistics: &Statistics) {
        let temperature = record.telemetry.after.hottest.as_ref();
        let temperature = temperature
            .map_or_else(String::new, |zone| format!(" {:.0} \u{b0}C", zone.temperature_c));
        let flags: String = record.flags.iter().map(|flag| format!(" {flag}")).collect();
        self.0.advance(&format!(
            "{} {:.2} ms \u{b1}{:.1} %{temperature}{flags}",
            record.subject,
            statistics.median_us / 1e3,
            100.0 * statistics.ratio_half_width,
        ));
    }

    fn lost(&mut self, error: &ProfileError) {
        self.0.warn(&format!("{error}; the agent is started again"));
    }

    fn gave_up(&mut self, failure: &Failure) {
        self.0.warn(&format!("{} was not measured: {}", failure.subject, failure.failure));
        self.0.advance("");
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
    let plan = plan(space, settings, protocol)?;
    let measured = profile(target, protocol, &plan, file, &mut Progress(reporter))?;
    reporter.end();
    Ok(measured)
}

/// One device to profile.
#[derive(Clone, Debug)]
pub struct ProfiledDevice {
    /// The device.
    pub target: Target,
    /// How to measure on it.
    pub protocol: Protocol,
    /// Its measurement file.
    pub file: PathBuf,
}

/// As [`profile_space`] on several devices at the same time, each with a reporter of its
/// own. The results come in the devices' order; one's failure does not end the others.
///
/// # Errors
/// [`PipelineError`] if the space or a device's settings are none.
pub fn profile_devices(
    devices: &[ProfiledDevice],
    space: &Space,
    settings: &ProfileConfig,
    reporters: &mut [impl Reporter],
) -> Result<Vec<Result<MeasurementFile, PipelineError>>, PipelineError> {
    let mut jobs = Vec::new();
    for device in devices {
        jobs.push(Job {
            plan: plan(space, settings, &device.protocol)?,
            target: device.target.clone(),
            protocol: device.protocol.clone(),
            path: device.file.clone(),
        });
    }
    let mut observers: Vec<Progress> =
        reporters.iter_mut().map(|reporter| Progress(reporter)).collect();
    let results = profile_all(&jobs, &mut observers);
    for reporter in reporters {
        reporter.event(Event::End);
    }
    Ok(results.into_iter().map(|result| result.map_err(PipelineError::from)).collect())
}

/// What [`profile_space`] measures.
pub(crate) fn plan(
    space: &Space,
    settings: &ProfileConfig,
    protocol: &Protocol,
) -> Result<Plan, PipelineError> {
    space.validate()?;
    let &ProfileConfig { samples, retests, seed, sampling, ref baselines } = settings;
    Ok(match sampling {
        Sampling::Designed => {
            let chosen = choose(space, protocol.workload, samples, seed, &[]);
            Plan::new(chosen.into_iter(), samples, retests, baselines, seed)
        }
        Sampling::Uniform => {
            Plan::new(Sampler::new(space, seed), samples, retests, baselines, seed)
        }
    })
}

/// Measures architectures of `space` on `target` into `file` in rounds, until a predictor
/// fitted on them is good enough: the first round as [`profile_space`] would, with
/// `retests` of it once more and `baselines`.
///
/// # Errors
/// [`PipelineError`]; what was measured until then is in the file, and the same call goes
/// on with it.
#[expect(clippy::too_many_arguments, reason = "each is a choice of the user's")]
pub fn refine_space(
    target: &Target,
    space: &Space,
    settings: &RefineSettings,
    retests: usize,
    baselines: &[Architecture],
    protocol: &Protocol,
    file: &Path,
    reporter: &mut dyn Reporter,
) -> Result<Refined, PipelineError> {
    space.validate()?;
    let mut round = 0;
    let reporter = std::cell::RefCell::new(reporter);
    let measure = |archs: &[Architecture]| -> Result<Observations, PipelineError> {
        round += 1;
        let mut reporter = reporter.borrow_mut();
        reporter.step("measure", &format!("round {round}, {} architectures in all", archs.len()));
        let first = settings.initial_samples.min(archs.len());
        let begin =
            Plan::new(archs[..first].iter().cloned(), first, retests, baselines, settings.seed);
        let more = archs[first..]
            .iter()
            .map(|arch| Item { subject: Subject::architecture(arch.clone()), role: Role::Sample });
        let plan = Plan::of(begin.items().iter().cloned().chain(more).collect());
        let mut measured = profile(target, protocol, &plan, file, &mut Progress(&mut **reporter))?;
        reporter.end();
        // A file that is continued may hold later rounds already.
        measured.records.retain(|record| {
            let item = Item { subject: record.subject.clone(), role: record.role };
            plan.items().contains(&item)
        });
        Ok(Observations::from_file(&measured)?)
    };
    let report = |round: &Round| {
        let fresh = round.fresh.map_or_else(String::new, |fresh| {
            format!(", {:.2} % on its new ones before they were measured", 100.0 * fresh.mape)
        });
        reporter.borrow_mut().result(&format!(
            "{} architectures: MAPE {:.2} % cross-validated{fresh}",
            round.measured,
            100.0 * round.cross_validated.mape,
        ));
    };
    let refined = refine(space, protocol.workload, settings, measure, report);
    refined.map_err(|error| match error {
        RefineError::Settings(error) => error.into(),
        RefineError::Measure(error) => error,
        RefineError::Fit(error) => error.into(),
        RefineError::Evaluation(error) => error.into(),
    })
}
