use super::*;

const TIMEOUT: Duration = Duration::from_secs(40);

fn at(second: u64) -> Instant {
    Instant::EPOCH + Duration::from_secs(second)
}

#[test]
fn the_timeout_counts_from_the_latest_progress() {
    let mut progress = WriteProgress::new(at(0));
    assert_eq!(progress.deadline(TIMEOUT), at(40));
    progress.wrote(at(10));
    assert_eq!(progress.deadline(TIMEOUT), at(50));
    assert!(progress.polled(1, at(20)));
    assert_eq!(progress.deadline(TIMEOUT), at(60));
    assert!(!progress.polled(1, at(30)), "nothing new was acknowledged");
    assert_eq!(progress.deadline(TIMEOUT), at(60));
}

#[test]
fn an_acknowledged_ping_is_no_progress() {
    let mut progress = WriteProgress::new(at(0));
    assert!(progress.polled(100, at(1)));
    progress.pinged(2);
    progress.pinged(2);
    assert!(!progress.polled(104, at(2)));
    assert!(progress.polled(105, at(3)));
}

#[test]
fn a_timeout_without_end_never_expires() {
    let progress = WriteProgress::new(at(0));
    let century = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    assert!(progress.deadline(Duration::MAX) > at(0) + century);
}
