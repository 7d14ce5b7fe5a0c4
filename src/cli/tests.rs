//! Tests of [`parse`](super::parse): which words are options, and where the command begins.

use super::testing::{command, config, error, parse_words};
use super::*;
use crate::config::Mode;

#[test]
fn without_arguments_the_demo_is_served() {
    assert_eq!(config(&[]), Config::default());
    assert_eq!(config(&[]).mode, Mode::Demo);
}

#[test]
fn the_first_word_that_is_not_an_option_starts_the_command() {
    assert_eq!(config(&["cat"]).mode, command(&["cat"]));
    assert_eq!(config(&["--", "cat"]).mode, command(&["cat"]));
    assert_eq!(
        config(&["--", "--cat", "--"]).mode,
        command(&["--cat", "--"])
    );
    assert_eq!(config(&["-"]).mode, command(&["-"]));

    let config = config(&["--port", "9", "ls", "--port=7", "--", "-x", "--help"]);
    assert_eq!(config.listen.port, 9);
    assert_eq!(
        config.mode,
        command(&["ls", "--port=7", "--", "-x", "--help"])
    );
}

#[test]
fn a_command_may_be_any_bytes_but_a_value_must_be_utf_8() {
    use std::os::unix::ffi::OsStringExt;
    let word = OsString::from_vec(vec![b'a', 0xFF]);
    let value = parse(["--passenv".into(), word.clone()].into_iter()).unwrap_err();
    assert!(value.to_string().ends_with("write it in UTF-8"));

    let parsed = parse([word.clone(), word.clone()].into_iter());
    let Ok(Invocation::Serve(config)) = parsed else {
        panic!("{parsed:?}");
    };
    assert_eq!(config.mode, Mode::Command(vec![word.clone(), word]));
}

#[test]
fn an_empty_command_is_refused() {
    assert_eq!(error(&[""]), "COMMAND is empty: name a program");
    assert_eq!(error(&["--", "", "a"]), "COMMAND is empty: name a program");
    let message = "-- is not followed by a COMMAND: name one, or leave -- out";
    assert_eq!(error(&["--port=1", "--"]), message);
}

#[test]
fn help_and_version_ignore_the_words_after_them() {
    let print = |text: &str| Ok(Invocation::Print(text.to_owned()));
    let help = help::common();
    assert_eq!(parse_words(&["--help", "--nonsense"]), print(&help));
    assert_eq!(parse_words(&["-h"]), print(&help));
    assert_eq!(parse_words(&["--help=all", "-q"]), print(&help::all()));
    assert_eq!(parse_words(&["--port=1", "--version"]), print(VERSION));
    assert_eq!(parse_words(&["-V", "--help"]), print(VERSION));
    assert!(VERSION.starts_with("wspipe ") && VERSION.ends_with('\n'));
    let message = "--help=x: write --help or --help=all";
    assert_eq!(error(&["--help=x"]), message);
}

#[test]
fn the_last_of_a_repeated_option_counts_and_lists_add_up() {
    assert_eq!(config(&["--port=1", "--port=2"]).listen.port, 2);
    let several = config(&["--address=::1", "--address=127.0.0.1", "--address=[::1]"]);
    assert_eq!(several.listen.addresses.len(), 2, "each once");
    assert_eq!(
        config(&["--origin=a,b", "--origin=c"]).access.origins,
        ["a", "b", "c"]
    );
    assert_eq!(
        config(&["--passenv=A", "--passenv=B,C"]).command.passenv,
        ["A", "B", "C"]
    );
}

#[test]
fn an_empty_passenv_passes_no_variable() {
    assert!(config(&["--passenv="]).command.passenv.is_empty());
}
