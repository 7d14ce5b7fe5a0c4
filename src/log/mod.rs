//! The log: one line per event, and no line makes the server wait.
//!
//! The server has one thread. If a write to a stopped terminal blocked, every client would wait. So
//! the log writes a line only when its [`Sink`] is ready. A line that the sink does not take is lost
//! and counted, also after an error; the next line that is written follows a report of the count.
//! Lines that a peer can cause at any rate are written once a second and otherwise counted
//! ([`repeats`]).
//!
//! ```text
//! 2026-11-23T02:39:00.123Z info  closed peer=127.0.0.1:5555 path="/ws" service=command
//! ```

mod repeats;
mod visible;

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write as _};
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use self::repeats::Repeats;
use self::visible::is_visible;
use crate::calendar::civil_date;
use crate::event_loop::instant::Instant;
use crate::limits::{LOG_ESCAPED_LEN_MAX, LOG_LINE_LEN_MAX};
use crate::peer::Peer;

/// How important a log line is. The most important level is the smallest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The server cannot do its work. No line has this level yet, so `--log-level=error` logs nothing.
    Error,
    /// Something is wrong, and the operator should fix it.
    Warn,
    /// One line for each connection when it ends, and for each handshake that asks for a wrong path.
    Info,
    /// Each step of a connection from its beginning on, and each mistake of a peer.
    Debug,
}

impl Level {
    /// The level's name, as `--log-level` takes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// The destination of the lines of a [`Log`].
pub trait Sink {
    /// Whether a write would be taken now, at least in part.
    fn is_ready(&self) -> bool;

    /// Writes without waiting, and returns the number of bytes that were taken.
    ///
    /// # Errors
    /// As `write(2)`.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
}

/// Writes lines of at least a certain importance to a [`Sink`], and never waits for it.
pub struct Log {
    level: Level,
    sink: Box<dyn Sink>,
    /// The number of lines that the sink did not take since the last report.
    lost: Cell<u64>,
    /// Whether the last write was incomplete, so that the next one must begin with a newline.
    is_incomplete: Cell<bool>,
    repeats: RefCell<Repeats>,
}

impl Log {
    /// A log of the lines of `level` and of more important ones.
    pub fn new(sink: Box<dyn Sink>, level: Level) -> Self {
        Self {
            level,
            sink,
            lost: Cell::new(0),
            is_incomplete: Cell::new(false),
            repeats: RefCell::default(),
        }
    }

    /// Whether lines of `level` are written. Ask before gathering details that cost something.
    pub(crate) fn enabled(&self, level: Level) -> bool {
        level <= self.level
    }

    /// Logs at [`Level::Warn`].
    pub(crate) fn warn(&self, text: fmt::Arguments) {
        self.write(Level::Warn, text);
    }

    /// Logs at [`Level::Info`].
    pub(crate) fn info(&self, text: fmt::Arguments) {
        self.write(Level::Info, text);
    }

    /// Logs at [`Level::Debug`].
    pub(crate) fn debug(&self, text: fmt::Arguments) {
        self.write(Level::Debug, text);
    }

    /// Logs `{event} peer={peer}{text}`, for a line that a peer can cause at any rate. Of equal lines
    /// about one peer, one a second is written and the others are counted ([`repeats`]).
    pub(crate) fn write_of_peer(
        &self,
        level: Level,
        event: &'static str,
        peer: &Peer,
        text: fmt::Arguments,
        now: Instant,
    ) {
        if !self.enabled(level) {
            return;
        }
        if self.report_due().is_some_and(|due| due <= now) {
            self.report_repeats();
        }
        let mut repeats = self.repeats.borrow_mut();
        if repeats.is_new(level, event, peer.client_ip(), text, now) {
            self.write(level, format_args!("{event} peer={peer}{text}"));
        }
    }

    /// When [`Log::report_repeats`] is to be called; `None`: no line was counted.
    pub(crate) fn report_due(&self) -> Option<Instant> {
        self.repeats.borrow().due()
    }

    /// Logs how many lines about peers were counted and not written.
    pub(crate) fn report_repeats(&self) {
        let mut repeats = self.repeats.borrow_mut();
        repeats.report(|level, text| self.write(level, text));
    }

    /// Logs one line: the time, `level` and `text`. Characters that are not visible are escaped, and
    /// the line is cut to [`LOG_LINE_LEN_MAX`] bytes. Nothing is formatted unless `level` is
    /// [enabled](Self::enabled).
    pub(crate) fn write(&self, level: Level, text: fmt::Arguments) {
        if !self.enabled(level) {
            return;
        }
        let mut line = Line::new();
        let now = now();
        self.put(now, 1, line.format(now, level, text));
    }

    /// Logs the lines that `produce` passes on, as [`Log::write`], but many in one write: a command
    /// may print a hundred thousand lines a second. A write that the sink does not take loses its
    /// lines.
    pub(crate) fn write_lines(
        &self,
        level: Level,
        produce: impl FnOnce(&mut dyn FnMut(fmt::Arguments)),
    ) {
        if !self.enabled(level) {
            return;
        }
        let now = now();
        let (mut bytes, mut lines) = (Vec::with_capacity(LOG_LINE_LEN_MAX), 0);
        produce(&mut |text| {
            let mut line = Line::new();
            let line = line.format(now, level, text);
            if bytes.len() + line.len() > LOG_LINE_LEN_MAX {
                self.put(now, lines, &bytes);
                bytes.clear();
                lines = 0;
            }
            bytes.extend_from_slice(line);
            lines += 1;
        });
        if lines > 0 {
            self.put(now, lines, &bytes);
        }
    }

