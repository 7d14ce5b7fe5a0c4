//! Listening sockets, and the TCP options of the connections accepted from them: [`listen`].
//!
//! On Linux an accepted socket inherits TCP_NODELAY, the keep-alive settings, TCP_USER_TIMEOUT and
//! TCP_NOTSENT_LOWAT from its listener (tests check that). So they are set once, not for each
//! client.
//!
//! **Buffers of the kernel.** TCP_NOTSENT_LOWAT bounds what the kernel queues for a peer that does not
//! read, without a bound on what is on its way to a distant one: the throughput stays. SO_SNDBUF and
//! SO_RCVBUF would bound both, but Linux does not grow buffers that were set. The largest that most
//! machines allow (`net.core.wmem_max`, 208 KiB) halved the throughput at 100 Mbit/s and a round trip
//! of 50 ms. A larger receive buffer would do harm, too: the kernel grows it only for a peer from which
//! the server has read fast, so a client whose command never reads queues 128 KiB there, and would
//! queue all of a buffer that was set. TCP_WINDOW_CLAMP is no bound: the kernel raises it again as the
//! buffer grows. So the receive buffer is left to `net.ipv4.tcp_rmem`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use mio::net::TcpListener;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};

use super::localhost::{self, Held};
use super::port_holder::remedy;
use crate::config::{ClientLimits, Listen};
use crate::limits::UNSENT_LEN_MAX;

/// With port 0: how often a port is chosen until it is free on every address.
const PORT_TRIES: u32 = 16;

/// The longest time between keep-alive probes that the kernel takes, in seconds.
const KEEPALIVE_MAX: u64 = 32_767;

/// Listens on every address, on the same port, and holds the other address of `localhost`. The order
/// is that of the addresses.
///
/// # Errors
/// The first address that cannot be used; the text names it, the system's reason and the next step.
pub(super) fn listen(
    listen: &Listen,
    limits: &ClientLimits,
) -> io::Result<(Vec<TcpListener>, Held)> {
    let mut tries = 1;
    loop {
        let outcome = listen_on_each(listen, limits);
        let is_in_use = match &outcome {
            Ok((_, held)) => held.is_err(),
            Err(error) => error.kind() == io::ErrorKind::AddrInUse,
        };
        // The kernel chose a port that is free on the first address; on another it was not.
        if listen.port != 0 || !is_in_use || tries == PORT_TRIES {
            return outcome;
        }
        tries += 1;
    }
}

/// The address, as IPv4 if it is an IPv4-mapped IPv6 address (`::ffff:a.b.c.d`).
pub(super) fn unmapped(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip if ip == address.ip() => address,
        ip => SocketAddr::new(ip, address.port()),
    }
}

fn listen_on_each(listen: &Listen, limits: &ClientLimits) -> io::Result<(Vec<TcpListener>, Held)> {
    let mut port = listen.port;
    let mut listeners = Vec::with_capacity(listen.addresses.len());
    let mut addresses = Vec::with_capacity(listen.addresses.len());
    for &ip in &listen.addresses {
        let address = SocketAddr::new(ip, port);
        let socket = listening_socket(address, listen.backlog, limits).map_err(|errno| {
            let kind = io::Error::from(errno).kind();
            let (reason, remedy) = (errno.desc(), remedy(errno, address));
            io::Error::new(
                kind,
                format!("cannot listen on {address}: {reason}{remedy}"),
            )
        })?;
        let listener = TcpListener::from(socket);
        let address = listener.local_addr()?;
        port = address.port();
        addresses.push(address);
        listeners.push(listener);
    }
    Ok((listeners, localhost::hold(&addresses)))
}

fn listening_socket(
    address: SocketAddr,
    backlog: i32,
    limits: &ClientLimits,
) -> nix::Result<OwnedFd> {
    let family = if address.is_ipv6() {
        AddressFamily::Inet6
    } else {
        AddressFamily::Inet
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, SockType::Stream, flags, None)?;
    // Lets a restarted server bind while connections of the previous one are in TIME_WAIT.
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        // `::` does not include `0.0.0.0`; each is listened on only if it is listed.
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    set_inherited_options(socket.as_fd(), limits)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen_socket(socket.as_fd(), backlog)?;
    Ok(socket)
}

