//! What a command prints, cut into messages: [`Lines`].
//!
//! A pipe is a stream of bytes without any edges of its own. Here its lines become text messages:
//! each line without its `\n` or `\r\n`, the last one also when it has none. A line longer than
//! the fragment length goes out as it arrives, in fragments (RFC 6455, section 5.4), so that a
//! line of any length passes through bounded memory. What is not UTF-8 becomes U+FFFD, because a
//! browser drops a connection that sends anything else in a text message.

use memchr::memchr;

/// A piece of a line, ready to be a fragment: valid UTF-8, never cut inside a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The text.
    pub text: &'a str,
    /// Whether the line begins with it.
    pub first: bool,
    /// Whether the line ends with it.
    pub last: bool,
}

/// Cuts a stream of bytes into lines.
///
/// Invariant: `tail.len() < fragment_len` between two calls, so a line that never ends costs no
/// more than that.
#[derive(Default)]
pub struct Lines {
    /// The beginning of a line whose end has not come.
    tail: Vec<u8>,
    /// A piece that was handed out of `tail` is forgotten at the next call: this many bytes.
    used: usize,
    /// The text of a piece that had to be mended.
    mended: String,
    /// Whether pieces of the present line are already out.
    continued: bool,
}

impl Lines {
    /// A splitter that has seen nothing; it allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next piece of `input`, which shrinks from the front; `None` when all of it has been
    /// taken. Pieces are at most `fragment_len` bytes of input each (mending may triple them).
    pub fn next_piece<'p, 'i: 'p>(
        &'p mut self,
        input: &mut &'i [u8],
        fragment_len: usize,
    ) -> Option<Piece<'p>> {
        self.forget_used();
        // Room for the longest character and for a `\r` that may have to be held back.
        debug_assert!(fragment_len >= 8);
        let room = fragment_len - self.tail.len();
        let window = &input[..input.len().min(room)];
        match memchr(b'\n', window) {
            Some(end) => {
                let line = self.join(&window[..end]);
                *input = &input[end + 1..];
                Some(self.piece(line, true, true))
            }
            None if window.len() < room => {
                self.tail.extend_from_slice(window);
                *input = &[];
                None
            }
            None => {
                *input = &input[window.len()..];
                self.tail.extend_from_slice(window);
                let cut = self.tail.len() - held_back(&self.tail);
                Some(self.piece(Joined::Tail(cut), false, false))
            }
        }
    }

    /// The rest, as the last piece of its line: at the end of the stream, or when a prompt has
    /// waited long enough. `None` when every line has ended.
    pub fn finish(&mut self) -> Option<Piece<'_>> {
        self.forget_used();
        if self.tail.is_empty() && !self.continued {
            return None;
        }
        Some(self.piece(Joined::Tail(self.tail.len()), true, false))
    }

    /// Whether the beginning of an unfinished line is held back.
    pub fn has_tail(&self) -> bool {
        self.tail.len() > self.used
    }

    /// Frees what is not in use, once the input at hand has been taken.
    pub fn release(&mut self) {
        self.forget_used();
        if self.tail.is_empty() {
            self.tail = Vec::new();
        }
        self.mended = String::new();
    }

    fn forget_used(&mut self) {
        if self.used > 0 {
            self.tail.drain(..self.used);
            self.used = 0;
        }
    }

    /// The line's end `bytes`, behind the tail if there is one.
    fn join<'a>(&mut self, bytes: &'a [u8]) -> Joined<'a> {
        if self.tail.is_empty() {
            return Joined::Input(bytes);
        }
        self.tail.extend_from_slice(bytes);
        Joined::Tail(self.tail.len())
    }

    fn piece<'a>(&'a mut self, joined: Joined<'a>, last: bool, newline: bool) -> Piece<'a> {
        let first = !std::mem::replace(&mut self.continued, !last);
        let mut bytes = match joined {
            Joined::Input(bytes) => bytes,
            Joined::Tail(len) => {
                self.used = len;
                &self.tail[..len]
            }
        };
        if newline {
            bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(_) => {
                self.mended.clear();
                self.mended.push_str(&String::from_utf8_lossy(bytes));
                &self.mended
            }
        };
        Piece { text, first, last }
    }
}

/// Where the bytes of a piece are.
enum Joined<'a> {
    /// All in the input.
    Input(&'a [u8]),
    /// So many, in the tail.
    Tail(usize),
}

