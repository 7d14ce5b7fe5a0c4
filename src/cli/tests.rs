//! Tests of [`parse`](super::parse): which words are options, and where the command begins.

use super::testing::{command, config, error, parse_words};
use super::*;
use crate::config::Mode;
use crate::http::policy::{Page, Policy};
use crate::http::refusal::Refusal;
use crate::http::request::Request;
use crate::limits::{HEADERS_MAX, SIZE_MAX};

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
    let Ok(Invocation::Serve { config, .. }) = parsed else {
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

/// The options that a text advises, as a shell would read them: `--name` or `--name=value`.
fn advised(text: &str) -> Vec<String> {
    let options = text.match_indices("--").filter(|(at, _)| {
        let rest = &text[at + 2..];
        !text[..*at].ends_with(['-', '|']) && rest.starts_with(|it: char| it.is_ascii_lowercase())
    });
    let option = |(at, _)| {
        let rest: &str = &text[at..];
        let is_value = rest.find('=').is_some_and(|equals| {
            let name = &rest[2..equals];
            name.bytes().all(|it| it.is_ascii_lowercase() || it == b'-')
        });
        match is_value {
            true => {
                let word = rest.split([' ', ',', ';', '"']).next().unwrap_or(rest);
                shell_words::split(word)
                    .expect("a shell can read it")
                    .remove(0)
            }
            false => {
                let is_name = |it: char| it.is_ascii_lowercase() || it == '-';
                rest[..rest.find(|it| !is_name(it)).unwrap_or(rest.len())].to_owned()
            }
        }
    };
    options.map(option).collect()
}

/// Asserts that the command line takes every option that `text` advises. An option without the
/// value that it needs only has to exist. Returns the names.
fn follow(text: &str) -> Vec<String> {
    let options = advised(text);
    for option in &options {
        match option.split_once('=') {
            // The operator has named a proxy if that is refused.
            Some(_) => drop(config(&["--trust-proxy=::1", option])),
            None => {
                let known = options::OPTIONS.iter().any(|it| it.name() == &option[2..]);
                assert!(known, "{option} in {text}");
            }
        }
    }
    let name = |option: &String| option.split('=').next().unwrap_or_default().to_owned();
    options.iter().map(name).collect()
}

/// What a server that was started with `words` says to a handshake with these fields. `https`: the
/// report of a trusted proxy.
fn checked(words: &[String], fields: &str, https: Option<bool>) -> Result<(), Refusal> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let access = config(&words).access;
    let policy = Policy::new(
        access.origins,
        access.any_origin,
        access.allow_hosts,
        "box".to_owned(),
        true,
    );
    let policy = policy.expect("the command line has checked it");
    let version = if fields.contains("Host:") {
        "1.1"
    } else {
        "1.0"
    };
    let head = format!("GET / HTTP/{version}\r\n{fields}\r\n\r\n");
    let request = Request::parse(head.as_bytes(), 8).expect("a head");
    let page = Page::of(&request)?;
    policy.check_host(&request, page.as_ref())?;
    policy.check_origin(&request, page.as_ref(), https)
}

#[test]
fn following_the_advice_of_a_403_makes_the_request_accepted() {
    let hosts = [
        "Host: app.example",
        "Host: APP.example.:8443",
        "Host: any",
        "Host: Any:80",
        "Host: 192.168.1.2:80",
        "Host: 192.168.1.2.",
        "Host: [2001:db8::1]:80",
        "Host: [::ffff:10.0.0.1]",
        "Host:",
        "X: no Host",
    ];
    let origins = [
        "",
        "https://app.example",
        "http://app.example",
        "https://app.example:8443",
        "http://[2001:db8::1]:80",
        "null",
        "file://",
        "app://",
        "app://localhost",
        "content://",
        "ionic://localhost",
        "chrome-extension://abcdef",
        "moz-extension://0a-1b",
        "a+b.c-d://x_y.",
        "https://app.example/",
        "https://app.example/a/b?c",
        "file:///",
        "file:///home/a",
        "any",
        "app.example",
        "http://a;reboot",
        "http://a$(reboot)",
        "http://:80",
        "http://",
        "-://a",
        "--origin=any",
        "'",
    ];
    for host in hosts {
        for (origin, https) in origins
            .iter()
            .flat_map(|origin| [None, Some(false), Some(true)].map(|https| (*origin, https)))
        {
            let fields = match origin {
                "" => host.to_owned(),
                origin => format!("{host}\r\nOrigin: {origin}"),
            };
            let mut words = Vec::new();
            // One piece of advice for the Host, one for the Origin.
            for _ in 0..2 {
                let Err(refusal) = checked(&words, &fields, https) else {
                    break;
                };
                let start = refusal.reason.rfind(" --").expect("advice");
                follow(&refusal.reason[start..]);
                words.extend(advised(&refusal.reason[start..]));
            }
            let outcome = checked(&words, &fields, https);
            assert_eq!(outcome, Ok(()), "{fields}, {https:?} with {words:?}");
        }
    }
}

/// The refusal of what a trusted proxy says of its client.
fn forwarding(fields: &str) -> Refusal {
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
    let request = Request::parse(head.as_bytes(), 8).expect("a head");
    let proxies = config(&["--trust-proxy=::1"]).access.proxies;
    let read = proxies.read(&request, std::net::Ipv6Addr::LOCALHOST.into());
    read.expect_err("refused")
}

#[test]
fn every_option_that_a_refusal_advises_can_be_typed() {
    let limits = [256, 700, 1023, 1024, 16 * 1024, SIZE_MAX];
    let mut refusals = vec![
        Refusal::head_timeout(),
        Refusal::other_user(None, 0),
        Refusal::user_behind_proxy(),
        forwarding("Forwarded: for=::2\r\nX-Forwarded-For: ::3"),
        forwarding("X-Real-IP: ::2"),
        Refusal::too_many_from_address(10),
    ];
    refusals.extend(limits.map(Refusal::head_too_large));
    refusals.extend(limits.map(Refusal::target_too_long));
    refusals.extend([1, 64, 513, HEADERS_MAX].map(Refusal::too_many_headers));
    refusals.extend(checked(&[], "Host: app.example", None).err());
    refusals.extend(checked(&[], "Host: localhost\r\nOrigin: null", Some(true)).err());
    let mut followed: Vec<String> = Vec::new();
    for refusal in refusals {
        let names = follow(&refusal.reason);
        assert!(!names.is_empty(), "{}", refusal.reason);
        followed.extend(names);
    }
    // The texts in the source: those that are complete can be typed as they are, and those with a
    // value that is put in are among the above.
    let mut files = vec![std::path::PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src"
    ))];
    let mut texts = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("a directory");
            files.extend(entries.map(|entry| entry.expect("an entry").path()));
            continue;
        }
        let name = path.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
        let name = name.expect("a path in src");
        let is_source = ["http", "server", "client"]
            .iter()
            .any(|it| name.starts_with(it));
        if !is_source || path.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        let text = text
            .split("#[cfg(test)]\nmod tests")
            .next()
            .unwrap_or_default();
        for line in text.lines() {
            let code = line.trim_start();
            if code.starts_with("//") || !code.contains("--") {
                continue;
            }
            texts += 1;
            for option in advised(code) {
                match option.split_once('=') {
                    Some((name, value)) if value.contains('{') => {
                        let is_followed = followed.iter().any(|it| it == name);
                        assert!(is_followed, "{name} in {}: add the refusal", path.display());
                    }
                    _ => drop(follow(&option)),
                }
            }
        }
    }
    assert!(texts > 10, "{texts}");
}
