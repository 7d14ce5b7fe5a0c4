//! Messages and frames (RFC 6455 sections 5 and 8): echoes of every length, fragments, control
//! frames between them, and each rule that a client can break.

mod support;

use std::time::Duration;

use support::{
    BINARY, CLOSE, CONTINUATION, Client, FIN, Message, PING, PONG, Random, Server, TEXT,
    header_claiming, masked,
};

/// Lengths around each length encoding of RFC 6455 5.2, and around common buffer sizes.
const LENGTHS: [usize; 19] = [
    0, 1, 2, 124, 125, 126, 127, 128, 4095, 4096, 16_383, 16_384, 65_534, 65_535, 65_536, 65_537,
    131_072, 500_000, 1_048_576,
];

#[test]
fn messages_of_every_length_are_echoed_in_their_kind() {
    let server = Server::start(&[]);
    let mut client = server.open("/echo");
    let mut random = Random::new();
    for len in LENGTHS {
        let text: String = (0..len)
            .map(|index| (b'a' + (index % 26) as u8) as char)
            .collect();
        let sender = client
            .wire
            .send_in_background(masked(FIN | TEXT, text.as_bytes()));
        assert!(client.text() == text, "{len} bytes of text");
        sender.join().expect("the sender");
        let bytes = random.bytes(len);
        let sender = client.wire.send_in_background(masked(FIN | BINARY, &bytes));
        assert!(client.binary() == bytes, "{len} bytes");
        sender.join().expect("the sender");
    }
    client.leave();
}

/// Compares large messages byte for byte. (Autobahn's cases 9.1 to 9.6 compare only lengths.)
/// Frames of one byte are slow in a debug build, so the largest messages come only in long
/// fragments unless `WSPIPE_ALL_PAYLOADS` is set.
#[test]
fn large_messages_are_echoed_byte_for_byte_however_fragmented() {
    let server = Server::start(&["--echo", "--max-message=16M"]);
    let mut random = Random::new();
    let all = std::env::var_os("WSPIPE_ALL_PAYLOADS").is_some();
    let len_max = |usual: usize| if all { 16 << 20 } else { usual };
    let fragments = [
        (usize::MAX, 16 << 20),
        (4096, 16 << 20),
        (256, len_max(4 << 20)),
        (64, len_max(4 << 20)),
        (1, len_max(256 << 10)),
    ];
    let mut client = server.open("/");
    for (fragment_len, len_max) in fragments {
        for len in [64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20] {
            if len > len_max {
                break;
            }
            let text = random.text(len - 4);
            let sender =
                (client.wire).send_in_background(fragmented(TEXT, text.as_bytes(), fragment_len));
            assert!(client.text() == text, "{len} of text by {fragment_len}");
            sender.join().expect("the sender");
            let bytes = random.bytes(len);
            let sender = (client.wire).send_in_background(fragmented(BINARY, &bytes, fragment_len));
            assert!(client.binary() == bytes, "{len} by {fragment_len}");
            sender.join().expect("the sender");
        }
    }
    client.leave();
}

/// The echo of a long message is sent in fragments of at least 64 KiB while the message still
/// arrives.
#[test]
fn a_long_message_is_echoed_before_it_is_complete() {
    const LEN: usize = 1 << 20;
    let server = Server::echo();
    let mut client = server.open("/");
    let bytes = Random::new().bytes(LEN);
    let mut frame = masked(FIN | BINARY, &bytes);
    let last = frame.split_off(frame.len() - 1);
    let sender = client.wire.send_in_background(frame);
    let mut echoed = Vec::new();
    let mut opcode = BINARY;
    while echoed.len() + 64 * 1024 < LEN {
        let fragment = client.frame();
        assert_eq!((fragment.fin, fragment.opcode), (false, opcode));
        opcode = CONTINUATION;
        echoed.extend(fragment.payload);
    }
    sender.join().expect("the sender");
    client.wire.send(&last);
    let rest = client.frame();
    assert_eq!((rest.fin, rest.opcode), (true, CONTINUATION));
    echoed.extend(rest.payload);
    assert!(echoed == bytes);
    client.leave();
}

