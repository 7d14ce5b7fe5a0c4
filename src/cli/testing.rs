//! Command lines for the tests of this folder.

use std::ffi::OsString;

use super::{Invocation, UsageError, parse};
use crate::config::{Config, Mode};

pub(super) fn parse_words(words: &[&str]) -> Result<Invocation, UsageError> {
    parse(words.iter().map(OsString::from))
}

pub(super) fn config(words: &[&str]) -> Config {
    match parse_words(words) {
        Ok(Invocation::Serve { config, .. }) => config,
        other => panic!("{words:?}: {other:?}"),
    }
}

pub(super) fn warnings(words: &[&str]) -> Vec<String> {
    match parse_words(words) {
        Ok(Invocation::Serve { warnings, .. }) => warnings,
        other => panic!("{words:?}: {other:?}"),
    }
}

pub(super) fn error(words: &[&str]) -> String {
    let message = parse_words(words).expect_err("refused").to_string();
    assert!(!message.contains('\n'), "one line: {message}");
    message
}

pub(super) fn command(words: &[&str]) -> Mode {
    Mode::Command(words.iter().map(OsString::from).collect())
}
