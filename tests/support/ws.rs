//! A blocking WebSocket client that checks everything the server sends.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Request, Response, Wire};

pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;
/// The bit of a frame's first byte that marks the last frame of a message.
pub const FIN: u8 = 0x80;

/// A masked frame. `first` is its first byte: FIN, the RSV bits and the opcode.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header_claiming(first, payload.len() as u64);
    let key: [u8; 4] = frame[frame.len() - 4..].try_into().expect("four bytes");
    frame.extend(
        payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(it, key)| it ^ key),
    );
    frame
}

/// The header of a masked frame that claims `len` bytes of payload, minimally encoded.
pub fn header_claiming(first: u8, len: u64) -> Vec<u8> {
    let mut header = vec![first];
    match len {
        0..=125 => header.push(0x80 | len as u8),
        126..=0xFFFF => {
            header.push(0x80 | 126);
            header.extend((len as u16).to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend(len.to_be_bytes());
        }
    }
    // A different key for every frame, so that the use of an old key is noticed.
    static NEXT: AtomicU32 = AtomicU32::new(0x1234_5678);
    let key = NEXT.fetch_add(0x9E37_79B9, Ordering::Relaxed);
    header.extend(key.to_be_bytes());
    header
}

/// The payload of a close frame.
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(reason.as_bytes());
    payload
}

/// A frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub fin: bool,
    pub opcode: u8,
    pub payload: Vec<u8>,
}

/// A message or close frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    Text(String),
    Binary(Vec<u8>),
    /// Code and reason; `None` for a close frame without a payload.
    Close(Option<(u16, String)>),
}

/// A client after its opening handshake.
pub struct Client {
    pub wire: Wire,
    /// The server's 101.
    pub response: Response,
    /// The payloads of the pings that arrived while a message was awaited.
    pub pings: Vec<Vec<u8>>,
    /// The payloads of such pongs.
    pub pongs: Vec<Vec<u8>>,
    /// The number of frames of the last message.
    pub fragments: usize,
}

impl Client {
    /// Opens a WebSocket at `target`. Panics unless the handshake succeeds.
    #[track_caller]
    pub fn open(address: SocketAddr, target: &str) -> Client {
        let mut wire = Wire::connect(address);
        wire.send(&Request::upgrade(address, target).to_bytes());
        Client::accepted(wire)
    }

    /// Reads the response to the handshake that was sent on `wire`. Panics unless it is a 101.
    #[track_caller]
    pub fn accepted(mut wire: Wire) -> Client {
        let response = Response::read(&mut wire, false);
        assert_eq!(response.status, 101, "{}", response.text());
        Client::new(wire, response)
    }

    pub fn new(wire: Wire, response: Response) -> Client {
        Client {
            wire,
            response,
            pings: Vec::new(),
            pongs: Vec::new(),
            fragments: 0,
        }
    }

    #[track_caller]
    pub fn send(&mut self, first: u8, payload: &[u8]) {
        self.wire.send(&masked(first, payload));
    }

    #[track_caller]
    pub fn send_text(&mut self, text: &str) {
        self.send(FIN | TEXT, text.as_bytes());
    }

    #[track_caller]
    pub fn send_binary(&mut self, bytes: &[u8]) {
        self.send(FIN | BINARY, bytes);
    }

    #[track_caller]
    pub fn send_close(&mut self, code: u16, reason: &str) {
        self.send(FIN | CLOSE, &close_payload(code, reason));
    }

    /// The next frame. Checks every rule of RFC 6455 section 5 for a server's frame.
    #[track_caller]
    pub fn frame(&mut self) -> Frame {
        let start = self.wire.peek(2);
        let (first, second) = (start[0], start[1]);
        assert_eq!(first & 0x70, 0, "an RSV bit is set (5.2): {first:#04x}");
        assert_eq!(second & 0x80, 0, "a server's frame is masked (5.1)");
        let (fin, opcode) = (first & FIN != 0, first & 0x0F);
        let (header_len, payload_len) = match second {
            126 => {
                let len = u16::from_be_bytes(self.wire.peek(4)[2..].try_into().expect("2 bytes"));
                assert!(len >= 126, "{len} bytes are not minimally encoded (5.2)");
                (4, usize::from(len))
            }
            127 => {
                let len = u64::from_be_bytes(self.wire.peek(10)[2..].try_into().expect("8 bytes"));
                assert!(len > 0xFFFF, "{len} bytes are not minimally encoded (5.2)");
                (10, usize::try_from(len).expect("a frame that fits memory"))
            }
            len => (2, usize::from(len)),
        };
        match opcode {
            CONTINUATION | TEXT | BINARY => {}
            CLOSE | PING | PONG => {
                assert!(fin, "a control frame is fragmented (5.5)");
                assert!(payload_len <= 125, "a control frame of {payload_len} (5.5)");
            }
            _ => panic!("reserved opcode {opcode} (5.2)"),
        }
        self.wire.take(header_len);
        Frame {
            fin,
            opcode,
            payload: self.wire.take(payload_len),
        }
    }

