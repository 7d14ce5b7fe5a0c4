//! Messages with their kind and length before them, in both directions: [`Length`] and
//! [`write_head`].
//!
//! ```text
//!   byte 0        1: text, 2: binary
//!   bytes 1 to 4  the length of the message in bytes, in network byte order
//!   then          the message
//! ```

use std::mem;

use super::{Fault, Piece};
use crate::limits::{FRAGMENT_LEN, SIZE_MAX};
use crate::ws::frame::Kind;

const TEXT: u8 = 1;
const BINARY: u8 = 2;

// No message from a client is longer than the largest size that an option takes.
const _: () = assert!(SIZE_MAX as u64 <= u32::MAX as u64);

/// Appends what stands before a message of so many bytes.
pub fn write_head(kind: Kind, message_len: usize, out: &mut Vec<u8>) {
    out.push(match kind {
        Kind::Text => TEXT,
        Kind::Binary => BINARY,
    });
    out.extend_from_slice(&(message_len as u32).to_be_bytes());
}

/// Takes such messages out of a stream of bytes.
///
/// A message of at most [`FRAGMENT_LEN`] bytes goes out whole, a longer one as it arrives. A
/// program that speaks this format means exact messages, so its text is not mended: text that is
/// not UTF-8 is a fault.
///
/// Invariant: `tail.len() < unit_len()` between two calls.
pub struct Length {
    due: Due,
    /// The beginning of what is due.
    tail: Vec<u8>,
    piece_len_max: usize,
}

/// What has to come next.
#[derive(Clone, Copy)]
enum Due {
    /// The kind of a message. A byte that is none shows at once that the format is another.
    Kind,
    /// The length of a message of this kind.
    Length(Kind),
    /// So many bytes of a message, which begins with them if they are the `first`.
    Payload { kind: Kind, len: u32, first: bool },
}

impl Length {
    /// What awaits a first message.
    pub fn new() -> Self {
        Self::with(FRAGMENT_LEN)
    }

    /// The same with the caller's own length of the longest piece, at least 4 bytes.
    pub fn with(piece_len_max: usize) -> Self {
        // Room for the longest character, so that there is always something before its beginning.
        debug_assert!(piece_len_max >= 4);
        Self {
            due: Due::Kind,
            tail: Vec::new(),
            piece_len_max,
        }
    }

