//! The command line: a table of options, and what they make of a [`Config`].
//!
//! An option is one row of the table `OPTIONS` and one entry of [`HELP`]; a test holds the two together,
//! with the defaults that the help names.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser};

use crate::config::{Config, Mode, Shared, Stderr};
use crate::framing::{Crlf, Framing};
use crate::http::proxy::Network;
use crate::log::Level;

mod command_values;
mod shell_words;
mod values;
use command_values::{account, assignment, directory, nice, rlimit, signal, umask};
use values::{
    address, duration, duration_with_unit, host_name, list, number, origin, route, size, token,
    variable, yes_or_no,
};

/// What `wspipe --help` prints: 80 columns, and 50 lines at most.
pub const HELP: &str = "\
Usage: wspipe [OPTIONS]                         a demo: page, echo and shell
       wspipe [OPTIONS] [--] COMMAND [ARGS...]  COMMAND for every client
       wspipe --echo [OPTIONS]                  every message comes back
Listen   --address=ADDR [127.0.0.1]       repeatable; 0.0.0.0 and [::] are all
         --port=N [8080]                  0: a free one   --backlog=N [4096]
Access   --origin=LIST|any                other sites whose pages may connect
         --allow-host=LIST                other names that this server goes by
         --subprotocol=LIST               sub-protocols that it agrees to speak
         --same-user=yes|no [yes]         demo: the shell is for your user only
Several  --route=/PATH=COMMAND|echo:      served at /PATH and below; repeatable
         --dir=DIR                        each program in DIR at its path
Command  --framing=lines|raw|null|length [lines]   --binary: raw   --null: null
         --crlf=strip|keep [strip]        --max-line=SIZE [none]
         --flush=TIME [off]               send a line unfinished for so long
         --stderr=merge|log|drop|json [merge]   log, where there are no lines
         --passenv=LIST [PATH,LANG,TZ,HOME]  variables that it inherits
         --setenv=NAME=VALUE              repeatable; a variable of its own
         --cwd=DIR      --umask=OCTAL     where it starts, and with what mask
         --nice=N       --no-new-privs    -20 to 19; it gains no rights by sudo
         --rlimit=NAME:VALUE              as, core, cpu, data, fsize, nofile,
                                          nproc, stack; repeatable
         --signal=NAME [INT]              the first, when its client has left
         --kill-after=TIME|never [1s]     the last, when its client has left
Clients  --shared[=eager]                 one COMMAND for all; eager: at once
         --replay=N  --restart            its last messages; start it again
         --resume=TIME [none]             it waits for a client that was lost
         --replay-buffer=SIZE [1M]        so much is kept for who comes later
         --once                           end after one, as its command did
         --exit-when-idle                 end when the last one has left
         --max-clients=N [none]           --max-clients-per-ip=N [none]
         --max-processes=N [1024]         --spawn-rate=N [none]  a second
         --session-timeout=TIME [none]    --idle-timeout=TIME [none]
Server   --user=NAME|UID                  becomes this user once it listens
         --group=NAME|GID                 in place of the user's own
         --trust-proxy=LIST               proxies that may name their clients
Sizes    --max-message=SIZE [1M]          --high-water=SIZE [64k]
         --max-head=SIZE [8k]             --max-headers=N [64]
Times    --ping-interval=TIME [25s]       --pong-timeout=TIME [60s]
         --write-timeout=TIME [60s]       --close-timeout=TIME [10s]
         --head-timeout=TIME [10s]        --http-idle-timeout=TIME [60s]
         --drain-timeout=TIME [8s]       for the last clients, after SIGTERM
Other    --log-level=error|warn|info|debug [info]    --help    --version
SIZE: 64k, 1M.  TIME: 250ms, 10s, 2m; a bare number: seconds.  LIST: a,b,c
";

/// What `wspipe --version` prints.
pub const VERSION: &str = concat!("wspipe ", env!("CARGO_PKG_VERSION"), "\n");

/// What the command line asks for.
#[expect(clippy::large_enum_variant, reason = "there is one, at the start")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// To serve.
    Serve(Config),
    /// To print [`HELP`].
    Help,
    /// To print [`VERSION`].
    Version,
}

/// What is wrong with the command line and how to put it right, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        Self(error.to_string())
    }
}

