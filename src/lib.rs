//! wspipe puts any program on a WebSocket.

#[cfg(not(target_os = "linux"))]
compile_error!("wspipe runs on Linux only: it needs epoll, signalfd and /proc");

pub mod arena;
pub mod deadlines;
pub mod event_loop;
pub mod http;
pub mod lines;
pub mod outbox;
pub mod readiness;
pub mod source;
pub mod cli;
pub mod config;
pub mod http;
pub mod limits;
pub mod log;
pub mod ws;
