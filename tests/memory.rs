//! `--max-memory`: what gives way when the buffers of all clients take too much, and that everybody
//! else goes on.

mod support;

use std::process::Command;
use std::time::Duration;

use support::{
    BINARY, Client, FIN, Launch, Server, TEXT, Wire, header_claiming, masked,
    raise_own_descriptor_limit, run, wait_until,
};

/// `--max-memory` in most of these tests: the least for the default of `--max-message`.
const FOUR_MIB: &str = "--max-memory=4M";

const MIB: usize = 1024 * 1024;

/// Sends the first `len` bytes of a frame with a message of 1 MiB.
fn begin_message(wire: &mut Wire, len: usize) {
    let mut frame = header_claiming(FIN | BINARY, MIB as u64);
    frame.resize(len, 0);
    wire.send(&frame);
}

/// Clients that hold 3.5 of the 4 MiB.
fn holders(server: &Server) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..4).map(|_| server.open("/")).collect();
    for (client, kib) in clients.iter_mut().zip([1023, 1023, 1023, 512]) {
        begin_message(&mut client.wire, kib * 1024);
    }
    clients
}

/// Waits until at most `left` clients are left. The others are disconnected by a Close with 1013 that
/// names the option.
fn await_evictions(clients: &mut Vec<Client>, left: usize) {
    wait_until("clients are evicted", || {
        clients.retain_mut(|client| {
            let is_evicted = client.wire.is_readable_within(Duration::ZERO);
            if is_evicted {
                let (code, reason) = client.close();
                assert_eq!(code, 1013, "{reason}");
                assert!(reason.contains("--max-memory"), "{reason}");
            }
            !is_evicted
        });
        clients.len() <= left
    });
}

#[test]
fn unfinished_messages_beyond_max_memory_cost_those_who_hold_most() {
    let server = Server::start(&[FOUR_MIB, "cat"]);
    let mut polite = server.open("/");
    let mut small = server.open("/");
    let text = "a".repeat(400_000);
    let frame = masked(FIN | TEXT, text.as_bytes());
    let (begin, rest) = frame.split_at(1000);
    small.wire.send(begin);
    // All handshakes first: new clients are refused while memory is short.
    let mut clients: Vec<Client> = (0..8).map(|_| server.open("/")).collect();
    for client in &mut clients {
        begin_message(&mut client.wire, 900 * 1024);
        polite.round_trip("still here");
    }
    await_evictions(&mut clients, 5);
    polite.round_trip("still here");
    server.await_log(&["evicted peer=", "held=1048576", "--max-memory"]);
    // The one that held little keeps its connection, and its message arrives whole.
    small.wire.send(rest);
    assert!(small.text() == text);
}

#[test]
fn new_clients_get_503_while_memory_is_short_and_are_accepted_afterwards() {
    let server = Server::start(&[FOUR_MIB, "cat"]);
    let mut polite = server.open("/");
    let holders = holders(&server);
    let upgrade = server.upgrade("/");
    wait_until("a client is refused", || match server.try_open(&upgrade) {
        Ok(_) => false,
        Err(response) => {
            let reason = response.expect_refusal("short", 503);
            assert!(reason.contains("--max-memory"), "{reason}");
            true
        }
    });
    polite.round_trip("still here");
    assert_eq!(server.exchange(&server.get("/healthz")).status, 200);
    drop(holders);
    wait_until("a client is accepted", || server.try_open(&upgrade).is_ok());
}

#[test]
fn clients_that_do_not_read_hold_little_while_memory_is_short() {
    raise_own_descriptor_limit();
    // The client says when the flood may begin. Its lines are long, so that it takes little time.
    let script = "read -r word; exec yes \"$(seq 1000 1400 | tr '\\n' ' ')\"";
    let server = Server::script(&[FOUR_MIB, "--high-water=256k"], script);
    let mut clients: Vec<Client> = (0..60)
        .map(|_| server.open_with_small_buffers("/"))
        .collect();
    let before = server.rss_anon();
    for client in &mut clients {
        client.send_text("go");
    }
    let commands = server.children();
    let mut last = Vec::new();
    wait_until("all are paused", || {
        std::thread::sleep(Duration::from_millis(100));
        let written: Vec<u64> = commands.iter().map(|it| it.bytes_written()).collect();
        let is_same = written == last && written.iter().all(|&bytes| bytes > 0);
        last = written;
        is_same
    });
    let grown = server.rss_anon().saturating_sub(before);
    // Without the limit each holds more than 256 KiB, which is 15 MiB in all.
    assert!(grown < 6 * 1024 * 1024, "{grown}");
    // Those that read get everything.
    let mut client = clients.pop().expect("a client");
    for _ in 0..4000 {
        assert_eq!(client.text().len(), 5 * 401);
    }
}

