//! How the server handles an accepted request: who may connect, which client address it believes,
//! the session and the program that the request names, and the environment of the command.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;

use wspipe::http::path::Path;
use wspipe::http::percent;
use wspipe::http::policy::{Page, Policy};
use wspipe::http::proxy::{Forwarded, Network, Proxies};
use wspipe::http::request::Request;
use wspipe::http::resume;
use wspipe::http::routes::{DirEntry, Routes};
use wspipe::process::environment::{self, Gateway};

/// `head` is the head of `request`.
pub fn check(head: &[u8], request: &Request<'_>) {
    check_policy(request);
    check_forwarded(head, request);
    check_session(request);
    check_path(request.path);
    check_environment(request);
}

fn all<'a>(request: &Request<'a>, name: &str) -> Vec<&'a [u8]> {
    let named = |field: &(&str, &[u8])| field.0.eq_ignore_ascii_case(name);
    (request.headers().filter(named).map(|field| field.1)).collect()
}

// -- Who may connect ---------------------------------------------------------------------------------

/// A page may connect only from the address that it names in `Host`, and only names that belong to
/// the server count as its own. This repeats the rule in a different form.
fn check_policy(request: &Request<'_>) {
    let policy = |loopback_only| {
        let host_name = "box.example".to_owned();
        Policy::new(vec![], false, vec![], host_name, loopback_only).expect("a policy")
    };
    let origins = all(request, "Origin");
    let (name, port) = parse_authority(request.host.text).expect("the parser accepted it");
    let is_own = |loopback_only: bool| match address(&name) {
        Some(ip) => !loopback_only || ip.to_canonical().is_loopback(),
        None => {
            let labels: Vec<&str> = name.split('.').collect();
            matches!(
                labels[..],
                ["localhost"] | ["box", "example" | "local"] | ["box", "example", "local"]
            ) || labels.len() > 1 && labels.ends_with(&["localhost"]) && name != ".localhost"
        }
    };
    // `https`: the scheme that a trusted proxy reports.
    let is_same = |origin: &[u8], https: Option<bool>| {
        let origin = std::str::from_utf8(origin).ok()?.to_ascii_lowercase();
        let (scheme, authority) = origin.split_once("://")?;
        let default = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let (origin_name, origin_port) = parse_authority(authority)?;
        let same_name = match (address(&origin_name), address(&name)) {
            (None, None) => origin_name == name && !name.is_empty(),
            (one, other) => one == other,
        };
        let same_port = origin_port.unwrap_or(default) == port.unwrap_or(default);
        let same_scheme = https.is_none_or(|https| https == (scheme == "https"));
        Some(same_name && same_port && same_scheme)
    };
    for (loopback_only, https) in [false, true]
        .map(|it| [None, Some(false), Some(true)].map(|https| (it, https)))
        .concat()
    {
        let expected = match origins[..] {
            [] => !loopback_only || request.host.text.is_empty() || is_own(true),
            [origin] => is_own(loopback_only) && is_same(origin, https) == Some(true),
            _ => false,
        };
        let policy = policy(loopback_only);
        let checked = Page::of(request).and_then(|page| {
            policy.check_host(request, page.as_ref())?;
            policy.check_origin(request, page.as_ref(), https)
        });
        let plain = Page::of(request)
            .and_then(|page| policy.check_page_host(request, page.as_ref()))
            .is_ok();
        let expected_plain = match origins[..] {
            [] => request.host.text.is_empty() || is_own(loopback_only),
            [_] => is_own(loopback_only),
            _ => false,
        };
        assert_eq!(
            plain, expected_plain,
            "a page, loopback only: {loopback_only}"
        );
        let accepted = checked.is_ok();
        assert_eq!(
            accepted, expected,
            "loopback only: {loopback_only}, https: {https:?}"
        );
    }
}

