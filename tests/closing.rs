//! The closing handshake (RFC 6455 section 7) from either side, connections that end without one,
//! and the access-log record of each connection.

mod support;

use std::time::{Duration, Instant};

use support::{
    CLOSE, FIN, Message, PING, Server, TEXT, close_payload, header_claiming, masked, wait_until,
};

#[test]
fn a_close_is_answered_with_its_code_and_then_tcp_is_closed() {
    let server = Server::start(&[]);
    let codes = (1000..=1003)
        .chain(1007..=1014)
        .chain([3000, 3999, 4000, 4999]);
    for code in codes {
        let mut client = server.open("/echo");
        client.send_close(code, "bye ✓");
        assert_eq!(client.close().0, code);
        client.wire.expect_eof();
    }
}

#[test]
fn a_close_without_a_code_is_answered() {
    let server = Server::start(&[]);
    for path in ["/echo", "/ws"] {
        let mut client = server.open(path);
        client.send(FIN | CLOSE, b"");
        match client.message() {
            Message::Close(None) => {}
            Message::Close(Some((code, _))) => assert_eq!(code, 1000, "{path}"),
            other => panic!("{other:?}"),
        }
        client.wire.expect_eof();
    }
}

#[test]
fn a_close_reason_may_have_123_bytes() {
    let server = Server::echo();
    let mut client = server.open("/");
    client.send_close(1000, &"x".repeat(123));
    client.expect_close("123 bytes", 1000);
}

#[test]
fn a_close_inside_a_message_is_answered() {
    let server = Server::echo();
    let mut client = server.open("/");
    client.send(TEXT, b"never finished");
    client.send_close(1000, "");
    loop {
        let frame = client.frame();
        if frame.opcode == CLOSE {
            assert_eq!(frame.payload[..2], 1000u16.to_be_bytes());
            break;
        }
    }
    client.wire.expect_eof();
}

#[test]
fn bytes_after_a_close_are_ignored() {
    let server = Server::echo();
    let mut client = server.open("/");
    let mut bytes = masked(FIN | TEXT, b"before");
    bytes.extend(masked(FIN | CLOSE, &close_payload(1000, "")));
    bytes.extend(masked(FIN | TEXT, b"after"));
    bytes.extend(masked(FIN | PING, b"after"));
    bytes.extend(masked(FIN | 3, b"not even wrong"));
    client.wire.send(&bytes);
    assert_eq!(client.text(), "before");
    client.expect_close("the first close", 1000);
}

#[test]
fn queued_messages_are_delivered_before_the_answer_to_a_close() {
    let server = Server::echo();
    let mut client = server.open("/");
    let text = "x".repeat(900_000);
    let mut bytes = masked(FIN | TEXT, text.as_bytes());
    bytes.extend(masked(FIN | CLOSE, &close_payload(1000, "")));
    let sender = client.wire.send_in_background(bytes);
    assert!(client.text() == text);
    client.expect_close("after the message", 1000);
    sender.join().expect("the sender");
}

#[test]
fn the_close_frame_carries_the_exit_status_of_the_command() {
    let cases = [
        ("exit 0", 1000, "exit 0"),
        ("exit 3", 4003, "exit 3"),
        ("exit 255", 4255, "exit 255"),
        ("kill -KILL $$", 4256 + 9, "signal 9"),
        ("kill -TERM $$", 4256 + 15, "signal 15"),
        ("kill -SEGV $$", 4256 + 11, "signal 11"),
    ];
    let server = Server::start(&[]);
    for (script, code, reason) in cases {
        let mut client = server.open("/ws");
        client.send_text(script);
        let (texts, close) = client.texts_to_close();
        assert_eq!(
            close,
            (code, reason.to_string()),
            "{script}, after {texts:?}"
        );
    }
    server.await_no_children();
}

#[test]
fn the_output_of_a_command_comes_before_the_close_frame() {
    let server = Server::script(&[], "seq 1 20000; printf 'no newline'; exit 3");
    for _ in 0..5 {
        let mut client = server.open("/");
        let (texts, close) = client.texts_to_close();
        assert_eq!(texts.len(), 20_001);
        assert_eq!(texts.last().map(String::as_str), Some("no newline"));
        assert_eq!(close, (4003, "exit 3".to_string()));
    }
}

#[test]
fn a_slow_reader_gets_the_last_line_and_the_close_frame() {
    let server = Server::script(&[], "seq 1 300000; exit 5");
    let mut client = server.open("/");
    client.frame();
    // The client pauses, so that buffers fill and the command stops.
    std::thread::sleep(Duration::from_millis(300));
    let (texts, close) = client.texts_to_close();
    assert_eq!(texts.len(), 299_999);
    assert_eq!(texts.last().map(String::as_str), Some("300000"));
    assert_eq!(close, (4005, "exit 5".to_string()));
}

#[test]
fn a_client_that_does_not_answer_a_close_is_dropped_at_the_close_timeout() {
    let server = Server::script(&["--close-timeout=400ms"], "exit 0");
    let before = server.descriptors();
    let mut client = server.open("/");
    let start = Instant::now();
    assert_eq!(client.close(), (1000, "exit 0".to_string()));
    client.wire.expect_gone();
    let waited = start.elapsed();
    assert!(
        waited > Duration::from_millis(300),
        "closed after {waited:?}"
    );
    server.await_descriptors(before);
}

