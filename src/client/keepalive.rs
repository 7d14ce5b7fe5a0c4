//! Whether the peer is still there: when to send a ping, and when to give it up.
//!
//! Two silences are watched, each with its own clock.
//!
//! - *Nothing is heard.* A peer from which nothing was read for a ping interval is sent a ping, and
//!   another after each interval more. Any byte it sends counts as an answer. A pong time-out after
//!   the last thing heard it is given up.
//! - *Nothing goes out.* While there are bytes to write, the kernel must accept some of them, or
//!   the peer's TCP acknowledge some, within the write time-out.
//!
//! Two things must not be taken for silence. A pong cannot overtake the megabytes of output behind
//! which its ping waits: so, from the first ping on, bytes that the peer's TCP acknowledges count
//! as heard. Those of the pings themselves do not, or else the kernel of a machine on which the
//! program hangs could keep it alive for ever. And while this end does not read, it cannot hear:
//! so the first clock stands still during a pause.
//!
//! The time is an argument of every call. Calls are cheap: to hear something is to store an
//! instant, and nobody is woken for it; see [`Keepalive::deadline`].

use std::time::Duration;

use crate::event_loop::instant::Instant;

/// Bytes of one of our pings on the wire: a header, and no payload.
const PING_LEN: u64 = 2;

/// So far ahead that it is never: what is not due at all is due then.
const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The lengths of the silences that are borne.
///
/// The pong time-out should be longer than the ping interval. If it is not, a silent peer is given
/// up before it was ever asked. A length too great to be added to an instant means never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the last thing heard to the first ping, and from each ping to the next.
    pub ping_interval: Duration,
    /// From the last thing heard until the peer is given up.
    pub pong_timeout: Duration,
    /// From the last byte that went out, while more are waiting, until the peer is given up.
    pub write_timeout: Duration,
}

/// What is to be done at a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet.
    Wait,
    /// Send a ping, without a payload, at once.
    Ping,
    /// Drop the connection: the peer is gone, or as good as gone.
    GiveUp(Silence),
}

/// Which silence lasted too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Nothing was heard for the pong time-out.
    NotHeard,
    /// Nothing went out for the write time-out.
    NotWriting,
}

/// The watch on one peer.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    hearing: Hearing,
    /// When bytes last went out, or began to wait.
    wrote: Instant,
    /// What `acked` must exceed to be news: what it was when last seen, and the pings since.
    acked: u64,
}

/// The clock of what is heard.
#[derive(Clone, Copy, Debug)]
enum Hearing {
    /// The peer is read from.
    Listening {
        /// When something was last heard.
        heard: Instant,
        /// When a ping was last sent, if any was since bytes were last read.
        pinged: Option<Instant>,
    },
    /// The peer is not read from, so the clock stands still.
    Paused,
}

/// Each client has one.
const _: () = assert!(size_of::<Keepalive>() <= 32);

impl Keepalive {
    /// The watch begins: the peer was heard `now`.
    pub const fn new(now: Instant) -> Self {
        Keepalive {
            hearing: Hearing::Listening {
                heard: now,
                pinged: None,
            },
            wrote: now,
            acked: 0,
        }
    }

    /// Bytes were read from the peer; what they say does not matter. During a pause nothing changes.
    #[inline]
    pub fn heard(&mut self, now: Instant) {
        if let Hearing::Listening { .. } = self.hearing {
            self.hearing = Hearing::Listening {
                heard: now,
                pinged: None,
            };
        }
    }

    /// This end stops reading from the peer. Until it [resumes](Self::resumed) no ping is due, for
    /// its pong could not be read, and the peer's silence is not counted.
    pub fn paused(&mut self) {
        self.hearing = Hearing::Paused;
    }

    /// This end reads again. The peer counts as heard `now`. Without a pause nothing changes.
    pub fn resumed(&mut self, now: Instant) {
        if let Hearing::Paused = self.hearing {
            self.hearing = Hearing::Listening {
                heard: now,
                pinged: None,
            };
        }
    }

    /// The kernel accepted bytes for the peer, or the first byte after a while waits to be written.
    #[inline]
    pub fn wrote(&mut self, now: Instant) {
        self.wrote = now;
    }

    /// The peer's TCP has acknowledged `acked` bytes since the connection began: those that were
    /// written, less those that the kernel still holds. It must not fall. More than before shows that
    /// the peer takes what is written, and after a ping that it is there.
    ///
    /// Nobody tells that: who asks seldom gives the peer longer, and who asks only at a deadline, twice
    /// as long.
    pub fn acknowledged(&mut self, now: Instant, acked: u64) {
        if acked <= self.acked {
            return;
        }
        self.acked = acked;
        self.wrote = now;
        // Before a ping is out there is no pong that could be late. What was acknowledged until
        // then may be the answer to the last thing heard, and as old.
        if let Hearing::Listening {
            heard,
            pinged: Some(_),
        } = &mut self.hearing
        {
            *heard = now;
        }
    }

