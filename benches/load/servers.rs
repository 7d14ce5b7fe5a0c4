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

/// The command for [`Role::Shared`].
fn printer(burst: usize) -> Option<[OsString; 3]> {
    let program = std::env::current_exe().ok()?;
    Some([program.into(), PRINT.into(), burst.to_string().into()])
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
    let (kind, words): (&str, &[&str]) = match role {
        Role::Echo { .. } => ("echo", &[]),
        Role::Lines(words) => (Pipe::Lines.name(), words),
        Role::Binary(words) => (Pipe::Raw.name(), words),
        Role::Upload(words) => (Pipe::Upload.name(), words),
        Role::Shared(_) => (limit::SHARED, &[]),
    };
    // It serves one client after the other, and knows no paths.
    if matches!(role, Role::Lines(words) if words == HI_OR_IDLE) {
        return None;
    }
    command.args(["--serve-limit", kind, &port.to_string()]);
    match role {
        Role::Shared(burst) => command.args(printer(burst)?),
        _ => command.args(words),
    };
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
        Role::Lines(words) | Role::Upload(words) => command.arg("--").args(words),
        Role::Binary(words) => command.args(["--binary", "--"]).args(words),
        Role::Shared(burst) => command.args(["--shared", "--"]).args(printer(burst)?),
    };
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
        Role::Lines(words) | Role::Upload(words) => command.args(words),
        Role::Binary(words) => command.arg("--binary").args(words),
    };
    Some(command)
}

fn websocat(program: &Path, role: Role, port: u16) -> Option<Command> {
    let mut command = Command::new(program);
    let (mode, words) = match role {
        Role::Shared(burst) => {
            let [printer, arguments @ ..] = printer(burst)?;
            command.args(["-E", "-t", &format!("ws-l:127.0.0.1:{port}")]);
            let mut shared = OsString::from("broadcast:exec:");
            shared.push(printer);
            command.arg(shared).arg("--exec-args").args(arguments);
            return Some(command);
        }
        Role::Echo { text } => {
            command.args(["-E", if text { "-t" } else { "-b" }]);
            command.args([format!("ws-l:127.0.0.1:{port}"), "mirror:".to_owned()]);
            return Some(command);
        }
        // Its commands are not told the path.
        Role::Lines(words) if words == HI_OR_IDLE => return None,
        Role::Lines(words) | Role::Upload(words) => ("-t", words),
        Role::Binary(words) => ("-b", words),
    };
    command.args(["-E", mode]);
    command.arg(format!("ws-l:127.0.0.1:{port}"));
    command.arg(format!("exec:{}", words[0]));
    command.arg("--exec-args").args(&words[1..]);
    Some(command)
}
