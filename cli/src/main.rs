//! `atb`: profile, predict, search, extract and export tiny BERTs for a latency budget.
//!
//! Results go to standard output, everything for people to standard error. Exit status: 0
//! done, 1 the input or the device is at fault, 2 a bug of the program, 130 interrupted.

mod commands;
mod display;

use std::process::ExitCode;

use clap::Parser;

use commands::Command;

/// Find, export and check a tiny BERT for a latency budget on a device.
#[derive(Debug, Parser)]
#[command(name = "atb", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
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
        eprintln!("error: this is a bug of atb, please report it: {panic}");
        std::process::exit(2);
    }));
    match arguments.command.execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            display::error(&error);
            ExitCode::from(1)
        }
    }
}
