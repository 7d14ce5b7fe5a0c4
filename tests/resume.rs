//! A command that waits for its client to come back (`--resume`): what is sent again, what is told
//! of what arrived, and what becomes of a session that nobody comes back to.

mod support;

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{
    CLOSE, CONTINUATION, Client, FIN, Message, Server, TEXT, TempDir, as_another_user,
    close_payload, masked, wait_until, write_file,
};

const TOKEN: &str = "0123456789abcdef0123456789ABCDEF";
const OTHER: &str = "ffffffffffffffff0000000000000000";

/// The sub-protocol that names a session.
fn protocol(token: &str, received: u64) -> String {
    format!("wspipe.session.{token}.{received}")
}

/// A client of a session, which its answer must name.
#[track_caller]
fn open(server: &Server, token: &str, received: u64) -> Client {
    let protocol = protocol(token, received);
    let request = server.upgrade("/").add("Sec-WebSocket-Protocol", &protocol);
    let client = match server.try_open(&request) {
        Ok(client) => client,
        Err(response) => panic!("refused: {} {}", response.status, response.text()),
    };
    let named = client.response.header("Sec-WebSocket-Protocol");
    assert_eq!(named, Some(protocol.as_str()));
    client
}

/// A client that comes back, and is told that so many of its messages had arrived.
#[track_caller]
fn resume(server: &Server, received: u64, arrived: u64) -> Client {
    let mut client = open(server, TOKEN, received);
    assert_eq!(client.text(), format!("{{\"received\":{arrived}}}"));
    client
}

/// How a client is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Reset,
    End,
    GoingAway,
}

const LOSSES: [Loss; 3] = [Loss::Reset, Loss::End, Loss::GoingAway];

impl Loss {
    fn befall(self, mut client: Client) {
        match self {
            Loss::Reset => client.wire.reset(),
            Loss::End => drop(client),
            Loss::GoingAway => {
                client.send(FIN | CLOSE, &close_payload(1001, ""));
                client.wire.expect_gone();
            }
        }
    }
}

// -- Coming back ----------------------------------------------------------------------------------

#[test]
fn a_client_that_was_lost_comes_back_to_its_command() {
    for loss in LOSSES {
        let server = Server::script(&["--resume=30"], "echo $$; exec cat");
        let mut client = open(&server, TOKEN, 0);
        // What is not resumed has no welcome.
        let pid = client.text();
        client.round_trip("one");
        client.round_trip("two");
        loss.befall(client);
        let mut client = resume(&server, 3, 2);
        client.round_trip("three");
        assert_eq!(server.only_child().pid.to_string(), pid, "{loss:?}");
        // And once more, with less received than was sent.
        loss.befall(client);
        let mut client = resume(&server, 1, 3);
        assert_eq!(
            [client.text(), client.text(), client.text()],
            ["one", "two", "three"]
        );
        client.leave();
        server.await_no_children();
    }
}

#[test]
fn output_of_the_meantime_is_kept() {
    let dir = TempDir::new();
    let script = format!(
        "echo first; while [ ! -e {} ]; do sleep 0.02; done; seq 1 1000; echo; echo done > {}; exec cat",
        dir.text("go"),
        dir.text("done")
    );
    let server = Server::script(&["--resume=30"], &script);
    let mut client = open(&server, TOKEN, 0);
    assert_eq!(client.text(), "first");
    client.wire.reset();
    support::write_file(&dir.path("go"), "", 0o644);
    wait_until("it has printed", || dir.has("done"));
    let mut client = resume(&server, 1, 0);
    for number in 1..=1000 {
        assert_eq!(client.text(), number.to_string());
    }
    assert_eq!(client.text(), "");
    client.round_trip("x");
}

#[test]
fn a_client_that_ends_its_session_ends_the_command() {
    for code in [Some(1000), None, Some(3000)] {
        let server = Server::script(&["--resume=30"], "exec cat");
        let mut client = open(&server, TOKEN, 0);
        client.round_trip("one");
        let payload = code.map_or(Vec::new(), |code| close_payload(code, ""));
        client.send(FIN | CLOSE, &payload);
        assert!(matches!(client.message(), Message::Close(_)));
        server.await_no_children();
        assert_lost(open(&server, TOKEN, 1));
    }
}

