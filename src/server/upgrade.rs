//! Answering a request: a page, a refusal, or a WebSocket with what is behind it.

use std::rc::Rc;

use super::Server;
use crate::client::access_record::{Service, Target};
use crate::http::answer::{Answer, answer};
use crate::http::handshake::{AcceptKey, write_accept};
use crate::http::head::Request;
use crate::http::proxy::{Claim, Remote};
use crate::http::refusal::Refusal;
use crate::http::resume;
use crate::process::Process;
use crate::source::{ClientId, ProcessId};
use crate::system::System;

/// What follows a request that was not refused.
enum Then {
    /// The next request.
    Request,
    /// The end of the connection.
    End,
    /// Messages.
    Open(Opening),
}

/// An opening handshake that is accepted.
struct Opening {
    key: AcceptKey,
    subprotocol: Option<String>,
    behind: Behind,
    /// The client's address, where a proxy that is believed says it.
    remote: Option<Remote>,
}

/// What is behind a WebSocket.
pub(super) enum Behind {
    /// Its own messages.
    Echo,
    /// A command, by its name and its number. A client that comes back to it says how many
    /// messages it has `received`.
    Command {
        name: Rc<str>,
        id: ProcessId,
        received: Option<u64>,
    },
    /// Nothing: the session that the client comes back to is gone.
    Lost,
}

impl<S: System> Server<S> {
    /// Answers the request that a client has sent.
    pub(super) fn answer(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Some((mut head, head_len)) = client.take_request(self.cx.now) else {
            return;
        };
        let mut rest = head.split_off(head_len);
        let parsed = Request::parse(&head, self.cx.limits.headers_max);
        let decided = parsed.and_then(|request| {
            let then = self.decide(id, &request)?;
            Ok((then, request.path))
        });
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        match decided {
            Ok((Then::Request, _)) => client.await_request(rest, &mut self.cx),
            Ok((Then::End, _)) => client.end_http(&mut self.cx),
            Ok((Then::Open(opening), path)) => self.open(id, opening, path, &mut rest),
            Err(refusal) => {
                client.refuse(&refusal, &mut self.cx);
                if !refusal.close {
                    client.await_request(rest, &mut self.cx);
                }
            }
        }
    }

    /// Accepts an opening handshake: messages flow from here on. `rest` came behind the request.
    fn open(&mut self, id: ClientId, opening: Opening, path: &str, rest: &mut [u8]) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Opening {
            key,
            subprotocol,
            behind,
            remote,
        } = opening;
        let out = client.response(&mut self.cx.pool);
        write_accept(out, &key, subprotocol.as_deref());
        let (service, process_id, received) = match behind {
            Behind::Echo => (Service::Echo, None, None),
            Behind::Lost => (Service::Lost, None, None),
            Behind::Command { name, id, received } => (Service::Command(name), Some(id), received),
        };
        let process = process_id.and_then(|id| self.processes.get(id));
        let pid = process.map_or(0, Process::pid);
        let channel = process.and_then(|process| process.channel.as_deref());
        let (has_channel, has_session) = (
            channel.is_some(),
            channel.is_some_and(|channel| channel.session.is_some()),
        );
        let lost = service == Service::Lost;
        if *self.last_target.path != *path || self.last_target.service != service {
            let path = path.into();
            self.last_target = Rc::new(Target { path, service });
        }
        let record = client.record_mut();
        record.open(Rc::clone(&self.last_target), pid, self.cx.now);
        if let Some(remote) = remote {
            record.peer.speaks_for(remote);
        }
        let ip = record.ip();
        client.open(process_id, has_channel, self.cx.now);
        if lost {
            self.admission.entered(ip, &self.limits);
            return self.refuse_resumption(id);
        }
        self.admission.served(ip, &self.limits);
        match process_id {
            Some(process_id) if has_session => self.join_session(id, process_id, received),
            Some(process_id) if has_channel => self.join(id, process_id),
            _ => {}
        }
        // Frames may have come right behind the head.
        let process = process_id.and_then(|id| self.processes.get_mut(id));
        let stdin = process.map(|process| &mut process.stdin);
        if let Some(client) = self.clients.get_mut(id) {
            client.on_early_frames(rest, stdin, &mut self.cx);
        }
    }

    /// Decides what a request gets. A page is queued here; a WebSocket's command is started.
    fn decide(&mut self, id: ClientId, request: &Request<'_>) -> Result<Then, Refusal> {
        let Some(client) = self.clients.get_mut(id) else {
            return Ok(Then::End);
        };
        let peer = client.peer().addr();
        let out = client.response(&mut self.cx.pool);
        let system = &mut self.system;
        match answer(request, &self.site, &mut |name| system.look_up(name), out)? {
            Answer::Response { close: false } => Ok(Then::Request),
            Answer::Response { close: true } => Ok(Then::End),
            Answer::Upgrade {
                endpoint,
                key,
                subprotocol,
            } => {
                let claim = Claim::read(request, peer.ip(), &self.trusted_proxies);
                let client = claim.client.unwrap_or(peer.into());
                let fit = |refusal: Refusal| refusal.answering(request);
                let command = self.command_of(endpoint.service);
                // An echo has nothing that a client could come back to.
                let lingers = command
                    .as_ref()
                    .is_some_and(|it| it.settings.resume.is_some());
                let session = resume::offer(request).filter(|_| lingers);
                let found = session.as_ref().zip(command.as_ref());
                let found = found.and_then(|(it, command)| self.session(it.token, &command.words));
                // Who comes back is the client that was let in before, whose loss was perhaps not
                // noticed yet.
                if found.is_none() {
                    let admitted = self.admission.check(client.ip, &self.limits);
                    admitted.map_err(fit)?;
                }
                let subprotocol = match &session {
                    Some(session) => Some(session.protocol.to_owned()),
                    None => subprotocol,
                };
                let behind = match command {
                    None => Behind::Echo,
                    Some(command) => self
                        .command_for(
                            id,
                            request,
                            command,
                            &endpoint.script_name,
                            claim,
                            session.map(|it| (it, found)),
                        )
                        .map_err(fit)?,
                };
                Ok(Then::Open(Opening {
                    key,
                    subprotocol,
                    behind,
                    remote: claim.client,
                }))
            }
        }
    }
}
