//! Faults that the server once had, each with a name: what was wrong is above each test, what has
//! to be is in it. Those that only a clock or a count of one turn can show are in
//! `model/stories.rs`.

mod support;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use support::{
    CLOSE, Client, FIN, Launch, PING, PONG, Process, Response, STUBBORN, Server, TempDir, Wire,
    cpu_time, masked, wait_until,
};

// -- The end of a connection ------------------------------------------------------------------------

/// The time-out of a prompt whose client had left came again at once, for ever, within one turn:
/// the server hung.
#[test]
fn a_prompt_of_a_client_that_is_lost_does_not_hold_the_loop() {
    let script = "trap '' INT TERM; printf 'ready\nname? '; exec sleep 1000";
    let server = Server::script(&["--flush=300ms", "--kill-after=2s"], script);
    let mut client = server.open("/");
    assert_eq!(client.text(), "ready");
    client.wire.reset();
    // The time-out comes, and the command is still there.
    let before = cpu_time(server.pid());
    std::thread::sleep(Duration::from_millis(1200));
    let used = cpu_time(server.pid()) - before;
    assert!(used < Duration::from_millis(200), "{used:?}");
    assert_eq!(server.exchange(&server.get("/healthz")).status, 200);
    server.await_no_children();
}

/// The close time-out began when the kernel had taken the last byte, and did not look whether the
/// client was still taking in what lay before it: output and close frame were lost.
#[test]
fn a_slow_reader_gets_the_whole_output_and_the_close_frame() {
    let script = "head -c 1200000 /dev/zero | tr '\\0' x | fold -w 999; exit 7";
    let server = Server::script(&["--close-timeout=400ms"], script);
    let mut client = server.open_with_small_buffers("/");
    let start = Instant::now();
    let mut bytes = Vec::new();
    // Nothing that is printed looks like it.
    let close = [&[0x88, 8][..], &4007_u16.to_be_bytes(), b"exit 7"].concat();
    while !bytes.ends_with(&close) {
        let read = client.wire.read_at_most(10_000);
        assert!(!read.is_empty(), "the end after {} bytes", bytes.len());
        bytes.extend(read);
        // It is alive, and says so.
        client.wire.try_send(&masked(FIN | PONG, b""));
        std::thread::sleep(Duration::from_millis(15));
    }
    let waited = start.elapsed();
    assert!(waited > Duration::from_millis(1200), "read in {waited:?}");
    let count = bytes.iter().filter(|byte| **byte == b'x').count();
    assert_eq!(count, 1_200_000 + 1, "with the one of `exit`");
    client
        .wire
        .try_send(&masked(FIN | CLOSE, &4007_u16.to_be_bytes()));
    client.wire.expect_gone();
    server.await_log(&["closed", "code=4007", "exit=\"exit 7\""]);
}

