//! How the bytes of a command's pipes and the messages of a client correspond.
//!
//! A pipe is a stream of bytes without edges, and a WebSocket carries messages. `--framing` says
//! where the edges are:
//!
//! | framing | a message of the command's is | a message to the command is written as |
//! |---|---|---|
//! | `lines` | a line, without its end: text | its bytes and `\n` |
//! | `null` | what stands before a NUL: text | its bytes and NUL |
//! | `raw` | what one read returned: binary | its bytes, as they arrive |
//! | `length` | what stands behind five bytes that give its kind and length | the same |
//!
//! Output goes through a [`Splitter`], which hands out [`Piece`]s: fragments of messages, each
//! short, however long the message is, so that every message passes through bounded memory. Who
//! gets the pieces is not known here. Input goes through [`write_message`].
//!
//! - [`records`]: lines, and what stands between NULs.
//! - [`length`]: messages with their kind and length before them.
//! - [`json`]: records as JSON, which says whether they come from stdout or stderr.

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

/// How bytes of a command's pipes and messages of a WebSocket correspond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A line is a text message, and a message is a line.
    Lines,
    /// What one read returns is a binary message, and a message is written as it is.
    Raw,
    /// A record terminated by NUL is a text message, and a message is written with a NUL behind it.
    Null,
    /// Five bytes with its kind and length precede each message, in both directions.
    Length,
}

impl Framing {
    /// The framing's name, as `--framing` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::Raw => "raw",
            Self::Null => "null",
            Self::Length => "length",
        }
    }
}

/// What happens to the `\r` of a line that the command ends with `\r\n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crlf {
    /// It is part of the line ending and stripped with it.
    Strip,
    /// It is part of the line.
    Keep,
}

/// What a [`Splitter`] needs to know of the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Where messages begin and end.
    pub framing: Framing,
    /// What happens to the `\r` of a line.
    pub crlf: Crlf,
    /// The longest line or record, in bytes without its terminator; `None`: any length.
    pub line_len_max: Option<usize>,
    /// Whether each record becomes a JSON message that names its stream.
    pub tagged: bool,
}

/// A piece of a message, ready to be a fragment of it (RFC 6455, section 5.4).
///
/// Pieces of text are valid UTF-8 each by itself: none is cut inside a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// What the message holds.
    pub kind: Kind,
    /// The bytes; none only where the message has none, or where it ends with this piece.
    pub bytes: &'a [u8],
    /// Whether the message begins with it.
    pub first: bool,
    /// Whether the message ends with it.
    pub last: bool,
}

/// Which of a command's outputs something comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// What it prints.
    Stdout,
    /// What it complains of, where that is not the same.
    Stderr,
}

/// Cuts one stream of output into pieces of messages.
pub enum Splitter {
    /// Lines, or what stands between NULs.
    Records(Records),
    /// What a read returns is a message.
    Raw,
    /// Messages with their kind and length before them.
    Length(Length),
    /// Records, as JSON.
    Json(Json),
}

impl Splitter {
    /// What cuts `stream` as the options say. It allocates nothing before it has something to keep.
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

    /// Takes what was read and hands the pieces that it completes to `sink`. That is a `dyn`,
    /// so that the callers share one copy of all the framings.
    ///
    /// # Errors
    /// The output cannot be made into messages. Nothing that comes later can be either.
    pub fn push(&mut self, input: &[u8], sink: &mut dyn FnMut(Piece<'_>)) -> Result<(), Fault> {
        match self {
            Splitter::Records(records) => records.push(input, sink),
            Splitter::Length(length) => length.push(input, sink),
            Splitter::Json(json) => json.push(input, sink),
            Splitter::Raw => {
                if !input.is_empty() {
                    sink(whole(Kind::Binary, input));
                }
                Ok(())
            }
        }
    }

    /// The stream is at its end: hands out what was kept. A second time there is nothing.
    ///
    /// # Errors
    /// As [`push`](Self::push), and when the end does not stand between two messages.
    pub fn finish(&mut self, sink: &mut dyn FnMut(Piece<'_>)) -> Result<(), Fault> {
        match self {
            Splitter::Records(records) => records.finish(sink),
            Splitter::Length(length) => length.finish(),
            Splitter::Json(json) => json.finish(sink),
            Splitter::Raw => Ok(()),
        }
    }

    /// A prompt has waited long enough: hands out the beginning of a record as a message of its
    /// own, but for a character that has not ended.
    pub fn flush(&mut self, sink: &mut dyn FnMut(Piece<'_>)) {
        match self {
            Splitter::Records(records) => records.flush(sink),
            Splitter::Json(json) => json.flush(sink),
            Splitter::Raw | Splitter::Length(_) => {}
        }
    }

    /// Whether there is something that [`flush`](Self::flush) would hand out.
    pub fn has_prompt(&self) -> bool {
        match self {
            Splitter::Records(records) => records.has_prompt(),
            Splitter::Json(json) => json.has_prompt(),
            Splitter::Raw | Splitter::Length(_) => false,
        }
    }

    /// How much should be read at once: less where what is made of it is much longer.
    pub fn read_len_max(&self) -> usize {
        match self {
            Splitter::Json(_) => JSON_READ_LEN,
            Splitter::Records(_) | Splitter::Raw | Splitter::Length(_) => SCRATCH_LEN,
        }
    }
}

/// Appends a client's message to `out`, as the command reads it. Of a message that is passed on
/// as it arrives (`raw`), `message` may be a part.
pub fn write_message(framing: Framing, kind: Kind, message: &[u8], out: &mut Vec<u8>) {
    if framing == Framing::Length {
        length::write_head(kind, message.len(), out);
    }
    out.extend_from_slice(message);
    match framing {
        Framing::Lines => out.push(b'\n'),
        Framing::Null => out.push(0),
        Framing::Raw | Framing::Length => {}
    }
}

/// Why output cannot be made into messages: the command's fault, which ends the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A line or record is longer than `--max-line` allows.
    TooLong,
    /// With `length`: where a kind is due stands another byte than 1 or 2.
    UnknownKind(u8),
    /// With `length`: what is said to be text is not UTF-8.
    TextNotUtf8,
    /// With `length`: the output ended inside a message.
    EndsInside,
}

impl Fault {
    /// The code in the close frame (RFC 6455, section 7.4.1).
    ///
    /// A line that is too long is a message too big, 1009, as one from the client is: a limit was
    /// met, and to connect again will meet it again. The rest is 1011, since the server could not
    /// do what it was asked.
    pub const fn close_code(self) -> CloseCode {
        match self {
            Fault::TooLong => CloseCode::MESSAGE_TOO_BIG,
            Fault::UnknownKind(_) | Fault::TextNotUtf8 | Fault::EndsInside => {
                CloseCode::INTERNAL_ERROR
            }
        }
    }
}

/// The reason in the close frame.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::TooLong => f.write_str("the command printed a line longer than --max-line"),
            Fault::UnknownKind(byte) => write!(
                f,
                "the command printed {byte} where a message's kind is due, 1 (text) or 2 (binary)"
            ),
            Fault::TextNotUtf8 => f.write_str("the command printed a text that is not UTF-8"),
            Fault::EndsInside => f.write_str("the command's output ended inside a message"),
        }
    }
}

/// A message in one piece.
fn whole(kind: Kind, bytes: &[u8]) -> Piece<'_> {
    Piece {
        kind,
        bytes,
        first: true,
        last: true,
    }
}

#[cfg(test)]
mod tests;
