//! Sessions: what the pages show of a server and its clients, played against the real program.
//!
//! A code block of the language `console` holds sessions. `$ wspipe ...` starts the server of one.
//! Lines with `$` before it prepare the session; those after it are clients, followed by what they
//! print. Or the test itself is the client: it connects (`ws://`), sends messages (`>`, binary ones
//! `>>`), receives messages (`<`, `<<`) and the close frame of the server (`=`, code and reason),
//! and receives nothing for a while (`...`).
//!
//! The commands run in a directory that holds every file of the pages.

use std::collections::BTreeSet;
use std::fs::File;
use std::process::Command;

use super::SILENCE;
use super::pages::Block;
use super::support::{self, Client, Launch, Message, Server, TempDir, write_file};

/// Where the server of the pages listens. The test's own takes a free port.
const ADDRESS: &str = "127.0.0.1:8080";

/// Programs that a machine with Rust may lack. A session that needs one is skipped there.
const PERHAPS_MISSING: [&str; 11] = [
    "bash", "cc", "curl", "grep", "node", "perl", "pylsp", "python3", "sed", "stdbuf", "websocat",
];

/// What else a file may need: text in it, what that is, and a command that succeeds where it is
/// installed.
const LIBRARIES: [(&str, &str, &str); 4] = [
    (
        "from pygls",
        "Python's pygls with websockets",
        "python3 -c 'import pygls.client, websockets'",
    ),
    (
        "from mcp",
        "Python's mcp, before version 2",
        "python3 -c 'import mcp.server.fastmcp, mcp.client.websocket'",
    ),
    (
        "import websockets",
        "Python's websockets",
        "python3 -c 'import websockets'",
    ),
    (
        "new WebSocket(",
        "Node.js 22",
        "node -e 'process.exit(typeof WebSocket === \"undefined\" ? 1 : 0)'",
    ),
];

/// A server of a page and what passes between it and its clients.
pub(crate) struct Session {
    /// Where it begins.
    pub(crate) place: String,
    /// Shell commands to run before the server starts.
    preparation: Vec<String>,
    server: String,
    steps: Vec<Step>,
}

enum Step {
    /// A line of the test's own client.
    Talk { place: String, line: String },
    /// A client's command and what it prints.
    Run {
        place: String,
        command: String,
        output: String,
    },
}

pub(crate) fn sessions_of(block: &Block) -> Vec<Session> {
    let mut sessions: Vec<Session> = Vec::new();
    let mut preparation = Vec::new();
    for (place, text) in block.lines_with_place() {
        if let Some(command) = text.strip_prefix("$ ") {
            let command = command.to_string();
            if command == "wspipe" || command.starts_with("wspipe ") {
                sessions.push(Session {
                    place,
                    preparation: std::mem::take(&mut preparation),
                    server: command,
                    steps: Vec::new(),
                });
            } else if let Some(session) = sessions.last_mut() {
                session.steps.push(Step::Run {
                    place,
                    command,
                    output: String::new(),
                });
            } else {
                preparation.push(command);
            }
            continue;
        }
        let session = sessions.last_mut();
        let session = session.unwrap_or_else(|| panic!("{place}: no server has been started"));
        match session.steps.last_mut() {
            Some(Step::Run { output, .. }) => *output += &format!("{text}\n"),
            _ => session.steps.push(Step::Talk {
                place,
                line: text.to_string(),
            }),
        }
    }
    assert!(preparation.is_empty(), "no server follows {preparation:?}");
    sessions
}

/// The commands of all sessions, one a line.
pub(crate) fn commands_of(blocks: &[Block]) -> String {
    let mut commands = String::new();
    for block in blocks.iter().filter(|block| block.language == "console") {
        for session in sessions_of(block) {
            for command in session.commands() {
                commands += &format!("{command}\n");
            }
        }
    }
    commands
}

impl Session {
    fn commands(&self) -> impl Iterator<Item = &str> {
        let clients = self.steps.iter().filter_map(|step| match step {
            Step::Run { command, .. } => Some(command.as_str()),
            Step::Talk { .. } => None,
        });
        let preparation = self.preparation.iter().map(String::as_str);
        preparation.chain([self.server.as_str()]).chain(clients)
    }

