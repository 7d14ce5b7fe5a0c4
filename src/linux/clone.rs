//! How a process becomes a command: [`Cloner`], by `clone(2)` in the place of fork.
//!
//! What a fork costs grows with the server. Its page tables are copied, and the table of its
//! descriptors too, each of which exec closes again in the child: beside thousands of clients
//! that takes longer than all else. Here the child borrows both, while the server waits for its
//! exec (CLONE_VM, CLONE_FILES, CLONE_VFORK). The first thing that it does is to leave the server
//! its descriptors and to take a table of its own, into which only the lowest are copied
//! (CLOSE_RANGE_UNSHARE of `close_range(2)`). The server keeps three low places for what has to be
//! among those: the standard streams of the command.

use std::cell::Cell;
use std::env;
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_uint, c_void};
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::wait::waitpid;
use nix::unistd::{self, dup2_stderr, dup2_stdin, dup2_stdout, dup3};

use crate::linux::child_setup::ChildSetup;
use crate::system::{Pid, Spawn};

/// Where programs are looked for when there is no PATH, as `execvp(3)` of glibc does.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The child's stack until exec. It uses a small part of it, and what is not used costs nothing.
const STACK_LEN: usize = 64 * 1024;

/// The exit status of a child that did not become a command. Nobody sees it.
const NOT_A_COMMAND: c_int = 127;

/// Clones the server for each command, with what all of those clones need.
pub struct Cloner {
    /// Where a child finds its standard streams. Opened early, they lie below the descriptors of
    /// clients.
    places: [OwnedFd; 3],
    /// What is in the places otherwise: a pipe that nobody writes.
    nothing: OwnedFd,
    /// Lent to one child after the other.
    stack: Box<[MaybeUninit<u8>]>,
    /// Whether a child can leave the server its descriptors; otherwise it has a copy of each.
    shares_descriptors: bool,
}

impl Cloner {
    /// Takes its low descriptors: call it before others are opened.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn new() -> io::Result<Self> {
        let (nothing, _) = io::pipe()?;
        let nothing = OwnedFd::from(nothing);
        let places = [
            nothing.try_clone()?,
            nothing.try_clone()?,
            nothing.try_clone()?,
        ];
        // Were one of them a standard stream, it would not be copied onto itself, and exec would
        // close it. The standard library does not hand those out, closed as they may be.
        assert!(places.iter().all(|it| it.as_raw_fd() > libc::STDERR_FILENO));
        Ok(Self {
            places,
            nothing,
            stack: Box::new_uninit_slice(STACK_LEN),
            shares_descriptors: can_unshare(),
        })
    }

    /// Starts a command with these as its stdin, stdout and stderr. It runs when this returns.
    ///
    /// # Errors
    /// Why it does not run. Nothing is left of the attempt then.
    pub fn start(
        &mut self,
        spawn: &Spawn<'_>,
        setup: &ChildSetup<'_>,
        streams: [BorrowedFd<'_>; 3],
    ) -> io::Result<Pid> {
        let texts = Texts::new(spawn)?;
        let started = match self.fill_places(streams) {
            Ok(()) => self.clone_and_wait(&texts, setup),
            Err(errno) => Err(errno),
        };
        self.empty_places();
        Ok(started?)
    }

    fn fill_places(&mut self, streams: [BorrowedFd<'_>; 3]) -> nix::Result<()> {
        let mut pairs = self.places.iter_mut().zip(streams);
        pairs.try_for_each(|(place, stream)| dup3(stream, place, OFlag::O_CLOEXEC))
    }

    /// An end of a pipe that stayed in its place would keep the pipe open.
    fn empty_places(&mut self) {
        for place in &mut self.places {
            let emptied = dup3(&self.nothing, place, OFlag::O_CLOEXEC);
            debug_assert_eq!(emptied, Ok(()), "both are open, and it takes nothing more");
        }
    }

    fn clone_and_wait(&mut self, texts: &Texts, setup: &ChildSetup<'_>) -> nix::Result<Pid> {
        let highest = self.places.iter().map(AsRawFd::as_raw_fd).max();
        let mut plan = Plan {
            errno: Cell::new(0),
            paths: &texts.paths,
            argv: Pointers::new(&texts.words),
            envp: Pointers::new(&texts.variables),
            streams: self.places.each_ref().map(AsFd::as_fd),
            highest: highest.filter(|_| self.shares_descriptors),
            setup,
        };
        // A handler of the server's must not run in the child. None does: when the child lets
        // signals in, it has put their default in the place of each.
        let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let cloned = match clone(&plan, &mut self.stack) {
            // An emulator of another processor makes a fork of it, by which nothing can be shared.
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
                // It has ended, and nobody else knows its number.
                let _ = waitpid(unistd::Pid::from_raw(pid), None);
                Err(Errno::from_raw(errno))
            }
        }
    }
}

