//! One measurement: its window in time, and its figures.

use std::time::{Duration, Instant};

use crate::common::proc::cpu_time;
use crate::histogram::Histogram;

/// How long a measurement takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// The time at the start that is not counted.
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

impl Span {
    /// Starts the clock. `server` is the process whose processor time is counted. The window stays
    /// open until the amount reaches `least`, or for [`STRETCH_MAX`] times its length: a short
    /// window holds few messages of 16 MiB.
    pub(crate) fn begin(self, server: u32, least: u64) -> Window {
        let begins = Instant::now() + self.warm_up;
        Window {
            server,
            begins,
            len: self.window,
            least,
            start: None,
        }
    }
}

/// The factor by which a window may be extended.
const STRETCH_MAX: u32 = 10;

/// The window of a running measurement.
pub(crate) struct Window {
    server: u32,
    begins: Instant,
    len: Duration,
    least: u64,
    start: Option<Start>,
}

struct Start {
    at: Instant,
    server_cpu: Duration,
    own_cpu: Duration,
    amount: u64,
}

/// The counts of a window.
pub(crate) struct Measured {
    pub(crate) elapsed: Duration,
    /// Processor time of the server.
    pub(crate) server_cpu: Duration,
    /// Processor time of the load.
    pub(crate) own_cpu: Duration,
    /// The amount at the end less that at the start, in the caller's unit.
    pub(crate) amount: u64,
}

impl Window {
    /// Whether the window begins now, at this `amount`. Returns true once.
    pub(crate) fn has_begun(&mut self, now: Instant, amount: u64) -> bool {
        let begins = self.start.is_none() && now >= self.begins;
        if begins {
            self.start = Some(Start {
                at: now,
                server_cpu: cpu_time(self.server),
                own_cpu: cpu_time(std::process::id()),
                amount,
            });
        }
        begins
    }

    /// The result if the window ends now, at this `amount`.
    pub(crate) fn is_finished(&self, now: Instant, amount: u64) -> Option<Measured> {
        let start = self.start.as_ref()?;
        let len = match amount - start.amount >= self.least {
            true => self.len,
            false => self.len * STRETCH_MAX,
        };
        if now < start.at + len {
            return None;
        }
        self.close(now, amount)
    }

    /// The result up to now, however short the window is.
    pub(crate) fn close(&self, now: Instant, amount: u64) -> Option<Measured> {
        let start = self.start.as_ref()?;
        Some(Measured {
            elapsed: now - start.at,
            server_cpu: cpu_time(self.server).saturating_sub(start.server_cpu),
            own_cpu: cpu_time(std::process::id()).saturating_sub(start.own_cpu),
            amount: amount - start.amount,
        })
    }
}

/// The figures of one measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Messages (or connections) per second.
    pub(crate) rate: f64,
    /// Payload bytes per second.
    pub(crate) bytes_rate: f64,
    /// The server's processor time per message, in microseconds.
    pub(crate) cpu_us: f64,
    /// The server's processor time per byte of payload, in nanoseconds.
    pub(crate) cpu_ns_per_byte: f64,
    /// Half of all replies came within this time, in microseconds.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
    /// The share of one core that the server used.
    pub(crate) server_busy: f64,
    /// The share of its core that the load used. Near 1, the load limits the rate.
    pub(crate) load_busy: f64,
}

impl Sample {
    pub(crate) fn new(measured: &Measured, messages: f64, bytes: f64, times: &Histogram) -> Sample {
        let seconds = measured.elapsed.as_secs_f64();
        let cpu = measured.server_cpu.as_secs_f64();
        let micros = |share| times.quantile(share).as_secs_f64() * 1e6;
        Sample {
            rate: messages / seconds,
            bytes_rate: bytes / seconds,
            cpu_us: cpu * 1e6 / messages.max(1.0),
            cpu_ns_per_byte: cpu * 1e9 / bytes.max(1.0),
            p50_us: micros(0.50),
            p99_us: micros(0.99),
            max_us: micros(1.00),
            server_busy: cpu / seconds,
            load_busy: measured.own_cpu.as_secs_f64() / seconds,
        }
    }
}
