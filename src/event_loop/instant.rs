//! A point in time in eight bytes: [`Instant`].
//!
//! The standard library's takes sixteen, and each client keeps half a dozen. This one has the same
//! methods, as far as they are needed, but no `now`: the clock is read
//! through [`Clock`](super::Clock) only.

use std::num::NonZeroU64;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Nanoseconds since the event loop was created, up to five centuries. An `Option` of it takes
/// eight bytes too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(NonZeroU64);

const _: () = assert!(size_of::<Option<Instant>>() == 8);

impl Instant {
    /// When the event loop was created.
    pub const EPOCH: Instant = Instant(NonZeroU64::MIN);

    /// The time from `earlier` until this; zero if this is not later.
    pub(crate) fn saturating_duration_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }

    /// The time `duration` later; `None` if that is beyond the five centuries.
    pub(crate) fn checked_add(self, duration: Duration) -> Option<Instant> {
        let nanos = u64::try_from(duration.as_nanos()).ok()?;
        self.0.checked_add(nanos).map(Instant)
    }

    /// The time `duration` earlier; `None` if that is before [`Instant::EPOCH`].
    pub fn checked_sub(self, duration: Duration) -> Option<Instant> {
        let nanos = u64::try_from(duration.as_nanos()).ok()?;
        let earlier = self.0.get().checked_sub(nanos)?;
        NonZeroU64::new(earlier).map(Instant)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// The time `duration` later, at most the end of the five centuries.
    fn add(self, duration: Duration) -> Instant {
        self.checked_add(duration)
            .unwrap_or(Instant(NonZeroU64::MAX))
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// As [`Instant::saturating_duration_since`].
    fn sub(self, earlier: Instant) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_ordered_and_their_arithmetic_stays_in_range() {
        let second = Duration::from_secs(1);
        let later = Instant::EPOCH + second;
        assert!(later > Instant::EPOCH);
        assert_eq!(later - Instant::EPOCH, second);
        assert_eq!(Instant::EPOCH - later, Duration::ZERO);
        assert_eq!(later.checked_sub(second), Some(Instant::EPOCH));
        assert_eq!(Instant::EPOCH.checked_sub(second), None);
        assert_eq!(Instant::EPOCH.checked_add(Duration::MAX), None);
        assert_eq!(later + Duration::MAX, Instant(NonZeroU64::MAX));
    }
}
