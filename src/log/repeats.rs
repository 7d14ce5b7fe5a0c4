//! Lines that a peer can cause without end, counted instead of written: [`Repeats`].
//!
//! A peer that was refused may ask again on the same connection, tens of thousands of times a
//! second. Of equal lines about one peer, only the first within a second is written. The others are
//! counted, and when the second is over, a report gives their number.
//!
//! A peer is an IPv4 address or an IPv6 network of 64 bits, which is what one customer usually gets.
//! A peer that varies its requests gets [`LOG_LINES_PER_PEER`] lines of its own, all peers together
//! get [`LOG_PEER_LINES_MAX`]; further lines count as "other". So neither the log nor the memory for
//! counting grows with the rate of the refusals.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use super::Level;
use crate::event_loop::instant::Instant;
use crate::limits::{LOG_ESCAPED_LEN_MAX, LOG_LINES_PER_PEER, LOG_PEER_LINES_MAX};
use crate::peer::Prefix;

/// For how long equal lines are counted before they are reported.
const WINDOW: Duration = Duration::from_secs(1);

/// The lines about peers within the current second, and how often each came again.
#[derive(Default)]
pub(super) struct Repeats {
    /// When the second began: with the first line in `seen`.
    since: Option<Instant>,
    seen: Vec<Seen>,
    /// The number of lines that `seen` had no room for.
    others: u64,
}

struct Seen {
    level: Level,
    event: &'static str,
    peer: Prefix,
    /// The beginning of the text behind the peer; `None`: any further text.
    text: Option<Box<str>>,
    /// How many more such lines came.
    count: u64,
}

impl Repeats {
    /// A line `{event} peer=… {text}` is about to be written. Returns whether it should be; otherwise
    /// it was counted. A second that is over must have been reported before ([`Repeats::due`]).
    pub(super) fn is_new(
        &mut self,
        level: Level,
        event: &'static str,
        ip: IpAddr,
        text: fmt::Arguments,
        now: Instant,
    ) -> bool {
        if self.since.is_none_or(|since| since + WINDOW <= now) && self.due().is_none() {
            self.seen.clear();
            self.since = Some(now);
        }
        let peer = Prefix::of(ip);
        let mut beginning = Beginning::default();
        // It accepts all text.
        let _ = beginning.write_fmt(text);
        let text = beginning.as_str();
        let mut of_peer = 0;
        for seen in &mut self.seen {
            if seen.peer == peer {
                of_peer += 1;
                if seen.event == event && seen.text.as_deref().is_none_or(|it| it == text) {
                    seen.count += 1;
                    return false;
                }
            }
        }
        let is_full = self.seen.len() >= LOG_PEER_LINES_MAX;
        if is_full {
            self.others += 1;
            return false;
        }
        let has_room = of_peer < LOG_LINES_PER_PEER;
        self.seen.push(Seen {
            level,
            event,
            peer,
            text: has_room.then(|| text.into()),
            count: u64::from(!has_room),
        });
        has_room
    }

    /// When a report is due; `None`: no line was counted.
    pub(super) fn due(&self) -> Option<Instant> {
        let has_counted = self.others > 0 || self.seen.iter().any(|seen| seen.count > 0);
        self.since.filter(|_| has_counted).map(|it| it + WINDOW)
    }

    /// Ends the second: passes each line of the report to `write`.
    pub(super) fn report(&mut self, mut write: impl FnMut(Level, fmt::Arguments)) {
        for seen in self.seen.drain(..).filter(|seen| seen.count > 0) {
            let (count, event, peer) = (seen.count, seen.event, seen.peer);
            match seen.text {
                Some(text) => write(
                    seen.level,
                    format_args!("{count} more: {event} peer={peer}{text}"),
                ),
                None => write(
                    seen.level,
                    format_args!("{count} more: {event} peer={peer}, for other reasons"),
                ),
            }
        }
        let others = std::mem::take(&mut self.others);
        if others > 0 {
            write(
                Level::Warn,
                format_args!("{others} more, about other peers"),
            );
        }
        self.since = None;
    }
}

/// The first [`LOG_ESCAPED_LEN_MAX`] bytes of a text, up to a whole character.
struct Beginning {
    bytes: [u8; LOG_ESCAPED_LEN_MAX],
    len: usize,
    is_full: bool,
}

