//! How a command is started: its environment, directory, limits and user. Also what becomes of it
//! when the server is killed, and of orphans when the server is the first process of a container.

mod support;

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use support::{
    Client, Launch, Process, Request, STUBBORN, Server, TIMEOUT, TempDir, children_of, wait_until,
    write_file,
};

const BINARY: &str = env!("CARGO_BIN_EXE_wspipe");

/// The ID of the user and group without rights on Linux.
const NOBODY: u32 = 65_534;

/// The output of a script that a server with these options runs. The script must exit with 0.
#[track_caller]
fn output(options: &[&str], script: &str) -> Vec<String> {
    let server = Server::script(options, script);
    let (texts, close) = server.open("/").texts_to_close();
    assert_eq!(close.1, "exit 0", "{texts:?}");
    texts
}

/// The environment of the command that `request` starts.
#[track_caller]
fn environment(server: &Server, request: &Request) -> BTreeMap<String, String> {
    let mut client = match server.try_open(request) {
        Ok(client) => client,
        Err(response) => panic!("refused: {} {}", response.status, response.text()),
    };
    variables(&mut client)
}

/// The variables that the command of a client, `env`, prints.
#[track_caller]
fn variables(client: &mut Client) -> BTreeMap<String, String> {
    let (texts, close) = client.texts_to_close();
    assert_eq!(close.1, "exit 0", "{texts:?}");
    let pairs = texts.iter().map(|text| {
        let (name, value) = text.split_once('=').expect("a variable");
        (name.to_string(), value.to_string())
    });
    let variables: BTreeMap<_, _> = pairs.collect();
    assert_eq!(variables.len(), texts.len(), "a name twice: {texts:?}");
    variables
}

/// Asserts that `options` are refused before the server binds its port: the port is in use, which
/// would give exit status 1.
#[track_caller]
fn refused_before_the_port(options: &[&str], says: &[&str]) {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = holder.local_addr().expect("its address").port();
    let mut command = Command::new(BINARY);
    command.arg(format!("--port={port}")).args(options);
    refused(command, says);
}

