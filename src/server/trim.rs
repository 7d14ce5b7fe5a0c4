//! When to release memory that many entries needed and few do not: [`MemoryTrim`].
//!
//! Each rule is worth its lines (glibc, x86-64):
//!
//! | rule | without it | with it |
//! |---|---|---|
//! | holes are released while entries come | 684 B for each client with a command | 532 B |
//! | once more when the last entry leaves | 1,276 kB after 20 stalled clients | 428 kB |
//! | when the entry in the last slot leaves | 2,476 kB for 3 clients left of 10,000 | 184 kB |

use super::Server;
use crate::system::System;

/// Fewer entries leave too little memory behind to be worth a trim.
const TRIM_MIN: usize = 16;

/// The tables have moved often enough after growing by this many entries to leave holes in the heap.
const GROWTH: usize = 256;

/// How many entries there were, and when memory was last trimmed.
#[derive(Default)]
pub(super) struct MemoryTrim {
    /// The most entries since the last trim.
    peak: usize,
    /// Entries when holes in the heap were last released.
    released_at: usize,
    /// Whether there were [`TRIM_MIN`] entries since the server was last empty.
    was_busy: bool,
    /// Whether a single entry that has gone is reason enough: that in the last slot of an arena, which
    /// kept the free slots before it allocated, or one that was evicted.
    is_due: bool,
}

impl MemoryTrim {
    /// The entry in the last slot has left; it alone kept the free slots before it allocated.
    pub(super) fn outlier_left(&mut self) {
        self.is_due = true;
    }

    /// An entry was evicted, and may have held megabytes.
    pub(super) fn evicted(&mut self) {
        self.is_due = true;
    }

    /// Whether three of four entries have left since the last trim. The cost of trimming grows with
    /// the memory, so this keeps trims rare. Also true when the last one leaves, because a few
    /// entries may have held much memory.
    fn has_shrunk(&mut self, entries: usize) -> bool {
        self.peak = self.peak.max(entries);
        self.was_busy |= entries >= TRIM_MIN;
        let most_left = self.peak >= TRIM_MIN && entries <= self.peak / 4;
        let all_left = entries == 0 && std::mem::take(&mut self.was_busy);
        let shrunk = std::mem::take(&mut self.is_due) || all_left || most_left;
        if shrunk {
            self.peak = entries;
            self.released_at = entries;
        }
        shrunk
    }

    /// Whether [`GROWTH`] entries have been added since holes were last released.
    fn has_grown(&mut self, entries: usize) -> bool {
        let grown = entries >= self.released_at + GROWTH;
        if grown {
            self.released_at = entries;
        }
        grown
    }
}

impl<S: System> Server<S> {
    /// Releases memory if most entries have left, and holes in the heap if many have come.
    pub(super) fn trim_memory(&mut self) {
        let entries = self.clients.len() + self.processes.len();
        if self.trim.has_shrunk(entries) {
            self.clients.shrink_to_fit();
            self.processes.shrink_to_fit();
            self.timers.shrink_to_fit();
            self.visits.shrink_to_fit();
            self.gone.shrink_to_fit();
            self.access_log.shrink_to_fit();
            self.cx.pool.clear();
            self.system.release_memory();
        } else if self.trim.has_grown(entries) {
            self.system.release_memory();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_trimmed_a_few_times_while_entries_leave() {
        let mut trim = MemoryTrim::default();
        assert!((1..=10_000).all(|entries| !trim.has_shrunk(entries)));
        let times: Vec<_> = (0..10_000).rev().filter(|&n| trim.has_shrunk(n)).collect();
        assert_eq!(times, [2500, 625, 156, 39, 9, 0]);
    }

    #[test]
    fn holes_are_released_now_and_then_while_entries_come() {
        let mut trim = MemoryTrim::default();
        let times: Vec<_> = (0..1000).filter(|&n| trim.has_grown(n)).collect();
        assert_eq!(times, [256, 512, 768]);
        let again = (0..1000).any(|n| trim.has_grown(n));
        assert!(!again, "there were as many before");
    }

    #[test]
    fn an_outlier_that_leaves_trims_memory_once() {
        let mut trim = MemoryTrim::default();
        trim.outlier_left();
        assert!(trim.has_shrunk(3));
        assert!(!trim.has_shrunk(2));
    }

    #[test]
    fn a_few_entries_never_trim_memory() {
        let mut trim = MemoryTrim::default();
        for _ in 0..100 {
            assert!((0..TRIM_MIN).all(|entries| !trim.has_shrunk(entries)));
        }
    }
}
