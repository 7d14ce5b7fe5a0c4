use super::super::tests::{LINES, Sink, cut_everywhere};
use super::*;
use crate::limits::{FRAGMENT_LEN, JSON_READ_LEN};
use crate::testing::for_each_seed;

fn json(stream: Stream) -> Json {
    Json::new(stream, &LINES)
}

fn messages(mut json: Json, chunks: &[&[u8]]) -> Vec<String> {
    let mut sink = Sink::default();
    let mut take = |fragment: Fragment<'_>| {
        assert!(fragment.first && fragment.last, "no fragments");
        sink.take(fragment);
    };
    for chunk in chunks {
        json.push(chunk, &mut take).unwrap();
    }
    json.finish(&mut take).unwrap();
    sink.texts()
}

/// Parses a message: its stream, its data, and whether the record continues.
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
fn a_line_becomes_an_object() {
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
    let stderr = messages(json(Stream::Stderr), &[b"a\rb"]);
    assert_eq!(stderr, [r#"{"stream":"stderr","data":"a\rb"}"#]);
}

#[test]
fn a_long_line_becomes_several_messages_with_more() {
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
fn parsing_the_messages_restores_the_output() {
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
fn stderr_consists_of_lines_with_every_framing() {
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
fn the_messages_of_one_read_have_a_bounded_length() {
    for bytes in [b"\n", b"\0", b"\xFF"] {
        let mut len = 0;
        let mut json = json(Stream::Stdout);
        json.push(&bytes.repeat(JSON_READ_LEN), &mut |fragment| {
            len += fragment.bytes.len();
        })
        .unwrap();
        assert!(len <= 2 * FRAGMENT_LEN, "{len} bytes");
    }
}
