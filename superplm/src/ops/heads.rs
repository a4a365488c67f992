//! Attention heads: from columns of a projection to matrices of their own, and back.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{kernel, values, with_values};

/// Where heads lie in a projection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    pub(crate) rows: usize,
    pub(crate) sequence: usize,
    pub(crate) heads: usize,
    pub(crate) head_size: usize,
}

impl Heads {
    /// `[rows * sequence, heads * head_size]` to `[rows, heads, sequence, head_size]`.
    pub(crate) fn split(self, x: &Tensor) -> Result<Tensor> {
        if x.device().is_cpu() {
            return x.contiguous()?.apply_op1(Rearrange { heads: self, to: To::Split });
        }
        let Self { rows, sequence, heads, head_size } = self;
        x.reshape((rows, sequence, heads, head_size))?.transpose(1, 2)?.contiguous()
    }

    /// As [`Heads::split`], each head transposed: `[rows, heads, head_size, sequence]`.
    pub(crate) fn split_transposed(self, x: &Tensor) -> Result<Tensor> {
        if x.device().is_cpu() {
            return x.contiguous()?.apply_op1(Rearrange { heads: self, to: To::SplitTransposed });
        }
        let Self { rows, sequence, heads, head_size } = self;
        x.reshape((rows, sequence, heads, head_size))?.permute((0, 2, 3, 1))?.contiguous()
    }

    /// The reverse of [`Heads::split`].
    pub(crate) fn merge(self, x: &Tensor) -> Result<Tensor> {
        if x.device().is_cpu() {
            return x.contiguous()?.apply_op1(Rearrange { heads: self, to: To::Merged });
        }
        let Self { rows, sequence, heads, head_size } = self;
        x.transpose(1, 2)?.reshape((rows * sequence, heads * head_size))
    }

    fn merged_shape(self) -> Shape {
        Shape::from((self.rows * self.sequence, self.heads * self.head_size))
    }

    fn split_values(self, x: &[f32]) -> Vec<f32> {
        let Self { sequence, heads, head_size, .. } = self;
        kernel::by_row(x.len(), sequence * head_size, |i, output| {
            let (row, head) = (i / heads, i % heads);
            for (token, output) in output.chunks_exact_mut(head_size).enumerate() {
                let start = ((row * sequence + token) * heads + head) * head_size;
                output.copy_from_slice(&x[start..start + head_size]);
            }
        })
    }

    fn merge_values(self, x: &[f32]) -> Vec<f32> {
        let Self { sequence, heads, head_size, .. } = self;
        kernel::by_row(x.len(), heads * head_size, |i, output| {
            let (row, token) = (i / sequence, i % sequence);
            for (head, output) in output.chunks_exact_mut(head_size).enumerate() {
                let start = ((row * heads + head) * sequence + token) * head_size;
                output.copy_from_slice(&x[start..start + head_size]);
            }
        })
    }

    fn split_transposed_values(self, x: &[f32]) -> Vec<f32> {
        let Self { sequence, heads, head_size, .. } = self;
        kernel::by_row(x.len(), sequence * head_size, |i, output| {
            let (row, head) = (i / heads, i % heads);
            for token in 0..sequence {
                let start = ((row * sequence + token) * heads + head) * head_size;
                for (d, value) in x[start..start + head_size].iter().enumerate() {
                    output[d * sequence + token] = *value;
                }
            }
        })
    }

    fn merge_transposed_values(self, x: &[f32]) -> Vec<f32> {
        let Self { sequence, heads, head_size, .. } = self;
        kernel::by_row(x.len(), heads * head_size, |i, output| {
            let (row, token) = (i / sequence, i % sequence);
            for (head, output) in output.chunks_exact_mut(head_size).enumerate() {
                let start = (row * heads + head) * sequence * head_size;
                for (d, value) in output.iter_mut().enumerate() {
                    *value = x[start + d * sequence + token];
                }
            }
        })
    }
}

#[derive(Clone, Copy, Debug)]
enum To {
    Split,
    SplitTransposed,
    Merged,
}

struct Rearrange {
    heads: Heads,
    to: To,
}

impl CustomOp1 for Rearrange {
    fn name(&self) -> &'static str {
        "rearrange-heads"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(x, layout)?;
        let Heads { rows, sequence, heads, head_size } = self.heads;
        if x.len() != rows * sequence * heads * head_size {
            candle_core::bail!("{} values are not those of {:?}", x.len(), self.heads);
        }
        let (output, shape) = match self.to {
            To::Split => {
                (self.heads.split_values(x), Shape::from((rows, heads, sequence, head_size)))
            }
            To::SplitTransposed => (
                self.heads.split_transposed_values(x),
                Shape::from((rows, heads, head_size, sequence)),
            ),
            To::Merged => (self.heads.merge_values(x), self.heads.merged_shape()),
        };
        Ok((CpuStorage::F32(output), shape))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = with_values(grad, |grad| match self.to {
            To::Split => self.heads.merge_values(grad),
            To::SplitTransposed => self.heads.merge_transposed_values(grad),
            To::Merged => self.heads.split_values(grad),
        })?;
        Ok(Some(Tensor::from_vec(grad, x.shape(), x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_alike, variable};
    use super::*;

    #[test]
    fn heads_are_rearranged_as_by_views() {
        let heads = Heads { rows: 2, sequence: 3, heads: 4, head_size: 5 };
        let (joint, split) = (variable(31, &[6, 20]), variable(32, &[2, 4, 3, 5]));
        let view = |x: &Tensor| x.reshape((2, 3, 4, 5));
        assert_alike(
            &[&joint],
            || heads.split(&joint),
            || view(&joint)?.transpose(1, 2)?.contiguous(),
        );
        assert_alike(
            &[&joint],
            || heads.split_transposed(&joint),
            || view(&joint)?.permute((0, 2, 3, 1))?.contiguous(),
        );
        assert_alike(&[&split], || heads.merge(&split), || split.transpose(1, 2)?.reshape((6, 20)));
        assert!(heads.split(&variable(33, &[6, 21])).is_err());
    }
}
