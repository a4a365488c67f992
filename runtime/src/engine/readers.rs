//! Which tokens' states are read after an encoder, and so have to be computed.

use atb_interface::{INPUTS, OutputSpec};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::InOut;
use tract_onnx::tract_core::ops::array::{Gather, Slice};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::source::TypedSource;

use super::lookup::Graph;
use super::parts::{PADDING, Pending, Wanted};

/// What is read of the states `output` of an encoder with this mask; `names` are those of the
/// model's outputs.
pub(super) fn wanted(
    model: &TypedModel,
    output: OutletId,
    mask: OutletId,
    names: &[String],
) -> Wanted {
    let readers = Readers { model, mask, names };
    if !readers.marks_padding(mask) {
        return Wanted::All;
    }
    readers.of(output, 1).unwrap_or(Wanted::First)
}

struct Readers<'a> {
    model: &'a TypedModel,
    mask: OutletId,
    names: &'a [String],
}

impl Readers<'_> {
    /// What is read of `outlet`, whose tokens lie along `axis` and do not know of each other;
    /// `None` of what nobody reads.
    fn of(&self, outlet: OutletId, axis: usize) -> Option<Wanted> {
        let as_output = self.model.outputs.iter().zip(self.names).filter(|(o, _)| **o == outlet);
        let as_output = as_output.map(|(_, name)| self.as_output(outlet, axis, name));
        let successors = &self.model.node(outlet.node).outputs[outlet.slot].successors;
        as_output.chain(successors.iter().filter_map(|inlet| self.by(*inlet, axis))).max()
    }

    fn as_output(&self, outlet: OutletId, axis: usize, name: &str) -> Wanted {
        let rank = self.model.outlet_fact(outlet).map_or(0, |fact| fact.rank());
        let known = OutputSpec::of(name, rank).is_some_and(OutputSpec::is_by_token);
        if known && axis == 1 { Wanted::Real } else { Wanted::All }
    }

    /// What the node reads that takes its input `inlet` with tokens along `axis`.
    fn by(&self, inlet: InletId, axis: usize) -> Option<Wanted> {
        let node = self.model.node(inlet.node);
        let after = |axis| self.of(OutletId::new(node.id, 0), axis);
        let constant = |at: usize| self.model.outlet_fact(node.inputs[at]).ok()?.konst.clone();
        if node.op_is::<Pending>() {
            let same = inlet.slot == 0 && node.inputs[1] == self.mask && axis == 1;
            return Some(if same { Wanted::Real } else { Wanted::All });
        }
        if node.op_is::<TypedBinOp>() || node.op_is::<ElementWiseOp>() || node.op_is::<Cast>() {
            return after(axis);
        }
        if let Some(gather) = node.op_as::<Gather>() {
            if inlet.slot != 0 {
                return Some(Wanted::All);
            }
            let indices = constant(1);
            let indices = indices.as_ref().map(|indices| indices.cast_to::<i64>());
            let Some(Ok(indices)) = indices else { return Some(Wanted::All) };
            let Ok(values) = indices.to_plain_array_view::<i64>() else { return Some(Wanted::All) };
            return match gather.axis {
                at if at == axis && values.iter().all(|index| *index == 0) => Some(Wanted::First),
                at if at == axis => Some(Wanted::All),
                at if at > axis => after(axis),
                _ => after(axis + indices.rank() - 1),
            };
        }
        if let Some(slice) = node.op_as::<Slice>() {
            let first = slice.start.to_i64().ok() == Some(0) && slice.end.to_i64().ok() == Some(1);
            return match slice.axis == axis {
                true if first => Some(Wanted::First),
                true => Some(Wanted::All),
                false => after(axis),
            };
        }
        if node.op_is::<EinSum>() && self.leaves_padding_out(inlet, axis) {
            return Some(Wanted::Real);
        }
        if node.op_is::<EinSum>() || node.op_is::<AxisOp>() {
            return match self.tracked(inlet, axis) {
                Some(axis) => after(axis),
                None => Some(Wanted::All),
            };
        }
        Some(Wanted::All)
    }

    /// Where the axis of an input is in the output, if the node leaves it alone.
    fn tracked(&self, inlet: InletId, axis: usize) -> Option<usize> {
        let facts = |outlets: &[OutletId]| -> Option<TVec<&TypedFact>> {
            outlets.iter().map(|outlet| self.model.outlet_fact(*outlet).ok()).collect()
        };
        let node = self.model.node(inlet.node);
        let (inputs, outputs) = (facts(&node.inputs)?, facts(&[OutletId::new(node.id, 0)])?);
        let mapping = node.op.axes_mapping(&inputs, &outputs).ok()?;
        // Another input that has the same axis could carry other tokens.
        let letter = mapping.axis((InOut::In(inlet.slot), axis)).ok()?;
        let alone = letter.inputs.iter().map(TVec::len).sum::<usize>() == 1;
        let kept = mapping.track_axis((InOut::In(inlet.slot), axis), InOut::Out(0)).ok()??;
        alone.then_some(kept)
    }

    /// Whether the node sums over tokens, with zero for padding.
    fn leaves_padding_out(&self, inlet: InletId, axis: usize) -> bool {
        let node = self.model.node(inlet.node);
        let sum = Graph(self.model).product(OutletId::new(node.id, 0), ["amk", "akn", "amn"]);
        if sum.is_none() || inlet.slot != 1 || axis != 1 {
            return false;
        }
        self.holds(node.inputs[0], |real, weight| real || weight == 0.0)
    }

    /// Whether `mask` is zero for tokens and low for padding.
    fn marks_padding(&self, mask: OutletId) -> bool {
        self.holds(mask, |real, mask| if real { mask == 0.0 } else { mask <= PADDING })
    }

    /// Whether `outlet` is made of the attention mask value by value, so that for each token
    /// `what` holds of whether it is real and of its value there.
    fn holds(&self, outlet: OutletId, what: impl Fn(bool, f32) -> bool) -> bool {
        [false, true].into_iter().all(|turned| {
            let Some((probe, values)) = self.probed(outlet, turned) else { return false };
            let pairs = || probe.iter().zip(&values);
            probe.len() == values.len() && pairs().all(|(real, value)| what(*real != 0, *value))
        })
    }

    /// An attention mask, and what becomes of it in `outlet`.
    fn probed(&self, outlet: OutletId, turned: bool) -> Option<(Vec<i64>, Vec<f32>)> {
        let input = self.mask_input()?;
        let shape = self.model.outlet_fact(input).ok()?.shape.as_concrete()?;
        // No period that a shape could have.
        let probe = (0..shape.iter().product::<usize>() as u64)
            .map(|i| ((i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63) ^ u64::from(turned)) as i64)
            .collect::<Vec<_>>();
        let tensor = Tensor::from_shape(shape, &probe).ok()?.into_tvalue();
        let value = self.evaluated(outlet, input, &tensor)?;
        let values = value.to_plain_array_view::<f32>().ok()?.iter().copied().collect();
        Some((probe, values))
    }

    fn mask_input(&self) -> Option<OutletId> {
        let at = INPUTS.iter().position(|name| *name == atb_interface::ATTENTION_MASK)?;
        self.model.inputs.get(at).copied()
    }

    /// The value of `outlet` for this input, where it takes but few kinds of node to find out.
    fn evaluated(&self, outlet: OutletId, input: OutletId, value: &TValue) -> Option<TValue> {
        if outlet == input {
            return Some(value.clone());
        }
        let node = self.model.node(outlet.node);
        if let Some(constant) = node.op_as::<Const>() {
            return Some(constant.val().clone().into_tvalue());
        }
        let simple = node.op_is::<TypedBinOp>()
            || node.op_is::<ElementWiseOp>()
            || node.op_is::<Cast>()
            || node.op_is::<AxisOp>();
        if !simple || node.op_is::<TypedSource>() {
            return None;
        }
        let inputs = node.inputs.iter().map(|from| self.evaluated(*from, input, value));
        let inputs: TVec<TValue> = inputs.collect::<Option<_>>()?;
        node.op.eval_out_of_plan(inputs).ok()??.into_iter().nth(outlet.slot)
    }
}
