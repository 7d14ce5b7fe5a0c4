//! The decisions of a seed: the configuration of a run, and the action of each step.

use std::time::Duration;

use wspipe::config::{
    ClientLimits, CommandSettings, Config, EndAt, Mode, ServerLimits, Shared, Stderr,
};
use wspipe::event_loop::Next;
use wspipe::event_loop::readiness::Readiness;
use wspipe::framing::Framing;
use wspipe::log::Level;
use wspipe::source::Source;

use crate::random::Random;
use crate::run::Run;
use crate::text::Rules;

/// The highest number of commands, in runs that limit it.
const LIMITED_PROCESSES: usize = 4;

/// The parameters of a run.
pub struct Shape {
    /// Multiplies the padding of texts. With 200, the texts under way exceed one turn's budget.
    pub scale: usize,
    pub steps: usize,
    /// Whether what clients send may arrive in pieces.
    pub dribbles: bool,
    /// The step in which the server is asked to shut down.
    shutdown_at: Option<usize>,
    pub config: Config,
    /// Whether to print what happens.
    pub trace: bool,
}

impl Shape {
    fn of(random: &mut Random) -> Shape {
        let framing = Framing::ALL[random.below(5)];
        let scale = if random.one_in(8) { 200 } else { 1 };
        let steps = match scale {
            1 => 20 + random.below(2000),
            _ => 20 + random.below(300),
        };
        let millis = |ms| Some(Duration::from_millis(ms));
        let flush = [None, None, millis(0), millis(50), millis(3000)][random.below(5)];
        // After a prompt the length of the line is counted from zero.
        let limits_lines = flush.is_none() && scale == 1 && random.one_in(8);
        let config = Config {
            mode: Mode::Demo,
            log_level: Level::Error,
            command: CommandSettings {
                framing,
                line_len_max: limits_lines.then_some(600),
                stderr: [Stderr::Merge, Stderr::Log][random.below(2)],
                flush,
                kill_after: [millis(1000), millis(1000), millis(0), None][random.below(4)],
                end_at: [EndAt::Exit, EndAt::Eof][random.below(2)],
                ..CommandSettings::default()
            },
            clients: ClientLimits {
                high_water: scale * [1, 500, 2000][random.below(3)],
                message_len_max: scale * 5000,
                ..ClientLimits::default()
            },
            ..Config::default()
        };
        let config = match random.below(4) {
            0 => Config {
                command: CommandSettings {
                    shared: Some([Shared::Lazy, Shared::Eager][random.below(2)]),
                    replay: [0, 1, 5, 100][random.below(4)],
                    restart: random.one_in(2),
                    ..config.command
                },
                ..config
            },
            1 => Config {
                command: CommandSettings {
                    resume: [millis(1), millis(700), millis(30_000)][random.below(3)],
                    ..config.command
                },
                ..config
            },
            _ => config,
        };
        // The stderr of a command that serves one client can go to the client too.
        let is_own = config.command.shared.is_none() && config.command.resume.is_none();
        let config = match is_own && framing.has_records() && random.one_in(3) {
            true => Config {
                command: CommandSettings {
                    stderr: Stderr::Json,
                    ..config.command
                },
                ..config
            },
            false => config,
        };
        // Half of the runs have limits.
        let config = match random.below(2) {
            0 => config,
            _ => Config {
                server: ServerLimits {
                    clients_max: Some(12),
                    clients_per_ip_max: Some(10),
                    processes_max: LIMITED_PROCESSES,
                    spawn_rate: Some(2),
                    ..config.server
                },
                clients: ClientLimits {
                    session_timeout: Some(Duration::from_secs(20)),
                    idle_timeout: Some(Duration::from_secs(3)),
                    ..config.clients
                },
                ..config
            },
        };
        // So little memory that clients are refused, paused and evicted.
        let memory_max = [4000, 20_000, 100_000][random.below(3)];
        let memory_max = random.one_in(6).then_some(scale * memory_max);
        // A newcomer then gets fewer of the last messages than this model expects.
        let memory_max = memory_max.filter(|_| config.command.replay == 0);
        let config = Config {
            server: ServerLimits {
                memory_max,
                ..config.server
            },
            ..config
        };
        Shape {
            scale,
            steps,
            dribbles: !random.one_in(3),
            shutdown_at: random.one_in(4).then(|| random.below(steps)),
            config,
            trace: std::env::var_os("WSPIPE_MODEL_TRACE").is_some(),
        }
    }

    /// The parameters of a scenario: nothing is random.
    pub fn plain(config: Config) -> Shape {
        Shape {
            scale: 1,
            steps: 0,
            dribbles: false,
            shutdown_at: None,
            trace: false,
            config: Config {
                mode: Mode::Demo,
                log_level: Level::Error,
                clients: ClientLimits {
                    high_water: 2000,
                    message_len_max: 5000,
                    ..config.clients
                },
                ..config
            },
        }
    }

