//! A server under test, its clients, and what it may hold when they are gone.

use std::collections::HashSet;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::behaviours::{clients_everywhere, exits_the_shared_command};
use crate::command_client::CommandClient;
use crate::programs::{ECHOES, EXITS, Format, OTHERS, install};
use crate::support::{
    Client, Launch, Process, Random, Request, Response, Server, TIMEOUT, TempDir, Wire, anonymous,
    processes_with, wait_until,
};

/// The number of clients at a time.
const WORKERS: u64 = 6;

/// The longest round. After each one, what the server holds is checked.
const ROUND_MAX: Duration = Duration::from_secs(60);

/// How many bytes more a round may leave than the first one did. The server keeps up to 16 buffers
/// of 193 KiB for reuse, and the first round need not have filled them. Nothing else may stay, so a
/// longer run finds a smaller leak.
const GROWTH_MAX: u64 = 16 * 193 * 1024;

/// Makes glibc's allocator return large blocks at once, without thresholds that adapt (mallopt(3)),
/// so that the figures show the server's own memory.
const ALLOCATOR: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.malloc.mmap_threshold=131072:glibc.malloc.trim_threshold=131072",
);

/// How long a client that gets 503 tries again: a shared command may have to be restarted first.
const BUSY_MAX: Duration = Duration::from_secs(45);

/// Short time-outs, so that much happens, but longer than a busy machine may delay a well-behaved
/// client.
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

/// Its name in a report, its weight, and what the client does.
pub(crate) type Behaviour = (&'static str, usize, fn(&mut Actor<'_>));

/// A kind of server, and what its clients do.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    format: Format,
    options: &'static [&'static str],
    behaviours: Vec<Behaviour>,
}

/// Counts of the events so far.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) clients: AtomicU64,
    pub(crate) refused: AtomicU64,
    /// Messages whose content was checked.
    pub(crate) messages: AtomicU64,
    /// Threads that wait until the server closes a connection, while the client goes on.
    waits: Mutex<Vec<JoinHandle<()>>>,
    /// The highest numbers seen at once.
    children: AtomicU64,
    descriptors: AtomicU64,
    memory: AtomicU64,
}

/// One client: the server that it talks to, and its random numbers.
pub(crate) struct Actor<'a> {
    pub(crate) server: &'a Server,
    pub(crate) format: Format,
    /// Whether all clients share one command.
    pub(crate) shared: bool,
    /// Whether sessions are resumable.
    pub(crate) is_resumable: bool,
    /// Of this client alone.
    pub(crate) random: Random,
    /// A number that no other client has.
    pub(crate) number: u64,
    pub(crate) tally: &'a Tally,
}

/// The memory, descriptors and children of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Usage {
    memory: u64,
    descriptors: usize,
    children: usize,
}

/// Reports which client failed, and stops the others.
struct FailureReport<'a> {
    what: String,
    stop: &'a AtomicBool,
}

