//! Who may connect: the rules about `Origin` and `Host`.
//!
//! A page from anywhere may open a WebSocket to a server on the user's own machine; the browser
//! does not ask that server first, it only tells it the page's origin. Hence the rule about
//! `Origin`. An attacker who has his own name resolve to 127.0.0.1 (DNS rebinding) passes that
//! rule, because then his page and the server have the same name; hence the rule about `Host`.

use core::net::IpAddr;

use super::host::{Host, Name};
use super::refusal::{Refusal, quote};
use super::request::Request;

/// Which origins may connect, and by which names the server may be called.
#[derive(Clone, Debug)]
pub struct Policy {
    origins: Vec<String>,
    any_origin: bool,
    allow_hosts: Vec<String>,
    host_name: String,
    loopback_only: bool,
}

impl Policy {
    /// A policy from the lists that the options give.
    ///
    /// `origins` (`--origin`) are let in beside the server's own, `any_origin` lets all in.
    /// `allow_hosts` (`--allow-host`) are names of the server beside those it always has:
    /// addresses, `localhost`, and `host_name`, the machine's own. `loopback_only` says that every
    /// address listened on is a loopback one.
    ///
    /// # Errors
    ///
    /// One line that says which entry of which option is not understood, and what one looks like.
    pub fn new(
        origins: Vec<String>,
        any_origin: bool,
        allow_hosts: Vec<String>,
        host_name: String,
        loopback_only: bool,
    ) -> Result<Policy, String> {
        if let Some(entry) = origins.iter().find(|entry| Listed::parse(entry).is_none()) {
            return Err(format!(
                "--origin={entry} is not an origin: \
                 write https://app.example, app.example:8443, null or any"
            ));
        }
        if let Some(entry) = allow_hosts
            .iter()
            .find(|entry| allowed_name(entry).is_none())
        {
            return Err(format!(
                "--allow-host={entry} is not a host: write a name or an address, without a port"
            ));
        }
        Ok(Policy {
            origins,
            any_origin,
            allow_hosts,
            host_name,
            loopback_only,
        })
    }

    /// Checks that an opening handshake may go on: both rules.
    ///
    /// # Errors
    ///
    /// Those of [`Policy::check_host`] and [`Policy::check_origin`].
    pub fn check(&self, request: &Request) -> Result<(), Refusal> {
        self.check_host(request)?;
        self.check_origin(request)
    }

    /// Checks that the server is called by a name of its own: for every request with an `Origin`
    /// that is not listed, and while it listens on loopback only, also for those without one.
    ///
    /// # Errors
    ///
    /// 403 if it is called by another name; 400 if there are two `Origin`s.
    pub fn check_host(&self, request: &Request) -> Result<(), Refusal> {
        let must_be_own = match request.sole_header("Origin")? {
            Some(origin) => !self.lists(origin),
            // No browser leaves `Host` out or empty; an HTTP/1.0 client that fetches a page may.
            None => self.loopback_only && !request.host.text.is_empty(),
        };
        if !must_be_own || self.is_own(&request.host.name) {
            return Ok(());
        }
        let host = request.host.text;
        let what = match request.host.name {
            Name::Ip(_) => "is not a loopback address, which is all that this server listens on",
            Name::Registered(_) => "is not a name of this server",
        };
        Err(Refusal::forbidden(format!(
            "Host {} {what}; if it should be one, start wspipe with --allow-host={}",
            quote(host.as_bytes()),
            without_port(host),
        )))
    }

    /// Checks that the page that opens the WebSocket may: it comes from the host and port that the
    /// request is addressed to, or its origin is listed. What sends no `Origin` is no browser.
    ///
    /// # Errors
    ///
    /// 403 for a foreign origin; 400 if there are two `Origin`s.
    pub fn check_origin(&self, request: &Request) -> Result<(), Refusal> {
        let Some(value) = request.sole_header("Origin")? else {
            return Ok(());
        };
        let origin = Origin::parse(value);
        if self.lists(value) || origin.is_some_and(|origin| origin.is_at(&request.host)) {
            return Ok(());
        }
        // Only what was understood is repeated in a form that a person may paste into a shell.
        let entry = match (value, origin) {
            (b"null", _) => "null".to_owned(),
            (_, Some(origin)) => format!("{}://{}", origin.scheme, origin.host.text),
            _ => "LIST".to_owned(),
        };
        Err(Refusal::forbidden(format!(
            "Origin {} is not at the Host {}; to let it in, start wspipe with --origin={entry}",
            quote(value),
            quote(request.host.text.as_bytes()),
        )))
    }

