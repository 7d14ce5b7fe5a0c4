//! Making the process that becomes the command: [`Cloner`].
//!
//! # Read this before you copy it
//!
//! The plain way to start a program is fork and exec, or `posix_spawn(3)`; the standard library's
//! `Command` does one or the other. A program that starts a few others needs nothing else. This
//! file is longer and has `unsafe` code for one reason: the cost of a fork grows with the parent.
//! fork copies the page tables and the descriptor table, and exec then closes each copied
//! descriptor. `posix_spawn` copies no page tables, but it does copy the descriptor table, and it
//! cannot set a umask, a nice value or resource limits.
//!
//! Measured when this replaced `Command`, CPU time of the server for one connection with `echo hi`:
//!
//! | | `Command` | here |
//! |---|---|---|
//! | no other clients | 339 µs | 239 µs |
//! | 3,960 idle commands, 11,900 descriptors | 1,103 µs | 256 µs |
//!
//! # What happens
//!
//! `clone(2)` makes a child that shares the memory (CLONE_VM) and the descriptor table
//! (CLONE_FILES) of the server. The server waits until the child has left its memory, by exec or
//! exit:
//!
//! ```text
//! server   streams to low places, block signals, clone, wait .. restore signals, empty places
//! child                                     unshare descriptors, child setup, exec
//! ```
//!
//! The child first takes a descriptor table of its own, into which the kernel copies only the
//! lowest descriptors (CLOSE_RANGE_UNSHARE of `close_range(2)`). The command's streams must be
//! among them, so the server keeps three low descriptors as places for them. Where the kernel has
//! no CLOSE_RANGE_UNSHARE, the child gets a copy of the whole table.
//!
//! # The wait has a limit
//!
//! exec opens the program, its interpreter and its loader, and each may be on a file system that
//! does not answer. CLONE_VFORK would suspend the server as long as that takes, and with it every
//! client. So the server waits itself, on a futex that the kernel sets to 0 when the child leaves
//! our memory (`set_tid_address(2)`), which is as fast. After [`START_TIME_MAX`] it sends SIGKILL
//! to the child and goes on. Where even SIGKILL has to wait (a FUSE daemon that has taken the
//! request), the child stays behind; `stalled.rs` allows one such child for each program.
//!
//! # Why it is safe
//!
//! - The server's only thread waits while the child runs in its memory. To the server the child is
//!   like a function call, which leaves its result in `Plan::errno`.
//! - If the wait ends first, the child gets SIGKILL. It waits in the kernel then, and a process with
//!   SIGKILL pending never returns from there to its own code; if it was running after all, the
//!   signal interrupts it at once, and we wait for its end. So the child does not touch our memory
//!   again. Only the kernel does, when it clears the futex; that word stays allocated until then.
//! - The child has a stack of its own.
//! - The child neither allocates nor locks nor panics. Memory that it allocated would never be
//!   freed, and a lock that it held at exec would stay locked in the server. So all strings and
//!   lists for exec are made before the clone.
//! - All signals are blocked across the clone. The child unblocks them after it has reset every
//!   disposition, so no handler of the server runs in the child.
//! - Until the child has its own descriptor table, it changes no descriptor.

use std::cell::Cell;
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::wait::waitpid;
use nix::unistd::{self, dup2_stderr, dup2_stdin, dup2_stdout, dup3};

use super::child_setup::ChildSetup;
use super::descriptors::{can_unshare, unshare_up_to};
use super::look_up::{candidates, path_variable};
use super::room::Room;
use super::stalled::Stalled;
use crate::limits::START_TIME_MAX;
use crate::system::{Pid, Spawn};

/// The exit status of a child that did not become a command. It is reaped at once and not reported.
const NOT_A_COMMAND: c_int = 127;

