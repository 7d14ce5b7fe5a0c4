use super::super::proxy::Network;
use super::super::routes::{DirEntry, Routes, Service};
use super::*;

const DATE: HttpDate = HttpDate::since_1970(std::time::Duration::ZERO);

fn site(router: Router, loopback_only: bool) -> Site {
    Site {
        router,
        console: ConsoleConfig {
            command_names: vec!["sh".into()],
            binary: false,
            json: false,
            resume: None,
        },
        subprotocols: vec!["chat".to_owned()],
        policy: Policy::new(vec![], false, vec![], "box".to_owned(), loopback_only).unwrap(),
        proxies: Proxies::new(vec![Network::parse("10.0.0.1").unwrap()], None),
    }
}

fn command() -> Router {
    Router::Routes(Routes::everywhere(Service::Command(0)))
}

fn echo() -> Router {
    Router::Routes(Routes::everywhere(Service::Echo))
}

fn answered(site: &Site, head: &str) -> (Result<Answer, Refusal>, String) {
    answered_to([192, 0, 2, 1].into(), site, head)
}

fn answered_to(peer: IpAddr, site: &Site, head: &str) -> (Result<Answer, Refusal>, String) {
    let request = Request::parse(head.as_bytes(), 16).expect("a valid head");
    let mut out = Vec::new();
    let answer = answer(
        &request,
        peer,
        site,
        &mut |_| DirEntry::Nothing,
        DATE,
        &mut out,
    );
    if let Err(refusal) = &answer {
        assert!(out.is_empty(), "a refused request gets no other response");
        refusal.write(&mut out, DATE);
    }
    (answer, String::from_utf8(out).unwrap())
}

const DEMO: Router = Router::Demo { shell: true };
const NO_SHELL: Router = Router::Demo { shell: false };
const HOST: &str = "Host: localhost\r\n";
const UPGRADE: &str = "Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Version: 13\r\n";

#[test]
fn a_plain_request_gets_a_page_or_a_refusal() {
    #[rustfmt::skip]
    let cases = [
        ("the page", DEMO, "GET / HTTP/1.1", HOST, 200, true),
        ("the page with a query", DEMO, "GET /?lang=zh HTTP/1.1", HOST, 200, true),
        ("the page with a command", command(), "GET / HTTP/1.1", HOST, 200, true),
        ("the page with echo", echo(), "GET / HTTP/1.1", HOST, 200, true),
        ("the page for HTTP/1.0", DEMO, "GET / HTTP/1.0", "", 200, false),
        ("a file of the page", DEMO, "GET /.wspipe/console.js HTTP/1.1", HOST, 200, true),
        ("the configuration", DEMO, "GET /.wspipe/config.json HTTP/1.1", HOST, 200, true),
        ("HEAD", DEMO, "HEAD / HTTP/1.1", HOST, 200, true),
        ("absolute-form", DEMO, "GET http://localhost/ HTTP/1.1", "Host: evil.example\r\n", 200, true),
        ("absolute-form of another", DEMO, "GET http://evil.example/ HTTP/1.1", HOST, 403, true),
        ("asked to close", DEMO, "GET / HTTP/1.1", "Host: localhost\r\nConnection: close\r\n", 200, false),
        ("a body", DEMO, "GET / HTTP/1.1", "Host: localhost\r\nContent-Length: 5\r\n", 200, false),
        ("another upgrade", DEMO, "GET / HTTP/1.1", "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n", 200, true),
        ("health", DEMO, "GET /healthz HTTP/1.1", HOST, 200, true),
        ("health, encoded", DEMO, "GET /%68ealthz HTTP/1.1", "Host: evil.example\r\n", 200, true),
        ("the configuration, encoded", DEMO, "GET /.wspip%65/config%2Ejson HTTP/1.1", HOST, 200, true),
        ("a file, encoded", DEMO, "GET /%2ewspipe/console.js HTTP/1.1", HOST, 200, true),
        ("a slash, encoded", DEMO, "GET /.wspipe%2Fconsole.js HTTP/1.1", HOST, 404, true),
        ("echo without upgrade, encoded", DEMO, "GET /ech%6F HTTP/1.1", HOST, 426, true),
        ("health of any host", DEMO, "GET /healthz HTTP/1.1", "Host: evil.example\r\nOrigin: null\r\n", 200, true),
        ("another host", DEMO, "GET / HTTP/1.1", "Host: evil.example\r\n", 403, true),
        ("another host's configuration", DEMO, "GET /.wspipe/config.json HTTP/1.1", "Host: evil.example\r\n", 403, true),
        ("echo without upgrade", DEMO, "GET /echo HTTP/1.1", HOST, 426, true),
        ("echo with HEAD", DEMO, "HEAD /echo HTTP/1.1", HOST, 426, true),
        ("the shell without upgrade", DEMO, "GET /ws HTTP/1.1", HOST, 426, true),
        ("no shell", NO_SHELL, "GET /ws HTTP/1.1", HOST, 404, true),
        ("nothing there", DEMO, "GET /favicon.ico HTTP/1.1", HOST, 404, true),
        ("nothing there with a command", command(), "GET /x HTTP/1.1", HOST, 404, true),
        ("nothing there with echo", echo(), "GET /echo HTTP/1.1", HOST, 404, true),
        ("POST", DEMO, "POST / HTTP/1.1", HOST, 405, true),
        ("POST with a body", DEMO, "POST / HTTP/1.1", "Host: localhost\r\nContent-Length: 5\r\n", 405, false),
        ("OPTIONS *", DEMO, "OPTIONS * HTTP/1.1", HOST, 204, true),
        ("HAProxy's check", command(), "OPTIONS / HTTP/1.0", "", 204, false),
        ("OPTIONS of any host", DEMO, "OPTIONS /x HTTP/1.1", "Host: evil.example\r\n", 204, true),
        ("OPTIONS with a body", DEMO, "OPTIONS / HTTP/1.1", "Host: localhost\r\nContent-Length: 5\r\n", 204, false),
        ("CONNECT", DEMO, "CONNECT a:80 HTTP/1.1", HOST, 405, false),
        ("a method in small letters", DEMO, "get / HTTP/1.1", HOST, 501, true),
        ("an unknown method", DEMO, "BREW / HTTP/1.1", HOST, 501, true),
        ("POST of health", DEMO, "POST /healthz HTTP/1.1", HOST, 405, true),
    ];
    for (name, router, line, fields, code, keep_alive) in cases {
        let (answer, text) = answered(&site(router, true), &format!("{line}\r\n{fields}\r\n"));
        assert!(
            text.starts_with(&format!("HTTP/1.1 {code} ")),
            "{name}: {text}"
        );
        let close = match answer {
            Ok(Answer::Response { close }) => close,
            Err(refusal) => refusal.close,
            Ok(Answer::Upgrade { .. }) => panic!("{name}: a WebSocket"),
        };
        assert_eq!(close, !keep_alive, "{name}");
        let connection = text
            .lines()
            .find(|line| line.starts_with("Connection: "))
            .unwrap();
        assert_eq!(connection.ends_with("close"), close, "{name}: {connection}");
        assert_eq!(
            connection.contains("Upgrade"),
            code == 426,
            "{name}: {connection}"
        );
        assert_eq!(
            text.contains("\r\nAllow: GET, HEAD, OPTIONS\r\n"),
            code == 405 || code == 204,
            "{name}"
        );
        assert_eq!(text.contains("\r\nContent-Length: "), code != 204, "{name}");
        let body = text.split_once("\r\n\r\n").unwrap().1;
        assert_eq!(
            body.is_empty(),
            line.starts_with("HEAD") || code == 204,
            "{name}"
        );
    }
}

