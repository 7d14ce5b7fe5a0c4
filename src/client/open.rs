//! The open phase: messages in both directions.

use std::io::Write;

use crate::client::assembly::Assembly;
use crate::client::keepalive::Keepalive;
use crate::client::{Client, PeerClose, Phase};
use crate::context::Context;
use crate::event_loop::instant::Instant;
use crate::framing::Fragment;
use crate::limits::{FRAGMENT_LEN, FRAME_COST, LONG_LEN};
use crate::process::stdin::Stdin;
use crate::source::ProcessId;
use crate::system::Socket;
use crate::ws::close::CloseCode;
use crate::ws::connection::{Connection, Event};
use crate::ws::frame::Kind;
use crate::ws::framed::Framed;

/// A connection on which messages flow.
pub(super) struct Open {
    pub(super) ws: Connection,
    pub(super) keepalive: Keepalive,
    /// The beginning of a message that has not ended.
    pub(super) assembly: Assembly,
    /// Where the client's messages go.
    sink: Sink,
    /// Whether the command gets only whole messages, even in a plain stream: other clients write to
    /// the same stdin, or this one may be lost inside a message and come back.
    whole: bool,
    /// Extra queue allowance for the backlog replayed on joining. Zero once the outbox has drained
    /// for the first time.
    catch_up_len: u32,
    /// Whether back-pressure keeps the socket from being read.
    pub(super) paused: bool,
    /// When a part of a message last passed, either way.
    pub(super) active_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sink {
    /// Back to the client.
    Echo,
    /// To its command.
    Process,
}

impl Open {
    pub(super) fn kept_bytes(&self) -> usize {
        self.assembly.len()
    }

    /// The memory of the unfinished message, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.assembly.capacity()
    }

    /// The outbox has drained.
    pub(super) fn caught_up(&mut self) {
        self.catch_up_len = 0;
    }
}

impl<S: Socket> Client<S> {
    /// The opening handshake is done and its response is queued. Messages go to `process`; `None`:
    /// they are echoed. If `whole`, the command gets only complete messages.
    pub(crate) fn open(&mut self, process: Option<ProcessId>, whole: bool, now: Instant) {
        self.process = process;
        self.phase = Phase::Open(Open {
            ws: Connection::new(),
            keepalive: Keepalive::new(now),
            assembly: Assembly::default(),
            sink: match process {
                Some(_) => Sink::Process,
                None => Sink::Echo,
            },
            whole,
            catch_up_len: 0,
            paused: false,
            active_at: now,
        });
    }

    /// Frames that came in the same packet as the request head.
    pub(crate) fn on_early_frames<W: Write>(
        &mut self,
        bytes: &mut [u8],
        stdin: Option<&mut Stdin<W>>,
        cx: &mut Context,
    ) {
        self.on_bytes(bytes, stdin, cx);
    }

