use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid as NixPid;

use super::descriptors::{FIRST_OTHER_DESCRIPTOR, mark_listed};
use super::*;
use crate::config::CommandSettings;
use crate::linux::testing::TestDir;
use crate::system::Environment;
use crate::system::Pid;

fn limits() -> DescriptorLimit {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    DescriptorLimit {
        original: soft.min(100),
        soft,
        hard,
    }
}

fn start_with(
    words: &[&str],
    environment: &[(&str, &str)],
    stderr: Stderr,
) -> Result<Child<Sender, Receiver>, SpawnError> {
    let command: Vec<OsString> = words.iter().map(OsString::from).collect();
    let environment = environment
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    let spawn = Spawn {
        command: &command,
        environment: environment.collect(),
        settings: &CommandSettings {
            stderr,
            ..CommandSettings::default()
        },
    };
    Spawner::new(limits()).unwrap().start(&spawn)
}

fn start_sh(script: &str, stderr: Stderr) -> Child<Sender, Receiver> {
    start_with(&["sh", "-c", script], &[("PATH", "/usr/bin:/bin")], stderr).unwrap()
}

/// Everything up to EOF. The pipe is non-blocking, so each read waits for it to be readable.
fn read_all(pipe: &mut Receiver) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut polled = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        assert_eq!(
            poll(&mut polled, PollTimeout::from(20_000_u16)),
            Ok(1),
            "the pipe stays silent"
        );
        let mut buffer = [0; 4096];
        match pipe.read(&mut buffer).unwrap() {
            0 => return String::from_utf8(bytes).unwrap(),
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    }
}

/// Reaps one child only: others belong to other tests.
fn wait(pid: Pid) -> WaitStatus {
    waitpid(NixPid::from_raw(pid), None).unwrap()
}

fn output(script: &str) -> String {
    let mut child = start_sh(script, Stderr::Merge);
    let output = read_all(&mut child.stdout);
    wait(child.pid);
    output
}

