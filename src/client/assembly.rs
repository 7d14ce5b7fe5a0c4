//! A message that arrives in chunks: [`Assembly`].

use crate::event_loop::buffer_pool::{Buffer, Pool};

/// The beginning of a message whose end has not arrived. Most messages arrive whole in one read.
/// They are used in place and never pass through here. An empty assembly owns no buffer.
#[derive(Default)]
pub(crate) struct Assembly {
    partial: Option<Box<Buffer>>,
}

impl Assembly {
    /// Bytes that were added.
    pub(super) fn len(&self) -> usize {
        let partial = self.partial.as_deref();
        partial.map_or(0, |buffer| buffer.bytes.len())
    }

    /// The memory it takes, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.partial.as_deref().map_or(0, Buffer::capacity)
    }

    /// Adds a chunk that others follow, of a frame with `rest` bytes behind it. The frame decoder
    /// limits the length of a message. The buffer doubles, but not beyond the end of the frame.
    pub(super) fn add(&mut self, chunk: &[u8], rest: u64, pool: &mut Pool) {
        let bytes = &mut self.partial.get_or_insert_with(|| pool.take()).bytes;
        if bytes.capacity() - bytes.len() < chunk.len() {
            let rest = usize::try_from(rest).unwrap_or(usize::MAX);
            bytes.reserve_exact(chunk.len() + rest.min(bytes.len()));
        }
        bytes.extend_from_slice(chunk);
    }

    /// Everything that was added, with `chunk` behind it. [`Assembly::clear`] must follow.
    pub(super) fn with_last<'a>(&'a mut self, chunk: &'a [u8]) -> &'a [u8] {
        match &mut self.partial {
            Some(buffer) => {
                buffer.bytes.reserve_exact(chunk.len());
                buffer.bytes.extend_from_slice(chunk);
                &buffer.bytes
            }
            None => chunk,
        }
    }

    /// Empties the assembly and returns its buffer to the pool.
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        if let Some(buffer) = self.partial.take() {
            pool.give_back(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined_and_a_single_chunk_is_used_in_place() {
        let mut pool = Pool::new(1, 100);
        let mut assembly = Assembly::default();
        assert_eq!(assembly.with_last(b"at once"), b"at once");
        assert_eq!(assembly.len(), 0, "a single chunk is not copied");
        assembly.add(b"in ", 0, &mut pool);
        assembly.add(b"", 0, &mut pool);
        assert_eq!(assembly.len(), 3);
        assert_eq!(assembly.with_last(b"fragments"), b"in fragments");
        assembly.clear(&mut pool);
        assert!(
            assembly.partial.is_none(),
            "the buffer went back to the pool"
        );
        assert_eq!(assembly.with_last(b""), b"");
    }

    #[test]
    fn a_long_frame_takes_no_more_memory_than_its_length() {
        const LEN: usize = 1_000_000;
        let mut pool = Pool::new(0, 0);
        let mut assembly = Assembly::default();
        let (message, last) = (vec![0; LEN], vec![0; 300_000]);
        for chunk in message[last.len()..].chunks(3000) {
            let rest = LEN - assembly.len() - chunk.len();
            assembly.add(chunk, rest as u64, &mut pool);
            let most = LEN.min(2 * assembly.len());
            assert!(assembly.capacity() <= most, "{}", assembly.capacity());
        }
        assert_eq!(assembly.with_last(&last).len(), LEN);
        assert_eq!(assembly.capacity(), LEN);
    }
}
