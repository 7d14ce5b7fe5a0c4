//! The server: owns every entry, dispatches each event, and carries bytes between the entries.
//!
//! An entry (a client or a process) is *visited* when one of its streams became ready, when its
//! timer fired, or when the other side of its link may have made room. A visit does all the work
//! that is both ready and wanted, within a budget. Then the entry is *settled*: the other side is
//! informed, the timer is armed, and an entry that has ended is queued to be freed after the batch.
//!
//! This file is the loop's side: what happens in a turn. The rest, in the order of a connection's
//! life:
//!
//! | file | story |
//! |---|---|
//! | `accept`, `admission` | connections come in, and how many may |
//! | `visits`, `owner` | what a visit does, what settling does, why that ends; what can be visited |
//! | `turn` | how long a turn may last |
//! | `upgrade` | a request gets a page, a refusal or a WebSocket |
//! | `start`, `shared`, `resume` | which command serves it: a new one, the shared one, the one it comes back to |
//! | `output`, `members` | output goes to one client or to several; clients join and leave |
//! | `reap`, `jobs` | commands exit; what has left their process group |
//! | `lifecycle`, `trim` | entries are freed, and their memory |
//! | `eviction` | what is freed, and who is disconnected, when memory runs out |
//! | `shutdown` | the server stops |

mod accept;
mod admission;
mod eviction;
mod jobs;
mod lifecycle;
mod members;
mod output;
mod owner;
mod reap;
mod resume;
mod shared;
mod shutdown;
mod start;
mod trim;
mod turn;
mod upgrade;
mod visits;

use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::time::SystemTime;

use mio::Token;

use self::accept::Acceptor;
use self::admission::Admission;
use self::jobs::JobSearch;
use self::lifecycle::AccessLog;
use self::owner::Owner;
use self::reap::Children;
use self::shared::SharedCommand;
use self::shutdown::Shutdown;
pub use self::start::{Command, Commands};
use self::trim::MemoryTrim;
use self::turn::Turn;
use self::visits::Visits;
use crate::client::Client;
use crate::config::ServerLimits;
use crate::context::Context;
use crate::event_loop::arena::Arena;
use crate::event_loop::instant::Instant;
use crate::event_loop::readiness::Readiness;
use crate::event_loop::timers::Timers;
use crate::event_loop::{Handler, Next};
use crate::http::answer::Site;
use crate::process::Process;
use crate::process::environment::UniqueIds;
use crate::process::fan_out::FanOut;
use crate::source::{ClientId, ClientTag, ProcessId, ProcessTag, Source};
use crate::system::{SignalEvent, System};

/// Everything that lives in the loop, over a real or a simulated [`System`].
pub struct Server<S: System> {
    system: S,
    site: Site,
    commands: Commands,
    limits: ServerLimits,
    cx: Context,
    clients: Arena<ClientTag, Client<S::Socket>>,
    processes: Arena<ProcessTag, Process<S::Stdin, S::Output>>,
    timers: Timers<Owner>,
    visits: Visits,
    turn: Turn,
    /// Entries that have ended. Slots are freed after the batch, so that a later event in it cannot
    /// reach a reused slot.
    gone: Vec<Owner>,
    acceptor: Acceptor,
    admission: Admission,
    children: Children,
    /// Whether signals may be pending that no event will announce again.
    signals_left: bool,
    jobs: JobSearch,
    access_log: AccessLog,
    trim: MemoryTrim,
    shared: SharedCommand,
    shutdown: Shutdown,
    unique_ids: UniqueIds,
}

impl<S: System> Handler for Server<S> {
    fn begin_turn(&mut self, now: Instant) {
        self.cx.now = now;
        self.turn = Turn::default();
        self.children.started_in_turn = 0;
    }

