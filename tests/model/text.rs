//! What the clients and the commands of the model say: numbered texts, known by who says them and by
//! their number, so that whoever hears one can tell what it has to be.

use wspipe::framing::Framing;
use wspipe::limits::FRAGMENT_LEN;

/// What `--replay-buffer` is in every run.
pub const REPLAY_LEN_MAX: usize = 1024 * 1024;

/// What a message takes there beside its frames.
const KEPT_BESIDE: usize = 4;

/// The most of its padding that a text has, where the scale is 1.
const PADDING_MAX: usize = 700;

/// Appends a text: who says it, its number, and as much padding as the number says.
pub fn write_text(speaker: usize, number: u32, scale: usize, out: &mut Vec<u8>) {
    use std::io::Write;
    write!(out, "{speaker}:{number}:").expect("a Vec takes all");
    let padding = (number as usize * 37) % PADDING_MAX * scale;
    out.resize(out.len() + padding, b'a' + (number % 26) as u8);
}

pub fn text(speaker: usize, number: u32, scale: usize) -> Vec<u8> {
    let mut text = Vec::new();
    write_text(speaker, number, scale, &mut text);
    text
}

/// The longest text, and what a framing puts around it.
pub fn text_len_max(scale: usize) -> usize {
    PADDING_MAX * scale + 30
}

/// What stands in a message that says where it is from: whether from stderr, whether it is a piece
/// with more to come, and what was printed. Of all that has to be escaped there are only quotation
/// marks.
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

/// Appends a text as it stands in a pipe.
pub fn write_framed(framing: Framing, text: &[u8], out: &mut Vec<u8>) {
    if framing == Framing::Length {
        out.push(1);
        out.extend((text.len() as u32).to_be_bytes());
    }
    out.extend(text);
    match framing {
        Framing::Lines => out.push(b'\n'),
        Framing::Null => out.push(0),
        Framing::Raw | Framing::Length => {}
    }
}

// -- Into a command -------------------------------------------------------------------------------

/// What a command has taken from its stdin: whole texts, those of each speaker in their order.
pub struct Intake {
    framing: Framing,
    scale: usize,
    /// The beginning of a text whose end has not come.
    rest: Vec<u8>,
    /// How many texts of each speaker came.
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

    /// Takes what was read.
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
            assert_eq!(number, *count, "the next message of {speaker}");
            *count += 1;
            left = &left[n..];
        }
        let taken = rest.len() - left.len();
        self.rest = rest;
        self.rest.drain(..taken);
    }

    /// Who speaks next, and which of its texts, as soon as that can be seen.
    fn next(&self, bytes: &[u8]) -> Option<(usize, u32)> {
        let head_len = match self.framing {
            Framing::Length => 5,
            Framing::Lines | Framing::Null | Framing::Raw => 0,
        };
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

    /// How many texts of a speaker came.
    pub fn count(&self, speaker: usize) -> u32 {
        let own = self.counts.iter().find(|(it, _)| *it == speaker);
        own.map_or(0, |(_, count)| *count)
    }

    /// Whether it stands between two texts.
    pub fn is_whole(&self) -> bool {
        self.rest.is_empty()
    }
}

// -- Out of a command -----------------------------------------------------------------------------

/// How the output of a command becomes messages.
#[derive(Clone, Copy)]
pub struct Rules {
    pub framing: Framing,
    /// Whether each piece of a long message is one of its own.
    pub pieces: bool,
    /// Whether the beginning of a text may be a message of its own (`--flush`), which only the
    /// server's clock decides.
    pub prompts: bool,
    /// The longest line.
    pub line_len_max: usize,
}

/// What a command printed and the server has read, cut into the messages that it has to become.
pub struct Output {
    rules: Rules,
    /// The payloads, one behind the other.
    payload: Vec<u8>,
    /// Where in it each message ends.
    ends: Vec<usize>,
    /// With `length`: the beginning of a head, and how much of the payload behind the last one is
    /// to come.
    head: Vec<u8>,
    missing: usize,
    /// A line was longer than allowed: nothing counts from there on.
    pub too_long: bool,
}

/// Where in an [`Output`] a client is.
#[derive(Clone)]
pub enum Place {
    /// Before the message of this number.
    Message(usize),
    /// Before one of these bytes of the payload: where prompts may have been sent, the messages
    /// are known only by what they say.
    Bytes(Vec<usize>),
}

