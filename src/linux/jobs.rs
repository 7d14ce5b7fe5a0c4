//! Jobs: the processes of a command that have left its process group.
//!
//! A shell with job control (`set -m`) gives each job a process group of its own (`setpgid(2)`), so a
//! signal to the command's group does not reach it. But the job is still in the command's process
//! session, whose id is the command's PID; only `setsid(2)` leaves that. So [`Jobs::find`] asks for
//! the session of every process in `/proc` (`getsid(2)`), and [`Jobs::signal`] signals those it found,
//! each through a PID file descriptor (`pidfd_open(2)`, since Linux 5.3).
//!
//! # Why no stranger is signalled
//!
//! The id of a session is reserved while the command is not reaped, and then while the session has
//! members. Later it may name the session of a stranger. What tells the two apart is time:
//!
//! **A process of the session is the command's own if it started before a moment at which the id was
//! reserved.** A process enters another session by `setsid` only, and the id of that one is its own
//! PID. At that moment the PID was taken. So the process was in this session then, and because it still
//! is, the session has had a member ever since.
//!
//! - The first such moment is the exit: the command is about to be reaped.
//! - A process that passes the test proves that the id is reserved now. So the moment moves to now,
//!   and the jobs that other jobs have started since the exit pass too. The same after the signals:
//!   what a job started just before SIGKILL passes in the next scan.
//! - If none passes, the session is empty or a stranger's. The server does not ask again.
//!
//! The test is repeated when the descriptor is open: then the signal reaches the process that was
//! tested, or none. Times are in ticks of 10 ms. A number is not used twice in one: PIDs are given out
//! in turn, and there are thousands.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid as NixPid, getpgid, getsid};

use super::pidfd::{open_pid, send_signal, system_signal};
use crate::config::Signal;
use crate::system::{Group, Pid};

/// The jobs of the commands, as far as the last scan has found them.
pub(super) struct Jobs {
    /// For the leader of each session, once it is reaped: the latest time, in ticks since boot, at
    /// which the id of the session was certainly its own. Sorted.
    own_until: Vec<(Pid, u64)>,
    /// What is left to read of `/proc` in this scan.
    processes: Option<fs::ReadDir>,
    /// How many entries it has read.
    entries: usize,
    /// The session and the PID of each process found. Sorted.
    found: Vec<(Pid, Pid)>,
    /// Whether jobs can be found and signalled without mistaking a stranger for one.
    can_signal: bool,
}

impl Jobs {
    pub(super) fn new() -> Self {
        let own = std::process::id() as Pid;
        Self {
            own_until: Vec::new(),
            processes: None,
            entries: 0,
            found: Vec::new(),
            can_signal: open_pid(own).is_some() && matches!(stat_of(own), Ok(Some(_))),
        }
    }

    /// The command is just being reaped. A later process with its PID is not the command.
    pub(super) fn reaped(&mut self, leader: Pid) {
        if let Err(place) = self.place(leader) {
            self.own_until.insert(place, (leader, ticks_since_boot()));
        }
    }

    /// A group whose leader was reaped has members, so the id of the session is certainly its own.
    pub(super) fn group_is_alive(&mut self, leader: Pid) {
        if let Ok(place) = self.place(leader) {
            self.own_until[place].1 = ticks_since_boot();
        }
    }

    /// The id of the session belongs to a command that was not reaped, or to none.
    pub(super) fn forget(&mut self, leader: Pid) {
        if let Ok(place) = self.place(leader) {
            self.own_until.remove(place);
        }
    }

    /// Where the session is in `own_until`, or belongs.
    fn place(&self, leader: Pid) -> Result<usize, usize> {
        self.own_until.binary_search_by_key(&leader, |it| it.0)
    }

    /// Reads the next entries of `/proc`, up to `part`, for processes in the sessions of these leaders
    /// that are not in the group of the same number. Returns the number of all entries when there are
    /// no more.
    pub(super) fn find(&mut self, part: usize, is_leader: &dyn Fn(Pid) -> bool) -> Option<usize> {
        if !self.can_signal {
            return Some(0);
        }
        if self.processes.is_none() {
            self.entries = 0;
            self.found.clear();
            self.processes = fs::read_dir("/proc").ok();
        }
        // It could not be opened: no descriptors are left.
        let processes = self.processes.as_mut()?;
        for _ in 0..part {
            let Some(entry) = processes.next() else {
                self.processes = None;
                return Some(self.entries);
            };
            self.entries += 1;
            let name = entry.map(|entry| entry.file_name()).unwrap_or_default();
            if let Some(number) = parse_pid(name.as_encoded_bytes())
                && let pid = Some(NixPid::from_raw(number))
                && let Ok(session) = getsid(pid)
                && is_leader(session.as_raw())
                && getpgid(pid) != Ok(session)
            {
                let job = (session.as_raw(), number);
                // The kernel lists processes by PID, so this is mostly near the end.
                let place = self.found.partition_point(|it| *it < job);
                self.found.insert(place, job);
            }
        }
        None
    }

