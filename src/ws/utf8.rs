//! Validates UTF-8 that arrives in pieces: [`Utf8`].
//!
//! The standard library validates text other than ASCII one character at a time. Here most of a
//! long text is validated in blocks: each byte is compared with the three before it, without
//! branches, so that the compiler generates vector instructions. A block only shows that it has an
//! error; then the standard library finds where.

use std::str;

/// The bytes so far cannot be the start of UTF-8 text (RFC 3629).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUtf8;

/// The state of the validation between two pieces.
///
/// Only a message as a whole must be UTF-8 (RFC 6455 section 5.6): a fragment or a read may end
/// within a character. The first bytes of such a character are kept here, at most three. All other
/// bytes are validated in place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8 {
    partial: [u8; 3],
    partial_len: u8,
}

impl Utf8 {
    /// The state before the first byte.
    pub const fn new() -> Self {
        Utf8 {
            partial: [0; 3],
            partial_len: 0,
        }
    }

    /// Validates the next piece of the text.
    ///
    /// # Errors
    ///
    /// [`NotUtf8`] at the first bad byte, even if its character is incomplete. The state must not
    /// be used again.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), NotUtf8> {
        let bytes = if self.partial_len == 0 {
            bytes
        } else {
            self.complete_partial(bytes)?
        };
        let rest = &bytes[valid_prefix_len(bytes)..];
        match str::from_utf8(rest) {
            Ok(_) => Ok(()),
            // An error without a length: the last character is incomplete.
            Err(error) if error.error_len().is_none() => {
                self.set_partial(&rest[error.valid_up_to()..]);
                Ok(())
            }
            Err(_) => Err(NotUtf8),
        }
    }

    /// Whether the text may end here: its last character is complete.
    #[inline]
    pub const fn is_complete(&self) -> bool {
        self.partial_len == 0
    }

    /// Completes the partial character from the front of `bytes` and returns the rest. If `bytes`
    /// are too few, they become part of the partial character.
    fn complete_partial<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], NotUtf8> {
        let mut character = [0; 4];
        let mut len = usize::from(self.partial_len);
        character[..len].copy_from_slice(&self.partial[..len]);
        for (index, &byte) in bytes.iter().enumerate() {
            character[len] = byte;
            len += 1;
            match str::from_utf8(&character[..len]) {
                Ok(_) => {
                    self.partial_len = 0;
                    return Ok(&bytes[index + 1..]);
                }
                // Four bytes are a character or an error, so `len` is at most three here.
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(NotUtf8),
            }
        }
        self.set_partial(&character[..len]);
        Ok(&[])
    }

    fn set_partial(&mut self, bytes: &[u8]) {
        self.partial[..bytes.len()].copy_from_slice(bytes);
        self.partial_len = bytes.len() as u8;
    }
}

const _: () = assert!(size_of::<Utf8>() == 4);

/// The number of bytes that are validated together: as many vector registers as the compiler can
/// keep busy.
const BLOCK_LEN: usize = 64;

/// The number of bytes before a byte that decide whether it is valid: a character has at most four.
const BEFORE_LEN: usize = 3;

/// The length of a prefix of `bytes` that is valid and ends with a complete character, found block
/// by block. The rest is shorter than two blocks, or its first block has an error.
fn valid_prefix_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    // The text begins as if after three bytes of ASCII.
    let mut first = [0; BEFORE_LEN + BLOCK_LEN];
    if let Some(block) = bytes.first_chunk::<BLOCK_LEN>() {
        first[BEFORE_LEN..].copy_from_slice(block);
        let mut window = &first;
        while !has_error(window) {
            at += BLOCK_LEN;
            let Some(next) = bytes[at - BEFORE_LEN..].first_chunk() else {
                break;
            };
            window = next;
        }
    }
    at - partial_len(&bytes[..at])
}

/// The number of bytes at the end of `bytes` that are an incomplete character. The rest of `bytes`
/// is valid.
fn partial_len(bytes: &[u8]) -> usize {
    let is_partial = |len: usize| {
        let head = bytes.len().checked_sub(len).map(|at| bytes[at]);
        // The first byte of a character of more than `len` bytes.
        head.is_some_and(|head| head >= [0xc0, 0xe0, 0xf0][len - 1])
    };
    (1..=BEFORE_LEN).find(|&len| is_partial(len)).unwrap_or(0)
}

/// Whether a block has an error, given the bytes before it. An incomplete character at its end is
/// no error.
fn has_error(window: &[u8; BEFORE_LEN + BLOCK_LEN]) -> bool {
    if window.iter().fold(0, |all, byte| all | byte) < 0x80 {
        return false;
    }
    let mut errors = 0;
    for at in 0..BLOCK_LEN {
        errors |= error_bit(window[at], window[at + 1], window[at + 2], window[at + 3]);
    }
    errors & TOP_BIT != 0
}

const TOP_BIT: u8 = 0x80;

/// The top bit of the result says whether `byte` is invalid after the three bytes before it (RFC
/// 3629 section 4). The other bits mean nothing.
///
/// The answer in the top bit makes this fast. For unsigned bytes a vector unit needs two
/// instructions to compare for order, but one for a saturating subtraction; and that leaves the top
/// bit set exactly if the byte is large enough.
#[inline]
fn error_bit(third_last: u8, second_last: u8, last: u8, byte: u8) -> u8 {
    let at_least = |byte: u8, least: u8| byte.saturating_sub(least - TOP_BIT);
    let is = |byte: u8, other: u8| if byte == other { 0xff } else { 0 };

    let tail_is_due =
        at_least(last, 0xc0) | at_least(second_last, 0xe0) | at_least(third_last, 0xf0);
    let is_tail = byte & !(byte << 1);
    // The first bytes of overlong two-byte characters, and of characters above U+10FFFF.
    let is_no_head = is(byte & 0xfe, 0xc0) | at_least(byte, 0xf5);
    // After some heads, not every tail is allowed: the character would be overlong (E0 then less
    // than A0, F0 then less than 90), a surrogate (ED then A0 or more) or above U+10FFFF (F4 then
    // 90 or more).
    let is_other_tail = is(last, 0xe0) & !at_least(byte, 0xa0)
        | is(last, 0xed) & at_least(byte, 0xa0)
        | is(last, 0xf0) & !at_least(byte, 0x90)
        | is(last, 0xf4) & at_least(byte, 0x90);
    tail_is_due ^ is_tail | is_no_head | is_other_tail
}

#[cfg(test)]
mod tests;
