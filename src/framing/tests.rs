//! Helpers for the tests of the framings, and tests of what all framings share.

use super::*;

/// Joins fragments to messages and checks what holds for every fragment.
#[derive(Default)]
pub(super) struct Sink {
    messages: Vec<(Kind, Vec<u8>)>,
    open: bool,
}

impl Sink {
    pub(super) fn take(&mut self, fragment: Fragment<'_>) {
        assert_eq!(
            fragment.first, !self.open,
            "a message begins after the end of another"
        );
        assert!(
            fragment.last || !fragment.bytes.is_empty(),
            "an empty fragment"
        );
        if fragment.kind == Kind::Text {
            std::str::from_utf8(fragment.bytes).expect("a fragment of text is UTF-8 by itself");
        }
        if fragment.first {
            self.messages.push((fragment.kind, Vec::new()));
        }
        let (kind, message) = self.messages.last_mut().expect("an unfinished message");
        assert_eq!(*kind, fragment.kind, "a message is of one kind");
        message.extend_from_slice(fragment.bytes);
        self.open = !fragment.last;
    }

    pub(super) fn messages(self) -> Vec<(Kind, Vec<u8>)> {
        assert!(!self.open, "the last message has not ended");
        self.messages
    }

    pub(super) fn texts(self) -> Vec<String> {
        let text = |(kind, bytes)| {
            assert_eq!(kind, Kind::Text);
            String::from_utf8(bytes).expect("each fragment is UTF-8")
        };
        self.messages().into_iter().map(text).collect()
    }
}

/// Runs `test` with `bytes` whole, cut in two at every place, and byte by byte.
pub(super) fn cut_everywhere(bytes: &[u8], test: impl Fn(&[&[u8]])) {
    for cut in 0..=bytes.len() {
        let (one, two) = bytes.split_at(cut);
        test(&[one, two]);
    }
    test(&bytes.chunks(1).collect::<Vec<_>>());
}

/// The default format.
pub(super) const LINES: Format = Format {
    framing: Framing::Lines,
    crlf: Crlf::Strip,
    line_len_max: None,
    tagged: false,
};

fn output_of(format: &Format, stream: Stream, input: &[u8]) -> Vec<(Kind, Vec<u8>)> {
    let mut splitter = Splitter::new(stream, format);
    let mut sink = Sink::default();
    let mut take = |fragment: Fragment<'_>| sink.take(fragment);
    splitter.push(input, &mut take).unwrap();
    splitter.finish(&mut take).unwrap();
    sink.messages()
}

#[test]
fn the_framing_says_what_a_message_is() {
    let bytes = b"\x01\0\0\0\x02a\n";
    let text = |bytes: &[u8]| (Kind::Text, bytes.to_vec());
    let cases = [
        (Framing::Lines, vec![text(b"\x01\0\0\0\x02a")]),
        (
            Framing::Null,
            vec![text(b"\x01"), text(b""), text(b""), text(b"\x02a\n")],
        ),
        (Framing::Raw, vec![(Kind::Binary, bytes.to_vec())]),
        (Framing::Length, vec![text(b"a\n")]),
    ];
    for (framing, expected) in cases {
        let format = Format { framing, ..LINES };
        assert_eq!(output_of(&format, Stream::Stdout, bytes), expected);
        // The log gets lines with every framing.
        assert_eq!(
            output_of(&format, Stream::Stderr, bytes),
            [text(b"\x01\0\0\0\x02a")]
        );
    }
}

#[test]
fn with_headers_the_length_says_what_a_message_is() {
    let format = Format {
        framing: Framing::Headers,
        ..LINES
    };
    let bytes = b"Content-Length: 3\r\n\r\na\nb";
    let text = |bytes: &[u8]| (Kind::Text, bytes.to_vec());
    assert_eq!(output_of(&format, Stream::Stdout, bytes), [text(b"a\nb")]);
    assert_eq!(output_of(&format, Stream::Stderr, bytes).len(), 4);
}

#[test]
fn messages_pass_unchanged_through_a_command_like_cat() {
    let messages = [(Kind::Text, "hello"), (Kind::Text, ""), (Kind::Binary, "ß")];
    for framing in Framing::ALL {
        let mut bytes = Vec::new();
        for (kind, message) in messages {
            write_message(framing, kind, message.as_bytes(), &mut bytes);
        }
        let format = Format { framing, ..LINES };
        let expected = match framing {
            Framing::Length => messages
                .map(|(kind, text)| (kind, text.as_bytes().to_vec()))
                .to_vec(),
            Framing::Raw => vec![(Kind::Binary, "helloß".as_bytes().to_vec())],
            Framing::Lines | Framing::Null | Framing::Headers => messages
                .map(|(_, text)| (Kind::Text, text.as_bytes().to_vec()))
                .to_vec(),
        };
        assert_eq!(output_of(&format, Stream::Stdout, &bytes), expected);
    }
}

#[test]
fn a_delimiter_within_a_message_is_not_escaped() {
    for (framing, bytes) in [
        (Framing::Lines, &b"a\n\0b\n"[..]),
        (Framing::Null, b"a\n\0b\0"),
        (Framing::Raw, b"a\n\0b"),
        (Framing::Length, b"\x02\0\0\0\x04a\n\0b"),
        (Framing::Headers, b"Content-Length: 4\r\n\r\na\n\0b"),
    ] {
        let mut out = Vec::new();
        write_message(framing, Kind::Binary, b"a\n\0b", &mut out);
        assert_eq!(out, bytes);
    }
}

#[test]
fn an_empty_read_makes_no_message() {
    let mut splitter = Splitter::Raw;
    let mut none = |fragment: Fragment<'_>| panic!("{fragment:?}");
    splitter.push(b"", &mut none).unwrap();
    splitter.finish(&mut none).unwrap();
}

#[test]
fn every_reason_fits_a_close_frame() {
    for error in [
        OutputError::TooLong(u32::MAX),
        OutputError::UnknownKind(255),
        OutputError::NotHeader,
        OutputError::HeaderTooLong,
        OutputError::LengthMissing,
        OutputError::LengthRepeated,
        OutputError::LengthInvalid,
        OutputError::TextNotUtf8,
        OutputError::UnexpectedEof,
    ] {
        let reason = error.to_string();
        assert_eq!(crate::ws::close::truncate_reason(&reason), reason);
        let too_big = matches!(error, OutputError::TooLong(_));
        assert_eq!(error.close_code().get(), if too_big { 1009 } else { 1011 });
    }
}
