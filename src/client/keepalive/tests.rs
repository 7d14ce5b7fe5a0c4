use super::super::write_progress::WriteProgress;
use super::*;
use crate::testing::for_each_seed;
use Verdict::{Drop, Ping};

const INTERVALS: Intervals = Intervals {
    ping_interval: Duration::from_secs(25),
    pong_timeout: Duration::from_secs(60),
};

/// Bytes of a ping on the wire.
const PING_LEN: u64 = 2;

/// A clock in a world whose seconds are counted from its beginning. No test sleeps.
struct World {
    start: Instant,
    keepalive: Keepalive,
    progress: WriteProgress,
    acked: u64,
    /// Whether the peer's kernel acknowledges pings at once.
    acks_pings: bool,
}

impl World {
    fn new() -> World {
        let start = Instant::EPOCH;
        World {
            start,
            keepalive: Keepalive::new(start),
            progress: WriteProgress::new(start),
            acked: 0,
            acks_pings: true,
        }
    }

    fn at(&self, second: u64) -> Instant {
        self.start + Duration::from_secs(second)
    }

    fn received(&mut self, second: u64) {
        self.keepalive.received(self.at(second));
    }

    fn deadline(&self) -> u64 {
        (self.keepalive.deadline(&INTERVALS) - self.start).as_secs()
    }

    /// Fires the timer at every deadline up to `end` and returns each verdict with its second.
    /// Stops when the peer is dropped.
    fn until(&mut self, end: u64) -> Vec<(u64, Verdict)> {
        let mut verdicts = Vec::new();
        while self.deadline() <= end {
            let second = self.deadline();
            let now = self.at(second);
            if self.progress.polled(self.acked, now) {
                self.keepalive.acknowledged(now);
            }
            let verdict = self.keepalive.on_timer(now, now, &INTERVALS);
            match verdict {
                Verdict::Wait => {}
                Verdict::Ping => {
                    self.progress.pinged(PING_LEN);
                    if self.acks_pings {
                        self.acked += PING_LEN;
                    }
                    verdicts.push((second, verdict));
                }
                Verdict::Drop => {
                    verdicts.push((second, verdict));
                    break;
                }
            }
            assert!(self.deadline() > second, "a handled deadline has moved");
        }
        verdicts
    }
}

#[test]
fn a_silent_peer_is_pinged_and_dropped() {
    for acks_pings in [true, false] {
        let mut world = World {
            acks_pings,
            ..World::new()
        };
        assert_eq!(world.until(1000), [(25, Ping), (50, Ping), (60, Drop)]);
    }
}

#[test]
fn a_peer_that_answers_stays() {
    let mut world = World::new();
    for ping in (0..10).map(|turn| 25 + turn * 26) {
        assert_eq!(world.until(ping), [(ping, Ping)]);
        world.received(ping + 1);
    }
}

#[test]
fn a_peer_that_talks_is_not_pinged() {
    let mut world = World::new();
    for second in (0..500).step_by(24) {
        world.received(second);
        assert_eq!(world.until(second + 24), []);
    }
}

#[test]
fn a_late_answer_restarts_the_clock() {
    let mut world = World::new();
    assert_eq!(world.until(59), [(25, Ping), (50, Ping)]);
    world.received(59);
    assert_eq!(world.until(1000), [(84, Ping), (109, Ping), (119, Drop)]);
}

#[test]
fn an_early_call_changes_nothing() {
    let mut world = World::new();
    for second in 0..25 {
        let now = world.at(second);
        assert_eq!(
            world.keepalive.on_timer(now, now, &INTERVALS),
            Verdict::Wait
        );
    }
    assert_eq!(world.until(1000), [(25, Ping), (50, Ping), (60, Drop)]);
}

#[test]
fn a_peer_is_judged_by_the_events_that_were_delivered() {
    let mut world = World::new();
    assert_eq!(world.until(59), [(25, Ping), (50, Ping)]);
    for (acted_until, verdict) in [(50, Verdict::Wait), (59, Verdict::Wait), (60, Drop)] {
        let (now, until) = (world.at(70), world.at(acted_until));
        let judged = world.keepalive.on_timer(now, until, &INTERVALS);
        assert_eq!(judged, verdict, "{acted_until}");
    }
}

/// A delayed loop sends one ping for all that were due. A peer that was never pinged is not dropped
/// for the delay: it has 35 seconds from the first ping on.
#[test]
fn a_late_call_pings_before_it_drops() {
    for late in [26, 55, 60, 200, 100_000] {
        let mut world = World::new();
        let now = world.at(late);
        assert_eq!(world.keepalive.on_timer(now, now, &INTERVALS), Ping);
        let expected = [(late + 25, Ping), (late + 35, Drop)];
        assert_eq!(world.until(1_000_000), expected);
    }
}

/// The peer's program hangs; its kernel has acknowledged what was sent before the first ping.
#[test]
fn bytes_acknowledged_before_the_first_ping_are_no_answer() {
    let mut world = World::new();
    world.acked = 10_000;
    assert_eq!(world.until(1000), [(25, Ping), (50, Ping), (60, Drop)]);
}

