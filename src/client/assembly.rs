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

    /// Adds a chunk that others follow. The frame decoder limits the length of a message.
    pub(super) fn add(&mut self, chunk: &[u8], pool: &mut Pool) {
        let buffer = self.partial.get_or_insert_with(|| pool.take());
        buffer.bytes.extend_from_slice(chunk);
    }

    /// Everything that was added, with `chunk` behind it. [`Assembly::clear`] must follow.
    pub(super) fn with_last<'a>(&'a mut self, chunk: &'a [u8]) -> &'a [u8] {
        match &mut self.partial {
            Some(buffer) => {
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
        assembly.add(b"in ", &mut pool);
        assembly.add(b"", &mut pool);
        assert_eq!(assembly.len(), 3);
        assert_eq!(assembly.with_last(b"fragments"), b"in fragments");
        assembly.clear(&mut pool);
        assert!(
            assembly.partial.is_none(),
            "the buffer went back to the pool"
        );
        assert_eq!(assembly.with_last(b""), b"");
    }
}
