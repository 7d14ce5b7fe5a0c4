//! `--stderr=json`: each record of stdout and stderr as a JSON object that names its stream.
//!
//! ```text
//!   {"stream":"stderr","data":"the text of the line"}
//! ```
//!
//! A record longer than a fragment becomes several messages, all except the last with
//! `"more":true`. They are messages and not fragments of one message, because fragments of different
//! messages must not interleave (RFC 6455 section 5.4): an endless line on one stream would block
//! the other.

use super::format::{Format, Framing, Stream};
use super::fragment::{Fragment, OutputError};
use super::records::Records;
use crate::ws::frame::Kind;

/// Splits one stream into JSON messages.
pub struct Json {
    stream: Stream,
    records: Records,
}

impl Json {
    /// Makes a splitter for `stream`. The framing applies to stdout; stderr consists of lines.
    pub(crate) fn new(stream: Stream, format: &Format) -> Self {
        let framing = match stream {
            Stream::Stdout => format.framing,
            Stream::Stderr => Framing::Lines,
        };
        Self::with(stream, Records::new(framing, format))
    }

    /// Makes a splitter for `stream` that uses `records`.
    pub fn with(stream: Stream, records: Records) -> Self {
        Self { stream, records }
    }

    /// Takes what one read returned and emits the messages that it completes.
    ///
    /// # Errors
    ///
    /// A record is too long.
    pub(crate) fn push(
        &mut self,
        input: &[u8],
        sink: &mut dyn FnMut(Fragment<'_>),
    ) -> Result<(), OutputError> {
        self.records.push(input, &mut tagging(self.stream, sink))
    }

    /// Reports EOF: emits the last record, if it has no terminator.
    ///
    /// # Errors
    ///
    /// The record is too long.
    pub(crate) fn finish(&mut self, sink: &mut dyn FnMut(Fragment<'_>)) -> Result<(), OutputError> {
        self.records.finish(&mut tagging(self.stream, sink))
    }

    /// The memory of what is kept, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.records.capacity()
    }

    /// Emits the unfinished record as a message.
    pub(crate) fn flush(&mut self, sink: &mut dyn FnMut(Fragment<'_>)) {
        self.records.flush(&mut tagging(self.stream, sink));
    }

    /// Whether [`flush`](Self::flush) would emit something.
    pub(crate) fn has_prompt(&self) -> bool {
        self.records.has_prompt()
    }
}

/// Makes a JSON message of each fragment of a record and passes it to `sink`.
fn tagging(stream: Stream, sink: &mut dyn FnMut(Fragment<'_>)) -> impl FnMut(Fragment<'_>) {
    let mut message = Vec::new();
    move |fragment| {
        message.clear();
        message.extend_from_slice(match stream {
            Stream::Stdout => br#"{"stream":"stdout","data":""#,
            Stream::Stderr => br#"{"stream":"stderr","data":""#,
        });
        escape(fragment.bytes, &mut message);
        message.extend_from_slice(match fragment.last {
            true => br#""}"#,
            false => br#"","more":true}"#,
        });
        sink(Fragment::whole(Kind::Text, &message));
    }
}

/// Appends UTF-8 escaped for a JSON string (RFC 8259 section 7): quotation mark, backslash and
/// control characters below U+0020.
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
mod tests;
