use super::super::response::Status;
use super::*;

/// Checks a handshake with this request line and these header fields.
fn checked(line: &str, fields: &[&str]) -> Result<AcceptKey, Refusal> {
    let head = format!("{line}\r\nHost: a\r\n{}\r\n\r\n", fields.join("\r\n"));
    let request = Request::parse(head.as_bytes(), 16).expect("a valid head");
    assert!(is_upgrade(&request), "{head:?}");
    check(&request)
}

const GET: &str = "GET /chat HTTP/1.1";
const UPGRADE: &str = "Upgrade: websocket";
const CONNECTION: &str = "Connection: Upgrade";
/// The example of RFC 6455 section 1.3: the key, and the answer to it.
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8; 28] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const VERSION: &str = "Sec-WebSocket-Version: 13";

#[test]
fn the_example_key_of_the_rfc_gets_its_answer() {
    let accept = checked(GET, &[UPGRADE, CONNECTION, KEY, VERSION]);
    assert_eq!(accept, Ok(AcceptKey(*ACCEPT)));
}

#[test]
fn upgrade_and_connection_are_lists_in_any_case() {
    #[rustfmt::skip]
    let cases: &[(&str, &[&str])] = &[
        ("any case", &["upgrade: WebSocket", "CONNECTION: UPGRADE"]),
        ("Firefox", &[UPGRADE, "Connection: keep-alive, Upgrade"]),
        ("in a list", &["Upgrade: h2c, websocket", "Connection: upgrade,x"]),
        ("in a second field", &["Upgrade: h2c", UPGRADE, "Connection: x", CONNECTION]),
        ("with a version", &["Upgrade: HTTP/2.0, websocket", CONNECTION]),
        ("empty body", &[UPGRADE, CONNECTION, "Content-Length: 0"]),
    ];
    for (name, fields) in cases {
        let fields = [*fields, &[KEY, VERSION]].concat();
        assert_eq!(checked(GET, &fields), Ok(AcceptKey(*ACCEPT)), "{name}");
    }
}

#[test]
fn a_handshake_that_breaks_a_rule_is_refused() {
    use Status::*;
    let key = |key: &str| format!("Sec-WebSocket-Key: {key}");
    let (short, long) = (key("c2hvcnQ="), key("c2V2ZW50ZWVuIGJ5dGVzISE="));
    let (eighteen, unpadded) = (
        key("ZWlnaHRlZW4gYnl0ZXMhISEh"),
        key("dGhlIHNhbXBsZSBub25jZQ"),
    );
    let (no_base64, empty, url) = (
        key("dGhlIHNhbXBsZSBub25j*Q=="),
        key(""),
        key("__-_IHNhbXBsZSBub25jZQ=="),
    );
    #[rustfmt::skip]
    let cases: &[(&str, &str, &[&str], Status, &str)] = &[
        ("HEAD", "HEAD / HTTP/1.1", &[UPGRADE, CONNECTION, KEY, VERSION], BadRequest, "GET"),
        ("POST", "POST / HTTP/1.1", &[UPGRADE, CONNECTION, KEY, VERSION], BadRequest, "GET"),
        ("HTTP/1.0", "GET / HTTP/1.0", &[UPGRADE, CONNECTION, KEY, VERSION], BadRequest, "HTTP/1.1"),
        ("no Upgrade", GET, &[CONNECTION, KEY, VERSION], BadRequest, "Upgrade"),
        ("another Upgrade", GET, &["Upgrade: h2c", CONNECTION, KEY, VERSION], BadRequest, "Upgrade"),
        ("half an Upgrade", GET, &["Upgrade: websocket2", CONNECTION, KEY, VERSION], BadRequest, "Upgrade"),
        ("no Connection", GET, &[UPGRADE, KEY, VERSION], BadRequest, "Connection"),
        ("another Connection", GET, &[UPGRADE, "Connection: close", KEY, VERSION], BadRequest, "Connection"),
        ("a body", GET, &[UPGRADE, CONNECTION, KEY, VERSION, "Content-Length: 5"], BadRequest, "Content-Length"),
        ("a chunked body", GET, &[UPGRADE, CONNECTION, KEY, VERSION, "Transfer-Encoding: chunked"], BadRequest, "Transfer-Encoding"),
        ("no key", GET, &[UPGRADE, CONNECTION, VERSION], BadRequest, "Sec-WebSocket-Key"),
        ("two keys", GET, &[UPGRADE, CONNECTION, KEY, KEY, VERSION], BadRequest, "Sec-WebSocket-Key"),
        ("an empty key", GET, &[UPGRADE, CONNECTION, &empty, VERSION], BadRequest, "Sec-WebSocket-Key"),
        ("a short key", GET, &[UPGRADE, CONNECTION, &short, VERSION], BadRequest, "Sec-WebSocket-Key"),
        ("a key of 17 bytes", GET, &[UPGRADE, CONNECTION, &long, VERSION], BadRequest, "Sec-WebSocket-Key"),
        ("a key of 18 bytes", GET, &[UPGRADE, CONNECTION, &eighteen, VERSION], BadRequest, "Sec-WebSocket-Key"),
        ("a key without padding", GET, &[UPGRADE, CONNECTION, &unpadded, VERSION], BadRequest, "Sec-WebSocket-Key"),
        ("a key in no base64", GET, &[UPGRADE, CONNECTION, &no_base64, VERSION], BadRequest, "Sec-WebSocket-Key"),
        ("a key in base64url", GET, &[UPGRADE, CONNECTION, &url, VERSION], BadRequest, "Sec-WebSocket-Key"),
        ("a broken Upgrade", GET, &[UPGRADE, "Upgrade: a b", CONNECTION, KEY, VERSION], BadRequest, "Upgrade"),
        ("an Upgrade of two versions", GET, &[UPGRADE, "Upgrade: a/1/2", CONNECTION, KEY, VERSION], BadRequest, "Upgrade"),
        ("a broken Connection", GET, &[UPGRADE, CONNECTION, "Connection: @", KEY, VERSION], BadRequest, "Connection"),
        ("no version", GET, &[UPGRADE, CONNECTION, KEY], BadRequest, "Sec-WebSocket-Version"),
        ("two versions", GET, &[UPGRADE, CONNECTION, KEY, VERSION, VERSION], BadRequest, "Sec-WebSocket-Version"),
        ("version 8", GET, &[UPGRADE, CONNECTION, KEY, "Sec-WebSocket-Version: 8"], UpgradeRequired, "\"8\""),
        ("a list of versions", GET, &[UPGRADE, CONNECTION, KEY, "Sec-WebSocket-Version: 13, 8"], UpgradeRequired, "13, 8"),
    ];
    for (name, line, fields, status, says) in cases {
        let refusal = checked(line, fields).expect_err(name);
        assert_eq!(refusal.status, *status, "{name}: {refusal:?}");
        assert!(refusal.reason.contains(says), "{name}: {refusal:?}");
        let tells_version = refusal.fields.contains(&("Sec-WebSocket-Version", "13"));
        let asks_version = matches!(*name, "no version" | "version 8" | "a list of versions");
        assert_eq!(tells_version, asks_version, "{name}: {refusal:?}");
    }
}

