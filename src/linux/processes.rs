//! Children and process groups: reaping, signalling, probing.

use nix::errno::Errno;
use nix::sys::signal::{Signal as NixSignal, kill};
use nix::unistd::{Pid as NixPid, getpgid};

use crate::config::Signal;
use crate::system::{Exit, Group, Pid};

/// The PID that means "any child" to `waitpid(2)`.
pub(super) const ANY_CHILD: Pid = -1;

/// Signals every member of a process group.
pub(super) fn signal_group(leader: Pid, signal: Signal) -> Group {
    let signal = match signal {
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
    };
    kill_group(leader, Some(signal))
}

/// Whether a process group has members. Zombies are members, so reap before you probe.
pub(super) fn probe_group(leader: Pid) -> Group {
    kill_group(leader, None)
}

/// `kill(2)` of a group; without a signal it only probes.
fn kill_group(leader: Pid, signal: Option<NixSignal>) -> Group {
    // For kill(2), 0 means our own group, and -1 every process.
    if leader <= 1 {
        return Group::Gone;
    }
    match kill(NixPid::from_raw(-leader), signal) {
        Err(Errno::ESRCH) => Group::Gone,
        // EPERM: the group has members, but the server may signal none of them.
        Ok(()) | Err(_) => Group::Alive,
    }
}

/// The process group of a process. A zombie still has one, a reaped process has none.
pub(super) fn group_of(pid: Pid) -> Option<Pid> {
    let group = getpgid(Some(NixPid::from_raw(pid)));
    group.ok().map(NixPid::as_raw)
}

/// Reaps an exited child. `which` selects the children as in `waitpid(2)`.
///
/// The function of `nix` cannot be used: for a child that a real-time signal terminated, it reaps
/// the child and returns an error.
#[allow(unsafe_code)]
pub(super) fn wait(which: Pid) -> Option<(Pid, Exit)> {
    let mut status = 0;
    // SAFETY: the int outlives the call.
    let pid = unsafe { libc::waitpid(which, &mut status, libc::WNOHANG) };
    // 0: no child has ended. An error: there is no such child; WNOHANG is never interrupted.
    if pid <= 0 {
        return None;
    }
    // The status has seven bits for the signal and eight for the exit status. Stopped children are
    // not reported, because WUNTRACED is not set.
    let exit = if libc::WIFSIGNALED(status) {
        Exit::Signal(libc::WTERMSIG(status) as u8)
    } else {
        Exit::Status(libc::WEXITSTATUS(status) as u8)
    };
    Some((pid, exit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_means_other_processes_to_kill_is_no_group() {
        for leader in [1, 0, -1] {
            assert_eq!(kill_group(leader, None), Group::Gone);
        }
    }
}
