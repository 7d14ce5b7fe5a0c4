//! Starting a command: its pipes, its descriptors, and what is wrong when it does not start.
//!
//! Of the server's descriptors it has none but the three that it knows. How a process becomes the
//! command is in `launcher.rs`, and what else it finds then is set in `before_exec.rs`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use mio::unix::pipe::{Receiver, Sender};
use nix::errno::Errno;
use nix::unistd::{AccessFlags, eaccess};

use crate::config::Stderr;
use crate::linux::child_setup::{ChildSetup, Parent};
use crate::linux::clone::{Cloner, candidates, path_of};
use crate::linux::limits::DescriptorLimit;
use crate::system::{Child, Spawn, SpawnError};

/// The first descriptor that a command must not have.
const FIRST_OTHER_DESCRIPTOR: RawFd = 3;

/// Starts commands: what every start needs of the server. All else is a setting of the command.
pub struct Spawner {
    parent: Parent,
    cloner: Cloner,
}

impl Spawner {
    /// Takes some low descriptors: call it before others are opened. A command gets the original
    /// limit of `descriptors` back.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn new(descriptors: DescriptorLimit) -> io::Result<Self> {
        Ok(Self {
            parent: Parent::this_process(descriptors),
            cloner: Cloner::new()?,
        })
    }

    /// Starts a command. It runs when this returns: exec has succeeded.
    ///
    /// # Errors
    /// Why it does not run. Nothing is left of the attempt then.
    pub fn start(&mut self, spawn: &Spawn<'_>) -> Result<Child<Sender, Receiver>, SpawnError> {
        self.try_start(spawn).map_err(|error| explain(error, spawn))
    }

    fn try_start(&mut self, spawn: &Spawn<'_>) -> io::Result<Child<Sender, Receiver>> {
        // Pipes come with O_CLOEXEC. O_NONBLOCK is a property of each end, so the command's ends
        // block as a program expects while ours do not.
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
        Ok(Child {
            pid,
            stdin,
            stdout,
            stderr,
        })
    }
}

/// The file that a command's name stands for, as exec would find it along this PATH from the
/// directory `cwd`, or else from the server's own.
///
/// # Errors
/// There is none, or none that may be executed.
pub fn look_up(
    command: &OsStr,
    path: Option<&OsStr>,
    cwd: Option<&Path>,
) -> Result<PathBuf, SpawnError> {
    if command.is_empty() {
        return Err(SpawnError::NotFound);
    }
    let mut refused = SpawnError::NotFound;
    for path in candidates(command, path) {
        let path = match cwd {
            Some(cwd) => cwd.join(path),
            None => path,
        };
        match executable(path) {
            Err(SpawnError::NotFound) => {}
            // Another directory may have one that can be executed.
            Err(error) => refused = error,
            found => return found,
        }
    }
    Err(refused)
}

/// Marks every descriptor that the server was started with, the standard three aside, as
/// close-on-exec. Those that it opens itself always are.
///
/// # Errors
/// The kernel is older than 5.11, and there is no `/proc` either to say which there are.
pub fn keep_inherited_descriptors() -> io::Result<()> {
    close_range_on_exec().or_else(|_| mark_listed_descriptors())
}

fn receiver(pipe: io::PipeReader) -> io::Result<Receiver> {
    let receiver = Receiver::from(OwnedFd::from(pipe));
    receiver.set_nonblocking(true)?;
    Ok(receiver)
}

