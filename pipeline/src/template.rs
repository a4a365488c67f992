//! A configuration to begin with: the documented example with some of its values changed.

use std::path::Path;

use toml::Value;

use crate::{Config, PipelineError};

/// The example that documents every key with its default.
const EXAMPLE: &str = include_str!("../../examples/host.toml");

/// What one is to get.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The device: a built-in name or a target file.
    pub target: String,
    /// The latency budget.
    pub budget: WantedBudget,
    /// Text like the one that the model is for, one paragraph a line; the built-in one if absent.
    pub text: Option<String>,
    /// Whether the model is exported in 8 bits.
    pub int8: bool,
    /// Folder of everything that the run makes.
    pub output: String,
}

/// A latency budget as one thinks of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WantedBudget {
    /// Times faster than BERT-base.
    Speedup(f64),
    /// Milliseconds on the device.
    LatencyMs(f64),
}

/// The configuration of `wanted`, with comments; `path` is named where a value is refused.
///
/// # Errors
/// [`PipelineError`] where a value is out of its range.
pub fn template(wanted: &Wanted, path: &Path) -> Result<String, PipelineError> {
    let string = |text: &str| Value::String(text.to_owned()).to_string();
    let Wanted { target, budget, text, int8, output } = wanted;
    let mut changes = vec![
        ("target = \"local\"", format!("target = {}", string(target))),
        ("output = \"atb-run\"", format!("output = {}", string(output))),
    ];
    match budget {
        WantedBudget::Speedup(times) => {
            changes.push(("speedup = 16.0", format!("speedup = {times:?}")));
        }
        WantedBudget::LatencyMs(ms) => {
            changes.push(("speedup = 16.0", "# speedup = 16.0".to_owned()));
            changes.push(("# latency_ms = 10.0", format!("latency_ms = {ms:?}")));
        }
    }
    if let Some(text) = text {
        changes.push(("# text = \"held-out.txt\"", format!("text = {}", string(text))));
    }
    if *int8 {
        changes.push(("precision = \"f32\"", "precision = \"int8\"".to_owned()));
    }
    let lines = EXAMPLE.lines().map(|line| {
        let change = changes.iter().find(|(from, _)| line == *from);
        change.map_or_else(|| line.to_owned(), |(_, to)| to.clone())
    });
    // The example is about this machine; this one is about the user's device.
    let mut lines: Vec<String> = lines.collect();
    if let Some(first) = lines.first_mut() {
        *first =
            "# A run of atb. Every key is here with its value; those that are commented".to_owned();
    }
    let text = lines.join("\n") + "\n";
    Config::parse(path, &text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            target: "local".to_owned(),
            budget: WantedBudget::Speedup(16.0),
            text: None,
            int8: false,
            output: "atb-run".to_owned(),
        }
    }

    #[test]
    fn what_is_wanted_is_what_the_file_says() {
        let path = Path::new("mine.toml");
        let read = |wanted: &Wanted| {
            Config::parse(path, &template(wanted, path).expect("a template")).expect("reads")
        };
        let mut default = Config::default();
        default.budget.speedup = Some(16.0);
        assert_eq!(read(&wanted()), default);
        let config = read(&Wanted {
            target: "a \"quoted\" board.toml".to_owned(),
            budget: WantedBudget::LatencyMs(12.5),
            text: Some("mails.txt".to_owned()),
            int8: true,
            output: "out".to_owned(),
        });
        assert_eq!(config.target, "a \"quoted\" board.toml");
        assert_eq!((config.budget.latency_ms, config.budget.speedup), (Some(12.5), None));
        assert_eq!(config.fitness.text.as_deref(), Some(Path::new("mails.txt")));
        assert_eq!(config.export.precision, atb_space::Precision::Int8);
        assert_eq!(config.output, Path::new("out"));
    }

    #[test]
    fn a_budget_out_of_range_is_refused_by_its_key() {
        let budget = WantedBudget::Speedup(-1.0);
        let error = template(&Wanted { budget, ..wanted() }, Path::new("mine.toml"));
        assert!(error.expect_err("refused").to_string().contains("speedup"));
    }

    #[test]
    fn the_effective_configuration_is_a_configuration() {
        let config = Config::default();
        let text = toml::to_string(&config).expect("TOML");
        assert_eq!(Config::parse("printed.toml", &text).expect("reads"), config);
    }
}
