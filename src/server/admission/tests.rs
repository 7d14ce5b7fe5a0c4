use super::*;

const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const PLENTY: Memory = Memory::new(usize::MAX, 0);
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
        assert_eq!(admission.check(address, &limits, &PLENTY), Ok(()));
        admission.served(address, &limits);
    }
    let refused = admission.check(A, &limits, &PLENTY);
    assert_eq!(status(refused, "--max-clients-per-ip"), 429);
    assert_eq!(admission.check(B, &limits, &PLENTY), Ok(()));
    admission.entered(B, &limits);
    assert_eq!(
        status(admission.check(B, &limits, &PLENTY), "--max-clients"),
        503
    );
    admission.left(A);
    assert_eq!(admission.check(A, &limits, &PLENTY), Ok(()));
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
    let refused = admission.check(ip("2001:db8:0:1::3"), &limits, &PLENTY);
    assert_eq!(status(refused, "--max-clients-per-ip"), 429);
    let other = admission.check(ip("2001:db8:0:2::1"), &limits, &PLENTY);
    assert_eq!(other, Ok(()), "another network");
    // IPv4 addresses are one by one, also where they are written as IPv6.
    for text in ["10.0.0.1", "::ffff:10.0.0.1"] {
        admission.served(ip(text), &limits);
    }
    assert!(admission.check(A, &limits, &PLENTY).is_err());
    assert_eq!(
        admission.check(ip("::ffff:10.0.0.2"), &limits, &PLENTY),
        Ok(())
    );
    admission.left(ip("2001:db8:0:1:ffff::2"));
    assert_eq!(
        admission.check(ip("2001:db8:0:1::3"), &limits, &PLENTY),
        Ok(())
    );
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
        assert_eq!(admission.check(A, &limits, &PLENTY), Ok(()));
        admission.served(A, &limits);
        assert_eq!(
            status(admission.check(B, &limits, &PLENTY), "--max-clients"),
            503
        );
        admission.closed(A);
    }
}

#[test]
fn without_limits_clients_are_not_counted_by_address() {
    let limits = ServerLimits::default();
    let mut admission = Admission::default();
    assert!(!admission.is_deserted(), "no client was served yet");
    for _ in 0..2000 {
        assert_eq!(admission.check(A, &limits, &PLENTY), Ok(()));
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
    assert_eq!(
        admission.check(A, &limits, &PLENTY),
        Ok(()),
        "it was not served"
    );
    admission.served(A, &limits);
    assert_eq!(status(admission.check(B, &limits, &PLENTY), "--once"), 503);
    admission.left(A);
    assert_eq!(status(admission.check(A, &limits, &PLENTY), "--once"), 503);
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

#[test]
fn new_clients_are_refused_while_memory_is_short() {
    let limits = ServerLimits::default();
    let admission = Admission::default();
    let mut memory = Memory::new(1000, 0);
    let mut charged = 0;
    memory.charge(&mut charged, 749);
    assert_eq!(admission.check(A, &limits, &memory), Ok(()));
    memory.charge(&mut charged, 750);
    let refused = admission.check(A, &limits, &memory);
    assert_eq!(status(refused, "--max-memory"), 503);
}
