use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

/// A process that leads a process session and runs `script` in bash with job control. Killed on drop,
/// with the jobs whose PIDs it has printed.
struct Session {
    leader: Child,
    lines: BufReader<ChildStdout>,
    jobs: Vec<Pid>,
}

impl Session {
    fn start(script: &str) -> Self {
        let mut command = Command::new("setsid");
        command.args(["bash", "-c", &format!("set -m; {script}")]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut leader = command.spawn().unwrap();
        let lines = BufReader::new(leader.stdout.take().unwrap());
        Self {
            leader,
            lines,
            jobs: Vec::new(),
        }
    }

    fn id(&self) -> Pid {
        self.leader.id() as Pid
    }

    /// The job whose PID is the next line that the leader prints.
    fn job(&mut self) -> (Pid, Stat) {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        let pid = line.trim().parse().unwrap();
        self.jobs.push(pid);
        (pid, stat_of(pid).unwrap().unwrap())
    }

    fn end_leader(&mut self) {
        self.leader.kill().unwrap();
        self.leader.wait().unwrap();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end_leader();
        for &pid in self.jobs.iter().filter(|pid| runs(**pid)) {
            nix::sys::signal::kill(NixPid::from_raw(pid), nix::sys::signal::SIGKILL).unwrap();
        }
    }
}

fn runs(pid: Pid) -> bool {
    stat_of(pid).unwrap().is_some_and(|stat| !stat.is_zombie)
}

#[track_caller]
fn await_end(pid: Pid) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while runs(pid) {
        assert!(Instant::now() < deadline, "{pid} does not end");
        std::thread::yield_now();
    }
}

/// Scans the whole of `/proc`, in small parts.
fn scan(jobs: &mut Jobs, session: Pid) {
    let mut parts = 1;
    let entries = loop {
        match jobs.find(7, &|it| it == session) {
            Some(entries) => break entries,
            None => parts += 1,
        }
    };
    assert_eq!(parts, entries / 7 + 1);
}

fn find_and_signal(jobs: &mut Jobs, session: Pid, signal: Option<Signal>) -> Group {
    scan(jobs, session);
    jobs.signal(session, signal)
}

/// Reports when the kernel is too old for anything to be tested.
fn new_jobs() -> Option<Jobs> {
    let jobs = Jobs::new();
    if !jobs.can_signal {
        eprintln!("SKIPPED: the kernel has no PID file descriptors");
    }
    Some(jobs).filter(|jobs| jobs.can_signal)
}

#[test]
fn the_line_of_a_process_is_parsed_whatever_its_name() {
    let rest = "1 7 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 1234567890123 999 18446744073709551615";
    let stat = |state: &str, name: &[u8], rest: &str| {
        let line = [b"42 (", name, format!(") {state} {rest}\n").as_bytes()].concat();
        parse_stat(&line)
    };
    let right = Stat {
        session: 9,
        start: 1_234_567_890_123,
        is_zombie: false,
    };
    for name in [&b"sh"[..], b"a) S 1 2 3 (b", b") (", b"\n\xff 1 1", b""] {
        assert_eq!(stat("S", name, rest), Some(right));
    }
    let zombie = Stat {
        is_zombie: true,
        ..right
    };
    assert_eq!(stat("Z", b"sh", rest), Some(zombie));
    // The first thread has exited, another one runs.
    let threads = rest.replace("20 0 1 0", "20 0 2 0");
    assert_eq!(stat("Z", b"sh", &threads), Some(right));
    for line in [
        "",
        "42",
        "42 (sh",
        "42 (sh)",
        "42 (sh) S 1 7 9 0 -1",
        ") S a b c d",
    ] {
        assert_eq!(parse_stat(line.as_bytes()), None, "{line}");
    }
}

#[test]
fn the_jobs_of_a_wanted_session_are_found_and_signalled() {
    let Some(mut jobs) = new_jobs() else { return };
    let mut session = Session::start("sleep 1000 & echo $!; exec sleep 1000");
    let id = session.id();
    let (job, stat) = session.job();
    assert_eq!(stat.session, id);
    scan(&mut jobs, id + 1);
    assert_eq!(jobs.signal(id, Some(Signal::Kill)), Group::Gone);
    assert_eq!(find_and_signal(&mut jobs, id, None), Group::Alive);
    assert!(runs(job));
    assert_eq!(
        find_and_signal(&mut jobs, id, Some(Signal::Kill)),
        Group::Alive
    );
    await_end(job);
    assert_eq!(find_and_signal(&mut jobs, id, None), Group::Gone);
    assert!(runs(id), "the leader gets its signals with its group");
}

