//! The time-outs of a connection, computed from its bytes alone: [`TimeoutModel`].
//!
//! It follows the server's rules independently: which time-out applies, when its clock began, and
//! what restarts it. The server polls progress only when a timer fires, so it may see it late what
//! moved since the last look. The model allows exactly that delay and no more.
//!
//! ```text
//!  Opening    waiting for a request, or for room for the response
//!     |       request time-out; write time-out while bytes are queued
//!   Open      ping interval, paused or not; pong time-out unless paused;
//!     |       write time-out while bytes are queued
//!     |
//!  Ending(n)  one side (1) or both (2) have said their last:
//!             close time-out; while the client still takes bytes, write time-out and a total
//! ```

use std::time::Duration;

use wspipe::config::Config;
use wspipe::event_loop::instant::Instant;
use wspipe::limits::LAST_BYTES_RATE_MIN;

/// The state of a connection after a turn.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot {
    pub now: Instant,
    /// Every event up to then has been delivered to the server.
    pub acted_until: Instant,
    pub stage: Stage,
    /// Bytes that the server has read, that it has written, that the client has taken of those, and
    /// that are queued in the server.
    pub read: u64,
    pub written: u64,
    pub acked: u64,
    pub queued: usize,
    /// Whether its handshake has arrived but is not answered: a turn starts only a few commands.
    pub awaits_answer: bool,
    /// Whether the server may not be reading from the client, in this turn or after it, because of
    /// back-pressure.
    pub may_pause: bool,
}

/// The phase of a connection, as its bytes show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for a request, for the rest of its head, or for room for the response.
    Opening,
    Open,
    /// The last frame or response is out: the server's, the client's (1) or both (2).
    Ending(usize),
}

/// The clocks of one connection.
#[derive(Clone, Copy, Debug)]
pub struct TimeoutModel {
    last: Snapshot,
    /// When the client last showed that it is alive, and whether it has been pinged since.
    alive_at: Instant,
    is_pinged: bool,
    /// When a byte last passed, either way.
    quiet_since: Instant,
    /// From when on bytes that it takes count as a sign of life, and when the server will notice
    /// the last such bytes.
    acks_count_from: Instant,
    ack_due: Option<Instant>,
    /// Whether it took a part of a page since the server last looked.
    takes_page: bool,
    /// When the server next polls the progress of queued bytes, and whether an earlier poll gives
    /// it a number to compare with.
    progress_due: Instant,
    has_looked: bool,
    acked_before: u64,
    /// Where in the bytes written the last frame ends, when the client has to be gone or the server
    /// looks again, and how many looks are left.
    last_end: u64,
    close_due: Instant,
    looks_left: u32,
    /// When the client must have taken all bytes up to the last frame, however slowly it takes
    /// them: known once the server has looked.
    total_due: Option<Instant>,
    /// Whether a time-out had expired after the previous turn.
    had_expired: bool,
}

impl TimeoutModel {
    /// For a connection that has just been accepted.
    pub fn new(first: Snapshot) -> Self {
        Self {
            last: first,
            alive_at: first.now,
            is_pinged: false,
            quiet_since: first.now,
            acks_count_from: first.now,
            ack_due: None,
            takes_page: false,
            progress_due: first.now,
            has_looked: false,
            acked_before: 0,
            last_end: 0,
            close_due: first.now,
            looks_left: 0,
            total_due: None,
            had_expired: false,
        }
    }

