//! What is done to activations between products, vectorised by the compiler for the
//! instruction set at hand. A panel holds `MR` tokens, feature by feature.

/// Instruction sets that the passes are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// What every processor of the architecture has.
    Base,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                return Self::Avx512;
            }
            if avx2 {
                return Self::Avx2;
            }
        }
        Self::Base
    }
}

/// Compiles `$body` once for each level.
macro_rules! for_each_level {
    ($(#[$doc:meta])* $name:ident = $body:ident $(<$($MR:ident),+>)? ($($arg:ident: $type:ty),* $(,)?)) => {
        $(#[$doc])*
        pub(super) fn $name$(<$(const $MR: usize),+>)?(level: Level, $($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2$(<$(const $MR: usize),+>)?($($arg: $type),*) {
                $body::<$($($MR,)+)? true>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,avx512f,avx512vl")]
            fn avx512$(<$(const $MR: usize),+>)?($($arg: $type),*) {
                $body::<$($($MR,)+)? true>($($arg),*)
            }
            match level {
                Level::Base => {
                    $body::<$($($MR,)+)? { cfg!(target_arch = "aarch64") }>($($arg),*)
                }
                // SAFETY: these levels are only detected where the processor has them.
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => unsafe { avx2$(::<$($MR),+>)?($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 => unsafe { avx512$(::<$($MR),+>)?($($arg),*) },
            }
        }
    };
}

for_each_level! {
    /// The exact GELU, `x / 2 (1 + erf(x / sqrt 2))`, in place.
    gelu = gelu_body(values: &mut [f32])
}
for_each_level! {
    /// Turns scores, key by key, into shares that still want to be multiplied by `scale`; `mask`
    /// is added to each key's scores.
    softmax = softmax_body<MR>(scores: &mut [f32], mask: Option<&[f32]>, scale: &mut [f32; MR])
}
for_each_level! {
    /// `x` becomes the layer normalisation of `x + y`; `y` is used up.
    layer_norm = layer_norm_body<MR>(x: &mut [f32], y: &mut [f32], norm: &Norm)
}

for_each_level! {
    /// What a step of each token is worth where its largest feature is so many, and the inverse.
    /// No number if a feature is none, or is infinite.
    steps = steps_body<MR>(
        features: &[[f32; MR]],
        most: f32,
        worth: &mut [f32; MR],
        inverse: &mut [f32; MR],
    )
}
for_each_level! {
    /// Features in steps, panels of `R` tokens one after the other, each feature by feature.
    round = round_body<MR, R, DIGIT>(features: &[[f32; MR]], inverse: &[f32; MR], steps: &mut [i8])
}
for_each_level! {
    /// As [`round`], four features of a token side by side; those that are missing are zero.
    round_fours = round_fours_body<MR, R, DIGIT>(
        features: &[[f32; MR]],
        inverse: &[f32; MR],
        steps: &mut [i8],
    )
}
for_each_level! {
    /// Sums of products of steps, `[outputs][MR]`, in floating point; `worth` is what a step of
    /// each token is worth.
    to_floats = to_floats_body<MR>(
        to: &mut [f32],
        sums: &[i32],
        worth: &[f32],
        outputs: Outputs<'_>,
    )
}

/// Outputs to be stored: what a step of each is worth, its bias, and how far its tokens lie from
/// each other and it from the next.
#[derive(Clone, Copy)]
pub(super) struct Outputs<'a> {
    pub(super) scales: &'a [f32],
    pub(super) bias: &'a [f32],
    pub(super) row: usize,
    pub(super) step: usize,
}

/// Scale and bias by feature, and the epsilon of a layer normalisation.
#[derive(Clone, Debug)]
pub(super) struct Norm {
    pub(super) scale: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) epsilon: f32,
}

#[inline(always)]
fn fused<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x` for `x` up to 80, within 3e-7 of it.
#[inline(always)]
fn exp<const FMA: bool>(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -87.0 { -87.0 } else { x };
    let rounded = fused::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = fused::<FMA>(n, -LN_2_HIGH, x);
    let r = fused::<FMA>(n, -LN_2_LOW, r);
    // The polynomial of degree 5 that is nearest to the exponential within half of ln 2.
    let mut sum = 0.008_297_614;
    for coefficient in [0.041_915_668, 0.166_675_77, 0.499_988_9, 0.999_999_7, 1.000_000_1] {
        sum = fused::<FMA>(sum, r, coefficient);
    }
    sum * f32::from_bits((rounded.to_bits() << 23).wrapping_add(0x3f80_0000))
}

/// The share of a normal distribution that lies beyond `x`, from 0 on: half of what the error
/// function of `x / sqrt 2` leaves of one. Abramowitz and Stegun 7.1.26, within 2e-7.
#[inline(always)]
fn beyond<const FMA: bool>(x: f32) -> f32 {
    let a = x * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / fused::<FMA>(a, 0.327_591_1, 1.0);
    let mut sum = 0.5 * 1.061_405_4;
    for coefficient in [-1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6] {
        sum = fused::<FMA>(sum, t, 0.5 * coefficient);
    }
    sum * t * exp::<FMA>(-a * a)
}

/// Keeps the compiler from taking several rounds of a loop together. On aarch64 it would take so
/// many that their values do not fit into the registers.
#[inline(always)]
fn one_by_one() {
    // SAFETY: does nothing.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("", options(nomem, nostack, preserves_flags));
    }
}

#[inline(always)]
fn gelu_body<const FMA: bool>(values: &mut [f32]) {
    let gelu = |x: &mut f32| *x = fused::<FMA>(-x.abs(), beyond::<FMA>(x.abs()), x.max(0.0));
    if cfg!(target_arch = "aarch64") {
        let (chunks, rest) = values.as_chunks_mut::<8>();
        for chunk in chunks {
            one_by_one();
            chunk.iter_mut().for_each(gelu);
        }
        rest.iter_mut().for_each(gelu);
    } else {
        values.iter_mut().for_each(gelu);
    }
}

#[inline(always)]
fn softmax_body<const MR: usize, const FMA: bool>(
    scores: &mut [f32],
    mask: Option<&[f32]>,
    scale: &mut [f32; MR],
) {
    let (keys, _) = scores.as_chunks_mut::<MR>();
    if let Some(mask) = mask {
        for (key, mask) in keys.iter_mut().zip(mask) {
            for score in key {
                *score += *mask;
            }
        }
    }
    let mut highest = [f32::NEG_INFINITY; MR];
    for key in &*keys {
        for (highest, score) in highest.iter_mut().zip(key) {
            *highest = if *score > *highest { *score } else { *highest };
        }
    }
    let mut sum = [0.0; MR];
    for key in keys {
        one_by_one();
        for ((score, highest), sum) in key.iter_mut().zip(&highest).zip(&mut sum) {
            *score = exp::<FMA>(*score - *highest);
            *sum += *score;
        }
    }
    for (scale, sum) in scale.iter_mut().zip(&sum) {
        *scale = 1.0 / *sum;
    }
}

#[inline(always)]
fn layer_norm_body<const MR: usize, const FMA: bool>(x: &mut [f32], y: &mut [f32], norm: &Norm) {
    let (x, _) = x.as_chunks_mut::<MR>();
    let (y, _) = y.as_chunks_mut::<MR>();
    let features = norm.scale.len();
    let (x, y) = (&mut x[..features], &mut y[..features]);
    let share = 1.0 / features as f32;
    let mut mean = [0.0; MR];
    for (x, y) in x.iter().zip(&mut *y) {
        for ((x, y), mean) in x.iter().zip(y).zip(&mut mean) {
            *y += *x;
            *mean += *y;
        }
    }
    for mean in &mut mean {
        *mean *= share;
    }
    let mut scale = [0.0; MR];
    for y in &*y {
        for ((y, mean), scale) in y.iter().zip(&mean).zip(&mut scale) {
            let d = *y - *mean;
            *scale = fused::<FMA>(d, d, *scale);
        }
    }
    for scale in &mut scale {
        *scale = 1.0 / fused::<FMA>(*scale, share, norm.epsilon).sqrt();
    }
    for (((x, y), gamma), beta) in x.iter_mut().zip(y).zip(&norm.scale).zip(&norm.bias) {
        for (((x, y), mean), scale) in x.iter_mut().zip(y).zip(&mean).zip(&scale) {
            *x = fused::<FMA>((*y - *mean) * *scale, *gamma, *beta);
        }
    }
}

/// Added to a number below 2^22, it leaves the nearest integer in the lowest bits.
const ROUND: f32 = 12_582_912.0;

#[inline(always)]
fn steps_body<const MR: usize, const FMA: bool>(
    features: &[[f32; MR]],
    most: f32,
    worth: &mut [f32; MR],
    inverse: &mut [f32; MR],
) {
    // As bits: what is no number, or infinite, is the largest.
    let mut largest = [0u32; MR];
    for feature in features {
        for (largest, value) in largest.iter_mut().zip(feature) {
            *largest = (*largest).max(value.abs().to_bits());
        }
    }
    for ((worth, inverse), largest) in worth.iter_mut().zip(&mut *inverse).zip(largest) {
        let largest = f32::from_bits(largest);
        (*worth, *inverse) = if !largest.is_finite() {
            (f32::NAN, 0.0)
        } else if largest < 1e-30 {
            (0.0, 0.0)
        } else {
            (largest / most, most / largest)
        };
    }
}

/// What of a number of steps one product takes: all of it, or one digit of two, to base 128.
pub(super) const WHOLE: usize = 0;
pub(super) const HIGH: usize = 1;
pub(super) const LOW: usize = 2;

/// The lowest eight bits are the digit of the steps to which [`ROUND`] was added.
#[inline(always)]
fn digit<const DIGIT: usize>(steps: f32) -> u32 {
    let bits = steps.to_bits();
    let high = bits.wrapping_add(64) >> 7;
    match DIGIT {
        HIGH => high,
        LOW => bits.wrapping_sub(high << 7),
        _ => bits,
    }
}

#[inline(always)]
fn round_body<const MR: usize, const R: usize, const DIGIT: usize, const FMA: bool>(
    features: &[[f32; MR]],
    inverse: &[f32; MR],
    steps: &mut [i8],
) {
    let depth = features.len();
    for (number, panel) in steps.chunks_exact_mut(depth * R).enumerate() {
        let (panel, _) = panel.as_chunks_mut::<R>();
        for (steps, feature) in panel.iter_mut().zip(features) {
            let tokens = number * R..(number + 1) * R;
            let values = feature[tokens.clone()].iter().zip(&inverse[tokens]);
            for (step, (value, inverse)) in steps.iter_mut().zip(values) {
                *step = digit::<DIGIT>(fused::<FMA>(*value, *inverse, ROUND)) as i8;
            }
        }
    }
}

#[inline(always)]
fn round_fours_body<const MR: usize, const R: usize, const DIGIT: usize, const FMA: bool>(
    features: &[[f32; MR]],
    inverse: &[f32; MR],
    steps: &mut [i8],
) {
    let fours = features.len().div_ceil(4);
    let (whole, rest) = features.as_chunks::<4>();
    for (number, panel) in steps.chunks_exact_mut(fours * 4 * R).enumerate() {
        let (panel, _) = panel.as_chunks_mut::<4>();
        let (panel, _) = panel.as_chunks_mut::<R>();
        let step = |feature: &[f32; MR], lane: usize| {
            let token = number * R + lane;
            digit::<DIGIT>(fused::<FMA>(feature[token], inverse[token], ROUND)) & 0xff
        };
        for (steps, four) in panel.iter_mut().zip(whole) {
            for (lane, steps) in steps.iter_mut().enumerate() {
                let [a, b, c, d] = std::array::from_fn(|k| step(&four[k], lane));
                *steps = (a | b << 8 | c << 16 | d << 24).to_le_bytes().map(|byte| byte as i8);
            }
        }
        if let (false, Some(steps)) = (rest.is_empty(), panel.last_mut()) {
            for (lane, steps) in steps.iter_mut().enumerate() {
                *steps = [0; 4];
                for (to, feature) in steps.iter_mut().zip(rest) {
                    *to = step(feature, lane) as i8;
                }
            }
        }
    }
}

#[inline(always)]
fn to_floats_body<const MR: usize, const FMA: bool>(
    to: &mut [f32],
    sums: &[i32],
    worth: &[f32],
    outputs: Outputs<'_>,
) {
    let Outputs { scales, bias, row, step } = outputs;
    let (sums, _) = sums.as_chunks::<MR>();
    let Ok(worth) = <&[f32; MR]>::try_from(worth) else { return };
    let outputs = sums.iter().zip(scales.iter().zip(bias));
    if row == 1 {
        for (to, (sums, (scale, bias))) in to.chunks_mut(step).zip(outputs) {
            let Some(to) = to.first_chunk_mut::<MR>() else { return };
            for ((to, sum), worth) in to.iter_mut().zip(sums).zip(worth) {
                *to = fused::<FMA>(*sum as f32, worth * scale, *bias);
            }
        }
        return;
    }
    for (at, (sums, (scale, bias))) in outputs.enumerate() {
        let to = to[at * step..].iter_mut().step_by(row);
        for ((to, sum), worth) in to.zip(sums).zip(worth) {
            *to = fused::<FMA>(*sum as f32, worth * scale, *bias);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gelu_is_exact_to_a_millionth() {
        // The error function by its series, in double precision.
        let erf = |x: f64| {
            let (mut term, mut sum) = (x, x);
            for n in 1..200 {
                term *= -x * x / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            sum * std::f64::consts::FRAC_2_SQRT_PI
        };
        let inputs: Vec<f32> = (-500..=500).map(|i| i as f32 * 0.01).collect();
        for level in [Level::Base, Level::detect()] {
            let mut outputs = inputs.clone();
            gelu(level, &mut outputs);
            for (x, y) in inputs.iter().zip(&outputs) {
                let x = f64::from(*x);
                let exact = 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2));
                assert!((f64::from(*y) - exact).abs() < 1e-6, "gelu({x}) = {y}, not {exact}");
            }
        }
        let mut wide = [-1e4, 1e4, f32::NAN];
        gelu(Level::detect(), &mut wide);
        assert!(wide[0].abs() < 1e-30, "{}", wide[0]);
        assert_eq!(wide[1], 1e4);
        assert!(wide[2].is_nan());
    }

    #[test]
    fn softmax_shares_sum_to_one_whatever_the_size_of_the_scores() {
        for offset in [0.0, -1e4, 1e4] {
            let mut scores: Vec<f32> = (0..5 * 8).map(|i| offset + (i % 7) as f32).collect();
            let expected: Vec<f64> = scores.iter().map(|s| f64::from(*s - offset).exp()).collect();
            let mut scale = [0.0; 8];
            softmax::<8>(Level::detect(), &mut scores, None, &mut scale);
            for lane in 0..8 {
                let sum: f64 = (0..5).map(|key| expected[key * 8 + lane]).sum();
                for key in 0..5 {
                    let share = f64::from(scores[key * 8 + lane] * scale[lane]);
                    assert!((share - expected[key * 8 + lane] / sum).abs() < 1e-6);
                }
            }
        }
    }
}
