//! How many are served, and for how long: `--once`, `--exit-when-idle`, the limits on clients and
//! commands, and the two time-outs (DESIGN 3.2, 3.5 and 3.6).

mod support;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{Client, Response, Server, wait_until};

/// The refusal of an opening handshake, which tells when to come again.
#[track_caller]
fn refused(server: &Server, target: &str, status: u16, option: &str) -> Response {
    match server.try_open(&server.upgrade(target)) {
        Ok(_) => panic!("{target} is served"),
        Err(response) => {
            let line = response.expect_refusal(target, status);
            assert!(line.contains(option), "{line}");
            let seconds = response.header("Retry-After").expect("Retry-After");
            assert!(seconds.parse::<u32>().is_ok(), "{seconds}");
            response
        }
    }
}

/// Waits until the server takes a client again.
#[track_caller]
fn await_place(server: &Server) -> Client {
    let mut found = None;
    wait_until("there is a place again", || {
        found = server.try_open(&server.upgrade("/")).ok();
        found.is_some()
    });
    found.expect("it was waited for")
}

#[track_caller]
fn exit_code(mut server: Server) -> Option<i32> {
    server.exit_status().code()
}

// -- --once and --exit-when-idle -------------------------------------------------------------------

#[test]
fn once_ends_with_the_status_of_the_command() {
    for (script, close, code) in [
        ("exit 0", (1000, "exit 0"), 0),
        ("echo x; exit 7", (4007, "exit 7"), 7),
        ("kill -9 $$", (4265, "signal 9"), 137),
    ] {
        let server = Server::script(&["--once"], script);
        let (_, got) = server.open("/").texts_to_close();
        assert_eq!((got.0, got.1.as_str()), close, "{script}");
        assert_eq!(exit_code(server), Some(code), "{script}");
    }
}

#[test]
fn once_waits_for_a_command_whose_client_has_left() {
    let server = Server::script(&["--once"], "cat; sleep 0.05; exit 3");
    let mut client = server.open("/");
    client.round_trip("x");
    client.leave();
    assert_eq!(exit_code(server), Some(3));
    // The ladder's first signal ends this one.
    let server = Server::script(&["--once"], "exec sleep 60");
    server.open("/").leave();
    assert_eq!(exit_code(server), Some(130));
}

#[test]
fn once_serves_pages_and_waits_for_a_client_that_gets_in() {
    let server = Server::start(&["--once", "--route=/none=/nonexistent/x", "--route=/cat=cat"]);
    assert_eq!(server.exchange(&server.get("/")).status, 200);
    assert!(server.try_open(&server.upgrade("/none")).is_err());
    let foreign = server.upgrade("/cat").add("Origin", "http://evil.example");
    assert!(server.try_open(&foreign).is_err());
    let mut client = server.open("/cat");
    client.round_trip("first");
    refused(&server, "/cat", 503, "--once");
    assert_eq!(server.exchange(&server.get("/healthz")).status, 200);
    client.round_trip("still");
    client.leave();
    assert_eq!(exit_code(server), Some(0));
}

#[test]
fn once_ends_with_a_client_that_vanishes_and_an_idle_page() {
    let server = Server::start(&["--once", "--echo"]);
    let mut page = server.connect();
    page.send(&server.get("/").to_bytes());
    assert_eq!(Response::read(&mut page, false).status, 200);
    let mut client = server.open("/");
    client.round_trip("x");
    drop(client);
    // The page's connection is closed, so that it does not hold the server up.
    page.expect_eof();
    drop(page);
    assert_eq!(exit_code(server), Some(0));
}

#[test]
fn a_signal_ends_once_as_ever() {
    let server = Server::start(&["--once", "cat"]);
    let mut client = server.open("/");
    client.round_trip("x");
    server.signal(Signal::SIGTERM);
    assert_eq!(client.close().0, 1001);
    client.send_close(1001, "");
    client.wire.expect_eof();
    drop(client);
    assert_eq!(exit_code(server), Some(0));
}

#[test]
fn exit_when_idle_ends_with_the_last_client() {
    let server = Server::start(&["--exit-when-idle", "cat"]);
    assert_eq!(server.exchange(&server.get("/")).status, 200);
    let mut first = server.open("/");
    let mut second = server.open("/");
    first.round_trip("x");
    first.leave();
    second.round_trip("still served");
    let mut third = server.open("/");
    drop(second);
    third.round_trip("still served");
    third.leave();
    assert_eq!(exit_code(server), Some(0));
    // Whatever the command's own status was.
    let server = Server::script(&["--exit-when-idle"], "exit 9");
    server.open("/").texts_to_close();
    assert_eq!(exit_code(server), Some(0));
}

// -- How many --------------------------------------------------------------------------------------

#[test]
fn one_client_more_than_max_clients_is_503() {
    let server = Server::start(&["--echo", "--max-clients=2"]);
    let mut first = server.open("/");
    let second = server.open("/");
    // Pages are served to whoever comes.
    let mut idle = server.connect();
    idle.send(&server.get("/healthz").to_bytes());
    assert_eq!(Response::read(&mut idle, false).status, 200);
    refused(&server, "/", 503, "--max-clients");
    first.round_trip("unharmed");
    second.leave();
    await_place(&server).round_trip("served");
}

