//! How results and progress look.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use atb_measurements::Flag;
use atb_pipeline::{Event, Reporter};
use atb_predictor::Predictor;
use atb_settings::visible;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use miette::{IntoDiagnostic, WrapErr};
use schemars::JsonSchema;
use serde::Serialize;

/// Whether only warnings and errors are shown.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Whether nothing is shown but errors: another rank speaks for this one.
static SILENT: AtomicBool = AtomicBool::new(false);

/// Shows nothing but errors from now on, or what is asked for.
pub(crate) fn set_silent(silent: bool) {
    SILENT.store(silent, Ordering::Relaxed);
}

/// Shows only warnings and errors from now on, or everything.
pub(crate) fn set_quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

/// Prints an error, what caused it and, on a line of its own, what to do.
pub(crate) fn error(error: &miette::Report) {
    note(&format!("error: {}", text_of(error)));
    hint(error.help());
}

/// Prints, on a line of its own, what to do.
pub(crate) fn hint(help: Option<impl fmt::Display>) {
    if let Some(help) = help {
        note(&format!("hint: {help}"));
    }
}

/// Prints a line for people. What came from files and devices into it does not steer the terminal.
pub(crate) fn note(text: &str) {
    eprintln!("{}", visible(text));
}

/// [`remark`] of something that is no warning.
pub(crate) fn progress(text: &str) {
    if !QUIET.load(Ordering::Relaxed) {
        remark(text);
    }
}

/// The error with its causes, without those that the text before them says already.
fn text_of(error: &miette::Report) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        let cause = cause.trim_end();
        if !text.contains(cause) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(cause);
        }
    }
    text
}

/// Warns of a predictor that was fitted on no device.
pub(crate) fn warn_of_no_device(predictor: &Predictor) {
    for source in &predictor.sources {
        for flag in source.device.flags().into_iter().filter(|flag| flag.means_no_device()) {
            remark(&format!("warning: fitted on `{}`, {flag}: {}", source.target, flag.text()));
        }
    }
}

/// [`note`], but of the first rank only.
pub(crate) fn remark(text: &str) {
    if !SILENT.load(Ordering::Relaxed) {
        note(text);
    }
}

/// Prints data to standard output, the first rank's only. A reader that has gone away is no error.
pub(crate) fn data(text: &str) -> miette::Result<()> {
    if SILENT.load(Ordering::Relaxed) {
        return Ok(());
    }
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).into_diagnostic().wrap_err("standard output")
        }
        _ => Ok(()),
    }
}

/// What a reader must know of the device that numbers are of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Remark {
    /// The flag, as in measurement files.
    pub(crate) flag: String,
    /// What it means.
    pub(crate) text: String,
}

impl Remark {
    /// Of those of `flags` that say that no device is behind the numbers.
    pub(crate) fn of(flags: &[Flag]) -> Vec<Self> {
        let flags = flags.iter().filter(|flag| flag.means_no_device());
        flags
            .map(|flag| Self { flag: flag.name().to_owned(), text: flag.text().to_owned() })
            .collect()
    }

    /// The remark as a line.
    pub(crate) fn line(&self) -> String {
        format!("{}: {}", self.flag, self.text)
    }
}

/// Shows progress on standard error: a line a step, a bar where there is a terminal.
pub(crate) struct Display {
    bar: Option<ProgressBar>,
    /// Where several devices are at work: the device's name, and the bars of all.
    device: Option<(String, MultiProgress)>,
    /// The step at work and when it began.
    step: Option<(String, Instant)>,
}

impl Drop for Display {
    fn drop(&mut self) {
        self.log_step();
    }
}

impl Display {
    pub(crate) fn new() -> Self {
        Self { bar: None, device: None, step: None }
    }

    /// A display for each of these devices; of several, every line names its device.
    pub(crate) fn for_devices(names: &[&str]) -> Vec<Self> {
        let bars = MultiProgress::new();
        let device = |name: &str| (names.len() > 1).then(|| (name.to_owned(), bars.clone()));
        names.iter().map(|name| Self { bar: None, device: device(name), step: None }).collect()
    }

    /// Logs how long the step that ends now took.
    fn log_step(&mut self) {
        if let Some((step, begin)) = self.step.take() {
            tracing::info!(step, took = ?begin.elapsed(), "a step has ended");
        }
    }

    fn line(&self, text: &str) {
        match (&self.device, &self.bar) {
            (Some((name, bars)), _) => bars.suspend(|| note(&format!("{name}: {text}"))),
            (None, Some(bar)) => bar.suspend(|| note(text)),
            (None, None) => note(text),
        }
    }
}

impl Reporter for Display {
    fn event(&mut self, event: Event<'_>) {
        if SILENT.load(Ordering::Relaxed) {
            return;
        }
        if QUIET.load(Ordering::Relaxed) && !matches!(event, Event::Warning(_)) {
            return;
        }
        match event {
            Event::Step { name, detail } => {
                self.log_step();
                self.step = Some((name.to_owned(), Instant::now()));
                self.line(&format!("{name:<9} {detail}"));
            }
            Event::Kept => self.line("          nothing has changed, the result is kept"),
            Event::Begin { done, total } => self.begin(done, total),
            Event::Advance(message) => self.move_bar(message, |bar| bar.inc(1)),
            Event::Reach { done, message } => self.move_bar(message, |bar| bar.set_position(done)),
            Event::End => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
            }
            Event::Result(text) => self.line(&format!("          {text}")),
            Event::Warning(text) => self.line(&format!("warning: {text}")),
        }
    }
}

impl Display {
    fn begin(&mut self, done: u64, total: u64) {
        if !io::stderr().is_terminal() {
            return;
        }
        let bar = match &self.device {
            Some((name, bars)) => bars.add(ProgressBar::new(total)).with_prefix(name.clone()),
            None => ProgressBar::new(total).with_prefix("         "),
        };
        bar.set_style(
            ProgressStyle::with_template(
                "{prefix} {bar:24} {pos}/{len} {elapsed} elapsed, {eta} left  {wide_msg}",
            )
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.set_position(done);
        bar.reset_eta();
        bar.enable_steady_tick(Duration::from_millis(500));
        self.bar = Some(bar);
    }

    fn move_bar(&self, message: &str, forward: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = &self.bar {
            bar.set_message(visible(message));
            forward(bar);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_error_says_already_is_not_said_again() {
        let cause = || miette::miette!("no such file\n");
        let repeating = || cause().wrap_err("a.toml: no such file");
        assert_eq!(text_of(&repeating()), "a.toml: no such file");
        assert_eq!(text_of(&cause().wrap_err("a.toml")), "a.toml: no such file");
        assert_eq!(text_of(&repeating().wrap_err("the job")), "the job: a.toml: no such file");
    }
}
