//! The world as the server sees it: its sockets, its pipes, and the [`System`] that it calls.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;

use wspipe::config::Signal;
use wspipe::config::Stderr;
use wspipe::event_loop::instant::Instant;
use wspipe::event_loop::readiness::Readiness;
use wspipe::http::routes::DirEntry;
use wspipe::peer::Peer;
use wspipe::source::{ClientId, ProcessId, Source};
use wspipe::system::{
    AcceptError, Child, Exit, Group, PeerUser, Pid, SignalEvent, Socket, Spawn, SpawnError, System,
};

use crate::command::Command;
use crate::world::World;

/// The client's port on the first connection; further ones count up.
const FIRST_PORT: u16 = 1024;

/// The number of processes of the machine.
pub const SCAN_LEN: usize = 1000;

#[derive(Clone)]
pub struct Sim(pub Rc<RefCell<World>>);

pub struct SimSocket(Rc<RefCell<World>>, usize);
pub struct SimStdin(Rc<RefCell<World>>, usize);
/// The stdout or stderr of a command.
pub struct SimOutput(Rc<RefCell<World>>, usize, Pipe);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pipe {
    Stdout,
    Stderr,
}

/// Reads as read(2) does: what fits, EOF (0 bytes), or `WouldBlock`.
fn take(from: &mut VecDeque<u8>, ended: bool, buffer: &mut [u8]) -> io::Result<usize> {
    if from.is_empty() && !ended {
        return Err(ErrorKind::WouldBlock.into());
    }
    let n = from.read(buffer)?;
    // The ring may wrap around.
    Ok(n + from.read(&mut buffer[n..])?)
}

/// Writes as much as there is room for.
fn put(to: &mut VecDeque<u8>, room: &mut usize, bytes: &[u8]) -> io::Result<usize> {
    let n = bytes.len().min(*room);
    if n == 0 {
        return Err(ErrorKind::WouldBlock.into());
    }
    *room -= n;
    to.extend(&bytes[..n]);
    Ok(n)
}

impl Read for SimSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let world = &mut *self.0.borrow_mut();
        let wire = &mut world.wires[self.1];
        if wire.reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let n = take(&mut wire.upstream, wire.upstream_end, buffer)?;
        wire.note_read(n, world.now);
        world.progress += 1;
        Ok(n)
    }
}

impl Write for SimSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let world = &mut *self.0.borrow_mut();
        let wire = &mut world.wires[self.1];
        if wire.reset {
            return Err(ErrorKind::BrokenPipe.into());
        }
        assert!(!wire.downstream_end, "the server writes after its FIN");
        world.progress += 1;
        if wire.resets_on_data {
            wire.reset = true;
            wire.written += bytes.len() as u64;
            world.report(self.1);
            return Ok(bytes.len());
        }
        let written = put(&mut wire.downstream, &mut wire.room, bytes);
        let blocked = written.as_ref().map_or(true, |n| *n < bytes.len());
        // With the first response the head time-out of the second request begins.
        if let (0, Some((1, since))) = (wire.written, &mut wire.head) {
            *since = world.now;
        }
        wire.note_written(&bytes[..*written.as_ref().unwrap_or(&0)]);
        wire.write_was_blocked |= blocked;
        wire.ever_blocked |= blocked;
        wire.caught_up |= !blocked && wire.joined.is_some();
        written
    }

    /// Writes all pieces as one, as the kernel does.
    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| piece.iter())
            .copied()
            .collect();
        self.write(&bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for SimSocket {
    fn shutdown_write(&self) -> io::Result<()> {
        self.0.borrow_mut().wires[self.1].downstream_end = true;
        Ok(())
    }

    fn unacknowledged(&self) -> usize {
        self.0.borrow().wires[self.1].downstream.len()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(([127, 0, 0, 1], 8080).into())
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        let world = &mut *self.0.borrow_mut();
        let client = world.wires[self.1].client;
        world.trace(format_args!(
            "  the server closes the socket of client {client}"
        ));
        let wire = &mut world.wires[self.1];
        wire.dropped_at = Some(world.now);
        wire.dropped_idle = wire.downstream.is_empty() && wire.in_flight.is_empty();
        wire.downstream_end = true;
        world.progress += 1;
    }
}

impl Write for SimStdin {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let world = &mut *self.0.borrow_mut();
        let command = &mut world.commands[self.1];
        if !command.alive {
            return Err(ErrorKind::BrokenPipe.into());
        }
        world.progress += 1;
        if command.drains_stdin {
            command.taken_in_turn += bytes.len();
            return Ok(bytes.len());
        }
        let written = put(&mut command.stdin, &mut command.stdin_room, bytes);
        command.stdin_blocked |= written.as_ref().map_or(true, |n| *n < bytes.len());
        command.taken_in_turn += written.as_ref().unwrap_or(&0);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SimStdin {
    fn drop(&mut self) {
        let world = &mut *self.0.borrow_mut();
        world.commands[self.1].stdin_end = true;
        world.progress += 1;
    }
}

impl Read for SimOutput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let world = &mut *self.0.borrow_mut();
        let command = &mut world.commands[self.1];
        if command.floods {
            let lines = b"y\n".iter().cycle();
            buffer
                .iter_mut()
                .zip(lines)
                .for_each(|(slot, y)| *slot = *y);
            command.read_in_turn += buffer.len();
            return Ok(buffer.len());
        }
        let ended = !command.alive && !command.grandchild;
        let (bytes, room) = match self.2 {
            Pipe::Stdout => (&mut command.stdout, &mut command.stdout_room),
            Pipe::Stderr => (&mut command.stderr, &mut command.stderr_room),
        };
        let n = take(bytes, ended, buffer)?;
        *room += n;
        command.read_in_turn += n;
        let output = match self.2 {
            Pipe::Stdout => &mut command.output,
            Pipe::Stderr => &mut command.stderr_output,
        };
        match n {
            0 => output.finish(),
            _ => output.take(&buffer[..n]),
        }
        world.progress += 1;
        Ok(n)
    }
}

