//! Measures the memory of wspipe, and fails where it exceeds `benches/footprint.budget`: `cargo
//! bench --bench footprint`. It takes some seconds.
//!
//! Memory is what the kernel counts, page by page (`smaps_rollup`, proc_pid_smaps(5)), so it
//! includes every cost: allocator, stacks, tables. The cost of a client is the difference between
//! many clients and none (or few), divided by their number.

#[path = "../common/mod.rs"]
mod common;

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use common::core::Cores;
use common::descriptors;
use common::proc::{self, Memory};
use common::server::Server;
use common::ws;

/// Clients of the echo. Each needs a descriptor here and one in the server.
const ECHO_CLIENTS: usize = 10_000;

/// Clients with a command of their own. Each needs a process, so there are fewer.
const COMMAND_CLIENTS: usize = 1000;

/// Of these, the first are not counted: they also fill holes in the heap whose size depends on the
/// server's environment, up to 40 kB.
const COMMAND_CLIENTS_BEFORE: usize = 256;

/// How long a server's memory may take to settle.
const REST_MAX: Duration = Duration::from_secs(20);

const USAGE: &str = "\
cargo bench --bench footprint -- [PROGRAM...]

Measures the memory of each PROGRAM, a wspipe (default: the one that was just built), and fails
where it exceeds benches/footprint.budget.
";

