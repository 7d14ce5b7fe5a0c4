//! The whole server in a simulated world: its own dispatch, lives and timers, in virtual time,
//! over sockets that take any number of bytes, pipes of any size, and commands that print, stall,
//! exit and ignore signals. Each seed is another schedule; a seed that fails is printed.
//!
//! `WSPIPE_MODEL_SEEDS=FIRST..LAST` runs other seeds than the default, on all processors, and
//! `WSPIPE_MODEL_SECONDS=N` begins no further one after so long. A million schedules take an hour on two
//! processors with `cargo test --profile proof --test model`. `WSPIPE_MODEL_TRACE=1` says what happens.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use wspipe::config::{
    ACCEPTS_PER_TURN, Config, Framing, Mode, PIPE_LEN_MAX, READ_BUDGET, REAP_DELAY_MAX,
    SCRATCH_LEN, SPAWNS_PER_TURN, Stderr,
};
use wspipe::context::Context;
use wspipe::event_loop::{Handler, Next};
use wspipe::http::answer::Site;
use wspipe::http::policy::Policy;
use wspipe::http::routes::{Entry, Offer};
use wspipe::instant::Instant;
use wspipe::ladder::Signal;
use wspipe::log::{Level, Log};
use wspipe::readiness::Readiness;
use wspipe::server::Server;
use wspipe::source::{ClientId, ProcessId, Source};
use wspipe::system::{Child, Exit, Group, Notice, Pid, Socket, Spawn, SpawnError, System};

// -- The world ------------------------------------------------------------------------------------

/// Everything outside the server, with the edges that epoll would report.
#[derive(Default)]
struct World {
    sockets: Vec<Wire>,
    children: Vec<SimChild>,
    backlog: VecDeque<usize>,
    exits: VecDeque<(Pid, Exit)>,
    notices: VecDeque<Notice>,
    edges: Vec<(Source, Readiness)>,
    listening: bool,
    /// Forks that will fail for want of processes.
    failing_forks: u32,
    /// Accepts that will fail for want of descriptors.
    failing_accepts: u32,
    /// Registrations that will fail for want of memory.
    failing_watches: u32,
    /// What a pipe holds.
    pipe_len: usize,
    /// Clients whose server is ending it all.
    shutting_down: bool,
    /// Connections accepted, and commands started, in this turn.
    accepted: usize,
    spawned: usize,
}

/// One TCP connection, seen from both ends.
#[derive(Default)]
struct Wire {
    id: Option<ClientId>,
    /// Client to server: sent and not read.
    upstream: VecDeque<u8>,
    upstream_end: bool,
    reset: bool,
    /// Server to client: in the kernel, then read by the client.
    downstream: VecDeque<u8>,
    downstream_end: bool,
    room: usize,
    write_was_blocked: bool,
    /// The server has dropped its end.
    dropped: bool,
    /// Bytes that the server has read in this turn.
    read: usize,
}

/// One command.
struct SimChild {
    pid: Pid,
    id: Option<ProcessId>,
    stdin: VecDeque<u8>,
    stdin_end: bool,
    stdin_room: usize,
    stdin_blocked: bool,
    stdin_open: bool,
    stdout: VecDeque<u8>,
    stdout_room: usize,
    stderr: VecDeque<u8>,
    stderr_room: usize,
    /// It has a stderr of its own, and the server reads that.
    stderr_open: bool,
    alive: bool,
    /// The last byte that it took from its stdin.
    last_read: Option<u8>,
    /// A grandchild in the same process group, which holds stdout.
    grandchild: bool,
    ignores: bool,
    /// The wire of the client that it runs for, once a message has said so.
    peer: Option<usize>,
    /// It reads and prints nothing.
    silent: bool,
    /// Bytes that it took from its stdin.
    consumed: usize,
    /// Bytes that it printed, line ends not counted.
    printed: usize,
    /// The server was told that nothing of its process group is left.
    found_gone: bool,
    stdout_dropped: bool,
    /// It takes in whatever comes, at once.
    devours: bool,
    /// It, or somebody who has left its group and holds the pipe, prints faster than anyone reads.
    floods: bool,
    /// Bytes that the server has read of its outputs in this turn.
    read: usize,
}

type Shared = Rc<RefCell<World>>;

#[derive(Clone)]
struct Sim(Shared);

struct SimSocket(Shared, usize);
struct SimStdin(Shared, usize);
/// The output of a child, or what it complains of.
struct SimOutput(Shared, usize, Pipe);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pipe {
    Stdout,
    Stderr,
}

impl Read for SimSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wire = &mut self.0.borrow_mut().sockets[self.1];
        if wire.reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let n = take(&mut wire.upstream, wire.upstream_end, buffer)?;
        wire.read += n;
        Ok(n)
    }
}

/// A read of what is there: as much as fits, the end, or nothing for now.
fn take(from: &mut VecDeque<u8>, ended: bool, buffer: &mut [u8]) -> io::Result<usize> {
    let n = from.len().min(buffer.len());
    if n == 0 && !ended {
        return Err(ErrorKind::WouldBlock.into());
    }
    for (slot, byte) in buffer.iter_mut().zip(from.drain(..n)) {
        *slot = byte;
    }
    Ok(n)
}

