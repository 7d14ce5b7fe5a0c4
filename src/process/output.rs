//! The output of a command, cut into messages: [`Outputs`], and each [`Output`] of them.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use crate::config::{CommandSettings, Stderr};
use crate::event_loop::instant::Instant;
use crate::event_loop::readiness::Readiness;
use crate::framing::{Fragment, OutputError, Splitter, Stream};
use crate::limits::PIPE_LEN_MAX;

/// The pipes that a command writes: stdout, and stderr where it has a pipe of its own.
pub(crate) struct Outputs<R> {
    /// Always for the client.
    pub(crate) stdout: Output<R>,
    /// For the client if the two are tagged (`--stderr=json`), otherwise for the log. Boxed because
    /// it is rare.
    pub(crate) stderr: Option<Box<Output<R>>>,
    /// Which of the two is read for the client next.
    next: Stream,
}

impl<R: Read> Outputs<R> {
    /// The pipes of a command that was just started.
    pub(super) fn new(stdout: R, stderr: Option<R>, settings: &CommandSettings) -> Self {
        Self {
            stdout: Output::new(stdout, Stream::Stdout, settings),
            stderr: stderr.map(|pipe| Box::new(Output::new(pipe, Stream::Stderr, settings))),
            next: Stream::Stdout,
        }
    }

    /// The outputs that are for the client.
    pub(crate) fn for_client(&mut self) -> impl Iterator<Item = &mut Output<R>> {
        let stderr = self.stderr.as_deref_mut();
        [Some(&mut self.stdout), stderr.filter(|it| it.for_client)]
            .into_iter()
            .flatten()
    }

    /// Stderr, if it is for the log.
    pub(crate) fn for_log(&mut self) -> Option<&mut Output<R>> {
        self.stderr.as_deref_mut().filter(|it| !it.for_client)
    }

    /// Whether a read for the client may return something.
    pub(crate) fn has_work(&self) -> bool {
        let stderr = self.stderr.as_deref();
        self.stdout.has_work() || stderr.is_some_and(|it| it.for_client && it.has_work())
    }

    /// Reads once, as [`Output::read`], from an output that is for the client, and returns that
    /// output too. The two take turns, so that a busy one cannot starve the other.
    pub(crate) fn read(&mut self, scratch: &mut [u8]) -> Option<(&mut Output<R>, usize)> {
        let stderr = self.stderr.as_deref_mut().filter(|it| it.for_client);
        let (first, second) = match (self.next, stderr) {
            (_, None) => (&mut self.stdout, None),
            (Stream::Stdout, Some(stderr)) => (&mut self.stdout, Some(stderr)),
            (Stream::Stderr, Some(stderr)) => (stderr, Some(&mut self.stdout)),
        };
        self.next = match self.next {
            Stream::Stdout => Stream::Stderr,
            Stream::Stderr => Stream::Stdout,
        };
        if let Some(len) = first.read(scratch) {
            return Some((first, len));
        }
        let second = second?;
        let len = second.read(scratch)?;
        Some((second, len))
    }

    /// When the first prompt of an output for the client is due.
    pub(super) fn prompt_deadline(&self, flush: Option<Duration>) -> Option<Instant> {
        let stderr = self.stderr.as_deref().filter(|output| output.for_client);
        let outputs = [Some(&self.stdout), stderr].into_iter().flatten();
        outputs
            .filter_map(|output| output.prompt_deadline(flush))
            .min()
    }

    /// The command has exited. Its last output may be in a pipe for which no edge was delivered.
    pub(super) fn command_exited(&mut self) {
        let stderr = self.stderr.as_deref_mut();
        for output in [Some(&mut self.stdout), stderr].into_iter().flatten() {
            output.readiness.merge(Readiness::READABLE);
            output.read_since_exit = 0;
        }
    }

    /// The memory of unfinished messages, in bytes.
    pub(super) fn capacity(&self) -> usize {
        let stderr = self.stderr.as_deref();
        self.stdout.splitter.capacity() + stderr.map_or(0, |it| it.splitter.capacity())
    }

    /// Frees what is kept of unfinished messages. Further output means nothing.
    pub(super) fn discard(&mut self) {
        let stderr = self.stderr.as_deref_mut();
        for output in [Some(&mut self.stdout), stderr].into_iter().flatten() {
            output.splitter = Splitter::Raw;
            output.prompt_since = None;
        }
    }

