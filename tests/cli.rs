//! The command line: options, their values and errors, the addresses that it opens, and the log.

mod support;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Stdio;

use support::{Launch, Server, has_ipv6, run};

#[track_caller]
fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Every word that the help must contain.
const OPTIONS: [&str; 57] = [
    "--address",
    "--port",
    "--backlog",
    "--origin",
    "--allow-host",
    "--subprotocol",
    "--same-user",
    "--max-message",
    "--max-line",
    "--high-water",
    "--framing",
    "--binary",
    "--null",
    "--crlf",
    "--flush",
    "--stderr",
    "--passenv",
    "--kill-after",
    "--setenv",
    "--cwd",
    "--umask",
    "--nice",
    "--rlimit",
    "--no-new-privs",
    "--signal",
    "--user",
    "--group",
    "--trust-proxy",
    "--trust-header",
    "--max-head",
    "--max-headers",
    "--head-timeout",
    "--http-idle-timeout",
    "--ping-interval",
    "--pong-timeout",
    "--write-timeout",
    "--close-timeout",
    "--drain-timeout",
    "--log-level",
    "--route",
    "--dir",
    "--once",
    "--shared",
    "--replay",
    "--restart",
    "--resume",
    "--exit-when-idle",
    "--max-clients",
    "--max-clients-per-ip",
    "--max-processes",
    "--spawn-rate",
    "--session-timeout",
    "--idle-timeout",
    "--echo",
    "--help",
    "--version",
    "COMMAND",
];

