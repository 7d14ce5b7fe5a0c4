//! The request head: where it ends, and what it says (RFC 9112 sections 2 to 6).

use super::host::Host;
use super::refusal::{Refusal, quote};

/// Finds the end of a request head in bytes that arrive little by little.
///
/// It remembers how far it has looked, so that a head costs one step a byte however it was cut,
/// and it refuses at the first byte that no head can contain. Make a new one for each request.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScan {
    searched: u32,
    place: Place,
}

const _: () = assert!(size_of::<HeadScan>() <= 8);

/// Where in a head a byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Nothing was seen yet.
    #[default]
    Start,
    /// Behind the CR of an empty line before the request line.
    StrayCr,
    /// Behind that empty line.
    StrayLine,
    /// In a line.
    Line,
    /// Behind the CR that ends a line.
    LineCr,
    /// Behind the line end: a header field, or the CR of the empty line.
    LineStart,
    /// Behind the CR of the empty line.
    FinalCr,
    /// The head is complete.
    End,
}

impl HeadScan {
    /// The length of the head, its empty line included, once it is complete.
    ///
    /// `bytes` is all that arrived since the request began, so each call gets what the call before
    /// got, and more. How long a head may be is the caller's to limit
    /// ([`Refusal::head_too_large`]).
    ///
    /// # Errors
    ///
    /// 400 as soon as a byte shows that this is no head: a first byte that cannot begin a method
    /// (a TLS client's, say), a LF without its CR or a CR without its LF (RFC 9112 section 2.2), a
    /// NUL, white space at the start of a line (section 5.2). One empty line before the request
    /// line is let pass (section 2.2), a second one is not.
    pub fn find_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        let mut place = self.place;
        let mut searched = self.searched as usize;
        while place != Place::End {
            let Some(&byte) = bytes.get(searched) else {
                break;
            };
            place = place.behind(byte)?;
            searched += 1;
        }
        self.place = place;
        self.searched = u32::try_from(searched).unwrap_or(u32::MAX);
        Ok((place == Place::End).then_some(searched))
    }
}

impl Place {
    /// The place behind `byte`.
    fn behind(self, byte: u8) -> Result<Place, Refusal> {
        match (self, byte) {
            (Place::Start, b'\r') => Ok(Place::StrayCr),
            (Place::StrayCr, b'\n') => Ok(Place::StrayLine),
            (Place::Line | Place::LineStart, 0) => Err(Refusal::bad_request("a NUL in the head")),
            (Place::Line, b'\r') => Ok(Place::LineCr),
            (Place::LineCr, b'\n') => Ok(Place::LineStart),
            (Place::LineStart, b'\r') => Ok(Place::FinalCr),
            (Place::FinalCr, b'\n') => Ok(Place::End),
            (Place::StrayCr | Place::LineCr | Place::FinalCr, _) => {
                Err(Refusal::bad_request("a CR without its LF in the head"))
            }
            (_, b'\n') => Err(Refusal::bad_request("a LF without its CR in the head")),
            (Place::LineStart, b' ' | b'\t') => Err(Refusal::bad_request(
                "a line of the head begins with white space: folded lines are not accepted",
            )),
            (Place::Start | Place::StrayLine, _) if !is_token_byte(byte) => Err(no_request(byte)),
            _ => Ok(Place::Line),
        }
    }
}

/// The refusal of a first byte that cannot begin a method.
fn no_request(byte: u8) -> Refusal {
    /// The content type of a TLS handshake record (RFC 8446 section 5.1).
    const TLS_HANDSHAKE: u8 = 22;
    Refusal::bad_request(match byte {
        TLS_HANDSHAKE => "this is not HTTP; wspipe speaks no TLS itself, \
                          use http:// or put a TLS proxy in front"
            .to_owned(),
        b'\r' => "more than one empty line before the request".to_owned(),
        _ => format!(
            "this is not HTTP: no request begins with {}",
            quote(&[byte])
        ),
    })
}

/// Whether it is a token (RFC 9110 section 5.6.2).
pub(super) fn is_token(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(|&byte| is_token_byte(byte))
}

/// Whether a byte may stand in a token.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A version of HTTP that is spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0: pages only, and no keep-alive unless asked for.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// What a request head says. All of it has been checked against RFC 9112.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The method, as written: methods are case-sensitive.
    pub method: &'a str,
    /// The target as it stands in the request line.
    pub target: &'a str,
    /// The target's path, percent-encoded as it came. `*` and the authority of a CONNECT have an
    /// empty one.
    pub path: &'a str,
    /// What follows the `?`, if there is one.
    pub query: Option<&'a str>,
    /// The version.
    pub version: Version,
    /// Whom the request is addressed to: the authority of an absolute target, else `Host`.
    /// [`Host::NONE`] if an HTTP/1.0 request does not say.
    pub host: Host<'a>,
    /// Whether a body follows the head.
    pub has_body: bool,
    headers: Vec<httparse::Header<'a>>,
}

