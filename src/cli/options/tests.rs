//! Tests of the table, and of what each option sets.

use std::ffi::OsString;

use super::*;
use crate::cli::reference::default;
use crate::cli::testing::{command, config, error};
use crate::config::{
    Access, ClientLimits, CommandSettings, Config, EndAt, Listen, Mode, Resource, Route,
    ServerLimits, Signal, Stderr, Target,
};
use crate::framing::{Crlf, Framing};
use crate::http::proxy::{Network, Proxies, ProxyHeader};
use crate::log::Level;

#[test]
fn a_line_has_the_form_the_default_and_the_summary() {
    for option in &OPTIONS {
        let form = option.form();
        assert!(form.starts_with("--") && option.name().len() > 1, "{form}");
        let default = default(option).map_or(String::new(), |default| format!(" [{default}]"));
        let left = form.to_owned() + &default;
        let summary = option.line.strip_prefix(&format!("{left:30}  "));
        let summary = summary.unwrap_or_else(|| panic!("not aligned: {}", option.line));
        assert!(!summary.is_empty() && summary == summary.trim(), "{form}");
    }
}

#[test]
fn a_long_text_says_what_an_option_does_in_a_few_sentences() {
    for option in &OPTIONS {
        let (form, text) = (option.form(), option.text);
        assert!(
            text.len() > 20 && text.len() < 600,
            "{form}: {}",
            text.len()
        );
        assert!(text.is_ascii() && text.ends_with('.'), "{form}");
        assert!(!text.contains("  ") && !text.contains('\n'), "{form}");
        assert_eq!(text.matches('`').count() % 2, 0, "{form}");
        for word in text.split(['`', ' ', '=']) {
            if let Some(name) = word.strip_prefix("--") {
                let known = OPTIONS.iter().any(|option| option.name() == name);
                assert!(known, "{form} mentions --{name}");
            }
        }
    }
}

#[test]
fn the_defaults_in_the_help_are_the_defaults() {
    let defaults: Vec<_> = OPTIONS
        .iter()
        .filter_map(|option| Some(format!("--{}={}", option.name(), default(option)?)))
        .collect();
    assert_eq!(defaults.len(), 34, "{defaults:?}");
    let mut words: Vec<_> = defaults.iter().map(String::as_str).collect();
    // With this default, --replay-buffer would have no effect.
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
fn no_option_is_named_twice() {
    for (at, option) in OPTIONS.iter().enumerate() {
        let later = &OPTIONS[at + 1..];
        assert!(later.iter().all(|other| other.name() != option.name()));
    }
}

#[test]
fn a_value_follows_an_equals_sign_or_is_the_next_word() {
    for option in &OPTIONS {
        let name = option.name();
        let needs_another = matches!(
            option.scope,
            Scope::Shared | Scope::Replayed | Scope::Proxied
        );
        if option.takes() != Takes::Value || needs_another {
            continue;
        }
        let (_, word) = option.form().split_once('=').unwrap();
        let sample = match word {
            "LIST" if name == "trust-proxy" => "10.0.0.0/8",
            "NAME" => "HUP",
            "NAME=VALUE" => "A=b",
            "NAME:VALUE" => "core:0",
            "OCTAL" => "077",
            "ADDR" => "::1",
            "LIST" | "LIST|any" => "a",
            "N" => "7",
            "SIZE" if name == "max-memory" => "64M",
            "SIZE" => "2k",
            "TIME" | "TIME|never" => "30s",
            "/PATH=COMMAND|echo:" => "/a=cat",
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
            format!("--{name} needs a value: write {}", option.form())
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
        --subprotocol=p --same-user=no --framing=lines --crlf=keep --flush=3ms --stderr=drop --passenv=E --kill-after=4 --end-at=eof \
        --exit-when-idle --max-clients=17 --max-clients-per-ip=18 --max-processes=19 \
        --spawn-rate=20 --max-memory=64M --session-timeout=21 --idle-timeout=22 \
        --max-message=5 --max-line=6 --max-head=700 --max-headers=8 --high-water=9k \
        --ping-interval=10 --pong-timeout=11 --write-timeout=12 --close-timeout=13 \
        --head-timeout=14 --http-idle-timeout=15 --drain-timeout=16 --log-level=warn --signal=SIGUSR1 \
        --setenv=A=b=c --setenv=A= --cwd=/tmp --umask=27 --nice=-5 --rlimit=as:1G \
        --rlimit=nofile:64 --rlimit=as:unlimited --no-new-privs --user=u --group=7 \
        --trust-proxy=10.0.0.0/8,::1 --trust-header=x-real-ip --resume=23 --replay-buffer=24k";
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
            proxies: Proxies {
                networks: ["10.0.0.0/8", "::1"]
                    .map(|it| Network::parse(it).unwrap())
                    .to_vec(),
                header: Some(ProxyHeader::XRealIp),
            },
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
            end_at: EndAt::Eof,
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
            memory_max: Some(64 * 1024 * 1024),
            drain_timeout: secs(16),
        },
    };
    assert_eq!(config(&words), expected);
}

#[test]
fn a_feature_that_is_off_by_default_can_be_switched_off_again() {
    assert_eq!(config(&["--flush=0"]).command.flush, Some(Duration::ZERO));
    assert_eq!(
        config(&["--flush=1s"]).command.flush,
        Some(Duration::from_secs(1))
    );
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
fn limits_on_clients_can_be_removed_again() {
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
            "--framing=line: write lines, raw, null, length or headers",
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

fn route(path: &str, words: &[&str]) -> Route {
    let target = match words {
        [] => Target::Echo,
        words => Target::Command(words.iter().map(OsString::from).collect()),
    };
    let path = path.to_owned();
    Route { path, target }
}

#[test]
fn routes_add_up_and_replace_the_demo() {
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
fn a_command_takes_the_paths_without_a_route() {
    let beside = config(&["--route=/e=echo:", "cat"]);
    assert_eq!(beside.mode, command(&["cat"]));
    assert_eq!(beside.routes, [route("/e", &[])]);
    let beside = config(&["--echo", "--route=/sh=sh", "--kill-after=2"]);
    assert_eq!((beside.mode, beside.routes.len()), (Mode::Echo, 1));
    let beside = config(&["--dir=.", "--route=/sh=sh"]);
    assert_eq!((beside.mode, beside.routes.len()), (Mode::Routes, 1));
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
        (&["--framing=headers"], Framing::Headers),
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
