//! README.md, held to the program: the sessions that it shows are played, the files in it are
//! the ones that run, and what it lists (options, dependencies, tests) is what there is.
//!
//! A code block of the language `console` holds sessions. A line that begins with `$` is a shell
//! command, the last of them the server's; then come connections (`ws://`), messages sent (`>`,
//! binary ones `>>`) and received (`<`, `<<`), the code and reason of the server's close frame
//! (`=`), and `...` where nothing comes. A block behind the comment `<!-- file: NAME -->` is the
//! file NAME in the directory where the commands run.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::{Client, Launch, Message, Server, TempDir, write_file};

/// Where the README's server listens. The test's own takes a free port.
const URL: &str = "ws://127.0.0.1:8080";

/// Programs that a machine with Rust may be without: a session that needs one is skipped there.
const PERHAPS_MISSING: [&str; 7] = ["bash", "cc", "grep", "perl", "python3", "sed", "stdbuf"];

/// How long nothing must come. A program that does not hold its output back answers long before.
const SILENCE: Duration = Duration::from_millis(500);

#[test]
fn every_session_goes_as_it_is_written() {
    let blocks = blocks();
    let sessions: Vec<Session> = (blocks.iter().filter(|block| block.language == "console"))
        .flat_map(sessions_of)
        .collect();
    assert!(sessions.len() > 15, "{} sessions", sessions.len());
    for session in &sessions {
        match session.missing(&blocks) {
            None => session.play(&blocks),
            Some(program) => support::skipped(&format!(
                "README.md:{} needs {program}, which is not here",
                session.line
            )),
        }
    }
}

#[test]
fn there_is_an_example_in_each_language_and_a_session_for_each_remedy() {
    let blocks = blocks();
    let commands = commands(&blocks);
    for file in ["greet.sh", "total.py", "asked.pl", "upper"] {
        assert!(commands.contains(&format!("wspipe ./{file}\n")), "{file}");
    }
    for remedy in [
        "python3 -u",
        "PYTHONUNBUFFERED=1",
        "$| = 1",
        "stdbuf -oL",
        "--line-buffered",
        "sed -u",
    ] {
        assert!(commands.contains(remedy), "{remedy}");
    }
    for (file, remedy) in [("total.py", "flush=True"), ("upper.c", "fflush(stdout)")] {
        let block = (blocks.iter()).find(|block| block.file.as_deref() == Some(file));
        assert!(block.expect(file).text.contains(remedy), "{file}: {remedy}");
    }
}

/// Of the two remedies for C the page shows one.
#[test]
fn a_program_in_c_whose_lines_are_buffered_one_by_one_answers_too() {
    if !is_installed("cc") {
        return support::skipped("cc, which is not here, is needed for the remedy of C");
    }
    let blocks = blocks();
    let block = (blocks.iter()).find(|block| block.file.as_deref() == Some("upper.c"));
    let source = &block.expect("upper.c").text;
    let flush = "        if (c == '\\n')\n            fflush(stdout);\n";
    let without = source.replace(flush, "");
    assert_ne!(&without, source);
    let remedy = "setvbuf(stdout, NULL, _IOLBF, 0)";
    assert!(read("README.md").contains(&format!("`{remedy}`")));
    let with = without.replace("int c;\n", &format!("int c;\n    {remedy};\n"));
    assert_ne!(with, without);
    for (source, answers) in [(without, false), (with, true)] {
        let directory = TempDir::new();
        write_file(&directory.path("upper.c"), &source, 0o644);
        let program = directory.text("upper");
        let mut compiler = Command::new("cc");
        compiler
            .arg("-o")
            .args([&program, &directory.text("upper.c")]);
        assert!(compiler.status().expect("cc").success());
        let server = Server::start(&[&program]);
        let mut client = server.open("/");
        client.send_text("hello");
        match answers {
            true => assert_eq!(client.text(), "HELLO"),
            false => client.wire.expect_silence(SILENCE),
        }
        client.wire.reset();
        server.await_no_children();
    }
}