/// Reads the arguments, the program's own name not among them.
///
/// The first word that is not an option starts the command. An option that is repeated counts as
/// it was given last; lists add up; two framings that differ are refused.
///
/// # Errors
/// An option that does not exist, a value that it does not take, or options that contradict one
/// another or would have no effect.
pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Invocation, UsageError> {
    let mut parser = Parser::from_args(args);
    let mut draft = Draft::default();
    let command = loop {
        let rest = parser.try_raw_args();
        let dashes = rest.is_some_and(|rest| rest.peek() == Some(OsStr::new("--")));
        let option = match parser.next()? {
            Some(Arg::Long(name)) => find(name)?,
            Some(Arg::Short('h')) => find("help")?,
            Some(Arg::Short('V')) => find("version")?,
            Some(Arg::Short(letter)) => {
                return Err(unknown(&format!("-{}", letter.escape_debug()), None));
            }
            Some(Arg::Value(name)) => {
                break Some(std::iter::once(name).chain(parser.raw_args()?).collect());
            }
            // The demo must not start a shell where a script's variable for COMMAND is empty.
            None if dashes => {
                let message = "-- is not followed by a COMMAND: name one, or leave -- out";
                return Err(UsageError(message.to_owned()));
            }
            None => break None,
        };
        option.apply(&mut parser, &mut draft)?;
        if let Some(invocation) = draft.instead {
            return Ok(invocation);
        }
    };
    draft.finish(command).map(Invocation::Serve)
}

/// One row of the table.
struct Opt {
    /// Its name, without the dashes.
    name: &'static str,
    /// With what it has an effect.
    scope: Scope,
    takes: Takes,
}

/// Where an option has an effect. Given elsewhere it is a misunderstanding, and refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Always,
    /// Where there is a command: not with `--echo` alone.
    Command,
    /// Where a command's lines, or what stands between its NULs, are messages.
    Records,
    /// Where a command's lines are messages.
    Lines,
    /// Only in the demo.
    Demo,
    /// Where more than one client may come: not with `--once`.
    Several,
    /// Where one command serves all.
    Shared,
    /// Where signals are sent to a command whose client has left.
    Signalled,
    /// Where what a command printed is kept for those who come later.
    Kept,
}

