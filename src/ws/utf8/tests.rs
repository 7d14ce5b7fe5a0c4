use super::*;
use crate::testing::for_each_seed;

/// The verdict on the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Complete,
    Partial,
    Bad,
}

/// The grammar of RFC 3629 section 4, a byte at a time.
fn reference(bytes: &[u8]) -> Verdict {
    let mut expected: Vec<(u8, u8)> = Vec::new();
    for &byte in bytes {
        if let Some((low, high)) = expected.pop() {
            if byte < low || byte > high {
                return Verdict::Bad;
            }
            continue;
        }
        let tail = (0x80, 0xbf);
        expected = match byte {
            0x00..=0x7f => vec![],
            0xc2..=0xdf => vec![tail],
            0xe0 => vec![tail, (0xa0, 0xbf)],
            0xed => vec![tail, (0x80, 0x9f)],
            0xe1..=0xef => vec![tail, tail],
            0xf0 => vec![tail, tail, (0x90, 0xbf)],
            0xf1..=0xf3 => vec![tail, tail, tail],
            0xf4 => vec![tail, tail, (0x80, 0x8f)],
            _ => return Verdict::Bad,
        };
    }
    if expected.is_empty() {
        Verdict::Complete
    } else {
        Verdict::Partial
    }
}

fn verdict<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Verdict {
    let mut utf8 = Utf8::new();
    for piece in pieces {
        if utf8.push(piece).is_err() {
            return Verdict::Bad;
        }
    }
    if utf8.is_complete() {
        Verdict::Complete
    } else {
        Verdict::Partial
    }
}

/// Checks `bytes` and each of their prefixes, so that a bad byte is found when it arrives: in one
/// piece, in two pieces cut at every place, and byte by byte.
fn check(bytes: &[u8]) {
    for end in 0..=bytes.len() {
        let bytes = &bytes[..end];
        let expected = reference(bytes);
        assert_eq!(verdict([bytes]), expected, "{bytes:x?}");
        assert_eq!(
            verdict(bytes.chunks(1)),
            expected,
            "{bytes:x?} byte by byte"
        );
        for cut in 0..end {
            let (one, two) = bytes.split_at(cut);
            assert_eq!(verdict([one, two]), expected, "{bytes:x?} cut at {cut}");
        }
    }
}

#[test]
fn valid_incomplete_and_invalid_texts_are_distinguished() {
    let table: [(&[u8], Verdict); 26] = [
        (b"", Verdict::Complete),
        (b"Hello", Verdict::Complete),
        ("κόσμε".as_bytes(), Verdict::Complete),
        ("日本語, 😀 and \u{0}".as_bytes(), Verdict::Complete),
        (b"\xed\x9f\xbf", Verdict::Complete), // U+D7FF, the last before the surrogates
        (b"\xee\x80\x80", Verdict::Complete), // U+E000, the first after them
        (b"\xef\xbf\xbf", Verdict::Complete), // U+FFFF, a noncharacter, is UTF-8 nonetheless
        (b"\xf0\x90\x80\x80", Verdict::Complete), // U+10000
        (b"\xf4\x8f\xbf\xbf", Verdict::Complete), // U+10FFFF
        (b"\xce\xba\xe1\xbd\xb9\xcf", Verdict::Partial),
        (b"\xe2\x82", Verdict::Partial),
        (b"\xf0\x9f\x98", Verdict::Partial),
        (b"\x80", Verdict::Bad), // a tail without a head
        (b"\xbf text", Verdict::Bad),
        (b"\xc0\xaf", Verdict::Bad), // overlong
        (b"\xc1\xbf", Verdict::Bad),
        (b"\xe0\x80\xaf", Verdict::Bad),
        (b"\xe0\x9f\xbf", Verdict::Bad),
        (b"\xf0\x8f\xbf\xbf", Verdict::Bad),
        (b"\xed\xa0\x80", Verdict::Bad), // U+D800, a surrogate
        (b"\xed\xbf\xbf", Verdict::Bad),
        (b"\xf4\x90\x80\x80", Verdict::Bad), // above U+10FFFF
        (b"\xf5\x80\x80\x80", Verdict::Bad),
        (b"\xfe", Verdict::Bad),
        (b"\xff", Verdict::Bad),
        (
            b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
            Verdict::Bad,
        ), // Autobahn 6.3.1
    ];
    for (bytes, expected) in table {
        assert_eq!(reference(bytes), expected, "{bytes:x?}");
        check(bytes);
    }
}