/// How many bytes at the end must wait for the next piece: a character that is not complete, or
/// a `\r` whose `\n` may follow.
fn held_back(bytes: &[u8]) -> usize {
    if bytes.last() == Some(&b'\r') {
        return 1;
    }
    // The lead byte of a character stands at most three bytes before the end.
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        let len = match byte {
            0x80..=0xBF => continue,
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => 1,
        };
        return if len > back { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAGMENT: usize = 16;

    /// What a client would see: the messages, each put together from its pieces.
    fn messages(chunks: &[&[u8]], fragment_len: usize) -> Vec<String> {
        let mut lines = Lines::new();
        let mut messages = Vec::new();
        let mut open: Option<String> = None;
        let mut take = |piece: Piece<'_>| {
            assert_eq!(
                piece.first,
                open.is_none(),
                "a fragment continues its message"
            );
            let mut message = open.take().unwrap_or_default();
            message.push_str(piece.text);
            if piece.last {
                messages.push(message)
            } else {
                open = Some(message)
            }
        };
        for chunk in chunks {
            let mut input = *chunk;
            while let Some(piece) = lines.next_piece(&mut input, fragment_len) {
                take(piece);
            }
            lines.release();
            assert!(lines.tail.len() < fragment_len);
        }
        if let Some(piece) = lines.finish() {
            take(piece);
        }
        assert!(open.is_none());
        messages
    }

    /// What the whole stream means, said plainly.
    fn reference(bytes: &[u8]) -> Vec<String> {
        let mut lines: Vec<&[u8]> = bytes.split(|&b| b == b'\n').collect();
        let unfinished = lines.pop().filter(|rest| !rest.is_empty());
        let strip = |line: &[u8]| {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            String::from_utf8_lossy(line).into_owned()
        };
        lines
            .into_iter()
            .map(strip)
            .chain(unfinished.map(|rest| String::from_utf8_lossy(rest).into_owned()))
            .collect()
    }

    #[test]
    fn lines_become_messages() {
        let cases: &[(&[u8], &[&str])] = &[
            (b"", &[]),
            (b"\n", &[""]),
            (b"one\n", &["one"]),
            (b"one\ntwo\n", &["one", "two"]),
            (b"crlf\r\nlf\n", &["crlf", "lf"]),
            (b"no newline", &["no newline"]),
            (b"a\n\nb", &["a", "", "b"]),
            (b"bare\rreturn\n", &["bare\rreturn"]),
            (b"return at the end\r", &["return at the end\r"]),
            (b"bad \xFF byte\n", &["bad \u{FFFD} byte"]),
            (b"cut \xE2\x82\n", &["cut \u{FFFD}"]),
            (
                "long: äöü€😀 and then some more €€€€€€€\n".as_bytes(),
                &["long: äöü€😀 and then some more €€€€€€€"],
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(messages(&[bytes], FRAGMENT), *expected, "{bytes:?}");
            for cut in 0..=bytes.len() {
                let (a, b) = bytes.split_at(cut);
                assert_eq!(
                    messages(&[a, b], FRAGMENT),
                    *expected,
                    "{bytes:?} cut at {cut}"
                );
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(
                messages(&single, FRAGMENT),
                *expected,
                "{bytes:?} byte by byte"
            );
        }
    }

    #[test]
    fn a_long_line_goes_out_as_it_arrives_and_no_character_is_cut() {
        for shift in 0..8 {
            let line = "x".repeat(shift) + &"€😀ä".repeat(50);
            let mut lines = Lines::new();
            let mut input = line.as_bytes();
            let mut out = String::new();
            while let Some(piece) = lines.next_piece(&mut input, FRAGMENT) {
                assert!(!piece.last && piece.text.len() <= FRAGMENT);
                out.push_str(piece.text);
            }
            assert!(out.len() + FRAGMENT > line.len());
            out.push_str(lines.finish().expect("the line is open").text);
            assert_eq!(out, line);
        }
    }

    #[test]
    fn random_bytes_however_cut_mean_what_the_whole_stream_means() {
        for seed in 1..2000u64 {
            let mut state = seed;
            let mut random = |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            // Few different bytes, so that lines, returns and broken characters are common.
            let alphabet = b"ab\r\n\n\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\xFF";
            let bytes: Vec<u8> = (0..random(200))
                .map(|_| alphabet[random(alphabet.len() as u64) as usize])
                .collect();
            let mut chunks = Vec::new();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(1 + random(rest.len() as u64) as usize);
                chunks.push(chunk);
                rest = after;
            }
            // Mended text may differ where a fragment ends inside broken bytes, so the lines are
            // compared with fragments that are longer than any of them.
            assert_eq!(messages(&chunks, 4096), reference(&bytes), "seed {seed}");
            let count = messages(&chunks, FRAGMENT).len();
            assert_eq!(count, reference(&bytes).len(), "seed {seed}, in fragments");
        }
    }

    #[test]
    fn a_prompt_can_be_sent_before_its_line_ends() {
        let mut lines = Lines::new();
        let mut input: &[u8] = b"name? ";
        assert_eq!(lines.next_piece(&mut input, FRAGMENT), None);
        assert!(lines.has_tail());
        let piece = lines.finish().expect("a prompt waits");
        assert_eq!(
            (piece.text, piece.first, piece.last),
            ("name? ", true, true)
        );
        assert!(!lines.has_tail());
        let mut input: &[u8] = b"thanks\n";
        let piece = lines
            .next_piece(&mut input, FRAGMENT)
            .expect("a whole line");
        assert_eq!(
            (piece.text, piece.first, piece.last),
            ("thanks", true, true)
        );
    }
}
