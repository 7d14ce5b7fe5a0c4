//! Refuses options that contradict each other or would have no effect.
//!
//! An option that silently does nothing is a misunderstanding that an operator finds out about in
//! production, so it is an error here.

use super::UsageError;
use crate::config::{Config, Mode, Stderr};
use crate::framing::Framing;

/// The situations in which an option has an effect. In others it is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Always,
    /// Where a command is served: not with `--echo` alone.
    Command,
    /// Where a command's lines, or its records that end with NUL, are messages.
    Records,
    /// Where a command's lines are messages.
    Lines,
    /// Only in the demo.
    Demo,
    /// Where several clients may come: not with `--once`.
    Several,
    /// Where one command serves all clients.
    Shared,
    /// Where a command whose client has left gets signals.
    Signalled,
    /// Where a command's output is kept for later clients.
    Replayed,
    /// Where proxies may name their clients.
    Proxied,
}

/// Refuses two options that would serve the same paths. `--dir` answers 404 for programs that it
/// does not have, so nothing else can serve every path next to it.
pub(super) fn check_paths(config: &Config) -> Result<(), UsageError> {
    let at_root = config.routes.iter().any(|route| route.path.is_empty());
    let everywhere = match &config.mode {
        Mode::Command(_) => Some("COMMAND"),
        Mode::Echo => Some("--echo"),
        Mode::Demo | Mode::Routes => None,
    };
    let (one, other) = match (everywhere, at_root, &config.directory) {
        (Some(everywhere), true, _) => (everywhere, "--route=/"),
        (Some(everywhere), false, Some(_)) => (everywhere, "--dir"),
        (None, true, Some(_)) => ("--route=/", "--dir"),
        _ => return Ok(()),
    };
    let message = format!(
        "{one} and {other} would both serve the paths that no other option names: \
         leave one of the two out, or give it a path of its own with --route=/PATH="
    );
    Err(UsageError(message))
}

/// Refuses an option that has no effect with what is served. `given` is each option's name and
/// scope.
pub(super) fn check_scopes(config: &Config, given: &[(&str, Scope)]) -> Result<(), UsageError> {
    let framing = config.command.framing;
    for (name, scope) in given {
        let why = match scope {
            Scope::Command | Scope::Records | Scope::Lines | Scope::Signalled | Scope::Replayed
                if !config.has_commands() =>
            {
                "no command is served".to_owned()
            }
            Scope::Records if !framing.has_records() => {
                format!("there are no lines with --framing={}", framing.name())
            }
            Scope::Lines if framing != Framing::Lines => {
                format!("there are no lines with --framing={}", framing.name())
            }
            Scope::Demo if config.mode != Mode::Demo => {
                "it is for the shell of the demo alone".to_owned()
            }
            Scope::Shared if config.command.shared.is_none() => {
                "it is for a command that all clients share (--shared)".to_owned()
            }
            Scope::Signalled if config.command.kill_after.is_none() => {
                "no signal is sent with --kill-after=never".to_owned()
            }
            Scope::Replayed if config.command.resume.is_none() && config.command.replay == 0 => {
                "nothing is kept without --resume or --replay".to_owned()
            }
            Scope::Proxied if config.access.proxies.networks.is_empty() => {
                "no proxy is trusted without --trust-proxy".to_owned()
            }
            Scope::Several if config.server.once => {
                "one client is all that --once serves".to_owned()
            }
            _ => continue,
        };
        let message = format!("--{name} would have no effect, {why}: leave it out");
        return Err(UsageError(message));
    }
    Ok(())
}

/// Refuses values that are valid alone but not together.
pub(super) fn check_values(config: &Config) -> Result<(), UsageError> {
    let message = if config.access.any_origin && !config.access.origins.is_empty() {
        let origin = &config.access.origins[0];
        format!("--origin=any lets {origin} in too: leave one of the two out")
    } else if let Some(message) = stderr_conflict(config) {
        message
    } else if let Some(message) = shared_conflict(config) {
        message
    } else if config.clients.ping_interval >= config.clients.pong_timeout {
        format!(
            "a ping every {:?} and --pong-timeout={:?} would end every quiet client: \
             make --ping-interval the shorter of the two",
            config.clients.ping_interval, config.clients.pong_timeout
        )
    } else if let Some(max) = config.server.memory_max
        && max < config.memory_min()
    {
        let (message_len_max, min) = (config.clients.message_len_max, config.memory_min());
        format!(
            "--max-memory={max} has no room for a message of --max-message={message_len_max}: \
             write --max-memory={min} or more, or a shorter --max-message"
        )
    } else {
        return Ok(());
    };
    Err(UsageError(message))
}

/// The reason why `--stderr` does not fit the framing.
fn stderr_conflict(config: &Config) -> Option<String> {
    match (config.command.stderr, config.command.framing) {
        (Stderr::Merge, framing) if framing.has_headers() => Some(format!(
            "--stderr=merge would break the messages of --framing={}: \
             write --stderr=log or --stderr=drop",
            framing.name()
        )),
        (Stderr::Json, framing) if !framing.has_records() => Some(format!(
            "--stderr=json tags lines and there are none with --framing={}: \
             write --stderr=log, or --framing=lines or null",
            framing.name()
        )),
        _ => None,
    }
}

/// What contradicts `--shared`, if that was given.
fn shared_conflict(config: &Config) -> Option<String> {
    config.command.shared?;
    let only_one = matches!(config.mode, Mode::Command(_)) && config.routes.is_empty();
    let other = match () {
        () if !only_one || config.directory.is_some() => {
            return Some("--shared needs COMMAND, and it alone: name the one to be shared".into());
        }
        () if config.server.once => "--once",
        () if config.command.resume.is_some() => "--resume",
        () => return None,
    };
    Some(format!(
        "--shared and {other} contradict each other: leave one of the two out"
    ))
}

#[cfg(test)]
mod tests;
