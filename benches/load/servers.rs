//! Who is measured: wspipe, the limit servers, and the peers as far as they are there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::commands::IDLE_PATH;
use crate::limit::{self, Pipe};

/// What a server is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Every message comes back, whether it is text or binary.
    Echo { text: bool },
    /// Runs this command for every client; text, a line a message.
    Lines(&'static [&'static str]),
    /// The same with a command that is started again and again, and soon ends.
    Visits(&'static [&'static str]),
    /// Runs this command for every client; what it prints is binary.
    Binary(&'static [&'static str]),
    /// Runs this command for every client, which reads what the client sends.
    Upload(&'static [&'static str]),
    /// Runs one command for all clients, which prints so many lines each time it is asked.
    Shared(usize),
}

/// Says `hi` and ends, but at [`IDLE_PATH`] waits for the end of its input.
pub(crate) const HI_OR_IDLE: [&str; 3] = [
    "sh",
    "-c",
    "[ \"$PATH_INFO\" = /idle ] && exec cat; echo hi",
];
const _: () = assert!(IDLE_PATH.len() == "/idle".len());

/// The word that has this program print what all clients share, as many lines as the next says.
pub(crate) const PRINT: &str = "--print";

impl Role {
    /// Its command.
    fn words(self) -> Vec<OsString> {
        match self {
            Role::Echo { .. } => Vec::new(),
            Role::Shared(burst) => {
                let program = std::env::current_exe().unwrap_or_default();
                vec![program.into(), PRINT.into(), burst.to_string().into()]
            }
            Role::Lines(words)
            | Role::Visits(words)
            | Role::Binary(words)
            | Role::Upload(words) => words.iter().map(OsString::from).collect(),
        }
    }

    /// Its command, in a session of its own for a server that does not see to that. Linux divides a
    /// core among sessions first (sched(7), autogroup). On a core that it shares with its server a
    /// command is interrupted more often then, and its output read in smaller pieces, which has
    /// little to do with how the server reads. Who starts one command after the other would start
    /// two programs for each, so there it stays as it is.
    fn words_in_session(self) -> Vec<OsString> {
        let mut words = self.words();
        if !matches!(self, Role::Visits(_)) && !words.is_empty() {
            words.insert(0, "setsid".into());
        }
        words
    }
}

/// A server that can be measured.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    /// The program, or why it is not there and how it can be had.
    pub(crate) program: Result<PathBuf, String>,
    command: fn(&Path, Role, u16) -> Option<Command>,
}

impl Contestant {
    /// The command that starts it, if it can do what is asked.
    pub(crate) fn command(&self, role: Role, port: u16) -> Option<Command> {
        (self.command)(self.program.as_deref().ok()?, role, port)
    }

    /// Whether it can do what is asked, were it there.
    pub(crate) fn can(&self, role: Role) -> bool {
        let program = self.program.as_deref().unwrap_or(Path::new("absent"));
        (self.command)(program, role, 0).is_some()
    }
}

/// The one that all are compared with where there is no other yardstick.
pub(crate) const LIMIT: &str = "limit";
/// The one that the bench is for.
pub(crate) const WSPIPE: &str = "wspipe";
/// Another build of it, to compare with.
pub(crate) const OTHER: &str = "other";

/// The folder of what `benches/peers/install` has installed.
pub(crate) fn peers_folder() -> PathBuf {
    // The server is in `target/release`, so two up is `target`.
    let target = Path::new(env!("CARGO_BIN_EXE_wspipe")).ancestors().nth(2);
    target.unwrap_or(Path::new("target")).join("peers")
}

/// All of them, and `other` if there is another build of wspipe to be measured.
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
        // It serves one client after the other, and knows no paths.
        Role::Visits(words) if words == HI_OR_IDLE => return None,
        Role::Lines(_) | Role::Visits(_) => Pipe::Lines.name(),
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
    // A line in the log for each connection is not what is measured: every server is told to
    // be quiet.
    command.arg("--log-level=error");
    // The crowd that idles is larger than the default allows.
    if !matches!(role, Role::Echo { .. }) {
        command.arg("--max-processes=20000");
    }
    match role {
        Role::Echo { .. } => command.args(["--echo", "--max-message=64M"]),
        Role::Lines(_) | Role::Visits(_) | Role::Upload(_) => command.arg("--"),
        Role::Binary(_) => command.args(["--binary", "--"]),
        Role::Shared(_) => command.args(["--shared", "--"]),
    };
    // It gives every command a session of its own.
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
        // A process for every client, which says little of the server.
        Role::Echo { .. } | Role::Shared(_) => return None,
        Role::Binary(_) => drop(command.arg("--binary")),
        Role::Lines(_) | Role::Visits(_) | Role::Upload(_) => {}
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
        // Its commands are not told the path.
        Role::Visits(words) if words == HI_OR_IDLE => return None,
        Role::Lines(_) | Role::Visits(_) | Role::Upload(_) => ("-t", ""),
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
