//! The real operating system: [`Linux`], which is [`System`] by epoll, TCP sockets, pipes,
//! process groups, signalfd and `/proc`.

pub mod account;
pub mod child_setup;
pub mod clone;
pub mod directory;
pub mod limits;
pub mod listener;
pub mod peer_uid;
pub mod signals;
pub mod spawn;

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use mio::net::{TcpListener, TcpStream};
use mio::unix::pipe::{Receiver, Sender};
use mio::{Interest, Registry};
use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal as NixSignal, kill};
use nix::unistd::{Pid as NixPid, geteuid, getpgid};

use crate::client::Client;
use crate::config::Config;
use crate::config::Signal;
use crate::http::routes::DirEntry;
use crate::linux::directory::Directory;
use crate::linux::limits::DescriptorLimit;

use self::spawn::Surroundings;
use crate::linux::peer_uid::peer_uid;
use crate::linux::signals::Signals;
use crate::process::Process;
use crate::source::{ClientId, ProcessId, Source};
use crate::system::{Child, Exit, Group, Pid, SignalEvent, Socket, Spawn, SpawnError, System};

// There may be many thousand of each, and this is what they cost at most: 264 and 168 bytes in a
// release build, where mio keeps less.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<Client<TcpStream>>() <= 280);
    assert!(size_of::<Process<Sender, Receiver>>() <= 200);
};

/// What `waitpid(2)` calls "any child".
const ANY_CHILD: Pid = -1;

/// The server's hold on the system: where streams are registered, the listeners, the signals.
pub struct Linux {
    registry: Registry,
    listeners: Vec<TcpListener>,
    signals: Signals,
    surroundings: Surroundings,
    directory: Option<Directory>,
}

impl Linux {
    /// Listens on the addresses of the configuration, and takes the signals of the process.
    /// `descriptors` is what a command gets its limit back from.
    ///
    /// # Errors
    /// Above all an address that cannot be had; the text then names it and the system's reason.
    pub fn start(
        config: &Config,
        registry: &Registry,
        descriptors: DescriptorLimit,
    ) -> io::Result<Self> {
        spawn::keep_inherited_descriptors()?;
        // First of all: it keeps some low descriptors.
        let surroundings = Surroundings::new(config, descriptors)?;
        let registry = registry.try_clone()?;
        let mut listeners = listener::listen(config)?;
        for (index, listener) in (0..).zip(&mut listeners) {
            registry.register(listener, Source::Listener(index).into(), Interest::READABLE)?;
        }
        let directory = config.directory.as_deref().map(Directory::open);
        // What a command leaves behind in its process group is ours then, and we hear of its end:
        // its number is free from then on, and must not be signalled any more. Where that is not to
        // be had, as under an emulator of another processor, whoever adopts it hears of that alone.
        let _ = set_child_subreaper(true);
        let signals = Signals::start()?;
        signals.register(&registry, Source::Signals.into())?;
        Ok(Self {
            registry,
            listeners,
            signals,
            surroundings,
            directory: directory.transpose()?,
        })
    }

    /// The addresses that are listened on, in the order of the configuration, with the port that
    /// port 0 came to be.
    ///
    /// # Errors
    /// As `getsockname(2)`.
    pub fn local_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(TcpListener::local_addr).collect()
    }
}

impl Socket for TcpStream {
    fn shutdown_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn unacknowledged(&self) -> usize {
        // It fails only for a socket that was never connected.
        usize::try_from(outgoing_queue(self.as_fd()).unwrap_or(0)).unwrap_or(0)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpStream::local_addr(self).map(listener::unmapped)
    }
}

impl System for Linux {
    type Socket = TcpStream;
    type Stdin = Sender;
    type Output = Receiver;

