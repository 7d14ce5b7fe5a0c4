//! Commands with a [`Channel`]: shared by all clients (`--shared`), or waiting for one that was
//! lost (`--linger`).

use std::ffi::OsStr;
use std::time::Duration;

use super::{Forwarded, Owner, Server};
use crate::channel::{Batch, Channel};
use crate::config::{self, READ_BUDGET, RESTART_DELAY_MAX, RESTART_DELAY_MIN};
use crate::environment;
use crate::framing::Piece;
use crate::http::refusal::Refusal;
use crate::http::session::Token;
use crate::instant::Instant;
use crate::process::{Audience, Process};
use crate::source::{ClientId, ProcessId};
use crate::system::System;
use crate::ws::close::CloseCode;
use crate::ws::frame::Kind;

/// The command that all clients share.
#[derive(Default)]
pub(super) struct Shared {
    /// It, as long as it runs.
    process: Option<ProcessId>,
    /// When it was started.
    started_at: Option<Instant>,
    /// How long its next start has to wait.
    delay: Duration,
    /// When it is started again; no earlier, even if clients come.
    pub(super) restart_at: Option<Instant>,
}

/// The session that a client comes back to is there no more, or not all of what it missed.
const OUTPUT_LOST: (CloseCode, &str) = (CloseCode::OUTPUT_LOST, "output lost");

impl<S: System> Server<S> {
    // -- Shared ----------------------------------------------------------------------------------

    /// The command that all clients share, started if need be.
    pub(super) fn shared_command(&mut self) -> Result<ProcessId, Refusal> {
        if let Some(id) = self.shared.process
            && self.processes.get(id).is_some_and(Process::is_wanted)
        {
            return Ok(id);
        }
        if self.shared.restart_at.is_some() {
            let reason = "the command has ended and is about to be started again (--restart)";
            return Err(Refusal::unavailable(reason));
        }
        self.start_shared()
    }

    /// Before the first turn: starts what is started with the server, and gives back what the start
    /// itself needed.
    pub fn begin(&mut self) {
        if self.cx.config.shared == Some(config::Shared::Eager) {
            self.restart_shared();
        }
        self.system.give_back_memory();
    }

    /// Starts the command that all clients share. No client's request is in its environment.
    pub(super) fn start_shared(&mut self) -> Result<ProcessId, Refusal> {
        let command = self.command(0);
        let config = &self.cx.config;
        let own = |name: &OsStr| std::env::var_os(name);
        let environment = environment::alone(&config.passenv, &config.setenv, own);
        let audience = Audience::Channel(Channel::new(None, config));
        let id = self.start(&command, environment, audience)?;
        self.shared.process = Some(id);
        self.shared.started_at = Some(self.cx.now);
        Ok(id)
    }

    /// The shared command has ended, or could not be started: with `--restart`, it is started again
    /// later, and ever later as long as it does not last.
    fn schedule_restart(&mut self) {
        if !self.cx.config.restart || self.is_shutting_down() {
            return;
        }
        // A start that failed did not last.
        let started_at = self.shared.started_at.take().unwrap_or(self.cx.now);
        let lasted = self.cx.now.saturating_duration_since(started_at) > RESTART_DELAY_MAX;
        self.shared.delay = match lasted {
            true => RESTART_DELAY_MIN,
            false => (self.shared.delay * 2).clamp(RESTART_DELAY_MIN, RESTART_DELAY_MAX),
        };
        let restart_at = self.cx.now + self.shared.delay;
        self.deadlines.arm(
            Owner::Restart,
            Some(restart_at),
            &mut self.shared.restart_at,
        );
        let delay = self.shared.delay;
        self.cx.log.info(format_args!(
            "the shared command is started again in {delay:?}"
        ));
    }

    /// The wait for the next start of the shared command is over.
    pub(super) fn restart_shared(&mut self) {
        self.shared.restart_at = None;
        if self.is_shutting_down() {
            return;
        }
        if let Err(refusal) = self.start_shared() {
            let reason = refusal.reason;
            self.cx.log.warn(format_args!("not started: {reason}"));
            self.schedule_restart();
        }
    }

    // -- Lingering -------------------------------------------------------------------------------

    /// The command of a session, if it is there.
    pub(super) fn session(&self, token: Token) -> Option<ProcessId> {
        let of_session = |process: &Process<_, _>| {
            let channel = process.channel.as_deref();
            process.is_wanted() && channel.is_some_and(|it| it.session == Some(token))
        };
        let mut processes = self.processes.iter();
        let (id, _) = processes.find(|(_, process)| of_session(process))?;
        Some(id)
    }

