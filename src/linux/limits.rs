//! How many descriptors and processes the system grants, and whether that is enough.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::unistd::geteuid;

use crate::config::{Config, Stderr};
use crate::limits::{CLIENTS_EXPECTED, RESERVED_DESCRIPTORS};

/// RLIMIT_NOFILE: how many descriptors a process may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// The soft limit as it was when the server started. A command gets it back: some programs
    /// close, or make room for, every descriptor that they might have, and `select(2)` takes none
    /// above 1,023.
    pub original: rlim_t,
    /// The server's own soft limit now.
    pub soft: rlim_t,
    /// The hard limit, which stays as it was.
    pub hard: rlim_t,
}

impl DescriptorLimit {
    /// Raises this process's soft limit to its hard one; where that is refused, it stays as it is.
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

/// How many processes the server's user may have (RLIMIT_NPROC); root is not limited.
///
/// # Errors
/// The limit cannot be read (`getrlimit(2)`).
pub fn process_limit() -> Result<rlim_t, Errno> {
    if geteuid().is_root() {
        return Ok(rlim_t::MAX);
    }
    getrlimit(Resource::RLIMIT_NPROC).map(|(soft, _)| soft)
}

/// One line for each limit under which fewer than [`CLIENTS_EXPECTED`] clients can be served at
/// once: what it allows and how to raise it.
pub fn warnings(config: &Config, descriptors: rlim_t, processes: rlim_t) -> Vec<String> {
    let mut lines = Vec::new();
    let expected = rlim_t::from(CLIENTS_EXPECTED);
    let reserved = rlim_t::from(RESERVED_DESCRIPTORS) + config.listen.addresses.len() as rlim_t;
    let clients = descriptors.saturating_sub(reserved) / descriptors_per_client(config);
    if clients < expected {
        lines.push(format!(
            "{descriptors} descriptors are enough for {clients} clients at once: \
             raise the hard limit (ulimit -Hn, or LimitNOFILE= of systemd)"
        ));
    }
    // The user's other processes count too, so this many is the most, not a promise.
    if config.has_commands() && processes < expected {
        lines.push(format!(
            "{processes} processes are enough for {processes} commands at once, at most: \
             raise the limit (ulimit -u, or LimitNPROC= of systemd)"
        ));
    }
    lines
}

/// A client is a socket, and its command a pipe to stdin and one from stdout, perhaps one more.
fn descriptors_per_client(config: &Config) -> rlim_t {
    match (config.has_commands(), config.command.stderr) {
        (false, _) => 1,
        (true, Stderr::Log | Stderr::Json) => 4,
        (true, Stderr::Merge | Stderr::Drop) => 3,
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
            let config = Config {
                command: CommandSettings {
                    stderr,
                    ..CommandSettings::default()
                },
                ..Config::default()
            };
            let none = Vec::<String>::new();
            assert_eq!(warnings(&config, 4_096, rlim_t::MAX), none);
            assert_eq!(warnings(&config, rlim_t::MAX, 1_024), none);
        }
    }

    #[test]
    fn scant_limits_are_named_with_what_they_allow() {
        let mut config = Config::default();
        let lines = warnings(&config, 117, 100);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("117 descriptors are enough for 28 clients"));
        assert!(lines[1].contains("100 commands"));

        config.command.stderr = Stderr::Log;
        assert!(warnings(&config, 117, 100)[0].contains("21 clients"));

        config.mode = crate::config::Mode::Echo;
        let lines = warnings(&config, 117, 100);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("84 clients"));
    }

    #[test]
    fn the_smallest_limits_do_not_overflow() {
        assert!(warnings(&Config::default(), 0, 0)[0].contains("0 clients"));
    }
}
