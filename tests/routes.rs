//! Several commands on one port: `--route` and `--dir`.

mod support;

use std::os::unix::fs::symlink;

use support::{Client, Response, Server, TempDir, run, write_file};

/// A program that prints its number of arguments and its CGI path variables, and then echoes its
/// input.
const WHERE: &str = "#!/bin/sh\n\
    echo \"$# $SCRIPT_NAME|$PATH_INFO|$QUERY_STRING|$REQUEST_URI\"\n\
    exec cat\n";

/// Asserts that the program refuses `args` with status 2 and one line. Returns the line.
#[track_caller]
fn refused(args: &[&str]) -> String {
    let output = run(args);
    let line = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{args:?}: {line}");
    assert_eq!(line.lines().count(), 1, "{args:?}: {line}");
    line
}

#[track_caller]
fn refusal(server: &Server, target: &str, status: u16) -> String {
    match server.try_open(&server.upgrade(target)) {
        Ok(_) => panic!("{target} is served"),
        Err(response) => response.expect_refusal(target, status),
    }
}

/// The first line of the program [`WHERE`].
#[track_caller]
fn where_at(server: &Server, target: &str) -> String {
    let mut client = server.open(target);
    let text = client.text();
    client.round_trip("repeated");
    client.leave();
    text
}

/// A directory whose `root` contains programs, and files and links that must not be run.
fn programs() -> TempDir {
    let home = TempDir::new();
    for directory in ["root", "root/sub", "root/.git", "root-beside"] {
        std::fs::create_dir(home.path(directory)).expect("a directory");
    }
    for program in [
        "root/run",
        "root/sub/tool",
        "root/two words",
        "root/.hidden",
        "root/.git/hook",
        "root/healthz",
        "outside",
        "root-beside/run",
    ] {
        write_file(&home.path(program), WHERE, 0o755);
    }
    write_file(&home.path("root/text"), WHERE, 0o644);
    symlink("../outside", home.path("root/escape")).expect("a link");
    symlink("..", home.path("root/up")).expect("a link");
    symlink("run", home.path("root/inner")).expect("a link");
    home
}

#[test]
fn each_route_has_its_command() {
    let server = Server::start(&[
        "--route=/cat=cat",
        "--route",
        "/say=sh -c 'echo \"$0\"; cat' \"two words\"",
        "--route=/e=echo:",
    ]);
    let (mut cat, mut echo) = (server.open("/cat"), server.open("/e"));
    cat.round_trip("x");
    echo.round_trip("x");
    assert_eq!(server.children().len(), 1, "only `cat`");
    let mut client = server.open("/say");
    assert_eq!(client.text(), "two words");
    client.leave();
    echo.leave();
    for path in ["/", "/ws", "/echo", "/catx", "/CAT", "/x/cat"] {
        refusal(&server, path, 404);
    }
    server.await_log(&["path=\"/say\"", "command=\"sh\""]);
    server.await_log(&["path=\"/e\"", "service=echo"]);
}

#[test]
fn the_longest_route_wins_and_the_rest_is_path_info() {
    let home = programs();
    let run = home.text("root/run");
    let server = Server::start(&[
        &format!("--route=/a=sh -c '. {run}' a"),
        &format!("--route=/a/b={run} one 'two three'"),
        &format!("--route=/=env LANG=C {run} x y z"),
    ]);
    let cases = [
        ("/a", "0 /a|||/a"),
        ("/a/", "0 /a|/||/a/"),
        ("/a/x%20y?q=%20", "0 /a|/x y|q=%20|/a/x%20y?q=%20"),
        ("/a/b", "2 /a/b|||/a/b"),
        ("/%61/%62/c", "2 /a/b|/c||/%61/%62/c"),
        ("/a%2Fb", "3 |/a/b||/a%2Fb"),
        ("/", "3 |/||/"),
        ("/other?--help", "3 |/other|--help|/other?--help"),
    ];
    for (target, said) in cases {
        assert_eq!(where_at(&server, target), said, "{target}");
    }
}