    /// A client comes back to a session that is gone: it has to be told, and in a close frame,
    /// since a page does not see why a handshake is refused.
    pub(super) fn refuse_resumption(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id) {
            client.close(OUTPUT_LOST.0, OUTPUT_LOST.1, &mut self.cx);
        }
    }

    // -- Members ---------------------------------------------------------------------------------

    /// A client joins the audience of a command. `received`: how many messages of its session it
    /// has had, if it comes back to one.
    pub(super) fn join(&mut self, id: ClientId, process_id: ProcessId, received: Option<u64>) {
        let Some(process) = self.processes.get_mut(process_id) else {
            return;
        };
        let pushed = process.stdin.messages();
        let Some(channel) = process.channel.as_deref_mut() else {
            return;
        };
        let mut batch = Batch::default();
        let mut replaced = None;
        let mut complete = Ok(());
        if channel.session.is_some() {
            // The server may not have noticed yet that the connection before was lost.
            replaced = channel.members.pop();
            channel.until = None;
        } else {
            channel.replay_last(self.cx.config.replay, &mut batch.frames);
        }
        channel.members.push(id);
        if let Some(received) = received {
            let welcome = format!("{{\"received\":{pushed}}}");
            complete = channel.resume(received, &mut batch.frames);
            // Who is not let in again is not welcomed.
            if complete.is_ok()
                && let Some(client) = self.clients.get_mut(id)
            {
                let welcome = Piece {
                    kind: Kind::Text,
                    bytes: welcome.as_bytes(),
                    first: true,
                    last: true,
                };
                client.send(welcome, self.cx.now, &mut self.cx.pool);
            }
        }
        if let Some(old) = replaced
            && let Some(client) = self.clients.get_mut(old)
        {
            client.close(
                CloseCode::RESUMED_ELSEWHERE,
                "resumed elsewhere",
                &mut self.cx,
            );
            self.hot.push(Owner::Client(old));
        }
        if complete.is_err() {
            return self.refuse_resumption(id);
        }
        if let Some(client) = self.clients.get_mut(id) {
            client.catch_up(&batch, &mut self.cx);
        }
        // It may have ended meanwhile, and only waited to say so.
        self.hot.push(Owner::Process(process_id));
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
        let stdin_full = process.stdin.is_full(self.cx.config.high_water);
        if stdin_full && client.has_hung_up() {
            // The command goes on without it. What it sent and we did not read has not arrived.
            client.hang_up(&mut self.cx);
        }
        if !client.is_open() {
            let has_session = (process.channel.as_deref()).is_some_and(|it| it.session.is_some());
            let has_exited = process.exit().is_some();
            if has_session && has_exited && client.is_closing() {
                // What it was sent last, and how the command ended, has perhaps not arrived.
                return;
            }
            let has_ended = client.has_ended() && (client.has_closed() || !has_exited);
            return self.leave(id, process_id, has_ended);
        }
        let has_room = client.has_room(&self.cx.config);
        let has_work = client.has_work(stdin_full, &self.cx.config);
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
    /// goes on; one that lingers waits, unless the client ended the session.
    pub(super) fn leave(&mut self, id: ClientId, process_id: ProcessId, has_ended: bool) {
        let shutting_down = self.is_shutting_down();
        let Some(process) = self.processes.get_mut(process_id) else {
            return;
        };
        let Some(channel) = process.channel.as_deref_mut() else {
            return;
        };
        if !channel.remove(id) || channel.session.is_none() {
            return;
        }
        match self.cx.config.linger {
            Some(linger) if !has_ended && !shutting_down => {
                channel.until = Some(self.cx.now + linger);
            }
            _ => process.client_left(self.cx.now, &mut self.cx.pool),
        }
        self.hot.push(Owner::Process(process_id));
    }

    /// Nobody has come back for a command in time.
    pub(super) fn end_abandoned(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        let until = process.channel.as_deref().and_then(|channel| channel.until);
        if until.is_some_and(|until| until <= self.cx.now) {
            process.client_left(self.cx.now, &mut self.cx.pool);
        }
    }

    /// Reads from the members again that were not because the command's stdin was full, now that it
    /// is not.
    pub(super) fn resume_members(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        if process.stdin.is_full(self.cx.config.high_water) {
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
                && client.has_work(false, &self.cx.config)
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
        let mut batch = Batch {
            frames: std::mem::take(&mut buffer.bytes),
            ..Batch::default()
        };
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
            self.send_to_members(&channel, &mut batch);
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
                if self.shared.process == Some(id) {
                    self.schedule_restart();
                }
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
        client.is_some_and(|client| !client.has_room(&self.cx.config))
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
        for output in process.outputs_for_client() {
            output.flush_prompt(self.cx.now, self.cx.config.flush, |piece| {
                channel.add(piece, &mut batch);
            });
        }
        self.send_to_members(&channel, &mut batch);
        if let Some(process) = self.processes.get_mut(id) {
            process.channel = Some(channel);
        }
    }

    fn send_to_members(&mut self, channel: &Channel, batch: &mut Batch) {
        if batch.frames.is_empty() {
            return;
        }
        for &member in &channel.members {
            let Some(client) = self.clients.get_mut(member) else {
                continue;
            };
            client.send_batch(batch, &mut self.cx);
            // Whoever took all of it needs nothing more.
            if !client.is_open() || client.queued_bytes() > 0 {
                self.hot.push(Owner::Client(member));
            }
        }
        batch.frames.clear();
        batch.payload_len = 0;
        batch.messages = 0;
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
        if !process.output_is_over(self.cx.config.kill_after) {
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
        self.send_to_members(&channel, &mut batch);
        for &member in &channel.members {
            if let Some(client) = self.clients.get_mut(member) {
                if let Some(fault) = fault {
                    client.output_failed(fault, &mut self.cx);
                }
                client.command_ended(exit, &mut self.cx);
                self.hot.push(Owner::Client(member));
            }
        }
        let has_somebody = !channel.members.is_empty() || channel.until.is_some();
        let awaited = channel.session.is_some() && has_somebody;
        if let Some(process) = self.processes.get_mut(id) {
            process.channel = Some(channel);
            if !awaited {
                process.client_left(self.cx.now, &mut self.cx.pool);
                if self.shared.process == Some(id) {
                    self.schedule_restart();
                }
            }
        }
    }
}
