//! Clients join and leave a command.

use super::Server;
use super::owner::Owner;
use crate::client::Client;
use crate::process::audience::{Audience, Awaited};
use crate::source::{ClientId, ProcessId};
use crate::system::System;
use crate::ws::framed::Framed;

impl<S: System> Server<S> {
    /// A client joins a shared command and gets its last messages (`--replay`).
    pub(super) fn join_shared(&mut self, id: ClientId, process_id: ProcessId) {
        let Some(process) = self.processes.get_mut(process_id) else {
            return;
        };
        let replay = process.settings().replay;
        let Some(fan_out) = process.audience.fan_out_mut() else {
            return;
        };
        let mut framed = Framed::default();
        fan_out.replay_last(replay, &mut framed.frames);
        fan_out.join(id, &framed);
        if let Some(client) = self.clients.get_mut(id) {
            client.catch_up(&framed, &mut self.cx);
        }
    }

    /// A client is no longer open, so it leaves its command. If the command was its own, it is
    /// terminated; a shared one keeps running.
    pub(super) fn client_left(&mut self, id: ClientId, process_id: ProcessId) {
        let Some(process) = self.processes.get_mut(process_id) else {
            return;
        };
        match &mut process.audience {
            Audience::Client(_) => {
                process.abandon(self.cx.now, &mut self.cx.pool);
                self.visits.push(Owner::Process(process_id));
            }
            Audience::Shared(fan_out) => {
                if fan_out.remove(id) {
                    self.visits.push(Owner::Process(process_id));
                }
            }
            Audience::Session(_) => self.client_left_session(id, process_id),
        }
    }

    /// The client of a resumable session is no longer open. The command waits for it, unless the
    /// client ended the session or the command is terminated anyway.
    fn client_left_session(&mut self, id: ClientId, process_id: ProcessId) {
        let Some(client) = self.clients.get(id) else {
            return;
        };
        let was_told = client.was_told_exit();
        if was_told && client.is_closing() {
            // The client may not have received the last output and the exit status yet.
            return;
        }
        let has_ended = client.has_ended() && (client.has_closed() || !was_told);
        let address = Client::ip(client);
        let Some(process) = self.processes.get_mut(process_id) else {
            return;
        };
        let waits = process.settings().resume.filter(|_| process.has_audience());
        let Some(session) = process.audience.session_mut() else {
            return;
        };
        if !session.fan_out.remove(id) {
            return;
        }
        match waits.filter(|_| !has_ended) {
            Some(resume) => {
                let until = self.cx.now + resume;
                session.awaited = Some(Awaited { until, address });
                self.admission.entered(address, &self.limits);
            }
            None => process.abandon(self.cx.now, &mut self.cx.pool),
        }
        self.visits.push(Owner::Process(process_id));
    }

    /// Reads members again that were not read because the command's stdin was full, once it has
    /// room. They are deferred in rotation: the first one may fill stdin again, so next time it
    /// comes last.
    pub(super) fn resume_members(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        if process.stdin.is_full(self.cx.limits.high_water) {
            return;
        }
        let Some(fan_out) = process.audience.fan_out_mut() else {
            return;
        };
        if !std::mem::take(&mut fan_out.stdin_was_full) {
            return;
        }
        let mut first = None;
        for (index, &member) in fan_out.members.iter().enumerate() {
            if let Some(client) = self.clients.get_mut(member)
                && client.has_work(false, &self.cx.limits)
                && !client.is_queued
            {
                client.is_queued = true;
                self.visits.defer(Owner::Client(member));
                first = first.or(Some(index));
            }
        }
        if let Some(first) = first {
            let first = fan_out.members.remove(first);
            fan_out.members.push(first);
        }
    }
}
