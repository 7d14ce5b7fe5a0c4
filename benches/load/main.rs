//! Measures wspipe next to a limit server and its peers: `cargo bench --bench load`.
//!
//! `benches/README.md` explains the figures. In short: each workload runs in rounds, each round
//! starts every server again, one after the other, and the figure is the median of the rounds, as a
//! ratio to another server in the same run.
//!
//! [`workloads`] lists the workloads, [`servers`] the servers. [`echo`], [`commands`] and
//! [`broadcast`] are the loads, [`limit`] the limit servers; [`sample`] computes the figures,
//! [`report`] prints them.

#[path = "../common/mod.rs"]
mod common;

mod broadcast;
mod commands;
mod echo;
mod histogram;
mod limit;
mod report;
mod sample;
mod servers;
mod workloads;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use lexopt::ValueExt;

use common::core::Cores;
use common::descriptors;
use common::server::Server;
use limit::Pipe;
use report::{Facts, Outcome, Series};
use sample::{Sample, Span};
use servers::{Contestant, LIMIT, OTHER, WSPIPE};
use workloads::{Kind, Workload};

const HELP: &str = "\
cargo bench --bench load -- [OPTIONS] [FILTER...]

Measures wspipe next to a limit server and its peers. With filters, only the workloads whose
names contain one of them.

  --quick            one short round of wspipe and the limit server: a smoke test, under two minutes
  --rounds=N         rounds of each workload (3)
  --window=SECONDS   length of one measurement (1)
  --servers=LIST     only these servers, separated by commas
  --other=FILE       also measure this build of wspipe, as `other`: before and after a change
  --time-limit=SECONDS
                     no measurement begins after this time (3600; with --quick 100)
  --json=FILE        file for the figures (target/bench/load.json)
  --list             list the workloads, and which servers are installed
  --install-peers    install the peers first: benches/peers/install
";

/// The command-line options.
struct Options {
    quick: bool,
    rounds: usize,
    window: Duration,
    servers: Option<Vec<String>>,
    other: Option<PathBuf>,
    time_limit: Option<Duration>,
    json: Option<PathBuf>,
    list: bool,
    install_peers: bool,
    filters: Vec<String>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [word, kind, port, command @ ..] = &words[..]
        && word == "--serve-limit"
    {
        return serve_limit(kind, port, command);
    }
    if let [word, burst] = &words[..]
        && word == servers::PRINT
    {
        return exit_code(broadcast::print(burst.parse().unwrap_or_default()));
    }
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("load: {error}; --help lists the options");
            return ExitCode::from(2);
        }
    };
    if options.install_peers && !install_peers() {
        eprintln!("load: some peers could not be installed; measuring the others");
    }
    Bench::new(options).run()
}

fn serve_limit(kind: &str, port: &str, command: &[String]) -> ExitCode {
    let port = port.parse().unwrap_or_default();
    exit_code(match (kind, Pipe::named(kind)) {
        (limit::SHARED, _) => limit::shared(port, command),
        (_, Some(pipe)) => limit::command(port, pipe, command),
        (_, None) => limit::echo(port),
    })
}

