//! The splitter of each framing, fed in pieces: its messages must be those of the whole output, and
//! framing them again must give the same bytes.

use wspipe::framing::headers::Headers;
use wspipe::framing::json::Json;
use wspipe::framing::length::Length;
use wspipe::framing::records::Records;
use wspipe::framing::{Crlf, Framing};
use wspipe::framing::{Fragment, OutputError, Splitter, Stream, write_message};
use wspipe::limits::HEADER_LEN_MAX;
use wspipe::ws::frame::Kind;

/// The options of a record framing.
#[derive(Clone, Copy)]
struct RecordOptions {
    delimiter: u8,
    crlf: Crlf,
    fragment_len: usize,
    record_len_max: usize,
    json: bool,
}

/// Knobs: the pieces, the fragment length, the framing and its options. Stream: the output of a
/// command.
pub fn check(data: &[u8]) {
    let [knob, fragment_knob, options_knob, output @ ..] = data else {
        return;
    };
    let pieces = super::pieces(output, *knob);
    let fragment_len = 8 + usize::from(*fragment_knob);
    let lines = RecordOptions {
        delimiter: b'\n',
        crlf: Crlf::Strip,
        fragment_len,
        record_len_max: if options_knob & 0x20 == 0 {
            usize::MAX
        } else {
            24
        },
        json: options_knob & 0x10 != 0,
    };
    let keep = Crlf::Keep;
    match options_knob % 5 {
        0 => check_records(output, &pieces, lines),
        1 => check_records(
            output,
            &pieces,
            RecordOptions {
                crlf: keep,
                ..lines
            },
        ),
        2 => check_records(
            output,
            &pieces,
            RecordOptions {
                delimiter: 0,
                crlf: keep,
                ..lines
            },
        ),
        3 if options_knob & 0x80 != 0 => check_headers(output, &pieces, fragment_len),
        3 => check_length(output, &pieces, fragment_len),
        _ => check_raw(&pieces),
    }
    let delimiter = if options_knob % 2 == 0 { b'\n' } else { 0 };
    check_prompts(
        output,
        &pieces,
        RecordOptions {
            delimiter,
            crlf: keep,
            ..lines
        },
    );
}

// -- Records that end with LF or NUL
// ---------------------------------------------------------------

fn records(options: RecordOptions) -> Records {
    Records::with(
        options.delimiter,
        options.crlf,
        options.fragment_len,
        options.record_len_max,
    )
}

fn check_records(output: &[u8], pieces: &[&[u8]], options: RecordOptions) {
    let mut splitter = match options.json {
        true => Splitter::Json(Json::with(Stream::Stderr, records(options))),
        false => Splitter::Records(records(options)),
    };
    let mut messages = Messages::new(options.json, options.fragment_len);
    let end = run(&mut splitter, pieces, &mut messages);
    let (expected, expected_end) = record_reference(output, options);
    let texts = messages.texts();
    assert_eq!(texts, expected);
    assert_eq!(end, expected_end);
    assert!(
        end.is_err() || messages.unfinished.is_none(),
        "a message is unfinished"
    );
    if let (Ok(()), Ok(text), Crlf::Keep) = (end, std::str::from_utf8(output), options.crlf) {
        let delimiter = char::from(options.delimiter).to_string();
        let end = if text.ends_with(&delimiter) {
            &delimiter
        } else {
            ""
        };
        assert_eq!(
            texts.join(&delimiter) + end,
            text,
            "framing the messages again gives other bytes"
        );
    }
}

/// The records of the whole output, up to the first that is too long. The last one may lack its
/// delimiter.
fn record_reference(
    output: &[u8],
    options: RecordOptions,
) -> (Vec<String>, Result<(), OutputError>) {
    let mut records: Vec<&[u8]> = output.split(|&byte| byte == options.delimiter).collect();
    let unfinished = records.pop().filter(|record| !record.is_empty());
    let ended = records.into_iter().map(|record| match options.crlf {
        Crlf::Strip => record.strip_suffix(b"\r").unwrap_or(record),
        Crlf::Keep => record,
    });
    let mut texts = Vec::new();
    for record in ended.chain(unfinished) {
        if record.len() > options.record_len_max {
            return (
                texts,
                Err(OutputError::TooLong(options.record_len_max as u32)),
            );
        }
        texts.push(String::from_utf8_lossy(record).into_owned());
    }
    (texts, Ok(()))
}

