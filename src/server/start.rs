//! Which command serves a client, and starting it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use super::Server;
use super::owner::Owner;
use super::upgrade::Accepted;
use crate::config::{CommandSettings, Signal};
use crate::http::proxy::Forwarded;
use crate::http::refusal::Refusal;
use crate::http::request::Request;
use crate::http::resume::ResumeRequest;
use crate::http::routes::Service;
use crate::process::Process;
use crate::process::audience::{Audience, Session};
use crate::process::environment::{self, Gateway};
use crate::process::fan_out::FanOut;
use crate::source::{ClientId, ProcessId};
use crate::system::{Child, Environment, PeerUser, Socket, Spawn, SpawnError, System};

/// A command that can be started.
#[derive(Clone, Debug)]
pub struct Command {
    /// Its name, without a path.
    pub name: Rc<str>,
    /// The program's name or path, and its arguments.
    pub words: Rc<[OsString]>,
    /// How it runs.
    pub settings: Rc<CommandSettings>,
    /// Whether it serves only clients of the server's own user.
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

impl Commands {
    /// The command of a service; `None` for an echo.
    fn find(&self, service: Service) -> Option<Command> {
        match service {
            Service::Echo => None,
            Service::Command(index) => self.list.get(index).cloned(),
            Service::Program(name) => {
                let (directory, settings) = self.directory.as_ref()?;
                Some(Command {
                    words: [directory.join(&name).into_os_string()].into(),
                    name: name.into(),
                    settings: Rc::clone(settings),
                    same_user: false,
                })
            }
        }
    }
}

impl<S: System> Server<S> {
    /// The command of a service; `None` for an echo.
    pub(super) fn command_of(&self, service: Service) -> Option<Command> {
        self.commands.find(service)
    }

    /// The command for a client's WebSocket: the shared one, that of the `session` that it resumes,
    /// if that was found, or a new one.
    pub(super) fn command_for(
        &mut self,
        id: ClientId,
        request: &Request<'_>,
        command: Command,
        script_name: &str,
        forwarded: Forwarded,
        session: Option<(ResumeRequest<'_>, Option<ProcessId>)>,
    ) -> Result<Accepted, Refusal> {
        if command.same_user {
            self.check_user(id)?;
        }
        let name = Rc::clone(&command.name);
        if command.settings.shared.is_some() {
            let id = self.shared_command()?;
            return Ok(Accepted::Command {
                name,
                id,
                received: None,
            });
        }
        let audience = match session {
            None => Audience::Client(id),
            Some((session, Some(id))) => {
                let received = Some(session.received);
                return Ok(Accepted::Command { name, id, received });
            }
            Some((session, None)) if session.returning => return Ok(Accepted::SessionGone),
            Some((session, None)) => {
                let lasts = self.cx.limits.session_timeout;
                Audience::Session(Box::new(Session {
                    fan_out: FanOut::session(&command.settings),
                    token: session.token,
                    command: Rc::clone(&command.words),
                    awaited: None,
                    expires_at: lasts.map(|timeout| self.cx.now + timeout),
                    replaced: None,
                }))
            }
        };
        let environment =
            self.environment_for(id, request, &command.settings, script_name, forwarded)?;
        let id = self.start(&command, environment, audience)?;
        Ok(Accepted::Command {
            name,
            id,
            received: None,
        })
    }

    /// Refuses clients that run as another user than the server: the demo's shell is for its own
    /// user.
    fn check_user(&mut self, id: ClientId) -> Result<(), Refusal> {
        let Some(client) = self.clients.get(id) else {
            return Err(Refusal::unavailable("the client has left"));
        };
        let peer = client.peer();
        // Behind a proxy, the socket belongs to the proxy's user.
        if self.site.proxies.contains(peer.addr().ip()) {
            return Err(Refusal::user_behind_proxy());
        }
        let user = self.system.peer_user(client.socket(), peer);
        let user = user.map_err(|error| Refusal::unavailable(&error.to_string()))?;
        let own_uid = self.system.own_uid();
        match user {
            PeerUser::Uid(uid) if uid == own_uid => Ok(()),
            PeerUser::Uid(uid) => Err(Refusal::other_user(Some(uid), own_uid)),
            PeerUser::Unlisted => Err(Refusal::other_user(None, own_uid)),
            PeerUser::Disconnected => Err(Refusal::user_disconnected()),
            PeerUser::Hidden(uid) => Err(Refusal::user_hidden(uid)),
        }
    }

    /// The environment of the command that a client's request starts.
    fn environment_for(
        &mut self,
        id: ClientId,
        request: &Request<'_>,
        settings: &CommandSettings,
        script_name: &str,
        forwarded: Forwarded,
    ) -> Result<Environment, Refusal> {
        let Some(client) = self.clients.get(id) else {
            return Err(Refusal::unavailable("the client has left"));
        };
        let peer = client.peer().addr();
        let local = client.socket().local_addr();
        let local = local.map_err(|error| Refusal::unavailable(&error.to_string()))?;
        let unique_id = self.unique_ids.make();
        let gateway = Gateway {
            script_name,
            client: forwarded.client.unwrap_or(peer.into()),
            local,
            unique_id: &unique_id,
            https: forwarded.https,
        };
        let (passenv, setenv) = (&settings.passenv, &settings.setenv);
        let own = |name: &OsStr| std::env::var_os(name);
        Ok(environment::for_request(
            request, &gateway, passenv, setenv, own,
        ))
    }

    /// Starts a command and makes an entry for it.
    pub(super) fn start(
        &mut self,
        command: &Command,
        environment: Environment,
        audience: Audience,
    ) -> Result<ProcessId, Refusal> {
        let (processes, now) = (self.processes.len(), self.cx.now);
        self.admission.check_spawn(processes, now, &self.limits)?;
        let spawn = Spawn {
            command: &command.words,
            environment,
            settings: &command.settings,
        };
        self.children.started_in_turn += 1;
        let child = self
            .system
            .spawn(&spawn)
            .map_err(|error| not_started(&command.name, &error))?;
        self.add_process(child, audience, Rc::clone(&command.settings))
    }

    /// Makes an entry for a command that was started.
    fn add_process(
        &mut self,
        mut child: Child<S::Stdin, S::Output>,
        audience: Audience,
        settings: Rc<CommandSettings>,
    ) -> Result<ProcessId, Refusal> {
        let pid = child.pid;
        if let Some(id) = self.children.find(pid)
            && let Some(process) = self.processes.get_mut(id)
        {
            process.pid_reused();
            self.visits.push(Owner::Process(id));
        }
        let system = &mut self.system;
        let adopted = self.processes.try_insert_with(|id| {
            system.watch_child(&mut child, id)?;
            Ok(Process::new(child, audience, settings))
        });
        let id = adopted.map_err(|error: io::Error| {
            self.system.signal_group(pid, Signal::Kill);
            self.system.release_group(pid);
            Refusal::unavailable(&error.to_string())
        })?;
        self.children.started(pid, id);
        Ok(id)
    }
}

/// The refusal for a command that could not be started.
fn not_started(name: &str, error: &SpawnError) -> Refusal {
    match error {
        SpawnError::NotFound => Refusal::command_not_found(name),
        SpawnError::Stalled => Refusal::command_stalled(name),
        SpawnError::Exhausted(error) => Refusal::unavailable(&error.to_string()),
        SpawnError::NotExecutable(error) | SpawnError::Failed(error) => {
            Refusal::command_failed(name, &error.to_string())
        }
    }
}
