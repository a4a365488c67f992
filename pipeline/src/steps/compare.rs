//! A latency that was measured in an app beside that of a bench.

use std::collections::BTreeSet;
use std::path::Path;

use atb_measurements::{
    DeviceContext, Flag, MeasurementFile, Reading, Record, Statistics, Subject, median,
};

use crate::PipelineError;

/// Relative difference up to which two latencies of one model on one device agree, beside what
/// their own confidence intervals leave open. What is measured twice in one place differs by one
/// or two percent.
const TOLERANCE: f64 = 0.05;

/// Difference of frequencies that explains one of times.
const CLOCK: f64 = 0.03;

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    /// The model's latency in milliseconds.
    pub latency_ms: f64,
    /// The reference model's.
    pub reference_ms: f64,
    /// The one over the other, which does not depend on the device's speed at the time.
    pub ratio: f64,
    /// Half of the ratio's 95 % confidence interval over the ratio.
    pub half_width: f64,
}

/// How a latency in an app compares with that of a bench.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The bench.
    pub bench: Side,
    /// The app.
    pub app: Side,
    /// Whether the latencies agree.
    pub agrees: bool,
    /// Whether the ratios to the reference model agree: where they do and the latencies do not,
    /// the device ran at another speed, and the model is the same.
    pub ratio_agrees: bool,
    /// What differs between the two, whether or not it explains anything.
    pub differences: Vec<String>,
}

/// Compares the record that an app made of the ONNX file `model` with the measurements of `atb
/// bench` of the same file.
///
/// # Errors
/// [`PipelineError`] if one of the files is none, holds no measurement of a model file, or the
/// app measured another model.
pub fn compare_with_app(
    model: &Path,
    bench: &Path,
    app: &Path,
) -> Result<Comparison, PipelineError> {
    let (bench, app_file) = (MeasurementFile::read(bench)?, MeasurementFile::read(app)?);
    let of_app = records(&app_file);
    let expected = atb_files::digest_of_file(model)?;
    let other = of_app.iter().find_map(|record| {
        let Subject::Model(name) = &record.subject else { return None };
        name.split_once("@sha256:").map(|(_, digest)| digest).filter(|digest| *digest != expected)
    });
    if other.is_some() {
        return Err(PipelineError::Setting {
            key: "--compare",
            value: app.display().to_string(),
            expected: "a record of this very model; the app measured another file",
            hint: Some("bench the model that the app's bundle has"),
        });
    }
    let (bench_side, app_side) = (side(&bench)?, side(&app_file)?);
    let open = TOLERANCE + bench_side.half_width + app_side.half_width;
    let apart = |a: f64, b: f64| (a / b - 1.0).abs();
    Ok(Comparison {
        agrees: apart(app_side.latency_ms, bench_side.latency_ms) <= open,
        ratio_agrees: apart(app_side.ratio, bench_side.ratio) <= open,
        differences: differences(&bench, &app_file),
        bench: bench_side,
        app: app_side,
    })
}

/// The records of model files.
fn records(file: &MeasurementFile) -> Vec<&Record> {
    let of_model = |record: &&Record| matches!(record.subject, Subject::Model(_));
    file.records.iter().filter(of_model).collect()
}

fn side(file: &MeasurementFile) -> Result<Side, PipelineError> {
    let statistics: Vec<Statistics> = records(file)
        .into_iter()
        .map(|record| file.statistics(record))
        .collect::<Result<_, _>>()?;
    let middle = |value: fn(&Statistics) -> f64| {
        let values: Vec<f64> = statistics.iter().map(value).collect();
        median(&values).filter(|value| value.is_finite())
    };
    let ratio = middle(|statistics| statistics.ratio).filter(|ratio| *ratio > 0.0);
    let ratio = ratio.ok_or_else(|| PipelineError::NoFigure {
        figure: "latency of the model file".to_owned(),
        reason: format!("{} holds no measurement of one", file.path.display()),
    })?;
    let reference_ms = file.reference_ms()?;
    let half_width = middle(|statistics| statistics.ratio_half_width).unwrap_or(0.0);
    Ok(Side { latency_ms: ratio * reference_ms, reference_ms, ratio, half_width })
}

