//! `atb`: profile, predict, search, extract and export tiny BERTs for a latency budget.
//!
//! Results go to standard output, everything for people to standard error. Exit status: 0
//! done, 1 the input or the device is at fault, 2 a bug of the program, 130 interrupted.

mod commands;
mod display;
mod output;

use std::process::ExitCode;
use std::time::Duration;

use atb_ranks::Ranks;
use clap::Parser;

use tracing_subscriber::EnvFilter;

use commands::Command;

/// How long a rank leaves it to the first to say what is wrong.
const OTHERS_WAIT: Duration = Duration::from_secs(1);

/// Find, export and check a tiny BERT for a latency budget on a device.
#[derive(Debug, Parser)]
#[command(name = "atb", version, max_term_width = 100)]
struct Arguments {
    /// Say what is read, written and sent to devices; twice also what each step is doing
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Say nothing to standard error but warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    share_threads();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors.
            let code = u8::from(error.use_stderr());
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    std::panic::set_hook(Box::new(|panic| {
        // The session makes an error of it that names the model.
        if atb_runtime::is_guarded() {
            return;
        }
        eprintln!("error: this is a bug of atb, please report it: {panic}");
        std::process::exit(2);
    }));
    log(arguments.verbose);
    display::set_quiet(arguments.quiet);
    let ranks = match arguments.command.ranks() {
        Ok(ranks) => ranks,
        Err(error) => {
            display::error(&error);
            return ExitCode::from(1);
        }
    };
    display::set_silent(!ranks.is_first());
    match arguments.command.execute(&ranks) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&ranks, &error),
    }
}

/// Says what is wrong and ends the job.
fn fail(ranks: &Ranks, error: &miette::Report) -> ExitCode {
    if ranks.are_one() {
        display::error(error);
        return ExitCode::from(1);
    }
    if !ranks.is_first() {
        // What all ranks find wrong the first one says for all.
        std::thread::sleep(OTHERS_WAIT);
        display::note(&format!("rank {}:", ranks.rank()));
    }
    display::error(error);
    ranks.abort(1)
}

/// Logs to standard error what `RUST_LOG` asks for, else what `-v` does: nothing without.
fn log(verbose: u8) {
    let level = ["off", "info", "debug", "trace"][usize::from(verbose.min(3))];
    let own = ["atb", "atb_files", "atb_fetch", "atb_pipeline", "atb_profiler", "atb_targets"];
    let own = own.map(|name| format!("{name}={level}")).join(",");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(own));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}

/// Keeps candle from threads of its own, which wait for each other by spinning: everything
/// here shares rayon's. `CANDLE_NUM_THREADS` in the environment counts before this.
fn share_threads() {
    const VARIABLE: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(VARIABLE).is_none() {
        // SAFETY: this is the first thing that `main` does, so no other thread reads the
        // environment meanwhile.
        unsafe { std::env::set_var(VARIABLE, "1") };
    }
}
