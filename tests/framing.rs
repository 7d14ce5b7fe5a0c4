//! How the bytes of a command's pipes become messages and back (`--framing`, `--crlf`,
//! `--max-line`, `--flush`), and where its stderr goes (`--stderr`).

mod support;

use std::time::{Duration, Instant};

use support::{
    BINARY, CONTINUATION, Client, FIN, Launch, Message, Random, Server, TEXT, TempDir,
    descendants_of, masked, wait_until, write_file,
};

/// The messages and the close of a command that prints and exits.
#[track_caller]
fn output_of(options: &[&str], script: &str) -> (Vec<Message>, (u16, String)) {
    let server = Server::script(options, script);
    let mut client = server.open("/");
    let mut messages = Vec::new();
    loop {
        match client.message() {
            Message::Close(close) => return (messages, close.expect("a code")),
            message => messages.push(message),
        }
    }
}

#[track_caller]
fn texts_of(options: &[&str], script: &str) -> Vec<String> {
    let (messages, close) = output_of(options, script);
    assert_eq!(close, (1000, "exit 0".to_string()), "after {messages:?}");
    let texts = messages.into_iter().map(|message| match message {
        Message::Text(text) => text,
        other => panic!("{other:?} in place of a text"),
    });
    texts.collect()
}

fn text(text: &str) -> Message {
    Message::Text(text.to_string())
}

// -- Lines ----------------------------------------------------------------------------------------

#[test]
fn a_carriage_return_before_the_newline_is_stripped_or_kept() {
    let script = r"printf 'a\r\nb\n\r\nc\r'";
    assert_eq!(
        texts_of(&["--framing=lines"], script),
        ["a", "b", "", "c\r"]
    );
    assert_eq!(
        texts_of(&["--crlf=keep"], script),
        ["a\r", "b", "\r", "c\r"]
    );
}

#[test]
fn a_line_over_max_line_closes_the_connection_with_1009() {
    let script = "printf '1234567890\\r\\n1234567890\\n12345678901\\n'; exec sleep 1000";
    let (messages, (code, reason)) = output_of(&["--max-line=10"], script);
    assert_eq!(messages, [text("1234567890"), text("1234567890")]);
    assert_eq!(code, 1009);
    let expected = "the command printed a line longer than 10 bytes (--max-line)";
    assert_eq!(reason, expected);
}

#[test]
fn an_endless_line_is_refused_once_it_exceeds_max_line() {
    for max_line in ["1k", "64k", "200k"] {
        let option = format!("--max-line={max_line}");
        let server = Server::script(&[&option], "tr '\\0' x </dev/zero");
        let mut client = server.open("/");
        // A line longer than a fragment is sent in part, and the close comes inside its message.
        let mut len = 0;
        let (code, reason) = loop {
            let frame = client.frame();
            if frame.opcode == support::CLOSE {
                let code = u16::from_be_bytes([frame.payload[0], frame.payload[1]]);
                break (code, String::from_utf8(frame.payload[2..].to_vec()));
            }
            assert!(!frame.fin);
            len += frame.payload.len();
        };
        assert_eq!(code, 1009);
        assert!(reason.expect("UTF-8").contains("--max-line"));
        assert!(len <= 200 * 1024, "{len} bytes were sent");
        server.await_no_children();
        server.await_log(&["warn", "--max-line"]);
    }
}

// -- Prompts --------------------------------------------------------------------------------------

#[test]
fn with_flush_a_prompt_is_sent_after_the_flush_time() {
    let script = "printf 'name? '; read name; echo hello $name; printf 'bye? '; read x";
    let server = Server::script(&["--flush=50ms"], script);
    let mut client = server.open("/");
    assert_eq!(client.text(), "name? ");
    client.send_text("Ada");
    assert_eq!([client.text(), client.text()], ["hello Ada", "bye? "]);
    client.leave();
}

#[test]
fn without_flush_a_prompt_is_withheld() {
    let server = Server::script(&[], "printf 'name? '; exec cat");
    let mut client = server.open("/");
    client.wire.expect_silence(Duration::from_millis(300));
    client.send_text("x");
    assert_eq!(client.text(), "name? x");
}

