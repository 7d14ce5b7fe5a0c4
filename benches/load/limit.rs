//! The limit servers: the least that a server can do, as the yardstick.
//!
//! They check nothing, limit nothing and time nothing out, so a server that does cannot be expected
//! to be faster. Each runs as a process: this program with another first argument.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::broadcast::ASKING_LEN;

/// The most bytes of one read. Messages of 1 MiB took a third more processor time with 64 KiB and
/// no less with 1 MiB; for short ones it makes no difference.
const READ_LEN: usize = 256 * 1024;

/// The most events of one wait.
const BATCH_LEN: usize = 1024;

/// The token of the listener. The token of a connection is its descriptor.
const LISTENER: u64 = u64::MAX;

/// The token of a shared command's output.
const OUTPUT: u64 = u64::MAX - 1;

/// The name of the server of a shared command on the command line.
pub(crate) const SHARED: &str = "shared";

const EDGES: EpollFlags = EpollFlags::EPOLLIN
    .union(EpollFlags::EPOLLOUT)
    .union(EpollFlags::EPOLLRDHUP)
    .union(EpollFlags::EPOLLET);

// -- Echo ----------------------------------------------------------------------------------------

/// Echoes everything, until it is killed.
pub(crate) fn echo(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut events = vec![EpollEvent::empty(); BATCH_LEN];
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut buffer = vec![0; READ_LEN];
    loop {
        let n = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..n] {
            if event.data() == LISTENER {
                accept(&listener, &epoll, &mut connections)?;
                continue;
            }
            let slot = &mut connections[event.data() as usize];
            if let Some(connection) = slot
                && connection.pump(&mut buffer).is_err()
            {
                *slot = None;
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    epoll: &Epoll,
    connections: &mut Vec<Option<Connection>>,
) -> io::Result<()> {
    while let Ok((stream, _)) = listener.accept() {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let key = stream.as_raw_fd() as usize;
        epoll.add(&stream, EpollEvent::new(EDGES, key as u64))?;
        if connections.len() <= key {
            connections.resize_with(key + 1, || None);
        }
        connections[key] = Some(Connection::new(stream));
    }
    Ok(())
}

struct Connection {
    stream: TcpStream,
    /// Whether the opening handshake is complete.
    open: bool,
    echo: Echo,
    /// An incomplete request head or frame header.
    carry: Vec<u8>,
    /// Bytes that the socket did not accept.
    unsent: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream) -> Connection {
        Connection {
            stream,
            open: false,
            echo: Echo::default(),
            carry: Vec::new(),
            unsent: Vec::new(),
        }
    }

    /// Reads until a short read shows that the socket is drained, and writes the replies.
    fn pump(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            if !self.unsent.is_empty() {
                let unsent = std::mem::take(&mut self.unsent);
                if !self.send(&unsent)? {
                    return Ok(());
                }
            }
            let carried = self.carry.len();
            buffer[..carried].copy_from_slice(&self.carry);
            self.carry.clear();
            let room = buffer.len() - carried;
            let n = match self.stream.read(&mut buffer[carried..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.carry.extend_from_slice(&buffer[..carried]);
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            self.on_bytes(&mut buffer[..carried + n])?;
            if n < room {
                return Ok(());
            }
        }
    }

    fn on_bytes(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        if !self.open {
            self.carry.extend_from_slice(bytes);
            if let Some(answer) = handshake(&self.carry) {
                self.open = true;
                self.carry.clear();
                self.send(&answer)?;
            }
            return Ok(());
        }
        let (reply, rest) = self.echo.reply(bytes);
        self.carry.extend_from_slice(&bytes[rest..]);
        if !reply.is_empty() {
            self.send(&bytes[reply])?;
        }
        Ok(())
    }

    /// Writes once, and keeps the rest. Returns whether everything was written.
    fn send(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let n = match self.stream.write(bytes) {
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        self.unsent.extend_from_slice(&bytes[n..]);
        Ok(n == bytes.len())
    }
}

/// The rest of the current frame, whose payload is passed on as it arrives.
#[derive(Default)]
struct Echo {
    remaining: u64,
    key: [u8; 4],
}

impl Echo {
    /// Turns the frames in `bytes` into their echo, in place. Returns where the echo is, and where
    /// an incomplete header begins.
    ///
    /// A reply's header is shorter than its frame's by the four bytes of the key. So the first
    /// payload stays where it is, and each later one moves forward by four bytes more.
    fn reply(&mut self, bytes: &mut [u8]) -> (std::ops::Range<usize>, usize) {
        let start = if self.remaining == 0 {
            4.min(bytes.len())
        } else {
            0
        };
        let (mut at, mut end) = (0, start);
        loop {
            let len = self.remaining.min((bytes.len() - at) as u64) as usize;
            if at != end {
                bytes.copy_within(at..at + len, end);
            }
            unmask(&mut bytes[end..end + len], self.key);
            self.key.rotate_left(len % 4);
            self.remaining -= len as u64;
            (at, end) = (at + len, end + len);
            if at == bytes.len() || self.remaining > 0 {
                return (start..end, at);
            }
            let Some((len, remaining, key)) = header(&bytes[at..]) else {
                return (start..end, at);
            };
            (self.remaining, self.key) = (remaining, key);
            let reply_len = len - key.len();
            bytes.copy_within(at..at + reply_len, end);
            bytes[end + 1] &= 0x7f;
            (at, end) = (at + len, end + reply_len);
        }
    }
}

/// The length of the header at the start of these bytes, the payload's length, and the key.
fn header(bytes: &[u8]) -> Option<(usize, u64, [u8; 4])> {
    let (remaining, key_at) = match bytes.get(1)? & 0x7f {
        126 => (u16::from_be_bytes(*bytes[2..].first_chunk()?).into(), 4),
        127 => (u64::from_be_bytes(*bytes[2..].first_chunk()?), 10),
        short => (short.into(), 2),
    };
    Some((key_at + 4, remaining, *bytes[key_at..].first_chunk()?))
}

fn unmask(payload: &mut [u8], [a, b, c, d]: [u8; 4]) {
    let key = [a, b, c, d, a, b, c, d];
    let (words, tail) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ u64::from_ne_bytes(key)).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// The response to a request, once its head is complete.
fn handshake(head: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(head.strip_suffix(b"\r\n\r\n")?).ok()?;
    let lines: HashMap<&str, &str> = text.lines().filter_map(|l| l.split_once(": ")).collect();
    let key = lines.get("Sec-WebSocket-Key")?;
    let mut hash = sha1_smol::Sha1::from(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = STANDARD.encode(hash.digest().bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    Some(answer.into_bytes())
}

// -- Commands ------------------------------------------------------------------------------------

/// The data between a client and its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pipe {
    /// Each line is a message to the client.
    Lines,
    /// Each read is a message to the client.
    Raw,
    /// The client's messages go to the command.
    Upload,
}

impl Pipe {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Pipe::Lines => "lines",
            Pipe::Raw => "raw",
            Pipe::Upload => "upload",
        }
    }

    /// The variant with this name.
    pub(crate) fn named(name: &str) -> Option<Pipe> {
        let kinds = [Pipe::Lines, Pipe::Raw, Pipe::Upload];
        kinds.into_iter().find(|kind| kind.name() == name)
    }
}

/// Runs a command for one client after the other, with blocking reads and writes, until it is
/// killed.
pub(crate) fn command(port: u16, pipe: Pipe, command: &[String]) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    loop {
        let (stream, _) = listener.accept()?;
        // A client that leaves does not stop the server.
        let _ = serve(stream, pipe, command);
    }
}

fn serve(mut stream: TcpStream, pipe: Pipe, words: &[String]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; READ_LEN];
    let n = stream.read(&mut buffer)?;
    let answer = handshake(&buffer[..n]).ok_or(ErrorKind::InvalidData)?;
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::piped());
    if pipe != Pipe::Upload {
        command.stdout(Stdio::piped());
    }
    let mut child = command.spawn()?;
    stream.write_all(&answer)?;
    let passed = match pipe {
        Pipe::Upload => upload(stream, child.stdin.take(), &mut buffer),
        Pipe::Lines | Pipe::Raw => download(stream, child.stdout.take(), pipe, &mut buffer),
    };
    drop(child.stdin.take());
    drop(child.stdout.take());
    child.wait()?;
    passed
}