#[test]
#[cfg_attr(miri, ignore = "millions of steps")]
fn every_character_is_valid_byte_by_byte() {
    for character in '\0'..=char::MAX {
        let mut bytes = [0; 4];
        let bytes = character.encode_utf8(&mut bytes).as_bytes();
        assert_eq!(verdict(bytes.chunks(1)), Verdict::Complete, "{character:?}");
    }
}

#[test]
fn every_two_bytes_and_a_third_are_judged_like_the_grammar() {
    for one in 0x80..=0xff {
        for two in 0..=0xff {
            for three in [0x00, 0x41, 0x7f, 0x80, 0xbf, 0xc2] {
                let bytes = [one, two, three];
                assert_eq!(verdict(bytes.chunks(1)), reference(&bytes), "{bytes:x?}");
                assert_eq!(verdict([&bytes[..]]), reference(&bytes), "{bytes:x?}");
            }
        }
    }
}

/// A bad byte, and the end, at every place of a text of several blocks.
#[test]
fn an_error_is_found_at_every_place_of_a_long_text() {
    let text = "a é€😀Ж語𝄞ß한🦀 plain ASCII, more than a block of it, before and after ".repeat(4);
    for bytes in [text.as_bytes(), &text.as_bytes()[1..], &[b'x'; 300]] {
        for at in 0..bytes.len() {
            assert_eq!(verdict([&bytes[..at]]), reference(&bytes[..at]), "{at}");
            for bad in [0x00, 0x80, 0xbf, 0xc0, 0xc2, 0xe0, 0xed, 0xf0, 0xf4, 0xf5] {
                let mut bytes = bytes.to_vec();
                bytes[at] = bad;
                let expected = reference(&bytes);
                assert_eq!(verdict([&bytes[..]]), expected, "{bad:x} at {at}");
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "millions of steps")]
fn every_character_is_valid_within_a_block() {
    for character in '\0'..=char::MAX {
        let mut bytes = [b'x'; 80];
        character.encode_utf8(&mut bytes[20..]);
        assert_eq!(valid_prefix_len(&bytes), 64, "{character:?}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "millions of steps")]
fn every_three_bytes_within_a_block_are_judged_like_the_grammar() {
    for one in 0x80..=0xff {
        for two in 0..=0xff {
            for three in [0x41, 0x80, 0xbf, 0xc2] {
                let mut bytes = [b'x'; 80];
                bytes[20..23].copy_from_slice(&[one, two, three]);
                assert_eq!(
                    verdict([&bytes[..]]),
                    reference(&bytes),
                    "{one:x} {two:x} {three:x}"
                );
            }
        }
    }
}

#[test]
fn random_texts_with_errors_in_random_pieces_are_judged_like_the_grammar() {
    for_each_seed(500, |random| {
        let alphabet = [
            'a',
            '\n',
            'é',
            'ß',
            '€',
            '語',
            '😀',
            '\u{10ffff}',
            '\u{800}',
            '\u{10000}',
        ];
        let len = random.below(160);
        let mut bytes: Vec<u8> = (0..len)
            .map(|_| random.pick(&alphabet))
            .collect::<String>()
            .into();
        for _ in 0..random.below(3) {
            if !bytes.is_empty() {
                let at = random.below(bytes.len());
                bytes[at] = random.next() as u8;
            }
        }
        let pieces = random.cut(&bytes);
        assert_eq!(verdict(pieces), reference(&bytes), "{bytes:x?}");
        check(&bytes[..bytes.len().min(30)]);
    });
}
