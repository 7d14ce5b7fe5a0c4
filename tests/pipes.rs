//! A command for each client: messages become lines and lines become messages, the state in which
//! the command starts, and the rule that it gets each message whole or not at all.

mod support;

use std::time::Duration;

use support::{
    BINARY, CONTINUATION, Client, FIN, Launch, Message, Response, Server, TEXT, TempDir,
};
use support::{header_claiming, masked, wait_until};

/// The texts that a script prints. The script must exit with 0.
#[track_caller]
fn output_of(script: &str) -> Vec<String> {
    let server = Server::script(&[], script);
    let (texts, close) = server.open("/").texts_to_close();
    assert_eq!(close, (1000, "exit 0".to_string()), "after {texts:?}");
    texts
}

#[test]
fn the_demos_shell_answers() {
    let server = Server::start(&[]);
    let mut client = server.open("/ws");
    client.send_text("echo $((1 + 2))");
    assert_eq!(client.text(), "3");
    client.send_text("for word in a b c; do echo $word; done; nonsense-command");
    assert_eq!(
        [client.text(), client.text(), client.text()],
        ["a", "b", "c"]
    );
    let error = client.text();
    assert!(error.contains("nonsense-command"), "{error}");
    client.send_text("exit 5");
    assert_eq!(client.close(), (4005, "exit 5".to_string()));
}

#[test]
fn a_message_becomes_a_line_and_a_line_becomes_a_message() {
    let server = Server::start(&["cat"]);
    let mut client = server.open("/");
    for text in [
        "hello",
        "",
        " blanks kept\t",
        "ß€🦀",
        "quotes \" and \\ and \0 too",
    ] {
        client.round_trip(text);
    }
    client.send_text("two\nlines");
    assert_eq!([client.text(), client.text()], ["two", "lines"]);
    client.send_text("ends in a newline\n");
    assert_eq!([client.text(), client.text()], ["ends in a newline", ""]);
}

#[test]
fn a_message_ends_in_exactly_one_newline() {
    let server = Server::script(&[], "head -c 8 | od -An -c");
    let mut client = server.open("/");
    client.send_text("a");
    client.send_text("");
    client.send_text("b\nc\n");
    let bytes: Vec<String> = client
        .text()
        .split_whitespace()
        .map(str::to_string)
        .collect();
    assert_eq!(bytes, ["a", "\\n", "\\n", "b", "\\n", "c", "\\n", "\\n"]);
}

#[test]
fn a_binary_message_becomes_a_line_too() {
    let server = Server::start(&["cat"]);
    let mut client = server.open("/");
    client.send_binary(b"bytes");
    assert_eq!(client.text(), "bytes");
    client.send(BINARY, b"in ");
    client.send(FIN | CONTINUATION, b"two");
    assert_eq!(client.text(), "in two");
    client.send_binary(b"a\xffb");
    assert_eq!(client.text(), "a\u{FFFD}b");
}

#[test]
fn both_kinds_of_line_ends_are_stripped() {
    let texts = output_of(r"printf 'unix\nwindows\r\n\r\n\nbare\rreturn\ntwo\r\r\n'");
    assert_eq!(texts, ["unix", "windows", "", "", "bare\rreturn", "two\r"]);
}

#[test]
fn a_last_line_without_a_newline_is_a_message() {
    assert_eq!(output_of("printf 'a\\nb'"), ["a", "b"]);
    assert_eq!(output_of("printf x"), ["x"]);
    assert_eq!(output_of("printf '\\n'"), [""]);
    assert_eq!(output_of("true"), [""; 0]);
}

#[test]
fn a_line_written_in_parts_is_one_message() {
    let script =
        "printf 'one '; sleep 0.1; printf 'li'; sleep 0.1; printf 'ne\\r'; sleep 0.1; echo";
    assert_eq!(output_of(script), ["one line"]);
}

#[test]
fn many_lines_keep_their_order() {
    let texts = output_of("seq 1 100000");
    assert_eq!(texts.len(), 100_000);
    for (index, text) in texts.iter().enumerate() {
        assert_eq!(*text, (index + 1).to_string());
    }
}

