//! The WebSocket protocol (RFC 6455) for the server's end of a connection.
//!
//! Nothing here touches a socket or a clock. Bytes come in as slices, and replies are appended to a
//! `Vec` that the caller owns. So every rule can be tested byte by byte. This is the way of a byte
//! through the files:
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
//! - [`frame`]: the header of a frame, and the masking of its payload (sections 5.2 and 5.3).
//! - [`decoder`]: from bytes to headers and chunks of payload, wherever a read ended.
//! - [`utf8`]: whether text that arrives in pieces is UTF-8 so far (section 8.1).
//! - [`close`]: close codes, and every rule that a peer can break, with its close code (7.4).
//! - [`connection`]: messages, control frames and the closing handshake.
//! - [`framed`]: messages that are framed once and sent to several clients.
//!
//! The opening handshake is HTTP: `crate::http` has it.

pub mod close;
pub mod connection;
pub(crate) mod decoder;
pub mod frame;
pub(crate) mod framed;
pub mod utf8;

#[cfg(test)]
mod testing;
