//! How the server ends, by a signal or because all are served: it drains, and who will not end is
//! killed.

use std::process::ExitCode;

use super::{Owner, Server};
use crate::config::Signal;
use crate::event_loop::instant::Instant;
use crate::system::{Exit, Group, System};
use crate::ws::close::CloseCode;

/// Whether the server is ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shutdown {
    /// It is not.
    No,
    /// It is to end, with this exit status: when everything is gone, or at the deadline.
    Draining { until: Instant, status: u8 },
    /// Its time was up: every process group was sent SIGKILL. The exit status is the same.
    TimedOut { status: u8 },
    /// It was asked a second time: the same.
    Forced,
}

impl Shutdown {
    pub(super) fn exit_code(self) -> ExitCode {
        match self {
            Shutdown::No => ExitCode::SUCCESS,
            Shutdown::Draining { status, .. } | Shutdown::TimedOut { status } => status.into(),
            Shutdown::Forced => ExitCode::FAILURE,
        }
    }
}

impl<S: System> Server<S> {
    /// A signal asks the server to end. The first drains: no new connections, 1001 to every
    /// client, the ladder for every command. The second ends it at once.
    pub(super) fn shut_down(&mut self, signal: &str) {
        if self.shutdown != Shutdown::No {
            self.cx
                .log
                .warn(format_args!("{signal} again: ending at once"));
            self.kill_all();
            self.shutdown = Shutdown::Forced;
            return;
        }
        self.cx.log.info(format_args!(
            "{signal}: ending; connections={} commands={}",
            self.clients.len(),
            self.processes.len(),
        ));
        self.drain(0);
    }

    /// Whether the last client has left that `--once` or `--exit-when-idle` wait for, and nothing
    /// is left of its command. (`--kill-after=never` may have it go on for long.)
    pub(super) fn has_served_all(&self) -> bool {
        let limits = &self.limits;
        (limits.once || limits.exit_when_idle)
            && self.shutdown == Shutdown::No
            && self.admission.is_deserted()
            && (self.processes.is_empty() || self.shared_settings().is_some())
    }

    /// Whether the server is ending.
    pub(super) fn is_shutting_down(&self) -> bool {
        self.shutdown != Shutdown::No
    }

    /// The last client has left.
    pub(super) fn end_served(&mut self) {
        let (option, status) = match self.limits.once {
            true => ("--once", self.last_exit.map_or(0, exit_status)),
            false => ("--exit-when-idle", 0),
        };
        self.cx
            .log
            .info(format_args!("{option}: the last client has left; ending"));
        self.drain(status);
    }

    /// Ends every client and every command. The server ends when they are gone.
    fn drain(&mut self, status: u8) {
        let until = self.cx.now + self.limits.drain_timeout;
        self.shutdown = Shutdown::Draining { until, status };
        self.timers.arm(Owner::Shutdown, Some(until), &mut None);
        self.system.stop_listening();
        for (id, client) in self.clients.iter_mut() {
            client.close(
                CloseCode::GOING_AWAY,
                "the server is shutting down",
                &mut self.cx,
            );
            self.hot.push(Owner::Client(id));
        }
        for (id, process) in self.processes.iter_mut() {
            match process.channel {
                Some(_) => process.client_left(self.cx.now, &mut self.cx.pool),
                None => process.end(self.cx.now),
            }
            self.hot.push(Owner::Process(id));
        }
    }

    /// The end of the drain.
    pub(super) fn force_shutdown(&mut self) {
        if let Shutdown::Draining { until, status } = self.shutdown
            && until <= self.cx.now
        {
            self.cx
                .log
                .warn(format_args!("the drain is over: ending what is left"));
            self.kill_all();
            self.shutdown = Shutdown::TimedOut { status };
        }
    }

    /// Whether the loop can stop.
    pub(super) fn is_over(&self) -> bool {
        match self.shutdown {
            Shutdown::No => false,
            Shutdown::Draining { .. } => self.clients.is_empty() && self.processes.is_empty(),
            Shutdown::TimedOut { .. } | Shutdown::Forced => true,
        }
    }

    fn kill_all(&mut self) {
        for (_, process) in self.processes.iter_mut() {
            if !process.group_is_gone()
                && self.system.signal_group(process.pid(), Signal::Kill) == Group::Gone
            {
                process.group_gone();
            }
        }
    }
}

/// The exit status that says how a command ended, as in a shell.
fn exit_status(exit: Exit) -> u8 {
    match exit {
        Exit::Status(status) => status,
        Exit::Signal(signal) => signal.saturating_add(128),
    }
}
