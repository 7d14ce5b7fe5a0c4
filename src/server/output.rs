//! The output of a command, on its way to its audience and to the log.
//!
//! There is one path for every kind of [`Audience`]: read a pipe, cut what was read into fragments of
//! messages, hand the fragments to the audience ([`Delivery`]). A single client gets them directly,
//! long ones without a copy. For a session or shared command they are framed once, kept, and sent
//! to each member.
//!
//! The back-pressure on a command is here: while the client that it waits for has no room, the
//! server does not read the command's pipe.

use std::io::Read;

use super::Server;
use super::owner::Owner;
use super::visits::{Progress, Visits};
use crate::client::Client;
use crate::context::Context;
use crate::event_loop::arena::Arena;
use crate::framing::OutputError;
use crate::limits::{FRAGMENT_COST, LOG_READ_LEN, SHARED_READ_LEN, VISIT_BUDGET, VISIT_COST};
use crate::log::Level;
use crate::process::audience::Audience;
use crate::process::fan_out::FanOut;
use crate::process::output::{Output, Part};
use crate::source::{ClientTag, ProcessId};
use crate::system::{Socket, System};
use crate::ws::framed::Framed;

impl<S: System> Server<S> {
    /// Reads a command's output and delivers it as messages, as long as the client it waits for has
    /// room. Output that no client wants is read and dropped, so that the command can end.
    pub(super) fn forward_output(&mut self, id: ProcessId) -> Progress {
        let Some(process) = self.processes.get_mut(id) else {
            return Progress::All;
        };
        let has_audience = process.has_audience();
        let mut scratch = std::mem::take(&mut self.cx.scratch);
        let mut budget = VISIT_BUDGET;
        let forwarded = loop {
            let waits_for = process.audience.waits_for();
            let client = waits_for.and_then(|client| self.clients.get(client));
            let is_slow = |it: &Client<_>| it.is_open() && !it.has_room(&self.cx.limits);
            if has_audience && client.is_some_and(is_slow) {
                break Ok(Progress::All);
            }
            if budget == 0 {
                break Ok(Progress::Spent);
            }
            let members = process.audience.members().len();
            let scratch = &mut scratch[..read_len(members, &self.cx)];
            let Some((output, len)) = process.outputs.read(scratch) else {
                break Ok(Progress::All);
            };
            let part = match len {
                0 => Part::Eof,
                len => Part::Bytes(&scratch[..len]),
            };
            let mut delivery = Delivery {
                clients: &mut self.clients,
                visits: &mut self.visits,
                cx: &mut self.cx,
            };
            let delivered = delivery.deliver(&mut process.audience, has_audience, output, part);
            // Each member of a fan-out may cost a write.
            match delivered {
                Ok(fragments) => {
                    let writes = members.saturating_sub(1) * VISIT_COST;
                    budget = budget.saturating_sub(len + fragments * FRAGMENT_COST + writes);
                }
                Err(fault) => break Err(fault),
            }
        };
        self.turn.worked(VISIT_BUDGET - budget);
        self.cx.scratch = scratch;
        forwarded.unwrap_or_else(|fault| {
            self.output_failed(id, fault);
            Progress::All
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
        process.abandon(self.cx.now, &mut self.cx.pool);
        self.release_awaited(id);
    }

    /// Sends unfinished lines that have waited for their end long enough (`--flush`).
    pub(super) fn flush_prompts(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        let part = Part::Prompt {
            flush: process.settings().flush,
        };
        let has_audience = process.has_audience();
        let mut delivery = Delivery {
            clients: &mut self.clients,
            visits: &mut self.visits,
            cx: &mut self.cx,
        };
        for output in process.outputs.for_client() {
            let flushed = delivery.deliver(&mut process.audience, has_audience, output, part);
            debug_assert!(flushed.is_ok(), "an unfinished line is a message");
        }
    }

    /// Once a command has exited and all its output is read: delivers the end of the output and
    /// closes the clients with the exit status. A session ends once its client has received this,
    /// or has not come back in time.
    pub(super) fn deliver_exit(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        let (Some(exit), true) = (process.exit(), process.has_audience()) else {
            return;
        };
        if !process.output_is_finished() {
            return;
        }
        let mut delivery = Delivery {
            clients: &mut self.clients,
            visits: &mut self.visits,
            cx: &mut self.cx,
        };
        let mut fault = None;
        for output in process.outputs.for_client() {
            let end = delivery.deliver(&mut process.audience, true, output, Part::Eof);
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
        // What the command left behind has no output to deliver any more.
        process.terminate(self.cx.now);
        let session = process.audience.session();
        if !session.is_some_and(|session| session.keeps_output()) {
            process.abandon(self.cx.now, &mut self.cx.pool);
        }
    }

    /// Writes a command's stderr to the log, line by line (`--stderr=log`). Reading waits for
    /// neither a client nor the log. If the log does not take a line, the line is dropped, so the
    /// command never blocks.
    pub(super) fn log_stderr(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        let pid = process.pid();
        let Some(stderr) = process.outputs.for_log() else {
            return;
        };
        let scratch = &mut self.cx.scratch[..LOG_READ_LEN];
        let Some(len) = stderr.read(scratch) else {
            return;
        };
        let now = self.cx.now;
        let part = match len {
            0 => Part::Eof,
            len => Part::Bytes(&scratch[..len]),
        };
        self.cx.log.write_lines(Level::Info, |line| {
            let emitted = stderr.emit(part, now, |fragment| {
                // The first fragment of a long line fills a line of the log, which says it was cut.
                if fragment.first {
                    let text = String::from_utf8_lossy(fragment.bytes);
                    line(format_args!("stderr pid={pid} {text}"));
                }
            });
            debug_assert!(emitted.is_ok(), "a line for the log has any length");
        });
        // The rest has its turn after the others. Each line may have become fifty bytes.
        self.turn.worked(VISIT_BUDGET);
        self.defer(Owner::Process(id));
    }
}

/// How much to read from a command at once: less if many members get a copy of it.
fn read_len(members: usize, cx: &Context) -> usize {
    let len = cx.memory.read_len();
    (len / members.max(1)).max(SHARED_READ_LEN).min(len)
}

/// What it takes to deliver output.
struct Delivery<'a, S: Socket> {
    clients: &'a mut Arena<ClientTag, Client<S>>,
    visits: &'a mut Visits,
    cx: &'a mut Context,
}

impl<S: Socket> Delivery<'_, S> {
    /// Makes messages of a part of the output and sends them to the audience. They are dropped if
    /// there is no audience, or if its one client is not open. Returns the number of fragments.
    ///
    /// # Errors
    /// As [`Output::emit`]. Fragments before the error have been delivered.
    fn deliver<R: Read>(
        &mut self,
        audience: &mut Audience,
        has_audience: bool,
        output: &mut Output<R>,
        part: Part<'_>,
    ) -> Result<usize, OutputError> {
        let now = self.cx.now;
        if let Audience::Client(id) = audience {
            let client = self.clients.get_mut(*id);
            let Some(client) = client.filter(|it| has_audience && it.is_open()) else {
                return Ok(0);
            };
            let emitted = output.emit(part, now, |fragment| client.send(fragment, self.cx));
            client.flush(self.cx);
            client.charge(self.cx);
            return emitted;
        }
        let waits = audience.waits_for().is_some();
        let Some(fan_out) = audience.fan_out_mut() else {
            return Ok(0);
        };
        let mut buffer = self.cx.pool.take();
        let mut framed = Framed::new(std::mem::take(&mut buffer.bytes));
        let emitted = output.emit(part, now, |fragment| fan_out.add(fragment, &mut framed));
        if !framed.frames.is_empty() {
            self.send_to_members(fan_out, waits, &framed);
        }
        buffer.bytes = framed.frames;
        self.cx.pool.give_back(buffer);
        emitted
    }

    /// Sends `framed` to each member. With `waits` the command waits for its one member, which is then
    /// never closed as too slow.
    fn send_to_members(&mut self, fan_out: &mut FanOut, waits: bool, framed: &Framed) {
        let late = fan_out.has_late().then(|| fan_out.for_late(framed));
        for &member in &fan_out.members {
            let Some(client) = self.clients.get_mut(member) else {
                continue;
            };
            let framed = match &late {
                Some(late) if fan_out.is_late(member) => late,
                _ => framed,
            };
            match waits {
                true => client.send_framed(framed, self.cx),
                false => client.broadcast(framed, self.cx),
            }
            client.charge(self.cx);
            // A client whose socket took everything needs no visit, and one whose visit is queued
            // keeps its place.
            if !client.is_open() || client.queued_bytes() > 0 && !client.is_queued {
                self.visits.push(Owner::Client(member));
            }
        }
        fan_out.sent(framed);
    }
}
