//! Latency under attack: how long a polite client waits for its echo while a hundred connections
//! give the server as much work as they can, `cargo bench --bench attack`. It fails where a figure
//! exceeds `benches/attack.budget`. It takes about half a minute.
//!
//! The server has one core to itself; the attackers and the polite client share the other. The
//! polite client sends a message, waits for its echo, and pauses for a millisecond.

#[path = "../common/mod.rs"]
mod common;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::core::Cores;
use common::server::Server;
use common::ws::{self, Deframer};

/// Connections that attack at once.
const ATTACKERS: usize = 100;

/// How long each attack is measured, after a start of a fifth of it.
const WINDOW: Duration = Duration::from_secs(3);

const BUDGET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/attack.budget");

const USAGE: &str = "\
cargo bench --bench attack -- [PROGRAM]

Measures the latency of a polite client while others attack PROGRAM, a wspipe (default: the one
that was just built), and fails where it exceeds benches/attack.budget.
";

/// One kind of attack.
struct Attack {
    name: &'static str,
    /// Whether the attackers open a WebSocket, and at which path.
    opens: bool,
    path: &'static str,
    /// What each attacker sends over and over, if anything.
    unit: fn() -> Vec<u8>,
}

const ATTACKS: [Attack; 6] = [
    Attack {
        name: "none",
        opens: false,
        path: "/echo",
        unit: Vec::new,
    },
    Attack {
        name: "one-byte-messages",
        opens: true,
        path: "/echo",
        unit: || frame(ws::BINARY, b"x"),
    },
    Attack {
        name: "empty-pings",
        opens: true,
        path: "/echo",
        unit: || frame(PING, b""),
    },
    Attack {
        name: "pipelined-requests",
        opens: false,
        path: "/echo",
        unit: request,
    },
    Attack {
        name: "stderr-to-the-log",
        opens: true,
        path: "/complain",
        unit: Vec::new,
    },
    Attack {
        name: "lines-of-one-byte",
        opens: true,
        path: "/yes",
        unit: Vec::new,
    },
];

