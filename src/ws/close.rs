//! Close codes, and the violations that make the server close a connection.

use std::error::Error;
use std::fmt;

/// The longest reason in a close frame, in bytes: a control frame has at most 125 bytes of payload
/// (RFC 6455 section 5.5), and the code takes two.
pub(crate) const REASON_LEN_MAX: usize = 123;

/// Why a connection is closed: the number in a close frame (RFC 6455 section 7.4).
///
/// Every value may be sent, except [`CloseCode::NO_STATUS`], which is for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: normal closure.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// 1001: the server shuts down.
    pub(crate) const GOING_AWAY: CloseCode = CloseCode(1001);
    /// 1002: the peer violated the protocol.
    pub(crate) const PROTOCOL_ERROR: CloseCode = CloseCode(1002);
    /// 1005: the peer's close frame had no code. Never sent: section 7.4.1 reserves it for this
    /// use.
    pub(crate) const NO_STATUS: CloseCode = CloseCode(1005);
    /// 1007: text is not UTF-8.
    pub(crate) const INVALID_PAYLOAD: CloseCode = CloseCode(1007);
    /// 1008: a message violates a policy of this end, and no other code fits.
    pub(crate) const POLICY_VIOLATION: CloseCode = CloseCode(1008);
    /// 1009: a message is too big.
    pub(crate) const MESSAGE_TOO_BIG: CloseCode = CloseCode(1009);
    /// 1011: an unexpected condition keeps the server from serving the client.
    pub(crate) const INTERNAL_ERROR: CloseCode = CloseCode(1011);

    /// 1013: the server is overloaded, and the client may try again later (IANA registry).
    pub(crate) const TRY_AGAIN_LATER: CloseCode = CloseCode(1013);

    /// 4409, a code of wspipe: the client's session was resumed over another connection.
    pub(crate) const RESUMED_ELSEWHERE: CloseCode = CloseCode(4409);
    /// 4410, a code of wspipe: the session cannot be resumed, because it has expired or because
    /// messages that the client missed are no longer in the replay buffer.
    pub(crate) const OUTPUT_LOST: CloseCode = CloseCode(4410);

    /// The code with this number, or `None` if a peer must not send it.
    ///
    /// Legal numbers are 1000 to 1003 and 1007 to 1014, which are registered, and 3000 to 4999,
    /// which are for libraries and applications (RFC 6455 section 7.4.2; the IANA registry for 1012
    /// to 1014). 1004 has no meaning yet, and 1005, 1006 and 1015 must not be sent (section 7.4.1).
    pub(crate) const fn from_wire(code: u16) -> Option<CloseCode> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(CloseCode(code)),
            _ => None,
        }
    }

    /// The code for a command that exited: 1000 for status 0, otherwise 4000 plus the status. As in
    /// wait(2), only the low eight bits of `status` count, so codes range from 4001 to 4255.
    pub(crate) const fn exit(status: i32) -> CloseCode {
        match (status & 0xff) as u16 {
            0 => CloseCode::NORMAL,
            status => CloseCode(4000 + status),
        }
    }

    /// The code for a command that was killed by a signal: 4256 plus the number of the signal. As
    /// in wait(2), only the low seven bits of `signal` count, so codes range up to 4383.
    pub(crate) const fn signal(signal: i32) -> CloseCode {
        CloseCode(4256 + (signal & 0x7f) as u16)
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A rule of RFC 6455 that the peer broke. The connection must be failed (section 7.1.7); the close
/// frame has the [`close_code`](Violation::close_code), and the text of `Display` as its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// RSV1, RSV2 or RSV3 is set, and no extension was negotiated (section 5.2).
    ReservedBits,
    /// The opcode is reserved for later versions: 3 to 7 and 11 to 15 (section 5.2).
    ReservedOpcode(u8),
    /// A frame from a client is not masked (section 5.1).
    Unmasked,
    /// A payload length is written in more bytes than it needs (section 5.2).
    LengthNotMinimal,
    /// A 64-bit payload length has its most significant bit set (section 5.2).
    LengthOutOfRange,
    /// A control frame does not have FIN set: it must not be fragmented (section 5.5).
    ControlFragmented,
    /// A control frame has more than 125 bytes of payload (section 5.5).
    ControlTooLong,
    /// A continuation frame comes without an incomplete message before it (section 5.4).
    UnexpectedContinuation,
    /// A text or binary frame comes before the previous message is complete (section 5.4).
    MessageInterrupted,
    /// A close frame has one byte of payload, and a code takes two (section 5.5.1).
    CloseTooShort,
    /// A close code must not be sent or has no meaning (section 7.4).
    CloseCodeIllegal(u16),
    /// The reason in a close frame is not UTF-8 (sections 5.5.1 and 8.1).
    CloseReasonNotUtf8,
    /// A text message is not UTF-8 (sections 5.6 and 8.1).
    TextNotUtf8,
    /// A message is above the size limit of this server (sections 7.4.1 and 10.4).
    MessageTooBig {
        /// That limit, in bytes (`--max-message`).
        len_max: u64,
    },
}

