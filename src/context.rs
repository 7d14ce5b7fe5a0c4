//! What every life borrows for the length of a call: [`Context`].

use crate::config::ClientLimits;
use crate::event_loop::buffer_pool::Pool;
use crate::event_loop::instant::Instant;
use crate::limits::{POOL_BUFFER_LEN_MAX, POOL_BUFFERS_MAX, SCRATCH_LEN};
use crate::log::Log;

/// The clock, the limits, the shared buffers and the log. There is one, and the server owns it.
pub struct Context {
    /// The time of the present turn. Nothing but the loop reads the clock.
    pub(crate) now: Instant,
    /// All that had happened by then has been told; never later than `now`. Whether a peer was silent
    /// for too long is judged as of then ([`crate::event_loop`]).
    pub(crate) seen_until: Instant,
    /// Sizes and time-outs of a client's connection.
    pub(crate) limits: ClientLimits,
    /// The one buffer that sockets and pipes are read into. Nothing stays in it beyond a call.
    pub(crate) scratch: Box<[u8]>,
    /// Buffers for whoever has something to keep.
    pub(crate) pool: Pool,
    /// Where the server says what happened.
    pub(crate) log: Log,
}

impl Context {
    /// The context of a server that starts at `now`.
    pub fn new(limits: ClientLimits, log: Log, now: Instant) -> Self {
        Self {
            now,
            seen_until: now,
            limits,
            scratch: vec![0; SCRATCH_LEN].into_boxed_slice(),
            pool: Pool::new(POOL_BUFFERS_MAX, POOL_BUFFER_LEN_MAX),
            log,
        }
    }
}
