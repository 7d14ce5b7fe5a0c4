//! One command's life: running, terminating, exited, gone.
//!
//! ```text
//!            client left, shutdown            reaped
//!  Running ------------------------> Terminating ------> Exited ----------------------> gone
//!     |                                                    ^  ^  group and jobs gone or sent SIGKILL,
//!     +----------------------------------------------------+  |  output delivered or unwanted
//!     |                      reaped                           |
//!     +-------------> Outlived -------------------------------+
//!       reaped, with             EOF, client left, shutdown
//!       `--end-at=eof`
//! ```
//!
//! A process and its clients store only ids of each other, because either may outlive the other: the
//! process while the escalation runs, the client while the last output is delivered. The server
//! brings them together: for a visit it lends the client its command's [`stdin`], and it carries the
//! output to the audience.
//!
//! - [`stdin`]: messages on their way to the command.
//! - [`output`]: its stdout and stderr, on their way out.
//! - [`audience`]: who receives the output; [`fan_out`] and [`replay_buffer`] serve several clients
//!   and clients that come back.
//! - [`escalation`]: the signals that terminate it, and [`jobs`]: what has left its group.
//! - [`environment`]: the variables it starts with.

pub(crate) mod audience;
pub mod environment;
pub(crate) mod escalation;
pub(crate) mod fan_out;
pub(crate) mod jobs;
pub(crate) mod output;
pub(crate) mod replay_buffer;
pub(crate) mod stdin;

use std::io::{Read, Write};
use std::rc::Rc;
use std::time::Duration;

use self::audience::{Audience, Session};
use self::escalation::Escalation;
use self::fan_out::FanOut;
use self::jobs::{JobSearch, Jobs, Left};
use self::output::Outputs;
use self::stdin::Stdin;
use crate::config::{CommandSettings, EndAt, Signal};
use crate::context::Context;
use crate::event_loop::buffer_pool::Pool;
use crate::event_loop::instant::Instant;
use crate::limits::{GROUP_PROBE, GROUP_PROBE_UNSIGNALLED, JOB_KILLS_MAX};
use crate::source::ClientId;
use crate::system::{Child, Exit, Group, Pid};

/// A started command, from its start until its process group is gone.
pub(crate) struct Process<W, R> {
    pid: Pid,
    life: Life,
    /// Whether a client takes the output, or may come back for it.
    has_audience: bool,
    settings: Rc<CommandSettings>,
    /// The receivers of the output.
    pub(crate) audience: Audience,
    /// Messages on their way in.
    pub(crate) stdin: Stdin<W>,
    /// Stdout and stderr.
    pub(crate) outputs: Outputs<R>,
    /// When this process's timer fires, if it is armed.
    pub(crate) wake_at: Option<Instant>,
    /// What it awaits of the search for jobs.
    pub(crate) job_search: JobSearch,
    /// Whether a visit of this process is queued for the end of a turn: postponed or deferred.
    pub(crate) is_queued: bool,
    /// The bytes of memory that it was charged for ([`Memory`](crate::memory::Memory)).
    charged: u32,
}

/// Where a command is in its life.
enum Life {
    /// It runs. Ends when its client leaves, when it exits, or when the server shuts down.
    Running,
    /// The escalation is under way. Ends with the exit.
    Terminating(Escalation),
    /// It was reaped, but processes that it left behind may print on (`--end-at=eof`). No signal is
    /// due. Ends at EOF of the output, when the client leaves, or when the server shuts down.
    Outlived(Exit, Left),
    /// It was reaped. The escalation goes on for what is left of its process group and its jobs. Ends
    /// when both are gone and the output is delivered or unwanted.
    Exited(Exit, Escalation, Left),
}