    /// Advances by one turn. Returns the name of a time-out that has expired, if one had before
    /// this turn too: a turn fires only timers that were due when it began, the rest follow in the
    /// next.
    pub fn advance(&mut self, seen: Snapshot, config: &Config) -> Option<&'static str> {
        let expired = self.expired(seen, config);
        let had_expired = std::mem::replace(&mut self.had_expired, expired.is_some());
        expired.filter(|_| had_expired)
    }

    fn expired(&mut self, seen: Snapshot, config: &Config) -> Option<&'static str> {
        let last = std::mem::replace(&mut self.last, seen);
        let produced = |at: Snapshot| at.written + at.queued as u64;
        let has_produced = seen.written > last.written || produced(seen) > produced(last);
        let has_changed = seen.stage != last.stage;
        let is_opening = seen.stage == Stage::Opening;
        if seen.read > last.read || has_produced || has_changed {
            self.quiet_since = seen.now;
        }
        if seen.read > last.read {
            // Bytes that it takes before the first ping do not answer one.
            self.note_alive(seen.now, seen.now + config.clients.ping_interval);
            self.ack_due = None;
        } else if seen.may_pause || last.may_pause || has_changed || is_opening && has_produced {
            // Or somewhat earlier, and a ping is already out.
            self.note_alive(seen.now, seen.now);
        }
        if is_opening && seen.acked > last.acked && seen.acked < produced(seen) {
            self.takes_page = true;
        }
        if seen.acked > last.acked && seen.now >= self.acks_count_from {
            self.ack_due = Some(seen.now + config.clients.ping_interval);
        }
        if has_produced || has_changed {
            (self.progress_due, self.has_looked) = (seen.now + config.clients.close_timeout, false);
        }
        // The 408 for a late head may be written one turn after the time-out, by a visit that had to
        // wait. Only then is it known where the last frame ends.
        let is_late_end =
            self.last_end == 0 && has_produced && matches!(seen.stage, Stage::Ending(_));
        if has_changed || is_late_end {
            self.last_end = produced(seen);
            self.close_due = seen.now + config.clients.close_timeout;
            self.total_due = None;
            // Bytes that are queued may have been produced long before.
            self.looks_left = if last.queued == 0 { 1 } else { 2 };
        }
        let is_silent = seen.stage == Stage::Open && self.is_silent(seen, config);
        match seen.stage {
            Stage::Ending(_) => self
                .is_close_overdue(seen, config)
                .then_some("the close time-out"),
            // The queue may contain a Close, after which only the write time-out counts, and no
            // ping follows.
            _ if seen.queued > 0 => self.is_stuck(seen, config).then_some("the write time-out"),
            Stage::Opening => {
                let is_idle = self.is_idle(seen, config);
                is_idle.then_some("the request time-out")
            }
            Stage::Open if is_silent => Some("the pong time-out"),
            Stage::Open => {
                let ping_at = self.quiet_since + config.clients.ping_interval;
                (ping_at <= seen.acted_until).then_some("the ping interval")
            }
        }
    }

    /// Whether the client takes nothing of what is queued or in flight. While closing, the server
    /// looks once per close time-out.
    fn is_stuck(&mut self, seen: Snapshot, config: &Config) -> bool {
        if self.progress_due > seen.acted_until {
            return false;
        }
        let has_taken = seen.acked > self.acked_before;
        if !self.has_looked {
            (self.progress_due, self.has_looked) = (seen.now + config.clients.write_timeout, true);
        } else if has_taken {
            (self.progress_due, self.has_looked) = (seen.now + config.clients.close_timeout, false);
            self.acked_before = seen.acked;
        } else {
            return true;
        }
        false
    }

    /// Whether no request arrives. The server notices that a page is still being taken only when
    /// the request time-out expires.
    fn is_idle(&mut self, seen: Snapshot, config: &Config) -> bool {
        if seen.awaits_answer || self.alive_at + config.clients.http_idle_timeout > seen.acted_until
        {
            return false;
        }
        let takes_page = std::mem::take(&mut self.takes_page);
        if takes_page {
            self.alive_at = seen.now;
        }
        !takes_page
    }

    fn note_alive(&mut self, now: Instant, acks_count_from: Instant) {
        (self.alive_at, self.is_pinged) = (now, false);
        self.acks_count_from = acks_count_from;
    }

    /// Whether the client is silent.
    fn is_silent(&mut self, seen: Snapshot, config: &Config) -> bool {
        match self.ack_due {
            Some(due) if due > seen.acted_until => return false,
            // A timer that fires late after that leaves it the same time as a fresh one.
            Some(_) => (self.alive_at, self.is_pinged) = (seen.now, false),
            None => {}
        }
        self.ack_due = None;
        if !self.is_pinged && self.alive_at + config.clients.ping_interval <= seen.acted_until {
            // A late ping leaves the client the same time to answer.
            let pinged_after = seen.now.checked_sub(config.clients.ping_interval);
            self.alive_at = pinged_after.map_or(self.alive_at, |at| at.max(self.alive_at));
            self.is_pinged = true;
        }
        self.alive_at + config.clients.pong_timeout <= seen.acted_until
    }

    /// Whether the closing handshake takes too long. A client that has not taken everything has the
    /// close time-out from when the server notices that it has.
    fn is_close_overdue(&mut self, seen: Snapshot, config: &Config) -> bool {
        let is_behind = seen.acked < self.last_end;
        if is_behind && self.close_due <= seen.acted_until {
            // Pongs may be queued behind the last frame.
            let missing = self.last_end - seen.acked + config.clients.high_water as u64;
            let rate = Duration::from_secs(1 + missing / LAST_BYTES_RATE_MIN);
            let total = config.clients.write_timeout + rate;
            let total_due = *self.total_due.get_or_insert(seen.now + total);
            if total_due <= seen.acted_until {
                return true;
            }
        }
        if is_behind && (self.looks_left == 2 || self.close_due <= seen.acted_until) {
            self.looks_left = 2;
            self.close_due = seen.now + config.clients.close_timeout;
            return self.is_stuck(seen, config);
        }
        if self.close_due > seen.acted_until {
            return false;
        }
        if self.looks_left > 1 {
            self.close_due = seen.now + config.clients.close_timeout;
            self.looks_left -= 1;
            return false;
        }
        true
    }
}
