//! The server: owns every life, hands each event to the one it is for, and carries bytes from one
//! to the other.
//!
//! An entry (a client or a process) is *visited* when something of it became ready, when its
//! deadline came, or when the other side of its link may have made room. A visit does all the
//! work that is both ready and wanted, within a budget, and is followed by *settling*: the
//! other side is told what it has to know, the next wake-up call is armed, and whatever has ended
//! is put down to be freed when the batch is over.
//!
//! That is told here; beside it, file by file: `accepting` and `admission`, who comes in; `answer`
//! and `commands`, what a request gets; `output`, what one client's command prints; `audience`,
//! with `shared` and `sessions`, commands for others; `reaping`, what ends; `shutdown` and `crowd`.

mod accept;
mod admission;
mod audience;
mod output;
mod reap;
mod resume;
mod shared;
mod shutdown;
mod start;
mod trim;
mod upgrade;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::SystemTime;

use mio::Token;

use self::accept::Acceptor;
use self::admission::Admission;
use self::shared::Shared;
use self::shutdown::Shutdown;
pub use self::start::{Command, Commands};
use self::trim::MemoryTrim;
use crate::client::access_record::{AccessRecord, Service, Target};
use crate::client::{Client, Pumped};
use crate::config::{Config, ServerLimits};
use crate::context::Context;
use crate::event_loop::arena::Arena;
use crate::event_loop::instant::Instant;
use crate::event_loop::readiness::Readiness;
use crate::event_loop::timers::{TimerOwner, Timers};
use crate::event_loop::{Handler, Next};
use crate::http::answer::Site;
use crate::http::proxy::Network;
use crate::limits::{REQUESTS_PER_TURN, SPAWNS_PER_TURN};
use crate::process::Process;
use crate::process::environment::UniqueIds;
use crate::process::fan_out::Channel;
use crate::source::{ClientId, ClientTag, GENERATION_MASK, ProcessId, ProcessTag, Source};
use crate::system::{Exit, Pid, SignalEvent, System};

/// All that lives in the loop, over a real or a simulated [`System`].
pub struct Server<S: System> {
    system: S,
    site: Site,
    /// What can be started for a client: each a program's name or path, and its arguments.
    commands: Commands,
    limits: ServerLimits,
    trusted_proxies: Vec<Network>,
    acceptor: Acceptor,
    admission: Admission,
    unique_ids: UniqueIds,
    cx: Context,
    clients: Arena<ClientTag, Client<S::Socket>>,
    processes: Arena<ProcessTag, Process<S::Stdin, S::Output>>,
    /// The entry of each process number; of a number that was used again, the newest.
    by_pid: BTreeMap<Pid, ProcessId>,
    timers: Timers<Owner>,
    /// To be visited before the next event is looked at.
    hot: Vec<Owner>,
    /// The ready queue: entries whose budget is spent wait here while the others have their turn.
    later: VecDeque<Owner>,
    /// How many commands were started in this turn.
    spawned: usize,
    /// Entries that have ended. Their slots are freed when the batch is over, so that no later
    /// event of it can meet a stranger in one.
    gone: Vec<Owner>,
    /// When children are looked for that have ended without a notice of their own.
    reap_at: Option<Instant>,
    /// How many entries there were, so that memory is given back when they have left.
    crowd: MemoryTrim,
    /// What the last client got. Most ask for the same, and share it.
    last_target: Rc<Target>,
    /// How the last command ended that is gone.
    last_exit: Option<Exit>,
    /// The command that all clients share, with `--shared`.
    shared: Shared,
    shutdown: Shutdown,
}

/// Who can be visited, and woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Client(ClientId),
    Process(ProcessId),
    Listener(u32),
    /// The listeners whose connections wait for descriptors.
    Starved,
    /// The shared command, which has ended and is to be started again.
    Restart,
    /// Children that have ended, of which no notice may have told.
    Reap,
    Shutdown,
}

// Packed for the wake-up calls: three bits of kind, 29 of slot, 32 of generation.
const KIND_SHIFT: u32 = 61;
const KEY_MASK: u32 = (1 << 29) - 1;

