//! The commands: some copy stdin to stdout as `cat` does, some only read, some print on their own.
//! They stall, write to stderr, leave a grandchild, start a job, ignore signals and exit.

use std::collections::VecDeque;

use wspipe::config::EndAt;
use wspipe::event_loop::instant::Instant;
use wspipe::event_loop::readiness::Readiness;
use wspipe::framing::Framing;
use wspipe::source::{ProcessId, Source};
use wspipe::system::{Exit, Pid};

use crate::random::Random;
use crate::text::{Intake, Output, Rules, write_framed, write_text};
use crate::world::World;

/// The speaker of texts that commands print on their own.
const COMMAND: usize = 999_999;

/// A command that was started.
pub struct Command {
    pub pid: Pid,
    pub id: Option<ProcessId>,
    pub kind: Kind,
    /// The client that it was started for; `None` for a shared command.
    pub client: Option<usize>,
    /// It is shared or resumable, so that clients come and go.
    pub has_fan_out: bool,
    pub started_at: Instant,
    pub ended_at: Option<Instant>,
    pub exit: Option<Exit>,
    pub alive: bool,
    /// A grandchild in its process group holds its stdout.
    pub grandchild: bool,
    /// A job: a process that has left its process group, but not its process session. It holds no pipe.
    pub job: bool,
    /// The output ends at EOF, not with the exit, so a grandchild prints on (`--end-at=eof`).
    pub ends_at_eof: bool,
    pub ignores: bool,
    /// The server has sent a signal to its process group.
    pub group_signalled: bool,
    /// A signal of the server terminated it, or the grandchild that takes its place.
    pub was_signalled: bool,
    /// The server knows that its process group is empty.
    pub found_gone: bool,

    pub stdin: VecDeque<u8>,
    pub stdin_end: bool,
    pub stdin_room: usize,
    pub stdin_blocked: bool,
    pub stdout: VecDeque<u8>,
    pub stdout_room: usize,
    pub stdout_open: bool,
    pub stderr: VecDeque<u8>,
    pub stderr_room: usize,
    /// The server reads its stderr through a pipe of its own.
    pub stderr_open: bool,

    /// The input that it has read, and whether it reached EOF.
    pub intake: Intake,
    pub has_read_all: bool,
    /// The output that the server has read from its stdout and its stderr.
    pub output: Output,
    pub stderr_output: Output,
    /// The number of texts it printed on its own, and the rest of the last one.
    printed: u32,
    unprinted: VecDeque<u8>,

    /// It reads everything at once.
    pub drains_stdin: bool,
    /// The command, or a process outside its group that holds the pipe, prints without end.
    pub floods: bool,
    /// Bytes that the server has read of its output in this turn, and written to its stdin.
    pub read_in_turn: usize,
    pub taken_in_turn: usize,
    /// By when the server must have terminated it.
    pub termination: Termination,
}

/// The behaviour of a command by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Copies,
    Reads,
    Prints,
}

/// Whether and when a command has to be terminated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Termination {
    /// It is in use.
    NotDue,
    /// The client lost this connection, and may resume until then.
    IfNotResumed(usize, Instant),
    /// The escalation is under way; its last step comes then.
    By(Instant),
}

impl Command {
    pub fn new(pid: Pid, index: usize, has_fan_out: bool, world: &World) -> Self {
        let shape = &world.shape;
        let pipe_len = world.pipe_len;
        Self {
            pid,
            id: None,
            kind: match index % 8 {
                7 => Kind::Reads,
                2 | 5 => Kind::Prints,
                _ => Kind::Copies,
            },
            client: None,
            has_fan_out,
            started_at: world.now,
            ended_at: None,
            exit: None,
            alive: true,
            grandchild: false,
            job: false,
            group_signalled: false,
            ends_at_eof: shape.config.command.end_at == EndAt::Eof,
            ignores: false,
            was_signalled: false,
            found_gone: false,
            stdin: VecDeque::new(),
            stdin_end: false,
            stdin_room: pipe_len,
            stdin_blocked: false,
            stdout: VecDeque::new(),
            stdout_room: pipe_len,
            stdout_open: true,
            stderr: VecDeque::new(),
            stderr_room: pipe_len,
            stderr_open: false,
            intake: Intake::new(shape.config.command.framing, shape.scale),
            has_read_all: false,
            output: Output::new(shape.rules()),
            stderr_output: Output::new(Rules {
                framing: Framing::Lines,
                ..shape.rules()
            }),
            printed: 0,
            unprinted: VecDeque::new(),
            drains_stdin: false,
            floods: false,
            read_in_turn: 0,
            taken_in_turn: 0,
            termination: Termination::NotDue,
        }
    }
}

impl Command {
    /// Whether something of it is left that the server has to keep or to terminate: the command, or
    /// a grandchild that prints on.
    pub fn is_in_use(&self) -> bool {
        self.alive || self.ends_at_eof && self.grandchild
    }
}

