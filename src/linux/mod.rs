//! The real operating system: [`Linux`], which implements [`System`] with epoll, TCP sockets,
//! pipes, process groups and sessions, signalfd and `/proc`.
//!
//! No other folder has `unsafe` code or uses the crates nix and libc.
//!
//! | file | what |
//! |---|---|
//! | `listener`, `accept`, `socket` | listening, accepting, what is asked of a connection |
//! | `localhost` | keeping other programs from the address of `localhost` that is not listened on |
//! | `peer_user/` | the user at the other end of a connection |
//! | `port_holder` | who holds a port that is in use, and the next step |
//! | `spawn/` | starting a command: pipes, clone, child setup |
//! | `processes`, `jobs`, `pidfd` | reaping, and signals to process groups and to what has left them |
//! | `signals` | the signals that the server itself receives |
//! | `directory` | the programs of `--dir` |
//! | `account`, `limits` | the user the server becomes, and the limits it runs under |
//! | `log_sink`, `memory` | stderr that never blocks; how much memory there is, and freeing it |

mod accept;
pub(crate) mod account;
pub(crate) mod directory;
mod jobs;
pub mod limits;
mod listener;
mod localhost;
pub mod log_sink;
pub(crate) mod memory;
mod peer_user;
mod pidfd;
mod port_holder;
mod processes;
mod signals;
mod socket;
pub(crate) mod spawn;
#[cfg(test)]
mod testing;

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use mio::net::{TcpListener, TcpStream};
use mio::unix::pipe::{Receiver, Sender};
use mio::{Interest, Registry};
use nix::sys::prctl::{set_child_subreaper, set_dumpable};
use nix::unistd::{geteuid, gethostname};

use self::directory::Directory;
use self::limits::DescriptorLimit;
use self::localhost::{Held, Shared};
use self::peer_user::PeerUsers;
use self::processes::Groups;
use self::signals::Signals;
use self::spawn::Spawner;
use crate::client::Client;
use crate::config::{ClientLimits, Listen, Signal};
use crate::event_loop::Clock;
use crate::event_loop::instant::Instant;
use crate::http::routes::DirEntry;
use crate::limits::JOB_SCAN_LEN;
use crate::peer::Peer;
use crate::process::Process;
use crate::source::{ClientId, ProcessId, Source};
use crate::system::{
    AcceptError, Child, Exit, Group, PeerUser, Pid, SignalEvent, Spawn, SpawnError, System,
};

// Memory of each client and each command. A release build has 248 and 184 bytes, where mio keeps
// less; there may be many thousands of each.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<Client<TcpStream>>() <= 280);
    assert!(size_of::<Process<Sender, Receiver>>() <= 208);
};

/// The server's part of the system: the epoll registry, the listeners, the signal descriptor.
pub struct Linux {
    registry: Registry,
    clock: Clock,
    listeners: Vec<TcpListener>,
    held: Held,
    signals: Signals,
    spawner: Spawner,
    groups: Groups,
    directory: Option<Directory>,
    peer_users: PeerUsers,
}

impl Linux {
    /// Listens, and takes over the signals of the process. Accepted connections get the TCP
    /// time-outs of `limits`, and commands the original limit of `descriptors`; the programs in
    /// `directory` can be looked up.
    ///
    /// # Errors
    /// Mostly an address that cannot be used; the text then names it and the system's reason.
    pub fn start(
        listen: &Listen,
        limits: &ClientLimits,
        directory: Option<&Path>,
        descriptors: DescriptorLimit,
        registry: &Registry,
        clock: Clock,
    ) -> io::Result<Self> {
        spawn::close_inherited_on_exec()?;
        // Before any other descriptor is opened: it keeps some low ones.
        let spawner = Spawner::new(descriptors)?;
        let registry = registry.try_clone()?;
        let (mut listeners, held) = listener::listen(listen, limits)?;
        for (index, listener) in (0..).zip(&mut listeners) {
            registry.register(listener, Source::Listener(index).into(), Interest::READABLE)?;
        }
        let directory = directory.map(Directory::open).transpose()?;
        // Become a subreaper: orphans of commands are reparented to the server, which so learns
        // when a process group is empty and its number must not be signalled any more. qemu-user
        // refuses this; orphans then belong to the first process of the system.
        let _ = set_child_subreaper(true);
        let signals = Signals::start()?;
        signals.register(&registry, Source::Signals.into())?;
        Ok(Self {
            registry,
            clock,
            listeners,
            held,
            signals,
            spawner,
            groups: Groups::new(),
            directory,
            peer_users: PeerUsers::new(),
        })
    }