/// What an error of pipe, clone or exec means to whoever asked for the command.
fn explain(error: io::Error, spawn: &Spawn<'_>) -> SpawnError {
    let cwd = spawn.settings.cwd.as_deref();
    // The child enters its directory first, and the same error numbers tell of that.
    if let Some(error) = cwd.and_then(|cwd| enter(cwd).err()) {
        return SpawnError::Failed(io::Error::new(
            error.kind(),
            format!("its directory (--cwd) cannot be entered: {error}"),
        ));
    }
    let errno = error
        .raw_os_error()
        .map_or(Errno::UnknownErrno, Errno::from_raw);
    match errno {
        // Also what exec says when the file is there, but not the interpreter that it names.
        Errno::ENOENT | Errno::ENOTDIR => match look_up(&spawn.command[0], path_of(spawn), cwd) {
            Ok(_) => SpawnError::NotExecutable(io::Error::new(
                ErrorKind::NotFound,
                "the interpreter that it names is not there",
            )),
            Err(error) => error,
        },
        Errno::ENOEXEC => SpawnError::NotExecutable(io::Error::new(
            error.kind(),
            "it is no program of this machine, and no script that begins with #!",
        )),
        Errno::EACCES
        | Errno::EPERM
        | Errno::EISDIR
        | Errno::ELIBBAD
        | Errno::ELOOP
        | Errno::EINVAL
        | Errno::ETXTBSY => SpawnError::NotExecutable(error),
        Errno::EAGAIN | Errno::ENOMEM | Errno::ENOBUFS | Errno::EMFILE | Errno::ENFILE => {
            SpawnError::Exhausted(error)
        }
        _ => SpawnError::Failed(error),
    }
}

/// Whether a directory can be entered, without doing it.
///
/// # Errors
/// It is not there, is no directory, or is closed to us.
pub fn enter(directory: &Path) -> io::Result<()> {
    if !fs::metadata(directory)?.is_dir() {
        return Err(Errno::ENOTDIR.into());
    }
    Ok(eaccess(directory, AccessFlags::X_OK)?)
}

/// The path, if it is a file that we may execute.
fn executable(path: PathBuf) -> Result<PathBuf, SpawnError> {
    match fs::metadata(&path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(SpawnError::NotFound)
        }
        Err(error) => Err(SpawnError::NotExecutable(error)),
        Ok(file) if !file.is_file() => Err(SpawnError::NotExecutable(Errno::EACCES.into())),
        Ok(_) => match eaccess(&path, AccessFlags::X_OK) {
            Ok(()) => Ok(path),
            Err(errno) => Err(SpawnError::NotExecutable(errno.into())),
        },
    }
}

/// `close_range(2)` with CLOSE_RANGE_CLOEXEC, which C libraries have only lately.
#[allow(unsafe_code)]
fn close_range_on_exec() -> nix::Result<()> {
    let first = FIRST_OTHER_DESCRIPTOR as libc::c_ulong;
    let last = libc::c_ulong::from(libc::c_uint::MAX);
    let flags = libc::c_ulong::from(libc::CLOSE_RANGE_CLOEXEC);
    // SAFETY: descriptors are marked, none is closed, and no memory is passed.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    Errno::result(result).map(drop)
}

fn mark_listed_descriptors() -> io::Result<()> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        if let Some(descriptor) = name.to_str().and_then(|digits| digits.parse().ok())
            && descriptor >= FIRST_OTHER_DESCRIPTOR
        {
            close_on_exec(descriptor);
        }
    }
    Ok(())
}

