//! The messages of clients and commands: texts that carry their speaker and their number, so that a
//! receiver knows what must come next. [`Intake`] checks a command's stdin, [`Output`] cuts its
//! output into the messages that clients must receive.

use wspipe::framing::Framing;
use wspipe::limits::FRAGMENT_LEN;

/// `--replay-buffer` in every run, in bytes.
pub const REPLAY_LEN_MAX: usize = 1024 * 1024;

/// Bytes that a message takes in the replay buffer in addition to its frames.
const KEPT_OVERHEAD: usize = 4;

/// The longest padding of a text at scale 1.
const PADDING_MAX: usize = 700;

/// Appends a text: its speaker, its number, and the padding that the number gives.
pub fn write_text(speaker: usize, number: u32, scale: usize, out: &mut Vec<u8>) {
    use std::io::Write;
    write!(out, "{speaker}:{number}:").expect("writing to a Vec cannot fail");
    let padding = (number as usize * 37) % PADDING_MAX * scale;
    out.resize(out.len() + padding, b'a' + (number % 26) as u8);
}

pub fn text(speaker: usize, number: u32, scale: usize) -> Vec<u8> {
    let mut text = Vec::new();
    write_text(speaker, number, scale, &mut text);
    text
}

/// The longest text with its framing.
pub fn text_len_max(scale: usize) -> usize {
    PADDING_MAX * scale + 30
}