const PING: u8 = 9;

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    words.retain(|word| word != "--bench");
    if words.len() > 1 || words.iter().any(|word| word.starts_with('-')) {
        print!("{USAGE}");
        return ExitCode::from(2);
    }
    let program = words.pop();
    let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_wspipe").to_owned());
    let budget = fs::read_to_string(BUDGET).expect("benches/attack.budget");
    let cores = Cores::choose();
    cores.pin_load();
    println!(
        "{:<20} {:>9} {:>9} {:>9} {:>7}",
        "attack", "p50 ms", "p99 ms", "max ms", "ratio"
    );
    let mut calm = None;
    let mut is_over = false;
    for attack in &ATTACKS {
        let latencies = match measure(cores, &program, attack) {
            Ok(latencies) => latencies,
            Err(error) => {
                println!("{:<20} failed: {error}", attack.name);
                return ExitCode::FAILURE;
            }
        };
        if latencies.is_empty() {
            println!("{:<20} no echo came in time  OVER BUDGET", attack.name);
            is_over = true;
            continue;
        }
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
        let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
        let ratio = p50 / *calm.get_or_insert(p50);
        print!(
            "{:<20} {p50:>9.3} {p99:>9.3} {max:>9.3} {ratio:>7.1}",
            attack.name
        );
        let limits = limits_of(&budget, attack.name);
        let exceeds = limits.is_some_and(|(p99_max, max_max)| p99 > p99_max || max > max_max);
        println!("{}", if exceeds { "  OVER BUDGET" } else { "" });
        is_over |= exceeds;
    }
    match is_over {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

/// The budget of an attack: the largest p99 and the largest maximum, in milliseconds.
fn limits_of(budget: &str, name: &str) -> Option<(f64, f64)> {
    let mut lines = budget.lines().map(str::split_ascii_whitespace);
    let mut words = lines.find_map(|mut words| (words.next() == Some(name)).then_some(words))?;
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// The latencies of the polite client in milliseconds, sorted.
fn measure(cores: Cores, program: &str, attack: &Attack) -> Result<Vec<f64>, String> {
    let server = Server::start(cores, |port| {
        let mut command = Command::new(program);
        command.arg(format!("--port={port}"));
        command.args(["--stderr=log", "--route=/echo=echo:"]);
        command.args(["--route=/yes=yes", "--route=/complain=sh -c 'exec yes >&2'"]);
        command
    })?;
    let stop = Arc::new(AtomicBool::new(false));
    let attackers = match attack.name {
        "none" => 0,
        // Each has a command of its own, which needs the processor as much as the server does.
        _ if attack.path != "/echo" => 10,
        _ => ATTACKERS,
    };
    let (address, unit) = (server.address(), (attack.unit)());
    let (opens, path, is_stopped) = (attack.opens, attack.path, Arc::clone(&stop));
    // One thread for all of them, so that the polite client need not wait for the processor.
    let thread =
        thread::spawn(move || attackers_run(address, attackers, opens, path, &unit, &is_stopped));
    let result = polite_client(server.address(), WINDOW);
    stop.store(true, Ordering::Relaxed);
    let attacked = thread.join().map_err(|_| "the attackers panicked")?;
    attacked.map_err(|error| format!("the attackers: {error}"))?;
    result.map_err(|error| format!("the polite client: {error}"))
}

/// Sends `unit` over and over on each connection, and reads whatever comes back.
fn attackers_run(
    address: SocketAddr,
    count: usize,
    opens: bool,
    path: &str,
    unit: &[u8],
    stop: &AtomicBool,
) -> io::Result<()> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let stream = match opens {
            true => ws::connect(address, path)?.0,
            false => TcpStream::connect(address)?,
        };
        stream.set_nonblocking(true)?;
        streams.push((stream, 0));
    }
    let burst = unit.repeat(64 * 1024 / unit.len().max(1));
    let mut scratch = vec![0; 256 * 1024];
    let is_blocked = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
    while !stop.load(Ordering::Relaxed) {
        let mut is_idle = true;
        for (stream, sent) in &mut streams {
            if !burst.is_empty() {
                match stream.write(&burst[*sent..]) {
                    Ok(n) => {
                        *sent = (*sent + n) % burst.len();
                        is_idle = false;
                    }
                    Err(error) if is_blocked(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            match stream.read(&mut scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => is_idle = false,
                Err(error) if is_blocked(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if is_idle {
            thread::sleep(Duration::from_micros(200));
        }
    }
    Ok(())
}

/// Echoes one message at a time and measures each.
fn polite_client(address: SocketAddr, window: Duration) -> io::Result<Vec<f64>> {
    let (mut stream, _) = ws::connect(address, "/echo")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ws::STEP_MAX))?;
    let message = frame(ws::BINARY, b"a polite message");
    let began = Instant::now();
    let (mut latencies, mut deframer, mut scratch) =
        (Vec::new(), Deframer::default(), vec![0; 4096]);
    while began.elapsed() < window + window / 5 {
        let sent_at = Instant::now();
        stream.write_all(&message)?;
        let mut has_come = false;
        while !has_come {
            let n = stream.read(&mut scratch)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut input = &scratch[..n];
            while let Some(chunk) = deframer.next(&mut input) {
                has_come |= chunk.last;
            }
        }
        if sent_at.duration_since(began) > window / 5 {
            latencies.push(sent_at.elapsed().as_secs_f64() * 1000.0);
        }
        thread::sleep(Duration::from_millis(1));
    }
    latencies.sort_by(f64::total_cmp);
    Ok(latencies)
}

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    ws::write_masked(opcode, payload, &mut bytes);
    bytes
}

/// A request with as many header fields as are allowed.
fn request() -> Vec<u8> {
    let fields: String = (0..62).map(|n| format!("X-{n}: {n}\r\n")).collect();
    format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n").into_bytes()
}