/// Whether an option takes a value, and what it does. The error says what should be written.
enum Takes {
    Nothing(fn(&mut Draft)),
    /// The word for the value in an error, as in the help.
    Value(&'static str, fn(&mut Draft, &str) -> Result<(), String>),
    /// As `Value`, or no value: then the text is empty.
    Either(fn(&mut Draft, &str) -> Result<(), String>),
}

const OPTIONS: &[Opt] = &[
    value("address", "ADDR", Scope::Always, |draft, text| {
        let address = address(text)?;
        if !draft.addresses.contains(&address) {
            draft.addresses.push(address);
        }
        Ok(())
    }),
    value("port", "N", Scope::Always, |draft, text| {
        set(&mut draft.config.listen.port, number(text, 0, u16::MAX))
    }),
    value("backlog", "N", Scope::Always, |draft, text| {
        set(&mut draft.config.listen.backlog, number(text, 1, i32::MAX))
    }),
    value("origin", "LIST", Scope::Always, |draft, text| {
        extend(&mut draft.config.access.origins, list(text, origin))
    }),
    value("allow-host", "LIST", Scope::Always, |draft, text| {
        extend(&mut draft.config.access.allow_hosts, list(text, host_name))
    }),
    value("subprotocol", "LIST", Scope::Always, |draft, text| {
        extend(&mut draft.config.access.subprotocols, list(text, token))
    }),
    value("same-user", "yes|no", Scope::Demo, |draft, text| {
        set(&mut draft.config.access.same_user, yes_or_no(text))
    }),
    flag("echo", Scope::Always, |draft| draft.echo = true),
    value(
        "framing",
        "lines|raw|null|length",
        Scope::Command,
        |draft, text| {
            let framing = framings().find(|framing| framing.name() == text);
            let framing = framing.ok_or_else(|| "write lines, raw, null or length".to_owned());
            draft.framings.push(framing?);
            Ok(())
        },
    ),
    value("route", "/PATH=COMMAND", Scope::Always, |draft, text| {
        let route = route(text)?;
        let known = &draft.config.routes;
        if known.iter().any(|other| other.path == route.path) {
            return Err("this path has a route already: leave one of the two out".to_owned());
        }
        draft.config.routes.push(route);
        Ok(())
    }),
    value("dir", "DIR", Scope::Always, |draft, text| {
        if text.is_empty() {
            return Err("write the path of a directory".to_owned());
        }
        draft.config.directory = Some(PathBuf::from(text));
        Ok(())
    }),
    flag("binary", Scope::Command, |draft| {
        draft.framings.push(Framing::Raw)
    }),
    flag("null", Scope::Command, |draft| {
        draft.framings.push(Framing::Null)
    }),
    value("crlf", "strip|keep", Scope::Lines, |draft, text| {
        draft.config.command.crlf = match text {
            "strip" => Crlf::Strip,
            "keep" => Crlf::Keep,
            _ => return Err("write strip or keep".to_owned()),
        };
        Ok(())
    }),
    value("flush", "TIME", Scope::Records, |draft, text| {
        let flush = unless("off", text, duration_with_unit);
        set(&mut draft.config.command.flush, flush)
    }),
    value(
        "stderr",
        "merge|log|drop|json",
        Scope::Command,
        |draft, text| {
            draft.stderr = Some(match text {
                "merge" => Stderr::Merge,
                "log" => Stderr::Log,
                "drop" => Stderr::Drop,
                "json" => Stderr::Json,
                _ => return Err("write merge, log, drop or json".to_owned()),
            });
            Ok(())
        },
    ),
    value("passenv", "LIST", Scope::Command, |draft, text| {
        let names = list(text, variable)?
            .into_iter()
            .filter(|name| !name.is_empty());
        let passenv = draft.passenv.get_or_insert_default();
        passenv.extend(names.map(OsString::from));
        Ok(())
    }),
    value("kill-after", "TIME", Scope::Command, |draft, text| {
        let kill_after = unless("never", text, |text| duration(text, SECOND, Duration::ZERO));
        set(&mut draft.config.command.kill_after, kill_after)
    }),
    value("signal", "NAME", Scope::Signalled, |draft, text| {
        set(&mut draft.config.command.first_signal, signal(text))
    }),
    value("setenv", "NAME=VALUE", Scope::Command, |draft, text| {
        draft.config.command.setenv.push(assignment(text)?);
        Ok(())
    }),
    value("cwd", "DIR", Scope::Command, |draft, text| {
        set(&mut draft.config.command.cwd, directory(text).map(Some))
    }),
    value("umask", "OCTAL", Scope::Command, |draft, text| {
        set(&mut draft.config.command.umask, umask(text).map(Some))
    }),
    value("nice", "N", Scope::Command, |draft, text| {
        set(&mut draft.config.command.nice, nice(text).map(Some))
    }),
    value("rlimit", "NAME:VALUE", Scope::Command, |draft, text| {
        let (resource, limit) = rlimit(text)?;
        let rlimits = &mut draft.config.command.rlimits;
        rlimits.retain(|(earlier, _)| *earlier != resource);
        rlimits.push((resource, limit));
        Ok(())
    }),
    flag("no-new-privs", Scope::Command, |draft| {
        draft.config.command.no_new_privs = true
    }),
    value("user", "NAME|UID", Scope::Always, |draft, text| {
        set(&mut draft.config.user, account(text).map(Some))
    }),
    value("group", "NAME|GID", Scope::Always, |draft, text| {
        set(&mut draft.config.group, account(text).map(Some))
    }),
    value("trust-proxy", "LIST", Scope::Always, |draft, text| {
        for item in list(text, |item| Network::parse(item).map(drop))? {
            draft
                .config
                .access
                .trusted_proxies
                .push(Network::parse(item)?);
        }
        Ok(())
    }),
    Opt {
        name: "shared",
        scope: Scope::Command,
        takes: Takes::Either(|draft, text| {
            draft.config.command.shared = Some(match text {
                "" => Shared::Lazy,
                "eager" => Shared::Eager,
                _ => return Err("write --shared or --shared=eager".to_owned()),
            });
            Ok(())
        }),
    },
    value("replay", "N", Scope::Shared, |draft, text| {
        set(&mut draft.config.command.replay, number(text, 0, COUNT_MAX))
    }),
    flag("restart", Scope::Shared, |draft| {
        draft.config.command.restart = true
    }),
    value("resume", "TIME", Scope::Command, |draft, text| {
        let linger = unless("none", text, |text| duration(text, SECOND, MILLI));
        set(&mut draft.config.command.resume, linger)
    }),
    value("replay-buffer", "SIZE", Scope::Kept, |draft, text| {
        set(&mut draft.config.command.replay_len_max, size(text, 1024))
    }),
    flag("once", Scope::Always, |draft| {
        draft.config.server.once = true
    }),
    flag("exit-when-idle", Scope::Several, |draft| {
        draft.config.server.exit_when_idle = true
    }),
    value("max-clients", "N", Scope::Several, |draft, text| {
        let clients_max = unless("none", text, |text| number(text, 1, COUNT_MAX));
        set(&mut draft.config.server.clients_max, clients_max)
    }),
    value("max-clients-per-ip", "N", Scope::Several, |draft, text| {
        let clients_max = unless("none", text, |text| number(text, 1, COUNT_MAX));
        set(&mut draft.config.server.clients_per_ip_max, clients_max)
    }),
    value("max-processes", "N", Scope::Command, |draft, text| {
        set(
            &mut draft.config.server.processes_max,
            number(text, 1, COUNT_MAX),
        )
    }),
    value("spawn-rate", "N", Scope::Command, |draft, text| {
        let rate = unless("none", text, |text| number(text, 1, SPAWN_RATE_MAX));
        set(&mut draft.config.server.spawn_rate, rate)
    }),
    value("session-timeout", "TIME", Scope::Always, |draft, text| {
        let timeout = unless("none", text, |text| duration(text, SECOND, MILLI));
        set(&mut draft.config.clients.session_timeout, timeout)
    }),
    value("idle-timeout", "TIME", Scope::Always, |draft, text| {
        let timeout = unless("none", text, |text| duration(text, SECOND, MILLI));
        set(&mut draft.config.clients.idle_timeout, timeout)
    }),
    value("max-message", "SIZE", Scope::Always, |draft, text| {
        set(&mut draft.config.clients.message_len_max, size(text, 1))
    }),
    value("max-line", "SIZE", Scope::Records, |draft, text| {
        let line_len_max = unless("none", text, |text| size(text, 1));
        set(&mut draft.config.command.line_len_max, line_len_max)
    }),
    value("max-head", "SIZE", Scope::Always, |draft, text| {
        set(&mut draft.config.clients.head_len_max, size(text, 256))
    }),
    value("max-headers", "N", Scope::Always, |draft, text| {
        set(&mut draft.config.clients.headers_max, number(text, 1, 1024))
    }),
    value("high-water", "SIZE", Scope::Always, |draft, text| {
        set(&mut draft.config.clients.high_water, size(text, 1024))
    }),
    value("ping-interval", "TIME", Scope::Always, |draft, text| {
        set(
            &mut draft.config.clients.ping_interval,
            duration(text, SECOND, MILLI),
        )
    }),
    value("pong-timeout", "TIME", Scope::Always, |draft, text| {
        set(
            &mut draft.config.clients.pong_timeout,
            duration(text, SECOND, MILLI),
        )
    }),
    value("write-timeout", "TIME", Scope::Always, |draft, text| {
        set(
            &mut draft.config.clients.write_timeout,
            duration(text, SECOND, MILLI),
        )
    }),
    value("close-timeout", "TIME", Scope::Always, |draft, text| {
        set(
            &mut draft.config.clients.close_timeout,
            duration(text, SECOND, MILLI),
        )
    }),
    value("head-timeout", "TIME", Scope::Always, |draft, text| {
        set(
            &mut draft.config.clients.head_timeout,
            duration(text, SECOND, MILLI),
        )
    }),
    value("http-idle-timeout", "TIME", Scope::Always, |draft, text| {
        set(
            &mut draft.config.clients.http_idle_timeout,
            duration(text, SECOND, MILLI),
        )
    }),
    value("drain-timeout", "TIME", Scope::Always, |draft, text| {
        set(
            &mut draft.config.server.drain_timeout,
            duration(text, SECOND, Duration::ZERO),
        )
    }),
    value("log-level", "LEVEL", Scope::Always, |draft, text| {
        let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug];
        let level = levels.into_iter().find(|level| level.name() == text);
        let level = level.ok_or_else(|| "write error, warn, info or debug".to_owned());
        set(&mut draft.config.log_level, level)
    }),
    flag("help", Scope::Always, |draft| {
        draft.instead = Some(Invocation::Help)
    }),
    flag("version", Scope::Always, |draft| {
        draft.instead = Some(Invocation::Version)
    }),
];

