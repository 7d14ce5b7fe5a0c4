//! One TCP connection, seen from both ends: [`Wire`].

use std::collections::VecDeque;

use wspipe::event_loop::instant::Instant;
use wspipe::event_loop::readiness::Readiness;
use wspipe::source::ClientId;

use crate::patience::Stage;
use crate::text::next_frame;

/// One TCP connection, seen from both ends.
#[derive(Default)]
pub struct Wire {
    pub id: Option<ClientId>,
    /// Client to server: sent and on its way, then arrived and not read.
    pub under_way: VecDeque<u8>,
    pub upstream: VecDeque<u8>,
    /// What is sent arrives in pieces, and nothing behind so many bytes ever does.
    pub dribbles: bool,
    pub stalls_at: Option<u64>,
    /// The client has closed its half, and the server has read that.
    pub upstream_end: bool,
    pub end_read: bool,
    /// How many bytes were sent, arrived, and were read.
    pub sent: u64,
    delivered: u64,
    pub read: u64,
    /// Where in them each request head ended, each message, and the Close.
    pub head_ends: Vec<u64>,
    pub message_ends: Vec<u64>,
    pub close_end: Option<u64>,
    /// The request head of which a part was read last: its number, and since when its rest has been
    /// awaited; and whether that ever took too long.
    pub head: Option<(usize, Instant)>,
    pub head_timed_out: bool,
    pub reset: bool,
    /// The client is not there any more: what it is sent brings a reset.
    pub deaf: bool,
    /// Server to client: in the kernel, then read by the client.
    pub downstream: VecDeque<u8>,
    pub downstream_end: bool,
    pub room: usize,
    pub written: u64,
    /// Of what was written, the beginning of what is not understood yet; and what that has told.
    unseen: Vec<u8>,
    pub opened: bool,
    pub closed: bool,
    /// How much of it before its request was decided.
    pub written_before: u64,
    pub write_was_blocked: bool,
    /// Whether the client ever had no room for what was sent, and whether what it was sent at once
    /// when it came has left.
    pub ever_blocked: bool,
    pub caught_up: bool,
    /// When the server dropped its end, and whether everything had arrived by then, both ways.
    pub dropped_at: Option<Instant>,
    pub dropped_idle: bool,
    /// Bytes that the server has read in this turn, and written.
    pub read_in_turn: usize,
    pub written_in_turn: usize,
    /// Whose connection it is, and whether the client has a session that outlives it.
    pub client: usize,
    pub has_session: bool,
    /// What stood behind it when its request for a command was decided.
    pub joined: Option<Joined>,
    /// How many of its messages had arrived when the same client came back on another connection.
    pub arrived: Option<u64>,
}

/// What a client met that asked for the command.
#[derive(Clone, Copy, Debug)]
pub struct Joined {
    pub at: Instant,
    /// The command that was there, as far as the outside knows.
    pub found: Option<usize>,
    /// How much of its output the server had read: messages, and bytes of payload.
    pub messages: usize,
    pub output_len: usize,
    /// How many messages had come for it from the same client before, at most and at least.
    pub arrived: u64,
    pub arrived_min: u64,
    /// The command that was started for the request.
    pub started: Option<usize>,
}

impl Joined {
    pub fn command(self) -> Option<usize> {
        self.started.or(self.found)
    }
}

impl Wire {
    /// A connection that the server has not accepted.
    pub fn new(client: usize, has_session: bool, room: usize) -> Self {
        Self {
            client,
            has_session,
            room,
            ..Self::default()
        }
    }

