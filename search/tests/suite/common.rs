//! A predictor of a made-up device, and a made-up loss whose optimum is known.

use std::sync::atomic::{AtomicUsize, Ordering};

use atb_measurements::{
    AgentContext, DeviceContext, Header, MeasurementFile, MeasurementWriter, Protocol, Record,
    Role, SCHEMA, Subject,
};
use atb_predictor::{FitSettings, Observations, Predictor};
use atb_search::{EvaluationError, Fitness};
use atb_space::{Architecture, Cost, Range, Sampler, Space};

/// The paper's KD space on a coarser grid: 49 thousand architectures.
pub(crate) fn space() -> Space {
    Space {
        hidden: Range::new(128, 768, 32),
        intermediate: Range::new(128, 3072, 128),
        qkv: atb_space::QkvSize::Total(Range::new(180, 768, 48)),
        ..Space::paper_kd()
    }
}

/// A predictor for `space`, fitted to a device that takes a millisecond for 150 million
/// operations and some time for every layer. BERT-base is its baseline.
pub(crate) fn predictor(space: &Space) -> Predictor {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.jsonl");
    let header = Header {
        schema: SCHEMA,
        target: "made-up".to_owned(),
        protocol: Protocol::default(),
        device: DeviceContext::default(),
        agent: AgentContext::default(),
    };
    let (mut writer, _) = MeasurementWriter::open(&path, &header).expect("begins");
    let measured = |arch: Architecture, role| {
        let us = Cost::flops(&arch, 1, 128) / 1.5e5 + 80.0 * arch.num_layers() as f64;
        // Off by up to 2 %, as measurements are.
        let us = us * (1.0 + 0.004 * (arch.hidden() % 11) as f64 - 0.02);
        Record {
            samples_us: vec![us; 3],
            reference_us: vec![1000.0; 3],
            ..Record::new(Subject::architecture(arch), role)
        }
    };
    for arch in Sampler::new(space, 1).take(30) {
        writer.append(&measured(arch, Role::Sample)).expect("appends");
    }
    writer.append(&measured(Architecture::bert_base(), Role::Baseline)).expect("appends");
    let file = MeasurementFile::read(&path).expect("reads");
    let observations = Observations::from_file(&file).expect("usable");
    Predictor::fit(&observations, space, &FitSettings::default()).expect("fits")
}

/// A loss that every size lowers with diminishing returns, and that likes layers to be
/// balanced; it counts how often it is asked.
#[derive(Default)]
pub(crate) struct MadeUpLoss {
    pub(crate) asked: AtomicUsize,
    /// Fails from this evaluation on, as an interrupted program does.
    pub(crate) fails_from: Option<usize>,
}

impl MadeUpLoss {
    pub(crate) fn of(arch: &Architecture) -> f64 {
        let (dm, layers) = (arch.hidden() as f64, arch.num_layers() as f64);
        let sum: f64 = arch
            .layers()
            .iter()
            .map(|layer| {
                let (df, dq) = (layer.intermediate as f64, layer.qkv as f64);
                40.0 / df + 30.0 / dq + 0.02 * (df / dm / 1.8).ln().powi(2)
            })
            .sum();
        60.0 / dm + 0.5 / layers + sum / layers
    }
}

impl Fitness for MadeUpLoss {
    fn name(&self) -> &str {
        "made-up"
    }

    fn digest(&self) -> String {
        "1".to_owned()
    }

    fn evaluate(&self, arch: &Architecture) -> Result<f64, EvaluationError> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        if self.fails_from.is_some_and(|from| asked >= from) {
            return Err("the machine was switched off".into());
        }
        Ok(Self::of(arch))
    }
}

/// What the command line says of an error: the message, and after `hint:` what to do.
pub(crate) fn told(error: &dyn miette::Diagnostic) -> String {
    match error.help() {
        Some(help) => format!("{error}; hint: {help}"),
        None => error.to_string(),
    }
}