impl Write for SimSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let wire = &mut self.0.borrow_mut().sockets[self.1];
        if wire.reset {
            return Err(ErrorKind::BrokenPipe.into());
        }
        assert!(!wire.downstream_end, "nothing is written behind our FIN");
        let n = bytes.len().min(wire.room);
        wire.room -= n;
        wire.downstream.extend(&bytes[..n]);
        wire.write_was_blocked |= n < bytes.len();
        if n == 0 {
            Err(ErrorKind::WouldBlock.into())
        } else {
            Ok(n)
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for SimSocket {
    fn shutdown_write(&self) -> io::Result<()> {
        self.0.borrow_mut().sockets[self.1].downstream_end = true;
        Ok(())
    }

    fn unacknowledged(&self) -> usize {
        self.0.borrow().sockets[self.1].downstream.len()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(([127, 0, 0, 1], 8080).into())
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        let wire = &mut self.0.borrow_mut().sockets[self.1];
        wire.dropped = true;
        wire.downstream_end = true;
    }
}

impl Write for SimStdin {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let child = &mut self.0.borrow_mut().children[self.1];
        if !child.stdin_open {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if child.devours {
            return Ok(bytes.len());
        }
        let n = bytes.len().min(child.stdin_room);
        child.stdin_room -= n;
        child.stdin.extend(&bytes[..n]);
        child.stdin_blocked |= n < bytes.len();
        if n == 0 {
            Err(ErrorKind::WouldBlock.into())
        } else {
            Ok(n)
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SimStdin {
    fn drop(&mut self) {
        self.0.borrow_mut().children[self.1].stdin_end = true;
    }
}

impl Read for SimOutput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let child = &mut self.0.borrow_mut().children[self.1];
        if child.floods {
            let lines = b"y\n".iter().cycle();
            buffer
                .iter_mut()
                .zip(lines)
                .for_each(|(slot, y)| *slot = *y);
            child.read += buffer.len();
            return Ok(buffer.len());
        }
        let ended = !child.alive && !child.grandchild;
        let (bytes, room) = match self.2 {
            Pipe::Stdout => (&mut child.stdout, &mut child.stdout_room),
            Pipe::Stderr => (&mut child.stderr, &mut child.stderr_room),
        };
        let n = take(bytes, ended, buffer)?;
        *room += n;
        child.read += n;
        Ok(n)
    }
}

impl Drop for SimOutput {
    fn drop(&mut self) {
        let child = &mut self.0.borrow_mut().children[self.1];
        match self.2 {
            Pipe::Stdout => child.stdout_dropped = true,
            Pipe::Stderr => child.stderr_open = false,
        }
    }
}

impl System for Sim {
    type Socket = SimSocket;
    type Stdin = SimStdin;
    type Output = SimOutput;

    fn accept(&mut self, _listener: u32) -> io::Result<(SimSocket, SocketAddr)> {
        let mut world = self.0.borrow_mut();
        if world.failing_accepts > 0 {
            world.failing_accepts -= 1;
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let wire = world.backlog.pop_front();
        let wire = wire.ok_or(ErrorKind::WouldBlock)?;
        world.accepted += 1;
        Ok((
            SimSocket(self.0.clone(), wire),
            ([127, 0, 0, 1], 40_000).into(),
        ))
    }

    fn stop_listening(&mut self) {
        let mut world = self.0.borrow_mut();
        world.listening = false;
        // Whoever waits there is reset.
        while let Some(wire) = world.backlog.pop_front() {
            world.sockets[wire].dropped = true;
            world.sockets[wire].downstream_end = true;
        }
    }

    fn watch_client(&mut self, socket: &mut SimSocket, id: ClientId) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        world.watch()?;
        world.sockets[socket.1].id = Some(id);
        // As epoll does at a registration: what is ready already is an edge.
        world.edge(Source::Client(id), Readiness::WRITABLE);
        world.readable(socket.1);
        Ok(())
    }

    fn watch_child(&mut self, child: &mut Child<Self>, id: ProcessId) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        world.watch()?;
        world.children[child.stdin.1].id = Some(id);
        world.edge(Source::Stdin(id), Readiness::WRITABLE);
        Ok(())
    }

    fn look_up(&mut self, _name: &str) -> Entry {
        Entry::Nothing
    }

    fn spawn(&mut self, spawn: &Spawn<'_>) -> Result<Child<Self>, SpawnError> {
        let mut world = self.0.borrow_mut();
        if world.failing_forks > 0 {
            world.failing_forks -= 1;
            return Err(SpawnError::Exhausted(ErrorKind::WouldBlock.into()));
        }
        world.spawned += 1;
        let index = world.children.len();
        let pid = world.free_pid();
        let (pipe_len, logged) = (world.pipe_len, spawn.stderr == Stderr::Log);
        world.children.push(SimChild {
            pid,
            id: None,
            stdin: VecDeque::new(),
            stdin_end: false,
            stdin_room: pipe_len,
            stdin_blocked: false,
            stdin_open: true,
            stdout: VecDeque::new(),
            stdout_room: pipe_len,
            stderr: VecDeque::new(),
            stderr_room: pipe_len,
            stderr_open: logged,
            alive: true,
            last_read: None,
            grandchild: false,
            ignores: false,
            peer: None,
            silent: index % 8 == 7,
            consumed: 0,
            printed: 0,
            found_gone: false,
            stdout_dropped: false,
            devours: false,
            floods: false,
            read: 0,
        });
        let shared = || self.0.clone();
        Ok(Child {
            pid,
            stdin: SimStdin(shared(), index),
            stdout: SimOutput(shared(), index, Pipe::Stdout),
            stderr: logged.then(|| SimOutput(shared(), index, Pipe::Stderr)),
        })
    }

    fn signal_group(&mut self, leader: Pid, signal: Signal) -> Group {
        let mut world = self.0.borrow_mut();
        let index = world.leader(leader);
        let group = world.group(index);
        assert!(
            !world.children[index].found_gone,
            "a group found gone is never signalled again"
        );
        world.children[index].found_gone = group == Group::Gone;
        let ignored = world.children[index].ignores && signal != Signal::Kill;
        if !ignored {
            world.children[index].grandchild = false;
            world.end_child(index, Exit::Signal(9));
        }
        group
    }

    fn probe_group(&mut self, leader: Pid) -> Group {
        let mut world = self.0.borrow_mut();
        let index = world.leader(leader);
        let group = world.group(index);
        world.children[index].found_gone = group == Group::Gone;
        group
    }

    fn reap(&mut self, which: Option<Pid>) -> Option<(Pid, Exit)> {
        let exits = &mut self.0.borrow_mut().exits;
        let wanted = |(pid, _): &(Pid, Exit)| which.is_none_or(|which| which == *pid);
        let index = exits.iter().position(wanted)?;
        exits.remove(index)
    }

    fn group_of(&mut self, pid: Pid) -> Option<Pid> {
        let world = self.0.borrow();
        world.children.iter().any(|it| it.pid == pid).then_some(pid)
    }

    fn next_signal(&mut self) -> Option<Notice> {
        self.0.borrow_mut().notices.pop_front()
    }

    fn peer_uid(&mut self, _peer: SocketAddr, _local: SocketAddr) -> io::Result<Option<u32>> {
        Ok(Some(7))
    }

    fn own_uid(&self) -> u32 {
        7
    }
}

impl World {
    /// A registration, which may fail.
    fn watch(&mut self) -> io::Result<()> {
        if self.failing_watches > 0 {
            self.failing_watches -= 1;
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        }
        Ok(())
    }

    /// A number for a new process: mostly one that was never used, now and then the last one of
    /// which nothing is left.
    fn free_pid(&self) -> Pid {
        let last = self.children.len().checked_sub(1);
        match last {
            Some(last) if last % 3 == 0 && self.group(last) == Group::Gone => {
                self.children[last].pid
            }
            _ => 1000 + self.children.len() as Pid,
        }
    }

    /// The newest child of that number.
    fn leader(&self, pid: Pid) -> usize {
        let index = self.children.iter().rposition(|child| child.pid == pid);
        index.expect("only children are signalled")
    }

    fn edge(&mut self, source: Source, readiness: Readiness) {
        self.edges.push((source, readiness));
    }

    /// Reports what a client has sent, if the server watches it.
    fn readable(&mut self, wire: usize) {
        let Wire {
            id,
            upstream,
            upstream_end,
            reset,
            dropped,
            ..
        } = &self.sockets[wire];
        let Some(id) = *id else { return };
        if *dropped {
            return;
        }
        let mut readiness = Readiness::NONE;
        if !upstream.is_empty() {
            readiness.merge(Readiness::READABLE);
        }
        if *upstream_end || *reset {
            readiness.merge(Readiness::HUNG_UP);
        }
        if *reset {
            readiness.merge(Readiness::WRITABLE);
        }
        if readiness != Readiness::NONE {
            self.edge(Source::Client(id), readiness);
        }
    }

    fn group(&self, index: usize) -> Group {
        let child = &self.children[index];
        // The leader counts until it is reaped.
        let waits = self.exits.iter().any(|(pid, _)| *pid == child.pid);
        if child.alive || child.grandchild || waits {
            Group::Alive
        } else {
            Group::Gone
        }
    }

    /// A turn begins, in which nothing has been done yet.
    fn begin_turn(&mut self) {
        (self.accepted, self.spawned) = (0, 0);
        self.sockets.iter_mut().for_each(|wire| wire.read = 0);
        self.children.iter_mut().for_each(|child| child.read = 0);
    }

    /// In one turn nobody got more than a share: a source that is always ready does not lock the
    /// others out. Who is read has its budget for each of its edges, and once more from the ready
    /// queue.
    fn check_turn(&self) {
        let (accepted, spawned) = (self.accepted, self.spawned);
        assert!(accepted <= ACCEPTS_PER_TURN, "{accepted} accepted");
        assert!(spawned <= SPAWNS_PER_TURN, "{spawned} spawned");
        let read = self.sockets.iter().map(|wire| wire.read);
        let read = read.chain(self.children.iter().map(|child| child.read));
        let read = read.max().unwrap_or(0);
        assert!(read <= 4 * (READ_BUDGET + SCRATCH_LEN), "{read} bytes read");
    }

    fn end_child(&mut self, index: usize, exit: Exit) {
        let child = &mut self.children[index];
        if std::mem::replace(&mut child.alive, false) {
            child.stdin_open = false;
            let (pid, id) = (child.pid, child.id);
            let ended = !child.grandchild && !child.floods;
            self.exits.push_back((pid, exit));
            // SIGCHLD coalesces: who ends while one waits is not named.
            let waits = |notice: &Notice| matches!(notice, Notice::ChildEnded(_));
            if !self.notices.iter().any(waits) {
                self.notices.push_back(Notice::ChildEnded(pid));
            }
            self.edges.push((Source::Signals, Readiness::READABLE));
            if let Some(id) = id {
                self.edge(Source::Stdin(id), Readiness::WRITABLE);
                if ended {
                    self.output_ended(id);
                }
            }
        } else if let (Some(id), false) = (child.id, child.grandchild) {
            self.output_ended(id);
        }
    }

    fn output_ended(&mut self, id: ProcessId) {
        self.edge(Source::Stdout(id), Readiness::HUNG_UP);
        self.edge(Source::Stderr(id), Readiness::HUNG_UP);
    }
}

// -- The clients' side ----------------------------------------------------------------------------

/// A client that sends numbered messages and knows what has to come back.
struct Peer {
    wire: usize,
    /// How the command's output is framed; `None`: an echo is behind the connection.
    framing: Option<Framing>,
    sent: u32,
    /// Bytes that came and are not understood yet.
    received: Vec<u8>,
    upgraded: bool,
    /// The number of the message that has to come next.
    expected: u32,
    /// A fragmented message under way.
    partial: Option<Vec<u8>>,
    /// Bytes that the command must have printed for what came, ends of lines not counted.
    got: usize,
    /// Texts may come in parts: with `raw`, and with `--flush`.
    in_parts: bool,
    /// The beginning of a text whose end has not come then.
    unfinished: Vec<u8>,
    /// The last line came without its end: the command was ended inside it.
    cut: bool,
    close: Option<(u16, String)>,
    left: bool,
    /// It left before the server closed.
    left_first: bool,
    refused: bool,
}

/// The text of a message: its number, and as much padding as the number says.
fn text(peer: usize, number: u32, scale: usize) -> Vec<u8> {
    let mut text = format!("{peer}:{number}:").into_bytes();
    let padding = (number as usize * 37) % 700 * scale;
    text.extend(std::iter::repeat_n(b'a' + (number % 26) as u8, padding));
    text
}

fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![u8::from(fin) << 7 | opcode];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    let key = [1, 2, 3, 4];
    frame.extend(key);
    frame.extend(
        payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    frame
}

impl Peer {
    fn understand(&mut self, scale: usize) {
        if !self.upgraded {
            let Some(end) = self.received.windows(4).position(|w| w == b"\r\n\r\n") else {
                return;
            };
            let head = String::from_utf8(self.received.drain(..end + 4).collect()).unwrap();
            if !head.starts_with("HTTP/1.1 101 ") {
                let lacking = ["503", "429"].map(|code| format!("HTTP/1.1 {code} "));
                assert!(lacking.iter().any(|it| head.starts_with(it)), "{head}");
                self.refused = true;
                return;
            }
            self.upgraded = true;
        }
        while let Some((fin, opcode, payload)) = self.next_frame() {
            match opcode {
                0..=2 => {
                    assert!(self.close.is_none(), "nothing follows a Close");
                    assert!(
                        !self.cut,
                        "nothing follows the line in which a command was ended"
                    );
                    assert_eq!(opcode == 0, self.partial.is_some());
                    let binary = self.framing == Some(Framing::Raw);
                    assert!(
                        opcode == 0 || (opcode == 2) == binary,
                        "the kind of a message"
                    );
                    let mut message = self.partial.take().unwrap_or_default();
                    message.extend(payload);
                    if fin {
                        self.take_message(message, scale);
                    } else {
                        self.partial = Some(message);
                    }
                }
                8 => {
                    let (code, reason) = payload.split_at(payload.len().min(2));
                    let code = code.try_into().map(u16::from_be_bytes).unwrap_or(1005);
                    self.close = Some((code, String::from_utf8(reason.to_vec()).unwrap()));
                }
                9 | 10 => {}
                _ => panic!("opcode {opcode}"),
            }
        }
    }

    /// What comes has to be what was sent, in its order.
    fn take_message(&mut self, mut message: Vec<u8>, scale: usize) {
        let overhead = match self.framing {
            Some(Framing::Length) => 5,
            Some(Framing::Lines | Framing::Null | Framing::Raw) | None => 0,
        };
        self.got += message.len() + overhead;
        if self.in_parts {
            self.unfinished.append(&mut message);
            loop {
                let expected = text(self.wire, self.expected, scale);
                if !self.unfinished.starts_with(&expected) {
                    assert!(expected.starts_with(&self.unfinished), "{}", self.expected);
                    return;
                }
                self.unfinished.drain(..expected.len());
                self.expected += 1;
            }
        }
        let expected = text(self.wire, self.expected, scale);
        let may_be_cut = matches!(self.framing, Some(Framing::Lines | Framing::Null));
        self.cut = may_be_cut && message != expected;
        let right = if self.cut {
            expected.starts_with(&message)
        } else {
            message == expected
        };
        let shown = String::from_utf8_lossy(&message);
        assert!(right, "{} is not {shown}", self.expected);
        self.expected += 1;
    }

    fn next_frame(&mut self) -> Option<(bool, u8, Vec<u8>)> {
        let bytes = &self.received;
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let (start, len) = match second {
            126 => (
                4,
                usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])),
            ),
            127 => (
                10,
                u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()) as usize,
            ),
            len => (2, usize::from(len)),
        };
        let payload = bytes.get(start..start + len)?.to_vec();
        self.received.drain(..start + len);
        Some((first & 0x80 != 0, first & 15, payload))
    }
}

