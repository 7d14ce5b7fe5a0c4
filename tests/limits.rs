//! The server at its limits: hundreds of clients and commands, the memory they take and release, no
//! free descriptor, a log that is not read, and an idle server's use of the processor.

mod support;

use std::io::Read;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::{
    Client, FIN, Launch, Response, Server, TEXT, TempDir, USUAL_PIPE_LEN, Wire, cpu_time, masked,
    pipe_lens_of, raise_own_descriptor_limit, unprivileged, wait_until,
};

#[test]
fn hundreds_of_clients_are_served_at_once() {
    raise_own_descriptor_limit();
    let server = Server::echo();
    let before = server.descriptors();
    let mut clients: Vec<Client> = (0..500).map(|_| server.open("/")).collect();
    assert_eq!(server.descriptors(), before + 500);
    for round in 0..3 {
        for (index, client) in clients.iter_mut().enumerate() {
            client.send_text(&format!("{index}, round {round}"));
        }
        for (index, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.text(), format!("{index}, round {round}"));
        }
    }
    drop(clients);
    server.await_descriptors(before);
}

#[test]
fn hundreds_of_commands_are_served_at_once() {
    raise_own_descriptor_limit();
    let server = Server::start(&["cat"]);
    let before = server.descriptors();
    let mut clients: Vec<Client> = (0..200).map(|_| server.open("/")).collect();
    assert_eq!(server.children().len(), 200);
    for (index, client) in clients.iter_mut().enumerate() {
        client.send_text(&index.to_string());
    }
    for (index, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.text(), index.to_string());
    }
    drop(clients);
    server.await_no_children();
    server.await_descriptors(before);
}

/// A further pipe of an unprivileged user with many pipes has a capacity of two pages (pipe(7)).
#[test]
fn hundreds_of_commands_whose_pipes_are_small_lose_nothing() {
    let pages = std::fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft").expect("/proc");
    // Two pipes of 16 pages for each command until the limit, and 60 more commands.
    let count = pages.trim().parse::<usize>().expect("a number") / 32 + 60;
    let descriptors = raise_own_descriptor_limit();
    if count == 60 || count > 1200 || descriptors < 4 * count as u64 {
        let why = format!("small pipes would take {count} commands here");
        return support::skipped(&why);
    }
    let script = "read -r how; [ $how = echo ] && exec cat; seq 1 20000; exit 7";
    let max = format!("--max-processes={count}");
    let user = unprivileged();
    let options = [&user[..], &[max]].concat();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let server = Server::script(&options, script);
    let before = server.descriptors();
    let mut clients: Vec<Client> = (0..count).map(|_| server.open("/")).collect();
    let mut commands = server.children();
    commands.sort_by_key(|command| command.start);
    assert_eq!(commands.len(), count);
    let lens = pipe_lens_of(&commands[count - 20..]);
    assert_eq!(lens.len(), 60, "stdin, stdout and stderr of each");
    assert!(lens.iter().all(|&len| len < USUAL_PIPE_LEN), "{lens:?}");
    let (ends, echoes) = clients[count - 8..].split_at_mut(5);
    for client in &mut *ends {
        client.send_text("end");
    }
    for client in &mut *echoes {
        client.send_text("echo");
        // Longer than a pipe, in both directions; below, more than all pipes and sockets hold.
        let long = "x".repeat(100_000);
        let sender = client
            .wire
            .send_in_background(masked(FIN | TEXT, long.as_bytes()));
        assert!(client.text() == long);
        sender.join().expect("the sender");
    }
    std::thread::scope(|scope| {
        for client in echoes {
            scope.spawn(|| {
                let line = "y".repeat(999);
                let flood = masked(FIN | TEXT, line.as_bytes()).repeat(4000);
                let sender = client.wire.send_in_background(flood);
                for index in 0..4000 {
                    assert!(client.text() == line, "line {index}");
                }
                sender.join().expect("the sender");
            });
        }
    });
    // Meanwhile the output of the other commands waited, its end in a full pipe.
    for client in ends {
        let (texts, close) = client.texts_to_close();
        assert_eq!(close, (4007, "exit 7".to_string()));
        assert_eq!(texts.len(), 20_000);
        for (index, text) in texts.iter().enumerate() {
            assert_eq!(*text, (index + 1).to_string());
        }
    }
    drop(clients);
    server.await_no_children();
    server.await_descriptors(before);
}