#[test]
fn a_prompt_is_not_cut_inside_a_character() {
    let script = r"printf 'costs 5 \342\202'; sleep 0.5; printf '\254\n'; printf '\342'; sleep 0.3";
    let texts = texts_of(&["--flush=20ms"], script);
    assert_eq!(texts, ["costs 5 ", "€", "\u{FFFD}"]);
}

#[test]
fn with_flush_an_incomplete_nul_record_is_sent() {
    let server = Server::script(&["--null", "--flush=50ms"], "printf 'a\\0b\\n'; exec cat");
    let mut client = server.open("/");
    assert_eq!([client.text(), client.text()], ["a", "b\n"]);
    client.leave();
}

/// The flush time runs for each line separately.
#[test]
fn flush_does_not_split_a_line_that_ends_in_time() {
    let script = "for i in $(seq 30); do printf 'in two parts\\nwritten '; sleep 0.05; done";
    let mut texts = texts_of(&["--flush=1s"], script);
    assert_eq!(texts.pop().as_deref(), Some("written "));
    assert_eq!(texts[0], "in two parts");
    let others: Vec<_> = texts[1..]
        .iter()
        .filter(|it| *it != "written in two parts")
        .collect();
    assert!(texts.len() == 30 && others.is_empty(), "{others:?}");
}

/// The server has read the start of a line. Its end stays in the pipe while the client does not
/// read.
#[test]
fn flush_does_not_split_a_line_whose_end_waits_in_the_pipe() {
    // Unlike `yes`, `seq` does not write whole lines.
    let server = Server::start(&["--flush=200ms", "seq", "-f", "%01000.0f", "20000"]);
    let mut client = server.open("/");
    let mut expect = |number: usize| assert_eq!(client.text(), format!("{number:01000}"));
    expect(1);
    server.only_child().await_stalled();
    std::thread::sleep(Duration::from_millis(500));
    (2..=20_000).for_each(&mut expect);
    assert_eq!(client.close().0, 1000);
}

// -- Records that end with NUL --------------------------------------------------------------------

#[test]
fn with_null_records_end_with_nul_in_both_directions() {
    for option in ["--null", "--framing=null"] {
        let server = Server::script(&[option], "printf 'one\\n\\0\\0two\\r\\0'; exec cat");
        let mut client = server.open("/");
        let greeting = [client.text(), client.text(), client.text()];
        assert_eq!(greeting, ["one\n", "", "two\r"]);
        client.round_trip("several\nlines\n");
        client.round_trip("");
        // A NUL inside a message is not escaped, like a newline with the lines framing.
        client.send_text("a\0b");
        assert_eq!([client.text(), client.text()], ["a", "b"]);
        client.leave();
    }
}

#[test]
fn a_message_to_a_command_ends_in_exactly_one_nul() {
    let server = Server::script(&["--null"], "head -c 5 | od -An -c | tr '\\n' '\\0'");
    let mut client = server.open("/");
    client.send_text("a\n");
    client.send_binary(b"b");
    let bytes = client.text();
    let bytes: Vec<_> = bytes.split_whitespace().collect();
    assert_eq!(bytes, ["a", "\\n", "\\0", "b", "\\0"]);
}

#[test]
fn with_null_stderr_does_not_mix_with_the_records() {
    let script = "printf 'one\\0'; echo warning >&2; printf 'two\\0'";
    let server = Server::script(&["--null"], script);
    assert_eq!(server.open("/").texts_to_close().0, ["one", "two"]);
    server.await_log(&["warning"]);
}

// -- Messages with their length -------------------------------------------------------------------

#[test]
fn with_length_framing_messages_are_exact_in_both_directions() {
    let server = Server::start(&["--framing=length", "cat"]);
    let mut client = server.open("/");
    for text in ["hello", "", "two\nlines\n", "nul \0 and ß€🦀", "\r\n"] {
        client.round_trip(text);
    }
    for bytes in [&b""[..], b"\x01\0\0\0\x05", b"\xFF\xFE", &[0; 70_000]] {
        client.send_binary(bytes);
        assert_eq!(client.binary(), bytes);
    }
    client.send(BINARY, b"in ");
    client.send(FIN | CONTINUATION, b"two");
    assert_eq!(client.binary(), b"in two");
    client.leave();
}

