//! Remembers what a stream is ready for: [`Readiness`].
//!
//! Registration is edge-triggered: epoll reports a change once and then is silent until the stream
//! has been read or written down to `WouldBlock` (EAGAIN). Code that stops earlier, because its
//! budget for the turn is spent or because the outbox on the other side is full, must remember that
//! the stream was ready. Otherwise it waits for an edge that never comes.
//!
//! So each stream keeps its last known readiness, and its owner computes from its own state what it
//! wants. Work is done only where both agree:
//!
//! ```text
//!             ready                                          wanted
//!   reading   from an event until EAGAIN or a short read     while the destination has room
//!   writing   from an event until EAGAIN or a short write    while there are unsent bytes
//! ```
//!
//! To pause a stream is to stop wanting it. It stays registered, so its hang-up is still seen.

use mio::event::Event;

/// What one stream is ready for, in three bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness(u8);

const READABLE: u8 = 1;
const WRITABLE: u8 = 2;
const HUNG_UP: u8 = 4;

impl Readiness {
    /// Ready for nothing: the state before the first event.
    pub const NONE: Readiness = Readiness(0);
    /// Ready for reading. If it is not, the first read returns `WouldBlock`.
    pub const READABLE: Readiness = Readiness(READABLE);
    /// Ready for writing.
    pub const WRITABLE: Readiness = Readiness(WRITABLE);
    /// The peer will send no more bytes, or the stream failed: reading will reach EOF or an error.
    pub const HUNG_UP: Readiness = Readiness(READABLE | HUNG_UP);

    /// Whether a read may succeed.
    pub(crate) fn readable(self) -> bool {
        self.0 & READABLE != 0
    }

    /// Whether a write may succeed.
    pub(crate) fn writable(self) -> bool {
        self.0 & WRITABLE != 0
    }

    /// Whether the peer will send no more bytes, or the stream failed.
    pub(crate) fn hung_up(self) -> bool {
        self.0 & HUNG_UP != 0
    }

    /// Adds the readiness of an event. An event never takes readiness away; reads and writes do.
    pub fn merge(&mut self, other: Readiness) {
        self.0 |= other.0;
    }

    /// A read returned `WouldBlock`.
    pub(crate) fn read_blocked(&mut self) {
        self.0 &= !READABLE;
    }

    /// A read into `asked` bytes returned `n`. A short read means that the stream is empty
    /// (epoll(7)), which saves the read that would return `WouldBlock`. After a hang-up there is no
    /// further event, so reading must go on to EOF.
    pub(crate) fn read_some(&mut self, n: usize, asked: usize) {
        if n < asked && !self.hung_up() {
            self.read_blocked();
        }
    }

    /// A write was short or returned `WouldBlock`.
    pub(crate) fn write_blocked(&mut self) {
        self.0 &= !WRITABLE;
    }
}

impl From<&Event> for Readiness {
    fn from(event: &Event) -> Readiness {
        let mut readiness = Readiness::NONE;
        // The next read or write returns the error, so the stream is ready for both.
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
    fn a_short_read_means_an_empty_stream_except_after_a_hang_up() {
        let mut readiness = Readiness::READABLE;
        readiness.read_some(100, 100);
        assert!(readiness.readable(), "there may be more");
        readiness.read_some(99, 100);
        assert!(!readiness.readable());

        let mut readiness = Readiness::HUNG_UP;
        readiness.read_some(99, 100);
        assert!(readiness.readable(), "EOF is still to be read");
    }

    #[test]
    fn readiness_is_remembered_until_a_read_or_write_blocks() {
        let mut readiness = Readiness::NONE;
        readiness.merge(Readiness::WRITABLE);
        readiness.merge(Readiness::READABLE);
        assert!(readiness.readable() && readiness.writable());
        readiness.write_blocked();
        assert!(readiness.readable() && !readiness.writable());
    }
}