/// With a prompt flushed at every pause the messages end elsewhere, but no byte is lost, repeated
/// or moved.
fn check_prompts(output: &[u8], pieces: &[&[u8]], options: RecordOptions) {
    let options = RecordOptions {
        record_len_max: usize::MAX,
        ..options
    };
    let mut splitter = match options.json {
        true => Splitter::Json(Json::with(Stream::Stdout, records(options))),
        false => Splitter::Records(records(options)),
    };
    let mut messages = Messages::new(options.json, options.fragment_len);
    for piece in pieces {
        let mut sink = |piece: Fragment<'_>| messages.add(piece);
        assert_eq!(splitter.push(piece, &mut sink), Ok(()));
        let has_prompt = splitter.has_prompt();
        let before = messages.count;
        splitter.flush(&mut |piece| messages.add(piece));
        assert_eq!(has_prompt, messages.count > before);
        assert!(!splitter.has_prompt(), "a prompt is left after a flush");
    }
    assert_eq!(splitter.finish(&mut |piece| messages.add(piece)), Ok(()));
    let records = output.split(|&byte| byte == options.delimiter);
    let expected: String = records
        .map(|record| String::from_utf8_lossy(record))
        .collect();
    assert_eq!(messages.texts().concat(), expected);
}

// -- Messages with their kind and length first ----------------------------------------------------

fn check_length(output: &[u8], pieces: &[&[u8]], fragment_len: usize) {
    let mut splitter = Splitter::Length(Length::with(fragment_len));
    let mut messages = Messages::new(false, fragment_len);
    let end = run(&mut splitter, pieces, &mut messages);
    let (expected, expected_ends) = length_reference(output);
    assert_eq!(messages.whole, expected);
    assert!(
        expected_ends.contains(&end),
        "the end is {end:?}, expected one of {expected_ends:?}"
    );
    let mut again = Vec::new();
    for (kind, message) in &messages.whole {
        write_message(Framing::Length, *kind, message, &mut again);
    }
    assert!(
        output.starts_with(&again),
        "framing the messages again gives other bytes"
    );
    assert!(end.is_err() || again.len() == output.len());
}

/// The complete messages, and how the output may end. Whether an unfinished text is not UTF-8 may
/// be noticed or not.
fn length_reference(mut rest: &[u8]) -> (Vec<Message>, Vec<Result<(), OutputError>>) {
    let mut messages = Vec::new();
    let ends = loop {
        let kind = match rest {
            [] => break vec![Ok(())],
            [1, ..] => Kind::Text,
            [2, ..] => Kind::Binary,
            [byte, ..] => break vec![Err(OutputError::UnknownKind(*byte))],
        };
        let Some((len, payload)) = rest[1..].split_first_chunk::<4>() else {
            break vec![Err(OutputError::UnexpectedEof)];
        };
        let len = u32::from_be_bytes(*len) as usize;
        let message = &payload[..len.min(payload.len())];
        let bad_text = kind == Kind::Text && std::str::from_utf8(message).is_err();
        if message.len() < len {
            let mut ends = vec![Err(OutputError::UnexpectedEof)];
            ends.extend(bad_text.then_some(Err(OutputError::TextNotUtf8)));
            break ends;
        }
        if bad_text {
            break vec![Err(OutputError::TextNotUtf8)];
        }
        messages.push((kind, message.to_vec()));
        rest = &payload[len..];
    };
    (messages, ends)
}

// -- Messages with header fields ------------------------------------------------------------------

fn check_headers(output: &[u8], pieces: &[&[u8]], fragment_len: usize) {
    let headers = Headers::with(Length::with(fragment_len));
    let mut splitter = Splitter::Headers(Box::new(headers));
    let mut messages = Messages::new(false, fragment_len);
    let end = run(&mut splitter, pieces, &mut messages);
    let (expected, expected_ends) = headers_reference(output);
    assert_eq!(messages.whole, expected);
    assert!(
        expected_ends.contains(&end),
        "the end is {end:?}, expected one of {expected_ends:?}"
    );
    // A command that understands the framing reads the same messages from what is written to it.
    let mut again = Vec::new();
    for (kind, message) in &messages.whole {
        write_message(Framing::Headers, *kind, message, &mut again);
    }
    assert_eq!(headers_reference(&again), (expected, vec![Ok(())]));
}

/// The complete messages, and how the output may end. Whether an unfinished text is not UTF-8 may
/// be noticed or not.
fn headers_reference(mut rest: &[u8]) -> (Vec<Message>, Vec<Result<(), OutputError>>) {
    let mut messages = Vec::new();
    let ends = loop {
        if rest.is_empty() {
            break vec![Ok(())];
        }
        let (len, payload) = match read_header(rest) {
            Ok(header) => header,
            Err(error) => break vec![Err(error)],
        };
        let message = &payload[..len.min(payload.len())];
        let bad_text = std::str::from_utf8(message).is_err();
        if message.len() < len {
            let mut ends = vec![Err(OutputError::UnexpectedEof)];
            ends.extend(bad_text.then_some(Err(OutputError::TextNotUtf8)));
            break ends;
        }
        if bad_text {
            break vec![Err(OutputError::TextNotUtf8)];
        }
        messages.push((Kind::Text, message.to_vec()));
        rest = &payload[len..];
    };
    (messages, ends)
}

