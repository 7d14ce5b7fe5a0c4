//! The invariants: checked after each turn, whenever the server is at rest, and at the end of a
//! run.

use std::time::Duration;

use wspipe::config::ClientLimits;
use wspipe::event_loop::Next;
use wspipe::framing::Framing;
use wspipe::limits::{
    ACCEPTS_PER_TURN, FRAGMENT_LEN, JSON_READ_LEN, SCRATCH_LEN, SPAWNS_PER_TURN, VISIT_BUDGET,
};

use crate::client::State;
use crate::command::{Command, Termination};
use crate::run::Run;
use crate::text::{REPLAY_LEN_MAX, text_len_max};
use crate::timeouts::{Snapshot, Stage, TimeoutModel};
use crate::wire::Wire;
use crate::world::World;

/// The entries that exist, and the facts that the checks remember from turn to turn.
#[derive(Default)]
pub struct Tracker {
    /// Connections and commands that the server has not released.
    wires: Vec<usize>,
    commands: Vec<usize>,
    /// The number of each that existed at the last look.
    wires_seen: usize,
    commands_seen: usize,
    /// For each connection that has reached the high-water mark: the bytes queued then, and the
    /// bytes written by then.
    full: Vec<Option<(usize, u64)>>,
    /// For each accepted connection, its time-outs.
    timeouts: Vec<Option<TimeoutModel>>,
}

impl Run {
    /// Before a turn: resets the counters for each turn.
    pub fn begin_tracking(&mut self) {
        let world = &mut *self.world.borrow_mut();
        let tracker = &mut self.tracker;
        tracker.wires.extend(tracker.wires_seen..world.wires.len());
        tracker.full.resize(world.wires.len(), None);
        tracker.timeouts.resize(world.wires.len(), None);
        tracker.wires_seen = world.wires.len();
        for &wire in &tracker.wires {
            let wire = &mut world.wires[wire];
            (wire.read_in_turn, wire.written_in_turn) = (0, 0);
        }
        for &command in &tracker.commands {
            let command = &mut world.commands[command];
            (command.read_in_turn, command.taken_in_turn) = (0, 0);
        }
    }

    /// After a turn: checks everything that must always hold.
    pub fn check_turn(&mut self) {
        let commands = self.world.borrow().commands.len();
        self.tracker
            .commands
            .extend(self.tracker.commands_seen..commands);
        self.tracker.commands_seen = commands;
        self.check_shares();
        self.check_bounds();
        self.check_terminations();
        self.check_jobs();
        self.check_heads();
        self.check_timeouts();
        if self.is_at_rest() && self.next != Next::Stop {
            self.check_rest();
        }
        let world = self.world.borrow();
        let tracker = &mut self.tracker;
        tracker
            .wires
            .retain(|wire| world.wires[*wire].dropped_at.is_none());
        tracker.commands.retain(|index| {
            let command = &world.commands[*index];
            command.alive || command.stdout_open || command.stderr_open
        });
    }

    /// No source gets more than its share of a turn, so one that is always ready does not starve
    /// the others. A client may be read up to its budget for each of its edges, and once more from
    /// the ready queue.
    fn check_shares(&self) {
        let world = self.world.borrow();
        let (accepted, spawned) = (world.accepted, world.spawned);
        assert!(
            accepted <= ACCEPTS_PER_TURN,
            "{accepted} connections accepted in one turn"
        );
        assert!(
            spawned <= SPAWNS_PER_TURN,
            "{spawned} commands started in one turn"
        );
        for wire in &self.tracker.wires {
            let read = world.wires[*wire].read_in_turn;
            // Long messages count for a quarter.
            let most = 4 * (4 * VISIT_BUDGET + SCRATCH_LEN);
            assert!(read <= most, "{read} bytes read from a client in one turn");
        }
        for command in &self.tracker.commands {
            let read = world.commands[*command].read_in_turn;
            let most = 4 * (VISIT_BUDGET + SCRATCH_LEN);
            assert!(read <= most, "{read} bytes read from a command in one turn");
        }
    }

    // -- Memory ----------------------------------------------------------------------------------

