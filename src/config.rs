//! Every limit and time-out of the server: its name, its unit, its default.
//!
//! [`Config`] holds what an option can change (`cli.rs` reads the options, `wspipe --help` lists
//! them). Below it stand the constants that no option changes. No other file invents a limit.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use crate::http::proxy::Network;
use crate::ladder::Signal;

/// What the server serves, on which addresses, and within which limits.
///
/// Sizes are in bytes. Every time-out is longer than zero, unless its text says otherwise, and at
/// most [`DURATION_MAX`], so adding one to an `Instant` cannot overflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What a client gets at every path that nothing below takes.
    pub mode: Mode,
    /// What is served at certain paths, each path once. Default: nothing.
    pub routes: Vec<Route>,
    /// The directory whose programs are served, each at its path. Default: none.
    pub directory: Option<PathBuf>,

    /// The addresses to listen on, at least one and each only once. Default: 127.0.0.1 alone.
    pub addresses: Vec<IpAddr>,
    /// The TCP port, on every address. 0: one free port, the same on all. Default: 8080.
    pub port: u16,
    /// How many connections the kernel holds before they are accepted: the argument of
    /// `listen(2)`, at least 1. Default: 4096 (the kernel cuts it to `net.core.somaxconn`).
    pub backlog: i32,

    /// Origins let in beside the server's own, as they were given. Default: none.
    pub origins: Vec<String>,
    /// Whether every origin is let in; `origins` is then empty. Default: no.
    pub any_origin: bool,
    /// Host names that are the server's own beside those that always are. Default: none.
    pub allow_hosts: Vec<String>,
    /// Sub-protocols the server agrees to speak (RFC 6455, section 1.9). Default: none.
    pub subprotocols: Vec<String>,
    /// Whether the demo's shell is for the server's own user only. Default: yes.
    pub same_user: bool,

    /// The longest message taken from a client, at least 1. Default: 1 MiB.
    pub message_len_max: usize,
    /// The longest line or record the command may print, without what ends it; a longer one ends
    /// the session. `None`: any length, in bounded memory. Default: `None`.
    pub line_len_max: Option<usize>,
    /// How many bytes may be queued, each way, before reading from the other side pauses.
    /// Default: 64 KiB.
    pub high_water: usize,
    /// How the command's pipes and the client's messages correspond. Default: lines.
    pub framing: Framing,
    /// What becomes of the `\r` of a line that ends in `\r\n`. Default: it is taken off.
    pub crlf: Crlf,
    /// How long a line may stay unfinished (a prompt) until it is sent as a message of its own; 0:
    /// not at all. `None`: until it is finished. Default: `None`.
    pub flush: Option<Duration>,
    /// Where the command's stderr goes. Default: merged into stdout (`cli.rs` makes it the log
    /// where the framing is not lines: a warning must not get into a record).
    pub stderr: Stderr,

    /// The environment variables that a command inherits; no others. Default: `PATH`, `LANG`,
    /// `TZ`, `HOME`.
    pub passenv: Vec<OsString>,
    /// How long after its client has left a command is killed. The earlier signals come at
    /// fractions of it; 0: killed at once; `None`: never, its stdin is closed and the server
    /// waits. Default: 1 s.
    pub kill_after: Option<Duration>,
    /// The first of those signals. Default: SIGINT.
    pub first_signal: Signal,
    /// Variables that a command gets beside those that it inherits, the later of two with the same
    /// name. Default: none.
    pub setenv: Vec<(OsString, OsString)>,
    /// The directory in which a command starts, and from which a relative name of its file
    /// counts; `None`: the server's own. Default: `None`.
    pub cwd: Option<PathBuf>,
    /// The permission bits that are taken from the files that a command makes (umask(2)), at most
    /// 0o777; `None`: as the server was started with. Default: `None`.
    pub umask: Option<u32>,
    /// The nice value of a command, -20 to 19 (setpriority(2)), and of its session where the kernel
    /// shares the processor out by sessions (autogroups, sched(7)); `None`: that of the server.
    /// Default: `None`.
    pub nice: Option<i32>,
    /// The resource limits of a command, soft and hard, each resource at most once. Default: those
    /// that the server was started with.
    pub rlimits: Vec<(Resource, Limit)>,
    /// Whether a command, and whatever it starts, can gain no privileges by exec (prctl(2),
    /// PR_SET_NO_NEW_PRIVS): set-user-ID programs such as sudo then have no effect. Default: no.
    pub no_new_privs: bool,

    /// The user, by name or number, that the server becomes once it listens. Default: none.
    pub user: Option<String>,
    /// The group, by name or number, that it becomes then; `None`: the user's own. Default:
    /// `None`.
    pub group: Option<String>,
    /// The peers that are proxies, and believed when they say whom they speak for. Default: none.
    pub trusted_proxies: Vec<Network>,

    /// Whether one command serves all clients. Default: each has its own.
    pub shared: Option<Shared>,
    /// How many of a shared command's last messages a newcomer gets. Default: none.
    pub replay: usize,
    /// How much is kept of what a command with `--shared` or `--linger` has printed last, at least
    /// 1 KiB. Default: 1 MiB.
    pub replay_len_max: usize,
    /// Whether a shared command that has ended is started again. Default: no, but for the next
    /// client.
    pub restart: bool,
    /// How long a command waits for a client that was lost. Default: not at all.
    pub linger: Option<Duration>,

    /// Whether the server ends after its first client. Default: no.
    pub once: bool,
    /// Whether the server ends when its last client has left. Default: no.
    pub exit_when_idle: bool,
    /// The most clients at once, each a WebSocket until its connection is gone; at least 1.
    /// Default: as many as there are descriptors for.
    pub clients_max: Option<usize>,
    /// The most clients at once from one IP address, at least 1. Default: any number.
    pub clients_per_ip_max: Option<usize>,
    /// The most commands at once, those that are being ended among them; at least 1.
    /// Default: 1024.
    pub processes_max: usize,
    /// How many commands may be started in a second, at least 1. Default: any number.
    pub spawn_rate: Option<u32>,
    /// How long a client may stay. Default: any time.
    pub session_timeout: Option<Duration>,
    /// How long a client may stay without a message either way. Default: any time.
    pub idle_timeout: Option<Duration>,

    /// The longest request head, its empty line included. Default: 8 KiB.
    pub head_len_max: usize,
    /// The most header fields in a request head. Default: 64.
    pub headers_max: usize,
    /// The time from the first byte of a request head to its last. Default: 10 s.
    pub head_timeout: Duration,
    /// How long a connection may wait for its next request. Default: 60 s.
    pub http_idle_timeout: Duration,

    /// After how long a silence a ping is sent, and how long after that the next. Shorter than
    /// `pong_timeout`. Default: 25 s.
    pub ping_interval: Duration,
    /// After how long a silence the client is given up. Default: 60 s.
    pub pong_timeout: Duration,
    /// How long a client may take nothing of what is queued for it. Default: 60 s.
    pub write_timeout: Duration,
    /// The time for the closing handshake and for the end of TCP after it. Default: 10 s.
    pub close_timeout: Duration,
    /// The time for everything to end after SIGTERM; 0: none. Default: 10 s.
    pub drain_timeout: Duration,

    /// The least important lines that are still logged. Default: info.
    pub log_level: Level,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::Demo,
            routes: Vec::new(),
            directory: None,
            addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            port: 8080,
            backlog: 4096,
            origins: Vec::new(),
            any_origin: false,
            allow_hosts: Vec::new(),
            subprotocols: Vec::new(),
            same_user: true,
            message_len_max: 1024 * 1024,
            line_len_max: None,
            high_water: 64 * 1024,
            framing: Framing::Lines,
            crlf: Crlf::Strip,
            flush: None,
            stderr: Stderr::Merge,
            passenv: ["PATH", "LANG", "TZ", "HOME"].map(OsString::from).to_vec(),
            kill_after: Some(Duration::from_secs(1)),
            first_signal: Signal::Interrupt,
            setenv: Vec::new(),
            cwd: None,
            umask: None,
            nice: None,
            rlimits: Vec::new(),
            no_new_privs: false,
            user: None,
            group: None,
            trusted_proxies: Vec::new(),
            shared: None,
            replay: 0,
            replay_len_max: 1024 * 1024,
            restart: false,
            linger: None,
            once: false,
            exit_when_idle: false,
            clients_max: None,
            clients_per_ip_max: None,
            processes_max: 1024,
            spawn_rate: None,
            session_timeout: None,
            idle_timeout: None,
            head_len_max: 8 * 1024,
            headers_max: 64,
            head_timeout: Duration::from_secs(10),
            http_idle_timeout: Duration::from_secs(60),
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            close_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
            log_level: Level::Info,
        }
    }
}