impl From<Owner> for u64 {
    fn from(owner: Owner) -> u64 {
        let (kind, key, generation) = match owner {
            Owner::Client(id) => (0, id.key(), id.generation()),
            Owner::Process(id) => (1, id.key(), id.generation()),
            Owner::Listener(index) => (2, index, 0),
            Owner::Starved => (3, 0, 0),
            Owner::Shutdown => (4, 0, 0),
            Owner::Restart => (5, 0, 0),
            Owner::Reap => (6, 0, 0),
        };
        debug_assert!(
            key <= KEY_MASK,
            "a slot beyond the descriptors of the machine"
        );
        kind << KIND_SHIFT | u64::from(key) << 32 | u64::from(generation)
    }
}

impl From<u64> for Owner {
    fn from(bits: u64) -> Owner {
        let (key, generation) = ((bits >> 32) as u32 & KEY_MASK, bits as u32);
        match bits >> KIND_SHIFT {
            0 => Owner::Client(ClientId::from_parts(key, generation)),
            1 => Owner::Process(ProcessId::from_parts(key, generation)),
            2 => Owner::Listener(key),
            3 => Owner::Starved,
            4 => Owner::Shutdown,
            5 => Owner::Restart,
            _ => Owner::Reap,
        }
    }
}

impl TimerOwner for Owner {
    const KINDS: usize = 7;

    fn number(self) -> (usize, usize) {
        let bits = u64::from(self);
        let key = (bits >> 32) as u32 & KEY_MASK;
        ((bits >> KIND_SHIFT) as usize, key as usize)
    }
}

impl<S: System> Handler for Server<S> {
    fn begin_turn(&mut self, now: Instant) {
        self.cx.now = now;
        self.spawned = 0;
    }

    fn on_ready(&mut self, token: Token, readiness: Readiness) {
        match Source::from(token) {
            Source::Listener(index) => self.queue_listener(index),
            Source::Signals => self.on_signals(),
            Source::Client(id) => {
                let id = self
                    .clients
                    .resolve(id.key(), id.generation(), GENERATION_MASK);
                if let Some((id, client)) = id.and_then(|id| Some((id, self.clients.get_mut(id)?)))
                {
                    client.readiness.merge(readiness);
                    self.visit_client(id);
                }
            }
            Source::Stdin(id) => self.on_pipe(id, |process| {
                process.stdin.readiness.merge(readiness);
            }),
            Source::Stdout(id) => {
                self.on_pipe(id, |process| process.stdout.readiness.merge(readiness));
                if readiness.hung_up() {
                    self.reap_silent(id);
                }
            }
            Source::Stderr(id) => self.on_pipe(id, |process| {
                if let Some(stderr) = &mut process.stderr {
                    stderr.readiness.merge(readiness);
                }
            }),
        }
        self.visit_hot();
    }

    fn sources_max(&self) -> usize {
        let signals = 1;
        // A process has three pipes.
        self.acceptor.len() + signals + self.clients.len() + 3 * self.processes.len()
    }

    fn end_turn(&mut self, heard: Instant) -> Next {
        self.cx.seen_until = heard;
        // Whoever wants to be called again at once is called in the next turn: no deadline, and be
        // it a mistake, holds the loop.
        for _ in 0..self.timers.len() {
            let Some(owner) = self.timers.pop_due(heard) else {
                break;
            };
            self.on_deadline(owner);
            self.visit_hot();
        }
        // Those that put themselves back in the queue meanwhile have their turn in the next batch.
        for _ in 0..self.later.len() {
            let Some(owner) = self.later.pop_front() else {
                break;
            };
            self.unqueue(owner);
            self.visit(owner);
            self.visit_hot();
        }
        self.free_gone();
        if self.has_served_all() {
            self.end_served();
            self.visit_hot();
            self.free_gone();
        }
        let entries = self.clients.len() + self.processes.len();
        if self.crowd.has_left(entries) {
            self.give_back_memory();
        } else if self.crowd.has_grown(entries) {
            self.system.release_memory();
        }
        if self.is_over() {
            self.free_all();
            Next::Stop
        } else if !self.later.is_empty() {
            Next::Poll
        } else {
            Next::Wait(self.timers.next())
        }
    }
}