    /// The addresses of the listeners in the order of [`Listen::addresses`], with the port that the
    /// kernel chose for port 0.
    ///
    /// # Errors
    /// As `getsockname(2)`.
    pub(crate) fn local_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(TcpListener::local_addr).collect()
    }

    /// Whether `localhost` may lead to another program, and why.
    pub(crate) fn shared_localhost(&self) -> Option<&Shared> {
        self.held.as_ref().err()
    }
}

impl System for Linux {
    type Socket = TcpStream;
    type Stdin = Sender;
    type Output = Receiver;

    fn listeners(&self) -> usize {
        self.listeners.len()
    }

    fn accept(&mut self, listener: u32) -> Result<(TcpStream, Peer), AcceptError> {
        // The visit of a listener that was closed in this batch may be deferred.
        let listener = self.listeners.get(listener as usize);
        listener.map_or(Err(AcceptError::WouldBlock), accept::accept)
    }

    fn stop_listening(&mut self) {
        self.listeners.clear();
        // The next server may start while this one drains.
        self.held = Ok(None);
    }

    fn watch_client(&mut self, socket: &mut TcpStream, id: ClientId) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        self.registry
            .register(socket, Source::Client(id).into(), both)
    }

    fn watch_child(
        &mut self,
        child: &mut Child<Sender, Receiver>,
        id: ProcessId,
    ) -> io::Result<()> {
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

    fn report_entry(&mut self, name: &str) -> Option<String> {
        self.directory.as_mut()?.report(name)
    }

    fn spawn(&mut self, spawn: &Spawn<'_>) -> Result<Child<Sender, Receiver>, SpawnError> {
        let child = self.spawner.start(spawn)?;
        self.groups.started(child.pid);
        Ok(child)
    }

    fn signal_group(&mut self, leader: Pid, signal: Signal) -> Group {
        self.groups.signal(leader, Some(signal))
    }

    fn probe_group(&mut self, leader: Pid) -> Group {
        self.groups.signal(leader, None)
    }

    fn release_group(&mut self, leader: Pid) {
        self.groups.release(leader);
    }

    fn find_jobs(&mut self, is_leader: &dyn Fn(Pid) -> bool) -> Option<usize> {
        self.groups.jobs.find(JOB_SCAN_LEN, is_leader)
    }

    fn signal_jobs(&mut self, leader: Pid, signal: Option<Signal>) -> Group {
        self.groups.jobs.signal(leader, signal)
    }

    fn reap(&mut self, which: Option<Pid>) -> Option<(Pid, Exit)> {
        self.groups.reap(which)
    }

    fn group_of(&mut self, pid: Pid) -> Option<Pid> {
        processes::group_of(pid)
    }

    fn next_signal(&mut self) -> Option<SignalEvent> {
        self.signals.next_event()
    }

    fn peer_user(&mut self, socket: &TcpStream, peer: &Peer) -> io::Result<PeerUser> {
        self.peer_users.find(socket, peer.addr())
    }

    fn clock(&self) -> Instant {
        self.clock.now()
    }

    fn own_uid(&self) -> u32 {
        geteuid().as_raw()
    }

    fn release_memory(&mut self) {
        memory::release();
    }
}

/// Closes the files of this process in `/proc` to its own user, and so to commands: its environment,
/// its memory, and its descriptors, which are the sockets and pipes of all clients
/// (PR_SET_DUMPABLE of prctl(2)). Only root can read or trace it then, and it leaves no core dump. A
/// change of user may undo this (`fs.suid_dumpable`), so call it afterwards; exec undoes it for
/// commands.
///
/// # Errors
/// As `prctl(2)`.
pub(crate) fn close_to_own_user() -> io::Result<()> {
    Ok(set_dumpable(false)?)
}

/// The name of this machine; empty if the system does not report it.
pub(crate) fn host_name() -> String {
    let name = gethostname().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_default()
}

#[cfg(test)]
mod tests;
