//! The request head and the opening handshake, against a strict and simple reading of RFC 9112 and
//! RFC 6455 section 4.2.1. The parser must accept nothing that this reading rejects, however the
//! bytes are cut.

use std::collections::{HashSet, VecDeque};

use wspipe::http::date::HttpDate;
use wspipe::http::handshake;
use wspipe::http::head_scanner::HeadScanner;
use wspipe::http::refusal::Refusal;
use wspipe::http::request::{Request, Version};

const HEADERS_MAX: usize = 8;
/// No head that is checked here is as long.
const HEAD_LEN_MAX: usize = 1024 * 1024;
const DATE: HttpDate = HttpDate::since_1970(std::time::Duration::ZERO);

/// Knob: the pieces. Stream: a request head and the bytes after it.
pub fn check(data: &[u8]) {
    let Some((&knob, stream)) = data.split_first() else {
        return;
    };
    let found = scan(stream, knob);
    let whole = scan(stream, 1);
    assert_eq!(
        found.is_ok(),
        whole.is_ok(),
        "the result depends on the pieces"
    );
    // The parser must also survive bytes whose end was not searched for first.
    let _ = Request::parse(stream, HEADERS_MAX).map_err(|refusal| check_refusal(&refusal, stream));
    let head_len = match (found, whole) {
        (Ok(Some(len)), Ok(other)) => {
            assert_eq!(Some(len), other);
            len
        }
        (Err(refusal), _) => return check_refusal(&refusal, stream),
        _ => return,
    };
    let head = &stream[..head_len];
    check_end(head);
    match Request::parse(head, HEADERS_MAX) {
        Ok(request) => {
            check_request(head, &request);
            check_handshake(&request);
            super::request::check(head, &request);
        }
        Err(refusal) => check_refusal(&refusal, head),
    }
}

fn scan(stream: &[u8], knob: u8) -> Result<Option<usize>, Refusal> {
    let mut scan = HeadScanner::default();
    let mut seen = 0;
    for piece in super::pieces(stream, knob) {
        seen += piece.len();
        if let Some(len) = scan.find_end(&stream[..seen], HEAD_LEN_MAX)? {
            return Ok(Some(len));
        }
    }
    Ok(None)
}

/// The head ends with its first empty line, and each CR and LF in it belongs to a line end.
fn check_end(head: &[u8]) {
    let lines = head.strip_prefix(b"\r\n").unwrap_or(head);
    let first = lines.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    assert_eq!(first.map(|at| at + 4), Some(lines.len()));
    for (at, &byte) in head.iter().enumerate() {
        match byte {
            b'\r' => assert_eq!(head.get(at + 1), Some(&b'\n'), "a bare CR"),
            b'\n' => assert_eq!(head[at - 1], b'\r', "a bare LF"),
            0 => panic!("a NUL"),
            _ => {}
        }
    }
}

/// Parses an accepted request again, in a second way.
fn check_request(head: &[u8], request: &Request<'_>) {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let lines = &head[..head.len() - 4];
    let mut lines = lines.split(|&byte| byte == b'\n');
    let mut next = || Some(lines.next()?.trim_suffix_cr());
    let words: Vec<&[u8]> = next().unwrap().split(|&byte| byte == b' ').collect();
    let [method, target, version] = words[..] else {
        panic!("{} words", words.len());
    };
    assert!(is_token(method) && method == request.method.as_bytes());
    assert!(target.iter().all(|byte| matches!(byte, 0x21..=0x7E)));
    assert!(!target.contains(&b'#') && !target.is_empty());
    assert_eq!(target, request.target.as_bytes());
    let expected: &[u8] = match request.version {
        Version::Http10 => b"HTTP/1.0",
        Version::Http11 => b"HTTP/1.1",
    };
    assert_eq!(version, expected);
    let mut fields = Vec::new();
    while let Some(line) = next() {
        let colon = line.iter().position(|&byte| byte == b':').expect("a colon");
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        assert!(is_token(name), "{}", name.escape_ascii());
        assert!(
            !value
                .iter()
                .any(|&byte| byte < b' ' && byte != b'\t' || byte == 0x7F)
        );
        fields.push((name, value));
    }
    let read: Vec<(&[u8], &[u8])> = (request.headers())
        .map(|(name, value)| (name.as_bytes(), value))
        .collect();
    assert_eq!(read, fields);
    assert!(fields.len() <= HEADERS_MAX);
    check_framing(&fields, request);
    if method == b"GET" {
        let path = request.path;
        assert!(
            path.starts_with('/') && !path.contains(['?', '#']),
            "{path}"
        );
        assert!(!request.target.contains("%00"));
    }
}

