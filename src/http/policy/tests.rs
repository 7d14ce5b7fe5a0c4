use super::super::response::Status;
use super::*;

fn policy(origins: &[&str], allow_hosts: &[&str], loopback_only: bool) -> Policy {
    let owned = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect();
    Policy::new(
        owned(origins),
        false,
        owned(allow_hosts),
        "Box".to_owned(),
        loopback_only,
    )
    .expect("a valid policy")
}

fn checked(policy: &Policy, host: &str, origin: &str) -> Result<(), Refusal> {
    checked_with(None, policy, host, origin)
}

/// The check of a plain request.
fn page_checked(policy: &Policy, host: &str, origin: &str) -> Result<(), Refusal> {
    with_request(host, origin, |request, page| {
        policy.check_page_host(request, page)
    })
}

/// `https`: the report of a trusted proxy.
fn checked_with(
    https: Option<bool>,
    policy: &Policy,
    host: &str,
    origin: &str,
) -> Result<(), Refusal> {
    with_request(host, origin, |request, page| {
        policy.check_host(request, page)?;
        policy.check_origin(request, page, https)
    })
}

fn with_request(
    host: &str,
    origin: &str,
    check: impl Fn(&Request, Option<&Page>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let origin = match origin {
        "" => String::new(),
        origin => format!("Origin: {origin}\r\n"),
    };
    let head = format!("GET /ws HTTP/1.1\r\nHost: {host}\r\n{origin}\r\n");
    let request = Request::parse(head.as_bytes(), 16).expect("a valid head");
    check(&request, Page::of(&request)?.as_ref())
}

#[test]
fn without_options_an_origin_must_be_at_the_host() {
    let policy = policy(&[], &[], false);
    #[rustfmt::skip]
    let cases = [
        ("no Origin", "box:8080", "", true),
        ("same host and port", "box:8080", "http://box:8080", true),
        ("https in front", "box:8080", "https://box:8080", true),
        ("another host", "box:8080", "http://evil.example:8080", false),
        ("another port", "box:8080", "http://box:8081", false),
        ("Origin without the port", "box:8080", "http://box", false),
        ("Host without the port", "box", "http://box:8080", false),
        ("both without", "box", "http://box", true),
        ("default port of http", "box:80", "http://box", true),
        ("default port of https", "box:443", "https://box", true),
        ("default port of https in Origin", "box", "https://box:443", true),
        ("default port of the other scheme", "box:80", "https://box", false),
        ("default port of the other scheme, in Origin", "box", "http://box:443", false),
        ("another case", "BOX:8080", "HTTP://box:8080", true),
        ("final dot in Host", "box.:8080", "http://box:8080", true),
        ("final dot in Origin", "box:8080", "http://box.:8080", true),
        ("IPv4", "192.168.1.5:80", "http://192.168.1.5", true),
        ("another IPv4", "192.168.1.5:80", "http://192.168.1.6", false),
        ("IPv6, written otherwise", "[2001:db8::1]:80", "http://[2001:DB8:0::0:1]", true),
        ("another IPv6", "[2001:db8::1]:80", "http://[2001:db8::2]", false),
        ("a prefix of the name", "box:80", "http://box.evil.example", false),
        ("a suffix of the name", "box:80", "http://evil-box", false),
        ("user info", "box:80", "http://box@evil.example", false),
        ("null", "box:80", "null", false),
        ("another scheme", "box", "capacitor://box", false),
        ("an extension", "box", "chrome-extension://abcdef", false),
        ("a list", "box", "http://box http://box", false),
        ("a path", "box", "http://box/", false),
        ("no scheme", "box", "box", false),
        ("rubbish", "box", "://", false),
    ];
    for (name, host, origin, allowed) in cases {
        let outcome = checked(&policy, host, origin);
        assert_eq!(outcome.is_ok(), allowed, "{name}: {outcome:?}");
        if let Err(refusal) = outcome {
            assert_eq!(refusal.status, Status::Forbidden, "{name}");
            assert!(refusal.reason.contains("--origin="), "{name}: {refusal:?}");
        }
    }
}

#[test]
fn where_a_proxy_reports_the_scheme_the_origin_must_have_it() {
    let policy = policy(&["http://listed.example"], &["app.example"], true);
    #[rustfmt::skip]
    let cases = [
        // The Host, the Origin, and whether it is accepted: with https, with http, and with neither.
        ("app.example", "https://app.example", [true, false, true]),
        ("app.example", "http://app.example", [false, true, true]),
        ("app.example", "https://app.example:443", [true, false, true]),
        ("app.example", "http://app.example:443", [false, false, false]),
        ("app.example", "https://app.example:80", [false, false, false]),
        ("app.example", "http://app.example:80", [false, true, true]),
        ("app.example:443", "https://app.example", [true, false, true]),
        ("app.example:443", "http://app.example", [false, false, false]),
        ("app.example:80", "https://app.example", [false, false, false]),
        ("app.example:8443", "https://app.example:8443", [true, false, true]),
        ("app.example:8443", "http://app.example:8443", [false, true, true]),
        ("app.example", "https://evil.example", [false, false, false]),
        ("app.example", "app://app.example", [false, false, false]),
        ("app.example", "http://listed.example", [true, true, true]),
    ];
    for (host, origin, accepted) in cases {
        for (https, accepted) in [Some(true), Some(false), None].into_iter().zip(accepted) {
            let outcome = checked_with(https, &policy, host, origin);
            assert_eq!(
                outcome.is_ok(),
                accepted,
                "{host}, {origin}, {https:?}: {outcome:?}"
            );
        }
    }
    let refusal = |https, scheme| {
        let origin = format!("{scheme}://app.example");
        let refusal = checked_with(Some(https), &policy, "app.example", &origin);
        refusal.unwrap_err().reason
    };
    assert_eq!(
        refusal(true, "http"),
        "Origin \"http://app.example\" is not at the Host \"app.example\" with https, which the \
         proxy reports; to allow it, start wspipe with --origin=http://app.example"
    );
    assert_eq!(
        refusal(false, "https"),
        "Origin \"https://app.example\" is not at the Host \"app.example\" with http, which the \
         proxy reports; to allow it, start wspipe with --origin=https://app.example"
    );
}

#[test]
fn a_listed_origin_is_accepted() {
    let cases = [
        ("https://app.example", "https://app.example", true),
        ("https://app.example", "https://app.example:443", true),
        ("https://app.example/", "https://APP.example", true),
        ("https://app.example:443", "https://app.example", true),
        ("https://app.example", "http://app.example", false),
        ("https://app.example", "https://app.example:8443", false),
        ("https://app.example", "https://x.app.example", false),
        ("app.example:8443", "https://app.example:8443", true),
        ("app.example:8443", "http://app.example:8443", true),
        ("app.example:8443", "https://app.example", false),
        ("app.example", "https://app.example", true),
        ("app.example", "http://app.example", true),
        ("app.example", "http://app.example:8080", false),
        ("app.example", "capacitor://app.example", false),
        ("[::1]:80", "http://[::1]", true),
        ("null", "null", true),
        ("null", "http://null", false),
        ("chrome-extension://abc", "chrome-extension://abc", true),
        ("chrome-extension://abc", "chrome-extension://abd", false),
        ("file://", "file://", true),
        ("file://", "file:///x", false),
        ("app://", "app://", true),
        ("content://", "content://", true),
        ("content://", "content://x", false),
    ];
    for (entry, origin, allowed) in cases {
        // The Host does not belong to the server: a listed origin is accepted with any Host.
        let outcome = checked(
            &policy(&["x.example", entry], &[], true),
            "proxied.example",
            origin,
        );
        assert_eq!(
            outcome.is_ok(),
            allowed,
            "--origin={entry} and {origin}: {outcome:?}"
        );
    }
}

#[test]
fn any_origin_accepts_every_origin() {
    let policy = Policy::new(vec![], true, vec![], "box".to_owned(), true).unwrap();
    for origin in ["http://evil.example", "null", "rubbish"] {
        assert_eq!(
            checked(&policy, "other.example", origin),
            Ok(()),
            "{origin}"
        );
    }
}

#[test]
fn the_host_must_be_a_name_of_the_server() {
    // The Host, and whether it belongs to the server: on any address, and on loopback only.
    let cases = [
        ("localhost:8080", true, true),
        ("LocalHost.", true, true),
        ("app.localhost", true, true),
        (".localhost", false, false),
        ("notlocalhost", false, false),
        ("localhost.evil.example", false, false),
        ("box", true, true),
        ("BOX.local:8080", true, true),
        ("box.local.evil.example", false, false),
        ("box.evil.example", false, false),
        ("box2", false, false),
        (".local", false, false),
        ("allowed.example", true, true),
        ("Allowed.Example.:9", true, true),
        ("x.allowed.example", false, false),
        ("evil.example", false, false),
        ("127.0.0.1:8080", true, true),
        ("127.9.9.9", true, true),
        ("[::1]:8080", true, true),
        ("[::ffff:127.0.0.1]", true, true),
        ("192.168.1.5", true, false),
        ("10.0.0.7", true, true),
        ("[2001:db8::7]", true, true),
        ("0.0.0.0", true, false),
        ("[2001:db8::1]", true, false),
        ("2130706433", false, false),
    ];
    let allow_hosts = ["allowed.example", "10.0.0.7", "2001:db8::7"];
    for (host, own, own_on_loopback) in cases {
        for (loopback_only, allowed) in [(false, own), (true, own_on_loopback)] {
            let policy = policy(&[], &allow_hosts, loopback_only);
            let same_origin = format!("http://{host}");
            let outcome = checked(&policy, host, &same_origin);
            assert_eq!(
                outcome.is_ok(),
                allowed,
                "{host}, {loopback_only}: {outcome:?}"
            );
            if let Err(refusal) = outcome {
                assert_eq!(refusal.status, Status::Forbidden, "{host}");
                assert!(refusal.reason.contains("--allow-host="), "{refusal:?}");
            }
            // A handshake without Origin must obey the rule on loopback only.
            let outcome = checked(&policy, host, "");
            assert_eq!(
                outcome.is_ok(),
                allowed || !loopback_only,
                "{host}: {outcome:?}"
            );
            // A plain request must obey it, with and without Origin.
            for origin in [&same_origin, ""] {
                let outcome = page_checked(&policy, host, origin);
                assert_eq!(outcome.is_ok(), allowed, "{host}, {origin}: {outcome:?}");
            }
        }
    }
}

#[test]
fn a_qualified_machine_name_is_also_a_local_name() {
    let policy = |name: &str| Policy::new(vec![], false, vec![], name.to_owned(), true).unwrap();
    let qualified = policy("box.example.org");
    for (host, own) in [
        ("box.example.org", true),
        ("box.local", true),
        ("box.example.org.local", true),
        ("box", false),
        ("example.org", false),
    ] {
        assert_eq!(checked(&qualified, host, "").is_ok(), own, "{host}");
    }
    for (name, host) in [("", ".local"), (".", "x.local"), ("", "local")] {
        assert!(
            checked(&policy(name), host, "").is_err(),
            "{name:?}, {host}"
        );
    }
}

#[test]
fn a_request_without_host_and_origin_is_accepted() {
    let head = b"GET / HTTP/1.0\r\n\r\n";
    let request = Request::parse(head, 16).unwrap();
    for loopback_only in [true, false] {
        let policy = policy(&[], &[], loopback_only);
        assert_eq!(policy.check_host(&request, None), Ok(()));
        assert_eq!(policy.check_page_host(&request, None), Ok(()));
    }
}

#[test]
fn two_origin_fields_get_400() {
    let outcome = checked(
        &policy(&["null"], &[], false),
        "box",
        "null\r\nOrigin: null",
    );
    assert_eq!(outcome.unwrap_err().status, Status::BadRequest);
}

#[test]
fn a_refusal_names_what_was_compared_and_the_option() {
    let policy = policy(&[], &[], true);
    #[rustfmt::skip]
    let cases = [
        ("localhost:8080", "https://app.example:1", "Origin \"https://app.example:1\" is not at the Host \"localhost:8080\"; to allow it, start wspipe with --origin=https://app.example:1"),
        ("localhost:8080", "null", "Origin \"null\" is not at the Host \"localhost:8080\"; to allow it, start wspipe with --origin=null"),
        ("localhost", "http://a;reboot", "Origin \"http://a;reboot\" is not scheme://host or scheme://host:port, as every browser sends it: correct it or leave it out; only --origin=any, which lets every page connect, accepts it"),
        ("localhost", "http://[::2]:80", "Origin \"http://[::2]:80\" is not at the Host \"localhost\"; to allow it, start wspipe with --origin='http://[::2]:80'"),
        ("app.example:8443", "https://app.example:8443", "Host \"app.example:8443\" is not a name of this server; if it should be one, start wspipe with --allow-host=app.example"),
        ("[fd00::1]:8080", "", "Host \"[fd00::1]:8080\" is not a loopback address, which is all that this server listens on; if it should be one, start wspipe with --allow-host=fd00::1"),
        ("[fd00::1]", "", "Host \"[fd00::1]\" is not a loopback address, which is all that this server listens on; if it should be one, start wspipe with --allow-host=fd00::1"),
    ];
    for (host, origin, reason) in cases {
        assert_eq!(checked(&policy, host, origin).unwrap_err().reason, reason);
    }
}

#[test]
fn no_refusal_repeats_the_query_the_fragment_or_the_user_of_an_origin() {
    for origin in [
        "https://u:secret@app.example",
        "https://app.example/a?secret",
        "https://app.example#secret",
        "u:secret@app.example",
    ] {
        let refusal = checked(&policy(&[], &[], true), "localhost", origin).unwrap_err();
        assert!(!refusal.reason.contains("secret"), "{refusal:?}");
        assert!(refusal.reason.contains("app.example"), "{refusal:?}");
    }
}

#[test]
fn an_error_names_the_invalid_entry_and_its_option() {
    let origins = [
        "",
        "*",
        "*.example",
        "https://",
        "https://a/b",
        "a/b",
        "http://a b",
        "file:",
        "a:x",
        "://a",
        ":80",
    ];
    for entry in origins {
        let policy = Policy::new(vec![entry.to_owned()], false, vec![], String::new(), true);
        let line = policy.expect_err(entry);
        assert!(
            line.starts_with(&format!("--origin={entry}: an origin is")),
            "{line}"
        );
    }
    for entry in ["", "*", "any", "a:80", "a:", "http://a", "[::1]:80", "a/b"] {
        let policy = Policy::new(vec![], false, vec![entry.to_owned()], String::new(), true);
        let line = policy.expect_err(entry);
        assert!(
            line.starts_with(&format!("--allow-host={entry}: ")),
            "{line}"
        );
    }
}

#[test]
fn localhost_is_no_name_of_a_server_that_does_not_have_all_of_it() {
    // The Host, whether it stays the server's on any address and on loopback only, and the URL that
    // the refusal names.
    let cases = [
        ("localhost:8080", false, false, "http://127.0.0.1:8080/"),
        ("LOCALHOST.", false, false, "http://127.0.0.1/"),
        ("app.localhost:80", false, false, "http://127.0.0.1:80/"),
        ("box:8080", true, false, "http://127.0.0.1:8080/"),
        ("box.local:8080", true, false, "http://127.0.0.1:8080/"),
        ("127.0.0.1:8080", true, true, ""),
        ("[::1]:8080", true, true, ""),
        ("allowed.localhost:8080", true, true, ""),
        ("evil.example", false, false, "--allow-host=evil.example"),
    ];
    for (host, own, own_on_loopback, remedy) in cases {
        for (loopback_only, allowed) in [(false, own), (true, own_on_loopback)] {
            let mut policy = policy(&[], &["allowed.localhost"], loopback_only);
            policy.share_localhost("127.0.0.1".parse().unwrap());
            for origin in [format!("http://{host}"), String::new()] {
                let outcome = checked(&policy, host, &origin);
                let is_checked = loopback_only || !origin.is_empty();
                assert_eq!(
                    outcome.is_ok(),
                    allowed || !is_checked,
                    "{host}, {loopback_only}, {origin:?}: {outcome:?}"
                );
                if let Err(refusal) = outcome {
                    assert_eq!(refusal.status, Status::Forbidden, "{host}");
                    assert!(refusal.reason.contains(remedy), "{refusal:?}");
                }
            }
        }
    }
    let mut policy = policy(&[], &[], true);
    policy.share_localhost("::1".parse().unwrap());
    for (host, url) in [
        ("localhost", "http://[::1]/,"),
        ("localhost:8080", "http://[::1]:8080/,"),
    ] {
        let refusal = checked(&policy, host, "").unwrap_err();
        assert!(refusal.reason.contains(url), "{refusal:?}");
    }
}