/// A long line of a command becomes a message of many fragments.
#[test]
fn large_messages_pass_through_a_command_byte_for_byte() {
    let mut random = Random::new();
    for (binary, arguments) in [
        (false, ["--max-message=16M", "cat"].as_slice()),
        (true, ["--max-message=16M", "--binary", "cat"].as_slice()),
    ] {
        let server = Server::start(arguments);
        let mut client = server.open("/");
        for (len, fragment_len) in [(64 << 10, 1), (1 << 20, 4096), (16 << 20, usize::MAX)] {
            let text = random.text(len - 4);
            let sender =
                (client.wire).send_in_background(fragmented(TEXT, text.as_bytes(), fragment_len));
            if binary {
                let mut bytes = Vec::new();
                while bytes.len() < text.len() {
                    bytes.extend(client.binary());
                }
                assert!(bytes == text.as_bytes(), "{len} by {fragment_len}");
            } else {
                assert!(client.text() == text, "{len} by {fragment_len}");
            }
            sender.join().expect("the sender");
        }
    }
}

/// The frames of a message in fragments of `fragment_len` bytes; the last may be shorter.
fn fragmented(opcode: u8, payload: &[u8], fragment_len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut fragments = payload.chunks(fragment_len).peekable();
    let mut opcode = opcode;
    while let Some(fragment) = fragments.next() {
        let fin = if fragments.peek().is_none() { FIN } else { 0 };
        bytes.extend(masked(fin | opcode, fragment));
        opcode = CONTINUATION;
    }
    bytes
}

#[test]
fn a_message_may_arrive_byte_by_byte() {
    let server = Server::echo();
    let mut client = server.open("/");
    for len in [0, 1, 125, 126, 300] {
        let text = "é".repeat(len / 2) + &"x".repeat(len % 2);
        client
            .wire
            .send_bytewise(&masked(FIN | TEXT, text.as_bytes()));
        assert_eq!(client.text(), text);
    }
}

#[test]
fn many_messages_in_one_packet_keep_their_order() {
    let server = Server::echo();
    let mut client = server.open("/");
    let bytes: Vec<u8> = (0..5000)
        .flat_map(|number: u32| masked(FIN | TEXT, number.to_string().as_bytes()))
        .collect();
    let sender = client.wire.send_in_background(bytes);
    for number in 0..5000 {
        assert_eq!(client.text(), number.to_string());
    }
    sender.join().expect("the sender");
}

#[test]
fn fragments_are_joined_to_a_message() {
    let server = Server::echo();
    let mut client = server.open("/");
    client.send(TEXT, b"one ");
    client.send(CONTINUATION, b"");
    client.send(CONTINUATION, b"two ");
    client.send(FIN | CONTINUATION, b"three");
    assert_eq!(client.text(), "one two three");
    client.send(BINARY, b"");
    client.send(FIN | CONTINUATION, b"");
    assert_eq!(client.binary(), b"");
    client.round_trip("whole again");
}

#[test]
fn a_ping_between_fragments_is_answered_at_once() {
    let server = Server::echo();
    let mut client = server.open("/");
    client.send(TEXT, b"before ");
    client.send(FIN | PING, b"between");
    let pong = loop {
        // The server may echo a fragment before the message is complete.
        let frame = client.frame();
        if frame.opcode == PONG {
            break frame;
        }
        assert!(frame.opcode == TEXT && !frame.fin, "{frame:?}");
    };
    assert_eq!(pong.payload, b"between");
    client.send(FIN | PONG, b"unasked");
    client.send(FIN | CONTINUATION, b"after");
    client.frame();
}

