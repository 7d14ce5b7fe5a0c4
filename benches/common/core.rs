//! Processor cores: one for the server and its commands, another for the load.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The two cores of a measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// The core of the server, with all of its threads and commands.
    pub(crate) server: usize,
    /// The core of the load.
    pub(crate) load: usize,
}

impl Cores {
    /// Chooses the first and the last core that this process may use; they are the same if there is
    /// only one. Call this before pinning, after which the process may use one core only.
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

    /// Runs `start` on the server's core. A process started in it inherits the core before its
    /// first thread exists.
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
        .expect("pin to a core that this process may use");
}
