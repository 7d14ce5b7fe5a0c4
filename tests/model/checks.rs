//! What has to be so: after each turn, whenever the server is at rest, and at the end.

use std::time::Duration;

use wspipe::config::ClientLimits;
use wspipe::event_loop::Next;
use wspipe::framing::Framing;
use wspipe::limits::{
    ACCEPTS_PER_TURN, FRAGMENT_LEN, JSON_READ_LEN, READ_BUDGET, SCRATCH_LEN, SPAWNS_PER_TURN,
};

use crate::client::State;
use crate::command::{Command, Term};
use crate::patience::{Patience, Sight, Stage};
use crate::run::Run;
use crate::text::{REPLAY_LEN_MAX, text_len_max};
use crate::wire::Wire;
use crate::world::World;

/// Who is there, and what was so before the turn.
#[derive(Default)]
pub struct Watch {
    /// The connections and commands of which the server still has something.
    wires: Vec<usize>,
    commands: Vec<usize>,
    /// How many there were of each when that was last looked at.
    wires_seen: usize,
    commands_seen: usize,
    /// For each connection, how much waited for it when that first was as much as the high-water
    /// mark, and how much had left by then.
    full: Vec<Option<(usize, u64)>>,
    /// For each that was accepted, how long it is borne with.
    patience: Vec<Option<Patience>>,
}

impl Run {
    /// Before a turn.
    pub fn begin_watch(&mut self) {
        let world = &mut *self.world.borrow_mut();
        let watch = &mut self.watch;
        watch.wires.extend(watch.wires_seen..world.wires.len());
        watch.full.resize(world.wires.len(), None);
        watch.patience.resize(world.wires.len(), None);
        watch.wires_seen = world.wires.len();
        for &wire in &watch.wires {
            let wire = &mut world.wires[wire];
            (wire.read_in_turn, wire.written_in_turn) = (0, 0);
        }
        for &command in &watch.commands {
            let command = &mut world.commands[command];
            (command.read_in_turn, command.taken_in_turn) = (0, 0);
        }
    }

    /// After a turn.
    pub fn check_turn(&mut self) {
        let commands = self.world.borrow().commands.len();
        self.watch
            .commands
            .extend(self.watch.commands_seen..commands);
        self.watch.commands_seen = commands;
        self.check_shares();
        self.check_bounds();
        self.check_terms();
        self.check_heads();
        self.check_patience();
        if self.is_at_rest() && self.next != Next::Stop {
            self.check_rest();
        }
        let world = self.world.borrow();
        let watch = &mut self.watch;
        watch
            .wires
            .retain(|wire| world.wires[*wire].dropped_at.is_none());
        watch.commands.retain(|index| {
            let command = &world.commands[*index];
            command.alive || command.stdout_open || command.stderr_open
        });
    }

    /// In one turn nobody got more than a share: a source that is always ready does not lock the
    /// others out. Who is read has its budget for each of its edges, and once more from the ready
    /// queue.
    fn check_shares(&self) {
        let world = self.world.borrow();
        let (accepted, spawned) = (world.accepted, world.spawned);
        assert!(accepted <= ACCEPTS_PER_TURN, "{accepted} accepted");
        assert!(spawned <= SPAWNS_PER_TURN, "{spawned} spawned");
        for wire in &self.watch.wires {
            let read = world.wires[*wire].read_in_turn;
            // Long messages count for a quarter.
            let most = 4 * (4 * READ_BUDGET + SCRATCH_LEN);
            assert!(read <= most, "{read} bytes read of a client");
        }
        for command in &self.watch.commands {
            let read = world.commands[*command].read_in_turn;
            let most = 4 * (READ_BUDGET + SCRATCH_LEN);
            assert!(read <= most, "{read} bytes read of a command");
        }
    }

    // -- Memory ----------------------------------------------------------------------------------

