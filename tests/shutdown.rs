//! The end of the server (DESIGN 3.6): a drain at the first signal, the end at the second.

mod support;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use support::{Client, Launch, Process, Response, STUBBORN, Server, TempDir, wait_until};

#[test]
fn every_signal_that_asks_for_the_end_gets_it() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut server = Server::start(&[]);
        server.signal(signal);
        assert_eq!(server.exit_status().code(), Some(0), "{signal}");
    }
}

#[test]
fn a_hang_up_that_was_ignored_at_start_is_ignored() {
    let server = Launch::new(&["--echo"]).after("trap '' HUP").start();
    let mut client = server.open("/");
    server.signal(Signal::SIGHUP);
    client.round_trip("as under nohup");
    server.open("/").round_trip("and for new clients");
}

#[test]
fn a_broken_pipe_is_no_signal_for_the_server() {
    let server = Server::start(&[]);
    server.signal(Signal::SIGPIPE);
    server.open("/echo").round_trip("still there");
}

#[test]
fn every_client_is_told_1001() {
    let mut server = Server::start(&[]);
    let mut clients: Vec<Client> = ["/echo", "/ws", "/echo", "/ws"]
        .map(|it| server.open(it))
        .into();
    server.signal(Signal::SIGTERM);
    for client in &mut clients {
        client.expect_close("shutdown", 1001);
    }
    drop(clients);
    assert_eq!(server.exit_status().code(), Some(0));
}

#[test]
fn it_stops_listening_at_once() {
    let mut server = Server::start(&[]);
    let mut client = server.open("/echo");
    server.signal(Signal::SIGTERM);
    assert_eq!(client.close().0, 1001);
    // The client has not answered yet, so the drain goes on.
    wait_until("connections are refused", || {
        TcpStream::connect(server.address()).is_err()
    });
    client.send_close(1001, "");
    client.wire.expect_eof();
    drop(client);
    assert_eq!(server.exit_status().code(), Some(0));
}

#[test]
fn it_ends_as_soon_as_all_are_gone() {
    let mut server = Server::start(&["--drain-timeout=1h", "--close-timeout=1h"]);
    let mut client = server.open("/ws");
    let start = Instant::now();
    server.signal(Signal::SIGTERM);
    client.expect_close("shutdown", 1001);
    drop(client);
    assert_eq!(server.exit_status().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_client_that_does_not_answer_is_waited_for_until_the_drain_ends() {
    let mut server = Server::start(&["--drain-timeout=600ms"]);
    let client = server.open("/echo");
    let start = Instant::now();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_status().code(), Some(0));
    assert!(
        start.elapsed() > Duration::from_millis(500),
        "{:?}",
        start.elapsed()
    );
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
    drop(client);
}

#[test]
fn plain_connections_do_not_hold_it_up() {
    let mut server = Server::start(&["--drain-timeout=1h"]);
    let mut idle = server.connect();
    idle.send(&server.get("/healthz").to_bytes());
    assert_eq!(Response::read(&mut idle, false).status, 200);
    let fresh = server.connect();
    server.open("/echo").round_trip("both have been accepted");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_status().code(), Some(0));
    drop(fresh);
}

#[test]
fn a_client_with_its_output_waiting_does_not_hold_it_up_for_ever() {
    let mut server = Server::start(&["--drain-timeout=600ms", "yes"]);
    let mut client = server.open("/");
    client.frame();
    let command = server.only_child();
    command.await_stalled();
    let pid = server.pid();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_status().code(), Some(0));
    wait_until("the command is gone", || command.is_gone(pid));
}

#[test]
fn commands_climb_the_ladder() {
    let dir = TempDir::new();
    let script = format!(
        "trap 'echo int >> {0}' INT; trap 'echo term >> {0}' TERM
        echo ready; while :; do sleep 0.02; done",
        dir.text("signals")
    );
    let mut server = Server::script(&[], &script);
    let mut client = server.open("/");
    assert_eq!(client.text(), "ready");
    let command = server.only_child();
    let pid = server.pid();
    server.signal(Signal::SIGTERM);
    client.expect_close("shutdown", 1001);
    drop(client);
    assert_eq!(server.exit_status().code(), Some(0));
    assert!(command.is_gone(pid), "it outlived the server");
    assert_eq!(dir.read("signals"), "int\nterm\n");
}

#[test]
fn grandchildren_do_not_outlive_the_server() {
    let script = "(trap '' INT TERM; while :; do sleep 0.05; done) & echo $!; wait";
    let mut server = Server::script(&[], script);
    let mut client = server.open("/");
    let pid = client.text().parse().expect("a PID");
    let grandchild = Process::find(pid).expect("it runs");
    let server_pid = server.pid();
    server.signal(Signal::SIGTERM);
    client.expect_close("shutdown", 1001);
    drop(client);
    assert_eq!(server.exit_status().code(), Some(0));
    wait_until("the grandchild is gone", || grandchild.is_gone(server_pid));
}

#[test]
fn the_end_of_the_drain_kills_what_is_left() {
    let mut server = Server::script(&["--kill-after=1h", "--drain-timeout=600ms"], STUBBORN);
    let mut client = server.open("/");
    assert_eq!(client.text(), "ready");
    let command = server.only_child();
    let pid = server.pid();
    server.signal(Signal::SIGTERM);
    assert_eq!(client.close().0, 1001);
    assert_eq!(server.exit_status().code(), Some(0));
    wait_until("the command is gone", || command.is_gone(pid));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let options = [
            "--kill-after=1h",
            "--drain-timeout=1h",
            "--close-timeout=1h",
        ];
        let mut server = Server::script(&options, STUBBORN);
        let mut client = server.open("/");
        assert_eq!(client.text(), "ready");
        let command = server.only_child();
        let pid = server.pid();
        server.signal(Signal::SIGTERM);
        // The first one has been seen; without that the two could be one.
        assert_eq!(client.close().0, 1001);
        server.signal(second);
        assert_eq!(server.exit_status().code(), Some(1), "{second}");
        wait_until("the command is gone", || command.is_gone(pid));
    }
}

#[test]
fn a_command_that_is_on_its_ladder_already_is_waited_for() {
    // Its client has left before the signal came.
    let mut server = Server::script(&[], STUBBORN);
    let mut client = server.open("/");
    assert_eq!(client.text(), "ready");
    let command = server.only_child();
    client.leave();
    let pid = server.pid();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_status().code(), Some(0));
    assert!(command.is_gone(pid), "it outlived the server");
}

#[test]
fn hundreds_of_clients_are_drained() {
    support::raise_own_descriptor_limit();
    let mut server = Server::start(&["--echo", "--log-level=warn"]);
    let mut clients: Vec<Client> = (0..300).map(|_| server.open("/")).collect();
    server.signal(Signal::SIGTERM);
    for client in &mut clients {
        client.expect_close("shutdown", 1001);
    }
    drop(clients);
    assert_eq!(server.exit_status().code(), Some(0));
}
