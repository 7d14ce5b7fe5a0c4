//! Pings and pongs.

use super::*;

/// Section 5.5.
#[test]
fn pings_are_answered_and_long_or_fragmented_control_frames_are_refused() {
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
            "a ping that is not complete",
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

#[test]
fn the_buffer_of_a_ping_in_two_reads_is_freed() {
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
