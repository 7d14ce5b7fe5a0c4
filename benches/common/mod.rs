//! Code that the benches share: servers on a core of their own, their figures from `/proc`, and the
//! client's end of a WebSocket.
//!
//! Nothing here uses code of the server, so that an error in its framing cannot hide behind the
//! same error in the measurement.

// Each bench is a crate of its own and uses a part of this module.
#![allow(dead_code)]

pub(crate) mod core;
pub(crate) mod descriptors;
pub(crate) mod proc;
pub(crate) mod server;
pub(crate) mod ws;
