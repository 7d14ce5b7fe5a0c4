//! A client's TCP connection as the server uses it: [`Socket`] for [`TcpStream`].

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use mio::net::TcpStream;

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
