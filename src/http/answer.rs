//! What a request gets: the order of the checks, in one place.

use std::rc::Rc;
use std::time::Duration;

use super::handshake::{self, AcceptKey};
use super::pages;
use super::policy::Policy;
use super::refusal::Refusal;
use super::request::Request;
use super::response::{Response, Status};
use super::routes::{Endpoint, LookUp, Offer};

/// What is served, and to whom.
#[derive(Clone, Debug)]
pub struct Site {
    /// Which services there are, and where.
    pub offer: Offer,
    /// The names of the commands, by their index, for the page and the log to show.
    pub command_names: Vec<Rc<str>>,
    /// Whether the commands' messages are binary, for the page to know.
    pub binary: bool,
    /// Whether they are JSON that says which stream they are from, for the page to know.
    pub json: bool,
    /// How long a command waits for a client that was lost, for the page to know.
    pub linger: Option<Duration>,
    /// The sub-protocols that `--subprotocol` lists.
    pub subprotocols: Vec<String>,
    /// Who may connect.
    pub policy: Policy,
}

/// What a request gets, if it is not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A response, which has been written.
    Response {
        /// Whether the connection is closed after it.
        close: bool,
    },
    /// A WebSocket, once the caller has it ready and writes [`handshake::write_accept`].
    Upgrade {
        /// What is behind it.
        endpoint: Endpoint,
        /// What to accept it with.
        key: AcceptKey,
        /// The sub-protocol that was chosen.
        subprotocol: Option<String>,
    },
}

/// Answers a request: a page is appended to `out`, a WebSocket is for the caller to open.
/// `look_up` is asked what there is below `--dir`.
///
/// # Errors
///
/// Whatever forbids it, fit to be written as the answer to this request. Of several reasons the
/// first of these is given: the method, the name by which the server is called, the path, the
/// handshake, the origin.
pub fn answer(
    request: &Request,
    site: &Site,
    look_up: LookUp<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let upgrade = handshake::is_upgrade(request);
    let answer = if upgrade {
        open(request, site, look_up)
    } else {
        fetch(request, site, look_up, out)
    };
    answer.map_err(|refusal| refusal.answering(request))
}

/// Answers an opening handshake.
fn open(request: &Request, site: &Site, look_up: LookUp<'_>) -> Result<Answer, Refusal> {
    check_method(request)?;
    site.policy.check_host(request)?;
    let endpoint = site.offer.find(request.path, look_up)?;
    let key = handshake::check(request)?;
    site.policy.check_origin(request)?;
    let subprotocol = handshake::choose_subprotocol(request, &site.subprotocols);
    Ok(Answer::Upgrade {
        endpoint,
        key,
        subprotocol: subprotocol.map(str::to_owned),
    })
}

/// Answers a plain request.
fn fetch(
    request: &Request,
    site: &Site,
    look_up: LookUp<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    /// Who watches over servers calls them by addresses and names of all kinds: no check of those.
    const HEALTHY: Response = Response {
        status: Status::Ok,
        fields: &[("Cache-Control", "no-store")],
        content_type: "text/plain; charset=utf-8",
        body: b"ok\n",
    };
    check_method(request)?;
    let json;
    let response = if request.path == pages::HEALTH_PATH {
        HEALTHY
    } else {
        site.policy.check_host(request)?;
        if request.path == pages::CONFIG_PATH {
            json = pages::config_json(site);
            pages::config(&json)
        } else {
            let page = pages::find(request.path);
            page.ok_or_else(|| site.offer.no_page_at(request.path, look_up))?
        }
    };
    response.write(out, request.method == "HEAD", request.keep_alive());
    Ok(Answer::Response {
        close: !request.keep_alive(),
    })
}

