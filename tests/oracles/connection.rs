//! The frame decoder and the connection state machine, fed in pieces, against a reference that
//! parses the whole stream at once.

use wspipe::ws::close::CloseCode;
use wspipe::ws::connection::{CloseState, Connection, Event};
use wspipe::ws::frame::Kind;

/// The outcome of the peer's bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// The complete messages, and whether each is text.
    messages: Vec<(bool, Vec<u8>)>,
    /// The part of an unfinished message that was delivered.
    unfinished: Vec<u8>,
    pongs: usize,
    /// The bytes that were sent back, except for the final Close.
    replies: Vec<u8>,
    end: Option<End>,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The peer closed, with this code.
    Closed(Option<u16>),
    /// The peer violated the protocol; our close code.
    Failed(u16),
}

/// Knobs: the pieces; the longest message; whether our Close was sent first. Stream: frames.
pub fn check(data: &[u8]) {
    let [knob, max_knob, closing, stream @ ..] = data else {
        return;
    };
    let max = match max_knob {
        0 => u64::MAX,
        knob => u64::from(*knob) * 8,
    };
    let closing = closing % 4 == 3;
    let mut run = Run::new(max, closing);
    let mut seen = 0;
    for piece in super::pieces(stream, *knob) {
        run.feed(piece);
        seen += piece.len();
        // In a short stream compare after each piece, so that nothing is found late. In a long one
        // compare at the end.
        if stream.len() < 200 || seen == stream.len() {
            let expected = reference(&stream[..seen], max, closing);
            assert_eq!(run.outcome, expected, "after {seen} bytes");
        }
    }
}

/// A connection under test and its outcome.
struct Run {
    connection: Connection,
    max: u64,
    outcome: Outcome,
}

impl Run {
    fn new(max: u64, closing: bool) -> Run {
        let mut connection = Connection::new();
        if closing {
            connection.close(CloseCode::NORMAL, "", &mut Vec::new());
        }
        Run {
            connection,
            max,
            outcome: Outcome::default(),
        }
    }

    fn feed(&mut self, piece: &[u8]) {
        let mut piece = piece.to_vec();
        let mut input = &mut piece[..];
        loop {
            let was_open = self.connection.state() == CloseState::Open;
            let mut replies = Vec::new();
            let event = (self.connection).next_event(&mut input, &mut replies, self.max);
            match event {
                Ok(None) => {
                    self.outcome.replies.extend(replies);
                    break;
                }
                Ok(Some(Event::Pong)) => self.outcome.pongs += 1,
                Ok(Some(Event::Data { kind, bytes, last })) => {
                    self.outcome.unfinished.extend_from_slice(bytes);
                    if last {
                        let message = std::mem::take(&mut self.outcome.unfinished);
                        (self.outcome.messages).push((kind == Kind::Text, message));
                    }
                }
                Ok(Some(Event::Close(code))) => {
                    let code = code.map(CloseCode::get);
                    replies = without_close(replies, code, was_open);
                    self.outcome.end = Some(End::Closed(code));
                    self.outcome.unfinished.clear();
                }
                Err(violation) => {
                    let code = violation.close_code().get();
                    let mut close = Vec::new();
                    self.connection.fail(violation, &mut close);
                    assert_eq!(!close.is_empty(), was_open, "exactly one Close is sent");
                    assert!(!was_open || close[0] == 0x88 && close[2..4] == code.to_be_bytes());
                    assert_eq!(self.connection.state(), CloseState::Closed);
                    self.outcome.end = Some(End::Failed(code));
                    self.outcome.unfinished.clear();
                }
            }
            self.outcome.replies.extend(replies);
        }
        assert!(input.is_empty(), "input is left over");
    }
}

/// The replies without the Close that answers the peer's. That Close must be there unless we had
/// closed before.
fn without_close(mut replies: Vec<u8>, code: Option<u16>, was_open: bool) -> Vec<u8> {
    if was_open {
        let payload = code.map_or(Vec::new(), |code| code.to_be_bytes().to_vec());
        let close = [&[0x88, payload.len() as u8], &payload[..]].concat();
        assert!(replies.ends_with(&close), "{replies:x?}");
        replies.truncate(replies.len() - close.len());
    }
    replies
}

