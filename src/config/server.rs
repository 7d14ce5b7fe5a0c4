//! Settings of the server as a whole: [`Listen`] and [`ServerLimits`].

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// The addresses to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The addresses to listen on, at least one and each only once. Default: 127.0.0.1 alone.
    pub addresses: Vec<IpAddr>,
    /// The TCP port, on every address. 0: one free port, the same on all. Default: 8080.
    pub port: u16,
    /// How many connections the kernel holds before they are accepted: the argument of
    /// `listen(2)`, at least 1. Default: 4096 (the kernel caps it at `net.core.somaxconn`).
    pub backlog: i32,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            port: 8080,
            backlog: 4096,
        }
    }
}

impl Listen {
    /// Whether only this machine can connect.
    pub(crate) fn is_loopback_only(&self) -> bool {
        self.addresses.iter().all(IpAddr::is_loopback)
    }
}

/// How many clients and commands there may be, and when the server stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Whether the server stops after its first client. Default: no.
    pub once: bool,
    /// Whether the server stops when its last client has left. Default: no.
    pub exit_when_idle: bool,
    /// Maximum number of WebSocket clients, each counted until one side closes it; at least 1.
    /// Default: as many as there are descriptors for.
    pub clients_max: Option<usize>,
    /// Maximum number of clients from one IP address, at least 1. Default: any number.
    pub clients_per_ip_max: Option<usize>,
    /// Maximum number of commands, including those being terminated; at least 1. Default: 1024.
    pub processes_max: usize,
    /// How many commands may be started per second, at least 1. Default: any number.
    pub spawn_rate: Option<u32>,
    /// Bytes of memory for the buffers of all clients and commands, at least four times
    /// [`ClientLimits::message_len_max`]. Default: half of what there is.
    ///
    /// [`ClientLimits::message_len_max`]: super::ClientLimits::message_len_max
    pub memory_max: Option<usize>,
    /// The time for everything to end after SIGTERM; 0: none. Default: 8 s, which leaves a
    /// container's usual 10 s enough room.
    pub drain_timeout: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            once: false,
            exit_when_idle: false,
            clients_max: None,
            clients_per_ip_max: None,
            processes_max: 1024,
            spawn_rate: None,
            memory_max: None,
            drain_timeout: Duration::from_secs(8),
        }
    }
}
