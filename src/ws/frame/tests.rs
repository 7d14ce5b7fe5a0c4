use super::*;
use crate::testing::for_each_seed;

const OPCODES: [Opcode; 6] = [
    Opcode::Continuation,
    Opcode::Text,
    Opcode::Binary,
    Opcode::Close,
    Opcode::Ping,
    Opcode::Pong,
];

fn header(fin: bool, opcode: Opcode, mask: Option<[u8; 4]>, payload_len: u64) -> Header {
    Header {
        fin,
        opcode,
        mask,
        payload_len,
    }
}

/// The examples of section 5.7.
#[test]
fn the_headers_in_the_examples_of_the_rfc_are_parsed_and_written() {
    let key = Some([0x37, 0xfa, 0x21, 0x3d]);
    let table: [(&[u8], Header); 8] = [
        (&[0x81, 0x05], header(true, Opcode::Text, None, 5)),
        (
            &[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d],
            header(true, Opcode::Text, key, 5),
        ),
        (&[0x01, 0x03], header(false, Opcode::Text, None, 3)),
        (&[0x80, 0x02], header(true, Opcode::Continuation, None, 2)),
        (&[0x89, 0x05], header(true, Opcode::Ping, None, 5)),
        (
            &[0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d],
            header(true, Opcode::Pong, key, 5),
        ),
        (
            &[0x82, 0x7e, 0x01, 0x00],
            header(true, Opcode::Binary, None, 256),
        ),
        (
            &[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0],
            header(true, Opcode::Binary, None, 65536),
        ),
    ];
    for (bytes, header) in table {
        assert_eq!(
            Header::parse(bytes),
            Ok(Some((header, bytes.len()))),
            "{bytes:x?}"
        );
        let mut out = Vec::new();
        header.write(&mut out);
        assert_eq!(out, bytes);
    }
}

#[test]
fn a_header_is_parsed_as_written_and_a_prefix_asks_for_more() {
    let lens = [
        0,
        1,
        125,
        126,
        127,
        255,
        256,
        65535,
        65536,
        65537,
        u32::MAX as u64,
        i64::MAX as u64,
    ];
    for opcode in OPCODES {
        for payload_len in lens {
            for fin in [true, false] {
                for mask in [None, Some([0; 4]), Some([1, 2, 3, 4])] {
                    if opcode.is_control() && (!fin || payload_len > 125) {
                        continue;
                    }
                    let header = Header {
                        fin,
                        opcode,
                        mask,
                        payload_len,
                    };
                    let mut bytes = Vec::new();
                    header.write(&mut bytes);
                    for cut in 0..bytes.len() {
                        assert_eq!(
                            Header::parse(&bytes[..cut]),
                            Ok(None),
                            "{header:?} cut at {cut}"
                        );
                    }
                    let len = bytes.len();
                    assert!(len <= HEADER_LEN_MAX);
                    bytes.extend_from_slice(b"payload");
                    assert_eq!(Header::parse(&bytes), Ok(Some((header, len))));
                }
            }
        }
    }
}

