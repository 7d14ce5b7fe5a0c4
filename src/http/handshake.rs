//! The opening handshake, as the server sees it (RFC 6455 section 4.2).

use std::collections::BinaryHeap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use super::refusal::{Refusal, quote};
use super::request::{Request, Version};
use super::token::is_token;

/// What the server proves with that it has understood the handshake: the value of
/// `Sec-WebSocket-Accept` (RFC 6455 section 4.2.2, step 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptKey([u8; AcceptKey::LEN]);

impl AcceptKey {
    /// Base64 makes 28 characters of the 20 bytes of a SHA-1.
    const LEN: usize = 28;

    /// What RFC 6455 section 1.3 has every server append to the client's key.
    const GUID: &'static str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

    /// The answer to `key`, the value of `Sec-WebSocket-Key`: it is hashed as text, not decoded.
    fn answering(key: &[u8]) -> AcceptKey {
        let mut hash = sha1_smol::Sha1::from(key);
        hash.update(AcceptKey::GUID.as_bytes());
        let mut accept = [0; AcceptKey::LEN];
        let encoded = STANDARD.encode_slice(hash.digest().bytes(), &mut accept);
        debug_assert_eq!(encoded, Ok(AcceptKey::LEN));
        AcceptKey(accept)
    }
}

/// Whether a request means to be an opening handshake, well-formed or not.
///
/// One whose `Upgrade` got lost still shows it by its `Sec-WebSocket-*` fields. Taking it for a
/// plain request would hide what is wrong, which most often is a proxy that does not pass the
/// hop-by-hop fields on.
pub fn is_upgrade(request: &Request) -> bool {
    request.has_token("Upgrade", "websocket")
        || request.header("Sec-WebSocket-Key").is_some()
        || request.header("Sec-WebSocket-Version").is_some()
}

/// Checks an opening handshake, in the order of RFC 6455 section 4.2.1, and answers its key.
///
/// # Errors
///
/// 426 for a version other than 13; 400 for anything else, with a reason that names the header.
pub fn check(request: &Request) -> Result<AcceptKey, Refusal> {
    let bad = |reason: &str| Err(Refusal::bad_handshake(reason));
    if request.method != "GET" {
        return bad("an opening handshake is a GET");
    }
    if request.version < Version::Http11 {
        return bad("an opening handshake is HTTP/1.1: \
                    does a proxy in front pass it on as HTTP/1.0?");
    }
    if !request.has_token("Upgrade", "websocket") {
        return bad("Upgrade does not name websocket: \
                    does a proxy in front not pass it on?");
    }
    if !request.has_token("Connection", "upgrade") {
        return bad("Connection does not name upgrade: \
                    does a proxy in front not pass it on?");
    }
    if request.has_body {
        return bad("Content-Length or Transfer-Encoding: an opening handshake has no body");
    }
    check_lists(request)?;
    let key = match request.sole_header("Sec-WebSocket-Key")? {
        Some(key) if is_key(key) => AcceptKey::answering(key),
        Some(key) => {
            return bad(&format!(
                "Sec-WebSocket-Key is not 16 bytes in base64: {}",
                quote(key)
            ));
        }
        None => return bad("Sec-WebSocket-Key is missing"),
    };
    match request.sole_header("Sec-WebSocket-Version")? {
        Some(b"13") => Ok(key),
        Some(version) => Err(Refusal::version_wrong(version)),
        None => Err(Refusal::version_missing()),
    }
}

/// The fields that are lists, and of what (RFC 9110 sections 7.8 and 7.6.1, RFC 6455 section 4.3).
const LISTS: [(&str, &str, IsMember); 4] = [
    ("Upgrade", "protocols", is_protocol),
    ("Connection", "tokens", is_token),
    ("Sec-WebSocket-Protocol", "tokens", is_token),
    ("Sec-WebSocket-Extensions", "extensions", is_extension),
];

type IsMember = fn(&[u8]) -> bool;

/// A handshake that breaks the grammar anywhere must be refused (RFC 6455 section 4.2.1), also where
/// nobody here asks what the field says. What it does say is not told again: it may be a secret.
fn check_lists(request: &Request) -> Result<(), Refusal> {
    for (name, members, is_member) in LISTS {
        let mut list = request.list(name).peekable();
        let reason = match request.header(name) {
            Some(_) if list.peek().is_none() => format!("{name} is an empty list"),
            _ if !list.all(is_member) => format!("{name} is not a list of {members}"),
            _ => continue,
        };
        return Err(Refusal::bad_handshake(reason));
    }
    // Section 4.1, item 10 of the request's requirements. (A heap, since sorting takes 5 kB of code.)
    let mut names: BinaryHeap<&[u8]> = request.list("Sec-WebSocket-Protocol").collect();
    while let Some(name) = names.pop() {
        if names.peek() == Some(&name) {
            let reason = "Sec-WebSocket-Protocol names a sub-protocol twice";
            return Err(Refusal::bad_handshake(reason));
        }
    }
    Ok(())
}

