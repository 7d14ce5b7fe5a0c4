//! The command that all clients share (`--shared`): its start, and its next one.

use std::ffi::OsStr;
use std::time::Duration;

use super::{Owner, Server};
use crate::config::{self, CommandSettings};
use crate::event_loop::instant::Instant;
use crate::http::refusal::Refusal;
use crate::limits::{RESTART_DELAY_MAX, RESTART_DELAY_MIN};
use crate::process::Audience;
use crate::process::environment;
use crate::process::fan_out::Channel;
use crate::source::ProcessId;
use crate::system::System;

/// The command that all clients share.
#[derive(Default)]
pub(super) struct Shared {
    /// It, until it has ended.
    process: Option<ProcessId>,
    /// Why it could not be started, as long as its next start is awaited.
    failure: Option<Refusal>,
    /// When it was started.
    started_at: Option<Instant>,
    /// How long its next start has to wait.
    delay: Duration,
    /// When it is started again; no earlier, even if clients come.
    pub(super) restart_at: Option<Instant>,
}

impl<S: System> Server<S> {
    /// The command that all clients share, started if need be.
    pub(super) fn shared_command(&mut self) -> Result<ProcessId, Refusal> {
        let running = self.shared.process;
        if let Some((id, process)) = running.and_then(|id| Some((id, self.processes.get(id)?))) {
            // There is only one at a time.
            return match process.is_wanted() {
                true => Ok(id),
                false => Err(Refusal::not_now("the shared command is being ended")),
            };
        }
        if self.shared.restart_at.is_some() {
            let reason = "the command has ended and is about to be started again (--restart)";
            let failure = self.shared.failure.clone();
            return Err(failure.unwrap_or_else(|| Refusal::not_now(reason)));
        }
        self.start_shared()
    }

    /// The settings of the command that all clients share, if one does.
    pub(super) fn shared_settings(&self) -> Option<&CommandSettings> {
        let first = self.commands.list.first()?;
        Some(&*first.settings).filter(|settings| settings.shared.is_some())
    }

    /// Before the first turn: starts what is started with the server, and gives back what the start
    /// itself needed.
    pub fn begin(&mut self) {
        if self
            .shared_settings()
            .is_some_and(|it| it.shared == Some(config::Shared::Eager))
        {
            self.restart_shared();
        }
        self.system.release_memory();
    }

    /// Starts the command that all clients share. No client's request is in its environment.
    pub(super) fn start_shared(&mut self) -> Result<ProcessId, Refusal> {
        let command = self.commands.list[0].clone();
        let settings = &command.settings;
        let own = |name: &OsStr| std::env::var_os(name);
        let environment = environment::alone(&settings.passenv, &settings.setenv, own);
        let audience = Audience::Channel(Box::new(Channel::new(None, settings)));
        let id = self.start(&command, environment, audience)?;
        self.shared.process = Some(id);
        self.shared.started_at = Some(self.cx.now);
        Ok(id)
    }

    /// Once the shared command has ended, or what is ended has exited, the next may come.
    pub(super) fn follow_shared(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get(id) else {
            return;
        };
        if self.shared.process == Some(id) && process.exit().is_some() && !process.is_wanted() {
            self.shared.process = None;
            self.schedule_restart();
        }
    }

    /// The shared command has ended, or could not be started: with `--restart`, it is started again
    /// later, and ever later as long as it does not last.
    fn schedule_restart(&mut self) {
        let restarts = self.shared_settings().is_some_and(|it| it.restart);
        if !restarts || self.is_shutting_down() {
            return;
        }
        // A start that failed did not last.
        let started_at = self.shared.started_at.take().unwrap_or(self.cx.now);
        let lasted = self.cx.now.saturating_duration_since(started_at);
        self.shared.delay = restart_delay(self.shared.delay, lasted);
        let restart_at = self.cx.now + self.shared.delay;
        self.timers.arm(
            Owner::Restart,
            Some(restart_at),
            &mut self.shared.restart_at,
        );
        let delay = self.shared.delay;
        self.cx.log.info(format_args!(
            "the shared command is started again in {delay:?}"
        ));
    }

    /// The wait for the next start of the shared command is over.
    pub(super) fn restart_shared(&mut self) {
        self.shared.restart_at = None;
        if self.is_shutting_down() {
            return;
        }
        self.shared.failure = self.start_shared().err();
        if let Some(refusal) = &self.shared.failure {
            let reason = &refusal.reason;
            self.cx.log.warn(format_args!("not started: {reason}"));
            self.schedule_restart();
        }
    }
}

/// How long a start has to wait, if the one before had to wait for `previous` and `lasted` so long.
fn restart_delay(previous: Duration, lasted: Duration) -> Duration {
    match lasted > RESTART_DELAY_MAX {
        true => RESTART_DELAY_MIN,
        false => (previous * 2).clamp(RESTART_DELAY_MIN, RESTART_DELAY_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_comes_ever_later_until_the_command_has_lasted() {
        let delays = |lasted: Duration| {
            let mut delay = Duration::ZERO;
            std::array::from_fn(|_| {
                delay = restart_delay(delay, lasted);
                delay.as_millis()
            })
        };
        let later = [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000];
        assert_eq!(delays(Duration::ZERO), later);
        assert_eq!(delays(RESTART_DELAY_MAX), later, "no longer than the wait");
        let longer = RESTART_DELAY_MAX + Duration::from_nanos(1);
        assert_eq!(restart_delay(RESTART_DELAY_MAX, longer), RESTART_DELAY_MIN);
    }
}
