//! Variables made from headers: `HTTP_*` (RFC 3875 section 4.1.18).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::http::request::Request;
use crate::http::resume;
use crate::system::Environment;

/// Adds a variable for each header, and HTTP_HOST.
pub(super) fn add(variables: &mut Environment, request: &Request<'_>) {
    let mut headers = Environment::new();
    for (name, value) in request.headers() {
        let Some(name) = header_variable(name) else {
            continue;
        };
        // RFC 6265 section 5.4 separates cookies by semicolons; other headers are lists (RFC 9110
        // section 5.3).
        let separator = if name == "HTTP_COOKIE" { "; " } else { ", " };
        let value = value.iter().map(|&byte| match byte {
            // A line end would look like a second variable where variables are printed, and a
            // value cannot contain NUL.
            b'\r' | b'\n' | 0 => b' ',
            byte => byte,
        });
        let value = OsString::from_vec(value.collect());
        headers
            .entry(name.into())
            .and_modify(|joined| {
                joined.push(separator);
                joined.push(&value);
            })
            .or_insert(value);
    }
    // The token of a resumable session is a secret between the client and the server.
    const PROTOCOLS: &str = "HTTP_SEC_WEBSOCKET_PROTOCOL";
    if request
        .list("Sec-WebSocket-Protocol")
        .any(resume::is_session_protocol)
    {
        let others = request.list("Sec-WebSocket-Protocol");
        let others: Vec<_> = others
            .filter(|name| !resume::is_session_protocol(name))
            .collect();
        let others = OsString::from_vec(others.join(&b", "[..]));
        headers.insert(PROTOCOLS.into(), others);
    }
    // The authority of an absolute target replaces Host (RFC 9112 section 3.2.2).
    headers.insert("HTTP_HOST".into(), request.host.text.into());
    variables.extend(headers);
}

/// The headers that never become a variable. `Proxy` would become HTTP_PROXY. The others are
/// passwords and tokens (RFC 3875 section 4.1.18), and a command's environment can be read by the other
/// commands of its user.
const LEFT_OUT: [&str; 3] = ["Proxy", "Authorization", "Proxy-Authorization"];

/// The name of a header's variable; `None` if the header is left out. A name with `_` is: `X_Y` would
/// become the same variable as `X-Y`, and so get past a proxy that removes `X-Y` only.
fn header_variable(name: &str) -> Option<String> {
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !plain || LEFT_OUT.iter().any(|it| name.eq_ignore_ascii_case(it)) {
        return None;
    }
    Some(format!(
        "HTTP_{}",
        name.to_ascii_uppercase().replace('-', "_")
    ))
}