/// Each rule with bytes that break it: the violation is found at the last of them and not before,
/// and does not depend on the bytes after them.
#[test]
fn each_violation_is_found_at_the_byte_that_shows_it() {
    let table: [(&str, &[u8], Violation); 22] = [
        ("RSV1", &[0xc1], Violation::ReservedBits),
        ("RSV2", &[0xa1], Violation::ReservedBits),
        ("RSV3", &[0x91], Violation::ReservedBits),
        ("all three, on a ping", &[0xf9], Violation::ReservedBits),
        (
            "RSV1 before a reserved opcode",
            &[0xc3],
            Violation::ReservedBits,
        ),
        ("opcode 3", &[0x83], Violation::ReservedOpcode(3)),
        (
            "opcode 7, a fragment",
            &[0x07],
            Violation::ReservedOpcode(7),
        ),
        ("opcode 11", &[0x8b], Violation::ReservedOpcode(11)),
        ("opcode 15", &[0x8f], Violation::ReservedOpcode(15)),
        ("fragmented close", &[0x08], Violation::ControlFragmented),
        ("fragmented ping", &[0x09], Violation::ControlFragmented),
        ("fragmented pong", &[0x0a], Violation::ControlFragmented),
        (
            "close of 126 bytes",
            &[0x88, 0x7e],
            Violation::ControlTooLong,
        ),
        (
            "ping of 126 bytes",
            &[0x89, 0xfe],
            Violation::ControlTooLong,
        ),
        (
            "pong of a 64-bit length",
            &[0x8a, 0xff],
            Violation::ControlTooLong,
        ),
        (
            "0 in two bytes",
            &[0x82, 0x7e, 0, 0],
            Violation::LengthNotMinimal,
        ),
        (
            "125 in two bytes",
            &[0x82, 0xfe, 0, 125],
            Violation::LengthNotMinimal,
        ),
        (
            "0 in eight bytes",
            &[0x82, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0],
            Violation::LengthNotMinimal,
        ),
        (
            "125 in eight bytes",
            &[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0, 125],
            Violation::LengthNotMinimal,
        ),
        (
            "65535 in eight bytes",
            &[0x02, 0x7f, 0, 0, 0, 0, 0, 0, 255, 255],
            Violation::LengthNotMinimal,
        ),
        (
            "2^63",
            &[0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0],
            Violation::LengthOutOfRange,
        ),
        (
            "2^64 - 1",
            &[0x81, 0xff, 255, 255, 255, 255, 255, 255, 255, 255],
            Violation::LengthOutOfRange,
        ),
    ];
    for (name, bytes, violation) in table {
        for cut in 0..bytes.len() {
            assert_eq!(
                Header::parse(&bytes[..cut]),
                Ok(None),
                "{name} cut at {cut}"
            );
        }
        let mut bytes = bytes.to_vec();
        assert_eq!(Header::parse(&bytes), Err(violation), "{name}");
        for more in 0..HEADER_LEN_MAX {
            bytes.push(more as u8);
            assert_eq!(
                Header::parse(&bytes),
                Err(violation),
                "{name} and {more} bytes more"
            );
        }
    }
}

#[test]
fn the_opcodes_are_exactly_those_of_section_5_2() {
    for number in 0..16 {
        let known = OPCODES.into_iter().find(|&opcode| opcode as u8 == number);
        assert_eq!(Opcode::from_wire(number), known);
    }
    assert!(
        OPCODES
            .into_iter()
            .all(|opcode| opcode.is_control() == (opcode as u8 & 8 != 0))
    );
}

#[test]
fn any_bytes_parse_without_a_panic() {
    for_each_seed(2000, |random| {
        let len = random.below(20);
        let bytes = random.bytes(len);
        if let Ok(Some((header, len))) = Header::parse(&bytes) {
            let mut out = Vec::new();
            header.write(&mut out);
            assert_eq!(out, bytes[..len]);
        }
    });
}

/// "Hello", section 5.7.
#[test]
fn the_masking_example_of_the_rfc_is_reproduced() {
    let mut payload = *b"Hello";
    mask(&mut payload, [0x37, 0xfa, 0x21, 0x3d]);
    assert_eq!(payload, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    mask(&mut payload, [0x37, 0xfa, 0x21, 0x3d]);
    assert_eq!(payload, *b"Hello");
}

/// Section 5.3: octet i is masked with octet i modulo 4 of the key.
#[test]
fn masking_follows_section_5_3_at_every_length_alignment_and_cut() {
    for_each_seed(200, |random| {
        let len = random.below(100);
        let start = random.below(9).min(len);
        let mut bytes = random.bytes(len);
        let key = [
            random.next() as u8,
            random.next() as u8,
            random.next() as u8,
            random.next() as u8,
        ];
        let mut expected = bytes.clone();
        for (i, byte) in expected[start..].iter_mut().enumerate() {
            *byte ^= key[i % 4];
        }
        let (one, two) = bytes[start..].split_at_mut(random.below(len - start + 1));
        let mut rotated = key;
        rotated.rotate_left(one.len() % 4);
        mask(one, key);
        mask(two, rotated);
        assert_eq!(bytes, expected);
    });
}