    /// When [`on_deadline`](Self::on_deadline) must be called next, if nothing happens until then.
    /// `unsent`: bytes are waiting to be written.
    ///
    /// Most of what happens moves the deadline away. So one that was asked for earlier may be kept
    /// and this asked again once it is reached: a call that comes early changes nothing. Only
    /// `unsent` becoming true, and the end of a pause, may bring the deadline nearer.
    ///
    /// `None`: never, while it is paused and nothing waits.
    pub fn deadline(&self, limits: &Limits, unsent: bool) -> Option<Instant> {
        let write = unsent.then(|| after(self.wrote, limits.write_timeout));
        let hear = match self.hearing {
            Hearing::Paused => None,
            Hearing::Listening { heard, pinged } => {
                let ping = after(pinged.unwrap_or(heard), limits.ping_interval);
                Some(ping.min(after(heard, limits.pong_timeout)))
            }
        };
        write.into_iter().chain(hear).min()
    }

    /// What is to be done `now`, when all that had happened by `told` is known. A [`Verdict::Ping`] is
    /// taken for sent.
    pub fn on_deadline(
        &mut self,
        now: Instant,
        told: Instant,
        limits: &Limits,
        unsent: bool,
    ) -> Verdict {
        if unsent && told >= after(self.wrote, limits.write_timeout) {
            return Verdict::GiveUp(Silence::NotWriting);
        }
        let Hearing::Listening { heard, pinged } = &mut self.hearing else {
            return Verdict::Wait;
        };
        // A deadline that comes late is not the peer's fault: this process was stopped, or its machine
        // stood still. Whoever was not asked yet is asked now, and has as long for its answer as
        // it would have had.
        if pinged.is_none() {
            let asked_after = now.checked_sub(limits.ping_interval);
            *heard = asked_after.unwrap_or(Instant::EPOCH).max(*heard);
        }
        if told >= after(*heard, limits.pong_timeout) {
            return Verdict::GiveUp(Silence::NotHeard);
        }
        if now >= after(pinged.unwrap_or(*heard), limits.ping_interval) {
            *pinged = Some(now);
            self.acked = self.acked.saturating_add(PING_LEN);
            return Verdict::Ping;
        }
        Verdict::Wait
    }
}

