use std::collections::BTreeMap;
use std::sync::Arc;

use atb_space::Architecture;
use candle_core::{Device, Tensor, Var};

use super::super::cut;
use super::super::gradient::{Gradient, Touched};
use super::super::testing::{close, variable};
use super::*;
use crate::parameters::Parameters;
use atb_checkpoint::BertConfig;

const ROWS: usize = 2;
const SEQUENCE: usize = 5;

/// One layer's parameters, whole.
struct Whole {
    arch: Architecture,
    variables: BTreeMap<String, (Var, Arc<Gradient>)>,
}

impl Whole {
    fn new(arch: &str) -> Self {
        let arch: Architecture = arch.parse().expect("an architecture");
        let config = BertConfig::new(arch.clone(), 3);
        let mut variables = BTreeMap::new();
        let mut seed = 40;
        Parameters::collect(1, false, |name, axes| {
            seed += 2;
            let values = variable(seed, &atb_checkpoint::shape(axes, &config));
            // About as large as a model's: the attention is neither even nor one-hot.
            let values =
                values.affine(0.3, if name.ends_with("Norm.weight") { 1.0 } else { 0.0 })?;
            let variable = Var::from_tensor(&values)?;
            let gradient = Arc::new(Gradient::new(variable.elem_count()));
            variables.insert(name.to_owned(), (variable, gradient));
            Ok::<_, candle_core::Error>(())
        })
        .expect("parameters");
        variables.retain(|name, _| name.starts_with("encoder."));
        Self { arch, variables }
    }

    fn share(&self, arch: &Architecture) -> LayerParameters<InPlace> {
        let mut all = Parameters::collect(1, false, |name, axes| {
            let Some((variable, gradient)) = self.variables.get(name) else { return Ok(None) };
            let gradient = Some(gradient.clone());
            Ok::<_, candle_core::Error>(Some(cut::share(
                variable, axes, &self.arch, arch, gradient,
            )))
        })
        .expect("shares");
        let layer = all.layers.remove(0);
        layer.try_map(|share| share.clone().ok_or("a layer's parameter")).expect("is there")
    }

    /// The gradients so far, which are then zero again.
    fn take_gradients(&self) -> BTreeMap<String, Vec<f32>> {
        let take = |(name, (_, gradient)): (&String, &(Var, Arc<Gradient>))| {
            let mut sum = gradient.lock();
            sum.touched = Touched::Nothing;
            let zeros = vec![0.0; sum.values.len()];
            (name.clone(), std::mem::replace(&mut sum.values, zeros))
        };
        self.variables.iter().map(take).collect()
    }
}

fn shape(arch: &Architecture, asked: usize) -> LayerShape {
    let layer = arch.layers()[0];
    LayerShape {
        rows: ROWS,
        sequence: SEQUENCE,
        asked,
        hidden: arch.hidden(),
        intermediate: layer.intermediate,
        heads: layer.heads,
        qkv: layer.qkv,
        layer_norm_eps: 1e-12,
    }
}

/// The second sequence has three tokens of padding.
fn penalty() -> Tensor {
    let off = -10_000.0_f32;
    Tensor::new(&[[0.0; SEQUENCE], [0.0, 0.0, off, off, off]], &Device::Cpu).expect("a tensor")
}

/// A scalar to which every hidden state and score matters.
fn scalar(hidden: &Tensor, scores: Option<&Tensor>) -> Result<Tensor> {
    let weigh = |tensor: &Tensor, seed| {
        (tensor * variable(seed, tensor.dims()).as_detached_tensor())?.sum_all()
    };
    let of_hidden = weigh(hidden, 3)?;
    match scores {
        Some(scores) => of_hidden + weigh(scores, 5)?,
        None => Ok(of_hidden),
    }
}

