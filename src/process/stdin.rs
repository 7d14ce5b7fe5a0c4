//! Messages on their way into a command: [`Stdin`], a pipe with an outbox before it.

use std::io::{ErrorKind, Write};

use crate::event_loop::buffer_pool::Pool;
use crate::event_loop::outbox::Outbox;
use crate::event_loop::readiness::Readiness;
use crate::framing::{self, Framing};
use crate::ws::frame::Kind;

/// The pipe to a command's standard input, and what waits for it.
///
/// A message is queued whole, so what the command reads ends at a message's end, whenever the
/// client is lost.
pub struct Stdin<W> {
    /// `None`: closed, by us after the last message or by the command. What comes now is dropped:
    /// a command that closes its stdin is not at its end.
    pipe: Option<W>,
    /// What epoll last said of the pipe.
    pub readiness: Readiness,
    outbox: Outbox,
    framing: Framing,
    /// No more messages will come: the pipe closes when the outbox is empty.
    ending: bool,
    /// Messages that came for it so far, parts of one in a plain stream counted each.
    messages: u64,
}

impl<W: Write> Stdin<W> {
    /// The open end of a fresh pipe, which always has room.
    pub fn new(pipe: W, framing: Framing) -> Self {
        Self {
            pipe: Some(pipe),
            readiness: Readiness::WRITABLE,
            outbox: Outbox::new(),
            framing,
            ending: false,
            messages: 0,
        }
    }

    /// The pipe, to be registered.
    pub fn pipe_mut(&mut self) -> Option<&mut W> {
        self.pipe.as_mut()
    }

    /// Queues a message as the command reads it.
    pub fn push(&mut self, kind: Kind, message: &[u8], pool: &mut Pool) {
        self.messages += 1;
        if self.pipe.is_none() || self.ending {
            return;
        }
        framing::write_message(self.framing, kind, message, self.outbox.writer(pool));
    }

    /// Whether a message may be passed on in parts: a plain stream has no message boundaries.
    pub fn takes_parts(&self) -> bool {
        self.framing == Framing::Raw
    }

    /// Whether the high-water mark is reached, so that the client's socket must not be read.
    pub fn is_full(&self, high_water: usize) -> bool {
        self.outbox.is_full(high_water)
    }

    /// How many messages came for it so far, written or not.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// How many bytes wait.
    pub fn queued(&self) -> usize {
        self.outbox.len()
    }

    /// Whether something waits and the pipe is ready to take it.
    pub fn has_work(&self) -> bool {
        !self.outbox.is_empty() && self.readiness.writable()
    }

    /// No more messages will come: closes the pipe once those that came are written.
    pub fn close_when_drained(&mut self, pool: &mut Pool) {
        self.ending = true;
        self.flush(pool);
    }

    /// Writes what the pipe takes. A pipe whose reader is gone (EPIPE) is closed and what waited
    /// for it is dropped: its command lives on, and its output still counts.
    pub fn flush(&mut self, pool: &mut Pool) {
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
        if self.ending && self.outbox.is_empty() {
            self.close(pool);
        }
    }

    /// Closes the pipe at once and drops what waits.
    pub fn close(&mut self, pool: &mut Pool) {
        self.outbox.clear(pool);
        self.pipe = None;
    }

    /// Whether the pipe is still there.
    pub fn is_open(&self) -> bool {
        self.pipe.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io;
    use std::rc::Rc;

    use super::*;

    /// A pipe that the test looks into: what was written, and how much more it takes.
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
    fn the_pipe_closes_after_the_last_message_and_never_inside_one() {
        let (mut pool, pipe) = (Pool::new(4, 1024), Pipe::default());
        let mut stdin = Stdin::new(pipe.clone(), Framing::Lines);
        stdin.push(Kind::Text, b"whole", &mut pool);
        pipe.0.borrow_mut().1 = 3;
        stdin.close_when_drained(&mut pool);
        assert!(
            stdin.is_open(),
            "half a message is written, so the pipe stays open"
        );
        stdin.push(Kind::Text, b"too late", &mut pool);
        pipe.0.borrow_mut().1 = 100;
        stdin.readiness.merge(Readiness::WRITABLE);
        stdin.flush(&mut pool);
        assert!(!stdin.is_open());
        assert_eq!(pipe.0.borrow().0, b"whole\n");
    }

    #[test]
    fn a_reader_that_is_gone_turns_messages_away_without_an_end() {
        let (mut pool, pipe) = (Pool::new(4, 1024), Pipe::default());
        let mut stdin = Stdin::new(pipe.clone(), Framing::Lines);
        pipe.0.borrow_mut().2 = true;
        stdin.push(Kind::Text, &[b'x'; 100], &mut pool);
        stdin.flush(&mut pool);
        assert!(!stdin.is_open());
        stdin.push(Kind::Text, &[b'x'; 100], &mut pool);
        assert!(!stdin.is_full(1), "what is dropped never blocks the client");
    }
}
