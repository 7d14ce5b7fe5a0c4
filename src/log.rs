//! The log: lines to stderr that never make the server wait.
//!
//! A loop with one thread stands still when a `write(2)` does: a terminal stopped by Ctrl-S, or a
//! pager that nobody scrolls, would hold up every client. So a line is written only when `poll(2)`
//! says that stderr takes it; a line that it does not take is counted, and the count is reported
//! with the next line that goes out. Errors of the write are counted likewise and end nothing.
//!
//! ```text
//! 2026-11-23T02:39:00.123Z info  closed peer=127.0.0.1:5555 path="/ws" service=command
//! ```

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::isatty;

use crate::limits::{LOG_ESCAPED_LEN_MAX, LOG_LINE_LEN_MAX};

/// How important a log line is; the most important is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The server cannot do what it is there for.
    Error,
    /// Something is wrong that a person should put right.
    Warn,
    /// One line for each connection, at its end.
    Info,
    /// Each step of a connection, and what a peer did wrong.
    Debug,
}

impl Level {
    /// The level's name, as `--log-level` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// Writes lines of at least a certain importance to one descriptor, and never waits for it.
pub struct Log {
    level: Level,
    sink: Box<dyn AsFd>,
    /// Lines that the descriptor did not take since one was last reported.
    lost: Cell<u64>,
    /// Whether the last write was cut short, so that the next line must begin a new one.
    torn: Cell<bool>,
}

impl Log {
    /// A log of the lines of `level` and of more important ones, on stderr.
    pub fn new(level: Level) -> Self {
        match reopen_without_waiting(&io::stderr()) {
            Some(file) => Self::to(file, level),
            None => Self::to(io::stderr(), level),
        }
    }

    /// The same on another descriptor. When that one is in blocking mode, only what `poll(2)` says
    /// keeps a write from waiting: true of pipes, sockets and files, but not quite of terminals.
    pub fn to(sink: impl AsFd + 'static, level: Level) -> Self {
        Self {
            level,
            sink: Box::new(sink),
            lost: Cell::new(0),
            torn: Cell::new(false),
        }
    }

    /// Whether lines of `level` are written: a caller asks before it gathers what is costly.
    pub fn enabled(&self, level: Level) -> bool {
        level <= self.level
    }

    /// Logs at [`Level::Error`].
    pub fn error(&self, text: fmt::Arguments) {
        self.write(Level::Error, text);
    }

    /// Logs at [`Level::Warn`].
    pub fn warn(&self, text: fmt::Arguments) {
        self.write(Level::Warn, text);
    }

    /// Logs at [`Level::Info`].
    pub fn info(&self, text: fmt::Arguments) {
        self.write(Level::Info, text);
    }

    /// Logs at [`Level::Debug`].
    pub fn debug(&self, text: fmt::Arguments) {
        self.write(Level::Debug, text);
    }

    /// Logs one line: the time, `level`, and `text`, with control characters escaped and cut to
    /// [`LOG_LINE_LEN_MAX`] bytes. Nothing is formatted when `level` is not [enabled](Self::enabled).
    pub fn write(&self, level: Level, text: fmt::Arguments) {
        if !self.enabled(level) {
            return;
        }
        let now = now();
        let lost = self.lost.get();
        if lost > 0 {
            let lines = if lost == 1 { "line was" } else { "lines were" };
            let report = format_args!("{lost} log {lines} lost: stderr did not take them");
            if self.put(now, Level::Warn, report) {
                self.lost.set(0);
            }
        }
        // A report that did not get out means that this line would not either.
        if self.lost.get() > 0 || !self.put(now, level, text) {
            self.lost.set(self.lost.get().saturating_add(1));
        }
    }

