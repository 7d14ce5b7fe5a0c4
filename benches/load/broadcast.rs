//! The load on a command that all clients share: every client must receive all of its output.
//!
//! The command prints a burst of lines when it is asked. The next burst is requested when every
//! client has all of an earlier one, so that no client falls behind and is dropped. So each client
//! must receive every line, in order.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::common::ws::{self, STEP_MAX, TEXT};
use crate::histogram::Histogram;
use crate::sample::{Sample, Span};

/// Bursts requested at a time. While one is on its way to the last client, the next is in the pipe,
/// so that the server never waits.
const IN_FLIGHT: usize = 2;

/// The number of lines that differ.
const LINES: usize = 1000;

/// Bytes of a line without its newline.
const LINE_LEN: usize = 60;

/// The message that requests a burst.
const ASKING: &[u8] = b"?";

/// Bytes of that message on the wire.
pub(crate) const ASKING_LEN: usize = ASKING.len() + 6;

/// The most bytes of one read.
const READ_LEN: usize = 64 * 1024;

/// The shared command: prints a burst of lines for each newline that it reads, until EOF.
pub(crate) fn print(burst: usize) -> io::Result<()> {
    let (mut input, output) = (io::stdin().lock(), io::stdout().lock());
    let mut asked = [0; 64];
    let mut next = 0;
    let mut lines = Vec::new();
    loop {
        let n = input.read(&mut asked)?;
        if n == 0 {
            return Ok(());
        }
        for _ in asked[..n].iter().filter(|&&byte| byte == b'\n') {
            lines.clear();
            for number in next..next + burst {
                lines.extend_from_slice(&line(number));
                lines.push(b'\n');
            }
            next += burst;
            // In one write: the buffer of `Stdout` would split it.
            nix::unistd::write(&output, &lines)?;
        }
    }
}

/// The line with a number.
fn line(number: usize) -> [u8; LINE_LEN] {
    let mut line = [b'.'; LINE_LEN];
    let text = format!(
        "line {:03} that every client has to receive ",
        number % LINES
    );
    line[..text.len()].copy_from_slice(text.as_bytes());
    line
}

/// The frames of all different lines.
fn frames(end_of_line: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    for number in 0..LINES {
        let line = [&line(number), end_of_line].concat();
        ws::write_plain(TEXT, &line, &mut frames);
    }
    frames
}

/// Makes the command print, and counts the messages that reach the clients.
pub(crate) fn run(
    address: SocketAddr,
    server: u32,
    (clients, burst): (usize, usize),
    span: Span,
) -> Result<Sample, String> {
    Audience::connect(address, clients, burst)?.run(server, span)
}

struct Audience {
    poll: Poll,
    members: Vec<Member>,
    /// The frames of all different lines, which every client receives repeatedly.
    expected: Vec<u8>,
    /// Lines in a burst.
    burst: usize,
    /// Bursts requested.
    asked: u64,
    /// Whether no more are requested.
    is_finished: bool,
    /// The bursts in flight, in rotation: when each was requested, and how many clients have all of
    /// it.
    flights: [(Instant, usize); IN_FLIGHT],
    /// Bytes of frames, to all clients.
    received: u64,
    latencies: Histogram,
}

struct Member {
    stream: TcpStream,
    received: u64,
}

impl Audience {
    fn connect(address: SocketAddr, clients: usize, burst: usize) -> Result<Audience, String> {
        let poll = Poll::new().map_err(|error| format!("epoll: {error}"))?;
        let mut members = Vec::with_capacity(clients);
        for index in 0..clients {
            let stream = connect(address, &poll, Token(index))
                .map_err(|error| format!("client {index}: {error}"))?;
            members.push(Member {
                stream,
                received: 0,
            });
        }
        Ok(Audience {
            poll,
            members,
            expected: frames(b""),
            burst,
            asked: 0,
            is_finished: false,
            flights: [(Instant::now(), 0); IN_FLIGHT],
            received: 0,
            latencies: Histogram::new(),
        })
    }

    /// Bytes of a line's frame.
    fn frame_len(&self) -> usize {
        self.expected.len() / LINES
    }

