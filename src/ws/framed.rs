//! Messages framed once and sent to several clients: [`Framed`].

/// Frames that go out together, and what the access log counts of them.
#[derive(Default)]
pub(crate) struct Framed {
    /// The frames, unmasked as a server sends them.
    pub(crate) frames: Vec<u8>,
    /// Bytes of payload in the frames.
    pub(crate) payload_len: usize,
    /// Messages that end in the frames.
    pub(crate) messages: u64,
    /// The offset in `frames` of the first message that begins in this framed, once a message that
    /// began in an earlier framed has ended. A client that joined in the middle of that message
    /// gets the frames from here on.
    pub(crate) first_start: Option<usize>,
}

impl Framed {
    /// A framed without messages that uses the memory of `frames`, which is empty.
    pub(crate) fn new(frames: Vec<u8>) -> Self {
        debug_assert!(frames.is_empty());
        Self {
            frames,
            ..Self::default()
        }
    }
}