    fn accept(&mut self, listener: u32) -> io::Result<(TcpStream, SocketAddr)> {
        match self.listeners.get(listener as usize) {
            Some(listener) => listener::accept(listener),
            // It was closed, in this very batch perhaps.
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn stop_listening(&mut self) {
        self.listeners.clear();
    }

    fn watch_client(&mut self, socket: &mut TcpStream, id: ClientId) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        self.registry
            .register(socket, Source::Client(id).into(), both)
    }

    fn watch_child(&mut self, child: &mut Child<Self>, id: ProcessId) -> io::Result<()> {
        let registry = &self.registry;
        registry.register(
            &mut child.stdin,
            Source::Stdin(id).into(),
            Interest::WRITABLE,
        )?;
        registry.register(
            &mut child.stdout,
            Source::Stdout(id).into(),
            Interest::READABLE,
        )?;
        if let Some(stderr) = &mut child.stderr {
            registry.register(stderr, Source::Stderr(id).into(), Interest::READABLE)?;
        }
        Ok(())
    }

    fn look_up(&mut self, name: &str) -> DirEntry {
        let directory = self.directory.as_ref();
        directory.map_or(DirEntry::Nothing, |directory| directory.entry(name))
    }

    fn spawn(&mut self, spawn: &Spawn<'_>) -> Result<Child<Self>, SpawnError> {
        let started = spawn::start(spawn, &mut self.surroundings)?;
        Ok(Child {
            pid: started.pid,
            stdin: started.stdin,
            stdout: started.stdout,
            stderr: started.stderr,
        })
    }

    fn signal_group(&mut self, leader: Pid, signal: Signal) -> Group {
        kill_group(
            leader,
            Some(match signal {
                Signal::Hangup => NixSignal::SIGHUP,
                Signal::Interrupt => NixSignal::SIGINT,
                Signal::Quit => NixSignal::SIGQUIT,
                Signal::Abort => NixSignal::SIGABRT,
                Signal::User1 => NixSignal::SIGUSR1,
                Signal::User2 => NixSignal::SIGUSR2,
                Signal::Alarm => NixSignal::SIGALRM,
                Signal::Terminate => NixSignal::SIGTERM,
                Signal::Winch => NixSignal::SIGWINCH,
                Signal::Kill => NixSignal::SIGKILL,
            }),
        )
    }

    fn probe_group(&mut self, leader: Pid) -> Group {
        kill_group(leader, None)
    }

    fn reap(&mut self, which: Option<Pid>) -> Option<(Pid, Exit)> {
        // Any child means those too that the server did not start: it is given the orphans of its
        // commands, and they must not stay as zombies.
        wait(which.unwrap_or(ANY_CHILD))
    }

    fn group_of(&mut self, pid: Pid) -> Option<Pid> {
        let group = getpgid(Some(NixPid::from_raw(pid)));
        group.ok().map(NixPid::as_raw)
    }

    fn next_signal(&mut self) -> Option<SignalEvent> {
        self.signals.next_event()
    }

    fn peer_uid(&mut self, peer: SocketAddr, local: SocketAddr) -> io::Result<Option<u32>> {
        peer_uid(peer, local)
    }

    fn own_uid(&self) -> u32 {
        geteuid().as_raw()
    }

    fn give_back_memory(&mut self) {
        trim_heap();
    }
}

/// Gives back the free pages within the heap, which one block at its end keeps from being given
/// back otherwise (malloc_trim(3)).
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
fn trim_heap() {
    // SAFETY: it may be called at any time, and what is in use it leaves alone.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators give free pages back by themselves.
#[cfg(not(target_env = "gnu"))]
fn trim_heap() {}

/// Signals a process group; `None` asks only whether it has members.
fn kill_group(leader: Pid, signal: Option<NixSignal>) -> Group {
    // To kill(2) the groups 0 and 1 are our own and everybody.
    if leader <= 1 {
        return Group::Gone;
    }
    match kill(NixPid::from_raw(-leader), signal) {
        Err(Errno::ESRCH) => Group::Gone,
        // EPERM: it has members, none of which we may signal.
        Ok(()) | Err(_) => Group::Alive,
    }
}

/// A child that has ended, of those that `which` stands for in `waitpid(2)`; it is reaped.
///
/// The call of `nix` does not do: it takes the real-time signals for an error, and the child that
/// was ended by one would be reaped unheard.
#[allow(unsafe_code)]
fn wait(which: Pid) -> Option<(Pid, Exit)> {
    let mut status = 0;
    // SAFETY: the status is written to an int that outlives the call.
    let pid = unsafe { libc::waitpid(which, &mut status, libc::WNOHANG) };
    // 0: none has ended; an error: there is none, since WNOHANG does not wait to be interrupted.
    if pid <= 0 {
        return None;
    }
    // Both fit a byte, as they come from seven and eight bits of the status. A child that merely
    // stopped is not reported, not having been asked for.
    let exit = if libc::WIFSIGNALED(status) {
        Exit::Signal(libc::WTERMSIG(status) as u8)
    } else {
        Exit::Status(libc::WEXITSTATUS(status) as u8)
    };
    Some((pid, exit))
}

nix::ioctl_read_bad!(
    /// SIOCOUTQ of tcp(7), which has the number of TIOCOUTQ.
    siocoutq,
    libc::TIOCOUTQ,
    libc::c_int
);

/// How many bytes of a socket's output were not acknowledged.
#[allow(unsafe_code)]
fn outgoing_queue(socket: BorrowedFd<'_>) -> nix::Result<libc::c_int> {
    let mut queued = 0;
    // SAFETY: the descriptor is open for as long as it is borrowed, and the number is written to
    // an int that outlives the call.
    unsafe { siocoutq(socket.as_raw_fd(), &mut queued) }?;
    Ok(queued)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::{ErrorKind, Read, Write};
    use std::net;
    use std::time::{Duration, Instant};

    use mio::{Events, Poll, Token};

    use super::*;
    use crate::config::{CommandSettings, Listen, Stderr};
    use crate::event_loop::arena::Id;
    use crate::event_loop::readiness::Readiness;

    /// A system of this test's own. Its signals are those of the test's thread alone.
    ///
    /// Other tests start commands at the same time, which may hold our descriptors until exec.
    /// So whatever comes of closing one may come a little later, and is waited for.
    struct World {
        poll: Poll,
        linux: Linux,
        ready: HashMap<Token, Readiness>,
    }

    impl World {
        fn new() -> Self {
            let poll = Poll::new().unwrap();
            let config = Config {
                listen: Listen {
                    port: 0,
                    ..Listen::default()
                },
                ..Config::default()
            };
            let descriptors = DescriptorLimit::raise().unwrap();
            let linux = Linux::start(&config, poll.registry(), descriptors).unwrap();
            Self {
                poll,
                linux,
                ready: HashMap::new(),
            }
        }

        /// Waits until a source was reported as the condition says.
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
            assert_eq!(peer, client.local_addr().unwrap());
            assert_eq!(
                self.linux.accept(0).unwrap_err().kind(),
                ErrorKind::WouldBlock
            );
            self.linux.watch_client(&mut socket, client_id()).unwrap();
            (client, socket)
        }

        fn start(&mut self, words: &[&str], stderr: Stderr) -> Child<Linux> {
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

    /// Waits for one child, so that tests do not take each other's.
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
    fn a_client_is_reported_once_registered_and_heard_to_leave() {
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
            "known to the last"
        );
    }

    #[test]
    fn what_the_peer_has_not_acknowledged_is_known() {
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
        assert_eq!(
            world.linux.accept(0).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        let deadline = Instant::now() + Duration::from_secs(20);
        while net::TcpStream::connect(address).is_ok() {
            assert!(Instant::now() < deadline, "nobody listens");
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
    fn each_way_to_end_is_told() {
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
            assert_eq!(wait(child.pid), None, "each end is told once");
        }
    }

    #[test]
    fn a_group_is_signalled_as_a_whole_and_known_to_be_gone() {
        let mut world = World::new();
        // A grandchild that outlives the leader is of the group still. Here it is this process
        // that adopts it, since the first of a container may not reap what it is given.
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
    fn numbers_that_mean_everybody_are_nobodys_group() {
        for leader in [1, 0, -1] {
            assert_eq!(kill_group(leader, None), Group::Gone);
        }
    }

    #[test]
    fn a_peer_on_loopback_is_ones_own() {
        let mut world = World::new();
        let (client, _socket) = world.connect();
        let (peer, local) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let uid = world.linux.peer_uid(peer, local).unwrap();
        assert_eq!(uid, Some(world.linux.own_uid()));
    }
}
