//! One command's life: running, ending, exited, gone.
//!
//! A command runs for a client, but neither owns the other: it may outlive its client (the
//! ladder) and its client may outlive it (what it printed is delivered first). They know each
//! other by id, and `server.rs` carries the bytes between them.

pub mod environment;
pub mod escalation;
pub mod fan_out;
pub mod replay_buffer;
pub mod stdin;

use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use crate::client::access_record::AccessRecord;
use crate::config::{CommandSettings, Signal, Stderr};
use crate::event_loop::buffer_pool::Pool;
use crate::event_loop::instant::Instant;
use crate::event_loop::readiness::Readiness;
use crate::framing::{Fault, Piece, Splitter, Stream};
use crate::limits::{GROUP_PROBE, PIPE_LEN_MAX};
use crate::process::escalation::Escalation;
use crate::process::fan_out::{Channel, Session};
use crate::process::stdin::Stdin;
use crate::source::ClientId;
use crate::system::{Exit, Group, Pid};

/// A command that was started, until nothing of it is left.
pub struct Process<W, R> {
    pid: Pid,
    /// Whom it was started for; `None`: it has a channel.
    client: Option<ClientId>,
    /// Who is there, where that changes; lent out while output is carried.
    pub channel: Option<Box<Channel>>,
    /// Whether anybody still takes its output, or may come back for it.
    wanted: bool,
    life: Life,
    settings: Rc<CommandSettings>,
    /// Messages on their way in.
    pub stdin: Stdin<W>,
    /// Its output.
    pub stdout: Output<R>,
    /// What it complains of, where that has a pipe of its own. Boxed because it is rare.
    pub stderr: Option<Box<Output<R>>>,
    /// Which of the two is read for the client next, where both are.
    turn: Stream,
    /// What the log will say of a client that has gone before its command.
    pub record: Option<Box<AccessRecord>>,
    /// When this process has asked to be woken.
    pub wake_at: Option<Instant>,
    /// Whether this process is in the ready queue.
    pub queued: bool,
}

/// Whom a command is started for.
pub enum Audience {
    /// One client, with which it ends.
    Client(ClientId),
    /// Whoever is there.
    Channel(Box<Channel>),
}

/// Where a command is in its life.
enum Life {
    /// It runs. Ends when its client leaves, when it exits, or when the server shuts down.
    Running,
    /// It was asked to end and the ladder is under way. Ends with its exit.
    Ending(Escalation),
    /// It was reaped. The ladder now counts for what it left behind in its process group. Ends
    /// when the group is gone, and its output is delivered or wanted by nobody.
    Exited(Exit, Escalation),
}

impl<W: Write, R: Read> Process<W, R> {
    /// A command that has just been started for `audience`, and what becomes of its output.
    pub fn new(
        pid: Pid,
        audience: Audience,
        stdin: W,
        stdout: R,
        stderr: Option<R>,
        settings: Rc<CommandSettings>,
    ) -> Self {
        let (client, channel) = match audience {
            Audience::Client(client) => (Some(client), None),
            Audience::Channel(channel) => (None, Some(channel)),
        };
        Self {
            pid,
            client,
            channel,
            wanted: true,
            life: Life::Running,
            stdin: Stdin::new(stdin, settings.framing),
            stdout: Output::new(stdout, Stream::Stdout, &settings),
            stderr: stderr.map(|pipe| Box::new(Output::new(pipe, Stream::Stderr, &settings))),
            settings,
            turn: Stream::Stdout,
            record: None,
            wake_at: None,
            queued: false,
        }
    }

    /// Its number, which is that of its process group.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Whom its output is for; `None` once that client has left, and for a channel.
    pub fn client(&self) -> Option<ClientId> {
        self.client.filter(|_| self.wanted)
    }

    /// Whom it was started for, there or not; `None` for a channel.
    pub fn started_for(&self) -> Option<ClientId> {
        self.client
    }

    /// Whether anybody takes its output, or may come back for it.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// How it runs.
    pub fn settings(&self) -> &Rc<CommandSettings> {
        &self.settings
    }

    /// How it ended, once it was reaped.
    pub fn exit(&self) -> Option<Exit> {
        match self.life {
            Life::Exited(exit, _) => Some(exit),
            Life::Running | Life::Ending(_) => None,
        }
    }

    /// The client takes no more output and sends no more messages: those that came are written,
    /// stdin is closed, and the ladder begins. From here on output is read and dropped, so that a
    /// command that still prints is not stuck.
    pub fn client_left(&mut self, now: Instant, pool: &mut Pool) {
        self.wanted = false;
        self.stdin.close_when_drained(pool);
        self.end(now);
    }

    /// Begins the ladder, if it has not begun.
    pub fn end(&mut self, now: Instant) {
        if let Life::Running = self.life {
            self.life = Life::Ending(Escalation::begin(now));
        }
    }

