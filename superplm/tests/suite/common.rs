//! A small model folder with distinct weights, and BERT once more in plain loops.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use atb_checkpoint::Checkpoint;
use atb_space::Architecture;
use atb_superplm::{SuperPlm, extract};
use atb_text::Encoded;
use candle_core::{Device, Tensor};

/// Words of the small vocabulary, after the special tokens.
const WORDS: [&str; 11] =
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "tiny", "model", "##s", "of", "text"];

/// Writes `vocab.txt` of eleven entries into a new folder.
pub(crate) fn vocabulary_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    std::fs::write(folder.path().join("vocab.txt"), WORDS.join("\n") + "\n").expect("writes");
    folder
}

/// Writes a model folder of that architecture under `root`; no two weights are equal,
/// biases and LayerNorm included, so that any wrong slice shows.
pub(crate) fn small_model(root: &Path, architecture: &str) -> PathBuf {
    let vocabulary = vocabulary_folder();
    let tokenizer = atb_text::Tokenizer::from_folder(vocabulary.path()).expect("loads");
    let architecture: Architecture = architecture.parse().expect("an architecture");
    let plm = SuperPlm::random(architecture, tokenizer, 1).expect("random weights");
    let folder = root.join("small");
    extract(&plm, plm.architecture(), &folder).expect("writes");

    rewrite(&folder, |tensors| {
        let mut state = 1_u64;
        let mut names: Vec<String> = tensors.keys().cloned().collect();
        names.sort();
        for name in names {
            let shape = tensors[&name].shape().clone();
            let values: Vec<f32> = (0..shape.elem_count())
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * 0.8
                })
                .collect();
            let tensor = Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor");
            tensors.insert(name, tensor);
        }
    });
    folder
}

/// Changes the tensors of a folder's weights file.
pub(crate) fn rewrite(folder: &Path, change: impl FnOnce(&mut HashMap<String, Tensor>)) {
    let file = folder.join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu).expect("reads");
    change(&mut tensors);
    candle_core::safetensors::save(&tensors, &file).expect("writes");
}

/// The values of a tensor, row by row.
pub(crate) fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("f32 values")
}

