//! Answering a request: a page, a refusal, or a WebSocket with what is behind it.

use std::io;

use super::Server;
use crate::config::Mode;
use crate::environment::{self, Gateway};
use crate::http::answer::{Answer, Service, answer};
use crate::http::handshake::{AcceptKey, write_accept};
use crate::http::head::Request;
use crate::http::refusal::Refusal;
use crate::ladder::Signal;
use crate::process::Process;
use crate::record::Record;
use crate::source::{ClientId, ProcessId};
use crate::system::{Child, Socket, Spawn, SpawnError, System};

/// What follows a request that was not refused.
enum Then {
    /// The next request.
    Request,
    /// The end of the connection.
    End,
    /// Messages.
    Open {
        key: AcceptKey,
        subprotocol: Option<String>,
        process: Option<ProcessId>,
    },
}

impl<S: System> Server<S> {
    /// Answers the request that a client has sent.
    pub(super) fn answer(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Some((mut head, head_len)) = client.take_request() else {
            return;
        };
        let mut rest = head.split_off(head_len);
        let parsed = Request::parse(&head, self.cx.config.headers_max);
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
            Ok((
                Then::Open {
                    key,
                    subprotocol,
                    process,
                },
                path,
            )) => {
                write_accept(
                    client.response(&mut self.cx.pool),
                    &key,
                    subprotocol.as_deref(),
                );
                let process_ref = process.and_then(|process| self.processes.get_mut(process));
                let pid = process_ref.as_ref().map(|process| process.pid());
                let record = Record::new(client.peer(), path, pid, self.cx.now);
                client.open(process, record, self.cx.now);
                // Frames may have come right behind the head.
                let stdin = process_ref.map(|process| &mut process.stdin);
                client.on_early_frames(&mut rest, stdin, &mut self.cx);
            }
            Err(refusal) => {
                client.refuse(&refusal, &mut self.cx);
                if !refusal.close {
                    client.await_request(rest, &mut self.cx);
                }
            }
        }
    }

    /// Decides what a request gets. A page is queued here; a WebSocket's command is started.
    fn decide(&mut self, id: ClientId, request: &Request<'_>) -> Result<Then, Refusal> {
        let Some(client) = self.clients.get_mut(id) else {
            return Ok(Then::End);
        };
        let out = client.response(&mut self.cx.pool);
        match answer(request, &self.site, out)? {
            Answer::Response { close: false } => Ok(Then::Request),
            Answer::Response { close: true } => Ok(Then::End),
            Answer::Upgrade {
                service,
                key,
                subprotocol,
            } => {
                let process = match service {
                    Service::Echo => None,
                    Service::Command(_) => {
                        let started = self.start_command(id, request);
                        Some(started.map_err(|refusal| refusal.answering(request))?)
                    }
                };
                Ok(Then::Open {
                    key,
                    subprotocol,
                    process,
                })
            }
        }
    }

    /// Starts the command for a client and links the two.
    fn start_command(&mut self, id: ClientId, request: &Request<'_>) -> Result<ProcessId, Refusal> {
        let Some(client) = self.clients.get_mut(id) else {
            return Err(Refusal::unavailable(""));
        };
        let peer = client.peer();
        let local = client.socket_mut().local_addr();
        let local = local.map_err(|error| Refusal::unavailable(&error.to_string()))?;
        if self.cx.config.mode == Mode::Demo && self.cx.config.same_user {
            let peer_uid = self.system.peer_uid(peer, local).unwrap_or(None);
            let own_uid = self.system.own_uid();
            if peer_uid != Some(own_uid) {
                return Err(Refusal::other_user(peer_uid, own_uid));
            }
        }
        let unique_id = self.unique_ids.make();
        let gateway = Gateway {
            script_name: self.site.offer.script_name(),
            peer,
            local,
            unique_id: &unique_id,
            https: false,
        };
        let passenv = &self.cx.config.passenv;
        let environment =
            environment::of(request, &gateway, passenv, |name| std::env::var_os(name));
        let spawn = Spawn {
            command: &self.command,
            environment,
            stderr: self.cx.config.stderr,
        };
        let child = self
            .system
            .spawn(&spawn)
            .map_err(|error| self.not_started(&error))?;
        self.adopt(id, child)
    }

    /// Makes an entry of a command that was started.
    fn adopt(&mut self, client: ClientId, mut child: Child<S>) -> Result<ProcessId, Refusal> {
        let pid = child.pid;
        for (_, process) in self.processes.iter_mut() {
            if process.pid() == pid {
                process.number_reused();
            }
        }
        let (system, config) = (&mut self.system, &self.cx.config);
        let adopted = self.processes.try_insert_with(|id| {
            system.watch_child(&mut child, id)?;
            Ok(Process::new(
                pid,
                client,
                child.stdin,
                child.stdout,
                child.stderr,
                config,
            ))
        });
        adopted.map_err(|error: io::Error| {
            self.system.signal_group(pid, Signal::Kill);
            self.not_started(&SpawnError::Exhausted(error))
        })
    }

    fn not_started(&self, error: &SpawnError) -> Refusal {
        let name = &self.site.command_name;
        match error {
            SpawnError::NotFound => Refusal::command_not_found(name),
            SpawnError::Exhausted(error) => Refusal::unavailable(&error.to_string()),
            SpawnError::NotExecutable(error) | SpawnError::Failed(error) => {
                Refusal::command_failed(name, &error.to_string())
            }
        }
    }
}
