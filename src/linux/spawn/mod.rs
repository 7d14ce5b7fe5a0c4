//! Starts a command, makes its pipes, and explains an error: [`Spawner`].
//!
//! ```text
//! Spawner::start   pipes           mod.rs
//!   Cloner::start  clone           clone.rs        in the server, then in the child
//!     ChildSetup   child setup     child_setup.rs  in the child
//!     execve                       clone.rs        the child is the command from here on
//! ```
//!
//! A command gets three descriptors and none of the server's others: those are close-on-exec
//! (`descriptors.rs`).

mod child_setup;
mod clone;
mod descriptors;
mod look_up;
mod program_file;
mod room;
mod stalled;

use std::ffi::c_int;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use mio::unix::pipe::{Receiver, Sender};
use nix::errno::Errno;

pub(crate) use self::child_setup::check_privileges;
use self::child_setup::{ChildSetup, Parent};
use self::clone::Cloner;
pub(super) use self::descriptors::close_inherited_on_exec;
use self::look_up::path_variable;
pub(crate) use self::look_up::{can_enter, look_up};
use self::program_file::unknown_format;
pub(crate) use self::program_file::{Fault, ShellWord, why_not};
use crate::config::Stderr;
use crate::linux::limits::DescriptorLimit;
use crate::system::{Child, Pid, Spawn, SpawnError};

/// Starts commands. Holds what every start needs from the server; the rest are settings of the
/// command.
pub(super) struct Spawner {
    parent: Parent,
    cloner: Cloner,
}

impl Spawner {
    /// Takes some low descriptors: call it before others are opened. A command gets the original
    /// limit of `descriptors` back.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub(super) fn new(descriptors: DescriptorLimit) -> io::Result<Self> {
        Ok(Self {
            parent: Parent::this_process(descriptors),
            cloner: Cloner::new()?,
        })
    }

    /// Starts a command. When this returns, exec has succeeded. Our ends of its pipes are
    /// non-blocking.
    ///
    /// # Errors
    /// The reason why it does not run. Everything that the attempt opened is closed again.
    pub(super) fn start(
        &mut self,
        spawn: &Spawn<'_>,
    ) -> Result<Child<Sender, Receiver>, SpawnError> {
        self.try_start(spawn).map_err(|error| explain(error, spawn))
    }

    fn try_start(&mut self, spawn: &Spawn<'_>) -> io::Result<Child<Sender, Receiver>> {
        // Pipes come with O_CLOEXEC. O_NONBLOCK belongs to each end of a pipe, so the command's
        // ends block, as a program expects, while ours do not.
        let (their_stdin, stdin) = io::pipe()?;
        let (stdout, their_stdout) = io::pipe()?;
        let (stderr, their_stderr) = match spawn.settings.stderr {
            Stderr::Merge => (None, None),
            Stderr::Drop => {
                let null = File::options().write(true).open("/dev/null")?;
                (None, Some(OwnedFd::from(null)))
            }
            Stderr::Log | Stderr::Json => {
                let (stderr, their_stderr) = io::pipe()?;
                (Some(receiver(stderr)?), Some(their_stderr.into()))
            }
        };
        let stdin = Sender::from(OwnedFd::from(stdin));
        stdin.set_nonblocking(true)?;
        let stdout = receiver(stdout)?;
        let their_stderr = their_stderr
            .as_ref()
            .map_or(their_stdout.as_fd(), AsFd::as_fd);
        let streams = [their_stdin.as_fd(), their_stdout.as_fd(), their_stderr];
        let setup = ChildSetup::new(self.parent, spawn.settings)?;
        let pid = self.cloner.start(spawn, &setup, streams)?;
        if let Some(nice) = spawn.settings.nice {
            set_nice_of_process_session(pid, nice);
        }
        Ok(Child {
            pid,
            stdin,
            stdout,
            stderr,
        })
    }
}

/// Sets the nice value of a command's process session. Where the kernel divides the CPU by sessions
/// (autogroups, sched(7)), this one counts against other sessions. Errors are ignored: without
/// autogroups the file does not exist, and the kernel limits how often it may be written.
///
/// The child cannot do this before exec: in the server's memory, which is not dumpable, its files in
/// `/proc` belong to root.
fn set_nice_of_process_session(pid: Pid, nice: c_int) {
    let _ = fs::write(format!("/proc/{pid}/autogroup"), nice.to_string());
}

fn receiver(pipe: io::PipeReader) -> io::Result<Receiver> {
    let receiver = Receiver::from(OwnedFd::from(pipe));
    receiver.set_nonblocking(true)?;
    Ok(receiver)
}

/// What an error of pipe, clone, the child setup or exec means for the client.
fn explain(error: io::Error, spawn: &Spawn<'_>) -> SpawnError {
    // A look at the file would wait as exec did.
    if error.raw_os_error().is_none() && error.kind() == io::ErrorKind::TimedOut {
        return SpawnError::Stalled;
    }
    let cwd = spawn.settings.cwd.as_deref();
    // Entering the directory fails with the same error numbers as exec, so try it first.
    if let Some(error) = cwd.and_then(|cwd| can_enter(cwd).err()) {
        return SpawnError::Failed(io::Error::new(
            error.kind(),
            format!("its directory (--cwd) cannot be entered: {error}"),
        ));
    }
    let errno = error
        .raw_os_error()
        .map_or(Errno::UnknownErrno, Errno::from_raw);
    match errno {
        Errno::ENOENT
        | Errno::ENOTDIR
        | Errno::ENOEXEC
        | Errno::EACCES
        | Errno::EPERM
        | Errno::EISDIR
        | Errno::ELIBBAD
        | Errno::ELOOP
        | Errno::EINVAL
        | Errno::ETXTBSY => explain_exec(errno, spawn),
        Errno::EAGAIN | Errno::ENOMEM | Errno::ENOBUFS | Errno::EMFILE | Errno::ENFILE => {
            SpawnError::Exhausted(error)
        }
        _ => SpawnError::Failed(error),
    }
}

/// Why exec refused a command, from looking at its file. Clients read this, and need not know where
/// the file is.
fn explain_exec(errno: Errno, spawn: &Spawn<'_>) -> SpawnError {
    let cwd = spawn.settings.cwd.as_deref();
    let found = look_up(&spawn.command[0], path_variable(spawn), cwd);
    let (fault, file) = match (found, errno) {
        (Err((Fault::Missing, _)), Errno::ENOENT | Errno::ENOTDIR) => return SpawnError::NotFound,
        (Ok(file), Errno::ENOEXEC) => (unknown_format(&file), file),
        // exec also says this when the file exists, but the interpreter that it names does not.
        (Ok(_), Errno::ENOENT | Errno::ENOTDIR) => {
            let error = io::Error::other("the interpreter that it names is not there");
            return SpawnError::NotExecutable(error);
        }
        (Ok(_) | Err((Fault::Missing, _)), _) => return SpawnError::NotExecutable(errno.into()),
        (Err(refused), _) => refused,
    };
    let name = file.file_name().unwrap_or(file.as_os_str());
    SpawnError::NotExecutable(io::Error::other(fault.say(name)))
}

#[cfg(test)]
mod tests;
