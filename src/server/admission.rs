//! Who is let in while others are there: the limits on clients and on their commands.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::config::ServerLimits;
use crate::event_loop::instant::Instant;
use crate::http::refusal::Refusal;

/// Counts the clients: who has a WebSocket, until the connection is gone. Whoever only fetches a
/// page is none, so that a server that is full can still be watched and can still say so.
#[derive(Default)]
pub(super) struct Admission {
    clients: usize,
    /// The clients of each address, as long as there is a limit to them.
    by_address: HashMap<IpAddr, usize>,
    /// Whether a client has ever come.
    has_served: bool,
    spawns: Bucket,
}

impl Admission {
    /// Whether a client of this address may come.
    ///
    /// # Errors
    /// 503 or 429, with the option that forbids it.
    pub(super) fn check(&self, address: IpAddr, limits: &ServerLimits) -> Result<(), Refusal> {
        if limits.once && self.has_served {
            let reason = "with --once there is no client but the first";
            return Err(Refusal::not_now(reason));
        }
        let own = self.by_address.get(&address).copied().unwrap_or(0);
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

    /// Whether a command may be started where there are so many `processes`; counts the start.
    ///
    /// # Errors
    /// 503, with the option that forbids it.
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

    /// A client of this address is there, and is served.
    pub(super) fn serve(&mut self, address: IpAddr, limits: &ServerLimits) {
        self.has_served = true;
        self.enter(address, limits);
    }

    /// A client of this address has a place: it is there, or may come back.
    pub(super) fn enter(&mut self, address: IpAddr, limits: &ServerLimits) {
        self.clients += 1;
        if limits.clients_per_ip_max.is_some() {
            *self.by_address.entry(address).or_default() += 1;
        }
    }

    /// A place of this address is free.
    pub(super) fn leave(&mut self, address: IpAddr) {
        self.clients -= 1;
        if let Some(own) = self.by_address.get_mut(&address) {
            *own -= 1;
            if *own == 0 {
                self.by_address.remove(&address);
            }
        }
    }

    /// Whether clients have come, and all of them have gone.
    pub(super) fn is_deserted(&self) -> bool {
        self.has_served && self.clients == 0
    }
}

/// A token bucket that holds the tokens of one second. Of its filling only one thing is kept: when
/// it will be full, as each token that is taken puts that off by the time it takes to come back.
#[derive(Default)]
struct Bucket {
    full_at: Option<Instant>,
}

impl Bucket {
    /// Takes a token, of which `rate` come in a second, if there is one.
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
            admission.serve(address, &limits);
        }
        let refused = admission.check(A, &limits);
        assert_eq!(status(refused, "--max-clients-per-ip"), 429);
        assert_eq!(admission.check(B, &limits), Ok(()));
        admission.enter(B, &limits);
        assert_eq!(status(admission.check(B, &limits), "--max-clients"), 503);
        admission.leave(A);
        assert_eq!(admission.check(A, &limits), Ok(()));
        admission.leave(A);
        admission.leave(B);
        assert!(admission.by_address.is_empty(), "no address is kept");
        assert!(admission.is_deserted());
    }

    #[test]
    fn without_limits_anyone_may_come_and_nobody_is_noted() {
        let limits = ServerLimits::default();
        let mut admission = Admission::default();
        assert!(!admission.is_deserted(), "nobody has come yet");
        for _ in 0..2000 {
            assert_eq!(admission.check(A, &limits), Ok(()));
            admission.enter(A, &limits);
        }
        assert!(admission.by_address.is_empty());
    }

    #[test]
    fn once_is_for_the_first_client() {
        let limits = ServerLimits {
            once: true,
            ..ServerLimits::default()
        };
        let mut admission = Admission::default();
        admission.enter(A, &limits);
        admission.leave(A);
        assert_eq!(admission.check(A, &limits), Ok(()), "it got nothing");
        admission.serve(A, &limits);
        assert_eq!(status(admission.check(B, &limits), "--once"), 503);
        admission.leave(A);
        assert_eq!(status(admission.check(A, &limits), "--once"), 503);
    }

    #[test]
    fn commands_are_limited_in_number() {
        let limits = ServerLimits::default();
        let mut admission = Admission::default();
        let now = Instant::EPOCH;
        assert_eq!(admission.check_spawn(1023, now, &limits), Ok(()));
        let refused = admission.check_spawn(1024, now, &limits);
        assert_eq!(status(refused, "--max-processes"), 503);
    }

    #[test]
    fn commands_are_limited_in_rate() {
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
        assert_eq!(at(334), Ok(()), "a third of a second brings one");
        assert_eq!(status(at(340), "--spawn-rate"), 503);
        for _ in 0..3 {
            assert_eq!(at(60_000), Ok(()), "no more than a second's are saved up");
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
