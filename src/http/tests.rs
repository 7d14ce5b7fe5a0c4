//! The work for a request is in proportion to its bytes, whatever they are: a head that takes quadratic
//! time would stop the loop for all clients.

use std::time::{Duration, Instant};

use super::answer::{Site, answer};
use super::console_config::ConsoleConfig;
use super::date::HttpDate;
use super::policy::{Page, Policy};
use super::proxy::{Network, Proxies};
use super::request::Request;
use super::routes::{DirEntry, Router, Routes, Service};
use super::{handshake, resume};

/// The shortest time that `work` took in a few runs.
fn time_of(mut work: impl FnMut()) -> Duration {
    let mut measure = || {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..3).map(|_| measure()).min().unwrap()
}

/// Asserts that `work` on a large input takes at most `factor` times as long as on a small one.
/// Another program may take the processor during a measurement, so a bad result is measured again.
#[track_caller]
fn expect_times(factor: u32, what: &str, mut small: impl FnMut(), mut large: impl FnMut()) {
    let mut times = (Duration::MAX, Duration::MAX);
    for _ in 0..20 {
        times.0 = times.0.min(time_of(&mut small));
        times.1 = times.1.min(time_of(&mut large));
        if times.1 <= factor * times.0 {
            return;
        }
    }
    panic!("{what}: {times:?} for the small and the large one");
}

fn site(routes: Routes, origins: &[&str]) -> Site {
    let origins = origins.iter().map(|&it| it.to_owned()).collect();
    Site {
        router: Router::Routes(routes),
        console: ConsoleConfig {
            command_names: vec![],
            binary: false,
            json: false,
            resume: None,
        },
        subprotocols: vec!["chat".to_owned()],
        policy: Policy::new(origins, false, vec![], "box".to_owned(), false).unwrap(),
        proxies: Proxies::new(vec![Network::parse("10.0.0.0/8").unwrap()], None),
    }
}

/// Does with a head what the server does.
fn handle(head: &[u8], site: &Site) {
    const DATE: HttpDate = HttpDate::since_1970(Duration::ZERO);
    let Ok(request) = Request::parse(head, 16) else {
        return;
    };
    let look_up = &mut |_: &str| DirEntry::Directory;
    let peer = [10, 0, 0, 1].into();
    let _ = answer(&request, peer, site, look_up, DATE, &mut Vec::new());
    let _ = handshake::check(&request);
    let _ = resume::resume_request(&request);
}

#[test]
fn a_head_takes_time_in_proportion_to_its_length() {
    const LEN: usize = 8 * 1024;
    let echo = site(Routes::everywhere(Service::Echo), &["https://app.example"]);
    let directory = site(Routes::new(vec![], true), &[]);
    let pieces: &[(&str, &[&str])] = &[
        (
            "Forwarded",
            &[
                ",", ";", " ", "=", "a", "a=b,", "a=b;", "a=\"b\",", "\"", "\\", "for=::1,", ",a",
                "a=\"\\\"", "a=\",",
            ],
        ),
        ("X-Forwarded-For", &[",", ";", ":", "[", "::1,", "a,"]),
        ("X-Forwarded-For: ::1\r\nX-Forwarded-Proto", &[",", "a,"]),
        ("X-Real-IP", &[":", "1.", "["]),
        ("Connection", &[",", "a,", "\""]),
        ("Sec-WebSocket-Protocol", &[",", "a,", "wspipe.session.,"]),
        (
            "Sec-WebSocket-Extensions",
            &[",", ";", "=", "a;", "a,", "a;b=\"", "\\", "a;b=c,", "\""],
        ),
        ("Origin", &[":", "/", ".", "a", "https://", "@", "["]),
    ];
    let head = |target: &str, field: &str, value: &str| {
        format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\n{field}: {value}\r\n\r\n"
        )
    };
    let long = |piece: &str, len: usize| piece.repeat(len.div_ceil(piece.len()));
    for (field, pieces) in pieces {
        for piece in *pieces {
            let head = |len| head("/x", field, &long(piece, len));
            let (small, large) = (head(LEN), head(8 * LEN));
            // A byte may cost three times as much.
            expect_times(
                3 * 8,
                &format!("{field}: {piece:?}"),
                || handle(small.as_bytes(), &echo),
                || handle(large.as_bytes(), &echo),
            );
        }
    }
    for piece in ["/", "%", "%2F", "?", "@", ":", "a", "#", "/%61"] {
        for start in ["/", "http://"] {
            let head = |len| head(&format!("{start}{}", long(piece, len)), "X", "");
            let (small, large) = (head(LEN), head(8 * LEN));
            expect_times(
                3 * 8,
                &format!("{start}{piece}"),
                || handle(small.as_bytes(), &directory),
                || handle(large.as_bytes(), &directory),
            );
        }
    }
}

#[test]
fn an_origin_is_read_once_for_all_entries() {
    let head = format!(
        "GET / HTTP/1.1\r\nHost: box\r\nOrigin: https://{}\r\n\r\n",
        "a".repeat(60_000)
    );
    let request = Request::parse(head.as_bytes(), 16).unwrap();
    let check = |policy: &Policy| {
        let page = Page::of(&request).unwrap();
        policy.check_host(&request, page.as_ref()).unwrap();
        let checked = policy.check_origin(&request, page.as_ref(), None);
        assert!(checked.is_err(), "it is not listed");
    };
    let policy = |entries: usize| {
        let origins = vec!["https://app.example"; entries];
        site(Routes::new(vec![], true), &origins).policy
    };
    let (one, many) = (policy(1), policy(100));
    expect_times(4, "100 entries", || check(&one), || check(&many));
}
