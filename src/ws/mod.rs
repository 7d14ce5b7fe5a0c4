//! The WebSocket protocol, RFC 6455, as the server's end of a connection speaks it.
//!
//! Nothing here touches a socket or a clock. Bytes come in as slices, replies go out into a `Vec`
//! that the caller owns, and the time is an argument. So every rule below can be tested byte by
//! byte, and the files can be read in the order in which a byte meets them:
//!
//! ```text
//!   bytes read from the peer                          bytes to write to the peer
//!          |                                                      ^
//!          v                                                      |
//!   decoder.rs      headers, and payload chunks           frame.rs: Header::write
//!   (frame.rs)      unmasked in place                             ^
//!          |                                                      |
//!          v                                                      |
//!   connection.rs   messages, fragments, control frames, the closing handshake
//!   (utf8.rs, close.rs)
//!          |                                                      ^
//!          v                                                      |
//!   Event: Data, Pong, Close                       send, ping, close, fail
//! ```
//!
//! - [`frame`]: what one frame's header says, and the masking of its payload (section 5.2, 5.3).
//! - [`decoder`]: bytes to headers and chunks, wherever the reads happened to cut them.
//! - [`utf8`]: whether text that arrives in pieces is UTF-8 so far (section 8.1).
//! - [`close`]: close codes, and every rule that a peer can break, with the code it earns (7.4).
//! - [`connection`]: the protocol itself, from the end of the opening handshake on.
//! - [`keepalive`]: when to send a ping, and when to give the peer up (5.5.2).
//!
//! The opening handshake is HTTP and lives in [`crate::http`].

pub mod close;
pub mod connection;
pub mod decoder;
pub mod frame;
pub mod keepalive;
pub mod utf8;

pub use close::{CloseCode, Violation};
pub use connection::{CloseState, Connection, Event};
pub use frame::Kind;
pub use keepalive::Keepalive;

/// What the tests of this layer share: random numbers that can be had again, and a client's frames.
#[cfg(test)]
pub(crate) mod testing {
    use super::frame::{Header, Opcode, mask};

    /// Runs `test` with one generator for each seed below `seeds`; a failure prints its seed.
    pub(crate) fn for_each_seed(seeds: u64, test: impl Fn(&mut Random)) {
        for seed in 0..seeds {
            let printer = PrintOnPanic(seed);
            test(&mut Random::new(seed));
            drop(printer);
        }
    }

    struct PrintOnPanic(u64);

    impl Drop for PrintOnPanic {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("the failing seed is {}", self.0);
            }
        }
    }

    /// A xorshift generator: 64 bits of state, the same numbers for the same seed everywhere.
    pub(crate) struct Random(u64);

    impl Random {
        pub(crate) fn new(seed: u64) -> Self {
            // The state must not be zero, and near seeds should not begin with near numbers.
            let mut random = Random((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            random.next();
            random
        }

        pub(crate) fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        /// A number from 0 up to, and without, `end`.
        pub(crate) fn below(&mut self, end: usize) -> usize {
            ((self.next() >> 11) % end as u64) as usize
        }

        pub(crate) fn one_in(&mut self, n: usize) -> bool {
            self.below(n) == 0
        }

        pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
            from[self.below(from.len())]
        }

        pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
            (0..len).map(|_| self.next() as u8).collect()
        }

        /// Cuts `bytes` into pieces of random lengths, some of them empty.
        pub(crate) fn cut<'a>(&mut self, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
            let longest = 1 + self.pick(&[1, 2, 7, 30, 200, 5000]);
            let mut pieces = Vec::new();
            while !bytes.is_empty() {
                let (piece, rest) = bytes.split_at(self.below(longest + 1).min(bytes.len()));
                pieces.push(piece);
                bytes = rest;
            }
            pieces
        }
    }

    /// A frame as a client sends it: masked, with a key in which no two bytes are alike.
    pub(crate) fn masked(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let payload_len = payload.len() as u64;
        let header = Header {
            fin,
            opcode,
            mask: Some(key),
            payload_len,
        };
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        let start = bytes.len();
        bytes.extend_from_slice(payload);
        mask(&mut bytes[start..], key);
        bytes
    }

    /// A frame as a server sends it: not masked.
    pub(crate) fn plain(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let header = Header {
            fin,
            opcode,
            mask: None,
            payload_len: payload.len() as u64,
        };
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        bytes.extend_from_slice(payload);
        bytes
    }
}
