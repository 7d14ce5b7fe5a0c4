//! Whether the peer takes what is queued for it: [`WriteProgress`], the one write clock.
//!
//! `--write-timeout` counts from the latest of three events: bytes began to wait in an empty
//! outbox, the kernel accepted some, or the peer's TCP acknowledged some. The third matters because
//! a socket buffer of megabytes may accept nothing for minutes while a slow peer drains it.
//!
//! The kernel does not report acknowledgements, so they are polled (SIOCOUTQ, tcp(7)): four times
//! in the write time-out while bytes wait. Polling only at the deadline would double the time-out.

use std::time::Duration;

use crate::event_loop::instant::Instant;

/// The write clock of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriteProgress {
    /// When the latest progress was seen.
    at: Instant,
    /// Bytes the peer had acknowledged at the latest poll, since the connection began; and those of
    /// our pings, which do not count as progress.
    acked: u64,
}

impl WriteProgress {
    /// The clock of a connection that was accepted `now`.
    pub(super) const fn new(now: Instant) -> Self {
        Self { at: now, acked: 0 }
    }

    /// The kernel accepted bytes, or bytes began to wait.
    #[inline]
    pub(super) fn wrote(&mut self, now: Instant) {
        self.at = now;
    }

    /// `len` bytes of a ping are queued. Their acknowledgement does not count as progress: the
    /// kernel of a machine whose program hangs acknowledges pings forever.
    pub(super) fn pinged(&mut self, len: u64) {
        self.acked = self.acked.saturating_add(len);
    }

    /// The peer has acknowledged `acked` bytes since the connection began; the number never
    /// decreases. Returns whether that is progress.
    pub(super) fn polled(&mut self, acked: u64, now: Instant) -> bool {
        let progress = acked > self.acked;
        if progress {
            self.acked = acked;
            self.at = now;
        }
        progress
    }

    /// When the peer is dropped unless it makes progress.
    pub(super) fn deadline(&self, write_timeout: Duration) -> Instant {
        self.at + write_timeout
    }
}

#[cfg(test)]
mod tests;
