//! What a stream is ready for, remembered: [`Readiness`].
//!
//! mio registers edge-triggered: epoll tells of a change once and then falls silent until the
//! stream was read or written down to `WouldBlock`. Whoever stops earlier (its budget spent, the
//! outbox on the other side full) has to remember that the stream was ready, or it waits for an
//! edge that never comes. So each stream keeps its last known readiness, and work is done where
//! a stream is *ready* for what its owner *wants*. Nothing is ever registered a second time, and a
//! paused stream still hears its peer leave.

use mio::event::Event;

/// The readiness of one stream: three bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness(u8);

const READABLE: u8 = 1;
const WRITABLE: u8 = 2;
const HUNG_UP: u8 = 4;

impl Readiness {
    /// Ready for nothing: a stream of which epoll has not spoken.
    pub const NONE: Readiness = Readiness(0);
    /// Ready for reading. A spurious one costs a read that says `WouldBlock`.
    pub const READABLE: Readiness = Readiness(READABLE);
    /// Ready for writing.
    pub const WRITABLE: Readiness = Readiness(WRITABLE);
    /// The other side has sent its last byte, or the stream failed: reading will come to an end.
    pub const HUNG_UP: Readiness = Readiness(READABLE | HUNG_UP);

    /// Whether a read may bring something.
    pub fn readable(self) -> bool {
        self.0 & READABLE != 0
    }

    /// Whether a write may be taken.
    pub fn writable(self) -> bool {
        self.0 & WRITABLE != 0
    }

    /// Whether the other side has sent its last byte.
    pub fn hung_up(self) -> bool {
        self.0 & HUNG_UP != 0
    }

    /// Adds what epoll said. Readiness only grows here; a read or write takes it away.
    pub fn merge(&mut self, other: Readiness) {
        self.0 |= other.0;
    }

    /// A read met `WouldBlock`.
    pub fn read_blocked(&mut self) {
        self.0 &= !READABLE;
    }

    /// A read took `n` of the `asked` bytes. A short read means that the stream was drained
    /// (epoll(7)), which saves the call that would say so; but after a hang-up there will be no
    /// further edge, and the end of the stream has still to be read.
    pub fn read_some(&mut self, n: usize, asked: usize) {
        if n < asked && !self.hung_up() {
            self.read_blocked();
        }
    }

    /// A write was cut short or met `WouldBlock`.
    pub fn write_blocked(&mut self) {
        self.0 &= !WRITABLE;
    }
}

impl From<&Event> for Readiness {
    fn from(event: &Event) -> Readiness {
        let mut readiness = Readiness::NONE;
        // An error is found out by reading and by writing, so it makes the stream ready for both.
        if event.is_readable() || event.is_error() {
            readiness.merge(Readiness::READABLE);
        }
        if event.is_writable() || event.is_error() {
            readiness.merge(Readiness::WRITABLE);
        }
        if event.is_read_closed() || event.is_error() {
            readiness.merge(Readiness::HUNG_UP);
        }
        readiness
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_read_drains_but_not_after_a_hang_up() {
        let mut readiness = Readiness::READABLE;
        readiness.read_some(100, 100);
        assert!(readiness.readable(), "a full read leaves more to come");
        readiness.read_some(99, 100);
        assert!(!readiness.readable());

        let mut readiness = Readiness::HUNG_UP;
        readiness.read_some(99, 100);
        assert!(readiness.readable(), "the end has still to be read");
    }

    #[test]
    fn readiness_is_remembered_until_it_is_used_up() {
        let mut readiness = Readiness::NONE;
        readiness.merge(Readiness::WRITABLE);
        readiness.merge(Readiness::READABLE);
        assert!(readiness.readable() && readiness.writable());
        readiness.write_blocked();
        assert!(readiness.readable() && !readiness.writable());
    }
}