#[test]
fn a_burst_of_connections_fits_into_the_backlog() {
    // More connections than one turn accepts, and than mio's own backlog of 128.
    let kernel = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("somaxconn");
    if kernel.trim().parse::<u32>().expect("a number") < 1024 {
        return support::skipped("the kernel's limit on backlogs (somaxconn) is too low here");
    }
    raise_own_descriptor_limit();
    let server = Server::echo();
    let upgrade = server.upgrade("/").to_bytes();
    server.signal(Signal::SIGSTOP);
    let mut wires: Vec<Wire> = (0..600)
        .map(|_| {
            let mut wire = server.connect();
            wire.send(&upgrade);
            wire
        })
        .collect();
    server.signal(Signal::SIGCONT);
    for wire in &mut wires {
        assert_eq!(Response::read(wire, false).status, 101);
    }
}

#[test]
fn an_idle_client_costs_little_memory() {
    raise_own_descriptor_limit();
    let server = Server::start(&["--echo", "--log-level=error"]);
    let mut first = server.open("/");
    first.round_trip("warm");
    let before = server.rss_anon();
    let mut clients: Vec<Client> = (0..800).map(|_| server.open("/")).collect();
    for client in &mut clients {
        client.round_trip("a few bytes, after which no buffer is kept");
    }
    let each = server.rss_anon().saturating_sub(before) / 800;
    assert!(each < 1024, "{each} bytes per client");
}

/// The clients that leave last occupy the last slots. Once they have left, the slots before theirs
/// are released too.
#[test]
fn memory_is_released_when_many_clients_leave_one_by_one() {
    raise_own_descriptor_limit();
    let server = Server::start(&["--echo", "--log-level=error"]);
    let mut bystander = server.open("/");
    bystander.round_trip("before");
    let (memory, descriptors) = (server.rss_anon(), server.descriptors());
    let clients: Vec<Client> = (0..2000).map(|_| server.open("/")).collect();
    assert!(
        server.rss_anon() > memory + (400 << 10),
        "no memory is used"
    );
    for client in clients {
        client.wire.reset();
        // Afterwards the server has seen this client leave.
        bystander.round_trip("meanwhile");
    }
    server.await_descriptors(descriptors);
    wait_until("the memory is released", || {
        server.rss_anon() < memory + (200 << 10)
    });
}

#[test]
fn memory_is_released_when_many_commands_end() {
    const COMMANDS: usize = 200;
    let server = Server::script(&["--resume=1h"], "printf '%030000d\\n' 0; exec cat");
    // The clients come one after the other. Their commands remain, each with its replay buffer.
    let open = |session: usize, received: usize| {
        let protocol = format!("wspipe.session.{session:032x}.{received}");
        let request = server.upgrade("/").add("Sec-WebSocket-Protocol", &protocol);
        server.try_open(&request).expect("served")
    };
    let before = server.rss_anon();
    for session in 0..COMMANDS {
        let mut client = open(session, 0);
        assert_eq!(client.text().len(), 30_000);
        client.wire.reset();
    }
    assert_eq!(server.children().len(), COMMANDS);
    let grown = server.rss_anon().saturating_sub(before);
    assert!(
        grown > 5 << 20,
        "the replay buffers take only {grown} bytes"
    );
    // A client that claims to have received more than was sent ends its session.
    for session in 0..COMMANDS {
        open(session, 99).expect_close("lost", 4410);
    }
    server.await_no_children();
    wait_until("the memory is released", || {
        server.rss_anon() < before + (512 << 10)
    });
}

#[test]
fn the_soft_descriptor_limit_is_raised() {
    let server = Launch::new(&["--echo"])
        .after("ulimit -Sn 100; ulimit -Hn 300")
        .start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).expect("limits");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .expect("the line");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[3..5], ["300", "300"], "{line}");
}

#[test]
fn a_low_descriptor_limit_causes_a_warning() {
    let server = Launch::new(&["--echo"]).after("ulimit -n 50").start();
    server.await_log(&["warn", "50 descriptors"]);
}

