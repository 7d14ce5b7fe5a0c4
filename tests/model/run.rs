//! A server and its surroundings: how one turn goes, and how a run is brought to its end.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use wspipe::config::EndAt;
use wspipe::context::Context;
use wspipe::event_loop::instant::Instant;
use wspipe::event_loop::{Handler, Next};
use wspipe::http::answer::Site;
use wspipe::http::console_config::ConsoleConfig;
use wspipe::http::policy::Policy;
use wspipe::http::proxy::Proxies;
use wspipe::http::routes::Router;
use wspipe::limits::{PIPE_LEN_MAX, RESTART_DELAY_MAX};
use wspipe::linux::log_sink;
use wspipe::log::Level;
use wspipe::log::Log;
use wspipe::server::Server;
use wspipe::server::{Command, Commands};

use crate::checks::Tracker;
use crate::client::Client;
use crate::random::Random;
use crate::schedule::Shape;
use crate::system::Sim;
use crate::world::World;

pub struct Run {
    pub world: Rc<RefCell<World>>,
    pub server: Server<Sim>,
    pub clients: Vec<Client>,
    pub random: Random,
    /// When the last turn was.
    turned_at: Instant,
    /// Every event up to then has been delivered to the server.
    pub acted_until: Instant,
    /// The same one turn earlier. That turn fired the timers due by then, or left some for the
    /// next.
    pub acted_until_before: Instant,
    pub now: Instant,
    pub next: Next,
    pub shape: Rc<Shape>,
    pub tracker: Tracker,
}

impl Run {
    pub fn new(shape: Shape, mut random: Random) -> Self {
        let pipe_len = match shape.scale {
            1 => 300,
            _ => [8192, 65_536, PIPE_LEN_MAX][random.below(3)],
        };
        let shape = Rc::new(shape);
        let world = Rc::new(RefCell::new(World::new(shape.clone(), pipe_len)));
        let site = Site {
            router: Router::Demo { shell: true },
            console: ConsoleConfig {
                command_names: vec!["sh".into()],
                binary: false,
                json: shape.has_tags(),
                resume: shape.config.command.resume,
            },
            subprotocols: Vec::new(),
            policy: Policy::new(vec![], false, vec![], String::new(), true).unwrap(),
            proxies: Proxies::default(),
        };
        let now = Instant::EPOCH;
        let log = Log::new(log_sink::stderr(), Level::Error);
        let memory_max = shape.config.server.memory_max.unwrap_or(usize::MAX);
        let cx = Context::new(shape.config.clients.clone(), memory_max, log, now);
        if shape.trace {
            eprintln!("{:#?}", shape.config);
        }
        let command = Command {
            name: "sh".into(),
            words: Rc::from(["sh".into()]),
            settings: Rc::new(shape.config.command.clone()),
            same_user: shape.config.access.same_user,
        };
        let commands = Commands {
            list: vec![command],
            directory: None,
        };
        let mut server = Server::new(
            Sim(world.clone()),
            site,
            commands,
            shape.config.server.clone(),
            cx,
        );
        server.begin();
        Self {
            world,
            server,
            clients: Vec::new(),
            random,
            turned_at: Instant::EPOCH,
            acted_until: Instant::EPOCH,
            acted_until_before: Instant::EPOCH,
            now,
            next: Next::Wait(None),
            shape,
            tracker: Tracker::default(),
        }
    }

    pub fn advance_to(&mut self, instant: Instant) {
        self.now = self.now.max(instant);
        self.world.borrow_mut().now = self.now;
    }

    pub fn trace(&self, what: std::fmt::Arguments<'_>) {
        if self.shape.trace {
            eprintln!("{what}");
        }
    }

    /// Takes one turn. The edges since the last turn are the batch, in random order.
    pub fn turn(&mut self) {
        let mut edges = std::mem::take(&mut self.world.borrow_mut().edges);
        self.trace(format_args!("turn at {:?}", self.now - Instant::EPOCH));
        self.begin_tracking();
        self.world.borrow_mut().begin_turn(self.now);
        self.server.begin_turn(self.now);
        while !edges.is_empty() {
            let (source, readiness) = edges.swap_remove(self.random.below(edges.len()));
            self.trace(format_args!("  edge {source:?} {readiness:?}"));
            self.server.on_ready(source.into(), readiness);
        }
        self.acted_until_before = self.acted_until;
        // An event since the last turn may be delivered as late as in the next one.
        let delivered = match self.random.one_in(2) {
            true => self.now,
            false => self.turned_at,
        };
        self.turned_at = self.now;
        self.next = self.server.end_turn(delivered);
        // A turn that runs out of time has not acted on all events. Nothing may expire on them, and
        // the next turn goes on without sleeping.
        self.acted_until = self.server.acted_until();
        assert!((self.acted_until_before..=delivered).contains(&self.acted_until));
        assert!(self.acted_until == delivered || matches!(self.next, Next::Poll | Next::Stop));
        self.check_turn();
    }

