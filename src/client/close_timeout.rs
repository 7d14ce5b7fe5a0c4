//! How long a connection may take to close: [`CloseTimeout`].
//!
//! The last bytes we send, a close frame for instance, may wait behind megabytes that a slow but
//! live peer still takes, and those must not be lost. So two clocks count:
//!
//! 1. Until the peer has acknowledged all of our bytes, `--write-timeout` counts from each progress
//!    ([`WriteProgress`]), and the whole must keep a pace ([`Pace`]).
//! 2. From then on the peer has `--close-timeout` for its part of the closing, whatever it sends.
//!
//! The acknowledged bytes are polled only when the timer fires, so a connection that closes in time
//! costs nothing.
//!
//! [`WriteProgress`]: super::write_progress::WriteProgress
//! [`Pace`]: super::pace::Pace

use std::time::Duration;

use crate::event_loop::instant::Instant;

/// The close clock of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct CloseTimeout {
    /// When the timer has to fire.
    deadline: Instant,
    /// The number of our last byte, counted from the beginning of the connection.
    last_byte: u64,
    /// Whether the peer still lacked bytes when the timer last fired.
    was_behind: bool,
}

impl CloseTimeout {
    /// Everything we send is queued: `last_byte` bytes since the connection began.
    pub(super) fn new(last_byte: u64, now: Instant, close_timeout: Duration) -> Self {
        Self {
            deadline: now + close_timeout,
            last_byte,
            was_behind: false,
        }
    }

    /// When [`on_timer`](Self::on_timer) must be called.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns whether the connection has to be dropped; if not, sets a new deadline. `acked` is
    /// the number of bytes the peer has acknowledged; if they are not all, it is dropped at
    /// `stalled_at`.
    pub(super) fn on_timer(
        &mut self,
        now: Instant,
        acked: u64,
        stalled_at: Instant,
        close_timeout: Duration,
    ) -> bool {
        if now < self.deadline {
            return false;
        }
        if acked >= self.last_byte {
            // If the peer was behind the last time, it may have received the last byte just now.
            let expired = !self.was_behind;
            self.was_behind = false;
            self.deadline = now + close_timeout;
            return expired;
        }
        self.was_behind = true;
        self.deadline = stalled_at.min(now + close_timeout);
        now >= stalled_at
    }
}

#[cfg(test)]
mod tests;
