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

/// The largest `--max-headers`.
pub(crate) const HEADERS_MAX: usize = 1024;

// -- A turn --------------------------------------------------------------------------------------

/// The number of events that one `epoll_wait` returns at most: the batch of a turn. Further events
/// stay in the kernel until the next turn.
pub(crate) const BATCH_LEN: usize = 1024;

/// How long a turn may last before the rest of its visits wait for the next one. Whatever the
/// others send, a client that asks for little is served again after about this time.
pub const TURN_TIME_MAX: Duration = Duration::from_millis(4);

/// How much work one visit does, counted as if it were bytes; the read that reaches the limit may
/// exceed it. Work is not the number of bytes alone: each frame and each fragment of output costs as
/// much as many bytes ([`FRAME_COST`], [`FRAGMENT_COST`]), and a chunk of at least [`LONG_LEN`]
/// counts for a quarter, because it takes that much less work than the same bytes in short messages.
/// So a visit takes a few hundred microseconds at most, and yet a message of 1 MiB, the default of
/// `--max-message`, is echoed in one. Spread over several turns, it took 75% more CPU time.
pub const VISIT_BUDGET: usize = 320 * 1024;

/// What a frame costs a visit, besides its bytes: about 600 empty frames are a visit's work.
pub(crate) const FRAME_COST: usize = 512;

/// What a fragment of a command's output costs a visit, besides its bytes.
pub(crate) const FRAGMENT_COST: usize = 32;

/// What a request costs a visit: its head is parsed, and a page of some kilobytes may be the answer.
pub(crate) const REQUEST_COST: usize = 64 * 1024;

/// What a visit costs the turn at least: two system calls.
pub(crate) const VISIT_COST: usize = 8 * 1024;

/// How much work is done between two looks at the clock: some tens of microseconds of it.
pub(crate) const CLOCK_INTERVAL: usize = 64 * 1024;

/// Bytes of a read that may hold frames of any length. More is read at once only where the rest of a
/// long frame is known to be next, so no read brings more frames than fit in here. A message of
/// 16 KiB fits, with its header.
pub(crate) const FRAMES_READ_LEN: usize = 16 * 1024 + 64;

/// Bytes of one read from a command whose output goes to many members, each of which gets a copy. With
/// fewer members a read is longer, so that all copies together are about as long as one full read.
pub(crate) const SHARED_READ_LEN: usize = 4 * 1024;

/// Bytes of one read of a command's stderr for the log: a line of one byte becomes one of fifty.
pub(crate) const LOG_READ_LEN: usize = 4 * 1024;

/// The number of connections that one listener accepts in a turn.
pub const ACCEPTS_PER_TURN: usize = 64;

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

/// The descriptors without which the server does not start, besides one for each listener: the 12
/// that it opens at start, one for a client, and what the start of a command takes.
pub(crate) const DESCRIPTORS_MIN: u32 = 21;

/// Bytes of stack (RLIMIT_STACK) without which the server does not start. A debug build needs a little
/// more than half of it, a release build less.
pub(crate) const STACK_MIN: u32 = 64 * 1024;

/// Bytes that may wait in the kernel for a client and are not sent yet; the write that reaches the
/// limit may exceed it. Without it, the kernel keeps up to 4 MB for a client that does not read. What
/// is on its way to a distant client does not count, so the number costs it no throughput. Half of it
/// takes 5% more CPU time for an echo of 1 MiB, because of more wake-ups.
pub(crate) const UNSENT_LEN_MAX: i32 = 256 * 1024;

/// Bytes per second that a peer must take of an HTTP response and of the last bytes of a connection,
/// on average and after `--write-timeout`. A modem of 56 kbit/s takes more. So even 4 MB in the
/// kernel's send buffer hold a connection for at most a quarter of an hour and the time-outs.
pub const LAST_BYTES_RATE_MIN: u64 = 4 * 1024;

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

/// Bytes of the header fields before a message with `--framing=headers`, with the empty line that
/// ends them. Programs write one or two fields.
pub const HEADER_LEN_MAX: usize = 4 * 1024;