#[test]
fn many_messages_through_a_command_keep_their_order() {
    let server = Server::start(&["cat"]);
    let mut client = server.open("/");
    let count = 50_000;
    let bytes: Vec<u8> = (0..count)
        .flat_map(|number: u32| masked(FIN | TEXT, number.to_string().as_bytes()))
        .collect();
    let sender = client.wire.send_in_background(bytes);
    for number in 0..count {
        assert_eq!(client.text(), number.to_string());
    }
    sender.join().expect("the sender");
}

#[test]
fn a_long_line_is_one_message_in_fragments() {
    let server = Server::script(
        &[],
        "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo short; head -c 65536 /dev/zero | tr '\\0' y",
    );
    let mut client = server.open("/");
    assert!(client.text() == "x".repeat(3_000_000));
    // Longer than the queue, so it cannot have been sent as one frame.
    assert!(client.fragments > 10, "{} fragments", client.fragments);
    assert_eq!(client.text(), "short");
    assert_eq!(client.fragments, 1);
    assert!(client.text() == "y".repeat(65_536));
    assert_eq!(client.close().0, 1000);
}

#[test]
fn a_long_line_begins_to_arrive_before_it_ends() {
    let server = Server::script(&[], "head -c 200000 /dev/zero | tr '\\0' x; sleep 60");
    let frame = server.open("/").frame();
    assert!(frame.opcode == TEXT && !frame.fin, "a first fragment");
}

#[test]
fn no_character_is_split_between_fragments() {
    // With three bytes per character, no power of two falls between two characters.
    let server = Server::start(&["cat"]);
    for lead in 0..3 {
        let mut client = server.open("/");
        let text = "x".repeat(lead) + &"€".repeat(100_000);
        let sender = client
            .wire
            .send_in_background(masked(FIN | TEXT, text.as_bytes()));
        assert!(client.text() == text, "after {lead} bytes");
        sender.join().expect("the sender");
        client.leave();
    }
}

#[test]
fn bytes_that_are_not_utf_8_become_replacement_characters() {
    let cases: [&[u8]; 8] = [
        b"a\xffb",
        b"\x80\x80",
        b"\xe2\x82",
        b"\xe2\x82x",
        b"\xf0\x9f\xa6",
        b"\xed\xa0\x80",
        b"\xc0\xaf",
        b"fine \xe2\x82\xac",
    ];
    let server = Server::start(&["cat"]);
    let mut client = server.open("/");
    for bytes in cases {
        client.send_binary(bytes);
        // One replacement for each maximal part of a character, like the decoders of browsers.
        assert_eq!(
            client.text(),
            String::from_utf8_lossy(bytes),
            "{}",
            bytes.escape_ascii()
        );
    }
    client.round_trip("and the connection goes on");
}

#[test]
fn a_character_written_in_parts_is_not_split() {
    let script = r"printf '\342'; sleep 0.1; printf '\202'; sleep 0.1; printf '\254\n\342\202'";
    assert_eq!(output_of(script), ["€", "\u{FFFD}"]);
}

#[test]
fn stderr_is_merged_in_order() {
    let script = "for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done";
    let expected: Vec<String> = (1..=5)
        .flat_map(|i| [format!("out {i}"), format!("err {i}")])
        .collect();
    assert_eq!(output_of(script), expected);
}

#[test]
fn binary_mode_passes_every_byte_in_both_directions() {
    let server = Server::start(&["--binary", "cat"]);
    let mut client = server.open("/");
    let all: Vec<u8> = (0..=255).collect();
    for message in [
        &all[..],
        b"\n",
        b"no newline",
        b"\r\n\r\n",
        &all.repeat(1000),
    ] {
        let sender = client
            .wire
            .send_in_background(masked(FIN | BINARY, message));
        let mut got = Vec::new();
        while got.len() < message.len() {
            got.extend(client.binary());
        }
        assert!(got == message, "{} bytes", message.len());
        sender.join().expect("the sender");
    }
    client.send_text("text as it is");
    assert_eq!(client.binary(), b"text as it is");
    client.leave();
}

