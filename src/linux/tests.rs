use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{self, Shutdown};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::processes::wait;
use super::*;
use crate::config::{CommandSettings, Stderr};
use crate::event_loop::arena::Id;
use crate::event_loop::readiness::Readiness;
use crate::system::Socket;

/// A system for one test. Its signals are those of the test's thread alone.
///
/// Other tests start commands at the same time, and those may hold our descriptors until exec. So
/// the effects of closing one may come a little later, and tests wait for them.
struct World {
    poll: Poll,
    linux: Linux,
    ready: HashMap<Token, Readiness>,
}

impl World {
    fn new() -> Self {
        let poll = Poll::new().unwrap();
        let listen = Listen {
            port: 0,
            ..Listen::default()
        };
        let limits = ClientLimits::default();
        let descriptors = DescriptorLimit::raise().unwrap();
        let linux = Linux::start(
            &listen,
            &limits,
            None,
            descriptors,
            poll.registry(),
            Clock::start(),
        );
        let linux = linux.unwrap();
        Self {
            poll,
            linux,
            ready: HashMap::new(),
        }
    }

    /// Waits until the readiness that was reported for a source meets the condition.
    fn wait(&mut self, source: Source, is_ready: fn(Readiness) -> bool) {
        let mut events = Events::with_capacity(16);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self
            .ready
            .get(&source.into())
            .copied()
            .is_some_and(is_ready)
        {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{source:?} was not reported");
            self.poll.poll(&mut events, Some(left)).unwrap();
            for event in &events {
                let ready = self.ready.entry(event.token()).or_default();
                ready.merge(Readiness::from(event));
            }
        }
    }

    fn connect(&mut self) -> (net::TcpStream, TcpStream) {
        let address = self.linux.local_addrs().unwrap()[0];
        let client = net::TcpStream::connect(address).unwrap();
        self.wait(Source::Listener(0), Readiness::readable);
        let (mut socket, peer) = self.linux.accept(0).unwrap();
        assert_eq!(peer.addr(), client.local_addr().unwrap());
        let nothing = self.linux.accept(0);
        assert!(matches!(nothing, Err(AcceptError::WouldBlock)));
        self.linux.watch_client(&mut socket, client_id()).unwrap();
        (client, socket)
    }

    fn start(&mut self, words: &[&str], stderr: Stderr) -> Child<Sender, Receiver> {
        let command: Vec<_> = words.iter().map(Into::into).collect();
        let environment = [("PATH".into(), "/usr/bin:/bin".into())].into();
        let spawn = Spawn {
            command: &command,
            environment,
            settings: &CommandSettings {
                stderr,
                ..CommandSettings::default()
            },
        };
        let mut child = self.linux.spawn(&spawn).unwrap();
        self.linux.watch_child(&mut child, process_id()).unwrap();
        child
    }
}

fn client_id() -> ClientId {
    Id::from_parts(3, 5)
}

fn process_id() -> ProcessId {
    Id::from_parts(4, 6)
}

/// Reaps one child only: others belong to other tests.
fn wait_for(pid: Pid) -> Exit {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some((ended, exit)) = wait(pid) {
            assert_eq!(ended, pid);
            return exit;
        }
        assert!(Instant::now() < deadline, "{pid} did not end");
        std::thread::yield_now();
    }
}

#[test]
fn a_clients_data_and_its_fin_are_reported() {
    let mut world = World::new();
    let (mut client, mut socket) = world.connect();
    let source = Source::Client(client_id());
    world.wait(source, Readiness::writable);
    client.write_all(b"hello").unwrap();
    world.wait(source, Readiness::readable);
    let mut bytes = [0; 16];
    assert_eq!(socket.read(&mut bytes).unwrap(), 5);
    assert_eq!(
        socket.read(&mut bytes).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    client.write_all(b"left unread").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    world.wait(source, Readiness::hung_up);

    socket.shutdown_write().unwrap();
    assert_eq!(client.read(&mut bytes).unwrap(), 0);
    let address = world.linux.local_addrs().unwrap()[0];
    assert_eq!(
        Socket::local_addr(&socket).unwrap(),
        address,
        "also after the shutdown"
    );
}

#[test]
fn unacknowledged_bytes_are_counted_until_the_peer_reads() {
    let mut world = World::new();
    let (mut client, mut socket) = world.connect();
    assert_eq!(socket.unacknowledged(), 0);
    let chunk = [0; 65_536];
    let mut written = 0;
    while let Ok(n) = socket.write(&chunk) {
        written += n;
    }
    let waiting = socket.unacknowledged();
    assert!(
        waiting > 0 && waiting < written,
        "the peer's buffer is full, and so is ours"
    );
    client.read_exact(&mut vec![0; written]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while socket.unacknowledged() > 0 {
        assert!(
            Instant::now() < deadline,
            "all was read, so all is acknowledged"
        );
        std::thread::yield_now();
    }
}

#[test]
fn a_closed_listener_refuses_and_reports_nothing() {
    let mut world = World::new();
    let address = world.linux.local_addrs().unwrap()[0];
    world.linux.stop_listening();
    let nothing = world.linux.accept(0);
    assert!(matches!(nothing, Err(AcceptError::WouldBlock)));
    let deadline = Instant::now() + Duration::from_secs(20);
    while net::TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < deadline, "the listener is closed");
    }
    assert_eq!(world.linux.local_addrs().unwrap(), []);
}

