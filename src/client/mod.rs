//! One client's life: accepted, opening handshake, open, closing, gone.
//!
//! [`Client::pump`] does whatever the socket is ready for and the state wants; the phases are
//! written below it in the order in which a connection passes through them. Every end goes
//! through `Client::linger` (something is still to be said) or `Client::lost` (nobody
//! listens).

pub mod access_record;
pub mod assembly;
pub mod close_timeout;
pub mod keepalive;

use std::io::{ErrorKind, Write};
use std::net::IpAddr;

use self::close_timeout::CloseTimeout;
use crate::client::access_record::{AccessRecord, Loss};
use crate::client::assembly::Assembly;
use crate::client::keepalive::{Keepalive, Limits, Silence, Verdict};
use crate::config::ClientLimits;
use crate::context::Context;
use crate::event_loop::instant::Instant;
use crate::event_loop::outbox::{Flushed, Outbox, Pool};
use crate::event_loop::readiness::Readiness;
use crate::framing::{Fault, Piece};
use crate::http::head::HeadScan;
use crate::http::refusal::Refusal;
use crate::limits::{FRAGMENT_LEN, LONG_LEN, READ_BUDGET, SCRATCH_LEN};
use crate::log::Level;
use crate::peer::Peer;
use crate::process::fan_out::Batch;
use crate::process::stdin::Stdin;
use crate::source::ProcessId;
use crate::system::{Exit, Socket};
use crate::ws::close::CloseCode;
use crate::ws::connection::{Connection, Event};
use crate::ws::frame::Kind;

/// A connection that was accepted, until it is gone.
pub struct Client<S> {
    socket: S,
    /// What epoll last said of the socket.
    pub readiness: Readiness,
    phase: Phase,
    outbox: Outbox,
    /// Bytes that the kernel has taken from us so far.
    written: u64,
    /// Whether the peer's Close has come, as its own or as the answer to ours.
    peer_closed: bool,
    /// The command that runs for this client, as long as the two have to do with each other.
    process: Option<ProcessId>,
    /// What the log will say, its peer among it.
    record: AccessRecord,
    /// When this client has asked to be woken.
    pub wake_at: Option<Instant>,
    /// Whether this client is in the ready queue.
    pub queued: bool,
}

/// Where a connection is in its life. Each phase owns only what it needs.
enum Phase {
    /// HTTP: awaits a request head, or room to answer one. Ends with the opening handshake, a
    /// response after which the connection closes, or a time-out.
    Http(Http),
    /// Messages flow. Ends with a Close from either side, a violation, or silence.
    Open(Open),
    /// Our Close is sent and the peer's is awaited (RFC 6455, section 7.1.2): data is dropped.
    /// Ends with the peer's Close, or at the deadline.
    Closing {
        ws: Connection,
        close_timeout: CloseTimeout,
    },
    /// Everything is said: what is queued leaves, then our half of TCP is closed, then the other
    /// half is read to its end, because closing a socket with unread bytes would send a reset
    /// that destroys our last ones on their way (RFC 6455, section 7.1.1). Ends with the peer's
    /// half, or at the deadline.
    Lingering {
        close_timeout: CloseTimeout,
        shut: bool,
    },
    /// Nothing is left to do but to free the entry.
    Gone,
}

struct Http {
    /// Bytes of the request head that have arrived, and what came behind it.
    bytes: Vec<u8>,
    scan: HeadScan,
    /// The length of the head, once it is complete.
    head_len: Option<usize>,
    /// Since when what is awaited now has been awaited: a request, or the rest of its head.
    since: Instant,
    /// When the peer last took a part of the responses, or they began to wait.
    taken_at: Instant,
    /// Bytes that the peer's TCP had acknowledged when that was last asked.
    acked: u64,
}

struct Open {
    ws: Connection,
    keepalive: Keepalive,
    sink: Sink,
    /// The beginning of a message whose end has not come.
    assembly: Assembly,
    /// Whether its messages may go to the command only whole, also in a plain stream: others write
    /// there too, or it may be lost inside one and come back.
    whole: bool,
    /// How much more than the high-water mark may wait for it, of what it was sent at once when it
    /// came; until nothing waits for the first time.
    catching_up: u32,
    /// Whether the socket is not read because of back-pressure.
    paused: bool,
    /// When a part of a message last passed, either way.
    active_at: Instant,
}