#[test]
fn one_client_more_of_an_address_is_429() {
    let server = Server::start(&[
        "--echo",
        "--address=127.0.0.1",
        "--address=::1",
        "--max-clients-per-ip=2",
    ]);
    let mut first = server.open("/");
    let second = server.open("/");
    refused(&server, "/", 429, "--max-clients-per-ip");
    let elsewhere = server.addresses()[1];
    let mut wire = support::Wire::connect(elsewhere);
    wire.send(&support::Request::upgrade(elsewhere, "/").to_bytes());
    assert_eq!(
        Response::read(&mut wire, false).status,
        101,
        "another address"
    );
    first.round_trip("unharmed");
    drop(second);
    await_place(&server).round_trip("served");
}

#[test]
fn one_command_more_than_max_processes_is_503() {
    let server = Server::start(&["--max-processes=2", "--route=/=cat", "--route=/e=echo:"]);
    let mut first = server.open("/");
    let second = server.open("/");
    refused(&server, "/", 503, "--max-processes");
    server.open("/e").round_trip("an echo is no process");
    first.round_trip("unharmed");
    assert_eq!(server.children().len(), 2);
    drop(second);
    await_place(&server).round_trip("served");
}

#[test]
fn a_command_that_is_being_ended_still_counts() {
    let server = Server::script(
        &["--max-processes=1", "--kill-after=800ms"],
        "trap '' INT TERM; while :; do sleep 0.02; done",
    );
    let client = server.open("/");
    let command = server.only_child();
    client.leave();
    refused(&server, "/", 503, "--max-processes");
    server.await_gone(command);
    await_place(&server).leave();
}

#[test]
fn commands_are_started_no_faster_than_the_spawn_rate() {
    let server = Server::start(&["--spawn-rate=2", "--route=/=cat", "--route=/e=echo:"]);
    let start = Instant::now();
    let mut clients = Vec::new();
    let mut refusals = 0;
    while clients.len() < 4 {
        match server.try_open(&server.upgrade("/")) {
            Ok(client) => clients.push(client),
            Err(response) => {
                let line = response.expect_refusal("too fast", 503);
                assert!(line.contains("--spawn-rate"), "{line}");
                assert!(response.header("Retry-After").is_some());
                refusals += 1;
                server.open("/e").leave();
            }
        }
    }
    // Two at once, and two that had to wait for half a second each.
    assert!(refusals > 0);
    assert!(
        start.elapsed() >= Duration::from_millis(950),
        "{:?}",
        start.elapsed()
    );
    for client in &mut clients {
        client.round_trip("served");
    }
}

#[test]
fn refusals_leave_nothing_behind() {
    let server = Server::start(&["--max-clients=1", "cat"]);
    let mut client = server.open("/");
    let before = server.descriptors();
    for _ in 0..50 {
        refused(&server, "/", 503, "--max-clients");
    }
    server.await_descriptors(before);
    assert_eq!(server.children().len(), 1);
    client.round_trip("unharmed");
}

// -- How long --------------------------------------------------------------------------------------

#[test]
fn a_session_ends_at_its_timeout_however_busy_it_is() {
    let server = Server::start(&["--session-timeout=500ms", "cat"]);
    let start = Instant::now();
    let mut client = server.open("/");
    let command = server.only_child();
    let (code, reason) = loop {
        client
            .wire
            .try_send(&support::masked(support::FIN | support::TEXT, b"busy"));
        match client.message() {
            support::Message::Text(text) => assert_eq!(text, "busy"),
            support::Message::Close(close) => break close.expect("a code"),
            other => panic!("{other:?}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(code, 1008);
    assert!(reason.contains("--session-timeout"), "{reason}");
    assert!(start.elapsed() >= Duration::from_millis(500));
    server.await_gone(command);
    drop(client);
    server.await_log(&["closed", "code=1008"]);
}

#[test]
fn a_client_without_messages_is_closed_at_the_idle_timeout() {
    // Pings are no messages.
    let server = Server::start(&["--idle-timeout=400ms", "--ping-interval=50ms", "cat"]);
    let mut client = server.open("/");
    let start = Instant::now();
    let reason = client.expect_close("idle", 1008);
    assert!(reason.contains("--idle-timeout"), "{reason}");
    assert!(
        start.elapsed() >= Duration::from_millis(350),
        "{:?}",
        start.elapsed()
    );
    assert!(!client.pings.is_empty());
    server.await_no_children();
}

#[test]
fn messages_either_way_keep_a_client_from_being_idle() {
    let options = ["--idle-timeout=1s"];
    let server = Server::script(&options, "for i in 1 2 3 4 5; do sleep 0.3; echo $i; done");
    let (texts, close) = server.open("/").texts_to_close();
    assert_eq!(texts.len(), 5);
    assert_eq!(close.0, 1000);
    let server = Server::script(&options, "cat >/dev/null");
    let mut client = server.open("/");
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(300));
        client.send_text("nothing comes back");
    }
    let start = Instant::now();
    client.expect_close("idle at last", 1008);
    assert!(
        start.elapsed() >= Duration::from_millis(900),
        "{:?}",
        start.elapsed()
    );
    let server = Server::start(&["--echo", "--idle-timeout=300ms"]);
    let mut client = server.open("/");
    client.round_trip("x");
    client.expect_close("an echo", 1008);
}
