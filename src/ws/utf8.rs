//! Whether bytes that come in pieces are UTF-8.
//!
//! The standard library's validation goes through text that is not ASCII character by character.
//! Here most of a long text is looked at in blocks, each byte with the three before it, by
//! comparisons alone: without a branch, the compiler makes vector instructions of them. A block
//! only says that something is wrong; what and where, the standard library is asked.

use std::str;

/// A piece of text that cannot be part of UTF-8 at the place where it stands (RFC 3629).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUtf8;

/// Text seen in pieces, of which all is UTF-8 so far.
///
/// A message's fragments, and the reads that bring them, may cut a character anywhere (RFC 6455
/// section 5.6 binds only the whole message). So the bytes of a character that has begun and not
/// ended are kept here; there are three of them at most. Everything else is validated where it
/// lies.
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8 {
    begun: [u8; 3],
    begun_len: u8,
}

impl Utf8 {
    /// The state before the first byte.
    pub const fn new() -> Self {
        Utf8 {
            begun: [0; 3],
            begun_len: 0,
        }
    }

    /// Looks at the next piece of the text.
    ///
    /// # Errors
    ///
    /// [`NotUtf8`] if no text can begin with the bytes seen so far: at the first bad byte, not at
    /// the end of its character. The state is then of no more use.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), NotUtf8> {
        let bytes = if self.begun_len == 0 {
            bytes
        } else {
            self.push_begun(bytes)?
        };
        let rest = &bytes[well_formed_prefix(bytes)..];
        match str::from_utf8(rest) {
            Ok(_) => Ok(()),
            // No length says: the end came too early. More may come.
            Err(error) if error.error_len().is_none() => {
                self.begin(&rest[error.valid_up_to()..]);
                Ok(())
            }
            Err(_) => Err(NotUtf8),
        }
    }

    /// Whether the text may end here: no character has begun that has not ended.
    #[inline]
    pub const fn is_complete(&self) -> bool {
        self.begun_len == 0
    }

    /// Adds bytes to the character that has begun, until it ends. What is left is returned.
    fn push_begun<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], NotUtf8> {
        let mut character = [0; 4];
        let mut len = usize::from(self.begun_len);
        character[..len].copy_from_slice(&self.begun[..len]);
        for (seen, &byte) in bytes.iter().enumerate() {
            character[len] = byte;
            len += 1;
            match str::from_utf8(&character[..len]) {
                Ok(_) => {
                    self.begun_len = 0;
                    return Ok(&bytes[seen + 1..]);
                }
                // Four bytes are a character or an error, so here `len` is three at most.
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(NotUtf8),
            }
        }
        self.begin(&character[..len]);
        Ok(&[])
    }

    fn begin(&mut self, bytes: &[u8]) {
        self.begun[..bytes.len()].copy_from_slice(bytes);
        self.begun_len = bytes.len() as u8;
    }
}

const _: () = assert!(size_of::<Utf8>() == 4);

/// How many bytes are looked at together: as many vector registers as the compiler can keep busy.
const BLOCK_LEN: usize = 64;

/// How far back a byte has to look: a character has at most four bytes.
const BEFORE_LEN: usize = 3;

/// A length up to which `bytes` are whole characters, found block by block. What is left is less
/// than two blocks, or has something wrong in its first.
fn well_formed_prefix(bytes: &[u8]) -> usize {
    let mut at = 0;
    // Before the first byte there is nothing that could have begun, as behind ASCII.
    let mut first = [0; BEFORE_LEN + BLOCK_LEN];
    if let Some(block) = bytes.first_chunk::<BLOCK_LEN>() {
        first[BEFORE_LEN..].copy_from_slice(block);
        let mut window = &first;
        while !has_flaw(window) {
            at += BLOCK_LEN;
            let Some(next) = bytes[at - BEFORE_LEN..].first_chunk() else {
                break;
            };
            window = next;
        }
    }
    at - begun_len(&bytes[..at])
}

/// How many bytes of a character that has begun and not ended stand at the end of `bytes`, in
/// which nothing else is wrong.
fn begun_len(bytes: &[u8]) -> usize {
    let is_begun = |len: usize| {
        let head = bytes.len().checked_sub(len).map(|at| bytes[at]);
        // The head of a character of more than `len` bytes.
        head.is_some_and(|head| head >= [0xc0, 0xe0, 0xf0][len - 1])
    };
    (1..=BEFORE_LEN).find(|&len| is_begun(len)).unwrap_or(0)
}

/// Whether anything in a block is wrong, given the bytes before it. A character that it ends
/// within is not.
fn has_flaw(window: &[u8; BEFORE_LEN + BLOCK_LEN]) -> bool {
    if window.iter().fold(0, |all, byte| all | byte) < 0x80 {
        return false;
    }
    let mut found = 0;
    for at in 0..BLOCK_LEN {
        found |= flaw(window[at], window[at + 1], window[at + 2], window[at + 3]);
    }
    found & TOP_BIT != 0
}