#[test]
fn a_limit_too_low_to_start_is_named_with_what_raises_it() {
    let cases = [
        ("ulimit -n 10", ["10 descriptors", "ulimit -Hn 22"]),
        ("ulimit -s 32", ["32 KiB", "ulimit -s 64"]),
    ];
    for (limit, parts) in cases {
        let launch = Launch::new(&["--echo"]).after(limit);
        let output = launch.command().output().expect("the binary");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{limit}: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    // What the lines say is enough.
    let advice = "ulimit -Sn 22; ulimit -Hn 22; ulimit -s 64";
    let server = Launch::new(&["--echo"]).after(advice).start();
    server.open("/").round_trip("one client");
    let server = Launch::new(&["cat"]).after(advice).start();
    server.open("/").round_trip("and its command");
}

#[test]
fn without_descriptors_new_clients_wait_and_others_are_served() {
    let server = Launch::new(&["--echo"]).after("ulimit -n 40").start();
    let mut clients: Vec<Client> = (0..10).map(|_| server.open("/")).collect();
    // Far more than the limit allows. They occupy the remaining descriptors and send nothing.
    let waiting: Vec<Wire> = (0..60).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.round_trip("served as before");
    }
    // The listener stays readable. That must not keep the event loop busy.
    let before = cpu_time(server.pid());
    std::thread::sleep(Duration::from_secs(1));
    let used = cpu_time(server.pid()) - before;
    assert!(
        used < Duration::from_millis(300),
        "{used:?} of processor time within a second"
    );
    for client in &mut clients {
        client.round_trip("still");
    }
    drop(waiting);
    await_room(&server);
}

/// Waits until a new client is served. The server may refuse until it has noticed that others left.
#[track_caller]
fn await_room(server: &Server) {
    wait_until("there is room again", || {
        match server.try_open(&server.upgrade("/")) {
            Err(_) => false,
            Ok(mut client) => {
                client.round_trip("served");
                true
            }
        }
    });
}

#[test]
fn a_client_that_waited_for_a_descriptor_is_served() {
    let server = Launch::new(&["--echo"]).after("ulimit -n 40").start();
    let occupied: Vec<Wire> = (0..60).map(|_| server.connect()).collect();
    let mut wire = server.connect();
    wire.send(&server.get("/healthz").to_bytes());
    drop(occupied);
    // No event reports that descriptors are free again, except that clients have left.
    let response = Response::read(&mut wire, false);
    assert!(matches!(response.status, 200 | 503), "{response:?}");
}

#[test]
fn a_command_that_cannot_start_without_descriptors_is_503() {
    let server = Launch::new(&["cat"]).after("ulimit -n 40").start();
    let mut clients = Vec::new();
    let refused = loop {
        assert!(
            clients.len() < 40,
            "40 descriptors cannot serve 40 commands"
        );
        match server.try_open(&server.upgrade("/")) {
            Ok(client) => clients.push(client),
            Err(response) => break response,
        }
    };
    refused.expect_refusal("no descriptors", 503);
    let seconds = refused.header("Retry-After").expect("Retry-After");
    assert!(seconds.parse::<u32>().is_ok(), "{seconds}");
    assert!(clients.len() >= 3, "{} commands only", clients.len());
    for client in &mut clients {
        client.round_trip("as before");
    }
    let before = server.children().len();
    assert_eq!(before, clients.len(), "no half-started command");
    drop(clients);
    server.await_no_children();
    await_room(&server);
}

#[test]
fn a_log_that_is_not_read_stops_nothing() {
    let server = Launch::new(&["--echo"]).small_log_pipe().start();
    server.hold_log(true);
    for _ in 0..300 {
        server.open("/").leave();
    }
    let mut client = server.open("/");
    client.round_trip("served although the log is blocked");
    server.hold_log(false);
    // Once the log is read again, it reports the number of lost lines.
    client.leave();
    support::wait_until("the lost lines are reported", || {
        // The report comes with the next line that fits into the pipe.
        server.open("/").leave();
        server.log_text().contains("lost")
    });
}

