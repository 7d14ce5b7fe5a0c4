//! The sink for log lines, which never makes the server wait: [`stderr`].
//!
//! A write to a blocking descriptor can wait: on a terminal stopped by Ctrl-S, on a pipe whose
//! reader is busy. Two measures keep the server from waiting:
//!
//! - Before each write, `poll(2)` says whether the descriptor is writable. For files that is
//!   enough. A terminal counts as writable when it has room for one byte, and a longer line would
//!   then wait; a pipe can be filled by another process between poll and write.
//! - So a terminal or pipe behind stderr is opened a second time, in non-blocking mode. Setting
//!   O_NONBLOCK on stderr itself would set it for every process that shares it, the user's shell
//!   included; a second open file description belongs to us alone.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{isatty, write};

use crate::log::Sink;

/// The server's stderr.
pub fn stderr() -> Box<dyn Sink> {
    let stderr = io::stderr();
    match reopen_nonblocking(&stderr) {
        Some(file) => Box::new(Descriptor(file)),
        None => Box::new(Descriptor(stderr)),
    }
}

/// A descriptor that is written to only when `poll(2)` says that it is writable.
struct Descriptor<F>(F);

impl<F: AsFd> Sink for Descriptor<F> {
    fn is_ready(&self) -> bool {
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
        matches!(poll(&mut polled, PollTimeout::ZERO), Ok(1..))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(write(&self.0, bytes)?)
    }
}

/// Opens the terminal or pipe behind a descriptor a second time, in non-blocking mode. `None`: it is
/// of another kind, or may not be opened.
fn reopen_nonblocking(stderr: &impl AsFd) -> Option<File> {
    let path = format!("/proc/self/fd/{}", stderr.as_fd().as_raw_fd());
    let pipe = fs::metadata(&path).is_ok_and(|file| file.file_type().is_fifo());
    if !pipe && !isatty(stderr).unwrap_or(false) {
        return None;
    }
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .ok()
}

#[cfg(test)]
mod tests;
