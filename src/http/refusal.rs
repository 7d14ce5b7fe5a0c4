//! Refusals: every error response of the server, with its text.
//!
//! A refusal is one line that names the defect or the value that was refused, and the option of the
//! server that would allow it. The line is the body of the response and goes to the log, so an
//! operator finds the remedy without reading the source.

use super::date::HttpDate;
use super::path::Path;
use super::response::{Fields, Response, Status};
use crate::limits::{HEADERS_MAX, SIZE_MAX, START_TIME_MAX};

/// An error response, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status code.
    pub(crate) status: Status,
    /// The reason, one line of printable ASCII. Text from the peer in it is escaped and cut.
    pub reason: String,
    /// Header fields that the status requires.
    pub(crate) fields: Fields,
    /// Whether the connection is closed after the response.
    pub(crate) close: bool,
    /// Whether the body is omitted: the request was a HEAD.
    pub(super) head_only: bool,
    /// Who may have to act.
    pub(crate) concerns: Concerns,
}

/// Who may have to act on a refusal, which decides how important its log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Concerns {
    /// The client.
    Client,
    /// The client or the operator: one of them has the wrong path.
    Either,
    /// The operator, for example with an option.
    Operator,
}

/// The methods that every path has.
pub(super) const ALLOW: Fields = &[("Allow", "GET, HEAD, OPTIONS")];

/// When the client may try again, in seconds.
const RETRY_AFTER: Fields = &[("Retry-After", "5")];

impl Refusal {
    #[cold]
    fn new(status: Status, reason: impl Into<String>) -> Refusal {
        Refusal {
            status,
            reason: reason.into(),
            fields: &[],
            close: false,
            head_only: false,
            concerns: Concerns::Client,
        }
    }

    fn with(self, fields: Fields) -> Refusal {
        Refusal { fields, ..self }
    }

    fn for_operator(self) -> Refusal {
        Refusal {
            concerns: Concerns::Operator,
            ..self
        }
    }

    pub(super) fn closing(self) -> Refusal {
        Refusal {
            close: true,
            ..self
        }
    }

    /// Adapts a refusal of a head that could not be parsed, or has not ended: HEAD gets no body
    /// (RFC 9110 section 9.3.2). `head` is what has arrived.
    pub(crate) fn answering(self, head: &[u8]) -> Refusal {
        let line = head.strip_prefix(b"\r\n").unwrap_or(head);
        Refusal {
            head_only: line.starts_with(b"HEAD "),
            ..self
        }
    }

    /// Appends the response to `out`. `date` is the present time.
    pub fn write(&self, out: &mut Vec<u8>, date: HttpDate) {
        let body = format!("{}\n", self.reason);
        let response = Response {
            status: self.status,
            fields: self.fields,
            content_type: "text/plain; charset=utf-8",
            body: body.as_bytes(),
        };
        response.write(out, self.head_only, !self.close, date);
    }

    // -- The request is not HTTP as the server speaks it. The next request could begin anywhere,
    //    so the connection is closed.

    /// 400: the request head breaks a rule of HTTP.
    pub(crate) fn bad_request(reason: impl Into<String>) -> Refusal {
        Refusal::new(Status::BadRequest, reason).closing()
    }

    /// 431: the head is longer than `head_len_max` bytes.
    pub(crate) fn head_too_large(head_len_max: usize) -> Refusal {
        let reason = format!(
            "the request head is longer than {head_len_max} bytes; --max-head={} would allow more",
            size(head_len_max.saturating_mul(2)),
        );
        Refusal::new(Status::HeadTooLarge, reason).closing()
    }

    /// 414: the request line is longer than half of `head_len_max` bytes (RFC 9112 section 3).
    pub(crate) fn target_too_long(head_len_max: usize) -> Refusal {
        let reason = format!(
            "the request line is longer than {} bytes, half of a head; \
             --max-head={} would allow more",
            head_len_max / 2,
            size(head_len_max.saturating_mul(2)),
        );
        Refusal::new(Status::UriTooLong, reason).closing()
    }

    /// 431: the head has more than `headers_max` header fields.
    pub(crate) fn too_many_headers(headers_max: usize) -> Refusal {
        let reason = format!(
            "the request has more than {headers_max} header fields; \
             --max-headers={} would allow more",
            (2 * headers_max).min(HEADERS_MAX),
        );
        Refusal::new(Status::HeadTooLarge, reason).closing()
    }