/// The files that a command's name may stand for, in the order in which they are tried: itself, if
/// it is a path, otherwise the file of that name in each directory of `path`.
pub fn candidates(command: &OsStr, path: Option<&OsStr>) -> Vec<PathBuf> {
    if command.is_empty() || command.as_bytes().contains(&b'/') {
        return vec![PathBuf::from(command)];
    }
    let directories = env::split_paths(path.unwrap_or(DEFAULT_PATH.as_ref()));
    let in_directory = |directory: PathBuf| match directory.as_os_str().is_empty() {
        // The present one, by tradition.
        true => Path::new(".").join(command),
        false => directory.join(command),
    };
    directories.map(in_directory).collect()
}

/// The PATH of a command's environment, along which the command itself is looked for.
pub fn path_of<'a>(spawn: &'a Spawn<'_>) -> Option<&'a OsStr> {
    spawn.environment.get(OsStr::new("PATH")).map(AsRef::as_ref)
}

/// What exec takes, as strings of C.
struct Texts {
    paths: Vec<CString>,
    words: Vec<CString>,
    variables: Vec<CString>,
}

impl Texts {
    fn new(spawn: &Spawn<'_>) -> io::Result<Self> {
        let Some(program) = spawn.command.first() else {
            let none = "there is no command";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, none));
        };
        let paths = candidates(program, path_of(spawn));
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

/// A list of strings as exec takes it: a pointer to each, and a null pointer behind the last.
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

/// All that the child needs, put together before there is one, and what it says.
#[repr(C)]
struct Plan<'a> {
    /// Why the child did not become the command; 0: it did. It comes first because under memcheck,
    /// where the child has memory of its own, this much is carried over
    /// (`tests/valgrind/clone.c`).
    errno: Cell<c_int>,
    /// The files that are tried.
    paths: &'a [CString],
    argv: Pointers<'a>,
    envp: Pointers<'a>,
    streams: [BorrowedFd<'a>; 3],
    /// The last descriptor that the child takes into a table of its own; `None`: it has one.
    highest: Option<RawFd>,
    setup: &'a ChildSetup<'a>,
}

