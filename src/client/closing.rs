//! The end of a connection: the closing handshake, the lingering close, and losing it.

use crate::client::access_record::Loss;
use crate::client::close_timeout::CloseTimeout;
use crate::client::pace::Pace;
use crate::client::{Client, PeerClose, Phase};
use crate::context::Context;
use crate::event_loop::readiness::Readiness;
use crate::framing::OutputError;
use crate::http::refusal::Refusal;
use crate::limits::FRAME_COST;
use crate::system::{Exit, Socket};
use crate::ws::close::CloseCode;
use crate::ws::connection::Event;

impl<S: Socket> Client<S> {
    /// Whether the client has received the exit status of its command, if it was still open then.
    pub(crate) fn was_told_exit(&self) -> bool {
        self.record.exit.is_some()
    }

    /// Whether the client ended the connection for good: by the closing handshake with a code other
    /// than 1001. A browser sends 1001 when the user leaves or reloads the page.
    pub(crate) fn has_ended(&self) -> bool {
        let code = self.record.code;
        code.is_some_and(|code| code != CloseCode::GOING_AWAY)
    }

    /// The command ended after this client had left it; the log says how.
    pub(crate) fn note_exit(&mut self, exit: Option<Exit>) {
        self.record.exit = exit;
    }

    /// The command's output breaks its format: the close frame gives the reason. A message under
    /// way stays unfinished.
    pub(crate) fn output_failed(&mut self, fault: OutputError, cx: &mut Context) {
        if self.is_open() {
            let peer = &self.record.peer;
            cx.log
                .warn(format_args!("output failed peer={peer}: {fault}"));
            self.close(fault.close_code(), &fault.to_string(), cx);
        }
    }

    /// The command has exited and its output is queued: says how it ended in the close frame.
    pub(crate) fn command_exited(&mut self, exit: Exit, cx: &mut Context) {
        self.record.exit = Some(exit);
        let code = match exit {
            Exit::Status(status) => CloseCode::exit(status.into()),
            Exit::Signal(signal) => CloseCode::signal(signal.into()),
        };
        self.close(code, &exit.to_string(), cx);
    }

    /// Begins the closing handshake with `code` and `reason`. A connection that speaks HTTP is
    /// closed once its responses have left; one that is closing already goes on.
    pub(crate) fn close(&mut self, code: CloseCode, reason: &str, cx: &mut Context) {
        match std::mem::replace(&mut self.phase, Phase::Gone) {
            Phase::Open(mut open) => {
                self.pace = Pace::default();
                open.assembly.clear(&mut cx.pool);
                self.will_queue(cx.now);
                let out = self.outbox.writer(&mut cx.pool);
                open.ws.close(code, reason, out);
                self.record.code = Some(code);
                let timeout = self.close_timeout(cx);
                self.phase = Phase::Closing {
                    ws: open.ws,
                    timeout,
                };
                self.flush(cx);
            }
            // No request has arrived, so there is no response to wait for.
            Phase::Http(http) if http.kept_bytes() == 0 && self.outbox.is_empty() => {}
            Phase::Http(_) => self.linger(cx),
            closing => self.phase = closing,
        }
    }

    /// Bytes behind our Close: pings are answered, data is dropped, the peer's Close counts.
    /// Returns how much of the budget that took.
    pub(super) fn on_closing(&mut self, mut bytes: &mut [u8], cx: &mut Context) -> usize {
        let len = bytes.len();
        let Phase::Closing { ws, .. } = &mut self.phase else {
            return len;
        };
        let frames = ws.frames();
        let cost = |frames_now: u32| len + FRAME_COST * frames_now.wrapping_sub(frames) as usize;
        let out = self.outbox.writer(&mut cx.pool);
        let len_max = cx.limits.message_len_max as u64;
        loop {
            match ws.next_event(&mut bytes, out, len_max) {
                Ok(None) => return cost(ws.frames()),
                Ok(Some(Event::Close(code))) => {
                    self.peer_close = match code {
                        Some(CloseCode::GOING_AWAY) => PeerClose::Crossed,
                        _ => PeerClose::Arrived,
                    };
                    break;
                }
                Err(_) => break,
                Ok(Some(Event::Data { .. } | Event::Pong)) => {}
            }
        }
        self.linger(cx);
        len
    }

    /// Our last byte is queued: begins the lingering close.
    pub(super) fn linger(&mut self, cx: &mut Context) {
        if let Phase::Open(open) = &mut self.phase {
            open.assembly.clear(&mut cx.pool);
            self.pace = Pace::default();
        }
        self.phase = Phase::Lingering {
            timeout: self.close_timeout(cx),
            shut: false,
        };
        self.flush(cx);
    }

    /// Closes our half of TCP, now that a lingering connection's outbox is empty.
    pub(super) fn shut_if_lingering(&mut self) {
        let Phase::Lingering { shut, .. } = &mut self.phase else {
            return;
        };
        if std::mem::replace(shut, true) {
            return;
        }
        // The peer may be gone already; then there is nothing to shut down.
        let _ = self.socket.shutdown_write();
        if self.readiness.hung_up() {
            // EOF may have been read before; no further edge announces it.
            self.readiness.merge(Readiness::READABLE);
        }
    }

    /// The clock for closing, with the bytes that are queued now as our last ones.
    fn close_timeout(&self, cx: &Context) -> CloseTimeout {
        CloseTimeout::new(self.last_byte(), cx.now, cx.limits.close_timeout)
    }

    /// The number of bytes written and queued since the connection began.
    pub(super) fn last_byte(&self) -> u64 {
        self.written + self.outbox.len() as u64
    }

    /// The peer has sent its FIN.
    pub(super) fn on_eof(&mut self, cx: &mut Context) {
        self.readiness.merge(Readiness::HUNG_UP);
        self.readiness.read_blocked();
        match &self.phase {
            // The peer has closed its half only, and may still take the responses.
            Phase::Http(http) if http.kept_bytes() == 0 && !self.outbox.is_empty() => {
                self.linger(cx);
            }
            // Our half follows when the outbox is empty; with both closed the connection is gone.
            Phase::Lingering { shut: false, .. } => {}
            Phase::Lingering { shut: true, .. } => self.phase = Phase::Gone,
            _ => self.lost(Loss::HungUp, cx),
        }
    }

    /// Disconnects a client that holds too much memory: with 503 or a Close, if that frees all but
    /// `held_max` bytes of it. What is queued behind a peer that does not read can only be dropped.
    pub(crate) fn evict(&mut self, held_max: usize, cx: &mut Context) {
        let reason = "the server is short of memory (--max-memory); try again later";
        match self.phase {
            Phase::Http(_) => self.refuse(&Refusal::not_now(reason), cx),
            _ => self.close(CloseCode::TRY_AGAIN_LATER, reason, cx),
        }
        if self.held_bytes() > held_max {
            self.lost(Loss::OutOfMemory, cx);
        }
        self.charge(cx);
    }

    /// Drops the connection with everything that is queued.
    pub(crate) fn lost(&mut self, loss: Loss, cx: &mut Context) {
        let peer = &self.record.peer;
        cx.log
            .debug(format_args!("lost peer={peer} why=\"{loss}\""));
        self.record.loss = Some(loss);
        self.outbox.clear(&mut cx.pool);
        self.phase = Phase::Gone;
    }
}
