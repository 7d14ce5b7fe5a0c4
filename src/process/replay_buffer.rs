//! The last messages of a command, framed and ready to be sent again: [`History`].
//!
//! A newcomer to a shared command gets the last few (`--replay`), and a client that comes back to
//! its own (`--resume`) gets those that it missed. What is kept is bounded, in messages and in
//! bytes; the oldest go first.

use std::collections::VecDeque;
use std::ops::Range;

/// The newest messages of a sequence that is numbered from zero. The last of them may not have
/// ended yet.
///
/// Invariant: `bytes.len()` is the sum of `lens`, and `lens.len() <= next_number`.
#[derive(Debug, Default)]
pub struct History {
    /// The frames, one behind the other.
    bytes: VecDeque<u8>,
    /// The length of each message, of all its frames.
    lens: VecDeque<u32>,
    /// The number that the next message will have.
    next_number: u64,
    /// Whether the newest message has begun and not ended.
    is_unfinished: bool,
}

/// What a message takes beside its frames.
const LEN_SIZE: usize = size_of::<u32>();

impl History {
    /// A history without messages; it allocates nothing.
    pub const fn new() -> Self {
        Self {
            bytes: VecDeque::new(),
            lens: VecDeque::new(),
            next_number: 0,
            is_unfinished: false,
        }
    }

    /// Adds a frame: that of a message, or one of its fragments. Forgets the oldest messages until
    /// at most `messages_max` of them and `bytes_max` bytes, at most 2^32, are left, with what it
    /// takes to tell them apart. A message larger than that alone is counted but not kept.
    pub fn push(&mut self, frame: &[u8], last: bool, messages_max: usize, bytes_max: usize) {
        let first = !std::mem::replace(&mut self.is_unfinished, !last);
        if first {
            self.next_number += 1;
            reserve(&mut self.lens, 1, bytes_max / LEN_SIZE);
            self.lens.push_back(0);
        }
        while self.lens.len() > messages_max || self.size() + frame.len() > bytes_max {
            let Some(oldest) = self.lens.pop_front() else {
                // The message that the frame belongs to is itself too much.
                return;
            };
            self.bytes.drain(..oldest as usize);
        }
        if let Some(newest) = self.lens.back_mut() {
            *newest += frame.len() as u32;
            reserve(&mut self.bytes, frame.len(), bytes_max);
            self.bytes.extend(frame);
        }
    }

    fn size(&self) -> usize {
        self.bytes.len() + self.lens.len() * LEN_SIZE
    }

    /// Whether the newest message has begun and not ended.
    pub fn is_unfinished(&self) -> bool {
        self.is_unfinished
    }

    /// How many messages there ever were: the number of the next one.
    pub fn next_number(&self) -> u64 {
        self.next_number
    }

    /// The numbers of the messages that are kept.
    pub fn kept(&self) -> Range<u64> {
        self.next_number - self.lens.len() as u64..self.next_number
    }

    /// How many bytes are kept.
    pub fn kept_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Appends to `out` the frames of every message from `number` on, as far as they are there.
    ///
    /// # Errors
    /// [`Lost`] when some of them are not kept any more, or were never printed: nothing is
    /// appended then.
    pub fn replay(&self, number: u64, out: &mut Vec<u8>) -> Result<(), Lost> {
        let kept = self.kept();
        // Nobody can have had all of a message that has not ended.
        let end = kept.end - u64::from(self.is_unfinished);
        if number < kept.start || number > end {
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

/// Makes room for `more`. Doubling would take up to twice what is allowed, so it grows by a quarter,
/// and not beyond `len_max` unless it must.
fn reserve<T>(deque: &mut VecDeque<T>, more: usize, len_max: usize) {
    let needed = deque.len() + more;
    let capacity = deque.capacity();
    if needed > capacity {
        let capacity = (capacity + capacity / 4).min(len_max).max(needed);
        deque.reserve_exact(capacity - deque.len());
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
            history.push(message, true, 10, 100);
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
            history.push(&[n; 4], true, 3, 100);
        }
        assert_eq!(history.kept(), 7..10);
        assert_eq!(replayed(&history, 6), None, "lost");
        let mut history = History::new();
        for n in 0..10u8 {
            history.push(&[n; 4], true, 100, 20);
            assert!(history.size() <= 20);
        }
        assert_eq!(history.kept(), 8..10);
        history.push(&[0; 17], true, 100, 20);
        assert_eq!(
            history.kept(),
            11..11,
            "too long to be kept, and what is older is lost too"
        );
        assert_eq!(replayed(&history, 10), None);
        assert_eq!(replayed(&history, 11), Some(Vec::new()));
    }

    #[test]
    fn a_message_that_has_not_ended_is_sent_again_from_its_beginning() {
        let mut history = History::new();
        history.push(b"one", true, 10, 100);
        history.push(b"tw", false, 10, 100);
        assert_eq!(replayed(&history, 1), Some(b"tw".to_vec()));
        assert_eq!(replayed(&history, 2), None, "nobody has had it");
        history.push(b"o", false, 10, 100);
        history.push(b"!", true, 10, 100);
        assert_eq!(history.kept(), 0..2);
        assert_eq!(replayed(&history, 1), Some(b"two!".to_vec()));
        assert_eq!(replayed(&history, 2), Some(Vec::new()));
        // One that grows beyond the bounds is lost as a whole, and the next is kept.
        for _ in 0..100 {
            history.push(b"more", false, 10, 100);
            assert!(history.size() <= 100);
        }
        history.push(b"end", true, 10, 100);
        assert_eq!((history.kept(), history.size()), (3..3, 0));
        history.push(b"next", true, 10, 100);
        assert_eq!(replayed(&history, 3), Some(b"next".to_vec()));
    }

    #[test]
    fn what_is_kept_takes_no_more_memory_than_it_may() {
        const MAX: usize = 100_000;
        for len in [1, 2, 7, 1000, MAX / 2, MAX - LEN_SIZE] {
            let mut history = History::new();
            for _ in 0..2 * MAX / len {
                history.push(&vec![0; len], true, usize::MAX, MAX);
            }
            assert!(history.size() > MAX / 3, "{len}: it is used");
            let taken = history.bytes.capacity() + history.lens.capacity() * LEN_SIZE;
            assert!(taken <= MAX + MAX / 4, "{len}: {taken}");
        }
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
                for part in frame.chunks(1 + random(20) as usize) {
                    history.push(part, false, 8, 64);
                }
                history.push(b"", true, 8, 64);
                all.push(frame);
            }
            for number in history.kept() {
                let expected = all[number as usize..].concat();
                assert_eq!(replayed(&history, number), Some(expected), "seed {seed}");
            }
        }
    }
}