#[test]
fn there_is_a_session_for_each_framing_and_each_way_to_serve() {
    let commands = commands(&blocks());
    for option in [
        "wspipe\n",
        "wspipe cat\n",
        "--route=",
        "--dir=",
        "--binary ",
        "--null ",
        "--framing=length ",
        "--stderr=log ",
        "--stderr=json ",
        "--flush=",
    ] {
        assert!(commands.contains(option), "{option}");
    }
}

#[test]
fn the_option_table_and_the_help_are_the_same() {
    let help = Command::new(env!("CARGO_BIN_EXE_wspipe"))
        .arg("--help")
        .output();
    let help = String::from_utf8(help.expect("the server's binary").stdout).expect("UTF-8");
    let (in_help, in_table) = (options_of_help(&help), options_of_table());
    let names = |options: &BTreeMap<String, Opt>| options.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(
        names(&in_help),
        names(&in_table),
        "left: wspipe --help, right: the table under Options in README.md"
    );
    for (name, help) in &in_help {
        let table = &in_table[name];
        assert_eq!(help.value, table.value, "--{name}: help and README.md");
        if help.default.is_some() {
            assert_eq!(help.default, table.default, "--{name}: help and README.md");
        }
    }
}

#[test]
fn every_dependency_is_listed() {
    let manifest = read("Cargo.toml");
    let (_, rest) = manifest.split_once("[dependencies]\n").expect("a section");
    let section = rest.split("\n[").next().unwrap_or_default();
    let declared: BTreeSet<&str> = (section.lines())
        .filter_map(|line| Some(line.split_once('=')?.0.trim()))
        .collect();
    let readme = read("README.md");
    let listed: BTreeSet<&str> = (section_of(&readme, "Dependencies").lines())
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    assert_eq!(declared, listed, "left: Cargo.toml, right: README.md");
}

#[test]
fn every_test_that_is_named_exists() {
    let readme = read("README.md");
    let named: BTreeSet<(&str, &str)> = (inline_code(&readme))
        .filter_map(|code| code.split_once("::"))
        .filter(|(file, test)| is_name(&file.replace('/', "_")) && is_name(test))
        .collect();
    assert!(named.len() > 20, "{named:?}");
    for (file, test) in named {
        let text = ["tests", "src"]
            .map(|folder| format!("{folder}/{file}.rs"))
            .into_iter()
            .find(|path| root(path).exists())
            .map(|path| read(&path));
        let text = text.unwrap_or_else(|| panic!("{file}::{test}: there is no such file"));
        let definition = format!("#[test]\n    fn {test}()");
        assert!(
            text.contains(&definition) || text.contains(&definition.replace("    ", "")),
            "{file}::{test}: there is no such test"
        );
    }
}

#[test]
fn every_link_into_the_page_or_the_repository_leads_somewhere() {
    let readme = read("README.md");
    let anchors: BTreeSet<String> = (readme.lines())
        .filter_map(|line| line.strip_prefix("## ").or(line.strip_prefix("### ")))
        .map(|heading| heading.to_lowercase().replace(',', "").replace(' ', "-"))
        .collect();
    for target in readme.split("](").skip(1) {
        let target = target.split(')').next().unwrap_or_default();
        match target.strip_prefix('#') {
            Some(anchor) => assert!(anchors.contains(anchor), "#{anchor}"),
            None => assert!(root(target).exists(), "{target}"),
        }
    }
}

// -- Sessions ------------------------------------------------------------------------------------

/// A server of the README and what passes between it and its clients.
struct Session {
    /// Where it begins.
    line: usize,
    /// Shell commands, the last of them the server's. At least one.
    commands: Vec<String>,
    /// The rest, line by line, each with its number.
    dialogue: Vec<(usize, String)>,
}

fn sessions_of(block: &Block) -> Vec<Session> {
    let mut sessions: Vec<Session> = Vec::new();
    for (line, text) in block.numbered_lines() {
        let open = sessions.last_mut();
        match (text.strip_prefix("$ "), open) {
            (Some(command), Some(session)) if session.dialogue.is_empty() => {
                session.commands.push(command.to_string());
            }
            (Some(command), _) => sessions.push(Session {
                line,
                commands: vec![command.to_string()],
                dialogue: Vec::new(),
            }),
            (None, Some(session)) => session.dialogue.push((line, text.to_string())),
            (None, None) => panic!("README.md:{line}: a session begins with `$ `"),
        }
    }
    sessions
}

