//! Buffers that are lent while bytes have to be kept: [`Pool`] and [`Buffer`].
//!
//! Almost all connections are idle almost all the time. So none of them owns a buffer: an
//! [`Outbox`](super::outbox::Outbox), for example, borrows one with its first unsent byte and
//! returns it with its last. An idle connection then costs a pointer, and a busy one reuses the
//! buffers of the others in place of allocating.

/// A queue of bytes: they are appended at the end and sent from the front.
#[derive(Default)]
pub(crate) struct Buffer {
    /// All bytes, sent and unsent. A user that removes some must not have sent any.
    pub(crate) bytes: Vec<u8>,
    /// The number of bytes at the front that are sent: at most `bytes.len()`.
    sent: usize,
}

impl Buffer {
    /// The memory it takes, in bytes.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The bytes that are not sent yet.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// `n` of the unsent bytes were sent.
    pub(super) fn sent(&mut self, n: usize) {
        self.sent += n;
    }

    /// The bytes, to append to. Sent bytes are removed when they are at least as many as the unsent
    /// ones. So moving the unsent bytes to the front costs no more than sending did, and sent bytes
    /// never take more memory than unsent ones.
    pub(super) fn writer(&mut self) -> &mut Vec<u8> {
        if self.sent > 0 && self.sent >= self.unsent().len() {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        &mut self.bytes
    }
}

/// Spare buffers. They are boxed, so that a borrower holds only a pointer.
pub(crate) struct Pool {
    // A `Vec<Buffer>` would allocate a new box for each loan.
    #[allow(clippy::vec_box)]
    spare: Vec<Box<Buffer>>,
    spare_max: usize,
    buffer_len_max: usize,
}

impl Pool {
    /// A pool that keeps at most `spare_max` buffers, each with a capacity of at most
    /// `buffer_len_max` bytes. Other buffers are freed when they are returned.
    pub(crate) fn new(spare_max: usize, buffer_len_max: usize) -> Self {
        Self {
            spare: Vec::new(),
            spare_max,
            buffer_len_max,
        }
    }

    /// Lends an empty buffer.
    pub(crate) fn take(&mut self) -> Box<Buffer> {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes a buffer back and discards what it holds.
    pub(crate) fn give_back(&mut self, mut buffer: Box<Buffer>) {
        let kept = 1..=self.buffer_len_max;
        if kept.contains(&buffer.bytes.capacity()) && self.spare.len() < self.spare_max {
            buffer.bytes.clear();
            buffer.sent = 0;
            self.spare.push(buffer);
        }
    }

    /// Frees the spare buffers.
    pub(crate) fn clear(&mut self) {
        self.spare = Vec::new();
    }

    /// The number of spare buffers.
    #[cfg(test)]
    pub(super) fn spare_len(&self) -> usize {
        self.spare.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_above_a_limit_of_the_pool_is_freed() {
        let mut pool = Pool::new(2, 100);
        let buffer = |len| {
            let bytes = Vec::with_capacity(len);
            Box::new(Buffer { bytes, sent: 0 })
        };
        pool.give_back(buffer(101));
        assert_eq!(pool.spare_len(), 0);
        for _ in 0..3 {
            pool.give_back(buffer(100));
        }
        assert_eq!(pool.spare_len(), 2);
        pool.clear();
        assert_eq!(pool.spare_len(), 0);
    }
}
