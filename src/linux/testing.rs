//! Helpers for the unit tests of this folder.

use std::fs::{self, File, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::gettid;

/// A directory for one test, removed at its end.
pub(crate) struct TestDir(PathBuf);

impl TestDir {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("wspipe-{name}-{}", gettid()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The path as text.
    pub(crate) fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// Writes a file and returns its path as text.
    pub(crate) fn file(&self, name: &str, content: &str, mode: u32) -> String {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path.into_os_string().into_string().unwrap()
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Takes a lease on a file until the returned descriptor is closed: exec of the file waits for it.
/// `None`: its file system has no leases.
#[allow(unsafe_code)]
pub(crate) fn lease(path: &str) -> Option<File> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let file = File::options().read(true).write(true).open(path).unwrap();
        // SAFETY: only numbers are passed.
        let taken = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
        match Errno::result(taken) {
            Ok(_) => {
                // Nobody gets the SIGIO of a broken lease; it would end this process.
                // SAFETY: as above.
                unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETOWN, 0) };
                return Some(file);
            }
            // A command that another test starts may have inherited the file.
            Err(Errno::EAGAIN) if Instant::now() < deadline => {}
            Err(_) => return None,
        }
    }
}