impl World {
    /// A command does something at random.
    pub fn act(&mut self, index: usize, random: &mut Random) {
        let scale = self.shape.scale;
        let line = match self.shape.has_tags() {
            true => &b"a \"warning\"\n"[..],
            // Invalid UTF-8 can only go to the log.
            false => b"a warning \xff\n",
        };
        let command = &mut self.commands[index];
        if !command.alive {
            if random.one_in(20) {
                command.job = false;
            } else if random.one_in(20) {
                // The grandchild exits, or becomes a job.
                command.job |= command.grandchild && random.one_in(2);
                self.exit_grandchild(index);
            } else if command.is_in_use() && command.kind == Kind::Prints {
                self.print(index, 1 + random.below(400 * scale));
            }
            return;
        }
        match random.below(60) {
            0 => command.ignores = true,
            1 => command.grandchild = true,
            59 => {
                command.job = true;
                self.trace(format_args!("  command {index} starts a job"));
            }
            2 => {
                let exit = Exit::Status(random.below(256) as u8);
                self.exit_command(index, exit);
            }
            3..8 if command.stderr_open && command.stderr_room > 0 => {
                let n = 1 + random.below(command.stderr_room);
                command.stderr.extend(line.iter().cycle().take(n));
                command.stderr_room -= n;
                self.printed(index, n, Source::Stderr);
            }
            8..30 if command.kind == Kind::Prints => {
                self.print(index, 1 + random.below(400 * scale));
            }
            _ => self.work(index, 1 + random.below(400 * scale)),
        }
    }

    /// The grandchild of a command that has exited exits.
    pub fn exit_grandchild(&mut self, index: usize) {
        let command = &mut self.commands[index];
        if !command.alive && std::mem::take(&mut command.grandchild) {
            self.exit_command(index, Exit::Status(0));
        }
    }

    /// A command goes on with its work: it reads up to `len_max` bytes of stdin, or EOF.
    pub fn work(&mut self, index: usize, len_max: usize) {
        let command = &mut self.commands[index];
        if !command.alive && command.is_in_use() && !command.unprinted.is_empty() {
            self.print(index, len_max);
        }
        let command = &mut self.commands[index];
        if !command.alive {
            return;
        }
        if !command.unprinted.is_empty() {
            self.print(index, len_max);
        }
        let command = &mut self.commands[index];
        let copies = command.kind == Kind::Copies;
        let room = if copies { command.stdout_room } else { len_max };
        let n = command.stdin.len().min(room).min(len_max);
        let mut bytes = vec![0; n];
        take_exactly(&mut command.stdin, &mut bytes);
        command.stdin_room += n;
        command.intake.take(&bytes);
        if copies {
            command.stdout_room -= n;
            command.stdout.extend(&bytes);
        }
        let unblocked = n > 0 && std::mem::take(&mut command.stdin_blocked);
        let ended = command.stdin_end && command.stdin.is_empty();
        // A message reaches a command whole or not at all. The exception is the last one of a raw
        // stream to the client's own command.
        let may_be_cut = self.shape.config.command.framing == Framing::Raw && !command.has_fan_out;
        assert!(
            !ended || command.intake.is_whole() || may_be_cut,
            "stdin is at EOF inside a message"
        );
        command.has_read_all |= ended;
        let exits = ended && command.unprinted.is_empty();
        if unblocked && let Some(id) = command.id {
            self.edge(Source::Stdin(id), Readiness::WRITABLE);
        }
        self.progress += u64::from(n > 0);
        self.printed(index, if copies { n } else { 0 }, Source::Stdout);
        if exits {
            self.exit_command(index, Exit::Status(0));
        }
    }

    /// A command prints a text of its own: up to `len_max` bytes, or what its pipe takes. A text
    /// begun is finished before the next.
    fn print(&mut self, index: usize, len_max: usize) {
        let (framing, scale) = (self.shape.config.command.framing, self.shape.scale);
        let command = &mut self.commands[index];
        if command.unprinted.is_empty() {
            let (mut text, mut framed) = (Vec::new(), Vec::new());
            write_text(COMMAND, command.printed, scale, &mut text);
            write_framed(framing, &text, &mut framed);
            command.unprinted = framed.into();
            command.printed += 1;
        }
        let n = command
            .unprinted
            .len()
            .min(command.stdout_room)
            .min(len_max);
        let mut bytes = vec![0; n];
        take_exactly(&mut command.unprinted, &mut bytes);
        command.stdout.extend(&bytes);
        command.stdout_room -= n;
        self.progress += u64::from(n > 0);
        self.printed(index, n, Source::Stdout);
    }

    /// Adds the edge for bytes in a pipe that the server reads.
    fn printed(&mut self, index: usize, n: usize, source: fn(ProcessId) -> Source) {
        if let Some(id) = self.commands[index].id.filter(|_| n > 0) {
            self.edge(source(id), Readiness::READABLE);
        }
    }
}

/// Fills a buffer from a ring that has enough.
pub fn take_exactly(from: &mut VecDeque<u8>, buffer: &mut [u8]) {
    use std::io::Read;
    from.read_exact(buffer)
        .expect("the ring has that many bytes");
}
