//! Files of the repository that are made from the table of options, for tests only.
//!
//! A test compares them with the table. After a change of the table,
//! `WSPIPE_BLESS=1 cargo test --lib cli` writes them again.

mod completions;
mod man;
mod page;

use std::{env, fs};

use super::conflicts::Scope;
use super::options::{OPTIONS, Opt, Takes};

/// Stands at the top of each file, in a comment.
const NOTICE: &str = "Generated from src/cli/options by `WSPIPE_BLESS=1 cargo test --lib cli`: \
                      do not edit.";

#[test]
fn the_generated_files_fit_the_table() {
    let files = [
        ("packaging/wspipe.1", man::render()),
        ("packaging/completions/wspipe.bash", completions::bash()),
        ("packaging/completions/_wspipe", completions::zsh()),
        ("packaging/completions/wspipe.fish", completions::fish()),
        ("src/manual/options.md", page::render()),
    ];
    for (name, text) in files {
        let path = format!("{}/{name}", env!("CARGO_MANIFEST_DIR"));
        if env::var_os("WSPIPE_BLESS").is_some() {
            fs::write(&path, &text).expect(name);
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        let remedy = "run WSPIPE_BLESS=1 cargo test --lib cli";
        assert!(found == text, "{name} does not fit the options: {remedy}");
    }
}

/// The default of an option, as its line shows it.
pub(super) fn default(option: &Opt) -> Option<&'static str> {
    let rest = option.line[option.form().len()..].strip_prefix(" [")?;
    Some(rest.split_once(']').expect("a closed bracket").0)
}

/// The effect of an option, from its line.
fn summary(option: &Opt) -> &'static str {
    option.line.split_once("  ").expect("a summary").1.trim()
}

/// How the value of an option is written; empty if it takes none.
fn value(option: &Opt) -> &'static str {
    let value = option.form().split_once('=').map_or("", |(_, value)| value);
    match option.takes() {
        Takes::Either => value.trim_end_matches(']'),
        Takes::Nothing | Takes::Value => value,
    }
}

/// The long text, with where the option can be used.
fn text(option: &Opt) -> String {
    let scope = match option.scope {
        Scope::Always | Scope::Command | Scope::Demo => "",
        Scope::Records => " Only with `--framing=lines` or `null`.",
        Scope::Lines => " Only with `--framing=lines`.",
        Scope::Several => " Not with `--once`.",
        Scope::Shared => " Only with `--shared`.",
        Scope::Signalled => " Not with `--kill-after=never`.",
        Scope::Proxied => " Only with `--trust-proxy`.",
        Scope::Replayed => " Only with `--replay` or `--resume`.",
    };
    option.text.to_owned() + scope
}

/// The options of a group.
fn members(group: usize) -> impl Iterator<Item = &'static Opt> {
    (OPTIONS.iter()).filter(move |option| usize::from(option.group) == group)
}
