//! The end of processes: which have ended, which of their groups are gone, and the signals to those
//! that are not.

use super::{Owner, Server};
use crate::limits::REAP_DELAY_MAX;
use crate::source::{GENERATION_MASK, ProcessId};
use crate::system::{Exit, Group, Pid, System};

impl<S: System> Server<S> {
    /// Sends the signals that are due to a command's process group.
    pub(super) fn signal_due(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        if process.waits_for_group() && self.system.probe_group(process.pid()) == Group::Gone {
            process.group_gone();
        }
        while let Some(signal) = process.due_signal(self.cx.now) {
            if self.system.signal_group(process.pid(), signal) == Group::Gone {
                process.group_gone();
            }
        }
    }

    /// The child of a notice is reaped by its number, since to ask for any has the kernel look at
    /// every child there is. But one notice may stand for many: who else has ended is asked soon.
    pub(super) fn on_child_ended(&mut self, pid: Pid) {
        self.reap(pid);
        let latest = self.cx.now + REAP_DELAY_MAX;
        self.timers
            .arm(Owner::Reap, Some(latest), &mut self.reap_at);
    }

    /// A command whose output has ended has mostly ended itself. If it was not the one that a
    /// notice named, its client need not wait until all are asked for.
    pub(super) fn reap_silent(&mut self, id: ProcessId) {
        let id = self
            .processes
            .resolve(id.key(), id.generation(), GENERATION_MASK);
        if let Some(process) = id.and_then(|id| self.processes.get(id))
            && process.exit().is_none()
        {
            self.reap(process.pid());
        }
    }

    pub(super) fn reap_all(&mut self) {
        let mut has_orphans = false;
        while let Some((pid, exit)) = self.system.reap(None) {
            has_orphans |= !self.on_reaped(pid, exit);
        }
        // Once for all of them: each look is at every group.
        if has_orphans {
            self.look_at_groups();
        }
    }

    /// Reaps the child of this number, if it has ended.
    fn reap(&mut self, pid: Pid) {
        // Look up the group before reaping. A zombie still has one; a reaped PID has none.
        let group = self.system.group_of(pid);
        let Some((pid, exit)) = self.system.reap(Some(pid)) else {
            return;
        };
        match (self.on_reaped(pid, exit), group) {
            (true, _) => {}
            (false, Some(leader)) => self.look_at_group(leader),
            (false, None) => self.look_at_groups(),
        }
    }

    /// A child was reaped; whether it was a command that ran. A number that nobody knows is an
    /// orphan's, or of a command of which no entry was made. So is one whose exit is known: its
    /// number has been used again.
    fn on_reaped(&mut self, pid: Pid, exit: Exit) -> bool {
        let id = self.by_pid.get(&pid).copied();
        let running = id.filter(|&id| {
            let process = self.processes.get(id);
            process.is_some_and(|process| process.exit().is_none())
        });
        if let Some(id) = running {
            self.on_exit(id, exit);
        }
        running.is_some()
    }

    fn on_exit(&mut self, id: ProcessId, exit: Exit) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        // Probe the group only after reaping. Until then the zombie itself is a member, and the group
        // would always look alive.
        let group = self.system.probe_group(process.pid());
        process.on_exit(exit, group, self.cx.now, &mut self.cx.pool);
        self.hot.push(Owner::Process(id));
    }

    /// A member of this group was reaped, perhaps the last. As soon as it is, the number is free, and
    /// whoever gets it must not be signalled.
    fn look_at_group(&mut self, leader: Pid) {
        if let Some(&id) = self.by_pid.get(&leader)
            && let Some(process) = self.processes.get_mut(id)
            && process.exit().is_some()
            && !process.group_is_gone()
            && self.system.probe_group(leader) == Group::Gone
        {
            process.group_gone();
            self.hot.push(Owner::Process(id));
        }
    }

    /// The same where it is not known of which group it was.
    fn look_at_groups(&mut self) {
        let leaders: Vec<Pid> = (self.processes.iter())
            .filter(|(_, process)| process.exit().is_some() && !process.group_is_gone())
            .map(|(_, process)| process.pid())
            .collect();
        leaders
            .into_iter()
            .for_each(|leader| self.look_at_group(leader));
    }
}
