//! One command for many clients (`--shared`): its output goes to every client, it gets the messages
//! of every client, and a client that is slow, leaves or never reads does not affect the others.

mod support;

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{
    BINARY, CLOSE, CONTINUATION, Client, FIN, Message, Response, Server, TEXT, TempDir, Wire,
    masked, raise_own_descriptor_limit, wait_until, write_file,
};

/// A server whose clients share a command: a shell that runs `script`.
#[track_caller]
fn shared(options: &[&str], script: &str) -> Server {
    Server::script(&[&["--shared"], options].concat(), script)
}

#[track_caller]
fn refusal(server: &Server, status: u16) -> Response {
    match server.try_open(&server.upgrade("/")) {
        Ok(_) => panic!("served"),
        Err(response) => {
            response.expect_refusal("/", status);
            response
        }
    }
}

// -- Start ----------------------------------------------------------------------------------------

#[test]
fn the_command_starts_with_the_first_client_and_is_the_same_for_all() {
    let server = shared(&[], "echo $$; exec cat");
    assert_eq!(server.children(), [], "no client has connected yet");
    let mut first = server.open("/");
    let pid = first.text();
    let mut second = server.open("/another/path?and=query");
    // The new client gets only the output from now on.
    second.send_text("hello");
    assert_eq!(
        (first.text(), second.text()),
        ("hello".into(), "hello".into())
    );
    assert_eq!(server.only_child().pid.to_string(), pid);
    // The command keeps running when clients leave.
    first.leave();
    second.wire.reset();
    let mut third = server.open("/");
    third.round_trip("still running");
    assert_eq!(server.only_child().pid.to_string(), pid);
}

#[test]
fn an_eager_command_starts_with_the_server() {
    let dir = TempDir::new();
    let script = format!("touch {}; exec cat", dir.text("started"));
    let server = Server::script(&["--shared=eager"], &script);
    wait_until("the command starts without a client", || dir.has("started"));
    server.open("/").round_trip("hello");
}

#[test]
fn no_request_is_in_the_environment() {
    let server = shared(
        &["--setenv=SET=it", "--passenv=PASSED,PATH"],
        "env | sort; echo end; exec cat",
    );
    let request = server
        .upgrade("/secret/path?query=secret")
        .add("X-Secret", "secret");
    let mut client = server.try_open(&request).expect("served");
    let mut variables = HashMap::new();
    loop {
        let line = client.text();
        if line == "end" {
            break;
        }
        assert!(!line.contains("secret"), "{line}");
        let (name, value) = line.split_once('=').expect("a variable");
        variables.insert(name.to_owned(), value.to_owned());
    }
    assert_eq!(variables["SET"], "it");
    assert!(variables["SERVER_SOFTWARE"].starts_with("wspipe/"));
    for name in [
        "REMOTE_ADDR",
        "REMOTE_PORT",
        "QUERY_STRING",
        "REQUEST_URI",
        "HTTP_HOST",
    ] {
        assert!(
            !variables.contains_key(name),
            "{name} describes a single client"
        );
    }
}

#[test]
fn a_command_that_cannot_be_started_is_refused_to_each_client() {
    let dir = TempDir::new();
    let path = dir.text("command");
    let server = Server::start(&["--shared=eager", &path]);
    server.await_log(&["warning:", "cannot be started yet"]);
    server.await_log(&["not started"]);
    refusal(&server, 404);
    write_file(&dir.path("command"), "#!/bin/sh\nexec cat\n", 0o644);
    refusal(&server, 500);
    write_file(&dir.path("command"), "#!/bin/sh\nexec cat\n", 0o755);
    server.open("/").round_trip("at last");
}

// -- Output ---------------------------------------------------------------------------------------

