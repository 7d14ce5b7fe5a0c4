//! The whole server in a simulated world: its own dispatch, lives and timers, in virtual time,
//! over sockets that take and bring any number of bytes, pipes of any size, and commands that
//! print, stall, exit and ignore signals. Each seed is another schedule; a seed that fails is
//! printed.
//!
//! `WSPIPE_MODEL_SEEDS=FIRST..LAST` runs other seeds than the default, on all processors, and
//! `WSPIPE_MODEL_SECONDS=N` begins no further one after so long. `cargo test --profile proof --test
//! model` is fast enough for a million. `WSPIPE_MODEL_TRACE=1` says what happens.
//!
//! - [`world`], with [`system`] and [`wire`]: what is outside the server, and how it sees it.
//! - [`command`] and [`client`]: what is at the other ends of its pipes and sockets, and knows what
//!   has to come; [`text`]: what those say to each other, and what becomes of it on its way.
//! - [`schedule`], with [`acts`]: what a seed makes of all that, step by step.
//! - [`run`]: how a turn of the server goes, and how a run comes to its end.
//! - [`checks`]: what has to be so after each turn, at rest, and at the end; [`patience`]: how long
//!   the server may bear with a connection.
//! - [`stories`]: single stories, by name.

// Nothing in a test is public; in here it is so to whom it may concern.
#![allow(unreachable_pub)]

mod acts;
mod checks;
mod client;
mod command;
mod patience;
mod random;
mod run;
mod schedule;
mod stories;
mod system;
mod text;
mod wire;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use self::run::Run;

#[test]
fn random_schedules_keep_every_promise() {
    let seeds = std::env::var("WSPIPE_MODEL_SEEDS").unwrap_or_else(|_| "0..200".to_owned());
    let (first, last) = seeds
        .split_once("..")
        .expect("WSPIPE_MODEL_SEEDS=FIRST..LAST");
    let (first, last) = (first.parse().unwrap(), last.parse().unwrap());
    let seconds = std::env::var("WSPIPE_MODEL_SECONDS").map(|it| it.parse().expect("a number"));
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let next = AtomicU64::new(first);
    let work = || {
        while until.as_ref().map_or(true, |&until| Instant::now() < until) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= last {
                return;
            }
            if let Err(panic) = std::panic::catch_unwind(|| Run::of_seed(seed)) {
                eprintln!("failed: WSPIPE_MODEL_SEEDS={seed}..{}", seed + 1);
                std::panic::resume_unwind(panic);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, Into::into) {
            scope.spawn(work);
        }
    });
    println!("{} schedules", next.into_inner().min(last) - first);
}
