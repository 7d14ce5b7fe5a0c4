//! How many descriptors and processes the server may have, and whether that is enough.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::unistd::geteuid;

use crate::config::{CommandSettings, Stderr};
use crate::limits::{CLIENTS_EXPECTED, DESCRIPTORS_MIN, RESERVED_DESCRIPTORS, STACK_MIN};

/// RLIMIT_NOFILE: how many descriptors a process may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// The soft limit as it was when the server started. Commands get it back: some programs close
    /// every descriptor that they may have, or allocate for them, and `select(2)` fails above 1,023.
    pub(crate) original: rlim_t,
    /// The server's own soft limit now.
    pub(crate) soft: rlim_t,
    /// The hard limit, which stays as it was.
    pub(crate) hard: rlim_t,
}

impl DescriptorLimit {
    /// Raises this process's soft limit to the hard one. If that is refused, the limit stays.
    ///
    /// # Errors
    /// The limit cannot be read (`getrlimit(2)`).
    pub fn raise() -> Result<Self, Errno> {
        let (original, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
        let soft = if raised { hard } else { original };
        Ok(Self {
            original,
            soft,
            hard,
        })
    }
}

/// Checks the limits under which the server could not even start, or would crash later.
///
/// # Errors
/// One line that names the limit and how to raise it.
pub(crate) fn check_minimum(listeners: usize, descriptors: DescriptorLimit) -> Result<(), String> {
    // A limit that cannot be read counts as none.
    let stack = getrlimit(Resource::RLIMIT_STACK).map_or(rlim_t::MAX, |(soft, _)| soft);
    minimum_of_stack(stack)?;
    minimum_of_descriptors(listeners, descriptors.soft)
}

fn minimum_of_stack(bytes: rlim_t) -> Result<(), String> {
    let min = rlim_t::from(STACK_MIN);
    if bytes >= min {
        return Ok(());
    }
    let (kib, min) = (bytes / 1024, min / 1024);
    Err(format!(
        "a stack of {kib} KiB is too small: raise its limit to {min} KiB or more \
         (ulimit -s {min}, or LimitSTACK={min}K of systemd)"
    ))
}

fn minimum_of_descriptors(listeners: usize, descriptors: rlim_t) -> Result<(), String> {
    let min = rlim_t::from(DESCRIPTORS_MIN) + listeners as rlim_t;
    if descriptors >= min {
        return Ok(());
    }
    Err(format!(
        "{descriptors} descriptors are too few: raise the hard limit to {min} or more \
         (ulimit -Hn {min}, or LimitNOFILE={min} of systemd)"
    ))
}

/// How many processes the server's user may have (RLIMIT_NPROC). Root is not limited; a limit that
/// cannot be read counts as none.
pub(crate) fn process_limit() -> rlim_t {
    match getrlimit(Resource::RLIMIT_NPROC) {
        Ok((soft, _)) if !geteuid().is_root() => soft,
        _ => rlim_t::MAX,
    }
}

/// One line for each limit that allows fewer than [`CLIENTS_EXPECTED`] clients at once: the number
/// that it allows, and how to raise it. `commands`: their settings, if any are served.
pub(crate) fn warnings(
    listeners: usize,
    commands: Option<&CommandSettings>,
    descriptors: rlim_t,
    processes: rlim_t,
) -> Vec<String> {
    let mut lines = Vec::new();
    let expected = rlim_t::from(CLIENTS_EXPECTED);
    let reserved = rlim_t::from(RESERVED_DESCRIPTORS) + listeners as rlim_t;
    let clients = descriptors.saturating_sub(reserved) / descriptors_per_client(commands);
    if clients < expected {
        lines.push(format!(
            "{descriptors} descriptors are enough for {clients} clients at once: \
             raise the hard limit (ulimit -Hn, or LimitNOFILE= of systemd)"
        ));
    }
    // This is only an upper bound, because the user's other processes count too.
    if commands.is_some() && processes < expected {
        lines.push(format!(
            "{processes} processes are enough for {processes} commands at once, at most: \
             raise the limit (ulimit -u, or LimitNPROC= of systemd)"
        ));
    }
    lines
}

/// A client has a socket; its command has pipes for stdin and stdout, perhaps one for stderr.
fn descriptors_per_client(commands: Option<&CommandSettings>) -> rlim_t {
    match commands.map(|settings| settings.stderr) {
        None => 1,
        Some(Stderr::Merge | Stderr::Drop) => 3,
        Some(Stderr::Log | Stderr::Json) => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CommandSettings;

    #[test]
    fn the_soft_limit_is_raised_and_the_original_kept() {
        let before = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let limit = DescriptorLimit::raise().unwrap();
        assert_eq!((limit.original, limit.hard), before);
        let after = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!((limit.soft, limit.hard), after);
        assert!(limit.soft >= limit.original);
    }

    #[test]
    fn ample_limits_need_no_warning() {
        for stderr in [Stderr::Merge, Stderr::Log] {
            let settings = CommandSettings {
                stderr,
                ..CommandSettings::default()
            };
            let none = Vec::<String>::new();
            assert_eq!(warnings(1, Some(&settings), 4_096, rlim_t::MAX), none);
            assert_eq!(warnings(1, Some(&settings), rlim_t::MAX, 1_024), none);
        }
    }

    #[test]
    fn a_low_limit_is_named_with_what_it_allows() {
        let mut settings = CommandSettings::default();
        let lines = warnings(1, Some(&settings), 117, 100);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("117 descriptors are enough for 28 clients"));
        assert!(lines[1].contains("100 commands"));

        settings.stderr = Stderr::Log;
        assert!(warnings(1, Some(&settings), 117, 100)[0].contains("21 clients"));

        let lines = warnings(1, None, 117, 100);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("84 clients"));
    }

    #[test]
    fn the_smallest_limits_do_not_overflow() {
        let settings = CommandSettings::default();
        assert!(warnings(1, Some(&settings), 0, 0)[0].contains("0 clients"));
    }

    #[test]
    fn a_limit_below_the_minimum_names_what_raises_it() {
        assert_eq!(minimum_of_stack(64 * 1024), Ok(()));
        assert_eq!(minimum_of_stack(rlim_t::MAX), Ok(()));
        let line = minimum_of_stack(16 * 1024).unwrap_err();
        assert!(line.contains("16 KiB") && line.contains("ulimit -s 64"));

        assert_eq!(minimum_of_descriptors(2, 23), Ok(()));
        let line = minimum_of_descriptors(2, 10).unwrap_err();
        assert!(line.contains("10 descriptors") && line.contains("ulimit -Hn 23"));
    }
}