#[test]
fn beyond_loopback_a_page_is_for_names_of_the_server_only() {
    for (host, page) in [
        ("box", 200),
        ("192.0.2.1:8080", 200),
        ("[2001:db8::1]", 200),
        ("evil.example", 403),
    ] {
        #[rustfmt::skip]
        let cases = [
            ("GET / HTTP/1.1", page),
            ("HEAD / HTTP/1.1", page),
            ("GET /.wspipe/config.json HTTP/1.1", page),
            ("GET /.wspip%65/config.json HTTP/1.0", page),
            ("GET /.wspipe/words.js HTTP/1.1", page),
            ("GET /healthz HTTP/1.1", 200),
            ("OPTIONS / HTTP/1.1", 204),
        ];
        for (line, code) in cases {
            let head = format!("{line}\r\nHost: {host}\r\n\r\n");
            let (_, text) = answered(&site(command(), false), &head);
            let status = format!("HTTP/1.1 {code} ");
            assert!(text.starts_with(&status), "{line}, {host}: {text}");
            let remedy = text.contains("--allow-host=evil.example");
            assert_eq!(remedy, code == 403 && !line.starts_with("HEAD"), "{text}");
        }
    }
}

#[test]
fn the_health_check_answers_ok() {
    let (_, text) = answered(
        &site(DEMO, true),
        "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    assert!(text.ends_with("Content-Length: 3\r\n\r\nok\n"), "{text}");
}

#[test]
fn the_configuration_is_served_as_json() {
    let head = "GET /.wspipe/config.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let site = site(DEMO, true);
    let (_, text) = answered(&site, head);
    assert!(
        text.contains("\r\nContent-Type: application/json\r\n"),
        "{text}"
    );
    assert!(
        text.ends_with(&site.console.to_json(&site.router)),
        "{text}"
    );
}

#[test]
fn a_handshake_leads_to_its_service_or_a_refusal() {
    let echoes = || Ok(Service::Echo);
    let runs = || Ok(Service::Command(0));
    #[rustfmt::skip]
    let cases = [
        ("echo", DEMO, "GET /echo", UPGRADE, echoes()),
        ("echo with a query", DEMO, "GET /echo?x", UPGRADE, echoes()),
        ("the shell", DEMO, "GET /ws", UPGRADE, runs()),
        ("the shell, encoded", DEMO, "GET /%77s", UPGRADE, runs()),
        ("no shell", NO_SHELL, "GET /ws", UPGRADE, Err(404)),
        ("echo without a shell", NO_SHELL, "GET /echo", UPGRADE, echoes()),
        ("the demo's page", DEMO, "GET /", UPGRADE, Err(404)),
        ("below echo", DEMO, "GET /echo/", UPGRADE, Err(404)),
        ("a command", command(), "GET /", UPGRADE, runs()),
        ("a command at any path", command(), "GET /a/b", UPGRADE, runs()),
        ("a command at our own paths", command(), "GET /healthz", UPGRADE, runs()),
        ("echo at any path", echo(), "GET /ws", UPGRADE, echoes()),
        ("POST", DEMO, "POST /echo", UPGRADE, Err(405)),
        ("HEAD", DEMO, "HEAD /echo", UPGRADE, Err(400)),
        ("OPTIONS", DEMO, "OPTIONS /echo", UPGRADE, Err(405)),
        ("half a handshake", DEMO, "GET /echo", "Host: localhost\r\nUpgrade: websocket\r\n", Err(400)),
        ("a handshake that lost its Upgrade", DEMO, "GET /echo", "Host: localhost\r\nSec-WebSocket-Version: 13\r\n", Err(400)),
    ];
    for (name, router, line, fields, expected) in cases {
        let head = format!("{line} HTTP/1.1\r\n{fields}\r\n");
        let (answer, text) = answered(&site(router, true), &head);
        match (answer, expected) {
            (Ok(Answer::Upgrade { endpoint, .. }), Ok(expected)) => {
                assert_eq!(endpoint.service, expected, "{name}");
                assert_eq!(text, "", "{name}: the caller writes the 101");
            }
            (Err(refusal), Err(code)) => {
                assert_eq!(refusal.status.code(), code, "{name}: {refusal:?}");
                assert!(refusal.close, "{name}: frames may follow");
            }
            (answer, _) => panic!("{name}: {answer:?}"),
        }
    }
}

#[test]
fn a_handshake_must_pass_the_policy() {
    #[rustfmt::skip]
    let cases = [
        ("same origin", "Origin: http://localhost\r\n", None),
        ("a foreign origin", "Origin: https://evil.example\r\n", Some("--origin=")),
        ("no origin", "", None),
    ];
    for (name, origin, says) in cases {
        let head = format!("GET /ws HTTP/1.1\r\n{UPGRADE}{origin}\r\n");
        let (answer, text) = answered(&site(DEMO, true), &head);
        match says {
            None => assert!(
                matches!(answer, Ok(Answer::Upgrade { .. })),
                "{name}: {answer:?}"
            ),
            Some(says) => {
                assert!(text.starts_with("HTTP/1.1 403 "), "{name}: {text}");
                assert!(text.contains(says), "{name}: {text}");
            }
        }
    }
    let rebound = UPGRADE.replace("localhost", "evil.example");
    for (name, fields, loopback_only, allowed) in [
        (
            "rebound, on loopback",
            format!("{rebound}Origin: http://evil.example\r\n"),
            true,
            false,
        ),
        (
            "rebound, elsewhere",
            format!("{rebound}Origin: http://evil.example\r\n"),
            false,
            false,
        ),
        ("another name, on loopback", rebound.clone(), true, false),
        ("another name, elsewhere", rebound.clone(), false, true),
    ] {
        let head = format!("GET /x HTTP/1.1\r\n{fields}\r\n");
        let (answer, text) = answered(&site(command(), loopback_only), &head);
        assert_eq!(answer.is_ok(), allowed, "{name}: {text}");
        assert_eq!(
            text.contains("--allow-host=evil.example"),
            !allowed,
            "{name}: {text}"
        );
    }
}

#[test]
fn the_scheme_that_a_trusted_proxy_reports_is_that_of_the_page() {
    let fields = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n";
    let (proxy, other) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    #[rustfmt::skip]
    let cases = [
        (proxy, "https", fields, None),
        (proxy, "http", fields, Some(403)),
        (other, "http", fields, None),
        (proxy, "http", "", None),
        // The proxy's word comes first.
        (proxy, "http", "X-Forwarded-For: unknown\r\n", Some(400)),
    ];
    for (peer, scheme, fields, refused) in cases {
        let origin = format!("Origin: {scheme}://localhost\r\n");
        let head = format!("GET /echo HTTP/1.1\r\n{UPGRADE}{origin}{fields}\r\n");
        let (answer, text) = answered_to(peer, &site(DEMO, true), &head);
        let code = answer.map_err(|refusal| refusal.status.code()).err();
        assert_eq!(code, refused, "{peer}, {scheme}, {fields:?}: {text}");
    }
}

#[test]
fn the_answer_names_the_chosen_subprotocol() {
    let head = format!("GET /echo HTTP/1.1\r\n{UPGRADE}Sec-WebSocket-Protocol: x, chat\r\n\r\n");
    let (answer, _) = answered(&site(DEMO, true), &head);
    let Ok(Answer::Upgrade { subprotocol, .. }) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(subprotocol.as_deref(), Some("chat"));
}
