//! Runs a model file so many times: what is counted by a processor's emulator, which has no use
//! for the clock.

use std::path::Path;

use atb_runtime::{Engine, Inputs, Session};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, engine, tokens, runs] = &*arguments else {
        return Err("usage: inferences FILE.onnx fixed|tuned|integers|plain TOKENS RUNS".into());
    };
    let engine = match &**engine {
        "fixed" => Engine::Fixed,
        "tuned" => Engine::Tuned,
        "integers" => Engine::Integers,
        "plain" => Engine::Plain,
        other => return Err(format!("no engine is called {other}").into()),
    };
    let (tokens, runs): (usize, usize) = (tokens.parse()?, runs.parse()?);
    let mut session = Session::open_with(Path::new(file), 1, engine)?;
    let length = session.batch() * session.sequence();
    let words = session.words().unwrap_or(1).max(1) as i64;
    let mut inputs = Inputs::of_ids((0..length as i64).map(|token| token * 7919 % words).collect());
    for mask in inputs.attention_mask.chunks_exact_mut(session.sequence()) {
        mask.iter_mut().skip(tokens).for_each(|mask| *mask = 0);
    }
    let kernel = session.kernel().map_or_else(String::new, |kernel| kernel.name);
    let mut sum = 0.0;
    for _ in 0..runs {
        let outputs = session.run(&inputs)?;
        sum = outputs.0.iter().flat_map(|output| &output.values).map(|it| f64::from(*it)).sum();
    }
    println!("{} {kernel} {sum}", session.engine_path());
    Ok(())
}