/// Asserts that `command` exits with status 2 and one line that contains each of `says`.
#[track_caller]
fn refused(mut command: Command, says: &[&str]) {
    let (status, line) = refusal(&mut command);
    assert_eq!(status, Some(2), "{command:?}: {line}");
    for part in says {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
}

/// The exit status of a server that refuses to start, and its one line on stderr.
#[track_caller]
fn refusal(command: &mut Command) -> (Option<i32>, String) {
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary");
    let deadline = Instant::now() + TIMEOUT;
    while child.try_wait().expect("waitpid").is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    // If it serves after all, the kill gives it a wrong status.
    let _ = child.kill();
    let output = child.wait_with_output().expect("its exit");
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(text.lines().count(), 1, "{text}");
    (output.status.code(), text)
}

/// Whether the tests run as root. If not, reports that `what` is not tested.
fn is_root(what: &str) -> bool {
    let root = geteuid().is_root();
    if !root {
        support::skipped(&format!("{what} takes root"));
    }
    root
}

// -- The environment ------------------------------------------------------------------------------

#[test]
fn the_environment_holds_the_cgi_variables_and_nothing_else() {
    let server = Launch::new(&["--passenv=", "/usr/bin/env"])
        .env("SECRET", "xyzzy")
        .env("REMOTE_USER", "root")
        .env("HTTP_X_SERVER", "xyzzy")
        .env("HTTPS", "on")
        .start();
    let mut wire = server.connect();
    let address = server.address();
    let request = Request::upgrade(address, "/a%20b/c?x=1&y=%2F")
        .add("X-One", "1")
        .add("x-one", "two")
        .add("X-Empty", "")
        .add("Cookie", "a=1")
        .add("Cookie", "b=2")
        .add("Proxy", "http://evil.example")
        .add("X_Under", "no")
        .add("X-Tab", "a\tb");
    wire.send(&request.to_bytes());
    let peer_port = wire.local_address().port().to_string();
    let mut variables = variables(&mut Client::accepted(wire));

    let id = variables.remove("UNIQUE_ID").expect("UNIQUE_ID");
    assert!(!id.is_empty());
    let (host, port) = (address.to_string(), address.port().to_string());
    let expected = [
        ("AUTH_TYPE", ""),
        ("CONTENT_LENGTH", ""),
        ("CONTENT_TYPE", ""),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("HTTP_CONNECTION", "Upgrade"),
        ("HTTP_COOKIE", "a=1; b=2"),
        ("HTTP_HOST", &host),
        ("HTTP_SEC_WEBSOCKET_KEY", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("HTTP_SEC_WEBSOCKET_VERSION", "13"),
        ("HTTP_UPGRADE", "websocket"),
        ("HTTP_X_EMPTY", ""),
        ("HTTP_X_ONE", "1, two"),
        ("HTTP_X_TAB", "a\tb"),
        ("PATH_INFO", "/a b/c"),
        ("PATH_TRANSLATED", "/a b/c"),
        ("QUERY_STRING", "x=1&y=%2F"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REMOTE_HOST", "127.0.0.1"),
        ("REMOTE_IDENT", ""),
        ("REMOTE_PORT", &peer_port),
        ("REMOTE_USER", ""),
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", "/a%20b/c?x=1&y=%2F"),
        ("SCRIPT_NAME", ""),
        ("SERVER_NAME", "127.0.0.1"),
        ("SERVER_PORT", &port),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        (
            "SERVER_SOFTWARE",
            concat!("wspipe/", env!("CARGO_PKG_VERSION")),
        ),
    ];
    let expected = expected.map(|(name, value)| (name.to_string(), value.to_string()));
    assert_eq!(variables, expected.into());
}

#[test]
fn unique_ids_are_unique_and_usable_as_file_names() {
    let script = "echo \"$UNIQUE_ID\"";
    let servers = [Server::script(&[], script), Server::script(&[], script)];
    let mut ids = HashSet::new();
    for server in &servers {
        for _ in 0..20 {
            let (texts, _) = server.open("/").texts_to_close();
            let id = texts[0].clone();
            assert!(id.len() >= 20 && id.len() <= 64, "{id}");
            assert!(
                id.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                    && !id.starts_with('-'),
                "{id}"
            );
            assert!(ids.insert(id.clone()), "{id} twice");
        }
    }
}

#[test]
fn setenv_sets_variables_of_the_command() {
    let server = Launch::new(&[
        "--setenv=A=b=c d",
        "--setenv",
        "EMPTY=",
        "--setenv=LANG=first",
        "--setenv=LANG=last",
        "--setenv=HTTP_PROXY=http://proxy.example",
        "env",
    ])
    .env("LANG", "inherited")
    .env("A", "inherited")
    .start();
    let request = server.upgrade("/").add("Proxy", "http://evil.example");
    let variables = environment(&server, &request);
    for (name, value) in [
        ("A", "b=c d"),
        ("EMPTY", ""),
        ("LANG", "last"),
        ("HTTP_PROXY", "http://proxy.example"),
    ] {
        assert_eq!(variables[name], value, "{name}");
    }
    refused_before_the_port(&["--setenv=A", "cat"], &["--setenv=A: write", "NAME=VALUE"]);
    refused_before_the_port(
        &["--setenv=REMOTE_ADDR=::1", "cat"],
        &["REMOTE_ADDR", "each request"],
    );
}

#[test]
fn a_command_is_searched_in_the_path_that_setenv_sets() {
    let dir = TempDir::new();
    write_file(&dir.path("tool"), "#!/bin/sh\necho found\n", 0o755);
    let setenv = format!("--setenv=PATH={}:/usr/bin:/bin", dir.text(""));
    let server = Server::start(&[&setenv, "tool"]);
    assert!(
        !server.log_text().contains("warning"),
        "{}",
        server.log_text()
    );
    let (texts, _) = server.open("/").texts_to_close();
    assert_eq!(texts, ["found"]);
}

// -- Proxies --------------------------------------------------------------------------------------

/// The client that the environment of a command names, as `ADDRESS|PORT|HTTPS|SERVER_PORT|HOST`.
/// The ports of the test's own connection are written OWN and SERVER.
#[track_caller]
fn client_named(options: &[&str], headers: &[(&str, &str)]) -> String {
    let script = "echo \"$REMOTE_ADDR|$REMOTE_PORT|$HTTPS|$SERVER_PORT|$REMOTE_HOST\"";
    let options = [options, &["--allow-host=app.example"]].concat();
    let server = Server::script(&options, script);
    let mut request = server.upgrade("/").set("Host", "app.example");
    for (name, value) in headers {
        request = request.add(name, value);
    }
    let mut client = server.try_open(&request).expect("accepted");
    let own_port = client.wire.local_address().port().to_string();
    let (texts, _) = client.texts_to_close();
    let server_port = server.address().port().to_string();
    texts[0]
        .replace(&own_port, "OWN")
        .replace(&server_port, "SERVER")
}

#[test]
fn a_listed_proxy_names_the_client() {
    let direct = "127.0.0.1|OWN||SERVER|127.0.0.1";
    let through = "203.0.113.9||on|443|203.0.113.9";
    let x = [
        ("X-Forwarded-For", "8.8.8.8, 203.0.113.9"),
        ("X-Forwarded-Proto", "https"),
    ];
    let forwarded = [(
        "Forwarded",
        "for=8.8.8.8, for=\"203.0.113.9:77\";proto=http",
    )];

    assert_eq!(client_named(&["--trust-proxy=127.0.0.1"], &x), through);
    let list = "--trust-proxy=10.0.0.0/8,127.0.0.0/8,::1";
    assert_eq!(client_named(&[list], &x), through);
    assert_eq!(
        client_named(&[list], &forwarded),
        "203.0.113.9|77||80|203.0.113.9"
    );
    assert_eq!(client_named(&[], &x), direct, "no proxy is trusted");
    assert_eq!(
        client_named(&["--trust-proxy=127.0.0.2"], &x),
        direct,
        "another proxy is trusted"
    );
    assert_eq!(client_named(&[list], &[]), direct, "the proxy itself");
}

/// A client's own header never makes it the proxy, which is often on this machine.
#[test]
fn headers_of_a_proxy_that_contradict_each_other_are_400() {
    let x = ("X-Forwarded-For", "203.0.113.9");
    let https = ("X-Forwarded-Proto", "https");
    let forged: [&[(&str, &str)]; 6] = [
        &[x, ("Forwarded", "for=127.0.0.1")],
        &[x, ("Forwarded", "for=203.0.113.9;proto=https")],
        &[x, ("Forwarded", "for=\"")],
        &[("X-Forwarded-For", "203.0.113.9, nonsense")],
        &[https],
        &[("X-Real-IP", "203.0.113.9")],
    ];
    let server = Server::start(&["--trust-proxy=127.0.0.1", "true"]);
    let with = |fields: &[(&str, &str)]| {
        let add = |request: support::Request, field: &(&str, &str)| request.add(field.0, field.1);
        fields.iter().fold(server.upgrade("/"), add)
    };
    for fields in forged {
        let refusal = server.try_open(&with(fields)).err().expect("refused");
        refusal.expect_refusal(&format!("{fields:?}"), 400);
    }
    server.await_log(&["warn", "status=400", "--trust-header=x-forwarded"]);
    // Of a peer that is no proxy, none of it matters.
    let server = Server::start(&["--trust-proxy=127.0.0.2", "true"]);
    let request = server.upgrade("/").add(x.0, x.1).add("Forwarded", "for=\"");
    server
        .try_open(&request)
        .expect("accepted")
        .texts_to_close();
}

#[test]
fn trust_header_names_the_only_header_that_is_believed() {
    let fields = [
        ("X-Forwarded-For", "203.0.113.9"),
        ("Forwarded", "for=127.0.0.1;proto=https"),
        ("X-Real-IP", "203.0.113.8"),
    ];
    for (header, expected) in [
        ("x-forwarded", "203.0.113.9||"),
        ("forwarded", "127.0.0.1||on"),
        ("x-real-ip", "203.0.113.8||"),
    ] {
        let header = format!("--trust-header={header}");
        let named = client_named(&["--trust-proxy=127.0.0.1", &header], &fields);
        assert!(named.starts_with(expected), "{header}: {named}");
    }
}

#[test]
fn the_log_names_the_client_and_the_proxy() {
    let server = Server::start(&["--trust-proxy=127.0.0.1", "true"]);
    let request = server
        .upgrade("/logged")
        .add("X-Forwarded-For", "203.0.113.9");
    let mut client = server.try_open(&request).expect("accepted");
    let proxy = client.wire.local_address();
    client.texts_to_close();
    drop(client);
    server.await_log(&[&format!(
        "closed peer=203.0.113.9 proxy={proxy} path=\"/logged\""
    )]);

    let mut client = server.open("/direct");
    let peer = client.wire.local_address();
    client.texts_to_close();
    drop(client);
    server.await_log(&[&format!("closed peer={peer} path=\"/direct\"")]);
}

#[test]
fn the_limit_per_address_counts_the_client_behind_a_proxy() {
    let server = Server::start(&["--trust-proxy=127.0.0.1", "--max-clients-per-ip=1", "cat"]);
    let open = |client: &str| {
        let request = server.upgrade("/").add("X-Forwarded-For", client);
        server.try_open(&request)
    };
    let first = open("203.0.113.9").expect("the first of its address");
    let other = open("203.0.113.10").expect("the first of another");
    let refusal = open("203.0.113.9").err().expect("the second of the first");
    refusal.expect_refusal("one client of an address", 429);
    first.leave();
    server.await_log(&["closed peer=203.0.113.9 "]);
    open("203.0.113.9").expect("the only one again").leave();
    other.leave();
}

#[test]
fn the_demo_offers_no_shell_behind_a_proxy() {
    let server = Server::start(&["--trust-proxy=127.0.0.1"]);
    let request = server.upgrade("/ws").add("X-Forwarded-For", "127.0.0.1");
    for request in [request, server.upgrade("/ws")] {
        let refusal = server.try_open(&request).err().expect("refused");
        let text = refusal.expect_refusal("the demo's shell", 403);
        assert!(text.contains("--same-user=no"), "{text}");
    }
    let server = Server::start(&["--trust-proxy=127.0.0.1", "--same-user=no"]);
    server.open("/ws").leave();
}

// -- Directory, mask, priority, limits, privileges ------------------------------------------------

#[test]
fn cwd_sets_the_directory_of_the_command() {
    let dir = TempDir::new();
    write_file(&dir.path("tool"), "#!/bin/sh\npwd\n", 0o755);
    let cwd = format!("--cwd={}", dir.text("."));
    let path = std::fs::canonicalize(dir.path(".")).expect("its path");
    let expected = [path.to_str().expect("UTF-8")];
    assert_eq!(output(&[&cwd], "/bin/pwd"), expected);
    // A relative command, and the warning at start about it, count from this directory.
    let server = Server::start(&[&cwd, "./tool"]);
    assert!(
        !server.log_text().contains("warning"),
        "{}",
        server.log_text()
    );
    let (texts, _) = server.open("/").texts_to_close();
    assert_eq!(texts.len(), 1, "{texts:?}");
}

#[test]
fn a_directory_that_cannot_be_entered_is_refused_at_start() {
    let dir = TempDir::new();
    write_file(&dir.path("file"), "", 0o644);
    for name in ["missing", "file"] {
        let cwd = format!("--cwd={}", dir.text(name));
        refused_before_the_port(&[&cwd, "cat"], &[&cwd, "name a directory"]);
    }
    if is_root("a directory that the user may not enter") {
        std::fs::create_dir(dir.path("closed")).expect("a directory");
        let closed = Command::new("chmod")
            .arg("700")
            .arg(dir.path("closed"))
            .status();
        assert!(closed.expect("chmod").success());
        let mut command = Command::new(BINARY);
        let cwd = format!("--cwd={}", dir.text("closed"));
        command.args(["--port=0", "--user=nobody", &cwd, "cat"]);
        refused(command, &[&cwd, "Permission denied"]);
        let mut command = Command::new(BINARY);
        let programs = format!("--dir={}", dir.text("closed"));
        command.args(["--port=0", "--user=nobody", &programs]);
        refused(command, &[&programs, "Permission denied"]);
    }
}

#[test]
fn a_directory_that_disappears_is_500_and_not_a_missing_command() {
    let dir = TempDir::new();
    std::fs::create_dir(dir.path("gone")).expect("a directory");
    let cwd = format!("--cwd={}", dir.text("gone"));
    let server = Server::start(&[&cwd, "cat"]);
    server.open("/").round_trip("there");
    std::fs::remove_dir(dir.path("gone")).expect("it was empty");
    let refusal = server
        .try_open(&server.upgrade("/"))
        .err()
        .expect("refused");
    let text = refusal.expect_refusal("no directory", 500);
    assert!(text.contains("--cwd"), "{text}");
}

#[test]
fn umask_sets_the_file_mode_mask_of_the_command() {
    assert_eq!(output(&["--umask=027"], "umask"), ["0027"]);
    assert_eq!(output(&["--umask=0"], "umask"), ["0000"]);
    let server = Launch::new(&["sh", "-c", "umask"])
        .after("umask 0123")
        .start();
    let (texts, _) = server.open("/").texts_to_close();
    assert_eq!(texts, ["0123"], "the server's mask");
    refused_before_the_port(&["--umask=888", "cat"], &["--umask=888: write an octal"]);
}

#[test]
fn nice_sets_the_nice_value_of_the_command() {
    assert_eq!(output(&["--nice=7"], "nice"), ["7"]);
    assert_eq!(output(&["--nice=7"], "nice -n 2 nice"), ["9"]);
    // The value is absolute, not an increment to the server's.
    let server = Launch::new(&["--nice=7", "nice"])
        .after("renice -n 3 -p $$ >/dev/null")
        .start();
    let (texts, _) = server.open("/").texts_to_close();
    assert_eq!(texts, ["7"]);
    let own = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).expect("its stat");
    let after_name = &own[own.rfind(')').expect("a name") + 2..];
    assert_eq!(
        after_name.split(' ').nth(16),
        Some("3"),
        "the server's value has changed"
    );
    // Where process sessions have a nice value too (sched(7), autogrouping), it is set as well.
    let autogroups = std::fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled");
    if autogroups.is_ok_and(|enabled| enabled.trim() == "1")
        && is_root("the nice value of an autogroup")
    {
        // The server sets it when the command has started.
        let wait = "until grep ' nice 7$' /proc/self/autogroup; do sleep 0.01; done";
        let session = output(&["--nice=7"], wait);
        assert!(session[0].ends_with(" nice 7"), "{session:?}");
    }
    if is_root("a lower nice value") {
        assert_eq!(output(&["--nice=-3"], "nice"), ["-3"]);
        let options = ["--port=0", "--user=nobody", "--nice=-3", "cat"];
        let mut command = Command::new(BINARY);
        command.args(options);
        refused(command, &["--nice=-3", "privilege"]);
    }
}

#[test]
fn a_command_cannot_look_into_the_server() {
    // root could. And a change of user by --user would close the process by itself.
    let mut prelude = String::new();
    if geteuid().is_root() {
        let as_nobody = format!("setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --");
        let can = format!("{as_nobody} test -x {BINARY}");
        let can = Command::new("sh").args(["-c", &can]).status();
        if !can.is_ok_and(|status| status.success()) {
            return support::skipped("another user cannot run the binary");
        }
        prelude = format!("exec {as_nobody} \"$0\" \"$@\"");
    }
    // The environment, the descriptors of all clients, the memory.
    let script = "for file in environ fd/0 mem maps; do \
                      (: < /proc/$PPID/$file) 2>/dev/null && echo $file; \
                  done; \
                  ls /proc/$PPID/fd/ 2>/dev/null; \
                  (: < /proc/$$/environ) && echo own";
    let launch = Launch::new(&["--", "sh", "-c", script]).after(&prelude);
    let (texts, _) = launch.start().open("/").texts_to_close();
    assert_eq!(texts, ["own"]);
}

/// The soft and hard limits of a process by their names in `/proc/PID/limits`.
fn limits(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().skip(1).filter_map(|line| {
        let (name, values) = line.split_at_checked(26)?;
        let mut values = values.split_ascii_whitespace();
        let pair = format!("{} {}", values.next()?, values.next()?);
        Some((name.trim().to_string(), pair))
    });
    lines.collect()
}

#[test]
fn rlimit_sets_the_resource_limits_of_the_command() {
    let options = [
        "--rlimit=as:2G",
        "--rlimit=core:0",
        "--rlimit=cpu:60",
        "--rlimit=data:1G",
        "--rlimit=fsize:10k",
        "--rlimit=nofile:9",
        "--rlimit=nofile:64",
        "--rlimit=nproc:1000",
        "--rlimit=stack:1M",
    ];
    let server = Server::start(&[&options[..], &["cat", "/proc/self/limits"]].concat());
    let before = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).expect("limits");
    let (texts, _) = server.open("/").texts_to_close();
    let limits_of_command = limits(&texts.join("\n"));
    for (name, value) in [
        ("Max address space", "2147483648 2147483648"),
        ("Max core file size", "0 0"),
        ("Max cpu time", "60 60"),
        ("Max data size", "1073741824 1073741824"),
        ("Max file size", "10240 10240"),
        ("Max open files", "64 64"),
        ("Max processes", "1000 1000"),
        ("Max stack size", "1048576 1048576"),
    ] {
        assert_eq!(limits_of_command[name], value, "{name}");
    }
    let after = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).expect("limits");
    assert_eq!(before, after, "the server's limits have changed");
    assert_ne!(limits(&before)["Max core file size"], "0 0");
}