    fn lists(&self, origin: &[u8]) -> bool {
        self.any_origin
            || self
                .origins
                .iter()
                .filter_map(|entry| Listed::parse(entry))
                .any(|listed| listed.matches(origin))
    }

    fn is_own(&self, name: &Name) -> bool {
        self.allow_hosts
            .iter()
            .any(|entry| allowed_name(entry).as_ref() == Some(name))
            || match name {
                Name::Ip(address) => !self.loopback_only || address.to_canonical().is_loopback(),
                Name::Registered(name) => is_localhost(name) || self.is_machine(name),
            }
    }

    /// Whether `name` is the machine's, alone or as multicast DNS has it: `box` and `box.local`,
    /// and for a machine called `box.example.org` that name and `box.local`.
    fn is_machine(&self, name: &str) -> bool {
        let own = self.host_name.trim_end_matches('.');
        let label = own.split('.').next().unwrap_or(own);
        if label.is_empty() {
            return false;
        }
        let without_local = strip_suffix_ignore_case(name, ".local");
        name.eq_ignore_ascii_case(own)
            || without_local.is_some_and(|rest| {
                rest.eq_ignore_ascii_case(label) || rest.eq_ignore_ascii_case(own)
            })
    }
}

/// Names that resolvers keep on the machine (RFC 6761 section 6.3).
fn is_localhost(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || strip_suffix_ignore_case(name, ".localhost").is_some_and(|rest| !rest.is_empty())
}

fn strip_suffix_ignore_case<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let (rest, end) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
    end.eq_ignore_ascii_case(suffix).then_some(rest)
}

/// The host part of an authority's text.
fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if !authority.ends_with(']') => &authority[..colon],
        _ => authority,
    }
}

/// An entry of `--allow-host`: a name, or an address with or without its brackets.
fn allowed_name(entry: &str) -> Option<Name<'_>> {
    if let Ok(address) = entry.parse::<IpAddr>() {
        return Some(Name::Ip(address));
    }
    let host = Host::parse(entry)?;
    (host.port.is_none() && !entry.is_empty() && !entry.ends_with(':')).then_some(host.name)
}

/// Where a page comes from: scheme, host and port (RFC 6454 section 6.2).
#[derive(Clone, Copy, Debug)]
struct Origin<'a> {
    scheme: &'a str,
    host: Host<'a>,
}

