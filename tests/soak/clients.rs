//! What clients do. Those that do what they should look at what they get, message by message; the
//! others see to it that they are not alone.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::programs::{BREAKS, ECHOES, ENDS, LAST_NUMBER, OTHERS, Speech};
use crate::scenario::{Tally, Visit, offer};
use crate::session::{leave, show};
use crate::support::{
    BINARY, CONTINUATION, Client, FIN, Message, PING, Random, TEXT, header_claiming, masked,
};

// -- Those that look at what they get ---------------------------------------------------------------

/// Sends messages of all sizes and gets each of them back, whole and in order.
pub(crate) fn echoes(visit: &mut Visit<'_>) {
    let (path, greeting) = match visit.speech {
        Speech::Echo => ("/", None),
        _ => ECHOES[visit.random.below(ECHOES.len())],
    };
    let mut session = visit.open(path);
    if let Some(greeting) = greeting {
        session.expect_text(greeting);
    }
    for _ in 0..1 + visit.random.below(4) {
        let count = 1 + visit.random.below(40);
        let messages: Vec<Message> = (0..count).map(|_| any_message(visit)).collect();
        let frames = (messages.iter()).flat_map(|message| frames_of(message, &mut visit.random));
        let sender = session.client.wire.send_in_background(frames.collect());
        for message in &messages {
            session.expect(message);
        }
        assert!(
            sender.join().expect("the sender"),
            "not all of it was taken"
        );
        Tally::add(&visit.tally.messages, count as u64);
    }
    match visit.random.one_in(2) {
        true => session.client.leave(),
        false => session.leave(&mut visit.random),
    }
}

/// Listens to a command until it ends, and is told how it did.
pub(crate) fn sees_it_end(visit: &mut Visit<'_>) {
    let mut all = ENDS.to_vec();
    if visit.speech == Speech::Length {
        all.extend(BREAKS);
    }
    let drawn = visit.random.below(all.len() + 1);
    let Some((path, texts, code)) = all.get(drawn) else {
        let mut session = visit.open("/numbers");
        for number in 1..=LAST_NUMBER {
            session.expect_text(&number.to_string());
        }
        Tally::add(&visit.tally.messages, u64::from(LAST_NUMBER));
        return session.expect_end(1000);
    };
    let mut session = visit.open(path);
    let sends = match *path {
        // It will not be read.
        "/deaf" => masked(FIN | TEXT, &[b'x'; 100_000]),
        "/mute" => masked(FIN | TEXT, b"go\n"),
        _ => Vec::new(),
    };
    let sender = session.client.wire.send_in_background(sends);
    for text in *texts {
        session.expect_text(text);
    }
    session.expect_end(*code);
    sender.join().expect("the sender");
    Tally::add(&visit.tally.messages, texts.len() as u64);
}

/// Listens to a command that never ends, not always at once, and leaves it.
pub(crate) fn watches(visit: &mut Visit<'_>) {
    let mut session = visit.open("/flood");
    for index in 0..visit.random.below(40_000) as u32 {
        session.expect_text(&(1 + index % LAST_NUMBER).to_string());
        if index % 8_000 == 7_999 {
            thread::sleep(Duration::from_millis(visit.random.below(200) as u64));
        }
        Tally::add(&visit.tally.messages, 1);
    }
    session.leave(&mut visit.random);
}

// -- Those that come back -----------------------------------------------------------------------------

/// Speaks with an echo over several connections that are lost: each message comes back once, in
/// order, and none is missing.
pub(crate) fn comes_back(visit: &mut Visit<'_>) {
    let token = visit.token();
    // Less than what is kept for those who have not read it.
    let messages: Vec<Message> = (0..1 + visit.random.below(200))
        .map(|index| {
            let len_max = if index == 7 { 200_000 } else { 4000 };
            let len = visit.random.below(len_max);
            Message::Text(visit.random.text(len))
        })
        .collect();
    let (mut sent, mut received) = (0, 0);
    let mut lost_at = None;
    loop {
        let request = visit.server.upgrade("/cat");
        let offer = offer(&token, lost_at.map(|_| received));
        let mut session = visit.open_as(&request.add("Sec-WebSocket-Protocol", &offer));
        if let Some(lost_at) = lost_at {
            match session.heard() {
                Message::Text(text) => sent = arrived(&text),
                // It is no fault of the server's if this machine has no time for its clients.
                Message::Close(Some((4410, _))) if is_long_ago(lost_at) => return,
                other => panic!("{} in place of a welcome", show(&other)),
            }
        }
        let until = messages.len().min(sent + visit.random.below(60));
        let frames = (messages[sent..until].iter())
            .flat_map(|message| frames_of(message, &mut visit.random));
        let sender = session.client.wire.send_in_background(frames.collect());
        let heard = visit.random.below(until - received + 1);
        for message in &messages[received..received + heard] {
            session.expect(message);
        }
        received += heard;
        Tally::add(&visit.tally.messages, heard as u64);
        sender.join().expect("the sender");
        if received == messages.len() {
            return session.client.leave();
        }
        lost_at = Some(Instant::now());
        match visit.random.below(4) {
            // The server learns of the loss by whoever comes back.
            0 => visit.tally.await_end(session.client),
            1 => {
                let half = half_a_frame(&mut visit.random);
                session.client.wire.try_send(&half);
                lose(session.client, &mut visit.random);
            }
            _ => lose(session.client, &mut visit.random),
        }
    }
}