#[test]
fn a_command_cannot_exceed_its_resource_limit() {
    let dir = TempDir::new();
    let script = format!(
        "head -c 100000 /dev/zero > {} 2>/dev/null; echo end",
        dir.text("big")
    );
    assert_eq!(output(&["--rlimit=fsize:4k"], &script), ["end"]);
    let len = std::fs::metadata(dir.path("big")).expect("the file").len();
    assert_eq!(len, 4096);
}

#[test]
fn a_limit_that_the_server_may_not_set_is_refused_at_start() {
    if !is_root("a limit that takes root") {
        return;
    }
    let script = "ulimit -n 100; exec \"$0\" --port=0 --user=nobody --rlimit=nofile:101 cat";
    let mut command = Command::new("sh");
    command.args(["-c", script, BINARY]);
    refused(command, &["--rlimit=nofile:101", "hard limit"]);
    // Root can raise a limit if it has CAP_SYS_RESOURCE.
    let effective = u64::from_str_radix(&status(std::process::id() as i32, "CapEff:"), 16);
    if effective.expect("a number") & 1 << 24 == 0 {
        return support::skipped("a limit raised by root takes CAP_SYS_RESOURCE");
    }
    let server = Launch::new(&["--rlimit=nofile:101", "sh", "-c", "ulimit -Hn"])
        .after("ulimit -n 100")
        .start();
    let (texts, _) = server.open("/").texts_to_close();
    assert_eq!(texts, ["101"]);
}

