//! The client behind a proxy: `Forwarded` (RFC 7239), or the older `X-Forwarded-For` and
//! `X-Forwarded-Proto`.
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
//! Most proxies write one kind of header and forward the other as the client sent it. So if both
//! kinds are present, a value counts only if both agree.

use core::fmt;
// core::net has the address types without the sockets: http/ does no I/O.
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::request::Request;
use super::token::is_token;

/// A network (`10.0.0.0/8`) or a single address (`::1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    /// The bits of the host part, set to one.
    host_mask: u128,
}

impl Network {
    /// Parses `10.0.0.0/8`, `192.168.1.2`, `2001:db8::/32` or `[::1]`.
    ///
    /// # Errors
    ///
    /// One line that says what is valid.
    pub fn parse(text: &str) -> Result<Network, String> {
        let usage = || "an address is 10.0.0.1 or ::1, a network 10.0.0.0/8 or fd00::/8".to_owned();
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address = parse_ip(address).ok_or_else(usage)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix_len = match prefix {
            None => bits,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits
                .parse()
                .ok()
                .filter(|len| *len <= bits)
                .ok_or_else(usage)?,
            Some(_) => return Err(usage()),
        };
        let host_mask = u128::MAX.checked_shr(128 - bits + prefix_len).unwrap_or(0);
        let first = with_number(address, number(address) & !host_mask);
        if first != address {
            return Err(format!(
                "{address} is inside of that network, whose name is {first}/{prefix_len}"
            ));
        }
        Ok(Network { first, host_mask })
    }

    /// Whether `address` is in the network. IPv4-mapped IPv6 addresses must be unmapped first.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4()
            && number(address) & !self.host_mask == number(self.first)
    }
}

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

/// The facts that trusted proxies report about a client. Empty without a trusted proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// The client's address.
    pub client: Option<Remote>,
    /// Whether the client uses TLS.
    pub(crate) https: Option<bool>,
}

impl Forwarded {
    /// Reads the headers of a request from `peer`, if it is one of the `trusted` proxies.
    pub fn read(request: &Request<'_>, peer: IpAddr, trusted: &[Network]) -> Forwarded {
        if !is_trusted(peer, trusted) {
            return Forwarded::default();
        }
        match (
            read_forwarded_header(request, trusted),
            read_x_forwarded_headers(request, trusted),
        ) {
            (Some(forwarded), None) | (None, Some(forwarded)) => forwarded,
            (Some(one), Some(other)) => one.agreement_with(other),
            (None, None) => Forwarded::default(),
        }
    }

    /// Keeps the facts on which both agree. The port may come from either.
    fn agreement_with(self, other: Forwarded) -> Forwarded {
        let ip = |it: Forwarded| it.client.map(|client| client.ip);
        let port = |it: Forwarded| it.client.and_then(|client| client.port);
        let client = self.client.filter(|_| ip(self) == ip(other));
        Forwarded {
            client: client.map(|client| Remote {
                port: client.port.or(port(other)),
                ..client
            }),
            https: self.https.filter(|_| self.https == other.https),
        }
    }
}

