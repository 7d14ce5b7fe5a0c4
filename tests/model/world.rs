//! Everything outside the server: [`World`]. What happens there becomes the edges that epoll would
//! report.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use wspipe::event_loop::instant::Instant;
use wspipe::event_loop::readiness::Readiness;
use wspipe::limits::{RESTART_DELAY_MAX, RESTART_DELAY_MIN};
use wspipe::source::{ProcessId, Source};
use wspipe::system::{Exit, Group, Pid, SignalEvent};

use crate::command::Command;
use crate::schedule::Shape;
use crate::wire::{Joined, Wire};

/// Everything outside the server.
pub struct World {
    pub shape: Rc<Shape>,
    pub now: Instant,
    /// How often the server has read the clock.
    clock_reads: u64,
    /// How long the start of a command takes, as the clock of a turn shows it.
    pub spawn_time: Duration,
    pub wires: Vec<Wire>,
    pub commands: Vec<Command>,
    pub backlog: VecDeque<usize>,
    pub zombies: VecDeque<(Pid, Exit)>,
    pub signals: VecDeque<SignalEvent>,
    pub edges: Vec<(Source, Readiness)>,
    pub listening: bool,
    /// The number of forks that will fail with EAGAIN.
    pub failing_forks: u32,
    /// The number of accepts that will fail with EMFILE.
    pub failing_accepts: u32,
    /// The number of epoll registrations that will fail with ENOMEM.
    pub failing_registrations: u32,
    /// The capacity of a pipe, in bytes.
    pub pipe_len: usize,
    /// Whether the server was asked to shut down.
    pub shutting_down: bool,
    /// Connections accepted, commands started and process groups probed in this turn.
    pub accepted: usize,
    pub spawned: usize,
    pub probed: usize,
    /// How often the server has looked for jobs: two parts make a scan. And the commands with a job when
    /// the last scan began.
    pub scan_parts: usize,
    pub jobs_found: Vec<usize>,
    /// The connection whose request is being decided.
    pub deciding: Option<usize>,
    /// The shortest time that the shared command had to wait for its last start.
    restart_delay: Duration,
    /// When its last start failed, if it did.
    pub start_failed_at: Option<Instant>,
    /// Counts everything that happens.
    pub progress: u64,
}

impl World {
    pub fn new(shape: Rc<Shape>, pipe_len: usize) -> Self {
        Self {
            shape,
            now: Instant::EPOCH,
            clock_reads: 0,
            spawn_time: Duration::ZERO,
            wires: Vec::new(),
            commands: Vec::new(),
            backlog: VecDeque::new(),
            zombies: VecDeque::new(),
            signals: VecDeque::new(),
            edges: Vec::new(),
            listening: true,
            failing_forks: 0,
            failing_accepts: 0,
            failing_registrations: 0,
            pipe_len,
            shutting_down: false,
            accepted: 0,
            spawned: 0,
            probed: 0,
            scan_parts: 0,
            jobs_found: Vec::new(),
            deciding: None,
            restart_delay: Duration::ZERO,
            start_failed_at: None,
            progress: 0,
        }
    }

    pub fn trace(&self, what: std::fmt::Arguments<'_>) {
        if self.shape.trace {
            eprintln!("{what}");
        }
    }

    /// Resets what is counted for each turn.
    pub fn begin_turn(&mut self, now: Instant) {
        self.now = now;
        self.deciding = None;
        (self.accepted, self.spawned, self.probed) = (0, 0, 0);
    }

    /// The server reads the clock to bound a turn. Time stands still within a turn here, unless the
    /// start of a command takes some. But now and then a turn runs out of it.
    pub fn clock(&mut self) -> Instant {
        self.clock_reads += 1;
        match self.clock_reads % 40 {
            0 => self.now + Duration::from_secs(1),
            _ => self.now + self.spawn_time * self.spawned as u32,
        }
    }

    /// Registers a source with epoll, which may fail.
    pub fn register(&mut self) -> io::Result<()> {
        if self.failing_registrations > 0 {
            self.failing_registrations -= 1;
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        }
        Ok(())
    }

    /// A client connects.
    pub fn connect(&mut self, wire: Wire) {
        self.backlog.push_back(self.wires.len());
        self.wires.push(wire);
        self.edge(Source::Listener(0), Readiness::READABLE);
    }

    /// Records what a request for the command finds, just before the server decides it.
    pub fn note_request(&mut self, wire: usize) {
        let client = self.wires[wire].client;
        let command = match self.shape.config.command.shared {
            Some(_) => self.commands.len().checked_sub(1),
            None => self.command_of(client),
        };
        let output = command.map(|command| &self.commands[command].output);
        let (messages, output_len) = output.map_or((0, 0), |it| (it.messages(), it.len()));
        let (mut arrived, mut arrived_min) = (0, 0);
        for other in self.wires[..wire].iter_mut() {
            let same = |joined: Joined| joined.command() == command;
            if other.client == client && other.joined.is_some_and(same) {
                // The server ignores what arrives on the old connection from now on.
                let count = other.arrived();
                let count = *other.arrived.get_or_insert(count);
                arrived += count;
                // A connection that was reset before its handshake was answered may never have
                // opened.
                let was_answered = other.written > other.written_before;
                arrived_min += if was_answered { count } else { 0 };
            }
        }
        self.wires[wire].joined = Some(Joined {
            at: self.now,
            found: command,
            messages,
            output_len,
            arrived,
            arrived_min,
            started: None,
        });
        self.wires[wire].written_before = self.wires[wire].written;
        let joined = self.wires[wire].joined;
        self.trace(format_args!(
            "  client {client} requests the command: {joined:?}"
        ));
        self.deciding = Some(wire);
    }

