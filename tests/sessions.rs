//! How many clients and commands are served, and for how long: `--once`, `--exit-when-idle`, the
//! limits on clients and commands, `--session-timeout` and `--idle-timeout`.

mod support;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{Client, Response, Server, wait_until};

/// Asserts a refusal with `status` and Retry-After whose text names `option`.
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

/// Waits until the server accepts a client.
#[track_caller]
fn await_place(server: &Server) -> Client {
    let mut found = None;
    wait_until("a client is accepted", || {
        found = server.try_open(&server.upgrade("/")).ok();
        found.is_some()
    });
    found.expect("an accepted client")
}

#[track_caller]
fn exit_code(mut server: Server) -> Option<i32> {
    server.exit_status().code()
}

// -- --once and --exit-when-idle -------------------------------------------------------------------

#[test]
fn once_exits_with_the_status_of_the_command() {
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
    // The first signal of the escalation terminates this command.
    let server = Server::script(&["--once"], "exec sleep 60");
    server.open("/").leave();
    assert_eq!(exit_code(server), Some(130));
}

#[test]
fn once_serves_pages_and_waits_for_an_accepted_client() {
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
fn once_exits_when_the_client_vanishes_and_a_page_is_idle() {
    let server = Server::start(&["--once", "--echo"]);
    let mut page = server.connect();
    page.send(&server.get("/").to_bytes());
    assert_eq!(Response::read(&mut page, false).status, 200);
    let mut client = server.open("/");
    client.round_trip("x");
    drop(client);
    // The server closes the idle connection of the page, so that it does not delay the exit.
    page.expect_eof();
    drop(page);
    assert_eq!(exit_code(server), Some(0));
}

#[test]
fn a_signal_shuts_down_a_server_with_once() {
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
fn exit_when_idle_exits_after_the_last_client() {
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
    // The exit status of the command does not matter.
    let server = Server::script(&["--exit-when-idle"], "exit 9");
    server.open("/").texts_to_close();
    assert_eq!(exit_code(server), Some(0));
}

// -- Limits on clients and commands ----------------------------------------------------------------

#[test]
fn a_client_over_max_clients_is_503() {
    let server = Server::start(&["--echo", "--max-clients=2"]);
    let mut first = server.open("/");
    let second = server.open("/");
    // Pages do not count.
    let mut idle = server.connect();
    idle.send(&server.get("/healthz").to_bytes());
    assert_eq!(Response::read(&mut idle, false).status, 200);
    refused(&server, "/", 503, "--max-clients");
    first.round_trip("unaffected");
    second.leave();
    await_place(&server).round_trip("served");
}

#[test]
fn a_client_over_max_clients_per_ip_is_429() {
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
    // Every user of the machine has all of 127.0.0.0/8.
    let mut wire = support::Wire::connect_from(([127, 0, 0, 2], 0).into(), server.address());
    wire.send(&server.upgrade("/").to_bytes());
    let response = Response::read(&mut wire, false);
    let reason = response.expect_refusal("another loopback address", 429);
    assert!(reason.contains("--max-clients-per-ip"), "{reason}");
    first.round_trip("unaffected");
    drop(second);
    await_place(&server).round_trip("served");
}

/// How fast a client takes its last bytes must not keep others out.
#[test]
fn a_client_that_was_closed_has_no_place_while_it_takes_its_last_bytes() {
    for option in ["--max-clients=1", "--max-clients-per-ip=1"] {
        let options = ["--session-timeout=500ms", option, "yes"];
        let server = Server::start(&options);
        let before = server.descriptors();
        let slow = server.open_with_small_buffers("/");
        let mut next = await_place(&server);
        assert!(
            server.descriptors() > before + 1,
            "the first is still there"
        );
        next.frame();
        drop((slow, next));
    }
}

/// It has no place any more, but it is served until it has everything.
#[test]
fn with_once_a_slow_client_gets_the_last_bytes() {
    let options = ["--once", "--drain-timeout=100ms"];
    let server = Server::script(&options, "head -c 300000 /dev/zero | tr '\\0' 'x'; exit 3");
    let mut client = server.open_with_small_buffers("/");
    std::thread::sleep(Duration::from_secs(1));
    let (texts, (code, _)) = client.texts_to_close();
    assert_eq!((texts.concat().len(), code), (300_000, 4003));
    client.send_close(code, "");
    drop(client);
    assert_eq!(exit_code(server), Some(3));
}

#[test]
fn a_command_over_max_processes_is_503() {
    let server = Server::start(&["--max-processes=2", "--route=/=cat", "--route=/e=echo:"]);
    let mut first = server.open("/");
    let second = server.open("/");
    refused(&server, "/", 503, "--max-processes");
    server.open("/e").round_trip("an echo is no process");
    first.round_trip("unaffected");
    assert_eq!(server.children().len(), 2);
    drop(second);
    await_place(&server).round_trip("served");
}

#[test]
fn a_command_that_is_being_terminated_still_counts() {
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
    // Two commands start at once, and two must wait half a second each.
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
    client.round_trip("unaffected");
}

// -- Timeouts --------------------------------------------------------------------------------------

#[test]
fn a_busy_client_is_closed_at_the_session_timeout() {
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
    // Pings do not count as messages.
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
fn messages_in_either_direction_postpone_the_idle_timeout() {
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
