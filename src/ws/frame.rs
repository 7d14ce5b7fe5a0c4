//! One frame on the wire: its header, and the masking of its payload.
//!
//! ```text
//!   byte 0   FIN RSV1 RSV2 RSV3 | opcode, 4 bits
//!   byte 1   MASK | length, 7 bits: 0 to 125, or 126: 2 more bytes, or 127: 8 more bytes
//!   then     0, 2 or 8 bytes of length in network byte order
//!   then     4 bytes of masking key, if MASK is set
//!   then     the payload                                            (RFC 6455 section 5.2)
//! ```

use super::close::Violation;

/// The longest possible header in bytes: two, then eight of length, then four of masking key.
pub(crate) const HEADER_LEN_MAX: usize = 14;

/// The longest payload of a control frame, in bytes (RFC 6455 section 5.5).
pub(crate) const CONTROL_LEN_MAX: usize = 125;

const FIN: u8 = 0x80;
const RESERVED_BITS: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASK: u8 = 0x80;
const LEN: u8 = 0x7f;
const LEN_IN_2_BYTES: u8 = 126;
const LEN_IN_8_BYTES: u8 = 127;

/// The type of a frame (RFC 6455 section 5.2). The discriminants are the numbers on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// The second or a later fragment of a message.
    Continuation = 0,
    /// A text message, or its first fragment.
    Text = 1,
    /// A binary message, or its first fragment.
    Binary = 2,
    /// Starts or answers the closing handshake (section 5.5.1).
    Close = 8,
    /// Asks for a pong (section 5.5.2).
    Ping = 9,
    /// Answers a ping (section 5.5.3).
    Pong = 10,
}

impl Opcode {
    /// Whether this is the opcode of a control frame. Control frames are never fragmented, and may
    /// come between the fragments of a message (section 5.5).
    #[inline]
    pub(crate) const fn is_control(self) -> bool {
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

/// The type of a message (RFC 6455 section 5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Binary,
}

impl Kind {
    /// The opcode of the first frame of such a message.
    #[inline]
    pub const fn opcode(self) -> Opcode {
        match self {
            Kind::Text => Opcode::Text,
            Kind::Binary => Opcode::Binary,
        }
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether this frame is the last of its message.
    pub fin: bool,
    /// The type of the frame.
    pub opcode: Opcode,
    /// The masking key. A client must send one, a server must not (section 5.1).
    pub mask: Option<[u8; 4]>,
    /// The length of the payload in bytes: 0 to 2^63 - 1.
    pub payload_len: u64,
}

impl Header {
    /// Parses the header at the front of `bytes`. Returns it with its length in bytes, or `None` if
    /// more bytes are needed.
    ///
    /// A violation is found at the first byte that shows it, so the result does not depend on how
    /// many bytes have arrived after it. Masking is not checked here, since the rule for it is not
    /// the same in both directions.
    ///
    /// # Errors
    ///
    /// The rule of section 5.2 or 5.5 that the header breaks.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Violation> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        // Section 5.2: "MUST be 0 unless an extension is negotiated". This server negotiates none.
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

    /// Appends the header to `out`, with its length in the fewest bytes possible (section 5.2).
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

/// Returns the payload length, and the offset in the header where it ends. `len` is the seven-bit
/// length in the second byte.
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

/// Masks or unmasks `payload` with `key`: both are the same operation (RFC 6455 section 5.3).
///
/// The first byte of the payload is combined with the first byte of the key. If a payload comes in
/// pieces, rotate the key after each: `key.rotate_left(piece_len % 4)`.
#[inline]
pub fn mask(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let key = [a, b, c, d, a, b, c, d];
    let word = u64::from_ne_bytes(key);
    // Whole words, which the compiler turns into vector instructions; then the last few bytes.
    let (words, tail) = payload.as_chunks_mut();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests;
