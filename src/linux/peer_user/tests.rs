use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddrV6, TcpListener, TcpStream as StdStream};
use std::time::{Duration, Instant};

use super::*;

fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// A connection on loopback: the client, and our own socket with the peer's address.
fn connection(to: impl std::net::ToSocketAddrs) -> Option<(StdStream, TcpStream, SocketAddr)> {
    let listener = TcpListener::bind(to).ok()?;
    let client = StdStream::connect(listener.local_addr().unwrap()).ok()?;
    let (socket, peer) = listener.accept().unwrap();
    Some((client, TcpStream::from_std(socket), peer))
}

/// Each way to ask: over netlink, where there is that, and by the table.
fn ways() -> [PeerUsers; 2] {
    let lacking = PeerUsers {
        netlink: Netlink::Lacking,
        ..PeerUsers::new()
    };
    [PeerUsers::new(), lacking]
}

/// Asks until the table may be read again.
fn find(users: &mut PeerUsers, socket: &TcpStream, peer: SocketAddr) -> PeerUser {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match users.find(socket, peer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                assert!(Instant::now() < deadline, "it rests too long");
                std::thread::yield_now();
            }
            found => return found.unwrap(),
        }
    }
}

#[test]
fn the_user_of_a_real_socket_is_found() {
    for ip in [
        IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ] {
        for mut users in ways() {
            let Some((client, socket, peer)) = connection((ip, 0)) else {
                continue;
            };
            let own = PeerUser::Uid(own_uid());
            assert_eq!(find(&mut users, &socket, peer), own);
            let nobody = SocketAddr::new(ip, 1);
            assert_eq!(find(&mut users, &socket, nobody), PeerUser::Unlisted);
            drop(client);
            // A command that another test starts may hold the socket until its exec.
            let deadline = Instant::now() + Duration::from_secs(20);
            users.table = Table::default();
            while find(&mut users, &socket, peer) == own {
                assert!(Instant::now() < deadline, "it was closed");
                users.table = Table::default();
            }
            assert_eq!(find(&mut users, &socket, peer), PeerUser::Unlisted);
        }
    }
}

#[test]
fn an_ipv6_socket_connected_to_ipv4_is_found() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let SocketAddr::V4(local) = listener.local_addr().unwrap() else {
        unreachable!()
    };
    let mapped = SocketAddrV6::new(local.ip().to_ipv6_mapped(), local.port(), 0, 0);
    let Ok(_client) = StdStream::connect(mapped) else {
        return;
    };
    let (socket, peer) = listener.accept().unwrap();
    let socket = TcpStream::from_std(socket);
    for mut users in ways() {
        let found = find(&mut users, &socket, peer);
        assert_eq!(found, PeerUser::Uid(own_uid()));
    }
}

#[test]
fn a_peer_that_has_reset_its_connection_has_no_user() {
    for mut users in ways() {
        let (client, socket, peer) = connection("127.0.0.1:0").unwrap();
        let own = PeerUser::Uid(own_uid());
        assert_eq!(find(&mut users, &socket, peer), own);
        reset(client);
        // The table still lists the peer, as it would list the next process with its address.
        assert_eq!(find(&mut users, &socket, peer), PeerUser::Disconnected);
    }
}

/// Ends a connection by RST.
fn reset(client: StdStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    nix::sys::socket::setsockopt(&client, nix::sys::socket::sockopt::Linger, &linger).unwrap();
    // Another test's command may hold a copy of the descriptor until its exec.
    client.shutdown(std::net::Shutdown::Read).unwrap();
    drop(client);
}

#[test]
fn one_reading_of_the_table_serves_all_connections_that_it_lists() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let local = listener.local_addr().unwrap();
    let connect = || {
        let client = StdStream::connect(local).unwrap();
        let (socket, peer) = listener.accept().unwrap();
        (client, TcpStream::from_std(socket), peer)
    };
    let all: Vec<_> = (0..20).map(|_| connect()).collect();
    let [_, mut users] = ways();
    let own = PeerUser::Uid(own_uid());
    for (_, socket, peer) in &all {
        assert_eq!(users.find(socket, *peer).unwrap(), own);
        // A second reading would be an error.
        users.table.rest_for(Duration::from_secs(3600));
    }
    let (_client, socket, peer) = connect();
    let error = users.find(&socket, peer).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    users.table.rest_for(Duration::ZERO);
    assert_eq!(users.find(&socket, peer).unwrap(), own);
}

#[test]
fn a_reading_from_before_a_connection_does_not_speak_for_it() {
    let (_client, socket, peer) = connection("127.0.0.1:0").unwrap();
    let theirs = End::new(peer, Socket::local_addr(&socket).unwrap());
    let stale = Entry {
        state: 1,
        uid: own_uid() + 1,
        inode: 1,
    };
    let [_, mut users] = ways();
    let earlier = HashMap::from([(theirs, stale), (theirs.opposite(), stale)]);
    users.table.replace(earlier);
    let found = find(&mut users, &socket, peer);
    assert_eq!(found, PeerUser::Uid(own_uid()));
}

#[test]
fn netlink_is_used_where_the_kernel_has_it() {
    let (_client, socket, peer) = connection("127.0.0.1:0").unwrap();
    let mut users = PeerUsers::new();
    let theirs = End::new(peer, Socket::local_addr(&socket).unwrap());
    users.find(&socket, peer).unwrap();
    let has_netlink = netlink::query(theirs).is_ok_and(|entry| entry.is_some());
    let expected = match has_netlink {
        true => Netlink::Works,
        false => Netlink::Lacking,
    };
    assert_eq!(users.netlink, expected);
}

#[test]
fn a_closed_or_unconnected_socket_has_no_user() {
    let is_live = |state, inode| {
        let uid = 0;
        Entry { state, uid, inode }.is_live()
    };
    assert!(is_live(1, 5));
    assert!(!is_live(1, 0), "closed by its program");
    for state in [2, 3, 6, 7, 9, 10, 11, 12] {
        assert!(!is_live(state, 5), "state {state}");
    }
}

#[test]
fn only_a_full_map_of_users_tells_all_of_them_apart() {
    assert!(maps_all("         0          0 4294967295\n"));
    // Of rootless containers, with one user or with a range, and of a namespace without a map.
    for partial in [
        "0 1000 1",
        "0 1000 1\n1 100000 65536",
        "0 100000 65536",
        "1 1 4294967294",
        "",
    ] {
        assert!(!maps_all(partial), "{partial}");
    }
}