impl<W: Write, R: Read> Process<W, R> {
    /// A command that has just been started.
    pub(crate) fn new(
        child: Child<W, R>,
        audience: Audience,
        settings: Rc<CommandSettings>,
    ) -> Self {
        Self {
            pid: child.pid,
            life: Life::Running,
            has_audience: true,
            audience,
            stdin: Stdin::new(child.stdin, settings.framing),
            outputs: Outputs::new(child.stdout, child.stderr, &settings),
            settings,
            wake_at: None,
            job_search: JobSearch::default(),
            is_queued: false,
            charged: 0,
        }
    }

    /// Its PID, which is also the id of its process group.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// How it runs.
    pub(crate) fn settings(&self) -> &Rc<CommandSettings> {
        &self.settings
    }

    /// Its one client, as long as that takes its output; `None` for a session or shared command.
    pub(crate) fn own_client(&self) -> Option<ClientId> {
        self.started_for().filter(|_| self.has_audience)
    }

    /// The client it was started for, connected or not; `None` for a session or shared command.
    pub(crate) fn started_for(&self) -> Option<ClientId> {
        match self.audience {
            Audience::Client(client) => Some(client),
            Audience::Session(_) | Audience::Shared(_) => None,
        }
    }

    /// Whether a client takes the output, or may come back for it.
    pub(crate) fn has_audience(&self) -> bool {
        self.has_audience
    }

