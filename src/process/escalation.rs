//! How a command is made to end: [`Ladder`], ever ruder signals at fixed times.
//!
//! Its stdin is closed first, which ends most programs. Then each rung is a signal to the whole
//! process group, and is skipped once nothing of it is left.

use std::time::Duration;

use crate::config::Signal;
use crate::event_loop::instant::Instant;

/// When each rung is due, in thousandths of `--kill-after`.
const STEPS: [u32; 3] = [100, 350, 1000];

/// The signal of each rung, if the first is `first`.
fn signals(first: Signal) -> [Signal; STEPS.len()] {
    [first, Signal::Terminate, Signal::Kill]
}

/// How far down the ladder one process group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escalation {
    began: Instant,
    step: u8,
}

impl Escalation {
    /// A ladder whose times count from `now`.
    pub fn begin(now: Instant) -> Self {
        Self {
            began: now,
            step: 0,
        }
    }

    /// When the next rung is due; `None` when none is left, or none was wanted (`kill_after` is
    /// `None`: `--kill-after=never`).
    pub fn deadline(&self, kill_after: Option<Duration>) -> Option<Instant> {
        let thousandths = STEPS.get(usize::from(self.step))?;
        Some(self.began + kill_after? * *thousandths / 1000)
    }

    /// The signal that is due by `now`, if one is, and steps past it. Where several are due
    /// (the machine slept), each call gives the next. `first` is the one on the first rung.
    pub fn step(
        &mut self,
        now: Instant,
        kill_after: Option<Duration>,
        first: Signal,
    ) -> Option<Signal> {
        if self.deadline(kill_after)? > now {
            return None;
        }
        let signal = signals(first)[usize::from(self.step)];
        self.step += 1;
        Some(signal)
    }

    /// Whether no rung is left to wait for.
    pub fn is_done(&self, kill_after: Option<Duration>) -> bool {
        self.deadline(kill_after).is_none()
    }

    /// Whether every rung is behind: the last signal was sent, or [`Ladder::finish`] was called.
    pub fn is_finished(&self) -> bool {
        usize::from(self.step) == STEPS.len()
    }

    /// Ends the ladder: nothing is left that a signal could reach, or the number of the group
    /// belongs to somebody else by now.
    pub fn finish(&mut self) {
        self.step = STEPS.len() as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rung_comes_at_its_time_and_once() {
        let start = Instant::EPOCH;
        let second = Some(Duration::from_secs(1));
        let at = |ms| start + Duration::from_millis(ms);
        for first in [Signal::Interrupt, Signal::User1] {
            let mut escalation = Escalation::begin(start);
            for (due, signal) in [(100, first), (350, Signal::Terminate), (1000, Signal::Kill)] {
                assert_eq!(escalation.deadline(second), Some(at(due)));
                assert_eq!(escalation.step(at(due - 1), second, first), None);
                assert_eq!(escalation.step(at(due), second, first), Some(signal));
            }
            assert!(escalation.is_done(second));
            assert_eq!(escalation.step(at(9999), second, first), None);
        }
    }

    #[test]
    fn kill_after_scales_the_ladder() {
        let start = Instant::EPOCH;
        let mut escalation = Escalation::begin(start);
        let ten = Some(Duration::from_secs(10));
        assert_eq!(
            escalation.deadline(ten),
            Some(start + Duration::from_secs(1))
        );
        escalation.finish();
        assert!(escalation.is_done(ten));
        assert_eq!(
            Escalation::begin(start).deadline(Some(Duration::ZERO)),
            Some(start)
        );
        assert!(Escalation::begin(start).is_done(None), "never");
    }
}
