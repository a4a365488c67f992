//! Finds products of rounded activations with rounded weights, as files of 8-bit integers have
//! them: `DynamicQuantizeLinear`, `MatMulInteger`, and the multiplication by both scales.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::math::Mul;

use super::lookup::Graph;
use super::parts::Weights;

/// How tract names what it makes of `DynamicQuantizeLinear`; its type is not public.
const ROUNDING: &str = "DynamicQuantizeLinearU8";

/// A product with weights that were rounded to integers.
pub(super) struct IntegerProduct {
    /// What is rounded and multiplied.
    pub(super) x: OutletId,
    /// The node that rounds it, which may serve several products.
    pub(super) rounding: usize,
    pub(super) weights: Weights,
}

impl Graph<'_> {
    /// The product that ends in `outlet`, the sums in integers times both scales.
    pub(super) fn integer_product(&self, outlet: OutletId) -> Option<IntegerProduct> {
        let [a, b] = self.binary::<Mul>(outlet)?;
        let (sums, scale) = match self.sums(a) {
            Some(sums) => (sums, b),
            None => (self.sums(b)?, a),
        };
        let shape = self.shape(scale)?;
        let (scale, _) = self.moved(scale);
        let [a, b] = self.binary::<Mul>(scale)?;
        let (of_x, of_weights) = match self.vector(b) {
            Some(scales) => (a, scales),
            None => (b, self.vector(a)?),
        };
        let Sums { rounding, steps } = sums;
        let by_output = shape.split_last().is_some_and(|(last, others)| {
            *last == of_weights.len() && others.iter().all(|size| *size == 1)
        });
        (by_output && self.moved(of_x).0 == OutletId::new(rounding, 1)).then_some(())?;
        (steps.shape()[1] == of_weights.len()).then_some(())?;
        let weights = Weights::Steps { steps, scales: of_weights };
        let x = self.source(self.0.node(rounding).inputs[0]);
        Some(IntegerProduct { x, rounding, weights })
    }

    /// Sums of products of steps, turned to floating point.
    fn sums(&self, outlet: OutletId) -> Option<Sums> {
        let node = self.0.node(outlet.node);
        (node.op_as::<Cast>()?.to == DatumType::F32).then_some(())?;
        let node = self.0.node(node.inputs[0].node);
        let product = node.op_as::<EinSum>()?;
        let integers = product.q_params == Some(DatumType::I32)
            && product.operating_dt == DatumType::I32
            && product.axes.to_string() == "amk,akn,,,,,,,->amn";
        let [x, weights, bias, x_zero, x_scale, w_zero, w_scale, zero, scale] = *node.inputs else {
            return None;
        };
        let rounding = self.0.node(x.node);
        let rounded = rounding.op().name() == ROUNDING
            && x.slot == 0
            && x_zero == OutletId::new(x.node, 2)
            // What it multiplies by is in its own place; here is nothing else.
            && [bias, w_zero, zero].iter().all(|it| self.is_constant(*it, 0.0))
            && [x_scale, w_scale, scale].iter().all(|it| self.is_constant(*it, 1.0));
        (integers && rounded).then_some(())?;
        Some(Sums { rounding: x.node, steps: self.steps(weights)? })
    }

    /// Weights in steps of i8, `[inputs, outputs]`.
    fn steps(&self, outlet: OutletId) -> Option<Arc<Tensor>> {
        let node = self.0.node(outlet.node);
        let AxisOp::Add(0) = node.op_as::<AxisOp>()? else { return None };
        self.constant_of(node.inputs[0], DatumType::I8).filter(|steps| steps.rank() == 2)
    }

    fn is_constant(&self, outlet: OutletId, value: f32) -> bool {
        let fact = self.0.outlet_fact(outlet).ok();
        let Some(constant) = fact.and_then(|fact| fact.konst.as_ref()) else { return false };
        constant.cast_to_scalar::<f32>().is_ok_and(|found| found == value)
    }
}

struct Sums {
    rounding: usize,
    steps: Arc<Tensor>,
}
