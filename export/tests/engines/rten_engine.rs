//! Bundles in rten, an engine with an ONNX reader of its own.

use atb_export::Bundle;
use atb_interface::{Output, Outputs};
use atb_runtime::TextModel;
use rten::{Model, NodeId, Value, ValueOrView};

/// What counts as the same output in rten, which approximates exp and erf.
pub(crate) const TOLERANCE: f32 = 5e-4;

/// Largest difference between rten and tract over texts of several lengths.
pub(crate) fn difference(bundle: &Bundle) -> f32 {
    let model = Model::load_file(bundle.model_file()).expect("rten loads the file");
    let mut text = TextModel::open(bundle.folder()).expect("opens");
    let shape = [text.session().batch(), text.session().sequence()];
    let batches = text.run(&["It charges quickly.", "", "one two three four"]).expect("runs");
    let ids: Vec<NodeId> = model.output_ids().to_vec();
    let name = |id: NodeId| {
        let info = model.node_info(id).expect("an output");
        info.name().expect("a name").to_owned()
    };
    batches.iter().fold(0.0, |largest: f32, (inputs, in_tract)| {
        let mask = inputs.attention_mask.clone();
        let inputs = inputs.named().map(|(name, values)| {
            let values: Vec<i32> = values.iter().map(|value| *value as i32).collect();
            let value = Value::from_shape(shape, values).expect("fits");
            (model.node_id(name).expect("an input"), ValueOrView::from(value))
        });
        let results = model.run(inputs.into(), &ids, None).expect("rten runs the model");
        let outputs = ids.iter().zip(results).map(|(id, result)| {
            let name = name(*id);
            let (shape, values) = match in_tract.get(&name).map(|output| output.shape.len()) {
                Some(2) => values::<2>(result),
                _ => values::<3>(result),
            };
            Output { name, shape, values }
        });
        let mut outputs = Outputs(outputs.collect());
        outputs.blank_padding(&mask);
        let difference = in_tract.largest_difference(&outputs);
        if difference.is_nan() { difference } else { largest.max(difference) }
    })
}

fn values<const AXES: usize>(value: Value) -> (Vec<usize>, Vec<f32>) {
    let (shape, values) = value.into_shape_vec::<f32, AXES>().expect("numbers of that shape");
    (shape.to_vec(), values)
}
