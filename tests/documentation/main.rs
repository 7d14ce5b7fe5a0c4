//! README.md and the manual, compared with the program: their sessions are played, the files in
//! them are the ones that run, and their options, dependencies, links and tests exist.
//!
//! [`sessions`] describes how a session is written.

mod options;
mod pages;
mod sessions;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use options::{
    common_options, described_options, headed_options, mentioned_options, offered_options,
};
use pages::{Block, Page, blocks, page, pages, read, root};
use sessions::{Session, commands_of, is_installed, sessions_of};
use support::{Server, TempDir, write_file};

/// How long nothing may arrive. A program that does not buffer answers much sooner.
const SILENCE: Duration = Duration::from_millis(500);

/// The longest README that a person reads to the end.
const README_LINES_MAX: usize = 260;

/// The largest picture, in bytes.
const IMAGE_LEN_MAX: u64 = 60_000;

#[test]
fn every_session_goes_as_it_is_written() {
    let blocks = blocks();
    let sessions: Vec<Session> = (blocks.iter().filter(|block| block.language == "console"))
        .flat_map(sessions_of)
        .collect();
    assert!(sessions.len() > 30, "{} sessions", sessions.len());
    for session in &sessions {
        match session.missing(&blocks) {
            None => session.play(&blocks),
            Some(missing) => support::skipped(&format!(
                "{} needs {missing}, which is not installed",
                session.place
            )),
        }
    }
}

#[test]
fn there_is_an_example_in_each_language_and_a_session_for_each_remedy() {
    let blocks = blocks();
    let commands = commands_of(&blocks);
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
        let text = &file_block(&blocks, file).text;
        assert!(text.contains(remedy), "{file}: {remedy}");
    }
}

/// The page shows one of the two remedies for C; this tests the other one as well.
#[test]
fn a_line_buffered_program_in_c_answers_too() {
    if !is_installed("cc") {
        return support::skipped("the remedy for C needs cc, which is not installed");
    }
    let blocks = blocks();
    let source = &file_block(&blocks, "upper.c").text;
    let flush = "        if (c == '\\n')\n            fflush(stdout);\n";
    let without = source.replace(flush, "");
    assert_ne!(&without, source);
    let remedy = "setvbuf(stdout, NULL, _IOLBF, 0)";
    let buffering = page("src/manual/buffering.md");
    assert!(buffering.text.contains(&format!("`{remedy}`")));
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
    let commands = commands_of(&blocks());
    for option in [
        "wspipe\n",
        "wspipe cat\n",
        "--route=",
        "--dir=",
        "--binary ",
        "--null ",
        "--framing=length ",
        "--framing=headers ",
        "--shared ",
        "--stderr=log ",
        "--stderr=json ",
        "--flush=",
    ] {
        assert!(commands.contains(option), "{option}");
    }
}

#[test]
fn there_is_a_session_for_each_kind_of_client() {
    let commands = commands_of(&blocks());
    for client in ["node ", "websocat ", "python3 hello.py", "curl "] {
        assert!(commands.contains(client), "{client}");
    }
}

#[test]
fn the_readme_is_short_enough_to_be_read_to_the_end() {
    let lines = page("README.md").text.lines().count();
    assert!(lines <= README_LINES_MAX, "{lines} lines");
}

#[test]
fn pictures_load_quickly() {
    let folder = root("src/manual/images");
    for entry in std::fs::read_dir(folder).expect("the pictures") {
        let entry = entry.expect("a picture");
        let len = entry.metadata().expect("its length").len();
        assert!(len <= IMAGE_LEN_MAX, "{:?}: {len} bytes", entry.path());
    }
}

#[test]
fn the_option_page_and_the_help_are_the_same() {
    let (offered, described) = (offered_options(), headed_options("src/manual/options.md"));
    let names = |options: &options::Options| options.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(
        names(&offered),
        names(&described),
        "left: wspipe --help=all, right: src/manual/options.md"
    );
    options::compare(&described, &offered);
}

#[test]
fn every_option_in_the_readme_is_as_in_the_help() {
    let described = described_options("README.md");
    let common = common_options();
    assert!(
        described.keys().eq(common.keys()),
        "left: README.md, right: wspipe --help\n{described:?}\n{common:?}"
    );
    options::compare(&described, &common);
}

#[test]
fn every_option_that_a_page_mentions_exists() {
    let offered = offered_options();
    let unknown: Vec<String> = (pages().iter())
        .flat_map(|page| {
            let mentioned = mentioned_options(page).into_iter();
            mentioned.map(|name| format!("{}: --{name}", page.path))
        })
        .filter(|mention| !offered.contains_key(mention.rsplit("--").next().unwrap_or_default()))
        .collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
}