#[test]
fn the_connection_before_is_closed() {
    let server = Server::script(&["--resume=30"], "exec cat");
    let mut old = open(&server, TOKEN, 0);
    old.round_trip("one");
    let mut new = resume(&server, 1, 1);
    assert_eq!(old.expect_close("the old one", 4409), "resumed elsewhere");
    new.round_trip("two");
    assert_eq!(server.children().len(), 1);
}

#[test]
fn sessions_are_apart() {
    let server = Server::script(&["--resume=30"], "exec cat");
    let mut one = open(&server, TOKEN, 0);
    let mut two = open(&server, OTHER, 0);
    let mut none = server.open("/");
    one.round_trip("one");
    two.round_trip("two");
    none.round_trip("none");
    assert_eq!(server.children().len(), 3);
    // Without a session the command ends with its client.
    none.wire.reset();
    wait_until("its command ends", || server.children().len() == 2);
    one.wire.reset();
    resume(&server, 1, 1).round_trip("again");
    two.round_trip("undisturbed");
}

#[test]
fn a_half_message_has_not_arrived() {
    for option in ["--framing=lines", "--binary", "--framing=length"] {
        let dir = TempDir::new();
        let script = format!("exec cat > {}", dir.text("input"));
        let server = Server::script(&["--resume=30", option], &script);
        let mut client = open(&server, TOKEN, 0);
        client.send_text("whole");
        client.send(TEXT, b"half");
        client.send(CONTINUATION, b"half");
        wait_until("the whole one is there", || {
            dir.read("input").contains("whole")
        });
        client.wire.reset();
        let mut client = resume(&server, 0, 1);
        client.send_text("half, again and whole");
        wait_until("it is there", || dir.read("input").contains("again"));
        assert_eq!(dir.read("input").matches("half").count(), 1, "{option}");
        client.wire.reset();
        drop(resume(&server, 0, 2));
    }
}

#[test]
fn what_waits_for_a_full_stdin_arrives_once() {
    let dir = TempDir::new();
    let (go, input) = (dir.text("go"), dir.text("input"));
    let script = format!("while [ ! -e {go} ]; do sleep 0.02; done; exec cat > {input}");
    let server = Server::script(&["--resume=30"], &script);
    let mut client = open(&server, TOKEN, 0);
    let (begun, _) = client
        .wire
        .flood(&masked(FIN | TEXT, &[b'x'; 1000]), 256 << 20);
    client.wire.reset();
    let mut client = open(&server, TOKEN, 0);
    let welcome = client.text();
    let number = welcome
        .trim_start_matches("{\"received\":")
        .trim_end_matches('}');
    let arrived: usize = number.parse().expect("a number");
    assert!(0 < arrived && arrived < begun, "{arrived} of {begun}");
    support::write_file(&dir.path("go"), "", 0o644);
    client.send_text("the next");
    wait_until("it is there", || dir.read("input").contains("the next"));
    assert_eq!(dir.read("input").lines().count(), arrived + 1);
}

// -- Output that is lost --------------------------------------------------------------------------

#[track_caller]
fn assert_lost(mut client: Client) {
    assert_eq!(client.expect_close("lost", 4410), "output lost");
}

#[test]
fn a_session_that_is_not_there_is_told_to_who_comes_back() {
    let server = Server::script(&["--resume=30"], "exec cat");
    assert_lost(open(&server, TOKEN, 1));
    assert_eq!(server.children(), [], "nothing was started");
}

#[test]
fn more_than_was_sent_cannot_be_resumed() {
    let server = Server::script(&["--resume=30"], "exec cat");
    let mut client = open(&server, TOKEN, 0);
    client.round_trip("one");
    client.wire.reset();
    assert_lost(open(&server, TOKEN, 2));
    server.await_no_children();
}