#[test]
fn a_log_that_is_closed_stops_nothing() {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let mut child = Launch::new(&["--echo", "--log-level=debug"])
        .command()
        .stdin(Stdio::null())
        .stderr(writer)
        .spawn()
        .expect("the server's binary");
    let mut line = Vec::new();
    while !line.ends_with(b"/\n") {
        let mut byte = [0];
        reader.read_exact(&mut byte).expect("the start line");
        line.push(byte[0]);
    }
    drop(reader);
    let line = String::from_utf8(line).expect("UTF-8");
    let (_, rest) = line.rsplit_once("http://").expect("a URL");
    let address = rest.trim_end_matches("/\n").parse().expect("an address");
    for _ in 0..5 {
        let mut client = Client::open(address, "/");
        client.round_trip("served");
        client.leave();
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).expect("it runs");
    assert_eq!(child.wait().expect("waitpid").code(), Some(0));
}

#[test]
fn a_log_line_has_a_maximum_length() {
    let server = Server::start(&["--echo", "--log-level=debug", "--max-head=64k"]);
    let target = format!("/{}", "x".repeat(20_000));
    server.open(&target).leave();
    let origin = format!("http://{}.example", "y".repeat(20_000));
    let request = server.upgrade("/").add("Origin", &origin);
    assert!(server.try_open(&request).is_err());
    server.await_log(&["closed"]);
    server.await_log(&["--origin"]);
    for line in server.log_text().lines() {
        assert!(line.len() < 4096, "{} bytes", line.len());
    }
}

#[test]
fn bytes_from_a_peer_are_escaped_in_the_log() {
    let server = Server::start(&["--echo", "--log-level=debug"]);
    // Control characters that a terminal would obey.
    let origin = server
        .upgrade("/")
        .add("Origin", "http://\u{9b}31m\u{202e}.example");
    let escape = b"\x1b[31mred / HTTP/1.1\r\n\r\n".to_vec();
    for bytes in [origin.to_bytes(), escape] {
        let mut wire = server.connect();
        let peer = wire.local_address().to_string();
        wire.send(&bytes);
        wire.finish();
        wire.expect_gone();
        server.await_log(&[&peer]);
    }
    for char in server.log_text().chars() {
        assert!(
            char == '\n' || (' '..='~').contains(&char),
            "{char:?} in the log"
        );
    }
}

#[test]
fn equal_refusals_of_a_peer_are_counted_in_the_log() {
    const REQUESTS: u64 = 5000;
    let server = Server::echo();
    let begun = Instant::now();
    let mut wire = server.connect();
    let request = b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".repeat(REQUESTS as usize);
    let sender = wire.send_in_background(request);
    for _ in 0..REQUESTS {
        assert_eq!(Response::read(&mut wire, false).status, 403);
    }
    assert!(sender.join().expect("the sender"));
    // A line stands for one refusal, or for as many as it says.
    let refusals = |line: &str| match line.split_once(" more: refused peer=127.0.0.1 status=403") {
        Some((head, _)) => {
            let (_, count) = head.rsplit_once(' ').expect("a level");
            count.parse::<u64>().expect("a number")
        }
        None => u64::from(line.contains("refused peer=127.0.0.1:")),
    };
    wait_until("every refusal is accounted for", || {
        server.log_text().lines().map(refusals).sum::<u64>() == REQUESTS
    });
    let lines = server
        .log_text()
        .lines()
        .filter(|it| refusals(it) > 0)
        .count() as u64;
    let seconds = begun.elapsed().as_secs() + 1;
    assert!(lines <= 2 * seconds, "{lines} lines in {seconds} s");
}

