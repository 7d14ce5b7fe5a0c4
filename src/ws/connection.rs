//! The server's end of one WebSocket connection, after the opening handshake: [`Connection`].
//!
//! Bytes from the peer go in, events come out, and bytes for the peer are appended to a `Vec`. This
//! file has the rules for fragments (RFC 6455 section 5.4), for control frames (5.5) and for the
//! closing handshake (7.1):
//!
//! ```text
//!              close()                the peer's close frame
//!   Open ----------------> LocalClosing ----------------> Closed
//!     |                         |                            ^
//!     |                         +---------- fail() ----------+
//!     +--------- fail(), or the peer's close frame ----------+
//! ```
//!
//! The peer's close frame is answered at once, so there is no state in which only the peer has sent
//! one.

use std::mem;
use std::str;

use super::close::{CloseCode, Violation, truncate_reason};
use super::decoder::{Decoder, Piece};
use super::frame::{CONTROL_LEN_MAX, Header, Kind, Opcode};
use super::utf8::Utf8;

/// Something that the peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A chunk of a message. The chunks of one message, joined, are the message. Between them only
    /// control events may come.
    Data {
        /// Text or binary: the same for all chunks of a message.
        kind: Kind,
        /// The bytes, unmasked. They are empty only if `last` is set. A chunk of text may end
        /// within a character unless it is the last.
        bytes: &'a [u8],
        /// Whether the message ends with this chunk.
        last: bool,
    },
    /// A pong, which may be unsolicited (section 5.5.3).
    Pong,
    /// The peer's close frame, with its code if it has one (section 5.5.1). The answer to it is in
    /// `out`, unless our close frame was sent before. This is the last event.
    Close(Option<CloseCode>),
}

/// The state of the closing handshake (RFC 6455 section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseState {
    /// Neither end has sent a close frame.
    Open,
    /// We have sent a close frame and the peer has not. Data from the peer is dropped.
    LocalClosing,
    /// Both ends have sent a close frame, or the connection has failed. Once `out` is written, the
    /// TCP connection may be closed.
    Closed,
}

/// The protocol state of one connection. Between messages it owns no heap memory.
#[derive(Debug)]
pub struct Connection {
    decoder: Decoder,
    /// The sum of the payload lengths in the frame headers of the incoming message so far.
    /// At most `u32::MAX`, which is beyond every limit.
    message_len: u32,
    /// The first part of a control frame's payload when the frame spans two reads, which is rare.
    control: Option<Box<ControlPayload>>,
    /// The validation of the incoming text, which may have stopped within a character.
    text: Utf8,
    /// The kind of the incoming message, from its first frame to its end.
    receiving: Option<Kind>,
    /// The kind of the outgoing message, from its first frame to its end.
    sending: Option<Kind>,
    state: CloseState,
    /// The number of frame headers so far, wrapping.
    frames: u32,
}

/// A server may hold many thousands of them.
const _: () = assert!(size_of::<Connection>() <= 40);

impl Connection {
    /// A connection directly after the opening handshake.
    pub const fn new() -> Self {
        Connection {
            decoder: Decoder::new(),
            message_len: 0,
            control: None,
            text: Utf8::new(),
            receiving: None,
            sending: None,
            state: CloseState::Open,
            frames: 0,
        }
    }

    /// The number of frames that have begun so far; it wraps. Each frame costs work, however short
    /// it is.
    #[inline]
    pub(crate) const fn frames(&self) -> u32 {
        self.frames
    }

    /// Bytes of payload that the current frame still lacks. They hold no other frame.
    #[inline]
    pub(crate) fn payload_left(&self) -> u64 {
        self.decoder.payload_left()
    }

    /// The state of the closing handshake.
    #[inline]
    pub const fn state(&self) -> CloseState {
        self.state
    }