    /// Nothing grows beyond its bound.
    fn check_bounds(&mut self) {
        let world = self.world.borrow();
        let config = &self.shape.config;
        let census = self.server.census();
        assert!(
            census.processes <= config.server.processes_max,
            "{census:?}"
        );
        assert!(census.kept_max <= REPLAY_LEN_MAX, "{census:?}");
        let text_len = text_len_max(self.shape.scale);
        // One read of a pipe, behind what was held of the read before; each line makes a frame.
        let floods = world.commands.iter().any(|command| command.floods);
        let pipe_len = if floods { SCRATCH_LEN } else { world.pipe_len };
        let held = text_len.min(FRAGMENT_LEN + 2);
        let batch = match self.shape.has_tags() {
            true => 8 * pipe_len.min(JSON_READ_LEN) + 2 * held,
            false => 2 * (pipe_len.min(SCRATCH_LEN) + held),
        };
        // One read of a socket: a message under way ends with it, and others are whole in it.
        let messages = 2 * SCRATCH_LEN.min(21_000 * self.shape.scale) + text_len;
        for &index in &self.watch.wires {
            let wire = &world.wires[index];
            let queued = wire.id.and_then(|id| self.server.queued_for_client(id));
            let Some(queued) = queued else { continue };
            self.check_unfinished(wire, &world);
            let catch_up = match wire.caught_up || !self.has_channel(wire) {
                true => 0,
                // And the head of the 101.
                false => REPLAY_LEN_MAX + 1000,
            };
            let bound = config.clients.high_water + catch_up + batch.max(messages);
            assert!(queued <= bound, "{queued} bytes are queued, not {bound}");
            let full = &mut self.watch.full[index];
            if queued < config.clients.high_water || catch_up > 0 {
                *full = None;
            } else if config.command.shared.is_some() && wire.joined.is_some() {
                // Whoever is full gets no more, but for its Close.
                let current = (queued, wire.written);
                let (before, _) = *full
                    .filter(|(_, written)| *written == wire.written)
                    .get_or_insert(current);
                *full = Some((before, wire.written));
                assert!(queued <= before + 200, "{queued} bytes wait, not {before}");
            }
        }
        for &index in &self.watch.commands {
            let id = world.commands[index].id;
            let queued = id.and_then(|id| self.server.queued_for_command(id));
            // What came right behind the requests of newcomers is taken whether there is room or not.
            let early = match config.command.shared {
                Some(_) => self.watch.wires.len() * (config.clients.head_len_max + 1),
                None => 0,
            };
            let bound = config.clients.high_water + messages + early;
            assert!(
                queued.is_none_or(|queued| queued <= bound),
                "{queued:?} wait"
            );
        }
    }

    /// Of what a client has begun to send no more is kept than has come of it, and no more than its
    /// receiver needs to have at once.
    fn check_unfinished(&self, wire: &Wire, world: &World) {
        let config = &self.shape.config;
        let kept = wire.id.and_then(|id| self.server.unfinished_of_client(id));
        let command = wire.joined.and_then(|joined| joined.command());
        let bound = match (wire.stage(), command) {
            // What came behind the request waits with it.
            (Stage::Opening, _) => config.clients.head_len_max + 1,
            // A plain stream of its own takes what comes.
            (_, Some(index))
                if config.command.framing == Framing::Raw && !world.commands[index].has_channel =>
            {
                0
            }
            (_, Some(_)) => wire.begun().min(config.clients.message_len_max),
            (_, None) => wire.begun().min(FRAGMENT_LEN),
        };
        let kept = kept.unwrap_or(0);
        assert!(kept <= bound, "{kept} bytes are kept, not {bound}");
    }

    /// Whether what a wire is sent at once when it comes may be more than the high-water mark.
    fn has_channel(&self, wire: &Wire) -> bool {
        let is_shared = self.shape.config.command.shared.is_some();
        wire.joined.is_some() && (is_shared || wire.has_session)
    }

    // -- Time ------------------------------------------------------------------------------------

    /// A command whose client has left is ended by the ladder, and one whose client was lost when
    /// nobody has come back in time.
    fn check_terms(&mut self) {
        let world = &mut *self.world.borrow_mut();
        let config = &self.shape.config;
        let (now, kill_after) = (self.now, config.command.kill_after);
        // Where much is due at once it takes more than one turn, of no time; and a deadline may have to
        // wait for the next one.
        let waits = matches!(self.next, Next::Wait(Some(deadline)) if deadline <= now);
        let is_overdue = waits || self.heard < now;
        for &index in &self.watch.commands {
            let command = &world.commands[index];
            let Some(client) = command.client.filter(|_| command.alive) else {
                continue;
            };
            let number = self.clients[client].connection.wire;
            let wire = &world.wires[number];
            let is_there = wire.joined.and_then(|joined| joined.command()) == Some(index);
            let is_over = self.clients[client].is_over;
            let ends = kill_after.map_or(Term::Any, |after| Term::Ends(now + after));
            let linger = config.command.resume.filter(|_| command.has_channel);
            let term = match (command.term, linger) {
                (Term::Ends(at), _) => {
                    assert!(at > now || is_overdue, "command {index} is still there");
                    continue;
                }
                (_, None) if wire.is_left() || wire.upstream_end || wire.reset => ends,
                (_, Some(_)) if is_there && is_over && wire.has_closed() => ends,
                (_, Some(_)) if is_there && wire.dropped_at.is_none() => Term::Any,
                (Term::Waits(lost, until), _) if !is_there || lost == number => match until {
                    until if until <= self.heard => ends,
                    _ => command.term,
                },
                (_, Some(linger)) if is_there => Term::Waits(number, now + linger),
                (term, _) => term,
            };
            if world.shape.trace && command.term != term {
                eprintln!("  command {index} of client {client}: {term:?}");
            }
            world.commands[index].term = term;
        }
    }