/// Bytes from which a chunk counts as long. A long chunk for a socket that takes data is written
/// from where it lies, because one more system call costs less than the copy; and it counts for less
/// in the [`VISIT_BUDGET`].
pub(crate) const LONG_LEN: usize = 32 * 1024;

/// Bytes of one read from a command with `--stderr=json`. An empty line takes 1 byte there and 31 as
/// a message, so a full scratch buffer of empty lines would queue 8 MB.
pub const JSON_READ_LEN: usize = 4 * 1024;

// -- Commands ------------------------------------------------------------------------------------

/// How long the server waits for exec, and its clients with it. exec opens files, so it waits for
/// their file system or for a lease on them. A disk that has to spin up may take longer; the client
/// then gets 503 and finds the disk running at its next attempt.
pub const START_TIME_MAX: Duration = Duration::from_secs(2);

/// The time after which a program is tried again whose start took longer than [`START_TIME_MAX`].
/// For each further such program it is that much longer, so together they take a tenth of the
/// server's time.
pub const START_RETRY: Duration = Duration::from_secs(20);

/// Bytes of the largest pipe that an unprivileged command can make: the default of
/// `fs.pipe-max-size` (pipe(7)).
pub const PIPE_LEN_MAX: usize = 1024 * 1024;

/// How long an exited child may stay unreaped. One SIGCHLD may stand for several children and names
/// one of them; to find the others, the kernel has to look at every child. So that is done at most
/// once in this time.
pub const REAP_DELAY_MAX: Duration = Duration::from_millis(50);

/// The time between two polls whether the process group of a command that has exited still exists.
/// On a kernel that signals groups by number only, the number must not be used again within this
/// time. A counter of 32,768 PIDs, the smallest default, goes round in 3 s with 10,000 forks a second.
pub const GROUP_PROBE: Duration = Duration::from_millis(100);

/// The same for a group that is not signalled (`--kill-after=never`).
pub(crate) const GROUP_PROBE_UNSIGNALLED: Duration = Duration::from_secs(1);

/// The shortest wait before a shared command restarts. Each time the command ends soon after its
/// start, the next wait is twice as long, up to [`RESTART_DELAY_MAX`].
pub const RESTART_DELAY_MIN: Duration = Duration::from_millis(250);

/// The longest wait before a shared command restarts. After a run that was longer than this, the
/// wait is [`RESTART_DELAY_MIN`] again.
pub const RESTART_DELAY_MAX: Duration = Duration::from_secs(30);

/// The number of entries of `/proc` that a turn reads in search of jobs: about a millisecond's work.
pub(crate) const JOB_SCAN_LEN: usize = 512;

/// The time between two parts of a scan for jobs.
pub(crate) const JOB_SCAN_PAUSE: Duration = Duration::from_millis(1);

/// The time between two scans for jobs, for each entry of `/proc`. Reading one takes one or two
/// microseconds, so scans take a hundredth of a processor, however many commands end.
pub(crate) const JOB_SCAN_INTERVAL: Duration = Duration::from_micros(200);

/// The longest time between two scans for jobs. It is reached with 2,500 processes, from where on
/// scans may take more of the processor: signals for jobs must not come much later.
pub(crate) const JOB_SCAN_INTERVAL_MAX: Duration = Duration::from_millis(500);

/// How often the jobs of a command are sent SIGKILL, once every [`GROUP_PROBE`]: a job may have started
/// another one during the scan. One that then still exists is stuck in the kernel, and goes later.
pub(crate) const JOB_KILLS_MAX: u8 = 10;

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
const _: () = assert!(SCRATCH_LEN <= VISIT_BUDGET);
const _: () = assert!(FRAMES_READ_LEN <= SCRATCH_LEN && LOG_READ_LEN <= SCRATCH_LEN);
const _: () = assert!(JSON_READ_LEN <= SCRATCH_LEN);
const _: () = assert!(4 * LOG_ESCAPED_LEN_MAX < LOG_LINE_LEN_MAX);
const _: () = assert!(SIZE_MAX <= isize::MAX as usize);
