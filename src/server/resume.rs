//! Sessions: commands that wait for a client that was lost (`--resume`).

use std::ffi::OsString;

use super::{Owner, Server};
use crate::client::SESSION_OVER;
use crate::framing::Piece;
use crate::http::resume::Token;
use crate::process::Process;
use crate::process::fan_out::{Batch, Session};
use crate::source::{ClientId, ProcessId};
use crate::system::System;
use crate::ws::close::CloseCode;
use crate::ws::frame::Kind;

/// The session that a client comes back to is there no more, or not all of what it missed.
const OUTPUT_LOST: (CloseCode, &str) = (CloseCode::OUTPUT_LOST, "output lost");

impl<S: System> Server<S> {
    /// The command of a session, if it is there and is this one.
    pub(super) fn session(&self, token: Token, command: &[OsString]) -> Option<ProcessId> {
        let is_it = |it: &Session| it.token == token && *it.command == *command;
        let of_session = |process: &Process<_, _>| {
            let channel = process.channel.as_deref();
            process.is_wanted() && channel.is_some_and(|it| it.session.as_ref().is_some_and(is_it))
        };
        let mut processes = self.processes.iter();
        let (id, _) = processes.find(|(_, process)| of_session(process))?;
        Some(id)
    }

    /// A client begins its session, or comes back to it having `received` so many messages.
    pub(super) fn join_session(
        &mut self,
        id: ClientId,
        process_id: ProcessId,
        received: Option<u64>,
    ) {
        let Some(process) = self.processes.get_mut(process_id) else {
            return;
        };
        let pushed = process.stdin.messages();
        let Some(channel) = process.channel.as_deref_mut() else {
            return;
        };
        let mut batch = Batch::default();
        let complete = received.map(|received| channel.resume(received, &mut batch.frames));
        // The server may not have noticed yet that the connection before was lost.
        let replaced = channel.members.pop();
        channel.join(id, &batch);
        if let Some(session) = &mut channel.session {
            let older = replaced.and_then(|replaced| session.replaced.replace(replaced));
            if let Some(awaited) = session.awaited.take() {
                self.admission.left(awaited.address);
            }
            self.close_replaced(replaced, older);
        }
        match complete {
            None => {}
            Some(Ok(())) => self.welcome(id, pushed, &batch),
            Some(Err(_)) => self.refuse_resumption(id),
        }
        // It may have ended meanwhile, and only waited to say so.
        self.hot.push(Owner::Process(process_id));
    }

    /// Tells a client that has come back how many of its messages have arrived, and sends what it
    /// has missed.
    fn welcome(&mut self, id: ClientId, pushed: u64, missed: &Batch) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let welcome = format!("{{\"received\":{pushed}}}");
        let welcome = Piece {
            kind: Kind::Text,
            bytes: welcome.as_bytes(),
            first: true,
            last: true,
        };
        client.send(welcome, &mut self.cx);
        client.catch_up(missed, &mut self.cx);
    }

    /// Closes the connection that another has replaced. One that was replaced before and is still
    /// there is dropped: no client has more than two because it comes back.
    fn close_replaced(&mut self, replaced: Option<ClientId>, older: Option<ClientId>) {
        if let Some(id) = older
            && let Some(client) = self.clients.get_mut(id)
        {
            client.hang_up(&mut self.cx);
            self.hot.push(Owner::Client(id));
        }
        if let Some(id) = replaced
            && let Some(client) = self.clients.get_mut(id)
        {
            let code = CloseCode::RESUMED_ELSEWHERE;
            client.close(code, "resumed elsewhere", &mut self.cx);
            self.hot.push(Owner::Client(id));
        }
    }

    /// A client comes back to a session that is gone: it has to be told, and in a close frame,
    /// since a page does not see why a handshake is refused.
    pub(super) fn refuse_resumption(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id) {
            client.close(OUTPUT_LOST.0, OUTPUT_LOST.1, &mut self.cx);
        }
    }

    /// Ends a session whose client has not come back in time, or whose own time is over.
    pub(super) fn end_overdue(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        let Some(channel) = process.channel.as_deref() else {
            return;
        };
        let deadline = channel.session.as_ref().and_then(Session::deadline);
        if !process.is_wanted() || deadline.is_none_or(|at| at > self.cx.seen_until) {
            return;
        }
        for &member in &channel.members {
            if let Some(client) = self.clients.get_mut(member) {
                let code = CloseCode::POLICY_VIOLATION;
                client.close(code, SESSION_OVER, &mut self.cx);
                self.hot.push(Owner::Client(member));
            }
        }
        process.client_left(self.cx.now, &mut self.cx.pool);
        self.await_no_more(id);
    }

    /// The client of a session is not waited for any more, if it was: its place is free. Its command
    /// may take long to end, as that of a client that has left may.
    pub(super) fn await_no_more(&mut self, id: ProcessId) {
        let process = self.processes.get_mut(id);
        let channel = process.and_then(|process| process.channel.as_deref_mut());
        let session = channel.and_then(|channel| channel.session.as_mut());
        if let Some(awaited) = session.and_then(|session| session.awaited.take()) {
            self.admission.left(awaited.address);
        }
    }
}