impl Scenario {
    pub(crate) fn new(
        name: &'static str,
        format: Format,
        options: &'static [&'static str],
    ) -> Scenario {
        Scenario {
            name,
            format,
            options,
            behaviours: Vec::new(),
        }
    }

    /// Adds clients with these behaviours.
    pub(crate) fn with(mut self, behaviours: &[Behaviour]) -> Scenario {
        self.behaviours.extend(behaviours);
        self
    }

    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|it| it.starts_with(option))
    }

    /// Runs rounds of clients, checks what each leaves behind, and stops the server in the midst of
    /// clients.
    pub(crate) fn run(&self) {
        let (seed, duration) = (seed(), duration());
        let mark = format!(
            "WSPIPE_SOAK_MARK={}-{}-{seed}",
            self.name,
            std::process::id()
        );
        let folder = TempDir::new();
        let mut server = self.start(&folder, &mark);
        let running = Running {
            scenario: self,
            // Each scenario has its own schedule.
            seed: self
                .name
                .bytes()
                .fold(seed, |it, byte| it.rotate_left(8) ^ u64::from(byte)),
            mark: &mark,
            idle: Usage::of(&server),
        };
        eprintln!(
            "soak {}: WSPIPE_SOAK_SEED={seed}, at first {}",
            self.name, running.idle
        );
        let warm_up = (duration / 4).min(ROUND_MAX);
        let first = running.round(&server, 0, warm_up);
        let rounds = (duration - warm_up)
            .div_duration_f64(ROUND_MAX)
            .ceil()
            .max(1.0) as u32;
        for number in 1..=rounds {
            let last = running.round(&server, u64::from(number), (duration - warm_up) / rounds);
            let growth = last.memory.saturating_sub(first.memory);
            assert!(
                growth < GROWTH_MAX,
                "soak {}: the memory grew by {growth} bytes since round 0",
                self.name
            );
        }
        running.shut_down(&mut server);
    }

    fn start(&self, folder: &TempDir, mark: &str) -> Server {
        let mut args = [&OPTIONS[..], self.options].concat();
        let setenv = format!("--setenv={mark}");
        let mut command = Vec::new();
        if self.format != Format::Echo {
            command = install(folder, self.format, self.has("--shared"));
            args.extend(COMMAND_OPTIONS);
            args.push(&setenv);
        }
        args.extend(command.iter().map(String::as_str));
        Launch::new(&args).env(ALLOCATOR.0, ALLOCATOR.1).start()
    }
}

/// A scenario with its server.
struct Running<'a> {
    scenario: &'a Scenario,
    seed: u64,
    /// In the environment of every command.
    mark: &'a str,
    idle: Usage,
}

impl Running<'_> {
    /// Runs clients for `time`. Returns what the server holds afterwards.
    fn round(&self, server: &Server, round: u64, time: Duration) -> Usage {
        let start = Instant::now();
        let tally = Tally::default();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for worker in 0..WORKERS {
                let (tally, stop) = (&tally, &stop);
                scope.spawn(move || {
                    let mut number = round << 40 | worker << 32;
                    while !stop.load(Ordering::Relaxed) {
                        self.run_client(server, tally, number, stop);
                        number += 1;
                    }
                });
            }
            while start.elapsed() < time && !stop.load(Ordering::Relaxed) {
                tally.record(server);
                thread::sleep(Duration::from_millis(50));
            }
            stop.store(true, Ordering::Relaxed);
        });
        for wait in tally.waits.lock().expect("no thread panicked").drain(..) {
            wait.join().expect("the server closes the connection");
        }
        if self.scenario.has("--shared") {
            exits_the_shared_command(&mut self.actor(server, &tally, u64::MAX - 1));
        }
        let held = self.settle(server);
        eprintln!(
            "soak {}: round {round}, {:.1} s: {tally}, then {held}",
            self.scenario.name,
            start.elapsed().as_secs_f32()
        );
        held
    }

    /// Runs the client with this number.
    fn run_client(&self, server: &Server, tally: &Tally, number: u64, stop: &AtomicBool) {
        let mut actor = self.actor(server, tally, number);
        let behaviours = &self.scenario.behaviours;
        let mut draw = actor
            .random
            .below(behaviours.iter().map(|(_, weight, _)| weight).sum());
        let is_drawn = |(_, weight, _): &&Behaviour| {
            let drawn = draw < *weight;
            draw = draw.wrapping_sub(*weight);
            drawn
        };
        let (name, _, action) = behaviours
            .iter()
            .find(is_drawn)
            .expect("the weights add up");
        let _report = FailureReport {
            what: format!(
                "soak {}: client {number:#x}, which {name}, failed",
                self.scenario.name
            ),
            stop,
        };
        action(&mut actor);
    }

    fn actor<'a>(&self, server: &'a Server, tally: &'a Tally, number: u64) -> Actor<'a> {
        Actor {
            server,
            format: self.scenario.format,
            shared: self.scenario.has("--shared"),
            is_resumable: self.scenario.has("--resume"),
            random: Random::stream_of(self.seed, number),
            number,
            tally,
        }
    }

    /// Waits until the server holds no more than before the first client. Returns what it holds.
    fn settle(&self, server: &Server) -> Usage {
        // A shared command may be there, with its stdin and stdout.
        let children_max = usize::from(self.scenario.has("--shared"));
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let strays = self.strays(&server.children());
            let held = Usage::of(server);
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
                    "soak {}: the server holds {held}, at first {}; stray processes: {strays:?}",
                    self.scenario.name, self.idle
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Processes that commands started and left behind.
    fn strays(&self, children: &[Process]) -> Vec<Process> {
        let children: HashSet<i32> = children.iter().map(|child| child.pid).collect();
        let mut marked = processes_with(self.mark);
        marked.retain(|process| !children.contains(&process.pid));
        marked
    }

    /// Asks the server to stop while clients are at every path: it exits, and no process is left.
    fn shut_down(&self, server: &mut Server) {
        let tally = Tally::default();
        let clients = clients_everywhere(&mut self.actor(server, &tally, u64::MAX - 2));
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
            "soak {}: {} commands, the server has stopped",
            self.scenario.name,
            pids.collect::<HashSet<_>>().len()
        );
        wait_until("no process of a command is left", || {
            self.strays(&[]).is_empty()
        });
    }
}

