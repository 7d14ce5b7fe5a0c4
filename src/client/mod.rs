//! One client's life: HTTP, open, closing, gone.
//!
//! ```text
//!            opening handshake          our Close               peer's Close, or violation
//!  Http ------------------------> Open -----------> Closing ---------------+
//!   |                               |                                      v
//!   |  last response                |  peer's Close, or violation      Lingering
//!   +-------------------------------+------------------------------------> |
//!   |                               |                  |                   |  peer's FIN
//!   +-------------------------------+------------------+-------------------+------------> Gone
//!      connection lost: the peer hung up, an error of the socket, a time-out
//! ```
//!
//! [`Client::pump`] does all work that the socket is ready for and the phase wants. Each phase has
//! a file: `http`, `open`, `closing`. `timers` has the deadlines of each phase. Everything the
//! server wants to send while messages flow goes through [`Client::send`] or
//! [`Client::send_framed`]. A connection with bytes left to send ends through `linger`, one that
//! cannot send any more through [`Client::lost`].
//!
//! The back-pressure on a client is decided in `Client::wants_read`; that on a command in
//! `server/output.rs`.

pub(crate) mod access_record;
pub(crate) mod assembly;
mod close_timeout;
mod closing;
mod http;
pub(crate) mod keepalive;
mod open;
mod pace;
mod timers;
mod write_progress;

use std::io::{ErrorKind, Write};
use std::net::IpAddr;

use self::access_record::{AccessRecord, Loss};
use self::close_timeout::CloseTimeout;
use self::http::Http;
use self::open::Open;
use self::pace::Pace;
pub(crate) use self::timers::SESSION_EXPIRED;
use self::write_progress::WriteProgress;
use crate::config::ClientLimits;
use crate::context::Context;
use crate::event_loop::instant::Instant;
use crate::event_loop::outbox::{Flushed, Outbox};
use crate::event_loop::readiness::Readiness;
use crate::limits::{FRAMES_READ_LEN, SCRATCH_LEN};
use crate::peer::Peer;
use crate::process::stdin::Stdin;
use crate::source::ProcessId;
use crate::system::Socket;
use crate::ws::connection::Connection;

/// A connection that was accepted, until it is gone.
pub(crate) struct Client<S> {
    socket: S,
    /// What epoll last reported for the socket.
    pub(crate) readiness: Readiness,
    phase: Phase,
    outbox: Outbox,
    /// Bytes the kernel has accepted since the connection began.
    written: u64,
    progress: WriteProgress,
    /// How fast the peer takes responses and our last bytes. Not used while the WebSocket is open.
    pace: Pace,
    peer_close: PeerClose,
    /// The command that serves this client, from the opening handshake on.
    process: Option<ProcessId>,
    record: AccessRecord,
    /// When this client's timer fires, if it is armed.
    pub(crate) wake_at: Option<Instant>,
    /// Whether a visit of this client is queued for the end of a turn: postponed or deferred.
    pub(crate) is_queued: bool,
    /// Whether it counts for the limits on clients.
    pub(crate) has_place: bool,
    /// The bytes of memory that it was charged for ([`Memory`](crate::memory::Memory)).
    charged: u32,
}

/// Where a connection is in its life. Each phase owns only what it needs.
enum Phase {
    /// Awaits a request head, or room in the outbox to answer one. Ends with the opening handshake,
    /// with a response after which the connection closes, or with a time-out.
    Http(Http),
    /// Messages flow. Ends with a Close from either side, a violation of the protocol, or silence.
    Open(Open),
    /// Our Close is queued and the peer's is awaited (RFC 6455 section 7.1.2); data is dropped. Ends
    /// with the peer's Close or a time-out.
    Closing {
        ws: Connection,
        timeout: CloseTimeout,
    },
    /// Lingering close: the outbox drains, then we close our half of TCP (`shut`), then we read to
    /// EOF. Closing the socket with unread bytes would send a reset, which can destroy our last
    /// bytes on their way (RFC 6455 section 7.1.1). Ends with the peer's FIN or a time-out.
    Lingering { timeout: CloseTimeout, shut: bool },
    /// Only the entry is left to be freed.
    Gone,
}

/// The peer's Close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PeerClose {
    /// It has not arrived.
    Awaited,
    /// It has arrived behind our Close with 1001, which is no answer: the page was left, and the two
    /// have crossed.
    Crossed,
    /// It has arrived, as the peer's own or as the answer to ours.
    Arrived,
}

/// Why [`Client::pump`] stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pumped {
    /// Nothing is both ready and wanted.
    Idle,
    /// The budget of the visit is spent; there may be more to read.
    Spent,
    /// A request head is complete; the server has to answer it.
    Request,
}

impl<S: Socket> Client<S> {
    /// A connection that was accepted `now`.
    pub(crate) fn new(socket: S, peer: Peer, now: Instant) -> Self {
        Self {
            socket,
            readiness: Readiness::NONE,
            phase: Phase::Http(Http::new(Vec::new(), now)),
            outbox: Outbox::new(),
            written: 0,
            progress: WriteProgress::new(now),
            pace: Pace::default(),
            peer_close: PeerClose::Awaited,
            process: None,
            record: AccessRecord::new(peer, now),
            wake_at: None,
            is_queued: false,
            has_place: false,
            charged: 0,
        }
    }

