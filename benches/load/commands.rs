//! The load on a server that runs commands: their output, their input, and clients that connect one
//! after the other.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::common::ws::{self, CLOSE, Deframer, TEXT};
use crate::histogram::Histogram;
use crate::sample::{Sample, Span};

/// The most bytes of one read.
const READ_LEN: usize = 256 * 1024;

/// Payload bytes of a message to a command.
const UPLOAD_LEN: usize = 64 * 1024;

/// Frames in one write of an upload.
const UPLOAD_BATCH: usize = 4;

/// At this path a client's command only waits.
pub(crate) const IDLE_PATH: &str = "/idle";

fn text_of(error: io::Error) -> String {
    error.to_string()
}

/// The output of a command, as messages: the numbers from 1 on, one per message, or zeros in any
/// pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Printed {
    Numbers,
    Zeros,
}

/// Reads what a command prints until the window ends or the command exits. There is no warm-up: the
/// measurement starts with the first byte of output.
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
    let (mut stream, first) = ws::connect(address, "/").map_err(text_of)?;
    let mut reader = Reader::new(printed);
    reader.take(&first)?;
    let mut buffer = vec![0; READ_LEN];
    while !reader.closed && started.elapsed() < span.window {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => reader.take(&buffer[..n])?,
            // Some servers end a connection without a Close.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(text_of(error)),
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

/// Checks the messages of a command as they arrive.
struct Reader {
    printed: Printed,
    deframer: Deframer,
    /// The beginning of an incomplete message.
    message: Vec<u8>,
    /// The number that must come next, in ASCII.
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
            return Err(format!("expected the message \"{due}\", got \"{message}\""));
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

/// Sends messages of 64 KiB to a command that discards them. Once the buffers in between are full,
/// the server accepts as much as the command reads.
pub(crate) fn upload(address: SocketAddr, server: u32, span: Span) -> Result<Sample, String> {
    let (mut stream, _) = ws::connect(address, "/").map_err(text_of)?;
    let line = b"The quick brown fox jumps over the lazy dog; pack my box with it. ";
    let payload: Vec<u8> = line.iter().copied().cycle().take(UPLOAD_LEN).collect();
    let mut frames = Vec::new();
    for _ in 0..UPLOAD_BATCH {
        ws::write_masked(TEXT, &payload, &mut frames);
    }
    let mut window = span.begin(server, 1);
    let mut messages = 0;
    loop {
        stream.write_all(&frames).map_err(text_of)?;
        messages += UPLOAD_BATCH as u64;
        let now = Instant::now();
        window.has_begun(now, messages);
        if let Some(measured) = window.is_finished(now, messages) {
            let messages = measured.amount as f64;
            let bytes = messages * UPLOAD_LEN as f64;
            return Ok(Sample::new(&measured, messages, bytes, &Histogram::new()));
        }
    }
}

/// Connects, waits for the command's `hi` and the close, and repeats, next to `idle` clients whose
/// commands wait. The rate counts connections; the latency is that of the first message.
pub(crate) fn connects(
    address: SocketAddr,
    server: u32,
    idle: usize,
    span: Span,
) -> Result<Sample, String> {
    let mut idle_clients = Vec::with_capacity(idle);
    for index in 0..idle {
        let client = idle_client(address);
        idle_clients.push(client.map_err(|error| format!("idle client {index}: {error}"))?);
    }
    let mut latencies = Histogram::new();
    let mut window = span.begin(server, 1);
    let mut connections = 0;
    loop {
        let begun = Instant::now();
        if window.has_begun(begun, connections) {
            latencies = Histogram::new();
        }
        let message_at = connect_once(address).map_err(text_of)?;
        latencies.add(message_at - begun);
        connections += 1;
        if let Some(measured) = window.is_finished(Instant::now(), connections) {
            let connections = measured.amount as f64;
            return Ok(Sample::new(
                &measured,
                connections,
                2.0 * connections,
                &latencies,
            ));
        }
    }
}

/// A client whose command waits. Its message proves that the command runs: one that still started
/// would use the server's core during the window.
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

/// One client from connect to close. Returns when its message came.
fn connect_once(address: SocketAddr) -> io::Result<Instant> {
    let (mut stream, mut bytes) = ws::connect(address, "/")?;
    let mut deframer = Deframer::default();
    let mut message = Vec::new();
    let mut message_at = None;
    let mut buffer = [0; 512];
    loop {
        let mut input = &bytes[..];
        while let Some(chunk) = deframer.next(&mut input) {
            if chunk.opcode == CLOSE && chunk.last {
                return finish(stream, message_at);
            }
            message.extend_from_slice(chunk.bytes);
            if chunk.last && message_at.is_none() {
                if message.trim_ascii_end() != b"hi" {
                    return Err(io::Error::other("the message is not \"hi\""));
                }
                message_at = Some(Instant::now());
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) => return finish(stream, message_at),
            Ok(n) => {
                bytes.clear();
                bytes.extend_from_slice(&buffer[..n]);
            }
            Err(_) if message_at.is_some() => return finish(stream, message_at),
            Err(error) => return Err(error),
        }
    }
}

/// Answers a Close, if the server still reads, and leaves.
fn finish(mut stream: TcpStream, message_at: Option<Instant>) -> io::Result<Instant> {
    let mut close = Vec::new();
    ws::write_masked(CLOSE, &1000_u16.to_be_bytes(), &mut close);
    let _ = stream.write_all(&close);
    message_at.ok_or_else(|| io::Error::other("no message"))
}