impl Drop for SimOutput {
    fn drop(&mut self) {
        let world = &mut *self.0.borrow_mut();
        let command = &mut world.commands[self.1];
        match self.2 {
            Pipe::Stdout => command.stdout_open = false,
            Pipe::Stderr => command.stderr_open = false,
        }
        world.progress += 1;
    }
}

impl System for Sim {
    type Socket = SimSocket;
    type Stdin = SimStdin;
    type Output = SimOutput;

    fn listeners(&self) -> usize {
        1
    }

    fn accept(&mut self, _listener: u32) -> Result<(SimSocket, Peer), AcceptError> {
        let mut world = self.0.borrow_mut();
        if world.failing_accepts > 0 {
            world.failing_accepts -= 1;
            return Err(AcceptError::Failed {
                error: io::Error::from_raw_os_error(libc::EMFILE),
                remedy: None,
            });
        }
        let wire = world.backlog.pop_front();
        let wire = wire.ok_or(AcceptError::WouldBlock)?;
        world.accepted += 1;
        world.progress += 1;
        let peer = SocketAddr::from(([127, 0, 0, 1], FIRST_PORT + wire as u16));
        Ok((SimSocket(self.0.clone(), wire), peer.into()))
    }

    fn stop_listening(&mut self) {
        let world = &mut *self.0.borrow_mut();
        world.listening = false;
        // Connections in the backlog are reset.
        for wire in world.backlog.drain(..) {
            world.wires[wire].dropped_at = Some(world.now);
            world.wires[wire].downstream_end = true;
        }
    }

