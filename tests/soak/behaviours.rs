//! The behaviours of the clients in the soak test. The well-behaved ones check every message that
//! they receive; the others make trouble at the same time.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::command_client::{leave, show};
use crate::programs::{ECHOES, EXITS, Format, INVALID, LAST_NUMBER, OTHERS};
use crate::scenario::{Actor, Tally, offer};
use crate::support::{
    BINARY, CONTINUATION, Client, FIN, Message, PING, Random, TEXT, header_claiming, masked,
};

// -- Clients that check what they receive
// ----------------------------------------------------------

/// Sends messages of all sizes and gets each of them back, whole and in order.
pub(crate) fn echoes(actor: &mut Actor<'_>) {
    let (path, greeting) = match actor.format {
        Format::Echo => ("/", None),
        _ => ECHOES[actor.random.below(ECHOES.len())],
    };
    let mut client = actor.open(path);
    if let Some(greeting) = greeting {
        client.expect_text(greeting);
    }
    for _ in 0..1 + actor.random.below(4) {
        let count = 1 + actor.random.below(40);
        let messages: Vec<Message> = (0..count).map(|_| any_message(actor)).collect();
        let frames = (messages.iter()).flat_map(|message| frames_of(message, &mut actor.random));
        let sender = client.socket.wire.send_in_background(frames.collect());
        for message in &messages {
            client.expect(message);
        }
        assert!(
            sender.join().expect("the sending thread"),
            "the server did not read everything"
        );
        Tally::add(&actor.tally.messages, count as u64);
    }
    match actor.random.one_in(2) {
        true => client.socket.leave(),
        false => client.leave(&mut actor.random),
    }
}

/// Reads the output of a command until it exits, and checks the close code.
pub(crate) fn reads_to_the_exit(actor: &mut Actor<'_>) {
    let mut all = EXITS.to_vec();
    if actor.format == Format::Length {
        all.extend(INVALID);
    }
    let drawn = actor.random.below(all.len() + 1);
    let Some((path, texts, code)) = all.get(drawn) else {
        let mut client = actor.open("/numbers");
        for number in 1..=LAST_NUMBER {
            client.expect_text(&number.to_string());
        }
        Tally::add(&actor.tally.messages, u64::from(LAST_NUMBER));
        return client.expect_close(1000);
    };
    let mut client = actor.open(path);
    let sends = match *path {
        // This is never read.
        "/deaf" => masked(FIN | TEXT, &[b'x'; 100_000]),
        "/mute" => masked(FIN | TEXT, b"go\n"),
        _ => Vec::new(),
    };
    let sender = client.socket.wire.send_in_background(sends);
    for text in *texts {
        client.expect_text(text);
    }
    client.expect_close(*code);
    sender.join().expect("the sending thread");
    Tally::add(&actor.tally.messages, texts.len() as u64);
}

/// Reads a command that prints without end, sometimes slowly, and leaves.
pub(crate) fn reads_and_leaves(actor: &mut Actor<'_>) {
    let mut client = actor.open("/flood");
    for index in 0..actor.random.below(40_000) as u32 {
        client.expect_text(&(1 + index % LAST_NUMBER).to_string());
        if index % 8_000 == 7_999 {
            thread::sleep(Duration::from_millis(actor.random.below(200) as u64));
        }
        Tally::add(&actor.tally.messages, 1);
    }
    client.leave(&mut actor.random);
}

// -- Clients that resume
// ---------------------------------------------------------------------------

