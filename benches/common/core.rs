//! Processor cores: one for the server and its commands, another for whoever loads it.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The two cores of a measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// Where the server runs, with all of its threads and commands.
    pub(crate) server: usize,
    /// Where the load comes from.
    pub(crate) load: usize,
}

impl Cores {
    /// The first and the last core that this process may use; the same one if there is no other.
    /// It is for the start: once pinned, this process may use one core alone.
    pub(crate) fn choose() -> Cores {
        let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
        let mut cores = (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap_or(false));
        let server = cores.next().unwrap_or(0);
        Cores {
            server,
            load: cores.next_back().unwrap_or(server),
        }
    }

    /// Moves this thread to the core of the load.
    pub(crate) fn pin_load(self) {
        pin(self.load);
    }

    /// Does something on the server's core, which a process that is started meanwhile inherits:
    /// so it is there before its first thread.
    pub(crate) fn on_server<T>(self, start: impl FnOnce() -> T) -> T {
        pin(self.server);
        let started = start();
        pin(self.load);
        started
    }
}

fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .expect("a core that this process was allowed a moment ago");
}
