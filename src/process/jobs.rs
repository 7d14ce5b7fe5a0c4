//! What is left of a command that has exited ([`Left`]), and what it awaits of the search for its jobs
//! ([`JobSearch`]): processes of its process session that have left its process group.

use crate::config::Signal;
use crate::system::Group;

/// What a command that was reaped has left behind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    /// The process group.
    pub(super) group: Group,
    pub(super) jobs: Jobs,
    /// How often the jobs were sent SIGKILL.
    pub(super) kills: u8,
}

/// What is known of the jobs that a command has left behind: processes of its process session outside
/// its group. Only a scan of `/proc` finds them, which waits until the group is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Jobs {
    /// They have to be looked for.
    Unknown,
    /// The server was asked to look for them.
    Awaited,
    /// There were some when the server last looked.
    Found,
    /// There are none. With the group gone too, the PID may be a stranger's: they must not be looked
    /// for again.
    Gone,
}

/// What a process awaits of the search for jobs: each time the signal for those that are found, if any.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct JobSearch {
    /// In the next scan.
    pub(super) asked: Option<Option<Signal>>,
    /// In the scan that has begun.
    scanned: Option<Option<Signal>>,
}

impl JobSearch {
    /// Asks for the next scan. A later signal takes the place of an earlier one, which was weaker.
    pub(super) fn ask(&mut self, signal: Option<Signal>) {
        self.asked = Some(signal.or(self.asked.flatten()));
    }

    /// A scan begins, which looks for the jobs of all that have asked.
    pub(crate) fn scan_began(&mut self) {
        self.scanned = self.asked.take();
    }

    /// That scan is complete. Returns the signal for the jobs that were found, if it was asked for.
    pub(crate) fn scan_ended(&mut self) -> Option<Option<Signal>> {
        self.scanned.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_signal_counts_and_a_search_without_one_does_not_undo_it() {
        let mut search = JobSearch::default();
        search.scan_began();
        assert_eq!(search.scan_ended(), None, "it has not asked");
        search.ask(None);
        search.scan_began();
        assert_eq!(search.scan_ended(), Some(None));
        for signal in [Some(Signal::Interrupt), Some(Signal::Kill), None] {
            search.ask(signal);
        }
        search.scan_began();
        assert_eq!(search.scan_ended(), Some(Some(Signal::Kill)));
        assert_eq!(search.scan_ended(), None);
    }

    #[test]
    fn what_is_asked_for_during_a_scan_is_left_to_the_next_one() {
        let mut search = JobSearch::default();
        search.ask(None);
        search.scan_began();
        search.ask(Some(Signal::Kill));
        assert_eq!(search.scan_ended(), Some(None));
        search.scan_began();
        assert_eq!(search.scan_ended(), Some(Some(Signal::Kill)));
    }
}