// -- The schedule ---------------------------------------------------------------------------------

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

struct Run {
    world: Shared,
    server: Server<Sim>,
    peers: Vec<Peer>,
    random: Random,
    now: Instant,
    next: Next,
    trace: bool,
    shape: Shape,
}

/// How many commands there may be where there is a limit.
const LIMITED_PROCESSES: usize = 4;

/// The code with which `--session-timeout` and `--idle-timeout` close.
const POLICY_VIOLATION: u16 = 1008;

/// What kind of schedule a seed makes.
struct Shape {
    /// The padding of messages is so many times as long: with 200, those under way at once are
    /// more than one budget of a turn.
    scale: usize,
    steps: usize,
    /// Asked to end at this step.
    shutdown_at: Option<usize>,
    config: Config,
}

impl Shape {
    fn of(random: &mut Random) -> Shape {
        let framings = [Framing::Lines, Framing::Null, Framing::Raw, Framing::Length];
        let framing = framings[random.below(4)];
        let scale = if random.one_in(8) { 200 } else { 1 };
        let steps = match scale {
            1 => 20 + random.below(2000),
            _ => 20 + random.below(300),
        };
        let millis = |ms| Some(Duration::from_millis(ms));
        let config = Config {
            mode: Mode::Demo,
            framing,
            high_water: scale * [1, 500, 2000][random.below(3)],
            message_len_max: scale * 5000,
            log_level: Level::Error,
            stderr: [Stderr::Merge, Stderr::Log][random.below(2)],
            flush: [None, None, millis(0), millis(50), millis(3000)][random.below(5)],
            kill_after: [millis(1000), millis(1000), millis(0), None][random.below(4)],
            ..Config::default()
        };
        // Half of the schedules meet limits.
        let config = match random.below(2) {
            0 => config,
            _ => Config {
                clients_max: Some(12),
                clients_per_ip_max: Some(10),
                processes_max: LIMITED_PROCESSES,
                spawn_rate: Some(2),
                session_timeout: Some(Duration::from_secs(20)),
                idle_timeout: Some(Duration::from_secs(3)),
                ..config
            },
        };
        Shape {
            scale,
            steps,
            shutdown_at: random.one_in(4).then(|| random.below(steps)),
            config,
        }
    }
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let shape = Shape::of(&mut random);
        Run::with(shape, random)
    }

    fn with(shape: Shape, mut random: Random) -> Self {
        let world = Shared::default();
        world.borrow_mut().listening = true;
        let config = shape.config.clone();
        world.borrow_mut().pipe_len = match shape.scale {
            1 => 300,
            _ => [8192, 65_536, 4 * READ_BUDGET][random.below(3)],
        };
        let site = Site {
            offer: Offer::Demo { shell: true },
            command_names: vec!["sh".into()],
            binary: false,
            json: false,
            linger: None,
            subprotocols: Vec::new(),
            policy: Policy::new(vec![], false, vec![], String::new(), true).unwrap(),
        };
        let now = Instant::EPOCH;
        let cx = Context::new(config, Log::new(Level::Error), now);
        let server = Server::new(Sim(world.clone()), site, vec![vec!["sh".into()]], cx);
        let trace = std::env::var_os("WSPIPE_MODEL_TRACE").is_some();
        Self {
            world,
            server,
            peers: Vec::new(),
            random,
            now,
            next: Next::Wait(None),
            trace,
            shape,
        }
    }

    fn say(&self, what: std::fmt::Arguments<'_>) {
        if self.trace {
            eprintln!("{what}");
        }
    }

    /// One turn: the edges so far, in any order, are the batch.
    fn turn(&mut self) {
        let mut edges = std::mem::take(&mut self.world.borrow_mut().edges);
        self.world.borrow_mut().begin_turn();
        self.server.begin_turn(self.now);
        while !edges.is_empty() {
            let (source, readiness) = edges.swap_remove(self.random.below(edges.len()));
            self.say(format_args!("  edge {source:?} {readiness:?}"));
            self.server.on_ready(source.into(), readiness);
        }
        self.next = self.server.end_turn();
        self.world.borrow().check_turn();
        let census = self.server.census();
        let config = &self.shape.config;
        assert!(census.processes <= config.processes_max, "{census:?}");
        let bound = config.high_water + 3 * wspipe::config::SCRATCH_LEN + config.message_len_max;
        assert!(
            census.queued_max <= bound,
            "{} bytes are queued",
            census.queued_max
        );
    }

    /// Lets the server do all that it can without anything new happening.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.turn();
            if self.next == Next::Stop {
                return;
            }
            if self.next != Next::Poll && self.world.borrow().edges.is_empty() {
                return;
            }
        }
        panic!("the server never comes to rest");
    }

    fn connect(&mut self) {
        let command = self.random.one_in(2);
        self.connect_to(command);
    }

    /// A client asks for the command, or for the echo.
    fn connect_to(&mut self, command: bool) {
        let path = if command { "/ws" } else { "/echo" };
        let mut world = self.world.borrow_mut();
        if !world.listening {
            return;
        }
        let wire = world.sockets.len();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost:8080\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n"
        );
        world.sockets.push(Wire {
            upstream: head.into_bytes().into(),
            room: if self.shape.scale == 1 {
                100
            } else {
                4 * READ_BUDGET
            },
            ..Wire::default()
        });
        world.backlog.push_back(wire);
        world.edge(Source::Listener(0), Readiness::READABLE);
        drop(world);
        let in_parts = match self.shape.config.framing {
            Framing::Raw => command,
            Framing::Lines | Framing::Null => command && self.shape.config.flush.is_some(),
            Framing::Length => false,
        };
        self.peers.push(Peer {
            wire,
            framing: command.then_some(self.shape.config.framing),
            sent: 0,
            received: Vec::new(),
            upgraded: false,
            expected: 0,
            in_parts,
            partial: None,
            cut: false,
            got: 0,
            unfinished: Vec::new(),
            close: None,
            left: false,
            left_first: false,
            refused: false,
        });
    }

    /// A client sends a message, now and then in fragments with a ping between them.
    fn send(&mut self, index: usize) {
        let number = self.peers[index].sent;
        let payload = text(self.peers[index].wire, number, self.shape.scale);
        let mut bytes = Vec::new();
        let cut = self.random.below(payload.len());
        if self.random.one_in(2) {
            bytes.extend(frame(true, 1, &payload));
        } else {
            bytes.extend(frame(false, 1, &payload[..cut]));
            bytes.extend(frame(true, 9, b"?"));
            bytes.extend(frame(true, 0, &payload[cut..]));
        }
        let peer = &mut self.peers[index];
        let wire = peer.wire;
        let mut world = self.world.borrow_mut();
        let socket = &mut world.sockets[wire];
        // A window that is full is not written to.
        if peer.left
            || socket.dropped
            || socket.upstream_end
            || socket.upstream.len() > 20_000 * self.shape.scale.min(50)
        {
            return;
        }
        peer.sent += 1;
        socket.upstream.extend(bytes);
        world.readable(wire);
    }

    /// A client reads, which makes room for more.
    fn receive(&mut self, index: usize, len: usize) {
        let wire = self.peers[index].wire;
        let mut world = self.world.borrow_mut();
        let socket = &mut world.sockets[wire];
        let n = len.min(socket.downstream.len());
        let bytes: Vec<u8> = socket.downstream.drain(..n).collect();
        socket.room += n;
        if n > 0 && std::mem::replace(&mut socket.write_was_blocked, false) {
            let id = socket.id;
            if let (Some(id), false) = (id, socket.dropped) {
                world.edge(Source::Client(id), Readiness::WRITABLE);
            }
        }
        drop(world);
        let peer = &mut self.peers[index];
        peer.received.extend(bytes);
        peer.understand(self.shape.scale);
        // A client answers a Close, as browsers do, and closes TCP after the server.
        let world = self.world.clone();
        let mut world = world.borrow_mut();
        let socket = &mut world.sockets[wire];
        if peer.close.is_some() && !peer.left {
            peer.left = true;
            socket.upstream.extend(frame(true, 8, &[0x03, 0xE8]));
            world.readable(wire);
        }
        let socket = &mut world.sockets[wire];
        if socket.downstream_end && socket.downstream.is_empty() && !socket.upstream_end {
            socket.upstream_end = true;
            world.readable(wire);
        }
    }

    fn leave(&mut self, index: usize) {
        let how = self.random.below(3);
        let peer = &mut self.peers[index];
        let mut world = self.world.borrow_mut();
        let socket = &mut world.sockets[peer.wire];
        if peer.left || socket.dropped {
            return;
        }
        peer.left = true;
        peer.left_first = true;
        match how {
            0 => socket.upstream.extend(frame(true, 8, &[0x03, 0xE8])),
            1 => socket.upstream_end = true,
            _ => socket.reset = true,
        }
        let wire = peer.wire;
        world.readable(wire);
    }

    /// A command does something: echoes lines, stalls, prints, exits.
    fn act(&mut self, index: usize) {
        let (random, scale) = (&mut self.random, self.shape.scale);
        let framing = self.shape.config.framing;
        let mut world = self.world.borrow_mut();
        let child = &mut world.children[index];
        if !child.alive {
            if child.grandchild && random.one_in(20) {
                child.grandchild = false;
                world.end_child(index, Exit::Status(0));
            }
            return;
        }
        let id = child.id;
        match random.below(60) {
            0 => child.ignores = true,
            1 => child.grandchild = true,
            2 => {
                let exit = Exit::Status(random.below(256) as u8);
                world.end_child(index, exit);
            }
            3..8 if child.stderr_open => {
                let n = child.stderr_room.min(1 + random.below(400));
                let text = b"it complains \xff\n".iter().cycle().take(n);
                child.stderr.extend(text);
                child.stderr_room -= n;
                if let (Some(id), true) = (id, n > 0) {
                    world.edge(Source::Stderr(id), Readiness::READABLE);
                }
            }
            _ => {
                // Copies what it can from its stdin to its stdout, as `cat` does.
                let n = child
                    .stdin
                    .len()
                    .min(child.stdout_room)
                    .min(1 + random.below(400 * scale));
                let bytes: Vec<u8> = child.stdin.drain(..n).collect();
                child.stdin_room += n;
                if child.consumed == 0 && n > 0 {
                    let head_len = if self.shape.config.framing == Framing::Length {
                        5
                    } else {
                        0
                    };
                    let line = bytes.iter().chain(&child.stdin).skip(head_len);
                    let line: Vec<u8> = line.copied().collect();
                    let name = line.split(|&byte| byte == b':').next().unwrap();
                    child.peer = Some(std::str::from_utf8(name).unwrap().parse().unwrap());
                }
                child.consumed += n;
                child.last_read = bytes.last().copied().or(child.last_read);
                if !child.silent {
                    child.printed += match framing {
                        Framing::Raw | Framing::Length => n,
                        _ => bytes
                            .iter()
                            .filter(|&&byte| byte != b'\n' && byte != 0)
                            .count(),
                    };
                    child.stdout_room -= n;
                    child.stdout.extend(bytes);
                }
                let unblocked = n > 0 && std::mem::replace(&mut child.stdin_blocked, false);
                let ended = child.stdin_end && child.stdin.is_empty();
                // A message reaches a command whole or not at all.
                let end = match framing {
                    Framing::Lines => Some(b'\n'),
                    Framing::Null => Some(0),
                    Framing::Raw | Framing::Length => child.last_read,
                };
                assert!(
                    !ended || child.last_read.is_none() || child.last_read == end,
                    "stdin ended within a message"
                );
                if let Some(id) = id {
                    if n > 0 {
                        world.edge(Source::Stdout(id), Readiness::READABLE);
                    }
                    if unblocked {
                        world.edge(Source::Stdin(id), Readiness::WRITABLE);
                    }
                }
                if ended {
                    world.end_child(index, Exit::Status(0));
                }
            }
        }
    }

    fn step(&mut self) {
        let peers = self.peers.len();
        match self.random.below(100) {
            0..6 => self.connect(),
            6..8 if peers > 0 => {
                let index = self.random.below(peers);
                self.leave(index);
            }
            8..40 if peers > 0 => {
                let index = self.random.below(peers);
                self.send(index);
            }
            40..70 if peers > 0 => {
                let (index, len) = (self.random.below(peers), 1 + self.random.below(3000));
                self.receive(index, len);
            }
            70..95 => {
                let children = self.world.borrow().children.len();
                if children > 0 {
                    let index = self.random.below(children);
                    self.act(index);
                }
            }
            95 => self.fail(),
            96..98 => {
                // Now and then beyond every time-out.
                let far = if self.random.one_in(50) { 60 } else { 1 };
                self.now = self.now + Duration::from_millis(self.random.below(2000) as u64 * far);
            }
            98 => self.spurious(),
            _ => {}
        }
        if self.random.one_in(3) {
            self.turn();
        }
    }

    /// Something will fail.
    fn fail(&mut self) {
        let mut world = self.world.borrow_mut();
        match self.random.below(4) {
            0 => world.failing_accepts = 1 + self.random.below(20) as u32,
            1 => world.failing_watches = 1,
            _ => world.failing_forks = 1,
        }
    }

    /// An edge of which nothing came, or one for a stream that is no more.
    fn spurious(&mut self) {
        let mut world = self.world.borrow_mut();
        let (sockets, children) = (world.sockets.len(), world.children.len());
        let readiness = [Readiness::READABLE, Readiness::WRITABLE][self.random.below(2)];
        if sockets > 0
            && let Some(id) = world.sockets[self.random.below(sockets)].id
        {
            world.edge(Source::Client(id), readiness);
        }
        if children > 0
            && let Some(id) = world.children[self.random.below(children)].id
        {
            world.edge(Source::Stdin(id), Readiness::WRITABLE);
            world.edge(Source::Stdout(id), Readiness::READABLE);
        }
    }

    /// A signal asks the server to end.
    fn shut_down(&mut self) {
        let mut world = self.world.borrow_mut();
        world.shutting_down = true;
        world.notices.push_back(Notice::Shutdown("SIGTERM"));
        world.edge(Source::Signals, Readiness::READABLE);
    }

    /// Everybody takes what there is for them, for a while.
    fn drain(&mut self) {
        for _ in 0..400 {
            // Whoever waits for a deadline of the server's may see it come.
            self.now = self.now + Duration::from_millis(10);
            self.everybody_acts();
            self.settle();
        }
    }

    fn everybody_acts(&mut self) {
        for index in 0..self.peers.len() {
            self.receive(index, usize::MAX);
        }
        let children = self.world.borrow().children.len();
        for index in 0..children {
            self.act(index);
        }
    }

    /// Who stays gets every message back; who has left leaves nothing behind.
    fn finish(&mut self) {
        if !self.world.borrow().shutting_down {
            self.drain();
            self.check_deliveries();
            for index in 0..self.peers.len() {
                self.leave(index);
            }
            // A Close may stand behind messages that a slow command has still to read.
            self.drain();
        }
        self.wait_for_the_end();
        self.check_nothing_is_left();
    }

    fn check_deliveries(&self) {
        for (index, peer) in self.peers.iter().enumerate() {
            let wire = &self.world.borrow().sockets[peer.wire];
            let stays = !peer.left && !peer.refused && !wire.dropped && peer.close.is_none();
            let child = (self.world.borrow().children.iter())
                .find(|child| child.peer == Some(peer.wire))
                .map(|child| (child.silent, child.consumed));
            if let (true, Some((true, consumed))) = (stays, child) {
                let overhead = match self.shape.config.framing {
                    Framing::Lines | Framing::Null => 1,
                    Framing::Length => 5,
                    Framing::Raw => 0,
                };
                let sent = (0..peer.sent)
                    .map(|number| text(peer.wire, number, self.shape.scale).len() + overhead);
                assert_eq!(consumed, sent.sum(), "bytes to the command of peer {index}");
            } else if stays {
                assert_eq!(peer.expected, peer.sent, "messages of peer {index}");
            }
            // Children end themselves by a status, so the signal was the server's.
            let killed = peer
                .close
                .as_ref()
                .is_some_and(|(code, _)| *code == 4256 + 9);
            assert!(
                !killed || peer.left_first,
                "a command of peer {index} was killed"
            );
            // A command that ended by itself has had all its output delivered before.
            let world = self.world.borrow();
            let child = world
                .children
                .iter()
                .find(|child| child.peer == Some(peer.wire));
            let ended_by_itself = |close: &&(u16, String)| close.0 != POLICY_VIOLATION;
            let close = peer.close.as_ref().filter(ended_by_itself);
            if let (Some(child), Some((code, _)), false) = (child, close, peer.left_first) {
                let (printed, got) = (child.printed, peer.got);
                let right = match self.shape.config.framing {
                    Framing::Lines | Framing::Null | Framing::Raw => got == printed,
                    // A message whose end was not printed is not a message.
                    Framing::Length => got <= printed && (got < printed) == (*code == 1011),
                };
                assert!(right, "peer {index} got {got} of {printed} bytes");
            }
        }
    }

    /// A while of nothing but the server's own deadlines.
    fn wait_for_the_end(&mut self) {
        let start = self.now;
        for _ in 0..1000 {
            self.settle();
            if self.next == Next::Stop {
                break;
            }
            self.everybody_acts();
            let Next::Wait(deadline) = self.next else {
                continue;
            };
            match deadline {
                Some(at) => self.now = self.now.max(at),
                None if self.world.borrow().edges.is_empty() => break,
                None => {}
            }
        }
        let config = &self.shape.config;
        let took = self.now - start;
        if self.world.borrow().shutting_down {
            assert_eq!(self.next, Next::Stop, "it does not end");
            assert!(took <= config.drain_timeout, "{took:?} to end");
        } else {
            // An HTTP connection that waits for its next request waits longest, then for TCP's end.
            let most = config.http_idle_timeout + 2 * config.close_timeout;
            assert!(took <= most, "{took:?} until nothing was left");
        }
    }

    fn check_nothing_is_left(&self) {
        // `--kill-after=never` waits for the command, and signals nothing that it leaves behind.
        let spares_grandchildren = self.shape.config.kill_after.is_none();
        if self.world.borrow().shutting_down {
            // Whoever is left when the drain is over has been sent SIGKILL.
            let world = self.world.borrow();
            for child in &world.children {
                let left = child.alive || child.grandchild && !spares_grandchildren;
                assert!(!left, "process {} outlives the server", child.pid);
            }
            return;
        }
        let census = self.server.census();
        assert_eq!(
            (census.clients, census.processes),
            (0, 0),
            "entries are left"
        );
        let world = self.world.borrow();
        assert!(
            world.sockets.iter().all(|wire| wire.dropped),
            "sockets are left"
        );
        for child in &world.children {
            let left = child.alive || child.grandchild && !spares_grandchildren;
            assert!(!left, "process {} is left", child.pid);
            assert!(
                child.stdin_end && child.stdout_dropped && !child.stderr_open,
                "pipes of {} are left",
                child.pid
            );
        }
    }
}

