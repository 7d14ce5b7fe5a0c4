//! An exact query for one TCP socket over netlink (sock_diag(7)): [`query`].
//!
//! ```text
//! request                          answer, one of
//! nlmsghdr             16 bytes    nlmsghdr       16 bytes   nlmsghdr  16 bytes
//! inet_diag_req_v2     56          inet_diag_msg  72         nlmsgerr   4: -errno
//!   family, protocol    8            family, state  4
//!   inet_diag_sockid   48            sockid        48
//!                                    expires, rqueue, wqueue, uid, inode
//! ```
//!
//! Numbers are in the machine's byte order, ports and addresses in network order.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

use super::{End, Entry};

const HEADER_LEN: usize = 16;
const REQUEST_LEN: usize = HEADER_LEN + 56;
const ANSWER_LEN: usize = HEADER_LEN + 72;

const NLMSG_ERROR: u16 = 2;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;

/// The interface `lo`, which is the first of every network namespace. A socket that is bound to it
/// (SO_BINDTODEVICE) is found only if it is named; sockets that are bound to none are found too.
const LOOPBACK_INTERFACE: u32 = 1;

/// INET_DIAG_NOCOOKIE: the socket is not one that was listed before.
const NO_COOKIE: [u8; 8] = [0xff; 8];

/// What the kernel says of the socket that is this end of a connection. `None`: there is no such
/// socket, or the kernel cannot look for TCP sockets (CONFIG_INET_DIAG).
///
/// # Errors
/// There are no descriptors left, or the kernel has no such query ([`is_lacking`]).
pub(super) fn query(end: End) -> io::Result<Option<Entry>> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::NetlinkSockDiag,
    )?;
    send(socket.as_raw_fd(), &request(end), MsgFlags::empty())?;
    // The kernel handles the request inside of send, so the answer is here.
    let mut bytes = [0; 256];
    let len = recv(socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT)?;
    answer(&bytes[..len], end)
}

/// Whether the error of a query means that there will never be an answer: the kernel has no sock_diag,
/// or a sandbox forbids it. Other errors may pass.
pub(super) fn is_lacking(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    !matches!(
        errno,
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS)
    )
}

fn request(end: End) -> [u8; REQUEST_LEN] {
    let family = match end.local.0 {
        IpAddr::V4(_) => libc::AF_INET,
        IpAddr::V6(_) => libc::AF_INET6,
    };
    let sequence = 1_u32;
    let fields: [&[u8]; 13] = [
        &(REQUEST_LEN as u32).to_ne_bytes(),
        &SOCK_DIAG_BY_FAMILY.to_ne_bytes(),
        &NLM_F_REQUEST.to_ne_bytes(),
        &sequence.to_ne_bytes(),
        // The sender: the kernel fills it in.
        &[0; 4],
        // No extensions, and padding.
        &[family as u8, libc::IPPROTO_TCP as u8, 0, 0],
        // In any state; an exact query does not look at it.
        &[0xff; 4],
        &end.local.1.to_be_bytes(),
        &end.remote.1.to_be_bytes(),
        &address_bytes(end.local.0),
        &address_bytes(end.remote.0),
        &LOOPBACK_INTERFACE.to_ne_bytes(),
        &NO_COOKIE,
    ];
    let mut request = [0; REQUEST_LEN];
    request.copy_from_slice(&fields.concat());
    request
}

fn address_bytes(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.octets());
            bytes
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// What an answer says of the socket that was asked for. A socket that listens at the address is not
/// the one.
fn answer(bytes: &[u8], end: End) -> io::Result<Option<Entry>> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "an unknown answer of sock_diag");
    let word = |at: usize| {
        let word = bytes.get(at..at + 4).and_then(|it| it.try_into().ok());
        word.map(u32::from_ne_bytes).ok_or_else(malformed)
    };
    let kind = bytes.get(4..6).and_then(|it| it.try_into().ok());
    match kind.map(u16::from_ne_bytes) {
        Some(NLMSG_ERROR) => match Errno::from_raw((word(HEADER_LEN)? as i32).wrapping_neg()) {
            Errno::ENOENT => Ok(None),
            errno => Err(errno.into()),
        },
        Some(SOCK_DIAG_BY_FAMILY) if bytes.len() >= ANSWER_LEN => {
            let body = &bytes[HEADER_LEN..];
            let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
            let is_v4 = i32::from(body[0]) == libc::AF_INET;
            let found = End {
                local: (address(&body[8..24], is_v4), port(4)),
                remote: (address(&body[24..40], is_v4), port(6)),
            };
            let entry = Entry {
                state: body[1],
                uid: word(HEADER_LEN + 64)?,
                inode: word(HEADER_LEN + 68)?.into(),
            };
            Ok(Some(entry).filter(|_| found == end))
        }
        _ => Err(malformed()),
    }
}

fn address(bytes: &[u8], is_v4: bool) -> IpAddr {
    let mut all = [0; 16];
    all.copy_from_slice(bytes);
    match is_v4 {
        true => IpAddr::from([all[0], all[1], all[2], all[3]]),
        false => IpAddr::from(all).to_canonical(),
    }
}
