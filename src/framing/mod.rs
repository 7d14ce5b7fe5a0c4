//! Framing: how the bytes of a command's pipes and the messages of a WebSocket correspond.
//!
//! A pipe carries a stream of bytes without boundaries; a WebSocket carries messages. `--framing`
//! says where the boundaries are:
//!
//! | framing | output becomes | a message from the client is written as | in |
//! |---|---|---|---|
//! | `lines` | a text message per line, without its `\n` | its bytes and `\n` | [`records`] |
//! | `null` | a text message per record, without its NUL | its bytes and NUL | [`records`] |
//! | `raw` | a binary message per read | its bytes, as they arrive | here |
//! | `length` | a message per header of five bytes, which gives its kind and length | the header and its bytes | [`length`] |
//!
//! With `--stderr=json` each line or record becomes a JSON object that names its stream: [`json`].
//!
//! Output goes through a [`Splitter`]. It emits [`Fragment`]s of limited length, so a message of
//! any length passes through bounded memory. Input goes through [`write_message`]. Nothing here
//! does I/O or knows who receives the fragments.

pub mod json;
pub mod length;
pub mod records;

use std::fmt;

use self::json::Json;
use self::length::Length;
use self::records::Records;
use crate::limits::{JSON_READ_LEN, SCRATCH_LEN};
use crate::ws::close::CloseCode;
use crate::ws::frame::Kind;

/// The values of `--framing`. The table in the [module's documentation](self) explains them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A line is a text message.
    Lines,
    /// What one read returns is a binary message.
    Raw,
    /// A record that ends with NUL is a text message.
    Null,
    /// A header of five bytes precedes each message.
    Length,
}

impl Framing {
    /// The name that `--framing` takes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::Raw => "raw",
            Self::Null => "null",
            Self::Length => "length",
        }
    }
}

/// What happens to the `\r` of a line that ends with `\r\n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crlf {
    /// It belongs to the line ending and is removed with it.
    Strip,
    /// It belongs to the line.
    Keep,
}

/// The options that a [`Splitter`] depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Where messages begin and end.
    pub framing: Framing,
    /// What happens to the `\r` at the end of a line.
    pub crlf: Crlf,
    /// The longest line or record, in bytes without its terminator. `None`: unlimited.
    pub line_len_max: Option<usize>,
    /// Whether each record becomes a JSON object that names its stream.
    pub tagged: bool,
}

/// A fragment of a message (RFC 6455 section 5.4): the payload of one frame.
///
/// A fragment of a text message is valid UTF-8 by itself: no character is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// The kind of the message.
    pub kind: Kind,
    /// The bytes. Empty only if the message is empty or ends with this fragment.
    pub bytes: &'a [u8],
    /// Whether the message begins with this fragment.
    pub first: bool,
    /// Whether the message ends with this fragment.
    pub last: bool,
}

impl<'a> Fragment<'a> {
    /// A whole message in one fragment.
    fn whole(kind: Kind, bytes: &'a [u8]) -> Self {
        Self {
            kind,
            bytes,
            first: true,
            last: true,
        }
    }
}

/// An output of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The standard output.
    Stdout,
    /// The standard error, if it has a pipe of its own.
    Stderr,
}

/// Splits one stream of output into fragments of messages.
pub enum Splitter {
    /// Lines, or records that end with NUL.
    Records(Records),
    /// Whatever a read returns.
    Raw,
    /// Messages with a header that gives their kind and length.
    Length(Length),
    /// Records, each as a JSON object.
    Json(Json),
}

impl Splitter {
    /// Makes the splitter for `stream`. It allocates only when it has an unfinished message to keep.
    pub fn new(stream: Stream, format: &Format) -> Self {
        match stream {
            _ if format.tagged => Splitter::Json(Json::new(stream, format)),
            Stream::Stderr => Splitter::Records(Records::for_log()),
            Stream::Stdout => match format.framing {
                Framing::Lines | Framing::Null => {
                    Splitter::Records(Records::new(format.framing, format))
                }
                Framing::Raw => Splitter::Raw,
                Framing::Length => Splitter::Length(Length::new()),
            },
        }
    }