/// Loses its connection while a command prints, and comes back for the rest and the end.
pub(crate) fn comes_back_for_the_end(visit: &mut Visit<'_>) {
    let token = visit.token();
    let mut received = 0;
    let mut lost_at = None;
    loop {
        let request = visit.server.upgrade("/numbers");
        let offer = offer(&token, lost_at.map(|_| received));
        let mut session = visit.open_as(&request.add("Sec-WebSocket-Protocol", &offer));
        if let Some(lost_at) = lost_at {
            match session.heard() {
                Message::Text(text) => assert_eq!(arrived(&text), 0),
                Message::Close(Some((4410, _))) if is_long_ago(lost_at) => return,
                other => panic!("{} in place of a welcome", show(&other)),
            }
        }
        let until = (received + visit.random.below(8_000)).min(LAST_NUMBER as usize);
        for number in received + 1..=until {
            session.expect_text(&number.to_string());
        }
        Tally::add(&visit.tally.messages, (until - received) as u64);
        received = until;
        if received == LAST_NUMBER as usize {
            return session.expect_end(1000);
        }
        lost_at = Some(Instant::now());
        lose(session.client, &mut visit.random);
    }
}

/// Loses the connection, without a close frame.
fn lose(mut client: Client, random: &mut Random) {
    match random.below(3) {
        0 => client.wire.reset(),
        1 => drop(client),
        _ => {
            client.wire.try_finish();
            client.wire.expect_gone();
        }
    }
}

/// How many messages the welcome says have arrived.
#[track_caller]
fn arrived(welcome: &str) -> usize {
    let number = welcome.strip_prefix("{\"received\":");
    let number = number.and_then(|rest| rest.strip_suffix('}')?.parse().ok());
    number.unwrap_or_else(|| panic!("{welcome:?} in place of a welcome"))
}

/// Whether a session that was lost then may be over.
fn is_long_ago(then: Instant) -> bool {
    then.elapsed() > Duration::from_millis(900)
}

// -- Those that share a command -----------------------------------------------------------------------

/// What a client of a shared command sends: who, which, how much and as much.
fn spoken(who: u64, which: usize, len: usize) -> String {
    let letter = char::from(b'a' + (who % 26) as u8);
    format!("<{who:x} {which} {len} {}>", letter.to_string().repeat(len))
}

/// What has come from each client of a shared command so far.
#[derive(Default)]
struct Heard(HashMap<u64, usize>);

impl Heard {
    /// Takes a message: it is whole, and the next of whoever sent it.
    #[track_caller]
    fn take(&mut self, text: &str) -> Option<(u64, usize)> {
        if !text.starts_with('<') {
            let is_number = text.parse().is_ok_and(|number: u32| number <= LAST_NUMBER);
            assert!(is_number || text == JUNK, "{text:.60?} was sent by nobody");
            return None;
        }
        let mut words = text[1..].split(' ');
        let who = words
            .next()
            .and_then(|word| u64::from_str_radix(word, 16).ok());
        let mut number = || words.next().and_then(|word| word.parse::<usize>().ok());
        let (Some(who), Some(which), Some(len)) = (who, number(), number()) else {
            panic!("{text:.60?} is not whole");
        };
        assert!(text == spoken(who, which, len), "{text:.60?} is not whole");
        if let Some(before) = self.0.insert(who, which) {
            assert_eq!(which, before + 1, "of {who:x}");
        }
        Some((who, which))
    }
}

/// What those send who do not look at what comes.
const JUNK: &str = "junk, as it is sent by those who do not look at what they get";

