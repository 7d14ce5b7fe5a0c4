//! The kernel's tables of all TCP sockets, for kernels without sock_diag: [`Table`].
//!
//! `/proc/net/tcp` and `/proc/net/tcp6` have one line for each socket of the machine
//! (proc_net_tcp in the kernel's documentation). To read them takes milliseconds when there are many,
//! and any user of the machine can open many and then ask. So one reading serves all connections that
//! it lists, and the next one follows only after a rest.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::net::IpAddr;
use std::time::Instant;

use mio::net::TcpStream;
use nix::sys::stat::fstat;

use super::{End, Entry};

/// After a reading, the next one waits for this many times the time that it took.
const REST: u32 = 9;

/// The latest reading.
#[derive(Default)]
pub(super) struct Table {
    /// The sockets with the server's address at one end.
    entries: HashMap<End, Entry>,
    /// When the next reading is allowed.
    rests_until: Option<Instant>,
}

impl Table {
    /// What the kernel says of the other end of a socket. `None`: there is no such end.
    ///
    /// # Errors
    /// The tables cannot be read, or were read a moment ago.
    pub(super) fn find(&mut self, socket: &TcpStream, theirs: End) -> io::Result<Option<Entry>> {
        let inode = fstat(socket)?.st_ino;
        if !self.lists(theirs.opposite(), inode) {
            let began = Instant::now();
            if self.rests_until.is_some_and(|until| began < until) {
                return Err(io::Error::new(
                    ErrorKind::WouldBlock,
                    "the users of too many connections were asked for a moment ago; try again",
                ));
            }
            self.entries = read(theirs.remote)?;
            self.rests_until = Some(Instant::now() + REST * began.elapsed());
        }
        Ok(self.entries.get(&theirs).copied())
    }

    /// Whether the reading lists our own end of a connection. If so, the connection existed then, and
    /// the other end is that of the peer, not of an earlier connection from the same address.
    fn lists(&self, ours: End, inode: u64) -> bool {
        (self.entries.get(&ours)).is_some_and(|entry| entry.inode == inode)
    }
}

/// Reads the sockets with this address at one end.
fn read(server: (IpAddr, u16)) -> io::Result<HashMap<End, Entry>> {
    let mut entries = HashMap::new();
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match File::open(path) {
            Ok(table) => read_table(BufReader::new(table), server, &mut entries)?,
            // A kernel without IPv6.
            Err(error) if error.kind() == ErrorKind::NotFound && path.ends_with('6') => {}
            Err(error) => return Err(error),
        }
    }
    Ok(entries)
}

fn read_table(
    mut table: impl BufRead,
    server: (IpAddr, u16),
    entries: &mut HashMap<End, Entry>,
) -> io::Result<()> {
    let mut line = String::new();
    while table.read_line(&mut line)? > 0 {
        if let Some((end, entry)) = parse(&line)
            && (end.local == server || end.remote == server)
        {
            entries.insert(end, entry);
        }
        line.clear();
    }
    Ok(())
}

/// One line of a table. `None` for the heading.
fn parse(line: &str) -> Option<(End, Entry)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let end = End {
        local: parse_address(fields.next()?)?,
        remote: parse_address(fields.next()?)?,
    };
    let entry = Entry {
        state: u8::from_str_radix(fields.next()?, 16).ok()?,
        // Skipped: queues, timer, retransmissions.
        uid: fields.nth(3)?.parse().ok()?,
        // Skipped: the time-out.
        inode: fields.nth(1)?.parse().ok()?,
    };
    Some((end, entry))
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
impl Table {
    /// The next reading is allowed after this time.
    pub(super) fn rest_for(&mut self, time: std::time::Duration) {
        self.rests_until = Some(Instant::now() + time);
    }

    /// Takes these sockets for the latest reading.
    pub(super) fn replace(&mut self, entries: HashMap<End, Entry>) {
        self.entries = entries;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, SocketAddrV6};

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
    fn the_sockets_with_the_servers_address_at_one_end_are_read() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (peer, local) = (address("127.0.0.1:50000"), address("127.0.0.1:8080"));
        let mapped = |at: SocketAddr| match at {
            SocketAddr::V4(at) => {
                SocketAddr::from(SocketAddrV6::new(at.ip().to_ipv6_mapped(), at.port(), 0, 0))
            }
            SocketAddr::V6(_) => at,
        };
        let theirs = End::new(peer, local);
        let read = |table: &str| {
            let mut entries = HashMap::new();
            read_table(table.as_bytes(), theirs.remote, &mut entries).unwrap();
            entries
        };
        let heading = "  sl  local_address rem_address   st tx_queue rx_queue\n";
        assert!(read(heading).is_empty());
        let own = line(local, peer, 1, 7, 70);
        let other = line(peer, address("127.0.0.1:8081"), 1, 8, 80);
        let client = line(peer, local, 1, 1000, 90);
        let entries = read(&format!("{heading}{own}{other}{client}"));
        assert_eq!(entries.len(), 2);
        let (state, uid, inode) = (1, 1000, 90);
        assert_eq!(entries[&theirs], Entry { state, uid, inode });
        let (uid, inode) = (7, 70);
        assert_eq!(entries[&theirs.opposite()], Entry { state, uid, inode });
        let entries = read(&line(mapped(peer), mapped(local), 8, 1001, 90));
        assert_eq!(entries[&theirs].uid, 1001);
        assert!(read("garbage\n\u{fc}:1 : : : : : :\n").is_empty());
    }
}
