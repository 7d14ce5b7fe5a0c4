//! A head from its first byte to a [`Request`]: the scanner and the parser together.

use super::super::head_scanner::HeadScanner;
use super::super::host::Name;
use super::super::response::Status;
use super::*;

const HEADERS_MAX: usize = 8;
const HEAD_LEN_MAX: usize = 16 * 1024;

/// Scans and parses bytes that arrive in portions: `arrived` are the lengths after each.
fn read<'a>(
    bytes: &'a [u8],
    arrived: impl Iterator<Item = usize>,
) -> Result<Option<Request<'a>>, Refusal> {
    let mut scanner = HeadScanner::default();
    for len in arrived {
        if let Some(head_len) = scanner.find_end(&bytes[..len], HEAD_LEN_MAX)? {
            assert_eq!(
                scanner.find_end(&bytes[..len], HEAD_LEN_MAX),
                Ok(Some(head_len))
            );
            return Request::parse(&bytes[..head_len], HEADERS_MAX).map(Some);
        }
    }
    Ok(None)
}

/// Calls `check` with the outcome for `bytes` read whole, cut in two at each place, and byte by byte.
fn however_cut(bytes: &[u8], check: impl Fn(Result<Option<Request>, Refusal>, &str)) {
    let len = bytes.len();
    check(read(bytes, [len].into_iter()), "whole");
    check(read(bytes, 0..=len), "byte by byte");
    for cut in 0..len {
        check(
            read(bytes, [cut, len].into_iter()),
            &format!("cut at {cut}"),
        );
    }
}

fn request(head: &str) -> Request<'_> {
    Request::parse(head.as_bytes(), HEADERS_MAX).unwrap_or_else(|r| panic!("{head:?}: {r:?}"))
}

