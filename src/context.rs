//! What every life borrows for the length of a call: [`Context`].

use crate::config::{Config, POOL_BUFFER_LEN_MAX, POOL_BUFFERS_MAX, SCRATCH_LEN};
use crate::instant::Instant;
use crate::log::Log;
use crate::outbox::Pool;

/// The clock, the limits, the shared buffers and the log. There is one, and the server owns it.
pub struct Context {
    /// The time of the present turn. Nothing but the loop reads the clock.
    pub now: Instant,
    /// All that had happened by then has been told; never later than `now`. Whether a peer was silent
    /// for too long is judged as of then ([`crate::event_loop`]).
    pub heard: Instant,
    /// Every limit and time-out.
    pub config: Config,
    /// The one buffer that sockets and pipes are read into. Nothing stays in it beyond a call.
    pub scratch: Box<[u8]>,
    /// Buffers for whoever has something to keep.
    pub pool: Pool,
    /// Where the server says what happened.
    pub log: Log,
}

impl Context {
    /// The context of a server that starts at `now`.
    pub fn new(config: Config, log: Log, now: Instant) -> Self {
        Self {
            now,
            heard: now,
            config,
            scratch: vec![0; SCRATCH_LEN].into_boxed_slice(),
            pool: Pool::new(POOL_BUFFERS_MAX, POOL_BUFFER_LEN_MAX),
            log,
        }
    }
}
