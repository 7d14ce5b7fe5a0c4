//! The settings that a splitter depends on.

/// The values of `--framing`. The table in the [module's documentation](super) explains them.
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
    /// Header fields with the length precede each text message.
    Headers,
}

impl Framing {
    /// Every framing, in the order of the documentation.
    pub const ALL: [Self; 5] = [
        Self::Lines,
        Self::Null,
        Self::Raw,
        Self::Length,
        Self::Headers,
    ];

    /// Whether records that end with a delimiter are messages.
    pub fn has_records(self) -> bool {
        matches!(self, Self::Lines | Self::Null)
    }

    /// Whether a header before each message gives its length, so that messages are exact.
    pub fn has_headers(self) -> bool {
        matches!(self, Self::Length | Self::Headers)
    }

    /// The name that `--framing` takes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::Raw => "raw",
            Self::Null => "null",
            Self::Length => "length",
            Self::Headers => "headers",
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

/// The options that a [`Splitter`](super::Splitter) depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Where messages begin and end.
    pub(crate) framing: Framing,
    /// What happens to the `\r` at the end of a line.
    pub(crate) crlf: Crlf,
    /// The longest line or record, in bytes without its terminator. `None`: unlimited.
    pub(crate) line_len_max: Option<usize>,
    /// Whether each record becomes a JSON object that names its stream.
    pub(crate) tagged: bool,
}

/// An output of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The standard output.
    Stdout,
    /// The standard error, if it has a pipe of its own.
    Stderr,
}