/// The scalar and the gradient of `x`; those of the parameters are where they belong.
fn run(
    whole: &Whole,
    arch: &Architecture,
    x: &Var,
    Way { with_scores, dropout, asked }: Way,
    fused: bool,
) -> (f32, Tensor) {
    let (shape, parameters) = (shape(arch, asked), whole.share(arch));
    let (hidden, scores) = if fused {
        let scratch = Scratch::default();
        super::fused(x, parameters, shape, &penalty(), with_scores, dropout, &scratch)
            .expect("runs")
    } else {
        let parameters = parameters.try_map(InPlace::tensor).expect("tensors");
        let (hidden, scores) =
            composite::layer(x, &parameters, &shape, &penalty(), dropout).expect("runs");
        (hidden, with_scores.then_some(scores))
    };
    assert_eq!(scores.is_some(), with_scores);
    let scalar = scalar(&hidden, scores.as_ref()).expect("a scalar");
    let gradients = scalar.backward().expect("gradients");
    assert!(whole.variables.values().all(|(variable, _)| gradients.get(variable).is_none()));
    let of_x = gradients.get(x).expect("a gradient").clone();
    (scalar.to_scalar().expect("a number"), of_x)
}

/// Whole, of other sizes everywhere, with fewer heads, and with narrower ones.
const ARCHITECTURES: [&str; 4] = ["1-8-12-4-16", "1-6-7-4-8", "1-8-12-3-12", "1-5-12-2-6"];

/// A way to run a layer.
#[derive(Clone, Copy, Debug)]
struct Way {
    with_scores: bool,
    dropout: Dropout,
    asked: usize,
}

/// With and without scores, with and without dropout, for all tokens and for the first ones.
fn ways() -> Vec<Way> {
    let mut ways = Vec::new();
    for with_scores in [false, true] {
        for dropout in [Dropout::NONE, Dropout::new(0.25, 9)] {
            ways.extend([SEQUENCE, 1, 2].map(|asked| Way { with_scores, dropout, asked }));
        }
    }
    ways
}

#[test]
fn a_layer_is_its_composite() {
    let whole = Whole::new(ARCHITECTURES[0]);
    for id in ARCHITECTURES {
        let arch: Architecture = id.parse().expect("an architecture");
        let x = variable(7, &[ROWS * SEQUENCE, arch.hidden()]);
        for way in ways() {
            let (value, of_x) = run(&whole, &arch, &x, way, true);
            let found = whole.take_gradients();
            let (expected, expected_of_x) = run(&whole, &arch, &x, way, false);
            assert!((value - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{id}");
            close(id, &of_x, &expected_of_x);
            for (name, expected) in whole.take_gradients() {
                let largest = expected.iter().fold(0.0_f32, |largest, g| largest.max(g.abs()));
                // Shifting all scores of a query alike changes nothing, so the bias of the
                // keys has no gradient but by the scores.
                assert!(largest > 0.02 || name.contains("key.bias"), "{id}: {name}: {largest}");
                for (found, expected) in found[&name].iter().zip(&expected) {
                    let near = (found - expected).abs() < 5e-5 * (1.0 + largest);
                    assert!(near, "{id}: {name}: {found} for {expected}");
                }
            }
        }
    }
}

#[test]
fn a_layers_gradients_are_finite_differences() {
    const STEP: f32 = 1e-2;
    let whole = Whole::new(ARCHITECTURES[0]);
    let arch: Architecture = ARCHITECTURES[3].parse().expect("an architecture");
    let x = variable(7, &[ROWS * SEQUENCE, arch.hidden()]);
    for way in ways().into_iter().filter(|way| way.with_scores) {
        // Those of the differences before.
        whole.take_gradients();
        let (_, of_x) = run(&whole, &arch, &x, way, true);
        let mut all = whole.take_gradients();
        all.insert("x".to_owned(), of_x.flatten_all().and_then(|x| x.to_vec1()).expect("values"));
        for (name, gradient) in all {
            let variable = if name == "x" { &x } else { &whole.variables[&name].0 };
            let original: Vec<f32> =
                variable.flatten_all().and_then(|values| values.to_vec1()).expect("values");
            let at = |index: usize, offset: f32| {
                let mut values = original.clone();
                values[index] += offset;
                let values = Tensor::from_vec(values, variable.shape(), variable.device());
                values.and_then(|values| variable.set(&values)).expect("sets");
                f64::from(run(&whole, &arch, &x, way, true).0)
            };
            for index in (0..original.len()).step_by(original.len().div_ceil(9)) {
                let difference = (at(index, STEP) - at(index, -STEP)) / f64::from(2.0 * STEP);
                let found = f64::from(gradient[index]);
                let near = (found - difference).abs() < 3e-2 * (1.0 + difference.abs());
                assert!(near, "{name} at {index}: {found}, by differences {difference}");
            }
            at(0, 0.0);
        }
    }
}
