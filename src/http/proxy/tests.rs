use super::*;

fn networks(text: &str) -> Vec<Network> {
    let networks = text.split_ascii_whitespace();
    networks.map(|text| Network::parse(text).unwrap()).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn proxies(text: &str, header: Option<ProxyHeader>) -> Proxies {
    Proxies::new(networks(text), header)
}

/// The result of these header lines, from a peer at 10.0.0.1 with 10.0.0.0/8 and fd00::/8 trusted.
/// The client of a refused request is `400`.
fn read(header: Option<ProxyHeader>, lines: &[&str]) -> (String, Option<bool>) {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let request = Request::parse(head.as_bytes(), 64).unwrap();
    let proxies = proxies("10.0.0.0/8 fd00::/8", header);
    match proxies.read(&request, ip("10.0.0.1")) {
        Ok(Forwarded { client, https }) => (
            client.map_or("-".to_owned(), |client| client.to_string()),
            https,
        ),
        Err(refusal) => (refusal.status.code().to_string(), None),
    }
}

fn forwarded(lines: &[&str]) -> (String, Option<bool>) {
    read(None, lines)
}

#[test]
fn the_headers_of_an_untrusted_peer_are_ignored() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n";
    let request = Request::parse(head, 64).unwrap();
    for (trusted, counts) in [("", false), ("10.0.0.2", false), ("10.0.0.1 ::1", true)] {
        let forwarded = proxies(trusted, None).read(&request, ip("10.0.0.1"));
        assert_eq!(forwarded.unwrap().client.is_some(), counts, "{trusted}");
    }
}

#[test]
fn the_client_is_the_rightmost_address_that_is_not_a_trusted_proxy() {
    let none = "400";
    #[rustfmt::skip]
    let cases: &[(&str, &str)] = &[
        ("X-Forwarded-For: 9.9.9.9", "9.9.9.9"),
        ("X-Forwarded-For: 8.8.8.8, 9.9.9.9", "9.9.9.9"),
        ("X-Forwarded-For: 8.8.8.8, 9.9.9.9, 10.0.0.7", "9.9.9.9"),
        ("X-Forwarded-For: 8.8.8.8\r\nX-Forwarded-For: 9.9.9.9,10.0.0.7", "9.9.9.9"),
        ("X-Forwarded-For: 10.0.0.9, 10.0.0.7", "10.0.0.9"),
        ("X-Forwarded-For: 9.9.9.9:1234", "9.9.9.9:1234"),
        ("X-Forwarded-For: 2001:db8::9", "2001:db8::9"),
        ("X-Forwarded-For: [2001:db8::9]", "2001:db8::9"),
        ("X-Forwarded-For: [2001:db8::9]:80", "[2001:db8::9]:80"),
        ("X-Forwarded-For: ::ffff:9.9.9.9", "9.9.9.9"),
        ("X-Forwarded-For: 8.8.8.8, fd00::7", "8.8.8.8"),
        ("X-Forwarded-For: nonsense, 9.9.9.9", "9.9.9.9"),
        ("X-Forwarded-For: 9.9.9.9, nonsense", none),
        ("X-Forwarded-For: 9.9.9.9, nonsense, 10.0.0.7", none),
        ("X-Forwarded-For: unknown", none),
        ("X-Forwarded-For: 9.9.9.9;", none),
        ("X-Forwarded-For: \u{fc}", none),
        ("X-Forwarded-For:", none),
        ("Forwarded: for=9.9.9.9", "9.9.9.9"),
        ("Forwarded: For=\"9.9.9.9\"", "9.9.9.9"),
        ("Forwarded: for=9.9.9.9:81", "9.9.9.9:81"),
        ("Forwarded: for=\"[2001:db8::9]:4711\"", "[2001:db8::9]:4711"),
        ("Forwarded: for=\"[2001:db8::9]\"", "2001:db8::9"),
        ("Forwarded: for=\"9.9.9.9:_port\"", "9.9.9.9"),
        ("Forwarded: for=8.8.8.8, for=9.9.9.9;by=10.0.0.7, for=10.0.0.7", "9.9.9.9"),
        ("Forwarded: for=8.8.8.8\r\nForwarded: for=9.9.9.9", "9.9.9.9"),
        ("Forwarded: by=\"a,b;c\\\"d\" ; for=9.9.9.9 ,, ", "9.9.9.9"),
        ("Forwarded: for=unknown", none),
        ("Forwarded: for=_hidden", none),
        ("Forwarded: for=9.9.9.9, by=10.0.0.7", none),
        ("Forwarded: for=9.9.9.9;for=8.8.8.8", none),
        ("Forwarded: for = 9.9.9.9", none),
        ("Forwarded: for=9.9.9.9 x", none),
        ("Forwarded: 9.9.9.9", none),
        ("Forwarded: =9.9.9.9", none),
        ("Forwarded: for=\"9.9.9.9", none),
        ("Forwarded: for=\"9.9.9.9\\", none),
        ("Forwarded: for=9.9\"9.9", none),
        ("Forwarded: for=8.8.8.8;x=\", for=9.9.9.9", none),
        ("Forwarded: for=8.8.8.8;x=\", for=\"[2001:db8::9]\"", none),
        ("Forwarded: for=8.8.8.8;x=\"\r\nForwarded: for=9.9.9.9", "9.9.9.9"),
        ("Forwarded: for=8.8.8.8\r\nForwarded: for=\"9.9.9.9", none),
        ("Forwarded: for=8.8.8.8;x=a\"b, for=9.9.9.9", none),
        ("Forwarded: ,;,", none),
        ("Forwarded:", none),
        ("X-Real-IP: 9.9.9.9", none),
    ];
    for (lines, expected) in cases {
        assert_eq!(forwarded(&[lines]).0, *expected, "{lines}");
    }
}

