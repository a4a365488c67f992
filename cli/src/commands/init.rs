//! `atb init`: a configuration to begin with, from three questions or their flags.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

use atb_pipeline::{Wanted, WantedBudget, template};
use atb_targets::Target;
use clap::Args;
use miette::{IntoDiagnostic, WrapErr, bail};

use crate::display;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Configuration to write; it is never written over
    #[arg(default_value = "atb.toml")]
    file: PathBuf,
    /// Device: a built-in name or a target file
    #[arg(long)]
    target: Option<String>,
    /// Budget: how many times faster than BERT-base on the device
    #[arg(long, conflicts_with = "latency_ms")]
    speedup: Option<f64>,
    /// Budget: milliseconds on the device
    #[arg(long)]
    latency_ms: Option<f64>,
    /// Text like the one that the model is for, one paragraph a line
    #[arg(long, value_name = "FILE")]
    text: Option<String>,
    /// Export in 8 bits, a quarter of the bytes
    #[arg(long)]
    int8: bool,
    /// Folder of everything that the run makes
    #[arg(short, long, default_value = "atb-run", value_name = "FOLDER")]
    out: String,
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let Arguments { file, target, speedup, latency_ms, text, int8, out } = arguments;
    if file.exists() {
        bail!(
            help = "name another file, or run it with `atb run`",
            "{} is there already",
            file.display()
        );
    }
    // Whoever gives an answer as a flag is not asked; a script is asked nothing.
    let asks = io::stdin().is_terminal() && io::stderr().is_terminal();
    let target = match target {
        Some(target) => target.clone(),
        None if asks => ask("Which device? `atb devices` lists those that answer", "local")?,
        None => "local".to_owned(),
    };
    Target::find(&target)?;
    let budget = match (speedup, latency_ms) {
        (_, Some(ms)) => WantedBudget::LatencyMs(*ms),
        (Some(times), None) => WantedBudget::Speedup(*times),
        (None, None) if asks => {
            let question = "Which budget? `12 ms`, or `16` times faster than BERT-base";
            budget(&ask(question, "16")?)?
        }
        (None, None) => WantedBudget::Speedup(16.0),
    };
    let text = match text {
        Some(text) => Some(text.clone()),
        None if asks => {
            let question =
                "Text like the one that the model is for (a file; empty for built-in text)";
            Some(ask(question, "")?).filter(|text| !text.is_empty())
        }
        None => None,
    };
    if let Some(text) = text.as_ref().filter(|text| !PathBuf::from(text).is_file()) {
        bail!(help = "one paragraph a line, some hundred of them", "{text} is no file");
    }
    let wanted = Wanted { target, budget, text, int8: *int8, output: out.clone() };
    let configuration = template(&wanted, file)?;
    atb_files::write(file, configuration.as_bytes())
        .into_diagnostic()
        .wrap_err_with(|| file.display().to_string())?;
    display::data(&file.display().to_string())?;
    display::hint(Some(format!(
        "check the device with `atb doctor --target {}`, then `atb run {}`",
        wanted.target,
        file.display()
    )));
    Ok(())
}

/// Asks a question; an empty answer is the default.
fn ask(question: &str, default: &str) -> miette::Result<String> {
    let mut stderr = io::stderr().lock();
    match default {
        "" => write!(stderr, "{question}: "),
        default => write!(stderr, "{question} [{default}]: "),
    }
    .into_diagnostic()?;
    stderr.flush().into_diagnostic()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).into_diagnostic()?;
    Ok(Some(answer.trim()).filter(|answer| !answer.is_empty()).unwrap_or(default).to_owned())
}

/// A budget as one says it: `12 ms`, `16`, `16 times`.
fn budget(answer: &str) -> miette::Result<WantedBudget> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|value| *value > 0.0);
    let milliseconds = answer.strip_suffix("ms").and_then(number).map(WantedBudget::LatencyMs);
    let times = answer.trim_end_matches("times").trim_end_matches('x');
    match milliseconds.or_else(|| number(times).map(WantedBudget::Speedup)) {
        Some(budget) => Ok(budget),
        None => bail!(help = "`12 ms`, or `16`", "`{answer}` is no budget"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_as_one_says_them() {
        let of = |answer| budget(answer).expect(answer);
        assert_eq!(of("12 ms"), WantedBudget::LatencyMs(12.0));
        assert_eq!(of("2.5ms"), WantedBudget::LatencyMs(2.5));
        for times in ["16", "16x", "16 times"] {
            assert_eq!(of(times), WantedBudget::Speedup(16.0));
        }
        for none in ["", "fast", "-3", "0 ms", "nan"] {
            assert!(budget(none).is_err(), "{none}");
        }
    }
}