#[test]
fn a_client_that_never_closes_its_side_is_dropped_at_the_close_timeout() {
    // The server has closed its side. A client that never closes its own must not hold resources.
    let server = Server::start(&["--echo", "--close-timeout=400ms"]);
    let before = server.descriptors();
    let mut client = server.open("/");
    client.send_close(1000, "");
    client.expect_close("its own close", 1000);
    server.await_descriptors(before);
    drop(client);
}

#[test]
fn a_close_may_be_answered_with_another_code() {
    let server = Server::script(&[], "read line; exit 4");
    let mut client = server.open("/");
    client.send_text("go");
    assert_eq!(client.close().0, 4004);
    client.send_close(1001, "going away");
    client.wire.expect_eof();
    server.await_no_children();
}

#[test]
fn data_sent_after_the_servers_close_is_discarded() {
    let server = Server::script(&[], "exit 0");
    let mut client = server.open("/");
    for _ in 0..100 {
        client.wire.try_send(&masked(FIN | TEXT, b"too late"));
    }
    assert_eq!(client.close().0, 1000);
    client.send_close(1000, "");
    client.wire.expect_eof();
}

#[test]
fn a_reset_ends_the_connection() {
    let server = Server::start(&[]);
    let before = server.descriptors();
    for path in ["/echo", "/ws"] {
        let client = server.open(path);
        let peer = client.wire.local_address().to_string();
        client.wire.reset();
        server.await_log(&["closed", &peer]);
    }
    server.await_descriptors(before);
    server.await_no_children();
}

#[test]
fn eof_without_a_close_frame_ends_the_connection() {
    let server = Server::start(&[]);
    let before = server.descriptors();
    for path in ["/echo", "/ws"] {
        for unfinished in [false, true] {
            let mut client = server.open(path);
            let peer = client.wire.local_address().to_string();
            if unfinished {
                client.wire.send(&header_claiming(FIN | TEXT, 10));
            }
            client.wire.finish();
            client.wire.expect_gone();
            server.await_log(&["closed", &peer]);
        }
    }
    server.await_descriptors(before);
    server.await_no_children();
}

#[test]
fn messages_before_eof_without_a_close_frame_are_echoed() {
    let server = Server::echo();
    let mut client = server.open("/");
    client.send_text("the last words");
    client.wire.finish();
    assert_eq!(client.text(), "the last words");
    client.wire.expect_gone();
}

#[test]
fn every_connection_leaves_one_access_log_record() {
    let server = Server::start(&["--", "cat"]);
    let mut client = server.open("/path?secret=1");
    let peer = client.wire.local_address().to_string();
    client.round_trip("hello");
    client.round_trip("you");
    client.leave();
    let line = server.await_log(&["closed", &peer]);
    let expected = [
        "info",
        "/path",
        "command=\"cat\"",
        "pid=",
        "duration=",
        "code=1000",
        "exit=",
    ];
    for part in expected {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    // Payload bytes and messages in each direction.
    assert!(line.contains("in=8/2"), "{line}");
    assert!(line.contains("out=8/2"), "{line}");
    assert!(
        !server.log_text().contains("secret"),
        "the query string may hold secrets"
    );
    assert_eq!(server.log_text().matches("closed").count(), 1);
}

#[test]
fn the_access_log_record_of_an_echo_counts_both_directions() {
    let server = Server::echo();
    let mut client = server.open("/");
    let peer = client.wire.local_address().to_string();
    client.round_trip("1234567890");
    client.send_text("");
    assert_eq!(client.text(), "");
    client.leave();
    let line = server.await_log(&["closed", &peer]);
    assert!(
        line.contains("in=10/2") && line.contains("out=10/2"),
        "{line}"
    );
    assert!(line.contains("code=1000"), "{line}");
}

#[test]
fn the_access_log_record_has_the_exit_status() {
    let server = Server::script(&[], "exit 3");
    let mut client = server.open("/");
    let peer = client.wire.local_address().to_string();
    client.texts_to_close();
    let line = server.await_log(&["closed", &peer]);
    assert!(line.contains("exit=\"exit 3\""), "{line}");
    assert!(line.contains("code=4003"), "{line}");
}

#[test]
fn a_peer_cannot_forge_a_log_line() {
    let server = Server::echo();
    let client = server.open("/%0a\"'\\x=`");
    let peer = client.wire.local_address().to_string();
    client.leave();
    let line = server.await_log(&["closed", &peer]);
    assert!(line.contains("code=1000"), "{line}");
    assert!(
        line.contains("\\\""),
        "a quote inside the quotes is escaped: {line}"
    );
}

#[test]
fn many_connections_leave_no_descriptors_and_no_memory_behind() {
    let server = Server::start(&["--log-level=warn"]);
    // The first client of each kind allocates what the server keeps.
    server.open("/echo").leave();
    server.open("/ws").leave();
    server.await_no_children();
    let before = server.descriptors();
    for round in 0..60 {
        let path = if round % 2 == 0 { "/echo" } else { "/ws" };
        let client = server.open(path);
        match round % 3 {
            0 => client.leave(),
            1 => client.wire.reset(),
            _ => drop(client),
        }
    }
    server.await_no_children();
    server.await_descriptors(before);
    wait_until("the memory is released", || server.rss_anon() < 16 << 20);
}

#[test]
fn tests_of_pipes_pass_with_small_pipes_too() {
    support::rerun_with_small_pipes(&[
        "a_slow_reader_gets_the_last_line_and_the_close_frame",
        "the_output_of_a_command_comes_before_the_close_frame",
    ]);
}