    /// Whoever does not end its request head in time is told so.
    fn check_heads(&self) {
        let mut world = self.world.borrow_mut();
        for &index in &self.watch.wires {
            let wire = &mut world.wires[index];
            let term = wire
                .head
                .map(|(_, since)| since + self.shape.config.clients.head_timeout);
            wire.head_timed_out |= term.is_some_and(|term| term <= self.heard);
            if term.is_some_and(|term| term <= self.heard_before) {
                let is_told = wire.downstream_end || wire.write_was_blocked;
                assert!(is_told, "the head of wire {index} is still awaited");
            }
        }
    }

    /// Whoever is not there any more, or does not go, is given up in time.
    fn check_patience(&mut self) {
        let world = self.world.borrow();
        for &index in &self.watch.wires {
            let wire = &world.wires[index];
            let Some(seen) = self.sight(wire, &world) else {
                continue;
            };
            let patience = &mut self.watch.patience[index];
            let patience = patience.get_or_insert_with(|| Patience::new(seen));
            let over = patience.go_on(seen, &self.shape.config);
            assert!(over.is_none(), "wire {index} outlasts {}", over.unwrap());
        }
    }

    /// What is to be seen of a connection, if it is there. Of one that was reset that is seen as soon
    /// as it is read or written to.
    fn sight(&self, wire: &Wire, world: &World) -> Option<Sight> {
        let is_there = wire.dropped_at.is_none() && !wire.reset;
        let id = wire.id.filter(|_| is_there)?;
        let queued = self.server.queued_for_client(id)?;
        let command = wire.joined.and_then(|joined| joined.command());
        let stdin_len = command.map_or(0, |index| {
            let command = &world.commands[index];
            let queued = command.id.and_then(|id| self.server.queued_for_command(id));
            queued.map_or(0, |queued| queued + command.taken_in_turn)
        });
        // There were no more at once than were left over and went in this turn.
        let fullest = stdin_len.max(queued + wire.written_in_turn);
        Some(Sight {
            now: self.now,
            told: self.heard,
            stage: match wire.stage() {
                // Whoever still asks when the server ends is told nothing.
                Stage::Opening if world.shutting_down => Stage::Ending(1),
                stage => stage,
            },
            read: wire.read,
            written: wire.written,
            acked: wire.written - wire.downstream.len() as u64,
            queued,
            is_owed: wire.heads_read() == wire.head_ends.len(),
            may_pause: fullest >= self.shape.config.clients.high_water,
        })
    }

    /// How long it took until nothing happened any more.
    pub fn check_time(&self, took: Duration) {
        let ClientLimits {
            http_idle_timeout,
            pong_timeout,
            write_timeout,
            close_timeout,
            ..
        } = self.shape.config.clients;
        let drain_timeout = self.shape.config.server.drain_timeout;
        let linger = self.shape.config.command.resume;
        if self.world.borrow().shutting_down {
            assert_eq!(self.next, Next::Stop, "it does not end");
            assert!(took <= drain_timeout, "{took:?} to end");
            return;
        }
        // Whoever vanished is waited for longest: what it took before is perhaps seen only when its
        // silence is looked after. Then comes the end of TCP, and its command waits for nobody, and
        // then for the ladder.
        let silence = http_idle_timeout.max(pong_timeout).max(write_timeout);
        let command = linger.unwrap_or_default() + Duration::from_secs(2);
        let most = 2 * silence + 2 * close_timeout + command;
        assert!(took <= most, "{took:?} until nothing was left");
    }

    // -- At rest ---------------------------------------------------------------------------------

