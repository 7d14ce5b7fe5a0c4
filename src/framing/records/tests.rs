use super::super::tests::{LINES, Sink, cut_everywhere};
use super::*;
use crate::testing::for_each_seed;

fn lines(crlf: Crlf, fragment_len_max: usize) -> Records {
    Records::with(b'\n', crlf, fragment_len_max, usize::MAX)
}

/// The messages of a stream that arrives in these chunks.
fn messages(mut records: Records, chunks: &[&[u8]]) -> Result<Vec<String>, OutputError> {
    let mut sink = Sink::default();
    let mut take = |fragment: Fragment<'_>| sink.take(fragment);
    for chunk in chunks {
        records.push(chunk, &mut take)?;
        assert!(records.tail.len() < records.tail_len_max());
        assert!(records.tail.capacity() < 2 * records.tail_len_max() + 8);
        assert!(!records.tail.is_empty() || records.tail.capacity() == 0);
    }
    records.finish(&mut take)?;
    records.finish(&mut |fragment| panic!("{fragment:?} after the end"))?;
    Ok(sink.texts())
}

/// The records of the whole stream, by the simplest code.
fn reference(bytes: &[u8], delimiter: u8, crlf: Crlf) -> Vec<String> {
    let mut records: Vec<&[u8]> = bytes.split(|&byte| byte == delimiter).collect();
    let unfinished = records.pop().filter(|rest| !rest.is_empty());
    let strip = |record: &&[u8]| match crlf {
        Crlf::Strip => record.strip_suffix(b"\r").unwrap_or(record).to_vec(),
        Crlf::Keep => record.to_vec(),
    };
    let ended = records.iter().map(strip);
    ended
        .chain(unfinished.map(<[u8]>::to_vec))
        .map(|record| String::from_utf8_lossy(&record).into_owned())
        .collect()
}

#[test]
fn a_line_becomes_a_message() {
    let cases: &[(&[u8], &[&str])] = &[
        (b"", &[]),
        (b"\n", &[""]),
        (b"one\n", &["one"]),
        (b"one\ntwo\n", &["one", "two"]),
        (b"crlf\r\nlf\n", &["crlf", "lf"]),
        (b"no newline", &["no newline"]),
        (b"a\n\nb", &["a", "", "b"]),
        (b"bare\rreturn\n", &["bare\rreturn"]),
        (b"return at the end\r", &["return at the end\r"]),
        (b"two\r\r\n", &["two\r"]),
        (b"bad \xFF byte\n", &["bad \u{FFFD} byte"]),
        (b"cut \xE2\x82\n", &["cut \u{FFFD}"]),
        (
            "long: äöü€😀 and then some more €€€€€€€\n".as_bytes(),
            &["long: äöü€😀 and then some more €€€€€€€"],
        ),
    ];
    for (bytes, expected) in cases {
        for fragment_len_max in [4, 7, 16, 1000] {
            cut_everywhere(bytes, |chunks| {
                let records = lines(Crlf::Strip, fragment_len_max);
                assert_eq!(
                    messages(records, chunks).unwrap(),
                    *expected,
                    "{chunks:x?} in fragments of {fragment_len_max}"
                );
            });
        }
    }
}

#[test]
fn a_cr_before_the_newline_can_be_kept() {
    let bytes = b"a\r\n\r\nb\r";
    let kept = messages(lines(Crlf::Keep, 16), &[bytes]).unwrap();
    assert_eq!(kept, ["a\r", "\r", "b\r"]);
}

#[test]
fn a_record_ends_with_nul() {
    let format = LINES;
    cut_everywhere(b"one\n\0\0two\r\0three", |chunks| {
        let records = Records::new(Framing::Null, &format);
        let texts = messages(records, chunks).unwrap();
        assert_eq!(texts, ["one\n", "", "two\r", "three"]);
    });
}

#[test]
fn the_messages_do_not_depend_on_the_cuts() {
    for_each_seed(3000, |random| {
        // A small alphabet, so that delimiters, CRs and broken characters are frequent.
        let alphabet = b"ab\0\r\r\n\n\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\xFF\xED\xA0\xF4";
        let len = random.below(200);
        let bytes: Vec<u8> = (0..len).map(|_| random.pick(alphabet)).collect();
        let delimiter = random.pick(b"\n\0");
        let crlf = random.pick(&[Crlf::Strip, Crlf::Keep]);
        let fragment_len_max = random.pick(&[4, 5, 6, 9, 16, 4096]);
        let records = Records::with(delimiter, crlf, fragment_len_max, usize::MAX);
        let chunks = random.cut(&bytes);
        assert_eq!(
            messages(records, &chunks).unwrap(),
            reference(&bytes, delimiter, crlf),
            "{chunks:x?} in fragments of {fragment_len_max}"
        );
    });
}

#[test]
fn joining_the_messages_restores_the_output() {
    for_each_seed(500, |random| {
        let len = random.below(3000);
        let text: String = (0..len)
            .map(|_| random.pick(&['a', '\r', '\n', 'ß', '€', '😀']))
            .collect();
        let records = lines(Crlf::Keep, random.pick(&[4, 30, 1000]));
        let mut joined = messages(records, &random.cut(text.as_bytes()))
            .unwrap()
            .join("\n");
        if text.ends_with('\n') {
            joined.push('\n');
        }
        assert_eq!(joined, text);
    });
}

