//! A long mixture of everything at once: clients that connect, talk, flood, stall, send half
//! frames, reset, leave in order or without a word, over commands that print, sleep, crash, fork,
//! ignore signals and close their ends. After each round the server must hold what it held before:
//! memory, descriptors and children; and nothing that its commands started may be left.
//!
//! `WSPIPE_SOAK_SECONDS` says how long it takes. `WSPIPE_SOAK_SEED` has it go by the schedule of an
//! earlier run: which client does what, and in which order; what that meets at the same moment no
//! seed can say. `WSPIPE_SOAK_ONLY` names one of the scenarios.

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod programs;
mod scenario;
mod session;

use std::thread;

use clients::{
    asks_for_pages, breaks_a_rule, comes_back, comes_back_for_the_end, echoes, floods,
    gives_orders, sees_it_end, sends_half_a_frame, sends_half_a_request, speaks, stalls,
    stays_silent, watches,
};
use programs::Speech;
use scenario::{Behaviour, Scenario, is_wanted};

/// What clients do whose command, or echo, is their own.
const ALONE: &[Behaviour] = &[("echoes", 8, echoes), ("stays silent", 1, stays_silent)];

/// What those do who have a command.
const WITH_A_COMMAND: &[Behaviour] = &[("sees it end", 6, sees_it_end), ("watches", 4, watches)];

/// What those do whose command waits for them.
const WITH_A_SESSION: &[Behaviour] = &[
    ("comes back", 12, comes_back),
    ("comes back for the end", 6, comes_back_for_the_end),
];

/// What those do who share a command.
const TOGETHER: &[Behaviour] = &[("speaks", 12, speaks)];

/// What those do who are there also to disturb the others.
const WITH_ORDERS: &[Behaviour] = &[("gives orders", 4, gives_orders)];

/// What happens everywhere.
const ALWAYS: &[Behaviour] = &[
    ("stalls", 2, stalls),
    ("floods", 2, floods),
    ("sends half a frame", 4, sends_half_a_frame),
    ("sends half a request", 2, sends_half_a_request),
    ("asks for pages", 2, asks_for_pages),
    ("breaks a rule", 2, breaks_a_rule),
];

#[test]
fn a_mixture_of_everything_leaves_nothing_behind() {
    let commands = |name, speech, options| {
        let scenario = Scenario::new(name, speech, options);
        scenario.with(ALWAYS).with(ALONE).with(WITH_A_COMMAND)
    };
    let together = |name, options| {
        let scenario = Scenario::new(name, Speech::Lines, options);
        scenario.with(ALWAYS).with(TOGETHER)
    };
    let scenarios = [
        commands("lines", Speech::Lines, &[]),
        commands("length", Speech::Length, &["--framing=length"]),
        commands("json", Speech::Json, &["--stderr=json"]),
        commands("linger", Speech::Lines, &["--resume=1s"]).with(WITH_A_SESSION),
        together("shared", &["--shared", "--replay=20"]).with(WITH_ORDERS),
        together("restart", &["--shared", "--restart"]),
        Scenario::new("echo", Speech::Echo, &["--echo"])
            .with(ALWAYS)
            .with(ALONE),
    ];
    thread::scope(|scope| {
        for scenario in scenarios.into_iter().filter(is_wanted) {
            let thread = thread::Builder::new().name(scenario.name.into());
            let run = thread.spawn_scoped(scope, move || scenario.run());
            run.expect("a thread");
        }
    });
}
