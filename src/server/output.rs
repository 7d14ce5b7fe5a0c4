//! The output of a command, on its way to its audience and to the log.
//!
//! There is one path for every kind of [`Audience`]: read a pipe, cut what was read into pieces of
//! messages, hand the pieces to the audience ([`deliver`]). A single client gets them directly,
//! long ones without a copy. For a session or shared command they are framed once, kept, and sent
//! to each member.
//!
//! This is the back-pressure on a command: its pipe is not read while the client it waits for has
//! no room.

use super::Server;
use super::owner::Owner;
use super::visits::{Forwarded, Visits};
use crate::client::Client;
use crate::context::Context;
use crate::event_loop::arena::Arena;
use crate::framing::{Fragment, OutputError};
use crate::limits::READ_BUDGET;
use crate::process::audience::Audience;
use crate::process::fan_out::FanOut;
use crate::source::{ClientTag, ProcessId};
use crate::system::{Socket, System};
use crate::ws::batch::Batch;

impl<S: System> Server<S> {
    /// Reads a command's output and delivers it as messages, as long as the client it waits for has
    /// room. Output that no client wants is read and dropped, so that the command can end.
    pub(super) fn forward_output(&mut self, id: ProcessId) -> Forwarded {
        let Some(process) = self.processes.get_mut(id) else {
            return Forwarded::All;
        };
        let is_wanted = process.is_wanted();
        let mut scratch = std::mem::take(&mut self.cx.scratch);
        let mut budget = READ_BUDGET;
        let forwarded = loop {
            let waits_for = process.audience.waits_for();
            let client = waits_for.and_then(|client| self.clients.get(client));
            let is_slow = |it: &Client<_>| it.is_open() && !it.has_room(&self.cx.limits);
            if is_wanted && client.is_some_and(is_slow) {
                break Ok(Forwarded::All);
            }
            if budget == 0 {
                break Ok(Forwarded::Spent);
            }
            let Some((output, len)) = process.outputs.read(&mut scratch) else {
                break Ok(Forwarded::All);
            };
            budget = budget.saturating_sub(len);
            let (read, now) = (&scratch[..len], self.cx.now);
            let (clients, visits) = (&mut self.clients, &mut self.visits);
            let cut = deliver(
                &mut process.audience,
                is_wanted,
                clients,
                visits,
                &mut self.cx,
                |sink| output.cut(read, now, sink),
            );
            if let Err(fault) = cut {
                break Err(fault);
            }
        };
        self.cx.scratch = scratch;
        forwarded.unwrap_or_else(|fault| {
            self.output_failed(id, fault);
            Forwarded::All
        })
    }

