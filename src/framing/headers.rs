//! `--framing=headers`: header fields with the length before each message, in both directions, as
//! in the base protocol of language servers (LSP) and debug adapters (DAP).
//!
//! ```text
//!   Content-Length: 17\r\n
//!   \r\n
//!   {"jsonrpc":"2.0"}
//! ```
//!
//! Other header fields are ignored. A line may end with `\n` alone, which a script prints more
//! easily. Messages are text, as both protocols demand UTF-8.

use std::io::Write;

use memchr::memchr;

use super::fragment::{Fragment, OutputError};
use super::length::Length;
use crate::limits::HEADER_LEN_MAX;
use crate::ws::frame::Kind;

const LENGTH_NAME: &[u8] = b"Content-Length";

/// Appends the header of a message.
pub(super) fn write_header(message_len: usize, out: &mut Vec<u8>) {
    write!(out, "Content-Length: {message_len}\r\n\r\n").expect("writing to a Vec cannot fail");
}

/// Splits a stream of messages with header fields.
///
/// Each line of a header is checked when it is complete, so that output without headers fails at its
/// first line. [`Length`] splits the messages themselves.
pub struct Headers {
    /// The beginning of an unfinished header line.
    line: Vec<u8>,
    /// The bytes of the header so far, with `line`. Zero between messages and within one.
    header_len: usize,
    /// The length in the header so far.
    message_len: Option<u32>,
    messages: Length,
}

impl Headers {
    /// A splitter at the start of a stream.
    pub(crate) fn new() -> Self {
        Self::with(Length::new())
    }

    /// The same with a splitter for the messages.
    pub fn with(messages: Length) -> Self {
        Self {
            line: Vec::new(),
            header_len: 0,
            message_len: None,
            messages,
        }
    }

    /// The memory of what is kept, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.line.capacity() + self.messages.capacity()
    }

    /// Takes what one read returned and emits the fragments that it completes.
    ///
    /// # Errors
    ///
    /// A header is malformed, has no length or two, or is too long; or a message is not UTF-8.
    pub(crate) fn push(
        &mut self,
        mut input: &[u8],
        sink: &mut dyn FnMut(Fragment<'_>),
    ) -> Result<(), OutputError> {
        while !input.is_empty() {
            input = match self.messages.missing_len() {
                0 => self.take_header(input, sink)?,
                missing_len => {
                    let (message, rest) = input.split_at(input.len().min(missing_len));
                    self.messages.push(message, sink)?;
                    rest
                }
            };
        }
        Ok(())
    }

    /// Reports EOF.
    ///
    /// # Errors
    ///
    /// The EOF is within a header or a message.
    pub(crate) fn finish(&self) -> Result<(), OutputError> {
        match self.header_len {
            0 => self.messages.finish(),
            _ => Err(OutputError::UnexpectedEof),
        }
    }

    /// Takes a header line, or the part of it that has arrived, and returns the rest of the input.
    fn take_header<'a>(
        &mut self,
        input: &'a [u8],
        sink: &mut dyn FnMut(Fragment<'_>),
    ) -> Result<&'a [u8], OutputError> {
        let room = HEADER_LEN_MAX - self.header_len;
        let window = &input[..input.len().min(room)];
        let Some(end) = memchr(b'\n', window) else {
            if window.len() == room {
                return Err(OutputError::HeaderTooLong);
            }
            self.line.extend_from_slice(window);
            self.header_len += window.len();
            return Ok(&[]);
        };
        let (front, rest) = (&input[..end], &input[end + 1..]);
        self.header_len += front.len() + 1;
        if self.line.is_empty() {
            // The usual case: one read returned the whole line, which is not copied.
            self.take_line(front, sink)?;
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(front);
            self.take_line(&line, sink)?;
        }
        Ok(rest)
    }

    /// Takes a header line without its `\n`.
    fn take_line(
        &mut self,
        line: &[u8],
        sink: &mut dyn FnMut(Fragment<'_>),
    ) -> Result<(), OutputError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            let message_len = self.message_len.take();
            let message_len = message_len.ok_or(OutputError::LengthMissing)?;
            self.header_len = 0;
            self.messages.begin(Kind::Text, message_len, sink);
            return Ok(());
        }
        let colon = memchr(b':', line).filter(|&colon| colon > 0);
        let (name, value) = line.split_at(colon.ok_or(OutputError::NotHeader)?);
        if name.eq_ignore_ascii_case(LENGTH_NAME) {
            let message_len = decimal(value[1..].trim_ascii());
            let message_len = message_len.ok_or(OutputError::LengthInvalid)?;
            if self.message_len.replace(message_len).is_some() {
                return Err(OutputError::LengthRepeated);
            }
        }
        Ok(())
    }
}

/// The number that `digits` are, if they are nothing else and it fits.
fn decimal(digits: &[u8]) -> Option<u32> {
    // `parse` alone would accept a sign.
    let digits = std::str::from_utf8(digits).ok()?;
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| all_digits)
}

#[cfg(test)]
mod tests;
