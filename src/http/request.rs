//! The request: what a complete head says, checked against RFC 9112 sections 3 to 6.
//!
//! `httparse` splits the head into its words. This module adds what `httparse` does not check: the
//! request target, exactly one `Host`, and no doubt about whether a body follows.

use super::host::Host;
use super::refusal::{Refusal, quote, quote_url};

/// A version of HTTP that the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0: pages only; closes the connection unless asked to keep it.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// A request head that obeys RFC 9112.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The method. It is case-sensitive.
    pub method: &'a str,
    /// The target, as in the request line.
    pub target: &'a str,
    /// The path of the target, still percent-encoded. Empty for `*` and for CONNECT.
    pub path: &'a str,
    /// The query: what follows the first `?`.
    pub(crate) query: Option<&'a str>,
    /// The version of HTTP.
    pub version: Version,
    /// The host that the client asked for: the authority of an absolute target, otherwise `Host`.
    /// [`Host::NONE`] for an HTTP/1.0 request without either.
    pub host: Host<'a>,
    /// Whether a body follows the head.
    pub has_body: bool,
    headers: Vec<httparse::Header<'a>>,
}

impl<'a> Request<'a> {
    /// Parses a complete head, up to and including its empty line.
    ///
    /// # Errors
    ///
    /// 400 for what RFC 9112 calls invalid, 431 for more than `headers_max` header fields, 501 for
    /// an unknown transfer coding, 505 for another version. Each of them closes the connection.
    pub fn parse(head: &'a [u8], headers_max: usize) -> Result<Request<'a>, Refusal> {
        Request::try_parse(head, headers_max).map_err(|refusal| refusal.answering(head))
    }

    fn try_parse(head: &'a [u8], headers_max: usize) -> Result<Request<'a>, Refusal> {
        check_request_line(head)?;
        // At most one slot per line, so that a high limit costs no memory for a small head.
        let lines = head.iter().filter(|&&byte| byte == b'\n').count();
        let mut headers = vec![httparse::EMPTY_HEADER; headers_max.min(lines)];
        let mut parsed = httparse::Request::new(&mut headers);
        let status = parsed
            .parse(head)
            .map_err(|error| parse_refusal(error, head, headers_max))?;
        let (Some(method), Some(target), Some(version)) =
            (parsed.method, parsed.path, parsed.version)
        else {
            return Err(incomplete());
        };
        if status.is_partial() {
            return Err(incomplete());
        }
        let headers_len = parsed.headers.len();
        headers.truncate(headers_len);

        let version = if version == 0 {
            Version::Http10
        } else {
            Version::Http11
        };
        let target_parts = Target::parse(method, target)?;
        let mut request = Request {
            method,
            target,
            path: target_parts.path,
            query: target_parts.query,
            version,
            host: Host::NONE,
            has_body: false,
            headers,
        };
        request.host = request.read_host(target_parts.authority)?;
        request.has_body = request.read_body_framing()?;
        Ok(request)
    }

    /// The header fields as (name, value), in order. A name is a token in its original case; a
    /// value has no surrounding white space.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.headers.iter().map(|field| (field.name, field.value))
    }

    /// The values of all header fields called `name` (case-insensitive), in order.
    pub(crate) fn headers_named(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The value of the first header field called `name`.
    pub(crate) fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers_named(name).next()
    }

    /// The value of the only header field called `name`.
    ///
    /// # Errors
    ///
    /// 400 if there is more than one.
    pub(crate) fn sole_header(&self, name: &str) -> Result<Option<&'a [u8]>, Refusal> {
        let mut values = self.headers_named(name);
        let value = values.next();
        match values.next() {
            None => Ok(value),
            Some(_) => Err(Refusal::bad_request(format!(
                "{name} is given more than once"
            ))),
        }
    }

    /// The members of the comma-separated list that all header fields called `name` form together
    /// (RFC 9110 section 5.6.1), without empty members.
    pub(crate) fn list(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers_named(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|member| !member.is_empty())
    }

