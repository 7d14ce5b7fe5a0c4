//! A server and everybody around it: how a turn of it goes, and how all of it comes to its end.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use wspipe::context::Context;
use wspipe::event_loop::instant::Instant;
use wspipe::event_loop::{Handler, Next};
use wspipe::http::answer::Site;
use wspipe::http::policy::Policy;
use wspipe::http::routes::Offer;
use wspipe::limits::{PIPE_LEN_MAX, RESTART_DELAY_MAX};
use wspipe::linux::log_sink;
use wspipe::log::Level;
use wspipe::log::Log;
use wspipe::server::Server;
use wspipe::server::{Command, Commands};

use crate::checks::Watch;
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
    /// Up to when the server was told what happened.
    pub heard: Instant,
    /// The same in the turn before, which has come to its deadlines, or left them over for the last.
    pub heard_before: Instant,
    pub now: Instant,
    pub next: Next,
    pub shape: Rc<Shape>,
    pub watch: Watch,
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
            offer: Offer::Demo { shell: true },
            command_names: vec!["sh".into()],
            binary: false,
            json: shape.has_tags(),
            linger: shape.config.command.resume,
            subprotocols: Vec::new(),
            policy: Policy::new(vec![], false, vec![], String::new(), true).unwrap(),
        };
        let now = Instant::EPOCH;
        let log = Log::new(log_sink::stderr(), Level::Error);
        let cx = Context::new(shape.config.clients.clone(), log, now);
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
        let mut server = Server::new(Sim(world.clone()), site, commands, &shape.config, cx);
        server.begin();
        Self {
            world,
            server,
            clients: Vec::new(),
            random,
            turned_at: Instant::EPOCH,
            heard: Instant::EPOCH,
            heard_before: Instant::EPOCH,
            now,
            next: Next::Wait(None),
            shape,
            watch: Watch::default(),
        }
    }

    pub fn advance_to(&mut self, instant: Instant) {
        self.now = self.now.max(instant);
        self.world.borrow_mut().now = self.now;
    }

    pub fn say(&self, what: std::fmt::Arguments<'_>) {
        if self.shape.trace {
            eprintln!("{what}");
        }
    }

    /// One turn: the edges so far, in any order, are the batch.
    pub fn turn(&mut self) {
        let mut edges = std::mem::take(&mut self.world.borrow_mut().edges);
        self.say(format_args!("turn at {:?}", self.now - Instant::EPOCH));
        self.begin_watch();
        self.world.borrow_mut().begin_turn(self.now);
        self.server.begin_turn(self.now);
        while !edges.is_empty() {
            let (source, readiness) = edges.swap_remove(self.random.below(edges.len()));
            self.say(format_args!("  edge {source:?} {readiness:?}"));
            self.server.on_ready(source.into(), readiness);
        }
        self.heard_before = self.heard;
        // What happened since the last turn may be told in the next one only.
        self.heard = match self.random.one_in(2) {
            true => self.now,
            false => self.turned_at,
        };
        self.turned_at = self.now;
        self.next = self.server.end_turn(self.heard);
        self.check_turn();
    }

    /// Whether the server has nothing to do before something happens or its deadline comes.
    pub fn is_at_rest(&self) -> bool {
        let waits = match self.next {
            Next::Poll => false,
            Next::Wait(deadline) => deadline.is_none_or(|at| at > self.now),
            Next::Stop => true,
        };
        waits && self.world.borrow().edges.is_empty()
    }

    /// Lets the server do all that it can without anything new happening.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            self.turn();
            if self.next == Next::Stop || self.is_at_rest() {
                return;
            }
        }
        panic!("the server never comes to rest");
    }

    /// Everybody takes what there is for them, and goes on with what they have begun.
    fn everybody_acts(&mut self) {
        for index in 0..self.clients.len() {
            self.deliver(index, usize::MAX);
            self.receive(index, usize::MAX);
        }
        let mut world = self.world.borrow_mut();
        for index in 0..world.commands.len() {
            world.work(index, usize::MAX);
            // Where nobody signals them, those that were left behind end by themselves.
            if self.shape.config.command.kill_after.is_none() {
                world.end_grandchild(index);
            }
        }
    }

    /// The same until nobody has anything more to do, although every deadline came that comes within
    /// `patience`.
    fn drain(&mut self, patience: Duration) {
        let until = self.now + patience;
        for _ in 0..10_000 {
            let before = self.world.borrow().progress;
            self.everybody_acts();
            self.settle();
            if self.world.borrow().progress > before {
                continue;
            }
            match self.next {
                Next::Wait(Some(deadline)) if deadline <= until => self.advance_to(deadline),
                _ => return,
            }
        }
        panic!("there is no end of what they have to do");
    }

    /// Whoever stays gets everything; whoever has left leaves nothing behind.
    pub fn finish(&mut self) {
        /// Longer than any prompt waits.
        const PATIENCE: Duration = Duration::from_secs(4);
        if !self.world.borrow().shutting_down {
            for index in 0..self.clients.len() {
                if self.random.one_in(2) {
                    self.come_back(index);
                }
            }
            self.drain(PATIENCE);
            self.check_deliveries();
            for index in 0..self.clients.len() {
                self.leave(index);
            }
            // A Close may stand behind messages that a slow command has still to read.
            self.drain(PATIENCE);
            self.check_last_messages();
            if self.shape.config.command.shared.is_some() {
                // It goes on without clients.
                self.await_restart();
                self.world.borrow_mut().shut_down();
            }
        }
        self.wait_for_the_end();
        self.check_nothing_is_left();
    }

    /// A shared command that has ended comes back, whatever happened.
    fn await_restart(&mut self) {
        {
            let world = &mut *self.world.borrow_mut();
            world.failing_forks = 0;
            world.failing_watches = 0;
            // One that could not be watched was never started, as far as the server knows.
            let has_started = world.commands.iter().any(|command| command.id.is_some());
            if !self.shape.config.command.restart || !has_started {
                return;
            }
        }
        // What a grandchild holds is ended by the ladder first.
        self.drain(RESTART_DELAY_MAX + Duration::from_secs(2));
        let world = self.world.borrow();
        let runs = world.commands.last().is_some_and(|last| last.alive);
        assert!(runs, "the shared command does not come back");
    }

    /// A while of nothing but the server's own deadlines.
    fn wait_for_the_end(&mut self) {
        let start = self.now;
        for _ in 0..1000 {
            self.settle();
            if self.next == Next::Stop {
                break;
            }
            self.everybody_acts();
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
