//! From the bytes of the stream to headers and payload chunks, however the reads were cut.
//!
//! A read may end anywhere: in a header, in a payload, between two frames, or many frames on. The
//! decoder copies no payload and keeps none. It hands out what the read brought, unmasked where it
//! lies, and remembers only how the next byte is to be taken.

use std::mem;

use super::close::Violation;
use super::frame::{HEADER_LEN_MAX, Header, Opcode, mask};

/// What a client's bytes turn out to be, one after the other.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A frame begins. It is reported before any of its payload is looked at, so that a frame
    /// which is not wanted can be refused at once.
    Header(Header),
    /// Payload of the frame last reported. A frame has at least one chunk, which is empty if the
    /// frame is; no other chunk is empty.
    Chunk {
        /// What the frame is for.
        opcode: Opcode,
        /// Whether the message ends with this frame.
        fin: bool,
        /// The bytes, unmasked.
        bytes: &'a [u8],
        /// Whether the frame ends with this chunk.
        end: bool,
    },
}

/// Where the stream stands.
#[derive(Debug)]
pub struct Decoder {
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// A frame's header is awaited. What earlier reads brought of it, less than a header, is in the
    /// first `spill_len` bytes of `spill`.
    Header {
        spill: [u8; HEADER_LEN_MAX],
        spill_len: u8,
    },
    /// A header was reported, and the last chunk of its payload was not: `remaining` bytes are to
    /// come. The masking key is rotated so that its first byte meets the next one.
    Payload {
        remaining: u64,
        key: [u8; 4],
        opcode: Opcode,
        fin: bool,
    },
}

impl Decoder {
    /// The state at the start of the stream.
    pub const fn new() -> Self {
        Decoder {
            place: Place::BETWEEN_FRAMES,
        }
    }

    /// The next piece of the stream. What it is made of is taken from the front of `input`.
    ///
    /// `None` says that `input` is used up, and that more is needed.
    ///
    /// # Errors
    ///
    /// The rule of RFC 6455 that the frame's header breaks. The stream has lost its frames then,
    /// and no later piece would mean anything.
    #[inline]
    pub fn next<'a>(&mut self, input: &mut &'a mut [u8]) -> Result<Option<Piece<'a>>, Violation> {
        match &mut self.place {
            Place::Header { spill, spill_len } => {
                let Some(header) = parse_header(spill, spill_len, input)? else {
                    return Ok(None);
                };
                // Section 5.1: "The server MUST close the connection upon receiving a frame that is
                // not masked."
                let Some(key) = header.mask else {
                    return Err(Violation::Unmasked);
                };
                let Header {
                    fin,
                    opcode,
                    payload_len: remaining,
                    ..
                } = header;
                self.place = Place::Payload {
                    remaining,
                    key,
                    opcode,
                    fin,
                };
                Ok(Some(Piece::Header(header)))
            }
            Place::Payload {
                remaining,
                key,
                opcode,
                fin,
            } => {
                let (opcode, fin) = (*opcode, *fin);
                // The smaller of the two fits in a `usize`, because the second does.
                let len = (*remaining).min(input.len() as u64) as usize;
                let end = len as u64 == *remaining;
                if len == 0 && !end {
                    return Ok(None);
                }
                let bytes = take(input, len);
                mask(bytes, *key);
                if end {
                    self.place = Place::BETWEEN_FRAMES;
                } else {
                    *remaining -= len as u64;
                    key.rotate_left(len % 4);
                }
                Ok(Some(Piece::Chunk {
                    opcode,
                    fin,
                    bytes,
                    end,
                }))
            }
        }
    }
}

impl Place {
    const BETWEEN_FRAMES: Place = Place::Header {
        spill: [0; HEADER_LEN_MAX],
        spill_len: 0,
    };
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder::new()
    }
}

/// An idle connection owns no buffer, so all that a cut can leave behind is in here.
const _: () = assert!(size_of::<Decoder>() == 16);

/// Takes a header off `input`, as it nearly always is there whole.
#[inline]
fn parse_header(
    spill: &mut [u8; HEADER_LEN_MAX],
    spill_len: &mut u8,
    input: &mut &mut [u8],
) -> Result<Option<Header>, Violation> {
    if *spill_len == 0
        && let Some((header, len)) = Header::parse(input)?
    {
        take(input, len);
        return Ok(Some(header));
    }
    parse_spilled(spill, spill_len, input)
}

