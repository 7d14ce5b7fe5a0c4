//! Every variable, and which value wins where several have a name.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::ffi::OsStrExt;

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
    for_request(&request, gateway, &[], &[], |_| None)
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
fn the_token_of_a_session_is_left_out() {
    let session = "wspipe.session.0123456789abcdef0123456789abcdef.5";
    let head = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Protocol: chat, {session}\r\n\
         Sec-WebSocket-Protocol: more\r\n\r\n"
    );
    let variables = variables(&head, &LOOPBACK);
    assert_eq!(variables["HTTP_SEC_WEBSOCKET_PROTOCOL"], "chat, more");
}

#[test]
fn every_variable_of_cgi_is_set() {
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
fn a_mount_path_is_split_from_the_rest_of_the_path() {
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
fn server_name_is_the_host_that_the_client_asked_for() {
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
fn the_address_of_the_client_has_no_brackets_and_no_ipv4_mapping() {
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
fn https_is_set_for_tls_only() {
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
fn proxy_and_headers_with_odd_names_are_not_passed() {
    let odd = "Proxy: evil\r\npROXY: evil\r\nX_Y: 1\r\nA.B: 2\r\nA!: 3\r\n";
    assert_eq!(with_headers(odd), BTreeMap::new());
    let close = with_headers("Proxy-Connection: close\r\n");
    assert_eq!(close["HTTP_PROXY_CONNECTION"], "close");
}

#[test]
fn credentials_are_not_passed() {
    let secret = "Authorization: Basic dTpw\r\nAUTHORIZATION: Bearer x\r\n\
                  proxy-authorization: Basic dTpw\r\n";
    assert_eq!(with_headers(secret), BTreeMap::new());
    let other = with_headers("Authorization-Info: 1\r\n");
    assert_eq!(other["HTTP_AUTHORIZATION_INFO"], "1");
    // An operator cannot set what a client could seem to have sent.
    assert!(is_request_variable("HTTP_AUTHORIZATION"));
}

#[test]
fn bytes_that_are_not_utf8_are_passed_unchanged() {
    let head = b"GET /%ff HTTP/1.1\r\nHost: a\r\nX: \xff\ty\r\n\r\n";
    let request = Request::parse(head, 64).unwrap();
    let variables: BTreeMap<_, _> = for_request(&request, &LOOPBACK, &[], &[], |_| None)
        .into_iter()
        .collect();
    assert_eq!(variables[OsStr::new("HTTP_X")].as_bytes(), b"\xff\ty");
    assert_eq!(variables[OsStr::new("PATH_INFO")].as_bytes(), b"/\xff");
}

#[test]
fn inherited_variables_are_passed_by_name_and_never_replace_those_of_the_request() {
    let request = Request::parse(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 64).unwrap();
    let own = |name: &OsStr| match name.to_str()? {
        "PATH" => Some("/bin".into()),
        "SECRET" => Some("x".into()),
        "REMOTE_USER" => Some("root".into()),
        _ => None,
    };
    let passenv = ["PATH", "MISSING", "REMOTE_USER"].map(OsString::from);
    let variables: BTreeMap<_, _> = for_request(&request, &LOOPBACK, &passenv, &[], own)
        .into_iter()
        .collect();
    assert_eq!(variables[OsStr::new("PATH")], "/bin");
    assert_eq!(variables[OsStr::new("REMOTE_USER")], "");
    assert!(!variables.contains_key(OsStr::new("MISSING")));
    assert!(!variables.contains_key(OsStr::new("SECRET")));
}

#[test]
fn variables_of_setenv_replace_inherited_ones_and_never_those_of_the_request() {
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
    let variables: BTreeMap<_, _> = for_request(&request, &LOOPBACK, &passenv, &setenv, own)
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
fn is_request_variable_knows_every_variable_of_a_request() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nCookie: a\r\n\r\n";
    let gateway = Gateway {
        https: Some(true),
        ..LOOPBACK
    };
    let variables = variables(head, &gateway);
    for name in variables.keys() {
        assert!(is_request_variable(name), "{name}");
    }
    for name in cgi::NAMES {
        assert!(variables.contains_key(name), "{name}");
    }
    for name in ["PATH", "HOME", "HTTP_PROXY", "https", "HTTPS_PROXY", "HTTP"] {
        assert!(!is_request_variable(name), "{name}");
    }
}

#[test]
fn behind_a_proxy_the_port_is_the_one_that_the_client_asked_for() {
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