#[test]
fn the_command_of_a_route_is_not_expanded() {
    let server = Server::start(&[r#"--route=/x=printf '%s\n' $HOME * ~ "a\"b" c\ d ; 'e f'"#]);
    let (texts, close) = server.open("/x").texts_to_close();
    assert_eq!(texts, ["$HOME", "*", "~", "a\"b", "c d", ";", "e f"]);
    assert_eq!(close, (1000, "exit 0".to_owned()));
}

#[test]
fn a_request_never_becomes_part_of_the_command_line() {
    let home = programs();
    let root = home.text("root");
    let server = Server::start(&[
        &format!("--dir={root}"),
        &format!("--route=/r={}", home.text("outside")),
    ]);
    for path in ["run", "r"] {
        let target = format!("/{path}/-x/%24(reboot)?-y+--help&$(reboot);x");
        let request = server.upgrade(&target).add("X-Args", "-z");
        let Ok(mut client) = server.try_open(&request) else {
            panic!("{path} is refused")
        };
        assert!(client.text().starts_with("0 "), "no arguments");
    }
}

#[test]
fn routes_work_together_with_a_command_or_the_echo() {
    let server = Server::start(&["--route=/one=sh -c 'echo one'", "sh", "-c", "echo all"]);
    assert_eq!(server.open("/one/x").texts_to_close().0, ["one"]);
    assert_eq!(server.open("/other").texts_to_close().0, ["all"]);
    let server = Server::start(&["--echo", "--route=/one=sh -c 'echo one'"]);
    assert_eq!(server.open("/one").texts_to_close().0, ["one"]);
    server.open("/other").round_trip("back");
}

#[test]
fn plain_requests_get_426_where_a_command_is_and_404_elsewhere() {
    let home = programs();
    let root = home.text("root");
    let server = Server::start(&["--route=/r=cat", &format!("--dir={root}")]);
    let get = |path: &str| server.exchange(&server.get(path));
    for path in ["/r", "/r/x", "/run", "/sub/tool/x"] {
        get(path).expect_refusal(path, 426);
    }
    for path in ["/none", "/text", "/.hidden", "/sub", "/favicon.ico"] {
        get(path).expect_refusal(path, 404);
    }
    assert_eq!(get("/").status, 200);
    assert_eq!(get("/healthz").text(), "ok\n");
    assert_eq!(get("/.wspipe/console.js").status, 200);
    let config = get("/.wspipe/config.json").text();
    assert!(
        config.contains(r#""shell":{"path":"r","command":"cat","binary":false,"#)
            && config.contains(r#""endpoints":[{"path":"r","command":"cat"}]"#),
        "{config}"
    );
}

#[test]
fn a_route_whose_command_is_missing_is_404_and_others_are_served() {
    let home = TempDir::new();
    write_file(&home.path("text"), "#!/bin/sh\n", 0o644);
    let server = Server::start(&[
        "--route=/none=/nonexistent/x",
        &format!("--route=/text={}", home.text("text")),
        "--route=/cat=cat",
    ]);
    server.await_log(&["warning", "/nonexistent/x"]);
    server.await_log(&["warning", &home.text("text")]);
    assert!(refusal(&server, "/none", 404).contains("\"x\""));
    assert!(refusal(&server, "/text", 500).contains("\"text\""));
    server.open("/cat").round_trip("served");
}

#[test]
fn a_websocket_at_a_path_without_a_service_is_logged_at_info_with_its_path() {
    let server = Server::start(&["--route=/cat=cat"]);
    assert!(refusal(&server, "/cats\"", 404).contains("\"/cats\\\"\""));
    server.await_log(&[
        "info  refused peer=",
        "status=404",
        "no WebSocket is served at \"/cats\\\"\"",
    ]);
    // A page that a browser looks for by itself is no news.
    server
        .exchange(&server.get("/favicon.ico"))
        .expect_refusal("no page", 404);
    server.open("/cat").round_trip("served");
    assert!(
        !server.log_text().contains("there is nothing"),
        "{}",
        server.log_text()
    );
}

#[test]
fn the_beginning_of_a_connection_is_logged_at_debug() {
    let server = Server::start(&["--log-level=debug", "cat"]);
    let mut client = server.open("/a");
    let peer = client.wire.local_address().to_string();
    client.round_trip("open");
    server.await_log(&["debug accepted", &peer]);
    server.await_log(&[
        "debug opened",
        &peer,
        "path=\"/a\" service=command command=\"cat\" pid=",
    ]);
}

#[test]
fn each_program_of_a_directory_is_at_its_path() {
    let home = programs();
    let root = home.text("root");
    let server = Server::start(&[&format!("--dir={root}")]);
    let cases = [
        ("/run", "0 /run|||/run"),
        ("/run/", "0 /run|/||/run/"),
        (
            "/%72un/a%2Fb/../c?d",
            "0 /run|/a/b/../c|d|/%72un/a%2Fb/../c?d",
        ),
        ("/sub/tool/x", "0 /sub/tool|/x||/sub/tool/x"),
        ("/two%20words//x", "0 /two words|//x||/two%20words//x"),
        ("/inner", "0 /inner|||/inner"),
    ];
    for (target, said) in cases {
        assert_eq!(where_at(&server, target), said, "{target}");
    }
    server.await_log(&["path=\"/sub/tool/x\"", "command=\"sub/tool\""]);
    // A program is served as soon as it exists, and until it is removed.
    refusal(&server, "/new", 404);
    write_file(&home.path("root/new"), WHERE, 0o755);
    assert_eq!(where_at(&server, "/new"), "0 /new|||/new");
    std::fs::remove_file(home.path("root/new")).expect("it is there");
    refusal(&server, "/new", 404);
}

#[test]
fn a_file_of_a_directory_that_is_not_executable_is_logged_once() {
    let home = programs();
    write_file(&home.path("root/plain"), WHERE, 0o644);
    write_file(&home.path("root/other"), "", 0o644);
    let server = Server::start(&[&format!("--dir={}", home.text("root"))]);
    for path in ["/plain", "/plain", "/plain/x", "/other", "/none"] {
        assert!(!refusal(&server, path, 404).contains("chmod"), "{path}");
    }
    let path = home.text("root/plain");
    server.await_log(&[
        "warn  not served:",
        &format!("{path}: it is not executable: chmod +x {path}"),
    ]);
    server.await_log(&["warn  not served:", &home.text("root/other")]);
    assert_eq!(server.log_text().matches("not served:").count(), 2);
    // The remedy works at once.
    write_file(&home.path("root/plain"), WHERE, 0o755);
    assert_eq!(where_at(&server, "/plain"), "0 /plain|||/plain");
}

#[test]
fn no_path_leaves_the_directory() {
    let home = programs();
    let root = home.text("root");
    let server = Server::start(&[&format!("--dir={root}")]);
    for target in [
        "/",
        "/none",
        "/text",
        "/sub",
        "/sub/",
        "/run%2F",
        "/.hidden",
        "/%2ehidden",
        "/.git/hook",
        "/sub/../run",
        "/../outside",
        "/%2e%2e/outside",
        "/..%2foutside",
        "/../root-beside/run",
        "/escape",
        "/up/outside",
        "/up/root/run",
        "/sub/../../outside",
        "//run",
        "/%2Frun",
        "/healthz",
        "/.wspipe/run",
    ] {
        refusal(&server, target, 404);
    }
    let absolute = home.text("outside");
    refusal(&server, &absolute, 404);
    refusal(&server, &format!("/{absolute}"), 404);
    assert!(server.children().is_empty());
}

/// RFC 3986 6.2.2.2: an encoded letter is that letter.
#[test]
fn an_encoded_path_is_the_same_path_for_every_rule() {
    let home = programs();
    let server = Server::start(&[&format!("--dir={}", home.text("root"))]);
    for target in ["/healthz", "/%68ealthz", "/%68%65%61%6C%74%68%7a"] {
        refusal(&server, target, 404);
        let response = server.exchange(&server.get(target).set("Host", "evil.example"));
        assert_eq!(response.text(), "ok\n", "{target}");
    }
    for target in [
        "/.wspipe/console.js",
        "/%2Ewspipe/console%2Ejs",
        "/.wspipe/config%2ejson",
    ] {
        assert_eq!(server.exchange(&server.get(target)).status, 200, "{target}");
    }
    let server = Server::start(&["--same-user=no"]);
    server.open("/ech%6F").round_trip("echoed");
    assert_eq!(server.exchange(&server.get("/%77s")).status, 426);
    assert_eq!(
        server.exchange(&server.get("/.wspipe%2Fconsole.js")).status,
        404
    );
}

#[test]
fn a_relative_directory_gives_its_programs_an_absolute_path() {
    let home = TempDir::new();
    std::fs::create_dir(home.path("root")).expect("a directory");
    let script = "#!/bin/sh\necho \"$0\"\n";
    write_file(&home.path("root/self"), script, 0o755);
    let server = support::Launch::new(&["--dir=root"])
        .after(&format!("cd {}", home.text("")))
        .start();
    let (texts, _) = server.open("/self").texts_to_close();
    assert_eq!(texts, [home.text("root/self")]);
}

#[test]
fn a_program_that_the_kernel_refuses_is_500() {
    let home = programs();
    write_file(&home.path("root/broken"), "#!/nonexistent/sh\n", 0o755);
    write_file(&home.path("root/text"), "echo text\n", 0o755);
    let root = home.text("root");
    let server = Server::start(&[&format!("--dir={root}")]);
    assert!(refusal(&server, "/broken", 500).contains("interpreter"));
    assert!(
        refusal(&server, "/text", 500).contains("#!"),
        "no shell reads it"
    );
    assert_eq!(where_at(&server, "/run"), "0 /run|||/run");
}

#[test]
fn a_missing_directory_is_refused_before_the_port_is_bound() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = format!(
        "--port={}",
        holder.local_addr().expect("its address").port()
    );
    // The port is in use. If the server bound it first, the exit status would be 1.
    for path in ["/nonexistent/x", "/dev/null"] {
        let line = refused(&[&port, &format!("--dir={path}")]);
        assert!(line.contains(&format!("--dir={path}")), "{line}");
    }
}

#[test]
fn wrong_routes_are_refused() {
    for (args, says) in [
        (["--route=/a", "--port=0"], "--route=/a:"),
        (["--route=a=cat", "--port=0"], "--route=a=cat:"),
        (["--route=/a='x", "--port=0"], "is not closed"),
        (["--route=/healthz=cat", "--port=0"], "/healthz"),
        (["--route=/a=x", "--route=/a=y"], "/a=y"),
        (["--route=/=x", "cat"], "COMMAND"),
        (["--dir=/", "cat"], "--dir"),
        (["--dir=/", "--echo"], "--dir"),
        (["--once", "--exit-when-idle"], "--once"),
    ] {
        let line = refused(&args);
        assert!(line.contains(says), "{args:?}: {line}");
    }
}

#[test]
fn commands_that_the_network_can_run_cause_a_warning() {
    let home = programs();
    let root = home.text("root");
    let server = Server::start(&[
        "--address=0.0.0.0",
        "--route=/a=cat",
        "--route=/b=sort",
        &format!("--dir={root}"),
    ]);
    server.await_log(&["anyone who can reach", "cat, sort", &root]);
    let server = Server::start(&["--address=0.0.0.0", "--route=/e=echo:"]);
    assert!(!server.log_text().contains("anyone"));
}

#[test]
fn clients_of_several_routes_do_not_mix() {
    let server = Server::start(&["--route=/a=sed -u s/^/a/", "--route=/b=sed -u s/^/b/"]);
    let mut clients: Vec<(&str, Client)> = (0..20)
        .map(|index| ["a", "b"][index % 2])
        .map(|name| (name, server.open(&format!("/{name}"))))
        .collect();
    for (_, client) in &mut clients {
        client.send_text("x");
    }
    for (name, client) in &mut clients {
        assert_eq!(client.text(), format!("{name}x"));
    }
}

#[test]
fn a_refused_handshake_does_not_spoil_the_next_request() {
    let server = Server::start(&["--route=/a=cat"]);
    let mut wire = server.connect();
    wire.send(&server.get("/a").to_bytes());
    assert_eq!(Response::read(&mut wire, false).status, 426);
    wire.send(&server.get("/healthz").to_bytes());
    assert_eq!(Response::read(&mut wire, false).status, 200);
}
