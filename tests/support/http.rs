//! HTTP requests whose every part can be set, and responses.

use std::net::SocketAddr;

use super::Wire;

/// A request head.
#[derive(Clone)]
pub struct Request {
    method: String,
    target: String,
    version: String,
    headers: Vec<(String, String)>,
}

impl Request {
    /// A GET with a `Host` that names `address`.
    pub fn get(address: SocketAddr, target: &str) -> Request {
        Request {
            method: "GET".into(),
            target: target.into(),
            version: "HTTP/1.1".into(),
            headers: vec![("Host".into(), address.to_string())],
        }
    }

    /// A valid opening handshake. The key is the example of RFC 6455 1.3.
    pub fn upgrade(address: SocketAddr, target: &str) -> Request {
        Request::get(address, target)
            .add("Upgrade", "websocket")
            .add("Connection", "Upgrade")
            .add("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .add("Sec-WebSocket-Version", "13")
    }

    pub fn method(mut self, method: &str) -> Request {
        self.method = method.into();
        self
    }

    pub fn version(mut self, version: &str) -> Request {
        self.version = version.into();
        self
    }

    /// Adds a header, even if one with this name exists.
    pub fn add(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Replaces every header with this name.
    pub fn set(self, name: &str, value: &str) -> Request {
        self.without(name).add(name, value)
    }

    pub fn without(mut self, name: &str) -> Request {
        self.headers
            .retain(|(it, _)| !it.eq_ignore_ascii_case(name));
        self
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} {}\r\n", self.method, self.target, self.version);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

/// A response with its whole body.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// Reads a response and its body. `to_head`: the request was a HEAD, so there is no body.
    #[track_caller]
    pub fn read(wire: &mut Wire, to_head: bool) -> Response {
        let mut response = Response::read_head(wire);
        if !matches!(response.status, 101 | 204) && !to_head {
            let len = response.header("Content-Length").expect("Content-Length");
            response.body = wire.take(len.parse().expect("a number of bytes"));
        }
        response
    }

    #[track_caller]
    fn read_head(wire: &mut Wire) -> Response {
        let head = String::from_utf8(wire.take_through(b"\r\n\r\n")).expect("a head in ASCII");
        let mut lines = head.trim_end().split("\r\n");
        let status_line = lines.next().expect("a status line");
        let mut words = status_line.splitn(3, ' ');
        assert_eq!(words.next(), Some("HTTP/1.1"), "{status_line}");
        let status = words.next().and_then(|it| it.parse().ok());
        Response {
            status: status.unwrap_or_else(|| panic!("no status in {status_line:?}")),
            headers: lines
                .map(|line| line.split_once(": ").expect("a header line"))
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            body: Vec::new(),
        }
    }

    /// The value of the header `name`. Panics if it is repeated.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self
            .headers
            .iter()
            .filter(|(it, _)| it.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str());
        let value = values.next();
        assert_eq!(values.next(), None, "{name} is repeated");
        value
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("a body in UTF-8")
    }

    /// Asserts a refusal with `status` and a body of one line. Returns the line.
    #[track_caller]
    pub fn expect_refusal(&self, case: &str, status: u16) -> String {
        let text = self.text();
        assert_eq!(self.status, status, "{case}: {text}");
        assert_eq!(text.trim_end().lines().count(), 1, "{case}: {text:?}");
        text.trim_end().to_string()
    }
}
