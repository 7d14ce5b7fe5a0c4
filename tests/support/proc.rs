//! Reads processes from `/proc` (proc(5)).

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// One process. Its start time distinguishes it from a later process with the same PID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    /// `R`, `S`, `Z` and so on.
    pub state: char,
    pub parent: i32,
    pub group: i32,
    pub session: i32,
    /// The controlling terminal's device number; 0 for none.
    pub terminal: i32,
    pub cpu_ticks: u64,
    pub start: u64,
}

impl Process {
    /// The process with this PID, even if it is a zombie.
    pub fn find(pid: i32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the name in parentheses, which may itself contain parentheses.
        let fields: Vec<&str> = stat[stat.rfind(')')? + 1..]
            .split_ascii_whitespace()
            .collect();
        let number = |index: usize| fields.get(index)?.parse::<i64>().ok();
        Some(Process {
            pid,
            state: fields.first()?.chars().next()?,
            parent: number(1)? as i32,
            group: number(2)? as i32,
            session: number(3)? as i32,
            terminal: number(4)? as i32,
            cpu_ticks: (number(11)? + number(12)?) as u64,
            start: number(19)? as u64,
        })
    }

    /// Whether the process has exited. A zombie whose parent is the server does not count as gone,
    /// because the server has to reap it. A zombie with another parent does: the first process of a
    /// container may never reap.
    pub fn is_gone(&self, server: i32) -> bool {
        match Process::find(self.pid) {
            None => true,
            Some(now) => {
                now.start != self.start || (matches!(now.state, 'Z' | 'X') && now.parent != server)
            }
        }
    }

    /// The name of the program that the process now runs; `None` once it has been reaped.
    pub fn name(&self) -> Option<String> {
        let name = fs::read_to_string(format!("/proc/{}/comm", self.pid)).ok()?;
        Some(name.trim_end().to_owned())
    }

    /// How many bytes the process has passed to write(2) so far.
    pub fn bytes_written(&self) -> u64 {
        field(&format!("/proc/{}/io", self.pid), "wchar:")
    }

    /// Waits until the process has written nothing for a while: its pipe is full and is not read.
    #[track_caller]
    pub fn await_stalled(&self) {
        let mut last = None;
        let mut since = Instant::now();
        super::wait_until("the command has stalled", || {
            let now = Some(self.bytes_written());
            if now != last {
                last = now;
                since = Instant::now();
            }
            since.elapsed() > Duration::from_millis(300)
        });
    }
}

/// The number of bytes in the send queue of the socket from `local` to `peer`, not acknowledged by the
/// peer's TCP (`tx_queue` in proc(5)). Both are IPv4 addresses of this machine.
#[track_caller]
pub fn send_queue(local: SocketAddr, peer: SocketAddr) -> usize {
    let hex = |address: SocketAddr| match address {
        SocketAddr::V4(it) => {
            let ip = u32::from_ne_bytes(it.ip().octets());
            format!("{ip:08X}:{:04X}", it.port())
        }
        SocketAddr::V6(_) => panic!("{address} is in another table"),
    };
    let ends = format!(" {} {} ", hex(local), hex(peer));
    let table = fs::read_to_string("/proc/net/tcp").expect("/proc");
    let (_, rest) = table.split_once(&ends).expect("the socket");
    // The state, then both queues: `01 00000000:00000000`.
    let queue = rest.get(3..11).expect("the queue");
    usize::from_str_radix(queue, 16).expect("a number")
}

/// Every process of this machine.
fn all() -> Vec<Process> {
    fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Process::find)
        .collect()
}

/// The children of `pid`, zombies included.
pub fn children_of(pid: i32) -> Vec<Process> {
    all().into_iter().filter(|it| it.parent == pid).collect()
}

/// The children of `pid`, their children, and so on.
pub fn descendants_of(pid: i32) -> Vec<Process> {
    let mut by_parent: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in all() {
        by_parent.entry(process.parent).or_default().push(process);
    }
    let mut found = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for child in by_parent.remove(&parent).unwrap_or_default() {
            parents.push(child.pid);
            found.push(child);
        }
    }
    found
}

/// How many descriptors `pid` has open. The server closes its list to all but root; how long the list
/// is, the kernel says to everyone (since 6.2).
pub fn descriptors_of(pid: i32) -> usize {
    let list = format!("/proc/{pid}/fd");
    match fs::read_dir(&list) {
        Ok(entries) => entries.count(),
        Err(_) => fs::metadata(&list).map_or(0, |it| it.len() as usize),
    }
}

/// The resident anonymous memory of `pid`, in bytes.
pub fn rss_anon(pid: i32) -> u64 {
    field(&format!("/proc/{pid}/status"), "RssAnon:") * 1024
}

/// The anonymous memory of `pid`, in bytes, counted page by page. Exact, while the counters in
/// `status` may lag.
pub fn anonymous(pid: i32) -> u64 {
    field(&format!("/proc/{pid}/smaps_rollup"), "Anonymous:") * 1024
}

/// Every process with `variable` (`NAME=VALUE`) in its environment. Finds all descendants of a
/// process that was started with it, even those that have left its group or session.
pub fn processes_with(variable: &str) -> Vec<Process> {
    let has = |process: &Process| {
        fs::read(format!("/proc/{}/environ", process.pid)).is_ok_and(|environment| {
            (environment.split(|&byte| byte == 0)).any(|it| it == variable.as_bytes())
        })
    };
    all().into_iter().filter(has).collect()
}

/// The processor time that `pid` has used.
pub fn cpu_time(pid: i32) -> Duration {
    // The kernel counts in USER_HZ, which is 100 on every architecture that Linux has today.
    let ticks = Process::find(pid).expect("the process").cpu_ticks;
    Duration::from_millis(ticks * 10)
}

/// The number after `name` in a file with lines like `Name:  123 kB`.
fn field(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("{path} has no {name}"))
}
