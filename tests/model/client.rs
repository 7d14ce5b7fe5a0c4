//! The clients: each sends numbered texts, knows what must come back, and checks all that arrives.
//! A client with a session reconnects when its connection was lost.

use wspipe::config::{ClientLimits, CommandSettings};
use wspipe::event_loop::instant::Instant;
use wspipe::framing::Framing;
use wspipe::limits::FRAGMENT_LEN;
use wspipe::system::Exit;

use crate::text::{Place, next_frame, text, untagged};
use crate::wire::{Joined, Wire};
use crate::world::World;

pub struct Client {
    pub number: usize,
    /// Whether it asks for the command or for the echo.
    pub asks_for_command: bool,
    /// Whether it has a resumable session.
    pub has_session: bool,
    pub connection: Connection,
    /// The command, and the client's place in its output.
    pub follows: Option<(usize, Place)>,
    /// Its place in the command's stderr, if that is sent too.
    pub stderr_place: Option<Place>,
    /// The number of messages that it has sent to this command.
    pub sent: u32,
    /// The number of messages that the echo returned.
    pub echoed: u32,
    /// The number of messages of its session that it has received.
    received: u64,
    /// When the connection of its session was lost.
    pub lost_at: Option<Instant>,
    /// Whether its session has ended.
    pub session_ended: bool,
}

/// One connection, as the client sees it.
pub struct Connection {
    pub wire: usize,
    /// Bytes received but not parsed.
    pub bytes: Vec<u8>,
    pub state: State,
    /// The beginning of a fragmented message.
    partial: Option<Vec<u8>>,
    /// Pings to be answered.
    pub pings: usize,
    /// Whether it resumes an existing session.
    resumes: bool,
    /// Whether the client has left, in any way.
    pub left: bool,
    /// Whether it left before the server closed.
    pub left_first: bool,
    /// Whether the client no longer exists, and reads nothing.
    pub vanished: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The opening handshake is under way.
    Opening,
    Refused,
    /// The session was resumed: its first message, which says how many messages had arrived, is
    /// due.
    Resuming,
    Open,
    /// The server's Close, with its code and reason.
    Closed(u16, String),
}

impl Connection {
    fn new(wire: usize, resumes: bool) -> Self {
        Self {
            wire,
            bytes: Vec::new(),
            state: State::Opening,
            partial: None,
            pings: 0,
            resumes,
            left: false,
            left_first: false,
            vanished: false,
        }
    }

    /// Whether neither side has ended the connection.
    pub fn stays(&self) -> bool {
        !self.left && !matches!(self.state, State::Refused | State::Closed(..))
    }
}

impl Client {
    /// A client with its first connection.
    pub fn new(number: usize, asks_for_command: bool, has_session: bool, wire: usize) -> Self {
        Self {
            number,
            asks_for_command,
            has_session,
            connection: Connection::new(wire, false),
            follows: None,
            stderr_place: None,
            sent: 0,
            echoed: 0,
            received: 0,
            lost_at: None,
            session_ended: false,
        }
    }

    /// The head of its opening handshake.
    pub fn request(&self) -> String {
        let path = if self.asks_for_command {
            "/ws"
        } else {
            "/echo"
        };
        let (number, received) = (self.number, self.received);
        // A client that reconnects wants its own session, not a new one.
        let resume = if self.lost_at.is_some() {
            ", wspipe.resume"
        } else {
            ""
        };
        let protocols = match self.has_session {
            true => format!(
                "Sec-WebSocket-Protocol: wspipe.session.{number:032x}.{received}{resume}\r\n"
            ),
            false => String::new(),
        };
        format!(
            "GET {path} HTTP/1.1\r\nHost: localhost:8080\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\n{protocols}\r\n"
        )
    }

    /// Whether its connection is lost and it may reconnect now. It may not while the server may
    /// still be busy with the earlier request: the two would race.
    pub fn may_reconnect(&self, world: &World) -> bool {
        let wire = &world.wires[self.connection.wire];
        let is_known = self.connection.state != State::Opening || wire.dropped_at.is_some();
        self.has_session
            && !self.session_ended
            && self.lost_at.is_some()
            && self.connection.left
            && is_known
    }

