//! Keeps descriptors from a command: close-on-exec marks, and `close_range(2)`.

use std::ffi::c_uint;
use std::fs;
use std::io;
use std::os::fd::RawFd;

use nix::errno::Errno;

/// The first descriptor that a command must not have.
pub(super) const FIRST_OTHER_DESCRIPTOR: RawFd = 3;

/// Marks every descriptor that the server was started with, except the standard three, as
/// close-on-exec. Those that the server opens itself are close-on-exec already.
///
/// # Errors
/// The kernel is older than 5.11, and there is no `/proc` to list the descriptors either.
pub(in crate::linux) fn close_inherited_on_exec() -> io::Result<()> {
    mark_all().or_else(|_| mark_listed())
}

/// Marks the descriptors by `close_range(2)` with CLOSE_RANGE_CLOEXEC.
#[allow(unsafe_code)]
fn mark_all() -> io::Result<()> {
    let first = FIRST_OTHER_DESCRIPTOR as c_uint;
    // SAFETY: descriptors are marked, and none is closed.
    unsafe { close_range(first, c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) }?;
    Ok(())
}

/// Marks the descriptors that `/proc` lists, one by one.
pub(super) fn mark_listed() -> io::Result<()> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        if let Some(descriptor) = name.to_str().and_then(|digits| digits.parse().ok())
            && descriptor >= FIRST_OTHER_DESCRIPTOR
        {
            close_on_exec(descriptor);
        }
    }
    Ok(())
}

/// Marks one descriptor. If it has been closed since, there is nothing to mark.
#[allow(unsafe_code)]
fn close_on_exec(descriptor: RawFd) {
    // SAFETY: a flag of the descriptor is set; the call fails if it is not open.
    unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
}

/// Gives this process a descriptor table of its own, with only the descriptors up to `highest`
/// (CLOSE_RANGE_UNSHARE). If the table was shared, the other process keeps it as it is.
///
/// # Safety
/// The caller must not use a descriptor above `highest` any more.
#[allow(unsafe_code)]
pub(super) unsafe fn unshare_up_to(highest: RawFd) -> nix::Result<()> {
    let first = highest as c_uint + 1;
    // SAFETY: the caller's promise.
    unsafe { close_range(first, c_uint::MAX, libc::CLOSE_RANGE_UNSHARE) }
}

/// Whether the kernel has CLOSE_RANGE_UNSHARE (since 5.9) and no sandbox forbids it.
#[allow(unsafe_code)]
pub(super) fn can_unshare() -> bool {
    // SAFETY: the range is empty, which the call reports before it does anything.
    let refused = unsafe { close_range(1, 0, libc::CLOSE_RANGE_UNSHARE) };
    refused == Err(Errno::EINVAL)
}

/// `close_range(2)` as a plain system call: older C libraries have no function for it.
///
/// # Safety
/// The caller must not use a descriptor again that this closes.
#[allow(unsafe_code)]
unsafe fn close_range(first: c_uint, last: c_uint, flags: c_uint) -> nix::Result<()> {
    let [first, last, flags] = [first, last, flags].map(libc::c_ulong::from);
    // SAFETY: the caller's promise; no memory is passed.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    Errno::result(result).map(drop)
}
