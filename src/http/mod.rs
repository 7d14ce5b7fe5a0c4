//! HTTP/1.1 as far as a WebSocket server needs it (RFC 9110, RFC 9112, RFC 6455 section 4).
//!
//! Nothing here does I/O or reads a clock: bytes and settings are arguments, answers are appended
//! to a buffer that the caller owns. In the order in which a request meets them:
//!
//! 1. [`head::HeadScanner`] finds where a request head ends, however its bytes dribble in;
//! 2. [`head::Request`] says what the head means, with [`host::Host`] for the authority in it;
//! 3. [`answer::answer`] decides what the request gets, in one place: a page of [`pages`], a
//!    WebSocket after [`handshake::check`], or a [`refusal::Refusal`]; [`routes::Offer`] knows
//!    what is served at which path, and [`policy::Policy`] holds the rules about `Origin` and
//!    `Host`;
//! 4. [`response::Response`] writes the bytes.

pub mod answer;
pub mod console_config;
pub mod handshake;
pub mod head_scanner;
pub mod host;
mod pages;
pub mod percent;
pub mod policy;
pub mod proxy;
pub mod refusal;
pub mod request;
pub(crate) mod reserved;
pub mod response;
pub mod resume;
pub mod routes;
mod token;