/// Options of earlier versions, and what they are called now.
const RENAMED: [(&str, &str); 3] = [
    ("linger", "resume"),
    ("idle-http", "http-idle-timeout"),
    ("drain", "drain-timeout"),
];

fn framings() -> impl Iterator<Item = Framing> {
    [Framing::Lines, Framing::Raw, Framing::Null, Framing::Length].into_iter()
}

/// The largest number of clients or commands that can be asked for: more than any kernel's
/// processes (`PID_MAX_LIMIT`, 2^22).
const COUNT_MAX: usize = 10_000_000;

/// The largest `--spawn-rate`: at a million the time between two is a microsecond.
const SPAWN_RATE_MAX: u32 = 1_000_000;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

const fn flag(name: &'static str, scope: Scope, set: fn(&mut Draft)) -> Opt {
    let takes = Takes::Nothing(set);
    Opt { name, scope, takes }
}

const fn value(
    name: &'static str,
    word: &'static str,
    scope: Scope,
    set: fn(&mut Draft, &str) -> Result<(), String>,
) -> Opt {
    let takes = Takes::Value(word, set);
    Opt { name, scope, takes }
}

fn set<T>(field: &mut T, value: Result<T, String>) -> Result<(), String> {
    *field = value?;
    Ok(())
}

fn extend(field: &mut Vec<String>, items: Result<Vec<&str>, String>) -> Result<(), String> {
    field.extend(items?.into_iter().map(str::to_owned));
    Ok(())
}

