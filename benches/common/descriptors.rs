//! Descriptors, of which thousands of clients need many.

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// What the greediest server needs, with five for each of 10,000 clients that have a command.
const WANTED: rlim_t = 60_000;

/// Gives this process, and the servers that it starts, as many descriptors as are wanted or else as
/// many as it may have, and says how many that is. The hard limit is for root alone to raise.
pub(crate) fn raise_limit() -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 0;
    };
    let granted = [hard.max(WANTED), hard]
        .into_iter()
        .find(|&limit| setrlimit(Resource::RLIMIT_NOFILE, limit, limit).is_ok());
    usize::try_from(granted.unwrap_or(soft)).unwrap_or(usize::MAX)
}
