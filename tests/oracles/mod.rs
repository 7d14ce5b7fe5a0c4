//! What must hold of the pure layers for any bytes at all. Each oracle takes an input apart into
//! a few knobs and a stream, feeds the stream in pieces, and compares what comes of it with a
//! reference that is too simple to be wrong in the same way. `tests/properties.rs` feeds them
//! random inputs, `tests/fuzz` those that a fuzzer finds.

// Each fuzz target uses one of them.
#![allow(dead_code, unreachable_pub)]

pub mod connection;
pub mod head;
pub mod lines;
pub mod request;
pub mod utf8;

/// The pieces in which a stream is fed, as a knob says: byte by byte, whole, or of mixed lengths.
pub fn pieces(stream: &[u8], knob: u8) -> Vec<&[u8]> {
    let mut state = u32::from(knob);
    let mut rest = stream;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let len = match knob {
            0 => 1,
            1 => rest.len(),
            2..=127 => 1 + (state >> 24) as usize % 4,
            _ => 1 + (state >> 16) as usize % 300,
        };
        let (piece, behind) = rest.split_at(len.min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}
