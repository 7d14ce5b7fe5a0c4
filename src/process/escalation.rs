//! How a command is terminated: [`Escalation`], stronger signals at fixed times.
//!
//! Stdin is closed first, which ends most programs. Then each step sends a signal to the whole
//! process group and to its jobs, unless no process of them is left.
//!
//! | after | of `--kill-after` (1 s) | signal |
//! |---|---|---|
//! | 0.1 s | 10 % | SIGINT, or the one of `--signal` |
//! | 0.35 s | 35 % | SIGTERM |
//! | 1 s | 100 % | SIGKILL |

use std::time::Duration;

use crate::config::Signal;
use crate::event_loop::instant::Instant;

/// When each step is due, in thousandths of `--kill-after`.
const STEPS: [u32; 3] = [100, 350, 1000];

/// The signal of each step.
fn signals(first: Signal) -> [Signal; STEPS.len()] {
    [first, Signal::Terminate, Signal::Kill]
}

/// How far the escalation for one command has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Escalation {
    began: Instant,
    /// The next step, an index into [`STEPS`].
    step: u8,
}

impl Escalation {
    /// An escalation whose times count from `now`.
    pub(super) fn begin(now: Instant) -> Self {
        Self {
            began: now,
            step: 0,
        }
    }

    /// When the next step is due; `None` when none is left, or with `--kill-after=never`
    /// (`kill_after` is `None`).
    pub(super) fn deadline(&self, kill_after: Option<Duration>) -> Option<Instant> {
        let thousandths = STEPS.get(usize::from(self.step))?;
        Some(self.began + kill_after? * *thousandths / 1000)
    }

    /// Takes a step that is due by `now`, if there is one, and returns its signal. When several are
    /// due (the machine was suspended), each call returns the next. `first` is the first step's
    /// signal.
    pub(super) fn step(
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

    /// The first time after `now` that is a multiple of `interval` from the beginning. It stays the
    /// same until then, however often it is asked for.
    pub(super) fn next_multiple(&self, interval: Duration, now: Instant) -> Instant {
        let over = (now - self.began).as_nanos() % interval.as_nanos();
        // Less than the interval, which is far below five centuries.
        now + (interval - Duration::from_nanos(over as u64))
    }

    /// When it began.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// Whether another step is due later. Always false with `--kill-after=never`.
    pub(super) fn has_next(&self, kill_after: Option<Duration>) -> bool {
        self.deadline(kill_after).is_some()
    }

    /// Whether every step was taken, or [`Escalation::finish`] was called.
    pub(super) fn all_steps_taken(&self) -> bool {
        usize::from(self.step) == STEPS.len()
    }

    /// Skips the remaining steps: no process is left that a signal could reach.
    pub(super) fn finish(&mut self) {
        self.step = STEPS.len() as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_taken_once_and_at_its_time() {
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
            assert!(!escalation.has_next(second));
            assert_eq!(escalation.step(at(9999), second, first), None);
        }
    }

    #[test]
    fn kill_after_scales_the_steps() {
        let start = Instant::EPOCH;
        let mut escalation = Escalation::begin(start);
        let ten = Some(Duration::from_secs(10));
        assert_eq!(
            escalation.deadline(ten),
            Some(start + Duration::from_secs(1))
        );
        escalation.finish();
        assert!(!escalation.has_next(ten));
        assert_eq!(
            Escalation::begin(start).deadline(Some(Duration::ZERO)),
            Some(start)
        );
        assert!(!Escalation::begin(start).has_next(None), "never");
    }

    #[test]
    fn a_probe_is_due_at_multiples_of_its_interval() {
        let start = Instant::EPOCH;
        let at = |ms| start + Duration::from_millis(ms);
        let escalation = Escalation::begin(at(30));
        let interval = Duration::from_millis(100);
        for (now, due) in [(30, 130), (31, 130), (129, 130), (130, 230), (1_000, 1_030)] {
            assert_eq!(escalation.next_multiple(interval, at(now)), at(due));
        }
    }
}
