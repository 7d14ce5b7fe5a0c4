//! What a failing system and a hostile peer can do: no descriptor, no process, no memory, calls
//! that fail or are interrupted, a clock that jumps, stopped processes, a network that is gone,
//! floods, and peers that are slow on purpose. Each test names the promise that it checks.

mod support;

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use support::{
    BINARY, Call, Client, FIN, Faults, Launch, PING, PONG, Process, Request, Response, Server,
    TEXT, Wire, cpu_time, header_claiming, masked, raise_own_descriptor_limit, wait_until,
};

/// Says of the rest of a test that it was not run, and why.
macro_rules! or_skip {
    ($condition:expr, $why:expr) => {
        match $condition {
            Some(value) => value,
            None => return support::skipped($why),
        }
    };
}

const NO_COMPILER: &str = "no C compiler to build the interposer with";
const NO_NAMESPACES: &str = "network namespaces need root and iproute2";

/// What a system says that lacks something, whatever it was asked for.
const LACKS: [Errno; 4] = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];

/// How much processor time the server uses in a while.
fn busy(server: &Server, during: Duration) -> Duration {
    let before = cpu_time(server.pid());
    thread::sleep(during);
    cpu_time(server.pid()) - before
}

// -- Calls that fail ---------------------------------------------------------------------------------

/// New clients wait in the backlog, those who are there go on, the loop does not spin, and who
/// waited is served as soon as there is room.
#[test]
fn accept_that_fails_delays_new_clients_and_no_one_else() {
    let faults = or_skip!(Faults::new(), NO_COMPILER);
    let server = faults.launch(&["--echo"]).start();
    let mut client = server.open("/");
    // EPERM: what a security module says, for as long as its policy stands.
    for error in [&LACKS[..], &[Errno::EPERM]].concat() {
        println!("{error}");
        let hits = faults.hits(Call::Accept);
        faults.fail(Call::Accept, error, 1);
        let mut waiting = server.connect();
        waiting.send(&server.upgrade("/").to_bytes());
        wait_until("accept has failed", || faults.hits(Call::Accept) > hits);
        let used = busy(&server, Duration::from_millis(600));
        assert!(used < Duration::from_millis(150), "{error}: {used:?}");
        client.round_trip("served as before");
        faults.clear(Call::Accept);
        assert_eq!(Response::read(&mut waiting, false).status, 101, "{error}");
    }
}

/// EAGAIN is no fault: what cannot be done now is done as soon as something comes of it. (A full
/// stdin is EAGAIN by itself: `backpressure::a_command_that_reads_late_gets_everything`.)
#[test]
fn calls_that_would_block_are_made_again_later() {
    let faults = or_skip!(Faults::new(), NO_COMPILER);
    let server = faults.launch(&["cat"]).start();
    let fail_once = |call, during: &mut dyn FnMut()| {
        let hits = faults.hits(call);
        faults.fail(call, Errno::EAGAIN, 1);
        during();
        wait_until("the call has failed", || faults.hits(call) > hits);
        faults.clear(call);
    };
    let mut waiting = None;
    fail_once(Call::Accept, &mut || {
        let mut wire = server.connect();
        wire.send(&server.upgrade("/").to_bytes());
        waiting = Some(wire);
    });
    let mut client = server.open("/");
    let mut waiting = waiting.expect("it was set");
    assert_eq!(Response::read(&mut waiting, false).status, 101);
    for call in [Call::Recv, Call::Send, Call::Read] {
        println!("{call:?}");
        fail_once(call, &mut || client.send_text("first"));
        client.send_text("second");
        assert_eq!(
            (client.text(), client.text()),
            ("first".into(), "second".into())
        );
    }
    client.leave();
}

/// A connection that was gone before it was accepted takes no other with it.
#[test]
fn a_connection_that_is_gone_before_it_is_accepted_delays_no_one() {
    let faults = or_skip!(Faults::new(), NO_COMPILER);
    let server = faults.launch(&["--echo"]).start();
    for error in [Errno::ECONNABORTED, Errno::EPROTO, Errno::ENETUNREACH] {
        // The first attempt goes well, the second fails, and a third is made at once.
        faults.fail(Call::Accept, error, 2);
        for _ in 0..10 {
            server.open("/").round_trip("served");
        }
        assert!(faults.hits(Call::Accept) > 0, "{error}");
        faults.clear(Call::Accept);
    }
    assert!(!server.log_text().contains("new connections wait"));
}

