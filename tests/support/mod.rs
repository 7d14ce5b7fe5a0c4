//! Shared by the integration tests: a server process that is checked when it exits, a blocking
//! WebSocket client that validates every frame it receives, an HTTP client that can send any bytes,
//! and readers of `/proc`. None of it uses the server's code, so that a bug in the server's framing
//! is not repeated, and so hidden, in its tests.
//!
//! Every wait for an event has a deadline ([`TIMEOUT`]) and ends as soon as the event occurs. A
//! fixed wait is used only where something must *not* happen, or where time itself is under test.

// Each test file is a separate crate and uses only part of this module.
#![allow(dead_code, unreachable_pub, unused_imports)]

mod faults;
mod http;
mod proc;
mod random;
mod server;
mod small_pipes;
mod wire;
mod ws;

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;

pub use faults::{Call, Faults};
pub use http::{Request, Response};
pub use proc::{
    Process, anonymous, children_of, cpu_time, descendants_of, descriptors_of, processes_with,
    rss_anon, send_queue,
};
pub use random::Random;
pub use server::{Launch, Server};
pub use small_pipes::{USUAL_PIPE_LEN, pipe_lens_of, rerun_with_small_pipes, unprivileged};
pub use wire::Wire;
pub use ws::{
    BINARY, CLOSE, CONTINUATION, Client, FIN, Frame, Message, PING, PONG, TEXT, close_payload,
    header_claiming, masked,
};

/// How long a test waits for any event before it fails. Generous, because a debug build on a busy
/// machine is slow; a passing test never waits this long.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// Polls until `condition` holds. Panics with `what` if it does not hold within [`TIMEOUT`].
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {TIMEOUT:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Reports that something was not tested, and why. The message bypasses the output capture of the
/// test harness, so that it is visible when the test passes.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// A temporary directory, removed on drop.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "wspipe-test-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a fresh directory for the test");
        if small_pipes::are_wanted() {
            // The commands run as another user than the test.
            use std::os::unix::fs::PermissionsExt;
            let all = std::fs::Permissions::from_mode(0o777);
            std::fs::set_permissions(&path, all).expect("its mode");
        }
        TempDir(path)
    }

    /// The path of `name` inside the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The path of `name` as text, for a shell script.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("a path in UTF-8").into()
    }

    /// The content of the file `name`; empty if it does not exist.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Whether the file `name` exists.
    pub fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the program to its exit, with arguments with which it does not serve.
#[track_caller]
pub fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wspipe"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary")
}

/// A shell script that only SIGKILL terminates. It prints `ready` once it ignores the other
/// signals.
pub const STUBBORN: &str = "trap '' INT TERM HUP; echo ready; while :; do sleep 0.05; done";

/// Writes `text` to `path` with the permission bits `mode`.
pub fn write_file(path: &Path, text: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).expect("the test's file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("its mode");
}

/// Takes a lease on a file until the returned descriptor is closed: whoever opens or executes the
/// file waits for it (fcntl(2)). `None`: its file system has no leases.
#[allow(unsafe_code)]
pub fn lease(path: &Path) -> Option<File> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let file = File::options().read(true).write(true).open(path);
        let file = file.expect("the test's file");
        // SAFETY: only numbers are passed.
        let taken = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
        match Errno::result(taken) {
            Ok(_) => {
                // Nobody gets the SIGIO of a broken lease; it would end this process.
                // SAFETY: as above.
                unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETOWN, 0) };
                return Some(file);
            }
            // A process that another test starts may have inherited the file.
            Err(Errno::EAGAIN) if Instant::now() < deadline => {}
            Err(_) => return None,
        }
    }
}

/// Raises the soft descriptor limit of this process to the hard limit, for tests with many clients.
/// Returns the new limit.
pub fn raise_own_descriptor_limit() -> u64 {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("getrlimit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("setrlimit");
    hard
}

/// Runs `action` while this thread creates its sockets as another user. `None`, after a report,
/// where the tests do not run as root.
pub fn as_another_user<T>(action: impl FnOnce() -> T) -> Option<T> {
    use nix::unistd::{Uid, setfsuid};
    if !Uid::effective().is_root() {
        skipped("a socket of another user takes root");
        return None;
    }
    // A socket belongs to the file-system user of the thread that creates it (setfsuid(2)).
    setfsuid(Uid::from_raw(65534));
    let result = action();
    setfsuid(Uid::from_raw(0));
    Some(result)
}

/// Whether this machine has an IPv6 loopback address.
pub fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}