/// Speaks with all who share the command, and hears all of them: each message whole, each client's
/// in order, and its own one after the other with none missing.
pub(crate) fn speaks(visit: &mut Visit<'_>) {
    let mut session = visit.open("/");
    let mut heard = Heard::default();
    let count = 1 + visit.random.below(40);
    let texts = (0..count).map(|which| {
        let len = match visit.random.below(20) {
            0 => visit.random.below(20_000),
            _ => visit.random.below(200),
        };
        Message::Text(spoken(visit.number, which, len))
    });
    let texts: Vec<Message> = texts.collect();
    let frames = (texts.iter()).flat_map(|text| frames_of(text, &mut visit.random));
    let sender = session.client.wire.send_in_background(frames.collect());
    let mut next = 0;
    while next < count {
        match session.heard() {
            Message::Text(text) => {
                Tally::add(&visit.tally.messages, 1);
                if let Some((who, which)) = heard.take(&text)
                    && who == visit.number
                {
                    assert_eq!(which, next, "the next of its own");
                    next += 1;
                }
            }
            // Somebody else has ended the command; or this machine had no time for this client
            // while another had everything printed.
            Message::Close(Some((4003 | 4267 | 1000 | 1008, _))) => break,
            other => panic!("{}", show(&other)),
        }
    }
    drop(sender);
    session.leave(&mut visit.random);
}

/// Has the command end, fork, print or wait, for all who share it.
pub(crate) fn gives_orders(visit: &mut Visit<'_>) {
    let orders = [
        "exit", "crash", "fork", "orphan", "ignore", "numbers", "pause",
    ];
    let order = orders[visit.random.below(orders.len())];
    let mut session = visit.open("/");
    session
        .client
        .wire
        .try_send(&masked(FIN | TEXT, format!("order {order}").as_bytes()));
    session.leave(&mut visit.random);
}

/// Ends the command that all share, if it is there: it may be as its clients have made it.
pub(crate) fn ends_the_shared(visit: &mut Visit<'_>) {
    let mut session = visit.open("/");
    session.client.send_text("order exit");
    while !matches!(session.heard(), Message::Close(_)) {}
}

// -- Those that do not behave -------------------------------------------------------------------------

/// Connects, and does not read for some time.
pub(crate) fn stalls(visit: &mut Visit<'_>) {
    let path = visit.anywhere();
    let client = match visit.random.one_in(2) {
        true => visit.open_with_small_buffers(&path),
        false => visit.open(&path).client,
    };
    thread::sleep(Duration::from_millis(visit.random.below(800) as u64));
    leave(client, &mut visit.random);
}

/// Sends as much as is taken, reads nothing, and is gone. By a reset, since any other word of its
/// end may lie behind what the command does not read, and then nobody can know of it.
pub(crate) fn floods(visit: &mut Visit<'_>) {
    let path = visit.anywhere();
    let mut client = visit.open(&path).client;
    let (unit, len) = match visit.shared {
        // A shell reads it byte by byte.
        true => (masked(FIN | TEXT, JUNK.as_bytes()), 50_000),
        false => {
            let len = [0, 10, 1000, 100_000][visit.random.below(4)];
            (masked(FIN | BINARY, &vec![b'x'; len]), 4_000_000)
        }
    };
    let bytes = unit.repeat(1 + visit.random.below(len) / unit.len());
    client
        .wire
        .send_until_stalled(&bytes, Duration::from_millis(200));
    client.wire.reset();
}

/// Sends some messages and then a part of one, and is gone.
pub(crate) fn sends_half_a_frame(visit: &mut Visit<'_>) {
    let path = visit.anywhere();
    let mut client = visit.open(&path).client;
    let mut bytes = masked(FIN | TEXT, JUNK.as_bytes()).repeat(visit.random.below(3));
    bytes.extend(half_a_frame(&mut visit.random));
    client.wire.try_send(&bytes);
    lose(client, &mut visit.random);
}

/// A frame that is not whole, or a message that is not.
fn half_a_frame(random: &mut Random) -> Vec<u8> {
    let len = [10, 1000, 100_000][random.below(3)];
    let payload = b"half a frame ".repeat(1 + len / 13);
    let mut frame = match random.one_in(2) {
        true => masked(TEXT, &payload),
        false => masked(FIN | TEXT, &payload),
    };
    frame.truncate(1 + random.below(frame.len() - 1));
    frame
}

