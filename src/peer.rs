//! The other end of a connection: [`Peer`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::http::proxy::Remote;

/// The other end of a connection. Every client has one, so it is small: 24 bytes, where the standard
/// library's [`SocketAddr`] alone has 32.
#[derive(Clone, Debug)]
pub enum Peer {
    /// A client with an IPv4 address.
    V4(SocketAddrV4),
    /// A client with an IPv6 address. The flow label (RFC 6437) is not kept.
    V6 {
        /// Its address.
        ip: Ipv6Addr,
        /// Its port.
        port: u16,
        /// The interface of a link-local address; otherwise 0.
        scope_id: u32,
    },
    /// A proxy, and the client behind it.
    Proxy(Box<Proxied>),
}

/// There may be many thousands of them.
const _: () = assert!(size_of::<Peer>() <= 24);

/// A client behind a proxy.
#[derive(Clone, Debug)]
pub struct Proxied {
    /// The client's address, as the proxy has named it.
    client: Remote,
    /// The address of the proxy.
    proxy: SocketAddr,
}

impl Peer {
    /// The address at the other end of the socket: the client's, or that of the proxy in between.
    pub fn addr(&self) -> SocketAddr {
        match *self {
            Peer::V4(address) => address.into(),
            Peer::V6 { ip, port, scope_id } => SocketAddrV6::new(ip, port, 0, scope_id).into(),
            Peer::Proxy(ref proxied) => proxied.proxy,
        }
    }

    /// The client's address: the one that the proxy has named, if there is one.
    pub(crate) fn client_ip(&self) -> IpAddr {
        match self {
            Peer::Proxy(proxied) => proxied.client.ip,
            _ => self.addr().ip(),
        }
    }

    /// The peer is a proxy, and it has named its client.
    pub(crate) fn speaks_for(&mut self, client: Remote) {
        let proxy = self.addr();
        *self = Peer::Proxy(Box::new(Proxied { client, proxy }));
    }
}

/// Who a client is for limits and for the log: an IPv4 address, or an IPv6 network of 64 bits. A host
/// with IPv6 has such a network (RFC 4291 section 2.5.1), and may use a new address of it for each
/// connection. Every user of this machine has all of 127.0.0.0/8, so that counts as 127.0.0.1.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Prefix(IpAddr);

impl Prefix {
    /// That of an address. An IPv4 address within IPv6 counts as the former.
    pub(crate) fn of(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
            IpAddr::V4(ip) if ip.is_loopback() => Ipv4Addr::LOCALHOST.into(),
            ip => ip,
        })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(ip) => ip.fmt(f),
            IpAddr::V6(ip) => write!(f, "{ip}/64"),
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => Peer::V4(address),
            SocketAddr::V6(address) => Peer::V6 {
                ip: *address.ip(),
                port: address.port(),
                scope_id: address.scope_id(),
            },
        }
    }
}

/// As in the log: the client, then the proxy if there is one.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Proxy(proxied) => write!(f, "{} proxy={}", proxied.client, proxied.proxy),
            _ => self.addr().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_unchanged() {
        for text in [
            "192.0.2.1:80",
            "[2001:db8::1]:65535",
            "[fe80::1%7]:9",
            "[::ffff:192.0.2.1]:1",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            let peer = Peer::from(address);
            assert_eq!(peer.addr(), address);
            assert_eq!(peer.client_ip(), address.ip());
            assert_eq!(peer.to_string(), text);
        }
    }

    #[test]
    fn a_proxy_and_its_client_are_both_shown() {
        let proxy: SocketAddr = "127.0.0.1:5555".parse().unwrap();
        let mut peer = Peer::from(proxy);
        let ip = "2001:db8::9".parse().unwrap();
        peer.speaks_for(Remote { ip, port: None });
        assert_eq!((peer.addr(), peer.client_ip()), (proxy, ip));
        assert_eq!(peer.to_string(), "2001:db8::9 proxy=127.0.0.1:5555");
    }

    #[test]
    fn an_ipv6_host_counts_by_its_network_and_ipv4_within_ipv6_as_ipv4() {
        let of = |text: &str| Prefix::of(text.parse().unwrap());
        assert!(
            of("2001:db8::1") == of("2001:db8::ffff:2") && of("2001:db8::1") != of("2001:db9::1")
        );
        assert!(of("::ffff:192.0.2.1") == of("192.0.2.1"));
        assert!(of("::ffff:192.0.2.1") != of("::ffff:192.0.2.2"));
        assert_eq!(of("2001:db8::1").to_string(), "2001:db8::/64");
    }

    #[test]
    fn all_of_ipv4_loopback_counts_as_one_client() {
        let of = |text: &str| Prefix::of(text.parse().unwrap());
        for text in ["127.0.0.2", "127.255.255.254", "::ffff:127.1.2.3"] {
            assert!(of(text) == of("127.0.0.1"), "{text}");
        }
        for text in ["126.255.255.255", "128.0.0.1", "::1", "0.0.0.0"] {
            assert!(of(text) != of("127.0.0.1"), "{text}");
        }
        assert_eq!(of("127.0.0.2").to_string(), "127.0.0.1");
    }
}
