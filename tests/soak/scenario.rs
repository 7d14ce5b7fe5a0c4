//! A server, its clients, and what it must hold when they have gone.

use std::collections::HashSet;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clients::{ends_the_shared, somebody_everywhere};
use crate::programs::{ECHOES, ENDS, OTHERS, Speech, install};
use crate::session::Session;
use crate::support::{
    Client, Launch, Process, Random, Request, Response, Server, TIMEOUT, TempDir, Wire, anonymous,
    processes_with, wait_until,
};

/// How many clients come and go at a time.
const WORKERS: u64 = 6;

/// How long a round may take before what is held is looked at.
const ROUND_MAX: Duration = Duration::from_secs(60);

/// How much more memory a round may leave than the first one did. What the server keeps for reuse
/// is bounded, 16 buffers of 193 KiB, but the first round need not have filled it. Nothing else may
/// stay, so a longer run finds a smaller leak.
const GROWTH_MAX: u64 = 16 * 193 * 1024;

/// Lets glibc's allocator give back at once what is large, and not keep it by what it has learnt
/// meanwhile (mallopt(3)): the server's own memory is to be seen.
const ALLOCATOR: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.malloc.mmap_threshold=131072:glibc.malloc.trim_threshold=131072",
);

/// For how long a client that is answered 503 comes again: a shared command may be waited for.
const BUSY_MAX: Duration = Duration::from_secs(45);

/// Time-outs that are short, so that much happens, and yet longer than a busy machine may keep a
/// client from running that does what it should.
const OPTIONS: [&str; 8] = [
    "--ping-interval=200ms",
    "--pong-timeout=3s",
    "--write-timeout=3s",
    "--close-timeout=1s",
    "--head-timeout=1s",
    "--http-idle-timeout=1s",
    "--max-message=256k",
    "--drain-timeout=10s",
];

const COMMAND_OPTIONS: [&str; 2] = ["--kill-after=400ms", "--max-processes=100"];

/// What it is called in a report, how often it comes in comparison to others, and what it does.
pub(crate) type Behaviour = (&'static str, usize, fn(&mut Visit<'_>));

/// A server that is to be soaked.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    speech: Speech,
    options: &'static [&'static str],
    behaviours: Vec<Behaviour>,
}

/// What happened so far.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) clients: AtomicU64,
    pub(crate) refused: AtomicU64,
    /// Messages whose content was checked.
    pub(crate) messages: AtomicU64,
    /// Connections whose end is awaited, while those who left them go on.
    waits: Mutex<Vec<JoinHandle<()>>>,
    /// The most that were seen at once.
    children: AtomicU64,
    descriptors: AtomicU64,
    memory: AtomicU64,
}

/// One client's doings, and what it needs for them.
pub(crate) struct Visit<'a> {
    pub(crate) server: &'a Server,
    pub(crate) speech: Speech,
    /// Whether all clients have one command.
    pub(crate) shared: bool,
    /// Whether a command waits for its client.
    pub(crate) lingers: bool,
    /// This visit's alone.
    pub(crate) random: Random,
    /// A number that no other visit has.
    pub(crate) number: u64,
    pub(crate) tally: &'a Tally,
}

/// What the server has when nobody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holdings {
    memory: u64,
    descriptors: usize,
    children: usize,
}

/// Says what went wrong where, and stops the others.
struct Witness<'a> {
    what: String,
    stop: &'a AtomicBool,
}

impl Scenario {
    pub(crate) fn new(
        name: &'static str,
        speech: Speech,
        options: &'static [&'static str],
    ) -> Scenario {
        Scenario {
            name,
            speech,
            options,
            behaviours: Vec::new(),
        }
    }

    /// With clients that do this, too.
    pub(crate) fn with(mut self, behaviours: &[Behaviour]) -> Scenario {
        self.behaviours.extend(behaviours);
        self
    }

    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|it| it.starts_with(option))
    }

    /// Lets clients come and go, looks at what they leave, and ends the server while there are some.
    pub(crate) fn run(&self) {
        let (seed, time) = (seed(), time());
        let mark = format!(
            "WSPIPE_SOAK_MARK={}-{}-{seed}",
            self.name,
            std::process::id()
        );
        let folder = TempDir::new();
        let mut server = self.start(&folder, &mark);
        let running = Running {
            scenario: self,
            // A schedule of its own for each.
            seed: self
                .name
                .bytes()
                .fold(seed, |it, byte| it.rotate_left(8) ^ u64::from(byte)),
            mark: &mark,
            idle: Holdings::of(&server),
        };
        eprintln!(
            "soak {}: WSPIPE_SOAK_SEED={seed}, at first {}",
            self.name, running.idle
        );
        let warm_up = (time / 4).min(ROUND_MAX);
        let first = running.round(&server, 0, warm_up);
        let rounds = (time - warm_up).div_duration_f64(ROUND_MAX).ceil().max(1.0) as u32;
        for number in 1..=rounds {
            let last = running.round(&server, u64::from(number), (time - warm_up) / rounds);
            let growth = last.memory.saturating_sub(first.memory);
            assert!(
                growth < GROWTH_MAX,
                "soak {}: the memory grew by {growth} bytes since round 0",
                self.name
            );
        }
        running.end(&mut server);
    }

    fn start(&self, folder: &TempDir, mark: &str) -> Server {
        let mut args = [&OPTIONS[..], self.options].concat();
        let setenv = format!("--setenv={mark}");
        let mut command = Vec::new();
        if self.speech != Speech::Echo {
            command = install(folder, self.speech, self.has("--shared"));
            args.extend(COMMAND_OPTIONS);
            args.push(&setenv);
        }
        args.extend(command.iter().map(String::as_str));
        Launch::new(&args).env(ALLOCATOR.0, ALLOCATOR.1).start()
    }
}