#[test]
fn version_prints_the_version() {
    let output = run(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        text(&output.stdout),
        format!("wspipe {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn help_is_short_and_names_the_option_that_lists_all() {
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "");
    let help = text(&output.stdout);
    assert!(help.lines().count() < 40, "{help}");
    for part in ["COMMAND", "--port", "--help=all", "  wspipe --shared"] {
        assert!(help.contains(part), "{part} is not in the help");
    }
    for line in help.lines() {
        assert!(line.chars().count() <= 80, "{line:?}");
    }
    assert_eq!(run(&["--help=x"]).status.code(), Some(2));
}

#[test]
fn help_all_names_every_option_in_lines_of_80_columns() {
    let output = run(&["--help=all"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "");
    let help = text(&output.stdout);
    for option in OPTIONS {
        assert!(help.contains(option), "{option} is not in the help");
    }
    for line in help.lines() {
        assert!(line.chars().count() <= 80, "{line:?}");
    }
}

#[test]
fn a_wrong_argument_is_refused_in_one_line_that_names_it() {
    // (arguments, word that the error must contain)
    let cases: [(&[&str], &str); 35] = [
        (&["--no-such-option"], "--no-such-option"),
        (&["-q"], "-q"),
        (&["--prot=80"], "--port"),
        (&["--port"], "--port"),
        (&["--port="], "--port"),
        (&["--port=65536"], "--port"),
        (&["--port=-1"], "--port"),
        (&["--port=http"], "--port"),
        (&["--address=nowhere.example"], "--address"),
        (&["--address=300.0.0.1"], "--address"),
        (&["--backlog=many"], "--backlog"),
        (&["--max-message=big"], "--max-message"),
        (&["--max-message=1X"], "--max-message"),
        (&["--max-message=99999999999999999999G"], "--max-message"),
        (&["--high-water=-1"], "--high-water"),
        (&["--ping-interval=soon"], "--ping-interval"),
        (&["--ping-interval=10parsecs"], "--ping-interval"),
        (&["--pong-timeout=99999999999999999999h"], "--pong-timeout"),
        (&["--kill-after=always"], "--kill-after"),
        (&["--max-headers=0x40"], "--max-headers"),
        (&["--log-level=loud"], "--log-level"),
        (&["--same-user=perhaps"], "--same-user"),
        (&["--stderr=elsewhere"], "--stderr"),
        (&["--echo=yes"], "--echo"),
        (&["--binary=yes"], "--binary"),
        (&["--framing=lines", "--binary"], "--binary"),
        (&["--binary", "--null", "cat"], "--null"),
        (&["--framing=words"], "--framing"),
        (&["--crlf=maybe"], "--crlf"),
        (&["--framing=length", "--stderr=merge"], "--stderr"),
        (&["--framing=length", "--stderr=json"], "--stderr"),
        (&["--framing=headers", "--stderr=merge"], "--stderr"),
        (&["--binary", "--stderr=json"], "--stderr"),
        (&["--echo", "cat"], "--echo"),
        (&["--echo", "--", "cat"], "--echo"),
    ];
    for (args, named) in cases {
        let output = run(args);
        let line = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {line}");
        assert_eq!(line.lines().count(), 1, "{args:?}: {line}");
        assert!(line.contains(named), "{args:?}: {named} is not in {line}");
        assert_eq!(text(&output.stdout), "", "{args:?}");
    }
}

#[test]
fn a_port_in_use_is_refused_with_its_process_and_the_next_step() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = holder.local_addr().expect("its address");
    let output = run(&["--port", &address.port().to_string()]);
    let line = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert!(line.contains(&address.to_string()), "{line}");
    assert!(line.to_lowercase().contains("in use"), "{line}");
    let own = std::process::id();
    assert!(
        line.contains(&format!("(PID {own}): stop it with kill {own}")),
        "{line}"
    );
    assert!(line.contains("--port=0"), "{line}");
}

#[test]
fn a_command_that_cannot_be_meant_as_a_program_is_exit_2_with_the_remedy() {
    for (args, says) in [
        (
            &["no-such-program-anywhere"][..],
            "there is no program no-such-program-anywhere in PATH",
        ),
        (&["/tmp"], "--dir=/tmp"),
        (&["cat | tr a b"], "sh -c 'cat | tr a b'"),
        (&["ls -la"], "leave out the quotes around ls -la"),
        (
            &["--route=/x=no-such-program-anywhere", "cat"],
            "no-such-program-anywhere",
        ),
        (&["--route=/x=/tmp"], "--dir=/tmp"),
    ] {
        let output = run(&[&["--port=0"], args].concat());
        let line = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {line}");
        assert_eq!(line.lines().count(), 1, "{args:?}: {line}");
        assert!(line.contains(says), "{args:?}: {line}");
    }
}

#[test]
fn an_option_after_command_is_warned_about() {
    let server = Server::start(&["cat", "--port=9000"]);
    server.await_log(&["warning: cat gets --port=9000 as an argument"]);
    let server = Server::start(&["--", "cat", "--port=9000"]);
    assert!(
        !server.log_text().contains("warning"),
        "{}",
        server.log_text()
    );
}

#[test]
fn the_start_lines_name_the_page_the_paths_and_the_commands() {
    let server = Server::start(&["--route=/log=tail -f x", "cat", "-n"]);
    let address = server.address();
    server.await_log(&[&format!("wspipe: http://{address}/   page")]);
    server.await_log(&[&format!("wspipe: ws://{address}/     cat ...")]);
    server.await_log(&[&format!("wspipe: ws://{address}/log  tail ...")]);
    let log = server.log_text();
    let last = log.lines().last().expect("a line");
    assert_eq!(last, format!("wspipe: listening on http://{address}/"));
}

#[test]
fn a_wildcard_address_is_never_a_link() {
    let server = Server::start(&["--address=0.0.0.0", "--echo"]);
    let port = server.address().port();
    server.await_log(&[&format!(
        "wspipe: listening on http://127.0.0.1:{port}/, on every IPv4 address (0.0.0.0)"
    )]);
    assert!(
        !server.log_text().contains("//0.0.0.0"),
        "{}",
        server.log_text()
    );
    server.open("/").round_trip("served");
}

#[test]
fn an_address_of_another_machine_is_refused() {
    // An address for documentation (RFC 5737), which no machine has.
    let output = run(&["--address=192.0.2.1", "--port=0", "--echo"]);
    let line = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert!(line.contains("192.0.2.1"), "{line}");
    assert!(line.contains("no address of this machine"), "{line}");
}

#[test]
fn the_start_line_names_the_address() {
    let server = Server::start(&[]);
    assert!(server.address().ip().is_loopback());
    assert_ne!(server.address().port(), 0);
    let line = format!("wspipe: listening on http://{}/", server.address());
    assert!(server.log_text().contains(&line), "{}", server.log_text());
}

/// Compares the kernel's table of sockets (proc_pid_net(5)), not what the server prints.
#[test]
fn by_default_it_listens_only_on_127_0_0_1() {
    const LISTEN: &str = "0A";
    let server = Server::start(&["--echo"]);
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{}/fd", server.pid()))
        .expect("the server's descriptors")
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect();
    let mut listening = BTreeSet::new();
    // While other processes change the table, a read may miss or repeat an entry.
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"].repeat(20) {
        // Without IPv6 the second table does not exist.
        for line in std::fs::read_to_string(table).unwrap_or_default().lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (local, state, inode) = (fields[1], fields[3], fields[9]);
            if state == LISTEN && sockets.contains(&format!("socket:[{inode}]")) {
                listening.insert(local.to_owned());
            }
        }
    }
    let loopback = u32::from_ne_bytes([127, 0, 0, 1]);
    let port = server.address().port();
    let expected = format!("{loopback:08X}:{port:04X}");
    assert_eq!(listening, BTreeSet::from([expected]));
}