// -- What one turn may do -------------------------------------------------------------------------

impl Run {
    /// Without anything at random.
    fn plain() -> Self {
        let config = Config {
            mode: Mode::Demo,
            high_water: 2000,
            message_len_max: 5000,
            log_level: Level::Error,
            ..Config::default()
        };
        let shape = Shape {
            scale: 1,
            steps: 0,
            shutdown_at: None,
            config,
        };
        Run::with(shape, Random(1))
    }

    /// A client of the command, alone, and what the command is like.
    fn with_command(prepare: impl FnOnce(&mut SimChild)) -> Self {
        let mut run = Run::plain();
        run.connect_to(true);
        run.settle();
        prepare(&mut run.world.borrow_mut().children[0]);
        run.await_upgrades();
        run
    }

    /// Waits until every client has its handshake answered.
    fn await_upgrades(&mut self) {
        for index in 0..self.peers.len() {
            while !self.peers[index].upgraded {
                self.settle();
                let before = self.peers[index].received.len();
                self.receive(index, usize::MAX);
                let more = self.peers[index].received.len() > before;
                assert!(more || self.peers[index].upgraded, "peer {index}");
            }
        }
    }

    /// Takes what the first client has been sent, and makes room for as much as `room`.
    fn take_all(&mut self, room: usize) -> Vec<u8> {
        let mut world = self.world.borrow_mut();
        let socket = &mut world.sockets[0];
        socket.room = room;
        let bytes = socket.downstream.drain(..).collect();
        if let Some(id) = socket.id {
            world.edge(Source::Client(id), Readiness::WRITABLE);
        }
        bytes
    }
}