/// A scenario whose server runs.
struct Running<'a> {
    scenario: &'a Scenario,
    seed: u64,
    /// In the environment of every command.
    mark: &'a str,
    idle: Holdings,
}

impl Running<'_> {
    /// Lets clients come and go for so long, and returns what the server holds afterwards.
    fn round(&self, server: &Server, round: u64, time: Duration) -> Holdings {
        let start = Instant::now();
        let tally = Tally::default();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for worker in 0..WORKERS {
                let (tally, stop) = (&tally, &stop);
                scope.spawn(move || {
                    let mut number = round << 40 | worker << 32;
                    while !stop.load(Ordering::Relaxed) {
                        self.visit_once(server, tally, number, stop);
                        number += 1;
                    }
                });
            }
            while start.elapsed() < time && !stop.load(Ordering::Relaxed) {
                tally.look(server);
                thread::sleep(Duration::from_millis(50));
            }
            stop.store(true, Ordering::Relaxed);
        });
        for wait in tally.waits.lock().expect("no panic").drain(..) {
            wait.join().expect("the server ends the connection");
        }
        if self.scenario.has("--shared") {
            ends_the_shared(&mut self.visit(server, &tally, u64::MAX - 1));
        }
        let held = self.settle(server);
        eprintln!(
            "soak {}: round {round}, {:.1} s: {tally}, then {held}",
            self.scenario.name,
            start.elapsed().as_secs_f32()
        );
        held
    }

    /// One visit, that of this number.
    fn visit_once(&self, server: &Server, tally: &Tally, number: u64, stop: &AtomicBool) {
        let mut visit = self.visit(server, tally, number);
        let behaviours = &self.scenario.behaviours;
        let mut draw = visit
            .random
            .below(behaviours.iter().map(|(_, weight, _)| weight).sum());
        let is_drawn = |(_, weight, _): &&Behaviour| {
            let drawn = draw < *weight;
            draw = draw.wrapping_sub(*weight);
            drawn
        };
        let (name, _, action) = behaviours.iter().find(is_drawn).expect("one of them");
        let _witness = Witness {
            what: format!(
                "soak {}: client {number:#x}, which {name}, met something wrong",
                self.scenario.name
            ),
            stop,
        };
        action(&mut visit);
    }

    fn visit<'a>(&self, server: &'a Server, tally: &'a Tally, number: u64) -> Visit<'a> {
        Visit {
            server,
            speech: self.scenario.speech,
            shared: self.scenario.has("--shared"),
            lingers: self.scenario.has("--resume"),
            random: Random::stream_of(self.seed, number),
            number,
            tally,
        }
    }

    /// Waits until nothing is there that was not there when nobody had come yet, and says what is.
    fn settle(&self, server: &Server) -> Holdings {
        // One command that all share may be there, with its stdin and its stdout.
        let children_max = usize::from(self.scenario.has("--shared"));
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let strays = self.strays(&server.children());
            let held = Holdings::of(server);
            let descriptors = self.idle.descriptors + 2 * held.children;
            if strays.is_empty() && held.children <= children_max && held.descriptors == descriptors
            {
                return held;
            }
            if Instant::now() > deadline {
                for stray in &strays {
                    let _ = kill(Pid::from_raw(stray.pid), Signal::SIGKILL);
                }
                panic!(
                    "soak {}: {held} are left of {}, and {strays:?}",
                    self.scenario.name, self.idle
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What commands have started and left behind.
    fn strays(&self, children: &[Process]) -> Vec<Process> {
        let children: HashSet<i32> = children.iter().map(|child| child.pid).collect();
        let mut marked = processes_with(self.mark);
        marked.retain(|process| !children.contains(&process.pid));
        marked
    }

    /// Asks the server to end while there is somebody everywhere: it does, and nothing is left.
    fn end(&self, server: &mut Server) {
        let tally = Tally::default();
        let clients = somebody_everywhere(&mut self.visit(server, &tally, u64::MAX - 2));
        server.signal(Signal::SIGTERM);
        let status = server.exit_status();
        assert_eq!(status.code(), Some(0), "soak {}", self.scenario.name);
        drop(clients);
        let log = server.log_text();
        let pids = log
            .split("pid=")
            .skip(1)
            .filter_map(|rest| rest.split(' ').next());
        eprintln!(
            "soak {}: {} commands, the server has ended",
            self.scenario.name,
            pids.collect::<HashSet<_>>().len()
        );
        wait_until("nothing is left of any command", || {
            self.strays(&[]).is_empty()
        });
    }
}

impl Visit<'_> {
    /// A path of those that there are.
    pub(crate) fn anywhere(&mut self) -> String {
        if self.shared || self.speech == Speech::Echo {
            return "/".into();
        }
        let paths = [&["/numbers"][..], &OTHERS].concat();
        let paths: Vec<&str> = (paths.into_iter())
            .chain(ECHOES.iter().map(|(path, _)| *path))
            .chain(ENDS.iter().map(|(path, _, _)| *path))
            .collect();
        paths[self.random.below(paths.len())].into()
    }

    /// A client of the command at `path`.
    #[track_caller]
    pub(crate) fn open(&mut self, path: &str) -> Session {
        let mut request = self.server.upgrade(path);
        if self.lingers && self.random.one_in(2) {
            request = request.add("Sec-WebSocket-Protocol", &offer(&self.token(), None));
        }
        self.open_as(&request)
    }

    /// The name of a session that no other has.
    pub(crate) fn token(&mut self) -> String {
        format!("{:016x}{:016x}", self.random.next(), self.number)
    }

    #[track_caller]
    pub(crate) fn open_as(&mut self, request: &Request) -> Session {
        Session::new(self.client(request, Server::connect), self.speech)
    }

    /// A client for which the kernel keeps little.
    #[track_caller]
    pub(crate) fn open_with_small_buffers(&mut self, path: &str) -> Client {
        let request = self.server.upgrade(path);
        self.client(&request, |server| {
            Wire::connect_with_small_buffers(server.address())
        })
    }

    #[track_caller]
    fn client(&mut self, request: &Request, connect: impl Fn(&Server) -> Wire) -> Client {
        let deadline = Instant::now() + BUSY_MAX;
        loop {
            let mut wire = connect(self.server);
            wire.send(&request.to_bytes());
            let response = Response::read(&mut wire, false);
            if response.status == 101 {
                Tally::add(&self.tally.clients, 1);
                return Client::new(wire, response);
            }
            assert_eq!(response.status, 503, "{}", response.text());
            assert!(Instant::now() < deadline, "{}", response.text());
            Tally::add(&self.tally.refused, 1);
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The sub-protocols by which a session is begun, or is taken up again after so many messages.
pub(crate) fn offer(token: &str, received: Option<usize>) -> String {
    match received {
        None => format!("wspipe.session.{token}.0"),
        Some(received) => format!("wspipe.session.{token}.{received}, wspipe.resume"),
    }
}

impl Tally {
    /// Awaits the end of a connection, but not at once.
    pub(crate) fn await_end(&self, mut client: Client) {
        let wait = thread::spawn(move || client.wire.expect_gone());
        self.waits.lock().expect("no panic").push(wait);
    }

    pub(crate) fn add(count: &AtomicU64, more: u64) {
        count.fetch_add(more, Ordering::Relaxed);
    }

    /// What is there now, of which the most will be told.
    fn look(&self, server: &Server) {
        let held = Holdings::of(server);
        for (most, now) in [
            (&self.children, held.children as u64),
            (&self.descriptors, held.descriptors as u64),
            (&self.memory, held.memory),
        ] {
            most.fetch_max(now, Ordering::Relaxed);
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let most = Holdings {
            memory: count(&self.memory),
            descriptors: count(&self.descriptors) as usize,
            children: count(&self.children) as usize,
        };
        let (clients, refused) = (count(&self.clients), count(&self.refused));
        let messages = count(&self.messages);
        write!(
            f,
            "{clients} clients, {refused} refused, {messages} messages, at most {most}"
        )
    }
}

impl Holdings {
    fn of(server: &Server) -> Holdings {
        Holdings {
            memory: anonymous(server.pid()),
            children: server.children().len(),
            descriptors: server.descriptors(),
        }
    }
}

impl fmt::Display for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Holdings {
            memory,
            descriptors,
            children,
        } = self;
        let memory = memory / 1024;
        write!(
            f,
            "{memory} kB, {descriptors} descriptors, {children} children"
        )
    }
}

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.what);
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// Whether this scenario is to be run.
pub(crate) fn is_wanted(scenario: &Scenario) -> bool {
    let only = std::env::var("WSPIPE_SOAK_ONLY");
    only.map_or(true, |name| name == scenario.name)
}

/// How long the test takes, but for what has to end by itself after each round.
fn time() -> Duration {
    let given = std::env::var("WSPIPE_SOAK_SECONDS").ok();
    let seconds = given.map(|text| text.parse().expect("WSPIPE_SOAK_SECONDS: a number"));
    Duration::from_secs(seconds.unwrap_or(2))
}

fn seed() -> u64 {
    let given = std::env::var("WSPIPE_SOAK_SEED").ok();
    let seed = given.map(|text| text.parse().expect("WSPIPE_SOAK_SEED: a number"));
    seed.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(1, |since| since.as_nanos() as u64)
    })
}
