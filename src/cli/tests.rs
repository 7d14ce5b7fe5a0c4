//! Command lines and what becomes of them.

use super::*;
use crate::config::Signal;
use crate::config::{
    Access, ClientLimits, CommandSettings, Listen, Resource, Route, ServerLimits, Target,
};

fn parse_words(words: &[&str]) -> Result<Invocation, UsageError> {
    parse(words.iter().map(OsString::from))
}

fn config(words: &[&str]) -> Config {
    match parse_words(words) {
        Ok(Invocation::Serve(config)) => config,
        other => panic!("{words:?}: {other:?}"),
    }
}

fn error(words: &[&str]) -> String {
    let message = parse_words(words).expect_err("refused").to_string();
    assert!(!message.contains('\n'), "one line: {message}");
    message
}

fn command(words: &[&str]) -> Mode {
    Mode::Command(words.iter().map(OsString::from).collect())
}

/// The options in the help as `(name, default)`, where one is given in brackets.
fn options_in_help() -> Vec<(&'static str, Option<&'static str>)> {
    HELP.match_indices("--")
        .map(|(at, _)| &HELP[at + 2..])
        .filter(|text| text.starts_with(|c: char| c.is_ascii_lowercase()))
        .map(|text| {
            let name_len = text.find(|c: char| !c.is_ascii_lowercase() && c != '-');
            let (name, rest) = text.split_at(name_len.unwrap());
            let default = rest
                .strip_prefix('=')
                .and_then(|rest| rest.split_once(' '))
                .and_then(|(_, rest)| rest.strip_prefix('['))
                .and_then(|rest| rest.split_once(']'));
            (name, default.map(|(default, _)| default))
        })
        .collect()
}

#[test]
fn the_help_names_every_option_and_no_other() {
    let in_help = options_in_help();
    for (name, _) in &in_help {
        assert!(find(name).is_ok(), "--{name} is no option");
    }
    for option in OPTIONS {
        let entries = in_help.iter().filter(|(name, _)| *name == option.name);
        assert!(entries.count() >= 1, "--{} is not in the help", option.name);
    }
}

#[test]
fn the_defaults_in_the_help_are_the_defaults() {
    let defaults: Vec<_> = options_in_help()
        .into_iter()
        .filter_map(|(name, default)| Some(format!("--{name}={}", default?)))
        .collect();
    assert_eq!(defaults.len(), 32, "{defaults:?}");
    let mut words: Vec<_> = defaults.iter().map(String::as_str).collect();
    // With that one, the size of what is kept would have no effect.
    words.retain(|word| *word != "--resume=none");
    words.push("--resume=9");
    let expected = Config {
        command: CommandSettings {
            resume: Some(Duration::from_secs(9)),
            ..CommandSettings::default()
        },
        ..Config::default()
    };
    assert_eq!(config(&words), expected);
    assert_eq!(config(&["--resume=none"]), Config::default());
}

#[test]
fn the_help_fits_a_terminal() {
    assert!(HELP.lines().count() <= 55);
    for line in HELP.lines() {
        assert!(line.len() < 80, "{line}");
        assert!(line.is_ascii() && !line.ends_with(' '), "{line}");
    }
}

#[test]
fn no_option_is_named_twice() {
    for (at, option) in OPTIONS.iter().enumerate() {
        let later = &OPTIONS[at + 1..];
        assert!(later.iter().all(|other| other.name != option.name));
    }
}

#[test]
fn without_arguments_it_is_the_demo() {
    assert_eq!(config(&[]), Config::default());
    assert_eq!(config(&[]).mode, Mode::Demo);
}