/// The largest absolute difference of two tensors of one shape.
pub(crate) fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    values(a).iter().zip(values(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Two rows of the small vocabulary, one with padding and a second text.
pub(crate) fn small_batch() -> Encoded {
    Encoded {
        batch: 2,
        sequence: 6,
        input_ids: vec![2, 5, 6, 7, 8, 3, 2, 10, 3, 9, 3, 0],
        attention_mask: vec![1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0],
        token_type_ids: vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0],
    }
}

/// What [`PlainBert::run`] makes of one row.
pub(crate) struct PlainOutput {
    /// `[sequence][hidden]`
    pub(crate) hidden: Vec<Vec<f64>>,
    /// `[heads][sequence][sequence]` of the last layer, scaled, before the mask.
    pub(crate) scores: Vec<Vec<Vec<f64>>>,
    /// `[hidden]`
    pub(crate) pooled: Vec<f64>,
}

/// BERT in plain loops and double precision, slicing by index arithmetic: written to share
/// nothing with the crate but the file reader.
pub(crate) struct PlainBert {
    whole: Architecture,
    arch: Architecture,
    tensors: HashMap<String, (Vec<usize>, Vec<f32>)>,
}

impl PlainBert {
    pub(crate) fn open(folder: &Path, arch: &Architecture) -> Self {
        let checkpoint = Checkpoint::open(folder).expect("opens");
        let file = folder.join("model.safetensors");
        let names = candle_core::safetensors::load(file, &Device::Cpu).expect("reads");
        let tensors = names
            .into_keys()
            .map(|name| {
                let tensor = checkpoint.tensor(&name).expect("reads");
                (name, tensor)
            })
            .collect();
        Self { whole: checkpoint.config().architecture.clone(), arch: arch.clone(), tensors }
    }

    fn matrix(&self, name: &str, row: usize, column: usize) -> f64 {
        let (shape, values) = &self.tensors[name];
        f64::from(values[row * shape[1] + column])
    }

    fn vector(&self, name: &str, i: usize) -> f64 {
        f64::from(self.tensors[name].1[i])
    }

    /// Row of the whole q|k|v that holds row `r` of head `head` of the sub-model.
    fn qkv_row(&self, layer: usize, head: usize, r: usize) -> usize {
        head * self.whole.layers()[layer].head_size() + r
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / x.len() as f64;
        let weight = format!("{name}.weight");
        let bias = format!("{name}.bias");
        x.iter()
            .enumerate()
            .map(|(i, v)| {
                (v - mean) / (variance + 1e-12).sqrt() * self.vector(&weight, i)
                    + self.vector(&bias, i)
            })
            .collect()
    }

    /// `W[rows, ..] x + b[rows]`, with the whole's row and column numbers given.
    fn dense(&self, name: &str, rows: &[usize], columns: &[usize], x: &[f64]) -> Vec<f64> {
        let weight = format!("{name}.weight");
        let bias = format!("{name}.bias");
        rows.iter()
            .map(|&row| {
                let products =
                    columns.iter().zip(x).map(|(&c, v)| self.matrix(&weight, row, c) * v);
                products.sum::<f64>() + self.vector(&bias, row)
            })
            .collect()
    }

    pub(crate) fn run(&self, ids: &[i64], types: &[i64], mask: &[i64]) -> PlainOutput {
        let hidden_rows: Vec<usize> = (0..self.arch.hidden()).collect();
        let mut hidden: Vec<Vec<f64>> = ids
            .iter()
            .zip(types)
            .enumerate()
            .map(|(position, (&id, &kind))| {
                let sum: Vec<f64> = hidden_rows
                    .iter()
                    .map(|&d| {
                        self.matrix("embeddings.word_embeddings.weight", id as usize, d)
                            + self.matrix("embeddings.position_embeddings.weight", position, d)
                            + self.matrix(
                                "embeddings.token_type_embeddings.weight",
                                kind as usize,
                                d,
                            )
                    })
                    .collect();
                self.norm("embeddings.LayerNorm", &sum)
            })
            .collect();
        let mut scores = Vec::new();
        for (i, layer) in self.arch.layers().iter().enumerate() {
            let name = |part: &str| format!("encoder.layer.{i}.{part}");
            let mut contexts = vec![Vec::new(); ids.len()];
            scores.clear();
            for head in 0..layer.heads {
                let rows: Vec<usize> =
                    (0..layer.head_size()).map(|r| self.qkv_row(i, head, r)).collect();
                let project = |part: &str| -> Vec<Vec<f64>> {
                    hidden.iter().map(|x| self.dense(&name(part), &rows, &hidden_rows, x)).collect()
                };
                let query = project("attention.self.query");
                let key = project("attention.self.key");
                let value = project("attention.self.value");
                let scale = (layer.head_size() as f64).sqrt();
                let head_scores: Vec<Vec<f64>> =
                    query.iter().map(|q| key.iter().map(|k| dot(q, k) / scale).collect()).collect();
                for (context, row) in contexts.iter_mut().zip(&head_scores) {
                    let weights: Vec<f64> = row
                        .iter()
                        .zip(mask)
                        .map(|(score, &real)| if real == 0 { 0.0 } else { score.exp() })
                        .collect();
                    let sum: f64 = weights.iter().sum();
                    for r in 0..layer.head_size() {
                        let mix = weights.iter().zip(&value).map(|(w, v)| w * v[r]);
                        context.push(mix.sum::<f64>() / sum);
                    }
                }
                scores.push(head_scores);
            }
            let columns: Vec<usize> = (0..layer.heads)
                .flat_map(|head| (0..layer.head_size()).map(move |r| (head, r)))
                .map(|(head, r)| self.qkv_row(i, head, r))
                .collect();
            let inner_rows: Vec<usize> = (0..layer.intermediate).collect();
            for (x, context) in hidden.iter_mut().zip(&contexts) {
                let output =
                    self.dense(&name("attention.output.dense"), &hidden_rows, &columns, context);
                let attended = self.norm(&name("attention.output.LayerNorm"), &add(&output, x));
                let inner: Vec<f64> = self
                    .dense(&name("intermediate.dense"), &inner_rows, &hidden_rows, &attended)
                    .into_iter()
                    .map(gelu)
                    .collect();
                let output = self.dense(&name("output.dense"), &hidden_rows, &inner_rows, &inner);
                *x = self.norm(&name("output.LayerNorm"), &add(&output, &attended));
            }
        }
        let pooled = self
            .dense("pooler.dense", &hidden_rows, &hidden_rows, &hidden[0])
            .into_iter()
            .map(f64::tanh)
            .collect();
        PlainOutput { hidden, scores, pooled }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// `x Φ(x)`, Φ by Simpson's rule over the normal density: slow and exact to 1e-12.
fn gelu(x: f64) -> f64 {
    let steps = 2_000;
    let width = x / f64::from(steps);
    let density = |t: f64| (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let inside: f64 = (1..steps)
        .map(|i| density(f64::from(i) * width) * if i % 2 == 0 { 2.0 } else { 4.0 })
        .sum();
    x * (0.5 + (density(0.0) + inside + density(x)) * width / 3.0)
}
