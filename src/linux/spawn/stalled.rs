//! Programs whose start did not become a command in time: [`Stalled`].
//!
//! The server waits for exec, and exec waits for the file: as long as its server is down (NFS), as
//! its daemon hangs (FUSE), or as another process keeps a lease on it (fcntl(2)). So each wait has a
//! limit (`room.rs`), and a program that reached it is not tried again at once. With one such
//! program or with many, waiting for them takes at most a tenth of the server's time.

use std::ffi::{OsStr, OsString};
use std::mem;
use std::time::Instant;

use super::room::Room;
use crate::limits::START_RETRY;

/// The programs that may not start for now.
#[derive(Default)]
pub(super) struct Stalled(Vec<Entry>);

struct Entry {
    program: OsString,
    retry_at: Instant,
    /// What a child still uses that could not be killed.
    room: Option<Box<Room>>,
}

impl Stalled {
    /// Whether a program may be tried: it has not stalled, or long ago. While its last child cannot
    /// be killed, a further one would only add to the processes that nobody can remove.
    pub(super) fn may_start(&self, program: &OsStr, now: Instant) -> bool {
        let mut entries = self.0.iter();
        match entries.find(|entry| entry.program == program) {
            Some(entry) => now >= entry.retry_at && !entry.has_child(),
            None => true,
        }
    }

    /// A program did not start in time. `room` is in use until its child is gone.
    pub(super) fn timed_out(&mut self, program: &OsStr, now: Instant, room: Option<Box<Room>>) {
        self.started(program);
        let programs = self.0.len() as u32 + 1;
        self.0.push(Entry {
            program: program.to_owned(),
            retry_at: now + START_RETRY * programs,
            room,
        });
    }

    /// A program has started.
    pub(super) fn started(&mut self, program: &OsStr) {
        self.0.retain(|entry| entry.program != program);
    }
}

impl Entry {
    fn has_child(&self) -> bool {
        self.room.as_ref().is_some_and(|room| room.is_in_use())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // The kernel will write to the memory of a child that is still there.
        if self.has_child() {
            mem::forget(self.room.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_program_that_stalled_is_tried_again_later() {
        let (one, two) = (OsStr::new("one"), OsStr::new("two"));
        let (start, moment) = (Instant::now(), Duration::from_nanos(1));
        let mut stalled = Stalled::default();
        assert!(stalled.may_start(one, start));
        stalled.timed_out(one, start, None);
        assert!(!stalled.may_start(one, start + START_RETRY - moment));
        assert!(stalled.may_start(one, start + START_RETRY));
        assert!(stalled.may_start(two, start), "others are not affected");

        // The more programs stall, the longer each waits.
        stalled.timed_out(two, start, None);
        assert!(!stalled.may_start(two, start + START_RETRY * 2 - moment));
        assert!(stalled.may_start(two, start + START_RETRY * 2));
        stalled.timed_out(two, start, None);
        assert!(stalled.may_start(two, start + START_RETRY * 2), "the same");

        stalled.started(one);
        stalled.started(two);
        assert!(stalled.may_start(one, start) && stalled.may_start(two, start));
        stalled.timed_out(one, start, None);
        assert!(stalled.may_start(one, start + START_RETRY));
    }

    #[test]
    fn a_program_is_not_tried_while_its_last_child_cannot_be_killed() {
        let (program, start) = (OsStr::new("program"), Instant::now());
        let mut stalled = Stalled::default();
        let room = Box::new(Room::new());
        room.enter();
        stalled.timed_out(program, start, Some(room));
        let later = start + START_RETRY * 100;
        assert!(!stalled.may_start(program, later));
        let room = stalled.0[0].room.as_ref().unwrap();
        room.in_use.store(0, Ordering::Release);
        assert!(stalled.may_start(program, later));
    }
}
