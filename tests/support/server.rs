//! Starts a server process, observes it, and checks on drop that it exits cleanly.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::Pid;

use super::{
    Client, Process, Request, Response, TIMEOUT, Wire, children_of, cpu_time, descendants_of,
    descriptors_of, rss_anon, small_pipes,
};

/// How many lines at the end of the server's log are shown when a test fails.
const LOG_SHOWN: usize = 500;

/// How to start a server. `--port=0` is always passed.
#[derive(Default)]
pub struct Launch {
    args: Vec<String>,
    environment: Vec<(String, String)>,
    prelude: Option<String>,
    small_log_pipe: bool,
}

impl Launch {
    pub fn new(args: &[&str]) -> Launch {
        Launch {
            args: args.iter().map(|arg| arg.to_string()).collect(),
            ..Launch::default()
        }
    }

    /// Adds a variable to the server's environment.
    pub fn env(mut self, name: &str, value: &str) -> Launch {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Shell commands that run in the process before it executes the server: to set limits, ignore
    /// signals, open files.
    pub fn after(mut self, prelude: &str) -> Launch {
        self.prelude = Some(prelude.into());
        self
    }

    /// Gives the log a pipe of one page, which a few lines fill while [`Server::hold_log`] is on.
    pub fn small_log_pipe(mut self) -> Launch {
        self.small_log_pipe = true;
        self
    }

    /// The command, for a test that starts the server itself.
    pub fn command(&self) -> Command {
        // `WSPIPE_UNDER`: a program that runs the server, such as valgrind.
        let under = std::env::var("WSPIPE_UNDER").unwrap_or_default();
        let mut words: Vec<&str> = under.split_whitespace().collect();
        words.push(env!("CARGO_BIN_EXE_wspipe"));
        let mut command = match &self.prelude {
            None => Command::new(words[0]),
            Some(prelude) => {
                let mut shell = Command::new("sh");
                shell
                    .arg("-c")
                    .arg(format!("{prelude}\nexec \"$0\" \"$@\""));
                shell.arg(words[0]);
                shell
            }
        };
        command.args(&words[1..]);
        command.arg("--port=0").args(small_pipes::options());
        if small_pipes::are_wanted() && self.is_demo() {
            command.arg("--same-user=no");
        }
        command.args(&self.args);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        reset_signals(&mut command);
        command
    }

    /// Whether the arguments name no back end, so that the server serves its demo.
    fn is_demo(&self) -> bool {
        let serves = |arg: &String| {
            let options = ["--echo", "--dir", "--route"];
            let is_option = arg.starts_with("--") && arg != "--";
            !is_option || options.iter().any(|option| arg.starts_with(option))
        };
        !self.args.iter().any(serves)
    }

    /// Starts the server and waits until it listens on every address.
    #[track_caller]
    pub fn start(self) -> Server {
        let mut child = self
            .command()
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server's binary");
        let stderr = child.stderr.take().expect("a pipe");
        if self.small_log_pipe {
            let size = nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096);
            nix::fcntl::fcntl(stderr.as_fd(), size).expect("F_SETPIPE_SZ");
        }
        let log = Log::collect(stderr);
        let mut server = Server {
            child,
            addresses: Vec::new(),
            log,
            exited: false,
        };
        let named = self.args.iter().take_while(|arg| *arg != "--");
        let addresses = named.filter(|arg| arg.starts_with("--address")).count();
        server.addresses = server.await_addresses(addresses.max(1));
        server
    }
}

/// Restores signals that may be ignored where the tests run, as in the background of a script. The
/// server leaves a signal ignored that it inherits so.
#[allow(unsafe_code)]
fn reset_signals(command: &mut Command) {
    let reset = || {
        for which in [Signal::SIGINT, Signal::SIGHUP] {
            // SAFETY: no handler is installed.
            unsafe { signal(which, SigHandler::SigDfl) }?;
        }
        Ok(())
    };
    // SAFETY: signal(2) may be called between fork and exec (signal-safety(7)).
    unsafe { command.pre_exec(reset) };
}