/// `websocket`, or with a version, as `HTTP/2.0`.
fn is_protocol(member: &[u8]) -> bool {
    member.splitn(2, |&byte| byte == b'/').all(is_token)
}

/// A name and its parameters: `x; a; b=1; c="d"` (RFC 6455 section 9.1).
fn is_extension(member: &[u8]) -> bool {
    let mut parts = member.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    parts.next().is_some_and(is_token) && parts.all(is_parameter)
}

fn is_parameter(part: &[u8]) -> bool {
    let mut sides = part.splitn(2, |&byte| byte == b'=').map(<[u8]>::trim_ascii);
    sides.next().is_some_and(is_token)
        && sides
            .next()
            .is_none_or(|value| is_token(value) || is_quoted_token(value))
}

/// A quoted string is allowed where a token without its quotes would be, and only with the same
/// characters in it. (So no comma and no semicolon can hide in one.)
fn is_quoted_token(value: &[u8]) -> bool {
    let Some(inner) = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
    else {
        return false;
    };
    let mut rest = inner;
    let mut token = Vec::with_capacity(inner.len());
    while let [byte, behind @ ..] = rest {
        // A backslash at the very end stays, and is in no token.
        let (meant, behind) = match (byte, behind) {
            (b'\\', [escaped, behind @ ..]) => (escaped, behind),
            plain => plain,
        };
        token.push(*meant);
        rest = behind;
    }
    is_token(&token)
}

/// Whether a key is 16 bytes in base64. Clients on small boards are known to draw 22 characters at
/// random and to append `==`: that the last one then has bits to spare is let pass.
fn is_key(key: &[u8]) -> bool {
    const SPARE_BITS_ALLOWED: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
    );
    // 24 characters are at most 18 bytes; more do not fit, and are an error.
    let mut bytes = [0; 18];
    key.len() == 24 && SPARE_BITS_ALLOWED.decode_slice(key, &mut bytes) == Ok(16)
}

/// The first sub-protocol of the client's list that `served` has too (RFC 6455 section 4.2.2,
/// step 5.5). Their names are compared exactly.
pub fn choose_subprotocol<'s>(request: &Request, served: &'s [String]) -> Option<&'s str> {
    request
        .list("Sec-WebSocket-Protocol")
        .find_map(|offered| served.iter().find(|name| name.as_bytes() == offered))
        .map(String::as_str)
}

/// Appends the 101 to `out`. What follows it on the connection are frames.
pub fn write_accept(out: &mut Vec<u8>, key: &AcceptKey, subprotocol: Option<&str>) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nServer: wspipe\r\n\
          Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    out.extend_from_slice(&key.0);
    if let Some(name) = subprotocol {
        out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        out.extend_from_slice(name.as_bytes());
    }
    out.extend_from_slice(b"\r\n\r\n");
}

#[cfg(test)]
mod tests {
    use super::super::response::Status;
    use super::*;

    /// A handshake of these header fields, sent with this request line.
    fn checked(line: &str, fields: &[&str]) -> Result<AcceptKey, Refusal> {
        let head = format!("{line}\r\nHost: a\r\n{}\r\n\r\n", fields.join("\r\n"));
        let request = Request::parse(head.as_bytes(), 16).expect("a valid head");
        assert!(is_upgrade(&request), "{head:?}");
        check(&request)
    }

    const GET: &str = "GET /chat HTTP/1.1";
    const UPGRADE: &str = "Upgrade: websocket";
    const CONNECTION: &str = "Connection: Upgrade";
    /// The key and the answer of RFC 6455 section 1.3.
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &[u8; 28] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    const VERSION: &str = "Sec-WebSocket-Version: 13";

    #[test]
    fn the_key_of_the_rfc_gets_the_answer_of_the_rfc() {
        let accept = checked(GET, &[UPGRADE, CONNECTION, KEY, VERSION]);
        assert_eq!(accept, Ok(AcceptKey(*ACCEPT)));
    }

    #[test]
    fn tokens_stand_anywhere_in_their_lists_in_any_case() {
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
    fn handshakes_that_break_a_rule_are_refused() {
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
    fn a_key_with_bits_to_spare_is_a_key() {
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZZ=="));
    }

    #[test]
    fn a_plain_request_is_no_handshake() {
        for fields in ["", "Upgrade: h2c\r\n", "Connection: Upgrade\r\n"] {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            let request = Request::parse(head.as_bytes(), 16).unwrap();
            assert!(!is_upgrade(&request), "{fields:?}");
        }
    }

    #[test]
    fn the_first_subprotocol_of_the_client_that_is_served_is_chosen() {
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
    fn the_acceptance_is_written() {
        let mut out = Vec::new();
        write_accept(&mut out, &AcceptKey(*ACCEPT), Some("chat"));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 101 Switching Protocols\r\nServer: wspipe\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
             Sec-WebSocket-Protocol: chat\r\n\r\n"
        );
        let mut out = Vec::new();
        write_accept(&mut out, &AcceptKey(*ACCEPT), None);
        assert!(out.ends_with(b"xOo=\r\n\r\n"));
    }
}