#[test]
fn a_command_reads_and_writes_its_pipes() {
    let mut child = start_with(&["cat"], &[("PATH", "/usr/bin:/bin")], Stderr::Merge).unwrap();
    let nothing = child.stdout.read(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    child.stdin.write_all(b"hello").unwrap();
    drop(child.stdin);
    assert_eq!(read_all(&mut child.stdout), "hello");
    let pid = NixPid::from_raw(child.pid);
    assert_eq!(wait(child.pid), WaitStatus::Exited(pid, 0));
}

#[test]
fn stderr_goes_where_the_settings_say() {
    let script = "echo out; echo err >&2; echo end";
    let mut merged = start_sh(script, Stderr::Merge);
    assert_eq!(
        read_all(&mut merged.stdout),
        "out\nerr\nend\n",
        "in their order"
    );
    assert!(merged.stderr.is_none());
    wait(merged.pid);

    let mut logged = start_sh(script, Stderr::Log);
    assert_eq!(read_all(&mut logged.stdout), "out\nend\n");
    assert_eq!(read_all(logged.stderr.as_mut().unwrap()), "err\n");
    wait(logged.pid);

    let mut dropped = start_sh(script, Stderr::Drop);
    assert_eq!(read_all(&mut dropped.stdout), "out\nend\n");
    assert!(dropped.stderr.is_none());
    wait(dropped.pid);
}

#[test]
fn each_start_has_the_settings_of_its_own_command() {
    let mut spawner = Spawner::new(limits()).unwrap();
    let mut output = |settings: &CommandSettings| {
        let command = ["/bin/sh", "-c", "pwd; umask"].map(OsString::from);
        let mut child = spawner
            .start(&Spawn {
                command: &command,
                environment: Environment::new(),
                settings,
            })
            .unwrap();
        let output = read_all(&mut child.stdout);
        wait(child.pid);
        output
    };
    let settings = |cwd: &str, umask| CommandSettings {
        cwd: Some(cwd.into()),
        umask: Some(umask),
        ..CommandSettings::default()
    };
    assert_eq!(output(&settings("/", 0o27)), "/\n0027\n");
    assert_eq!(output(&settings("/dev", 0o77)), "/dev\n0077\n");
}

#[test]
fn only_our_ends_of_the_pipes_are_non_blocking() {
    // The flags are octal in /proc: 04000 is O_NONBLOCK on most machines.
    let mut child = start_sh(
        "grep -h flags /proc/self/fdinfo/0 /proc/self/fdinfo/1",
        Stderr::Merge,
    );
    let theirs = read_all(&mut child.stdout);
    wait(child.pid);
    assert_eq!(theirs.lines().count(), 2, "{theirs}");
    for line in theirs.lines() {
        let octal = line.split_ascii_whitespace().nth(1).unwrap();
        let flags = OFlag::from_bits_retain(i32::from_str_radix(octal, 8).unwrap());
        assert!(!flags.contains(OFlag::O_NONBLOCK), "{theirs}");
    }
    for ours in [child.stdin.as_fd(), child.stdout.as_fd()] {
        let flags = OFlag::from_bits_retain(fcntl(ours, FcntlArg::F_GETFL).unwrap());
        assert!(flags.contains(OFlag::O_NONBLOCK));
        let flags = FdFlag::from_bits_retain(fcntl(ours, FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
    }
}

#[test]
fn the_environment_has_only_the_given_variables() {
    let mut child = start_with(
        &["/usr/bin/env"],
        &[("A", "1"), ("B", "two words")],
        Stderr::Merge,
    )
    .unwrap();
    assert_eq!(read_all(&mut child.stdout), "A=1\nB=two words\n");
    wait(child.pid);
}

#[test]
fn a_command_leads_its_session_and_has_no_signal_blocked_or_ignored() {
    // The server's thread blocks signals too.
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGUSR1);
    blocked.thread_block().unwrap();
    let mut child = start_with(
        &["cat", "/proc/self/stat", "/proc/self/status"],
        &[],
        Stderr::Merge,
    )
    .unwrap();
    let output = read_all(&mut child.stdout);
    wait(child.pid);
    let stat: Vec<_> = output.lines().next().unwrap().split(' ').collect();
    let pid = child.pid.to_string();
    assert_eq!(
        [stat[0], stat[4], stat[5]],
        [pid.as_str(); 3],
        "PID, group, session"
    );
    assert_eq!(stat[6], "0", "no terminal");
    for field in ["SigBlk:", "SigIgn:", "SigCgt:"] {
        let line = output.lines().find(|line| line.starts_with(field)).unwrap();
        let signals = u64::from_str_radix(line[field.len()..].trim(), 16).unwrap();
        // The first real-time signals, from 32 on, belong to the C library and cannot be set.
        let c_library = (1 << (libc::SIGRTMIN() - 1)) - (1 << 31);
        assert_eq!(signals & !c_library, 0, "{line}");
    }
}

#[test]
fn a_command_gets_the_original_descriptor_limit() {
    let limits = limits();
    assert_eq!(
        output("ulimit -Sn; ulimit -Hn").lines().collect::<Vec<_>>(),
        [
            limits.original.to_string(),
            match limits.hard {
                nix::sys::resource::RLIM_INFINITY => "unlimited".to_owned(),
                hard => hard.to_string(),
            },
        ]
    );
}

/// The kernel watches the thread that started the command. Here that thread exits; the server has
/// only one.
#[test]
fn a_command_dies_with_the_thread_that_started_it() {
    let starter = std::thread::spawn(|| start_sh("exec sleep 100", Stderr::Merge));
    let child = starter.join().unwrap();
    let pid = NixPid::from_raw(child.pid);
    let killed = WaitStatus::Signaled(pid, Signal::SIGKILL, false);
    assert_eq!(wait(child.pid), killed);
}

#[test]
fn a_command_has_only_the_standard_descriptors() {
    for mark in [close_inherited_on_exec, mark_listed] {
        let (inherited, _writer) = io::pipe().unwrap();
        assert!(inherited.as_raw_fd() >= FIRST_OTHER_DESCRIPTOR);
        fcntl(&inherited, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        mark().unwrap();
        // The shell lists them by itself, because ls would open one more.
        let listed = output("cd /proc/$$/fd; for n in *; do [ -e $n ] && echo $n; done");
        assert_eq!(listed, "0\n1\n2\n");
    }
}

fn refusal(command: &str, path: &str) -> String {
    match start_with(&[command], &[("PATH", path)], Stderr::Merge)
        .err()
        .expect("not started")
    {
        SpawnError::NotFound => "not found".to_owned(),
        SpawnError::NotExecutable(error) => format!("not executable: {error}"),
        SpawnError::Exhausted(error) => format!("exhausted: {error}"),
        SpawnError::Stalled => "stalled".to_owned(),
        SpawnError::Failed(error) => format!("failed: {error}"),
    }
}

#[test]
fn a_failed_start_says_why() {
    let directory = TestDir::new("refusals");
    let path = directory.text();
    let orphan = directory.file("orphan", "#!/no/such/interpreter\n", 0o755);
    directory.file("plain", "#!/bin/sh\n", 0o644);
    let denied = "not executable: it is not executable: chmod +x plain";
    let no_interpreter = "not executable: its interpreter \"/no/such/interpreter\" is not there: \
                          install it, or correct the first line";

    assert_eq!(refusal("/no/such/file", path), "not found");
    assert_eq!(refusal("missing", path), "not found");
    assert_eq!(
        refusal("sh", path),
        "not found",
        "only the child's PATH counts"
    );
    assert_eq!(refusal(&format!("{path}/plain/below"), path), "not found");
    assert_eq!(refusal("", path), "not found");
    assert_eq!(refusal(&format!("{path}/plain"), path), denied);
    assert_eq!(refusal("plain", path), denied);
    assert_eq!(refusal(path, path), "not executable: it is a directory");
    assert_eq!(refusal(&orphan, path), no_interpreter);
    assert_eq!(refusal("orphan", path), no_interpreter);
    assert!(refusal("a\0b", path).starts_with("failed: "));
}

#[test]
fn each_error_number_has_its_kind_of_error() {
    let command = [OsString::from("x")];
    let spawn = Spawn {
        command: &command,
        environment: Environment::new(),
        settings: &CommandSettings::default(),
    };
    for errno in [
        Errno::EAGAIN,
        Errno::ENOMEM,
        Errno::ENOBUFS,
        Errno::EMFILE,
        Errno::ENFILE,
    ] {
        assert!(matches!(
            explain(errno.into(), &spawn),
            SpawnError::Exhausted(_)
        ));
    }
    for errno in [Errno::ENOEXEC, Errno::EISDIR, Errno::ETXTBSY] {
        assert!(matches!(
            explain(errno.into(), &spawn),
            SpawnError::NotExecutable(_)
        ));
    }
    assert!(matches!(
        explain(Errno::E2BIG.into(), &spawn),
        SpawnError::Failed(_)
    ));
}
