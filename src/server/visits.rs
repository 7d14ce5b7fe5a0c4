//! Visits: all work that is ready and wanted for one entry, and settling after it.
//!
//! ```text
//!   event, timer            push                     defer (budget spent, more to read)
//!        |                   |                         |
//!        v                   v                         v
//!   visit_client  --->  immediate: run before     deferred: run once, at the end
//!   visit_process        the next event            of this turn or of the next
//!        |
//!        v
//!   settle: inform the other side, arm the timer, queue an ended entry to be freed
//! ```
//!
//! **Why the queue terminates.** A visit pushes an immediate visit only for the other side of its
//! link, and only if that side has something to do. Every visit that does something uses up one of
//! three things: readiness (it reads or writes until `WouldBlock`), its budget (the rest is
//! deferred), or a phase (phases never go back). Readiness and phases are renewed by events alone,
//! and budgets by the next turn, so the immediate visits of one event are finite. Deferred visits
//! run only as often as there are any at the end of the turn; those deferred during that time wait
//! for the next turn, after new events.
//!
//! **Who may push.** Settling, and code that has just changed an entry's life: output that was
//! queued for a member, a client that joined or left, a process that was reaped, a shutdown.

use std::collections::VecDeque;

use super::Server;
use super::owner::Owner;
use crate::client::access_record::Loss;
use crate::client::{Client, Pumped};
use crate::limits::{REQUESTS_PER_TURN, SPAWNS_PER_TURN};
use crate::process::audience::Audience;
use crate::source::{ClientId, ProcessId};
use crate::system::System;

/// The entries to be visited next.
#[derive(Default)]
pub(super) struct Visits {
    /// Before the next event.
    immediate: Vec<Owner>,
    /// At the end of the turn, in this order: entries whose budget is spent wait here while the
    /// others have their turn.
    deferred: VecDeque<Owner>,
}

impl Visits {
    /// Visits `owner` before the next event.
    pub(super) fn push(&mut self, owner: Owner) {
        self.immediate.push(owner);
    }

    /// Visits `owner` at the end of the turn. The entry remembers that it is queued.
    pub(super) fn defer(&mut self, owner: Owner) {
        self.deferred.push_back(owner);
    }

    pub(super) fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.immediate.shrink_to_fit();
        self.deferred.shrink_to_fit();
    }
}

/// Why [`Server::forward_output`] stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing more is both ready and wanted.
    All,
    /// The budget of this turn is spent; there is more to read.
    Spent,
}

impl<S: System> Server<S> {
    /// Runs the immediate visits, until none is left.
    pub(super) fn run_visits(&mut self) {
        while let Some(owner) = self.visits.immediate.pop() {
            self.visit(owner);
        }
    }

    /// Runs the deferred visits. Those deferred during this call wait for the next turn.
    pub(super) fn run_deferred(&mut self) {
        for _ in 0..self.visits.deferred.len() {
            let Some(owner) = self.visits.deferred.pop_front() else {
                break;
            };
            match owner {
                Owner::Client(id) => {
                    if let Some(client) = self.clients.get_mut(id) {
                        client.is_deferred = false;
                    }
                }
                Owner::Process(id) => {
                    if let Some(process) = self.processes.get_mut(id) {
                        process.is_deferred = false;
                    }
                }
                Owner::Listener(index) => self.acceptor.visited(index),
                _ => {}
            }
            self.visit(owner);
            self.run_visits();
        }
    }

    fn visit(&mut self, owner: Owner) {
        match owner {
            Owner::Client(id) => self.visit_client(id),
            Owner::Process(id) => self.visit_process(id),
            Owner::Listener(index) => self.accept(index),
            Owner::AcceptRetry => self.retry_accept(),
            Owner::Restart => self.restart_shared(),
            Owner::Reap => self.reap_all(),
            Owner::Shutdown => self.end_drain(),
        }
    }