/// The exit code of this program when it runs as a server or a command.
fn exit_code(result: std::io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn install_peers() -> bool {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/install");
    let status = Command::new(script).arg(servers::peers_folder()).status();
    status.is_ok_and(|status| status.success())
}

impl Options {
    /// Parses the options; `None` for `--help`.
    fn parse(args: impl Iterator<Item = OsString>) -> Result<Option<Options>, lexopt::Error> {
        use lexopt::Arg::{Long, Short, Value};
        let mut options = Options {
            quick: false,
            rounds: 3,
            window: Duration::from_secs(1),
            servers: None,
            other: None,
            time_limit: None,
            json: None,
            list: false,
            install_peers: false,
            filters: Vec::new(),
        };
        let mut parser = lexopt::Parser::from_args(args);
        while let Some(arg) = parser.next()? {
            match arg {
                // cargo passes this to every bench.
                Long("bench") => {}
                Long("help") | Short('h') => return Ok(None),
                Long("quick") => options.quick = true,
                Long("rounds") => options.rounds = parser.value()?.parse::<usize>()?.max(1),
                Long("window") => options.window = seconds(&mut parser)?,
                Long("other") => options.other = Some(parser.value()?.into()),
                Long("time-limit") => options.time_limit = Some(seconds(&mut parser)?),
                Long("servers") => {
                    let list = parser.value()?.string()?;
                    options.servers = Some(list.split(',').map(str::to_owned).collect());
                }
                Long("json") => options.json = Some(parser.value()?.into()),
                Long("list") => options.list = true,
                Long("install-peers") => options.install_peers = true,
                Value(filter) => options.filters.push(filter.string()?),
                arg => return Err(arg.unexpected()),
            }
        }
        Ok(Some(options))
    }

    fn span(&self) -> Span {
        match self.quick {
            true => Span {
                warm_up: Duration::from_millis(50),
                window: Duration::from_millis(250),
            },
            false => Span {
                warm_up: Duration::from_millis(300),
                window: self.window,
            },
        }
    }

    fn rounds(&self, workload: &Workload) -> usize {
        match self.quick || workload.once {
            true => 1,
            false => self.rounds,
        }
    }

    fn time_limit(&self) -> Duration {
        let usual = Duration::from_secs(if self.quick { 100 } else { 3600 });
        self.time_limit.unwrap_or(usual)
    }

    /// Whether to measure this server at this workload.
    fn wants(&self, contestant: &Contestant, workload: &Workload) -> bool {
        let ours = [WSPIPE, LIMIT, OTHER].contains(&contestant.name);
        match &self.servers {
            Some(names) => names.iter().any(|name| name == contestant.name),
            None => ours || !(self.quick || workload.scaling),
        }
    }

    fn wants_workload(&self, workload: &Workload) -> bool {
        match &self.filters[..] {
            [] => workload.quick || !self.quick,
            filters => filters.iter().any(|filter| workload.name.contains(filter)),
        }
    }
}

/// A number of seconds, from a millisecond to an hour.
fn seconds(parser: &mut lexopt::Parser) -> Result<Duration, lexopt::Error> {
    let seconds: f64 = parser.value()?.parse()?;
    match (0.001..=3600.0).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err("seconds must be from 0.001 to 3600".into()),
    }
}

struct Bench {
    options: Options,
    cores: Cores,
    contestants: Vec<Contestant>,
    /// No measurement begins after this.
    deadline: Instant,
}

impl Bench {
    fn new(options: Options) -> Bench {
        Bench {
            deadline: Instant::now() + options.time_limit(),
            cores: Cores::choose(),
            contestants: servers::all(options.other.as_deref()),
            options,
        }
    }

    fn run(&self) -> ExitCode {
        let workloads = workloads::all(descriptors::raise_limit(), self.options.quick);
        let wanted = workloads.iter().filter(|w| self.options.wants_workload(w));
        self.print_presence();
        if self.options.list {
            wanted.for_each(|workload| println!("{}", workload.name));
            return ExitCode::SUCCESS;
        }
        self.cores.pin_load();
        let mut outcomes = Vec::new();
        for workload in wanted {
            if Instant::now() > self.deadline {
                println!("\n{}: not run, the time limit is reached", workload.name);
                continue;
            }
            let outcome = self.measure(workload);
            outcome.print();
            outcomes.push(outcome);
        }
        if outcomes.is_empty() {
            eprintln!("load: no workload matches; --list shows them");
            return ExitCode::from(2);
        }
        self.finish(&outcomes)
    }

