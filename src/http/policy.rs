//! Who may connect: the rules about `Origin` and `Host`.
//!
//! - **Origin.** Any page on the web may open a WebSocket to a server on the user's own machine.
//!   The browser does not ask the server first; it only states the page's origin. So the server
//!   accepts pages from its own host and port, and from the origins of `--origin`. Where a trusted
//!   proxy reports the scheme of the request, the page must have the same one.
//! - **Host.** An attacker can let their own domain name resolve to 127.0.0.1 (DNS rebinding). Then
//!   the page and the server have the same name, and the rule about `Origin` accepts it. So `Host`
//!   must be a name that belongs to the server. `localhost` does not if another program has the
//!   port on the other loopback address.

use core::net::{IpAddr, SocketAddr};

use super::host::{Host, Name};
use super::refusal::{Refusal, quote, quote_url};
use super::request::Request;

/// Which origins may connect, and which names belong to the server.
#[derive(Clone, Debug)]
pub struct Policy {
    origins: Vec<String>,
    any_origin: bool,
    allow_hosts: Vec<String>,
    host_name: String,
    loopback_only: bool,
    /// The loopback address to open if `localhost` may lead to another program.
    instead_of_localhost: Option<IpAddr>,
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
        for entry in &origins {
            check_origin_entry(entry).map_err(|remedy| format!("--origin={entry}: {remedy}"))?;
        }
        for entry in &allow_hosts {
            check_host_entry(entry).map_err(|remedy| format!("--allow-host={entry}: {remedy}"))?;
        }
        Ok(Policy {
            origins,
            any_origin,
            allow_hosts,
            host_name,
            loopback_only,
            instead_of_localhost: None,
        })
    }

    /// From now on, `localhost` is no name of the server, because a browser may reach another
    /// program by it. `served` is the loopback address on which the server listens.
    pub fn share_localhost(&mut self, served: IpAddr) {
        self.instead_of_localhost = Some(served);
    }

    /// Checks that the `Host` of an opening handshake is a name of the server. The rule applies to
    /// requests whose `Origin`, `page`, is not listed, and, on loopback only, to requests without
    /// `Origin`: elsewhere they come from programs, which may use any name.
    ///
    /// # Errors
    ///
    /// 403 for another name.
    pub fn check_host(&self, request: &Request, page: Option<&Page>) -> Result<(), Refusal> {
        match page {
            None if !self.loopback_only => Ok(()),
            page => self.check_page_host(request, page),
        }
    }

    /// Checks that the `Host` of a plain request is a name of the server. A browser sends no `Origin`
    /// when a page reads from its own server, so the rule applies to requests without one as well.
    ///
    /// # Errors
    ///
    /// 403 for another name.
    pub fn check_page_host(&self, request: &Request, page: Option<&Page>) -> Result<(), Refusal> {
        let must_be_own = match page {
            Some(page) => !self.is_listed(page),
            // Every browser sends a Host. An HTTP/1.0 client may omit it.
            None => !request.host.text.is_empty(),
        };
        if !must_be_own || self.is_own(&request.host.name) {
            return Ok(());
        }
        let host = request.host.text;
        if let Some(page) = page
            && host.is_empty()
        {
            return Err(page.refuse(request, None));
        }
        if let Some(served) = self.instead_of(&request.host.name) {
            return Err(refuse_shared(&request.host, served));
        }
        let (what, entry) = match request.host.name {
            Name::Ip(ip) => (
                "is not a loopback address, which is all that this server listens on",
                ip.to_string(),
            ),
            Name::Registered(name) => ("is not a name of this server", host_entry(name)),
        };
        Err(Refusal::forbidden(format!(
            "Host {} {what}; if it should be one, start wspipe with --allow-host={entry}",
            quote(host.as_bytes()),
        )))
    }

    /// Checks that the page that opens the WebSocket comes from the host and port of the request, or
    /// that its origin is listed. A request without `Origin` is not from a browser and is accepted.
    ///
    /// `https`: whether the client uses TLS, as a trusted proxy reports. Then the page must as well.
    ///
    /// # Errors
    ///
    /// 403 for another origin.
    pub fn check_origin(
        &self,
        request: &Request,
        page: Option<&Page>,
        https: Option<bool>,
    ) -> Result<(), Refusal> {
        let Some(page) = page else {
            return Ok(());
        };
        let is_same = page.origin.is_some_and(|it| it.is_at(&request.host, https));
        if is_same || self.is_listed(page) {
            return Ok(());
        }
        Err(page.refuse(request, https))
    }

    fn is_listed(&self, page: &Page) -> bool {
        self.any_origin
            || self
                .origins
                .iter()
                .filter_map(|entry| AllowedOrigin::parse(entry))
                .any(|allowed| allowed.matches(page))
    }

    fn is_own(&self, name: &Name) -> bool {
        self.allow_hosts
            .iter()
            .any(|entry| allowed_name(entry).as_ref() == Some(name))
            || match name {
                Name::Ip(address) => !self.loopback_only || address.to_canonical().is_loopback(),
                Name::Registered(text) => {
                    (is_localhost(text) || self.is_machine(text)) && self.instead_of(name).is_none()
                }
            }
    }

    /// The address to open in place of a name that may lead to another program: `localhost`, and on
    /// loopback only the machine's name, because there it reaches the server only if /etc/hosts maps
    /// it to loopback like `localhost`.
    fn instead_of(&self, name: &Name) -> Option<IpAddr> {
        let Name::Registered(name) = name else {
            return None;
        };
        let is_shared = is_localhost(name) || self.loopback_only && self.is_machine(name);
        self.instead_of_localhost.filter(|_| is_shared)
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

/// The page that sends a request, as its `Origin` names it. Parsed once for all rules.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    value: &'a [u8],
    /// `None` for `null`, and for a value that is no origin.
    origin: Option<Origin<'a>>,
}