/// What is interrupted is done again; nothing is lost by it.
#[test]
fn interrupted_calls_are_repeated() {
    let faults = or_skip!(Faults::new(), NO_COMPILER);
    let server = faults.launch(&["cat"]).start();
    let calls = [
        Call::Accept,
        Call::Recv,
        Call::Send,
        Call::Writev,
        Call::Read,
        Call::Write,
        Call::EpollWait,
    ];
    for call in calls {
        faults.fail(call, Errno::EINTR, 2);
    }
    for round in 0..20 {
        let mut client = server.open("/");
        for length in [1, 1000, 100_000] {
            client.round_trip(&format!("{round} ").repeat(length));
        }
        client.leave();
    }
    for call in calls {
        assert!(faults.hits(call) > 0, "{call:?} was never interrupted");
        faults.clear(call);
    }
    server.await_no_children();
}

/// What leaves by writev(2): a long echo, a long line of a command, and whatever goes to many. The
/// mark is so high that nobody is too slow for what goes to many while it is held up.
const LONG_WRITERS: [&[&str]; 3] = [
    &["--echo"],
    &["cat"],
    &["--shared", "--high-water=1M", "cat"],
];

/// 300,000 bytes in which none could be lost, doubled or moved unnoticed.
fn long_text() -> String {
    (100_000..150_000).map(|n| n.to_string()).collect()
}

/// The text comes, in however many messages: a line that goes to many may come in several.
#[track_caller]
fn expect_text(client: &mut Client, text: &str) {
    let mut got = client.text();
    while got.len() < text.len() {
        got += &client.text();
    }
    assert!(got == text, "{} bytes, not those sent", got.len());
}

/// A long write that is interrupted, or that would block, loses nothing: the whole of it leaves
/// later, once, before what comes behind it.
#[test]
fn long_writes_that_are_interrupted_or_would_block_lose_nothing() {
    let faults = or_skip!(Faults::new(), NO_COMPILER);
    let text = long_text();
    for options in LONG_WRITERS {
        let server = faults.launch(options).start();
        let mut clients = vec![server.open("/")];
        if options.contains(&"--shared") {
            clients.push(server.open("/"));
        }
        for error in [Errno::EINTR, Errno::EAGAIN] {
            println!("{options:?} {error}");
            // Each of those who are sent it meets the error at least once.
            let hits = faults.hits(Call::Writev) + clients.len() as u32;
            faults.fail(Call::Writev, error, 1);
            clients[0].send_text(&text);
            wait_until("the calls have failed", || {
                faults.hits(Call::Writev) >= hits
            });
            if error == Errno::EAGAIN {
                faults.clear(Call::Writev);
                // The socket was not really full, so that no edge tells that it has room again; one
                // that tells of a ping does.
                for client in &mut clients {
                    client.send(FIN | PING, b"");
                }
            }
            for client in &mut clients {
                expect_text(client, &text);
            }
            faults.clear(Call::Writev);
            clients[0].send_text("behind it");
            for client in &mut clients {
                assert_eq!(client.text(), "behind it");
            }
        }
        for client in clients {
            client.leave();
        }
    }
}

/// A command that cannot be started for want of something is a 503 with Retry-After; nothing is
/// left of the attempt, and the next one succeeds.
#[test]
fn a_command_for_which_the_machine_lacks_something_is_refused_with_503() {
    let faults = or_skip!(Faults::new(), NO_COMPILER);
    for options in [&["cat"][..], &["--stderr=log", "cat"]] {
        let server = faults.launch(options).start();
        let before = server.descriptors();
        let errors = [&LACKS[..], &[Errno::EAGAIN]].concat();
        let mut cases: Vec<_> = (errors.iter())
            .flat_map(|&error| [(Call::Clone, error, 1), (Call::Pipe, error, 1)])
            .collect();
        // The second pipe, and the third.
        cases.extend([
            (Call::Pipe, Errno::EMFILE, 2),
            (Call::Pipe, Errno::EMFILE, 3),
        ]);
        for (call, error, one_in) in cases {
            println!("{options:?} {call:?} {error} {one_in}");
            faults.fail(call, error, one_in);
            let mut refused = server.try_open(&server.upgrade("/"));
            // One in three may meet a start only at the second attempt.
            if one_in > 1 && refused.is_ok() {
                refused = server.try_open(&server.upgrade("/"));
            }
            let response = refused.err().expect("it was refused");
            faults.clear(call);
            response.expect_refusal("no command", 503);
            assert!(response.header("Retry-After").is_some());
            server.open("/").round_trip("started");
            server.await_no_children();
            server.await_descriptors(before);
        }
    }
}

