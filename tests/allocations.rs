//! Shows that the echo allocates no memory per message. The server runs in a thread of this
//! process, and a counting allocator counts that thread's allocations.

use std::alloc::{GlobalAlloc, Layout, System as SystemAllocator};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use wspipe::config::{Config, Listen, Mode};
use wspipe::log::Level;
use wspipe::startup;

const MESSAGES: usize = 100_000;

/// How long a test waits for the server.
const TIMEOUT: Duration = Duration::from_secs(60);

// -- The counting allocator -----------------------------------------------------------------------

/// The system's allocator, with a count of one thread's allocations.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of the server's thread, reallocations included.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this thread is the server's. Initialised by a constant and without a destructor, so
    /// that reading it does not allocate.
    static IS_SERVER: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if IS_SERVER.get() {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
    }
}

// SAFETY: every call is forwarded unchanged to the system's allocator, and counting neither
// allocates nor panics.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller upholds the contract of `GlobalAlloc::alloc`.
        unsafe { SystemAllocator.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller upholds the contract of `GlobalAlloc::alloc_zeroed`.
        unsafe { SystemAllocator.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        count();
        // SAFETY: the caller upholds the contract of `GlobalAlloc::realloc`.
        unsafe { SystemAllocator.realloc(block, layout, len) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the contract of `GlobalAlloc::dealloc`.
        unsafe { SystemAllocator.dealloc(block, layout) }
    }
}

// -- The server -----------------------------------------------------------------------------------

/// Starts an echo server in a thread that runs until the process exits. Returns the address that
/// its start line names.
fn start_server() -> SocketAddr {
    let config = Config {
        mode: Mode::Echo,
        log_level: Level::Error,
        listen: Listen {
            port: 0,
            ..Listen::default()
        },
        ..Config::default()
    };
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        IS_SERVER.set(true);
        let served = startup::serve(config, |line| {
            let _ = sender.send(line.to_owned());
        });
        served.expect("a server that starts");
    });
    loop {
        let line = lines.recv_timeout(TIMEOUT).expect("a server that starts");
        if let Some(url) = line.strip_prefix("listening on http://") {
            return url.trim_end_matches('/').parse().expect("an address");
        }
    }
}

// -- The client -----------------------------------------------------------------------------------

fn connect(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a server that listens");
    stream.set_read_timeout(Some(TIMEOUT)).expect("SO_RCVTIMEO");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("a request");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    stream
}

/// Sends the same bytes repeatedly, each time after the echo of the last. Returns how often the
/// server allocated after the first echo.
fn allocations(stream: &mut TcpStream, write: &[u8], echo: &[u8], times: usize) -> u64 {
    let mut reply = vec![0; echo.len()];
    let mut after_first = 0;
    for round in 0..=times {
        stream.write_all(write).expect("a server that reads");
        stream.read_exact(&mut reply).expect("an echo");
        assert!(reply == echo, "round {round}: a wrong echo");
        if round == 0 {
            after_first = ALLOCATIONS.load(Ordering::SeqCst);
        }
    }
    ALLOCATIONS.load(Ordering::SeqCst) - after_first
}

/// A masked text message of `len` bytes, and its echo. The masking key is zero.
fn message(len: u8) -> (Vec<u8>, Vec<u8>) {
    let payload = "é".repeat(usize::from(len) / 2);
    let mut write = vec![0x81, 0x80 | len, 0, 0, 0, 0];
    let mut echo = vec![0x81, len];
    write.extend(payload.as_bytes());
    echo.extend(payload.as_bytes());
    (write, echo)
}

/// One test for all cases, because two concurrent servers would share the count.
#[test]
fn echoes_after_the_first_allocate_nothing() {
    let mut stream = connect(start_server());
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    assert!(before > 0, "the handshake was not counted");

    let (write, echo) = message(20);
    let count = allocations(&mut stream, &write, &echo, MESSAGES);
    assert_eq!(count, 0, "one message at a time");

    let (write, echo) = (write.repeat(100), echo.repeat(100));
    let count = allocations(&mut stream, &write, &echo, MESSAGES / 100);
    assert_eq!(count, 0, "a hundred in one write");

    // Two fragments of a message with a ping between them.
    let ping = [0x89, 0x81, 0, 0, 0, 0, b'?'];
    let (first, last) = ([0x02, 0x82, 0, 0, 0, 0, b'h'], [0x80, 0x81, 0, 0, 0, 0]);
    let write = [&first[..], b"e", &ping, &last, b"y"].concat();
    let echo = [&[0x8a, 1, b'?', 0x82, 3][..], b"hey"].concat();
    let count = allocations(&mut stream, &write, &echo, MESSAGES / 10);
    assert_eq!(count, 0, "messages in fragments");
}