    /// Writes the figures. It is a failure if a round of wspipe or of the limit server failed.
    fn finish(&self, outcomes: &[Outcome]) -> ExitCode {
        let path = match &self.options.json {
            Some(path) => path.clone(),
            None => servers::peers_folder()
                .with_file_name("bench")
                .join("load.json"),
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        let written = std::fs::create_dir_all(folder)
            .and_then(|()| report::write_json(&path, &self.facts(), outcomes));
        match written {
            Ok(()) => println!("\nfigures: {}", path.display()),
            Err(error) => eprintln!("load: {}: {error}", path.display()),
        }
        let series = outcomes.iter().flat_map(|outcome| &outcome.series);
        let mut ours = series.filter(|series| [WSPIPE, LIMIT].contains(&series.server));
        match ours.all(|series| series.failures.is_empty()) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    }

    /// Prints which servers are present.
    fn print_presence(&self) {
        println!(
            "server on core {}, load on core {}{}",
            self.cores.server,
            self.cores.load,
            match self.cores.server == self.cores.load {
                true => ": the only one, so rates mean little",
                false => "",
            }
        );
        for contestant in &self.contestants {
            match &contestant.program {
                Ok(_) => println!("  {:<15} present", contestant.name),
                Err(why) => println!("  {:<15} ABSENT: {why}", contestant.name),
            }
        }
    }

    /// Runs all rounds of all servers at one workload.
    fn measure<'w>(&self, workload: &'w Workload) -> Outcome<'w> {
        let role = workload.load.role();
        let able = self
            .contestants
            .iter()
            .filter(|contestant| contestant.can(role));
        let mut entries: Vec<(&Contestant, Series)> = able
            .filter(|contestant| self.options.wants(contestant, workload))
            .map(|contestant| {
                let absent = contestant.program.as_ref().err();
                let series = Series {
                    server: contestant.name,
                    samples: Vec::new(),
                    failures: absent.map(|_| "absent".to_owned()).into_iter().collect(),
                };
                (contestant, series)
            })
            .collect();
        for round in 0..self.options.rounds(workload) {
            // Each round begins with another server, so that none always follows the same one.
            let first = round % entries.len().max(1);
            let (before, after) = entries.split_at_mut(first);
            for (contestant, series) in after.iter_mut().chain(before) {
                // A server that has failed would fail again, and take its time.
                if !series.failures.is_empty() || Instant::now() > self.deadline {
                    continue;
                }
                match self.measure_once(contestant, workload) {
                    Ok(sample) => series.samples.push(sample),
                    Err(failure) => series.failures.push(failure),
                }
            }
        }
        Outcome {
            workload,
            series: entries.into_iter().map(|(_, series)| series).collect(),
        }
    }

    /// Starts one server and measures it at one workload.
    fn measure_once(&self, contestant: &Contestant, workload: &Workload) -> Result<Sample, String> {
        let role = workload.load.role();
        let server = Server::start(self.cores, |port| {
            let command = contestant.command(role, port);
            command.expect("only servers that are present and support the role are measured")
        })?;
        let (address, pid, span) = (server.address(), server.pid(), self.options.span());
        match &workload.load {
            Kind::Echo(load) => echo::run(address, pid, load, span),
            Kind::Download(_, printed) => commands::download(address, pid, *printed, span),
            Kind::Upload(_) => commands::upload(address, pid, span),
            Kind::Connects(_, idle) => commands::connects(address, pid, *idle, span),
            Kind::Broadcast { clients, burst } => {
                broadcast::run(address, pid, (*clients, *burst), span)
            }
        }
    }

    fn facts(&self) -> Facts {
        let first_line = |path: &str, key: &str| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().find(|line| line.contains(key));
            line.unwrap_or_default().to_owned()
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let present = self.contestants.iter().filter(|c| c.program.is_ok());
        let absent = self.contestants.iter().filter(|c| c.program.is_err());
        let names = |of: Vec<&Contestant>| of.iter().map(|c| c.name).collect::<Vec<_>>().join(" ");
        vec![
            ("processor", first_line("/proc/cpuinfo", "model name")),
            ("kernel", first_line("/proc/version", "Linux")),
            ("cores", format!("{cores}")),
            (
                "mode",
                if self.options.quick { "quick" } else { "full" }.to_owned(),
            ),
            ("rounds", self.options.rounds.to_string()),
            ("window", format!("{:?}", self.options.span().window)),
            ("present", names(present.collect())),
            ("absent", names(absent.collect())),
        ]
    }
}