#[test]
fn every_line_goes_to_every_client_in_order() {
    let server = shared(&[], "read go; seq 1 2000; echo; printf last");
    let mut clients: Vec<_> = (0..20).map(|_| server.open("/")).collect();
    clients[7].send_text("go");
    let mut expected: Vec<_> = (1..=2000).map(|number| number.to_string()).collect();
    expected.extend(["".into(), "last".into()]);
    for client in &mut clients {
        let (texts, close) = client.texts_to_close();
        assert_eq!(texts, expected);
        assert_eq!(close, (1000, "exit 0".into()));
    }
}

#[test]
fn every_close_frame_carries_the_exit_status() {
    for (script, close) in [
        ("read go; echo bye; exit 7", (4007, "exit 7")),
        ("read go; echo bye; kill -9 $$", (4265, "signal 9")),
    ] {
        let server = shared(&[], script);
        let mut clients: Vec<_> = (0..5).map(|_| server.open("/")).collect();
        clients[0].send_text("go");
        for client in &mut clients {
            let (texts, (code, reason)) = client.texts_to_close();
            assert_eq!(texts, ["bye"]);
            assert_eq!((code, reason.as_str()), close);
        }
        server.await_log(&["ended pid=", &format!("exit=\"{}\"", close.1)]);
        // The next client starts the command again.
        let mut next = server.open("/");
        next.send_text("go");
        assert_eq!(next.text(), "bye");
        assert_eq!(next.close().0, close.0);
    }
}

#[test]
fn a_new_client_begins_with_a_complete_message() {
    let line = "b".to_owned() + &"-".repeat(3000) + "e";
    let script = format!("while :; do echo {line}; done");
    let server = shared(&["--high-water=1M"], &script);
    // The lines are long, so that a new client would often begin in the middle of one.
    for _ in 0..50 {
        let mut client = server.open("/");
        for _ in 0..3 {
            assert!(client.text() == line);
        }
    }
}

#[test]
fn a_long_line_is_split_into_several_messages() {
    let script = "read go; head -c 200000 /dev/zero | tr '\\0' x; echo; echo short; exec cat";
    let server = shared(&["--replay=100"], script);
    let (mut first, mut second) = (server.open("/"), server.open("/"));
    first.send_text("go");
    let long = |client: &mut Client| {
        let mut len = 0;
        while len < 200_000 {
            let text = client.text();
            assert_eq!(client.fragments, 1, "a fragmented message");
            assert!(text.len() <= 64 * 1024, "{} bytes", text.len());
            assert!(text.bytes().all(|byte| byte == b'x'));
            len += text.len();
        }
        assert_eq!(len, 200_000);
        assert_eq!(client.text(), "short");
    };
    long(&mut first);
    long(&mut second);
    long(&mut server.open("/"));
}

#[test]
fn a_new_client_gets_the_last_messages() {
    for (replay, expected) in [
        ("--replay=0", &[][..]),
        ("--replay=1", &["5"]),
        ("--replay=3", &["3", "4", "5"]),
        ("--replay=99", &["1", "2", "3", "4", "5"]),
    ] {
        let server = shared(&[replay], "seq 1 5; exec cat");
        let mut first = server.open("/");
        for number in 1..=5 {
            assert_eq!(first.text(), number.to_string());
        }
        let mut new_client = server.open("/");
        for text in expected {
            assert_eq!(new_client.text(), *text, "{replay}");
        }
        // Then the output that every client gets.
        new_client.round_trip("now");
        assert_eq!(first.text(), "now");
    }
}

#[test]
fn the_replay_does_not_count_as_falling_behind() {
    let server = shared(
        &["--replay=200", "--high-water=1k"],
        "read go; for i in $(seq 1 200); do printf '%04000d\\n' $i; done; echo end; exec cat",
    );
    let mut first = server.open("/");
    first.send_text("go");
    // The burst may make the first client fall behind. The replay must not do so to a new client.
    while let Message::Text(text) = first.message() {
        if text == "end" {
            break;
        }
    }
    let mut new_clients: Vec<_> = (0..3).map(|_| server.open("/")).collect();
    new_clients[0].send_text("now");
    for new_client in &mut new_clients {
        for number in 2..=200 {
            assert_eq!(
                new_client.text().trim_start_matches('0'),
                number.to_string()
            );
        }
        assert_eq!(new_client.text(), "end");
        assert_eq!(new_client.text(), "now");
    }
}

