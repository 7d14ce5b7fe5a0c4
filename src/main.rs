//! The `wspipe` program: command line in, exit status out.

use std::io::{self, Write};
use std::process::ExitCode;

use wspipe::cli::{self, Invocation};
use wspipe::config::Config;
use wspipe::startup::{self, StartError};

/// The exit status for a wrong command line.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os().skip(1)) {
        Ok(Invocation::Serve { config, warnings }) => {
            for warning in warnings {
                print_to_stderr(&format!("warning: {warning}"));
            }
            serve(config)
        }
        Ok(Invocation::Print(text)) => print(&text),
        Err(error) => {
            print_to_stderr(&error.to_string());
            ExitCode::from(USAGE)
        }
    }
}

/// Serves until the server stops.
fn serve(config: Config) -> ExitCode {
    match startup::serve(config, print_to_stderr) {
        Ok(code) => code,
        Err(error) => {
            print_to_stderr(&error.to_string());
            match error {
                StartError::Usage(_) => ExitCode::from(USAGE),
                StartError::System(_) => ExitCode::FAILURE,
            }
        }
    }
}

/// Prints to stdout. If the reader has left (`wspipe --help | head -1`), returns an error status
/// instead of panicking.
fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Writes one line to stderr. A failure of this write cannot be reported.
fn print_to_stderr(message: &str) {
    let _ = writeln!(io::stderr(), "wspipe: {message}");
}
