//! Scenarios with names: what one turn may do, and what random schedules reach too rarely.

use std::time::Duration;

use wspipe::config::{ClientLimits, CommandSettings, Config};
use wspipe::event_loop::Next;
use wspipe::event_loop::readiness::Readiness;
use wspipe::limits::{
    ACCEPTS_PER_TURN, GROUP_PROBE, PIPE_LEN_MAX, REAP_DELAY_MAX, SPAWNS_PER_TURN, TURN_TIME_MAX,
    VISIT_BUDGET,
};
use wspipe::source::Source;
use wspipe::system::{Exit, SignalEvent};

use crate::client::State;
use crate::client_actions::Leave;
use crate::command::Command;
use crate::random::Random;
use crate::run::Run;
use crate::schedule::Shape;
use crate::text::frame;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

impl Run {
    /// A run in which nothing is random.
    fn plain(config: Config) -> Self {
        Run::new(Shape::plain(config), Random::from_seed(1))
    }

    /// One client with its command, which `prepare` may change.
    fn with_command(prepare: impl FnOnce(&mut Command)) -> Self {
        let mut run = Run::plain(Config::default());
        run.connect_to(true, false);
        run.settle();
        prepare(&mut run.world.borrow_mut().commands[0]);
        run.await_upgrades();
        run
    }

    /// Receives until each client has its handshake answered.
    fn await_upgrades(&mut self) {
        for index in 0..self.clients.len() {
            while self.clients[index].connection.state == State::Opening {
                self.settle();
                let before = self.world.borrow().progress;
                self.receive(index, usize::MAX);
                let has_progress = self.world.borrow().progress > before;
                assert!(has_progress, "client {index} gets no answer");
            }
        }
    }

    /// Takes turns until the condition holds. Returns their number.
    fn turn_until(&mut self, condition: impl Fn(&World) -> bool) -> usize {
        for turns in 0..1000 {
            if condition(&self.world.borrow()) {
                return turns;
            }
            self.turn();
        }
        panic!("the server never reaches that condition");
    }

