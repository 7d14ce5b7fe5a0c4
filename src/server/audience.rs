//! Commands with a [`Channel`], shared or waiting for a client that was lost: who is there, what
//! they send and what they are sent.

use super::{Forwarded, Owner, Server};
use crate::client::Client;
use crate::limits::READ_BUDGET;
use crate::process::fan_out::{Awaited, Batch, Channel};
use crate::source::{ClientId, ProcessId};
use crate::system::System;

impl<S: System> Server<S> {
    // -- Members ---------------------------------------------------------------------------------

    /// A client joins the audience of a shared command, whose last messages it gets.
    pub(super) fn join(&mut self, id: ClientId, process_id: ProcessId) {
        let Some(process) = self.processes.get_mut(process_id) else {
            return;
        };
        let replay = process.settings().replay;
        let Some(channel) = process.channel.as_deref_mut() else {
            return;
        };
        let mut batch = Batch::default();
        channel.replay_last(replay, &mut batch.frames);
        channel.join(id, &batch);
        if let Some(client) = self.clients.get_mut(id) {
            client.catch_up(&batch, &mut self.cx);
        }
    }

    /// Settles a client with the command of whose audience it is one.
    pub(super) fn settle_member(&mut self, id: ClientId, process_id: ProcessId) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Some(process) = self.processes.get_mut(process_id) else {
            return;
        };
        process.stdin.flush(&mut self.cx.pool);
        let stdin_full = process.stdin.is_full(self.cx.limits.high_water);
        if stdin_full && client.has_hung_up() {
            // The command goes on without it. What it sent and we did not read has not arrived.
            client.hang_up(&mut self.cx);
        }
        if !client.is_open() {
            let has_session = (process.channel.as_deref()).is_some_and(|it| it.session.is_some());
            let was_told = client.was_told_exit();
            if has_session && was_told && client.is_closing() {
                // What it was sent last, and how the command ended, has perhaps not arrived.
                return;
            }
            let has_ended = client.has_ended() && (client.has_closed() || !was_told);
            return self.leave(id, process_id, has_ended);
        }
        let has_room = client.has_room(&self.cx.limits);
        let has_work = client.has_work(stdin_full, &self.cx.limits);
        let has_output = process.has_output() && has_room;
        if let Some(channel) = process.channel.as_deref_mut() {
            channel.stdin_was_full |= stdin_full;
            let waited = channel.stdin_was_full && !stdin_full;
            let own_output = channel.session.is_some() && has_output;
            if (waited || own_output) && !process.queued {
                self.hot.push(Owner::Process(process_id));
            }
        }
        if has_work {
            self.queue_client(id);
        }
    }

    /// A client whose connection is at its end leaves the audience of a command. A shared command
    /// goes on; one that lingers waits, unless the client ended the session or it is ended anyway.
    pub(super) fn leave(&mut self, id: ClientId, process_id: ProcessId, has_ended: bool) {
        let address = self.clients.get(id).map(Client::ip);
        let Some(process) = self.processes.get_mut(process_id) else {
            return;
        };
        let is_wanted = process.is_wanted();
        let resume = process.settings().resume;
        let Some(channel) = process.channel.as_deref_mut() else {
            return;
        };
        let was_member = channel.remove(id);
        let Some(session) = channel.session.as_mut().filter(|_| was_member) else {
            return;
        };
        match (resume, address) {
            (Some(linger), Some(address)) if !has_ended && is_wanted => {
                let until = self.cx.now + linger;
                session.awaited = Some(Awaited { until, address });
                self.admission.entered(address, &self.limits);
            }
            _ => process.client_left(self.cx.now, &mut self.cx.pool),
        }
        self.hot.push(Owner::Process(process_id));
    }

    /// Reads from the members again that were not because the command's stdin was full, now that it
    /// is not.
    pub(super) fn resume_members(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        if process.stdin.is_full(self.cx.limits.high_water) {
            return;
        }
        let Some(channel) = process.channel.as_deref_mut() else {
            return;
        };
        if !std::mem::take(&mut channel.stdin_was_full) {
            return;
        }
        let mut first = None;
        for (index, &member) in channel.members.iter().enumerate() {
            if let Some(client) = self.clients.get_mut(member)
                && client.has_work(false, &self.cx.limits)
                && !client.queued
            {
                client.queued = true;
                self.later.push_back(Owner::Client(member));
                first = first.or(Some(index));
            }
        }
        // It may fill the stdin again before the others are read, so next time it is the last.
        if let Some(first) = first {
            let first = channel.members.remove(first);
            channel.members.push(first);
        }
    }

    // -- Output ----------------------------------------------------------------------------------

    /// Carries what a command printed to its audience. A shared command goes on whoever reads or
    /// not, and whoever falls behind is closed; one that is a client's own waits for it, as long
    /// as it is there.
    pub(super) fn broadcast_output(&mut self, id: ProcessId) -> Forwarded {
        let Some(process) = self.processes.get_mut(id) else {
            return Forwarded::All;
        };
        let Some(mut channel) = process.channel.take() else {
            return Forwarded::All;
        };
        let mut scratch = std::mem::take(&mut self.cx.scratch);
        let mut buffer = self.cx.pool.take();
        let mut batch = Batch::new(std::mem::take(&mut buffer.bytes));
        let mut budget = READ_BUDGET;
        let mut fault = None;
        let forwarded = loop {
            if budget == 0 {
                break Forwarded::Spent;
            }
            if self.must_wait(&channel) {
                break Forwarded::All;
            }
            let Some(process) = self.processes.get_mut(id) else {
                break Forwarded::All;
            };
            let Some((output, len)) = process.read_for_client(&mut scratch) else {
                break Forwarded::All;
            };
            budget = budget.saturating_sub(len);
            let cut = output.cut(&scratch[..len], self.cx.now, |piece| {
                channel.add(piece, &mut batch);
            });
            self.send_to_members(&mut channel, &mut batch);
            if let Err(error) = cut {
                fault = Some(error);
                break Forwarded::All;
            }
        };
        self.cx.scratch = scratch;
        buffer.bytes = batch.frames;
        self.cx.pool.give_back(buffer);
        if let Some(fault) = fault {
            for &member in &channel.members {
                if let Some(client) = self.clients.get_mut(member) {
                    client.output_failed(fault, &mut self.cx);
                    self.hot.push(Owner::Client(member));
                }
            }
        }
        if let Some(process) = self.processes.get_mut(id) {
            process.channel = Some(channel);
            if fault.is_some() {
                process.client_left(self.cx.now, &mut self.cx.pool);
                self.await_no_more(id);
            }
        }
        forwarded
    }

    /// Whether the one client of a session has no room for more.
    fn must_wait(&self, channel: &Channel) -> bool {
        let client = channel
            .members
            .first()
            .filter(|_| channel.session.is_some());
        let client = client.and_then(|&client| self.clients.get(client));
        client.is_some_and(|client| !client.has_room(&self.cx.limits))
    }

    /// Sends the beginnings of lines that have waited for their end long enough (`--flush`).
    pub(super) fn broadcast_prompts(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        let Some(mut channel) = process.channel.take() else {
            return;
        };
        let mut batch = Batch::default();
        let flush = process.settings().flush;
        for output in process.outputs_for_client() {
            output.flush_prompt(self.cx.now, flush, |piece| {
                channel.add(piece, &mut batch);
            });
        }
        self.send_to_members(&mut channel, &mut batch);
        if let Some(process) = self.processes.get_mut(id) {
            process.channel = Some(channel);
        }
    }

    fn send_to_members(&mut self, channel: &mut Channel, batch: &mut Batch) {
        if batch.frames.is_empty() {
            return;
        }
        for &member in &channel.members {
            let Some(client) = self.clients.get_mut(member) else {
                continue;
            };
            let late;
            let batch = match channel.is_late(member) {
                false => &*batch,
                true => {
                    late = channel.for_late(batch);
                    &late
                }
            };
            match channel.session {
                // What it has no room for was not read. A prompt was, and has waited for more.
                Some(_) => client.send_batch(batch, &mut self.cx),
                None => client.broadcast(batch, &mut self.cx),
            }
            // Whoever took all of it needs nothing more.
            if !client.is_open() || client.queued_bytes() > 0 {
                self.hot.push(Owner::Client(member));
            }
        }
        channel.sent(batch);
        batch.clear();
    }

    /// Sends what is left of the output of a command that has ended, and how it ended, to all who
    /// are there. That of a session waits until its client has it, or does not come back for it.
    pub(super) fn broadcast_exit(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        let (Some(exit), true) = (process.exit(), process.is_wanted()) else {
            return;
        };
        if !process.output_is_over() {
            return;
        }
        let Some(mut channel) = process.channel.take() else {
            return;
        };
        let mut batch = Batch::default();
        let mut fault = None;
        for output in process.outputs_for_client() {
            let end = output.cut(&[], self.cx.now, |piece| channel.add(piece, &mut batch));
            fault = fault.or(end.err());
        }
        self.send_to_members(&mut channel, &mut batch);
        for &member in &channel.members {
            if let Some(client) = self.clients.get_mut(member) {
                if let Some(fault) = fault {
                    client.output_failed(fault, &mut self.cx);
                }
                client.command_ended(exit, &mut self.cx);
                self.hot.push(Owner::Client(member));
            }
        }
        let awaited = (channel.session.as_ref())
            .is_some_and(|it| !channel.members.is_empty() || it.awaited.is_some());
        if let Some(process) = self.processes.get_mut(id) {
            process.channel = Some(channel);
            if !awaited {
                process.client_left(self.cx.now, &mut self.cx.pool);
            }
        }
    }
}
