//! The agent as a program: requests on standard input, responses on standard output.

use std::process::ExitCode;

fn main() -> ExitCode {
    let served =
        atb_agent::machine(std::env::args().skip(1)).map_err(|error| error.to_string()).and_then(
            |mut machine| atb_agent::serve_host(&mut *machine).map_err(|error| error.to_string()),
        );
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("atb-agent: {error}");
            ExitCode::FAILURE
        }
    }
}
