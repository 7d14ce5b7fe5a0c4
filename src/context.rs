//! The part of the server that a client or process borrows during a call: [`Context`].

use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::ClientLimits;
use crate::event_loop::buffer_pool::Pool;
use crate::event_loop::instant::Instant;
use crate::http::date::HttpDate;
use crate::limits::{POOL_BUFFER_LEN_MAX, POOL_BUFFERS_MAX, SCRATCH_LEN};
use crate::log::Log;
use crate::memory::Memory;

/// The clock, the limits, the shared buffers and the log. The server owns the only one.
pub struct Context {
    /// The time of this turn, as the event loop read it from the clock.
    pub(crate) now: Instant,
    /// Every event up to this time has been delivered, and the visits that it asked for have taken
    /// place; at most `now`. What a peer did or did not do is judged by this time
    /// ([`crate::event_loop`] says why); what we owe it is judged by `now`.
    pub(crate) acted_until: Instant,
    /// Sizes and time-outs of a client's connection. The high-water mark is lowered while memory is
    /// short.
    pub(crate) limits: ClientLimits,
    /// The one buffer that sockets and pipes are read into. Its content is valid during a call only.
    pub(crate) scratch: Box<[u8]>,
    /// Buffers for bytes that have to be kept after a call.
    pub(crate) pool: Pool,
    /// How much memory those buffers take.
    pub(crate) memory: Memory,
    /// The log.
    pub(crate) log: Log,
}

impl Context {
    /// The context of a server that starts at `now` and may use `memory_max` bytes for buffers.
    pub fn new(limits: ClientLimits, memory_max: usize, log: Log, now: Instant) -> Self {
        Self {
            now,
            acted_until: now,
            memory: Memory::new(memory_max, limits.high_water),
            limits,
            scratch: vec![0; SCRATCH_LEN].into_boxed_slice(),
            pool: Pool::new(POOL_BUFFERS_MAX, POOL_BUFFER_LEN_MAX),
            log,
        }
    }

    /// An entry that was charged `charged` bytes holds `held` now. While memory is short, reading
    /// pauses earlier and no spare buffers are kept.
    pub(crate) fn charge(&mut self, charged: &mut u32, held: usize) {
        if held == *charged as usize {
            // The usual case: nothing was kept, before and after.
            return;
        }
        self.memory.charge(charged, held);
        self.limits.high_water = self.memory.high_water();
        if self.memory.is_short() {
            self.pool.clear();
        }
    }

    /// The time of day, for a response. It is read when one is written: no decision depends on it.
    pub(crate) fn date(&self) -> HttpDate {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        HttpDate::since_1970(since_1970.unwrap_or_default())
    }
}
