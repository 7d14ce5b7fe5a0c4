//! Tests of a connection. Each stream of frames is given to the [`Connection`] under test in many
//! ways, and to a [`reference`] that sees it as a whole; both must have the same [`Outcome`].

mod closing;
mod control;
mod messages;
mod random;
mod reference;
mod sending;

use self::reference::reference;
use super::*;
use crate::ws::testing::{masked, plain};

const MAX: u64 = 1 << 20;

/// The result of a stream, in a form that does not depend on where the reads ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    messages: Vec<(Kind, Vec<u8>)>,
    /// The chunks of an incomplete message; empty after a violation.
    under_way: Vec<u8>,
    pongs: usize,
    close: Option<Option<CloseCode>>,
    violation: Option<Violation>,
    replies: Vec<u8>,
}

/// A connection under test and its outcome so far.
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
            let event = self
                .connection
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
        assert!(input.is_empty(), "None means that the input is used up");
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

/// Runs `stream` in one read, in two reads cut at every place, and byte by byte. After each byte
/// the outcome must be that of the reference for the bytes so far, so nothing is found late.
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
    let mut slow = Run::new(max, state);
    for seen in 0..=stream.len() {
        let expected = reference(&stream[..seen], max, state);
        assert_eq!(
            slow.outcome, expected,
            "{name}, after {seen} bytes of {stream:x?}"
        );
        if let Some(byte) = stream.get(seen..=seen) {
            slow.feed(byte);
        }
    }
}

/// A stream and the outcome that it must have.
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
            "{name}, of the reference"
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
