//! Visits: all work that is ready and wanted for one entry, and settling after it.
//!
//! ```text
//!   event, timer           push                  turn is over          budget spent           asks for a command
//!        |                  |                     |                     |                       |
//!        v                  v                     v                     v                       v
//!   visit_client  ---> immediate: run      postponed: run at     deferred: run behind    starts: run last
//!   visit_process       before the          the end of a turn     the postponed ones
//!        |              next event
//!        v
//!   settle: inform the other side, arm the timer, queue an ended entry to be freed
//! ```
//!
//! **Why the immediate visits end.** They are a stack. A visit pushes another only for the other side
//! of its link, and only if that side has something to do. Every visit that does something uses up
//! one of three things: readiness (it reads or writes until `WouldBlock`), its budget, or a phase
//! (phases never go back). A visit that has spent its budget is deferred, and a client or process that
//! is queued already is not pushed. Readiness is renewed by events, and at the two places where we
//! know that there is more without one: after an exit the output is read to its end, and after our
//! FIN the socket is. Both happen once in a life.
//!
//! **Why a turn ends.** Each queue runs at most as often as there were any visits in it when its time
//! came, and behind the first one only while the turn has time left.
//!
//! **Why a busy entry cannot delay the others.** An entry that has spent its budget waits behind all
//! that have not. So an entry that asks for little is served within about one turn
//! ([`TURN_TIME_MAX`](crate::limits::TURN_TIME_MAX)), however much work the others make. Starting a
//! command can take most of a turn, so a crowd that asks for commands waits behind all others.
//!
//! **Who may push.** Settling, a timer that has fired, and code that has just changed an entry's
//! life: output that was queued for a member, a client that joined or left, a process that was
//! reaped, a shutdown.

use std::collections::VecDeque;

use super::Server;
use super::owner::Owner;
use crate::client::access_record::Loss;
use crate::client::{Client, Pumped};
use crate::event_loop::instant::Instant;
use crate::limits::{REQUEST_COST, SPAWNS_PER_TURN, VISIT_BUDGET};
use crate::process::audience::Audience;
use crate::source::{ClientId, ProcessId};
use crate::system::System;

/// The entries to be visited next.
#[derive(Default)]
pub(super) struct Visits {
    /// Before the next event, the last one first.
    immediate: Vec<Owner>,
    /// At the end of a turn: entries that this turn had no time for, and listeners. Each with the
    /// `acted_until` of the moment when it came here.
    postponed: VecDeque<(Owner, Instant)>,
    /// At the end of a turn, after those: entries that have had their share of this turn.
    deferred: VecDeque<Owner>,
    /// Last in a turn: clients that ask for a command. Starting one takes as long as hundreds of
    /// messages.
    starts: VecDeque<Owner>,
}

impl Visits {
    /// Visits `owner` before the next event.
    pub(super) fn push(&mut self, owner: Owner) {
        self.immediate.push(owner);
    }

    /// Visits `owner` at the end of a turn, although it has had nothing of this one yet.
    /// `acted_until` is that of the turn before.
    pub(super) fn postpone(&mut self, owner: Owner, acted_until: Instant) {
        self.postponed.push_back((owner, acted_until));
    }

    /// The time up to which every event has been acted on, if it has been delivered up to `delivered`.
    /// A client whose last bytes wait for a postponed visit must not be dropped for its silence. A
    /// listener has no deadline, and under a flood of connections its visit is postponed every turn:
    /// if it counted, no timer would fire.
    pub(super) fn acted_until(&self, delivered: Instant) -> Instant {
        let mut entries = self.postponed.iter();
        let oldest = entries.find(|(owner, _)| !matches!(owner, Owner::Listener(_)));
        oldest.map_or(delivered, |&(_, acted_until)| delivered.min(acted_until))
    }

    /// Visits `owner` at the end of a turn, after all that have not had their share of this one.
    pub(super) fn defer(&mut self, owner: Owner) {
        self.deferred.push_back(owner);
    }

    /// Whether visits wait for the end of a turn.
    pub(super) fn are_queued(&self) -> bool {
        !self.postponed.is_empty() || !self.deferred.is_empty() || !self.starts.is_empty()
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.immediate.shrink_to_fit();
        self.postponed.shrink_to_fit();
        self.deferred.shrink_to_fit();
        self.starts.shrink_to_fit();
    }
}

/// Why [`Server::forward_output`] stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing more is both ready and wanted.
    All,
    /// The budget of the visit is spent; there is more to read.
    Spent,
}

impl<S: System> Server<S> {
    /// Runs the immediate visits, until none is left.
    pub(super) fn run_visits(&mut self) {
        while let Some(owner) = self.visits.immediate.pop() {
            self.visit(owner);
        }
    }

    /// Runs the postponed visits until the turn is over, at least one. Those postponed meanwhile wait
    /// for the next turn.
    pub(super) fn run_postponed(&mut self) {
        for run in 0..self.visits.postponed.len() {
            if run > 0 && self.turn_is_over() {
                break;
            }
            if let Some((owner, _)) = self.visits.postponed.pop_front() {
                self.run_queued_visit(owner);
            }
        }
    }

    /// Runs the deferred visits until the turn is over, at least one. Those deferred meanwhile wait for
    /// the next turn.
    pub(super) fn run_deferred(&mut self) {
        self.run_queue(|visits| &mut visits.deferred);
    }

    /// Answers clients that ask for a command until the turn is over, at least one.
    pub(super) fn run_starts(&mut self) {
        self.children.may_start = true;
        self.run_queue(|visits| &mut visits.starts);
        self.children.may_start = false;
    }

