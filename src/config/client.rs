//! Settings of a client's connection: [`Access`] and [`ClientLimits`].

use std::time::Duration;

use crate::http::proxy::Proxies;

/// Which clients may connect, and which proxies are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Origins accepted besides the server's own, as they were given. Default: none.
    pub(crate) origins: Vec<String>,
    /// Whether every origin is accepted; `origins` is then empty. Default: no.
    pub(crate) any_origin: bool,
    /// Host names that count as the server's own besides those that always do. Default: none.
    pub(crate) allow_hosts: Vec<String>,
    /// Sub-protocols the server agrees to speak (RFC 6455, section 1.9). Default: none.
    pub(crate) subprotocols: Vec<String>,
    /// Whether the demo's shell is for the server's own user only. Default: yes.
    pub same_user: bool,
    /// Proxies that may name their clients. Default: none.
    pub(crate) proxies: Proxies,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            any_origin: false,
            allow_hosts: Vec::new(),
            subprotocols: Vec::new(),
            same_user: true,
            proxies: Proxies::default(),
        }
    }
}

/// Sizes and time-outs of a client's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// The longest message accepted from a client, at least 1. Default: 1 MiB.
    pub message_len_max: usize,
    /// How many bytes may be queued, each way, before reading from the other side pauses.
    /// Default: 64 KiB.
    pub high_water: usize,
    /// The longest request head, its empty line included; half of it may be the request line.
    /// Default: 16 KiB.
    pub head_len_max: usize,
    /// Maximum number of header fields in a request head. Default: 64.
    pub headers_max: usize,
    /// The time from the first byte of a request head to its last. Default: 10 s.
    pub head_timeout: Duration,
    /// How long a connection may wait for its next request. Default: 60 s.
    pub http_idle_timeout: Duration,
    /// The silence after which a ping is sent, and the time from each ping to the next. Shorter
    /// than `pong_timeout`. Default: 25 s.
    pub ping_interval: Duration,
    /// The silence after which the client is dropped. Default: 60 s.
    pub pong_timeout: Duration,
    /// How long a client may acknowledge nothing of what is queued for it. Default: 60 s.
    pub write_timeout: Duration,
    /// The time for the closing handshake and for the end of TCP after it. Default: 10 s.
    pub close_timeout: Duration,
    /// How long a client may stay. Default: any time.
    pub session_timeout: Option<Duration>,
    /// How long a client may stay without a message either way. Default: any time.
    pub idle_timeout: Option<Duration>,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            message_len_max: 1024 * 1024,
            high_water: 64 * 1024,
            head_len_max: 16 * 1024,
            headers_max: 64,
            head_timeout: Duration::from_secs(10),
            http_idle_timeout: Duration::from_secs(60),
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            close_timeout: Duration::from_secs(10),
            session_timeout: None,
            idle_timeout: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SCRATCH_LEN;

    #[test]
    fn a_healthy_client_is_pinged_before_it_is_dropped() {
        let limits = ClientLimits::default();
        assert!(2 * limits.ping_interval < limits.pong_timeout);
    }

    #[test]
    fn the_default_head_fits_the_scratch_buffer() {
        assert!(ClientLimits::default().head_len_max <= SCRATCH_LEN);
    }
}