/// RFC 9112 sections 3.2 and 6.3: one Host, and only one way to find the end of the body.
fn check_framing(fields: &[(&[u8], &[u8])], request: &Request<'_>) {
    let all = |name: &str| -> Vec<&[u8]> {
        let named = |field: &&(&[u8], &[u8])| field.0.eq_ignore_ascii_case(name.as_bytes());
        fields.iter().filter(named).map(|field| field.1).collect()
    };
    let hosts = all("Host").len();
    assert!(hosts == 1 || hosts == 0 && request.version == Version::Http10);
    let (lengths, codings) = (all("Content-Length"), all("Transfer-Encoding"));
    assert!(lengths.len() <= 1, "two Content-Length fields");
    assert!(
        lengths.is_empty() || codings.is_empty(),
        "Content-Length and Transfer-Encoding"
    );
    let digits = |length: &&[u8]| !length.is_empty() && length.iter().all(u8::is_ascii_digit);
    assert!(
        lengths.iter().all(digits),
        "a Content-Length that is not a number"
    );
    assert!(codings.is_empty() || request.version == Version::Http11);
    let some = lengths
        .iter()
        .any(|length| length.iter().any(|&it| it != b'0'));
    assert_eq!(request.has_body, some || !codings.is_empty());
    if request.has_body {
        assert!(!request.keep_alive(), "keep-alive after a body");
    }
}

/// A handshake is valid exactly when it has all that RFC 6455 section 4.2.1 requires.
fn check_handshake(request: &Request<'_>) {
    let all = |name: &str| -> Vec<&[u8]> {
        let named = |field: &(&str, &[u8])| field.0.eq_ignore_ascii_case(name);
        request
            .headers()
            .filter(named)
            .map(|field| field.1)
            .collect()
    };
    let lists = |name: &str, token: &[u8]| {
        let joined = all(name).join(&b","[..]);
        let mut members = joined.split(|&byte| byte == b',');
        members.any(|member| member.trim_ascii().eq_ignore_ascii_case(token))
    };
    let keys = all("Sec-WebSocket-Key");
    let good = request.method == "GET"
        && request.version == Version::Http11
        && lists("Upgrade", b"websocket")
        && lists("Connection", b"upgrade")
        && keys.len() == 1
        && is_key(keys[0])
        && all("Sec-WebSocket-Version") == [b"13"]
        && !request.has_body
        && has_good_grammar(request);
    match handshake::check(request) {
        Ok(key) => {
            assert!(good, "an invalid handshake is accepted");
            let mut out = Vec::new();
            handshake::write_accept(&mut out, &key, None, DATE);
            let response = str::from_utf8(&out).expect("ASCII");
            assert!(response.starts_with("HTTP/1.1 101 "));
            assert_eq!(response.find("\r\n\r\n"), Some(response.len() - 4));
        }
        Err(refusal) => {
            assert!(!good, "a valid handshake is refused: {}", refusal.reason);
            // Not yet adapted to the method.
            check_refusal(&refusal, b"");
        }
    }
}

/// The grammar of RFC 6455 sections 4.1 and 4.3, by recursive descent over the joined values of
/// each field.
fn has_good_grammar(request: &Request<'_>) -> bool {
    let descent = |name: &str| {
        let named = |field: &(&str, &[u8])| field.0.eq_ignore_ascii_case(name);
        let values: Vec<&[u8]> = (request.headers().filter(named).map(|field| field.1)).collect();
        (!values.is_empty()).then(|| Descent(values.join(&b","[..]).into()))
    };
    let list = |name: &str, member: fn(&mut Descent) -> bool| {
        descent(name).is_none_or(|mut descent| descent.list(member).is_some())
    };
    // A gateway may have taken out every extension.
    let no_extensions = descent("Sec-WebSocket-Extensions").is_some_and(|mut descent| {
        while descent.eat(b',') || descent.eat(b' ') || descent.eat(b'\t') {}
        descent.0.is_empty()
    });
    let unique = descent("Sec-WebSocket-Protocol").is_none_or(|mut descent| {
        let names = descent.list(Descent::token).unwrap_or_default();
        names.iter().collect::<HashSet<_>>().len() == names.len()
    });
    unique
        && list("Upgrade", Descent::protocol)
        && list("Connection", Descent::token)
        && list("Sec-WebSocket-Protocol", Descent::token)
        && (no_extensions || list("Sec-WebSocket-Extensions", Descent::extension))
}

