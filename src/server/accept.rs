//! Accepting connections, and retrying when the system lacks resources: [`Acceptor`].
//!
//! epoll is edge-triggered: it announces a waiting connection only once. So every path below ends
//! in one of three ways: the listener is empty (the next connection is a new edge), the listener is
//! postponed again (there may be more), or a timer is armed (accepting failed, and the edge is
//! spent).

use std::io;

use super::Server;
use super::owner::Owner;
use crate::client::Client;
use crate::event_loop::instant::Instant;
use crate::limits::{ACCEPT_RETRY, ACCEPTS_PER_TURN};
use crate::log::Level;
use crate::peer::Peer;
use crate::system::{AcceptError, System};

/// The state of each listener between two turns.
pub(super) struct Acceptor {
    listeners: Vec<Listener>,
    /// When accepting is tried again on the blocked listeners.
    pub(super) retry_at: Option<Instant>,
}

#[derive(Clone, Copy, Default)]
struct Listener {
    /// Whether its visit is postponed.
    is_queued: bool,
    /// Whether accepting failed although a connection waits.
    is_blocked: bool,
}

impl Acceptor {
    /// For listeners with the indexes 0 to `count - 1`, which have no connections yet.
    pub(super) fn new(count: usize) -> Self {
        Self {
            listeners: vec![Listener::default(); count],
            retry_at: None,
        }
    }

    /// The number of listeners.
    pub(super) fn len(&self) -> usize {
        self.listeners.len()
    }

    /// Whether a visit of the listener is queued; `None`: there is no such listener.
    pub(super) fn is_queued_mut(&mut self, index: u32) -> Option<&mut bool> {
        let listener = self.listeners.get_mut(index as usize)?;
        Some(&mut listener.is_queued)
    }

    /// No connection waits on the listener any more.
    fn emptied(&mut self, index: u32) {
        self.set_blocked(index, false);
    }

    /// Accepting failed although a connection waits. Returns whether this is the first listener
    /// that is blocked.
    fn blocked(&mut self, index: u32) -> bool {
        let is_news = !self.listeners.iter().any(|listener| listener.is_blocked);
        self.set_blocked(index, true);
        is_news
    }

    fn is_blocked(&self, index: u32) -> bool {
        let listener = self.listeners.get(index as usize);
        listener.is_some_and(|listener| listener.is_blocked)
    }

    fn set_blocked(&mut self, index: u32, is_blocked: bool) {
        if let Some(listener) = self.listeners.get_mut(index as usize) {
            listener.is_blocked = is_blocked;
        }
    }
}

impl<S: System> Server<S> {
    /// Postpones the visit of every listener on which connections wait for resources.
    pub(super) fn retry_accept(&mut self) {
        for index in 0..self.acceptor.len() as u32 {
            if self.acceptor.is_blocked(index) {
                self.postpone(Owner::Listener(index));
            }
        }
    }

    /// Accepts up to [`ACCEPTS_PER_TURN`] connections from a listener. This is always a postponed visit,
    /// so it happens once a turn for each listener.
    pub(super) fn accept(&mut self, index: u32) {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.system.accept(index) {
                Ok((socket, peer)) => self.add_client(socket, peer),
                Err(AcceptError::WouldBlock) => return self.acceptor.emptied(index),
                Err(AcceptError::ConnectionGone(error)) => {
                    self.cx.log.debug(format_args!("not accepted: {error}"));
                }
                Err(AcceptError::Failed { error, remedy }) => {
                    return self.accept_failed(index, &error, remedy);
                }
            }
        }
        self.postpone(Owner::Listener(index));
    }

    /// Makes a client of an accepted connection.
    fn add_client(&mut self, mut socket: S::Socket, peer: Peer) {
        self.cx.log.debug(format_args!("accepted peer={peer}"));
        let admitted =
            self.clients
                .try_insert_with(|id| match self.system.watch_client(&mut socket, id) {
                    Ok(()) => Ok(Client::new(socket, peer, self.cx.now)),
                    Err(error) => Err((peer, error)),
                });
        match admitted {
            Ok(id) => self.settle_client(id),
            Err((peer, error)) => {
                let (log, text) = (&self.cx.log, format_args!(": {error}"));
                log.write_of_peer(Level::Warn, "not served", &peer, text, self.cx.now);
            }
        }
    }

    /// Descriptors ran out, or another error persists. The connection waits in the backlog until
    /// the timer fires; clients that are connected are still served.
    fn accept_failed(&mut self, index: u32, error: &io::Error, remedy: Option<&str>) {
        // Logged once, not at every attempt.
        if self.acceptor.blocked(index) {
            let (separator, remedy) = remedy.map_or(("", ""), |remedy| ("; ", remedy));
            self.cx.log.warn(format_args!(
                "new connections wait: {error}{separator}{remedy}"
            ));
        }
        let retry = Some(self.cx.now + ACCEPT_RETRY);
        self.timers
            .arm(Owner::AcceptRetry, retry, &mut self.acceptor.retry_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_news_until_every_listener_is_empty() {
        let mut acceptor = Acceptor::new(2);
        assert!(acceptor.blocked(1));
        assert!(!acceptor.blocked(1) && !acceptor.blocked(0));
        acceptor.emptied(1);
        assert!(acceptor.is_blocked(0) && !acceptor.is_blocked(1));
        assert!(!acceptor.blocked(0), "it was blocked all the time");
        acceptor.emptied(0);
        assert!(acceptor.blocked(0));
    }
}