/// The commands of all sessions, each on its line.
fn commands(blocks: &[Block]) -> String {
    (blocks.iter().filter(|block| block.language == "console"))
        .flat_map(sessions_of)
        .flat_map(|session| session.commands)
        .map(|command| command + "\n")
        .collect()
}

impl Session {
    /// A program that this session needs and that is not on this machine.
    fn missing(&self, blocks: &[Block]) -> Option<&'static str> {
        let script = |word: &str| {
            let name = word.strip_prefix("./")?;
            let block = (blocks.iter()).find(|block| block.file.as_deref() == Some(name))?;
            block.text.lines().next()?.rsplit([' ', '/']).next()
        };
        let words = || (self.commands.iter()).flat_map(|command| command.split([' ', '=', '\'']));
        let needed = words().chain(words().filter_map(script));
        let needed: BTreeSet<&str> = needed.collect();
        (PERHAPS_MISSING.into_iter())
            .filter(|program| needed.contains(program))
            .find(|program| !is_installed(program))
    }

    fn play(&self, blocks: &[Block]) {
        let directory = TempDir::new();
        for block in blocks {
            if let Some(name) = &block.file {
                write_file(&directory.path(name), &block.text, 0o755);
            }
        }
        let Some((serve, before)) = self.commands.split_last() else {
            return;
        };
        for command in before {
            let mut shell = Command::new("sh");
            shell.args(["-c", command]).current_dir(directory.path("."));
            let status = shell.status().expect("a shell");
            assert!(status.success(), "README.md:{}: {command}", self.line);
        }
        let words = words_of(serve);
        let args: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(args[0], "wspipe", "README.md:{}: {serve}", self.line);
        let server = Launch::new(&args[1..])
            .after(&format!("cd '{}'", directory.text(".")))
            .start();
        self.talk_to(&server);
    }

    fn talk_to(&self, server: &Server) {
        let mut client: Option<Client> = None;
        for (line, text) in &self.dialogue {
            let step = format!("README.md:{line}: {text}");
            // Shown when the test fails, wherever in the step that is.
            println!("{step}");
            if let Some(target) = text.strip_prefix(URL) {
                if let Some(client) = client.replace(server.open(target)) {
                    client.leave();
                }
                continue;
            }
            let (sign, rest) = text.split_once(' ').unwrap_or((text, ""));
            if sign == "=" {
                let client = client.take().expect(&step);
                let (code, reason) = rest.split_once(' ').expect(&step);
                expect_close(client, &step, code.parse().expect(&step), reason);
                continue;
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
        if let Some(client) = client {
            client.leave();
        }
    }
}

fn expect_close(mut client: Client, step: &str, code: u16, reason: &str) {
    let close = Message::Close(Some((code, reason.to_string())));
    assert_eq!(client.message(), close, "{step}");
    client.send_close(code, "");
    client.wire.expect_eof();
}

/// The words of a command line, as a shell divides it.
fn words_of(command: &str) -> Vec<String> {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("printf '%s\\0' {command}")]);
    let output = shell.output().expect("a shell");
    assert!(output.status.success(), "{command}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.split_terminator('\0').map(str::to_string).collect()
}

fn is_installed(program: &str) -> bool {
    let mut shell = Command::new("sh");
    shell.args(["-c", "command -v \"$0\" >/dev/null", program]);
    shell.status().expect("a shell").success()
}

// -- Options -------------------------------------------------------------------------------------

/// What is said of an option.
#[derive(Debug)]
struct Opt {
    /// The word for its value, empty if it takes none.
    value: String,
    /// Its default, if one is named.
    default: Option<String>,
}