    fn run(&mut self, server: u32, span: Span) -> Result<Sample, String> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; READ_LEN];
        let one_each = self.members.len() * self.burst * self.frame_len();
        let mut window = span.begin(server, one_each as u64);
        let mut sample = None;
        let mut received_at = Instant::now();
        for _ in 0..IN_FLIGHT {
            self.ask()?;
        }
        // Everything requested must reach all clients, even after the window.
        while sample.is_none() || !self.is_complete() {
            match self.poll.poll(&mut events, Some(Duration::from_millis(20))) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    return Err(format!("epoll: {error}"));
                }
                _ => {}
            }
            let before = self.received;
            for event in &events {
                self.read(event.token().0, &mut buffer)?;
            }
            let now = Instant::now();
            if self.received > before {
                received_at = now;
            } else if now - received_at > STEP_MAX {
                return Err(format!("no message within {STEP_MAX:?}"));
            }
            if window.has_begun(now, self.received) {
                self.latencies = Histogram::new();
            }
            if sample.is_none()
                && let Some(measured) = window.is_finished(now, self.received)
            {
                self.is_finished = true;
                let messages = measured.amount as f64 / self.frame_len() as f64;
                let bytes = messages * LINE_LEN as f64;
                sample = Some(Sample::new(&measured, messages, bytes, &self.latencies));
            }
        }
        sample.ok_or_else(|| "no window".to_owned())
    }

    /// Whether every client has everything that was requested.
    fn is_complete(&self) -> bool {
        let lines = self.asked as usize * self.burst * self.members.len();
        self.received == (lines * self.frame_len()) as u64
    }

    /// Requests another burst: the first client sends the command a line.
    fn ask(&mut self) -> Result<(), String> {
        let mut message = Vec::new();
        ws::write_masked(TEXT, ASKING, &mut message);
        self.flights[self.asked as usize % IN_FLIGHT] = (Instant::now(), 0);
        self.asked += 1;
        // So few bytes always fit.
        let asked = self.members[0].stream.write_all(&message);
        asked.map_err(|error| format!("client 0: {error}"))
    }

    /// Reads everything that has arrived for a client.
    fn read(&mut self, index: usize, buffer: &mut [u8]) -> Result<(), String> {
        loop {
            let n = match self.members[index].stream.read(buffer) {
                Ok(0) => return Err(format!("client {index}: the server closed")),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("client {index}: {error}")),
            };
            self.receive(index, &buffer[..n])?;
            if n < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Checks that these are the expected bytes, and whether they complete a burst for all clients.
    fn receive(&mut self, index: usize, mut bytes: &[u8]) -> Result<(), String> {
        if self.received == 0 && bytes.get(1) == Some(&(LINE_LEN as u8 + 1)) {
            // One of the peers leaves the newline in its messages.
            self.expected = frames(b"\n");
        }
        let burst_len = (self.burst * self.frame_len()) as u64;
        let member = &mut self.members[index];
        let before = member.received;
        while !bytes.is_empty() {
            let at = (member.received % self.expected.len() as u64) as usize;
            let len = bytes.len().min(self.expected.len() - at);
            if bytes[..len] != self.expected[at..at + len] {
                return Err(format!("client {index}: a line out of order"));
            }
            member.received += len as u64;
            bytes = &bytes[len..];
        }
        let after = member.received;
        self.received += after - before;
        if after > self.asked * burst_len {
            return Err(format!("client {index}: a line that was not requested"));
        }
        let now = Instant::now();
        for burst in before / burst_len..after / burst_len {
            let (asked_at, complete) = &mut self.flights[burst as usize % IN_FLIGHT];
            self.latencies.add(now - *asked_at);
            *complete += 1;
            if *complete == self.members.len() && !self.is_finished {
                self.ask()?;
            }
        }
        Ok(())
    }
}

fn connect(address: SocketAddr, poll: &Poll, token: Token) -> io::Result<TcpStream> {
    let (stream, _) = ws::connect(address, "/")?;
    stream.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(stream);
    poll.registry()
        .register(&mut stream, token, Interest::READABLE)?;
    Ok(stream)
}
