//! `--framing=length`: a header of five bytes before each message, in both directions.
//!
//! ```text
//!   byte 0        the kind: 1 (text) or 2 (binary)
//!   bytes 1 to 4  the length of the message in bytes, big-endian
//!   then          the message
//! ```

use std::mem;

use super::fragment::{Fragment, OutputError};
use crate::limits::{FRAGMENT_LEN, SIZE_MAX};
use crate::ws::frame::Kind;

const TEXT: u8 = 1;
const BINARY: u8 = 2;

// The longest message that any option allows fits the header.
const _: () = assert!(SIZE_MAX as u64 <= u32::MAX as u64);

/// Appends the header of a message.
pub(super) fn write_header(kind: Kind, message_len: usize, out: &mut Vec<u8>) {
    out.push(match kind {
        Kind::Text => TEXT,
        Kind::Binary => BINARY,
    });
    out.extend_from_slice(&(message_len as u32).to_be_bytes());
}

/// Splits a stream of messages with headers.
///
/// A message of up to [`FRAGMENT_LEN`] bytes is emitted whole, a longer one in fragments as it
/// arrives. This framing is for exact messages, so text that is not UTF-8 is an error and is not
/// repaired.
///
/// Invariant: `tail.len() < unit_len()` between calls.
pub struct Length {
    expected: Expected,
    /// The incomplete beginning of the expected unit.
    tail: Vec<u8>,
    fragment_len_max: usize,
}

/// The unit that is expected next.
#[derive(Clone, Copy)]
enum Expected {
    /// The kind of a message. It is checked alone: output without headers fails at its first byte.
    Kind,
    /// The length of a message of this kind.
    Length(Kind),
    /// The remaining `len` bytes of a message; all of it if `first`.
    Payload { kind: Kind, len: u32, first: bool },
}

impl Length {
    /// A splitter at the start of a stream.
    pub(crate) fn new() -> Self {
        Self::with(FRAGMENT_LEN)
    }

    /// A splitter with fragments of up to `fragment_len_max` bytes, at least 4.
    pub fn with(fragment_len_max: usize) -> Self {
        // Fewer bytes could be one unfinished character, and nothing could be emitted.
        debug_assert!(fragment_len_max >= 4);
        Self {
            expected: Expected::Kind,
            tail: Vec::new(),
            fragment_len_max,
        }
    }