/// The pong waits behind megabytes. Acknowledgements keep the peer, and pings go on.
#[test]
fn acknowledged_bytes_count_as_received() {
    let mut world = World::new();
    let mut verdicts = Vec::new();
    for second in 0..300 {
        world.acked += 50_000;
        verdicts.extend(world.until(second));
    }
    let pings: Vec<_> = (1..12).map(|turn| (turn * 25, Ping)).collect();
    assert_eq!(verdicts, pings);
    // The acknowledgements stop; the last one is seen with the ping of second 300.
    world.until(300);
    assert_eq!(world.until(1000).pop(), Some((360, Drop)));
}

#[test]
fn acknowledged_pings_do_not_count_however_late() {
    let mut world = World {
        acks_pings: false,
        ..World::new()
    };
    assert_eq!(world.until(55), [(25, Ping), (50, Ping)]);
    world.acked += 2 * PING_LEN;
    assert_eq!(world.until(1000), [(60, Drop)]);
}

#[test]
fn silence_during_a_pause_does_not_count_and_pings_go_on() {
    let mut world = World::new();
    assert_eq!(world.until(50), [(25, Ping), (50, Ping)]);
    world.keepalive.paused();
    world.keepalive.paused();
    let pings: Vec<_> = (3..=200).map(|turn| (turn * 25, Ping)).collect();
    assert_eq!(world.until(5010), pings);
    world.keepalive.resumed(world.at(5010));
    let expected = [(5025, Ping), (5050, Ping), (5070, Drop)];
    assert_eq!(world.until(10_000), expected);
}

#[test]
fn a_pause_begins_and_ends_once() {
    let mut world = World::new();
    world.keepalive.resumed(world.at(20));
    assert_eq!(world.deadline(), 25, "there was no pause to end");
    world.keepalive.paused();
    world.keepalive.paused();
    world.received(24);
    assert_eq!(world.deadline(), 25, "bytes do not end a pause");
    world.keepalive.resumed(world.at(24));
    world.keepalive.resumed(world.at(70));
    let expected = [(25, Ping), (50, Ping), (75, Ping), (84, Drop)];
    assert_eq!(world.until(1000), expected);
}

/// A sender that fills a shared command's stdin again and again pauses all clients each time.
#[test]
fn pauses_in_quick_succession_do_not_postpone_a_ping() {
    let mut world = World::new();
    let mut verdicts = Vec::new();
    for second in 0..200 {
        world.keepalive.paused();
        verdicts.extend(world.until(second));
        world.keepalive.resumed(world.at(second));
    }
    let pings: Vec<_> = (1..8).map(|turn| (turn * 25, Ping)).collect();
    assert_eq!(verdicts, pings);
}

/// What the peer acknowledges between a pause and the next ping may be as old as the pause.
#[test]
fn bytes_acknowledged_before_the_first_ping_after_a_pause_do_not_count() {
    let mut world = World::new();
    world.keepalive.paused();
    world.keepalive.resumed(world.at(10));
    world.keepalive.acknowledged(world.at(20));
    let expected = [(25, Ping), (50, Ping), (70, Drop)];
    assert_eq!(world.until(1000), expected);
}

/// The machine is suspended directly after a pause in which no ping was due.
#[test]
fn a_late_call_after_a_pause_pings_before_it_drops() {
    let mut world = World::new();
    world.keepalive.paused();
    world.keepalive.resumed(world.at(5));
    let now = world.at(5000);
    assert_eq!(world.keepalive.on_timer(now, now, &INTERVALS), Ping);
    assert_eq!(world.until(10_000), [(5025, Ping), (5035, Drop)]);
}

#[test]
fn limits_without_end_never_expire() {
    let intervals = Intervals {
        ping_interval: Duration::MAX,
        pong_timeout: Duration::MAX,
    };
    let mut world = World::new();
    let century = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    assert!(world.keepalive.deadline(&intervals) > world.start + century);
    let now = world.start + century;
    let verdict = world.keepalive.on_timer(now, now, &intervals);
    assert_eq!(verdict, Verdict::Wait);
}

/// In random lives, pauses or not, a ping comes an interval after the last byte or ping, and no peer
/// is dropped from which something was received within the pong time-out.
#[test]
fn random_lives_keep_the_intervals() {
    for_each_seed(500, |random| {
        let mut world = World {
            acks_pings: random.one_in(2),
            ..World::new()
        };
        let (mut received, mut quiet_since, mut paused) = (0, 0, false);
        for second in 0..400 {
            for (due, verdict) in world.until(second) {
                match verdict {
                    Verdict::Ping => {
                        assert_eq!(due, quiet_since + 25);
                        quiet_since = due;
                    }
                    Verdict::Drop => return assert!(!paused && due >= received + 60),
                    Verdict::Wait => unreachable!("it is not listed"),
                }
            }
            match random.below(60) {
                0..=1 if !paused => {
                    world.received(second);
                    (received, quiet_since) = (second, second);
                }
                6 if !paused => {
                    world.keepalive.paused();
                    paused = true;
                }
                7..=10 if paused => {
                    world.keepalive.resumed(world.at(second));
                    (received, paused) = (second, false);
                }
                11 => world.acked += random.below(1000) as u64,
                _ => {}
            }
        }
    });
}
