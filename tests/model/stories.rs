//! Single stories of the model, by name: what one turn may do, and what random schedules meet too
//! seldom.

use std::time::Duration;

use wspipe::config::{ClientLimits, CommandSettings, Config};
use wspipe::event_loop::Next;
use wspipe::event_loop::readiness::Readiness;
use wspipe::limits::{PIPE_LEN_MAX, READ_BUDGET, REAP_DELAY_MAX, SPAWNS_PER_TURN};
use wspipe::source::Source;
use wspipe::system::Exit;

use crate::acts::Leave;
use crate::client::State;
use crate::command::Command;
use crate::random::Random;
use crate::run::Run;
use crate::schedule::Shape;
use crate::text::frame;
use crate::world::World;

impl Run {
    /// Without anything at random.
    fn plain(config: Config) -> Self {
        Run::new(Shape::plain(config), Random::from_seed(1))
    }

    /// A client of the command, alone, and what the command is like.
    fn with_command(prepare: impl FnOnce(&mut Command)) -> Self {
        let mut run = Run::plain(Config::default());
        run.connect_to(true, false);
        run.settle();
        prepare(&mut run.world.borrow_mut().commands[0]);
        run.await_upgrades();
        run
    }

    /// Waits until every client has its handshake answered.
    fn await_upgrades(&mut self) {
        for index in 0..self.clients.len() {
            while self.clients[index].connection.state == State::Opening {
                self.settle();
                let before = self.world.borrow().progress;
                self.receive(index, usize::MAX);
                let more = self.world.borrow().progress > before;
                assert!(more, "client {index}");
            }
        }
    }

    /// Turn after turn until it is so; how many it took.
    fn turn_until(&mut self, is_so: impl Fn(&World) -> bool) -> usize {
        for turns in 0..1000 {
            if is_so(&self.world.borrow()) {
                return turns;
            }
            self.turn();
        }
        panic!("the server never gets there");
    }

    /// Takes what the first client has been sent, and makes room for as much as `room`.
    fn take_all(&mut self, room: usize) -> Vec<u8> {
        let mut world = self.world.borrow_mut();
        let socket = &mut world.wires[0];
        socket.room = room;
        let bytes = socket.downstream.drain(..).collect();
        if let Some(id) = socket.id {
            world.edge(Source::Client(id), Readiness::WRITABLE);
        }
        bytes
    }
}

/// Whatever number of handshakes waits, few commands are started at once: each takes the time of
/// hundreds of messages, in which nobody else is served.
#[test]
fn many_handshakes_at_once_are_spread_over_turns() {
    let mut run = Run::plain(Config::default());
    for _ in 0..100 {
        run.connect_to(true, false);
    }
    // No turn starts more than its share, which is looked at behind every turn.
    let turns = run.turn_until(|world| world.commands.len() == 100);
    assert!(turns >= 100 / SPAWNS_PER_TURN, "{turns} turns");
    run.await_upgrades();
}

/// However often a listener tells that connections wait, it does not get more turns by that.
#[test]
fn a_listener_has_one_place_in_the_queue() {
    let mut run = Run::plain(Config::default());
    for _ in 0..4000 {
        run.connect_to(false, false);
    }
    // Each tells of itself, and no turn accepts more than its share.
    run.turn_until(|world| world.backlog.is_empty());
    run.settle();
    assert_eq!(run.server.census().clients, 4000);
}

/// A client is not read without end because its command takes in everything at once.
#[test]
fn a_command_that_devours_its_input_gets_no_more_than_a_share() {
    let mut run = Run::with_command(|command| command.devours = true);
    let message = frame(true, 2, &[7; 1000]);
    let mut world = run.world.borrow_mut();
    world.wires[0].send(&message.repeat(4000));
    world.report(0);
    drop(world);
    run.turn_until(|world| world.wires[0].upstream.is_empty());
}

/// Nor because it takes its own echoes at once, be its messages short or long.
#[test]
fn a_client_that_takes_every_echo_gets_no_more_than_a_share() {
    const LEN: usize = 16 << 20;
    for message_len in [1000, 200_000] {
        let mut shape = Shape::plain(Config::default());
        shape.config.clients.message_len_max = message_len;
        let mut run = Run::new(shape, Random::from_seed(1));
        run.connect_to(false, false);
        run.await_upgrades();
        run.take_all(2 * LEN);
        let message = frame(true, 2, &vec![7; message_len]);
        let mut world = run.world.borrow_mut();
        world.wires[0].send(&message.repeat(LEN / message_len));
        world.report(0);
        drop(world);
        run.turn_until(|world| world.wires[0].upstream.is_empty());
        let echoed = run.take_all(0).len();
        assert!(echoed > LEN / 16 * 15, "{echoed} bytes were echoed");
    }
}

