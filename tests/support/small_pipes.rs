//! Runs tests with small pipes: 8 KiB in place of 64 KiB, as for an unprivileged user who already
//! has many (pipe(7), `pipe-user-pages-soft`).

use std::fs::{self, OpenOptions};
use std::io::{PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::thread;

use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::geteuid;

use super::Process;

/// Set to the user ID of the servers while tests are repeated with small pipes.
const VARIABLE: &str = "WSPIPE_SMALL_PIPES";

/// The capacity of a pipe whose user has few pipes, in bytes.
pub const USUAL_PIPE_LEN: usize = 64 * 1024;

/// Enough pipes of an unprivileged user that each further pipe is small.
struct SmallPipes(Vec<(PipeReader, PipeWriter)>);

/// A user and group ID that owns nothing and no other pipes. IDs from 61,184 on are reserved for
/// temporary users (systemd.exec(5), `DynamicUser=`).
fn unprivileged_id() -> u32 {
    let given = std::env::var(VARIABLE).ok();
    let given = given.map(|id| id.parse().expect("a number"));
    given.unwrap_or_else(|| 61_184 + std::process::id() % 4000)
}

/// The options with which a server runs as an unprivileged user. Empty if the tests are
/// unprivileged.
pub fn unprivileged() -> Vec<String> {
    match geteuid().is_root() {
        true => ["user", "group"]
            .map(|it| format!("--{it}={}", unprivileged_id()))
            .into(),
        false => Vec::new(),
    }
}

/// Whether servers must run as the user whose pipes are small.
pub fn are_wanted() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Runs these tests of the same file again, in another process and with servers that get small
/// pipes.
#[track_caller]
pub fn rerun_with_small_pipes(tests: &[&str]) {
    let Some(pipes) = SmallPipes::take() else {
        return;
    };
    let mut command = Command::new(std::env::current_exe().expect("/proc"));
    command.env(VARIABLE, unprivileged_id().to_string());
    command.arg("--exact").args(tests);
    let output = command.output().expect("the same program");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "with small pipes:\n{out}\n{err}");
    let all = format!(" {} passed; 0 failed; ", tests.len());
    assert!(out.contains(&all), "a test is missing:\n{out}");
    drop(pipes);
}

impl SmallPipes {
    /// `None`, after a report, where this kernel keeps all pipes large.
    fn take() -> Option<SmallPipes> {
        let held = as_the_user(|| {
            let mut held = Vec::new();
            loop {
                let pipe = std::io::pipe().ok()?;
                let is_small = pipe_len(&pipe.1) < USUAL_PIPE_LEN;
                // The limit is on the sum of all capacities, so a larger pipe reaches it sooner.
                let _ = fcntl(pipe.1.as_fd(), FcntlArg::F_SETPIPE_SZ(1 << 20));
                held.push(pipe);
                match held.len() {
                    _ if is_small => return Some(held),
                    400 => return None,
                    _ => {}
                }
            }
        });
        let pipes = held.flatten().map(SmallPipes);
        if pipes.is_none() {
            super::skipped("this kernel does not shrink the pipes of a user with many (pipe(7))");
        }
        pipes
    }
}

/// The options with which a server gets small pipes, if it must; else empty.
#[track_caller]
pub fn options() -> Vec<String> {
    if !are_wanted() {
        return Vec::new();
    }
    let pipe = as_the_user(|| std::io::pipe().expect("a pipe")).expect("as that user");
    let len = pipe_len(&pipe.1);
    assert!(len < USUAL_PIPE_LEN, "a further pipe holds {len} bytes");
    unprivileged()
}

/// Runs `action` in a thread with the rights of a server with the options of [`unprivileged`].
fn as_the_user<T: Send>(action: impl FnOnce() -> T + Send) -> Option<T> {
    let run = || (!geteuid().is_root() || change_user(unprivileged_id())).then(action);
    thread::scope(|scope| scope.spawn(run).join().expect("the thread"))
}

/// Changes the user and group of this thread alone, permanently.
#[allow(unsafe_code)]
fn change_user(id: libc::uid_t) -> bool {
    // SAFETY: each call takes three integers and no pointer. (The libc functions of the same names
    // change all threads, so they cannot be used.)
    unsafe {
        libc::syscall(libc::SYS_setresgid, id, id, id) == 0
            && libc::syscall(libc::SYS_setresuid, id, id, id) == 0
    }
}

fn pipe_len(pipe: &impl AsFd) -> usize {
    fcntl(pipe.as_fd(), FcntlArg::F_GETPIPE_SZ).expect("F_GETPIPE_SZ") as usize
}

/// The capacity of each pipe that one of `commands` has open.
#[track_caller]
pub fn pipe_lens_of(commands: &[Process]) -> Vec<usize> {
    let descriptors = |command: &Process| {
        let folder = format!("/proc/{}/fd", command.pid);
        fs::read_dir(folder).into_iter().flatten().flatten()
    };
    let is_pipe = |entry: &fs::DirEntry| {
        let target = fs::read_link(entry.path());
        target.is_ok_and(|it| it.to_string_lossy().starts_with("pipe:"))
    };
    // The user of a process may inspect it; root in a container may not.
    let lens = as_the_user(|| {
        (commands.iter().flat_map(descriptors).filter(is_pipe))
            .filter_map(|entry| {
                let mut open = OpenOptions::new();
                let pipe = open.read(true).custom_flags(libc::O_NONBLOCK);
                Some(pipe_len(&pipe.open(entry.path()).ok()?))
            })
            .collect()
    });
    lens.expect("as that user")
}
