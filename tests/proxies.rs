//! The recipes of `src/manual/behind_a_proxy.md`, run by the proxies themselves: nginx, HAProxy and
//! Caddy. A test whose proxy is not on this machine says so.

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use support::{Client, Request, Response, Server, TempDir, Wire, skipped, wait_until, write_file};

/// The address of the client, another than the proxy's, but on the same machine.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// What the command sees of the client.
const SCRIPT: &str = "echo \"$REMOTE_ADDR|$HTTPS|$HTTP_FORWARDED|$HTTP_X_REAL_IP|$PATH_INFO\"";

/// The block of the manual in this language.
fn recipe(language: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/manual/behind_a_proxy.md");
    let page = std::fs::read_to_string(path).expect("the page");
    let (_, rest) = page
        .split_once(&format!("```{language}\n"))
        .expect("a block");
    rest.split_once("```").expect("its end").0.to_owned()
}

/// Replaces `from`, which must be there.
#[track_caller]
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "there is no {from} in {text}");
    text.replace(from, to)
}

/// A proxy that runs, until it is dropped.
struct Proxy {
    child: Child,
    address: SocketAddr,
    dir: TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    /// Starts `words`, in which `CONFIG` is a file with what `config` returns for an address and a
    /// directory. `None`, after a report, where the program is missing.
    fn start(words: &[&str], config: impl Fn(SocketAddr, &TempDir) -> String) -> Option<Proxy> {
        // No proxy tells which port it got for 0. Another program may take the port that is free
        // here, so try again then.
        for _ in 0..10 {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = listener.local_addr().expect("its address");
            drop(listener);
            let dir = TempDir::new();
            write_file(&dir.path("config"), &config(address, &dir), 0o644);
            let words = words
                .iter()
                .map(|word| word.replace("CONFIG", &dir.text("config")));
            let words: Vec<String> = words.collect();
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]).env("HOME", dir.path(""));
            command
                .env("XDG_DATA_HOME", dir.path(""))
                .env("XDG_CONFIG_HOME", dir.path(""));
            let output = std::fs::File::create(dir.path("output")).expect("a file");
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(output);
            let Ok(child) = command.spawn() else {
                skipped(&format!("{} is not on this machine", words[0]));
                return None;
            };
            let mut proxy = Proxy {
                child,
                address,
                dir,
            };
            let mut has_ended = false;
            wait_until("the proxy listens", || {
                has_ended = proxy.child.try_wait().expect("wait").is_some();
                has_ended || TcpStream::connect(address).is_ok()
            });
            if !has_ended {
                return Some(proxy);
            }
            let output = proxy.dir.read("output");
            assert!(
                output.to_lowercase().contains("in use"),
                "it has ended: {output}"
            );
        }
        panic!("there is no free port");
    }

    /// Opens a WebSocket at `target` as [`CLIENT`] and returns what the command sees, with headers
    /// of the client's own that claim that it is the proxy, with TLS.
    fn seen(&self, target: &str) -> String {
        let request = Request::upgrade(self.address, target)
            .set("Host", "app.example")
            .add("Origin", "http://app.example")
            .add("X-Forwarded-For", "127.0.0.1")
            .add("X-Forwarded-Proto", "https")
            .add("X-Real-IP", "127.0.0.1")
            .add("Forwarded", "for=127.0.0.1;proto=https");
        let mut wire = Wire::connect_from((CLIENT, 0).into(), self.address);
        wire.send(&request.to_bytes());
        let response = Response::read(&mut wire, false);
        assert_eq!(response.status, 101, "{response:?}");
        let (mut texts, _) = Client::new(wire, response).texts_to_close();
        texts.remove(0)
    }
}

fn server(trust_header: &[&str]) -> Server {
    let trust_proxy = ["--trust-proxy=127.0.0.1", "--allow-host=app.example"];
    Server::script(&[&trust_proxy, trust_header].concat(), SCRIPT)
}

/// Asserts that the client has its own address and no TLS, whatever it writes; with the option that
/// the page advises, and without it.
fn expect_own_address(start: impl Fn(&Server) -> Option<Proxy>) {
    for trust_header in [&["--trust-header=x-forwarded"][..], &[]] {
        let server = server(trust_header);
        let Some(proxy) = start(&server) else {
            return;
        };
        assert_eq!(
            proxy.seen("/tools/a"),
            "127.0.0.2||||/a",
            "{trust_header:?}"
        );
        let page = Request::get(proxy.address, "/tools/").set("Host", "app.example");
        let mut wire = Wire::connect_from((CLIENT, 0).into(), proxy.address);
        wire.send(&page.add("Connection", "close").to_bytes());
        let page = wire.take_to_end();
        let page = String::from_utf8_lossy(&page);
        assert!(page.contains("200 OK") && page.contains("<html"), "{page}");
    }
}