impl<'a> Origin<'a> {
    /// Reads `scheme://host` or `scheme://host:port`. `None` for anything else, `null` among it.
    fn parse(value: &'a [u8]) -> Option<Origin<'a>> {
        let (scheme, authority) = std::str::from_utf8(value).ok()?.split_once("://")?;
        let is_scheme =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        if scheme.is_empty() || !scheme.bytes().all(is_scheme) {
            return None;
        }
        let host = Host::parse(authority)?;
        let origin = Origin { scheme, host };
        // A web page comes from somewhere.
        let is_nowhere = host.name == Name::Registered("") && origin.default_port().is_some();
        (!is_nowhere).then_some(origin)
    }

    /// The port of a web page that names none. Other schemes have no ports.
    fn default_port(&self) -> Option<u16> {
        if self.scheme.eq_ignore_ascii_case("http") {
            Some(80)
        } else if self.scheme.eq_ignore_ascii_case("https") {
            Some(443)
        } else {
            None
        }
    }

    /// Whether a page of this origin was served from `host`, as the same browser would write it.
    ///
    /// The scheme is not compared: behind a proxy that ends TLS the page's is https and ours http.
    /// So a missing port means the default of the page's scheme on both sides.
    fn is_at(&self, host: &Host) -> bool {
        let Some(default_port) = self.default_port() else {
            return false;
        };
        self.host.name == host.name
            && self.host.port.unwrap_or(default_port) == host.port.unwrap_or(default_port)
    }

    fn is_same(&self, other: &Origin) -> bool {
        self.scheme.eq_ignore_ascii_case(other.scheme)
            && self.host.name == other.host.name
            && self.host.port.or(self.default_port()) == other.host.port.or(other.default_port())
    }
}

/// An entry of `--origin`.
enum Listed<'a> {
    /// `null`: pages without an origin of their own, such as files and sandboxed frames.
    Null,
    /// `https://app.example`, `chrome-extension://id`: this one.
    Origin(Origin<'a>),
    /// `app.example:8443`: web pages from there, by http or https.
    Host(Host<'a>),
}

impl<'a> Listed<'a> {
    fn parse(entry: &'a str) -> Option<Listed<'a>> {
        if entry.eq_ignore_ascii_case("null") {
            return Some(Listed::Null);
        }
        if entry.contains("://") {
            // As copied from an address bar; `file://` ends with its slashes.
            let entry = match entry.strip_suffix('/') {
                Some(rest) if !rest.ends_with('/') => rest,
                _ => entry,
            };
            return Origin::parse(entry.as_bytes()).map(Listed::Origin);
        }
        let host = Host::parse(entry)?;
        (host.name != Name::Registered("")).then_some(Listed::Host(host))
    }

    fn matches(&self, value: &[u8]) -> bool {
        match self {
            Listed::Null => value == b"null",
            Listed::Origin(listed) => {
                Origin::parse(value).is_some_and(|origin| origin.is_same(listed))
            }
            Listed::Host(host) => Origin::parse(value).is_some_and(|origin| origin.is_at(host)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::response::Status;
    use super::*;

    fn policy(origins: &[&str], allow_hosts: &[&str], loopback_only: bool) -> Policy {
        let owned = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect();
        Policy::new(
            owned(origins),
            false,
            owned(allow_hosts),
            "Box".to_owned(),
            loopback_only,
        )
        .expect("a valid policy")
    }

    fn checked(policy: &Policy, host: &str, origin: &str) -> Result<(), Refusal> {
        let origin = match origin {
            "" => String::new(),
            origin => format!("Origin: {origin}\r\n"),
        };
        let head = format!("GET /ws HTTP/1.1\r\nHost: {host}\r\n{origin}\r\n");
        policy.check(&Request::parse(head.as_bytes(), 16).expect("a valid head"))
    }

    /// Without options, on an address that is not loopback: the rule of the same origin.
    #[test]
    fn by_default_an_origin_must_be_at_the_host() {
        let policy = policy(&[], &[], false);
        #[rustfmt::skip]
        let cases = [
            ("no browser", "box:8080", "", true),
            ("same host and port", "box:8080", "http://box:8080", true),
            ("https in front", "box:8080", "https://box:8080", true),
            ("another host", "box:8080", "http://evil.example:8080", false),
            ("another port", "box:8080", "http://box:8081", false),
            ("Origin without the port", "box:8080", "http://box", false),
            ("Host without the port", "box", "http://box:8080", false),
            ("both without", "box", "http://box", true),
            ("default port of http", "box:80", "http://box", true),
            ("default port of https", "box:443", "https://box", true),
            ("default port of https in Origin", "box", "https://box:443", true),
            ("default port of the other scheme", "box:80", "https://box", false),
            ("default port of the other scheme, in Origin", "box", "http://box:443", false),
            ("another case", "BOX:8080", "HTTP://box:8080", true),
            ("final dot in Host", "box.:8080", "http://box:8080", true),
            ("final dot in Origin", "box:8080", "http://box.:8080", true),
            ("IPv4", "192.168.1.5:80", "http://192.168.1.5", true),
            ("another IPv4", "192.168.1.5:80", "http://192.168.1.6", false),
            ("IPv6, written otherwise", "[2001:db8::1]:80", "http://[2001:DB8:0::0:1]", true),
            ("another IPv6", "[2001:db8::1]:80", "http://[2001:db8::2]", false),
            ("a prefix of the name", "box:80", "http://box.evil.example", false),
            ("a suffix of the name", "box:80", "http://evil-box", false),
            ("user info", "box:80", "http://box@evil.example", false),
            ("null", "box:80", "null", false),
            ("another scheme", "box", "capacitor://box", false),
            ("an extension", "box", "chrome-extension://abcdef", false),
            ("a list", "box", "http://box http://box", false),
            ("a path", "box", "http://box/", false),
            ("no scheme", "box", "box", false),
            ("rubbish", "box", "://", false),
        ];
        for (name, host, origin, allowed) in cases {
            let outcome = checked(&policy, host, origin);
            assert_eq!(outcome.is_ok(), allowed, "{name}: {outcome:?}");
            if let Err(refusal) = outcome {
                assert_eq!(refusal.status, Status::Forbidden, "{name}");
                assert!(refusal.reason.contains("--origin="), "{name}: {refusal:?}");
            }
        }
    }

    #[test]
    fn listed_origins_are_let_in() {
        let cases = [
            ("https://app.example", "https://app.example", true),
            ("https://app.example", "https://app.example:443", true),
            ("https://app.example/", "https://APP.example", true),
            ("https://app.example:443", "https://app.example", true),
            ("https://app.example", "http://app.example", false),
            ("https://app.example", "https://app.example:8443", false),
            ("https://app.example", "https://x.app.example", false),
            ("app.example:8443", "https://app.example:8443", true),
            ("app.example:8443", "http://app.example:8443", true),
            ("app.example:8443", "https://app.example", false),
            ("app.example", "https://app.example", true),
            ("app.example", "http://app.example", true),
            ("app.example", "http://app.example:8080", false),
            ("app.example", "capacitor://app.example", false),
            ("[::1]:80", "http://[::1]", true),
            ("null", "null", true),
            ("null", "http://null", false),
            ("chrome-extension://abc", "chrome-extension://abc", true),
            ("chrome-extension://abc", "chrome-extension://abd", false),
            ("file://", "file://", true),
        ];
        for (entry, origin, allowed) in cases {
            // The Host is a foreign name: a listed origin is let in whatever it is.
            let outcome = checked(
                &policy(&["x.example", entry], &[], true),
                "proxied.example",
                origin,
            );
            assert_eq!(
                outcome.is_ok(),
                allowed,
                "--origin={entry} and {origin}: {outcome:?}"
            );
        }
    }

    #[test]
    fn any_origin_may_be_let_in() {
        let policy = Policy::new(vec![], true, vec![], "box".to_owned(), true).unwrap();
        for origin in ["http://evil.example", "null", "rubbish"] {
            assert_eq!(
                checked(&policy, "other.example", origin),
                Ok(()),
                "{origin}"
            );
        }
    }

    /// Host, and whether it is a name of the server: on any address, and on loopback only.
    #[test]
    fn the_host_must_be_a_name_of_the_server() {
        let cases = [
            ("localhost:8080", true, true),
            ("LocalHost.", true, true),
            ("app.localhost", true, true),
            (".localhost", false, false),
            ("notlocalhost", false, false),
            ("localhost.evil.example", false, false),
            ("box", true, true),
            ("BOX.local:8080", true, true),
            ("box.local.evil.example", false, false),
            ("box.evil.example", false, false),
            ("box2", false, false),
            (".local", false, false),
            ("allowed.example", true, true),
            ("Allowed.Example.:9", true, true),
            ("x.allowed.example", false, false),
            ("evil.example", false, false),
            ("127.0.0.1:8080", true, true),
            ("127.9.9.9", true, true),
            ("[::1]:8080", true, true),
            ("[::ffff:127.0.0.1]", true, true),
            ("192.168.1.5", true, false),
            ("10.0.0.7", true, true),
            ("[2001:db8::7]", true, true),
            ("0.0.0.0", true, false),
            ("[2001:db8::1]", true, false),
            ("2130706433", false, false),
        ];
        let allow_hosts = ["allowed.example", "10.0.0.7", "2001:db8::7"];
        for (host, own, own_on_loopback) in cases {
            for (loopback_only, allowed) in [(false, own), (true, own_on_loopback)] {
                let policy = policy(&[], &allow_hosts, loopback_only);
                let same_origin = format!("http://{host}");
                let outcome = checked(&policy, host, &same_origin);
                assert_eq!(
                    outcome.is_ok(),
                    allowed,
                    "{host}, {loopback_only}: {outcome:?}"
                );
                if let Err(refusal) = outcome {
                    assert_eq!(refusal.status, Status::Forbidden, "{host}");
                    assert!(refusal.reason.contains("--allow-host="), "{refusal:?}");
                }
                // What is no browser is held to it on loopback only.
                let outcome = checked(&policy, host, "");
                assert_eq!(
                    outcome.is_ok(),
                    allowed || !loopback_only,
                    "{host}: {outcome:?}"
                );
            }
        }
    }

    #[test]
    fn a_qualified_machine_name_counts_whole_and_with_local() {
        let policy =
            |name: &str| Policy::new(vec![], false, vec![], name.to_owned(), true).unwrap();
        let qualified = policy("box.example.org");
        for (host, own) in [
            ("box.example.org", true),
            ("box.local", true),
            ("box.example.org.local", true),
            ("box", false),
            ("example.org", false),
        ] {
            assert_eq!(checked(&qualified, host, "").is_ok(), own, "{host}");
        }
        for (name, host) in [("", ".local"), (".", "x.local"), ("", "local")] {
            assert!(
                checked(&policy(name), host, "").is_err(),
                "{name:?}, {host}"
            );
        }
    }

    #[test]
    fn a_request_without_host_is_no_browsers() {
        let head = b"GET / HTTP/1.0\r\n\r\n";
        let request = Request::parse(head, 16).unwrap();
        assert_eq!(policy(&[], &[], true).check_host(&request), Ok(()));
    }

    #[test]
    fn two_origins_are_400() {
        let outcome = checked(
            &policy(&["null"], &[], false),
            "box",
            "null\r\nOrigin: null",
        );
        assert_eq!(outcome.unwrap_err().status, Status::BadRequest);
    }

    #[test]
    fn refusals_name_what_was_compared_and_the_option() {
        let policy = policy(&[], &[], true);
        #[rustfmt::skip]
        let cases = [
            ("localhost:8080", "https://app.example:1", "Origin \"https://app.example:1\" is not at the Host \"localhost:8080\"; to let it in, start wspipe with --origin=https://app.example:1"),
            ("localhost:8080", "null", "Origin \"null\" is not at the Host \"localhost:8080\"; to let it in, start wspipe with --origin=null"),
            ("localhost", "http://a;reboot", "Origin \"http://a;reboot\" is not at the Host \"localhost\"; to let it in, start wspipe with --origin=LIST"),
            ("app.example:8443", "https://app.example:8443", "Host \"app.example:8443\" is not a name of this server; if it should be one, start wspipe with --allow-host=app.example"),
            ("[fd00::1]:8080", "", "Host \"[fd00::1]:8080\" is not a loopback address, which is all that this server listens on; if it should be one, start wspipe with --allow-host=[fd00::1]"),
            ("[fd00::1]", "", "Host \"[fd00::1]\" is not a loopback address, which is all that this server listens on; if it should be one, start wspipe with --allow-host=[fd00::1]"),
        ];
        for (host, origin, reason) in cases {
            assert_eq!(checked(&policy, host, origin).unwrap_err().reason, reason);
        }
    }

    #[test]
    fn entries_that_are_not_understood_are_named() {
        let origins = [
            "",
            "*",
            "*.example",
            "https://",
            "https://a/b",
            "a/b",
            "http://a b",
            "a:x",
            "://a",
            ":80",
        ];
        for entry in origins {
            let policy = Policy::new(vec![entry.to_owned()], false, vec![], String::new(), true);
            let line = policy.expect_err(entry);
            assert!(
                line.starts_with(&format!("--origin={entry} is not")),
                "{line}"
            );
        }
        for entry in ["", "*", "a:80", "a:", "http://a", "[::1]:80", "a/b"] {
            let policy = Policy::new(vec![], false, vec![entry.to_owned()], String::new(), true);
            let line = policy.expect_err(entry);
            assert!(
                line.starts_with(&format!("--allow-host={entry} is not")),
                "{line}"
            );
        }
    }
}
