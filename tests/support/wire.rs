//! A TCP connection on which every wait has a deadline.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::TIMEOUT;

/// A blocking TCP connection and the bytes that were read from it but not yet taken.
pub struct Wire {
    stream: TcpStream,
    bytes: Vec<u8>,
    /// How many of `bytes` have been taken. Invariant: `taken <= bytes.len()`.
    taken: usize,
}

impl Wire {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Wire {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)
            .unwrap_or_else(|error| panic!("connect to {address}: {error}"));
        Wire::new(stream)
    }

    /// A connection with small buffers at both ends, so that they are soon full if it is not read.
    #[track_caller]
    pub fn connect_with_small_buffers(address: SocketAddr) -> Wire {
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
        // The sender's buffer grows with the segment size.
        setsockopt(&socket, sockopt::TcpMaxSeg, &536).expect("TCP_MAXSEG");
        setsockopt(&socket, sockopt::RcvBuf, &4096).expect("SO_RCVBUF");
        connect(socket.as_raw_fd(), &SockaddrStorage::from(address)).expect("connect");
        Wire::new(TcpStream::from(socket))
    }

    /// A connection from another address of this machine. Its port is 0, or one that a connection
    /// which was reset may just have had.
    #[track_caller]
    pub fn connect_from(own: SocketAddr, address: SocketAddr) -> Wire {
        use nix::sys::socket::{
            AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket,
            sockopt,
        };
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).expect("socket");
        setsockopt(&socket, sockopt::ReuseAddr, &true).expect("SO_REUSEADDR");
        // Another test's server may hold a copy of the earlier socket until its exec.
        let own = SockaddrStorage::from(own);
        super::wait_until("the address is free", || {
            bind(socket.as_raw_fd(), &own).is_ok()
        });
        connect(socket.as_raw_fd(), &SockaddrStorage::from(address)).expect("connect");
        Wire::new(TcpStream::from(socket))
    }

    fn new(stream: TcpStream) -> Wire {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_read_timeout(Some(TIMEOUT)).expect("SO_RCVTIMEO");
        let wire = Wire {
            stream,
            bytes: Vec::new(),
            taken: 0,
        };
        wire.set_write_timeout(TIMEOUT);
        wire
    }

    /// The address of this end: `peer=` in the server's log.
    pub fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().expect("getsockname")
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes) {
            panic!("the server did not take {} bytes: {error}", bytes.len());
        }
    }

    /// Sends, although the server may have closed the connection. Returns whether the send
    /// succeeded.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends each byte in its own packet.
    #[track_caller]
    pub fn send_bytewise(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.send(std::slice::from_ref(byte));
        }
    }

    /// Sends the bytes one by one, with a `pause` after each, until the server sends a byte or
    /// closes. Panics if it has done neither after the last byte.
    #[track_caller]
    pub fn send_slowly(&mut self, bytes: &[u8], pause: Duration) {
        for byte in bytes {
            self.send(std::slice::from_ref(byte));
            if self.is_readable_within(pause) {
                return;
            }
        }
        panic!("no reaction to {} bytes", bytes.len());
    }

    /// Sends from another thread, so that this thread can read. The handle yields whether all bytes
    /// were sent.
    pub fn send_in_background(&self, bytes: Vec<u8>) -> JoinHandle<bool> {
        let mut stream = self.stream.try_clone().expect("a second handle");
        thread::spawn(move || stream.write_all(&bytes).is_ok())
    }

    /// Sends `unit` repeatedly until nothing has been accepted for half a second or `len_max` bytes
    /// are sent. Returns the number of units begun, and the unsent rest of the last one.
    #[track_caller]
    pub fn flood(&mut self, unit: &[u8], len_max: usize) -> (usize, Vec<u8>) {
        // Many units per write, because small writes are slow.
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

    /// Sends `bytes` until nothing has been accepted for `timeout` or the connection fails. Returns
    /// the number of bytes sent.
    pub fn send_until_stalled(&mut self, bytes: &[u8], timeout: Duration) -> usize {
        self.set_write_timeout(timeout);
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(len) => sent += len,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.set_write_timeout(TIMEOUT);
        sent
    }

    /// Reads and discards until nothing has arrived for `timeout` or the connection has ended.
    pub fn discard(&mut self, timeout: Duration) {
        let set = |timeout| self.stream.set_read_timeout(Some(timeout));
        set(timeout).expect("SO_RCVTIMEO");
        self.taken = self.bytes.len();
        while self.fill().is_ok_and(|len| len > 0) {
            self.taken = self.bytes.len();
        }
        self.stream
            .set_read_timeout(Some(TIMEOUT))
            .expect("SO_RCVTIMEO");
    }

    fn set_write_timeout(&self, timeout: Duration) {
        let set = self.stream.set_write_timeout(Some(timeout));
        set.expect("SO_SNDTIMEO");
    }

    fn unread(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Whether a byte or EOF can be read within `wait`.
    pub fn is_readable_within(&self, wait: Duration) -> bool {
        let wait = PollTimeout::try_from(wait).expect("a short time");
        let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
        !self.unread().is_empty() || poll(&mut fds, wait).is_ok_and(|ready| ready > 0)
    }

    /// One read. Returns the number of bytes; 0 at EOF.
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
                // The kernel does not restart a read that has a timeout (signal(7)).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.bytes.truncate(len + *result.as_ref().unwrap_or(&0));
        result
    }

    /// The bytes of one read of at most `len` bytes; empty at EOF.
    #[track_caller]
    pub fn read_at_most(&mut self, len: usize) -> Vec<u8> {
        if self.unread().is_empty() {
            self.fill_with(len).expect("a read");
        }
        self.take(len.min(self.unread().len()))
    }

    /// The next `len` bytes, without taking them.
    #[track_caller]
    pub fn peek(&mut self, len: usize) -> &[u8] {
        while self.unread().len() < len {
            match self.fill() {
                Ok(0) => panic!("EOF, {:?} unread", show(self.unread())),
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

    /// The bytes up to the next `end`, inclusive.
    #[track_caller]
    pub fn take_through(&mut self, end: &[u8]) -> Vec<u8> {
        let mut len = end.len();
        while !self.peek(len).ends_with(end) {
            len += 1;
        }
        self.take(len)
    }

    /// All bytes until the connection ends, by EOF or by a reset.
    #[track_caller]
    pub fn take_to_end(&mut self) -> Vec<u8> {
        let mut rest = self.take(self.unread().len());
        loop {
            match self.fill() {
                Ok(0) => return rest,
                Ok(_) => rest.extend(self.take(self.unread().len())),
                Err(error) if is_timeout(&error) => panic!("the connection is still open"),
                Err(_) => return rest,
            }
        }
    }

    /// Asserts that the server has closed its side (FIN) without a further byte and without a
    /// reset.
    #[track_caller]
    pub fn expect_eof(&mut self) {
        assert_eq!(show(self.unread()), "", "before EOF");
        match self.fill() {
            Ok(0) => {}
            Ok(_) => panic!("{:?} in place of EOF", show(self.unread())),
            Err(error) => panic!("{error} in place of EOF"),
        }
    }

    /// Asserts that the connection ends, by EOF or by a reset. Skips bytes before it.
    #[track_caller]
    pub fn expect_gone(&mut self) {
        loop {
            self.taken = self.bytes.len();
            match self.fill() {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if is_timeout(&error) => panic!("the connection is still open"),
                Err(_) => return,
            }
        }
    }

    /// Asserts that neither a byte nor EOF arrives for `duration`.
    #[track_caller]
    pub fn expect_silence(&mut self, duration: Duration) {
        assert_eq!(show(self.unread()), "", "where nothing was expected");
        self.stream
            .set_read_timeout(Some(duration))
            .expect("SO_RCVTIMEO");
        let result = self.fill();
        self.stream
            .set_read_timeout(Some(TIMEOUT))
            .expect("SO_RCVTIMEO");
        match result {
            Ok(0) => panic!("EOF where nothing was expected"),
            Ok(_) => panic!("{:?} where nothing was expected", show(self.unread())),
            Err(error) => assert!(is_timeout(&error), "{error} where nothing was expected"),
        }
    }

    /// Closes this side of the connection (FIN). The server may go on sending.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("shutdown");
    }

    /// Like [`Self::finish`], but the server may have closed the connection already.
    pub fn try_finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes the connection with a reset (RST).
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

/// The first of `bytes`, in printable form.
fn show(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(200)].escape_ascii().to_string()
}
