//! Plain HTTP: the console page, persistent connections, timeouts and limits, and the refusal of
//! every request head that two parsers could read differently.

mod support;

use std::time::{Duration, Instant};

use support::{Response, Server, TIMEOUT, Wire};

/// The response to `bytes`. Asserts that the server then closes the connection.
#[track_caller]
fn last_response(server: &Server, bytes: &[u8]) -> Response {
    let mut wire = server.connect();
    wire.send(bytes);
    let response = Response::read(&mut wire, false);
    wire.expect_eof();
    response
}

/// The console page and the files that it refers to, requested as a browser would.
#[track_caller]
fn page_files(server: &Server) -> Vec<(String, Response)> {
    let page = server.exchange(&server.get("/"));
    let html = page.text();
    let mut files = vec![("/".to_string(), page)];
    for attribute in ["src=\"", "href=\""] {
        for rest in html.split(attribute).skip(1) {
            let reference = rest.split('"').next().expect("a quoted reference");
            if reference.starts_with("data:") || reference.starts_with('#') {
                continue;
            }
            // References are relative, so that the page works under a sub-path of a proxy.
            assert!(
                !reference.starts_with('/') && !reference.contains("//"),
                "{reference}"
            );
            let target = format!("/{reference}");
            let response = server.exchange(&server.get(&target));
            files.push((target, response));
        }
    }
    files
}

#[test]
fn the_console_page_and_its_files_are_served() {
    let server = Server::start(&[]);
    let files = page_files(&server);
    assert!(files.len() >= 3, "a page, a style and a script");
    for (target, response) in &files {
        assert_eq!(response.status, 200, "{target}");
        assert_eq!(
            response.header("X-Content-Type-Options"),
            Some("nosniff"),
            "{target}"
        );
        let readers = response.header("Cross-Origin-Resource-Policy");
        assert_eq!(readers, Some("same-origin"), "{target}");
        let kind = response.header("Content-Type").expect("Content-Type");
        let expected = match target.rsplit('.').next() {
            Some("css") => "text/css",
            Some("js") => "text/javascript",
            Some("svg") => "image/svg+xml",
            _ => "text/html",
        };
        assert!(kind.starts_with(expected), "{target}: {kind}");
    }
}

#[test]
fn the_page_loads_nothing_from_other_hosts_and_cannot_be_framed() {
    let server = Server::start(&[]);
    let files = page_files(&server);
    let policy = files[0]
        .1
        .header("Content-Security-Policy")
        .expect("a policy");
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for (target, response) in &files {
        // The name of an XML namespace is not fetched.
        let text = response.text().replace("http://www.w3.org/", "");
        for scheme in ["http://", "https://"] {
            assert!(!text.contains(scheme), "{target} names another host");
        }
    }
}

