//! The load on an echo server: many connections, each with a number of messages in flight.
//!
//! Each connection sends a short series of messages repeatedly, so the same series must come back.
//! Both series exist once, as bytes on the wire; a connection is two positions in them. Checking a
//! reply with its header is one memory comparison, so that the load costs less than what it
//! measures.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::common::ws::{self, BINARY, CONTINUATION, Deframer, STEP_MAX, TEXT};
use crate::histogram::Histogram;
use crate::sample::{Sample, Span};

/// The payload of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    Binary,
    /// Text of one-byte characters.
    Ascii,
    /// Text of characters of two to four bytes.
    Mixed,
}

/// How much is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) payload: Payload,
    /// Bytes in one message.
    pub(crate) len: usize,
    pub(crate) clients: usize,
    /// Messages in flight on each connection.
    pub(crate) in_flight: usize,
}

/// The series is at least this long, so that small messages differ from each other.
const SERIES_LEN_MIN: usize = 4096;

/// From this length on a message may be echoed in fragments (RFC 6455, section 5.4).
const FRAGMENTED_LEN_MIN: usize = 32 * 1024;

/// The most bytes of one read.
const READ_LEN: usize = 256 * 1024;

/// The most bytes that one connection reads before the others have their turn.
const READ_BUDGET: usize = 1024 * 1024;

/// Runs the load for the time of `span` and measures its window. `server` is the process whose
/// processor time is counted.
pub(crate) fn run(
    address: SocketAddr,
    server: u32,
    load: &Load,
    span: Span,
) -> Result<Sample, String> {
    let series = Series::new(load);
    let mut generator = Generator::connect(address, load, &series)?;
    generator.run(server, span)
}

/// The bytes that each connection sends and receives.
struct Series {
    /// Masked frames, all of the same length.
    sent: Vec<u8>,
    /// Their echoes, all of the same length.
    echoed: Vec<u8>,
    /// Bytes of one masked frame.
    frame_len: usize,
    /// Bytes of one echo.
    echo_len: usize,
    /// Payload bytes in each.
    payload_len: usize,
    opcode: u8,
}

impl Series {
    fn new(load: &Load) -> Series {
        // At least two, so that a message cannot be taken for the one before.
        let count = (SERIES_LEN_MIN / load.len.max(1)).clamp(2, 1024);
        let count = count.max(load.in_flight);
        let (mut sent, mut echoed) = (Vec::new(), Vec::new());
        let opcode = match load.payload {
            Payload::Binary => BINARY,
            Payload::Ascii | Payload::Mixed => TEXT,
        };
        for seed in 0..count {
            let payload = payload(load.payload, load.len, seed);
            ws::write_masked(opcode, &payload, &mut sent);
            ws::write_plain(opcode, &payload, &mut echoed);
        }
        Series {
            frame_len: sent.len() / count,
            echo_len: echoed.len() / count,
            payload_len: load.len,
            opcode,
            sent,
            echoed,
        }
    }
}