impl Default for Beginning {
    fn default() -> Self {
        Self {
            bytes: [0; LOG_ESCAPED_LEN_MAX],
            len: 0,
            is_full: false,
        }
    }
}

impl Beginning {
    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl fmt::Write for Beginning {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !self.is_full {
            let mut end = text.len().min(LOG_ESCAPED_LEN_MAX - self.len);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            self.bytes[self.len..][..end].copy_from_slice(&text.as_bytes()[..end]);
            self.len += end;
            self.is_full = end < text.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::EPOCH + Duration::from_millis(millis)
    }

    fn refused(repeats: &mut Repeats, ip: &str, reason: &str, millis: u64) -> bool {
        let (ip, text) = (ip.parse().unwrap(), format_args!(" status=403: {reason}"));
        repeats.is_new(Level::Warn, "refused", ip, text, at(millis))
    }

    fn report(repeats: &mut Repeats) -> Vec<String> {
        let mut lines = Vec::new();
        repeats.report(|level, text| lines.push(format!("{} {text}", level.name())));
        lines
    }

    #[test]
    fn equal_lines_of_one_peer_are_counted_for_a_second() {
        let mut repeats = Repeats::default();
        assert!(refused(&mut repeats, "192.0.2.1", "no", 0));
        assert_eq!(repeats.due(), None, "a line that came once needs no report");
        for millis in 1..500 {
            assert!(!refused(&mut repeats, "192.0.2.1", "no", millis));
        }
        assert!(refused(&mut repeats, "192.0.2.1", "another reason", 500));
        assert!(
            refused(&mut repeats, "192.0.2.2", "no", 500),
            "another peer"
        );
        assert_eq!(repeats.due(), Some(at(1000)));
        let line = "warn 499 more: refused peer=192.0.2.1 status=403: no";
        assert_eq!(report(&mut repeats), [line]);
        assert_eq!(repeats.due(), None);
        assert!(refused(&mut repeats, "192.0.2.1", "no", 1000));
    }

    #[test]
    fn a_line_that_comes_less_often_than_once_a_second_is_never_counted() {
        let mut repeats = Repeats::default();
        for second in 0..1000 {
            assert!(refused(&mut repeats, "192.0.2.1", "no", second * 1000));
            assert_eq!(repeats.due(), None);
        }
        assert_eq!(repeats.seen.len(), 1);
    }

    #[test]
    fn a_peer_that_varies_its_requests_gets_few_lines() {
        let mut repeats = Repeats::default();
        let mut written = 0;
        for host in 0..10_000 {
            let reason = format!("Host {host}");
            written += usize::from(refused(&mut repeats, "2001:db8::1", &reason, 0));
        }
        assert_eq!(written, LOG_LINES_PER_PEER);
        assert!(refused(&mut repeats, "2001:db8:0:1::1", "Host", 0));
        let count = 10_000 - LOG_LINES_PER_PEER;
        let line = format!("warn {count} more: refused peer=2001:db8::/64, for other reasons");
        assert_eq!(report(&mut repeats), [line]);
    }

    #[test]
    fn many_peers_get_a_bounded_number_of_lines_and_of_memory() {
        let mut repeats = Repeats::default();
        let mut written = 0;
        for peer in 0..60_000 {
            let ip = format!("10.0.{}.{}", peer / 256, peer % 256);
            written += usize::from(refused(&mut repeats, &ip, &"x".repeat(5000), 0));
        }
        assert_eq!(written, LOG_PEER_LINES_MAX);
        let kept = repeats.seen.iter().flat_map(|seen| &seen.text);
        assert!(kept.map(|text| text.len()).sum::<usize>() <= LOG_PEER_LINES_MAX * 256);
        let others = 60_000 - LOG_PEER_LINES_MAX;
        let line = format!("warn {others} more, about other peers");
        assert_eq!(report(&mut repeats), [line]);
    }

    #[test]
    fn texts_are_compared_up_to_a_whole_character() {
        let mut beginning = Beginning::default();
        write!(beginning, "{}éb", "a".repeat(255)).unwrap();
        assert_eq!(beginning.as_str(), "a".repeat(255));
    }
}