impl<S: System> Server<S> {
    /// A server without clients. `commands` has a command for each index that the site names.
    pub fn new(system: S, site: Site, commands: Commands, config: &Config, cx: Context) -> Self {
        Self {
            system,
            site,
            commands,
            limits: config.server.clone(),
            trusted_proxies: config.access.trusted_proxies.clone(),
            acceptor: Acceptor::new(config.listen.addresses.len()),
            admission: Admission::default(),
            unique_ids: UniqueIds::new(SystemTime::now(), RandomState::new().hash_one(0)),
            clients: Arena::new(),
            processes: Arena::new(),
            by_pid: BTreeMap::new(),
            timers: Timers::new(),
            hot: Vec::new(),
            later: VecDeque::new(),
            spawned: 0,
            gone: Vec::new(),
            reap_at: None,
            crowd: MemoryTrim::default(),
            last_target: Rc::new(Target {
                path: "".into(),
                service: Service::Echo,
            }),
            last_exit: None,
            shared: Shared::default(),
            shutdown: Shutdown::No,
            cx,
        }
    }

    /// With what status the program ends, once the loop has stopped.
    pub fn exit_code(&self) -> ExitCode {
        self.shutdown.exit_code()
    }

    /// Counts what there is.
    pub fn census(&self) -> Census {
        let channels = self
            .processes
            .iter()
            .filter_map(|(_, process)| process.channel.as_deref());
        Census {
            clients: self.clients.len(),
            processes: self.processes.len(),
            kept_max: channels.map(Channel::kept_bytes).max().unwrap_or(0),
        }
    }

    /// How many bytes wait to be written to a client; `None`: it is gone.
    pub fn queued_for_client(&self, id: ClientId) -> Option<usize> {
        self.clients.get(id).map(Client::queued_bytes)
    }

    /// How many bytes are kept of what a client has not sent to its end; `None`: it is gone.
    pub fn unfinished_of_client(&self, id: ClientId) -> Option<usize> {
        self.clients.get(id).map(Client::unfinished_bytes)
    }

    /// How many bytes wait to be written to a command; `None`: it is gone.
    pub fn queued_for_command(&self, id: ProcessId) -> Option<usize> {
        self.processes.get(id).map(|process| process.stdin.queued())
    }

    // -- Visits ----------------------------------------------------------------------------------

    fn on_pipe(&mut self, id: ProcessId, merge: impl FnOnce(&mut Process<S::Stdin, S::Output>)) {
        let id = self
            .processes
            .resolve(id.key(), id.generation(), GENERATION_MASK);
        if let Some((id, process)) = id.and_then(|id| Some((id, self.processes.get_mut(id)?))) {
            merge(process);
            self.visit_process(id);
        }
    }

    fn visit_hot(&mut self) {
        while let Some(owner) = self.hot.pop() {
            self.visit(owner);
        }
    }

    fn visit(&mut self, owner: Owner) {
        match owner {
            Owner::Client(id) => self.visit_client(id),
            Owner::Process(id) => self.visit_process(id),
            Owner::Listener(index) => self.accept(index),
            Owner::Starved => self.retry_accept(),
            Owner::Restart => self.restart_shared(),
            Owner::Reap => self.reap_all(),
            Owner::Shutdown => self.force_shutdown(),
        }
    }

    /// Reads from a client, and writes to it, what is ready and wanted.
    fn visit_client(&mut self, id: ClientId) {
        let mut requests = 0;
        loop {
            let Some(client) = self.clients.get_mut(id) else {
                return;
            };
            let process = client
                .process()
                .and_then(|process| self.processes.get_mut(process));
            match client.pump(process.map(|process| &mut process.stdin), &mut self.cx) {
                Pumped::Idle => break,
                Pumped::Request
                    if requests < REQUESTS_PER_TURN && self.spawned < SPAWNS_PER_TURN =>
                {
                    requests += 1;
                    self.answer(id);
                }
                Pumped::Request | Pumped::Spent => {
                    self.queue_client(id);
                    break;
                }
            }
        }
        self.settle_client(id);
    }

    /// Tells a client's command what it has to know of its client, and arms the wake-up call.
    fn settle_client(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if let Some(process_id) = client.process()
            && let Some(process) = self.processes.get(process_id)
        {
            match process.channel {
                Some(_) => self.settle_member(id, process_id),
                None => self.settle_own(id, process_id),
            }
        }
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if client.is_gone() {
            self.gone.push(Owner::Client(id));
        }
        let deadline = client.wake_up_call(&self.cx);
        self.timers
            .arm(Owner::Client(id), deadline, &mut client.wake_at);
    }

