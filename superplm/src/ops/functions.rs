//! The functions that kernels are made of.

/// The error function, within 6e-7 and exactly ±1 from ±4 on: a rational least-squares fit
/// of odd degree 11 over degree 10 on [-4, 4].
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
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
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
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
