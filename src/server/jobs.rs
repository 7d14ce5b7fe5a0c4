//! The search for jobs: processes that have left their command's process group, as each job of a shell
//! with job control does, but not its process session.
//!
//! To find them, the system has to look at every process of the machine. So a scan takes place only
//! when a signal is due to a command, or when the group of a command that has exited is gone. One scan
//! serves every command that has asked before it began. It is done in parts, with other work between
//! them, and the next one waits the longer the more processes there are.

use super::Server;
use super::owner::Owner;
use crate::event_loop::instant::Instant;
use crate::limits::{JOB_SCAN_INTERVAL, JOB_SCAN_INTERVAL_MAX, JOB_SCAN_PAUSE};
use crate::system::System;

/// How often the jobs of all commands are killed when the server stops. A job may start others during a
/// scan.
const KILL_SCANS: usize = 3;

/// The parts of a scan when the server stops: half a million processes.
const KILL_SCAN_PARTS: usize = 1000;

/// When jobs are looked for.
pub(super) struct JobSearch {
    /// Whether a scan has begun.
    is_scanning: bool,
    /// Whether a command has asked for another scan since then.
    is_asked: bool,
    /// When the next scan may begin.
    not_before: Instant,
    /// When the next part of a scan is due.
    pub(super) scan_at: Option<Instant>,
}

impl JobSearch {
    pub(super) fn new() -> Self {
        Self {
            is_scanning: false,
            is_asked: false,
            not_before: Instant::EPOCH,
            scan_at: None,
        }
    }
}

impl<S: System> Server<S> {
    /// A command has asked for the next scan.
    pub(super) fn look_for_jobs(&mut self) {
        self.jobs.is_asked = true;
        if !self.jobs.is_scanning {
            self.arm_scan(self.jobs.not_before);
        }
    }

    fn arm_scan(&mut self, at: Instant) {
        self.timers
            .arm(Owner::Jobs, Some(at), &mut self.jobs.scan_at);
    }

    /// Does the next part of a scan. After the last one, the jobs that were found are signalled.
    pub(super) fn scan_jobs(&mut self) {
        if !self.jobs.is_scanning {
            self.jobs.is_scanning = true;
            self.jobs.is_asked = false;
            for (_, process) in self.processes.iter_mut() {
                process.job_search.scan_began();
            }
        }
        let now = self.cx.now;
        let children = &self.children;
        let is_leader = |pid| children.find(pid).is_some();
        let Some(seen) = self.system.find_jobs(&is_leader) else {
            return self.arm_scan(now + JOB_SCAN_PAUSE);
        };
        self.jobs.is_scanning = false;
        for (id, process) in self.processes.iter_mut() {
            if let Some(signal) = process.job_search.scan_ended() {
                let found = self.system.signal_jobs(process.pid(), signal);
                process.looked_for_jobs(found);
                self.visits.push(Owner::Process(id));
            }
        }
        self.jobs.not_before = now + (JOB_SCAN_INTERVAL * seen as u32).min(JOB_SCAN_INTERVAL_MAX);
        if self.jobs.is_asked {
            self.arm_scan(self.jobs.not_before);
        }
    }

    /// The server stops: kills the jobs of every command.
    pub(super) fn kill_jobs(&mut self) {
        // The first may be the rest of a scan that had begun.
        for _ in 0..KILL_SCANS {
            for (_, process) in self.processes.iter_mut() {
                process.kill_jobs();
            }
            for _ in 0..KILL_SCAN_PARTS {
                self.scan_jobs();
                if !self.jobs.is_scanning {
                    break;
                }
            }
        }
    }
}