    /// Settles a client with the command that was started for it.
    fn settle_own(&mut self, id: ClientId, process_id: ProcessId) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Some(process) = self.processes.get_mut(process_id) else {
            return;
        };
        if process.client() != Some(id) {
            return;
        }
        process.stdin.flush(&mut self.cx.pool);
        if !client.is_open() {
            process.client_left(self.cx.now, &mut self.cx.pool);
            return self.hot.push(Owner::Process(process_id));
        }
        if client.has_hung_up() {
            // It will send nothing more, however much of what it sent still waits behind a full
            // stdin. That much the command may read while it is ended.
            process.end(self.cx.now);
            let deadline = process.deadline(self.cx.now);
            let owner = Owner::Process(process_id);
            self.timers.arm(owner, deadline, &mut process.wake_at);
        }
        if process.has_output() && client.has_room(&self.cx.limits) && !process.queued {
            self.hot.push(Owner::Process(process_id));
        }
        // With what the flush above made room for. In the next turn: this visit has had its budget.
        let stdin_full = process.stdin.is_full(self.cx.limits.high_water);
        if client.has_work(stdin_full, &self.cx.limits) {
            self.queue_client(id);
        }
    }

    fn queue_client(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id)
            && !client.queued
        {
            client.queued = true;
            self.later.push_back(Owner::Client(id));
        }
    }

    /// Writes to a command, and reads from it, what is ready and wanted.
    fn visit_process(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        process.stdin.flush(&mut self.cx.pool);
        let has_channel = process.channel.is_some();
        let forwarded = match has_channel {
            true => self.broadcast_output(id),
            false => self.forward_output(id),
        };
        if forwarded == Forwarded::Spent {
            self.queue_process(id);
        }
        self.log_stderr(id);
        match has_channel {
            true => {
                self.resume_members(id);
                self.broadcast_exit(id);
                self.follow_shared(id);
            }
            false => self.deliver_exit(id),
        }
        self.settle_process(id);
    }

    /// Tells a command's client what it has to know of its command, and arms the wake-up call.
    fn settle_process(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        if let Some(client_id) = process.client()
            && let Some(client) = self.clients.get_mut(client_id)
        {
            let stdin_full = process.stdin.is_full(self.cx.limits.high_water);
            if !client.is_open() {
                self.hot.push(Owner::Client(client_id));
            } else if client.has_work(stdin_full, &self.cx.limits) && !client.queued {
                client.queued = true;
                self.later.push_back(Owner::Client(client_id));
            }
            let deadline = client.wake_up_call(&self.cx);
            let owner = Owner::Client(client_id);
            self.timers.arm(owner, deadline, &mut client.wake_at);
        }
        if process.is_gone() {
            self.gone.push(Owner::Process(id));
        }
        let deadline = process.deadline(self.cx.now);
        self.timers
            .arm(Owner::Process(id), deadline, &mut process.wake_at);
    }

    fn queue_process(&mut self, id: ProcessId) {
        if let Some(process) = self.processes.get_mut(id)
            && !process.queued
        {
            process.queued = true;
            self.later.push_back(Owner::Process(id));
        }
    }

    fn unqueue(&mut self, owner: Owner) {
        match owner {
            Owner::Client(id) => {
                if let Some(client) = self.clients.get_mut(id) {
                    client.queued = false;
                }
            }
            Owner::Process(id) => {
                if let Some(process) = self.processes.get_mut(id) {
                    process.queued = false;
                }
            }
            Owner::Listener(index) => self.acceptor.unqueued(index),
            Owner::Starved | Owner::Restart | Owner::Reap | Owner::Shutdown => {}
        }
    }

    // -- Time and signals ------------------------------------------------------------------------

    fn on_deadline(&mut self, owner: Owner) {
        match owner {
            Owner::Client(id) => {
                if let Some(client) = self.clients.get_mut(id) {
                    client.wake_at = None;
                    client.on_wake_up(&mut self.cx);
                }
            }
            Owner::Process(id) => {
                if let Some(process) = self.processes.get_mut(id) {
                    process.wake_at = None;
                }
                self.signal_due(id);
                self.flush_prompts(id);
                self.end_overdue(id);
            }
            Owner::Starved => self.acceptor.retry_at = None,
            Owner::Reap => self.reap_at = None,
            Owner::Listener(_) | Owner::Restart | Owner::Shutdown => {}
        }
        self.hot.push(owner);
    }

    fn on_signals(&mut self) {
        while let Some(notice) = self.system.next_signal() {
            match notice {
                SignalEvent::ChildEnded(pid) => self.on_child_ended(pid),
                SignalEvent::Shutdown(name) => self.shut_down(name),
            }
        }
    }

    // -- The end of an entry ---------------------------------------------------------------------

    fn free_gone(&mut self) {
        while let Some(owner) = self.gone.pop() {
            match owner {
                Owner::Client(id) => self.free_client(id),
                Owner::Process(id) => self.free_process(id),
                Owner::Listener(_)
                | Owner::Starved
                | Owner::Restart
                | Owner::Reap
                | Owner::Shutdown => {}
            }
        }
    }

    /// What a crowd needed is of no use to the few who are left.
    fn give_back_memory(&mut self) {
        self.clients.shrink_to_fit();
        self.processes.shrink_to_fit();
        self.cx.pool.clear();
        self.hot.shrink_to_fit();
        self.later.shrink_to_fit();
        self.gone.shrink_to_fit();
        self.timers.shrink_to_fit();
        self.system.release_memory();
    }

    /// The server ends before all of them have: each still has its line in the log.
    fn free_all(&mut self) {
        let clients: Vec<_> = self.clients.iter().map(|(id, _)| id).collect();
        clients.into_iter().for_each(|id| self.free_client(id));
        let processes: Vec<_> = self.processes.iter().map(|(id, _)| id).collect();
        processes.into_iter().for_each(|id| self.free_process(id));
    }

    fn free_client(&mut self, id: ClientId) {
        if self.clients.is_outlier(id) {
            self.crowd.outlier_left();
        }
        let Some(mut client) = self.clients.remove(id) else {
            return;
        };
        self.timers.disarm(Owner::Client(id), &mut client.wake_at);
        let process = client
            .process()
            .and_then(|process| self.processes.get_mut(process));
        let Some(record) = client.into_record() else {
            return;
        };
        self.admission.left(record.ip());
        match process {
            // How the command ends is part of the line, so it is written then.
            Some(process) if record.exit.is_none() && process.started_for() == Some(id) => {
                process.record = Some(Box::new(record));
            }
            _ => self.log_record(&record),
        }
    }

    fn free_process(&mut self, id: ProcessId) {
        self.await_no_more(id);
        if self.processes.is_outlier(id) {
            self.crowd.outlier_left();
        }
        let Some(mut process) = self.processes.remove(id) else {
            return;
        };
        // Not where the number has been used again.
        if self.by_pid.get(&process.pid()) == Some(&id) {
            self.by_pid.remove(&process.pid());
        }
        self.timers.disarm(Owner::Process(id), &mut process.wake_at);
        self.last_exit = process.exit();
        if let Some(mut record) = process.record.take() {
            record.exit = process.exit();
            self.log_record(&record);
        } else if let Some(client) = process.started_for()
            && let Some(client) = self.clients.get_mut(client)
        {
            client.note_exit(process.exit());
        } else if process.channel.is_some()
            && let Some(exit) = process.exit()
        {
            // Whoever was there has lines of their own, which may have been written long before.
            let pid = process.pid();
            self.cx
                .log
                .info(format_args!("ended pid={pid} exit=\"{exit}\""));
        }
    }

    fn log_record(&self, record: &AccessRecord) {
        self.cx
            .log
            .info(format_args!("{}", record.line(self.cx.now)));
    }
}

/// How much there is in a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Connections that are not yet gone.
    pub clients: usize,
    /// Commands that are not yet gone.
    pub processes: usize,
    /// The most bytes that are kept of any one command's last messages.
    pub kept_max: usize,
}

/// What came of carrying output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Forwarded {
    /// All that was ready and wanted.
    All,
    /// The budget of this turn: there is more.
    Spent,
}