#[test]
fn endless_output_is_kept_within_bounds_and_told_to_be_lost() {
    let server = Server::script(&["--resume=30"], "echo first; exec seq 1 1000000000");
    let before = server.rss_anon();
    let mut client = open(&server, TOKEN, 0);
    assert_eq!(client.text(), "first");
    let command = server.only_child();
    client.wire.reset();
    // It goes on although nobody is there.
    let printed = command.bytes_written();
    wait_until("it prints", || {
        command.bytes_written() > printed + (3 << 20)
    });
    let growth = server.rss_anon().saturating_sub(before);
    assert!(growth < 3 << 20, "the memory grew by {growth} bytes");
    assert_lost(open(&server, TOKEN, 1));
    server.await_no_children();
}

#[test]
fn many_small_messages_are_kept_within_bounds_too() {
    let server = Server::script(&["--resume=30"], "echo first; exec yes ''");
    let before = server.rss_anon();
    let mut client = open(&server, TOKEN, 0);
    assert_eq!(client.text(), "first");
    let command = server.only_child();
    client.wire.reset();
    let printed = command.bytes_written();
    wait_until("it prints", || {
        command.bytes_written() > printed + (1 << 20)
    });
    let growth = server.rss_anon().saturating_sub(before);
    assert!(growth < 3 << 20, "the memory grew by {growth} bytes");
}

// -- The end --------------------------------------------------------------------------------------

#[test]
fn nobody_is_waited_for_for_ever() {
    let server = Server::script(
        &["--resume=500ms"],
        "trap '' INT TERM; while :; do sleep 0.05; done",
    );
    let client = open(&server, TOKEN, 0);
    wait_until("it has started", || server.children().len() == 1);
    let command = server.only_child();
    let start = Instant::now();
    client.wire.reset();
    server.await_gone(command);
    let took = start.elapsed();
    // The wait, and then the ladder to its last rung.
    assert!(took > Duration::from_millis(1450), "{took:?}");
    assert_lost(open(&server, TOKEN, 1));
}

#[test]
fn who_comes_back_ends_the_wait() {
    let server = Server::script(&["--resume=700ms"], "exec cat");
    let mut client = open(&server, TOKEN, 0);
    client.round_trip("one");
    client.wire.reset();
    let mut client = resume(&server, 1, 1);
    client.wire.expect_silence(Duration::from_millis(1500));
    client.round_trip("two");
}

#[test]
fn output_that_breaks_the_format_ends_the_session() {
    for (script, reason) in [
        ("printf x; exec cat", "kind"),
        ("printf '\\001\\000\\000\\000\\011cut'", "inside"),
    ] {
        let dir = TempDir::new();
        let script = format!(
            "while [ ! -e {} ]; do sleep 0.02; done; {script}",
            dir.text("go")
        );
        let server = Server::script(&["--resume=30", "--framing=length"], &script);
        let mut client = open(&server, TOKEN, 0);
        open(&server, OTHER, 0).wire.reset();
        await_lost(&server, 1);
        write_file(&dir.path("go"), "", 0o644);
        let why = client.expect_close(reason, 1011);
        assert!(why.contains(reason), "{why}");
        // So does the command of the one who is not there.
        server.await_no_children();
        assert_lost(open(&server, OTHER, 1));
    }
}

#[test]
fn how_the_command_ended_waits_for_its_client() {
    for loss in LOSSES {
        let dir = TempDir::new();
        let go = dir.text("go");
        let script = format!(
            "echo first; while [ ! -e {go} ]; do sleep 0.02; done; echo second; printf last; exit 7"
        );
        let server = Server::script(&["--resume=30"], &script);
        let mut client = open(&server, TOKEN, 0);
        assert_eq!(client.text(), "first");
        loss.befall(client);
        support::write_file(&dir.path("go"), "", 0o644);
        server.await_no_children();
        let mut client = resume(&server, 1, 0);
        let (texts, close) = client.texts_to_close();
        assert_eq!(texts, ["second", "last"]);
        assert_eq!(close, (4007, "exit 7".into()), "{loss:?}");
        server.await_log(&["ended pid=", "exit=\"exit 7\""]);
        // Now it has been told.
        assert_lost(open(&server, TOKEN, 3));
    }
}