#[test]
fn with_no_new_privs_a_command_cannot_gain_privileges() {
    let script = "while read name value; do [ $name = NoNewPrivs: ] && echo $value; done \
                  < /proc/self/status; true";
    assert_eq!(output(&["--no-new-privs"], script), ["1"]);
    let own = std::fs::read_to_string("/proc/self/status").expect("status");
    if own.lines().any(|line| line == "NoNewPrivs:\t0") {
        assert_eq!(output(&[], script), ["0"], "off by default");
    }
}

// -- The first signal -----------------------------------------------------------------------------

#[test]
fn signal_sets_the_first_signal_of_the_escalation() {
    for (option, name) in [("--signal=HUP", "hup"), ("--signal=sigusr1", "usr1")] {
        let dir = TempDir::new();
        let script = format!(
            "for s in HUP INT QUIT USR1 USR2 TERM; do trap \"echo $s >> {0}\" $s; done
            echo ready; while :; do sleep 0.02; done",
            dir.text("signals")
        );
        let server = Server::script(&[option, "--kill-after=2s"], &script);
        let mut client = server.open("/");
        assert_eq!(client.text(), "ready");
        let command = server.only_child();
        client.leave();
        server.await_gone(command);
        assert_eq!(
            dir.read("signals").to_lowercase(),
            format!("{name}\nterm\n")
        );
    }
}