    fn on_ready(&mut self, token: Token, readiness: Readiness) {
        match Source::from(token) {
            Source::Listener(index) => self.postpone(Owner::Listener(index)),
            Source::Signals => self.on_signals(),
            Source::Client(id) => self.on_client_ready(id, readiness),
            Source::Stdin(id) => self.on_pipe_ready(id, |process| {
                process.stdin.readiness.merge(readiness);
            }),
            Source::Stdout(id) => {
                self.on_pipe_ready(id, |process| {
                    process.outputs.stdout.readiness.merge(readiness);
                });
                if readiness.hung_up() {
                    self.reap_at_eof(id);
                }
            }
            Source::Stderr(id) => self.on_pipe_ready(id, |process| {
                if let Some(stderr) = &mut process.outputs.stderr {
                    stderr.readiness.merge(readiness);
                }
            }),
        }
        self.run_visits();
    }

    fn sources_max(&self) -> usize {
        let signals = 1;
        let pipes_each = 3;
        self.acceptor.len() + signals + self.clients.len() + pipes_each * self.processes.len()
    }

    fn end_turn(&mut self, seen_until: Instant) -> Next {
        if self.signals_left {
            self.on_signals();
            self.run_visits();
        }
        // Postponed visits come before timers, because their bytes may prove a client alive. Entries
        // that have had their share come after those, and clients that ask for a command last.
        self.run_postponed();
        self.cx.acted_until = self.visits.acted_until(seen_until);
        self.fire_timers();
        self.run_deferred();
        self.run_starts();
        self.free_gone();
        if self.has_served_all() {
            self.stop_after_last();
            self.run_visits();
            self.free_gone();
        }
        self.forget_replays();
        self.trim_memory();
        let report_due = self.cx.log.report_due();
        if report_due.is_some_and(|due| due <= self.cx.now) || self.is_stopped() {
            self.cx.log.report_repeats();
        }
        if self.is_stopped() {
            self.free_all();
            Next::Stop
        } else if self.visits.are_queued() || self.signals_left {
            Next::Poll
        } else {
            let next = [self.timers.next(), self.cx.log.report_due()];
            Next::Wait(next.into_iter().flatten().min())
        }
    }
}

impl<S: System> Server<S> {
    /// A server without clients. `commands` has one for each index that the routes of `site` name.
    pub fn new(
        system: S,
        site: Site,
        commands: Commands,
        limits: ServerLimits,
        cx: Context,
    ) -> Self {
        Self {
            acceptor: Acceptor::new(system.listeners()),
            system,
            site,
            commands,
            limits,
            cx,
            clients: Arena::new(),
            processes: Arena::new(),
            timers: Timers::new(),
            visits: Visits::default(),
            turn: Turn::default(),
            gone: Vec::new(),
            admission: Admission::default(),
            children: Children::default(),
            signals_left: false,
            jobs: JobSearch::new(),
            access_log: AccessLog::new(),
            trim: MemoryTrim::default(),
            shared: SharedCommand::default(),
            shutdown: Shutdown::No,
            unique_ids: UniqueIds::new(SystemTime::now(), RandomState::new().hash_one(0)),
        }
    }

    /// Before the first turn: starts the shared command, if it starts with the server, and releases
    /// the memory that starting up needed.
    pub fn begin(&mut self) {
        if self.shared_is_eager() {
            self.restart_shared();
        }
        self.system.release_memory();
    }

    /// The exit status of the program, once the loop has stopped.
    pub(crate) fn exit_code(&self) -> ExitCode {
        self.shutdown.exit_code()
    }

    /// How many entries there are.
    pub fn census(&self) -> Census {
        let processes = self.processes.iter();
        let kept = processes.filter_map(|(_, it)| Some(FanOut::kept_bytes(it.audience.fan_out()?)));
        Census {
            clients: self.clients.len(),
            processes: self.processes.len(),
            kept_max: kept.max().unwrap_or(0),
            memory_used: self.cx.memory.used(),
            memory_held: self.memory_held(),
            largest_holder: self.largest_holder(),
        }
    }

