//! One TCP connection, seen from both ends: [`Wire`].

use std::collections::VecDeque;

use wspipe::event_loop::instant::Instant;
use wspipe::event_loop::readiness::Readiness;
use wspipe::source::ClientId;

use crate::text::next_frame;
use crate::timeouts::Stage;

/// One TCP connection, seen from both ends.
#[derive(Default)]
pub struct Wire {
    pub id: Option<ClientId>,
    /// Client to server: bytes in flight, and bytes that have arrived but were not read.
    pub in_flight: VecDeque<u8>,
    pub upstream: VecDeque<u8>,
    /// Bytes arrive in pieces, and those from `stalls_at` on never arrive.
    pub dribbles: bool,
    pub stalls_at: Option<u64>,
    /// Whether the client has shut down its sending side, and whether the server has read that.
    pub upstream_end: bool,
    pub end_read: bool,
    /// Counts of bytes sent, arrived and read.
    pub sent: u64,
    delivered: u64,
    pub read: u64,
    /// The offsets at which each request head, each message, and the Close ended.
    pub head_ends: Vec<u64>,
    pub message_ends: Vec<u64>,
    pub close_end: Option<u64>,
    /// The unfinished request head that was read last: its number, and when the wait for the rest
    /// began; and whether that ever took too long.
    pub head: Option<(usize, Instant)>,
    pub head_timed_out: bool,
    pub reset: bool,
    /// The client has closed its socket: bytes sent to it cause a reset.
    pub resets_on_data: bool,
    /// Server to client: bytes that the kernel holds and the client has not read.
    pub downstream: VecDeque<u8>,
    pub downstream_end: bool,
    pub room: usize,
    pub written: u64,
    /// The unparsed end of what was written, and what the parsed bytes showed.
    unparsed: Vec<u8>,
    pub opened: bool,
    pub closed: bool,
    /// The bytes written before its request was decided.
    pub written_before: u64,
    pub write_was_blocked: bool,
    /// Whether a write ever lacked room, and whether the backlog sent on joining is out.
    pub ever_blocked: bool,
    pub caught_up: bool,
    /// When the server closed its socket, and whether nothing was in flight then, in either
    /// direction.
    pub dropped_at: Option<Instant>,
    pub dropped_idle: bool,
    /// Bytes that the server has read and written in this turn.
    pub read_in_turn: usize,
    pub written_in_turn: usize,
    /// The client it belongs to, and whether that has a resumable session.
    pub client: usize,
    pub has_session: bool,
    /// The state that its request for the command found.
    pub joined: Option<Joined>,
    /// The number of its messages that had arrived when its client reconnected.
    pub arrived: Option<u64>,
}

/// The state of the command when a request for it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Joined {
    pub at: Instant,
    /// The command that existed, as far as can be seen from outside.
    pub found: Option<usize>,
    /// The output that the server had read: messages, and bytes of payload.
    pub messages: usize,
    pub output_len: usize,
    /// The number of messages that the same client had sent it before, at most and at least.
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
        self.in_flight.extend(bytes);
        self.sent += bytes.len() as u64;
        if !self.dribbles {
            self.deliver(usize::MAX);
        }
    }

    /// Up to `len` of the bytes in flight arrive.
    pub fn deliver(&mut self, len: usize) {
        let left = self.stalls_at.map_or(u64::MAX, |at| at - self.delivered);
        let n = (len.min(self.in_flight.len()) as u64).min(left) as usize;
        self.upstream.extend(self.in_flight.drain(..n));
        self.delivered += n as u64;
    }

    /// The client shuts down its sending side, after all that it sent.
    pub fn end(&mut self) {
        self.deliver(usize::MAX);
        self.in_flight.clear();
        self.upstream_end = true;
    }

    /// The bytes sent last end a request head.
    pub fn mark_head(&mut self) {
        self.head_ends.push(self.sent);
    }

    /// The bytes sent last end a message.
    pub fn mark_message(&mut self) {
        self.message_ends.push(self.sent);
    }

    /// The client sends a Close, or bytes that count as one.
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

    /// The server has written bytes: looks for the end of the handshake and for a Close.
    pub fn note_written(&mut self, bytes: &[u8]) {
        self.written += bytes.len() as u64;
        self.written_in_turn += bytes.len();
        self.unparsed.extend_from_slice(bytes);
        let mut left = &self.unparsed[..];
        while !self.opened
            && let Some(end) = left.windows(4).position(|it| it == b"\r\n\r\n")
        {
            // The body of a page comes before the next head.
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
        let seen = self.unparsed.len() - left.len();
        self.unparsed.drain(..seen);
    }

    /// Its phase. A 408 counts as sent when the head time-out has expired.
    pub fn stage(&self) -> Stage {
        let by_server = self.closed || self.downstream_end || self.head_timed_out;
        let by_client = self.opened && self.has_read_close();
        match usize::from(by_server) + usize::from(by_client) {
            0 if self.opened => Stage::Open,
            0 => Stage::Opening,
            count => Stage::Ending(count),
        }
    }

    /// The number of complete request heads that the server has read.
    pub fn heads_read(&self) -> usize {
        self.head_ends.partition_point(|end| *end <= self.read)
    }

    /// The number of complete messages that the server has read.
    pub fn arrived(&self) -> u64 {
        self.message_ends.partition_point(|end| *end <= self.read) as u64
    }

    /// The number of bytes that the server has read after the last complete message, or after the
    /// request.
    pub fn unfinished_len(&self) -> usize {
        let last = match self.message_ends.get(..self.arrived() as usize) {
            Some([.., last]) => Some(last),
            _ => self.head_ends.last(),
        };
        last.map_or(0, |end| self.read.saturating_sub(*end)) as usize
    }

    /// Whether the server can know that the client leaves.
    pub fn client_has_left(&self) -> bool {
        self.has_read_close() || self.end_read || self.dropped_at.is_some()
    }

    /// Whether the server has read the client's Close.
    pub fn has_read_close(&self) -> bool {
        self.close_end.is_some_and(|end| end <= self.read)
    }

    /// The level that epoll reports with any edge.
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

    /// Whether a read would return bytes, or EOF for the first time.
    pub fn is_unread(&self) -> bool {
        !self.upstream.is_empty() || self.upstream_end && !self.end_read
    }
}
