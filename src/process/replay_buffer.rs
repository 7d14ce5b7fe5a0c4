//! The latest messages of a command, framed and ready to be sent again: [`ReplayBuffer`].
//!
//! A newcomer to a shared command gets the last few (`--replay`), and a client that comes back to
//! its session (`--resume`) gets those it missed. The buffer is bounded in messages and in bytes;
//! the oldest messages are dropped first.

use std::collections::VecDeque;
use std::ops::Range;

/// The newest messages of a sequence that is numbered from zero. The last one may be unfinished.
///
/// Invariant: `bytes.len()` is the sum of `lens`, and `lens.len() <= next_number`.
#[derive(Debug, Default)]
pub(super) struct ReplayBuffer {
    /// The frames, in order.
    bytes: VecDeque<u8>,
    /// The length of each message: of all its frames.
    lens: VecDeque<u32>,
    /// The number of the next message.
    next_number: u64,
    /// Whether the newest message has begun and not ended.
    is_unfinished: bool,
}

/// Bytes that a message takes besides its frames.
const LEN_SIZE: usize = size_of::<u32>();

impl ReplayBuffer {
    /// An empty buffer; it allocates nothing.
    pub(super) const fn new() -> Self {
        Self {
            bytes: VecDeque::new(),
            lens: VecDeque::new(),
            next_number: 0,
            is_unfinished: false,
        }
    }