/// The outcome that the whole `stream` must have.
fn reference(stream: &[u8], max: u64, closing: bool) -> Outcome {
    let mut outcome = Outcome::default();
    let mut message: Option<(bool, Vec<u8>)> = None;
    let mut announced = 0u64;
    let mut rest = stream;
    while outcome.end.is_none() {
        let frame = match parse(rest) {
            Parsed::Incomplete => break,
            Parsed::Invalid => {
                outcome.end = Some(End::Failed(1002));
                break;
            }
            Parsed::Frame(frame) => frame,
        };
        rest = frame.rest;
        if frame.opcode >= 8 {
            if frame.whole {
                control(&frame, &mut outcome);
            }
            if !frame.whole {
                break;
            }
            continue;
        }
        // RFC 6455 section 5.4.
        if (frame.opcode == 0) != message.is_some() {
            outcome.end = Some(End::Failed(1002));
            break;
        }
        let (text, mut bytes) = message.take().unwrap_or((frame.opcode == 1, Vec::new()));
        announced = match frame.opcode {
            0 => announced.saturating_add(frame.len),
            _ => frame.len,
        };
        if announced > max && !closing {
            outcome.end = Some(End::Failed(1009));
            break;
        }
        bytes.extend(&frame.payload);
        let last = frame.fin && frame.whole;
        if text && !closing {
            let valid = std::str::from_utf8(&bytes);
            if valid.is_err_and(|error| last || error.error_len().is_some()) {
                outcome.end = Some(End::Failed(1007));
                break;
            }
        }
        match last {
            true if closing => {}
            true => outcome.messages.push((text, bytes)),
            false => message = Some((text, bytes)),
        }
        if !frame.whole {
            break;
        }
    }
    if let (None, Some((_, bytes)), false) = (&outcome.end, message, closing) {
        outcome.unfinished = bytes;
    }
    outcome
}

/// A control frame, as RFC 6455 sections 5.5 and 7.4 define it.
fn control(frame: &Frame<'_>, outcome: &mut Outcome) {
    let payload = &frame.payload;
    match frame.opcode {
        9 => {
            outcome.replies.extend([0x8A, payload.len() as u8]);
            outcome.replies.extend(payload);
        }
        10 => outcome.pongs += 1,
        _ => {
            let code = match payload[..] {
                [] => None,
                [_] => return outcome.end = Some(End::Failed(1002)),
                [high, low, ..] => Some(u16::from_be_bytes([high, low])),
            };
            let legal = |code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            let reason = payload.get(2..).unwrap_or_default();
            outcome.end = Some(match code {
                Some(code) if !legal(code) => End::Failed(1002),
                _ if std::str::from_utf8(reason).is_err() => End::Failed(1007),
                code => End::Closed(code),
            });
        }
    }
}

struct Frame<'a> {
    fin: bool,
    opcode: u8,
    /// The length in its header.
    len: u64,
    /// The payload received so far, unmasked.
    payload: Vec<u8>,
    whole: bool,
    rest: &'a [u8],
}

enum Parsed<'a> {
    Incomplete,
    Invalid,
    Frame(Frame<'a>),
}

/// Parses a frame header byte by byte (RFC 6455 section 5.2). An error is found at the first byte
/// that shows it.
fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some(&first) = bytes.first() else {
        return Parsed::Incomplete;
    };
    let (fin, opcode) = (first >= 0x80, first % 16);
    let known = matches!(opcode, 0..=2 | 8..=10);
    if first / 16 % 8 != 0 || !known || opcode >= 8 && !fin {
        return Parsed::Invalid;
    }
    let Some(&second) = bytes.get(1) else {
        return Parsed::Incomplete;
    };
    let short = second % 128;
    if opcode >= 8 && short > 125 {
        return Parsed::Invalid;
    }
    let (len_bytes, shortest) = match short {
        126 => (2, 126),
        127 => (8, 65_536),
        _ => (0, 0),
    };
    let Some(long) = bytes.get(2..2 + len_bytes) else {
        return Parsed::Incomplete;
    };
    let len = match len_bytes {
        0 => u64::from(short),
        _ => (long.iter()).fold(0, |sum, &byte| sum * 256 + u64::from(byte)),
    };
    let masked = second >= 0x80;
    if len < shortest || len >= 1 << 63 || !masked {
        return Parsed::Invalid;
    }
    let Some(key) = bytes.get(2 + len_bytes..6 + len_bytes) else {
        return Parsed::Incomplete;
    };
    let rest = &bytes[6 + len_bytes..];
    let available = len.min(rest.len() as u64) as usize;
    let (payload, rest) = rest.split_at(available);
    Parsed::Frame(Frame {
        fin,
        opcode,
        len,
        payload: (payload.iter().zip(key.iter().cycle()))
            .map(|(byte, key)| byte ^ key)
            .collect(),
        whole: available as u64 == len,
        rest,
    })
}