#[test]
fn listens_on_several_addresses_at_one_port() {
    let server = Server::start(&["--echo", "--address=127.0.0.1", "--address", "127.0.0.2"]);
    let addresses = server.addresses();
    assert_eq!(addresses.len(), 2);
    assert_eq!(addresses[0].port(), addresses[1].port());
    for address in addresses {
        let mut wire = support::Wire::connect(*address);
        wire.send(&support::Request::get(*address, "/healthz").to_bytes());
        assert_eq!(support::Response::read(&mut wire, false).status, 200);
    }
}

#[test]
fn listens_on_ipv4_and_ipv6_at_one_port() {
    if !has_ipv6() {
        return support::skipped("no IPv6 here");
    }
    // The two wildcards can share a port only with IPV6_V6ONLY (ipv6(7)).
    let server = Server::start(&["--echo", "--address=0.0.0.0", "--address=::"]);
    let port = server.address().port();
    assert!(
        server
            .addresses()
            .iter()
            .all(|address| address.port() == port)
    );
    for target in ["127.0.0.1", "[::1]"] {
        let address = format!("{target}:{port}").parse().expect("an address");
        let mut wire = support::Wire::connect(address);
        wire.send(&support::Request::get(address, "/healthz").to_bytes());
        assert_eq!(
            support::Response::read(&mut wire, false).status,
            200,
            "{target}"
        );
    }
}

#[test]
fn option_values_may_follow_an_equals_sign_or_a_space() {
    let server = Server::start(&[
        "--max-message=64k",
        "--high-water",
        "128K",
        "--max-line=1M",
        "--ping-interval=250ms",
        "--pong-timeout",
        "2m",
        "--write-timeout=90",
        "--close-timeout=1h",
        "--drain-timeout",
        "5s",
        "--backlog=16",
        "--log-level",
        "debug",
        "--kill-after=2s",
        "cat",
    ]);
    server.open("/").round_trip("served");
}

#[test]
fn the_first_word_that_is_no_option_begins_the_command() {
    let server = Server::start(&[
        "--log-level=info",
        "echo",
        "--log-level=debug",
        "--port",
        "1",
    ]);
    let (texts, _) = server.open("/").texts_to_close();
    assert_eq!(texts, ["--log-level=debug --port 1"]);
}

#[test]
fn two_dashes_end_the_options() {
    let server = Server::start(&["--", "echo", "--", "--help"]);
    let (texts, _) = server.open("/").texts_to_close();
    assert_eq!(texts, ["-- --help"]);
}

#[test]
fn log_level_warn_keeps_the_connections_out_of_the_log() {
    let mut server = Server::start(&["--echo", "--log-level=warn"]);
    server.open("/").leave();
    server.signal(nix::sys::signal::Signal::SIGTERM);
    server.exit_status();
    assert!(
        !server.log_text().contains("closed"),
        "{}",
        server.log_text()
    );
}

#[test]
fn a_command_that_the_network_can_run_causes_a_warning() {
    let server = Server::start(&["--address=0.0.0.0", "cat"]);
    server.await_log(&["anyone who can reach", "0.0.0.0", "cat"]);
    let server = Server::start(&["cat"]);
    assert!(
        !server.log_text().contains("anyone"),
        "{}",
        server.log_text()
    );
}

#[test]
fn the_server_writes_nothing_to_stdout() {
    let mut child = Launch::new(&["--echo"])
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary");
    let mut start = String::new();
    let mut stderr = std::io::BufReader::new(child.stderr.take().expect("a pipe"));
    while !start.contains("listening on") {
        std::io::BufRead::read_line(&mut stderr, &mut start).expect("the start line");
    }
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it runs");
    let output = child.wait_with_output().expect("its end");
    assert_eq!(text(&output.stdout), "");
    assert_eq!(output.status.code(), Some(0));
}