/// Nor is a command's output because its client takes in everything at once.
#[test]
fn a_command_that_prints_without_end_gets_no_more_than_a_share() {
    /// As good as endless, but for a server that would go on for ever.
    const ROOM: usize = 16 << 20;
    let mut run = Run::with_command(|command| command.floods = true);
    run.take_all(ROOM);
    let id = run.world.borrow().commands[0].id.expect("it is watched");
    let edge = (Source::Stdout(id), Readiness::READABLE);
    run.world.borrow_mut().edges.push(edge);
    for _ in 0..10 {
        run.turn();
        assert_eq!(run.next, Next::Poll);
        assert!(run.take_all(ROOM).len() >= READ_BUDGET);
    }
}

/// Who has left the command's group, holds its pipe and prints for ever does not keep the client
/// from hearing how the command ended.
#[test]
fn a_flood_of_somebody_else_does_not_hold_the_close_frame_back() {
    const ROOM: usize = 100_000;
    let mut run = Run::with_command(|command| command.floods = true);
    run.world.borrow_mut().end_command(0, Exit::Status(3));
    let close = [&[0x88, 8][..], &4003_u16.to_be_bytes(), b"exit 3"].concat();
    let said = (0..10 * PIPE_LEN_MAX / ROOM).any(|_| {
        run.settle();
        run.take_all(ROOM).ends_with(&close)
    });
    assert!(said, "it floods on");
}

// -- What is left to say at the end ----------------------------------------------------------------

impl Run {
    /// A client with a session, alone, whose window holds little; and its command.
    fn with_session(config: Config) -> Self {
        let linger = Some(Duration::from_secs(30));
        let mut run = Run::plain(Config {
            command: CommandSettings {
                resume: linger,
                ..config.command
            },
            ..config
        });
        run.connect_to(true, true);
        run.world.borrow_mut().wires[0].room = 500;
        run.await_upgrades();
        run
    }

    /// The first command prints something.
    fn print(&mut self, text: &[u8]) {
        let mut world = self.world.borrow_mut();
        let command = &mut world.commands[0];
        command.stdout.extend(text);
        let id = command.id.expect("it is watched");
        world.edge(Source::Stdout(id), Readiness::READABLE);
        drop(world);
        self.settle();
    }

    /// It prints lines until as many bytes wait for the first client as the high-water mark allows,
    /// less `spare`.
    fn print_until_full(&mut self, spare: usize) {
        while self.queued() + spare < self.shape.config.clients.high_water {
            self.print(b"line\n");
        }
    }

    /// How many bytes wait for the first client.
    fn queued(&self) -> usize {
        let id = self.world.borrow().wires[0].id.expect("it is watched");
        self.server.queued_for_client(id).expect("it is there")
    }

    /// The first client reads all that there is for it, and how its connection stands then.
    fn read_all(&mut self) -> State {
        loop {
            let before = self.world.borrow().progress;
            self.receive(0, usize::MAX);
            self.settle();
            if self.world.borrow().progress == before {
                return self.clients[0].connection.state.clone();
            }
        }
    }

    /// A client that sends these bytes in place of a handshake, and has room for 500 in return.
    fn with_requests(bytes: &[u8]) -> Self {
        let mut run = Run::plain(Config::default());
        run.connect_to(false, false);
        let mut world = run.world.borrow_mut();
        let wire = &mut world.wires[0];
        wire.upstream.clear();
        wire.head_ends.clear();
        wire.send(bytes);
        wire.room = 500;
        drop(world);
        run.settle();
        run
    }

    /// Time passes, and the server is woken when it wants to be.
    fn wait(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Next::Wait(Some(at)) = self.next
            && at < until
        {
            self.advance_to(at);
            self.settle();
        }
        self.advance_to(until);
        self.settle();
    }
}

