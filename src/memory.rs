//! How much memory the buffers of clients and commands take, and what gives way: [`Memory`].
//!
//! Each buffer has a bound of its own, but many clients may fill theirs at once. So the sum has a
//! bound too, `--max-memory`, in two steps:
//!
//! | in use | then |
//! |---|---|
//! | three quarters | memory is *short*: replay buffers are freed, commands are read in small pieces, reading pauses early, new clients get 503, members of a shared command that are behind are closed |
//! | more than all | the client or command that holds the most is evicted (`server/eviction.rs`) |
//!
//! The lower high-water mark makes an entry wait only until its own queue drains, never for another
//! entry. So a shortage cannot make two entries wait for each other. An unfinished message cannot
//! wait: only its end frees its memory. Hence the second step.

use crate::limits::SCRATCH_LEN;

/// The high-water mark while memory is short, and the most that one read takes from a command then: an
/// interactive client needs no more.
const SHORT_LEN: usize = 4 * 1024;

/// Counts the capacity of all buffers that hold bytes of a client or a command.
#[derive(Debug)]
pub(crate) struct Memory {
    /// In bytes: the sum of what was charged to each entry.
    used: usize,
    max: usize,
    /// `--high-water`.
    high_water: usize,
}

impl Memory {
    /// At most `max` bytes, and `high_water` bytes for each queue while memory is not short.
    pub(crate) const fn new(max: usize, high_water: usize) -> Self {
        Self {
            used: 0,
            max,
            high_water,
        }
    }

    /// An entry that was charged `charged` bytes holds `held` now.
    pub(crate) fn charge(&mut self, charged: &mut u32, held: usize) {
        // No entry holds 4 GiB: a message has at most 1 GiB, and a buffer twice its length.
        let held = u32::try_from(held).unwrap_or(u32::MAX);
        self.used = self.used + held as usize - *charged as usize;
        *charged = held;
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// The most that may be in use.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// Whether three quarters are in use.
    pub(crate) fn is_short(&self) -> bool {
        self.used >= self.max / 4 * 3
    }

    /// Whether more is in use than there may be.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.used > self.max
    }

    /// The most that one read takes from a command now, in bytes.
    pub(crate) fn read_len(&self) -> usize {
        match self.is_short() {
            true => SHORT_LEN,
            false => SCRATCH_LEN,
        }
    }

    /// The number of queued bytes at which reading from the other side pauses now.
    pub(crate) fn high_water(&self) -> usize {
        match self.is_short() {
            true => self.high_water.min(SHORT_LEN),
            false => self.high_water,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_lower_from_three_quarters_on() {
        let mut memory = Memory::new(1000, 64 * 1024);
        let (mut one, mut other) = (0, 0);
        memory.charge(&mut one, 400);
        memory.charge(&mut other, 349);
        assert_eq!((memory.used(), memory.is_short()), (749, false));
        assert_eq!(memory.high_water(), 64 * 1024);
        memory.charge(&mut other, 350);
        assert!(memory.is_short());
        assert_eq!(memory.high_water(), SHORT_LEN);
        memory.charge(&mut one, 650);
        assert!(!memory.is_exceeded());
        memory.charge(&mut one, 651);
        assert!(memory.is_exceeded());
        memory.charge(&mut one, 0);
        assert_eq!((memory.used(), memory.is_short()), (350, false));
        assert_eq!((one, other), (0, 350));
    }

    #[test]
    fn a_mark_below_that_of_a_shortage_stays() {
        let mut memory = Memory::new(0, 1024);
        assert!(memory.is_short());
        assert_eq!(memory.high_water(), 1024);
        memory = Memory::new(usize::MAX, 1024);
        assert_eq!(memory.high_water(), 1024);
    }
}