#[test]
fn pings_are_answered_with_their_payload() {
    let server = Server::start(&[]);
    for path in ["/echo", "/ws"] {
        let mut client = server.open(path);
        for len in [0, 1, 124, 125] {
            let payload = vec![0xA5; len];
            client.send(FIN | PING, &payload);
            let frame = client.frame();
            assert_eq!((frame.opcode, frame.payload), (PONG, payload), "{path}");
        }
        // An unsolicited pong is allowed and needs no answer (RFC 6455 5.5.3).
        client.send(FIN | PONG, b"unasked");
        client.send(FIN | PING, b"last");
        assert_eq!(client.frame().payload, b"last", "{path}");
    }
}

#[test]
fn a_character_may_be_split_between_fragments() {
    let server = Server::echo();
    let mut client = server.open("/");
    let text = "aß€🦀";
    for cut in 0..=text.len() {
        client.send(TEXT, &text.as_bytes()[..cut]);
        client.send(FIN | CONTINUATION, &text.as_bytes()[cut..]);
        assert_eq!(client.text(), text, "cut at {cut}");
    }
    client.send(TEXT, b"");
    for byte in text.as_bytes() {
        client.send(CONTINUATION, &[*byte]);
    }
    client.send(FIN | CONTINUATION, b"");
    assert_eq!(client.text(), text);
}

#[test]
fn clients_do_not_get_the_messages_of_others() {
    let server = Server::echo();
    let mut clients: Vec<Client> = (0..20).map(|_| server.open("/")).collect();
    for round in 0..10 {
        for (index, client) in clients.iter_mut().enumerate() {
            client.send(TEXT, format!("{index} ").as_bytes());
        }
        for client in &mut clients {
            client.send(FIN | CONTINUATION, round.to_string().as_bytes());
        }
        for (index, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.text(), format!("{index} {round}"));
        }
    }
}

/// Sends random messages in random fragments with pings between them. Every echo and every pong
/// must come back in order.
#[test]
fn random_well_formed_messages_are_echoed() {
    let server = Server::echo();
    for _ in 0..10 {
        let mut random = Random::new();
        let mut bytes = Vec::new();
        let mut messages = Vec::new();
        let mut pings = Vec::new();
        for _ in 0..40 {
            let len = match random.below(12) {
                0 => random.below(200_000),
                1..=3 => 65_530 + random.below(12),
                4..=6 => 120 + random.below(12),
                _ => random.below(2_000),
            };
            let message = if random.one_in(2) {
                Message::Text(random.text(len))
            } else {
                Message::Binary(random.bytes(len))
            };
            write_message(&mut bytes, &message, &mut pings, &mut random);
            messages.push(message);
        }
        let mut client = server.open("/");
        let sender = client.wire.send_in_background(bytes);
        for (index, message) in messages.iter().enumerate() {
            assert!(client.message() == *message, "message {index}");
        }
        assert!(sender.join().expect("the sender"), "not all was sent");
        client.send(FIN | PING, b"the last");
        pings.push(b"the last".to_vec());
        while client.pongs.len() < pings.len() {
            let frame = client.frame();
            assert_eq!(frame.opcode, PONG);
            client.pongs.push(frame.payload);
        }
        assert!(client.pongs == pings, "the pongs in order");
        client.leave();
    }
}

/// Appends `message` in random fragments, with random pings before each.
fn write_message(
    bytes: &mut Vec<u8>,
    message: &Message,
    pings: &mut Vec<Vec<u8>>,
    random: &mut Random,
) {
    let (mut opcode, mut payload) = match message {
        Message::Text(text) => (TEXT, text.as_bytes()),
        Message::Binary(bytes) => (BINARY, bytes.as_slice()),
        Message::Close(_) => unreachable!("only data is echoed"),
    };
    loop {
        if random.one_in(4) {
            let len = random.below(126);
            let ping = random.bytes(len);
            bytes.extend(masked(FIN | PING, &ping));
            pings.push(ping);
        }
        if random.one_in(2) {
            bytes.extend(masked(FIN | opcode, payload));
            return;
        }
        let (fragment, rest) = payload.split_at(random.below(payload.len() + 1));
        bytes.extend(masked(opcode, fragment));
        (opcode, payload) = (CONTINUATION, rest);
    }
}

