//! One frame of the wire: what its header says, and the masking of its payload.
//!
//! ```text
//!   byte 0   FIN RSV1 RSV2 RSV3 | opcode, 4 bits
//!   byte 1   MASK | length, 7 bits: 0 to 125, or 126: 2 more bytes, or 127: 8 more bytes
//!   then     0, 2 or 8 bytes of length in network byte order
//!   then     4 bytes of masking key, if MASK is set
//!   then     the payload                                            (RFC 6455 section 5.2)
//! ```

use super::close::Violation;

/// The longest header there can be, in bytes: two, eight of length, four of masking key.
pub const HEADER_LEN_MAX: usize = 14;

/// The longest payload of a control frame, in bytes (RFC 6455 section 5.5).
pub const CONTROL_LEN_MAX: usize = 125;

const FIN: u8 = 0x80;
const RESERVED_BITS: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASK: u8 = 0x80;
const LEN: u8 = 0x7f;
const LEN_IN_2_BYTES: u8 = 126;
const LEN_IN_8_BYTES: u8 = 127;

/// What a frame is for (RFC 6455 section 5.2). The discriminants are the numbers on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// The next fragment of the message under way.
    Continuation = 0,
    /// A text message, or its first fragment.
    Text = 1,
    /// A binary message, or its first fragment.
    Binary = 2,
    /// The closing handshake (section 5.5.1).
    Close = 8,
    /// Asks for a pong (section 5.5.2).
    Ping = 9,
    /// Answers a ping (section 5.5.3).
    Pong = 10,
}

impl Opcode {
    /// Whether frames of this opcode are control frames, which stand between the fragments of a
    /// message and are themselves never fragmented (section 5.5).
    #[inline]
    pub const fn is_control(self) -> bool {
        self as u8 >= Opcode::Close as u8
    }

    #[inline]
    const fn from_wire(number: u8) -> Option<Opcode> {
        Some(match number {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }
}

/// What a message holds (RFC 6455 section 5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Binary,
}

impl Kind {
    /// The opcode of such a message's first frame.
    #[inline]
    pub const fn opcode(self) -> Opcode {
        match self {
            Kind::Text => Opcode::Text,
            Kind::Binary => Opcode::Binary,
        }
    }
}

/// What stands before a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether the message ends with this frame.
    pub fin: bool,
    /// What the frame is for.
    pub opcode: Opcode,
    /// The masking key. A client must send one, a server must not (section 5.1).
    pub mask: Option<[u8; 4]>,
    /// How many bytes of payload follow: 0 to 2^63 - 1.
    pub payload_len: u64,
}

impl Header {
    /// Reads the header at the front of `bytes`, and its length in bytes.
    ///
    /// `None` says that more bytes are needed. A violation is found as early as the bytes show it,
    /// so the first one does not depend on how many of the bytes after it are there already.
    /// Whether the frame is masked is for the caller to judge: it is the one rule that is not the
    /// same in both directions.
    ///
    /// # Errors
    ///
    /// The rule of section 5.2 or 5.5 that the header breaks.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Violation> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        // Section 5.2: "MUST be 0 unless an extension is negotiated". None ever is.
        if first & RESERVED_BITS != 0 {
            return Err(Violation::ReservedBits);
        }
        // Section 5.2: "If an unknown opcode is received, the receiving endpoint MUST Fail the
        // WebSocket Connection."
        let Some(opcode) = Opcode::from_wire(first & OPCODE) else {
            return Err(Violation::ReservedOpcode(first & OPCODE));
        };
        let fin = first & FIN != 0;
        // Section 5.5: control frames "MUST NOT be fragmented".
        if opcode.is_control() && !fin {
            return Err(Violation::ControlFragmented);
        }
        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        // Section 5.5: control frames "MUST have a payload length of 125 bytes or less".
        if opcode.is_control() && usize::from(second & LEN) > CONTROL_LEN_MAX {
            return Err(Violation::ControlTooLong);
        }
        let Some((payload_len, key_at)) = parse_len(second & LEN, bytes)? else {
            return Ok(None);
        };
        let mut header = Header {
            fin,
            opcode,
            mask: None,
            payload_len,
        };
        if second & MASK == 0 {
            return Ok(Some((header, key_at)));
        }
        let Some(&key) = bytes[key_at..].first_chunk() else {
            return Ok(None);
        };
        header.mask = Some(key);
        Ok(Some((header, key_at + key.len())))
    }

    /// Appends the header to `out`, its length in the fewest bytes that hold it (section 5.2).
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut bytes = [0; HEADER_LEN_MAX];
        let mut len = 2;
        bytes[0] = self.opcode as u8 | if self.fin { FIN } else { 0 };
        match self.payload_len {
            0..=125 => bytes[1] = self.payload_len as u8,
            126..=0xffff => {
                bytes[1] = LEN_IN_2_BYTES;
                bytes[2..4].copy_from_slice(&(self.payload_len as u16).to_be_bytes());
                len = 4;
            }
            _ => {
                bytes[1] = LEN_IN_8_BYTES;
                bytes[2..10].copy_from_slice(&self.payload_len.to_be_bytes());
                len = 10;
            }
        }
        if let Some(key) = self.mask {
            bytes[1] |= MASK;
            bytes[len..len + key.len()].copy_from_slice(&key);
            len += key.len();
        }
        out.extend_from_slice(&bytes[..len]);
    }
}

