//! The shared command (`--shared`): its start, and starting it again (`--restart`).

use std::ffi::OsStr;
use std::time::Duration;

use super::Server;
use super::owner::Owner;
use crate::config::{CommandSettings, Shared};
use crate::event_loop::instant::Instant;
use crate::http::refusal::Refusal;
use crate::limits::{RESTART_DELAY_MAX, RESTART_DELAY_MIN};
use crate::process::audience::Audience;
use crate::process::environment;
use crate::process::fan_out::FanOut;
use crate::source::ProcessId;
use crate::system::System;

/// The command that all clients share.
#[derive(Default)]
pub(super) struct SharedCommand {
    /// Its process, until that has ended.
    process: Option<ProcessId>,
    /// Why the last start failed; kept until the next start.
    failure: Option<Refusal>,
    /// When it was started.
    started_at: Option<Instant>,
    /// How long its next start has to wait.
    delay: Duration,
    /// When it restarts. Clients that connect earlier do not start it.
    restart_at: Option<Instant>,
}

impl<S: System> Server<S> {
    /// The settings of the shared command, if there is one. It is then the only command.
    pub(super) fn shared_settings(&self) -> Option<&CommandSettings> {
        let command = self.commands.list.first()?;
        Some(&*command.settings).filter(|settings| settings.shared.is_some())
    }

    /// Whether the shared command starts with the server.
    pub(super) fn shared_is_eager(&self) -> bool {
        let settings = self.shared_settings();
        settings.is_some_and(|settings| settings.shared == Some(Shared::Eager))
    }

    /// The process of the shared command, which is started if necessary.
    pub(super) fn shared_command(&mut self) -> Result<ProcessId, Refusal> {
        if let Some(id) = self.shared.process
            && let Some(process) = self.processes.get(id)
        {
            // There is only one at a time.
            return match process.has_audience() {
                true => Ok(id),
                false => Err(Refusal::not_now("the shared command is being terminated")),
            };
        }
        if self.shared.restart_at.is_some() {
            let reason = "the command has ended and is about to be started again (--restart)";
            let failure = self.shared.failure.clone();
            return Err(failure.unwrap_or_else(|| Refusal::not_now(reason)));
        }
        self.start_shared()
    }

    /// Starts the shared command. Its environment has no variables of a request.
    fn start_shared(&mut self) -> Result<ProcessId, Refusal> {
        let Some(command) = self.commands.list.first().cloned() else {
            return Err(Refusal::not_now("there is no shared command"));
        };
        let settings = &command.settings;
        let own = |name: &OsStr| std::env::var_os(name);
        let environment = environment::without_request(&settings.passenv, &settings.setenv, own);
        let audience = Audience::Shared(Box::new(FanOut::shared(settings)));
        let id = self.start(&command, environment, audience)?;
        self.shared.process = Some(id);
        self.shared.started_at = Some(self.cx.now);
        Ok(id)
    }

    /// Lets the next shared command start once this one has exited and its exit has been delivered.
    pub(super) fn follow_shared(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get(id) else {
            return;
        };
        if self.shared.process == Some(id) && process.exit().is_some() && !process.has_audience() {
            self.shared.process = None;
            self.schedule_restart();
        }
    }

    /// The shared command has ended or could not be started. With `--restart` it is started again,
    /// after a delay that grows as long as the runs are short.
    fn schedule_restart(&mut self) {
        let restarts = self.shared_settings().is_some_and(|it| it.restart);
        if !restarts || self.is_shutting_down() {
            return;
        }
        // A failed start counts as an uptime of zero.
        let started_at = self.shared.started_at.take().unwrap_or(self.cx.now);
        let uptime = self.cx.now.saturating_duration_since(started_at);
        let delay = restart_delay(self.shared.delay, uptime);
        self.shared.delay = delay;
        let restart_at = Some(self.cx.now + delay);
        self.timers
            .arm(Owner::Restart, restart_at, &mut self.shared.restart_at);
        let log = &self.cx.log;
        log.info(format_args!(
            "the shared command is started again in {delay:?}"
        ));
    }

    /// Starts the shared command: with the server, or when the delay has passed.
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

/// The delay before the next start, from the `previous` delay and the `uptime` of the last run.
fn restart_delay(previous: Duration, uptime: Duration) -> Duration {
    match uptime > RESTART_DELAY_MAX {
        true => RESTART_DELAY_MIN,
        false => (previous * 2).clamp(RESTART_DELAY_MIN, RESTART_DELAY_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_restart_delay_doubles_until_the_command_stays_up() {
        let delays = |uptime: Duration| {
            let mut delay = Duration::ZERO;
            std::array::from_fn(|_| {
                delay = restart_delay(delay, uptime);
                delay.as_millis()
            })
        };
        let doubled = [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000];
        assert_eq!(delays(Duration::ZERO), doubled);
        assert_eq!(
            delays(RESTART_DELAY_MAX),
            doubled,
            "no longer than the delay"
        );
        let longer = RESTART_DELAY_MAX + Duration::from_nanos(1);
        assert_eq!(restart_delay(RESTART_DELAY_MAX, longer), RESTART_DELAY_MIN);
    }
}
