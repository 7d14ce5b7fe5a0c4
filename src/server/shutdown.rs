//! How the server ends: it drains, and who will not end is killed.

use std::process::ExitCode;
use std::time::Instant;

use super::{Owner, Server};
use crate::ladder::Signal;
use crate::system::System;
use crate::ws::close::CloseCode;

/// Whether the server is ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shutdown {
    /// It is not.
    No,
    /// It was asked to. Ends when everything is gone, or at the deadline.
    Draining { until: Instant },
    /// Its time was up: every process group was sent SIGKILL.
    TimedOut,
    /// It was asked a second time: the same.
    Forced,
}

impl Shutdown {
    pub(super) fn exit_code(self) -> ExitCode {
        match self {
            Shutdown::No | Shutdown::Draining { .. } | Shutdown::TimedOut => ExitCode::SUCCESS,
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
        let until = self.cx.now + self.cx.config.drain_timeout;
        self.shutdown = Shutdown::Draining { until };
        self.deadlines.arm(Owner::Shutdown, Some(until), &mut None);
        self.cx.log.info(format_args!(
            "{signal}: ending; connections={} commands={}",
            self.clients.len(),
            self.processes.len(),
        ));
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
            process.end(self.cx.now);
            self.hot.push(Owner::Process(id));
        }
    }

    /// The end of the drain.
    pub(super) fn force_shutdown(&mut self) {
        if let Shutdown::Draining { until } = self.shutdown
            && until <= self.cx.now
        {
            self.cx
                .log
                .warn(format_args!("the drain is over: ending what is left"));
            self.kill_all();
            self.shutdown = Shutdown::TimedOut;
        }
    }

    /// Whether the loop can stop.
    pub(super) fn is_over(&self) -> bool {
        match self.shutdown {
            Shutdown::No => false,
            Shutdown::Draining { .. } => self.clients.is_empty() && self.processes.is_empty(),
            Shutdown::TimedOut | Shutdown::Forced => true,
        }
    }

    fn kill_all(&mut self) {
        for (_, process) in self.processes.iter_mut() {
            if !process.group_is_gone() {
                self.system.signal_group(process.pid(), Signal::Kill);
            }
        }
    }
}
