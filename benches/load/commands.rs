//! The load on a server that runs commands: what a command prints, what it is sent, and how fast
//! one client comes after the other.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::common::ws::{self, CLOSE, Deframer, TEXT};
use crate::histogram::Histogram;
use crate::sample::{Sample, Span};

/// How much one read takes at most.
const READ_LEN: usize = 256 * 1024;

/// Payload bytes of a message to a command.
const UPLOAD_LEN: usize = 64 * 1024;

/// How many frames one write of an upload holds.
const UPLOAD_BATCH: usize = 4;

/// Where a client's command does nothing but wait.
pub(crate) const IDLE_PATH: &str = "/idle";

fn told(error: io::Error) -> String {
    error.to_string()
}

/// What a command prints, as messages: numbers from 1 on, one a message, or zeros in any pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Printed {
    Numbers,
    Zeros,
}

/// Reads what a command prints until the window or the command ends. It has no warm-up: the first
/// byte of the output is the first of the measurement.
pub(crate) fn download(
    address: SocketAddr,
    server: u32,
    printed: Printed,
    span: Span,
) -> Result<Sample, String> {
    let mut window = Span {
        warm_up: Duration::ZERO,
        ..span
    }
    .begin(server, 1);
    let started = Instant::now();
    window.has_begun(started, 0);
    let (mut stream, first) = ws::connect(address, "/").map_err(told)?;
    let mut reader = Reader::new(printed);
    reader.take(&first)?;
    let mut buffer = vec![0; READ_LEN];
    while !reader.closed && started.elapsed() < span.window {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => reader.take(&buffer[..n])?,
            // A server that ends a connection without a word, as some do.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(told(error)),
        }
    }
    let measured = window
        .close(Instant::now(), reader.messages)
        .ok_or("no window")?;
    if reader.messages == 0 {
        return Err("the command printed nothing".into());
    }
    let (messages, bytes) = (reader.messages as f64, reader.bytes as f64);
    Ok(Sample::new(&measured, messages, bytes, &Histogram::new()))
}

/// Checks the messages of a command as they come.
struct Reader {
    printed: Printed,
    deframer: Deframer,
    /// The message under way.
    message: Vec<u8>,
    /// The number that is due, in ASCII.
    due: Vec<u8>,
    messages: u64,
    bytes: u64,
    closed: bool,
}

