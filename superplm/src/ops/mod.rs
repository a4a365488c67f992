//! What a BERT is made of: on the CPU few fused operations, elsewhere those of candle.
//!
//! candle computes a LayerNorm or a softmax in half a dozen passes over memory, joins its
//! threads by spinning at a barrier after each, and sums gradients in fresh memory. Here a
//! whole transformer layer is one operation, parallel in rayon's pool, so that it nests in
//! whatever parallelism there is around it. Every fused operation has a composite form of
//! candle's own ones, whose gradients are candle's; an [`Engine`] decides which of the two
//! runs.
//!
//! An operation is one file: the engine's method, which chooses the form, the composite form,
//! the fused one with its kernel, and the tests that hold one to the other.

mod cut;
mod engine;
mod functions;
mod gradient;
mod loops;
mod operands;
mod product;
mod scratch;
mod share;
#[cfg(test)]
mod testing;
mod used;

mod add3;
mod cross_entropy;
mod dropout;
mod gelu;
mod layer;
mod layer_norm;
mod linear;
mod lookup;
mod squared_error;

pub(crate) use cut::slice;
pub(crate) use dropout::Dropout;
pub(crate) use engine::{Engine, share_in_place, share_of_view};
pub(crate) use gradient::{Gradient, Sum, Touched};
pub(crate) use layer::LayerShape;
pub(crate) use share::Share;
pub(crate) use used::{Rows, Used};