/// nginx with this `location` block.
fn nginx_with(location: &str) -> Option<Proxy> {
    Proxy::start(&["nginx", "-c", "CONFIG"], |address, dir| {
        let dir = dir.text("");
        format!(
            "daemon off; master_process off; pid {dir}/pid; error_log stderr;
            events {{}}
            http {{
                access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
                fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi;
                scgi_temp_path {dir}/scgi;
                server {{
                    listen {address};
                    {location}
                }}
            }}"
        )
    })
}

fn nginx(server: &Server) -> Option<Proxy> {
    let address = server.address().to_string();
    nginx_with(&replaced(&recipe("nginx"), "127.0.0.1:8080", &address))
}

fn haproxy(server: &Server) -> Option<Proxy> {
    let recipe = replaced(
        &recipe("haproxy"),
        "127.0.0.1:8080",
        &server.address().to_string(),
    );
    // Ask at once and often.
    let recipe = replaced(&recipe, " check\n", " check inter 20ms\n");
    Proxy::start(&["haproxy", "-db", "-f", "CONFIG"], |address, dir| {
        let recipe = replaced(&recipe, "bind :80", &format!("bind {address}"));
        let stats = dir.text("stats");
        format!("global\n    stats socket {stats} level admin\n\n{recipe}")
    })
}

fn caddy(server: &Server) -> Option<Proxy> {
    let recipe = replaced(
        &recipe("caddyfile"),
        "127.0.0.1:8080",
        &server.address().to_string(),
    );
    let words = [
        "caddy",
        "run",
        "--config",
        "CONFIG",
        "--adapter",
        "caddyfile",
    ];
    Proxy::start(&words, |address, _| {
        let site = format!("http://:{} {{\n\tbind {}\n", address.port(), address.ip());
        let recipe = replaced(&recipe, "app.example {\n", &site);
        format!("{{\n\tadmin off\n\tauto_https off\n}}\n{recipe}")
    })
}

#[test]
fn a_client_behind_nginx_cannot_choose_its_address() {
    expect_own_address(nginx);
}

#[test]
fn a_client_behind_haproxy_cannot_choose_its_address() {
    expect_own_address(haproxy);
}

#[test]
fn a_client_behind_caddy_cannot_choose_its_address() {
    expect_own_address(caddy);
}

/// `OPTIONS / HTTP/1.0` without a Host.
#[test]
fn the_default_health_check_of_haproxy_succeeds() {
    let server = server(&[]);
    let Some(proxy) = haproxy(&server) else {
        return;
    };
    wait_until("HAProxy's check has succeeded", || {
        // HAProxy binds its sockets one after the other, and this is perhaps not the first.
        let Ok(mut stats) = UnixStream::connect(proxy.dir.path("stats")) else {
            return false;
        };
        stats.write_all(b"show stat\n").expect("a request");
        let mut text = String::new();
        stats.read_to_string(&mut text).expect("the table");
        assert!(!text.contains("L7STS"), "the check has failed: {text}");
        text.contains("L7OK")
    });
}

/// A proxy that sets one kind of header and forwards the other as the client has sent it.
#[test]
fn a_header_that_the_proxy_forwards_gets_400() {
    let server = server(&[]);
    let address = server.address().to_string();
    let recipe = replaced(&recipe("nginx"), "127.0.0.1:8080", &address);
    let forwarding = replaced(&recipe, "proxy_set_header Forwarded \"\";", "");
    let Some(proxy) = nginx_with(&forwarding) else {
        return;
    };
    let request = Request::upgrade(proxy.address, "/tools/")
        .set("Host", "app.example")
        .add("Forwarded", "for=127.0.0.1;proto=https");
    let mut wire = Wire::connect_from((CLIENT, 0).into(), proxy.address);
    wire.send(&request.to_bytes());
    let refusal = Response::read(&mut wire, false);
    let reason = refusal.expect_refusal("a Forwarded of the client's own", 400);
    assert!(reason.contains("--trust-header=x-forwarded"), "{reason}");
}
