//! Messages framed once and sent to several clients: [`Framed`].

/// Frames that are sent together, and their counts for the access log.
#[derive(Default)]
pub(crate) struct Framed {
    /// The frames, unmasked as a server sends them.
    pub(crate) frames: Vec<u8>,
    /// Bytes of payload in the frames.
    pub(crate) payload_len: usize,
    /// Messages that end in the frames.
    pub(crate) messages: u64,
    /// The offset in `frames` of the first message that begins here, after the end of a message
    /// that began in earlier frames. A client that joined in the middle of that message gets the
    /// frames from here on.
    pub(crate) first_start: Option<usize>,
}

impl Framed {
    /// No messages yet. Uses the memory of `frames`, which is empty.
    pub(crate) fn new(frames: Vec<u8>) -> Self {
        debug_assert!(frames.is_empty());
        Self {
            frames,
            ..Self::default()
        }
    }
}
