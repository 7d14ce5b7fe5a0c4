//! Resumable sessions (`--resume`): a command keeps running while its client is disconnected. Which
//! messages are sent again, which are acknowledged, how a session expires, and what sessions cost.

mod support;

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{
    CLOSE, CONTINUATION, Client, FIN, Message, PING, PONG, Server, TEXT, TempDir, as_another_user,
    close_payload, masked, wait_until, write_file,
};

const TOKEN: &str = "0123456789abcdef0123456789ABCDEF";
const OTHER: &str = "ffffffffffffffff0000000000000000";

/// The subprotocol that names a session and the number of messages received.
fn protocol(token: &str, received: u64) -> String {
    format!("wspipe.session.{token}.{received}")
}

/// Opens a client of the session `token`. Asserts that the response names the session.
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

/// Resumes the session [`TOKEN`]. Asserts that the server received `arrived` messages of the
/// client.
#[track_caller]
fn resume(server: &Server, received: u64, arrived: u64) -> Client {
    let mut client = open(server, TOKEN, received);
    assert_eq!(client.text(), format!("{{\"received\":{arrived}}}"));
    client
}

/// How a client is disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Reset,
    Eof,
    GoingAway,
}

const LOSSES: [Loss; 3] = [Loss::Reset, Loss::Eof, Loss::GoingAway];

impl Loss {
    fn lose(self, mut client: Client) {
        match self {
            Loss::Reset => client.wire.reset(),
            Loss::Eof => drop(client),
            Loss::GoingAway => {
                client.send(FIN | CLOSE, &close_payload(1001, ""));
                client.wire.expect_gone();
            }
        }
    }
}

// -- Resuming -------------------------------------------------------------------------------------

