//! Accepting connections, also when the system lacks the resources for another: [`Acceptor`].
//!
//! epoll is edge-triggered: it announces a connection that waits once. So every path below ends in
//! one of three ways: the listener is empty (the next connection is a new edge), the listener is
//! in the ready queue (there may be more), or a timer is armed (accepting failed, and the edge is
//! spent).

use std::io;

use super::Server;
use super::owner::Owner;
use crate::client::Client;
use crate::event_loop::instant::Instant;
use crate::limits::{ACCEPT_RETRY, ACCEPTS_PER_TURN};
use crate::peer::Peer;
use crate::system::{AcceptError, System};

/// What is known of each listener between two turns.
pub(super) struct Acceptor {
    listeners: Vec<Listener>,
    /// When accepting is tried again on the blocked listeners.
    pub(super) retry_at: Option<Instant>,
}

#[derive(Clone, Copy, Default)]
struct Listener {
    /// Whether it is in the ready queue.
    is_queued: bool,
    /// Whether accepting failed although a connection waits.
    is_blocked: bool,
}

impl Acceptor {
    /// For listeners with the indexes 0 to `count - 1`, none of which has a connection yet.
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

    /// The listener has left the ready queue.
    pub(super) fn unqueued(&mut self, index: u32) {
        self.set(index, |listener| listener.is_queued = false);
    }

    /// The listener is to be in the ready queue. Returns whether it was not there yet.
    fn queued(&mut self, index: u32) -> bool {
        let was = self.set(index, |listener| listener.is_queued = true);
        was.is_some_and(|listener| !listener.is_queued)
    }

    /// No connection waits on the listener any more.
    fn emptied(&mut self, index: u32) {
        self.set(index, |listener| listener.is_blocked = false);
    }

    /// Accepting failed although a connection waits. Returns whether this is news: no other
    /// listener is blocked, and this one was not.
    fn blocked(&mut self, index: u32) -> bool {
        let is_news = !self.listeners.iter().any(|listener| listener.is_blocked);
        self.set(index, |listener| listener.is_blocked = true);
        is_news
    }

    fn is_blocked(&self, index: u32) -> bool {
        let listener = self.listeners.get(index as usize);
        listener.is_some_and(|listener| listener.is_blocked)
    }

    /// Changes the state of a listener and returns the one before.
    fn set(&mut self, index: u32, change: impl FnOnce(&mut Listener)) -> Option<Listener> {
        let listener = self.listeners.get_mut(index as usize)?;
        let before = *listener;
        change(listener);
        Some(before)
    }
}

impl<S: System> Server<S> {
    /// Puts a listener into the ready queue. All accepting starts there, so it happens at most once
    /// a turn for each listener.
    pub(super) fn queue_listener(&mut self, index: u32) {
        if self.acceptor.queued(index) {
            self.visits.defer(Owner::Listener(index));
        }
    }

    /// Puts every blocked listener into the ready queue.
    pub(super) fn retry_accept(&mut self) {
        for index in 0..self.acceptor.len() as u32 {
            if self.acceptor.is_blocked(index) {
                self.queue_listener(index);
            }
        }
    }

    /// Accepts up to [`ACCEPTS_PER_TURN`] connections from a listener.
    pub(super) fn accept(&mut self, index: u32) {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.system.accept(index) {
                Ok((socket, peer)) => self.admit(socket, peer),
                Err(AcceptError::WouldBlock) => return self.acceptor.emptied(index),
                Err(AcceptError::ConnectionGone(error)) => {
                    self.cx.log.debug(format_args!("not accepted: {error}"));
                }
                Err(AcceptError::Failed { error, remedy }) => {
                    return self.accept_failed(index, &error, remedy);
                }
            }
        }
        self.queue_listener(index);
    }

    /// Makes a client of an accepted connection.
    fn admit(&mut self, mut socket: S::Socket, peer: Peer) {
        let admitted =
            self.clients
                .try_insert_with(|id| match self.system.watch_client(&mut socket, id) {
                    Ok(()) => Ok(Client::new(socket, peer, self.cx.now)),
                    Err(error) => Err((peer, error)),
                });
        match admitted {
            Ok(id) => self.settle_client(id),
            Err((peer, error)) => {
                let log = &self.cx.log;
                log.warn(format_args!("not served peer={peer}: {error}"));
            }
        }
    }

    /// Descriptors ran out, or something else is wrong for longer than a moment. The connection
    /// waits in the backlog until the timer; connected clients are served meanwhile.
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
    fn a_listener_is_queued_once() {
        let mut acceptor = Acceptor::new(2);
        assert!(acceptor.queued(1));
        assert!(!acceptor.queued(1));
        assert!(acceptor.queued(0), "each by itself");
        acceptor.unqueued(1);
        assert!(acceptor.queued(1));
        assert!(!acceptor.queued(2), "there is no such listener");
    }

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
