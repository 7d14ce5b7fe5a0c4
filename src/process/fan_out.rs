//! A command whose messages go to whoever is there: [`Channel`].
//!
//! With `--shared` one command serves all clients, and with `--resume` a command outlives the
//! client that it was started for, which may come back. In both, who is there changes while the
//! command goes on, so what it prints is framed once, sent to each member, and kept for those
//! that come later. Each member begins at a message's edge.

use std::ffi::OsString;
use std::net::IpAddr;
use std::rc::Rc;

use crate::config::CommandSettings;
use crate::event_loop::instant::Instant;
use crate::framing::{Framing, Piece};
use crate::http::resume::Token;
use crate::process::replay_buffer::{History, Lost};
use crate::source::ClientId;
use crate::ws::frame::{Header, Opcode};

/// The members of a command's audience and its last messages.
pub struct Channel {
    /// Who is there. Where they wait for room in the command's stdin, it is their turn in this order.
    pub members: Vec<ClientId>,
    /// Those of the members that came in the middle of a message: they get what follows it.
    late: Vec<ClientId>,
    /// The session that the command belongs to, with `--resume`; `None`: it is everybody's.
    pub session: Option<Session>,
    /// Whether a member was not read because the command's stdin was full.
    pub stdin_was_full: bool,
    history: History,
    /// The most messages that are kept, and the most bytes.
    kept_max: (usize, usize),
    /// Whether a piece of a message is a message of its own: no line that does not end keeps a
    /// newcomer waiting.
    splits: bool,
}

/// A session of one client, which may be lost and come back.
pub struct Session {
    /// Its name.
    pub token: Token,
    /// The command that it was begun with. With another it is not the same session.
    pub command: Rc<[OsString]>,
    /// When the command is ended unless the client comes back, and whose place is kept until then.
    pub awaited: Option<Awaited>,
    /// When its time is over, whether the client is there or not (`--session-timeout`).
    pub expires_at: Option<Instant>,
    /// The connection before this one, which is still being closed.
    pub replaced: Option<ClientId>,
}

impl Session {
    /// When it has to be looked after.
    pub fn deadline(&self) -> Option<Instant> {
        let until = self.awaited.map(|awaited| awaited.until);
        until.into_iter().chain(self.expires_at).min()
    }
}

/// A client that was lost and may come back.
#[derive(Clone, Copy, Debug)]
pub struct Awaited {
    /// How long it is waited for.
    pub until: Instant,
    /// Its address, which counts for the limits on clients meanwhile.
    pub address: IpAddr,
}

/// Messages that go out together.
#[derive(Default)]
pub struct Batch {
    /// Their frames.
    pub frames: Vec<u8>,
    /// The bytes of their payloads.
    pub payload_len: usize,
    /// How many of them end in it.
    pub messages: u64,
    /// How much of the frames belongs to a message that had begun before, once that has ended: those
    /// who came late get what is behind.
    late_from: Option<usize>,
}

impl Batch {
    /// A batch without messages, which uses this memory, also empty.
    pub fn new(frames: Vec<u8>) -> Self {
        Self {
            frames,
            ..Self::default()
        }
    }

    /// Forgets the messages, and keeps the memory.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.payload_len = 0;
        self.messages = 0;
        self.late_from = None;
    }
}

impl Channel {
    /// A channel without members, of a session or of everybody.
    pub fn new(session: Option<Session>, settings: &CommandSettings) -> Self {
        // What a lost client has received only it knows, so all is kept that there is room for.
        let messages_max = session.as_ref().map_or(settings.replay, |_| usize::MAX);
        Self {
            members: Vec::new(),
            late: Vec::new(),
            stdin_was_full: false,
            history: History::new(),
            kept_max: (messages_max, settings.replay_len_max),
            splits: session.is_none() && settings.framing != Framing::Length,
            session,
        }
    }

    /// Frames a piece of output, as a message or a fragment of one, keeps it and adds it to
    /// `batch`.
    pub fn add(&mut self, piece: Piece<'_>, batch: &mut Batch) {
        if self.splits && piece.bytes.is_empty() && !piece.first {
            // The end of a message whose pieces are out, as messages of their own.
            return;
        }
        let (first, last) = match self.splits {
            true => (true, true),
            false => (piece.first, piece.last),
        };
        let start = batch.frames.len();
        let header = Header {
            fin: last,
            opcode: match first {
                true => piece.kind.opcode(),
                false => Opcode::Continuation,
            },
            mask: None,
            payload_len: piece.bytes.len() as u64,
        };
        header.write(&mut batch.frames);
        batch.frames.extend_from_slice(piece.bytes);
        batch.payload_len += piece.bytes.len();
        batch.messages += u64::from(last);
        if last && !self.late.is_empty() {
            batch.late_from.get_or_insert(batch.frames.len());
        }
        let (messages_max, bytes_max) = self.kept_max;
        self.history
            .push(&batch.frames[start..], last, messages_max, bytes_max);
    }

