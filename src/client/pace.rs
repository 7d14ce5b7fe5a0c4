//! Whether the peer takes bytes fast enough that nothing follows: [`Pace`].
//!
//! `--write-timeout` drops a peer that takes nothing, but every byte that it takes restarts that
//! clock. A client with an open WebSocket may be that slow for as long as it may stay. The end of a
//! connection and an HTTP response need a total bound, or a peer that takes a byte a minute holds its
//! connection for days, whatever the operator's limits say.
//!
//! The bound follows the number of bytes, so a slow but live peer gets megabytes too: what the peer
//! lacks at one look, it must have acknowledged `--write-timeout` later, plus the time the bytes
//! take at [`LAST_BYTES_RATE_MIN`]. The write time-out is for a network that is gone for a while.
//!
//! The first look is when a timer fires, so a peer that takes everything at once costs nothing.

use std::time::Duration;

use crate::event_loop::instant::Instant;
use crate::limits::LAST_BYTES_RATE_MIN;

/// The pace clock of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// The byte that must be acknowledged in time, counted from the beginning of the connection.
    goal: u64,
    /// When it must be; `None` while nothing is known to be missing.
    due: Option<Instant>,
}

impl Pace {
    /// The peer has `acked` bytes of the `last_byte` that are written or queued.
    pub(super) fn polled(
        &mut self,
        acked: u64,
        last_byte: u64,
        now: Instant,
        write_timeout: Duration,
    ) {
        if self.due.is_some() && acked < self.goal {
            return;
        }
        self.goal = last_byte;
        let missing = last_byte.saturating_sub(acked);
        let allowed =
            write_timeout.saturating_add(Duration::from_secs(missing / LAST_BYTES_RATE_MIN));
        self.due = (missing > 0).then(|| now + allowed);
    }

    /// When the peer is dropped unless it has taken enough by then.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests;
