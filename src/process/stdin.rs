//! Messages on their way to a command: [`Stdin`], a pipe with an outbox in front.

use std::io::{ErrorKind, Write};

use crate::event_loop::buffer_pool::Pool;
use crate::event_loop::outbox::Outbox;
use crate::event_loop::readiness::Readiness;
use crate::framing::{self, Framing};
use crate::ws::frame::Kind;

/// The pipe to a command's standard input, and the bytes queued for it.
///
/// A message is queued whole, so the command's input ends at the end of a message whenever the
/// client is lost. (With `--framing=raw` there are no messages, only bytes.)
pub(crate) struct Stdin<W> {
    /// `None`: closed, by the server after the last message or by the command. Later messages are
    /// dropped; a command that closes its stdin keeps running.
    pipe: Option<W>,
    /// What epoll last reported for the pipe.
    pub(crate) readiness: Readiness,
    outbox: Outbox,
    framing: Framing,
    /// No more messages will come: the pipe is closed once the outbox is empty.
    closing: bool,
    /// Messages received for the command. In a plain stream each part counts.
    messages: u64,
}

impl<W: Write> Stdin<W> {
    /// The write end of a new pipe, which has room.
    pub(super) fn new(pipe: W, framing: Framing) -> Self {
        Self {
            pipe: Some(pipe),
            readiness: Readiness::WRITABLE,
            outbox: Outbox::new(),
            framing,
            closing: false,
            messages: 0,
        }
    }

    /// Queues a message in the form the command reads.
    pub(crate) fn push(&mut self, kind: Kind, message: &[u8], pool: &mut Pool) {
        self.messages += 1;
        if self.pipe.is_none() || self.closing {
            return;
        }
        framing::write_message(self.framing, kind, message, self.outbox.writer(pool));
    }

    /// Whether a message may be passed on in parts: a plain stream has no message boundaries.
    pub(crate) fn takes_parts(&self) -> bool {
        self.framing == Framing::Raw
    }

    /// Whether the high-water mark is reached, so that clients must not be read.
    pub(crate) fn is_full(&self, high_water: usize) -> bool {
        self.outbox.is_full(high_water)
    }

    /// Messages received for the command, written or not.
    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    /// Bytes that wait for the pipe.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.outbox.len()
    }

    /// The memory of the queue, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.outbox.capacity()
    }

    /// No more messages will come: closes the pipe once the queued ones are written.
    pub(super) fn close_when_drained(&mut self, pool: &mut Pool) {
        self.closing = true;
        self.flush(pool);
    }

    /// Writes what the pipe takes. If the command has closed its end (EPIPE), the pipe is closed
    /// and the queue dropped; the command keeps running, and its output is still delivered.
    pub(crate) fn flush(&mut self, pool: &mut Pool) {
        let Some(pipe) = &mut self.pipe else { return };
        if self.outbox.is_empty() || self.readiness.writable() {
            match self.outbox.flush(pipe, pool) {
                Ok(flushed) if flushed.blocked => self.readiness.write_blocked(),
                Ok(_) => {}
                Err(error) => {
                    debug_assert_ne!(error.kind(), ErrorKind::WouldBlock);
                    return self.close(pool);
                }
            }
        }
        if self.closing && self.outbox.is_empty() {
            self.close(pool);
        }
    }

    /// Closes the pipe at once and drops the queue.
    pub(super) fn close(&mut self, pool: &mut Pool) {
        self.outbox.clear(pool);
        self.pipe = None;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io;
    use std::rc::Rc;

    use super::*;

    /// A pipe the test can inspect: bytes written, bytes it still takes, whether its reader is gone.
    #[derive(Clone, Default)]
    struct Pipe(Rc<RefCell<(Vec<u8>, usize, bool)>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (written, room, broken) = &mut *self.0.borrow_mut();
            if *broken {
                return Err(ErrorKind::BrokenPipe.into());
            }
            let n = bytes.len().min(*room);
            if n == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            *room -= n;
            written.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_pipe_closes_only_after_a_whole_message() {
        let (mut pool, pipe) = (Pool::new(4, 1024), Pipe::default());
        let mut stdin = Stdin::new(pipe.clone(), Framing::Lines);
        stdin.push(Kind::Text, b"whole", &mut pool);
        pipe.0.borrow_mut().1 = 3;
        stdin.close_when_drained(&mut pool);
        assert!(stdin.pipe.is_some(), "half a message is written");
        stdin.push(Kind::Text, b"too late", &mut pool);
        pipe.0.borrow_mut().1 = 100;
        stdin.readiness.merge(Readiness::WRITABLE);
        stdin.flush(&mut pool);
        assert!(stdin.pipe.is_none());
        assert_eq!(pipe.0.borrow().0, b"whole\n");
    }

    #[test]
    fn messages_for_a_closed_stdin_are_dropped_and_never_queued() {
        let (mut pool, pipe) = (Pool::new(4, 1024), Pipe::default());
        let mut stdin = Stdin::new(pipe.clone(), Framing::Lines);
        pipe.0.borrow_mut().2 = true;
        stdin.push(Kind::Text, &[b'x'; 100], &mut pool);
        stdin.flush(&mut pool);
        assert!(stdin.pipe.is_none());
        stdin.push(Kind::Text, &[b'x'; 100], &mut pool);
        assert!(!stdin.is_full(1), "dropped messages never block the client");
    }
}