/// The contents of a message that names its stream: whether that is stderr, whether it is a piece
/// with more to come, and the bytes printed. Of the characters that JSON escapes, texts contain
/// only quotation marks.
pub fn untagged(message: &[u8]) -> (bool, bool, Vec<u8>) {
    let message = std::str::from_utf8(message).expect("UTF-8");
    let stdout = message.strip_prefix(r#"{"stream":"stdout","data":""#);
    let stderr = message.strip_prefix(r#"{"stream":"stderr","data":""#);
    let data = stdout.or(stderr).expect(message);
    let begun = data.strip_suffix(r#"","more":true}"#);
    let data = begun.or(data.strip_suffix(r#""}"#)).expect(message);
    let data = data.replace(r#"\""#, "\"").into_bytes();
    (stderr.is_some(), begun.is_some(), data)
}

/// Appends a text as it is in a pipe.
pub fn write_framed(framing: Framing, text: &[u8], out: &mut Vec<u8>) {
    match framing {
        Framing::Length => {
            out.push(1);
            out.extend((text.len() as u32).to_be_bytes());
        }
        Framing::Headers => {
            out.extend(format!("Content-Length: {}\r\n\r\n", text.len()).into_bytes());
        }
        Framing::Lines | Framing::Null | Framing::Raw => {}
    }
    out.extend(text);
    match framing {
        Framing::Lines => out.push(b'\n'),
        Framing::Null => out.push(0),
        Framing::Raw | Framing::Length | Framing::Headers => {}
    }
}

/// The lengths of a header and of its message, once the header at the beginning of `bytes` is
/// complete.
fn read_header(framing: Framing, bytes: &[u8]) -> Option<(usize, usize)> {
    match framing {
        Framing::Length => {
            let len = bytes.get(1..5)?.try_into().expect("four bytes");
            Some((5, u32::from_be_bytes(len) as usize))
        }
        Framing::Headers => {
            let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
            let field = std::str::from_utf8(&bytes[..end]).expect("a header field");
            let len = field.strip_prefix("Content-Length: ").expect("its name");
            Some((end + 4, len.parse().expect("a length")))
        }
        Framing::Lines | Framing::Null | Framing::Raw => Some((0, 0)),
    }
}

// -- A command's stdin ----------------------------------------------------------------------------

/// The input that a command has read: whole texts, those of each speaker in order.
pub struct Intake {
    framing: Framing,
    scale: usize,
    /// The beginning of an incomplete text.
    rest: Vec<u8>,
    /// The number of texts of each speaker.
    counts: Vec<(usize, u32)>,
}

impl Intake {
    pub fn new(framing: Framing, scale: usize) -> Self {
        Self {
            framing,
            scale,
            rest: Vec::new(),
            counts: Vec::new(),
        }
    }

    /// Takes and checks bytes that the command read.
    pub fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let rest = std::mem::take(&mut self.rest);
        let mut left = &rest[..];
        let mut expected = Vec::new();
        while let Some((speaker, number)) = self.next(left) {
            expected.clear();
            let text = text(speaker, number, self.scale);
            write_framed(self.framing, &text, &mut expected);
            let n = expected.len().min(left.len());
            let shown = || String::from_utf8_lossy(&left[..n.min(100)]);
            assert!(left[..n] == expected[..n], "a torn message: {:?}", shown());
            if n < expected.len() {
                break;
            }
            let count = self.count_mut(speaker);
            assert_eq!(
                number, *count,
                "the number of the next message from {speaker}"
            );
            *count += 1;
            left = &left[n..];
        }
        let taken = rest.len() - left.len();
        self.rest = rest;
        self.rest.drain(..taken);
    }

    /// The speaker and number of the next text, as soon as they are complete.
    fn next(&self, bytes: &[u8]) -> Option<(usize, u32)> {
        let (head_len, _) = read_header(self.framing, bytes)?;
        let mut words = bytes.get(head_len..)?.splitn(3, |&byte| byte == b':');
        let (speaker, number, _) = (words.next()?, words.next()?, words.next()?);
        let shown = || String::from_utf8_lossy(&bytes[..bytes.len().min(100)]);
        let parsed = |word: &[u8]| std::str::from_utf8(word).ok()?.parse::<u32>().ok();
        let (Some(speaker), Some(number)) = (parsed(speaker), parsed(number)) else {
            panic!("not the beginning of a message: {:?}", shown());
        };
        Some((speaker as usize, number))
    }

    fn count_mut(&mut self, speaker: usize) -> &mut u32 {
        let index = self.counts.iter().position(|(it, _)| *it == speaker);
        let index = index.unwrap_or_else(|| {
            self.counts.push((speaker, 0));
            self.counts.len() - 1
        });
        &mut self.counts[index].1
    }

    /// The number of texts of a speaker.
    pub fn count(&self, speaker: usize) -> u32 {
        let own = self.counts.iter().find(|(it, _)| *it == speaker);
        own.map_or(0, |(_, count)| *count)
    }

    /// Whether no text is incomplete.
    pub fn is_whole(&self) -> bool {
        self.rest.is_empty()
    }
}

// -- A command's output ---------------------------------------------------------------------------

/// How the output of a command becomes messages.
#[derive(Clone, Copy)]
pub struct Rules {
    pub framing: Framing,
    /// Whether each piece of a long message is a message.
    pub pieces: bool,
    /// Whether the beginning of a text may become a message (`--flush`). When depends on the
    /// server's clock alone.
    pub prompts: bool,
    /// The longest line allowed.
    pub line_len_max: usize,
}

/// The output that the server has read from a command, cut into the messages that it must become.
pub struct Output {
    rules: Rules,
    /// All payloads in sequence.
    payload: Vec<u8>,
    /// Where each message ends in it.
    ends: Vec<usize>,
    /// With `length` and `headers`: the beginning of a head, and the bytes of the current payload that are
    /// missing.
    head: Vec<u8>,
    missing: usize,
    /// A line was too long: everything from there on is ignored.
    pub too_long: bool,
}

/// A client's place in an [`Output`].
#[derive(Clone)]
pub enum Place {
    /// Before the message with this number.
    Message(usize),
    /// Before one of these bytes of the payload. If prompts may have been sent, only the contents
    /// of a message show its place.
    Bytes(Vec<usize>),
}

/// The longest part of a record that is held back: a fragment, and bytes that may be its delimiter.
const HELD_MAX: usize = FRAGMENT_LEN + 2;

impl Output {
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            payload: Vec::new(),
            ends: Vec::new(),
            head: Vec::new(),
            missing: 0,
            too_long: false,
        }
    }

    /// Takes bytes that the server got from one read.
    pub fn take(&mut self, bytes: &[u8]) {
        match self.rules.framing {
            Framing::Lines => self.take_records(b'\n', bytes),
            Framing::Null => self.take_records(0, bytes),
            Framing::Length | Framing::Headers => self.take_lengths(bytes),
            Framing::Raw => {
                self.payload.extend_from_slice(bytes);
                self.ends.push(self.payload.len());
            }
        }
    }

    /// The server has read EOF: what is left is a message too.
    pub fn finish(&mut self) {
        if self.has_last() {
            self.ends.push(self.payload.len());
        }
    }

    fn take_records(&mut self, delimiter: u8, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.too_long {
            let end = memchr::memchr(delimiter, bytes);
            let (front, back) = bytes.split_at(end.unwrap_or(bytes.len()));
            self.payload.extend_from_slice(front);
            if self.rest().len() > self.rules.line_len_max {
                self.payload.truncate(self.last_end());
                self.too_long = true;
            }
            while self.rules.pieces && self.rest().len() >= HELD_MAX {
                self.ends.push(self.last_end() + FRAGMENT_LEN);
            }
            if end.is_none() {
                return;
            }
            while self.rules.pieces && self.rest().len() > FRAGMENT_LEN {
                self.ends.push(self.last_end() + FRAGMENT_LEN);
            }
            self.ends.push(self.payload.len());
            bytes = &back[1..];
        }
    }

    fn take_lengths(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.missing == 0 {
                self.head.push(bytes[0]);
                bytes = &bytes[1..];
                if let Some((_, len)) = read_header(self.rules.framing, &self.head) {
                    self.missing = len;
                    self.head.clear();
                }
                continue;
            }
            let (front, back) = bytes.split_at(bytes.len().min(self.missing));
            self.payload.extend_from_slice(front);
            self.missing -= front.len();
            bytes = back;
            while self.rules.pieces && self.rest().len() >= FRAGMENT_LEN {
                self.ends.push(self.last_end() + FRAGMENT_LEN);
            }
            if self.missing == 0 && !self.rest().is_empty() {
                self.ends.push(self.payload.len());
            }
        }
    }

    fn last_end(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The payload after the last message.
    fn rest(&self) -> &[u8] {
        &self.payload[self.last_end()..]
    }

    /// The number of complete messages.
    pub fn messages(&self) -> usize {
        self.ends.len()
    }

    /// The number of bytes of payload.
    pub fn len(&self) -> usize {
        self.payload.len()
    }

    /// Whether it ended inside a message, in a framing where that is an error.
    pub fn is_cut(&self) -> bool {
        let inside = !self.head.is_empty() || self.missing > 0;
        self.rules.framing.has_headers() && inside
    }

    /// A complete message, or at EOF (`ended`) the rest.
    fn message(&self, number: usize, ended: bool) -> Option<&[u8]> {
        let start = match number {
            0 => 0,
            _ => *self.ends.get(number - 1)?,
        };
        let end = match self.ends.get(number) {
            Some(end) => *end,
            None if ended && self.has_last() => self.payload.len(),
            None => return None,
        };
        Some(&self.payload[start..end])
    }

    /// Whether the rest at EOF is a message.
    fn has_last(&self) -> bool {
        self.rules.framing.has_records() && !self.rest().is_empty() && !self.too_long
    }

    // -- Places ----------------------------------------------------------------------------------

    /// The place of a client that gets everything.
    pub fn start(&self) -> Place {
        match self.rules.prompts {
            true => Place::Bytes(vec![0]),
            false => Place::Message(0),
        }
    }

    /// The place of a client that joins after `messages` messages and `len` bytes of payload, and
    /// gets the last `replay` messages.
    pub fn joined(&self, messages: usize, len: usize, replay: usize) -> Place {
        let first = self.kept_from(messages, len, replay);
        if !self.rules.prompts {
            return Place::Message(first);
        }
        // Prompts and pieces count as messages. So the replay begins at `first`, within the line
        // before it, or within the line before that: less of the current line may be out than is
        // counted here. What waits for its delimiter is not sent yet.
        let first = first.saturating_sub(2);
        let start_of = |message: usize| message.checked_sub(1).map_or(0, |it| self.ends[it]);
        Place::Bytes((start_of(first)..=len).collect())
    }

    /// The first of the messages in a replay buffer of up to `kept_max` messages, after `messages`
    /// messages and `len` bytes of payload. An unfinished message is the last of them, or is
    /// dropped as a whole.
    fn kept_from(&self, messages: usize, len: usize, kept_max: usize) -> usize {
        let fragments = self.fragments_out(messages, len);
        let mut first = messages;
        let (mut count, mut bytes) = (0, 0);
        if fragments > 0 {
            count = 1;
            bytes = fragments * frame_len(FRAGMENT_LEN) + KEPT_OVERHEAD;
            if count > kept_max || bytes > REPLAY_LEN_MAX {
                return messages + 1;
            }
        }
        while first > 0 && messages - first + count < kept_max {
            let message = self
                .message(first - 1, false)
                .expect("the message is complete");
            bytes += frames_len(message.len()) + KEPT_OVERHEAD;
            if bytes > REPLAY_LEN_MAX {
                break;
            }
            first -= 1;
        }
        first
    }

    /// The number of fragments that were sent of the unfinished message after `messages` messages.
    fn fragments_out(&self, messages: usize, len: usize) -> usize {
        let start = messages.checked_sub(1).map_or(0, |it| self.ends[it]);
        let begun = len - start;
        match self.rules.framing {
            Framing::Length | Framing::Headers => begun / FRAGMENT_LEN,
            _ => (begun + FRAGMENT_LEN).saturating_sub(HELD_MAX) / FRAGMENT_LEN,
        }
    }

    /// Whether everything from a place on is in the replay buffer, after `messages` messages and
    /// `len` bytes of payload. `None` if it may or may not be.
    pub fn is_kept(&self, place: &Place, messages: usize, len: usize) -> Option<bool> {
        match place {
            Place::Message(number) => Some(*number >= self.kept_from(messages, len, usize::MAX)),
            Place::Bytes(places) => {
                let oldest = places.iter().min().expect("a place");
                let missed = len - *oldest;
                match missed {
                    // Some of them are prompts, of one byte perhaps, each with a frame head.
                    _ if missed < REPLAY_LEN_MAX / 4 => Some(true),
                    _ if missed > REPLAY_LEN_MAX + HELD_MAX => Some(false),
                    _ => None,
                }
            }
        }
    }

    /// The client's place after this message, which must be the next. With `ended` the command is
    /// gone, so that the last message needs no delimiter.
    #[track_caller]
    pub fn advance(&self, place: &mut Place, message: &[u8], ended: bool) {
        let shown = || String::from_utf8_lossy(&message[..message.len().min(100)]);
        match place {
            Place::Message(number) => {
                let expected = self.message(*number, ended);
                let right = expected.is_some_and(|expected| expected == message);
                assert!(right, "message {number} of the output is not {:?}", shown());
                *number += 1;
            }
            Place::Bytes(places) => {
                places.retain_mut(|at| {
                    let start = std::mem::replace(at, *at + message.len());
                    let fits = self.payload.get(start..*at) == Some(message);
                    // A message does not continue past the end of a line.
                    let line = self.ends.partition_point(|end| *end <= start);
                    fits && self.ends.get(line).is_none_or(|end| *at <= *end)
                });
                assert!(
                    !places.is_empty(),
                    "the output has no {:?} at any possible place",
                    shown()
                );
            }
        }
    }

    /// Whether the client has received all that is a message; `ended` as for
    /// [`advance`](Self::advance).
    pub fn is_at_end(&self, place: &Place, ended: bool) -> bool {
        match place {
            Place::Message(number) => {
                *number == self.messages() + usize::from(ended && self.has_last())
            }
            Place::Bytes(places) => places.iter().any(|at| match ended {
                true => *at == self.len(),
                // The beginning of a line may wait for its delimiter.
                false => *at >= self.last_end(),
            }),
        }
    }
}

/// The length of the frames of a message whose fragments are all full but the last.
fn frames_len(len: usize) -> usize {
    let full = len.saturating_sub(1) / FRAGMENT_LEN;
    full * frame_len(FRAGMENT_LEN) + frame_len(len - full * FRAGMENT_LEN)
}

/// The length of a frame with this length of payload.
fn frame_len(len: usize) -> usize {
    len + match len {
        0..126 => 2,
        126..0x1_0000 => 4,
        _ => 10,
    }
}

// -- Frames ---------------------------------------------------------------------------------------

/// Appends a frame as a client sends it.
pub fn write_frame(fin: bool, opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(u8::from(fin) << 7 | opcode);
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    const KEY: [u8; 4] = [1, 2, 3, 4];
    out.extend_from_slice(&KEY);
    let start = out.len();
    out.extend_from_slice(payload);
    for four in out[start..].chunks_mut(KEY.len()) {
        four.iter_mut()
            .zip(KEY)
            .for_each(|(byte, key)| *byte ^= key);
    }
}

pub fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    write_frame(fin, opcode, payload, &mut frame);
    frame
}

/// Removes one frame of the server from the bytes received, if it is complete.
pub fn next_frame<'a>(left: &mut &'a [u8]) -> Option<(bool, u8, &'a [u8])> {
    let bytes = *left;
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (start, len) = match second {
        126 => (
            4,
            usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])),
        ),
        127 => (
            10,
            u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize,
        ),
        len => (2, usize::from(len)),
    };
    let payload = bytes.get(start..start + len)?;
    *left = &bytes[start + len..];
    Some((first & 0x80 != 0, first & 15, payload))
}
