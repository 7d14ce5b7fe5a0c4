//! The actions of clients: connect, send, read, leave in every possible way, and reconnect.

use wspipe::limits::VISIT_BUDGET;

use crate::client::{Client, State};
use crate::command::take_exactly;
use crate::run::Run;
use crate::text::{frame, text, write_frame};
use crate::wire::Wire;
use crate::world::World;

/// The close code of a client that leaves for good, and of a page that is left.
const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// For good, with a Close.
    Normal,
    /// For good, by violating the protocol.
    Violation,
    /// The page is left or reloaded: a Close with 1001.
    GoingAway,
    /// It shuts down its sending side and goes on reading.
    HalfClose,
    /// It closes its socket: bytes sent to it cause a reset.
    Shutdown,
    /// The network is gone: only the server's time-outs notice it.
    Silence,
    Reset,
}

impl Leave {
    const ALL: [Leave; 8] = [
        Leave::Normal,
        Leave::Normal,
        Leave::Violation,
        Leave::GoingAway,
        Leave::HalfClose,
        Leave::Shutdown,
        Leave::Silence,
        Leave::Reset,
    ];
}

/// A Close frame.
fn close(code: u16) -> Vec<u8> {
    frame(true, 8, &code.to_be_bytes())
}

impl Run {
    pub fn connect(&mut self) {
        let asks_for_command = self.random.below(4) > 0;
        let has_session = self.shape.config.command.resume.is_some() && self.random.below(4) > 0;
        self.connect_to(asks_for_command, has_session && asks_for_command);
    }

    /// A client asks for the command, or for the echo.
    pub fn connect_to(&mut self, asks_for_command: bool, has_session: bool) {
        if !self.world.borrow().listening {
            return;
        }
        let number = self.clients.len();
        // The next connection gets this number.
        let wire = self.world.borrow().wires.len();
        let client = Client::new(number, asks_for_command, has_session, wire);
        self.clients.push(client);
        self.open_connection(number);
    }

    /// A client with a session reconnects after it lost its connection.
    pub fn reconnect(&mut self, index: usize) {
        let may_reconnect = {
            let world = self.world.borrow();
            world.listening && self.clients[index].may_reconnect(&world)
        };
        if may_reconnect {
            let wire = self.world.borrow().wires.len();
            self.clients[index].reconnect(wire);
            self.open_connection(index);
        }
    }

    /// Connects, and requests what the client wants, sometimes after a page.
    fn open_connection(&mut self, index: usize) {
        let client = &self.clients[index];
        let rooms = match self.shape.scale {
            1 => [100, 100, 5000],
            _ => [4 * VISIT_BUDGET, 4 * VISIT_BUDGET, 20_000],
        };
        let room = rooms[self.random.below(3)];
        let mut wire = Wire::new(client.number, client.has_session, room);
        wire.dribbles = self.shape.dribbles && self.random.one_in(2);
        if self.random.one_in(8) {
            wire.send(b"GET /healthz HTTP/1.1\r\nHost: localhost:8080\r\n\r\n");
            wire.mark_head();
        }
        wire.send(client.request().as_bytes());
        wire.mark_head();
        if wire.dribbles && self.random.one_in(8) {
            wire.stalls_at = Some(self.random.below(wire.sent as usize) as u64);
        }
        self.world.borrow_mut().connect(wire);
    }

    /// A client sends a message, half of the time in fragments with a ping between them.
    pub fn send(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let number = client.connection.wire;
        let mut world = self.world.borrow_mut();
        let wire = &mut world.wires[number];
        // Do not send into a full window, nor before a resumed session says what had arrived.
        let window = 20_000 * self.shape.scale.min(50);
        let is_lost = client.lost_at.is_some();
        let is_open = client.connection.stays() && !is_lost;
        let waiting = wire.in_flight.len() + wire.upstream.len();
        if !is_open || wire.dropped_at.is_some() || waiting > window {
            return;
        }
        let payload = text(client.number, client.sent, self.shape.scale);
        let cut = self.random.below(payload.len());
        let mut bytes = Vec::with_capacity(payload.len() + 40);
        if self.random.one_in(2) {
            write_frame(true, 1, &payload, &mut bytes);
        } else {
            write_frame(false, 1, &payload[..cut], &mut bytes);
            write_frame(true, 9, b"?", &mut bytes);
            write_frame(true, 0, &payload[cut..], &mut bytes);
        }
        client.sent += 1;
        wire.send(&bytes);
        wire.mark_message();
        world.report(number);
    }

