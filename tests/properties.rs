//! Checks the pure layers with the oracles of `tests/oracles`. The inputs are the seeds of the
//! fuzzers, unchanged and randomly damaged. `tests/fuzz` runs the same oracles with the inputs of a
//! fuzzer.
//!
//! `WSPIPE_SEED` sets the random seed (by default from the clock), `WSPIPE_PROPERTY_INPUTS` the
//! number of inputs for each oracle.

mod oracles;
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use support::Random;

/// Checks every seed of `target`, then inputs made from them.
fn check(target: &str, oracle: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds");
    let mut seeds = Vec::new();
    for entry in folder.join(target).read_dir().expect("the seeds") {
        let path = entry.expect("a seed").path();
        println!("{}", path.display());
        let seed = std::fs::read(path).expect("a seed");
        oracle(&seed);
        seeds.push(seed);
    }
    // The order of a directory differs between machines, but a run must be repeatable.
    seeds.sort();
    let inputs = std::env::var("WSPIPE_PROPERTY_INPUTS").map_or(20_000, |inputs| {
        inputs.parse().expect("WSPIPE_PROPERTY_INPUTS")
    });
    let mut random = Random::new();
    for number in 0..inputs {
        let input = damaged(&seeds, &mut random);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| oracle(&input))) {
            println!("input {number}: b\"{}\"", input.escape_ascii());
            resume_unwind(panic);
        }
    }
    println!("{inputs} inputs");
}

/// One or two seeds, spliced, with a few bytes changed.
fn damaged(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = seeds[random.below(seeds.len())].clone();
    if random.one_in(2) {
        // The first bytes of a seed are parameters. Skip those of the second seed, so that its
        // stream continues that of the first.
        let second = &seeds[random.below(seeds.len())];
        let from = if random.one_in(2) {
            3
        } else {
            random.below(second.len())
        };
        let keep = if random.one_in(2) {
            input.len()
        } else {
            random.below(input.len())
        };
        input.truncate(keep);
        input.extend_from_slice(&second[from.min(second.len())..]);
    }
    for _ in 0..random.below(4) {
        if input.is_empty() {
            break;
        }
        let at = random.below(input.len());
        match random.below(5) {
            0 => input[at] = (random.next() >> 32) as u8,
            1 => input[at] ^= 1 << random.below(8),
            2 => input.insert(at, b"\r\n :,\0\x80\xff\xed\xf0aG"[random.below(12)]),
            3 => input[0] = (random.next() >> 32) as u8,
            _ => drop(input.remove(at)),
        }
    }
    input
}

#[test]
fn frames_are_decoded_like_the_reference_decoder() {
    check("connection", oracles::connection::check);
}

#[test]
fn accepted_heads_are_valid_and_accepted_handshakes_are_complete() {
    check("head", oracles::head::check);
}

#[test]
fn lines_joined_again_are_the_input() {
    check("lines", oracles::lines::check);
}

#[test]
fn utf_8_in_pieces_is_judged_like_the_whole() {
    check("utf8", oracles::utf8::check);
}