fn download(
    mut stream: TcpStream,
    pipe: Option<impl Read>,
    kind: Pipe,
    buffer: &mut [u8],
) -> io::Result<()> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    let mut out = Vec::new();
    let mut held = 0;
    loop {
        let n = pipe.read(&mut buffer[held..])?;
        if n == 0 {
            // A Close without a code (RFC 6455, section 5.5.1).
            return stream.write_all(&[0x88, 0]);
        }
        let bytes = &buffer[..held + n];
        out.clear();
        let rest = match kind {
            Pipe::Raw => {
                frame(&mut out, 0x82, bytes);
                bytes.len()
            }
            _ => frame_lines(bytes, &mut out),
        };
        stream.write_all(&out)?;
        buffer.copy_within(rest..held + n, 0);
        held = held + n - rest;
    }
}

fn upload(mut stream: TcpStream, pipe: Option<impl Write>, buffer: &mut [u8]) -> io::Result<()> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    let mut echo = Echo::default();
    let mut held = 0;
    loop {
        let n = stream.read(&mut buffer[held..])?;
        if n == 0 {
            return Ok(());
        }
        // The frame headers of the replies are written too: few bytes, which the command ignores.
        let (payload, rest) = echo.reply(&mut buffer[..held + n]);
        pipe.write_all(&buffer[payload])?;
        buffer.copy_within(rest..held + n, 0);
        held = held + n - rest;
    }
}

