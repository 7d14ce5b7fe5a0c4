//! The server's end of one WebSocket connection, from the end of the opening handshake on.
//!
//! Bytes that were read go in, events come out, and what is to be written is appended to a `Vec`.
//! The rules that join frames to messages are kept here (RFC 6455 section 5.4), those about
//! control frames (5.5), and the closing handshake (7.1):
//!
//! ```text
//!              close()                the peer's close frame
//!   Open ----------------> LocalClosing ----------------> Closed
//!     |                         |                            ^
//!     |                         +---------- fail() ----------+
//!     +--------- fail(), or the peer's close frame ----------+
//! ```
//!
//! A close frame of the peer's is answered in the moment in which it is seen, so there is no state
//! in which the peer has closed and this end has not.

use std::mem;
use std::str;

use super::close::{CloseCode, Violation, cut_reason};
use super::decoder::{Decoder, Piece};
use super::frame::{CONTROL_LEN_MAX, Header, Kind, Opcode};
use super::utf8::Utf8;

/// What the peer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A chunk of a message. The chunks of one message follow each other without another's in
    /// between; joined, they are the message. Control events may come between them.
    Data {
        /// What the message holds, the same for all of its chunks.
        kind: Kind,
        /// The bytes, unmasked. They are empty only if `last` is set. Those of a text message may
        /// end within a character, but for the last chunk's.
        bytes: &'a [u8],
        /// Whether the message ends with this chunk.
        last: bool,
    },
    /// A pong, asked for or not (section 5.5.3).
    Pong,
    /// The peer's close frame, with its code if it has one (section 5.5.1). The close frame that
    /// answers it is in `out` already, if it was not sent before. Nothing comes after it.
    Close(Option<CloseCode>),
}

/// How far the closing handshake has come (RFC 6455 section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseState {
    /// No close frame went either way.
    Open,
    /// This end sent a close frame; the peer's is awaited, and data that comes before it is
    /// dropped.
    LocalClosing,
    /// Both ends sent a close frame, or the connection has failed. Once `out` is written, TCP may
    /// be closed.
    Closed,
}

/// One connection's protocol state. It is small, and an idle one owns no heap memory.
#[derive(Debug)]
pub struct Connection {
    decoder: Decoder,
    /// Length of the message under way, with all of its last frame: what the peer announced.
    message_len: u64,
    /// Payload of a control frame that a read has cut. Such a frame is rare and short.
    control: Option<Box<ControlPayload>>,
    /// The character with which the last chunk of text broke off. A message never ends so.
    text: Utf8,
    /// The message of the peer's that has begun and not ended.
    receiving: Option<Kind>,
    /// The message of ours that has begun and not ended.
    sending: Option<Kind>,
    state: CloseState,
}

/// There may be many thousand of them.
const _: () = assert!(size_of::<Connection>() <= 40);

impl Connection {
    /// A connection whose opening handshake is over and which has seen nothing since.
    pub const fn new() -> Self {
        Connection {
            decoder: Decoder::new(),
            message_len: 0,
            control: None,
            text: Utf8::new(),
            receiving: None,
            sending: None,
            state: CloseState::Open,
        }
    }

    /// How far the closing handshake has come.
    #[inline]
    pub const fn state(&self) -> CloseState {
        self.state
    }

    /// Whether a message of ours has begun and not ended.
    #[inline]
    pub const fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    /// The next thing that the peer did, from the front of `input`, which is consumed as far as it
    /// was looked at. Payload is unmasked where it lies.
    ///
    /// Replies are appended to `out`: a pong for each ping, a close frame for a close frame. They
    /// are never longer than the input they answer.
    ///
    /// `None` says that `input` is used up. A frame that goes on behind the end of `input` gives a
    /// [`Data`](Event::Data) event for what is there. Text is validated as it comes.
    ///
    /// After [`close`](Self::close) data is dropped unseen. After the peer's close frame, and after
    /// [`fail`](Self::fail), all of `input` is dropped (section 1.4: the peer "discards any further
    /// data received").
    ///
    /// # Errors
    ///
    /// The rule that the peer broke. The caller must [`fail`](Self::fail) the connection and drop
    /// the message under way. A violation is found at the first byte that shows it: bad text at
    /// the first bad byte, and a message over `message_len_max` (bytes of payload) at the frame
    /// header that says so, before any of that frame's payload.
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

    /// Appends a whole message to `out`. Does nothing unless the state is `Open`.
    ///
    /// A text message's `payload` must be UTF-8, and no fragmented message may be under way.
    #[inline]
    pub fn send(&mut self, kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
        self.send_fragment(kind, true, true, payload, out);
    }

    /// Appends a fragment of a message to `out`: the `first`, the `last`, both or neither (section
    /// 5.4). Does nothing unless the state is `Open`.
    ///
    /// All fragments of a message have the same `kind`, and no other message may come between
    /// them; control frames may. A text message must be UTF-8 when joined.
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

