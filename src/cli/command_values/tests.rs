use super::*;

#[test]
fn assignments() {
    let pair = |name: &str, value: &str| Ok((name.into(), value.into()));
    assert_eq!(assignment("A=b"), pair("A", "b"));
    assert_eq!(assignment("A="), pair("A", ""));
    assert_eq!(assignment("A=b=c d"), pair("A", "b=c d"));
    assert_eq!(
        assignment("HTTP_PROXY=http://a:1"),
        pair("HTTP_PROXY", "http://a:1")
    );
    for text in ["", "A", "=", "=b", "A=\0"] {
        assert!(
            assignment(text).unwrap_err().contains("NAME=VALUE"),
            "{text}"
        );
    }
    for text in ["REMOTE_ADDR=1.2.3.4", "HTTP_X_ROLE=admin", "HTTPS=on"] {
        assert!(
            assignment(text).unwrap_err().contains("each request"),
            "{text}"
        );
    }
}

#[test]
fn masks() {
    for (text, mask) in [("0", 0), ("022", 0o22), ("27", 0o27), ("0777", 0o777)] {
        assert_eq!(umask(text), Ok(mask), "{text}");
    }
    for text in [
        "",
        "1000",
        "8",
        "0o22",
        "+22",
        "-1",
        "u=rwx",
        "77777777777777",
    ] {
        assert!(umask(text).unwrap_err().contains("octal"), "{text}");
    }
}

#[test]
fn nice_values() {
    assert_eq!(nice("-20"), Ok(-20));
    assert_eq!(nice("19"), Ok(19));
    for text in ["", "-21", "20", "high", "1.5"] {
        let message = nice(text).unwrap_err();
        assert_eq!(message, "write a number from -20 to 19", "{text}");
    }
}

#[test]
fn signals() {
    for (name, expected) in Signal::NAMES {
        for text in [name.to_owned(), format!("SIG{name}"), name.to_lowercase()] {
            assert_eq!(signal(&text), Ok(expected), "{text}");
        }
    }
    for text in ["", "SIG", "2", "STOP", "INT ", "SIGSIGINT"] {
        assert!(
            signal(text).unwrap_err().ends_with("WINCH or KILL"),
            "{text}"
        );
    }
}

#[test]
fn resource_limits() {
    let good = [
        ("as:1G", Resource::As, Some(1 << 30)),
        ("as:64g", Resource::As, Some(64 << 30)),
        ("core:0", Resource::Core, Some(0)),
        ("cpu:60", Resource::Cpu, Some(60)),
        ("data:512M", Resource::Data, Some(512 << 20)),
        ("fsize:10k", Resource::Fsize, Some(10 << 10)),
        ("nofile:64", Resource::Nofile, Some(64)),
        ("nproc:100", Resource::Nproc, Some(100)),
        ("stack:unlimited", Resource::Stack, None),
        ("core:unlimited", Resource::Core, None),
    ];
    for (text, resource, limit) in good {
        assert_eq!(rlimit(text), Ok((resource, limit)), "{text}");
    }
    let bad = [
        ("", "one of as, core"),
        ("rss:1M", "one of as, core"),
        ("AS:1M", "one of as, core"),
        ("as", "write as: and a size"),
        ("as:", "write as: and a size"),
        ("as:k", "write as: and a size"),
        ("as:-1", "write as: and a size"),
        ("as:1T", "write as: and a size"),
        ("as:99999999999G", "write as: and a size"),
        ("as:1:2", "write as: and a size"),
        ("cpu:1m", "a number of seconds"),
        ("nofile:1k", "a number of descriptors"),
        ("nproc:+1", "a number of processes"),
    ];
    for (text, says) in bad {
        let message = rlimit(text).unwrap_err();
        assert!(message.contains(says), "{text}: {message}");
    }
}

#[test]
fn accounts() {
    assert_eq!(account("www-data"), Ok("www-data".to_owned()));
    assert_eq!(account("1000"), Ok("1000".to_owned()));
    for text in ["", "a:b", "a\nb", "a\0"] {
        assert!(account(text).is_err(), "{text}");
    }
}
