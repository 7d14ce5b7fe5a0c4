//! Turns the bytes of the stream into frame headers and chunks of payload: [`Decoder`].
//!
//! A read may end anywhere: within a header, within a payload, or after many frames. The decoder
//! neither copies nor keeps payload: it unmasks in place what the read returned and passes it on.
//! Between reads it remembers only what the next byte means.

use std::mem;

use super::close::Violation;
use super::frame::{HEADER_LEN_MAX, Header, Opcode, mask};

/// A part of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A frame begins. This is reported before its payload, so that the caller can refuse the frame
    /// at once.
    Header(Header),
    /// Payload of the frame whose header came last. A chunk is empty only if it is the single chunk
    /// of a frame without payload.
    Chunk {
        /// The opcode of the frame.
        opcode: Opcode,
        /// Whether this frame is the last of its message.
        fin: bool,
        /// The bytes, unmasked.
        bytes: &'a [u8],
        /// Whether the frame ends with this chunk.
        end: bool,
    },
}

/// Decodes one stream of frames.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
}

#[derive(Debug)]
enum State {
    /// The next byte belongs to a header. The first `spill_len` bytes of `spill` are the part of
    /// the header that earlier reads returned.
    Header {
        spill: [u8; HEADER_LEN_MAX],
        spill_len: u8,
    },
    /// The next byte is payload, and `remaining` bytes of it are still to come. The masking key is
    /// rotated so that its first byte is for the next byte.
    Payload {
        remaining: u64,
        key: [u8; 4],
        opcode: Opcode,
        fin: bool,
    },
}

impl Decoder {
    /// A decoder at the start of the stream.
    pub(crate) const fn new() -> Self {
        Decoder {
            state: State::BETWEEN_FRAMES,
        }
    }

    /// Bytes of payload that the current frame still lacks.
    #[inline]
    pub(super) fn payload_left(&self) -> u64 {
        match self.state {
            State::Header { .. } => 0,
            State::Payload { remaining, .. } => remaining,
        }
    }

    /// Takes the next piece from the front of `input`. `None` means that `input` is used up.
    ///
    /// # Errors
    ///
    /// The rule of RFC 6455 that a frame header breaks. The decoder then no longer knows where the
    /// next frame begins and must not be used again.
    #[inline]
    pub(crate) fn next<'a>(
        &mut self,
        input: &mut &'a mut [u8],
    ) -> Result<Option<Piece<'a>>, Violation> {
        match &mut self.state {
            State::Header { spill, spill_len } => {
                let Some(header) = parse_header(spill, spill_len, input)? else {
                    return Ok(None);
                };
                // Section 5.1: "The server MUST close the connection upon receiving a frame that is
                // not masked."
                let Some(key) = header.mask else {
                    return Err(Violation::Unmasked);
                };
                let Header {
                    fin,
                    opcode,
                    payload_len: remaining,
                    ..
                } = header;
                self.state = State::Payload {
                    remaining,
                    key,
                    opcode,
                    fin,
                };
                Ok(Some(Piece::Header(header)))
            }
            State::Payload {
                remaining,
                key,
                opcode,
                fin,
            } => {
                let (opcode, fin) = (*opcode, *fin);
                // The minimum fits in a `usize` because `input.len()` does.
                let len = (*remaining).min(input.len() as u64) as usize;
                let end = len as u64 == *remaining;
                if len == 0 && !end {
                    return Ok(None);
                }
                let bytes = take(input, len);
                mask(bytes, *key);
                if end {
                    self.state = State::BETWEEN_FRAMES;
                } else {
                    *remaining -= len as u64;
                    key.rotate_left(len % 4);
                }
                Ok(Some(Piece::Chunk {
                    opcode,
                    fin,
                    bytes,
                    end,
                }))
            }
        }
    }
}

impl State {
    const BETWEEN_FRAMES: State = State::Header {
        spill: [0; HEADER_LEN_MAX],
        spill_len: 0,
    };
}

/// Every connection has a decoder, also an idle one.
const _: () = assert!(size_of::<Decoder>() == 16);

/// Takes a header from the front of `input`, where it nearly always is complete.
#[inline]
fn parse_header(
    spill: &mut [u8; HEADER_LEN_MAX],
    spill_len: &mut u8,
    input: &mut &mut [u8],
) -> Result<Option<Header>, Violation> {
    if *spill_len == 0
        && let Some((header, len)) = Header::parse(input)?
    {
        take(input, len);
        return Ok(Some(header));
    }
    parse_spilled(spill, spill_len, input)
}

/// Completes the header in `spill` with bytes from `input`. If they are too few, all of them are
/// added to `spill`.
#[cold]
fn parse_spilled(
    spill: &mut [u8; HEADER_LEN_MAX],
    spill_len: &mut u8,
    input: &mut &mut [u8],
) -> Result<Option<Header>, Violation> {
    let spilled = usize::from(*spill_len);
    let added = (HEADER_LEN_MAX - spilled).min(input.len());
    spill[spilled..spilled + added].copy_from_slice(&input[..added]);
    match Header::parse(&spill[..spilled + added])? {
        // `spill` had less than a header before, so the header ends in `input`.
        Some((header, len)) => {
            take(input, len - spilled);
            Ok(Some(header))
        }
        // `HEADER_LEN_MAX` bytes are always a header, so `spill` is not full and `input` is used
        // up.
        None => {
            *spill_len += added as u8;
            take(input, added);
            Ok(None)
        }
    }
}

/// Takes the first `len` bytes of `input`, which has at least that many.
#[inline]
fn take<'a>(input: &mut &'a mut [u8], len: usize) -> &'a mut [u8] {
    let (taken, rest) = mem::take(input).split_at_mut(len);
    *input = rest;
    taken
}

#[cfg(test)]
mod tests;
