//! The client behind a proxy: `Forwarded` (RFC 7239), the older `X-Forwarded-For` and
//! `X-Forwarded-Proto`, or `X-Real-IP`.
//!
//! Any client can send these headers, so they count only from a proxy that the operator trusts
//! (`--trust-proxy`), and only what trusted proxies wrote. Each proxy appends the address of its
//! peer, so the client is the first address from the right that is not a trusted proxy. What is left
//! of it came from the client:
//!
//! ```text
//!   X-Forwarded-For:  8.8.8.8,  9.9.9.9,  10.0.0.7             peer: 10.0.0.1
//!                     from the  the       a trusted proxy,     a trusted proxy,
//!                     client    client    says: 9.9.9.9        says: 10.0.0.7
//! ```
//!
//! Most proxies write one kind of header and forward the others as the client sent them. So the
//! operator names the kind to believe (`--trust-header`). Otherwise `Forwarded` and `X-Forwarded-*`
//! must agree where both are present. Headers that name no client, or two, are refused: the address
//! of the proxy, often 127.0.0.1, is never taken for the client's.

mod element;
mod network;

use core::fmt;
// core::net has the address types without the sockets: http/ does no I/O.
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use self::element::{Element, parse_elements};
pub use self::network::Network;
use super::refusal::{Refusal, quote};
use super::request::Request;

/// The address of a client, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// The IP address, never an IPv4-mapped IPv6 address.
    pub ip: IpAddr,
    /// The port. Most proxies do not forward it.
    pub(crate) port: Option<u16>,
}

impl From<SocketAddr> for Remote {
    fn from(address: SocketAddr) -> Self {
        Remote {
            ip: address.ip().to_canonical(),
            port: Some(address.port()),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

/// The proxies that may name their clients, and how they do. By default there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Their networks.
    pub(crate) networks: Vec<Network>,
    /// The kind of header that is believed. `None`: `Forwarded` and `X-Forwarded-*`, which must
    /// agree.
    pub(crate) header: Option<ProxyHeader>,
}

/// The kinds of headers by which proxies name their clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// `X-Forwarded-For` and `X-Forwarded-Proto`.
    XForwarded,
    /// `X-Real-IP`, one address. It names no scheme.
    XRealIp,
}

impl ProxyHeader {
    /// All of them.
    pub(crate) const ALL: [ProxyHeader; 3] = [
        ProxyHeader::Forwarded,
        ProxyHeader::XForwarded,
        ProxyHeader::XRealIp,
    ];

    /// The word of `--trust-header`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            ProxyHeader::Forwarded => "forwarded",
            ProxyHeader::XForwarded => "x-forwarded",
            ProxyHeader::XRealIp => "x-real-ip",
        }
    }

    /// The headers. The first names the client.
    fn headers(self) -> &'static [&'static str] {
        match self {
            ProxyHeader::Forwarded => &["Forwarded"],
            ProxyHeader::XForwarded => &["X-Forwarded-For", "X-Forwarded-Proto"],
            ProxyHeader::XRealIp => &["X-Real-IP"],
        }
    }

    fn is_in(self, request: &Request<'_>) -> bool {
        (self.headers().iter()).any(|name| request.header(name).is_some())
    }

    /// What the headers of this kind say. The client is the one that trusted proxies vouch for.
    fn read(self, request: &Request<'_>, proxies: &Proxies) -> Result<Forwarded, Refusal> {
        let forwarded = match self {
            ProxyHeader::Forwarded => read_forwarded_header(request, proxies),
            ProxyHeader::XForwarded => read_x_forwarded_headers(request, proxies),
            ProxyHeader::XRealIp => Forwarded {
                client: request.sole_header("X-Real-IP")?.and_then(parse_node),
                https: None,
            },
        };
        if forwarded.client.is_some() {
            return Ok(forwarded);
        }
        let name = self.headers()[0];
        let values: Vec<&[u8]> = request.headers_named(name).collect();
        Err(Refusal::bad_forwarding(match values.last() {
            Some(last) => format!("{name} {} names no address of a client", quote(last)),
            None => format!(
                "the proxy names no client: it sends {} alone",
                self.headers()[1]
            ),
        }))
    }
}

/// The facts that trusted proxies report about a client. Empty without a trusted proxy, and for a
/// request of the proxy itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// The client's address.
    pub client: Option<Remote>,
    /// Whether the client uses TLS.
    pub https: Option<bool>,
}

impl Proxies {
    /// The proxies in `networks`. If `header` is given, only that one is believed.
    pub fn new(networks: Vec<Network>, header: Option<ProxyHeader>) -> Proxies {
        Proxies { networks, header }
    }