    /// The command was reaped. What it left behind in its group gets the ladder too: the end of a
    /// command is its exit and not the end of its pipes.
    pub fn on_exit(&mut self, exit: Exit, group: Group, now: Instant, pool: &mut Pool) {
        let mut escalation = match self.life {
            Life::Running => Escalation::begin(now),
            Life::Ending(escalation) | Life::Exited(_, escalation) => escalation,
        };
        if group == Group::Gone {
            escalation.finish();
        }
        self.life = Life::Exited(exit, escalation);
        self.stdin.close(pool);
        for output in [Some(&mut self.stdout), self.stderr.as_deref_mut()]
            .into_iter()
            .flatten()
        {
            // What it printed last may be in the pipe without an edge having told of it.
            output.readiness.merge(Readiness::READABLE);
            output.read_since_exit = 0;
        }
    }

    /// Another process has been given the number of this one, whose group must therefore be gone:
    /// it is never signalled again.
    pub fn number_reused(&mut self) {
        debug_assert!(
            self.exit().is_some(),
            "the number of a child is free once it is reaped"
        );
        self.group_gone();
    }

    /// Whether everything that the command printed has been read. After its exit that is so at
    /// the end of the pipe, or when the pipe is empty and nothing is left that could fill it. Who
    /// has left the process group on purpose may hold the pipe and print for ever: more than the
    /// command itself can have left in it is not waited for.
    pub fn output_is_over(&self) -> bool {
        let Life::Exited(_, escalation) = &self.life else {
            return false;
        };
        let over = |output: &Output<R>| {
            let silent =
                !output.readiness.readable() || output.read_since_exit as usize >= PIPE_LEN_MAX;
            output.pipe.is_none() || silent && escalation.is_done(self.settings.kill_after)
        };
        over(&self.stdout) && self.stderr.as_deref().is_none_or(over)
    }

    /// Whether nothing of the command is left, and nobody waits for its output.
    pub fn is_gone(&self) -> bool {
        match &self.life {
            Life::Exited(_, escalation) => !self.wanted && escalation.is_finished(),
            Life::Running | Life::Ending(_) => false,
        }
    }

    /// When the process must be woken.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let step = match &self.life {
            Life::Running => None,
            // With `--kill-after=never` it is only looked whether its group is gone.
            Life::Exited(_, escalation) if self.waits_for_group() => {
                debug_assert!(!escalation.is_finished());
                Some(now + GROUP_PROBE)
            }
            Life::Ending(escalation) | Life::Exited(_, escalation) => {
                escalation.deadline(self.settings.kill_after)
            }
        };
        let stderr = self.stderr.as_deref().filter(|output| output.for_client);
        let prompts = [Some(&self.stdout), stderr].into_iter().flatten();
        // A prompt is for somebody: without a client none is due, or it would be due for ever.
        let prompts = prompts
            .filter(|_| self.wanted)
            .filter_map(|output| output.prompt_due(self.settings.flush));
        let session = self.channel.as_deref().and_then(|it| it.session.as_ref());
        let session = session.filter(|_| self.wanted).map(Session::deadline);
        step.into_iter()
            .chain(prompts)
            .chain(session.flatten())
            .min()
    }

    /// Whether the command has ended and its process group is left to end by itself.
    pub fn waits_for_group(&self) -> bool {
        self.settings.kill_after.is_none() && self.exit().is_some() && !self.group_is_gone()
    }

    /// The signal that is due to the process group, if one is.
    pub fn due_signal(&mut self, now: Instant) -> Option<Signal> {
        match &mut self.life {
            Life::Running => None,
            Life::Ending(escalation) | Life::Exited(_, escalation) => {
                escalation.step(now, self.settings.kill_after, self.settings.first_signal)
            }
        }
    }

    /// Whether there is output to be read for the client.
    pub fn has_output(&self) -> bool {
        let stderr = self.stderr.as_deref();
        self.stdout.has_work() || stderr.is_some_and(|it| it.for_client && it.has_work())
    }

    /// The outputs that are for the client: stdout, and stderr if the two are tagged.
    pub fn outputs_for_client(&mut self) -> impl Iterator<Item = &mut Output<R>> {
        let stderr = self.stderr.as_deref_mut();
        [Some(&mut self.stdout), stderr.filter(|it| it.for_client)]
            .into_iter()
            .flatten()
    }

    /// Stderr, if it is for the log.
    pub fn stderr_for_log(&mut self) -> Option<&mut Output<R>> {
        self.stderr.as_deref_mut().filter(|it| !it.for_client)
    }

    /// Reads once from an output that is for the client, as [`Output::read`], and says which it
    /// was. They take turns: one that never falls silent does not lock the other out.
    pub fn read_for_client(&mut self, scratch: &mut [u8]) -> Option<(&mut Output<R>, usize)> {
        let stderr = self.stderr.as_deref_mut().filter(|it| it.for_client);
        let (first, second) = match (self.turn, stderr) {
            (_, None) => (&mut self.stdout, None),
            (Stream::Stdout, Some(stderr)) => (&mut self.stdout, Some(stderr)),
            (Stream::Stderr, Some(stderr)) => (stderr, Some(&mut self.stdout)),
        };
        self.turn = match self.turn {
            Stream::Stdout => Stream::Stderr,
            Stream::Stderr => Stream::Stdout,
        };
        if let Some(len) = first.read(scratch) {
            return Some((first, len));
        }
        let second = second?;
        let len = second.read(scratch)?;
        Some((second, len))
    }

    /// Whether nothing is left that a signal could reach: it must not be sent then, since the
    /// number may name somebody else's group by now.
    pub fn group_is_gone(&self) -> bool {
        matches!(&self.life, Life::Exited(_, escalation) if escalation.is_finished())
    }

    /// Nothing that a signal could reach is left. (Its leader, until it is reaped, is.)
    pub fn group_gone(&mut self) {
        if let Life::Exited(_, escalation) = &mut self.life {
            escalation.finish();
        }
    }
}