#[test]
fn how_the_command_ended_is_told_again_to_who_was_lost_just_then() {
    let server = Server::script(&["--resume=30"], "read go; echo bye; exit 7");
    let mut client = open(&server, TOKEN, 0);
    client.send_text("go");
    // It is sent the close frame, but does not say that it came.
    assert_eq!(client.text(), "bye");
    assert_eq!(client.close().0, 4007);
    let mut second = resume(&server, 0, 1);
    assert_eq!(second.text(), "bye");
    assert_eq!(second.close(), (4007, "exit 7".into()));
    // Both are lost without an answer.
    client.wire.reset();
    second.wire.reset();
    let mut third = resume(&server, 1, 1);
    assert_eq!(third.expect_close("third", 4007), "exit 7");
    server.await_log(&["ended pid="]);
    assert_lost(open(&server, TOKEN, 1));
}

#[test]
fn a_session_whose_command_is_being_ended_is_over() {
    // No signal but SIGKILL ends it, and that comes late.
    let script = "trap '' INT TERM; echo $$; while :; do sleep 0.05; done";
    let options = ["--resume=30", "--kill-after=1h", "--drain-timeout=100ms"];
    let server = Server::script(&options, script);
    let mut client = open(&server, TOKEN, 0);
    let first = client.text();
    client.leave();
    assert_lost(open(&server, TOKEN, 1));
    let second = open(&server, TOKEN, 0).text();
    assert!(second.parse::<u32>().is_ok_and(|_| second != first));
}

#[test]
fn a_shutdown_waits_for_nobody() {
    let mut server = Server::script(&["--resume=1000"], "exec cat");
    let mut lost = open(&server, TOKEN, 0);
    lost.round_trip("one");
    lost.wire.reset();
    let mut there = open(&server, OTHER, 0);
    there.round_trip("two");
    let start = Instant::now();
    server.signal(Signal::SIGTERM);
    there.expect_close("shutdown", 1001);
    drop(there);
    assert_eq!(server.exit_status().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(8));
}

#[test]
fn who_comes_back_is_no_further_client() {
    for options in [
        &["--once"][..],
        &["--max-clients=1"],
        &["--max-clients-per-ip=1"],
    ] {
        let options = [options, &["--resume=30"]].concat();
        let mut server = Server::script(&options, "cat; exit 3");
        let mut old = open(&server, TOKEN, 0);
        old.round_trip("one");
        // Another is refused; the same one is not, although its loss was not noticed.
        assert!(
            server.try_open(&server.upgrade("/")).is_err(),
            "{options:?}"
        );
        let new = resume(&server, 1, 1);
        old.expect_close("the old one", 4409);
        new.wire.reset();
        let mut new = resume(&server, 1, 1);
        new.round_trip("two");
        new.leave();
        match options[0] {
            "--once" => assert_eq!(server.exit_status().code(), Some(3)),
            _ => server.await_no_children(),
        }
    }
}

#[test]
fn once_ends_when_nobody_has_come_back() {
    let script = "echo one; exec sleep 1000";
    let mut server = Server::script(&["--once", "--resume=300ms"], script);
    let mut client = open(&server, TOKEN, 0);
    assert_eq!(client.text(), "one");
    client.wire.reset();
    assert_eq!(
        server.exit_status().code(),
        Some(130),
        "by the first signal"
    );
}

// -- The secret -----------------------------------------------------------------------------------

#[test]
fn who_comes_back_having_received_nothing_is_told_when_the_session_is_gone() {
    let server = Server::script(&["--resume=30"], "exec cat");
    let offer = |protocols: &str| {
        let request = server.upgrade("/");
        let request = request.add("Sec-WebSocket-Protocol", protocols);
        server.try_open(&request).expect("served")
    };
    let name = protocol(TOKEN, 0);
    let resumed = format!("{name}, wspipe.resume");
    let client = offer(&resumed);
    let named = client.response.header("Sec-WebSocket-Protocol");
    assert_eq!(named, Some(name.as_str()), "the session, not what is asked");
    assert_lost(client);
    assert!(server.children().is_empty(), "no other command is started");
    offer(&name).wire.reset();
    let mut client = offer(&resumed);
    assert_eq!(client.text(), "{\"received\":0}", "the session is there");
    client.round_trip("on");
}

