//! Every size, count and time of the server that no option sets: its name, its unit, its reason.
//! What options set is in [`crate::config`]. No other file defines a limit.

use std::time::Duration;

/// The longest time any option takes: one day, within the range of every system call that is
/// handed one (`poll(2)` and `TCP_USER_TIMEOUT` count milliseconds in 31 and 32 bits).
pub(crate) const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The largest size any option takes: 1 GiB. It fits a 32-bit `usize`, also when doubled.
pub(crate) const SIZE_MAX: usize = 1024 * 1024 * 1024;

/// Bytes of the one buffer into which every socket and pipe is read. More is read at once where it
/// has come, and no more is waited for; from 128 KiB on the allocators take memory for it that counts
/// only once it is written to.
pub const SCRATCH_LEN: usize = 256 * 1024;

/// How many bytes one source may have read in a turn, before the others have theirs; the read that
/// reaches it may go beyond. Long chunks of a client's messages count for a quarter, for they are as
/// much less work than short ones. So a message of 1 MiB, the default of `--max-message`, is echoed in
/// one turn, its header too: in several, with those of others between them, it took three quarters
/// more of the processor.
pub const READ_BUDGET: usize = 320 * 1024;

/// How many connections one listener may accept in a turn, before the others have theirs.
pub const ACCEPTS_PER_TURN: usize = 64;

/// How long accepting pauses when descriptors ran out (EMFILE, ENFILE): the edge that announced
/// the waiting connection is spent, so nothing but the clock asks again.
pub(crate) const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The longest pipe that a command can have made without privileges (`fs.pipe-max-size`, pipe(7)).
pub const PIPE_LEN_MAX: usize = 1024 * 1024;

/// How often it is looked whether a process group is gone that is not signalled
/// (`--kill-after=never`).
pub(crate) const GROUP_PROBE: Duration = Duration::from_secs(1);

/// How many commands may be started in a turn, before the others have theirs: to start one takes
/// the time of hundreds of messages.
pub const SPAWNS_PER_TURN: usize = 8;

/// How long a child that has ended may stay unreaped. A signal of the kernel's names one of those
/// that have ended since the last; for the others all children are asked for, which takes the
/// longer the more there are, and is therefore done at most so often.
pub const REAP_DELAY_MAX: Duration = Duration::from_millis(50);

/// How many pipelined requests of one connection are answered in a turn.
pub(crate) const REQUESTS_PER_TURN: usize = 64;

/// How long after its end a shared command is started again, at first; each time that it ends
/// soon after its start doubles it, up to [`RESTART_DELAY_MAX`].
pub const RESTART_DELAY_MIN: Duration = Duration::from_millis(250);

/// The longest wait before a shared command is started again. One that ran for longer than this
/// begins with the shortest wait again.
pub const RESTART_DELAY_MAX: Duration = Duration::from_secs(30);

/// How many events one `epoll_wait` returns at most: the batch of a turn.
pub(crate) const BATCH_LEN: usize = 1024;

/// How many empty buffers the pool keeps for the next outbox that needs one.
pub(crate) const POOL_BUFFERS_MAX: usize = 16;

/// A buffer that grew beyond this many bytes is freed, not kept in the pool. What waits in an
/// outbox is seldom more: a default high-water mark and a scratch buffer full, with their headers.
pub(crate) const POOL_BUFFER_LEN_MAX: usize = 64 * 1024 + SCRATCH_LEN + 1024;

/// A line or message of a command's that is longer than this many bytes goes out in fragments of so
/// much (RFC 6455, section 5.4), with `--stderr=json` in several messages; what one read of a plain
/// stream returned stays whole. An echo goes out as soon as so much of it has come.
pub const FRAGMENT_LEN: usize = 64 * 1024;

/// From how many bytes on a chunk is long. On its way to a socket that is free it is not copied: a
/// call more costs less than that. And a client's counts for less of the [`READ_BUDGET`].
pub(crate) const LONG_LEN: usize = 32 * 1024;

/// How much of a command's output is read at once with `--stderr=json`. An empty line of one byte
/// becomes a message of 31, so that a scratch buffer full of them would queue eight megabytes.
pub const JSON_READ_LEN: usize = 4 * 1024;

/// A log line is cut at this many bytes, its newline included. `PIPE_BUF` on Linux: so much is
/// written to a pipe in one piece or not at all.
pub(crate) const LOG_LINE_LEN_MAX: usize = 4096;

/// Of what a peer supplied, a log line shows this many bytes.
pub(crate) const LOG_ESCAPED_LEN_MAX: usize = 256;

/// Limits of the system under which fewer clients than this can be served at once deserve a warning
/// at start. The usual hard limit of 1,024 descriptors is enough for it, so a small device is quiet.
pub(crate) const CLIENTS_EXPECTED: u32 = 200;

/// The descriptors that serve no client: the standard three, the loop's, those that are kept or
/// opened for a moment so that commands can start, and some to spare.
pub(crate) const RESERVED_DESCRIPTORS: u32 = 32;

// One read must not be more than a turn's budget, and an escaped peer's text (four bytes for one, at
// worst) must leave room in its log line.
const _: () = assert!(SCRATCH_LEN <= READ_BUDGET);
const _: () = assert!(JSON_READ_LEN <= SCRATCH_LEN);
const _: () = assert!(4 * LOG_ESCAPED_LEN_MAX < LOG_LINE_LEN_MAX);
const _: () = assert!(SIZE_MAX <= isize::MAX as usize);
