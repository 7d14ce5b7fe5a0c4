//! Frames that are sent.

use super::*;

#[test]
fn messages_fragments_and_pings_are_written_as_unmasked_frames() {
    let (mut connection, mut out) = (Connection::new(), Vec::new());
    connection.send_fragment(Kind::Text, true, true, b"Hello", &mut out);
    connection.send_fragment(Kind::Binary, true, true, &[7; 300], &mut out);
    connection.send_fragment(Kind::Binary, true, true, b"", &mut out);
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
