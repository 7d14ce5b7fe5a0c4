//! The loop itself: wait, read the clock once, hand out the batch. It knows tokens and
//! readiness, but not sockets, WebSockets or processes.

use std::io::{self, ErrorKind};
use std::time::{self, Duration};

use mio::{Events, Poll, Registry, Token};

use crate::instant::Instant;
use crate::readiness::Readiness;

/// What the loop drives.
pub trait Handler {
    /// A new turn begins; `now` is its time throughout.
    fn begin_turn(&mut self, now: Instant);

    /// A source of the batch is ready.
    fn on_ready(&mut self, token: Token, readiness: Readiness);

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
            match self.poll.poll(&mut self.events, timeout) {
                Ok(()) => {}
                // SIGSTOP and SIGCONT do that too. What happened meanwhile must be heard before any
                // deadline is: a peer that has spoken is not silent.
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    timeout = Some(Duration::ZERO);
                    continue;
                }
                Err(error) => return Err(error),
            }
            let now = Instant::EPOCH + self.began.elapsed();
            handler.begin_turn(now);
            for event in &self.events {
                handler.on_ready(event.token(), Readiness::from(event));
            }
            timeout = match handler.end_turn() {
                Next::Poll => Some(Duration::ZERO),
                Next::Wait(deadline) => deadline.map(|at| at.saturating_duration_since(now)),
                Next::Stop => return Ok(()),
            };
        }
    }
}
