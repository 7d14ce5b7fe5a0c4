//! Random streams.

use super::*;
use crate::testing::{Random, for_each_seed};

/// Frames in an order that is mostly legal, so that few streams fail early.
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
        let state = random.pick(&[CloseState::Open, CloseState::Open, CloseState::LocalClosing]);
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
            // Half of the time the bytes begin like a masked frame.
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
                _ => connection.send_fragment(Kind::Binary, true, true, b"x", &mut out),
            }
        }
    });
}
