//! The servers to measure: wspipe, the limit servers, and the peers that are installed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::commands::IDLE_PATH;
use crate::limit::{self, Pipe};

/// The role of a server in a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Echo each message, text or binary.
    Echo { text: bool },
    /// Run this command for each client; a line is a text message.
    Lines(&'static [&'static str]),
    /// The same, for clients that come one after the other with short commands.
    Connects(&'static [&'static str]),
    /// Run this command for each client; its output is binary.
    Binary(&'static [&'static str]),
    /// Run this command for each client, which reads what the client sends.
    Upload(&'static [&'static str]),
    /// Run one command for all clients. It prints this number of lines each time it is asked.
    Shared(usize),
}

/// Prints `hi` and exits; at [`IDLE_PATH`] it waits for EOF on its stdin.
pub(crate) const HI_OR_IDLE: [&str; 3] = [
    "sh",
    "-c",
    "[ \"$PATH_INFO\" = /idle ] && exec cat; echo hi",
];
const _: () = assert!(IDLE_PATH.len() == "/idle".len());

/// With this argument this program is the shared command; the next one is the number of lines.
pub(crate) const PRINT: &str = "--print";

impl Role {
    /// The command.
    fn words(self) -> Vec<OsString> {
        match self {
            Role::Echo { .. } => Vec::new(),
            Role::Shared(burst) => {
                let program = std::env::current_exe().unwrap_or_default();
                vec![program.into(), PRINT.into(), burst.to_string().into()]
            }
            Role::Lines(words)
            | Role::Connects(words)
            | Role::Binary(words)
            | Role::Upload(words) => words.iter().map(OsString::from).collect(),
        }
    }

    /// The command in a process session of its own, for servers that do not start one. Linux
    /// divides a core among sessions first (sched(7), autogroup): a command in the server's session
    /// on the server's core is interrupted more often, and its output read in smaller pieces,
    /// whatever the server does. `Connects` goes without, since setsid would be a second program
    /// for each client.
    fn words_in_session(self) -> Vec<OsString> {
        let mut words = self.words();
        if !matches!(self, Role::Connects(_)) && !words.is_empty() {
            words.insert(0, "setsid".into());
        }
        words
    }
}

/// A server that can be measured.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    /// The program, or why it is absent and how to get it.
    pub(crate) program: Result<PathBuf, String>,
    command: fn(&Path, Role, u16) -> Option<Command>,
}

impl Contestant {
    /// The command that starts it, if it supports the role.
    pub(crate) fn command(&self, role: Role, port: u16) -> Option<Command> {
        (self.command)(self.program.as_deref().ok()?, role, port)
    }

    /// Whether it supports the role, installed or not.
    pub(crate) fn can(&self, role: Role) -> bool {
        let program = self.program.as_deref().unwrap_or(Path::new("absent"));
        (self.command)(program, role, 0).is_some()
    }
}

/// The server that all others are compared with.
pub(crate) const LIMIT: &str = "limit";
/// The server that the bench is for.
pub(crate) const WSPIPE: &str = "wspipe";
/// Another build of it, for comparison.
pub(crate) const OTHER: &str = "other";

/// The folder of `benches/peers/install`.
pub(crate) fn peers_folder() -> PathBuf {
    // The server is in `target/release`, so two up is `target`.
    let target = Path::new(env!("CARGO_BIN_EXE_wspipe")).ancestors().nth(2);
    target.unwrap_or(Path::new("target")).join("peers")
}

/// All servers, and `other` if another build of wspipe is to be measured.
pub(crate) fn all(other: Option<&Path>) -> Vec<Contestant> {
    let peers = peers_folder();
    let installed = |path: &str| {
        let path = peers.join(path);
        if path.exists() {
            Ok(path)
        } else {
            Err("not installed: cargo bench --bench load -- --install-peers".to_owned())
        }
    };
    let mut all = vec![
        Contestant {
            name: LIMIT,
            program: std::env::current_exe().map_err(|error| error.to_string()),
            command: limit_server,
        },
        Contestant {
            name: WSPIPE,
            program: Ok(env!("CARGO_BIN_EXE_wspipe").into()),
            command: wspipe,
        },
        Contestant {
            name: "tungstenite",
            program: installed("build/release/tungstenite"),
            command: echo_on_port,
        },
        Contestant {
            name: "fastwebsockets",
            program: installed("build/release/fastwebsockets"),
            command: echo_on_port,
        },
        Contestant {
            name: "ws",
            program: installed("ws/ws.mjs").and_then(|script| in_path("node").map(|_| script)),
            command: ws,
        },
        Contestant {
            name: "websocketd",
            program: in_path("websocketd"),
            command: websocketd,
        },
        Contestant {
            name: "websocat",
            program: installed("websocat/bin/websocat"),
            command: websocat,
        },
    ];
    if let Some(program) = other {
        let other = Contestant {
            name: OTHER,
            program: Ok(program.to_owned()),
            command: wspipe,
        };
        all.insert(2, other);
    }
    all
}

