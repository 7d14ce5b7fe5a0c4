//! Responses: the status codes in use, and the bytes of a response.

use super::date::HttpDate;

/// A status code that the server sends (RFC 9110 section 15, RFC 6585).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Status {
    Ok = 200,
    NoContent = 204,
    BadRequest = 400,
    Forbidden = 403,
    NotFound = 404,
    MethodNotAllowed = 405,
    RequestTimeout = 408,
    UriTooLong = 414,
    UpgradeRequired = 426,
    TooManyRequests = 429,
    HeadTooLarge = 431,
    InternalError = 500,
    NotImplemented = 501,
    Unavailable = 503,
    VersionNotSupported = 505,
}

impl Status {
    /// The status code as a number.
    pub(crate) fn code(self) -> u16 {
        self as u16
    }

    /// The reason phrase of the status line.
    pub(crate) fn phrase(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::NoContent => "No Content",
            Status::BadRequest => "Bad Request",
            Status::Forbidden => "Forbidden",
            Status::NotFound => "Not Found",
            Status::MethodNotAllowed => "Method Not Allowed",
            Status::RequestTimeout => "Request Timeout",
            Status::UriTooLong => "URI Too Long",
            Status::UpgradeRequired => "Upgrade Required",
            Status::TooManyRequests => "Too Many Requests",
            Status::HeadTooLarge => "Request Header Fields Too Large",
            Status::InternalError => "Internal Server Error",
            Status::NotImplemented => "Not Implemented",
            Status::Unavailable => "Service Unavailable",
            Status::VersionNotSupported => "HTTP Version Not Supported",
        }
    }
}

/// Header fields of the server's own. They need no escaping: no part of them is from a peer.
pub(super) type Fields = &'static [(&'static str, &'static str)];

/// A response with a body, which may be empty. The 101 is written by
/// [`write_accept`](super::handshake::write_accept).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Response<'a> {
    /// The status code.
    pub(super) status: Status,
    /// Header fields in addition to those of every response.
    pub(super) fields: Fields,
    /// The media type of the body.
    pub(super) content_type: &'a str,
    /// The whole body.
    pub(super) body: &'a [u8],
}

impl Response<'_> {
    /// Appends the response to `out`, without the body if `head_only` (the request was a HEAD).
    /// `keep_alive` says whether the connection stays open. `date` is the present time, which every
    /// response names (RFC 9110 section 6.6.1).
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        head_only: bool,
        keep_alive: bool,
        date: HttpDate,
    ) {
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nServer: wspipe\r\nDate: {date}\r\nConnection: {}\r\n",
            self.status.code(),
            self.status.phrase(),
            self.connection(keep_alive),
        );
        for (name, value) in self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        // A HEAD gets the length of the body that a GET would get (RFC 9110 section 9.3.2).
        // A 204 must not name a length (section 8.6).
        if self.status != Status::NoContent {
            head.push_str(&format!(
                "X-Content-Type-Options: nosniff\r\nContent-Type: {}\r\nContent-Length: {}\r\n",
                self.content_type,
                self.body.len(),
            ));
        }
        head.push_str("\r\n");
        out.extend_from_slice(head.as_bytes());
        if !head_only {
            out.extend_from_slice(self.body);
        }
    }

    /// The value of `Connection`, which must name the field `Upgrade` (RFC 9110 section 7.8).
    fn connection(&self, keep_alive: bool) -> &'static str {
        let upgrade = self.fields.iter().any(|(name, _)| *name == "Upgrade");
        match (upgrade, keep_alive) {
            (false, true) => "keep-alive",
            (false, false) => "close",
            (true, true) => "Upgrade, keep-alive",
            (true, false) => "Upgrade, close",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(response: Response, head_only: bool, keep_alive: bool) -> String {
        let mut out = b"before".to_vec();
        let date = HttpDate::since_1970(std::time::Duration::ZERO);
        response.write(&mut out, head_only, keep_alive, date);
        String::from_utf8(out.split_off(6)).unwrap()
    }

    const HELLO: Response = Response {
        status: Status::Ok,
        fields: &[("Cache-Control", "no-cache")],
        content_type: "text/plain",
        body: b"hello\n",
    };

    #[test]
    fn a_response_has_the_fields_and_the_body() {
        assert_eq!(
            written(HELLO, false, true),
            "HTTP/1.1 200 OK\r\nServer: wspipe\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
             Connection: keep-alive\r\nCache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n\
             Content-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n"
        );
    }

    #[test]
    fn the_response_to_head_has_the_length_without_the_body() {
        let text = written(HELLO, true, false);
        assert!(text.ends_with("Content-Length: 6\r\n\r\n"), "{text}");
        assert!(text.contains("Connection: close\r\n"), "{text}");
    }

    #[test]
    fn connection_names_the_field_upgrade() {
        let response = Response {
            status: Status::UpgradeRequired,
            fields: &[("Upgrade", "websocket")],
            ..HELLO
        };
        let text = written(response, false, false);
        assert!(
            text.starts_with("HTTP/1.1 426 Upgrade Required\r\n"),
            "{text}"
        );
        assert!(text.contains("Connection: Upgrade, close\r\n"), "{text}");
        assert!(written(response, false, true).contains("Connection: Upgrade, keep-alive\r\n"));
    }
}