#[test]
fn an_extension_is_a_token_with_parameters() {
    #[rustfmt::skip]
    let good = [
        "x", "x;a", "x ; a = 1;b=\"2\"", "x;a=\"\\b\\c\"", "permessage-deflate; client_max_window_bits",
    ];
    for text in good {
        assert!(is_extension(text.as_bytes()), "{text}");
    }
    #[rustfmt::skip]
    let bad = [
        "", ";a", "x;", "x y", "x;;a", "x;a=", "x;=1", "x;a=1=2", "x;a=\"\"", "x;a=\"b", "x;a=b\"",
        "x;a=\"", "x;a=\"b c\"", "x;a=\"\\\"", "x;a=\"b\\", "x;a=\"b;c\"", "x=1", "x;a=\"b\"c", "\u{e9}",
    ];
    for text in bad {
        assert!(!is_extension(text.as_bytes()), "{text}");
    }
}

#[test]
fn a_key_may_have_bits_set_after_its_16th_byte() {
    assert!(is_key(b"dGhlIHNhbXBsZSBub25jZZ=="));
}

#[test]
fn a_plain_request_is_not_a_handshake() {
    for fields in ["", "Upgrade: h2c\r\n", "Connection: Upgrade\r\n"] {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let request = Request::parse(head.as_bytes(), 16).unwrap();
        assert!(!is_upgrade(&request), "{fields:?}");
    }
}

#[test]
fn the_clients_first_served_subprotocol_is_chosen() {
    let served = ["chat.v2".to_owned(), "chat.v1".to_owned()];
    #[rustfmt::skip]
    let cases = [
        ("", None),
        ("Sec-WebSocket-Protocol:\r\n", None),
        ("Sec-WebSocket-Protocol: other\r\n", None),
        ("Sec-WebSocket-Protocol: CHAT.V1\r\n", None),
        ("Sec-WebSocket-Protocol: chat.v1, chat.v2\r\n", Some("chat.v1")),
        ("Sec-WebSocket-Protocol: x,chat.v2,chat.v1\r\n", Some("chat.v2")),
        ("Sec-WebSocket-Protocol: x\r\nSec-WebSocket-Protocol: chat.v1\r\n", Some("chat.v1")),
    ];
    for (fields, chosen) in cases {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let request = Request::parse(head.as_bytes(), 16).unwrap();
        assert_eq!(choose_subprotocol(&request, &served), chosen, "{fields:?}");
        assert_eq!(choose_subprotocol(&request, &[]), None, "{fields:?}");
    }
}

#[test]
fn the_101_has_the_key_and_the_subprotocol() {
    let mut out = Vec::new();
    let date = HttpDate::since_1970(std::time::Duration::ZERO);
    write_accept(&mut out, &AcceptKey(*ACCEPT), Some("chat"), date);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 101 Switching Protocols\r\nServer: wspipe\r\n\
         Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         Sec-WebSocket-Protocol: chat\r\n\r\n"
    );
    let mut out = Vec::new();
    write_accept(&mut out, &AcceptKey(*ACCEPT), None, date);
    assert!(out.ends_with(b"xOo=\r\n\r\n"));
}