    /// Formats and writes a line; `false`: the descriptor did not take (all of) it.
    fn put(&self, now: Duration, level: Level, text: fmt::Arguments) -> bool {
        let sink = self.sink.as_fd();
        let mut ready = [PollFd::new(sink, PollFlags::POLLOUT)];
        if !matches!(poll(&mut ready, PollTimeout::ZERO), Ok(1..)) {
            return false;
        }
        let mut line = Line::new();
        if self.torn.get() {
            line.push("\n");
        }
        line.push_head(now, level);
        // `Line` takes whatever it is given; only a `Display` of ours could fail, and the line then
        // ends where it did.
        let _ = line.write_fmt(text);
        let bytes = line.end();
        match nix::unistd::write(sink, bytes) {
            Ok(written) if written == bytes.len() => {
                self.torn.set(false);
                true
            }
            Ok(written) => {
                self.torn.set(self.torn.get() || written > 0);
                false
            }
            Err(_) => false,
        }
    }
}

/// What a peer supplied, made harmless for a log line: quotes, backslashes, and all bytes that are
/// not printable ASCII are escaped, and after [`LOG_ESCAPED_LEN_MAX`] bytes stands `...`. The
/// quotes around it are the caller's.
pub struct Escaped<'a>(pub &'a [u8]);

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

/// Opens the terminal or pipe behind `stderr` once more, in non-blocking mode; `None` for other
/// kinds, and where that is not allowed (then what `poll(2)` says must do).
///
/// `poll(2)` calls a terminal writable as soon as it has room for one byte, and a longer line then
/// waits; others may fill a pipe between the question and the write. Setting O_NONBLOCK on stderr
/// itself would set it for everyone who shares it, the user's shell included; an open file
/// description of our own keeps it to us.
fn reopen_without_waiting(stderr: &impl AsFd) -> Option<File> {
    let path = format!("/proc/self/fd/{}", stderr.as_fd().as_raw_fd());
    let pipe = std::fs::metadata(&path).is_ok_and(|file| file.file_type().is_fifo());
    if !pipe && !isatty(stderr).unwrap_or(false) {
        return None;
    }
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .ok()
}

/// The time since 1970; a clock that is set before it counts as 1970.
fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// A line in the making, on the stack: what does not fit is left out.
struct Line {
    bytes: [u8; LOG_LINE_LEN_MAX],
    len: usize,
    cut: bool,
}

impl Line {
    /// What ends a line that was cut, newline included. Every line leaves room for it.
    const CUT: &str = "... (cut)\n";