    /// The next message, assembled from its fragments. Answers pings that arrive before it.
    #[track_caller]
    pub fn message(&mut self) -> Message {
        let mut kind = None;
        let mut payload = Vec::new();
        self.fragments = 0;
        loop {
            let frame = self.frame();
            match (frame.opcode, kind) {
                (PING, _) => {
                    // The server may have closed already, but its last bytes are still to be read.
                    self.wire.try_send(&masked(FIN | PONG, &frame.payload));
                    self.pings.push(frame.payload);
                    continue;
                }
                (PONG, _) => {
                    self.pongs.push(frame.payload);
                    continue;
                }
                (CLOSE, _) => return Message::Close(parse_close(&frame.payload)),
                (CONTINUATION, None) => panic!("a continuation of nothing (5.4)"),
                (TEXT | BINARY, Some(_)) => panic!("a message inside a message (5.4)"),
                (CONTINUATION, Some(_)) => {}
                (opcode, None) => kind = Some(opcode),
                (opcode, _) => unreachable!("opcode {opcode} was checked"),
            }
            self.fragments += 1;
            payload.extend(frame.payload);
            if frame.fin {
                return match kind {
                    Some(TEXT) => {
                        Message::Text(String::from_utf8(payload).expect("text is UTF-8 (5.6)"))
                    }
                    _ => Message::Binary(payload),
                };
            }
        }
    }

    #[track_caller]
    pub fn text(&mut self) -> String {
        match self.message() {
            Message::Text(text) => text,
            other => panic!("{other:?} in place of a text message"),
        }
    }

    #[track_caller]
    pub fn binary(&mut self) -> Vec<u8> {
        match self.message() {
            Message::Binary(bytes) => bytes,
            other => panic!("{other:?} in place of a binary message"),
        }
    }

    /// Code and reason of the close frame that must come next.
    #[track_caller]
    pub fn close(&mut self) -> (u16, String) {
        match self.message() {
            Message::Close(Some(close)) => close,
            other => panic!("{other:?} in place of a close with a code"),
        }
    }

    /// Asserts that the server closes with `code`: a close frame comes next, then EOF, although
    /// this side has not closed (RFC 6455 7.1.1). Returns the reason.
    #[track_caller]
    pub fn expect_close(&mut self, case: &str, code: u16) -> String {
        let (got, reason) = self.close();
        assert_eq!(got, code, "{case}: closed with {got} {reason:?}");
        // After a protocol error the server does not wait for this answer, so the send may fail.
        self.wire
            .try_send(&masked(FIN | CLOSE, &close_payload(code, "")));
        self.wire.expect_eof();
        reason
    }

    /// The texts before the server's close frame, and its code and reason. Answers the close.
    #[track_caller]
    pub fn texts_to_close(&mut self) -> (Vec<String>, (u16, String)) {
        let mut texts = Vec::new();
        loop {
            match self.message() {
                Message::Text(text) => texts.push(text),
                Message::Close(Some(close)) => {
                    self.send_close(close.0, "");
                    self.wire.expect_eof();
                    return (texts, close);
                }
                other => panic!("{other:?} after {} texts", texts.len()),
            }
        }
    }

    /// Sends `text` and expects it back, as from the echo or from `cat`.
    #[track_caller]
    pub fn round_trip(&mut self, text: &str) {
        self.send_text(text);
        assert_eq!(self.text(), text);
    }

    /// Closes from this side (RFC 6455 7.1.2). Skips data that is still in flight.
    #[track_caller]
    pub fn leave(mut self) {
        self.send_close(1000, "");
        loop {
            if let Message::Close(close) = self.message() {
                assert_eq!(close, Some((1000, String::new())));
                break;
            }
        }
        self.wire.expect_eof();
    }
}

#[track_caller]
fn parse_close(payload: &[u8]) -> Option<(u16, String)> {
    if payload.is_empty() {
        return None;
    }
    assert!(payload.len() >= 2, "a close frame with half a code (5.5.1)");
    let code = u16::from_be_bytes([payload[0], payload[1]]);
    let reason = String::from_utf8(payload[2..].to_vec()).expect("a reason in UTF-8 (5.5.1)");
    Some((code, reason))
}
