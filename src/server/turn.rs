//! How long a turn lasts: [`Turn`].
//!
//! A visit is bounded by its budget, but a thousand visits are not. So the turn is bounded by the
//! clock ([`TURN_TIME_MAX`]); visits that it has no time for are postponed to the next one. The
//! clock is read once for each [`CLOCK_INTERVAL`] of work, not once for each visit.

use super::Server;
use crate::limits::{CLOCK_INTERVAL, TURN_TIME_MAX, VISIT_COST};
use crate::system::System;

/// The work of this turn.
#[derive(Default)]
pub(super) struct Turn {
    /// Work since the clock was last read, counted as bytes.
    work: usize,
    is_over: bool,
}

impl Turn {
    /// A visit has done some work.
    pub(super) fn worked(&mut self, work: usize) {
        self.work = self.work.saturating_add(work + VISIT_COST);
    }
}

impl<S: System> Server<S> {
    /// Whether this turn has lasted as long as it may.
    pub(super) fn turn_is_over(&mut self) -> bool {
        if self.turn.work >= CLOCK_INTERVAL {
            self.turn.work = 0;
            self.turn.is_over |= self.system.clock() >= self.cx.now + TURN_TIME_MAX;
        }
        self.turn.is_over
    }
}
