//! The server's part of the opening handshake (RFC 6455 section 4.2): checks the request, computes
//! `Sec-WebSocket-Accept`, chooses a sub-protocol and writes the 101.

use std::collections::BinaryHeap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use super::date::HttpDate;
use super::refusal::{Refusal, quote};
use super::request::{Request, Version};
use super::token::is_token;

/// The value of `Sec-WebSocket-Accept`: it proves that the server understood the handshake
/// (RFC 6455 section 4.2.2, step 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptKey([u8; AcceptKey::LEN]);

impl AcceptKey {
    /// The 20 bytes of a SHA-1 in base64.
    const LEN: usize = 28;

    /// The constant that every server appends to the client's key (RFC 6455 section 1.3).
    const GUID: &'static str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

    /// Computes the answer to `key`, the value of `Sec-WebSocket-Key`. The key is hashed as text,
    /// not decoded.
    fn answering(key: &[u8]) -> AcceptKey {
        let mut hash = sha1_smol::Sha1::from(key);
        hash.update(AcceptKey::GUID.as_bytes());
        let mut accept = [0; AcceptKey::LEN];
        let encoded = STANDARD.encode_slice(hash.digest().bytes(), &mut accept);
        debug_assert_eq!(encoded, Ok(AcceptKey::LEN));
        AcceptKey(accept)
    }
}

/// Whether a request is meant as an opening handshake, valid or not.
///
/// A request with `Sec-WebSocket-*` fields but no `Upgrade` is one, too: most often a proxy dropped
/// the hop-by-hop fields. Treating it as a plain request would hide that.
pub(crate) fn is_upgrade(request: &Request) -> bool {
    request.has_token("Upgrade", "websocket")
        || request.header("Sec-WebSocket-Key").is_some()
        || request.header("Sec-WebSocket-Version").is_some()
}

/// Checks an opening handshake in the order of RFC 6455 section 4.2.1 and answers its key.
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

/// The fields that are lists, and their members (RFC 9110 sections 7.8 and 7.6.1, RFC 6455
/// section 4.3); and whether the list may be empty. That of the extensions may: gateways that take
/// out all extensions pass it on empty, and none of them is used here anyway.
const LISTS: [(&str, &str, IsMember, bool); 4] = [
    ("Upgrade", "protocols", is_protocol, false),
    ("Connection", "tokens", is_token, false),
    ("Sec-WebSocket-Protocol", "tokens", is_token, false),
    ("Sec-WebSocket-Extensions", "extensions", is_extension, true),
];

type IsMember = fn(&[u8]) -> bool;

/// Refuses a handshake that breaks the grammar in any field (RFC 6455 section 4.2.1), even in one
/// that the server does not use. The refusal omits the value, which may be a secret.
fn check_lists(request: &Request) -> Result<(), Refusal> {
    for (name, members, is_member, may_be_empty) in LISTS {
        let mut list = request.list(name).peekable();
        let reason = match request.header(name) {
            Some(_) if list.peek().is_none() && !may_be_empty => format!("{name} is an empty list"),
            _ if !list.all(is_member) => format!("{name} is not a list of {members}"),
            _ => continue,
        };
        return Err(Refusal::bad_handshake(reason));
    }
    // No sub-protocol twice: section 4.1, item 10. A heap, because sorting adds 5 kB of code.
    let mut names: BinaryHeap<&[u8]> = request.list("Sec-WebSocket-Protocol").collect();
    while let Some(name) = names.pop() {
        if names.peek() == Some(&name) {
            let reason = "Sec-WebSocket-Protocol names a sub-protocol twice";
            return Err(Refusal::bad_handshake(reason));
        }
    }
    Ok(())
}

/// A protocol with or without a version: `websocket`, `HTTP/2.0`.
fn is_protocol(member: &[u8]) -> bool {
    member.splitn(2, |&byte| byte == b'/').all(is_token)
}

/// An extension and its parameters: `x; a; b=1; c="d"` (RFC 6455 section 9.1).
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

/// A quoted string must be a token without its quotes (RFC 6455 section 9.1). So it contains neither
/// comma nor semicolon, and splitting the list at these is safe.
fn is_quoted_token(value: &[u8]) -> bool {
    let Some(inner) = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
    else {
        return false;
    };
    let mut rest = inner;
    let mut token = Vec::with_capacity(inner.len());
    while let [byte, after @ ..] = rest {
        // A backslash at the end stays and makes the token invalid.
        let (meant, after) = match (byte, after) {
            (b'\\', [escaped, after @ ..]) => (escaped, after),
            plain => plain,
        };
        token.push(*meant);
        rest = after;
    }
    is_token(&token)
}

/// Whether a key is 16 bytes in base64. Some clients on small boards draw 22 random characters and
/// append `==`, so set bits after the 16th byte are accepted.
fn is_key(key: &[u8]) -> bool {
    const SPARE_BITS_ALLOWED: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
    );
    // 24 characters decode to at most 18 bytes; more would be an error.
    let mut bytes = [0; 18];
    key.len() == 24 && SPARE_BITS_ALLOWED.decode_slice(key, &mut bytes) == Ok(16)
}

/// Chooses the first sub-protocol of the client's list that is in `served` (RFC 6455 section 4.2.2,
/// step 5.5). Names are case-sensitive.
pub(crate) fn choose_subprotocol<'s>(request: &Request, served: &'s [String]) -> Option<&'s str> {
    request
        .list("Sec-WebSocket-Protocol")
        .find_map(|offered| served.iter().find(|name| name.as_bytes() == offered))
        .map(String::as_str)
}

/// Appends the 101 to `out`. After it, the connection carries frames.
pub fn write_accept(out: &mut Vec<u8>, key: &AcceptKey, subprotocol: Option<&str>, date: HttpDate) {
    out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nServer: wspipe\r\nDate: ");
    out.extend_from_slice(date.to_string().as_bytes());
    out.extend_from_slice(
        b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    out.extend_from_slice(&key.0);
    if let Some(name) = subprotocol {
        out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        out.extend_from_slice(name.as_bytes());
    }
    out.extend_from_slice(b"\r\n\r\n");
}

#[cfg(test)]
mod tests;
