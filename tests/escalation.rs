//! The termination of a command: the escalation of signals to its whole process group,
//! grandchildren, zombies, and what remains when the server itself is killed.

mod support;

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::{Client, FIN, Process, STUBBORN, Server, TEXT, TempDir, masked, wait_until};

/// The processes whose PIDs the command prints, one per line.
#[track_caller]
fn processes(client: &mut Client, count: usize) -> Vec<Process> {
    (0..count)
        .map(|_| {
            let pid = client.text().trim().parse().expect("a PID");
            Process::find(pid).expect("it runs")
        })
        .collect()
}

#[test]
fn a_command_is_terminated_however_its_client_leaves() {
    for command in [&["cat"][..], &["sleep", "1000"]] {
        let server = Server::start(command);
        for way in ["close", "end", "reset", "vanish"] {
            let mut client = server.open("/");
            wait_until("the command runs", || server.children().len() == 1);
            match way {
                "close" => client.leave(),
                "end" => client.wire.finish(),
                "reset" => client.wire.reset(),
                _ => drop(client),
            }
            println!("{command:?} {way}");
            server.await_no_children();
        }
    }
}

#[test]
fn a_command_that_ignores_signals_is_killed() {
    let server = Server::script(&[], STUBBORN);
    let mut client = server.open("/");
    assert_eq!(client.text(), "ready");
    let start = Instant::now();
    client.leave();
    server.await_no_children();
    // SIGKILL is sent after 1 s, not at the first step.
    assert!(
        start.elapsed() > Duration::from_millis(800),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn the_steps_are_sigint_sigterm_sigkill() {
    let dir = TempDir::new();
    let script = format!(
        "trap 'echo int >> {0}' INT; trap 'echo term >> {0}' TERM; trap 'echo hup >> {0}' HUP
        echo ready; while :; do sleep 0.02; done",
        dir.text("signals")
    );
    let server = Server::script(&["--kill-after=2s"], &script);
    let mut client = server.open("/");
    assert_eq!(client.text(), "ready");
    let command = server.only_child();
    client.leave();
    server.await_gone(command);
    assert_eq!(dir.read("signals"), "int\nterm\n");
    server.await_log(&["closed", "signal 9"]);
}

#[test]
fn escalation_stops_once_the_command_has_exited() {
    // `cat` exits at EOF, the step before any signal, so an escalation of an hour does not matter.
    let server = Server::start(&["--kill-after=1h", "cat"]);
    let client = server.open("/");
    client.leave();
    server.await_no_children();
}

#[test]
fn with_kill_after_never_stdin_is_closed_and_no_signal_is_sent() {
    let dir = TempDir::new();
    let script = format!(
        "trap 'echo signal >> {0}' INT TERM; cat; sleep 2; echo done >> {0}",
        dir.text("out")
    );
    let server = Server::script(&["--kill-after=never"], &script);
    server.open("/").leave();
    server.await_no_children();
    assert_eq!(dir.read("out"), "done\n");
}

#[test]
fn a_client_that_resets_while_stdin_is_full_is_noticed() {
    let server = Server::start(&["sleep", "1000"]);
    let mut client = server.open("/");
    wait_until("the command runs", || server.children().len() == 1);
    let (begun, _) = client
        .wire
        .flood(&masked(FIN | TEXT, &[b'x'; 1000]), 256 << 20);
    assert!(begun > 64, "{begun} messages");
    client.wire.reset();
    server.await_no_children();
}

#[test]
fn a_client_that_resets_while_its_output_waits_is_noticed() {
    let server = Server::start(&["yes"]);
    let mut client = server.open("/");
    client.frame();
    server.only_child().await_stalled();
    client.wire.reset();
    server.await_no_children();
}

#[test]
fn grandchildren_are_terminated_with_the_command() {
    let server = Server::script(
        &[],
        "sleep 1000 & echo $!; sh -c 'sleep 1000 & echo $!; wait' & echo $!; wait",
    );
    let mut client = server.open("/");
    let family = processes(&mut client, 3);
    client.leave();
    for process in family {
        server.await_gone(process);
    }
    server.await_no_children();
}

#[test]
fn grandchildren_that_ignore_signals_are_killed() {
    let script = "(trap '' INT TERM; echo ready; while :; do sleep 0.05; done) & echo $!; wait";
    let server = Server::script(&[], script);
    let mut client = server.open("/");
    let mut texts = [client.text(), client.text()];
    texts.sort();
    assert_eq!(texts[1], "ready");
    let pid = texts[0].parse().expect("a PID");
    let grandchild = Process::find(pid).expect("it runs");
    client.leave();
    server.await_gone(grandchild);
    server.await_no_children();
}

#[test]
fn a_command_has_ended_at_its_exit_even_if_its_pipe_stays_open() {
    // The grandchild keeps stdout open. It must not delay the close frame, and it is terminated.
    let script = "(trap '' INT TERM; while :; do sleep 0.05; done) & echo $!; exit 3";
    let server = Server::script(&[], script);
    let mut client = server.open("/");
    let grandchild = processes(&mut client, 1)[0];
    assert_eq!(client.close(), (4003, "exit 3".to_string()));
    server.await_gone(grandchild);
    server.await_no_children();
}

#[test]
fn a_command_is_reaped_while_its_grandchild_still_runs() {
    let script = "(trap '' INT TERM; while :; do sleep 0.05; done) & echo $$; exit 0";
    let server = Server::script(&["--kill-after=30s", "--drain-timeout=500ms"], script);
    let mut client = server.open("/");
    let pid: i32 = client.text().parse().expect("a PID");
    wait_until("the command is reaped", || Process::find(pid).is_none());
    drop(client);
}

#[test]
fn output_of_a_grandchild_never_follows_the_close_frame() {
    let server = Server::script(
        &["--kill-after=10s"],
        "(sleep 0.3; echo late) & echo now; exit 0",
    );
    let mut client = server.open("/");
    let (texts, close) = client.texts_to_close();
    assert_eq!(texts[0], "now");
    assert!(texts.len() <= 2, "{texts:?}");
    assert_eq!(close, (1000, "exit 0".to_string()));
}

// -- What a command leaves behind with `--end-at=eof` ----------------------------------------------

#[test]
fn with_end_at_eof_a_grandchild_that_still_prints_is_heard() {
    for options in [&[][..], &["--shared"], &["--resume=30"]] {
        for leave in ["", "setsid "] {
            let dir = TempDir::new();
            let exited = dir.text("exited");
            // The grandchild waits until the server has reaped the command.
            let script = format!(
                "echo first; {leave}sh -c 'while [ -d /proc/'$$' ]; do sleep 0.02; done
                 touch {exited}; sleep 0.6; echo late; sleep 0.2; printf last' & exit 3"
            );
            let server = Server::script(&[options, &["--end-at=eof"]].concat(), &script);
            let session = "wspipe.session.0123456789abcdef0123456789abcdef.0";
            let request = server.upgrade("/").add("Sec-WebSocket-Protocol", session);
            let mut client = server.try_open(&request).expect("served");
            assert_eq!(client.text(), "first");
            wait_until("the command is reaped", || dir.path("exited").exists());
            assert_eq!(client.text(), "late", "{options:?} {leave}");
            assert_eq!(client.text(), "last");
            assert_eq!(client.expect_close("EOF", 4003), "exit 3");
            server.await_no_children();
        }
    }
}

#[test]
fn with_end_at_eof_a_grandchild_goes_on_reading_stdin() {
    let server = Server::script(&["--end-at=eof"], "exec 3<&0; cat <&3 & exit 0");
    let mut client = server.open("/");
    let child = || server.children().first().and_then(Process::name);
    client.round_trip("one");
    wait_until("the shell has exited", || child().as_deref() == Some("cat"));
    client.round_trip("two");
    client.leave();
    server.await_no_children();
}

#[test]
fn with_end_at_eof_the_escalation_begins_when_the_client_leaves() {
    let script = format!("({STUBBORN}) & exit 0");
    let server = Server::script(&["--end-at=eof", "--kill-after=300ms"], &script);
    let mut client = server.open("/");
    assert_eq!(client.text(), "ready");
    // Longer than the escalation would take.
    client.wire.expect_silence(Duration::from_millis(700));
    assert_eq!(server.children().len(), 1, "it still runs");
    let start = Instant::now();
    client.leave();
    server.await_no_children();
    assert!(start.elapsed() > Duration::from_millis(200));
}

#[test]
fn with_end_at_eof_what_closed_its_output_is_terminated_at_eof() {
    for options in [&[][..], &["--shared"], &["--resume=30"]] {
        let script = "sleep 1000 <&- >&- 2>&- & echo done; exit 0";
        let server = Server::script(&[options, &["--end-at=eof"]].concat(), script);
        let mut client = server.open("/");
        assert_eq!(client.text(), "done");
        assert_eq!(client.expect_close("EOF", 1000), "exit 0");
        server.await_no_children();
    }
}

#[test]
fn with_end_at_eof_what_closed_its_output_is_terminated_while_a_lost_client_is_awaited() {
    let script = "sleep 1000 <&- >&- 2>&- & echo ready; sleep 0.3; exit 0";
    let server = Server::script(&["--resume=1h", "--end-at=eof"], script);
    let session = "wspipe.session.0123456789abcdef0123456789abcdef.0";
    let request = server.upgrade("/").add("Sec-WebSocket-Protocol", session);
    let mut client = server.try_open(&request).expect("served");
    assert_eq!(client.text(), "ready");
    client.wire.reset();
    server.await_no_children();
}

#[test]
fn with_end_at_eof_a_command_that_closes_its_output_ends_at_its_exit() {
    let script = "exec >&- 2>&-; read line; exit 7";
    let server = Server::script(&["--end-at=eof"], script);
    let mut client = server.open("/");
    client.wire.expect_silence(Duration::from_millis(200));
    client.send_text("go on");
    assert_eq!(client.expect_close("the exit", 4007), "exit 7");
    server.await_no_children();
}

#[test]
fn with_end_at_eof_a_server_that_stops_terminates_what_a_command_left_behind() {
    let script = "sleep 1000 & echo ready; exit 0";
    let mut server = Server::script(&["--end-at=eof"], script);
    let mut client = server.open("/");
    assert_eq!(client.text(), "ready");
    let names = || {
        server
            .children()
            .iter()
            .map(Process::name)
            .collect::<Vec<_>>()
    };
    wait_until("the shell is reaped", || {
        names() == [Some("sleep".to_owned())]
    });
    server.signal(Signal::SIGTERM);
    client.expect_close("the server stops", 1001);
    assert_eq!(server.exit_status().code(), Some(0));
}

#[test]
fn simultaneous_exits_are_all_reported_to_their_clients() {
    // SIGCHLD coalesces: several exits may cause one signal (signal(7)).
    let server = Server::script(&[], "read line; exit 0");
    let mut clients: Vec<Client> = (0..60).map(|_| server.open("/")).collect();
    for client in &mut clients {
        client.send_text("now");
    }
    for client in &mut clients {
        assert_eq!(client.close(), (1000, "exit 0".to_string()));
    }
    server.await_no_children();
}

#[test]
fn commands_whose_sigchld_signals_coalesce_are_all_reaped() {
    // The server is stopped while all commands exit, so it gets one SIGCHLD for all of them. Every
    // second command has closed its output before, so that only its exit can be noticed.
    let script = "case $PATH_INFO in /silent) exec >&- 2>&-;; esac; exec sleep 1000";
    let server = Server::script(&[], script);
    let path = |index| if index % 2 == 0 { "/" } else { "/silent" };
    let mut clients: Vec<Client> = (0..60).map(|index| server.open(path(index))).collect();
    let commands = server.children();
    assert_eq!(commands.len(), 60);
    wait_until("all commands sleep", || {
        let mut names = commands.iter().map(Process::name);
        names.all(|name| name.is_some_and(|name| name == "sleep"))
    });
    server.signal(Signal::SIGSTOP);
    for command in &commands {
        kill(Pid::from_raw(command.pid), Signal::SIGKILL).expect("it runs");
    }
    wait_until("all commands have exited", || {
        let mut states = server.children().into_iter().map(|it| it.state);
        states.all(|state| state == 'Z')
    });
    server.signal(Signal::SIGCONT);
    for client in &mut clients {
        assert_eq!(client.close(), (4256 + 9, "signal 9".to_string()));
    }
    server.await_no_children();
}

#[test]
fn short_commands_leave_no_zombie_and_no_descriptor() {
    let server = Server::start(&["true"]);
    server.open("/").texts_to_close();
    let before = server.descriptors();
    for _ in 0..50 {
        let (texts, close) = server.open("/").texts_to_close();
        assert_eq!((texts.len(), close.0), (0, 1000));
    }
    server.await_no_children();
    server.await_descriptors(before);
}

#[test]
fn a_command_that_leaves_its_stdin_unread_leaves_no_descriptor() {
    let server = Server::start(&["sleep", "1000"]);
    let before = server.descriptors();
    for _ in 0..5 {
        let mut client = server.open("/");
        client.send_text(&"x".repeat(300_000));
        client.send_text(&"y".repeat(300_000));
        client.wire.reset();
    }
    server.await_no_children();
    server.await_descriptors(before);
}

#[test]
fn a_client_that_leaves_while_its_command_exits_leaves_nothing_behind() {
    let server = Server::script(&[], "read line; exit 1");
    let before = server.descriptors();
    for round in 0..40 {
        let mut client = server.open("/");
        client.send_text("now");
        match round % 3 {
            0 => client.wire.reset(),
            1 => drop(client),
            _ => client.send_close(1000, ""),
        }
    }
    server.await_no_children();
    server.await_descriptors(before);
}

#[test]
fn commands_end_with_a_server_that_is_killed() {
    // A killed server sends no signals. The kernel does it in its place (PR_SET_PDEATHSIG,
    // prctl(2)).
    let mut server = Server::script(&[], STUBBORN);
    let mut clients: Vec<Client> = (0..3).map(|_| server.open("/")).collect();
    for client in &mut clients {
        assert_eq!(client.text(), "ready");
    }
    let commands = server.children();
    assert_eq!(commands.len(), 3);
    server.kill_and_await_gone(commands);
}

#[test]
fn a_prompt_timer_of_a_client_that_has_left_does_not_block_the_server() {
    // The prompt timer expires while the command, which only SIGKILL terminates, still runs.
    let server = Server::script(
        &["--flush=200ms", "--kill-after=2s"],
        "trap '' INT TERM; printf '$ '; while :; do sleep 1; done",
    );
    let mut client = server.open("/");
    assert_eq!(client.text(), "$ ");
    client.wire.reset();
    for _ in 0..3 {
        let early = server.open("/");
        early.wire.reset();
    }
    server.await_no_children();
    assert_eq!(server.exchange(&server.get("/healthz")).status, 200);
}

/// The next step may be an hour away, and by then the group's PID may belong to another process. So
/// the server must notice the exit of the last member at once, and not only probe for it.
#[test]
fn the_exit_of_the_last_group_member_is_noticed_at_once() {
    let script = "(trap '' INT; exec sleep 0.3 >/dev/null 2>&1) & exit 3";
    let mut server = Server::script(&["--kill-after=1h", "--drain-timeout=1h"], script);
    let mut client = server.open("/");
    assert_eq!(client.expect_close("the command's exit", 4003), "exit 3");
    support::wait_until("the command's child has exited", || {
        support::descendants_of(server.pid()).is_empty()
    });
    // No process is left, so the server exits without a wait.
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_status().code(), Some(0));
}

#[test]
fn tests_of_pipes_pass_with_small_pipes_too() {
    support::rerun_with_small_pipes(&[
        "a_client_that_resets_while_its_output_waits_is_noticed",
        "a_client_that_resets_while_stdin_is_full_is_noticed",
        "a_command_that_leaves_its_stdin_unread_leaves_no_descriptor",
    ]);
}
