//! The agent as a program: requests on standard input, responses on standard output.

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    match atb_agent::serve(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("atb-agent: {error}");
            ExitCode::FAILURE
        }
    }
}