    /// Takes what was read and hands out the pieces that it completes.
    ///
    /// # Errors
    /// A byte stands where a kind is due and is none, or text is not UTF-8.
    pub fn push(&mut self, mut input: &[u8], sink: &mut dyn FnMut(Piece<'_>)) -> Result<(), Fault> {
        while !input.is_empty() {
            let missing = self.unit_len() - self.tail.len();
            let (front, rest) = input.split_at(input.len().min(missing));
            input = rest;
            if front.len() < missing {
                self.tail.extend_from_slice(front);
            } else if self.tail.is_empty() {
                // Nearly every message is whole in what one read returned, and is not copied.
                self.take_unit(front, sink)?;
            } else {
                let mut unit = mem::take(&mut self.tail);
                unit.extend_from_slice(front);
                self.take_unit(&unit, sink)?;
            }
        }
        Ok(())
    }

    /// The stream is at its end.
    ///
    /// # Errors
    /// It ended inside a message or before its length.
    pub fn finish(&self) -> Result<(), Fault> {
        match self.due {
            Due::Kind => Ok(()),
            Due::Length(_) | Due::Payload { .. } => Err(Fault::EndsInside),
        }
    }

    /// How many bytes are used at once.
    fn unit_len(&self) -> usize {
        match self.due {
            Due::Kind => 1,
            Due::Length(_) => size_of::<u32>(),
            Due::Payload { len, .. } => self.piece_len_max.min(len as usize),
        }
    }

    /// Uses what was due: `unit` has exactly [`unit_len`](Self::unit_len) bytes, and the tail is
    /// empty.
    fn take_unit(&mut self, unit: &[u8], sink: &mut dyn FnMut(Piece<'_>)) -> Result<(), Fault> {
        match self.due {
            Due::Kind => {
                self.due = Due::Length(match unit[0] {
                    TEXT => Kind::Text,
                    BINARY => Kind::Binary,
                    byte => return Err(Fault::UnknownKind(byte)),
                });
                Ok(())
            }
            Due::Length(kind) => {
                let len = unit.iter().fold(0, |len, &byte| len << 8 | u32::from(byte));
                if len > 0 {
                    let first = true;
                    self.due = Due::Payload { kind, len, first };
                    return Ok(());
                }
                self.due = Due::Kind;
                sink(super::whole(kind, &[]));
                Ok(())
            }
            Due::Payload { kind, len, first } => {
                let last = unit.len() == len as usize;
                let cut = match kind {
                    Kind::Text => whole_text(unit, last)?,
                    Kind::Binary => unit.len(),
                };
                let (bytes, rest) = unit.split_at(cut);
                self.tail.extend_from_slice(rest);
                self.due = match last {
                    true => Due::Kind,
                    false => Due::Payload {
                        kind,
                        len: len - cut as u32,
                        first: false,
                    },
                };
                sink(Piece {
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

impl Default for Length {
    fn default() -> Self {
        Self::new()
    }
}

/// How many of `bytes` are whole characters: all, unless the message goes on behind them.
fn whole_text(bytes: &[u8], last: bool) -> Result<usize, Fault> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.len()),
        Err(error) if error.error_len().is_none() && !last => Ok(error.valid_up_to()),
        Err(_) => Err(Fault::TextNotUtf8),
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
        write_head(kind, message.len(), &mut bytes);
        bytes.extend_from_slice(message);
        bytes
    }

    /// What a client would see of a stream that comes in these chunks.
    fn messages(chunks: &[&[u8]]) -> Result<Vec<(Kind, Vec<u8>)>, Fault> {
        let mut length = Length::with(MAX);
        let mut sink = Sink::default();
        let mut take = |piece: Piece<'_>| {
            assert!(piece.bytes.len() <= MAX);
            sink.take(piece);
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
            "nothing is kept between messages"
        );
        Ok(sink.messages())
    }

    #[test]
    fn the_format() {
        assert_eq!(framed(Kind::Text, b"hi"), b"\x01\0\0\0\x02hi");
        let long = vec![7; 0x10203];
        assert_eq!(framed(Kind::Binary, &long)[..5], [2, 0, 1, 2, 3]);
    }

    #[test]
    fn messages_come_out_as_they_went_in() {
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
    fn only_a_message_longer_than_a_piece_is_cut() {
        for (len, pieces) in [(0, 1), (MAX, 1), (MAX + 1, 2), (2 * MAX, 2)] {
            cut_everywhere(&framed(Kind::Text, &vec![b'x'; len]), |chunks| {
                let mut count = 0;
                let mut length = Length::with(MAX);
                for chunk in chunks {
                    length.push(chunk, &mut |_| count += 1).unwrap();
                }
                assert_eq!(count, pieces, "{len} bytes");
            });
        }
    }

    #[test]
    fn an_end_inside_a_message_is_a_fault() {
        let whole = [framed(Kind::Text, b"hi"), framed(Kind::Binary, b"ho")].concat();
        for end in 0..=whole.len() {
            let expected = match end {
                0 => Ok(0),
                7 => Ok(1),
                14 => Ok(2),
                _ => Err(Fault::EndsInside),
            };
            let got = messages(&[&whole[..end]]).map(|messages| messages.len());
            assert_eq!(got, expected, "after {end} bytes");
        }
    }

    #[test]
    fn another_format_is_seen_at_its_first_byte() {
        for byte in (0..=u8::MAX).filter(|byte| ![TEXT, BINARY].contains(byte)) {
            let fault = Err(Fault::UnknownKind(byte));
            assert_eq!(messages(&[&[byte]]), fault);
            let behind = [&framed(Kind::Binary, b"x")[..], &[byte]].concat();
            cut_everywhere(&behind, |chunks| assert_eq!(messages(chunks), fault));
        }
    }

    #[test]
    fn text_that_is_not_utf_8_is_a_fault_wherever_it_stands() {
        for bad in [
            &b"\xFF"[..],
            b"\x80",
            b"\xE2\x82",
            b"\xED\xA0\x80",
            b"\xC0\xAF",
        ] {
            for before in 0..2 * MAX {
                for after in ["", "x", "and more than one piece behind it"] {
                    let text = ["y".repeat(before).as_bytes(), bad, after.as_bytes()].concat();
                    let chunks = [&framed(Kind::Text, &text)[..]];
                    assert_eq!(messages(&chunks), Err(Fault::TextNotUtf8), "{text:x?}");
                    let chunks = [&framed(Kind::Binary, &text)[..]];
                    assert!(messages(&chunks).is_ok());
                }
            }
        }
    }

    #[test]
    fn a_length_is_not_believed() {
        let mut length = Length::new();
        let mut none = |piece: Piece<'_>| panic!("{piece:?}");
        length.push(b"\x02\xFF\xFF\xFF\xFF", &mut none).unwrap();
        length.push(b"and a few bytes", &mut none).unwrap();
        assert!(length.tail.capacity() < 100, "nothing is set aside");
        let mut sent = 0;
        for _ in 0..100 {
            length
                .push(&[7; 50_000], &mut |piece| sent += piece.bytes.len())
                .unwrap();
            assert!(length.tail.capacity() <= 2 * FRAGMENT_LEN);
        }
        assert!(sent + FRAGMENT_LEN > 100 * 50_000);
    }
}
