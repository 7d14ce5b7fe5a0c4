//! The limit of open files: thousands of clients need many descriptors.

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// Enough for five descriptors for each of 10,000 clients with a command, which is what the most
/// demanding server needs.
const WANTED: rlim_t = 60_000;

/// Raises the limit of this process, and of the servers that it starts, as far as needed or
/// allowed. Returns the limit. Only root may raise the hard limit.
pub(crate) fn raise_limit() -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 0;
    };
    let granted = [hard.max(WANTED), hard]
        .into_iter()
        .find(|&limit| setrlimit(Resource::RLIMIT_NOFILE, limit, limit).is_ok());
    usize::try_from(granted.unwrap_or(soft)).unwrap_or(usize::MAX)
}
