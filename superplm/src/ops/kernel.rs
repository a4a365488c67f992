//! The loops of the fused operations: plain slices, written so that they vectorise.

use rayon::prelude::*;

/// Values that one task works on, so that small inputs stay on their thread.
pub(super) const TASK: usize = 1 << 15;

/// Fills `rows * width` values row by row, in parallel; `fill` gets the row's number and
/// its values, which are zero.
pub(super) fn by_row(
    length: usize,
    width: usize,
    fill: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut output = vec![0.0; length];
    if width == 0 {
        return output;
    }
    let rows = (TASK / width).max(1);
    output.par_chunks_mut(rows * width).enumerate().for_each(|(task, chunk)| {
        for (i, row) in chunk.chunks_exact_mut(width).enumerate() {
            fill(task * rows + i, row);
        }
    });
    output
}

/// Fills values in parallel; `fill` gets the number of its first value and its values.
fn elementwise(length: usize, fill: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let mut output = vec![0.0; length];
    output.par_chunks_mut(TASK).enumerate().for_each(|(task, output)| fill(task * TASK, output));
    output
}

pub(super) fn gelu(x: &[f32]) -> Vec<f32> {
    elementwise(x.len(), |start, output| {
        for (output, x) in output.iter_mut().zip(&x[start..]) {
            *output = 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
        }
    })
}

pub(super) fn add3(x: &[f32], y: &[f32], z: &[f32], width: usize) -> Vec<f32> {
    let period = (z.len() / width.max(1)).max(1);
    by_row(x.len(), width, |i, output| {
        let (x, y, z) = (&x[i * width..], &y[i * width..], &z[i % period * width..]);
        for (((output, x), y), z) in output.iter_mut().zip(x).zip(y).zip(z) {
            *output = x + y + z;
        }
    })
}

pub(super) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32) -> Vec<f32> {
    let width = weight.len();
    let mean = |sum: f32| sum / width as f32;
    by_row(x.len(), width, |i, output| {
        let x = &x[i * width..(i + 1) * width];
        let centre = mean(sum(x, x, |value, _| value));
        let variance = mean(sum(x, x, |a, b| (a - centre) * (b - centre)));
        let scale = 1.0 / (variance + eps).sqrt();
        for (((output, x), weight), bias) in output.iter_mut().zip(x).zip(weight).zip(bias) {
            *output = (x - centre) * scale * weight + bias;
        }
    })
}

/// Softmax of each row of `keys` scores; each `rows` of them share a row of `penalty`.
pub(super) fn masked_softmax(
    scores: &[f32],
    penalty: &[f32],
    rows: usize,
    keys: usize,
) -> Vec<f32> {
    by_row(scores.len(), keys, |i, output| {
        let penalty = &penalty[i / rows * keys..];
        for ((output, score), penalty) in output.iter_mut().zip(&scores[i * keys..]).zip(penalty) {
            *output = score + penalty;
        }
        let largest = output.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for value in output.iter_mut() {
            *value = exp(*value - largest);
        }
        let scale = 1.0 / sum(output, output, |value, _| value);
        for value in output.iter_mut() {
            *value *= scale;
        }
    })
}

/// Squared differences of `a` and `b`, `[batch, tokens, width]`, summed over the tokens
/// that `mask`, `[batch * tokens]`, keeps.
pub(super) fn squared_error_of_tokens(a: &[f32], b: &[f32], mask: &[f32], width: usize) -> f32 {
    let rows = by_row(mask.len(), 1, |i, output| {
        if mask[i] != 0.0 {
            let row = i * width..(i + 1) * width;
            output[0] = sum(&a[row.clone()], &b[row], |a, b| (a - b) * (a - b));
        }
    });
    rows.into_iter().map(f64::from).sum::<f64>() as f32
}

/// Squared differences of `a` and `b`, `[batch, heads, tokens, tokens]`, summed over the
/// pairs both of which `mask`, `[batch * tokens]`, keeps.
pub(super) fn squared_error_of_pairs(
    a: &[f32],
    b: &[f32],
    mask: &[f32],
    heads: usize,
    tokens: usize,
) -> f32 {
    let rows = by_row(mask.len() * heads, 1, |i, output| {
        let (batch, query) = (i / (heads * tokens), i % tokens);
        let mask = &mask[batch * tokens..(batch + 1) * tokens];
        if mask[query] != 0.0 {
            let row = i * tokens..(i + 1) * tokens;
            let pairs = a[row.clone()].iter().zip(&b[row]).zip(mask);
            output[0] = pairs.map(|((a, b), mask)| mask * (a - b) * (a - b)).sum();
        }
    });
    rows.into_iter().map(f64::from).sum::<f64>() as f32
}

/// The sum over all rows of `values`, times `scale`. Always summed in the same order,
/// however many threads there are.
pub(super) fn column_sums(values: &[f32], width: usize, scale: f32) -> Vec<f32> {
    let block = (TASK / width.max(1)).max(1) * width.max(1);
    let partial: Vec<Vec<f32>> = values
        .par_chunks(block)
        .map(|rows| {
            let mut sums = vec![0.0; width];
            for row in rows.chunks_exact(width) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += value;
                }
            }
            sums
        })
        .collect();
    add_up(&partial, width, scale)
}