/// Whatever was written began the close time-out anew, the answers to pings as well: a client that
/// did not answer the Close, but pinged, held its connection for ever.
#[test]
fn pings_do_not_prolong_the_close_timeout() {
    let server = Server::script(&["--close-timeout=600ms"], "exit 3");
    let before = server.descriptors();
    let mut client = server.open("/");
    assert_eq!(client.close().0, 4003);
    let start = Instant::now();
    while client.wire.try_send(&masked(FIN | PING, b"?")) {
        let open = start.elapsed();
        assert!(open < support::TIMEOUT, "still open after {open:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    server.await_descriptors(before);
    server.await_log(&["closed", "code=4003", "lost=", "--close-timeout"]);
}

// -- What is lacking --------------------------------------------------------------------------------

/// Whose the socket is could not be found out without a descriptor, and was taken for somebody
/// else's: 403 in place of 503.
#[test]
fn without_a_descriptor_the_demos_shell_is_503_and_not_403() {
    let server = Launch::new(&[]).after("ulimit -n 40").start();
    let mut asking = server.connect();
    let idle: Vec<Wire> = (0..60).map(|_| server.connect()).collect();
    server.await_log(&["new connections wait"]);
    asking.send(&server.upgrade("/ws").to_bytes());
    let response = Response::read(&mut asking, false);
    response.expect_refusal("no descriptor", 503);
    assert!(response.header("Retry-After").is_some());
    drop(idle);
}

// -- The end of the server --------------------------------------------------------------------------

/// A server that was made to end, by a second signal or the end of the drain, did so without the
/// line in the log of each client that was still there.
#[test]
fn a_forced_end_leaves_a_line_for_each_client() {
    for (drain, signals, status) in [("1h", 2, 1), ("300ms", 1, 0)] {
        let options = [&format!("--drain-timeout={drain}"), "--kill-after=1h"];
        let options = options.map(|option| option.to_string());
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let mut server = Server::script(&options, STUBBORN);
        let mut clients = [server.open("/"), server.open("/")];
        for client in &mut clients {
            assert_eq!(client.text(), "ready");
        }
        let mut page = server.connect();
        page.send(&server.get("/healthz").to_bytes());
        assert_eq!(Response::read(&mut page, false).status, 200);
        server.signal(Signal::SIGTERM);
        for client in &mut clients {
            assert_eq!(client.close().0, 1001);
        }
        if signals == 2 {
            server.signal(Signal::SIGTERM);
        }
        assert_eq!(server.exit_status().code(), Some(status), "{drain}");
        for client in &clients {
            let peer = format!("peer={} ", client.wire.local_address());
            server.await_log(&["closed", &peer, "code=1001"]);
        }
        let log = server.log_text();
        assert_eq!(log.matches(" closed peer=").count(), 2, "{log}");
    }
}

/// With `--kill-after=never` a command was forgotten at its exit, and what it had left in its
/// process group with it: that outlived the server.
#[test]
fn what_outlives_its_command_does_not_outlive_the_server() {
    let options = ["--kill-after=never", "--drain-timeout=300ms"];
    let mut server = Server::script(&options, "sleep 1000 >/dev/null 2>&1 & echo $!; exit 0");
    let mut client = server.open("/");
    let pid = client.text().parse().expect("a PID");
    let left = Process::find(pid).expect("it runs");
    client.expect_close("the command's exit", 1000);
    drop(client);
    let server_pid = server.pid();
    // What it left behind is the server's own child then.
    wait_until("the command is reaped", || {
        server.children().iter().all(|child| child.pid == pid)
    });
    assert!(!left.is_gone(server_pid), "nothing is to kill it yet");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_status().code(), Some(0));
    wait_until("it is gone", || left.is_gone(server_pid));
}

/// The other half of the same: what ends by itself is noticed, although nothing signals it.
#[test]
fn what_outlives_its_command_and_ends_by_itself_is_noticed() {
    let options = ["--kill-after=never", "--once"];
    let dir = TempDir::new();
    // It leaves the group at its end: a machine may be without anyone who reaps it.
    let script = format!(
        "(sleep 0.7; touch {}; exec setsid true) >/dev/null 2>&1 & exit 4",
        dir.text("done")
    );
    let mut server = Server::script(&options, &script);
    let mut client = server.open("/");
    client.expect_close("the command's exit", 4004);
    drop(client);
    assert_eq!(server.exit_status().code(), Some(4));
    assert!(dir.has("done"), "the server did not wait for it");
}

/// A connection on which nothing was under way was waited for as long as the closing handshake
/// may take, ten seconds.
#[test]
fn idle_connections_do_not_hold_up_the_end() {
    let mut server = Server::start(&["--echo", "--drain-timeout=1h", "--close-timeout=1h"]);
    let mut idle = server.connect();
    idle.send(&server.get("/healthz").to_bytes());
    assert_eq!(Response::read(&mut idle, false).status, 200);
    let silent = server.connect();
    server.open("/").leave();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_status().code(), Some(0));
    drop((idle, silent));
}

/// A shell starts what it puts into the background of a script with SIGINT ignored; the server
/// took the signal all the same, so that Ctrl-C in the script's terminal ended it.
#[test]
fn an_interrupt_that_was_ignored_at_start_is_ignored() {
    let server = Launch::new(&["--echo"]).after("trap '' INT").start();
    let mut client = server.open("/");
    server.signal(Signal::SIGINT);
    client.round_trip("as behind an ampersand");
    server.open("/").round_trip("and for new clients");
}

// -- The log ----------------------------------------------------------------------------------------

/// How a client is lost; it may stay at hand.
type Lose = fn(Client) -> Option<Client>;

/// A line with `code=1006` did not say why the connection was lost.
#[test]
fn the_log_says_why_a_connection_was_lost() {
    let cases: [(&[&str], Lose, &str); 4] = [
        (&["cat"], hung_up, "the peer hung up"),
        (&["cat"], reset, "connection reset"),
        (
            &["--ping-interval=100ms", "--pong-timeout=400ms", "cat"],
            Some,
            "nothing was heard for --pong-timeout",
        ),
        (
            &["--write-timeout=400ms", "yes"],
            Some,
            "nothing was taken for --write-timeout",
        ),
    ];
    for (args, lose, why) in cases {
        let server = Server::start(args);
        let client = server.open("/");
        let peer = format!("peer={} ", client.wire.local_address());
        let client = lose(client);
        let line = server.await_log(&["closed", &peer]);
        let lost = format!("code=1006 lost=\"{why}\"");
        assert!(line.contains(&lost), "{lost} is not in {line}");
        drop(client);
    }
}

fn hung_up(mut client: Client) -> Option<Client> {
    client.wire.finish();
    Some(client)
}

fn reset(client: Client) -> Option<Client> {
    client.wire.reset();
    None
}
