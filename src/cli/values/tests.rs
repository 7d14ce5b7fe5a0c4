use super::*;

#[test]
fn a_time_with_a_unit_is_refused_without_one() {
    let millis = |ms| Ok(Duration::from_millis(ms));
    assert_eq!(time_with_unit("0"), millis(0));
    assert_eq!(time_with_unit("50ms"), millis(50));
    assert_eq!(time_with_unit("2s"), millis(2000));
    let refused = time_with_unit("50");
    assert_eq!(refused.unwrap_err(), "name the unit: write 50ms or 50s");
    assert!(time_with_unit("").is_err() && time_with_unit("ms").is_err());
}

#[test]
fn times() {
    let good = [
        ("10s", 10_000),
        ("250ms", 250),
        ("2m", 120_000),
        ("1h", 3_600_000),
        ("24h", 86_400_000),
        ("7", 7_000),
        ("007s", 7_000),
        ("1ms", 1),
    ];
    for (text, millis) in good {
        let expected = Ok(Duration::from_millis(millis));
        assert_eq!(time(text), expected, "{text}");
    }
    let bad = [
        "",
        "s",
        "0",
        "0ms",
        "-1s",
        "+1s",
        "1.5s",
        "1 s",
        "1S",
        "1d",
        "10sec",
        "s10",
        "25h",
        "86401",
        "4294967295h",
        "4294967296",
        "99999999999999999999s",
        "\u{661}s",
        "never",
    ];
    for text in bad {
        let message = time(text).unwrap_err();
        assert!(message.contains("250ms"), "{text}: {message}");
    }
}

#[test]
fn a_bare_number_is_in_seconds_and_some_times_may_be_zero() {
    assert_eq!(time("250"), Ok(Duration::from_secs(250)));
    assert_eq!(time_or_zero("0"), Ok(Duration::ZERO));
    assert_eq!(time_or_zero("0s"), Ok(Duration::ZERO));
}

#[test]
fn sizes() {
    let good = [
        ("1", 1),
        ("4096", 4096),
        ("64k", 65_536),
        ("64K", 65_536),
        ("1M", 1_048_576),
        ("16m", 16_777_216),
        ("1g", 1_073_741_824),
    ];
    for (text, bytes) in good {
        assert_eq!(size(text, 1), Ok(bytes), "{text}");
    }
    let bad = [
        "",
        "k",
        "0",
        "-1",
        "1.5M",
        "1 M",
        "64kb",
        "64KiB",
        "2G",
        "1025M",
        "99999999999G",
        "99999999999999999999999",
        "none",
    ];
    for text in bad {
        let message = size(text, 1).unwrap_err();
        assert_eq!(
            message, "write a size such as 64k or 1M, from 1 to 1G",
            "{text}"
        );
    }
    assert!(size("1023", 1024).is_err());
}

#[test]
fn numbers() {
    assert_eq!(number("0", 0, 65_535), Ok(0));
    assert_eq!(number("65535", 0, 65_535), Ok(65_535));
    for text in ["", "65536", "-1", "http", "80 ", "99999999999999999999"] {
        let message = "write a number from 0 to 65535".to_owned();
        assert_eq!(number(text, 0, 65_535), Err(message), "{text}");
    }
    assert!(number("0", 1, 9).is_err());
    assert!(number("10", 1, 9).is_err());
}

#[test]
fn addresses() {
    let good = [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("::", "::"),
        ("[::]", "::"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
    ];
    for (text, expected) in good {
        assert_eq!(address(text), Ok(expected.parse().unwrap()), "{text}");
    }
    for text in [
        "",
        "app.example",
        "*",
        "[127.0.0.1]",
        "[::",
        "::]",
        "1.2.3",
        "fe80::1%eth0",
    ] {
        let message = address(text).unwrap_err();
        assert!(
            message.starts_with("write an IP address"),
            "{text}: {message}"
        );
    }
    let message = address("[::1]:9000").unwrap_err();
    assert_eq!(message, "the port is an option: --address=::1 --port=9000");
}

#[test]
fn items_of_lists() {
    type Check = fn(&str) -> Result<(), String>;
    let cases: [(Check, &[&str], &[&str]); 4] = [
        (
            origin,
            &[
                "https://app.example",
                "http://[::1]:8080",
                "app.example:8443",
                "null",
                "any",
                "chrome-extension://abcdef",
                "https://app.example/",
                "file://",
                "app://",
                "content://",
                "capacitor://localhost",
            ],
            &[
                "",
                "*",
                "https://",
                "https://app.example/a",
                "file:",
                "file:///",
                "http://:80",
                "a b",
                "://x",
                "é.example",
                "a@b",
            ],
        ),
        (
            host_name,
            &[
                "app.example",
                "my_box",
                "192.168.1.2",
                "[2001:db8::1]",
                "::1",
                "any.",
                "company",
            ],
            &[
                "",
                "app.example:80",
                "http://app.example",
                "*.example",
                "*",
                "any",
                "Any",
                "a/b",
                "é",
            ],
        ),
        (
            token,
            &["chat", "v2.example.com", "a!b"],
            &["", "a b", "a/b", "é", "\"a\""],
        ),
        (
            variable,
            &["PATH", "my var", "é", "", "HTTP_PROXY"],
            &["A=b", "HTTPS", "HTTP_X"],
        ),
    ];
    for (check, good, bad) in cases {
        for text in good {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for text in bad {
            assert!(check(text).is_err(), "{text}");
        }
    }
}

#[test]
fn lists() {
    assert_eq!(list("a", token), Ok(vec!["a"]));
    assert_eq!(list("a, b ,c", token), Ok(vec!["a", "b", "c"]));
    for text in ["", ",", "a,", ",a", "a,,b", "a b"] {
        assert!(list(text, token).is_err(), "{text}");
    }
}
