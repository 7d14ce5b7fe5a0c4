//! Figures of a process from `/proc`.

use std::fs;
use std::time::Duration;

/// The processor time that a process has used, in user and kernel mode, in all of its threads.
///
/// It comes from the scheduler's own account, in nanoseconds, if the kernel keeps one; `utime` and
/// `stime` are rounded to 10 ms. Threads that have exited are missing there, but servers keep
/// theirs.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    schedstat(pid).unwrap_or_else(|| utime_and_stime(pid))
}

fn schedstat(pid: u32) -> Option<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        nanos += text.split_ascii_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(nanos))
}

/// proc_pid_stat(5), fields 14 and 15, in USER_HZ, which is 100 on every current architecture.
fn utime_and_stime(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is a name in parentheses, which may contain blanks.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_ascii_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}

/// The number of open descriptors of a process.
pub(crate) fn descriptors(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// The memory of a process, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident pages without a file behind them: heap, stack, written data (`RssAnon`).
    pub(crate) anonymous: u64,
    /// All resident pages (`VmRSS`).
    pub(crate) resident: u64,
}

/// The memory of a process, counted page by page. `status` would lag by up to 64 pages on each core
/// (proc_pid_status(5)), which is as much as a small server has.
pub(crate) fn memory(pid: u32) -> Option<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let bytes = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        let kilobytes = line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()?;
        Some(kilobytes * 1024)
    };
    Some(Memory {
        anonymous: bytes("Anonymous:")?,
        resident: bytes("Rss:")?,
    })
}