/// `None` when `text` is the word for it, otherwise what `read` makes of it.
fn unless<T>(
    word: &str,
    text: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    if text == word {
        return Ok(None);
    }
    read(text)
        .map(Some)
        .map_err(|message| format!("{message}, or {word}"))
}

impl Opt {
    /// Takes this option's value, if it has one, from `parser`, and notes it down in `draft`.
    fn apply(&'static self, parser: &mut Parser, draft: &mut Draft) -> Result<(), UsageError> {
        let name = self.name;
        match self.takes {
            Takes::Nothing(set) => {
                if parser.optional_value().is_some() {
                    let message = format!("--{name} takes no value: write --{name} alone");
                    return Err(UsageError(message));
                }
                set(draft);
            }
            Takes::Either(set) => {
                let value = parser.optional_value().unwrap_or_default();
                self.read(&value, set, draft)?;
            }
            Takes::Value(word, set) => {
                let Ok(value) = parser.value() else {
                    let message = format!("--{name} needs a value: write --{name}={word}");
                    return Err(UsageError(message));
                };
                self.read(&value, set, draft)?;
            }
        }
        draft.given.push(self);
        Ok(())
    }

    fn read(
        &self,
        value: &OsStr,
        set: fn(&mut Draft, &str) -> Result<(), String>,
        draft: &mut Draft,
    ) -> Result<(), UsageError> {
        let outcome = match value.to_str() {
            Some(text) => set(draft, text),
            None => Err("write it in UTF-8".to_owned()),
        };
        outcome.map_err(|remedy| {
            let (name, text) = (self.name, value.to_string_lossy());
            UsageError(format!("--{name}={}: {remedy}", text.escape_debug()))
        })
    }
}

/// What the options read so far ask for.
#[derive(Default)]
struct Draft {
    config: Config,
    given: Vec<&'static Opt>,
    echo: bool,
    /// Those that replace a default instead of adding to it.
    addresses: Vec<IpAddr>,
    passenv: Option<Vec<OsString>>,
    /// All that were asked for, by whatever option.
    framings: Vec<Framing>,
    /// Its default depends on the framing.
    stderr: Option<Stderr>,
    /// Asked for instead of serving.
    instead: Option<Invocation>,
}

