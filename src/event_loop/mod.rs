//! The event loop: it waits for events, reads the clock once, delivers the events, lets timers
//! fire, and starts again.
//!
//! This folder knows tokens, readiness and time. Sockets, WebSockets and processes are behind the
//! [`Handler`], which is the server, or a test.
//!
//! # A turn
//!
//! One pass of the loop is a *turn*, and the events that it delivers are its *batch*:
//!
//! ```text
//!   +---> epoll_wait(2)         sleeps until there is an event, or until the next timer is due
//!   |          |
//!   |          v
//!   |     read the clock        begin_turn(now): every step of this turn uses this time
//!   |          |
//!   |          v
//!   |     deliver the batch     on_ready(token, readiness) for each event
//!   |          |
//!   |          v
//!   |     end the turn          end_turn(seen_until): fire timers, do deferred work, free entries
//!   |          |
//!   |          +-- Next::Stop ----> run() returns
//!   |          |
//!   +----------+-- Next::Wait(time of the next timer), or Next::Poll: work is left, do not sleep
//! ```
//!
//! # Edge-triggered readiness
//!
//! A level-triggered epoll reports a socket in every batch as long as it has something to read. An
//! edge-triggered one, which mio uses, reports it once, when more has arrived (epoll(7)). So a
//! socket is registered only once: a paused socket can stay in epoll without making the loop spin.
//! The price is bookkeeping: if we stop reading before the socket is empty, no further event
//! announces the rest. [`readiness`] remembers what was announced.
//!
//! # Why a timer fires only after one more poll
//!
//! Suppose that a client is dropped when it has been silent for 60 s. Its next pong arrives after
//! 59.9 s, but at that moment the machine is busy, and this process does not run:
//!
//! ```text
//!   0 s      59.8 s                 59.9 s          60.1 s
//!   pong     epoll_wait returns     pong arrives    we read the clock: 60 s are over!
//! ```
//!
//! The timer is due, and yet the client was not silent: its pong is still in the kernel. The same
//! happens when a batch is full and the pong is not in it. So timers are not compared with the
//! clock, but with `seen_until`: the latest time up to which every event has been delivered. A batch
//! contains all that happened before its poll began (unless it is full), so that is the time of the
//! previous turn.
//!
//! An isolated timer therefore takes two calls of `epoll_wait`: the first sleeps until its time,
//! the second returns at once and shows that no event came before. A busy loop polls again anyway.

pub(crate) mod arena;
pub(crate) mod buffer_pool;
pub mod instant;
pub(crate) mod outbox;
pub mod readiness;
pub(crate) mod timers;
pub(crate) mod token;

use std::io::{self, ErrorKind};
use std::time::{self, Duration};

use mio::{Events, Poll, Registry, Token};

use self::instant::Instant;
use self::readiness::Readiness;

/// The receiver of the loop's events.
pub trait Handler {
    /// A turn begins at `now`, which is its time until it ends.
    fn begin_turn(&mut self, now: Instant);

    /// The source with this token is ready.
    fn on_ready(&mut self, token: Token, readiness: Readiness);

    /// An upper bound for the number of registered sources.
    fn sources_max(&self) -> usize;

    /// The batch is delivered. Every event up to `seen_until`, which is at most the turn's time,
    /// has been delivered in this turn or before, so only timers due by then may fire.
    fn end_turn(&mut self, seen_until: Instant) -> Next;
}

/// What the loop does after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Poll without sleeping: work was deferred to the next turn.
    Poll,
    /// Sleep until there is an event, or until this time if there is one.
    Wait(Option<Instant>),
    /// Leave the loop.
    Stop,
}

/// The clock of a loop. The loop reads it once a turn; everything else takes that time, except the
/// bound on the length of a turn.
#[derive(Clone, Copy, Debug)]
pub struct Clock(time::Instant);

impl Clock {
    /// A clock that starts at [`Instant::EPOCH`].
    pub fn start() -> Self {
        Self(time::Instant::now())
    }

    /// The time now.
    pub(crate) fn now(self) -> Instant {
        Instant::EPOCH + self.0.elapsed()
    }
}

/// An epoll instance and the buffer for its batches.
pub(crate) struct EventLoop {
    poll: Poll,
    events: Events,
    batch_len: usize,
    /// The time that [`Instant::EPOCH`] stands for.
    clock: Clock,
}