#[test]
fn stderr_goes_to_clients_log_or_nowhere() {
    let script = "read go; echo out; echo err >&2; sleep 0.1; exec cat";
    for (option, expected) in [
        ("--stderr=merge", &["out", "err"][..]),
        ("--stderr=log", &["out"]),
        ("--stderr=drop", &["out"]),
    ] {
        let server = shared(&[option], script);
        let (mut first, mut second) = (server.open("/"), server.open("/"));
        first.send_text("go");
        for client in [&mut first, &mut second] {
            for text in expected {
                assert_eq!(client.text(), *text, "{option}");
            }
        }
        first.round_trip("done");
        assert_eq!(second.text(), "done", "{option}");
        match option {
            "--stderr=log" => drop(server.await_log(&["stderr pid=", " err"])),
            _ => assert!(!server.log_text().contains(" err"), "{option}"),
        }
    }
    let server = shared(&["--stderr=json"], script);
    let (mut first, mut second) = (server.open("/"), server.open("/"));
    first.send_text("go");
    for client in [&mut first, &mut second] {
        let mut texts = [client.text(), client.text()];
        texts.sort();
        let expected = [
            r#"{"stream":"stderr","data":"err"}"#,
            r#"{"stream":"stdout","data":"out"}"#,
        ];
        assert_eq!(texts, expected);
    }
}

#[test]
fn a_prompt_goes_to_every_client() {
    let server = shared(
        &["--flush=20ms"],
        "printf 'name? '; read name; echo hello $name",
    );
    let mut first = server.open("/");
    assert_eq!(first.text(), "name? ");
    let mut second = server.open("/");
    second.send_text("you");
    assert_eq!(
        (first.text(), second.text()),
        ("hello you".into(), "hello you".into())
    );
}

#[test]
fn output_that_violates_the_framing_closes_every_client_and_restarts() {
    for (script, reason) in [
        ("read go; printf 'x'; exec cat", "kind"),
        ("read go; printf '\\001\\000\\000\\000\\011cut'", "inside"),
    ] {
        let server = shared(&["--framing=length", "--restart"], script);
        let (mut first, mut second) = (server.open("/"), server.open("/"));
        first.send_text("go\n");
        for client in [&mut first, &mut second] {
            let why = client.expect_close(script, 1011);
            assert!(why.contains(reason), "{why}");
        }
        server.await_log(&["started again"]);
        wait_until("a client is accepted again", || {
            server.try_open(&server.upgrade("/")).is_ok()
        });
    }
}

#[test]
fn a_command_that_violates_the_framing_exits_before_the_next_start() {
    let dir = TempDir::new();
    let pids = dir.text("pids");
    // Only SIGKILL terminates the command, and that is sent late.
    let script =
        format!("trap '' INT TERM; echo $$ >> {pids}; printf A; while :; do sleep 0.05; done");
    let options = ["--shared=eager", "--framing=length", "--kill-after=1500ms"];
    for restart in [&["--restart"][..], &[]] {
        let server = Server::script(&[&options[..], restart].concat(), &script);
        let starts = || dir.read("pids").lines().count();
        let before = starts();
        let deadline = Instant::now() + Duration::from_secs(20);
        while starts() < before + 2 {
            assert!(Instant::now() < deadline, "it was not started again");
            // Children of the last command may still have to be reaped.
            let children = server.children();
            let commands = children.iter().filter(|child| child.pid == child.group);
            assert!(commands.count() <= 1, "{children:?}");
            // Without --restart the next client causes the next start.
            if let Err(response) = server.try_open(&server.upgrade("/")) {
                response.expect_refusal("it is being terminated", 503);
            }
        }
    }
}