#[test]
fn a_message_that_waits_for_a_command_counts_and_dies_with_its_client() {
    let script = "trap '' INT TERM; exec sleep 1000";
    let server = Server::script(&[FOUR_MIB, "--kill-after=1h"], script);
    let mut clients: Vec<Client> = (0..8).map(|_| server.open("/")).collect();
    let commands = server.children();
    for client in &mut clients {
        // More than the pipe takes. The command never reads it.
        let sender = client
            .wire
            .send_in_background(masked(FIN | TEXT, &vec![b'a'; 900 * 1024]));
        sender.join().expect("the sender");
    }
    await_evictions(&mut clients, 5);
    // At once and by SIGKILL, not by the escalation: the end of their input may be half a message.
    wait_until("their commands are gone", || {
        let is_gone = |it: &&support::Process| it.is_gone(server.pid());
        commands.iter().filter(is_gone).count() >= 3
    });
}

#[test]
fn replay_buffers_are_freed_before_anybody_is_refused_or_evicted() {
    let script = "while read -r n; do seq 1 $n; done";
    let server = Server::script(&["--max-memory=8M", "--resume=60"], script);
    let open = |n: usize| {
        let session = format!("wspipe.session.{n:032x}.0");
        let request = server.upgrade("/").add("Sec-WebSocket-Protocol", &session);
        let Ok(client) = server.try_open(&request) else {
            panic!("session {n} is refused");
        };
        client
    };
    // Each leaves a full replay buffer of 1 MiB, more than there is memory for in all.
    let mut sessions: Vec<Client> = (0..9).map(open).collect();
    for client in &mut sessions {
        client.send_text("200000");
        for n in 1..=200_000 {
            assert_eq!(client.text(), n.to_string());
        }
    }
    let _last = open(9);
    // Nor do they count when others fill the memory.
    let mut holders: Vec<Client> = (0..10).map(|_| server.open("/")).collect();
    for client in &mut holders {
        begin_message(&mut client.wire, 1000 * 1024);
    }
    await_evictions(&mut holders, 8);
    for client in &mut sessions {
        client.send_text("1");
        assert_eq!(client.text(), "1");
    }
}

#[test]
fn while_memory_is_short_a_member_that_is_behind_is_closed() {
    let script = "while read -r n; do seq 1 $n; done";
    let server = Server::script(&[FOUR_MIB, "--shared", "--high-water=64M"], script);
    let mut slow = server.open_with_small_buffers("/");
    let mut polite = server.open("/");
    let _holders = holders(&server);
    let upgrade = server.upgrade("/");
    wait_until("memory is short", || server.try_open(&upgrade).is_err());
    // More than the kernel keeps for a client that does not read, a little at a time.
    for _ in 0..100 {
        polite.send_text("10000");
        for n in 1..=10_000 {
            assert_eq!(polite.text(), n.to_string());
        }
    }
    let (_, (code, reason)) = slow.texts_to_close();
    assert_eq!(code, 1008, "{reason}");
    assert!(reason.contains("--max-memory"), "{reason}");
}

#[test]
fn a_server_with_little_address_space_outlives_large_messages() {
    let words = ["--", "cat"];
    let server = Launch::new(&words).after("ulimit -v 65536").start();
    let mut polite = server.open("/");
    let mut clients: Vec<Client> = (0..50).map(|_| server.open("/")).collect();
    for client in &mut clients {
        begin_message(&mut client.wire, MIB - 1);
        polite.round_trip("still here");
    }
    // By default half of the 64 MiB are for buffers.
    await_evictions(&mut clients, 40);
    polite.round_trip("still here");
}

#[test]
fn a_default_without_room_for_one_message_is_refused() {
    let script = "ulimit -v 65536; exec \"$0\" --port=0 --max-message=16M --echo";
    let output = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_wspipe")])
        .output()
        .expect("sh");
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("--max-memory=67108864"), "{error}");
}

#[test]
fn a_limit_without_room_for_one_message_is_refused() {
    let output = run(&["--max-memory=3M", "--echo"]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("--max-memory=4194304 or more"), "{error}");
}
