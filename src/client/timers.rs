//! What expires in which phase: the deadlines of a client, and what happens when one is reached.
//!
//! | phase | what expires | then |
//! |---|---|---|
//! | HTTP | `--head-timeout`: the rest of a head does not come | 408 |
//! | HTTP | `--http-idle-timeout`: no request comes | dropped |
//! | HTTP, open | `--write-timeout`: the peer takes nothing ([`WriteProgress`]) | dropped |
//! | HTTP, closing, lingering | the peer takes bytes too slowly ([`Pace`]) | dropped |
//! | open | `--session-timeout`, `--idle-timeout` | closed with 1008 |
//! | open | `--ping-interval`, `--pong-timeout` ([`Keepalive`]) | ping, dropped |
//! | closing, lingering | `--close-timeout` ([`CloseTimeout`]) | dropped |
//!
//! A client has one timer. It may fire early: most events move a deadline away and leave the timer
//! where it is. So when it fires, the client checks which deadlines have passed.
//!
//! [`Pace`]: super::pace::Pace
//! [`WriteProgress`]: super::write_progress::WriteProgress
//! [`Keepalive`]: super::keepalive::Keepalive
//! [`CloseTimeout`]: super::close_timeout::CloseTimeout

use crate::client::access_record::Loss;
use crate::client::http::Awaits;
use crate::client::keepalive::{self, Verdict};
use crate::client::open::Open;
use crate::client::{Client, Phase};
use crate::config::ClientLimits;
use crate::context::Context;
use crate::event_loop::instant::Instant;
use crate::system::Socket;
use crate::ws::close::CloseCode;

/// The reason in the close frame when `--session-timeout` has expired.
pub(crate) const SESSION_EXPIRED: &str = "the session lasted as long as --session-timeout allows";

/// The reason in the close frame when `--idle-timeout` has expired.
const IDLE_EXPIRED: &str = "no message passed for as long as --idle-timeout allows";

impl<S: Socket> Client<S> {
    /// When this client's timer has to fire: at its deadline, and while bytes wait, four times in
    /// the write time-out to poll what the peer has acknowledged.
    pub(crate) fn next_timer(&self, cx: &Context) -> Option<Instant> {
        let polls = matches!(self.phase, Phase::Http(_) | Phase::Open(_));
        let poll_at =
            (polls && !self.outbox.is_empty()).then(|| cx.now + cx.limits.write_timeout / 4);
        self.deadline(&cx.limits).into_iter().chain(poll_at).min()
    }

    /// The next deadline, as far as is known.
    fn deadline(&self, limits: &ClientLimits) -> Option<Instant> {
        let unsent = !self.outbox.is_empty();
        let write = unsent.then(|| self.progress.deadline(limits.write_timeout));
        let other = match &self.phase {
            Phase::Http(http) => {
                let wait = match http.awaits() {
                    Awaits::Head => Some(http.since + limits.head_timeout),
                    Awaits::Request if !unsent => Some(http.since + limits.http_idle_timeout),
                    Awaits::Request | Awaits::Room => None,
                };
                wait.into_iter().chain(self.pace.deadline()).min()
            }
            Phase::Open(open) => {
                let terms = open.terms(self.record.opened_at, limits);
                let silence = open.keepalive.deadline(&keepalive_intervals(limits));
                terms.map(|(at, _)| at).chain([silence]).min()
            }
            Phase::Closing { timeout, .. } | Phase::Lingering { timeout, .. } => {
                return Some(timeout.deadline());
            }
            Phase::Gone => return None,
        };
        write.into_iter().chain(other).min()
    }

