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
//! | `headers` | a text message per header with `Content-Length` | the header and its bytes | [`headers`] |
//!
//! With `--stderr=json` each line or record becomes a JSON object that names its stream: [`json`].
//!
//! Output goes through a [`Splitter`]. It emits [`Fragment`]s of limited length, so a message of
//! any length passes through bounded memory. Input goes through [`write_message`]. Nothing here
//! does I/O or knows who receives the fragments.

mod format;
mod fragment;
pub mod headers;
pub mod json;
pub mod length;
pub mod records;

pub use self::format::{Crlf, Format, Framing, Stream};
pub use self::fragment::{Fragment, OutputError};
use self::headers::Headers;
use self::json::Json;
use self::length::Length;
use self::records::Records;
use crate::limits::{JSON_READ_LEN, LONG_LEN, SCRATCH_LEN};
use crate::ws::frame::Kind;

/// Splits one stream of output into fragments of messages.
pub enum Splitter {
    /// Lines, or records that end with NUL.
    Records(Records),
    /// The bytes that one read returns.
    Raw,
    /// Messages with a header that gives their kind and length.
    Length(Length),
    /// Messages with header fields. In a box, because it is larger than the other splitters.
    Headers(Box<Headers>),
    /// Records, each as a JSON object.
    Json(Json),
}

impl Splitter {
    /// Makes the splitter for `stream`. It allocates only when it has an unfinished message to keep,
    /// unless it is one for `headers`.
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
                Framing::Headers => Splitter::Headers(Box::new(Headers::new())),
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
            Splitter::Headers(headers) => headers.push(input, sink),
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
            Splitter::Headers(headers) => headers.finish(),
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
            Splitter::Raw | Splitter::Length(_) | Splitter::Headers(_) => {}
        }
    }

    /// Whether [`flush`](Self::flush) would emit something.
    pub fn has_prompt(&self) -> bool {
        match self {
            Splitter::Records(records) => records.has_prompt(),
            Splitter::Json(json) => json.has_prompt(),
            Splitter::Raw | Splitter::Length(_) | Splitter::Headers(_) => false,
        }
    }

    /// The memory of what is kept, in bytes.
    pub(crate) fn capacity(&self) -> usize {
        match self {
            Splitter::Records(records) => records.capacity(),
            Splitter::Length(length) => length.capacity(),
            Splitter::Headers(headers) => headers.capacity(),
            Splitter::Json(json) => json.capacity(),
            Splitter::Raw => 0,
        }
    }

    /// The number of bytes to read at once: fewer if the messages become much longer than the output.
    pub(crate) fn read_len_max(&self) -> usize {
        match self {
            Splitter::Json(_) => JSON_READ_LEN,
            Splitter::Records(_) | Splitter::Raw | Splitter::Length(_) | Splitter::Headers(_) => {
                SCRATCH_LEN
            }
        }
    }
}

/// Bytes behind a message: a newline or NUL.
const DELIMITER_LEN: usize = 1;

/// Appends a client's message to `out`, as the command reads it. With `raw`, `message` may be a part
/// of the message.
pub fn write_message(framing: Framing, kind: Kind, message: &[u8], out: &mut Vec<u8>) {
    match framing {
        Framing::Length => length::write_header(kind, message.len(), out),
        Framing::Headers => headers::write_header(message.len(), out),
        Framing::Lines | Framing::Null | Framing::Raw => {}
    }
    if message.len() >= LONG_LEN {
        // The capacity must not double for a long message, or for the delimiter behind it.
        out.reserve_exact(message.len() + DELIMITER_LEN);
    }
    out.extend_from_slice(message);
    match framing {
        Framing::Lines => out.push(b'\n'),
        Framing::Null => out.push(0),
        Framing::Raw | Framing::Length | Framing::Headers => {}
    }
}

#[cfg(test)]
mod tests;