/// Sets the options that every accepted connection inherits.
fn set_inherited_options(socket: BorrowedFd<'_>, limits: &ClientLimits) -> nix::Result<()> {
    let pong_timeout = limits.pong_timeout;
    // A message is written as a whole, so waiting for more (Nagle's algorithm) only adds delay.
    setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
    // While reading from a client is paused, its pongs are not read, and a FIN behind a full window
    // does not arrive. TCP itself then detects a dead peer: the first probe comes at half of the
    // time-out, others follow, and the kernel drops the connection at TCP_USER_TIMEOUT, which
    // replaces the count of probes (tcp(7)).
    let seconds = |time: Duration| time.as_secs().clamp(1, KEEPALIVE_MAX) as u32;
    setsockopt(&socket, sockopt::KeepAlive, &true)?;
    setsockopt(&socket, sockopt::TcpKeepIdle, &seconds(pong_timeout / 2))?;
    setsockopt(
        &socket,
        sockopt::TcpKeepInterval,
        &seconds(pong_timeout / 8),
    )?;
    // TCP_USER_TIMEOUT also drops a live peer that acknowledges nothing, so it must not be shorter
    // than `--write-timeout`. 0 would mean the system's default.
    let user_timeout = pong_timeout.max(limits.write_timeout);
    let millis = u32::try_from(user_timeout.as_millis())
        .unwrap_or(u32::MAX)
        .max(1);
    setsockopt(&socket, sockopt::TcpUserTimeout, &millis)?;
    match set_unsent_max(socket, UNSENT_LEN_MAX) {
        // A system that imitates Linux may lack it. Clients are served as well without it.
        Err(Errno::ENOPROTOOPT) => Ok(()),
        other => other,
    }
}

/// Sets TCP_NOTSENT_LOWAT (tcp(7)), which `nix` does not have: the number of queued and unsent bytes
/// from which on a write would block.
#[allow(unsafe_code)]
fn set_unsent_max(socket: BorrowedFd<'_>, len: libc::c_int) -> nix::Result<()> {
    let option_len = size_of_val(&len) as libc::socklen_t;
    // SAFETY: the descriptor is open while it is borrowed, and the int outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const len).cast(),
            option_len,
        )
    };
    Errno::result(result).map(drop)
}

