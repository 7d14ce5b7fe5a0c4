//! wspipe puts any program on a WebSocket: one binary, one thread, one poll loop.
//!
//! A message from the client becomes a line on the program's stdin; a line it prints becomes a
//! message back. To use it, read the [manual]. To learn how it works, start here: this page is the
//! map of the source.
//!
//! *Readiness comes in, bytes go through pure state machines, and their state decides the next read,
//! write or wait.*
//!
//! # The drawing
//!
//! ```text
//!                        epoll: which sockets and pipes are ready?
//!                                        |
//!                                  +-----v-----+
//!                                  |  server   |   visits, settles, arms timers
//!                                  +--+-----+--+
//!                  a client           |     |            its process
//!          +--------------------------v-+ +-v--------------------------+
//!  socket  | read -> frames -> messages --> stdin outbox -> write      |  stdin
//!  ------> |                            | |                            | ------>
//!          |                            | |                            |
//!  <------ | write <- outbox <- frames <--- messages <- cut <- read    | <------
//!          +----------------------------+ +----------------------------+  stdout
//!            not read while the stdin       not read while the client's
//!            outbox or its own is full      outbox is full
//! ```
//!
//! # The life of one connection
//!
//! 1. **An event.** [`EventLoop::run`] waits in `epoll_wait(2)`, reads the clock once and delivers
//!    each event of the batch to the [`Server`], which unpacks the token into a [`Source`]. A
//!    listening socket only enters the queue of postponed visits: accepting is put off to the end of
//!    the turn, so that a flood of connections cannot delay the connected clients.
//! 2. **Accepted.** `Server::add_client` (`server/accept.rs`) makes a [`Client`] in an [`Arena`] and
//!    registers its socket once. No limit on clients is checked yet: a full server can still answer
//!    and say that it is full.
//! 3. **Bytes.** When the socket becomes readable, that is remembered as [`Readiness`], and
//!    [`Client::pump`] does what is both ready and wanted: it reads into the one scratch buffer of
//!    the [`Context`].
//! 4. **A request.** [`HeadScanner`] finds the end of the head, however it was cut, within
//!    `--max-head`. [`Request::parse`] parses it. [`answer()`] decides: a page, a refusal, or a
//!    WebSocket. For a WebSocket, [`handshake::check`] checks RFC 6455 section 4.2.1, and
//!    [`Policy`] checks Host and Origin.
//! 5. **A command.** `Server::accept_upgrade` (`server/upgrade.rs`) checks the limits on clients;
//!    `Server::start` (`server/start.rs`) checks those on commands, and [`System::spawn`] starts one,
//!    which becomes a [`Process`]. `Server::open` queues the 101, and the connection is open.
//! 6. **Messages in.** From now on the bytes are frames. [`Connection::next_event`] unmasks them in
//!    place, answers pings and takes the messages out; an [`Assembly`] joins those that arrived in
//!    chunks. A message is queued whole in the command's [`Stdin`] (with `--framing=raw` in
//!    parts, as they arrive), or echoed into the client's own [`Outbox`]. Each client's outbox is
//!    written once for all that one read brought, stdin once for each visit.
//! 7. **Messages out.** `Server::forward_output` (`server/output.rs`) reads what the command prints.
//!    A [`Splitter`] cuts it into messages for its [`Audience`], as long as the client has room. A
//!    full outbox makes its source unwanted, and what is not wanted is not read: that is the
//!    back-pressure, both ways. When the outbox has drained, settling the client visits the command
//!    again. (Output without an audience is read and dropped, so that the command can end.)
//! 8. **Time.** [`Timers`] fire for an entry that is due, and its clock decides: [`Keepalive`] that a
//!    ping is due or the client is to be dropped, an [`Escalation`] that the next signal is due. A
//!    timer fires only after one more poll, when every event before its time has been delivered.
//! 9. **The end.** The command exits and is reaped. The rest of its output is delivered, and
//!    [`Client::command_exited`] says how it ended in the close frame. Or the client leaves first,
//!    and [`Process::abandon`] closes stdin and begins the escalation.
//! 10. **Gone.** The client lingers until the peer has closed TCP; the process stays until its group
//!     and its jobs are gone or were sent SIGKILL. Then `Server::free_gone` (`server/lifecycle.rs`) frees each
//!     slot, after the batch, and an [`AccessRecord`] goes to the [`Log`].
//!
//! # The layers
//!
//! Imports go downward only; `tests/layers.rs` holds this, and which crates each folder may use. The
//! four folders of the loop and the protocols share only plain values. The real
//! system is near the top because it implements the trait [`System`], which the server uses without
//! naming an implementation.
//!
//! | folder | story | crates |
//! |---|---|---|
//! | `main.rs`, [`startup`], [`cli`] | the command line, and from there to a running loop | lexopt |
//! | [`linux`] | the real system: the only place with `unsafe`, nix and libc | nix, libc, mio |
//! | [`server`] | joins clients and processes, over any [`System`] | mio |
//! | [`client`] | one connection's life | |
//! | [`process`] | one command's life | |
//! | [`system`], [`context`], [`config`], [`source`], [`peer`], `memory`, [`log`] | the seam to the system, and the types that clients and processes share | mio (tokens) |
//! | [`ws`], [`http`], [`framing`] | the protocols, without I/O and without a clock | httparse, sha1_smol, base64, memchr |
//! | [`event_loop`] | readiness, timers, arenas and buffers; knows nothing of wspipe | mio, slab |
//! | [`limits`], `calendar` | constants that several files share, or an operator may ask about; dates | |
//!
//! # Eight files to read, and a question for each
//!
//! 1. [`event_loop`] (`mod.rs`): why are timers not compared with the clock?
//! 2. [`event_loop::readiness`]: what would happen if a read that stops early forgot the rest?
//! 3. [`client`] (`mod.rs`): in which phase is a client that sends a Close, and what reads its last
//!    bytes?
//! 4. `server/visits.rs`: who may push a visit, and why does the queue become empty?
//! 5. [`ws::connection`]: where does a message over `--max-message` end, and with which code?
//! 6. `server/output.rs`: the socket is full while the command prints. What stops the command?
//! 7. [`process`] (`mod.rs`) and `server/reap.rs`: why is a group looked up before its member is
//!    reaped, and probed after?
//! 8. [`linux`], `spawn/clone.rs`: what must the child not do before exec?
//!
//! [Why it is written so][manual::why] has the answers. Then try the [exercises][manual::exercises]:
//! an option, a listener, a framing.
//!
//! # Glossary
//!
//! | word | meaning |
//! |---|---|
//! | turn | one pass of the loop |
//! | batch | the events that one turn delivers |
//! | client, peer | a connection and its state; the other end of it |
//! | command, process | what the operator named; the entry of one that was started |
//! | entry | a client or a process in its arena, named by an id with a generation |
//! | owner | something that can be visited and can have a timer: an entry, a listener, a task of the server |
//! | ready, wanted | a read or write that epoll has announced and that has not blocked since; a read or write that the state of the entry asks for. Work is done where both hold |
//! | visit | doing all work that is ready and wanted for one entry, within a budget |
//! | settle | after a visit: inform the other side, arm the timer, queue an ended entry to be freed |
//! | immediate, postponed, deferred | the queues of visits. Immediate: before the next event. Postponed: at the end of a turn, for listeners, and for entries that the turn had no time for. Deferred: after those, for entries that have had their share. (Clients that ask for a command come last of all) |
//! | `seen_until`, `acted_until` | every event up to this time has been delivered; and the visits that it asked for have taken place |
//! | budget | how much one visit may read, or a turn may accept or start, before the others have theirs |
//! | high-water mark | the number of queued bytes at which reading from the other side pauses |
//! | audience | the receivers of a command's output: one client, a resumable session, all clients |
//! | member, fan-out | a client of a session or shared command; the part of the command that serves all members |
//! | session | a resumable session (`--resume`). Only the option `--session-timeout`, which limits how long any client stays, uses the word otherwise |
//! | chunk, fragment | a part of a message as it arrives in one read; a part of a message as it is sent (RFC 6455 section 5.4) |
//! | escalation | the signals that terminate a command, at fixed times |
//! | job | a process that has left the process group of its command, but not the process session |
//! | lingering | reading to EOF after our FIN, so that our last bytes arrive |
//!
//! [`EventLoop::run`]: event_loop::EventLoop::run
//! [`Server`]: server::Server
//! [`Source`]: source::Source
//! [`Client`]: client::Client
//! [`Arena`]: event_loop::arena::Arena
//! [`Readiness`]: event_loop::readiness::Readiness
//! [`Client::pump`]: client::Client::pump
//! [`Context`]: context::Context
//! [`HeadScanner`]: http::head_scanner::HeadScanner
//! [`Request::parse`]: http::request::Request::parse
//! [`answer()`]: http::answer::answer
//! [`handshake::check`]: http::handshake::check
//! [`Policy`]: http::policy::Policy
//! [`System`]: system::System
//! [`System::spawn`]: system::System::spawn
//! [`Process`]: process::Process
//! [`Connection::next_event`]: ws::connection::Connection::next_event
//! [`Assembly`]: client::assembly::Assembly
//! [`Stdin`]: process::stdin::Stdin
//! [`Outbox`]: event_loop::outbox::Outbox
//! [`Splitter`]: framing::Splitter
//! [`Audience`]: process::audience::Audience
//! [`Timers`]: event_loop::timers::Timers
//! [`Keepalive`]: client::keepalive::Keepalive
//! [`Escalation`]: process::escalation::Escalation
//! [`Client::command_exited`]: client::Client::command_exited
//! [`Process::abandon`]: process::Process::abandon
//! [`AccessRecord`]: client::access_record::AccessRecord
//! [`Log`]: log::Log

#[cfg(not(target_os = "linux"))]
compile_error!("wspipe runs on Linux only: it needs epoll, signalfd and /proc");

mod calendar;
pub mod cli;
pub(crate) mod client;
pub mod config;
pub mod context;
pub mod event_loop;
pub mod framing;
pub mod http;
pub mod limits;
pub mod linux;
pub mod log;
pub mod manual;
pub(crate) mod memory;
pub mod peer;
pub mod process;
pub mod server;
pub mod source;
pub mod startup;
pub mod system;
#[cfg(test)]
mod testing;
pub mod ws;
