//! Packs the name of an event source into a [`Token`], and unpacks it again.
//!
//! epoll keeps one machine word for each registered descriptor and returns it with every event.
//! The word has three fields:
//!
//! ```text
//!   64-bit machine   | kind: 3 bits | generation: 29 bits | key: 32 bits |
//!   32-bit machine   | kind: 3 bits | generation:  9 bits | key: 20 bits |
//! ```
//!
//! - The *kind* says what the source is. The caller numbers its kinds from 0 to 7.
//! - The *key* is the slot of the source's entry in an [`Arena`], or another small number.
//! - The *generation* is the low bits of the entry's generation. They distinguish the entry from
//!   later ones in the same slot.
//!
//! Nine bits of generation are enough because a token does not live long. A slot is freed after the
//! batch, so two entries never share a slot within one batch; and closing a descriptor ends its
//! registration, so later batches have no events for the old entry unless a copy of the descriptor
//! is open elsewhere (epoll(7)). Even then the generation shows that the event is stale, unless the
//! slot has a new entry whose generation differs by a multiple of 512. Anything that outlives a
//! turn, such as a link between two entries or a timer, keeps the full [`Id`].
//!
//! [`Arena`]: super::arena::Arena
//! [`Id`]: super::arena::Id

use mio::Token;

const KIND_BITS: u32 = 3;
/// On a 32-bit machine a million slots: far more than it has descriptors.
const KEY_BITS: u32 = if usize::BITS == 64 { 32 } else { 20 };
const GENERATION_BITS: u32 = usize::BITS - KIND_BITS - KEY_BITS;

const KIND_SHIFT: u32 = usize::BITS - KIND_BITS;
const KEY_MASK: usize = (1 << KEY_BITS) - 1;

/// The bits of a generation that a token keeps.
pub(crate) const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

const _: () = assert!(GENERATION_BITS >= 9 && GENERATION_BITS < 32);

/// A token with these fields. It keeps only the bits of `generation` in [`GENERATION_MASK`].
pub(crate) fn pack(kind: usize, generation: u32, key: u32) -> Token {
    debug_assert!(kind < 1 << KIND_BITS, "kinds are numbered from 0 to 7");
    debug_assert!(
        key as usize <= KEY_MASK,
        "a slot number above any number of descriptors"
    );
    let generation = (generation & GENERATION_MASK) as usize;
    Token(kind << KIND_SHIFT | generation << KEY_BITS | key as usize)
}

/// The kind, the generation and the key in a token.
pub(crate) fn unpack(Token(bits): Token) -> (usize, u32, u32) {
    let generation = (bits >> KEY_BITS) as u32 & GENERATION_MASK;
    let key = (bits & KEY_MASK) as u32;
    (bits >> KIND_SHIFT, generation, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY_MAX: u32 = KEY_MASK as u32;

    #[test]
    fn a_token_unpacks_to_the_fields_it_was_packed_from() {
        for kind in 0..1 << KIND_BITS {
            for generation in [0, 1, 300, GENERATION_MASK] {
                for key in [0, 1, 77, (1 << 20) - 1, KEY_MAX] {
                    let fields = (kind, generation, key);
                    assert_eq!(unpack(pack(kind, generation, key)), fields);
                }
            }
        }
    }

    #[test]
    fn a_token_keeps_the_low_bits_of_a_generation() {
        assert_eq!(unpack(pack(2, u32::MAX, 5)), (2, GENERATION_MASK, 5));
        assert_eq!(unpack(pack(2, GENERATION_MASK + 1, 5)), (2, 0, 5));
    }
}
