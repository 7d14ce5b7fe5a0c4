//! Commands exit: which children were reaped, which process groups are gone, and the signals to
//! those that are not.

use std::collections::BTreeMap;

use super::Server;
use super::owner::Owner;
use crate::event_loop::instant::Instant;
use crate::limits::REAP_DELAY_MAX;
use crate::source::ProcessId;
use crate::system::{Exit, Group, Pid, System};

/// The children of the server, by PID.
#[derive(Default)]
pub(super) struct Children {
    /// Maps a PID to its entry; after PID reuse, to the newest one.
    by_pid: BTreeMap<Pid, ProcessId>,
    /// When to sweep for exited children whose SIGCHLD was coalesced.
    pub(super) sweep_at: Option<Instant>,
    /// Whether the sweep has reaped orphans, whose groups may be gone.
    has_orphans: bool,
    /// Commands started in this turn.
    pub(super) started_in_turn: usize,
    /// Whether the visits for which commands start are under way.
    pub(super) may_start: bool,
    /// How the most recently freed command ended.
    pub(super) last_exit: Option<Exit>,
}

impl Children {
    /// The entry of a PID.
    pub(super) fn find(&self, pid: Pid) -> Option<ProcessId> {
        self.by_pid.get(&pid).copied()
    }

    /// A command was started.
    pub(super) fn started(&mut self, pid: Pid, id: ProcessId) {
        self.by_pid.insert(pid, id);
    }

    /// The entry of a command was freed. Returns whether its PID was still its own and not already
    /// another's.
    pub(super) fn freed(&mut self, pid: Pid, id: ProcessId, exit: Option<Exit>) -> bool {
        self.last_exit = exit;
        let is_own = self.find(pid) == Some(id);
        if is_own {
            self.by_pid.remove(&pid);
        }
        is_own
    }
}

impl<S: System> Server<S> {
    /// Sends the signals that are due to a command's process group, and has its jobs looked for.
    pub(super) fn send_due_signals(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        if process.waits_for_group() && self.system.probe_group(process.pid()) == Group::Gone {
            process.group_disappeared();
        }
        let mut sent = None;
        while let Some(signal) = process.due_signal(self.cx.now) {
            if process.may_have_group()
                && self.system.signal_group(process.pid(), signal) == Group::Gone
            {
                process.group_disappeared();
            }
            sent = Some(signal);
        }
        if process.look_for_jobs(sent) {
            self.look_for_jobs();
        }
    }

    /// SIGCHLD names one exited child, which is reaped by its PID. Waiting for any child instead
    /// would make the kernel search all of them. But one SIGCHLD may stand for several, so a sweep
    /// for the others is due soon.
    pub(super) fn on_child_exited(&mut self, pid: Pid) {
        self.reap(pid);
        let latest = self.cx.now + REAP_DELAY_MAX;
        self.timers
            .arm(Owner::Reap, Some(latest), &mut self.children.sweep_at);
    }

    /// The stdout of a command is at EOF, so it has probably exited. If its SIGCHLD was coalesced,
    /// its client need not wait for the sweep.
    pub(super) fn reap_at_eof(&mut self, id: ProcessId) {
        let processes = &self.processes;
        let id = processes.resolve(id);
        if let Some(process) = id.and_then(|id| processes.get(id))
            && process.exit().is_none()
        {
            self.reap(process.pid());
        }
    }

    /// Reaps the exited children until the turn is over: commands, and orphans that were reparented to
    /// the server. A command may leave thousands, and to find each the kernel looks at the living
    /// ones too.
    pub(super) fn reap_all(&mut self) {
        while let Some((pid, exit)) = self.system.reap(None) {
            self.children.has_orphans |= !self.command_exited(pid, exit);
            self.turn.worked(0);
            if self.turn_is_over() {
                let next_turn = Some(self.cx.now);
                self.timers
                    .arm(Owner::Reap, next_turn, &mut self.children.sweep_at);
                return;
            }
        }
        // Once for all orphans, because it probes every group.
        if std::mem::take(&mut self.children.has_orphans) {
            self.probe_groups();
        }
    }

    /// Reaps the child with this PID, if it has exited.
    fn reap(&mut self, pid: Pid) {
        // Look up the group before reaping; afterwards the PID has none.
        let group = self.system.group_of(pid);
        let Some((pid, exit)) = self.system.reap(Some(pid)) else {
            return;
        };
        match (self.command_exited(pid, exit), group) {
            (true, _) => {}
            (false, Some(leader)) => self.probe_group(leader),
            (false, None) => self.probe_groups(),
        }
    }

    /// A child was reaped. Returns whether it was a running command. Otherwise it was an orphan, or
    /// a command without an entry; and if its entry has an exit already, its PID was reused by an
    /// orphan.
    fn command_exited(&mut self, pid: Pid, exit: Exit) -> bool {
        let Some(id) = self.children.find(pid) else {
            return false;
        };
        let Some(process) = self.processes.get_mut(id) else {
            return false;
        };
        if process.exit().is_some() {
            return false;
        }
        // Reap first, then probe: a zombie is still a member of its group.
        let group = self.system.probe_group(pid);
        process.reaped(exit, group, self.cx.now, &mut self.cx.pool);
        self.visits.push(Owner::Process(id));
        true
    }

    /// A member of this group was reaped, perhaps the last one. If so, the group's id may be reused,
    /// and must not be signalled any more.
    fn probe_group(&mut self, leader: Pid) {
        if let Some(id) = self.children.find(leader)
            && let Some(process) = self.processes.get_mut(id)
            && process.waits_for_group()
            && self.system.probe_group(leader) == Group::Gone
        {
            process.group_disappeared();
            self.visits.push(Owner::Process(id));
        }
    }

    /// As [`Server::probe_group`], for every group whose leader has exited.
    fn probe_groups(&mut self) {
        let exited = self.processes.iter().filter(|(_, it)| it.exit().is_some());
        let leaders: Vec<Pid> = exited.map(|(_, process)| process.pid()).collect();
        leaders
            .into_iter()
            .for_each(|leader| self.probe_group(leader));
    }
}