/// An emulator of another processor refuses a process with which descriptors are shared; the start
/// goes on with a copy of them.
#[test]
fn a_command_starts_where_no_descriptors_can_be_shared() {
    let faults = or_skip!(Faults::new(), NO_COMPILER);
    let server = faults.launch(&["cat"]).start();
    let before = server.descriptors();
    faults.fail(Call::Clone, Errno::EINVAL, 2);
    for _ in 0..2 {
        server.open("/").round_trip("started");
    }
    assert_eq!(
        faults.hits(Call::Clone),
        1,
        "the second start was begun again"
    );
    faults.clear(Call::Clone);
    server.open("/").round_trip("and goes on so");
    server.await_no_children();
    server.await_descriptors(before);
}

/// A stream that epoll takes no more of is not left unwatched: its client is let go, its command
/// ended and reaped.
#[test]
fn a_registration_that_fails_leaves_nothing() {
    let faults = or_skip!(Faults::new(), NO_COMPILER);
    let server = faults.launch(&["cat"]).start();
    let before = server.descriptors();
    for error in [Errno::ENOSPC, Errno::ENOMEM] {
        faults.fail(Call::EpollCtl, error, 1);
        // The socket itself.
        let mut wire = server.connect();
        wire.expect_gone();
        faults.clear(Call::EpollCtl);
        let reason = std::io::Error::from(error).to_string();
        server.await_log(&["warn", "not served", &reason]);
        // The pipes of its command: the first, then the second.
        for one_in in [1, 2] {
            let mut wire = server.connect();
            let get = server.get("/healthz").to_bytes();
            wire.send(&get);
            assert_eq!(Response::read(&mut wire, false).status, 200);
            faults.fail(Call::EpollCtl, error, one_in);
            wire.send(&server.upgrade("/").to_bytes());
            Response::read(&mut wire, false).expect_refusal("no command", 503);
            faults.clear(Call::EpollCtl);
            drop(wire);
            server.await_no_children();
            server.await_descriptors(before);
        }
    }
    server.open("/").round_trip("served again");
}

/// An error of a socket ends its connection and the command behind it, and no other.
#[test]
fn an_error_of_a_socket_ends_its_connection_alone() {
    let faults = or_skip!(Faults::new(), NO_COMPILER);
    let server = faults.launch(&["cat"]).start();
    let before = server.descriptors();
    let lacks = (LACKS.iter()).flat_map(|&error| [(Call::Recv, error), (Call::Send, error)]);
    let network = [
        (Call::Recv, Errno::ETIMEDOUT),
        (Call::Recv, Errno::EHOSTUNREACH),
        (Call::Send, Errno::EPIPE),
    ];
    for (call, error) in lacks.chain(network) {
        println!("{call:?} {error}");
        let mut bystander = server.open("/");
        let mut client = server.open("/");
        faults.fail(call, error, 1);
        client.send_text("into the void");
        client.wire.expect_gone();
        faults.clear(call);
        bystander.round_trip("untouched");
        bystander.leave();
        server.await_no_children();
        server.await_descriptors(before);
    }
}

/// What a socket says to a write when its peer is gone, and what a system that lacks memory says.
const WRITE_ERRORS: [Errno; 4] = [
    Errno::EPIPE,
    Errno::ECONNRESET,
    Errno::ENOBUFS,
    Errno::ENOMEM,
];

/// The log says of the client at `peer` that it was lost by `error`.
#[track_caller]
fn await_lost_by(server: &Server, peer: SocketAddr, error: Errno) {
    let peer = format!("peer={peer} ");
    let lost = format!("lost=\"{}\"", std::io::Error::from(error).kind());
    server.await_log(&["closed", &peer, &lost]);
}