    fn new() -> Self {
        Self {
            bytes: [0; LOG_LINE_LEN_MAX],
            len: 0,
            cut: false,
        }
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

    /// Appends all of `text` or nothing; after the first that does not fit, nothing more.
    fn push(&mut self, text: &str) {
        let end = self.len + text.len();
        self.cut = self.cut || end > LOG_LINE_LEN_MAX - Self::CUT.len();
        if !self.cut {
            self.bytes[self.len..end].copy_from_slice(text.as_bytes());
            self.len = end;
        }
    }

    /// Ends the line and gives its bytes.
    fn end(&mut self) -> &[u8] {
        let end = if self.cut { Self::CUT } else { "\n" };
        let from = self.len;
        self.len += end.len();
        self.bytes[from..self.len].copy_from_slice(end.as_bytes());
        &self.bytes[..self.len]
    }
}

impl fmt::Write for Line {
    /// Appends `text` by characters, none of them in part. A control character would forge a line
    /// of the log or command the terminal that shows it, so each is escaped.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if character.is_control() {
                // All of Unicode's control characters are below U+00A0: two digits.
                let code = u32::from(character);
                let digit = |shift: u32| char::from_digit(code >> shift & 15, 16).unwrap_or('?');
                self.push("\\x");
                self.push(digit(4).encode_utf8(&mut [0; 4]));
                self.push(digit(0).encode_utf8(&mut [0; 4]));
            } else {
                self.push(character.encode_utf8(&mut [0; 4]));
            }
        }
        Ok(())
    }
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01.
///
/// The year is counted from 1 March, so that the leap day is its last; 400 such years always have
/// 146,097 days, and 1970-01-01 is day 719,468 of the era that began on 1 March of the year 0.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    // The leap days before it: one in 4 years (1,461 days), none in 100 (36,524), one in 400. A leap
    // day is itself the last of its 4 or 400 years, hence the divisors that are one less.
    let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // From March on, five months have 153 days: 31, 30, 31, 30, 31.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read, pipe};

    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use nix::pty::{PtyMaster, posix_openpt, ptsname_r, unlockpt};

    use super::*;

    /// A log into a pipe, and the pipe's other end.
    fn log_to_pipe(level: Level) -> (PipeReader, Log) {
        let (reader, writer) = pipe().unwrap();
        (reader, Log::to(writer, level))
    }

    /// All that was logged, without the time at the head of each line.
    fn logged(mut reader: PipeReader, log: Log) -> Vec<String> {
        drop(log);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| line[25..].to_owned()).collect()
    }

    fn head(secs: u64, millis: u64) -> String {
        let mut line = Line::new();
        line.push_head(Duration::from_millis(secs * 1_000 + millis), Level::Info);
        String::from_utf8(line.end().to_vec()).unwrap()
    }

    #[test]
    fn times_are_rfc_3339() {
        let cases = [
            (0, 0, "1970-01-01T00:00:00.000Z"),
            (86_399, 999, "1970-01-01T23:59:59.999Z"),
            (68_169_600, 0, "1972-02-29T00:00:00.000Z"),
            (946_684_799, 7, "1999-12-31T23:59:59.007Z"),
            (951_782_400, 0, "2000-02-29T00:00:00.000Z"),
            (951_868_800, 0, "2000-03-01T00:00:00.000Z"),
            (1_234_567_890, 0, "2009-02-13T23:31:30.000Z"),
            (2_147_483_648, 0, "2038-01-19T03:14:08.000Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799, 0, "9999-12-31T23:59:59.000Z"),
        ];
        for (secs, millis, time) in cases {
            assert_eq!(head(secs, millis), format!("{time} info  \n"));
        }
    }

    #[test]
    fn the_days_of_a_thousand_years_follow_one_another() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..366_000 {
            assert_eq!(civil_date(days), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let month_len = match month {
                4 | 6 | 9 | 11 => 30,
                2 => 28 + u64::from(leap),
                _ => 31,
            };
            day += 1;
            if day > month_len {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn lines_below_the_level_are_not_formatted() {
        struct Fatal;
        impl fmt::Display for Fatal {
            fn fmt(&self, _: &mut fmt::Formatter) -> fmt::Result {
                panic!("formatted")
            }
        }
        let (reader, log) = log_to_pipe(Level::Warn);
        assert!(log.enabled(Level::Error) && log.enabled(Level::Warn));
        assert!(!log.enabled(Level::Info) && !log.enabled(Level::Debug));
        log.info(format_args!("{Fatal}"));
        log.debug(format_args!("{Fatal}"));
        log.error(format_args!("one"));
        log.warn(format_args!("two"));
        assert_eq!(logged(reader, log), ["error one", "warn  two"]);
    }

    #[test]
    fn a_line_stays_one_line() {
        let (reader, log) = log_to_pipe(Level::Debug);
        log.debug(format_args!("a\nb\x1b[31m\u{9b}c é"));
        assert_eq!(logged(reader, log), ["debug a\\x0ab\\x1b[31m\\x9bc é"]);
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let (mut reader, log) = log_to_pipe(Level::Info);
        log.info(format_args!("{}", "é".repeat(LOG_LINE_LEN_MAX)));
        drop(log);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert!(text.ends_with("é... (cut)\n"));
        assert!((LOG_LINE_LEN_MAX - 1..=LOG_LINE_LEN_MAX).contains(&text.len()));
    }

    #[test]
    fn a_full_pipe_loses_lines_and_the_next_line_says_how_many() {
        let (mut reader, log) = log_to_pipe(Level::Info);
        let mut sent = 0;
        while log.lost.get() < 3 {
            log.info(format_args!("line {sent}"));
            sent += 1;
        }
        // A pipe takes more as soon as a page of it is free.
        reader.read_exact(&mut [0; 4096]).unwrap();
        log.info(format_args!("after"));
        let mut lines = logged_from_the_middle(reader, log);
        assert_eq!(lines.pop().as_deref(), Some("info  after"));
        let report = "warn  3 log lines were lost: stderr did not take them";
        assert_eq!(lines.pop().as_deref(), Some(report));
        assert_eq!(lines.pop(), Some(format!("info  line {}", sent - 4)));
    }

    /// Like [`logged`], of a pipe whose first line may have lost its beginning.
    fn logged_from_the_middle(mut reader: PipeReader, log: Log) -> Vec<String> {
        drop(log);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text.lines()
            .skip(1)
            .map(|line| line[25..].to_owned())
            .collect()
    }

    #[test]
    fn a_lost_reader_ends_nothing() {
        let (reader, log) = log_to_pipe(Level::Info);
        drop(reader);
        log.info(format_args!("nobody reads this"));
        log.info(format_args!("nor this"));
        assert_eq!(log.lost.get(), 2);
    }

    #[test]
    fn a_full_disk_ends_nothing() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let log = Log::to(full, Level::Info);
        log.info(format_args!("no space"));
        assert_eq!(log.lost.get(), 1);
    }

    #[test]
    fn a_terminal_that_nobody_reads_does_not_stop_the_log() {
        let (_unread, terminal) = terminal();
        let ours = reopen_without_waiting(&terminal).expect("a terminal is opened once more");
        let log = Log::to(ours, Level::Info);
        for _ in 0..2_000 {
            log.info(format_args!("{}", "x".repeat(100)));
        }
        assert!(log.lost.get() > 0);
        assert!(!nonblocking(&terminal));
    }

    #[test]
    fn a_line_after_a_torn_one_begins_a_line() {
        let (terminal, ours) = terminal();
        let ours = reopen_without_waiting(&ours).unwrap();
        let log = Log::to(ours, Level::Info);
        while log.lost.get() < 2 {
            log.info(format_args!("{}", "x".repeat(100)));
        }
        let mut text = vec![0; 64 * 1024];
        let mut read = || nix::unistd::read(&terminal, &mut text).map(|len| text[..len].to_vec());
        while log.lost.get() > 0 {
            read().unwrap();
            log.info(format_args!("after"));
        }
        let mut rest = read().unwrap();
        while !rest.ends_with(b"after\r\n") {
            rest.extend(read().unwrap());
        }
        let rest = String::from_utf8_lossy(&rest);
        let report = rest.lines().rev().nth(1).unwrap();
        assert!(report.ends_with("stderr did not take them"), "{report}");
        assert_eq!(report.find("Z warn"), Some(23), "{report}");
    }

    #[test]
    fn a_pipe_is_opened_once_more_but_not_a_file() {
        let (_reader, writer) = pipe().unwrap();
        let ours = reopen_without_waiting(&writer).expect("a pipe is opened once more");
        assert!(nonblocking(&ours) && !nonblocking(&writer));
        let file = File::open("/proc/self/exe").unwrap();
        assert!(reopen_without_waiting(&file).is_none());
    }

    /// A terminal: the side that a terminal emulator holds, and the side that programs write to.
    fn terminal() -> (PtyMaster, File) {
        let main = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY).unwrap();
        unlockpt(&main).unwrap();
        let path = ptsname_r(&main).unwrap();
        let flags = libc::O_NOCTTY;
        let side = OpenOptions::new()
            .write(true)
            .custom_flags(flags)
            .open(path)
            .unwrap();
        (main, side)
    }

    fn nonblocking(fd: impl AsFd) -> bool {
        let flags = fcntl(fd, FcntlArg::F_GETFL).unwrap();
        flags & libc::O_NONBLOCK != 0
    }

    #[test]
    fn what_a_peer_supplied_is_escaped() {
        let cases: [(&[u8], &str); 6] = [
            (b"", ""),
            (b"/ws?a=b", "/ws?a=b"),
            (b"\"\\", "\\\"\\\\"),
            (b"\r\n\x1b\0", "\\x0d\\x0a\\x1b\\x00"),
            ("é".as_bytes(), "\\xc3\\xa9"),
            (b"\x7f~ ", "\\x7f~ "),
        ];
        for (bytes, text) in cases {
            assert_eq!(Escaped(bytes).to_string(), text);
        }
    }

    #[test]
    fn what_a_peer_supplied_is_cut() {
        assert_eq!(Escaped(&[b'a'; 256]).to_string(), "a".repeat(256));
        assert_eq!(Escaped(&[b'a'; 257]).to_string(), "a".repeat(256) + "...");
        assert_eq!(
            Escaped(&[0; 9_999]).to_string(),
            "\\x00".repeat(256) + "..."
        );
    }
}
