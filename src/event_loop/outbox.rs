//! Bytes that wait to be written to a socket or pipe: [`Outbox`].
//!
//! An outbox takes any number of bytes. Its owner bounds the memory: while [`Outbox::is_full`] is
//! true, it does not read from the source of the bytes.

use std::io::{self, ErrorKind, IoSlice, Write};

use super::buffer_pool::{Buffer, Pool};

/// Bytes that wait to be written.
///
/// Invariant: after a flush, an outbox without unsent bytes holds no buffer.
pub(crate) struct Outbox {
    buffer: Option<Box<Buffer>>,
}

/// Each client has one, and so has each command.
const _: () = assert!(size_of::<Outbox>() == size_of::<usize>());

impl Outbox {
    /// An outbox without bytes. It allocates nothing.
    pub(crate) const fn new() -> Self {
        Self { buffer: None }
    }

    /// The bytes, to append to, in a buffer from the pool. If nothing is appended, the next
    /// [`Outbox::flush`] returns the buffer.
    pub(crate) fn writer(&mut self, pool: &mut Pool) -> &mut Vec<u8> {
        self.buffer.get_or_insert_with(|| pool.take()).writer()
    }

    fn unsent(&self) -> &[u8] {
        self.buffer.as_deref().map_or(&[], Buffer::unsent)
    }

    /// The number of unsent bytes.
    pub(crate) fn len(&self) -> usize {
        self.unsent().len()
    }

    /// The memory it takes, in bytes.
    pub(crate) fn capacity(&self) -> usize {
        self.buffer.as_deref().map_or(0, Buffer::capacity)
    }

    /// Whether there are no unsent bytes.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether at least `high_water` bytes are unsent, so that the source of the bytes must pause.
    pub(crate) fn is_full(&self, high_water: usize) -> bool {
        self.len() >= high_water
    }

    /// Writes until no bytes are left or the sink is full. A short write means that it is full
    /// (epoll(7)), so there is no second one that would only fail with `WouldBlock`.
    ///
    /// # Errors
    ///
    /// The error of the sink, except `WouldBlock` and `Interrupted`. Unsent bytes stay here.
    pub(crate) fn flush(&mut self, sink: &mut impl Write, pool: &mut Pool) -> io::Result<Flushed> {
        let mut flushed = Flushed::default();
        while let Some(buffer) = &mut self.buffer
            && !buffer.unsent().is_empty()
            && !flushed.blocked
        {
            match sink.write(buffer.unsent()) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => {
                    flushed.blocked = n < buffer.unsent().len();
                    flushed.written += n;
                    buffer.sent(n);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => flushed.blocked = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.is_empty() {
            self.clear(pool);
        }
        Ok(flushed)
    }

    /// Like [`Outbox::flush`], with `more` after the unsent bytes. Only the part of `more` that the
    /// sink does not take is copied. So this is for long chunks and for bytes that go to many
    /// clients.
    ///
    /// # Errors
    ///
    /// As [`Outbox::flush`].
    pub(crate) fn flush_with(
        &mut self,
        more: &[u8],
        sink: &mut impl Write,
        pool: &mut Pool,
    ) -> io::Result<Flushed> {
        if more.is_empty() {
            return self.flush(sink, pool);
        }
        let unsent = self.unsent();
        let written = match sink.write_vectored(&[IoSlice::new(unsent), IoSlice::new(more)]) {
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.writer(pool).extend_from_slice(more);
                return Ok(Flushed {
                    written: 0,
                    blocked: true,
                });
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        let rest = &more[written.saturating_sub(unsent.len())..];
        if written < unsent.len() {
            if let Some(buffer) = &mut self.buffer {
                buffer.sent(written);
            }
        } else {
            self.clear(pool);
        }
        if !rest.is_empty() {
            self.writer(pool).extend_from_slice(rest);
        }
        // Unlike a short `write`, a short `write_vectored` does not prove that the sink is full: it
        // may have taken only the first slice.
        let flushed = self.flush(sink, pool)?;
        Ok(Flushed {
            written: written + flushed.written,
            blocked: flushed.blocked,
        })
    }

    /// Discards the bytes and returns the buffer.
    pub(crate) fn clear(&mut self, pool: &mut Pool) {
        if let Some(buffer) = self.buffer.take() {
            pool.give_back(buffer);
        }
    }
}

/// The result of a flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flushed {
    /// The number of bytes that the sink took.
    pub(crate) written: usize,
    /// Whether the sink is full, so that the next flush must wait until it is writable.
    pub(crate) blocked: bool,
}

#[cfg(test)]
mod tests;
