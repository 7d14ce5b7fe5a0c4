//! What the clients of the model do: they connect, send, read, leave in every way there is, and come
//! back.

use wspipe::limits::READ_BUDGET;

use crate::client::{Client, State};
use crate::command::take_exactly;
use crate::run::Run;
use crate::text::{frame, text, write_frame};
use crate::wire::Wire;
use crate::world::World;

/// What a client says that goes away for good, and one whose page is left.
const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// For good, with a Close.
    Normal,
    /// For good, by breaking a rule.
    Violation,
    /// Its page is left or loaded again, which it says.
    GoingAway,
    /// It closes its half of TCP and goes on reading.
    HalfClose,
    /// It closes TCP: what it is sent from now on brings a reset.
    Shutdown,
    /// The network is gone: the server hears of it by its own time-outs.
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

/// A Close.
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
        // The next connection will be its own.
        let wire = self.world.borrow().wires.len();
        let client = Client::new(number, asks_for_command, has_session, wire);
        self.clients.push(client);
        self.ask(number);
    }

    /// A client whose connection was lost comes back on another, if it has a session.
    pub fn come_back(&mut self, index: usize) {
        let may_come_back = {
            let world = self.world.borrow();
            world.listening && self.clients[index].may_come_back(&world)
        };
        if may_come_back {
            let wire = self.world.borrow().wires.len();
            self.clients[index].come_back(wire);
            self.ask(index);
        }
    }

    /// Makes the connection of a client and asks on it for what it wants, now and then behind a
    /// page.
    fn ask(&mut self, index: usize) {
        let client = &self.clients[index];
        let rooms = match self.shape.scale {
            1 => [100, 100, 5000],
            _ => [4 * READ_BUDGET, 4 * READ_BUDGET, 20_000],
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

    /// A client sends a message, now and then in fragments with a ping between them.
    pub fn send(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let number = client.connection.wire;
        let mut world = self.world.borrow_mut();
        let wire = &mut world.wires[number];
        // A window that is full is not written to; and who comes back learns first what arrived.
        let window = 20_000 * self.shape.scale.min(50);
        let comes_back = client.lost_at.is_some();
        let is_open = client.connection.stays() && !comes_back;
        let waiting = wire.under_way.len() + wire.upstream.len();
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

    /// Of what a client has sent some arrives.
    pub fn deliver(&mut self, index: usize, len: usize) {
        let number = self.clients[index].connection.wire;
        let mut world = self.world.borrow_mut();
        let wire = &mut world.wires[number];
        if wire.dropped_at.is_some() {
            return;
        }
        let before = wire.under_way.len();
        wire.deliver(len);
        if wire.under_way.len() < before {
            world.progress += 1;
            world.report(number);
        }
    }

    /// A client reads, which makes room for more.
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
            client.understand(world);
            answer(client, world);
        }
        let wire = &mut world.wires[number];
        if wire.downstream_end && wire.downstream.is_empty() && !wire.upstream_end {
            wire.end();
            if client.connection.stays() {
                // Without a Close: the connection is lost.
                let is_open = client.connection.state != State::Opening;
                let groundless = is_open && wire.dropped_idle && !world.shutting_down;
                assert!(
                    !groundless,
                    "client {index} took everything and is given up"
                );
                client.connection.left = true;
                client.lost_at = client.lost_at.or(wire.dropped_at);
            }
            world.report(number);
        }
    }

    /// A client leaves: for good, or it is lost, perhaps in the middle of a message.
    pub fn leave(&mut self, index: usize) {
        let how = Leave::ALL[self.random.below(Leave::ALL.len())];
        let in_message = self.random.one_in(4);
        self.leave_so(index, how, in_message);
    }

    pub fn leave_so(&mut self, index: usize, how: Leave, in_message: bool) {
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
            // There is no such frame, as its first byte tells.
            Leave::Violation => {
                let violation = frame(true, 3, b"");
                wire.close(&violation[..1]);
                wire.send(&violation[1..]);
            }
            // Of a session that goes on, it has yet to learn what arrived.
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
        wire.deaf = how == Leave::Shutdown;
        connection.vanished = matches!(how, Leave::Shutdown | Leave::Silence | Leave::Reset);
        if connection.vanished {
            wire.under_way.clear();
        }
        if client.has_session && !is_end {
            client.lost_at = client.lost_at.or(Some(now));
        }
        client.is_over |= is_end;
        let wire = connection.wire;
        world.say(format_args!("client {index} leaves: {how:?}"));
        world.report(wire);
    }
}

/// A client answers pings, and a Close with the same code, as browsers do; it closes TCP after the
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