#[test]
fn the_reason_of_a_failed_restart_is_reported_to_every_client() {
    let dir = TempDir::new();
    let path = dir.text("command");
    let server = Server::start(&["--shared=eager", "--restart", &path]);
    let missing = refusal(&server, 404);
    assert!(missing.text().contains("there is no command"));
    write_file(&dir.path("command"), "#!/no/such/interpreter\n", 0o755);
    wait_until("the start is tried again", || {
        let request = server.upgrade("/");
        server.try_open(&request).is_err_and(|it| it.status == 500)
    });
}

#[test]
fn a_long_length_framed_message_stays_one_while_clients_join() {
    let dir = TempDir::new();
    let go = dir.text("go");
    // 200,000 is 0x030d40. The second half is printed after the second client has connected.
    let script = format!(
        "half() {{ head -c 100000 /dev/zero | tr '\\0' $1; }}; read start; \
         printf '\\001\\000\\003\\015\\100'; half a; while [ ! -e {go} ]; do sleep 0.02; done; \
         half b; printf '\\001\\000\\000\\000\\004next'; exec cat >/dev/null"
    );
    for replay in ["--replay=0", "--replay=1"] {
        let server = shared(&["--framing=length", "--high-water=1M", replay], &script);
        let mut first = server.open("/");
        first.send_text("go\n");
        first.wire.peek(60_000);
        let mut second = server.open("/");
        write_file(&dir.path("go"), "", 0o644);
        let long = "a".repeat(100_000) + &"b".repeat(100_000);
        assert_eq!(first.text(), long);
        if replay == "--replay=1" {
            assert_eq!(second.text(), long, "not from its beginning");
        }
        assert_eq!(
            (first.text(), second.text()),
            ("next".into(), "next".into())
        );
        std::fs::remove_file(dir.path("go")).expect("it exists");
    }
}

// -- Clients that do not keep up --------------------------------------------------------------------

#[test]
fn one_client_that_never_reads_does_not_affect_a_thousand_others() {
    raise_own_descriptor_limit();
    const CLIENTS: usize = 1000;
    // More than the small socket buffers hold.
    const ROUNDS: usize = 12;
    const LINES: usize = 2;
    let script =
        "while read round; do printf '%s %059999d\\n%s %059999d\\n' $round 0 $round 1; done";
    let server = shared(&["--stderr=drop"], script);
    let mut stalled = server.open_with_small_buffers("/");
    let mut clients: Vec<_> = (1..CLIENTS).map(|_| server.open("/")).collect();
    let before = server.rss_anon();
    for round in 0..ROUNDS {
        clients[0].send_text(&round.to_string());
        for client in &mut clients {
            for line in 0..LINES {
                let text = client.text();
                assert!(
                    text.starts_with(&format!("{round} 0"))
                        && text.ends_with(&format!("{line:04}")),
                    "{text:?} in place of line {line} of round {round}"
                );
            }
        }
        let growth = server.rss_anon().saturating_sub(before);
        assert!(growth < 4 << 20, "the memory grew by {growth} bytes");
    }
    // The stalled client gets the messages before it fell behind, and the reason of its close.
    let (texts, (code, reason)) = stalled.texts_to_close();
    assert!(texts.len() < ROUNDS * LINES, "it has not fallen behind");
    for (index, text) in texts.iter().enumerate() {
        let (round, line) = (index / LINES, index % LINES);
        assert!(text.starts_with(&format!("{round} 0")) && text.ends_with(&format!("{line:04}")));
    }
    assert_eq!(code, 1008);
    assert!(reason.contains("--high-water"), "{reason}");
    // All others are still connected.
    clients[1].send_text("last");
    for client in &mut clients {
        assert!(client.text().starts_with("last 0"));
    }
}

// -- Input ----------------------------------------------------------------------------------------

