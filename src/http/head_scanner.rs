//! Finding the end of a request head in bytes that arrive in any portions (RFC 9112 section 2).
//!
//! One pass over the bytes, a state per byte:
//!
//! ```text
//!   Start ──CR──→ StrayCr ──LF──→ StrayLine
//!     └──token──→ RequestLine ←─token┘
//!                 │
//!                CR   Line ←────any other──┐
//!                 ↓   ↓ CR                 │
//!                 LineCr ──LF──────→ LineStart ──CR──→ FinalCr ──LF──→ End
//! ```
//!
//! Within a line, every byte but CR, LF and NUL stays within the line. A byte without an arrow is a
//! 400: it makes the head ambiguous, and two servers in a row could disagree where the head ends
//! (request smuggling).

use super::refusal::{Refusal, quote};
use super::token::is_token_byte;

/// Finds the end of one request head. Each request needs a new scanner.
///
/// The scanner remembers its position, so each byte is examined once, wherever the head is cut. The
/// first byte that no head can contain is refused at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScanner {
    scanned: u32,
    state: State,
}

// Every connection has one.
const _: () = assert!(size_of::<HeadScanner>() <= 8);

/// The position in the head after the last byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// There is no byte yet.
    #[default]
    Start,
    /// After the CR of an empty line before the request line.
    StrayCr,
    /// After that empty line.
    StrayLine,
    /// Within the request line.
    RequestLine,
    /// Within a line of the fields.
    Line,
    /// After the CR at the end of a line.
    LineCr,
    /// After a line: a header field or the empty line follows.
    LineStart,
    /// After the CR of the empty line.
    FinalCr,
    /// The head is complete.
    End,
}

impl HeadScanner {
    /// Returns the length of the head, its empty line included, once the head is complete.
    ///
    /// `bytes` is everything since the request began: the bytes of the previous call and possibly
    /// more. A head may have `head_len_max` bytes, its empty line included, and its request line
    /// half of that without its line end; so 16 KiB leave room for the 8,000 bytes of a request line
    /// that RFC 9112 section 3 recommends, and for as much in fields.
    ///
    /// # Errors
    ///
    /// 414, or 501 if already the method is too long, for a longer request line (section 3); 431 for
    /// a longer head (RFC 6585 section 5). 400 for a first byte that cannot begin a method (a TLS
    /// client's, for example), for LF without CR, CR without LF (RFC 9112 section 2.2) or NUL, and
    /// for white space at the start of a line (section 5.2). One empty line before the request line is accepted (section 2.2),
    /// a second one is refused.
    pub fn find_end(
        &mut self,
        bytes: &[u8],
        head_len_max: usize,
    ) -> Result<Option<usize>, Refusal> {
        self.scan(bytes, head_len_max)
            .map_err(|refusal| refusal.answering(bytes))
    }

    fn scan(&mut self, bytes: &[u8], head_len_max: usize) -> Result<Option<usize>, Refusal> {
        let line_len_max = head_len_max / 2;
        let mut state = self.state;
        let mut scanned = self.scanned as usize;
        while state != State::End {
            let Some(&byte) = bytes.get(scanned) else {
                break;
            };
            if scanned >= line_len_max && state == State::RequestLine && byte != b'\r' {
                return Err(line_too_long(&bytes[..scanned], head_len_max));
            }
            if scanned >= head_len_max {
                return Err(Refusal::head_too_large(head_len_max));
            }
            state = state.after(byte)?;
            scanned += 1;
        }
        self.state = state;
        self.scanned = u32::try_from(scanned).unwrap_or(u32::MAX);
        Ok((state == State::End).then_some(scanned))
    }
}