/// The same of an error that a long write meets.
#[test]
fn an_error_of_a_long_write_ends_its_connection_alone() {
    let faults = or_skip!(Faults::new(), NO_COMPILER);
    let text = long_text();
    for options in [&["--echo"], &["cat"]] {
        let server = faults.launch(options).start();
        let before = server.descriptors();
        for error in WRITE_ERRORS {
            println!("{options:?} {error}");
            let mut bystander = server.open("/");
            let mut client = server.open("/");
            let peer = client.wire.local_address();
            faults.fail(Call::Writev, error, 1);
            // The end may come before all of it is sent.
            client.wire.try_send(&masked(FIN | TEXT, text.as_bytes()));
            client.wire.expect_gone();
            faults.clear(Call::Writev);
            await_lost_by(&server, peer, error);
            bystander.send_text(&text);
            expect_text(&mut bystander, &text);
            bystander.leave();
            server.await_no_children();
            server.await_descriptors(before);
        }
    }
}

/// Of those that a message goes to, one whose socket fails is lost; those before it and behind it
/// get this message and the next, and the command goes on.
#[test]
fn an_error_of_one_socket_keeps_a_message_from_no_other() {
    for error in WRITE_ERRORS {
        println!("{error}");
        let faults = or_skip!(Faults::new(), NO_COMPILER);
        let server = faults.launch(&["--shared", "cat"]).start();
        let mut first = server.open("/");
        let mut second = server.open("/");
        let mut third = server.open("/");
        let peer = second.wire.local_address();
        let command = server.only_child().pid;
        // A message makes one call for each, in the order in which they came: the second fails.
        faults.fail(Call::Writev, error, 2);
        first.send_text("to all");
        second.wire.expect_gone();
        assert_eq!(
            (first.text(), third.text()),
            ("to all".into(), "to all".into())
        );
        faults.clear(Call::Writev);
        assert_eq!(faults.hits(Call::Writev), 1);
        await_lost_by(&server, peer, error);
        third.send_text("to those left");
        assert_eq!(first.text(), "to those left");
        assert_eq!(third.text(), "to those left");
        assert_eq!(server.only_child().pid, command);
    }
}

/// An error of a pipe is its end: the command notices as ever, its client is told how it ended, and
/// nothing of it is left.
#[test]
fn an_error_of_a_pipe_ends_what_goes_through_it() {
    let faults = or_skip!(Faults::new(), NO_COMPILER);
    let server = faults.launch(&["cat"]).start();
    let before = server.descriptors();
    for error in [&LACKS[..], &[Errno::EIO]].concat() {
        for call in [Call::Read, Call::Write] {
            println!("{call:?} {error}");
            let mut bystander = server.open("/");
            let mut client = server.open("/");
            let hits = faults.hits(call);
            faults.fail(call, error, 1);
            client.send_text("into the void");
            wait_until("the call has failed", || faults.hits(call) > hits);
            faults.clear(call);
            bystander.round_trip("untouched");
            let (code, reason) = match call {
                // Its stdout is closed: the next line that it prints ends it.
                Call::Read => {
                    client.send_text("once more");
                    (4256 + Signal::SIGPIPE as u16, "signal 13")
                }
                // Its stdin is at its end, and so is `cat`.
                _ => (1000, "exit 0"),
            };
            assert_eq!(client.close(), (code, reason.to_owned()));
            client.send_close(code, "");
            client.wire.expect_eof();
            drop(client);
            bystander.leave();
            server.await_no_children();
            server.await_descriptors(before);
        }
    }
}

/// The wall clock is for the log alone, which follows it: whatever it does, nobody is dropped and
/// nothing is missed.
#[test]
fn a_wall_clock_that_jumps_moves_no_deadline() {
    let faults = or_skip!(Faults::new(), NO_COMPILER);
    let server = faults
        .launch(&["--ping-interval=200ms", "--pong-timeout=1500ms", "cat"])
        .start();
    // The year of the line that the log has of a visitor.
    let year_in_log = || -> i32 {
        let visitor = server.open("/");
        let peer = format!("peer={} ", visitor.wire.local_address());
        visitor.leave();
        let line = server.await_log(&["closed", &peer]);
        line[..4].parse().expect("a year")
    };
    let mut client = server.open("/");
    let now = year_in_log();
    const YEAR: i32 = 365 * 24 * 60 * 60;
    for ahead in [50, -50, 2, 0] {
        faults.set_clock_ahead(ahead * YEAR);
        client.round_trip("still here");
        let pings = client.pings.len();
        client.send_text("after a while");
        thread::sleep(Duration::from_millis(500));
        assert_eq!(client.text(), "after a while");
        // What is in the way of the next message are the pings, at their usual interval.
        client.round_trip("and now");
        let pings = client.pings.len() - pings;
        assert!((1..=4).contains(&pings), "{pings} pings");
        // The jump has arrived. Leap days, and midnight at New Year, make a difference of one.
        let year = year_in_log();
        let off = (year - now - ahead).abs();
        assert!(off <= 1, "{year} is not {ahead} years after {now}");
    }
    let used = busy(&server, Duration::from_millis(300));
    assert!(used < Duration::from_millis(100), "{used:?}");
    client.leave();
}

