//! From a configuration to a running loop: [`serve`].
//!
//! The order matters:
//!
//! 1. Raise the descriptor limit, and check the limits and what the operator has named: directories,
//!    user, group.
//! 2. Listen, and change the user. A port below 1024 may need root. Then close the process to other
//!    processes of its user.
//! 3. Check what depends on the user: directories again, `--nice`, `--rlimit`.
//! 4. Look the commands up as the user that will run them (`commands.rs`).
//! 5. Print the warnings, then what is served and where (`start_lines.rs`). A program that waits for
//!    "listening on" may connect at once, so those lines come last.
//! 6. Run the loop.

mod commands;
mod start_lines;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use self::start_lines::start_lines;
use crate::config::{CommandSettings, Config, Mode, Stderr, Target};
use crate::context::Context;
use crate::event_loop::EventLoop;
use crate::event_loop::instant::Instant;
use crate::framing::Framing;
use crate::http::answer::Site;
use crate::http::console_config::ConsoleConfig;
use crate::http::policy::Policy;
use crate::http::routes::{Route, Router, Routes, Service};
use crate::limits::BATCH_LEN;
use crate::linux::account::{Account, own_user_name};
use crate::linux::directory::Directory;
use crate::linux::limits::{
    DescriptorLimit, check_minimum, process_limit, warnings as limit_warnings,
};
use crate::linux::memory::half_of_memory;
use crate::linux::spawn::{can_enter, check_privileges};
use crate::linux::{Linux, close_to_own_user, host_name, log_sink};
use crate::log::Log;
use crate::server::{Command, Commands, Server};

/// Why the server did not start.
#[derive(Debug)]
pub enum StartError {
    /// The value of an option is wrong: one line that names the option and the remedy.
    Usage(String),
    /// The system refused something: one line that names it and the system's reason.
    System(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Usage(line) | StartError::System(line) => f.write_str(line),
        }
    }
}

impl StartError {
    fn system(what: &str) -> impl FnOnce(io::Error) -> StartError + '_ {
        move |error: io::Error| StartError::System(format!("{what}: {error}"))
    }
}

/// Serves until a signal or an option stops the server, and returns its exit status. `print_line`
/// shows a line to the operator.
///
/// # Errors
/// Why the server does not start, or an error of the loop itself (epoll).
pub fn serve(mut config: Config, print_line: impl Fn(&str)) -> Result<ExitCode, StartError> {
    let listeners = config.listen.addresses.len();
    let descriptors = DescriptorLimit::raise()
        .map_err(|errno| StartError::System(format!("the limit of open files: {errno}")))?;
    check_minimum(listeners, descriptors).map_err(StartError::System)?;
    config.directory = config.directory.map(found_directory).transpose()?;
    let (router, commands) = router_of(&config);
    let mut site = site_of(&config, router, &commands)?;
    let account = Account::find(config.user.as_deref(), config.group.as_deref())
        .map_err(StartError::Usage)?;
    check_directory(&config)?;

    let mut event_loop = EventLoop::new(BATCH_LEN).map_err(StartError::system("epoll"))?;
    let linux = Linux::start(
        &config.listen,
        &config.clients,
        config.directory.as_deref(),
        descriptors,
        event_loop.registry(),
        event_loop.clock(),
    )
    .map_err(|error| StartError::System(error.to_string()))?;
    if let Some(account) = account {
        become_user(&account, &mut config)?;
    }
    close_to_own_user().map_err(StartError::system("PR_SET_DUMPABLE"))?;
    check_privileges(&config.command).map_err(StartError::Usage)?;
    let not_yet = commands::check(&config, &commands).map_err(StartError::Usage)?;

    let settings = config.has_commands().then_some(&config.command);
    let limits = limit_warnings(listeners, settings, descriptors.soft, process_limit());
    for warning in limits {
        print_line(&format!("warning: {warning}"));
    }

    let memory_max = match config.server.memory_max {
        Some(max) => max,
        None => default_memory_max(&config)?,
    };

    let addresses = linux
        .local_addrs()
        .map_err(StartError::system("a listener"))?;
    let exposure = exposure_warnings(&config, &site.router, &commands, &addresses);
    let shared = linux.shared_localhost();
    if let Some(shared) = shared {
        site.policy.share_localhost(shared.served.ip());
    }
    let shared = shared.map(|shared| &shared.warning);
    for warning in exposure.iter().chain(shared).chain(&not_yet) {
        print_line(&format!("warning: {warning}"));
    }
    let log = Log::new(log_sink::stderr(), config.log_level);
    for line in start_lines(
        &site.router,
        &commands,
        config.directory.as_deref(),
        &addresses,
    ) {
        print_line(&line);
    }

    let same_user = config.mode == Mode::Demo && config.access.same_user;
    let settings = Rc::new(config.command);
    let commands = commands_of(commands, config.directory, settings, same_user);
    let cx = Context::new(config.clients, memory_max, log, Instant::EPOCH);
    let mut server = Server::new(linux, site, commands, config.server, cx);
    server.begin();
    event_loop
        .run(&mut server)
        .map_err(StartError::system("epoll"))?;
    Ok(server.exit_code())
}

/// The absolute path of the directory of `--dir`, which exists and may be entered.
fn found_directory(path: PathBuf) -> Result<PathBuf, StartError> {
    let found = Directory::open(&path).map_err(|error| {
        let shown = path.to_string_lossy();
        let shown = shown.escape_debug();
        StartError::Usage(format!(
            "--dir={shown}: {error}; name a directory that is there"
        ))
    });
    found.map(|directory| directory.path().to_owned())
}

