//! A session that outlives its connection, named in a sub-protocol (`--resume`).
//!
//! A page can neither read nor set a header of the opening handshake, but it can offer
//! sub-protocols, of which the server names one in its answer. And only the client knows what has
//! reached it. So it offers `wspipe.session.TOKEN.RECEIVED`: 32 hexadecimal digits that it drew
//! from a CSPRNG, and how many messages of the session it has received so far. One that comes back
//! says so with a second offer, `wspipe.resume`: having received nothing yet, it looks like a newcomer.

use std::fmt;

use super::request::Request;

/// The beginning of every such sub-protocol.
const PREFIX: &str = "wspipe.session.";

/// What a client offers beside the name of a session that it comes back to, so that it is told
/// when that session is gone, and does not get a new one.
const RESUME: &str = "wspipe.resume";

/// The hexadecimal digits of a token.
const TOKEN_DIGITS: usize = 32;

/// What a client offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOffer<'a> {
    /// The session it means.
    pub token: Token,
    /// How many messages of the session it has received.
    pub received: u64,
    /// Whether the client comes back to it: a new session is not what it wants.
    pub resumes: bool,
    /// The sub-protocol as it was offered, to be named in the answer.
    pub protocol: &'a str,
}

/// Names a session. Whoever knows it is let into the session, so it is not shown.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Token(u128);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// The session that the request offers, if it offers one; of several the first.
pub fn offer<'a>(request: &Request<'a>) -> Option<SessionOffer<'a>> {
    let protocols = || request.list("Sec-WebSocket-Protocol");
    let mut offer = protocols().find_map(parse)?;
    offer.resumes |= protocols().any(|protocol| protocol == RESUME.as_bytes());
    Some(offer)
}

/// Whether a sub-protocol is the name of a session, well-formed or not. Such a name is a secret.
pub fn is_session(protocol: &[u8]) -> bool {
    let prefix = PREFIX.as_bytes();
    protocol.len() >= prefix.len() && protocol[..prefix.len()].eq_ignore_ascii_case(prefix)
}

fn parse(protocol: &[u8]) -> Option<SessionOffer<'_>> {
    let protocol = std::str::from_utf8(protocol).ok()?;
    let (token, received) = protocol.strip_prefix(PREFIX)?.split_once('.')?;
    let all_hex = token.bytes().all(|byte| byte.is_ascii_hexdigit());
    let all_digits = received.bytes().all(|byte| byte.is_ascii_digit());
    if token.len() != TOKEN_DIGITS || !all_hex || !all_digits {
        return None;
    }
    let received = received.parse().ok()?;
    Some(SessionOffer {
        token: Token(u128::from_str_radix(token, 16).ok()?),
        received,
        resumes: received > 0,
        protocol,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(protocols: &str) -> Option<(u64, String)> {
        let head = format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nSec-WebSocket-Protocol: {protocols}\r\n\r\n"
        );
        let request = Request::parse(head.as_bytes(), 8).unwrap();
        offer(&request).map(|offer| (offer.received, offer.protocol.to_owned()))
    }

    #[test]
    fn a_session_is_found_among_the_sub_protocols() {
        const NAME: &str = "wspipe.session.0123456789abcdef0123456789ABCDEF";
        let name = format!("{NAME}.17");
        assert_eq!(offered(&name), Some((17, name.clone())));
        assert_eq!(
            offered(&format!("chat, {name} , x")),
            Some((17, name.clone()))
        );
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
            assert_eq!(offered(bad), None, "{bad}");
        }
    }

    #[test]
    fn who_comes_back_says_so() {
        let resumes = |protocols: &str| {
            let head = format!(
                "GET / HTTP/1.1\r\nHost: localhost\r\nSec-WebSocket-Protocol: {protocols}\r\n\r\n"
            );
            let request = Request::parse(head.as_bytes(), 8).unwrap();
            offer(&request).map(|offer| offer.resumes)
        };
        const NAME: &str = "wspipe.session.0123456789abcdef0123456789ABCDEF";
        assert_eq!(resumes(&format!("{NAME}.0")), Some(false));
        assert_eq!(resumes(&format!("{NAME}.1")), Some(true));
        assert_eq!(resumes(&format!("{NAME}.0, wspipe.resume")), Some(true));
        assert_eq!(resumes(&format!("wspipe.resume, {NAME}.0")), Some(true));
        assert_eq!(resumes(&format!("{NAME}.0, wspipe.resumed")), Some(false));
        assert_eq!(resumes("wspipe.resume"), None, "of no session");
    }

    #[test]
    fn a_token_is_never_shown() {
        let token = parse(b"wspipe.session.0123456789abcdef0123456789abcdef.1")
            .unwrap()
            .token;
        assert_eq!(format!("{token:?}"), "Token");
    }

    #[test]
    fn what_looks_like_a_session_is_taken_for_a_secret() {
        assert!(is_session(b"wspipe.session.not-quite"));
        assert!(is_session(b"WSPIPE.Session.0"));
        assert!(!is_session(b"wspipe.sessio"));
        assert!(!is_session(b"chat"));
    }
}