impl Config {
    /// Whether anything that is served is a command.
    pub fn has_commands(&self) -> bool {
        let is_command = |route: &Route| route.target != Target::Echo;
        matches!(self.mode, Mode::Demo | Mode::Command(_))
            || self.directory.is_some()
            || self.routes.iter().any(is_command)
    }
}

/// What a client gets at every path that no route takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The console page at `/`, an echo at `/echo`, a shell (`sh`) at `/ws`.
    Demo,
    /// This command, its name first, at every path; never empty.
    Command(Vec<OsString>),
    /// Its own messages, at every path.
    Echo,
    /// Nothing: there are only routes, a directory, or both.
    Routes,
}

/// What is served at a path and below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The path, not percent-encoded and without a final `/`; empty: every path.
    pub path: String,
    /// What a client gets there.
    pub target: Target,
}

/// What a client gets at a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Its own messages.
    Echo,
    /// This command, its name first; never empty.
    Command(Vec<OsString>),
}

/// How bytes of a pipe and messages of a WebSocket correspond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A line is a text message, and a message is a line.
    Lines,
    /// What one read returns is a binary message, and a message is written as it is.
    Raw,
    /// What stands before a NUL is a text message, and a NUL is written behind a message.
    Null,
    /// Five bytes with its kind and length stand before each message, in both directions.
    Length,
}