    /// The command printed something that cannot be made into messages: closes its clients and
    /// terminates it.
    fn output_failed(&mut self, id: ProcessId, fault: OutputError) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        for &member in process.audience.members() {
            if let Some(client) = self.clients.get_mut(member) {
                client.output_failed(fault, &mut self.cx);
                self.visits.push(Owner::Client(member));
            }
        }
        process.client_left(self.cx.now, &mut self.cx.pool);
        self.release_awaited(id);
    }

    /// Sends unfinished lines that have waited for their end long enough (`--flush`).
    pub(super) fn flush_prompts(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        let (flush, now) = (process.settings().flush, self.cx.now);
        let is_wanted = process.is_wanted();
        for output in process.outputs.for_client() {
            let (clients, visits) = (&mut self.clients, &mut self.visits);
            let flushed = deliver(
                &mut process.audience,
                is_wanted,
                clients,
                visits,
                &mut self.cx,
                |sink| {
                    output.flush_prompt(now, flush, sink);
                    Ok(())
                },
            );
            debug_assert_eq!(flushed, Ok(()));
        }
    }

    /// Once a command has exited and all its output is read: delivers the end of the output and
    /// tells the clients how it ended. A session's end waits until its client has it or does not
    /// come back for it.
    pub(super) fn deliver_exit(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        let (Some(exit), true) = (process.exit(), process.is_wanted()) else {
            return;
        };
        if !process.output_is_finished() {
            return;
        }
        let now = self.cx.now;
        let mut fault = None;
        for output in process.outputs.for_client() {
            let (clients, visits) = (&mut self.clients, &mut self.visits);
            let end = deliver(
                &mut process.audience,
                true,
                clients,
                visits,
                &mut self.cx,
                |sink| output.cut(&[], now, sink),
            );
            fault = fault.or(end.err());
        }
        for &member in process.audience.members() {
            if let Some(client) = self.clients.get_mut(member) {
                if let Some(fault) = fault {
                    client.output_failed(fault, &mut self.cx);
                }
                client.command_exited(exit, &mut self.cx);
                self.visits.push(Owner::Client(member));
            }
        }
        let session = process.audience.session();
        if !session.is_some_and(|session| session.keeps_output()) {
            process.client_left(now, &mut self.cx.pool);
        }
    }

    /// Writes a command's stderr to the log, line by line (`--stderr=log`). Neither a client nor the
    /// log is waited for: a log that does not take a line loses it, so the command never blocks.
    pub(super) fn log_stderr(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        let pid = process.pid();
        let Some(stderr) = process.outputs.for_log() else {
            return;
        };
        let log = &self.cx.log;
        let mut budget = READ_BUDGET;
        while budget > 0 {
            let Some(len) = stderr.read(&mut self.cx.scratch) else {
                return;
            };
            budget = budget.saturating_sub(len);
            let cut = stderr.cut(&self.cx.scratch[..len], self.cx.now, |piece| {
                // The first piece of a long line fills a line of the log, which says it was cut.
                if piece.first {
                    let line = String::from_utf8_lossy(piece.bytes);
                    log.info(format_args!("stderr pid={pid} {line}"));
                }
            });
            debug_assert_eq!(cut, Ok(()), "a line for the log has any length");
        }
        self.defer_process(id);
    }
}

/// Hands the pieces that `produce` yields to an audience. Nobody gets them if the output is not
/// wanted, or its one client is not open.
///
/// # Errors
/// Those of `produce`. Pieces before the error were delivered.
fn deliver<S: Socket>(
    audience: &mut Audience,
    is_wanted: bool,
    clients: &mut Arena<ClientTag, Client<S>>,
    visits: &mut Visits,
    cx: &mut Context,
    produce: impl FnOnce(&mut dyn FnMut(Fragment<'_>)) -> Result<(), OutputError>,
) -> Result<(), OutputError> {
    if let Audience::Client(id) = audience {
        let client = clients.get_mut(*id);
        let Some(client) = client.filter(|it| is_wanted && it.is_open()) else {
            return Ok(());
        };
        let produced = produce(&mut |piece| client.send(piece, cx));
        client.flush(cx);
        return produced;
    }
    let waits = audience.waits_for().is_some();
    let Some(fan_out) = audience.fan_out_mut() else {
        return Ok(());
    };
    let mut buffer = cx.pool.take();
    let mut batch = Batch::new(std::mem::take(&mut buffer.bytes));
    let produced = produce(&mut |piece| fan_out.add(piece, &mut batch));
    if !batch.frames.is_empty() {
        send_to_members(fan_out, waits, &batch, clients, visits, cx);
    }
    buffer.bytes = batch.frames;
    cx.pool.give_back(buffer);
    produced
}

/// Sends a batch to each member. `waits`: the command waits for its member, so that one is never
/// too slow.
fn send_to_members<S: Socket>(
    fan_out: &mut FanOut,
    waits: bool,
    batch: &Batch,
    clients: &mut Arena<ClientTag, Client<S>>,
    visits: &mut Visits,
    cx: &mut Context,
) {
    for &member in &fan_out.members {
        let Some(client) = clients.get_mut(member) else {
            continue;
        };
        let late;
        let batch = match fan_out.is_late(member) {
            false => batch,
            true => {
                late = fan_out.for_late(batch);
                &late
            }
        };
        match waits {
            true => client.send_batch(batch, cx),
            false => client.broadcast(batch, cx),
        }
        // A client that took all of it needs no visit.
        if !client.is_open() || client.queued_bytes() > 0 {
            visits.push(Owner::Client(member));
        }
    }
    fan_out.sent(batch);
}
