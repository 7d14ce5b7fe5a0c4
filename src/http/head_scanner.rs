//! Finding the end of a request head in bytes that arrive in any portions (RFC 9112 section 2).
//!
//! One pass over the bytes, a state per byte:
//!
//! ```text
//!   Start ──CR──→ StrayCr ──LF──→ StrayLine
//!     └──token──→ Line ←──token──────┘
//!                 │  ↑
//!                CR  └──any other───┐
//!                 ↓                 │
//!               LineCr ──LF──→ LineStart ──CR──→ FinalCr ──LF──→ End
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
    /// Within a line.
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
    /// more. The caller limits the length of a head (431).
    ///
    /// # Errors
    ///
    /// 400 for a first byte that cannot begin a method (a TLS client's, for example), for LF
    /// without CR, CR without LF (RFC 9112 section 2.2) or NUL, and for white space at the start
    /// of a line (section 5.2). One empty line before the request line is accepted (section 2.2),
    /// a second one is refused.
    pub fn find_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        let mut state = self.state;
        let mut scanned = self.scanned as usize;
        while state != State::End {
            let Some(&byte) = bytes.get(scanned) else {
                break;
            };
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
            (State::Line | State::LineStart, 0) => Err(Refusal::bad_request("a NUL in the head")),
            (State::Line, b'\r') => Ok(State::LineCr),
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
            _ => Ok(State::Line),
        }
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
            assert_eq!(scanner.find_end(&head[..cut]), Ok(None));
            // Replace the bytes before the cut by NULs, which a second look would refuse.
            let mut bytes = vec![0; cut];
            bytes.extend_from_slice(&head[cut..]);
            assert_eq!(
                scanner.find_end(&bytes),
                Ok(Some(head.len())),
                "cut at {cut}"
            );
        }
    }
}
