//! How the server stops: on a signal, or after its last client. It drains, and kills what is left
//! when the drain has expired.

use std::process::ExitCode;

use super::Server;
use super::owner::Owner;
use crate::config::Signal;
use crate::event_loop::instant::Instant;
use crate::process::audience::Audience;
use crate::system::{Exit, Group, System};
use crate::ws::close::CloseCode;

/// Whether the server is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shutdown {
    /// It runs.
    No,
    /// It stops with this exit status when all commands are gone and all clients have said all, or at
    /// the deadline.
    Draining { until: Instant, status: u8 },
    /// The drain has expired, and every process group and job was sent SIGKILL. Same exit status.
    Expired { status: u8 },
    /// A second signal came: as `Expired`, with a failure as exit status.
    Forced,
}

impl Shutdown {
    pub(super) fn exit_code(self) -> ExitCode {
        match self {
            Shutdown::No => ExitCode::SUCCESS,
            Shutdown::Draining { status, .. } | Shutdown::Expired { status } => status.into(),
            Shutdown::Forced => ExitCode::FAILURE,
        }
    }
}

impl<S: System> Server<S> {
    /// SIGTERM, SIGINT or SIGHUP arrived. The first one drains: no new connections, 1001 to every
    /// client, the escalation for every command. The second one stops the server at once.
    pub(super) fn on_shutdown_signal(&mut self, signal: &str) {
        let log = &self.cx.log;
        if self.is_shutting_down() {
            log.warn(format_args!("{signal} again: stopping at once"));
            self.kill_all();
            self.shutdown = Shutdown::Forced;
            return;
        }
        let (connections, commands) = (self.clients.len(), self.processes.len());
        log.info(format_args!(
            "{signal}: stopping; connections={connections} commands={commands}"
        ));
        self.drain(0);
    }

    /// Whether `--once` or `--exit-when-idle` is set, the last client has left, and its command is
    /// gone. (With `--kill-after=never` that may take long.)
    pub(super) fn has_served_all(&self) -> bool {
        (self.limits.once || self.limits.exit_when_idle)
            && !self.is_shutting_down()
            && self.admission.is_deserted()
            && (self.processes.is_empty() || self.shared_settings().is_some())
    }

    /// Whether the server is stopping.
    pub(super) fn is_shutting_down(&self) -> bool {
        self.shutdown != Shutdown::No
    }

    /// The last client has left.
    pub(super) fn stop_after_last(&mut self) {
        let (option, status) = match self.limits.once {
            true => ("--once", self.children.last_exit.map_or(0, exit_status)),
            false => ("--exit-when-idle", 0),
        };
        let log = &self.cx.log;
        log.info(format_args!("{option}: the last client has left; stopping"));
        self.drain(status);
    }

    /// Closes every client and terminates every command. The server stops when the commands
    /// are gone and the clients have answered.
    fn drain(&mut self, status: u8) {
        let until = self.cx.now + self.limits.drain_timeout;
        self.shutdown = Shutdown::Draining { until, status };
        self.timers.arm(Owner::Shutdown, Some(until), &mut None);
        self.system.stop_listening();
        for (id, client) in self.clients.iter_mut() {
            let reason = "the server is shutting down";
            client.close(CloseCode::GOING_AWAY, reason, &mut self.cx);
            self.visits.push(Owner::Client(id));
        }
        for (id, process) in self.processes.iter_mut() {
            match process.audience {
                // When the client leaves, the command's stdin is closed.
                Audience::Client(_) => process.terminate(self.cx.now),
                Audience::Session(_) | Audience::Shared(_) => {
                    process.abandon(self.cx.now, &mut self.cx.pool);
                }
            }
            self.visits.push(Owner::Process(id));
        }
    }

    /// The drain has expired.
    pub(super) fn end_drain(&mut self) {
        if let Shutdown::Draining { until, status } = self.shutdown
            && until <= self.cx.now
        {
            let log = &self.cx.log;
            log.warn(format_args!(
                "--drain-timeout has expired: killing the remaining processes"
            ));
            self.kill_all();
            self.shutdown = Shutdown::Expired { status };
        }
    }

    /// Whether the loop can stop.
    pub(super) fn is_stopped(&self) -> bool {
        match self.shutdown {
            Shutdown::No => false,
            // A client that answered the Close may keep TCP open for as long as it likes.
            Shutdown::Draining { .. } => {
                let mut clients = self.clients.iter();
                self.processes.is_empty() && clients.all(|(_, client)| client.has_said_all())
            }
            Shutdown::Expired { .. } | Shutdown::Forced => true,
        }
    }

    fn kill_all(&mut self) {
        for (_, process) in self.processes.iter_mut() {
            if process.can_be_killed()
                && self.system.signal_group(process.pid(), Signal::Kill) == Group::Gone
            {
                process.group_disappeared();
            }
        }
        self.kill_jobs();
    }
}

/// The exit status that reports how a command ended, as a shell does.
fn exit_status(exit: Exit) -> u8 {
    match exit {
        Exit::Status(status) => status,
        Exit::Signal(signal) => signal.saturating_add(128),
    }
}
