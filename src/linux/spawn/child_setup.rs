//! The settings that the child applies to its process between clone and exec: [`ChildSetup`].
//!
//! A command must not notice that a server started it. It leads a process session and a process
//! group of its own, without a controlling terminal. No signal is blocked or ignored, and it has
//! the descriptor limit that the server was started with. The settings of the command (`--cwd`,
//! `--umask`, `--nice`, `--rlimit`, `--no-new-privs`) are applied here too.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, chdir, getpid, getppid, setsid};

use crate::config::{self, CommandSettings};
use crate::linux::limits::DescriptorLimit;

/// The facts about the server that the setup needs: the same for every command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parent {
    pid: Pid,
    /// The highest number of a signal.
    signal_max: libc::c_int,
    descriptors: DescriptorLimit,
}

impl Parent {
    /// This process. A command gets the original limit of `descriptors` back.
    pub(super) fn this_process(descriptors: DescriptorLimit) -> Self {
        Self {
            pid: getpid(),
            signal_max: libc::SIGRTMAX(),
            descriptors,
        }
    }
}

/// The setup of one child before exec. The server prepares it, because the child must not allocate.
#[derive(Debug)]
pub(super) struct ChildSetup<'a> {
    parent: Parent,
    settings: &'a CommandSettings,
    cwd: Option<CString>,
}

impl<'a> ChildSetup<'a> {
    /// For a command with these settings.
    ///
    /// # Errors
    /// The path of its directory contains a NUL.
    pub(super) fn new(parent: Parent, settings: &'a CommandSettings) -> io::Result<Self> {
        let cwd = settings.cwd.as_ref();
        Ok(Self {
            parent,
            settings,
            cwd: cwd
                .map(|cwd| CString::new(cwd.as_os_str().as_bytes()))
                .transpose()?,
        })
    }

    /// Runs in the child, which shares the memory of the server until exec. Nothing here may
    /// allocate, lock or panic, and no signal may be unblocked before its disposition is the
    /// default.
    ///
    /// # Errors
    /// The error of the call that the system refused. The command is not started then.
    pub(super) fn run(&self) -> nix::Result<()> {
        // exec resolves a relative path, of the program or in PATH, from this directory.
        if let Some(cwd) = &self.cwd {
            chdir(cwd.as_c_str())?;
        }
        setsid()?;
        for signal in 1..=self.parent.signal_max {
            restore_default(signal);
        }
        // A blocked signal mask is inherited, and the server blocks what it reads as events.
        SigSet::empty().thread_set_mask()?;
        if let Some(mask) = self.settings.umask {
            umask(Mode::from_bits_truncate(mask));
        }
        if let Some(nice) = self.settings.nice {
            set_nice(nice)?;
        }
        if self.settings.no_new_privs {
            prctl::set_no_new_privs()?;
        }
        let DescriptorLimit { original, hard, .. } = self.parent.descriptors;
        setrlimit(Resource::RLIMIT_NOFILE, original, hard)?;
        for &(resource, limit) in &self.settings.rlimits {
            let limit = system_limit(limit);
            setrlimit(system_resource(resource), limit, limit)?;
        }
        self.die_with_the_server()
    }

    /// Makes the kernel kill the command when the server dies. A change of user would undo that
    /// (prctl(2)); the server changes its user before it starts anything.
    fn die_with_the_server(&self) -> nix::Result<()> {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The server may have died before the call above, which then has no effect. A parent in
        // an outer PID namespace is seen as 0. That parent is alive: an orphan would belong to the
        // first process of our own namespace.
        let parent = getppid();
        if parent != self.parent.pid && parent.as_raw() != 0 {
            return Err(Errno::ESRCH);
        }
        Ok(())
    }
}