    /// No buffer, queue or count exceeds its bound.
    fn check_bounds(&mut self) {
        let world = self.world.borrow();
        let config = &self.shape.config;
        let census = self.server.census();
        assert!(
            census.processes <= config.server.processes_max,
            "{census:?}"
        );
        assert!(census.kept_max <= REPLAY_LEN_MAX, "{census:?}");
        assert_eq!(census.memory_used, census.memory_held, "{census:?}");
        // Only a shared command never gives way.
        let memory_max = config.server.memory_max.unwrap_or(usize::MAX);
        assert!(
            census.largest_holder == 0 || census.memory_used <= memory_max,
            "{census:?}"
        );
        let text_len = text_len_max(self.shape.scale);
        // One read of a pipe, plus what was held back of the previous one. Each line becomes a
        // frame.
        let floods = world.commands.iter().any(|command| command.floods);
        let pipe_len = if floods { SCRATCH_LEN } else { world.pipe_len };
        let held = text_len.min(FRAGMENT_LEN + 2);
        let batch = match self.shape.has_tags() {
            true => 8 * pipe_len.min(JSON_READ_LEN) + 2 * held,
            false => 2 * (pipe_len.min(SCRATCH_LEN) + held),
        };
        // One read of a socket: it completes one message and contains others whole.
        let messages = 2 * SCRATCH_LEN.min(21_000 * self.shape.scale) + text_len;
        for &index in &self.tracker.wires {
            let wire = &world.wires[index];
            let queued = wire.id.and_then(|id| self.server.queued_for_client(id));
            let Some(queued) = queued else { continue };
            self.check_unfinished(wire, &world);
            let catch_up = match wire.caught_up || !self.may_get_backlog(wire) {
                true => 0,
                // Plus the head of the 101.
                false => REPLAY_LEN_MAX + 1000,
            };
            let bound = config.clients.high_water + catch_up + batch.max(messages);
            assert!(
                queued <= bound,
                "{queued} bytes are queued, the bound is {bound}"
            );
            let full = &mut self.tracker.full[index];
            if queued < config.clients.high_water || catch_up > 0 {
                *full = None;
            } else if config.command.shared.is_some() && wire.joined.is_some() {
                // A client at the mark gets nothing more but its Close.
                let current = (queued, wire.written);
                let (before, _) = *full
                    .filter(|(_, written)| *written == wire.written)
                    .get_or_insert(current);
                *full = Some((before, wire.written));
                assert!(
                    queued <= before + 200,
                    "the queue grew from {before} to {queued} bytes"
                );
            }
        }
        for &index in &self.tracker.commands {
            let id = world.commands[index].id;
            let queued = id.and_then(|id| self.server.queued_for_command(id));
            // Bytes directly behind the requests of new clients are accepted even if there is no
            // room.
            let early = match config.command.shared {
                Some(_) => self.tracker.wires.len() * (config.clients.head_len_max + 1),
                None => 0,
            };
            let bound = config.clients.high_water + messages + early;
            assert!(
                queued.is_none_or(|queued| queued <= bound),
                "{queued:?} bytes are queued, the bound is {bound}"
            );
        }
    }

    /// Of an unfinished message the server keeps no more than has arrived, and no more than its
    /// receiver needs at once.
    fn check_unfinished(&self, wire: &Wire, world: &World) {
        let config = &self.shape.config;
        let kept = wire.id.and_then(|id| self.server.unfinished_of_client(id));
        let command = wire.joined.and_then(|joined| joined.command());
        let bound = match (wire.stage(), command) {
            // Bytes after the request are kept with it.
            (Stage::Opening, _) => config.clients.head_len_max + 1,
            // A raw stream to the client's own command passes bytes on as they come.
            (_, Some(index))
                if config.command.framing == Framing::Raw && !world.commands[index].has_fan_out =>
            {
                0
            }
            (_, Some(_)) => wire.unfinished_len().min(config.clients.message_len_max),
            (_, None) => wire.unfinished_len().min(FRAGMENT_LEN),
        };
        let kept = kept.unwrap_or(0);
        assert!(kept <= bound, "{kept} bytes are kept, the bound is {bound}");
    }

    /// Whether the backlog sent on joining may exceed the high-water mark.
    fn may_get_backlog(&self, wire: &Wire) -> bool {
        let is_shared = self.shape.config.command.shared.is_some();
        wire.joined.is_some() && (is_shared || wire.has_session)
    }

    // -- Time ------------------------------------------------------------------------------------