#[test]
fn the_token_is_neither_logged_nor_in_the_environment() {
    let options = ["--resume=30", "--log-level=debug", "--subprotocol=chat"];
    let server = Server::script(&options, "env; echo end; exec cat");
    let protocols = format!("chat, {}", protocol(TOKEN, 0));
    let request = server
        .upgrade("/")
        .add("Sec-WebSocket-Protocol", &protocols);
    let mut client = server.try_open(&request).expect("served");
    loop {
        let line = client.text();
        assert!(!line.contains(TOKEN), "{line}");
        if let Some(value) = line.strip_prefix("HTTP_SEC_WEBSOCKET_PROTOCOL=") {
            assert_eq!(value, "chat");
        }
        if line == "end" {
            break;
        }
    }
    client.wire.reset();
    // In every way in which a session ends, and where it is refused.
    let mut client = open(&server, TOKEN, 0);
    client.send(0xF0, b"no such frame");
    client.wire.expect_gone();
    server.await_no_children();
    assert_lost(open(&server, TOKEN, 9));
    let foreign = server
        .upgrade("/")
        .add("Sec-WebSocket-Protocol", &protocol(TOKEN, 0));
    let refused = server.try_open(&foreign.clone().add("Origin", "http://evil.example"));
    let refused = refused.err().expect("refused").text();
    let unmade = server.try_open(&foreign.without("Sec-WebSocket-Key"));
    let unmade = unmade.err().expect("refused").text();
    server.await_log(&["Sec-WebSocket-Key"]);
    for text in [server.log_text(), refused, unmade] {
        assert!(
            !text.contains(TOKEN) && !text.contains("wspipe.session"),
            "{text}"
        );
    }
}

#[test]
fn what_is_no_session_is_ignored() {
    let options = ["--resume=30", "--subprotocol=chat"];
    let server = Server::script(&options, "exec cat");
    for bad in [
        "wspipe.session.0123.0",
        "wspipe.session.0123456789abcdef0123456789abcdeg.0",
        "wspipe.session.0123456789abcdef0123456789abcdef",
        "wspipe.session.0123456789abcdef0123456789abcdef.",
        "wspipe.session.0123456789abcdef0123456789abcdef.x",
        "wspipe.session.0123456789abcdef0123456789abcdef.99999999999999999999",
        "WSPIPE.session.0123456789abcdef0123456789abcdef.0",
        "wspipe.session",
    ] {
        for (offered, chosen) in [
            (bad.to_owned(), None),
            (format!("{bad}, chat"), Some("chat")),
        ] {
            let request = server.upgrade("/").add("Sec-WebSocket-Protocol", &offered);
            let mut client = server.try_open(&request).expect("served");
            let named = client.response.header("Sec-WebSocket-Protocol");
            assert_eq!(named, chosen, "{offered}");
            client.round_trip("x");
            client.wire.reset();
            server.await_no_children();
        }
    }
}

#[test]
fn no_session_is_named_where_none_is_kept() {
    let offer = protocol(TOKEN, 0);
    let named = |server: &Server, path: &str| {
        let request = server.upgrade(path).add("Sec-WebSocket-Protocol", &offer);
        let client = server.try_open(&request).expect("served");
        (client.response.header("Sec-WebSocket-Protocol")).map(str::to_owned)
    };
    assert_eq!(named(&Server::script(&[], "exec cat"), "/"), None);
    assert_eq!(named(&Server::echo(), "/"), None);
    assert_eq!(named(&Server::script(&["--shared"], "exec cat"), "/"), None);
    let server = Server::start(&["--resume=30", "--route=/echo=echo:", "--route=/cat=cat"]);
    assert_eq!(named(&server, "/echo"), None, "an echo keeps nothing");
    assert_eq!(named(&server, "/cat"), Some(offer.clone()));
}

