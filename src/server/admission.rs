//! Limits on the number of clients and on starts of commands: [`Admission`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::config::ServerLimits;
use crate::event_loop::instant::Instant;
use crate::http::refusal::Refusal;

/// Counts clients: open WebSockets, and lost ones that `--resume` waits for. A client that has closed
/// or was closed does not count: how fast it takes its last bytes must not keep others out. Nor does
/// a connection that only fetches pages, so a full server still answers status requests and refusals.
#[derive(Default)]
pub(super) struct Admission {
    clients: usize,
    /// Clients that no longer count, and whose connections are not yet gone.
    closing: usize,
    /// The clients of each address, if there is a limit on them. An IPv6 address stands for its
    /// network ([`counted`]).
    by_address: HashMap<IpAddr, usize>,
    /// Whether any client has been served.
    has_served: bool,
    spawns: Bucket,
}

impl Admission {
    /// Checks that a client of this address is within the limits.
    ///
    /// # Errors
    /// 503 or 429, with the option that sets the limit.
    pub(super) fn check(&self, address: IpAddr, limits: &ServerLimits) -> Result<(), Refusal> {
        if limits.once && self.has_served {
            let reason = "with --once there is no client but the first";
            return Err(Refusal::not_now(reason));
        }
        let own = self.by_address.get(&counted(address)).copied().unwrap_or(0);
        if let Some(max) = limits.clients_per_ip_max.filter(|max| own >= *max) {
            return Err(Refusal::too_many_from_address(max));
        }
        match limits.clients_max.filter(|max| self.clients >= *max) {
            Some(max) => Err(Refusal::not_now(format!(
                "there are {max} clients, as many as --max-clients allows"
            ))),
            None => Ok(()),
        }
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
            *self.by_address.entry(counted(address)).or_default() += 1;
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
        let address = counted(address);
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

/// The address as which a client counts. A host with IPv6 has all of a /64 (RFC 4291 section 2.5.1),
/// and may use a new address for each connection, so the network counts.
fn counted(address: IpAddr) -> IpAddr {
    const INTERFACE_ID: u128 = u64::MAX as u128;
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !INTERFACE_ID).into()),
        address => address,
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
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn status(checked: Result<(), Refusal>, says: &str) -> u16 {
        let refusal = checked.expect_err(says);
        assert!(refusal.reason.contains(says), "{}", refusal.reason);
        assert_eq!(refusal.fields[0].0, "Retry-After");
        refusal.status.code()
    }

    #[test]
    fn clients_are_counted_together_and_by_address() {
        let limits = ServerLimits {
            clients_max: Some(3),
            clients_per_ip_max: Some(2),
            ..ServerLimits::default()
        };
        let mut admission = Admission::default();
        for address in [A, A] {
            assert_eq!(admission.check(address, &limits), Ok(()));
            admission.served(address, &limits);
        }
        let refused = admission.check(A, &limits);
        assert_eq!(status(refused, "--max-clients-per-ip"), 429);
        assert_eq!(admission.check(B, &limits), Ok(()));
        admission.entered(B, &limits);
        assert_eq!(status(admission.check(B, &limits), "--max-clients"), 503);
        admission.left(A);
        assert_eq!(admission.check(A, &limits), Ok(()));
        admission.left(A);
        admission.closed(B);
        assert!(admission.by_address.is_empty(), "no address is kept");
        assert!(!admission.is_deserted(), "a connection is left");
        admission.freed();
        assert!(admission.is_deserted());
    }