    /// Up to `len` bytes of what a client has sent arrive.
    pub fn deliver(&mut self, index: usize, len: usize) {
        let number = self.clients[index].connection.wire;
        let mut world = self.world.borrow_mut();
        let wire = &mut world.wires[number];
        if wire.dropped_at.is_some() {
            return;
        }
        let before = wire.in_flight.len();
        wire.deliver(len);
        if wire.in_flight.len() < before {
            world.progress += 1;
            world.report(number);
        }
    }

    /// A client reads up to `len` bytes, which makes room for more.
    pub fn receive(&mut self, index: usize, len: usize) {
        let client = &mut self.clients[index];
        if client.connection.vanished {
            return;
        }
        let world = &mut *self.world.borrow_mut();
        let number = client.connection.wire;
        let wire = &mut world.wires[number];
        let n = len.min(wire.downstream.len());
        if n > 0 {
            let bytes = &mut client.connection.bytes;
            let start = bytes.len();
            bytes.resize(start + n, 0);
            take_exactly(&mut wire.downstream, &mut bytes[start..]);
            wire.room += n;
            if std::mem::take(&mut wire.write_was_blocked) {
                world.report(number);
            }
            world.progress += 1;
            client.parse(world);
            answer(client, world);
        }
        let wire = &mut world.wires[number];
        if wire.downstream_end && wire.downstream.is_empty() && !wire.upstream_end {
            wire.end();
            if client.connection.stays() {
                // EOF without a Close: the connection is lost.
                let is_open = client.connection.state != State::Opening;
                let may_evict = world.shape.config.server.memory_max.is_some();
                let unfounded = is_open && wire.dropped_idle && !world.shutting_down && !may_evict;
                assert!(!unfounded, "client {index} took everything and was dropped");
                client.connection.left = true;
                client.lost_at = client.lost_at.or(wire.dropped_at);
            }
            world.report(number);
        }
    }

    /// A client leaves in a random way, perhaps in the middle of a message.
    pub fn leave(&mut self, index: usize) {
        let how = Leave::ALL[self.random.below(Leave::ALL.len())];
        let in_message = self.random.one_in(4);
        self.leave_by(index, how, in_message);
    }

    pub fn leave_by(&mut self, index: usize, how: Leave, in_message: bool) {
        let client = &mut self.clients[index];
        let connection = &mut client.connection;
        let mut world = self.world.borrow_mut();
        let now = world.now;
        let wire = &mut world.wires[connection.wire];
        if !connection.stays() || wire.dropped_at.is_some() {
            return;
        }
        connection.left = true;
        connection.left_first = true;
        let is_end = matches!(how, Leave::Normal | Leave::Violation);
        match how {
            Leave::Normal => wire.close(&close(NORMAL)),
            Leave::GoingAway => wire.close(&close(GOING_AWAY)),
            // No frame has this opcode, which its first byte already shows.
            Leave::Violation => {
                let violation = frame(true, 3, b"");
                wire.close(&violation[..1]);
                wire.send(&violation[1..]);
            }
            // A client that resumes does not know yet what had arrived.
            _ if in_message && client.lost_at.is_none() => {
                let payload = text(client.number, client.sent, self.shape.scale);
                let (front, back) = payload.split_at(1 + payload.len() / 2);
                wire.send(&frame(false, 1, front));
                wire.send(&frame(true, 0, back)[..3]);
            }
            _ => {}
        }
        if matches!(how, Leave::HalfClose | Leave::Shutdown) {
            wire.end();
        }
        wire.reset = how == Leave::Reset;
        wire.resets_on_data = how == Leave::Shutdown;
        connection.vanished = matches!(how, Leave::Shutdown | Leave::Silence | Leave::Reset);
        if connection.vanished {
            wire.in_flight.clear();
        }
        if client.has_session && !is_end {
            client.lost_at = client.lost_at.or(Some(now));
        }
        client.session_ended |= is_end;
        let wire = connection.wire;
        world.trace(format_args!("client {index} leaves: {how:?}"));
        world.report(wire);
    }
}

/// A client answers pings, and a Close with the same code, as browsers do. It closes TCP after the
/// server.
fn answer(client: &mut Client, world: &mut World) {
    let connection = &mut client.connection;
    let pings = std::mem::take(&mut connection.pings);
    let code = match connection.state {
        State::Closed(code, _) if !connection.left => Some(code),
        _ => None,
    };
    let wire = &mut world.wires[connection.wire];
    if wire.upstream_end || pings == 0 && code.is_none() {
        return;
    }
    for _ in 0..pings {
        wire.send(&frame(true, 10, b""));
    }
    if let Some(code) = code {
        connection.left = true;
        wire.close(&close(code));
    }
    world.report(connection.wire);
}