    /// Signals the jobs of a command that the last scan has found; without a signal it only tests
    /// whether there are any. Zombies do not count.
    pub(super) fn signal(&mut self, leader: Pid, signal: Option<Signal>) -> Group {
        let first = self.found.partition_point(|it| it.0 < leader);
        let len = self.found[first..].partition_point(|it| it.0 == leader);
        let jobs = &self.found[first..first + len];
        if jobs.is_empty() {
            return Group::Gone;
        }
        let place = self.place(leader).ok();
        // Without a time the command is not reaped, and reserves the id itself.
        let mut until = place.map_or(u64::MAX, |place| still_own(jobs, self.own_until[place].1));
        let mut group = Group::Gone;
        for &(_, pid) in jobs {
            let descriptor = open_pid(pid);
            match stat_of(pid) {
                Ok(Some(stat)) if stat.is_own(leader, until) && !stat.is_zombie => {}
                Ok(_) => continue,
                // It cannot be tested now: no descriptors are left.
                Err(_) => {
                    group = Group::Alive;
                    continue;
                }
            }
            group = Group::Alive;
            if let (Some(descriptor), Some(signal)) = (descriptor, signal) {
                // The next scan shows whether the job has ended.
                let _ = send_signal(descriptor.as_raw_fd(), Some(system_signal(signal)), 0);
            }
        }
        if let Some(place) = place {
            until = still_own(jobs, until);
            self.own_until[place].1 = until;
        }
        group
    }
}

/// Until when the id of the session of these jobs is certainly its own: now, if one of them shows it,
/// or still `until`.
fn still_own(jobs: &[(Pid, Pid)], until: u64) -> u64 {
    let now = ticks_since_boot();
    for &(leader, pid) in jobs {
        if let Ok(Some(stat)) = stat_of(pid)
            && stat.is_own(leader, until)
        {
            return now;
        }
    }
    until
}

/// What the kernel says about a process (`/proc/PID/stat`, proc(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    session: Pid,
    /// In ticks since boot.
    start: u64,
    is_zombie: bool,
}

impl Stat {
    /// Whether the process is in this session, whose id was its leader's until then at least.
    fn is_own(&self, leader: Pid, until: u64) -> bool {
        self.session == leader && self.start <= until
    }
}

/// `None`: there is no such process.
fn stat_of(pid: Pid) -> io::Result<Option<Stat>> {
    // The fields before the last one that counts have 20 digits at most.
    let mut line = [0; 512];
    match File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut line)) {
        Ok(len) => Ok(parse_stat(&line[..len])),
        Err(error) => match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT | Errno::ESRCH) => Ok(None),
            _ => Err(error),
        },
    }
}

fn parse_stat(line: &[u8]) -> Option<Stat> {
    // The second field is the name in parentheses, which may itself contain any byte.
    let name_end = line.iter().rposition(|&byte| byte == b')')?;
    // The fields are numbered from 1 in proc(5). The third is a letter, the state.
    let (mut fields, mut field) = ([0_u64; 23], 2);
    for &byte in &line[name_end + 1..] {
        let value = &mut fields[field];
        match byte {
            b' ' if field == 22 => {
                return Some(Stat {
                    session: fields[6] as Pid,
                    start: fields[22],
                    // The first thread of a process may exit before the others.
                    is_zombie: matches!(fields[3] as u8, b'Z' | b'X') && fields[20] <= 1,
                });
            }
            b' ' => field += 1,
            b'0'..=b'9' => *value = value.wrapping_mul(10).wrapping_add((byte - b'0').into()),
            _ => *value = byte.into(),
        }
    }
    None
}

fn parse_pid(name: &[u8]) -> Option<Pid> {
    let mut pid: Pid = 0;
    for digit in name {
        if !digit.is_ascii_digit() {
            return None;
        }
        pid = pid.wrapping_mul(10).wrapping_add(Pid::from(digit - b'0'));
    }
    Some(pid)
}

/// The clock of the start times in `/proc`, rounded down as they are. A tick is one of USER_HZ, which is
/// 100 on every architecture that Linux has today.
fn ticks_since_boot() -> u64 {
    // Every kernel that has PID file descriptors has this clock.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |now| {
        now.tv_sec() as u64 * 100 + now.tv_nsec() as u64 / 10_000_000
    })
}

#[cfg(test)]
mod tests;