    /// It continues on another connection.
    pub fn reconnect(&mut self, wire: usize) {
        self.connection = Connection::new(wire, true);
    }

    /// Whether its session must exist: nothing has ended it, and the resume time has not passed.
    fn session_must_exist(&self, joined: Joined, world: &World) -> bool {
        let config = &world.shape.config;
        let Some(command) = joined.found.map(|index| &world.commands[index]) else {
            return false;
        };
        let Some((resume, lost_at)) = config.command.resume.zip(self.lost_at) else {
            return false;
        };
        let is_limited =
            config.clients.session_timeout.is_some() || config.clients.idle_timeout.is_some();
        // Output that cannot be made into messages ends a session. A command that could not be
        // registered was terminated at once.
        let is_cut = !command.alive && command.output.is_cut();
        let is_evicted = config.server.memory_max.is_some();
        let failed = command.output.too_long || is_cut || is_evicted || command.id.is_none();
        let in_time = joined.at - lost_at < resume;
        in_time && !self.session_ended && !is_limited && !failed && !world.shutting_down
    }

    // -- Receiving -------------------------------------------------------------------------------

    /// Parses and checks what has arrived.
    pub fn parse(&mut self, world: &World) {
        let bytes = std::mem::take(&mut self.connection.bytes);
        let mut left = &bytes[..];
        if self.connection.state == State::Opening {
            self.parse_responses(&mut left, world);
        }
        if !matches!(self.connection.state, State::Opening | State::Refused) {
            while let Some((fin, opcode, payload)) = next_frame(&mut left) {
                self.take_frame(fin, opcode, payload, world);
            }
        }
        let understood = bytes.len() - left.len();
        self.connection.bytes = bytes;
        self.connection.bytes.drain(..understood);
    }

    /// The responses: to a page that it may have asked for first, and the 101.
    fn parse_responses(&mut self, left: &mut &[u8], world: &World) {
        while let Some(end) = left.windows(4).position(|it| it == b"\r\n\r\n") {
            let head = std::str::from_utf8(&left[..end]).expect("ASCII");
            let status = head.strip_prefix("HTTP/1.1 ").map(|rest| &rest[..3]);
            let wire = &world.wires[self.connection.wire];
            match status {
                Some("200") => {
                    const BODY: &[u8] = b"ok\n";
                    let body = left.get(end + 4..end + 4 + BODY.len());
                    let Some(body) = body else { return };
                    assert_eq!(body, BODY);
                    *left = &left[end + 4 + BODY.len()..];
                    continue;
                }
                Some("101") => {
                    let named = head.contains("\r\nSec-WebSocket-Protocol: wspipe.session.");
                    assert_eq!(named, self.has_session, "{head}");
                    assert!(
                        !wire.head_timed_out,
                        "a request head that was too late was accepted"
                    );
                    self.open(wire, world);
                }
                // A resource is exhausted or a limit is reached.
                Some("503" | "429") => {
                    let joined = wire.joined.filter(|_| self.connection.resumes);
                    let awaited =
                        joined.is_some_and(|joined| self.session_must_exist(joined, world));
                    assert!(!awaited, "a client that resumes was refused");
                    self.connection.state = State::Refused;
                }
                Some("408") => {
                    assert!(wire.head_timed_out, "408 although the head was in time");
                    self.connection.state = State::Refused;
                }
                _ => panic!("{head}"),
            }
            *left = &left[end + 4..];
            return;
        }
    }

    /// The opening handshake is complete.
    fn open(&mut self, wire: &Wire, world: &World) {
        self.connection.state = State::Open;
        if !self.asks_for_command {
            return;
        }
        let joined = wire.joined.expect("the request was decided");
        let is_shared = world.shape.config.command.shared.is_some();
        if self.connection.resumes {
            if joined.started.is_none() {
                self.connection.state = State::Resuming;
                return;
            }
            // Only a client that missed nothing may get a new session in place of a lost one.
            assert_eq!(
                self.received, 0,
                "a new command silently replaced the old one"
            );
            assert!(
                !self.session_must_exist(joined, world),
                "its session was not resumed"
            );
            self.sent = 0;
        }
        let index = joined.command().expect("the client has a command");
        let output = &world.commands[index].output;
        let place = match joined.started {
            Some(_) => output.start(),
            None => {
                assert!(is_shared, "the command serves another client");
                let replay = world.shape.config.command.replay;
                output.joined(joined.messages, joined.output_len, replay)
            }
        };
        self.follows = Some((index, place));
        let stderr = &world.commands[index].stderr_output;
        self.stderr_place = world.shape.has_tags().then(|| stderr.start());
    }