#[test]
fn every_dependency_is_listed() {
    let manifest = read("Cargo.toml");
    let (_, rest) = manifest.split_once("[dependencies]\n").expect("a section");
    let section = rest.split("\n[").next().unwrap_or_default();
    let declared: BTreeSet<&str> = (section.lines())
        .filter_map(|line| Some(line.split_once('=')?.0.trim()))
        .collect();
    let readme = page("README.md");
    let listed: BTreeSet<&str> = (readme.section("Dependencies").lines())
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    assert_eq!(declared, listed, "left: Cargo.toml, right: README.md");
}

#[test]
fn every_test_that_is_named_exists() {
    let pages = pages();
    let named: BTreeSet<(&str, &str)> = (pages.iter().flat_map(Page::inline_code))
        .filter_map(|code| code.split_once("::"))
        .filter(|(file, test)| is_name(&file.replace('/', "_")) && is_name(test))
        .collect();
    assert!(named.len() > 20, "{named:?}");
    let missing: Vec<String> = (named.into_iter())
        .filter(|(file, test)| !is_test(file, test))
        .map(|(file, test)| format!("{file}::{test}"))
        .collect();
    assert!(missing.is_empty(), "these tests do not exist: {missing:#?}");
}

#[test]
fn every_link_into_a_page_or_the_repository_leads_somewhere() {
    for page in pages() {
        for target in page.link_targets() {
            if target.starts_with("https://") {
                continue;
            }
            let (file, anchor) = match target.split_once('#') {
                None => (target, None),
                Some((file, anchor)) => (file, Some(anchor)),
            };
            let path = match file {
                "" => root(&page.path),
                file => root(&page.path).with_file_name(file),
            };
            assert!(path.exists(), "{}: {target}", page.path);
            if let Some(anchor) = anchor {
                let text = std::fs::read_to_string(path).expect("a page");
                let anchors = pages::anchors(&text);
                assert!(anchors.contains(anchor), "{}: {target}", page.path);
            }
        }
    }
}

/// A page of the manual is read on a code host, where a link leads to a file, and in rustdoc, where
/// it leads to a module. So it is written `[text][name]`, and both places define the name.
#[test]
fn every_link_of_the_manual_works_as_markdown_and_in_rustdoc() {
    let modules = read("src/manual/mod.rs");
    for page in pages().iter().filter(|page| page.is_manual()) {
        let definitions = page.link_definitions();
        for (name, target) in &definitions {
            let module = match target.strip_suffix(".md") {
                Some(stem) => format!("crate::manual::{stem}"),
                None => "crate".to_string(),
            };
            let definition = format!("[{name}]: {module}\n");
            assert!(modules.contains(&definition), "mod.rs lacks {definition}");
        }
        for target in page.inline_link_targets() {
            let works_in_both = target.starts_with("https://") || target.starts_with('#');
            assert!(works_in_both, "{}: {target}", page.path);
        }
        for name in page.link_names() {
            let is_defined = definitions.iter().any(|(defined, _)| *defined == name);
            assert!(is_defined, "{}: [{name}] is not defined", page.path);
        }
    }
}

#[test]
fn every_page_of_the_manual_is_a_module_and_in_its_contents() {
    let (modules, contents) = (read("src/manual/mod.rs"), page("src/manual/README.md").text);
    for page in pages().iter().filter(|page| page.is_manual()) {
        let stem = page.stem();
        if stem == "README" {
            continue;
        }
        assert!(modules.contains(&format!("\n    {stem}\n")), "{stem}");
        assert!(contents.contains(&format!("]: {stem}.md\n")), "{stem}");
    }
}

fn file_block<'a>(blocks: &'a [Block], name: &str) -> &'a Block {
    let mut blocks = blocks.iter();
    let block = blocks.find(|block| block.file.as_deref() == Some(name));
    block.unwrap_or_else(|| panic!("no page has the file {name}"))
}

/// Whether the file, under `tests/` or `src/` and possibly a folder, has a test of that name.
fn is_test(file: &str, test: &str) -> bool {
    let definition = format!("#[test]\nfn {test}()");
    let unindented = |text: String| {
        text.lines()
            .map(|it| it.trim_start().to_owned() + "\n")
            .collect()
    };
    ["tests", "src"]
        .into_iter()
        .flat_map(|folder| [".rs", "/main.rs", "/mod.rs", "/tests.rs"].map(|end| (folder, end)))
        .map(|(folder, end)| root(&format!("{folder}/{file}{end}")))
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .map(unindented)
        .any(|text: String| text.contains(&definition))
}

fn is_name(text: &str) -> bool {
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !text.is_empty() && text.bytes().all(sign)
}
