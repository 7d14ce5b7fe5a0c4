//! Options of the server as a whole: addresses, what is served, limits, user.

use std::path::PathBuf;

use super::{COUNT_MAX, Opt, SPAWN_RATE_MAX, Scope, option, or_word, set, turn_on};
use crate::cli::command_values::account;
use crate::cli::draft::Print;
use crate::cli::values::{address, count, memory_size, number, route, time_or_zero};
use crate::log::Level;

const PORT_MAX: u32 = u16::MAX as u32;
const BACKLOG_MAX: u32 = i32::MAX as u32;

pub(super) const LISTEN: &[Opt] = &[
    option(
        "--address=ADDR [127.0.0.1]      IP address to listen on; repeatable",
        |draft, text| {
            let address = address(text)?;
            if !draft.addresses.contains(&address) {
                draft.addresses.push(address);
            }
            Ok(())
        },
    )
    .common()
    .text(
        "An IP address to listen on; repeat the option for several. `0.0.0.0` is every IPv4 \
         address of the machine, `[::]` every IPv6 address, and `localhost` is 127.0.0.1; \
         other host names are refused. Everyone who can reach the address can do what the \
         command allows: there is no login. If the server listens on only one of 127.0.0.1 and \
         ::1, it also binds the other, without listening there, so that no other program \
         can serve `localhost` at the same port.",
    ),
    option(
        "--port=N [8080]                 TCP port; 0: a free one",
        |draft, text| {
            set(
                &mut draft.config.listen.port,
                number(text, 0, PORT_MAX).map(|port| port as u16),
            )
        },
    )
    .common()
    .text(
        "The TCP port, from 0 to 65535, on every address. 0 takes a free port, the same on \
         every address, and the log shows which.",
    ),
    option(
        "--backlog=N [4096]              connections that wait to be accepted",
        |draft, text| {
            set(
                &mut draft.config.listen.backlog,
                number(text, 1, BACKLOG_MAX).map(|backlog| backlog as i32),
            )
        },
    )
    .text(
        "Maximum number of connections that the kernel holds on each address until the server \
         accepts them, at least 1 (listen(2)). The kernel lowers it to `net.core.somaxconn`.",
    ),
];

pub(super) const ROUTES: &[Opt] = &[
    option(
        "--route=/PATH=COMMAND|echo:     serve COMMAND at /PATH and below; repeatable",
        |draft, text| {
            let route = route(text)?;
            let known = &draft.config.routes;
            if known.iter().any(|other| other.path == route.path) {
                let message = "this path has a route already: leave one of the two out";
                return Err(message.to_owned());
            }
            draft.config.routes.push(route);
            Ok(())
        },
    )
    .common()
    .text(
        "Serve COMMAND, or the echo (`echo:`), at /PATH and every path below it; repeatable, \
         each path once. The longest route that matches in whole segments takes a request, \
         before COMMAND, `--echo` and `--dir`. Quotes and backslashes divide COMMAND into \
         words as in a shell, but nothing is expanded: for `$HOME`, `*` or `|`, write \
         `sh -c '...'`.",
    ),
    option(
        "--dir=DIR                       serve each program in DIR at its path",
        |draft, text| {
            if text.is_empty() {
                return Err("write the path of a directory".to_owned());
            }
            draft.config.directory = Some(PathBuf::from(text));
            Ok(())
        },
    )
    .common()
    .text(
        "Serve each executable file in DIR, and in directories below it, at its own path. DIR \
         is read for each client, so a new program is served at once; no file is ever sent. \
         Names that begin with a dot are not served, nor are symbolic links that leave DIR. \
         Everyone who can write to DIR decides what the server runs.",
    ),
    option(
        "--echo                          send every message back; no command",
        |draft, _| turn_on(&mut draft.echo),
    )
    .common()
    .text("Send every message back, at every path without a route, instead of a COMMAND."),
];

