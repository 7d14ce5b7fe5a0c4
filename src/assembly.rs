//! A message put together from the chunks it arrives in: [`Assembly`].

use crate::outbox::Pool;

/// The beginning of a message whose end has not come. Most messages are whole in the bytes of one
/// read and never pass through here: they are used where they lie.
#[derive(Default)]
pub struct Assembly {
    /// Boxed, because nearly no client has any.
    partial: Option<Box<Partial>>,
}

struct Partial {
    bytes: Vec<u8>,
}

impl Assembly {
    /// An assembly without chunks; it allocates nothing.
    pub const fn new() -> Self {
        Self { partial: None }
    }

    /// Adds a chunk. When it is the `last`, gives the whole message; [`Assembly::clear`] is then
    /// due before the next chunk. How long a message may be is checked where frames are read.
    pub fn add<'a>(&'a mut self, chunk: &'a [u8], last: bool, pool: &mut Pool) -> Option<&'a [u8]> {
        if self.partial.is_none() && last {
            return Some(chunk);
        }
        let partial = self.partial.get_or_insert_with(|| {
            let bytes = pool.take();
            Box::new(Partial { bytes })
        });
        partial.bytes.extend_from_slice(chunk);
        last.then_some(&partial.bytes)
    }

    /// Forgets what was added and returns the buffer.
    pub fn clear(&mut self, pool: &mut Pool) {
        if let Some(partial) = self.partial.take() {
            pool.give_back(partial.bytes);
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
