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
