//! The environment of a command: inherited variables, those of `--setenv`, and CGI/1.1 (RFC 3875).
//!
//! | file | variables |
//! |---|---|
//! | `cgi` | what the request line and the connection say: PATH_INFO, REMOTE_ADDR and others |
//! | `headers` | a variable for each header: HTTP_USER_AGENT and others |
//! | `unique_ids` | values of UNIQUE_ID |
//!
//! The variables of a request hold what the client sent, decoded at most once and not checked
//! further, so a command must not trust them. A client cannot choose the name of a variable: those
//! made from headers begin with `HTTP_`. `Proxy:` is left out, because many programs read HTTP_PROXY
//! as a setting of their own user; `Authorization:` and `Proxy-Authorization:` are, because they are
//! secrets.

mod cgi;
mod headers;
mod unique_ids;

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;

pub(crate) use self::unique_ids::UniqueIds;
use crate::http::proxy::Remote;
use crate::http::request::Request;
use crate::system::Environment;

/// The facts besides the request that its variables hold.
#[derive(Clone, Copy, Debug)]
pub struct Gateway<'a> {
    /// The path the command is mounted at, decoded and without a final `/`. Empty if the command
    /// serves every path.
    pub script_name: &'a str,
    /// The address of the client.
    pub client: Remote,
    /// The server's own address on the connection. Behind a proxy, the proxy connected to it.
    pub local: SocketAddr,
    /// A name for this connection, different from all others; see [`UniqueIds`].
    pub unique_id: &'a str,
    /// Whether the client uses TLS, as a trusted proxy reports; `None` without such a report.
    pub https: Option<bool>,
}

const SERVER_SOFTWARE: &str = concat!("wspipe/", env!("CARGO_PKG_VERSION"));

/// Whether a variable describes the request, so that the operator cannot set it. HTTP_PROXY does
/// not: no header becomes HTTP_PROXY.
pub fn is_request_variable(name: &str) -> bool {
    cgi::NAMES.contains(&name) || name.starts_with("HTTP_") && name != "HTTP_PROXY"
}

/// The environment of a command that a request starts.
///
/// `passenv` names the variables to inherit, and `own` returns their values (`std::env::var_os`).
/// If a name has several values, the request wins over `setenv`, and `setenv` over `passenv`.
pub fn for_request(
    request: &Request<'_>,
    gateway: &Gateway<'_>,
    passenv: &[OsString],
    setenv: &[(OsString, OsString)],
    own: impl Fn(&OsStr) -> Option<OsString>,
) -> Environment {
    let mut variables = inherited(passenv, setenv, own);
    headers::add(&mut variables, request);
    cgi::add(&mut variables, request, gateway);
    variables
}

/// The environment of a command that no request starts, such as a shared one.
pub(crate) fn without_request(
    passenv: &[OsString],
    setenv: &[(OsString, OsString)],
    own: impl Fn(&OsStr) -> Option<OsString>,
) -> Environment {
    let mut variables = inherited(passenv, setenv, own);
    variables.insert("SERVER_SOFTWARE".into(), SERVER_SOFTWARE.into());
    variables
}

fn inherited(
    passenv: &[OsString],
    setenv: &[(OsString, OsString)],
    own: impl Fn(&OsStr) -> Option<OsString>,
) -> Environment {
    let of_own = passenv
        .iter()
        .filter_map(|name| Some((name.clone(), own(name)?)));
    let mut variables = Environment::new();
    // `extend`, not `collect`: collecting into a BTreeMap sorts first, and the sort is large.
    variables.extend(of_own.chain(setenv.iter().cloned()));
    variables
}

#[cfg(test)]
mod tests;