/// Makes the children, and holds what they all use.
pub(super) struct Cloner {
    /// The descriptors at which a child finds its streams. Opened early, so they are lower than
    /// those of clients.
    places: [OwnedFd; 3],
    /// A pipe without a writer, to which the places refer between two starts.
    placeholder: OwnedFd,
    /// Each child uses it in turn.
    room: Box<Room>,
    /// Whether a child can start with the server's descriptor table; otherwise it gets a copy.
    shares_descriptors: bool,
    /// Whether the wait for a child is left to the kernel (CLONE_VFORK), and so has no limit.
    is_suspended: bool,
    /// The longest wait for a child.
    time_max: Duration,
    stalled: Stalled,
}

impl Cloner {
    /// Takes its low descriptors: call it before others are opened.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub(super) fn new() -> io::Result<Self> {
        let (placeholder, _) = io::pipe()?;
        let placeholder = OwnedFd::from(placeholder);
        let places = [
            placeholder.try_clone()?,
            placeholder.try_clone()?,
            placeholder.try_clone()?,
        ];
        // If a place were a standard stream, dup2 onto itself would leave it close-on-exec. The
        // standard library never hands those out: it opens them at start if they are closed.
        assert!(places.iter().all(|it| it.as_raw_fd() > libc::STDERR_FILENO));
        Ok(Self {
            places,
            placeholder,
            room: Box::new(Room::new()),
            shares_descriptors: can_unshare(),
            is_suspended: false,
            time_max: START_TIME_MAX,
            stalled: Stalled::default(),
        })
    }

    /// Starts a command with these as its stdin, stdout and stderr. When this returns, exec has
    /// succeeded.
    ///
    /// # Errors
    /// The reason why the command does not run. Everything that the attempt opened is
    /// closed again. [`io::ErrorKind::TimedOut`] without an error number: exec did not return in
    /// time, or did not lately and was not tried.
    pub(super) fn start(
        &mut self,
        spawn: &Spawn<'_>,
        setup: &ChildSetup<'_>,
        streams: [BorrowedFd<'_>; 3],
    ) -> io::Result<Pid> {
        let args = ExecArgs::new(spawn)?;
        let program = &spawn.command[0];
        if !self.stalled.may_start(program, Instant::now()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let filled = self.fill_places(streams).map_err(Failure::Refused);
        let started = filled.and_then(|()| self.clone_and_wait(&args, setup));
        self.empty_places();
        match started {
            Ok(pid) => {
                self.stalled.started(program);
                Ok(pid)
            }
            Err(Failure::Refused(errno)) => Err(errno.into()),
            Err(Failure::TimedOut(room)) => {
                self.stalled.timed_out(program, Instant::now(), room);
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }

    fn fill_places(&mut self, streams: [BorrowedFd<'_>; 3]) -> nix::Result<()> {
        let mut pairs = self.places.iter_mut().zip(streams);
        pairs.try_for_each(|(place, stream)| dup3(stream, place, OFlag::O_CLOEXEC))
    }

    /// An end of a pipe left in its place would keep that pipe open.
    fn empty_places(&mut self) {
        for place in &mut self.places {
            let emptied = dup3(&self.placeholder, place, OFlag::O_CLOEXEC);
            debug_assert_eq!(
                emptied,
                Ok(()),
                "both are open, so no descriptor is allocated"
            );
        }
    }

    fn clone_and_wait(&mut self, args: &ExecArgs, setup: &ChildSetup<'_>) -> Result<Pid, Failure> {
        let highest = self.places.iter().map(AsRawFd::as_raw_fd).max();
        let mut plan = Plan {
            errno: Cell::new(0),
            paths: &args.paths,
            argv: Pointers::new(&args.words),
            envp: Pointers::new(&args.variables),
            streams: self.places.each_ref().map(AsFd::as_fd),
            highest: highest.filter(|_| self.shares_descriptors),
            in_use: self.room.in_use.as_ptr(),
            setup,
        };
        let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let cloned = match clone(&plan, &mut self.room, self.is_suspended) {
            // qemu-user turns a clone with CLONE_VFORK into fork, which cannot share descriptors,
            // and refuses others.
            Err(Errno::EINVAL) if !self.is_suspended => {
                self.is_suspended = true;
                self.shares_descriptors = false;
                plan.highest = None;
                clone(&plan, &mut self.room, true)
            }
            cloned => cloned,
        };
        let time_max = self.time_max;
        let waited = cloned.map(|pid| (pid, self.is_suspended || self.room.wait(pid, time_max)));
        mask.thread_set_mask()?;
        let (pid, in_time) = waited?;
        if !in_time {
            return Err(Failure::TimedOut(self.vacate()));
        }
        match plan.errno.get() {
            0 => Ok(pid),
            errno => {
                // The child has exited. Its PID is known here only, so it is reaped here.
                let _ = waitpid(unistd::Pid::from_raw(pid), None);
                Err(Errno::from_raw(errno).into())
            }
        }
    }

    /// Leaves the room to a child that is still there, and takes another for the next.
    fn vacate(&mut self) -> Option<Box<Room>> {
        let is_in_use = self.room.is_in_use();
        is_in_use.then(|| mem::replace(&mut self.room, Box::new(Room::new())))
    }
}

/// Why there is no command.
enum Failure {
    /// The system refused a call before exec, or exec.
    Refused(Errno),
    /// The child was killed because exec did not return in time. The room is that of a child that
    /// is not dead yet.
    TimedOut(Option<Box<Room>>),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Failure::Refused(errno)
    }
}

/// The strings that exec takes.
struct ExecArgs {
    /// The files to try, in their order.
    paths: Vec<CString>,
    words: Vec<CString>,
    /// Each as `NAME=VALUE`.
    variables: Vec<CString>,
}

impl ExecArgs {
    fn new(spawn: &Spawn<'_>) -> io::Result<Self> {
        let Some(program) = spawn.command.first() else {
            let none = "there is no command";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, none));
        };
        let paths = candidates(program, path_variable(spawn));
        let paths = paths.iter().map(|path| c_string(path.as_os_str()));
        let words = spawn.command.iter().map(|word| c_string(word));
        let variables = spawn.environment.iter().map(|(name, value)| {
            let text = [name.as_bytes(), b"=", value.as_bytes()].concat();
            Ok(CString::new(text)?)
        });
        Ok(Self {
            paths: paths.collect::<io::Result<_>>()?,
            words: words.collect::<io::Result<_>>()?,
            variables: variables.collect::<io::Result<_>>()?,
        })
    }
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    Ok(CString::new(text.as_bytes())?)
}

/// A list of strings as exec takes it: a pointer to each, then a null pointer.
struct Pointers<'a> {
    list: Vec<*const c_char>,
    strings: PhantomData<&'a CStr>,
}

