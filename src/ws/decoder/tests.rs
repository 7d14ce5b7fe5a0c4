use super::*;
use crate::testing::for_each_seed;
use crate::ws::testing::{masked, plain};

/// A frame: its header, its payload so far, and whether it is complete.
type Frame = (Header, Vec<u8>, bool);
type Outcome = (Vec<Frame>, Option<Violation>);

/// All frames in `bytes`, decoded in one pass.
fn reference(bytes: &[u8]) -> Outcome {
    let mut frames = Vec::new();
    let mut at = 0;
    loop {
        let (header, len) = match Header::parse(&bytes[at..]) {
            Err(violation) => return (frames, Some(violation)),
            Ok(None) => return (frames, None),
            Ok(Some((Header { mask: None, .. }, _))) => {
                return (frames, Some(Violation::Unmasked));
            }
            Ok(Some(found)) => found,
        };
        at += len;
        let key = header.mask.unwrap();
        let mut payload = Vec::new();
        while (payload.len() as u64) < header.payload_len && at < bytes.len() {
            payload.push(bytes[at] ^ key[payload.len() % 4]);
            at += 1;
        }
        let end = payload.len() as u64 == header.payload_len;
        frames.push((header, payload, end));
        if !end {
            return (frames, None);
        }
    }
}

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut decoder = Decoder::new();
    let mut frames: Vec<Frame> = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut input = &mut piece[..];
        loop {
            match decoder.next(&mut input) {
                Err(violation) => return (frames, Some(violation)),
                Ok(None) => break,
                Ok(Some(Piece::Header(header))) => frames.push((header, Vec::new(), false)),
                Ok(Some(Piece::Chunk {
                    opcode,
                    fin,
                    bytes,
                    end,
                })) => {
                    let (header, payload, ended) = frames.last_mut().unwrap();
                    assert_eq!((header.opcode, header.fin, *ended), (opcode, fin, false));
                    assert!(!bytes.is_empty() || header.payload_len == 0);
                    payload.extend_from_slice(bytes);
                    *ended = end;
                }
            }
        }
        assert!(input.is_empty());
    }
    (frames, None)
}

/// Checks `bytes` and each of their prefixes: in one read, in two reads cut at every place, and
/// byte by byte.
fn check(name: &str, bytes: &[u8]) {
    let expected = reference(bytes);
    assert_eq!(decode([bytes]), expected, "{name}");
    assert_eq!(decode(bytes.chunks(1)), expected, "{name}, byte by byte");
    for cut in 0..bytes.len() {
        let (one, two) = bytes.split_at(cut);
        assert_eq!(decode([one, two]), expected, "{name}, cut at {cut}");
        assert_eq!(
            decode([one, &[], two]),
            expected,
            "{name}, cut at {cut} by an empty read"
        );
        assert_eq!(decode([one]), reference(one), "{name}, ended at {cut}");
        assert_eq!(
            decode(one.chunks(1)),
            reference(one),
            "{name}, ended at {cut}, byte by byte"
        );
    }
}

#[test]
fn frames_are_decoded_wherever_a_read_ends() {
    let long = [7; 300];
    let table: [(&str, Vec<u8>, usize); 9] = [
        ("nothing", vec![], 0),
        ("an empty message", masked(true, Opcode::Text, b""), 1),
        ("hello", masked(true, Opcode::Text, b"Hello"), 1),
        ("a 16-bit length", masked(true, Opcode::Binary, &long), 1),
        (
            "two frames",
            [
                masked(true, Opcode::Text, b"one"),
                masked(true, Opcode::Ping, b"two!"),
            ]
            .concat(),
            2,
        ),
        ("empty ones", masked(true, Opcode::Pong, b"").repeat(5), 5),
        (
            "fragments",
            [
                masked(false, Opcode::Text, b"a"),
                masked(true, Opcode::Continuation, b""),
            ]
            .concat(),
            2,
        ),
        (
            "a frame that lacks a byte",
            masked(true, Opcode::Text, b"Hello")[..10].to_vec(),
            1,
        ),
        (
            "2^63 - 1 bytes to come",
            [&[0x82, 0xff, 0x7f][..], &[255; 7], b"keyspayload"].concat(),
            1,
        ),
    ];
    for (name, bytes, count) in table {
        let (frames, violation) = decode([&bytes[..]]);
        assert_eq!((frames.len(), violation), (count, None), "{name}");
        check(name, &bytes);
    }
}

#[test]
fn a_frame_with_a_64_bit_length_is_decoded() {
    let payload: Vec<u8> = (0..70_000u32).map(|i| (i * 31) as u8).collect();
    let bytes = masked(true, Opcode::Binary, &payload);
    for cut in (0..20).chain([100, 8192, 65536, 70_000]) {
        let (one, two) = bytes.split_at(cut);
        let (frames, violation) = decode([one, two]);
        assert_eq!(violation, None);
        assert!(
            frames.len() == 1 && frames[0].1 == payload && frames[0].2,
            "cut at {cut}"
        );
    }
}

#[test]
fn a_violation_ends_the_stream_after_the_frames_before_it() {
    let fine = masked(true, Opcode::Text, b"fine");
    let table: [(&str, Vec<u8>, Violation); 7] = [
        (
            "unmasked text",
            plain(true, Opcode::Text, b"Hello"),
            Violation::Unmasked,
        ),
        (
            "unmasked close",
            plain(true, Opcode::Close, b""),
            Violation::Unmasked,
        ),
        (
            "unmasked, a 16-bit length",
            plain(true, Opcode::Text, &[0; 126]),
            Violation::Unmasked,
        ),
        (
            "RSV1",
            vec![0xc1, 0x80, 1, 2, 3, 4],
            Violation::ReservedBits,
        ),
        (
            "opcode 11",
            vec![0x8b, 0x80, 1, 2, 3, 4],
            Violation::ReservedOpcode(11),
        ),
        (
            "a long ping",
            vec![0x89, 0xfe, 0, 126, 1, 2, 3, 4],
            Violation::ControlTooLong,
        ),
        (
            "2^63",
            vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4],
            Violation::LengthOutOfRange,
        ),
    ];
    for (name, bytes, violation) in table {
        assert_eq!(decode([&bytes[..]]), (vec![], Some(violation)), "{name}");
        check(name, &bytes);
        let after = [&fine[..], &bytes].concat();
        let (frames, found) = decode([&after[..]]);
        assert_eq!(
            (frames.len(), found),
            (1, Some(violation)),
            "{name} after a message"
        );
        check(name, &after);
    }
}

#[test]
fn random_streams_in_random_pieces() {
    for_each_seed(1000, |random| {
        let mut bytes = Vec::new();
        for _ in 0..random.below(6) {
            let opcode = random.pick(&[
                Opcode::Text,
                Opcode::Binary,
                Opcode::Continuation,
                Opcode::Ping,
            ]);
            let len = random.pick(&[0, 1, 3, 4, 5, 8, 17, 64, 125, 126, 400]);
            let len = if opcode.is_control() {
                len.min(125)
            } else {
                len
            };
            let fin = opcode.is_control() || random.one_in(2);
            let payload = random.bytes(len);
            bytes.extend(masked(fin, opcode, &payload));
        }
        if random.one_in(3) && !bytes.is_empty() {
            let at = random.below(bytes.len());
            bytes[at] = random.next() as u8;
        }
        let expected = reference(&bytes);
        assert_eq!(decode(random.cut(&bytes)), expected);
        assert_eq!(decode([&bytes[..]]), expected);
    });
}
