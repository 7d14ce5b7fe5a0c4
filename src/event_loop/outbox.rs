//! Bytes that wait to be written: [`Outbox`], and the [`Pool`] that lends it its [`Buffer`].
//!
//! Nearly every outbox is empty nearly always, so none owns a buffer: it borrows one from the
//! pool with its first unsent byte and gives it back with its last. What is idle costs the room of
//! a pointer.

use std::io::{self, ErrorKind, IoSlice, Write};

/// Bytes in the order in which they came, and how many of them have left.
///
/// Invariant: `sent <= bytes.len()`.
#[derive(Default)]
pub struct Buffer {
    /// What came. Whoever takes bytes away has to see to `sent`.
    pub bytes: Vec<u8>,
    sent: usize,
}

impl Buffer {
    /// What has not left.
    fn waiting(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }
}

/// Spare buffers, kept so that a busy server need not allocate. They are boxed, so that who is
/// lent one keeps no more than a pointer.
pub struct Pool {
    // A box that moves costs nothing; a buffer that is boxed anew, an allocation.
    #[allow(clippy::vec_box)]
    spare: Vec<Box<Buffer>>,
    spare_max: usize,
    buffer_len_max: usize,
}

impl Pool {
    /// A pool that keeps at most `spare_max` buffers of at most `buffer_len_max` bytes each; what
    /// is given back beyond that is freed.
    pub fn new(spare_max: usize, buffer_len_max: usize) -> Self {
        Self {
            spare: Vec::new(),
            spare_max,
            buffer_len_max,
        }
    }

    /// An empty buffer.
    pub fn take(&mut self) -> Box<Buffer> {
        self.spare.pop().unwrap_or_default()
    }

    /// Returns a buffer, whatever it holds.
    pub fn give_back(&mut self, mut buffer: Box<Buffer>) {
        let kept = 1..=self.buffer_len_max;
        if kept.contains(&buffer.bytes.capacity()) && self.spare.len() < self.spare_max {
            buffer.bytes.clear();
            buffer.sent = 0;
            self.spare.push(buffer);
        }
    }

    /// Frees the spare buffers.
    pub fn clear(&mut self) {
        self.spare = Vec::new();
    }
}

/// Bytes that wait for a peer or a pipe to take them.
///
/// Invariant: after a flush, an outbox with nothing unsent owns no buffer.
#[derive(Default)]
pub struct Outbox {
    buffer: Option<Box<Buffer>>,
}

/// A client has one, and its command another.
const _: () = assert!(size_of::<Outbox>() == size_of::<usize>());

impl Outbox {
    /// An outbox without bytes; it allocates nothing.
    pub const fn new() -> Self {
        Self { buffer: None }
    }

    /// The buffer to append to, borrowed from the pool if there is none. An outbox that is left
    /// empty gives it back at the next [`Outbox::flush`].
    pub fn writer(&mut self, pool: &mut Pool) -> &mut Vec<u8> {
        let buffer = self.buffer.get_or_insert_with(|| pool.take());
        if buffer.sent > 0 && buffer.sent >= buffer.waiting().len() {
            // At most as many bytes are moved as were written since the last move, and what has
            // been sent never takes more room than what has not.
            buffer.bytes.drain(..buffer.sent);
            buffer.sent = 0;
        }
        &mut buffer.bytes
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.waiting().len()
    }

