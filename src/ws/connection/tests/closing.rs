//! The closing handshake and failed connections.

use super::*;

/// Sections 5.5.1 and 7.4, with the close frame that the server answers.
#[test]
fn a_close_frame_is_checked_and_answered_with_its_code() {
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
            "bytes after it are dropped",
            &[empty.clone(), text("a"), vec![0xff; 40]],
            closed(None, texts(&[])),
        ),
        case(
            "two close frames",
            &[empty.clone(), empty],
            closed(None, Outcome::default()),
        ),
        case(
            "between fragments of a message",
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

/// Framing errors still count, and the peer's close frame is not answered with a second one.
#[test]
fn after_our_close_frame_data_is_dropped_and_pings_are_answered() {
    use Opcode::{Continuation, Ping, Pong, Text};
    let closed = |code| Outcome {
        close: Some(CloseCode::from_wire(code)),
        ..Outcome::default()
    };
    let done = close_frame(1000, b"");
    let cases = vec![
        case("the answer", std::slice::from_ref(&done), closed(1000)),
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
        connection.send_fragment(Kind::Text, true, true, b"c", &mut out);
        connection.ping(&mut out);
        connection.close(CloseCode::GOING_AWAY, "", &mut out);
        connection.fail(Violation::MessageTooBig { len_max: 9 }, &mut out);
        assert_eq!(out.len(), len);
        assert_eq!(connection.state(), CloseState::Closed);
    }
}

#[test]
fn the_server_can_start_the_closing_handshake() {
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
fn a_long_close_reason_is_truncated() {
    let mut out = Vec::new();
    Connection::new().close(CloseCode::NORMAL, &"é".repeat(100), &mut out);
    let expected = [&[3, 232], "é".repeat(61).as_bytes()].concat();
    assert_eq!(out, plain(true, Opcode::Close, &expected));
}

#[test]
fn fail_sends_a_close_frame_and_drops_all_further_input() {
    let (mut connection, mut out) = (Connection::new(), Vec::new());
    connection.fail(Violation::MessageTooBig { len_max: 9 }, &mut out);
    assert_eq!(
        out,
        plain(
            true,
            Opcode::Close,
            b"\x03\xf1a message is longer than 9 bytes (--max-message)"
        )
    );
    assert_eq!(connection.state(), CloseState::Closed);
    let sent = out.len();
    let mut stream = [text("dropped"), masked(true, Opcode::Ping, b"")].concat();
    let mut input = &mut stream[..];
    assert_eq!(connection.next_event(&mut input, &mut out, MAX), Ok(None));
    assert!(input.is_empty());
    assert_eq!(out.len(), sent);
}
