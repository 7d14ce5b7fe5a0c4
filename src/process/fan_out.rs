//! Several or changing clients of one command: [`FanOut`].
//!
//! A shared command (`--shared`) serves all clients, and the command of a resumable session
//! (`--resume`) outlives its connection. In both, the set of clients changes while the command
//! runs. So its output is framed once, sent to each member, and kept for members that come later.
//! A member always starts at the beginning of a message.

use std::collections::BTreeSet;

use crate::config::CommandSettings;
use crate::framing::Fragment;
use crate::process::replay_buffer::{Lost, ReplayBuffer};
use crate::source::ClientId;
use crate::ws::frame::{Header, Opcode};
use crate::ws::framed::Framed;

/// The clients of a command and its latest messages.
pub(crate) struct FanOut {
    /// The connected clients. When the command's stdin has room again, they are read in this order.
    pub(crate) members: Vec<ClientId>,
    /// Members that joined in the middle of a message: they wait for the next one. An endless message
    /// makes all of them late, and each is looked up for every fragment.
    late: BTreeSet<ClientId>,
    /// Whether a member was not read because the command's stdin was full.
    pub(crate) stdin_was_full: bool,
    replay: ReplayBuffer,
    messages_max: usize,
    bytes_max: usize,
    /// Whether each fragment of a long message goes out as a message of its own, so that a line that
    /// never ends does not keep newcomers waiting.
    splits: bool,
}

impl FanOut {
    /// The fan-out of a shared command: it keeps the last `--replay` messages.
    pub(crate) fn shared(settings: &CommandSettings) -> Self {
        Self {
            splits: !settings.framing.has_headers(),
            ..Self::new(settings, settings.replay)
        }
    }

    /// The fan-out of a resumable session: it keeps all messages there is room for, because only
    /// the client knows which it has received.
    pub(crate) fn session(settings: &CommandSettings) -> Self {
        Self::new(settings, usize::MAX)
    }

    fn new(settings: &CommandSettings, messages_max: usize) -> Self {
        Self {
            members: Vec::new(),
            late: BTreeSet::new(),
            stdin_was_full: false,
            replay: ReplayBuffer::new(),
            messages_max,
            bytes_max: settings.replay_len_max,
            splits: false,
        }
    }

    /// Frames a fragment of output as a message or a fragment of one, appends it to `framed` and keeps
    /// it for later members.
    pub(crate) fn add(&mut self, fragment: Fragment<'_>, framed: &mut Framed) {
        if self.splits && fragment.bytes.is_empty() && !fragment.first {
            // The fragments of this message were sent as messages, so its empty end adds nothing.
            return;
        }
        let (first, last) = match self.splits {
            true => (true, true),
            false => (fragment.first, fragment.last),
        };
        let start = framed.frames.len();
        let header = Header {
            fin: last,
            opcode: match first {
                true => fragment.kind.opcode(),
                false => Opcode::Continuation,
            },
            mask: None,
            payload_len: fragment.bytes.len() as u64,
        };
        header.write(&mut framed.frames);
        framed.frames.extend_from_slice(fragment.bytes);
        framed.payload_len += fragment.bytes.len();
        framed.messages += u64::from(last);
        if last && !self.late.is_empty() {
            framed.first_start.get_or_insert(framed.frames.len());
        }
        let frames = &framed.frames[start..];
        self.replay
            .push(frames, last, self.messages_max, self.bytes_max);
    }

    /// Adds a client. `replayed` was sent to the client. If a message is under way and `replayed`
    /// does not include its beginning, the client gets nothing of that message.
    pub(crate) fn join(&mut self, member: ClientId, replayed: &Framed) {
        self.members.push(member);
        if self.replay.is_unfinished() && replayed.frames.is_empty() {
            self.late.insert(member);
        }
    }

