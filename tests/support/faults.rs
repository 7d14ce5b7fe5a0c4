//! Makes chosen system calls of a test's server fail, by the library that `faults.c` becomes.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use nix::errno::Errno;

use super::{Launch, TempDir};

/// A call that can fail. Same order as in faults.c.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    Accept,
    /// Starts a command.
    Clone,
    Pipe,
    Recv,
    Send,
    /// Sends a long message, or one that goes to several clients.
    Writev,
    /// Reads a command's output.
    Read,
    /// Writes a command's input.
    Write,
    EpollCtl,
    EpollWait,
    /// Reads the wall clock. Does not fail, but returns a time that is off by some seconds.
    Clock,
}

const CALLS: usize = 11;

/// Controls which calls of one server fail.
pub struct Faults {
    file: File,
    folder: TempDir,
}

impl Faults {
    /// No call fails yet. `None` where there is no C compiler to build the library.
    pub fn new() -> Option<Faults> {
        interposer()?;
        let folder = TempDir::new();
        let path = folder.path("faults");
        fs::write(&path, [0; CALLS * 16]).expect("the file");
        let file = File::options().read(true).write(true).open(path);
        Some(Faults {
            file: file.expect("the file"),
            folder,
        })
    }

    /// A server whose calls are under this control.
    pub fn launch(&self, args: &[&str]) -> Launch {
        let interposer = interposer().expect("it was built");
        Launch::new(args)
            .env("LD_PRELOAD", interposer.to_str().expect("UTF-8"))
            .env("WSPIPE_FAULTS", &self.folder.text("faults"))
    }

    /// From now on each `one_in`th call fails with `error`.
    pub fn fail(&self, call: Call, error: Errno, one_in: i32) {
        self.set(call, error as i32, one_in);
    }

    /// Sets the server's wall clock `seconds` ahead of the real time.
    pub fn set_clock_ahead(&self, seconds: i32) {
        self.set(Call::Clock, seconds, 1);
    }

    /// From now on the call no longer fails.
    pub fn clear(&self, call: Call) {
        self.set(call, 0, 1);
    }

    fn set(&self, call: Call, error: i32, one_in: i32) {
        let at = call as u64 * 16;
        let put = |value: i32, offset| self.file.write_all_at(&value.to_ne_bytes(), at + offset);
        // The divisor first, so that the server never divides by zero.
        put(one_in, 4).expect("the map");
        put(error, 0).expect("the map");
    }

    /// How often the call has failed so far.
    pub fn hits(&self, call: Call) -> u32 {
        let mut hits = [0; 4];
        let read = self.file.read_exact_at(&mut hits, call as u64 * 16 + 12);
        read.expect("the map");
        u32::from_ne_bytes(hits)
    }
}

/// The shared object, built once.
fn interposer() -> Option<&'static PathBuf> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/faults.c");
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        // Built under a name of this process, because another test process may build it too.
        let object = folder.join("libfaults.so");
        let own = folder.join(format!("libfaults-{}.so", std::process::id()));
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(&own)
            .args([source, "-ldl"])
            .status();
        match built {
            Ok(status) => assert!(status.success(), "faults.c"),
            Err(_) => return None,
        }
        fs::rename(own, &object).expect("the object");
        Some(object)
    };
    BUILT.get_or_init(build).as_ref()
}