/// Talks to an echo over several connections that are lost: each message comes back once and in
/// order, and none is missing.
pub(crate) fn resumes(actor: &mut Actor<'_>) {
    let token = actor.token();
    // Less than the replay buffer holds.
    let messages: Vec<Message> = (0..1 + actor.random.below(200))
        .map(|index| {
            let len_max = if index == 7 { 200_000 } else { 4000 };
            let len = actor.random.below(len_max);
            Message::Text(actor.random.text(len))
        })
        .collect();
    let (mut sent, mut received) = (0, 0);
    let mut lost_at = None;
    loop {
        let request = actor.server.upgrade("/cat");
        let offer = offer(&token, lost_at.map(|_| received));
        let mut client = actor.open_as(&request.add("Sec-WebSocket-Protocol", &offer));
        if let Some(lost_at) = lost_at {
            match client.next_stdout() {
                Message::Text(text) => sent = arrived(&text),
                // A busy machine may delay the client beyond the resume time, which is no fault of
                // the server.
                Message::Close(Some((4410, _))) if may_have_expired(lost_at) => return,
                other => panic!(
                    "expected the count of messages received, got {}",
                    show(&other)
                ),
            }
        }
        let until = messages.len().min(sent + actor.random.below(60));
        let frames = (messages[sent..until].iter())
            .flat_map(|message| frames_of(message, &mut actor.random));
        let sender = client.socket.wire.send_in_background(frames.collect());
        let count = actor.random.below(until - received + 1);
        for message in &messages[received..received + count] {
            client.expect(message);
        }
        received += count;
        Tally::add(&actor.tally.messages, count as u64);
        sender.join().expect("the sending thread");
        if received == messages.len() {
            return client.socket.leave();
        }
        lost_at = Some(Instant::now());
        match actor.random.below(4) {
            // The server notices the loss only when the client resumes.
            0 => actor.tally.await_close(client.socket),
            1 => {
                let half = half_a_frame(&mut actor.random);
                client.socket.wire.try_send(&half);
                lose(client.socket, &mut actor.random);
            }
            _ => lose(client.socket, &mut actor.random),
        }
    }
}

/// Loses its connection while a command prints, and resumes for the rest and the exit status.
pub(crate) fn resumes_for_the_exit(actor: &mut Actor<'_>) {
    let token = actor.token();
    let mut received = 0;
    let mut lost_at = None;
    loop {
        let request = actor.server.upgrade("/numbers");
        let offer = offer(&token, lost_at.map(|_| received));
        let mut client = actor.open_as(&request.add("Sec-WebSocket-Protocol", &offer));
        if let Some(lost_at) = lost_at {
            match client.next_stdout() {
                Message::Text(text) => assert_eq!(arrived(&text), 0),
                Message::Close(Some((4410, _))) if may_have_expired(lost_at) => return,
                other => panic!(
                    "expected the count of messages received, got {}",
                    show(&other)
                ),
            }
        }
        let until = (received + actor.random.below(8_000)).min(LAST_NUMBER as usize);
        for number in received + 1..=until {
            client.expect_text(&number.to_string());
        }
        Tally::add(&actor.tally.messages, (until - received) as u64);
        received = until;
        if received == LAST_NUMBER as usize {
            return client.expect_close(1000);
        }
        lost_at = Some(Instant::now());
        lose(client.socket, &mut actor.random);
    }
}

/// Loses the connection, without a Close.
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

/// The number of messages that had arrived, as the first message of a resumed session says.
#[track_caller]
fn arrived(first: &str) -> usize {
    let number = first.strip_prefix("{\"received\":");
    let number = number.and_then(|rest| rest.strip_suffix('}')?.parse().ok());
    number.unwrap_or_else(|| panic!("expected the count of messages received, got {first:?}"))
}

/// Whether a session that was lost then may have expired.
fn may_have_expired(then: Instant) -> bool {
    then.elapsed() > Duration::from_millis(900)
}

// -- Clients that share a command -----------------------------------------------------------------

/// A message to a shared command: the sender, its number, its length and that much padding.
fn numbered_text(who: u64, which: usize, len: usize) -> String {
    let letter = char::from(b'a' + (who % 26) as u8);
    format!("<{who:x} {which} {len} {}>", letter.to_string().repeat(len))
}

/// The number of the last message received from each client of a shared command.
#[derive(Default)]
struct LastSeen(HashMap<u64, usize>);