    /// Appends a frame: a whole message or a fragment of one. Then drops the oldest messages until
    /// at most `messages_max` messages and `bytes_max` bytes (at most 2^32, lengths included) are
    /// left. A single message larger than that is counted but not kept.
    pub(super) fn push(&mut self, frame: &[u8], last: bool, messages_max: usize, bytes_max: usize) {
        let first = !std::mem::replace(&mut self.is_unfinished, !last);
        if first {
            self.next_number += 1;
            reserve(&mut self.lens, 1, bytes_max / LEN_SIZE);
            self.lens.push_back(0);
        }
        while self.lens.len() > messages_max || self.size() + frame.len() > bytes_max {
            let Some(oldest) = self.lens.pop_front() else {
                // The message this frame belongs to is itself too large.
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
    pub(super) fn is_unfinished(&self) -> bool {
        self.is_unfinished
    }

    /// The numbers of the kept messages.
    pub(super) fn kept(&self) -> Range<u64> {
        self.next_number - self.lens.len() as u64..self.next_number
    }

    /// Bytes of frames that are kept.
    pub(super) fn kept_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Appends to `out` the frames of every message from `number` on, an unfinished one included.
    ///
    /// # Errors
    /// [`Lost`] when some of them are no longer kept, or `number` is beyond the last finished
    /// message. Nothing is appended then.
    pub(super) fn replay(&self, number: u64, out: &mut Vec<u8>) -> Result<(), Lost> {
        let kept = self.kept();
        // No client can have received all of an unfinished message.
        let end = kept.end - u64::from(self.is_unfinished);
        if number < kept.start || number > end {
            return Err(Lost);
        }
        let skipped = (number - kept.start) as usize;
        let lens = self.lens.iter().take(skipped);
        let offset = lens.map(|&len| len as usize).sum();
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

/// Makes room for `more` elements. Doubling would take up to twice the bound, so the capacity grows
/// by a quarter, and beyond `len_max` only if it must.
fn reserve<T>(deque: &mut VecDeque<T>, more: usize, len_max: usize) {
    let needed = deque.len() + more;
    let capacity = deque.capacity();
    if needed > capacity {
        let capacity = (capacity + capacity / 4).min(len_max).max(needed);
        deque.reserve_exact(capacity - deque.len());
    }
}

/// Requested messages are no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost;

#[cfg(test)]
mod tests {
    use super::*;

    fn replayed(buffer: &ReplayBuffer, number: u64) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        buffer.replay(number, &mut out).ok()?;
        Some(out)
    }

    #[test]
    fn replay_returns_exactly_the_missed_messages() {
        let mut replay = ReplayBuffer::new();
        for message in [&b"one"[..], b"two", b"three"] {
            replay.push(message, true, 10, 100);
        }
        assert_eq!(replay.kept(), 0..3);
        assert_eq!(replayed(&replay, 0), Some(b"onetwothree".to_vec()));
        assert_eq!(replayed(&replay, 1), Some(b"twothree".to_vec()));
        assert_eq!(replayed(&replay, 3), Some(Vec::new()), "nothing was missed");
        assert_eq!(replayed(&replay, 4), None, "more than was ever sent");
    }

    #[test]
    fn the_oldest_messages_are_dropped_by_count_and_by_bytes() {
        let mut replay = ReplayBuffer::new();
        for n in 0..10u8 {
            replay.push(&[n; 4], true, 3, 100);
        }
        assert_eq!(replay.kept(), 7..10);
        assert_eq!(replayed(&replay, 6), None, "lost");
        let mut replay = ReplayBuffer::new();
        for n in 0..10u8 {
            replay.push(&[n; 4], true, 100, 20);
            assert!(replay.size() <= 20);
        }
        assert_eq!(replay.kept(), 8..10);
        replay.push(&[0; 17], true, 100, 20);
        assert_eq!(
            replay.kept(),
            11..11,
            "a message beyond the bound is not kept, nor is anything older"
        );
        assert_eq!(replayed(&replay, 10), None);
        assert_eq!(replayed(&replay, 11), Some(Vec::new()));
    }

    #[test]
    fn an_unfinished_message_is_replayed_from_its_beginning() {
        let mut replay = ReplayBuffer::new();
        replay.push(b"one", true, 10, 100);
        replay.push(b"tw", false, 10, 100);
        assert_eq!(replayed(&replay, 1), Some(b"tw".to_vec()));
        assert_eq!(replayed(&replay, 2), None, "no client has received it");
        replay.push(b"o", false, 10, 100);
        replay.push(b"!", true, 10, 100);
        assert_eq!(replay.kept(), 0..2);
        assert_eq!(replayed(&replay, 1), Some(b"two!".to_vec()));
        assert_eq!(replayed(&replay, 2), Some(Vec::new()));
        // A message that grows beyond the bounds is dropped as a whole, and the next is kept.
        for _ in 0..100 {
            replay.push(b"more", false, 10, 100);
            assert!(replay.size() <= 100);
        }
        replay.push(b"end", true, 10, 100);
        assert_eq!((replay.kept(), replay.size()), (3..3, 0));
        replay.push(b"next", true, 10, 100);
        assert_eq!(replayed(&replay, 3), Some(b"next".to_vec()));
    }

    #[test]
    fn capacity_stays_within_a_quarter_of_the_bound() {
        const MAX: usize = 100_000;
        for len in [1, 2, 7, 1000, MAX / 2, MAX - LEN_SIZE] {
            let mut replay = ReplayBuffer::new();
            for _ in 0..2 * MAX / len {
                replay.push(&vec![0; len], true, usize::MAX, MAX);
            }
            assert!(replay.size() > MAX / 3, "{len}: the bound is used");
            let taken = replay.bytes.capacity() + replay.lens.capacity() * LEN_SIZE;
            assert!(taken <= MAX + MAX / 4, "{len}: {taken}");
        }
    }

    #[test]
    fn random_pushes_agree_with_a_list_of_messages() {
        for seed in 1..500u64 {
            let mut state = seed;
            let mut random = |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let (mut replay, mut all) = (ReplayBuffer::new(), Vec::new());
            for n in 0..100u8 {
                let frame = vec![n; random(20) as usize];
                for part in frame.chunks(1 + random(20) as usize) {
                    replay.push(part, false, 8, 64);
                }
                replay.push(b"", true, 8, 64);
                all.push(frame);
            }
            for number in replay.kept() {
                let expected = all[number as usize..].concat();
                assert_eq!(replayed(&replay, number), Some(expected), "seed {seed}");
            }
        }
    }
}