#[test]
fn binary_mode_passes_a_fragment_before_its_message_is_complete() {
    let server = Server::start(&["--binary", "cat"]);
    let mut client = server.open("/");
    client.send(BINARY, b"the first part");
    assert_eq!(client.binary(), b"the first part");
    client.send(FIN | CONTINUATION, b"the second");
    assert_eq!(client.binary(), b"the second");
}

#[test]
fn binary_mode_does_not_wait_for_a_newline() {
    let server = Server::script(&["--binary"], "printf 'prompt> '; cat");
    let mut client = server.open("/");
    assert_eq!(client.binary(), b"prompt> ");
}

#[test]
fn binary_mode_keeps_stderr_out_of_the_stream() {
    let server = Server::script(
        &["--binary"],
        "echo out; echo warning >&2; echo more; exit 3",
    );
    let mut client = server.open("/");
    let mut bytes = Vec::new();
    let close = loop {
        match client.message() {
            Message::Binary(part) => bytes.extend(part),
            Message::Close(close) => break close,
            Message::Text(text) => panic!("{text:?} as text"),
        }
    };
    assert_eq!(bytes, b"out\nmore\n");
    assert_eq!(close, Some((4003, "exit 3".to_string())));
    server.await_log(&["warning"]);
}

#[test]
fn every_client_has_its_own_command() {
    let server = Server::script(&[], "echo $$; exec cat");
    let mut clients: Vec<Client> = (0..10).map(|_| server.open("/")).collect();
    let mut pids: Vec<String> = clients.iter_mut().map(Client::text).collect();
    pids.sort();
    pids.dedup();
    assert_eq!(pids.len(), 10);
    assert_eq!(server.children().len(), 10);
    for (index, client) in clients.iter_mut().enumerate() {
        client.round_trip(&index.to_string());
    }
}

#[test]
fn arguments_are_passed_unchanged() {
    let args = ["a b", "", "--echo", "--port=1", "*", "$HOME", "ß", "--"];
    let script = "for arg; do echo \"<$arg>\"; done";
    let server = Server::start(&[&["sh", "-c", script, "sh"], &args[..]].concat());
    let (texts, _) = server.open("/").texts_to_close();
    let expected: Vec<String> = args.iter().map(|arg| format!("<{arg}>")).collect();
    assert_eq!(texts, expected);
}

#[test]
fn only_variables_in_passenv_are_inherited() {
    let server = Launch::new(&["--passenv=PATH,PASSED", "env"])
        .env("SECRET", "xyzzy")
        .env("PASSED", "on purpose")
        .start();
    let request = server.upgrade("/").add("Proxy", "http://evil.example");
    let mut client = server.try_open(&request).expect("accepted");
    let (texts, _) = client.texts_to_close();
    assert!(
        texts.contains(&"PASSED=on purpose".to_string()),
        "{texts:?}"
    );
    assert!(
        texts.iter().any(|text| text.starts_with("PATH=")),
        "{texts:?}"
    );
    assert!(
        !texts.iter().any(|text| text.contains("xyzzy")),
        "{texts:?}"
    );
    // A `Proxy` header must not set the variable that configures a program's proxy (httpoxy).
    assert!(
        !texts.iter().any(|text| text.starts_with("HTTP_PROXY")),
        "{texts:?}"
    );
}

#[test]
fn home_locale_and_tz_are_passed_by_default() {
    let server = Launch::new(&["env"])
        .env("HOME", "/the/home")
        .env("LANG", "xx_XX")
        .env("LC_ALL", "C.UTF-8")
        .env("LC_CTYPE", "C")
        .env("LC_TIME", "xyzzy")
        .env("TZ", "UTC")
        .env("SECRET", "xyzzy")
        .start();
    let (texts, _) = server.open("/").texts_to_close();
    for expected in [
        "HOME=/the/home",
        "LANG=xx_XX",
        "LC_ALL=C.UTF-8",
        "LC_CTYPE=C",
        "TZ=UTC",
    ] {
        assert!(texts.contains(&expected.to_string()), "{texts:?}");
    }
    assert!(
        !texts.iter().any(|text| text.contains("xyzzy")),
        "{texts:?}"
    );
}

