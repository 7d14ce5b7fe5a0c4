//! `localhost` is two addresses, 127.0.0.1 and ::1. A server that listens on one of them holds the
//! other, so that no other user's page gets the origin of the server. Where another program has it,
//! `localhost` is no name of the server.

mod support;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};
use support::{Launch, Request, Response, STUBBORN, Server, Wire, as_another_user, has_ipv6};

/// How another program may try to get an address: its options, and the outcome of bind(2) and
/// listen(2).
fn try_listen(
    address: SocketAddr,
    only_v6: bool,
    reuse_addr: bool,
    reuse_port: bool,
) -> nix::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &only_v6)?;
    }
    setsockopt(&socket, sockopt::ReuseAddr, &reuse_addr)?;
    setsockopt(&socket, sockopt::ReusePort, &reuse_port)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&socket, Backlog::new(1)?)?;
    Ok(socket)
}

/// Asserts that no socket can listen on any address to which `localhost` may lead.
#[track_caller]
fn assert_nobody_can_listen(port: u16, who: &str) {
    let addresses: [(&str, bool); 7] = [
        ("::1", true),
        ("::1", false),
        ("::", true),
        ("::", false),
        ("::ffff:127.0.0.1", false),
        ("127.0.0.1", false),
        ("0.0.0.0", false),
    ];
    for (ip, only_v6) in addresses {
        for (reuse_addr, reuse_port) in [(false, false), (true, false), (false, true), (true, true)]
        {
            let ip: IpAddr = ip.parse().expect("an address");
            let outcome = try_listen(SocketAddr::new(ip, port), only_v6, reuse_addr, reuse_port);
            let case = format!(
                "{who}: {ip}, v6only {only_v6}, reuse {reuse_addr}, port {reuse_port}: {outcome:?}"
            );
            assert_eq!(outcome.err(), Some(Errno::EADDRINUSE), "{case}");
        }
    }
}

/// The other address of `localhost`, at the same port.
fn other_of(address: SocketAddr) -> SocketAddr {
    let other = match address {
        SocketAddr::V4(_) => "::1",
        SocketAddr::V6(_) => "127.0.0.1",
    };
    SocketAddr::new(other.parse().expect("an address"), address.port())
}