/// The rest of a text. Each function removes one element from its front, if it is there.
struct Descent(VecDeque<u8>);

impl Descent {
    fn eat(&mut self, byte: u8) -> bool {
        let found = self.0.front() == Some(&byte);
        if found {
            self.0.pop_front();
        }
        found
    }

    fn space(&mut self) {
        while self.eat(b' ') || self.eat(b'\t') {}
    }

    /// `1#member`, as the bytes of its members.
    fn list(&mut self, member: fn(&mut Descent) -> bool) -> Option<Vec<Vec<u8>>> {
        let mut members = Vec::new();
        loop {
            self.space();
            if self.eat(b',') {
                continue;
            }
            if self.0.is_empty() {
                return (!members.is_empty()).then_some(members);
            }
            let before = self.0.clone();
            if !member(self) {
                return None;
            }
            let taken = before.len() - self.0.len();
            members.push(before.into_iter().take(taken).collect());
            self.space();
            if !self.0.is_empty() && !self.eat(b',') {
                return None;
            }
        }
    }

    fn token(&mut self) -> bool {
        let len = (self.0.iter().take_while(|byte| is_token(&[**byte]))).count();
        self.0.drain(..len);
        len > 0
    }

    fn protocol(&mut self) -> bool {
        self.token() && (!self.eat(b'/') || self.token())
    }

    fn extension(&mut self) -> bool {
        if !self.token() {
            return false;
        }
        self.space();
        while self.eat(b';') {
            self.space();
            if !self.token() {
                return false;
            }
            self.space();
            if self.eat(b'=') {
                self.space();
                if !self.token() && !self.quoted() {
                    return false;
                }
                self.space();
            }
        }
        true
    }

    fn quoted(&mut self) -> bool {
        if !self.eat(b'"') {
            return false;
        }
        let mut len = 0;
        while !self.eat(b'"') {
            self.eat(b'\\');
            if !self.0.pop_front().is_some_and(|byte| is_token(&[byte])) {
                return false;
            }
            len += 1;
        }
        len > 0
    }
}

/// Nothing that a peer sent can make a second response, a second line or a terminal escape.
/// HEAD gets no body, but its length (RFC 9110 section 9.3.2).
fn check_refusal(refusal: &Refusal, request: &[u8]) {
    let mut out = Vec::new();
    refusal.write(&mut out, DATE);
    let response = str::from_utf8(&out).expect("a refusal is UTF-8");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 ") && !head.starts_with("HTTP/1.1 101"));
    let line = request.strip_prefix(b"\r\n").unwrap_or(request);
    if line.starts_with(b"HEAD ") {
        assert!(
            body.is_empty() && head.contains("\r\nContent-Length: "),
            "{response}"
        );
        return;
    }
    let len = format!("\r\nContent-Length: {}", body.len());
    assert!(head.contains(&len), "{response}");
    let line = body.strip_suffix('\n').expect("a line");
    assert!(
        !line.contains(char::is_control) && !line.is_empty(),
        "{line:?}"
    );
}

/// 16 bytes in base64 are 22 characters and two of padding (RFC 4648).
fn is_key(key: &[u8]) -> bool {
    let in_alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(in_alphabet)
}

fn is_token(word: &[u8]) -> bool {
    let in_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !word.is_empty() && word.iter().all(in_token)
}

trait TrimCr {
    fn trim_suffix_cr(&self) -> &[u8];
}

impl TrimCr for [u8] {
    fn trim_suffix_cr(&self) -> &[u8] {
        self.strip_suffix(b"\r").unwrap_or(self)
    }
}
