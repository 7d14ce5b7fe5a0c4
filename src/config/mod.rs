//! What options set: one struct for each part of the server that reads it, with units, ranges and
//! defaults. Constants that no option sets are in [`crate::limits`].
//!
//! | struct | who reads it |
//! |---|---|
//! | [`Listen`] | the listeners |
//! | [`Access`] | the checks of a handshake: origin, host, proxies |
//! | [`ClientLimits`] | every client: sizes and time-outs of its connection |
//! | [`ServerLimits`] | the server: how many of everything, and when it stops |
//! | [`CommandSettings`] | every command of a route: framing, environment, signals |
//!
//! Sizes are in bytes. Every time-out is longer than zero unless its text says otherwise, and at
//! most [`DURATION_MAX`](crate::limits::DURATION_MAX), so adding one to an `Instant` cannot overflow.

mod client;
mod command;
mod server;

use std::ffi::OsString;
use std::path::PathBuf;

pub use self::client::{Access, ClientLimits};
pub use self::command::{CommandSettings, EndAt, Resource, ResourceLimit, Shared, Signal, Stderr};
pub use self::server::{Listen, ServerLimits};
use crate::log::Level;

/// Everything the command line sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What is served at every path that no route takes.
    pub mode: Mode,
    /// The routes, at most one for each path. Default: none.
    pub routes: Vec<Route>,
    /// The directory whose programs are served, each at its path. Default: none.
    pub directory: Option<PathBuf>,
    /// The addresses to listen on.
    pub listen: Listen,
    /// Who may connect.
    pub access: Access,
    /// Sizes and time-outs of a client's connection.
    pub clients: ClientLimits,
    /// How many clients and commands there may be, and when the server stops.
    pub server: ServerLimits,
    /// How commands run. The command line sets it once for all routes.
    pub command: CommandSettings,
    /// The user, by name or number, that the server becomes once it listens. Default: none.
    pub user: Option<String>,
    /// The group, by name or number, that it then becomes; `None`: the user's own. Default: `None`.
    pub group: Option<String>,
    /// The least important lines that are still logged. Default: info.
    pub log_level: Level,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::Demo,
            routes: Vec::new(),
            directory: None,
            listen: Listen::default(),
            access: Access::default(),
            clients: ClientLimits::default(),
            server: ServerLimits::default(),
            command: CommandSettings::default(),
            user: None,
            group: None,
            log_level: Level::Info,
        }
    }
}

impl Config {
    /// The least `--max-memory`, in bytes. A message takes up to twice its length while it arrives,
    /// and then as much again in the queue for the command.
    pub(crate) fn memory_min(&self) -> usize {
        self.clients.message_len_max.saturating_mul(4)
    }

    /// Whether anything that is served is a command.
    pub(crate) fn has_commands(&self) -> bool {
        let is_command = |route: &Route| route.target != Target::Echo;
        matches!(self.mode, Mode::Demo | Mode::Command(_))
            || self.directory.is_some()
            || self.routes.iter().any(is_command)
    }
}

/// What is served at every path that no route takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The console page at `/`, an echo at `/echo`, a shell (`sh`) at `/ws`.
    Demo,
    /// This command, its name first; never empty.
    Command(Vec<OsString>),
    /// An echo.
    Echo,
    /// Nothing: there are only routes, a directory, or both.
    Routes,
}

/// What is served at a path and below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The path, not percent-encoded and without a final `/`; empty: every path.
    pub(crate) path: String,
    /// The service there.
    pub(crate) target: Target,
}

/// The service of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// An echo.
    Echo,
    /// This command, its name first; never empty.
    Command(Vec<OsString>),
}
