//! The opening handshake (RFC 6455 section 4): which requests are accepted, and which are refused
//! with which status and reason. Includes the checks of `Origin` and `Host`, and who may use the
//! demo's shell.

mod support;

use nix::sys::signal::Signal;
use support::{
    Client, FIN, Launch, Request, Response, Server, TEXT, TempDir, Wire, as_another_user, has_ipv6,
    masked,
};

/// The status of the response to `request`; 101 if it is accepted.
#[track_caller]
fn status(server: &Server, request: &Request) -> u16 {
    match server.try_open(request) {
        Ok(_) => 101,
        Err(response) => response.status,
    }
}

#[test]
fn the_accept_header_is_that_of_the_rfc_example() {
    let server = Server::start(&[]);
    let client = server.open("/echo");
    let response = &client.response;
    // The test client sends the key of RFC 6455 1.3, which also gives this value.
    let accept = response.header("Sec-WebSocket-Accept");
    assert_eq!(accept, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let upgrade = response.header("Upgrade").expect("Upgrade");
    assert!(upgrade.eq_ignore_ascii_case("websocket"), "{upgrade}");
    let connection = response.header("Connection").expect("Connection");
    assert!(connection.eq_ignore_ascii_case("upgrade"), "{connection}");
    assert_eq!(response.header("Sec-WebSocket-Protocol"), None);
}

#[test]
fn offered_extensions_are_not_accepted() {
    let server = Server::start(&[]);
    let offer = (server.upgrade("/echo")).add("Sec-WebSocket-Extensions", "permessage-deflate");
    let mut client = server.try_open(&offer).expect("accepted");
    assert_eq!(client.response.header("Sec-WebSocket-Extensions"), None);
    client.round_trip("uncompressed");
}

#[test]
fn upgrade_tokens_are_found_in_any_case_and_position() {
    let server = Server::echo();
    let right = server.upgrade("/");
    let cases = [
        right.clone().set("Upgrade", "WebSocket"),
        right.clone().set("Upgrade", "h2c, WEBSOCKET"),
        right.clone().set("Connection", "keep-alive, Upgrade"),
        right.clone().set("Connection", "UPGRADE,keep-alive"),
        right
            .clone()
            .set("Connection", "keep-alive")
            .add("Connection", "upgrade"),
        right.clone().without("Upgrade").add("uPGRADE", "websocket"),
    ];
    for (index, request) in cases.iter().enumerate() {
        assert_eq!(status(&server, request), 101, "case {index}");
    }
}

#[test]
fn an_invalid_handshake_header_is_refused_and_named() {
    let server = Server::echo();
    let right = server.upgrade("/");
    let key = "Sec-WebSocket-Key";
    let cases = [
        (
            "no Connection",
            right.clone().without("Connection"),
            "Connection",
        ),
        (
            "Connection lacks the token",
            right.clone().set("Connection", "keep-alive"),
            "Connection",
        ),
        (
            "token only as a part of a word",
            right.clone().set("Connection", "upgraded"),
            "Connection",
        ),
        ("no key", right.clone().without(key), key),
        ("an empty key", right.clone().set(key, ""), key),
        ("a key of 3 bytes", right.clone().set(key, "YWJj"), key),
        (
            "a key of 15 bytes",
            right.clone().set(key, "AAAAAAAAAAAAAAAAAAAA"),
            key,
        ),
        (
            "a key of 17 bytes",
            right.clone().set(key, "AAAAAAAAAAAAAAAAAAAAAAA="),
            key,
        ),
        (
            "a key that is not base64",
            right.clone().set(key, "dGhlIHNhbXBsZSBub25jZ!=="),
            key,
        ),
        (
            "a key without padding",
            right.clone().set(key, "dGhlIHNhbXBsZSBub25jZQ"),
            key,
        ),
        (
            "two keys",
            right.clone().add(key, "AAAAAAAAAAAAAAAAAAAAAA=="),
            key,
        ),
        (
            "a body",
            right.clone().add("Content-Length", "5"),
            "Content-Length",
        ),
        (
            "a chunked body",
            right.clone().add("Transfer-Encoding", "chunked"),
            "Transfer-Encoding",
        ),
    ];
    for (case, request, header) in cases {
        let response = server
            .try_open(&request)
            .err()
            .unwrap_or_else(|| panic!("{case}: accepted"));
        let reason = response.expect_refusal(case, 400);
        assert!(
            reason.contains(header),
            "{case}: {reason:?} does not name {header}"
        );
    }
}

#[test]
fn another_websocket_version_is_refused_with_426_and_version_13() {
    let server = Server::echo();
    for version in ["8", "0", "14", "013", "thirteen"] {
        let request = server.upgrade("/").set("Sec-WebSocket-Version", version);
        let response = server.try_open(&request).err().expect("refused");
        response.expect_refusal(version, 426);
        assert_eq!(
            response.header("Sec-WebSocket-Version"),
            Some("13"),
            "{version}"
        );
    }
}

#[test]
fn a_missing_websocket_version_is_refused() {
    let server = Server::echo();
    let request = server.upgrade("/").without("Sec-WebSocket-Version");
    let response = server.try_open(&request).err().expect("refused");
    assert!(matches!(response.status, 400 | 426), "{response:?}");
    assert!(response.text().contains("Sec-WebSocket-Version"));
}

#[test]
fn an_upgrade_in_http_1_0_is_refused() {
    let server = Server::echo();
    let request = server.upgrade("/").version("HTTP/1.0");
    let response = server.try_open(&request).err().expect("refused");
    response.expect_refusal("HTTP/1.0", 400);
}

#[test]
fn a_handshake_with_another_method_is_405() {
    let server = Server::echo();
    let response = (server.try_open(&server.upgrade("/").method("POST")))
        .err()
        .expect("refused");
    response.expect_refusal("POST", 405);
    assert!(response.header("Allow").expect("Allow").contains("GET"));
}

#[test]
fn a_plain_get_on_a_websocket_path_is_426() {
    let server = Server::start(&[]);
    for path in ["/echo", "/ws"] {
        let response = server.exchange(&server.get(path));
        response.expect_refusal(path, 426);
        let upgrade = response.header("Upgrade").expect("Upgrade");
        assert!(upgrade.eq_ignore_ascii_case("websocket"), "{upgrade}");
    }
    // An upgrade to another protocol is no WebSocket handshake either.
    let other = server.upgrade("/echo").set("Upgrade", "h2c");
    let status = status(&server, &other);
    assert!(matches!(status, 400 | 426), "{status}");
}

#[test]
fn the_demo_serves_websockets_only_at_its_two_paths() {
    let server = Server::start(&[]);
    for (path, expected) in [
        ("/echo", 101),
        ("/ws", 101),
        ("/nowhere", 404),
        ("/echo/x", 404),
    ] {
        assert_eq!(status(&server, &server.upgrade(path)), expected, "{path}");
    }
}

#[test]
fn a_command_or_the_echo_is_served_at_every_path() {
    for server in [Server::echo(), Server::start(&["cat"])] {
        for path in ["/", "/ws", "/any/path?with=query", "/%E2%82%AC"] {
            server.open(path).round_trip(path);
        }
    }
}

#[test]
fn frames_sent_with_the_handshake_are_not_lost() {
    let server = Server::start(&[]);
    for path in ["/echo", "/ws"] {
        let mut bytes = server.upgrade(path).to_bytes();
        bytes.extend(masked(FIN | TEXT, b"echo first"));
        bytes.extend(masked(FIN | TEXT, b"echo second"));
        let mut wire = server.connect();
        wire.send(&bytes);
        let mut client = Client::accepted(wire);
        let texts = [client.text(), client.text()];
        match path {
            "/echo" => assert_eq!(texts, ["echo first", "echo second"]),
            _ => assert_eq!(texts, ["first", "second"]),
        }
    }
}

#[test]
fn a_handshake_may_arrive_in_pieces() {
    let server = Server::echo();
    let mut bytes = server.upgrade("/").to_bytes();
    let head_len = bytes.len();
    bytes.extend(masked(FIN | TEXT, b"hello"));
    let mut wire = server.connect();
    wire.send_bytewise(&bytes);
    assert_eq!(Client::accepted(wire).text(), "hello");
    // Cuts around the line ends, and around the end of the head.
    for cut in [
        1,
        14,
        15,
        16,
        head_len - 3,
        head_len - 2,
        head_len - 1,
        head_len,
        head_len + 1,
    ] {
        let mut wire = server.connect();
        wire.send(&bytes[..cut]);
        // A client that connects later is served later.
        server.open("/").round_trip("the first part is read");
        wire.send(&bytes[cut..]);
        assert_eq!(Client::accepted(wire).text(), "hello", "cut at {cut}");
    }
}

#[test]
fn a_persistent_connection_can_be_upgraded_after_a_request() {
    let server = Server::echo();
    let mut bytes = server.get("/healthz").to_bytes();
    bytes.extend(server.upgrade("/").to_bytes());
    bytes.extend(masked(FIN | TEXT, b"all in one packet"));
    let mut wire = server.connect();
    wire.send(&bytes);
    assert_eq!(Response::read(&mut wire, false).status, 200);
    assert_eq!(Client::accepted(wire).text(), "all in one packet");
}

#[test]
fn a_handshake_without_an_origin_is_accepted() {
    let server = Server::start(&[]);
    assert_eq!(status(&server, &server.upgrade("/ws")), 101);
}

#[test]
fn the_origin_must_match_the_host() {
    let server = Server::echo();
    let port = server.address().port();
    let with_port = |text: &str| text.replace("PORT", &port.to_string());
    // (case, Origin, Host, status)
    let cases = [
        ("the same", "http://127.0.0.1:PORT", "127.0.0.1:PORT", 101),
        (
            "the scheme may differ",
            "https://127.0.0.1:PORT",
            "127.0.0.1:PORT",
            101,
        ),
        ("another host", "http://evil.example", "127.0.0.1:PORT", 403),
        (
            "another host, same port",
            "http://evil.example:PORT",
            "127.0.0.1:PORT",
            403,
        ),
        ("another port", "http://127.0.0.1:1", "127.0.0.1:PORT", 403),
        (
            "another loopback address",
            "http://127.0.0.2:PORT",
            "127.0.0.1:PORT",
            403,
        ),
        (
            "a name is not its address",
            "http://localhost:PORT",
            "127.0.0.1:PORT",
            403,
        ),
        ("names", "http://localhost:PORT", "localhost:PORT", 101),
        (
            "a prefix is another name",
            "http://localhost.evil.example:PORT",
            "localhost:PORT",
            403,
        ),
        (
            "a user part is no host",
            "http://localhost:PORT@evil.example",
            "localhost:PORT",
            403,
        ),
        ("case-blind", "http://LocalHost:PORT", "lOCALhOST:PORT", 101),
        (
            "without the final dot",
            "http://localhost.:PORT",
            "localhost:PORT",
            101,
        ),
        ("no ports", "http://localhost", "localhost", 101),
        (
            "no ports, behind TLS",
            "https://localhost",
            "localhost",
            101,
        ),
        ("80 is http's", "http://localhost:80", "localhost", 101),
        (
            "80 is http's, the other way",
            "http://localhost",
            "localhost:80",
            101,
        ),
        ("443 is https'", "https://localhost:443", "localhost", 101),
        (
            "443 is https', the other way",
            "https://localhost",
            "localhost:443",
            101,
        ),
        (
            "443 is not http's",
            "http://localhost",
            "localhost:443",
            403,
        ),
        ("a port and none", "http://localhost:PORT", "localhost", 403),
        ("none and a port", "http://localhost", "localhost:PORT", 403),
        (
            "IPv6 as addresses",
            "http://[::1]:PORT",
            "[0:0:0:0:0:0:0:1]:PORT",
            101,
        ),
        (
            "another IPv6 address",
            "http://[::2]:PORT",
            "[::1]:PORT",
            403,
        ),
        ("an opaque origin", "null", "127.0.0.1:PORT", 403),
        (
            "an extension",
            "chrome-extension://abcdef",
            "127.0.0.1:PORT",
            403,
        ),
        ("nonsense", "127.0.0.1", "127.0.0.1:PORT", 403),
    ];
    for (case, origin, host, expected) in cases {
        let request = (server.upgrade("/"))
            .set("Host", &with_port(host))
            .add("Origin", &with_port(origin));
        match server.try_open(&request) {
            Ok(_) => assert_eq!(expected, 101, "{case}: accepted"),
            Err(response) => {
                let reason = response.expect_refusal(case, expected);
                assert!(reason.contains("--origin"), "{case}: {reason}");
            }
        }
    }
}

#[test]
fn two_origins_are_refused() {
    let server = Server::echo();
    let origin = format!("http://{}", server.address());
    let request = server
        .upgrade("/")
        .add("Origin", &origin)
        .add("Origin", &origin);
    let response = server.try_open(&request).err().expect("refused");
    response.expect_refusal("two origins", 400);
}

#[test]
fn listed_origins_are_accepted_in_addition_to_its_own() {
    let list = "--origin=https://app.example,app2.example:8443,null,chrome-extension://abcdef";
    let server = Server::start(&["--echo", list]);
    let own = format!("http://{}", server.address());
    let cases = [
        ("its own", own.as_str(), 101),
        ("listed with a scheme", "https://app.example", 101),
        (
            "listed, the port by its scheme",
            "https://app.example:443",
            101,
        ),
        ("listed, in another case", "https://APP.example", 101),
        ("listed, of another port", "https://app.example:444", 403),
        ("listed, of another scheme", "http://app.example", 403),
        ("listed with a port", "https://app2.example:8443", 101),
        (
            "listed with a port, any scheme",
            "http://app2.example:8443",
            101,
        ),
        (
            "listed with a port, without it",
            "https://app2.example",
            403,
        ),
        ("null", "null", 101),
        ("an extension", "chrome-extension://abcdef", 101),
        ("another extension", "chrome-extension://abcdee", 403),
        ("not listed", "https://evil.example", 403),
        ("a longer name", "https://app.example.evil.example", 403),
    ];
    for (case, origin, expected) in cases {
        let request = server.upgrade("/").add("Origin", origin);
        assert_eq!(status(&server, &request), expected, "{case}: {origin}");
    }
}

#[test]
fn the_origins_of_web_views_can_be_listed() {
    let server = Server::start(&[
        "--echo",
        "--origin=file://,app://,content://,ionic://localhost",
    ]);
    for (origin, expected) in [
        ("file://", 101),
        ("app://", 101),
        ("content://", 101),
        ("ionic://localhost", 101),
        ("capacitor://localhost", 403),
        ("file:///android_asset/index.html", 403),
    ] {
        let outcome = server.try_open(&server.upgrade("/").add("Origin", origin));
        let status = outcome.map_or_else(|response| response.status, |_| 101);
        assert_eq!(status, expected, "{origin}");
    }
}

#[test]
fn origin_any_accepts_every_origin() {
    let server = Server::start(&["--echo", "--origin=any"]);
    for origin in ["https://evil.example", "null", "chrome-extension://abcdef"] {
        let request = server.upgrade("/").add("Origin", origin);
        assert_eq!(status(&server, &request), 101, "{origin}");
    }
}

#[test]
fn on_loopback_only_local_host_names_are_accepted() {
    let server = Server::start(&[]);
    let own = nix::unistd::gethostname().expect("gethostname");
    let own = own.to_str().expect("a host name in ASCII");
    let cases = [
        ("127.0.0.1", 101),
        ("127.8.9.10", 101),
        ("[::1]", 101),
        ("localhost", 101),
        ("LOCALHOST.", 101),
        ("app.localhost", 101),
        (own, 101),
        (&format!("{own}.local"), 101),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("notlocalhost", 403),
        ("192.168.1.5", 403),
        ("[2001:db8::1]", 403),
    ];
    for (host, expected) in cases {
        for path in ["/echo", "/ws"] {
            let host = format!("{host}:{}", server.address().port());
            let request = server.upgrade(path).set("Host", &host);
            match server.try_open(&request) {
                Ok(_) => assert_eq!(expected, 101, "{host}: accepted"),
                Err(response) => {
                    let reason = response.expect_refusal(&host, expected);
                    assert!(reason.contains("--allow-host"), "{host}: {reason}");
                }
            }
        }
    }
}

#[test]
fn dns_rebinding_does_not_pass_as_the_same_origin() {
    // A page of evil.example, whose name now resolves to 127.0.0.1, so that Origin and Host agree.
    let server = Server::start(&[]);
    let name = format!("evil.example:{}", server.address().port());
    let request = (server.upgrade("/ws"))
        .set("Host", &name)
        .add("Origin", &format!("http://{name}"));
    let response = server.try_open(&request).err().expect("refused");
    let reason = response.expect_refusal("rebinding", 403);
    assert!(reason.contains("--allow-host"), "{reason}");
    // The console page is refused too.
    let page = server.exchange(&server.get("/").set("Host", &name));
    assert_eq!(page.status, 403);
}

/// A browser sends no `Origin` when a page reads from its own server.
#[test]
fn dns_rebinding_reads_no_page_of_an_exposed_server() {
    let remedy = "--allow-host=evil.example";
    let options = ["--address=0.0.0.0", "--route=/secret=cat", remedy];
    let server = Server::start(&options[..2]);
    let allowing = Server::start(&options);
    let get = |server: &Server, path: &str, host: &str| {
        server.exchange(&server.get(path).set("Host", host))
    };
    for path in ["/", "/.wspipe/config.json", "/.wspipe/words.js"] {
        let response = get(&server, path, "evil.example:8080");
        let reason = response.expect_refusal(path, 403);
        assert!(reason.ends_with(remedy), "{reason}");
        let allowed = get(&allowing, path, "evil.example:8080");
        assert_eq!(allowed.status, 200, "{path}");
        for host in ["127.0.0.1", "192.0.2.1:80", "localhost"] {
            assert_eq!(get(&server, path, host).status, 200, "{path}, {host}");
        }
    }
    assert_eq!(get(&server, "/healthz", "evil.example").status, 200);
}

#[test]
fn allow_host_adds_host_names() {
    let server = Server::start(&["--allow-host=app.example,other.example"]);
    for name in ["app.example", "OTHER.example:8080"] {
        let request = (server.upgrade("/ws"))
            .set("Host", name)
            .add("Origin", &format!("http://{name}"));
        assert_eq!(status(&server, &request), 101, "{name}");
    }
    let request = server.upgrade("/ws").set("Host", "third.example");
    assert_eq!(status(&server, &request), 403);
}

#[test]
fn a_listed_origin_may_use_any_host_name() {
    let server = Server::start(&["--echo", "--origin=https://app.example"]);
    let request = (server.upgrade("/"))
        .set("Host", "proxy.example")
        .add("Origin", "https://app.example");
    assert_eq!(status(&server, &request), 101);
}

/// Anyone on the path can answer for `http://app.example`, so a page from there must not reach what
/// the proxy serves with TLS.
#[test]
fn behind_tls_a_page_of_the_same_name_without_tls_is_refused() {
    let options = ["--echo", "--allow-host=app.example"];
    let open = |options: &[&str], origin: &str, scheme: &str| {
        let server = Server::start(options);
        let request = (server.upgrade("/"))
            .set("Host", "app.example")
            .add("Origin", origin)
            .add("X-Forwarded-For", "203.0.113.9")
            .add("X-Forwarded-Proto", scheme);
        server.try_open(&request).map(drop)
    };
    let trusting = [&options[..], &["--trust-proxy=127.0.0.1"]].concat();
    for (origin, scheme) in [
        ("https://app.example", "http"),
        ("http://app.example", "https"),
    ] {
        let response = open(&trusting, origin, scheme).expect_err("refused");
        let reason = response.expect_refusal(origin, 403);
        let remedy = format!("--origin={origin}");
        assert!(
            reason.contains(scheme) && reason.ends_with(&remedy),
            "{reason}"
        );
        let allowed = open(&[&trusting[..], &[&remedy]].concat(), origin, scheme);
        assert!(allowed.is_ok(), "{remedy}");
    }
    for scheme in ["https", "http"] {
        let origin = format!("{scheme}://app.example");
        assert!(open(&trusting, &origin, scheme).is_ok(), "{scheme}");
    }
    // Without a proxy's report the scheme is not known.
    assert!(open(&options, "http://app.example", "https").is_ok());
}

#[test]
fn beyond_loopback_a_foreign_host_name_is_refused_to_browsers_only() {
    let server = Server::start(&["--echo", "--address=0.0.0.0"]);
    let foreign = server.upgrade("/").set("Host", "app.example");
    assert_eq!(
        status(&server, &foreign),
        101,
        "no browser, so no rebinding"
    );
    let literal = (server.upgrade("/"))
        .set("Host", "192.168.1.5")
        .add("Origin", "http://192.168.1.5");
    assert_eq!(
        status(&server, &literal),
        101,
        "an address cannot be rebound"
    );
    let browser = foreign.add("Origin", "http://app.example");
    let response = server.try_open(&browser).err().expect("refused");
    let reason = response.expect_refusal("browser", 403);
    assert!(reason.contains("--allow-host"), "{reason}");
}

#[test]
fn a_refusal_is_logged_with_its_remedy() {
    let server = Server::start(&["--echo", "--log-level=debug"]);
    let foreign = server.upgrade("/").add("Origin", "http://evil.example");
    assert_eq!(status(&server, &foreign), 403);
    server.await_log(&["evil.example", "--origin"]);
    let foreign = server.upgrade("/").set("Host", "evil2.example");
    assert_eq!(status(&server, &foreign), 403);
    server.await_log(&["evil2.example", "--allow-host"]);
}

#[test]
fn the_demo_has_no_shell_beyond_loopback() {
    let server = Server::start(&["--address=0.0.0.0"]);
    assert_eq!(status(&server, &server.upgrade("/ws")), 404);
    assert_eq!(status(&server, &server.upgrade("/echo")), 101);
    server.await_log(&["/ws", "sh"]);
}

#[test]
fn the_demo_has_no_shell_if_any_address_is_not_loopback() {
    if std::net::TcpListener::bind("[::]:0").is_err() {
        return support::skipped("no IPv6 here");
    }
    let server = Server::start(&["--address=127.0.0.1", "--address=::"]);
    assert_eq!(server.addresses().len(), 2);
    assert_eq!(status(&server, &server.upgrade("/ws")), 404);
}

#[test]
fn the_demos_shell_is_for_the_servers_own_user() {
    let server = Server::start(&["--log-level=debug"]);
    let shell = as_another_user(|| server.try_open(&server.upgrade("/ws")));
    let Some(shell) = shell else { return };
    let reason = shell
        .err()
        .expect("refused")
        .expect_refusal("another user", 403);
    assert!(reason.contains("--same-user=no"), "{reason}");
    server.await_log(&["--same-user=no"]);
    let echo = as_another_user(|| status(&server, &server.upgrade("/echo")));
    assert_eq!(echo, Some(101), "the echo is for every user");
    server.open("/ws").round_trip_shell();
}

/// The request and the frame of a peer that has reset its connection stay readable, while its address
/// is free for the next process.
#[test]
fn the_next_process_with_a_peers_address_is_not_taken_for_the_peer() {
    let server = Server::start(&["--log-level=debug"]);
    let folder = TempDir::new();
    // The server takes both connections at once, after the first was reset.
    server.signal(Signal::SIGSTOP);
    // From an address that no other test uses, so that none is given its port.
    let own = "127.0.0.77:0".parse().expect("an address");
    let mut first = Wire::connect_from(own, server.address());
    let address = first.local_address();
    first.send(&server.upgrade("/ws").to_bytes());
    let line = format!("touch {}", folder.text("reached"));
    first.send(&masked(FIN | TEXT, line.as_bytes()));
    first.reset();
    let mut second = Wire::connect_from(address, server.address());
    server.signal(Signal::SIGCONT);
    server.await_log(&["403", "has reset the connection"]);
    second.send(&server.upgrade("/ws").to_bytes());
    Client::accepted(second).round_trip_shell();
    server.await_no_children();
    assert!(!folder.has("reached"), "the first peer had a shell");
}

/// The demo in a user namespace of its own but the network of the machine, as in a rootless container
/// with the network of its host. `None`, after a report, where that is not allowed.
fn in_user_namespace(map: &str, options: &[&str]) -> Option<Server> {
    let unshare = format!("unshare --user {map}");
    let can = std::process::Command::new("sh")
        .args(["-c", &format!("{unshare} true")])
        .output();
    if !can.is_ok_and(|output| output.status.success()) {
        support::skipped(&format!("{unshare} is not allowed here"));
        return None;
    }
    let server = Launch::new(options).after(&format!("exec {unshare} -- \"$0\" \"$@\""));
    Some(server.start())
}

#[test]
fn the_number_of_all_unmapped_users_does_not_get_the_demos_shell() {
    let Some(server) = in_user_namespace("", &[]) else {
        return;
    };
    let request = server.upgrade("/ws");
    let refused = [
        Some(server.try_open(&request)),
        as_another_user(|| server.try_open(&request)),
    ];
    for refused in refused.into_iter().flatten() {
        let response = refused.err().expect("refused");
        let reason = response.expect_refusal("unmapped", 403);
        assert!(reason.contains("every user of the machine"), "{reason}");
        assert!(reason.contains("--same-user=no"), "{reason}");
    }
    assert_eq!(status(&server, &server.upgrade("/echo")), 101);
    let admits_all = in_user_namespace("", &["--same-user=no"]).expect("as above");
    assert_eq!(status(&admits_all, &admits_all.upgrade("/ws")), 101);
}

#[test]
fn a_mapped_user_gets_the_demos_shell_and_unmapped_ones_do_not() {
    let Some(server) = in_user_namespace("--map-root-user", &[]) else {
        return;
    };
    let other = as_another_user(|| status(&server, &server.upgrade("/ws")));
    assert!(matches!(other, Some(403) | None), "{other:?}");
    server.open("/ws").round_trip_shell();
}

#[test]
fn same_user_no_admits_other_users() {
    let server = Server::start(&["--same-user=no"]);
    let shell = as_another_user(|| status(&server, &server.upgrade("/ws")));
    assert!(matches!(shell, Some(101) | None), "{shell:?}");
}

#[test]
fn the_demos_shell_is_available_over_ipv6() {
    if !has_ipv6() {
        return support::skipped("no IPv6 here");
    }
    let server = Server::start(&["--address=::1"]);
    server.open("/ws").round_trip_shell();
}

#[test]
fn the_first_offered_subprotocol_that_is_listed_is_chosen() {
    let server = Server::start(&["--echo", "--subprotocol=chat,mqtt"]);
    let cases: [(&[&str], Option<&str>); 7] = [
        (&["chat"], Some("chat")),
        (&["mqtt, chat"], Some("mqtt")),
        (&["x,y , chat"], Some("chat")),
        (&["x", "mqtt"], Some("mqtt")),
        (&["x"], None),
        (&["CHAT"], None),
        (&[], None),
    ];
    for (offers, expected) in cases {
        let request = (offers.iter()).fold(server.upgrade("/"), |request, offer| {
            request.add("Sec-WebSocket-Protocol", offer)
        });
        let client = server.try_open(&request).expect("accepted");
        let chosen = client.response.header("Sec-WebSocket-Protocol");
        assert_eq!(chosen, expected, "{offers:?}");
    }
}

trait Shell {
    fn round_trip_shell(self);
}

impl Shell for Client {
    #[track_caller]
    fn round_trip_shell(mut self) {
        self.send_text("echo $((6 * 7))");
        assert_eq!(self.text(), "42");
    }
}
