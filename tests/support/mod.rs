//! What the integration tests share: a server under guard, a small blocking client that
//! checks every frame it is sent, an HTTP client that can send anything, and a look into
//! `/proc`. Nothing here uses a line of the server, so that a mistake in its framing cannot
//! hide behind the same mistake in its tests.
//!
//! No test waits for luck. Whatever is awaited is awaited with a deadline ([`PATIENCE`]) and
//! ends as soon as it is there; the only fixed waits are those in which something must *not*
//! happen.

// Each test file is a crate of its own and uses a part of this module.
#![allow(dead_code, unreachable_pub, unused_imports)]

mod faults;
mod http;
mod proc;
mod random;
mod server;
mod small_pipes;
mod wire;
mod ws;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub use faults::{Call, Faults};
pub use http::{Request, Response};
pub use proc::{
    Process, anonymous, children_of, cpu_time, descendants_of, descriptors_of, processes_with,
    rss_anon,
};
pub use random::Random;
pub use server::{Launch, Server};
pub use small_pipes::{USUAL_PIPE_LEN, again_with_small_pipes, pipe_lens_of, unprivileged};
pub use wire::Wire;
pub use ws::{
    BINARY, CLOSE, CONTINUATION, Client, FIN, Frame, Message, PING, PONG, TEXT, close_payload,
    header_claiming, masked,
};

/// How long anything may take before a test gives up on it. Long, since a busy machine that
/// runs a debug build is slow, and never used up unless something is broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until `condition` holds; panics with `what` if it does not within [`PATIENCE`].
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} in vain: {what}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}

/// Says that something was not tested, and why. Past the capture of the test harness, so that it is
/// heard when all else goes well.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// A directory of the test's own that goes with it.
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
            // The commands are not those of the test's own user.
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

    /// The same as text, for a shell script.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("a path in UTF-8").into()
    }

    /// What the file `name` holds; empty if there is none.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Whether the file `name` is there.
    pub fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Writes `text` to `path` with the permission bits `mode`.
pub fn write_file(path: &Path, text: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).expect("the test's file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("its mode");
}

/// Raises this process' own soft descriptor limit to the hard one, for tests with many clients,
/// and says what it is then.
pub fn raise_own_descriptor_limit() -> u64 {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("getrlimit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("setrlimit");
    hard
}

/// Whether this machine has an IPv6 loopback address.
pub fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}