    /// 408: the head began but did not end in time.
    pub(crate) fn head_timeout() -> Refusal {
        let reason = "the request head did not end in time; --head-timeout sets the time";
        Refusal::new(Status::RequestTimeout, reason).closing()
    }

    /// 501: an unknown transfer coding (RFC 9112 section 6.1).
    pub(crate) fn unknown_transfer_coding() -> Refusal {
        let reason = "Transfer-Encoding: no coding but chunked is understood";
        Refusal::new(Status::NotImplemented, reason).closing()
    }

    /// 505: neither HTTP/1.1 nor HTTP/1.0.
    pub(crate) fn version_not_supported() -> Refusal {
        let reason = "only HTTP/1.1 and HTTP/1.0 are spoken here";
        Refusal::new(Status::VersionNotSupported, reason).closing()
    }

    // -- The request is valid.

    /// 403: a rule about who may connect forbids it.
    pub(crate) fn forbidden(reason: impl Into<String>) -> Refusal {
        Refusal::new(Status::Forbidden, reason).for_operator()
    }

    /// 403: another user of the machine asks for the demo's shell.
    pub(crate) fn other_user(peer_uid: Option<u32>, own_uid: u32) -> Refusal {
        let peer = match peer_uid {
            Some(uid) => format!("belongs to uid {uid}"),
            None => "belongs to no known user".to_owned(),
        };
        Refusal::forbidden(format!(
            "the peer's socket {peer}, the server runs as uid {own_uid}; \
             --same-user=no lets every user of this machine have the shell"
        ))
    }

    /// 403: the demo's shell is asked for through a proxy, which hides the user.
    pub(crate) fn user_behind_proxy() -> Refusal {
        Refusal::forbidden(
            "the peer is a proxy of --trust-proxy, which hides the client's user; \
             --same-user=no lets every client of the proxy have the shell",
        )
    }

    /// 403: a peer asked for the demo's shell and reset its connection.
    pub(crate) fn user_disconnected() -> Refusal {
        Refusal::forbidden(
            "the peer has reset the connection, so its user is not known any more: connect again",
        )
    }

    /// 403: `uid` stands for every user that the server's user namespace does not map.
    pub(crate) fn user_hidden(uid: u32) -> Refusal {
        Refusal::forbidden(format!(
            "the peer's user is not known: in the server's user namespace uid {uid} stands for \
             every user of the machine that is not mapped (/proc/self/uid_map); run both as users \
             that are mapped; --same-user=no lets every user of this machine have the shell"
        ))
    }

    /// 404: nothing is at the path.
    pub(crate) fn not_found(reason: impl Into<String>) -> Refusal {
        Refusal::new(Status::NotFound, reason)
    }

    /// 405: the method is a known one, but nothing here has it.
    pub(crate) fn method_not_allowed(method: &str) -> Refusal {
        let reason = format!("the method {method} is not GET, HEAD or OPTIONS");
        Refusal::new(Status::MethodNotAllowed, reason).with(ALLOW)
    }

    /// 501: no such method is known (RFC 9110 section 9.1).
    pub(crate) fn unknown_method(method: &[u8]) -> Refusal {
        let reason = format!(
            "{} is no known method: use GET, HEAD or OPTIONS",
            quote(method)
        );
        Refusal::new(Status::NotImplemented, reason)
    }

    /// 404: an opening handshake for a path without a service. The reason follows `at "PATH"`.
    pub(crate) fn no_service(path: &Path, reason: &str) -> Refusal {
        let path = quote(&path.to_bytes());
        Refusal {
            concerns: Concerns::Either,
            ..Refusal::not_found(format!("no WebSocket is served at {path}{reason}"))
        }
    }

    /// 426: a plain request for a path that serves WebSockets only.
    pub(crate) fn upgrade_required() -> Refusal {
        let reason = "this path speaks WebSocket: ask for it with an opening handshake (RFC 6455)";
        Refusal::new(Status::UpgradeRequired, reason).with(&[("Upgrade", "websocket")])
    }

    // -- The opening handshake.

    /// 400: the handshake breaks a rule of RFC 6455 section 4.2.1. The reason names the header.
    pub(crate) fn bad_handshake(reason: impl Into<String>) -> Refusal {
        Refusal::new(Status::BadRequest, reason)
    }

    /// 400: the handshake names no version.
    pub(crate) fn version_missing() -> Refusal {
        Refusal::bad_handshake("Sec-WebSocket-Version is missing: it must be 13")
            .with(&[("Sec-WebSocket-Version", "13")])
    }