#[test]
fn the_scheme_is_that_of_the_clients_hop() {
    #[rustfmt::skip]
    let cases: &[(&[&str], Option<bool>)] = &[
        (&["X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: https"], Some(true)),
        (&["X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: HTTP"], Some(false)),
        (&["X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: wss"], Some(true)),
        (&["X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: ftp"], None),
        (&["X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: https, http"], None),
        (&["X-Forwarded-For: 8.8.8.8, 9.9.9.9", "X-Forwarded-Proto: https"], Some(true)),
        (&["X-Forwarded-For: 9.9.9.9, 10.0.0.7", "X-Forwarded-Proto: https, http"], Some(true)),
        (&["X-Forwarded-For: 8.8.8.8, 9.9.9.9", "X-Forwarded-Proto: https, http"], Some(false)),
        (&["X-Forwarded-For: 1.1.1.1, 8.8.8.8, 9.9.9.9", "X-Forwarded-Proto: https, http"], None),
        (&["Forwarded: for=9.9.9.9;proto=https"], Some(true)),
        (&["Forwarded: for=9.9.9.9;proto=https, for=10.0.0.7;proto=http"], Some(true)),
        (&["Forwarded: for=8.8.8.8;proto=https, for=9.9.9.9;proto=http"], Some(false)),
        (&["Forwarded: for=9.9.9.9"], None),
    ];
    for (lines, expected) in cases {
        assert_eq!(forwarded(lines).1, *expected, "{lines:?}");
    }
}

#[test]
fn headers_that_contradict_each_other_get_400() {
    let agree = [
        "Forwarded: for=\"9.9.9.9:80\";proto=https",
        "X-Forwarded-For: 9.9.9.9",
        "X-Forwarded-Proto: https",
    ];
    assert_eq!(forwarded(&agree), ("9.9.9.9:80".to_owned(), Some(true)));
    // A proxy that writes one kind forwards the other as the client forged it.
    let forged: [&[&str]; 8] = [
        &[
            "Forwarded: for=8.8.8.8;proto=https",
            "X-Forwarded-For: 9.9.9.9",
        ],
        &["Forwarded: for=127.0.0.1", "X-Forwarded-For: 9.9.9.9"],
        &[
            "Forwarded: for=9.9.9.9;proto=https",
            "X-Forwarded-For: 9.9.9.9",
        ],
        &[
            "Forwarded: for=9.9.9.9",
            "X-Forwarded-For: 9.9.9.9",
            "X-Forwarded-Proto: https",
        ],
        &["Forwarded: for=9.9.9.9", "X-Forwarded-Proto: https"],
        &["Forwarded: for=\"", "X-Forwarded-For: 9.9.9.9"],
        &["Forwarded: by=9.9.9.9", "X-Forwarded-For: 9.9.9.9"],
        &["Forwarded:", "X-Forwarded-For: 9.9.9.9"],
    ];
    for lines in forged {
        assert_eq!(forwarded(lines), ("400".to_owned(), None), "{lines:?}");
    }
}

#[test]
fn headers_without_a_client_get_400_and_no_headers_are_the_proxy_itself() {
    for lines in [
        &["X-Forwarded-Proto: https"][..],
        &["Forwarded: proto=https"],
        &["X-Real-IP: 9.9.9.9"],
    ] {
        assert_eq!(forwarded(lines), ("400".to_owned(), None), "{lines:?}");
    }
    assert_eq!(forwarded(&["X-Forwarded-Host: a"]), ("-".to_owned(), None));
}

#[test]
fn only_the_header_that_is_named_is_believed() {
    use ProxyHeader::{Forwarded, XForwarded, XRealIp};
    let all = [
        "Forwarded: for=1.1.1.1;proto=https",
        "X-Forwarded-For: 2.2.2.2",
        "X-Real-IP: 3.3.3.3",
    ];
    let cases: [(ProxyHeader, &[&str], &str, Option<bool>); 10] = [
        (Forwarded, &all, "1.1.1.1", Some(true)),
        (XForwarded, &all, "2.2.2.2", None),
        (XRealIp, &all, "3.3.3.3", None),
        (XForwarded, &["Forwarded: for=\"", all[1]], "2.2.2.2", None),
        (XRealIp, &["X-Real-IP: [::1]"], "::1", None),
        (XRealIp, &[all[2], "X-Real-IP: 4.4.4.4"], "400", None),
        (XRealIp, &["X-Real-IP: 3.3.3.3, 4.4.4.4"], "400", None),
        (XRealIp, &all[..2], "400", None),
        (Forwarded, &all[1..], "400", None),
        (Forwarded, &[], "-", None),
    ];
    for (header, lines, client, https) in cases {
        let expected = (client.to_owned(), https);
        assert_eq!(read(Some(header), lines), expected, "{header:?} {lines:?}");
    }
}

#[test]
fn random_header_text_does_not_panic() {
    let pieces = [
        "for", "=", "\"", "\\", ",", ";", " ", "[", "::1", "]", ":", "é", "9.9.9.9",
    ];
    let mut seed = 88_172_645_463_325_252_u64;
    for _ in 0..20_000 {
        let mut line = String::new();
        for _ in 0..seed % 9 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            line.push_str(pieces[(seed % pieces.len() as u64) as usize]);
        }
        seed = seed.wrapping_add(1);
        parse_elements(line.as_bytes());
        parse_node(line.as_bytes());
        let _ = Network::parse(&line);
    }
}
