//! The log: lines to stderr that never make the server wait.

/// How important a log line is; the most important is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The server cannot do what it is there for.
    Error,
    /// Something is wrong that a person should put right.
    Warn,
    /// One line for each connection, at its end.
    Info,
    /// Each step of a connection, and what a peer did wrong.
    Debug,
}