// -- A log that cannot be written --------------------------------------------------------------------

/// A server whose stderr is `stderr`, and its address.
struct Quiet {
    child: Child,
    address: SocketAddr,
}

impl Quiet {
    fn start(launch: Launch, stderr: impl Into<Stdio>) -> Quiet {
        let child = launch.command().stderr(stderr).spawn();
        let child = child.expect("the server's binary");
        let mut port = None;
        wait_until("it listens", || {
            port = listening_port(child.id());
            port.is_some()
        });
        let port = port.expect("it was awaited");
        Quiet {
            child,
            address: ([127, 0, 0, 1], port).into(),
        }
    }

    fn open(&self) -> Client {
        Client::open(self.address, "/")
    }

    fn end(mut self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).expect("it runs");
        assert_eq!(self.child.wait().expect("waitpid").code(), Some(0));
    }
}

/// The port that a process listens on, from /proc: its log does not say.
fn listening_port(pid: u32) -> Option<u16> {
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .ok()?
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            let link = link.to_str()?;
            Some(link.strip_prefix("socket:[")?.trim_end_matches(']').into())
        })
        .collect();
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // Columns: local address, state (0A: listening), inode.
        let listens = words[3] == "0A" && sockets.iter().any(|inode| inode == words[9]);
        let port = words[1].split(':').nth(1)?;
        listens.then(|| u16::from_str_radix(port, 16).ok())?
    })
}

/// A full disk behind the log stops nothing.
#[test]
fn a_log_on_a_full_disk_stops_nothing() {
    let full = File::options().write(true).open("/dev/full");
    let launch = Launch::new(&["--echo", "--log-level=debug"]);
    let server = Quiet::start(launch, full.expect("/dev/full"));
    for _ in 0..20 {
        let mut client = server.open();
        client.round_trip("served");
        client.leave();
    }
    server.end();
}

/// A log that has reached the limit of file sizes (RLIMIT_FSIZE) stops nothing: SIGXFSZ, which is
/// sent then, does not end the server.
#[test]
fn a_log_at_the_limit_of_file_sizes_stops_nothing() {
    let folder = support::TempDir::new();
    let file = File::create(folder.path("log")).expect("a file");
    // dash and bash count in blocks of 512 or 1,024 bytes: one block.
    let launch = Launch::new(&["--echo", "--log-level=debug"]).after("ulimit -f 1");
    let server = Quiet::start(launch, file);
    for _ in 0..20 {
        let mut client = server.open();
        client.round_trip("served");
        client.leave();
    }
    assert!(folder.read("log").len() >= 512, "the limit was not reached");
    server.end();
}

// -- Stopped processes -------------------------------------------------------------------------------

/// A stopped command is like a slow one: what was sent to it waits, and arrives when it goes on.
#[test]
fn a_stopped_command_gets_everything_when_it_goes_on() {
    let server = Server::start(&["cat"]);
    let mut client = server.open("/");
    client.round_trip("before");
    let command = Pid::from_raw(server.only_child().pid);
    kill(command, Signal::SIGSTOP).expect("the command");
    for number in 0..50 {
        client.send_text(&number.to_string());
    }
    server.open("/").round_trip("another one's command runs");
    kill(command, Signal::SIGCONT).expect("the command");
    for number in 0..50 {
        assert_eq!(client.text(), number.to_string());
    }
    client.leave();
}

/// A stopped command, which hears no signal but one, does not outlive its client.
#[test]
fn a_stopped_command_goes_with_its_client() {
    let server = Server::start(&["--kill-after=500ms", "cat"]);
    let mut client = server.open("/");
    client.round_trip("before");
    let command = server.only_child();
    kill(Pid::from_raw(command.pid), Signal::SIGSTOP).expect("the command");
    client.wire.reset();
    server.await_gone(command);
    server.await_no_children();
}

