//! Accepting a connection, and what an error of `accept(2)` means: [`accept`].

use std::io::{self, ErrorKind};

use mio::net::{TcpListener, TcpStream};
use nix::errno::Errno;

use crate::linux::listener::unmapped;
use crate::peer::Peer;
use crate::system::AcceptError;

/// Takes the next connection that waits. The address of an IPv4 peer is an IPv4 one, also on an
/// IPv6 listener.
///
/// # Errors
/// No connection waits, or none can be accepted.
pub(super) fn accept(listener: &TcpListener) -> Result<(TcpStream, Peer), AcceptError> {
    let (stream, peer) = listener.accept().map_err(meaning)?;
    Ok((stream, unmapped(peer).into()))
}

/// What an error of `accept(2)` means for the listener.
fn meaning(error: io::Error) -> AcceptError {
    if error.kind() == ErrorKind::WouldBlock {
        return AcceptError::WouldBlock;
    }
    match error.raw_os_error().map(Errno::from_raw) {
        // Linux passes the errors of a new connection on; accept(2) lists them under "Error
        // handling". The next call takes the next connection.
        Some(
            Errno::ECONNABORTED
            | Errno::EINTR
            | Errno::EPROTO
            | Errno::ENOPROTOOPT
            | Errno::EOPNOTSUPP
            | Errno::ENONET
            | Errno::ENETDOWN
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::EHOSTUNREACH,
        ) => AcceptError::ConnectionGone(error),
        // A shortage, or the refusal of a security module, may last.
        Some(Errno::EMFILE) => AcceptError::Failed {
            error,
            remedy: Some(
                "raise the hard limit of open files (ulimit -Hn, or LimitNOFILE= of systemd)",
            ),
        },
        _ => AcceptError::Failed {
            error,
            remedy: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning_of(errno: Errno) -> AcceptError {
        meaning(errno.into())
    }

    #[test]
    fn an_error_of_one_connection_does_not_stop_the_listener() {
        for errno in [Errno::ECONNABORTED, Errno::EPROTO, Errno::EHOSTUNREACH] {
            let meaning = meaning_of(errno);
            assert!(matches!(meaning, AcceptError::ConnectionGone(_)), "{errno}");
        }
        let nothing = meaning_of(Errno::EAGAIN);
        assert!(matches!(nothing, AcceptError::WouldBlock));
    }

    #[test]
    fn an_error_that_may_last_names_its_remedy_where_one_is_known() {
        for errno in [Errno::ENFILE, Errno::ENOMEM, Errno::ENOBUFS, Errno::EPERM] {
            let AcceptError::Failed { remedy: None, .. } = meaning_of(errno) else {
                panic!("{errno}");
            };
        }
        let AcceptError::Failed {
            remedy: Some(remedy),
            ..
        } = meaning_of(Errno::EMFILE)
        else {
            panic!("EMFILE has a remedy");
        };
        assert!(remedy.contains("ulimit -Hn"));
    }
}
