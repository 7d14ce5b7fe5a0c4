//! Children and process groups: reaping, signalling, probing.
//!
//! A group has the number of its leader. While the leader is not reaped, the number is its own. After
//! that the kernel keeps the number only as long as the group has members, and the last of them may
//! be reaped by a parent outside the group, unseen by the server. The number may then name strangers.
//!
//! So the server opens a PID file descriptor (`pidfd_open(2)`) of each leader before it reaps it. The
//! descriptor names this group for good, and a signal through it reaches this group or none
//! (PIDFD_SIGNAL_PROCESS_GROUP of `pidfd_send_signal(2)`, since Linux 6.9). Only groups that outlive
//! their leader keep one. Older kernels are given the number; there the server's frequent probes
//! leave little time in which a number can be used again
//! ([`GROUP_PROBE`](crate::limits::GROUP_PROBE)).
//!
//! Processes of a command that have left its group are found by [`Jobs`].

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::signal::{Signal as NixSignal, kill};
use nix::unistd::{Pid as NixPid, getpgid};

use super::jobs::Jobs;
use super::pidfd::{open_pid, send_signal, system_signal};
use crate::config::Signal;
use crate::system::{Exit, Group, Pid};

/// The PID that means "any child" to `waitpid(2)`.
const ANY_CHILD: Pid = -1;

/// The process groups of the commands, by their leaders.
pub(super) struct Groups {
    /// A descriptor of the leader, if that was reaped and the kernel can signal groups by it.
    descriptors: BTreeMap<Pid, Option<OwnedFd>>,
    /// Whether the kernel can.
    by_descriptor: bool,
    /// What has left the groups.
    pub(super) jobs: Jobs,
}

impl Groups {
    pub(super) fn new() -> Self {
        Self {
            descriptors: BTreeMap::new(),
            by_descriptor: can_signal_by_descriptor(),
            jobs: Jobs::new(),
        }
    }

    /// A command was started as the leader of its group. Any earlier group with this number is gone.
    pub(super) fn started(&mut self, leader: Pid) {
        self.descriptors.insert(leader, None);
        self.jobs.forget(leader);
    }

    /// The group will not be signalled or probed any more.
    pub(super) fn release(&mut self, leader: Pid) {
        self.descriptors.remove(&leader);
        self.jobs.forget(leader);
    }

    /// Signals every member of a group; without a signal it only probes. Zombies are members, so
    /// reap before you probe.
    pub(super) fn signal(&mut self, leader: Pid, signal: Option<Signal>) -> Group {
        let signal = signal.map(system_signal);
        let group = match self.descriptors.get(&leader) {
            // Not one of ours, or found gone before.
            None => Group::Gone,
            Some(None) => answer(kill_group(leader, signal)),
            Some(Some(descriptor)) => {
                let group = answer(signal_group(descriptor.as_raw_fd(), signal));
                if group == Group::Alive {
                    self.jobs.group_is_alive(leader);
                }
                group
            }
        };
        if group == Group::Gone {
            self.descriptors.remove(&leader);
        }
        group
    }

    /// Reaps a child that has ended: this one, or any.
    pub(super) fn reap(&mut self, which: Option<Pid>) -> Option<(Pid, Exit)> {
        let which = which.unwrap_or(ANY_CHILD);
        if !self.by_descriptor {
            let reaped = wait(which);
            if let Some((pid, _)) = reaped
                && self.descriptors.contains_key(&pid)
            {
                self.jobs.reaped(pid);
            }
            return reaped;
        }
        // "Any child" includes the adopted orphans of commands. They may lead groups too, but only
        // those of commands are signalled.
        let pid = ended(which)?;
        // A leader that has a descriptor was reaped before: an orphan was given its number.
        if let Some(kept @ None) = self.descriptors.get_mut(&pid) {
            // Without a descriptor (EMFILE) the number has to do.
            *kept = open_pid(pid);
            self.jobs.reaped(pid);
        }
        let reaped = wait(pid);
        // Most groups end with their leader. Their descriptors are closed now.
        self.signal(pid, None);
        reaped
    }
}

/// What the result of a signal says of the group.
fn answer(signalled: nix::Result<()>) -> Group {
    match signalled {
        Err(Errno::ESRCH) => Group::Gone,
        // EPERM: the group has members, but the server may signal none of them.
        Ok(()) | Err(_) => Group::Alive,
    }
}

/// `kill(2)` of a group by its number.
fn kill_group(leader: Pid, signal: Option<NixSignal>) -> nix::Result<()> {
    // For kill(2), 0 means our own group, and -1 every process.
    if leader <= 1 {
        return Err(Errno::ESRCH);
    }
    kill(NixPid::from_raw(-leader), signal)
}

/// `pidfd_send_signal(2)` to the group that the process leads or led.
fn signal_group(leader: RawFd, signal: Option<NixSignal>) -> nix::Result<()> {
    const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;
    send_signal(leader, signal, PIDFD_SIGNAL_PROCESS_GROUP)
}

/// Whether the kernel can signal groups by descriptor, and no sandbox forbids it.
fn can_signal_by_descriptor() -> bool {
    let own = open_pid(std::process::id() as Pid);
    // ESRCH: this process leads no group. An older kernel says EINVAL.
    own.is_some_and(|own| {
        let probed = signal_group(own.as_raw_fd(), None);
        matches!(probed, Ok(()) | Err(Errno::ESRCH))
    })
}

