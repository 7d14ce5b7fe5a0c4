//! Limits on the number of clients and on starts of commands: [`Admission`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::config::ServerLimits;
use crate::event_loop::instant::Instant;
use crate::http::refusal::Refusal;
use crate::memory::Memory;
use crate::peer::Prefix;

/// Counts clients: open WebSockets, and lost ones that `--resume` waits for. A client that has closed
/// or was closed does not count: how fast it takes its last bytes must not keep others out. Nor does
/// a connection that only fetches pages, so a full server still answers status requests and refusals.
#[derive(Default)]
pub(super) struct Admission {
    clients: usize,
    /// Clients that no longer count, and whose connections are not yet gone.
    closing: usize,
    /// The clients of each address, if there is a limit on them. An IPv6 address stands for its
    /// network ([`Prefix`]).
    by_address: HashMap<Prefix, usize>,
    /// Whether any client has been served.
    has_served: bool,
    spawns: Bucket,
}

impl Admission {
    /// Checks that a client of this address is within the limits, and that memory is not short.
    ///
    /// # Errors
    /// 503 or 429, with the option that sets the limit.
    pub(super) fn check(
        &self,
        address: IpAddr,
        limits: &ServerLimits,
        memory: &Memory,
    ) -> Result<(), Refusal> {
        if limits.once && self.has_served {
            let reason = "with --once there is no client but the first";
            return Err(Refusal::not_now(reason));
        }
        let own = self
            .by_address
            .get(&Prefix::of(address))
            .copied()
            .unwrap_or(0);
        if let Some(max) = limits.clients_per_ip_max.filter(|max| own >= *max) {
            return Err(Refusal::too_many_from_address(max));
        }
        if let Some(max) = limits.clients_max.filter(|max| self.clients >= *max) {
            return Err(Refusal::not_now(format!(
                "there are {max} clients, as many as --max-clients allows"
            )));
        }
        if memory.is_short() {
            let max = memory.max();
            return Err(Refusal::not_now(format!(
                "the buffers take three quarters of the {max} bytes that --max-memory allows"
            )));
        }
        Ok(())
    }

    /// Checks that one more command than `processes` is within the limits, and counts its start.
    ///
    /// # Errors
    /// 503, with the option that sets the limit.
    pub(super) fn check_spawn(
        &mut self,
        processes: usize,
        now: Instant,
        limits: &ServerLimits,
    ) -> Result<(), Refusal> {
        if processes >= limits.processes_max {
            return Err(Refusal::not_now(format!(
                "there are {processes} commands, as many as --max-processes allows"
            )));
        }
        match limits.spawn_rate {
            Some(rate) if !self.spawns.take(now, rate) => Err(Refusal::not_now(format!(
                "{rate} commands were started within a second, as many as --spawn-rate allows"
            ))),
            _ => Ok(()),
        }
    }

    /// A client of this address is now being served.
    pub(super) fn served(&mut self, address: IpAddr, limits: &ServerLimits) {
        self.has_served = true;
        self.entered(address, limits);
    }

    /// A client of this address counts from now on: it is connected, or has a resumable session.
    pub(super) fn entered(&mut self, address: IpAddr, limits: &ServerLimits) {
        self.clients += 1;
        if limits.clients_per_ip_max.is_some() {
            *self.by_address.entry(Prefix::of(address)).or_default() += 1;
        }
    }

    /// A client of this address is closing, and no longer counts.
    pub(super) fn closed(&mut self, address: IpAddr) {
        self.left(address);
        self.closing += 1;
    }

    /// The connection of a client that was closing is gone.
    pub(super) fn freed(&mut self) {
        self.closing -= 1;
    }

    /// A client of this address no longer counts.
    pub(super) fn left(&mut self, address: IpAddr) {
        self.clients -= 1;
        let address = Prefix::of(address);
        if let Some(own) = self.by_address.get_mut(&address) {
            *own -= 1;
            if *own == 0 {
                self.by_address.remove(&address);
            }
        }
    }

    /// Whether clients have been served and the connections of all are gone.
    pub(super) fn is_deserted(&self) -> bool {
        self.has_served && self.clients + self.closing == 0
    }
}

/// A token bucket with room for the tokens of one second. Its level is kept as the time at which it
/// will be full: taking a token moves that by the time in which one token is refilled.
#[derive(Default)]
struct Bucket {
    full_at: Option<Instant>,
}

impl Bucket {
    /// Takes a token if there is one. `rate` tokens are refilled per second.
    fn take(&mut self, now: Instant, rate: u32) -> bool {
        const CAPACITY: Duration = Duration::from_secs(1);
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + CAPACITY / rate;
        let taken = full_at <= now + CAPACITY;
        if taken {
            self.full_at = Some(full_at);
        }
        taken
    }
}

#[cfg(test)]
mod tests;
