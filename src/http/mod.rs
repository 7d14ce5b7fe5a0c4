//! HTTP/1.1, as far as a WebSocket server needs it: RFC 9110, RFC 9112 and RFC 6455 section 4.
//!
//! Nothing here does I/O or reads a clock. Bytes and settings are arguments; responses are appended
//! to a buffer of the caller. The way of a request:
//!
//! ```text
//!   bytes ──HeadScanner──→ head ──parse──→ Request ──answer──┬─ plain request ──────→ page
//!     │                     │                 │              └─ opening handshake ──→ 101
//!     └─────────────────────┴─────────────────┴──→ Refusal: 4xx or 5xx
//! ```
//!
//! 1. [`head_scanner`] finds the end of the head, however its bytes are cut.
//! 2. [`request`] parses the head, [`host`] the authority in it.
//! 3. [`answer`] checks the request, in one place and in this order: the method; `Host` by
//!    [`policy`]; the [`path`] by [`routes`]; and for a WebSocket the handshake by [`handshake`],
//!    the client behind a trusted proxy by [`proxy`], and `Origin` by [`policy`].
//! 4. A plain request gets a page: a file of the console (`pages`), its `config.json`
//!    ([`console_config`]) or the health check. A handshake gets the 101 of [`handshake`].
//! 5. Each step may fail with a [`refusal`]. [`response`] writes pages and refusals, with the
//!    [`date`] that the caller read from the clock.
//!
//! The server asks one more module about a handshake: [`resume`] for the session that the client
//! wants.

pub mod answer;
pub mod console_config;
pub mod date;
pub mod handshake;
pub mod head_scanner;
pub(crate) mod host;
mod pages;
pub mod path;
pub mod percent;
pub mod policy;
pub mod proxy;
pub mod refusal;
pub mod request;
pub(crate) mod reserved;
pub(crate) mod response;
pub mod resume;
pub mod routes;
mod token;

#[cfg(test)]
mod tests;
