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
//! (CLONE_FILES) of the server, and suspends the server until the child has called exec or exited
//! (CLONE_VFORK):
//!
//! ```text
//! server   streams to low places, block signals, clone ........ restore signals, empty places
//! child                                     unshare descriptors, child setup, exec
//! ```
//!
//! The child first takes a descriptor table of its own, into which the kernel copies only the
//! lowest descriptors (CLOSE_RANGE_UNSHARE of `close_range(2)`). The command's streams must be
//! among them, so the server keeps three low descriptors as places for them. Where the kernel has
//! no CLOSE_RANGE_UNSHARE, the child gets a copy of the whole table.
//!
//! # Why it is safe
//!
//! - The server's only thread is suspended while the child runs in its memory. To the server the
//!   child is like a function call, which leaves its result in `Plan::errno`.
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
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::wait::waitpid;
use nix::unistd::{self, dup2_stderr, dup2_stdin, dup2_stdout, dup3};

use super::child_setup::ChildSetup;
use super::descriptors::{can_unshare, unshare_up_to};
use super::look_up::{candidates, path_variable};
use crate::system::{Pid, Spawn};

/// Bytes of the child's stack until exec. It uses a small part of this; pages that are never
/// touched take no memory.
const STACK_LEN: usize = 64 * 1024;

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
    stack: Box<[MaybeUninit<u8>]>,
    /// Whether a child can start with the server's descriptor table; otherwise it gets a copy.
    shares_descriptors: bool,
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
            stack: Box::new_uninit_slice(STACK_LEN),
            shares_descriptors: can_unshare(),
        })
    }

    /// Starts a command with these as its stdin, stdout and stderr. When this returns, exec has
    /// succeeded.
    ///
    /// # Errors
    /// The reason why the command does not run. Everything that the attempt opened is
    /// closed again.
    pub(super) fn start(
        &mut self,
        spawn: &Spawn<'_>,
        setup: &ChildSetup<'_>,
        streams: [BorrowedFd<'_>; 3],
    ) -> io::Result<Pid> {
        let args = ExecArgs::new(spawn)?;
        let started = match self.fill_places(streams) {
            Ok(()) => self.clone_and_wait(&args, setup),
            Err(errno) => Err(errno),
        };
        self.empty_places();
        Ok(started?)
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

    fn clone_and_wait(&mut self, args: &ExecArgs, setup: &ChildSetup<'_>) -> nix::Result<Pid> {
        let highest = self.places.iter().map(AsRawFd::as_raw_fd).max();
        let mut plan = Plan {
            errno: Cell::new(0),
            paths: &args.paths,
            argv: Pointers::new(&args.words),
            envp: Pointers::new(&args.variables),
            streams: self.places.each_ref().map(AsFd::as_fd),
            highest: highest.filter(|_| self.shares_descriptors),
            setup,
        };
        let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let cloned = match clone(&plan, &mut self.stack) {
            // qemu-user turns clone into fork, which cannot share descriptors.
            Err(Errno::EINVAL) if plan.highest.take().is_some() => {
                self.shares_descriptors = false;
                clone(&plan, &mut self.stack)
            }
            cloned => cloned,
        };
        mask.thread_set_mask()?;
        let pid = cloned?;
        match plan.errno.get() {
            0 => Ok(pid),
            errno => {
                // The child has exited. Its PID is known here only, so it is reaped here.
                let _ = waitpid(unistd::Pid::from_raw(pid), None);
                Err(Errno::from_raw(errno))
            }
        }
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

/// Makes a child that carries out the plan, and waits until it has become the command or exited.
#[allow(unsafe_code)]
fn clone(plan: &Plan<'_>, stack: &mut [MaybeUninit<u8>]) -> nix::Result<Pid> {
    let shared = match plan.highest {
        Some(_) => libc::CLONE_VM | libc::CLONE_FILES,
        None => libc::CLONE_VM,
    };
    let flags = shared | libc::CLONE_VFORK | libc::SIGCHLD;
    // 16 bytes is the strictest alignment of a stack among the architectures of Linux.
    let top = stack.as_mut_ptr_range().end.map_addr(|at| at & !15);
    let plan: *const Plan<'_> = plan;
    // SAFETY: CLONE_VFORK suspends this thread until the child has left our memory by exec or exit.
    // So to this thread the child is a function that is called with `plan` and returns: nothing
    // that the two borrow moves or is freed until then, and no other thread writes to it. The child
    // has a stack of its own, because the C library goes on using this thread's for the call
    // itself. It does not allocate or panic. It may take one lock, inside sigaction of some C
    // libraries; the lock is shared rather than copied as by a fork, so a thread that holds it can
    // release it. All signals are blocked, so no handler runs in the child. It shares errno with
    // us, which is read only right after a call that has failed.
    let pid = unsafe { libc::clone(child, top.cast(), flags, plan.cast_mut().cast()) };
    Errno::result(pid)
}

/// The child, from its start to exec. What this returns is its exit status.
#[allow(unsafe_code)]
extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: this is the plan of `clone`, which waits for us. Only its cell is written.
    let plan = unsafe { &*plan.cast::<Plan<'_>>() };
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