/// Tries in the server itself the settings that need a privilege: a lower nice value, a higher hard
/// limit. Each is undone, which needs no privilege.
///
/// # Errors
/// One line that names the option and the remedy.
pub(crate) fn check_privileges(settings: &CommandSettings) -> Result<(), String> {
    if let Some(nice) = settings.nice {
        try_nice(nice).map_err(|errno| {
            format!(
                "--nice={nice}: {}: a lower value than the server's own takes a privilege",
                errno.desc()
            )
        })?;
    }
    for &(resource, limit) in &settings.rlimits {
        try_limit(system_resource(resource), system_limit(limit)).map_err(|errno| {
            let name = resource.name();
            let limit = limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
            format!(
                "--rlimit={name}:{limit}: {}: more than the server's own hard limit takes a \
                 privilege",
                errno.desc()
            )
        })?;
    }
    Ok(())
}

fn try_nice(nice: libc::c_int) -> nix::Result<()> {
    let own = own_nice()?;
    if nice < own {
        set_nice(nice)?;
        set_nice(own)?;
    }
    Ok(())
}

fn try_limit(resource: Resource, limit: rlim_t) -> nix::Result<()> {
    let (soft, hard) = getrlimit(resource)?;
    if limit > hard {
        setrlimit(resource, soft, limit)?;
        setrlimit(resource, soft, hard)?;
    }
    Ok(())
}

pub(super) fn system_resource(resource: config::Resource) -> Resource {
    match resource {
        config::Resource::As => Resource::RLIMIT_AS,
        config::Resource::Core => Resource::RLIMIT_CORE,
        config::Resource::Cpu => Resource::RLIMIT_CPU,
        config::Resource::Data => Resource::RLIMIT_DATA,
        config::Resource::Fsize => Resource::RLIMIT_FSIZE,
        config::Resource::Nofile => Resource::RLIMIT_NOFILE,
        config::Resource::Nproc => Resource::RLIMIT_NPROC,
        config::Resource::Stack => Resource::RLIMIT_STACK,
    }
}

/// A limit beyond the range of the system's type becomes unlimited.
pub(super) fn system_limit(limit: config::ResourceLimit) -> rlim_t {
    match limit {
        Some(limit) => rlim_t::try_from(limit).unwrap_or(RLIM_INFINITY),
        None => RLIM_INFINITY,
    }
}

/// Gives a signal its default disposition. exec resets handlers, but an ignored signal stays
/// ignored.
#[allow(unsafe_code)]
fn restore_default(signal: libc::c_int) {
    // SAFETY: no handler is installed. The call fails for SIGKILL, SIGSTOP and the signals that
    // the C library keeps for itself, which have their default anyway.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// The nice value of this process. The C library's function returns -1 both for that value and for
/// an error; the system call returns 20 minus the value.
#[allow(unsafe_code)]
fn own_nice() -> nix::Result<libc::c_int> {
    // SAFETY: only numbers are passed.
    let result = unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, 0) };
    Errno::result(result).map(|inverted| 20 - inverted as libc::c_int)
}

/// `setpriority(2)` of this process.
#[allow(unsafe_code)]
fn set_nice(nice: libc::c_int) -> nix::Result<()> {
    // The first argument's type differs between C libraries.
    let process = libc::PRIO_PROCESS as _;
    // SAFETY: only numbers are passed.
    Errno::result(unsafe { libc::setpriority(process, 0, nice) }).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;
    use crate::linux::spawn::clone::Cloner;
    use crate::system::Environment;
    use crate::system::Spawn;

    #[test]
    fn a_command_whose_server_has_died_does_not_start() {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let descriptors = DescriptorLimit {
            original: soft,
            soft,
            hard,
        };
        // To the child it looks as if another process had adopted it.
        let parent = Parent {
            pid: Pid::from_raw(1),
            ..Parent::this_process(descriptors)
        };
        let settings = CommandSettings::default();
        let spawn = Spawn {
            command: &["/bin/true".into()],
            environment: Environment::new(),
            settings: &settings,
        };
        let setup = ChildSetup::new(parent, &settings).unwrap();
        let null = File::open("/dev/null").unwrap();
        let mut cloner = Cloner::new().unwrap();
        let refused = cloner.start(&spawn, &setup, [null.as_fd(); 3]).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(Errno::ESRCH as i32));
    }
}
