//! PID file descriptors (`pidfd_open(2)`, since Linux 5.3): names of processes that no other process
//! gets. `nix` has no functions for them.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::signal::Signal as NixSignal;

use crate::config::Signal;
use crate::system::Pid;

/// `pidfd_open(2)`. The descriptor is close-on-exec.
#[allow(unsafe_code)]
pub(super) fn open_pid(pid: Pid) -> Option<OwnedFd> {
    // SAFETY: only numbers are passed.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let descriptor = RawFd::try_from(Errno::result(descriptor).ok()?).ok()?;
    // SAFETY: it was opened just now, and this is its only owner.
    Some(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// `pidfd_send_signal(2)`.
#[allow(unsafe_code)]
pub(super) fn send_signal(
    process: RawFd,
    signal: Option<NixSignal>,
    flags: libc::c_uint,
) -> nix::Result<()> {
    let signal = signal.map_or(0, |signal| signal as libc::c_int);
    // SAFETY: only numbers are passed, and no information about the signal (a null pointer).
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process,
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            flags,
        )
    };
    Errno::result(result).map(drop)
}

pub(super) fn system_signal(signal: Signal) -> NixSignal {
    match signal {
        Signal::Hangup => NixSignal::SIGHUP,
        Signal::Interrupt => NixSignal::SIGINT,
        Signal::Quit => NixSignal::SIGQUIT,
        Signal::Abort => NixSignal::SIGABRT,
        Signal::User1 => NixSignal::SIGUSR1,
        Signal::User2 => NixSignal::SIGUSR2,
        Signal::Alarm => NixSignal::SIGALRM,
        Signal::Terminate => NixSignal::SIGTERM,
        Signal::Winch => NixSignal::SIGWINCH,
        Signal::Kill => NixSignal::SIGKILL,
    }
}
