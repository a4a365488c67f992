//! Checks of an operation's fused form against its composite one and finite differences.

use candle_core::{Device, Result, Tensor, Var};

/// A variable with values of about a standard deviation that `seed` fixes.
pub(super) fn variable(seed: u64, shape: &[usize]) -> Var {
    let mut state = seed;
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed | 1);
            ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * 4.0
        })
        .collect();
    Var::from_vec(values, shape, &Device::Cpu).expect("a variable")
}

/// Some values of a gradient are finite differences of `value`.
fn assert_differences(
    what: &str,
    variable: &Var,
    gradient: &Tensor,
    value: impl Fn() -> Result<f32>,
) {
    const STEP: f32 = 1e-2;
    let list = |t: &Tensor| t.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("values");
    let (original, gradient) = (list(variable), list(gradient));
    let at = |index: usize, offset: f32| {
        let mut values = original.clone();
        values[index] += offset;
        let values = Tensor::from_vec(values, variable.shape(), variable.device());
        values.and_then(|values| variable.set(&values)).expect("sets");
        f64::from(value().expect("a value"))
    };
    for index in (0..original.len()).step_by(original.len().div_ceil(7)) {
        let difference = (at(index, STEP) - at(index, -STEP)) / f64::from(2.0 * STEP);
        let found = f64::from(gradient[index]);
        let close = (found - difference).abs() < 2e-2 * (1.0 + difference.abs());
        assert!(close, "{what} at {index}: {found}, by differences {difference}");
    }
    at(0, 0.0);
}

/// Value and gradients of a fused form are those of its composite form, and the gradients
/// are finite differences of the value.
pub(super) fn assert_alike(
    variables: &[&Var],
    fused: impl Fn() -> Result<Tensor>,
    composite: impl Fn() -> Result<Tensor>,
) {
    let weights = variable(99, fused().expect("fused").dims());
    let gradients = assert_same(variables, &fused, composite);
    for (number, (variable, gradient)) in variables.iter().zip(gradients).enumerate() {
        assert_differences(&format!("gradient {number}"), variable, &gradient, || {
            fused()?.mul(&weights)?.sum_all()?.to_scalar::<f32>()
        });
    }
}

/// Value and gradients of a fused form are those of its composite form; the gradients.
pub(super) fn assert_same(
    variables: &[&Var],
    fused: impl Fn() -> Result<Tensor>,
    composite: impl Fn() -> Result<Tensor>,
) -> Vec<Tensor> {
    let (fused, composite) = (fused().expect("fused"), composite().expect("composite"));
    close("value", &fused, &composite);
    // Weights that differ from value to value, so that every gradient path counts.
    let weights = variable(99, fused.dims());
    let backward = |result: &Tensor| {
        result.mul(&weights).and_then(|product| product.sum_all()?.backward()).expect("gradients")
    };
    let (fused, composite) = (backward(&fused), backward(&composite));
    let gradient = |store: &candle_core::backprop::GradStore, variable: &Var| {
        store.get(variable.as_tensor()).expect("has a gradient").clone()
    };
    for (number, variable) in variables.iter().enumerate() {
        let (a, b) = (gradient(&fused, variable), gradient(&composite, variable));
        close(&format!("gradient {number}"), &a, &b);
    }
    variables.iter().map(|variable| gradient(&fused, variable)).collect()
}

pub(super) fn close(what: &str, a: &Tensor, b: &Tensor) {
    assert_eq!(a.dims(), b.dims(), "{what}");
    let list = |t: &Tensor| t.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("values");
    for (a, b) in list(a).into_iter().zip(list(b)) {
        assert!((a - b).abs() < 2e-5 * (1.0 + b.abs()), "{what}: {a} for {b}");
    }
}