    /// As [`send_fragment`](Self::send_fragment), but for the payload, so many bytes, which has to
    /// follow it.
    #[inline]
    pub fn send_header(
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
            "a message must end before the next begins"
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
    pub fn ping(&mut self, out: &mut Vec<u8>) {
        if self.state == CloseState::Open {
            write_frame(true, Opcode::Ping, &[], out);
        }
    }

    /// Starts the closing handshake (section 7.1.2): appends a close frame to `out` and awaits the
    /// peer's. Of `reason` goes out what fits. Does nothing unless the state is `Open`.
    pub fn close(&mut self, code: CloseCode, reason: &str, out: &mut Vec<u8>) {
        if self.state == CloseState::Open {
            write_close(Some(code), reason, out);
            self.state = CloseState::LocalClosing;
        }
    }

    /// Fails the connection (section 7.1.7): appends a close frame that names the violation to
    /// `out`, unless one went out before. The peer's is not awaited, since what it sends can no
    /// longer be understood; the state is `Closed`.
    #[cold]
    pub fn fail(&mut self, violation: Violation, out: &mut Vec<u8>) {
        if self.state == CloseState::Open {
            write_close(Some(violation.close_code()), &violation.to_string(), out);
        }
        self.state = CloseState::Closed;
        self.control = None;
    }

    /// Checks what a frame's header says against the message under way.
    #[inline]
    fn begin_frame(&mut self, header: &Header, message_len_max: u64) -> Result<(), Violation> {
        // Section 5.4: "Control frames MAY be injected in the middle of a fragmented message."
        let before = match (header.opcode, self.receiving) {
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
        self.message_len = before.saturating_add(header.payload_len);
        // What is dropped takes no room, so it may have any length.
        if self.message_len > message_len_max && self.state == CloseState::Open {
            return Err(Violation::MessageTooBig);
        }
        Ok(())
    }

    /// Takes a chunk of the message under way, which ends with it if `last` is set.
    #[inline]
    fn data_chunk<'a>(
        &mut self,
        bytes: &'a [u8],
        last: bool,
    ) -> Result<Option<Event<'a>>, Violation> {
        // No chunk of data comes without a header that began or continued a message.
        let Some(kind) = self.receiving else {
            return Ok(None);
        };
        if last {
            self.receiving = None;
        }
        if self.state != CloseState::Open {
            return Ok(None);
        }
        // Section 8.1: bytes that are not UTF-8 where UTF-8 is due fail the connection.
        if kind == Kind::Text
            && (self.text.push(bytes).is_err() || (last && !self.text.is_complete()))
        {
            return Err(Violation::TextNotUtf8);
        }
        Ok((last || !bytes.is_empty()).then_some(Event::Data { kind, bytes, last }))
    }

    /// Takes a chunk of a control frame, which is acted upon when it is whole.
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
            // Section 5.5.2: a pong is due "unless it already received a Close frame", thus also
            // after this end sent its own. Section 5.5.3: with "identical" application data.
            Opcode::Ping => {
                write_frame(true, Opcode::Pong, &[payload], out);
                Ok(None)
            }
            Opcode::Close => {
                let code = parse_close(payload)?;
                // Section 5.5.1: an endpoint that did not send a close frame must answer with one,
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

/// The front of a control frame's payload, which is never longer than this.
#[derive(Debug)]
struct ControlPayload {
    len: u8,
    bytes: [u8; CONTROL_LEN_MAX],
}

impl ControlPayload {
    /// Adds a chunk. Those of one frame have room, as its header was held to the limit.
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

/// The code in a close frame's payload, all of which is checked (section 5.5.1).
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
                &[&code, cut_reason(reason).as_bytes()],
                out,
            );
        }
        None => write_frame(true, Opcode::Close, &[], out),
    }
}

/// Appends a frame whose payload is `parts` joined. It is not masked: section 5.1, "A server MUST
/// NOT mask any frames that it sends to the client."
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
mod tests {
    use super::super::testing::{masked, plain};
    use super::*;
    use crate::testing::{Random, for_each_seed};

    const MAX: u64 = 1 << 20;