    /// Where the server waits for something to happen, it has done all that it could: whatever is
    /// left undone has somebody else to wait for.
    fn check_rest(&self) {
        let world = self.world.borrow();
        // Whoever is not read from, as his command does not read, may wait for ever.
        let is_full = |id| {
            let queued = self.server.queued_for_command(id);
            queued.is_some_and(|queued| queued >= self.shape.config.clients.high_water)
        };
        let mut commands = self.watch.commands.iter().map(|it| &world.commands[*it]);
        let is_paused = commands.any(|command| command.id.is_some_and(is_full));
        assert!(
            self.next != Next::Wait(None) || self.server.census().clients == 0 || is_paused,
            "nobody will be woken"
        );
        for &index in &self.watch.wires {
            self.check_wire_at_rest(index, &world);
        }
        for &index in &self.watch.commands {
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
        assert!(queued == 0 || wire.room == 0, "{queued} bytes are not sent");
        // Whoever has not been answered when the server ends is simply left.
        let is_answered = wire.written > 0 || wire.heads_read() == 0 || world.shutting_down;
        assert!(is_answered, "wire {index} is not answered");
        let command = wire.joined.and_then(|joined| joined.command());
        let command = command.map(|index| &world.commands[index]);
        let high_water = self.shape.config.clients.high_water;
        let stdin = command.and_then(|it| it.id);
        let stdin = stdin.and_then(|id| self.server.queued_for_command(id));
        let stdin_full = stdin.is_some_and(|queued| queued >= high_water);
        if wire.is_unread() {
            assert!(
                queued >= high_water || stdin_full,
                "wire {index} is not read"
            );
        }
        // Whoever is lost does not wait behind what a shared command has not read.
        let is_own = command.is_some_and(|command| !command.has_channel);
        let has_left = wire.upstream_end && !wire.end_read && queued < high_water;
        assert!(
            !(wire.reset || has_left) || is_own && stdin_full,
            "the loss of wire {index} is not seen"
        );
    }

    fn check_command_at_rest(&self, index: usize, world: &World) {
        let command = &world.commands[index];
        let Some(id) = command.id else { return };
        let Some(queued) = self.server.queued_for_command(id) else {
            return;
        };
        let is_stuck = queued > 0 && command.alive && command.stdin_room > 0;
        assert!(!is_stuck, "{queued} bytes are not written");
        let ended = !command.alive && !command.grandchild;
        let is_unread = |bytes: bool, open: bool| open && (bytes || ended) && !command.floods;
        // A shared command never waits for anybody, nor does the log.
        let waits = |client| self.is_full(client, index, world);
        let waits = command.client.is_some_and(waits);
        let complains = is_unread(!command.stderr.is_empty(), command.stderr_open);
        assert!(
            !complains || waits && self.shape.has_tags(),
            "the stderr of command {index} is not read"
        );
        // A client of a session may have been told already how its command ended, when what that
        // left behind in the pipe was found to be nothing.
        let has_output = match command.has_channel {
            true => command.stdout_open && !command.stdout.is_empty() && !command.floods,
            false => is_unread(!command.stdout.is_empty(), command.stdout_open),
        };
        assert!(
            !has_output || waits,
            "the stdout of command {index} is not read"
        );
    }

    /// Whether as much waits for a client of this command as the high-water mark allows.
    fn is_full(&self, client: usize, command: usize, world: &World) -> bool {
        self.watch.wires.iter().any(|wire| {
            let wire = &world.wires[*wire];
            let own = wire.client == client
                && wire.joined.and_then(|joined| joined.command()) == Some(command);
            let queued = wire.id.and_then(|id| self.server.queued_for_client(id));
            own && queued.is_some_and(|queued| queued >= self.shape.config.clients.high_water)
        })
    }

    // -- At the end ------------------------------------------------------------------------------

    /// Everybody who is there has got everything, and so has everybody's command.
    pub fn check_deliveries(&self) {
        let world = self.world.borrow();
        for (index, client) in self.clients.iter().enumerate() {
            let wire = &world.wires[client.connection.wire];
            let is_open = client.connection.state == State::Open;
            if !is_open || client.connection.left || wire.dropped_at.is_some() {
                continue;
            }
            let Some((command, place)) = &client.follows else {
                assert_eq!(client.echoed, client.sent, "messages of client {index}");
                continue;
            };
            let command = &world.commands[*command];
            assert!(
                command.alive || command.grandchild,
                "client {index} has not heard of the exit"
            );
            if command.alive {
                let came = command.intake.count(client.number);
                assert_eq!(came, client.sent, "messages of client {index}");
            }
            let delivered = command.stdout.is_empty() && command.output.is_at_end(place, false);
            let has_all =
                |place| command.stderr.is_empty() && command.complaints.is_at_end(place, false);
            let has_heard = client.complaints.as_ref().is_none_or(has_all);
            assert!(
                delivered && has_heard,
                "client {index} has not got everything"
            );
        }
    }

    /// Whatever a client sent before it said goodbye reached its command, unless that did not read on.
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
                assert_eq!(came, client.sent, "messages of client {index}, which left");
            }
        }
    }

    pub fn check_nothing_is_left(&self) {
        // `--kill-after=never` waits for the command, and signals nothing that it leaves behind.
        let spares_grandchildren = self.shape.config.command.kill_after.is_none();
        let world = self.world.borrow();
        let is_left =
            |command: &&Command| command.alive || command.grandchild && !spares_grandchildren;
        // Where the server was asked to end, whoever was left at last has been sent SIGKILL.
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