#[test]
fn a_command_starts_with_no_signal_blocked_or_ignored() {
    let server = Launch::new(&["grep", "^Sig[BI]", "/proc/self/status"])
        .after("trap '' USR1 PIPE")
        .start();
    let (texts, _) = server.open("/").texts_to_close();
    assert_eq!(texts.len(), 2, "{texts:?}");
    for text in texts {
        let (_, mask) = text.split_once(':').expect("a mask");
        let mask = u64::from_str_radix(mask.trim(), 16).expect("a mask");
        // Bit n - 1 is signal n. glibc reserves signals 32 and 33 (nptl(7)).
        assert_eq!(mask & !(3 << 31), 0, "{text}");
    }
}

#[test]
fn a_command_inherits_only_stdin_stdout_and_stderr() {
    let server = Launch::new(&["sh", "-c", "ls /proc/$$/fd; exec cat"])
        .after("exec 7</dev/null 9</dev/null")
        .start();
    // The descriptors of the first client must not leak into the command of the second.
    let mut first = server.open("/");
    let mut second = server.open("/");
    for client in [&mut first, &mut second] {
        assert_eq!(
            [client.text(), client.text(), client.text()],
            ["0", "1", "2"]
        );
        client.round_trip("nothing more");
    }
}

#[test]
fn among_hundreds_a_command_inherits_only_three_descriptors() {
    support::raise_own_descriptor_limit();
    let script = "ls /proc/$$/fd; exec cat";
    let server = Launch::new(&["--stderr=log", "sh", "-c", script])
        .after("exec 7</dev/null 9</dev/null")
        .start();
    let mut clients: Vec<_> = (0..200).map(|_| server.open("/")).collect();
    for client in &mut clients {
        let listed = [client.text(), client.text(), client.text()];
        assert_eq!(listed, ["0", "1", "2"]);
        client.round_trip("nothing more");
    }
}

#[test]
fn a_server_without_stdin_and_stdout_can_start_commands() {
    let script = "ls /proc/$$/fd; exec cat";
    let server = Launch::new(&["sh", "-c", script])
        .after("exec <&- >&-")
        .start();
    let mut client = server.open("/");
    let listed = [client.text(), client.text(), client.text()];
    assert_eq!(listed, ["0", "1", "2"]);
    client.round_trip("nothing more");
}

#[test]
fn a_command_has_its_own_process_session_and_no_terminal() {
    let server = Server::start(&["cat"]);
    let mut client = server.open("/");
    client.round_trip("started");
    let command = server.only_child();
    assert_eq!(
        (command.group, command.session),
        (command.pid, command.pid),
        "{command:?}"
    );
    assert_eq!(command.terminal, 0, "{command:?}");
}

#[test]
fn a_command_gets_the_descriptor_limit_the_server_was_started_with() {
    let server = Launch::new(&["sh", "-c", "ulimit -Sn"])
        .after("ulimit -Sn 200; ulimit -Hn 500")
        .start();
    let (texts, _) = server.open("/").texts_to_close();
    assert_eq!(texts, ["200"]);
}

/// How a client leaves in the middle of a message.
#[derive(Clone, Copy, Debug)]
enum Loss {
    Reset,
    Eof,
    Close,
    BadText,
    TooBig,
}

#[test]
fn an_incomplete_message_never_reaches_the_command() {
    let server = Server::start(&["--max-message=64k"]);
    let dir = TempDir::new();
    for loss in [
        Loss::Reset,
        Loss::Eof,
        Loss::Close,
        Loss::BadText,
        Loss::TooBig,
    ] {
        for whole_frame in [true, false] {
            let name = format!("{loss:?}-{whole_frame}");
            let mut client = server.open("/ws");
            client.send_text("echo ready");
            assert_eq!(client.text(), "ready");
            // `sh` would run this at EOF, and also at the newline.
            let command = format!("touch {}\n", dir.text(&name));
            let frame = masked(TEXT, command.as_bytes());
            if whole_frame {
                client.wire.send(&frame);
            } else {
                client.wire.send(&frame[..frame.len() - 1]);
            }
            match loss {
                Loss::Reset => client.wire.reset(),
                Loss::Eof => client.wire.finish(),
                // If a frame is incomplete, its last byte is the first of these.
                Loss::Close => client.wire.send(&masked(FIN | 8, b"\x03\xe8")),
                Loss::BadText => client.send(FIN | CONTINUATION, b"\xff\xff"),
                Loss::TooBig => client
                    .wire
                    .send(&header_claiming(FIN | CONTINUATION, 65_536)),
            }
            server.await_no_children();
            assert!(!dir.has(&name), "{name}: half a message was run");
        }
    }
}

