//! Who may connect: the rules about `Origin` and `Host`.
//!
//! - **Origin.** Any page on the web may open a WebSocket to a server on the user's own machine.
//!   The browser does not ask the server first; it only states the page's origin. So the server
//!   accepts pages from its own host and port, and from the origins of `--origin`.
//! - **Host.** An attacker can let their own domain name resolve to 127.0.0.1 (DNS rebinding). Then
//!   the page and the server have the same name, and the rule about `Origin` accepts it. So `Host`
//!   must be a name that belongs to the server.

use core::net::IpAddr;

use super::host::{Host, Name};
use super::refusal::{Refusal, quote};
use super::request::Request;

/// Which origins may connect, and which names belong to the server.
#[derive(Clone, Debug)]
pub struct Policy {
    origins: Vec<String>,
    any_origin: bool,
    allow_hosts: Vec<String>,
    host_name: String,
    loopback_only: bool,
}

impl Policy {
    /// Makes a policy of the options.
    ///
    /// - `origins` (`--origin`): accepted in addition to the server's own origin.
    /// - `any_origin`: accept every origin.
    /// - `allow_hosts` (`--allow-host`): names of the server in addition to addresses, `localhost`
    ///   and `host_name`.
    /// - `host_name`: the name of the machine.
    /// - `loopback_only`: every listening address is a loopback address.
    ///
    /// # Errors
    ///
    /// One line that names the invalid entry, its option, and what an entry looks like.
    pub fn new(
        origins: Vec<String>,
        any_origin: bool,
        allow_hosts: Vec<String>,
        host_name: String,
        loopback_only: bool,
    ) -> Result<Policy, String> {
        if let Some(entry) = origins
            .iter()
            .find(|entry| AllowedOrigin::parse(entry).is_none())
        {
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

    /// Checks that `Host` is a name of the server. The rule applies to requests whose `Origin` is
    /// not listed, and, on loopback only, to requests without `Origin`.
    ///
    /// # Errors
    ///
    /// 403 for another name; 400 for two `Origin` fields.
    pub fn check_host(&self, request: &Request) -> Result<(), Refusal> {
        let must_be_own = match request.sole_header("Origin")? {
            Some(origin) => !self.is_listed(origin),
            // Every browser sends a Host. An HTTP/1.0 client may omit it.
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

    /// Checks that the page that opens the WebSocket comes from the host and port of the request, or
    /// that its origin is listed. A request without `Origin` is not from a browser and is accepted.
    ///
    /// # Errors
    ///
    /// 403 for another origin; 400 for two `Origin` fields.
    pub fn check_origin(&self, request: &Request) -> Result<(), Refusal> {
        let Some(value) = request.sole_header("Origin")? else {
            return Ok(());
        };
        let origin = Origin::parse(value);
        if self.is_listed(value) || origin.is_some_and(|origin| origin.is_at(&request.host)) {
            return Ok(());
        }
        // Only a parsed origin becomes an option that an operator may paste into a shell.
        let entry = match (value, origin) {
            (b"null", _) => "null".to_owned(),
            (_, Some(origin)) => format!("{}://{}", origin.scheme, origin.host.text),
            _ => "LIST".to_owned(),
        };
        Err(Refusal::forbidden(format!(
            "Origin {} is not at the Host {}; to allow it, start wspipe with --origin={entry}",
            quote(value),
            quote(request.host.text.as_bytes()),
        )))
    }

    fn is_listed(&self, origin: &[u8]) -> bool {
        self.any_origin
            || self
                .origins
                .iter()
                .filter_map(|entry| AllowedOrigin::parse(entry))
                .any(|allowed| allowed.matches(origin))
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

    /// Whether `name` is the machine's, alone or in multicast DNS: `box` and `box.local`; for a
    /// machine named `box.example.org`, that name and `box.local`.
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

/// Whether resolvers map the name to loopback (RFC 6761 section 6.3).
fn is_localhost(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || strip_suffix_ignore_case(name, ".localhost").is_some_and(|rest| !rest.is_empty())
}

fn strip_suffix_ignore_case<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let (rest, end) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
    end.eq_ignore_ascii_case(suffix).then_some(rest)
}

/// The host of an authority, as text.
fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if !authority.ends_with(']') => &authority[..colon],
        _ => authority,
    }
}

/// Parses an entry of `--allow-host`: a name, or an address with or without brackets.
fn allowed_name(entry: &str) -> Option<Name<'_>> {
    if let Ok(address) = entry.parse::<IpAddr>() {
        return Some(Name::Ip(address));
    }
    let host = Host::parse(entry)?;
    (host.port.is_none() && !entry.is_empty() && !entry.ends_with(':')).then_some(host.name)
}

/// The origin of a page: scheme, host and port (RFC 6454 section 6.2).
#[derive(Clone, Copy, Debug)]
struct Origin<'a> {
    scheme: &'a str,
    host: Host<'a>,
}

impl<'a> Origin<'a> {
    /// Parses `scheme://host` or `scheme://host:port`. `None` for anything else, including `null`.
    fn parse(value: &'a [u8]) -> Option<Origin<'a>> {
        let (scheme, authority) = std::str::from_utf8(value).ok()?.split_once("://")?;
        let is_scheme =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        if scheme.is_empty() || !scheme.bytes().all(is_scheme) {
            return None;
        }
        let host = Host::parse(authority)?;
        let origin = Origin { scheme, host };
        // Only a scheme without ports may have an empty host: `file://`.
        let is_nowhere = host.name == Name::Registered("") && origin.default_port().is_some();
        (!is_nowhere).then_some(origin)
    }

    /// The default port of the scheme. Only http and https have one.
    fn default_port(&self) -> Option<u16> {
        if self.scheme.eq_ignore_ascii_case("http") {
            Some(80)
        } else if self.scheme.eq_ignore_ascii_case("https") {
            Some(443)
        } else {
            None
        }
    }

    /// Whether a page of this origin was served from `host`.
    ///
    /// The scheme is not compared: behind a proxy that terminates TLS, the page's is https and the
    /// server's is http. So on both sides, a missing port means the default of the page's scheme.
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
enum AllowedOrigin<'a> {
    /// `null`: pages without an origin, such as local files and sandboxed frames.
    Null,
    /// `https://app.example`, `chrome-extension://id`: exactly this origin.
    Origin(Origin<'a>),
    /// `app.example:8443`: pages from there over http or https.
    Host(Host<'a>),
}

impl<'a> AllowedOrigin<'a> {
    fn parse(entry: &'a str) -> Option<AllowedOrigin<'a>> {
        if entry.eq_ignore_ascii_case("null") {
            return Some(AllowedOrigin::Null);
        }
        if entry.contains("://") {
            // A URL from an address bar ends with a slash. `file://` must keep its slashes.
            let entry = match entry.strip_suffix('/') {
                Some(rest) if !rest.ends_with('/') => rest,
                _ => entry,
            };
            return Origin::parse(entry.as_bytes()).map(AllowedOrigin::Origin);
        }
        let host = Host::parse(entry)?;
        (host.name != Name::Registered("")).then_some(AllowedOrigin::Host(host))
    }

    fn matches(&self, value: &[u8]) -> bool {
        match self {
            AllowedOrigin::Null => value == b"null",
            AllowedOrigin::Origin(allowed) => {
                Origin::parse(value).is_some_and(|origin| origin.is_same(allowed))
            }
            AllowedOrigin::Host(host) => {
                Origin::parse(value).is_some_and(|origin| origin.is_at(host))
            }
        }
    }
}

#[cfg(test)]
mod tests;