#[test]
fn refusals_that_were_counted_are_reported_when_the_server_stops() {
    let mut server = Server::echo();
    let mut wire = server.connect();
    for _ in 0..3 {
        wire.send(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n");
        assert_eq!(Response::read(&mut wire, false).status, 403);
    }
    server.signal(Signal::SIGTERM);
    server.exit_status();
    server.await_log(&[" more: refused peer=127.0.0.1 status=403: Host"]);
}

#[test]
fn text_of_a_command_cannot_reorder_or_hide_text_in_the_log() {
    // U+202E (right-to-left override), U+200B (zero-width space) and U+00E9 (é).
    let script = r"printf 'a\342\200\256b\342\200\213c\303\251\n' >&2; exec cat";
    let server = Server::script(&["--stderr=log"], script);
    let _client = server.open("/");
    server.await_log(&["stderr", r"a\u{202e}b\u{200b}cé"]);
}

#[test]
fn an_idle_server_uses_no_processor_time() {
    let server = Server::start(&[]);
    let mut clients: Vec<Client> = (0..20).map(|_| server.open("/echo")).collect();
    clients.extend((0..5).map(|_| server.open("/ws")));
    std::thread::sleep(Duration::from_millis(300));
    let before = cpu_time(server.pid());
    std::thread::sleep(Duration::from_secs(1));
    let used = cpu_time(server.pid()) - before;
    assert!(used <= Duration::from_millis(20), "{used:?}");
}

#[test]
fn a_stalled_client_uses_no_processor_time() {
    let server = Server::start(&["yes"]);
    let mut client = server.open("/");
    client.frame();
    // The kernel may take long to fill its buffers. Then the server must become and stay idle.
    support::wait_until("the server is idle", || {
        let before = cpu_time(server.pid());
        std::thread::sleep(Duration::from_secs(1));
        cpu_time(server.pid()) - before <= Duration::from_millis(50)
    });
}

/// A server with a program whose start waits for a lease.
struct Leased {
    directory: TempDir,
    server: Server,
}

impl Leased {
    fn new() -> Leased {
        let directory = TempDir::new();
        let program = directory.path("program");
        support::write_file(&program, "#!/bin/sh\necho started; cat\n", 0o755);
        let program = directory.text("program");
        let server = Server::start(&[
            &format!("--route=/program={program}"),
            &format!("--route=/by-shell=sh -c 'exec {program}'"),
            "--route=/echo=echo:",
        ]);
        Leased { directory, server }
    }

    /// The lease. A start of the program before it breaks it.
    fn lease(&self) -> Option<std::fs::File> {
        let lease = support::lease(&self.directory.path("program"));
        if lease.is_none() {
            support::skipped("the file system of the temporary directory has no leases");
        }
        lease
    }

    /// The longest time that a client of the echo waited for an answer while `action` ran.
    fn longest_wait_during(&self, action: impl FnOnce()) -> Duration {
        let mut client = self.server.open("/echo");
        client.round_trip("served");
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let polite = scope.spawn(|| {
                let mut longest = Duration::ZERO;
                while !is_over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    client.round_trip("served");
                    longest = longest.max(began.elapsed());
                    thread::sleep(Duration::from_millis(5));
                }
                longest
            });
            action();
            is_over.store(true, Ordering::Relaxed);
            polite.join().expect("the polite client")
        })
    }
}

/// The lease is held for longer than the server waits, and shorter than the kernel allows (45 s).
#[test]
fn an_exec_that_waits_is_given_up_after_two_seconds_and_not_tried_again_soon() {
    let leased = Leased::new();
    let Some(lease) = leased.lease() else {
        return;
    };
    let refused = || {
        let request = leased.server.upgrade("/program");
        let Err(response) = leased.server.try_open(&request) else {
            panic!("the program was started");
        };
        let reason = response.expect_refusal("leased", 503);
        assert!(
            reason.contains("\"program\" could not be started"),
            "{reason}"
        );
        assert!(reason.contains("sh -c 'exec ...'"), "{reason}");
    };
    let longest = leased.longest_wait_during(refused);
    assert!(longest > Duration::from_secs(1), "{longest:?}");
    assert!(longest < Duration::from_secs(6), "{longest:?}");
    leased.server.await_no_children();
    let longest = leased.longest_wait_during(|| (0..10).for_each(|_| refused()));
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    leased.server.open("/by-shell").leave();
    drop(lease);
}

#[test]
fn a_start_waits_for_a_lease_that_is_given_up_at_once() {
    let leased = Leased::new();
    let Some(lease) = leased.lease() else {
        return;
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(200));
            drop(lease);
        });
        assert_eq!(leased.server.open("/program").text(), "started");
    });
    assert_eq!(leased.server.open("/program").text(), "started");
}

#[test]
fn a_program_that_a_local_shell_starts_makes_only_its_own_client_wait() {
    let leased = Leased::new();
    let Some(lease) = leased.lease() else {
        return;
    };
    let mut client = None;
    let longest = leased.longest_wait_during(|| {
        client = Some(leased.server.open("/by-shell"));
        thread::sleep(Duration::from_secs(3));
    });
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    drop(lease);
    assert_eq!(client.expect("a client").text(), "started");
}
