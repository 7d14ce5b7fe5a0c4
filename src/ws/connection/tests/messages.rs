//! Messages and fragments that are received.

use super::*;

/// Sections 5.4 and 5.6.
#[test]
fn fragments_make_messages_and_their_order_is_checked() {
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
            "only empty fragments",
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
            "a message that is not complete",
            &[text("a"), fragment(Text, b"b")],
            Outcome {
                under_way: b"b".to_vec(),
                ..texts(&["a"])
            },
        ),
        case(
            "a continuation without a message",
            &[end(b"x")],
            fails(Violation::UnexpectedContinuation),
        ),
        case(
            "a continuation after the last fragment",
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
            "text between fragments of text",
            &[fragment(Text, b"a"), text("b")],
            fails(Violation::MessageInterrupted),
        ),
        case(
            "binary between fragments of text",
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

/// Section 8.1: bytes that are not UTF-8 where UTF-8 is due fail the connection.
#[test]
fn text_that_is_not_utf8_fails_the_connection_at_the_first_bad_byte() {
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
            "an incomplete character",
            &[bad(b"\xe2\x82")],
            fails(Violation::TextNotUtf8),
        ),
        case(
            "a character in two fragments",
            &[fragment(Text, b"\xe2\x82"), end(b"\xac")],
            texts(&["€"]),
        ),
        case(
            "a character in three fragments, with a ping",
            &[
                fragment(Text, b"\xe2"),
                fragment(Continuation, b"\x82"),
                masked(true, Ping, b""),
                end(b"\xac"),
            ],
            pinged,
        ),
        case(
            "a character that the next fragment does not continue",
            &[fragment(Text, b"\xe2\x82"), fragment(Continuation, b"x")],
            fails(Violation::TextNotUtf8),
        ),
        case(
            "a character that the last fragment does not complete",
            &[fragment(Text, b"a"), end(b"\xf0\x9f\x98")],
            fails(Violation::TextNotUtf8),
        ),
        case(
            "an incomplete character before an empty last fragment",
            &[fragment(Text, b"\xc3"), end(b"")],
            fails(Violation::TextNotUtf8),
        ),
        case(
            "a bad byte in a frame that is not complete",
            &[fragment(Text, b"\xff and much more")[..7].to_vec()],
            fails(Violation::TextNotUtf8),
        ),
        case(
            "no character goes on in the next message",
            &[text("é"), bad(b"\xa9")],
            Outcome {
                violation: Some(Violation::TextNotUtf8),
                ..texts(&["é"])
            },
        ),
    ];
    check_cases(cases, MAX, CloseState::Open);
}

/// Section 10.4: the limit holds for a frame and for the sum of fragments.
#[test]
fn a_message_above_the_limit_is_refused_at_the_frame_header() {
    use Opcode::{Continuation, Ping, Pong, Text};
    let too_big = || fails(Violation::MessageTooBig { len_max: 8 });
    let cases = vec![
        case(
            "the longest message",
            &[text("12345678")],
            texts(&["12345678"]),
        ),
        case(
            "one byte more, only its header",
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
            "an empty last fragment",
            &[fragment(Text, b"12345678"), end(b"")],
            texts(&["12345678"]),
        ),
        case(
            "the limit is for each message",
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
            "a 16-bit length, refused at the end of its header",
            &[[&[0x82, 0xfe, 1, 0][..], b"keys"].concat()],
            too_big(),
        ),
    ];
    check_cases(cases, 8, CloseState::Open);
}

#[test]
fn the_message_limit_may_be_zero_and_the_sum_of_fragments_does_not_wrap() {
    check(
        "a limit of zero",
        &[text(""), text("x")].concat(),
        0,
        CloseState::Open,
    );
    // Two frames of 2^63 - 1 bytes, and the sum stays below u64::MAX; it must not wrap.
    let huge = [&[0x02, 0xff, 0x7f][..], &[255; 7], b"keys", b"some payload"].concat();
    check("a limit of u64::MAX", &huge, u64::MAX, CloseState::Open);
    let mut connection = Connection::new();
    connection.receiving = Some(Kind::Binary);
    connection.message_len = u32::MAX - 1;
    let mut bytes = end(b"four");
    let limit = u64::from(u32::MAX) - 1;
    let event = connection.next_event(&mut &mut bytes[..], &mut Vec::new(), limit);
    assert_eq!(event, Err(Violation::MessageTooBig { len_max: limit }));
}

#[test]
fn a_frame_in_two_reads_gives_two_chunks() {
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