    /// A command is terminated in time after its client has left, or after a lost client failed to
    /// resume.
    fn check_terminations(&mut self) {
        let world = &mut *self.world.borrow_mut();
        let config = &self.shape.config;
        let (now, kill_after) = (self.now, config.command.kill_after);
        // Much work that is due at once takes several turns of the same instant, and a timer or a
        // visit may have to wait for the next turn.
        let waits = match self.next {
            Next::Poll => true,
            Next::Wait(deadline) => deadline.is_some_and(|at| at <= now),
            Next::Stop => false,
        };
        let is_overdue = waits || self.acted_until < now;
        for &index in &self.tracker.commands {
            let command = &world.commands[index];
            let Some(client) = command.client.filter(|_| command.is_in_use()) else {
                continue;
            };
            let number = self.clients[client].connection.wire;
            let wire = &world.wires[number];
            let is_there = wire.joined.and_then(|joined| joined.command()) == Some(index);
            let session_ended = self.clients[client].session_ended;
            let ends = kill_after.map_or(Termination::NotDue, |after| Termination::By(now + after));
            let resume = config.command.resume.filter(|_| command.has_fan_out);
            let termination = match (command.termination, resume) {
                (Termination::By(at), _) => {
                    assert!(
                        at > now || is_overdue,
                        "command {index} was not terminated in time"
                    );
                    continue;
                }
                (_, None) if wire.client_has_left() || wire.upstream_end || wire.reset => ends,
                (_, Some(_)) if is_there && session_ended && wire.has_read_close() => ends,
                (_, Some(_)) if is_there && wire.dropped_at.is_none() => Termination::NotDue,
                (Termination::IfNotResumed(lost, until), _) if !is_there || lost == number => {
                    match until {
                        until if until <= self.acted_until => ends,
                        _ => command.termination,
                    }
                }
                (_, Some(resume)) if is_there => Termination::IfNotResumed(number, now + resume),
                (termination, _) => termination,
            };
            if world.shape.trace && command.termination != termination {
                eprintln!("  command {index} of client {client}: {termination:?}");
            }
            world.commands[index].termination = termination;
        }
    }

    /// No command is forgotten before its jobs are gone.
    fn check_jobs(&self) {
        let world = self.world.borrow();
        let with_job = world.commands.iter().filter(|command| command.job);
        for id in with_job.filter_map(|command| command.id) {
            let is_known = self.server.queued_for_command(id).is_some();
            assert!(
                is_known || self.next == Next::Stop,
                "a job of {id:?} is left"
            );
        }
    }

    /// A request head that is not complete in time is answered with 408.
    fn check_heads(&self) {
        let mut world = self.world.borrow_mut();
        for &index in &self.tracker.wires {
            let wire = &mut world.wires[index];
            let due = wire
                .head
                .map(|(_, since)| since + self.shape.config.clients.head_timeout);
            wire.head_timed_out |= due.is_some_and(|due| due <= self.acted_until);
            if due.is_some_and(|due| due <= self.acted_until_before) {
                let is_answered = wire.downstream_end || wire.write_was_blocked;
                // The answer may wait for a visit, as long as the server has visits left to do.
                assert!(
                    is_answered || self.next == Next::Poll,
                    "wire {index} sent no complete head in time"
                );
            }
        }
    }

    /// A client that is gone, or that does not close, is dropped in time.
    fn check_timeouts(&mut self) {
        let world = self.world.borrow();
        for &index in &self.tracker.wires {
            let wire = &world.wires[index];
            let Some(seen) = self.snapshot(wire, &world) else {
                continue;
            };
            let timeouts = &mut self.tracker.timeouts[index];
            let timeouts = timeouts.get_or_insert_with(|| TimeoutModel::new(seen));
            let expired = timeouts.advance(seen, &self.shape.config);
            assert!(
                expired.is_none(),
                "wire {index} exceeds {}",
                expired.unwrap()
            );
        }
    }