#[test]
fn only_a_record_longer_than_a_fragment_is_cut() {
    for (end, crlf) in [
        ("\n", Crlf::Strip),
        ("\r\n", Crlf::Strip),
        ("\n", Crlf::Keep),
    ] {
        for (len, fragments) in [(15, 1), (16, 1), (17, 2), (18, 2), (32, 2), (33, 3)] {
            let line = "x".repeat(len) + end;
            cut_everywhere(line.as_bytes(), |chunks| {
                let mut count = 0;
                let mut records = lines(crlf, 16);
                for chunk in chunks {
                    let mut take = |_: Fragment<'_>| count += 1;
                    records.push(chunk, &mut take).unwrap();
                }
                assert_eq!(count, fragments, "{len} bytes and {end:?}");
            });
        }
    }
}

#[test]
fn a_long_line_is_emitted_as_it_arrives_and_no_character_is_cut() {
    for shift in 0..8 {
        let line = "x".repeat(shift) + &"€😀ä".repeat(50);
        let mut out = String::new();
        let mut records = lines(Crlf::Strip, 16);
        let mut take = |fragment: Fragment<'_>| {
            assert!(!fragment.last && fragment.bytes.len() <= 16);
            assert_eq!(fragment.first, out.is_empty());
            out.push_str(std::str::from_utf8(fragment.bytes).expect("whole characters"));
        };
        records.push(line.as_bytes(), &mut take).unwrap();
        assert!(out.len() + 18 > line.len());
        let mut take = |fragment: Fragment<'_>| {
            out.push_str(std::str::from_utf8(fragment.bytes).expect("whole characters"));
        };
        records.finish(&mut take).unwrap();
        assert_eq!(out, line);
    }
}

#[test]
fn a_record_may_be_as_long_as_the_limit() {
    // Limits around the length of a fragment and of the tail.
    for limit in [1, 15, 16, 17, 18, 19, 40] {
        let fits = "x".repeat(limit) + "\n" + &"y".repeat(limit) + "\r\n";
        cut_everywhere(fits.as_bytes(), |chunks| {
            let records = Records::with(b'\n', Crlf::Strip, 16, limit);
            assert_eq!(messages(records, chunks).unwrap().len(), 2, "{limit}");
        });
        for end in ["", "\n", "\r\n", "\r"] {
            let too_long = "x".repeat(limit + 1) + end;
            cut_everywhere(too_long.as_bytes(), |chunks| {
                let records = Records::with(b'\n', Crlf::Strip, 16, limit);
                let expected = Err(OutputError::TooLong(limit as u32));
                assert_eq!(messages(records, chunks), expected, "{limit} {end:?}");
            });
        }
    }
}

#[test]
fn no_part_of_a_short_record_over_the_limit_is_emitted() {
    let mut records = Records::with(b'\n', Crlf::Strip, 16, 10);
    let never = &mut |fragment: Fragment<'_>| panic!("{fragment:?}");
    assert_eq!(records.push(&[b'x'; 10], never), Ok(()));
    assert_eq!(records.push(b"x", never), Err(OutputError::TooLong(10)));
}

#[test]
fn a_prompt_can_be_sent_before_its_line_ends() {
    let mut records = lines(Crlf::Strip, 16);
    let mut sink = Sink::default();
    let mut take = |fragment: Fragment<'_>| sink.take(fragment);
    records.push(b"done\nname? ", &mut take).unwrap();
    assert!(records.has_prompt());
    records.flush(&mut take);
    assert!(!records.has_prompt());
    records.flush(&mut |fragment| panic!("{fragment:?} twice"));
    records.push(b"thanks\n", &mut take).unwrap();
    assert_eq!(sink.texts(), ["done", "name? ", "thanks"]);
}

#[test]
fn a_prompt_is_not_cut_inside_a_character() {
    let mut records = lines(Crlf::Strip, 16);
    let mut sink = Sink::default();
    let mut take = |fragment: Fragment<'_>| sink.take(fragment);
    records.push(b"100 \xE2\x82", &mut take).unwrap();
    records.flush(&mut take);
    assert!(!records.has_prompt(), "half a character is not a prompt");
    records.flush(&mut |fragment| panic!("{fragment:?}"));
    records.push(b"\xAC", &mut take).unwrap();
    assert!(records.has_prompt());
    records.finish(&mut take).unwrap();
    assert_eq!(sink.texts(), ["100 ", "€"]);
}

#[test]
fn a_prompt_ends_the_message_of_a_long_line() {
    let mut records = lines(Crlf::Strip, 16);
    let mut sink = Sink::default();
    let mut take = |fragment: Fragment<'_>| sink.take(fragment);
    records.push(&[b'x'; 50], &mut take).unwrap();
    records.flush(&mut take);
    records.push(b"y\n", &mut take).unwrap();
    assert_eq!(sink.texts(), ["x".repeat(50).as_str(), "y"]);
}
