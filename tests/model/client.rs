//! The clients of the model: each sends numbered texts, knows what has to come back, and checks
//! whatever comes. One with a session comes back when its connection was lost.

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
    /// Whether it asks for the command; if not, for the echo.
    pub asks_for_command: bool,
    /// Whether it has a session that outlives its connection.
    pub has_session: bool,
    pub connection: Connection,
    /// The command, and where in its output the client is.
    pub follows: Option<(usize, Place)>,
    /// Where it is in what the command complains of, if that comes too.
    pub complaints: Option<Place>,
    /// How many messages it has sent, to this command.
    pub sent: u32,
    /// How many came back from the echo.
    pub echoed: u32,
    /// How many messages of its session it has received.
    received: u64,
    /// When the connection of its session was lost.
    pub lost_at: Option<Instant>,
    /// Its session is at its end.
    pub is_over: bool,
}

/// One connection, as the client sees it.
pub struct Connection {
    pub wire: usize,
    /// Bytes that came and are not understood yet.
    pub bytes: Vec<u8>,
    pub state: State,
    /// A fragmented message under way.
    partial: Option<Vec<u8>>,
    /// Pings that came and are not answered yet.
    pub pings: usize,
    /// It is for a session that was there before.
    comes_back: bool,
    /// The client has left, in whatever way.
    pub left: bool,
    /// It left before the server closed.
    pub left_first: bool,
    /// It is not there any more, and reads nothing.
    pub vanished: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The opening handshake is under way.
    Opening,
    Refused,
    /// Of a session that goes on the first message is awaited, which says what arrived.
    Resuming,
    Open,
    /// The server's Close has come.
    Closed(u16, String),
}

impl Connection {
    fn new(wire: usize, comes_back: bool) -> Self {
        Self {
            wire,
            bytes: Vec::new(),
            state: State::Opening,
            partial: None,
            pings: 0,
            comes_back,
            left: false,
            left_first: false,
            vanished: false,
        }
    }

    /// Whether nothing has come to an end yet.
    pub fn stays(&self) -> bool {
        !self.left && !matches!(self.state, State::Refused | State::Closed(..))
    }
}

