//! Plain HTTP (DESIGN 3.2): the pages, keep-alive, and the refusal of every head that two
//! parsers could read in two ways.

mod support;

use std::time::{Duration, Instant};

use support::{Response, Server, TIMEOUT, Wire};

/// The response to `bytes`, after which the server ends the connection.
#[track_caller]
fn last_response(server: &Server, bytes: &[u8]) -> Response {
    let mut wire = server.connect();
    wire.send(bytes);
    let response = Response::read(&mut wire, false);
    wire.expect_eof();
    response
}

/// The console page with what it refers to, as a browser would ask for it.
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
            // Relative to the page, so that a proxy's sub-path works.
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
fn serves_the_console_page_and_what_it_refers_to() {
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
fn the_page_asks_no_other_host_and_lets_none_frame_it() {
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
        // A namespace is a name, and no address that is fetched.
        let text = response.text().replace("http://www.w3.org/", "");
        for scheme in ["http://", "https://"] {
            assert!(!text.contains(scheme), "{target} names another host");
        }
    }
}

#[test]
fn the_page_is_told_what_is_served() {
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
fn the_page_is_there_in_every_mode() {
    for args in [&["--echo"][..], &["cat"]] {
        let server = Server::start(args);
        assert_eq!(server.exchange(&server.get("/")).status, 200, "{args:?}");
    }
}

#[test]
fn a_command_is_named_as_json_whatever_its_name_holds() {
    let dir = support::TempDir::new();
    let path = dir.path("qu\"ote\\");
    support::write_file(&path, "#!/bin/sh\ncat\n", 0o755);
    let server = Server::start(&[path.to_str().expect("UTF-8")]);
    let text = server.exchange(&server.get("/.wspipe/config.json")).text();
    assert!(text.contains(r#"qu\"ote\\"#), "{text}");
}

#[test]
fn answers_head_like_get_but_for_the_body() {
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
        // A body would stand in the way of the next response.
        assert_eq!(Response::read(&mut wire, false).text(), "ok\n", "{path}");
    }
}

#[test]
fn tells_its_health_to_anyone() {
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
fn everything_else_is_not_found() {
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
fn other_methods_are_not_allowed() {
    let server = Server::start(&[]);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
        let response = server.exchange(&server.get("/").method(method));
        response.expect_refusal(method, 405);
        let allow = response.header("Allow").expect("Allow");
        assert!(allow.contains("GET") && allow.contains("HEAD"), "{allow}");
    }
}

#[test]
fn keeps_the_connection_for_further_requests() {
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
fn answers_pipelined_requests_in_order() {
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
fn takes_a_request_that_comes_byte_by_byte() {
    let server = Server::start(&[]);
    let mut wire = server.connect();
    for _ in 0..2 {
        wire.send_bytewise(&server.get("/healthz").to_bytes());
        assert_eq!(Response::read(&mut wire, false).text(), "ok\n");
    }
}

#[test]
fn closes_when_asked_to() {
    let server = Server::start(&[]);
    let request = server.get("/healthz").add("Connection", "close");
    let response = last_response(&server, &request.to_bytes());
    assert_eq!(response.status, 200);
    assert_eq!(response.header("Connection"), Some("close"));
}

/// RFC 9112 9.6: behind a request with the option "close", a server "MUST NOT process any further
/// requests received on that connection".
#[test]
fn nothing_behind_a_request_to_close_is_answered() {
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
fn what_is_not_quite_close_does_not_close() {
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
fn serves_http_1_0_and_closes() {
    let server = Server::start(&[]);
    let request = server.get("/").version("HTTP/1.0").to_bytes();
    assert_eq!(last_response(&server, &request).status, 200);
    assert_eq!(last_response(&server, &request.repeat(2)).status, 200);
}

#[test]
fn answers_a_client_that_has_ended_its_side() {
    let server = Server::start(&[]);
    let mut wire = server.connect();
    wire.send(&server.get("/healthz").to_bytes());
    wire.finish();
    assert_eq!(Response::read(&mut wire, false).text(), "ok\n");
    wire.expect_eof();
}

#[test]
fn a_request_with_a_body_is_answered_and_the_last() {
    let server = Server::start(&[]);
    for framing in [
        "Content-Length: 5",
        "Content-Length: 005",
        // What fits neither 64 bits nor 128, and would be nothing if its upper ones were lost.
        "Content-Length: 18446744073709551616",
        "Content-Length: 340282366920938463463374607431768211456",
        "Transfer-Encoding: chunked",
    ] {
        for (method, expected) in [("GET", 200), ("POST", 405)] {
            let bytes = format!("{method} / HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\nhello");
            let mut wire = server.connect();
            wire.send(bytes.as_bytes());
            // What the body holds is never taken for a request, nor does it cause a reset.
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
fn refuses_each_head_that_is_ambiguous() {
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
fn tells_a_tls_client_that_this_is_not_tls() {
    let server = Server::start(&[]);
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let reason = last_response(&server, hello).expect_refusal("TLS", 400);
    assert!(reason.contains("TLS"), "{reason}");
}

#[test]
fn refuses_what_follows_a_bad_head() {
    // Had the second request been answered, a proxy could be made to mix up two clients.
    let server = Server::start(&[]);
    let mut bytes = b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n".to_vec();
    bytes.extend(server.get("/healthz").to_bytes());
    assert_eq!(last_response(&server, &bytes).status, 400);
}

#[test]
fn refuses_a_version_it_does_not_speak() {
    let server = Server::start(&[]);
    let response = last_response(&server, b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n");
    assert!(matches!(response.status, 400 | 505), "{response:?}");
}

#[test]
fn takes_the_host_of_an_absolute_target() {
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
fn refuses_a_head_that_is_too_large() {
    let server = Server::start(&[]);
    let head = |len: usize| {
        let start = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ";
        format!("{start}{}\r\n\r\n", "x".repeat(len - start.len() - 4)).into_bytes()
    };
    let mut wire = server.connect();
    wire.send(&head(8 * 1024));
    assert_eq!(
        Response::read(&mut wire, false).status,
        200,
        "8 KiB are allowed"
    );
    let response = last_response(&server, &head(8 * 1024 + 1));
    let reason = response.expect_refusal("a byte more", 431);
    assert!(reason.contains("--max-head"), "{reason}");
    // It is refused as soon as it is too large, not when it ends.
    let endless = last_response(&server, &head(64 * 1024)[..8 * 1024 + 1]);
    endless.expect_refusal("endless", 431);
}

#[test]
fn an_overlong_head_loses_no_response_to_a_reset() {
    let server = Server::start(&[]);
    let mut wire = server.connect();
    wire.send(b"GET / HTTP/1.1\r\nX: ");
    let sender = wire.send_in_background(vec![b'x'; 512 * 1024]);
    Response::read(&mut wire, false).expect_refusal("endless", 431);
    wire.expect_eof();
    sender.join().expect("the sender");
}

#[test]
fn refuses_too_many_headers() {
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
fn the_limits_of_a_head_can_be_set() {
    let server = Server::start(&["--max-head=16k", "--max-headers=3"]);
    let request = server.get("/healthz").add("X", &"x".repeat(12 * 1024));
    assert_eq!(server.exchange(&request).status, 200);
    let request = request.add("Y", "y").add("Z", "z");
    assert_eq!(server.exchange(&request).status, 431);
}

#[test]
fn gives_up_on_half_a_head() {
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
fn a_dribble_does_not_prolong_the_time_for_a_head() {
    let server = Server::start(&["--head-timeout=400ms"]);
    let first = server.get("/healthz").to_bytes();
    for behind in [false, true] {
        let mut wire = server.connect();
        let start = Instant::now();
        if behind {
            // The head begins in the same packet as the one before it ends.
            wire.send(&[&first[..], b"G"].concat());
            assert_eq!(Response::read(&mut wire, false).status, 200);
        }
        // It would take 15 s, and no pause in it is as long as the time-out: that must come meanwhile.
        wire.send_slowly(&[b'G'; 300], Duration::from_millis(50));
        let waited = start.elapsed();
        Response::read(&mut wire, false).expect_refusal("a dribble", 408);
        wire.expect_eof();
        assert!(waited > Duration::from_millis(350), "{waited:?}");
        assert!(waited < Duration::from_secs(8), "{waited:?}");
    }
}

#[test]
fn closes_a_silent_connection_silently() {
    let server = Server::start(&["--head-timeout=300ms", "--http-idle-timeout=300ms"]);
    let before = server.descriptors();
    let mut wire = server.connect();
    wire.expect_eof();
    drop(wire);
    server.await_descriptors(before);
}

#[test]
fn closes_an_idle_connection_silently() {
    let server = Server::start(&["--http-idle-timeout=300ms"]);
    let mut wire = server.connect();
    wire.send(&server.get("/healthz").to_bytes());
    assert_eq!(Response::read(&mut wire, false).status, 200);
    wire.expect_eof();
}

#[test]
fn a_client_that_leaves_in_its_head_leaves_nothing() {
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
fn a_client_that_reads_no_responses_is_not_read_further() {
    // Requests are small and pages are not: without back-pressure the memory would grow.
    let server = Server::start(&[]);
    let before = server.rss_anon();
    let mut wire = server.connect();
    let len_max = 64 << 20;
    let unit = server.get("/").to_bytes();
    let (begun, _) = wire.flood(&unit, len_max);
    assert!(
        begun * unit.len() < len_max,
        "{begun} requests were taken unanswered"
    );
    let grown = server.rss_anon().saturating_sub(before);
    assert!(grown < 2 << 20, "the memory grew by {grown} bytes");
    assert_eq!(server.exchange(&server.get("/healthz")).status, 200);
}

/// The server's word for a client that it drops because it takes nothing.
const NOT_TAKING: &str = "nothing was taken for --write-timeout";

#[test]
fn a_client_that_reads_no_responses_is_dropped() {
    let server = Server::start(&["--write-timeout=1s", "--log-level=debug"]);
    let before = server.descriptors();
    let mut wire = Wire::connect_with_small_buffers(server.address());
    let peer = format!("peer={} ", wire.local_address());
    let start = Instant::now();
    // More than the kernel takes: the next request waits for room to answer it.
    let unit = server.get("/").to_bytes();
    let batch = unit.repeat((1 << 20) / unit.len());
    let taken = (0..64).take_while(|_| wire.send_until_stalled(&batch, TIMEOUT) == batch.len());
    let taken = taken.count();
    assert!(taken < 64, "{taken} batches were taken unanswered");
    server.await_log(&["lost", &peer, NOT_TAKING]);
    let waited = start.elapsed();
    assert!(waited > Duration::from_millis(900), "{waited:?}");
    server.await_descriptors(before);
}

#[test]
fn a_client_that_leaves_its_last_response_unread_is_dropped() {
    // All requests are answered at once: nothing is awaited but that the responses leave.
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
