//! Sizes, counts and times of the server that no option sets. Those that an option sets are in
//! [`crate::config`]; those that a protocol fixes are where the protocol is.
//!
//! A name that ends in `LEN` counts bytes. `PER_TURN` limits what one pass of the loop does for one
//! kind of work, so that the other connections get their share.

use std::time::Duration;

// -- Values of options ---------------------------------------------------------------------------

/// The longest time an option takes: one day. `poll(2)` and `TCP_USER_TIMEOUT` take milliseconds in
/// 31 and 32 bits, about 24 and 49 days.
pub(crate) const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The largest size in bytes an option takes: 1 GiB. Twice that still fits a `usize` of 32 bits.
pub(crate) const SIZE_MAX: usize = 1024 * 1024 * 1024;

// -- A turn --------------------------------------------------------------------------------------

/// The number of events that one `epoll_wait` returns at most: the batch of a turn. Further events
/// stay in the kernel until the next turn.
pub(crate) const BATCH_LEN: usize = 1024;

/// Bytes that are read from one source in a turn; the read that reaches the limit may exceed it.
/// A chunk of at least [`LONG_LEN`] of a client's message counts for a quarter, because it takes that
/// much less work than the same bytes in short messages. So a message of 1 MiB, the default of
/// `--max-message`, is echoed in one turn. Spread over several turns, it took 75% more CPU time.
pub const READ_BUDGET: usize = 320 * 1024;

/// The number of connections that one listener accepts in a turn.
pub const ACCEPTS_PER_TURN: usize = 64;

/// The number of pipelined requests of one connection that are answered in a turn.
pub(crate) const REQUESTS_PER_TURN: usize = 64;

/// The number of commands that start in a turn. It is small, because starting one takes as long as
/// handling hundreds of messages.
pub const SPAWNS_PER_TURN: usize = 8;

// -- Connections ---------------------------------------------------------------------------------

/// How long accepting pauses after EMFILE or ENFILE. The edge that announced the connection is
/// spent, so only a timer can make the server try again.
pub(crate) const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Warn at start if a limit of the system allows fewer clients than this at once. The usual hard
/// limit of 1,024 descriptors allows more, so a small device gets no warning.
pub(crate) const CLIENTS_EXPECTED: u32 = 200;

/// Descriptors that serve no client: the standard three, those of the loop, those that starting a
/// command needs, and some to spare.
pub(crate) const RESERVED_DESCRIPTORS: u32 = 32;

/// Bytes that may wait in the kernel for a client and are not sent yet; the write that reaches the
/// limit may exceed it. Without it, the kernel keeps up to 4 MB for a client that does not read. What
/// is on its way to a distant client does not count, so a smaller number costs no throughput, but more
/// wake-ups.
pub(crate) const UNSENT_LEN_MAX: i32 = 128 * 1024;

// -- Buffers -------------------------------------------------------------------------------------

/// Bytes of the one buffer that every socket and pipe is read into. A larger buffer takes fewer
/// system calls where much has arrived. Allocators map a buffer of 128 KiB or more separately, so the
/// part that is never written to takes no memory.
pub const SCRATCH_LEN: usize = 256 * 1024;

/// The number of empty buffers that the pool keeps for the next user.
pub(crate) const POOL_BUFFERS_MAX: usize = 16;

/// The capacity in bytes above which a buffer is freed instead of returned to the pool. An outbox
/// rarely holds more than the default high-water mark (64 KiB) and one full scratch buffer, with
/// frame headers.
pub(crate) const POOL_BUFFER_LEN_MAX: usize = 64 * 1024 + SCRATCH_LEN + 1024;

// -- Messages ------------------------------------------------------------------------------------

/// Bytes of a fragment. A longer line or message of a command is sent in fragments of this length
/// (RFC 6455 section 5.4), with `--stderr=json` in several messages; what one read of a plain stream
/// returns stays whole. An echo sends a fragment as soon as this many bytes have arrived. So a long
/// message need not be kept in memory.
pub const FRAGMENT_LEN: usize = 64 * 1024;

/// Bytes from which a chunk counts as long. A long chunk for a socket that takes data is written
/// from where it lies, because one more system call costs less than the copy; and it counts for less
/// in the [`READ_BUDGET`].
pub(crate) const LONG_LEN: usize = 32 * 1024;

/// Bytes of one read from a command with `--stderr=json`. An empty line takes 1 byte there and 31 as
/// a message, so a full scratch buffer of empty lines would queue 8 MB.
pub const JSON_READ_LEN: usize = 4 * 1024;

// -- Commands ------------------------------------------------------------------------------------

/// Bytes of the largest pipe that an unprivileged command can make: the default of
/// `fs.pipe-max-size` (pipe(7)).
pub const PIPE_LEN_MAX: usize = 1024 * 1024;

/// How long an exited child may stay unreaped. One SIGCHLD may stand for several children and names
/// one of them; to find the others, the kernel has to look at every child. So that is done at most
/// once in this time.
pub const REAP_DELAY_MAX: Duration = Duration::from_millis(50);

/// The time between two polls whether a process group still exists, while no signal is due for it
/// (`--kill-after=never`).
pub(crate) const GROUP_PROBE: Duration = Duration::from_secs(1);

/// The shortest wait before a shared command restarts. Each time the command ends soon after its
/// start, the next wait is twice as long, up to [`RESTART_DELAY_MAX`].
pub const RESTART_DELAY_MIN: Duration = Duration::from_millis(250);

/// The longest wait before a shared command restarts. After a run that was longer than this, the
/// wait is [`RESTART_DELAY_MIN`] again.
pub const RESTART_DELAY_MAX: Duration = Duration::from_secs(30);

// -- The log -------------------------------------------------------------------------------------

/// Bytes of the longest log line with its newline; the rest is cut. This is `PIPE_BUF` of Linux: a
/// pipe takes such a line whole or not at all (pipe(7)).
pub(crate) const LOG_LINE_LEN_MAX: usize = 4096;

/// Bytes that a log line shows of a text that a peer sent. Escaped, each takes up to four.
pub(crate) const LOG_ESCAPED_LEN_MAX: usize = 256;

/// The number of different lines that one peer can cause within a second by being refused. Further
/// ones are counted.
pub(crate) const LOG_LINES_PER_PEER: usize = 8;

/// The number of such lines of all peers together within a second.
pub(crate) const LOG_PEER_LINES_MAX: usize = 64;

// A read must fit the budget of a turn, and an escaped text must leave room in its log line.
const _: () = assert!(SCRATCH_LEN <= READ_BUDGET);
const _: () = assert!(JSON_READ_LEN <= SCRATCH_LEN);
const _: () = assert!(4 * LOG_ESCAPED_LEN_MAX < LOG_LINE_LEN_MAX);
const _: () = assert!(SIZE_MAX <= isize::MAX as usize);