    /// Whether all output of an exited command has been read. `no_writer`: no known process is left
    /// that could write.
    pub(super) fn are_finished(&self, no_writer: bool) -> bool {
        let stderr = self.stderr.as_deref();
        self.stdout.is_finished(no_writer) && stderr.is_none_or(|it| it.is_finished(no_writer))
    }
}

/// A part of a command's output.
#[derive(Clone, Copy)]
pub(crate) enum Part<'a> {
    /// What one read returned.
    Bytes(&'a [u8]),
    /// The end of the output.
    Eof,
    /// An unfinished line, if it has waited for `flush` (`--flush`).
    Prompt {
        /// How long it waits; `None`: until it is finished.
        flush: Option<Duration>,
    },
}

/// One pipe that a command writes.
pub(crate) struct Output<R> {
    /// `None` at EOF.
    pipe: Option<R>,
    /// What epoll last reported for the pipe.
    pub(crate) readiness: Readiness,
    /// Whether it goes to the client, not to the log.
    for_client: bool,
    splitter: Splitter,
    /// Since when an unfinished line has waited for its end.
    prompt_since: Option<Instant>,
    /// Bytes read since the command's exit, saturating.
    read_since_exit: u32,
}

impl<R: Read> Output<R> {
    fn new(pipe: R, stream: Stream, settings: &CommandSettings) -> Self {
        Self {
            pipe: Some(pipe),
            readiness: Readiness::NONE,
            for_client: stream == Stream::Stdout || settings.stderr == Stderr::Json,
            splitter: Splitter::new(stream, &settings.format()),
            prompt_since: None,
            read_since_exit: 0,
        }
    }

    /// Whether a read may return something.
    fn has_work(&self) -> bool {
        self.pipe.is_some() && self.readiness.readable()
    }

    /// Reads once into `scratch`. `None`: nothing to read now. 0: EOF, and the pipe is closed.
    pub(crate) fn read(&mut self, scratch: &mut [u8]) -> Option<usize> {
        let pipe = self.pipe.as_mut()?;
        let len_max = self.splitter.read_len_max().min(scratch.len());
        let scratch = &mut scratch[..len_max];
        while self.readiness.readable() {
            match pipe.read(scratch) {
                Ok(n) if n > 0 => {
                    let read = u32::try_from(n).unwrap_or(u32::MAX);
                    self.read_since_exit = self.read_since_exit.saturating_add(read);
                    self.readiness.read_some(n, scratch.len());
                    return Some(n);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readiness.read_blocked();
                }
                // read(2) lists no other error for a pipe; any is treated as EOF.
                Ok(_) | Err(_) => {
                    self.pipe = None;
                    return Some(0);
                }
            }
        }
        None
    }

    /// Makes messages of a part of the output: hands their fragments to `sink` and returns the number
    /// of fragments.
    ///
    /// # Errors
    /// The output cannot be made into messages: the command's fault.
    pub(crate) fn emit(
        &mut self,
        part: Part<'_>,
        now: Instant,
        mut sink: impl FnMut(Fragment<'_>),
    ) -> Result<usize, OutputError> {
        let (mut fragments, mut ended) = (0, false);
        let mut sink = |fragment: Fragment<'_>| {
            fragments += 1;
            ended |= fragment.last;
            sink(fragment);
        };
        let outcome = match part {
            Part::Bytes(bytes) => self.splitter.push(bytes, &mut sink),
            Part::Eof => self.splitter.finish(&mut sink),
            Part::Prompt { flush } => {
                if self.prompt_deadline(flush).is_none_or(|due| due > now) {
                    return Ok(0);
                }
                self.splitter.flush(&mut sink);
                self.prompt_since = None;
                return Ok(fragments);
            }
        };
        // An unfinished line behind the end of a message has waited only since now.
        let since = self.prompt_since.filter(|_| !ended).unwrap_or(now);
        self.prompt_since = self.splitter.has_prompt().then_some(since);
        outcome.map(|()| fragments)
    }

    /// When an unfinished line is sent as it is. Not while the pipe holds more: its end may be
    /// there.
    fn prompt_deadline(&self, flush: Option<Duration>) -> Option<Instant> {
        let since = self.prompt_since.filter(|_| !self.has_work())?;
        Some(since + flush?)
    }

    /// Whether the command's own output has been read: at EOF, or when nothing more can come. A
    /// pipe holds at most [`PIPE_LEN_MAX`] bytes, so anything beyond was printed by another process.
    fn is_finished(&self, no_writer: bool) -> bool {
        let drained = !self.readiness.readable() || self.read_since_exit as usize >= PIPE_LEN_MAX;
        self.pipe.is_none() || no_writer && drained
    }
}