    fn waiting(&self) -> &[u8] {
        self.buffer.as_deref().map_or(&[], Buffer::waiting)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether as many bytes wait as the high-water mark allows, so that whoever fills this
    /// outbox has to pause.
    pub fn is_full(&self, high_water: usize) -> bool {
        self.len() >= high_water
    }

    /// Writes until nothing waits or the sink takes no more, and says how many bytes it took and
    /// whether it could take more. A short write means a full sink (epoll(7)): asking again would
    /// only bring `WouldBlock`.
    ///
    /// # Errors
    /// What the sink says, `WouldBlock` and `Interrupted` excepted. The bytes are then lost to
    /// it, but still here.
    pub fn flush(&mut self, sink: &mut impl Write, pool: &mut Pool) -> io::Result<Flushed> {
        let mut flushed = Flushed::default();
        while let Some(buffer) = &mut self.buffer
            && !buffer.waiting().is_empty()
            && !flushed.blocked
        {
            match sink.write(buffer.waiting()) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => {
                    flushed.blocked = n < buffer.waiting().len();
                    flushed.written += n;
                    buffer.sent += n;
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

    /// As [`Outbox::flush`], with `more` behind what waits. It is written from where it lies, so that
    /// what is long, or goes to many, is not copied; only what the sink does not take waits.
    ///
    /// # Errors
    /// As [`Outbox::flush`].
    pub fn flush_with(
        &mut self,
        more: &[u8],
        sink: &mut impl Write,
        pool: &mut Pool,
    ) -> io::Result<Flushed> {
        if more.is_empty() {
            return self.flush(sink, pool);
        }
        let waiting = self.waiting();
        let written = match sink.write_vectored(&[IoSlice::new(waiting), IoSlice::new(more)]) {
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
        let rest = &more[written.saturating_sub(waiting.len())..];
        if written < waiting.len() {
            self.advance(written);
        } else {
            self.clear(pool);
        }
        if !rest.is_empty() {
            self.writer(pool).extend_from_slice(rest);
        }
        // A sink may take one of two pieces and have room still, so a short write says nothing here.
        let flushed = self.flush(sink, pool)?;
        Ok(Flushed {
            written: written + flushed.written,
            blocked: flushed.blocked,
        })
    }

    fn advance(&mut self, written: usize) {
        if let Some(buffer) = &mut self.buffer {
            buffer.sent += written;
        }
    }

    /// Forgets what waits and returns the buffer.
    pub fn clear(&mut self, pool: &mut Pool) {
        if let Some(buffer) = self.buffer.take() {
            pool.give_back(buffer);
        }
    }
}

/// What came of an [`Outbox::flush`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Bytes that the sink took.
    pub written: usize,
    /// Whether the sink is full: its next readiness has to be awaited.
    pub blocked: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `room` bytes in pieces of at most `step`, then blocks.
    struct Sink {
        room: usize,
        step: usize,
        taken: Vec<u8>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.room).min(self.step);
            if n == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.room -= n;
            self.taken.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn pool() -> Pool {
        Pool::new(4, 1 << 20)
    }

    #[test]
    fn an_empty_outbox_owns_no_buffer() {
        let mut pool = pool();
        let mut outbox = Outbox::new();
        outbox.writer(&mut pool).extend_from_slice(b"hello");
        let mut sink = Sink {
            room: 5,
            step: 5,
            taken: Vec::new(),
        };
        let flushed = outbox.flush(&mut sink, &mut pool).unwrap();
        assert_eq!(
            flushed,
            Flushed {
                written: 5,
                blocked: false
            }
        );
        assert!(outbox.buffer.is_none());
        assert_eq!(pool.spare.len(), 1, "the buffer went back");
    }

    #[test]
    fn bytes_leave_in_order_however_little_the_sink_takes() {
        let mut pool = pool();
        let mut outbox = Outbox::new();
        let mut sink = Sink {
            room: 0,
            step: 3,
            taken: Vec::new(),
        };
        let mut expected = Vec::new();
        for n in 0..1000u32 {
            let bytes = n.to_be_bytes();
            outbox.writer(&mut pool).extend_from_slice(&bytes);
            expected.extend_from_slice(&bytes);
            sink.room = (n % 8) as usize;
            outbox.flush(&mut sink, &mut pool).unwrap();
            assert_eq!(outbox.buffer.is_none(), outbox.is_empty());
        }
        while !outbox.is_empty() {
            sink.room = 3;
            outbox.flush(&mut sink, &mut pool).unwrap();
        }
        assert_eq!(sink.taken, expected);
    }

    #[test]
    fn what_is_long_is_written_from_where_it_lies_and_the_rest_waits() {
        let mut pool = pool();
        let mut outbox = Outbox::new();
        let mut sink = Sink {
            room: 12,
            step: 100,
            taken: Vec::new(),
        };
        outbox.writer(&mut pool).extend_from_slice(b"head");
        let flushed = outbox.flush_with(b"hello", &mut sink, &mut pool);
        let whole = Flushed {
            written: 9,
            blocked: false,
        };
        assert_eq!(flushed.unwrap(), whole);
        assert!(outbox.buffer.is_none());
        let flushed = outbox.flush_with(b"world", &mut sink, &mut pool);
        let cut = Flushed {
            written: 3,
            blocked: true,
        };
        assert_eq!(flushed.unwrap(), cut);
        let flushed = outbox.flush_with(b"!", &mut sink, &mut pool);
        let nothing = Flushed {
            written: 0,
            blocked: true,
        };
        assert_eq!(flushed.unwrap(), nothing);
        sink.room = 100;
        outbox.flush(&mut sink, &mut pool).unwrap();
        assert_eq!(sink.taken, b"headhelloworld!");
    }

    #[test]
    fn where_there_is_nothing_to_write_nothing_is_written() {
        // A sink that is full would say so, and its next readiness be awaited for nothing.
        let mut full = Sink {
            room: 0,
            step: 100,
            taken: Vec::new(),
        };
        let flushed = Outbox::new().flush_with(b"", &mut full, &mut pool());
        let nothing = Flushed {
            written: 0,
            blocked: false,
        };
        assert_eq!(flushed.unwrap(), nothing);
    }

    #[test]
    fn whatever_part_of_it_the_sink_takes_the_order_holds() {
        for waiting_len in 0..8 {
            for room in 0..20 {
                for step in 1..8 {
                    let mut pool = pool();
                    let mut outbox = Outbox::new();
                    let mut sink = Sink {
                        room,
                        step,
                        taken: Vec::new(),
                    };
                    let all: Vec<u8> = (0..15).collect();
                    let (waiting, more) = all.split_at(waiting_len);
                    outbox.writer(&mut pool).extend_from_slice(waiting);
                    let flushed = outbox.flush_with(more, &mut sink, &mut pool).unwrap();
                    assert_eq!(flushed.written, sink.taken.len());
                    assert_eq!(outbox.len(), 15 - flushed.written);
                    assert!(flushed.blocked || outbox.is_empty());
                    sink.room = 100;
                    while !outbox.is_empty() {
                        outbox.flush(&mut sink, &mut pool).unwrap();
                    }
                    assert_eq!(sink.taken, all, "{waiting_len} {room} {step}");
                }
            }
        }
    }

    #[test]
    fn a_signal_in_the_middle_of_a_write_ends_nothing() {
        struct Interrupted(Vec<u8>, bool);

        impl Write for Interrupted {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if !std::mem::replace(&mut self.1, true) {
                    return Err(ErrorKind::Interrupted.into());
                }
                self.0.extend_from_slice(bytes);
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let mut sink = Interrupted(Vec::new(), false);
        let flushed = Outbox::new().flush_with(b"hello", &mut sink, &mut pool());
        let whole = Flushed {
            written: 5,
            blocked: false,
        };
        assert_eq!(flushed.unwrap(), whole);
        assert_eq!(sink.0, b"hello");
    }

    #[test]
    fn sent_bytes_do_not_pile_up_behind_an_outbox_that_never_empties() {
        let mut pool = pool();
        let mut outbox = Outbox::new();
        let mut sink = Sink {
            room: 0,
            step: usize::MAX,
            taken: Vec::new(),
        };
        outbox.writer(&mut pool).extend_from_slice(&[0; 100]);
        for _ in 0..10_000 {
            outbox.writer(&mut pool).extend_from_slice(&[0; 50]);
            sink.room = 50;
            outbox.flush(&mut sink, &mut pool).unwrap();
        }
        assert_eq!(outbox.len(), 100);
        assert!(outbox.buffer.unwrap().bytes.capacity() < 1000);
    }

    #[test]
    fn a_buffer_too_large_for_the_pool_is_freed() {
        let mut pool = Pool::new(2, 100);
        let buffer = |len| {
            let bytes = Vec::with_capacity(len);
            Box::new(Buffer { bytes, sent: 0 })
        };
        pool.give_back(buffer(101));
        assert_eq!(pool.spare.len(), 0);
        for _ in 0..3 {
            pool.give_back(buffer(100));
        }
        assert_eq!(pool.spare.len(), 2);
        pool.clear();
        assert_eq!(pool.spare.len(), 0);
    }

    #[test]
    fn full_is_at_the_high_water_mark() {
        let mut outbox = Outbox::new();
        outbox.writer(&mut pool()).extend_from_slice(&[0; 9]);
        assert!(!outbox.is_full(10));
        outbox.writer(&mut pool()).push(0);
        assert!(outbox.is_full(10));
    }
}