#[test]
fn with_length_framing_the_command_gets_kind_and_length() {
    let script = "head -c 14 | od -An -tx1 -v | tr -d '\\n ' >&2";
    let server = Server::script(&["--framing=length"], script);
    let mut client = server.open("/");
    client.send_text("ab");
    client.send_binary(&[0xFF, 0]);
    server.await_log(&["0100000002616202", "00000002ff00"]);
}

#[test]
fn with_length_framing_a_message_of_any_length_stays_one_message() {
    let server = Server::start(&["--framing=length", "--max-message=4M", "cat"]);
    let mut random = Random::new();
    let mut client = server.open("/");
    for len in [65_535, 65_536, 65_537, 131_072, 3_000_000] {
        let text = random.text(len);
        let sender = client
            .wire
            .send_in_background(masked(FIN | TEXT, text.as_bytes()));
        assert!(client.text() == text, "a text of {} bytes", text.len());
        assert_eq!(client.fragments > 1, text.len() > 65_536, "{}", text.len());
        sender.join().expect("the sender");
        let bytes = random.bytes(len);
        let sender = client.wire.send_in_background(masked(FIN | BINARY, &bytes));
        assert!(client.binary() == bytes, "{len} bytes");
        sender.join().expect("the sender");
    }
    client.leave();
}

#[test]
fn with_length_framing_a_message_of_4_gib_takes_no_memory() {
    let script = r"printf '\002\377\377\377\377'; exec cat /dev/zero";
    let server = Server::script(&["--framing=length"], script);
    let before = server.rss_anon();
    let mut client = server.open("/");
    let mut len = 0;
    while len < 50 << 20 {
        let frame = client.frame();
        assert!(!frame.fin && frame.payload.len() <= 65_536);
        len += frame.payload.len();
    }
    let growth = server.rss_anon().saturating_sub(before);
    assert!(growth < 1 << 20, "the memory grew by {growth} bytes");
}

#[test]
fn output_that_violates_length_framing_closes_with_1011() {
    let cases = [
        // Output of the command, the messages before the fault, a word of the reason.
        ("hello", vec![], "104"),
        (r"\001\000\000\000\002hi\n", vec![text("hi")], "10"),
        (r"\001\000\000\000\001\377", vec![], "UTF-8"),
        (r"\001\000\000\000\001\342", vec![], "UTF-8"),
        (r"\000", vec![], "0"),
    ];
    for (output, before, word) in cases {
        let script = format!("printf '{output}'; exec sleep 1000");
        let server = Server::script(&["--framing=length"], &script);
        let mut client = server.open("/");
        for expected in before {
            assert_eq!(client.message(), expected);
        }
        let reason = client.expect_close(output, 1011);
        assert!(reason.contains(word), "{output}: {reason}");
        server.await_no_children();
        server.await_log(&["warn", &reason]);
    }
}

#[test]
fn output_that_ends_inside_a_message_closes_with_1011() {
    for output in [
        r"\001",
        r"\001\000\000",
        r"\002\000\000\000\003ab",
        r"\001\000\000\000\000\002",
    ] {
        // When the command exits, and when it only closes the pipe.
        for then in ["exit 3", "exec sleep 1000 >&- 2>&-"] {
            let script = format!("printf '{output}'; {then}");
            let server = Server::script(&["--framing=length"], &script);
            let mut client = server.open("/");
            let close = loop {
                if let Message::Close(close) = client.message() {
                    break close.expect("a code");
                }
            };
            assert_eq!(close.0, 1011, "{output} {then}: {close:?}");
            assert!(close.1.contains("inside a message"), "{close:?}");
            server.await_no_children();
        }
    }
}

/// The fault is noticed at the exit of the command. A child outside its process group keeps the
/// pipe open, so there is no EOF.
#[test]
fn an_incomplete_message_is_a_fault_at_the_exit_of_the_command() {
    for options in [&[][..], &["--shared"], &["--resume=30"]] {
        let dir = TempDir::new();
        let (left, done) = (dir.text("left"), dir.text("done"));
        let script = format!(
            "printf '\\001\\000\\000\\000\\011cut'
            setsid sh -c 'touch {left}; while [ ! -e {done} ]; do sleep 0.02; done' &
            while [ ! -e {left} ]; do sleep 0.02; done; exit 3"
        );
        let server = Server::script(&[options, &["--framing=length"]].concat(), &script);
        let session = "wspipe.session.0123456789abcdef0123456789abcdef.0";
        let request = server.upgrade("/").add("Sec-WebSocket-Protocol", session);
        let mut client = server.try_open(&request).expect("served");
        let reason = client.expect_close("an incomplete message", 1011);
        assert!(reason.contains("inside a message"), "{options:?}: {reason}");
        write_file(&dir.path("done"), "", 0o644);
        server.await_no_children();
    }
}

