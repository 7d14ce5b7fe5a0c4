//! A client's TCP connection as the server uses it: [`Socket`] for [`TcpStream`].

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use mio::net::TcpStream;
use nix::errno::Errno;

use super::listener::unmapped;
use crate::system::Socket;

impl Socket for TcpStream {
    fn shutdown_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn unacknowledged(&self) -> usize {
        // This fails only for a socket that was never connected.
        usize::try_from(outgoing_queue(self.as_fd()).unwrap_or(0)).unwrap_or(0)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpStream::local_addr(self).map(unmapped)
    }
}

nix::ioctl_read_bad!(
    /// SIOCOUTQ of tcp(7). It has the number of TIOCOUTQ.
    siocoutq,
    libc::TIOCOUTQ,
    libc::c_int
);

/// The number of bytes in the socket's send queue that the peer has not acknowledged.
#[allow(unsafe_code)]
fn outgoing_queue(socket: BorrowedFd<'_>) -> nix::Result<libc::c_int> {
    let mut queued = 0;
    // SAFETY: the descriptor is open while it is borrowed, and the int outlives the call.
    unsafe { siocoutq(socket.as_raw_fd(), &mut queued) }?;
    Ok(queued)
}

/// Whether the connection stands: the peer has neither reset it nor was found dead. A peer that has
/// sent its FIN still counts.
///
/// # Errors
/// As `getsockopt(2)` with TCP_INFO.
pub(super) fn is_connected(socket: &TcpStream) -> io::Result<bool> {
    /// States of `tcp_states.h` in the kernel.
    const ESTABLISHED: u8 = 1;
    const CLOSE_WAIT: u8 = 8;
    Ok(matches!(state(socket.as_fd())?, ESTABLISHED | CLOSE_WAIT))
}

/// The state of a TCP socket: the first byte of its `tcp_info` (tcp(7)).
#[allow(unsafe_code)]
fn state(socket: BorrowedFd<'_>) -> nix::Result<u8> {
    let mut state = 0_u8;
    let mut len: libc::socklen_t = 1;
    // SAFETY: the descriptor is open while it is borrowed; the kernel writes at most `len` bytes,
    // and both places outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut state).cast(),
            &mut len,
        )
    };
    Errno::result(result).map(|_| state)
}
