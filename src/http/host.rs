//! Whom a request is addressed to: the authority in `Host`, in `Origin` and in an absolute target.

// The address types without the sockets: this layer does no I/O.
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host and perhaps a port, as `Host` carries them (RFC 9110 section 7.2).
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// The text it was read from, port and all; empty when the request named no host.
    pub text: &'a str,
    /// Who is meant.
    pub name: Name<'a>,
    /// The port, if one was written. `example:` with nothing behind the colon has none.
    pub port: Option<u16>,
}

/// Who is meant by a [`Host`]. Names compare without regard to case, addresses as numbers.
#[derive(Clone, Copy, Debug, Eq)]
pub enum Name<'a> {
    /// An IP literal.
    Ip(IpAddr),
    /// Any other name, without the final dot that a fully qualified one may have.
    Registered(&'a str),
}

impl<'a> Host<'a> {
    /// What stands for the host of a request that named none.
    pub const NONE: Host<'static> = Host {
        text: "",
        name: Name::Registered(""),
        port: None,
    };

    /// Reads `name`, `name:port`, `a.b.c.d:port` or `[IPv6]:port`.
    ///
    /// `None` for anything else. RFC 3986 allows more signs in a name than letters, digits, `-`,
    /// `.` and `_`; no name that DNS or a hosts file resolves needs them, and without them a name
    /// can be repeated in a message that a person pastes into a shell.
    pub fn parse(text: &'a str) -> Option<Host<'a>> {
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
        Some(Host { text, name, port })
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

/// What follows the name: nothing, a colon, or a colon and a port. `None` if it is not that.
fn parse_port(text: &str) -> Option<Option<u16>> {
    let Some(digits) = text.strip_prefix(':') else {
        return text.is_empty().then_some(None);
    };
    if digits.is_empty() {
        return Some(None);
    }
    // Rust would read "+80" as a number too.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_read() {
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
            let host = Host::parse(text).unwrap_or_else(|| panic!("{text:?} was not read"));
            assert_eq!(
                (host.name, host.port, host.text),
                (name, port, text),
                "{text:?}"
            );
        }
    }

    #[test]
    fn other_texts_are_not_authorities() {
        let cases = [
            "a b",
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
            assert!(Host::parse(text).is_none(), "{text:?} was read");
        }
    }
}
