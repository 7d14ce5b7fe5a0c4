//! The output of a splitter: fragments of messages, or an error.

use std::fmt;

use crate::limits::HEADER_LEN_MAX;
use crate::ws::close::CloseCode;
use crate::ws::frame::Kind;

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
    pub(super) fn whole(kind: Kind, bytes: &'a [u8]) -> Self {
        Self {
            kind,
            bytes,
            first: true,
            last: true,
        }
    }
}

/// Output that does not follow the framing. The command is at fault, and its clients are
/// disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputError {
    /// A line or record is longer than `--max-line`, which is this number of bytes.
    TooLong(u32),
    /// With `length`: the first byte of a header is neither 1 nor 2.
    UnknownKind(u8),
    /// With `headers`: a line of a header is no header field.
    NotHeader,
    /// With `headers`: a header is longer than
    /// [`HEADER_LEN_MAX`].
    HeaderTooLong,
    /// With `headers`: a header without a length.
    LengthMissing,
    /// With `headers`: a header with two lengths.
    LengthRepeated,
    /// With `headers`: the length is no number, or too large a one.
    LengthInvalid,
    /// With `length` and `headers`: a text message is not UTF-8.
    TextNotUtf8,
    /// With `length` and `headers`: EOF within a message.
    UnexpectedEof,
}

impl OutputError {
    /// The code for the close frame (RFC 6455 section 7.4.1).
    ///
    /// A line over the limit is 1009, as a client's message over the limit is: a new connection
    /// would meet the same limit. Everything else is 1011: the server could not do its task.
    pub(crate) const fn close_code(self) -> CloseCode {
        match self {
            OutputError::TooLong(_) => CloseCode::MESSAGE_TOO_BIG,
            OutputError::UnknownKind(_)
            | OutputError::NotHeader
            | OutputError::HeaderTooLong
            | OutputError::LengthMissing
            | OutputError::LengthRepeated
            | OutputError::LengthInvalid
            | OutputError::TextNotUtf8
            | OutputError::UnexpectedEof => CloseCode::INTERNAL_ERROR,
        }
    }
}

/// The reason for the close frame.
impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(max) => write!(
                f,
                "the command printed a line longer than {max} bytes (--max-line)"
            ),
            Self::UnknownKind(byte) => write!(
                f,
                "the command printed {byte} where a message's kind is due, 1 (text) or 2 (binary)"
            ),
            Self::NotHeader => f.write_str(
                "the command printed a line that is no header field where Content-Length is due",
            ),
            Self::HeaderTooLong => write!(
                f,
                "the command printed a header of more than {HEADER_LEN_MAX} bytes"
            ),
            Self::LengthMissing => {
                f.write_str("the command printed a header without Content-Length")
            }
            Self::LengthRepeated => {
                f.write_str("the command printed a header with two Content-Lengths")
            }
            Self::LengthInvalid => f.write_str(
                "the command printed a Content-Length that is not a number up to 4294967295",
            ),
            Self::TextNotUtf8 => f.write_str("the command printed a text that is not UTF-8"),
            Self::UnexpectedEof => f.write_str("the command's output ended inside a message"),
        }
    }
}
