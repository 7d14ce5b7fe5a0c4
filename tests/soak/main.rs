//! The soak test: real servers under a long random mixture of everything. Clients connect, talk,
//! flood, stall, send half a frame, reset, and leave with a Close or without. Their commands print,
//! sleep, crash, fork, ignore signals and close their pipes. After each round the server must be
//! back at the memory, descriptors and children that it had before, and no process that a command
//! started may be left.
//!
//! Each [`Scenario`] is a server with its options, and runs in a thread of its own. [`behaviours`]
//! has what clients do, [`programs`] what commands do, [`command_client`] a client that understands
//! the output of its command. A new behaviour is a function in [`behaviours`] and an entry in one
//! of the tables below.
//!
//! - `WSPIPE_SOAK_SECONDS=N`: how long it takes (default 2).
//! - `WSPIPE_SOAK_SEED=N`: repeats the schedule of an earlier run, which prints its seed: what each
//!   client does, and in which order. The timing is that of the machine.
//! - `WSPIPE_SOAK_ONLY=NAME`: runs one scenario.

#[path = "../support/mod.rs"]
mod support;

mod behaviours;
mod command_client;
mod programs;
mod scenario;

use std::thread;

use behaviours::{
    echoes, floods, reads_and_leaves, reads_to_the_exit, requests_pages, resumes,
    resumes_for_the_exit, sends_half_a_frame, sends_half_a_request, sends_orders, stalls,
    stays_silent, talks_to_all, violates_the_protocol,
};
use programs::Format;
use scenario::{Behaviour, Scenario, is_selected};

/// Clients with an echo or a command of their own.
const WITH_A_BACK_END: &[Behaviour] = &[("echoes", 8, echoes), ("stays silent", 1, stays_silent)];

/// Clients with a command of their own.
const WITH_A_COMMAND: &[Behaviour] = &[
    ("reads to the exit", 6, reads_to_the_exit),
    ("reads and leaves", 4, reads_and_leaves),
];

/// Clients with a resumable session.
const WITH_A_SESSION: &[Behaviour] = &[
    ("resumes", 12, resumes),
    ("resumes for the exit", 6, resumes_for_the_exit),
];

/// Clients that share a command.
const WITH_A_SHARED_COMMAND: &[Behaviour] = &[("talks to all", 12, talks_to_all)];

/// Clients of a shared command that disturb the others.
const WITH_ORDERS: &[Behaviour] = &[("sends orders", 4, sends_orders)];

/// Clients of every server.
const ALWAYS: &[Behaviour] = &[
    ("stalls", 2, stalls),
    ("floods", 2, floods),
    ("sends half a frame", 4, sends_half_a_frame),
    ("sends half a request", 2, sends_half_a_request),
    ("requests pages", 2, requests_pages),
    ("violates the protocol", 2, violates_the_protocol),
];

#[test]
fn a_mixture_of_all_behaviours_leaves_nothing_behind() {
    let commands = |name, format, options| {
        let scenario = Scenario::new(name, format, options);
        scenario
            .with(ALWAYS)
            .with(WITH_A_BACK_END)
            .with(WITH_A_COMMAND)
    };
    let shared = |name, options| {
        let scenario = Scenario::new(name, Format::Lines, options);
        scenario.with(ALWAYS).with(WITH_A_SHARED_COMMAND)
    };
    let scenarios = [
        commands("lines", Format::Lines, &[]),
        commands("length", Format::Length, &["--framing=length"]),
        commands("json", Format::Json, &["--stderr=json"]),
        commands("resume", Format::Lines, &["--resume=1s"]).with(WITH_A_SESSION),
        shared("shared", &["--shared", "--replay=20"]).with(WITH_ORDERS),
        shared("restart", &["--shared", "--restart"]),
        Scenario::new("echo", Format::Echo, &["--echo"])
            .with(ALWAYS)
            .with(WITH_A_BACK_END),
    ];
    thread::scope(|scope| {
        for scenario in scenarios.into_iter().filter(is_selected) {
            let thread = thread::Builder::new().name(scenario.name.into());
            let run = thread.spawn_scoped(scope, move || scenario.run());
            run.expect("spawn a thread");
        }
    });
}