/// `listen(2)`. The function of `nix` refuses a backlog above the SOMAXCONN that the C library was
/// built with (128 in musl); the kernel caps it at `net.core.somaxconn` by itself.
#[allow(unsafe_code)]
fn listen_socket(socket: BorrowedFd<'_>, backlog: i32) -> nix::Result<()> {
    // SAFETY: the descriptor is open while it is borrowed, and no memory is passed.
    let result = unsafe { libc::listen(socket.as_raw_fd(), backlog) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::socket::getsockopt;

    use super::*;
    use crate::linux::accept::accept;
    use crate::system::AcceptError;

    fn listen_on(addresses: &[IpAddr], port: u16) -> io::Result<Vec<TcpListener>> {
        listen_with(addresses, port, &ClientLimits::default())
    }

    fn listen_with(
        addresses: &[IpAddr],
        port: u16,
        limits: &ClientLimits,
    ) -> io::Result<Vec<TcpListener>> {
        let addresses = Listen {
            addresses: addresses.to_vec(),
            port,
            ..Listen::default()
        };
        listen(&addresses, limits).map(|(listeners, _)| listeners)
    }

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    fn wait_readable(listener: &TcpListener) {
        let mut polled = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut polled, PollTimeout::from(10_000_u16)), Ok(1));
    }

    #[test]
    fn accepted_sockets_inherit_the_options() {
        let limits = ClientLimits {
            pong_timeout: Duration::from_secs(40),
            write_timeout: Duration::from_secs(30),
            ..ClientLimits::default()
        };
        let listeners = listen_with(&[V4], 0, &limits).unwrap();
        let nothing = accept(&listeners[0]);
        assert!(matches!(nothing, Err(AcceptError::WouldBlock)));

        let address = listeners[0].local_addr().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        wait_readable(&listeners[0]);
        let (accepted, peer) = accept(&listeners[0]).unwrap();
        assert_eq!(peer.addr(), client.local_addr().unwrap());
        assert_eq!(getsockopt(&accepted, sockopt::TcpNoDelay), Ok(true));
        assert_eq!(getsockopt(&accepted, sockopt::KeepAlive), Ok(true));
        assert_eq!(getsockopt(&accepted, sockopt::TcpKeepIdle), Ok(20));
        assert_eq!(getsockopt(&accepted, sockopt::TcpKeepInterval), Ok(5));
        assert_eq!(getsockopt(&accepted, sockopt::TcpUserTimeout), Ok(40_000));
    }

    #[test]
    fn the_shortest_and_longest_time_outs_are_accepted() {
        for pong_timeout in [Duration::from_millis(1), crate::limits::DURATION_MAX] {
            let limits = ClientLimits {
                pong_timeout,
                ..ClientLimits::default()
            };
            listen_with(&[V4], 0, &limits).unwrap();
        }
    }

    #[test]
    fn port_0_is_one_port_for_all_addresses() {
        let others = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
        let addresses = [V4, IpAddr::V4(others[0]), IpAddr::V4(others[1])];
        let listeners = listen_on(&addresses, 0).unwrap();
        let bound: Vec<_> = listeners
            .iter()
            .map(|one| one.local_addr().unwrap())
            .collect();
        let port = bound[0].port();
        assert_ne!(port, 0);
        assert_eq!(bound, addresses.map(|ip| SocketAddr::new(ip, port)));
    }

    #[test]
    fn an_ipv6_listener_does_not_include_ipv4() {
        let any = [
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        ];
        match listen_on(&any, 0) {
            Ok(listeners) => {
                assert_eq!(getsockopt(&listeners[0], sockopt::Ipv6V6Only), Ok(true));
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}"),
        }
    }

    #[test]
    fn a_taken_port_is_named_with_the_reason() {
        let listeners = listen_on(&[V4], 0).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let error = listen_on(&[V4], address.port()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let says = format!("cannot listen on {address}: Address already in use: take ");
        assert!(error.to_string().starts_with(&says), "{error}");
    }

    #[test]
    fn port_0_fails_if_no_port_is_free_on_every_address() {
        let error = listen_on(&[V4, V4], 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    /// On one in 50 of the ports that the kernel chooses from, something has the other address.
    #[test]
    fn port_0_is_free_on_both_addresses_of_localhost() {
        let others: Vec<_> = (0..300)
            .map_while(|_| std::net::TcpListener::bind((V6, 0)).ok())
            .collect();
        if others.is_empty() {
            return;
        }
        let listen_to = Listen {
            addresses: vec![V4],
            port: 0,
            ..Listen::default()
        };
        for _ in 0..300 {
            let (_listeners, held) = listen(&listen_to, &ClientLimits::default()).unwrap();
            assert!(matches!(held, Ok(Some(_))), "{held:?}");
        }
    }

    #[test]
    fn mapped_addresses_are_unmapped() {
        let cases = [
            ("[::ffff:192.0.2.1]:80", "192.0.2.1:80"),
            ("[::1]:80", "[::1]:80"),
            ("[fe80::1%3]:80", "[fe80::1%3]:80"),
            ("192.0.2.1:80", "192.0.2.1:80"),
        ];
        for (address, expected) in cases {
            assert_eq!(
                unmapped(address.parse().unwrap()),
                expected.parse().unwrap()
            );
        }
        assert_eq!(unmapped(SocketAddr::new(V6, 1)), SocketAddr::new(V6, 1));
    }
}