/// A program that listens on `ip` at a port that is free on the other address of `localhost`.
fn other_program(ip: &str) -> TcpListener {
    loop {
        let listener = TcpListener::bind((ip, 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        if TcpListener::bind(other_of(address)).is_ok() {
            return listener;
        }
    }
}

/// The response to `GET /` with this Host.
#[track_caller]
fn page(address: SocketAddr, host: &str) -> Response {
    let mut wire = Wire::connect(address);
    wire.send(&Request::get(address, "/").set("Host", host).to_bytes());
    Response::read(&mut wire, false)
}

#[test]
fn nobody_else_can_listen_on_the_other_address_of_localhost() {
    if !has_ipv6() {
        return support::skipped("no IPv6 here");
    }
    for address in ["127.0.0.1", "0.0.0.0", "::1", "::"] {
        let server = Server::start(&["--echo", &format!("--address={address}")]);
        let served = server.address();
        assert_nobody_can_listen(served.port(), address);
        as_another_user(|| assert_nobody_can_listen(served.port(), address));
        // The browser goes on to the address that is served.
        let refused = TcpStream::connect(other_of(served)).map_err(|error| error.kind());
        assert_eq!(refused.err(), Some(ErrorKind::ConnectionRefused));
        let host = format!("localhost:{}", served.port());
        assert_eq!(page(served, &host).status, 200);
    }
}

#[test]
fn a_server_that_localhost_does_not_lead_to_holds_nothing() {
    // Another program may have the port of one server by chance, but not of all three.
    let is_free = |_| {
        let server = Server::start(&["--echo", "--address=127.0.0.2"]);
        TcpListener::bind(("127.0.0.1", server.address().port())).is_ok()
    };
    assert!((0..3).any(is_free));
}

#[test]
fn localhost_is_403_while_another_program_has_its_other_address() {
    if !has_ipv6() {
        return support::skipped("no IPv6 here");
    }
    for (taken, served) in [("::1", "127.0.0.1"), ("127.0.0.1", "::1")] {
        let holder = other_program(taken);
        let port = holder.local_addr().expect("its address").port();
        let options = [format!("--port={port}"), format!("--address={served}")];
        let server = Server::start(&[&options[0], &options[1], "--echo"]);
        let own = std::process::id();
        let warning = format!("(PID {own}): stop it with kill {own}");
        server.await_log(&["warning: cannot keep", &warning, "localhost", "--port=0"]);

        let address = server.address();
        let url = format!("http://{address}/");
        for host in ["localhost", "app.localhost", "LocalHost."] {
            let host = format!("{host}:{port}");
            let reason = page(address, &host).expect_refusal(&host, 403);
            assert!(reason.contains(&format!("open {url},")), "{reason}");
            assert!(reason.contains("--port=0"), "{reason}");
            let request = server.upgrade("/").set("Host", &host);
            let browser = request.add("Origin", &format!("http://{host}"));
            let response = server.try_open(&browser).err().expect("refused");
            response.expect_refusal(&host, 403);
        }
        // What the refusal says to open works.
        assert_eq!(page(address, &address.to_string()).status, 200);
        let same_origin = server
            .upgrade("/")
            .add("Origin", &format!("http://{address}"));
        assert!(server.try_open(&same_origin).is_ok());
    }
}

#[test]
fn a_socket_that_is_only_bound_makes_localhost_403_as_well() {
    if !has_ipv6() {
        return support::skipped("no IPv6 here");
    }
    let first = other_program("::1");
    let taken = first.local_addr().expect("its address");
    drop(first);
    let flags = SockFlag::SOCK_CLOEXEC;
    let bound = socket(AddressFamily::Inet6, SockType::Stream, flags, None).expect("a socket");
    setsockopt(&bound, sockopt::ReuseAddr, &true).expect("SO_REUSEADDR");
    bind(bound.as_raw_fd(), &SockaddrStorage::from(taken)).expect("a free address");
    let server = Server::start(&["--echo", &format!("--port={}", taken.port())]);
    let host = format!("localhost:{}", taken.port());
    page(server.address(), &host).expect_refusal("bound", 403);
}

/// In a network of its own, whose loopback interface is down and so has no ::1.
#[test]
fn a_machine_without_the_other_address_is_served_without_a_warning() {
    let unshare = "unshare --user --map-root-user --net";
    let can = std::process::Command::new("sh")
        .args(["-c", &format!("{unshare} true")])
        .output();
    if !can.is_ok_and(|output| output.status.success()) {
        return support::skipped(&format!("{unshare} is not allowed here"));
    }
    let server = Launch::new(&["--echo", "--address=0.0.0.0"])
        .after(&format!("exec {unshare} -- \"$0\" \"$@\""))
        .start();
    let log = server.log_text();
    assert!(!log.contains("warning"), "{log}");
}

/// The first server closes its connection first, so that it leaves TIME_WAIT behind.
#[test]
fn a_server_that_is_restarted_at_once_holds_the_address_again() {
    if !has_ipv6() {
        return support::skipped("no IPv6 here");
    }
    let mut first = Server::start(&["--echo"]);
    let port = first.address().port();
    let mut client = first.open("/");
    client.round_trip("before");
    first.signal(Signal::SIGTERM);
    client.expect_close("shutdown", 1001);
    client.wire.expect_eof();
    drop(client);
    assert_eq!(first.exit_status().code(), Some(0));
    let time_wait = format!("0100007F:{port:04X} 0100007F:");
    let table = || std::fs::read_to_string("/proc/net/tcp").expect("the table");
    let in_time_wait = |line: &str| line.contains(&time_wait) && line.contains(" 06 ");
    if cfg!(target_endian = "little") {
        support::wait_until("TIME_WAIT", || table().lines().any(in_time_wait));
    }
    let second = Server::start(&["--echo", &format!("--port={port}")]);
    assert_nobody_can_listen(port, "after the restart");
    let host = format!("localhost:{port}");
    assert_eq!(page(second.address(), &host).status, 200);
}

#[test]
fn a_server_that_drains_leaves_the_address_to_the_next() {
    if !has_ipv6() {
        return support::skipped("no IPv6 here");
    }
    let mut first = Server::script(&["--kill-after=30s", "--drain-timeout=60s"], STUBBORN);
    let port = first.address().port();
    let mut client = first.open("/");
    assert_eq!(client.text(), "ready");
    first.signal(Signal::SIGTERM);
    assert_eq!(client.close().0, 1001);
    let second = Server::start(&["--echo", &format!("--port={port}")]);
    assert_nobody_can_listen(port, "while the first server drains");
    let host = format!("localhost:{port}");
    assert_eq!(page(second.address(), &host).status, 200);
    first.kill_and_await_gone(first.children());
}
