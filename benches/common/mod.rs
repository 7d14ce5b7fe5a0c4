//! What the benches share: servers started on a core of their own, what `/proc` says of them, and
//! the client's end of a WebSocket.
//!
//! Nothing here uses a line of the server, so a mistake in its framing cannot hide behind the same
//! mistake in what measures it.

// Each bench is a crate of its own and uses a part of this module.
#![allow(dead_code)]

pub(crate) mod core;
pub(crate) mod descriptors;
pub(crate) mod proc;
pub(crate) mod server;
pub(crate) mod ws;
