//! Answering a request: a page, a refusal, or a WebSocket with what is behind it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::rc::Rc;

use super::Server;
use crate::config::{Config, Mode};
use crate::environment::{self, Gateway};
use crate::http::answer::{Answer, answer};
use crate::http::handshake::{AcceptKey, write_accept};
use crate::http::head::Request;
use crate::http::proxy::{Claim, Remote, is_trusted};
use crate::http::refusal::Refusal;
use crate::http::routes::Service;
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
        /// The command's name and number.
        command: Option<(Rc<str>, ProcessId)>,
        /// Where the client is, as a proxy says.
        client: Option<Remote>,
    },
}

/// What is started for a client.
struct Command {
    name: Rc<str>,
    words: Rc<[OsString]>,
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
                    command,
                    client: remote,
                },
                path,
            )) => {
                write_accept(
                    client.response(&mut self.cx.pool),
                    &key,
                    subprotocol.as_deref(),
                );
                let (name, id) = command.unzip();
                let process = id.and_then(|id| self.processes.get_mut(id));
                let pid = process.as_ref().map(|process| process.pid());
                let mut record = Record::new(client.peer(), path, name.zip(pid), self.cx.now);
                record.client = remote;
                self.admission.enter(record.ip(), &self.cx.config);
                client.open(id, record, self.cx.now);
                // Frames may have come right behind the head.
                let stdin = process.map(|process| &mut process.stdin);
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
        let peer = client.peer();
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
                let claim = Claim::read(request, peer.ip(), &self.cx.config.trusted_proxies);
                let client = claim.client.unwrap_or(peer.into());
                let fit = |refusal: Refusal| refusal.answering(request);
                let admitted = self.admission.check(client.ip, &self.cx.config);
                admitted.map_err(fit)?;
                let command = match self.command_of(endpoint.service) {
                    None => None,
                    Some(command) => {
                        let started =
                            self.start_command(id, request, &command, &endpoint.script_name, claim);
                        Some((command.name, started.map_err(fit)?))
                    }
                };
                Ok(Then::Open {
                    key,
                    subprotocol,
                    command,
                    client: claim.client,
                })
            }
        }
    }

    /// The command of a service, if it is one.
    fn command_of(&self, service: Service) -> Option<Command> {
        match service {
            Service::Echo => None,
            Service::Command(index) => Some(Command {
                name: Rc::clone(&self.site.command_names[index]),
                words: Rc::clone(&self.commands[index]),
            }),
            Service::Program(name) => {
                let directory = self.cx.config.directory.as_ref()?;
                Some(Command {
                    words: [directory.join(&name).into_os_string()].into(),
                    name: name.into(),
                })
            }
        }
    }

    /// Starts a command for a client and links the two.
    fn start_command(
        &mut self,
        id: ClientId,
        request: &Request<'_>,
        command: &Command,
        script_name: &str,
        claim: Claim,
    ) -> Result<ProcessId, Refusal> {
        let Some(client) = self.clients.get_mut(id) else {
            return Err(Refusal::unavailable("the client has left"));
        };
        let peer = client.peer();
        let local = client.socket_mut().local_addr();
        let local = local.map_err(|error| Refusal::unavailable(&error.to_string()))?;
        if self.cx.config.mode == Mode::Demo && self.cx.config.same_user {
            // Whose socket it is says something of a client only where there is no proxy between.
            if is_trusted(peer.ip(), &self.cx.config.trusted_proxies) {
                return Err(Refusal::user_behind_proxy());
            }
            let peer_uid = self.system.peer_uid(peer, local);
            let peer_uid = peer_uid.map_err(|error| Refusal::unavailable(&error.to_string()))?;
            let own_uid = self.system.own_uid();
            if peer_uid != Some(own_uid) {
                return Err(Refusal::other_user(peer_uid, own_uid));
            }
        }
        self.admission
            .check_spawn(self.processes.len(), self.cx.now, &self.cx.config)?;
        let unique_id = self.unique_ids.make();
        let gateway = Gateway {
            script_name,
            client: claim.client.unwrap_or(peer.into()),
            local,
            unique_id: &unique_id,
            https: claim.https,
        };
        let Config {
            passenv, setenv, ..
        } = &self.cx.config;
        let own = |name: &OsStr| std::env::var_os(name);
        let environment = environment::of(request, &gateway, passenv, setenv, own);
        let spawn = Spawn {
            command: &command.words,
            environment,
            stderr: self.cx.config.stderr,
        };
        self.spawned += 1;
        let child = self
            .system
            .spawn(&spawn)
            .map_err(|error| not_started(&command.name, &error))?;
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
            Refusal::unavailable(&error.to_string())
        })
    }
}

/// The refusal for a command that could not be started.
fn not_started(name: &str, error: &SpawnError) -> Refusal {
    match error {
        SpawnError::NotFound => Refusal::command_not_found(name),
        SpawnError::Exhausted(error) => Refusal::unavailable(&error.to_string()),
        SpawnError::NotExecutable(error) | SpawnError::Failed(error) => {
            Refusal::command_failed(name, &error.to_string())
        }
    }
}