/// Where a client's messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sink {
    /// Back to itself.
    Echo,
    /// To its command.
    Process,
}

/// What a [`Client::pump`] stopped at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pumped {
    /// The socket is ready for nothing that is wanted.
    Idle,
    /// The budget of this turn: there is more to read.
    Spent,
    /// A whole request head, which the server has to answer.
    Request,
}

/// Why a client that has stayed for `--session-timeout` is closed.
pub const SESSION_OVER: &str = "the session lasted as long as --session-timeout allows";

impl<S: Socket> Client<S> {
    /// A connection that has just been accepted.
    pub fn new(socket: S, peer: Peer, now: Instant) -> Self {
        Self {
            socket,
            readiness: Readiness::NONE,
            phase: Phase::Http(Http::new(Vec::new(), now)),
            outbox: Outbox::new(),
            written: 0,
            peer_closed: false,
            process: None,
            record: AccessRecord::new(peer, now),
            wake_at: None,
            queued: false,
        }
    }

    /// The socket, to be asked for its addresses.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// What the log will say.
    pub fn record_mut(&mut self) -> &mut AccessRecord {
        &mut self.record
    }

    /// The other end of the connection.
    pub fn peer(&self) -> &Peer {
        &self.record.peer
    }

    /// The address that counts as its own.
    pub fn ip(&self) -> IpAddr {
        self.record.ip()
    }

    /// The command that runs for this client.
    pub fn process(&self) -> Option<ProcessId> {
        self.process
    }

