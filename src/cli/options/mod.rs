//! The table of options. Everything that names an option is made from it.
//!
//! `--help`, errors and suggestions use the table at run time. The tests of `cli/reference/` write
//! the man page, the completions and the manual's page of options, which are files in the
//! repository. Only these contain the long texts; the program does not.
//!
//! # To add an option
//!
//! 1. Add a field with its default to `src/config/server.rs`, `client.rs` or `command.rs`.
//! 2. Add an entry to the file of the same name in this folder.
//!
//! Parsing, help, man page and completions need no other change; what uses the field does. The
//! compiler then asks for the new field in the test
//! `each_option_sets_its_own_field`, and `WSPIPE_BLESS=1 cargo test --lib cli` rewrites the
//! generated files. The tests expect that an option refuses an empty value.

mod client;
mod command;
mod server;

use std::ffi::OsStr;
use std::time::Duration;

use lexopt::Parser;

use super::UsageError;
use super::conflicts::Scope;
use super::draft::Draft;
use super::values::time;

/// The groups of options, with their titles, in the order of the help.
const GROUPS: [(&str, &[Opt]); 10] = [
    ("Listen", server::LISTEN),
    ("Access", client::ACCESS),
    ("Routes", server::ROUTES),
    ("Messages", command::MESSAGES),
    ("Command", command::PROCESS),
    ("Shared and resumed", command::SESSIONS),
    ("Limits", server::LIMITS),
    ("Sizes", client::SIZES),
    ("Times", client::TIMES),
    ("Server", server::PROGRAM),
];

/// Every option, group by group.
pub(super) static OPTIONS: [Opt; COUNT] = {
    let mut options = [GROUPS[0].1[0]; COUNT];
    let (mut group, mut at) = (0, 0);
    while group < GROUPS.len() {
        let members = GROUPS[group].1;
        let mut member = 0;
        while member < members.len() {
            options[at] = Opt {
                group: group as u8,
                ..members[member]
            };
            member += 1;
            at += 1;
        }
        group += 1;
    }
    options
};

const COUNT: usize = {
    let (mut count, mut group) = (0, 0);
    while group < GROUPS.len() {
        count += GROUPS[group].1.len();
        group += 1;
    }
    count
};

/// The title of each group.
pub(super) static TITLES: [&str; GROUPS.len()] = {
    let mut titles = [""; GROUPS.len()];
    let mut group = 0;
    while group < GROUPS.len() {
        titles[group] = GROUPS[group].0;
        group += 1;
    }
    titles
};

/// One option.
#[derive(Clone, Copy)]
pub(super) struct Opt {
    /// Its line of the help: how it is written, its default in brackets if it has one, and from
    /// the same column in all lines on what it does. In `--shared[=eager]` the value is optional.
    pub(super) line: &'static str,
    /// What it does, its unit and range, and what happens without it, in Markdown.
    #[cfg(test)]
    pub(super) text: &'static str,
    /// The index of its group in [`TITLES`].
    pub(super) group: u8,
    /// Whether it is among the options that most people need.
    pub(super) is_common: bool,
    pub(super) scope: Scope,
    set: Set,
}

/// Reads the value and writes it to the draft. The value is empty if there is none. The error says
/// what to write instead.
type Set = fn(&mut Draft, &str) -> Result<(), String>;

/// Whether an option takes a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Value,
    /// A value, or none: then the text is empty.
    Either,
}

/// An option that always has an effect.
const fn option(line: &'static str, set: Set) -> Opt {
    Opt {
        line,
        #[cfg(test)]
        text: "",
        group: 0,
        is_common: false,
        scope: Scope::Always,
        set,
    }
}

impl Opt {
    /// Limits where the option has an effect.
    const fn only(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// Counts it among the options that most people need.
    const fn common(self) -> Self {
        Self {
            is_common: true,
            ..self
        }
    }

    /// Sets the long text. The table is a constant, so what is dropped here is not in the program.
    #[cfg(not(test))]
    const fn text(self, _: &'static str) -> Self {
        self
    }

    #[cfg(test)]
    const fn text(self, text: &'static str) -> Self {
        Self { text, ..self }
    }

    /// How it is written, without the default: `--port=N`.
    pub(super) fn form(&self) -> &'static str {
        self.line_up_to(b" ")
    }

    /// Its name, without the dashes.
    pub(super) fn name(&self) -> &'static str {
        &self.line_up_to(b"=[ ")[2..]
    }

    fn line_up_to(&self, ends: &[u8]) -> &'static str {
        let end = self.line.bytes().position(|byte| ends.contains(&byte));
        &self.line[..end.unwrap_or(self.line.len())]
    }

    pub(super) fn takes(&self) -> Takes {
        let form = self.form();
        if form.ends_with(']') {
            Takes::Either
        } else if form.contains('=') {
            Takes::Value
        } else {
            Takes::Nothing
        }
    }

    /// Reads the option's value, if it takes one, from `parser`, and sets it in `draft`.
    pub(super) fn apply(
        &'static self,
        parser: &mut Parser,
        draft: &mut Draft,
    ) -> Result<(), UsageError> {
        let name = self.name();
        let value = match self.takes() {
            Takes::Nothing if parser.optional_value().is_some() => {
                let message = format!("--{name} takes no value: write --{name} alone");
                return Err(UsageError(message));
            }
            Takes::Nothing => Default::default(),
            Takes::Either => parser.optional_value().unwrap_or_default(),
            Takes::Value => parser.value().map_err(|_| {
                UsageError(format!("--{name} needs a value: write {}", self.form()))
            })?,
        };
        self.read(&value, draft)?;
        draft.given.push((name, self.scope));
        Ok(())
    }

    fn read(&self, value: &OsStr, draft: &mut Draft) -> Result<(), UsageError> {
        let outcome = match value.to_str() {
            Some(text) => (self.set)(draft, text),
            None => Err("write it in UTF-8".to_owned()),
        };
        outcome.map_err(|remedy| {
            let (name, text) = (self.name(), value.to_string_lossy());
            UsageError(format!("--{name}={}: {remedy}", text.escape_debug()))
        })
    }
}

/// The largest number of clients, commands or messages that an option takes: more processes than
/// any kernel has (`PID_MAX_LIMIT`, 2^22).
const COUNT_MAX: u32 = 10_000_000;

/// The largest `--spawn-rate`: one command per microsecond.
const SPAWN_RATE_MAX: u32 = 1_000_000;

fn set<T>(field: &mut T, value: Result<T, String>) -> Result<(), String> {
    *field = value?;
    Ok(())
}

fn turn_on(field: &mut bool) -> Result<(), String> {
    *field = true;
    Ok(())
}

/// Adds the items of a list.
fn extend(field: &mut Vec<String>, items: Result<Vec<&str>, String>) -> Result<(), String> {
    field.extend(items?.into_iter().map(str::to_owned));
    Ok(())
}

/// `None` if `text` is `word`, otherwise the value that `read` returns.
fn or_word<T>(
    word: &str,
    text: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    if text == word {
        return Ok(None);
    }
    read(text)
        .map(Some)
        .map_err(|message| format!("{message}, or {word}"))
}

/// A time, or `none`.
fn time_or_none(text: &str) -> Result<Option<Duration>, String> {
    or_word("none", text, time)
}

#[cfg(test)]
mod tests;