#[test]
fn complete_messages_reach_the_command_after_the_client_has_left() {
    // The escalation is long, so that no signal interrupts the shell on a busy machine.
    let server = Server::start(&["--kill-after=30s"]);
    let dir = TempDir::new();
    for name in ["close", "end", "vanish"] {
        let mut client = server.open("/ws");
        client.send_text(&format!("echo first > {}", dir.text(name)));
        client.send_text(&format!("echo second >> {}", dir.text(name)));
        match name {
            "close" => client.send_close(1000, ""),
            "end" => client.wire.finish(),
            _ => drop(client),
        }
        wait_until("both messages have run", || {
            dir.read(name) == "first\nsecond\n"
        });
    }
    server.await_no_children();
}

#[test]
fn stdin_is_closed_only_after_a_complete_message() {
    // The message does not fit into the pipe, and the command reads only after the client has left.
    let dir = TempDir::new();
    let script = format!("sleep 0.5; wc -c > {}", dir.text("count"));
    let server = Server::script(&["--kill-after=30s"], &script);
    let mut client = server.open("/");
    client.send_text(&"x".repeat(500_000));
    client.send_close(1000, "");
    assert_eq!(client.close().0, 1000);
    drop(client);
    wait_until("the command has counted", || {
        dir.read("count").ends_with('\n')
    });
    assert_eq!(dir.read("count").trim(), "500001");
}

#[test]
fn stdin_is_closed_after_the_last_message_of_a_client() {
    let dir = TempDir::new();
    let script = format!("cat > {}; echo done >> {0}", dir.text("out"));
    let server = Server::script(&["--kill-after=30s"], &script);
    let mut client = server.open("/");
    client.send_text("line");
    client.leave();
    wait_until("cat is at EOF", || dir.read("out") == "line\ndone\n");
}

#[test]
fn a_command_that_closes_its_stdin_goes_on() {
    let server = Server::script(&[], "exec 0<&-; echo ready; sleep 1; echo done; exit 6");
    let mut client = server.open("/");
    assert_eq!(client.text(), "ready");
    // More than all buffers hold: the server has to read and discard it.
    for _ in 0..64 {
        client.send_text(&"x".repeat(256 * 1024));
    }
    let (texts, close) = client.texts_to_close();
    assert_eq!(texts, ["done"]);
    assert_eq!(close, (4006, "exit 6".to_string()));
}

#[test]
fn a_command_that_closes_its_stdout_goes_on() {
    let server = Server::script(&[], "echo ready; exec 1>&- 2>&-; read line; exit $line");
    let mut client = server.open("/");
    assert_eq!(client.text(), "ready");
    client.wire.expect_silence(Duration::from_millis(300));
    client.send_text("7");
    assert_eq!(client.close(), (4007, "exit 7".to_string()));
}

#[test]
fn a_command_that_exits_without_reading_is_no_error() {
    let server = Server::script(&[], "echo bye");
    for _ in 0..20 {
        let mut client = server.open("/");
        client.wire.try_send(&masked(FIN | TEXT, &[b'x'; 100_000]));
        assert_eq!(client.texts_to_close().0, ["bye"]);
    }
}

/// Asserts that a handshake is refused with `status` and logged with the client's address.
#[track_caller]
fn refused(server: &Server, case: &str, status: u16) {
    let mut wire = server.connect();
    let peer = wire.local_address().to_string();
    wire.send(&server.upgrade("/").to_bytes());
    Response::read(&mut wire, false).expect_refusal(case, status);
    server.await_log(&[&peer, &status.to_string()]);
}

#[test]
fn a_missing_command_is_404() {
    let dir = TempDir::new();
    let path = dir.text("nothing");
    let server = Server::start(&[path.as_str()]);
    server.await_log(&["warn", &path]);
    refused(&server, "no file", 404);
    // The program may be created later.
    support::write_file(&dir.path("nothing"), "#!/bin/sh\necho here\n", 0o755);
    assert_eq!(server.open("/").texts_to_close().0, ["here"]);
}