impl Reader {
    fn new(printed: Printed) -> Reader {
        Reader {
            printed,
            deframer: Deframer::default(),
            message: Vec::new(),
            due: b"1".to_vec(),
            messages: 0,
            bytes: 0,
            closed: false,
        }
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while let Some(chunk) = self.deframer.next(&mut bytes) {
            if chunk.opcode >= CLOSE {
                self.closed |= chunk.opcode == CLOSE;
                continue;
            }
            self.bytes += chunk.bytes.len() as u64;
            self.messages += u64::from(chunk.last);
            match self.printed {
                Printed::Zeros if is_zero(chunk.bytes) => {}
                Printed::Zeros => return Err("a byte that is not zero".into()),
                Printed::Numbers if chunk.last && self.message.is_empty() => {
                    self.expect(chunk.bytes)?;
                }
                Printed::Numbers => {
                    self.message.extend_from_slice(chunk.bytes);
                    if chunk.last {
                        let message = std::mem::take(&mut self.message);
                        self.expect(&message)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn expect(&mut self, message: &[u8]) -> Result<(), String> {
        // One of the peers leaves the newline in its messages.
        if message.trim_ascii_end() != self.due {
            let (message, due) = (message.escape_ascii(), self.due.escape_ascii());
            return Err(format!("a message \"{message}\" in place of \"{due}\""));
        }
        for digit in self.due.iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                return Ok(());
            }
            *digit = b'0';
        }
        self.due.insert(0, b'1');
        Ok(())
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: [u8; READ_LEN] = [0; READ_LEN];
    bytes == &ZEROS[..bytes.len()]
}

/// Sends messages of 64 KiB to a command that drops them. Once the buffers on the way are full,
/// what the server takes is what the command takes.
pub(crate) fn upload(address: SocketAddr, server: u32, span: Span) -> Result<Sample, String> {
    let (mut stream, _) = ws::connect(address, "/").map_err(told)?;
    let line = b"The quick brown fox jumps over the lazy dog; pack my box with it. ";
    let payload: Vec<u8> = line.iter().copied().cycle().take(UPLOAD_LEN).collect();
    let mut frames = Vec::new();
    for _ in 0..UPLOAD_BATCH {
        ws::write_masked(TEXT, &payload, &mut frames);
    }
    let mut window = span.begin(server, 1);
    let mut messages = 0;
    loop {
        stream.write_all(&frames).map_err(told)?;
        messages += UPLOAD_BATCH as u64;
        let now = Instant::now();
        window.has_begun(now, messages);
        if let Some(measured) = window.is_over(now, messages) {
            let messages = measured.amount as f64;
            let bytes = messages * UPLOAD_LEN as f64;
            return Ok(Sample::new(&measured, messages, bytes, &Histogram::new()));
        }
    }
}

/// Connects, awaits the `hi` of the command and the end, and does so again; beside `idle` clients
/// whose commands wait. Counted are connections; the latency is that of the first message.
pub(crate) fn visits(
    address: SocketAddr,
    server: u32,
    idle: usize,
    span: Span,
) -> Result<Sample, String> {
    let mut crowd = Vec::with_capacity(idle);
    for index in 0..idle {
        let client = idle_client(address);
        crowd.push(client.map_err(|error| format!("idle client {index}: {error}"))?);
    }
    let mut latencies = Histogram::new();
    let mut window = span.begin(server, 1);
    let mut visits = 0;
    loop {
        let begun = Instant::now();
        if window.has_begun(begun, visits) {
            latencies = Histogram::new();
        }
        let heard = visit(address).map_err(told)?;
        latencies.add(heard - begun);
        visits += 1;
        if let Some(measured) = window.is_over(Instant::now(), visits) {
            let visits = measured.amount as f64;
            return Ok(Sample::new(&measured, visits, 2.0 * visits, &latencies));
        }
    }
}

/// A client whose command waits, which its answer shows: one that is still starting would do so in
/// the window, on the core of the server.
fn idle_client(address: SocketAddr) -> io::Result<TcpStream> {
    let (mut stream, _) = ws::connect(address, IDLE_PATH)?;
    let mut message = Vec::new();
    ws::write_masked(TEXT, b"?", &mut message);
    stream.write_all(&message)?;
    match stream.read(&mut [0; 16])? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(stream),
    }
}

/// One visit, to its end. Says when the message had come.
fn visit(address: SocketAddr) -> io::Result<Instant> {
    let (mut stream, mut bytes) = ws::connect(address, "/")?;
    let mut deframer = Deframer::default();
    let mut message = Vec::new();
    let mut heard = None;
    let mut buffer = [0; 512];
    loop {
        let mut input = &bytes[..];
        while let Some(chunk) = deframer.next(&mut input) {
            if chunk.opcode == CLOSE && chunk.last {
                return finish(stream, heard);
            }
            message.extend_from_slice(chunk.bytes);
            if chunk.last && heard.is_none() {
                if message.trim_ascii_end() != b"hi" {
                    return Err(io::Error::other("another message than \"hi\""));
                }
                heard = Some(Instant::now());
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) => return finish(stream, heard),
            Ok(n) => {
                bytes.clear();
                bytes.extend_from_slice(&buffer[..n]);
            }
            Err(_) if heard.is_some() => return finish(stream, heard),
            Err(error) => return Err(error),
        }
    }
}

/// Answers a close frame, if the server still listens, and leaves.
fn finish(mut stream: TcpStream, heard: Option<Instant>) -> io::Result<Instant> {
    let mut close = Vec::new();
    ws::write_masked(CLOSE, &1000_u16.to_be_bytes(), &mut close);
    let _ = stream.write_all(&close);
    heard.ok_or_else(|| io::Error::other("no message"))
}