    /// Whether an address belongs to a trusted proxy.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.networks
            .iter()
            .any(|network| network.contains(address))
    }

    /// Reads the headers of a request from `peer`, if it is a trusted proxy.
    ///
    /// # Errors
    ///
    /// 400 if the headers name no client, or contradict each other.
    pub fn read(&self, request: &Request<'_>, peer: IpAddr) -> Result<Forwarded, Refusal> {
        if !self.contains(peer) {
            return Ok(Forwarded::default());
        }
        let is_present = |header: &ProxyHeader| header.is_in(request);
        if let Some(kind) = self.header.filter(is_present) {
            return kind.read(request, self);
        }
        let present: Vec<ProxyHeader> = ProxyHeader::ALL.into_iter().filter(is_present).collect();
        match (self.header, &present[..]) {
            (_, []) => Ok(Forwarded::default()),
            (None, [ProxyHeader::Forwarded, ProxyHeader::XForwarded, ..]) => {
                let one = ProxyHeader::Forwarded.read(request, self)?;
                let other = ProxyHeader::XForwarded.read(request, self)?;
                one.agreement_with(other).ok_or_else(contradiction)
            }
            (
                None,
                [
                    kind @ (ProxyHeader::Forwarded | ProxyHeader::XForwarded),
                    ..,
                ],
            ) => kind.read(request, self),
            (header, [kind, ..]) => Err(not_believed(header, *kind)),
        }
    }
}

impl Forwarded {
    /// The facts, if both report the same. The port may come from either.
    fn agreement_with(self, other: Forwarded) -> Option<Forwarded> {
        let (one, two) = (self.client?, other.client?);
        let client = Remote {
            port: one.port.or(two.port),
            ..one
        };
        (one.ip == two.ip && self.https == other.https).then_some(Forwarded {
            client: Some(client),
            ..self
        })
    }
}

fn contradiction() -> Refusal {
    Refusal::bad_forwarding(
        "Forwarded and X-Forwarded-* contradict each other, so one is the client's own: let the \
         proxy set or remove both, or start wspipe with --trust-header=x-forwarded or \
         --trust-header=forwarded for the one that it sets",
    )
}

fn not_believed(believed: Option<ProxyHeader>, sent: ProxyHeader) -> Refusal {
    let sends = sent.headers()[0];
    let (sends_no, name) = match believed {
        Some(kind) => (kind.headers()[0], sent.name()),
        None => ("X-Forwarded-For", sent.name()),
    };
    Refusal::bad_forwarding(format!(
        "the proxy sends {sends} but no {sends_no}: if it sets {sends} itself, start wspipe with \
         --trust-header={name}"
    ))
}

/// Finds the client among the hops; the last is the nearest: the last hop that is not a trusted
/// proxy, or the first hop if all are trusted. `None` if a hop in between has no valid address.
fn find_client(hops: &[Option<Remote>], proxies: &Proxies) -> Option<usize> {
    let mut found = None;
    for (index, hop) in hops.iter().enumerate().rev() {
        let hop = (*hop)?;
        found = Some(index);
        if !proxies.contains(hop.ip) {
            break;
        }
    }
    found
}

/// Reads `X-Forwarded-For` and `X-Forwarded-Proto`.
fn read_x_forwarded_headers(request: &Request<'_>, proxies: &Proxies) -> Forwarded {
    let hops: Vec<_> = request.list("X-Forwarded-For").map(parse_node).collect();
    let schemes: Vec<_> = request
        .list("X-Forwarded-Proto")
        .map(parse_scheme)
        .collect();
    let index = find_client(&hops, proxies);
    let https = match (&schemes[..], index) {
        // The proxy that terminates TLS sets the scheme; the proxies behind it forward it.
        ([scheme], _) => *scheme,
        // Each proxy appends a scheme.
        (schemes, Some(index)) if schemes.len() == hops.len() => schemes[index],
        _ => None,
    };
    Forwarded {
        client: index.and_then(|index| hops[index]),
        https,
    }
}

/// Reads `Forwarded`.
fn read_forwarded_header(request: &Request<'_>, proxies: &Proxies) -> Forwarded {
    let mut elements = Vec::new();
    for line in request.headers_named("Forwarded") {
        match parse_elements(line) {
            Some(more) => elements.extend(more),
            // A broken line may hide where the client's text ends: distrust everything up to here.
            None => elements = vec![Element::default()],
        }
    }
    let hops: Vec<_> = elements.iter().map(|element| element.node).collect();
    let client = find_client(&hops, proxies).map(|index| &elements[index]);
    Forwarded {
        client: client.and_then(|client| client.node),
        https: client.and_then(|client| client.https),
    }
}

/// Parses the address of a hop: with or without brackets, with or without a port. `None` for
/// anything else, including `unknown` and `_hidden` (RFC 7239 section 6).
fn parse_node(text: &[u8]) -> Option<Remote> {
    let text = std::str::from_utf8(text).ok()?;
    let without_port = |ip| Remote { ip, port: None };
    if let Some(ip) = parse_ip(text) {
        return Some(without_port(ip));
    }
    let (address, port) = text.rsplit_once(':')?;
    // The port may be obfuscated (RFC 7239 section 6.3): `_port`.
    if port.starts_with('_') {
        return parse_ip(address).map(without_port);
    }
    text.parse::<SocketAddr>().ok().map(Remote::from)
}

fn parse_ip(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let ip = match bare {
        Some(bare) => bare.parse::<Ipv6Addr>().ok()?.into(),
        None => text.parse::<IpAddr>().ok()?,
    };
    Some(ip.to_canonical())
}

/// Whether a scheme means TLS. The schemes of WebSocket are accepted as well.
fn parse_scheme(text: &[u8]) -> Option<bool> {
    let is = |scheme: &str| text.eq_ignore_ascii_case(scheme.as_bytes());
    if is("https") || is("wss") {
        Some(true)
    } else if is("http") || is("ws") {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