/// Message `number` of client `id`: both numbers, its length, and a filling of that length.
fn message(id: usize, number: usize) -> Vec<u8> {
    let len = match number % 10 {
        // Longer than any pipe.
        9 => 150_000,
        rest => rest * 300,
    };
    let mut message = format!("<{id} {number} {len} ").into_bytes();
    message.resize(message.len() + len, b'a' + (id % 26) as u8);
    message.push(b'>');
    message
}

/// Asserts that `input` consists of complete messages, those of each client in order. Returns the
/// number of messages of each client.
#[track_caller]
fn complete_messages(mut input: &[u8], clients: usize, end: &[u8], length: bool) -> Vec<usize> {
    let mut next = vec![0; clients];
    while !input.is_empty() {
        let head_len = if length { 5 } else { 0 };
        let head = &input[head_len..input.len().min(40)];
        let shown = head.escape_ascii();
        assert_eq!(head.first(), Some(&b'<'), "{shown}");
        let mut words = head[1..].split(|&byte| byte == b' ');
        let mut word = || {
            let word = std::str::from_utf8(words.next().expect("a word")).expect("ASCII");
            word.parse::<usize>().unwrap_or_else(|_| panic!("{shown}"))
        };
        let (id, number) = (word(), word());
        assert_eq!(number, next[id], "the next of client {id}");
        next[id] += 1;
        let expected = message(id, number);
        if length {
            let kind = input[0];
            assert_eq!(kind, if number % 3 == 0 { BINARY } else { TEXT });
            assert_eq!(input[1..5], (expected.len() as u32).to_be_bytes());
        }
        let expected = [expected, end.to_vec()].concat();
        let rest = input[head_len..].strip_prefix(&expected[..]);
        input = rest.unwrap_or_else(|| panic!("message {number} of client {id} is incomplete"));
    }
    next
}

#[test]
fn messages_of_many_clients_arrive_complete_and_in_order() {
    const CLIENTS: usize = 6;
    const MESSAGES: usize = 60;
    for (option, end, head_len) in [
        ("--framing=lines", &b"\n"[..], 0),
        ("--framing=null", b"\0", 0),
        ("--binary", b"", 0),
        ("--framing=length", b"", 5),
    ] {
        let dir = TempDir::new();
        let server = shared(&[option], &format!("exec cat > {}", dir.text("input")));
        let clients: Vec<_> = (0..CLIENTS).map(|_| server.open("/")).collect();
        thread::scope(|scope| {
            for (id, mut client) in clients.into_iter().enumerate() {
                scope.spawn(move || {
                    for number in 0..MESSAGES {
                        let text = message(id, number);
                        let kind = if number % 3 == 0 { BINARY } else { TEXT };
                        // In fragments, so that those of other clients arrive in between.
                        let (front, back) = text.split_at(text.len() / 2);
                        client.send(kind, front);
                        client.send(FIN | CONTINUATION, back);
                    }
                    client.leave();
                });
            }
        });
        let total: usize = (0..CLIENTS)
            .flat_map(|id| (0..MESSAGES).map(move |number| message(id, number).len()))
            .map(|len| len + end.len() + head_len)
            .sum();
        wait_until("all of it is written", || {
            std::fs::metadata(dir.path("input")).is_ok_and(|it| it.len() as usize >= total)
        });
        let input = std::fs::read(dir.path("input")).expect("the input");
        let counts = complete_messages(&input, CLIENTS, end, head_len > 0);
        assert_eq!(counts, [MESSAGES; CLIENTS], "{option}");
    }
}

#[test]
fn an_incomplete_message_leaves_nothing_in_stdin() {
    for option in ["--framing=lines", "--binary", "--framing=length"] {
        let dir = TempDir::new();
        let server = shared(&[option], &format!("exec cat > {}", dir.text("input")));
        let mut staying = server.open("/");
        for _ in 0..3 {
            let mut leaving = server.open("/");
            leaving.send(TEXT, b"half of a");
            leaving.send(CONTINUATION, b" message");
            leaving.wire.reset();
            staying.send_text("x");
        }
        wait_until("the complete messages have arrived", || {
            dir.read("input").matches('x').count() == 3
        });
        assert!(!dir.read("input").contains("half"), "{option}");
    }
}