/// The command of a session waits for its client, so a prompt that comes when much waits already is
/// no reason to close it as too slow.
#[test]
fn a_slow_client_of_a_session_gets_a_prompt() {
    let flush = Some(Duration::from_millis(50));
    let mut run = Run::with_session(Config {
        command: CommandSettings {
            flush,
            ..CommandSettings::default()
        },
        ..Config::default()
    });
    run.print_until_full(10);
    run.print(b"line\nline\nname? ");
    run.wait(Duration::from_millis(50));
    assert_eq!(run.read_all(), State::Open);
    let (command, place) = run.clients[0].follows.as_ref().expect("it has a command");
    let output = &run.world.borrow().commands[*command].output;
    assert!(output.is_at_end(place, true), "the prompt came");
}

/// A time-out ends a session, also one whose command has ended before, and waits with the rest of
/// its output for a client that does not read.
#[test]
fn a_session_that_a_time_out_closes_waits_for_nobody() {
    let idle_timeout = Some(Duration::from_secs(3));
    let mut run = Run::with_session(Config {
        clients: ClientLimits {
            idle_timeout,
            ..ClientLimits::default()
        },
        ..Config::default()
    });
    run.print_until_full(0);
    run.print(b"more\n");
    run.world.borrow_mut().end_command(0, Exit::Status(7));
    run.settle();
    assert_eq!(run.server.census().processes, 1, "its output waits");
    run.wait(Duration::from_secs(3));
    assert_eq!(run.server.census().processes, 0);
    assert!(matches!(run.read_all(), State::Closed(1008, _)));
}

/// A page that is left says 1001, and that is no answer to what it was told at the same time: how
/// its command ended.
#[test]
fn a_page_that_is_left_hears_of_the_exit_when_it_comes_back() {
    let mut run = Run::with_session(Config::default());
    run.print(b"line\nlast");
    run.world.borrow_mut().end_command(0, Exit::Status(7));
    run.settle();
    run.leave_so(0, Leave::GoingAway, false);
    run.settle();
    run.come_back(0);
    run.settle();
    assert_eq!(run.read_all(), State::Closed(4007, "exit 7".into()));
}

/// However often it is asked to end, the server signals no process group that was found gone: its
/// number may be somebody else's by then.
#[test]
fn a_group_that_is_gone_is_left_alone_at_the_end() {
    let mut run = Run::with_command(|command| command.grandchild = true);
    run.world.borrow_mut().end_command(0, Exit::Status(0));
    run.settle();
    // The world looks at each signal.
    (0..4).for_each(|_| run.world.borrow_mut().shut_down());
    run.turn();
    assert_eq!(run.next, Next::Stop);
    run.check_nothing_is_left();
}

// -- Children that end at one moment -----------------------------------------------------------------

/// Two clients, each with a command of its own.
fn two_with_commands() -> Run {
    let mut run = Run::plain(Config::default());
    for _ in 0..2 {
        run.connect_to(true, false);
    }
    run.settle();
    run.await_upgrades();
    run
}

/// Of two commands that end at one moment a signal names the first. That the output of the other
/// has ended is enough to ask for it.
#[test]
fn commands_that_end_at_one_moment_are_both_told_at_once() {
    let mut run = two_with_commands();
    for index in 0..2 {
        run.world.borrow_mut().end_command(index, Exit::Status(0));
    }
    run.settle();
    for index in 0..2 {
        run.receive(index, usize::MAX);
        let state = &run.clients[index].connection.state;
        assert_eq!(*state, State::Closed(1000, "exit 0".to_owned()), "{index}");
    }
}

/// Nor does one have to wait for long whose output tells nothing, as somebody holds it.
#[test]
fn commands_that_end_at_one_moment_are_both_reaped_soon() {
    let mut run = two_with_commands();
    for index in 0..2 {
        let mut world = run.world.borrow_mut();
        world.commands[index].grandchild = true;
        world.end_command(index, Exit::Status(0));
    }
    run.settle();
    assert_eq!(run.world.borrow().exits.len(), 1, "one was named");
    run.now = run.now + REAP_DELAY_MAX;
    run.settle();
    assert_eq!(run.world.borrow().exits.len(), 0);
}