impl EventLoop {
    /// A loop whose batches have at most `batch_len` events.
    ///
    /// # Errors
    ///
    /// As `epoll_create1(2)`.
    pub(crate) fn new(batch_len: usize) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(batch_len),
            batch_len,
            clock: Clock::start(),
        })
    }

    /// The clock of the loop.
    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// Registers sources with the loop.
    pub(crate) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Runs turns until the handler returns [`Next::Stop`].
    ///
    /// # Errors
    ///
    /// As `epoll_wait(2)`, except EINTR.
    pub(crate) fn run(&mut self, handler: &mut impl Handler) -> io::Result<()> {
        let mut timeout = Some(Duration::ZERO);
        let mut now = Instant::EPOCH;
        let mut seen = SeenUntil::new();
        loop {
            // The poll begins after the last reading of the clock, so that time is on the safe
            // side.
            let polled_at = now;
            self.poll(timeout)?;
            now = self.clock.now();
            handler.begin_turn(now);
            let is_full = self.dispatch(handler) == self.batch_len;
            let round_len = handler.sources_max() / self.batch_len + 1;
            let seen_until = seen.dispatched(polled_at, is_full, round_len);
            timeout = match handler.end_turn(seen_until) {
                Next::Poll => Some(Duration::ZERO),
                Next::Wait(at) => at.map(|at| at.saturating_duration_since(now)),
                Next::Stop => return Ok(()),
            };
        }
    }

    /// Gets the next batch; without a timeout it waits for an event. The batch is empty when a
    /// signal interrupts the wait, as SIGCONT after SIGSTOP does (signal(7)).
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            other => other,
        }
    }

    /// Delivers the batch and returns the number of its events.
    fn dispatch(&self, handler: &mut impl Handler) -> usize {
        self.events
            .iter()
            .map(|event| handler.on_ready(event.token(), Readiness::from(event)))
            .count()
    }
}

/// The time up to which every event has been delivered. The head of this module gives the reason.
#[derive(Debug)]
struct SeenUntil {
    at: Instant,
    /// The number of full batches in a row, and when the poll for the first of them began.
    full_batches: usize,
    full_since: Instant,
}

impl SeenUntil {
    const fn new() -> Self {
        Self {
            at: Instant::EPOCH,
            full_batches: 0,
            full_since: Instant::EPOCH,
        }
    }

    /// A batch was delivered whose poll began at `polled_at`. Returns the new `seen_until`.
    ///
    /// A batch with room to spare contains all that happened before its poll. Full batches go round
    /// the ready sources in turn (epoll_wait(2)), so `round_len` of them in a row contain an event
    /// of every source that was ready before the first.
    fn dispatched(&mut self, polled_at: Instant, is_full: bool, round_len: usize) -> Instant {
        if !is_full {
            self.full_batches = 0;
            self.at = polled_at;
            return self.at;
        }
        if self.full_batches == 0 {
            self.full_since = polled_at;
        }
        self.full_batches += 1;
        if self.full_batches >= round_len {
            self.full_batches = 0;
            self.at = self.full_since;
        }
        self.at
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use mio::Interest;
    use mio::unix::pipe;

    use super::*;

    /// A handler that records the time of each turn and its `seen_until`, and stops after three.
    #[derive(Default)]
    struct Recorder {
        times: Vec<Instant>,
        seen_until: Vec<Instant>,
    }

    impl Handler for Recorder {
        fn begin_turn(&mut self, now: Instant) {
            self.times.push(now);
        }

        fn on_ready(&mut self, _: Token, _: Readiness) {}

        fn sources_max(&self) -> usize {
            1
        }

        fn end_turn(&mut self, seen_until: Instant) -> Next {
            self.seen_until.push(seen_until);
            match self.seen_until.len() {
                3 => Next::Stop,
                _ => Next::Wait(Some(seen_until + Duration::from_millis(2))),
            }
        }
    }

    #[test]
    fn each_turn_has_seen_events_up_to_the_time_of_the_turn_before() {
        let mut event_loop = EventLoop::new(2).expect("an epoll instance");
        let mut peer = pipe::new().expect("a pipe");
        let registry = event_loop.registry();
        let registered = registry.register(&mut peer.1, Token(0), Interest::READABLE);
        registered.expect("registers");
        peer.0.write_all(b"!").expect("room");
        let mut recorder = Recorder::default();
        event_loop.run(&mut recorder).expect("runs");
        let before = [Instant::EPOCH, recorder.times[0], recorder.times[1]];
        assert_eq!(recorder.seen_until, before);
        assert!(recorder.times[2] > recorder.times[0]);
    }

    #[test]
    fn full_batches_hold_timers_back_for_one_round_and_no_longer() {
        let at = |second| Instant::EPOCH + Duration::from_secs(second);
        let mut seen = SeenUntil::new();
        assert_eq!(seen.dispatched(at(1), false, 3), at(1));
        // Three batches contain every source; later events are in the next three.
        for round in [2, 5, 8] {
            assert!(seen.dispatched(at(round), true, 3) < at(round));
            assert!(seen.dispatched(at(round + 1), true, 3) < at(round));
            assert_eq!(seen.dispatched(at(round + 2), true, 3), at(round));
        }
        assert_eq!(seen.dispatched(at(11), true, 3), at(8));
        // A batch with room to spare contains all that was left.
        assert_eq!(seen.dispatched(at(12), false, 3), at(12));
        assert_eq!(
            seen.dispatched(at(13), true, 3),
            at(12),
            "the count starts again"
        );
    }
}
