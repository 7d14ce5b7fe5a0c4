//! The HTTP phase: request heads, and the responses to them.

use crate::client::{Client, Phase};
use crate::config::ClientLimits;
use crate::context::Context;
use crate::event_loop::buffer_pool::Pool;
use crate::event_loop::instant::Instant;
use crate::http::head_scanner::HeadScanner;
use crate::http::refusal::{Concerns, Refusal};
use crate::log::Level;
use crate::system::Socket;

/// A connection that speaks HTTP.
pub(super) struct Http {
    /// Bytes of the request head that have arrived, and bytes behind it.
    bytes: Vec<u8>,
    scan: HeadScanner,
    /// The length of the head, once it is complete.
    head_len: Option<usize>,
    /// When the current wait began: for a request, or for the rest of its head.
    pub(super) since: Instant,
}

/// What an HTTP connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaits {
    /// The first byte of a request, once all responses have left.
    Request,
    /// The rest of a request head.
    Head,
    /// Room in the outbox, so that the next pipelined request can be answered.
    Room,
}

impl Http {
    /// Awaits a request. `bytes` are the part that has arrived already.
    pub(super) fn new(bytes: Vec<u8>, now: Instant) -> Self {
        Self {
            bytes,
            scan: HeadScanner::default(),
            head_len: None,
            since: now,
        }
    }

    pub(super) fn has_head(&self) -> bool {
        self.head_len.is_some()
    }

    /// The number of bytes that have arrived and are not answered.
    pub(super) fn kept_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The memory they take, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn awaits(&self) -> Awaits {
        match self.head_len {
            Some(_) => Awaits::Room,
            None if self.bytes.is_empty() => Awaits::Request,
            None => Awaits::Head,
        }
    }

    /// Part of a response has left or was acknowledged: the wait for the next request counts from
    /// now.
    pub(super) fn response_moved(&mut self, now: Instant) {
        if self.awaits() == Awaits::Request {
            self.since = now;
        }
    }

    /// Looks for the end of the head.
    fn find_head(&mut self, limits: &ClientLimits) -> Result<(), Refusal> {
        self.head_len = self.scan.find_end(&self.bytes, limits.head_len_max)?;
        Ok(())
    }

    /// The head has not ended in time.
    pub(super) fn timed_out(&self) -> Refusal {
        Refusal::head_timeout().answering(&self.bytes)
    }
}

impl<S: Socket> Client<S> {
    /// Bytes of a request head.
    pub(super) fn on_http(&mut self, bytes: &[u8], cx: &mut Context) {
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

    /// Whether a head is complete and there is room for the response. (A peer that sends requests
    /// without reading the responses is answered only up to the high-water mark.)
    pub(super) fn has_request(&self, limits: &ClientLimits) -> bool {
        match &self.phase {
            Phase::Http(http) => http.has_head() && self.has_room(limits),
            _ => false,
        }
    }

    /// Takes out the bytes that begin with a complete head, and the length of the head. The server
    /// answers at once.
    pub(crate) fn take_request(&mut self, now: Instant) -> Option<(Vec<u8>, usize)> {
        let Phase::Http(http) = &mut self.phase else {
            return None;
        };
        let head_len = http.head_len.take()?;
        let bytes = std::mem::take(&mut http.bytes);
        self.will_queue(now);
        Some((bytes, head_len))
    }

    /// Puts back what [`Client::take_request`] took out: the request is answered later.
    pub(crate) fn put_request_back(&mut self, bytes: Vec<u8>, head_len: usize) {
        if let Phase::Http(http) = &mut self.phase {
            http.bytes = bytes;
            http.head_len = Some(head_len);
        }
    }

    /// The buffer for a response.
    pub(crate) fn response(&mut self, pool: &mut Pool) -> &mut Vec<u8> {
        self.outbox.writer(pool)
    }

    /// The request was answered and the next may follow; `rest` are the bytes that arrived behind
    /// it.
    pub(crate) fn await_request(&mut self, rest: Vec<u8>, cx: &mut Context) {
        let Phase::Http(http) = &mut self.phase else {
            return;
        };
        *http = Http::new(rest, cx.now);
        if let Err(refusal) = http.find_head(&cx.limits) {
            self.refuse(&refusal, cx);
        }
    }

    /// Answers with a refusal, and closes the connection if the refusal says so.
    pub(crate) fn refuse(&mut self, refusal: &Refusal, cx: &mut Context) {
        let level = match refusal.concerns {
            Concerns::Operator => Level::Warn,
            Concerns::Either => Level::Info,
            Concerns::Client => Level::Debug,
        };
        let (peer, status, reason) = (&self.record.peer, refusal.status.code(), &refusal.reason);
        let text = format_args!(" status={status}: {reason}");
        cx.log.write_of_peer(level, "refused", peer, text, cx.now);
        self.will_queue(cx.now);
        let date = cx.date();
        refusal.write(self.outbox.writer(&mut cx.pool), date);
        if refusal.close {
            self.linger(cx);
        }
    }

    /// The last response is queued.
    pub(crate) fn end_http(&mut self, cx: &mut Context) {
        self.linger(cx);
    }
}
