use super::super::tests::{Sink, cut_everywhere};
use super::*;
use crate::testing::for_each_seed;

const MAX: usize = 16;

/// The messages of a stream that arrives in these chunks, and how it ends.
fn messages(chunks: &[&[u8]]) -> (Vec<String>, Result<(), OutputError>) {
    let mut headers = Headers::with(Length::with(MAX));
    let mut sink = Sink::default();
    let mut take = |fragment: Fragment<'_>| {
        assert!(fragment.bytes.len() <= MAX);
        sink.take(fragment);
    };
    let pushed = chunks.iter().try_for_each(|chunk| {
        headers.push(chunk, &mut take)?;
        assert!(headers.line.len() <= headers.header_len && headers.header_len <= HEADER_LEN_MAX);
        Ok(())
    });
    let end = pushed.and_then(|()| headers.finish());
    if end.is_ok() {
        assert_eq!(headers.line.capacity(), 0, "no memory between messages");
    }
    (sink.texts(), end)
}

fn framed(message: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_header(message.len(), &mut bytes);
    bytes.extend_from_slice(message.as_bytes());
    bytes
}

#[test]
fn the_header_is_the_length_and_an_empty_line() {
    assert_eq!(framed("hi"), b"Content-Length: 2\r\n\r\nhi");
    assert_eq!(framed("ß"), b"Content-Length: 2\r\n\r\n\xC3\x9F");
    assert_eq!(framed(""), b"Content-Length: 0\r\n\r\n");
}

#[test]
fn a_message_follows_its_header_however_both_are_cut() {
    let cases: &[(&[u8], &[&str])] = &[
        (b"", &[]),
        (b"Content-Length: 2\r\n\r\nhi", &["hi"]),
        (b"Content-Length: 0\r\n\r\n", &[""]),
        (
            b"Content-Length: 2\r\n\r\nhiContent-Length: 2\r\n\r\n\r\n",
            &["hi", "\r\n"],
        ),
        // Names in any case, any blanks around the value, line ends without a CR.
        (b"content-LENGTH:2\n\nhi", &["hi"]),
        (b"Content-Length: \t 002 \t\r\n\r\nhi", &["hi"]),
        // Other fields, before and after.
        (
            b"Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: 2\r\n\r\nhi",
            &["hi"],
        ),
        (b"Content-Length: 2\r\nX:\r\nY::\xFF\r\n\r\nhi", &["hi"]),
        (
            b"Content-Lengths: 7\r\nContent-Length : 8\r\nContent-Length: 2\r\n\r\nhi",
            &["hi"],
        ),
        (
            "Content-Length: 26\r\n\r\nlonger than MAX: äöü€".as_bytes(),
            &["longer than MAX: äöü€"],
        ),
    ];
    for (bytes, expected) in cases {
        cut_everywhere(bytes, |chunks| {
            let (got, end) = messages(chunks);
            assert_eq!(
                (got, end),
                (expected.iter().map(|it| it.to_string()).collect(), Ok(())),
                "{chunks:x?}"
            );
        });
    }
}