/// The payload length, whose first seven bits are `len`, and where in the header it ends.
#[inline]
fn parse_len(len: u8, bytes: &[u8]) -> Result<Option<(u64, usize)>, Violation> {
    let (payload_len, end, shortest) = match len {
        LEN_IN_2_BYTES => match bytes[2..].first_chunk() {
            Some(&long) => (u64::from(u16::from_be_bytes(long)), 4, 126),
            None => return Ok(None),
        },
        LEN_IN_8_BYTES => match bytes[2..].first_chunk() {
            Some(&long) => (u64::from_be_bytes(long), 10, 0x1_0000),
            None => return Ok(None),
        },
        short => return Ok(Some((u64::from(short), 2))),
    };
    // Section 5.2: "the most significant bit MUST be 0".
    if payload_len > i64::MAX as u64 {
        return Err(Violation::LengthOutOfRange);
    }
    // Section 5.2: "the minimal number of bytes MUST be used to encode the length".
    if payload_len < shortest {
        return Err(Violation::LengthNotMinimal);
    }
    Ok(Some((payload_len, end)))
}

/// Masks `payload` with `key`, or unmasks it: the one undoes the other (RFC 6455 section 5.3).
///
/// The first byte meets the first byte of the key. Where a payload comes in pieces, the caller
/// rotates the key between them: `key.rotate_left(piece_len % 4)`.
#[inline]
pub fn mask(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let key = [a, b, c, d, a, b, c, d];
    let word = u64::from_ne_bytes(key);
    // Whole words, of which the compiler makes vectors; then the last few bytes.
    let (words, tail) = payload.as_chunks_mut();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::for_each_seed;

    const OPCODES: [Opcode; 6] = [
        Opcode::Continuation,
        Opcode::Text,
        Opcode::Binary,
        Opcode::Close,
        Opcode::Ping,
        Opcode::Pong,
    ];

    fn header(fin: bool, opcode: Opcode, mask: Option<[u8; 4]>, payload_len: u64) -> Header {
        Header {
            fin,
            opcode,
            mask,
            payload_len,
        }
    }

    /// The examples of section 5.7.
    #[test]
    fn headers_of_the_rfc() {
        let key = Some([0x37, 0xfa, 0x21, 0x3d]);
        let table: [(&[u8], Header); 8] = [
            (&[0x81, 0x05], header(true, Opcode::Text, None, 5)),
            (
                &[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d],
                header(true, Opcode::Text, key, 5),
            ),
            (&[0x01, 0x03], header(false, Opcode::Text, None, 3)),
            (&[0x80, 0x02], header(true, Opcode::Continuation, None, 2)),
            (&[0x89, 0x05], header(true, Opcode::Ping, None, 5)),
            (
                &[0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d],
                header(true, Opcode::Pong, key, 5),
            ),
            (
                &[0x82, 0x7e, 0x01, 0x00],
                header(true, Opcode::Binary, None, 256),
            ),
            (
                &[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0],
                header(true, Opcode::Binary, None, 65536),
            ),
        ];
        for (bytes, header) in table {
            assert_eq!(
                Header::parse(bytes),
                Ok(Some((header, bytes.len()))),
                "{bytes:x?}"
            );
            let mut out = Vec::new();
            header.write(&mut out);
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn what_is_written_is_read_and_each_cut_asks_for_more() {
        let lens = [
            0,
            1,
            125,
            126,
            127,
            255,
            256,
            65535,
            65536,
            65537,
            u32::MAX as u64,
            i64::MAX as u64,
        ];
        for opcode in OPCODES {
            for payload_len in lens {
                for fin in [true, false] {
                    for mask in [None, Some([0; 4]), Some([1, 2, 3, 4])] {
                        if opcode.is_control() && (!fin || payload_len > 125) {
                            continue;
                        }
                        let header = Header {
                            fin,
                            opcode,
                            mask,
                            payload_len,
                        };
                        let mut bytes = Vec::new();
                        header.write(&mut bytes);
                        for cut in 0..bytes.len() {
                            assert_eq!(
                                Header::parse(&bytes[..cut]),
                                Ok(None),
                                "{header:?} cut at {cut}"
                            );
                        }
                        let len = bytes.len();
                        assert!(len <= HEADER_LEN_MAX);
                        bytes.extend_from_slice(b"payload");
                        assert_eq!(Header::parse(&bytes), Ok(Some((header, len))));
                    }
                }
            }
        }
    }

    /// Each rule, with the bytes that break it: found at the last of them and no earlier, and
    /// the same whatever comes after.
    #[test]
    fn violations() {
        let table: [(&str, &[u8], Violation); 22] = [
            ("RSV1", &[0xc1], Violation::ReservedBits),
            ("RSV2", &[0xa1], Violation::ReservedBits),
            ("RSV3", &[0x91], Violation::ReservedBits),
            ("all three, on a ping", &[0xf9], Violation::ReservedBits),
            (
                "RSV1 before a reserved opcode",
                &[0xc3],
                Violation::ReservedBits,
            ),
            ("opcode 3", &[0x83], Violation::ReservedOpcode(3)),
            (
                "opcode 7, a fragment",
                &[0x07],
                Violation::ReservedOpcode(7),
            ),
            ("opcode 11", &[0x8b], Violation::ReservedOpcode(11)),
            ("opcode 15", &[0x8f], Violation::ReservedOpcode(15)),
            ("fragmented close", &[0x08], Violation::ControlFragmented),
            ("fragmented ping", &[0x09], Violation::ControlFragmented),
            ("fragmented pong", &[0x0a], Violation::ControlFragmented),
            (
                "close of 126 bytes",
                &[0x88, 0x7e],
                Violation::ControlTooLong,
            ),
            (
                "ping of 126 bytes",
                &[0x89, 0xfe],
                Violation::ControlTooLong,
            ),
            (
                "pong of a 64-bit length",
                &[0x8a, 0xff],
                Violation::ControlTooLong,
            ),
            (
                "0 in two bytes",
                &[0x82, 0x7e, 0, 0],
                Violation::LengthNotMinimal,
            ),
            (
                "125 in two bytes",
                &[0x82, 0xfe, 0, 125],
                Violation::LengthNotMinimal,
            ),
            (
                "0 in eight bytes",
                &[0x82, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0],
                Violation::LengthNotMinimal,
            ),
            (
                "125 in eight bytes",
                &[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0, 125],
                Violation::LengthNotMinimal,
            ),
            (
                "65535 in eight bytes",
                &[0x02, 0x7f, 0, 0, 0, 0, 0, 0, 255, 255],
                Violation::LengthNotMinimal,
            ),
            (
                "2^63",
                &[0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0],
                Violation::LengthOutOfRange,
            ),
            (
                "2^64 - 1",
                &[0x81, 0xff, 255, 255, 255, 255, 255, 255, 255, 255],
                Violation::LengthOutOfRange,
            ),
        ];
        for (name, bytes, violation) in table {
            for cut in 0..bytes.len() {
                assert_eq!(
                    Header::parse(&bytes[..cut]),
                    Ok(None),
                    "{name} cut at {cut}"
                );
            }
            let mut bytes = bytes.to_vec();
            assert_eq!(Header::parse(&bytes), Err(violation), "{name}");
            for more in 0..HEADER_LEN_MAX {
                bytes.push(more as u8);
                assert_eq!(
                    Header::parse(&bytes),
                    Err(violation),
                    "{name} and {more} bytes more"
                );
            }
        }
    }

    #[test]
    fn the_opcodes_are_exactly_those_of_section_5_2() {
        for number in 0..16 {
            let known = OPCODES.into_iter().find(|&opcode| opcode as u8 == number);
            assert_eq!(Opcode::from_wire(number), known);
        }
        assert!(
            OPCODES
                .into_iter()
                .all(|opcode| opcode.is_control() == (opcode as u8 & 8 != 0))
        );
    }

    #[test]
    fn any_bytes_are_a_header_or_not_but_never_a_panic() {
        for_each_seed(2000, |random| {
            let len = random.below(20);
            let bytes = random.bytes(len);
            if let Ok(Some((header, len))) = Header::parse(&bytes) {
                let mut out = Vec::new();
                header.write(&mut out);
                assert_eq!(out, bytes[..len]);
            }
        });
    }

    /// "Hello", section 5.7.
    #[test]
    fn masking_of_the_rfc() {
        let mut payload = *b"Hello";
        mask(&mut payload, [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(payload, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        mask(&mut payload, [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(payload, *b"Hello");
    }

    /// Section 5.3, letter for letter: octet i is masked with octet i modulo 4 of the key.
    #[test]
    fn masking_is_what_section_5_3_says_at_every_length_place_and_cut() {
        for_each_seed(200, |random| {
            let len = random.below(100);
            let start = random.below(9).min(len);
            let mut bytes = random.bytes(len);
            let key = [
                random.next() as u8,
                random.next() as u8,
                random.next() as u8,
                random.next() as u8,
            ];
            let mut expected = bytes.clone();
            for (i, byte) in expected[start..].iter_mut().enumerate() {
                *byte ^= key[i % 4];
            }
            let (one, two) = bytes[start..].split_at_mut(random.below(len - start + 1));
            let mut rotated = key;
            rotated.rotate_left(one.len() % 4);
            mask(one, key);
            mask(two, rotated);
            assert_eq!(bytes, expected);
        });
    }
}