    /// The part of `framed` for a late member: nothing until the message it joined in has ended.
    pub(crate) fn for_late(&self, framed: &Framed) -> Framed {
        let start = framed.first_start.unwrap_or(framed.frames.len());
        let frames = framed.frames[start..].to_vec();
        Framed {
            // For this part the log's byte count includes the frame headers; splitting them off is
            // not worth the code.
            payload_len: frames.len(),
            messages: framed.messages.saturating_sub(1),
            frames,
            first_start: None,
        }
    }

    /// Records, when a member is settled, whether the command's stdin is `full`. Returns true if
    /// stdin was full and has room again, so that the other members can be read.
    pub(crate) fn note_stdin(&mut self, full: bool) -> bool {
        self.stdin_was_full |= full;
        self.stdin_was_full && !full
    }

    /// Whether any member still waits for a message to begin.
    pub(crate) fn has_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// Whether a member still waits for a message to begin.
    pub(crate) fn is_late(&self, member: ClientId) -> bool {
        self.late.contains(&member)
    }

    /// `framed` was sent to all members. If it ends the current message, no member is late any
    /// more.
    pub(crate) fn sent(&mut self, framed: &Framed) {
        if framed.first_start.is_some() {
            self.late.clear();
        }
    }

    /// Appends the frames of the last `count` kept messages, for a newcomer.
    pub(crate) fn replay_last(&self, count: usize, out: &mut Vec<u8>) {
        let kept = self.replay.kept();
        let start = kept.start.max(kept.end.saturating_sub(count as u64));
        if start < kept.end {
            let replayed = self.replay.replay(start, out);
            debug_assert_eq!(replayed, Ok(()), "a kept message can be sent again");
        }
    }

    /// Appends the frames of all messages except the first `received`, for a client that comes back.
    ///
    /// # Errors
    /// [`Lost`] when some of them are no longer kept.
    pub(crate) fn resume(&self, received: u64, out: &mut Vec<u8>) -> Result<(), Lost> {
        self.replay.replay(received, out)
    }

    /// The memory of the replay buffer, in bytes.
    pub(crate) fn capacity(&self) -> usize {
        self.replay.capacity()
    }

    /// Frees the replay buffer. A client that comes later gets none of these messages.
    pub(super) fn forget(&mut self) {
        self.replay.forget();
    }