/// A server that was stopped finds everything as it would have: who came meanwhile is served, who
/// was there is not dropped for a silence that was the server's own.
#[test]
fn a_server_that_was_stopped_drops_no_one() {
    let server = Server::start(&[
        "--ping-interval=1s",
        "--pong-timeout=3s",
        "--http-idle-timeout=3s",
        "--head-timeout=3s",
        "cat",
    ]);
    let mut idle = server.open("/");
    let mut talking = server.open("/");
    let upgrade = server.upgrade("/").to_bytes();
    let (front, rest) = upgrade.split_at(40);
    let mut half = server.connect();
    half.send(front);
    idle.round_trip("before");
    talking.round_trip("before");
    server.signal(Signal::SIGSTOP);
    talking.send_text("sent while it stood still");
    half.send(rest);
    let mut newcomer = server.connect();
    newcomer.send(&upgrade);
    thread::sleep(Duration::from_millis(4500));
    server.signal(Signal::SIGCONT);
    assert_eq!(talking.text(), "sent while it stood still");
    assert_eq!(Response::read(&mut half, false).status, 101);
    assert_eq!(Response::read(&mut newcomer, false).status, 101);
    idle.round_trip("after");
    talking.round_trip("after");
}

// -- A network that is gone --------------------------------------------------------------------------

/// A network namespace, which lives as long as the process in it.
struct Namespace(Child);

impl Namespace {
    fn new() -> Namespace {
        let mut command = Command::new("unshare");
        command.args(["--net", "cat"]).stdin(Stdio::piped());
        let child = command.stdout(Stdio::null()).spawn().expect("unshare");
        let namespace = Namespace(child);
        let own = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
        wait_until("the namespace", || {
            std::fs::read_link(namespace.path()).is_ok_and(|other| other != own)
        });
        namespace
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    /// What `action` returns on a thread that is in the namespace.
    fn inside<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        let file = File::open(self.path()).expect("the namespace");
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(file, CloneFlags::CLONE_NEWNET).expect("setns");
                action()
            });
            inside.join().expect("the thread inside")
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    assert!(status.expect("ip").success(), "ip {arguments}");
}

/// Whether namespaces can be made here: as root, with iproute2, and where they are allowed.
fn can_make_namespaces() -> Option<()> {
    let has_ip = Command::new("ip").arg("-V").stdout(Stdio::null()).status();
    let allowed = || thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET).is_ok()).join();
    (geteuid().is_root() && has_ip.is_ok() && allowed().expect("the thread")).then_some(())
}

/// Two machines and a cable between them: the server's and its peers'.
struct Cable {
    here: Namespace,
    there: Namespace,
}

impl Cable {
    fn new() -> Cable {
        let (here, there) = (Namespace::new(), Namespace::new());
        here.inside(|| {
            let peer = there.0.id();
            ip(&format!(
                "link add wire0 type veth peer name wire1 netns {peer}"
            ));
            ip("addr add 10.231.0.1/24 dev wire0");
            ip("link set wire0 up");
        });
        there.inside(|| {
            ip("addr add 10.231.0.2/24 dev wire1");
            ip("link set wire1 up");
        });
        Cable { here, there }
    }

    fn start(&self, args: &[&str]) -> Server {
        let args = [&["--address=10.231.0.1"], args].concat();
        self.here.inside(|| Server::start(&args))
    }

    fn open(&self, server: &Server) -> Client {
        self.there.inside(|| server.open("/"))
    }

    /// The peers' end goes down, as when they are switched off. The server's end loses its carrier
    /// and keeps its address and route, so that what is sent is accepted and goes nowhere.
    fn cut(&self) {
        self.there.inside(|| ip("link set wire1 down"));
    }
}

