use super::*;
use crate::client::pace::Pace;
use crate::client::write_progress::WriteProgress;

const CLOSE: Duration = Duration::from_secs(10);
const WRITE: Duration = Duration::from_secs(60);

/// The second at which the connection is dropped, for a peer that has acknowledged
/// `acked(second)` of `last_byte` bytes.
fn dropped_at(last_byte: u64, acked: impl Fn(u64) -> u64) -> u64 {
    let start = Instant::EPOCH;
    let mut progress = WriteProgress::new(start);
    let mut pace = Pace::default();
    let mut close_timeout = CloseTimeout::new(last_byte, start, CLOSE);
    loop {
        let now = close_timeout.deadline();
        let second = (now - start).as_secs();
        assert!(second < 100_000, "it never expires");
        progress.polled(acked(second), now);
        pace.polled(acked(second), last_byte, now, WRITE);
        let stalled_at = progress.deadline(WRITE);
        let drop_at = pace.deadline().map_or(stalled_at, |at| at.min(stalled_at));
        if close_timeout.on_timer(now, acked(second), drop_at, CLOSE) {
            return second;
        }
    }
}

#[test]
fn a_peer_that_has_all_bytes_gets_the_close_timeout() {
    assert_eq!(dropped_at(100, |_| 100), 10);
    let pongs_behind = dropped_at(100, |_| 5000);
    assert_eq!(pongs_behind, 10, "bytes behind the last do not count");
}

#[test]
fn a_slow_peer_gets_all_bytes_and_then_the_close_timeout() {
    // A megabyte at five thousand bytes a second.
    assert_eq!(dropped_at(1_000_000, |second| second * 5_000), 210);
    // The same in bursts, with pauses shorter than the write time-out.
    let bursts = |second| second / 50 * 50 * 5_000;
    assert_eq!(dropped_at(1_000_000, bursts), 210);
}

#[test]
fn a_peer_that_takes_a_byte_now_and_then_is_dropped_all_the_same() {
    // Without a total bound it would stay for eleven days.
    assert_eq!(dropped_at(1_000_000, |second| second), 10 + 60 + 244);
}

#[test]
fn a_peer_that_takes_nothing_gets_the_write_timeout() {
    assert_eq!(dropped_at(1000, |_| 0), 60);
    let stops = |second: u64| (second * 5_000).min(150_000);
    assert_eq!(dropped_at(1_000_000, stops), 30 + 60);
}

#[test]
fn an_early_call_changes_nothing() {
    let start = Instant::EPOCH;
    let mut close_timeout = CloseTimeout::new(10, start, CLOSE);
    let early = start + Duration::from_secs(9);
    assert!(!close_timeout.on_timer(early, 10, start + WRITE, CLOSE));
    assert_eq!(close_timeout.deadline(), start + CLOSE);
}
