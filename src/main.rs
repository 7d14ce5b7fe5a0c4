//! The `wspipe` command.

use std::io::{self, Write};
use std::process::ExitCode;

use wspipe::cli::{self, Invocation};
use wspipe::config::Config;
use wspipe::startup::{self, StartError};

/// The exit status for a wrong command line.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os().skip(1)) {
        Ok(Invocation::Serve(config)) => serve(config),
        Ok(Invocation::Help) => print(cli::HELP),
        Ok(Invocation::Version) => print(cli::VERSION),
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(USAGE)
        }
    }
}

/// Serves until a signal ends it.
fn serve(config: Config) -> ExitCode {
    match startup::serve(config, complain) {
        Ok(code) => code,
        Err(error) => {
            complain(&error.to_string());
            match error {
                StartError::Usage(_) => ExitCode::from(USAGE),
                StartError::System(_) => ExitCode::FAILURE,
            }
        }
    }
}

/// Prints to stdout, whose reader may have gone (`wspipe --help | head -1`): that is no panic.
fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Prints one line to stderr. When that fails too, there is nowhere left to say so.
fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "wspipe: {message}");
}
