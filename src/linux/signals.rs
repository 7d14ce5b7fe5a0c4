//! Signals to the server as events of the loop: [`Signals`].
//!
//! The signals are blocked and read from a descriptor (`signalfd(2)`), so no code of the server runs
//! in a signal handler. The mask is inherited by children: the child setup has to clear it.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::system::{Pid, SignalEvent};

/// The descriptor from which SIGCHLD, SIGTERM, SIGINT and SIGHUP are read.
pub(super) struct Signals {
    descriptor: SignalFd,
}

impl Signals {
    /// Blocks the signals in this thread, which must be the only one, and opens the descriptor.
    /// SIGHUP and SIGINT stay ignored if they were ignored when the server started: `nohup` ignores
    /// the one, and a shell ignores the other for background commands of a script. The Rust runtime
    /// has ignored SIGPIPE already.
    ///
    /// # Errors
    /// As `pthread_sigmask(3)` and `signalfd(2)`.
    pub(super) fn start() -> io::Result<Self> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGCHLD);
        set.add(Signal::SIGTERM);
        for signal in [Signal::SIGINT, Signal::SIGHUP] {
            if !is_ignored(signal)? {
                set.add(signal);
            }
        }
        // An ignored SIGCHLD, which may be inherited, makes the kernel reap children by itself and
        // discard how they ended (wait(2)).
        dispose(Signal::SIGCHLD, Disposition::Default)?;
        // When a log file reaches a size limit (setrlimit(2)), lines are lost; the default of this
        // signal would terminate the server.
        dispose(Signal::SIGXFSZ, Disposition::Ignored)?;
        set.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self {
            descriptor: SignalFd::with_flags(&set, flags)?,
        })
    }

    /// Makes the loop report the descriptor when a signal is pending.
    ///
    /// # Errors
    /// As `epoll_ctl(2)`.
    pub(super) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        let descriptor = self.descriptor.as_fd().as_raw_fd();
        registry.register(&mut SourceFd(&descriptor), token, Interest::READABLE)
    }

    /// The next pending signal. SIGCHLD coalesces: it names one child and may stand for several.
    pub(super) fn next_event(&mut self) -> Option<SignalEvent> {
        // Reading from a signalfd fails only when no signal is pending.
        let info = self.descriptor.read_signal().ok().flatten()?;
        match Signal::try_from(info.ssi_signo as i32).ok()? {
            Signal::SIGCHLD => Some(SignalEvent::ChildEnded(info.ssi_pid as Pid)),
            signal => Some(SignalEvent::Shutdown(signal.as_str())),
        }
    }
}

/// Whether a signal is ignored. A process inherits that from its parent.
#[allow(unsafe_code)]
fn is_ignored(signal: Signal) -> nix::Result<bool> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with a null pointer for the new action the call only reads the present one. That is
    // written to memory of its type, which is read only after the call has succeeded.
    let action = unsafe {
        let result = libc::sigaction(signal as libc::c_int, std::ptr::null(), action.as_mut_ptr());
        nix::errno::Errno::result(result)?;
        action.assume_init()
    };
    Ok(action.sa_sigaction == libc::SIG_IGN)
}

/// Ignores a signal or resets it to its default.
#[allow(unsafe_code)]
fn dispose(which: Signal, handler: Disposition) -> nix::Result<()> {
    let handler = match handler {
        Disposition::Default => SigHandler::SigDfl,
        Disposition::Ignored => SigHandler::SigIgn,
    };
    // SAFETY: no handler is installed.
    unsafe { signal(which, handler) }.map(drop)
}

/// The effect of a signal without a handler.
enum Disposition {
    Default,
    Ignored,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sys::signal::raise;
    use nix::unistd::getpid;

    use super::*;

    /// `raise` signals the calling thread. Only this thread has the signals blocked, so other tests
    /// are not disturbed.
    #[test]
    fn signals_are_read_from_the_loop() {
        // The tests may have been started with these ignored.
        for signal in [Signal::SIGINT, Signal::SIGHUP] {
            dispose(signal, Disposition::Default).unwrap();
        }
        let mut signals = Signals::start().unwrap();
        assert_eq!(signals.next_event(), None);
        let mut poll = mio::Poll::new().unwrap();
        let mut events = mio::Events::with_capacity(4);
        signals.register(poll.registry(), Token(7)).unwrap();

        // A SIGCHLD that was sent, as here, names its sender.
        let child_ended = Some(SignalEvent::ChildEnded(getpid().as_raw()));
        raise(Signal::SIGTERM).unwrap();
        raise(Signal::SIGCHLD).unwrap();
        raise(Signal::SIGCHLD).unwrap();
        poll.poll(&mut events, Some(Duration::from_secs(10)))
            .unwrap();
        let event = events.iter().next().expect("an event");
        assert!(event.token() == Token(7) && event.is_readable());
        let mut read = [signals.next_event(), signals.next_event()];
        read.sort_by_key(|event| *event != child_ended);
        assert_eq!(read[0], child_ended);
        assert_eq!(read[1], Some(SignalEvent::Shutdown("SIGTERM")));
        assert_eq!(signals.next_event(), None, "the two SIGCHLD have coalesced");

        for signal in [Signal::SIGINT, Signal::SIGHUP] {
            raise(signal).unwrap();
            poll.poll(&mut events, Some(Duration::from_secs(10)))
                .unwrap();
            assert!(!events.is_empty(), "each signal is an edge of its own");
            assert_eq!(
                signals.next_event(),
                Some(SignalEvent::Shutdown(signal.as_str()))
            );
        }
    }

    #[test]
    fn an_ignored_signal_is_recognized() {
        assert_eq!(is_ignored(Signal::SIGPIPE), Ok(true), "by the Rust runtime");
        assert_eq!(is_ignored(Signal::SIGTERM), Ok(false));
    }
}