    /// Bytes of frames: decodes the messages and passes them on. Returns how much of the budget
    /// that took.
    pub(super) fn on_messages<W: Write>(
        &mut self,
        mut bytes: &mut [u8],
        mut stdin: Option<&mut Stdin<W>>,
        cx: &mut Context,
    ) -> usize {
        let mut cost = bytes.len();
        let mut frames = 0;
        if let Phase::Open(open) = &mut self.phase {
            open.keepalive.received(cx.now);
            frames = open.ws.frames();
            self.will_queue(cx.now);
        }
        let len_max = cx.limits.message_len_max as u64;
        while let Phase::Open(Open { ws, .. }) = &mut self.phase {
            let out = self.outbox.writer(&mut cx.pool);
            let event = ws.next_event(&mut bytes, out, len_max);
            cost += FRAME_COST * ws.frames().wrapping_sub(frames) as usize;
            frames = ws.frames();
            match event {
                Ok(None) => break,
                Ok(Some(Event::Data { kind, bytes, last })) => {
                    if bytes.len() >= LONG_LEN {
                        // A long chunk costs a quarter: see VISIT_BUDGET.
                        cost -= bytes.len() / 4 * 3;
                    }
                    self.on_chunk(kind, bytes, last, stdin.as_deref_mut(), cx);
                }
                Ok(Some(Event::Pong)) => {}
                Ok(Some(Event::Close(code))) => {
                    self.peer_close = PeerClose::Arrived;
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

    /// A chunk of a message. Passes on the part that has arrived as soon as the sink can take it.
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
                let takes_parts = || stdin.as_deref().is_some_and(Stdin::takes_parts);
                last || !open.whole && takes_parts()
            }
        };
        if !enough {
            let rest = open.ws.payload_left();
            return open.assembly.add(chunk, rest, &mut cx.pool);
        }
        // Sending may end the phase, but the buffer must return to the pool in any case.
        let mut assembly = std::mem::take(&mut open.assembly);
        let bytes = assembly.with_last(chunk);
        match (open.sink, stdin) {
            (Sink::Echo, _) => {
                let fragment = Fragment {
                    kind,
                    bytes,
                    first: !open.ws.is_sending(),
                    last,
                };
                self.send(fragment, cx);
            }
            (Sink::Process, Some(stdin)) => stdin.push(kind, bytes, &mut cx.pool),
            (Sink::Process, None) => {}
        }
        assembly.clear(&mut cx.pool);
    }

    /// Sends a fragment of the command's output, or of an echo, as a fragment of a message: queues it,
    /// or writes it at once from where it lies if it is long and the socket writable.
    pub(crate) fn send(&mut self, fragment: Fragment<'_>, cx: &mut Context) {
        let Fragment {
            kind,
            bytes,
            first,
            last,
        } = fragment;
        self.will_send(cx.now);
        let Phase::Open(Open { ws, .. }) = &mut self.phase else {
            return;
        };
        self.record.sent.count(bytes.len(), last);
        let out = self.outbox.writer(&mut cx.pool);
        if bytes.len() < LONG_LEN || !self.readiness.writable() {
            return ws.send_fragment(kind, first, last, bytes, out);
        }
        ws.send_header(kind, first, last, bytes.len(), out);
        self.flush_with(bytes, cx);
    }

    /// A part of a message is about to be sent.
    fn will_send(&mut self, now: Instant) {
        if let Phase::Open(open) = &mut self.phase {
            open.active_at = now;
            self.will_queue(now);
        }
    }

    /// Sends the messages that a client missed before it joined: whole frames. They do not count
    /// when the server decides whether the client is too slow.
    pub(crate) fn catch_up(&mut self, framed: &Framed, cx: &mut Context) {
        if let Phase::Open(open) = &mut self.phase {
            let queued = self.outbox.len() + framed.frames.len();
            open.catch_up_len = u32::try_from(queued).unwrap_or(u32::MAX);
            self.send_framed(framed, cx);
        }
    }

    /// Sends messages of a shared command: whole frames. A client that has more than the high-water
    /// mark queued is too slow and is closed, because a shared command waits for no client.
    pub(crate) fn broadcast(&mut self, framed: &Framed, cx: &mut Context) {
        let Phase::Open(open) = &self.phase else {
            return;
        };
        let catch_up_len = open.catch_up_len as usize;
        let queue_max = cx.limits.high_water.saturating_add(catch_up_len);
        if self.outbox.is_full(queue_max) {
            let reason = match cx.memory.is_short() {
                true => "too slow while the server was short of memory (--max-memory)",
                false => "too slow: more than --high-water was waiting",
            };
            return self.close(CloseCode::POLICY_VIOLATION, reason, cx);
        }
        self.send_framed(framed, cx);
    }

    /// Sends messages to a client that its command waits for: whole frames.
    pub(crate) fn send_framed(&mut self, framed: &Framed, cx: &mut Context) {
        if !self.is_open() {
            return;
        }
        self.will_send(cx.now);
        self.record.sent.bytes += framed.payload_len as u64;
        self.record.sent.messages += framed.messages;
        match self.readiness.writable() {
            true => self.flush_with(&framed.frames, cx),
            false => {
                let out = self.outbox.writer(&mut cx.pool);
                out.extend_from_slice(&framed.frames);
            }
        }
    }
}
