//! How far 8-bit files are from floating point on real text: the cosine of each sentence's vector
//! in the bundle of one precision with that in the other's, by the way products are computed.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use atb_benches::write_text;
use atb_measurements::percentile;
use atb_runtime::{Engine, Inputs, Session};
use atb_text::Tokenizer;
use clap::Parser;

/// Compare the sentence vectors of two bundles of one model, in f32 and in int8.
#[derive(Parser)]
struct Arguments {
    /// Bundle in f32, as `atb export` writes it
    #[arg(long)]
    f32: PathBuf,
    /// Bundle of the same model in int8
    #[arg(long)]
    int8: PathBuf,
    /// Text, one paragraph a line
    #[arg(long)]
    text: PathBuf,
    /// Sentences taken from it, evenly
    #[arg(long, default_value_t = 1_000)]
    sentences: usize,
    /// File for the table; without it it is only printed
    #[arg(long)]
    out: Option<PathBuf>,
}

const WAYS: [(&str, Engine); 3] = [
    ("in integers, tokens rounded one by one", Engine::Integers),
    ("in floating point, activations not rounded", Engine::Fixed),
    ("as the graph says, all tokens rounded together", Engine::Plain),
];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let text = fs_err::read_to_string(&arguments.text)?;
    let sentences = sentences(&text, arguments.sentences);
    ensure!(!sentences.is_empty(), "{} has no sentence", arguments.text.display());
    let tokenizer = Tokenizer::from_folder(&arguments.f32)?;
    let model =
        |bundle: &PathBuf, engine| Session::open_with(&bundle.join("model.onnx"), 1, engine);
    let vectors = |mut session: Session| -> Result<Vec<Vec<f32>>> {
        let vector = |sentence: &&str| -> Result<Vec<f32>> {
            let encoded = tokenizer.encode_batch([*sentence], session.sequence())?;
            let inputs = Inputs {
                input_ids: encoded.input_ids,
                attention_mask: encoded.attention_mask,
                token_type_ids: encoded.token_type_ids,
            };
            let outputs = session.run(&inputs)?;
            outputs.vector(0, &inputs.attention_mask).context("the model gives no vector")
        };
        sentences.iter().map(vector).collect()
    };
    let exact = vectors(model(&arguments.f32, Engine::Fixed)?)?;
    let mut table = format!(
        "Cosine with the vector in f32, {} sentences of {} to {} characters:\n\n\
         | products | lowest | 1 in 100 below | median |\n|---|---:|---:|---:|\n",
        sentences.len(),
        sentences.iter().map(|it| it.len()).min().unwrap_or(0),
        sentences.iter().map(|it| it.len()).max().unwrap_or(0),
    );
    for (name, engine) in WAYS {
        let session = model(&arguments.int8, engine)?;
        let kernel = session.kernel().map_or_else(String::new, |kernel| kernel.name);
        let found = vectors(session)?;
        let cosines: Vec<f64> = exact.iter().zip(&found).map(|(a, b)| cosine(a, b)).collect();
        let at = |share| percentile(&cosines, share).unwrap_or(f64::NAN);
        writeln!(
            table,
            "| {name} (`{kernel}`) | {:.5} | {:.5} | {:.5} |",
            at(0.0),
            at(0.01),
            at(0.5)
        )?;
    }
    println!("{table}");
    arguments.out.map_or(Ok(()), |out| write_text(&out, &table))
}

/// So many sentences of `text`, evenly from all of it.
fn sentences(text: &str, count: usize) -> Vec<&str> {
    let whole = |sentence: &&str| (20..400).contains(&sentence.len());
    let all = text.lines().flat_map(|line| line.split_inclusive(". ")).map(str::trim);
    let all: Vec<&str> = all.filter(whole).collect();
    let count = count.min(all.len());
    (0..count).map(|number| all[number * all.len() / count]).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    product(a, b) / (product(a, a) * product(b, b)).sqrt()
}