/// Whatever number of handshakes waits, few commands are started at once: each takes the time of
/// hundreds of messages, in which nobody else is served.
#[test]
fn many_handshakes_at_once_are_spread_over_turns() {
    let mut run = Run::plain();
    for _ in 0..100 {
        run.connect_to(true);
    }
    // No turn starts more than its share, which is looked at behind every turn.
    let mut turns = 0;
    while run.world.borrow().children.len() < 100 {
        run.turn();
        turns += 1;
        assert!(turns < 100, "they wait for ever");
    }
    assert!(turns >= 100 / SPAWNS_PER_TURN, "{turns} turns");
    run.await_upgrades();
}

/// However often a listener tells that connections wait, it does not get more turns by that.
#[test]
fn a_listener_has_one_place_in_the_queue() {
    let mut run = Run::plain();
    for _ in 0..4000 {
        run.connect_to(false);
    }
    run.world.borrow_mut().edges.clear();
    while !run.world.borrow().backlog.is_empty() {
        let edge = (Source::Listener(0), Readiness::READABLE);
        run.world.borrow_mut().edges.push(edge);
        run.turn();
    }
    run.settle();
    assert_eq!(run.server.census().clients, 4000);
}

/// A client is not read without end because its command takes in everything at once.
#[test]
fn a_command_that_devours_its_input_gets_no_more_than_a_share() {
    let mut run = Run::with_command(|child| child.devours = true);
    let message = frame(true, 2, &[7; 1000]);
    let mut world = run.world.borrow_mut();
    world.sockets[0].upstream = message.repeat(4000).into();
    world.readable(0);
    drop(world);
    while !run.world.borrow().sockets[0].upstream.is_empty() {
        run.turn();
        assert!(run.next == Next::Poll || run.world.borrow().sockets[0].upstream.is_empty());
    }
}