/// Changes to the user of `--user` and `--group`. Where commands inherit the name and the home of
/// their user, they get those of the new one.
fn become_user(account: &Account, config: &mut Config) -> Result<(), StartError> {
    account.assume().map_err(|error| {
        StartError::System(format!(
            "cannot change to the user that was asked for: {error}"
        ))
    })?;
    for (name, value) in account.variables() {
        let is_inherited = config.command.passenv.iter().any(|passed| passed == name);
        if is_inherited && !config.command.setenv.iter().any(|(set, _)| set == name) {
            config.command.setenv.push((name.into(), value.into()));
        }
    }
    // root could enter the directories; the new user must be able to as well.
    if let Some(programs) = &config.directory {
        found_directory(programs.clone())?;
    }
    check_directory(config)
}

/// Checks that commands can enter the directory of `--cwd`.
fn check_directory(config: &Config) -> Result<(), StartError> {
    let Some(directory) = &config.command.cwd else {
        return Ok(());
    };
    can_enter(directory).map_err(|error| {
        let shown = directory.to_string_lossy();
        let shown = shown.escape_debug();
        StartError::Usage(format!(
            "--cwd={shown}: {error}; name a directory that commands can enter"
        ))
    })
}

/// The routing table, and the commands that it names by index.
fn router_of(config: &Config) -> (Router, Vec<Vec<OsString>>) {
    let mut commands = Vec::new();
    let mut routes = Vec::new();
    let mut add = |path: &str, target: Option<&[OsString]>| {
        let service = target.map_or(Service::Echo, |command| {
            commands.push(command.to_vec());
            Service::Command(commands.len() - 1)
        });
        let path = path.to_owned();
        routes.push(Route { path, service });
    };
    match &config.mode {
        Mode::Demo => {
            let shell = config.listen.is_loopback_only();
            return (Router::Demo { shell }, vec![vec!["sh".into()]]);
        }
        Mode::Command(command) => add("", Some(command)),
        Mode::Echo => add("", None),
        Mode::Routes => {}
    }
    for route in &config.routes {
        match &route.target {
            Target::Echo => add(&route.path, None),
            Target::Command(command) => add(&route.path, Some(command)),
        }
    }
    let routes = Routes::new(routes, config.directory.is_some());
    (Router::Routes(routes), commands)
}

/// The commands that the server can start. All share the settings of the command line.
fn commands_of(
    commands: Vec<Vec<OsString>>,
    directory: Option<PathBuf>,
    settings: Rc<CommandSettings>,
    same_user: bool,
) -> Commands {
    let list = commands.into_iter().map(|words| Command {
        name: name_of(&words[0]),
        words: words.into(),
        settings: Rc::clone(&settings),
        same_user,
    });
    Commands {
        list: list.collect(),
        directory: directory.map(|path| (path, settings)),
    }
}

fn site_of(
    config: &Config,
    router: Router,
    commands: &[Vec<OsString>],
) -> Result<Site, StartError> {
    let policy = Policy::new(
        config.access.origins.clone(),
        config.access.any_origin,
        config.access.allow_hosts.clone(),
        host_name(),
        config.listen.is_loopback_only(),
    )
    .map_err(StartError::Usage)?;
    Ok(Site {
        router,
        console: ConsoleConfig {
            command_names: commands.iter().map(|words| name_of(&words[0])).collect(),
            binary: config.command.framing == Framing::Raw,
            json: config.command.stderr == Stderr::Json,
            resume: config.command.resume,
        },
        subprotocols: config.access.subprotocols.clone(),
        policy,
        proxies: config.access.proxies.clone(),
    })
}

/// The program's name without its directory, which clients need not know.
fn name_of(program: &OsStr) -> Rc<str> {
    let name = Path::new(program).file_name().unwrap_or(program);
    name.to_string_lossy().into()
}

/// The default of `--max-memory`: half of what there is.
fn default_memory_max(config: &Config) -> Result<usize, StartError> {
    let (half, min) = (half_of_memory(), config.memory_min());
    if half >= min {
        return Ok(half);
    }
    let message_len_max = config.clients.message_len_max;
    Err(StartError::Usage(format!(
        "half of the memory is {half} bytes, which has no room for a message of \
         --max-message={message_len_max}: write a shorter --max-message, or --max-memory={min}"
    )))
}

/// Who can reach the server, and what is not served because of that.
fn exposure_warnings(
    config: &Config,
    router: &Router,
    commands: &[Vec<OsString>],
    addresses: &[SocketAddr],
) -> Vec<String> {
    let mut warnings = Vec::new();
    if *router == (Router::Demo { shell: false }) {
        warnings.push(
            "the shell at /ws is not served, because not every address is a loopback one; \
             name it as COMMAND to serve it: wspipe [OPTIONS] sh"
                .to_owned(),
        );
    }
    if config.mode != Mode::Demo {
        warnings.extend(exposed(config, commands, addresses));
    }
    warnings
}

/// A line for each address that other machines can reach.
fn exposed(config: &Config, commands: &[Vec<OsString>], addresses: &[SocketAddr]) -> Vec<String> {
    let programs = commands.iter().map(|words| words[0].to_string_lossy());
    let directory = config.directory.iter();
    let in_directory = directory.map(|path| format!("the programs in {}", path.display()).into());
    let shown: Vec<_> = programs.chain(in_directory).collect();
    if shown.is_empty() {
        return Vec::new();
    }
    let (shown, user) = (shown.join(", "), own_user_name());
    let addresses = addresses.iter().filter(|it| !it.ip().is_loopback());
    addresses
        .map(|address| format!("anyone who can reach {address} runs {shown} as {user}"))
        .collect()
}
