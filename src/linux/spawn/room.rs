//! The memory that a child writes to until exec, and the wait for its end: [`Room`].

use std::ffi::c_long;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd;

use crate::system::Pid;

/// Bytes of the child's stack until exec. It uses a small part of this; pages that are never
/// touched take no memory.
pub(super) const STACK_LEN: usize = 64 * 1024;

/// How long SIGKILL may take before the child is left behind. A child that does not wait in the
/// kernel, and one in a wait that SIGKILL ends, is gone much sooner.
const KILL_TIME_MAX: Duration = Duration::from_millis(50);

/// What a child uses of our memory that it does not only read.
pub(super) struct Room {
    /// 1 while a child is in our memory. The kernel writes the 0 and wakes the futex.
    pub(super) in_use: AtomicU32,
    pub(super) stack: Box<[MaybeUninit<u8>]>,
}

impl Room {
    pub(super) fn new() -> Self {
        Self {
            in_use: AtomicU32::new(0),
            stack: Box::new_uninit_slice(STACK_LEN),
        }
    }

    /// A child enters.
    pub(super) fn enter(&self) {
        self.in_use.store(1, Ordering::Release);
    }

    /// Whether a child is in our memory.
    pub(super) fn is_in_use(&self) -> bool {
        self.in_use.load(Ordering::Acquire) != 0
    }

    /// Waits until this child has left. If that takes too long, kills the child and returns false.
    pub(super) fn wait(&self, pid: Pid, time_max: Duration) -> bool {
        if self.await_left(time_max) {
            return true;
        }
        let pid = unistd::Pid::from_raw(pid);
        // The child is not reaped, so the PID is its own.
        let _ = kill(pid, Signal::SIGKILL);
        self.await_left(KILL_TIME_MAX);
        // If it is not dead yet, it is reaped later, like the orphans of commands.
        let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
        false
    }

    /// Waits until the child has left, and returns whether it has.
    fn await_left(&self, time_max: Duration) -> bool {
        while self.is_in_use() {
            if futex_wait(&self.in_use, 1, time_max) == Err(Errno::ETIMEDOUT) {
                return !self.is_in_use();
            }
        }
        true
    }
}

/// Waits until `word` is woken or no longer has this value, for at most this time. It may return
/// early without a cause (futex(2)).
#[allow(unsafe_code)]
fn futex_wait(word: &AtomicU32, value: u32, time_max: Duration) -> nix::Result<()> {
    // A `timespec` as this call takes it, also where that of the C library has 64 bits.
    let seconds = time_max.as_secs() as c_long;
    let time_max = [seconds, time_max.subsec_nanos() as c_long];
    let (word, time_max) = (word.as_ptr(), time_max.as_ptr());
    // SAFETY: the word and the time outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, value, time_max) };
    Errno::result(result).map(drop)
}
