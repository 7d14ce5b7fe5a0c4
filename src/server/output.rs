//! What the command of one client prints, on its way to that client and to the log.

use super::{Forwarded, Server};
use crate::limits::READ_BUDGET;
use crate::source::ProcessId;
use crate::system::System;

impl<S: System> Server<S> {
    /// Carries what a command printed to its client, as messages, as long as that has room. Output
    /// that nobody wants is read and dropped, so that the command can end.
    pub(super) fn forward_output(&mut self, id: ProcessId) -> Forwarded {
        let Some(process) = self.processes.get_mut(id) else {
            return Forwarded::All;
        };
        let client = process
            .client()
            .and_then(|client| self.clients.get_mut(client));
        let mut client = client.filter(|client| client.is_open());
        let mut scratch = std::mem::take(&mut self.cx.scratch);
        let mut budget = READ_BUDGET;
        let forwarded = loop {
            if client
                .as_ref()
                .is_some_and(|client| !client.has_room(&self.cx.limits))
            {
                break Forwarded::All;
            }
            if budget == 0 {
                break Forwarded::Spent;
            }
            let Some((output, len)) = process.read_for_client(&mut scratch) else {
                break Forwarded::All;
            };
            budget = budget.saturating_sub(len);
            let Some(client) = &mut client else { continue };
            let cut = output.cut(&scratch[..len], self.cx.now, |piece| {
                client.send(piece, &mut self.cx);
            });
            client.flush(&mut self.cx);
            if let Err(fault) = cut {
                client.output_failed(fault, &mut self.cx);
                break Forwarded::All;
            }
        };
        self.cx.scratch = scratch;
        forwarded
    }

    /// Carries what a command complained of to the log, line by line. Whether the client reads or
    /// not is nothing to that, and a log that does not take a line loses it: the command never
    /// waits.
    pub(super) fn log_stderr(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        let pid = process.pid();
        let Some(stderr) = process.stderr_for_log() else {
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
                // The first piece of a line fills the log's, which says that it is cut.
                if piece.first {
                    let line = String::from_utf8_lossy(piece.bytes);
                    log.info(format_args!("stderr pid={pid} {line}"));
                }
            });
            debug_assert_eq!(cut, Ok(()), "a line for the log has any length");
        }
        self.queue_process(id);
    }

    /// Once a command has ended and all that it printed is read: sends the rest of it and says
    /// how it ended.
    pub(super) fn deliver_exit(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        let Some(exit) = process.exit() else { return };
        let Some(client_id) = process.client() else {
            return;
        };
        if !process.output_is_over() {
            return;
        }
        let Some(client) = self.clients.get_mut(client_id) else {
            return;
        };
        let mut fault = None;
        for output in process.outputs_for_client() {
            let end = output.cut(&[], self.cx.now, |piece| client.send(piece, &mut self.cx));
            fault = fault.or(end.err());
        }
        if let Some(fault) = fault {
            client.output_failed(fault, &mut self.cx);
        }
        client.command_ended(exit, &mut self.cx);
        // Settling the client, which is no longer open, ends the link.
    }

    /// Sends the beginnings of lines that have waited for their end long enough (`--flush`).
    pub(super) fn flush_prompts(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        if process.channel.is_some() {
            return self.broadcast_prompts(id);
        }
        let Some(client) = process
            .client()
            .and_then(|client| self.clients.get_mut(client))
        else {
            return;
        };
        let flush = process.settings().flush;
        for output in process.outputs_for_client() {
            output.flush_prompt(self.cx.now, flush, |piece| {
                client.send(piece, &mut self.cx);
            });
        }
        client.flush(&mut self.cx);
    }
}