    fn watch_client(&mut self, socket: &mut SimSocket, id: ClientId) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        world.register()?;
        world.wires[socket.1].id = Some(id);
        // epoll reports what is ready at registration as an edge.
        let readiness = world.wires[socket.1].readiness();
        world.edge(Source::Client(id), readiness);
        Ok(())
    }

    fn watch_child(
        &mut self,
        child: &mut Child<SimStdin, SimOutput>,
        id: ProcessId,
    ) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        world.register()?;
        world.commands[child.stdin.1].id = Some(id);
        world.edge(Source::Stdin(id), Readiness::WRITABLE);
        Ok(())
    }

    fn look_up(&mut self, _name: &str) -> DirEntry {
        DirEntry::Nothing
    }

    fn spawn(&mut self, spawn: &Spawn<'_>) -> Result<Child<SimStdin, SimOutput>, SpawnError> {
        let world = &mut *self.0.borrow_mut();
        world.check_restart();
        if world.failing_forks > 0 {
            world.failing_forks -= 1;
            // A start that failed for a client is tried again for the next client, without a delay.
            world.start_failed_at = Some(world.now).filter(|_| world.deciding.is_none());
            return Err(SpawnError::Exhausted(ErrorKind::WouldBlock.into()));
        }
        world.start_failed_at = None;
        world.spawned += 1;
        world.progress += 1;
        let index = world.commands.len();
        let pid = world.next_pid();
        let has_stderr = matches!(spawn.settings.stderr, Stderr::Log | Stderr::Json);
        let is_shared = world.shape.config.command.shared.is_some();
        let deciding = world.deciding.map(|wire| &world.wires[wire]);
        let has_fan_out = is_shared || deciding.is_some_and(|wire| wire.has_session);
        let client = deciding.map(|wire| wire.client).filter(|_| !is_shared);
        let mut command = Command::new(pid, index, has_fan_out, world);
        command.client = client;
        command.stderr_open = has_stderr;
        world.commands.push(command);
        if let Some(wire) = world.deciding {
            let joined = world.wires[wire].joined.as_mut();
            joined.expect("note_request was called").started = Some(index);
        }
        let world = || self.0.clone();
        Ok(Child {
            pid,
            stdin: SimStdin(world(), index),
            stdout: SimOutput(world(), index, Pipe::Stdout),
            stderr: has_stderr.then(|| SimOutput(world(), index, Pipe::Stderr)),
        })
    }

    fn signal_group(&mut self, leader: Pid, signal: Signal) -> Group {
        let mut world = self.0.borrow_mut();
        let index = world.newest_with_pid(leader);
        let group = world.group(index);
        let command = &mut world.commands[index];
        assert!(
            !command.found_gone,
            "the server signals a group that it found gone"
        );
        if world.shape.trace {
            eprintln!("  command {index} receives {signal:?}");
        }
        let command = &mut world.commands[index];
        command.found_gone = group == Group::Gone;
        command.group_signalled = true;
        if !command.ignores || signal == Signal::Kill {
            command.was_signalled |= command.is_in_use();
            command.grandchild = false;
            world.exit_command(index, Exit::Signal(9));
        }
        group
    }

    fn probe_group(&mut self, leader: Pid) -> Group {
        let mut world = self.0.borrow_mut();
        world.probed += 1;
        let index = world.newest_with_pid(leader);
        let group = world.group(index);
        world.commands[index].found_gone = group == Group::Gone;
        group
    }

    /// Every second call is the first of two that make a scan. Jobs that start between them are missed.
    fn find_jobs(&mut self, is_leader: &dyn Fn(Pid) -> bool) -> Option<usize> {
        let mut world = self.0.borrow_mut();
        world.scan_parts += 1;
        if world.scan_parts % 2 == 1 {
            let found = |index: &usize| {
                let command = &world.commands[*index];
                command.job && is_leader(command.pid)
            };
            world.jobs_found = (0..world.commands.len()).filter(found).collect();
            return None;
        }
        Some(SCAN_LEN)
    }

    fn signal_jobs(&mut self, leader: Pid, signal: Option<Signal>) -> Group {
        let mut world = self.0.borrow_mut();
        let index = world.newest_with_pid(leader);
        let was_found = world.jobs_found.contains(&index);
        world.trace(format_args!(
            "  the jobs of command {index} receive {signal:?}; found: {was_found}"
        ));
        let command = &mut world.commands[index];
        assert!(
            signal.is_none() || !command.alive || command.group_signalled,
            "the jobs of a command in use are signalled"
        );
        if !was_found || !command.job {
            return Group::Gone;
        }
        if signal.is_some_and(|signal| !command.ignores || signal == Signal::Kill) {
            command.job = false;
            world.progress += 1;
        }
        Group::Alive
    }

    fn reap(&mut self, which: Option<Pid>) -> Option<(Pid, Exit)> {
        let zombies = &mut self.0.borrow_mut().zombies;
        let wanted = |(pid, _): &(Pid, Exit)| which.is_none_or(|which| which == *pid);
        let index = zombies.iter().position(wanted)?;
        zombies.remove(index)
    }

    fn group_of(&mut self, pid: Pid) -> Option<Pid> {
        let world = self.0.borrow();
        let known = world.commands.iter().any(|it| it.pid == pid);
        known.then_some(pid)
    }

    fn next_signal(&mut self) -> Option<SignalEvent> {
        self.0.borrow_mut().signals.pop_front()
    }

    /// The server asks for the user whenever it decides a request for the command, so this is the
    /// place to record what the request finds.
    fn peer_user(&mut self, socket: &SimSocket, peer: &Peer) -> io::Result<PeerUser> {
        let mut world = self.0.borrow_mut();
        assert_eq!(peer.addr().port(), FIRST_PORT + socket.1 as u16);
        world.note_request(socket.1);
        Ok(PeerUser::Uid(7))
    }

    /// Time stands still within a turn, except that the world may make a turn run out of time.
    fn clock(&self) -> Instant {
        self.0.borrow_mut().clock()
    }

    fn own_uid(&self) -> u32 {
        7
    }
}
