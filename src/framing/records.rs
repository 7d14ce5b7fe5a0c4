//! Records: lines, or what stands between NULs. [`Records`] cuts them out of a stream.

use std::mem;

use memchr::memchr;

use super::{Crlf, Fault, Format, Framing, Piece};
use crate::limits::{FRAGMENT_LEN, LOG_LINE_LEN_MAX, SIZE_MAX};
use crate::ws::frame::Kind;

/// Cuts a stream of bytes into records: each is a text message, without what ended it. The last
/// one counts also when nothing ends it.
///
/// A record that is longer than a piece goes out as it arrives. What is not UTF-8 becomes U+FFFD,
/// because a browser drops a connection that sends anything else in a text message.
///
/// Invariant: `tail.len() < held_max()` between two calls, so a record that never ends costs no
/// more than that.
pub struct Records {
    /// What ends a record.
    delimiter: u8,
    /// What becomes of a `\r` before it.
    crlf: Crlf,
    /// The longest piece, in bytes of the record (mending may triple them).
    piece_len_max: u32,
    /// The longest record; `u32::MAX`: any length.
    record_len_max: u32,
    /// The beginning of a record whose end has not come, or what of it is not yet out.
    tail: Vec<u8>,
    /// How many bytes of the present record are out already, if they can be counted so.
    sent: u32,
}

/// Every command has one or two.
const _: () = assert!(size_of::<Records>() <= size_of::<Vec<u8>>() + 16);

/// The limits of sizes fit, and what does not is beyond every limit.
const _: () = assert!(SIZE_MAX < u32::MAX as usize);

impl Records {
    /// What cuts the records of a framing that has any. That of the others has lines.
    pub fn new(framing: Framing, format: &Format) -> Self {
        let (delimiter, crlf) = match framing {
            Framing::Null => (0, Crlf::Keep),
            Framing::Lines | Framing::Raw | Framing::Length => (b'\n', format.crlf),
        };
        let record_len_max = format.line_len_max.unwrap_or(usize::MAX);
        Self::with(delimiter, crlf, FRAGMENT_LEN, record_len_max)
    }

    /// What cuts stderr into lines for the log. The first piece of a line is as long as a line of
    /// the log can be.
    pub fn for_log() -> Self {
        Self::with(b'\n', Crlf::Strip, LOG_LINE_LEN_MAX, usize::MAX)
    }

    /// The same with limits of the caller's own: the longest piece, at least 4, and the longest
    /// record, both in bytes and up to [`SIZE_MAX`]; what is more is no limit.
    pub fn with(delimiter: u8, crlf: Crlf, piece_len_max: usize, record_len_max: usize) -> Self {
        // Room for the longest character, so that there is always something before its beginning.
        debug_assert!(piece_len_max >= 4);
        Self {
            delimiter,
            crlf,
            piece_len_max: saturating_u32(piece_len_max),
            record_len_max: saturating_u32(record_len_max),
            tail: Vec::new(),
            sent: 0,
        }
    }

