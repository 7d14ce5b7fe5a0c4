//! `--framing=lines` and `null`: records that end with a delimiter, `\n` or NUL.
//!
//! The parts of an unfinished record, while it grows from read to read:
//!
//! ```text
//!   |----- `emitted` bytes -----|-- kept: `tail` --|-- not read yet --
//!    in fragments of up to         shorter than
//!    `fragment_len_max` bytes      `tail_len_max`
//! ```

use std::mem;

use memchr::memchr;

use super::format::{Crlf, Format, Framing};
use super::fragment::{Fragment, OutputError};
use crate::limits::{FRAGMENT_LEN, LOG_LINE_LEN_MAX, SIZE_MAX};
use crate::ws::frame::Kind;

/// Splits a stream of bytes into records. Each becomes a text message without its delimiter. The
/// last record needs no delimiter.
///
/// A record longer than a fragment is emitted as it arrives. Invalid UTF-8 becomes U+FFFD, because a
/// browser fails a connection with invalid text (RFC 6455 section 8.1).
///
/// Invariant: `tail.len() < tail_len_max()` between calls, which bounds the memory for an endless
/// record.
pub struct Records {
    /// The byte that ends a record.
    delimiter: u8,
    /// Whether a `\r` before it is kept.
    crlf: Crlf,
    /// The longest fragment, in bytes of the record. U+FFFD may triple its length.
    fragment_len_max: u32,
    /// The longest record. `u32::MAX`: unlimited.
    record_len_max: u32,
    /// The part of an unfinished record that is not emitted yet.
    tail: Vec<u8>,
    /// The number of bytes of the record that are emitted, saturating.
    emitted: u32,
}

// Each command has one or two.
const _: () = assert!(size_of::<Records>() <= size_of::<Vec<u8>>() + 16);

// Every size that an option can set fits a u32, and u32::MAX means no limit.
const _: () = assert!(SIZE_MAX < u32::MAX as usize);

impl Records {
    /// Makes a splitter for `framing`. A framing without records gets lines.
    pub(crate) fn new(framing: Framing, format: &Format) -> Self {
        let (delimiter, crlf) = match framing {
            Framing::Null => (0, Crlf::Keep),
            Framing::Lines | Framing::Raw | Framing::Length | Framing::Headers => {
                (b'\n', format.crlf)
            }
        };
        let record_len_max = format.line_len_max.unwrap_or(usize::MAX);
        Self::with(delimiter, crlf, FRAGMENT_LEN, record_len_max)
    }

    /// Makes a splitter for the lines of stderr that go to the log. The first fragment of a line may
    /// fill a log line.
    pub(crate) fn for_log() -> Self {
        Self::with(b'\n', Crlf::Strip, LOG_LINE_LEN_MAX, usize::MAX)
    }

    /// Makes a splitter with limits in bytes: the longest fragment, at least 4, and the longest
    /// record. Above [`SIZE_MAX`], a limit is no limit.
    pub fn with(delimiter: u8, crlf: Crlf, fragment_len_max: usize, record_len_max: usize) -> Self {
        // Fewer bytes could be one unfinished character, and nothing could be emitted.
        debug_assert!(fragment_len_max >= 4);
        Self {
            delimiter,
            crlf,
            fragment_len_max: saturating_u32(fragment_len_max),
            record_len_max: saturating_u32(record_len_max),
            tail: Vec::new(),
            emitted: 0,
        }
    }