/// A frame whose length is not minimally encoded: in 2 or 8 bytes where fewer suffice.
fn overlong(marker: u8, len: u64) -> Vec<u8> {
    let mut frame = vec![FIN | BINARY, 0x80 | marker];
    match marker {
        126 => frame.extend((len as u16).to_be_bytes()),
        _ => frame.extend(len.to_be_bytes()),
    }
    frame.extend([0; 4]);
    frame.extend(vec![0; len.min(70_000) as usize]);
    frame
}

fn two(first: Vec<u8>, second: Vec<u8>) -> Vec<u8> {
    [first, second].concat()
}

/// Every rule of RFC 6455 section 5 that a client can break: its name, bytes that break it, and the
/// code with which the server must fail the connection.
fn violations() -> Vec<(String, Vec<u8>, u16)> {
    let mut cases = vec![
        // An unmasked frame (5.1), even an empty one.
        ("not masked".into(), b"\x81\x02hi".to_vec(), 1002),
        ("not masked, empty".into(), b"\x81\x00".to_vec(), 1002),
        ("a ping not masked".into(), b"\x89\x00".to_vec(), 1002),
        ("125 in 16 bits".into(), overlong(126, 125), 1002),
        ("0 in 16 bits".into(), overlong(126, 0), 1002),
        ("65535 in 64 bits".into(), overlong(127, 65_535), 1002),
        ("125 in 64 bits".into(), overlong(127, 125), 1002),
        (
            "the top bit of a length".into(),
            overlong(127, 1 << 63),
            1002,
        ),
        ("a fragmented ping".into(), masked(PING, b""), 1002),
        ("a fragmented close".into(), masked(CLOSE, b""), 1002),
        ("a ping of 126".into(), masked(FIN | PING, &[0; 126]), 1002),
        ("a pong of 126".into(), masked(FIN | PONG, &[0; 126]), 1002),
        (
            "a close of 126".into(),
            masked(FIN | CLOSE, &[3; 126]),
            1002,
        ),
        (
            "a continuation of nothing".into(),
            masked(CONTINUATION, b"x"),
            1002,
        ),
        (
            "the end of nothing".into(),
            masked(FIN | CONTINUATION, b""),
            1002,
        ),
        (
            "a continuation after the end".into(),
            two(masked(FIN | PONG, b""), masked(FIN | CONTINUATION, b"")),
            1002,
        ),
        (
            "text inside a message".into(),
            two(masked(TEXT, b"x"), masked(FIN | TEXT, b"y")),
            1002,
        ),
        (
            "binary inside a message".into(),
            two(masked(TEXT, b"x"), masked(BINARY, b"y")),
            1002,
        ),
        (
            "a close with half a code".into(),
            masked(FIN | CLOSE, b"\x03"),
            1002,
        ),
        (
            "a reason not in UTF-8".into(),
            masked(FIN | CLOSE, b"\x03\xe8\xff"),
            1007,
        ),
    ];
    for rsv in [0x10, 0x20, 0x40, 0x70] {
        cases.push((
            format!("RSV {rsv:#x}"),
            masked(FIN | rsv | TEXT, b"x"),
            1002,
        ));
        cases.push((
            format!("RSV {rsv:#x}, ping"),
            masked(FIN | rsv | PING, b""),
            1002,
        ));
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        cases.push((format!("opcode {opcode}"), masked(FIN | opcode, b"x"), 1002));
    }
    // 1004, 1005, 1006 and 1015 must not be sent; the others are undefined (7.4).
    for code in [
        0u16, 1, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65_535,
    ] {
        let close = masked(FIN | CLOSE, &code.to_be_bytes());
        cases.push((format!("close code {code}"), close, 1002));
    }
    cases
}