    /// Every event up to this time has been delivered and acted on.
    pub fn acted_until(&self) -> Instant {
        self.cx.acted_until
    }

    /// Bytes that wait to be written to a client; `None`: it is gone.
    pub fn queued_for_client(&self, id: ClientId) -> Option<usize> {
        self.clients.get(id).map(Client::queued_bytes)
    }

    /// Bytes kept of an unfinished request or message of a client; `None`: it is gone.
    pub fn unfinished_of_client(&self, id: ClientId) -> Option<usize> {
        self.clients.get(id).map(Client::unfinished_bytes)
    }

    /// Bytes that wait to be written to a command; `None`: it is gone.
    pub fn queued_for_command(&self, id: ProcessId) -> Option<usize> {
        self.processes
            .get(id)
            .map(|process| process.stdin.queued_bytes())
    }

    // -- Events ----------------------------------------------------------------------------------

    fn on_client_ready(&mut self, id: ClientId, readiness: Readiness) {
        let clients = &mut self.clients;
        let Some(id) = clients.resolve(id) else {
            return;
        };
        if let Some(client) = clients.get_mut(id) {
            client.readiness.merge(readiness);
            self.visit_ready(Owner::Client(id));
        }
    }

    fn on_pipe_ready(
        &mut self,
        id: ProcessId,
        merge: impl FnOnce(&mut Process<S::Stdin, S::Output>),
    ) {
        let processes = &mut self.processes;
        let Some(id) = processes.resolve(id) else {
            return;
        };
        if let Some(process) = processes.get_mut(id) {
            merge(process);
            self.visit_ready(Owner::Process(id));
        }
    }

    /// Handles signals until none is pending or the turn is over, at least one. A process of the same
    /// user can send them as fast as they are read.
    fn on_signals(&mut self) {
        self.signals_left = true;
        while let Some(event) = self.system.next_signal() {
            match event {
                SignalEvent::ChildEnded(pid) => self.on_child_exited(pid),
                SignalEvent::Shutdown(name) => self.on_shutdown_signal(name),
            }
            self.turn.worked(0);
            if self.turn_is_over() {
                return;
            }
        }
        self.signals_left = false;
    }

    // -- Timers ----------------------------------------------------------------------------------

    /// Fires the timers that are due. One that is armed again in the past fires in the next turn, so
    /// no deadline, even a wrong one, can hold up the loop.
    fn fire_timers(&mut self) {
        for _ in 0..self.timers.len() {
            let Some(owner) = self.timers.pop_due(self.cx.acted_until) else {
                break;
            };
            self.on_timer(owner);
            self.visits.push(owner);
            self.run_visits();
        }
    }

    fn on_timer(&mut self, owner: Owner) {
        match owner {
            Owner::Client(id) => {
                if let Some(client) = self.clients.get_mut(id) {
                    client.wake_at = None;
                    client.on_timer(&mut self.cx);
                }
            }
            Owner::Process(id) => {
                if let Some(process) = self.processes.get_mut(id) {
                    process.wake_at = None;
                }
                self.send_due_signals(id);
                self.flush_prompts(id);
                self.end_expired_session(id);
            }
            Owner::AcceptRetry => self.acceptor.retry_at = None,
            Owner::Reap => self.children.sweep_at = None,
            Owner::Jobs => self.jobs.scan_at = None,
            Owner::Listener(_) | Owner::Restart | Owner::Shutdown => {}
        }
    }
}

/// The number of entries in a server, and the memory they keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Connections that are not yet gone.
    pub clients: usize,
    /// Commands that are not yet gone.
    pub processes: usize,
    /// The most bytes kept in the replay buffer of any one command.
    pub kept_max: usize,
    /// Bytes of memory that are counted as in use.
    pub memory_used: usize,
    /// Bytes of memory that the buffers of all entries take.
    pub memory_held: usize,
    /// The most bytes that one entry holds, of those that can be evicted.
    pub largest_holder: usize,
}