impl<'a> Request<'a> {
    /// Reads a head that [`HeadScan`] has found, with at most `headers_max` header fields.
    ///
    /// # Errors
    ///
    /// 400 for whatever RFC 9112 calls invalid, 431 for too many header fields, 501 for an unknown
    /// transfer coding, 505 for another version. All of them close the connection.
    pub fn parse(head: &'a [u8], headers_max: usize) -> Result<Request<'a>, Refusal> {
        check_request_line(head)?;
        // No more than one field a line: a high limit must not cost memory on small heads.
        let lines = head.iter().filter(|&&byte| byte == b'\n').count();
        let mut headers = vec![httparse::EMPTY_HEADER; headers_max.min(lines)];
        let mut parsed = httparse::Request::new(&mut headers);
        let status = parsed
            .parse(head)
            .map_err(|error| refuse_parse_error(error, head, headers_max))?;
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

    /// The header fields in the order in which they came, values without surrounding white space.
    /// A name is a token, in the case in which it was written.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.headers.iter().map(|field| (field.name, field.value))
    }

    /// The values of the header fields called `name` (in any case), in their order.
    pub fn headers_named(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The value of the first header field called `name`.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers_named(name).next()
    }

    /// The value of the only header field called `name`.
    ///
    /// # Errors
    ///
    /// 400 if there is more than one.
    pub fn sole_header(&self, name: &str) -> Result<Option<&'a [u8]>, Refusal> {
        let mut values = self.headers_named(name);
        let value = values.next();
        match values.next() {
            None => Ok(value),
            Some(_) => Err(Refusal::bad_request(format!(
                "{name} is given more than once"
            ))),
        }
    }

    /// The members of a comma-separated list that the header fields called `name` make up
    /// together (RFC 9110 section 5.6.1). Empty members are left out.
    pub fn list(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers_named(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|member| !member.is_empty())
    }