    /// Whether [`list`](Self::list) has the member `token` (case-insensitive).
    pub(crate) fn has_token(&self, name: &str, token: &str) -> bool {
        self.list(name)
            .any(|member| member.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Whether another request may follow on this connection (RFC 9112 section 9.3). Not after a
    /// body, which the server does not read, nor after CONNECT, which tunnelled bytes may follow.
    pub fn keep_alive(&self) -> bool {
        if self.has_body || self.method == "CONNECT" || self.has_token("Connection", "close") {
            return false;
        }
        self.version == Version::Http11 || self.has_token("Connection", "keep-alive")
    }

    /// HTTP/1.1 requires exactly one valid `Host` (section 3.2). The authority of an absolute target
    /// takes precedence over it (section 3.2.2).
    fn read_host(&self, authority: Option<&'a str>) -> Result<Host<'a>, Refusal> {
        let field = match self.sole_header("Host")? {
            Some(value) => std::str::from_utf8(value)
                .ok()
                .and_then(Host::parse)
                .ok_or_else(|| {
                    Refusal::bad_request(format!("Host is not a host: {}", quote_url(value)))
                })?,
            None if self.version == Version::Http10 => Host::NONE,
            None => return Err(Refusal::bad_request("Host is missing")),
        };
        let Some(authority) = authority else {
            return Ok(field);
        };
        Host::parse(authority)
            .filter(|host| !host.text.is_empty())
            .ok_or_else(|| bad_target(self.target, "its authority is not a host"))
    }

    /// Whether a body follows (sections 6.1 to 6.3). Its length does not matter, since the server
    /// reads no body, but a head that leaves any doubt is refused.
    fn read_body_framing(&self) -> Result<bool, Refusal> {
        let length = self.sole_header("Content-Length")?;
        if self.header("Transfer-Encoding").is_some() {
            if length.is_some() {
                return Err(Refusal::bad_request(
                    "Content-Length and Transfer-Encoding together",
                ));
            }
            self.check_transfer_coding()?;
            return Ok(true);
        }
        match length {
            None => Ok(false),
            Some(digits) if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
                Ok(digits.iter().any(|&digit| digit != b'0'))
            }
            Some(other) => Err(Refusal::bad_request(format!(
                "Content-Length is not a number: {}",
                quote(other)
            ))),
        }
    }

    fn check_transfer_coding(&self) -> Result<(), Refusal> {
        if self.version == Version::Http10 {
            return Err(Refusal::bad_request(
                "Transfer-Encoding in an HTTP/1.0 request",
            ));
        }
        let chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
        let codings = || self.list("Transfer-Encoding");
        if !codings().last().is_some_and(chunked) || codings().filter(|it| chunked(it)).count() > 1
        {
            return Err(Refusal::bad_request(
                "Transfer-Encoding must end with chunked, and name it once",
            ));
        }
        if codings().count() > 1 {
            return Err(Refusal::unknown_transfer_coding());
        }
        Ok(())
    }
}

/// Refuses a request line with anything but visible ASCII and spaces. `httparse` accepts more.
fn check_request_line(head: &[u8]) -> Result<(), Refusal> {
    if request_line(head)
        .iter()
        .all(|byte| matches!(byte, b' '..=b'~'))
    {
        return Ok(());
    }
    Err(Refusal::bad_request(
        "the request line has bytes other than visible ASCII and spaces",
    ))
}

fn request_line(head: &[u8]) -> &[u8] {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    head.split(|&byte| byte == b'\r').next().unwrap_or(head)
}

fn incomplete() -> Refusal {
    Refusal::bad_request("the request head is not complete")
}

fn parse_refusal(error: httparse::Error, head: &[u8], headers_max: usize) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::too_many_headers(headers_max),
        httparse::Error::Version if names_other_version(head) => Refusal::version_not_supported(),
        httparse::Error::HeaderName => Refusal::bad_request(
            "a line of the head does not begin with a header name and a colon right after it",
        ),
        httparse::Error::HeaderValue => {
            Refusal::bad_request("a header field has a control character in its value")
        }
        _ => Refusal::bad_request("the request line is not a method, a target and a version"),
    }
}

/// Whether the request line is right except for its version, such as `HTTP/2.0` in the preface of
/// an HTTP/2 connection.
fn names_other_version(head: &[u8]) -> bool {
    // With a space in the target there are four words, and the version is not what is wrong.
    let mut words = request_line(head).splitn(3, |&byte| byte == b' ');
    matches!(words.nth(2), Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// The parts of a request target (RFC 9112 section 3.2).
struct Target<'a> {
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn parse(method: &str, target: &'a str) -> Result<Target<'a>, Refusal> {
        if target.contains('#') {
            return Err(bad_target(target, "it has a fragment"));
        }
        // No file name and no environment variable can contain a NUL; C would cut the path there.
        if target.contains("%00") {
            return Err(bad_target(target, "it has a NUL"));
        }
        if target.starts_with('/') {
            return Ok(Target::split(None, target));
        }
        if method == "CONNECT" || (method == "OPTIONS" && target == "*") {
            return Ok(Target::split(None, ""));
        }
        let Some(rest) = strip_http_scheme(target) else {
            return Err(bad_target(target, "it is neither a path nor an http URL"));
        };
        let authority_len = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority_len);
        let mut target = Target::split(Some(authority), path);
        if target.path.is_empty() {
            target.path = "/";
        }
        Ok(target)
    }

    fn split(authority: Option<&'a str>, path_and_query: &'a str) -> Target<'a> {
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        Target {
            authority,
            path,
            query,
        }
    }
}

/// The text after `scheme://` in an absolute target, if the scheme is HTTP's or WebSocket's.
fn strip_http_scheme(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    ["http", "https", "ws", "wss"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
        .then_some(rest)
}

fn bad_target(target: &str, why: &str) -> Refusal {
    Refusal::bad_request(format!(
        "the request target {} is not accepted: {why}",
        quote_url(target.as_bytes())
    ))
}

#[cfg(test)]
mod tests;