    /// The client sends bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.under_way.extend(bytes);
        self.sent += bytes.len() as u64;
        if !self.dribbles {
            self.deliver(usize::MAX);
        }
    }

    /// Of what is under way so many bytes arrive, if there are as many.
    pub fn deliver(&mut self, len: usize) {
        let left = self.stalls_at.map_or(u64::MAX, |at| at - self.delivered);
        let n = (len.min(self.under_way.len()) as u64).min(left) as usize;
        self.upstream.extend(self.under_way.drain(..n));
        self.delivered += n as u64;
    }

    /// The client closes its half, behind all that it sent.
    pub fn end(&mut self) {
        self.deliver(usize::MAX);
        self.under_way.clear();
        self.upstream_end = true;
    }

    /// What was sent last ends a request head.
    pub fn mark_head(&mut self) {
        self.head_ends.push(self.sent);
    }

    /// What was sent last ends a message.
    pub fn mark_message(&mut self) {
        self.message_ends.push(self.sent);
    }

    /// The client sends a Close, or what is as good as one.
    pub fn close(&mut self, frame: &[u8]) {
        self.send(frame);
        self.close_end.get_or_insert(self.sent);
    }

    /// The server has read bytes.
    pub fn note_read(&mut self, n: usize, now: Instant) {
        self.read_in_turn += n;
        self.read += n as u64;
        self.end_read |= n == 0;
        let number = self.heads_read();
        let start = number.checked_sub(1).map_or(0, |it| self.head_ends[it]);
        let is_begun = number < self.head_ends.len() && self.read > start;
        let since = match self.head {
            Some((last, since)) if last == number => since,
            _ => now,
        };
        self.head = is_begun.then_some((number, since));
    }

    /// The server has written bytes: looks whether the handshake is over, or the connection.
    pub fn note_written(&mut self, bytes: &[u8]) {
        self.written += bytes.len() as u64;
        self.written_in_turn += bytes.len();
        self.unseen.extend_from_slice(bytes);
        let mut left = &self.unseen[..];
        while !self.opened
            && let Some(end) = left.windows(4).position(|it| it == b"\r\n\r\n")
        {
            // The body of a page stands before the next head.
            let head = left.strip_prefix(b"ok\n").unwrap_or(left);
            self.opened = head.starts_with(b"HTTP/1.1 101 ");
            self.closed |= !self.opened && !head.starts_with(b"HTTP/1.1 200 ");
            left = &left[end + 4..];
        }
        while self.opened
            && let Some((_, opcode, _)) = next_frame(&mut left)
        {
            self.closed |= opcode == 8;
        }
        let seen = self.unseen.len() - left.len();
        self.unseen.drain(..seen);
    }

    /// How far it has come. To whoever was not in time with its request that was said.
    pub fn stage(&self) -> Stage {
        let by_server = self.closed || self.downstream_end || self.head_timed_out;
        let by_client = self.opened && self.has_closed();
        match usize::from(by_server) + usize::from(by_client) {
            0 if self.opened => Stage::Open,
            0 => Stage::Opening,
            count => Stage::Ending(count),
        }
    }

    /// How many whole request heads the server has read.
    pub fn heads_read(&self) -> usize {
        self.head_ends.partition_point(|end| *end <= self.read)
    }

    /// How many whole messages the server has read.
    pub fn arrived(&self) -> u64 {
        self.message_ends.partition_point(|end| *end <= self.read) as u64
    }

    /// How many bytes the server has read behind the last whole message, or behind the request.
    pub fn begun(&self) -> usize {
        let last = match self.message_ends.get(..self.arrived() as usize) {
            Some([.., last]) => Some(last),
            _ => self.head_ends.last(),
        };
        last.map_or(0, |end| self.read.saturating_sub(*end)) as usize
    }

    /// Whether the server has been told that the client leaves.
    pub fn is_left(&self) -> bool {
        self.has_closed() || self.end_read || self.dropped_at.is_some()
    }

    /// Whether the server has read the client's Close.
    pub fn has_closed(&self) -> bool {
        self.close_end.is_some_and(|end| end <= self.read)
    }

    /// What epoll says of it, whatever the occasion.
    pub fn readiness(&self) -> Readiness {
        let mut readiness = Readiness::NONE;
        if !self.upstream.is_empty() {
            readiness.merge(Readiness::READABLE);
        }
        if self.upstream_end || self.reset {
            readiness.merge(Readiness::HUNG_UP);
        }
        if !self.write_was_blocked || self.reset {
            readiness.merge(Readiness::WRITABLE);
        }
        readiness
    }

    /// Whether a server that looks has something to read, or the end.
    pub fn is_unread(&self) -> bool {
        !self.upstream.is_empty() || self.upstream_end && !self.end_read
    }
}