    /// Takes what the first client was sent, and makes room for `room` bytes.
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

/// A start takes as long as hundreds of messages, so a turn starts only a few commands.
#[test]
fn many_handshakes_at_once_are_spread_over_turns() {
    let mut run = Run::plain(Config::default());
    for _ in 0..100 {
        run.connect_to(true, false);
    }
    // `check_turn` holds the number of starts in each turn.
    let turns = run.turn_until(|world| world.commands.len() == 100);
    assert!(turns >= 100 / SPAWNS_PER_TURN, "{turns} turns");
    run.await_upgrades();
}

/// One start takes all the time of a turn. So those who ask for one wait, and nobody else does.
#[test]
fn a_crowd_that_asks_for_commands_does_not_delay_an_echo() {
    let mut run = Run::plain(Config::default());
    run.world.borrow_mut().spawn_time = TURN_TIME_MAX;
    run.connect_to(false, false);
    run.await_upgrades();
    for _ in 0..ACCEPTS_PER_TURN {
        run.connect_to(true, false);
    }
    run.turn();
    for round in 0..5 {
        run.take_all(usize::MAX);
        let mut world = run.world.borrow_mut();
        world.wires[0].send(&frame(true, 1, b"0:0:"));
        world.report(0);
        drop(world);
        let turns = run.turn_until(|world| !world.wires[0].downstream.is_empty());
        assert!(turns <= 2, "{turns} turns in round {round}");
    }
    let started = run.world.borrow().commands.len();
    assert!(started < ACCEPTS_PER_TURN / 2, "{started} had their turn");
}

/// The number of its edges in a batch makes no difference.
#[test]
fn many_edges_of_a_listener_give_it_one_share_of_a_turn() {
    let mut run = Run::plain(Config::default());
    for _ in 0..4000 {
        run.connect_to(false, false);
    }
    // Each connection adds an edge, and no turn accepts more than its share.
    run.turn_until(|world| world.backlog.is_empty());
    run.settle();
    assert_eq!(run.server.census().clients, 4000);
}

/// A full backlog postpones its listener's visit in every turn.
#[test]
fn a_flood_of_connections_does_not_stop_the_timers() {
    let mut run = Run::plain(Config::default());
    for _ in 0..1000 {
        run.connect_to(false, false);
    }
    while !run.world.borrow().backlog.is_empty() {
        let before = run.now;
        run.advance_to(before + SECOND / 100);
        run.turn();
        // A turn that runs out of time may leave clients to the next ones.
        assert!(
            run.acted_until + SECOND / 10 >= before,
            "no timer would fire"
        );
    }
}

/// A command that never blocks does not extend its client's turn.
#[test]
fn a_command_that_drains_its_stdin_gets_no_more_than_a_share_of_a_turn() {
    let mut run = Run::with_command(|command| command.drains_stdin = true);
    let message = frame(true, 2, &[7; 1000]);
    let mut world = run.world.borrow_mut();
    world.wires[0].send(&message.repeat(4000));
    world.report(0);
    drop(world);
    run.turn_until(|world| world.wires[0].upstream.is_empty());
}

/// Nor does a client that takes its echoes at once, with short messages or long ones.
#[test]
fn a_client_that_takes_every_echo_gets_no_more_than_a_share_of_a_turn() {
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

/// Nor does a client that takes all output at once.
#[test]
fn a_command_that_prints_without_end_gets_no_more_than_a_share_of_a_turn() {
    /// As good as endless, but a server that never stops reading would fill it.
    const ROOM: usize = 16 << 20;
    let mut run = Run::with_command(|command| command.floods = true);
    run.take_all(ROOM);
    let id = run.world.borrow().commands[0]
        .id
        .expect("it was registered");
    let edge = (Source::Stdout(id), Readiness::READABLE);
    run.world.borrow_mut().edges.push(edge);
    for _ in 0..10 {
        run.turn();
        assert_eq!(run.next, Next::Poll);
        assert!(run.take_all(ROOM).len() >= VISIT_BUDGET);
    }
}

/// A process outside the command's group holds the pipe and prints without end. The client still
/// gets the exit status.
#[test]
fn a_flood_from_outside_the_group_does_not_delay_the_close_frame() {
    const ROOM: usize = 100_000;
    let mut run = Run::with_command(|command| command.floods = true);
    run.world.borrow_mut().exit_command(0, Exit::Status(3));
    let close = [&[0x88, 8][..], &4003_u16.to_be_bytes(), b"exit 3"].concat();
    let was_sent = (0..10 * PIPE_LEN_MAX / ROOM).any(|_| {
        run.settle();
        run.take_all(ROOM).ends_with(&close)
    });
    assert!(was_sent, "the exit status was not sent");
}

// -- Clients that are slow or left ----------------------------------------------------------------

impl Run {
    /// One client with a session and a small window, and its command.
    fn with_session(config: Config) -> Self {
        let resume = Some(Duration::from_secs(30));
        let mut run = Run::plain(Config {
            command: CommandSettings {
                resume,
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
        let id = command.id.expect("it was registered");
        world.edge(Source::Stdout(id), Readiness::READABLE);
        drop(world);
        self.settle();
    }

    /// The first command prints lines until the first client's queue is `spare` bytes below the
    /// high-water mark.
    fn print_until_full(&mut self, spare: usize) {
        while self.queued() + spare < self.shape.config.clients.high_water {
            self.print(b"line\n");
        }
    }

    /// The bytes queued for the first client.
    fn queued(&self) -> usize {
        let id = self.world.borrow().wires[0].id.expect("it was registered");
        self.server
            .queued_for_client(id)
            .expect("the client exists")
    }

    /// The first client reads all that there is for it. Returns the state of its connection then.
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

    /// A client that sends these bytes in place of a handshake, and has room for 500 bytes of
    /// responses.
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

    /// Lets time pass, with a turn whenever a timer is due.
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

/// The command of a session waits for its client, so a prompt on top of a full queue does not make
/// the client too slow.
#[test]
fn a_slow_client_of_a_session_is_sent_a_prompt_and_not_closed() {
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
    assert!(output.is_at_end(place, true), "the prompt is missing");
}

/// A time-out also ends a session whose command has exited, while the rest of its output waits for
/// a client that does not read.
#[test]
fn a_session_closed_by_a_time_out_does_not_wait_for_its_client() {
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
    run.world.borrow_mut().exit_command(0, Exit::Status(7));
    run.settle();
    assert_eq!(
        run.server.census().processes,
        1,
        "its output is still to be sent"
    );
    run.wait(Duration::from_secs(3));
    assert_eq!(run.server.census().processes, 0);
    assert!(matches!(run.read_all(), State::Closed(1008, _)));
}

/// A page that is left sends 1001. That does not acknowledge the exit status that the server sent
/// at the same time.
#[test]
fn a_page_that_was_left_is_sent_the_exit_status_when_it_resumes() {
    let mut run = Run::with_session(Config::default());
    run.print(b"line\nlast");
    run.world.borrow_mut().exit_command(0, Exit::Status(7));
    run.settle();
    run.leave_by(0, Leave::GoingAway, false);
    run.settle();
    run.reconnect(0);
    run.settle();
    assert_eq!(run.read_all(), State::Closed(4007, "exit 7".into()));
}

/// Its PID may belong to another process by then, however often the server is asked to stop.
#[test]
fn a_process_group_found_gone_is_never_signalled_at_shutdown() {
    let mut run = Run::with_command(|command| command.grandchild = true);
    run.world.borrow_mut().exit_command(0, Exit::Status(0));
    run.settle();
    // The world checks each signal.
    (0..4).for_each(|_| run.world.borrow_mut().shut_down());
    run.turn();
    assert_eq!(run.next, Next::Stop);
    run.check_nothing_is_left();
}

/// Its last member was reaped by a parent outside the group, which the server does not see. Its PID
/// may belong to another process long before the next signal is due.
#[test]
fn a_process_group_that_ends_unseen_is_found_gone_long_before_the_next_signal() {
    let mut config = Config::default();
    config.command.kill_after = Some(Duration::from_secs(20));
    let mut run = Run::plain(config);
    run.connect_to(true, false);
    run.settle();
    run.await_upgrades();
    run.world.borrow_mut().commands[0].grandchild = true;
    run.world.borrow_mut().exit_command(0, Exit::Status(0));
    run.settle();
    assert!(
        !run.world.borrow().commands[0].found_gone,
        "it has a member"
    );
    run.world.borrow_mut().exit_grandchild(0);
    run.wait(GROUP_PROBE);
    assert!(run.world.borrow().commands[0].found_gone);
}

// -- Several children exit at once ----------------------------------------------------------------

/// Two clients, each with its own command.
fn two_with_commands() -> Run {
    let mut run = Run::plain(Config::default());
    for _ in 0..2 {
        run.connect_to(true, false);
    }
    run.settle();
    run.await_upgrades();
    run
}

/// SIGCHLD names only the first of two. EOF on the output of the other is reason enough to reap it
/// too.
#[test]
fn clients_of_commands_that_exit_together_are_both_closed_at_once() {
    let mut run = two_with_commands();
    for index in 0..2 {
        run.world.borrow_mut().exit_command(index, Exit::Status(0));
    }
    run.settle();
    for index in 0..2 {
        run.receive(index, usize::MAX);
        let state = &run.clients[index].connection.state;
        assert_eq!(*state, State::Closed(1000, "exit 0".to_owned()), "{index}");
    }
}

/// Without EOF, because a grandchild holds the output, the sweep for coalesced signals finds it.
#[test]
fn commands_that_exit_together_are_both_reaped_within_the_reap_delay() {
    let mut run = two_with_commands();
    for index in 0..2 {
        let mut world = run.world.borrow_mut();
        world.commands[index].grandchild = true;
        world.exit_command(index, Exit::Status(0));
    }
    run.settle();
    assert_eq!(run.world.borrow().zombies.len(), 1, "SIGCHLD named one");
    run.now = run.now + REAP_DELAY_MAX;
    run.settle();
    assert_eq!(run.world.borrow().zombies.len(), 0);
}

/// One sweep serves any number of orphans.
#[test]
fn many_orphans_that_exit_together_cause_one_probe_of_each_group() {
    let mut run = Run::with_command(|command| command.grandchild = true);
    {
        let mut world = run.world.borrow_mut();
        world.exit_command(0, Exit::Status(0));
        let orphans = (0..1000).map(|n| (90_000 + n, Exit::Signal(9)));
        world.zombies.extend(orphans);
    }
    run.settle();
    let zombies = run.world.borrow().zombies.len();
    assert_eq!(zombies, 1000, "SIGCHLD named the command");
    run.now = run.now + REAP_DELAY_MAX;
    let (mut turns, mut probed) = (0, 0);
    while !run.world.borrow().zombies.is_empty() {
        run.turn();
        turns += 1;
        probed += run.world.borrow().probed;
    }
    assert_eq!(probed, 1);
    // A turn that runs out of time leaves the rest to the next one. At first the timer may wait.
    assert!(turns > 2, "{turns} turns");
}

/// A process of the server's user may send SIGCHLD as fast as the server reads it.
#[test]
fn a_flood_of_signals_is_spread_over_turns() {
    let mut run = Run::plain(Config::default());
    {
        let mut world = run.world.borrow_mut();
        let flood = (0..2000).map(|n| SignalEvent::ChildEnded(90_000 + n));
        world.signals.extend(flood);
        world.edge(Source::Signals, Readiness::READABLE);
    }
    // No further edge announces the rest.
    let turns = run.turn_until(|world| world.signals.is_empty());
    assert!(turns > 2, "{turns} turns");
    assert_ne!(run.next, Next::Poll);
}

// -- Jobs -----------------------------------------------------------------------------------------

const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn one_scan_finds_the_jobs_of_all_commands_that_exit_together() {
    let mut run = two_with_commands();
    for index in 0..2 {
        let mut world = run.world.borrow_mut();
        world.commands[index].job = true;
        world.exit_command(index, Exit::Status(0));
    }
    run.settle();
    run.wait(10 * MILLISECOND);
    assert_eq!(run.world.borrow().scan_parts, 2, "one scan of two parts");
    assert_eq!(run.server.census().processes, 2, "they have jobs");
    run.wait(2 * SECOND);
    assert!(run.world.borrow().commands.iter().all(|it| !it.job));
    assert_eq!(run.server.census().processes, 0);
}

/// A command that exits by itself leaves its entry until the next scan, and scans have to wait for each
/// other.
#[test]
fn scans_for_jobs_are_rare_however_many_commands_exit() {
    let mut run = Run::plain(Config::default());
    (0..30).for_each(|_| run.connect_to(true, false));
    // Only some commands start in a turn.
    while run.world.borrow().commands.len() < 30 {
        run.settle();
    }
    run.await_upgrades();
    for index in 0..30 {
        run.world.borrow_mut().exit_command(index, Exit::Status(0));
        run.settle();
        run.wait(MILLISECOND);
    }
    let scans = run.world.borrow().scan_parts / 2;
    assert!((1..=2).contains(&scans), "{scans} scans in 30 ms");
    run.wait(SECOND);
    assert_eq!(run.server.census().processes, 0);
}

#[test]
fn a_signal_for_jobs_does_not_reach_a_command_that_was_given_the_pid() {
    let mut run = two_with_commands();
    run.world.borrow_mut().commands[1].ignores = true;
    run.leave_by(1, Leave::GoingAway, false);
    run.settle();
    // SIGINT is due to the second command, and its jobs are looked for.
    while run.world.borrow().scan_parts == 0 {
        run.wait(MILLISECOND);
    }
    assert!(run.world.borrow().commands[1].group_signalled);
    run.world.borrow_mut().exit_command(1, Exit::Status(0));
    run.settle();
    run.connect_to(true, false);
    run.settle();
    let pid = |index: usize| run.world.borrow().commands[index].pid;
    assert_eq!(pid(2), pid(1));
    // The world checks each signal.
    run.world.borrow_mut().commands[2].job = true;
    run.wait(SECOND);
    assert!(run.world.borrow().commands[2].job);
    assert!(run.world.borrow().scan_parts >= 2);
}

/// A client that takes responses slowly keeps its socket full for longer than the write time-out:
/// bytes that its TCP acknowledges keep it, until the total time for so few bytes has passed. A
/// client that takes nothing is dropped by the write time-out. Requests that it sends do not change
/// that.
#[test]
fn a_slow_client_of_pages_is_kept_for_a_time_and_a_stuck_one_dropped() {
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // The server answers as many at once as fit into 2000 bytes, and the rest when there is room.
    for (count, goes_on) in [(10, false), (5, true), (100, false)] {
        for takes in [true, false] {
            let mut run = Run::with_requests(&request.repeat(count));
            let write_timeout = run.shape.config.clients.write_timeout;
            let mut is_there_after = |steps| {
                for _ in 0..steps {
                    run.wait(write_timeout.mul_f32(0.05));
                    if run.world.borrow().wires[0].dropped_at.is_some() {
                        return false;
                    }
                    if takes {
                        run.world.borrow_mut().wires[0].downstream.drain(..2);
                    }
                    if goes_on {
                        run.world.borrow_mut().wires[0].send(request);
                        run.world.borrow_mut().report(0);
                    }
                }
                true
            };
            assert!(is_there_after(19));
            assert!(!takes || is_there_after(5), "it takes bytes");
            // The server looks a quarter of the time-out after the first bytes.
            assert!(!is_there_after(3));
        }
    }
}

/// The write time-out of a page begins with its request, not with the connection.
#[test]
fn the_write_timeout_of_a_page_begins_with_its_request() {
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

/// A client that still takes the last bytes is not idle, although the server has nothing to send. But
/// it has no more time for them than their number allows.
#[test]
fn a_client_that_takes_its_last_page_slowly_is_not_idle() {
    for takes_all in [true, false] {
        let mut run = Run::with_requests(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let idle_timeout = run.shape.config.clients.http_idle_timeout;
        for _ in 0..2 {
            run.wait(idle_timeout.mul_f32(0.9));
            run.world.borrow_mut().wires[0].downstream.drain(..10);
        }
        assert_eq!(run.world.borrow().wires[0].dropped_at, None);
        for _ in 0..11 {
            let mut world = run.world.borrow_mut();
            match takes_all {
                true => world.wires[0].downstream.clear(),
                false => drop(world.wires[0].downstream.drain(..1)),
            }
            drop(world);
            run.wait(idle_timeout.mul_f32(0.1));
        }
        assert!(run.world.borrow().wires[0].dropped_at.is_some());
    }
}

/// A closed client that takes a few bytes now and then does not hold its connection: neither one
/// that the server has closed, nor one that has closed, nor one whose last page is queued.
#[test]
fn a_client_that_takes_the_last_bytes_slowly_is_dropped_in_time() {
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for case in ["closed by the server", "closed by the client", "a page"] {
        let config = Config {
            clients: ClientLimits {
                session_timeout: (case == "closed by the server").then_some(SECOND),
                ..ClientLimits::default()
            },
            ..Config::default()
        };
        let mut run = match case {
            "a page" => Run::with_requests(request),
            _ => {
                let mut run = Run::plain(config);
                run.connect_to(false, false);
                run.await_upgrades();
                run.take_all(500);
                let mut world = run.world.borrow_mut();
                world.wires[0].send(&frame(true, 2, &[7; 1500]));
                world.report(0);
                drop(world);
                run.settle();
                run
            }
        };
        if case == "closed by the client" {
            let mut world = run.world.borrow_mut();
            world.wires[0].close(&frame(true, 8, &[]));
            world.report(0);
            drop(world);
            run.settle();
        }
        let ClientLimits {
            close_timeout,
            write_timeout,
            ..
        } = run.shape.config.clients;
        let start = run.now;
        while run.now < start + close_timeout + write_timeout {
            assert_eq!(run.world.borrow().wires[0].dropped_at, None, "{case}");
            run.world.borrow_mut().wires[0].downstream.drain(..1);
            run.wait(SECOND);
        }
        run.wait(3 * SECOND);
        assert!(run.world.borrow().wires[0].dropped_at.is_some(), "{case}");
    }
}

/// Bytes that it took before count as progress only until the server next looks: after a quarter of
/// the write time-out, or when the close time-out expires. That holds while the client is not read
/// because its queue is full, and while it closes.
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
        // It takes 500 bytes, and then none of the next 100.
        run.take_all(100);
        run.settle();
        let write_timeout = run.shape.config.clients.write_timeout;
        run.wait(write_timeout.mul_f32(0.95));
        assert_eq!(run.world.borrow().wires[0].dropped_at, None);
        run.wait(write_timeout.mul_f32(0.35));
        assert!(run.world.borrow().wires[0].dropped_at.is_some());
    }
}
