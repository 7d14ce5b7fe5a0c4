//! The loop itself: wait, read the clock once, hand out the batch. It knows tokens and
//! readiness, but not sockets, WebSockets or processes.

use std::io::{self, ErrorKind};
use std::time::{self, Duration};

use mio::{Events, Poll, Registry, Token};

use crate::instant::Instant;
use crate::readiness::Readiness;

/// How many batches may go before deadlines that have come. epoll hands out a source that it has
/// just handed out behind all others, so these hold every source there was when the deadlines came,
/// up to 65,536 in batches of 1,024; and however much comes, deadlines are met.
const BATCHES_BEFORE_DEADLINES: usize = 64;

/// What the loop drives.
pub trait Handler {
    /// A new turn begins; `now` is its time throughout.
    fn begin_turn(&mut self, now: Instant);

    /// A source of the batch is ready.
    fn on_ready(&mut self, token: Token, readiness: Readiness);

    /// Whether a deadline has come, which the end of this turn would act upon.
    fn is_due(&self) -> bool;

    /// The batch is over. Says how the next one is to be awaited.
    fn end_turn(&mut self) -> Next;
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
        loop {
            self.listen(timeout)?;
            let now = Instant::EPOCH + self.began.elapsed();
            handler.begin_turn(now);
            self.hand_out(handler);
            // What happened before a deadline must be heard before the deadline is: a peer that has
            // spoken is not silent. The batch may be older than `now` by as long as we were
            // stopped, or waited for a processor, between the two; and it may not have held all.
            for _ in 0..BATCHES_BEFORE_DEADLINES {
                if !handler.is_due() {
                    break;
                }
                self.listen(Some(Duration::ZERO))?;
                if self.hand_out(handler) < self.batch_len {
                    break;
                }
            }
            timeout = match handler.end_turn() {
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use mio::Interest;
    use mio::unix::pipe::{self, Receiver, Sender};

    use super::*;

    /// Three pipes, of which the first is readable at once, and what the loop did in order.
    struct Story {
        ends: [(Sender, Receiver); 3],
        is_due: bool,
        told: Vec<&'static str>,
    }

    impl Story {
        /// In batches of one event.
        fn run(is_due: bool) -> Vec<&'static str> {
            let mut event_loop = EventLoop::new(1).expect("an epoll instance");
            let mut ends = [(); 3].map(|()| pipe::new().expect("a pipe"));
            for (index, (_, receiver)) in ends.iter_mut().enumerate() {
                let registry = event_loop.registry();
                let registered = registry.register(receiver, Token(index), Interest::READABLE);
                registered.expect("registers");
            }
            ends[0].0.write_all(b"!").expect("room");
            let mut story = Story {
                ends,
                is_due,
                told: Vec::new(),
            };
            event_loop.run(&mut story).expect("runs");
            story.told
        }
    }

    impl Handler for Story {
        fn begin_turn(&mut self, _: Instant) {
            self.told.push("turn");
        }

        fn on_ready(&mut self, token: Token, _: Readiness) {
            self.told.push(["first", "second", "third"][token.0]);
            if token.0 == 0 {
                // As if they had come while the process was stopped, batch in hand.
                for (sender, _) in &mut self.ends[1..] {
                    sender.write_all(b"!").expect("room");
                }
            }
        }

        fn is_due(&self) -> bool {
            self.is_due
        }

        fn end_turn(&mut self) -> Next {
            self.told.push("end");
            match self.told.contains(&"third") {
                true => Next::Stop,
                false => Next::Wait(None),
            }
        }
    }

    #[test]
    fn what_happened_before_a_deadline_is_heard_before_it() {
        assert_eq!(
            Story::run(true),
            ["turn", "first", "second", "third", "end"]
        );
    }

    #[test]
    fn without_a_deadline_a_turn_has_one_batch() {
        let told = [
            "turn", "first", "end", "turn", "second", "end", "turn", "third", "end",
        ];
        assert_eq!(Story::run(false), told);
    }
}