/// The name of an authority in lower case, without a final dot and with the brackets of an address;
/// and its port.
fn parse_authority(authority: &str) -> Option<(String, Option<u16>)> {
    let authority = authority.to_ascii_lowercase();
    let port_at = match authority.rfind(']') {
        Some(end) => end + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (name, port) = authority.split_at(port_at);
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        Some("") => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok()?)
        }
        _ => return None,
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if name.starts_with('[') {
        address(name)?;
        return Some((name.to_owned(), port));
    }
    let bare = name.strip_suffix('.').unwrap_or(name);
    name.bytes().all(plain).then(|| (bare.to_owned(), port))
}

fn address(name: &str) -> Option<IpAddr> {
    match name.strip_prefix('[') {
        Some(rest) => Some(rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.into()),
        None => Some(name.parse::<Ipv4Addr>().ok()?.into()),
    }
}

// -- The client's address --------------------------------------------------------------------------

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// The client's address must come from the trusted proxy's own entry, for any header that the
/// client sends.
fn check_forwarded(head: &[u8], request: &Request<'_>) {
    let network = Network::parse("10.0.0.0/8").expect("a network");
    let proxies = Proxies::new(vec![network], None);
    let stranger = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let none = proxies.read(request, stranger);
    assert_eq!(
        none,
        Ok(Forwarded::default()),
        "an untrusted peer is believed"
    );
    let _ = proxies.read(request, PROXY);
    for (field, added, certain) in [
        // In a line of its own, earlier lines cannot change its meaning.
        ("X-Forwarded-For", "203.0.113.9", true),
        ("Forwarded", "for=203.0.113.9;proto=http", true),
        ("Forwarded", "for=\"203.0.113.9:80\";by=_x", true),
        // A line that violates the grammar is refused as a whole.
        ("X-Forwarded-For", "203.0.113.9", false),
        ("Forwarded", "for=203.0.113.9", false),
        ("Forwarded", "for=203.0.113.9;host=\"a\"", false),
    ] {
        let mut lines: Vec<Vec<u8>> = Vec::new();
        for line in head[..head.len() - 4].split(|&byte| byte == b'\n') {
            lines.push(line.strip_suffix(b"\r").unwrap_or(line).to_vec());
        }
        let of_field = |line: &&mut Vec<u8>| {
            let start = [field.as_bytes(), b":"].concat();
            line.len() >= start.len() && line[..start.len()].eq_ignore_ascii_case(&start)
        };
        // A field of the other kind, which this proxy would pass on, could contradict it.
        let other = if field == "Forwarded" {
            &b"x-forwarded-"[..]
        } else {
            b"forwarded:"
        };
        lines.retain(|line| !line.to_ascii_lowercase().starts_with(other));
        match lines.iter_mut().rev().find(of_field) {
            Some(line) if !certain => line.extend([b", ", added.as_bytes()].concat()),
            _ => lines.push(format!("{field}: {added}").into_bytes()),
        }
        lines.extend([vec![], vec![]]);
        let lines = lines.join(&b"\r\n"[..]);
        let longer = Request::parse(&lines, 64).expect("the head with one more field");
        // The proxy's own address is never taken for the client's.
        match proxies.read(&longer, PROXY).map(|it| it.client) {
            Ok(client) => {
                let ip = client.map(|client| client.ip.to_string());
                assert_eq!(
                    ip.as_deref(),
                    Some("203.0.113.9"),
                    "{}",
                    lines.escape_ascii()
                );
            }
            Err(_) => assert!(!certain, "{}", lines.escape_ascii()),
        }
    }
}

// -- The session that it names
// --------------------------------------------------------------------------

