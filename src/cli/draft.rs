//! The settings that the options read so far have made.
//!
//! Most options write into the [`Config`] at once. Those whose meaning depends on other options
//! wait here until the last one has been read.

use std::ffi::OsString;
use std::net::IpAddr;

use super::UsageError;
use super::conflicts::{Scope, check_paths, check_scopes, check_values};
use crate::config::{Config, Mode, Stderr};
use crate::framing::Framing;

/// The settings so far, and what is decided at the end.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) config: Config,
    /// The name and scope of every option that was given, in order.
    pub(super) given: Vec<(&'static str, Scope)>,
    pub(super) echo: bool,
    /// Replace the default instead of adding to it.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) passenv: Option<Vec<OsString>>,
    /// Every framing that was asked for, by any option.
    pub(super) framings: Vec<Framing>,
    /// Its default depends on the framing.
    pub(super) stderr: Option<Stderr>,
    /// What to print instead of serving.
    pub(super) print: Option<Print>,
}

/// A text that is printed instead of serving.
#[derive(Clone, Copy)]
pub(super) enum Print {
    /// The options that most people need.
    Help,
    /// Every option.
    WholeHelp,
    Version,
}

impl Draft {
    /// Decides what depends on several options, and refuses combinations that contradict each
    /// other.
    pub(super) fn finish(self, command: Option<Vec<OsString>>) -> Result<Config, UsageError> {
        let mut config = self.config;
        config.mode = match command {
            Some(_) if self.echo => {
                let message = "--echo takes no COMMAND: leave one of the two out";
                return Err(UsageError(message.to_owned()));
            }
            Some(words) if words[0].is_empty() => {
                let message = "COMMAND is empty: name a program";
                return Err(UsageError(message.to_owned()));
            }
            Some(words) => Mode::Command(words),
            None if self.echo => Mode::Echo,
            None if config.directory.is_some() || !config.routes.is_empty() => Mode::Routes,
            None => Mode::Demo,
        };
        check_paths(&config)?;
        if !self.addresses.is_empty() {
            config.listen.addresses = self.addresses;
        }
        config.command.passenv = self.passenv.unwrap_or(config.command.passenv);
        config.command.framing = only_framing(&self.framings)?.unwrap_or(config.command.framing);
        config.command.stderr = self.stderr.unwrap_or(match config.command.framing {
            Framing::Lines => Stderr::Merge,
            Framing::Raw | Framing::Null | Framing::Length | Framing::Headers => Stderr::Log,
        });
        config.access.any_origin = config.access.origins.iter().any(|origin| origin == "any");
        if config.access.any_origin {
            config.access.origins.retain(|origin| origin != "any");
        }
        check_scopes(&config, &self.given)?;
        check_values(&config)?;
        Ok(config)
    }
}

/// The one framing that was asked for, by one option or several.
fn only_framing(asked: &[Framing]) -> Result<Option<Framing>, UsageError> {
    let Some((&first, others)) = asked.split_first() else {
        return Ok(None);
    };
    match others.iter().find(|&&other| other != first) {
        None => Ok(Some(first)),
        Some(other) => Err(UsageError(format!(
            "--framing={} and --framing={} contradict each other (--binary is raw, --null is \
             null): leave one of the two out",
            first.name(),
            other.name()
        ))),
    }
}
