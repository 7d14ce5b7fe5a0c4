//! Memory runs out: the entry that holds the most gives way.

use super::Server;
use super::owner::Owner;
use crate::client::Client;
use crate::config::Signal;
use crate::process::Process;
use crate::process::audience::Audience;
use crate::source::{ClientId, ProcessId};
use crate::system::{Group, System};

/// What looking at one entry costs the turn, counted as if it were bytes read.
const LOOK_COST: usize = 16;

/// What a client may still hold when it has been sent a Close.
const HELD_MAX: usize = 16 * 1024;

impl<S: System> Server<S> {
    /// While more memory is in use than `--max-memory` allows, evicts the client or command that
    /// holds the most. Usually that is the one that just asked for more.
    pub(super) fn relieve_memory(&mut self) {
        while self.cx.memory.is_exceeded() {
            let entries = self.clients.len() + self.processes.len();
            self.turn.worked(entries * LOOK_COST);
            match self.holders().max_by_key(|&(held, _)| held) {
                Some((1.., Owner::Client(id))) => self.evict_client(id),
                Some((1.., Owner::Process(id))) => self.evict_process(id),
                _ => return,
            }
        }
    }

    /// The entries that can be evicted, and how many bytes each holds. A shared command is never
    /// evicted: it holds one queue and one replay buffer, whose sizes the options limit.
    fn holders(&self) -> impl Iterator<Item = (usize, Owner)> {
        let clients = self.clients.iter();
        let clients = clients.map(|(id, it)| (it.charged(), Owner::Client(id)));
        let processes = self.processes.iter();
        let processes = processes.filter(|(_, it)| !matches!(it.audience, Audience::Shared(_)));
        clients.chain(processes.map(|(id, it)| (it.charged(), Owner::Process(id))))
    }

    /// Closes a client, or drops it if it was closed before and still holds too much.
    fn evict_client(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id) {
            let held_max = match client.is_open() {
                true => HELD_MAX,
                false => 0,
            };
            client.evict(held_max, &mut self.cx);
            self.visits.push(Owner::Client(id));
        }
    }

    /// Closes the client of a command, and kills the command: its input ends in the middle of a
    /// message, so it must not see that end.
    fn evict_process(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        if (process.exit().is_none() || process.waits_for_group())
            && self.system.signal_group(process.pid(), Signal::Kill) == Group::Gone
        {
            process.group_disappeared();
        }
        process.abandon(self.cx.now, &mut self.cx.pool);
        process.discard_buffers(&mut self.cx);
        for &member in process.audience.members() {
            if let Some(client) = self.clients.get_mut(member).filter(|it| it.is_open()) {
                client.evict(HELD_MAX, &mut self.cx);
                self.visits.push(Owner::Client(member));
            }
        }
        self.visits.push(Owner::Process(id));
    }

    /// Bytes of memory that the buffers of all entries take.
    pub(super) fn memory_held(&self) -> usize {
        let clients = self.clients.iter().map(|(_, it)| Client::held_bytes(it));
        let processes = self.processes.iter().map(|(_, it)| Process::held_bytes(it));
        clients.sum::<usize>() + processes.sum::<usize>()
    }

    /// The most bytes that an entry which can be evicted holds.
    pub(super) fn largest_holder(&self) -> usize {
        self.holders().map(|(held, _)| held).max().unwrap_or(0)
    }
}