/// The bytes that a record keeps waiting before a piece of it goes out: a piece, and what could be
/// its end.
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

    /// Takes what the server has read at once.
    pub fn take(&mut self, bytes: &[u8]) {
        match self.rules.framing {
            Framing::Lines => self.take_records(b'\n', bytes),
            Framing::Null => self.take_records(0, bytes),
            Framing::Length => self.take_lengths(bytes),
            Framing::Raw => {
                self.payload.extend_from_slice(bytes);
                self.ends.push(self.payload.len());
            }
        }
    }

    /// The server has read the end: what is left is a message too.
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
                if let Some(len) = self.head.get(1..5) {
                    let len = u32::from_be_bytes(len.try_into().expect("four bytes"));
                    self.missing = len as usize;
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

    /// What came behind the end of the last message.
    fn rest(&self) -> &[u8] {
        &self.payload[self.last_end()..]
    }

    /// How many messages are whole.
    pub fn messages(&self) -> usize {
        self.ends.len()
    }

    /// How many bytes of payload came.
    pub fn len(&self) -> usize {
        self.payload.len()
    }

    /// Whether it ended inside a message, where that is a fault.
    pub fn is_cut(&self) -> bool {
        let inside = !self.head.is_empty() || self.missing > 0;
        self.rules.framing == Framing::Length && inside
    }

    /// A message: of those that are whole, or, where the output is at its end, what is left.
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

    /// Whether what is left at the end is a message too.
    fn has_last(&self) -> bool {
        matches!(self.rules.framing, Framing::Lines | Framing::Null)
            && !self.rest().is_empty()
            && !self.too_long
    }

    // -- Places ----------------------------------------------------------------------------------

    /// Where a client is that gets everything.
    pub fn start(&self) -> Place {
        match self.rules.prompts {
            true => Place::Bytes(vec![0]),
            false => Place::Message(0),
        }
    }

    /// Where a client is that joins when there are so many `messages`, and so many bytes of payload,
    /// and gets the last few of them.
    pub fn joined(&self, messages: usize, len: usize, replay: usize) -> Place {
        let first = self.kept_from(messages, len, replay);
        if !self.rules.prompts {
            return Place::Message(first);
        }
        // Prompts and pieces are messages: as many go back as far as that, into the line before it,
        // or less; or into the one before that, for less of the line under way may be out than is
        // counted there. What waits for its end is not sent yet.
        let first = first.saturating_sub(2);
        let start_of = |message: usize| message.checked_sub(1).map_or(0, |it| self.ends[it]);
        Place::Bytes((start_of(first)..=len).collect())
    }

    /// The first of the messages that are kept where there are so many, and so many bytes of payload,
    /// if at most `kept_max` are. One that is under way is the last of them, or lost as a whole.
    fn kept_from(&self, messages: usize, len: usize, kept_max: usize) -> usize {
        let fragments = self.fragments_out(messages, len);
        let mut first = messages;
        let (mut count, mut bytes) = (0, 0);
        if fragments > 0 {
            count = 1;
            bytes = fragments * frame_len(FRAGMENT_LEN) + KEPT_BESIDE;
            if count > kept_max || bytes > REPLAY_LEN_MAX {
                return messages + 1;
            }
        }
        while first > 0 && messages - first + count < kept_max {
            let message = self.message(first - 1, false).expect("it is whole");
            bytes += frames_len(message.len()) + KEPT_BESIDE;
            if bytes > REPLAY_LEN_MAX {
                break;
            }
            first -= 1;
        }
        first
    }

    /// How many fragments are out of the message that is under way behind so many.
    fn fragments_out(&self, messages: usize, len: usize) -> usize {
        let start = messages.checked_sub(1).map_or(0, |it| self.ends[it]);
        let begun = len - start;
        match self.rules.framing {
            Framing::Length => begun / FRAGMENT_LEN,
            _ => (begun + FRAGMENT_LEN).saturating_sub(HELD_MAX) / FRAGMENT_LEN,
        }
    }

    /// Whether what comes from a place on is kept, where there are so many messages and so many
    /// bytes of payload; `None`: it may be or not.
    pub fn is_kept(&self, place: &Place, messages: usize, len: usize) -> Option<bool> {
        match place {
            Place::Message(number) => Some(*number >= self.kept_from(messages, len, usize::MAX)),
            Place::Bytes(places) => {
                let oldest = places.iter().min().expect("a place");
                let missed = len - *oldest;
                match missed {
                    // Some of them are prompts, of a byte perhaps, each with a head.
                    _ if missed < REPLAY_LEN_MAX / 4 => Some(true),
                    _ if missed > REPLAY_LEN_MAX + HELD_MAX => Some(false),
                    _ => None,
                }
            }
        }
    }

    /// Where a client is after this message, which has to be the next. `ended`: the command is not
    /// there any more, so that the last one needs no end.
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
                    // A message does not go on behind the end of a line.
                    let line = self.ends.partition_point(|end| *end <= start);
                    fits && self.ends.get(line).is_none_or(|end| *at <= *end)
                });
                assert!(!places.is_empty(), "nowhere comes {:?}", shown());
            }
        }
    }

    /// Whether a client that is there has got everything that is a message; `ended` as above.
    pub fn is_at_end(&self, place: &Place, ended: bool) -> bool {
        match place {
            Place::Message(number) => {
                *number == self.messages() + usize::from(ended && self.has_last())
            }
            Place::Bytes(places) => places.iter().any(|at| match ended {
                true => *at == self.len(),
                // The beginning of a line may wait for its end.
                false => *at >= self.last_end(),
            }),
        }
    }
}

/// How long the frames are of a message of so many bytes, each but the last of a full fragment.
fn frames_len(len: usize) -> usize {
    let full = len.saturating_sub(1) / FRAGMENT_LEN;
    full * frame_len(FRAGMENT_LEN) + frame_len(len - full * FRAGMENT_LEN)
}

/// How long the frame is of so many bytes.
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

/// Takes a frame of the server's off what has come, if it is whole.
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