#[test]
fn output_that_ends_after_a_message_is_no_fault() {
    let script = r"printf '\001\000\000\000\002hi\002\000\000\000\000'; exit 3";
    let (messages, close) = output_of(&["--framing=length"], script);
    assert_eq!(messages, [text("hi"), Message::Binary(Vec::new())]);
    assert_eq!(close, (4003, "exit 3".to_string()));
    let (messages, close) = output_of(&["--framing=length"], "true");
    assert_eq!((messages.len(), close.0), (0, 1000));
}

// -- Messages with header fields ------------------------------------------------------------------

#[test]
fn with_headers_framing_messages_are_exact_in_both_directions() {
    let server = Server::start(&["--framing=headers", "--max-message=4M", "cat"]);
    let mut client = server.open("/");
    for text in ["{}", "", "two\nlines\n", "nul \0 and ß€🦀", "\r\n\r\n"] {
        client.round_trip(text);
    }
    // A header has no kind.
    client.send_binary(b"bytes");
    assert_eq!(client.text(), "bytes");
    let mut random = Random::new();
    for len in [65_535, 65_537, 3_000_000] {
        let text = random.text(len);
        let sender = client
            .wire
            .send_in_background(masked(FIN | TEXT, text.as_bytes()));
        assert!(client.text() == text, "a text of {} bytes", text.len());
        sender.join().expect("the sender");
    }
    client.leave();
}

#[test]
fn with_headers_framing_the_command_gets_the_length_and_the_message() {
    let script = "head -c 46 | od -An -c -v | tr -d '\\n ' >&2";
    let server = Server::script(&["--framing=headers"], script);
    let mut client = server.open("/");
    client.send_text("ß");
    client.send_binary(b"{}");
    server.await_log(&[r"Content-Length:2\r\n\r\n303237Content-Length:2\r\n\r\n{}"]);
}

#[test]
fn output_that_violates_headers_framing_closes_with_1011() {
    let cases = [
        // Output of the command, the messages before the fault, a word of the reason.
        ("hello\\n", vec![], "no header field"),
        (
            r"Content-Length: 2\r\n\r\nhi\n",
            vec![text("hi")],
            "without Content-Length",
        ),
        (
            r"Content-Type: x\r\n\r\n{}",
            vec![],
            "without Content-Length",
        ),
        (
            r"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
            vec![],
            "two Content-Lengths",
        ),
        (r"Content-Length: 4294967296\r\n", vec![], "4294967295"),
        (r"Content-Length: 1\r\n\r\n\377", vec![], "UTF-8"),
    ];
    for (output, before, word) in cases {
        let script = format!("printf '{output}'; exec sleep 1000");
        let server = Server::script(&["--framing=headers"], &script);
        let mut client = server.open("/");
        for expected in before {
            assert_eq!(client.message(), expected);
        }
        let reason = client.expect_close(output, 1011);
        assert!(reason.contains(word), "{output}: {reason}");
        server.await_no_children();
        server.await_log(&["warn", &reason]);
    }
    let script = "printf 'Content-Length: 9\\r\\n\\r\\n{}'; exit 3";
    let server = Server::script(&["--framing=headers"], script);
    let mut client = server.open("/");
    let close = loop {
        if let Message::Close(close) = client.message() {
            break close.expect("a code");
        }
    };
    assert_eq!(close.0, 1011);
    assert!(close.1.contains("inside a message"), "{close:?}");
}

#[test]
fn an_endless_header_takes_no_memory() {
    let script = "printf 'X: '; exec cat /dev/zero";
    let server = Server::script(&["--framing=headers"], script);
    let mut client = server.open("/");
    let reason = client.expect_close("an endless header", 1011);
    assert!(reason.contains("4096 bytes"), "{reason}");
}