impl Framing {
    /// The framing's name, as `--framing` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::Raw => "raw",
            Self::Null => "null",
            Self::Length => "length",
        }
    }
}

/// What becomes of the `\r` of a line that the command ends in `\r\n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crlf {
    /// It is part of the line's end, and taken off with it.
    Strip,
    /// It is part of the line.
    Keep,
}

/// When a command that serves all clients is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shared {
    /// With the first client.
    Lazy,
    /// With the server.
    Eager,
}

/// Where the stderr of a command goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stderr {
    /// Into the same pipe as stdout, so that the order of the two holds.
    Merge,
    /// Line by line into the server's log.
    Log,
    /// To `/dev/null`.
    Drop,
    /// To the client, as stdout: each line is a JSON message that says which of the two it is from.
    Json,
}

/// What a process may use only so much of (getrlimit(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Its address space, in bytes.
    As,
    /// The size of a core dump, in bytes.
    Core,
    /// Processor time, in seconds.
    Cpu,
    /// Its data segment, heap and private mappings, in bytes.
    Data,
    /// The size of a file that it writes, in bytes.
    Fsize,
    /// Open descriptors, and one more.
    Nofile,
    /// Processes of its user, those of others' starting too.
    Nproc,
    /// Its stack, in bytes.
    Stack,
}

impl Resource {
    /// Every resource with its name, as `--rlimit` takes it.
    pub const NAMES: [(&str, Resource); 8] = [
        ("as", Resource::As),
        ("core", Resource::Core),
        ("cpu", Resource::Cpu),
        ("data", Resource::Data),
        ("fsize", Resource::Fsize),
        ("nofile", Resource::Nofile),
        ("nproc", Resource::Nproc),
        ("stack", Resource::Stack),
    ];

    /// Its name, as `--rlimit` takes it.
    pub fn name(self) -> &'static str {
        let entry = Self::NAMES.iter().find(|(_, resource)| *resource == self);
        entry.map_or("", |(name, _)| name)
    }
}

/// How much of a [`Resource`] there may be: so many bytes, seconds or pieces, or `None`, any.
pub type Limit = Option<u64>;

/// How important a log line is; the most important is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The server cannot do what it is there for.
    Error,
    /// Something is wrong that a person should put right.
    Warn,
    /// One line for each connection, at its end.
    Info,
    /// Each step of a connection, and what a peer did wrong.
    Debug,
}

