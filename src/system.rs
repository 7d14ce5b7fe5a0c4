//! The seam to the operating system: the trait [`System`].
//!
//! The server is generic over it. The real system is [`crate::linux`]. The model in `tests/model`
//! implements the trait too, and so runs the same server in virtual time.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;

use crate::config::{CommandSettings, Signal};
use crate::event_loop::instant::Instant;
use crate::http::routes::DirEntry;
use crate::peer::Peer;
use crate::source::{ClientId, ProcessId};

/// The PID of a process, and the id of the process group and the process session that it leads.
pub type Pid = i32;

/// A client's connection.
pub trait Socket: Read + Write {
    /// Closes our half of the connection after the written bytes (`shutdown(2)`, SHUT_WR).
    ///
    /// # Errors
    /// As `shutdown(2)`.
    fn shutdown_write(&self) -> io::Result<()>;

    /// The number of written bytes that the peer's TCP has not acknowledged (SIOCOUTQ, tcp(7)). The
    /// kernel does not report progress, so it has to be polled.
    fn unacknowledged(&self) -> usize;

    /// The address that the client connected to. IPv4-mapped addresses are unmapped.
    ///
    /// # Errors
    /// As `getsockname(2)`.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// The operating system as the server needs it. Nothing here waits for a peer or a command. What
/// looks at files waits for their file system: [`look_up`](System::look_up),
/// [`report_entry`](System::report_entry), and for a limited time [`spawn`](System::spawn).
pub trait System {
    /// A client's connection, non-blocking.
    type Socket: Socket;
    /// Our end of a command's standard input, non-blocking.
    type Stdin: Write;
    /// Our end of a command's output, non-blocking.
    type Output: Read;

    /// The number of listeners, which have the indexes from 0 on.
    fn listeners(&self) -> usize;

    /// The next connection that waits on a listener, and the other end of it.
    ///
    /// # Errors
    /// No connection waits, or none can be accepted.
    fn accept(&mut self, listener: u32) -> Result<(Self::Socket, Peer), AcceptError>;

    /// Closes every listener.
    fn stop_listening(&mut self);

    /// Makes the loop report a client's socket, edge-triggered, until it is closed.
    ///
    /// # Errors
    /// As `epoll_ctl(2)`.
    fn watch_client(&mut self, socket: &mut Self::Socket, id: ClientId) -> io::Result<()>;

    /// Makes the loop report the pipes of a command, edge-triggered, until they are closed.
    ///
    /// # Errors
    /// As `epoll_ctl(2)`.
    fn watch_child(
        &mut self,
        child: &mut Child<Self::Stdin, Self::Output>,
        id: ProcessId,
    ) -> io::Result<()>;

    /// The kind of an entry in the directory of `--dir`. A name is a relative path without `.` and
    /// `..`. One that leads out of the directory stands for nothing.
    fn look_up(&mut self, name: &str) -> DirEntry;

    /// Why the file with this name in the directory of `--dir` is not executable: a line for the log.
    /// `None`: that has been reported.
    fn report_entry(&mut self, _name: &str) -> Option<String> {
        None
    }

