//! Back-pressure from end to end: a side that does not read stops the side that writes, the
//! server's memory stays bounded, and nothing is lost when reading resumes.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::{
    BINARY, CONTINUATION, Client, FIN, PING, PONG, Server, TEXT, header_claiming, masked,
    send_queue,
};

/// How much the queues of one connection may add to the server's memory. The high-water mark and
/// the scratch buffer take 128 KiB each way; the rest is room for the allocator.
const GROWTH_MAX: u64 = 1 << 20;

/// More bytes than all socket buffers hold.
const FLOOD_LEN: usize = 256 << 20;

#[track_caller]
fn assert_growth(server: &Server, before: u64) {
    let growth = server.rss_anon().saturating_sub(before);
    assert!(growth < GROWTH_MAX, "the memory grew by {growth} bytes");
}

/// Stops the flooding clients when the test ends, even by a panic, because the thread scope waits
/// for them.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_client_that_does_not_read_stops_its_command() {
    let server = Server::start(&["seq", "1", "100000000"]);
    let before = server.rss_anon();
    let mut client = server.open("/");
    assert_eq!(client.text(), "1");
    server.only_child().await_stalled();
    assert_growth(&server, before);
    // The command resumes.
    for number in 2..300_000 {
        assert_eq!(client.text(), number.to_string());
    }
    assert_growth(&server, before);
}

/// Without a bound the kernel queues up to 4 MB.
#[test]
fn the_kernel_queues_little_for_a_client_that_does_not_read() {
    let server = Server::start(&["yes"]);
    let client = server.open("/");
    let command = server.only_child();
    command.await_stalled();
    let queued = send_queue(server.address(), client.wire.local_address());
    assert!(queued < 768 << 10, "{queued} bytes to be sent");
    // In the two pipes, the server, and the kernel at both ends.
    let ahead = command.bytes_written();
    assert!(ahead < 3 << 19, "the command is {ahead} bytes ahead");

    let server = Server::echo();
    let mut client = server.open("/");
    let unit = masked(FIN | BINARY, &[b'x'; 60_000]);
    client.wire.flood(&unit, FLOOD_LEN);
    let queued = send_queue(server.address(), client.wire.local_address());
    assert!(queued < 768 << 10, "{queued} bytes to be sent");
}

#[test]
fn an_endless_line_takes_no_more_memory_than_a_short_one() {
    let server = Server::script(&[], "tr '\\0' x < /dev/zero");
    let before = server.rss_anon();
    let mut client = server.open("/");
    let mut len = 0;
    while len < 50 << 20 {
        let frame = client.frame();
        assert!(!frame.fin, "a final fragment of an endless line");
        assert!(
            frame.payload.len() <= 256 * 1024,
            "{} bytes",
            frame.payload.len()
        );
        len += frame.payload.len();
    }
    assert_growth(&server, before);
    std::thread::sleep(Duration::from_millis(300));
    assert_growth(&server, before);
}

#[test]
fn a_command_that_does_not_read_stops_its_client() {
    let server = Server::start(&["sleep", "1000"]);
    let before = server.rss_anon();
    let mut client = server.open("/");
    let unit = masked(FIN | TEXT, &[b'x'; 1000]);
    let (begun, _) = client.wire.flood(&unit, FLOOD_LEN);
    assert!(
        begun * unit.len() < FLOOD_LEN,
        "the server accepted everything"
    );
    assert_growth(&server, before);
}

#[test]
fn a_command_that_starts_reading_late_gets_every_message() {
    let server = Server::script(&[], "sleep 2; exec cat");
    let mut client = server.open("/");
    let line = [b'x'; 1000];
    let (begun, rest) = client.wire.flood(&masked(FIN | TEXT, &line), 64 << 20);
    let mut tail = rest;
    tail.extend(masked(FIN | TEXT, b"the end"));
    let sender = client.wire.send_in_background(tail);
    for index in 0..begun {
        assert!(
            client.text().as_bytes() == line,
            "message {index} of {begun}"
        );
    }
    assert_eq!(client.text(), "the end");
    sender.join().expect("the sender");
}

#[test]
fn a_client_that_sends_pings_and_reads_no_pongs_is_stopped() {
    let server = Server::start(&[]);
    for path in ["/echo", "/ws"] {
        let before = server.rss_anon();
        let mut client = server.open(path);
        let unit = masked(FIN | PING, &[7; 125]);
        let (begun, rest) = client.wire.flood(&unit, FLOOD_LEN);
        assert!(
            begun * unit.len() < FLOOD_LEN,
            "the server accepted everything"
        );
        assert_growth(&server, before);
        // Once the client reads, every ping has its pong.
        let sender = client.wire.send_in_background(rest);
        for index in 0..begun {
            let frame = client.frame();
            assert_eq!(frame.opcode, PONG, "pong {index} of {begun}");
            assert_eq!(frame.payload.len(), 125);
        }
        sender.join().expect("the sender");
        client.leave();
    }
}

#[test]
fn a_client_that_does_not_read_its_echoes_is_stopped() {
    let server = Server::echo();
    for len in [20, 1000, 100_000, 1 << 20] {
        let before = server.rss_anon();
        let mut client = server.open("/");
        let unit = masked(FIN | BINARY, &vec![7; len]);
        let (begun, rest) = client.wire.flood(&unit, FLOOD_LEN);
        assert!(
            begun * unit.len() < FLOOD_LEN,
            "the server accepted everything"
        );
        // The message that is being assembled takes memory too.
        let growth = server.rss_anon().saturating_sub(before);
        assert!(
            growth < GROWTH_MAX + 4 * len as u64,
            "{len}: the memory grew by {growth} bytes"
        );
        let sender = client.wire.send_in_background(rest);
        for index in 0..begun {
            assert_eq!(client.binary().len(), len, "message {index} of {begun}");
        }
        sender.join().expect("the sender");
        client.round_trip("and further");
    }
}