/// Whatever number of orphans ends at one moment, it is looked once whether their groups are gone.
#[test]
fn many_orphans_that_end_at_one_moment_have_the_groups_looked_at_once() {
    let mut run = Run::with_command(|command| command.grandchild = true);
    {
        let mut world = run.world.borrow_mut();
        world.end_command(0, Exit::Status(0));
        let orphans = (0..1000).map(|n| (90_000 + n, Exit::Signal(9)));
        world.exits.extend(orphans);
    }
    run.settle();
    let exits = run.world.borrow().exits.len();
    assert_eq!(exits, 1000, "the command was named");
    run.now = run.now + REAP_DELAY_MAX;
    run.turn();
    if run.world.borrow().exits.len() == 1000 {
        // A deadline may wait for one more turn.
        run.turn();
    }
    let world = run.world.borrow();
    assert_eq!((world.exits.len(), world.probed), (0, 1));
}

/// A client that takes the responses to its requests slowly leaves its socket full for longer than
/// the write time-out: what its TCP acknowledges keeps it. One that takes no more is dropped, a
/// request that it sends changes nothing.
#[test]
fn a_slow_client_of_pages_is_kept_and_a_stuck_one_dropped() {
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // The server answers at once as many as fit in 2000 bytes, and the rest when there is room.
    for (count, goes_on) in [(10, false), (5, true), (100, false)] {
        let mut run = Run::with_requests(&request.repeat(count));
        let write_timeout = run.shape.config.clients.write_timeout;
        for _ in 0..5 {
            run.wait(write_timeout.mul_f32(0.9));
            run.world.borrow_mut().wires[0].downstream.drain(..50);
        }
        for _ in 0..19 {
            run.wait(write_timeout.mul_f32(0.05));
            if goes_on {
                run.world.borrow_mut().wires[0].send(request);
                run.world.borrow_mut().report(0);
            }
        }
        assert_eq!(run.world.borrow().wires[0].dropped_at, None);
        run.wait(write_timeout.mul_f32(0.35));
        assert!(run.world.borrow().wires[0].dropped_at.is_some());
    }
}

/// However long a client was there before, its page has the whole of the write time-out.
#[test]
fn a_page_waits_from_when_it_was_asked_for() {
    let mut run = Run::with_requests(b"");
    let write_timeout = run.shape.config.clients.write_timeout;
    run.wait(write_timeout.mul_f32(0.9));
    let mut world = run.world.borrow_mut();
    world.wires[0].room = 0;
    world.wires[0].send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    world.report(0);
    drop(world);
    run.settle();
    run.wait(write_timeout.mul_f32(0.9));
    assert_eq!(run.world.borrow().wires[0].dropped_at, None);
}

/// A client that has been sent all and takes it slowly is not idle, as the server's kernel has it.
#[test]
fn a_client_that_takes_its_last_page_slowly_is_not_idle() {
    let mut run = Run::with_requests(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let idle_timeout = run.shape.config.clients.http_idle_timeout;
    for _ in 0..5 {
        run.wait(idle_timeout.mul_f32(0.9));
        run.world.borrow_mut().wires[0].downstream.drain(..10);
    }
    assert_eq!(run.world.borrow().wires[0].dropped_at, None);
    run.world.borrow_mut().wires[0].downstream.clear();
    run.wait(idle_timeout.mul_f32(1.1));
    assert!(run.world.borrow().wires[0].dropped_at.is_some());
}

/// A client that took something and then no more is dropped after the write time-out, also while it
/// is not read because of that, and also when the last was said: what it took before is progress only
/// until it is looked at, at a quarter of that time or when the closing handshake would be over.
#[test]
fn a_client_that_takes_no_more_gets_the_write_timeout_and_no_second_one() {
    for closes in [false, true] {
        let mut run = Run::plain(Config::default());
        run.connect_to(false, false);
        run.await_upgrades();
        run.take_all(500);
        let mut world = run.world.borrow_mut();
        let messages = if closes { 1 } else { 3 };
        let sent = frame(true, 2, &[7; 1500]).repeat(messages);
        world.wires[0].send(&sent);
        world.report(0);
        drop(world);
        run.settle();
        if closes {
            let mut world = run.world.borrow_mut();
            world.wires[0].close(&frame(true, 8, &[]));
            world.report(0);
            drop(world);
            run.settle();
        }
        // It takes 500 bytes, and of the next 100 it takes none.
        run.take_all(100);
        run.settle();
        let write_timeout = run.shape.config.clients.write_timeout;
        run.wait(write_timeout.mul_f32(0.95));
        assert_eq!(run.world.borrow().wires[0].dropped_at, None);
        run.wait(write_timeout.mul_f32(0.35));
        assert!(run.world.borrow().wires[0].dropped_at.is_some());
    }
}