/// A message of `len` bytes, a different one for each seed.
fn payload(kind: Payload, len: usize, seed: usize) -> Vec<u8> {
    // Marsaglia's xorshift, good enough to make bytes differ.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ ((seed as u64 + 1) << 32);
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let random = random();
        match kind {
            Payload::Binary => bytes.push(random as u8),
            Payload::Ascii => bytes.push(b' ' + (random % 95) as u8),
            Payload::Mixed => {
                let choices = [
                    'é', 'Ж', 'ß', 'λ', '€', '語', '한', 'अ', '😀', '𝄞', '🦀', '𐍈',
                ];
                let choice = choices[(random >> 32) as usize % choices.len()];
                let room = len - bytes.len();
                let fits = if choice.len_utf8() <= room {
                    choice
                } else {
                    '.'
                };
                bytes.extend_from_slice(fits.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
    bytes
}

/// One connection: two positions in the series, counted from its start without wrapping.
struct Connection {
    stream: TcpStream,
    sent: u64,
    received: u64,
    /// Extracts long messages from their frames.
    deframer: Option<Deframer>,
}

impl Connection {
    /// Whether these bytes are what must come next.
    fn check(&mut self, series: &Series, bytes: &[u8]) -> bool {
        match self.deframer.take() {
            None => self.check_wire(series, bytes),
            Some(mut deframer) => {
                let right = self.check_frames(series, &mut deframer, bytes);
                self.deframer = Some(deframer);
                right
            }
        }
    }

    /// The same bytes, including headers.
    fn check_wire(&mut self, series: &Series, mut bytes: &[u8]) -> bool {
        let mut at = (self.received % series.echoed.len() as u64) as usize;
        self.received += bytes.len() as u64;
        while !bytes.is_empty() {
            let len = bytes.len().min(series.echoed.len() - at);
            if bytes[..len] != series.echoed[at..at + len] {
                return false;
            }
            (bytes, at) = (&bytes[len..], 0);
        }
        true
    }

    /// The same messages, in any number of frames. Counts payload, and at the end of a message the
    /// header that it would have in a single frame.
    fn check_frames(&mut self, series: &Series, deframer: &mut Deframer, mut bytes: &[u8]) -> bool {
        let header_len = series.echo_len - series.payload_len;
        while let Some(chunk) = deframer.next(&mut bytes) {
            if ![series.opcode, CONTINUATION].contains(&chunk.opcode) {
                return false;
            }
            let at = (self.received % series.echoed.len() as u64) as usize;
            let left = series.payload_len - at % series.echo_len;
            let at = at + header_len;
            let len = chunk.bytes.len();
            if len > left || chunk.bytes != &series.echoed[at..at + len] {
                return false;
            }
            self.received += len as u64;
            if chunk.last {
                if len < left {
                    return false;
                }
                self.received += header_len as u64;
            }
        }
        true
    }
}

struct Generator<'a> {
    load: &'a Load,
    series: &'a Series,
    poll: Poll,
    connections: Vec<Connection>,
    /// When each message in flight was sent: `in_flight` slots for each connection, used in
    /// rotation.
    sent_at: Vec<Instant>,
    buffer: Vec<u8>,
    /// Bytes of echoes, on all connections.
    received: u64,
    latencies: Histogram,
}

impl<'a> Generator<'a> {
    fn connect(address: SocketAddr, load: &'a Load, series: &'a Series) -> Result<Self, String> {
        let poll = Poll::new().map_err(|error| format!("epoll: {error}"))?;
        let mut connections = Vec::with_capacity(load.clients);
        for index in 0..load.clients {
            let stream = connect(address, &poll, Token(index))
                .map_err(|error| format!("client {index}: {error}"))?;
            connections.push(Connection {
                stream,
                sent: 0,
                received: 0,
                deframer: (load.len >= FRAGMENTED_LEN_MIN).then(Deframer::default),
            });
        }
        Ok(Generator {
            load,
            series,
            poll,
            connections,
            sent_at: vec![Instant::now(); load.clients * load.in_flight],
            buffer: vec![0; READ_LEN],
            received: 0,
            latencies: Histogram::new(),
        })
    }

    fn run(&mut self, server: u32, span: Span) -> Result<Sample, String> {
        for index in 0..self.connections.len() {
            self.send(index)?;
        }
        let mut events = Events::with_capacity(1024);
        // Connections that stopped before `WouldBlock`: no edge will report them again.
        let mut unread: Vec<usize> = Vec::new();
        let one_each = self.load.clients * self.series.echo_len;
        let mut window = span.begin(server, one_each as u64);
        let mut received_at = Instant::now();
        loop {
            let wait = match unread.is_empty() {
                true => Duration::from_millis(20),
                false => Duration::ZERO,
            };
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    return Err(format!("epoll: {error}"));
                }
                _ => {}
            }
            let before = self.received;
            for index in std::mem::take(&mut unread) {
                self.turn(index, &mut unread)?;
            }
            for event in &events {
                self.turn(event.token().0, &mut unread)?;
            }
            let now = Instant::now();
            if self.received > before {
                received_at = now;
            } else if now - received_at > STEP_MAX {
                return Err(format!("no reply within {STEP_MAX:?}"));
            }
            if window.has_begun(now, self.received) {
                self.latencies = Histogram::new();
            }
            if let Some(measured) = window.is_finished(now, self.received) {
                let messages = measured.amount as f64 / self.series.echo_len as f64;
                let bytes = messages * self.load.len as f64;
                return Ok(Sample::new(&measured, messages, bytes, &self.latencies));
            }
        }
    }

    /// Reads from a connection, and sends one message for each that came back.
    fn turn(&mut self, index: usize, unread: &mut Vec<usize>) -> Result<(), String> {
        let mut budget = READ_BUDGET;
        loop {
            let n = match self.connections[index].stream.read(&mut self.buffer) {
                Ok(0) => return Err(format!("client {index}: the server closed")),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(format!("client {index}: {error}")),
            };
            self.receive(index, n)?;
            if n < self.buffer.len() {
                break;
            }
            budget = budget.saturating_sub(n);
            if budget == 0 {
                unread.push(index);
                break;
            }
        }
        self.send(index)
    }

    /// Checks `n` bytes of echoes.
    fn receive(&mut self, index: usize, n: usize) -> Result<(), String> {
        let (series, load) = (self.series, self.load);
        let connection = &mut self.connections[index];
        let before = connection.received;
        match connection.check(series, &self.buffer[..n]) {
            true => self.received += connection.received - before,
            false => return Err(format!("client {index}: a wrong reply")),
        }
        let echo_len = series.echo_len as u64;
        let (first, end) = (before / echo_len, connection.received / echo_len);
        if end > first {
            let now = Instant::now();
            for message in first..end {
                let slot = index * load.in_flight + (message % load.in_flight as u64) as usize;
                self.latencies.add(now - self.sent_at[slot]);
            }
        }
        Ok(())
    }

    /// Sends until the right number of messages is in flight or the socket is full.
    fn send(&mut self, index: usize) -> Result<(), String> {
        let (series, load) = (self.series, self.load);
        let connection = &mut self.connections[index];
        let frame_len = series.frame_len as u64;
        let back = connection.received / series.echo_len as u64;
        let allowed = (back + load.in_flight as u64) * frame_len;
        let mut now = None;
        while connection.sent < allowed {
            let at = (connection.sent % series.sent.len() as u64) as usize;
            let len = (allowed - connection.sent).min((series.sent.len() - at) as u64) as usize;
            let now = *now.get_or_insert_with(Instant::now);
            // Messages whose first byte leaves with this write.
            for message in connection.sent.div_ceil(frame_len)..allowed / frame_len {
                let slot = index * load.in_flight + (message % load.in_flight as u64) as usize;
                self.sent_at[slot] = now;
            }
            match connection.stream.write(&series.sent[at..at + len]) {
                Ok(n) => {
                    connection.sent += n as u64;
                    if n < len {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(format!("client {index}: {error}")),
            }
        }
        Ok(())
    }
}

fn connect(address: SocketAddr, poll: &Poll, token: Token) -> std::io::Result<TcpStream> {
    let (stream, _) = ws::connect(address, "/")?;
    stream.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(stream);
    let both = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(&mut stream, token, both)?;
    Ok(stream)
}