    fn take_frame(&mut self, fin: bool, opcode: u8, payload: &[u8], world: &World) {
        let is_closed = matches!(self.connection.state, State::Closed(..));
        match opcode {
            0..=2 => {
                assert!(!is_closed, "a message after a Close");
                assert_eq!(opcode == 0, self.connection.partial.is_some());
                let config = &world.shape.config;
                let is_output = self.asks_for_command && self.connection.state == State::Open;
                let binary = is_output && config.command.framing == Framing::Raw;
                assert!(
                    opcode == 0 || (opcode == 2) == binary,
                    "the message has the wrong kind"
                );
                let is_whole = fin && opcode != 0;
                let splits = is_output && world.shape.splits();
                assert!(
                    is_whole || !splits,
                    "a fragment where each piece is a message"
                );
                if is_whole {
                    return self.take_message(payload, world);
                }
                let mut message = self.connection.partial.take().unwrap_or_default();
                message.extend_from_slice(payload);
                match fin {
                    true => self.take_message(&message, world),
                    false => self.connection.partial = Some(message),
                }
            }
            8 => {
                assert!(!is_closed, "a second Close");
                let (code, reason) = payload.split_at(payload.len().min(2));
                let code = code.try_into().map_or(1005, u16::from_be_bytes);
                let reason = std::str::from_utf8(reason).expect("UTF-8");
                world.trace(format_args!(
                    "client {} receives a Close: {code} {reason}",
                    self.number
                ));
                if !self.connection.left_first {
                    self.check_close(code, reason, world);
                    self.session_ended = true;
                }
                self.connection.state = State::Closed(code, reason.to_owned());
            }
            9 => self.connection.pings += 1,
            10 => {}
            _ => panic!("opcode {opcode}"),
        }
    }

    fn take_message(&mut self, message: &[u8], world: &World) {
        if self.connection.state == State::Resuming {
            return self.take_resume_message(message, world);
        }
        if !self.asks_for_command {
            let expected = text(self.number, self.echoed, world.shape.scale);
            assert!(
                message == expected,
                "echo {} to client {} differs",
                self.echoed,
                self.number
            );
            self.echoed += 1;
            return;
        }
        let (index, place) = self.follows.as_mut().expect("the client has a command");
        let command = &world.commands[*index];
        self.received += 1;
        // With `--kill-after=never` no signal is awaited when the client hangs up: the end of the output is
        // delivered although a grandchild may print on.
        let never_killed = world.shape.config.command.kill_after.is_none();
        let ended = !command.is_in_use() || !command.alive && never_killed;
        let Some(stderr_place) = &mut self.stderr_place else {
            return command.output.advance(place, message, ended);
        };
        let (is_stderr, has_more, data) = untagged(message);
        let is_full = data.len() == FRAGMENT_LEN;
        let may_end = ended || world.shape.config.command.flush.is_some();
        let right = has_more == is_full || !has_more && may_end;
        assert!(
            right,
            "a piece of {} bytes with more={has_more}",
            data.len()
        );
        match is_stderr {
            true => command.stderr_output.advance(stderr_place, &data, ended),
            false => command.output.advance(place, &data, ended),
        }
    }

