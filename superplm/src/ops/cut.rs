//! How a sub-architecture's share is cut out of a whole parameter.

use std::ops::Range;
use std::sync::Arc;

use atb_checkpoint::Axis;
use atb_space::Architecture;
use candle_core::Tensor;

use super::gradient::{Gradient, Part};
use super::share::InPlace;

/// The share of `arch` in a parameter of `whole`: the leading part of each axis and, on
/// a q|k|v axis, the leading part of each of the leading heads.
///
/// This one rule is both of the paper's: heads of 64 of which the first are taken (MLM
/// space), and twelve heads each of which is made narrower (KD space). A view wherever
/// one exists; only heads that become narrower are copied. `arch` must fit.
pub(crate) fn slice(
    tensor: &Tensor,
    axes: &[Axis],
    whole: &Architecture,
    arch: &Architecture,
) -> Result<Tensor, candle_core::Error> {
    // A q|k|v axis becomes two, heads and their rows, where heads become narrower.
    let mut split = Vec::new();
    let mut take = Vec::new();
    let mut merged = Vec::new();
    for (axis, &length) in axes.iter().zip(tensor.dims()) {
        let kept = match *axis {
            Axis::Vocabulary
            | Axis::Position
            | Axis::TokenType
            | Axis::Teacher(_)
            | Axis::Label(_) => length,
            Axis::Hidden => arch.hidden(),
            Axis::Intermediate(layer) => arch.layers()[layer].intermediate,
            Axis::Qkv(layer) => {
                let (sub, full) = (arch.layers()[layer], whole.layers()[layer]);
                if sub.head_size() != full.head_size() {
                    split.extend([full.heads, full.head_size()]);
                    take.extend([sub.heads, sub.head_size()]);
                    merged.push(sub.qkv);
                    continue;
                }
                sub.qkv
            }
        };
        split.push(length);
        take.push(kept);
        merged.push(kept);
    }
    let mut part = tensor.clone();
    if split.len() != tensor.rank() {
        part = part.reshape(split.as_slice())?;
    }
    for (dim, (&kept, &length)) in take.iter().zip(&split).enumerate() {
        if kept != length {
            part = part.narrow(dim, 0, kept)?;
        }
    }
    if merged.len() != split.len() {
        part = part.reshape(merged)?;
    }
    Ok(part)
}

/// The same share as [`slice`], of a whole parameter that stays where it is.
pub(crate) fn share(
    tensor: &Tensor,
    axes: &[Axis],
    whole: &Architecture,
    arch: &Architecture,
    gradient: Option<Arc<Gradient>>,
) -> InPlace {
    let part = part(axes, tensor.dims(), whole, arch);
    let shape = match axes {
        [_] => vec![part.row_length()],
        _ => vec![part.rows.iter().map(Range::len).sum(), part.row_length()],
    };
    InPlace { whole: tensor.clone(), part, shape, gradient }
}

/// Rows and columns of a share.
fn part(axes: &[Axis], lengths: &[usize], whole: &Architecture, arch: &Architecture) -> Part {
    let kept = |axis: Axis, length: usize| -> Vec<Range<usize>> {
        match axis {
            Axis::Vocabulary
            | Axis::Position
            | Axis::TokenType
            | Axis::Teacher(_)
            | Axis::Label(_) => std::iter::once(0..length).collect(),
            Axis::Hidden => std::iter::once(0..arch.hidden()).collect(),
            Axis::Intermediate(layer) => {
                std::iter::once(0..arch.layers()[layer].intermediate).collect()
            }
            Axis::Qkv(layer) => {
                let (sub, full) = (arch.layers()[layer], whole.layers()[layer]);
                let starts = (0..sub.heads).map(|head| head * full.head_size());
                starts.map(|start| start..start + sub.head_size()).collect()
            }
        }
    };
    match (axes, lengths) {
        ([rows, columns], [number, width]) => {
            Part { width: *width, rows: kept(*rows, *number), columns: kept(*columns, *width) }
        }
        _ => {
            let (axis, width) = (axes[0], lengths[0]);
            Part { width, rows: std::iter::once(0..1).collect(), columns: kept(axis, width) }
        }
    }
}
