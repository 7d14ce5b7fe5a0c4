//! What the server asks of the operating system: the trait [`System`].
//!
//! The lives and the server above them are generic over it. `linux.rs` is the real one; a
//! simulated one can drive the very same code, dispatch and all, in virtual time.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;

use crate::config::{CommandSettings, Signal};
use crate::http::routes::DirEntry;
use crate::process::environment::Environment;
use crate::source::{ClientId, ProcessId};

/// The number of a process, and of the group that it leads.
pub type Pid = i32;

/// A client's connection.
pub trait Socket: Read + Write {
    /// Ends our half of the connection, after what was written (`shutdown(2)`, `SHUT_WR`).
    ///
    /// # Errors
    /// As `shutdown(2)`.
    fn shutdown_write(&self) -> io::Result<()>;

    /// How many written bytes the peer's TCP has not acknowledged (`SIOCOUTQ`, tcp(7)).
    fn unacknowledged(&self) -> usize;

    /// The address that the client connected to; IPv4 peers of an IPv6 socket as IPv4.
    ///
    /// # Errors
    /// As `getsockname(2)`.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// The operating system, as far as the server needs it.
pub trait System {
    /// A client's connection, non-blocking.
    type Socket: Socket;
    /// Our end of a command's standard input, non-blocking.
    type Stdin: Write;
    /// Our end of a command's output, non-blocking.
    type Output: Read;

    /// The next connection that waits on a listener, with the address of its peer.
    ///
    /// # Errors
    /// `WouldBlock` when none waits, otherwise as `accept(2)`.
    fn accept(&mut self, listener: u32) -> io::Result<(Self::Socket, SocketAddr)>;

    /// Closes every listener.
    fn stop_listening(&mut self);

    /// Has the loop report on a client's socket, edge-triggered, for as long as it is open.
    ///
    /// # Errors
    /// As `epoll_ctl(2)`.
    fn watch_client(&mut self, socket: &mut Self::Socket, id: ClientId) -> io::Result<()>;

    /// Has the loop report on the pipes of a command.
    ///
    /// # Errors
    /// As `epoll_ctl(2)`.
    fn watch_child(&mut self, child: &mut Child<Self>, id: ProcessId) -> io::Result<()>;

    /// What a name below `--dir` stands for: a relative path without `.` and `..`. Nothing, where
    /// it leads out of the directory.
    fn look_up(&mut self, name: &str) -> DirEntry;

    /// Starts a command as the leader of its own session and process group.
    ///
    /// # Errors
    /// Why it could not be started, which the client is told.
    fn spawn(&mut self, spawn: &Spawn<'_>) -> Result<Child<Self>, SpawnError>;

    /// Signals a process group. The group of a leader that is not reaped always exists.
    fn signal_group(&mut self, leader: Pid, signal: Signal) -> Group;

    /// Whether a process group has members. Its leader, until reaped, is one.
    fn probe_group(&mut self, leader: Pid) -> Group;

    /// The child of this number, or any, if it has ended, with how it did. SIGCHLD coalesces, so
    /// whoever hears it asks for any, be it later, until there is none.
    fn reap(&mut self, which: Option<Pid>) -> Option<(Pid, Exit)>;

    /// The process group of a process, if there is such a process; of a child also after it has
    /// ended, until it is reaped.
    fn group_of(&mut self, pid: Pid) -> Option<Pid>;

    /// The next signal that was sent to the server itself.
    fn next_signal(&mut self) -> Option<SignalEvent>;

    /// The user that the socket at the other end of a loopback connection belongs to; `None`:
    /// the system knows no such socket.
    ///
    /// # Errors
    /// When the system will not say.
    fn peer_uid(&mut self, peer: SocketAddr, local: SocketAddr) -> io::Result<Option<u32>>;

    /// The user that the server runs as.
    fn own_uid(&self) -> u32;

    /// Gives back to the machine what memory was freed, where the allocator would keep it.
    fn give_back_memory(&mut self) {}
}

/// What is to be started.
pub struct Spawn<'a> {
    /// The program's name or path, and its arguments.
    pub command: &'a [OsString],
    /// Its whole environment.
    pub environment: Environment,
    /// How it runs.
    pub settings: &'a CommandSettings,
}

/// A command that was started, and our ends of its pipes.
pub struct Child<S: System + ?Sized> {
    /// Its number.
    pub pid: Pid,
    /// The pipe that it reads.
    pub stdin: S::Stdin,
    /// The pipe that it writes.
    pub stdout: S::Output,
    /// The pipe that it complains to, with `--stderr=log` or `json`.
    pub stderr: Option<S::Output>,
}

/// Why a command was not started.
#[derive(Debug)]
pub enum SpawnError {
    /// There is no such file.
    NotFound,
    /// The file is there, but the system does not run it.
    NotExecutable(io::Error),
    /// The server or the machine lacks something for the moment: descriptors, processes, memory.
    Exhausted(io::Error),
    /// Anything else.
    Failed(io::Error),
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpawnError::NotFound => f.write_str("there is no such file"),
            SpawnError::NotExecutable(error)
            | SpawnError::Exhausted(error)
            | SpawnError::Failed(error) => error.fmt(f),
        }
    }
}

/// Whether a process group has members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// It has.
    Alive,
    /// It has none: its number may soon name somebody else's group.
    Gone,
}

/// A signal that the server received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalEvent {
    /// SIGCHLD: this child has ended, and perhaps others.
    ChildEnded(Pid),
    /// SIGTERM, SIGINT or SIGHUP, by name: the server is to end.
    Shutdown(&'static str),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this status, 0 to 255.
    Status(u8),
    /// It was ended by the signal of this number.
    Signal(u8),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Status(status) => write!(f, "exit {status}"),
            Exit::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}
