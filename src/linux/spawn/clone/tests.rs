use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{PipeReader, Read, Write};
use std::mem::MaybeUninit;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::stat::fstat;
use nix::sys::wait::WaitStatus;

use super::*;
use crate::config::CommandSettings;
use crate::limits::START_RETRY;
use crate::linux::limits::DescriptorLimit;
use crate::linux::spawn::child_setup::Parent;
use crate::linux::spawn::room::STACK_LEN;
use crate::linux::testing::{TestDir, lease};

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

/// One launcher as on this kernel, one as on a kernel before 5.9, and one as under an emulator.
fn each(mut launcher: impl FnMut() -> Launcher) -> [Launcher; 3] {
    let mut copying = launcher();
    copying.cloner.shares_descriptors = false;
    let mut suspended = launcher();
    suspended.cloner.shares_descriptors = false;
    suspended.cloner.is_suspended = true;
    [launcher(), copying, suspended]
}

/// Starts a command with one pipe for both outputs, and returns our end of it.
fn launch(launcher: &mut Launcher, words: &[&str], path: &str) -> io::Result<(Pid, PipeReader)> {
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

/// All that a command prints. Its exit status is 0.
fn output(launcher: &mut Launcher, words: &[&str], path: &str) -> String {
    let mut launched = launch(launcher, words, path);
    // ETXTBSY: a command that another test starts may still hold a script that was just written.
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

/// Waits until the other end of a pipe is closed.
fn await_end(pipe: &PipeReader) {
    let mut polled = [PollFd::new(pipe.as_fd(), PollFlags::empty())];
    let timeout = PollTimeout::from(20_000_u16);
    assert_eq!(poll(&mut polled, timeout), Ok(1), "it is held open");
}

fn errno(launcher: &mut Launcher, words: &[&str], path: &str) -> Errno {
    let error = launch(launcher, words, path).expect_err("not started");
    Errno::from_raw(error.raw_os_error().expect("the system's"))
}

/// Identifies descriptors by the file they refer to, because other tests open descriptors too.
#[test]
fn a_command_has_none_of_our_descriptors() {
    let script = "cd /proc/$$/fd; readlink 0 1 2; for n in *; do readlink $n; done; true";
    for mut launcher in each(launcher) {
        let directory = TestDir::new("descriptors");
        let path = directory.file("open", "", 0o644);
        let files: Vec<File> = (0..300).map(|_| File::open(&path).unwrap()).collect();
        let links = output(&mut launcher, &["sh", "-c", script], PATH);
        let links: Vec<&str> = links.lines().collect();
        assert!(!links.contains(&path.as_str()), "{links:?}");
        assert_eq!(links[0], "/dev/null");
        assert!(links[1].starts_with("pipe:") && links[1] == links[2]);
        // None of ours was closed.
        assert!(files.iter().all(|file| file.metadata().is_ok()));
    }
}

#[test]
fn a_descriptor_without_close_on_exec_is_not_inherited() {
    let directory = TestDir::new("kept");
    let path = directory.file("open", "", 0o644);
    let mut launcher = launcher();
    if !launcher.cloner.shares_descriptors {
        return;
    }
    let file = File::open(&path).unwrap();
    // A number that other tests do not use; their commands could have it open.
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
fn a_place_keeps_no_pipe_open_after_a_start() {
    let holds = |launcher: &Launcher| {
        let placeholder = fstat(&launcher.cloner.placeholder).unwrap().st_ino;
        let mut places = launcher.cloner.places.iter();
        places.any(|place| fstat(place).unwrap().st_ino != placeholder)
    };
    for mut launcher in each(launcher) {
        assert!(!holds(&launcher));
        let (pid, output) = launch(&mut launcher, &["true"], PATH).unwrap();
        assert!(!holds(&launcher));
        waitpid(unistd::Pid::from_raw(pid), None).unwrap();
        await_end(&output);

        let (output, theirs) = io::pipe().unwrap();
        let streams = [theirs.as_fd(); 3];
        launch_on(&mut launcher, &["/no/such/file"], PATH, streams).unwrap_err();
        assert!(!holds(&launcher), "also after a start that failed");
        drop(theirs);
        await_end(&output);
    }
}

#[test]
fn the_streams_may_be_our_own_in_any_order() {
    let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
    let link = |fd: RawFd| fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
    let (stdin, stdout, stderr) = (link(0), link(1), link(2));
    // The script compares its streams and reports by exit status, because its stdout is ours.
    let script = "test \"$(readlink /proc/$$/fd/0)\" = \"$1\" &&
        test \"$(readlink /proc/$$/fd/1)\" = \"$2\" &&
        test \"$(readlink /proc/$$/fd/2)\" = \"$3\"";
    for mut launcher in each(launcher) {
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
fn each_error_is_reported() {
    let directory = TestDir::new("errors");
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
        (&[directory.text()], Errno::EACCES),
        (&[busy.as_str()], Errno::ETXTBSY),
        (&[text.as_str()], Errno::ENOEXEC),
        (&[foreign.as_str()], Errno::ENOEXEC),
        (&["true", too_long.as_str()], Errno::E2BIG),
    ];
    for (words, expected) in cases {
        for mut launcher in each(launcher) {
            assert_eq!(errno(&mut launcher, words, PATH), expected, "{}", words[0]);
            assert_eq!(output(&mut launcher, &["echo", "next"], PATH), "next\n");
        }
    }
    drop(writer);
    // Errors before the clone.
    let error = launch(&mut launcher(), &["true", "a\0b"], PATH).unwrap_err();
    assert_eq!(
        (error.kind(), error.raw_os_error()),
        (io::ErrorKind::InvalidInput, None)
    );
    let error = launch(&mut launcher(), &[], PATH).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    // Errors of the child setup.
    let nowhere = Some(Path::new("/no/such/directory"));
    for mut launcher in each(|| launcher_in(nowhere, limit())) {
        assert_eq!(errno(&mut launcher, &["true"], PATH), Errno::ENOENT);
    }
    let too_many = DescriptorLimit {
        hard: RLIM_INFINITY,
        ..limit()
    };
    for mut launcher in each(|| launcher_in(None, too_many)) {
        assert_eq!(errno(&mut launcher, &["true"], PATH), Errno::EPERM);
    }
}

#[test]
fn programs_are_found_as_by_execvp() {
    let one = TestDir::new("path-1");
    let two = TestDir::new("path-2");
    let plain = one.file("tool", "", 0o644);
    two.file("tool", "#!/bin/sh\necho found $1\n", 0o755);
    let (one_path, two_path) = (one.text(), two.text());
    let found = |path: &str, program: &str, cwd: Option<&Path>| {
        let mut launcher = launcher_in(cwd, limit());
        output(&mut launcher, &[program, "x"], path) == "found x\n"
    };
    assert!(found(&format!("{one_path}:{two_path}"), "tool", None));
    assert!(found(&format!("{plain}:/no/such:{two_path}"), "tool", None));
    let here = Some(two.path());
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
    assert_eq!(
        refused(&then_nowhere),
        Errno::EACCES,
        "it says more than ENOENT"
    );
    assert_eq!(refused("/no/such"), Errno::ENOENT);
}

#[test]
fn threads_can_start_commands_at_the_same_time() {
    let work = |number: usize| {
        for mut launcher in each(launcher) {
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
fn the_signal_mask_is_restored() {
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
    launcher.cloner.room.stack.fill(MaybeUninit::new(0xA5));
    output(&mut launcher, &["sh", "-c", "true"], PATH);
    errno(&mut launcher, &["no-such-file"], &"/no/such:".repeat(100));
    let untouched = untouched(&launcher.cloner.room.stack);
    assert!(untouched > STACK_LEN / 2, "{untouched} bytes were not used");
}

/// The number of bytes at the far end of a stack that still have the fill value.
#[allow(unsafe_code)]
fn untouched(stack: &[MaybeUninit<u8>]) -> usize {
    // SAFETY: the caller has filled all of it.
    let bytes = stack.iter().map(|byte| unsafe { byte.assume_init() });
    bytes.take_while(|&byte| byte == 0xA5).count()
}

#[test]
fn an_exec_that_waits_for_a_lease_is_given_up() {
    let directory = TestDir::new("lease");
    let program = directory.file("program", "#!/bin/sh\necho started\n", 0o755);
    let script = directory.file("script", &format!("#!{program}\n"), 0o755);
    // Without and with an interpreter to open, with one and with two descriptor tables.
    for words in [[program.as_str()], [script.as_str()]] {
        for mut launcher in each(launcher).into_iter().take(2) {
            launcher.cloner.time_max = Duration::from_millis(100);
            let Some(held) = lease(&program) else {
                return;
            };
            let start = |launcher: &mut Launcher| {
                let began = Instant::now();
                let error = launch(launcher, &words, PATH).expect_err("not started");
                assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                assert_eq!(error.raw_os_error(), None);
                began.elapsed()
            };
            assert!(start(&mut launcher) >= Duration::from_millis(100));
            assert!(!launcher.cloner.room.is_in_use(), "the child was killed");
            assert!(
                start(&mut launcher) < Duration::from_millis(100),
                "not tried"
            );
            launcher.cloner.time_max = START_TIME_MAX;
            assert_eq!(output(&mut launcher, &["echo", "other"], PATH), "other\n");
            drop(held);
            launcher.cloner.stalled = Stalled::default();
            assert_eq!(output(&mut launcher, &words, PATH), "started\n");
        }
    }
}

/// A FUSE file system whose daemon takes the first request and never answers it. A process that
/// waits for it ignores even SIGKILL until the daemon is gone.
struct Hanging {
    directory: TestDir,
}

impl Hanging {
    /// `None`: this user may not mount one.
    fn mount() -> Option<Hanging> {
        let directory = TestDir::new("hanging");
        let mut daemon = File::options()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .ok()?;
        let fd = daemon.as_raw_fd();
        let options = format!("fd={fd},rootmode=40000,user_id=0,group_id=0");
        let (source, kind) = (Some("hanging"), Some("fuse"));
        let options = Some(options.as_str());
        mount(source, directory.path(), kind, MsFlags::empty(), options).ok()?;
        let mut request = [0; 1 << 17];
        assert!(daemon.read(&mut request).unwrap() > 0);
        // The answer to FUSE_INIT: a header with the number of the request, then version 7.31.
        let mut answer = [0_u32; 20];
        answer[0] = size_of_val(&answer) as u32;
        for (word, bytes) in answer[2..4].iter_mut().zip(request[8..].chunks(4)) {
            *word = u32::from_ne_bytes(bytes.try_into().unwrap());
        }
        answer[4..7].copy_from_slice(&[7, 31, 1 << 16]);
        answer[9] = 1 << 16;
        let bytes: Vec<u8> = answer.into_iter().flat_map(u32::to_ne_bytes).collect();
        daemon.write_all(&bytes).unwrap();
        thread::spawn(move || {
            let _ = daemon.read(&mut request);
            // It keeps the request, and its descriptor, until the file system is aborted.
            let mut polled = [PollFd::new(daemon.as_fd(), PollFlags::empty())];
            let _ = poll(&mut polled, PollTimeout::from(20_000_u16));
        });
        Some(Self { directory })
    }

    /// Makes the kernel answer every request with an error.
    fn abort(&self) {
        let _ = umount2(self.directory.path(), MntFlags::MNT_FORCE);
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.abort();
        let _ = umount2(self.directory.path(), MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_child_that_cannot_be_killed_is_left_behind() {
    let Some(hanging) = Hanging::mount() else {
        return;
    };
    let program = format!("{}/program", hanging.directory.text());
    let mut launcher = launcher();
    launcher.cloner.time_max = Duration::from_millis(100);
    let error = launch(&mut launcher, &[&program], PATH).expect_err("not started");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let later = Instant::now() + START_RETRY;
    let may_start =
        |launcher: &Launcher| launcher.cloner.stalled.may_start(program.as_ref(), later);
    assert!(!may_start(&launcher), "its child is still there");
    launcher.cloner.time_max = START_TIME_MAX;
    assert_eq!(output(&mut launcher, &["echo", "other"], PATH), "other\n");
    hanging.abort();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !may_start(&launcher) {
        assert!(Instant::now() < deadline, "the child does not end");
        thread::sleep(Duration::from_millis(1));
    }
}
