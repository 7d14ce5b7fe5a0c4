//! A TCP connection whose every wait has a deadline.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::PATIENCE;

/// A blocking TCP connection and the bytes that were read from it and not yet looked at.
pub struct Wire {
    stream: TcpStream,
    bytes: Vec<u8>,
    /// How many of `bytes` were taken. Invariant: taken <= bytes.len()
    taken: usize,
}

impl Wire {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Wire {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .unwrap_or_else(|error| panic!("connect to {address}: {error}"));
        Wire::new(stream)
    }

    /// A connection for which the kernel keeps little on both sides, so that whoever does not read
    /// is soon noticed.
    #[track_caller]
    pub fn connect_narrow(address: SocketAddr) -> Wire {
        use nix::sys::socket::{
            AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket,
            sockopt,
        };
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(family, SockType::Stream, flags, None).expect("socket");
        // What the sender keeps grows with the segments that it may send.
        setsockopt(&socket, sockopt::TcpMaxSeg, &536).expect("TCP_MAXSEG");
        setsockopt(&socket, sockopt::RcvBuf, &4096).expect("SO_RCVBUF");
        connect(socket.as_raw_fd(), &SockaddrStorage::from(address)).expect("connect");
        Wire::new(TcpStream::from(socket))
    }

    fn new(stream: TcpStream) -> Wire {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("SO_RCVTIMEO");
        let wire = Wire {
            stream,
            bytes: Vec::new(),
            taken: 0,
        };
        wire.set_write_timeout(PATIENCE);
        wire
    }