/// The group of the command is signalled as one, so what is in it is no job.
#[test]
fn a_process_in_the_group_of_the_command_is_no_job() {
    let Some(mut jobs) = new_jobs() else { return };
    let mut session = Session::start("set +m; sleep 1000 & echo $!; exec sleep 1000");
    let (child, _) = session.job();
    let id = session.id();
    assert_eq!(
        find_and_signal(&mut jobs, id, Some(Signal::Kill)),
        Group::Gone
    );
    assert!(runs(child));
}

/// As a stranger's would be: the number of the session was free after the command had been reaped.
#[test]
fn a_process_that_started_after_the_id_was_last_known_is_not_signalled() {
    let Some(mut jobs) = new_jobs() else { return };
    let mut session = Session::start("sleep 1000 & echo $!; exec sleep 1000");
    let id = session.id();
    let (job, stat) = session.job();
    jobs.own_until = vec![(id, stat.start - 1)];
    assert_eq!(
        find_and_signal(&mut jobs, id, Some(Signal::Kill)),
        Group::Gone
    );
    assert!(runs(job));
    jobs.own_until = vec![(id, stat.start)];
    assert_eq!(
        find_and_signal(&mut jobs, id, Some(Signal::Kill)),
        Group::Alive
    );
    await_end(job);
}

/// An older job proves that the session is still the command's, until it has ended.
#[test]
fn what_started_after_the_exit_is_signalled_as_long_as_an_older_job_is_there() {
    let Some(mut jobs) = new_jobs() else { return };
    let script = "sleep 1000 & echo $!; sleep 0.05; sleep 1000 & echo $!; exec sleep 1000";
    for older_runs in [false, true] {
        let mut session = Session::start(script);
        let id = session.id();
        let ((older, first), (younger, second)) = (session.job(), session.job());
        assert!(first.start < second.start);
        jobs.own_until = vec![(id, first.start)];
        if !older_runs {
            // Its parent, which reaps it, must not keep it as a zombie.
            session.end_leader();
            nix::sys::signal::kill(NixPid::from_raw(older), nix::sys::signal::SIGKILL).unwrap();
            await_end(older);
        }
        let found = find_and_signal(&mut jobs, id, Some(Signal::Kill));
        if older_runs {
            await_end(older);
            await_end(younger);
            assert!(jobs.own_until[0].1 >= second.start);
            assert_eq!(found, Group::Alive);
        } else if stat_of(older).unwrap().is_none() {
            assert!(runs(younger));
            assert_eq!(found, Group::Gone);
        }
    }
}

/// It leads a session by the number that a command's session had, and has a job.
#[test]
fn the_job_of_a_stranger_that_was_given_the_number_of_the_session_is_not_signalled() {
    let Some(mut jobs) = new_jobs() else { return };
    let script = "sleep 1000 & echo $!; exec sleep 1000";
    let mut session = Session::start("echo");
    let id = session.id();
    jobs.reaped(id);
    session.end_leader();
    // A number comes back so soon only if it is chosen, as here.
    std::thread::sleep(Duration::from_millis(20));
    // Other tests start processes too, and may take the number first.
    for _ in 0..100 {
        let last = (id - 1).to_string();
        if fs::write("/proc/sys/kernel/ns_last_pid", last).is_err() {
            break;
        }
        let mut stranger = Session::start(script);
        if stranger.id() == id {
            let (job, _) = stranger.job();
            // The number is taken from an orphan of the same number too.
            jobs.reaped(id);
            assert_eq!(
                find_and_signal(&mut jobs, id, Some(Signal::Kill)),
                Group::Gone
            );
            assert!(runs(job), "the job of a stranger was killed");
            jobs.forget(id);
            assert_eq!(find_and_signal(&mut jobs, id, None), Group::Alive);
            return;
        }
    }
    eprintln!("SKIPPED: the next PID cannot be chosen here (/proc/sys/kernel/ns_last_pid)");
}

#[test]
fn the_clock_is_that_of_the_start_times() {
    let before = ticks_since_boot();
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    let start = stat_of(child.id() as Pid).unwrap().unwrap().start;
    child.kill().unwrap();
    child.wait().unwrap();
    assert!((before..=ticks_since_boot()).contains(&start));
}