impl<'a> Pointers<'a> {
    fn new<T: AsRef<CStr> + ?Sized + 'a>(strings: impl IntoIterator<Item = &'a T>) -> Self {
        let pointers = strings.into_iter().map(|string| string.as_ref().as_ptr());
        Self {
            list: pointers.chain([std::ptr::null()]).collect(),
            strings: PhantomData,
        }
    }
}

/// What the server prepares for the child, and the child's answer.
#[repr(C)]
struct Plan<'a> {
    /// The error that kept the child from becoming the command; 0 on success. It is the first
    /// field: under valgrind the child has memory of its own, and only this field is copied back
    /// (`tests/valgrind/clone.c`).
    errno: Cell<c_int>,
    /// The files to try, in their order.
    paths: &'a [CString],
    argv: Pointers<'a>,
    envp: Pointers<'a>,
    streams: [BorrowedFd<'a>; 3],
    /// The highest descriptor that the child needs of the shared table; `None`: it has a copy.
    highest: Option<RawFd>,
    /// What the kernel clears when the child has left our memory.
    in_use: *mut u32,
    setup: &'a ChildSetup<'a>,
}

/// The child's part. Nothing here may allocate, lock or panic.
impl Plan<'_> {
    /// Becomes the command. Returns only if that fails.
    fn carry_out(&self) -> Errno {
        match self.prepare() {
            Ok(()) => self.execute(),
            Err(errno) => errno,
        }
    }

    #[allow(unsafe_code)]
    fn prepare(&self) -> nix::Result<()> {
        // This comes first: until then the descriptor table is the server's own.
        if let Some(highest) = self.highest {
            // SAFETY: the child uses no descriptors but the streams, and those are not above.
            unsafe { unshare_up_to(highest) }?;
        }
        let [stdin, stdout, stderr] = self.streams;
        dup2_stdin(stdin)?;
        dup2_stdout(stdout)?;
        dup2_stderr(stderr)?;
        self.setup.run()
    }

    /// Tries the files in their order, as `execvp(3)` does. Unlike execvp it does not pass a file
    /// that is no program to a shell, which would take a binary of another machine for a script.
    fn execute(&self) -> Errno {
        let mut refused = Errno::ENOENT;
        for path in self.paths {
            match execute(path, &self.argv, &self.envp) {
                // A later file may run. If none does, this error says more than ENOENT.
                Errno::EACCES => refused = Errno::EACCES,
                errno @ (Errno::ENOENT
                | Errno::ENOTDIR
                | Errno::ENODEV
                | Errno::ESTALE
                | Errno::ETIMEDOUT) => {
                    if refused != Errno::EACCES {
                        refused = errno;
                    }
                }
                errno => return errno,
            }
        }
        refused
    }
}