    /// A program or library that this session needs and this machine lacks.
    pub(crate) fn missing(&self, blocks: &[Block]) -> Option<&'static str> {
        let words = || (self.commands()).flat_map(|command| command.split([' ', '=', '\'']));
        let files: Vec<&Block> = words()
            .map(|word| word.strip_prefix("./").unwrap_or(word))
            .filter_map(|name| (blocks.iter()).find(|block| block.file.as_deref() == Some(name)))
            .collect();
        let interpreters = (files.iter())
            .filter_map(|block| block.text.lines().next())
            .filter(|line| line.starts_with("#!"))
            .filter_map(|line| line.rsplit([' ', '/']).next());
        let needed: BTreeSet<&str> = words().chain(interpreters).collect();
        let program = (PERHAPS_MISSING.into_iter())
            .filter(|program| needed.contains(program))
            .find(|program| !is_installed(program));
        program.or_else(|| {
            let mut libraries = LIBRARIES.iter();
            let library = libraries.find(|(text, _, probe)| {
                files.iter().any(|block| block.text.contains(text)) && !succeeds(probe)
            });
            library.map(|(_, name, _)| *name)
        })
    }

    pub(crate) fn play(&self, blocks: &[Block]) {
        let directory = TempDir::new();
        for block in blocks {
            if let Some(name) = &block.file {
                write_file(&directory.path(name), &block.text, 0o755);
            }
        }
        for command in &self.preparation {
            let mut shell = Command::new("sh");
            shell.args(["-c", command]).current_dir(directory.path("."));
            let status = shell.status().expect("a shell");
            assert!(status.success(), "{}: {command}", self.place);
        }
        let words = words_of(&self.server);
        let args: Vec<&str> = words.iter().map(String::as_str).collect();
        let server = Launch::new(&args[1..])
            .after(&format!("cd '{}'", directory.text(".")))
            .start();
        // The clients' files name the port of the page.
        let address = server.address().to_string();
        for block in blocks.iter().filter(|it| it.text.contains(ADDRESS)) {
            if let Some(name) = &block.file {
                let text = block.text.replace(ADDRESS, &address);
                write_file(&directory.path(name), &text, 0o755);
            }
        }
        self.take_steps(&server, &directory);
    }

    fn take_steps(&self, server: &Server, directory: &TempDir) {
        let mut client: Option<Client> = None;
        for step in &self.steps {
            match step {
                Step::Talk { place, line } => talk(server, &mut client, place, line),
                Step::Run {
                    place,
                    command,
                    output,
                } => {
                    println!("{place}: {command}");
                    let printed = run(server, directory, command);
                    assert_eq!(&printed, output, "{place}: {command}");
                }
            }
        }
        if let Some(client) = client {
            client.leave();
        }
    }
}

/// Plays one line of the test's own client.
fn talk(server: &Server, client: &mut Option<Client>, place: &str, line: &str) {
    let step = format!("{place}: {line}");
    // Shows which step it was when one fails.
    println!("{step}");
    let url = format!("ws://{ADDRESS}");
    if let Some(target) = line.strip_prefix(&url) {
        if let Some(client) = client.replace(server.open(target)) {
            client.leave();
        }
        return;
    }
    let (sign, rest) = line.split_once(' ').unwrap_or((line, ""));
    if sign == "=" {
        let client = client.take().expect(&step);
        let (code, reason) = rest.split_once(' ').expect(&step);
        expect_close(client, &step, code.parse().expect(&step), reason);
        return;
    }
    let client = client.as_mut().expect(&step);
    match sign {
        ">" => client.send_text(rest),
        ">>" => client.send_binary(rest.as_bytes()),
        "<" => assert_eq!(client.message(), Message::Text(rest.into()), "{step}"),
        "<<" => assert_eq!(client.message(), Message::Binary(rest.into()), "{step}"),
        "..." => client.wire.expect_silence(SILENCE),
        _ => panic!("{step}: not a line of a session"),
    }
}

fn expect_close(mut client: Client, step: &str, code: u16, reason: &str) {
    let close = Message::Close(Some((code, reason.to_string())));
    assert_eq!(client.message(), close, "{step}");
    client.send_close(code, "");
    client.wire.expect_eof();
}

/// Runs a client's command and returns what it prints.
fn run(server: &Server, directory: &TempDir, command: &str) -> String {
    let address = server.address().to_string();
    let printed = File::create(directory.path("printed")).expect("a file");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &command.replace(ADDRESS, &address)])
        .current_dir(directory.path("."))
        .stdout(printed);
    let mut child = shell.spawn().expect("a shell");
    support::wait_until(command, || child.try_wait().expect("its status").is_some());
    let status = child.wait().expect("its status");
    assert!(status.success(), "{command}: {status}");
    directory.read("printed").replace(&address, ADDRESS)
}

/// The words of a command line, split as a shell would.
fn words_of(command: &str) -> Vec<String> {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("printf '%s\\0' {command}")]);
    let output = shell.output().expect("a shell");
    assert!(output.status.success(), "{command}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.split_terminator('\0').map(str::to_string).collect()
}

pub(crate) fn is_installed(program: &str) -> bool {
    succeeds(&format!("command -v {program} >/dev/null"))
}

fn succeeds(command: &str) -> bool {
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", command]).output();
    output.expect("a shell").status.success()
}