const TOP_BIT: u8 = 0x80;

/// Whether `byte` cannot stand behind the three before it (RFC 3629, section 4): the top bit of what
/// is returned, the others mean nothing. To answer in that bit is what makes this fast: a vector
/// instruction compares for order in two steps, but subtracts down to zero in one, which leaves the
/// top bit where there was enough.
#[inline]
fn flaw(third_last: u8, second_last: u8, last: u8, byte: u8) -> u8 {
    let at_least = |byte: u8, least: u8| byte.saturating_sub(least - TOP_BIT);
    let is = |byte: u8, other: u8| if byte == other { 0xff } else { 0 };

    let tail_is_due =
        at_least(last, 0xc0) | at_least(second_last, 0xe0) | at_least(third_last, 0xf0);
    let is_tail = byte & !(byte << 1);
    // Heads of characters that a shorter one encodes, and of those above U+10FFFF.
    let is_no_head = is(byte & 0xfe, 0xc0) | at_least(byte, 0xf5);
    // Where the head allows only some tails: else it would be overlong (below A0 behind E0, below 90
    // behind F0), a surrogate (from A0 behind ED), or above U+10FFFF (from 90 behind F4).
    let is_other_tail = is(last, 0xe0) & !at_least(byte, 0xa0)
        | is(last, 0xed) & at_least(byte, 0xa0)
        | is(last, 0xf0) & !at_least(byte, 0x90)
        | is(last, 0xf4) & at_least(byte, 0x90);
    tail_is_due ^ is_tail | is_no_head | is_other_tail
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::for_each_seed;

    /// What a text can be said to be once some of its bytes are seen.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Verdict {
        Complete,
        Begun,
        Bad,
    }

    /// The grammar of RFC 3629 section 4, a byte at a time.
    fn reference(bytes: &[u8]) -> Verdict {
        let mut expected: Vec<(u8, u8)> = Vec::new();
        for &byte in bytes {
            if let Some((low, high)) = expected.pop() {
                if byte < low || byte > high {
                    return Verdict::Bad;
                }
                continue;
            }
            let tail = (0x80, 0xbf);
            expected = match byte {
                0x00..=0x7f => vec![],
                0xc2..=0xdf => vec![tail],
                0xe0 => vec![tail, (0xa0, 0xbf)],
                0xed => vec![tail, (0x80, 0x9f)],
                0xe1..=0xef => vec![tail, tail],
                0xf0 => vec![tail, tail, (0x90, 0xbf)],
                0xf1..=0xf3 => vec![tail, tail, tail],
                0xf4 => vec![tail, tail, (0x80, 0x8f)],
                _ => return Verdict::Bad,
            };
        }
        if expected.is_empty() {
            Verdict::Complete
        } else {
            Verdict::Begun
        }
    }

    fn verdict<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Verdict {
        let mut utf8 = Utf8::new();
        for piece in pieces {
            if utf8.push(piece).is_err() {
                return Verdict::Bad;
            }
        }
        if utf8.is_complete() {
            Verdict::Complete
        } else {
            Verdict::Begun
        }
    }

    /// Whole, cut in two at every place, and byte by byte; every prefix too, so that a bad byte is
    /// found when it comes and not later.
    fn check(bytes: &[u8]) {
        for end in 0..=bytes.len() {
            let bytes = &bytes[..end];
            let expected = reference(bytes);
            assert_eq!(verdict([bytes]), expected, "{bytes:x?}");
            assert_eq!(
                verdict(bytes.chunks(1)),
                expected,
                "{bytes:x?} byte by byte"
            );
            for cut in 0..end {
                let (one, two) = bytes.split_at(cut);
                assert_eq!(verdict([one, two]), expected, "{bytes:x?} cut at {cut}");
            }
        }
    }

    #[test]
    fn texts() {
        let table: [(&[u8], Verdict); 26] = [
            (b"", Verdict::Complete),
            (b"Hello", Verdict::Complete),
            ("κόσμε".as_bytes(), Verdict::Complete),
            ("日本語, 😀 and \u{0}".as_bytes(), Verdict::Complete),
            (b"\xed\x9f\xbf", Verdict::Complete), // U+D7FF, the last before the surrogates
            (b"\xee\x80\x80", Verdict::Complete), // U+E000, the first after them
            (b"\xef\xbf\xbf", Verdict::Complete), // U+FFFF, a noncharacter, is UTF-8 nonetheless
            (b"\xf0\x90\x80\x80", Verdict::Complete), // U+10000
            (b"\xf4\x8f\xbf\xbf", Verdict::Complete), // U+10FFFF
            (b"\xce\xba\xe1\xbd\xb9\xcf", Verdict::Begun),
            (b"\xe2\x82", Verdict::Begun),
            (b"\xf0\x9f\x98", Verdict::Begun),
            (b"\x80", Verdict::Bad), // a tail without a head
            (b"\xbf text", Verdict::Bad),
            (b"\xc0\xaf", Verdict::Bad), // overlong
            (b"\xc1\xbf", Verdict::Bad),
            (b"\xe0\x80\xaf", Verdict::Bad),
            (b"\xe0\x9f\xbf", Verdict::Bad),
            (b"\xf0\x8f\xbf\xbf", Verdict::Bad),
            (b"\xed\xa0\x80", Verdict::Bad), // U+D800, a surrogate
            (b"\xed\xbf\xbf", Verdict::Bad),
            (b"\xf4\x90\x80\x80", Verdict::Bad), // above U+10FFFF
            (b"\xf5\x80\x80\x80", Verdict::Bad),
            (b"\xfe", Verdict::Bad),
            (b"\xff", Verdict::Bad),
            (
                b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
                Verdict::Bad,
            ), // Autobahn 6.3.1
        ];
        for (bytes, expected) in table {
            assert_eq!(reference(bytes), expected, "{bytes:x?}");
            check(bytes);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "millions of steps")]
    fn every_character_byte_by_byte() {
        for character in '\0'..=char::MAX {
            let mut bytes = [0; 4];
            let bytes = character.encode_utf8(&mut bytes).as_bytes();
            assert_eq!(verdict(bytes.chunks(1)), Verdict::Complete, "{character:?}");
        }
    }

    #[test]
    fn every_pair_of_bytes_and_a_tail() {
        for one in 0x80..=0xff {
            for two in 0..=0xff {
                for three in [0x00, 0x41, 0x7f, 0x80, 0xbf, 0xc2] {
                    let bytes = [one, two, three];
                    assert_eq!(verdict(bytes.chunks(1)), reference(&bytes), "{bytes:x?}");
                    assert_eq!(verdict([&bytes[..]]), reference(&bytes), "{bytes:x?}");
                }
            }
        }
    }

    /// Faults and ends at every place of a text of several blocks.
    #[test]
    fn long_texts() {
        let text =
            "a é€😀Ж語𝄞ß한🦀 plain ASCII, more than a block of it, before and after ".repeat(4);
        for bytes in [text.as_bytes(), &text.as_bytes()[1..], &[b'x'; 300]] {
            for at in 0..bytes.len() {
                assert_eq!(verdict([&bytes[..at]]), reference(&bytes[..at]), "{at}");
                for fault in [0x00, 0x80, 0xbf, 0xc0, 0xc2, 0xe0, 0xed, 0xf0, 0xf4, 0xf5] {
                    let mut bytes = bytes.to_vec();
                    bytes[at] = fault;
                    let expected = reference(&bytes);
                    assert_eq!(verdict([&bytes[..]]), expected, "{fault:x} at {at}");
                }
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "millions of steps")]
    fn every_character_within_a_block() {
        for character in '\0'..=char::MAX {
            let mut bytes = [b'x'; 80];
            character.encode_utf8(&mut bytes[20..]);
            assert_eq!(well_formed_prefix(&bytes), 64, "{character:?}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "millions of steps")]
    fn every_three_bytes_within_a_block() {
        for one in 0x80..=0xff {
            for two in 0..=0xff {
                for three in [0x41, 0x80, 0xbf, 0xc2] {
                    let mut bytes = [b'x'; 80];
                    bytes[20..23].copy_from_slice(&[one, two, three]);
                    assert_eq!(
                        verdict([&bytes[..]]),
                        reference(&bytes),
                        "{one:x} {two:x} {three:x}"
                    );
                }
            }
        }
    }

    #[test]
    fn random_texts_with_random_faults_in_random_pieces() {
        for_each_seed(500, |random| {
            let alphabet = [
                'a',
                '\n',
                'é',
                'ß',
                '€',
                '語',
                '😀',
                '\u{10ffff}',
                '\u{800}',
                '\u{10000}',
            ];
            let len = random.below(160);
            let mut bytes: Vec<u8> = (0..len)
                .map(|_| random.pick(&alphabet))
                .collect::<String>()
                .into();
            for _ in 0..random.below(3) {
                if !bytes.is_empty() {
                    let at = random.below(bytes.len());
                    bytes[at] = random.next() as u8;
                }
            }
            let pieces = random.cut(&bytes);
            assert_eq!(verdict(pieces), reference(&bytes), "{bytes:x?}");
            check(&bytes[..bytes.len().min(30)]);
        });
    }
}
