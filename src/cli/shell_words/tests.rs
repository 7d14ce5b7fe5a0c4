use super::*;

#[test]
fn a_text_is_split_into_words_and_quotes_are_removed() {
    let cases: [(&str, &[&str]); 22] = [
        ("", &[]),
        (" \t\n", &[]),
        ("cat", &["cat"]),
        ("  tail  -f\tx\ny ", &["tail", "-f", "x", "y"]),
        ("'a b' c", &["a b", "c"]),
        ("\"a b\" c", &["a b", "c"]),
        ("a' b'\"c d\"e", &["a bc de"]),
        ("'' \"\" a''", &["", "", "a"]),
        (r#"'a\b"c'"#, &[r#"a\b"c"#]),
        (r#""a\"b\\c\$d\`e""#, &[r#"a"b\c$d`e"#]),
        (r#""a\nb\'c""#, &[r"a\nb\'c"]),
        ("\"a\\\nb\"", &["ab"]),
        ("a\\\nb", &["ab"]),
        ("\\\n a", &["a"]),
        (r"a\ b\'c\\", &[r"a b'c\"]),
        (r"\n", &["n"]),
        ("it\"'\"s", &["it's"]),
        (
            "$HOME ~ * a|b;c&d #x",
            &["$HOME", "~", "*", "a|b;c&d", "#x"],
        ),
        ("sh -c 'echo \"$1\"'", &["sh", "-c", "echo \"$1\""]),
        ("é\u{a0}ü 中 文", &["é\u{a0}ü", "中", "文"]),
        ("a=b --c=d", &["a=b", "--c=d"]),
        ("\r", &["\r"]),
    ];
    for (text, words) in cases {
        assert_eq!(split(text).unwrap(), words, "{text:?}");
    }
}

#[test]
fn an_unclosed_quote_is_refused() {
    for (text, says) in [
        ("'a", "a ' is not closed"),
        ("\"a", "a \" is not closed"),
        ("\"a\\", "a \" is not closed"),
        ("it's", "a ' is not closed"),
        ("a\\", "the last backslash"),
    ] {
        let message = split(text).unwrap_err();
        assert!(message.contains(says), "{text}: {message}");
    }
}
