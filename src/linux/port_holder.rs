//! Why a port cannot be listened on, and what to do about it: [`remedy`].
//!
//! Linux lists the sockets of the machine with their inodes in `/proc/net/tcp`, and the descriptors
//! of a process in `/proc/PID/fd` (proc(5)), which only its user and root may read.

use std::env;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process;

use nix::errno::Errno;

use super::spawn::ShellWord;

/// The first port that needs no privilege, where the system does not tell (ip(7)).
const UNPRIVILEGED_PORT: u16 = 1024;

/// What follows the system's reason for an address that cannot be listened on: more about it, and
/// the next step.
pub(super) fn remedy(errno: Errno, address: SocketAddr) -> String {
    match errno {
        Errno::EADDRINUSE => match holder(address, process::id()) {
            Some(Holder::Process { pid, name }) => format!(
                " by {name} (PID {pid}): stop it with kill {pid}, or take a free port with --port=0"
            ),
            Some(Holder::User(uid)) => format!(
                " by a process of uid {uid}: sudo ss -ltnp names it; or take a free port with \
                 --port=0"
            ),
            None => ": take a free port with --port=0".to_owned(),
        },
        Errno::EACCES if address.port() < unprivileged_port() => {
            let program = env::current_exe().unwrap_or_else(|_| "wspipe".into());
            format!(
                ": ports below {} are root's: start it as root with --user=NAME, or once run sudo \
                 setcap cap_net_bind_service=+ep {}, or under systemd set \
                 AmbientCapabilities=CAP_NET_BIND_SERVICE, or take --port=8080 behind a proxy",
                unprivileged_port(),
                ShellWord(program.as_os_str())
            )
        }
        Errno::EADDRNOTAVAIL => {
            ": it is no address of this machine; ip address lists them".to_owned()
        }
        Errno::EAFNOSUPPORT if address.is_ipv6() => {
            ": this system has no IPv6; choose an IPv4 address with --address=ADDR".to_owned()
        }
        _ => String::new(),
    }
}

fn unprivileged_port() -> u16 {
    let setting = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let port = setting.ok().and_then(|text| text.trim().parse().ok());
    port.unwrap_or(UNPRIVILEGED_PORT)
}

/// Who listens on a port.
#[derive(Debug, PartialEq, Eq)]
enum Holder {
    /// This process, by the name of its program, escaped.
    Process { pid: u32, name: String },
    /// Some process of this user.
    User(u32),
}

/// Who listens on the address, or on another one that excludes it. The process `own` is left out: the
/// table does not show IPV6_V6ONLY, so our own `::` would look like the holder of an IPv4 address.
fn holder(address: SocketAddr, own: u32) -> Option<Holder> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let texts = tables.map(|table| fs::read_to_string(table).unwrap_or_default());
    let lines = texts.iter().flat_map(|text| text.lines());
    let listeners = lines.filter_map(|line| listener(line, address));
    let mut holders =
        listeners.map(|(inode, uid)| process_with(inode).unwrap_or(Holder::User(uid)));
    holders.find(|holder| !matches!(holder, Holder::Process { pid, .. } if *pid == own))
}

/// The inode and the user of the socket in a line of the table, if it listens on such an address.
fn listener(line: &str, address: SocketAddr) -> Option<(u64, u32)> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (ip, port) = fields.get(1)?.split_once(':')?;
    // An address is printed as 32-bit words in the byte order of the machine.
    let bytes = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let word = |word: &[u8]| u32::from_ne_bytes(word.try_into().unwrap_or_default());
    let own: String = bytes
        .chunks(4)
        .map(|it| format!("{:08X}", word(it)))
        .collect();
    let is_wildcard = ip.bytes().all(|digit| digit == b'0') || address.ip().is_unspecified();
    let is_same = u16::from_str_radix(port, 16) == Ok(address.port());
    // An IPv4 address is at the end of an IPv6 one that it is mapped to.
    let excludes = is_same && *fields.get(3)? == LISTEN && (is_wildcard || ip.ends_with(&own));
    let (uid, inode) = (fields.get(7)?.parse().ok()?, fields.get(9)?.parse().ok()?);
    excludes.then_some((inode, uid))
}

/// The first process with a descriptor of this socket.
fn process_with(inode: u64) -> Option<Holder> {
    let socket = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let pid: u32 = pids.find(|pid| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten();
        let mut targets = descriptors
            .flatten()
            .map(|entry| fs::read_link(entry.path()));
        targets.any(|target| target.is_ok_and(|target| target == Path::new(&socket)))
    })?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = name.trim_end_matches('\n').escape_default().to_string();
    Some(Holder::Process { pid, name })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_process_that_listens_on_a_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let own = process::id();
        let wildcard = SocketAddr::from(([0, 0, 0, 0], address.port()));
        for address in [address, wildcard] {
            let found = holder(address, 0);
            let is_own = matches!(found, Some(Holder::Process { pid, .. }) if pid == own);
            assert!(is_own, "{found:?}");
            assert_eq!(
                holder(address, own),
                None,
                "a process is not in its own way"
            );
        }
        let other = SocketAddr::from(([127, 0, 0, 2], address.port()));
        assert_eq!(holder(other, 0), None);
    }

    #[test]
    fn a_listener_is_found_in_a_line_of_the_table() {
        let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
        let localhost = word([127, 0, 0, 1]);
        let mapped = format!(
            "{}{}{}{localhost}",
            word([0; 4]),
            word([0; 4]),
            word([0, 0, 255, 255])
        );
        let line = |ip: &str, state: &str| {
            format!(
                "  0: {ip}:1F90 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 33 0 77 1"
            )
        };
        let address = "127.0.0.1:8080".parse().unwrap();
        for ip in [&localhost, &word([0; 4]), &mapped, &"0".repeat(32)] {
            assert_eq!(listener(&line(ip, "0A"), address), Some((77, 33)), "{ip}");
            assert_eq!(
                listener(&line(ip, "01"), address),
                None,
                "{ip} is connected"
            );
        }
        assert_eq!(listener(&line(&word([127, 0, 0, 2]), "0A"), address), None);
        assert_eq!(
            listener(&line(&localhost, "0A"), "127.0.0.1:8081".parse().unwrap()),
            None
        );
        assert_eq!(listener("sl local_address rem_address st", address), None);
        assert_eq!(listener("", address), None);
    }

    #[test]
    fn a_port_that_needs_a_privilege_names_the_ways() {
        let said = remedy(Errno::EACCES, "127.0.0.1:0".parse().unwrap());
        match unprivileged_port() {
            0 => assert_eq!(said, ""),
            _ => {
                for way in [
                    "--user=NAME",
                    "setcap cap_net_bind_service=+ep /",
                    "AmbientCap",
                    "--port=8080",
                ] {
                    assert!(said.contains(way), "{way}: {said}");
                }
            }
        }
        assert_eq!(
            remedy(Errno::EACCES, "127.0.0.1:65535".parse().unwrap()),
            ""
        );
    }
}