/// Sends a part of a request, and may wait until the server does so no longer.
pub(crate) fn sends_half_a_request(visit: &mut Visit<'_>) {
    let mut bytes = visit.server.upgrade("/cat").to_bytes();
    bytes.truncate(visit.random.below(bytes.len()));
    let mut wire = visit.server.connect();
    wire.try_send(&bytes);
    match visit.random.below(4) {
        0 => wire.expect_gone(),
        1 => wire.reset(),
        2 => wire.try_finish(),
        _ => drop(wire),
    }
}

/// Asks for pages.
pub(crate) fn asks_for_pages(visit: &mut Visit<'_>) {
    for (path, status) in [("/healthz", 200), ("/.wspipe/none", 404)] {
        let response = visit.server.exchange(&visit.server.get(path));
        assert_eq!(response.status, status, "{path}");
    }
}

/// Breaks the protocol, and is told so.
pub(crate) fn breaks_a_rule(visit: &mut Visit<'_>) {
    let path = match visit.shared || visit.speech == Speech::Echo {
        true => "/",
        false => "/cat",
    };
    let mut session = visit.open(path);
    let (bytes, code) = match visit.random.below(5) {
        0 => (b"\x81\x01x".to_vec(), 1002),
        1 => (masked(FIN | 3, b""), 1002),
        2 => (masked(FIN | CONTINUATION, b""), 1002),
        3 => (masked(FIN | TEXT, b"\xff"), 1007),
        _ => (header_claiming(FIN | BINARY, 1 << 40), 1009),
    };
    session.client.wire.try_send(&bytes);
    let told = loop {
        if let Message::Close(close) = session.heard() {
            break close.map(|(code, _)| code);
        }
    };
    // A shared command may end before that.
    let others = visit.shared && matches!(told, Some(1000 | 4003 | 4267));
    assert!(told == Some(code) || others, "{told:?} in place of {code}");
    session.client.wire.expect_gone();
}

/// Stays and says nothing until the server gives it up. (It would not if the client took output
/// all the time, which is a sign of life.)
pub(crate) fn stays_silent(visit: &mut Visit<'_>) {
    let path = match visit.speech {
        Speech::Echo => "/",
        _ => ["/cat", "/sleep", "/stubborn"][visit.random.below(3)],
    };
    let client = visit.open(path).client;
    visit.tally.await_end(client);
}

/// Somebody at every path, in the middle of something.
pub(crate) fn somebody_everywhere(visit: &mut Visit<'_>) -> Vec<Client> {
    let alone = visit.shared || visit.speech == Speech::Echo;
    let paths: Vec<&str> = match alone {
        true => vec!["/"; 10],
        false => (ECHOES.iter().map(|(path, _)| *path))
            .chain(ENDS.iter().map(|(path, _, _)| *path))
            .chain(OTHERS)
            .collect(),
    };
    let mut clients = Vec::new();
    for path in paths {
        for full in [true, false] {
            let mut client = visit.open(path).client;
            let bytes = match full {
                true => masked(FIN | TEXT, JUNK.as_bytes()).repeat(5000),
                false => half_a_frame(&mut visit.random),
            };
            client
                .wire
                .send_until_stalled(&bytes, Duration::from_millis(50));
            clients.push(client);
        }
    }
    clients
}

// -- Messages -----------------------------------------------------------------------------------------

/// A message of any size that may be sent, most of them small.
fn any_message(visit: &mut Visit<'_>) -> Message {
    let random = &mut visit.random;
    let len = match random.below(40) {
        0 => random.below(200_000),
        1..=5 => random.below(10_000),
        _ => random.below(200),
    };
    match visit.speech {
        Speech::Echo | Speech::Length if random.one_in(2) => Message::Binary(random.bytes(len)),
        _ => Message::Text(random.text(len)),
    }
}

/// A message in one frame or in several.
fn frames_of(message: &Message, random: &mut Random) -> Vec<u8> {
    let (kind, payload) = match message {
        Message::Text(text) => (TEXT, text.as_bytes()),
        Message::Binary(bytes) => (BINARY, &bytes[..]),
        Message::Close(_) => panic!("that is no message"),
    };
    if !random.one_in(4) {
        return masked(FIN | kind, payload);
    }
    let (front, back) = payload.split_at(random.below(payload.len() + 1));
    let mut frames = masked(kind, front);
    if random.one_in(2) {
        frames.extend(masked(FIN | PING, b"between"));
    }
    frames.extend(masked(FIN | CONTINUATION, back));
    frames
}