#[test]
fn the_first_signal_may_be_sigkill() {
    // An escalation of 20 s, whose first signal is sent after 2 s and cannot be ignored.
    let server = Server::script(&["--signal=KILL", "--kill-after=20s"], STUBBORN);
    let mut client = server.open("/");
    assert_eq!(client.text(), "ready");
    let start = Instant::now();
    client.leave();
    server.await_no_children();
    assert!(
        start.elapsed() < Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );
}

// -- The user -------------------------------------------------------------------------------------

/// A line of `/proc/PID/status`, its words joined by blanks.
fn status(pid: i32, name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .expect("the line");
    line.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// A user with supplementary groups, if this machine has one.
fn user_with_groups() -> Option<String> {
    let group = std::fs::read_to_string("/etc/group").ok()?;
    let members = group.lines().filter_map(|line| line.split(':').nth(3));
    let mut members = members.flat_map(|members| members.split(','));
    members
        .find(|name| !name.is_empty() && *name != "root")
        .map(str::to_string)
}

#[test]
fn the_server_and_its_commands_become_the_user() {
    if !is_root("--user") {
        return;
    }
    let users = ["nobody".to_string()].into_iter().chain(user_with_groups());
    for user in users {
        let server = Server::script(&[&format!("--user={user}")], "id -u; id -g; id -G");
        let (texts, _) = server.open("/").texts_to_close();
        let expected: Vec<String> = ["-u", "-g", "-G"]
            .iter()
            .map(|option| {
                let output = Command::new("id")
                    .arg(option)
                    .arg(&user)
                    .output()
                    .expect("id");
                String::from_utf8(output.stdout)
                    .expect("UTF-8")
                    .trim()
                    .to_string()
            })
            .collect();
        assert_eq!(texts[..2], expected[..2], "{user}");
        let sorted = |text: &str| {
            let mut ids: Vec<_> = text.split(' ').map(str::to_string).collect();
            ids.sort();
            ids
        };
        assert_eq!(sorted(&texts[2]), sorted(&expected[2]), "{user}");

        let uid = &expected[0];
        assert_eq!(status(server.pid(), "Uid:"), [uid.as_str(); 4].join(" "));
        assert_eq!(
            status(server.pid(), "Gid:"),
            [expected[1].as_str(); 4].join(" ")
        );
        for capabilities in ["CapPrm:", "CapEff:"] {
            let bits = status(server.pid(), capabilities);
            assert!(
                bits.bytes().all(|digit| digit == b'0'),
                "{capabilities} {bits}"
            );
        }
    }
}

#[test]
fn users_and_groups_may_be_given_as_numbers() {
    if !is_root("--user") {
        return;
    }
    let who = "id -u; id -g; echo $HOME";
    assert_eq!(output(&["--user=65534"], who)[0], "65534");
    assert_eq!(
        output(&["--user=4711", "--group=4712"], who),
        ["4711", "4712", "/"]
    );
    assert_eq!(
        output(&["--user=nobody", "--group=daemon"], who)[..2],
        ["65534", "1"]
    );
    assert_eq!(output(&["--group=4712"], who)[..2], ["0", "4712"]);
}

#[test]
fn home_and_user_are_those_of_the_user() {
    if !is_root("--user") {
        return;
    }
    let options = ["--user=nobody", "--passenv=HOME,USER,SHELL", "/usr/bin/env"];
    let server = Launch::new(&options)
        .env("HOME", "/root")
        .env("USER", "root")
        .env("LOGNAME", "root")
        .start();
    let variables = environment(&server, &server.upgrade("/"));
    assert_ne!(variables["HOME"], "/root");
    assert_eq!(variables["USER"], "nobody");
    assert!(!variables.contains_key("LOGNAME"), "not in --passenv");
}

#[test]
fn unknown_users_and_groups_are_refused_before_the_port_is_bound() {
    let user = "--user=no-such-user";
    refused_before_the_port(&[user, "cat"], &[user, "/etc/passwd"]);
    let group = "--group=no-such-group";
    refused_before_the_port(&[group, "cat"], &[group, "/etc/group"]);
    if geteuid().is_root() {
        refused_before_the_port(&["--user=4711", "cat"], &["--user=4711", "--group"]);
    }
}

#[test]
fn only_root_can_change_the_user() {
    if !is_root("to start as another user") {
        return;
    }
    let dir = TempDir::new();
    std::fs::copy(BINARY, dir.path("wspipe")).expect("a copy that every user may execute");
    let mut command = Command::new(dir.path("wspipe"));
    command.uid(NOBODY).gid(NOBODY).args(["--user=root", "cat"]);
    refused(command, &["--user=root", "started as root", "nobody"]);
}

#[test]
fn a_server_that_could_become_root_again_does_not_start() {
    if !is_root("securebits") {
        return;
    }
    // With these bits a process keeps its capabilities when it changes from root to another user
    // (capabilities(7)).
    let mut command = Command::new("setpriv");
    command.args(["--securebits=+no_setuid_fixup", BINARY]);
    command.args(["--port=0", "--user=nobody", "cat"]);
    let (status, line) = refusal(&mut command);
    assert_eq!(status, Some(1), "{line}");
    assert!(line.contains("the way back to root"), "{line}");
}

#[test]
fn the_demos_shell_is_only_for_the_user_that_the_server_has_become() {
    if !is_root("--user") {
        return;
    }
    let server = Server::start(&["--user=nobody"]);
    let refusal = server
        .try_open(&server.upgrade("/ws"))
        .err()
        .expect("not for root");
    let text = refusal.expect_refusal("root's socket", 403);
    assert!(
        text.contains("uid 0") && text.contains("uid 65534"),
        "{text}"
    );

    let request = String::from_utf8(server.upgrade("/ws").to_bytes()).expect("ASCII");
    let port = server.address().port();
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{port}; printf '%s' \"$0\" >&3; read -r line <&3; echo \"$line\""
    );
    let mut bash = Command::new("bash");
    bash.args(["-c", &script, &request])
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/");
    let output = bash.output().expect("bash");
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(line.contains(" 101 "), "{line} {output:?}");
}

