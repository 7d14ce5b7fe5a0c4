//! The loop itself: wait, read the clock once, hand out the batch. It knows tokens and
//! readiness, but not sockets, WebSockets or processes.

pub mod arena;
pub mod buffer_pool;
pub mod instant;
pub mod outbox;
pub mod readiness;
pub mod timers;
pub mod token;

use std::io::{self, ErrorKind};
use std::time::{self, Duration};

use mio::{Events, Poll, Registry, Token};

use crate::event_loop::instant::Instant;
use crate::event_loop::readiness::Readiness;

/// What the loop drives.
pub trait Handler {
    /// A new turn begins; `now` is its time throughout.
    fn begin_turn(&mut self, now: Instant);

    /// A source of the batch is ready.
    fn on_ready(&mut self, token: Token, readiness: Readiness);

    /// How many sources there are, at most, that can be ready.
    fn sources_max(&self) -> usize;

    /// The batch is over. All that had happened by `heard`, which is no later than the turn's time,
    /// has been told: a deadline is acted upon when it is before that. Says how the next batch is to
    /// be awaited.
    fn end_turn(&mut self, heard: Instant) -> Next;
}

/// How a turn ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Work was put off: look for new events, but do not wait for them.
    Poll,
    /// Wait for an event, at most until this deadline; `None`: however long it takes.
    Wait(Option<Instant>),
    /// Leave the loop.
    Stop,
}

/// An epoll instance and the buffer that its batches arrive in.
pub struct EventLoop {
    poll: Poll,
    events: Events,
    batch_len: usize,
    /// When the loop was made, which is its [`Instant::EPOCH`].
    began: time::Instant,
}

impl EventLoop {
    /// Makes a loop whose turns handle up to `batch_len` events.
    ///
    /// # Errors
    /// As `epoll_create1(2)`.
    pub fn new(batch_len: usize) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(batch_len),
            batch_len,
            began: time::Instant::now(),
        })
    }

    /// Where sources are registered.
    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Runs turn after turn until the handler says [`Next::Stop`].
    ///
    /// # Errors
    /// As `epoll_wait(2)`, EINTR excepted.
    pub fn run(&mut self, handler: &mut impl Handler) -> io::Result<()> {
        let mut timeout = Some(Duration::ZERO);
        let mut now = Instant::EPOCH;
        let mut hearing = Hearing::new();
        loop {
            let asked_at = now;
            self.listen(timeout)?;
            now = Instant::EPOCH + self.began.elapsed();
            handler.begin_turn(now);
            let is_full = self.hand_out(handler) == self.batch_len;
            let batches = handler.sources_max() / self.batch_len + 1;
            let heard = hearing.until(asked_at, is_full, batches);
            timeout = match handler.end_turn(heard) {
                Next::Poll => Some(Duration::ZERO),
                Next::Wait(deadline) => deadline.map(|at| at.saturating_duration_since(now)),
                Next::Stop => return Ok(()),
            };
        }
    }

    /// Waits for a batch, `None`: however long it takes. What interrupts the wait, SIGSTOP and
    /// SIGCONT among it, leaves an empty one.
    fn listen(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            other => other,
        }
    }

    /// Returns how many events there were.
    fn hand_out(&self, handler: &mut impl Handler) -> usize {
        self.events
            .iter()
            .map(|event| handler.on_ready(event.token(), Readiness::from(event)))
            .count()
    }
}

/// Up to when all that happened has been told.
///
/// A peer that has spoken before its deadline is not silent, but that it has may be told after it:
/// the batch is older than the turn's time, by as long as this process was stopped, say, between the
/// two, and it may not have held all. So deadlines wait for one more batch.
#[derive(Debug)]
struct Hearing {
    until: Instant,
    /// How many batches in a row were full, and when the first of them was asked for.
    full: usize,
    full_from: Instant,
}

impl Hearing {
    const fn new() -> Self {
        Self {
            until: Instant::EPOCH,
            full: 0,
            full_from: Instant::EPOCH,
        }
    }

    /// A batch that was asked for at `asked_at` has been handed out. If it is not full, all that had
    /// happened by then was in it. If it is, the next ones go round all others that are ready
    /// (epoll_wait(2)), and so many `batches` hold every source there is.
    fn until(&mut self, asked_at: Instant, is_full: bool, batches: usize) -> Instant {
        if !is_full {
            self.full = 0;
            self.until = asked_at;
            return self.until;
        }
        if self.full == 0 {
            self.full_from = asked_at;
        }
        self.full += 1;
        if self.full >= batches {
            self.full = 0;
            self.until = self.full_from;
        }
        self.until
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use mio::Interest;
    use mio::unix::pipe;

    use super::*;

    /// The times of three turns, and up to when what happened had been told at the end of each.
    #[derive(Default)]
    struct Story {
        times: Vec<Instant>,
        heard: Vec<Instant>,
    }

    impl Handler for Story {
        fn begin_turn(&mut self, now: Instant) {
            self.times.push(now);
        }

        fn on_ready(&mut self, _: Token, _: Readiness) {}

        fn sources_max(&self) -> usize {
            1
        }

        fn end_turn(&mut self, heard: Instant) -> Next {
            self.heard.push(heard);
            match self.heard.len() {
                3 => Next::Stop,
                _ => Next::Wait(Some(heard + Duration::from_millis(2))),
            }
        }
    }

    #[test]
    fn what_happens_before_the_clock_is_read_may_be_told_a_turn_later() {
        let mut event_loop = EventLoop::new(2).expect("an epoll instance");
        let mut peer = pipe::new().expect("a pipe");
        let registry = event_loop.registry();
        let registered = registry.register(&mut peer.1, Token(0), Interest::READABLE);
        registered.expect("registers");
        peer.0.write_all(b"!").expect("room");
        let mut story = Story::default();
        event_loop.run(&mut story).expect("runs");
        let before = [Instant::EPOCH, story.times[0], story.times[1]];
        assert_eq!(story.heard, before);
        assert!(story.times[2] > story.times[0]);
    }

    #[test]
    fn deadlines_wait_for_full_batches_as_long_as_these_go_round_and_no_longer() {
        let at = |second| Instant::EPOCH + Duration::from_secs(second);
        let mut hearing = Hearing::new();
        assert_eq!(hearing.until(at(1), false, 3), at(1));
        // Three batches hold every source; what came meanwhile is in the next three.
        for round in [2, 5, 8] {
            assert!(hearing.until(at(round), true, 3) < at(round));
            assert!(hearing.until(at(round + 1), true, 3) < at(round));
            assert_eq!(hearing.until(at(round + 2), true, 3), at(round));
        }
        assert_eq!(hearing.until(at(11), true, 3), at(8));
        // A batch with room to spare held all that was left.
        assert_eq!(hearing.until(at(12), false, 3), at(12));
        assert_eq!(hearing.until(at(13), true, 3), at(12), "counted anew");
    }
}