    /// Whether the first fragment of an outgoing message has been sent and the last has not.
    #[inline]
    pub(crate) const fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    /// Takes the next event from the front of `input` and consumes its bytes. Payload is unmasked
    /// in place. `None` means that `input` is used up.
    ///
    /// Replies are appended to `out`: a pong for each ping, a close frame for a close frame. A
    /// reply is never longer than the frame that it answers.
    ///
    /// If a data frame is not complete, the part in `input` gives a [`Data`](Event::Data) event of
    /// its own. Text is validated as it arrives.
    ///
    /// After [`close`](Self::close) data is dropped. After the peer's close frame, and after
    /// [`fail`](Self::fail), all input is dropped (section 1.4: the peer "discards any further data
    /// received").
    ///
    /// # Errors
    ///
    /// The rule that the peer broke. The caller must [`fail`](Self::fail) the connection and drop
    /// the incomplete message. A violation is found at the first byte that shows it: bad text at
    /// the first bad byte; a message of more than `message_len_max` bytes of payload at the frame
    /// header that exceeds the limit.
    #[inline]
    pub fn next_event<'a>(
        &mut self,
        input: &mut &'a mut [u8],
        out: &mut Vec<u8>,
        message_len_max: u64,
    ) -> Result<Option<Event<'a>>, Violation> {
        if self.state == CloseState::Closed {
            *input = &mut [];
            return Ok(None);
        }
        while let Some(piece) = self.decoder.next(input)? {
            let event = match piece {
                Piece::Header(header) => {
                    self.begin_frame(&header, message_len_max)?;
                    continue;
                }
                Piece::Chunk {
                    opcode, bytes, end, ..
                } if opcode.is_control() => self.control_chunk(opcode, bytes, end, out)?,
                Piece::Chunk {
                    fin, bytes, end, ..
                } => self.data_chunk(bytes, fin && end)?,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// Appends a fragment of a message to `out`: the `first`, the `last`, both (a whole message) or
    /// neither (section 5.4). Does nothing unless the state is `Open`.
    ///
    /// All fragments of a message must have the same `kind`, and only control frames may be sent
    /// between them. The fragments of a text message, joined, must be UTF-8.
    #[inline]
    pub fn send_fragment(
        &mut self,
        kind: Kind,
        first: bool,
        last: bool,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) {
        self.send_header(kind, first, last, payload.len(), out);
        if self.state == CloseState::Open {
            out.extend_from_slice(payload);
        }
    }

    /// Like [`send_fragment`](Self::send_fragment), but appends only the frame header. The caller
    /// must send `payload_len` bytes of payload after it.
    #[inline]
    pub(crate) fn send_header(
        &mut self,
        kind: Kind,
        first: bool,
        last: bool,
        payload_len: usize,
        out: &mut Vec<u8>,
    ) {
        if self.state != CloseState::Open {
            return;
        }
        let expected = if first { None } else { Some(kind) };
        debug_assert_eq!(
            self.sending, expected,
            "a message must be complete before the next begins"
        );
        self.sending = if last { None } else { Some(kind) };
        let opcode = if first {
            kind.opcode()
        } else {
            Opcode::Continuation
        };
        Header {
            fin: last,
            opcode,
            mask: None,
            payload_len: payload_len as u64,
        }
        .write(out);
    }

    /// Appends a ping to `out` (section 5.5.2). Does nothing unless the state is `Open`.
    pub(crate) fn ping(&mut self, out: &mut Vec<u8>) {
        if self.state == CloseState::Open {
            write_frame(true, Opcode::Ping, &[], out);
        }
    }

    /// Starts the closing handshake (section 7.1.2): appends a close frame to `out`. A `reason` of
    /// more than 123 bytes is truncated. Does nothing unless the state is `Open`.
    pub fn close(&mut self, code: CloseCode, reason: &str, out: &mut Vec<u8>) {
        if self.state == CloseState::Open {
            write_close(Some(code), reason, out);
            self.state = CloseState::LocalClosing;
        }
    }

    /// Fails the connection (section 7.1.7): appends a close frame that names the violation to
    /// `out`, unless a close frame was sent before. The state is then `Closed`, without waiting for
    /// the peer's close frame, because its bytes can no longer be understood.
    #[cold]
    pub fn fail(&mut self, violation: Violation, out: &mut Vec<u8>) {
        if self.state == CloseState::Open {
            write_close(Some(violation.close_code()), &violation.to_string(), out);
        }
        self.state = CloseState::Closed;
        self.control = None;
    }

    /// Checks a frame header against the incoming message.
    #[inline]
    fn begin_frame(&mut self, header: &Header, message_len_max: u64) -> Result<(), Violation> {
        self.frames = self.frames.wrapping_add(1);
        // Section 5.4: "Control frames MAY be injected in the middle of a fragmented message."
        let len_before = match (header.opcode, self.receiving) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => return Ok(()),
            // Section 5.4: "The fragments of one message MUST NOT be interleaved between the
            // fragments of another message".
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(Violation::MessageInterrupted),
            (Opcode::Continuation, None) => return Err(Violation::UnexpectedContinuation),
            (Opcode::Continuation, Some(_)) => self.message_len,
            (Opcode::Text, None) => {
                self.receiving = Some(Kind::Text);
                0
            }
            (Opcode::Binary, None) => {
                self.receiving = Some(Kind::Binary);
                0
            }
        };
        let len = u64::from(len_before).saturating_add(header.payload_len);
        self.message_len = u32::try_from(len).unwrap_or(u32::MAX);
        // In the other states data is dropped, so it may have any length.
        if len > message_len_max && self.state == CloseState::Open {
            return Err(Violation::MessageTooBig {
                len_max: message_len_max,
            });
        }
        Ok(())
    }

    /// Receives a chunk of the incoming message, which is complete if `last` is set.
    #[inline]
    fn data_chunk<'a>(
        &mut self,
        bytes: &'a [u8],
        last: bool,
    ) -> Result<Option<Event<'a>>, Violation> {
        // Always present: `begin_frame` has accepted the header of this chunk's frame.
        let Some(kind) = self.receiving else {
            return Ok(None);
        };
        if last {
            self.receiving = None;
        }
        if self.state != CloseState::Open {
            return Ok(None);
        }
        // Section 8.1: text that is not UTF-8 fails the connection.
        if kind == Kind::Text
            && (self.text.push(bytes).is_err() || (last && !self.text.is_complete()))
        {
            return Err(Violation::TextNotUtf8);
        }
        Ok((last || !bytes.is_empty()).then_some(Event::Data { kind, bytes, last }))
    }

    /// Receives a chunk of a control frame, and handles the frame when it is complete.
    fn control_chunk(
        &mut self,
        opcode: Opcode,
        bytes: &[u8],
        end: bool,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, Violation> {
        if end && self.control.is_none() {
            return self.control_frame(opcode, bytes, out);
        }
        let mut payload = self.control.take().unwrap_or_default();
        payload.push(bytes);
        if end {
            return self.control_frame(opcode, payload.bytes(), out);
        }
        self.control = Some(payload);
        Ok(None)
    }

    fn control_frame(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, Violation> {
        match opcode {
            // Section 5.5.2: a ping must be answered "unless it already received a Close frame", so
            // also after we sent ours. Section 5.5.3: with "identical" application data.
            Opcode::Ping => {
                write_frame(true, Opcode::Pong, &[payload], out);
                Ok(None)
            }
            Opcode::Close => {
                let code = parse_close(payload)?;
                // Section 5.5.1: an endpoint that has not sent a close frame must answer with one,
                // and "typically echos the status code it received".
                if mem::replace(&mut self.state, CloseState::Closed) == CloseState::Open {
                    write_close(code, "", out);
                }
                Ok(Some(Event::Close(code)))
            }
            _ => Ok(Some(Event::Pong)),
        }
    }
}

impl Default for Connection {
    fn default() -> Self {
        Connection::new()
    }
}

/// The first part of a control frame's payload.
#[derive(Debug)]
struct ControlPayload {
    len: u8,
    bytes: [u8; CONTROL_LEN_MAX],
}

impl ControlPayload {
    /// Appends a chunk. It fits, because the frame header was checked against the limit.
    fn push(&mut self, chunk: &[u8]) {
        let len = usize::from(self.len);
        self.bytes[len..len + chunk.len()].copy_from_slice(chunk);
        self.len += chunk.len() as u8;
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl Default for ControlPayload {
    fn default() -> Self {
        ControlPayload {
            len: 0,
            bytes: [0; CONTROL_LEN_MAX],
        }
    }
}

/// Checks a close frame's payload and returns its code (section 5.5.1).
fn parse_close(payload: &[u8]) -> Result<Option<CloseCode>, Violation> {
    let (&code, reason) = match payload.split_first_chunk() {
        Some(split) => split,
        None if payload.is_empty() => return Ok(None),
        None => return Err(Violation::CloseTooShort),
    };
    let number = u16::from_be_bytes(code);
    let code = CloseCode::from_wire(number).ok_or(Violation::CloseCodeIllegal(number))?;
    // Section 5.5.1: the body "MAY contain UTF-8-encoded data".
    str::from_utf8(reason).map_err(|_| Violation::CloseReasonNotUtf8)?;
    Ok(Some(code))
}

fn write_close(code: Option<CloseCode>, reason: &str, out: &mut Vec<u8>) {
    match code {
        Some(code) => {
            let code = code.get().to_be_bytes();
            write_frame(
                true,
                Opcode::Close,
                &[&code, truncate_reason(reason).as_bytes()],
                out,
            );
        }
        None => write_frame(true, Opcode::Close, &[], out),
    }
}

/// Appends a frame whose payload is `parts`, joined. Section 5.1: "A server MUST NOT mask any
/// frames that it sends to the client."
#[inline]
fn write_frame(fin: bool, opcode: Opcode, parts: &[&[u8]], out: &mut Vec<u8>) {
    let payload_len = parts.iter().map(|part| part.len() as u64).sum();
    Header {
        fin,
        opcode,
        mask: None,
        payload_len,
    }
    .write(out);
    for part in parts {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests;