    /// The first message of a resumed session.
    fn take_resume_message(&mut self, message: &[u8], world: &World) {
        let shown = String::from_utf8_lossy(message);
        let number = shown.strip_prefix("{\"received\":");
        let number = number.and_then(|rest| rest.strip_suffix('}'));
        let arrived: u64 = number.and_then(|it| it.parse().ok()).expect(&shown);
        let joined = world.wires[self.connection.wire].joined.expect("decided");
        let index = joined.found.expect("the client has a command");
        let command = &world.commands[index];
        // Messages that arrived after the command exited may be left uncounted.
        let least = if command.alive { joined.arrived_min } else { 0 };
        let right = (least..=joined.arrived).contains(&arrived);
        assert!(
            right,
            "the server counts {arrived} messages, not {}",
            joined.arrived
        );
        let came = u64::from(command.intake.count(self.number));
        assert!(
            came <= arrived,
            "the command read {came} messages, the server counts {arrived}"
        );
        // The earlier connection may have been lost before its 101 arrived.
        let follows = self.follows.take();
        let follows = follows.filter(|(followed, _)| *followed == index);
        let (_, place) = self
            .follows
            .insert(follows.unwrap_or_else(|| (index, command.output.start())));
        let output = &command.output;
        let kept = output.is_kept(place, joined.messages, joined.output_len);
        assert_ne!(kept, Some(false), "resumed from before the replay buffer");
        self.sent = arrived as u32;
        self.lost_at = None;
        self.connection.state = State::Open;
    }

    // -- Closing ---------------------------------------------------------------------------------

    /// The server closes, and its reason must be true.
    fn check_close(&self, code: u16, reason: &str, world: &World) {
        let CommandSettings { shared, .. } = &world.shape.config.command;
        let ClientLimits {
            session_timeout,
            idle_timeout,
            ..
        } = &world.shape.config.clients;
        let wire = &world.wires[self.connection.wire];
        if code == 1001 {
            assert!(world.shutting_down, "{reason}");
            return;
        }
        if code == 1008 && reason.starts_with("too slow") {
            assert!(
                shared.is_some() && wire.ever_blocked,
                "closed as too slow, but it took everything"
            );
            return;
        }
        if code == 1013 {
            assert!(world.shape.config.server.memory_max.is_some(), "{reason}");
            return;
        }
        if code == 1008 {
            assert!(session_timeout.or(*idle_timeout).is_some(), "{reason}");
            return;
        }
        if code == 4410 {
            assert_eq!(self.connection.state, State::Resuming, "{reason}");
            return self.check_loss(world);
        }
        let (index, place) = self
            .follows
            .as_ref()
            .expect("this close code is for clients of a command");
        let command = &world.commands[*index];
        let exit = command.exit;
        match code {
            1009 => assert!(command.output.too_long, "{reason}"),
            1011 => assert!(exit.is_some() && command.output.is_cut(), "{reason}"),
            _ => {
                let expected = match exit.expect("the command has exited") {
                    Exit::Status(0) => (1000, "exit 0".to_owned()),
                    Exit::Status(status) => (4000 + u16::from(status), format!("exit {status}")),
                    Exit::Signal(signal) => (4256 + u16::from(signal), format!("signal {signal}")),
                };
                assert_eq!((code, reason), (expected.0, &*expected.1));
                assert!(!command.is_in_use(), "closed before EOF");
                // Only a command whose client has left is terminated.
                assert!(
                    !command.was_signalled,
                    "the server terminated a command that was in use"
                );
                // All output was delivered before.
                assert!(command.stdout.is_empty() && command.output.is_at_end(place, true));
                let has_all = |place| {
                    command.stderr.is_empty() && command.stderr_output.is_at_end(place, true)
                };
                let has_stderr = self.stderr_place.as_ref().is_none_or(has_all);
                assert!(has_stderr, "the rest of stderr was not sent");
            }
        }
    }

    /// The server says that output is lost: it must be.
    fn check_loss(&self, world: &World) {
        let joined = world.wires[self.connection.wire].joined.expect("decided");
        if !self.session_must_exist(joined, world) {
            return;
        }
        let index = joined.found.expect("the session exists");
        let output = &world.commands[index].output;
        let place = match &self.follows {
            Some((followed, place)) if *followed == index => place.clone(),
            _ => output.start(),
        };
        let kept = output.is_kept(&place, joined.messages, joined.output_len);
        assert_ne!(kept, Some(true), "the replay buffer has what it missed");
    }
}