// -- Stderr ---------------------------------------------------------------------------------------

/// Stream, data and `more` of a message of `--stderr=json` whose data needs no unescaping.
#[track_caller]
fn tagged(message: &str) -> (&str, &str, bool) {
    let rest = message.strip_prefix("{\"stream\":\"").expect(message);
    let (stream, rest) = rest.split_once("\",\"data\":\"").expect(message);
    match rest.strip_suffix("\",\"more\":true}") {
        Some(data) => (stream, data, true),
        None => (stream, rest.strip_suffix("\"}").expect(message), false),
    }
}

#[test]
fn json_tags_the_lines_of_both_streams() {
    let script =
        r#"echo out; printf 'quo"te \\ \t \001 \377\r\n' >&2; printf last; printf end >&2"#;
    let mut texts = texts_of(&["--stderr=json"], script);
    texts.sort();
    assert_eq!(
        texts,
        [
            r#"{"stream":"stderr","data":"end"}"#,
            "{\"stream\":\"stderr\",\"data\":\"quo\\\"te \\\\ \\t \\u0001 \u{FFFD}\"}",
            r#"{"stream":"stdout","data":"last"}"#,
            r#"{"stream":"stdout","data":"out"}"#,
        ]
    );
}

#[test]
fn json_works_with_records_that_end_with_nul() {
    let script = "printf 'a\\nb\\0'; echo warning >&2";
    let mut texts = texts_of(&["--stderr=json", "--null"], script);
    texts.sort();
    assert_eq!(
        texts,
        [
            r#"{"stream":"stderr","data":"warning"}"#,
            r#"{"stream":"stdout","data":"a\nb"}"#
        ]
    );
}

#[test]
fn json_sends_prompts_of_both_streams() {
    let script = "printf 'out? '; printf 'err? ' >&2; exec sleep 1000";
    let server = Server::script(&["--stderr=json", "--flush=50ms"], script);
    let mut client = server.open("/");
    let mut texts = [client.text(), client.text()];
    texts.sort();
    assert_eq!(tagged(&texts[0]), ("stderr", "err? ", false));
    assert_eq!(tagged(&texts[1]), ("stdout", "out? ", false));
    client.leave();
}

#[test]
fn json_splits_a_long_line_into_messages_marked_more() {
    for (len, messages) in [(65_536, 1), (65_537, 2), (200_000, 4)] {
        let script = format!("head -c {len} /dev/zero | tr '\\0' x; echo; echo short");
        let texts = texts_of(&["--stderr=json"], &script);
        assert_eq!(texts.len(), messages + 1, "{len}");
        let mut sum = 0;
        for (index, text) in texts[..messages].iter().enumerate() {
            let (stream, data, more) = tagged(text);
            assert_eq!((stream, more), ("stdout", index + 1 < messages), "{len}");
            sum += data.len();
        }
        assert_eq!(sum, len);
        assert_eq!(tagged(&texts[messages]), ("stdout", "short", false));
    }
}

#[test]
fn json_does_not_let_one_stream_block_the_other() {
    // One endless line, and endlessly many lines, on either stream.
    for flood in ["tr '\\0' x </dev/zero", "yes"] {
        for (flood_to, other_to, other) in [("1", "2", "stderr"), ("2", "1", "stdout")] {
            let script = format!("{flood} >&{flood_to} & sleep 0.3; echo here >&{other_to}; wait");
            let server = Server::script(&["--stderr=json"], &script);
            let mut client = server.open("/");
            let start = Instant::now();
            while tagged(&client.text()) != (other, "here", false) {
                let waited = start.elapsed();
                assert!(waited < support::TIMEOUT, "{flood} {flood_to}");
            }
        }
    }
}

#[test]
fn json_takes_only_the_memory_of_the_queues() {
    // Each empty line, one byte, becomes a message of 33 bytes.
    let server = Server::script(&["--stderr=json"], "yes '' & yes '' >&2");
    let before = server.rss_anon();
    let mut client = server.open("/");
    client.text();
    for command in descendants_of(server.pid()) {
        command.await_stalled();
    }
    let growth = server.rss_anon().saturating_sub(before);
    assert!(growth < 1 << 20, "the memory grew by {growth} bytes");
    for _ in 0..100_000 {
        assert_eq!(tagged(&client.text()).1, "");
    }
}

