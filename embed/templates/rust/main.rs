//! Asks the bundle what it gives for each argument.
//!
//!     cargo run --release -- "The battery lasts two days." "It broke at once."
//!     cargo run --release -- --measure > app-record.jsonl

use atb_app::{Bundle, Bytes, MeasureOptions, Model, ModelError, Task, measure};

/// The bundle is part of the program. `Model::open` takes a path, `Model::from_file` a part of an
/// open file.
static BUNDLE: &[u8] = include_bytes!("../bundle.atb");

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let texts: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if texts == ["--measure"] {
        let bundle = Bundle::from_bytes("bundle.atb", Bytes::new(BUNDLE))?;
        let measurement = measure(bundle, &MeasureOptions::default())?;
        eprintln!("{:.3} ms", measurement.latency_ms);
        print!("{}", measurement.text);
        return Ok(());
    }
    let model = Model::from_bytes(BUNDLE)?;
    model.warm_up()?;
    Ok(answer(&model, &texts)?)
}

/// Prints what the model gives. One model may be asked by any number of threads.
fn answer(model: &Model, texts: &[&str]) -> Result<(), ModelError> {
    if model.gives(Task::Classify) {
        for (text, labels) in texts.iter().zip(model.classify(texts)?) {
            println!("{text}");
            for label in labels {
                println!("  {} {:.4}", label.name, label.probability);
            }
        }
    }
    if model.gives(Task::Score) {
        for (text, score) in texts.iter().zip(model.score(texts)?) {
            println!("{text}\n  {score:.4}");
        }
    }
    if model.gives(Task::Embed) {
        for (text, vector) in texts.iter().zip(model.embed(texts)?) {
            println!("{text}\n  {} values, the first {:.4}", vector.len(), vector[0]);
        }
    }
    if model.gives(Task::Tag) {
        for (text, tags) in texts.iter().zip(model.tag(texts)?) {
            println!("{text}");
            for tag in tags {
                let (start, end) = (tag.start, tag.end);
                println!("  {} ({start} to {end}) {} {:.4}", tag.text, tag.label, tag.probability);
            }
        }
    }
    if let (true, [question, text]) = (model.gives(Task::Answer), texts) {
        for answer in model.answer(question, text, 3)? {
            println!("{} ({} to {}) {:.4}", answer.text, answer.start, answer.end, answer.probability);
        }
    }
    Ok(())
}