    /// All that a stream led to, told so that it does not matter how the reads were cut.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Outcome {
        messages: Vec<(Kind, Vec<u8>)>,
        /// What was reported of a message that has not ended. A violation leaves nothing of it.
        under_way: Vec<u8>,
        pongs: usize,
        close: Option<Option<CloseCode>>,
        violation: Option<Violation>,
        replies: Vec<u8>,
    }

    /// The RFC read plainly: the whole stream at hand, and everything begun again for each frame.
    fn reference(stream: &[u8], max: u64, state: CloseState) -> Outcome {
        let mut outcome = Outcome::default();
        let mut message: Option<(Kind, Vec<u8>)> = None;
        let mut at = 0;
        while outcome.close.is_none() && outcome.violation.is_none() {
            let (header, len) = match Header::parse(&stream[at..]) {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(violation) => {
                    outcome.violation = Some(violation);
                    break;
                }
            };
            let Some(key) = header.mask else {
                outcome.violation = Some(Violation::Unmasked);
                break;
            };
            at += len;
            let len = header.payload_len.min((stream.len() - at) as u64) as usize;
            let whole = len as u64 == header.payload_len;
            let payload = stream[at..at + len].iter().enumerate();
            let payload: Vec<u8> = payload.map(|(i, byte)| byte ^ key[i % 4]).collect();
            at += len;
            outcome.violation = if header.opcode.is_control() {
                if !whole {
                    break;
                }
                reference_control(header.opcode, &payload, state, &mut outcome).err()
            } else {
                reference_data(
                    &header,
                    &payload,
                    whole,
                    max,
                    state,
                    &mut message,
                    &mut outcome,
                )
                .err()
            };
            if !whole {
                break;
            }
        }
        if let (None, Some((_, bytes)), CloseState::Open) = (outcome.violation, message, state) {
            outcome.under_way = bytes;
        }
        outcome
    }

    fn reference_control(
        opcode: Opcode,
        payload: &[u8],
        state: CloseState,
        outcome: &mut Outcome,
    ) -> Result<(), Violation> {
        if opcode == Opcode::Ping {
            outcome.replies.extend(plain(true, Opcode::Pong, payload));
        } else if opcode == Opcode::Pong {
            outcome.pongs += 1;
        } else if payload.len() == 1 {
            return Err(Violation::CloseTooShort);
        } else {
            let code = payload
                .get(..2)
                .map(|code| u16::from(code[0]) * 256 + u16::from(code[1]));
            if let Some(number) = code.filter(|&number| CloseCode::from_wire(number).is_none()) {
                return Err(Violation::CloseCodeIllegal(number));
            }
            if payload.len() > 2 && str::from_utf8(&payload[2..]).is_err() {
                return Err(Violation::CloseReasonNotUtf8);
            }
            outcome.close = Some(code.and_then(CloseCode::from_wire));
            if state == CloseState::Open {
                outcome.replies.extend(plain(
                    true,
                    Opcode::Close,
                    &payload[..payload.len().min(2)],
                ));
            }
        }
        Ok(())
    }

    fn reference_data(
        header: &Header,
        payload: &[u8],
        whole: bool,
        max: u64,
        state: CloseState,
        message: &mut Option<(Kind, Vec<u8>)>,
        outcome: &mut Outcome,
    ) -> Result<(), Violation> {
        let (kind, mut bytes) = match (header.opcode, message.take()) {
            (Opcode::Continuation, None) => return Err(Violation::UnexpectedContinuation),
            (Opcode::Continuation, Some(begun)) => begun,
            (_, Some(_)) => return Err(Violation::MessageInterrupted),
            (Opcode::Text, None) => (Kind::Text, Vec::new()),
            (_, None) => (Kind::Binary, Vec::new()),
        };
        if state == CloseState::Open
            && u128::from(header.payload_len) + bytes.len() as u128 > u128::from(max)
        {
            return Err(Violation::MessageTooBig);
        }
        bytes.extend_from_slice(payload);
        let last = whole && header.fin;
        if state == CloseState::Open && kind == Kind::Text {
            match str::from_utf8(&bytes) {
                Err(error) if last || error.error_len().is_some() => {
                    return Err(Violation::TextNotUtf8);
                }
                _ => {}
            }
        }
        if !last {
            *message = Some((kind, bytes));
        } else if state == CloseState::Open {
            outcome.messages.push((kind, bytes));
        }
        Ok(())
    }

    /// A connection that is fed, and what came of it.
    struct Run {
        connection: Connection,
        max: u64,
        outcome: Outcome,
        kind: Option<Kind>,
    }

    impl Run {
        fn new(max: u64, state: CloseState) -> Run {
            let mut connection = Connection::new();
            if state == CloseState::LocalClosing {
                connection.close(CloseCode::NORMAL, "", &mut Vec::new());
            }
            Run {
                connection,
                max,
                outcome: Outcome::default(),
                kind: None,
            }
        }

        fn feed(&mut self, piece: &[u8]) {
            if self.outcome.violation.is_some() {
                return;
            }
            let mut piece = piece.to_vec();
            let mut input = &mut piece[..];
            loop {
                let before = (input.len(), self.outcome.replies.len());
                let event =
                    self.connection
                        .next_event(&mut input, &mut self.outcome.replies, self.max);
                match event {
                    Ok(None) => break,
                    Ok(Some(event)) => self.event(event),
                    Err(violation) => {
                        self.outcome.violation = Some(violation);
                        self.outcome.under_way.clear();
                        return;
                    }
                }
                assert!(input.len() < before.0 || before.1 == self.outcome.replies.len());
            }
            assert!(input.is_empty(), "None, and input is left");
        }

        fn event(&mut self, event: Event) {
            let outcome = &mut self.outcome;
            assert_eq!(outcome.close, None, "{event:?} after the close frame");
            match event {
                Event::Pong => outcome.pongs += 1,
                Event::Close(code) => outcome.close = Some(code),
                Event::Data { kind, bytes, last } => {
                    assert!(last || !bytes.is_empty());
                    assert_eq!(*self.kind.get_or_insert(kind), kind);
                    outcome.under_way.extend_from_slice(bytes);
                    if last {
                        self.kind = None;
                        outcome
                            .messages
                            .push((kind, mem::take(&mut outcome.under_way)));
                    }
                }
            }
        }
    }

    fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, max: u64, state: CloseState) -> Outcome {
        let mut run = Run::new(max, state);
        pieces.into_iter().for_each(|piece| run.feed(piece));
        run.outcome
    }

    /// Runs `stream` whole, cut in two at every place, and byte by byte; after each byte everything
    /// must be as the reference has it for the bytes so far, so nothing is found late.
    fn check(name: &str, stream: &[u8], max: u64, state: CloseState) {
        let expected = reference(stream, max, state);
        assert_eq!(run([stream], max, state), expected, "{name}");
        for cut in 0..stream.len() {
            let (one, two) = stream.split_at(cut);
            assert_eq!(
                run([one, two], max, state),
                expected,
                "{name}, cut at {cut}"
            );
        }
        let mut dribbled = Run::new(max, state);
        for seen in 0..=stream.len() {
            let expected = reference(&stream[..seen], max, state);
            assert_eq!(
                dribbled.outcome, expected,
                "{name}, after {seen} bytes of {stream:x?}"
            );
            if let Some(byte) = stream.get(seen..=seen) {
                dribbled.feed(byte);
            }
        }
    }

    /// What one stream must lead to.
    struct Case {
        name: &'static str,
        stream: Vec<u8>,
        expected: Outcome,
    }

    fn case(name: &'static str, frames: &[Vec<u8>], expected: Outcome) -> Case {
        Case {
            name,
            stream: frames.concat(),
            expected,
        }
    }

    fn check_cases(cases: Vec<Case>, max: u64, state: CloseState) {
        for Case {
            name,
            stream,
            expected,
        } in cases
        {
            assert_eq!(
                reference(&stream, max, state),
                expected,
                "{name}, by the reference"
            );
            check(name, &stream, max, state);
        }
    }

    fn texts(messages: &[&str]) -> Outcome {
        let messages = messages
            .iter()
            .map(|text| (Kind::Text, text.as_bytes().to_vec()))
            .collect();
        Outcome {
            messages,
            ..Outcome::default()
        }
    }

    fn fails(violation: Violation) -> Outcome {
        Outcome {
            violation: Some(violation),
            ..Outcome::default()
        }
    }

    fn text(payload: &str) -> Vec<u8> {
        masked(true, Opcode::Text, payload.as_bytes())
    }

    fn fragment(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        masked(false, opcode, payload)
    }

    fn end(payload: &[u8]) -> Vec<u8> {
        masked(true, Opcode::Continuation, payload)
    }

    fn close_frame(code: u16, reason: &[u8]) -> Vec<u8> {
        masked(true, Opcode::Close, &[&code.to_be_bytes(), reason].concat())
    }

    /// Sections 5.4 and 5.6.
    #[test]
    fn messages_and_fragments() {
        use Opcode::{Binary, Continuation, Ping, Pong, Text};
        let binary = |bytes: &[u8]| Outcome {
            messages: vec![(Kind::Binary, bytes.to_vec())],
            ..Outcome::default()
        };
        let cases = vec![
            case("nothing", &[], Outcome::default()),
            case("text", &[text("Hello")], texts(&["Hello"])),
            case("an empty message", &[text("")], texts(&[""])),
            case(
                "two messages",
                &[text("one"), text("two")],
                texts(&["one", "two"]),
            ),
            case(
                "binary, not UTF-8",
                &[masked(true, Binary, b"\xff\0\x80")],
                binary(b"\xff\0\x80"),
            ),
            case(
                "126 bytes",
                &[text(&"x".repeat(126))],
                texts(&[&"x".repeat(126)]),
            ),
            case(
                "two fragments",
                &[fragment(Text, b"Hel"), end(b"lo")],
                texts(&["Hello"]),
            ),
            case(
                "fragments of a binary message",
                &[
                    fragment(Binary, b"\x01"),
                    fragment(Continuation, b"\xff"),
                    end(b"\x02"),
                ],
                binary(b"\x01\xff\x02"),
            ),
            case(
                "empty fragments",
                &[
                    fragment(Text, b""),
                    fragment(Continuation, b"x"),
                    fragment(Continuation, b""),
                    end(b""),
                ],
                texts(&["x"]),
            ),
            case(
                "nothing but empty fragments",
                &[fragment(Text, b""), end(b"")],
                texts(&[""]),
            ),
            case(
                "a message after a fragmented one",
                &[fragment(Text, b"a"), end(b"b"), text("c")],
                texts(&["ab", "c"]),
            ),
            case(
                "control frames between fragments",
                &[
                    fragment(Text, b"a"),
                    masked(true, Ping, b"p"),
                    masked(true, Pong, b""),
                    end(b"b"),
                ],
                Outcome {
                    pongs: 1,
                    replies: plain(true, Pong, b"p"),
                    ..texts(&["ab"])
                },
            ),
            case(
                "a message that has not ended",
                &[text("a"), fragment(Text, b"b")],
                Outcome {
                    under_way: b"b".to_vec(),
                    ..texts(&["a"])
                },
            ),
            case(
                "a continuation of nothing",
                &[end(b"x")],
                fails(Violation::UnexpectedContinuation),
            ),
            case(
                "a continuation after the end",
                &[
                    fragment(Text, b"a"),
                    end(b"b"),
                    fragment(Continuation, b"c"),
                ],
                Outcome {
                    violation: Some(Violation::UnexpectedContinuation),
                    ..texts(&["ab"])
                },
            ),
            case(
                "a continuation of a control frame",
                &[masked(true, Pong, b"a"), end(b"b")],
                Outcome {
                    pongs: 1,
                    ..fails(Violation::UnexpectedContinuation)
                },
            ),
            case(
                "text within text",
                &[fragment(Text, b"a"), text("b")],
                fails(Violation::MessageInterrupted),
            ),
            case(
                "binary within text",
                &[fragment(Text, b"a"), masked(true, Binary, b"b")],
                fails(Violation::MessageInterrupted),
            ),
            case(
                "an unmasked frame",
                &[text("a"), plain(true, Text, b"b")],
                Outcome {
                    violation: Some(Violation::Unmasked),
                    ..texts(&["a"])
                },
            ),
            case(
                "a reserved bit",
                &[text("a"), vec![0xc1]],
                Outcome {
                    violation: Some(Violation::ReservedBits),
                    ..texts(&["a"])
                },
            ),
        ];
        check_cases(cases, MAX, CloseState::Open);
    }

    /// Section 8.1: where text stops being UTF-8.
    #[test]
    fn text_that_is_not_utf8() {
        use Opcode::{Continuation, Ping, Pong, Text};
        let bad = |bytes: &[u8]| masked(true, Text, bytes);
        let pinged = Outcome {
            replies: plain(true, Pong, b""),
            ..texts(&["€"])
        };
        let cases = vec![
            case(
                "a bad byte",
                &[bad(b"ab\xffcd")],
                fails(Violation::TextNotUtf8),
            ),
            case(
                "a surrogate",
                &[bad(b"\xed\xa0\x80")],
                fails(Violation::TextNotUtf8),
            ),
            case(
                "a character that does not end",
                &[bad(b"\xe2\x82")],
                fails(Violation::TextNotUtf8),
            ),
            case(
                "a character over two fragments",
                &[fragment(Text, b"\xe2\x82"), end(b"\xac")],
                texts(&["€"]),
            ),
            case(
                "a character over three, with a ping",
                &[
                    fragment(Text, b"\xe2"),
                    fragment(Continuation, b"\x82"),
                    masked(true, Ping, b""),
                    end(b"\xac"),
                ],
                pinged,
            ),
            case(
                "a character that a fragment does not go on with",
                &[fragment(Text, b"\xe2\x82"), fragment(Continuation, b"x")],
                fails(Violation::TextNotUtf8),
            ),
            case(
                "a character that the last fragment leaves open",
                &[fragment(Text, b"a"), end(b"\xf0\x9f\x98")],
                fails(Violation::TextNotUtf8),
            ),
            case(
                "an open character at an empty end",
                &[fragment(Text, b"\xc3"), end(b"")],
                fails(Violation::TextNotUtf8),
            ),
            case(
                "a frame that has not ended",
                &[fragment(Text, b"\xff and much more")[..7].to_vec()],
                fails(Violation::TextNotUtf8),
            ),
            case(
                "an open character is not carried into the next message",
                &[text("é"), bad(b"\xa9")],
                Outcome {
                    violation: Some(Violation::TextNotUtf8),
                    ..texts(&["é"])
                },
            ),
        ];
        check_cases(cases, MAX, CloseState::Open);
    }

    /// Section 5.5.
    #[test]
    fn control_frames() {
        use Opcode::{Ping, Pong};
        let long = [b'p'; 125];
        let replies = |replies: &[Vec<u8>]| Outcome {
            replies: replies.concat(),
            ..Outcome::default()
        };
        let cases = vec![
            case(
                "an empty ping",
                &[masked(true, Ping, b"")],
                replies(&[plain(true, Pong, b"")]),
            ),
            case(
                "a ping of 125 bytes",
                &[masked(true, Ping, &long)],
                replies(&[plain(true, Pong, &long)]),
            ),
            case(
                "three pings",
                &[
                    masked(true, Ping, b"1"),
                    masked(true, Ping, b"22"),
                    masked(true, Ping, b"333"),
                ],
                replies(&[
                    plain(true, Pong, b"1"),
                    plain(true, Pong, b"22"),
                    plain(true, Pong, b"333"),
                ]),
            ),
            case(
                "pongs",
                &[masked(true, Pong, b""), masked(true, Pong, &long)],
                Outcome {
                    pongs: 2,
                    ..Outcome::default()
                },
            ),
            case(
                "a ping that has not ended",
                &[masked(true, Ping, b"12345")[..9].to_vec()],
                Outcome::default(),
            ),
            case(
                "a ping of 126 bytes",
                &[masked(true, Ping, &[0; 126])],
                fails(Violation::ControlTooLong),
            ),
            case(
                "a fragmented ping",
                &[masked(false, Ping, b"")],
                fails(Violation::ControlFragmented),
            ),
        ];
        check_cases(cases, MAX, CloseState::Open);
    }

    /// Sections 5.5.1 and 7.4, with what the peer reads in answer.
    #[test]
    fn close_frames() {
        let closed = |code: Option<u16>, before: Outcome| {
            let reply = code.map_or(vec![], |code| code.to_be_bytes().to_vec());
            let code = code.and_then(CloseCode::from_wire);
            Outcome {
                close: Some(code),
                replies: plain(true, Opcode::Close, &reply),
                ..before
            }
        };
        let empty = masked(true, Opcode::Close, b"");
        let mut cases = vec![
            case(
                "no code",
                std::slice::from_ref(&empty),
                closed(None, Outcome::default()),
            ),
            case(
                "half a code",
                &[masked(true, Opcode::Close, &[3])],
                fails(Violation::CloseTooShort),
            ),
            case(
                "a reason",
                &[close_frame(1001, "à bientôt".as_bytes())],
                closed(Some(1001), Outcome::default()),
            ),
            case(
                "the longest reason",
                &[close_frame(1000, &[b'r'; 123])],
                closed(Some(1000), Outcome::default()),
            ),
            case(
                "a reason too long",
                &[close_frame(1000, &[b'r'; 124])],
                fails(Violation::ControlTooLong),
            ),
            case(
                "a bad reason",
                &[close_frame(1000, b"\xc3(")],
                fails(Violation::CloseReasonNotUtf8),
            ),
            case(
                "half a character",
                &[close_frame(1000, b"\xc3")],
                fails(Violation::CloseReasonNotUtf8),
            ),
            case(
                "after a message",
                &[text("a"), close_frame(1000, b"")],
                closed(Some(1000), texts(&["a"])),
            ),
            case(
                "what comes after is dropped",
                &[empty.clone(), text("a"), vec![0xff; 40]],
                closed(None, texts(&[])),
            ),
            case(
                "two",
                &[empty.clone(), empty],
                closed(None, Outcome::default()),
            ),
            case(
                "within a message",
                &[fragment(Opcode::Text, b"a"), close_frame(1000, b"")],
                Outcome {
                    under_way: b"a".to_vec(),
                    ..closed(Some(1000), Outcome::default())
                },
            ),
        ];
        for code in [
            1000, 1001, 1002, 1003, 1007, 1008, 1011, 1014, 3000, 3999, 4000, 4999,
        ] {
            cases.push(case(
                "a legal code",
                &[close_frame(code, b"")],
                closed(Some(code), Outcome::default()),
            ));
        }
        for code in [
            0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
        ] {
            let expected = fails(Violation::CloseCodeIllegal(code));
            cases.push(case(
                "an illegal code",
                &[close_frame(code, b"bye")],
                expected,
            ));
        }
        check_cases(cases, MAX, CloseState::Open);
    }

    /// After our close frame: data is dropped whatever it is, pings are answered, framing still
    /// counts, and the peer's close frame ends it without another of ours.
    #[test]
    fn while_the_peers_close_frame_is_awaited() {
        use Opcode::{Continuation, Ping, Pong, Text};
        let closed = |code| Outcome {
            close: Some(CloseCode::from_wire(code)),
            ..Outcome::default()
        };
        let done = close_frame(1000, b"");
        let cases = vec![
            case("its answer", std::slice::from_ref(&done), closed(1000)),
            case("another code", &[close_frame(4001, b"why")], closed(4001)),
            case(
                "messages before it",
                &[text("a"), masked(true, Opcode::Binary, b"b"), done.clone()],
                closed(1000),
            ),
            case(
                "text that is not UTF-8",
                &[masked(true, Text, b"\xff"), done.clone()],
                closed(1000),
            ),
            case(
                "a message too big",
                &[text(&"x".repeat(50)), done.clone()],
                closed(1000),
            ),
            case(
                "half of a huge frame",
                &[[&[0x82, 0xff, 0x7f][..], &[255; 40]].concat()],
                Outcome::default(),
            ),
            case(
                "fragments",
                &[
                    fragment(Text, b"a"),
                    fragment(Continuation, b"b"),
                    done.clone(),
                ],
                closed(1000),
            ),
            case(
                "a ping",
                &[masked(true, Ping, b"?"), done.clone()],
                Outcome {
                    replies: plain(true, Pong, b"?"),
                    ..closed(1000)
                },
            ),
            case(
                "a pong",
                &[masked(true, Pong, b""), done],
                Outcome {
                    pongs: 1,
                    ..closed(1000)
                },
            ),
            case(
                "a frame out of order",
                &[end(b"")],
                fails(Violation::UnexpectedContinuation),
            ),
            case(
                "an unmasked frame",
                &[plain(true, Text, b"")],
                fails(Violation::Unmasked),
            ),
            case(
                "an illegal code",
                &[close_frame(1005, b"")],
                fails(Violation::CloseCodeIllegal(1005)),
            ),
        ];
        check_cases(cases, 20, CloseState::LocalClosing);
    }

    /// Section 10.4: the limit holds for a frame and for the sum, at the header.
    #[test]
    fn messages_too_big() {
        use Opcode::{Continuation, Ping, Pong, Text};
        let too_big = || fails(Violation::MessageTooBig);
        let cases = vec![
            case(
                "the longest message",
                &[text("12345678")],
                texts(&["12345678"]),
            ),
            case(
                "one byte more, its header",
                &[text("123456789")[..6].to_vec()],
                too_big(),
            ),
            case(
                "the longest in fragments",
                &[fragment(Text, b"1234"), end(b"5678")],
                texts(&["12345678"]),
            ),
            case(
                "one byte more in fragments",
                &[
                    fragment(Text, b"1234"),
                    fragment(Continuation, b"5678"),
                    end(b"9")[..6].to_vec(),
                ],
                too_big(),
            ),
            case(
                "an empty one more",
                &[fragment(Text, b"12345678"), end(b"")],
                texts(&["12345678"]),
            ),
            case(
                "each message counts for itself",
                &[text("12345678"), text("12345678")],
                texts(&["12345678", "12345678"]),
            ),
            case(
                "control frames do not count",
                &[
                    fragment(Text, b"1234"),
                    masked(true, Ping, &[0; 99]),
                    end(b"5678"),
                ],
                Outcome {
                    replies: plain(true, Pong, &[0; 99]),
                    ..texts(&["12345678"])
                },
            ),
            case(
                "2^63 - 1 bytes",
                &[[&[0x82, 0xff, 0x7f][..], &[255; 7], b"keys"].concat()],
                too_big(),
            ),
            case(
                "a 16-bit length is believed before the key is there, and not a byte later",
                &[[&[0x82, 0xfe, 1, 0][..], b"keys"].concat()],
                too_big(),
            ),
        ];
        check_cases(cases, 8, CloseState::Open);
    }

    #[test]
    fn limits_at_both_ends_of_the_range() {
        check(
            "no byte is too many",
            &[text(""), text("x")].concat(),
            0,
            CloseState::Open,
        );
        // Two frames of 2^63 - 1 bytes, and the sum stays below u64::MAX; it must not wrap.
        let huge = [&[0x02, 0xff, 0x7f][..], &[255; 7], b"keys", b"some payload"].concat();
        check("no message is too big", &huge, u64::MAX, CloseState::Open);
        let mut connection = Connection::new();
        connection.receiving = Some(Kind::Binary);
        connection.message_len = u64::MAX - 1;
        let mut bytes = end(b"four");
        let event = connection.next_event(&mut &mut bytes[..], &mut Vec::new(), u64::MAX - 1);
        assert_eq!(event, Err(Violation::MessageTooBig));
    }

    #[test]
    fn the_chunks_of_one_frame() {
        let mut stream = text("Hello, world");
        let (one, two) = stream.split_at_mut(11);
        let (mut connection, mut out) = (Connection::new(), Vec::new());
        let mut input = &mut one[..];
        let event = connection.next_event(&mut input, &mut out, MAX);
        assert_eq!(
            event,
            Ok(Some(Event::Data {
                kind: Kind::Text,
                bytes: b"Hello",
                last: false
            }))
        );
        assert_eq!(connection.next_event(&mut input, &mut out, MAX), Ok(None));
        let mut input = &mut two[..];
        let event = connection.next_event(&mut input, &mut out, MAX);
        assert_eq!(
            event,
            Ok(Some(Event::Data {
                kind: Kind::Text,
                bytes: b", world",
                last: true
            }))
        );
        assert_eq!(connection.next_event(&mut input, &mut out, MAX), Ok(None));
        assert_eq!(out.capacity(), 0);
    }

    #[test]
    fn a_cut_ping_leaves_no_buffer_behind() {
        let mut stream = masked(true, Opcode::Ping, b"12345");
        let (one, two) = stream.split_at_mut(8);
        let (mut connection, mut out) = (Connection::new(), Vec::new());
        assert_eq!(
            connection.next_event(&mut &mut one[..], &mut out, MAX),
            Ok(None)
        );
        assert!(connection.control.is_some() && out.is_empty());
        assert_eq!(
            connection.next_event(&mut &mut two[..], &mut out, MAX),
            Ok(None)
        );
        assert!(connection.control.is_none());
        assert_eq!(out, plain(true, Opcode::Pong, b"12345"));
    }

    #[test]
    fn sending() {
        let (mut connection, mut out) = (Connection::new(), Vec::new());
        connection.send(Kind::Text, b"Hello", &mut out);
        connection.send(Kind::Binary, &[7; 300], &mut out);
        connection.send(Kind::Binary, b"", &mut out);
        connection.send_fragment(Kind::Text, true, false, b"a", &mut out);
        connection.ping(&mut out);
        connection.send_fragment(Kind::Text, false, false, b"b", &mut out);
        connection.send_fragment(Kind::Text, false, true, b"c", &mut out);
        connection.send_fragment(Kind::Binary, true, true, b"d", &mut out);
        let expected = [
            plain(true, Opcode::Text, b"Hello"),
            plain(true, Opcode::Binary, &[7; 300]),
            plain(true, Opcode::Binary, b""),
            plain(false, Opcode::Text, b"a"),
            plain(true, Opcode::Ping, b""),
            plain(false, Opcode::Continuation, b"b"),
            plain(true, Opcode::Continuation, b"c"),
            plain(true, Opcode::Binary, b"d"),
        ];
        assert_eq!(out, expected.concat());
    }

    #[test]
    fn nothing_is_sent_after_a_close_frame() {
        let ways: [fn(&mut Connection, &mut Vec<u8>); 3] = [
            |connection, out| connection.close(CloseCode::NORMAL, "exit 0", out),
            |connection, out| connection.fail(Violation::TextNotUtf8, out),
            |connection, out| {
                let mut stream = close_frame(1000, b"");
                assert!(
                    connection
                        .next_event(&mut &mut stream[..], out, MAX)
                        .is_ok()
                );
            },
        ];
        for way in ways {
            let (mut connection, mut out) = (Connection::new(), Vec::new());
            connection.send_fragment(Kind::Text, true, false, b"a", &mut out);
            way(&mut connection, &mut out);
            let len = out.len();
            connection.send_fragment(Kind::Text, false, true, b"b", &mut out);
            connection.send(Kind::Text, b"c", &mut out);
            connection.ping(&mut out);
            connection.close(CloseCode::GOING_AWAY, "", &mut out);
            connection.fail(Violation::MessageTooBig, &mut out);
            assert_eq!(out.len(), len);
            assert_eq!(connection.state(), CloseState::Closed);
        }
    }

    #[test]
    fn the_closing_handshake_from_this_end() {
        let (mut connection, mut out) = (Connection::new(), Vec::new());
        connection.close(CloseCode::exit(3), "exit 3", &mut out);
        assert_eq!(out, plain(true, Opcode::Close, b"\x0f\xa3exit 3"));
        assert_eq!(connection.state(), CloseState::LocalClosing);
        let mut stream = close_frame(4003, b"");
        let event = connection.next_event(&mut &mut stream[..], &mut out, MAX);
        assert_eq!(event, Ok(Some(Event::Close(Some(CloseCode::exit(3))))));
        assert_eq!(connection.state(), CloseState::Closed);
        assert_eq!(out.len(), 10);
    }

    #[test]
    fn a_long_reason_is_cut() {
        let mut out = Vec::new();
        Connection::new().close(CloseCode::NORMAL, &"é".repeat(100), &mut out);
        let expected = [&[3, 232], "é".repeat(61).as_bytes()].concat();
        assert_eq!(out, plain(true, Opcode::Close, &expected));
    }

    #[test]
    fn failing() {
        let (mut connection, mut out) = (Connection::new(), Vec::new());
        connection.fail(Violation::MessageTooBig, &mut out);
        assert_eq!(
            out,
            plain(true, Opcode::Close, b"\x03\xf1a message is too big")
        );
        assert_eq!(connection.state(), CloseState::Closed);
        let mut stream = [text("dropped"), masked(true, Opcode::Ping, b"")].concat();
        let mut input = &mut stream[..];
        assert_eq!(connection.next_event(&mut input, &mut out, MAX), Ok(None));
        assert!(input.is_empty());
        assert_eq!(out.len(), 24);
    }

    /// Frames in an order that is mostly right, so that streams come far.
    fn random_stream(random: &mut Random) -> Vec<u8> {
        let mut stream = Vec::new();
        let mut in_message = false;
        for _ in 0..random.below(8) {
            let data = if in_message {
                Opcode::Continuation
            } else {
                random.pick(&[Opcode::Text, Opcode::Binary])
            };
            let opcode = match random.below(16) {
                0..=9 => data,
                10 | 11 => Opcode::Ping,
                12 | 13 => Opcode::Pong,
                14 => Opcode::Close,
                _ => random.pick(&[Opcode::Continuation, Opcode::Text, Opcode::Binary]),
            };
            let fin = opcode.is_control() || random.one_in(2);
            in_message = if opcode.is_control() {
                in_message
            } else {
                !fin
            };
            let payload = random_payload(opcode, random);
            stream.extend(masked(fin, opcode, &payload));
        }
        for _ in 0..random.pick(&[0, 0, 0, 1, 3]) {
            if !stream.is_empty() {
                let at = random.below(stream.len());
                stream[at] = random.next() as u8;
            }
        }
        stream
    }

    fn random_payload(opcode: Opcode, random: &mut Random) -> Vec<u8> {
        let len = random.pick(&[0, 1, 2, 5, 8, 30, 90]);
        if opcode == Opcode::Binary || random.one_in(12) {
            return random.bytes(len);
        }
        let mut payload = Vec::new();
        if opcode == Opcode::Close && !random.one_in(4) {
            payload.extend(
                random
                    .pick(&[1000u16, 1001, 1005, 3000, 4999, 5000])
                    .to_be_bytes(),
            );
        }
        let alphabet = ['a', 'b', '\n', 'é', '€', '😀'];
        let text: String = (0..len / 4).map(|_| random.pick(&alphabet)).collect();
        payload.extend(text.as_bytes());
        payload
    }

    #[test]
    fn random_streams_in_random_pieces() {
        for_each_seed(4000, |random| {
            let stream = random_stream(random);
            let max = random.pick(&[0, 20, 60, 100, MAX]);
            let state =
                random.pick(&[CloseState::Open, CloseState::Open, CloseState::LocalClosing]);
            let expected = reference(&stream, max, state);
            for _ in 0..4 {
                assert_eq!(
                    run(random.cut(&stream), max, state),
                    expected,
                    "{stream:x?}"
                );
            }
            if random.one_in(10) {
                check("a random stream", &stream, max, state);
            }
        });
    }

    #[test]
    fn any_bytes_in_any_state_never_panic() {
        for_each_seed(2000, |random| {
            let (mut connection, mut out) = (Connection::new(), Vec::new());
            for _ in 0..20 {
                let len = random.below(40);
                let mut bytes = random.bytes(len);
                // Half of the time something that passes for the start of a frame.
                if len > 2 && random.one_in(2) {
                    bytes[0] = random.pick(&[0x01, 0x02, 0x00, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8a]);
                    bytes[1] |= 0x80;
                }
                let mut input = &mut bytes[..];
                while let Ok(Some(_)) = connection.next_event(&mut input, &mut out, 1 << 40) {}
                match random.below(40) {
                    0 => connection.close(CloseCode::NORMAL, "", &mut out),
                    1 => connection.fail(Violation::TextNotUtf8, &mut out),
                    2..=9 => connection.ping(&mut out),
                    _ => connection.send(Kind::Binary, b"x", &mut out),
                }
            }
        });
    }
}