fn in_path(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| format!("no {name} in PATH: Debian has a package of it"))
}

fn limit_server(program: &Path, role: Role, port: u16) -> Option<Command> {
    let mut command = Command::new(program);
    let kind = match role {
        Role::Echo { .. } => "echo",
        // It serves one client after the other, and ignores paths.
        Role::Connects(words) if words == HI_OR_IDLE => return None,
        Role::Lines(_) | Role::Connects(_) => Pipe::Lines.name(),
        Role::Binary(_) => Pipe::Raw.name(),
        Role::Upload(_) => Pipe::Upload.name(),
        Role::Shared(_) => limit::SHARED,
    };
    command.args(["--serve-limit", kind, &port.to_string()]);
    command.args(role.words_in_session());
    Some(command)
}

fn wspipe(program: &Path, role: Role, port: u16) -> Option<Command> {
    let mut command = Command::new(program);
    command.arg(format!("--port={port}"));
    // Log lines for each connection are not what is measured: every server is started quiet.
    command.arg("--log-level=error");
    // The default limit is below the number of idle clients.
    if !matches!(role, Role::Echo { .. }) {
        command.arg("--max-processes=20000");
    }
    match role {
        Role::Echo { .. } => command.args(["--echo", "--max-message=64M"]),
        Role::Lines(_) | Role::Connects(_) | Role::Upload(_) => command.arg("--"),
        Role::Binary(_) => command.args(["--binary", "--"]),
        Role::Shared(_) => command.args(["--shared", "--"]),
    };
    // wspipe starts each command in a process session of its own.
    command.args(role.words());
    Some(command)
}

fn echo_on_port(program: &Path, role: Role, port: u16) -> Option<Command> {
    let mut command = Command::new(program);
    command.arg(port.to_string());
    matches!(role, Role::Echo { .. }).then_some(command)
}

fn ws(script: &Path, role: Role, port: u16) -> Option<Command> {
    let mut command = Command::new("node");
    command.arg(script).arg(port.to_string());
    matches!(role, Role::Echo { .. }).then_some(command)
}

fn websocketd(program: &Path, role: Role, port: u16) -> Option<Command> {
    let mut command = Command::new(program);
    command.args(["--address=127.0.0.1", "--loglevel=error"]);
    command.arg(format!("--port={port}"));
    match role {
        // A process for each client, which says little about the server.
        Role::Echo { .. } | Role::Shared(_) => return None,
        Role::Binary(_) => drop(command.arg("--binary")),
        Role::Lines(_) | Role::Connects(_) | Role::Upload(_) => {}
    }
    command.args(role.words_in_session());
    Some(command)
}

fn websocat(program: &Path, role: Role, port: u16) -> Option<Command> {
    let mut command = Command::new(program);
    let (mode, overlay) = match role {
        Role::Echo { text } => {
            command.args(["-E", if text { "-t" } else { "-b" }]);
            command.args([format!("ws-l:127.0.0.1:{port}"), "mirror:".to_owned()]);
            return Some(command);
        }
        // It does not pass the path to its commands.
        Role::Connects(words) if words == HI_OR_IDLE => return None,
        Role::Lines(_) | Role::Connects(_) | Role::Upload(_) => ("-t", ""),
        Role::Binary(_) => ("-b", ""),
        Role::Shared(_) => ("-t", "broadcast:"),
    };
    let words = role.words_in_session();
    let program = words.first()?.to_str()?;
    command.args(["-E", mode]);
    command.arg(format!("ws-l:127.0.0.1:{port}"));
    command.arg(format!("{overlay}exec:{program}"));
    command.arg("--exec-args").args(&words[1..]);
    Some(command)
}
