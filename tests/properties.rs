//! The oracles of the pure layers, fed with the fuzzers' seeds as they are and damaged at random.
//! `tests/fuzz` feeds them with what a fuzzer finds.
//!
//! `WSPIPE_SEED` runs another seed than the clock's, `WSPIPE_PROPERTY_INPUTS` more inputs.

mod oracles;
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use support::Random;

/// Checks every seed of `target`, and as many inputs made of them.
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
    // The order of a directory is not that of another machine, and a run is to be repeated.
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
        // The knobs of the second are left out, so that its stream follows the first one's.
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
fn frames_are_taken_as_the_reference_takes_them() {
    check("connection", oracles::connection::check);
}

#[test]
fn heads_that_pass_are_valid_and_handshakes_that_pass_are_whole() {
    check("head", oracles::head::check);
}

#[test]
fn lines_joined_are_the_bytes_again() {
    check("lines", oracles::lines::check);
}

#[test]
fn text_in_pieces_is_utf8_as_it_is_whole() {
    check("utf8", oracles::utf8::check);
}