    /// The number of lines that were lost since the last report.
    #[cfg(test)]
    pub(crate) fn lost(&self) -> u64 {
        self.lost.get()
    }

    /// Writes `lines` lines, after a report of those that were lost before. Counts them as lost if the
    /// sink does not take them, or has not taken the report.
    fn put(&self, now: Duration, lines: u64, bytes: &[u8]) {
        let lost = self.lost.get();
        if lost > 0 {
            let what = if lost == 1 { "line was" } else { "lines were" };
            let report = format_args!("{lost} log {what} lost: stderr did not take them");
            if self.put_bytes(Line::new().format(now, Level::Warn, report)) {
                self.lost.set(0);
            }
        }
        if self.lost.get() > 0 || !self.put_bytes(bytes) {
            self.lost.set(self.lost.get().saturating_add(lines));
        }
    }

    /// Writes bytes, on a new line. Returns whether the sink took all of them.
    fn put_bytes(&self, bytes: &[u8]) -> bool {
        if !self.sink.is_ready() {
            return false;
        }
        if self.is_incomplete.get() {
            match self.sink.write(b"\n") {
                Ok(1) => self.is_incomplete.set(false),
                _ => return false,
            }
        }
        match self.sink.write(bytes) {
            Ok(written) if written == bytes.len() => true,
            Ok(written) => {
                self.is_incomplete.set(written > 0);
                false
            }
            Err(_) => false,
        }
    }
}

/// Makes bytes from a peer harmless in a log line: escapes quotes, backslashes and all bytes that
/// are not printable ASCII, and replaces those after the first [`LOG_ESCAPED_LEN_MAX`] by `...`. The
/// caller writes the quotes around it.
pub(crate) struct Escaped<'a>(pub(crate) &'a [u8]);

impl Escaped<'_> {
    /// The beginning of `text` that is displayed in the same way as all of it, for a caller that keeps
    /// a text for its log line. It is a character longer than what is shown, so that `...` is, too.
    pub(crate) fn needed_of(text: &str) -> &str {
        let mut ends = LOG_ESCAPED_LEN_MAX + 1..text.len();
        let end = ends.find(|&end| text.is_char_boundary(end));
        &text[..end.unwrap_or(text.len())]
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(LOG_ESCAPED_LEN_MAX)];
        for &byte in shown {
            match byte {
                b'"' | b'\\' => {
                    f.write_char('\\')?;
                    f.write_char(char::from(byte))?;
                }
                b' '..=b'~' => f.write_char(char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        f.write_str(if shown.len() < self.0.len() {
            "..."
        } else {
            ""
        })
    }
}

/// The time since 1970. A clock that is set to an earlier time counts as 1970.
fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// A buffer on the stack in which a line is formatted. Text that does not fit is left out.
struct Line {
    bytes: [u8; LOG_LINE_LEN_MAX],
    len: usize,
    cut: bool,
}

impl Line {
    /// The end of a line that was cut. Every line leaves room for it.
    const CUT: &str = "... (cut)\n";

    fn new() -> Self {
        Self {
            bytes: [0; LOG_LINE_LEN_MAX],
            len: 0,
            cut: false,
        }
    }

    /// Formats a whole line and returns its bytes.
    fn format(&mut self, since_1970: Duration, level: Level, text: fmt::Arguments) -> &[u8] {
        self.push_head(since_1970, level);
        // All text is accepted. Only a `Display` of ours could fail; the line then ends there.
        let _ = self.write_fmt(text);
        self.end()
    }

    /// Appends `2026-11-23T02:39:00.123Z info  ` (RFC 3339, in UTC).
    fn push_head(&mut self, since_1970: Duration, level: Level) {
        let secs = since_1970.as_secs();
        let (year, month, day) = civil_date(secs / 86_400);
        let (hour, minute, second) = (secs / 3_600 % 24, secs / 60 % 60, secs % 60);
        let millis = since_1970.subsec_millis();
        let _ = write!(
            self,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z {:<5} ",
            level.name()
        );
    }

    /// Appends all of `text`, or nothing if it does not fit; after that nothing more.
    fn push(&mut self, text: &str) {
        let end = self.len + text.len();
        self.cut = self.cut || end > LOG_LINE_LEN_MAX - Self::CUT.len();
        if !self.cut {
            self.bytes[self.len..end].copy_from_slice(text.as_bytes());
            self.len = end;
        }
    }

    /// Ends the line and returns its bytes.
    fn end(&mut self) -> &[u8] {
        let end = if self.cut { Self::CUT } else { "\n" };
        let from = self.len;
        self.len += end.len();
        self.bytes[from..self.len].copy_from_slice(end.as_bytes());
        &self.bytes[..self.len]
    }
}

impl fmt::Write for Line {
    /// Appends `text` by whole characters, and escapes those that are not visible: `\x1b`,
    /// `\u{202e}`.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let code = u32::from(character);
            if is_visible(character) {
                self.push(character.encode_utf8(&mut [0; 4]));
            } else if code < 0x100 {
                let digit = |shift: u32| char::from_digit(code >> shift & 15, 16).unwrap_or('?');
                self.push("\\x");
                self.push(digit(4).encode_utf8(&mut [0; 4]));
                self.push(digit(0).encode_utf8(&mut [0; 4]));
            } else {
                for escaped in character.escape_unicode() {
                    self.push(escaped.encode_utf8(&mut [0; 4]));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
