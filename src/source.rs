//! What a token of the loop stands for: [`Source`], packed into a [`mio::Token`].
//!
//! A token is one `usize`: three bits of kind, then a generation, then a slot. On 32-bit boards
//! that leaves nine bits of generation and twenty of slot. Nine bits suffice because a token has
//! to be told from the slot's next tenant only within one batch of events: slots are freed when
//! the batch is over, and with them the registration. Links and wake-up calls, which outlive a
//! turn, keep the full [`Id`].

use mio::Token;

use crate::event_loop::arena::Id;

/// Keeps ids of clients apart from other ids. Never a value.
pub enum ClientTag {}
/// Keeps ids of processes apart from other ids. Never a value.
pub enum ProcessTag {}

/// Names one client.
pub type ClientId = Id<ClientTag>;
/// Names one process.
pub type ProcessId = Id<ProcessTag>;

/// A descriptor in the loop. An id from a token has only the low bits of its generation
/// ([`GENERATION_MASK`]): resolve it before use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A listening socket, by its place in the list of addresses.
    Listener(u32),
    /// The signal descriptor.
    Signals,
    /// A client's socket.
    Client(ClientId),
    /// The pipe into a process.
    Stdin(ProcessId),
    /// The pipe out of a process.
    Stdout(ProcessId),
    /// The pipe of what a process complains of, where it is not the same as stdout.
    Stderr(ProcessId),
}

const KIND_BITS: u32 = 3;
const KEY_BITS: u32 = if usize::BITS == 64 { 32 } else { 20 };
const GENERATION_BITS: u32 = usize::BITS - KIND_BITS - KEY_BITS;
const KEY_MASK: usize = (1 << KEY_BITS) - 1;

/// The bits of a generation that a token keeps.
pub const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

const _: () = assert!(KIND_BITS + GENERATION_BITS + KEY_BITS == usize::BITS);
const _: () = assert!(GENERATION_BITS >= 9 && GENERATION_BITS < 32);

impl From<Source> for Token {
    fn from(source: Source) -> Token {
        let (kind, key, generation) = match source {
            Source::Listener(index) => (0, index, 0),
            Source::Signals => (1, 0, 0),
            Source::Client(id) => (2, id.key(), id.generation()),
            Source::Stdin(id) => (3, id.key(), id.generation()),
            Source::Stdout(id) => (4, id.key(), id.generation()),
            Source::Stderr(id) => (5, id.key(), id.generation()),
        };
        debug_assert!(
            key as usize <= KEY_MASK,
            "a slot beyond the descriptors of the machine"
        );
        let generation = (generation & GENERATION_MASK) as usize;
        Token(kind << (usize::BITS - KIND_BITS) | generation << KEY_BITS | key as usize)
    }
}

impl From<Token> for Source {
    fn from(Token(bits): Token) -> Source {
        let key = (bits & KEY_MASK) as u32;
        let generation = (bits >> KEY_BITS) as u32 & GENERATION_MASK;
        match bits >> (usize::BITS - KIND_BITS) {
            0 => Source::Listener(key),
            1 => Source::Signals,
            2 => Source::Client(Id::from_parts(key, generation)),
            3 => Source::Stdin(Id::from_parts(key, generation)),
            4 => Source::Stdout(Id::from_parts(key, generation)),
            5 => Source::Stderr(Id::from_parts(key, generation)),
            kind => unreachable!("only the conversion above makes tokens, and none of kind {kind}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gives_back_the_source_it_was_made_of() {
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
    fn a_generation_is_cut_to_the_bits_that_fit() {
        let id = Id::from_parts(5, u32::MAX);
        let Source::Client(cut) = Source::from(Token::from(Source::Client(id))) else {
            panic!("a client stays a client");
        };
        assert_eq!((cut.key(), cut.generation()), (5, GENERATION_MASK));
    }
}
