//! A client that understands the output of its command.

use crate::programs::Format;
use crate::support::{CLOSE, Client, FIN, Message, Random, close_payload, masked};

/// The stream that a message was printed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// A WebSocket, and the beginnings of messages that arrive in pieces.
pub(crate) struct CommandClient {
    pub(crate) socket: Client,
    format: Format,
    beginnings: [String; 2],
}

/// The ways in which a client leaves.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    CloseAndWait,
    CloseAndGo,
    Reset,
    Vanish,
    HalfClose,
}

impl CommandClient {
    pub(crate) fn new(socket: Client, format: Format) -> CommandClient {
        CommandClient {
            socket,
            format,
            beginnings: Default::default(),
        }
    }

    /// The next whole message and its stream; a Close counts as stdout.
    #[track_caller]
    pub(crate) fn next(&mut self) -> (Stream, Message) {
        if self.format != Format::Json {
            return (Stream::Stdout, self.socket.message());
        }
        loop {
            let text = match self.socket.message() {
                Message::Text(text) => text,
                other => return (Stream::Stdout, other),
            };
            let [out, err] = ["stdout", "stderr"]
                .map(|name| text.strip_prefix(&format!("{{\"stream\":\"{name}\",\"data\":\"")));
            let (stream, rest) = match (out, err) {
                (Some(rest), _) => (Stream::Stdout, rest),
                (_, Some(rest)) => (Stream::Stderr, rest),
                _ => panic!("{text:?} names no stream"),
            };
            let beginning = &mut self.beginnings[stream as usize];
            if let Some(data) = rest.strip_suffix("\",\"more\":true}") {
                beginning.push_str(data);
                continue;
            }
            let data = rest.strip_suffix("\"}");
            beginning.push_str(data.unwrap_or_else(|| panic!("{text:?} is incomplete JSON")));
            return (stream, Message::Text(std::mem::take(beginning)));
        }
    }

    /// The next message from stdout, or the Close.
    #[track_caller]
    pub(crate) fn next_stdout(&mut self) -> Message {
        loop {
            if let (Stream::Stdout, message) = self.next() {
                return message;
            }
        }
    }

    /// Checks the next message from stdout.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: &Message) {
        let message = self.next_stdout();
        assert!(
            message == *expected,
            "expected {}, got {}",
            show(expected),
            show(&message)
        );
    }

    #[track_caller]
    pub(crate) fn expect_text(&mut self, text: &str) {
        self.expect(&Message::Text(text.into()));
    }

    /// Checks that the server closes the connection with `code`.
    #[track_caller]
    pub(crate) fn expect_close(mut self, code: u16) {
        match self.next_stdout() {
            Message::Close(Some((received, _))) if received == code => {}
            other => panic!("expected the close code {code}, got {}", show(&other)),
        }
        self.socket
            .wire
            .try_send(&masked(FIN | CLOSE, &close_payload(code, "")));
        self.socket.wire.expect_eof();
    }

    /// Leaves in a random way.
    #[track_caller]
    pub(crate) fn leave(self, random: &mut Random) {
        leave(self.socket, random);
    }
}

/// Leaves in a random way, whatever has been sent and received.
#[track_caller]
pub(crate) fn leave(mut client: Client, random: &mut Random) {
    let ways = [
        Leaving::CloseAndWait,
        Leaving::CloseAndGo,
        Leaving::Reset,
        Leaving::Vanish,
        Leaving::HalfClose,
    ];
    let close = masked(FIN | CLOSE, &close_payload(1000, ""));
    match ways[random.below(ways.len())] {
        Leaving::CloseAndWait => {
            client.wire.try_send(&close);
            client.wire.expect_gone();
        }
        Leaving::CloseAndGo => drop(client.wire.try_send(&close)),
        Leaving::Reset => client.wire.reset(),
        Leaving::Vanish => drop(client),
        Leaving::HalfClose => {
            client.wire.try_finish();
            client.wire.expect_gone();
        }
    }
}

/// The beginning of a message, in readable form.
pub(crate) fn show(message: &Message) -> String {
    let (len, text) = match message {
        Message::Text(text) => (text.len(), format!("{:?}", text.get(..60).unwrap_or(text))),
        Message::Binary(bytes) => (
            bytes.len(),
            bytes[..bytes.len().min(60)].escape_ascii().to_string(),
        ),
        Message::Close(close) => (0, format!("a Close {close:?}")),
    };
    format!("{text} ({len} bytes)")
}