/// The sum of rows, times `scale`.
fn add_up(rows: &[Vec<f32>], width: usize, scale: f32) -> Vec<f32> {
    let mut total = vec![0.0; width];
    for row in rows {
        for (total, value) in total.iter_mut().zip(row) {
            *total += value;
        }
    }
    for value in &mut total {
        *value *= scale;
    }
    total
}

/// `grad * d/dx x Φ(x)`, which is `Φ(x) + x φ(x)`.
pub(super) fn gelu_gradient(x: &[f32], grad: &[f32]) -> Vec<f32> {
    const FRAC_1_SQRT_TAU: f32 = 0.398_942_3;
    elementwise(x.len(), |start, output| {
        for ((output, x), grad) in output.iter_mut().zip(&x[start..]).zip(&grad[start..]) {
            let distribution = 0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
            let density = FRAC_1_SQRT_TAU * exp(-0.5 * x * x);
            *output = grad * (distribution + x * density);
        }
    })
}

/// The gradients of [`layer_norm`]'s `x`, `weight` and `bias`.
pub(super) fn layer_norm_gradient(
    x: &[f32],
    weight: &[f32],
    grad: &[f32],
    eps: f32,
) -> [Vec<f32>; 3] {
    let width = weight.len();
    let mean = |sum: f32| sum / width as f32;
    let block = (TASK / width.max(1)).max(1) * width.max(1);
    let mut output = vec![0.0; x.len()];
    let partial: Vec<(Vec<f32>, Vec<f32>)> = output
        .par_chunks_mut(block)
        .zip(x.par_chunks(block))
        .zip(grad.par_chunks(block))
        .map(|((output, x), grad)| {
            let (mut weight_sum, mut bias_sum) = (vec![0.0; width], vec![0.0; width]);
            let mut inner = vec![0.0; width];
            let rows = output.chunks_exact_mut(width);
            for ((output, x), grad) in rows.zip(x.chunks_exact(width)).zip(grad.chunks_exact(width))
            {
                let centre = mean(sum(x, x, |value, _| value));
                let variance = mean(sum(x, x, |a, b| (a - centre) * (b - centre)));
                let scale = 1.0 / (variance + eps).sqrt();
                // `output` holds the normalised row until it becomes the gradient.
                for (((normal, x), grad), (weight_sum, bias_sum)) in
                    output.iter_mut().zip(x).zip(grad).zip(weight_sum.iter_mut().zip(&mut bias_sum))
                {
                    *normal = (x - centre) * scale;
                    *weight_sum += grad * *normal;
                    *bias_sum += grad;
                }
                for ((inner, grad), weight) in inner.iter_mut().zip(grad).zip(weight) {
                    *inner = grad * weight;
                }
                let offset = mean(sum(&inner, &inner, |value, _| value));
                let along = mean(sum(&inner, output, |a, b| a * b));
                for (normal, inner) in output.iter_mut().zip(&inner) {
                    *normal = (inner - offset - *normal * along) * scale;
                }
            }
            (weight_sum, bias_sum)
        })
        .collect();
    let (weight_sums, bias_sums): (Vec<_>, Vec<_>) = partial.into_iter().unzip();
    [output, add_up(&weight_sums, width, 1.0), add_up(&bias_sums, width, 1.0)]
}

/// The gradient of the scores from that of the softmax `result`.
pub(super) fn softmax_gradient(result: &[f32], grad: &[f32], keys: usize) -> Vec<f32> {
    by_row(result.len(), keys, |i, output| {
        let (result, grad) = (&result[i * keys..(i + 1) * keys], &grad[i * keys..(i + 1) * keys]);
        let along = sum(result, grad, |a, b| a * b);
        for ((output, result), grad) in output.iter_mut().zip(result).zip(grad) {
            *output = result * (grad - along);
        }
    })
}

/// `2 (a - b) * scale` where `mask` keeps a token of `[batch, tokens, width]`, else zero.
pub(super) fn error_gradient_of_tokens(
    a: &[f32],
    b: &[f32],
    mask: &[f32],
    width: usize,
    scale: f32,
) -> Vec<f32> {
    by_row(a.len(), width, |i, output| {
        let factor = 2.0 * scale * mask[i];
        for ((output, a), b) in output.iter_mut().zip(&a[i * width..]).zip(&b[i * width..]) {
            *output = factor * (a - b);
        }
    })
}