/// A pipe that a command writes, read by us.
pub struct Output<R> {
    /// `None` at the end of the pipe.
    pipe: Option<R>,
    /// What epoll last said of the pipe.
    pub readiness: Readiness,
    /// Whether it goes to the client, not to the log.
    for_client: bool,
    splitter: Splitter,
    /// Since when the beginning of a line has waited for its end.
    prompt_since: Option<Instant>,
    /// Bytes read since the command's exit, if they can be counted so.
    read_since_exit: u32,
}

impl<R: Read> Output<R> {
    fn new(pipe: R, stream: Stream, settings: &CommandSettings) -> Self {
        Self {
            pipe: Some(pipe),
            readiness: Readiness::NONE,
            for_client: stream == Stream::Stdout || settings.stderr == Stderr::Json,
            splitter: Splitter::new(stream, &settings.format()),
            prompt_since: None,
            read_since_exit: 0,
        }
    }

    /// The pipe, to be registered.
    pub fn pipe_mut(&mut self) -> Option<&mut R> {
        self.pipe.as_mut()
    }

    /// Whether a read may bring something.
    pub fn has_work(&self) -> bool {
        self.pipe.is_some() && self.readiness.readable()
    }

    /// Reads once. `None`: nothing is there now. An empty read is the end of the pipe, which is
    /// then closed.
    pub fn read(&mut self, scratch: &mut [u8]) -> Option<usize> {
        let pipe = self.pipe.as_mut()?;
        let scratch = &mut scratch[..self.splitter.read_len_max()];
        while self.readiness.readable() {
            match pipe.read(scratch) {
                Ok(n) if n > 0 => {
                    let read = u32::try_from(n).unwrap_or(u32::MAX);
                    self.read_since_exit = self.read_since_exit.saturating_add(read);
                    self.readiness.read_some(n, scratch.len());
                    return Some(n);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readiness.read_blocked();
                }
                // No other error of a pipe is known to read(2); it would be its end.
                Ok(_) | Err(_) => {
                    self.pipe = None;
                    return Some(0);
                }
            }
        }
        None
    }

    /// Cuts what one read returned into pieces of messages. Nothing is the end of the stream.
    ///
    /// # Errors
    /// The output cannot be made into messages.
    pub fn cut(
        &mut self,
        bytes: &[u8],
        now: Instant,
        mut sink: impl FnMut(Piece<'_>),
    ) -> Result<(), Fault> {
        let mut ended = false;
        let mut sink = |piece: Piece<'_>| {
            ended |= piece.last;
            sink(piece);
        };
        let outcome = match bytes.is_empty() {
            true => self.splitter.finish(&mut sink),
            false => self.splitter.push(bytes, &mut sink),
        };
        // What waits behind the end of a message has waited since now, and no longer.
        let since = self.prompt_since.filter(|_| !ended).unwrap_or(now);
        self.prompt_since = self.splitter.has_prompt().then_some(since);
        outcome
    }

    /// When the beginning of a line has waited so long that it is sent as it is. Not while the
    /// pipe holds more: there its end may stand.
    fn prompt_due(&self, flush: Option<Duration>) -> Option<Instant> {
        let since = self.prompt_since.filter(|_| !self.has_work())?;
        Some(since + flush?)
    }

    /// Hands out the beginning of a line that has waited long enough.
    pub fn flush_prompt(
        &mut self,
        now: Instant,
        flush: Option<Duration>,
        mut sink: impl FnMut(Piece<'_>),
    ) {
        if self.prompt_due(flush).is_some_and(|due| due <= now) {
            self.splitter.flush(&mut sink);
            self.prompt_since = None;
        }
    }
}