#[test]
fn the_demos_shell_waits_for_its_own_user_alone() {
    let server = Server::start(&["--resume=30"]);
    let request = |received| {
        let protocol = protocol(TOKEN, received);
        server
            .upgrade("/ws")
            .add("Sec-WebSocket-Protocol", &protocol)
    };
    let mut client = server.try_open(&request(0)).expect("served");
    client.send_text("X=kept; echo one");
    assert_eq!(client.text(), "one");
    client.wire.reset();
    if let Some(other) = as_another_user(|| server.try_open(&request(1))) {
        let refusal = other.err().expect("refused");
        refusal.expect_refusal("another user", 403);
    }
    let mut client = server.try_open(&request(1)).expect("served");
    assert_eq!(client.text(), "{\"received\":1}");
    client.send_text("echo $X");
    assert_eq!(client.text(), "kept");
}

// -- What sessions may take ------------------------------------------------------------------------

/// Waits until the server has noticed so many losses.
#[track_caller]
fn await_lost(server: &Server, count: usize) {
    let lost = || server.log_text().matches(" lost=").count();
    wait_until("the losses are noticed", || lost() >= count);
}

#[test]
fn who_is_waited_for_keeps_his_place() {
    for (option, status) in [("--max-clients=2", 503), ("--max-clients-per-ip=2", 429)] {
        let server = Server::script(&["--resume=30", option], "exec cat");
        for token in [TOKEN, OTHER] {
            let mut client = open(&server, token, 0);
            client.round_trip("x");
            client.wire.reset();
        }
        await_lost(&server, 2);
        let Err(response) = server.try_open(&server.upgrade("/")) else {
            panic!("{option}: a third client was let in");
        };
        response.expect_refusal(option, status);
        // Who comes back needs no further place, and the place is free once he has left.
        resume(&server, 1, 1).leave();
        wait_until("the command is gone", || server.children().len() == 1);
        server.open("/").round_trip("y");
    }
}

/// Whatever ends the wait, and however long the command takes to end.
#[test]
fn the_place_of_who_is_waited_for_no_more_is_free() {
    for (options, script) in [
        (&["--resume=100ms"][..], "exec sleep 1000"),
        (
            &["--resume=30", "--session-timeout=100ms"],
            "exec sleep 1000",
        ),
        (
            &["--resume=30", "--framing=length"],
            "read -r line; echo no head; exec sleep 1000",
        ),
    ] {
        let options = [
            options,
            &["--max-clients=1", "--kill-after=never", "--drain-timeout=0"],
        ]
        .concat();
        let server = Server::script(&options, script);
        let mut client = open(&server, TOKEN, 0);
        client.send_text("\n");
        client.wire.reset();
        wait_until("the place is free", || {
            server.try_open(&server.upgrade("/")).is_ok()
        });
        assert_eq!(server.children().len(), 2, "{options:?}: it has not ended");
    }
}

#[test]
fn a_replay_buffer_takes_what_it_may_and_no_more() {
    // Of these lines each takes as much to be told apart as it is long.
    for line in ["", "a line of the usual length, neither long nor short"] {
        let script = format!("yes '{line}' | head -c 200000; exec cat");
        let server = Server::script(&["--resume=30", "--replay-buffer=100k"], &script);
        let lose = |session: u64| {
            let mut client = open(&server, &format!("{session:032x}"), 0);
            client.send_text("end");
            while !client.text().ends_with("end") {}
            client.wire.reset();
            await_lost(&server, session as usize);
        };
        // The first brings what is there once for all.
        lose(1);
        let before = server.rss_anon();
        (2..=9).for_each(lose);
        let sessions = 8;
        // A quarter for growth, and some for the pages of all.
        let each = server.rss_anon().saturating_sub(before) / sessions;
        assert!(each < 160 << 10, "{each} bytes for each session");
    }
}

