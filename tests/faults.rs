//! The server under faults: system calls that fail or are interrupted, a clock that jumps, a log
//! that cannot be written, stopped processes, a network that disappears, floods, and peers that are
//! slow on purpose.

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
    BINARY, Call, Client, FIN, Faults, Launch, PING, PONG, Process, Response, Server, TEXT, Wire,
    cpu_time, header_claiming, masked, raise_own_descriptor_limit, wait_until,
};

/// The value of an `Option`. If it is `None`, reports the reason and skips the rest of the test.
macro_rules! or_skip {
    ($condition:expr, $why:expr) => {
        match $condition {
            Some(value) => value,
            None => return support::skipped($why),
        }
    };
}

const NO_COMPILER: &str = "no C compiler to build tests/support/faults.c";
const NO_NAMESPACES: &str = "network namespaces need root and iproute2";

/// The errors of a system that is out of descriptors or memory.
const OUT_OF_RESOURCES: [Errno; 4] = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];

/// The processor time that the server uses within `duration`.
fn cpu_time_within(server: &Server, duration: Duration) -> Duration {
    let before = cpu_time(server.pid());
    thread::sleep(duration);
    cpu_time(server.pid()) - before
}

// -- Calls that fail ---------------------------------------------------------------------------------

/// New clients wait in the backlog, existing clients are served, the loop does not spin, and the
/// waiting clients are accepted as soon as accept(2) succeeds.
#[test]
fn a_failing_accept_delays_only_new_clients() {
    let faults = or_skip!(Faults::new(), NO_COMPILER);
    let server = faults.launch(&["--echo"]).start();
    let mut client = server.open("/");
    // EPERM: a security module denies the call.
    for error in [&OUT_OF_RESOURCES[..], &[Errno::EPERM]].concat() {
        println!("{error}");
        let hits = faults.hits(Call::Accept);
        faults.fail(Call::Accept, error, 1);
        let mut waiting = server.connect();
        waiting.send(&server.upgrade("/").to_bytes());
        wait_until("accept has failed", || faults.hits(Call::Accept) > hits);
        let used = cpu_time_within(&server, Duration::from_millis(600));
        assert!(used < Duration::from_millis(150), "{error}: {used:?}");
        client.round_trip("served as before");
        faults.clear(Call::Accept);
        assert_eq!(Response::read(&mut waiting, false).status, 101, "{error}");
    }
}

/// After EAGAIN the call is repeated at the next event. (A full stdin causes EAGAIN without
/// injection: `backpressure::a_command_that_starts_reading_late_gets_every_message`.)
#[test]
fn calls_that_would_block_are_repeated_later() {
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

#[test]
fn a_connection_that_is_aborted_before_accept_delays_no_other() {
    let faults = or_skip!(Faults::new(), NO_COMPILER);
    let server = faults.launch(&["--echo"]).start();
    for error in [Errno::ECONNABORTED, Errno::EPROTO, Errno::ENETUNREACH] {
        // The first call succeeds, the second fails, and a third must follow at once.
        faults.fail(Call::Accept, error, 2);
        for _ in 0..10 {
            server.open("/").round_trip("served");
        }
        assert!(faults.hits(Call::Accept) > 0, "{error}");
        faults.clear(Call::Accept);
    }
    assert!(!server.log_text().contains("new connections wait"));
}

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

/// Servers that send by writev(2): a long echo, a long line of a command, and a message for several
/// clients. The high-water mark is so high that no client falls behind while a write is delayed.
const LONG_WRITERS: [&[&str]; 3] = [
    &["--echo"],
    &["cat"],
    &["--shared", "--high-water=1M", "cat"],
];

/// 300,000 bytes in which a lost, repeated or moved part is noticed.
fn long_text() -> String {
    (100_000..150_000).map(|n| n.to_string()).collect()
}

/// Expects `text` in one or more messages, because a long line of a shared command is split.
#[track_caller]
fn expect_text(client: &mut Client, text: &str) {
    let mut got = client.text();
    while got.len() < text.len() {
        got += &client.text();
    }
    assert!(got == text, "{} bytes, but not those sent", got.len());
}

/// After EINTR or EAGAIN a long message is sent later: whole, once, and before the next message.
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
            // The write to each client fails at least once.
            let hits = faults.hits(Call::Writev) + clients.len() as u32;
            faults.fail(Call::Writev, error, 1);
            clients[0].send_text(&text);
            wait_until("the calls have failed", || {
                faults.hits(Call::Writev) >= hits
            });
            if error == Errno::EAGAIN {
                faults.clear(Call::Writev);
                // The socket was not really full, so no event reports that it is writable. The
                // event of a ping leads to the next write.
                for client in &mut clients {
                    client.send(FIN | PING, b"");
                }
            }
            for client in &mut clients {
                expect_text(client, &text);
            }
            faults.clear(Call::Writev);
            clients[0].send_text("the next message");
            for client in &mut clients {
                assert_eq!(client.text(), "the next message");
            }
        }
        for client in clients {
            client.leave();
        }
    }
}