/// The instant `wait` after `start`, or one that is never reached if there is none.
fn after(start: Instant, wait: Duration) -> Instant {
    start.checked_add(wait).unwrap_or(start + FAR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::for_each_seed;

    const LIMITS: Limits = Limits {
        ping_interval: Duration::from_secs(25),
        pong_timeout: Duration::from_secs(60),
        write_timeout: Duration::from_secs(40),
    };

    const NOT_HEARD: Verdict = Verdict::GiveUp(Silence::NotHeard);
    const NOT_WRITING: Verdict = Verdict::GiveUp(Silence::NotWriting);

    /// A watch in a world whose seconds are counted from its beginning. No test sleeps.
    struct World {
        start: Instant,
        keepalive: Keepalive,
        unsent: bool,
        acked: u64,
        /// Whether the peer's kernel acknowledges pings at once.
        acks_pings: bool,
    }

    impl World {
        fn new() -> World {
            let start = Instant::EPOCH;
            let keepalive = Keepalive::new(start);
            World {
                start,
                keepalive,
                unsent: false,
                acked: 0,
                acks_pings: true,
            }
        }

        fn at(&self, second: u64) -> Instant {
            self.start + Duration::from_secs(second)
        }

        fn heard(&mut self, second: u64) {
            self.keepalive.heard(self.at(second));
        }

        fn wrote(&mut self, second: u64) {
            self.keepalive.wrote(self.at(second));
        }

        fn deadline(&self) -> u64 {
            let deadline = self.keepalive.deadline(&LIMITS, self.unsent);
            deadline.map_or(u64::MAX, |at| (at - self.start).as_secs())
        }

        /// Sees to every deadline up to `end`, and tells what was due when. Stops at a give-up.
        fn until(&mut self, end: u64) -> Vec<(u64, Verdict)> {
            let mut verdicts = Vec::new();
            while self.deadline() <= end {
                let second = self.deadline();
                self.keepalive.acknowledged(self.at(second), self.acked);
                let verdict = self.keepalive.on_deadline(
                    self.at(second),
                    self.at(second),
                    &LIMITS,
                    self.unsent,
                );
                if verdict != Verdict::Wait {
                    verdicts.push((second, verdict));
                }
                if let Verdict::GiveUp(_) = verdict {
                    break;
                }
                if verdict == Verdict::Ping && self.acks_pings {
                    self.acked += PING_LEN;
                }
                assert!(
                    self.deadline() > second,
                    "a deadline that was seen to is not due again"
                );
            }
            verdicts
        }
    }

    use Verdict::Ping;

    #[test]
    fn a_silent_peer_is_pinged_and_given_up() {
        for acks_pings in [true, false] {
            let mut world = World {
                acks_pings,
                ..World::new()
            };
            assert_eq!(world.until(1000), [(25, Ping), (50, Ping), (60, NOT_HEARD)]);
        }
    }

    #[test]
    fn a_peer_that_answers_stays() {
        let mut world = World::new();
        for ping in (0..10).map(|turn| 25 + turn * 26) {
            assert_eq!(world.until(ping), [(ping, Ping)]);
            world.heard(ping + 1);
        }
    }

    #[test]
    fn a_peer_that_talks_is_not_pinged() {
        let mut world = World::new();
        for second in (0..500).step_by(24) {
            world.heard(second);
            assert_eq!(world.until(second + 24), []);
        }
    }

    #[test]
    fn a_late_answer_restarts_both_clocks() {
        let mut world = World::new();
        assert_eq!(world.until(59), [(25, Ping), (50, Ping)]);
        world.heard(59);
        assert_eq!(
            world.until(1000),
            [(84, Ping), (109, Ping), (119, NOT_HEARD)]
        );
    }

    #[test]
    fn a_call_that_comes_early_changes_nothing() {
        let mut world = World::new();
        for second in 0..25 {
            let verdict =
                world
                    .keepalive
                    .on_deadline(world.at(second), world.at(second), &LIMITS, false);
            assert_eq!(verdict, Verdict::Wait);
        }
        assert_eq!(world.until(1000), [(25, Ping), (50, Ping), (60, NOT_HEARD)]);
    }

    /// What a peer did meanwhile may be told later.
    #[test]
    fn a_peer_is_judged_as_of_what_was_told() {
        let mut world = World::new();
        assert_eq!(world.until(59), [(25, Ping), (50, Ping)]);
        for (told, verdict) in [(50, Verdict::Wait), (59, Verdict::Wait), (60, NOT_HEARD)] {
            let (now, told) = (world.at(70), world.at(told));
            let judged = world.keepalive.on_deadline(now, told, &LIMITS, false);
            assert_eq!(judged, verdict, "{told:?}");
        }
        let mut world = World::new();
        for (told, verdict) in [(24, Ping), (39, Verdict::Wait), (40, NOT_WRITING)] {
            let (now, told) = (world.at(45), world.at(told));
            let judged = world.keepalive.on_deadline(now, told, &LIMITS, true);
            assert_eq!(judged, verdict, "{told:?}");
        }
    }

    /// A loop that was held up sends one ping for all that were due. A peer that was never asked is
    /// not given up for that; it has its 35 seconds from the first ping on.
    #[test]
    fn a_call_that_comes_late_asks_before_it_gives_up() {
        for late in [26, 55, 60, 200, 100_000] {
            let mut world = World::new();
            let verdict =
                (world.keepalive).on_deadline(world.at(late), world.at(late), &LIMITS, false);
            assert_eq!(verdict, Ping);
            let expected = [(late + 25, Ping), (late + 35, NOT_HEARD)];
            assert_eq!(world.until(1_000_000), expected);
        }
    }

    /// The peer's program hangs, and what it was sent before the first ping was acknowledged.
    #[test]
    fn what_was_acknowledged_before_the_first_ping_is_no_answer_to_it() {
        let mut world = World::new();
        world.acked = 10_000;
        assert_eq!(world.until(1000), [(25, Ping), (50, Ping), (60, NOT_HEARD)]);
    }

    /// Its pong waits behind megabytes: acknowledgements keep the peer, and pings go on.
    #[test]
    fn acknowledged_bytes_count_as_heard() {
        let mut world = World::new();
        let mut verdicts = Vec::new();
        for second in 0..300 {
            world.acked += 50_000;
            verdicts.extend(world.until(second));
        }
        let pings: Vec<_> = (1..12).map(|turn| (turn * 25, Ping)).collect();
        assert_eq!(verdicts, pings);
        // Now they end; the last that was seen was seen at the ping of second 275.
        world.until(300);
        let given_up = world.until(1000).pop();
        assert_eq!(given_up, Some((360, NOT_HEARD)));
    }

    #[test]
    fn the_pings_own_acknowledgements_do_not_count_however_late() {
        let mut world = World {
            acks_pings: false,
            ..World::new()
        };
        assert_eq!(world.until(55), [(25, Ping), (50, Ping)]);
        world.acked += 2 * PING_LEN;
        assert_eq!(world.until(1000), [(60, NOT_HEARD)]);
    }

    #[test]
    fn a_pause_is_not_the_peers_silence() {
        let mut world = World::new();
        assert_eq!(world.until(50), [(25, Ping), (50, Ping)]);
        world.keepalive.paused();
        assert_eq!(world.until(1_000_000), []);
        world.keepalive.resumed(world.at(5000));
        assert_eq!(
            world.until(10_000),
            [(5025, Ping), (5050, Ping), (5060, NOT_HEARD)]
        );
    }

    #[test]
    fn pauses_begin_and_end_once() {
        let mut world = World::new();
        world.keepalive.resumed(world.at(20));
        assert_eq!(
            world.deadline(),
            25,
            "a resumption without a pause is nothing"
        );
        world.keepalive.paused();
        world.keepalive.paused();
        world.heard(30);
        assert_eq!(world.until(1000), [], "what is heard does not end a pause");
        world.keepalive.resumed(world.at(40));
        world.keepalive.resumed(world.at(50));
        assert_eq!(world.deadline(), 65);
    }

    #[test]
    fn nothing_goes_out() {
        let mut world = World {
            unsent: true,
            ..World::new()
        };
        world.wrote(10);
        assert_eq!(world.until(1000), [(25, Ping), (50, NOT_WRITING)]);
    }

    #[test]
    fn nothing_goes_out_during_a_pause() {
        let mut world = World {
            unsent: true,
            ..World::new()
        };
        world.keepalive.paused();
        assert_eq!(world.until(1000), [(40, NOT_WRITING)]);
    }

    #[test]
    fn without_bytes_to_write_the_write_timeout_stands_still() {
        let mut world = World::new();
        for second in (0..200).step_by(20) {
            world.heard(second);
            assert_eq!(world.until(second + 20), []);
        }
        world.unsent = true;
        world.wrote(200);
        world.heard(200);
        assert_eq!(world.until(1000), [(225, Ping), (240, NOT_WRITING)]);
    }

    /// The kernel accepts nothing for long, because its buffer drains slowly.
    #[test]
    fn acknowledged_bytes_are_progress() {
        let mut world = World {
            unsent: true,
            ..World::new()
        };
        world.keepalive.paused();
        for second in 0..200 {
            world.acked += 1000;
            assert_eq!(world.until(second), []);
        }
        assert!((200..=240).contains(&world.deadline()));
        assert_eq!(
            world.until(1000).pop().map(|(_, verdict)| verdict),
            Some(NOT_WRITING)
        );
    }

    #[test]
    fn limits_without_end() {
        let limits = Limits {
            ping_interval: Duration::MAX,
            pong_timeout: Duration::MAX,
            write_timeout: Duration::MAX,
        };
        let mut world = World::new();
        let year = Duration::from_secs(365 * 24 * 60 * 60);
        let deadline = world.keepalive.deadline(&limits, true);
        assert!(deadline.unwrap() > world.start + 50 * year);
        let verdict =
            world
                .keepalive
                .on_deadline(world.start + year, world.start + year, &limits, true);
        assert_eq!(verdict, Verdict::Wait);
    }

    /// Whatever happens: a deadline that was seen to moves, a ping comes no sooner than an interval
    /// after the last, and no peer is given up that was heard within the pong time-out.
    #[test]
    fn random_lives() {
        for_each_seed(500, |random| {
            let mut world = World {
                acks_pings: random.one_in(2),
                ..World::new()
            };
            let (mut heard, mut pinged, mut wrote, mut paused) = (0, None, 0, false);
            for second in 0..400 {
                for (due, verdict) in world.until(second) {
                    match verdict {
                        Verdict::Ping => {
                            assert!(!paused && due >= pinged.unwrap_or(heard) + 25);
                            pinged = Some(due);
                        }
                        Verdict::GiveUp(Silence::NotHeard) => {
                            return assert!(!paused && due >= heard + 60);
                        }
                        Verdict::GiveUp(Silence::NotWriting) => {
                            return assert!(world.unsent && due >= wrote + 40);
                        }
                        Verdict::Wait => unreachable!("it is not listed"),
                    }
                }
                match random.below(60) {
                    0..=1 if !paused => {
                        world.heard(second);
                        (heard, pinged) = (second, None);
                    }
                    2..=4 => {
                        world.unsent = true;
                        world.wrote(second);
                        wrote = second;
                    }
                    5 => world.unsent = false,
                    6 if !paused => {
                        world.keepalive.paused();
                        paused = true;
                    }
                    7..=10 if paused => {
                        world.keepalive.resumed(world.at(second));
                        (heard, pinged, paused) = (second, None, false);
                    }
                    11 => world.acked += random.below(1000) as u64,
                    _ => {}
                }
            }
        });
    }
}