impl Draft {
    /// Settles what depends on several options, and refuses those that do not go together.
    fn finish(self, command: Option<Vec<OsString>>) -> Result<Config, UsageError> {
        let mut config = self.config;
        config.mode = match command {
            Some(_) if self.echo => {
                let message = "--echo takes no COMMAND: leave one of the two out";
                return Err(UsageError(message.to_owned()));
            }
            Some(words) if words[0].is_empty() => {
                let message = "COMMAND is empty: name a program";
                return Err(UsageError(message.to_owned()));
            }
            Some(words) => Mode::Command(words),
            None if self.echo => Mode::Echo,
            None if config.directory.is_some() || !config.routes.is_empty() => Mode::Routes,
            None => Mode::Demo,
        };
        check_paths(&config)?;
        if !self.addresses.is_empty() {
            config.listen.addresses = self.addresses;
        }
        config.command.passenv = self.passenv.unwrap_or(config.command.passenv);
        config.command.framing = only_framing(&self.framings)?.unwrap_or(config.command.framing);
        config.command.stderr = self.stderr.unwrap_or(match config.command.framing {
            Framing::Lines => Stderr::Merge,
            Framing::Raw | Framing::Null | Framing::Length => Stderr::Log,
        });
        config.access.any_origin = config.access.origins.iter().any(|origin| origin == "any");
        if config.access.any_origin {
            config.access.origins.retain(|origin| origin != "any");
        }
        check_scopes(&config, &self.given)?;
        check_values(&config)?;
        Ok(config)
    }
}

/// The one framing that was asked for, by one option or several.
fn only_framing(asked: &[Framing]) -> Result<Option<Framing>, UsageError> {
    let Some((&first, others)) = asked.split_first() else {
        return Ok(None);
    };
    match others.iter().find(|&&other| other != first) {
        None => Ok(Some(first)),
        Some(other) => Err(UsageError(format!(
            "--framing={} and --framing={} contradict each other (--binary is raw, --null is \
             null): leave one of the two out",
            first.name(),
            other.name()
        ))),
    }
}

/// Refuses two that would serve the same paths. Below `--dir` what is not there is not there, so
/// nothing else can be at every path.
fn check_paths(config: &Config) -> Result<(), UsageError> {
    let at_root = config.routes.iter().any(|route| route.path.is_empty());
    let everywhere = match &config.mode {
        Mode::Command(_) => Some("COMMAND"),
        Mode::Echo => Some("--echo"),
        Mode::Demo | Mode::Routes => None,
    };
    let (one, other) = match (everywhere, at_root, &config.directory) {
        (Some(everywhere), true, _) => (everywhere, "--route=/"),
        (Some(everywhere), false, Some(_)) => (everywhere, "--dir"),
        (None, true, Some(_)) => ("--route=/", "--dir"),
        _ => return Ok(()),
    };
    let message = format!(
        "{one} and {other} would both serve the paths that no other option names: \
         leave one of the two out, or give it a path of its own with --route=/PATH="
    );
    Err(UsageError(message))
}

/// Refuses an option that has no effect with what is served.
fn check_scopes(config: &Config, given: &[&Opt]) -> Result<(), UsageError> {
    let framing = config.command.framing;
    let has_records = matches!(framing, Framing::Lines | Framing::Null);
    for &Opt { name, scope, .. } in given {
        let why = match scope {
            Scope::Command | Scope::Records | Scope::Lines | Scope::Signalled | Scope::Kept
                if !config.has_commands() =>
            {
                "no command is served".to_owned()
            }
            Scope::Records if !has_records => {
                format!("there are no lines with --framing={}", framing.name())
            }
            Scope::Lines if framing != Framing::Lines => {
                format!("there are no lines with --framing={}", framing.name())
            }
            Scope::Demo if config.mode != Mode::Demo => {
                "it is for the shell of the demo alone".to_owned()
            }
            Scope::Shared if config.command.shared.is_none() => {
                "it is for a command that all clients share (--shared)".to_owned()
            }
            Scope::Signalled if config.command.kill_after.is_none() => {
                "no signal is sent with --kill-after=never".to_owned()
            }
            Scope::Kept if config.command.resume.is_none() && config.command.replay == 0 => {
                "nothing is kept without --resume or --replay".to_owned()
            }
            Scope::Several if config.server.once => {
                "one client is all that --once serves".to_owned()
            }
            _ => continue,
        };
        let message = format!("--{name} would have no effect, {why}: leave it out");
        return Err(UsageError(message));
    }
    Ok(())
}