/// Makes a child that carries out the plan. Wait until it has left the room. If the server
/// `is_suspended` meanwhile (CLONE_VFORK), it has left when this returns.
#[allow(unsafe_code)]
fn clone(plan: &Plan<'_>, room: &mut Room, is_suspended: bool) -> nix::Result<Pid> {
    let mut flags = libc::CLONE_VM | libc::SIGCHLD;
    if plan.highest.is_some() {
        flags |= libc::CLONE_FILES;
    }
    if is_suspended {
        flags |= libc::CLONE_VFORK;
    }
    // 16 bytes is the strictest alignment of a stack among the architectures of Linux.
    let top = room.stack.as_mut_ptr_range().end.map_addr(|at| at & !15);
    room.enter();
    let plan: *const Plan<'_> = plan;
    // SAFETY: the caller waits until the child has left our memory by exec or exit, or has SIGKILL
    // pending, after which it executes nothing. So to this thread the child is a function that is
    // called with `plan` and returns: nothing that the two borrow moves or is freed until then, and
    // no other thread writes to it. The child has a stack of its own. It does not allocate or
    // panic. It may take one lock, inside sigaction of some C libraries; the lock is shared rather
    // than copied as by a fork, so a thread that holds it can release it. All signals are blocked,
    // so no handler runs in the child. It shares errno with us; a wrong errno of the futex can
    // only repeat the wait or end it early.
    let pid = unsafe { libc::clone(child, top.cast(), flags, plan.cast_mut().cast()) };
    Errno::result(pid)
}

/// The child, from its start to exec. What this returns is its exit status.
#[allow(unsafe_code)]
extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: this is the plan of `clone`, whose caller waits for us. Only its cell is written.
    let plan = unsafe { &*plan.cast::<Plan<'_>>() };
    // SAFETY: the kernel writes one word, which stays allocated until it has.
    unsafe { libc::syscall(libc::SYS_set_tid_address, plan.in_use) };
    let errno = plan.carry_out();
    plan.errno.set(errno as c_int);
    NOT_A_COMMAND
}

/// `execve(2)`. Returns only if it fails.
#[allow(unsafe_code)]
fn execute(path: &CStr, argv: &Pointers<'_>, envp: &Pointers<'_>) -> Errno {
    // SAFETY: `Pointers` are lists as the call takes them, and borrow their strings.
    unsafe { libc::execve(path.as_ptr(), argv.list.as_ptr(), envp.list.as_ptr()) };
    Errno::last()
}

#[cfg(test)]
mod tests;
