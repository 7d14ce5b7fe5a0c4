//! Pipes as an unprivileged user gets them who has many already: of 8 KiB, and not of 64 (pipe(7)).

use std::fs::{self, OpenOptions};
use std::io::{PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::thread;

use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::geteuid;

use super::Process;

/// Set where tests run once more with servers that get small pipes, to the number of their user.
const VARIABLE: &str = "WSPIPE_SMALL_PIPES";

/// What a pipe holds as long as its user has few.
pub const USUAL_PIPE_LEN: usize = 64 * 1024;

/// So many pipes of an unprivileged user that each further one is small.
struct SmallPipes(Vec<(PipeReader, PipeWriter)>);

/// The number of a user, and of a group, who has nothing and whose pipes nobody else counts as
/// theirs. From 61,184 on they are for those who are there for a while only.
fn unprivileged_id() -> u32 {
    let given = std::env::var(VARIABLE).ok();
    let given = given.map(|id| id.parse().expect("a number"));
    given.unwrap_or_else(|| 61_184 + std::process::id() % 4000)
}

/// What makes a server an unprivileged user's: nothing if the tests are.
pub fn unprivileged() -> Vec<String> {
    match geteuid().is_root() {
        true => ["user", "group"]
            .map(|it| format!("--{it}={}", unprivileged_id()))
            .into(),
        false => Vec::new(),
    }
}

/// Whether servers are to be those of a user whose pipes are small.
pub fn are_wanted() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Runs these tests of the same file once more, in another process and with servers whose pipes are
/// small.
#[track_caller]
pub fn again_with_small_pipes(tests: &[&str]) {
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
    assert!(out.contains(&all), "not all of them are there:\n{out}");
    drop(pipes);
}

impl SmallPipes {
    /// `None` where this kernel leaves all pipes large, which is said.
    fn take() -> Option<SmallPipes> {
        let held = as_the_user(|| {
            let mut held = Vec::new();
            loop {
                let pipe = std::io::pipe().ok()?;
                let is_small = pipe_len(&pipe.1) < USUAL_PIPE_LEN;
                // A large one counts for as many as it is large. The limit is on their sum.
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
            super::skipped("no number of pipes makes them small here (pipe(7))");
        }
        pipes
    }
}

/// What makes a server one whose pipes are small, where that is wanted; nothing elsewhere.
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

/// What `action` returns in a thread that has no more rights than a server of [`unprivileged`].
fn as_the_user<T: Send>(action: impl FnOnce() -> T + Send) -> Option<T> {
    let run = || (!geteuid().is_root() || change_user(unprivileged_id())).then(action);
    thread::scope(|scope| scope.spawn(run).join().expect("the thread"))
}

/// Changes the user and the group of this thread alone, for ever.
#[allow(unsafe_code)]
fn change_user(id: libc::uid_t) -> bool {
    // SAFETY: each takes three numbers. The functions of these names in libc change all threads.
    unsafe {
        libc::syscall(libc::SYS_setresgid, id, id, id) == 0
            && libc::syscall(libc::SYS_setresuid, id, id, id) == 0
    }
}

fn pipe_len(pipe: &impl AsFd) -> usize {
    fcntl(pipe.as_fd(), FcntlArg::F_GETPIPE_SZ).expect("F_GETPIPE_SZ") as usize
}

/// What each pipe holds of which one of `commands` has an end.
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
    // A process may be looked into by its own user, and not by every root of a container.
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
