//! A model test of the whole server: the real server code runs in a simulated world, in virtual
//! time.
//!
//! The simulation covers everything below [`System`](wspipe::system::System): sockets that take and
//! deliver any number of bytes, pipes of any capacity, commands that print, stall, exit and ignore
//! signals, the kernel's readiness edges, and the clock. The server's dispatch, state machines and
//! timers are the real ones. A turn is one pass of the server's loop over a batch of edges, as with
//! epoll.
//!
//! ```text
//!   clients                      the server                      commands
//!  client.rs  <--- wire.rs --->  Server<Sim>  <--- pipes --->   command.rs
//!                                system.rs: what it calls
//!            world.rs: all of that, and the edges for the next turn
//! ```
//!
//! In a random schedule, a seed decides the configuration and then each step: a client connects,
//! sends, reads, leaves or reconnects; a command works, prints or exits; a system call fails; time
//! passes; the server takes a turn. At the end all clients leave or the server is asked to stop,
//! and the run goes on until nothing is left to do.
//!
//! The checks ([`checks`]) must hold in every schedule:
//!
//! - after each turn: no source got more than its budget, no buffer exceeds its bound, every
//!   time-out and every termination came in time ([`timeouts`]);
//! - whenever the server waits: it has done all that it could, and a timer is armed if it must
//!   wake;
//! - at the end: each client received every message, each command every input, exit statuses are
//!   right, and no process, descriptor or entry is left.
//!
//! Clients and commands send numbered texts ([`text`]), so that any byte that is lost, repeated or
//! out of place shows.
//!
//! # Reproducing a failure
//!
//! A failed run prints its seed. The same seed always gives the same run:
//!
//! ```sh
//! WSPIPE_MODEL_SEEDS=1234..1235 WSPIPE_MODEL_TRACE=1 cargo test --test model random
//! ```
//!
//! - `WSPIPE_MODEL_SEEDS=FIRST..LAST`: the seeds to run, on all processors (default `0..200`; LAST
//!   is excluded).
//! - `WSPIPE_MODEL_SECONDS=N`: start no further seed after N seconds.
//! - `WSPIPE_MODEL_TRACE=1`: print the configuration, each turn, each edge and each event.
//!
//! `cargo test --profile proof --test model` is fast enough for a million seeds.
//!
//! # Adding a behaviour
//!
//! - A new option: let [`schedule`] choose it (`Shape::of`), then extend the checks that it
//!   changes.
//! - A new thing that clients do: [`client_actions`], as a step of [`schedule`]; what they expect
//!   of the server: [`client`].
//! - A new thing that commands do: `World::act` in [`command`].
//! - A new system call: [`system`], with its state in [`world`] or [`wire`].
//! - A new time-out: [`timeouts`].
//! - A case that random schedules rarely reach: a test of its own in [`scenarios`].
//!
//! [`run`] holds one turn and the end of a run.

// The modules share their items with each other; a test crate exports none.
#![allow(unreachable_pub)]

mod checks;
mod client;
mod client_actions;
mod command;
mod random;
mod run;
mod scenarios;
mod schedule;
mod system;
mod text;
mod timeouts;
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
