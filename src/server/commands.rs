//! Starting commands: for one client, for its session, or for all.

use std::ffi::{OsStr, OsString};
use std::io;
use std::rc::Rc;

use super::Server;
use super::answer::Behind;
use crate::channel::{Channel, Session};
use crate::config::{Config, Mode};
use crate::environment::{self, Environment, Gateway};
use crate::http::head::Request;
use crate::http::proxy::{Claim, is_trusted};
use crate::http::refusal::Refusal;
use crate::http::routes::Service;
use crate::http::session::SessionOffer;
use crate::ladder::Signal;
use crate::process::{Audience, Process};
use crate::source::{ClientId, ProcessId};
use crate::system::{Child, Socket, Spawn, SpawnError, System};

/// What is started.
pub(super) struct Command {
    name: Rc<str>,
    pub(super) words: Rc<[OsString]>,
}

impl<S: System> Server<S> {
    /// The command of a service, if it is one.
    pub(super) fn command_of(&self, service: Service) -> Option<Command> {
        match service {
            Service::Echo => None,
            Service::Command(index) => Some(self.command(index)),
            Service::Program(name) => {
                let directory = self.cx.config.directory.as_ref()?;
                Some(Command {
                    words: [directory.join(&name).into_os_string()].into(),
                    name: name.into(),
                })
            }
        }
    }

    /// A command of the server's list.
    pub(super) fn command(&self, index: usize) -> Command {
        Command {
            name: Rc::clone(&self.site.command_names[index]),
            words: Rc::clone(&self.commands[index]),
        }
    }

    /// The command that a client gets: the one that all share, the one of the `session` that it
    /// comes back to, if that was found, or one that is started for it.
    pub(super) fn command_for(
        &mut self,
        id: ClientId,
        request: &Request<'_>,
        command: Command,
        script_name: &str,
        claim: Claim,
        session: Option<(SessionOffer<'_>, Option<ProcessId>)>,
    ) -> Result<Behind, Refusal> {
        self.check_user(id)?;
        let found = |name, id, received| Behind::Command { name, id, received };
        if self.cx.config.shared.is_some() {
            let process = self.shared_command()?;
            return Ok(found(command.name, process, None));
        }
        let audience = match session {
            None => Audience::Client(id),
            Some((session, Some(process))) => {
                return Ok(found(command.name, process, Some(session.received)));
            }
            Some((session, None)) if session.resumes => return Ok(Behind::Lost),
            Some((session, None)) => {
                let lasts = self.cx.config.session_timeout;
                let session = Session {
                    token: session.token,
                    command: Rc::clone(&command.words),
                    awaited: None,
                    expires_at: lasts.map(|timeout| self.cx.now + timeout),
                    replaced: None,
                };
                Audience::Channel(Box::new(Channel::new(Some(session), &self.cx.config)))
            }
        };
        let environment = self.environment_for(id, request, script_name, claim)?;
        let process = self.start(&command, environment, audience)?;
        Ok(found(command.name, process, None))
    }

    /// The demo's shell is for the user alone that the server runs as.
    fn check_user(&mut self, id: ClientId) -> Result<(), Refusal> {
        let Config {
            mode,
            same_user,
            trusted_proxies,
            ..
        } = &self.cx.config;
        let Some(client) = self.clients.get_mut(id) else {
            return Err(Refusal::unavailable("the client has left"));
        };
        if *mode != Mode::Demo || !*same_user {
            return Ok(());
        }
        let peer = client.peer();
        // Whose socket it is says something of a client only where there is no proxy between.
        if is_trusted(peer.ip(), trusted_proxies) {
            return Err(Refusal::user_behind_proxy());
        }
        let unavailable = |error: io::Error| Refusal::unavailable(&error.to_string());
        let local = client.socket_mut().local_addr().map_err(unavailable)?;
        let peer_uid = self.system.peer_uid(peer, local).map_err(unavailable)?;
        let own_uid = self.system.own_uid();
        match peer_uid == Some(own_uid) {
            true => Ok(()),
            false => Err(Refusal::other_user(peer_uid, own_uid)),
        }
    }

    /// What the request of a client makes of its command's environment.
    fn environment_for(
        &mut self,
        id: ClientId,
        request: &Request<'_>,
        script_name: &str,
        claim: Claim,
    ) -> Result<Environment, Refusal> {
        let Some(client) = self.clients.get_mut(id) else {
            return Err(Refusal::unavailable("the client has left"));
        };
        let peer = client.peer();
        let local = client.socket_mut().local_addr();
        let local = local.map_err(|error| Refusal::unavailable(&error.to_string()))?;
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
        Ok(environment::of(request, &gateway, passenv, setenv, own))
    }

    /// Starts a command and makes an entry of it.
    pub(super) fn start(
        &mut self,
        command: &Command,
        environment: Environment,
        audience: Audience,
    ) -> Result<ProcessId, Refusal> {
        self.admission
            .check_spawn(self.processes.len(), self.cx.now, &self.cx.config)?;
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
        self.adopt(audience, child)
    }

    /// Makes an entry of a command that was started.
    fn adopt(&mut self, audience: Audience, mut child: Child<S>) -> Result<ProcessId, Refusal> {
        let pid = child.pid;
        if let Some(&id) = self.by_pid.get(&pid)
            && let Some(process) = self.processes.get_mut(id)
        {
            process.number_reused();
        }
        let (system, config) = (&mut self.system, &self.cx.config);
        let adopted = self.processes.try_insert_with(|id| {
            system.watch_child(&mut child, id)?;
            Ok(Process::new(
                pid,
                audience,
                child.stdin,
                child.stdout,
                child.stderr,
                config,
            ))
        });
        let id = adopted.map_err(|error: io::Error| {
            self.system.signal_group(pid, Signal::Kill);
            Refusal::unavailable(&error.to_string())
        })?;
        self.by_pid.insert(pid, id);
        Ok(id)
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