    /// Takes what one read returned and emits the fragments that it completes. `sink` is a `dyn`,
    /// so that all callers share one copy of the code.
    ///
    /// # Errors
    ///
    /// The output does not follow the framing. The splitter must not be used after an error.
    pub fn push(
        &mut self,
        input: &[u8],
        sink: &mut dyn FnMut(Fragment<'_>),
    ) -> Result<(), OutputError> {
        match self {
            Splitter::Records(records) => records.push(input, sink),
            Splitter::Length(length) => length.push(input, sink),
            Splitter::Json(json) => json.push(input, sink),
            Splitter::Raw => {
                if !input.is_empty() {
                    sink(Fragment::whole(Kind::Binary, input));
                }
                Ok(())
            }
        }
    }

    /// Reports EOF: emits what is kept. Another call emits nothing.
    ///
    /// # Errors
    ///
    /// Those of [`push`](Self::push), and an EOF within a message.
    pub fn finish(&mut self, sink: &mut dyn FnMut(Fragment<'_>)) -> Result<(), OutputError> {
        match self {
            Splitter::Records(records) => records.finish(sink),
            Splitter::Length(length) => length.finish(),
            Splitter::Json(json) => json.finish(sink),
            Splitter::Raw => Ok(()),
        }
    }

    /// Emits the unfinished record, such as a prompt, as a message (`--flush`). An unfinished
    /// character stays.
    pub fn flush(&mut self, sink: &mut dyn FnMut(Fragment<'_>)) {
        match self {
            Splitter::Records(records) => records.flush(sink),
            Splitter::Json(json) => json.flush(sink),
            Splitter::Raw | Splitter::Length(_) => {}
        }
    }

    /// Whether [`flush`](Self::flush) would emit something.
    pub fn has_prompt(&self) -> bool {
        match self {
            Splitter::Records(records) => records.has_prompt(),
            Splitter::Json(json) => json.has_prompt(),
            Splitter::Raw | Splitter::Length(_) => false,
        }
    }

    /// The number of bytes to read at once: fewer if the messages become much longer than the output.
    pub(crate) fn read_len_max(&self) -> usize {
        match self {
            Splitter::Json(_) => JSON_READ_LEN,
            Splitter::Records(_) | Splitter::Raw | Splitter::Length(_) => SCRATCH_LEN,
        }
    }
}

/// Appends a client's message to `out`, as the command reads it. With `raw`, `message` may be a part
/// of the message.
pub fn write_message(framing: Framing, kind: Kind, message: &[u8], out: &mut Vec<u8>) {
    if framing == Framing::Length {
        length::write_header(kind, message.len(), out);
    }
    out.extend_from_slice(message);
    match framing {
        Framing::Lines => out.push(b'\n'),
        Framing::Null => out.push(0),
        Framing::Raw | Framing::Length => {}
    }
}

/// Output that does not follow the framing. The command is at fault, and its clients are
/// disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputError {
    /// A line or record is longer than `--max-line`.
    TooLong,
    /// With `length`: the first byte of a header is neither 1 nor 2.
    UnknownKind(u8),
    /// With `length`: a text message is not UTF-8.
    TextNotUtf8,
    /// With `length`: EOF within a message.
    UnexpectedEof,
}

impl OutputError {
    /// The code for the close frame (RFC 6455 section 7.4.1).
    ///
    /// A line over the limit is 1009, as a client's message over the limit is: a new connection
    /// would meet the same limit. Everything else is 1011: the server could not do its task.
    pub(crate) const fn close_code(self) -> CloseCode {
        match self {
            OutputError::TooLong => CloseCode::MESSAGE_TOO_BIG,
            OutputError::UnknownKind(_) | OutputError::TextNotUtf8 | OutputError::UnexpectedEof => {
                CloseCode::INTERNAL_ERROR
            }
        }
    }
}

/// The reason for the close frame.
impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("the command printed a line longer than --max-line"),
            Self::UnknownKind(byte) => write!(
                f,
                "the command printed {byte} where a message's kind is due, 1 (text) or 2 (binary)"
            ),
            Self::TextNotUtf8 => f.write_str("the command printed a text that is not UTF-8"),
            Self::UnexpectedEof => f.write_str("the command's output ended inside a message"),
        }
    }
}

#[cfg(test)]
mod tests;
