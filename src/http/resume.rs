//! How a client asks for a resumable session (`--resume`): by a sub-protocol.
//!
//! A page cannot set header fields of the opening handshake, but it can offer sub-protocols, and it
//! sees which one the server chose. So a client offers `wspipe.session.TOKEN.RECEIVED`:
//!
//! - TOKEN: 32 hexadecimal digits from a cryptographic random generator, chosen by the client;
//! - RECEIVED: the number of the session's messages that the client has received. Only the client
//!   knows it.
//!
//! A returning client also offers `wspipe.resume`. Without it, a client that had received nothing
//! would look new and would silently get a fresh command if its session has expired.

use std::fmt;

use super::request::Request;

/// The prefix of a session's sub-protocol.
const PREFIX: &str = "wspipe.session.";

/// The sub-protocol by which a returning client says that it does not want a new session.
const RESUME: &str = "wspipe.resume";

/// The number of hexadecimal digits of a token.
const TOKEN_DIGITS: usize = 32;

/// A client's request for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumeRequest<'a> {
    /// The session's token.
    pub(crate) token: Token,
    /// The number of the session's messages that the client has received.
    pub received: u64,
    /// Whether the client returns to its session. It does not want a new one.
    pub(crate) returning: bool,
    /// The offered sub-protocol, which the 101 must name.
    pub protocol: &'a str,
}

/// The name of a session, and the only secret that protects it. `Debug` does not show it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Token(u128);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Finds the first valid request for a session among the offered sub-protocols.
pub fn resume_request<'a>(request: &Request<'a>) -> Option<ResumeRequest<'a>> {
    let protocols = || request.list("Sec-WebSocket-Protocol");
    let mut resume_request = protocols().find_map(parse)?;
    resume_request.returning |= protocols().any(|protocol| protocol == RESUME.as_bytes());
    Some(resume_request)
}

/// Whether a sub-protocol may contain the token of a session, even if it is not valid. It is a
/// secret then.
pub fn is_session_protocol(protocol: &[u8]) -> bool {
    let prefix = PREFIX.as_bytes();
    protocol.len() >= prefix.len() && protocol[..prefix.len()].eq_ignore_ascii_case(prefix)
}

fn parse(protocol: &[u8]) -> Option<ResumeRequest<'_>> {
    let protocol = std::str::from_utf8(protocol).ok()?;
    let (token, received) = protocol.strip_prefix(PREFIX)?.split_once('.')?;
    let all_hex = token.bytes().all(|byte| byte.is_ascii_hexdigit());
    let all_digits = received.bytes().all(|byte| byte.is_ascii_digit());
    if token.len() != TOKEN_DIGITS || !all_hex || !all_digits {
        return None;
    }
    let received = received.parse().ok()?;
    Some(ResumeRequest {
        token: Token(u128::from_str_radix(token, 16).ok()?),
        received,
        returning: received > 0,
        protocol,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields `received`, `protocol` and `returning` of a client that offers `protocols`.
    fn requested(protocols: &str) -> Option<(u64, String, bool)> {
        let head = format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nSec-WebSocket-Protocol: {protocols}\r\n\r\n"
        );
        let request = Request::parse(head.as_bytes(), 8).unwrap();
        resume_request(&request).map(|it| (it.received, it.protocol.to_owned(), it.returning))
    }

    #[test]
    fn the_session_is_found_among_the_sub_protocols() {
        const NAME: &str = "wspipe.session.0123456789abcdef0123456789ABCDEF";
        let name = format!("{NAME}.17");
        let expected = Some((17, name.clone(), true));
        assert_eq!(requested(&name), expected);
        assert_eq!(requested(&format!("chat, {name} , x")), expected);
        for bad in [
            "chat",
            "wspipe.session.",
            NAME,
            &format!("{NAME}."),
            &format!("{NAME}.+1"),
            &format!("{NAME}.1x"),
            &format!("{NAME}0.1"),
            &format!("{NAME}.99999999999999999999"),
            "wspipe.session.+123456789abcdef0123456789ABCDEF.1",
            "wspipe.session.0123456789abcdef.1",
        ] {
            assert_eq!(requested(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_returning_client_has_received_messages_or_offers_resume() {
        let returning = |protocols: &str| requested(protocols).map(|it| it.2);
        const NAME: &str = "wspipe.session.0123456789abcdef0123456789ABCDEF";
        assert_eq!(returning(&format!("{NAME}.0")), Some(false));
        assert_eq!(returning(&format!("{NAME}.1")), Some(true));
        assert_eq!(returning(&format!("{NAME}.0, wspipe.resume")), Some(true));
        assert_eq!(returning(&format!("wspipe.resume, {NAME}.0")), Some(true));
        assert_eq!(returning(&format!("{NAME}.0, wspipe.resumed")), Some(false));
        assert_eq!(returning("wspipe.resume"), None, "without a token");
    }

    #[test]
    fn a_token_is_never_shown() {
        let token = parse(b"wspipe.session.0123456789abcdef0123456789abcdef.1")
            .unwrap()
            .token;
        assert_eq!(format!("{token:?}"), "Token");
    }

    #[test]
    fn a_sub_protocol_that_looks_like_a_session_is_a_secret() {
        assert!(is_session_protocol(b"wspipe.session.not-quite"));
        assert!(is_session_protocol(b"WSPIPE.Session.0"));
        assert!(!is_session_protocol(b"wspipe.sessio"));
        assert!(!is_session_protocol(b"chat"));
    }
}
