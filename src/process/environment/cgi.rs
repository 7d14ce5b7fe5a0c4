//! Variables of the request line and of the connection (RFC 3875 section 4.1).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::{Gateway, SERVER_SOFTWARE};
use crate::http::host::Name;
use crate::http::percent;
use crate::http::request::Request;
use crate::system::Environment;

/// All variables of CGI/1.1, and those that servers commonly add. Of the variables made from
/// headers, only HTTP_HOST is here: it is always set.
pub(super) const NAMES: [&str; 22] = [
    "AUTH_TYPE",
    "CONTENT_LENGTH",
    "CONTENT_TYPE",
    "GATEWAY_INTERFACE",
    "HTTPS",
    "HTTP_HOST",
    "PATH_INFO",
    "PATH_TRANSLATED",
    "QUERY_STRING",
    "REMOTE_ADDR",
    "REMOTE_HOST",
    "REMOTE_IDENT",
    "REMOTE_PORT",
    "REMOTE_USER",
    "REQUEST_METHOD",
    "REQUEST_URI",
    "SCRIPT_NAME",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "SERVER_SOFTWARE",
    "UNIQUE_ID",
];

/// Adds the variables of [`NAMES`], except those of headers. HTTPS is set for TLS only.
///
/// The path of the request is SCRIPT_NAME followed by PATH_INFO (RFC 3875 section 3.3), both
/// decoded (sections 4.1.5 and 4.1.13). For a command that serves every path, SCRIPT_NAME is empty.
/// REQUEST_URI holds the path as it was sent.
pub(super) fn add(variables: &mut Environment, request: &Request<'_>, gateway: &Gateway<'_>) {
    let name = server_name(request, gateway);
    let port = server_port(request, gateway).to_string();
    let uri = match request.query {
        Some(query) => format!("{}?{query}", request.path),
        None => request.path.to_owned(),
    };
    let path = percent::decode(request.path);
    let path_info = path
        .strip_prefix(gateway.script_name.as_bytes())
        .unwrap_or(&path);
    let remote = gateway.client.ip.to_string();
    // Empty if a proxy does not report it: the proxy's own port belongs to another connection.
    let remote_port = gateway.client.port.map(|port| port.to_string());
    let remote_port = remote_port.unwrap_or_default();

    let values: [(&str, &[u8]); 20] = [
        ("GATEWAY_INTERFACE", b"CGI/1.1"),
        ("SERVER_SOFTWARE", SERVER_SOFTWARE.as_bytes()),
        // Only HTTP/1.1 can be upgraded (RFC 6455 section 4.1).
        ("SERVER_PROTOCOL", b"HTTP/1.1"),
        ("SERVER_NAME", name.as_bytes()),
        ("SERVER_PORT", port.as_bytes()),
        ("REQUEST_METHOD", request.method.as_bytes()),
        ("REQUEST_URI", uri.as_bytes()),
        ("QUERY_STRING", request.query.unwrap_or("").as_bytes()),
        ("SCRIPT_NAME", gateway.script_name.as_bytes()),
        ("PATH_INFO", path_info),
        // There is no document root to translate the path with.
        ("PATH_TRANSLATED", path_info),
        ("REMOTE_ADDR", remote.as_bytes()),
        // The address replaces the name, which would need a look-up (section 4.1.9).
        ("REMOTE_HOST", remote.as_bytes()),
        ("REMOTE_PORT", remote_port.as_bytes()),
        ("UNIQUE_ID", gateway.unique_id.as_bytes()),
        // The request has no body, and the server does not authenticate users. These are set so
        // that they cannot be inherited from the server.
        ("AUTH_TYPE", b""),
        ("CONTENT_LENGTH", b""),
        ("CONTENT_TYPE", b""),
        ("REMOTE_IDENT", b""),
        ("REMOTE_USER", b""),
    ];
    for (name, value) in values {
        variables.insert(name.into(), OsStr::from_bytes(value).into());
    }
    if gateway.https == Some(true) {
        variables.insert("HTTPS".into(), "on".into());
    }
}

/// The host that the client asked for; an IPv6 address in brackets (section 4.1.14).
fn server_name(request: &Request<'_>, gateway: &Gateway<'_>) -> String {
    let name = match request.host.name {
        // Only a request of HTTP/1.0 can lack a host.
        Name::Registered("") => Name::Ip(gateway.local.ip().to_canonical()),
        name => name,
    };
    match name {
        Name::Registered(name) => name.to_owned(),
        Name::Ip(ip) if ip.is_ipv6() => format!("[{ip}]"),
        Name::Ip(ip) => ip.to_string(),
    }
}

/// The port that the client connected to. Behind a proxy it is the proxy's port, which `Host` names
/// unless it is the default of the scheme.
fn server_port(request: &Request<'_>, gateway: &Gateway<'_>) -> u16 {
    match gateway.https {
        None => gateway.local.port(),
        Some(https) => request.host.port.unwrap_or(if https { 443 } else { 80 }),
    }
}
