//! Something that can be visited and can have a timer: [`Owner`].

use crate::event_loop::timers::TimerOwner;
use crate::source::{ClientId, ProcessId};

/// Something that can be visited and can have a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Client(ClientId),
    Process(ProcessId),
    /// A listener, by its index.
    Listener(u32),
    /// The listeners whose connections wait for descriptors.
    AcceptRetry,
    /// The restart of the shared command.
    Restart,
    /// The sweep for exited children whose SIGCHLD was coalesced.
    Reap,
    /// The scan for jobs.
    Jobs,
    /// The end of the drain.
    Shutdown,
}

// Packed for the timers: three bits of kind, 29 of key, 32 of generation. This is not the layout of a
// token, which has room for a part of the generation only.
const KIND_SHIFT: u32 = 61;
const KEY_MASK: u32 = (1 << 29) - 1;

impl From<Owner> for u64 {
    fn from(owner: Owner) -> u64 {
        let (kind, key, generation) = match owner {
            Owner::Client(id) => (0, id.key(), id.generation()),
            Owner::Process(id) => (1, id.key(), id.generation()),
            Owner::Listener(index) => (2, index, 0),
            Owner::AcceptRetry => (3, 0, 0),
            Owner::Shutdown => (4, 0, 0),
            Owner::Restart => (5, 0, 0),
            Owner::Reap => (6, 0, 0),
            Owner::Jobs => (7, 0, 0),
        };
        debug_assert!(key <= KEY_MASK, "more slots than Linux has descriptors");
        kind << KIND_SHIFT | u64::from(key) << 32 | u64::from(generation)
    }
}

impl From<u64> for Owner {
    fn from(bits: u64) -> Owner {
        let (key, generation) = ((bits >> 32) as u32 & KEY_MASK, bits as u32);
        match bits >> KIND_SHIFT {
            0 => Owner::Client(ClientId::from_parts(key, generation)),
            1 => Owner::Process(ProcessId::from_parts(key, generation)),
            2 => Owner::Listener(key),
            3 => Owner::AcceptRetry,
            4 => Owner::Shutdown,
            5 => Owner::Restart,
            6 => Owner::Reap,
            _ => Owner::Jobs,
        }
    }
}

impl TimerOwner for Owner {
    const KINDS: usize = 8;

    fn number(self) -> (usize, usize) {
        let bits = u64::from(self);
        let key = (bits >> 32) as u32 & KEY_MASK;
        ((bits >> KIND_SHIFT) as usize, key as usize)
    }
}
