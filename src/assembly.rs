//! A message, or a long piece of one, put together from the chunks it arrives in: [`Assembly`].

use crate::outbox::{Buffer, Pool};

/// The beginning of a message whose end has not come. Most messages are whole in the bytes of one
/// read and never pass through here: they are used where they lie.
#[derive(Default)]
pub struct Assembly {
    partial: Option<Box<Buffer>>,
}

impl Assembly {
    /// An assembly without chunks; it allocates nothing.
    pub const fn new() -> Self {
        Self { partial: None }
    }

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

    /// Adds a chunk. When it is the `last`, gives all that was added; [`Assembly::clear`] is then
    /// due before the next chunk. How long a message may be is checked where frames are read.
    pub fn add<'a>(&'a mut self, chunk: &'a [u8], last: bool, pool: &mut Pool) -> Option<&'a [u8]> {
        if self.is_empty() && last {
            return Some(chunk);
        }
        let buffer = self.partial.get_or_insert_with(|| pool.take());
        buffer.bytes.extend_from_slice(chunk);
        last.then_some(&buffer.bytes)
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
        let mut assembly = Assembly::new();
        assert_eq!(
            assembly.add(b"at once", true, &mut pool),
            Some(&b"at once"[..])
        );
        assert_eq!(assembly.add(b"in ", false, &mut pool), None);
        assert_eq!(assembly.add(b"", false, &mut pool), None);
        assert_eq!(
            assembly.add(b"pieces", true, &mut pool),
            Some(&b"in pieces"[..])
        );
        assembly.clear(&mut pool);
        assert!(assembly.partial.is_none(), "the buffer went back");
        assert_eq!(assembly.add(b"", true, &mut pool), Some(&b""[..]));
    }
}