/// A running server. On drop it gets SIGTERM, and the test fails unless the server exits with
/// status 0 and leaves no process that it started.
pub struct Server {
    child: Child,
    addresses: Vec<SocketAddr>,
    log: Log,
    /// Whether the test has already waited for the exit of the process.
    exited: bool,
}

impl Server {
    #[track_caller]
    pub fn start(args: &[&str]) -> Server {
        Launch::new(args).start()
    }

    /// A pure echo server.
    #[track_caller]
    pub fn echo() -> Server {
        Server::start(&["--echo"])
    }

    /// A server that runs `script` in a shell for every client.
    #[track_caller]
    pub fn script(options: &[&str], script: &str) -> Server {
        Server::start(&[options, &["--", "sh", "-c", script]].concat())
    }

    /// The addresses of the start lines, `wspipe: listening on http://ADDRESS/`, perhaps with a note
    /// behind. For a wildcard address, it is the loopback address.
    #[track_caller]
    fn await_addresses(&mut self, count: usize) -> Vec<SocketAddr> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let found: Vec<SocketAddr> = (self.log.lines().iter())
                .filter_map(|line| line.strip_prefix("wspipe: listening on http://"))
                .filter_map(|rest| rest.split_once('/'))
                .map(|(address, _)| address.parse().expect("an address"))
                .collect();
            if found.len() >= count {
                return found;
            }
            if let Some(status) = self.child.try_wait().expect("waitpid") {
                self.exited = true;
                panic!("the server exited at start: {status}\n{}", self.log_text());
            }
            assert!(
                Instant::now() < deadline,
                "no start line: {}",
                self.log_text()
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The first address on which the server listens.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    #[track_caller]
    pub fn connect(&self) -> Wire {
        Wire::connect(self.address())
    }

    /// A client with small socket buffers, so that it soon falls behind if it does not read.
    #[track_caller]
    pub fn open_with_small_buffers(&self, target: &str) -> Client {
        let mut wire = Wire::connect_with_small_buffers(self.address());
        wire.send(&self.upgrade(target).to_bytes());
        Client::accepted(wire)
    }

    pub fn get(&self, target: &str) -> Request {
        Request::get(self.address(), target)
    }

    pub fn upgrade(&self, target: &str) -> Request {
        Request::upgrade(self.address(), target)
    }

    /// The response to `request` on a connection of its own.
    #[track_caller]
    pub fn exchange(&self, request: &Request) -> Response {
        let mut wire = self.connect();
        wire.send(&request.to_bytes());
        Response::read(&mut wire, false)
    }

    /// Sends the opening handshake `request`. Returns the response if it is refused.
    #[track_caller]
    pub fn try_open(&self, request: &Request) -> Result<Client, Response> {
        let mut wire = self.connect();
        wire.send(&request.to_bytes());
        let response = Response::read(&mut wire, false);
        if response.status == 101 {
            Ok(Client::new(wire, response))
        } else {
            Err(response)
        }
    }

    /// A client whose opening handshake must succeed.
    #[track_caller]
    pub fn open(&self, target: &str) -> Client {
        match self.try_open(&self.upgrade(target)) {
            Ok(client) => client,
            Err(response) => panic!("refused: {} {}", response.status, response.text()),
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("the server is there");
    }

    /// Waits for the server's exit status.
    #[track_caller]
    pub fn exit_status(&mut self) -> ExitStatus {
        match self.await_exit() {
            Some(status) => status,
            None => panic!("the server has not exited\n{}", self.log_text()),
        }
    }

    fn await_exit(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + TIMEOUT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("waitpid") {
                self.exited = true;
                return Some(status);
            }
            thread::sleep(Duration::from_millis(2));
        }
        None
    }

    /// Kills the server with SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("SIGKILL");
        self.exit_status();
    }

    /// Kills the server with SIGKILL and waits until `processes` have exited.
    #[track_caller]
    pub fn kill_and_await_gone(&mut self, processes: Vec<Process>) {
        self.kill();
        for process in processes {
            self.await_gone(process);
        }
    }

    pub fn children(&self) -> Vec<Process> {
        children_of(self.pid())
    }

    /// The server's only child. Panics unless there is exactly one.
    #[track_caller]
    pub fn only_child(&self) -> Process {
        let children = self.children();
        assert_eq!(children.len(), 1, "{children:?}");
        children[0]
    }