    /// This end's address, which is the server's `peer=`.
    pub fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().expect("getsockname")
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes) {
            panic!("the server did not take {} bytes: {error}", bytes.len());
        }
    }

    /// Sends although the other side may be gone already; whether it was.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends one byte at a time, each in a packet of its own.
    #[track_caller]
    pub fn send_bytewise(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.send(std::slice::from_ref(byte));
        }
    }

    /// Sends these bytes one by one, each `pause` behind the other, until something comes back: a
    /// byte or the end. They must not be at their end before.
    #[track_caller]
    pub fn dribble(&mut self, bytes: &[u8], pause: Duration) {
        for byte in bytes {
            self.send(std::slice::from_ref(byte));
            if self.has_come(pause) {
                return;
            }
        }
        panic!("{} bytes were dribbled, and nothing came", bytes.len());
    }

    /// Sends from another thread, so that this one can read meanwhile. What happens to the
    /// bytes is told by what comes back.
    pub fn send_in_background(&self, bytes: Vec<u8>) -> JoinHandle<bool> {
        let mut stream = self.stream.try_clone().expect("a second handle");
        thread::spawn(move || stream.write_all(&bytes).is_ok())
    }

    /// Repeats `unit` until the other side has taken nothing for half a second, or `len_max`
    /// bytes were sent. Returns how many units were begun, and the rest of the last one.
    #[track_caller]
    pub fn stuff(&mut self, unit: &[u8], len_max: usize) -> (usize, Vec<u8>) {
        // Many units to a write, or small ones would take for ever.
        let batch = unit.repeat((64 * 1024 / unit.len()).max(1));
        self.stream.set_nonblocking(true).expect("O_NONBLOCK");
        let mut sent = 0;
        let mut progress = Instant::now();
        while sent < len_max && progress.elapsed() < Duration::from_millis(500) {
            match self.stream.write(&batch[sent % batch.len()..]) {
                Ok(len) => {
                    sent += len;
                    progress = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(5));
                }
                Err(error) => panic!("after {sent} bytes: {error}"),
            }
        }
        self.stream.set_nonblocking(false).expect("O_NONBLOCK");
        let rest = match sent % unit.len() {
            0 => Vec::new(),
            part => unit[part..].to_vec(),
        };
        (sent.div_ceil(unit.len()), rest)
    }

    /// Sends as much of `bytes` as the other side takes, and gives up once it has taken nothing for
    /// so long, or is gone. How much it was.
    pub fn pour(&mut self, bytes: &[u8], patience: Duration) -> usize {
        self.set_write_timeout(patience);
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(len) => sent += len,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.set_write_timeout(PATIENCE);
        sent
    }

    /// Takes and drops what comes until nothing has come for so long, or the connection has ended.
    pub fn drain(&mut self, patience: Duration) {
        let set = |timeout| self.stream.set_read_timeout(Some(timeout));
        set(patience).expect("SO_RCVTIMEO");
        self.taken = self.bytes.len();
        while self.fill().is_ok_and(|len| len > 0) {
            self.taken = self.bytes.len();
        }
        self.stream
            .set_read_timeout(Some(PATIENCE))
            .expect("SO_RCVTIMEO");
    }

    fn set_write_timeout(&self, timeout: Duration) {
        let set = self.stream.set_write_timeout(Some(timeout));
        set.expect("SO_SNDTIMEO");
    }

    fn unread(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Whether something to be read is there, a byte or the end, or comes within `wait`.
    pub fn has_come(&self, wait: Duration) -> bool {
        let wait = PollTimeout::try_from(wait).expect("a short time");
        let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
        !self.unread().is_empty() || poll(&mut fds, wait).is_ok_and(|ready| ready > 0)
    }

    /// One read. The number of bytes; 0 at the end.
    fn fill(&mut self) -> std::io::Result<usize> {
        self.fill_with(64 * 1024)
    }

    /// One read of at most `len_max` bytes.
    fn fill_with(&mut self, len_max: usize) -> std::io::Result<usize> {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        let len = self.bytes.len();
        self.bytes.resize(len + len_max, 0);
        let result = loop {
            match self.stream.read(&mut self.bytes[len..]) {
                // A read with a time-out is not begun again by itself (signal(7)).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.bytes.truncate(len + *result.as_ref().unwrap_or(&0));
        result
    }

    /// What one read of at most `len` bytes returns; empty at the end of the stream.
    #[track_caller]
    pub fn read_at_most(&mut self, len: usize) -> Vec<u8> {
        if self.unread().is_empty() {
            self.fill_with(len).expect("a read");
        }
        self.take(len.min(self.unread().len()))
    }

    /// The next `len` bytes, left where they are.
    #[track_caller]
    pub fn peek(&mut self, len: usize) -> &[u8] {
        while self.unread().len() < len {
            match self.fill() {
                Ok(0) => panic!("end of stream, {:?} unread", show(self.unread())),
                Ok(_) => {}
                Err(error) => panic!("{error}, {:?} unread", show(self.unread())),
            }
        }
        &self.bytes[self.taken..self.taken + len]
    }

    #[track_caller]
    pub fn take(&mut self, len: usize) -> Vec<u8> {
        let bytes = self.peek(len).to_vec();
        self.taken += len;
        bytes
    }

    /// The bytes up to and with the next `end`.
    #[track_caller]
    pub fn take_through(&mut self, end: &[u8]) -> Vec<u8> {
        let mut len = end.len();
        while !self.peek(len).ends_with(end) {
            len += 1;
        }
        self.take(len)
    }

    /// All that comes until the connection ends, in order or by a reset.
    #[track_caller]
    pub fn take_to_end(&mut self) -> Vec<u8> {
        let mut rest = self.take(self.unread().len());
        loop {
            match self.fill() {
                Ok(0) => return rest,
                Ok(_) => rest.extend(self.take(self.unread().len())),
                Err(error) if is_timeout(&error) => panic!("the connection is still there"),
                Err(_) => return rest,
            }
        }
    }

    /// The server has ended its side in order, with nothing further sent: no byte and no reset.
    #[track_caller]
    pub fn expect_eof(&mut self) {
        assert_eq!(show(self.unread()), "", "before the end of stream");
        match self.fill() {
            Ok(0) => {}
            Ok(_) => panic!("{:?} in place of the end of stream", show(self.unread())),
            Err(error) => panic!("{error} in place of the end of stream"),
        }
    }

    /// The connection has ended, in order or by a reset, whatever was sent before.
    #[track_caller]
    pub fn expect_gone(&mut self) {
        loop {
            self.taken = self.bytes.len();
            match self.fill() {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if is_timeout(&error) => panic!("the connection is still there"),
                Err(_) => return,
            }
        }
    }

    /// Nothing comes, neither a byte nor the end, for `duration`.
    #[track_caller]
    pub fn expect_silence(&mut self, duration: Duration) {
        assert_eq!(show(self.unread()), "", "where nothing was due");
        self.stream
            .set_read_timeout(Some(duration))
            .expect("SO_RCVTIMEO");
        let result = self.fill();
        self.stream
            .set_read_timeout(Some(PATIENCE))
            .expect("SO_RCVTIMEO");
        match result {
            Ok(0) => panic!("end of stream where nothing was due"),
            Ok(_) => panic!("{:?} where nothing was due", show(self.unread())),
            Err(error) => assert!(is_timeout(&error), "{error} where nothing was due"),
        }
    }

    /// Ends this side of the connection; the other may go on.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("shutdown");
    }

    /// The same although the other side may be gone already.
    pub fn try_finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends the connection by a reset.
    pub fn reset(self) {
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        nix::sys::socket::setsockopt(&self.stream, nix::sys::socket::sockopt::Linger, &linger)
            .expect("SO_LINGER");
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// The beginning of `bytes`, fit to be read by a person.
fn show(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(200)].escape_ascii().to_string()
}