/// `2 (a - b) * scale` where `mask` keeps both tokens of a pair of `[batch, heads, tokens,
/// tokens]`, else zero.
pub(super) fn error_gradient_of_pairs(
    a: &[f32],
    b: &[f32],
    mask: &[f32],
    [heads, tokens]: [usize; 2],
    scale: f32,
) -> Vec<f32> {
    by_row(a.len(), tokens, |i, output| {
        let (batch, query) = (i / (heads * tokens), i % tokens);
        let mask = &mask[batch * tokens..(batch + 1) * tokens];
        let factor = 2.0 * scale * mask[query];
        let pairs = a[i * tokens..].iter().zip(&b[i * tokens..]).zip(mask);
        for (output, ((a, b), mask)) in output.iter_mut().zip(pairs) {
            *output = factor * mask * (a - b);
        }
    })
}

/// `-log softmax(logits)[label]`, summed over the rows.
pub(super) fn cross_entropy(logits: &[f32], labels: &[i64], classes: usize) -> f32 {
    let rows = by_row(labels.len(), 1, |i, output| {
        let logits = &logits[i * classes..(i + 1) * classes];
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let normaliser = sum(logits, logits, |logit, _| exp(logit - largest)).ln();
        output[0] = normaliser + largest - logits[labels[i] as usize];
    });
    rows.into_iter().map(f64::from).sum::<f64>() as f32
}

/// `(softmax(logits) - one_hot(labels)) * grad`.
pub(super) fn cross_entropy_gradient(
    logits: &[f32],
    labels: &[i64],
    classes: usize,
    grad: f32,
) -> Vec<f32> {
    by_row(logits.len(), classes, |i, output| {
        let logits = &logits[i * classes..(i + 1) * classes];
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for (output, logit) in output.iter_mut().zip(logits) {
            *output = exp(logit - largest);
        }
        let scale = grad / sum(output, output, |value, _| value);
        for value in output.iter_mut() {
            *value *= scale;
        }
        output[labels[i] as usize] -= grad;
    })
}

/// The sum of `term` over pairs of values, in eight interleaved partial sums: more exact
/// than one, and vectorised.
pub(super) fn sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut partial = [0.0_f32; 8];
    let (a, b) = (a.chunks_exact(partial.len()), b.chunks_exact(partial.len()));
    let rest = a.remainder().iter().zip(b.remainder());
    let rest: f32 = rest.map(|(a, b)| term(*a, *b)).sum();
    for (a, b) in a.zip(b) {
        for ((partial, a), b) in partial.iter_mut().zip(a).zip(b) {
            *partial += term(*a, *b);
        }
    }
    partial.iter().sum::<f32>() + rest
}

/// The error function, within 6e-7 and exactly ±1 from ±4 on: a rational least-squares fit
/// of odd degree 11 over degree 10 on [-4, 4].
fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let s = x * x;
    let upper = 1.974_830_9e-6;
    let upper = upper * s + 2.880_420_7e-4;
    let upper = upper * s + 4.003_660_3e-3;
    let upper = upper * s + 5.346_752e-2;
    let upper = upper * s + 0.196_249_28;
    let upper = upper * s + std::f32::consts::FRAC_2_SQRT_PI;
    let lower = 3.748_09e-5;
    let lower = lower * s + 1.216_363e-3;
    let lower = lower * s + 1.544_444_8e-2;
    let lower = lower * s + 0.116_476_55;
    let lower = lower * s + 0.507_252_6;
    let lower = lower * s + 1.0;
    (x * upper / lower).clamp(-1.0, 1.0)
}

/// The exponential of a value that is not positive, within 3e-7 of its size; 1e-38 for
/// anything below -87.
///
/// `e^x = 2^n 2^f` with `f` in [-1/2, 1/2], of which a polynomial of degree 6 is fitted.
fn exp(x: f32) -> f32 {
    // Adding and subtracting 1.5 * 2^23 rounds to a whole number, vectorised on any CPU.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts: n times the first is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.max(-87.0);
    let n = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let f = ((x - n * LN_2_HIGH) - n * LN_2_LOW) * std::f32::consts::LOG2_E;
    let power = 1.533_757_4e-4;
    let power = power * f + 1.339_987e-3;
    let power = power * f + 9.618_52e-3;
    let power = power * f + 5.550_329e-2;
    let power = power * f + 0.240_226_46;
    let power = power * f + std::f32::consts::LN_2;
    let power = power * f + 1.0;
    power * f32::from_bits(((n as i32 + 127) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error function by its Taylor series, in double precision, for |x| < 6.
    fn erf_series(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn erf_is_as_exact_as_it_says() {
        for i in -4500..=4500 {
            let x = i as f32 / 1000.0;
            let error = (f64::from(erf(x)) - erf_series(f64::from(x))).abs();
            assert!(error < 6e-7, "erf({x}) is off by {error}");
        }
        assert_eq!((erf(4.0), erf(80.0), erf(-80.0)), (1.0, 1.0, -1.0));
    }

    #[test]
    fn exp_is_as_exact_as_it_says() {
        for i in -87_000..=0 {
            let x = i as f32 / 1000.0;
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) / expected - 1.0).abs();
            assert!(error < 3e-7, "exp({x}) is off by {error} of its size");
        }
        assert!(exp(-20_000.0) < 2e-38);
    }
}
