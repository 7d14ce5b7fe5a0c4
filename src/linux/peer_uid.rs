//! The user at the other end of a loopback TCP connection: [`peer_uid`].
//!
//! Linux lists every TCP socket of the machine with its user, one a line, in `/proc/net/tcp` and
//! `/proc/net/tcp6` (proc_net_tcp in the kernel's documentation). A query over netlink
//! (sock_diag(7)) would not read the whole table, but it needs a kernel module that small kernels
//! leave out, and messages assembled by hand. Only the demo's shell asks, once for each connection,
//! so the table is good enough.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::net::{IpAddr, SocketAddr};

/// The user whose socket is bound to `peer` and connected to `local`. `None`: there is no such
/// socket, or its program has closed it.
///
/// # Errors
/// The tables cannot be read.
pub(super) fn peer_uid(peer: SocketAddr, local: SocketAddr) -> io::Result<Option<u32>> {
    if peer.is_ipv4()
        && let Some(uid) = search("/proc/net/tcp", peer, local)?
    {
        return Ok(Some(uid));
    }
    // An IPv6 socket that is connected to an IPv4 address (`::ffff:127.0.0.1`) is in this table.
    match search("/proc/net/tcp6", peer, local) {
        // A kernel without IPv6.
        Err(error) if error.kind() == ErrorKind::NotFound && peer.is_ipv4() => Ok(None),
        found => found,
    }
}

fn search(table: &str, peer: SocketAddr, local: SocketAddr) -> io::Result<Option<u32>> {
    search_table(BufReader::new(File::open(table)?), peer, local)
}

fn search_table(
    mut table: impl BufRead,
    peer: SocketAddr,
    local: SocketAddr,
) -> io::Result<Option<u32>> {
    let mut line = String::new();
    while table.read_line(&mut line)? > 0 {
        if let Some(entry) = Entry::parse(&line)
            && entry.is_live()
            && entry.connects(peer, local)
        {
            return Ok(Some(entry.uid));
        }
        line.clear();
    }
    Ok(None)
}

/// One line of a table.
struct Entry {
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
    state: u8,
    uid: u32,
    inode: u64,
}

impl Entry {
    /// `None` for the heading.
    fn parse(line: &str) -> Option<Entry> {
        let mut fields = line.split_ascii_whitespace().skip(1);
        Some(Entry {
            local: parse_address(fields.next()?)?,
            remote: parse_address(fields.next()?)?,
            state: u8::from_str_radix(fields.next()?, 16).ok()?,
            // Skipped: queues, timer, retransmissions.
            uid: fields.nth(3)?.parse().ok()?,
            // Skipped: the time-out.
            inode: fields.nth(1)?.parse().ok()?,
        })
    }

    /// Whether a program holds this socket, and it is connected. A closed socket stays in the table
    /// for a while, with inode 0 and user 0; it must not be taken for one of root's.
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

    /// Whether this is the peer's end of the connection between `peer` and `local`.
    fn connects(&self, peer: SocketAddr, local: SocketAddr) -> bool {
        let plain = |address: SocketAddr| (address.ip().to_canonical(), address.port());
        self.local == plain(peer) && self.remote == plain(local)
    }
}

/// Reads `0100007F:1F90`: an address and a port. The address is one or four 32-bit words in network
/// byte order, each printed as a number in the byte order of this machine.
fn parse_address(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let word = |index: usize| {
        let digits = address.get(8 * index..8 * index + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let ip = match address.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index)?);
            }
            IpAddr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some((ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, SocketAddrV4, SocketAddrV6, TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;

    /// A line as a machine of this one's byte order prints it.
    fn line(local: SocketAddr, remote: SocketAddr, state: u8, uid: u32, inode: u64) -> String {
        let hex = |address: SocketAddr| {
            let bytes = match address.ip() {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            let words: String = bytes
                .chunks_exact(4)
                .map(|word| format!("{:08X}", u32::from_ne_bytes(word.try_into().unwrap())))
                .collect();
            format!("{words}:{:04X}", address.port())
        };
        format!(
            "   1: {} {} {state:02X} 00000000:00000000 00:00000000 00000000 {uid:5}        0 {inode} 1 0\n",
            hex(local),
            hex(remote)
        )
    }

    #[test]
    fn the_peers_line_is_found() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (peer, local) = (address("127.0.0.1:50000"), address("127.0.0.1:8080"));
        let mapped = |at: SocketAddr| match at {
            SocketAddr::V4(at) => {
                SocketAddr::from(SocketAddrV6::new(at.ip().to_ipv6_mapped(), at.port(), 0, 0))
            }
            SocketAddr::V6(_) => at,
        };
        let find = |table: &str| search_table(table.as_bytes(), peer, local).unwrap();
        let heading = "  sl  local_address rem_address   st tx_queue rx_queue\n";
        assert_eq!(find(heading), None);
        // Our own end of the connection is not the peer's.
        let own = line(local, peer, 1, 7, 70);
        let other = line(peer, address("127.0.0.1:8081"), 1, 8, 80);
        let theirs = line(peer, local, 1, 1000, 90);
        assert_eq!(find(&format!("{heading}{own}{other}{theirs}")), Some(1000));
        assert_eq!(find(&format!("{heading}{own}{other}")), None);
        assert_eq!(
            find(&line(mapped(peer), mapped(local), 8, 1001, 90)),
            Some(1001)
        );
        assert_eq!(find("garbage\n\u{fc}:1 : : : : : :\n"), None);
    }

    #[test]
    fn a_closed_or_unconnected_socket_has_no_user() {
        let peer = "[::1]:50000".parse().unwrap();
        let local = "[::1]:8080".parse().unwrap();
        let find = |state, inode| {
            let table = line(peer, local, state, 0, inode);
            search_table(table.as_bytes(), peer, local).unwrap()
        };
        assert_eq!(find(1, 5), Some(0));
        assert_eq!(find(1, 0), None, "closed by its program");
        for state in [2, 3, 6, 7, 9, 10, 11, 12] {
            assert_eq!(find(state, 5), None, "state {state}");
        }
    }

    #[test]
    fn the_user_of_a_real_socket_is_found() {
        let own_uid = nix::unistd::geteuid().as_raw();
        for ip in [
            IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ] {
            let Ok(listener) = TcpListener::bind((ip, 0)) else {
                continue;
            };
            let local = listener.local_addr().unwrap();
            let client = TcpStream::connect(local).unwrap();
            let (_accepted, peer) = listener.accept().unwrap();
            assert_eq!(peer_uid(peer, local).unwrap(), Some(own_uid));
            assert_eq!(peer_uid(peer, SocketAddr::new(ip, 1)).unwrap(), None);
            drop(client);
            // A command that another test starts may hold the socket until its exec.
            let deadline = Instant::now() + Duration::from_secs(20);
            while peer_uid(peer, local).unwrap().is_some() {
                assert!(Instant::now() < deadline, "it was closed");
            }
        }
    }

    #[test]
    fn an_ipv6_socket_connected_to_ipv4_is_found() {
        let own_uid = nix::unistd::geteuid().as_raw();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(local) = listener.local_addr().unwrap() else {
            unreachable!()
        };
        let mapped = SocketAddrV6::new(local.ip().to_ipv6_mapped(), local.port(), 0, 0);
        let Ok(_client) = TcpStream::connect(mapped) else {
            return;
        };
        let (_accepted, peer) = listener.accept().unwrap();
        assert_eq!(
            peer_uid(
                peer,
                SocketAddr::V4(SocketAddrV4::new(*local.ip(), local.port()))
            )
            .unwrap(),
            Some(own_uid)
        );
    }
}