/// A script that writes 2.5 MiB to stderr, creates the file `done`, and sleeps.
fn flood_stderr(dir: &TempDir) -> String {
    format!(
        "i=0; while [ $i -lt 40 ]; do head -c 65536 /dev/zero | tr '\\0' x >&2; echo >&2; \
         i=$((i+1)); done; touch {}; exec sleep 1000",
        dir.text("done")
    )
}

#[test]
fn stderr_in_the_log_never_waits_for_the_client() {
    let dir = TempDir::new();
    // The stdout pipe is full, because the client does not read. Meanwhile the command writes to
    // stderr.
    let script = format!(
        "yes & while [ ! -e {} ]; do sleep 0.05; done; {}",
        dir.text("go"),
        flood_stderr(&dir)
    );
    for options in [&["--stderr=log"][..], &["--stderr=drop"], &["--binary"]] {
        let server = Server::script(options, &script);
        let mut client = server.open("/");
        client.message();
        let printing = descendants_of(server.pid());
        // The others are a shell and a `sleep` that ends at any time.
        let yes = (printing.iter()).find(|it| it.name().as_deref() == Some("yes"));
        yes.expect("yes").await_stalled();
        support::write_file(&dir.path("go"), "", 0o644);
        wait_until("all of stderr is written", || dir.has("done"));
        std::fs::remove_file(dir.path("go")).expect("removed");
        std::fs::remove_file(dir.path("done")).expect("removed");
        drop(client);
        server.await_no_children();
    }
}

#[test]
fn stderr_in_the_log_never_waits_for_the_log() {
    let dir = TempDir::new();
    let script = format!("echo begun; {}", flood_stderr(&dir));
    let server = Launch::new(&["--stderr=log", "--", "sh", "-c", &script])
        .small_log_pipe()
        .start();
    server.hold_log(true);
    let mut client = server.open("/");
    assert_eq!(client.text(), "begun");
    wait_until("all of stderr is written", || dir.has("done"));
    client.leave();
    server.hold_log(false);
}

#[test]
fn a_long_stderr_line_is_truncated_in_the_log_and_marked() {
    let script =
        "head -c 20000 /dev/zero | tr '\\0' x >&2; echo >&2; echo short >&2; printf end >&2";
    let server = Server::script(&["--stderr=log"], script);
    assert_eq!(server.open("/").texts_to_close().0, [""; 0]);
    server.await_log(&[" end"]);
    let log = server.log_text();
    let lines: Vec<&str> = log
        .lines()
        .filter(|it| it.contains("stderr pid="))
        .collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].ends_with("xxx... (cut)"), "{}", lines[0]);
    assert!(
        (4000..=4096).contains(&lines[0].len()),
        "{}",
        lines[0].len()
    );
    assert!(lines[1].ends_with(" short"), "{}", lines[1]);
}

#[test]
fn with_stderr_drop_stderr_is_dev_null() {
    let script = "readlink /proc/$$/fd/2; echo warning >&2";
    assert_eq!(texts_of(&["--stderr=drop"], script), ["/dev/null"]);
}

#[test]
fn the_demo_accepts_framing_options() {
    let server = Server::start(&["--stderr=json"]);
    let mut client: Client = server.open("/ws");
    client.send_text("echo $((1 + 2)); nonsense-command");
    let mut texts = [client.text(), client.text()];
    texts.sort();
    assert!(texts[0].contains("nonsense-command") && tagged(&texts[0]).0 == "stderr");
    assert_eq!(tagged(&texts[1]), ("stdout", "3", false));
    client.leave();
}

#[test]
fn tests_of_pipes_pass_with_small_pipes_too() {
    support::rerun_with_small_pipes(&[
        "with_length_framing_a_message_of_any_length_stays_one_message",
        "flush_does_not_split_a_line_whose_end_waits_in_the_pipe",
        "json_splits_a_long_line_into_messages_marked_more",
        "json_does_not_let_one_stream_block_the_other",
        "with_length_framing_messages_are_exact_in_both_directions",
        "stderr_in_the_log_never_waits_for_the_client",
    ]);
}