fn check_session(request: &Request<'_>) {
    let offers = all(request, "Sec-WebSocket-Protocol").join(&b","[..]);
    let expected = (offers.split(|&byte| byte == b',')).find_map(|offer| {
        let offer = std::str::from_utf8(offer.trim_ascii()).ok()?;
        let ["wspipe", "session", token, received] = offer.split('.').collect::<Vec<_>>()[..]
        else {
            return None;
        };
        let digits = received.bytes().all(|byte| byte.is_ascii_digit());
        let hexadecimal = token.bytes().all(|byte| byte.is_ascii_hexdigit());
        let good = token.len() == 32 && hexadecimal && digits;
        Some((received.parse().ok().filter(|_| good)?, offer))
    });
    let found = resume::resume_request(request).map(|it| (it.received, it.protocol));
    assert_eq!(found, expected);
    if let Some((_, protocol)) = found {
        assert!(
            resume::is_session_protocol(protocol.as_bytes()),
            "the session token is not recognized as a secret"
        );
    }
}

// -- The program that its path names
// --------------------------------------------------------------------

fn check_path(path: &str) {
    let encoded: String = path.bytes().map(|byte| format!("%{byte:02X}")).collect();
    assert_eq!(percent::decode(&encoded), path.as_bytes());
    let mut parts = path.split('%');
    let mut decoded = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part
            .get(..2)
            .filter(|digits| digits.bytes().all(|it| it.is_ascii_hexdigit()));
        match digits.map(|digits| u8::from_str_radix(digits, 16).expect("two digits")) {
            Some(byte) => decoded.extend([&[byte], &part.as_bytes()[2..]].concat()),
            None => decoded.extend([b"%", part.as_bytes()].concat()),
        }
    }
    assert_eq!(percent::decode(path), decoded);
    // Each name that is looked up is below the directory, one level deeper each time.
    let mut depth = 0;
    let found = Routes::new(vec![], true).find(&Path::decode(path), &mut |name| {
        depth += 1;
        let segments: Vec<&str> = name.split('/').collect();
        assert_eq!(segments.len(), depth, "{name}");
        for segment in segments {
            assert!(!segment.is_empty() && !segment.starts_with('.'), "{name}");
            assert!(!segment.contains('\0'), "{name}");
        }
        DirEntry::Directory
    });
    assert_eq!(found, None, "a directory is not a program");
}

// -- The environment of its command ------------------------------------------------------------------

fn check_environment(request: &Request<'_>) {
    if request.path.is_empty() {
        return;
    }
    let gateway = Gateway {
        script_name: "",
        client: SocketAddr::new(PROXY, 50_000).into(),
        local: SocketAddr::new(PROXY, 8080),
        unique_id: "1-2-3",
        https: None,
    };
    let variables = environment::for_request(request, &gateway, &[], &[], |_| None);
    for (name, value) in &variables {
        let name = name.to_str().expect("ASCII");
        let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(!name.is_empty() && name.bytes().all(plain), "{name}");
        assert!(
            environment::is_request_variable(name),
            "{name} is not recognized as a request variable"
        );
        let is_secret = matches!(name, "HTTP_AUTHORIZATION" | "HTTP_PROXY_AUTHORIZATION");
        assert!(!is_secret, "{name} is passed");
        assert!(!value.as_bytes().contains(&0), "a NUL in {name}");
        let in_lines = name.starts_with("HTTP_") && value.as_bytes().contains(&b'\n');
        assert!(!in_lines, "a line feed in {name}");
    }
    let value = |name: &str| {
        let found = variables.iter().find(|variable| variable.0 == name);
        found.map(|variable| variable.1.as_os_str())
    };
    let path = percent::decode(request.path);
    assert_eq!(value("PATH_INFO"), Some(OsStr::from_bytes(&path)));
    assert_eq!(value("HTTP_HOST"), Some(OsStr::new(request.host.text)));
    let protocols = value("HTTP_SEC_WEBSOCKET_PROTOCOL").unwrap_or_default();
    let mut protocols = protocols.as_bytes().split(|&byte| byte == b',');
    assert!(!protocols.any(|name| resume::is_session_protocol(name.trim_ascii())));
}
