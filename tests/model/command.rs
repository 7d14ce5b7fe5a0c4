//! The commands of the model: they copy their stdin to their stdout as `cat` does, or read it alone,
//! or print what nobody asked for; they stall, complain, leave a grandchild, ignore signals and exit.

use std::collections::VecDeque;

use wspipe::event_loop::instant::Instant;
use wspipe::event_loop::readiness::Readiness;
use wspipe::framing::Framing;
use wspipe::source::{ProcessId, Source};
use wspipe::system::{Exit, Pid};

use crate::random::Random;
use crate::text::{Intake, Output, Rules, write_framed, write_text};
use crate::world::World;

/// The speaker of what a command says itself.
const COMMAND: usize = 999_999;

/// One command that was started.
pub struct Command {
    pub pid: Pid,
    pub id: Option<ProcessId>,
    pub kind: Kind,
    /// The client that it was started for; `None`: it is everybody's.
    pub client: Option<usize>,
    /// It is shared, or waits for its client if that is lost.
    pub has_channel: bool,
    pub started_at: Instant,
    pub ended_at: Option<Instant>,
    pub exit: Option<Exit>,
    pub alive: bool,
    /// A grandchild in the same process group, which holds stdout.
    pub grandchild: bool,
    pub ignores: bool,
    /// A signal of the server's ended it.
    pub was_signalled: bool,
    /// The server was told that nothing of its process group is left.
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
    /// It has a stderr of its own, and the server reads that.
    pub stderr_open: bool,

    /// What it took from its stdin, and whether it came to the end.
    pub intake: Intake,
    pub has_read_all: bool,
    /// What the server has read of its stdout, and of its stderr.
    pub output: Output,
    pub complaints: Output,
    /// How many texts it said itself, and what of the last one is to be printed.
    said: u32,
    unprinted: VecDeque<u8>,

    /// It takes in whatever comes, at once.
    pub devours: bool,
    /// It, or somebody who has left its group and holds the pipe, prints faster than anyone reads.
    pub floods: bool,
    /// Bytes that the server has read of its outputs in this turn, and written to its stdin.
    pub read_in_turn: usize,
    pub taken_in_turn: usize,
    /// Since when, or until when, the server must have ended it.
    pub term: Term,
}

/// What a command does when it is not asked to do anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Copies,
    Reads,
    Prints,
}

/// Until when a command has to be there no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// It is wanted.
    Any,
    /// Its client, which had this connection, was lost, and may come back until then.
    Waits(usize, Instant),
    /// The ladder is under way, whose last rung is then.
    Ends(Instant),
}

impl Command {
    pub fn new(pid: Pid, index: usize, has_channel: bool, world: &World) -> Self {
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
            has_channel,
            started_at: world.now,
            ended_at: None,
            exit: None,
            alive: true,
            grandchild: false,
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
            complaints: Output::new(Rules {
                framing: Framing::Lines,
                ..shape.rules()
            }),
            said: 0,
            unprinted: VecDeque::new(),
            devours: false,
            floods: false,
            read_in_turn: 0,
            taken_in_turn: 0,
            term: Term::Any,
        }
    }
}

impl World {
    /// A command does something at random.
    pub fn act(&mut self, index: usize, random: &mut Random) {
        let scale = self.shape.scale;
        let complaint = match self.shape.has_tags() {
            true => &b"it \"complains\"\n"[..],
            // What nobody understands is for the log alone.
            false => b"it complains \xff\n",
        };
        let command = &mut self.commands[index];
        if !command.alive {
            if random.one_in(20) {
                self.end_grandchild(index);
            }
            return;
        }
        match random.below(60) {
            0 => command.ignores = true,
            1 => command.grandchild = true,
            2 => {
                let exit = Exit::Status(random.below(256) as u8);
                self.end_command(index, exit);
            }
            3..8 if command.stderr_open && command.stderr_room > 0 => {
                let n = 1 + random.below(command.stderr_room);
                command.stderr.extend(complaint.iter().cycle().take(n));
                command.stderr_room -= n;
                self.printed(index, n, Source::Stderr);
            }
            8..30 if command.kind == Kind::Prints => {
                self.print(index, 1 + random.below(400 * scale));
            }
            _ => self.work(index, 1 + random.below(400 * scale)),
        }
    }

    /// What an ended command has left behind ends.
    pub fn end_grandchild(&mut self, index: usize) {
        let command = &mut self.commands[index];
        if !command.alive && std::mem::take(&mut command.grandchild) {
            self.end_command(index, Exit::Status(0));
        }
    }

    /// A command goes on with what it has to do: it takes at most `len_max` bytes of its stdin, or
    /// the end.
    pub fn work(&mut self, index: usize, len_max: usize) {
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
        // A message reaches a command whole or not at all, but for the last one of a plain stream
        // that is its client's own.
        let may_be_cut = self.shape.config.command.framing == Framing::Raw && !command.has_channel;
        assert!(
            !ended || command.intake.is_whole() || may_be_cut,
            "stdin ended within a message"
        );
        command.has_read_all |= ended;
        let exits = ended && command.unprinted.is_empty();
        if unblocked && let Some(id) = command.id {
            self.edge(Source::Stdin(id), Readiness::WRITABLE);
        }
        self.progress += u64::from(n > 0);
        self.printed(index, if copies { n } else { 0 }, Source::Stdout);
        if exits {
            self.end_command(index, Exit::Status(0));
        }
    }

    /// A command prints as much of what it says itself as its pipe takes of `len_max` bytes. What it
    /// has begun it ends.
    fn print(&mut self, index: usize, len_max: usize) {
        let (framing, scale) = (self.shape.config.command.framing, self.shape.scale);
        let command = &mut self.commands[index];
        if command.unprinted.is_empty() {
            let (mut text, mut framed) = (Vec::new(), Vec::new());
            write_text(COMMAND, command.said, scale, &mut text);
            write_framed(framing, &text, &mut framed);
            command.unprinted = framed.into();
            command.said += 1;
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

    /// Bytes came into a pipe that the server reads.
    fn printed(&mut self, index: usize, n: usize, source: fn(ProcessId) -> Source) {
        if let Some(id) = self.commands[index].id.filter(|_| n > 0) {
            self.edge(source(id), Readiness::READABLE);
        }
    }
}

/// Fills a buffer from a ring that has as much.
pub fn take_exactly(from: &mut VecDeque<u8>, buffer: &mut [u8]) {
    use std::io::Read;
    from.read_exact(buffer).expect("there is as much");
}
