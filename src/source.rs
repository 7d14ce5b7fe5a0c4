//! The sources of events in this server: the [`Source`] that a [`Token`] stands for, and the names
//! of clients and processes, [`ClientId`] and [`ProcessId`].
//!
//! This file is above the event loop, which knows only tokens, and below clients and processes,
//! which store only ids of each other. [`crate::event_loop::token`] has the layout of a
//! token.

use mio::Token;

use crate::event_loop::arena::Id;
use crate::event_loop::token::{pack, unpack};

/// Marks the ids of clients. It has no values.
pub enum ClientTag {}
/// Marks the ids of processes. It has no values.
pub enum ProcessTag {}

/// Names one client.
pub type ClientId = Id<ClientTag>;
/// Names one process.
pub type ProcessId = Id<ProcessTag>;

/// A descriptor that is registered with the event loop.
///
/// An id from a token has only the low bits of its generation: pass it through
/// [`Arena::resolve`](crate::event_loop::arena::Arena::resolve) before use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A listening socket, by its index in the list of listeners.
    Listener(u32),
    /// The signal descriptor.
    Signals,
    /// A client's socket.
    Client(ClientId),
    /// The pipe to a process's stdin.
    Stdin(ProcessId),
    /// The pipe from a process's stdout.
    Stdout(ProcessId),
    /// The pipe from a process's stderr, unless that is the same as stdout.
    Stderr(ProcessId),
}

impl From<Source> for Token {
    fn from(source: Source) -> Token {
        match source {
            Source::Listener(index) => pack(0, 0, index),
            Source::Signals => pack(1, 0, 0),
            Source::Client(id) => pack(2, id.generation(), id.key()),
            Source::Stdin(id) => pack(3, id.generation(), id.key()),
            Source::Stdout(id) => pack(4, id.generation(), id.key()),
            Source::Stderr(id) => pack(5, id.generation(), id.key()),
        }
    }
}

impl From<Token> for Source {
    fn from(token: Token) -> Source {
        let (kind, generation, key) = unpack(token);
        match kind {
            0 => Source::Listener(key),
            1 => Source::Signals,
            2 => Source::Client(Id::from_parts(key, generation)),
            3 => Source::Stdin(Id::from_parts(key, generation)),
            4 => Source::Stdout(Id::from_parts(key, generation)),
            5 => Source::Stderr(Id::from_parts(key, generation)),
            kind => unreachable!("no source is packed with kind {kind}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_loop::token::GENERATION_MASK;

    #[test]
    fn a_token_gives_back_the_source_it_was_made_from() {
        for key in [0, 1, 77, (1 << 20) - 1] {
            for generation in [0, 1, 300, GENERATION_MASK] {
                for source in [
                    Source::Listener(key),
                    Source::Signals,
                    Source::Client(Id::from_parts(key, generation)),
                    Source::Stdin(Id::from_parts(key, generation)),
                    Source::Stdout(Id::from_parts(key, generation)),
                    Source::Stderr(Id::from_parts(key, generation)),
                ] {
                    assert_eq!(Source::from(Token::from(source)), source);
                }
            }
        }
    }

    #[test]
    fn an_id_in_a_token_keeps_the_low_bits_of_its_generation() {
        let id = Id::from_parts(5, u32::MAX);
        let Source::Client(cut) = Source::from(Token::from(Source::Client(id))) else {
            panic!("a client stays a client");
        };
        assert_eq!((cut.key(), cut.generation()), (5, GENERATION_MASK));
    }
}