    /// Waits until the server has no child, zombies included.
    #[track_caller]
    pub fn await_no_children(&self) {
        super::wait_until("no child is left", || self.children().is_empty());
    }

    #[track_caller]
    pub fn await_gone(&self, process: Process) {
        let what = format!("the exit of {process:?}");
        super::wait_until(&what, || process.is_gone(self.pid()));
    }

    pub fn descriptors(&self) -> usize {
        descriptors_of(self.pid())
    }

    /// Waits until at most `before` descriptors are open.
    #[track_caller]
    pub fn await_descriptors(&self, before: usize) {
        // The count `before` may have included a client that was about to leave.
        let what = format!("at most {before} descriptors, as before");
        super::wait_until(&what, || self.descriptors() <= before);
    }

    pub fn rss_anon(&self) -> u64 {
        rss_anon(self.pid())
    }

    pub fn cpu_time(&self) -> Duration {
        cpu_time(self.pid())
    }

    pub fn log_text(&self) -> String {
        self.log.lines().join("\n")
    }

    /// Waits for a log line that contains all of `parts`, and returns the first such line.
    #[track_caller]
    pub fn await_log(&self, parts: &[&str]) -> String {
        match self.log.find(parts) {
            Some(line) => line,
            None => panic!("no log line contains {parts:?}\n{}", self.log_text()),
        }
    }

    /// Stops or resumes reading the log. While it is not read, its pipe fills.
    pub fn hold_log(&self, held: bool) {
        self.log.shared.held.store(held, Ordering::SeqCst);
    }

    /// Terminates the server. The error says what was wrong with its exit.
    fn stop(&mut self) -> Result<(), String> {
        let family = descendants_of(self.pid());
        let _ = kill(Pid::from_raw(self.pid()), Signal::SIGTERM);
        let status = self.await_exit();
        if status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let left = survivors(&family, self.pid());
        for process in &left {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        match status {
            None => Err(format!("the server did not exit within {TIMEOUT:?}")),
            Some(status) if status.code() != Some(0) => Err(format!("the server exited: {status}")),
            Some(_) if !left.is_empty() => Err(format!("left behind: {left:?}")),
            Some(_) => Ok(()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.hold_log(false);
        let verdict = if self.exited { Ok(()) } else { self.stop() };
        if thread::panicking() {
            let log = self.log.lines();
            let end = &log[log.len().saturating_sub(LOG_SHOWN)..];
            eprintln!("the last lines of the server's log:\n{}", end.join("\n"));
        } else if let Err(fault) = verdict {
            panic!("{fault}\n{}", self.log_text());
        }
    }
}

/// The processes of `family` that still run two seconds after their server has exited.
fn survivors(family: &[Process], server: i32) -> Vec<Process> {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let left: Vec<Process> = (family.iter().copied())
            .filter(|process| !process.is_gone(server))
            .collect();
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The lines that the server writes to stderr, collected by a thread.
struct Log {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    lines: Mutex<Vec<String>>,
    more: Condvar,
    held: AtomicBool,
}

impl Log {
    fn collect(stderr: std::process::ChildStderr) -> Log {
        let shared = Arc::new(Shared::default());
        let log = Log {
            shared: Arc::clone(&shared),
        };
        thread::spawn(move || {
            for line in BufReader::with_capacity(1024, stderr).split(b'\n') {
                let Ok(line) = line else { break };
                let line = String::from_utf8(line).expect("a log in UTF-8");
                shared.lines.lock().expect("the log").push(line);
                shared.more.notify_all();
                while shared.held.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        log
    }

    fn lines(&self) -> Vec<String> {
        self.shared.lines.lock().expect("the log").clone()
    }

    fn find(&self, parts: &[&str]) -> Option<String> {
        let deadline = Instant::now() + TIMEOUT;
        let mut lines = self.shared.lines.lock().expect("the log");
        loop {
            let found = (lines.iter()).find(|line| parts.iter().all(|part| line.contains(part)));
            if let Some(line) = found {
                return Some(line.clone());
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            lines = self
                .shared
                .more
                .wait_timeout(lines, left)
                .expect("the log")
                .0;
        }
    }
}