/// What `--shared` cannot be together with, if it is.
fn shared_conflict(config: &Config) -> Option<String> {
    config.command.shared?;
    let only_one = matches!(config.mode, Mode::Command(_)) && config.routes.is_empty();
    let other = match () {
        () if !only_one || config.directory.is_some() => {
            return Some("--shared needs COMMAND, and it alone: name the one to be shared".into());
        }
        () if config.server.once => "--once",
        () if config.command.resume.is_some() => "--resume",
        () => return None,
    };
    Some(format!(
        "--shared and {other} contradict each other: leave one of the two out"
    ))
}

/// Refuses values that are good alone but not together.
fn check_values(config: &Config) -> Result<(), UsageError> {
    let message = if config.access.any_origin && !config.access.origins.is_empty() {
        let origin = &config.access.origins[0];
        format!("--origin=any lets {origin} in too: leave one of the two out")
    } else if let Some(message) = stderr_conflict(config) {
        message
    } else if let Some(message) = shared_conflict(config) {
        message
    } else if config.clients.ping_interval >= config.clients.pong_timeout {
        format!(
            "a ping every {:?} and --pong-timeout={:?} would end every quiet client: \
             make --ping-interval the shorter of the two",
            config.clients.ping_interval, config.clients.pong_timeout
        )
    } else {
        return Ok(());
    };
    Err(UsageError(message))
}

/// What is wrong with where stderr goes, as the output is framed.
fn stderr_conflict(config: &Config) -> Option<String> {
    match (config.command.stderr, config.command.framing) {
        (Stderr::Merge, Framing::Length) => Some(
            "--stderr=merge would break the messages of --framing=length: \
             write --stderr=log or --stderr=drop"
                .to_owned(),
        ),
        (Stderr::Json, framing @ (Framing::Raw | Framing::Length)) => Some(format!(
            "--stderr=json tags lines and there are none with --framing={}: \
             write --stderr=log, or --framing=lines or null",
            framing.name()
        )),
        _ => None,
    }
}

/// The option of that name, or an error that suggests one.
fn find(name: &str) -> Result<&'static Opt, UsageError> {
    if let Some((old, new)) = RENAMED.iter().find(|(old, _)| *old == name) {
        return Err(UsageError(format!("--{old} is now --{new}: write that")));
    }
    let found = OPTIONS.iter().find(|option| option.name == name);
    found.ok_or_else(|| unknown(&format!("--{}", name.escape_debug()), nearest(name)))
}

fn unknown(option: &str, nearest: Option<&str>) -> UsageError {
    UsageError(match nearest {
        Some(nearest) => format!("there is no option {option}: did you mean --{nearest}?"),
        None => format!("there is no option {option}: wspipe --help lists them"),
    })
}

/// The option that `name` begins, or from which it differs by the fewest slips of the finger, at
/// most one in three letters.
fn nearest(name: &str) -> Option<&'static str> {
    let names = || OPTIONS.iter().map(|option| option.name);
    let begun = names().find(|known| name.len() >= 3 && known.starts_with(name));
    begun.or_else(|| {
        let slips_max = (name.len() / 3).max(1);
        let (slips, known) = names().map(|known| (slips(name, known), known)).min()?;
        (slips <= slips_max).then_some(known)
    })
}

/// How many bytes must be left out, put in, replaced, or swapped with the next to make `a` into
/// `b`.
fn slips(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    // Far from any option's name, and the table below would grow with it.
    if a.len() > 2 * b.len() {
        return a.len();
    }
    // `table[i][j]` is the answer for the first `i` bytes of `a` and the first `j` of `b`.
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            table[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let moved = table[i - 1][j].min(table[i][j - 1]) + 1;
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                let swapped = if swapped {
                    table[i - 2][j - 2] + 1
                } else {
                    usize::MAX
                };
                replaced.min(moved).min(swapped)
            };
        }
    }
    table[a.len()][b.len()]
}

#[cfg(test)]
mod tests;
