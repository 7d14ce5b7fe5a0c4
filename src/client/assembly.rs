//! A message, or a long piece of one, put together from the chunks it arrives in: [`Assembly`].

use crate::event_loop::buffer_pool::{Buffer, Pool};

/// The beginning of a message whose end has not come. Most messages are whole in the bytes of one
/// read and never pass through here: they are used where they lie. Without chunks nothing is allocated.
#[derive(Default)]
pub struct Assembly {
    partial: Option<Box<Buffer>>,
}

impl Assembly {
    /// How many bytes were added.
    pub fn len(&self) -> usize {
        self.partial
            .as_deref()
            .map_or(0, |buffer| buffer.bytes.len())
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a chunk that others follow. How long a message may be is checked where frames are read.
    pub fn add(&mut self, chunk: &[u8], pool: &mut Pool) {
        let buffer = self.partial.get_or_insert_with(|| pool.take());
        buffer.bytes.extend_from_slice(chunk);
    }

    /// All that was added, with the chunk behind it that makes it whole, or long enough to go on its
    /// way; [`Assembly::clear`] is then due.
    pub fn with_last<'a>(&'a mut self, chunk: &'a [u8]) -> &'a [u8] {
        match &mut self.partial {
            Some(buffer) => {
                buffer.bytes.extend_from_slice(chunk);
                &buffer.bytes
            }
            None => chunk,
        }
    }

    /// Forgets what was added and returns the buffer.
    pub fn clear(&mut self, pool: &mut Pool) {
        if let Some(buffer) = self.partial.take() {
            pool.give_back(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_whole_or_not_there() {
        let mut pool = Pool::new(1, 100);
        let mut assembly = Assembly::default();
        assert_eq!(assembly.with_last(b"at once"), b"at once");
        assert!(assembly.is_empty(), "it is used where it lies");
        assembly.add(b"in ", &mut pool);
        assembly.add(b"", &mut pool);
        assert_eq!(assembly.len(), 3);
        assert_eq!(assembly.with_last(b"pieces"), b"in pieces");
        assembly.clear(&mut pool);
        assert!(assembly.partial.is_none(), "the buffer went back");
        assert_eq!(assembly.with_last(b""), b"");
    }
}
