//! The command line: from arguments to a [`Config`], or to a text that is printed.
//!
//! | file | content |
//! |---|---|
//! | `options/` | the table of options; how to add one |
//! | `values.rs`, `command_values.rs`, `shell_words.rs` | reads the value of an option |
//! | `draft.rs` | what the options read so far ask for |
//! | `conflicts.rs` | refuses options that contradict each other or have no effect |
//! | `command_words.rs` | warns about words of COMMAND that were meant for wspipe or for a shell |
//! | `suggestions.rs` | finds an option by its name, or suggests one |
//! | `help.rs` | `--help` and `--help=all` |
//! | `reference/` | for tests only: writes the man page, the completions and the manual's page |

mod command_values;
mod command_words;
mod conflicts;
mod draft;
mod help;
mod options;
#[cfg(test)]
mod reference;
mod shell_words;
mod suggestions;
#[cfg(test)]
mod testing;
mod values;

use std::ffi::{OsStr, OsString};
use std::fmt;

use lexopt::{Arg, Parser};

use self::command_words::{misplaced_options, shell_operators};
use self::draft::{Draft, Print};
use self::suggestions::{find, unknown_letter};
use crate::config::Config;

/// The text of `wspipe --version`.
const VERSION: &str = concat!("wspipe ", env!("CARGO_PKG_VERSION"), "\n");

/// The request of the command line.
#[expect(clippy::large_enum_variant, reason = "there is one, at the start")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// Serve.
    Serve {
        /// What the options ask for.
        config: Config,
        /// What is probably not meant so: one line each, which names the remedy.
        warnings: Vec<String>,
    },
    /// Print this text and exit: the help or the version.
    Print(String),
}

/// One line that names the error in the command line and how to correct it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        Self(error.to_string())
    }
}

/// Reads the arguments, without the program's own name.
///
/// The first word that is not an option starts the command. When an option is repeated, the last
/// one counts; lists add up; two different framings are refused.
///
/// # Errors
/// An option does not exist, does not take its value, contradicts another one, or would have no
/// effect.
pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Invocation, UsageError> {
    let mut parser = Parser::from_args(args);
    let mut draft = Draft::default();
    let mut warnings = Vec::new();
    let command = loop {
        let rest = parser.try_raw_args();
        let dashes = rest.is_some_and(|rest| rest.peek() == Some(OsStr::new("--")));
        let option = match parser.next()? {
            Some(Arg::Long(name)) => find(name)?,
            Some(Arg::Short('h')) => find("help")?,
            Some(Arg::Short('V')) => find("version")?,
            Some(Arg::Short(letter)) => {
                return Err(unknown_letter(letter));
            }
            Some(Arg::Value(name)) => {
                let words: Vec<_> = std::iter::once(name).chain(parser.raw_args()?).collect();
                // With `--` the operator has said where COMMAND begins.
                if !dashes {
                    warnings.extend(misplaced_options(&words));
                }
                break Some(words);
            }
            // In a script whose variable for COMMAND is empty, this must not start the demo's shell.
            None if dashes => {
                let message = "-- is not followed by a COMMAND: name one, or leave -- out";
                return Err(UsageError(message.to_owned()));
            }
            None => break None,
        };
        option.apply(&mut parser, &mut draft)?;
        if let Some(print) = draft.print {
            return Ok(Invocation::Print(match print {
                Print::Help => help::common(),
                Print::WholeHelp => help::all(),
                Print::Version => VERSION.to_owned(),
            }));
        }
    };
    let config = draft.finish(command)?;
    warnings.extend(shell_operators(&config.routes));
    Ok(Invocation::Serve { config, warnings })
}

#[cfg(test)]
mod tests;