#[test]
fn an_invalid_head_is_refused() {
    use Status::*;
    let get = |rest: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{rest}\r\n").into_bytes();
    let line = |line: &str| format!("{line}\r\nHost: a\r\n\r\n").into_bytes();
    #[rustfmt::skip]
    let cases: &[(&str, Vec<u8>, Status, &str)] = &[
        // Not HTTP.
        ("a TLS ClientHello", b"\x16\x03\x01\x02\x00".to_vec(), BadRequest, "speaks no TLS"),
        ("an SSL 2 ClientHello", b"\x80\x2e\x01".to_vec(), BadRequest, "not HTTP"),
        ("a space first", line(" GET / HTTP/1.1"), BadRequest, "not HTTP"),
        ("two empty lines first", line("\r\n\r\nGET / HTTP/1.1"), BadRequest, "more than one empty"),
        ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), VersionNotSupported, "HTTP/1.1"),
        // RFC 9112 2.2: line ends.
        ("bare LF after the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n".to_vec(), BadRequest, "LF"),
        ("bare LF after a field", b"GET / HTTP/1.1\r\nHost: a\n\r\n".to_vec(), BadRequest, "LF"),
        ("bare LF for the empty line", b"GET / HTTP/1.1\r\nHost: a\r\n\n".to_vec(), BadRequest, "LF"),
        ("bare LF first", line("\nGET / HTTP/1.1"), BadRequest, "LF"),
        ("bare CR in the request line", line("GET /\r HTTP/1.1"), BadRequest, "CR"),
        ("bare CR in a value", get("A: b\rc\r\n"), BadRequest, "CR"),
        ("bare CR first", line("\rGET / HTTP/1.1"), BadRequest, "CR"),
        ("CR CR LF", get("A: b\r\r\n"), BadRequest, "CR"),
        ("CR for the empty line", b"GET / HTTP/1.1\r\nHost: a\r\n\rX".to_vec(), BadRequest, "CR"),
        // RFC 9112 3: the request line.
        ("no version", line("GET /"), BadRequest, "request line"),
        ("no target", line("GET HTTP/1.1"), BadRequest, "request line"),
        ("two spaces", line("GET  / HTTP/1.1"), BadRequest, "request line"),
        ("a tab", line("GET\t/ HTTP/1.1"), BadRequest, "request line"),
        ("a fourth word", line("GET / HTTP/1.1 x"), BadRequest, "request line"),
        ("a space in the target", line("GET /a b HTTP/1.1"), BadRequest, "request line"),
        ("a method that is no token", line("G(T / HTTP/1.1"), BadRequest, "request line"),
        ("version in small letters", line("GET / http/1.1"), BadRequest, "request line"),
        ("version 1.2", line("GET / HTTP/1.2"), VersionNotSupported, "HTTP/1.1"),
        ("version 2.0", line("GET / HTTP/2.0"), VersionNotSupported, "HTTP/1.1"),
        ("version 0.9", line("GET / HTTP/0.9"), VersionNotSupported, "HTTP/1.1"),
        ("version 1.10", line("GET / HTTP/1.10"), BadRequest, "request line"),
        // RFC 9112 3.2: the target.
        ("a target with UTF-8", line("GET /\u{fc} HTTP/1.1"), BadRequest, "ASCII"),
        ("a target with DEL", line("GET /\u{7f} HTTP/1.1"), BadRequest, "ASCII"),
        ("a target with a fragment", line("GET /#a HTTP/1.1"), BadRequest, "fragment"),
        ("a query with a fragment", line("GET /?a#b HTTP/1.1"), BadRequest, "fragment"),
        ("%00 in the path", line("GET /a%00b HTTP/1.1"), BadRequest, "NUL"),
        ("%00 in the query", line("GET /?%00 HTTP/1.1"), BadRequest, "NUL"),
        ("NUL in the target", line("GET /\0 HTTP/1.1"), BadRequest, "NUL"),
        ("a target that is no path", line("GET a/b HTTP/1.1"), BadRequest, "neither"),
        ("* with GET", line("GET * HTTP/1.1"), BadRequest, "neither"),
        ("an authority with GET", line("GET a:80 HTTP/1.1"), BadRequest, "neither"),
        ("another scheme", line("GET ftp://a/ HTTP/1.1"), BadRequest, "neither"),
        ("absolute-form with a user", line("GET http://u@a/ HTTP/1.1"), BadRequest, "authority"),
        ("absolute-form without a host", line("GET http:///x HTTP/1.1"), BadRequest, "authority"),
        // RFC 9112 5: header fields.
        ("a space before the colon", get("A : b\r\n"), BadRequest, "colon"),
        ("a tab before the colon", get("A\t: b\r\n"), BadRequest, "colon"),
        ("no colon", get("Abc\r\n"), BadRequest, "colon"),
        ("no name", get(": b\r\n"), BadRequest, "colon"),
        ("a name that is no token", get("A(b): c\r\n"), BadRequest, "colon"),
        ("a name that is not ASCII", get("\u{fc}: c\r\n"), BadRequest, "colon"),
        ("a folded line", get("A: b\r\n c\r\n"), BadRequest, "white space"),
        ("a line folded with a tab", get("A: b\r\n\tc\r\n"), BadRequest, "white space"),
        ("white space before the first field", line("GET / HTTP/1.1\r\n A: b"), BadRequest, "white space"),
        ("NUL in a value", get("A: b\0c\r\n"), BadRequest, "NUL"),
        ("NUL at a line's start", get("\0A: b\r\n"), BadRequest, "NUL"),
        ("a control character in a value", get("A: b\x01c\r\n"), BadRequest, "control"),
        ("DEL in a value", get("A: b\x7f\r\n"), BadRequest, "control"),
        ("more fields than allowed", get(&"A: b\r\n".repeat(HEADERS_MAX)), HeadTooLarge, "--max-headers"),
        // RFC 9112 3.2: Host.
        ("no Host", b"GET / HTTP/1.1\r\nA: b\r\n\r\n".to_vec(), BadRequest, "Host is missing"),
        ("no fields", b"GET / HTTP/1.1\r\n\r\n".to_vec(), BadRequest, "Host is missing"),
        ("two Hosts", get("Host: a\r\n"), BadRequest, "Host is given more than once"),
        ("two Hosts in HTTP/1.0", line("GET / HTTP/1.0\r\nhost: a"), BadRequest, "Host is given more than once"),
        ("Host with a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".to_vec(), BadRequest, "Host is not a host"),
        ("Host with a user", b"GET / HTTP/1.1\r\nHost: u@b\r\n\r\n".to_vec(), BadRequest, "Host is not a host"),
        ("Host that is a list", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n".to_vec(), BadRequest, "Host is not a host"),
        ("Host that is not UTF-8", b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n".to_vec(), BadRequest, "Host is not a host"),
        ("absolute-form without Host", b"GET http://a/ HTTP/1.1\r\n\r\n".to_vec(), BadRequest, "Host is missing"),
        // RFC 9112 6: is there a body?
        ("length and coding", get("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), BadRequest, "together"),
        ("two lengths", get("Content-Length: 3\r\nContent-Length: 3\r\n"), BadRequest, "Content-Length is given more"),
        ("a list of lengths", get("Content-Length: 3, 3\r\n"), BadRequest, "not a number"),
        ("a signed length", get("Content-Length: +3\r\n"), BadRequest, "not a number"),
        ("an empty length", get("Content-Length:\r\n"), BadRequest, "not a number"),
        ("chunked not last", get("Transfer-Encoding: chunked, gzip\r\n"), BadRequest, "end with chunked"),
        ("chunked twice", get("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), BadRequest, "once"),
        ("chunked misspelt", get("Transfer-Encoding: xchunked\r\n"), BadRequest, "end with chunked"),
        ("an empty coding", get("Transfer-Encoding:\r\n"), BadRequest, "end with chunked"),
        ("a coding in HTTP/1.0", line("GET / HTTP/1.0\r\nTransfer-Encoding: chunked"), BadRequest, "HTTP/1.0"),
        ("an unknown coding", get("Transfer-Encoding: gzip, chunked\r\n"), NotImplemented, "chunked"),
    ];
    for (name, bytes, status, says) in cases {
        however_cut(bytes, |outcome, how| match outcome {
            Err(refusal) => {
                assert_eq!(refusal.status, *status, "{name}, {how}: {refusal:?}");
                assert!(refusal.reason.contains(says), "{name}, {how}: {refusal:?}");
                assert!(
                    refusal.close,
                    "{name}, {how}: the connection must be closed"
                );
            }
            other => panic!("{name}, {how}: {other:?}"),
        });
    }
}

#[test]
fn a_head_is_found_however_it_is_cut() {
    let head =
        "GET /a/b%20c?d=e?f HTTP/1.1\r\nHost: Example.org:81\r\nX-Y:  z w\t \r\nx-y:\r\n\r\n";
    for stray in ["", "\r\n"] {
        let bytes = format!("{stray}{head}\x01\x02");
        let head_len = stray.len() + head.len();
        for cut in 0..bytes.len() {
            let mut scanner = HeadScanner::default();
            let early = scanner.find_end(&bytes.as_bytes()[..cut], HEAD_LEN_MAX);
            assert_eq!(
                early,
                Ok((cut >= head_len).then_some(head_len)),
                "cut at {cut}"
            );
            assert_eq!(
                scanner.find_end(bytes.as_bytes(), HEAD_LEN_MAX),
                Ok(Some(head_len)),
                "cut at {cut}"
            );
        }
        however_cut(bytes.as_bytes(), |outcome, how| {
            let request = outcome.expect(how).expect(how);
            assert_eq!(request.method, "GET");
            assert_eq!(request.target, "/a/b%20c?d=e?f");
            assert_eq!(request.path, "/a/b%20c");
            assert_eq!(request.query, Some("d=e?f"));
            assert_eq!(request.version, Version::Http11);
            assert_eq!(request.host.text, "Example.org:81");
            assert_eq!(request.host.name, Name::Registered("example.org"));
            assert_eq!(request.host.port, Some(81));
            let headers: Vec<_> = request.headers().collect();
            let expected: [(&str, &[u8]); 3] =
                [("Host", b"Example.org:81"), ("X-Y", b"z w"), ("x-y", b"")];
            assert_eq!(headers, expected, "{how}");
            assert!(request.keep_alive() && !request.has_body);
        });
    }
}

#[test]
fn an_incomplete_head_has_no_end() {
    for part in ["", "\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r"] {
        however_cut(part.as_bytes(), |outcome, how| {
            assert!(matches!(outcome, Ok(None)), "{part:?}, {how}: {outcome:?}");
        });
    }
}

#[test]
fn a_head_may_have_as_many_fields_as_allowed() {
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(7));
    assert_eq!(request(&head).headers().count(), HEADERS_MAX);
}

#[test]
fn a_target_is_split_into_authority_path_and_query() {
    // Method, target, path, query, host; the Host field says "b".
    let cases = [
        ("GET", "/", "/", None, "b"),
        ("GET", "/?", "/", Some(""), "b"),
        ("GET", "//a//", "//a//", None, "b"),
        ("GET", "/http://x/", "/http://x/", None, "b"),
        ("GET", "http://a", "/", None, "a"),
        ("GET", "HTTP://a:8/x?y", "/x", Some("y"), "a:8"),
        ("GET", "wss://a?y", "/", Some("y"), "a"),
        ("GET", "https://[::1]:8/x", "/x", None, "[::1]:8"),
        ("OPTIONS", "*", "", None, "b"),
        ("CONNECT", "a:80", "", None, "b"),
    ];
    for (method, target, path, query, host) in cases {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: b\r\n\r\n");
        let request = request(&head);
        assert_eq!(request.target, target);
        assert_eq!((request.path, request.query), (path, query), "{target}");
        assert_eq!(request.host.text, host, "{target}");
    }
}

#[test]
fn an_http_1_0_request_may_omit_host() {
    let request = request("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(request.version, Version::Http10);
    assert_eq!(request.host.text, "");
}

#[test]
fn a_length_or_a_coding_announces_a_body() {
    let cases = [
        ("", false),
        ("Content-Length: 0\r\n", false),
        ("Content-Length: 000\r\n", false),
        ("Content-Length: 1\r\n", true),
        ("Content-Length: 99999999999999999999999999\r\n", true),
        ("Transfer-Encoding: Chunked\r\n", true),
        ("Transfer-Encoding: , chunked ,\r\n", true),
    ];
    for (fields, has_body) in cases {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let request = request(&head);
        assert_eq!(request.has_body, has_body, "{fields}");
        assert_eq!(request.keep_alive(), !has_body, "{fields}");
    }
}

#[test]
fn version_and_connection_decide_whether_the_connection_persists() {
    #[rustfmt::skip]
    let cases = [
        ("GET / HTTP/1.1", "", true),
        ("GET / HTTP/1.1", "Connection: close\r\n", false),
        ("GET / HTTP/1.1", "Connection: x, CLOSE\r\n", false),
        ("GET / HTTP/1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("GET / HTTP/1.1", "Connection: closed\r\n", true),
        ("GET / HTTP/1.0", "", false),
        ("GET / HTTP/1.0", "Connection: Keep-Alive\r\n", true),
        ("GET / HTTP/1.0", "Connection: keep-alive, close\r\n", false),
        ("CONNECT a:80 HTTP/1.1", "", false),
    ];
    for (line, fields, persists) in cases {
        let head = format!("{line}\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(request(&head).keep_alive(), persists, "{head:?}");
    }
}

#[test]
fn a_list_spans_fields_and_skips_empty_members() {
    let request = request("GET / HTTP/1.1\r\nHost: a\r\nL: a ,, B\r\nl:\tc\r\nL:\r\n\r\n");
    let members: Vec<_> = request.list("l").collect();
    assert_eq!(members, [b"a", b"B", b"c"]);
    assert!(request.has_token("L", "b") && request.has_token("L", "C"));
    assert!(!request.has_token("L", "") && !request.has_token("M", "a"));
}

#[test]
fn no_refusal_repeats_the_query_the_fragment_or_the_user() {
    for host in ["u:secret@a", "a/?secret", "a#secret", "http://u:secret@a"] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let refusal = Request::parse(head.as_bytes(), HEADERS_MAX).unwrap_err();
        assert!(!refusal.reason.contains("secret"), "{refusal:?}");
    }
    for target in [
        "/x#secret",
        "http://u:secret@host/",
        "http://secret@host/#",
        "ftp://u:secret@host/",
        "u:secret@host",
        "http:u:secret@host/",
        "*#secret",
        "/?secret#",
        "/%00?secret",
        "x?secret",
        "/?secret\u{fc}",
        "http://?secret",
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let refusal = Request::parse(head.as_bytes(), HEADERS_MAX).unwrap_err();
        assert!(!refusal.reason.contains("secret"), "{refusal:?}");
    }
}

/// A randomly damaged head causes no panic, and its outcome does not depend on the cuts.
#[test]
fn a_damaged_head_has_one_outcome_however_it_is_cut() {
    let seed = 0x9e37_79b9_7f4a_7c15_u64;
    println!("seed {seed:#x}");
    let mut state = seed;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let head = b"GET http://a:1/x?y HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nrest";
    for _ in 0..20_000 {
        let mut bytes = head.to_vec();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            match random(3) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes.insert(at, b"\r\n :\0%#*\xff"[random(9)]),
                _ => drop(bytes.remove(at)),
            }
        }
        let cut = random(bytes.len() + 1);
        let whole = read(&bytes, [bytes.len()].into_iter()).map(|it| it.is_some());
        let cut = read(&bytes, [cut, bytes.len()].into_iter()).map(|it| it.is_some());
        assert_eq!(whole, cut, "{}", bytes.escape_ascii());
        // The parser must not rely on the scanner.
        let _ = Request::parse(&bytes, HEADERS_MAX);
    }
}