impl State {
    fn after(self, byte: u8) -> Result<State, Refusal> {
        match (self, byte) {
            (State::Start, b'\r') => Ok(State::StrayCr),
            (State::StrayCr, b'\n') => Ok(State::StrayLine),
            (State::RequestLine | State::Line | State::LineStart, 0) => {
                Err(Refusal::bad_request("a NUL in the head"))
            }
            (State::RequestLine | State::Line, b'\r') => Ok(State::LineCr),
            (State::LineCr, b'\n') => Ok(State::LineStart),
            (State::LineStart, b'\r') => Ok(State::FinalCr),
            (State::FinalCr, b'\n') => Ok(State::End),
            (State::StrayCr | State::LineCr | State::FinalCr, _) => {
                Err(Refusal::bad_request("a CR without its LF in the head"))
            }
            (_, b'\n') => Err(Refusal::bad_request("a LF without its CR in the head")),
            (State::LineStart, b' ' | b'\t') => Err(Refusal::bad_request(
                "a line of the head begins with white space: folded lines are not accepted",
            )),
            (State::Start | State::StrayLine, _) if !is_token_byte(byte) => Err(not_http(byte)),
            (State::Start | State::StrayLine | State::RequestLine, _) => Ok(State::RequestLine),
            _ => Ok(State::Line),
        }
    }
}

/// The refusal of a request line that begins with `bytes` and does not end in time.
fn line_too_long(bytes: &[u8], head_len_max: usize) -> Refusal {
    let line = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    match line.contains(&b' ') {
        true => Refusal::target_too_long(head_len_max),
        false => Refusal::unknown_method(line).closing(),
    }
}

/// The refusal of a first byte that cannot begin a method.
fn not_http(byte: u8) -> Refusal {
    /// The content type of a TLS handshake record (RFC 8446 section 5.1).
    const TLS_HANDSHAKE: u8 = 22;
    Refusal::bad_request(match byte {
        TLS_HANDSHAKE => "this is not HTTP; wspipe speaks no TLS itself, \
                          use http:// or put a TLS proxy in front"
            .to_owned(),
        b'\r' => "more than one empty line before the request".to_owned(),
        _ => format!(
            "this is not HTTP: no request begins with {}",
            quote(&[byte])
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_examined_once() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for cut in 0..head.len() {
            let mut scanner = HeadScanner::default();
            assert_eq!(scanner.find_end(&head[..cut], 100), Ok(None));
            // Replace the bytes before the cut by NULs, which a second look would refuse.
            let mut bytes = vec![0; cut];
            bytes.extend_from_slice(&head[cut..]);
            assert_eq!(
                scanner.find_end(&bytes, 100),
                Ok(Some(head.len())),
                "cut at {cut}"
            );
        }
    }
    /// The outcome for `bytes` with at most 100 bytes of head, the same whole and byte by byte.
    fn outcome(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        let whole = HeadScanner::default().find_end(bytes, 100);
        let mut scanner = HeadScanner::default();
        let mut lens = 0..=bytes.len();
        let bytewise = lens.find_map(|len| scanner.find_end(&bytes[..len], 100).transpose());
        assert_eq!(bytewise.transpose(), whole);
        whole
    }

    #[test]
    fn half_of_a_head_may_be_its_request_line() {
        let line = |len: usize| format!("{:a<len$}", "GET /");
        let head = |line_len, fields: usize| {
            let fields = format!("A: {:b<1$}", "", fields);
            format!("{}\r\n{fields}\r\n\r\n", line(line_len)).into_bytes()
        };
        let longest = head(50, 41);
        assert_eq!(longest.len(), 100);
        assert_eq!(outcome(&longest), Ok(Some(100)));
        let short = head(10, 81);
        assert_eq!(
            outcome(&short),
            Ok(Some(100)),
            "the fields may have the rest"
        );
        let code = |bytes: &[u8]| outcome(bytes).map_err(|refusal| refusal.status.code());
        assert_eq!(code(&head(50, 42)), Err(431));
        assert_eq!(code(&head(51, 10)), Err(414));
        assert_eq!(
            code(line(51).as_bytes()),
            Err(414),
            "before its end has come"
        );
        assert_eq!(code(line(50).as_bytes()), Ok(None));
        let stray = [b"\r\n", &head(49, 10)[..]].concat();
        assert_eq!(code(&stray), Err(414), "an empty line counts");
        assert_eq!(code(&[b'M'; 51]), Err(501));
        assert_eq!(code(&[b"\r\n", &[b'M'; 49][..]].concat()), Err(501));
        assert_eq!(code(&[b'M'; 50]), Ok(None));
    }
}
