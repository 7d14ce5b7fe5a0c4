//! The inner loops alone: `cargo bench --bench micro`. When the load bench shows a cost that is too
//! high, this shows whether it is one of these.

use std::time::Duration;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use wspipe::config::CommandSettings;
use wspipe::framing::{Splitter, Stream};
use wspipe::http::date::HttpDate;
use wspipe::http::handshake;
use wspipe::http::head_scanner::HeadScanner;
use wspipe::http::request::Request;
use wspipe::ws::connection::{Connection, Event};
use wspipe::ws::frame::{Header, Kind, mask};
use wspipe::ws::utf8::Utf8;

const LENS: [usize; 5] = [20, 125, 1024, 16 * 1024, 1024 * 1024];

/// Bytes of one read, which is split into lines at once.
const READ_LEN: usize = 64 * 1024;

const MESSAGE_LEN_MAX: u64 = 1 << 24;

fn main() {
    divan::main();
}

#[divan::bench(args = LENS)]
fn masking(bencher: Bencher, len: usize) {
    let mut payload = vec![b'x'; len];
    bencher
        .counter(BytesCount::new(len))
        .bench_local(|| mask(black_box(&mut payload), black_box([1, 2, 3, 4])));
}

#[divan::bench(args = [20, 1024, 1024 * 1024])]
fn header_parse(bencher: Bencher, payload_len: u64) {
    let mut bytes = Vec::new();
    header(payload_len, Some([1, 2, 3, 4])).write(&mut bytes);
    bencher.bench_local(|| Header::parse(black_box(&bytes)));
}

#[divan::bench(args = [20, 1024, 1024 * 1024])]
fn header_write(bencher: Bencher, payload_len: u64) {
    let mut out = Vec::with_capacity(16);
    bencher.bench_local(|| {
        out.clear();
        black_box(header(payload_len, None)).write(&mut out);
    });
}

/// A whole message through the connection: header, masking, and the state machine.
#[divan::bench(args = LENS)]
fn echo_of_a_message(bencher: Bencher, len: usize) {
    let mut frame = Vec::new();
    // With a key of zeros, unmasking in place leaves the frame as it was.
    header(len as u64, Some([0; 4])).write(&mut frame);
    frame.resize(frame.len() + len, b'x');
    let mut connection = Connection::new();
    let mut out = Vec::with_capacity(len + 16);
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        out.clear();
        let mut input = &mut frame[..];
        while let Ok(Some(Event::Data { kind, bytes, .. })) =
            connection.next_event(&mut input, &mut out, MESSAGE_LEN_MAX)
        {
            connection.send_fragment(kind, true, true, bytes, &mut out);
        }
        black_box(&out);
    });
}

#[divan::bench(args = LENS)]
fn utf8_ascii(bencher: Bencher, len: usize) {
    utf8(
        bencher,
        &"the quick brown fox ".repeat(len.div_ceil(20))[..len],
    );
}

#[divan::bench(args = LENS)]
fn utf8_mixed(bencher: Bencher, len: usize) {
    let mut text = String::new();
    for character in "é€😀Ж語𝄞ß한🦀".chars().cycle() {
        if text.len() + character.len_utf8() > len {
            break;
        }
        text.push(character);
    }
    utf8(bencher, &text);
}

fn utf8(bencher: Bencher, text: &str) {
    bencher
        .counter(BytesCount::of_str(text))
        .bench_local(|| Utf8::new().push(black_box(text.as_bytes())));
}

/// One read of a command's output.
#[divan::bench(args = [8, 80, 1000])]
fn lines(bencher: Bencher, line_len: usize) {
    let line = format!("{:->1$}\n", "", line_len - 1);
    let text: Vec<u8> = line.bytes().cycle().take(READ_LEN).collect();
    let mut lines = Splitter::new(Stream::Stdout, &CommandSettings::default().format());
    bencher.counter(BytesCount::new(READ_LEN)).bench_local(|| {
        let mut total = 0;
        let pushed = lines.push(black_box(&text), &mut |piece| total += piece.bytes.len());
        black_box((pushed.is_ok(), total))
    });
}

/// From the bytes of a browser's request to the response.
#[divan::bench]
fn opening_handshake(bencher: Bencher) {
    let head = b"GET /echo HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nConnection: Upgrade\r\n\
        Pragma: no-cache\r\nCache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
        Upgrade: websocket\r\nOrigin: http://127.0.0.1:8080\r\nSec-WebSocket-Version: 13\r\n\
        Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-US,en;q=0.9\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
    let date = HttpDate::since_1970(Duration::from_secs(784_111_777));
    let mut out = Vec::with_capacity(512);
    bencher.bench_local(|| {
        out.clear();
        let found = HeadScanner::default()
            .find_end(black_box(head), 16 * 1024)
            .ok()??;
        let request = Request::parse(&head[..found], 64).ok()?;
        let key = handshake::check(&request).ok()?;
        handshake::write_accept(&mut out, &key, None, date);
        Some(out.len())
    });
}

fn header(payload_len: u64, mask: Option<[u8; 4]>) -> Header {
    Header {
        fin: true,
        opcode: Kind::Binary.opcode(),
        mask,
        payload_len,
    }
}