#[test]
fn a_full_stdin_stops_all_clients_and_later_resumes_all() {
    const CLIENTS: usize = 8;
    let dir = TempDir::new();
    let script = format!(
        "while [ ! -e {go} ]; do sleep 0.02; done; exec cat > {input}",
        go = dir.text("go"),
        input = dir.text("input")
    );
    let server = shared(&[], &script);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.open("/")).collect();
    let before = server.rss_anon();
    let mut rests = Vec::new();
    let mut sent = 0;
    for (id, client) in clients.iter_mut().enumerate() {
        let unit = masked(FIN | TEXT, &[b'a' + id as u8; 1000]);
        let (begun, rest) = client.wire.flood(&unit, 256 << 20);
        assert!(
            begun * unit.len() < 256 << 20,
            "the server accepted everything"
        );
        sent += begun;
        rests.push(rest);
    }
    let growth = server.rss_anon().saturating_sub(before);
    assert!(growth < 1 << 20, "the memory grew by {growth} bytes");
    write_file(&dir.path("go"), "", 0o644);
    for (client, rest) in clients.iter_mut().zip(rests) {
        client.wire.send(&rest);
    }
    let total = sent as u64 * 1001;
    wait_until("all of it is written", || {
        std::fs::metadata(dir.path("input")).is_ok_and(|it| it.len() >= total)
    });
    let input = dir.read("input");
    assert_eq!(input.lines().count(), sent);
    for line in input.lines() {
        let first = line.as_bytes()[0];
        assert!(line.len() == 1000 && line.bytes().all(|byte| byte == first));
    }
}

#[test]
fn clients_that_flood_get_fair_shares_of_stdin() {
    const CLIENTS: usize = 4;
    let dir = TempDir::new();
    let (go, input) = (dir.text("go"), dir.text("input"));
    let script = format!(
        "while [ ! -e {go} ]; do sleep 0.02; done; head -c 8000000 > {input}; exec sleep 1000"
    );
    let server = shared(&[], &script);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.open("/")).collect();
    let floods: Vec<_> = (clients.iter_mut().enumerate())
        .map(|(id, client)| {
            let unit = masked(FIN | TEXT, &[b'a' + id as u8; 1000]);
            client.wire.flood(&unit, 256 << 20);
            // More than the command reads in total.
            client.wire.send_in_background(unit.repeat(12_000))
        })
        .collect();
    write_file(&dir.path("go"), "", 0o644);
    wait_until("the command has read its part", || {
        std::fs::metadata(dir.path("input")).is_ok_and(|it| it.len() >= 8_000_000)
    });
    let input = dir.read("input");
    let of = |id: usize| {
        let letter = (b'a' + id as u8) as char;
        input
            .lines()
            .filter(|line| line.starts_with(letter))
            .count()
    };
    let counts: Vec<_> = (0..CLIENTS).map(of).collect();
    // The fair share of each is 2,000 lines of 8,000.
    assert!(counts.iter().all(|&count| count > 500), "{counts:?}");
    drop(server);
    for flood in floods {
        flood.join().expect("the sender");
    }
}

#[test]
fn a_client_that_leaves_while_stdin_is_full_is_noticed() {
    let server = shared(&[], "sleep 1000");
    let staying = server.open("/");
    wait_until("the command has started", || server.children().len() == 1);
    let before = server.descriptors();
    let unit = masked(FIN | TEXT, &[b'x'; 1000]);
    let mut client = server.open("/");
    client.wire.flood(&unit, 256 << 20);
    client.wire.reset();
    server.await_descriptors(before);
    // EOF can be noticed only if the bytes before it fit into the TCP window.
    let mut client = server.open("/");
    client.wire.send(&unit.repeat(10));
    drop(client);
    server.await_descriptors(before);
    assert_eq!(server.children().len(), 1, "the command has exited");
    drop(staying);
}

