//! What a node of a graph is and what it takes, asked by what is looked for.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::konst::Const;

/// Nodes that take `outlet`, through casts that change nothing.
pub(super) fn uses(model: &TypedModel, outlet: OutletId) -> usize {
    let fact = &model.node(outlet.node).outputs[outlet.slot];
    let here = model.outputs.iter().filter(|output| **output == outlet).count();
    here + fact
        .successors
        .iter()
        .map(|inlet| match model.node(inlet.node).op_is::<Cast>() {
            true => uses(model, OutletId::new(inlet.node, 0)),
            false => 1,
        })
        .sum::<usize>()
}

/// A graph to look things up in.
pub(super) struct Graph<'a>(pub(super) &'a TypedModel);

impl Graph<'_> {
    /// Where the values come from, casts from f32 to f32 left out.
    pub(super) fn source(&self, mut outlet: OutletId) -> OutletId {
        loop {
            let node = self.0.node(outlet.node);
            let idle = node.op_as::<Cast>().is_some_and(|cast| cast.to == DatumType::F32)
                && self.0.outlet_fact(node.inputs[0]).is_ok_and(|f| f.datum_type == DatumType::F32);
            if !idle {
                return outlet;
            }
            outlet = node.inputs[0];
        }
    }

    pub(super) fn shape(&self, outlet: OutletId) -> Option<Vec<usize>> {
        let fact = self.0.outlet_fact(outlet).ok()?;
        (fact.datum_type == DatumType::F32).then_some(())?;
        Some(fact.shape.as_concrete()?.to_vec())
    }

    pub(super) fn binary<T: tract_onnx::tract_core::ops::binary::BinMiniOp>(
        &self,
        outlet: OutletId,
    ) -> Option<[OutletId; 2]> {
        let node = self.0.node(self.source(outlet).node);
        let op = node.op_as::<TypedBinOp>()?;
        if !op.0.is::<T>() || op.1.is_some_and(|dt| dt != DatumType::F32) {
            return None;
        }
        Some([self.source(node.inputs[0]), self.source(node.inputs[1])])
    }

    pub(super) fn unary<T: tract_onnx::tract_core::ops::element_wise::ElementWiseMiniOp>(
        &self,
        outlet: OutletId,
    ) -> Option<OutletId> {
        let node = self.0.node(self.source(outlet).node);
        node.op_as::<ElementWiseOp>()?.0.is::<T>().then(|| self.source(node.inputs[0]))
    }

    /// A constant, reshaped at most.
    pub(super) fn constant(&self, outlet: OutletId) -> Option<Arc<Tensor>> {
        self.constant_of(outlet, DatumType::F32)
    }

    /// A constant of one type, reshaped at most.
    pub(super) fn constant_of(&self, outlet: OutletId, of: DatumType) -> Option<Arc<Tensor>> {
        let node = self.0.node(self.source(outlet).node);
        if let Some(constant) = node.op_as::<Const>() {
            let value = constant.val();
            return (value.datum_type() == of).then(|| Arc::clone(value));
        }
        if let Some(cast) = node.op_as::<Cast>() {
            // Weights that are smaller in the file than where they are multiplied.
            let halves = self.constant_of(node.inputs[0], DatumType::F16)?;
            (of == DatumType::F32 && cast.to == of).then_some(())?;
            return Some(Arc::new(halves.cast_to::<f32>().ok()?.into_owned()));
        }
        let axis = node.op_as::<AxisOp>()?;
        let mut value = Arc::unwrap_or_clone(self.constant_of(node.inputs[0], of)?);
        axis.change_tensor(&mut value, false).ok()?;
        Some(Arc::new(value))
    }

    pub(super) fn values(&self, outlet: OutletId) -> Option<Vec<f32>> {
        let tensor = self.constant(outlet)?;
        let view = tensor.to_plain_array_view::<f32>().ok()?;
        Some(view.iter().copied().collect())
    }

    pub(super) fn scalar(&self, outlet: OutletId) -> Option<f32> {
        let values = self.values(outlet)?;
        if let [value] = *values { Some(value) } else { None }
    }

    /// A vector along the last axis.
    pub(super) fn vector(&self, outlet: OutletId) -> Option<Vec<f32>> {
        let tensor = self.constant(outlet)?;
        (tensor.shape().last() == Some(&tensor.len())).then_some(())?;
        self.values(outlet)
    }

    /// `outlet` is one of `T`'s operands and the other a scalar.
    pub(super) fn with_scalar<T: tract_onnx::tract_core::ops::binary::BinMiniOp>(
        &self,
        outlet: OutletId,
    ) -> Option<(OutletId, f32)> {
        let [a, b] = self.binary::<T>(outlet)?;
        self.scalar(b).map(|value| (a, value)).or_else(|| Some((b, self.scalar(a)?)))
    }

    /// The inputs of a product `[.., k] x [k, n]` or `[a, b, m, k] x [a, b, k, n]`.
    pub(super) fn product(&self, outlet: OutletId, expected: [&str; 3]) -> Option<[OutletId; 2]> {
        let node = self.0.node(self.source(outlet).node);
        let sum = node.op_as::<EinSum>()?;
        if sum.q_params.is_some() || sum.operating_dt != DatumType::F32 || node.inputs.len() != 2 {
            return None;
        }
        let (inputs, outputs) = sum.axes.to_strs();
        let found = [&**inputs.first()?, &**inputs.get(1)?, &**outputs.first()?];
        // The same letters up to their names.
        let mut names: Vec<(char, char)> = Vec::new();
        for (found, expected) in found.into_iter().zip(expected) {
            if found.chars().count() != expected.chars().count() {
                return None;
            }
            for pair in found.chars().zip(expected.chars()) {
                match names.iter().find(|known| known.0 == pair.0 || known.1 == pair.1) {
                    Some(known) if *known != pair => return None,
                    Some(_) => {}
                    None => names.push(pair),
                }
            }
        }
        Some([self.source(node.inputs[0]), self.source(node.inputs[1])])
    }

    /// What `outlet` is after a number of changes of axes.
    pub(super) fn moved(&self, outlet: OutletId) -> (OutletId, Vec<&AxisOp>) {
        let mut changes = Vec::new();
        let mut outlet = self.source(outlet);
        while let Some(change) = self.0.node(outlet.node).op_as::<AxisOp>() {
            changes.push(change);
            outlet = self.source(self.0.node(outlet.node).inputs[0]);
        }
        changes.reverse();
        (outlet, changes)
    }
}
