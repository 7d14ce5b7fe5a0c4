//! The authority of `Host`, of `Origin` and of an absolute target: a host and a port.

// core::net has the address types without the sockets: http/ does no I/O.
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host and an optional port (RFC 9110 section 7.2).
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// The original text, including the port. Empty if the request named no host.
    pub text: &'a str,
    /// The host.
    pub(crate) name: Name<'a>,
    /// The port, if there is one. `example:` has none.
    pub(crate) port: Option<u16>,
}

/// A host. Names compare case-insensitively, addresses as numbers.
#[derive(Clone, Copy, Debug, Eq)]
pub(crate) enum Name<'a> {
    /// An IP address.
    Ip(IpAddr),
    /// Any other name, without the final dot of a fully qualified one.
    Registered(&'a str),
}

impl<'a> Host<'a> {
    /// The host of a request that named none.
    pub(super) const NONE: Host<'static> = Host {
        text: "",
        name: Name::Registered(""),
        port: None,
    };

    /// Parses `name`, `name:port`, `a.b.c.d:port` or `[IPv6]:port`, or the empty text. `None` for
    /// anything else, also for a port or a final dot without a name (RFC 9110 section 4.2.1).
    ///
    /// A name consists of letters, digits, `-`, `.` and `_`. RFC 3986 allows more, but no name in
    /// DNS or a hosts file needs it, and such a name is safe in a line that an operator pastes into
    /// a shell.
    pub(crate) fn parse(text: &'a str) -> Option<Host<'a>> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                (
                    Name::Ip(IpAddr::V6(address.parse::<Ipv6Addr>().ok()?)),
                    port,
                )
            }
            None => {
                let name_len = text.find(':').unwrap_or(text.len());
                (Name::parse(&text[..name_len])?, &text[name_len..])
            }
        };
        let port = parse_port(port)?;
        let is_nowhere = name == Name::Registered("") && !text.is_empty();
        (!is_nowhere).then_some(Host { text, name, port })
    }
}

impl<'a> Name<'a> {
    fn parse(text: &'a str) -> Option<Name<'a>> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if !text.bytes().all(is_name) {
            return None;
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        Some(match text.parse::<Ipv4Addr>() {
            Ok(address) => Name::Ip(IpAddr::V4(address)),
            Err(_) => Name::Registered(text),
        })
    }
}

impl PartialEq for Name<'_> {
    fn eq(&self, other: &Name<'_>) -> bool {
        match (self, other) {
            (Name::Ip(one), Name::Ip(other)) => one == other,
            (Name::Registered(one), Name::Registered(other)) => one.eq_ignore_ascii_case(other),
            _ => false,
        }
    }
}

/// Parses the text after the name: nothing, a colon, or a colon and a port. `None` for anything
/// else.
fn parse_port(text: &str) -> Option<Option<u16>> {
    let Some(digits) = text.strip_prefix(':') else {
        return text.is_empty().then_some(None);
    };
    if digits.is_empty() {
        return Some(None);
    }
    // `parse` alone would accept "+80".
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_and_an_optional_port() {
        #[rustfmt::skip]
        let cases: &[(&str, Name, Option<u16>)] = &[
            ("example.org", Name::Registered("example.org"), None),
            ("EXAMPLE.org:80", Name::Registered("example.ORG"), Some(80)),
            ("example.org.", Name::Registered("example.org"), None),
            ("example.org.:8080", Name::Registered("example.org"), Some(8080)),
            ("example.org:", Name::Registered("example.org"), None),
            ("my_box-1", Name::Registered("my_box-1"), None),
            ("", Name::Registered(""), None),
            ("127.0.0.1:65535", Name::Ip("127.0.0.1".parse().unwrap()), Some(65535)),
            ("127.0.0.1.", Name::Ip("127.0.0.1".parse().unwrap()), None),
            ("[::1]", Name::Ip("::1".parse().unwrap()), None),
            ("[0:0::0001]:80", Name::Ip("::1".parse().unwrap()), Some(80)),
            ("2130706433", Name::Registered("2130706433"), None),
        ];
        for &(text, name, port) in cases {
            let host = Host::parse(text).unwrap_or_else(|| panic!("{text:?} is refused"));
            assert_eq!(
                (host.name, host.port, host.text),
                (name, port, text),
                "{text:?}"
            );
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let cases = [
            "a b",
            ":80",
            ":",
            ".",
            ".:80",
            "a/b",
            "user@a",
            "a:80:90",
            "a:+80",
            "a:65536",
            "a:8o",
            "::1",
            "[::1",
            "[::1]80",
            "[fe80::1%25eth0]",
            "[v1.x]",
            "[127.0.0.1]",
            "a%2eb",
            "a;b",
            "b\u{fc}cher",
            "a,b",
            "*",
        ];
        for text in cases {
            assert!(Host::parse(text).is_none(), "{text:?} is accepted");
        }
    }
}