    /// 400: what a trusted proxy says of its client is unusable.
    pub(crate) fn bad_forwarding(reason: impl Into<String>) -> Refusal {
        Refusal::bad_handshake(reason).for_operator()
    }

    /// 426: the handshake asks for a version other than 13 (RFC 6455 section 4.2.2).
    pub(crate) fn version_wrong(version: &[u8]) -> Refusal {
        let reason = format!("Sec-WebSocket-Version is {}, not 13", quote(version));
        Refusal::new(Status::UpgradeRequired, reason)
            .with(&[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")])
    }

    // -- The server cannot provide the service.

    /// 404: the command's file does not exist.
    pub(crate) fn command_not_found(command: &str) -> Refusal {
        Refusal::not_found(format!("there is no command {}", quote(command.as_bytes())))
            .for_operator()
    }

    /// 500: the command could not be started, for a lasting reason.
    pub(crate) fn command_failed(command: &str, error: &str) -> Refusal {
        let reason = format!(
            "the command {} could not be started: {}",
            quote(command.as_bytes()),
            printable(error),
        );
        Refusal::new(Status::InternalError, reason).for_operator()
    }

    /// 503: exec of the command did not return in time.
    pub(crate) fn command_stalled(command: &str) -> Refusal {
        Refusal::not_now(format!(
            "the command {} could not be started within {} s: its file system does not answer, or \
             another process has a lease on its file; started by a local shell (sh -c 'exec ...'), \
             it makes only its own client wait",
            quote(command.as_bytes()),
            START_TIME_MAX.as_secs(),
        ))
    }

    /// 503: the server or the machine is out of descriptors, processes or memory. `error` says which.
    pub(crate) fn unavailable(error: &str) -> Refusal {
        Refusal::not_now(format!("the server lacks something for now: {error}"))
    }

    /// 503: a limit or the state of a command forbids it for now.
    pub(crate) fn not_now(reason: impl Into<String>) -> Refusal {
        Refusal::new(Status::Unavailable, reason)
            .with(RETRY_AFTER)
            .closing()
            .for_operator()
    }

    /// 429: this address has reached its limit of clients.
    pub(crate) fn too_many_from_address(clients_max: usize) -> Refusal {
        let reason = format!(
            "this address, or its network, has {clients_max} clients, \
             as many as --max-clients-per-ip allows"
        );
        Refusal::new(Status::TooManyRequests, reason)
            .with(RETRY_AFTER)
            .closing()
            .for_operator()
    }
}

/// A size as an option takes it, at most the largest that any takes: `32k`.
fn size(bytes: usize) -> String {
    let bytes = bytes.min(SIZE_MAX);
    match bytes % 1024 {
        0 => format!("{}k", bytes / 1024),
        _ => bytes.to_string(),
    }
}

/// A text of ours as printable ASCII. Its quotes and backslashes stay, so that a command in it can be
/// typed.
fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            ' '..='~' => line.push(character),
            other => line.extend(other.escape_default()),
        }
    }
    line
}

/// Makes bytes from a peer safe to print: quoted, escaped, and cut after 96 bytes.
pub(super) fn quote(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 96;
    let shown = &bytes[..bytes.len().min(SHOWN_MAX)];
    let rest = if bytes.len() > SHOWN_MAX { "..." } else { "" };
    format!("\"{}{rest}\"", shown.escape_ascii())
}