    /// Starts a command as the leader of its own process session and process group. When this
    /// returns, exec has succeeded.
    ///
    /// # Errors
    /// Why the command does not run. Nothing is left of the attempt then.
    fn spawn(&mut self, spawn: &Spawn<'_>) -> Result<Child<Self::Stdin, Self::Output>, SpawnError>;

    /// Signals all members of a process group. Until its leader is reaped, the group exists.
    fn signal_group(&mut self, leader: Pid, signal: Signal) -> Group;

    /// Whether a process group has members. Zombies are members, so the answer for a group whose
    /// leader has ended means something only after the leader is reaped.
    fn probe_group(&mut self, leader: Pid) -> Group;

    /// Looks for the jobs of commands: processes in the process session of a leader that have left
    /// its group. This takes a look at every process of the machine, so each call looks at some
    /// of them. Returns how many there were when the last one has been seen, else `None`.
    fn find_jobs(&mut self, is_leader: &dyn Fn(Pid) -> bool) -> Option<usize>;

    /// Signals the jobs of a command that [`System::find_jobs`] has just found; `None` only tests
    /// whether there are any. Zombies are none. When the group and the jobs of a command that was
    /// reaped are gone, its PID may be a stranger's, and must not be used any more.
    fn signal_jobs(&mut self, leader: Pid, signal: Option<Signal>) -> Group;

    /// Reaps this child, or any (`None`), if it has ended, and returns how it ended. SIGCHLD
    /// coalesces, so one signal may stand for several children: sooner or later, call this for any
    /// child until none is left.
    fn reap(&mut self, which: Option<Pid>) -> Option<(Pid, Exit)>;

    /// The process group of a process, if that exists. A zombie still has a group; a reaped process
    /// has none, so ask before reaping.
    fn group_of(&mut self, pid: Pid) -> Option<Pid>;

    /// The server will not signal or probe this group and its jobs any more: what is kept for them can
    /// go.
    fn release_group(&mut self, _leader: Pid) {}

    /// The next signal that the server itself received, if any is pending.
    fn next_signal(&mut self) -> Option<SignalEvent>;

    /// The user at the other end of a connection on this machine. The answer holds for the peer that
    /// sent what was read from the socket, not for a process that has the peer's address by now.
    ///
    /// # Errors
    /// The system does not answer, or was asked too much lately.
    fn peer_user(&mut self, socket: &Self::Socket, peer: &Peer) -> io::Result<PeerUser>;

    /// The time now, by the loop's clock. It only bounds the length of a turn; everything else takes
    /// the time of the turn.
    fn clock(&self) -> Instant;

    /// The user that the server runs as.
    fn own_uid(&self) -> u32;

    /// Returns freed memory to the kernel, where the allocator would keep it.
    fn release_memory(&mut self) {}
}

/// Why no connection was accepted.
#[derive(Debug)]
pub enum AcceptError {
    /// No connection waits.
    WouldBlock,
    /// The connection that waited is gone, and the error with it. Others may wait.
    ConnectionGone(io::Error),
    /// No connection can be accepted, perhaps for a long time. Those that wait stay in the backlog.
    Failed {
        /// The system's error.
        error: io::Error,
        /// The remedy for the operator, where it is known.
        remedy: Option<&'static str>,
    },
}

/// The user at the other end of a connection on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerUser {
    /// The peer's socket belongs to this user.
    Uid(u32),
    /// The system does not list the peer's socket, or its program has closed it.
    Unlisted,
    /// The connection was reset, or timed out. Another process may have the peer's address by now.
    Disconnected,
    /// This number stands for every user outside the server's user namespace.
    Hidden(u32),
}

/// The variables of a command, each name once, sorted.
pub(crate) type Environment = BTreeMap<OsString, OsString>;

/// The command to start.
pub struct Spawn<'a> {
    /// The program's name or path, and its arguments.
    pub command: &'a [OsString],
    /// Its environment: these variables and no others.
    pub environment: Environment,
    /// How it runs: directory, umask, limits, stderr.
    pub settings: &'a CommandSettings,
}

/// A command that was started, and our ends of its pipes.
pub struct Child<I, O> {
    /// Its PID, which is also the id of its process group.
    pub pid: Pid,
    /// The pipe to its stdin.
    pub stdin: I,
    /// The pipe from its stdout.
    pub stdout: O,
    /// The pipe from its stderr, with `--stderr=log` or `json`.
    pub stderr: Option<O>,
}

/// Why a command was not started.
#[derive(Debug)]
pub enum SpawnError {
    /// The file does not exist.
    NotFound,
    /// The file exists, but the system cannot execute it.
    NotExecutable(io::Error),
    /// The server or the machine is out of descriptors, processes or memory. It may work later.
    Exhausted(io::Error),
    /// exec did not return in time, or did not lately and was not tried again. It may work later.
    Stalled,
    /// Any other error.
    Failed(io::Error),
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpawnError::NotFound => f.write_str("there is no such file"),
            SpawnError::Stalled => f.write_str("its file could not be opened in time"),
            SpawnError::NotExecutable(error)
            | SpawnError::Exhausted(error)
            | SpawnError::Failed(error) => error.fmt(f),
        }
    }
}

/// Whether a process group has members, or a command has jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// It has at least one, perhaps a zombie.
    Alive,
    /// It has none. The kernel may give its number to another process, so it must not be signalled.
    Gone,
}

/// A signal that the server received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalEvent {
    /// SIGCHLD: this child has ended, and perhaps others.
    ChildEnded(Pid),
    /// SIGTERM, SIGINT or SIGHUP, by name: the server has to shut down.
    Shutdown(&'static str),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this status, 0 to 255.
    Status(u8),
    /// The signal of this number terminated it.
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
