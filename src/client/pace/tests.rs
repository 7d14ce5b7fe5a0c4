use super::*;

const WRITE: Duration = Duration::from_secs(60);

/// The second at which a peer is dropped that takes `rate` bytes per second of `len`, looked at
/// every ten seconds; `None`: it gets everything.
fn dropped_at(len: u64, rate: u64) -> Option<u64> {
    let mut pace = Pace::default();
    for second in (10..).step_by(10) {
        let now = Instant::EPOCH + Duration::from_secs(second);
        let acked = (second * rate).min(len);
        pace.polled(acked, len, now, WRITE);
        match pace.deadline() {
            None => return None,
            Some(at) if at <= now => return Some(second),
            Some(_) => {}
        }
    }
    None
}

#[test]
fn a_slow_but_live_peer_gets_megabytes() {
    const MEGABYTES: u64 = 8_000_000;
    for rate in [LAST_BYTES_RATE_MIN, 5_000, 100_000] {
        assert_eq!(dropped_at(MEGABYTES, rate), None, "{rate} bytes per second");
    }
    assert_eq!(dropped_at(50_000, 1_000), None, "it has the write time-out");
}

#[test]
fn a_reader_at_one_kilobyte_per_second_is_bounded() {
    // Without the bound: 8,000 and 86,400 seconds.
    assert_eq!(dropped_at(8_000_000, 1_000), Some(2020));
    assert_eq!(dropped_at(86_400_000, 1_000), Some(21_170));
    assert_eq!(dropped_at(1_000, 1), Some(70));
}

#[test]
fn what_is_queued_later_gets_time_of_its_own() {
    let mut pace = Pace::default();
    let at = |second| Instant::EPOCH + Duration::from_secs(second);
    pace.polled(0, 100, at(0), WRITE);
    pace.polled(99, 200, at(50), WRITE);
    assert_eq!(pace.deadline(), Some(at(60)));
    pace.polled(100, 200, at(55), WRITE);
    assert_eq!(pace.deadline(), Some(at(115)));
    pace.polled(200, 200, at(110), WRITE);
    assert_eq!(pace.deadline(), None);
}
