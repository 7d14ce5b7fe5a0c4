//! Answering a request: a page, a refusal, or a WebSocket with an echo or a command.

use std::rc::Rc;

use super::Server;
use crate::client::access_record::BackEnd;
use crate::http::answer::{Answer, adapt_refusal, answer};
use crate::http::handshake::{AcceptKey, write_accept};
use crate::http::proxy::{Forwarded, Remote};
use crate::http::refusal::Refusal;
use crate::http::request::Request;
use crate::http::resume;
use crate::http::routes::{DirEntry, Endpoint, Service};
use crate::limits::SPAWNS_PER_TURN;
use crate::process::Process;
use crate::process::audience::Audience;
use crate::source::{ClientId, ProcessId};
use crate::system::System;

/// How to go on after a request that was not refused.
enum Outcome {
    /// A response was queued; the next request may follow.
    Answered,
    /// The last response was queued.
    Close,
    /// The opening handshake is accepted.
    Upgrade(Upgrade),
    /// The handshake is for a command, which may not start now.
    Later,
}

/// An opening handshake that is accepted.
struct Upgrade {
    key: AcceptKey,
    subprotocol: Option<String>,
    accepted: Accepted,
    /// The client's address, if a trusted proxy names it.
    remote: Option<Remote>,
}

/// The back end of an accepted WebSocket.
pub(super) enum Accepted {
    /// An echo.
    Echo,
    /// A command. A returning client reports how many messages it has `received`.
    Command {
        name: Rc<str>,
        id: ProcessId,
        received: Option<u64>,
    },
    /// Nothing: the session that the client comes back to no longer exists. Its close frame says so.
    SessionGone,
}

impl<S: System> Server<S> {
    /// Answers a client's request. Returns false if it has to wait for a deferred visit.
    pub(super) fn answer(&mut self, id: ClientId) -> bool {
        let Some(client) = self.clients.get_mut(id) else {
            return true;
        };
        let Some((mut head, head_len)) = client.take_request(self.cx.now) else {
            return true;
        };
        let mut rest = head.split_off(head_len);
        let parsed = Request::parse(&head, self.cx.limits.headers_max);
        let decided = parsed.and_then(|request| {
            let outcome = self.decide(id, &request)?;
            Ok((outcome, request.path))
        });
        let Some(client) = self.clients.get_mut(id) else {
            return true;
        };
        match decided {
            Ok((Outcome::Later, _)) => {
                head.append(&mut rest);
                client.put_request_back(head, head_len);
                return false;
            }
            Ok((Outcome::Answered, _)) => client.await_request(rest, &mut self.cx),
            Ok((Outcome::Close, _)) => client.end_http(&mut self.cx),
            Ok((Outcome::Upgrade(upgrade), path)) => self.open(id, upgrade, path, &mut rest),
            Err(refusal) => {
                client.refuse(&refusal, &mut self.cx);
                if !refusal.close {
                    client.await_request(rest, &mut self.cx);
                }
            }
        }
        true
    }

    /// Decides how to answer a request: queues a page, or starts the command of a WebSocket.
    fn decide(&mut self, id: ClientId, request: &Request<'_>) -> Result<Outcome, Refusal> {
        let Some(client) = self.clients.get_mut(id) else {
            return Ok(Outcome::Close);
        };
        let date = self.cx.date();
        let peer = client.peer().addr().ip();
        let out = client.response(&mut self.cx.pool);
        let (system, log) = (&mut self.system, &self.cx.log);
        let mut look_up = |name: &str| {
            let entry = system.look_up(name);
            if entry == DirEntry::NotExecutable
                && let Some(report) = system.report_entry(name)
            {
                log.warn(format_args!("not served: {report}"));
            }
            entry
        };
        match answer(request, peer, &self.site, &mut look_up, date, out)? {
            Answer::Response { close: false } => Ok(Outcome::Answered),
            Answer::Response { close: true } => Ok(Outcome::Close),
            Answer::Upgrade { endpoint, .. }
                if endpoint.service != Service::Echo && !self.may_start() =>
            {
                Ok(Outcome::Later)
            }
            Answer::Upgrade {
                endpoint,
                key,
                subprotocol,
                forwarded,
            } => {
                let upgrade =
                    self.accept_upgrade(id, request, endpoint, key, subprotocol, forwarded);
                upgrade
                    .map(Outcome::Upgrade)
                    .map_err(|refusal| adapt_refusal(refusal, request))
            }
        }
    }

