//! Resumable sessions: clients that come back to their command (`--resume`).
//!
//! A client names its session by a token in a sub-protocol ([`crate::http::resume`]). When the
//! connection is lost, the command waits. The returning client says how many messages it received;
//! the server answers with a first message that says how many it received itself, then sends what
//! the client missed.

use std::ffi::OsString;

use super::Server;
use super::owner::Owner;
use crate::client::SESSION_EXPIRED;
use crate::client::access_record::Loss;
use crate::framing::Fragment;
use crate::http::resume::Token;
use crate::process::audience::Session;
use crate::source::{ClientId, ProcessId};
use crate::system::System;
use crate::ws::close::CloseCode;
use crate::ws::frame::Kind;
use crate::ws::framed::Framed;

impl<S: System> Server<S> {
    /// The command of a session, if it runs and was started by the same command line.
    pub(super) fn find_session(&self, token: Token, command: &[OsString]) -> Option<ProcessId> {
        let matches = |it: &Session| it.token == token && *it.command == *command;
        let mut processes = self.processes.iter();
        let found = processes
            .find(|(_, it)| it.has_audience() && it.audience.session().is_some_and(matches));
        found.map(|(id, _)| id)
    }

    /// A client begins a session, or comes back to it having `received` that many messages.
    pub(super) fn join_session(
        &mut self,
        id: ClientId,
        process_id: ProcessId,
        received: Option<u64>,
    ) {
        let Some(process) = self.processes.get_mut(process_id) else {
            return;
        };
        let arrived = process.stdin.messages();
        let Some(session) = process.audience.session_mut() else {
            return;
        };
        let mut missed = Framed::default();
        let fan_out = &mut session.fan_out;
        let resumed = received.map(|received| fan_out.resume(received, &mut missed.frames));
        // The server may not have seen the loss of the previous connection yet.
        let replaced = fan_out.members.pop();
        fan_out.join(id, &missed);
        let older = replaced.and_then(|replaced| session.replaced.replace(replaced));
        self.release_awaited(process_id);
        self.close_replaced(replaced, older);
        match resumed {
            None => {}
            Some(Ok(())) => self.welcome_back(id, arrived, &missed),
            Some(Err(_)) => self.refuse_resumption(id),
        }
        // The command may have exited in the meantime; its exit status still has to be delivered.
        self.visits.push(Owner::Process(process_id));
    }

    /// Reports to a returning client how many of its messages `arrived`, and sends those that it
    /// missed.
    fn welcome_back(&mut self, id: ClientId, arrived: u64, missed: &Framed) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let welcome = format!("{{\"received\":{arrived}}}");
        let welcome = Fragment {
            kind: Kind::Text,
            bytes: welcome.as_bytes(),
            first: true,
            last: true,
        };
        client.send(welcome, &mut self.cx);
        client.catch_up(missed, &mut self.cx);
    }

    /// Closes the connection that was replaced, and drops an older one that is still closing: a
    /// client that comes back often has at most two connections. One that has bytes queued is dropped
    /// at once, because its Close would wait behind them, and the client gets them on the newer one.
    fn close_replaced(&mut self, replaced: Option<ClientId>, older: Option<ClientId>) {
        if let Some(id) = older
            && let Some(client) = self.clients.get_mut(id)
        {
            client.lost(Loss::Replaced, &mut self.cx);
            self.visits.push(Owner::Client(id));
        }
        if let Some(id) = replaced
            && let Some(client) = self.clients.get_mut(id)
        {
            let code = CloseCode::RESUMED_ELSEWHERE;
            match client.queued_bytes() {
                0 => client.close(code, "resumed elsewhere", &mut self.cx),
                _ => client.lost(Loss::Replaced, &mut self.cx),
            }
            self.visits.push(Owner::Client(id));
        }
    }

    /// The session is gone, or some missed messages are no longer kept. The handshake succeeds and
    /// the close frame gives the reason, because a page cannot see why a handshake is refused.
    pub(super) fn refuse_resumption(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id) {
            client.close(CloseCode::OUTPUT_LOST, "output lost", &mut self.cx);
        }
    }

    /// Ends a session whose client did not come back in time, or that has expired.
    pub(super) fn end_expired_session(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        let deadline = process.audience.session().and_then(Session::deadline);
        if !process.has_audience() || deadline.is_none_or(|at| at > self.cx.acted_until) {
            return;
        }
        for &member in process.audience.members() {
            if let Some(client) = self.clients.get_mut(member) {
                client.close(CloseCode::POLICY_VIOLATION, SESSION_EXPIRED, &mut self.cx);
                self.visits.push(Owner::Client(member));
            }
        }
        process.abandon(self.cx.now, &mut self.cx.pool);
        self.release_awaited(id);
    }

    /// Stops waiting for the client of a session, and frees its place under the limits on clients.
    /// The command may take longer to terminate.
    pub(super) fn release_awaited(&mut self, id: ProcessId) {
        let process = self.processes.get_mut(id);
        let session = process.and_then(|process| process.audience.session_mut());
        if let Some(awaited) = session.and_then(|session| session.awaited.take()) {
            self.admission.left(awaited.address);
        }
    }
}
