//! Job control: a job of a shell leaves the process group of its command, and still does not outlive
//! the client. Only a program that calls `setsid` does.

mod support;

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::{Client, Process, STUBBORN, Server, wait_until};

/// A job that only SIGKILL terminates.
const STUBBORN_JOB: &str = "(trap '' INT TERM HUP; while :; do sleep 0.05; done)";

/// A server that runs `script` in bash with job control. Unlike other shells, bash has that without a
/// terminal.
#[track_caller]
fn with_job_control(options: &[&str], script: &str) -> Server {
    let script = format!("set -m; {script}");
    Server::start(&[options, &["--", "bash", "-c", &script]].concat())
}

/// The process whose PID the command prints. It has left the group of the command.
#[track_caller]
fn job(client: &mut Client) -> Process {
    let pid = client.text().trim().parse().expect("a PID");
    wait_until("it leads a group of its own", || {
        Process::find(pid).is_none_or(|job| job.group == pid)
    });
    let job = Process::find(pid).expect("it runs");
    assert_ne!(job.session, pid, "it is in the session of the command");
    job
}

#[test]
fn a_job_is_terminated_when_the_client_leaves() {
    for rest in ["cat", "exec sleep 1000", STUBBORN] {
        let server = with_job_control(&[], &format!("sleep 1000 & echo $!; {rest}"));
        let mut client = server.open("/");
        let job = job(&mut client);
        client.leave();
        println!("{rest}");
        server.await_gone(job);
        server.await_no_children();
        // The server has forgotten the command.
        server.await_log(&["closed"]);
    }
}

#[test]
fn a_job_gets_each_signal_of_the_escalation() {
    let dir = support::TempDir::new();
    let log = dir.text("signals");
    let script = format!(
        "(trap 'echo int >> {log}' INT; trap 'echo term >> {log}' TERM
          echo $BASHPID; while :; do sleep 0.02; done) & cat"
    );
    let server = with_job_control(&["--kill-after=2s"], &script);
    let mut client = server.open("/");
    let job = job(&mut client);
    let start = Instant::now();
    client.leave();
    server.await_gone(job);
    // SIGKILL is sent after 2 s, not at the first step.
    assert!(start.elapsed() > Duration::from_millis(1800));
    assert_eq!(dir.read("signals"), "int\nterm\n");
    server.await_no_children();
}

#[test]
fn a_job_that_its_command_leaves_behind_is_terminated() {
    for redirect in ["", "<&- >&- 2>&-"] {
        let script = format!("{STUBBORN_JOB} {redirect} & echo $!; exit 3");
        let server = with_job_control(&[], &script);
        let mut client = server.open("/");
        let job = job(&mut client);
        assert_eq!(client.close(), (4003, "exit 3".to_string()));
        server.await_gone(job);
        server.await_no_children();
    }
}

/// Most of them start after the command has exited.
#[test]
fn what_a_job_starts_until_it_is_killed_is_terminated_with_it() {
    let script = "(trap '' INT TERM; while :; do sleep 1000 & sleep 0.01; done) & echo $!; cat";
    let server = with_job_control(&["--kill-after=400ms"], script);
    let mut client = server.open("/");
    let job = job(&mut client);
    client.leave();
    server.await_gone(job);
    server.await_no_children();
}

#[test]
fn with_end_at_eof_a_job_goes_on_until_the_client_leaves() {
    let script = format!("{STUBBORN_JOB} & echo $!; exit 0");
    let server = with_job_control(&["--end-at=eof", "--kill-after=300ms"], &script);
    let mut client = server.open("/");
    let job = job(&mut client);
    // Longer than the escalation would take.
    client.wire.expect_silence(Duration::from_millis(700));
    assert!(!job.is_gone(server.pid()), "it still runs");
    client.leave();
    server.await_gone(job);
    server.await_no_children();
}

#[test]
fn with_kill_after_never_a_job_is_waited_for() {
    let server = with_job_control(&["--kill-after=never"], "sleep 1.5 & echo $!; cat");
    let mut client = server.open("/");
    let job = job(&mut client);
    client.leave();
    wait_until("the shell is reaped", || {
        let children = server.children();
        children.len() == 1 && children[0].pid == job.pid
    });
    assert!(!server.log_text().contains("closed"), "a job is left");
    server.await_log(&["closed", "exit 0"]);
    server.await_no_children();
}

#[test]
fn a_job_does_not_outlive_the_server() {
    for signals in [1, 2] {
        let kill_after = ["--kill-after=1s", "--kill-after=1h"][signals - 1];
        let script = format!("{STUBBORN_JOB} & echo $!; cat");
        let mut server = with_job_control(&[kill_after, "--drain-timeout=1h"], &script);
        let mut client = server.open("/");
        let job = job(&mut client);
        let pid = server.pid();
        server.signal(Signal::SIGTERM);
        client.expect_close("shutdown", 1001);
        if signals == 2 {
            server.signal(Signal::SIGTERM);
        }
        drop(client);
        assert_eq!(server.exit_status().code(), Some(signals as i32 - 1));
        wait_until("the job is gone", || job.is_gone(pid));
    }
}

#[test]
fn the_drain_timeout_kills_the_remaining_jobs() {
    let script = format!("{STUBBORN_JOB} & echo $!; cat");
    let options = ["--kill-after=1h", "--drain-timeout=600ms"];
    let mut server = with_job_control(&options, &script);
    let mut client = server.open("/");
    let job = job(&mut client);
    let pid = server.pid();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_status().code(), Some(0));
    wait_until("the job is gone", || job.is_gone(pid));
}

/// `src/manual/security.md` says so.
#[test]
fn a_program_that_calls_setsid_is_not_followed() {
    let script = "setsid sh -c 'echo $$; exec sleep 1000' & cat";
    let mut server = with_job_control(&["--kill-after=200ms"], script);
    let mut client = server.open("/");
    let pid: i32 = client.text().trim().parse().expect("a PID");
    let daemon = Process::find(pid).expect("it runs");
    assert_eq!(daemon.session, pid);
    client.leave();
    server.await_log(&["closed"]);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_status().code(), Some(0));
    assert!(!daemon.is_gone(server.pid()), "it was signalled");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
}

/// Each exit makes the server look at every process. The jobs of others stay.
#[test]
fn only_the_jobs_of_the_command_that_ends_are_signalled() {
    let server = with_job_control(&[], "sleep 1000 & echo $!; read line; exit 0");
    let mut staying = server.open("/");
    let job = job(&mut staying);
    for _ in 0..5 {
        let mut leaving = server.open("/");
        leaving.text();
        leaving.send_text("go");
        assert_eq!(leaving.close().0, 1000);
    }
    wait_until("the others are gone", || server.children().len() == 1);
    assert!(!job.is_gone(server.pid()), "the job of another");
    staying.leave();
    server.await_gone(job);
    server.await_no_children();
}