    /// Defers a visit of a client, unless one is deferred already.
    pub(super) fn defer_client(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id)
            && !std::mem::replace(&mut client.is_deferred, true)
        {
            self.visits.defer(Owner::Client(id));
        }
    }

    /// Defers a visit of a process, unless one is deferred already.
    pub(super) fn defer_process(&mut self, id: ProcessId) {
        if let Some(process) = self.processes.get_mut(id)
            && !std::mem::replace(&mut process.is_deferred, true)
        {
            self.visits.defer(Owner::Process(id));
        }
    }

    // -- Clients ---------------------------------------------------------------------------------

    /// Reads from a client and writes to it, and answers its requests.
    pub(super) fn visit_client(&mut self, id: ClientId) {
        let mut requests = 0;
        loop {
            let Some(client) = self.clients.get_mut(id) else {
                return;
            };
            let process = client.process().and_then(|it| self.processes.get_mut(it));
            match client.pump(process.map(|it| &mut it.stdin), &mut self.cx) {
                Pumped::Idle => break,
                Pumped::Request
                    if requests < REQUESTS_PER_TURN
                        && self.children.started_in_turn < SPAWNS_PER_TURN =>
                {
                    requests += 1;
                    self.answer(id);
                }
                Pumped::Request | Pumped::Spent => {
                    self.defer_client(id);
                    break;
                }
            }
        }
        self.settle_client(id);
    }

    /// Informs the client's command, arms the timer, and queues a client that is gone to be freed.
    pub(super) fn settle_client(&mut self, id: ClientId) {
        if let Some(process_id) = self.clients.get(id).and_then(Client::process) {
            self.settle_client_with(id, process_id);
        }
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if client.is_gone() {
            self.gone.push(Owner::Client(id));
        }
        let next = client.next_timer(&self.cx);
        self.timers
            .arm(Owner::Client(id), next, &mut client.wake_at);
    }

    /// Settles a client with the command that serves it.
    fn settle_client_with(&mut self, id: ClientId, process_id: ProcessId) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Some(process) = self.processes.get_mut(process_id) else {
            return;
        };
        let is_own = match process.audience {
            Audience::Client(_) if process.own_client() != Some(id) => return,
            Audience::Client(_) => true,
            Audience::Session(_) | Audience::Shared(_) => false,
        };
        process.stdin.flush(&mut self.cx.pool);
        let stdin_full = process.stdin.is_full(self.cx.limits.high_water);
        if client.has_hung_up() && is_own {
            // No more messages will come. While the command is being terminated it may still read
            // those that wait behind a full stdin.
            process.terminate(self.cx.now);
            let next = process.deadline(self.cx.now);
            let owner = Owner::Process(process_id);
            self.timers.arm(owner, next, &mut process.wake_at);
        } else if client.has_hung_up() && stdin_full {
            // The command keeps running without this client. Messages that the server has not read
            // count as not received.
            client.lost(Loss::HungUp, &mut self.cx);
        }
        if !client.is_open() {
            return self.client_left(id, process_id);
        }
        let has_room = client.has_room(&self.cx.limits);
        let has_work = client.has_work(stdin_full, &self.cx.limits);
        let has_output = process.outputs.has_work() && has_room;
        // The command has output for this client, or room for the members that wait.
        let is_due = match &mut process.audience {
            Audience::Client(_) => has_output,
            Audience::Session(session) => session.fan_out.note_stdin(stdin_full) || has_output,
            Audience::Shared(fan_out) => fan_out.note_stdin(stdin_full),
        };
        if is_due && !process.is_deferred {
            self.visits.push(Owner::Process(process_id));
        }
        if has_work {
            // Not at once: this visit has had its budget.
            self.defer_client(id);
        }
    }

    // -- Processes -------------------------------------------------------------------------------

    /// Writes to a command, reads its output, and passes on its exit.
    pub(super) fn visit_process(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        process.stdin.flush(&mut self.cx.pool);
        let has_fan_out = process.audience.fan_out().is_some();
        if self.forward_output(id) == Progress::Spent {
            self.defer_process(id);
        }
        self.log_stderr(id);
        self.deliver_exit(id);
        if has_fan_out {
            self.resume_members(id);
            self.follow_shared(id);
        }
        self.settle_process(id);
    }

    /// Informs the command's own client, arms the timer, and queues a process that is gone to be
    /// freed. Members of a fan-out were informed when output was queued for them.
    fn settle_process(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        if process.is_gone() {
            self.gone.push(Owner::Process(id));
        }
        let next = process.deadline(self.cx.now);
        self.timers
            .arm(Owner::Process(id), next, &mut process.wake_at);
        let stdin_full = process.stdin.is_full(self.cx.limits.high_water);
        if let Some(client_id) = process.own_client()
            && let Some(client) = self.clients.get_mut(client_id)
        {
            let next = client.next_timer(&self.cx);
            self.timers
                .arm(Owner::Client(client_id), next, &mut client.wake_at);
            if !client.is_open() {
                self.visits.push(Owner::Client(client_id));
            } else if client.has_work(stdin_full, &self.cx.limits) {
                self.defer_client(client_id);
            }
        }
    }
}