/// A peer whose network is gone sends no FIN and no reset. When it was idle, it is dropped once it
/// was not heard for the pong time-out, its command with it. (The kernel would find it too, but here
/// only after a minute: at the larger of the pong and the write time-out.)
#[test]
fn a_peer_whose_link_goes_down_is_dropped_within_the_pong_timeout() {
    or_skip!(can_make_namespaces(), NO_NAMESPACES);
    let cable = Cable::new();
    let server = cable.start(&[
        "--ping-interval=500ms",
        "--pong-timeout=2s",
        "--write-timeout=60s",
        "cat",
    ]);
    let before = server.descriptors();
    let mut client = cable.open(&server);
    let peer = format!("peer={} ", client.wire.local_address());
    let command = server.only_child();
    let mut heard = Instant::now();
    // For longer than the time-out: its pongs are what keeps it.
    for _ in 0..5 {
        let ping = client.frame();
        assert_eq!(ping.opcode, PING);
        heard = Instant::now();
        client.send(FIN | PONG, &ping.payload);
    }
    cable.cut();
    server.await_log(&[
        "closed",
        &peer,
        "lost=\"nothing was heard for --pong-timeout\"",
    ]);
    let waited = heard.elapsed();
    assert!(waited > Duration::from_millis(1800), "after {waited:?}");
    assert!(waited < Duration::from_secs(8), "after {waited:?} only");
    server.await_gone(command);
    server.await_descriptors(before);
}

/// When its output was under way, it is dropped once it has taken nothing for the write time-out.
#[test]
fn a_peer_whose_link_goes_down_amid_its_output_is_dropped_within_the_write_timeout() {
    or_skip!(can_make_namespaces(), NO_NAMESPACES);
    let cable = Cable::new();
    let server = cable.start(&[
        "--pong-timeout=60s",
        "--write-timeout=2s",
        "--binary",
        "cat",
        "/dev/zero",
    ]);
    let before = server.descriptors();
    let mut client = cable.open(&server);
    let peer = format!("peer={} ", client.wire.local_address());
    let command = server.only_child();
    // More than all buffers hold: it is its reading that keeps the rest coming.
    let mut taken = 0;
    while taken < 16 << 20 {
        taken += client.binary().len();
    }
    let down = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| client.wire.discard(Duration::from_secs(1)));
        cable.cut();
    });
    server.await_log(&[
        "closed",
        &peer,
        "lost=\"nothing was taken for --write-timeout\"",
    ]);
    let waited = down.elapsed();
    assert!(waited < Duration::from_secs(8), "after {waited:?} only");
    server.await_gone(command);
    server.await_descriptors(before);
}

// -- Floods ------------------------------------------------------------------------------------------

/// 10,000 connections opened and reset at once leave nothing behind, and no one is forgotten
/// meanwhile.
#[test]
fn ten_thousand_connections_reset_at_once_leave_nothing() {
    raise_own_descriptor_limit();
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    let (_, hard) = limit.expect("getrlimit");
    or_skip!(
        (hard >= 10_500).then_some(()),
        "the hard limit of descriptors is too low"
    );
    let server = Server::start(&["--echo", "--log-level=warn"]);
    let mut bystander = server.open("/");
    bystander.round_trip("before");
    let before = server.descriptors();
    let upgrade = server.upgrade("/").to_bytes();
    let memory = server.rss_anon();
    for round in 0..2 {
        let wires: Vec<Wire> = (0..10_000)
            .map(|index| {
                let mut wire = server.connect();
                match index % 4 {
                    0 => {}
                    1 => wire.send(&upgrade[..50]),
                    2 => wire.send(&upgrade),
                    _ => wire.send(&[&upgrade[..], &masked(FIN | TEXT, b"hello")].concat()),
                }
                wire
            })
            .collect();
        bystander.round_trip("while they are there");
        for wire in wires {
            wire.reset();
        }
        bystander.round_trip("while they go");
        server.await_descriptors(before);
        let what = format!("the memory of round {round} is given back");
        wait_until(&what, || server.rss_anon() < memory + (512 << 10));
    }
}

/// Who only pings and never reads is stopped, then dropped: by the write time-out at the latest,
/// for its pongs cannot leave.
#[test]
fn a_peer_that_pings_and_never_reads_is_dropped() {
    let server = Server::start(&["--write-timeout=1s", "cat"]);
    let before = server.rss_anon();
    let mut client = server.open("/");
    let unit = masked(FIN | PING, &[7; 125]);
    let flood_len = 64 << 20;
    let (begun, _) = client.wire.flood(&unit, flood_len);
    assert!(begun * unit.len() < flood_len, "everything was taken");
    server.await_no_children();
    let grown = server.rss_anon().saturating_sub(before);
    assert!(grown < 2 << 20, "{grown} bytes");
    server.await_log(&["closed"]);
}

