//! Starting commands: for one client, for its session, or for all.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use super::Server;
use super::upgrade::Behind;
use crate::config::CommandSettings;
use crate::config::Signal;
use crate::http::head::Request;
use crate::http::proxy::{Claim, is_trusted};
use crate::http::refusal::Refusal;
use crate::http::resume::SessionOffer;
use crate::http::routes::Service;
use crate::process::environment::{self, Environment, Gateway};
use crate::process::fan_out::{Channel, Session};
use crate::process::{Audience, Process};
use crate::source::{ClientId, ProcessId};
use crate::system::{Child, Socket, Spawn, SpawnError, System};

/// A command that can be started.
#[derive(Clone, Debug)]
pub struct Command {
    /// Its name, without a path.
    pub name: Rc<str>,
    /// The program's name or path, and its arguments.
    pub words: Rc<[OsString]>,
    /// How it runs.
    pub settings: Rc<CommandSettings>,
    /// Whether it is only for clients of the server's own user.
    pub same_user: bool,
}

/// All commands that can be started.
#[derive(Clone, Debug, Default)]
pub struct Commands {
    /// Those that routes name, by index.
    pub list: Vec<Command>,
    /// The directory of `--dir`, and how its programs run.
    pub directory: Option<(PathBuf, Rc<CommandSettings>)>,
}

impl<S: System> Server<S> {
    /// The command of a service, if it is one.
    pub(super) fn command_of(&self, service: Service) -> Option<Command> {
        match service {
            Service::Echo => None,
            Service::Command(index) => self.commands.list.get(index).cloned(),
            Service::Program(name) => {
                let (directory, settings) = self.commands.directory.as_ref()?;
                Some(Command {
                    words: [directory.join(&name).into_os_string()].into(),
                    name: name.into(),
                    settings: Rc::clone(settings),
                    same_user: false,
                })
            }
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
        if command.same_user {
            self.check_user(id)?;
        }
        let found = |name, id, received| Behind::Command { name, id, received };
        if command.settings.shared.is_some() {
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
                let lasts = self.cx.limits.session_timeout;
                let session = Session {
                    token: session.token,
                    command: Rc::clone(&command.words),
                    awaited: None,
                    expires_at: lasts.map(|timeout| self.cx.now + timeout),
                    replaced: None,
                };
                Audience::Channel(Box::new(Channel::new(Some(session), &command.settings)))
            }
        };
        let environment =
            self.environment_for(id, request, &command.settings, script_name, claim)?;
        let process = self.start(&command, environment, audience)?;
        Ok(found(command.name, process, None))
    }

    /// The demo's shell is for the user alone that the server runs as.
    fn check_user(&mut self, id: ClientId) -> Result<(), Refusal> {
        let Some(client) = self.clients.get_mut(id) else {
            return Err(Refusal::unavailable("the client has left"));
        };
        // Whose socket it is says something of a client only where there is no proxy between.
        if is_trusted(client.peer().addr().ip(), &self.trusted_proxies) {
            return Err(Refusal::user_behind_proxy());
        }
        let unavailable = |error: io::Error| Refusal::unavailable(&error.to_string());
        let peer_uid = self.system.peer_uid(client.socket(), client.peer());
        let peer_uid = peer_uid.map_err(unavailable)?;
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
        settings: &CommandSettings,
        script_name: &str,
        claim: Claim,
    ) -> Result<Environment, Refusal> {
        let Some(client) = self.clients.get_mut(id) else {
            return Err(Refusal::unavailable("the client has left"));
        };
        let peer = client.peer().addr();
        let local = client.socket().local_addr();
        let local = local.map_err(|error| Refusal::unavailable(&error.to_string()))?;
        let unique_id = self.unique_ids.make();
        let gateway = Gateway {
            script_name,
            client: claim.client.unwrap_or(peer.into()),
            local,
            unique_id: &unique_id,
            https: claim.https,
        };
        let own = |name: &OsStr| std::env::var_os(name);
        Ok(environment::of(
            request,
            &gateway,
            &settings.passenv,
            &settings.setenv,
            own,
        ))
    }

    /// Starts a command and makes an entry of it.
    pub(super) fn start(
        &mut self,
        command: &Command,
        environment: Environment,
        audience: Audience,
    ) -> Result<ProcessId, Refusal> {
        self.admission
            .check_spawn(self.processes.len(), self.cx.now, &self.limits)?;
        let spawn = Spawn {
            command: &command.words,
            environment,
            settings: &command.settings,
        };
        self.spawned += 1;
        let child = self
            .system
            .spawn(&spawn)
            .map_err(|error| not_started(&command.name, &error))?;
        self.adopt(audience, Rc::clone(&command.settings), child)
    }

    /// Makes an entry of a command that was started.
    fn adopt(
        &mut self,
        audience: Audience,
        settings: Rc<CommandSettings>,
        mut child: Child<S::Stdin, S::Output>,
    ) -> Result<ProcessId, Refusal> {
        let pid = child.pid;
        if let Some(&id) = self.by_pid.get(&pid)
            && let Some(process) = self.processes.get_mut(id)
        {
            process.number_reused();
        }
        let system = &mut self.system;
        let adopted = self.processes.try_insert_with(|id| {
            system.watch_child(&mut child, id)?;
            Ok(Process::new(
                pid,
                audience,
                child.stdin,
                child.stdout,
                child.stderr,
                settings,
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