#[test]
fn a_commands_pipes_are_reported() {
    let mut world = World::new();
    let mut child = world.start(
        &["sh", "-c", "read line; echo $line; echo e >&2"],
        Stderr::Log,
    );
    world.wait(Source::Stdin(process_id()), Readiness::writable);
    child.stdin.write_all(b"hello\n").unwrap();
    world.wait(Source::Stdout(process_id()), Readiness::readable);
    let mut bytes = [0; 16];
    assert_eq!(child.stdout.read(&mut bytes).unwrap(), 6);
    assert_eq!(wait_for(child.pid), Exit::Status(0));
    for pipe in [Source::Stdin, Source::Stdout, Source::Stderr] {
        world.wait(pipe(process_id()), Readiness::hung_up);
    }
    assert_eq!(child.stderr.unwrap().read(&mut bytes).unwrap(), 2);
    assert_eq!(child.stdout.read(&mut bytes).unwrap(), 0);
    let error = child.stdin.write(b"x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[test]
fn a_command_that_closes_its_stdin_is_reported() {
    let mut world = World::new();
    let child = world.start(&["sh", "-c", "exec <&-; exec sleep 100"], Stderr::Merge);
    world.wait(Source::Stdin(process_id()), Readiness::hung_up);
    assert_eq!(
        world.linux.signal_group(child.pid, Signal::Kill),
        Group::Alive
    );
    assert_eq!(wait_for(child.pid), Exit::Signal(9));
}

#[test]
fn each_way_to_end_is_reported_once() {
    let mut world = World::new();
    let real_time = libc::SIGRTMIN();
    for (script, exit) in [
        ("exit 0".to_owned(), Exit::Status(0)),
        ("exit 255".to_owned(), Exit::Status(255)),
        ("kill -TERM $$".to_owned(), Exit::Signal(15)),
        (
            format!("kill -{real_time} $$"),
            Exit::Signal(real_time as u8),
        ),
    ] {
        let child = world.start(&["sh", "-c", &script], Stderr::Merge);
        assert_eq!(wait_for(child.pid), exit, "{script}");
        assert_eq!(wait(child.pid), None, "it was reaped already");
    }
}

#[test]
fn a_group_is_alive_until_its_last_member_is_reaped() {
    let mut world = World::new();
    // A grandchild that outlives the leader is still a member. This process adopts it, because
    // the first process of a container may not reap.
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let mut child = world.start(&["sh", "-c", "sleep 100 & echo"], Stderr::Merge);
    assert_eq!(world.linux.probe_group(child.pid), Group::Alive);
    assert_eq!(wait_for(child.pid), Exit::Status(0));
    assert_eq!(world.linux.probe_group(child.pid), Group::Alive);
    let group = world.linux.signal_group(child.pid, Signal::Terminate);
    assert_eq!(group, Group::Alive);
    world.wait(Source::Stdout(process_id()), Readiness::hung_up);
    while child.stdout.read(&mut [0; 16]).unwrap() > 0 {}
    let deadline = Instant::now() + Duration::from_secs(20);
    while wait(-child.pid).is_none() {
        assert!(Instant::now() < deadline, "the grandchild ends");
        std::thread::yield_now();
    }
    assert_eq!(world.linux.probe_group(child.pid), Group::Gone);
    assert_eq!(
        world.linux.signal_group(child.pid, Signal::Kill),
        Group::Gone
    );
}

#[test]
fn the_user_of_a_loopback_peer_is_found() {
    let mut world = World::new();
    let (client, socket) = world.connect();
    let peer = Peer::from(client.local_addr().unwrap());
    let user = world.linux.peer_user(&socket, &peer).unwrap();
    assert_eq!(user, PeerUser::Uid(world.linux.own_uid()));
}
