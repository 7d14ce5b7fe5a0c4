//! wspipe puts any program on a WebSocket: one static binary, one thread, one poll loop.
//!
//! A message from the client becomes a line on the program's stdin; a line that it prints becomes
//! a message back. This page is the map of the source, and the order to read it in.
//!
//! *Readiness comes in, bytes go through pure state machines, and everything that touches the
//! outside happens in one place, derived from state.*
//!
//! # The life of one connection
//!
//! 1. [`event_loop::EventLoop::run`] waits in `epoll_wait(2)`, reads the clock once and hands each
//!    event of the batch to the [`server::Server`], which unpacks the token into a
//!    [`source::Source`]. For a listening socket it accepts, and the connection becomes a
//!    [`client::Client`] in an [`arena::Arena`], registered once and for all.
//! 2. The socket becomes readable. That is remembered as [`readiness::Readiness`], and
//!    [`client::Client::pump`] does what is both ready and wanted: it reads into the one scratch
//!    buffer of the [`context::Context`].
//! 3. [`http::head_scanner::HeadScanner`] finds the end of the request head, however it was cut, and
//!    [`http::request::Request::parse`] says what it means. [`http::answer::answer`] decides: a page, a
//!    refusal, or a WebSocket.
//! 4. For a WebSocket [`http::handshake::check`] has seen to RFC 6455, section 4.2.1, and
//!    [`http::policy::Policy`] to Origin and Host. If a command is behind it,
//!    [`system::System::spawn`] starts one and it becomes a [`process::Process`]. The 101 is
//!    queued, and the connection is open.
//! 5. From now on the bytes are frames: [`ws::connection::Connection::next_event`] unmasks them
//!    where they lie, answers pings and takes the messages out. An [`assembly::Assembly`] puts
//!    together those that came in pieces.
//! 6. A message is echoed into the client's own [`outbox::Outbox`], a long one in fragments as it
//!    comes; or it is queued in [`stdin::Stdin`] for the command, as a whole. Each is written as far
//!    as the kernel takes it, in one write for all that one read brought.
//! 7. What the command prints is cut into messages by a [`framing::Splitter`] and queued for the client,
//!    as long as that has room. That is all the back-pressure there is: a full outbox makes its
//!    source unwanted, and what is not wanted is not read.
//! 8. [`deadlines::Deadlines`] wakes whoever asked for it: [`ws::keepalive::Keepalive`] to send a
//!    ping or to give up, a [`ladder::Ladder`] to send the next signal.
//! 9. The command exits. The rest of its output is delivered and
//!    [`client::Client::command_ended`] says how it ended in the close frame; or the client leaves
//!    first, and [`process::Process::client_left`] closes stdin and begins the ladder.
//! 10. The client lingers until the peer has closed TCP, the process until its whole group is
//!     gone; then each slot is freed, after the batch, and a [`record::Record`] goes to the
//!     [`log::Log`].
//!
//! # The layers
//!
//! Imports go downward only; a test holds this.
//!
//! | layer | modules | may use |
//! |---|---|---|
//! | 0, pure: no I/O and no clock | [`ws`], [`http`], [`framing`], [`assembly`], [`outbox`], [`arena`], [`deadlines`], [`instant`], [`ladder`], [`farewell`], [`history`], [`config`] | std, httparse, sha1_smol, base64, slab, memchr |
//! | 1, the loop | [`event_loop`], [`readiness`], [`source`], [`stdin`], [`log`] | mio |
//! | 2, the lives | [`client`], [`process`], with [`channel`], [`record`], [`peer`], [`context`], [`environment`], and [`system`]: what they ask of the operating system | layers 0 and 1 |
//! | 3, the server | [`server`] | all above, over any [`system::System`] |
//! | 4, the real world | [`linux`] with [`listener`], [`signals`], [`spawn`], [`launcher`], [`before_exec`], [`directory`], [`peer_uid`]; [`account`]; [`limits`]; [`cli`], [`start`] | nix, libc, lexopt |
//!
//! Read them in that order for the parts before the whole, or follow the steps above for the
//! whole before the parts.

#[cfg(not(target_os = "linux"))]
compile_error!("wspipe runs on Linux only: it needs epoll, signalfd and /proc");

pub mod cli;
pub mod client;
pub mod config;
pub mod context;
pub mod event_loop;
pub mod framing;
pub mod http;
pub mod limits;
pub mod linux;
pub mod log;
pub mod manual;
pub mod peer;
pub mod process;
pub mod server;
pub mod source;
pub mod startup;
pub mod system;
#[cfg(test)]
mod testing;
pub mod ws;