#[test]
fn a_command_that_leaves_the_path_is_404() {
    let dir = TempDir::new();
    support::write_file(&dir.path("tool"), "#!/bin/sh\necho here\n", 0o755);
    let path = format!("--setenv=PATH={}", dir.text("."));
    let server = Server::start(&[&path, "tool"]);
    assert_eq!(server.open("/").texts_to_close().0, ["here"]);
    std::fs::remove_file(dir.path("tool")).expect("removed");
    refused(&server, "no file in the path", 404);
}

#[test]
fn a_command_that_cannot_be_executed_is_500_and_says_why_at_start_and_to_the_client() {
    let dir = TempDir::new();
    let cases = [
        ("not-executable", "#!/bin/sh\n", 0o644, "chmod +x"),
        ("data", "\0\0", 0o644, "it is a data file"),
        (
            "no-interpreter",
            "#!/no/such/interpreter\n",
            0o755,
            "\"/no/such/interpreter\" is not there",
        ),
        (
            "dos",
            "#!/bin/sh\r\n",
            0o755,
            "\"/bin/sh\\r\" is not there, because its lines end in \\r\\n",
        ),
        ("no-head", "echo hello\n", 0o755, "begin it with a line"),
    ];
    for (name, text, mode, says) in cases {
        support::write_file(&dir.path(name), text, mode);
        let path = dir.text(name);
        let server = Server::start(&[path.as_str()]);
        server.await_log(&["warning:", &path, "cannot be started yet:", says]);
        let before = server.descriptors();
        refused(&server, name, 500);
        server.await_log(&["refused peer=", "status=500", says]);
        let response = server.exchange(&server.upgrade("/"));
        assert!(
            response.text().contains(says),
            "{name}: {}",
            response.text()
        );
        assert!(
            !response.text().contains(&path),
            "clients need not know the path"
        );
        server.await_no_children();
        server.await_descriptors(before);
    }
}

#[test]
fn the_remedy_for_a_script_without_x_bit_works_when_it_is_typed() {
    let dir = TempDir::new();
    support::write_file(&dir.path("my tool"), "#!/bin/sh\r\necho here\r\n", 0o644);
    let server = Server::start(&[&dir.text("my tool")]);
    for remedy in ["chmod +x '", "sed -i 's/\\r$//' '"] {
        let text = server.exchange(&server.upgrade("/")).text();
        let start = text
            .find(remedy)
            .unwrap_or_else(|| panic!("{remedy}: {text}"));
        let status = std::process::Command::new("sh")
            .args(["-c", text[start..].trim_end()])
            .current_dir(dir.path("."))
            .status();
        assert!(status.expect("a shell").success(), "{text}");
    }
    assert_eq!(server.open("/").texts_to_close().0, ["here"]);
}

#[test]
fn a_failed_start_affects_no_other_client() {
    let dir = TempDir::new();
    let path = dir.path("command");
    support::write_file(&path, "#!/bin/sh\nexec cat\n", 0o755);
    let server = Server::start(&[path.to_str().expect("UTF-8")]);
    let mut client = server.open("/");
    client.round_trip("the shell has read its script");
    std::fs::remove_file(&path).expect("removed");
    refused(&server, "removed", 404);
    client.round_trip("still served");
}

#[test]
fn tests_of_pipes_pass_with_small_pipes_too() {
    support::rerun_with_small_pipes(&[
        "an_incomplete_message_never_reaches_the_command",
        "binary_mode_passes_every_byte_in_both_directions",
        "a_command_that_closes_its_stdin_goes_on",
        "a_command_that_exits_without_reading_is_no_error",
        "a_long_line_is_one_message_in_fragments",
        "many_lines_keep_their_order",
        "many_messages_through_a_command_keep_their_order",
        "no_character_is_split_between_fragments",
        "stderr_is_merged_in_order",
        "stdin_is_closed_only_after_a_complete_message",
        "complete_messages_reach_the_command_after_the_client_has_left",
    ]);
}