    /// The memory of what is kept, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.tail.capacity()
    }

    /// Takes what one read returned and emits the fragments that it completes.
    ///
    /// # Errors
    ///
    /// A record is too long.
    pub(crate) fn push(
        &mut self,
        mut input: &[u8],
        sink: &mut dyn FnMut(Fragment<'_>),
    ) -> Result<(), OutputError> {
        while !input.is_empty() {
            let room = self.tail_len_max() - self.tail.len();
            let window = &input[..input.len().min(room)];
            match memchr(self.delimiter, window) {
                // The usual case: one read returned the whole record, which is not copied.
                Some(end) if self.tail.is_empty() => {
                    self.end_record(&window[..end], sink)?;
                    input = &input[end + 1..];
                }
                Some(end) => {
                    let mut record = mem::take(&mut self.tail);
                    record.extend_from_slice(&window[..end]);
                    self.end_record(&record, sink)?;
                    record.clear();
                    self.tail = record;
                    input = &input[end + 1..];
                }
                None => {
                    self.tail.extend_from_slice(window);
                    input = &input[window.len()..];
                    self.check_len(self.without_return(&self.tail).len())?;
                    if self.tail.len() == self.tail_len_max() {
                        self.emit_front(sink);
                    }
                }
            }
        }
        if self.tail.is_empty() {
            self.tail = Vec::new();
        }
        Ok(())
    }

    /// Reports EOF: emits the last record, if it has no delimiter.
    ///
    /// # Errors
    ///
    /// The record is too long.
    pub(crate) fn finish(&mut self, sink: &mut dyn FnMut(Fragment<'_>)) -> Result<(), OutputError> {
        if self.tail.is_empty() && self.emitted == 0 {
            return Ok(());
        }
        let rest = mem::take(&mut self.tail);
        self.check_len(rest.len())?;
        self.emit_rest(&rest, sink);
        Ok(())
    }

    /// Emits the unfinished record as a message. An unfinished character stays.
    pub(crate) fn flush(&mut self, sink: &mut dyn FnMut(Fragment<'_>)) {
        let cut = whole_characters(&self.tail);
        if cut > 0 {
            let mut prompt = mem::take(&mut self.tail);
            self.tail = prompt.split_off(cut);
            self.emit_rest(&prompt, sink);
        }
    }

    /// Whether [`flush`](Self::flush) would emit something.
    pub(crate) fn has_prompt(&self) -> bool {
        whole_characters(&self.tail) > 0
    }

    /// The length at which a fragment of the tail is emitted. It includes the line ending, so that a
    /// record of `fragment_len_max` bytes is still emitted whole.
    fn tail_len_max(&self) -> usize {
        self.fragment_len_max() + b"\r\n".len()
    }

    fn fragment_len_max(&self) -> usize {
        self.fragment_len_max as usize
    }

    /// Removes the `\r` of the line ending.
    fn without_return<'a>(&self, record: &'a [u8]) -> &'a [u8] {
        match self.crlf {
            Crlf::Strip => record.strip_suffix(b"\r").unwrap_or(record),
            Crlf::Keep => record,
        }
    }

    fn check_len(&self, rest_len: usize) -> Result<(), OutputError> {
        match self.emitted.saturating_add(saturating_u32(rest_len)) > self.record_len_max {
            true => Err(OutputError::TooLong(self.record_len_max)),
            false => Ok(()),
        }
    }

    /// Ends the record at its delimiter. `record` is its part that is not emitted yet.
    fn end_record(
        &mut self,
        record: &[u8],
        sink: &mut dyn FnMut(Fragment<'_>),
    ) -> Result<(), OutputError> {
        let record = self.without_return(record);
        self.check_len(record.len())?;
        self.emit_rest(record, sink);
        Ok(())
    }

    /// Emits the rest of a record, in two fragments if it is slightly too long for one.
    fn emit_rest(&mut self, mut rest: &[u8], sink: &mut dyn FnMut(Fragment<'_>)) {
        while rest.len() > self.fragment_len_max() {
            let (front, back) = rest.split_at(whole_characters(&rest[..self.fragment_len_max()]));
            self.emit(front, false, sink);
            rest = back;
        }
        self.emit(rest, true, sink);
    }

    /// Emits the longest possible fragment of the tail.
    fn emit_front(&mut self, sink: &mut dyn FnMut(Fragment<'_>)) {
        let mut tail = mem::take(&mut self.tail);
        let cut = whole_characters(&tail[..self.fragment_len_max()]);
        self.emit(&tail[..cut], false, sink);
        tail.drain(..cut);
        self.tail = tail;
    }

    fn emit(&mut self, bytes: &[u8], last: bool, sink: &mut dyn FnMut(Fragment<'_>)) {
        let first = self.emitted == 0;
        self.emitted = match last {
            true => 0,
            false => self.emitted.saturating_add(saturating_u32(bytes.len())),
        };
        // `from_utf8` is much faster than `from_utf8_lossy`, and most text is valid.
        let repaired;
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(_) => {
                repaired = String::from_utf8_lossy(bytes);
                &repaired
            }
        };
        sink(Fragment {
            kind: Kind::Text,
            bytes: text.as_bytes(),
            first,
            last,
        });
    }
}

fn saturating_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// The length of `bytes` without an unfinished character at the end.
fn whole_characters(bytes: &[u8]) -> usize {
    // The first byte of an unfinished character is one of the last three.
    for back in 1..=bytes.len().min(3) {
        let len = match bytes[bytes.len() - back] {
            0x80..=0xBF => continue,
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => 1,
        };
        return bytes.len() - if len > back { back } else { 0 };
    }
    bytes.len()
}

#[cfg(test)]
mod tests;