#[test]
fn the_first_word_that_is_no_option_starts_the_command() {
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
fn a_command_need_not_be_utf_8_but_a_value_must() {
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
fn help_and_version_come_before_what_follows() {
    assert_eq!(parse_words(&["--help", "--nonsense"]), Ok(Invocation::Help));
    assert_eq!(parse_words(&["-h"]), Ok(Invocation::Help));
    assert_eq!(
        parse_words(&["--port=1", "--version"]),
        Ok(Invocation::Version)
    );
    assert_eq!(parse_words(&["-V", "--help"]), Ok(Invocation::Version));
    assert!(VERSION.starts_with("wspipe ") && VERSION.ends_with('\n'));
}

#[test]
fn every_option_with_a_value_takes_both_forms() {
    for option in OPTIONS {
        let name = option.name;
        let Takes::Value(word, _) = option.takes else {
            continue;
        };
        if matches!(option.scope, Scope::Shared | Scope::Kept) {
            continue;
        }
        let sample = match word {
            "LIST" if name == "trust-proxy" => "10.0.0.0/8",
            "NAME" => "HUP",
            "NAME=VALUE" => "A=b",
            "NAME:VALUE" => "core:0",
            "OCTAL" => "077",
            "ADDR" => "::1",
            "LIST" => "a",
            "N" => "7",
            "SIZE" => "2k",
            "TIME" => "30s",
            "MS" => "100",
            "LEVEL" => "debug",
            "/PATH=COMMAND" => "/a=cat",
            "DIR" => ".",
            words => words.rsplit('|').next().unwrap(),
        };
        let joined = config(&[&format!("--{name}={sample}")]);
        let apart = config(&[&format!("--{name}"), sample]);
        assert_eq!(joined, apart, "--{name}");
        assert_ne!(joined, Config::default(), "--{name} changes nothing");

        let message = error(&[&format!("--{name}")]);
        assert_eq!(
            message,
            format!("--{name} needs a value: write --{name}={word}")
        );
        if name != "passenv" {
            let message = error(&[&format!("--{name}=")]);
            assert!(message.starts_with(&format!("--{name}=: ")), "{message}");
        }
    }
}

#[test]
fn each_option_sets_its_own_field() {
    let words = "--address=::1 --port=1 --backlog=2 --origin=null --allow-host=h \
        --subprotocol=p --same-user=no --framing=lines --crlf=keep --flush=3ms --stderr=drop --passenv=E --kill-after=4 \
        --exit-when-idle --max-clients=17 --max-clients-per-ip=18 --max-processes=19 \
        --spawn-rate=20 --session-timeout=21 --idle-timeout=22 \
        --max-message=5 --max-line=6 --max-head=700 --max-headers=8 --high-water=9k \
        --ping-interval=10 --pong-timeout=11 --write-timeout=12 --close-timeout=13 \
        --head-timeout=14 --http-idle-timeout=15 --drain-timeout=16 --log-level=warn --signal=SIGUSR1 \
        --setenv=A=b=c --setenv=A= --cwd=/tmp --umask=27 --nice=-5 --rlimit=as:1G \
        --rlimit=nofile:64 --rlimit=as:unlimited --no-new-privs --user=u --group=7 \
        --trust-proxy=10.0.0.0/8,::1 --resume=23 --replay-buffer=24k";
    let words: Vec<_> = words.split_ascii_whitespace().collect();
    let secs = Duration::from_secs;
    let expected = Config {
        mode: Mode::Demo,
        routes: vec![],
        directory: None,
        user: Some("u".to_owned()),
        group: Some("7".to_owned()),
        log_level: Level::Warn,
        listen: Listen {
            addresses: vec!["::1".parse().unwrap()],
            port: 1,
            backlog: 2,
        },
        access: Access {
            origins: vec!["null".to_owned()],
            any_origin: false,
            allow_hosts: vec!["h".to_owned()],
            subprotocols: vec!["p".to_owned()],
            same_user: false,
            trusted_proxies: ["10.0.0.0/8", "::1"]
                .map(|it| Network::parse(it).unwrap())
                .to_vec(),
        },
        clients: ClientLimits {
            message_len_max: 5,
            high_water: 9 * 1024,
            session_timeout: Some(secs(21)),
            idle_timeout: Some(secs(22)),
            head_len_max: 700,
            headers_max: 8,
            head_timeout: secs(14),
            http_idle_timeout: secs(15),
            ping_interval: secs(10),
            pong_timeout: secs(11),
            write_timeout: secs(12),
            close_timeout: secs(13),
        },
        command: CommandSettings {
            line_len_max: Some(6),
            framing: Framing::Lines,
            crlf: Crlf::Keep,
            flush: Some(Duration::from_millis(3)),
            stderr: Stderr::Drop,
            passenv: vec!["E".into()],
            kill_after: Some(secs(4)),
            first_signal: Signal::User1,
            setenv: vec![("A".into(), "b=c".into()), ("A".into(), "".into())],
            cwd: Some("/tmp".into()),
            umask: Some(0o27),
            nice: Some(-5),
            rlimits: vec![(Resource::Nofile, Some(64)), (Resource::As, None)],
            no_new_privs: true,
            shared: None,
            replay: 0,
            replay_len_max: 24 * 1024,
            restart: false,
            resume: Some(secs(23)),
        },
        server: ServerLimits {
            once: false,
            exit_when_idle: true,
            clients_max: Some(17),
            clients_per_ip_max: Some(18),
            processes_max: 19,
            spawn_rate: Some(20),
            drain_timeout: secs(16),
        },
    };
    assert_eq!(config(&words), expected);
}

#[test]
fn a_shared_command_is_the_only_one() {
    assert_eq!(
        config(&["--shared", "cat"]).command.shared,
        Some(Shared::Lazy)
    );
    let eager = config(&["--shared=eager", "--replay=9", "--restart", "cat"]);
    assert_eq!(eager.command.shared, Some(Shared::Eager));
    assert_eq!((eager.command.replay, eager.command.restart), (9, true));
    for (words, says) in [
        (&["--shared"][..], "--shared needs COMMAND"),
        (
            &["--shared", "--route=/a=cat", "cat"],
            "--shared needs COMMAND",
        ),
        (
            &["--shared=lazy", "cat"],
            "write --shared or --shared=eager",
        ),
        (&["--shared", "--once", "cat"], "--shared and --once"),
        (&["--shared", "--resume=9", "cat"], "--shared and --resume"),
        (&["--replay=9", "cat"], "--replay would have no effect"),
        (&["--restart", "cat"], "--restart would have no effect"),
        (&["--echo", "--shared"], "--shared would have no effect"),
        (
            &["--replay-buffer=9k", "cat"],
            "--replay-buffer would have no effect",
        ),
        (
            &["--replay-buffer=9k", "--shared", "cat"],
            "nothing is kept without --resume or --replay",
        ),
    ] {
        assert!(error(words).contains(says), "{words:?}: {}", error(words));
    }
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
fn no_signal_is_chosen_where_none_is_sent() {
    let words = ["--signal=TERM", "--kill-after=never", "cat"];
    let message = error(&words);
    assert!(
        message.contains("--signal would have no effect"),
        "{message}"
    );
    let words = ["--signal=TERM", "--echo"];
    assert!(error(&words).contains("no command is served"));
}

#[test]
fn an_empty_passenv_passes_nothing() {
    assert!(config(&["--passenv="]).command.passenv.is_empty());
}

#[test]
fn what_is_off_by_default_can_be_switched_off() {
    assert_eq!(config(&["--flush=0"]).command.flush, Some(Duration::ZERO));
    assert_eq!(config(&["--flush=1s"]).command.flush, Some(SECOND));
    assert_eq!(config(&["--flush=5ms", "--flush=off"]).command.flush, None);
    assert_eq!(
        config(&["--max-line=5", "--max-line=none"])
            .command
            .line_len_max,
        None
    );
    assert_eq!(config(&["--kill-after=never"]).command.kill_after, None);
    assert_eq!(
        config(&["--kill-after=0"]).command.kill_after,
        Some(Duration::ZERO)
    );
    assert_eq!(
        config(&["--drain-timeout=0"]).server.drain_timeout,
        Duration::ZERO
    );
    for name in [
        "ping-interval",
        "pong-timeout",
        "write-timeout",
        "close-timeout",
    ] {
        for text in ["0", "never", "off"] {
            let message = error(&[&format!("--{name}={text}")]);
            assert!(message.contains("longer than 0"), "{message}");
        }
    }
}

#[test]
fn stderr_goes_to_the_log_when_bytes_are_raw() {
    assert_eq!(config(&[]).command.stderr, Stderr::Merge);
    assert_eq!(config(&["--binary", "cat"]).command.stderr, Stderr::Log);
    assert_eq!(config(&["--binary", "cat"]).command.framing, Framing::Raw);
    assert_eq!(
        config(&["--stderr=merge", "--binary", "cat"])
            .command
            .stderr,
        Stderr::Merge
    );
}

#[test]
fn a_framing_has_several_names() {
    let cases = [
        (&["--framing=lines"][..], Framing::Lines),
        (&["--framing=raw"], Framing::Raw),
        (&["--binary"], Framing::Raw),
        (&["--framing=null"], Framing::Null),
        (&["--null"], Framing::Null),
        (&["--framing=length"], Framing::Length),
        (&["--binary", "--framing=raw"], Framing::Raw),
        (&["--null", "--framing=null", "--null"], Framing::Null),
    ];
    for (words, framing) in cases {
        assert_eq!(config(words).command.framing, framing, "{words:?}");
    }
    assert_eq!(config(&["--null"]).command.stderr, Stderr::Log);
    assert_eq!(
        config(&["--null", "--flush=1ms", "--max-line=9"])
            .command
            .stderr,
        Stderr::Log
    );
    assert_eq!(config(&["--framing=length"]).command.stderr, Stderr::Log);
    assert_eq!(config(&["--framing=lines"]).command.stderr, Stderr::Merge);
}

#[test]
fn two_framings_that_differ_are_refused() {
    for words in [
        ["--binary", "--null"],
        ["--framing=lines", "--binary"],
        ["--null", "--framing=length"],
        ["--framing=raw", "--framing=null"],
    ] {
        let message = error(&words);
        assert!(message.contains("contradict"), "{words:?}: {message}");
        assert!(message.contains("leave one"), "a remedy: {message}");
    }
}

#[test]
fn stderr_must_suit_the_framing() {
    let message = error(&["--framing=length", "--stderr=merge", "cat"]);
    assert!(
        message.starts_with("--stderr=merge would break"),
        "{message}"
    );
    for framing in ["raw", "length"] {
        let framing = format!("--framing={framing}");
        let message = error(&["--stderr=json", &framing]);
        assert!(message.starts_with("--stderr=json tags lines"), "{message}");
        assert!(message.contains(&framing), "{message}");
    }
    for words in [
        ["--stderr=json", "--framing=lines"],
        ["--stderr=json", "--null"],
        ["--stderr=merge", "--null"],
        ["--stderr=drop", "--framing=length"],
    ] {
        assert!(parse_words(&words).is_ok(), "{words:?}");
    }
}

#[test]
fn any_origin_stands_alone() {
    let any = config(&["--origin=any"]);
    assert!(any.access.any_origin && any.access.origins.is_empty());
    let message = "--origin=any lets a.example in too: leave one of the two out";
    assert_eq!(error(&["--origin=any,a.example"]), message);
    assert_eq!(error(&["--origin=a.example", "--origin=any"]), message);
}

#[test]
fn an_option_without_effect_is_refused() {
    let cases: [(&[&str], &str); 26] = [
        (
            &["--route=/e=echo:", "--kill-after=1"],
            "--kill-after would have no effect",
        ),
        (
            &["--route=/a=cat", "--same-user=no"],
            "--same-user would have no effect",
        ),
        (
            &["--dir=.", "--same-user=no"],
            "--same-user would have no effect",
        ),
        (
            &["--echo", "--spawn-rate=9"],
            "--spawn-rate would have no effect",
        ),
        (
            &["--once", "--exit-when-idle"],
            "--exit-when-idle would have no effect",
        ),
        (
            &["--max-clients=2", "--once", "cat"],
            "--max-clients would have no effect",
        ),
        (
            &["--once", "--max-clients-per-ip=2"],
            "--max-clients-per-ip would have no effect",
        ),
        (&["--echo", "cat"], "--echo takes no COMMAND"),
        (&["--echo", "--binary"], "--binary would have no effect"),
        (&["--flush=9ms", "--echo"], "--flush would have no effect"),
        (&["--echo", "--stderr=log"], "--stderr would have no effect"),
        (&["--echo", "--passenv=A"], "--passenv would have no effect"),
        (
            &["--echo", "--kill-after=1"],
            "--kill-after would have no effect",
        ),
        (&["--echo", "--cwd=/"], "--cwd would have no effect"),
        (
            &["--no-new-privs", "--echo"],
            "--no-new-privs would have no effect",
        ),
        (&["--binary", "--flush=9ms"], "--flush would have no effect"),
        (
            &["--max-line=9", "--binary", "cat"],
            "--max-line would have no effect",
        ),
        (
            &["--max-line=9", "--framing=length", "cat"],
            "--max-line would have no effect",
        ),
        (
            &["--framing=length", "--flush=9ms"],
            "--flush would have no effect",
        ),
        (&["--null", "--crlf=keep"], "--crlf would have no effect"),
        (&["--crlf=keep", "--binary"], "--crlf would have no effect"),
        (&["--echo", "--crlf=keep"], "--crlf would have no effect"),
        (&["--echo", "--null"], "--null would have no effect"),
        (
            &["--echo", "--framing=lines"],
            "--framing would have no effect",
        ),
        (
            &["--same-user=no", "cat"],
            "--same-user would have no effect",
        ),
        (
            &["--echo", "--same-user=no"],
            "--same-user would have no effect",
        ),
    ];
    for (words, start) in cases {
        let message = error(words);
        assert!(message.starts_with(start), "{words:?}: {message}");
        assert!(message.contains("leave"), "a remedy: {message}");
    }
}

fn route(path: &str, words: &[&str]) -> Route {
    let target = match words {
        [] => Target::Echo,
        words => Target::Command(words.iter().map(OsString::from).collect()),
    };
    let path = path.to_owned();
    Route { path, target }
}

#[test]
fn routes_add_up_and_take_the_place_of_the_demo() {
    let several = config(&[
        "--route=/log=tail -f 'my file'",
        "--route",
        "/a/b c=env A=b",
        "--route=/e=echo:",
        "--route=/=sh",
    ]);
    assert_eq!(several.mode, Mode::Routes);
    let expected = [
        route("/log", &["tail", "-f", "my file"]),
        route("/a/b c", &["env", "A=b"]),
        route("/e", &[]),
        route("", &["sh"]),
    ];
    assert_eq!(several.routes, expected);
    assert!(several.has_commands());
    assert!(!config(&["--route=/e=echo:"]).has_commands());
    assert_eq!(config(&["--dir=/srv"]).mode, Mode::Routes);
    assert!(config(&["--dir=/srv", "--passenv=A"]).has_commands());
}

#[test]
fn routes_stand_beside_a_command_that_takes_the_other_paths() {
    let beside = config(&["--route=/e=echo:", "cat"]);
    assert_eq!(beside.mode, command(&["cat"]));
    assert_eq!(beside.routes, [route("/e", &[])]);
    let beside = config(&["--echo", "--route=/sh=sh", "--kill-after=2"]);
    assert_eq!((beside.mode, beside.routes.len()), (Mode::Echo, 1));
    let beside = config(&["--dir=.", "--route=/sh=sh"]);
    assert_eq!((beside.mode, beside.routes.len()), (Mode::Routes, 1));
}

#[test]
fn two_that_would_serve_the_same_paths_are_refused() {
    let cases: [(&[&str], [&str; 2]); 7] = [
        (&["--route=/=cat", "cat"], ["COMMAND", "--route=/"]),
        (&["--route=/=echo:", "--echo"], ["--echo", "--route=/"]),
        (&["--dir=.", "cat"], ["COMMAND", "--dir"]),
        (&["--dir=.", "--echo"], ["--echo", "--dir"]),
        (&["--dir=.", "--route=/=cat"], ["--route=/", "--dir"]),
        (
            &["--route=/a=x", "--route=/a=y"],
            ["--route=/a=y", "has a route already"],
        ),
        (
            &["--route=/=x", "--route=/=echo:"],
            ["--route=/=echo:", "has a route already"],
        ),
    ];
    for (words, parts) in cases {
        let message = error(words);
        for part in parts.into_iter().chain(["leave one of the two out"]) {
            assert!(message.contains(part), "{words:?}: {message}");
        }
    }
}

#[test]
fn a_route_that_cannot_be_reached_or_run_is_refused() {
    let cases = [
        ("/a", "write a path and a command"),
        ("cat", "write a path and a command"),
        ("a=cat", "a path begins with /"),
        ("=cat", "a path begins with /"),
        ("//=cat", "a path begins with /"),
        ("/a/=cat", "a path begins with /"),
        ("/a//b=cat", "a path begins with /"),
        ("/../a=cat", "a path begins with /"),
        ("/a/.=cat", "a path begins with /"),
        ("/a?x=cat", "a path begins with /"),
        ("/a#x=cat", "a path begins with /"),
        ("/a%20b=cat", "a path begins with /"),
        ("/a\nb=cat", "a path begins with /"),
        ("/healthz=cat", "the server's own"),
        ("/.wspipe/x=cat", "the server's own"),
        ("/a=", "name a program"),
        ("/a=  ", "name a program"),
        ("/a='' x", "name a program"),
        ("/a='x", "is not closed"),
    ];
    for (text, says) in cases {
        let message = error(&[&format!("--route={text}")]);
        assert!(
            message.starts_with("--route=") && message.contains(says),
            "{message}"
        );
    }
}

#[test]
fn limits_on_clients_can_be_lifted() {
    for name in [
        "max-clients",
        "max-clients-per-ip",
        "spawn-rate",
        "session-timeout",
        "idle-timeout",
    ] {
        let words = [format!("--{name}=7"), format!("--{name}=none")];
        assert_eq!(config(&[&words[0], &words[1]]), Config::default(), "{name}");
        let message = error(&[&format!("--{name}=0")]);
        assert!(message.contains("or none"), "{message}");
    }
    assert!(error(&["--max-processes=0"]).contains("from 1 to"));
    assert!(config(&["--once", "cat"]).server.once);
}

#[test]
fn pings_come_before_the_client_is_given_up() {
    let message = error(&["--ping-interval=60s"]);
    let expected = "a ping every 60s and --pong-timeout=60s would end every quiet client: \
        make --ping-interval the shorter of the two";
    assert_eq!(message, expected);
    assert!(parse_words(&["--ping-interval=50ms", "--pong-timeout=100ms"]).is_ok());
}

#[test]
fn a_wrong_value_is_shown_with_the_remedy() {
    let cases = [
        (
            "--port=70000",
            "--port=70000: write a number from 0 to 65535",
        ),
        ("--same-user=maybe", "--same-user=maybe: write yes or no"),
        (
            "--stderr=a\nb",
            "--stderr=a\\nb: write merge, log, drop or json",
        ),
        (
            "--framing=line",
            "--framing=line: write lines, raw, null or length",
        ),
        ("--crlf=no", "--crlf=no: write strip or keep"),
        (
            "--log-level=all",
            "--log-level=all: write error, warn, info or debug",
        ),
        (
            "--kill-after=soon",
            "--kill-after=soon: write a time such as 250ms, 10s or 2m, at most 24h, or never",
        ),
        (
            "--trust-proxy=10.1.2.3/8",
            "--trust-proxy=10.1.2.3/8: 10.1.2.3 is inside of that network, whose name is 10.0.0.0/8",
        ),
        (
            "--signal=9",
            "--signal=9: write HUP, INT, QUIT, ABRT, USR1, USR2, ALRM, TERM, WINCH or KILL",
        ),
        (
            "--binary=yes",
            "--binary takes no value: write --binary alone",
        ),
    ];
    for (word, message) in cases {
        assert_eq!(error(&[word]), message);
    }
}

#[test]
fn an_unknown_option_suggests_the_nearest() {
    let cases = [
        ("--prot", "--port"),
        ("--adress=::1", "--address"),
        ("--orgin", "--origin"),
        ("--max_message", "--max-message"),
        ("--ping", "--ping-interval"),
        ("--pasenv", "--passenv"),
        ("--hlep", "--help"),
        ("--log-levels", "--log-level"),
    ];
    for (word, nearest) in cases {
        let message = error(&[word]);
        assert!(
            message.ends_with(&format!("did you mean {nearest}?")),
            "{message}"
        );
    }
    let long = format!("--{}", "x".repeat(100_000));
    for word in ["--x", "--tls", "--host", "-p", "-xyz", "-\n", "--é", &long] {
        assert!(
            error(&[word]).ends_with("wspipe --help lists them"),
            "{word}"
        );
    }
}

#[test]
fn an_option_that_was_renamed_names_the_new_one() {
    for (old, new) in RENAMED {
        let message = error(&[&format!("--{old}=9s"), "cat"]);
        assert_eq!(message, format!("--{old} is now --{new}: write that"));
        assert!(OPTIONS.iter().any(|option| option.name == new));
    }
}
