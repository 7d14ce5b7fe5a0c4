//! A command whose messages go to whoever is there: [`Channel`].
//!
//! With `--shared` one command serves all clients, and with `--linger` a command outlives the
//! client that it was started for, which may come back. In both, who is there changes while the
//! command goes on, so what it prints is framed once, sent to each member, and kept for those
//! that come later. Each member begins at a message's edge; therefore no message goes out in
//! fragments here: a line too long for one piece is several messages.

use crate::config::{Config, REPLAY_LEN_MAX};
use crate::framing::Piece;
use crate::history::{History, Lost};
use crate::http::session::Token;
use crate::instant::Instant;
use crate::source::ClientId;
use crate::ws::frame::Header;

/// The members of a command's audience and its last messages.
pub struct Channel {
    /// Who is there. Where they wait for room in the command's stdin, it is their turn in this order.
    pub members: Vec<ClientId>,
    /// The session that the command belongs to, with `--linger`; `None`: it is everybody's.
    pub session: Option<Token>,
    /// When the command is ended unless somebody comes back, with `--linger`.
    pub until: Option<Instant>,
    /// Whether a member was not read because the command's stdin was full.
    pub stdin_was_full: bool,
    history: History,
    /// The most messages that are kept.
    kept_max: usize,
}

/// Messages that go out together.
#[derive(Default)]
pub struct Batch {
    /// Their frames.
    pub frames: Vec<u8>,
    /// The bytes of their payloads.
    pub payload_len: usize,
    /// How many they are.
    pub messages: u64,
}

impl Channel {
    /// A channel without members, of a session or of everybody.
    pub fn new(session: Option<Token>, config: &Config) -> Self {
        Self {
            members: Vec::new(),
            session,
            until: None,
            stdin_was_full: false,
            history: History::new(),
            // What a lost client has received only it knows, so all is kept that there is room for.
            kept_max: session.map_or(config.replay, |_| usize::MAX),
        }
    }

    /// Frames a piece of output as a message of its own, keeps it and adds it to `batch`.
    pub fn add(&mut self, piece: Piece<'_>, batch: &mut Batch) {
        if piece.bytes.is_empty() && !piece.first {
            // The end of a message whose pieces are out, as messages of their own.
            return;
        }
        let start = batch.frames.len();
        let header = Header {
            fin: true,
            opcode: piece.kind.opcode(),
            mask: None,
            payload_len: piece.bytes.len() as u64,
        };
        header.write(&mut batch.frames);
        batch.frames.extend_from_slice(piece.bytes);
        batch.payload_len += piece.bytes.len();
        batch.messages += 1;
        self.history
            .push(&batch.frames[start..], self.kept_max, REPLAY_LEN_MAX);
    }

    /// Appends the frames of the last `count` messages that are kept, for a newcomer.
    pub fn replay_last(&self, count: usize, out: &mut Vec<u8>) {
        let kept = self.history.kept();
        let start = kept.start.max(kept.end.saturating_sub(count as u64));
        let replayed = self.history.replay(start, out);
        debug_assert_eq!(replayed, Ok(()), "what is kept can be sent again");
    }

    /// Appends the frames of all messages but the first `received`, for a client that comes back.
    ///
    /// # Errors
    /// [`Lost`] when some of them are not kept any more.
    pub fn resume(&self, received: u64, out: &mut Vec<u8>) -> Result<(), Lost> {
        self.history.replay(received, out)
    }

    /// Takes a member out; whether it was one.
    pub fn remove(&mut self, member: ClientId) -> bool {
        let before = self.members.len();
        self.members.retain(|&other| other != member);
        self.members.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::frame::Kind;

    fn piece(bytes: &[u8], first: bool, last: bool) -> Piece<'_> {
        Piece {
            kind: Kind::Text,
            bytes,
            first,
            last,
        }
    }

    #[test]
    fn each_piece_is_a_message_and_an_empty_end_is_none() {
        let config = Config {
            replay: 2,
            ..Config::default()
        };
        let mut channel = Channel::new(None, &config);
        let mut batch = Batch::default();
        channel.add(piece(b"one", true, true), &mut batch);
        channel.add(piece(b"", true, true), &mut batch);
        channel.add(piece(b"lo", true, false), &mut batch);
        channel.add(piece(b"ng", false, false), &mut batch);
        channel.add(piece(b"", false, true), &mut batch);
        assert_eq!(batch.frames, b"\x81\x03one\x81\0\x81\x02lo\x81\x02ng");
        assert_eq!((batch.messages, batch.payload_len), (4, 7));
        let mut out = Vec::new();
        channel.replay_last(1, &mut out);
        assert_eq!(out, b"\x81\x02ng");
        out.clear();
        channel.replay_last(100, &mut out);
        assert_eq!(out, b"\x81\x02lo\x81\x02ng", "two are kept");
    }
}
