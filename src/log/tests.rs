use std::cell::RefCell;
use std::rc::Rc;

use super::*;

/// A sink in memory.
struct Memory {
    bytes: RefCell<Vec<u8>>,
    /// How many bytes of each write are taken; 0: it is not ready.
    taken_max: Cell<usize>,
}

impl Sink for Rc<Memory> {
    fn is_ready(&self) -> bool {
        self.taken_max.get() > 0
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.taken_max.get());
        self.bytes.borrow_mut().extend(&bytes[..taken]);
        Ok(taken)
    }
}

impl Memory {
    fn text(&self) -> String {
        String::from_utf8(self.bytes.borrow().clone()).unwrap()
    }

    /// The lines without their times.
    fn logged(&self) -> Vec<String> {
        let text = self.text();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| line[25..].to_owned()).collect()
    }
}

fn log_to_memory(level: Level) -> (Rc<Memory>, Log) {
    let sink = Rc::new(Memory {
        bytes: RefCell::default(),
        taken_max: Cell::new(usize::MAX),
    });
    let log = Log::new(Box::new(Rc::clone(&sink)), level);
    (sink, log)
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
fn lines_below_the_level_are_not_formatted() {
    struct Fatal;
    impl fmt::Display for Fatal {
        fn fmt(&self, _: &mut fmt::Formatter) -> fmt::Result {
            panic!("formatted")
        }
    }
    let (sink, log) = log_to_memory(Level::Warn);
    assert!(log.enabled(Level::Error) && log.enabled(Level::Warn));
    assert!(!log.enabled(Level::Info) && !log.enabled(Level::Debug));
    log.info(format_args!("{Fatal}"));
    log.debug(format_args!("{Fatal}"));
    log.write(Level::Error, format_args!("one"));
    log.warn(format_args!("two"));
    assert_eq!(sink.logged(), ["error one", "warn  two"]);
}

#[test]
fn a_line_stays_one_line() {
    let (sink, log) = log_to_memory(Level::Debug);
    log.debug(format_args!("a\nb\x1b[31m\u{9b}c é"));
    assert_eq!(sink.logged(), ["debug a\\x0ab\\x1b[31m\\x9bc é"]);
}

#[test]
fn characters_that_reorder_or_hide_text_are_escaped() {
    let (sink, log) = log_to_memory(Level::Debug);
    log.debug(format_args!("a\u{202e}b\u{200b}c\u{a0}\u{e0041}é"));
    let line = "debug a\\u{202e}b\\u{200b}c\\xa0\\u{e0041}é";
    assert_eq!(sink.logged(), [line]);
}

#[test]
fn equal_lines_of_one_peer_are_reported_by_their_number() {
    let (sink, log) = log_to_memory(Level::Warn);
    let refused = |port: u16, secs: u64| {
        let peer = Peer::from(std::net::SocketAddr::from(([192, 0, 2, 1], port)));
        let now = Instant::EPOCH + Duration::from_secs(secs);
        log.write_of_peer(Level::Warn, "refused", &peer, format_args!(": no"), now);
        log.write_of_peer(Level::Debug, "refused", &peer, format_args!(": no"), now);
    };
    (1..=100).for_each(|port| refused(port, 7));
    assert_eq!(
        log.report_due(),
        Some(Instant::EPOCH + Duration::from_secs(8))
    );
    // The event loop may be late.
    refused(101, 9);
    assert_eq!(log.report_due(), None, "a level that is off is not counted");
    let lines = [
        "warn  refused peer=192.0.2.1:1: no",
        "warn  99 more: refused peer=192.0.2.1: no",
        "warn  refused peer=192.0.2.1:101: no",
    ];
    assert_eq!(sink.logged(), lines);
}

#[test]
fn a_long_line_is_cut_between_characters() {
    let (sink, log) = log_to_memory(Level::Info);
    log.info(format_args!("{}", "é".repeat(LOG_LINE_LEN_MAX)));
    let text = sink.text();
    assert!(text.ends_with("é... (cut)\n"));
    assert!((LOG_LINE_LEN_MAX - 1..=LOG_LINE_LEN_MAX).contains(&text.len()));
}

#[test]
fn lines_that_the_sink_does_not_take_are_counted() {
    let (sink, log) = log_to_memory(Level::Info);
    sink.taken_max.set(0);
    log.info(format_args!("one"));
    log.info(format_args!("two"));
    assert_eq!(log.lost(), 2);
    sink.taken_max.set(usize::MAX);
    log.info(format_args!("three"));
    let report = "warn  2 log lines were lost: stderr did not take them";
    assert_eq!(sink.logged(), [report, "info  three"]);
    assert_eq!(log.lost(), 0);
}

#[test]
fn a_line_after_an_incomplete_one_begins_with_a_newline() {
    let (sink, log) = log_to_memory(Level::Info);
    sink.taken_max.set(33);
    log.info(format_args!("incomplete"));
    sink.taken_max.set(usize::MAX);
    log.info(format_args!("after"));
    let report = "warn  1 log line was lost: stderr did not take them";
    assert_eq!(sink.logged(), ["info  in", report, "info  after"]);
}

#[test]
fn bytes_from_a_peer_are_escaped() {
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
fn bytes_from_a_peer_are_cut() {
    assert_eq!(Escaped(&[b'a'; 256]).to_string(), "a".repeat(256));
    assert_eq!(Escaped(&[b'a'; 257]).to_string(), "a".repeat(256) + "...");
    assert_eq!(
        Escaped(&[0; 9_999]).to_string(),
        "\\x00".repeat(256) + "..."
    );
}

#[test]
fn a_kept_beginning_of_a_text_is_displayed_like_all_of_it() {
    for (unit, pad) in [
        ("a", ""),
        ("\"", ""),
        ("é", "b"),
        ("é", ""),
        ("𝄞", "abc"),
        ("𝄞", ""),
    ] {
        for units in 0..300 {
            let text = pad.to_owned() + &unit.repeat(units);
            let kept = Escaped::needed_of(&text);
            assert!(kept.len() <= LOG_ESCAPED_LEN_MAX + 4, "{}", kept.len());
            let shown = |text: &str| Escaped(text.as_bytes()).to_string();
            assert_eq!(shown(kept), shown(&text));
        }
    }
}