impl Level {
    /// The level's name, as `--log-level` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// The longest time any option takes: one day, within the range of every system call that is
/// handed one (`poll(2)` and `TCP_USER_TIMEOUT` count milliseconds in 31 and 32 bits).
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The largest size any option takes: 1 GiB. It fits a 32-bit `usize`, also when doubled.
pub const SIZE_MAX: usize = 1024 * 1024 * 1024;

/// Bytes of the one buffer into which every socket and pipe is read. More is read at once where it
/// has come, and no more is waited for; from 128 KiB on the allocators take memory for it that counts
/// only once it is written to.
pub const SCRATCH_LEN: usize = 256 * 1024;

/// How many bytes one source may have read in a turn, before the others have theirs; the read that
/// reaches it may go beyond. Long chunks of a client's messages count for a quarter, for they are as
/// much less work than short ones. So a message of 1 MiB, the default of `--max-message`, is echoed in
/// one turn, its header too: in several, with those of others between them, it took three quarters
/// more of the processor.
pub const READ_BUDGET: usize = 320 * 1024;

/// How many connections one listener may accept in a turn, before the others have theirs.
pub const ACCEPTS_PER_TURN: usize = 64;

/// How long accepting pauses when descriptors ran out (EMFILE, ENFILE): the edge that announced
/// the waiting connection is spent, so nothing but the clock asks again.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The longest pipe that a command can have made without privileges (`fs.pipe-max-size`, pipe(7)).
pub const PIPE_LEN_MAX: usize = 1024 * 1024;

/// How often it is looked whether a process group is gone that is not signalled
/// (`--kill-after=never`).
pub const GROUP_PROBE: Duration = Duration::from_secs(1);

/// How many commands may be started in a turn, before the others have theirs: to start one takes
/// the time of hundreds of messages.
pub const SPAWNS_PER_TURN: usize = 8;

/// How long a child that has ended may stay unreaped. A signal of the kernel's names one of those
/// that have ended since the last; for the others all children are asked for, which takes the
/// longer the more there are, and is therefore done at most so often.
pub const REAP_DELAY_MAX: Duration = Duration::from_millis(50);

/// How many pipelined requests of one connection are answered in a turn.
pub const REQUESTS_PER_TURN: usize = 64;

/// How long after its end a shared command is started again, at first; each time that it ends
/// soon after its start doubles it, up to [`RESTART_DELAY_MAX`].
pub const RESTART_DELAY_MIN: Duration = Duration::from_millis(250);

/// The longest wait before a shared command is started again. One that ran for longer than this
/// begins with the shortest wait again.
pub const RESTART_DELAY_MAX: Duration = Duration::from_secs(30);

/// How many events one `epoll_wait` returns at most: the batch of a turn.
pub const BATCH_LEN: usize = 1024;

/// How many empty buffers the pool keeps for the next outbox that needs one.
pub const POOL_BUFFERS_MAX: usize = 16;

/// A buffer that grew beyond this many bytes is freed, not kept in the pool. What waits in an
/// outbox is seldom more: a default high-water mark and a scratch buffer full, with their headers.
pub const POOL_BUFFER_LEN_MAX: usize = 64 * 1024 + SCRATCH_LEN + 1024;

/// A line or message of a command's that is longer than this many bytes goes out in fragments of so
/// much (RFC 6455, section 5.4), with `--stderr=json` in several messages; what one read of a plain
/// stream returned stays whole. An echo goes out as soon as so much of it has come.
pub const FRAGMENT_LEN: usize = 64 * 1024;

/// From how many bytes on a chunk is long. On its way to a socket that is free it is not copied: a
/// call more costs less than that. And a client's counts for less of the [`READ_BUDGET`].
pub const LONG_LEN: usize = 32 * 1024;

/// How much of a command's output is read at once with `--stderr=json`. An empty line of one byte
/// becomes a message of 31, so that a scratch buffer full of them would queue eight megabytes.
pub const JSON_READ_LEN: usize = 4 * 1024;

/// A log line is cut at this many bytes, its newline included. `PIPE_BUF` on Linux: so much is
/// written to a pipe in one piece or not at all.
pub const LOG_LINE_LEN_MAX: usize = 4096;

/// Of what a peer supplied, a log line shows this many bytes.
pub const LOG_ESCAPED_LEN_MAX: usize = 256;

/// Limits of the system under which fewer clients than this can be served at once deserve a warning
/// at start. The usual hard limit of 1,024 descriptors is enough for it, so a small device is quiet.
pub const CLIENTS_EXPECTED: u32 = 200;

/// The descriptors that serve no client: the standard three, the loop's, those that are kept or
/// opened for a moment so that commands can start, and some to spare.
pub const RESERVED_DESCRIPTORS: u32 = 32;

// One read must not be more than a turn's budget, and an escaped peer's text (four bytes for one, at
// worst) must leave room in its log line.
const _: () = assert!(SCRATCH_LEN <= READ_BUDGET);
const _: () = assert!(JSON_READ_LEN <= SCRATCH_LEN);
const _: () = assert!(4 * LOG_ESCAPED_LEN_MAX < LOG_LINE_LEN_MAX);
const _: () = assert!(SIZE_MAX <= isize::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_healthy_client_is_pinged_before_it_is_given_up() {
        let config = Config::default();
        assert!(2 * config.ping_interval < config.pong_timeout);
    }

    #[test]
    fn the_default_head_fits_the_scratch_buffer() {
        assert!(Config::default().head_len_max <= SCRATCH_LEN);
    }
}