impl LastSeen {
    /// Checks that a message is whole, and the next of its sender.
    #[track_caller]
    fn take(&mut self, text: &str) -> Option<(u64, usize)> {
        if !text.starts_with('<') {
            let is_number = text.parse().is_ok_and(|number: u32| number <= LAST_NUMBER);
            assert!(is_number || text == JUNK, "{text:.60?} has no sender");
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
        assert!(
            text == numbered_text(who, which, len),
            "{text:.60?} is not whole"
        );
        if let Some(before) = self.0.insert(who, which) {
            assert_eq!(
                which,
                before + 1,
                "the number of the next message from {who:x}"
            );
        }
        Some((who, which))
    }
}

/// The message of clients that do not check what they receive.
const JUNK: &str = "junk from a client that does not check what it receives";

/// Talks to all clients of the shared command and reads from all of them: each message whole, those
/// of each client in order, and its own without a gap.
pub(crate) fn talks_to_all(actor: &mut Actor<'_>) {
    let mut client = actor.open("/");
    let mut last_seen = LastSeen::default();
    let count = 1 + actor.random.below(40);
    let texts = (0..count).map(|which| {
        let len = match actor.random.below(20) {
            0 => actor.random.below(20_000),
            _ => actor.random.below(200),
        };
        Message::Text(numbered_text(actor.number, which, len))
    });
    let texts: Vec<Message> = texts.collect();
    let frames = (texts.iter()).flat_map(|text| frames_of(text, &mut actor.random));
    let sender = client.socket.wire.send_in_background(frames.collect());
    let mut next = 0;
    while next < count {
        match client.next_stdout() {
            Message::Text(text) => {
                Tally::add(&actor.tally.messages, 1);
                if let Some((who, which)) = last_seen.take(&text)
                    && who == actor.number
                {
                    assert_eq!(which, next, "the number of its own next message");
                    next += 1;
                }
            }
            // Another client has terminated the command, or this machine was too slow for this
            // client while another one had everything printed.
            Message::Close(Some((4003 | 4267 | 1000 | 1008, _))) => break,
            other => panic!("{}", show(&other)),
        }
    }
    drop(sender);
    client.leave(&mut actor.random);
}

/// Makes the shared command exit, fork, print or wait.
pub(crate) fn sends_orders(actor: &mut Actor<'_>) {
    let orders = [
        "exit", "crash", "fork", "orphan", "ignore", "numbers", "pause",
    ];
    let order = orders[actor.random.below(orders.len())];
    let mut client = actor.open("/");
    client
        .socket
        .wire
        .try_send(&masked(FIN | TEXT, format!("order {order}").as_bytes()));
    client.leave(&mut actor.random);
}

/// Makes the shared command exit, in any state in which its clients left it.
pub(crate) fn exits_the_shared_command(actor: &mut Actor<'_>) {
    let mut client = actor.open("/");
    client.socket.send_text("order exit");
    while !matches!(client.next_stdout(), Message::Close(_)) {}
}

// -- Clients that make trouble --------------------------------------------------------------------

/// Connects, and does not read for some time.
pub(crate) fn stalls(actor: &mut Actor<'_>) {
    let path = actor.any_path();
    let client = match actor.random.one_in(2) {
        true => actor.open_with_small_buffers(&path),
        false => actor.open(&path).socket,
    };
    thread::sleep(Duration::from_millis(actor.random.below(800) as u64));
    leave(client, &mut actor.random);
}

/// Sends as much as the server accepts, reads nothing, and resets. A FIN would wait behind data
/// that the command does not read, where the server could not see it.
pub(crate) fn floods(actor: &mut Actor<'_>) {
    let path = actor.any_path();
    let mut client = actor.open(&path).socket;
    let (unit, len) = match actor.shared {
        // A shell reads it byte by byte.
        true => (masked(FIN | TEXT, JUNK.as_bytes()), 50_000),
        false => {
            let len = [0, 10, 1000, 100_000][actor.random.below(4)];
            (masked(FIN | BINARY, &vec![b'x'; len]), 4_000_000)
        }
    };
    let bytes = unit.repeat(1 + actor.random.below(len) / unit.len());
    client
        .wire
        .send_until_stalled(&bytes, Duration::from_millis(200));
    client.wire.reset();
}

/// Sends some messages and a part of one, and leaves.
pub(crate) fn sends_half_a_frame(actor: &mut Actor<'_>) {
    let path = actor.any_path();
    let mut client = actor.open(&path).socket;
    let mut bytes = masked(FIN | TEXT, JUNK.as_bytes()).repeat(actor.random.below(3));
    bytes.extend(half_a_frame(&mut actor.random));
    client.wire.try_send(&bytes);
    lose(client, &mut actor.random);
}

/// A part of a frame, or a part of a message.
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

/// Sends a part of a request, and may wait until the server times out.
pub(crate) fn sends_half_a_request(actor: &mut Actor<'_>) {
    let mut bytes = actor.server.upgrade("/cat").to_bytes();
    bytes.truncate(actor.random.below(bytes.len()));
    let mut wire = actor.server.connect();
    wire.try_send(&bytes);
    match actor.random.below(4) {
        0 => wire.expect_gone(),
        1 => wire.reset(),
        2 => wire.try_finish(),
        _ => drop(wire),
    }
}

/// Requests pages.
pub(crate) fn requests_pages(actor: &mut Actor<'_>) {
    for (path, status) in [("/healthz", 200), ("/.wspipe/none", 404)] {
        let response = actor.server.exchange(&actor.server.get(path));
        assert_eq!(response.status, status, "{path}");
    }
}

/// Violates the protocol, and gets the right close code.
pub(crate) fn violates_the_protocol(actor: &mut Actor<'_>) {
    let path = match actor.shared || actor.format == Format::Echo {
        true => "/",
        false => "/cat",
    };
    let mut client = actor.open(path);
    let (bytes, code) = match actor.random.below(5) {
        0 => (b"\x81\x01x".to_vec(), 1002),
        1 => (masked(FIN | 3, b""), 1002),
        2 => (masked(FIN | CONTINUATION, b""), 1002),
        3 => (masked(FIN | TEXT, b"\xff"), 1007),
        _ => (header_claiming(FIN | BINARY, 1 << 40), 1009),
    };
    client.socket.wire.try_send(&bytes);
    let received = loop {
        if let Message::Close(close) = client.next_stdout() {
            break close.map(|(code, _)| code);
        }
    };
    // A shared command may exit before that.
    let others = actor.shared && matches!(received, Some(1000 | 4003 | 4267));
    assert!(
        received == Some(code) || others,
        "expected the close code {code}, got {received:?}"
    );
    client.socket.wire.expect_gone();
}

/// Stays silent until the server drops it. It must not receive output all the time either: taking
/// that is a sign of life.
pub(crate) fn stays_silent(actor: &mut Actor<'_>) {
    let path = match actor.format {
        Format::Echo => "/",
        _ => ["/cat", "/sleep", "/stubborn"][actor.random.below(3)],
    };
    let client = actor.open(path).socket;
    actor.tally.await_close(client);
}

/// Opens clients at every path, each in the middle of a different action.
pub(crate) fn clients_everywhere(actor: &mut Actor<'_>) -> Vec<Client> {
    let alone = actor.shared || actor.format == Format::Echo;
    let paths: Vec<&str> = match alone {
        true => vec!["/"; 10],
        false => (ECHOES.iter().map(|(path, _)| *path))
            .chain(EXITS.iter().map(|(path, _, _)| *path))
            .chain(OTHERS)
            .collect(),
    };
    let mut clients = Vec::new();
    for path in paths {
        for full in [true, false] {
            let mut client = actor.open(path).socket;
            let bytes = match full {
                true => masked(FIN | TEXT, JUNK.as_bytes()).repeat(5000),
                false => half_a_frame(&mut actor.random),
            };
            client
                .wire
                .send_until_stalled(&bytes, Duration::from_millis(50));
            clients.push(client);
        }
    }
    clients
}

// -- Messages
// ---------------------------------------------------------------------------------------

/// A message of any allowed size, most of them small.
fn any_message(actor: &mut Actor<'_>) -> Message {
    let random = &mut actor.random;
    let len = match random.below(40) {
        0 => random.below(200_000),
        1..=5 => random.below(10_000),
        _ => random.below(200),
    };
    match actor.format {
        Format::Echo | Format::Length if random.one_in(2) => Message::Binary(random.bytes(len)),
        _ => Message::Text(random.text(len)),
    }
}

/// A message in one frame or in two.
fn frames_of(message: &Message, random: &mut Random) -> Vec<u8> {
    let (kind, payload) = match message {
        Message::Text(text) => (TEXT, text.as_bytes()),
        Message::Binary(bytes) => (BINARY, &bytes[..]),
        Message::Close(_) => panic!("a Close is not a message"),
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