    /// Whether the server has nothing to do until an event happens or a timer is due.
    pub fn is_at_rest(&self) -> bool {
        let waits = match self.next {
            Next::Poll => false,
            Next::Wait(deadline) => deadline.is_none_or(|at| at > self.now),
            Next::Stop => true,
        };
        waits && self.world.borrow().edges.is_empty()
    }

    /// Takes turns until the server is at rest, without any new event.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            self.turn();
            if self.next == Next::Stop || self.is_at_rest() {
                return;
            }
        }
        panic!("the server has work without end");
    }

    /// All clients and commands take what is there for them, and continue what they have begun.
    fn act_all(&mut self) {
        for index in 0..self.clients.len() {
            self.deliver(index, usize::MAX);
            self.receive(index, usize::MAX);
        }
        let mut world = self.world.borrow_mut();
        for index in 0..world.commands.len() {
            world.work(index, usize::MAX);
            // With `--kill-after=never` no signal ends a grandchild or a job, so they exit by themselves.
            if self.shape.config.command.kill_after.is_none() {
                world.commands[index].job = false;
                world.exit_grandchild(index);
            }
        }
    }

    /// Repeats that until nothing is left to do, firing each timer that is due within `horizon`.
    fn drain(&mut self, horizon: Duration) {
        let until = self.now + horizon;
        for _ in 0..10_000 {
            let before = self.world.borrow().progress;
            self.act_all();
            self.settle();
            if self.world.borrow().progress > before {
                continue;
            }
            match self.next {
                Next::Wait(Some(deadline)) if deadline <= until => self.advance_to(deadline),
                _ => return,
            }
        }
        panic!("the run never runs out of work");
    }

    /// Checks that clients that stay receive everything, and that clients that left leave nothing
    /// behind.
    pub fn finish(&mut self) {
        /// Longer than any prompt is held back.
        const HORIZON: Duration = Duration::from_secs(4);
        if !self.world.borrow().shutting_down {
            for index in 0..self.clients.len() {
                if self.random.one_in(2) {
                    self.reconnect(index);
                }
            }
            self.drain(HORIZON);
            self.check_deliveries();
            for index in 0..self.clients.len() {
                self.leave(index);
            }
            // A Close may wait behind messages that a slow command has not read yet.
            self.drain(HORIZON);
            self.check_last_messages();
            if self.shape.config.command.shared.is_some() {
                // A shared command runs on without clients.
                self.await_restart();
                self.world.borrow_mut().shut_down();
            }
        }
        self.run_to_the_end();
        self.check_nothing_is_left();
    }

    /// Checks that a shared command that exited is restarted, whatever failed in between.
    fn await_restart(&mut self) {
        {
            let world = &mut *self.world.borrow_mut();
            world.failing_forks = 0;
            world.failing_registrations = 0;
            // A command whose pipes could not be registered counts as never started.
            let has_started = world.commands.iter().any(|command| command.id.is_some());
            if !self.shape.config.command.restart || !has_started {
                return;
            }
        }
        // If a grandchild holds its pipes, it has to exit first, or the escalation to terminate it.
        if self.shape.config.command.end_at == EndAt::Eof {
            let mut world = self.world.borrow_mut();
            (0..world.commands.len()).for_each(|index| world.exit_grandchild(index));
        }
        self.drain(RESTART_DELAY_MAX + Duration::from_secs(2));
        let world = self.world.borrow();
        let runs = world.commands.last().is_some_and(|last| last.alive);
        assert!(runs, "the shared command was not restarted");
    }

    /// Fires the server's timers until it stops or has none, and checks how long that took.
    fn run_to_the_end(&mut self) {
        let start = self.now;
        for _ in 0..1000 {
            self.settle();
            if self.next == Next::Stop {
                break;
            }
            self.act_all();
            let Next::Wait(deadline) = self.next else {
                continue;
            };
            match deadline {
                Some(at) => self.advance_to(at),
                None if self.world.borrow().edges.is_empty() => break,
                None => {}
            }
        }
        self.check_time(self.now - start);
    }
}
