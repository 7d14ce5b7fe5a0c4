//! wspipe puts any program on a WebSocket.

#[cfg(not(target_os = "linux"))]
compile_error!("wspipe runs on Linux only: it needs epoll, signalfd and /proc");

pub mod http;
pub mod ws;
