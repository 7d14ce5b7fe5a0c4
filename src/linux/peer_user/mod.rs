//! The user at the other end of a loopback TCP connection: [`PeerUsers`].
//!
//! The kernel is asked who owns the socket that is bound to the peer's address and connected to ours.
//! An exact query over netlink (`netlink.rs`) takes the same time however many sockets there are.
//! Where the kernel or a sandbox does not have it, the table of all sockets in `/proc/net` is read
//! (`table.rs`), which takes the longer the more there are.
//!
//! # Why the answer is about this peer
//!
//! The answer is about the owner of the address *now*, but the request was read before. A peer that
//! resets its connection frees its address at once, while its request and frames stay readable in our
//! receive queue. The next process that connects from this address would be taken for the peer. So
//! our own socket is looked at **after** the query. While it is connected, no other socket can have
//! been connected from the peer's address to ours: a SYN from there reaches our socket, not the
//! listener, and the answer to it either is ignored or resets our socket.

mod netlink;
mod table;

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use mio::net::TcpStream;

use self::table::Table;
use super::socket::is_connected;
use crate::system::{PeerUser, Socket};

/// One end of a TCP connection: the address it is bound to, and the address it is connected to.
/// IPv4-mapped IPv6 addresses are unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct End {
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
}

impl End {
    fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        let plain = |address: SocketAddr| (address.ip().to_canonical(), address.port());
        Self {
            local: plain(local),
            remote: plain(remote),
        }
    }

    fn opposite(self) -> Self {
        Self {
            local: self.remote,
            remote: self.local,
        }
    }
}

/// What the kernel says of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    state: u8,
    uid: u32,
    inode: u64,
}

impl Entry {
    /// Whether a program holds this socket, and it is connected. A closed socket stays listed for a
    /// while, with inode 0 and user 0; it must not be taken for one of root's.
    fn is_live(&self) -> bool {
        const ESTABLISHED: u8 = 1;
        const FIN_WAIT_1: u8 = 4;
        const FIN_WAIT_2: u8 = 5;
        const CLOSE_WAIT: u8 = 8;
        self.inode != 0
            && matches!(
                self.state,
                ESTABLISHED | FIN_WAIT_1 | FIN_WAIT_2 | CLOSE_WAIT
            )
    }
}

/// Finds the users of peers.
pub(super) struct PeerUsers {
    netlink: Netlink,
    table: Table,
}

/// Whether the kernel answers queries over netlink. It says that it has no such socket both when that
/// is so and when it cannot look for TCP sockets at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Netlink {
    Untried,
    Works,
    Lacking,
}

impl PeerUsers {
    pub(super) fn new() -> Self {
        Self {
            netlink: Netlink::Untried,
            table: Table::default(),
        }
    }

    /// The user at the other end of a socket, whose address is `peer`.
    ///
    /// # Errors
    /// The system does not answer, or has been asked too much lately.
    pub(super) fn find(&mut self, socket: &TcpStream, peer: SocketAddr) -> io::Result<PeerUser> {
        // Also before the query: the kernel need not be asked for a peer that has gone.
        if !is_connected(socket)? {
            return Ok(PeerUser::Disconnected);
        }
        let theirs = End::new(peer, Socket::local_addr(socket)?);
        let found = self.query(socket, theirs)?;
        if !is_connected(socket)? {
            return Ok(PeerUser::Disconnected);
        }
        Ok(match found.filter(Entry::is_live).map(|entry| entry.uid) {
            None => PeerUser::Unlisted,
            Some(uid) if is_hidden(uid) => PeerUser::Hidden(uid),
            Some(uid) => PeerUser::Uid(uid),
        })
    }

    fn query(&mut self, socket: &TcpStream, theirs: End) -> io::Result<Option<Entry>> {
        if self.netlink != Netlink::Lacking {
            match netlink::query(theirs) {
                Ok(Some(entry)) => {
                    self.netlink = Netlink::Works;
                    return Ok(Some(entry));
                }
                Ok(None) if self.netlink == Netlink::Works => return Ok(None),
                // Our own end is there. If that is not found either, nothing is.
                Ok(None) if netlink::query(theirs.opposite())?.is_some() => {
                    self.netlink = Netlink::Works;
                    return Ok(None);
                }
                // A peer that resets its connection at this moment must not turn the query off.
                Ok(None) if !is_connected(socket)? => return Ok(None),
                Ok(None) => self.netlink = Netlink::Lacking,
                Err(error) if netlink::is_lacking(&error) => self.netlink = Netlink::Lacking,
                Err(error) => return Err(error),
            }
        }
        self.table.find(socket, theirs)
    }
}

/// Whether this number stands for every user whom the server's user namespace does not map
/// (user_namespaces(7), "Unmapped user and group IDs"), so that it names no one of them.
fn is_hidden(uid: u32) -> bool {
    /// The kernel's default (`DEFAULT_OVERFLOWUID`).
    const OVERFLOW: u32 = 65_534;
    let overflow = fs::read_to_string("/proc/sys/kernel/overflowuid");
    let overflow = overflow.ok().and_then(|text| text.trim().parse().ok());
    if uid != overflow.unwrap_or(OVERFLOW) {
        return false;
    }
    match fs::read_to_string("/proc/self/uid_map") {
        Ok(map) => !maps_all(&map),
        // A kernel without user namespaces has no such file. Without /proc it is not known.
        Err(_) => !Path::new("/proc/self").exists(),
    }
}

/// Whether this map of user_namespaces(7) maps every user, each to its own number. A namespace whose
/// map was not written yet has an empty one.
fn maps_all(uid_map: &str) -> bool {
    uid_map
        .split_ascii_whitespace()
        .eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests;
