//! The rules of RFC 6455, applied to a whole stream.

use super::*;

/// The outcome that the RFC requires for `stream`. It sees the whole stream at once, so it keeps no
/// state between reads.
pub(super) fn reference(stream: &[u8], max: u64, state: CloseState) -> Outcome {
    let mut outcome = Outcome::default();
    let mut message: Option<(Kind, Vec<u8>)> = None;
    let mut at = 0;
    while outcome.close.is_none() && outcome.violation.is_none() {
        let (header, len) = match Header::parse(&stream[at..]) {
            Ok(Some(found)) => found,
            Ok(None) => break,
            Err(violation) => {
                outcome.violation = Some(violation);
                break;
            }
        };
        let Some(key) = header.mask else {
            outcome.violation = Some(Violation::Unmasked);
            break;
        };
        at += len;
        let len = header.payload_len.min((stream.len() - at) as u64) as usize;
        let whole = len as u64 == header.payload_len;
        let payload = stream[at..at + len].iter().enumerate();
        let payload: Vec<u8> = payload.map(|(i, byte)| byte ^ key[i % 4]).collect();
        at += len;
        outcome.violation = if header.opcode.is_control() {
            if !whole {
                break;
            }
            reference_control(header.opcode, &payload, state, &mut outcome).err()
        } else {
            reference_data(
                &header,
                &payload,
                whole,
                max,
                state,
                &mut message,
                &mut outcome,
            )
            .err()
        };
        if !whole {
            break;
        }
    }
    if let (None, Some((_, bytes)), CloseState::Open) = (outcome.violation, message, state) {
        outcome.under_way = bytes;
    }
    outcome
}

fn reference_control(
    opcode: Opcode,
    payload: &[u8],
    state: CloseState,
    outcome: &mut Outcome,
) -> Result<(), Violation> {
    if opcode == Opcode::Ping {
        outcome.replies.extend(plain(true, Opcode::Pong, payload));
    } else if opcode == Opcode::Pong {
        outcome.pongs += 1;
    } else if payload.len() == 1 {
        return Err(Violation::CloseTooShort);
    } else {
        let code = payload
            .get(..2)
            .map(|code| u16::from(code[0]) * 256 + u16::from(code[1]));
        if let Some(number) = code.filter(|&number| CloseCode::from_wire(number).is_none()) {
            return Err(Violation::CloseCodeIllegal(number));
        }
        if payload.len() > 2 && str::from_utf8(&payload[2..]).is_err() {
            return Err(Violation::CloseReasonNotUtf8);
        }
        outcome.close = Some(code.and_then(CloseCode::from_wire));
        if state == CloseState::Open {
            outcome
                .replies
                .extend(plain(true, Opcode::Close, &payload[..payload.len().min(2)]));
        }
    }
    Ok(())
}

fn reference_data(
    header: &Header,
    payload: &[u8],
    whole: bool,
    max: u64,
    state: CloseState,
    message: &mut Option<(Kind, Vec<u8>)>,
    outcome: &mut Outcome,
) -> Result<(), Violation> {
    let (kind, mut bytes) = match (header.opcode, message.take()) {
        (Opcode::Continuation, None) => return Err(Violation::UnexpectedContinuation),
        (Opcode::Continuation, Some(begun)) => begun,
        (_, Some(_)) => return Err(Violation::MessageInterrupted),
        (Opcode::Text, None) => (Kind::Text, Vec::new()),
        (_, None) => (Kind::Binary, Vec::new()),
    };
    if state == CloseState::Open
        && u128::from(header.payload_len) + bytes.len() as u128 > u128::from(max)
    {
        return Err(Violation::MessageTooBig { len_max: max });
    }
    bytes.extend_from_slice(payload);
    let last = whole && header.fin;
    if state == CloseState::Open && kind == Kind::Text {
        match str::from_utf8(&bytes) {
            Err(error) if last || error.error_len().is_some() => {
                return Err(Violation::TextNotUtf8);
            }
            _ => {}
        }
    }
    if !last {
        *message = Some((kind, bytes));
    } else if state == CloseState::Open {
        outcome.messages.push((kind, bytes));
    }
    Ok(())
}