    /// The timer has fired. The deadline may have moved since it was armed.
    pub(crate) fn on_timer(&mut self, cx: &mut Context) {
        let acked = self.poll_acknowledged(cx.now);
        if !self.is_open() {
            let (last_byte, write_timeout) = (self.last_byte(), cx.limits.write_timeout);
            self.pace.polled(acked, last_byte, cx.now, write_timeout);
        }
        if self
            .deadline(&cx.limits)
            .is_none_or(|at| at > cx.acted_until)
        {
            return;
        }
        let stalled = !self.outbox.is_empty()
            && self.progress.deadline(cx.limits.write_timeout) <= cx.acted_until;
        let too_slow = self.pace.deadline().is_some_and(|at| at <= cx.acted_until);
        match &mut self.phase {
            Phase::Http(_) if stalled => self.lost(Loss::Stalled, cx),
            Phase::Http(_) if too_slow => self.lost(Loss::TooSlow, cx),
            Phase::Http(http) => match http.awaits() {
                Awaits::Head => {
                    let refusal = http.timed_out();
                    self.refuse(&refusal, cx);
                }
                Awaits::Request | Awaits::Room => self.lost(Loss::NoRequest, cx),
            },
            Phase::Open(open) => {
                let mut terms = open.terms(self.record.opened_at, &cx.limits);
                if let Some((_, reason)) = terms.find(|(at, _)| *at <= cx.acted_until) {
                    return self.close(CloseCode::POLICY_VIOLATION, reason, cx);
                }
                if stalled {
                    return self.lost(Loss::Stalled, cx);
                }
                let limits = keepalive_intervals(&cx.limits);
                match open.keepalive.on_timer(cx.now, cx.acted_until, &limits) {
                    Verdict::Wait => {}
                    Verdict::Ping => self.ping(cx),
                    Verdict::Drop => self.lost(Loss::Silent, cx),
                }
            }
            Phase::Closing { timeout, .. } | Phase::Lingering { timeout, .. } => {
                let stalled_at = self.progress.deadline(cx.limits.write_timeout);
                let drop_at = self
                    .pace
                    .deadline()
                    .map_or(stalled_at, |at| at.min(stalled_at));
                if timeout.on_timer(cx.now, acked, drop_at, cx.limits.close_timeout) {
                    let loss = match too_slow {
                        true => Loss::TooSlow,
                        false => Loss::NotClosed,
                    };
                    self.lost(loss, cx);
                }
            }
            Phase::Gone => {}
        }
    }

    fn ping(&mut self, cx: &mut Context) {
        self.will_queue(cx.now);
        if let Phase::Open(open) = &mut self.phase {
            let out = self.outbox.writer(&mut cx.pool);
            let before = out.len();
            open.ws.ping(out);
            self.progress.pinged((out.len() - before) as u64);
            self.flush(cx);
        }
    }

    /// Asks the kernel how many bytes the peer's TCP has acknowledged (SIOCOUTQ, tcp(7)), and
    /// reports progress to the clocks. Returns the number.
    fn poll_acknowledged(&mut self, now: Instant) -> u64 {
        let unacknowledged = self.socket.unacknowledged() as u64;
        let acked = self.written.saturating_sub(unacknowledged);
        let last_byte = self.last_byte();
        if self.progress.polled(acked, now) {
            match &mut self.phase {
                // A peer that has received the whole response has been idle since it was written.
                Phase::Http(http) if acked < last_byte => http.response_moved(now),
                Phase::Open(open) => open.keepalive.acknowledged(now),
                Phase::Http(_) | Phase::Closing { .. } | Phase::Lingering { .. } | Phase::Gone => {}
            }
        }
        acked
    }

    /// Reports to the keep-alive whether we read: a pause in reading must not count as silence of
    /// the peer.
    pub(super) fn note_pause(&mut self, paused: bool, now: Instant) {
        if let Phase::Open(open) = &mut self.phase
            && open.paused != paused
        {
            open.paused = paused;
            match paused {
                true => open.keepalive.paused(),
                false => open.keepalive.resumed(now),
            }
        }
    }
}

impl Open {
    /// The time at which `--session-timeout` or `--idle-timeout` ends the connection, and the
    /// reason for the close frame. The code is 1008, policy violation, because neither the peer nor
    /// the command failed.
    fn terms(
        &self,
        opened_at: Instant,
        limits: &ClientLimits,
    ) -> impl Iterator<Item = (Instant, &'static str)> + use<> {
        let active_at = self.active_at;
        let session = limits
            .session_timeout
            .map(|it| (opened_at + it, SESSION_EXPIRED));
        let idle = limits.idle_timeout.map(|it| (active_at + it, IDLE_EXPIRED));
        session.into_iter().chain(idle)
    }
}

fn keepalive_intervals(limits: &ClientLimits) -> keepalive::Intervals {
    keepalive::Intervals {
        ping_interval: limits.ping_interval,
        pong_timeout: limits.pong_timeout,
    }
}
