//! The client's end of a WebSocket, no more than the measurements need.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

/// How long a server may take for a single step.
pub(crate) const STEP_MAX: Duration = Duration::from_secs(10);

/// The longest response head that is read.
const HEAD_LEN_MAX: usize = 4096;

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;

const FIN: u8 = 0x80;
const MASK: u8 = 0x80;

/// The masking key of every frame: no byte is zero, and no two are equal.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Connects and completes the opening handshake. Calls on the stream block for up to [`STEP_MAX`].
/// Also returns the bytes after the response head, such as first frames.
pub(crate) fn connect(address: SocketAddr, path: &str) -> io::Result<(TcpStream, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&address, STEP_MAX)?;
    stream.set_read_timeout(Some(STEP_MAX))?;
    stream.set_write_timeout(Some(STEP_MAX))?;
    stream.set_nodelay(true)?;
    // Close by a reset, so that thousands of connections leave no port in TIME_WAIT.
    let linger = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&stream, sockopt::Linger, &linger)?;
    // Send it in one piece: the simplest servers do not reassemble a request.
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let rest = read_head(&mut stream)?;
    Ok((stream, rest))
}

fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut bytes = [0; HEAD_LEN_MAX];
    loop {
        let n = stream.read(&mut bytes)?;
        if n == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&bytes[..n]);
        if let Some(at) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            // The Sec-WebSocket-Accept for the key above is in RFC 6455, section 1.3.
            let text = String::from_utf8_lossy(&head[..at]);
            if !text.starts_with("HTTP/1.1 101") || !text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") {
                let first = text.lines().next().unwrap_or_default().to_owned();
                return Err(io::Error::other(format!("no handshake: {first}")));
            }
            return Ok(head.split_off(at + 4));
        }
        if head.len() > HEAD_LEN_MAX {
            return Err(io::Error::other("a response head that does not end"));
        }
    }
}

/// Appends a whole message as a client sends it.
pub(crate) fn write_masked(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    write_header(opcode, MASK, payload.len(), out);
    out.extend_from_slice(&KEY);
    let masked = payload.iter().zip(KEY.iter().cycle());
    out.extend(masked.map(|(byte, key)| byte ^ key));
}

/// Appends a whole message as a server sends it.
pub(crate) fn write_plain(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    write_header(opcode, 0, payload.len(), out);
    out.extend_from_slice(payload);
}

fn write_header(opcode: u8, mask: u8, len: usize, out: &mut Vec<u8>) {
    out.push(FIN | opcode);
    match len {
        0..=125 => out.push(mask | len as u8),
        126..=0xffff => {
            out.push(mask | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(mask | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

/// Splits the bytes of a server into frames, however the reads were cut.
#[derive(Default)]
pub(crate) struct Deframer {
    /// The beginning of an incomplete header.
    spill: Vec<u8>,
    frame: Option<Frame>,
}

/// A frame whose payload is incomplete.
struct Frame {
    opcode: u8,
    fin: bool,
    remaining: u64,
}

/// The payload of one frame, or the part of it that has arrived.
pub(crate) struct Chunk<'a> {
    /// The opcode of the frame: 0 for a continuation.
    pub(crate) opcode: u8,
    pub(crate) bytes: &'a [u8],
    /// Whether the message ends with it.
    pub(crate) last: bool,
}

impl Deframer {
    /// The next chunk of `input`, which is shortened from the front; `None` when it is used up.
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Chunk<'a>> {
        if self.frame.is_none() {
            self.frame = Some(self.header(input)?);
        }
        let frame = self.frame.as_mut()?;
        if input.is_empty() && frame.remaining > 0 {
            return None;
        }
        let len = frame.remaining.min(input.len() as u64) as usize;
        let (bytes, rest) = input.split_at(len);
        *input = rest;
        frame.remaining -= len as u64;
        let last = frame.remaining == 0 && frame.fin;
        let opcode = frame.opcode;
        if frame.remaining == 0 {
            self.frame = None;
        }
        Some(Chunk {
            opcode,
            bytes,
            last,
        })
    }

    fn header(&mut self, input: &mut &[u8]) -> Option<Frame> {
        if self.spill.is_empty()
            && let Some((frame, len)) = parse_header(input)
        {
            *input = &input[len..];
            return Some(frame);
        }
        while let Some((&byte, rest)) = input.split_first() {
            self.spill.push(byte);
            *input = rest;
            if let Some((frame, _)) = parse_header(&self.spill) {
                self.spill.clear();
                return Some(frame);
            }
        }
        None
    }
}

/// The frame that begins with these bytes, and the length of its header.
fn parse_header(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (remaining, len) = match second {
        126 => (u16::from_be_bytes(*bytes[2..].first_chunk()?).into(), 4),
        127 => (u64::from_be_bytes(*bytes[2..].first_chunk()?), 10),
        short => (short.into(), 2),
    };
    let (opcode, fin) = (first & 0x0f, first & FIN != 0);
    let frame = Frame {
        opcode,
        fin,
        remaining,
    };
    Some((frame, len))
}