/// That another client has filled the command's stdin does not cut off a client that has closed.
#[test]
fn a_client_that_has_closed_gets_its_last_bytes_while_stdin_is_full() {
    // A line for each message, so that the first client cannot fall behind.
    let script =
        "for i in $(seq 100); do read -r line; printf '%08000d\\n' $i; done; exec sleep 1000";
    let server = shared(&["--replay=100"], script);
    let mut filler = server.open("/");
    for _ in 0..100 {
        filler.send_text("next");
        filler.text();
    }
    // It gets the replay and does not read. Its Close comes with the handshake, so it is read although
    // the replay fills the outbox.
    let mut wire = Wire::connect_with_small_buffers(server.address());
    let mut at_once = server.upgrade("/").to_bytes();
    at_once.extend(masked(FIN | CLOSE, &1000_u16.to_be_bytes()));
    wire.send(&at_once);
    wire.finish();
    let unit = masked(FIN | TEXT, &[b'x'; 1000]);
    filler.wire.flood(&unit, 256 << 20);
    let received = wire.take_to_end();
    assert!(received.len() > 800_000, "{} bytes", received.len());
    assert!(received.ends_with(b"\x88\x02\x03\xe8"));
}

// -- Restart and shutdown -------------------------------------------------------------------------

#[test]
fn each_restart_is_delayed_longer() {
    let dir = TempDir::new();
    let starts = dir.text("starts");
    let script = format!("echo up; date +%s%N >> {starts}; exit 3");
    let server = Server::script(&["--shared=eager", "--restart"], &script);
    for delay in ["250ms", "500ms", "1s", "2s"] {
        server.await_log(&["started again in", delay]);
    }
    let starts: Vec<u64> = (dir.read("starts").lines())
        .map(|line| line.parse().expect("nanoseconds"))
        .collect();
    let gaps: Vec<_> = starts
        .windows(2)
        .map(|it| (it[1] - it[0]) / 1_000_000)
        .collect();
    for (gap, least) in gaps.iter().zip([250, 500, 1000]) {
        assert!(*gap >= least - 10, "{gaps:?} ms");
    }
    // Until the restart no client is served.
    let response = refusal(&server, 503);
    assert!(response.header("Retry-After").is_some());
    assert!(response.text().contains("--restart"), "{}", response.text());
}

#[test]
fn a_client_is_accepted_again_after_a_restart() {
    let server = shared(&["--restart"], "read line; echo got $line; exit 3");
    for round in 0..3 {
        let mut client = None;
        wait_until("a client is accepted again", || {
            client = server.try_open(&server.upgrade("/")).ok();
            client.is_some()
        });
        let mut client = client.expect("an accepted client");
        client.send_text("x");
        assert_eq!(client.text(), "got x", "round {round}");
        assert_eq!(client.close(), (4003, "exit 3".into()));
    }
}

#[test]
fn a_failed_start_is_retried_with_growing_delays() {
    let dir = TempDir::new();
    let path = dir.text("command");
    let server = Server::start(&["--shared=eager", "--restart", &path]);
    for delay in ["250ms", "500ms", "1s"] {
        server.await_log(&["started again in", delay]);
    }
    write_file(&dir.path("command"), "#!/bin/sh\nexec cat\n", 0o755);
    wait_until("the command runs", || server.children().len() == 1);
    server.open("/").round_trip("at last");
}

#[test]
fn a_shutdown_closes_all_clients_and_terminates_the_command() {
    let mut server = shared(
        &["--restart"],
        "trap '' INT TERM; while :; do sleep 0.1; done",
    );
    let mut clients: Vec<_> = (0..5).map(|_| server.open("/")).collect();
    let command = server.only_child();
    server.signal(Signal::SIGTERM);
    for client in &mut clients {
        client.expect_close("shutdown", 1001);
    }
    assert_eq!(server.exit_status().code(), Some(0));
    assert!(command.is_gone(server.pid()));
}