#[test]
fn each_protocol_violation_fails_the_connection() {
    let server = Server::start(&[]);
    for (case, bytes, code) in violations() {
        for path in ["/echo", "/ws"] {
            println!("{case} at {path}");
            let mut client = server.open(path);
            client.wire.send(&bytes);
            let reason = client.expect_close(&case, code);
            assert!(!reason.is_empty(), "{case}: a close without a reason");
        }
    }
    server.await_no_children();
}

#[test]
fn each_protocol_violation_sent_byte_by_byte_fails_the_connection() {
    let server = Server::echo();
    for (case, bytes, code) in violations() {
        if bytes.len() > 500 {
            continue;
        }
        println!("{case}");
        let mut client = server.open("/");
        for byte in bytes {
            // The server may fail the connection before the last byte.
            client.wire.try_send(&[byte]);
        }
        client.expect_close(&case, code);
    }
}

#[test]
fn a_violation_is_logged_at_debug_level() {
    let server = Server::start(&["--echo", "--log-level=debug"]);
    let mut client = server.open("/");
    let peer = client.wire.local_address().to_string();
    client.wire.send(b"\x81\x02hi");
    client.expect_close("not masked", 1002);
    server.await_log(&["debug", &peer]);
    server.await_log(&["closed", &peer, "code=1002"]);
}

#[test]
fn a_message_before_a_violation_is_delivered() {
    let server = Server::echo();
    let mut client = server.open("/");
    client
        .wire
        .send(&two(masked(FIN | TEXT, b"in time"), masked(FIN | 3, b"")));
    assert_eq!(client.text(), "in time");
    client.expect_close("opcode 3", 1002);
}

#[test]
fn the_close_frame_survives_unread_bytes() {
    // Closing a socket with unread bytes sends a reset, which can make the peer lose the close
    // frame.
    let server = Server::start(&[]);
    for path in ["/echo", "/ws"] {
        let mut client = server.open(path);
        client.wire.send(&masked(FIN | 3, b""));
        let sender = client.wire.send_in_background(vec![0; 1 << 20]);
        assert_eq!(client.close().0, 1002);
        client.wire.expect_eof();
        sender.join().expect("the sender");
    }
}

const INVALID_TEXT: [(&str, &[u8]); 12] = [
    ("a lone continuation byte", b"\x80"),
    ("0xFF", b"\xff"),
    ("two bytes for a slash", b"\xc0\xaf"),
    ("0xC1", b"\xc1\x81"),
    ("three bytes for a slash", b"\xe0\x80\xaf"),
    ("four bytes for a slash", b"\xf0\x80\x80\xaf"),
    ("a surrogate", b"\xed\xa0\x80"),
    ("the last surrogate", b"\xed\xbf\xbf"),
    ("above U+10FFFF", b"\xf4\x90\x80\x80"),
    ("0xF5", b"\xf5\x80\x80\x80"),
    ("a character broken off by another", b"\xe2\x82a"),
    ("a second start byte", b"\xe2\xe2\x82\xac"),
];

#[test]
fn text_that_is_not_utf_8_fails_with_1007() {
    let server = Server::start(&[]);
    for (case, bytes) in INVALID_TEXT {
        for path in ["/echo", "/ws"] {
            let mut client = server.open(path);
            client.send(FIN | TEXT, &[b"fine until ", bytes].concat());
            client.expect_close(case, 1007);
        }
        // In a binary message the same bytes are allowed.
        let mut client = server.open("/echo");
        client.send_binary(bytes);
        assert_eq!(client.binary(), bytes, "{case}");
    }
}

#[test]
fn text_fails_at_its_first_invalid_byte() {
    let server = Server::start(&[]);
    for (case, bytes) in INVALID_TEXT {
        for path in ["/echo", "/ws"] {
            // The header claims more than is sent. The server must not wait for the rest.
            let mut client = server.open(path);
            let mut frame = header_claiming(TEXT, 100_000);
            let key: [u8; 4] = frame[frame.len() - 4..].try_into().expect("four bytes");
            let masked = bytes
                .iter()
                .zip(key.iter().cycle())
                .map(|(it, key)| it ^ key);
            frame.extend(masked);
            client.wire.send(&frame);
            client.expect_close(case, 1007);
        }
    }
}