/// Whether an address is in one of the `trusted` networks.
pub(crate) fn is_trusted(address: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// Finds the client among the hops; the last is the nearest: the last hop that is not a trusted
/// proxy, or the first hop if all are trusted. `None` if a hop in between has no valid address.
fn find_client(hops: &[Option<Remote>], trusted: &[Network]) -> Option<usize> {
    let mut found = None;
    for (index, hop) in hops.iter().enumerate().rev() {
        let hop = (*hop)?;
        found = Some(index);
        if !is_trusted(hop.ip, trusted) {
            break;
        }
    }
    found
}

/// Reads `X-Forwarded-For` and `X-Forwarded-Proto`. `None` if both are missing.
fn read_x_forwarded_headers(request: &Request<'_>, trusted: &[Network]) -> Option<Forwarded> {
    let hops: Vec<_> = request.list("X-Forwarded-For").map(parse_node).collect();
    let schemes: Vec<_> = request
        .list("X-Forwarded-Proto")
        .map(parse_scheme)
        .collect();
    if hops.is_empty() && schemes.is_empty() {
        return None;
    }
    let index = find_client(&hops, trusted);
    let https = match (&schemes[..], index) {
        // The proxy that terminates TLS sets the scheme; the proxies behind it forward it.
        ([scheme], _) => *scheme,
        // Each proxy appends a scheme.
        (schemes, Some(index)) if schemes.len() == hops.len() => schemes[index],
        _ => None,
    };
    Some(Forwarded {
        client: index.and_then(|index| hops[index]),
        https,
    })
}

/// Reads `Forwarded`. `None` if it is missing.
fn read_forwarded_header(request: &Request<'_>, trusted: &[Network]) -> Option<Forwarded> {
    let mut elements = Vec::new();
    for line in request.headers_named("Forwarded") {
        match parse_elements(line) {
            Some(more) => elements.extend(more),
            // A broken line may hide where the client's text ends: distrust everything up to here.
            None => elements = vec![Element::default()],
        }
    }
    let nearest = elements.last()?;
    let hops: Vec<_> = elements.iter().map(|element| element.node).collect();
    let client = find_client(&hops, trusted).map(|index| &elements[index]);
    Some(Forwarded {
        client: client.and_then(|client| client.node),
        https: client.unwrap_or(nearest).https,
    })
}

/// The report of one proxy about its peer: a forwarded-element (RFC 7239 section 4).
#[derive(Clone, Copy, Default)]
struct Element {
    node: Option<Remote>,
    https: Option<bool>,
}

/// Parses the elements of one header line. `None` if it breaks the grammar. For example, a client
/// may leave a quoted string open to swallow what the proxy appends.
fn parse_elements(line: &[u8]) -> Option<Vec<Element>> {
    let mut rest = std::str::from_utf8(line).ok()?.trim_ascii();
    let mut elements = Vec::new();
    let mut pairs = Pairs::default();
    loop {
        if let Some(name_len) = rest.find('=').filter(|_| !rest.starts_with([',', ';'])) {
            let name = &rest[..name_len];
            let (value, after) = parse_value(&rest[name_len + 1..])?;
            pairs.add(name, value)?;
            rest = after.trim_ascii_start();
        }
        let separator = rest.chars().next();
        // Empty members of a list do not count (RFC 9110 section 5.6.1).
        if matches!(separator, None | Some(',')) && pairs.any {
            elements.push(std::mem::take(&mut pairs).element());
        }
        match separator {
            None => return Some(elements),
            Some(',' | ';') => rest = rest[1..].trim_ascii_start(),
            Some(_) => return None,
        }
    }
}

/// The pairs of one element; only `for` and `proto` matter.
#[derive(Default)]
struct Pairs {
    any: bool,
    node: Option<String>,
    scheme: Option<String>,
}

impl Pairs {
    /// `None` for an invalid name or a repeated one (RFC 7239 section 4).
    fn add(&mut self, name: &str, value: String) -> Option<()> {
        if !is_token(name.as_bytes()) {
            return None;
        }
        self.any = true;
        let known = if name.eq_ignore_ascii_case("for") {
            &mut self.node
        } else if name.eq_ignore_ascii_case("proto") {
            &mut self.scheme
        } else {
            return Some(());
        };
        match known.replace(value) {
            None => Some(()),
            Some(_) => None,
        }
    }

    fn element(self) -> Element {
        Element {
            node: self.node.and_then(|node| parse_node(node.as_bytes())),
            https: self
                .scheme
                .and_then(|scheme| parse_scheme(scheme.as_bytes())),
        }
    }
}

/// Splits a value off the front: a quoted string, which loses its quotes, or a plain value. A plain
/// value may contain more than a token, because some proxies write `for=10.0.0.1:80` unquoted.
fn parse_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let len = text.find([',', ';', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(len);
        return (!value.contains('"')).then(|| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((index, char)) = chars.next() {
        match char {
            '"' => return Some((value, &quoted[index + 1..])),
            '\\' => value.push(chars.next()?.1),
            char => value.push(char),
        }
    }
    None
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

/// The address as a number.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address with this number, of the same IP version as `like`.
fn with_number(like: IpAddr, number: u128) -> IpAddr {
    match like {
        // The caller only cleared bits of an IPv4 address, so 32 bits are enough.
        IpAddr::V4(_) => IpAddr::V4((number as u32).into()),
        IpAddr::V6(_) => IpAddr::V6(number.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(text: &str) -> Vec<Network> {
        let networks = text.split_ascii_whitespace();
        networks.map(|text| Network::parse(text).unwrap()).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// The result of these header lines, from a peer at 10.0.0.1 with 10.0.0.0/8 and fd00::/8
    /// trusted.
    fn forwarded(lines: &[&str]) -> (String, Option<bool>) {
        let head = format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n",
            lines.join("\r\n")
        );
        let request = Request::parse(head.as_bytes(), 64).unwrap();
        let trusted = networks("10.0.0.0/8 fd00::/8");
        let forwarded = Forwarded::read(&request, ip("10.0.0.1"), &trusted);
        let client = forwarded.client.map(|client| client.to_string());
        (client.unwrap_or("-".to_owned()), forwarded.https)
    }

    #[test]
    fn a_network_contains_the_addresses_with_its_prefix() {
        let cases = [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("10.0.0.1/32", "10.0.0.1", "10.0.0.0"),
            ("0.0.0.0/0", "255.1.2.3", "::"),
            ("192.168.1.128/25", "192.168.1.255", "192.168.1.127"),
            ("::1", "::1", "::2"),
            ("[::1]", "::1", "0.0.0.1"),
            ("::/0", "ffff::1", "1.2.3.4"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::ffff:10.0.0.1", "10.0.0.1", "::ffff:10.0.0.1"),
        ];
        for (text, inside, outside) in cases {
            let network = Network::parse(text).unwrap();
            assert!(network.contains(ip(inside)), "{text} {inside}");
            assert!(!network.contains(ip(outside)), "{text} {outside}");
        }
        let bad = [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10/8",
            "localhost",
            "10.0.0.0/8/8",
            "[10.0.0.1]",
            "fe80::1%eth0",
            "10.0.0.1:80",
            "10.0.0.0/255.0.0.0",
            "::/99999999999",
        ];
        for text in bad {
            let message = Network::parse(text).unwrap_err();
            assert!(message.contains("10.0.0.0/8"), "{text}: {message}");
        }
        assert_eq!(
            Network::parse("10.1.2.3/8").unwrap_err(),
            "10.1.2.3 is inside of that network, whose name is 10.0.0.0/8"
        );
    }

    #[test]
    fn the_headers_of_an_untrusted_peer_are_ignored() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n";
        let request = Request::parse(head, 64).unwrap();
        for (trusted, counts) in [("", false), ("10.0.0.2", false), ("10.0.0.1 ::1", true)] {
            let forwarded = Forwarded::read(&request, ip("10.0.0.1"), &networks(trusted));
            assert_eq!(forwarded.client.is_some(), counts, "{trusted}");
        }
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_not_a_trusted_proxy() {
        let none = "-";
        #[rustfmt::skip]
        let cases: &[(&str, &str)] = &[
            ("X-Forwarded-For: 9.9.9.9", "9.9.9.9"),
            ("X-Forwarded-For: 8.8.8.8, 9.9.9.9", "9.9.9.9"),
            ("X-Forwarded-For: 8.8.8.8, 9.9.9.9, 10.0.0.7", "9.9.9.9"),
            ("X-Forwarded-For: 8.8.8.8\r\nX-Forwarded-For: 9.9.9.9,10.0.0.7", "9.9.9.9"),
            ("X-Forwarded-For: 10.0.0.9, 10.0.0.7", "10.0.0.9"),
            ("X-Forwarded-For: 9.9.9.9:1234", "9.9.9.9:1234"),
            ("X-Forwarded-For: 2001:db8::9", "2001:db8::9"),
            ("X-Forwarded-For: [2001:db8::9]", "2001:db8::9"),
            ("X-Forwarded-For: [2001:db8::9]:80", "[2001:db8::9]:80"),
            ("X-Forwarded-For: ::ffff:9.9.9.9", "9.9.9.9"),
            ("X-Forwarded-For: 8.8.8.8, fd00::7", "8.8.8.8"),
            ("X-Forwarded-For: nonsense, 9.9.9.9", "9.9.9.9"),
            ("X-Forwarded-For: 9.9.9.9, nonsense", none),
            ("X-Forwarded-For: 9.9.9.9, nonsense, 10.0.0.7", none),
            ("X-Forwarded-For: unknown", none),
            ("X-Forwarded-For: 9.9.9.9;", none),
            ("X-Forwarded-For: \u{fc}", none),
            ("X-Forwarded-For:", none),
            ("Forwarded: for=9.9.9.9", "9.9.9.9"),
            ("Forwarded: For=\"9.9.9.9\"", "9.9.9.9"),
            ("Forwarded: for=9.9.9.9:81", "9.9.9.9:81"),
            ("Forwarded: for=\"[2001:db8::9]:4711\"", "[2001:db8::9]:4711"),
            ("Forwarded: for=\"[2001:db8::9]\"", "2001:db8::9"),
            ("Forwarded: for=\"9.9.9.9:_port\"", "9.9.9.9"),
            ("Forwarded: for=8.8.8.8, for=9.9.9.9;by=10.0.0.7, for=10.0.0.7", "9.9.9.9"),
            ("Forwarded: for=8.8.8.8\r\nForwarded: for=9.9.9.9", "9.9.9.9"),
            ("Forwarded: by=\"a,b;c\\\"d\" ; for=9.9.9.9 ,, ", "9.9.9.9"),
            ("Forwarded: for=unknown", none),
            ("Forwarded: for=_hidden", none),
            ("Forwarded: for=9.9.9.9, by=10.0.0.7", none),
            ("Forwarded: for=9.9.9.9;for=8.8.8.8", none),
            ("Forwarded: for = 9.9.9.9", none),
            ("Forwarded: for=9.9.9.9 x", none),
            ("Forwarded: 9.9.9.9", none),
            ("Forwarded: =9.9.9.9", none),
            ("Forwarded: for=\"9.9.9.9", none),
            ("Forwarded: for=\"9.9.9.9\\", none),
            ("Forwarded: for=9.9\"9.9", none),
            ("Forwarded: for=8.8.8.8;x=\", for=9.9.9.9", none),
            ("Forwarded: for=8.8.8.8;x=\", for=\"[2001:db8::9]\"", none),
            ("Forwarded: for=8.8.8.8;x=\"\r\nForwarded: for=9.9.9.9", "9.9.9.9"),
            ("Forwarded: for=8.8.8.8\r\nForwarded: for=\"9.9.9.9", none),
            ("Forwarded: for=8.8.8.8;x=a\"b, for=9.9.9.9", none),
            ("Forwarded: ,;,", none),
            ("Forwarded:", none),
            ("X-Real-IP: 9.9.9.9", none),
        ];
        for (lines, expected) in cases {
            assert_eq!(forwarded(&[lines]).0, *expected, "{lines}");
        }
    }

    #[test]
    fn the_scheme_is_that_of_the_clients_hop() {
        #[rustfmt::skip]
        let cases: &[(&[&str], Option<bool>)] = &[
            (&["X-Forwarded-Proto: https"], Some(true)),
            (&["X-Forwarded-Proto: HTTP"], Some(false)),
            (&["X-Forwarded-Proto: wss"], Some(true)),
            (&["X-Forwarded-Proto: ftp"], None),
            (&["X-Forwarded-Proto: https, http"], None),
            (&["X-Forwarded-For: 8.8.8.8, 9.9.9.9", "X-Forwarded-Proto: https"], Some(true)),
            (&["X-Forwarded-For: 9.9.9.9, 10.0.0.7", "X-Forwarded-Proto: https, http"], Some(true)),
            (&["X-Forwarded-For: 8.8.8.8, 9.9.9.9", "X-Forwarded-Proto: https, http"], Some(false)),
            (&["X-Forwarded-For: 1.1.1.1, 8.8.8.8, 9.9.9.9", "X-Forwarded-Proto: https, http"], None),
            (&["Forwarded: for=9.9.9.9;proto=https"], Some(true)),
            (&["Forwarded: for=9.9.9.9;proto=https, for=10.0.0.7;proto=http"], Some(true)),
            (&["Forwarded: for=8.8.8.8;proto=https, for=9.9.9.9;proto=http"], Some(false)),
            (&["Forwarded: proto=https"], Some(true)),
            (&["Forwarded: proto=https;proto=https"], None),
        ];
        for (lines, expected) in cases {
            assert_eq!(forwarded(lines).1, *expected, "{lines:?}");
        }
    }

    #[test]
    fn only_what_both_kinds_of_headers_say_counts() {
        let agree = [
            "Forwarded: for=\"9.9.9.9:80\";proto=https",
            "X-Forwarded-For: 9.9.9.9",
            "X-Forwarded-Proto: https",
        ];
        assert_eq!(forwarded(&agree), ("9.9.9.9:80".to_owned(), Some(true)));
        // A proxy that writes one kind forwards the other as the client forged it.
        let forged = [
            "Forwarded: for=8.8.8.8;proto=https",
            "X-Forwarded-For: 9.9.9.9",
        ];
        assert_eq!(forwarded(&forged), ("-".to_owned(), None));
        let forged = ["Forwarded: for=9.9.9.9", "X-Forwarded-Proto: https"];
        assert_eq!(forwarded(&forged), ("-".to_owned(), None));
        let forged = ["Forwarded: for=\"", "X-Forwarded-For: 9.9.9.9"];
        assert_eq!(forwarded(&forged), ("-".to_owned(), None));
    }

    #[test]
    fn random_header_text_does_not_panic() {
        let pieces = [
            "for", "=", "\"", "\\", ",", ";", " ", "[", "::1", "]", ":", "é", "9.9.9.9",
        ];
        let mut seed = 88_172_645_463_325_252_u64;
        for _ in 0..20_000 {
            let mut line = String::new();
            for _ in 0..seed % 9 {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                line.push_str(pieces[(seed % pieces.len() as u64) as usize]);
            }
            seed = seed.wrapping_add(1);
            parse_elements(line.as_bytes());
            parse_node(line.as_bytes());
            let _ = Network::parse(&line);
        }
    }
}
