use super::*;

/// Takes `room` bytes, at most `step` in each write, then blocks.
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
    assert_eq!(pool.spare_len(), 1, "the buffer is back in the pool");
}

#[test]
fn bytes_leave_in_order_even_if_the_sink_takes_few_at_a_time() {
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
fn flush_with_writes_without_a_copy_and_keeps_the_rest() {
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
fn nothing_is_written_when_there_is_nothing_to_write() {
    // Writing to a full sink would needlessly make the caller wait for readiness.
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
fn flush_with_keeps_the_order_whatever_part_the_sink_takes() {
    for unsent_len in 0..8 {
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
                let (unsent, more) = all.split_at(unsent_len);
                outbox.writer(&mut pool).extend_from_slice(unsent);
                let flushed = outbox.flush_with(more, &mut sink, &mut pool).unwrap();
                assert_eq!(flushed.written, sink.taken.len());
                assert_eq!(outbox.len(), 15 - flushed.written);
                assert!(flushed.blocked || outbox.is_empty());
                sink.room = 100;
                while !outbox.is_empty() {
                    outbox.flush(&mut sink, &mut pool).unwrap();
                }
                assert_eq!(sink.taken, all, "{unsent_len} {room} {step}");
            }
        }
    }
}

#[test]
fn an_interrupted_write_is_repeated() {
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
fn an_outbox_that_never_empties_frees_its_sent_bytes() {
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
fn an_outbox_is_full_at_the_high_water_mark() {
    let mut outbox = Outbox::new();
    outbox.writer(&mut pool()).extend_from_slice(&[0; 9]);
    assert!(!outbox.is_full(10));
    outbox.writer(&mut pool()).push(0);
    assert!(outbox.is_full(10));
}
