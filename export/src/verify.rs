//! The same sentences through a reference implementation, tract and ONNX Runtime.

use std::path::Path;

use atb_checkpoint::BertConfig;
use atb_interface::{Inputs, OutputShape, Outputs, larger};
use atb_onnx_runtime::OnnxRuntime;
use atb_runtime::{Session, TextModel};
use atb_space::Workload;
use atb_text::{Encoded, PARITY_SENTENCES, Tokenizer};

use crate::parity::{Parity, difference};
use crate::{Bundle, ExportError, vocabulary};

/// Runs `bundle` on the parity sentences, and compares every output of it with those that
/// `reference` gives for the model folder that it was exported from.
///
/// `reference` gets one batch at a time and gives all outputs of the bundle, by name; others
/// it may give are passed over. What outputs say of padding is not compared. Without `onnx_runtime` only the reference and tract are
/// compared.
///
/// # Errors
/// [`ExportError`] if the bundle cannot be loaded or run, or was exported from another
/// architecture than the `model` folder's; what `reference` reports.
pub fn verify<E: From<ExportError>>(
    bundle: &Bundle,
    model: &Path,
    mut reference: impl FnMut(&Encoded) -> Result<Outputs, E>,
    onnx_runtime: Option<&OnnxRuntime>,
) -> Result<Parity, E> {
    check_same_architecture(bundle, model)?;
    let precision = bundle.report().precision;
    let sentences: Vec<&str> =
        PARITY_SENTENCES.lines().filter(|line| !line.trim().is_empty()).collect();
    let (sizes, in_tract) = in_tract(bundle, &sentences)?;
    let [batch, sequence] = sizes;
    let mut candle_tract = 0.0;
    let mut references = Vec::with_capacity(in_tract.len());
    let words = numbers_in(bundle, model)?;
    for (inputs, outputs) in &in_tract {
        let Inputs { mut input_ids, attention_mask, token_type_ids } = inputs.clone();
        if let Some(words) = &words {
            for id in &mut input_ids {
                *id = usize::try_from(*id).ok().and_then(|id| words.get(id)).copied().unwrap_or(0);
            }
        }
        let encoded = Encoded { batch, sequence, input_ids, attention_mask, token_type_ids };
        let mut reference = reference(&encoded)?;
        reference.blank_padding(&inputs.attention_mask);
        candle_tract = larger(candle_tract, difference(precision, outputs, &reference));
        references.push(reference);
    }
    let in_ort = onnx_runtime
        .map(|ort| in_onnx_runtime(ort, bundle, sizes, &in_tract, &references))
        .transpose()?;
    Ok(Parity {
        precision,
        candle_tract,
        candle_ort: in_ort.map(|(reference, _)| reference),
        tract_ort: in_ort.map(|(_, tract)| tract),
        sentences: sentences.len(),
    })
}

fn check_same_architecture(bundle: &Bundle, model: &Path) -> Result<(), ExportError> {
    let architecture = BertConfig::read(model)?.architecture;
    if architecture == bundle.report().architecture {
        return Ok(());
    }
    Err(ExportError::OtherModel {
        bundle: bundle.folder().to_owned(),
        bundle_arch: bundle.report().architecture.id(),
        model: model.to_owned(),
        model_arch: architecture.id(),
    })
}

/// The model's number for each word that the bundle knows, if it does not know all.
fn numbers_in(bundle: &Bundle, model: &Path) -> Result<Option<Vec<i64>>, ExportError> {
    if bundle.report().vocabulary.is_none() {
        return Ok(None);
    }
    let model = Tokenizer::from_folder(model)?;
    Ok(vocabulary::numbers(&Tokenizer::from_folder(bundle.folder())?, &model))
}

/// Checks that the model takes and gives what the bundle's report says.
fn check_same_interface(bundle: &Bundle, session: &Session) -> Result<(), ExportError> {
    let report = bundle.report();
    let refused = |said: String, found: String| {
        Err(ExportError::OtherFile { bundle: bundle.folder().to_owned(), said, found })
    };
    let takes = |batch: usize, sequence: usize| {
        format!("takes batches of {batch} with sequence length {sequence}")
    };
    let Workload { batch, sequence } = report.workload;
    if (session.batch(), session.sequence()) != (batch, sequence) {
        return refused(takes(batch, sequence), takes(session.batch(), session.sequence()));
    }
    let gives = |outputs: &[OutputShape]| {
        let shape = |output: &OutputShape| format!("{} {:?}", output.name, output.shape);
        format!("gives {}", outputs.iter().map(shape).collect::<Vec<_>>().join(", "))
    };
    // Reports of before do not name the outputs.
    if !report.outputs.is_empty() && report.outputs != session.outputs() {
        return refused(gives(&report.outputs), gives(session.outputs()));
    }
    Ok(())
}

type Batches = Vec<(Inputs, Outputs)>;

/// Batch and sequence length of the bundle, and its outputs.
fn in_tract(bundle: &Bundle, sentences: &[&str]) -> Result<([usize; 2], Batches), ExportError> {
    let mut model = TextModel::open(bundle.folder())?;
    check_same_interface(bundle, model.session())?;
    let batches = model.run(sentences)?;
    Ok(([model.session().batch(), model.session().sequence()], batches))
}

/// How far ONNX Runtime is from the reference and from tract.
fn in_onnx_runtime(
    runtime: &OnnxRuntime,
    bundle: &Bundle,
    sizes: [usize; 2],
    in_tract: &Batches,
    references: &[Outputs],
) -> Result<(f32, f32), ExportError> {
    let precision = bundle.report().precision;
    let mut session = runtime.open(&bundle.model_file(), 1)?;
    let (mut from_reference, mut from_tract) = (0.0, 0.0);
    for ((inputs, in_tract), reference) in in_tract.iter().zip(references) {
        let batch = session.batch(sizes, inputs)?;
        let mut outputs = session.outputs(&batch)?;
        outputs.blank_padding(&inputs.attention_mask);
        from_reference = larger(from_reference, difference(precision, &outputs, reference));
        from_tract = larger(from_tract, difference(precision, &outputs, in_tract));
    }
    Ok((from_reference, from_tract))
}