// -- A killed server, and orphans -----------------------------------------------------------------

/// Kills the server and expects every command and its child to exit. Only SIGKILL terminates the
/// commands; the child of each reads the command's stdin.
#[track_caller]
fn assert_commands_end_with_the_server(options: &[&str]) {
    let script = "exec 3<&0; cat <&3 & echo $!; trap '' INT TERM HUP; while :; do sleep 0.05; done";
    let mut server = Server::script(options, script);
    let mut clients: Vec<Client> = (0..3).map(|_| server.open("/")).collect();
    let mut processes = server.children();
    assert_eq!(processes.len(), 3);
    for client in &mut clients {
        let pid = client.text().parse().expect("a PID");
        processes.push(Process::find(pid).expect("the child of the command"));
    }
    server.kill_and_await_gone(processes);
}

#[test]
fn commands_end_with_a_killed_server_whatever_its_options() {
    assert_commands_end_with_the_server(&[]);
    assert_commands_end_with_the_server(&["--kill-after=never", "--no-new-privs", "--nice=5"]);
    if is_root("--user") {
        assert_commands_end_with_the_server(&["--user=nobody", "--kill-after=never"]);
    }
}

/// A server that is the first process of a PID namespace. Killed on drop.
struct Container {
    unshare: std::process::Child,
    address: SocketAddr,
    server: i32,
}