    /// How it ended, once it was reaped.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self.life {
            Life::Outlived(exit, _) | Life::Exited(exit, ..) => Some(exit),
            Life::Running | Life::Terminating(_) => None,
        }
    }

    /// No client takes the output now or later: closes stdin once the received messages are
    /// written, and begins the escalation. From now on output is read and dropped, so that a
    /// command that still prints cannot block.
    pub(crate) fn abandon(&mut self, now: Instant, pool: &mut Pool) {
        self.has_audience = false;
        self.stdin.close_when_drained(pool);
        self.terminate(now);
    }

    /// Frees the buffers of a command that was killed: nobody reads its input or output any more.
    pub(crate) fn discard_buffers(&mut self, cx: &mut Context) {
        self.stdin.close(&mut cx.pool);
        self.outputs.discard();
        self.forget_replay(cx);
    }

    /// Frees the replay buffer, if there is one.
    pub(crate) fn forget_replay(&mut self, cx: &mut Context) {
        if let Some(fan_out) = self.audience.fan_out_mut() {
            fan_out.forget();
        }
        self.charge(cx);
    }

    /// The memory of its buffers, in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        self.stdin.capacity() + self.outputs.capacity() + self.replay_bytes()
    }

    /// The memory of its replay buffer, in bytes.
    pub(crate) fn replay_bytes(&self) -> usize {
        self.audience.fan_out().map_or(0, FanOut::capacity)
    }

    /// Charges it for the memory of its buffers.
    pub(crate) fn charge(&mut self, cx: &mut Context) {
        let held = self.held_bytes();
        cx.charge(&mut self.charged, held);
    }

    /// The bytes of memory that it was charged for.
    pub(crate) fn charged(&self) -> usize {
        self.charged as usize
    }

    /// Begins the escalation, unless it has begun.
    pub(crate) fn terminate(&mut self, now: Instant) {
        match self.life {
            Life::Running => self.life = Life::Terminating(Escalation::begin(now)),
            Life::Outlived(exit, left) => {
                self.life = Life::Exited(exit, Escalation::begin(now), left);
                self.finish_if_gone();
            }
            Life::Terminating(_) | Life::Exited(..) => {}
        }
    }

    /// The command was reaped. By default it ends with its exit, not with the end of its pipes, so
    /// processes it left in its group get the escalation. With `--end-at=eof` they inherit its
    /// place: its stdin stays open, and what they print counts as its output.
    pub(crate) fn reaped(&mut self, exit: Exit, group: Group, now: Instant, pool: &mut Pool) {
        self.outputs.command_exited();
        let left = Left {
            group,
            jobs: Jobs::Unknown,
            kills: 0,
        };
        let escalation = match self.life {
            Life::Running if self.settings.end_at == EndAt::Eof => {
                self.life = Life::Outlived(exit, left);
                return;
            }
            Life::Running | Life::Outlived(..) => Escalation::begin(now),
            Life::Terminating(escalation) | Life::Exited(_, escalation, _) => escalation,
        };
        self.life = Life::Exited(exit, escalation, left);
        self.stdin.close(pool);
    }

    /// Another process was given this one's PID, so this one's group and jobs must be gone.
    pub(crate) fn pid_reused(&mut self) {
        debug_assert!(
            self.exit().is_some(),
            "a PID is free only after the child was reaped"
        );
        if let Life::Outlived(_, left) | Life::Exited(_, _, left) = &mut self.life {
            left.jobs = Jobs::Gone;
        }
        self.job_search = JobSearch::default();
        self.group_disappeared();
    }

    /// Whether everything the command printed has been read: at EOF of each pipe, or when the pipe
    /// is empty after the escalation; with `--end-at=eof` at EOF alone. A process that left the group,
    /// perhaps a job, may hold the pipe open and print forever; by default the server waits for it only
    /// as long as its output could be the command's own.
    pub(crate) fn output_is_finished(&self) -> bool {
        match &self.life {
            Life::Exited(_, escalation, left) => {
                let has_next = escalation.has_next(self.settings.kill_after);
                let no_writer = left.group == Group::Gone || !has_next;
                self.outputs.are_finished(no_writer)
            }
            Life::Outlived(..) => self.outputs.are_finished(false),
            Life::Running | Life::Terminating(_) => false,
        }
    }

    /// Whether nothing of the command is left and no client waits for its output.
    pub(crate) fn is_gone(&self) -> bool {
        !self.has_audience && self.escalation_is_finished()
    }

    /// When the timer must fire: for the next signal, a prompt, or its session's deadline.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let signal = match &self.life {
            Life::Running => None,
            Life::Terminating(escalation) => escalation.deadline(self.settings.kill_after),
            Life::Outlived(..) => self.waits_for_group().then(|| now + self.probe_interval()),
            Life::Exited(_, escalation, left) => self.next_signal_or_look(escalation, *left, now),
        };
        // Without a client no prompt is due; otherwise the timer would fire forever.
        let prompt = self.outputs.prompt_deadline(self.settings.flush);
        let session = self.audience.session().and_then(Session::deadline);
        let wanted = prompt
            .into_iter()
            .chain(session)
            .filter(|_| self.has_audience);
        signal.into_iter().chain(wanted).min()
    }

    /// When the next signal, probe or look for jobs is due to a command that has exited.
    fn next_signal_or_look(
        &self,
        escalation: &Escalation,
        left: Left,
        now: Instant,
    ) -> Option<Instant> {
        let look = match left.jobs {
            // At once. This time does not move from turn to turn.
            Jobs::Unknown if self.waits_for_jobs() => Some(escalation.began()),
            _ if self.waits_for_jobs() || self.waits_for_group() => {
                Some(escalation.next_multiple(self.probe_interval(), now))
            }
            _ => None,
        };
        let signal = escalation.deadline(self.settings.kill_after);
        signal.into_iter().chain(look).min()
    }

    /// How often a group without its leader is probed, and jobs are looked for.
    fn probe_interval(&self) -> Duration {
        match self.settings.kill_after {
            Some(_) => GROUP_PROBE,
            None => GROUP_PROBE_UNSIGNALLED,
        }
    }

    /// Whether the command has exited and its process group may have members. Its number is not
    /// protected by the leader any more, so the server probes whether the group still exists.
    pub(crate) fn waits_for_group(&self) -> bool {
        match self.life {
            Life::Running | Life::Terminating(_) => false,
            Life::Outlived(_, left) => left.group == Group::Alive,
            Life::Exited(_, escalation, left) => {
                left.group == Group::Alive && !escalation.all_steps_taken()
            }
        }
    }

    /// Whether jobs have to be looked for now: the command has exited, and its group is gone or was
    /// sent SIGKILL.
    fn waits_for_jobs(&self) -> bool {
        match self.life {
            Life::Running | Life::Terminating(_) | Life::Outlived(..) => false,
            Life::Exited(_, escalation, left) => {
                let is_last = left.group == Group::Gone || escalation.all_steps_taken();
                is_last && matches!(left.jobs, Jobs::Unknown | Jobs::Found)
            }
        }
    }

    /// Asks for the next scan, if jobs have to be looked for now or this signal was just sent to the
    /// group. Returns whether it has asked.
    pub(crate) fn look_for_jobs(&mut self, sent: Option<Signal>) -> bool {
        let waits = self.waits_for_jobs();
        if let Life::Exited(_, escalation, left) = &mut self.life
            && waits
        {
            left.jobs = Jobs::Awaited;
            let kills = escalation.all_steps_taken();
            left.kills += u8::from(kills);
            self.job_search.ask(sent.or(kills.then_some(Signal::Kill)));
        } else if sent.is_some() {
            self.job_search.ask(sent);
        }
        waits || sent.is_some()
    }

    /// A scan has looked for its jobs.
    pub(crate) fn looked_for_jobs(&mut self, jobs: Group) {
        // If it has asked again, that scan decides: this one may have begun before the group was gone.
        if let Life::Exited(_, _, left) = &mut self.life
            && left.jobs == Jobs::Awaited
            && self.job_search.asked.is_none()
        {
            left.jobs = match jobs {
                Group::Alive if left.kills < JOB_KILLS_MAX => Jobs::Found,
                Group::Alive | Group::Gone => Jobs::Gone,
            };
            self.finish_if_gone();
        }
    }

    /// Whether SIGKILL to the group reaches the command or what is left of it.
    pub(crate) fn can_be_killed(&self) -> bool {
        self.exit().is_none() || self.waits_for_group()
    }

    /// Whether the group may have members. Otherwise its number may be a stranger's.
    pub(crate) fn may_have_group(&self) -> bool {
        match self.life {
            Life::Running | Life::Terminating(_) => true,
            Life::Outlived(_, left) | Life::Exited(_, _, left) => left.group == Group::Alive,
        }
    }

    /// Asks for SIGKILL to its jobs, unless they are gone.
    pub(crate) fn kill_jobs(&mut self) {
        let jobs = match self.life {
            Life::Running | Life::Terminating(_) => Jobs::Unknown,
            Life::Outlived(_, left) | Life::Exited(_, _, left) => left.jobs,
        };
        if jobs != Jobs::Gone {
            self.job_search.ask(Some(Signal::Kill));
        }
    }

    /// The signal that is due to the process group, if any.
    pub(crate) fn due_signal(&mut self, now: Instant) -> Option<Signal> {
        match &mut self.life {
            Life::Running | Life::Outlived(..) => None,
            Life::Terminating(escalation) | Life::Exited(_, escalation, _) => {
                escalation.step(now, self.settings.kill_after, self.settings.first_signal)
            }
        }
    }

    /// Whether the command has exited and no further signal will be sent: its group and jobs are gone
    /// or were sent SIGKILL.
    fn escalation_is_finished(&self) -> bool {
        match &self.life {
            Life::Running | Life::Terminating(_) | Life::Outlived(..) => false,
            Life::Exited(_, escalation, left) => {
                escalation.all_steps_taken() && left.jobs == Jobs::Gone
            }
        }
    }

    /// The process group has no members left. (Its leader is one until it is reaped.)
    pub(crate) fn group_disappeared(&mut self) {
        if let Life::Outlived(_, left) | Life::Exited(_, _, left) = &mut self.life {
            left.group = Group::Gone;
            self.finish_if_gone();
        }
    }

    /// Skips the rest of the escalation if nothing is left that a signal could reach.
    fn finish_if_gone(&mut self) {
        if let Life::Exited(_, escalation, left) = &mut self.life
            && left.group == Group::Gone
            && left.jobs == Jobs::Gone
        {
            escalation.finish();
        }
    }
}