#[test]
fn a_disconnected_client_resumes_its_command() {
    for loss in LOSSES {
        let server = Server::script(&["--resume=30"], "echo $$; exec cat");
        let mut client = open(&server, TOKEN, 0);
        // A new session begins without a `received` message.
        let pid = client.text();
        client.round_trip("one");
        client.round_trip("two");
        loss.lose(client);
        let mut client = resume(&server, 3, 2);
        client.round_trip("three");
        assert_eq!(server.only_child().pid.to_string(), pid, "{loss:?}");
        // Again, but the client has received fewer messages than were sent.
        loss.lose(client);
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
fn output_while_the_client_is_disconnected_is_kept() {
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
    wait_until("the command has printed", || dir.has("done"));
    let mut client = resume(&server, 1, 0);
    for number in 1..=1000 {
        assert_eq!(client.text(), number.to_string());
    }
    assert_eq!(client.text(), "");
    client.round_trip("x");
}

#[test]
fn a_client_that_closes_its_session_terminates_the_command() {
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
fn resuming_closes_the_old_connection() {
    let server = Server::script(&["--resume=30"], "exec cat");
    let mut old = open(&server, TOKEN, 0);
    old.round_trip("one");
    let mut new = resume(&server, 1, 1);
    assert_eq!(
        old.expect_close("the old connection", 4409),
        "resumed elsewhere"
    );
    new.round_trip("two");
    assert_eq!(server.children().len(), 1);
}

#[test]
fn sessions_do_not_affect_each_other() {
    let server = Server::script(&["--resume=30"], "exec cat");
    let mut one = open(&server, TOKEN, 0);
    let mut two = open(&server, OTHER, 0);
    let mut none = server.open("/");
    one.round_trip("one");
    two.round_trip("two");
    none.round_trip("none");
    assert_eq!(server.children().len(), 3);
    // Without a session the command is terminated when its client leaves.
    none.wire.reset();
    wait_until("its command has exited", || server.children().len() == 2);
    one.wire.reset();
    resume(&server, 1, 1).round_trip("again");
    two.round_trip("undisturbed");
}

#[test]
fn an_incomplete_message_is_not_acknowledged() {
    for option in ["--framing=lines", "--binary", "--framing=length"] {
        let dir = TempDir::new();
        let script = format!("exec cat > {}", dir.text("input"));
        let server = Server::script(&["--resume=30", option], &script);
        let mut client = open(&server, TOKEN, 0);
        client.send_text("whole");
        client.send(TEXT, b"half");
        client.send(CONTINUATION, b"half");
        wait_until("the complete message has arrived", || {
            dir.read("input").contains("whole")
        });
        client.wire.reset();
        let mut client = resume(&server, 0, 1);
        client.send_text("half, again but complete");
        wait_until("the message has arrived", || {
            dir.read("input").contains("again")
        });
        assert_eq!(dir.read("input").matches("half").count(), 1, "{option}");
        client.wire.reset();
        drop(resume(&server, 0, 2));
    }
}

#[test]
fn messages_that_wait_for_a_full_stdin_arrive_exactly_once() {
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
    let acknowledgement = client.text();
    let number = acknowledgement
        .trim_start_matches("{\"received\":")
        .trim_end_matches('}');
    let arrived: usize = number.parse().expect("a number");
    assert!(0 < arrived && arrived < begun, "{arrived} of {begun}");
    support::write_file(&dir.path("go"), "", 0o644);
    client.send_text("the next");
    wait_until("the message has arrived", || {
        dir.read("input").contains("the next")
    });
    assert_eq!(dir.read("input").lines().count(), arrived + 1);
}

// -- Output that is lost --------------------------------------------------------------------------

/// Asserts that the session of `client` cannot be resumed.
#[track_caller]
fn assert_lost(mut client: Client) {
    assert_eq!(client.expect_close("a lost session", 4410), "output lost");
}

#[test]
fn resuming_an_unknown_session_is_4410() {
    let server = Server::script(&["--resume=30"], "exec cat");
    assert_lost(open(&server, TOKEN, 1));
    assert_eq!(server.children(), [], "a command was started");
}

/// Frames continue where those that came with the handshake ended, also if the session is gone.
#[test]
fn a_frame_that_begins_with_the_handshake_of_a_lost_session_is_read_whole() {
    let server = Server::script(&["--resume=30"], "exec cat");
    let ping = masked(FIN | PING, b"hello");
    let protocol = protocol(TOKEN, 1);
    let request = server.upgrade("/").add("Sec-WebSocket-Protocol", &protocol);
    let mut at_once = request.to_bytes();
    at_once.extend(&ping[..8]);
    let mut wire = server.connect();
    wire.send(&at_once);
    let mut client = Client::accepted(wire);
    assert_eq!(client.frame().opcode, CLOSE);
    client.wire.send(&ping[8..]);
    let pong = client.frame();
    assert_eq!((pong.opcode, pong.payload), (PONG, b"hello".to_vec()));
}

#[test]
fn a_client_that_claims_more_than_was_sent_cannot_resume() {
    let server = Server::script(&["--resume=30"], "exec cat");
    let mut client = open(&server, TOKEN, 0);
    client.round_trip("one");
    client.wire.reset();
    assert_lost(open(&server, TOKEN, 2));
    server.await_no_children();
}

/// Starts a command that prints `first` and then endless output, and disconnects its client. Asserts
/// that the memory stays bounded while the command prints `len` bytes more.
#[track_caller]
fn disconnect_from_endless_output(script: &str, len: u64) -> Server {
    let server = Server::script(&["--resume=30"], script);
    let before = server.rss_anon();
    let mut client = open(&server, TOKEN, 0);
    assert_eq!(client.text(), "first");
    let command = server.only_child();
    client.wire.reset();
    let printed = command.bytes_written();
    wait_until("the command prints", || {
        command.bytes_written() > printed + len
    });
    let growth = server.rss_anon().saturating_sub(before);
    assert!(growth < 3 << 20, "the memory grew by {growth} bytes");
    server
}

#[test]
fn endless_output_takes_bounded_memory_and_is_then_reported_lost() {
    let script = "echo first; exec seq 1 1000000000";
    let server = disconnect_from_endless_output(script, 3 << 20);
    assert_lost(open(&server, TOKEN, 1));
    server.await_no_children();
}

#[test]
fn many_small_messages_take_bounded_memory() {
    disconnect_from_endless_output("echo first; exec yes ''", 1 << 20);
}

// -- The end of a session -------------------------------------------------------------------------

#[test]
fn a_session_expires_after_the_resume_time() {
    let server = Server::script(
        &["--resume=500ms"],
        "trap '' INT TERM; while :; do sleep 0.05; done",
    );
    let client = open(&server, TOKEN, 0);
    wait_until("the command has started", || server.children().len() == 1);
    let command = server.only_child();
    let start = Instant::now();
    client.wire.reset();
    server.await_gone(command);
    let took = start.elapsed();
    // The resume time, and then the escalation up to its last step.
    assert!(took > Duration::from_millis(1450), "{took:?}");
    assert_lost(open(&server, TOKEN, 1));
}

#[test]
fn resuming_stops_the_resume_timer() {
    let server = Server::script(&["--resume=700ms"], "exec cat");
    let mut client = open(&server, TOKEN, 0);
    client.round_trip("one");
    client.wire.reset();
    let mut client = resume(&server, 1, 1);
    client.wire.expect_silence(Duration::from_millis(1500));
    client.round_trip("two");
}

#[test]
fn output_that_violates_the_framing_ends_the_session() {
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
        // The command of the disconnected client is terminated too.
        server.await_no_children();
        assert_lost(open(&server, OTHER, 1));
    }
}

#[test]
fn the_exit_status_waits_for_the_client_to_resume() {
    for loss in LOSSES {
        let dir = TempDir::new();
        let go = dir.text("go");
        let script = format!(
            "echo first; while [ ! -e {go} ]; do sleep 0.02; done; echo second; printf last; exit 7"
        );
        let server = Server::script(&["--resume=30"], &script);
        let mut client = open(&server, TOKEN, 0);
        assert_eq!(client.text(), "first");
        loss.lose(client);
        support::write_file(&dir.path("go"), "", 0o644);
        server.await_no_children();
        let mut client = resume(&server, 1, 0);
        let (texts, close) = client.texts_to_close();
        assert_eq!(texts, ["second", "last"]);
        assert_eq!(close, (4007, "exit 7".into()), "{loss:?}");
        server.await_log(&["ended pid=", "exit=\"exit 7\""]);
        // The exit status has been delivered, so the session is gone.
        assert_lost(open(&server, TOKEN, 3));
    }
}

#[test]
fn the_exit_status_is_sent_again_until_a_client_answers_the_close() {
    let server = Server::script(&["--resume=30"], "read go; echo bye; exit 7");
    let mut client = open(&server, TOKEN, 0);
    client.send_text("go");
    // The client gets the close frame but does not answer it.
    assert_eq!(client.text(), "bye");
    assert_eq!(client.close().0, 4007);
    let mut second = resume(&server, 0, 1);
    assert_eq!(second.text(), "bye");
    assert_eq!(second.close(), (4007, "exit 7".into()));
    // Both connections are reset without an answer.
    client.wire.reset();
    second.wire.reset();
    let mut third = resume(&server, 1, 1);
    assert_eq!(third.expect_close("the third client", 4007), "exit 7");
    server.await_log(&["ended pid="]);
    assert_lost(open(&server, TOKEN, 1));
}

#[test]
fn a_session_has_ended_once_its_command_is_being_terminated() {
    // Only SIGKILL terminates the command, and that is sent late.
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
fn a_shutdown_does_not_wait_for_disconnected_clients() {
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
fn a_client_that_resumes_does_not_count_twice() {
    for options in [
        &["--once"][..],
        &["--max-clients=1"],
        &["--max-clients-per-ip=1"],
    ] {
        let options = [options, &["--resume=30"]].concat();
        let mut server = Server::script(&options, "cat; exit 3");
        let mut old = open(&server, TOKEN, 0);
        old.round_trip("one");
        // Another client is refused. The same client is accepted although its old connection is
        // open.
        assert!(
            server.try_open(&server.upgrade("/")).is_err(),
            "{options:?}"
        );
        let new = resume(&server, 1, 1);
        old.expect_close("the old connection", 4409);
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
fn with_once_the_server_exits_when_the_session_expires() {
    let script = "echo one; exec sleep 1000";
    let mut server = Server::script(&["--once", "--resume=300ms"], script);
    let mut client = open(&server, TOKEN, 0);
    assert_eq!(client.text(), "one");
    client.wire.reset();
    assert_eq!(
        server.exit_status().code(),
        Some(130),
        "terminated by the first signal"
    );
}

// -- The token and its subprotocol ----------------------------------------------------------------

#[test]
fn with_wspipe_resume_a_missing_session_is_not_replaced() {
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
    assert_eq!(named, Some(name.as_str()), "not the name of the session");
    assert_lost(client);
    assert!(server.children().is_empty(), "a new command was started");
    offer(&name).wire.reset();
    let mut client = offer(&resumed);
    assert_eq!(client.text(), "{\"received\":0}", "the session exists");
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
    // Also after a protocol error, for a lost session, and in refusals.
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
    let invalid = server.try_open(&foreign.without("Sec-WebSocket-Key"));
    let invalid = invalid.err().expect("refused").text();
    server.await_log(&["Sec-WebSocket-Key"]);
    for text in [server.log_text(), refused, invalid] {
        assert!(
            !text.contains(TOKEN) && !text.contains("wspipe.session"),
            "{text}"
        );
    }
}

#[test]
fn invalid_session_protocols_are_ignored() {
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
fn a_session_is_named_only_where_one_is_kept() {
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
    assert_eq!(named(&server, "/echo"), None, "an echo has no session");
    assert_eq!(named(&server, "/cat"), Some(offer.clone()));
}

#[test]
fn the_demos_shell_can_be_resumed_only_by_its_user() {
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

// -- The limits of sessions ------------------------------------------------------------------------

/// Waits until the server has noticed `count` lost connections.
#[track_caller]
fn await_lost(server: &Server, count: usize) {
    let lost = || server.log_text().matches(" lost=").count();
    wait_until("the lost connections are noticed", || lost() >= count);
}

#[test]
fn a_disconnected_session_counts_as_a_client() {
    for (option, status) in [("--max-clients=2", 503), ("--max-clients-per-ip=2", 429)] {
        let server = Server::script(&["--resume=30", option], "exec cat");
        for token in [TOKEN, OTHER] {
            let mut client = open(&server, token, 0);
            client.round_trip("x");
            client.wire.reset();
        }
        await_lost(&server, 2);
        let Err(response) = server.try_open(&server.upgrade("/")) else {
            panic!("{option}: a third client was accepted");
        };
        response.expect_refusal(option, status);
        // A client that resumes takes no further place. Its place is free once it has left.
        resume(&server, 1, 1).leave();
        wait_until("the command has exited", || server.children().len() == 1);
        server.open("/").round_trip("y");
    }
}

/// The place is free whatever ends the session, and before the command has exited.
#[test]
fn a_session_that_has_ended_no_longer_counts_as_a_client() {
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
        assert_eq!(server.children().len(), 2, "{options:?}: it has exited");
    }
}

#[test]
fn a_replay_buffer_takes_no_more_memory_than_its_limit() {
    // Includes lines so short that the bookkeeping of each takes as much memory as its bytes.
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
        // The first session allocates what all sessions share.
        lose(1);
        let before = server.rss_anon();
        (2..=9).for_each(lose);
        let sessions = 8;
        // 100 KiB, a quarter more for growth, and some for pages.
        let each = server.rss_anon().saturating_sub(before) / sessions;
        assert!(each < 160 << 10, "{each} bytes per session");
    }
}

#[test]
fn resuming_does_not_extend_the_session_timeout() {
    let server = Server::script(&["--resume=30", "--session-timeout=1s"], "exec cat");
    let mut client = open(&server, TOKEN, 0);
    client.round_trip("one");
    let began = Instant::now();
    let mut received = 1;
    let code = loop {
        client.wire.reset();
        client = open(&server, TOKEN, received);
        // The session may expire while the client is disconnected, or while it is connected.
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
    // The session also expires while no client is connected.
    let mut client = open(&server, OTHER, 0);
    client.round_trip("one");
    client.wire.reset();
    server.await_no_children();
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_session_can_be_resumed_only_at_its_command() {
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
    assert_eq!(client.text(), "{\"received\":1}", "the session is gone");
}

#[test]
fn resuming_repeatedly_leaves_no_old_connections() {
    let server = Server::script(&["--resume=30", "--max-clients=1"], "exec cat");
    let mut client = open(&server, TOKEN, 0);
    client.round_trip("one");
    let before = server.descriptors();
    let mut replaced = Vec::new();
    for _ in 0..20 {
        replaced.push(std::mem::replace(&mut client, resume(&server, 1, 1)));
        assert!(
            server.descriptors() <= before + 2,
            "more than the old and the new connection"
        );
    }
    client.round_trip("on");
}

#[test]
fn a_client_that_returns_has_one_place_and_its_old_connection_none() {
    for option in ["--max-clients=1", "--max-clients-per-ip=1"] {
        let options = ["--resume=30", "--close-timeout=1h", option];
        let server = Server::script(&options, "exec cat");
        let mut old = open(&server, TOKEN, 0);
        old.round_trip("one");
        // The old connection does not answer its Close.
        let mut new = resume(&server, 1, 1);
        old.expect_close("the old connection", 4409);
        let other = server.upgrade("/");
        assert!(server.try_open(&other).is_err(), "{option}: one too many");
        new.round_trip("two");
        new.leave();
        wait_until("the place is free", || server.try_open(&other).is_ok());
    }
}

/// Its Close would wait behind the output, which the client gets on the new connection.
#[test]
fn a_replaced_connection_that_takes_no_output_is_dropped_at_once() {
    let options = [
        "--resume=30",
        "--max-clients=1",
        "--replay-buffer=64M",
        "--write-timeout=1h",
        "--close-timeout=1h",
        "yes",
    ];
    let server = Server::start(&options);
    let stuck = open(&server, TOKEN, 0);
    server.only_child().await_stalled();
    let before = server.descriptors();
    let new = resume(&server, 0, 0);
    server.await_descriptors(before);
    assert_eq!(server.children().len(), 1);
    drop((stuck, new));
}

#[test]
fn with_once_a_stale_session_is_not_the_served_client() {
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
fn a_partly_sent_message_is_sent_again_from_its_beginning() {
    let dir = TempDir::new();
    let go = dir.text("go");
    let script = format!(
        "printf one; head -c 200000 /dev/zero | tr '\\0' x; while [ ! -e {go} ]; do sleep 0.02; done; \
         echo end; exec cat"
    );
    let server = Server::script(&["--resume=30"], &script);
    let mut client = open(&server, TOKEN, 0);
    // The first fragment has arrived, and the message is incomplete.
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
        "output_while_the_client_is_disconnected_is_kept",
        "messages_that_wait_for_a_full_stdin_arrive_exactly_once",
    ]);
}
