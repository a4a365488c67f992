//! Finds encoder layers in a graph by what they compute.
//!
//! Every step from a layer's output back to its input is checked: what a node is, its operands,
//! its constants. Where values are split into heads and moved, the moves are done on a tensor of
//! indices and compared with what the layer would do. A graph that differs anywhere is left
//! alone.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::math::{Add, Div, Erf, Mul, Rsqrt, Square, Sub};
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, Softmax, SoftmaxKind};

use super::integers::IntegerProduct;
use super::lookup::Graph;
use super::parts::{LayerParts, Linear, Weights};
use super::passes::Norm;

/// A layer and where it sits.
pub(super) struct Found {
    pub(super) x: OutletId,
    pub(super) mask: OutletId,
    pub(super) output: OutletId,
    /// Nodes of the layer that take `x`.
    pub(super) uses: usize,
    pub(super) shape: (usize, usize, usize),
    pub(super) parts: LayerParts,
}

/// A linear module of `x`, in products of floating point or of integers.
struct Module {
    x: OutletId,
    /// The node that takes `x`.
    reader: usize,
    linear: Linear,
}

/// The layers of `model`, first to last.
pub(super) fn layers(model: &TypedModel) -> TractResult<Vec<Found>> {
    let graph = Graph(model);
    let order = model.eval_order()?;
    Ok(order.into_iter().filter_map(|id| graph.layer(OutletId::new(id, 0))).collect())
}

