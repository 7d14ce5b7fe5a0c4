//! The output of a command, on its way to its audience and to the log.
//!
//! There is one path for every kind of [`Audience`]: read a pipe, cut what was read into fragments of
//! messages, hand the fragments to the audience ([`deliver`]). A single client gets them directly,
//! long ones without a copy. For a session or shared command they are framed once, kept, and sent
//! to each member.
//!
//! The back-pressure on a command is here: while the client that it waits for has no room, the
//! server does not read the command's pipe.

use super::Server;
use super::owner::Owner;
use super::visits::{Progress, Visits};
use crate::client::Client;
use crate::context::Context;
use crate::event_loop::arena::Arena;
use crate::framing::{Fragment, OutputError};
use crate::limits::{FRAGMENT_COST, LOG_READ_LEN, READ_BUDGET, VISIT_COST};
use crate::log::Level;
use crate::process::audience::Audience;
use crate::process::fan_out::FanOut;
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
        let mut budget = READ_BUDGET;
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
            let Some((output, len)) = process.outputs.read(&mut scratch) else {
                break Ok(Progress::All);
            };
            let (read, now) = (&scratch[..len], self.cx.now);
            let (clients, visits) = (&mut self.clients, &mut self.visits);
            let mut fragments = 0;
            let cut = deliver(
                &mut process.audience,
                has_audience,
                clients,
                visits,
                &mut self.cx,
                |sink| {
                    output.cut(read, now, |fragment| {
                        fragments += 1;
                        sink(fragment);
                    })
                },
            );
            // Each member of a fan-out may cost a write.
            let members = process.audience.members().len();
            let cost = len + fragments * FRAGMENT_COST + members.saturating_sub(1) * VISIT_COST;
            budget = budget.saturating_sub(cost);
            if let Err(fault) = cut {
                break Err(fault);
            }
        };
        self.turn.worked(READ_BUDGET - budget);
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
        let (flush, now) = (process.settings().flush, self.cx.now);
        let has_audience = process.has_audience();
        for output in process.outputs.for_client() {
            let (clients, visits) = (&mut self.clients, &mut self.visits);
            let flushed = deliver(
                &mut process.audience,
                has_audience,
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
            process.abandon(now, &mut self.cx.pool);
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
        self.cx.log.write_lines(Level::Info, |line| {
            let cut = stderr.cut(&scratch[..len], now, |fragment| {
                // The first fragment of a long line fills a line of the log, which says it was cut.
                if fragment.first {
                    let text = String::from_utf8_lossy(fragment.bytes);
                    line(format_args!("stderr pid={pid} {text}"));
                }
            });
            debug_assert_eq!(cut, Ok(()), "a line for the log has any length");
        });
        // The rest has its turn after the others. Each line may have become fifty bytes.
        self.turn.worked(READ_BUDGET);
        self.defer_process(id);
    }
}

/// Hands the fragments that `produce` yields to an audience. They are dropped if there is no
/// audience, or if its one client is not open.
///
/// # Errors Those of `produce`. Fragments before the error have been delivered.
fn deliver<S: Socket>(
    audience: &mut Audience,
    has_audience: bool,
    clients: &mut Arena<ClientTag, Client<S>>,
    visits: &mut Visits,
    cx: &mut Context,
    produce: impl FnOnce(&mut dyn FnMut(Fragment<'_>)) -> Result<(), OutputError>,
) -> Result<(), OutputError> {
    if let Audience::Client(id) = audience {
        let client = clients.get_mut(*id);
        let Some(client) = client.filter(|it| has_audience && it.is_open()) else {
            return Ok(());
        };
        let produced = produce(&mut |fragment| client.send(fragment, cx));
        client.flush(cx);
        return produced;
    }
    let waits = audience.waits_for().is_some();
    let Some(fan_out) = audience.fan_out_mut() else {
        return Ok(());
    };
    let mut buffer = cx.pool.take();
    let mut framed = Framed::new(std::mem::take(&mut buffer.bytes));
    let produced = produce(&mut |fragment| fan_out.add(fragment, &mut framed));
    if !framed.frames.is_empty() {
        send_to_members(fan_out, waits, &framed, clients, visits, cx);
    }
    buffer.bytes = framed.frames;
    cx.pool.give_back(buffer);
    produced
}

/// Sends `framed` to each member. With `waits` the command waits for its one member, which is then
/// never closed as too slow.
fn send_to_members<S: Socket>(
    fan_out: &mut FanOut,
    waits: bool,
    framed: &Framed,
    clients: &mut Arena<ClientTag, Client<S>>,
    visits: &mut Visits,
    cx: &mut Context,
) {
    for &member in &fan_out.members {
        let Some(client) = clients.get_mut(member) else {
            continue;
        };
        let late;
        let framed = match fan_out.is_late(member) {
            false => framed,
            true => {
                late = fan_out.for_late(framed);
                &late
            }
        };
        match waits {
            true => client.send_framed(framed, cx),
            false => client.broadcast(framed, cx),
        }
        // A client whose socket took everything needs no visit.
        if !client.is_open() || client.queued_bytes() > 0 {
            visits.push(Owner::Client(member));
        }
    }
    fan_out.sent(framed);
}