/// Nor is a command's output because its client takes in everything at once.
#[test]
fn a_command_that_prints_without_end_gets_no_more_than_a_share() {
    /// As good as endless, but for a server that would go on for ever.
    const ROOM: usize = 16 << 20;
    let mut run = Run::with_command(|child| child.floods = true);
    run.take_all(ROOM);
    let id = run.world.borrow().children[0].id.expect("it is watched");
    let edge = (Source::Stdout(id), Readiness::READABLE);
    run.world.borrow_mut().edges.push(edge);
    for _ in 0..10 {
        run.turn();
        assert_eq!(run.next, Next::Poll);
        assert!(run.take_all(ROOM).len() >= READ_BUDGET);
    }
}

/// Who has left the command's group, holds its pipe and prints for ever does not keep the client
/// from hearing how the command ended.
#[test]
fn a_flood_of_somebody_else_does_not_hold_the_close_frame_back() {
    let mut run = Run::with_command(|child| child.floods = true);
    run.world.borrow_mut().end_child(0, Exit::Status(3));
    let close = [&[0x88, 8][..], &4003_u16.to_be_bytes(), b"exit 3"].concat();
    let mut received = 0;
    loop {
        run.settle();
        let bytes = run.take_all(100_000);
        received += bytes.len();
        if bytes.ends_with(&close) {
            break;
        }
        assert!(received < 10 * PIPE_LEN_MAX, "{received} bytes came");
    }
}

