//! Whether the peer is still there: [`Keepalive`] decides when to ping and when to drop it.
//!
//! ```text
//!  last byte received     ping           ping      dropped
//!  |----------------------|--------------|---------|
//!  0                      25 s           50 s      60 s
//!   \___ --ping-interval _/
//!   \__________________ --pong-timeout ___________/
//! ```
//!
//! Any byte from the peer counts as an answer. Two kinds of silence are not the peer's fault:
//!
//! - A pong cannot overtake the megabytes of output its ping waits behind. So from the first ping
//!   on, bytes the peer's TCP acknowledges count as received (except those of the pings themselves,
//!   see [`WriteProgress`](super::write_progress::WriteProgress)).
//! - While we do not read, we cannot receive. So silence does not count during a pause. Pings go on:
//!   a proxy on the way may end a connection on which nothing passes, and their bytes show the kernel
//!   that a peer is gone.
//!
//! The time is an argument of every call. Receiving only stores an instant and moves no timer; see
//! [`Keepalive::deadline`].

use std::time::Duration;

use crate::event_loop::instant::Instant;

/// How long a peer may be silent.
///
/// The pong time-out should be longer than the ping interval; otherwise a silent peer is dropped
/// before it is pinged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Intervals {
    /// From the last byte received to the first ping, and from each ping to the next.
    pub(super) ping_interval: Duration,
    /// From the last byte received until the peer is dropped.
    pub(super) pong_timeout: Duration,
}

/// What to do when the timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing yet.
    Wait,
    /// Send a ping now.
    Ping,
    /// Drop the connection: the peer was silent for the pong time-out.
    Drop,
}

/// The keep-alive clock of one peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keepalive(Clock);

#[derive(Clone, Copy, Debug)]
enum Clock {
    /// We read from the peer.
    Running {
        /// When the silence began: something was received or acknowledged, or a pause ended.
        received: Instant,
        /// When a ping was last sent, if no byte was received since then; after a pause, its
        /// `quiet_since`. One that is earlier than `received` only says when the next ping is
        /// due.
        pinged: Option<Instant>,
    },
    /// We do not read from the peer, so its silence does not count.
    Paused {
        /// When something was last received, or a ping last sent.
        quiet_since: Instant,
    },
}

/// Each client has one.
const _: () = assert!(size_of::<Keepalive>() <= 16);

impl Keepalive {
    /// Starts the clock at `now`, as if a byte had just been received.
    pub(super) const fn new(now: Instant) -> Self {
        Keepalive(Clock::Running {
            received: now,
            pinged: None,
        })
    }

    /// Bytes were read from the peer. During a pause nothing changes.
    #[inline]
    pub(super) fn received(&mut self, now: Instant) {
        if let Clock::Running { .. } = self.0 {
            *self = Keepalive::new(now);
        }
    }

    /// We stop reading from the peer. Until [`resumed`](Self::resumed) its silence does not count,
    /// because its pongs cannot be read.
    pub(super) fn paused(&mut self) {
        if let Clock::Running { received, pinged } = self.0 {
            self.0 = Clock::Paused {
                quiet_since: pinged.unwrap_or(received),
            };
        }
    }

    /// We read again: silence counts from `now`. The next ping is due when it was during the pause,
    /// so that pauses in quick succession do not postpone it. Without a pause nothing changes.
    pub(super) fn resumed(&mut self, now: Instant) {
        if let Clock::Paused { quiet_since } = self.0 {
            self.0 = Clock::Running {
                received: now,
                pinged: Some(quiet_since).filter(|at| *at < now),
            };
        }
    }

    /// The peer's TCP has acknowledged bytes of messages. After a ping that shows that the peer is
    /// there. Before the first ping no pong can be late, and the acknowledgement may be as old as
    /// the last byte received.
    pub(super) fn acknowledged(&mut self, now: Instant) {
        if let Clock::Running {
            received,
            pinged: Some(pinged),
        } = &mut self.0
            && *pinged >= *received
        {
            *received = now;
        }
    }

    /// When [`on_timer`](Self::on_timer) must be called, if nothing happens until then.
    ///
    /// Every event moves the deadline away or leaves it. So a timer armed earlier may stay: an early
    /// call changes nothing and is followed by a new deadline.
    pub(super) fn deadline(&self, intervals: &Intervals) -> Instant {
        match self.0 {
            Clock::Paused { quiet_since } => quiet_since + intervals.ping_interval,
            Clock::Running { received, pinged } => {
                let ping = pinged.unwrap_or(received) + intervals.ping_interval;
                ping.min(received + intervals.pong_timeout)
            }
        }
    }

    /// What to do `now`, when every event up to `acted_until` has been delivered. A
    /// [`Verdict::Ping`] counts as sent.
    pub(super) fn on_timer(
        &mut self,
        now: Instant,
        acted_until: Instant,
        intervals: &Intervals,
    ) -> Verdict {
        match &mut self.0 {
            Clock::Running { received, pinged } => {
                // A timer that fires late is not the peer's fault: this process was stopped, or its
                // machine was suspended. A peer that was not pinged during this silence is pinged
                // now and has the usual time to answer.
                if pinged.is_none_or(|at| at < *received) {
                    let interval_ago = now.checked_sub(intervals.ping_interval);
                    *received = interval_ago.unwrap_or(Instant::EPOCH).max(*received);
                }
                if acted_until >= *received + intervals.pong_timeout {
                    return Verdict::Drop;
                }
                if now >= pinged.unwrap_or(*received) + intervals.ping_interval {
                    *pinged = Some(now);
                    return Verdict::Ping;
                }
            }
            Clock::Paused { quiet_since } => {
                if now >= *quiet_since + intervals.ping_interval {
                    *quiet_since = now;
                    return Verdict::Ping;
                }
            }
        }
        Verdict::Wait
    }
}

#[cfg(test)]
mod tests;
