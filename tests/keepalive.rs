//! Keep-alive on real sockets with short intervals: pings, the pong timeout, the write timeout. The
//! rules are also tested on virtual time, next to their code.

mod support;

use std::time::{Duration, Instant};

use support::{CONTINUATION, FIN, PING, PONG, Server, TEXT, masked};

#[test]
fn a_silent_client_that_answers_pings_stays() {
    let server = Server::start(&["--echo", "--ping-interval=200ms", "--pong-timeout=1s"]);
    let mut client = server.open("/");
    let start = Instant::now();
    let mut pings = 0;
    while start.elapsed() < Duration::from_millis(2500) {
        let frame = client.frame();
        assert_eq!(frame.opcode, PING);
        client.send(FIN | PONG, &frame.payload);
        pings += 1;
    }
    assert!((5..=13).contains(&pings), "{pings} pings in 2.5 s");
    client.round_trip("still there");
}

#[test]
fn a_client_that_answers_no_ping_is_dropped_after_the_pong_timeout() {
    let server = Server::start(&["--ping-interval=200ms", "--pong-timeout=1s"]);
    let before = server.descriptors();
    for path in ["/echo", "/ws"] {
        let mut client = server.open(path);
        let peer = client.wire.local_address().to_string();
        let start = Instant::now();
        assert_eq!(client.frame().opcode, PING);
        client.wire.expect_gone();
        let waited = start.elapsed();
        assert!(
            waited > Duration::from_millis(800),
            "dropped after {waited:?}"
        );
        assert!(
            waited < Duration::from_secs(8),
            "dropped only after {waited:?}"
        );
        server.await_log(&["closed", &peer]);
    }
    server.await_no_children();
    server.await_descriptors(before);
}

#[test]
fn a_silent_client_that_never_closes_its_side_is_dropped() {
    let server = Server::start(&[
        "--echo",
        "--ping-interval=200ms",
        "--pong-timeout=600ms",
        "--close-timeout=400ms",
    ]);
    let before = server.descriptors();
    let client = server.open("/");
    server.await_descriptors(before);
    drop(client);
}

#[test]
fn any_message_postpones_the_next_ping() {
    let server = Server::start(&["--echo", "--ping-interval=1500ms"]);
    let mut client = server.open("/");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        client.send(TEXT, b"a fragment ");
        client.send(FIN | CONTINUATION, b"and its end");
        client.text();
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(client.pings.is_empty(), "{} pings", client.pings.len());
    assert_eq!(client.frame().opcode, PING, "after silence");
}

#[test]
fn bytes_of_an_unfinished_frame_count_as_a_sign_of_life() {
    let server = Server::start(&["--echo", "--ping-interval=300ms", "--pong-timeout=1s"]);
    let mut client = server.open("/");
    let text = "slowly".repeat(10);
    for byte in masked(FIN | TEXT, text.as_bytes()) {
        client.wire.send(&[byte]);
        std::thread::sleep(Duration::from_millis(40));
    }
    assert_eq!(client.text(), text);
}

#[test]
fn a_client_that_is_not_read_is_not_taken_for_silent() {
    // The command does not read for three times the pong timeout, so the server does not read the
    // client either and cannot see its pongs.
    let lines = 4096;
    let line = "x".repeat(1023);
    let script = format!("sleep 3; head -c {} | wc -c", lines * 1024);
    let server = Server::script(&["--ping-interval=200ms", "--pong-timeout=1s"], &script);
    // Made before the client connects, because it must not be silent meanwhile.
    let bytes: Vec<u8> = (0..lines)
        .flat_map(|_| masked(FIN | TEXT, line.as_bytes()))
        .collect();
    let mut client = server.open("/");
    let sender = client.wire.send_in_background(bytes);
    // Pings are not answered: a pong would land inside a frame of the sender.
    let answer = loop {
        let frame = client.frame();
        if frame.opcode != PING {
            break frame;
        }
    };
    let count = String::from_utf8(answer.payload).expect("text");
    assert_eq!(count.trim(), (lines * 1024).to_string());
    assert!(sender.join().expect("the sender"), "not all was sent");
}

/// A proxy on the way would otherwise end an idle connection, and with it an hour's work.
#[test]
fn a_client_whose_command_does_not_read_is_still_pinged() {
    // More than the command's pipe, the outbox before it and one read hold.
    let messages = masked(FIN | TEXT, &[b'x'; 32 * 1024]).repeat(32);
    let options = ["--ping-interval=200ms", "--pong-timeout=1s"];
    for shared in [false, true] {
        let options = [&options[..], if shared { &["--shared"] } else { &[] }].concat();
        let server = Server::script(&options, "echo ready; exec sleep 100");
        let mut sender = server.open("/");
        assert_eq!(sender.text(), "ready");
        let mut clients = Vec::from_iter(shared.then(|| server.open("/")));
        let sent = sender.wire.send_in_background(messages.clone());
        clients.push(sender);
        // Nobody answers: a pong would land inside a frame of the sender. After the pong time-out
        // the others would be dropped if they were read.
        for _ in 0..15 {
            for client in &mut clients {
                let asked = Instant::now();
                assert_eq!(client.frame().opcode, PING, "shared: {shared}");
                let waited = asked.elapsed();
                assert!(waited < Duration::from_secs(2), "{waited:?}");
            }
        }
        drop((clients, server));
        let _ = sent.join();
    }
}

/// The end of its connection is queued behind data that is not read. Its kernel answers the ping to a
/// closed socket with a reset.
#[test]
fn a_client_that_closes_while_its_command_does_not_read_is_noticed_by_a_ping() {
    let options = ["--ping-interval=500ms", "--pong-timeout=2s"];
    let server = Server::script(&options, "echo ready; exec sleep 100");
    let mut client = server.open("/");
    assert_eq!(client.text(), "ready");
    let unit = masked(FIN | TEXT, &[b'x'; 32 * 1024]);
    // More than all buffers on the way hold.
    client.wire.flood(&unit, usize::MAX);
    drop(client);
    server.await_no_children();
}

#[test]
fn a_client_that_only_reads_output_is_not_dropped() {
    // The client sends no pongs, but its TCP acknowledges the output.
    let server = Server::start(&["--ping-interval=300ms", "--pong-timeout=1s", "yes"]);
    let mut client = server.open("/");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(4) {
        for _ in 0..1000 {
            client.frame();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(client);
    server.await_no_children();
}

#[test]
fn a_client_that_takes_nothing_is_dropped_by_the_write_timeout() {
    let server = Server::start(&["--write-timeout=1s", "yes"]);
    let before = server.descriptors();
    let client = server.open("/");
    let start = Instant::now();
    server.await_no_children();
    let waited = start.elapsed();
    assert!(
        waited > Duration::from_millis(800),
        "closed after {waited:?}"
    );
    server.await_descriptors(before);
    drop(client);
}

#[test]
fn an_idle_connection_is_not_closed_by_the_write_timeout() {
    let server = Server::start(&["--echo", "--write-timeout=300ms"]);
    let mut client = server.open("/");
    client.wire.expect_silence(Duration::from_secs(1));
    client.round_trip("still there");
}

#[test]
fn no_ping_is_sent_before_its_interval() {
    let server = Server::echo();
    let mut client = server.open("/");
    client.wire.expect_silence(Duration::from_secs(1));
}