#[test]
fn text_that_ends_inside_a_character_fails_with_1007() {
    let server = Server::echo();
    for cut in ["ß", "€", "🦀"] {
        for len in 1..cut.len() {
            let mut client = server.open("/");
            client.send(TEXT, &cut.as_bytes()[..len]);
            client.send(FIN | CONTINUATION, b"");
            client.expect_close(cut, 1007);
        }
    }
}

#[test]
fn utf_8_is_checked_across_fragments() {
    let server = Server::echo();
    let mut client = server.open("/");
    client.send(TEXT, b"\xed");
    // The second byte makes it a surrogate.
    client.send(CONTINUATION, b"\xa0");
    client.expect_close("a surrogate in two fragments", 1007);
}

#[test]
fn a_message_over_the_limit_fails_at_its_header() {
    let server = Server::start(&["--max-message=100k"]);
    for path in ["/echo", "/ws"] {
        for claimed in [100 * 1024 + 1, 1 << 20, 1 << 40, (1 << 63) - 1] {
            let mut client = server.open(path);
            client.wire.send(&header_claiming(FIN | BINARY, claimed));
            let reason = client.expect_close(path, 1009);
            assert_eq!(
                reason,
                "a message is longer than 102400 bytes (--max-message)"
            );
        }
    }
}

#[test]
fn fragments_whose_sum_exceeds_the_limit_fail() {
    let server = Server::start(&["--max-message=100k"]);
    for path in ["/echo", "/ws"] {
        let mut client = server.open(path);
        client.send(BINARY, &[b'#'; 60_000]);
        client.send(CONTINUATION, &[b'#'; 42_400]);
        client.wire.send(&header_claiming(FIN | CONTINUATION, 1));
        loop {
            // The server may have echoed the first fragments already.
            let frame = client.frame();
            if frame.opcode == CLOSE {
                assert_eq!(frame.payload[..2], 1009u16.to_be_bytes(), "{path}");
                break;
            }
        }
    }
}

#[test]
fn a_message_of_exactly_the_limit_is_accepted() {
    let server = Server::start(&["--echo", "--max-message=100k"]);
    let mut client = server.open("/");
    client.round_trip(&"x".repeat(100 * 1024));
    client.send(TEXT, &[b'x'; 60_000]);
    client.send(FIN | CONTINUATION, &[b'x'; 42_400]);
    assert_eq!(client.text().len(), 100 * 1024);
}

#[test]
fn arbitrary_bytes_end_only_their_connection() {
    let server = Server::start(&[]);
    let mut bystander = server.open("/echo");
    let mut random = Random::new();
    for round in 0..300 {
        let mut client = server.open("/echo");
        let len = 1 + random.below(600);
        let mut bytes = random.bytes(len);
        if random.one_in(2) {
            // A valid first byte leads deeper into the parser.
            bytes[0] = [FIN | TEXT, FIN | BINARY, TEXT, FIN | PING, FIN | CLOSE][random.below(5)];
            if let Some(second) = bytes.get_mut(1) {
                *second |= 0x80;
            }
        }
        client.wire.send(&bytes);
        client.wire.finish();
        client.wire.expect_gone();
        bystander.round_trip(&format!("round {round}"));
    }
    for _ in 0..100 {
        let mut wire = server.connect();
        let len = 1 + random.below(600);
        wire.send(&random.bytes(len));
        wire.finish();
        wire.expect_gone();
    }
    bystander.round_trip("still there");
}

#[test]
fn an_unfinished_message_does_not_close_the_connection() {
    let server = Server::echo();
    let mut client = server.open("/");
    client.wire.send(&header_claiming(FIN | BINARY, 100));
    client.wire.expect_silence(Duration::from_millis(300));
}