impl<'a> Page<'a> {
    /// The page that sends `request`. A request without `Origin` has none.
    ///
    /// # Errors
    ///
    /// 400 for two `Origin` fields.
    pub fn of(request: &Request<'a>) -> Result<Option<Page<'a>>, Refusal> {
        let value = request.sole_header("Origin")?;
        Ok(value.map(|value| Page {
            value,
            origin: Origin::parse(value),
        }))
    }

    /// The refusal of this page. Only a parsed origin becomes an option that an operator may paste
    /// into a shell.
    fn refuse(&self, request: &Request, https: Option<bool>) -> Refusal {
        let value = quote_url(self.value);
        let entry = match self.origin {
            _ if self.value == b"null" => "null".to_owned(),
            // A shell would take the brackets of an address for a pattern.
            Some(Origin { scheme, host }) if host.text.starts_with('[') => {
                format!("'{scheme}://{}'", host.text)
            }
            Some(Origin { scheme, host }) => format!("{scheme}://{}", host.text),
            None => {
                return Refusal::forbidden(format!(
                    "Origin {value} is not scheme://host or scheme://host:port, as every browser \
                     sends it: correct it or leave it out; only --origin=any, which lets every \
                     page connect, accepts it",
                ));
            }
        };
        let host = quote(request.host.text.as_bytes());
        let scheme = match https {
            Some(true) => " with https, which the proxy reports",
            Some(false) => " with http, which the proxy reports",
            None => "",
        };
        Refusal::forbidden(format!(
            "Origin {value} is not at the Host {host}{scheme}; to allow it, start wspipe with \
             --origin={entry}",
        ))
    }
}

/// The refusal of a name that may lead to another program.
fn refuse_shared(host: &Host, served: IpAddr) -> Refusal {
    let url = match (served, host.port) {
        (served, Some(port)) => SocketAddr::new(served, port).to_string(),
        (IpAddr::V4(served), None) => served.to_string(),
        (IpAddr::V6(served), None) => format!("[{served}]"),
    };
    Refusal::forbidden(format!(
        "Host {} may lead to another program, which has this port on another address; open \
         http://{url}/, or start wspipe with --port=0, which takes a free port",
        quote(host.text.as_bytes()),
    ))
}

/// The word that `--allow-host` does not take for a host, because it would not mean all of them.
const ANY: &str = "any";

/// The entry of `--allow-host` for a name. A final dot makes a host of a name that is `any`.
fn host_entry(name: &str) -> String {
    match name.eq_ignore_ascii_case(ANY) {
        true => format!("{name}."),
        false => name.to_owned(),
    }
}

/// Checks an entry of `--allow-host`.
///
/// # Errors
///
/// What to write instead.
pub(crate) fn check_host_entry(entry: &str) -> Result<(), String> {
    if entry == "*" || entry.eq_ignore_ascii_case(ANY) {
        return Err(format!(
            "no value allows every name, which would allow DNS rebinding: list the names of this \
             server, such as app.example (a host whose name is {ANY} is written {ANY}.)"
        ));
    }
    let is_host = allowed_name(entry).is_some();
    is_host.then_some(()).ok_or_else(|| {
        "a host is a name such as app.example or an address, without scheme and port".to_owned()
    })
}

/// Checks an entry of `--origin` other than `any`.
///
/// # Errors
///
/// What to write instead.
pub(crate) fn check_origin_entry(entry: &str) -> Result<(), String> {
    let is_origin = AllowedOrigin::parse(entry).is_some();
    is_origin.then_some(()).ok_or_else(|| {
        "an origin is https://app.example, app.example:8443, file://, null or any, without a path"
            .to_owned()
    })
}

/// Parses an entry of `--allow-host`: a name, or an address with or without brackets.
fn allowed_name(entry: &str) -> Option<Name<'_>> {
    if let Ok(address) = entry.parse::<IpAddr>() {
        return Some(Name::Ip(address));
    }
    let host = Host::parse(entry)?;
    (host.port.is_none() && !entry.is_empty() && !entry.ends_with(':')).then_some(host.name)
}

/// The default port of https.
const HTTPS_PORT: u16 = 443;

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
            Some(HTTPS_PORT)
        } else {
            None
        }
    }

    /// Whether a page of this origin was served from `host`. A missing port means the default of the
    /// scheme.
    ///
    /// `https`: whether a client of `host` uses TLS. If that is not known, the page's own scheme
    /// counts: behind a proxy that terminates TLS it is https, while the server's is http.
    fn is_at(&self, host: &Host, https: Option<bool>) -> bool {
        let Some(default_port) = self.default_port() else {
            return false;
        };
        https.is_none_or(|https| https == (default_port == HTTPS_PORT))
            && self.host.name == host.name
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
        let is_host = !entry.is_empty() && !entry.ends_with(':');
        is_host.then_some(AllowedOrigin::Host(host))
    }

    fn matches(&self, page: &Page) -> bool {
        match self {
            AllowedOrigin::Null => page.value == b"null",
            AllowedOrigin::Origin(allowed) => page.origin.is_some_and(|it| it.is_same(allowed)),
            AllowedOrigin::Host(host) => page.origin.is_some_and(|it| it.is_at(host, None)),
        }
    }
}

#[cfg(test)]
mod tests;
