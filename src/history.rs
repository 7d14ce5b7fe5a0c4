//! The last messages of a command, framed and ready to be sent again: [`History`].
//!
//! A newcomer to a shared command gets the last few (`--replay`), and a client that comes back to
//! its own (`--linger`) gets those that it missed. What is kept is bounded, in messages and in
//! bytes; the oldest go first.

use std::collections::VecDeque;
use std::ops::Range;

/// The newest messages of a sequence that is numbered from zero.
///
/// Invariant: `bytes.len()` is the sum of `lens`, and `lens.len() <= next_number`.
#[derive(Debug, Default)]
pub struct History {
    /// The frames, one behind the other.
    bytes: VecDeque<u8>,
    /// The length of each.
    lens: VecDeque<u32>,
    /// The number that the next message will have.
    next_number: u64,
}

impl History {
    /// A history without messages; it allocates nothing.
    pub const fn new() -> Self {
        Self {
            bytes: VecDeque::new(),
            lens: VecDeque::new(),
            next_number: 0,
        }
    }

    /// Adds a message, one whole frame, and forgets the oldest until at most `messages_max` and
    /// `bytes_max` are left. A message larger than that alone is counted but not kept.
    pub fn push(&mut self, frame: &[u8], messages_max: usize, bytes_max: usize) {
        self.next_number += 1;
        let too_long = frame.len() > bytes_max || messages_max == 0;
        let len = if too_long { bytes_max } else { frame.len() };
        while self.bytes.len() + len > bytes_max || self.lens.len() >= messages_max.max(1) {
            let Some(oldest) = self.lens.pop_front() else {
                break;
            };
            self.bytes.drain(..oldest as usize);
        }
        if !too_long && let Ok(len) = u32::try_from(frame.len()) {
            self.bytes.extend(frame);
            self.lens.push_back(len);
        }
    }

    /// How many messages there ever were: the number of the next one.
    pub fn next_number(&self) -> u64 {
        self.next_number
    }

    /// The numbers of the messages that are kept.
    pub fn kept(&self) -> Range<u64> {
        self.next_number - self.lens.len() as u64..self.next_number
    }

    /// Appends to `out` the frames of every message from `number` on.
    ///
    /// # Errors
    /// [`Lost`] when some of them are not kept any more, or were never printed: nothing is
    /// appended then.
    pub fn replay(&self, number: u64, out: &mut Vec<u8>) -> Result<(), Lost> {
        let kept = self.kept();
        if number < kept.start || number > kept.end {
            return Err(Lost);
        }
        let skipped = (number - kept.start) as usize;
        let offset = self
            .lens
            .iter()
            .take(skipped)
            .map(|&len| len as usize)
            .sum();
        let (front, back) = self.bytes.as_slices();
        match offset {
            offset if offset <= front.len() => {
                out.extend_from_slice(&front[offset..]);
                out.extend_from_slice(back);
            }
            offset => out.extend_from_slice(&back[offset - front.len()..]),
        }
        Ok(())
    }
}

/// Messages that were asked for are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

#[cfg(test)]
mod tests {
    use super::*;

    fn replayed(history: &History, number: u64) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        history.replay(number, &mut out).ok()?;
        Some(out)
    }

    #[test]
    fn what_was_missed_is_sent_again_and_no_more() {
        let mut history = History::new();
        for message in [&b"one"[..], b"two", b"three"] {
            history.push(message, 10, 100);
        }
        assert_eq!(history.next_number(), 3);
        assert_eq!(replayed(&history, 0), Some(b"onetwothree".to_vec()));
        assert_eq!(replayed(&history, 1), Some(b"twothree".to_vec()));
        assert_eq!(
            replayed(&history, 3),
            Some(Vec::new()),
            "nothing was missed"
        );
        assert_eq!(replayed(&history, 4), None, "more than was ever sent");
    }

    #[test]
    fn the_oldest_go_first_by_count_and_by_bytes() {
        let mut history = History::new();
        for n in 0..10u8 {
            history.push(&[n; 4], 3, 100);
        }
        assert_eq!(history.kept(), 7..10);
        assert_eq!(replayed(&history, 6), None, "lost");
        let mut history = History::new();
        for n in 0..10u8 {
            history.push(&[n; 4], 100, 10);
            assert!(history.bytes.len() <= 10);
        }
        assert_eq!(history.kept(), 8..10);
        history.push(&[0; 11], 100, 10);
        assert_eq!(
            history.kept(),
            11..11,
            "too long to be kept, and what is older is lost too"
        );
        assert_eq!(replayed(&history, 10), None);
        assert_eq!(replayed(&history, 11), Some(Vec::new()));
    }

    #[test]
    fn random_pushes_agree_with_a_plain_list() {
        for seed in 1..500u64 {
            let mut state = seed;
            let mut random = |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let (mut history, mut all) = (History::new(), Vec::new());
            for n in 0..100u8 {
                let frame = vec![n; random(20) as usize];
                history.push(&frame, 8, 64);
                all.push(frame);
            }
            for number in history.kept() {
                let expected = all[number as usize..].concat();
                assert_eq!(replayed(&history, number), Some(expected), "seed {seed}");
            }
        }
    }
}