    /// The last command that was started for a client.
    pub fn command_of(&self, client: usize) -> Option<usize> {
        let own = |command: &Command| command.client == Some(client);
        self.commands.iter().rposition(own)
    }

    /// Checks that a shared command is not started again before its delay has passed.
    pub fn check_restart(&mut self) {
        if !self.shape.config.command.restart {
            return;
        }
        let last = self.commands.last();
        // A command that could not be registered was terminated at once: the server does not know
        // it.
        let is_known = last.is_some_and(|last| last.id.is_some());
        if self.deciding.is_some() && !is_known {
            return;
        }
        let (ended_at, lasted) = match (self.start_failed_at, last) {
            (Some(at), _) => (at, false),
            (None, None) => return,
            (None, Some(last)) => {
                if last.output.too_long {
                    // That line finished the command, which exits while its successor already
                    // waits.
                    self.restart_delay = RESTART_DELAY_MIN;
                    return;
                }
                let at = last.ended_at.expect("only one runs at a time");
                // The server knows how long it ran only when all its output has been read.
                let since_start = self.now - last.started_at;
                (at, since_start > RESTART_DELAY_MIN + RESTART_DELAY_MAX)
            }
        };
        self.restart_delay = match lasted {
            true => RESTART_DELAY_MIN,
            false => (self.restart_delay * 2).clamp(RESTART_DELAY_MIN, RESTART_DELAY_MAX),
        };
        let (waited, due) = (self.now - ended_at, self.restart_delay);
        assert!(
            waited >= due,
            "restarted after {waited:?}, but its delay is {due:?}"
        );
    }

    /// The PID of a new process: usually unused before, sometimes that of a process group and session
    /// that are gone.
    pub fn next_pid(&self) -> Pid {
        let fresh = 1000 + self.commands.len() as Pid;
        if fresh % 3 != 0 {
            return fresh;
        }
        let is_last = |index: &usize| self.newest_with_pid(self.commands[*index].pid) == *index;
        let free = |index: &usize| {
            let is_empty = self.group(*index) == Group::Gone && !self.commands[*index].job;
            is_empty && is_last(index)
        };
        // Prefer a group that the server does not know to be gone.
        let gone: Vec<_> = (0..self.commands.len()).rev().filter(free).collect();
        let unknown = gone.iter().find(|index| !self.commands[**index].found_gone);
        match unknown.or(gone.first()) {
            Some(index) => self.commands[*index].pid,
            None => fresh,
        }
    }

    /// The newest command with that PID.
    pub fn newest_with_pid(&self, pid: Pid) -> usize {
        let index = self.commands.iter().rposition(|it| it.pid == pid);
        index.expect("signals go to started commands only")
    }

    pub fn group(&self, index: usize) -> Group {
        let command = &self.commands[index];
        // A process counts as alive until it is reaped.
        let waits = self.zombies.iter().any(|(pid, _)| *pid == command.pid);
        if command.alive || command.grandchild || waits {
            Group::Alive
        } else {
            Group::Gone
        }
    }

    pub fn edge(&mut self, source: Source, readiness: Readiness) {
        self.edges.push((source, readiness));
    }

    /// Adds an edge with the state of a connection, if the server watches it.
    pub fn report(&mut self, wire: usize) {
        let wire = &self.wires[wire];
        let readiness = wire.readiness();
        if let Some(id) = wire.id.filter(|_| wire.dropped_at.is_none()) {
            self.edge(Source::Client(id), readiness);
        }
    }

    /// A command exits, or, if it has already, its grandchild does.
    pub fn exit_command(&mut self, index: usize, exit: Exit) {
        self.trace(format_args!("  command {index} exits: {exit:?}"));
        let command = &mut self.commands[index];
        self.progress += 1;
        if std::mem::replace(&mut command.alive, false) {
            command.exit = Some(exit);
            command.ended_at = Some(self.now);
            let (pid, id) = (command.pid, command.id);
            let ended = !command.grandchild && !command.floods;
            self.zombies.push_back((pid, exit));
            // SIGCHLD coalesces: a child that exits while one is pending is not named.
            let waits = |event: &SignalEvent| matches!(event, SignalEvent::ChildEnded(_));
            if !self.signals.iter().any(waits) {
                self.signals.push_back(SignalEvent::ChildEnded(pid));
            }
            self.edge(Source::Signals, Readiness::READABLE);
            if let Some(id) = id {
                self.edge(Source::Stdin(id), Readiness::WRITABLE);
                if ended {
                    self.output_ended(id);
                }
            }
        } else if let (Some(id), false) = (command.id, command.grandchild) {
            self.output_ended(id);
        }
    }

    fn output_ended(&mut self, id: ProcessId) {
        self.edge(Source::Stdout(id), Readiness::HUNG_UP);
        self.edge(Source::Stderr(id), Readiness::HUNG_UP);
    }

    /// A signal asks the server to shut down. The second one makes it stop at once.
    pub fn shut_down(&mut self) {
        self.shutting_down = true;
        self.signals.push_back(SignalEvent::Shutdown("SIGTERM"));
        self.edge(Source::Signals, Readiness::READABLE);
    }
}