    /// Bytes in the replay buffer.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.replay.kept_bytes()
    }

    /// Removes a client; returns whether it was a member.
    pub(crate) fn remove(&mut self, member: ClientId) -> bool {
        let before = self.members.len();
        self.members.retain(|&other| other != member);
        self.late.remove(&member);
        self.members.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::Framing;
    use crate::ws::frame::Kind;

    fn fragment(bytes: &[u8], first: bool, last: bool) -> Fragment<'_> {
        Fragment {
            kind: Kind::Text,
            bytes,
            first,
            last,
        }
    }

    fn member(key: u32) -> ClientId {
        ClientId::from_parts(key, 0)
    }

    #[test]
    fn a_long_message_of_a_session_or_of_known_length_stays_one_message() {
        let exact = CommandSettings {
            framing: Framing::Length,
            ..CommandSettings::default()
        };
        let session = FanOut::session(&CommandSettings::default());
        for mut fan_out in [session, FanOut::shared(&exact)] {
            let mut framed = Framed::default();
            fan_out.add(fragment(b"lo", true, false), &mut framed);
            fan_out.add(fragment(b"ng", false, false), &mut framed);
            fan_out.add(fragment(b"", false, true), &mut framed);
            assert_eq!(framed.frames, b"\x01\x02lo\0\x02ng\x80\0");
            assert_eq!((framed.messages, framed.payload_len), (1, 4));
        }
    }

    #[test]
    fn a_client_that_has_received_everything_resumes_after_messages_were_forgotten() {
        let mut fan_out = FanOut::session(&CommandSettings::default());
        let (mut framed, mut out) = (Framed::default(), Vec::new());
        fan_out.add(fragment(b"one", true, true), &mut framed);
        fan_out.add(fragment(b"two", true, true), &mut framed);
        fan_out.forget();
        assert_eq!(fan_out.capacity(), 0);
        assert_eq!(fan_out.resume(2, &mut out), Ok(()));
        assert_eq!(fan_out.resume(1, &mut out), Err(Lost));
        fan_out.add(fragment(b"three", true, true), &mut framed);
        assert_eq!(fan_out.resume(2, &mut out), Ok(()));
        assert_eq!(out, b"\x81\x05three");
        // Of a message under way, the rest alone is nothing.
        fan_out.add(fragment(b"lo", true, false), &mut framed);
        fan_out.forget();
        assert_eq!(fan_out.resume(3, &mut out), Err(Lost));
        fan_out.add(fragment(b"ng", false, true), &mut framed);
        assert_eq!(fan_out.resume(4, &mut out), Ok(()));
        assert_eq!(fan_out.resume(3, &mut out), Err(Lost));
    }

    #[test]
    fn a_client_that_joins_inside_a_message_gets_the_next_one() {
        let settings = CommandSettings {
            framing: Framing::Length,
            ..CommandSettings::default()
        };
        let mut fan_out = FanOut::shared(&settings);
        let mut framed = Framed::default();
        fan_out.join(member(0), &framed);
        assert!(!fan_out.is_late(member(0)), "nothing was printed yet");
        fan_out.add(fragment(b"lo", true, false), &mut framed);
        fan_out.join(member(1), &Framed::default());
        assert!(fan_out.is_late(member(1)) && !fan_out.is_late(member(0)));
        fan_out.sent(&framed);
        let mut framed = Framed::default();
        fan_out.add(fragment(b"ng", false, false), &mut framed);
        assert_eq!(fan_out.for_late(&framed).frames, b"");
        fan_out.add(fragment(b"er", false, true), &mut framed);
        fan_out.add(fragment(b"next", true, true), &mut framed);
        fan_out.add(fragment(b"la", true, false), &mut framed);
        let late = fan_out.for_late(&framed);
        assert_eq!(late.frames, b"\x81\x04next\x01\x02la");
        assert_eq!(late.messages, 1);
        fan_out.sent(&framed);
        assert!(!fan_out.is_late(member(1)));
    }

    /// One endless message makes every client late, and each is looked up for every fragment.
    #[test]
    fn late_members_are_found_without_a_search_through_all() {
        const MEMBERS: u32 = 20_000;
        let settings = CommandSettings {
            framing: Framing::Length,
            ..CommandSettings::default()
        };
        let mut fan_out = FanOut::shared(&settings);
        fan_out.add(fragment(b"endless", true, false), &mut Framed::default());
        for key in 0..MEMBERS {
            fan_out.join(member(key), &Framed::default());
        }
        let start = std::time::Instant::now();
        assert!((0..MEMBERS).all(|key| fan_out.is_late(member(key))));
        // A search through all took half a minute.
        let took = start.elapsed();
        assert!(took < std::time::Duration::from_secs(2), "{took:?}");
    }

    #[test]
    fn each_piece_of_a_shared_line_is_a_message_and_an_empty_end_is_none() {
        let settings = CommandSettings {
            replay: 2,
            ..CommandSettings::default()
        };
        let mut fan_out = FanOut::shared(&settings);
        let mut framed = Framed::default();
        fan_out.add(fragment(b"one", true, true), &mut framed);
        fan_out.add(fragment(b"", true, true), &mut framed);
        fan_out.add(fragment(b"lo", true, false), &mut framed);
        fan_out.add(fragment(b"ng", false, false), &mut framed);
        fan_out.add(fragment(b"", false, true), &mut framed);
        assert_eq!(framed.frames, b"\x81\x03one\x81\0\x81\x02lo\x81\x02ng");
        assert_eq!((framed.messages, framed.payload_len), (4, 7));
        let mut out = Vec::new();
        fan_out.replay_last(1, &mut out);
        assert_eq!(out, b"\x81\x02ng");
        out.clear();
        fan_out.replay_last(100, &mut out);
        assert_eq!(out, b"\x81\x02lo\x81\x02ng", "two are kept");
    }
}