/// What differs between the two: the processor, the cores, the clock, the heat, the protocol.
fn differences(bench: &MeasurementFile, app: &MeasurementFile) -> Vec<String> {
    let mut found = Vec::new();
    let mut note = |what: &str, there: String, here: String| {
        if there != here {
            found.push(format!("{what}: {there} in the bench, {here} in the app"));
        }
    };
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let (b, a) = (&bench.header, &app.header);
    note("processor", known(&b.device.cpu), known(&a.device.cpu));
    note("board", known(&b.device.board), known(&a.device.board));
    note("instruction set", b.device.isa.clone(), a.device.isa.clone());
    note("operating system", known(&b.device.os_name), known(&a.device.os_name));
    note("governor", known(&b.device.governor), known(&a.device.governor));
    note("engine", b.agent.runtime.clone(), a.agent.runtime.clone());
    note("matrix kernel", b.agent.kernel.clone(), a.agent.kernel.clone());
    note("kind of processor to the engine", known(&b.agent.cpu_kind), known(&a.agent.cpu_kind));
    note("settings of the engine", list(b.agent.overrides.keys()), list(a.agent.overrides.keys()));
    note("threads", b.protocol.threads.to_string(), a.protocol.threads.to_string());
    note("pinned cores", list(&b.protocol.cores), list(&a.protocol.cores));
    note("reference model", b.protocol.reference.id(), a.protocol.reference.id());
    let input = |file: &MeasurementFile| {
        let workload = file.header.protocol.workload;
        format!("{} x {} tokens", workload.batch, workload.sequence)
    };
    note("input", input(bench), input(app));
    let seconds = |file: &MeasurementFile| format!("{} s", file.header.protocol.max_seconds);
    note("longest measurement", seconds(bench), seconds(app));
    note("kinds of cores that it ran on", ran_on(bench), ran_on(app));
    note("slowed down by", throttled(bench), throttled(app));
    note("flags", flags(bench), flags(app));
    if let Some((bench, app)) = clock(bench).zip(clock(app))
        && (app / bench - 1.0).abs() > CLOCK
    {
        note("clock", format!("{bench:.0} MHz"), format!("{app:.0} MHz"));
    }
    if let Some((bench, app)) = hottest(bench).zip(hottest(app))
        && (app - bench).abs() >= 10.0
    {
        note("temperature", format!("{bench:.0} C"), format!("{app:.0} C"));
    }
    found
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

/// The kinds of cores that runs ended on, as the device names them.
fn ran_on(file: &MeasurementFile) -> String {
    let kind = |device: &DeviceContext, core: usize| {
        let cluster = device.clusters.iter().find(|cluster| cluster.cores.contains(&core));
        let cluster = cluster.map(|cluster| (cluster.name.clone(), cluster.max_frequency_mhz));
        match cluster {
            Some((Some(name), Some(mhz))) => format!("{name} to {mhz:.0} MHz"),
            Some((Some(name), None)) => name,
            _ => "unknown".to_owned(),
        }
    };
    let records = records(file);
    let cores = records.iter().flat_map(|record| &record.telemetry.runs_on_cores);
    list(cores.map(|runs| kind(&file.header.device, runs.core)).collect::<BTreeSet<_>>())
}

fn readings(file: &MeasurementFile) -> Vec<&Reading> {
    records(file)
        .into_iter()
        .flat_map(|record| [&record.telemetry.before, &record.telemetry.after])
        .collect()
}

fn throttled(file: &MeasurementFile) -> String {
    list(readings(file).iter().flat_map(|reading| &reading.throttled_by).collect::<BTreeSet<_>>())
}

fn flags(file: &MeasurementFile) -> String {
    let records = records(file);
    let flags = records.iter().flat_map(|record| &record.flags);
    list(flags.map(|flag: &Flag| flag.name()).collect::<BTreeSet<_>>())
}

/// The median over all readings of the fastest core's frequency, in MHz.
fn clock(file: &MeasurementFile) -> Option<f64> {
    let fastest = |reading: &&Reading| {
        reading.frequencies.iter().map(|frequency| frequency.mhz).reduce(f64::max)
    };
    median(&readings(file).iter().filter_map(fastest).collect::<Vec<_>>())
}

fn hottest(file: &MeasurementFile) -> Option<f64> {
    let readings = readings(file);
    let zones = readings.iter().filter_map(|reading| reading.hottest.as_ref());
    zones.map(|zone| zone.temperature_c).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use atb_measurements::{
        AgentContext, CoreCluster, CoreFrequency, Header, Protocol, Role, RunsOnCore, SCHEMA,
        Telemetry, file_text,
    };

    use super::*;

    /// A file of one record: `us` a run of the model, 1000 a run of the reference, on the core
    /// `core` at `mhz`.
    fn file(subject: &str, (us, reference_us): (f64, f64), core: usize, mhz: f64) -> String {
        let cluster = |name: &str, cores: &[usize]| CoreCluster {
            name: Some(name.to_owned()),
            cores: cores.to_vec(),
            ..CoreCluster::default()
        };
        let clusters = vec![cluster("Cortex-A78", &[4, 5]), cluster("Cortex-A55", &[0, 1])];
        let header = Header {
            schema: SCHEMA,
            target: "somewhere".to_owned(),
            protocol: Protocol::default(),
            device: DeviceContext { clusters, ..DeviceContext::default() },
            agent: AgentContext::default(),
        };
        let frequencies = vec![CoreFrequency { core, mhz }];
        let reading = Reading { frequencies, ..Reading::default() };
        let record = Record {
            samples_us: (0..20).map(|i| us + f64::from(i) * 0.01).collect(),
            reference_us: vec![reference_us; 20],
            telemetry: Telemetry {
                before: reading.clone(),
                after: reading,
                runs_on_cores: vec![RunsOnCore { core, runs: 40 }],
                ..Telemetry::default()
            },
            ..Record::new(Subject::Model(subject.to_owned()), Role::Check)
        };
        file_text(&header, &[record]).expect("text")
    }

    fn compared(bench: &str, app: &str) -> Result<Comparison, PipelineError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for (name, text) in [("model.onnx", "a model"), ("bench", bench), ("app", app)] {
            std::fs::write(path(name), text).expect("writes");
        }
        compare_with_app(&path("model.onnx"), &path("bench"), &path("app"))
    }

    #[test]
    fn numbers_agree_or_what_differs_is_told() {
        let subject = format!("model.onnx@sha256:{}", atb_files::digest(b"a model"));
        let bench = file("/data/bench-1.onnx", (2000.0, 1000.0), 4, 2400.0);
        let same = compared(&bench, &file(&subject, (2040.0, 1000.0), 5, 2400.0)).expect("both");
        assert!(same.agrees && same.ratio_agrees);
        assert_eq!(same.differences, [""; 0]);
        assert!((same.app.latency_ms - 2.04).abs() < 0.001);

        // Slow cores: everything takes three times as long, and the ratio holds.
        let slow = compared(&bench, &file(&subject, (6000.0, 3000.0), 0, 1200.0)).expect("both");
        assert!(!slow.agrees && slow.ratio_agrees);
        assert_eq!(
            slow.differences,
            [
                "kinds of cores that it ran on: Cortex-A78 in the bench, Cortex-A55 in the app",
                "clock: 2400 MHz in the bench, 1200 MHz in the app"
            ]
        );

        let other = format!("model.onnx@sha256:{}", atb_files::digest(b"another"));
        let error = compared(&bench, &file(&other, (2000.0, 1000.0), 4, 2400.0));
        assert!(error.expect_err("another model").to_string().contains("measured another file"));
        let error = compared(&bench, "nonsense").expect_err("no record").to_string();
        assert!(error.contains("app: line 1 is not a measurement header"), "{error}");
    }
}