    fn run_queue(&mut self, queue: fn(&mut Visits) -> &mut VecDeque<Owner>) {
        for run in 0..queue(&mut self.visits).len() {
            let is_full = self.children.started_in_turn >= SPAWNS_PER_TURN;
            if run > 0 && (is_full || self.turn_is_over()) {
                break;
            }
            if let Some(owner) = queue(&mut self.visits).pop_front() {
                self.run_queued_visit(owner);
            }
        }
    }

    fn run_queued_visit(&mut self, owner: Owner) {
        if let Some(is_queued) = self.is_queued_mut(owner) {
            *is_queued = false;
        }
        self.visit(owner);
        self.run_visits();
    }

    /// Postpones a visit that this turn has no time for, unless one is queued already.
    pub(super) fn postpone(&mut self, owner: Owner) {
        if self.mark_queued(owner) {
            self.visits.postpone(owner, self.cx.acted_until);
        }
    }

    /// Defers a visit of an entry that has had its share, unless one is queued already.
    pub(super) fn defer(&mut self, owner: Owner) {
        if self.mark_queued(owner) {
            self.visits.defer(owner);
        }
    }

    /// Notes that a visit of `owner` is queued. Returns whether that is news: one may be queued
    /// already, or the owner be gone.
    fn mark_queued(&mut self, owner: Owner) -> bool {
        let is_queued = self.is_queued_mut(owner);
        is_queued.is_some_and(|is_queued| !std::mem::replace(is_queued, true))
    }

    /// Whether a visit of `owner` is queued for the end of a turn; `None`: it is gone, or a task of
    /// the server, which is never queued.
    fn is_queued_mut(&mut self, owner: Owner) -> Option<&mut bool> {
        match owner {
            Owner::Client(id) => self.clients.get_mut(id).map(|it| &mut it.is_queued),
            Owner::Process(id) => self.processes.get_mut(id).map(|it| &mut it.is_queued),
            Owner::Listener(index) => self.acceptor.is_queued_mut(index),
            Owner::AcceptRetry | Owner::Restart | Owner::Reap | Owner::Jobs | Owner::Shutdown => {
                None
            }
        }
    }

    /// Visits an entry that became ready. One that is queued for the end of the turn
    /// keeps its place there, and one that this turn has no time for gets one.
    pub(super) fn visit_ready(&mut self, owner: Owner) {
        match self.is_queued_mut(owner).copied() {
            Some(true) | None => {}
            Some(false) if self.turn_is_over() => self.postpone(owner),
            Some(false) => self.visit(owner),
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
            Owner::Jobs => self.scan_jobs(),
            Owner::Shutdown => self.end_drain(),
        }
        self.relieve_memory();
    }

    // -- Clients ---------------------------------------------------------------------------------

    /// Reads from a client and writes to it, and answers its requests.
    pub(super) fn visit_client(&mut self, id: ClientId) {
        let mut budget = VISIT_BUDGET;
        loop {
            let Some(client) = self.clients.get_mut(id) else {
                return;
            };
            let process = client.process().and_then(|it| self.processes.get_mut(it));
            match client.pump(process.map(|it| &mut it.stdin), &mut budget, &mut self.cx) {
                Pumped::Idle => break,
                Pumped::Request if budget > 0 => match self.answer(id) {
                    true => budget = budget.saturating_sub(REQUEST_COST),
                    false => {
                        if self.mark_queued(Owner::Client(id)) {
                            self.visits.starts.push_back(Owner::Client(id));
                        }
                        break;
                    }
                },
                Pumped::Request | Pumped::Spent => {
                    self.defer(Owner::Client(id));
                    break;
                }
            }
        }
        self.turn.worked(VISIT_BUDGET - budget);
        self.settle_client(id);
    }

    /// Informs the client's command, releases its place, arms the timer, and queues a client that is
    /// gone to be freed.
    pub(super) fn settle_client(&mut self, id: ClientId) {
        if let Some(process_id) = self.clients.get(id).and_then(Client::process) {
            self.settle_client_with(id, process_id);
        }
        self.release_place(id);
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if client.is_gone() {
            self.gone.push(Owner::Client(id));
        }
        client.charge(&mut self.cx);
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
        process.charge(&mut self.cx);
        let stdin_full = process.stdin.is_full(self.cx.limits.high_water);
        if client.has_hung_up() && is_own {
            // No more messages will come. While the command is being terminated it may still read
            // those that wait behind a full stdin.
            process.terminate(self.cx.now);
            let next = process.deadline(self.cx.now);
            let owner = Owner::Process(process_id);
            self.timers.arm(owner, next, &mut process.wake_at);
        } else if client.is_open() && client.has_hung_up() && stdin_full {
            // The command keeps running without this client. Messages that the server has not read
            // count as not received.
            client.lost(Loss::HungUp, &mut self.cx);
        }
        if !client.is_open() {
            return self.client_left(id, process_id);
        }
        let has_room = client.has_room(&self.cx.limits);
        let has_work = client.has_work(stdin_full, &self.cx.limits);
        // This is what wakes a command whose client was full.
        let has_output = process.outputs.has_work() && has_room;
        // The command has output for this client, or room for the members that wait.
        let is_due = match &mut process.audience {
            Audience::Client(_) => has_output,
            Audience::Session(session) => session.fan_out.note_stdin(stdin_full) || has_output,
            Audience::Shared(fan_out) => fan_out.note_stdin(stdin_full),
        };
        if is_due && !process.is_queued {
            self.visits.push(Owner::Process(process_id));
        }
        if has_work {
            // Not at once: client and command could call each other until both budgets are spent, and
            // the others would wait.
            self.defer(Owner::Client(id));
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
            self.defer(Owner::Process(id));
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
        process.charge(&mut self.cx);
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
                self.defer(Owner::Client(client_id));
            }
        }
    }
}