/// What the child does. Nothing here may allocate, lock or panic.
impl Plan<'_> {
    /// Becomes the command. It returns only to say why that cannot be.
    fn carry_out(&self) -> Errno {
        match self.prepare() {
            Ok(()) => self.execute(),
            Err(errno) => errno,
        }
    }

    fn prepare(&self) -> nix::Result<()> {
        // Before anything else: until then a change to a descriptor is one to the server's.
        if let Some(highest) = self.highest {
            leave_descriptors_above(highest)?;
        }
        let [stdin, stdout, stderr] = self.streams;
        dup2_stdin(stdin)?;
        dup2_stdout(stdout)?;
        dup2_stderr(stderr)?;
        self.setup.run()
    }

    /// Tries the files one after the other, as `execvp(3)` does; but what is no program is not handed
    /// to a shell, which would take what is for another machine for a script.
    fn execute(&self) -> Errno {
        let mut refused = Errno::ENOENT;
        for path in self.paths {
            match execute(path, &self.argv, &self.envp) {
                // Another may be there to be run. If none is, this says more than that.
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

/// Makes a child that carries the plan out, and waits until it has become the command or ended.
#[allow(unsafe_code)]
fn clone(plan: &Plan<'_>, stack: &mut [MaybeUninit<u8>]) -> nix::Result<Pid> {
    let shared = match plan.highest {
        Some(_) => libc::CLONE_VM | libc::CLONE_FILES,
        None => libc::CLONE_VM,
    };
    let flags = shared | libc::CLONE_VFORK | libc::SIGCHLD;
    // Every machine that we know of wants its stack aligned to so much at most.
    let top = stack.as_mut_ptr_range().end.map_addr(|at| at & !15);
    let plan: *const Plan<'_> = plan;
    // SAFETY: the child runs in our memory, and CLONE_VFORK suspends us until it has left that by
    // exec or by its end. So to this thread it is a function that is called with `plan`, and
    // returns: nothing that either borrows moves or ends meanwhile, and nobody else writes to it.
    // It has a stack of its own, lent to it alone, since this thread's goes on being used by the
    // C library for the call itself. It allocates nothing and does not panic. The one lock that
    // it may take, within sigaction of some C libraries, is no copy, as it would be after a fork:
    // whoever else holds it frees it. All signals are blocked, so no handler runs in it. Of errno
    // it has ours, which is read only behind a call of one's own that has failed.
    let pid = unsafe { libc::clone(child, top.cast(), flags, plan.cast_mut().cast()) };
    Errno::result(pid)
}

/// The child, from its beginning to exec. What this returns is its exit status.
#[allow(unsafe_code)]
extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: it is the plan that `clone` was called with and waits over. It is only read, but for
    // its cells.
    let plan = unsafe { &*plan.cast::<Plan<'_>>() };
    let errno = plan.carry_out();
    plan.errno.set(errno as c_int);
    NOT_A_COMMAND
}

/// `execve(2)`. It returns only when it fails.
#[allow(unsafe_code)]
fn execute(path: &CStr, argv: &Pointers<'_>, envp: &Pointers<'_>) -> Errno {
    // SAFETY: a `Pointers` is a list as the call takes it, whose strings are borrowed for as long
    // as there is one.
    unsafe { libc::execve(path.as_ptr(), argv.list.as_ptr(), envp.list.as_ptr()) };
    Errno::last()
}

/// Takes a table of descriptors of one's own, with those up to `highest` in it.
#[allow(unsafe_code)]
fn leave_descriptors_above(highest: RawFd) -> nix::Result<()> {
    let first = highest as c_uint + 1;
    // SAFETY: what is closed is closed in the new table. The child owns nothing in it, and uses of
    // it only the streams, which are not above `highest`.
    unsafe { close_range(first, c_uint::MAX, libc::CLOSE_RANGE_UNSHARE) }
}

/// Whether the kernel has CLOSE_RANGE_UNSHARE, as it does since 5.9, and nobody forbids it.
#[allow(unsafe_code)]
fn can_unshare() -> bool {
    // SAFETY: there is nothing in this range, which the call says before it does anything.
    let refused = unsafe { close_range(1, 0, libc::CLOSE_RANGE_UNSHARE) };
    refused == Err(Errno::EINVAL)
}

/// `close_range(2)`, which C libraries have only lately.
///
/// # Safety
/// Nobody may use the descriptors any more, in the table that is changed.
#[allow(unsafe_code)]
unsafe fn close_range(first: c_uint, last: c_uint, flags: c_uint) -> nix::Result<()> {
    let [first, last, flags] = [first, last, flags].map(libc::c_ulong::from);
    // SAFETY: the caller's to see to, and no memory is passed.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs::{self, File};
    use std::io::{PipeReader, Read};
    use std::os::unix::fs::PermissionsExt;
    use std::thread;
    use std::time::{Duration, Instant};

    use nix::fcntl::{FcntlArg, fcntl};
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
    use nix::sys::stat::fstat;
    use nix::sys::wait::WaitStatus;
    use nix::unistd::gettid;

    use super::*;
    use crate::config::CommandSettings;
    use crate::linux::child_setup::Parent;
    use crate::linux::limits::DescriptorLimit;

    fn limit() -> DescriptorLimit {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        DescriptorLimit {
            original: soft,
            soft,
            hard,
        }
    }

    /// A cloner, and the settings that its commands are started with.
    struct Launcher {
        cloner: Cloner,
        parent: Parent,
        settings: CommandSettings,
    }

    fn launcher_in(cwd: Option<&Path>, descriptors: DescriptorLimit) -> Launcher {
        Launcher {
            cloner: Cloner::new().unwrap(),
            parent: Parent::this_process(descriptors),
            settings: CommandSettings {
                cwd: cwd.map(Path::to_owned),
                ..CommandSettings::default()
            },
        }
    }

    fn launcher() -> Launcher {
        launcher_in(None, limit())
    }

    /// As on this kernel, and as on one before 5.9.
    fn both(mut launcher: impl FnMut() -> Launcher) -> [Launcher; 2] {
        let mut copying = launcher();
        copying.cloner.shares_descriptors = false;
        [launcher(), copying]
    }

    /// Starts a command, with a pipe for both outputs, whose other end is returned.
    fn launch(
        launcher: &mut Launcher,
        words: &[&str],
        path: &str,
    ) -> io::Result<(Pid, PipeReader)> {
        let (output, theirs) = io::pipe()?;
        let stdin = File::open("/dev/null")?;
        let streams = [stdin.as_fd(), theirs.as_fd(), theirs.as_fd()];
        let pid = launch_on(launcher, words, path, streams)?;
        Ok((pid, output))
    }

    fn launch_on(
        launcher: &mut Launcher,
        words: &[&str],
        path: &str,
        streams: [BorrowedFd<'_>; 3],
    ) -> io::Result<Pid> {
        let command: Vec<OsString> = words.iter().map(Into::into).collect();
        let spawn = Spawn {
            command: &command,
            environment: [("PATH".into(), path.into())].into(),
            settings: &launcher.settings,
        };
        let setup = ChildSetup::new(launcher.parent, &launcher.settings)?;
        launcher.cloner.start(&spawn, &setup, streams)
    }

    const PATH: &str = "/usr/bin:/bin";

    /// All that the command prints. It ends well.
    fn output(launcher: &mut Launcher, words: &[&str], path: &str) -> String {
        let mut launched = launch(launcher, words, path);
        // A command that another test starts may hold, for a moment, what was written just now.
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(error) = &launched
            && error.raw_os_error() == Some(Errno::ETXTBSY as i32)
            && Instant::now() < deadline
        {
            launched = launch(launcher, words, path);
        }
        let (pid, mut output) = launched.unwrap();
        let mut text = String::new();
        await_end(&output);
        output.read_to_string(&mut text).unwrap();
        let pid = unistd::Pid::from_raw(pid);
        assert_eq!(waitpid(pid, None), Ok(WaitStatus::Exited(pid, 0)), "{text}");
        text
    }

    /// Waits until nobody holds the other end of a pipe.
    fn await_end(pipe: &PipeReader) {
        let mut polled = [PollFd::new(pipe.as_fd(), PollFlags::empty())];
        let timeout = PollTimeout::from(20_000_u16);
        assert_eq!(poll(&mut polled, timeout), Ok(1), "it is held open");
    }

    fn errno(launcher: &mut Launcher, words: &[&str], path: &str) -> Errno {
        let error = launch(launcher, words, path).expect_err("not started");
        Errno::from_raw(error.raw_os_error().expect("the system's"))
    }

    /// A directory of this test's own, gone with it.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("wspipe-{name}-{}", gettid()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, content: &str, mode: u32) -> String {
            let path = self.0.join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path.into_os_string().into_string().unwrap()
        }

        fn path(&self) -> &str {
            self.0.to_str().unwrap()
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// By what they are open on: other tests open some of their own meanwhile.
    #[test]
    fn a_command_sees_no_descriptor_of_ours() {
        let script = "cd /proc/$$/fd; readlink 0 1 2; for n in *; do readlink $n; done; true";
        for mut launcher in both(launcher) {
            let directory = Directory::new("descriptors");
            let path = directory.file("open", "", 0o644);
            let files: Vec<File> = (0..300).map(|_| File::open(&path).unwrap()).collect();
            let links = output(&mut launcher, &["sh", "-c", script], PATH);
            let links: Vec<&str> = links.lines().collect();
            assert!(!links.contains(&path.as_str()), "{links:?}");
            assert_eq!(links[0], "/dev/null");
            assert!(links[1].starts_with("pipe:") && links[1] == links[2]);
            // Nor is one closed for us.
            assert!(files.iter().all(|file| file.metadata().is_ok()));
        }
    }

    #[test]
    fn a_descriptor_that_exec_would_keep_stays_with_us() {
        let directory = Directory::new("kept");
        let path = directory.file("open", "", 0o644);
        let mut launcher = launcher();
        if !launcher.cloner.shares_descriptors {
            return;
        }
        let file = File::open(&path).unwrap();
        // Out of the way of other tests, whose commands might have it.
        let high = limit().soft.min(1000) as RawFd - 50;
        let kept = fcntl(&file, FcntlArg::F_DUPFD(high)).unwrap();
        let script = format!("readlink /proc/$$/fd/{kept} || echo none");
        assert_eq!(
            output(&mut launcher, &["sh", "-c", &script], PATH),
            "none\n"
        );
        unistd::close(kept).unwrap();
    }

    #[test]
    fn no_place_keeps_a_pipe_open() {
        let holds = |launcher: &Launcher| {
            let nothing = fstat(&launcher.cloner.nothing).unwrap().st_ino;
            let mut places = launcher.cloner.places.iter();
            places.any(|place| fstat(place).unwrap().st_ino != nothing)
        };
        for mut launcher in both(launcher) {
            assert!(!holds(&launcher));
            let (pid, output) = launch(&mut launcher, &["true"], PATH).unwrap();
            assert!(!holds(&launcher));
            waitpid(unistd::Pid::from_raw(pid), None).unwrap();
            await_end(&output);

            let (output, theirs) = io::pipe().unwrap();
            let streams = [theirs.as_fd(); 3];
            launch_on(&mut launcher, &["/no/such/file"], PATH, streams).unwrap_err();
            assert!(!holds(&launcher), "nor after a start that failed");
            drop(theirs);
            await_end(&output);
        }
    }

    #[test]
    fn the_streams_may_be_our_own_in_any_order() {
        let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
        let link = |fd: RawFd| fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
        let (stdin, stdout, stderr) = (link(0), link(1), link(2));
        // What it finds behind each is said by its exit status alone, its stdout being ours.
        let script = "test \"$(readlink /proc/$$/fd/0)\" = \"$1\" &&
            test \"$(readlink /proc/$$/fd/1)\" = \"$2\" &&
            test \"$(readlink /proc/$$/fd/2)\" = \"$3\"";
        for mut launcher in both(launcher) {
            let orders = [
                (
                    [input.as_fd(), output.as_fd(), errors.as_fd()],
                    [&stdin, &stdout, &stderr],
                ),
                (
                    [errors.as_fd(), input.as_fd(), output.as_fd()],
                    [&stderr, &stdin, &stdout],
                ),
                (
                    [output.as_fd(), errors.as_fd(), input.as_fd()],
                    [&stdout, &stderr, &stdin],
                ),
            ];
            for (streams, links) in orders {
                let links = links.map(|link| link.to_str().unwrap());
                let words = ["sh", "-c", script, "sh", links[0], links[1], links[2]];
                let pid = launch_on(&mut launcher, &words, PATH, streams).unwrap();
                let pid = unistd::Pid::from_raw(pid);
                assert_eq!(
                    waitpid(pid, None),
                    Ok(WaitStatus::Exited(pid, 0)),
                    "{links:?}"
                );
            }
        }
    }

    #[test]
    fn each_error_is_told() {
        let directory = Directory::new("errors");
        let plain = directory.file("plain", "text", 0o644);
        let busy = directory.file("busy", "#!/bin/sh\n", 0o755);
        let orphan = directory.file("orphan", "#!/no/such/interpreter\n", 0o755);
        let text = directory.file("text", "echo text\n", 0o755);
        let foreign = directory.file("foreign", "\x7fELF\x02\x02\x01 of another machine", 0o755);
        let writer = File::options().append(true).open(&busy).unwrap();
        let too_long = "x".repeat(4 << 20);
        let below = format!("{plain}/below");
        let cases = [
            (&["/no/such/file"][..], Errno::ENOENT),
            (&["no-such-file"], Errno::ENOENT),
            (&[""], Errno::ENOENT),
            (&[orphan.as_str()], Errno::ENOENT),
            (&[below.as_str()], Errno::ENOTDIR),
            (&[plain.as_str()], Errno::EACCES),
            (&[directory.path()], Errno::EACCES),
            (&[busy.as_str()], Errno::ETXTBSY),
            (&[text.as_str()], Errno::ENOEXEC),
            (&[foreign.as_str()], Errno::ENOEXEC),
            (&["true", too_long.as_str()], Errno::E2BIG),
        ];
        for (words, expected) in cases {
            for mut launcher in both(launcher) {
                assert_eq!(errno(&mut launcher, words, PATH), expected, "{}", words[0]);
                assert_eq!(output(&mut launcher, &["echo", "next"], PATH), "next\n");
            }
        }
        drop(writer);
        // Before there is a child.
        let error = launch(&mut launcher(), &["true", "a\0b"], PATH).unwrap_err();
        assert_eq!(
            (error.kind(), error.raw_os_error()),
            (io::ErrorKind::InvalidInput, None)
        );
        let error = launch(&mut launcher(), &[], PATH).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        // What is done in the child before exec.
        let nowhere = Some(Path::new("/no/such/directory"));
        for mut launcher in both(|| launcher_in(nowhere, limit())) {
            assert_eq!(errno(&mut launcher, &["true"], PATH), Errno::ENOENT);
        }
        let too_many = DescriptorLimit {
            hard: RLIM_INFINITY,
            ..limit()
        };
        for mut launcher in both(|| launcher_in(None, too_many)) {
            assert_eq!(errno(&mut launcher, &["true"], PATH), Errno::EPERM);
        }
    }

    #[test]
    fn programs_are_looked_for_as_execvp_does() {
        let one = Directory::new("path-1");
        let two = Directory::new("path-2");
        let plain = one.file("tool", "", 0o644);
        two.file("tool", "#!/bin/sh\necho found $1\n", 0o755);
        let (one_path, two_path) = (one.path(), two.path());
        let found = |path: &str, program: &str, cwd: Option<&Path>| {
            let mut launcher = launcher_in(cwd, limit());
            output(&mut launcher, &[program, "x"], path) == "found x\n"
        };
        assert!(found(&format!("{one_path}:{two_path}"), "tool", None));
        assert!(found(&format!("{plain}:/no/such:{two_path}"), "tool", None));
        let here = Some(two.0.as_path());
        assert!(
            found("", "tool", here),
            "an empty entry is the present directory"
        );
        assert!(found("/no/such::/bin", "tool", here));
        assert!(found(".", "tool", here));
        assert!(found("/bin", "./tool", here), "from its own directory");
        assert!(found("..", &format!("{two_path}/tool"), None));

        let refused = |path: &str| errno(&mut launcher(), &["tool"], path);
        assert_eq!(refused(one_path), Errno::EACCES);
        let then_nowhere = format!("{one_path}:/no/such");
        assert_eq!(refused(&then_nowhere), Errno::EACCES, "rather than none");
        assert_eq!(refused("/no/such"), Errno::ENOENT);
    }

    #[test]
    fn threads_start_commands_of_their_own() {
        let work = |number: usize| {
            for mut launcher in both(launcher) {
                for round in 0..20 {
                    let text = format!("{number} {round}");
                    let printed = output(&mut launcher, &["echo", &text], PATH);
                    assert_eq!(printed.trim_end(), text);
                }
            }
        };
        thread::scope(|scope| {
            for number in 0..4 {
                scope.spawn(move || work(number));
            }
        });
    }

    #[test]
    fn our_own_signals_are_as_before() {
        let mut blocked = SigSet::empty();
        blocked.add(nix::sys::signal::SIGUSR2);
        blocked.thread_set_mask().unwrap();
        output(&mut launcher(), &["true"], PATH);
        assert_eq!(SigSet::thread_get_mask(), Ok(blocked));
        errno(&mut launcher(), &["/no/such/file"], PATH);
        assert_eq!(SigSet::thread_get_mask(), Ok(blocked));
    }

    #[test]
    fn the_stack_has_room_to_spare() {
        let mut launcher = launcher();
        launcher.cloner.stack.fill(MaybeUninit::new(0xA5));
        output(&mut launcher, &["sh", "-c", "true"], PATH);
        errno(&mut launcher, &["no-such-file"], &"/no/such:".repeat(100));
        let untouched = untouched(&launcher.cloner.stack);
        assert!(untouched > STACK_LEN / 2, "{untouched} bytes were not used");
    }

    /// How many bytes at the far end of a stack are as they were filled.
    #[allow(unsafe_code)]
    fn untouched(stack: &[MaybeUninit<u8>]) -> usize {
        // SAFETY: all of it was filled above.
        let bytes = stack.iter().map(|byte| unsafe { byte.assume_init() });
        bytes.take_while(|&byte| byte == 0xA5).count()
    }
}