impl Actor<'_> {
    /// One of the paths that exist.
    pub(crate) fn any_path(&mut self) -> String {
        if self.shared || self.format == Format::Echo {
            return "/".into();
        }
        let paths = [&["/numbers"][..], &OTHERS].concat();
        let paths: Vec<&str> = (paths.into_iter())
            .chain(ECHOES.iter().map(|(path, _)| *path))
            .chain(EXITS.iter().map(|(path, _, _)| *path))
            .collect();
        paths[self.random.below(paths.len())].into()
    }

    /// A client of the command at `path`.
    #[track_caller]
    pub(crate) fn open(&mut self, path: &str) -> CommandClient {
        let mut request = self.server.upgrade(path);
        if self.is_resumable && self.random.one_in(2) {
            request = request.add("Sec-WebSocket-Protocol", &offer(&self.token(), None));
        }
        self.open_as(&request)
    }

    /// A session token that no other client has.
    pub(crate) fn token(&mut self) -> String {
        format!("{:016x}{:016x}", self.random.next(), self.number)
    }

    #[track_caller]
    pub(crate) fn open_as(&mut self, request: &Request) -> CommandClient {
        CommandClient::new(self.client(request, Server::connect), self.format)
    }

    /// A client with small socket buffers.
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

/// The sub-protocols that begin a session, or resume it after `received` messages.
pub(crate) fn offer(token: &str, received: Option<usize>) -> String {
    match received {
        None => format!("wspipe.session.{token}.0"),
        Some(received) => format!("wspipe.session.{token}.{received}, wspipe.resume"),
    }
}

impl Tally {
    /// Waits in the background until the server closes the connection.
    pub(crate) fn await_close(&self, mut client: Client) {
        let wait = thread::spawn(move || client.wire.expect_gone());
        self.waits.lock().expect("no thread panicked").push(wait);
    }

    pub(crate) fn add(count: &AtomicU64, more: u64) {
        count.fetch_add(more, Ordering::Relaxed);
    }

    /// Records what the server holds now, if that is a maximum.
    fn record(&self, server: &Server) {
        let held = Usage::of(server);
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
        let most = Usage {
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

impl Usage {
    fn of(server: &Server) -> Usage {
        Usage {
            memory: anonymous(server.pid()),
            children: server.children().len(),
            descriptors: server.descriptors(),
        }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Usage {
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

impl Drop for FailureReport<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.what);
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// Whether to run this scenario.
pub(crate) fn is_selected(scenario: &Scenario) -> bool {
    let only = std::env::var("WSPIPE_SOAK_ONLY");
    only.map_or(true, |name| name == scenario.name)
}

/// How long the test takes, apart from what has to finish after each round.
fn duration() -> Duration {
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