    #[test]
    fn ipv6_clients_are_counted_by_their_64_bit_network() {
        let limits = ServerLimits {
            clients_per_ip_max: Some(2),
            ..ServerLimits::default()
        };
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut admission = Admission::default();
        admission.served(ip("2001:db8:0:1::1"), &limits);
        admission.served(ip("2001:db8:0:1:ffff::2"), &limits);
        let refused = admission.check(ip("2001:db8:0:1::3"), &limits);
        assert_eq!(status(refused, "--max-clients-per-ip"), 429);
        let other = admission.check(ip("2001:db8:0:2::1"), &limits);
        assert_eq!(other, Ok(()), "another network");
        // IPv4 addresses are one by one, also where they are written as IPv6.
        for text in ["10.0.0.1", "::ffff:10.0.0.1"] {
            admission.served(ip(text), &limits);
        }
        assert!(admission.check(A, &limits).is_err());
        assert_eq!(admission.check(ip("::ffff:10.0.0.2"), &limits), Ok(()));
        admission.left(ip("2001:db8:0:1:ffff::2"));
        assert_eq!(admission.check(ip("2001:db8:0:1::3"), &limits), Ok(()));
    }

    #[test]
    fn a_client_that_is_closing_has_no_place() {
        let limits = ServerLimits {
            clients_max: Some(1),
            clients_per_ip_max: Some(1),
            ..ServerLimits::default()
        };
        let mut admission = Admission::default();
        for _ in 0..10 {
            assert_eq!(admission.check(A, &limits), Ok(()));
            admission.served(A, &limits);
            assert_eq!(status(admission.check(B, &limits), "--max-clients"), 503);
            admission.closed(A);
        }
    }

    #[test]
    fn without_limits_clients_are_not_counted_by_address() {
        let limits = ServerLimits::default();
        let mut admission = Admission::default();
        assert!(!admission.is_deserted(), "no client was served yet");
        for _ in 0..2000 {
            assert_eq!(admission.check(A, &limits), Ok(()));
            admission.entered(A, &limits);
        }
        assert!(admission.by_address.is_empty());
    }

    #[test]
    fn with_once_only_the_first_served_client_is_admitted() {
        let limits = ServerLimits {
            once: true,
            ..ServerLimits::default()
        };
        let mut admission = Admission::default();
        admission.entered(A, &limits);
        admission.left(A);
        assert_eq!(admission.check(A, &limits), Ok(()), "it was not served");
        admission.served(A, &limits);
        assert_eq!(status(admission.check(B, &limits), "--once"), 503);
        admission.left(A);
        assert_eq!(status(admission.check(A, &limits), "--once"), 503);
    }

    #[test]
    fn the_number_of_commands_is_limited() {
        let limits = ServerLimits::default();
        let mut admission = Admission::default();
        let now = Instant::EPOCH;
        assert_eq!(admission.check_spawn(1023, now, &limits), Ok(()));
        let refused = admission.check_spawn(1024, now, &limits);
        assert_eq!(status(refused, "--max-processes"), 503);
    }

    #[test]
    fn the_rate_of_starts_is_limited() {
        let limits = ServerLimits {
            spawn_rate: Some(3),
            ..ServerLimits::default()
        };
        let start = Instant::EPOCH;
        let mut admission = Admission::default();
        let mut at = |ms| admission.check_spawn(0, start + Duration::from_millis(ms), &limits);
        for _ in 0..3 {
            assert_eq!(at(0), Ok(()));
        }
        assert_eq!(status(at(0), "--spawn-rate"), 503);
        assert_eq!(status(at(333), "--spawn-rate"), 503);
        assert_eq!(at(334), Ok(()), "one is refilled in a third of a second");
        assert_eq!(status(at(340), "--spawn-rate"), 503);
        for _ in 0..3 {
            assert_eq!(
                at(60_000),
                Ok(()),
                "at most the tokens of one second are saved"
            );
        }
        assert_eq!(status(at(60_000), "--spawn-rate"), 503);
    }

    #[test]
    fn the_rate_holds_over_time() {
        for rate in [1, 2, 7, 100] {
            let start = Instant::EPOCH;
            let mut bucket = Bucket::default();
            let taken = (0..10_000)
                .filter(|ms| bucket.take(start + Duration::from_millis(*ms), rate))
                .count() as u32;
            assert!((10 * rate..=11 * rate).contains(&taken), "{rate}: {taken}");
        }
    }
}
