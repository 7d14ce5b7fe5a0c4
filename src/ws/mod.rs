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
//!
//! The opening handshake is HTTP and lives in [`crate::http`].

pub mod batch;
pub mod close;
pub mod connection;
pub mod decoder;
pub mod frame;
pub mod utf8;

pub use close::{CloseCode, Violation};
pub use connection::{CloseState, Connection, Event};
pub use frame::Kind;

#[cfg(test)]
mod testing;
