//! Oracles: what must hold of the pure layers for any input. Each one splits its input into a few
//! knobs and a stream, feeds the stream in pieces to the code, and compares the result with a
//! reference that is too simple to be wrong in the same way. `tests/properties.rs` feeds random
//! inputs, `tests/fuzz` those that a fuzzer finds.

// Each fuzz target uses only one of them.
#![allow(dead_code, unreachable_pub)]

pub mod connection;
pub mod head;
pub mod lines;
pub mod request;
pub mod utf8;

/// Cuts a stream into pieces, as a knob says: single bytes, the whole, or mixed lengths.
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
        let (piece, remaining) = rest.split_at(len.min(rest.len()));
        pieces.push(piece);
        rest = remaining;
    }
    pieces
}
