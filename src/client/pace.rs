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
mod tests {
    use super::*;

    const WRITE: Duration = Duration::from_secs(60);

    /// The second at which a peer is dropped that takes `rate` bytes per second of `len`, looked at
    /// every ten seconds; `None`: it gets everything.
    fn dropped_at(len: u64, rate: u64) -> Option<u64> {
        let mut pace = Pace::default();
        for second in (10..).step_by(10) {
            let now = Instant::EPOCH + Duration::from_secs(second);
            let acked = (second * rate).min(len);
            pace.polled(acked, len, now, WRITE);
            match pace.deadline() {
                None => return None,
                Some(at) if at <= now => return Some(second),
                Some(_) => {}
            }
        }
        None
    }

    #[test]
    fn a_slow_but_live_peer_gets_megabytes() {
        const MEGABYTES: u64 = 8_000_000;
        for rate in [LAST_BYTES_RATE_MIN, 5_000, 100_000] {
            assert_eq!(dropped_at(MEGABYTES, rate), None, "{rate} bytes per second");
        }
        assert_eq!(dropped_at(50_000, 1_000), None, "it has the write time-out");
    }

    #[test]
    fn a_reader_at_one_kilobyte_per_second_is_bounded() {
        // Without the bound: 8,000 and 86,400 seconds.
        assert_eq!(dropped_at(8_000_000, 1_000), Some(2020));
        assert_eq!(dropped_at(86_400_000, 1_000), Some(21_170));
        assert_eq!(dropped_at(1_000, 1), Some(70));
    }

    #[test]
    fn what_is_queued_later_gets_time_of_its_own() {
        let mut pace = Pace::default();
        let at = |second| Instant::EPOCH + Duration::from_secs(second);
        pace.polled(0, 100, at(0), WRITE);
        pace.polled(99, 200, at(50), WRITE);
        assert_eq!(pace.deadline(), Some(at(60)));
        pace.polled(100, 200, at(55), WRITE);
        assert_eq!(pace.deadline(), Some(at(115)));
        pace.polled(200, 200, at(110), WRITE);
        assert_eq!(pace.deadline(), None);
    }
}