/// Every `--name=VALUE [default]` of the help, by its name.
fn options_of_help(help: &str) -> BTreeMap<String, Opt> {
    let mut options = BTreeMap::new();
    for (index, _) in help.match_indices("--") {
        let before = help[..index].chars().next_back();
        let (name, value, rest) = signature(&help[index + 2..]);
        if before == Some('-') || name.is_empty() {
            continue;
        }
        let default = rest
            .strip_prefix(" [")
            .and_then(|rest| rest.split_once(']'));
        let default = default.map(|(default, _)| default.to_string());
        let option = Opt { value, default };
        // A sentence may name an option that has its place elsewhere.
        let known = options.entry(name).or_insert(Opt {
            value: String::new(),
            default: None,
        });
        if !option.value.is_empty() {
            *known = option;
        }
    }
    options
}

/// Every row of the README's option table whose first cell is an option, by its name.
fn options_of_table() -> BTreeMap<String, Opt> {
    let readme = read("README.md").replace("\\|", "\u{1}");
    let mut options = BTreeMap::new();
    for row in section_of(&readme, "Options").lines() {
        let Some(rest) = row.strip_prefix("| `--") else {
            continue;
        };
        let cells: Vec<&str> = rest.split('|').map(str::trim).collect();
        let (name, value, _) = signature(&cells[0].replace('\u{1}', "|"));
        let default = Some(cells[1].trim_matches('`')).filter(|it| !it.is_empty());
        let default = default.map(|default| default.replace('\u{1}', "|"));
        let option = Opt { value, default };
        assert!(options.insert(name.clone(), option).is_none(), "--{name}");
    }
    options
}

/// Divides `name=VALUE rest` or `name rest`.
fn signature(text: &str) -> (String, String, &str) {
    let split_at_first = |text: &str, ends: fn(char) -> bool| text.find(ends).unwrap_or(text.len());
    let name_len = split_at_first(text, |c| !c.is_ascii_lowercase() && c != '-');
    let (name, rest) = text.split_at(name_len);
    let Some(rest) = rest.strip_prefix('=') else {
        return (name.to_string(), String::new(), rest);
    };
    let value_len = split_at_first(rest, |c| c.is_whitespace() || c == '`');
    let (value, rest) = rest.split_at(value_len);
    (name.to_string(), value.to_string(), rest)
}

// -- The page ------------------------------------------------------------------------------------

/// A fenced code block.
struct Block {
    language: String,
    /// The file that it is, if a comment above it says so.
    file: Option<String>,
    /// The line of its fence.
    line: usize,
    text: String,
}

impl Block {
    fn numbered_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (self.text.lines().enumerate()).map(|(index, text)| (self.line + 1 + index, text))
    }
}

fn blocks() -> Vec<Block> {
    let readme = read("README.md");
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    let mut file = None;
    for (index, line) in readme.lines().enumerate() {
        match (line.strip_prefix("```"), open) {
            (Some(language), false) => {
                blocks.push(Block {
                    language: language.to_string(),
                    file: file.take(),
                    line: index + 1,
                    text: String::new(),
                });
                open = true;
            }
            (Some(_), true) => open = false,
            (None, true) => {
                let block = blocks.last_mut().expect("a block is open");
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, false) => {
                let comment = line.strip_prefix("<!-- file: ");
                file = comment.and_then(|rest| Some(rest.strip_suffix(" -->")?.to_string()));
            }
        }
    }
    assert!(!open, "a code block is not closed");
    blocks
}

/// What stands under the heading `name`, up to the next of its rank.
fn section_of<'a>(readme: &'a str, name: &str) -> &'a str {
    let heading = format!("\n## {name}\n");
    let (_, rest) = readme.split_once(&heading).expect("the section");
    rest.split("\n## ").next().unwrap_or_default()
}

/// What stands between backticks, outside of code blocks.
fn inline_code(readme: &str) -> impl Iterator<Item = &str> {
    let prose = readme.split("\n```").step_by(2);
    prose.flat_map(|text| text.split('`').skip(1).step_by(2))
}

fn is_name(text: &str) -> bool {
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !text.is_empty() && text.bytes().all(sign)
}

fn root(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(root(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
