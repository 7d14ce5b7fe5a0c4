//! Settings of a route's commands: [`CommandSettings`], and the values they are made of.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::framing::{Crlf, Format, Framing};

/// How the commands of a route run: their messages, environment, termination and audience.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSettings {
    /// How bytes of the command's pipes correspond to messages. Default: lines.
    pub framing: Framing,
    /// What happens to the `\r` of a line that ends in `\r\n`. Default: it is stripped.
    pub crlf: Crlf,
    /// The longest line or record the command may print, without its terminator; a longer one
    /// closes the connection. `None`: any length, in bounded memory. Default: `None`.
    pub line_len_max: Option<usize>,
    /// How long a line may stay unfinished (a prompt) before it is sent as a message of its own;
    /// 0: not at all. `None`: until it is finished. Default: `None`.
    pub flush: Option<Duration>,
    /// Where the command's stderr goes. Default: merged into stdout; the command line makes it the
    /// log where the framing is not lines, so that a warning cannot corrupt a record.
    pub stderr: Stderr,

    /// The environment variables a command inherits; no others. Default: `PATH`, `LANG`,
    /// `LC_ALL`, `LC_CTYPE`, `TZ`, `HOME`.
    pub passenv: Vec<OsString>,
    /// Variables a command gets besides those it inherits; of two with the same name the later
    /// counts. Default: none.
    pub setenv: Vec<(OsString, OsString)>,
    /// The directory a command starts in, from which a relative program path counts; `None`: the
    /// server's own. Default: `None`.
    pub cwd: Option<PathBuf>,
    /// The permission bits removed from files a command creates (umask(2)), at most 0o777; `None`:
    /// as the server was started with. Default: `None`.
    pub umask: Option<u32>,
    /// The nice value of a command, -20 to 19 (setpriority(2)), and of its process session where
    /// the kernel divides the CPU by process sessions (autogroups, sched(7)); `None`: the server's.
    /// Default: `None`.
    pub nice: Option<i32>,
    /// Resource limits of a command, soft and hard, each resource at most once. Default: those the
    /// server was started with.
    pub rlimits: Vec<(Resource, ResourceLimit)>,
    /// Whether a command and its children are kept from gaining privileges by exec (prctl(2),
    /// PR_SET_NO_NEW_PRIVS); set-user-ID programs such as sudo then have no effect. Default: no.
    pub no_new_privs: bool,

    /// How long after its client has left a command is killed. The earlier signals come at
    /// fractions of it; 0: killed at once; `None`: never, its stdin is closed and the server waits.
    /// Default: 1 s.
    pub kill_after: Option<Duration>,
    /// The first signal of the escalation. Default: SIGINT.
    pub first_signal: Signal,

    /// When a connection ends whose command has exited. Default: at the exit.
    pub end_at: EndAt,

    /// Whether one command serves all clients. Default: each client has its own.
    pub shared: Option<Shared>,
    /// How many of a shared command's last messages a newcomer gets. Default: none.
    pub replay: usize,
    /// How many bytes of a command's latest output are kept with `--shared` or `--resume`, at least
    /// 1 KiB. Default: 1 MiB.
    pub replay_len_max: usize,
    /// Whether a shared command that has ended is started again by itself. Default: no, only for
    /// the next client.
    pub restart: bool,
    /// How long a command waits for its client to come back after the connection was lost. Default:
    /// not at all.
    pub resume: Option<Duration>,
}

impl Default for CommandSettings {
    fn default() -> Self {
        Self {
            framing: Framing::Lines,
            crlf: Crlf::Strip,
            line_len_max: None,
            flush: None,
            stderr: Stderr::Merge,
            passenv: ["PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "HOME"]
                .map(OsString::from)
                .to_vec(),
            setenv: Vec::new(),
            cwd: None,
            umask: None,
            nice: None,
            rlimits: Vec::new(),
            no_new_privs: false,
            kill_after: Some(Duration::from_secs(1)),
            first_signal: Signal::Interrupt,
            end_at: EndAt::Exit,
            shared: None,
            replay: 0,
            replay_len_max: 1024 * 1024,
            restart: false,
            resume: None,
        }
    }
}

impl CommandSettings {
    /// The settings for the framing layer.
    pub fn format(&self) -> Format {
        Format {
            framing: self.framing,
            crlf: self.crlf,
            line_len_max: self.line_len_max,
            tagged: self.stderr == Stderr::Json,
        }
    }
}

/// When a connection ends whose command has exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndAt {
    /// At the exit. Processes that the command left behind are terminated.
    Exit,
    /// When its output is at EOF: processes that the command left behind may print on.
    Eof,
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
    /// Into the same pipe as stdout, so that their order is kept.
    Merge,
    /// Line by line into the server's log.
    Log,
    /// To `/dev/null`.
    Drop,
    /// To the client, like stdout: each line becomes a JSON message that names its stream.
    Json,
}

/// A signal that asks a program to terminate (signal(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP: the terminal is gone. Some programs reload their configuration instead.
    Hangup,
    /// SIGINT: the signal of Ctrl-C.
    Interrupt,
    /// SIGQUIT: a graceful stop for some servers, a core dump for other programs.
    Quit,
    /// SIGABRT: terminate with a core dump.
    Abort,
    /// SIGUSR1: the program decides.
    User1,
    /// SIGUSR2: the program decides.
    User2,
    /// SIGALRM: a timer has expired.
    Alarm,
    /// SIGTERM: please terminate.
    Terminate,
    /// SIGWINCH: a graceful stop for Apache.
    Winch,
    /// SIGKILL: cannot be ignored.
    Kill,
}

impl Signal {
    /// Every signal with its name, as `--signal` takes it.
    pub(crate) const NAMES: [(&str, Signal); 10] = [
        ("HUP", Signal::Hangup),
        ("INT", Signal::Interrupt),
        ("QUIT", Signal::Quit),
        ("ABRT", Signal::Abort),
        ("USR1", Signal::User1),
        ("USR2", Signal::User2),
        ("ALRM", Signal::Alarm),
        ("TERM", Signal::Terminate),
        ("WINCH", Signal::Winch),
        ("KILL", Signal::Kill),
    ];
}

/// A resource whose use can be limited (getrlimit(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Address space, in bytes.
    As,
    /// The size of a core dump, in bytes.
    Core,
    /// CPU time, in seconds.
    Cpu,
    /// Data segment, heap and private mappings, in bytes.
    Data,
    /// The size of a file it writes, in bytes.
    Fsize,
    /// The highest descriptor number plus one.
    Nofile,
    /// Processes of its user, wherever they were started.
    Nproc,
    /// Stack, in bytes.
    Stack,
}

impl Resource {
    /// Every resource with its name, as `--rlimit` takes it.
    pub(crate) const NAMES: [(&str, Resource); 8] = [
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
    pub(crate) fn name(self) -> &'static str {
        let entry = Self::NAMES.iter().find(|(_, resource)| *resource == self);
        entry.map_or("", |(name, _)| name)
    }
}

/// The limit of a [`Resource`] in its unit; `None`: unlimited.
pub type ResourceLimit = Option<u64>;