/// A figure: its name in the budget file, and its value.
type Figure = (&'static str, u64);

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    words.retain(|word| word != "--bench");
    if words.iter().any(|word| word.starts_with('-')) {
        print!("{USAGE}");
        return ExitCode::from(2);
    }
    if words.is_empty() {
        words.push(env!("CARGO_BIN_EXE_wspipe").to_owned());
    }
    let descriptors = descriptors::raise_limit();
    if descriptors < ECHO_CLIENTS + 100 {
        eprintln!(
            "footprint: {descriptors} descriptors are too few: raise the hard limit (ulimit -Hn)"
        );
        return ExitCode::FAILURE;
    }
    let cores = Cores::choose();
    let programs = words.iter().map(Path::new);
    let over: Result<u32, String> = programs.map(|program| examine(program, cores)).sum();
    match over {
        Ok(0) => ExitCode::SUCCESS,
        Ok(over) => {
            println!(
                "\n{over} over budget: find out why, or raise the limit in a commit that gives the reason"
            );
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("footprint: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures one program. Returns how many figures exceed their budgets.
fn examine(program: &Path, cores: Cores) -> Result<u32, String> {
    let linkage = linkage(program)?;
    println!("\n{} ({linkage})", program.display());
    let mut figures = vec![("binary_bytes", file_len(program)?)];
    figures.extend(echo_clients(program, cores)?);
    figures.extend(command_clients(program, cores)?);
    let budget = Budget::read()?;
    let mut over = 0;
    for (name, value) in figures {
        let limit = budget.limit(linkage, name)?;
        let verdict = if value > limit { "OVER" } else { "ok" };
        over += u32::from(value > limit);
        println!("  {name:<26} {value:>9} of {limit:>9}  {verdict}");
    }
    Ok(over)
}

/// How a program is linked: each kind of linkage has its own budget.
fn linkage(program: &Path) -> Result<&'static str, String> {
    let bytes = fs::read(program).map_err(|error| format!("{}: {error}", program.display()))?;
    let has = |text: &[u8]| memchr::memmem::find(&bytes, text).is_some();
    Ok(match has(b"/ld-linux") || has(b"/ld-musl") {
        true => "dynamic",
        // glibc contains its name; musl does not.
        false if has(b"GNU C Library") || has(b"GLIBC_TUNABLES") => "static-glibc",
        false => "static-musl",
    })
}

fn file_len(program: &Path) -> Result<u64, String> {
    let metadata = fs::metadata(program).map_err(|error| error.to_string())?;
    Ok(metadata.len())
}

/// An echo server: just started, with many idle clients that have echoed a message, and after they
/// left.
fn echo_clients(program: &Path, cores: Cores) -> Result<Vec<Figure>, String> {
    let server = start(program, cores, &["--echo"])?;
    let idle = at_rest(&server)?;
    let descriptors = proc::descriptors(server.pid());
    let clients = connect(&server, ECHO_CLIENTS)?;
    let full = at_rest(&server)?;
    drop(clients);
    // A busy machine may not run the server for a while, which would look like rest.
    let deadline = Instant::now() + REST_MAX;
    while proc::descriptors(server.pid()) != descriptors && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    let after = at_rest(&server)?;
    Ok(vec![
        ("idle_anonymous_bytes", idle.anonymous),
        ("idle_resident_bytes", idle.resident),
        ("echo_client_bytes", per_client(idle, full, ECHO_CLIENTS)),
        // In percent of the memory before they connected.
        (
            "after_clients_percent",
            after.anonymous * 100 / idle.anonymous.max(1),
        ),
    ])
}

fn command_clients(program: &Path, cores: Cores) -> Result<Vec<Figure>, String> {
    let server = start(program, cores, &["--", "cat"])?;
    let before = connect(&server, COMMAND_CLIENTS_BEFORE)?;
    let some = at_rest(&server)?;
    let count = COMMAND_CLIENTS - COMMAND_CLIENTS_BEFORE;
    let clients = connect(&server, count)?;
    let full = at_rest(&server)?;
    drop((before, clients));
    let per_client = per_client(some, full, count);
    Ok(vec![("command_client_bytes", per_client)])
}

fn start(program: &Path, cores: Cores, words: &[&str]) -> Result<Server, String> {
    Server::start(cores, |port| {
        let mut command = Command::new(program);
        command.arg(format!("--port={port}"));
        command.arg("--log-level=error").args(words);
        command
    })
}

/// Connects clients. Each sends a message and receives its echo.
fn connect(server: &Server, count: usize) -> Result<Vec<TcpStream>, String> {
    let mut frame = Vec::new();
    ws::write_masked(ws::TEXT, b"hello", &mut frame);
    let mut reply = Vec::new();
    ws::write_plain(ws::TEXT, b"hello", &mut reply);
    (0..count)
        .map(|index| {
            greet(server, &frame, &reply).map_err(|error| format!("client {index}: {error}"))
        })
        .collect()
}

fn greet(server: &Server, frame: &[u8], reply: &[u8]) -> std::io::Result<TcpStream> {
    use std::io::{Read, Write};
    let (mut stream, _) = ws::connect(server.address(), "/")?;
    stream.write_all(frame)?;
    let mut bytes = vec![0; reply.len()];
    stream.read_exact(&mut bytes)?;
    match bytes == reply {
        true => Ok(stream),
        false => Err(std::io::Error::other("the reply differs from the message")),
    }
}

fn per_client(before: Memory, after: Memory, count: usize) -> u64 {
    after.anonymous.saturating_sub(before.anonymous) / count as u64
}

/// The memory of a server that has settled: two samples, a while apart, with the same memory and no
/// processor time in between.
fn at_rest(server: &Server) -> Result<Memory, String> {
    let deadline = Instant::now() + REST_MAX;
    let look = || {
        let memory =
            proc::memory(server.pid()).ok_or("smaps_rollup is missing (needs Linux 4.14)")?;
        Ok::<_, String>((memory, proc::cpu_time(server.pid())))
    };
    let mut last = look()?;
    loop {
        thread::sleep(Duration::from_millis(100));
        let now = look()?;
        let still = now.0.anonymous == last.0.anonymous && now.1 == last.1;
        if still || Instant::now() > deadline {
            return Ok(now.0);
        }
        last = now;
    }
}

/// The budget file: lines of `LINKAGE NAME LIMIT`; `#` begins a comment.
struct Budget {
    path: PathBuf,
    text: String,
}

impl Budget {
    fn read() -> Result<Budget, String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/footprint.budget");
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Budget { path, text })
    }

    fn limit(&self, linkage: &str, name: &str) -> Result<u64, String> {
        let lines = self.text.lines().filter_map(|line| line.split('#').next());
        let mut fields = lines.map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
        let line = fields.find(|fields| fields.starts_with(&[linkage, name]));
        let limit = line.and_then(|fields| fields.get(2)?.replace('_', "").parse().ok());
        let missing = || {
            format!(
                "{}: no line \"{linkage} {name} LIMIT\"",
                self.path.display()
            )
        };
        limit.ok_or_else(missing)
    }
}
