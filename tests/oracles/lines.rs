//! The splitter of each framing: whatever the pieces and the fragments, its messages are those of
//! the whole output, and joined as the framing says they are its bytes again.

use wspipe::framing::json::Json;
use wspipe::framing::length::Length;
use wspipe::framing::records::Records;
use wspipe::framing::{Crlf, Framing};
use wspipe::framing::{Fault, Piece, Splitter, Stream, write_message};
use wspipe::ws::frame::Kind;

/// How the output is to be understood.
#[derive(Clone, Copy)]
struct How {
    delimiter: u8,
    crlf: Crlf,
    fragment_len: usize,
    record_len_max: usize,
    json: bool,
}

/// Knobs: the pieces, the fragment length, the framing and its options. Stream: what a command
/// prints.
pub fn check(data: &[u8]) {
    let [knob, fragment_knob, how, output @ ..] = data else {
        return;
    };
    let pieces = super::pieces(output, *knob);
    let fragment_len = 8 + usize::from(*fragment_knob);
    let lines = How {
        delimiter: b'\n',
        crlf: Crlf::Strip,
        fragment_len,
        record_len_max: if how & 0x20 == 0 { usize::MAX } else { 24 },
        json: how & 0x10 != 0,
    };
    let keep = Crlf::Keep;
    match how % 5 {
        0 => check_records(output, &pieces, lines),
        1 => check_records(
            output,
            &pieces,
            How {
                crlf: keep,
                ..lines
            },
        ),
        2 => check_records(
            output,
            &pieces,
            How {
                delimiter: 0,
                crlf: keep,
                ..lines
            },
        ),
        3 => check_length(output, &pieces, fragment_len),
        _ => check_raw(&pieces),
    }
    let delimiter = if how % 2 == 0 { b'\n' } else { 0 };
    check_prompts(
        output,
        &pieces,
        How {
            delimiter,
            crlf: keep,
            ..lines
        },
    );
}

// -- Lines, and what stands between NULs ---------------------------------------------------------

fn records(how: How) -> Records {
    Records::with(
        how.delimiter,
        how.crlf,
        how.fragment_len,
        how.record_len_max,
    )
}

fn check_records(output: &[u8], pieces: &[&[u8]], how: How) {
    let mut splitter = match how.json {
        true => Splitter::Json(Json::with(Stream::Stderr, records(how))),
        false => Splitter::Records(records(how)),
    };
    let mut messages = Messages::new(how.json, how.fragment_len);
    let end = run(&mut splitter, pieces, &mut messages);
    let (expected, expected_end) = record_reference(output, how);
    let texts = messages.texts();
    assert_eq!(texts, expected);
    assert_eq!(end, expected_end);
    assert!(end.is_err() || messages.begun.is_none(), "no end came");
    if let (Ok(()), Ok(text), Crlf::Keep) = (end, std::str::from_utf8(output), how.crlf) {
        let delimiter = char::from(how.delimiter).to_string();
        let end = if text.ends_with(&delimiter) {
            &delimiter
        } else {
            ""
        };
        assert_eq!(texts.join(&delimiter) + end, text, "not the bytes again");
    }
}

/// The records of all that was printed, the last one with or without its end, as far as none is
/// too long.
fn record_reference(output: &[u8], how: How) -> (Vec<String>, Result<(), Fault>) {
    let mut records: Vec<&[u8]> = output.split(|&byte| byte == how.delimiter).collect();
    let unfinished = records.pop().filter(|record| !record.is_empty());
    let ended = records.into_iter().map(|record| match how.crlf {
        Crlf::Strip => record.strip_suffix(b"\r").unwrap_or(record),
        Crlf::Keep => record,
    });
    let mut texts = Vec::new();
    for record in ended.chain(unfinished) {
        if record.len() > how.record_len_max {
            return (texts, Err(Fault::TooLong));
        }
        texts.push(String::from_utf8_lossy(record).into_owned());
    }
    (texts, Ok(()))
}

/// With prompts sent at every pause the messages end elsewhere, but no byte is lost, doubled or
/// moved.
fn check_prompts(output: &[u8], pieces: &[&[u8]], how: How) {
    let how = How {
        record_len_max: usize::MAX,
        ..how
    };
    let mut splitter = match how.json {
        true => Splitter::Json(Json::with(Stream::Stdout, records(how))),
        false => Splitter::Records(records(how)),
    };
    let mut messages = Messages::new(how.json, how.fragment_len);
    for piece in pieces {
        let mut sink = |piece: Piece<'_>| messages.add(piece);
        assert_eq!(splitter.push(piece, &mut sink), Ok(()));
        let has_prompt = splitter.has_prompt();
        let before = messages.count;
        splitter.flush(&mut |piece| messages.add(piece));
        assert_eq!(has_prompt, messages.count > before);
        assert!(!splitter.has_prompt(), "a prompt is left");
    }
    assert_eq!(splitter.finish(&mut |piece| messages.add(piece)), Ok(()));
    let records = output.split(|&byte| byte == how.delimiter);
    let expected: String = records
        .map(|record| String::from_utf8_lossy(record))
        .collect();
    assert_eq!(messages.texts().concat(), expected);
}

// -- Messages with their kind and length before them ---------------------------------------------

