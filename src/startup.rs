//! From a configuration to a running loop, and what a person is told on the way.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use nix::unistd::{Uid, gethostname};

use crate::config::{Config, Mode, Stderr, Target};
use crate::context::Context;
use crate::event_loop::EventLoop;
use crate::event_loop::instant::Instant;
use crate::framing::Framing;
use crate::http::answer::Site;
use crate::http::console_config::ConsoleConfig;
use crate::http::policy::Policy;
use crate::http::routes::{Route, Router, Routes, Service};
use crate::limits::BATCH_LEN;
use crate::linux::Linux;
use crate::linux::account::{self, Account};
use crate::linux::child_setup;
use crate::linux::directory::Directory;
use crate::linux::limits::{DescriptorLimit, process_limit, warnings as limit_warnings};
use crate::linux::spawn;
use crate::log::Log;
use crate::server::{Command, Commands, Server};

/// Why the server did not start.
#[derive(Debug)]
pub enum StartError {
    /// An option's value is wrong: one line that says how to put it right.
    Usage(String),
    /// The system refused something: what it was, and the system's reason.
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

/// Serves until a signal ends it. `say` prints a line to whoever started the server.
///
/// # Errors
/// Whatever keeps the server from starting, or the loop from going on.
pub fn serve(mut config: Config, say: impl Fn(&str)) -> Result<ExitCode, StartError> {
    config.directory = config.directory.map(found_directory).transpose()?;
    let (router, commands) = router_of(&config);
    let site = site_of(&config, router, &commands)?;
    let account = Account::find(config.user.as_deref(), config.group.as_deref())
        .map_err(StartError::Usage)?;
    check_directory(&config)?;

    let descriptors = DescriptorLimit::raise()
        .map_err(|errno| StartError::System(format!("the limit of open files: {errno}")))?;
    let mut event_loop = EventLoop::new(BATCH_LEN).map_err(StartError::system("epoll"))?;
    let linux = Linux::start(&config, event_loop.registry(), descriptors)
        .map_err(|error| StartError::System(error.to_string()))?;
    // Only now: a port below 1024 may take root.
    if let Some(account) = account {
        become_user(&account, &mut config)?;
    }
    child_setup::check_privileges(&config.command).map_err(StartError::Usage)?;

    let processes = process_limit().unwrap_or(u64::MAX);
    for warning in limit_warnings(&config, descriptors.soft, processes) {
        say(&format!("warning: {warning}"));
    }

    let addresses = linux
        .local_addrs()
        .map_err(StartError::system("a listener"))?;
    for warning in exposure_warnings(&config, &site.router, &commands, &addresses) {
        say(&format!("warning: {warning}"));
    }
    // Before the lines below: whoever has read them may count on a server that is complete.
    let log = Log::new(config.log_level);
    for address in &addresses {
        say(&format!("listening on http://{address}/"));
    }

    let commands = commands_of(&config, commands, &site);
    let cx = Context::new(config.clients.clone(), log, Instant::EPOCH);
    let mut server = Server::new(linux, site, commands, &config, cx);
    server.begin();
    event_loop
        .run(&mut server)
        .map_err(StartError::system("epoll"))?;
    Ok(server.exit_code())
}

/// The absolute path of the directory of `--dir`, once it is known to be there.
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

/// Changes to the user that was asked for. What a command inherits of the name and the home of
/// its user is that user's then.
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
    // The directories were there for root; now they must be open to the user.
    if let Some(programs) = &config.directory {
        found_directory(programs.clone())?;
    }
    check_directory(config)
}

/// Refuses a directory for commands that they could not enter.
fn check_directory(config: &Config) -> Result<(), StartError> {
    let Some(directory) = &config.command.cwd else {
        return Ok(());
    };
    spawn::enter(directory).map_err(|error| {
        let shown = directory.to_string_lossy();
        let shown = shown.escape_debug();
        StartError::Usage(format!(
            "--cwd={shown}: {error}; name a directory that commands can enter"
        ))
    })
}

/// What is served where, and the commands that it names by their index.
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
fn commands_of(config: &Config, commands: Vec<Vec<OsString>>, site: &Site) -> Commands {
    let settings = Rc::new(config.command.clone());
    let names = site.console.command_names.iter().map(Rc::clone);
    let list = commands
        .into_iter()
        .zip(names)
        .map(|(words, name)| Command {
            name,
            words: words.into(),
            settings: Rc::clone(&settings),
            same_user: config.mode == Mode::Demo && config.access.same_user,
        });
    Commands {
        list: list.collect(),
        directory: config
            .directory
            .clone()
            .map(|path| (path, Rc::clone(&settings))),
    }
}

fn site_of(
    config: &Config,
    router: Router,
    commands: &[Vec<OsString>],
) -> Result<Site, StartError> {
    let host_name = gethostname().map(|name| name.to_string_lossy().into_owned());
    let policy = Policy::new(
        config.access.origins.clone(),
        config.access.any_origin,
        config.access.allow_hosts.clone(),
        host_name.unwrap_or_default(),
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
    })
}

/// The program's name without its folder, which is nobody's business.
fn name_of(program: &OsStr) -> Rc<str> {
    let name = Path::new(program).file_name().unwrap_or(program);
    name.to_string_lossy().into()
}

/// What a person should know who lets others reach the server, or whose command is not there.
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
    let path = path_of_commands(config);
    for program in commands.iter().map(|words| &words[0]) {
        if let Err(error) = spawn::look_up(program, path.as_deref(), config.command.cwd.as_deref())
        {
            let shown = program.to_string_lossy();
            warnings.push(format!("{shown} cannot be started yet: {error}"));
        }
    }
    warnings
}

/// A line for each address that others can reach.
fn exposed(config: &Config, commands: &[Vec<OsString>], addresses: &[SocketAddr]) -> Vec<String> {
    let programs = commands.iter().map(|words| words[0].to_string_lossy());
    let directory = config.directory.iter();
    let in_directory = directory.map(|path| format!("the programs in {}", path.display()).into());
    let shown: Vec<_> = programs.chain(in_directory).collect();
    if shown.is_empty() {
        return Vec::new();
    }
    let (shown, user) = (shown.join(", "), account::user_name(Uid::effective()));
    let addresses = addresses.iter().filter(|it| !it.ip().is_loopback());
    addresses
        .map(|address| format!("anyone who can reach {address} runs {shown} as {user}"))
        .collect()
}

/// The PATH that commands get.
fn path_of_commands(config: &Config) -> Option<OsString> {
    let set = config
        .command
        .setenv
        .iter()
        .rev()
        .find(|(name, _)| name == "PATH");
    match set {
        Some((_, path)) => Some(path.clone()),
        None => std::env::var_os("PATH")
            .filter(|_| config.command.passenv.iter().any(|it| it == "PATH")),
    }
}