    /// The socket, to ask for its addresses.
    pub(crate) fn socket(&self) -> &S {
        &self.socket
    }

    /// The access-log record.
    pub(crate) fn record_mut(&mut self) -> &mut AccessRecord {
        &mut self.record
    }

    /// The other end of the connection.
    pub(crate) fn peer(&self) -> &Peer {
        &self.record.peer
    }

    /// The client's own address: behind a trusted proxy, the one the proxy names.
    pub(crate) fn ip(&self) -> IpAddr {
        self.record.ip()
    }

    /// The command that serves this client.
    pub(crate) fn process(&self) -> Option<ProcessId> {
        self.process
    }

    /// Whether messages flow, in both directions.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    /// Whether our Close is queued or sent and the peer's is awaited.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }

    /// Whether the peer's Close has arrived. If ours was first, the peer has received everything
    /// that was sent before it.
    pub(crate) fn has_closed(&self) -> bool {
        self.peer_close == PeerClose::Arrived
    }

    /// Whether both Closes have been exchanged and all bytes written: only the end of TCP is missing.
    pub(crate) fn has_said_all(&self) -> bool {
        matches!(self.phase, Phase::Lingering { shut: true, .. })
            && self.peer_close != PeerClose::Awaited
    }

    /// Whether the entry can be freed.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.phase, Phase::Gone)
    }

    /// Whether the peer has sent its last byte. Bytes before it may still wait to be read.
    pub(crate) fn has_hung_up(&self) -> bool {
        self.readiness.hung_up()
    }

    /// Bytes that wait to be written.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.outbox.len()
    }

    /// Bytes kept of an unfinished request or message.
    pub(crate) fn unfinished_bytes(&self) -> usize {
        match &self.phase {
            Phase::Http(http) => http.kept_bytes(),
            Phase::Open(open) => open.kept_bytes(),
            Phase::Closing { .. } | Phase::Lingering { .. } | Phase::Gone => 0,
        }
    }

    /// The memory of its buffers, in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        let unfinished = match &self.phase {
            Phase::Http(http) => http.capacity(),
            Phase::Open(open) => open.capacity(),
            Phase::Closing { .. } | Phase::Lingering { .. } | Phase::Gone => 0,
        };
        self.outbox.capacity() + unfinished
    }

    /// Charges it for the memory of its buffers.
    pub(crate) fn charge(&mut self, cx: &mut Context) {
        let held = self.held_bytes();
        cx.charge(&mut self.charged, held);
    }

    /// The bytes of memory that it was charged for.
    pub(crate) fn charged(&self) -> usize {
        self.charged as usize
    }

    /// Whether the outbox is below the high-water mark.
    pub(crate) fn has_room(&self, limits: &ClientLimits) -> bool {
        !self.outbox.is_full(limits.high_water)
    }

    /// Frees the entry. Returns the access-log record if the connection was ever a WebSocket.
    pub(crate) fn into_record(mut self, cx: &mut Context) -> Option<AccessRecord> {
        self.outbox.clear(&mut cx.pool);
        cx.charge(&mut self.charged, 0);
        Some(self.record).filter(AccessRecord::is_opened)
    }

    // -- Reading and writing ---------------------------------------------------------------------

    /// Does what the socket is ready for and the phase wants: writes, reads, and handles what was
    /// read, until nothing is left or the `budget` of the visit is spent
    /// ([`VISIT_BUDGET`](crate::limits::VISIT_BUDGET)). `stdin` is that of the client's command.
    pub(crate) fn pump<W: Write>(
        &mut self,
        stdin: Option<&mut Stdin<W>>,
        budget: &mut usize,
        cx: &mut Context,
    ) -> Pumped {
        // The scratch buffer is taken out, because the calls below borrow the rest of the context.
        let mut scratch = std::mem::take(&mut cx.scratch);
        let pumped = self.pump_through(&mut scratch, stdin, budget, cx);
        cx.scratch = scratch;
        pumped
    }

    fn pump_through<W: Write>(
        &mut self,
        scratch: &mut [u8],
        mut stdin: Option<&mut Stdin<W>>,
        budget: &mut usize,
        cx: &mut Context,
    ) -> Pumped {
        loop {
            // One write for everything that one read brought.
            self.flush(cx);
            if self.has_request(&cx.limits) {
                return Pumped::Request;
            }
            let stdin_full = stdin
                .as_deref()
                .is_some_and(|s| s.is_full(cx.limits.high_water));
            let wanted = self.wants_read(stdin_full, &cx.limits);
            self.note_pause(!wanted, cx.now);
            if !wanted || !self.readiness.readable() {
                return Pumped::Idle;
            }
            if *budget == 0 {
                return Pumped::Spent;
            }
            let scratch = &mut scratch[..self.read_len_max(&cx.limits)];
            match self.socket.read(scratch) {
                Ok(0) => self.on_eof(cx),
                Ok(n) => {
                    self.readiness.read_some(n, scratch.len());
                    let cost = self.on_bytes(&mut scratch[..n], stdin.as_deref_mut(), cx);
                    *budget = budget.saturating_sub(cost);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readiness.read_blocked();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.lost(Loss::Failed(error.kind()), cx),
            }
        }
    }

    /// Whether the next [`Client::pump`] would do anything.
    pub(crate) fn has_work(&self, stdin_full: bool, limits: &ClientLimits) -> bool {
        // A client that was paused needs a visit so that its keep-alive runs again.
        let resumes = matches!(&self.phase, Phase::Open(open) if open.paused);
        (self.readiness.readable() || resumes) && self.wants_read(stdin_full, limits)
            || self.readiness.writable() && !self.outbox.is_empty()
            || self.has_request(limits)
    }

    /// Whether the socket is to be read. This is the back-pressure on a client: it is not read while
    /// its command does not read, or while the client itself does not take what is queued for it.
    fn wants_read(&self, stdin_full: bool, limits: &ClientLimits) -> bool {
        match &self.phase {
            Phase::Http(http) => !http.has_head(),
            Phase::Open(_) => !stdin_full && self.has_room(limits),
            // A flood of pings behind our Close must not queue pongs without end.
            Phase::Closing { .. } => self.has_room(limits),
            Phase::Lingering { .. } => true,
            Phase::Gone => false,
        }
    }

    /// How much to read at once. While reading a head, read at most the head limit: bytes behind
    /// the head are kept until it is answered, and are then handled whether there is room or not.
    /// While reading frames, read more than [`FRAMES_READ_LEN`] only where the rest of a long frame
    /// is next: what one read brings is handled at once, and short frames cost the most.
    fn read_len_max(&self, limits: &ClientLimits) -> usize {
        match &self.phase {
            Phase::Http(http) => (limits.head_len_max + 1)
                .saturating_sub(http.kept_bytes())
                .clamp(1, SCRATCH_LEN),
            Phase::Open(Open { ws, .. }) | Phase::Closing { ws, .. } => {
                let payload_left = usize::try_from(ws.payload_left()).unwrap_or(SCRATCH_LEN);
                payload_left
                    .saturating_add(FRAMES_READ_LEN)
                    .min(SCRATCH_LEN)
            }
            Phase::Lingering { .. } | Phase::Gone => SCRATCH_LEN,
        }
    }

    /// Handles what was read; returns how much of the budget that took.
    fn on_bytes<W: Write>(
        &mut self,
        bytes: &mut [u8],
        stdin: Option<&mut Stdin<W>>,
        cx: &mut Context,
    ) -> usize {
        match &mut self.phase {
            Phase::Open(_) => return self.on_messages(bytes, stdin, cx),
            Phase::Http(_) => self.on_http(bytes, cx),
            Phase::Closing { .. } => return self.on_closing(bytes, cx),
            Phase::Lingering { .. } | Phase::Gone => {}
        }
        bytes.len()
    }

    /// Writes what is queued, as far as the socket takes it; when all of a lingering connection's
    /// bytes have left, closes our half of TCP.
    pub(crate) fn flush(&mut self, cx: &mut Context) {
        // An empty outbox writes nothing, but may have a buffer to give back.
        if self.outbox.is_empty() || self.readiness.writable() {
            match self.outbox.flush(&mut self.socket, &mut cx.pool) {
                Ok(flushed) => self.on_flushed(flushed, cx),
                Err(error) => return self.lost(Loss::Failed(error.kind()), cx),
            }
        }
        if self.outbox.is_empty() {
            self.shut_if_lingering();
        }
    }

    /// Writes what is queued and `more` behind it, as far as the socket takes it.
    fn flush_with(&mut self, more: &[u8], cx: &mut Context) {
        let (outbox, socket) = (&mut self.outbox, &mut self.socket);
        match outbox.flush_with(more, socket, &mut cx.pool) {
            Ok(flushed) => self.on_flushed(flushed, cx),
            Err(error) => self.lost(Loss::Failed(error.kind()), cx),
        }
    }

    fn on_flushed(&mut self, flushed: Flushed, cx: &Context) {
        if flushed.blocked {
            self.readiness.write_blocked();
        }
        if flushed.written == 0 {
            return;
        }
        self.written += flushed.written as u64;
        self.progress.wrote(cx.now);
        match &mut self.phase {
            Phase::Http(http) => http.response_moved(cx.now),
            Phase::Open(open) if self.outbox.is_empty() => open.caught_up(),
            Phase::Open(_) | Phase::Closing { .. } | Phase::Lingering { .. } | Phase::Gone => {}
        }
    }

    /// Bytes are about to be queued: the write time-out counts from the first that waits.
    fn will_queue(&mut self, now: Instant) {
        if self.outbox.is_empty() {
            self.progress.wrote(now);
        }
    }
}