impl Client {
    /// A client whose first connection this is.
    pub fn new(number: usize, asks_for_command: bool, has_session: bool, wire: usize) -> Self {
        Self {
            number,
            asks_for_command,
            has_session,
            connection: Connection::new(wire, false),
            follows: None,
            complaints: None,
            sent: 0,
            echoed: 0,
            received: 0,
            lost_at: None,
            is_over: false,
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
        // Whoever comes back does not want another session in place of its own.
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

    /// Whether its connection is lost and it may come back now. While the server may still be
    /// busy with the request of the one before, the two would be in a race.
    pub fn may_come_back(&self, world: &World) -> bool {
        let wire = &world.wires[self.connection.wire];
        let is_known = self.connection.state != State::Opening || wire.dropped_at.is_some();
        self.has_session
            && !self.is_over
            && self.lost_at.is_some()
            && self.connection.left
            && is_known
    }

    /// It comes back, on another connection.
    pub fn come_back(&mut self, wire: usize) {
        self.connection = Connection::new(wire, true);
    }

    /// Whether its session has to be there: nothing has ended it, and it is waited for.
    fn is_awaited(&self, joined: Joined, world: &World) -> bool {
        let config = &world.shape.config;
        let Some(command) = joined.found.map(|index| &world.commands[index]) else {
            return false;
        };
        let Some((linger, lost_at)) = config.command.resume.zip(self.lost_at) else {
            return false;
        };
        let is_limited =
            config.clients.session_timeout.is_some() || config.clients.idle_timeout.is_some();
        // A session ends with output that cannot be made into messages; and a command that was never
        // watched was ended at once.
        let is_cut = !command.alive && command.output.is_cut();
        let failed = command.output.too_long || is_cut || command.id.is_none();
        let in_time = joined.at - lost_at < linger;
        in_time && !self.is_over && !is_limited && !failed && !world.shutting_down
    }

    // -- What comes ------------------------------------------------------------------------------

    /// Takes in what has come, and checks it.
    pub fn understand(&mut self, world: &World) {
        let bytes = std::mem::take(&mut self.connection.bytes);
        let mut left = &bytes[..];
        if self.connection.state == State::Opening {
            self.understand_head(&mut left, world);
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

    /// The answers to its requests: a page that it may have asked for first, and the 101.
    fn understand_head(&mut self, left: &mut &[u8], world: &World) {
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
                    assert!(!wire.head_timed_out, "its head came too late");
                    self.open(wire, world);
                }
                // What the server lacks, or a limit.
                Some("503" | "429") => {
                    let joined = wire.joined.filter(|_| self.connection.comes_back);
                    let awaited = joined.is_some_and(|joined| self.is_awaited(joined, world));
                    assert!(!awaited, "a client that came back was refused");
                    self.connection.state = State::Refused;
                }
                Some("408") => {
                    assert!(wire.head_timed_out, "its head came in time");
                    self.connection.state = State::Refused;
                }
                _ => panic!("{head}"),
            }
            *left = &left[end + 4..];
            return;
        }
    }

    /// The opening handshake is accepted.
    fn open(&mut self, wire: &Wire, world: &World) {
        self.connection.state = State::Open;
        if !self.asks_for_command {
            return;
        }
        let joined = wire.joined.expect("the request was decided");
        let is_shared = world.shape.config.command.shared.is_some();
        if self.connection.comes_back {
            if joined.started.is_none() {
                self.connection.state = State::Resuming;
                return;
            }
            // It has missed nothing of a session that is gone, and begins another.
            assert_eq!(self.received, 0, "another command in place of the old one");
            assert!(
                !self.is_awaited(joined, world),
                "its session was not resumed"
            );
            self.sent = 0;
        }
        let index = joined.command().expect("there is a command");
        let output = &world.commands[index].output;
        let place = match joined.started {
            Some(_) => output.start(),
            None => {
                assert!(is_shared, "it is another's command");
                let replay = world.shape.config.command.replay;
                output.joined(joined.messages, joined.output_len, replay)
            }
        };
        self.follows = Some((index, place));
        let complaints = &world.commands[index].complaints;
        self.complaints = world.shape.has_tags().then(|| complaints.start());
    }

    fn take_frame(&mut self, fin: bool, opcode: u8, payload: &[u8], world: &World) {
        let is_closed = matches!(self.connection.state, State::Closed(..));
        match opcode {
            0..=2 => {
                assert!(!is_closed, "nothing follows a Close");
                assert_eq!(opcode == 0, self.connection.partial.is_some());
                let config = &world.shape.config;
                let is_output = self.asks_for_command && self.connection.state == State::Open;
                let binary = is_output && config.command.framing == Framing::Raw;
                assert!(
                    opcode == 0 || (opcode == 2) == binary,
                    "the kind of a message"
                );
                let is_whole = fin && opcode != 0;
                let splits = is_output && world.shape.splits();
                assert!(is_whole || !splits, "each piece is a message there");
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
                assert!(!is_closed, "one Close is enough");
                let (code, reason) = payload.split_at(payload.len().min(2));
                let code = code.try_into().map_or(1005, u16::from_be_bytes);
                let reason = std::str::from_utf8(reason).expect("UTF-8");
                world.say(format_args!("client {} hears {code} {reason}", self.number));
                if !self.connection.left_first {
                    self.check_close(code, reason, world);
                    self.is_over = true;
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
            return self.take_welcome(message, world);
        }
        if !self.asks_for_command {
            let expected = text(self.number, self.echoed, world.shape.scale);
            assert!(
                message == expected,
                "echo {} of {}",
                self.echoed,
                self.number
            );
            self.echoed += 1;
            return;
        }
        let (index, place) = self.follows.as_mut().expect("there is a command");
        let command = &world.commands[*index];
        self.received += 1;
        let Some(complaints) = &mut self.complaints else {
            return command.output.advance(place, message, !command.alive);
        };
        let (is_complaint, has_more, data) = untagged(message);
        let is_full = data.len() == FRAGMENT_LEN;
        let may_end = !command.alive || world.shape.config.command.flush.is_some();
        let right = has_more == is_full || !has_more && may_end;
        assert!(right, "a piece of {} bytes, more: {has_more}", data.len());
        match is_complaint {
            true => command
                .complaints
                .advance(complaints, &data, !command.alive),
            false => command.output.advance(place, &data, !command.alive),
        }
    }

    /// The first message of a session that goes on.
    fn take_welcome(&mut self, message: &[u8], world: &World) {
        let shown = String::from_utf8_lossy(message);
        let number = shown.strip_prefix("{\"received\":");
        let number = number.and_then(|rest| rest.strip_suffix('}'));
        let arrived: u64 = number.and_then(|it| it.parse().ok()).expect(&shown);
        let joined = world.wires[self.connection.wire].joined.expect("decided");
        let index = joined.found.expect("there is a command");
        let command = &world.commands[index];
        // What came when the command had ended may not count.
        let least = if command.alive { joined.arrived_min } else { 0 };
        let right = (least..=joined.arrived).contains(&arrived);
        assert!(right, "{arrived} arrived, not {}", joined.arrived);
        let came = u64::from(command.intake.count(self.number));
        assert!(came <= arrived, "{came} came, and {arrived} arrived");
        // It may not have lived to see that it was let in before.
        let follows = self.follows.take();
        let follows = follows.filter(|(followed, _)| *followed == index);
        let (_, place) = self
            .follows
            .insert(follows.unwrap_or_else(|| (index, command.output.start())));
        let output = &command.output;
        let kept = output.is_kept(place, joined.messages, joined.output_len);
        assert_ne!(kept, Some(false), "more than the history can hold");
        self.sent = arrived as u32;
        self.lost_at = None;
        self.connection.state = State::Open;
    }

    // -- The end ---------------------------------------------------------------------------------

    /// The server closes, and gives a reason that has to be true.
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
            assert!(shared.is_some() && wire.ever_blocked, "it took everything");
            return;
        }
        if code == 1008 {
            assert!(session_timeout.or(*idle_timeout).is_some(), "{reason}");
            return;
        }
        if code == 4410 {
            assert_eq!(self.connection.state, State::Resuming, "{reason}");
            return self.check_lost(world);
        }
        let (index, place) = self.follows.as_ref().expect("only a command has an end");
        let command = &world.commands[*index];
        let exit = command.exit;
        match code {
            1009 => assert!(command.output.too_long, "{reason}"),
            1011 => assert!(exit.is_some() && command.output.is_cut(), "{reason}"),
            _ => {
                let expected = match exit.expect("it has ended") {
                    Exit::Status(0) => (1000, "exit 0".to_owned()),
                    Exit::Status(status) => (4000 + u16::from(status), format!("exit {status}")),
                    Exit::Signal(signal) => (4256 + u16::from(signal), format!("signal {signal}")),
                };
                assert_eq!((code, reason), (expected.0, &*expected.1));
                // Nobody but a client that has left has its command ended.
                assert!(!command.was_signalled, "the command was ended by a signal");
                // All that it printed was delivered before.
                assert!(command.stdout.is_empty() && command.output.is_at_end(place, true));
                let has_all =
                    |place| command.stderr.is_empty() && command.complaints.is_at_end(place, true);
                let has_heard = self.complaints.as_ref().is_none_or(has_all);
                assert!(has_heard, "what it complained of");
            }
        }
    }

    /// The server says that output is lost.
    fn check_lost(&self, world: &World) {
        let joined = world.wires[self.connection.wire].joined.expect("decided");
        if !self.is_awaited(joined, world) {
            return;
        }
        let index = joined.found.expect("it is awaited");
        let output = &world.commands[index].output;
        let place = match &self.follows {
            Some((followed, place)) if *followed == index => place.clone(),
            _ => output.start(),
        };
        let kept = output.is_kept(&place, joined.messages, joined.output_len);
        assert_ne!(kept, Some(true), "what it missed is there");
    }
}
