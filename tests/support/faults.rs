//! System calls that fail on demand, in a server of the test's own.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use nix::errno::Errno;

use super::{Launch, TempDir};

/// A call that can fail. The order is that of faults.c.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    Accept,
    /// By which a command is started.
    Clone,
    Pipe,
    Recv,
    Send,
    /// By which a socket is sent what is long or goes to many.
    Writev,
    /// Of a command's output.
    Read,
    /// Of a command's input.
    Write,
    EpollCtl,
    EpollWait,
    /// The wall clock, which is so many seconds ahead in place of failing.
    Clock,
}

const CALLS: usize = 11;

/// How the calls of one server fail, now.
pub struct Faults {
    file: File,
    folder: TempDir,
}

impl Faults {
    /// None yet. `None` where there is no C compiler to build the interposer with.
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

    /// A server whose calls fail as this says.
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

    /// The wall clock jumps to so many seconds ahead of the right time.
    pub fn set_clock_ahead(&self, seconds: i32) {
        self.set(Call::Clock, seconds, 1);
    }

    /// From now on the call is left alone.
    pub fn mend(&self, call: Call) {
        self.set(call, 0, 1);
    }

    fn set(&self, call: Call, error: i32, one_in: i32) {
        let at = call as u64 * 16;
        // First the number that is divided by.
        let put = |value: i32, offset| self.file.write_all_at(&value.to_ne_bytes(), at + offset);
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
        // Built under a name of this process' own: another may build it at the same time.
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