    /// The state of a connection, if it exists. The server notices a reset as soon as it reads or
    /// writes.
    fn snapshot(&self, wire: &Wire, world: &World) -> Option<Snapshot> {
        let is_there = wire.dropped_at.is_none() && !wire.reset;
        let id = wire.id.filter(|_| is_there)?;
        let queued = self.server.queued_for_client(id)?;
        let command = wire.joined.and_then(|joined| joined.command());
        let stdin_len = command.map_or(0, |index| {
            let command = &world.commands[index];
            let queued = command.id.and_then(|id| self.server.queued_for_command(id));
            queued.map_or(0, |queued| queued + command.taken_in_turn)
        });
        // At no time in this turn was more queued than what is left plus what was written.
        let fullest = stdin_len.max(queued + wire.written_in_turn);
        Some(Snapshot {
            now: self.now,
            acted_until: self.acted_until,
            stage: match wire.stage() {
                // A client without an answer when the server shuts down gets none.
                Stage::Opening if world.shutting_down => Stage::Ending(1),
                stage => stage,
            },
            read: wire.read,
            written: wire.written,
            acked: wire.written - wire.downstream.len() as u64,
            queued,
            awaits_answer: wire.heads_read() == wire.head_ends.len(),
            may_pause: fullest >= self.shape.least_high_water(),
        })
    }

    /// Checks how long it took until nothing happened any more.
    pub fn check_time(&self, took: Duration) {
        let ClientLimits {
            http_idle_timeout,
            pong_timeout,
            write_timeout,
            close_timeout,
            ..
        } = self.shape.config.clients;
        let drain_timeout = self.shape.config.server.drain_timeout;
        let resume = self.shape.config.command.resume;
        if self.world.borrow().shutting_down {
            assert_eq!(self.next, Next::Stop, "the server does not stop");
            assert!(took <= drain_timeout, "the server took {took:?} to stop");
            return;
        }
        // A client that vanished takes longest. The server may see the bytes that it took only when
        // it checks its silence. After that come the close of TCP, the wait for a resume, and the
        // escalation.
        let silence = http_idle_timeout.max(pong_timeout).max(write_timeout);
        let command = resume.unwrap_or_default() + Duration::from_secs(2);
        let most = 2 * silence + 2 * close_timeout + command;
        assert!(
            took <= most,
            "{took:?} until nothing was left to do, the bound is {most:?}"
        );
    }

    // -- At rest ---------------------------------------------------------------------------------

    /// When the server waits for an event, it has done all that it could: whatever is unfinished
    /// waits for another party.
    fn check_rest(&self) {
        let world = self.world.borrow();
        assert!(
            self.next != Next::Wait(None) || self.server.census().clients == 0,
            "no timer is armed, so nothing would wake the server"
        );
        for &index in &self.tracker.wires {
            self.check_wire_at_rest(index, &world);
        }
        for &index in &self.tracker.commands {
            self.check_command_at_rest(index, &world);
        }
    }

    fn check_wire_at_rest(&self, index: usize, world: &World) {
        let wire = &world.wires[index];
        let Some(id) = wire.id.filter(|_| wire.dropped_at.is_none()) else {
            return;
        };
        let Some(queued) = self.server.queued_for_client(id) else {
            return;
        };
        assert!(
            queued == 0 || wire.room == 0,
            "{queued} bytes are not sent although there is room"
        );
        // A client without an answer when the server shuts down gets none.
        let is_answered = wire.written > 0 || wire.heads_read() == 0 || world.shutting_down;
        assert!(is_answered, "wire {index} is not answered");
        let command = wire.joined.and_then(|joined| joined.command());
        let command = command.map(|index| &world.commands[index]);
        let high_water = self.shape.least_high_water();
        let stdin = command.and_then(|it| it.id);
        let stdin = stdin.and_then(|id| self.server.queued_for_command(id));
        let stdin_full = stdin.is_some_and(|queued| queued >= high_water);
        if wire.is_unread() {
            assert!(
                queued >= high_water || stdin_full,
                "wire {index} is not read although there is room"
            );
        }
        // A lost client of a shared command is noticed even if the command does not read.
        let is_own = command.is_some_and(|command| !command.has_fan_out);
        let has_left = wire.upstream_end && !wire.end_read && queued < high_water;
        assert!(
            !(wire.reset || has_left) || is_own && stdin_full,
            "the loss of wire {index} was not noticed"
        );
    }