    /// Whether such a list has `token` as a member, in any case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.list(name)
            .any(|member| member.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Whether another request may follow on this connection (RFC 9112 section 9.3). Not behind a
    /// body, which nobody here reads, nor behind a CONNECT, which tunnelled bytes may follow.
    pub fn keep_alive(&self) -> bool {
        if self.has_body || self.method == "CONNECT" || self.has_token("Connection", "close") {
            return false;
        }
        self.version == Version::Http11 || self.has_token("Connection", "keep-alive")
    }

    /// Section 3.2: HTTP/1.1 asks for exactly one `Host`, which must be valid. Section 3.2.2: the
    /// authority of an absolute target then stands in its place.
    fn read_host(&self, authority: Option<&'a str>) -> Result<Host<'a>, Refusal> {
        let field = match self.sole_header("Host")? {
            Some(value) => std::str::from_utf8(value)
                .ok()
                .and_then(Host::parse)
                .ok_or_else(|| {
                    Refusal::bad_request(format!("Host is not a host: {}", quote(value)))
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

    /// Whether a body follows (sections 6.1 to 6.3). How long it is does not matter, since none is
    /// read; what must not be is a doubt about whether there is one.
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

/// The request line is visible ASCII and spaces. `httparse` would let other bytes pass.
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

fn refuse_parse_error(error: httparse::Error, head: &[u8], headers_max: usize) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::too_many_headers(headers_max),
        httparse::Error::Version if names_other_version(head) => Refusal::version_not_supported(),
        httparse::Error::HeaderName => Refusal::bad_request(
            "a line of the head does not begin with a header name and a colon right behind it",
        ),
        httparse::Error::HeaderValue => {
            Refusal::bad_request("a header field has a control character in its value")
        }
        _ => Refusal::bad_request("the request line is not a method, a target and a version"),
    }
}

/// Whether the request line ends with a version, so that it is the version that is refused and not
/// the line (`HTTP/2.0`, with which the preface of HTTP/2 begins too).
fn names_other_version(head: &[u8]) -> bool {
    // A space in the target makes a fourth word, which is no matter of the version.
    let mut words = request_line(head).splitn(3, |&byte| byte == b' ');
    matches!(words.nth(2), Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// A request target taken apart (RFC 9112 section 3.2).
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
        // No file, no program and no variable can hold one, and C would cut the path there.
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

/// What follows the `scheme://` of an absolute target, if the scheme is one of ours.
fn strip_http_scheme(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    ["http", "https", "ws", "wss"]
        .iter()
        .any(|ours| scheme.eq_ignore_ascii_case(ours))
        .then_some(rest)
}

/// The target is not accepted. Its query is left out: it may hold a secret, and this may be logged.
fn bad_target(target: &str, why: &str) -> Refusal {
    let path = target.split('?').next().unwrap_or(target);
    Refusal::bad_request(format!(
        "the request target {} is not accepted: {why}",
        quote(path.as_bytes())
    ))
}

#[cfg(test)]
mod tests {
    use super::super::host::Name;
    use super::super::response::Status;
    use super::*;

    const HEADERS_MAX: usize = 8;

    /// What becomes of bytes that arrive in `pieces`: a head is searched for after each.
    fn read<'a>(
        bytes: &'a [u8],
        pieces: impl Iterator<Item = usize>,
    ) -> Result<Option<Request<'a>>, Refusal> {
        let mut scan = HeadScan::default();
        for arrived in pieces {
            if let Some(head_len) = scan.find_end(&bytes[..arrived])? {
                assert_eq!(scan.find_end(&bytes[..arrived]), Ok(Some(head_len)));
                return Request::parse(&bytes[..head_len], HEADERS_MAX).map(Some);
            }
        }
        Ok(None)
    }

    /// Calls `check` with what becomes of `bytes` read whole, cut at every byte, and one by one.
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
    fn invalid_heads_are_refused() {
        use Status::*;
        let get = |rest: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{rest}\r\n").into_bytes();
        let line = |line: &str| format!("{line}\r\nHost: a\r\n\r\n").into_bytes();
        #[rustfmt::skip]
        let cases: &[(&str, Vec<u8>, Status, &str)] = &[
            // What is no HTTP at all.
            ("a TLS ClientHello", b"\x16\x03\x01\x02\x00".to_vec(), BadRequest, "speaks no TLS"),
            ("an SSL 2 ClientHello", b"\x80\x2e\x01".to_vec(), BadRequest, "not HTTP"),
            ("a space first", line(" GET / HTTP/1.1"), BadRequest, "not HTTP"),
            ("two empty lines first", line("\r\n\r\nGET / HTTP/1.1"), BadRequest, "more than one empty"),
            ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), VersionNotSupported, "HTTP/1.1"),
            // RFC 9112 2.2: line ends.
            ("bare LF behind the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n".to_vec(), BadRequest, "LF"),
            ("bare LF behind a field", b"GET / HTTP/1.1\r\nHost: a\n\r\n".to_vec(), BadRequest, "LF"),
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
                let mut scan = HeadScan::default();
                let early = scan.find_end(&bytes.as_bytes()[..cut]);
                assert_eq!(
                    early,
                    Ok((cut >= head_len).then_some(head_len)),
                    "cut at {cut}"
                );
                assert_eq!(
                    scan.find_end(bytes.as_bytes()),
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
    fn the_end_of_a_head_is_not_found_before_it_is_there() {
        for part in ["", "\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r"] {
            however_cut(part.as_bytes(), |outcome, how| {
                assert!(matches!(outcome, Ok(None)), "{part:?}, {how}: {outcome:?}");
            });
        }
    }

    #[test]
    fn no_byte_is_looked_at_twice() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for cut in 0..head.len() {
            let mut scan = HeadScan::default();
            assert_eq!(scan.find_end(&head[..cut]), Ok(None));
            // These would be refused if they were seen.
            let mut bytes = vec![0; cut];
            bytes.extend_from_slice(&head[cut..]);
            assert_eq!(scan.find_end(&bytes), Ok(Some(head.len())), "cut at {cut}");
        }
    }

    #[test]
    fn as_many_header_fields_as_allowed_are_read() {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(7));
        assert_eq!(request(&head).headers().count(), HEADERS_MAX);
    }

    #[test]
    fn targets_are_taken_apart() {
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
    fn http_1_0_may_be_without_host() {
        let request = request("GET / HTTP/1.0\r\n\r\n");
        assert_eq!(request.version, Version::Http10);
        assert_eq!(request.host.text, "");
    }

    #[test]
    fn it_is_known_whether_a_body_follows() {
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
    fn it_is_known_whether_the_connection_persists() {
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
    fn lists_span_fields_and_skip_empty_members() {
        let request = request("GET / HTTP/1.1\r\nHost: a\r\nL: a ,, B\r\nl:\tc\r\nL:\r\n\r\n");
        let members: Vec<_> = request.list("l").collect();
        assert_eq!(members, [b"a", b"B", b"c"]);
        assert!(request.has_token("L", "b") && request.has_token("L", "C"));
        assert!(!request.has_token("L", "") && !request.has_token("M", "a"));
    }

    #[test]
    fn the_query_is_kept_out_of_reasons() {
        for target in [
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

    /// Random damage to a valid head: no panic, and the outcome does not depend on the cuts.
    #[test]
    fn damaged_heads_do_no_harm() {
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
            // Also what was not searched for its end first must do no harm.
            let _ = Request::parse(&bytes, HEADERS_MAX);
        }
    }
}
