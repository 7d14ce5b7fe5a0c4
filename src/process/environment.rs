//! The environment of a command: a few variables of the server's own, and CGI/1.1 (RFC 3875).
//!
//! The variables of a request say what a client wrote, decoded at most once and never checked
//! further: a command must not trust them. No client can name a variable freely, though. What
//! comes from a header begins with `HTTP_`, and `Proxy:` is left out because many programs take
//! HTTP_PROXY for the user's own setting.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::http::host::Name;
use crate::http::percent;
use crate::http::proxy::Remote;
use crate::http::request::Request;
use crate::http::resume;
use crate::system::Environment;

/// What the environment says beside the request.
#[derive(Clone, Copy, Debug)]
pub struct Gateway<'a> {
    /// The path, decoded and without a final `/`, below which the command is mounted. Empty: it
    /// is at every path.
    pub script_name: &'a str,
    /// Where the client is.
    pub client: Remote,
    /// Our own address on the connection, to a proxy if there is one.
    pub local: SocketAddr,
    /// What tells this connection from every other; see [`UniqueIds`].
    pub unique_id: &'a str,
    /// Whether the client speaks TLS, to the proxy that says so; `None`: nobody says.
    pub https: Option<bool>,
}

/// What the request says, in variables: all of CGI/1.1 (RFC 3875 section 4.1) and those that
/// servers commonly add. What comes from headers is not among them.
const NAMES: [&str; 22] = [
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

/// Whether a variable says something of the request, and so cannot have a value of its own.
/// HTTP_PROXY can: no header becomes that.
pub fn is_of_request(name: &str) -> bool {
    NAMES.contains(&name) || name.starts_with("HTTP_") && name != "HTTP_PROXY"
}

/// The environment of the command that a request starts.
///
/// `passenv` names the variables that `own` (`std::env::var_os`) is asked for. Those of `setenv`
/// come in their place, and those of the request in the place of either.
///
/// The path of the request is SCRIPT_NAME and PATH_INFO together (RFC 3875 section 3.3), both
/// decoded (4.1.5, 4.1.13). A command at every path has no name of its own: SCRIPT_NAME is empty
/// and PATH_INFO the whole path. REQUEST_URI has it as it was sent.
pub fn of(
    request: &Request<'_>,
    gateway: &Gateway<'_>,
    passenv: &[OsString],
    setenv: &[(OsString, OsString)],
    own: impl Fn(&OsStr) -> Option<OsString>,
) -> Environment {
    let mut variables = inherited(passenv, setenv, own);
    add_headers(&mut variables, request);
    add_request(&mut variables, request, gateway);
    variables
}

/// The environment of a command that is started for no client, or for all: without anything of a
/// request.
pub(crate) fn alone(
    passenv: &[OsString],
    setenv: &[(OsString, OsString)],
    own: impl Fn(&OsStr) -> Option<OsString>,
) -> Environment {
    let mut variables = inherited(passenv, setenv, own);
    variables.insert("SERVER_SOFTWARE".into(), SERVER_SOFTWARE.into());
    variables
}

const SERVER_SOFTWARE: &str = concat!("wspipe/", env!("CARGO_PKG_VERSION"));

fn inherited(
    passenv: &[OsString],
    setenv: &[(OsString, OsString)],
    own: impl Fn(&OsStr) -> Option<OsString>,
) -> Environment {
    let of_own = passenv
        .iter()
        .filter_map(|name| Some((name.clone(), own(name)?)));
    let mut variables = Environment::new();
    // Not collected: that sorts them first, and a sort is some kilobytes of code.
    variables.extend(of_own.chain(setenv.iter().cloned()));
    variables
}

fn add_request(variables: &mut Environment, request: &Request<'_>, gateway: &Gateway<'_>) {
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
    // Empty where a proxy does not say it: its own would be another connection's.
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
        // There is no document root that the path would be relative to.
        ("PATH_TRANSLATED", path_info),
        ("REMOTE_ADDR", remote.as_bytes()),
        // The address in place of the name, which would have to be asked for (section 4.1.9).
        ("REMOTE_HOST", remote.as_bytes()),
        ("REMOTE_PORT", remote_port.as_bytes()),
        ("UNIQUE_ID", gateway.unique_id.as_bytes()),
        // There is no body, and nobody was asked who they are. Set all the same, so that none of
        // them can come from the server's own environment.
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

/// The name by which the client called the server, an IPv6 address in brackets (section 4.1.14).
fn server_name(request: &Request<'_>, gateway: &Gateway<'_>) -> String {
    let name = match request.host.name {
        // Only a request of HTTP/1.0 can be without.
        Name::Registered("") => Name::Ip(gateway.local.ip().to_canonical()),
        name => name,
    };
    match name {
        Name::Registered(name) => name.to_owned(),
        Name::Ip(ip) if ip.is_ipv6() => format!("[{ip}]"),
        Name::Ip(ip) => ip.to_string(),
    }
}

/// The port at which the client called the server. Behind a proxy that is the proxy's, in `Host` if
/// it is not the usual one.
fn server_port(request: &Request<'_>, gateway: &Gateway<'_>) -> u16 {
    match gateway.https {
        None => gateway.local.port(),
        Some(https) => request.host.port.unwrap_or(if https { 443 } else { 80 }),
    }
}

/// The headers as `HTTP_*` (section 4.1.18).
fn add_headers(variables: &mut Environment, request: &Request<'_>) {
    let mut headers = Environment::new();
    for (name, value) in request.headers() {
        let Some(name) = header_variable(name) else {
            continue;
        };
        // RFC 6265 section 5.4: cookies are separated by semicolons, of which none may be lost.
        let separator = if name == "HTTP_COOKIE" { "; " } else { ", " };
        let value = value.iter().map(|&byte| match byte {
            // Line ends divide one variable from the next where somebody prints them, and a
            // variable cannot have a NUL at all.
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
    // The name of a session is a secret between the client and us.
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
    // The authority of an absolute target stands in the place of Host (RFC 9112 section 3.2.2).
    headers.insert("HTTP_HOST".into(), request.host.text.into());
    variables.extend(headers);
}

/// The variable that a header becomes, if it becomes one. `_` is not let pass, for `X_Y` and `X-Y`
/// would be the same, and a proxy that removes the one may not know of the other.
fn header_variable(name: &str) -> Option<String> {
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !plain || name.eq_ignore_ascii_case("Proxy") {
        return None;
    }
    Some(format!(
        "HTTP_{}",
        name.to_ascii_uppercase().replace('-', "_")
    ))
}

/// Makes values of UNIQUE_ID: letters, digits and `-`, so that one can be part of a file's name.
///
/// One can be told from those of every other server and time, but it is no secret.
#[derive(Debug)]
pub(crate) struct UniqueIds {
    prefix: String,
    count: u64,
}

impl UniqueIds {
    /// Ids of a server that started at this time. `salt` is a random number: a device without a
    /// clock starts at the same time again and again, with the same process number.
    pub(crate) fn new(started: SystemTime, salt: u64) -> Self {
        let since = started.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            prefix: format!("{:x}-{salt:x}", since.as_nanos()),
            count: 0,
        }
    }

    /// The next id.
    pub(crate) fn make(&mut self) -> String {
        self.count += 1;
        format!("{}-{:x}", self.prefix, self.count)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use std::collections::BTreeMap;

    use super::*;

    const LOOPBACK: Gateway<'static> = Gateway {
        script_name: "",
        client: Remote {
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: Some(50_000),
        },
        local: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
        unique_id: "1-2-3",
        https: None,
    };

    fn variables(head: &str, gateway: &Gateway<'_>) -> BTreeMap<String, String> {
        let request = Request::parse(head.as_bytes(), 64).unwrap();
        let text = |text: OsString| text.into_string().unwrap();
        of(&request, gateway, &[], &[], |_| None)
            .into_iter()
            .map(|(name, value)| (text(name), text(value)))
            .collect()
    }

    fn with_headers(headers: &str) -> BTreeMap<String, String> {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        let mut variables = variables(&head, &LOOPBACK);
        variables.retain(|name, _| name.starts_with("HTTP_") && name != "HTTP_HOST");
        variables
    }

    #[test]
    fn the_name_of_a_session_stays_out() {
        let session = "wspipe.session.0123456789abcdef0123456789abcdef.5";
        let head = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Protocol: chat, {session}\r\n\
             Sec-WebSocket-Protocol: more\r\n\r\n"
        );
        let variables = variables(&head, &LOOPBACK);
        assert_eq!(variables["HTTP_SEC_WEBSOCKET_PROTOCOL"], "chat, more");
    }

    #[test]
    fn every_variable_of_cgi_is_there() {
        let head = "GET /a%20b/%e2%82%ac?x=%20&y HTTP/1.1\r\nHost: Box.local.:81\r\nX-Y: z\r\n\r\n";
        let expected = [
            ("AUTH_TYPE", ""),
            ("CONTENT_LENGTH", ""),
            ("CONTENT_TYPE", ""),
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("HTTP_HOST", "Box.local.:81"),
            ("HTTP_X_Y", "z"),
            ("PATH_INFO", "/a b/€"),
            ("PATH_TRANSLATED", "/a b/€"),
            ("QUERY_STRING", "x=%20&y"),
            ("REMOTE_ADDR", "127.0.0.1"),
            ("REMOTE_HOST", "127.0.0.1"),
            ("REMOTE_IDENT", ""),
            ("REMOTE_PORT", "50000"),
            ("REMOTE_USER", ""),
            ("REQUEST_METHOD", "GET"),
            ("REQUEST_URI", "/a%20b/%e2%82%ac?x=%20&y"),
            ("SCRIPT_NAME", ""),
            ("SERVER_NAME", "Box.local"),
            ("SERVER_PORT", "8080"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            (
                "SERVER_SOFTWARE",
                concat!("wspipe/", env!("CARGO_PKG_VERSION")),
            ),
            ("UNIQUE_ID", "1-2-3"),
        ];
        let variables = variables(head, &LOOPBACK);
        let shown: Vec<_> = variables
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_mount_path_divides_the_path() {
        let cases = [
            ("/ws", "/ws", ""),
            ("/ws", "/ws/", "/"),
            ("/ws", "/ws/a%2Fb", "/a/b"),
            ("/ws", "/%77s/x", "/x"),
            ("", "/", "/"),
            ("", "/100%", "/100%"),
            ("", "/%zz%4", "/%zz%4"),
        ];
        for (script_name, path, path_info) in cases {
            let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            let variables = variables(
                &head,
                &Gateway {
                    script_name,
                    ..LOOPBACK
                },
            );
            assert_eq!(variables["SCRIPT_NAME"], script_name);
            assert_eq!(variables["PATH_INFO"], path_info, "{path}");
            assert_eq!(variables["PATH_TRANSLATED"], path_info, "{path}");
            assert_eq!(variables["REQUEST_URI"], path);
        }
    }

    #[test]
    fn the_server_is_called_as_the_client_calls_it() {
        let cases = [
            ("GET / HTTP/1.1\r\nHost: [0::1]:80", "[::1]", "[0::1]:80"),
            ("GET / HTTP/1.1\r\nHost: 10.0.0.1", "10.0.0.1", "10.0.0.1"),
            ("GET http://b:9/ HTTP/1.1\r\nHost: a", "b", "b:9"),
            ("GET / HTTP/1.0", "127.0.0.1", ""),
        ];
        for (head, name, host) in cases {
            let variables = variables(&format!("{head}\r\n\r\n"), &LOOPBACK);
            assert_eq!(
                (&*variables["SERVER_NAME"], &*variables["HTTP_HOST"]),
                (name, host)
            );
            assert_eq!(variables["REQUEST_URI"], "/");
            assert_eq!(variables["SERVER_PORT"], "8080");
        }
    }

    #[test]
    fn the_client_is_named_by_its_plain_address() {
        for (peer, shown) in [("[::1]:1", "::1"), ("[::ffff:10.0.0.1]:1", "10.0.0.1")] {
            let gateway = Gateway {
                client: peer.parse::<SocketAddr>().unwrap().into(),
                ..LOOPBACK
            };
            let variables = variables("GET / HTTP/1.1\r\nHost: a\r\n\r\n", &gateway);
            assert_eq!(variables["REMOTE_ADDR"], shown);
            assert_eq!(variables["REMOTE_HOST"], shown);
        }
    }

    #[test]
    fn https_is_on_over_tls_alone() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nHTTPS: on\r\n\r\n";
        assert!(!variables(head, &LOOPBACK).contains_key("HTTPS"));
        let variables = variables(
            head,
            &Gateway {
                https: Some(true),
                ..LOOPBACK
            },
        );
        assert_eq!(variables["HTTPS"], "on");
    }

    #[test]
    fn repeated_headers_are_joined() {
        let variables = with_headers("X-A: 1\r\nCookie: a=1\r\nx-a:\r\ncookie: b=2\r\nX-a: 3\r\n");
        let expected = [("HTTP_COOKIE", "a=1; b=2"), ("HTTP_X_A", "1, , 3")];
        assert_eq!(
            variables,
            expected.map(|(n, v)| (n.into(), v.into())).into()
        );
    }

    #[test]
    fn odd_headers_are_not_passed() {
        let odd = "Proxy: evil\r\npROXY: evil\r\nX_Y: 1\r\nA.B: 2\r\nA!: 3\r\n";
        assert_eq!(with_headers(odd), BTreeMap::new());
        let close = with_headers("Proxy-Connection: close\r\n");
        assert_eq!(close["HTTP_PROXY_CONNECTION"], "close");
    }

    #[test]
    fn bytes_of_headers_pass_as_they_are() {
        let head = b"GET /%ff HTTP/1.1\r\nHost: a\r\nX: \xff\ty\r\n\r\n";
        let request = Request::parse(head, 64).unwrap();
        let variables: BTreeMap<_, _> = of(&request, &LOOPBACK, &[], &[], |_| None)
            .into_iter()
            .collect();
        assert_eq!(variables[OsStr::new("HTTP_X")].as_bytes(), b"\xff\ty");
        assert_eq!(variables[OsStr::new("PATH_INFO")].as_bytes(), b"/\xff");
    }

    #[test]
    fn the_servers_own_variables_pass_by_name_and_never_hide_the_request() {
        let request = Request::parse(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 64).unwrap();
        let own = |name: &OsStr| match name.to_str()? {
            "PATH" => Some("/bin".into()),
            "SECRET" => Some("x".into()),
            "REMOTE_USER" => Some("root".into()),
            _ => None,
        };
        let passenv = ["PATH", "MISSING", "REMOTE_USER"].map(OsString::from);
        let variables: BTreeMap<_, _> = of(&request, &LOOPBACK, &passenv, &[], own)
            .into_iter()
            .collect();
        assert_eq!(variables[OsStr::new("PATH")], "/bin");
        assert_eq!(variables[OsStr::new("REMOTE_USER")], "");
        assert!(!variables.contains_key(OsStr::new("MISSING")));
        assert!(!variables.contains_key(OsStr::new("SECRET")));
    }

    #[test]
    fn variables_of_the_operator_come_before_inherited_ones_and_after_the_requests() {
        let request = Request::parse(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 64).unwrap();
        let setenv = [
            ("A", "first"),
            ("A", "last"),
            ("PATH", "/opt"),
            ("SERVER_NAME", "b"),
        ];
        let setenv = setenv.map(|(name, value)| (name.into(), value.into()));
        let own = |_: &OsStr| Some("inherited".into());
        let passenv = ["PATH", "LANG"].map(OsString::from);
        let variables: BTreeMap<_, _> = of(&request, &LOOPBACK, &passenv, &setenv, own)
            .into_iter()
            .collect();
        for (name, value) in [
            ("A", "last"),
            ("PATH", "/opt"),
            ("LANG", "inherited"),
            ("SERVER_NAME", "a"),
        ] {
            assert_eq!(variables[OsStr::new(name)], value, "{name}");
        }
    }

    #[test]
    fn every_variable_of_a_request_is_known_as_one() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nCookie: a\r\n\r\n";
        let gateway = Gateway {
            https: Some(true),
            ..LOOPBACK
        };
        let variables = variables(head, &gateway);
        for name in variables.keys() {
            assert!(is_of_request(name), "{name}");
        }
        for name in NAMES {
            assert!(variables.contains_key(name), "{name}");
        }
        for name in ["PATH", "HOME", "HTTP_PROXY", "https", "HTTPS_PROXY", "HTTP"] {
            assert!(!is_of_request(name), "{name}");
        }
    }

    #[test]
    fn behind_a_proxy_the_port_is_the_one_that_the_client_called() {
        let cases = [
            ("a", None, "8080"),
            ("a:81", None, "8080"),
            ("a", Some(true), "443"),
            ("a", Some(false), "80"),
            ("a:8443", Some(true), "8443"),
        ];
        for (host, https, port) in cases {
            let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let client = Remote {
                ip: IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9)),
                port: None,
            };
            let gateway = Gateway {
                https,
                client,
                ..LOOPBACK
            };
            let variables = variables(&head, &gateway);
            assert_eq!(variables["SERVER_PORT"], port, "{host} {https:?}");
            assert_eq!(variables["REMOTE_ADDR"], "9.9.9.9");
            assert_eq!(variables["REMOTE_PORT"], "");
            assert_eq!(variables.contains_key("HTTPS"), https == Some(true));
        }
    }

    #[test]
    fn unique_ids_differ_and_fit_file_names() {
        let start = UNIX_EPOCH + Duration::from_nanos(0x1234_5678);
        let mut ids = UniqueIds::new(start, 0xabc);
        assert_eq!(ids.make(), "12345678-abc-1");
        assert_eq!(ids.make(), "12345678-abc-2");
        assert_ne!(
            UniqueIds::new(start, 1).make(),
            UniqueIds::new(start, 2).make()
        );
    }
}