/// The length that a header gives, and what follows the header.
fn read_header(output: &[u8]) -> Result<(usize, &[u8]), OutputError> {
    let readable = &output[..output.len().min(HEADER_LEN_MAX)];
    let mut lens = Vec::new();
    let mut start = 0;
    for line in readable.split_inclusive(|&byte| byte == b'\n') {
        start += line.len();
        let Some(line) = line.strip_suffix(b"\n") else {
            break;
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            let [len] = lens[..] else {
                return Err(OutputError::LengthMissing);
            };
            return Ok((len, &output[start..]));
        }
        let line: String = line.iter().map(|&byte| char::from(byte)).collect();
        match line.split_once(':') {
            None | Some(("", _)) => return Err(OutputError::NotHeader),
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                let digits = value.trim_matches([' ', '\t', '\n', '\r', '\x0C']);
                let is_number = digits.chars().all(|char| char.is_ascii_digit());
                let len = digits.parse::<u32>().ok().filter(|_| is_number);
                lens.push(len.ok_or(OutputError::LengthInvalid)? as usize);
                if lens.len() > 1 {
                    return Err(OutputError::LengthRepeated);
                }
            }
            Some(_) => {}
        }
    }
    // A complete line that fills the header leaves no room for another one. But if nothing comes behind
    // it, it is the end that is wrong.
    let is_last = output.len() == HEADER_LEN_MAX && output.ends_with(b"\n");
    match readable.len() == HEADER_LEN_MAX && !is_last {
        true => Err(OutputError::HeaderTooLong),
        false => Err(OutputError::UnexpectedEof),
    }
}

// -- Raw reads
// --------------------------------------------------------------------------------------

fn check_raw(pieces: &[&[u8]]) {
    let mut messages = Messages::new(false, usize::MAX / 3);
    assert_eq!(run(&mut Splitter::Raw, pieces, &mut messages), Ok(()));
    let expected = pieces.iter().map(|piece| (Kind::Binary, piece.to_vec()));
    assert_eq!(messages.whole, expected.collect::<Vec<_>>());
}

// -- Shared parts
// -----------------------------------------------------------------------------------

fn run(
    splitter: &mut Splitter,
    pieces: &[&[u8]],
    messages: &mut Messages,
) -> Result<(), OutputError> {
    for piece in pieces {
        splitter.push(piece, &mut |piece| messages.add(piece))?;
    }
    splitter.finish(&mut |piece| messages.add(piece))?;
    splitter.finish(&mut |_| panic!("a piece after the end"))
}

type Message = (Kind, Vec<u8>);

/// The messages that the pieces make up.
struct Messages {
    whole: Vec<Message>,
    unfinished: Option<Message>,
    /// The number of pieces.
    count: usize,
    json: bool,
    fragment_len: usize,
}

impl Messages {
    fn new(json: bool, fragment_len: usize) -> Messages {
        Messages {
            whole: Vec::new(),
            unfinished: None,
            count: 0,
            json,
            fragment_len,
        }
    }

    fn add(&mut self, piece: Fragment<'_>) {
        self.count += 1;
        if self.json {
            assert!(piece.first && piece.last, "JSON is never fragmented");
            let (data, last) = read_json(std::str::from_utf8(piece.bytes).expect("UTF-8"));
            let first = self.unfinished.is_none();
            return self.add_piece(Fragment {
                kind: piece.kind,
                bytes: data.as_bytes(),
                first,
                last,
            });
        }
        self.add_piece(piece);
    }

    fn add_piece(&mut self, piece: Fragment<'_>) {
        if piece.kind == Kind::Text {
            std::str::from_utf8(piece.bytes).expect("a piece is UTF-8 by itself");
        }
        // An invalid byte becomes U+FFFD, which has three bytes.
        let len = piece.bytes.len();
        assert!(len <= 3 * self.fragment_len, "a piece of {len} bytes");
        assert_eq!(
            piece.first,
            self.unfinished.is_none(),
            "a piece has the wrong first flag"
        );
        let (kind, mut message) = self.unfinished.take().unwrap_or((piece.kind, Vec::new()));
        assert_eq!(piece.kind, kind, "the pieces of a message have two kinds");
        message.extend_from_slice(piece.bytes);
        match piece.last {
            true => self.whole.push((kind, message)),
            false => self.unfinished = Some((kind, message)),
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

/// The data of a JSON message, and whether the record ends with it.
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
            '\\' => text.push(match chars.next().expect("an escaped character") {
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