    /// The lowest mark at which reading may pause: while memory is short, it is at most 4 KiB.
    pub fn least_high_water(&self) -> usize {
        let high_water = self.config.clients.high_water;
        match self.config.server.memory_max {
            Some(_) => high_water.min(4096),
            None => high_water,
        }
    }

    /// Whether each piece of a long message is a message. An unfinished line then delays neither a
    /// client that joins nor the other stream.
    pub fn splits(&self) -> bool {
        self.has_tags()
            || self.config.command.shared.is_some() && !self.config.command.framing.has_headers()
    }

    /// Whether each message names its stream, stdout or stderr.
    pub fn has_tags(&self) -> bool {
        self.config.command.stderr == Stderr::Json
    }

    /// How the output of a command becomes messages.
    pub fn rules(&self) -> Rules {
        let prompts =
            self.config.command.framing.has_records() && self.config.command.flush.is_some();
        Rules {
            framing: self.config.command.framing,
            pieces: self.splits() && !prompts,
            prompts,
            line_len_max: self.config.command.line_len_max.unwrap_or(usize::MAX),
        }
    }
}

impl Run {
    /// Runs the schedule of a seed from beginning to end.
    pub fn of_seed(seed: u64) {
        let mut random = Random::from_seed(seed);
        let shape = Shape::of(&mut random);
        let mut run = Run::new(shape, random);
        for step in 0..run.shape.steps {
            if run.shape.shutdown_at == Some(step) {
                run.world.borrow_mut().shut_down();
            }
            if run.next == Next::Stop {
                break;
            }
            run.step();
        }
        run.finish();
    }

    fn step(&mut self) {
        let clients = self.clients.len();
        match self.random.below(100) {
            0..6 => self.connect(),
            6..8 if clients > 0 => {
                let index = self.random.below(clients);
                self.leave(index);
            }
            8..11 if clients > 0 => {
                let index = self.random.below(clients);
                self.reconnect(index);
            }
            11..34 if clients > 0 => {
                let index = self.random.below(clients);
                self.send(index);
            }
            34..42 if clients > 0 => {
                let index = self.random.below(clients);
                let len = 1 + self.random.below(600 * self.shape.scale);
                self.deliver(index, len);
            }
            42..70 if clients > 0 => {
                let (index, len) = (self.random.below(clients), 1 + self.random.below(3000));
                self.receive(index, len);
            }
            70..95 => {
                let commands = self.world.borrow().commands.len();
                if commands > 0 {
                    // Prefer new commands, which have more to do.
                    let back = self.random.below(commands).min(self.random.below(commands));
                    let index = commands - 1 - back;
                    self.world.borrow_mut().act(index, &mut self.random);
                }
            }
            95 => self.fail(),
            96..98 => self.pass_time(),
            98 => self.be_spurious(),
            // The second signal stops the server at once.
            _ if self.world.borrow().shutting_down && self.random.one_in(4) => {
                self.world.borrow_mut().shut_down();
            }
            _ => {}
        }
        if self.random.one_in(3) {
            self.turn();
        }
    }

    /// Lets a system call fail soon.
    fn fail(&mut self) {
        let mut world = self.world.borrow_mut();
        match self.random.below(4) {
            0 => world.failing_accepts = 1 + self.random.below(20) as u32,
            1 => world.failing_registrations = 1,
            _ => world.failing_forks = 1,
        }
    }

    /// Lets time pass: until the server's next timer, or a random time that now and then exceeds
    /// every time-out.
    fn pass_time(&mut self) {
        match self.next {
            Next::Wait(Some(deadline)) if self.random.one_in(2) => {
                self.advance_to(deadline);
            }
            _ => {
                let far = if self.random.one_in(50) { 60 } else { 1 };
                let millis = self.random.below(2000) as u64 * far;
                self.advance_to(self.now + Duration::from_millis(millis));
            }
        }
    }

    /// Adds an edge that says nothing new, that is followed by nothing, or whose source is closed.
    fn be_spurious(&mut self) {
        let mut world = self.world.borrow_mut();
        let (wires, commands) = (world.wires.len(), world.commands.len());
        if wires > 0 {
            let wire = &world.wires[self.random.below(wires)];
            let (id, readiness) = (wire.id, wire.readiness());
            if let Some(id) = id {
                world.edge(Source::Client(id), readiness);
            }
        }
        if commands > 0
            && let Some(id) = world.commands[self.random.below(commands)].id
        {
            world.edge(Source::Stdin(id), Readiness::WRITABLE);
            world.edge(Source::Stdout(id), Readiness::READABLE);
        }
    }
}