/// Of two commands that end at one moment a signal names the first. That the output of the other
/// has ended is enough to ask for it.
#[test]
fn commands_that_end_at_one_moment_are_both_told_at_once() {
    let mut run = Run::plain();
    for _ in 0..2 {
        run.connect_to(true);
    }
    run.settle();
    run.await_upgrades();
    for index in 0..2 {
        run.world.borrow_mut().end_child(index, Exit::Status(0));
    }
    run.settle();
    for index in 0..2 {
        run.receive(index, usize::MAX);
        let close = run.peers[index].close.clone();
        assert_eq!(close, Some((1000, "exit 0".to_owned())), "peer {index}");
    }
}

/// Nor does one have to wait for long whose output tells nothing, as somebody holds it.
#[test]
fn commands_that_end_at_one_moment_are_both_reaped_soon() {
    let mut run = Run::plain();
    for _ in 0..2 {
        run.connect_to(true);
    }
    run.settle();
    run.await_upgrades();
    for index in 0..2 {
        let mut world = run.world.borrow_mut();
        world.children[index].grandchild = true;
        world.end_child(index, Exit::Status(0));
    }
    run.settle();
    assert_eq!(run.world.borrow().exits.len(), 1, "one was named");
    run.now = run.now + REAP_DELAY_MAX;
    run.settle();
    assert_eq!(run.world.borrow().exits.len(), 0);
}

