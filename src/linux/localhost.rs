//! The address of `localhost` that the server does not listen on: [`hold`].
//!
//! `localhost` means ::1 and 127.0.0.1, and a browser tries the second where the first refuses. By
//! default the server listens on one of them. If another user of the machine listened on the other,
//! their page would have the origin of the server:
//!
//! ```text
//! browser                        [::1]:8080              127.0.0.1:8080
//! GET http://localhost:8080/ --> another user's page
//!                                (stops listening)
//! ws://localhost:8080/ws ------> refused --------------> wspipe: Host and Origin agree
//! ```
//!
//! So the server binds the other address as well, without listening on it: the kernel refuses
//! connections there, and nobody else can listen.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, socket};

use super::port_holder::remedy;

/// `localhost` may lead to another program.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The address of `localhost` on which the server listens.
    pub(crate) served: SocketAddr,
    /// Why the other one is not held, and the next step.
    pub(crate) warning: String,
}

/// The socket that keeps other programs from the other address of `localhost`, if there is one to
/// hold; or why it could not be bound, which mostly means that it is in use.
pub(super) type Held = Result<Option<OwnedFd>, Shared>;

/// Binds the address of `localhost` that is not in `listening` if the other one is. `None` if there
/// is nothing to hold: `localhost` does not lead to the server at all, both of its addresses do, or
/// this system does not have the other.
pub(super) fn hold(listening: &[SocketAddr]) -> Held {
    let Some((served, other)) = halves(listening) else {
        return Ok(None);
    };
    match bound_socket(other) {
        Ok(socket) => Ok(Some(socket)),
        Err(Errno::EADDRNOTAVAIL | Errno::EAFNOSUPPORT) => Ok(None),
        Err(errno) => Err(Shared {
            served,
            warning: format!(
                "cannot keep {other} from other programs: {}{}; requests for localhost get 403, \
                 because it may lead to another program: open http://{served}/",
                errno.desc(),
                remedy(errno, other),
            ),
        }),
    }
}

/// The address of `localhost` that is listened on and the one that is not, if there is one of each.
fn halves(listening: &[SocketAddr]) -> Option<(SocketAddr, SocketAddr)> {
    let port = listening.first()?.port();
    let v4 = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    let v6 = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port);
    // Each wildcard covers its own family only: IPv6 sockets are IPV6_V6ONLY here.
    let covers = |own: IpAddr, ip: IpAddr| {
        own == ip || own.is_unspecified() && own.is_ipv4() == ip.is_ipv4()
    };
    let is_served = |it: SocketAddr| listening.iter().any(|own| covers(own.ip(), it.ip()));
    match (is_served(v4), is_served(v6)) {
        (true, false) => Some((v4, v6)),
        (false, true) => Some((v6, v4)),
        _ => None,
    }
}

/// A socket that is bound and does not listen. With SO_REUSEADDR, another program that sets it too
/// could bind the address, and answer a browser by connecting to it at the same moment (simultaneous
/// open, RFC 9293 section 3.5). A restart does not need it: no connection is accepted here, so none
/// is in TIME_WAIT.
fn bound_socket(address: SocketAddr) -> nix::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    use nix::sys::socket::{getsockname, getsockopt, sockopt};

    use super::*;

    #[test]
    fn the_half_of_localhost_that_is_not_listened_on_is_found() {
        // Without an expectation, there is nothing to hold.
        #[rustfmt::skip]
        let cases: &[(&[&str], &[&str])] = &[
            (&["127.0.0.1:80"], &["127.0.0.1:80", "[::1]:80"]),
            (&["0.0.0.0:80"], &["127.0.0.1:80", "[::1]:80"]),
            (&["192.0.2.1:80", "127.0.0.1:80"], &["127.0.0.1:80", "[::1]:80"]),
            (&["127.0.0.1:80", "[2001:db8::1]:80"], &["127.0.0.1:80", "[::1]:80"]),
            (&["[::1]:80"], &["[::1]:80", "127.0.0.1:80"]),
            (&["[::]:80"], &["[::1]:80", "127.0.0.1:80"]),
            (&["[::]:80", "127.0.0.2:80"], &["[::1]:80", "127.0.0.1:80"]),
            (&["127.0.0.1:80", "[::1]:80"], &[]),
            (&["0.0.0.0:80", "[::1]:80"], &[]),
            (&["[::]:80", "127.0.0.1:80"], &[]),
            (&["0.0.0.0:80", "[::]:80"], &[]),
            (&["127.0.0.2:80"], &[]),
            (&["192.0.2.1:80"], &[]),
            (&[], &[]),
        ];
        for (listening, expected) in cases {
            let addresses: Vec<_> = listening.iter().map(|it| it.parse().unwrap()).collect();
            let found = halves(&addresses).map(|(served, other)| [served, other]);
            let found: Vec<_> = found.iter().flatten().map(SocketAddr::to_string).collect();
            assert_eq!(&found, expected, "{listening:?}");
        }
    }

    /// A port on which only ::1 is listened on, so that 127.0.0.1 is the other half. `None` without
    /// IPv6.
    fn port_of_v6() -> Option<(TcpListener, SocketAddr)> {
        loop {
            let listener = TcpListener::bind("[::1]:0").ok()?;
            let served = listener.local_addr().unwrap();
            if TcpListener::bind(("127.0.0.1", served.port())).is_ok() {
                return Some((listener, served));
            }
        }
    }

    #[test]
    fn the_held_socket_is_bound_and_shared_with_nobody() {
        let Some((_listener, served)) = port_of_v6() else {
            return;
        };
        let held = hold(&[served]).unwrap().expect("127.0.0.1 exists");
        let other = SocketAddr::from(([127, 0, 0, 1], served.port()));
        let name: SockaddrStorage = getsockname(held.as_raw_fd()).unwrap();
        assert_eq!(name, SockaddrStorage::from(other));
        assert_eq!(getsockopt(&held, sockopt::ReuseAddr), Ok(false));
        assert_eq!(getsockopt(&held, sockopt::ReusePort), Ok(false));
        assert_eq!(getsockopt(&held, sockopt::AcceptConn), Ok(false));
        let flags = fcntl(&held, FcntlArg::F_GETFD).unwrap();
        assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
    }

    #[test]
    fn an_address_in_use_is_named_with_the_one_to_open() {
        let Some((_listener, served)) = port_of_v6() else {
            return;
        };
        let other = SocketAddr::from(([127, 0, 0, 1], served.port()));
        let _held = bound_socket(other).unwrap();
        let shared = hold(&[served]).unwrap_err();
        assert_eq!(shared.served, served);
        let parts = [
            format!("cannot keep {other} from other programs: Address already in use"),
            format!("open http://{served}/"),
            "--port=0".to_owned(),
        ];
        for part in parts {
            assert!(shared.warning.contains(&part), "{part}: {shared:?}");
        }
    }
}
