//! From a configuration to a running loop, and what a person is told on the way.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use nix::unistd::{Uid, gethostname};

use crate::config::{BATCH_LEN, Config, Framing, Mode};
use crate::context::Context;
use crate::event_loop::EventLoop;
use crate::http::answer::{Offer, Site};
use crate::http::policy::Policy;
use crate::limits::{self, DescriptorLimit};
use crate::linux::Linux;
use crate::log::Log;
use crate::server::Server;
use crate::spawn;

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
pub fn serve(config: Config, say: impl Fn(&str)) -> Result<ExitCode, StartError> {
    let (offer, command) = offer_of(&config);
    let site = site_of(&config, offer, &command)?;

    let descriptors = DescriptorLimit::raise()
        .map_err(|errno| StartError::System(format!("the limit of open files: {errno}")))?;
    let processes = limits::process_limit().unwrap_or(u64::MAX);
    for warning in limits::warnings(&config, descriptors.soft, processes) {
        say(&format!("warning: {warning}"));
    }

    let mut event_loop = EventLoop::new(BATCH_LEN).map_err(StartError::system("epoll"))?;
    let linux = Linux::start(&config, event_loop.registry(), descriptors)
        .map_err(|error| StartError::System(error.to_string()))?;
    let addresses = linux
        .local_addrs()
        .map_err(StartError::system("a listener"))?;
    for warning in exposure_warnings(&config, offer, &command, &addresses) {
        say(&format!("warning: {warning}"));
    }
    for address in &addresses {
        say(&format!("listening on http://{address}/"));
    }

    let log = Log::new(config.log_level);
    let cx = Context::new(config, log, Instant::now());
    let mut server = Server::new(linux, site, command, cx);
    event_loop
        .run(&mut server)
        .map_err(StartError::system("epoll"))?;
    Ok(server.exit_code())
}

/// What is served, and the command that is started for it.
fn offer_of(config: &Config) -> (Offer, Vec<OsString>) {
    match &config.mode {
        Mode::Echo => (Offer::Echo, Vec::new()),
        Mode::Command(command) => (Offer::Command, command.clone()),
        Mode::Demo => (
            Offer::Demo {
                shell: is_loopback_only(config),
            },
            vec!["sh".into()],
        ),
    }
}

fn is_loopback_only(config: &Config) -> bool {
    config.addresses.iter().all(IpAddr::is_loopback)
}

fn site_of(config: &Config, offer: Offer, command: &[OsString]) -> Result<Site, StartError> {
    let host_name = gethostname().map(|name| name.to_string_lossy().into_owned());
    let policy = Policy::new(
        config.origins.clone(),
        config.any_origin,
        config.allow_hosts.clone(),
        host_name.unwrap_or_default(),
        is_loopback_only(config),
    )
    .map_err(StartError::Usage)?;
    Ok(Site {
        offer,
        command_name: command
            .first()
            .map(|program| name_of(program))
            .unwrap_or_default(),
        binary: config.framing == Framing::Raw,
        subprotocols: config.subprotocols.clone(),
        policy,
    })
}

/// The program's name without its folder, which is nobody's business.
fn name_of(program: &OsStr) -> String {
    let name = Path::new(program).file_name().unwrap_or(program);
    name.to_string_lossy().into_owned()
}

/// What a person should know who lets others reach the server, or whose command is not there.
fn exposure_warnings(
    config: &Config,
    offer: Offer,
    command: &[OsString],
    addresses: &[SocketAddr],
) -> Vec<String> {
    let mut warnings = Vec::new();
    if offer == (Offer::Demo { shell: false }) {
        warnings.push(
            "the shell at /ws is not served, because not every address is a loopback one; \
             name it as COMMAND to serve it: wspipe [OPTIONS] sh"
                .to_owned(),
        );
    }
    let Some(program) = command.first() else {
        return warnings;
    };
    let shown = program.to_string_lossy();
    if let Mode::Command(_) = config.mode {
        let user = user_name(Uid::current());
        for address in addresses
            .iter()
            .filter(|address| !address.ip().is_loopback())
        {
            warnings.push(format!(
                "anyone who can reach {address} runs {shown} as {user}"
            ));
        }
    }
    let path = std::env::var_os("PATH").filter(|_| config.passenv.iter().any(|n| n == "PATH"));
    if let Err(error) = spawn::look_up(program, path.as_deref()) {
        warnings.push(format!("{shown} cannot be started yet: {error}"));
    }
    warnings
}

/// The name of a user, from /etc/passwd. (getpwuid(3) would bring in the name service, which a
/// static binary cannot have.)
fn user_name(uid: Uid) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = uid.to_string();
    let entry = passwd
        .lines()
        .map(|line| line.split(':'))
        .find_map(|mut fields| {
            let name = fields.next()?;
            (fields.nth(1)? == number).then(|| name.to_owned())
        });
    entry.unwrap_or_else(|| format!("user {number}"))
}