fn check_method(request: &Request) -> Result<(), Refusal> {
    match request.method {
        "GET" | "HEAD" => Ok(()),
        other => Err(Refusal::method_not_allowed(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::routes::{Entry, Routes, Service};
    use super::*;

    fn site(offer: Offer, loopback_only: bool) -> Site {
        Site {
            offer,
            command_names: vec!["sh".into()],
            binary: false,
            json: false,
            linger: None,
            subprotocols: vec!["chat".to_owned()],
            policy: Policy::new(vec![], false, vec![], "box".to_owned(), loopback_only).unwrap(),
        }
    }

    fn command() -> Offer {
        Offer::Routes(Routes::everywhere(Service::Command(0)))
    }

    fn echo() -> Offer {
        Offer::Routes(Routes::everywhere(Service::Echo))
    }

    fn answered(site: &Site, head: &str) -> (Result<Answer, Refusal>, String) {
        let request = Request::parse(head.as_bytes(), 16).expect("a valid head");
        let mut out = Vec::new();
        let answer = answer(&request, site, &mut |_| Entry::Nothing, &mut out);
        if let Err(refusal) = &answer {
            assert!(out.is_empty(), "a refused request has no other answer");
            refusal.write(&mut out);
        }
        (answer, String::from_utf8(out).unwrap())
    }

    const DEMO: Offer = Offer::Demo { shell: true };
    const NO_SHELL: Offer = Offer::Demo { shell: false };
    const HOST: &str = "Host: localhost\r\n";
    const UPGRADE: &str = "Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                           Sec-WebSocket-Version: 13\r\n";

    #[test]
    fn plain_requests_are_answered() {
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
            ("OPTIONS *", DEMO, "OPTIONS * HTTP/1.1", HOST, 405, true),
            ("CONNECT", DEMO, "CONNECT a:80 HTTP/1.1", HOST, 405, false),
            ("a method in small letters", DEMO, "get / HTTP/1.1", HOST, 405, true),
            ("POST of health", DEMO, "POST /healthz HTTP/1.1", HOST, 405, true),
        ];
        for (name, offer, line, fields, code, keep_alive) in cases {
            let (answer, text) = answered(&site(offer, true), &format!("{line}\r\n{fields}\r\n"));
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
                text.contains("\r\nAllow: GET, HEAD\r\n"),
                code == 405,
                "{name}"
            );
            let body = text.split_once("\r\n\r\n").unwrap().1;
            assert_eq!(body.is_empty(), line.starts_with("HEAD"), "{name}");
        }
    }

    #[test]
    fn health_is_ok() {
        let (_, text) = answered(
            &site(DEMO, true),
            "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        );
        assert!(text.ends_with("Content-Length: 3\r\n\r\nok\n"), "{text}");
    }

    #[test]
    fn the_configuration_is_json() {
        let head = "GET /.wspipe/config.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let site = site(DEMO, true);
        let (_, text) = answered(&site, head);
        assert!(
            text.contains("\r\nContent-Type: application/json\r\n"),
            "{text}"
        );
        assert!(text.ends_with(&pages::config_json(&site)), "{text}");
    }

    #[test]
    fn handshakes_are_answered() {
        let echoes = || Ok(Service::Echo);
        let runs = || Ok(Service::Command(0));
        #[rustfmt::skip]
        let cases = [
            ("echo", DEMO, "GET /echo", UPGRADE, echoes()),
            ("echo with a query", DEMO, "GET /echo?x", UPGRADE, echoes()),
            ("the shell", DEMO, "GET /ws", UPGRADE, runs()),
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
            ("half a handshake", DEMO, "GET /echo", "Host: localhost\r\nUpgrade: websocket\r\n", Err(400)),
            ("a handshake that lost its Upgrade", DEMO, "GET /echo", "Host: localhost\r\nSec-WebSocket-Version: 13\r\n", Err(400)),
        ];
        for (name, offer, line, fields, expected) in cases {
            let head = format!("{line} HTTP/1.1\r\n{fields}\r\n");
            let (answer, text) = answered(&site(offer, true), &head);
            match (answer, expected) {
                (Ok(Answer::Upgrade { endpoint, .. }), Ok(expected)) => {
                    assert_eq!(endpoint.service, expected, "{name}");
                    assert_eq!(text, "", "{name}: the 101 is the caller's to write");
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
    fn handshakes_obey_the_policy() {
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
    fn the_subprotocol_is_chosen() {
        let head =
            format!("GET /echo HTTP/1.1\r\n{UPGRADE}Sec-WebSocket-Protocol: x, chat\r\n\r\n");
        let (answer, _) = answered(&site(DEMO, true), &head);
        let Ok(Answer::Upgrade { subprotocol, .. }) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(subprotocol.as_deref(), Some("chat"));
    }
}
