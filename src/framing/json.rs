//! Records of stdout and stderr, each as a JSON object that says which of the two it is from:
//! [`Json`], for `--stderr=json`.
//!
//! ```text
//!   {"stream":"stderr","data":"what stood on the line"}
//! ```
//!
//! A record that is longer than a piece becomes several such messages, all but the last with
//! `"more":true`. They are complete messages and not fragments of one, because between the
//! fragments of a message no other may come (RFC 6455, section 5.4): a line of one stream that
//! does not end would lock the other out.

use super::records::Records;
use super::{Fault, Format, Framing, Piece, Stream, whole};
use crate::ws::frame::Kind;

/// Makes JSON messages of one of the two streams.
pub struct Json {
    stream: Stream,
    records: Records,
}

impl Json {
    /// What tags the records of `stream`. Those of stdout end as the framing says; what a program
    /// complains of are lines.
    pub fn new(stream: Stream, format: &Format) -> Self {
        let framing = match stream {
            Stream::Stdout => format.framing,
            Stream::Stderr => Framing::Lines,
        };
        Self::with(stream, Records::new(framing, format))
    }

    /// What tags the records that the caller's own splitter cuts.
    pub fn with(stream: Stream, records: Records) -> Self {
        Self { stream, records }
    }

    /// Takes what was read and hands out the messages that it completes.
    ///
    /// # Errors
    /// A record is too long.
    pub fn push(&mut self, input: &[u8], sink: &mut dyn FnMut(Piece<'_>)) -> Result<(), Fault> {
        self.records.push(input, &mut tagging(self.stream, sink))
    }

    /// The stream is at its end: hands out the last record, if there is one without an end.
    ///
    /// # Errors
    /// It is too long.
    pub fn finish(&mut self, sink: &mut dyn FnMut(Piece<'_>)) -> Result<(), Fault> {
        self.records.finish(&mut tagging(self.stream, sink))
    }

    /// Hands out the beginning of a record as a message of its own.
    pub fn flush(&mut self, sink: &mut dyn FnMut(Piece<'_>)) {
        self.records.flush(&mut tagging(self.stream, sink));
    }

    /// Whether there is something that [`flush`](Self::flush) would hand out.
    pub fn has_prompt(&self) -> bool {
        self.records.has_prompt()
    }
}

/// Makes a whole message of each piece that it is handed, and hands that on to `sink`.
fn tagging(stream: Stream, sink: &mut dyn FnMut(Piece<'_>)) -> impl FnMut(Piece<'_>) {
    let mut message = Vec::new();
    move |piece| {
        message.clear();
        message.extend_from_slice(match stream {
            Stream::Stdout => br#"{"stream":"stdout","data":""#,
            Stream::Stderr => br#"{"stream":"stderr","data":""#,
        });
        escape(piece.bytes, &mut message);
        message.extend_from_slice(match piece.last {
            true => br#""}"#,
            false => br#"","more":true}"#,
        });
        sink(whole(Kind::Text, &message));
    }
}

/// Appends UTF-8 as it stands in a JSON string (RFC 8259, section 7): only the quotation mark, the
/// backslash and the control characters below U+0020 must be escaped.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = rest
        .iter()
        .position(|&byte| matches!(byte, 0..=0x1F | b'"' | b'\\'))
    {
        out.extend_from_slice(&rest[..at]);
        let byte = rest[at];
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LINES, Sink, cut_everywhere};
    use super::*;
    use crate::limits::{FRAGMENT_LEN, JSON_READ_LEN};
    use crate::testing::for_each_seed;

    fn json(stream: Stream) -> Json {
        Json::new(stream, &LINES)
    }

    fn messages(mut json: Json, chunks: &[&[u8]]) -> Vec<String> {
        let mut sink = Sink::default();
        let mut take = |piece: Piece<'_>| {
            assert!(piece.first && piece.last, "no fragments");
            sink.take(piece);
        };
        for chunk in chunks {
            json.push(chunk, &mut take).unwrap();
        }
        json.finish(&mut take).unwrap();
        sink.texts()
    }

    /// A reader of the JSON that is written here: stream, data, and whether there is more.
    fn read(message: &str) -> (Stream, String, bool) {
        let (stream, rest) = match message.strip_prefix(r#"{"stream":"stdout","data":""#) {
            Some(rest) => (Stream::Stdout, rest),
            None => (
                Stream::Stderr,
                message
                    .strip_prefix(r#"{"stream":"stderr","data":""#)
                    .expect(message),
            ),
        };
        let (data, more) = match rest.strip_suffix(r#"","more":true}"#) {
            Some(data) => (data, true),
            None => (rest.strip_suffix(r#""}"#).expect(message), false),
        };
        let mut text = String::new();
        let mut characters = data.chars();
        while let Some(character) = characters.next() {
            assert!(character >= ' ' && character != '"', "{message}");
            text.push(match character {
                '\\' => match characters.next().expect("what is escaped") {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'u' => {
                        let digits: String = characters.by_ref().take(4).collect();
                        let code = u32::from_str_radix(&digits, 16).expect("four digits");
                        char::from_u32(code).expect("a character")
                    }
                    other => other,
                },
                plain => plain,
            });
        }
        (stream, text, more)
    }

    #[test]
    fn a_line_is_an_object() {
        let bytes = b"plain\nquote \" backslash \\ tab \t nul \0 esc \x1b\r\n\n\xFF \xE2\x82\xAC";
        let expected = [
            r#"{"stream":"stdout","data":"plain"}"#,
            r#"{"stream":"stdout","data":"quote \" backslash \\ tab \t nul \u0000 esc \u001b"}"#,
            r#"{"stream":"stdout","data":""}"#,
            "{\"stream\":\"stdout\",\"data\":\"\u{FFFD} €\"}",
        ];
        cut_everywhere(bytes, |chunks| {
            assert_eq!(messages(json(Stream::Stdout), chunks), expected);
        });
        let complaint = messages(json(Stream::Stderr), &[b"a\rb"]);
        assert_eq!(complaint, [r#"{"stream":"stderr","data":"a\rb"}"#]);
    }

    #[test]
    fn a_long_line_is_several_messages_that_say_so() {
        for (len, expected) in [
            (FRAGMENT_LEN, &[FRAGMENT_LEN][..]),
            (FRAGMENT_LEN + 1, &[FRAGMENT_LEN, 1]),
            (2 * FRAGMENT_LEN, &[FRAGMENT_LEN, FRAGMENT_LEN]),
        ] {
            for end in ["", "\n", "\r\n"] {
                let line = "x".repeat(len) + end;
                let chunks: Vec<_> = line.as_bytes().chunks(JSON_READ_LEN).collect();
                let read: Vec<_> = messages(json(Stream::Stderr), &chunks)
                    .iter()
                    .map(|message| read(message))
                    .collect();
                let lens: Vec<_> = read.iter().map(|(_, data, _)| data.len()).collect();
                assert_eq!(lens, expected, "{len} bytes and {end:?}");
                for (index, (stream, _, more)) in read.iter().enumerate() {
                    assert_eq!(*stream, Stream::Stderr);
                    assert_eq!(*more, index + 1 < expected.len());
                }
            }
        }
    }

    #[test]
    fn what_was_printed_can_be_read_back() {
        for_each_seed(500, |random| {
            let len = random.below(300);
            let text: String = (0..len)
                .map(|_| {
                    random.pick(&[
                        'a', '"', '\\', '/', '\u{1}', '\u{7f}', '\t', '\n', 'ß', '😀',
                    ])
                })
                .collect();
            let messages = messages(json(Stream::Stdout), &random.cut(text.as_bytes()));
            let lines: Vec<_> = messages.iter().map(|message| read(message).1).collect();
            let mut joined = lines.join("\n");
            if text.ends_with('\n') {
                joined.push('\n');
            }
            assert_eq!(joined, text);
        });
    }

    #[test]
    fn stderr_has_lines_where_stdout_has_records() {
        let format = Format {
            framing: Framing::Null,
            ..LINES
        };
        let stdout = messages(Json::new(Stream::Stdout, &format), &[b"a\nb\0c"]);
        assert_eq!(stdout.len(), 2);
        let stderr = messages(Json::new(Stream::Stderr, &format), &[b"a\nb\0c"]);
        assert_eq!(stderr.len(), 2);
        assert_eq!(read(&stderr[1]).1, "b\0c");
    }

    #[test]
    fn what_one_read_makes_is_bounded() {
        for bytes in [b"\n", b"\0", b"\xFF"] {
            let mut len = 0;
            let mut json = json(Stream::Stdout);
            json.push(&bytes.repeat(JSON_READ_LEN), &mut |piece| {
                len += piece.bytes.len();
            })
            .unwrap();
            assert!(len <= 2 * FRAGMENT_LEN, "{len} bytes");
        }
    }
}
