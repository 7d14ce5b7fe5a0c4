//! How long a connection has for its end: [`Farewell`].
//!
//! What was said last, a close frame say, may have to wait behind megabytes that a slow but live
//! peer still takes in, and those are not to be lost. So there are two clocks. Until the peer's
//! TCP has acknowledged all that was said, the write time-out counts, anew from each progress.
//! From then on the peer has the close time-out, and nothing that it does prolongs it: an answer
//! to a ping behind the close frame is not waited for.
//!
//! The time is an argument of every call, and what was acknowledged is asked only at a deadline,
//! so an end in peace costs nothing.

use std::time::Duration;

use crate::event_loop::instant::Instant;

/// The time-outs that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For the peer's part of the end, once it has all that was said.
    pub close_timeout: Duration,
    /// For any progress, before that.
    pub write_timeout: Duration,
}

/// The end of one connection, as far as time is concerned.
#[derive(Clone, Copy, Debug)]
pub struct CloseTimeout {
    /// When it is looked after next.
    deadline: Instant,
    /// The number of bytes, counted from the beginning of the connection, that end what was said.
    said: u64,
    /// How many of them the peer had acknowledged when that was last asked.
    acked: u64,
    /// When that number had last grown.
    progress_at: Instant,
    /// Whether the peer did not have all of it at the last deadline.
    was_behind: bool,
}

impl CloseTimeout {
    /// The last thing has been said: with it, `said` bytes since the connection began.
    pub fn new(said: u64, now: Instant, limits: &Limits) -> Self {
        Self {
            deadline: now + limits.close_timeout,
            said,
            acked: 0,
            progress_at: now,
            was_behind: false,
        }
    }

    /// When [`on_deadline`](Self::on_deadline) must be called.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether the connection's time is over. `acked` is how many of its bytes the peer's TCP has
    /// acknowledged since it began. If not, there is a new deadline.
    pub fn on_deadline(&mut self, now: Instant, acked: u64, limits: &Limits) -> bool {
        if now < self.deadline {
            return false;
        }
        if acked >= self.said {
            // It may have come by the last of it only just now.
            let over = !self.was_behind;
            self.was_behind = false;
            self.deadline = now + limits.close_timeout;
            return over;
        }
        if acked > self.acked {
            self.acked = acked;
            self.progress_at = now;
        }
        let give_up = self.progress_at + limits.write_timeout;
        self.was_behind = true;
        self.deadline = give_up.min(now + limits.close_timeout);
        now >= give_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        close_timeout: Duration::from_secs(10),
        write_timeout: Duration::from_secs(60),
    };

    /// The second at which the time is over, for a peer that has acknowledged so much by then.
    fn over_at(said: u64, acked: impl Fn(u64) -> u64) -> u64 {
        let start = Instant::EPOCH;
        let mut close_timeout = CloseTimeout::new(said, start, &LIMITS);
        loop {
            let now = close_timeout.deadline();
            let second = (now - start).as_secs();
            assert!(second < 100_000, "it is never over");
            if close_timeout.on_deadline(now, acked(second), &LIMITS) {
                return second;
            }
        }
    }

    #[test]
    fn a_peer_that_has_everything_gets_the_close_timeout() {
        assert_eq!(over_at(100, |_| 100), 10);
        assert_eq!(
            over_at(100, |_| 5000),
            10,
            "what came behind does not count"
        );
    }

    #[test]
    fn a_slow_peer_gets_everything_and_then_the_close_timeout() {
        // A thousand bytes at ten a second.
        assert_eq!(over_at(1000, |second| second * 10), 110);
        // One that stands still for less than the write time-out at a time.
        assert_eq!(over_at(1000, |second| second / 50 * 50 * 10), 110);
    }

    #[test]
    fn a_peer_that_takes_nothing_gets_the_write_timeout() {
        assert_eq!(over_at(1000, |_| 0), 60);
        assert_eq!(over_at(1000, |second| (second * 10).min(300)), 30 + 60);
    }

    #[test]
    fn an_early_call_changes_nothing() {
        let start = Instant::EPOCH;
        let mut close_timeout = CloseTimeout::new(10, start, &LIMITS);
        let early = start + Duration::from_secs(9);
        assert!(!close_timeout.on_deadline(early, 10, &LIMITS));
        assert_eq!(close_timeout.deadline(), start + Duration::from_secs(10));
    }
}