/// The PID of a child that has ended, one of those that `which` means in `waitpid(2)`. It is not
/// reaped.
#[allow(unsafe_code)]
fn ended(which: Pid) -> Option<Pid> {
    let (kind, id) = match which {
        ANY_CHILD => (libc::P_ALL, 0),
        pid => (libc::P_PID, libc::id_t::try_from(pid).ok()?),
    };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: `info` outlives the call. It is all zeroes or what the kernel has written, and both
    // are valid; where no child has ended, its PID is 0.
    let pid = unsafe {
        match libc::waitid(kind, id, info.as_mut_ptr(), flags) {
            0 => info.assume_init().si_pid(),
            _ => 0,
        }
    };
    (pid > 0).then_some(pid)
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
    use std::fs;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_number_that_means_other_processes_to_kill_is_no_group() {
        for leader in [1, 0, -1] {
            assert_eq!(kill_group(leader, None), Err(Errno::ESRCH));
        }
    }

    /// The two ways to name a group.
    fn ways() -> [Groups; 2] {
        let by_number = Groups {
            by_descriptor: false,
            ..Groups::new()
        };
        [Groups::new(), by_number]
    }

    fn in_own_group(script: &str, group: Pid) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]).process_group(group);
        command.stdin(Stdio::null());
        command.spawn().unwrap()
    }

    fn reap(groups: &mut Groups, pid: Pid) -> Exit {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some((reaped, exit)) = groups.reap(Some(pid)) {
                assert_eq!(reaped, pid);
                return exit;
            }
            assert!(Instant::now() < deadline, "{pid} does not end");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_group_outlives_its_leader_until_its_last_member_is_reaped() {
        for mut groups in ways() {
            let leader = in_own_group("exit 1", 0).id() as Pid;
            groups.started(leader);
            let mut member = in_own_group("exec sleep 1000", leader);
            assert_eq!(groups.signal(leader, Some(Signal::Winch)), Group::Alive);
            assert_eq!(reap(&mut groups, leader), Exit::Status(1));
            assert_eq!(groups.signal(leader, None), Group::Alive);
            assert_eq!(groups.signal(leader, Some(Signal::Kill)), Group::Alive);
            member.wait().unwrap();
            assert_eq!(groups.signal(leader, Some(Signal::Kill)), Group::Gone);
            assert!(groups.descriptors.is_empty());
        }
    }

    #[test]
    fn a_group_that_ends_with_its_leader_keeps_no_descriptor() {
        for mut groups in ways() {
            let leader = in_own_group("exit 3", 0).id() as Pid;
            groups.started(leader);
            assert_eq!(reap(&mut groups, leader), Exit::Status(3));
            assert_eq!(groups.signal(leader, None), Group::Gone);
            assert!(groups.descriptors.is_empty());
        }
    }

    #[test]
    fn a_released_group_is_not_signalled() {
        let mut groups = Groups::new();
        let mut leader = in_own_group("exec sleep 1000", 0);
        groups.started(leader.id() as Pid);
        groups.release(leader.id() as Pid);
        let group = groups.signal(leader.id() as Pid, Some(Signal::Kill));
        assert_eq!(group, Group::Gone);
        assert_eq!(leader.try_wait().unwrap(), None);
        leader.kill().unwrap();
        leader.wait().unwrap();
    }

    /// A group whose last member was reaped by another than the server, and a stranger that was given
    /// its number. `None`, after a report, where that cannot be made.
    fn ended_unseen(groups: &mut Groups) -> Option<Child> {
        let skipped = |why: &str| eprintln!("SKIPPED: {why}");
        if !groups.by_descriptor {
            skipped("the kernel cannot signal a group by a descriptor");
            return None;
        }
        let leader = in_own_group("exit 0", 0).id() as Pid;
        groups.started(leader);
        let mut member = in_own_group("exec sleep 1000", leader);
        reap(groups, leader);
        member.kill().unwrap();
        member.wait().unwrap();
        let stranger = with_number(leader);
        if stranger.is_none() {
            skipped("the next PID cannot be chosen here (/proc/sys/kernel/ns_last_pid)");
        }
        stranger
    }

    /// Whether the child runs, which ends now.
    fn ran_until_now(mut child: Child) -> bool {
        let runs = child.try_wait().unwrap().is_none();
        child.kill().unwrap();
        child.wait().unwrap();
        runs
    }

    #[test]
    fn a_signal_does_not_hit_a_stranger_that_was_given_the_number_of_the_group() {
        let mut groups = Groups::new();
        let Some(stranger) = ended_unseen(&mut groups) else {
            return;
        };
        let group = groups.signal(stranger.id() as Pid, Some(Signal::Kill));
        assert!(ran_until_now(stranger), "the stranger was killed");
        assert_eq!(group, Group::Gone);
    }

    /// The stranger is an orphan that the server reaps, and leaves a group of its own.
    #[test]
    fn the_group_of_an_orphan_is_not_taken_for_that_of_a_command() {
        let mut groups = Groups::new();
        let Some(mut orphan) = ended_unseen(&mut groups) else {
            return;
        };
        let number = orphan.id() as Pid;
        let member = in_own_group("exec sleep 1000", number);
        orphan.kill().unwrap();
        reap(&mut groups, number);
        let group = groups.signal(number, Some(Signal::Kill));
        assert!(ran_until_now(member), "the orphan's group was killed");
        assert_eq!(group, Group::Gone);
    }

    /// A process with this number that leads a group of its own.
    fn with_number(pid: Pid) -> Option<Child> {
        // Other tests start processes too, and may take the number first.
        for _ in 0..100 {
            fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).ok()?;
            let mut stranger = in_own_group("exec sleep 1000", 0);
            if stranger.id() as Pid == pid {
                return Some(stranger);
            }
            stranger.kill().unwrap();
            stranger.wait().unwrap();
        }
        None
    }
}