    /// Takes what was read and hands out the pieces that it completes.
    ///
    /// # Errors
    /// A record is too long. As much of it as would be is never kept.
    pub fn push(&mut self, mut input: &[u8], sink: &mut dyn FnMut(Piece<'_>)) -> Result<(), Fault> {
        while !input.is_empty() {
            let room = self.held_max() - self.tail.len();
            let window = &input[..input.len().min(room)];
            match memchr(self.delimiter, window) {
                // Nearly every record is whole in what one read returned, and is not copied.
                Some(end) if self.tail.is_empty() => {
                    self.end_record(&window[..end], sink)?;
                    input = &input[end + 1..];
                }
                Some(end) => {
                    let mut record = mem::take(&mut self.tail);
                    record.extend_from_slice(&window[..end]);
                    self.end_record(&record, sink)?;
                    record.clear();
                    self.tail = record;
                    input = &input[end + 1..];
                }
                None => {
                    self.tail.extend_from_slice(window);
                    input = &input[window.len()..];
                    self.check_len(self.without_return(&self.tail).len())?;
                    if self.tail.len() == self.held_max() {
                        self.send_front(sink);
                    }
                }
            }
        }
        if self.tail.is_empty() {
            self.tail = Vec::new();
        }
        Ok(())
    }

    /// The stream is at its end: hands out the last record, if there is one without an end.
    ///
    /// # Errors
    /// It is too long.
    pub fn finish(&mut self, sink: &mut dyn FnMut(Piece<'_>)) -> Result<(), Fault> {
        if self.tail.is_empty() && self.sent == 0 {
            return Ok(());
        }
        let rest = mem::take(&mut self.tail);
        self.check_len(rest.len())?;
        self.send_rest(&rest, sink);
        Ok(())
    }

    /// Hands out the beginning of a record as a message of its own. A character that has not ended
    /// waits on.
    pub fn flush(&mut self, sink: &mut dyn FnMut(Piece<'_>)) {
        let cut = whole_characters(&self.tail);
        if cut > 0 {
            let mut prompt = mem::take(&mut self.tail);
            self.tail = prompt.split_off(cut);
            self.send_rest(&prompt, sink);
        }
    }

    /// Whether there is something that [`flush`](Self::flush) would hand out.
    pub fn has_prompt(&self) -> bool {
        whole_characters(&self.tail) > 0
    }

    /// When so many bytes have come, a piece has to go out: with its end, a record of the length
    /// of a piece still goes out whole.
    fn held_max(&self) -> usize {
        self.piece_len_max() + b"\r\n".len()
    }

    fn piece_len_max(&self) -> usize {
        self.piece_len_max as usize
    }

    /// A record without the `\r` that belongs to its end.
    fn without_return<'a>(&self, record: &'a [u8]) -> &'a [u8] {
        match self.crlf {
            Crlf::Strip => record.strip_suffix(b"\r").unwrap_or(record),
            Crlf::Keep => record,
        }
    }

    fn check_len(&self, rest_len: usize) -> Result<(), Fault> {
        match self.sent.saturating_add(saturating_u32(rest_len)) > self.record_len_max {
            true => Err(Fault::TooLong),
            false => Ok(()),
        }
    }

    /// The delimiter came: `record` is what of the record is not out yet.
    fn end_record(&mut self, record: &[u8], sink: &mut dyn FnMut(Piece<'_>)) -> Result<(), Fault> {
        let record = self.without_return(record);
        self.check_len(record.len())?;
        self.send_rest(record, sink);
        Ok(())
    }

    /// Hands out the rest of a record, in two pieces if it is just too long for one.
    fn send_rest(&mut self, mut rest: &[u8], sink: &mut dyn FnMut(Piece<'_>)) {
        while rest.len() > self.piece_len_max() {
            let (front, back) = rest.split_at(whole_characters(&rest[..self.piece_len_max()]));
            self.send(front, false, sink);
            rest = back;
        }
        self.send(rest, true, sink);
    }

    /// Hands out as much of the tail as a piece takes.
    fn send_front(&mut self, sink: &mut dyn FnMut(Piece<'_>)) {
        let mut tail = mem::take(&mut self.tail);
        let cut = whole_characters(&tail[..self.piece_len_max()]);
        self.send(&tail[..cut], false, sink);
        tail.drain(..cut);
        self.tail = tail;
    }

    fn send(&mut self, bytes: &[u8], last: bool, sink: &mut dyn FnMut(Piece<'_>)) {
        let first = self.sent == 0;
        self.sent = match last {
            true => 0,
            false => self.sent.saturating_add(saturating_u32(bytes.len())),
        };
        // The check that finds nothing wrong is far faster than the one that mends.
        let mended;
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(_) => {
                mended = String::from_utf8_lossy(bytes);
                &mended
            }
        };
        sink(Piece {
            kind: Kind::Text,
            bytes: text.as_bytes(),
            first,
            last,
        });
    }
}

fn saturating_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// How many of `bytes` come before a character that has begun at their end and not ended.
fn whole_characters(bytes: &[u8]) -> usize {
    // The lead byte of a character stands at most three bytes before the end.
    for back in 1..=bytes.len().min(3) {
        let len = match bytes[bytes.len() - back] {
            0x80..=0xBF => continue,
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => 1,
        };
        return bytes.len() - if len > back { back } else { 0 };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LINES, Sink, cut_everywhere};
    use super::*;
    use crate::testing::for_each_seed;

    fn lines(crlf: Crlf, piece_len_max: usize) -> Records {
        Records::with(b'\n', crlf, piece_len_max, usize::MAX)
    }

    /// What a client would see of a stream that comes in these chunks.
    fn messages(mut records: Records, chunks: &[&[u8]]) -> Result<Vec<String>, Fault> {
        let mut sink = Sink::default();
        let mut take = |piece: Piece<'_>| sink.take(piece);
        for chunk in chunks {
            records.push(chunk, &mut take)?;
            assert!(records.tail.len() < records.held_max());
            assert!(records.tail.capacity() < 2 * records.held_max() + 8);
            assert!(!records.tail.is_empty() || records.tail.capacity() == 0);
        }
        records.finish(&mut take)?;
        records.finish(&mut |piece| panic!("{piece:?} behind the end"))?;
        Ok(sink.texts())
    }

    /// What the whole stream means, said plainly.
    fn reference(bytes: &[u8], delimiter: u8, crlf: Crlf) -> Vec<String> {
        let mut records: Vec<&[u8]> = bytes.split(|&byte| byte == delimiter).collect();
        let unfinished = records.pop().filter(|rest| !rest.is_empty());
        let strip = |record: &&[u8]| match crlf {
            Crlf::Strip => record.strip_suffix(b"\r").unwrap_or(record).to_vec(),
            Crlf::Keep => record.to_vec(),
        };
        let ended = records.iter().map(strip);
        ended
            .chain(unfinished.map(<[u8]>::to_vec))
            .map(|record| String::from_utf8_lossy(&record).into_owned())
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
            (b"two\r\r\n", &["two\r"]),
            (b"bad \xFF byte\n", &["bad \u{FFFD} byte"]),
            (b"cut \xE2\x82\n", &["cut \u{FFFD}"]),
            (
                "long: äöü€😀 and then some more €€€€€€€\n".as_bytes(),
                &["long: äöü€😀 and then some more €€€€€€€"],
            ),
        ];
        for (bytes, expected) in cases {
            for piece_len_max in [4, 7, 16, 1000] {
                cut_everywhere(bytes, |chunks| {
                    let records = lines(Crlf::Strip, piece_len_max);
                    assert_eq!(
                        messages(records, chunks).unwrap(),
                        *expected,
                        "{chunks:x?} in pieces of {piece_len_max}"
                    );
                });
            }
        }
    }

    #[test]
    fn a_return_before_the_newline_can_be_kept() {
        let bytes = b"a\r\n\r\nb\r";
        let kept = messages(lines(Crlf::Keep, 16), &[bytes]).unwrap();
        assert_eq!(kept, ["a\r", "\r", "b\r"]);
    }

    #[test]
    fn records_end_with_nul() {
        let format = LINES;
        cut_everywhere(b"one\n\0\0two\r\0three", |chunks| {
            let records = Records::new(Framing::Null, &format);
            let texts = messages(records, chunks).unwrap();
            assert_eq!(texts, ["one\n", "", "two\r", "three"]);
        });
    }

    #[test]
    fn random_bytes_however_cut_mean_what_the_whole_stream_means() {
        for_each_seed(3000, |random| {
            // Few different bytes, so that ends, returns and broken characters are common.
            let alphabet = b"ab\0\r\r\n\n\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\xFF\xED\xA0\xF4";
            let len = random.below(200);
            let bytes: Vec<u8> = (0..len).map(|_| random.pick(alphabet)).collect();
            let delimiter = random.pick(b"\n\0");
            let crlf = random.pick(&[Crlf::Strip, Crlf::Keep]);
            let piece_len_max = random.pick(&[4, 5, 6, 9, 16, 4096]);
            let records = Records::with(delimiter, crlf, piece_len_max, usize::MAX);
            let chunks = random.cut(&bytes);
            assert_eq!(
                messages(records, &chunks).unwrap(),
                reference(&bytes, delimiter, crlf),
                "{chunks:x?} in pieces of {piece_len_max}"
            );
        });
    }

    #[test]
    fn the_messages_joined_are_the_bytes() {
        for_each_seed(500, |random| {
            let len = random.below(3000);
            let text: String = (0..len)
                .map(|_| random.pick(&['a', '\r', '\n', 'ß', '€', '😀']))
                .collect();
            let records = lines(Crlf::Keep, random.pick(&[4, 30, 1000]));
            let mut joined = messages(records, &random.cut(text.as_bytes()))
                .unwrap()
                .join("\n");
            if text.ends_with('\n') {
                joined.push('\n');
            }
            assert_eq!(joined, text);
        });
    }

    #[test]
    fn only_a_record_longer_than_a_piece_is_cut() {
        for (end, crlf) in [
            ("\n", Crlf::Strip),
            ("\r\n", Crlf::Strip),
            ("\n", Crlf::Keep),
        ] {
            for (len, pieces) in [(15, 1), (16, 1), (17, 2), (18, 2), (32, 2), (33, 3)] {
                let line = "x".repeat(len) + end;
                cut_everywhere(line.as_bytes(), |chunks| {
                    let mut count = 0;
                    let mut records = lines(crlf, 16);
                    for chunk in chunks {
                        let mut take = |_: Piece<'_>| count += 1;
                        records.push(chunk, &mut take).unwrap();
                    }
                    assert_eq!(count, pieces, "{len} bytes and {end:?}");
                });
            }
        }
    }

    #[test]
    fn a_long_line_goes_out_as_it_arrives_and_no_character_is_cut() {
        for shift in 0..8 {
            let line = "x".repeat(shift) + &"€😀ä".repeat(50);
            let mut out = String::new();
            let mut records = lines(Crlf::Strip, 16);
            let mut take = |piece: Piece<'_>| {
                assert!(!piece.last && piece.bytes.len() <= 16);
                assert_eq!(piece.first, out.is_empty());
                out.push_str(std::str::from_utf8(piece.bytes).expect("whole characters"));
            };
            records.push(line.as_bytes(), &mut take).unwrap();
            assert!(out.len() + 18 > line.len());
            let mut take = |piece: Piece<'_>| {
                out.push_str(std::str::from_utf8(piece.bytes).expect("whole characters"));
            };
            records.finish(&mut take).unwrap();
            assert_eq!(out, line);
        }
    }

    #[test]
    fn a_record_may_be_as_long_as_the_limit_and_no_longer() {
        // Shorter and longer than a piece, as long as one, and as what is held at most.
        for limit in [1, 15, 16, 17, 18, 19, 40] {
            let fits = "x".repeat(limit) + "\n" + &"y".repeat(limit) + "\r\n";
            cut_everywhere(fits.as_bytes(), |chunks| {
                let records = Records::with(b'\n', Crlf::Strip, 16, limit);
                assert_eq!(messages(records, chunks).unwrap().len(), 2, "{limit}");
            });
            for end in ["", "\n", "\r\n", "\r"] {
                let too_long = "x".repeat(limit + 1) + end;
                cut_everywhere(too_long.as_bytes(), |chunks| {
                    let records = Records::with(b'\n', Crlf::Strip, 16, limit);
                    let expected = Err(Fault::TooLong);
                    assert_eq!(messages(records, chunks), expected, "{limit} {end:?}");
                });
            }
        }
    }

    #[test]
    fn a_record_over_a_limit_below_a_piece_is_not_begun() {
        let mut records = Records::with(b'\n', Crlf::Strip, 16, 10);
        let never = &mut |piece: Piece<'_>| panic!("{piece:?}");
        assert_eq!(records.push(&[b'x'; 10], never), Ok(()));
        assert_eq!(records.push(b"x", never), Err(Fault::TooLong));
    }

    #[test]
    fn a_prompt_can_be_sent_before_its_line_ends() {
        let mut records = lines(Crlf::Strip, 16);
        let mut sink = Sink::default();
        let mut take = |piece: Piece<'_>| sink.take(piece);
        records.push(b"done\nname? ", &mut take).unwrap();
        assert!(records.has_prompt());
        records.flush(&mut take);
        assert!(!records.has_prompt());
        records.flush(&mut |piece| panic!("{piece:?} twice"));
        records.push(b"thanks\n", &mut take).unwrap();
        assert_eq!(sink.texts(), ["done", "name? ", "thanks"]);
    }

    #[test]
    fn a_prompt_is_not_cut_inside_a_character() {
        let mut records = lines(Crlf::Strip, 16);
        let mut sink = Sink::default();
        let mut take = |piece: Piece<'_>| sink.take(piece);
        records.push(b"100 \xE2\x82", &mut take).unwrap();
        records.flush(&mut take);
        assert!(!records.has_prompt(), "half a character is no prompt");
        records.flush(&mut |piece| panic!("{piece:?}"));
        records.push(b"\xAC", &mut take).unwrap();
        assert!(records.has_prompt());
        records.finish(&mut take).unwrap();
        assert_eq!(sink.texts(), ["100 ", "€"]);
    }

    #[test]
    fn a_prompt_ends_the_message_of_a_long_line() {
        let mut records = lines(Crlf::Strip, 16);
        let mut sink = Sink::default();
        let mut take = |piece: Piece<'_>| sink.take(piece);
        records.push(&[b'x'; 50], &mut take).unwrap();
        records.flush(&mut take);
        records.push(b"y\n", &mut take).unwrap();
        assert_eq!(sink.texts(), ["x".repeat(50).as_str(), "y"]);
    }
}
