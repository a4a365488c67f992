//! Bundles in rten, an engine with an ONNX reader of its own.

use atb_export::Bundle;
use atb_interface::larger;
use atb_rten::RtenSession;
use atb_runtime::TextModel;
use atb_space::Precision;

/// Difference between rten and tract over texts of several lengths: the largest of any value, of
/// integers relative to a whole output.
pub(crate) fn difference(bundle: &Bundle) -> f32 {
    let rten = RtenSession::open(&bundle.model_file(), 1).expect("rten loads the file");
    let mut text = TextModel::open(bundle.folder()).expect("opens");
    let shape = [text.session().batch(), text.session().sequence()];
    let batches = text.run(&["It charges quickly.", "", "one two three four"]).expect("runs");
    batches.iter().fold(0.0, |largest: f32, (inputs, in_tract)| {
        let batch = rten.batch(shape, inputs).expect("its inputs");
        let mut outputs = rten.outputs(&batch).expect("rten runs the model");
        outputs.blank_padding(&inputs.attention_mask);
        let difference = match bundle.report().precision {
            Precision::F32 => in_tract.largest_difference(&outputs),
            Precision::F16 | Precision::Int8 => in_tract.relative_difference(&outputs),
        };
        larger(largest, difference)
    })
}
