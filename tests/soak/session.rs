//! A client of a command, which knows how the command speaks.

use crate::programs::Speech;
use crate::support::{CLOSE, Client, FIN, Message, Random, close_payload, masked};

/// Where something was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// A WebSocket, and what has come over it of messages that come in several.
pub(crate) struct Session {
    pub(crate) client: Client,
    speech: Speech,
    beginnings: [String; 2],
}

/// The ways in which a client leaves.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    InOrder,
    CloseAndGo,
    Reset,
    Vanish,
    HalfAConnection,
}

impl Session {
    pub(crate) fn new(client: Client, speech: Speech) -> Session {
        Session {
            client,
            speech,
            beginnings: Default::default(),
        }
    }

    /// The next whole message, and what it was printed on; a close counts as stdout's.
    #[track_caller]
    pub(crate) fn next(&mut self) -> (Stream, Message) {
        if self.speech != Speech::Json {
            return (Stream::Stdout, self.client.message());
        }
        loop {
            let text = match self.client.message() {
                Message::Text(text) => text,
                other => return (Stream::Stdout, other),
            };
            let [out, err] = ["stdout", "stderr"]
                .map(|name| text.strip_prefix(&format!("{{\"stream\":\"{name}\",\"data\":\"")));
            let (stream, rest) = match (out, err) {
                (Some(rest), _) => (Stream::Stdout, rest),
                (_, Some(rest)) => (Stream::Stderr, rest),
                _ => panic!("{text:?} is not tagged"),
            };
            let beginning = &mut self.beginnings[stream as usize];
            if let Some(data) = rest.strip_suffix("\",\"more\":true}") {
                beginning.push_str(data);
                continue;
            }
            let data = rest.strip_suffix("\"}");
            beginning.push_str(data.unwrap_or_else(|| panic!("{text:?} is not closed")));
            return (stream, Message::Text(std::mem::take(beginning)));
        }
    }

    /// The next that stdout says.
    #[track_caller]
    pub(crate) fn heard(&mut self) -> Message {
        loop {
            if let (Stream::Stdout, message) = self.next() {
                return message;
            }
        }
    }

    /// Stdout says this next, and nothing else.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: &Message) {
        let heard = self.heard();
        assert!(
            heard == *expected,
            "{} in place of {}",
            show(&heard),
            show(expected)
        );
    }

    #[track_caller]
    pub(crate) fn expect_text(&mut self, text: &str) {
        self.expect(&Message::Text(text.into()));
    }

    /// The command has ended, and the connection ends with `code`.
    #[track_caller]
    pub(crate) fn expect_end(mut self, code: u16) {
        match self.heard() {
            Message::Close(Some((heard, _))) if heard == code => {}
            other => panic!("{} in place of the close {code}", show(&other)),
        }
        self.client
            .wire
            .try_send(&masked(FIN | CLOSE, &close_payload(code, "")));
        self.client.wire.expect_eof();
    }

    /// Leaves in one way or another.
    #[track_caller]
    pub(crate) fn leave(self, random: &mut Random) {
        leave(self.client, random);
    }
}

/// Leaves in one way or another, whatever has been sent and received.
#[track_caller]
pub(crate) fn leave(mut client: Client, random: &mut Random) {
    let ways = [
        Leaving::InOrder,
        Leaving::CloseAndGo,
        Leaving::Reset,
        Leaving::Vanish,
        Leaving::HalfAConnection,
    ];
    let close = masked(FIN | CLOSE, &close_payload(1000, ""));
    match ways[random.below(ways.len())] {
        Leaving::InOrder => {
            client.wire.try_send(&close);
            client.wire.expect_gone();
        }
        Leaving::CloseAndGo => drop(client.wire.try_send(&close)),
        Leaving::Reset => client.wire.reset(),
        Leaving::Vanish => drop(client),
        Leaving::HalfAConnection => {
            client.wire.try_finish();
            client.wire.expect_gone();
        }
    }
}

/// The beginning of a message, fit to be read by a person.
pub(crate) fn show(message: &Message) -> String {
    let (len, text) = match message {
        Message::Text(text) => (text.len(), format!("{:?}", text.get(..60).unwrap_or(text))),
        Message::Binary(bytes) => (
            bytes.len(),
            bytes[..bytes.len().min(60)].escape_ascii().to_string(),
        ),
        Message::Close(close) => (0, format!("the close {close:?}")),
    };
    format!("{text} ({len} bytes)")
}