fn check_length(output: &[u8], pieces: &[&[u8]], fragment_len: usize) {
    let mut splitter = Splitter::Length(Length::with(fragment_len));
    let mut messages = Messages::new(false, fragment_len);
    let end = run(&mut splitter, pieces, &mut messages);
    let (expected, expected_ends) = length_reference(output);
    assert_eq!(messages.whole, expected);
    assert!(
        expected_ends.contains(&end),
        "{end:?}, not {expected_ends:?}"
    );
    let mut again = Vec::new();
    for (kind, message) in &messages.whole {
        write_message(Framing::Length, *kind, message, &mut again);
    }
    assert!(output.starts_with(&again), "not the bytes again");
    assert!(end.is_err() || again.len() == output.len());
}

/// The whole messages, and how the output may end: of a text that is never whole it may be seen
/// or not that it is none.
fn length_reference(mut rest: &[u8]) -> (Vec<Message>, Vec<Result<(), Fault>>) {
    let mut messages = Vec::new();
    let ends = loop {
        let kind = match rest {
            [] => break vec![Ok(())],
            [1, ..] => Kind::Text,
            [2, ..] => Kind::Binary,
            [byte, ..] => break vec![Err(Fault::UnknownKind(*byte))],
        };
        let Some((len, payload)) = rest[1..].split_first_chunk::<4>() else {
            break vec![Err(Fault::EndsInside)];
        };
        let len = u32::from_be_bytes(*len) as usize;
        let message = &payload[..len.min(payload.len())];
        let bad_text = kind == Kind::Text && std::str::from_utf8(message).is_err();
        if message.len() < len {
            let mut ends = vec![Err(Fault::EndsInside)];
            ends.extend(bad_text.then_some(Err(Fault::TextNotUtf8)));
            break ends;
        }
        if bad_text {
            break vec![Err(Fault::TextNotUtf8)];
        }
        messages.push((kind, message.to_vec()));
        rest = &payload[len..];
    };
    (messages, ends)
}

// -- What a read returns -------------------------------------------------------------------------

fn check_raw(pieces: &[&[u8]]) {
    let mut messages = Messages::new(false, usize::MAX / 3);
    assert_eq!(run(&mut Splitter::Raw, pieces, &mut messages), Ok(()));
    let expected = pieces.iter().map(|piece| (Kind::Binary, piece.to_vec()));
    assert_eq!(messages.whole, expected.collect::<Vec<_>>());
}

// -- What all of them have in common -------------------------------------------------------------

fn run(splitter: &mut Splitter, pieces: &[&[u8]], messages: &mut Messages) -> Result<(), Fault> {
    for piece in pieces {
        splitter.push(piece, &mut |piece| messages.add(piece))?;
    }
    splitter.finish(&mut |piece| messages.add(piece))?;
    splitter.finish(&mut |_| panic!("a second end"))
}

type Message = (Kind, Vec<u8>);

/// The messages that the pieces make.
struct Messages {
    whole: Vec<Message>,
    begun: Option<Message>,
    /// How many pieces there were.
    count: usize,
    json: bool,
    fragment_len: usize,
}

impl Messages {
    fn new(json: bool, fragment_len: usize) -> Messages {
        Messages {
            whole: Vec::new(),
            begun: None,
            count: 0,
            json,
            fragment_len,
        }
    }

    fn add(&mut self, piece: Piece<'_>) {
        self.count += 1;
        if self.json {
            assert!(piece.first && piece.last, "JSON in fragments");
            let (data, last) = read_json(std::str::from_utf8(piece.bytes).expect("UTF-8"));
            let first = self.begun.is_none();
            return self.add_piece(Piece {
                kind: piece.kind,
                bytes: data.as_bytes(),
                first,
                last,
            });
        }
        self.add_piece(piece);
    }

    fn add_piece(&mut self, piece: Piece<'_>) {
        if piece.kind == Kind::Text {
            std::str::from_utf8(piece.bytes).expect("a piece is UTF-8 by itself");
        }
        // A byte that is no UTF-8 becomes three.
        let len = piece.bytes.len();
        assert!(len <= 3 * self.fragment_len, "{len} bytes");
        assert_eq!(piece.first, self.begun.is_none(), "messages are mixed up");
        let (kind, mut message) = self.begun.take().unwrap_or((piece.kind, Vec::new()));
        assert_eq!(piece.kind, kind, "of two kinds");
        message.extend_from_slice(piece.bytes);
        match piece.last {
            true => self.whole.push((kind, message)),
            false => self.begun = Some((kind, message)),
        }
    }

    fn texts(&self) -> Vec<String> {
        let text = |message: &Message| {
            assert_eq!(message.0, Kind::Text);
            String::from_utf8(message.1.clone()).expect("UTF-8")
        };
        self.whole.iter().map(text).collect()
    }
}

/// What stands in an object that was written here, and whether the record ends with it.
fn read_json(message: &str) -> (String, bool) {
    let rest = message.strip_prefix(r#"{"stream":"std"#).expect("a stream");
    let (_, rest) = rest.split_once(r#"","data":""#).expect("data");
    let mut text = String::new();
    let mut chars = rest.chars();
    loop {
        let char = chars.next().expect("the end of a string");
        assert!(char >= ' ', "{message}");
        match char {
            '"' => break,
            '\\' => text.push(match chars.next().expect("what is escaped") {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => {
                    let digits: String = chars.by_ref().take(4).collect();
                    let code = u32::from_str_radix(&digits, 16).expect("four digits");
                    char::from_u32(code).expect("a character")
                }
                char @ ('"' | '\\') => char,
                char => panic!("\\{char} in {message}"),
            }),
            char => text.push(char),
        }
    }
    match chars.as_str() {
        "}" => (text, true),
        r#","more":true}"# => (text, false),
        rest => panic!("{rest} in {message}"),
    }
}