/// Neither a command that waits for its restart when the shutdown begins, nor one that the shutdown
/// terminates.
#[test]
fn no_command_is_restarted_during_a_shutdown() {
    for exits_first in [true, false] {
        let options = ["--restart", "--drain-timeout=1h", "--close-timeout=1h"];
        let mut server = shared(&options, "read go; exit 3");
        let mut client = server.open("/");
        if exits_first {
            client.send_text("go");
            assert_eq!(client.close().0, 4003);
            server.await_log(&["started again in 250ms"]);
            server.signal(Signal::SIGTERM);
        } else {
            server.signal(Signal::SIGTERM);
            assert_eq!(client.close().0, 1001);
        }
        server.await_no_children();
        // The client delays the exit for longer than the wait before a restart.
        thread::sleep(Duration::from_millis(600));
        client.send_close(1000, "");
        client.wire.expect_eof();
        drop(client);
        assert_eq!(server.exit_status().code(), Some(0));
        let announced = server.log_text().matches("started again in").count();
        assert_eq!(announced, usize::from(exits_first), "{}", server.log_text());
    }
}

#[test]
fn with_exit_when_idle_the_server_exits_after_the_last_client() {
    let mut server = shared(&["--exit-when-idle"], "exec cat");
    let (mut first, mut second) = (server.open("/"), server.open("/"));
    second.send_text("x");
    assert_eq!((first.text(), second.text()), ("x".into(), "x".into()));
    let command = server.only_child();
    first.leave();
    second.round_trip("still there");
    second.leave();
    assert_eq!(server.exit_status().code(), Some(0));
    assert!(command.is_gone(server.pid()));
}

#[test]
fn a_pipe_that_a_grandchild_holds_open_does_not_delay_the_close() {
    let server = shared(&[], "read go; sleep 1000 & echo bye; exit 5");
    let (mut first, mut second) = (server.open("/"), server.open("/"));
    let start = Instant::now();
    first.send_text("go");
    for client in [&mut first, &mut second] {
        let (texts, close) = client.texts_to_close();
        assert_eq!(
            (texts, close),
            (vec!["bye".into()], (4005, "exit 5".into()))
        );
    }
    assert!(start.elapsed() < Duration::from_secs(10));
    server.await_no_children();
}

#[test]
fn tests_of_pipes_pass_with_small_pipes_too() {
    support::rerun_with_small_pipes(&[
        "a_client_that_leaves_while_stdin_is_full_is_noticed",
        "a_full_stdin_stops_all_clients_and_later_resumes_all",
        "every_line_goes_to_every_client_in_order",
        "messages_of_many_clients_arrive_complete_and_in_order",
    ]);
}

/// Bytes that arrive together with the handshake are read even if the command's stdin is full, so
/// they must be few.
#[test]
fn bytes_sent_with_the_handshake_take_bounded_memory() {
    const NEW_CLIENTS: usize = 100;
    let server = shared(&[], "exec sleep 1000");
    let mut first = server.open("/");
    let message = masked(FIN | BINARY, &[7; 1000]);
    let (begun, _) = first.wire.flood(&message, 64 << 20);
    assert!(
        begun * message.len() < 64 << 20,
        "the server accepted everything"
    );
    let before = server.rss_anon();
    let mut at_once = server.upgrade("/").to_bytes();
    at_once.extend(message.repeat(100));
    let new_clients: Vec<_> = (0..NEW_CLIENTS)
        .map(|_| {
            let mut wire = server.connect();
            wire.send(&at_once);
            assert_eq!(Response::read(&mut wire, false).status, 101);
            wire
        })
        .collect();
    let grown = server.rss_anon().saturating_sub(before);
    // The maximum length of a head for each, in a buffer that grows by doubling.
    assert!(grown < (NEW_CLIENTS as u64) * (24 << 10), "{grown} bytes");
    drop(new_clients);
}