// -- A shared command ------------------------------------------------------------------------------

/// Runs one command for all clients, until it is killed. Each line goes to all of them, framed
/// once; all lines of one read are one write per client.
pub(crate) fn shared(port: u16, words: &[String]) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Ok(());
    };
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    epoll.add(&stdout, EpollEvent::new(EpollFlags::EPOLLIN, OUTPUT))?;
    let mut hub = Hub {
        stdin,
        stdout,
        members: Vec::new(),
        buffer: vec![0; READ_LEN],
        held: 0,
        out: Vec::new(),
    };
    let mut events = vec![EpollEvent::empty(); BATCH_LEN];
    loop {
        let n = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..n] {
            match event.data() {
                LISTENER => hub.admit(&listener, &epoll)?,
                OUTPUT => hub.broadcast()?,
                index => hub.ask(index as usize)?,
            }
        }
    }
}

struct Hub {
    stdin: ChildStdin,
    stdout: ChildStdout,
    members: Vec<TcpStream>,
    buffer: Vec<u8>,
    /// The length of an incomplete line.
    held: usize,
    out: Vec<u8>,
}

impl Hub {
    fn admit(&mut self, listener: &TcpListener, epoll: &Epoll) -> io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let n = stream.read(&mut self.buffer[self.held..])?;
        let Some(answer) = handshake(&self.buffer[self.held..self.held + n]) else {
            return Ok(());
        };
        stream.write_all(&answer)?;
        let index = self.members.len() as u64;
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, index))?;
        self.members.push(stream);
        Ok(())
    }

    fn broadcast(&mut self) -> io::Result<()> {
        let n = self.stdout.read(&mut self.buffer[self.held..])?;
        let end = self.held + n;
        self.out.clear();
        let rest = frame_lines(&self.buffer[..end], &mut self.out);
        for member in &mut self.members {
            member.write_all(&self.out)?;
        }
        self.buffer.copy_within(rest..end, 0);
        self.held = end - rest;
        Ok(())
    }

    /// Clients send messages of one length only. Each is a line to the command.
    fn ask(&mut self, index: usize) -> io::Result<()> {
        let n = self.members[index].read(&mut self.buffer[self.held..])?;
        if n == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.stdin.write_all(&vec![b'\n'; n / ASKING_LEN])
    }
}

/// Frames complete lines. Returns where an incomplete one begins.
fn frame_lines(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    let mut rest = bytes;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        frame(out, 0x81, &rest[..end]);
        rest = &rest[end + 1..];
    }
    bytes.len() - rest.len()
}

fn frame(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    match payload.len() {
        len @ 0..=125 => out.extend_from_slice(&[first, len as u8]),
        len @ 126..=0xffff => {
            out.extend_from_slice(&[first, 126]);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.extend_from_slice(&[first, 127]);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}