// -- Everything at random --------------------------------------------------------------------------

fn run(seed: u64) {
    let mut run = Run::new(seed);
    for step in 0..run.shape.steps {
        if run.shape.shutdown_at == Some(step) {
            run.shut_down();
        }
        if run.next == Next::Stop {
            break;
        }
        run.step();
    }
    run.finish();
}

#[test]
fn random_schedules_keep_every_promise() {
    let seeds = std::env::var("WSPIPE_MODEL_SEEDS").unwrap_or_else(|_| "0..200".to_owned());
    let (first, last) = seeds
        .split_once("..")
        .expect("WSPIPE_MODEL_SEEDS=FIRST..LAST");
    let (first, last) = (first.parse().unwrap(), last.parse().unwrap());
    let seconds = std::env::var("WSPIPE_MODEL_SECONDS").map(|it| it.parse().expect("a number"));
    let until = seconds.map(|seconds| std::time::Instant::now() + Duration::from_secs(seconds));
    let next = AtomicU64::new(first);
    let work = || {
        while until
            .as_ref()
            .is_ok_and(|&until| std::time::Instant::now() < until)
            || until.is_err()
        {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= last {
                return;
            }
            if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
                eprintln!("failed: WSPIPE_MODEL_SEEDS={seed}..{}", seed + 1);
                std::panic::resume_unwind(panic);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, Into::into) {
            scope.spawn(work);
        }
    });
    println!("{} schedules", next.into_inner().min(last) - first);
}