impl Container {
    fn start(args: &[&str]) -> Container {
        let mut unshare = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", BINARY, "--port=0"])
            .args(args)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut stderr = BufReader::new(unshare.stderr.take().expect("a pipe"));
        let mut lines = stderr.by_ref().lines();
        let address = lines.find_map(|line| {
            let line = line.expect("a line");
            Some(
                line.strip_prefix("wspipe: listening on http://")?
                    .to_owned(),
            )
        });
        let address = address.expect("a start line");
        // Read the rest too, so that the pipe does not fill.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        let server = children_of(unshare.id() as i32)[0].pid;
        Container {
            address: address.trim_end_matches('/').parse().expect("an address"),
            unshare,
            server,
        }
    }

    fn open(&self) -> Client {
        Client::open(self.address, "/")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

#[test]
fn as_the_first_process_of_a_container_the_server_reaps_orphans() {
    if !is_root("a PID namespace") {
        return;
    }
    // The orphans leave the command's process session and group, and their parent exits.
    let script = "(setsid sleep 1000 &); (setsid sleep 1000 &); echo ready; cat";
    let mut container = Container::start(&["sh", "-c", script]);
    let server = container.server;
    let mut client = container.open();
    assert_eq!(client.text(), "ready");
    // A child that runs `sleep` has left the command's process session before.
    let orphans = || {
        let mut children = children_of(server);
        children.retain(|child| child.name().is_some_and(|name| name == "sleep"));
        children
    };
    wait_until("two orphans are adopted", || orphans().len() == 2);
    let orphans = orphans();
    kill(Pid::from_raw(orphans[0].pid), Signal::SIGKILL).expect("it runs");
    wait_until("the orphan is reaped", || children_of(server).len() == 2);
    client.round_trip("the command goes on");

    client.leave();
    wait_until("the command is reaped too", || {
        children_of(server).len() == 1
    });
    // The server exits cleanly. The kernel kills what is left in the namespace (pid_namespaces(7)).
    kill(Pid::from_raw(server), Signal::SIGTERM).expect("it runs");
    let status = container.unshare.wait().expect("its exit");
    assert_eq!(status.code(), Some(0));
    assert!(!Path::new(&format!("/proc/{}/exe", orphans[1].pid)).exists());
}
