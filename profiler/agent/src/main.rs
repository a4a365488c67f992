//! The agent as a program: requests on standard input, responses on standard output.

use std::process::ExitCode;

use atb_agent::{Options, serve_host};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => return failure(&error),
    };
    let Options { mut machine, silence } = options;
    match serve_host(&mut *machine, silence) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(&error),
    }
}

fn failure(error: &dyn miette::Diagnostic) -> ExitCode {
    eprintln!("atb-agent: {error}");
    if let Some(help) = error.help() {
        eprintln!("hint: {help}");
    }
    ExitCode::FAILURE
}