    /// Whether messages flow, in both directions.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    /// Whether our Close is sent and the peer's is awaited.
    pub fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }

    /// Whether the peer's Close has come: what was sent before ours, if ours was first, has
    /// arrived.
    pub fn has_closed(&self) -> bool {
        self.peer_closed
    }

    /// Whether it was told how its command ended, if it was not closing already.
    pub fn was_told_exit(&self) -> bool {
        self.record.exit.is_some()
    }

    /// Whether the entry can be freed.
    pub fn is_gone(&self) -> bool {
        matches!(self.phase, Phase::Gone)
    }

    /// Whether the peer has hung up while its last bytes may still wait to be read.
    pub fn has_hung_up(&self) -> bool {
        self.readiness.hung_up()
    }

    /// How many bytes wait to be written to it.
    pub fn queued_bytes(&self) -> usize {
        self.outbox.len()
    }

    /// How many bytes are kept of a request, or of a message that has not ended.
    pub fn unfinished_bytes(&self) -> usize {
        match &self.phase {
            Phase::Http(http) => http.bytes.len(),
            Phase::Open(open) => open.assembly.len(),
            Phase::Closing { .. } | Phase::Lingering { .. } | Phase::Gone => 0,
        }
    }

    /// Whether the outbox has room for more of a command's output.
    pub fn has_room(&self, limits: &ClientLimits) -> bool {
        !self.outbox.is_full(limits.high_water)
    }

    /// Does what the socket is ready for and the state wants: writes what is queued, reads, and
    /// handles what was read, until one of them ends. `stdin` is that of this client's command.
    pub fn pump<W: Write>(&mut self, stdin: Option<&mut Stdin<W>>, cx: &mut Context) -> Pumped {
        // The scratch buffer is read into while the rest of the context is in use.
        let mut scratch = std::mem::take(&mut cx.scratch);
        let pumped = self.pump_through(&mut scratch, stdin, cx);
        cx.scratch = scratch;
        pumped
    }

    fn pump_through<W: Write>(
        &mut self,
        scratch: &mut [u8],
        mut stdin: Option<&mut Stdin<W>>,
        cx: &mut Context,
    ) -> Pumped {
        let mut budget = READ_BUDGET;
        loop {
            // One write for all that one read brought.
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
            if budget == 0 {
                return Pumped::Spent;
            }
            let scratch = &mut scratch[..self.read_len_max(&cx.limits)];
            match self.socket.read(scratch) {
                Ok(0) => self.on_end(cx),
                Ok(n) => {
                    self.readiness.read_some(n, scratch.len());
                    let cost = self.on_bytes(&mut scratch[..n], stdin.as_deref_mut(), cx);
                    budget = budget.saturating_sub(cost);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readiness.read_blocked();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.lost(Loss::Failed(error.kind()), cx),
            }
        }
    }

    /// Whether there is anything to do that the socket is ready for.
    pub fn has_work(&self, stdin_full: bool, limits: &ClientLimits) -> bool {
        let resumes = matches!(&self.phase, Phase::Open(open) if open.paused);
        (self.readiness.readable() || resumes) && self.wants_read(stdin_full, limits)
            || self.readiness.writable() && !self.outbox.is_empty()
            || self.has_request(limits)
    }

    /// Whether the socket is to be read. Back-pressure is here and nowhere else: a command that
    /// does not read, or a peer that does not take its own echoes, is not read from.
    fn wants_read(&self, stdin_full: bool, limits: &ClientLimits) -> bool {
        match &self.phase {
            Phase::Http(http) => http.head_len.is_none(),
            Phase::Open(_) => !stdin_full && self.has_room(limits),
            // A flood behind our last words, of pings say, must not queue more of them.
            Phase::Closing { .. } => self.has_room(limits),
            Phase::Lingering { .. } => true,
            Phase::Gone => false,
        }
    }

    /// How much is read at once. Of a request no more than a head may have: what comes behind it is
    /// kept until it is answered, and then goes on its way whether there is room or not.
    fn read_len_max(&self, limits: &ClientLimits) -> usize {
        match &self.phase {
            Phase::Http(http) => (limits.head_len_max + 1)
                .saturating_sub(http.bytes.len())
                .clamp(1, SCRATCH_LEN),
            _ => SCRATCH_LEN,
        }
    }

    /// Tells the keep-alive whether we read: silence that we caused is not the peer's.
    fn note_pause(&mut self, paused: bool, now: Instant) {
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

    /// A head is complete and there is room for the answer. (A peer that sends requests without
    /// taking the responses is not answered for ever.)
    fn has_request(&self, limits: &ClientLimits) -> bool {
        match &self.phase {
            Phase::Http(http) => http.head_len.is_some() && self.has_room(limits),
            _ => false,
        }
    }

    /// Handles what was read, and says how much of the budget that took.
    fn on_bytes<W: Write>(
        &mut self,
        bytes: &mut [u8],
        stdin: Option<&mut Stdin<W>>,
        cx: &mut Context,
    ) -> usize {
        match &mut self.phase {
            Phase::Open(_) => return self.on_messages(bytes, stdin, cx),
            Phase::Http(_) => self.on_http(bytes, cx),
            Phase::Closing { .. } => self.on_closing(bytes, cx),
            Phase::Lingering { .. } | Phase::Gone => {}
        }
        bytes.len()
    }

    // -- HTTP ------------------------------------------------------------------------------------

    /// Bytes of a request head.
    fn on_http(&mut self, bytes: &[u8], cx: &mut Context) {
        let Phase::Http(http) = &mut self.phase else {
            return;
        };
        if http.bytes.is_empty() {
            http.since = cx.now;
        }
        http.bytes.extend_from_slice(bytes);
        if let Err(refusal) = http.find_head(&cx.limits) {
            self.refuse(&refusal, cx);
        }
    }

    /// Takes out the bytes that begin with a complete head, and the length of the head. The answer is
    /// due at once.
    pub fn take_request(&mut self, now: Instant) -> Option<(Vec<u8>, usize)> {
        let Phase::Http(http) = &mut self.phase else {
            return None;
        };
        let head_len = http.head_len.take()?;
        if self.outbox.is_empty() {
            http.taken_at = now;
        }
        Some((std::mem::take(&mut http.bytes), head_len))
    }

    /// The buffer for a response.
    pub fn response(&mut self, pool: &mut Pool) -> &mut Vec<u8> {
        self.outbox.writer(pool)
    }

    /// The request was answered, and the next may follow: `rest` came behind it.
    pub fn await_request(&mut self, rest: Vec<u8>, cx: &mut Context) {
        let Phase::Http(http) = &mut self.phase else {
            return;
        };
        *http = Http {
            taken_at: http.taken_at,
            acked: http.acked,
            ..Http::new(rest, cx.now)
        };
        if let Err(refusal) = http.find_head(&cx.limits) {
            self.refuse(&refusal, cx);
        }
    }

    /// Answers with a refusal, and closes the connection if the refusal says so.
    pub fn refuse(&mut self, refusal: &Refusal, cx: &mut Context) {
        let status = refusal.status.code();
        let level = match refusal.for_operator {
            true => Level::Warn,
            false => Level::Debug,
        };
        let (peer, reason) = (&self.record.peer, &refusal.reason);
        cx.log.write(
            level,
            format_args!("refused peer={peer} status={status}: {reason}"),
        );
        refusal.write(self.outbox.writer(&mut cx.pool));
        if refusal.close {
            self.linger(cx);
        }
    }

    /// The last response is queued.
    pub fn end_http(&mut self, cx: &mut Context) {
        self.linger(cx);
    }

    // -- Open ------------------------------------------------------------------------------------

    /// The opening handshake is done and its response is queued: messages flow from here on.
    /// `process` is the command that gets them, `whole` even from a plain stream; `None`: they are
    /// echoed.
    pub fn open(&mut self, process: Option<ProcessId>, whole: bool, now: Instant) {
        self.process = process;
        self.phase = Phase::Open(Open {
            ws: Connection::new(),
            keepalive: Keepalive::new(now),
            sink: if process.is_some() {
                Sink::Process
            } else {
                Sink::Echo
            },
            assembly: Assembly::default(),
            whole,
            catching_up: 0,
            paused: false,
            active_at: now,
        });
    }

    /// Frames that came in the same packet as the request head.
    pub fn on_early_frames<W: Write>(
        &mut self,
        bytes: &mut [u8],
        stdin: Option<&mut Stdin<W>>,
        cx: &mut Context,
    ) {
        self.on_bytes(bytes, stdin, cx);
    }

    /// Bytes of frames: takes the messages out and hands them on. Says how much of the budget that
    /// took.
    fn on_messages<W: Write>(
        &mut self,
        mut bytes: &mut [u8],
        mut stdin: Option<&mut Stdin<W>>,
        cx: &mut Context,
    ) -> usize {
        let mut cost = bytes.len();
        if let Phase::Open(open) = &mut self.phase {
            open.keepalive.heard(cx.now);
            note_first_unsent(&self.outbox, &mut open.keepalive, cx.now);
        }
        let len_max = cx.limits.message_len_max as u64;
        while let Phase::Open(Open { ws, .. }) = &mut self.phase {
            let out = self.outbox.writer(&mut cx.pool);
            match ws.next_event(&mut bytes, out, len_max) {
                Ok(None) => break,
                Ok(Some(Event::Data { kind, bytes, last })) => {
                    if bytes.len() >= LONG_LEN {
                        // A quarter is left: see READ_BUDGET.
                        cost -= bytes.len() / 4 * 3;
                    }
                    self.on_chunk(kind, bytes, last, stdin.as_deref_mut(), cx);
                }
                Ok(Some(Event::Pong)) => {}
                Ok(Some(Event::Close(code))) => {
                    self.peer_closed = true;
                    self.record.code = Some(code.unwrap_or(CloseCode::NO_STATUS));
                    self.linger(cx);
                }
                Err(violation) => {
                    ws.fail(violation, out);
                    let peer = &self.record.peer;
                    cx.log
                        .debug(format_args!("failed peer={peer} violation=\"{violation}\""));
                    self.record.code = Some(violation.close_code());
                    self.linger(cx);
                }
            }
        }
        cost
    }

    /// A chunk of a message: hands on what has come of the message as soon as that is enough.
    fn on_chunk<W: Write>(
        &mut self,
        kind: Kind,
        chunk: &[u8],
        last: bool,
        stdin: Option<&mut Stdin<W>>,
        cx: &mut Context,
    ) {
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        open.active_at = cx.now;
        self.record.received.count(chunk.len(), last);
        let enough = match open.sink {
            // The echo of a long message leaves in fragments, so that it need not be kept.
            Sink::Echo => last || open.assembly.len() + chunk.len() >= FRAGMENT_LEN,
            Sink::Process => {
                last || !open.whole && stdin.as_deref().is_some_and(Stdin::takes_parts)
            }
        };
        if !enough {
            return open.assembly.add(chunk, &mut cx.pool);
        }
        // Sending may end the phase, and the buffer must go back all the same.
        let mut assembly = std::mem::take(&mut open.assembly);
        let bytes = assembly.with_last(chunk);
        match (open.sink, stdin) {
            (Sink::Echo, _) => {
                let piece = Piece {
                    kind,
                    bytes,
                    first: !open.ws.is_sending(),
                    last,
                };
                self.send(piece, cx);
            }
            (Sink::Process, Some(stdin)) => stdin.push(kind, bytes, &mut cx.pool),
            (Sink::Process, None) => {}
        }
        assembly.clear(&mut cx.pool);
    }

    /// Sends a piece of what the command printed, or of an echo, as a fragment of a message: queues
    /// it, or where it is long and the socket free, writes it at once from where it lies.
    pub fn send(&mut self, piece: Piece<'_>, cx: &mut Context) {
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        let Piece {
            kind,
            bytes,
            first,
            last,
        } = piece;
        open.active_at = cx.now;
        note_first_unsent(&self.outbox, &mut open.keepalive, cx.now);
        self.record.sent.count(bytes.len(), last);
        let out = self.outbox.writer(&mut cx.pool);
        if bytes.len() < LONG_LEN || !self.readiness.writable() {
            return open.ws.send_fragment(kind, first, last, bytes, out);
        }
        open.ws.send_header(kind, first, last, bytes.len(), out);
        self.flush_with(bytes, cx);
    }

    /// Writes what is queued and `more` behind it, as far as the socket takes it.
    fn flush_with(&mut self, more: &[u8], cx: &mut Context) {
        let (outbox, socket) = (&mut self.outbox, &mut self.socket);
        match outbox.flush_with(more, socket, &mut cx.pool) {
            Ok(flushed) => self.on_flushed(flushed, cx),
            Err(error) => self.lost(Loss::Failed(error.kind()), cx),
        }
    }

    /// Sends messages that went to others before: whole frames. However many they are, the client
    /// has not fallen behind by them.
    pub fn catch_up(&mut self, batch: &Batch, cx: &mut Context) {
        if let Phase::Open(open) = &mut self.phase {
            let waiting = self.outbox.len() + batch.frames.len();
            open.catching_up = u32::try_from(waiting).unwrap_or(u32::MAX);
            self.send_batch(batch, cx);
        }
    }

    /// Sends messages that go to others too: whole frames. A client for which more than the
    /// high-water mark waits already has fallen too far behind, and is not waited for.
    pub fn broadcast(&mut self, batch: &Batch, cx: &mut Context) {
        let Phase::Open(open) = &self.phase else {
            return;
        };
        let catching_up = open.catching_up as usize;
        let queue_max = cx.limits.high_water.saturating_add(catching_up);
        if self.outbox.is_full(queue_max) {
            let reason = "too slow: more than --high-water was waiting";
            return self.close(CloseCode::POLICY_VIOLATION, reason, cx);
        }
        self.send_batch(batch, cx);
    }

    /// Sends messages to a client that its command waits for: whole frames.
    pub fn send_batch(&mut self, batch: &Batch, cx: &mut Context) {
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        open.active_at = cx.now;
        note_first_unsent(&self.outbox, &mut open.keepalive, cx.now);
        self.record.sent.bytes += batch.payload_len as u64;
        self.record.sent.messages += batch.messages;
        match self.readiness.writable() {
            true => self.flush_with(&batch.frames, cx),
            false => {
                let out = self.outbox.writer(&mut cx.pool);
                out.extend_from_slice(&batch.frames);
            }
        }
    }

    /// Whether the client ended the connection for good: by the closing handshake, and not because
    /// its page is left or loaded again, which is 1001.
    pub fn has_ended(&self) -> bool {
        self.record
            .code
            .is_some_and(|code| code != CloseCode::GOING_AWAY)
    }

    /// What the command printed cannot be made into messages: says why, in the close frame. A
    /// message under way stays without an end.
    pub fn output_failed(&mut self, fault: Fault, cx: &mut Context) {
        if self.is_open() {
            cx.log.warn(format_args!(
                "output failed peer={}: {fault}",
                self.record.peer
            ));
            self.close(fault.close_code(), &fault.to_string(), cx);
        }
    }

    /// The command has ended and its output is queued: says how it ended, in the close frame.
    pub fn command_ended(&mut self, exit: Exit, cx: &mut Context) {
        self.record.exit = Some(exit);
        let code = match exit {
            Exit::Status(status) => CloseCode::exit(status.into()),
            Exit::Signal(signal) => CloseCode::signal(signal.into()),
        };
        self.close(code, &exit.to_string(), cx);
    }

    // -- Closing ---------------------------------------------------------------------------------

    /// Begins the closing handshake, whatever the phase: with a code and a reason where messages
    /// flow; an HTTP connection is simply closed once its responses have left.
    pub fn close(&mut self, code: CloseCode, reason: &str, cx: &mut Context) {
        match std::mem::replace(&mut self.phase, Phase::Gone) {
            Phase::Open(mut open) => {
                open.assembly.clear(&mut cx.pool);
                open.ws
                    .close(code, reason, self.outbox.writer(&mut cx.pool));
                self.record.code = Some(code);
                let close_timeout = self.close_timeout(cx);
                self.phase = Phase::Closing {
                    ws: open.ws,
                    close_timeout,
                };
                self.flush(cx);
            }
            // Nobody waits for anything.
            Phase::Http(http) if http.bytes.is_empty() && self.outbox.is_empty() => {}
            Phase::Http(_) => self.linger(cx),
            closing => self.phase = closing,
        }
    }

    /// Bytes behind our Close: nothing but the peer's Close still counts. Pings are answered.
    fn on_closing(&mut self, mut bytes: &mut [u8], cx: &mut Context) {
        let Phase::Closing { ws, .. } = &mut self.phase else {
            return;
        };
        let out = self.outbox.writer(&mut cx.pool);
        let len_max = cx.limits.message_len_max as u64;
        loop {
            match ws.next_event(&mut bytes, out, len_max) {
                Ok(None) => return,
                Ok(Some(Event::Close(code))) => {
                    // That a page is left is no answer to ours: the two have crossed.
                    self.peer_closed = code != Some(CloseCode::GOING_AWAY);
                    return self.linger(cx);
                }
                Err(_) => return self.linger(cx),
                Ok(Some(Event::Data { .. } | Event::Pong)) => {}
            }
        }
    }

    /// Everything is said: lets it leave, then closes TCP as gently as the peer allows.
    fn linger(&mut self, cx: &mut Context) {
        if let Phase::Open(open) = &mut self.phase {
            open.assembly.clear(&mut cx.pool);
        }
        self.phase = Phase::Lingering {
            close_timeout: self.close_timeout(cx),
            shut: false,
        };
        self.flush(cx);
    }

    /// The time for what is queued now, as the last that is said.
    fn close_timeout(&self, cx: &Context) -> CloseTimeout {
        let said = self.written + self.outbox.len() as u64;
        CloseTimeout::new(said, cx.now, &close_limits(&cx.limits))
    }

    /// The peer's half of TCP is at its end.
    fn on_end(&mut self, cx: &mut Context) {
        self.readiness.merge(Readiness::HUNG_UP);
        self.readiness.read_blocked();
        match &self.phase {
            // A peer that has only closed its half may still take what is queued. Our half
            // follows, and with both closed the connection is gone.
            Phase::Http(http) if http.bytes.is_empty() && !self.outbox.is_empty() => {
                self.linger(cx);
            }
            Phase::Lingering { shut: false, .. } => {}
            Phase::Lingering { .. } => self.phase = Phase::Gone,
            _ => self.lost(Loss::HungUp, cx),
        }
    }

    /// The peer has hung up, and what it sent before is of no more use.
    pub fn hang_up(&mut self, cx: &mut Context) {
        self.lost(Loss::HungUp, cx);
    }

    /// The connection is of no more use: nothing can be said, or nobody listens.
    fn lost(&mut self, loss: Loss, cx: &mut Context) {
        cx.log.debug(format_args!(
            "lost peer={} why=\"{loss}\"",
            self.record.peer
        ));
        self.record.loss = Some(loss);
        self.outbox.clear(&mut cx.pool);
        self.phase = Phase::Gone;
    }

    /// The command ended after this client had left it.
    pub fn note_exit(&mut self, exit: Option<Exit>) {
        self.record.exit = exit;
    }

    /// The entry is freed: what the log will say, if the connection ever was open.
    pub fn into_record(self) -> Option<AccessRecord> {
        Some(self.record).filter(AccessRecord::is_opened)
    }

    // -- Writing ---------------------------------------------------------------------------------

    /// Writes what is queued, as far as the socket takes it, and then what its leaving allows.
    pub fn flush(&mut self, cx: &mut Context) {
        if self.outbox.is_empty() || self.readiness.writable() {
            match self.outbox.flush(&mut self.socket, &mut cx.pool) {
                Ok(flushed) => self.on_flushed(flushed, cx),
                Err(error) => return self.lost(Loss::Failed(error.kind()), cx),
            }
        }
        if let Phase::Lingering { shut, .. } = &mut self.phase
            && !*shut
            && self.outbox.is_empty()
        {
            *shut = true;
            // The peer may be gone already, and then there is nobody to tell.
            let _ = self.socket.shutdown_write();
            if self.readiness.hung_up() {
                // The peer's end may have been read before, and then no edge tells of it again.
                self.readiness.merge(Readiness::READABLE);
            }
        }
    }

    /// The kernel took bytes: whoever waits for that waits anew.
    fn on_flushed(&mut self, flushed: Flushed, cx: &Context) {
        if flushed.blocked {
            self.readiness.write_blocked();
        }
        if flushed.written == 0 {
            return;
        }
        self.written += flushed.written as u64;
        match &mut self.phase {
            Phase::Http(http) => http.took(cx.now),
            Phase::Open(open) => {
                open.keepalive.wrote(cx.now);
                if self.outbox.is_empty() {
                    open.catching_up = 0;
                }
            }
            Phase::Closing { .. } | Phase::Lingering { .. } | Phase::Gone => {}
        }
    }

    // -- Time ------------------------------------------------------------------------------------

    /// When this client must be woken: at its deadline, and while something waits for it, four times
    /// in the write time-out. Nobody tells that its TCP has acknowledged something; it is asked then.
    pub fn wake_up_call(&self, cx: &Context) -> Option<Instant> {
        let is_asked = matches!(self.phase, Phase::Http(_) | Phase::Open(_));
        let waits = is_asked && !self.outbox.is_empty();
        let asked_at = waits.then(|| cx.now + cx.limits.write_timeout / 4);
        self.deadline(cx).into_iter().chain(asked_at).min()
    }

    /// When its time is over, as far as is known.
    fn deadline(&self, cx: &Context) -> Option<Instant> {
        let unsent = !self.outbox.is_empty();
        match &self.phase {
            Phase::Http(http) => {
                let request = match http.awaits() {
                    Awaits::Head => Some(http.since + cx.limits.head_timeout),
                    Awaits::Request if !unsent => Some(http.since + cx.limits.http_idle_timeout),
                    Awaits::Request | Awaits::Room => None,
                };
                let responses = unsent.then(|| http.taken_at + cx.limits.write_timeout);
                request.into_iter().chain(responses).min()
            }
            Phase::Open(open) => {
                let silence = open.keepalive.deadline(&limits(&cx.limits), unsent);
                let term = open
                    .terms(self.record.opened_at, &cx.limits)
                    .map(|(at, _)| at)
                    .min();
                term.into_iter().chain(silence).min()
            }
            Phase::Closing { close_timeout, .. } | Phase::Lingering { close_timeout, .. } => {
                Some(close_timeout.deadline())
            }
            Phase::Gone => None,
        }
    }

    /// A wake-up call has come. The deadline may be another by now.
    pub fn on_wake_up(&mut self, cx: &mut Context) {
        let acked = self.acked();
        self.note_acknowledged(acked, cx.now);
        if self.deadline(cx).is_none_or(|at| at > cx.seen_until) {
            return;
        }
        let unsent = !self.outbox.is_empty();
        match &mut self.phase {
            Phase::Http(http) => {
                if unsent && http.taken_at + cx.limits.write_timeout <= cx.seen_until {
                    return self.lost(Loss::NotTaking, cx);
                }
                match http.awaits() {
                    Awaits::Head => self.refuse(&Refusal::head_timeout(), cx),
                    Awaits::Request | Awaits::Room => self.lost(Loss::Idle, cx),
                }
            }
            Phase::Open(open) => {
                if let Some((_, why)) = open
                    .terms(self.record.opened_at, &cx.limits)
                    .find(|(at, _)| *at <= cx.seen_until)
                {
                    return self.close(CloseCode::POLICY_VIOLATION, why, cx);
                }
                match open
                    .keepalive
                    .on_deadline(cx.now, cx.seen_until, &limits(&cx.limits), unsent)
                {
                    Verdict::Wait => {}
                    Verdict::Ping => {
                        note_first_unsent(&self.outbox, &mut open.keepalive, cx.now);
                        open.ws.ping(self.outbox.writer(&mut cx.pool));
                        self.flush(cx);
                    }
                    Verdict::GiveUp(Silence::NotHeard) => self.lost(Loss::NotHeard, cx),
                    Verdict::GiveUp(Silence::NotWriting) => self.lost(Loss::NotTaking, cx),
                }
            }
            Phase::Closing { close_timeout, .. } | Phase::Lingering { close_timeout, .. } => {
                if close_timeout.on_deadline(cx.now, acked, &close_limits(&cx.limits)) {
                    self.lost(Loss::NotClosing, cx);
                }
            }
            Phase::Gone => {}
        }
    }

    /// What the peer's TCP has acknowledged is taken, though its socket may stand full for long. (A
    /// farewell sees to that itself.)
    fn note_acknowledged(&mut self, acked: u64, now: Instant) {
        let said = self.written + self.outbox.len() as u64;
        match &mut self.phase {
            // Who has all of it is idle since the last of it was written.
            Phase::Http(http) if http.acked < acked && acked < said => {
                http.acked = acked;
                http.took(now);
            }
            Phase::Open(open) => open.keepalive.acknowledged(now, acked),
            Phase::Http(_) | Phase::Closing { .. } | Phase::Lingering { .. } | Phase::Gone => {}
        }
    }

    /// How many bytes the peer's TCP has acknowledged (tcp(7), SIOCOUTQ).
    fn acked(&self) -> u64 {
        let unacknowledged = self.socket.unacknowledged() as u64;
        self.written.saturating_sub(unacknowledged)
    }
}

impl Http {
    /// Awaits a request of which `bytes` have come already.
    fn new(bytes: Vec<u8>, now: Instant) -> Self {
        Self {
            bytes,
            scan: HeadScan::default(),
            head_len: None,
            since: now,
            taken_at: now,
            acked: 0,
        }
    }

    /// Looks whether the head is complete.
    fn find_head(&mut self, limits: &ClientLimits) -> Result<(), Refusal> {
        let found = self.scan.find_end(&self.bytes)?;
        if found.unwrap_or(self.bytes.len()) > limits.head_len_max {
            return Err(Refusal::head_too_large(limits.head_len_max));
        }
        self.head_len = found;
        Ok(())
    }

    /// The peer took a part of the responses.
    fn took(&mut self, now: Instant) {
        self.taken_at = now;
        if self.awaits() == Awaits::Request {
            self.since = now;
        }
    }

    fn awaits(&self) -> Awaits {
        match self.head_len {
            Some(_) => Awaits::Room,
            None if self.bytes.is_empty() => Awaits::Request,
            None => Awaits::Head,
        }
    }
}

impl Open {
    /// When the time is over that a client may stay, and the reason for the close frame. Of the
    /// codes 1008 says it best: it is neither a failure nor an end that the command brought about,
    /// but a rule of this server, which the reason names.
    fn terms(
        &self,
        opened_at: Instant,
        limits: &ClientLimits,
    ) -> impl Iterator<Item = (Instant, &'static str)> + use<> {
        let session = limits
            .session_timeout
            .map(|timeout| (opened_at + timeout, SESSION_OVER));
        let idle = limits.idle_timeout.map(|timeout| {
            let why = "no message passed for as long as --idle-timeout allows";
            (self.active_at + timeout, why)
        });
        session.into_iter().chain(idle)
    }
}

/// What an HTTP connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    /// The first byte of a request; before that, where responses are queued, their leaving.
    Request,
    /// The rest of a request head.
    Head,
    /// That the peer takes responses, so that its next request can be answered.
    Room,
}

/// The write time-out counts from the first byte that waits.
fn note_first_unsent(outbox: &Outbox, keepalive: &mut Keepalive, now: Instant) {
    if outbox.is_empty() {
        keepalive.wrote(now);
    }
}

fn close_limits(limits: &ClientLimits) -> close_timeout::Limits {
    close_timeout::Limits {
        close_timeout: limits.close_timeout,
        write_timeout: limits.write_timeout,
    }
}

fn limits(limits: &ClientLimits) -> Limits {
    Limits {
        ping_interval: limits.ping_interval,
        pong_timeout: limits.pong_timeout,
        write_timeout: limits.write_timeout,
    }
}