    /// Takes what one read returned and emits the fragments that it completes.
    ///
    /// # Errors
    ///
    /// The kind in a header is unknown, or a text message is not UTF-8.
    pub(crate) fn push(
        &mut self,
        mut input: &[u8],
        sink: &mut dyn FnMut(Fragment<'_>),
    ) -> Result<(), OutputError> {
        while !input.is_empty() {
            let missing = self.unit_len() - self.tail.len();
            let (front, rest) = input.split_at(input.len().min(missing));
            input = rest;
            if front.len() < missing {
                self.tail.extend_from_slice(front);
            } else if self.tail.is_empty() {
                // The usual case: one read returned the whole unit, which is not copied.
                self.take_unit(front, sink)?;
            } else {
                let mut unit = mem::take(&mut self.tail);
                unit.extend_from_slice(front);
                self.take_unit(&unit, sink)?;
            }
        }
        Ok(())
    }

    /// Begins a message of this kind and length. Nothing may be missing of the one before.
    pub(super) fn begin(&mut self, kind: Kind, len: u32, sink: &mut dyn FnMut(Fragment<'_>)) {
        if len == 0 {
            self.expected = Expected::Kind;
            sink(Fragment::whole(kind, &[]));
        } else {
            let first = true;
            self.expected = Expected::Payload { kind, len, first };
        }
    }

    /// The number of bytes of the current message that have not arrived; 0 between messages.
    pub(super) fn missing_len(&self) -> usize {
        match self.expected {
            Expected::Kind | Expected::Length(_) => 0,
            Expected::Payload { len, .. } => len as usize - self.tail.len(),
        }
    }

    /// The memory of what is kept, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.tail.capacity()
    }

    /// Reports EOF.
    ///
    /// # Errors
    ///
    /// The EOF is within a header or a message.
    pub(crate) fn finish(&self) -> Result<(), OutputError> {
        match self.expected {
            Expected::Kind => Ok(()),
            Expected::Length(_) | Expected::Payload { .. } => Err(OutputError::UnexpectedEof),
        }
    }

    /// The number of bytes that [`take_unit`](Self::take_unit) needs: a kind, a length, or the payload
    /// of a fragment.
    fn unit_len(&self) -> usize {
        match self.expected {
            Expected::Kind => 1,
            Expected::Length(_) => size_of::<u32>(),
            Expected::Payload { len, .. } => self.fragment_len_max.min(len as usize),
        }
    }

    /// Takes the expected unit, which has [`unit_len`](Self::unit_len) bytes. The tail is empty.
    fn take_unit(
        &mut self,
        unit: &[u8],
        sink: &mut dyn FnMut(Fragment<'_>),
    ) -> Result<(), OutputError> {
        match self.expected {
            Expected::Kind => {
                self.expected = Expected::Length(match unit[0] {
                    TEXT => Kind::Text,
                    BINARY => Kind::Binary,
                    byte => return Err(OutputError::UnknownKind(byte)),
                });
                Ok(())
            }
            Expected::Length(kind) => {
                let len = unit.iter().fold(0, |len, &byte| len << 8 | u32::from(byte));
                self.begin(kind, len, sink);
                Ok(())
            }
            Expected::Payload { kind, len, first } => {
                let last = unit.len() == len as usize;
                let cut = match kind {
                    Kind::Text => whole_text(unit, last)?,
                    Kind::Binary => unit.len(),
                };
                let (bytes, rest) = unit.split_at(cut);
                self.tail.extend_from_slice(rest);
                self.expected = match last {
                    true => Expected::Kind,
                    false => Expected::Payload {
                        kind,
                        len: len - cut as u32,
                        first: false,
                    },
                };
                sink(Fragment {
                    kind,
                    bytes,
                    first,
                    last,
                });
                Ok(())
            }
        }
    }
}

/// The length of the whole characters in `bytes`. At the end of the message (`last`), an unfinished
/// character is an error.
fn whole_text(bytes: &[u8], last: bool) -> Result<usize, OutputError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.len()),
        Err(error) if error.error_len().is_none() && !last => Ok(error.valid_up_to()),
        Err(_) => Err(OutputError::TextNotUtf8),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Sink, cut_everywhere};
    use super::*;
    use crate::testing::for_each_seed;

    const MAX: usize = 16;

    fn framed(kind: Kind, message: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_header(kind, message.len(), &mut bytes);
        bytes.extend_from_slice(message);
        bytes
    }

    /// The messages of a stream that arrives in these chunks.
    fn messages(chunks: &[&[u8]]) -> Result<Vec<(Kind, Vec<u8>)>, OutputError> {
        let mut length = Length::with(MAX);
        let mut sink = Sink::default();
        let mut take = |fragment: Fragment<'_>| {
            assert!(fragment.bytes.len() <= MAX);
            sink.take(fragment);
        };
        for chunk in chunks {
            length.push(chunk, &mut take)?;
            assert!(length.tail.len() < length.unit_len());
            assert!(length.tail.capacity() <= 2 * MAX);
        }
        length.finish()?;
        assert_eq!(
            length.tail.capacity(),
            0,
            "no memory is kept between messages"
        );
        Ok(sink.messages())
    }

    #[test]
    fn the_header_is_kind_and_length() {
        assert_eq!(framed(Kind::Text, b"hi"), b"\x01\0\0\0\x02hi");
        let long = vec![7; 0x10203];
        assert_eq!(framed(Kind::Binary, &long)[..5], [2, 0, 1, 2, 3]);
    }

    #[test]
    fn the_messages_do_not_depend_on_the_cuts() {
        for_each_seed(500, |random| {
            let mut expected = Vec::new();
            let mut bytes = Vec::new();
            for _ in 0..random.below(20) {
                let len_max = random.pick(&[1, 3, MAX + 2, 5 * MAX]);
                let len = random.below(len_max + 1);
                let message = match random.pick(&[Kind::Text, Kind::Binary]) {
                    Kind::Binary => (Kind::Binary, random.bytes(len)),
                    Kind::Text => {
                        let text: String = (0..len)
                            .map(|_| random.pick(&['x', 'ß', '€', '😀']))
                            .collect();
                        (Kind::Text, text.into_bytes())
                    }
                };
                bytes.extend(framed(message.0, &message.1));
                expected.push(message);
            }
            assert_eq!(messages(&random.cut(&bytes)).unwrap(), expected);
            assert_eq!(messages(&[&bytes]).unwrap(), expected);
        });
    }

    #[test]
    fn only_a_message_longer_than_a_fragment_is_cut() {
        for (len, fragments) in [(0, 1), (MAX, 1), (MAX + 1, 2), (2 * MAX, 2)] {
            cut_everywhere(&framed(Kind::Text, &vec![b'x'; len]), |chunks| {
                let mut count = 0;
                let mut length = Length::with(MAX);
                for chunk in chunks {
                    length.push(chunk, &mut |_| count += 1).unwrap();
                }
                assert_eq!(count, fragments, "{len} bytes");
            });
        }
    }

    #[test]
    fn an_eof_within_a_message_is_an_error() {
        let whole = [framed(Kind::Text, b"hi"), framed(Kind::Binary, b"ho")].concat();
        for end in 0..=whole.len() {
            let expected = match end {
                0 => Ok(0),
                7 => Ok(1),
                14 => Ok(2),
                _ => Err(OutputError::UnexpectedEof),
            };
            let got = messages(&[&whole[..end]]).map(|messages| messages.len());
            assert_eq!(got, expected, "after {end} bytes");
        }
    }

    #[test]
    fn output_without_headers_fails_at_its_first_byte() {
        for byte in (0..=u8::MAX).filter(|byte| ![TEXT, BINARY].contains(byte)) {
            let error = Err(OutputError::UnknownKind(byte));
            assert_eq!(messages(&[&[byte]]), error);
            let second = [&framed(Kind::Binary, b"x")[..], &[byte]].concat();
            cut_everywhere(&second, |chunks| assert_eq!(messages(chunks), error));
        }
    }

    #[test]
    fn text_that_is_not_utf_8_is_an_error_at_any_place() {
        for bad in [
            &b"\xFF"[..],
            b"\x80",
            b"\xE2\x82",
            b"\xED\xA0\x80",
            b"\xC0\xAF",
        ] {
            for before in 0..2 * MAX {
                for after in ["", "x", "and more than one fragment after it"] {
                    let text = ["y".repeat(before).as_bytes(), bad, after.as_bytes()].concat();
                    let chunks = [&framed(Kind::Text, &text)[..]];
                    assert_eq!(
                        messages(&chunks),
                        Err(OutputError::TextNotUtf8),
                        "{text:x?}"
                    );
                    let chunks = [&framed(Kind::Binary, &text)[..]];
                    assert!(messages(&chunks).is_ok());
                }
            }
        }
    }

    #[test]
    fn a_large_length_allocates_nothing_in_advance() {
        let mut length = Length::new();
        let mut none = |fragment: Fragment<'_>| panic!("{fragment:?}");
        length.push(b"\x02\xFF\xFF\xFF\xFF", &mut none).unwrap();
        length.push(b"and a few bytes", &mut none).unwrap();
        assert!(
            length.tail.capacity() < 100,
            "nothing is allocated in advance"
        );
        let mut sent = 0;
        for _ in 0..100 {
            length
                .push(&[7; 50_000], &mut |fragment| sent += fragment.bytes.len())
                .unwrap();
            assert!(length.tail.capacity() <= 2 * FRAGMENT_LEN);
        }
        assert!(sent + FRAGMENT_LEN > 100 * 50_000);
    }
}
