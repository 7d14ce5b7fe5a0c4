//! Signals as a source of events: [`Signals`], blocked for the process and read from a
//! descriptor (`signalfd(2)`), so that nothing ever runs in a signal handler.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::system::{Pid, SignalEvent};

/// The descriptor that SIGCHLD, SIGTERM, SIGINT and SIGHUP are read from.
pub struct Signals {
    descriptor: SignalFd,
}

impl Signals {
    /// Blocks the signals in this thread, which is to be the only one, and opens the descriptor.
    /// SIGHUP and SIGINT are left alone if the server was started with them ignored, as `nohup` does
    /// with the one, and a shell with the other for what a script puts into the background. SIGPIPE is
    /// ignored already: the Rust runtime sees to that.
    ///
    /// # Errors
    /// As `pthread_sigmask(3)` and `signalfd(2)`.
    pub fn start() -> io::Result<Self> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGCHLD);
        set.add(Signal::SIGTERM);
        for signal in [Signal::SIGINT, Signal::SIGHUP] {
            if !is_ignored(signal)? {
                set.add(signal);
            }
        }
        // Were SIGCHLD ignored, which the server may have inherited, the kernel would throw away how
        // children ended (wait(2)).
        dispose(Signal::SIGCHLD, Disposition::Default)?;
        // A log file that has reached a limit of sizes (setrlimit(2)) loses lines; it ends nothing.
        dispose(Signal::SIGXFSZ, Disposition::Ignored)?;
        set.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self {
            descriptor: SignalFd::with_flags(&set, flags)?,
        })
    }

    /// Has the loop report when a signal waits.
    ///
    /// # Errors
    /// As `epoll_ctl(2)`.
    pub fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        let descriptor = self.descriptor.as_fd().as_raw_fd();
        registry.register(&mut SourceFd(&descriptor), token, Interest::READABLE)
    }

    /// The next signal that waits. SIGCHLD names one child, and stands for any number (signal(7)).
    pub fn next_event(&mut self) -> Option<SignalEvent> {
        // Reading from a signalfd fails only when nothing waits.
        let info = self.descriptor.read_signal().ok().flatten()?;
        match Signal::try_from(info.ssi_signo as i32).ok()? {
            Signal::SIGCHLD => Some(SignalEvent::ChildEnded(info.ssi_pid as Pid)),
            signal => Some(SignalEvent::Shutdown(signal.as_str())),
        }
    }
}

/// Whether a signal is ignored. A program inherits that from the one that started it.
#[allow(unsafe_code)]
fn is_ignored(signal: Signal) -> nix::Result<bool> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null pointer in place of the new action means that it stays; the old one is
    // written to memory of its type, and read only when the call says that it was.
    let action = unsafe {
        let result = libc::sigaction(signal as libc::c_int, std::ptr::null(), action.as_mut_ptr());
        nix::errno::Errno::result(result)?;
        action.assume_init()
    };
    Ok(action.sa_sigaction == libc::SIG_IGN)
}

/// Sets what a signal does that is not read from the descriptor: it is ignored, or has its default
/// disposition.
#[allow(unsafe_code)]
fn dispose(which: Signal, handler: Disposition) -> nix::Result<()> {
    let handler = match handler {
        Disposition::Default => SigHandler::SigDfl,
        Disposition::Ignored => SigHandler::SigIgn,
    };
    // SAFETY: no handler is installed, so none can do what a handler must not.
    unsafe { signal(which, handler) }.map(drop)
}

/// What a signal does, where nobody handles it.
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

    /// `raise` signals the calling thread, which alone has the signals blocked here: other tests
    /// are not disturbed.
    #[test]
    fn signals_are_read_from_the_loop() {
        // Whoever runs the tests may have them ignored.
        for signal in [Signal::SIGINT, Signal::SIGHUP] {
            dispose(signal, Disposition::Default).unwrap();
        }
        let mut signals = Signals::start().unwrap();
        assert_eq!(signals.next_event(), None);
        let mut poll = mio::Poll::new().unwrap();
        let mut events = mio::Events::with_capacity(4);
        signals.register(poll.registry(), Token(7)).unwrap();

        // Nothing of a child, but sent: then it names the sender.
        let child_ended = Some(SignalEvent::ChildEnded(getpid().as_raw()));
        raise(Signal::SIGTERM).unwrap();
        raise(Signal::SIGCHLD).unwrap();
        raise(Signal::SIGCHLD).unwrap();
        poll.poll(&mut events, Some(Duration::from_secs(10)))
            .unwrap();
        let event = events.iter().next().expect("the loop hears of it");
        assert!(event.token() == Token(7) && event.is_readable());
        let mut notices = [signals.next_event(), signals.next_event()];
        notices.sort_by_key(|notice| *notice != child_ended);
        assert_eq!(notices[0], child_ended);
        assert_eq!(notices[1], Some(SignalEvent::Shutdown("SIGTERM")));
        assert_eq!(signals.next_event(), None, "two of SIGCHLD are one");

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
    fn it_is_known_what_is_ignored() {
        assert_eq!(is_ignored(Signal::SIGPIPE), Ok(true), "by the Rust runtime");
        assert_eq!(is_ignored(Signal::SIGTERM), Ok(false));
    }
}
