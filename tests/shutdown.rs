//! Shutdown: the first signal starts the drain, the second makes the server exit at once.

mod support;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use support::{Client, Launch, Process, Response, STUBBORN, Server, TempDir, wait_until};

#[test]
fn sigterm_sigint_and_sighup_shut_down_the_server() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut server = Server::start(&[]);
        server.signal(signal);
        assert_eq!(server.exit_status().code(), Some(0), "{signal}");
    }
}

#[test]
fn a_sighup_that_was_ignored_at_start_stays_ignored() {
    let server = Launch::new(&["--echo"]).after("trap '' HUP").start();
    let mut client = server.open("/");
    server.signal(Signal::SIGHUP);
    client.round_trip("as under nohup");
    server.open("/").round_trip("and for new clients");
}

#[test]
fn the_server_ignores_sigpipe() {
    let server = Server::start(&[]);
    server.signal(Signal::SIGPIPE);
    server.open("/echo").round_trip("still there");
}

#[test]
fn a_shutdown_closes_every_client_with_1001() {
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
fn a_shutdown_stops_listening_at_once() {
    let mut server = Server::start(&[]);
    let mut client = server.open("/echo");
    server.signal(Signal::SIGTERM);
    assert_eq!(client.close().0, 1001);
    // The client has not answered the close, so the drain continues.
    wait_until("connections are refused", || {
        TcpStream::connect(server.address()).is_err()
    });
    client.send_close(1001, "");
    client.wire.expect_eof();
    drop(client);
    assert_eq!(server.exit_status().code(), Some(0));
}

#[test]
fn the_server_exits_as_soon_as_all_clients_are_gone() {
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
fn a_client_that_does_not_answer_delays_the_exit_until_the_drain_timeout() {
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

/// A container gets SIGKILL ten seconds after SIGTERM.
#[test]
fn by_default_a_shutdown_takes_less_than_ten_seconds() {
    let mut server = Server::script(&["--kill-after=20s"], STUBBORN);
    let mut client = server.open("/");
    assert_eq!(client.text(), "ready");
    let start = Instant::now();
    server.signal(Signal::SIGTERM);
    // The close is not answered, and the command ignores signals.
    assert_eq!(client.close().0, 1001);
    assert_eq!(server.exit_status().code(), Some(0));
    let took = start.elapsed();
    assert!(took > Duration::from_secs(7), "{took:?}");
    assert!(took < Duration::from_millis(9500), "{took:?}");
}

#[test]
fn a_client_that_has_answered_but_keeps_tcp_open_does_not_delay_the_exit() {
    // A browser answers with the code that it was sent.
    for code in [1000, 1001] {
        let mut server = Server::start(&["--drain-timeout=1h", "--close-timeout=1h"]);
        let mut clients = ["/echo", "/ws"].map(|target| server.open(target));
        server.signal(Signal::SIGTERM);
        for client in &mut clients {
            assert_eq!(client.close().0, 1001);
            client.send_close(code, "");
        }
        assert_eq!(server.exit_status().code(), Some(0));
        for client in &mut clients {
            client.wire.expect_eof();
        }
    }
}

#[test]
fn plain_http_connections_do_not_delay_the_exit() {
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
fn unsent_output_delays_the_exit_only_until_the_drain_timeout() {
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
fn a_shutdown_terminates_commands_by_escalation() {
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
fn the_drain_timeout_kills_the_remaining_commands() {
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
fn a_second_signal_exits_at_once() {
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
        // The close shows that the first signal was handled. Otherwise the two could coalesce.
        assert_eq!(client.close().0, 1001);
        server.signal(second);
        assert_eq!(server.exit_status().code(), Some(1), "{second}");
        wait_until("the command is gone", || command.is_gone(pid));
    }
}

#[test]
fn a_shutdown_waits_for_an_escalation_that_has_begun() {
    // The client leaves before the signal.
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
