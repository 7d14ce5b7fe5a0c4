//! Accepting connections, also when the system has no descriptor for another.

use std::io;

use super::{Owner, Server};
use crate::client::Client;
use crate::limits::{ACCEPT_RETRY, ACCEPTS_PER_TURN};
use crate::peer::Peer;
use crate::system::{AcceptError, System};

impl<S: System> Server<S> {
    /// Accepts what waits on a listener, but not more than is fair in one turn.
    pub(super) fn accept(&mut self, index: u32) {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.system.accept(index) {
                Ok((socket, peer)) => self.admit(socket, peer),
                Err(AcceptError::WouldBlock) => {
                    return self.starved.retain(|&starved| starved != index);
                }
                Err(AcceptError::ConnectionGone(error)) => {
                    self.cx.log.debug(format_args!("not accepted: {error}"));
                }
                Err(AcceptError::Failed { error, remedy }) => {
                    return self.starve(index, &error, remedy);
                }
            }
        }
        self.queue_listener(index);
    }

    /// Connections wait on a listener. Whoever says so, they are accepted from the ready queue, and
    /// so only once in a turn.
    pub(super) fn queue_listener(&mut self, index: u32) {
        let queued = Owner::Listener(index);
        if !self.later.contains(&queued) {
            self.later.push_back(queued);
        }
    }

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

    /// Descriptors ran out, or something else is wrong for longer than a moment. The edge that
    /// announced the waiting connection is spent, so only a timer can bring us back to it.
    /// Meanwhile it waits in the backlog, and connected clients are served.
    fn starve(&mut self, index: u32, error: &io::Error, remedy: Option<&str>) {
        // Logged once, not at every attempt.
        if self.starved.is_empty() {
            let (separator, remedy) = remedy.map_or(("", ""), |remedy| ("; ", remedy));
            self.cx.log.warn(format_args!(
                "new connections wait: {error}{separator}{remedy}"
            ));
        }
        if !self.starved.contains(&index) {
            self.starved.push(index);
        }
        let retry = self.cx.now + ACCEPT_RETRY;
        self.timers
            .arm(Owner::Starved, Some(retry), &mut self.accept_at);
    }
}