    /// A client comes to stay. If `batch`, which it has had, does not hold the beginning of a
    /// message that is under way, it gets none of that.
    pub fn join(&mut self, member: ClientId, batch: &Batch) {
        self.members.push(member);
        if self.history.is_unfinished() && batch.frames.is_empty() {
            self.late.push(member);
        }
    }

    /// What of a batch a member gets that came late; nothing as long as the message has not ended
    /// that it did not see begin.
    pub fn for_late(&self, batch: &Batch) -> Batch {
        let from = batch.late_from.unwrap_or(batch.frames.len());
        // How much of it is payload is not known any more, and is not worth to be: the headers
        // count with it.
        let frames = batch.frames[from..].to_vec();
        Batch {
            payload_len: frames.len(),
            messages: batch.messages.saturating_sub(1),
            frames,
            late_from: None,
        }
    }

    /// Whether a member has yet to see a message begin.
    pub fn is_late(&self, member: ClientId) -> bool {
        self.late.contains(&member)
    }

    /// A batch has gone out: whoever was late is there, if the message has ended.
    pub fn sent(&mut self, batch: &Batch) {
        if batch.late_from.is_some() {
            self.late.clear();
        }
    }

    /// Appends the frames of the last `count` messages that are kept, for a newcomer.
    pub fn replay_last(&self, count: usize, out: &mut Vec<u8>) {
        let kept = self.history.kept();
        let start = kept.start.max(kept.end.saturating_sub(count as u64));
        if start < kept.end {
            let replayed = self.history.replay(start, out);
            debug_assert_eq!(replayed, Ok(()), "what is kept can be sent again");
        }
    }

    /// Appends the frames of all messages but the first `received`, for a client that comes back.
    ///
    /// # Errors
    /// [`Lost`] when some of them are not kept any more.
    pub fn resume(&self, received: u64, out: &mut Vec<u8>) -> Result<(), Lost> {
        self.history.replay(received, out)
    }

    /// How many bytes are kept.
    pub fn kept_bytes(&self) -> usize {
        self.history.kept_bytes()
    }

    /// Takes a member out; whether it was one.
    pub fn remove(&mut self, member: ClientId) -> bool {
        let before = self.members.len();
        self.members.retain(|&other| other != member);
        self.late.retain(|&other| other != member);
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

    fn session() -> Session {
        Session {
            token: Token::default(),
            command: Rc::from([]),
            awaited: None,
            expires_at: None,
            replaced: None,
        }
    }

    fn member(key: u32) -> ClientId {
        ClientId::from_parts(key, 0)
    }

    #[test]
    fn a_message_of_a_session_or_of_a_known_length_stays_one() {
        let exact = CommandSettings {
            framing: Framing::Length,
            ..CommandSettings::default()
        };
        for (session, config) in [(Some(session()), CommandSettings::default()), (None, exact)] {
            let mut channel = Channel::new(session, &config);
            let mut batch = Batch::default();
            channel.add(piece(b"lo", true, false), &mut batch);
            channel.add(piece(b"ng", false, false), &mut batch);
            channel.add(piece(b"", false, true), &mut batch);
            assert_eq!(batch.frames, b"\x01\x02lo\0\x02ng\x80\0");
            assert_eq!((batch.messages, batch.payload_len), (1, 4));
        }
    }

    #[test]
    fn who_comes_in_the_middle_of_a_message_gets_what_follows_it() {
        let config = CommandSettings {
            framing: Framing::Length,
            ..CommandSettings::default()
        };
        let mut channel = Channel::new(None, &config);
        let mut batch = Batch::default();
        channel.join(member(0), &batch);
        assert!(!channel.is_late(member(0)), "nothing was printed yet");
        channel.add(piece(b"lo", true, false), &mut batch);
        channel.join(member(1), &Batch::default());
        assert!(channel.is_late(member(1)) && !channel.is_late(member(0)));
        channel.sent(&batch);
        batch.clear();
        channel.add(piece(b"ng", false, false), &mut batch);
        assert_eq!(channel.for_late(&batch).frames, b"");
        channel.add(piece(b"er", false, true), &mut batch);
        channel.add(piece(b"next", true, true), &mut batch);
        channel.add(piece(b"la", true, false), &mut batch);
        let late = channel.for_late(&batch);
        assert_eq!(late.frames, b"\x81\x04next\x01\x02la");
        assert_eq!(late.messages, 1);
        channel.sent(&batch);
        assert!(!channel.is_late(member(1)));
    }

    #[test]
    fn each_piece_is_a_message_and_an_empty_end_is_none() {
        let config = CommandSettings {
            replay: 2,
            ..CommandSettings::default()
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
