//! Everything outside the server, and what happens there, with the edges that epoll would report.

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
    pub wires: Vec<Wire>,
    pub commands: Vec<Command>,
    pub backlog: VecDeque<usize>,
    pub exits: VecDeque<(Pid, Exit)>,
    pub notices: VecDeque<SignalEvent>,
    pub edges: Vec<(Source, Readiness)>,
    pub listening: bool,
    /// Forks that will fail for want of processes.
    pub failing_forks: u32,
    /// Accepts that will fail for want of descriptors.
    pub failing_accepts: u32,
    /// Registrations that will fail for want of memory.
    pub failing_watches: u32,
    /// What a pipe holds.
    pub pipe_len: usize,
    /// The server was asked to end, and is ending.
    pub shutting_down: bool,
    /// Connections accepted, commands started, and groups asked for, in this turn.
    pub accepted: usize,
    pub spawned: usize,
    pub probed: usize,
    /// Whose request is decided.
    pub asking: Option<usize>,
    /// How long the shared command waited for its last start, at the least.
    restart_delay: Duration,
    /// When its last start failed, if it did.
    pub start_failed_at: Option<Instant>,
    /// Grows with everything that somebody does.
    pub progress: u64,
}

impl World {
    pub fn new(shape: Rc<Shape>, pipe_len: usize) -> Self {
        Self {
            shape,
            now: Instant::EPOCH,
            wires: Vec::new(),
            commands: Vec::new(),
            backlog: VecDeque::new(),
            exits: VecDeque::new(),
            notices: VecDeque::new(),
            edges: Vec::new(),
            listening: true,
            failing_forks: 0,
            failing_accepts: 0,
            failing_watches: 0,
            pipe_len,
            shutting_down: false,
            accepted: 0,
            spawned: 0,
            probed: 0,
            asking: None,
            restart_delay: Duration::ZERO,
            start_failed_at: None,
            progress: 0,
        }
    }

    pub fn say(&self, what: std::fmt::Arguments<'_>) {
        if self.shape.trace {
            eprintln!("{what}");
        }
    }

    /// A turn begins, in which nothing has been done yet.
    pub fn begin_turn(&mut self, now: Instant) {
        self.now = now;
        self.asking = None;
        (self.accepted, self.spawned, self.probed) = (0, 0, 0);
    }

    /// A registration, which may fail.
    pub fn watch(&mut self) -> io::Result<()> {
        if self.failing_watches > 0 {
            self.failing_watches -= 1;
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        }
        Ok(())
    }

    /// A connection is made.
    pub fn connect(&mut self, wire: Wire) {
        self.backlog.push_back(self.wires.len());
        self.wires.push(wire);
        self.edge(Source::Listener(0), Readiness::READABLE);
    }

    /// A request for the command is about to be decided.
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
                // What comes there from now on comes too late.
                let count = other.arrived();
                let count = *other.arrived.get_or_insert(count);
                arrived += count;
                // One that was reset before its handshake was answered may never have been open.
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
        self.say(format_args!("  client {client} asks: {joined:?}"));
        self.asking = Some(wire);
    }

    /// The last command that was started for a client.
    pub fn command_of(&self, client: usize) -> Option<usize> {
        let own = |command: &Command| command.client == Some(client);
        self.commands.iter().rposition(own)
    }

    /// A shared command is started, or started again: not earlier than it may.
    pub fn check_restart(&mut self) {
        if !self.shape.config.command.restart {
            return;
        }
        let last = self.commands.last();
        // One that was never watched was ended at once, and is not known.
        let is_known = last.is_some_and(|last| last.id.is_some());
        if self.asking.is_some() && !is_known {
            return;
        }
        let (ended_at, lasted) = match (self.start_failed_at, last) {
            (Some(at), _) => (at, false),
            (None, None) => return,
            (None, Some(last)) => {
                if last.output.too_long {
                    // It was over with that, and ends while the next one waits for its start.
                    self.restart_delay = RESTART_DELAY_MIN;
                    return;
                }
                let at = last.ended_at.expect("there is only one at a time");
                // How long it lasted is known to the server when all its output is read.
                let since_start = self.now - last.started_at;
                (at, since_start > RESTART_DELAY_MIN + RESTART_DELAY_MAX)
            }
        };
        self.restart_delay = match lasted {
            true => RESTART_DELAY_MIN,
            false => (self.restart_delay * 2).clamp(RESTART_DELAY_MIN, RESTART_DELAY_MAX),
        };
        let (waited, due) = (self.now - ended_at, self.restart_delay);
        assert!(waited >= due, "started again after {waited:?}, not {due:?}");
    }

    /// A number for a new process: mostly one that was never used, now and then one of which
    /// nothing is left.
    pub fn free_pid(&self) -> Pid {
        let fresh = 1000 + self.commands.len() as Pid;
        if fresh % 3 != 0 {
            return fresh;
        }
        let is_last = |index: &usize| self.leader(self.commands[*index].pid) == *index;
        let free = |index: &usize| self.group(*index) == Group::Gone && is_last(index);
        // Of whoever is gone and the server does not know it yet, if there is one.
        let gone: Vec<_> = (0..self.commands.len()).rev().filter(free).collect();
        let unknown = gone.iter().find(|index| !self.commands[**index].found_gone);
        match unknown.or(gone.first()) {
            Some(index) => self.commands[*index].pid,
            None => fresh,
        }
    }

    /// The newest command of that number.
    pub fn leader(&self, pid: Pid) -> usize {
        let index = self.commands.iter().rposition(|it| it.pid == pid);
        index.expect("only commands are signalled")
    }

    pub fn group(&self, index: usize) -> Group {
        let command = &self.commands[index];
        // The leader counts until it is reaped.
        let waits = self.exits.iter().any(|(pid, _)| *pid == command.pid);
        if command.alive || command.grandchild || waits {
            Group::Alive
        } else {
            Group::Gone
        }
    }

    pub fn edge(&mut self, source: Source, readiness: Readiness) {
        self.edges.push((source, readiness));
    }

    /// Reports that something of a connection has changed, if the server watches it.
    pub fn report(&mut self, wire: usize) {
        let wire = &self.wires[wire];
        let readiness = wire.readiness();
        if let Some(id) = wire.id.filter(|_| wire.dropped_at.is_none()) {
            self.edge(Source::Client(id), readiness);
        }
    }

    /// A command exits, if it has not; or its grandchild does.
    pub fn end_command(&mut self, index: usize, exit: Exit) {
        self.say(format_args!("  command {index} ends: {exit:?}"));
        let command = &mut self.commands[index];
        self.progress += 1;
        if std::mem::replace(&mut command.alive, false) {
            command.exit = Some(exit);
            command.ended_at = Some(self.now);
            let (pid, id) = (command.pid, command.id);
            let ended = !command.grandchild && !command.floods;
            self.exits.push_back((pid, exit));
            // SIGCHLD coalesces: who ends while one waits is not named.
            let waits = |notice: &SignalEvent| matches!(notice, SignalEvent::ChildEnded(_));
            if !self.notices.iter().any(waits) {
                self.notices.push_back(SignalEvent::ChildEnded(pid));
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

    /// A signal asks the server to end, the second time at once.
    pub fn shut_down(&mut self) {
        self.shutting_down = true;
        self.notices.push_back(SignalEvent::Shutdown("SIGTERM"));
        self.edge(Source::Signals, Readiness::READABLE);
    }
}
