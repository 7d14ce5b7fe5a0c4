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

    /// Forgets all kept messages and frees their memory. The numbers go on.
    pub(super) fn forget(&mut self) {
        self.bytes = VecDeque::new();
        self.lens = VecDeque::new();
    }

    /// The memory that it takes, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity() + self.lens.capacity() * LEN_SIZE
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
mod tests;
