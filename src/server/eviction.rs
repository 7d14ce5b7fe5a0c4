//! Memory runs out: replay buffers are freed, then the entry that holds the most is evicted.

use super::Server;
use super::owner::Owner;
use crate::client::Client;
use crate::config::Signal;
use crate::log::Level;
use crate::process::Process;
use crate::process::audience::Audience;
use crate::source::{ClientId, ProcessId};
use crate::system::{Group, System};

/// What looking at one entry costs the turn, counted as if it were bytes read.
const LOOK_COST: usize = 16;

/// What a client may still hold when it has been sent a Close.
const HELD_MAX: usize = 16 * 1024;

impl<S: System> Server<S> {
    /// While memory is short, frees replay buffers, the largest first: nobody may ever ask for what
    /// they hold.
    pub(super) fn forget_replays(&mut self) {
        while self.cx.memory.is_short() {
            let processes = self.processes.iter_mut();
            let kept = processes.map(|(_, it)| (it.replay_bytes(), it));
            match kept.max_by_key(|(bytes, _)| *bytes) {
                Some((1.., process)) => process.forget_replay(&mut self.cx),
                _ => return,
            }
        }
    }

    /// While more memory is in use than `--max-memory` allows, frees replay buffers, and then evicts
    /// the client or command that holds the most. Usually that is the one that just asked for more.
    pub(super) fn relieve_memory(&mut self) {
        if !self.cx.memory.is_exceeded() {
            return;
        }
        self.forget_replays();
        while self.cx.memory.is_exceeded() {
            let entries = self.clients.len() + self.processes.len();
            self.turn.worked(entries * LOOK_COST);
            self.trim.evicted();
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
            let (peer, held) = (client.peer(), client.charged());
            let text = format_args!(" held={held}: it held the most of --max-memory");
            let log = &self.cx.log;
            log.write_of_peer(Level::Info, "evicted", peer, text, self.cx.now);
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
        let (pid, held) = (process.pid(), process.charged());
        self.cx.log.info(format_args!(
            "evicted pid={pid} held={held}: it held the most of --max-memory"
        ));
        if process.can_be_killed()
            && self.system.signal_group(process.pid(), Signal::Kill) == Group::Gone
        {
            process.group_disappeared();
        }
        process.kill_jobs();
        process.abandon(self.cx.now, &mut self.cx.pool);
        process.discard_buffers(&mut self.cx);
        for &member in process.audience.members() {
            if let Some(client) = self.clients.get_mut(member).filter(|it| it.is_open()) {
                client.evict(HELD_MAX, &mut self.cx);
                self.visits.push(Owner::Client(member));
            }
        }
        self.visits.push(Owner::Process(id));
        self.look_for_jobs();
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
