//! Bugs that the server once had. The comment of each test describes the bug, the test the correct
//! behaviour. Bugs that appear only with exact control of time or of single turns are in
//! `model/scenarios.rs`.

mod support;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use support::{
    CLOSE, Client, FIN, Launch, PING, PONG, Process, Response, STUBBORN, Server, TempDir, Wire,
    cpu_time, masked, wait_until,
};

// -- The end of a connection ------------------------------------------------------------------------

/// The prompt timer of a client that had left fired again and again within one turn, so the server
/// hung.
#[test]
fn the_prompt_timer_of_a_lost_client_does_not_block_the_loop() {
    let script = "trap '' INT TERM; printf 'ready\nname? '; exec sleep 1000";
    let server = Server::script(&["--flush=300ms", "--kill-after=2s"], script);
    let mut client = server.open("/");
    assert_eq!(client.text(), "ready");
    client.wire.reset();
    // Meanwhile the timer expires, and the command still runs.
    let before = cpu_time(server.pid());
    std::thread::sleep(Duration::from_millis(1200));
    let used = cpu_time(server.pid()) - before;
    assert!(used < Duration::from_millis(200), "{used:?}");
    assert_eq!(server.exchange(&server.get("/healthz")).status, 200);
    server.await_no_children();
}

/// The close timeout began when the kernel had accepted the last byte, even if the client was still
/// receiving the bytes before it. Output and close frame were lost.
#[test]
fn a_slow_reader_gets_the_whole_output_and_the_close_frame() {
    let script = "head -c 1200000 /dev/zero | tr '\\0' x | fold -w 999; exit 7";
    let server = Server::script(&["--close-timeout=400ms"], script);
    let mut client = server.open_with_small_buffers("/");
    let start = Instant::now();
    let mut bytes = Vec::new();
    // The close frame. These bytes do not occur in the output.
    let close = [&[0x88, 8][..], &4007_u16.to_be_bytes(), b"exit 7"].concat();
    while !bytes.ends_with(&close) {
        let read = client.wire.read_at_most(10_000);
        assert!(!read.is_empty(), "EOF after {} bytes", bytes.len());
        bytes.extend(read);
        // The pong shows that the client is alive.
        client.wire.try_send(&masked(FIN | PONG, b""));
        std::thread::sleep(Duration::from_millis(15));
    }
    let waited = start.elapsed();
    assert!(waited > Duration::from_millis(1200), "read in {waited:?}");
    let count = bytes.iter().filter(|byte| **byte == b'x').count();
    assert_eq!(count, 1_200_000 + 1, "output, and the x of `exit`");
    client
        .wire
        .try_send(&masked(FIN | CLOSE, &4007_u16.to_be_bytes()));
    client.wire.expect_gone();
    server.await_log(&["closed", "code=4007", "exit=\"exit 7\""]);
}

/// Every write restarted the close timeout, even the answer to a ping. A client that did not answer
/// the close but sent pings kept its connection forever.
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

// -- Missing resources ------------------------------------------------------------------------------

/// Without a free descriptor the server could not look up the owner of a socket. It assumed another
/// user and responded with 403 in place of 503.
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

// -- Shutdown and signals ---------------------------------------------------------------------------

/// A server that exited at a second signal or at the drain timeout wrote no access-log record for
/// the clients that were still connected.
#[test]
fn a_forced_exit_leaves_an_access_log_record_for_each_client() {
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

/// With `--kill-after=never` the server forgot a command at its exit. Processes that were left in
/// its process group outlived the server.
#[test]
fn processes_that_outlive_their_command_do_not_outlive_the_server() {
    let options = ["--kill-after=never", "--drain-timeout=300ms"];
    let mut server = Server::script(&options, "sleep 1000 >/dev/null 2>&1 & echo $!; exit 0");
    let mut client = server.open("/");
    let pid = client.text().parse().expect("a PID");
    let left = Process::find(pid).expect("it runs");
    client.expect_close("the command's exit", 1000);
    drop(client);
    let server_pid = server.pid();
    // The remaining process is then a child of the server.
    wait_until("the command is reaped", || {
        server.children().iter().all(|child| child.pid == pid)
    });
    assert!(!left.is_gone(server_pid), "it was killed too early");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_status().code(), Some(0));
    wait_until("the remaining process is gone", || left.is_gone(server_pid));
}

/// The other half of that bug: with `--once` the server must wait for such a process.
#[test]
fn the_server_waits_for_processes_that_outlive_their_command() {
    let options = ["--kill-after=never", "--once"];
    let dir = TempDir::new();
    // The process leaves the group before it exits, because in some containers nothing reaps it.
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

/// At shutdown the server waited for idle HTTP connections as long as for a closing handshake: ten
/// seconds.
#[test]
fn idle_connections_do_not_delay_the_exit() {
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

/// A shell starts background processes of a script with SIGINT ignored. The server installed a
/// handler nevertheless, so Ctrl-C in the script's terminal terminated it.
#[test]
fn a_sigint_that_was_ignored_at_start_stays_ignored() {
    let server = Launch::new(&["--echo"]).after("trap '' INT").start();
    let mut client = server.open("/");
    server.signal(Signal::SIGINT);
    client.round_trip("still served");
    server.open("/").round_trip("and for new clients");
}

// -- The log ----------------------------------------------------------------------------------------

/// Makes the server lose a client. Returns the client if its connection must stay open.
type Lose = fn(Client) -> Option<Client>;

/// An access-log record with `code=1006` did not say why the connection was lost.
#[test]
fn the_log_says_why_a_connection_was_lost() {
    let cases: [(&[&str], Lose, &str); 4] = [
        (&["cat"], hung_up, "the peer hung up"),
        (&["cat"], reset, "connection reset"),
        (
            &["--ping-interval=100ms", "--pong-timeout=400ms", "cat"],
            Some,
            "nothing received for --pong-timeout",
        ),
        (
            &["--write-timeout=400ms", "yes"],
            Some,
            "the peer took nothing for --write-timeout",
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