pub(super) const LIMITS: &[Opt] = &[
    option(
        "--max-clients=N [none]          WebSocket clients; others get 503",
        |draft, text| {
            let clients_max = or_word("none", text, |text| count(text, 1, COUNT_MAX));
            set(&mut draft.config.server.clients_max, clients_max)
        },
    )
    .only(Scope::Several)
    .common()
    .text(
        "Maximum number of WebSocket clients, including lost ones that `--resume` waits for. A \
         client that is being closed no longer counts. Further clients get 503. With `none`, \
         file descriptors are the limit: set a lower one on a machine with little memory.",
    ),
    option(
        "--max-clients-per-ip=N [none]   clients from one address; others get 429",
        |draft, text| {
            let clients_max = or_word("none", text, |text| count(text, 1, COUNT_MAX));
            set(&mut draft.config.server.clients_per_ip_max, clients_max)
        },
    )
    .only(Scope::Several)
    .text(
        "Maximum number of WebSocket clients from one IPv4 address or one IPv6 network of 64 \
         bits, which is what one host has. 127.0.0.0/8 counts as one address, because every user \
         of the machine has all of it. Further clients get 429. \
         All clients behind a proxy share the proxy's address unless `--trust-proxy` is set.",
    ),
    option(
        "--max-processes=N [1024]        commands; further clients get 503",
        |draft, text| {
            let processes_max = count(text, 1, COUNT_MAX);
            set(&mut draft.config.server.processes_max, processes_max)
        },
    )
    .only(Scope::Command)
    .text(
        "Maximum number of commands, including those that are being terminated. Further \
         clients get 503.",
    ),
    option(
        "--spawn-rate=N [none]           commands started per second",
        |draft, text| {
            let rate = or_word("none", text, |text| number(text, 1, SPAWN_RATE_MAX));
            set(&mut draft.config.server.spawn_rate, rate)
        },
    )
    .only(Scope::Command)
    .text(
        "Maximum number of commands started per second, from 1 to 1000000. Further clients \
         get 503.",
    ),
    option(
        "--max-memory=SIZE [half]        memory for buffers; beyond it 503",
        |draft, text| {
            let memory_max = or_word("half", text, memory_size);
            set(&mut draft.config.server.memory_max, memory_max)
        },
    )
    .text(
        "Memory for what the server keeps for all clients and commands: unfinished messages, \
         queues and replay buffers; at least four times `--max-message`. From three quarters on, \
         new clients get 503, replay buffers are freed, and reading pauses at 4 KiB in place of \
         `--high-water`. Beyond it, whoever holds the most is disconnected with 1013. `half` is half of the \
         machine's memory, or of the cgroup's or the process's limit (RLIMIT_AS) if that is less.",
    ),
];

pub(super) const PROGRAM: &[Opt] = &[
    option(
        "--user=NAME|UID                 become this user once the port is bound",
        |draft, text| set(&mut draft.config.user, account(text).map(Some)),
    )
    .common()
    .text(
        "Become this user once the port is bound, for a server that is started as root. It \
         cannot become root again, so a command that needs root fails. Names are looked up in \
         `/etc/passwd` and `/etc/group` only. `HOME`, `USER` and `LOGNAME` become that user's, \
         where `--passenv` names them.",
    ),
    option(
        "--group=NAME|GID                become this group, not the user's own",
        |draft, text| set(&mut draft.config.group, account(text).map(Some)),
    )
    .text("Become this group once the port is bound, instead of the user's own groups."),
    option(
        "--once                          exit after the first client",
        |draft, _| turn_on(&mut draft.config.server.once),
    )
    .text(
        "Serve one client, then exit with the status of its command, or with 128 plus the \
         number of the signal that terminated it. Further clients get 503.",
    ),
    option(
        "--exit-when-idle                exit when the last client has left",
        |draft, _| turn_on(&mut draft.config.server.exit_when_idle),
    )
    .only(Scope::Several)
    .text("Exit when the last client has left. The server waits for the first one."),
    option(
        "--drain-timeout=TIME [8s]       time to shut down after SIGTERM",
        |draft, text| {
            let drain_timeout = time_or_zero(text);
            set(&mut draft.config.server.drain_timeout, drain_timeout)
        },
    )
    .text(
        "Time for clients and commands to finish after SIGTERM, SIGINT or SIGHUP; what is left \
         then gets SIGKILL. 0: at once. Keep it shorter than the time that a supervisor or \
         container allows (`TimeoutStopSec` of systemd).",
    ),
    option(
        "--log-level=error|warn|info|debug [info]  least important lines to log",
        |draft, text| {
            let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug];
            let level = levels.into_iter().find(|level| level.name() == text);
            let level = level.ok_or_else(|| "write error, warn, info or debug".to_owned());
            set(&mut draft.config.log_level, level)
        },
    )
    .text(
        "The least important level that is logged, on stderr. `info` writes a line for each \
         WebSocket when it ends and for each that is refused because nothing is at its path, \
         `debug` also one when a connection begins.",
    ),
    option(
        "--help[=all]                    print the common options, or all",
        |draft, text| {
            draft.print = Some(match text {
                "" => Print::Help,
                "all" => Print::WholeHelp,
                _ => return Err("write --help or --help=all".to_owned()),
            });
            Ok(())
        },
    )
    .text("Print the options that most people need, or all of them, and exit. Also `-h`."),
    option(
        "--version                       print the version",
        |draft, _| {
            draft.print = Some(Print::Version);
            Ok(())
        },
    )
    .text("Print the version and exit. Also `-V`."),
];
