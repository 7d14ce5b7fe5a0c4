//! Command lines that are refused because their options do not fit together.

use crate::cli::testing::{config, error, parse_words};
use crate::config::Shared;

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

#[test]
fn a_first_signal_is_refused_where_no_signal_is_sent() {
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
fn a_shared_command_is_the_only_thing_served() {
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
fn two_different_framings_are_refused() {
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
    for framing in ["length", "headers"] {
        let framing = format!("--framing={framing}");
        let message = error(&[&framing, "--stderr=merge", "cat"]);
        let start = format!("--stderr=merge would break the messages of {framing}: ");
        assert!(message.starts_with(&start), "{message}");
    }
    for framing in ["raw", "length", "headers"] {
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
fn origin_any_takes_no_other_origin() {
    let any = config(&["--origin=any"]);
    assert!(any.access.any_origin && any.access.origins.is_empty());
    let message = "--origin=any lets a.example in too: leave one of the two out";
    assert_eq!(error(&["--origin=any,a.example"]), message);
    assert_eq!(error(&["--origin=a.example", "--origin=any"]), message);
}

#[test]
fn two_options_that_would_serve_the_same_paths_are_refused() {
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
fn pings_must_be_sent_before_the_client_is_dropped() {
    let message = error(&["--ping-interval=60s"]);
    let expected = "a ping every 60s and --pong-timeout=60s would end every quiet client: \
        make --ping-interval the shorter of the two";
    assert_eq!(message, expected);
    assert!(parse_words(&["--ping-interval=50ms", "--pong-timeout=100ms"]).is_ok());
}