/// The response is a 503 with Retry-After. Nothing is left of the attempt, and the next one
/// succeeds.
#[test]
fn a_command_that_cannot_start_for_lack_of_resources_is_503() {
    let faults = or_skip!(Faults::new(), NO_COMPILER);
    for options in [&["cat"][..], &["--stderr=log", "cat"]] {
        let server = faults.launch(options).start();
        let before = server.descriptors();
        let errors = [&OUT_OF_RESOURCES[..], &[Errno::EAGAIN]].concat();
        let mut cases: Vec<_> = (errors.iter())
            .flat_map(|&error| [(Call::Clone, error, 1), (Call::Pipe, error, 1)])
            .collect();
        // The second pipe of a start, and the third.
        cases.extend([
            (Call::Pipe, Errno::EMFILE, 2),
            (Call::Pipe, Errno::EMFILE, 3),
        ]);
        for (call, error, one_in) in cases {
            println!("{options:?} {call:?} {error} {one_in}");
            faults.fail(call, error, one_in);
            let mut refused = server.try_open(&server.upgrade("/"));
            // With one failure in three, the first start may succeed.
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

/// QEMU's user emulation refuses clone(2) with shared descriptors (EINVAL). The start is repeated
/// with a copied descriptor table.
#[test]
fn a_command_starts_where_clone_cannot_share_descriptors() {
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
        "the second start tried to share again"
    );
    faults.clear(Call::Clone);
    server.open("/").round_trip("started again");
    server.await_no_children();
    server.await_descriptors(before);
}

/// If a socket or pipe cannot be registered with epoll, its client is closed, and its command is
/// terminated and reaped.
#[test]
fn a_failed_epoll_registration_leaves_nothing_behind() {
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
        // The first pipe of the command, then the second.
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

/// An error on a socket closes its connection and terminates its command, and affects no other
/// client.
#[test]
fn an_error_on_a_socket_ends_only_its_connection() {
    let faults = or_skip!(Faults::new(), NO_COMPILER);
    let server = faults.launch(&["cat"]).start();
    let before = server.descriptors();
    let lacks =
        (OUT_OF_RESOURCES.iter()).flat_map(|&error| [(Call::Recv, error), (Call::Send, error)]);
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

/// The errors of a write to a peer that is gone, and of a system without memory.
const WRITE_ERRORS: [Errno; 4] = [
    Errno::EPIPE,
    Errno::ECONNRESET,
    Errno::ENOBUFS,
    Errno::ENOMEM,
];

/// Waits for the access-log record that says that the client at `peer` was lost by `error`.
#[track_caller]
fn await_lost_by(server: &Server, peer: SocketAddr, error: Errno) {
    let peer = format!("peer={peer} ");
    let lost = format!("lost=\"{}\"", std::io::Error::from(error).kind());
    server.await_log(&["closed", &peer, &lost]);
}

#[test]
fn an_error_on_a_long_write_ends_only_its_connection() {
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
            // The server may close before all is sent.
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

/// A message goes to three clients, and the second one's socket fails. The first and third get this
/// message and the next, and the command goes on.
#[test]
fn an_error_on_one_socket_does_not_keep_a_message_from_other_clients() {
    for error in WRITE_ERRORS {
        println!("{error}");
        let faults = or_skip!(Faults::new(), NO_COMPILER);
        let server = faults.launch(&["--shared", "cat"]).start();
        let mut first = server.open("/");
        let mut second = server.open("/");
        let mut third = server.open("/");
        let peer = second.wire.local_address();
        let command = server.only_child().pid;
        // One call for each client, in the order of their connections, so the second client's
        // fails.
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
        third.send_text("to both");
        assert_eq!(first.text(), "to both");
        assert_eq!(third.text(), "to both");
        assert_eq!(server.only_child().pid, command);
    }
}

/// An error on a pipe counts as its EOF: the command notices, its client gets the exit status, and
/// no resource is left.
#[test]
fn an_error_on_a_pipe_counts_as_its_eof() {
    let faults = or_skip!(Faults::new(), NO_COMPILER);
    let server = faults.launch(&["cat"]).start();
    let before = server.descriptors();
    for error in [&OUT_OF_RESOURCES[..], &[Errno::EIO]].concat() {
        for call in [Call::Read, Call::Write] {
            println!("{call:?} {error}");
            let mut bystander = server.open("/");
            let mut client = server.open("/");
            // Until then the server may still read the signal of a command of the round before.
            bystander.round_trip("before");
            client.round_trip("before");
            let hits = faults.hits(call);
            faults.fail(call, error, 1);
            client.send_text("into the void");
            wait_until("the call has failed", || faults.hits(call) > hits);
            faults.clear(call);
            bystander.round_trip("untouched");
            let (code, reason) = match call {
                // Its stdout is closed, so the next line that it prints causes SIGPIPE.
                Call::Read => {
                    client.send_text("once more");
                    (4256 + Signal::SIGPIPE as u16, "signal 13")
                }
                // Its stdin is at EOF, so `cat` exits.
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

/// Only the log uses the wall clock. When the clock jumps, no timer fires early or late.
#[test]
fn a_wall_clock_that_jumps_affects_no_timer() {
    let faults = or_skip!(Faults::new(), NO_COMPILER);
    let server = faults
        .launch(&["--ping-interval=200ms", "--pong-timeout=1500ms", "cat"])
        .start();
    // The year in the access-log record of another client.
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
        // Before the next message come the pings, at their usual interval.
        client.round_trip("and now");
        let pings = client.pings.len() - pings;
        assert!((1..=4).contains(&pings), "{pings} pings");
        // The log shows the jump. Leap days, and midnight at New Year, make a difference of one.
        let year = year_in_log();
        let off = (year - now - ahead).abs();
        assert!(off <= 1, "{year} is not {ahead} years after {now}");
    }
    let used = cpu_time_within(&server, Duration::from_millis(300));
    assert!(used < Duration::from_millis(100), "{used:?}");
    client.leave();
}

// -- A log that cannot be written --------------------------------------------------------------------

/// A server whose log the test does not read, and its address.
struct Unlogged {
    child: Child,
    address: SocketAddr,
}

impl Unlogged {
    fn start(launch: Launch, stderr: impl Into<Stdio>) -> Unlogged {
        let child = launch.command().stderr(stderr).spawn();
        let child = child.expect("the server's binary");
        let mut port = None;
        wait_until("it listens", || {
            port = listening_port(child.id());
            port.is_some()
        });
        let port = port.expect("it was awaited");
        Unlogged {
            child,
            address: ([127, 0, 0, 1], port).into(),
        }
    }

    fn open(&self) -> Client {
        Client::open(self.address, "/")
    }

    fn stop(mut self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).expect("it runs");
        assert_eq!(self.child.wait().expect("waitpid").code(), Some(0));
    }
}

/// The port on which a process listens, from `/proc`, because its log cannot be read.
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

#[test]
fn a_log_on_a_full_disk_stops_nothing() {
    let full = File::options().write(true).open("/dev/full");
    let launch = Launch::new(&["--echo", "--log-level=debug"]);
    let server = Unlogged::start(launch, full.expect("/dev/full"));
    for _ in 0..20 {
        let mut client = server.open();
        client.round_trip("served");
        client.leave();
    }
    server.stop();
}

/// A write beyond RLIMIT_FSIZE causes SIGXFSZ (setrlimit(2)), which must not terminate the server.
#[test]
fn a_log_at_the_file_size_limit_stops_nothing() {
    let folder = support::TempDir::new();
    let file = File::create(folder.path("log")).expect("a file");
    // One block: 512 bytes in dash, 1,024 in bash.
    let launch = Launch::new(&["--echo", "--log-level=debug"]).after("ulimit -f 1");
    let server = Unlogged::start(launch, file);
    for _ in 0..20 {
        let mut client = server.open();
        client.round_trip("served");
        client.leave();
    }
    assert!(folder.read("log").len() >= 512, "the limit was not reached");
    server.stop();
}

// -- Stopped processes -------------------------------------------------------------------------------

#[test]
fn a_stopped_command_gets_every_message_once_it_continues() {
    let server = Server::start(&["cat"]);
    let mut client = server.open("/");
    client.round_trip("before");
    let command = Pid::from_raw(server.only_child().pid);
    kill(command, Signal::SIGSTOP).expect("the command");
    for number in 0..50 {
        client.send_text(&number.to_string());
    }
    server.open("/").round_trip("another command runs");
    kill(command, Signal::SIGCONT).expect("the command");
    for number in 0..50 {
        assert_eq!(client.text(), number.to_string());
    }
    client.leave();
}

/// While a process is stopped, only SIGKILL has an effect.
#[test]
fn a_stopped_command_is_killed_when_its_client_leaves() {
    let server = Server::start(&["--kill-after=500ms", "cat"]);
    let mut client = server.open("/");
    client.round_trip("before");
    let command = server.only_child();
    kill(Pid::from_raw(command.pid), Signal::SIGSTOP).expect("the command");
    client.wire.reset();
    server.await_gone(command);
    server.await_no_children();
}

/// After SIGCONT the server accepts the clients that have connected meanwhile, and drops none for a
/// silence that the stop caused.
#[test]
fn a_server_that_was_stopped_drops_no_client() {
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
    talking.send_text("sent while it was stopped");
    half.send(rest);
    let mut new_client = server.connect();
    new_client.send(&upgrade);
    thread::sleep(Duration::from_millis(4500));
    server.signal(Signal::SIGCONT);
    assert_eq!(talking.text(), "sent while it was stopped");
    assert_eq!(Response::read(&mut half, false).status, 101);
    assert_eq!(Response::read(&mut new_client, false).status, 101);
    idle.round_trip("after");
    talking.round_trip("after");
}

// -- A network that is gone --------------------------------------------------------------------------

/// A network namespace, which exists as long as the process in it.
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

    /// Runs `action` on a thread inside the namespace.
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

/// Whether network namespaces can be made: this takes root, iproute2 and a system that allows them.
fn can_make_namespaces() -> Option<()> {
    let has_ip = Command::new("ip").arg("-V").stdout(Stdio::null()).status();
    let allowed = || thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET).is_ok()).join();
    (geteuid().is_root() && has_ip.is_ok() && allowed().expect("the thread")).then_some(())
}

/// Two namespaces with a link between them: one for the server and one for its clients.
struct Link {
    server: Namespace,
    clients: Namespace,
}

impl Link {
    fn new() -> Link {
        let (server, clients) = (Namespace::new(), Namespace::new());
        server.inside(|| {
            let peer = clients.0.id();
            ip(&format!(
                "link add wire0 type veth peer name wire1 netns {peer}"
            ));
            ip("addr add 10.231.0.1/24 dev wire0");
            ip("link set wire0 up");
        });
        clients.inside(|| {
            ip("addr add 10.231.0.2/24 dev wire1");
            ip("link set wire1 up");
        });
        Link { server, clients }
    }

    fn start(&self, args: &[&str]) -> Server {
        let args = [&["--address=10.231.0.1"], args].concat();
        self.server.inside(|| Server::start(&args))
    }

    fn open(&self, server: &Server) -> Client {
        self.clients.inside(|| server.open("/"))
    }

    /// Takes the clients' end down, as if they were switched off. The server's end loses its
    /// carrier but keeps its address and route, so the kernel accepts data that never arrives.
    fn cut(&self) {
        self.clients.inside(|| ip("link set wire1 down"));
    }
}

/// A peer whose network is gone sends neither FIN nor RST. An idle one is dropped after the pong
/// timeout, and its command is terminated. (TCP_USER_TIMEOUT would drop it too, but here only after
/// a minute: it is the larger of the pong and the write timeout.)
#[test]
fn a_peer_whose_link_goes_down_is_dropped_within_the_pong_timeout() {
    or_skip!(can_make_namespaces(), NO_NAMESPACES);
    let link = Link::new();
    let server = link.start(&[
        "--ping-interval=500ms",
        "--pong-timeout=2s",
        "--write-timeout=60s",
        "cat",
    ]);
    let before = server.descriptors();
    let mut client = link.open(&server);
    let peer = format!("peer={} ", client.wire.local_address());
    let command = server.only_child();
    let mut last_pong = Instant::now();
    // For longer than the timeout, its pongs keep it connected.
    for _ in 0..5 {
        let ping = client.frame();
        assert_eq!(ping.opcode, PING);
        last_pong = Instant::now();
        client.send(FIN | PONG, &ping.payload);
    }
    link.cut();
    server.await_log(&[
        "closed",
        &peer,
        "lost=\"nothing received for --pong-timeout\"",
    ]);
    let waited = last_pong.elapsed();
    assert!(waited > Duration::from_millis(1800), "after {waited:?}");
    assert!(waited < Duration::from_secs(8), "only after {waited:?}");
    server.await_gone(command);
    server.await_descriptors(before);
}

/// A peer with output in flight is dropped once it has acknowledged nothing for the write timeout.
#[test]
fn a_peer_whose_link_goes_down_during_output_is_dropped_within_the_write_timeout() {
    or_skip!(can_make_namespaces(), NO_NAMESPACES);
    let link = Link::new();
    let server = link.start(&[
        "--pong-timeout=60s",
        "--write-timeout=2s",
        "--binary",
        "cat",
        "/dev/zero",
    ]);
    let before = server.descriptors();
    let mut client = link.open(&server);
    let peer = format!("peer={} ", client.wire.local_address());
    let command = server.only_child();
    // More than all buffers hold, so the client's reading keeps the output flowing.
    let mut taken = 0;
    while taken < 16 << 20 {
        taken += client.binary().len();
    }
    let down = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| client.wire.discard(Duration::from_secs(1)));
        link.cut();
    });
    server.await_log(&[
        "closed",
        &peer,
        "lost=\"the peer took nothing for --write-timeout\"",
    ]);
    let waited = down.elapsed();
    assert!(waited < Duration::from_secs(8), "only after {waited:?}");
    server.await_gone(command);
    server.await_descriptors(before);
}

// -- Floods ------------------------------------------------------------------------------------------

#[test]
fn ten_thousand_connections_that_are_reset_leave_nothing_behind() {
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
        let what = format!("the memory of round {round} is released");
        wait_until(&what, || server.rss_anon() < memory + (512 << 10));
    }
}

/// A client that sends pings and reads nothing is stopped, and dropped at the latest by the write
/// timeout, because its pongs cannot be sent.
#[test]
fn a_peer_that_pings_and_never_reads_is_dropped() {
    let server = Server::start(&["--write-timeout=1s", "cat"]);
    let before = server.rss_anon();
    let mut client = server.open("/");
    let unit = masked(FIN | PING, &[7; 125]);
    let flood_len = 64 << 20;
    let (begun, _) = client.wire.flood(&unit, flood_len);
    assert!(
        begun * unit.len() < flood_len,
        "the server accepted everything"
    );
    server.await_no_children();
    let grown = server.rss_anon().saturating_sub(before);
    assert!(grown < 2 << 20, "{grown} bytes");
    server.await_log(&["closed"]);
}

// -- Slow on purpose ---------------------------------------------------------------------------------

/// Clients that send a head byte by byte are refused at the head timeout. Others are served
/// meanwhile.
#[test]
fn slow_request_heads_are_refused_and_delay_no_other_client() {
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
        // A client that has a response now sent a byte in the round before, so it was still
        // sending.
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

/// A client that announces a long message and sends it byte by byte costs only the memory of the
/// bytes it has sent. Each byte is a sign of life, but an unfinished message is not: the client is
/// dropped at the pong timeout after its last byte.
#[test]
fn slow_frames_take_only_the_memory_of_their_bytes_and_then_time_out() {
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
    assert!(each < 4096, "{each} bytes per client");
    // The clients send neither a further byte nor a pong.
    server.await_descriptors(idle);
    let waited = last.elapsed();
    assert!(waited > Duration::from_millis(1800), "after {waited:?}");
    assert!(waited < Duration::from_secs(8), "only after {waited:?}");
    for client in &slow {
        let peer = format!("peer={} ", client.wire.local_address());
        let lost = "lost=\"nothing received for --pong-timeout\"";
        server.await_log(&["closed", &peer, lost]);
    }
}

/// A slow client slows down its command. Nothing is lost, and little is buffered.
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

/// If the server did not load the library, the tests above would wait for faults in vain.
#[test]
fn the_server_loads_the_library_that_injects_faults() {
    let faults = or_skip!(Faults::new(), NO_COMPILER);
    let server = faults.launch(&["--echo"]).start();
    let mut maps = String::new();
    File::open(format!("/proc/{}/maps", server.pid()))
        .and_then(|mut file| file.read_to_string(&mut maps))
        .expect("the maps");
    assert!(maps.contains("libfaults.so"));
    assert!(Process::find(server.pid()).is_some());
}