/// Quotes a URL or a part of one from a peer, such as a request target or `Host`. Omits its user
/// information, query and fragment, which may hold a secret: refusals are logged.
pub(super) fn quote_url(url: &[u8]) -> String {
    let end = url.iter().position(|byte| matches!(byte, b'?' | b'#'));
    let (url, rest) = match end {
        Some(end) => (&url[..=end], &b"..."[..]),
        None => (url, &b""[..]),
    };
    // In a target that is a path, an `@` is part of the path.
    let user_end = url.iter().rposition(|&byte| byte == b'@');
    let Some(user_end) = user_end.filter(|_| !url.starts_with(b"/")) else {
        return quote(&[url, rest].concat());
    };
    let scheme_len = url[..user_end].windows(3).position(|it| it == b"://");
    let scheme = match scheme_len {
        Some(len) if !url[..len].contains(&b':') => &url[..len + 3],
        _ => b"",
    };
    quote(&[scheme, b"...", &url[user_end..], rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: HttpDate = HttpDate::since_1970(std::time::Duration::ZERO);

    #[test]
    fn a_refusal_is_one_line_of_text() {
        let mut out = Vec::new();
        Refusal::unknown_method(b"PO\r\nST\xfc").write(&mut out, DATE);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 501 Not Implemented\r\n"),
            "{text}"
        );
        let body = text.split_once("\r\n\r\n").unwrap().1;
        assert_eq!(
            body,
            "\"PO\\r\\nST\\xfc\" is no known method: use GET, HEAD or OPTIONS\n"
        );
    }

    #[test]
    fn each_refusal_has_its_status_and_names_the_remedy() {
        #[rustfmt::skip]
        let cases = [
            (Refusal::bad_request("no"), 400, "no", true),
            (Refusal::head_too_large(8192), 431, "8192 bytes; --max-head=16k", true),
            (Refusal::target_too_long(16384), 414, "8192 bytes, half of a head; --max-head=32k", true),
            (Refusal::unknown_method(b"BREW"), 501, "\"BREW\"", false),
            (Refusal::method_not_allowed("POST"), 405, "POST is not GET, HEAD", false),
            (Refusal::too_many_headers(64), 431, "64 header fields; --max-headers=128", true),
            (Refusal::head_timeout(), 408, "--head-timeout", true),
            (Refusal::unknown_transfer_coding(), 501, "Transfer-Encoding", true),
            (Refusal::version_not_supported(), 505, "HTTP/1.1", true),
            (Refusal::other_user(Some(7), 0), 403, "uid 7, the server runs as uid 0; --same-user=no", false),
            (Refusal::other_user(None, 0), 403, "no known user", false),
            (Refusal::user_behind_proxy(), 403, "--same-user=no", false),
            (Refusal::no_service(&Path::plain("/x\n"), ": none"), 404, "at \"/x\\n\": none", false),
            (Refusal::command_not_found("/no/such"), 404, "\"/no/such\"", false),
            (Refusal::command_failed("x", "bad\nformat"), 500, "\"x\" could not be started: bad\\nformat", false),
            (Refusal::command_stalled("x"), 503, "\"x\" could not be started within 2 s", true),
            (Refusal::unavailable("descriptors"), 503, "for now: descriptors", true),
            (Refusal::not_now("it is full"), 503, "it is full", true),
            (Refusal::too_many_from_address(10), 429, "10 clients, as many as --max-clients-per-ip", true),
        ];
        for (refusal, code, says, close) in cases {
            assert_eq!(refusal.status.code(), code, "{refusal:?}");
            assert!(
                refusal.reason.contains(says),
                "{refusal:?} does not say {says:?}"
            );
            assert_eq!(refusal.close, close, "{refusal:?}");
            let retry = matches!(code, 429 | 503);
            assert_eq!(refusal.fields == RETRY_AFTER, retry, "{refusal:?}");
        }
    }

    #[test]
    fn user_information_query_and_fragment_of_a_url_are_not_quoted() {
        for (url, quoted) in [
            ("/x", "/x"),
            ("/x#SECRET", "/x#..."),
            ("/x?SECRET", "/x?..."),
            ("/x#SECRET?SECRET", "/x#..."),
            ("/x@y?a@SECRET", "/x@y?..."),
            ("http://u:SECRET@host/x", "http://...@host/x"),
            ("http://u:SECRET@host?SECRET", "http://...@host?..."),
            ("http://u:SECRET@SECRET@host/", "http://...@host/"),
            ("http://u:SEC/RET@host/", "http://...@host/"),
            ("u:SECRET@host:80", "...@host:80"),
            ("u:SECRET://u@host", "...@host"),
            ("http:u:SECRET@host", "...@host"),
            ("://u:SECRET@host", "://...@host"),
            ("SECRET@x://host", "...@x://host"),
            ("@host", "...@host"),
            ("host/", "host/"),
            ("http://host", "http://host"),
            ("", ""),
        ] {
            assert_eq!(quote_url(url.as_bytes()), format!("\"{quoted}\""), "{url}");
        }
    }

    #[test]
    fn a_long_quote_is_cut() {
        assert_eq!(quote(&[b'a'; 96]), format!("\"{}\"", "a".repeat(96)));
        assert_eq!(quote(&[b'a'; 97]), format!("\"{}...\"", "a".repeat(96)));
        assert_eq!(quote(b"\"\x00"), "\"\\\"\\x00\"");
    }
}
