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
mod tests;