#[test]
fn config_json_describes_the_endpoints() {
    let cases: [(&[&str], &[&str]); 4] = [
        (
            &[],
            &[r#""echo":"echo""#, r#""path":"ws""#, r#""command":"sh""#],
        ),
        (
            &["--address=0.0.0.0"],
            &[r#""echo":"echo""#, r#""shell":null"#],
        ),
        (&["--echo"], &[r#""echo":"""#, r#""shell":null"#]),
        (
            &["--", "cat"],
            &[r#""echo":null"#, r#""path":"""#, r#""command":"cat""#],
        ),
    ];
    for (args, parts) in cases {
        let server = Server::start(args);
        let response = server.exchange(&server.get("/.wspipe/config.json"));
        assert_eq!(response.status, 200, "{args:?}");
        let kind = response.header("Content-Type").expect("Content-Type");
        assert!(kind.starts_with("application/json"), "{kind}");
        let mut text = response.text();
        text.retain(|char| !char.is_whitespace());
        for part in parts {
            assert!(text.contains(part), "{args:?}: {part} is not in {text}");
        }
    }
}

#[test]
fn the_page_is_served_in_every_mode() {
    for args in [&["--echo"][..], &["cat"]] {
        let server = Server::start(args);
        assert_eq!(server.exchange(&server.get("/")).status, 200, "{args:?}");
    }
}

#[test]
fn the_name_of_a_command_is_escaped_in_config_json() {
    let dir = support::TempDir::new();
    let path = dir.path("qu\"ote\\");
    support::write_file(&path, "#!/bin/sh\ncat\n", 0o755);
    let server = Server::start(&[path.to_str().expect("UTF-8")]);
    let text = server.exchange(&server.get("/.wspipe/config.json")).text();
    assert!(text.contains(r#"qu\"ote\\"#), "{text}");
}

#[test]
fn head_is_answered_like_get_without_the_body() {
    let server = Server::start(&[]);
    for path in ["/", "/healthz", "/nowhere"] {
        let get = server.exchange(&server.get(path));
        let mut wire = server.connect();
        wire.send(&server.get(path).method("HEAD").to_bytes());
        wire.send(&server.get("/healthz").to_bytes());
        let head = Response::read(&mut wire, true);
        assert_eq!(
            (head.status, &head.headers),
            (get.status, &get.headers),
            "{path}"
        );
        // A body would come before the next response.
        assert_eq!(Response::read(&mut wire, false).text(), "ok\n", "{path}");
    }
}

#[test]
fn healthz_answers_for_any_host_name() {
    let server = Server::start(&[]);
    for host in ["evil.example", "192.168.1.5", "localhost"] {
        let response = server.exchange(&server.get("/healthz").set("Host", host));
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, "ok\n"),
            "{host}"
        );
    }
}

#[test]
fn other_paths_are_404() {
    let server = Server::start(&[]);
    for path in [
        "/nowhere",
        "/.wspipe/",
        "/.wspipe/../console.js",
        "/index",
        "/healthz/",
    ] {
        let response = server.exchange(&server.get(path));
        response.expect_refusal(path, 404);
    }
}

#[test]
fn other_methods_are_405_and_unknown_ones_501() {
    let server = Server::start(&[]);
    for method in ["POST", "PUT", "DELETE", "TRACE", "PATCH"] {
        let response = server.exchange(&server.get("/").method(method));
        response.expect_refusal(method, 405);
        let allow = response.header("Allow").expect("Allow");
        assert!(allow.contains("GET") && allow.contains("HEAD"), "{allow}");
    }
    for method in ["BREW", "get", "G", &"M".repeat(1000)] {
        let response = server.exchange(&server.get("/").method(method));
        let reason = response.expect_refusal(method, 501);
        assert!(reason.contains(&method[..method.len().min(96)]), "{reason}");
    }
}

/// RFC 9110 9.3.7. HAProxy's `option httpchk` sends `OPTIONS / HTTP/1.0` by default.
#[test]
fn options_gets_204_with_the_methods_and_no_body() {
    let server = Server::start(&["true"]);
    for (bytes, closes) in [
        (&b"OPTIONS / HTTP/1.0\r\n\r\n"[..], true),
        (b"OPTIONS * HTTP/1.1\r\nHost: evil.example\r\n\r\n", false),
        (
            b"OPTIONS /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
            false,
        ),
    ] {
        let mut wire = server.connect();
        wire.send(bytes);
        let response = Response::read(&mut wire, false);
        assert_eq!(response.status, 204);
        assert_eq!(response.header("Allow"), Some("GET, HEAD, OPTIONS"));
        assert_eq!(response.header("Content-Length"), None);
        if closes {
            wire.expect_eof();
        } else {
            wire.send(&server.get("/healthz").to_bytes());
            assert_eq!(Response::read(&mut wire, false).text(), "ok\n");
        }
    }
}

/// RFC 9110 6.6.1.
#[test]
fn every_response_has_the_date() {
    let server = Server::echo();
    let requests = [
        server.get("/"),
        server.get("/healthz"),
        server.get("/").method("POST"),
        server.get("/").method("OPTIONS"),
        server.get("/").set("Host", "evil.example"),
        server.get("/").without("Host"),
        server.get("/").version("HTTP/2.0"),
        server.get("/").add("X", &"x".repeat(17_000)),
        server.upgrade("/"),
        server.upgrade("/").without("Sec-WebSocket-Key"),
    ];
    for request in requests {
        let mut wire = server.connect();
        wire.send(&request.to_bytes());
        let response = Response::read(&mut wire, false);
        let date = response.header("Date").expect("a Date");
        let words: Vec<&str> = date.split([' ', ',', ':']).collect();
        assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
        assert!(words[4].parse::<u32>().expect("a year") >= 2024, "{date}");
    }
}

/// RFC 9110 9.3.2: also where the head is refused before it was parsed.
#[test]
fn a_head_request_that_is_refused_while_it_is_read_gets_no_body() {
    let server = Server::start(&["--head-timeout=400ms"]);
    let long = "x".repeat(17_000);
    let cases = [
        ("no Host", "HEAD / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (
            "two Hosts",
            "HEAD / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".into(),
            400,
        ),
        (
            "a bad field",
            "HEAD / HTTP/1.1\r\nHost : a\r\n\r\n".into(),
            400,
        ),
        (
            "a bare LF",
            "HEAD / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n".into(),
            400,
        ),
        (
            "an empty line first",
            "\r\nHEAD / HTTP/1.1\r\n\r\n".into(),
            400,
        ),
        (
            "the asterisk",
            "HEAD * HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            400,
        ),
        (
            "the version",
            "HEAD / HTTP/2.0\r\nHost: a\r\n\r\n".into(),
            505,
        ),
        ("a long head", format!("HEAD / HTTP/1.1\r\nX: {long}"), 431),
        (
            "many fields",
            format!("HEAD / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(65)),
            431,
        ),
        ("a long target", format!("HEAD /{long}"), 414),
        (
            "a coding",
            "HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".into(),
            501,
        ),
        ("half a head", "HEAD / HTTP/1.1\r\nHost: a\r\n".into(), 408),
    ];
    for (case, bytes, status) in cases {
        let mut wire = server.connect();
        wire.send(bytes.as_bytes());
        let response = Response::read(&mut wire, true);
        assert_eq!(response.status, status, "{case}");
        // A body would come here.
        wire.expect_eof();
    }
    // Another method that begins alike has a body.
    let response = last_response(&server, b"HEADER / HTTP/1.1\r\n\r\n");
    response.expect_refusal("no Host", 400);
}

#[test]
fn a_connection_serves_several_requests() {
    let server = Server::start(&[]);
    let mut wire = server.connect();
    for path in [
        "/",
        "/healthz",
        "/nowhere",
        "/.wspipe/config.json",
        "/healthz",
    ] {
        wire.send(&server.get(path).to_bytes());
        let expected = if path == "/nowhere" { 404 } else { 200 };
        assert_eq!(Response::read(&mut wire, false).status, expected, "{path}");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(&[]);
    let mut bytes = Vec::new();
    for _ in 0..50 {
        bytes.extend(server.get("/healthz").to_bytes());
        bytes.extend(server.get("/nowhere").to_bytes());
        bytes.extend(server.get("/").method("HEAD").to_bytes());
    }
    let mut wire = server.connect();
    wire.send(&bytes);
    for _ in 0..50 {
        assert_eq!(Response::read(&mut wire, false).text(), "ok\n");
        assert_eq!(Response::read(&mut wire, false).status, 404);
        assert_eq!(Response::read(&mut wire, true).status, 200);
    }
}

#[test]
fn a_request_may_arrive_byte_by_byte() {
    let server = Server::start(&[]);
    let mut wire = server.connect();
    for _ in 0..2 {
        wire.send_bytewise(&server.get("/healthz").to_bytes());
        assert_eq!(Response::read(&mut wire, false).text(), "ok\n");
    }
}

#[test]
fn connection_close_closes_after_the_response() {
    let server = Server::start(&[]);
    let request = server.get("/healthz").add("Connection", "close");
    let response = last_response(&server, &request.to_bytes());
    assert_eq!(response.status, 200);
    assert_eq!(response.header("Connection"), Some("close"));
}

/// RFC 9112 9.6: after a request with the option "close", a server "MUST NOT process any further
/// requests received on that connection".
#[test]
fn a_request_after_connection_close_is_not_answered() {
    let server = Server::start(&[]);
    let options = [
        "Connection: close",
        "CONNECTION:CLOSE",
        "connection: Close",
        "Connection: keep-alive, close",
        "Connection: close, keep-alive",
        "Connection: , ,x,\tcLOSE\t ,",
        "Connection: keep-alive\r\nConnection: close",
        "Connection: close\r\nConnection: keep-alive",
    ];
    let requests = [
        ("GET /", 200),
        ("HEAD /", 200),
        ("GET /healthz", 200),
        ("GET /nowhere", 404),
        ("GET /echo", 426),
        ("POST /", 405),
        ("BREW /", 501),
        ("GET http://evil.example/", 403),
    ];
    for option in options {
        for (request, status) in requests {
            let case = format!("{request} with {option}");
            println!("{case}");
            let head = format!("{request} HTTP/1.1\r\nHost: localhost\r\n{option}\r\n\r\n");
            let mut wire = server.connect();
            wire.send(&[head.as_bytes(), &server.get("/healthz").to_bytes()].concat());
            let response = Response::read(&mut wire, request.starts_with("HEAD"));
            assert_eq!(response.status, status, "{case}");
            let connection = response.header("Connection").expect("Connection");
            assert!(connection.ends_with("close"), "{case}: {connection}");
            wire.expect_eof();
        }
    }
}

#[test]
fn options_similar_to_close_do_not_close() {
    let server = Server::start(&[]);
    for option in ["keep-alive", "closed", "x-close", "close x", "close;x", ""] {
        let first = server.get("/nowhere").add("Connection", option);
        let mut wire = server.connect();
        wire.send(&[first.to_bytes(), server.get("/healthz").to_bytes()].concat());
        assert_eq!(Response::read(&mut wire, false).status, 404, "{option}");
        assert_eq!(Response::read(&mut wire, false).text(), "ok\n", "{option}");
    }
}

#[test]
fn http_1_0_is_served_and_then_closed() {
    let server = Server::start(&[]);
    let request = server.get("/").version("HTTP/1.0").to_bytes();
    assert_eq!(last_response(&server, &request).status, 200);
    assert_eq!(last_response(&server, &request.repeat(2)).status, 200);
}

#[test]
fn a_client_that_has_closed_its_side_gets_its_response() {
    let server = Server::start(&[]);
    let mut wire = server.connect();
    wire.send(&server.get("/healthz").to_bytes());
    wire.finish();
    assert_eq!(Response::read(&mut wire, false).text(), "ok\n");
    wire.expect_eof();
}

#[test]
fn a_request_with_a_body_is_answered_and_then_closed() {
    let server = Server::start(&[]);
    for framing in [
        "Content-Length: 5",
        "Content-Length: 005",
        // 2^64 and 2^128, which would wrap to 0.
        "Content-Length: 18446744073709551616",
        "Content-Length: 340282366920938463463374607431768211456",
        "Transfer-Encoding: chunked",
    ] {
        for (method, expected) in [("GET", 200), ("POST", 405)] {
            let bytes = format!("{method} / HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\nhello");
            let mut wire = server.connect();
            wire.send(bytes.as_bytes());
            // The body is never taken for a request, and it does not cause a reset.
            wire.try_send(&server.get("/healthz").to_bytes());
            assert_eq!(
                Response::read(&mut wire, false).status,
                expected,
                "{method} {framing}"
            );
            wire.expect_eof();
        }
    }
}

#[test]
fn the_log_of_a_refusal_has_no_user_query_or_fragment() {
    let server = Server::start(&["--log-level=debug"]);
    let own = "Host: localhost\r\n";
    let evil = "Host: evil.example\r\n";
    let heads = [
        ("http://u:secret@localhost/", own, "http://...@localhost/"),
        ("/fragment#secret", own, "/fragment#..."),
        ("/%00?secret", own, "/%00?..."),
        ("/", "Host: u:secret@other\r\n", "...@other"),
        ("/?secret", evil, "evil.example"),
        (
            "/nowhere?secret",
            "Host: localhost\r\nUpgrade: websocket\r\n",
            "/nowhere",
        ),
    ];
    for (target, fields, says) in heads {
        let mut wire = server.connect();
        wire.send(format!("GET {target} HTTP/1.1\r\n{fields}\r\n").as_bytes());
        let response = Response::read(&mut wire, false);
        assert!(response.status >= 400, "{target}: {response:?}");
        assert!(!response.text().contains("secret"), "{response:?}");
        server.await_log(&["refused", says]);
    }
    assert!(!server.log_text().contains("secret"));
}

#[test]
fn an_ambiguous_request_head_is_refused() {
    let server = Server::start(&["--log-level=debug"]);
    let cases: [(&str, &[u8]); 28] = [
        ("a bare LF", b"GET / HTTP/1.1\nHost: localhost\r\n\r\n"),
        ("a bare LF in a header", b"GET / HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n"),
        ("bare LFs alone", b"GET / HTTP/1.1\nHost: localhost\n\n"),
        ("a bare CR", b"GET / HTTP/1.1\r\nHost: local\rhost\r\n\r\n"),
        ("a folded line", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: y\r\n z\r\n\r\n"),
        ("a line folded by a tab", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: y\r\n\tz\r\n\r\n"),
        ("a first line that is folded", b"GET / HTTP/1.1\r\n X: y\r\nHost: localhost\r\n\r\n"),
        ("no Host", b"GET / HTTP/1.1\r\n\r\n"),
        ("two Hosts", b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"),
        ("a Host with a path", b"GET / HTTP/1.1\r\nHost: localhost/x\r\n\r\n"),
        ("a Host with a bad port", b"GET / HTTP/1.1\r\nHost: localhost:x\r\n\r\n"),
        ("a NUL in a value", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n"),
        ("a NUL in the target", b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("a space before a colon", b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n"),
        ("a header without a name", b"GET / HTTP/1.1\r\nHost: localhost\r\n: x\r\n\r\n"),
        ("a header without a colon", b"GET / HTTP/1.1\r\nHost: localhost\r\nX\r\n\r\n"),
        ("a fragment", b"GET /#x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("a target that is not ASCII", b"GET /\xc3\xa9 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("a DEL in the target", b"GET /\x7f HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("an encoded NUL", b"GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("no target", b"GET HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("a target without a slash", b"GET x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("two spaces", b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("no version", b"GET /\r\nHost: localhost\r\n\r\n"),
        (
            "two framings of a body",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            "two lengths",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        ),
        (
            "a length that is no number",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: +5\r\n\r\n",
        ),
        ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ];
    for (case, bytes) in cases {
        println!("{case}");
        last_response(&server, bytes).expect_refusal(case, 400);
    }
    server.await_log(&["debug", "status=400"]);
}

#[test]
fn a_tls_client_is_told_that_this_is_not_tls() {
    let server = Server::start(&[]);
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let reason = last_response(&server, hello).expect_refusal("TLS", 400);
    assert!(reason.contains("TLS"), "{reason}");
}

#[test]
fn nothing_after_a_bad_head_is_answered() {
    // A response to the second request could make a proxy mix up two clients (request smuggling).
    let server = Server::start(&[]);
    let mut bytes = b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n".to_vec();
    bytes.extend(server.get("/healthz").to_bytes());
    assert_eq!(last_response(&server, &bytes).status, 400);
}

#[test]
fn an_unknown_http_version_is_refused() {
    let server = Server::start(&[]);
    let response = last_response(&server, b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n");
    assert!(matches!(response.status, 400 | 505), "{response:?}");
}

#[test]
fn the_host_of_an_absolute_target_counts() {
    let server = Server::start(&[]);
    let to = |target: &str, host: &str| {
        let request = server.get(target).set("Host", host);
        server.exchange(&request).status
    };
    assert_eq!(to("http://localhost/", "evil.example"), 200);
    assert_eq!(to("http://localhost", "localhost"), 200);
    assert_eq!(to("http://evil.example/", "localhost"), 403);
}

#[test]
fn a_head_over_max_head_is_431() {
    const LEN_MAX: usize = 16 * 1024;
    let server = Server::start(&[]);
    let head = |len: usize| {
        let start = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ";
        format!("{start}{}\r\n\r\n", "x".repeat(len - start.len() - 4)).into_bytes()
    };
    let mut wire = server.connect();
    wire.send(&head(LEN_MAX));
    assert_eq!(Response::read(&mut wire, false).status, 200, "16 KiB");
    let response = last_response(&server, &head(LEN_MAX + 1));
    let reason = response.expect_refusal("a head of 16 KiB and 1 byte", 431);
    assert!(reason.contains("--max-head=32k"), "{reason}");
    // A head is refused as soon as it exceeds the limit, not when it ends.
    let endless = last_response(&server, &head(64 * 1024)[..LEN_MAX + 1]);
    endless.expect_refusal("endless", 431);
}

/// RFC 9112 3: "RECOMMENDED that all HTTP senders and recipients support, at a minimum,
/// request-line lengths of 8000 octets".
#[test]
fn a_request_line_of_8000_bytes_fits_next_to_as_much_in_fields() {
    let server = Server::start(&[]);
    let line = |len: usize| format!("GET /healthz?{:a<1$} HTTP/1.1", "", len - 22);
    let fields = format!("Host: localhost\r\nX: {}", "x".repeat(8000));
    let head = |line: String| format!("{line}\r\n{fields}\r\n\r\n").into_bytes();
    assert_eq!(line(8000).len(), 8000);
    let mut wire = server.connect();
    wire.send(&head(line(8000)));
    assert_eq!(Response::read(&mut wire, false).text(), "ok\n");
    let reason = last_response(&server, &head(line(8193))).expect_refusal("a long target", 414);
    assert!(reason.contains("--max-head=32k"), "{reason}");
    // It is refused before it ends. A method that does not end is unknown.
    last_response(&server, &line(9000).as_bytes()[..8193]).expect_refusal("an endless target", 414);
    last_response(&server, &[b'M'; 8193]).expect_refusal("an endless method", 501);
}

#[test]
fn the_response_to_an_endless_head_is_not_lost_to_a_reset() {
    let server = Server::start(&[]);
    let mut wire = server.connect();
    wire.send(b"GET / HTTP/1.1\r\nX: ");
    let sender = wire.send_in_background(vec![b'x'; 512 * 1024]);
    Response::read(&mut wire, false).expect_refusal("endless", 431);
    wire.expect_eof();
    sender.join().expect("the sender");
}

#[test]
fn more_headers_than_max_headers_are_431() {
    let server = Server::start(&[]);
    let with = |count: usize| {
        let request = (1..count).fold(server.get("/healthz"), |it, index| {
            it.add(&format!("X-{index}"), "y")
        });
        server.exchange(&request)
    };
    assert_eq!(with(64).status, 200);
    let reason = with(65).expect_refusal("65 headers", 431);
    assert!(reason.contains("--max-headers"), "{reason}");
}

#[test]
fn max_head_and_max_headers_set_the_limits_of_a_head() {
    let server = Server::start(&["--max-head=32k", "--max-headers=3"]);
    let request = server.get("/healthz").add("X", &"x".repeat(24 * 1024));
    assert_eq!(server.exchange(&request).status, 200);
    let request = request.add("Y", "y").add("Z", "z");
    assert_eq!(server.exchange(&request).status, 431);
}

#[test]
fn an_incomplete_head_is_408_after_the_head_timeout() {
    let server = Server::start(&["--head-timeout=400ms"]);
    let start = Instant::now();
    let mut wire = server.connect();
    wire.send(b"GET / HTTP/1.1\r\n");
    Response::read(&mut wire, false).expect_refusal("half a head", 408);
    wire.expect_eof();
    assert!(
        start.elapsed() > Duration::from_millis(350),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_head_sent_byte_by_byte_does_not_extend_the_head_timeout() {
    let server = Server::start(&["--head-timeout=400ms"]);
    let first = server.get("/healthz").to_bytes();
    for behind in [false, true] {
        let mut wire = server.connect();
        let start = Instant::now();
        if behind {
            // The head begins in the packet in which the one before it ends.
            wire.send(&[&first[..], b"G"].concat());
            assert_eq!(Response::read(&mut wire, false).status, 200);
        }
        // All bytes would take 15 s, and no pause is as long as the timeout, which must expire
        // meanwhile.
        wire.send_slowly(&[b'G'; 300], Duration::from_millis(50));
        let waited = start.elapsed();
        Response::read(&mut wire, false).expect_refusal("a slow head", 408);
        wire.expect_eof();
        assert!(waited > Duration::from_millis(350), "{waited:?}");
        assert!(waited < Duration::from_secs(8), "{waited:?}");
    }
}

#[test]
fn a_connection_without_a_request_is_closed_without_a_response() {
    let server = Server::start(&["--head-timeout=300ms", "--http-idle-timeout=300ms"]);
    let before = server.descriptors();
    let mut wire = server.connect();
    wire.expect_eof();
    drop(wire);
    server.await_descriptors(before);
}

#[test]
fn an_idle_connection_is_closed_without_a_response() {
    let server = Server::start(&["--http-idle-timeout=300ms"]);
    let mut wire = server.connect();
    wire.send(&server.get("/healthz").to_bytes());
    assert_eq!(Response::read(&mut wire, false).status, 200);
    wire.expect_eof();
}

#[test]
fn a_client_that_leaves_within_its_head_leaves_nothing_behind() {
    let server = Server::start(&[]);
    let before = server.descriptors();
    for reset in [false, true] {
        let wires: Vec<Wire> = (0..20)
            .map(|_| {
                let mut wire = server.connect();
                wire.send(b"GET / HTTP/1.1\r\nHost: local");
                wire
            })
            .collect();
        for wire in wires {
            if reset {
                wire.reset();
            }
        }
        server.await_descriptors(before);
    }
}

#[test]
fn the_requests_of_a_client_that_reads_no_responses_are_not_read() {
    // Requests are small and pages are large: without back-pressure the memory would grow.
    let server = Server::start(&[]);
    let before = server.rss_anon();
    let mut wire = server.connect();
    let len_max = 64 << 20;
    let unit = server.get("/").to_bytes();
    let (begun, _) = wire.flood(&unit, len_max);
    assert!(
        begun * unit.len() < len_max,
        "the server accepted all {begun} requests"
    );
    let grown = server.rss_anon().saturating_sub(before);
    assert!(grown < 2 << 20, "the memory grew by {grown} bytes");
    assert_eq!(server.exchange(&server.get("/healthz")).status, 200);
}

/// The server's reason for dropping a client that reads nothing.
const NOT_TAKING: &str = "the peer took nothing for --write-timeout";

#[test]
fn a_client_that_reads_no_responses_is_dropped() {
    let server = Server::start(&["--write-timeout=1s", "--log-level=debug"]);
    let before = server.descriptors();
    let mut wire = Wire::connect_with_small_buffers(server.address());
    let peer = format!("peer={} ", wire.local_address());
    let start = Instant::now();
    // More than the socket buffers hold: the next request waits until its response can be queued.
    let unit = server.get("/").to_bytes();
    let batch = unit.repeat((1 << 20) / unit.len());
    let taken = (0..64).take_while(|_| wire.send_until_stalled(&batch, TIMEOUT) == batch.len());
    let taken = taken.count();
    assert!(taken < 64, "the server accepted all {taken} batches");
    server.await_log(&["lost", &peer, NOT_TAKING]);
    let waited = start.elapsed();
    assert!(waited > Duration::from_millis(900), "{waited:?}");
    server.await_descriptors(before);
}

#[test]
fn a_client_that_does_not_read_its_last_response_is_dropped() {
    // The high-water mark admits all responses, so the server waits only for them to be sent.
    let server = Server::start(&[
        "--write-timeout=1s",
        "--high-water=64M",
        "--log-level=debug",
    ]);
    let before = server.descriptors();
    let mut wire = Wire::connect_with_small_buffers(server.address());
    let peer = format!("peer={} ", wire.local_address());
    let start = Instant::now();
    wire.send(&server.get("/.wspipe/console.css").to_bytes().repeat(1000));
    server.await_log(&["lost", &peer, NOT_TAKING]);
    let waited = start.elapsed();
    assert!(waited > Duration::from_millis(900), "{waited:?}");
    server.await_descriptors(before);
}