/// Completes the header that `spill` begins with bytes from `input`. If these do not suffice, all
/// of them are kept for the next time.
#[cold]
fn parse_spilled(
    spill: &mut [u8; HEADER_LEN_MAX],
    spill_len: &mut u8,
    input: &mut &mut [u8],
) -> Result<Option<Header>, Violation> {
    let spilled = usize::from(*spill_len);
    let added = (HEADER_LEN_MAX - spilled).min(input.len());
    spill[spilled..spilled + added].copy_from_slice(&input[..added]);
    match Header::parse(&spill[..spilled + added])? {
        // What was spilled was less than a header, so the header ends in `input`.
        Some((header, len)) => {
            take(input, len - spilled);
            Ok(Some(header))
        }
        // A full spill is a header, so here it is not full and `input` had no more.
        None => {
            *spill_len += added as u8;
            take(input, added);
            Ok(None)
        }
    }
}

/// Takes the first `len` bytes off `input`, which has as many.
#[inline]
fn take<'a>(input: &mut &'a mut [u8], len: usize) -> &'a mut [u8] {
    let (taken, rest) = mem::take(input).split_at_mut(len);
    *input = rest;
    taken
}

#[cfg(test)]
mod tests {
    use super::super::testing::{masked, plain};
    use super::*;
    use crate::testing::for_each_seed;

    /// A frame as far as it was seen: header, payload, whether it ended.
    type Frame = (Header, Vec<u8>, bool);
    type Outcome = (Vec<Frame>, Option<Violation>);

    /// All frames in `bytes`, read plainly from beginning to end.
    fn reference(bytes: &[u8]) -> Outcome {
        let mut frames = Vec::new();
        let mut at = 0;
        loop {
            let (header, len) = match Header::parse(&bytes[at..]) {
                Err(violation) => return (frames, Some(violation)),
                Ok(None) => return (frames, None),
                Ok(Some((Header { mask: None, .. }, _))) => {
                    return (frames, Some(Violation::Unmasked));
                }
                Ok(Some(found)) => found,
            };
            at += len;
            let key = header.mask.unwrap();
            let mut payload = Vec::new();
            while (payload.len() as u64) < header.payload_len && at < bytes.len() {
                payload.push(bytes[at] ^ key[payload.len() % 4]);
                at += 1;
            }
            let end = payload.len() as u64 == header.payload_len;
            frames.push((header, payload, end));
            if !end {
                return (frames, None);
            }
        }
    }

    fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
        let mut decoder = Decoder::new();
        let mut frames: Vec<Frame> = Vec::new();
        for piece in pieces {
            let mut piece = piece.to_vec();
            let mut input = &mut piece[..];
            loop {
                match decoder.next(&mut input) {
                    Err(violation) => return (frames, Some(violation)),
                    Ok(None) => break,
                    Ok(Some(Piece::Header(header))) => frames.push((header, Vec::new(), false)),
                    Ok(Some(Piece::Chunk {
                        opcode,
                        fin,
                        bytes,
                        end,
                    })) => {
                        let (header, payload, ended) = frames.last_mut().unwrap();
                        assert_eq!((header.opcode, header.fin, *ended), (opcode, fin, false));
                        assert!(!bytes.is_empty() || header.payload_len == 0);
                        payload.extend_from_slice(bytes);
                        *ended = end;
                    }
                }
            }
            assert!(input.is_empty());
        }
        (frames, None)
    }

    /// Whole, every prefix, cut in two at every place, and byte by byte.
    fn check(name: &str, bytes: &[u8]) {
        let expected = reference(bytes);
        assert_eq!(decode([bytes]), expected, "{name}");
        assert_eq!(decode(bytes.chunks(1)), expected, "{name}, byte by byte");
        for cut in 0..bytes.len() {
            let (one, two) = bytes.split_at(cut);
            assert_eq!(decode([one, two]), expected, "{name}, cut at {cut}");
            assert_eq!(
                decode([one, &[], two]),
                expected,
                "{name}, cut at {cut} by an empty read"
            );
            assert_eq!(decode([one]), reference(one), "{name}, ended at {cut}");
            assert_eq!(
                decode(one.chunks(1)),
                reference(one),
                "{name}, ended at {cut}, byte by byte"
            );
        }
    }

    #[test]
    fn frames() {
        let long = [7; 300];
        let table: [(&str, Vec<u8>, usize); 9] = [
            ("nothing", vec![], 0),
            ("an empty message", masked(true, Opcode::Text, b""), 1),
            ("hello", masked(true, Opcode::Text, b"Hello"), 1),
            ("a 16-bit length", masked(true, Opcode::Binary, &long), 1),
            (
                "two frames",
                [
                    masked(true, Opcode::Text, b"one"),
                    masked(true, Opcode::Ping, b"two!"),
                ]
                .concat(),
                2,
            ),
            ("empty ones", masked(true, Opcode::Pong, b"").repeat(5), 5),
            (
                "fragments",
                [
                    masked(false, Opcode::Text, b"a"),
                    masked(true, Opcode::Continuation, b""),
                ]
                .concat(),
                2,
            ),
            (
                "a frame that lacks a byte",
                masked(true, Opcode::Text, b"Hello")[..10].to_vec(),
                1,
            ),
            (
                "2^63 - 1 bytes to come",
                [&[0x82, 0xff, 0x7f][..], &[255; 7], b"keyspayload"].concat(),
                1,
            ),
        ];
        for (name, bytes, count) in table {
            let (frames, violation) = decode([&bytes[..]]);
            assert_eq!((frames.len(), violation), (count, None), "{name}");
            check(name, &bytes);
        }
    }

    #[test]
    fn a_64_bit_length() {
        let payload: Vec<u8> = (0..70_000u32).map(|i| (i * 31) as u8).collect();
        let bytes = masked(true, Opcode::Binary, &payload);
        for cut in (0..20).chain([100, 8192, 65536, 70_000]) {
            let (one, two) = bytes.split_at(cut);
            let (frames, violation) = decode([one, two]);
            assert_eq!(violation, None);
            assert!(
                frames.len() == 1 && frames[0].1 == payload && frames[0].2,
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn violations() {
        let fine = masked(true, Opcode::Text, b"fine");
        let table: [(&str, Vec<u8>, Violation); 7] = [
            (
                "unmasked text",
                plain(true, Opcode::Text, b"Hello"),
                Violation::Unmasked,
            ),
            (
                "unmasked close",
                plain(true, Opcode::Close, b""),
                Violation::Unmasked,
            ),
            (
                "unmasked, a 16-bit length",
                plain(true, Opcode::Text, &[0; 126]),
                Violation::Unmasked,
            ),
            (
                "RSV1",
                vec![0xc1, 0x80, 1, 2, 3, 4],
                Violation::ReservedBits,
            ),
            (
                "opcode 11",
                vec![0x8b, 0x80, 1, 2, 3, 4],
                Violation::ReservedOpcode(11),
            ),
            (
                "a long ping",
                vec![0x89, 0xfe, 0, 126, 1, 2, 3, 4],
                Violation::ControlTooLong,
            ),
            (
                "2^63",
                vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4],
                Violation::LengthOutOfRange,
            ),
        ];
        for (name, bytes, violation) in table {
            assert_eq!(decode([&bytes[..]]), (vec![], Some(violation)), "{name}");
            check(name, &bytes);
            let after = [&fine[..], &bytes].concat();
            let (frames, found) = decode([&after[..]]);
            assert_eq!(
                (frames.len(), found),
                (1, Some(violation)),
                "{name} after a message"
            );
            check(name, &after);
        }
    }

    #[test]
    fn random_streams_in_random_pieces() {
        for_each_seed(1000, |random| {
            let mut bytes = Vec::new();
            for _ in 0..random.below(6) {
                let opcode = random.pick(&[
                    Opcode::Text,
                    Opcode::Binary,
                    Opcode::Continuation,
                    Opcode::Ping,
                ]);
                let len = random.pick(&[0, 1, 3, 4, 5, 8, 17, 64, 125, 126, 400]);
                let len = if opcode.is_control() {
                    len.min(125)
                } else {
                    len
                };
                let fin = opcode.is_control() || random.one_in(2);
                let payload = random.bytes(len);
                bytes.extend(masked(fin, opcode, &payload));
            }
            if random.one_in(3) && !bytes.is_empty() {
                let at = random.below(bytes.len());
                bytes[at] = random.next() as u8;
            }
            let expected = reference(&bytes);
            assert_eq!(decode(random.cut(&bytes)), expected);
            assert_eq!(decode([&bytes[..]]), expected);
        });
    }
}