    fn check_command_at_rest(&self, index: usize, world: &World) {
        let command = &world.commands[index];
        let Some(id) = command.id else { return };
        let Some(queued) = self.server.queued_for_command(id) else {
            return;
        };
        let is_stuck = queued > 0 && command.alive && command.stdin_room > 0;
        assert!(
            !is_stuck,
            "{queued} bytes are not written although there is room"
        );
        let ended = !command.alive && !command.grandchild;
        let is_unread = |bytes: bool, open: bool| open && (bytes || ended) && !command.floods;
        // Neither a shared command nor the log waits for a client.
        let is_full = |client| self.is_full(client, index, world);
        let client_full = command.client.is_some_and(is_full);
        let stderr_unread = is_unread(!command.stderr.is_empty(), command.stderr_open);
        assert!(
            !stderr_unread || client_full && self.shape.has_tags(),
            "the stderr of command {index} is not read"
        );
        // A resumable session may have reported the exit already, when the pipe looked empty at
        // that time.
        let has_output = match command.has_fan_out {
            true => command.stdout_open && !command.stdout.is_empty() && !command.floods,
            false => is_unread(!command.stdout.is_empty(), command.stdout_open),
        };
        assert!(
            !has_output || client_full,
            "the stdout of command {index} is not read"
        );
    }

    /// Whether the queue of a client of this command has reached the high-water mark.
    fn is_full(&self, client: usize, command: usize, world: &World) -> bool {
        self.tracker.wires.iter().any(|wire| {
            let wire = &world.wires[*wire];
            let own = wire.client == client
                && wire.joined.and_then(|joined| joined.command()) == Some(command);
            let queued = wire.id.and_then(|id| self.server.queued_for_client(id));
            own && queued.is_some_and(|queued| queued >= self.shape.least_high_water())
        })
    }

    // -- At the end ------------------------------------------------------------------------------

    /// Each client that is connected has received everything, and so has its command.
    pub fn check_deliveries(&self) {
        let world = self.world.borrow();
        for (index, client) in self.clients.iter().enumerate() {
            let wire = &world.wires[client.connection.wire];
            let is_open = client.connection.state == State::Open;
            if !is_open || client.connection.left || wire.dropped_at.is_some() {
                continue;
            }
            let Some((command, place)) = &client.follows else {
                assert_eq!(
                    client.echoed, client.sent,
                    "messages received from client {index}"
                );
                continue;
            };
            let command = &world.commands[*command];
            assert!(
                command.alive || command.grandchild,
                "client {index} was not sent the exit status"
            );
            if command.alive {
                let came = command.intake.count(client.number);
                assert_eq!(came, client.sent, "messages received from client {index}");
            }
            let delivered = command.stdout.is_empty() && command.output.is_at_end(place, false);
            let has_all =
                |place| command.stderr.is_empty() && command.stderr_output.is_at_end(place, false);
            let has_stderr = client.stderr_place.as_ref().is_none_or(has_all);
            assert!(
                delivered && has_stderr,
                "client {index} has not received everything"
            );
        }
    }

    /// Everything that a client sent before its Close reached its command, unless that stopped
    /// reading.
    pub fn check_last_messages(&self) {
        let world = self.world.borrow();
        for (index, client) in self.clients.iter().enumerate() {
            let connection = &client.connection;
            let is_answered = connection.state == State::Closed(1000, String::new());
            let Some((command, _)) = client.follows.as_ref() else {
                continue;
            };
            let command = &world.commands[*command];
            if connection.left_first && is_answered && (command.alive || command.has_read_all) {
                let came = command.intake.count(client.number);
                assert_eq!(
                    came, client.sent,
                    "messages received from client {index}, which left"
                );
            }
        }
    }

    pub fn check_nothing_is_left(&self) {
        // `--kill-after=never` waits for the command, and signals nothing that the command leaves
        // behind.
        let spares_grandchildren = self.shape.config.command.kill_after.is_none();
        let world = self.world.borrow();
        let is_left = |command: &&Command| {
            let has_child = command.grandchild || command.job;
            command.alive || has_child && !spares_grandchildren
        };
        // A server that shuts down sends SIGKILL to every group and job that is left.
        let left = world.commands.iter().find(is_left);
        assert!(left.is_none(), "process {} is left", left.unwrap().pid);
        if world.shutting_down {
            return;
        }
        let census = self.server.census();
        assert_eq!(
            (census.clients, census.processes),
            (0, 0),
            "entries are left"
        );
        let dropped = world.wires.iter().all(|wire| wire.dropped_at.is_some());
        assert!(dropped, "sockets are left");
        for command in &world.commands {
            assert!(
                command.stdin_end && !command.stdout_open && !command.stderr_open,
                "pipes of {} are left",
                command.pid
            );
        }
    }
}