#[test]
fn a_long_payload_that_is_only_announced_takes_no_memory() {
    // A frame header that claims a long payload must not make the server allocate for it.
    let server = Server::start(&["--max-message=1G"]);
    let before = server.rss_anon();
    let mut clients: Vec<Client> = Vec::new();
    for path in ["/echo", "/ws"] {
        for _ in 0..10 {
            let mut client = server.open(path);
            client.wire.send(&header_claiming(FIN | BINARY, 1 << 30));
            client.wire.send(b"and a few bytes");
            clients.push(client);
        }
    }
    server
        .open("/echo")
        .round_trip("the headers are read by now, or soon");
    std::thread::sleep(Duration::from_millis(200));
    assert_growth(&server, before);
}

#[test]
fn empty_fragments_take_no_memory() {
    let server = Server::start(&[]);
    for path in ["/echo", "/ws"] {
        let before = server.rss_anon();
        let mut client = server.open(path);
        client.send(TEXT, b"");
        let fragments = masked(CONTINUATION, b"").repeat(500_000);
        assert!(client.wire.try_send(&fragments), "{path}");
        client.send(FIN | PING, b"are you there");
        while client.frame().opcode != PONG {}
        assert_growth(&server, before);
    }
}

/// Readiness is edge-triggered (epoll(7)): after reading less than all there is, no event follows.
/// The server must remember that it stopped early. Each reason to stop early occurs here many
/// times.
#[test]
fn nothing_stalls_at_any_high_water_mark() {
    for high_water in ["1k", "5000", "64k", "1M"] {
        let option = format!("--high-water={high_water}");
        let server = Server::start(&[&option, "cat"]);
        let mut client = server.open("/");
        let text = |number: usize| format!("{number:0width$}", width = 1 + number * 7 % 3000);
        let count = 4000;
        let bytes = (0..count).flat_map(|number| masked(FIN | TEXT, text(number).as_bytes()));
        let sender = client.wire.send_in_background(bytes.collect());
        for number in 0..count {
            assert_eq!(client.text(), text(number), "--high-water={high_water}");
        }
        sender.join().expect("the sender");
        client.leave();
    }
}

#[test]
fn nothing_stalls_when_both_sides_pause_now_and_then() {
    let server = Server::script(&[], "while read -r line; do echo \"$line\"; done");
    let mut client = server.open("/");
    let count = 5000;
    let line = "x".repeat(500);
    let bytes = masked(FIN | TEXT, line.as_bytes()).repeat(count);
    let sender = client.wire.send_in_background(bytes);
    for index in 0..count {
        assert_eq!(client.text().len(), 500, "line {index}");
        if index % 1000 == 0 {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    sender.join().expect("the sender");
}

#[test]
fn a_stalled_client_does_not_stall_other_clients() {
    let server = Server::start(&["yes"]);
    let stalled: Vec<Client> = (0..10).map(|_| server.open("/")).collect();
    for command in server.children() {
        command.await_stalled();
    }
    let mut client = server.open("/");
    for _ in 0..100_000 {
        assert_eq!(client.text(), "y");
    }
    drop(stalled);
}

#[test]
fn a_noisy_client_does_not_starve_the_others() {
    let server = Server::echo();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let guard = StopOnDrop(&stop);
        for _ in 0..3 {
            let mut noisy = server.open("/");
            let stop = &stop;
            scope.spawn(move || {
                let batch = masked(FIN | BINARY, &[7; 4000]).repeat(50);
                while !stop.load(Ordering::Relaxed) {
                    let sender = noisy.wire.send_in_background(batch.clone());
                    for _ in 0..50 {
                        assert_eq!(noisy.binary().len(), 4000);
                    }
                    sender.join().expect("the sender");
                }
            });
        }
        let mut quiet = server.open("/");
        let mut slowest = Duration::ZERO;
        for round in 0..100 {
            let start = Instant::now();
            quiet.round_trip(&round.to_string());
            slowest = slowest.max(start.elapsed());
        }
        drop(guard);
        assert!(
            slowest < Duration::from_secs(2),
            "a round trip took {slowest:?}"
        );
    });
}

#[test]
fn a_client_that_never_stops_sending_does_not_starve_the_others() {
    // Pongs get no reply, so only the read budget of a turn limits this client.
    let server = Server::echo();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let guard = StopOnDrop(&stop);
        let mut noisy = server.open("/");
        let flag = &stop;
        scope.spawn(move || {
            let batch = masked(FIN | PONG, &[7; 125]).repeat(2000);
            while !flag.load(Ordering::Relaxed) {
                noisy.wire.send(&batch);
            }
        });
        let mut quiet = server.open("/");
        let start = Instant::now();
        for round in 0..100 {
            quiet.round_trip(&round.to_string());
        }
        drop(guard);
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{:?}",
            start.elapsed()
        );
    });
}

#[test]
fn tests_of_pipes_pass_with_small_pipes_too() {
    support::rerun_with_small_pipes(&[
        "a_client_that_does_not_read_stops_its_command",
        "a_command_that_does_not_read_stops_its_client",
        "a_command_that_starts_reading_late_gets_every_message",
        "nothing_stalls_at_any_high_water_mark",
        "nothing_stalls_when_both_sides_pause_now_and_then",
    ]);
}