impl Graph<'_> {
    /// `input * weights + bias`.
    fn linear(&self, outlet: OutletId) -> Option<Module> {
        let [a, b] = self.binary::<Add>(outlet)?;
        let (product, bias) = match self.vector(b) {
            Some(bias) => (a, bias),
            None => (b, self.vector(a)?),
        };
        let (x, reader, weights) = match self.product(product, ["amk", "kn", "amn"]) {
            Some([x, weights]) => (x, product.node, Weights::Values(self.constant(weights)?)),
            None => {
                let IntegerProduct { x, rounding, weights } = self.integer_product(product)?;
                (x, rounding, weights)
            }
        };
        let [inputs, outputs] = weights.sizes()?;
        (outputs == bias.len()).then_some(())?;
        let shape = self.shape(x)?;
        (shape.len() == 3 && shape[2] == inputs).then_some(())?;
        Some(Module { x, reader, linear: Linear { weights, bias } })
    }

    /// `linear(..) + x`, either way round.
    fn residual(&self, outlet: OutletId) -> Option<(OutletId, Linear, OutletId)> {
        let [a, b] = self.binary::<Add>(outlet)?;
        let found = |a, b| self.linear(a).map(|found| (found.x, found.linear, b));
        found(a, b).or_else(|| found(b, a))
    }

    fn layer_norm(&self, outlet: OutletId) -> Option<(OutletId, Norm)> {
        let by_vector = |a: OutletId, b: OutletId, hidden: usize| {
            let pick = |vector: OutletId, other: OutletId| {
                let values = self.vector(vector)?;
                (values.len() == hidden).then_some((other, values))
            };
            pick(b, a).or_else(|| pick(a, b))
        };
        let shape = self.shape(outlet)?;
        let [_, _, hidden] = *shape else { return None };
        let [a, b] = self.binary::<Add>(outlet)?;
        let (scaled, bias) = by_vector(a, b, hidden)?;
        let [a, b] = self.binary::<Mul>(scaled)?;
        let (normal, scale) = by_vector(a, b, hidden)?;
        let [difference, deviation] = self.binary::<Mul>(normal)?;
        let variance = self.unary::<Rsqrt>(deviation)?;
        let (variance, epsilon) = self.with_scalar::<Add>(variance)?;
        let squares = self.unary::<Square>(self.mean(variance, hidden)?)?;
        (squares == difference).then_some(())?;
        let [x, mean] = self.binary::<Sub>(difference)?;
        (self.mean(mean, hidden)? == x && self.shape(x)? == shape).then_some(())?;
        Some((x, Norm { scale, bias, epsilon }))
    }

    /// What `outlet` is the mean of, along the last of three axes.
    fn mean(&self, outlet: OutletId, size: usize) -> Option<OutletId> {
        let [sum, count] = self.binary::<Div>(outlet)?;
        (self.scalar(count)? == size as f32).then_some(())?;
        let node = self.0.node(sum.node);
        let reduce = node.op_as::<Reduce>()?;
        (reduce.reducer == Reducer::Sum && *reduce.axes == [2]).then_some(())?;
        Some(self.source(node.inputs[0]))
    }

    fn gelu(&self, outlet: OutletId) -> Option<OutletId> {
        let near = |a: f32, b: f32| (a - b).abs() <= 1e-6;
        let (product, half) = self.with_scalar::<Mul>(outlet)?;
        let [a, b] = self.binary::<Mul>(product)?;
        let inner = |x: OutletId, sum: OutletId| {
            let (erf, one) = self.with_scalar::<Add>(sum)?;
            let [quotient, root] = self.binary::<Div>(self.unary::<Erf>(erf)?)?;
            let root = self.scalar(root)?;
            let exact = near(half, 0.5) && near(one, 1.0) && near(root, std::f32::consts::SQRT_2);
            (exact && quotient == x).then_some(x)
        };
        inner(a, b).or_else(|| inner(b, a))
    }

    /// One of q, k, v: a linear module of `x`, moved to the axes batch, head, token, feature in
    /// the order of `axes`.
    fn heads(
        &self,
        outlet: OutletId,
        [batch, heads, tokens, head]: [usize; 4],
        axes: [usize; 4],
    ) -> Option<Module> {
        let (projected, changes) = self.moved(outlet);
        let module = self.linear(projected)?;
        let width = heads * head;
        (self.shape(projected)? == [batch, tokens, width]).then_some(())?;
        let steps = [tokens * width, head, width, 1];
        let sizes = [batch, heads, tokens, head];
        follows(
            &changes,
            &[batch, tokens, width],
            |index| {
                let mut from = 0;
                for (place, axis) in axes.into_iter().enumerate() {
                    from += index[place] * steps[axis];
                }
                from as i64
            },
            axes.map(|axis| sizes[axis]),
        )
        .then_some(module)
    }

    fn layer(&self, output: OutletId) -> Option<Found> {
        // The cheapest question first: most nodes are none of this kind.
        self.0.node(output.node).op_as::<TypedBinOp>()?;
        let shape = self.shape(output)?;
        let [batch, sequence, hidden] = *shape else { return None };
        let (sum, norm) = self.layer_norm(output)?;
        let (activated, outer, attended) = self.residual(sum)?;
        let Module { x: attended_again, linear: inner, .. } = self.linear(self.gelu(activated)?)?;
        (attended_again == attended).then_some(())?;
        let (sum, attention_norm) = self.layer_norm(attended)?;
        let (context, projection, x) = self.residual(sum)?;

        let (product, changes) = self.moved(context);
        let sizes = self.shape(product)?;
        let [_, heads, _, head] = *sizes else { return None };
        (sizes == [batch, heads, sequence, head] && heads * head > 0).then_some(())?;
        let width = heads * head;
        follows(
            &changes,
            &sizes,
            |index| {
                let [row, token, feature] = *index else { return -1 };
                let (h, d) = (feature / head, feature % head);
                (((row * heads + h) * sequence + token) * head + d) as i64
            },
            [batch, sequence, width],
        )
        .then_some(())?;

        let [shares, value] = self.product(product, ["abmk", "abkn", "abmn"])?;
        let sizes = [batch, heads, sequence, head];
        let value = self.heads(value, sizes, [0, 1, 2, 3])?;
        let node = self.0.node(shares.node);
        let softmax = node.op_as::<Softmax>()?;
        let plain = matches!(softmax.kind, SoftmaxKind::Softmax);
        (*softmax.axes == [3] && plain && softmax.quant_output_dt.is_none()).then_some(())?;
        let [a, b] = self.binary::<Add>(self.source(node.inputs[0]))?;
        let mask_shape = [batch, 1, 1, sequence];
        let scaled = |scores: OutletId| {
            let [product, scale] = self.binary::<Div>(scores)?;
            let scale = self.scalar(scale)?.recip();
            Some((self.product(product, ["abmk", "abkn", "abmn"])?, scale))
        };
        let (([query, key], score_scale), mask) = match scaled(a) {
            Some(scores) => (scores, b),
            None => (scaled(b)?, a),
        };
        (self.shape(mask)? == mask_shape).then_some(())?;
        let query = self.heads(query, sizes, [0, 1, 2, 3])?;
        let key = self.heads(key, sizes, [0, 1, 3, 2])?;
        ([query.x, key.x, value.x] == [x; 3] && self.shape(x)? == shape).then_some(())?;
        let fits = outer.weights.sizes() == Some([inner.bias.len(), hidden])
            && outer.bias.len() == hidden
            && projection.bias.len() == hidden
            && score_scale.is_finite();
        fits.then_some(())?;
        // And the residual.
        let mut readers = vec![query.reader, key.reader, value.reader];
        readers.sort_unstable();
        readers.dedup();
        let uses = readers.len() + 1;
        let parts = LayerParts {
            heads,
            score_scale,
            query: query.linear,
            key: key.linear,
            value: value.linear,
            output: projection,
            attention_norm,
            inner,
            outer,
            norm,
        };
        Some(Found { x, mask, output, uses, shape: (batch, sequence, hidden), parts })
    }
}

/// Whether `changes` turn a tensor of the shape `from` into one of the shape `to` whose value at
/// each index is the one that `expected` names by its place in the first.
fn follows<const N: usize>(
    changes: &[&AxisOp],
    from: &[usize],
    expected: impl Fn(&[usize]) -> i64,
    to: [usize; N],
) -> bool {
    let places: Vec<i64> = (0..from.iter().product::<usize>() as i64).collect();
    let Ok(mut tensor) = Tensor::from_shape(from, &places) else { return false };
    for change in changes {
        if change.change_tensor(&mut tensor, false).is_err() {
            return false;
        }
    }
    if tensor.shape() != to {
        return false;
    }
    let Ok(view) = tensor.to_plain_array_view::<i64>() else { return false };
    let mut index = [0; N];
    for value in view.iter() {
        if *value != expected(&index) {
            return false;
        }
        for (at, size) in index.iter_mut().zip(to).rev() {
            *at += 1;
            if *at < size {
                break;
            }
            *at = 0;
        }
    }
    true
}