/// Marks one descriptor. One that was closed meanwhile need not be marked.
#[allow(unsafe_code)]
fn close_on_exec(descriptor: RawFd) {
    // SAFETY: a flag of the descriptor is set; if it is not open, the call says so.
    unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::ffi::OsString;
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::PermissionsExt;

    use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::resource::{Resource, getrlimit};
    use nix::sys::signal::{SigSet, Signal};
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{Pid as NixPid, getpid};

    use super::*;
    use crate::config::CommandSettings;
    use crate::process::environment::Environment;
    use crate::system::Pid;

    fn limits() -> DescriptorLimit {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        DescriptorLimit {
            original: soft.min(100),
            soft,
            hard,
        }
    }

    fn start_with(
        words: &[&str],
        environment: &[(&str, &str)],
        stderr: Stderr,
    ) -> Result<Child<Sender, Receiver>, SpawnError> {
        let command: Vec<OsString> = words.iter().map(OsString::from).collect();
        let environment = environment
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        let spawn = Spawn {
            command: &command,
            environment: environment.collect(),
            settings: &CommandSettings {
                stderr,
                ..CommandSettings::default()
            },
        };
        Spawner::new(limits()).unwrap().start(&spawn)
    }

    fn start_sh(script: &str, stderr: Stderr) -> Child<Sender, Receiver> {
        start_with(&["sh", "-c", script], &[("PATH", "/usr/bin:/bin")], stderr).unwrap()
    }

    /// All that comes out of a pipe until its end; non-blocking, so each read is waited for.
    fn read_all(pipe: &mut Receiver) -> String {
        let mut bytes = Vec::new();
        loop {
            let mut polled = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
            assert_eq!(
                poll(&mut polled, PollTimeout::from(20_000_u16)),
                Ok(1),
                "the pipe stays silent"
            );
            let mut buffer = [0; 4096];
            match pipe.read(&mut buffer).unwrap() {
                0 => return String::from_utf8(bytes).unwrap(),
                n => bytes.extend_from_slice(&buffer[..n]),
            }
        }
    }

    /// Reaps one child only, so that tests do not take each other's.
    fn wait(pid: Pid) -> WaitStatus {
        waitpid(NixPid::from_raw(pid), None).unwrap()
    }

    fn output(script: &str) -> String {
        let mut child = start_sh(script, Stderr::Merge);
        let output = read_all(&mut child.stdout);
        wait(child.pid);
        output
    }

    #[test]
    fn a_command_talks_through_its_pipes() {
        let mut child = start_with(&["cat"], &[("PATH", "/usr/bin:/bin")], Stderr::Merge).unwrap();
        let nothing = child.stdout.read(&mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        child.stdin.write_all(b"hello").unwrap();
        drop(child.stdin);
        assert_eq!(read_all(&mut child.stdout), "hello");
        let pid = NixPid::from_raw(child.pid);
        assert_eq!(wait(child.pid), WaitStatus::Exited(pid, 0));
    }

    #[test]
    fn stderr_goes_where_it_is_told() {
        let script = "echo out; echo err >&2; echo end";
        let mut merged = start_sh(script, Stderr::Merge);
        assert_eq!(
            read_all(&mut merged.stdout),
            "out\nerr\nend\n",
            "in their order"
        );
        assert!(merged.stderr.is_none());
        wait(merged.pid);

        let mut logged = start_sh(script, Stderr::Log);
        assert_eq!(read_all(&mut logged.stdout), "out\nend\n");
        assert_eq!(read_all(logged.stderr.as_mut().unwrap()), "err\n");
        wait(logged.pid);

        let mut dropped = start_sh(script, Stderr::Drop);
        assert_eq!(read_all(&mut dropped.stdout), "out\nend\n");
        assert!(dropped.stderr.is_none());
        wait(dropped.pid);
    }

    #[test]
    fn each_start_has_the_settings_of_its_own_command() {
        let mut spawner = Spawner::new(limits()).unwrap();
        let mut output = |settings: &CommandSettings| {
            let command = ["/bin/sh", "-c", "pwd; umask"].map(OsString::from);
            let mut child = spawner
                .start(&Spawn {
                    command: &command,
                    environment: Environment::new(),
                    settings,
                })
                .unwrap();
            let output = read_all(&mut child.stdout);
            wait(child.pid);
            output
        };
        let settings = |cwd: &str, umask| CommandSettings {
            cwd: Some(cwd.into()),
            umask: Some(umask),
            ..CommandSettings::default()
        };
        assert_eq!(output(&settings("/", 0o27)), "/\n0027\n");
        assert_eq!(output(&settings("/dev", 0o77)), "/dev\n0077\n");
    }

    #[test]
    fn our_ends_do_not_block_and_the_commands_do() {
        // The flags are octal in /proc: 04000 is O_NONBLOCK on most machines.
        let mut child = start_sh(
            "grep -h flags /proc/self/fdinfo/0 /proc/self/fdinfo/1",
            Stderr::Merge,
        );
        let theirs = read_all(&mut child.stdout);
        wait(child.pid);
        assert_eq!(theirs.lines().count(), 2, "{theirs}");
        for line in theirs.lines() {
            let octal = line.split_ascii_whitespace().nth(1).unwrap();
            let flags = OFlag::from_bits_retain(i32::from_str_radix(octal, 8).unwrap());
            assert!(!flags.contains(OFlag::O_NONBLOCK), "{theirs}");
        }
        for ours in [child.stdin.as_fd(), child.stdout.as_fd()] {
            let flags = OFlag::from_bits_retain(fcntl(ours, FcntlArg::F_GETFL).unwrap());
            assert!(flags.contains(OFlag::O_NONBLOCK));
            let flags = FdFlag::from_bits_retain(fcntl(ours, FcntlArg::F_GETFD).unwrap());
            assert!(flags.contains(FdFlag::FD_CLOEXEC));
        }
    }

    #[test]
    fn the_environment_is_the_given_one_alone() {
        let mut child = start_with(
            &["/usr/bin/env"],
            &[("A", "1"), ("B", "two words")],
            Stderr::Merge,
        )
        .unwrap();
        assert_eq!(read_all(&mut child.stdout), "A=1\nB=two words\n");
        wait(child.pid);
    }

    #[test]
    fn a_command_leads_its_session_and_has_no_signal_blocked_or_ignored() {
        // As the server's thread does.
        let mut blocked = SigSet::empty();
        blocked.add(Signal::SIGUSR1);
        blocked.thread_block().unwrap();
        let mut child = start_with(
            &["cat", "/proc/self/stat", "/proc/self/status"],
            &[],
            Stderr::Merge,
        )
        .unwrap();
        let output = read_all(&mut child.stdout);
        wait(child.pid);
        let stat: Vec<_> = output.lines().next().unwrap().split(' ').collect();
        let pid = child.pid.to_string();
        assert_eq!(
            [stat[0], stat[4], stat[5]],
            [pid.as_str(); 3],
            "number, group, session"
        );
        assert_eq!(stat[6], "0", "no terminal");
        for field in ["SigBlk:", "SigIgn:", "SigCgt:"] {
            let line = output.lines().find(|line| line.starts_with(field)).unwrap();
            let signals = u64::from_str_radix(line[field.len()..].trim(), 16).unwrap();
            // From 32 on come those of the C library, which it lets nobody set.
            let c_library = (1 << (libc::SIGRTMIN() - 1)) - (1 << 31);
            assert_eq!(signals & !c_library, 0, "{line}");
        }
    }

    #[test]
    fn a_command_gets_the_original_descriptor_limit() {
        let limits = limits();
        assert_eq!(
            output("ulimit -Sn; ulimit -Hn").lines().collect::<Vec<_>>(),
            [
                limits.original.to_string(),
                match limits.hard {
                    nix::sys::resource::RLIM_INFINITY => "unlimited".to_owned(),
                    hard => hard.to_string(),
                },
            ]
        );
    }

    /// The kernel goes by the thread that started it; here one thread dies, the server has but one.
    #[test]
    fn a_command_dies_with_whoever_started_it() {
        let starter = std::thread::spawn(|| start_sh("exec sleep 100", Stderr::Merge));
        let child = starter.join().unwrap();
        let pid = NixPid::from_raw(child.pid);
        let killed = WaitStatus::Signaled(pid, Signal::SIGKILL, false);
        assert_eq!(wait(child.pid), killed);
    }

    #[test]
    fn a_command_has_no_descriptors_but_its_own() {
        for mark in [keep_inherited_descriptors, mark_listed_descriptors] {
            let (inherited, _writer) = io::pipe().unwrap();
            assert!(inherited.as_raw_fd() >= FIRST_OTHER_DESCRIPTOR);
            fcntl(&inherited, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
            mark().unwrap();
            // The shell lists them itself: ls would open one more.
            let listed = output("cd /proc/$$/fd; for n in *; do [ -e $n ] && echo $n; done");
            assert_eq!(listed, "0\n1\n2\n");
        }
    }

    /// A directory of this test's own, gone with it.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("wspipe-{name}-{}", getpid()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, content: &str, mode: u32) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn refusal(command: &Path, path: &str) -> String {
        let words = [command.to_str().unwrap()];
        match start_with(&words, &[("PATH", path)], Stderr::Merge)
            .err()
            .expect("not started")
        {
            SpawnError::NotFound => "not found".to_owned(),
            SpawnError::NotExecutable(error) => format!("not executable: {error}"),
            SpawnError::Exhausted(error) => format!("exhausted: {error}"),
            SpawnError::Failed(error) => format!("failed: {error}"),
        }
    }

    #[test]
    fn a_failed_start_says_why() {
        let directory = Directory::new("refusals");
        let path = directory.0.to_str().unwrap();
        let orphan = directory.file("orphan", "#!/no/such/interpreter\n", 0o755);
        directory.file("plain", "text", 0o644);
        let denied = "not executable: Permission denied (os error 13)";
        let no_interpreter = "not executable: the interpreter that it names is not there";

        assert_eq!(refusal(Path::new("/no/such/file"), path), "not found");
        assert_eq!(refusal(Path::new("missing"), path), "not found");
        assert_eq!(
            refusal(Path::new("sh"), path),
            "not found",
            "only the child's PATH counts"
        );
        assert_eq!(refusal(&directory.0.join("plain/below"), path), "not found");
        assert_eq!(refusal(Path::new(""), path), "not found");
        assert_eq!(refusal(&directory.0.join("plain"), path), denied);
        assert_eq!(refusal(Path::new("plain"), path), denied);
        assert_eq!(refusal(&directory.0, path), denied);
        assert_eq!(refusal(&orphan, path), no_interpreter);
        assert_eq!(refusal(Path::new("orphan"), path), no_interpreter);
        assert!(refusal(Path::new("a\0b"), path).starts_with("failed: "));
    }

    #[test]
    fn what_the_system_lacks_is_told_from_what_is_wrong() {
        let command = [OsString::from("x")];
        let spawn = Spawn {
            command: &command,
            environment: Environment::new(),
            settings: &CommandSettings::default(),
        };
        for errno in [
            Errno::EAGAIN,
            Errno::ENOMEM,
            Errno::ENOBUFS,
            Errno::EMFILE,
            Errno::ENFILE,
        ] {
            assert!(matches!(
                explain(errno.into(), &spawn),
                SpawnError::Exhausted(_)
            ));
        }
        for errno in [Errno::ENOEXEC, Errno::EISDIR, Errno::ETXTBSY] {
            assert!(matches!(
                explain(errno.into(), &spawn),
                SpawnError::NotExecutable(_)
            ));
        }
        assert!(matches!(
            explain(Errno::E2BIG.into(), &spawn),
            SpawnError::Failed(_)
        ));
    }

    #[test]
    fn names_are_looked_up_as_exec_does() {
        let one = Directory::new("look-up-1");
        let two = Directory::new("look-up-2");
        let plain = one.file("tool", "", 0o644);
        let tool = two.file("tool", "", 0o755);
        let path = env::join_paths([&one.0, &two.0]).unwrap();
        let found = |command: &Path, path: &OsStr| look_up(command.as_os_str(), Some(path), None);

        let second = found(Path::new("tool"), &path).unwrap();
        assert_eq!(second, tool, "what cannot be executed is passed over");
        let only_plain = found(Path::new("tool"), one.0.as_os_str());
        assert!(matches!(only_plain, Err(SpawnError::NotExecutable(_))));
        assert!(matches!(
            found(&plain, &path),
            Err(SpawnError::NotExecutable(_))
        ));
        assert_eq!(
            found(&tool, OsStr::new("")).unwrap(),
            tool,
            "a path needs no PATH"
        );
        assert!(matches!(
            found(Path::new("other"), &path),
            Err(SpawnError::NotFound)
        ));
        assert!(matches!(
            found(Path::new(""), &path),
            Err(SpawnError::NotFound)
        ));
        assert!(
            look_up(OsStr::new("sh"), None, None).is_ok(),
            "without any PATH"
        );
        let relative = |command: &str, cwd: &Path| {
            look_up(OsStr::new(command), Some(OsStr::new(".")), Some(cwd)).ok()
        };
        assert!(relative("./tool", &two.0).is_some(), "from its directory");
        assert!(relative("tool", &two.0).is_some(), "a relative PATH too");
        assert_eq!(relative("./tool", &one.0), None);
    }
}