// -- Slow on purpose ---------------------------------------------------------------------------------

/// Who dribbles a request head is gone by the head's time-out, many of them too, and others are
/// served meanwhile.
#[test]
fn slow_heads_are_ended_and_hold_up_no_one() {
    let server = Server::start(&["--echo", "--head-timeout=1s"]);
    let before = server.descriptors();
    // A head of 8 KiB would last for minutes at this pace.
    let mut head = server.upgrade("/").to_bytes();
    head.truncate(head.len() - 2);
    head.extend(b"X: ");
    head.resize(8 << 10, b'y');
    let mut slow: Vec<Wire> = (0..200).map(|_| server.connect()).collect();
    let start = Instant::now();
    for byte in head {
        // Those who were answered were sent a byte in the round before: they were dribbling still.
        let answered = |wire: &mut Wire| wire.is_readable_within(Duration::ZERO);
        for mut wire in slow.extract_if(.., answered) {
            let waited = start.elapsed();
            Response::read(&mut wire, false).expect_refusal("a slow head", 408);
            wire.expect_eof();
            assert!(waited > Duration::from_millis(900), "{waited:?}");
        }
        let left = slow.len();
        if left == 0 {
            break;
        }
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{left} are left after {:?}",
            start.elapsed()
        );
        for wire in &mut slow {
            wire.send(&[byte]);
        }
        server.open("/").round_trip("served meanwhile");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(slow.is_empty());
    server.await_descriptors(before);
}

/// Who announces long messages and sends them byte by byte costs what it has sent, and no more. Each
/// byte counts as heard, but a message that was begun does not keep anyone: the pong time-out after
/// the last of its bytes it is given up.
#[test]
fn slow_frames_cost_what_was_sent_and_end_with_their_bytes() {
    let server = Server::start(&["--echo", "--ping-interval=500ms", "--pong-timeout=2s"]);
    let idle = server.descriptors();
    let mut slow: Vec<Client> = (0..200).map(|_| server.open("/")).collect();
    let before = server.rss_anon();
    for client in &mut slow {
        client.wire.send(&header_claiming(FIN | BINARY, 1 << 20));
    }
    let mut last = Instant::now();
    for _ in 0..5 {
        for client in &mut slow {
            last = Instant::now();
            client.wire.send(b"x");
        }
        server.open("/").round_trip("served meanwhile");
    }
    let each = server.rss_anon().saturating_sub(before) / 200;
    assert!(each < 4096, "{each} bytes for each");
    // No byte comes any more, nor a pong.
    server.await_descriptors(idle);
    let waited = last.elapsed();
    assert!(waited > Duration::from_millis(1800), "after {waited:?}");
    assert!(waited < Duration::from_secs(8), "after {waited:?} only");
    for client in &slow {
        let peer = format!("peer={} ", client.wire.local_address());
        let lost = "lost=\"nothing was heard for --pong-timeout\"";
        server.await_log(&["closed", &peer, lost]);
    }
}

/// Who reads slowly stops its command and is served at its pace; nothing is lost, and little waits.
#[test]
fn slow_readers_are_served_at_their_pace() {
    let server = Server::script(
        &["--write-timeout=5s"],
        "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done",
    );
    let before = server.rss_anon();
    let mut slow: Vec<Client> = (0..5).map(|_| server.open("/")).collect();
    for number in 0..40 {
        for client in &mut slow {
            assert_eq!(client.text(), number.to_string());
        }
        thread::sleep(Duration::from_millis(25));
    }
    let grown = server.rss_anon().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes for five");
    for client in &mut slow {
        let (texts, close) = client.texts_to_close();
        assert_eq!(texts.len(), 19_960);
        assert_eq!(close.0, 1000);
    }
    server.await_no_children();
}

/// Looked at by nobody else here, and a hang of the test itself if it is wrong.
#[test]
fn the_interposer_is_in_place() {
    let faults = or_skip!(Faults::new(), NO_COMPILER);
    let server = faults.launch(&["--echo"]).start();
    let mut maps = String::new();
    File::open(format!("/proc/{}/maps", server.pid()))
        .and_then(|mut file| file.read_to_string(&mut maps))
        .expect("the maps");
    assert!(maps.contains("libfaults.so"));
    assert!(Process::find(server.pid()).is_some());
}