#[test]
fn the_time_of_a_session_is_not_prolonged_by_coming_back() {
    let server = Server::script(&["--resume=30", "--session-timeout=1s"], "exec cat");
    let mut client = open(&server, TOKEN, 0);
    client.round_trip("one");
    let began = Instant::now();
    let mut received = 1;
    let code = loop {
        client.wire.reset();
        client = open(&server, TOKEN, received);
        // The time may be over while it is away, or as it is there.
        let end = match client.message() {
            Message::Text(text) if text.starts_with("{\"received\"") => {
                client.send_text("again");
                client.message()
            }
            end => end,
        };
        match end {
            Message::Text(text) if text == "again" => received += 1,
            Message::Close(close) => break close.expect("with a code").0,
            other => panic!("{other:?}"),
        }
        thread::sleep(Duration::from_millis(20));
    };
    assert!([4410, 1008].contains(&code), "{code}");
    assert!(began.elapsed() < Duration::from_secs(5));
    server.await_no_children();
    // Nor while nobody is there.
    let mut client = open(&server, OTHER, 0);
    client.round_trip("one");
    client.wire.reset();
    server.await_no_children();
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_session_belongs_to_its_command() {
    let options = ["--resume=30", "--route=/a=cat", "--route=/b=cat -u"];
    let server = Server::start(&options);
    let offer = |path: &str, received| {
        let request = server.upgrade(path);
        let request = request.add("Sec-WebSocket-Protocol", &protocol(TOKEN, received));
        server.try_open(&request).expect("served")
    };
    let mut client = offer("/a", 0);
    client.round_trip("one");
    client.wire.reset();
    assert_lost(offer("/b", 1));
    let mut client = offer("/a", 1);
    assert_eq!(client.text(), "{\"received\":1}", "it is there still");
}

#[test]
fn coming_back_again_and_again_leaves_no_crowd_of_connections() {
    let server = Server::script(&["--resume=30", "--max-clients=1"], "exec cat");
    let mut client = open(&server, TOKEN, 0);
    client.round_trip("one");
    let before = server.descriptors();
    let mut replaced = Vec::new();
    for _ in 0..20 {
        replaced.push(std::mem::replace(&mut client, resume(&server, 1, 1)));
        assert!(
            server.descriptors() <= before + 2,
            "the one before, and a new one"
        );
    }
    client.round_trip("on");
}

#[test]
fn a_stale_session_is_not_the_one_client_that_is_served() {
    let mut server = Server::start(&["--resume=30", "--once", "--", "sh", "-c", "echo hi; exit 3"]);
    assert_lost(open(&server, TOKEN, 5));
    server.await_log(&["closed", "service=none", "code=4410"]);
    let mut client = open(&server, OTHER, 0);
    assert_eq!(client.text(), "hi");
    assert_eq!(client.expect_close("served", 4003), "exit 3");
    assert_eq!(server.exit_status().code(), Some(3));
}

#[test]
fn a_long_message_is_one_message() {
    let text = "x".repeat(150_000);
    for framing in ["--framing=lines", "--framing=length", "--framing=null"] {
        let server = Server::script(&["--resume=30", framing], "exec cat");
        let mut client = open(&server, TOKEN, 0);
        client.round_trip(&text);
        client.round_trip("short");
        client.wire.reset();
        let mut client = resume(&server, 0, 2);
        assert_eq!(client.text(), text, "{framing}");
        assert_eq!(client.text(), "short");
    }
}

#[test]
fn a_message_that_was_under_way_is_sent_again_from_its_beginning() {
    let dir = TempDir::new();
    let go = dir.text("go");
    let script = format!(
        "printf one; head -c 200000 /dev/zero | tr '\\0' x; while [ ! -e {go} ]; do sleep 0.02; done; \
         echo end; exec cat"
    );
    let server = Server::script(&["--resume=30"], &script);
    let mut client = open(&server, TOKEN, 0);
    // The first fragment is out, and the message has not ended.
    client.wire.peek(70_000);
    client.wire.reset();
    let mut client = resume(&server, 0, 0);
    write_file(&dir.path("go"), "", 0o644);
    let text = client.text();
    assert!(
        text.starts_with("onexxx") && text.ends_with("xend"),
        "{} bytes",
        text.len()
    );
    assert_eq!(text.len(), 200_006);
    client.round_trip("on");
}

#[test]
fn tests_of_pipes_pass_with_small_pipes_too() {
    support::rerun_with_small_pipes(&[
        "output_of_the_meantime_is_kept",
        "what_waits_for_a_full_stdin_arrives_once",
    ]);
}
