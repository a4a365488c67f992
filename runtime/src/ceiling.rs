//! What a model may ask for, checked by shapes alone before anything is computed.
//!
//! tract works out what depends on constants only while it loads a model, and looks at the result's
//! size afterwards: a file of some hundred bytes asks for gigabytes. Here every node's output is
//! inferred without being computed, but for small values that shapes are made of.

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::{Factoid, InferenceFact, InferenceNode};

/// Bytes that may be computed of constants alone, beside a multiple of the constants' own.
const OF_CONSTANTS: u128 = 64 << 20;
/// That multiple.
const TIMES_CONSTANTS: u128 = 10;
/// Bytes of one tensor that depends on the inputs.
const OF_INPUTS: u128 = 8 << 30;
/// Bytes up to which a value of constants is computed: what shapes are made of is smaller.
const COMPUTED: u128 = 64 << 10;

/// Refuses a model with tensors beyond these ceilings.
///
/// # Errors
/// What is too large, and which node makes it.
pub(crate) fn check(model: &InferenceModel) -> Result<(), String> {
    let mut model = model.clone();
    let weights: u128 = model
        .nodes()
        .iter()
        .filter(|node| node.inputs.is_empty())
        .flat_map(|node| &node.outputs)
        .filter_map(|output| output.fact.value.concretize())
        .map(|value| value.len() as u128 * value.datum_type().size_of() as u128)
        .sum();
    let ceiling = OF_CONSTANTS + TIMES_CONSTANTS * weights;
    let mut of_constants = 0;
    // What is wrong with a graph besides is said by tract.
    let Ok(order) = model.eval_order() else { return Ok(()) };
    for id in order {
        let node = &model.nodes()[id];
        if node.inputs.is_empty() {
            continue;
        }
        let facts = |outlets: &[OutletId]| -> Option<TVec<InferenceFact>> {
            outlets.iter().map(|outlet| model.outlet_fact(*outlet).ok().cloned()).collect()
        };
        let Some(inputs) = facts(&node.inputs) else { continue };
        let outputs: TVec<InferenceFact> =
            node.outputs.iter().map(|output| output.fact.clone()).collect();
        let constant = inputs.iter().all(|fact| fact.value.concretize().is_some());
        // The only one that computes its values to know their number.
        if constant && node.op.name() == "Range" && claimed(&inputs) > ceiling {
            return Err(too_much(node, claimed(&inputs), ceiling, OF_LOADING));
        }
        let mut op = node.op.clone();
        let (inputs, outputs) = (inputs.iter().collect(), outputs.iter().collect());
        let Ok((inputs, mut outputs, _)) = op.infer_facts(inputs, outputs, tvec![]) else {
            continue;
        };
        let mut made = 0;
        for fact in &outputs {
            let size = size(fact).map_err(|shape| {
                format!(
                    "node `{}` ({}) makes a tensor of the shape {shape}",
                    node.name,
                    node.op.name()
                )
            })?;
            made += match size {
                Some(size) => size,
                // The shape follows from values, as that of a range does.
                None if constant => claimed(&inputs),
                None => 0,
            };
        }
        if constant {
            of_constants += made;
        }
        let (size, ceiling, of) = match constant {
            true => (of_constants, ceiling, OF_LOADING),
            false => (made, OF_INPUTS, "one run"),
        };
        if size > ceiling {
            return Err(too_much(node, size, ceiling, of));
        }
        if constant && made <= COMPUTED {
            let empty: TVec<InferenceFact> =
                node.outputs.iter().map(|_| InferenceFact::any()).collect();
            let (known, blank) = (inputs.iter().collect(), empty.iter().collect());
            if let Ok((_, values, _)) = op.infer(known, blank, tvec![]) {
                outputs = values;
            }
        }
        for (slot, fact) in outputs.into_iter().enumerate() {
            if slot < model.nodes()[id].outputs.len() {
                _ = model.set_outlet_fact(OutletId::new(id, slot), fact);
            }
        }
    }
    Ok(())
}

/// What constants alone are computed for.
const OF_LOADING: &str = "its constants alone, computed when it is loaded";

fn too_much(node: &InferenceNode, size: u128, ceiling: u128, of: &str) -> String {
    format!(
        "node `{}` ({}) asks for {} MiB for {of}; the most for this model is {} MiB",
        node.name,
        node.op.name(),
        size >> 20,
        ceiling >> 20
    )
}

/// Bytes that constants could ask for by their values: the largest product of a short one's, whether
/// they are sizes, repetitions or the end of a range.
fn claimed(inputs: &[InferenceFact]) -> u128 {
    let product = |fact: &InferenceFact| -> Option<f64> {
        let value = fact.value.concretize()?;
        if value.len() > 16 {
            return None;
        }
        let value = value.cast_to::<f64>().ok()?;
        let value = value.try_as_plain_ram().ok()?;
        Some(value.as_slice::<f64>().ok()?.iter().map(|it| it.abs().max(1.0)).product())
    };
    let largest = inputs.iter().filter_map(product).fold(0.0, f64::max);
    // Conversion saturates.
    (8.0 * largest) as u128
}

/// Bytes of a tensor, where its shape is known.
///
/// # Errors
/// The shape, where no tensor has it.
fn size(fact: &InferenceFact) -> Result<Option<u128>, String> {
    let Some(shape) = fact.shape.concretize() else { return Ok(None) };
    let mut bytes = fact.datum_type.concretize().map_or(4, |of| of.size_of() as u128);
    for size in &shape {
        let Ok(size) = size.to_i64() else { return Ok(None) };
        let size = u128::try_from(size).map_err(|_| {
            format!("[{}]", shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        })?;
        // So large that it is refused by any ceiling.
        bytes = bytes.saturating_mul(size).min(u128::MAX >> 1);
    }
    Ok(Some(bytes))
}