#[test]
fn a_malformed_header_is_an_error_after_the_messages_before_it() {
    let too_long = format!("X: {}\r\n", "x".repeat(HEADER_LEN_MAX));
    let cases: &[(&[u8], OutputError)] = &[
        (b"\r\n", OutputError::LengthMissing),
        (b"\n", OutputError::LengthMissing),
        (b"Content-Type: x\r\n\r\n{}", OutputError::LengthMissing),
        (b"Content-Length : 2\r\n\r\n{}", OutputError::LengthMissing),
        (
            b"Content-Length: 2\r\nCONTENT-LENGTH: 2\r\n\r\n{}",
            OutputError::LengthRepeated,
        ),
        (
            b"Content-Length: 4294967296\r\n",
            OutputError::LengthInvalid,
        ),
        (
            b"Content-Length: 99999999999999999999999\n",
            OutputError::LengthInvalid,
        ),
        (b"Content-Length:\r\n", OutputError::LengthInvalid),
        (b"Content-Length: +2\r\n", OutputError::LengthInvalid),
        (b"Content-Length: -2\r\n", OutputError::LengthInvalid),
        (b"Content-Length: 2, 2\r\n", OutputError::LengthInvalid),
        (b"Content-Length: 0x2\r\n", OutputError::LengthInvalid),
        (b"Content-Length: \xFF\r\n", OutputError::LengthInvalid),
        (b"Starting the server\n", OutputError::NotHeader),
        (b"{\"jsonrpc\"}\n", OutputError::NotHeader),
        (b": 2\r\n", OutputError::NotHeader),
        (b"\r\r\n", OutputError::NotHeader),
        (too_long.as_bytes(), OutputError::HeaderTooLong),
        (b"Content-Length: 1\r\n\r\n\xFF", OutputError::TextNotUtf8),
        (
            b"Content-Length: 2\r\n\r\n\xE2\x82",
            OutputError::TextNotUtf8,
        ),
    ];
    for (bytes, error) in cases {
        let stream = [&framed("before"), *bytes].concat();
        let test = |chunks: &[&[u8]]| {
            let expected = (vec!["before".to_owned()], Err(*error));
            assert_eq!(
                messages(chunks),
                expected,
                "{:?}",
                bytes.escape_ascii().to_string()
            );
        };
        match bytes.len() {
            0..100 => cut_everywhere(&stream, test),
            _ => [1, 100, stream.len()]
                .iter()
                .for_each(|&len| test(&stream.chunks(len).collect::<Vec<_>>())),
        }
    }
}

#[test]
fn a_header_may_be_as_long_as_the_limit() {
    let end = "Content-Length: 1\r\n\r\n";
    for (over, expected) in [(0, Ok(())), (1, Err(OutputError::HeaderTooLong))] {
        // In one field, and in many.
        for field_len in [HEADER_LEN_MAX, 10] {
            let mut header = String::new();
            while header.len() < HEADER_LEN_MAX + over - end.len() {
                let missing = HEADER_LEN_MAX + over - end.len() - header.len();
                let len = if missing < 2 * field_len {
                    missing
                } else {
                    field_len
                };
                header.push_str(&format!("X:{}\r\n", "x".repeat(len - 4)));
            }
            let stream = header + end + "x";
            for len in [1, 1000, stream.len()] {
                let chunks: Vec<_> = stream.as_bytes().chunks(len).collect();
                assert_eq!(messages(&chunks).1, expected, "{over} over in {len}");
            }
        }
    }
}

#[test]
fn the_messages_do_not_depend_on_the_cuts() {
    for_each_seed(500, |random| {
        let mut expected = Vec::new();
        let mut bytes = Vec::new();
        for _ in 0..random.below(20) {
            let len_max = random.pick(&[1, 3, MAX + 2, 5 * MAX]);
            let len = random.below(len_max + 1);
            let text: String = (0..len)
                .map(|_| random.pick(&['x', '\r', '\n', ':', 'ß', '€', '😀']))
                .collect();
            bytes.extend(framed(&text));
            expected.push(text);
        }
        let expected = (expected, Ok(()));
        assert_eq!(messages(&random.cut(&bytes)), expected);
        assert_eq!(messages(&[&bytes]), expected);
    });
}

#[test]
fn an_eof_within_a_message_or_its_header_is_an_error() {
    let whole = [framed("hi"), framed(""), framed("ho")].concat();
    let ends = [
        0,
        framed("hi").len(),
        framed("hi").len() + framed("").len(),
        whole.len(),
    ];
    for end in 0..=whole.len() {
        let expected = match ends.contains(&end) {
            true => Ok(()),
            false => Err(OutputError::UnexpectedEof),
        };
        let mut headers = Headers::new();
        headers.push(&whole[..end], &mut |_| {}).unwrap();
        assert_eq!(headers.finish(), expected, "after {end} bytes");
    }
}

#[test]
fn a_large_length_allocates_nothing_in_advance() {
    let mut headers = Headers::new();
    let mut none = |fragment: Fragment<'_>| panic!("{fragment:?}");
    let start = b"Content-Length: 4294967295\r\n\r\n";
    headers.push(start, &mut none).unwrap();
    assert_eq!(headers.messages.missing_len(), u32::MAX as usize);
    assert_eq!(headers.line.capacity(), 0);
}