impl Violation {
    /// The close code for this violation (section 7.4.1).
    pub const fn close_code(self) -> CloseCode {
        match self {
            Violation::CloseReasonNotUtf8 | Violation::TextNotUtf8 => CloseCode::INVALID_PAYLOAD,
            Violation::MessageTooBig { .. } => CloseCode::MESSAGE_TOO_BIG,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

/// A short sentence for the close frame and the log, of at most [`REASON_LEN_MAX`] bytes.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::ReservedBits => f.write_str("a reserved bit is set without an extension"),
            Violation::ReservedOpcode(opcode) => write!(f, "opcode {opcode} is reserved"),
            Violation::Unmasked => f.write_str("a frame from a client is not masked"),
            Violation::LengthNotMinimal => {
                f.write_str("a length is not written in its shortest form")
            }
            Violation::LengthOutOfRange => f.write_str("a length has its highest bit set"),
            Violation::ControlFragmented => f.write_str("a control frame is fragmented"),
            Violation::ControlTooLong => f.write_str("a control frame is longer than 125 bytes"),
            Violation::UnexpectedContinuation => {
                f.write_str("a continuation frame has no message to continue")
            }
            Violation::MessageInterrupted => {
                f.write_str("a message begins before the last one has ended")
            }
            Violation::CloseTooShort => f.write_str("a close frame has half a close code"),
            Violation::CloseCodeIllegal(code) => write!(f, "close code {code} must not be sent"),
            Violation::CloseReasonNotUtf8 => f.write_str("a close reason is not UTF-8"),
            Violation::TextNotUtf8 => f.write_str("a text message is not UTF-8"),
            Violation::MessageTooBig { len_max } => {
                write!(
                    f,
                    "a message is longer than {len_max} bytes (--max-message)"
                )
            }
        }
    }
}

impl Error for Violation {}

/// Truncates `reason` to what fits in a close frame: at most [`REASON_LEN_MAX`] bytes. The cut is
/// between two characters, because a reason must be UTF-8 (RFC 6455 section 5.5.1).
pub(crate) fn truncate_reason(reason: &str) -> &str {
    if reason.len() <= REASON_LEN_MAX {
        return reason;
    }
    let end = (0..=REASON_LEN_MAX)
        .rev()
        .find(|&end| reason.is_char_boundary(end));
    &reason[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Violation; 14] = [
        Violation::ReservedBits,
        Violation::ReservedOpcode(15),
        Violation::Unmasked,
        Violation::LengthNotMinimal,
        Violation::LengthOutOfRange,
        Violation::ControlFragmented,
        Violation::ControlTooLong,
        Violation::UnexpectedContinuation,
        Violation::MessageInterrupted,
        Violation::CloseTooShort,
        Violation::CloseCodeIllegal(65535),
        Violation::CloseReasonNotUtf8,
        Violation::TextNotUtf8,
        Violation::MessageTooBig { len_max: u64::MAX },
    ];

    #[test]
    fn the_legal_codes_are_those_of_section_7_4() {
        let mut legal = Vec::new();
        let mut code = 0;
        while code <= u16::MAX as u32 {
            let start = code;
            while code <= u16::MAX as u32 && CloseCode::from_wire(code as u16).is_some() {
                assert_eq!(
                    CloseCode::from_wire(code as u16).map(CloseCode::get),
                    Some(code as u16)
                );
                code += 1;
            }
            if start < code {
                legal.push(start..=code - 1);
            }
            code += 1;
        }
        assert_eq!(legal, [1000..=1003, 1007..=1014, 3000..=4999]);
    }

    #[test]
    fn each_exit_status_and_signal_of_a_command_has_a_legal_code() {
        for (status, code) in [
            (0, 1000),
            (1, 4001),
            (3, 4003),
            (255, 4255),
            (256, 1000),
            (-1, 4255),
        ] {
            assert_eq!(CloseCode::exit(status).get(), code, "exit {status}");
        }
        for (signal, code) in [(1, 4257), (9, 4265), (15, 4271), (64, 4320), (127, 4383)] {
            assert_eq!(CloseCode::signal(signal).get(), code, "signal {signal}");
        }
        for number in 0..256 {
            let (exit, signal) = (CloseCode::exit(number), CloseCode::signal(number));
            assert_eq!(CloseCode::from_wire(exit.get()), Some(exit));
            assert_eq!(CloseCode::from_wire(signal.get()), Some(signal));
        }
    }

    #[test]
    fn every_violation_has_a_legal_code_and_a_reason_that_fits() {
        for violation in ALL {
            let code = violation.close_code();
            assert_eq!(
                CloseCode::from_wire(code.get()),
                Some(code),
                "{violation:?}"
            );
            let reason = violation.to_string();
            assert!(
                !reason.is_empty() && truncate_reason(&reason) == reason,
                "{violation:?}"
            );
        }
    }

    #[test]
    fn violations_have_the_codes_of_section_7_4_1() {
        for violation in ALL {
            let expected = match violation {
                Violation::TextNotUtf8 | Violation::CloseReasonNotUtf8 => 1007,
                Violation::MessageTooBig { .. } => 1009,
                _ => 1002,
            };
            assert_eq!(violation.close_code().get(), expected, "{violation:?}");
        }
    }

    #[test]
    fn reasons_are_truncated_between_characters() {
        assert_eq!(truncate_reason(""), "");
        assert_eq!(truncate_reason("exit 3"), "exit 3");
        for character in ["x", "é", "€", "😀"] {
            for lead in 0..4 {
                for count in [1, 30, 31, 40, 41, 61, 62, 123, 124, 300] {
                    let reason = "-".repeat(lead) + &character.repeat(count);
                    let cut = truncate_reason(&reason);
                    assert!(reason.starts_with(cut) && cut.len() <= REASON_LEN_MAX);
                    let room = REASON_LEN_MAX - cut.len();
                    assert!(
                        cut == reason || room < character.len(),
                        "{reason:?} cut to {}",
                        cut.len()
                    );
                }
            }
        }
    }
}