    /// Whether a command may start now.
    fn may_start(&self) -> bool {
        self.children.may_start && self.children.started_in_turn < SPAWNS_PER_TURN
    }

    /// Checks the limits for a valid opening handshake, and finds or starts its command.
    fn accept_upgrade(
        &mut self,
        id: ClientId,
        request: &Request<'_>,
        endpoint: Endpoint,
        key: AcceptKey,
        subprotocol: Option<String>,
        forwarded: Forwarded,
    ) -> Result<Upgrade, Refusal> {
        let Some(client) = self.clients.get(id) else {
            return Err(Refusal::unavailable("the client has left"));
        };
        let peer = client.peer().addr().ip();
        let ip = forwarded.client.map_or(peer, |client| client.ip);
        let command = self.command_of(endpoint.service);
        // An echo has no session to resume.
        let resumes = (command.as_ref()).is_some_and(|it| it.settings.resume.is_some());
        let session = resume::resume_request(request).filter(|_| resumes);
        let found = session.as_ref().zip(command.as_ref());
        let found = found.and_then(|(it, command)| self.find_session(it.token, &command.words));
        // A returning client was admitted before, and may still hold its place.
        if found.is_none() {
            self.admission.check(ip, &self.limits, &self.cx.memory)?;
        }
        let subprotocol = match &session {
            Some(session) => Some(session.protocol.to_owned()),
            None => subprotocol,
        };
        let accepted = match command {
            None => Accepted::Echo,
            Some(command) => {
                let session = session.map(|it| (it, found));
                self.command_for(
                    id,
                    request,
                    command,
                    &endpoint.script_name,
                    forwarded,
                    session,
                )?
            }
        };
        Ok(Upgrade {
            key,
            subprotocol,
            accepted,
            remote: forwarded.client,
        })
    }

    /// Opens a WebSocket: queues the 101 and joins the client to its command. `rest` came behind the
    /// request.
    fn open(&mut self, id: ClientId, upgrade: Upgrade, path: &str, rest: &mut [u8]) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Upgrade {
            key,
            subprotocol,
            accepted,
            remote,
        } = upgrade;
        let date = self.cx.date();
        let out = client.response(&mut self.cx.pool);
        write_accept(out, &key, subprotocol.as_deref(), date);
        let (back_end, process_id, received) = match accepted {
            Accepted::Echo => (BackEnd::Echo, None, None),
            Accepted::SessionGone => (BackEnd::None, None, None),
            Accepted::Command { name, id, received } => {
                (BackEnd::Command(name), Some(id), received)
            }
        };
        let session_is_gone = back_end == BackEnd::None;
        let process = process_id.and_then(|id| self.processes.get(id));
        let pid = process.map_or(0, Process::pid);
        let audience = process.map(|process| &process.audience);
        let (is_session, is_shared) = (
            matches!(audience, Some(Audience::Session(_))),
            matches!(audience, Some(Audience::Shared(_))),
        );
        let target = self.access_log.target(path, back_end);
        let record = client.record_mut();
        record.open(target, pid, self.cx.now);
        if let Some(remote) = remote {
            record.peer.speaks_for(remote);
        }
        self.cx
            .log
            .debug(format_args!("opened {}", record.identity()));
        let ip = record.ip();
        client.open(process_id, is_session || is_shared, self.cx.now);
        client.has_place = true;
        match session_is_gone {
            true => self.admission.entered(ip, &self.limits),
            false => self.admission.served(ip, &self.limits),
        }
        match process_id {
            _ if session_is_gone => self.refuse_resumption(id),
            Some(process_id) if is_session => self.join_session(id, process_id, received),
            Some(process_id) if is_shared => self.join_shared(id, process_id),
            _ => {}
        }
        // Frames may have come right behind the head.
        let process = process_id.and_then(|id| self.processes.get_mut(id));
        let stdin = process.map(|process| &mut process.stdin);
        if let Some(client) = self.clients.get_mut(id) {
            client.on_early_frames(rest, stdin, &mut self.cx);
        }
    }
}
